//! Archives of masters: what they hold is fixed when they are asked for. The only module that writes the table.

pub mod layout;

use super::error::{Error, Kind, Result};
use super::identity::Visitor;
use super::limits::{Rule, quota};
use super::masters::{self, Master, State};
use super::{audit, batches};
use crate::db::{Db, Tx, hash_secret, new_id, new_secret};
use crate::service::Service;
use layout::{Content, Entry, Layout};
use loopmaster_core::retention::ZIP;
use serde_json::json;
use sqlx::Row as _;
use std::collections::BTreeSet;

/// What is to be packed.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// All done masters of this batch …
    pub batch: Option<&'a str>,
    /// … or these masters.
    pub masters: Option<&'a [String]>,
    /// Only these formats; all where none are given.
    pub formats: Option<&'a [String]>,
}

/// An archive that can be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Exact size.
    pub bytes: u64,
    /// Until when, ms.
    pub expires_at: i64,
}

/// An archive that somebody holds the capability of.
#[derive(Debug)]
pub struct Found {
    /// Whose it is.
    pub owner: String,
    /// File name.
    pub name: String,
    /// Names this archive and no other.
    pub etag: String,
    /// Exact size.
    pub bytes: u64,
    /// Its files.
    pub entries: Vec<Entry>,
}

/// Fixes what an archive holds. Gives the secret of its capability, this once.
pub async fn create(service: &Service, visitor: &Visitor, asked: Asked<'_>) -> Result<(String, Made)> {
    let (name, album, masters) = match (asked.batch, asked.masters) {
        (Some(id), None) => {
            let batch = batches::find(&service.db, visitor.owner(), id).await?;
            (batch.name, batch.album, batch.items)
        }
        (None, Some(ids)) if (1..=1_000).contains(&ids.len()) => {
            ("Masters".to_owned(), false, masters::find_all(&service.db, visitor.owner(), ids).await?)
        }
        _ => {
            return Err(Error::invalid("zip.what", "name either a batch or 1 to 1000 masters"));
        }
    };
    let wanted: Option<BTreeSet<&str>> = asked.formats.map(|formats| formats.iter().map(String::as_str).collect());
    let entries = entries(service, &name, album, &masters, wanted.as_ref()).await?;
    if entries.len() < 2 {
        return Err(Error::conflict("zip.empty", "none of these masters is done and has files of these formats"));
    }
    let bytes = Layout::new(entries.clone()).bytes();
    let secret = new_secret("lmz");
    let id = new_id("zip");
    let mut tx = service.db.begin().await?;
    let now = tx.now().await?;
    let mine = quota(&service.config.limits, visitor);
    Rule::hourly("creates", mine.creates_an_hour).spend(&mut tx, visitor.owner_key(), 1).await?;
    sqlx::query(
        "INSERT INTO zips (id, capability_hash, owner, name, entries, bytes, etag, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&id)
    .bind(hash_secret(&secret))
    .bind(visitor.owner())
    .bind(format!("{}.zip", safe(&name)))
    .bind(serde_json::to_string(&entries).map_err(Error::internal)?)
    .bind(bytes as i64)
    .bind(format!("\"{id}\""))
    .bind(now)
    .bind(now + ZIP)
    .execute(&mut *tx)
    .await?;
    audit::record(&mut tx, visitor, "zip.create", &id, &format!("{} files, {bytes} bytes", entries.len()), now).await?;
    tx.commit().await?;
    Ok((secret, Made { bytes, expires_at: now + ZIP }))
}

/// The archive of a capability, if all its masters are there.
pub async fn find(db: &Db, capability: &str) -> Result<Found> {
    let text =
        db.sql("SELECT owner, name, entries, bytes, etag FROM zips WHERE capability_hash = $1 AND expires_at > {now}");
    let row = sqlx::query(text).bind(hash_secret(capability)).fetch_optional(db.read()).await?;
    let gone =
        || Error::new(Kind::NotFound, "zip.not_found", "this archive is unknown or has expired; ask for it again");
    let row = row.ok_or_else(gone)?;
    let (owner, name, entries): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (bytes, etag): (i64, String) = (row.try_get(3)?, row.try_get(4)?);
    let bytes = bytes.max(0) as u64;
    let entries: Vec<Entry> = serde_json::from_str(&entries).map_err(Error::internal)?;
    let masters: BTreeSet<String> =
        entries.iter().filter_map(|entry| entry.content.master()).map(str::to_owned).collect();
    if !masters::all_there(db, &masters).await? {
        return Err(deleted());
    }
    Ok(Found { owner, name, etag, bytes, entries })
}

/// The files and their manifest.
async fn entries(
    service: &Service,
    name: &str,
    album: bool,
    masters: &[Master],
    wanted: Option<&BTreeSet<&str>>,
) -> Result<Vec<Entry>> {
    let folder = safe(name);
    let digits = masters.len().to_string().len().max(2);
    let mut taken = BTreeSet::new();
    let mut entries = Vec::new();
    let mut listed = Vec::new();
    let mut newest = 0;
    for (index, master) in masters.iter().enumerate().filter(|(_, master)| master.state == State::Done) {
        for file in masters::artifacts(&service.db, &master.id).await? {
            if file.kind != "master" || wanted.is_some_and(|wanted| !wanted.contains(file.role.as_str())) {
                continue;
            }
            let shown = safe(&file.name);
            let shown = if album { format!("{:0digits$} {shown}", index + 1) } else { shown };
            let shown = unique(&mut taken, &shown);
            listed.push(json!({
                "file": shown, "title": master.title, "format": file.role, "bytes": file.bytes, "sha256": file.sha256,
                "seconds": master.seconds, "lufs": master.lufs, "dbtp": master.dbtp, "master": master.id,
            }));
            newest = newest.max(file.created_at);
            entries.push(Entry {
                name: format!("{folder}/{shown}"),
                bytes: file.bytes.max(0) as u64,
                crc32: file.crc32,
                time: file.created_at,
                content: Content::Key(file.key),
            });
        }
    }
    let manifest = serde_json::to_string_pretty(&json!({ "name": name, "album": album, "files": listed }))
        .map_err(Error::internal)?;
    entries.push(Entry {
        name: format!("{folder}/{}", unique(&mut taken, "manifest.json")),
        bytes: manifest.len() as u64,
        crc32: crc32fast::hash(manifest.as_bytes()),
        time: newest,
        content: Content::Text(manifest),
    });
    Ok(entries)
}

/// A name that every file system takes.
fn safe(name: &str) -> String {
    let clean: String =
        name.chars().map(|c| if c.is_control() || "<>:\"/\\|?*".contains(c) { '_' } else { c }).collect();
    let clean = clean.trim().trim_end_matches('.');
    if clean.is_empty() { "Masters".to_owned() } else { clean.to_owned() }
}

/// `a.wav`, `a (2).wav`, … File systems that do not tell cases apart are thought of.
fn unique(taken: &mut BTreeSet<String>, name: &str) -> String {
    let mut shown = name.to_owned();
    let mut number = 2;
    while !taken.insert(shown.to_lowercase()) {
        shown = match name.rsplit_once('.') {
            Some((stem, ending)) => format!("{stem} ({number}).{ending}"),
            None => format!("{name} ({number})"),
        };
        number += 1;
    }
    shown
}

/// Something that was in it is not there any more.
#[must_use]
pub fn deleted() -> Error {
    Error::new(
        Kind::NotFound,
        "zip.deleted",
        "a song of this archive was deleted since it was asked for; ask for a new one",
    )
}

/// Removes an owner's archives that name one of these.
pub async fn forget(tx: &mut Tx, owner: &str, names: impl Fn(&str) -> bool) -> Result<()> {
    let kept: Vec<(String, String)> =
        sqlx::query_as("SELECT id, entries FROM zips WHERE owner = $1").bind(owner).fetch_all(&mut **tx).await?;
    for (zip, _) in kept.iter().filter(|(_, entries)| names(entries)) {
        sqlx::query("DELETE FROM zips WHERE id = $1").bind(zip).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Gives all archives of an owner to another one.
pub async fn move_to(tx: &mut Tx, from: &str, to: &str) -> Result<()> {
    sqlx::query("UPDATE zips SET owner = $1 WHERE owner = $2").bind(to).bind(from).execute(&mut **tx).await?;
    Ok(())
}

/// Removes all archives of an owner.
pub async fn delete_all(tx: &mut Tx, owner: &str) -> Result<()> {
    sqlx::query("DELETE FROM zips WHERE owner = $1").bind(owner).execute(&mut **tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_single() {
        let mut taken = BTreeSet::new();
        assert_eq!(safe("../../a:b?"), ".._.._a_b_");
        assert_eq!(safe(" . "), "Masters");
        assert_eq!(unique(&mut taken, "A.wav"), "A.wav");
        assert_eq!(unique(&mut taken, "a.wav"), "a (2).wav");
        assert_eq!(unique(&mut taken, "a.wav"), "a (3).wav");
    }
}
