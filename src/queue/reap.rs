//! Taking back what silent and dead workers held.

use super::{Class, Ended, LEASE, LONGEST_BACKOFF, QueueError, millis};
use crate::db::{Change, Tx};
use crate::measure::Run;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::time::Duration;

/// Taken back in one transaction at most.
const AT_ONCE: i64 = 100;
/// Leases lost while alone, on different starts of workers that crashed or fell silent, after which a job is dead. The last of them is
/// a clean run: some time after the others, alone, on the processor.
const LOST_ALONE: i64 = 3;
/// The same where the worker was killed from outside. A file that makes the system kill a worker (which bounds its memory) has to come
/// to an end, too; whoever kills workers by hand tires before.
const KILLED_ALONE: i64 = 8;
/// After the second loss while alone a job waits for this, and four times as long after each further one: whatever goes on at the
/// machine has time to pass.
const APART: Duration = Duration::from_secs(30);

/// How the worker of a lost lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody knows; its lease ran out.
    Silent,
    /// By a fault of its own: what it ran may be the cause.
    Crashed,
    /// From outside: by hand, for want of memory, with the machine.
    Killed,
}

impl End {
    fn code(self) -> &'static str {
        match self {
            Self::Silent => "queue.silent",
            Self::Crashed => "queue.crashed",
            Self::Killed => "queue.killed",
        }
    }
}

/// What became of a job whose lease was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It waits again, to run alone.
    Again,
    /// It has ended for good: code and text.
    Dead(&'static str, String),
    /// Its cancellation had been asked for.
    Cancelled,
}

/// A job whose lease was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// The job.
    pub id: String,
    /// What was to be done.
    pub kind: String,
    /// What it was about.
    pub subject: String,
    /// The run that was lost.
    pub attempt: i64,
    /// What became of it, for the caller to write down in the same transaction.
    pub lost: Lost,
}

const COLUMNS: &str =
    "id, kind, subject, owner_key, class, attempts, max_attempts, solitary, lost_alone, lost_on, kills, worker_id,
    cancel, created_at";

/// Takes back the leases that have run out.
pub async fn reap(tx: &mut Tx) -> Result<Vec<Reaped>, QueueError> {
    // One that ends later than any may was written before the clock was set back.
    let text =
        tx.sql("UPDATE jobs SET lease_until = {now} + $1 WHERE state = 'running' AND lease_until > {now} + $1 + 1000");
    sqlx::query(text).bind(millis(LEASE)).execute(&mut **tx).await?;
    let text = tx.sql(&format!(
        "SELECT {COLUMNS} FROM jobs WHERE state = 'running' AND lease_until < {{now}} ORDER BY lease_until LIMIT $1 {{skip}}"
    ));
    let rows = sqlx::query(text).bind(AT_ONCE).fetch_all(&mut **tx).await?;
    let mut reaped = Vec::with_capacity(rows.len());
    for row in &rows {
        reaped.push(take_back(tx, row, End::Silent).await?);
    }
    forget_turns(tx).await?;
    Ok(reaped)
}

/// Takes back everything that a worker held of which it is certain that it has died. What was held against a job meanwhile, because
/// the worker only seemed silent, is taken off where it was killed.
pub async fn reap_worker(tx: &mut Tx, worker: &str, end: End) -> Result<Vec<Reaped>, QueueError> {
    if end == End::Killed {
        forgive(tx, worker, 1).await?;
    }
    let text =
        tx.sql(&format!("SELECT {COLUMNS} FROM jobs WHERE state = 'running' AND worker_id = $1 ORDER BY id {{skip}}"));
    let rows = sqlx::query(text).bind(worker).fetch_all(&mut **tx).await?;
    let mut reaped = Vec::with_capacity(rows.len());
    for row in &rows {
        reaped.push(take_back(tx, row, end).await?);
    }
    Ok(reaped)
}

/// No job is to blame for the silence of this worker; `kills` is what is noted instead.
pub async fn forgive(tx: &mut Tx, worker: &str, kills: i64) -> Result<(), QueueError> {
    let text = "UPDATE jobs SET lost_alone = lost_alone - 1, max_attempts = max_attempts + 1, kills = kills + $2, lost_on = NULL
        WHERE lost_on = $1 AND lost_alone > 0";
    sqlx::query(text).bind(worker).bind(kills).execute(&mut **tx).await?;
    Ok(())
}

/// The database's clock was set forward: leases that ran out by that alone begin anew.
pub async fn grant_anew(tx: &mut Tx) -> Result<(), QueueError> {
    let text = tx.sql("UPDATE jobs SET lease_until = {now} + $1 WHERE state = 'running' AND lease_until < {now}");
    sqlx::query(text).bind(millis(LEASE)).execute(&mut **tx).await?;
    Ok(())
}

async fn take_back(tx: &mut Tx, row: &AnyRow, end: End) -> Result<Reaped, QueueError> {
    let ended = Ended::read(row)?;
    let worker: Option<String> = row.try_get("worker_id")?;
    let lost_on: Option<String> = row.try_get("lost_on")?;
    // Chores run beside everything else and are never alone: what a worker lost by a fault of its own is tried again as often as it may
    // be. Being killed from outside says nothing about a chore, and a mail or the sweeper does not end by it.
    let track = Class::of(row.try_get("class")?) != Class::Chore;
    let alone = track && row.try_get::<i64, _>("solitary")? != 0;
    let killed = end == End::Killed;
    // The same start of a worker losing it again is one failure of that worker, not two of the job.
    let counts = alone && !killed && lost_on != worker;
    let lost_alone = row.try_get::<i64, _>("lost_alone")? + i64::from(counts);
    let kills = row.try_get::<i64, _>("kills")? + i64::from(alone && killed);
    let most = row.try_get::<i64, _>("max_attempts")? + i64::from(killed);
    let lost = if row.try_get::<i64, _>("cancel")? != 0 {
        Lost::Cancelled
    } else if lost_alone >= LOST_ALONE {
        let text = format!(
            "{lost_alone} workers stopped while this alone was running; the file may be the cause, try another export of it"
        );
        Lost::Dead("queue.lost", text)
    } else if kills >= KILLED_ALONE {
        let text = format!(
            "{kills} workers were killed while this alone was running; master it again, and try another export of it if that fails, too"
        );
        Lost::Dead("queue.lost", text)
    } else if ended.attempts >= most {
        let text = format!("given up after {} runs, the last of which did not come to an end", ended.attempts);
        Lost::Dead("queue.exhausted", text)
    } else {
        Lost::Again
    };
    match &lost {
        Lost::Again => {
            let text = tx.sql(
                "UPDATE jobs SET state = 'waiting', run_at = {now} + $5, waits = $5, lease_token = NULL, lease_until = NULL,
                    worker_id = NULL, solitary = 1, lost_alone = $2, lost_on = CASE WHEN $3 = 1 THEN $4 ELSE lost_on END,
                    kills = $6, max_attempts = $7
                WHERE id = $1",
            );
            let query =
                sqlx::query(text).bind(&ended.id).bind(lost_alone).bind(i64::from(alone && !killed)).bind(worker);
            let query = query.bind(millis(apart(lost_alone + kills))).bind(kills).bind(most);
            query.execute(&mut **tx).await?;
            tx.tell(Change::Jobs);
            tx.count(Run::Retried { kind: ended.kind.clone(), code: end.code().to_owned() });
        }
        Lost::Dead(code, text) => {
            remove(tx, &ended, "dead", Some((code, text))).await?;
            tx.count(Run::Dead { kind: ended.kind.clone(), code: (*code).to_owned() });
        }
        Lost::Cancelled => remove(tx, &ended, "cancelled", None).await?,
    }
    let Ended { id, kind, subject, attempts, .. } = ended;
    Ok(Reaped { id, kind, subject, attempt: attempts, lost })
}

/// How long a job waits that was lost so many times while alone.
fn apart(times: i64) -> Duration {
    if times < 2 {
        return Duration::ZERO;
    }
    let further = u32::try_from(times - 2).unwrap_or(u32::MAX);
    APART.saturating_mul(4_u32.saturating_pow(further)).min(LONGEST_BACKOFF)
}

async fn remove(tx: &mut Tx, ended: &Ended, state: &str, error: Option<(&str, &str)>) -> Result<(), QueueError> {
    sqlx::query("DELETE FROM jobs WHERE id = $1").bind(&ended.id).execute(&mut **tx).await?;
    Ok(ended.write(tx, state, error).await?)
}

/// Owners whose last job lies behind the virtual time are like newcomers.
async fn forget_turns(tx: &mut Tx) -> Result<(), QueueError> {
    let text =
        "DELETE FROM turns WHERE owner_key <> '*' AND finish <= (SELECT finish FROM turns WHERE owner_key = '*')";
    sqlx::query(text).execute(&mut **tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_alone_lie_further_and_further_apart() {
        let seconds: Vec<u64> = (0..6).map(|times| apart(times).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 30, 120, 480, 600]);
        assert_eq!(apart(i64::MAX), LONGEST_BACKOFF);
    }
}
