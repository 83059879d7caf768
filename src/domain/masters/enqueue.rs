//! A track joins the queue: the row of the master and its job, in one transaction.

use crate::config::{Config, Limits as Allowed};
use crate::db::{Tx, new_id};
use crate::domain::error::{Error, Result};
use crate::domain::identity::Visitor;
use crate::domain::limits::quota;
use crate::queue::{self, Class, NewJob};
use crate::work::estimate;
use loopmaster_core::admission::shown_text;
use loopmaster_core::settings::Limits;
use sqlx::Row as _;

/// Runs after which a transient failure is final.
const MOST_ATTEMPTS: u32 = 5;

/// What is to be mastered.
#[derive(Clone, Debug)]
pub struct Track<'a> {
    /// usr_… or gst_….
    pub owner: &'a str,
    /// Whose turn it costs.
    pub owner_key: &'a str,
    /// upl_…
    pub upload: &'a str,
    /// As declared.
    pub media_type: &'a str,
    /// File name.
    pub name: &'a str,
    /// Size of the file.
    pub bytes: u64,
    /// To be shown.
    pub title: String,
    /// JSON.
    pub settings: &'a str,
    /// Another upload.
    pub reference: Option<&'a str>,
    /// Batch.
    pub batch: Option<&'a str>,
    /// Place there.
    pub position: Option<i64>,
}

/// Writes the masters and queues them; gives their ids. All tracks are of one owner.
pub async fn enqueue(
    config: &Config,
    tx: &mut Tx,
    tracks: &[Track<'_>],
    version: i64,
    now: i64,
) -> Result<Vec<String>> {
    let Some(first) = tracks.first() else { return Ok(Vec::new()) };
    let class = queue::class_for(tx, first.owner_key, tracks.len()).await?;
    let guest = first.owner.starts_with("gst_");
    let expires_at = guest.then(|| now + i64::from(config.retention.guest_days) * 86_400_000);
    let mut ids = Vec::with_capacity(tracks.len());
    for track in tracks {
        let id = new_id("mst");
        sqlx::query(
            "INSERT INTO masters (id, owner, upload_id, batch_id, batch_position, reference_upload, title, settings, state, attempt,
                created_at, expires_at, version)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting', 0, $9, $10, $11)",
        )
        .bind(&id)
        .bind(track.owner)
        .bind(track.upload)
        .bind(track.batch)
        .bind(track.position)
        .bind(track.reference)
        .bind(shown_text(&track.title))
        .bind(track.settings)
        .bind(now)
        .bind(expires_at)
        .bind(version)
        .execute(&mut **tx)
        .await?;
        queue::enqueue(tx, &job(config, &id, track.owner_key, class, track.media_type, track.name, track.bytes))
            .await?;
        ids.push(id);
    }
    Ok(ids)
}

/// Queues a master again whose waiting job was taken out.
pub async fn requeue(config: &Config, tx: &mut Tx, id: &str, upload: &str, owner_key: &str) -> Result<()> {
    let text = "SELECT name, bytes, media_type FROM uploads WHERE id = $1";
    let row = sqlx::query(text).bind(upload).fetch_one(&mut **tx).await?;
    let (name, bytes, media_type): (String, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let class = queue::class_for(tx, owner_key, 1).await?;
    queue::enqueue(tx, &job(config, id, owner_key, class, &media_type, &name, bytes.max(0) as u64)).await?;
    let text = "UPDATE masters SET state = 'waiting', error_code = NULL WHERE id = $1";
    sqlx::query(text).bind(id).execute(&mut **tx).await?;
    Ok(())
}

fn job(
    config: &Config,
    master: &str,
    owner_key: &str,
    class: Class,
    media_type: &str,
    name: &str,
    bytes: u64,
) -> NewJob {
    let limits = Limits { bytes: config.limits.file_bytes, ..Limits::default() };
    let size = estimate(bytes, media_type, name, &limits);
    NewJob {
        kind: "master".to_owned(),
        subject: master.to_owned(),
        owner_key: owner_key.to_owned(),
        class,
        seconds: size.seconds,
        bytes: size.bytes,
        payload: "{}".to_owned(),
        max_attempts: MOST_ATTEMPTS,
        run_at: None,
    }
}

async fn count(tx: &mut Tx, text: &'static str, bind: &str) -> Result<u64> {
    let count: i64 = sqlx::query_scalar(text).bind(bind).fetch_one(&mut **tx).await?;
    Ok(count.unsigned_abs())
}

/// Refuses more tracks than may wait or run at a time, those of uploads on their way counted: of the owner, and of everybody without an
/// account at one address. In a transaction that has spent creates of the same key, so that two that ask at once are not both let in.
pub async fn room_in_queue(tx: &mut Tx, limits: &Allowed, visitor: &Visitor, more: u64) -> Result<()> {
    let limit = quota(limits, visitor).waiting;
    let masters =
        "SELECT COUNT(*) FROM masters WHERE owner = $1 AND state IN ('waiting', 'running') AND deleted_at IS NULL";
    let uploads = "SELECT COUNT(*) FROM uploads WHERE owner = $1 AND state IN ('uploading', 'completing') AND settings IS NOT NULL";
    let mine = count(tx, masters, visitor.owner()).await?.saturating_add(count(tx, uploads, visitor.owner()).await?);
    let refused = |limit: u64, used: u64, whose: &str| {
        let detail = format!("{used} tracks {whose} wait or run and the limit is {limit}; wait until some are done");
        Error::forbidden("quota.waiting", detail).with("limit", limit).with("used", used)
    };
    if mine.saturating_add(more) > limit {
        return Err(refused(limit, mine, "of yours"));
    }
    if visitor.owner().starts_with("gst_") {
        let limit = limit.saturating_mul(limits.guests_per_address);
        let key = visitor.owner_key();
        let masters = "SELECT COUNT(*) FROM jobs WHERE owner_key = $1 AND kind = 'master'";
        let uploads = "SELECT COUNT(*) FROM uploads WHERE owner_key = $1 AND state IN ('uploading', 'completing') AND settings IS NOT NULL";
        let all = count(tx, masters, key).await?.saturating_add(count(tx, uploads, key).await?);
        if all.saturating_add(more) > limit {
            return Err(refused(limit, all, "of visitors at your address"));
        }
    }
    Ok(())
}
