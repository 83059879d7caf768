//! Everything kept about an account, in one archive: what is known as JSON, and the files themselves.

use crate::db::objects;
use crate::db::{Db, Tx};
use crate::domain::error::{Error, Part, Result};
use crate::domain::retention::traces;
use crate::domain::uploads::mixes::HIDDEN;
use crate::outside::mail::{self, Letter};
use crate::service::Service;
use crate::timestamp::rfc3339;
use crate::work::scratch::Scratch;
use loopmaster_core::retention::EXPORT;
use serde_json::{Map, Value, json};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Column, Row, ValueRef};
use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// As the browser saves it.
pub const FILE_NAME: &str = "loopmastering-export.zip";
/// Files are packed up to this many bytes, masters first; the rest is listed with its address.
const MOST: i64 = 32 << 30;
/// The picture has no id of its own.
const PICTURE: &str = "picture";

/// The newest export of a user that is there, and until when.
pub async fn latest(c: &mut AnyConnection, user: &str) -> Result<Option<(String, i64)>> {
    // One that was packed before a song was deleted holds that song: with the deletion it goes out of reach, and comes back with an undo.
    let text = "SELECT key, sweep_after FROM objects WHERE user_id = $1 AND state = 'stored' AND key LIKE 'exports/%'
        AND sweep_after IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM masters WHERE owner = $1 AND deleted_at >= objects.created_at)
        ORDER BY created_at DESC LIMIT 1";
    Ok(sqlx::query_as(text).bind(user).fetch_optional(c).await?)
}

/// How an account's export stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// None was asked for, or it has been removed.
    None,
    /// It is being packed.
    Preparing,
    /// It could not be packed.
    Failed,
    /// It is there.
    Ready {
        /// Where it lies in storage.
        key: String,
        /// When it is removed, ms.
        until: i64,
    },
}

/// How a user's export stands.
pub async fn state(c: &mut AnyConnection, user: &str) -> Result<State> {
    let under_way: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM jobs WHERE kind = 'export' AND subject = $1")
        .bind(user)
        .fetch_one(&mut *c)
        .await?;
    if under_way > 0 {
        return Ok(State::Preparing);
    }
    if let Some((key, until)) = latest(c, user).await? {
        return Ok(State::Ready { key, until });
    }
    let last: Option<String> = sqlx::query_scalar(
        "SELECT state FROM job_history WHERE kind = 'export' AND subject = $1 ORDER BY ended_at DESC LIMIT 1",
    )
    .bind(user)
    .fetch_optional(&mut *c)
    .await?;
    Ok(if last.as_deref() == Some("dead") { State::Failed } else { State::None })
}

/// What is told, each with the columns that are the user's to know: no hash, no key of ours, no sealed secret.
const TABLES: [(&str, &str); 14] = [
    ("account", "SELECT id, email, name, mail_when_ready, policy_version, of_age_at, created_at, delete_after FROM users WHERE id = $1"),
    ("identities", "SELECT issuer, subject, email, created_at FROM identities WHERE user_id = $1"),
    ("sessions", "SELECT id, user_agent, ip_hash, created_at, signed_in_at, seen_at, expires_at, revoked_at FROM sessions WHERE user_id = $1"),
    ("tokens", "SELECT id, name, scopes, created_at, used_at, expires_at, revoked_at FROM tokens WHERE user_id = $1"),
    ("grants", "SELECT id, files_left, bytes_left, created_at, expires_at, revoked_at FROM grants WHERE user_id = $1"),
    ("webhooks", "SELECT id, url, events, created_at, disabled_at, disabled_why FROM webhooks WHERE user_id = $1"),
    (
        "deliveries",
        "SELECT deliveries.id, webhook_id, event, body, attempts, last_status, last_error, deliveries.created_at, delivered_at, given_up_at
         FROM deliveries JOIN webhooks ON webhooks.id = webhook_id WHERE user_id = $1",
    ),
    ("presets", "SELECT name, version, settings, created_at, changed_at FROM presets WHERE user_id = $1"),
    ("batches", "SELECT id, name, album, created_at FROM batches WHERE owner = $1"),
    ("uploads", "SELECT id, name, media_type, bytes, state, batch_id, created_at, stored_at, expires_at, kept_at FROM uploads WHERE owner = $1 AND state <> 'gone'"),
    (
        "masters",
        "SELECT id, upload_id, batch_id, batch_position, reference_upload, title, settings, state, error_code, error_text, seconds, lufs,
           dbtp, created_at, started_at, finished_at, result
         FROM masters LEFT JOIN results ON master_id = id WHERE owner = $1 AND deleted_at IS NULL",
    ),
    (
        "shares",
        "SELECT shares.id, master_id, shares.created_at, revoked_at FROM shares JOIN masters ON masters.id = master_id WHERE owner = $1",
    ),
    ("messages", "SELECT id, topic, email, message, created_at, verified_at, verified_by, closed_at FROM tickets WHERE user_id = $1"),
    ("events", "SELECT at, actor, action, target, ip_hash, detail FROM audit WHERE actor = $1 OR target = $1 ORDER BY at"),
];

/// A row as JSON: times in words, settings and results as what they are.
fn told(row: &AnyRow) -> Result<Value> {
    let mut object = Map::new();
    for column in row.columns() {
        let name = column.name();
        let raw = row.try_get_raw(column.ordinal())?;
        let value = if raw.is_null() {
            Value::Null
        } else if let Ok(number) = row.try_get::<i64, _>(name) {
            if name == "at" || name.ends_with("_at") || name == "delete_after" {
                rfc3339(number).into()
            } else {
                number.into()
            }
        } else if let Ok(number) = row.try_get::<f64, _>(name) {
            number.into()
        } else {
            let text: String = row.try_get(name)?;
            let structured = matches!(name, "settings" | "result" | "body");
            structured.then(|| serde_json::from_str(&text).ok()).flatten().unwrap_or(Value::String(text))
        };
        object.insert(name.to_owned(), value);
    }
    Ok(Value::Object(object))
}

/// Everything known, table by table.
async fn known(db: &Db, user: &str) -> Result<Vec<(&'static str, Value)>> {
    let mut tables = Vec::new();
    for (name, text) in TABLES {
        let rows = sqlx::query(text).bind(user).fetch_all(db.read()).await?;
        tables.push((name, rows.iter().map(told).collect::<Result<Vec<_>>>()?.into()));
    }
    Ok(tables)
}

/// A file of the archive.
struct Entry {
    key: String,
    name: String,
    bytes: i64,
    id: String,
}

async fn files(db: &Db, user: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let masters: Vec<(String, String, i64, String, String)> = sqlx::query_as(
        "SELECT artifacts.key, artifacts.name, artifacts.bytes, artifacts.id, masters.id FROM artifacts
         JOIN masters ON masters.id = master_id WHERE owner = $1 AND state = 'done' AND deleted_at IS NULL ORDER BY masters.id, artifacts.id",
    )
    .bind(user)
    .fetch_all(db.read())
    .await?;
    entries.extend(masters.into_iter().map(|(key, name, bytes, id, master)| Entry {
        name: format!("masters/{master}/{}", plain(&name)),
        key,
        bytes,
        id,
    }));
    let mixes: Vec<(String, String, i64, String)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT u.stored_key, u.name, u.bytes, u.id FROM uploads u WHERE u.owner = $1 AND u.state = 'stored' AND u.stored_key IS NOT NULL
         AND NOT {HIDDEN} ORDER BY u.id"
    )))
    .bind(user)
    .fetch_all(db.read())
    .await?;
    entries.extend(mixes.into_iter().map(|(key, name, bytes, id)| Entry {
        name: format!("mixes/{id}/{}", plain(&name)),
        key,
        bytes,
        id,
    }));
    let picture: Option<String> =
        sqlx::query_scalar("SELECT picture_key FROM users WHERE id = $1 AND picture_key IS NOT NULL")
            .bind(user)
            .fetch_optional(db.read())
            .await?;
    entries.extend(picture.map(|key| Entry { key, name: "picture.jpg".to_owned(), bytes: 0, id: PICTURE.to_owned() }));
    Ok(entries)
}

/// A file name that stays in its folder on every system.
fn plain(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c }).take(150).collect();
    let name = name.trim_matches([' ', '.']);
    if name.is_empty() { "file".to_owned() } else { name.to_owned() }
}

/// The archive while it is written. The work on the disk goes to threads that may block.
struct Archive(ZipWriter<File>);

impl Archive {
    async fn run(
        self,
        work: impl FnOnce(&mut ZipWriter<File>) -> zip::result::ZipResult<()> + Send + 'static,
    ) -> Result<Self> {
        let Self(mut zip) = self;
        tokio::task::spawn_blocking(move || work(&mut zip).map(|()| Self(zip)))
            .await
            .map_err(Error::internal)?
            .map_err(Error::internal)
    }

    async fn text(self, name: String, text: String) -> Result<Self> {
        self.run(move |zip| {
            zip.start_file(name, options(text.len() as u64))?;
            Ok(zip.write_all(text.as_bytes())?)
        })
        .await
    }

    async fn file(self, name: String, path: &Path) -> Result<Self> {
        let path = path.to_owned();
        self.run(move |zip| {
            let mut file = File::open(path)?;
            zip.start_file(name, options(file.metadata()?.len()))?;
            std::io::copy(&mut file, zip)?;
            Ok(())
        })
        .await
    }
}

/// Stored as it is: audio does not get smaller.
fn options(bytes: u64) -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(bytes >= u64::from(u32::MAX))
}

/// Whether files that were packed are still the user's to have.
async fn all_there(tx: &mut Tx, user: &str, ids: &[String]) -> Result<bool> {
    let masters = "SELECT artifacts.id FROM artifacts JOIN masters ON masters.id = master_id
        WHERE owner = $1 AND state = 'done' AND deleted_at IS NULL";
    let mixes = format!("SELECT u.id FROM uploads u WHERE u.owner = $1 AND u.state = 'stored' AND NOT {HIDDEN}");
    let mut there: HashSet<String> =
        sqlx::query_scalar(masters).bind(user).fetch_all(&mut **tx).await?.into_iter().collect();
    there.extend(sqlx::query_scalar::<_, String>(AssertSqlSafe(mixes)).bind(user).fetch_all(&mut **tx).await?);
    there.insert(PICTURE.to_owned());
    Ok(ids.iter().all(|id| there.contains(id)))
}

/// Does a job of kind `export`.
pub async fn build(service: &Service, user: &str) -> Result<()> {
    let db = &service.db;
    let Some(email) = sqlx::query_scalar::<_, String>("SELECT email FROM users WHERE id = $1")
        .bind(user)
        .fetch_optional(db.read())
        .await?
    else {
        return Ok(());
    };
    let folder = Scratch::new(&service.config.work_folder()).map_err(Error::internal)?;
    let path = folder.path().join("export.zip");
    let mut zip = Archive(ZipWriter::new(File::create(&path).map_err(Error::internal)?));
    for (name, rows) in known(db, user).await? {
        let text = serde_json::to_string_pretty(&rows).map_err(Error::internal)?;
        zip = zip.text(format!("{name}.json"), text).await?;
    }
    let (mut packed, mut list) = (0, Vec::new());
    let mut packed_ids = Vec::new();
    for entry in files(db, user).await? {
        let fits = packed + entry.bytes <= MOST;
        let mut row = json!({ "id": entry.id, "file": entry.name, "bytes": entry.bytes, "packed": false });
        if fits {
            let part = folder.path().join("part");
            // A song deleted a moment ago is no reason to fail.
            if service.store.head(&entry.key).await?.is_some() {
                service.store.get_to_file(&entry.key, &part).await?;
                zip = zip.file(entry.name, &part).await?;
                packed += entry.bytes;
                packed_ids.push(entry.id.clone());
                row["packed"] = true.into();
            }
        } else if entry.id.starts_with("art_") {
            row["address"] = service.config.public_url.with(&format!("/v1/artifacts/{}/link", entry.id)).into();
        }
        list.push(row);
    }
    zip = zip.text("files.json".to_owned(), serde_json::to_string_pretty(&list).map_err(Error::internal)?).await?;
    let Archive(zip) = zip;
    tokio::task::spawn_blocking(move || zip.finish().and_then(|file| Ok(file.sync_all()?)))
        .await
        .map_err(Error::internal)?
        .map_err(Error::internal)?;

    let key = format!("exports/{user}/{}.zip", uuid::Uuid::new_v4().simple());
    let now = db.now().await?;
    let mut tx = db.begin().await?;
    objects::intend(&mut tx, &key, Some(user), now).await?;
    tx.commit().await?;
    service.store.put_file(&key, &path, "application/zip").await?;
    let mut tx = db.begin().await?;
    if !all_there(&mut tx, user, &packed_ids).await? {
        // What was packed since has been deleted, and must not be handed out. The object is an intent nobody keeps; it goes by itself.
        return Err(Error::away(Part::Export, "something was deleted while it was packed; it is packed once more"));
    }
    traces::exports(&mut tx, user, now).await?;
    objects::stored(&mut tx, &key, Some(now + EXPORT)).await?;
    let letter =
        Letter::ExportReady { link: service.config.public_url.with("/account"), until: mail::day(now + EXPORT) };
    mail::post(&mut tx, &service.config, &email, &letter).await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_stay_in_their_folder() {
        assert_eq!(plain("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(plain("a/b\\c:d\u{0}.wav"), "a_b_c_d_.wav");
        assert_eq!(plain(" .. "), "file");
        assert_eq!(plain("Café 12.wav"), "Café 12.wav");
    }
}
