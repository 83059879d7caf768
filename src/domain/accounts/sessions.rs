//! Sessions: a random token in the browser, its hash here, looked up at every request by `identity`. What is revoked is over at once.

use crate::config::Config;
use crate::db::{Db, Tx, hash_secret, new_id, new_secret};
use crate::domain::error::Result;
use crate::domain::identity::{Caller, Identity};
use sqlx::{AnyConnection, Row as _};

/// How often a session notes that it was used.
const NOTED: i64 = 5 * 60 * 1000;
const DAY: i64 = 24 * 3600 * 1000;

/// A session that has just begun.
#[derive(Clone)]
pub struct Opened {
    /// `ses_…`
    pub id: String,
    /// `lms_…`, for the browser alone.
    pub token: String,
    /// However it is used, it ends after this time, milliseconds.
    pub lasts: i64,
}

// The token stays out of logs.
impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A row of the list of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `ses_…`
    pub id: String,
    /// As the browser calls itself.
    pub user_agent: String,
    /// Milliseconds.
    pub created_at: i64,
    /// Milliseconds.
    pub seen_at: i64,
}

/// Begins a session of `lasts` milliseconds and ends the one the browser had. `guest` is whose masters it may take over.
pub async fn open(
    tx: &mut Tx,
    user: &str,
    caller: &Caller,
    guest: Option<&str>,
    lasts: i64,
    now: i64,
) -> Result<Opened> {
    if let Identity::User { session, user, .. } = &caller.identity {
        revoke(tx, user, session, now).await?;
    }
    let opened = Opened { id: new_id("ses"), token: new_secret("lms"), lasts };
    sqlx::query(
        "INSERT INTO sessions (id, token_hash, user_id, user_agent, ip_hash, guest_id, created_at, signed_in_at, seen_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $7, $8)",
    )
    .bind(&opened.id)
    .bind(hash_secret(&opened.token))
    .bind(user)
    .bind(&caller.user_agent)
    .bind(&caller.ip_hash)
    .bind(guest)
    .bind(now)
    .bind(now + lasts)
    .execute(&mut **tx)
    .await?;
    Ok(opened)
}

/// A user's sessions that hold, the latest first.
pub async fn list(c: &mut AnyConnection, user: &str, idle: i64, now: i64) -> Result<Vec<Listed>> {
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
        "SELECT id, user_agent, created_at, seen_at FROM sessions
         WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND seen_at > $3 ORDER BY seen_at DESC, id",
    )
    .bind(user)
    .bind(now)
    .bind(now - idle)
    .fetch_all(c)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, user_agent, created_at, seen_at)| Listed { id, user_agent, created_at, seen_at })
        .collect())
}

/// Ends one session; false if the user has no such session.
pub async fn revoke(tx: &mut Tx, user: &str, session: &str, now: i64) -> Result<bool> {
    let done = sqlx::query("UPDATE sessions SET revoked_at = $1 WHERE id = $2 AND user_id = $3 AND revoked_at IS NULL")
        .bind(now)
        .bind(session)
        .bind(user)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends all sessions of a user, but `keep`.
pub async fn revoke_all(tx: &mut Tx, user: &str, keep: Option<&str>, now: i64) -> Result<u64> {
    let done =
        sqlx::query("UPDATE sessions SET revoked_at = $1 WHERE user_id = $2 AND id <> $3 AND revoked_at IS NULL")
            .bind(now)
            .bind(user)
            .bind(keep.unwrap_or_default())
            .execute(&mut **tx)
            .await?;
    Ok(done.rows_affected())
}

/// Whose session this token opens, if it holds.
pub async fn identify(db: &Db, config: &Config, token: &str) -> Result<Option<Identity>> {
    if !token.starts_with("lms_") {
        return Ok(None);
    }
    let text = db.sql(
        "SELECT s.id, s.user_id, s.signed_in_at, s.seen_at, {now} AS now FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.token_hash = $1 AND s.revoked_at IS NULL AND u.banned_at IS NULL AND s.expires_at > {now} AND s.seen_at > {now} - $2",
    );
    let idle = i64::from(config.retention.session_idle_days) * DAY;
    let row = sqlx::query(text).bind(hash_secret(token)).bind(idle).fetch_optional(db.read()).await?;
    let Some(row) = row else { return Ok(None) };
    let (session, user): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let (signed_in_at, seen_at, now): (i64, i64, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    if (now - seen_at).abs() > NOTED {
        let mut tx = db.begin().await?;
        let text = "UPDATE sessions SET seen_at = $1 WHERE id = $2";
        sqlx::query(text).bind(now).bind(&session).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    Ok(Some(Identity::User { session, user, signed_in_at }))
}

/// Removes all sessions of an account that goes.
pub async fn delete_all(tx: &mut Tx, user: &str) -> Result<()> {
    sqlx::query("DELETE FROM sessions WHERE user_id = $1").bind(user).execute(&mut **tx).await?;
    Ok(())
}
