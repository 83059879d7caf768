//! The machines that work: who they are, what they hold, and what operators want of them.
//!
//! A *node* is a machine by its host name; its workers are processes, each with a name of its own for each start. A pause is of a node and
//! outlives its workers; a drain is of the workers that live now.

use crate::db::{Db, DbError, Tx};
use serde::Serialize;
use sqlx::Row as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A worker is taken to live for this long after it was last heard of, ms; it says so every [`ANNOUNCE`].
const LIVES: i64 = loopmaster_core::retention::WORKER;
/// How often a worker says that it lives.
pub(super) const ANNOUNCE: Duration = Duration::from_mins(1);
/// How often a worker looks for what is wanted of it.
const LISTEN: Duration = Duration::from_secs(1);
/// All nodes at once, those included that join later.
pub const ALL: &str = "*";

/// What a worker says of itself.
pub(super) struct Card<'a> {
    pub(super) name: &'a str,
    pub(super) host: &'a str,
    /// Bytes of decoded audio that one track may have.
    pub(super) largest: u64,
    /// cpu or gpu.
    pub(super) device: &'a str,
    pub(super) about: &'a str,
}

/// A worker that lives, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Of the worker: another one after each start.
    pub name: String,
    /// The machine.
    pub host: String,
    /// cpu or gpu.
    pub device: String,
    /// Version, threads, and what renders.
    pub about: String,
    /// Most bytes of decoded audio of one track.
    pub largest: i64,
    /// ms since 1970.
    pub started_at: i64,
    /// ms since 1970.
    pub seen_at: i64,
    /// Tracks it has leased.
    pub tracks: i64,
    /// Seconds of audio in them, as the queue takes them to be.
    pub seconds: i64,
    /// Takes nothing new.
    pub paused: bool,
    /// Finishes what it holds, and ends.
    pub draining: bool,
}

/// What an operator asks of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Take nothing new, from now on and after any restart.
    Pause,
    /// Go on.
    Resume,
    /// Finish what is held, then end.
    Drain,
}

/// A worker lives, takes tracks of so many bytes, and renders on a device of this kind.
pub(super) async fn announce(db: &Db, card: &Card<'_>) -> Result<(), DbError> {
    let Card { name, host, largest, device, about } = card;
    let mut tx = db.begin().await?;
    let text = tx.sql(
        "INSERT INTO workers (name, largest_bytes, device, host, about, started_at, seen_at) VALUES ($1, $2, $3, $4, $5, {now}, {now})
        ON CONFLICT (name) DO UPDATE SET largest_bytes = excluded.largest_bytes, device = excluded.device, seen_at = excluded.seen_at",
    );
    let query = sqlx::query(text).bind(*name).bind(i64::try_from(*largest).unwrap_or(i64::MAX)).bind(*device);
    query.bind(*host).bind(*about).execute(&mut *tx).await?;
    // What did not say goodbye.
    let text = tx.sql("DELETE FROM workers WHERE seen_at < {now} - $1");
    sqlx::query(text).bind(LIVES).execute(&mut *tx).await?;
    tx.commit().await
}

/// A worker has ended.
pub(super) async fn leave(db: &Db, worker: &str) -> Result<(), DbError> {
    let mut tx = db.begin().await?;
    sqlx::query("DELETE FROM workers WHERE name = $1").bind(worker).execute(&mut *tx).await?;
    tx.commit().await
}

/// What every living worker takes: any of them may get the track. `None`: there is none.
pub async fn least(db: &Db) -> Result<Option<u64>, DbError> {
    // An aggregate over no rows has no type that the driver knows.
    let text = db.sql("SELECT largest_bytes FROM workers WHERE seen_at >= {now} - $1 ORDER BY largest_bytes LIMIT 1");
    let least: Option<i64> = sqlx::query_scalar(text).bind(LIVES).fetch_optional(db.read()).await?;
    Ok(least.and_then(|least| u64::try_from(least).ok()))
}

/// All that live, by machine and start.
pub async fn all(db: &Db) -> Result<Vec<Node>, DbError> {
    let text = db.sql(
        "SELECT workers.name, workers.host, workers.device, workers.about, workers.largest_bytes, workers.started_at, workers.seen_at,
            workers.draining,
            (SELECT COUNT(*) FROM jobs WHERE jobs.worker_id = workers.name AND jobs.state = 'running' AND jobs.class <> 'chore') AS tracks,
            (SELECT CAST(COALESCE(SUM(jobs.seconds), 0) AS BIGINT) FROM jobs
                WHERE jobs.worker_id = workers.name AND jobs.state = 'running' AND jobs.class <> 'chore') AS seconds,
            (SELECT COUNT(*) FROM paused WHERE paused.host = workers.host OR paused.host = '*') AS pauses
        FROM workers WHERE workers.seen_at >= {now} - $1 ORDER BY workers.host, workers.started_at, workers.name",
    );
    let rows = sqlx::query(text).bind(LIVES).fetch_all(db.read()).await?;
    rows.iter()
        .map(|row| {
            Ok(Node {
                name: row.try_get("name")?,
                host: row.try_get("host")?,
                device: row.try_get("device")?,
                about: row.try_get("about")?,
                largest: row.try_get("largest_bytes")?,
                started_at: row.try_get("started_at")?,
                seen_at: row.try_get("seen_at")?,
                tracks: row.try_get("tracks")?,
                seconds: row.try_get("seconds")?,
                paused: row.try_get::<i64, _>("pauses")? > 0,
                draining: row.try_get::<i64, _>("draining")? > 0,
            })
        })
        .collect()
}

/// Nodes that are paused, [`ALL`] among them: also those whose workers do not live.
pub async fn paused(db: &Db) -> Result<Vec<String>, DbError> {
    Ok(sqlx::query_scalar("SELECT host FROM paused ORDER BY host").fetch_all(db.read()).await?)
}

/// Asks it of a node, or of [`ALL`]. How many pauses or workers it has changed.
pub async fn ask(tx: &mut Tx, host: &str, wish: Wish) -> Result<u64, DbError> {
    let query = match wish {
        Wish::Pause => tx.sql("INSERT INTO paused (host) VALUES ($1) ON CONFLICT (host) DO NOTHING"),
        // Whoever lets all go on means those, too, that were paused one by one.
        Wish::Resume => tx.sql("DELETE FROM paused WHERE host = $1 OR $1 = '*'"),
        Wish::Drain => tx.sql("UPDATE workers SET draining = 1 WHERE draining = 0 AND (host = $1 OR $1 = '*')"),
    };
    Ok(sqlx::query(query).bind(host).execute(&mut **tx).await?.rows_affected())
}

/// What is wanted of this worker.
#[derive(Default)]
pub(super) struct Orders {
    paused: AtomicBool,
}

impl Orders {
    pub(super) fn paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Looks for orders until `drain`, which an order to drain cancels. While the database cannot be asked the last word holds.
    pub(super) async fn listen(&self, db: &Db, worker: &str, host: &str, drain: &CancellationToken) {
        loop {
            match wanted(db, worker, host).await {
                Ok((paused, draining)) => {
                    if self.paused.swap(paused, Ordering::Relaxed) != paused {
                        let what = if paused { "takes no new tracks: it was paused" } else { "takes tracks again" };
                        tracing::info!(host, "this worker {what}");
                    }
                    if draining {
                        tracing::info!(host, "this worker was asked to finish what it holds, and to end");
                        drain.cancel();
                    }
                }
                Err(error) => tracing::debug!(%error, "what is wanted of this worker is not known"),
            }
            tokio::select! {
                () = drain.cancelled() => return,
                () = tokio::time::sleep(LISTEN) => {}
            }
        }
    }
}

/// Whether it is paused, and whether it is to end.
async fn wanted(db: &Db, worker: &str, host: &str) -> Result<(bool, bool), DbError> {
    let text = "SELECT (SELECT COUNT(*) FROM paused WHERE host = $1 OR host = '*') AS pauses,
        (SELECT COUNT(*) FROM workers WHERE name = $2 AND draining > 0) AS drains";
    let row = sqlx::query(text).bind(host).bind(worker).fetch_one(db.read()).await?;
    Ok((row.try_get::<i64, _>("pauses")? > 0, row.try_get::<i64, _>("drains")? > 0))
}
