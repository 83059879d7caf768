//! A guest's masters move into the account, once, after their number was shown.

use crate::db::{Tx, bump_version};
use crate::domain::error::Result;
use crate::domain::identity::SignedIn;
use sqlx::AnyConnection;

/// How many masters would move: those of the browser's guest, if this session may take them.
pub async fn count(c: &mut AnyConnection, session: &str, guest: Option<&str>) -> Result<i64> {
    let Some(guest) = allowed(c, session, guest).await? else { return Ok(0) };
    let text = "SELECT COUNT(*) FROM masters JOIN guests ON guests.id = masters.owner
        WHERE owner = $1 AND deleted_at IS NULL AND merged_into IS NULL";
    Ok(sqlx::query_scalar(text).bind(guest).fetch_one(c).await?)
}

/// A session that began by a link opened in a strange browser may take nothing: the link may be somebody else's, sent to collect
/// the masters of whoever opens it. The session's `guest_id` is set only where the browser is the one that asked.
async fn allowed<'a>(c: &mut AnyConnection, session: &str, guest: Option<&'a str>) -> Result<Option<&'a str>> {
    let Some(guest) = guest else { return Ok(None) };
    let text = "SELECT COUNT(*) FROM sessions WHERE id = $1 AND guest_id = $2";
    let bound: i64 = sqlx::query_scalar(text).bind(session).bind(guest).fetch_one(c).await?;
    Ok((bound > 0).then_some(guest))
}

/// Moves everything of the guest to the user and keeps it. Gives the number of masters; nothing where this session may not.
pub async fn merge(tx: &mut Tx, who: &SignedIn, now: i64) -> Result<Option<i64>> {
    let guest = who.caller.guest.as_deref();
    let Some(guest) = allowed(tx, &who.session, guest).await? else { return Ok(None) };
    // Whoever changes this row first merges; the other finds it merged.
    let first = sqlx::query("UPDATE guests SET merged_into = $1, merged_at = $2 WHERE id = $3 AND merged_into IS NULL")
        .bind(&who.user)
        .bind(now)
        .bind(guest)
        .execute(&mut **tx)
        .await?;
    if first.rows_affected() == 0 {
        return Ok(Some(0));
    }
    let moved: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM masters WHERE owner = $1 AND deleted_at IS NULL")
        .bind(guest)
        .fetch_one(&mut **tx)
        .await?;
    let version = bump_version(tx, &who.user).await?;
    bump_version(tx, guest).await?;
    sqlx::query("UPDATE masters SET owner = $1, expires_at = NULL, version = $2 WHERE owner = $3")
        .bind(&who.user)
        .bind(version)
        .bind(guest)
        .execute(&mut **tx)
        .await?;
    // An upload without a master keeps its end: nobody has decided to keep it.
    sqlx::query(
        "UPDATE uploads SET owner = $1, owner_key = $1, updated_at = $2, expires_at = CASE WHEN EXISTS
           (SELECT 1 FROM masters WHERE masters.upload_id = uploads.id OR masters.reference_upload = uploads.id)
           THEN NULL ELSE expires_at END
         WHERE owner = $3",
    )
    .bind(&who.user)
    .bind(now)
    .bind(guest)
    .execute(&mut **tx)
    .await?;
    for text in ["UPDATE batches SET owner = $1 WHERE owner = $2", "UPDATE zips SET owner = $1 WHERE owner = $2"] {
        sqlx::query(text).bind(&who.user).bind(guest).execute(&mut **tx).await?;
    }
    Ok(Some(moved))
}
