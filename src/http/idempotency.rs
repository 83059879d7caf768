//! `Idempotency-Key` on creates: the same key with the same request gets the first answer again, for a day. The answer is kept in the
//! transaction that did the work, so there is no moment at which the work is done and the answer is not known.

use super::App;
use super::identity::{Visitor, is_id};
use super::problem::{Answer, Problem};
use super::signed::sha256;
use crate::db::{Db, DbError, Tx};
use crate::secrets::Keys;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use loopmaster_core::retention::REPEAT;
use serde::Serialize;
use sqlx::Row;

/// The header's name.
pub const HEADER: &str = "idempotency-key";
/// After this time a first call that never ended counts as gone; handlers are stopped earlier.
const ABANDONED: i64 = 60_000;
const LONGEST: usize = 255;

/// The key a client sent, if any.
#[derive(Clone, Debug)]
pub struct Idempotency {
    key: Option<String>,
    what: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let what = format!("{} {}", parts.method, parts.uri.path());
        let Some(value) = parts.headers.get(HEADER) else { return Ok(Self { key: None, what }) };
        let key = value
            .to_str()
            .ok()
            .map(|key| key.trim().trim_matches('"'))
            .filter(|key| !key.is_empty() && key.len() <= LONGEST);
        match key {
            Some(key) => Ok(Self { key: Some(key.to_owned()), what }),
            None => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "idempotency.invalid_key",
                format!("an Idempotency-Key has 1 to {LONGEST} visible ASCII characters"),
            )),
        }
    }
}

/// Frees the keys whose first call never came to its end: for a process that starts where no other serves, so that nobody can be at them.
pub(crate) async fn free_abandoned(db: &Db) -> Result<(), DbError> {
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
    Repeat(Response),
}

/// The right to do the work under a key.
#[derive(Debug)]
pub struct Ticket(Option<Box<Kept>>);

#[derive(Debug)]
struct Kept {
    owner: String,
    key: String,
    keys: Keys,
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

impl Idempotency {
    /// Looks whether this was asked before.
    pub async fn begin(&self, app: &App, visitor: &Visitor) -> Answer<Begun> {
        let Some(key) = &self.key else { return Ok(Begun::First(Ticket(None))) };
        let fingerprint = sha256(format!("{}\n{}", self.what, visitor.body_sha256).as_bytes());
        let owner = visitor.owner();
        let mut tx = app.db.begin().await?;
        let text = tx.sql(
            "INSERT INTO idempotency (owner, key, fingerprint, created_at) VALUES ($1, $2, $3, {now})
             ON CONFLICT (owner, key) DO UPDATE SET fingerprint = $3, status = NULL, body = NULL, created_at = {now}
             WHERE (idempotency.status IS NULL AND idempotency.created_at < {now} - $4) OR idempotency.created_at < {now} - $5",
        );
        let query = sqlx::query(text).bind(owner).bind(key).bind(&fingerprint).bind(ABANDONED).bind(REPEAT);
        let mine = query.execute(&mut *tx).await?;
        if mine.rows_affected() == 1 {
            tx.commit().await?;
            let kept = Kept { owner: owner.to_owned(), key: key.clone(), keys: Keys::of(&app.config) };
            return Ok(Begun::First(Ticket(Some(Box::new(kept)))));
        }
        tx.rollback().await?;
        let text = "SELECT fingerprint, status, body FROM idempotency WHERE owner = $1 AND key = $2";
        let row = sqlx::query(text).bind(owner).bind(key).fetch_optional(app.db.read()).await?;
        let running = || {
            Problem::conflict(
                "idempotency.in_progress",
                "the first request with this Idempotency-Key is still running; ask again in a moment",
            )
            .retry_after(1)
        };
        // Gone since: the first call failed, and the next may try.
        let Some(row) = row else { return Err(running()) };
        if row.try_get::<String, _>(0)? != fingerprint {
            return Err(Problem::unprocessable(
                "idempotency.key_reused",
                "this Idempotency-Key was used for another request; use a new key for each request",
            ));
        }
        let (status, body): (Option<i64>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
        let Some(status) = status else { return Err(running()) };
        let Some(body) = body else {
            return Err(Problem::new(
                StatusCode::GONE,
                "idempotency.deleted",
                "what the first request with this Idempotency-Key made was deleted since; use a new key to make it again",
            ));
        };
        let status =
            u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
        // An earlier version kept answers as they were sent.
        let body = if body.starts_with('{') {
            body.into_bytes()
        } else {
            Keys::of(&app.config).open(&purpose(owner, key), body.lines().next().unwrap_or_default()).ok_or_else(|| {
                Problem::conflict(
                    "idempotency.unreadable",
                    "the first answer to this Idempotency-Key was sealed with another secret; look whether it is done",
                )
            })?
        };
        let mut response = (status, body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
        Ok(Begun::Repeat(response))
    }
}

impl Ticket {
    /// Keeps the answer in the transaction that did the work.
    pub async fn keep(&self, tx: &mut Tx, status: StatusCode, body: &(impl Serialize + Sync)) -> Answer<()> {
        let Some(Kept { owner, key, keys }) = self.0.as_deref() else { return Ok(()) };
        let body = serde_json::to_string(body).map_err(Problem::internal)?;
        // Beside it, in clear, what it is about: it goes together with that.
        let body = format!("{}\n{}", keys.seal(&purpose(owner, key), body.as_bytes()), ids(&body).join(" "));
        sqlx::query("UPDATE idempotency SET status = $3, body = $4 WHERE owner = $1 AND key = $2")
            .bind(owner)
            .bind(key)
            .bind(i64::from(status.as_u16()))
            .bind(body)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// Hands the outcome on; after a failure the key is free again.
    pub async fn settle<T>(self, db: &Db, outcome: Answer<T>) -> Answer<T> {
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
