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
