//! Upload-only capabilities of accounts. The only module that writes the table.

use crate::db::{Db, Tx, hash_secret};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::identity::{Caller, Identity, Visitor};
use sqlx::Row as _;

/// The code of a capability that has nothing left.
pub const EXHAUSTED: &str = "grant.exhausted";

/// The upload-only capability in a path; 404 where it is none.
pub async fn identify(db: &Db, grant: &str, caller: &Caller) -> Result<Visitor> {
    let text = db.sql(
        "SELECT g.id, g.user_id FROM grants g JOIN users u ON u.id = g.user_id
         WHERE g.grant_hash = $1 AND g.revoked_at IS NULL AND u.banned_at IS NULL AND g.expires_at > {now}",
    );
    let row = sqlx::query(text).bind(hash_secret(grant)).fetch_optional(db.read()).await?;
    let Some(row) = row else {
        return Err(Error::new(
            Kind::NotFound,
            "grant.not_found",
            "this upload address is unknown, expired or revoked; ask the page for a new one",
        ));
    };
    let identity = Identity::Grant { grant: row.try_get(0)?, user: row.try_get(1)? };
    Ok(Visitor(Caller { identity, guest: None, login: None, ..caller.clone() }))
}

/// Spends files and bytes of a grant, in the transaction that makes the upload or learns its size.
pub async fn spend(tx: &mut Tx, grant: &str, files: i64, bytes: u64) -> Result<()> {
    let text = "UPDATE grants SET files_left = files_left - $2, bytes_left = bytes_left - $3
        WHERE id = $1 AND files_left >= $2 AND bytes_left >= $3 AND revoked_at IS NULL";
    let spent = sqlx::query(text).bind(grant).bind(files).bind(bytes as i64).execute(&mut **tx).await?;
    if spent.rows_affected() == 1 {
        return Ok(());
    }
    Err(Error::forbidden(EXHAUSTED, "this upload address takes no more files or bytes; ask the page for a new one"))
}

/// Ends grants by the token that minted them, or by their user.
pub async fn revoke(tx: &mut Tx, by: &str, id: &str, now: i64) -> Result<()> {
    let text = match by {
        "token_id" => "UPDATE grants SET revoked_at = $1 WHERE token_id = $2 AND revoked_at IS NULL",
        _ => "UPDATE grants SET revoked_at = $1 WHERE user_id = $2 AND revoked_at IS NULL",
    };
    sqlx::query(text).bind(now).bind(id).execute(&mut **tx).await?;
    Ok(())
}
