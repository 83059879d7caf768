//! What the worker writes down: masters, their artifacts and results, and the objects they are in. Every change an owner can see takes a
//! version in the same transaction.

use super::result::Summary;
use crate::db::objects;
use crate::db::{DbError, Tx, bump_version, new_id, real};
use crate::queue::{self, LEASE, Lease, Lost, QueueError, Reaped};
use loopmaster_core::Stage;
use loopmaster_core::settings::Settings;
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::time::Duration;

/// A losing attempt may still be uploading until its lease is long over.
const SWEEP_AFTER: Duration = Duration::from_hours(1);

/// A file in storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) key: Option<String>,
    pub(super) name: String,
    pub(super) media_type: String,
    pub(super) bytes: u64,
}

/// What is to be done for a master.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) owner: String,
    pub(super) batch: Option<String>,
    /// The batch is one album.
    pub(super) album: bool,
    pub(super) upload: Upload,
    pub(super) reference: Option<Upload>,
    /// As it stands in the row: who wrote it validated it, and a later version may read it differently.
    pub(super) settings: Result<Settings, String>,
}

/// What a master's job is. `None`: there is nothing to run for, the master was deleted or has ended.
pub(super) async fn look(tx: &mut Tx, master: &str) -> Result<Option<Assignment>, DbError> {
    let text = tx.sql(
        "SELECT m.owner, m.batch_id, m.settings, m.reference_upload, u.stored_key, u.name, u.media_type, u.bytes,
            COALESCE((SELECT b.album FROM batches b WHERE b.id = m.batch_id), 0) AS album
        FROM masters m JOIN uploads u ON u.id = m.upload_id
        WHERE m.id = $1 AND m.state IN ('waiting', 'running') AND m.deleted_at IS NULL",
    );
    let Some(row) = sqlx::query(text).bind(master).fetch_optional(&mut **tx).await? else { return Ok(None) };
    let owner: String = row.try_get("owner")?;
    let upload = upload(&row)?;
    let reference = match row.try_get::<Option<String>, _>("reference_upload")? {
        None => None,
        Some(id) => {
            let text = "SELECT stored_key, name, media_type, bytes FROM uploads WHERE id = $1";
            let found = sqlx::query(text).bind(&id).fetch_optional(&mut **tx).await?;
            let gone = Upload { key: None, name: "the reference".to_owned(), media_type: String::new(), bytes: 0 };
            Some(found.map_or(Ok(gone), |row| self::upload(&row))?)
        }
    };
    let settings = serde_json::from_str(row.try_get("settings")?).map_err(|error| error.to_string());
    let (batch, album) = (row.try_get("batch_id")?, row.try_get::<i64, _>("album")? != 0);
    Ok(Some(Assignment { owner, batch, album, upload, reference, settings }))
}

/// Says that the masters run.
pub(super) async fn start(tx: &mut Tx, masters: &[(&str, Option<&Assignment>)]) -> Result<(), DbError> {
    // Rows of versions are locked in one order by everybody.
    let mut running: Vec<(&str, &str)> =
        masters.iter().filter_map(|(master, work)| Some((work.as_ref()?.owner.as_str(), *master))).collect();
    running.sort_unstable();
    for (owner, master) in running {
        let version = bump_version(tx, owner).await?;
        let text = tx.sql(
            "UPDATE masters SET state = 'running', stage = 'decode', started_at = COALESCE(started_at, {now}), version = $2 WHERE id = $1",
        );
        sqlx::query(text).bind(master).bind(version).execute(&mut **tx).await?;
    }
    Ok(())
}

fn upload(row: &AnyRow) -> Result<Upload, sqlx::Error> {
    Ok(Upload {
        key: row.try_get("stored_key")?,
        name: row.try_get("name")?,
        media_type: row.try_get("media_type")?,
        bytes: u64::try_from(row.try_get::<i64, _>("bytes")?).unwrap_or(0),
    })
}

/// Says which stage a running master is in.
pub(super) async fn stage(tx: &mut Tx, master: &str, owner: &str, stage: &str) -> Result<(), DbError> {
    let version = bump_version(tx, owner).await?;
    let text = "UPDATE masters SET stage = $2, version = $3 WHERE id = $1 AND state = 'running'";
    sqlx::query(text).bind(master).bind(stage).bind(version).execute(&mut **tx).await?;
    Ok(())
}

/// A file that has been made, and where its bytes go.
#[derive(Clone, Debug)]
pub(super) struct Artifact {
    pub(super) kind: &'static str,
    pub(super) role: String,
    pub(super) name: String,
    pub(super) media_type: &'static str,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) crc32: u32,
    pub(super) key: String,
}

/// Written before the first byte goes out, so that nothing in storage is unknown. What never becomes a result is swept.
pub(super) async fn intend(tx: &mut Tx, lease: &Lease, artifacts: &[Artifact]) -> Result<(), DbError> {
    let sweep = i64::try_from((LEASE + SWEEP_AFTER).as_millis()).unwrap_or(i64::MAX);
    let keys = artifacts.iter().map(|artifact| artifact.key.as_str());
    objects::intend_of_attempt(tx, &lease.subject, lease.attempt, keys, sweep).await
}

/// A running master can be heard: its excerpt takes the place of one that was there before. `false`: the master was deleted meanwhile;
/// nothing is to be kept.
pub(super) async fn audible(
    tx: &mut Tx,
    lease: &Lease,
    owner: &str,
    preview: &Value,
    artifacts: &[Artifact],
) -> Result<bool, QueueError> {
    queue::held(tx, lease).await?;
    let version = bump_version(tx, owner).await?;
    let text = "UPDATE masters SET stage = $2, version = $3 WHERE id = $1 AND state = 'running' AND deleted_at IS NULL";
    let query = sqlx::query(text).bind(&lease.subject).bind(Stage::Encode.name()).bind(version);
    if query.execute(&mut **tx).await?.rows_affected() == 0 {
        return Ok(false);
    }
    described(tx, &lease.subject, preview, artifacts).await?;
    Ok(true)
}

/// What is told of a master and its files, instead of what was told before.
async fn described(tx: &mut Tx, master: &str, result: &Value, artifacts: &[Artifact]) -> Result<(), DbError> {
    let text =
        "INSERT INTO results (master_id, result) VALUES ($1, $2) ON CONFLICT (master_id) DO UPDATE SET result = $2";
    sqlx::query(text).bind(master).bind(result.to_string()).execute(&mut **tx).await?;
    sqlx::query("DELETE FROM artifacts WHERE master_id = $1").bind(master).execute(&mut **tx).await?;
    let text =
        "INSERT INTO artifacts (id, master_id, kind, role, name, media_type, bytes, sha256, crc32, key, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, {now})";
    for artifact in artifacts {
        let query = sqlx::query(tx.sql(text)).bind(new_id("art")).bind(master).bind(artifact.kind);
        let query = query.bind(&artifact.role).bind(&artifact.name).bind(artifact.media_type);
        let query = query.bind(i64::try_from(artifact.bytes).unwrap_or(i64::MAX)).bind(&artifact.sha256);
        query.bind(i64::from(artifact.crc32)).bind(&artifact.key).execute(&mut **tx).await?;
    }
    Ok(())
}

/// The master is done and this attempt's files are its files. `false`: the master was deleted meanwhile, or somebody else's result
/// stands; nothing is to be kept.
pub(super) async fn done(
    tx: &mut Tx,
    lease: &Lease,
    owner: &str,
    backend: &str,
    summary: &Summary,
    artifacts: &[Artifact],
) -> Result<bool, DbError> {
    let version = bump_version(tx, owner).await?;
    let text = tx.sql(
        "UPDATE masters SET state = 'done', stage = NULL, attempt = $2, backend = $3, seconds = $4,
            lufs = CAST($5 AS DOUBLE PRECISION), dbtp = CAST($6 AS DOUBLE PRECISION), finished_at = {now}, version = $7,
            error_code = NULL, error_text = NULL
        WHERE id = $1 AND state = 'running' AND deleted_at IS NULL",
    );
    let query = sqlx::query(text).bind(&lease.subject).bind(lease.attempt).bind(backend).bind(summary.seconds);
    let query = query.bind(real(summary.lufs)).bind(real(summary.dbtp)).bind(version);
    if query.execute(&mut **tx).await?.rows_affected() == 0 {
        return Ok(false);
    }
    described(tx, &lease.subject, &summary.json, artifacts).await?;
    objects::keep_of_attempt(tx, &lease.subject, lease.attempt).await?;
    mark_for_deletion(tx, &lease.subject, Some(lease.attempt)).await?;
    Ok(true)
}

/// Marks the objects of all attempts of a master but one for the sweeper.
pub(super) async fn mark_for_deletion(tx: &mut Tx, master: &str, but: Option<i64>) -> Result<(), DbError> {
    let sweep = i64::try_from((LEASE + SWEEP_AFTER).as_millis()).unwrap_or(i64::MAX);
    objects::doom_attempts_but(tx, master, but.unwrap_or(-1), sweep).await
}

/// How a master ended, for those who send mails and webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterEnded {
    /// The master.
    pub master: String,
    /// Whose it is.
    pub owner: String,
    /// Of which batch.
    pub batch: Option<String>,
    /// `done`, `failed` or `cancelled`.
    pub state: &'static str,
    /// The code of a failure.
    pub error: Option<String>,
}

/// A run has ended without a result: the master waits again …
pub(super) async fn waiting(tx: &mut Tx, master: &str, attempt: i64) -> Result<(), DbError> {
    doom_one(tx, master, attempt).await?;
    let text = "SELECT owner FROM masters WHERE id = $1 AND state = 'running'";
    let owner: Option<String> = sqlx::query_scalar(text).bind(master).fetch_optional(&mut **tx).await?;
    if let Some(owner) = owner {
        let version = bump_version(tx, &owner).await?;
        let text =
            "UPDATE masters SET state = 'waiting', stage = NULL, version = $2 WHERE id = $1 AND state = 'running'";
        sqlx::query(text).bind(master).bind(version).execute(&mut **tx).await?;
    }
    Ok(())
}

/// … or has ended, `failed` with code and text, or `cancelled`.
pub(super) async fn ended(
    tx: &mut Tx,
    master: &str,
    attempt: i64,
    error: Option<(&str, &str)>,
) -> Result<Option<MasterEnded>, DbError> {
    doom_one(tx, master, attempt).await?;
    let text = "SELECT owner, batch_id FROM masters WHERE id = $1 AND state IN ('waiting', 'running')";
    let Some(row) = sqlx::query(text).bind(master).fetch_optional(&mut **tx).await? else { return Ok(None) };
    let owner: String = row.try_get("owner")?;
    let version = bump_version(tx, &owner).await?;
    let state = if error.is_some() { "failed" } else { "cancelled" };
    let text = tx.sql(
        "UPDATE masters SET state = $2, stage = NULL, error_code = $3, error_text = $4, finished_at = {now}, version = $5 WHERE id = $1",
    );
    let query = sqlx::query(text).bind(master).bind(state).bind(error.map(|(code, _)| code));
    query.bind(error.map(|(_, text)| text)).bind(version).execute(&mut **tx).await?;
    let error = error.map(|(code, _)| code.to_owned());
    Ok(Some(MasterEnded { master: master.to_owned(), owner, batch: row.try_get("batch_id")?, state, error }))
}

/// Gives up the files of an attempt, and what was told of it.
async fn doom_one(tx: &mut Tx, master: &str, attempt: i64) -> Result<(), DbError> {
    // Of a master that is done, another attempt's result stands.
    for text in [
        "DELETE FROM results WHERE master_id = $1 AND NOT EXISTS (SELECT 1 FROM masters WHERE id = $1 AND state = 'done')",
        "DELETE FROM artifacts WHERE master_id = $1 AND NOT EXISTS (SELECT 1 FROM masters WHERE id = $1 AND state = 'done')",
    ] {
        sqlx::query(text).bind(master).execute(&mut **tx).await?;
    }
    let sweep = i64::try_from((LEASE + SWEEP_AFTER).as_millis()).unwrap_or(i64::MAX);
    objects::doom_attempt(tx, master, attempt, sweep).await
}

/// What the loss of a lease means for its master.
pub(super) async fn reaped(tx: &mut Tx, reaped: &Reaped) -> Result<Option<MasterEnded>, DbError> {
    match &reaped.lost {
        Lost::Again => waiting(tx, &reaped.subject, reaped.attempt).await.map(|()| None),
        Lost::Dead(code, text) => ended(tx, &reaped.subject, reaped.attempt, Some((code, text))).await,
        Lost::Cancelled => ended(tx, &reaped.subject, reaped.attempt, None).await,
    }
}

/// The track is larger than it looked: the job goes back with what it really takes, and the run does not count.
pub(super) async fn resize(tx: &mut Tx, lease: &Lease, bytes: u64) -> Result<(), DbError> {
    queue::resize(tx, &lease.id, bytes).await
}
