//! Claiming jobs, keeping them, ending them.

use super::{Class, DUE, Ended, Failure, FailureClass, Fate, LEASE, LONGEST_WAIT, QueueError, backoff, millis};
use crate::db::{Change, Db, DbError, Dialect, Tx};
use crate::measure::{self, Run};
use rand::RngExt;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What a worker can take now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Jobs at most; one interactive job may come on top.
    pub jobs: usize,
    /// Bytes of decoded audio that are free.
    pub bytes: u64,
    /// Further free bytes, for interactive jobs only.
    pub reserve: u64,
    /// All bytes there are, free or not.
    pub whole: u64,
    /// Seconds of audio; one interactive job may come on top, and the first job may be longer.
    pub seconds: f64,
    /// Nothing is running here: a job that has to run alone, or one that is larger than the whole, may come.
    pub idle: bool,
    /// How long the leases last without a heartbeat.
    pub lease: Duration,
}

/// A job that is this worker's until the lease ends.
#[derive(Debug)]
pub struct Lease {
    /// The job.
    pub id: String,
    /// What is to be done.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// Whose turn it was.
    pub owner_key: String,
    /// Who waits for it.
    pub class: Class,
    /// Seconds of audio.
    pub seconds: f64,
    /// Bytes of decoded audio, as was estimated.
    pub bytes: u64,
    /// What the one who does it has to know.
    pub payload: String,
    /// Which run this is, from 1. Part of the fencing token and of the names of the result's objects.
    pub attempt: i64,
    /// Runs after which a transient failure is final.
    pub max_attempts: i64,
    /// Runs alone and on the processor.
    pub solitary: bool,
    /// When the job was made.
    pub created_at: i64,
    turn: f64,
    token: String,
    lasts: Duration,
    until: Mutex<Instant>,
}

impl Lease {
    /// Whether the lease holds by this process's own clock, which nobody can set: a worker that was suspended, or cut off from the
    /// database, stops by itself.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.left() > Duration::ZERO
    }

    /// How long it holds without another heartbeat.
    #[must_use]
    pub fn left(&self) -> Duration {
        let until = self.until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        until.saturating_duration_since(Instant::now())
    }

    fn extend(&self, to: Instant) {
        *self.until.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = to;
    }

    fn read(row: &AnyRow, lasts: Duration, until: Instant) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            kind: row.try_get("kind")?,
            subject: row.try_get("subject")?,
            owner_key: row.try_get("owner_key")?,
            class: Class::of(row.try_get("class")?),
            seconds: row.try_get("seconds")?,
            bytes: u64::try_from(row.try_get::<i64, _>("bytes")?).unwrap_or(0),
            payload: row.try_get("payload")?,
            attempt: row.try_get("attempts")?,
            max_attempts: row.try_get("max_attempts")?,
            solitary: row.try_get::<i64, _>("solitary")? != 0,
            created_at: row.try_get("created_at")?,
            turn: row.try_get("turn")?,
            token: row.try_get("lease_token")?,
            lasts,
            until: Mutex::new(until),
        })
    }

    fn ended(&self) -> Ended {
        Ended {
            id: self.id.clone(),
            kind: self.kind.clone(),
            subject: self.subject.clone(),
            owner_key: self.owner_key.clone(),
            attempts: self.attempt,
            created_at: self.created_at,
        }
    }
}

/// A job that waits.
struct Candidate {
    id: String,
    class: Class,
    seconds: f64,
    bytes: u64,
    solitary: bool,
    turn: f64,
}

impl Candidate {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            class: Class::of(row.try_get("class")?),
            seconds: row.try_get("seconds")?,
            bytes: u64::try_from(row.try_get::<i64, _>("bytes")?).unwrap_or(0),
            solitary: row.try_get::<i64, _>("solitary")? != 0,
            turn: row.try_get("turn")?,
        })
    }
}

/// The jobs to take, of candidates in their order. Nobody is passed by a smaller one of its class, or large jobs would wait for
/// ever; nor is one that has to run alone, as soon as it is its turn.
fn pick(candidates: &[Candidate], limits: &Limits) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    let (mut bytes, mut seconds) = (0_u64, 0.0);
    let (mut bulk_closed, mut interactive_closed, mut reserve_used) = (false, false, false);
    for candidate in candidates {
        let interactive = candidate.class == Class::Interactive;
        let closed = if interactive { interactive_closed } else { bulk_closed };
        if closed {
            continue;
        }
        if candidate.solitary || candidate.bytes > limits.whole {
            if taken.is_empty() && limits.idle && limits.jobs > 0 {
                taken.push(candidate.id.clone());
            }
            break;
        }
        let room = if interactive { limits.bytes.saturating_add(limits.reserve) } else { limits.bytes };
        // The slot kept for somebody who looks at the page: by its turn it may stand far behind, but it goes.
        let reserved = interactive && !reserve_used;
        let fits = bytes.saturating_add(candidate.bytes) <= room;
        let in_batch = taken.len() < limits.jobs && seconds + candidate.seconds <= limits.seconds;
        let first = taken.is_empty() && limits.jobs > 0;
        if (first && limits.idle) || (fits && (in_batch || reserved || first)) {
            bytes = bytes.saturating_add(candidate.bytes);
            seconds += candidate.seconds;
            reserve_used |= interactive;
            taken.push(candidate.id.clone());
        } else if interactive {
            interactive_closed = true;
        } else {
            bulk_closed = true;
        }
    }
    taken
}

/// Leases a batch of tracks to `worker`, which names one start of one process: lowest turn first; one that has to run alone comes
/// alone. While nothing comes although something waits, it is worth asking again whenever something here has ended.
pub async fn claim(db: &Db, worker: &str, limits: &Limits) -> Result<Vec<Lease>, DbError> {
    let mut tx = db.begin().await?;
    let mut candidates = waiting(&mut tx, limits.jobs).await?;
    candidates.sort_by(|a, b| a.turn.total_cmp(&b.turn).then_with(|| a.id.cmp(&b.id)));
    let chosen = pick(&candidates, limits);
    if chosen.is_empty() {
        tx.rollback().await?;
        return Ok(Vec::new());
    }
    // Virtual time is where the head of the queue is. If another worker is just moving it, it moves without us.
    if let Some(head) = candidates.first() {
        let text = tx.sql(
            "UPDATE turns SET finish = $1
            WHERE owner_key IN (SELECT owner_key FROM turns WHERE owner_key = '*' AND finish < $1 {skip})",
        );
        sqlx::query(text).bind(head.turn).execute(&mut *tx).await?;
    }
    lease(tx, worker, limits.lease, chosen).await
}

/// Leases up to `jobs` chores of these kinds.
pub async fn claim_chores(
    db: &Db,
    worker: &str,
    kinds: &[&str],
    jobs: usize,
    lasts: Duration,
) -> Result<Vec<Lease>, DbError> {
    if kinds.is_empty() || jobs == 0 {
        return Ok(Vec::new());
    }
    let mut tx = db.begin().await?;
    let text = tx.sql(&format!(
        "SELECT id FROM jobs WHERE state = 'waiting' AND class = 'chore' AND {DUE} AND kind IN ({})
        ORDER BY turn, run_at, id LIMIT $1 {{skip}}",
        placeholders(2, kinds.len()),
    ));
    let mut query = sqlx::query_scalar(text).bind(i64::try_from(jobs).unwrap_or(i64::MAX));
    for kind in kinds {
        query = query.bind(*kind);
    }
    let chosen: Vec<String> = query.fetch_all(&mut *tx).await?;
    if chosen.is_empty() {
        tx.rollback().await?;
        return Ok(Vec::new());
    }
    lease(tx, worker, lasts, chosen).await
}

/// Which of a worker's jobs are to be stopped.
pub async fn cancel_asked(db: &Db, worker: &str) -> Result<Vec<String>, DbError> {
    let text = "SELECT id FROM jobs WHERE state = 'running' AND cancel = 1 AND worker_id = $1";
    Ok(sqlx::query_scalar(text).bind(worker).fetch_all(db.read()).await?)
}

/// Those who may be picked, and of each class the one that closes it: what is locked here nobody else can claim meanwhile.
async fn waiting(tx: &mut Tx, jobs: usize) -> Result<Vec<Candidate>, DbError> {
    let text = tx.sql(&format!(
        "SELECT * FROM (SELECT id, class, seconds, bytes, solitary, turn FROM jobs
            WHERE state = 'waiting' AND class = 'interactive' AND {DUE} ORDER BY turn, id LIMIT $1 {{skip}}) AS a
        UNION ALL SELECT * FROM (SELECT id, class, seconds, bytes, solitary, turn FROM jobs
            WHERE state = 'waiting' AND class = 'bulk' AND {DUE} ORDER BY turn, id LIMIT $2 {{skip}}) AS b",
    ));
    let limit = i64::try_from(jobs).unwrap_or(i64::MAX - 2);
    let rows = sqlx::query(text).bind(limit + 2).bind(limit + 1).fetch_all(&mut **tx).await?;
    Ok(rows.iter().map(Candidate::read).collect::<Result<_, _>>()?)
}

async fn lease(mut tx: Tx, worker: &str, lasts: Duration, chosen: Vec<String>) -> Result<Vec<Lease>, DbError> {
    // A longer one would be taken for one that a clock wrote which has been set back since.
    let lasts = lasts.min(LEASE);
    // Our own clock is read before the database's: the worker's end of the lease never comes after the database's.
    let until = Instant::now() + lasts;
    let token = format!("-{:032x}", rand::rng().random::<u128>());
    let text = tx.sql(&format!(
        "UPDATE jobs SET state = 'running', attempts = attempts + 1, lease_token = CAST(attempts + 1 AS TEXT) || $1,
            lease_until = {{now}} + $2, worker_id = $3
        WHERE state = 'waiting' AND id IN ({})
        RETURNING id, kind, subject, owner_key, class, seconds, bytes, payload, attempts, max_attempts, solitary, created_at, turn,
            lease_token, {{now}} - run_at AS waited",
        placeholders(4, chosen.len()),
    ));
    let mut query = sqlx::query(text).bind(token).bind(millis(lasts)).bind(worker);
    for id in chosen {
        query = query.bind(id);
    }
    let rows = query.fetch_all(&mut *tx).await?;
    let mut leases = rows.iter().map(|row| Lease::read(row, lasts, until)).collect::<Result<Vec<_>, _>>()?;
    let waited = rows.iter().map(|row| row.try_get::<i64, _>("waited")).collect::<Result<Vec<_>, _>>()?;
    tx.commit().await?;
    for (lease, waited) in leases.iter().zip(waited) {
        measure::queued(lease.class.as_str(), Duration::from_millis(waited.max(0).unsigned_abs()));
    }
    leases.sort_by(|a, b| a.turn.total_cmp(&b.turn).then_with(|| a.id.cmp(&b.id)));
    Ok(leases)
}

/// `$first, $first+1, …`
fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).fold(String::new(), |mut text, number| {
        let _ = write!(text, "{}${number}", if text.is_empty() { "" } else { ", " });
        text
    })
}

/// What a heartbeat learned of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Still ours.
    Held,
    /// Still ours, and to be stopped.
    Cancel,
    /// Not ours any more.
    Lost,
}

/// Extends leases. The answers are in the order of `leases`.
pub async fn heartbeat(db: &Db, leases: &[&Lease]) -> Result<Vec<Beat>, DbError> {
    let Some(lasts) = leases.iter().map(|lease| lease.lasts).min() else { return Ok(Vec::new()) };
    let until = Instant::now() + lasts;
    let mut tx = db.begin().await?;
    let text = tx.sql(&format!(
        "UPDATE jobs SET lease_until = {{now}} + $1 WHERE state = 'running' AND id IN ({}) AND lease_token IN ({})
        RETURNING id, lease_token, cancel",
        placeholders(2, leases.len()),
        placeholders(2 + leases.len(), leases.len()),
    ));
    let mut query = sqlx::query(text).bind(millis(lasts));
    for lease in leases {
        query = query.bind(&lease.id);
    }
    for lease in leases {
        query = query.bind(&lease.token);
    }
    let rows = query.fetch_all(&mut *tx).await?;
    tx.commit().await?;
    let held = rows
        .iter()
        .map(|row| Ok((row.try_get("id")?, row.try_get("lease_token")?, row.try_get::<i64, _>("cancel")? != 0)))
        .collect::<Result<Vec<(String, String, bool)>, sqlx::Error>>()?;
    let beat = |lease: &&Lease| match held.iter().find(|(id, token, _)| *id == lease.id && *token == lease.token) {
        None => Beat::Lost,
        Some((_, _, cancel)) => {
            lease.extend(until);
            if *cancel { Beat::Cancel } else { Beat::Held }
        }
    };
    Ok(leases.iter().map(beat).collect())
}

/// Whether the lease holds, until the end of `tx`: what a worker writes about a job that runs on.
pub async fn held(tx: &mut Tx, lease: &Lease) -> Result<(), QueueError> {
    let text = "UPDATE jobs SET cancel = cancel WHERE id = $1 AND lease_token = $2 AND state = 'running'";
    let found = sqlx::query(text).bind(&lease.id).bind(&lease.token).execute(&mut **tx).await?.rows_affected();
    if found == 0 { Err(QueueError::Stale) } else { Ok(()) }
}

/// The job is done, as of the commit of `tx`, which also holds its result.
pub async fn finish(tx: &mut Tx, lease: &Lease) -> Result<(), QueueError> {
    end(tx, lease, "done", None).await
}

/// The worker has stopped a job that was to be cancelled.
pub async fn cancelled(tx: &mut Tx, lease: &Lease) -> Result<(), QueueError> {
    end(tx, lease, "cancelled", None).await
}

async fn end(tx: &mut Tx, lease: &Lease, state: &str, error: Option<(&str, &str)>) -> Result<(), QueueError> {
    if tx.dialect() == Dialect::Postgres {
        // The same in one statement: on the way to a server, half the statements are half the time.
        let text = tx.sql(
            "WITH gone AS (DELETE FROM jobs WHERE id = $1 AND lease_token = $2 AND state = 'running' RETURNING *)
            INSERT INTO job_history (id, kind, subject, owner_key, state, attempts, error_code, error_text, created_at, ended_at)
            SELECT id, kind, subject, owner_key, $3, attempts, CAST($4 AS TEXT), CAST($5 AS TEXT), created_at, {now} FROM gone",
        );
        let query = sqlx::query(text).bind(&lease.id).bind(&lease.token).bind(state).bind(error.map(|(code, _)| code));
        let written = query.bind(error.map(|(_, text)| text)).execute(&mut **tx).await?.rows_affected();
        return if written == 0 { Err(QueueError::Stale) } else { Ok(()) };
    }
    let text = "DELETE FROM jobs WHERE id = $1 AND lease_token = $2 AND state = 'running'";
    let gone = sqlx::query(text).bind(&lease.id).bind(&lease.token).execute(&mut **tx).await?.rows_affected();
    if gone == 0 {
        return Err(QueueError::Stale);
    }
    Ok(lease.ended().write(tx, state, error).await?)
}

/// The job failed. What becomes of it is for the caller to write down in the same transaction.
pub async fn fail(tx: &mut Tx, lease: &Lease, failure: &Failure) -> Result<Fate, QueueError> {
    let error = Some((failure.code.as_str(), failure.text.as_str()));
    let last = lease.attempt >= lease.max_attempts;
    if failure.class == FailureClass::Permanent || (failure.class == FailureClass::Transient && last) {
        end(tx, lease, "dead", error).await?;
        tx.count(Run::Dead { kind: lease.kind.clone(), code: failure.code.clone() });
        return Ok(Fate::Dead);
    }
    let counts = failure.class == FailureClass::Transient;
    let wait = failure.after.unwrap_or_else(|| backoff(if counts { lease.attempt } else { 0 }));
    back(tx, lease, wait, counts, error).await
}

/// Gives a job back untouched, for a drain. The attempt does not count: instead of taking its number back, which would name the
/// objects of two runs alike, one more is allowed.
pub async fn release(tx: &mut Tx, lease: &Lease) -> Result<Fate, QueueError> {
    postpone(tx, lease, Duration::ZERO).await
}

/// Gives a job back that can do nothing before `wait` is over, or before somebody [hastens](super::hasten) it. The attempt does not
/// count, as in [`release`].
pub async fn postpone(tx: &mut Tx, lease: &Lease, wait: Duration) -> Result<Fate, QueueError> {
    back(tx, lease, wait, false, None).await
}

/// Back among the waiting, or out if it was to be cancelled.
async fn back(
    tx: &mut Tx,
    lease: &Lease,
    wait: Duration,
    counts: bool,
    error: Option<(&str, &str)>,
) -> Result<Fate, QueueError> {
    let wait = wait.min(LONGEST_WAIT);
    let text = tx.sql(
        "UPDATE jobs SET state = 'waiting', max_attempts = max_attempts + $3, run_at = {now} + $4, waits = $4, lease_token = NULL,
            lease_until = NULL, worker_id = NULL, error_code = $5, error_text = $6
        WHERE id = $1 AND lease_token = $2 AND state = 'running' AND cancel = 0",
    );
    let query = sqlx::query(text).bind(&lease.id).bind(&lease.token).bind(i64::from(!counts)).bind(millis(wait));
    let query = query.bind(error.map(|(code, _)| code)).bind(error.map(|(_, text)| text));
    if query.execute(&mut **tx).await?.rows_affected() == 0 {
        cancelled(tx, lease).await?;
        return Ok(Fate::Cancelled);
    }
    tx.tell(Change::Jobs);
    if let Some((code, _)) = error {
        tx.count(Run::Retried { kind: lease.kind.clone(), code: code.to_owned() });
    }
    Ok(Fate::Again)
}
