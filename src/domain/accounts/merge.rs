//! A guest's masters move into the account, once, after their number was shown.

use crate::db::Tx;
use crate::domain::error::Result;
use crate::domain::identity::SignedIn;
use crate::domain::{batches, guests, masters, uploads, zips};
use sqlx::AnyConnection;

/// How many masters would move: those of the browser's guest, if this session may take them.
pub async fn count(c: &mut AnyConnection, session: &str, guest: Option<&str>) -> Result<i64> {
    let Some(guest) = allowed(c, session, guest).await? else { return Ok(0) };
    Ok(i64::try_from(masters::count_of_guest(c, guest).await?).unwrap_or(i64::MAX))
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
    if !guests::mark_merged(tx, guest, &who.user, now).await? {
        return Ok(Some(0));
    }
    let moved = masters::move_to(tx, guest, &who.user).await?;
    uploads::move_to(tx, guest, &who.user, now).await?;
    batches::move_to(tx, guest, &who.user).await?;
    zips::move_to(tx, guest, &who.user).await?;
    Ok(Some(moved))
}
