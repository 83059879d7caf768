//! When a mix goes. The rule stands here and nowhere else:
//!
//! An upload goes with the last master that uses it, unless its owner chose to keep it.
//! - A master uses its mix and its reference. So does a deleted one while the deletion can be taken back, and so does an upload under
//!   way the reference its master will have: nothing is taken from what is still to be mastered.
//! - The choice at the last deletion counts. It is about the mix: a reference goes with the last master that used it, or stays with the
//!   masters made from it.
//! - A new master of a kept mix ends the keeping: from then on the mix goes with that master again.
//! - While all that use it are deleted and can be restored, it is hidden, as they are.
//!
//! Where it makes no difference who deletes (a page, a token, an operator, a period that is over), the rule makes none.

use super::removal::purge;
use crate::db::Tx;
use crate::domain::error::{Error, Result};

/// Of a row of `uploads`: nothing uses it.
pub const UNUSED: &str =
    "(NOT EXISTS (SELECT 1 FROM masters m WHERE m.upload_id = uploads.id OR m.reference_upload = uploads.id)
      AND NOT EXISTS (SELECT 1 FROM uploads o WHERE o.reference_upload = uploads.id AND o.state IN ('uploading', 'completing')))";

/// Of a row `u` of `uploads`: hidden, because it goes with deleted masters and nothing else uses it.
pub const HIDDEN: &str =
    "(u.kept_at IS NULL AND EXISTS (SELECT 1 FROM masters m WHERE m.upload_id = u.id OR m.reference_upload = u.id)
      AND NOT EXISTS (SELECT 1 FROM masters m WHERE (m.upload_id = u.id OR m.reference_upload = u.id) AND m.deleted_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM uploads o WHERE o.reference_upload = u.id AND o.state IN ('uploading', 'completing')))";

/// Writes down what becomes of the mix of a master that is being deleted.
pub async fn choose(tx: &mut Tx, master: &str, keep: bool, now: i64) -> Result<()> {
    let text = "UPDATE uploads SET kept_at = $2 WHERE id = (SELECT upload_id FROM masters WHERE id = $1)";
    sqlx::query(text).bind(master).bind(keep.then_some(now)).execute(&mut **tx).await?;
    Ok(())
}

/// Holds uploads of `owner` for a master that is about to be made from them: they do not go before this transaction ends, and one that
/// is going is not there.
pub async fn hold(tx: &mut Tx, owner: &str, ids: &[&str]) -> Result<()> {
    for some in ids.chunks(500) {
        let places: Vec<String> = (2..some.len() + 2).map(|n| format!("${n}")).collect();
        let places = places.join(", ");
        // The locks come first: what the second statement sees is no older.
        let lock =
            format!("SELECT u.id FROM uploads u WHERE u.owner = $1 AND u.id IN ({places}) ORDER BY u.id {{lock}}");
        let there = format!(
            "SELECT u.id FROM uploads u WHERE u.owner = $1 AND u.id IN ({places}) AND u.state NOT IN ('aborted', 'gone') AND NOT {HIDDEN}"
        );
        let mut found = Vec::new();
        for text in [lock, there] {
            let mut query = sqlx::query_scalar::<_, String>(tx.sql(&text)).bind(owner.to_owned());
            for id in some {
                query = query.bind((*id).to_owned());
            }
            found = query.fetch_all(&mut **tx).await?;
        }
        if let Some(gone) = some.iter().find(|id| !found.iter().any(|there| there == *id)) {
            return Err(Error::not_found("upload", gone));
        }
    }
    Ok(())
}

/// Lets go of an upload after one that used it is gone for good: removes it if nothing else uses it and nobody keeps it. True if it is
/// gone.
pub async fn release(tx: &mut Tx, upload: &str, now: i64) -> Result<bool> {
    let lock = tx.sql("SELECT id FROM uploads WHERE id = $1 {lock}");
    if sqlx::query_scalar::<_, String>(lock).bind(upload).fetch_optional(&mut **tx).await?.is_none() {
        return Ok(false);
    }
    let text = format!("SELECT COUNT(*) FROM uploads WHERE id = $1 AND kept_at IS NULL AND {UNUSED}");
    let over: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).bind(upload).fetch_one(&mut **tx).await?;
    if over == 0 {
        // Of a kept one the batch is not: it may go, and its name with it.
        let text = "UPDATE uploads SET batch_id = NULL, batch_position = NULL WHERE id = $1 AND kept_at IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM masters m WHERE m.upload_id = uploads.id)";
        sqlx::query(text).bind(upload).execute(&mut **tx).await?;
        return Ok(false);
    }
    purge(tx, upload, now).await?;
    Ok(true)
}

/// Whether masters were made from an upload, or are about to be.
pub async fn is_used(tx: &mut Tx, upload: &str) -> Result<bool> {
    let text = format!("SELECT COUNT(*) FROM uploads WHERE id = $1 AND NOT {UNUSED}");
    let used: i64 = sqlx::query_scalar(tx.sql(&text)).bind(upload).fetch_one(&mut **tx).await?;
    Ok(used > 0)
}
