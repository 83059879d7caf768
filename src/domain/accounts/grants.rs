//! Upload-only capabilities of accounts. The only module that writes the table.

use crate::db::{Db, Tx, hash_secret, new_id, new_secret};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::identity::{Caller, Identity, Visitor};
use crate::domain::limits::Rule;
use loopmaster_core::retention::GRANT;
use sqlx::Row as _;

/// Minted in an hour, one a second: a page asks for one when a visitor comes to upload.
const MINTED_AN_HOUR: u64 = 3_600;
/// Files one may take.
const MOST_FILES: i64 = 1000;
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

/// Mints a capability for so many files and bytes, `most` of them, with a token of the user. Gives its id, the capability itself, this
/// once, and until when it works.
pub async fn mint(
    tx: &mut Tx,
    user: &str,
    token: &str,
    files: i64,
    bytes: i64,
    most: u64,
    now: i64,
) -> Result<(String, String, i64)> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    if !(1..=MOST_FILES).contains(&files) || !(1..=most).contains(&bytes) {
        let detail = format!("a grant takes 1 to {MOST_FILES} files and 1 to {most} bytes in all");
        return Err(Error::invalid("grant.caps", detail));
    }
    Rule::hourly("grants", MINTED_AN_HOUR).spend(tx, user, 1).await?;
    let (id, grant, until) = (new_id("grt"), new_secret("lmg"), now + GRANT);
    sqlx::query(
        "INSERT INTO grants (id, grant_hash, user_id, token_id, files_left, bytes_left, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&id)
    .bind(hash_secret(&grant))
    .bind(user)
    .bind(token)
    .bind(files)
    .bind(bytes)
    .bind(now)
    .bind(until)
    .execute(&mut **tx)
    .await?;
    Ok((id, grant, until))
}

/// Removes all of an account that goes.
pub async fn delete_all(tx: &mut Tx, user: &str) -> Result<()> {
    sqlx::query("DELETE FROM grants WHERE user_id = $1").bind(user).execute(&mut **tx).await?;
    Ok(())
}
