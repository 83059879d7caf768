//! API tokens of accounts. The only module that writes the table.

use crate::db::{Db, Tx, hash_secret};
use crate::domain::error::Result;
use crate::domain::identity::{Identity, Scope};
use sqlx::Row as _;

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
