//! Answers to creates, kept under a key of the client: the same key with the same request gets the first answer again, for a day. The
//! answer is kept in the transaction that did the work, so there is no moment at which the work is done and the answer is not known.

use super::error::{Error, Kind, Result};
use super::identity::{Visitor, is_id};
use crate::config::Config;
use crate::db::{Db, DbError, Tx};
use crate::digest::sha256;
use crate::secrets::Keys;
use loopmaster_core::retention::REPEAT;
use serde::Serialize;
use sqlx::Row;

/// After this time a first call that never ended counts as gone; handlers are stopped earlier.
const ABANDONED: i64 = 60_000;

/// Frees the keys whose first call never came to its end: for a process that starts where no other serves, so that nobody can be at them.
pub async fn free_abandoned(db: &Db) -> Result<(), DbError> {
    let mut tx = db.begin().await?;
    sqlx::query("DELETE FROM idempotency WHERE status IS NULL").execute(&mut *tx).await?;
    tx.commit().await
}

/// The first call, or one before this one.
#[derive(Debug)]
pub enum Begun {
    /// Do the work.
    First(Ticket),
    /// The work is done; this was the answer.
    Repeat {
        /// As [`begin`] was given it the first time.
        status: u16,
        /// JSON.
        body: Vec<u8>,
    },
}

/// The right to do the work under a key.
#[derive(Debug)]
pub struct Ticket(Option<Box<Kept>>);

#[derive(Debug)]
struct Kept {
    owner: String,
    key: String,
    keys: Keys,
    status: u16,
}

/// What an answer is sealed for: it may hold the address of a share, which is kept nowhere else.
fn purpose(owner: &str, key: &str) -> String {
    format!("idempotency {owner} {key}")
}

/// The ids of songs, uploads and batches in a text.
fn ids(text: &str) -> Vec<&str> {
    const LENGTH: usize = 4 + 32;
    let id = |at: usize| {
        let word = text.get(at.checked_sub(3)?..at + LENGTH - 3)?;
        ["mst_", "upl_", "bat_"].iter().any(|prefix| is_id(word, prefix)).then_some(word)
    };
    text.match_indices('_').filter_map(|(at, _)| id(at)).collect()
}

/// Looks whether this was asked before. `what` is asked for, beside the body; `status` goes with the answer that is kept, for whoever
/// gives it again.
pub async fn begin(db: &Db, config: &Config, visitor: &Visitor, key: &str, what: &str, status: u16) -> Result<Begun> {
    let fingerprint = sha256(format!("{what}\n{}", visitor.body_sha256).as_bytes());
    let owner = visitor.owner();
    let mut tx = db.begin().await?;
    let text = tx.sql(
            "INSERT INTO idempotency (owner, key, fingerprint, created_at) VALUES ($1, $2, $3, {now})
             ON CONFLICT (owner, key) DO UPDATE SET fingerprint = $3, status = NULL, body = NULL, created_at = {now}
             WHERE (idempotency.status IS NULL AND idempotency.created_at < {now} - $4) OR idempotency.created_at < {now} - $5",
        );
    let query = sqlx::query(text).bind(owner).bind(key).bind(&fingerprint).bind(ABANDONED).bind(REPEAT);
    let mine = query.execute(&mut *tx).await?;
    if mine.rows_affected() == 1 {
        tx.commit().await?;
        let kept = Kept { owner: owner.to_owned(), key: key.to_owned(), keys: config.keys(), status };
        return Ok(Begun::First(Ticket(Some(Box::new(kept)))));
    }
    tx.rollback().await?;
    let text = "SELECT fingerprint, status, body FROM idempotency WHERE owner = $1 AND key = $2";
    let row = sqlx::query(text).bind(owner).bind(key).fetch_optional(db.read()).await?;
    let running = || {
        Error::conflict(
            "idempotency.in_progress",
            "the first request with this Idempotency-Key is still running; ask again in a moment",
        )
        .retry_after(1)
    };
    // Gone since: the first call failed, and the next may try.
    let Some(row) = row else { return Err(running()) };
    if row.try_get::<String, _>(0)? != fingerprint {
        return Err(Error::invalid(
            "idempotency.key_reused",
            "this Idempotency-Key was used for another request; use a new key for each request",
        ));
    }
    let (status, body): (Option<i64>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
    let Some(status) = status else { return Err(running()) };
    let Some(body) = body else {
        return Err(Error::new(
            Kind::Gone,
            "idempotency.deleted",
            "what the first request with this Idempotency-Key made was deleted since; use a new key to make it again",
        ));
    };
    let status = u16::try_from(status).unwrap_or(200);
    // An earlier version kept answers as they were sent.
    let body = if body.starts_with('{') {
        body.into_bytes()
    } else {
        config.keys().open(&purpose(owner, key), body.lines().next().unwrap_or_default()).ok_or_else(|| {
            Error::conflict(
                "idempotency.unreadable",
                "the first answer to this Idempotency-Key was sealed with another secret; look whether it is done",
            )
        })?
    };
    Ok(Begun::Repeat { status, body })
}

impl Ticket {
    /// The right to do what nobody will ask for again.
    #[must_use]
    pub fn once() -> Self {
        Self(None)
    }

    /// Keeps the answer in the transaction that did the work.
    pub async fn keep(&self, tx: &mut Tx, body: &(impl Serialize + Sync)) -> Result<()> {
        let Some(Kept { owner, key, keys, status }) = self.0.as_deref() else { return Ok(()) };
        let body = serde_json::to_string(body).map_err(Error::internal)?;
        // Beside it, in clear, what it is about: it goes together with that.
        let body = format!("{}\n{}", keys.seal(&purpose(owner, key), body.as_bytes()), ids(&body).join(" "));
        sqlx::query("UPDATE idempotency SET status = $3, body = $4 WHERE owner = $1 AND key = $2")
            .bind(owner)
            .bind(key)
            .bind(i64::from(*status))
            .bind(body)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// Hands the outcome on; after a failure the key is free again.
    pub async fn settle<T, E>(self, db: &Db, outcome: Result<T, E>) -> Result<T, E> {
        if let (Err(_), Some(Kept { owner, key, .. })) = (&outcome, self.0.as_deref()) {
            let free = async {
                let mut tx = db.begin().await?;
                sqlx::query("DELETE FROM idempotency WHERE owner = $1 AND key = $2 AND status IS NULL")
                    .bind(owner)
                    .bind(key)
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await
            };
            if let Err(error) = free.await {
                tracing::warn!(%error, "an idempotency key stays taken for a minute");
            }
        }
        outcome
    }
}

/// Removes all answers kept for an owner.
pub async fn forget(tx: &mut Tx, owner: &str) -> Result<()> {
    sqlx::query("DELETE FROM idempotency WHERE owner = $1").bind(owner).execute(&mut **tx).await?;
    Ok(())
}

/// Forgets the answers of an owner that name something which is gone. The key stays taken: asking once more must not make it once more.
pub async fn forget_answers(tx: &mut Tx, owner: &str, names: impl Fn(&str) -> bool) -> Result<()> {
    let kept: Vec<(String, String)> =
        sqlx::query_as("SELECT key, body FROM idempotency WHERE owner = $1 AND body IS NOT NULL")
            .bind(owner)
            .fetch_all(&mut **tx)
            .await?;
    for (key, _) in kept.iter().filter(|(_, body)| names(body)) {
        sqlx::query("UPDATE idempotency SET body = NULL WHERE owner = $1 AND key = $2")
            .bind(owner)
            .bind(key)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
