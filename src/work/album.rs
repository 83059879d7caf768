//! Songs of an album. Each is heard before the first is rendered, so that they can be seated beside each other
//! ([`loopmaster_core::plan::seats`]); one that has been heard waits for the others without holding anything. Where the seats are
//! depends on the songs, not on who of them, or which worker, is done first.

use crate::db::{DbError, Tx};
use crate::queue::{self, Lease, QueueError};
use loopmaster_core::plan::{Seat, Song, seats};
use sqlx::Row as _;
use std::time::Duration;

/// After this time a song that waits looks for the others again. The last one to be heard calls them earlier.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Tracks that were promised are waited for as long as something of the album arrives within this time.
const PATIENCE: Duration = Duration::from_mins(10);

/// Writes down what was heard of a song.
pub(super) async fn heard(tx: &mut Tx, lease: &Lease, song: &Song) -> Result<(), QueueError> {
    queue::held(tx, lease).await?;
    let song = serde_json::to_string(song).map_err(|error| DbError::from(sqlx::Error::Encode(error.into())))?;
    let text = "UPDATE masters SET song = $2 WHERE id = $1 AND state = 'running'";
    sqlx::query(text).bind(&lease.subject).bind(song).execute(&mut **tx).await.map_err(DbError::from)?;
    Ok(())
}

/// Where a song sits.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    /// It has not been heard.
    Unheard,
    /// Others have not been heard.
    Waits,
    /// All have been heard: here, and these wait for it.
    Seat { seat: Seat, waiting: Vec<String> },
}

/// A master of one of the album's songs.
struct Version {
    id: String,
    position: Option<i64>,
    /// It waits or runs.
    pending: bool,
    waiting: bool,
    song: Option<Song>,
}

/// Of versions of one song the newest that has not failed counts, but for `master` itself.
async fn versions(tx: &mut Tx, batch: &str, master: &str) -> Result<Vec<Version>, DbError> {
    let text = "SELECT id, batch_position, state, song FROM masters WHERE batch_id = $1 AND deleted_at IS NULL
        ORDER BY COALESCE(batch_position, 0), created_at, id";
    let mut versions: Vec<Version> = Vec::new();
    for row in sqlx::query(text).bind(batch).fetch_all(&mut **tx).await? {
        let state: &str = row.try_get("state")?;
        let failed = state == "failed" || state == "cancelled";
        // What an earlier program wrote is heard again, or does without.
        let song = row.try_get::<Option<&str>, _>("song")?.filter(|_| !failed);
        let version = Version {
            id: row.try_get("id")?,
            position: row.try_get("batch_position")?,
            pending: state == "waiting" || state == "running",
            waiting: state == "waiting",
            song: song.and_then(|text| serde_json::from_str(text).ok()),
        };
        match versions.last_mut().filter(|last| last.position.is_some() && last.position == version.position) {
            Some(last) if last.id != master && !failed => *last = version,
            Some(_) => {}
            None => versions.push(version),
        }
    }
    Ok(versions)
}

/// Where a master's song sits among those of its album.
pub(super) async fn place(tx: &mut Tx, batch: &str, master: &str) -> Result<Place, DbError> {
    let versions = versions(tx, batch, master).await?;
    if versions.iter().any(|version| version.id == master && version.song.is_none()) {
        return Ok(Place::Unheard);
    }
    let unheard = versions.iter().any(|version| version.pending && version.song.is_none());
    if unheard || expected(tx, batch, versions.len() as i64).await? {
        return Ok(Place::Waits);
    }
    let heard: Vec<&Version> = versions.iter().filter(|version| version.song.is_some()).collect();
    let songs: Vec<Song> = heard.iter().filter_map(|version| version.song.clone()).collect();
    let mine = heard.iter().position(|version| version.id == master);
    let seat = mine.and_then(|index| seats(&songs).into_iter().nth(index));
    let waiting = versions.iter().filter(|version| version.waiting && version.id != master);
    let waiting = waiting.map(|version| version.id.clone()).collect();
    // A master that was deleted meanwhile has no seat, and will not be delivered.
    Ok(seat.map_or(Place::Waits, |seat| Place::Seat { seat, waiting }))
}

/// Whether more of an album is on its way than the `there` songs that are known.
async fn expected(tx: &mut Tx, batch: &str, there: i64) -> Result<bool, DbError> {
    let patience = i64::try_from(PATIENCE.as_millis()).unwrap_or(i64::MAX);
    let text = tx.sql(
        "SELECT b.announced, b.created_at, {now} AS now,
            (SELECT COUNT(*) FROM uploads u WHERE u.batch_id = b.id AND u.state IN ('uploading', 'completing')
                AND u.settings IS NOT NULL AND u.updated_at > {now} - $2) AS coming,
            COALESCE((SELECT MAX(u.updated_at) FROM uploads u WHERE u.batch_id = b.id), 0) AS sent,
            COALESCE((SELECT MAX(m.created_at) FROM masters m WHERE m.batch_id = b.id), 0) AS made
        FROM batches b WHERE b.id = $1",
    );
    let row = sqlx::query(text).bind(batch).bind(patience).fetch_optional(&mut **tx).await?;
    let Some(row) = row else { return Ok(false) };
    let get = |name: &str| row.try_get::<i64, _>(name);
    let last = get("created_at")?.max(get("sent")?).max(get("made")?);
    Ok(get("coming")? > 0 || (there < get("announced")? && last > get("now")? - patience))
}

/// Calls those that wait for the last song.
pub(super) async fn call(tx: &mut Tx, waiting: &[String]) -> Result<(), DbError> {
    let now = tx.now().await?;
    for master in waiting {
        queue::hasten(tx, "master", master, now).await?;
    }
    Ok(())
}
