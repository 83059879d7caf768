//! What silent and dead workers leave: leases that run out, folders, and the masters they had.

use super::{OnEnded, record, scratch};
use crate::db::{Db, DbError, Tx};
use crate::queue::{self, End, Reaped};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// The database's clock was set when it goes this much further than ours from one look to the next, in milliseconds.
const SET_FORWARD: i64 = 5_000;
/// What died before this has left nobody who comes back to it.
const DEAD: Duration = Duration::from_hours(24);

/// Removes what workers and exports of the versions before, whose folders had no locks, have left when they died: mixes and masters
/// among it.
pub fn sweep_scratch(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with("track-") || name.starts_with("export-"));
        let dead = newest(&entry.path()).is_some_and(|at| at.elapsed().is_ok_and(|age| age >= DEAD));
        if ours
            && dead
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(%error, path = %entry.path().display(), "left behind by a worker that died, and cannot be removed");
        }
    }
}

/// The last time something was written below a path.
fn newest(path: &Path) -> Option<SystemTime> {
    let about = std::fs::symlink_metadata(path).ok()?;
    let own = about.modified().ok()?;
    if !about.is_dir() {
        return Some(own);
    }
    let below = std::fs::read_dir(path).ok()?.flatten().filter_map(|entry| newest(&entry.path())).max();
    Some(below.map_or(own, |below| below.max(own)))
}

/// Whether the database's clock has gone much further than ours since the last time.
pub(super) async fn set_forward(db: &Db, before: &mut Option<(Instant, i64)>) -> Result<bool, DbError> {
    let asked = Instant::now();
    let now = db.now().await?;
    let Some((then, was)) = before.replace((asked, now)) else { return Ok(false) };
    let passed = i64::try_from(then.elapsed().as_millis()).unwrap_or(i64::MAX);
    Ok(now.saturating_sub(was) > passed.saturating_add(SET_FORWARD))
}

/// Takes back the leases that have run out, with all that follows for their masters. How many there were.
pub async fn reap_once(db: &Db, on_ended: Option<&OnEnded>) -> Result<usize, queue::QueueError> {
    let mut tx = db.begin().await?;
    let reaped = queue::reap(&mut tx).await?;
    let count = reaped.len();
    taken_back(tx, reaped, on_ended).await?;
    Ok(count)
}

/// What follows for the masters whose jobs were taken back, and the commit.
async fn taken_back(mut tx: Tx, reaped: Vec<Reaped>, on_ended: Option<&OnEnded>) -> Result<(), queue::QueueError> {
    for job in &reaped {
        tracing::warn!(job = job.id, subject = job.subject, lost = ?job.lost, "a lease was lost");
        if job.kind != "master" {
            continue;
        }
        if let (Some(ended), Some(told)) = (record::reaped(&mut tx, job).await?, on_ended) {
            told(&mut tx, &ended).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Looks for workers of this machine that were killed, frees their jobs, and removes what they were at. How many folders there were.
/// What cannot be done now is done the next time somebody looks.
pub async fn bury(db: &Db, on_ended: Option<&OnEnded>, root: &Path) -> u64 {
    sweep_scratch(root);
    let folder = root.to_owned();
    let look = tokio::task::spawn_blocking(move || scratch::dead(&folder)).await;
    let dead = match look.map_err(std::io::Error::other).flatten() {
        Ok(dead) => dead,
        Err(error) => {
            tracing::warn!(%error, folder = %root.display(), "what killed workers have left cannot be looked for");
            return 0;
        }
    };
    let mut gone = 0;
    for dead in dead {
        if let Some(worker) = &dead.worker {
            let end = if dead.crashed { End::Crashed } else { End::Killed };
            let freed = async {
                let mut tx = db.begin().await?;
                let reaped = queue::reap_worker(&mut tx, worker, end).await?;
                taken_back(tx, reaped, on_ended).await
            };
            if let Err(error) = freed.await {
                tracing::warn!(%error, worker, "the jobs of a dead worker cannot be taken back yet");
                continue;
            }
            tracing::warn!(worker, crashed = dead.crashed, "a worker has died; its jobs run again");
        }
        match tokio::task::spawn_blocking(move || dead.remove()).await.map_err(std::io::Error::other).flatten() {
            Ok(()) => gone += 1,
            Err(error) => tracing::warn!(%error, "what a killed worker has left cannot be removed"),
        }
    }
    gone
}
