//! API tokens of accounts. The only module that writes the table.

use crate::db::{Db, Tx, hash_secret, new_id, new_secret};
use crate::domain::error::{Error, Result};
use crate::domain::identity::{Identity, Scope};
use crate::domain::limits::Rule;
use sqlx::{AnyConnection, Row as _};

const DAY: i64 = 24 * 60 * 60 * 1000;
/// Tokens of one account that work.
const MOST: i64 = 50;
/// Made in a day, those counted that were revoked meanwhile.
const MADE_A_DAY: u64 = 100;

/// How often a token notes that it was used.
const NOTED: i64 = 5 * 60 * 1000;

/// Whose token this is, if it holds.
pub async fn identify(db: &Db, token: &str) -> Result<Option<Identity>> {
    if !token.starts_with("lmt_") || token.len() > 100 {
        return Ok(None);
    }
    let text = db.sql(
        "SELECT t.id, t.user_id, t.scopes, COALESCE(t.used_at, 0), {now} AS now FROM tokens t JOIN users u ON u.id = t.user_id
         WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND u.banned_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > {now})",
    );
    let row = sqlx::query(text).bind(hash_secret(token)).fetch_optional(db.read()).await?;
    let Some(row) = row else { return Ok(None) };
    let (token, user, scopes): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (used_at, now): (i64, i64) = (row.try_get(3)?, row.try_get(4)?);
    if (now - used_at).abs() > NOTED {
        let mut tx = db.begin().await?;
        let text = "UPDATE tokens SET used_at = $1 WHERE id = $2";
        sqlx::query(text).bind(now).bind(&token).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    let scopes = Scope::ALL.into_iter().filter(|scope| scopes.split(' ').any(|name| name == scope.name())).collect();
    Ok(Some(Identity::Token { token, user, scopes }))
}

/// Revokes all tokens of a user.
pub async fn revoke_all(tx: &mut Tx, user: &str, now: i64) -> Result<()> {
    let text = "UPDATE tokens SET revoked_at = $1 WHERE user_id = $2 AND revoked_at IS NULL";
    sqlx::query(text).bind(now).bind(user).execute(&mut **tx).await?;
    Ok(())
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// `tok_…`
    pub id: String,
    /// What it is for.
    pub name: String,
    /// [`Scope::name`]s.
    pub scopes: Vec<String>,
    /// Milliseconds, like all that follow.
    pub created_at: i64,
    /// When it was last used.
    pub used_at: Option<i64>,
    /// Until when it works; none: for ever.
    pub expires_at: Option<i64>,
}

/// The tokens of a user that are not revoked, the latest first.
pub async fn list(c: &mut AnyConnection, user: &str) -> Result<Vec<Token>> {
    let text = "SELECT * FROM tokens WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id DESC";
    let rows = sqlx::query(text).bind(user).fetch_all(c).await?;
    rows.iter()
        .map(|row| {
            let scopes: String = row.try_get("scopes")?;
            Ok(Token {
                id: row.try_get("id")?,
                name: row.try_get("name")?,
                scopes: scopes.split(' ').map(str::to_owned).collect(),
                created_at: row.try_get("created_at")?,
                used_at: row.try_get("used_at")?,
                expires_at: row.try_get("expires_at")?,
            })
        })
        .collect()
}

/// Makes a token that works for so many days, or for ever. Gives its secret, this once.
pub async fn create(
    tx: &mut Tx,
    user: &str,
    name: &str,
    asked: &[String],
    days: Option<u32>,
    now: i64,
) -> Result<(Token, String)> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 60 || name.chars().any(char::is_control) {
        return Err(Error::invalid("token.name", "a token's name has 1 to 60 characters, on one line"));
    }
    let known = Scope::ALL.map(Scope::name);
    if asked.is_empty() || asked.iter().any(|scope| !known.contains(&scope.as_str())) {
        return Err(Error::invalid("token.scopes", format!("name one or more of {}", known.join(", "))));
    }
    if days.is_some_and(|days| !(1..=3650).contains(&days)) {
        return Err(Error::invalid("token.days", "a token works 1 to 3650 days, or for ever without `days`"));
    }
    let scopes: Vec<String> =
        known.into_iter().filter(|scope| asked.iter().any(|asked| asked == scope)).map(str::to_owned).collect();
    let expires_at = days.map(|days| now + i64::from(days) * DAY);
    Rule::daily("tokens", MADE_A_DAY).spend(tx, user, 1).await?;
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tokens WHERE user_id = $1 AND revoked_at IS NULL")
        .bind(user)
        .fetch_one(&mut **tx)
        .await?;
    if count >= MOST {
        return Err(Error::conflict(
            "token.too_many",
            format!("an account has at most {MOST} tokens; revoke one first"),
        ));
    }
    let (id, secret) = (new_id("tok"), new_secret("lmt"));
    sqlx::query("INSERT INTO tokens (id, user_id, name, token_hash, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(&id)
        .bind(user)
        .bind(name)
        .bind(hash_secret(&secret))
        .bind(scopes.join(" "))
        .bind(now)
        .bind(expires_at)
        .execute(&mut **tx)
        .await?;
    Ok((Token { id, name: name.to_owned(), scopes, created_at: now, used_at: None, expires_at }, secret))
}

/// Revokes a token of a user; false if there is no such one that works.
pub async fn revoke(tx: &mut Tx, user: &str, id: &str, now: i64) -> Result<bool> {
    let done = sqlx::query("UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND user_id = $3 AND revoked_at IS NULL")
        .bind(now)
        .bind(id)
        .bind(user)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Removes all tokens of an account that goes.
pub async fn delete_all(tx: &mut Tx, user: &str) -> Result<()> {
    sqlx::query("DELETE FROM tokens WHERE user_id = $1").bind(user).execute(&mut **tx).await?;
    Ok(())
}
