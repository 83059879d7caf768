//! Accounts: one for each address that somebody has proven to read.

use crate::db::{Tx, new_id};
use crate::domain::error::{Error, Result};
use loopmaster_core::retention::POLICY;
use sqlx::{AnyConnection, Row};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `usr_…`
    pub id: String,
    /// Lower case.
    pub email: String,
    /// As they want to be called.
    pub name: String,
    /// Object of the picture.
    pub picture_key: Option<String>,
    /// Whether they want a mail when a batch is done.
    pub mail_when_ready: bool,
    /// The policy they have seen.
    pub policy_version: String,
    /// Milliseconds.
    pub created_at: i64,
    /// Milliseconds.
    pub banned_at: Option<i64>,
    /// When the account goes.
    pub delete_after: Option<i64>,
}

async fn one(c: &mut AnyConnection, text: &'static str, key: &str) -> Result<Option<User>> {
    let Some(row) = sqlx::query(text).bind(key).fetch_optional(c).await? else { return Ok(None) };
    Ok(Some(User {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        picture_key: row.try_get("picture_key")?,
        mail_when_ready: row.try_get::<i64, _>("mail_when_ready")? != 0,
        policy_version: row.try_get("policy_version")?,
        created_at: row.try_get("created_at")?,
        banned_at: row.try_get("banned_at")?,
        delete_after: row.try_get("delete_after")?,
    }))
}

/// The account with this id.
pub async fn by_id(c: &mut AnyConnection, id: &str) -> Result<Option<User>> {
    one(c, "SELECT * FROM users WHERE id = $1", id).await
}

/// The account with this address.
pub async fn by_email(c: &mut AnyConnection, email: &str) -> Result<Option<User>> {
    one(c, "SELECT * FROM users WHERE email = $1", email).await
}

/// The account of somebody who has just shown that the address is theirs; a new one if there is none. The statement of age was made
/// when the sign-in began.
pub async fn by_proven_email(tx: &mut Tx, email: &str, now: i64) -> Result<User> {
    let name = email.split('@').next().unwrap_or(email);
    // Two at once: the second finds the row of the first.
    sqlx::query(
        "INSERT INTO users (id, email, name, mail_when_ready, policy_version, of_age_at, created_at)
         VALUES ($1, $2, $3, 1, $4, $5, $5) ON CONFLICT (email) DO NOTHING",
    )
    .bind(new_id("usr"))
    .bind(email)
    .bind(name)
    .bind(POLICY)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    let user = by_email(tx, email).await?.ok_or_else(|| Error::internal("the account of a sign-in is not there"))?;
    admitted(user)
}

/// Turns away who is banned.
pub fn admitted(user: User) -> Result<User> {
    match user.banned_at {
        Some(_) => Err(Error::forbidden(
            "auth.banned",
            "this account is closed because it was misused; if that is a mistake, write to us through the contact form",
        )),
        None => Ok(user),
    }
}

/// The account of somebody who is signed in.
pub async fn of_session(c: &mut AnyConnection, id: &str) -> Result<User> {
    by_id(c, id).await?.ok_or_else(|| Error::internal("no row of a signed-in user"))
}

/// Gives another name: 1 to 100 characters.
pub async fn rename(tx: &mut Tx, id: &str, name: &str) -> Result<()> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(Error::invalid("account.name", "a name has 1 to 100 characters, on one line"));
    }
    set_name(tx, id, name).await
}

/// Writes the name of an account down.
pub(super) async fn set_name(tx: &mut Tx, id: &str, name: &str) -> Result<()> {
    sqlx::query("UPDATE users SET name = $1 WHERE id = $2").bind(name).bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// Whether a mail comes when a batch is done.
pub async fn set_mail_when_ready(tx: &mut Tx, id: &str, wanted: bool) -> Result<()> {
    sqlx::query("UPDATE users SET mail_when_ready = $1 WHERE id = $2")
        .bind(i64::from(wanted))
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The policy in force was seen.
pub async fn accept_policy(tx: &mut Tx, id: &str) -> Result<()> {
    sqlx::query("UPDATE users SET policy_version = $1 WHERE id = $2").bind(POLICY).bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// Gives another picture, or none; gives the key of the one before.
pub async fn set_picture(tx: &mut Tx, id: &str, key: Option<&str>) -> Result<Option<String>> {
    let old: Option<String> =
        sqlx::query_scalar("SELECT picture_key FROM users WHERE id = $1").bind(id).fetch_one(&mut **tx).await?;
    sqlx::query("UPDATE users SET picture_key = $1 WHERE id = $2").bind(key).bind(id).execute(&mut **tx).await?;
    Ok(old)
}

/// Gives another address, if it still has the one before.
pub async fn set_email(tx: &mut Tx, id: &str, old: &str, new: &str) -> Result<bool> {
    let changed = sqlx::query("UPDATE users SET email = $1 WHERE id = $2 AND email = $3")
        .bind(new)
        .bind(id)
        .bind(old)
        .execute(&mut **tx)
        .await?;
    Ok(changed.rows_affected() > 0)
}

/// Closes an account: nobody signs in any more. One that is closed keeps its time.
pub async fn ban(tx: &mut Tx, id: &str, now: i64) -> Result<()> {
    let text = "UPDATE users SET banned_at = COALESCE(banned_at, $1) WHERE id = $2";
    sqlx::query(text).bind(now).bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// Opens it again.
pub async fn unban(tx: &mut Tx, id: &str) -> Result<()> {
    sqlx::query("UPDATE users SET banned_at = NULL WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// The account goes at this time.
pub async fn delete_after(tx: &mut Tx, id: &str, after: i64) -> Result<()> {
    sqlx::query("UPDATE users SET delete_after = $1 WHERE id = $2").bind(after).bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// Keeps an account that was to go; false if it was not.
pub async fn keep(tx: &mut Tx, id: &str) -> Result<bool> {
    let kept = sqlx::query("UPDATE users SET delete_after = NULL WHERE id = $1 AND delete_after IS NOT NULL")
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(kept.rows_affected() > 0)
}

/// Removes the row; gives the address.
pub async fn delete(tx: &mut Tx, id: &str) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("DELETE FROM users WHERE id = $1 RETURNING email").bind(id).fetch_optional(&mut **tx).await?)
}

/// What an account has, for an operator: what it is, and how many.
pub async fn holdings(tx: &mut Tx, id: &str) -> Result<Vec<(&'static str, i64)>> {
    let mut found = Vec::new();
    for (what, text) in [
        ("masters", "SELECT COUNT(*) FROM masters WHERE owner = $1 AND deleted_at IS NULL"),
        ("uploads", "SELECT COUNT(*) FROM uploads WHERE owner = $1 AND state = 'stored'"),
        (
            "bytes of mixes",
            "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM uploads WHERE owner = $1 AND state = 'stored'",
        ),
        ("sessions", "SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL"),
        ("tokens", "SELECT COUNT(*) FROM tokens WHERE user_id = $1 AND revoked_at IS NULL"),
        ("webhooks", "SELECT COUNT(*) FROM webhooks WHERE user_id = $1"),
        ("presets", "SELECT COUNT(*) FROM presets WHERE user_id = $1"),
        ("unfinished jobs", "SELECT COUNT(*) FROM jobs WHERE owner_key = $1"),
    ] {
        found.push((what, sqlx::query_scalar(text).bind(id).fetch_one(&mut **tx).await?));
    }
    Ok(found)
}
