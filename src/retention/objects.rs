//! The register of objects: written before the bytes are, and left only after they are gone for good.
//!
//! ```text
//! intent → stored → doomed → swept → (no row)
//! ```
//!
//! An intent that is never kept, and whatever has a `sweep_after` in the past, is removed. It is looked for once more two hours later,
//! because a lease or a signed address given out before may still have written to it.

use super::HOUR;
use crate::db::Tx;
use crate::http::problem::{Answer, Problem};

/// How long an upload of our own into storage may take.
const PUT: i64 = HOUR;

/// Writes down that an object is about to be stored.
pub async fn intend(tx: &mut Tx, key: &str, user: Option<&str>, now: i64) -> Answer<()> {
    sqlx::query("INSERT INTO objects (key, state, user_id, created_at, sweep_after) VALUES ($1, 'intent', $2, $3, $4)")
        .bind(key)
        .bind(user)
        .bind(now)
        .bind(now + PUT)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes down that it is stored, until `sweep_after` or for good.
pub async fn stored(tx: &mut Tx, key: &str, sweep_after: Option<i64>) -> Answer<()> {
    let done = sqlx::query("UPDATE objects SET state = 'stored', sweep_after = $1 WHERE key = $2 AND state = 'intent'")
        .bind(sweep_after)
        .bind(key)
        .execute(&mut **tx)
        .await?;
    // The sweeper was faster: the bytes are gone, and must not be pointed at.
    if done.rows_affected() == 0 {
        Err(Problem::away("storage", format!("{key} took too long to store")))
    } else {
        Ok(())
    }
}

/// Gives an object up, registered or not.
pub async fn doom(tx: &mut Tx, key: &str, now: i64) -> Answer<()> {
    sqlx::query(
        "INSERT INTO objects (key, state, created_at, sweep_after) VALUES ($1, 'doomed', $2, $2)
         ON CONFLICT (key) DO UPDATE SET state = 'doomed', sweep_after = $2",
    )
    .bind(key)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Gives up all objects of a master, an upload or a user.
pub async fn doom_all(tx: &mut Tx, of: Of<'_>, now: i64) -> Answer<u64> {
    let (text, id) = match of {
        Of::Master(id) => ("UPDATE objects SET state = 'doomed', sweep_after = $1 WHERE master_id = $2", id),
        Of::Upload(id) => ("UPDATE objects SET state = 'doomed', sweep_after = $1 WHERE upload_id = $2", id),
        Of::User(id) => ("UPDATE objects SET state = 'doomed', sweep_after = $1 WHERE user_id = $2", id),
    };
    Ok(sqlx::query(text).bind(now).bind(id).execute(&mut **tx).await?.rows_affected())
}

/// Whose objects.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// `mst_…`
    Master(&'a str),
    /// `upl_…`
    Upload(&'a str),
    /// `usr_…`
    User(&'a str),
}
