//! The queue, in SQL.
//!
//! - **enqueue** happens in the transaction that makes what the job is about.
//! - **claim** leases a batch: each job gets a token (attempt and a random number) without which nothing more can be said about it.
//!   Attempts are counted here. Lease times are the database's; a worker fences itself by its own monotonic clock ([`Lease::alive`]).
//! - **finish**, **fail**, **release** end the lease in the transaction that writes the result. Whoever comes with an old token gets
//!   [`QueueError::Stale`], and its transaction is rolled back: two workers may run a job, one result counts.
//! - **reap** takes leases back whose worker fell silent, and [`reap_worker`] those of one that is known to have died. A job lost in a
//!   batch runs again alone and on the processor, for it or one of its neighbours may have been the cause. Lost while alone it runs
//!   again, later each time. Three different workers have to crash or fall silent before the job is dead; one that was killed from
//!   outside says little about a file, so it takes many more of those. A drain or a lost device never counts.
//!
//! Clocks are set, forwards and backwards. No lease lasts longer than [`LEASE`] from now, and no job waits longer than it was told to,
//! whatever the rows say.
//!
//! Fairness: jobs go in the order of their virtual finish time, counted in seconds of audio per owner (self-clocked fair queueing,
//! S. J. Golestani, INFOCOM 1994). 400 tracks of one owner stand behind each other; a newcomer's single track stands beside the first
//! of them. On top of it, interactive jobs have a reserve that bulk jobs cannot take.

mod lease;
pub mod position;
mod reap;

pub use lease::{
    Beat, Lease, Limits, cancel_asked, cancelled, claim, claim_chores, fail, finish, heartbeat, held, postpone, release,
};
pub use reap::{End, Lost, Reaped, forgive, grant_anew, reap, reap_worker};

use crate::db::{Change, Db, DbError, Tx, new_id};
use rand::RngExt;
use sqlx::Row;
use std::time::Duration;

/// How long a lease lasts without a heartbeat.
pub const LEASE: Duration = Duration::from_secs(30);
/// At most so many unfinished tracks of an owner are interactive; with more it is bulk.
pub const INTERACTIVE_TRACKS: i64 = 3;
/// Retries wait a random time between nothing and this, doubled with each attempt …
const BACKOFF: Duration = Duration::from_secs(2);
/// … up to this.
const LONGEST_BACKOFF: Duration = Duration::from_mins(10);
/// Nothing is told to wait longer.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// A job whose time has come. One that would have to wait longer than it was told to was told so before the clock was set back; a second
/// more or less is no matter.
const DUE: &str = "(run_at <= {now} OR run_at > {now} + waits + 1000)";

/// Who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Somebody looks at the page.
    Interactive,
    /// One of many.
    Bulk,
    /// The service's own: mails, webhooks, the sweeper.
    Chore,
}

impl Class {
    /// As it is kept.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
            Self::Chore => "chore",
        }
    }

    fn of(text: &str) -> Self {
        match text {
            "interactive" => Self::Interactive,
            "bulk" => Self::Bulk,
            _ => Self::Chore,
        }
    }
}

/// A job to be done.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What is to be done: `master`, or the name of a chore.
    pub kind: String,
    /// What it is about; a kind has one unfinished job for it.
    pub subject: String,
    /// Whose turn it costs.
    pub owner_key: String,
    /// Who waits for it.
    pub class: Class,
    /// Seconds of audio.
    pub seconds: f64,
    /// Bytes of decoded audio.
    pub bytes: u64,
    /// What the one who does it has to know.
    pub payload: String,
    /// Runs after which a transient failure is final.
    pub max_attempts: u32,
    /// Not before this time of the database's clock; `None`: now.
    pub run_at: Option<i64>,
}

impl NewJob {
    /// A chore that may be tried for about a day.
    #[must_use]
    pub fn chore(kind: &str, subject: &str, payload: String) -> Self {
        Self {
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            owner_key: String::new(),
            class: Class::Chore,
            seconds: 0.0,
            bytes: 0,
            payload,
            max_attempts: 20,
            run_at: None,
        }
    }
}

/// Why nothing more can be said about a job.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The lease has passed to somebody else, or the job has ended. What was done for it is to be thrown away.
    #[error("the lease of this job has ended; its result is thrown away")]
    Stale,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for QueueError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The same again would fail the same: a bad file.
    Permanent,
    /// The world was not ready: storage or the database away.
    Transient,
    /// The device failed; the job is innocent, and the attempt does not count.
    Device,
}

/// Why a job did not succeed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind.
    pub class: FailureClass,
    /// `stage.what`
    pub code: String,
    /// For people.
    pub text: String,
    /// When to try again, instead of the usual back-off.
    pub after: Option<Duration>,
}

/// What becomes of a job that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits for another run.
    Again,
    /// It has ended for good.
    Dead,
    /// Its cancellation had been asked for meanwhile.
    Cancelled,
}

/// What a cancellation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It was waiting and is gone.
    Gone,
    /// It is running; its worker is told with the next heartbeat.
    Asked,
    /// There is no such job.
    Unknown,
}

/// The class of an owner's next `tracks` tracks.
pub async fn class_for(tx: &mut Tx, owner_key: &str, tracks: usize) -> Result<Class, DbError> {
    // More than the few that matter are not counted: among them may be hundreds.
    let text = "SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE owner_key = $1 AND kind = 'master' LIMIT $2) AS few";
    let query = sqlx::query_scalar(text).bind(owner_key).bind(INTERACTIVE_TRACKS);
    let before: i64 = query.fetch_one(&mut **tx).await?;
    let all = before.saturating_add(i64::try_from(tracks).unwrap_or(i64::MAX));
    Ok(if all <= INTERACTIVE_TRACKS { Class::Interactive } else { Class::Bulk })
}

/// Puts a job into the queue together with whatever else `tx` does. `None`: there is an unfinished one for the same subject.
pub async fn enqueue(tx: &mut Tx, job: &NewJob) -> Result<Option<String>, DbError> {
    let id = new_id("job");
    let seconds = if job.seconds.is_finite() { job.seconds.max(0.0) } else { 0.0 };
    let turn = match job.class {
        Class::Chore => 0.0,
        Class::Interactive | Class::Bulk => take_turn(tx, &job.owner_key, seconds).await?,
    };
    let text = tx.sql(
        "INSERT INTO jobs (id, kind, subject, owner_key, class, seconds, bytes, payload, state, turn, run_at, waits, attempts,
            max_attempts, solitary, lost_alone, kills, cancel, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting', $9, COALESCE($10, {now}),
            CASE WHEN $10 > {now} + $12 THEN $12 WHEN $10 > {now} THEN $10 - {now} ELSE 0 END, 0, $11, 0, 0, 0, 0, {now})
        ON CONFLICT (kind, subject) DO NOTHING",
    );
    let query = sqlx::query(text).bind(&id).bind(&job.kind).bind(&job.subject).bind(&job.owner_key);
    let query = query.bind(job.class.as_str()).bind(seconds).bind(i64::try_from(job.bytes).unwrap_or(i64::MAX));
    let query = query.bind(&job.payload).bind(turn).bind(job.run_at).bind(i64::from(job.max_attempts));
    let query = query.bind(millis(LONGEST_WAIT));
    if query.execute(&mut **tx).await?.rows_affected() == 0 {
        if job.class != Class::Chore {
            give_back(tx, &job.owner_key, seconds).await?;
        }
        return Ok(None);
    }
    tx.tell(Change::Jobs);
    Ok(Some(id))
}

/// Where the owner's next `seconds` end in virtual time: after their own last job, but not before now.
async fn take_turn(tx: &mut Tx, owner_key: &str, seconds: f64) -> Result<f64, DbError> {
    let text = "INSERT INTO turns (owner_key, finish) SELECT $1, v.finish + $2 FROM turns v WHERE v.owner_key = '*'
        ON CONFLICT (owner_key) DO UPDATE
        SET finish = CASE WHEN turns.finish + $2 > excluded.finish THEN turns.finish + $2 ELSE excluded.finish END
        RETURNING finish";
    Ok(sqlx::query_scalar(text).bind(owner_key).bind(seconds).fetch_one(&mut **tx).await?)
}

/// What never ran does not count.
async fn give_back(tx: &mut Tx, owner_key: &str, seconds: f64) -> Result<(), DbError> {
    let text = "UPDATE turns SET finish = finish - $2 WHERE owner_key = $1";
    sqlx::query(text).bind(owner_key).bind(seconds).execute(&mut **tx).await?;
    Ok(())
}

/// Takes a waiting job out of the queue, or asks the worker of a running one to stop.
pub async fn cancel(tx: &mut Tx, kind: &str, subject: &str) -> Result<Cancelled, DbError> {
    let text = "DELETE FROM jobs WHERE kind = $1 AND subject = $2 AND state = 'waiting'
        RETURNING id, kind, subject, owner_key, class, seconds, attempts, created_at";
    if let Some(row) = sqlx::query(text).bind(kind).bind(subject).fetch_optional(&mut **tx).await? {
        let ended = Ended::read(&row)?;
        if ended.attempts == 0 && Class::of(row.try_get("class")?) != Class::Chore {
            give_back(tx, &ended.owner_key, row.try_get("seconds")?).await?;
        }
        ended.write(tx, "cancelled", None).await?;
        return Ok(Cancelled::Gone);
    }
    let text = "UPDATE jobs SET cancel = 1 WHERE kind = $1 AND subject = $2 AND state = 'running'";
    let asked = sqlx::query(text).bind(kind).bind(subject).execute(&mut **tx).await?.rows_affected();
    if asked == 0 {
        return Ok(Cancelled::Unknown);
    }
    tx.tell(Change::Jobs);
    Ok(Cancelled::Asked)
}

/// Makes a job that waits for a later time come at `at`.
pub async fn hasten(tx: &mut Tx, kind: &str, subject: &str, at: i64) -> Result<(), DbError> {
    let text = "UPDATE jobs SET run_at = $3 WHERE kind = $1 AND subject = $2 AND state = 'waiting' AND run_at > $3";
    sqlx::query(text).bind(kind).bind(subject).bind(at).execute(&mut **tx).await?;
    Ok(())
}

/// A job is larger than it looked.
pub async fn resize(tx: &mut Tx, id: &str, bytes: u64) -> Result<(), DbError> {
    let text = "UPDATE jobs SET bytes = $2 WHERE id = $1 AND bytes < $2";
    sqlx::query(text).bind(id).bind(i64::try_from(bytes).unwrap_or(i64::MAX)).execute(&mut **tx).await?;
    Ok(())
}

/// Forgets what has ended of something that is gone.
pub async fn forget_subject(tx: &mut Tx, subject: &str) -> Result<(), DbError> {
    sqlx::query("DELETE FROM job_history WHERE subject = $1").bind(subject).execute(&mut **tx).await?;
    Ok(())
}

/// Forgets what has ended of an owner who is gone.
pub async fn forget_owner(tx: &mut Tx, owner: &str) -> Result<(), DbError> {
    let text = "DELETE FROM job_history WHERE owner_key = $1 OR subject = $1";
    sqlx::query(text).bind(owner).execute(&mut **tx).await?;
    Ok(())
}

/// Takes a text out of what is kept about failures of one kind.
pub async fn forget_in_errors(tx: &mut Tx, kind: &str, text: &str) -> Result<(), DbError> {
    let update = "UPDATE job_history SET error_text = NULL WHERE kind = $1 AND error_text LIKE $2";
    sqlx::query(update).bind(kind).bind(format!("%{text}%")).execute(&mut **tx).await?;
    Ok(())
}

/// How many jobs of its kind go before a waiting one; `None` where it does not wait.
pub async fn position(db: &Db, kind: &str, subject: &str) -> Result<Option<i64>, DbError> {
    let text = "SELECT (SELECT COUNT(*) FROM jobs o WHERE o.state = 'waiting' AND o.kind = j.kind AND o.turn < j.turn)
        FROM jobs j WHERE j.kind = $1 AND j.subject = $2 AND j.state = 'waiting'";
    Ok(sqlx::query_scalar(text).bind(kind).bind(subject).fetch_optional(db.read()).await?)
}

/// What jobs run on: a card, a processor, or, of what waits, whichever takes it.
pub const DEVICES: [&str; 3] = ["any", "cpu", "gpu"];

/// How full the queue is, for one class, state and device.
#[derive(Clone, Debug, PartialEq)]
pub struct Depth {
    /// Which jobs.
    pub class: Class,
    /// Whether they run or wait.
    pub running: bool,
    /// Of those that run, what their worker renders on; of those that wait, what they have to be rendered on. One of [`DEVICES`].
    pub device: &'static str,
    /// How many.
    pub jobs: i64,
    /// Their audio.
    pub seconds: f64,
    /// How long ago the first of them might have begun, in milliseconds. One that is to wait has no age until its time has come.
    pub oldest: i64,
}

/// How full the queue is.
pub async fn depth(db: &Db) -> Result<Vec<Depth>, DbError> {
    let text = db.sql(
        "SELECT class, state, device, COUNT(*) AS jobs, SUM(seconds) AS seconds, {now} - MIN(run_at) AS oldest FROM
            (SELECT jobs.class, jobs.state, jobs.seconds, jobs.run_at, CASE WHEN jobs.state = 'running' THEN COALESCE(workers.device, 'any')
                WHEN jobs.solitary = 1 THEN 'cpu' ELSE 'any' END AS device
            FROM jobs LEFT JOIN workers ON workers.name = jobs.worker_id) AS told
        GROUP BY class, state, device ORDER BY class, state, device",
    );
    let rows = sqlx::query(text).fetch_all(db.read()).await?;
    let read = |row: &sqlx::any::AnyRow| -> Result<Depth, sqlx::Error> {
        let device: &str = row.try_get("device")?;
        Ok(Depth {
            class: Class::of(row.try_get("class")?),
            running: row.try_get::<&str, _>("state")? == "running",
            device: DEVICES.into_iter().find(|known| *known == device).unwrap_or(DEVICES[0]),
            jobs: row.try_get("jobs")?,
            seconds: row.try_get("seconds")?,
            oldest: row.try_get::<i64, _>("oldest")?.max(0),
        })
    };
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// A job on its way into the history.
struct Ended {
    id: String,
    kind: String,
    subject: String,
    owner_key: String,
    attempts: i64,
    created_at: i64,
}

impl Ended {
    fn read(row: &sqlx::any::AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            kind: row.try_get("kind")?,
            subject: row.try_get("subject")?,
            owner_key: row.try_get("owner_key")?,
            attempts: row.try_get("attempts")?,
            created_at: row.try_get("created_at")?,
        })
    }

    async fn write(&self, tx: &mut Tx, state: &str, error: Option<(&str, &str)>) -> Result<(), DbError> {
        let text = tx.sql(
            "INSERT INTO job_history (id, kind, subject, owner_key, state, attempts, error_code, error_text, created_at, ended_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, {now})",
        );
        let query = sqlx::query(text).bind(&self.id).bind(&self.kind).bind(&self.subject).bind(&self.owner_key);
        let query = query.bind(state).bind(self.attempts).bind(error.map(|(code, _)| code));
        query.bind(error.map(|(_, text)| text)).bind(self.created_at).execute(&mut **tx).await?;
        Ok(())
    }
}

/// Exponential, with full jitter: those who failed together do not come back together.
fn backoff(attempt: i64) -> Duration {
    let doublings = u32::try_from(attempt.clamp(0, 20)).unwrap_or(0);
    let most = BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF);
    most.mul_f64(rand::rng().random::<f64>())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
