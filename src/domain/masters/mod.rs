//! Masters: rows, what is shown of them, and how they are found.

pub mod age;
pub mod change;
pub mod enqueue;
pub mod listing;
pub mod make;

use super::error::{Error, Result};
use super::settings::SettingsSchema;
use crate::db::{Db, Tx, bump_version};
use crate::service::Service;
use crate::timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use utoipa::ToSchema;

/// How long an address of a file works.
pub const LINKED_FOR: Duration = Duration::from_mins(15);

/// Where a master is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In the queue.
    Waiting,
    /// Being made.
    Running,
    /// There.
    Done,
    /// It cannot be made; `error` says why and what to do.
    Failed,
    /// Stopped by its owner.
    Cancelled,
}

impl State {
    /// As it is kept.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn of(text: &str) -> Self {
        match text {
            "waiting" => Self::Waiting,
            "running" => Self::Running,
            "done" => Self::Done,
            "cancelled" => Self::Cancelled,
            _ => Self::Failed,
        }
    }

    /// Whether something will still happen.
    #[must_use]
    pub fn open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

/// The mix a master is made from.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Source {
    /// `upl_…`
    id: String,
    /// File name.
    name: String,
    /// Size.
    bytes: i64,
}

/// What a master waits for besides its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WaitsFor {
    /// The other songs of its album, which have not all been heard.
    Album,
}

/// Why there is no master.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Failure {
    /// Stable, e.g. `decode.not_audio`.
    code: String,
    /// With what to do.
    detail: String,
}

/// A master.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Master {
    /// `mst_…`
    pub id: String,
    /// Title.
    pub title: String,
    /// The mix.
    pub upload: Source,
    /// Batch it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Place in the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// What was asked for.
    #[schema(value_type = SettingsSchema)]
    pub settings: Value,
    /// The finished record it was to come close to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_upload: Option<String>,
    /// Where it is.
    pub state: State,
    /// decode, analyse, plan, render, encode or deliver, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// How many go before it, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<i64>,
    /// `album`, while it waits for the other songs of its album: it has been heard, and goes on when they have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitsFor>,
    /// Length of the music.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Integrated loudness, LUFS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lufs: Option<f64>,
    /// True peak, dBTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dbtp: Option<f64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// When it was asked for.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: i64,
    /// When work began.
    #[serde(serialize_with = "timestamp::written_option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<i64>,
    /// When it ended.
    #[serde(serialize_with = "timestamp::written_option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<i64>,
    /// When it goes by itself.
    #[serde(serialize_with = "timestamp::written_option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<i64>,
    /// Rises with every change.
    pub version: i64,
    /// It was deleted; only streams of events say so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// What made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Figures, reasons, findings. While it runs: `preview` and the two loudnesses, as soon as an excerpt can be heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// The files. While it runs: previews `mix-excerpt` and `master-excerpt` around the loudest place, and the waveforms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Vec<Artifact>>,
}

impl Master {
    /// The mix it is made from.
    #[must_use]
    pub fn upload_id(&self) -> String {
        self.upload.id.clone()
    }
}

/// A file made for a master.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Artifact {
    /// `art_…`
    pub id: String,
    /// master, report, preview, waveform, plot or data.
    pub kind: String,
    /// Which of its kind: wav24, mix, spectrum, html …
    pub role: String,
    /// File name.
    pub name: String,
    /// Media type.
    pub r#type: String,
    /// Size.
    pub bytes: i64,
    /// SHA-256, hex.
    pub sha256: String,
    /// Where to get it, for some minutes; for a master ask `/artifacts/{id}/link`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where it lies in storage.
    #[serde(skip)]
    pub key: String,
    /// CRC-32 of its bytes.
    #[serde(skip)]
    pub crc32: u32,
    /// Milliseconds.
    #[serde(skip)]
    pub created_at: i64,
}

/// What [`read`] needs, of `masters m JOIN uploads u`.
pub const COLUMNS: &str = "m.id, m.title, m.upload_id, u.name AS upload_name, u.bytes AS upload_bytes, m.batch_id,
    m.batch_position, m.settings, m.reference_upload, m.state, m.stage, m.seconds, m.lufs, m.dbtp, m.error_code, m.error_text,
    m.created_at, m.started_at, m.finished_at, m.deleted_at, m.expires_at, m.version, m.backend,
    CASE WHEN m.song IS NULL THEN 0 ELSE 1 END AS heard";

/// A master from a row of [`COLUMNS`].
pub fn read(row: &AnyRow) -> Result<Master, sqlx::Error> {
    let state = State::of(row.try_get("state")?);
    let error = match (state, row.try_get::<Option<String>, _>("error_code")?) {
        (State::Failed, Some(code)) => {
            Some(Failure { code, detail: row.try_get::<Option<String>, _>("error_text")?.unwrap_or_default() })
        }
        _ => None,
    };
    Ok(Master {
        id: row.try_get("id")?,
        title: row.try_get("title")?,
        upload: Source {
            id: row.try_get("upload_id")?,
            name: row.try_get("upload_name")?,
            bytes: row.try_get("upload_bytes")?,
        },
        batch: row.try_get("batch_id")?,
        position: row.try_get("batch_position")?,
        settings: serde_json::from_str(row.try_get("settings")?).unwrap_or_default(),
        reference_upload: row.try_get("reference_upload")?,
        state,
        stage: row.try_get::<Option<String>, _>("stage")?.filter(|_| state == State::Running),
        queue_position: None,
        waits_for: (state == State::Waiting && row.try_get::<i64, _>("heard")? != 0).then_some(WaitsFor::Album),
        seconds: row.try_get("seconds")?,
        lufs: row.try_get("lufs")?,
        dbtp: row.try_get("dbtp")?,
        error,
        created_at: row.try_get("created_at")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
        expires_at: row.try_get("expires_at")?,
        version: row.try_get("version")?,
        deleted: row.try_get::<Option<i64>, _>("deleted_at")?.is_some(),
        backend: row.try_get("backend")?,
        result: None,
        artifacts: None,
    })
}

/// The owner's master; 404 for everybody else, and once it is deleted.
pub async fn find(db: &Db, owner: &str, id: &str) -> Result<Master> {
    let text = db.sql(&format!(
        "SELECT {COLUMNS} FROM masters m JOIN uploads u ON u.id = m.upload_id WHERE m.id = $1 AND m.owner = $2 AND m.deleted_at IS NULL"
    ));
    let row = sqlx::query(text).bind(id).bind(owner).fetch_optional(db.read()).await?;
    row.map(|row| read(&row)).transpose()?.ok_or_else(|| Error::not_found("master", id))
}

/// Several of the owner's masters, in the order of `ids`; one that is not there is 404.
pub async fn find_all(db: &Db, owner: &str, ids: &[String]) -> Result<Vec<Master>> {
    let mut found = BTreeMap::new();
    for some in ids.chunks(500) {
        let places: Vec<String> = (2..some.len() + 2).map(|n| format!("${n}")).collect();
        let text = db.sql(&format!(
            "SELECT {COLUMNS} FROM masters m JOIN uploads u ON u.id = m.upload_id
             WHERE m.owner = $1 AND m.deleted_at IS NULL AND m.id IN ({})",
            places.join(", ")
        ));
        let mut query = sqlx::query(text).bind(owner.to_owned());
        for id in some {
            query = query.bind(id.clone());
        }
        for row in query.fetch_all(db.read()).await? {
            let master = read(&row)?;
            found.insert(master.id.clone(), master);
        }
    }
    ids.iter().map(|id| found.get(id).cloned().ok_or_else(|| Error::not_found("master", id))).collect()
}

/// The masters of a batch, in its order.
pub async fn of_batch(db: &Db, owner: &str, batch: &str) -> Result<Vec<Master>> {
    let text = db.sql(&format!(
        "SELECT {COLUMNS} FROM masters m JOIN uploads u ON u.id = m.upload_id
         WHERE m.owner = $1 AND m.batch_id = $2 AND m.deleted_at IS NULL ORDER BY COALESCE(m.batch_position, 1000000), m.id"
    ));
    let rows = sqlx::query(text).bind(owner).bind(batch).fetch_all(db.read()).await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// The files of a master.
pub async fn artifacts(db: &Db, master: &str) -> Result<Vec<Artifact>> {
    let text = "SELECT id, kind, role, name, media_type, bytes, sha256, crc32, key, created_at FROM artifacts
        WHERE master_id = $1 ORDER BY kind, name, id";
    let rows = sqlx::query(text).bind(master).fetch_all(db.read()).await?;
    Ok(rows.iter().map(artifact).collect::<Result<_, _>>()?)
}

/// A file from a row of `artifacts`.
pub fn artifact(row: &AnyRow) -> Result<Artifact, sqlx::Error> {
    Ok(Artifact {
        id: row.try_get("id")?,
        kind: row.try_get("kind")?,
        role: row.try_get("role")?,
        name: row.try_get("name")?,
        r#type: row.try_get("media_type")?,
        bytes: row.try_get("bytes")?,
        sha256: row.try_get("sha256")?,
        url: None,
        key: row.try_get("key")?,
        crc32: row.try_get::<i64, _>("crc32")? as u32,
        created_at: row.try_get("created_at")?,
    })
}

/// Adds what only one master at a time is asked for: place in the queue, result, files with addresses.
pub async fn complete(service: &Service, master: &mut Master) -> Result<()> {
    match master.state {
        State::Waiting => master.queue_position = service.positions.of(&service.db, &master.id).await?,
        // A running master can be heard as soon as there is an excerpt.
        State::Running | State::Done => {
            master.result = result(&service.db, &master.id).await?;
            if master.result.is_none() && master.state == State::Running {
                return Ok(());
            }
            let mut files = artifacts(&service.db, &master.id).await?;
            for file in files.iter_mut().filter(|file| file.kind != "master") {
                file.url = Some(
                    service.store.presign_get(&file.key, &file.name, &file.r#type, true, LINKED_FOR).await?.into(),
                );
            }
            master.artifacts = Some(files);
        }
        State::Failed | State::Cancelled => {}
    }
    Ok(())
}

/// Figures, reasons and findings of a master that is done.
pub async fn result(db: &Db, master: &str) -> Result<Option<Value>> {
    let text: Option<String> = sqlx::query_scalar("SELECT result FROM results WHERE master_id = $1")
        .bind(master)
        .fetch_optional(db.read())
        .await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Puts the masters of a batch into this order.
pub async fn reorder(tx: &mut Tx, owner: &str, batch: &str, order: &[String]) -> Result<()> {
    let version = bump_version(tx, owner).await?;
    for (position, master) in order.iter().enumerate() {
        sqlx::query("UPDATE masters SET batch_position = $2, version = $3 WHERE id = $1 AND batch_id = $4")
            .bind(master)
            .bind(position as i64)
            .bind(version)
            .bind(batch)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// A file of one of the owner's masters.
pub async fn artifact_of(db: &Db, owner: &str, id: &str) -> Result<Artifact> {
    let text = "SELECT a.id, a.kind, a.role, a.name, a.media_type, a.bytes, a.sha256, a.crc32, a.key, a.created_at
        FROM artifacts a JOIN masters m ON m.id = a.master_id WHERE a.id = $1 AND m.owner = $2 AND m.deleted_at IS NULL";
    let row = sqlx::query(text).bind(id).bind(owner).fetch_optional(db.read()).await?;
    row.map(|row| artifact(&row)).transpose()?.ok_or_else(|| Error::not_found("artifact", id))
}

/// Whether all these masters are there, and not deleted.
pub async fn all_there(db: &Db, masters: &BTreeSet<String>) -> Result<bool> {
    let masters: Vec<&String> = masters.iter().collect();
    for some in masters.chunks(500) {
        let places: Vec<String> = (1..=some.len()).map(|n| format!("${n}")).collect();
        let text = format!("SELECT COUNT(*) FROM masters WHERE deleted_at IS NULL AND id IN ({})", places.join(", "));
        let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(text));
        for id in some {
            query = query.bind((*id).clone());
        }
        if query.fetch_one(db.read()).await?.unsigned_abs() != some.len() as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives all masters of a guest to an account, where they stay until they are deleted. Gives how many there are.
pub async fn move_to(tx: &mut Tx, guest: &str, user: &str) -> Result<i64> {
    let moved: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM masters WHERE owner = $1 AND deleted_at IS NULL")
        .bind(guest)
        .fetch_one(&mut **tx)
        .await?;
    let version = bump_version(tx, user).await?;
    bump_version(tx, guest).await?;
    sqlx::query("UPDATE masters SET owner = $1, expires_at = NULL, version = $2 WHERE owner = $3")
        .bind(user)
        .bind(version)
        .bind(guest)
        .execute(&mut **tx)
        .await?;
    Ok(moved)
}

/// How many masters a guest has that was not moved into an account.
pub async fn count_of_guest(c: &mut AnyConnection, guest: &str) -> Result<u64> {
    let text = "SELECT COUNT(*) FROM masters JOIN guests ON guests.id = masters.owner
        WHERE owner = $1 AND deleted_at IS NULL AND merged_into IS NULL";
    let count: i64 = sqlx::query_scalar(text).bind(guest).fetch_one(c).await?;
    Ok(count.unsigned_abs())
}

/// How many masters of an owner wait or are being made.
pub async fn count_open(c: &mut AnyConnection, owner: &str) -> Result<u64> {
    let text = "SELECT COUNT(*) FROM masters WHERE owner = $1 AND state IN ('waiting', 'running')";
    let count: i64 = sqlx::query_scalar(text).bind(owner).fetch_one(c).await?;
    Ok(count.unsigned_abs())
}

/// Whose a master is.
pub async fn owner_of(tx: &mut Tx, id: &str) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT owner FROM masters WHERE id = $1").bind(id).fetch_optional(&mut **tx).await?)
}

/// How many masters an owner has, deleted ones that can be restored among them.
pub async fn count_of(tx: &mut Tx, owner: &str) -> Result<i64> {
    let text = "SELECT COUNT(*) FROM masters WHERE owner = $1";
    Ok(sqlx::query_scalar(text).bind(owner).fetch_one(&mut **tx).await?)
}
