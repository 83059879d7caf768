//! Taking back what silent workers held.

use super::{Ended, QueueError};
use crate::db::{Change, Tx};
use sqlx::Row;

/// Taken back in one transaction at most.
const AT_ONCE: i64 = 100;
/// Leases lost while alone, on different starts of workers, after which a job is dead.
const LOST_ALONE: i64 = 2;

/// What became of a job whose lease ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It waits again, to run alone.
    Again,
    /// It has ended for good: code and text.
    Dead(&'static str, String),
    /// Its cancellation had been asked for.
    Cancelled,
}

/// A job whose lease ran out.
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

/// Takes back the leases that have run out.
pub async fn reap(tx: &mut Tx) -> Result<Vec<Reaped>, QueueError> {
    let text = tx.sql(
        "SELECT id, kind, subject, owner_key, attempts, max_attempts, solitary, lost_alone, lost_on, worker_id, cancel, created_at
        FROM jobs WHERE state = 'running' AND lease_until < {now} ORDER BY lease_until LIMIT $1 {skip}",
    );
    let rows = sqlx::query(text).bind(AT_ONCE).fetch_all(&mut **tx).await?;
    let mut reaped = Vec::with_capacity(rows.len());
    for row in &rows {
        let ended = Ended::read(row)?;
        let worker: Option<String> = row.try_get("worker_id")?;
        let lost_on: Option<String> = row.try_get("lost_on")?;
        let alone = row.try_get::<i64, _>("solitary")? != 0;
        // The same start of a worker losing it again is one failure of that worker, not two of the job.
        let counts = alone && lost_on != worker;
        let lost_alone = row.try_get::<i64, _>("lost_alone")? + i64::from(counts);
        let lost = if row.try_get::<i64, _>("cancel")? != 0 {
            Lost::Cancelled
        } else if lost_alone >= LOST_ALONE {
            let text = format!(
                "{lost_alone} workers stopped while this alone was running; the file may be the cause, try another export of it"
            );
            Lost::Dead("queue.lost", text)
        } else if ended.attempts >= row.try_get("max_attempts")? {
            let text = format!("given up after {} runs, the last of which did not come to an end", ended.attempts);
            Lost::Dead("queue.exhausted", text)
        } else {
            Lost::Again
        };
        match &lost {
            Lost::Again => {
                let text = tx.sql(
                    "UPDATE jobs SET state = 'waiting', run_at = {now}, lease_token = NULL, lease_until = NULL, worker_id = NULL,
                        solitary = 1, lost_alone = $2, lost_on = CASE WHEN $3 = 1 THEN $4 ELSE lost_on END WHERE id = $1",
                );
                let query = sqlx::query(text).bind(&ended.id).bind(lost_alone).bind(i64::from(alone)).bind(worker);
                query.execute(&mut **tx).await?;
                tx.tell(Change::Jobs);
            }
            Lost::Dead(code, text) => remove(tx, &ended, "dead", Some((code, text))).await?,
            Lost::Cancelled => remove(tx, &ended, "cancelled", None).await?,
        }
        let Ended { id, kind, subject, attempts, .. } = ended;
        reaped.push(Reaped { id, kind, subject, attempt: attempts, lost });
    }
    forget_turns(tx).await?;
    Ok(reaped)
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
