//! The register of objects, for the worker and the domain, and the only module that writes the table: written before the bytes are, and left only after they are gone for good.
//!
//! ```text
//! intent → stored → doomed → swept → (no row)
//! ```
//!
//! An intent that is never kept, and whatever has a `sweep_after` in the past, is removed. It is looked for once more two hours later,
//! because a lease or a signed address given out before may still have written to it.

use super::{Db, DbError, Tx};
use loopmaster_core::retention::FILE_RECHECK;

const HOUR: i64 = 60 * 60 * 1000;

/// How long an upload of our own into storage may take.
const PUT: i64 = HOUR;

/// Writes down that an object is about to be stored.
pub async fn intend(tx: &mut Tx, key: &str, user: Option<&str>, now: i64) -> Result<(), DbError> {
    sqlx::query("INSERT INTO objects (key, state, user_id, created_at, sweep_after) VALUES ($1, 'intent', $2, $3, $4)")
        .bind(key)
        .bind(user)
        .bind(now)
        .bind(now + PUT)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes down that bytes of an upload are on their way to an object. Repeating it changes nothing; it goes with the upload.
pub async fn intend_of_upload(tx: &mut Tx, key: &str, upload: &str, now: i64) -> Result<(), DbError> {
    let text = "INSERT INTO objects (key, state, upload_id, created_at) VALUES ($1, 'intent', $2, $3) ON CONFLICT (key) DO NOTHING";
    sqlx::query(text).bind(key).bind(upload).bind(now).execute(&mut **tx).await?;
    Ok(())
}

/// Of an upload's objects this one is stored; the others go at `others`.
pub async fn keep_of_upload(tx: &mut Tx, upload: &str, key: &str, others: i64) -> Result<(), DbError> {
    let text = "UPDATE objects SET state = CASE WHEN key = $2 THEN 'stored' ELSE 'doomed' END,
        sweep_after = CASE WHEN key = $2 THEN NULL ELSE $3 END WHERE upload_id = $1";
    sqlx::query(text).bind(upload).bind(key).bind(others).execute(&mut **tx).await?;
    Ok(())
}

/// Gives up all objects of an upload now, but the one under `form` at `form_ends`.
pub async fn doom_of_upload(tx: &mut Tx, upload: &str, form: &str, form_ends: i64, now: i64) -> Result<(), DbError> {
    let text = "UPDATE objects SET state = 'doomed', sweep_after = CASE WHEN key = $2 THEN $3 ELSE $4 END WHERE upload_id = $1";
    sqlx::query(text).bind(upload).bind(form).bind(form_ends).bind(now).execute(&mut **tx).await?;
    Ok(())
}

/// Why an object does not count as stored.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Its time was over before its bytes were there.
    #[error("{0} took too long to store")]
    TooLate(String),
}

impl From<sqlx::Error> for NotStored {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Writes down that it is stored, until `sweep_after` or for good.
pub async fn stored(tx: &mut Tx, key: &str, sweep_after: Option<i64>) -> Result<(), NotStored> {
    let done = sqlx::query("UPDATE objects SET state = 'stored', sweep_after = $1 WHERE key = $2 AND state = 'intent'")
        .bind(sweep_after)
        .bind(key)
        .execute(&mut **tx)
        .await?;
    // The sweeper was faster: the bytes are gone, and must not be pointed at.
    if done.rows_affected() == 0 { Err(NotStored::TooLate(key.to_owned())) } else { Ok(()) }
}

/// Gives an object up, registered or not.
pub async fn mark_for_deletion(tx: &mut Tx, key: &str, now: i64) -> Result<(), DbError> {
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
pub async fn doom_all(tx: &mut Tx, of: Of<'_>, now: i64) -> Result<u64, DbError> {
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

/// Objects whose master or upload is gone, such as those of an attempt that ended after its master was deleted.
pub async fn doom_orphans(db: &Db, now: i64) -> Result<(), DbError> {
    let mut tx = db.begin().await?;
    for text in [
        "UPDATE objects SET state = 'doomed', sweep_after = $1 WHERE state IN ('intent', 'stored') AND master_id IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM masters WHERE id = objects.master_id)",
        "UPDATE objects SET state = 'doomed', sweep_after = $1 WHERE state IN ('intent', 'stored') AND upload_id IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM uploads WHERE id = objects.upload_id)",
    ] {
        sqlx::query(text).bind(now).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Objects whose time has come, oldest first, with the state they had; from here on nobody can call them stored.
pub async fn due(db: &Db, now: i64, most: i64) -> Result<Vec<(String, String)>, DbError> {
    let mut tx = db.begin().await?;
    let found: Vec<(String, String)> =
        sqlx::query_as("SELECT key, state FROM objects WHERE sweep_after <= $1 ORDER BY sweep_after LIMIT $2")
            .bind(now)
            .bind(most)
            .fetch_all(&mut *tx)
            .await?;
    for (key, _) in found.iter().filter(|(_, state)| state == "intent" || state == "stored") {
        sqlx::query("UPDATE objects SET state = 'doomed' WHERE key = $1").bind(key).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(found)
}

/// Writes down that the bytes of these are gone; those that were gone already leave the register.
pub async fn swept(db: &Db, found: &[(String, String)], now: i64) -> Result<(), DbError> {
    let mut tx = db.begin().await?;
    for (key, state) in found {
        if state == "swept" {
            sqlx::query("DELETE FROM objects WHERE key = $1 AND state = 'swept'").bind(key).execute(&mut *tx).await?;
        } else {
            sqlx::query("UPDATE objects SET state = 'swept', sweep_after = $1 WHERE key = $2 AND state = 'doomed'")
                .bind(now + FILE_RECHECK)
                .bind(key)
                .execute(&mut *tx)
                .await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Writes down that an attempt at a master is about to store these; they are swept after so many milliseconds unless they are kept.
pub async fn intend_of_attempt(
    tx: &mut Tx,
    master: &str,
    attempt: i64,
    keys: impl Iterator<Item = &str>,
    sweep: i64,
) -> Result<(), DbError> {
    let text = "INSERT INTO objects (key, state, master_id, attempt, created_at, sweep_after)
        VALUES ($1, 'intent', $2, $3, {now}, {now} + $4) ON CONFLICT (key) DO UPDATE
        SET state = 'intent', sweep_after = excluded.sweep_after";
    for key in keys {
        let query = sqlx::query(tx.sql(text)).bind(key).bind(master).bind(attempt).bind(sweep);
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// The objects of this attempt that the master's artifacts are in are its own. Others, such as an excerpt for those who could not wait,
/// go when their time comes.
pub async fn keep_of_attempt(tx: &mut Tx, master: &str, attempt: i64) -> Result<(), DbError> {
    let text = "UPDATE objects SET state = 'stored', sweep_after = NULL WHERE master_id = $1 AND attempt = $2 AND state = 'intent'
        AND key IN (SELECT key FROM artifacts WHERE master_id = $1)";
    sqlx::query(text).bind(master).bind(attempt).execute(&mut **tx).await?;
    Ok(())
}

/// Gives up the objects of an attempt at a master, so many milliseconds from now.
pub async fn doom_attempt(tx: &mut Tx, master: &str, attempt: i64, sweep: i64) -> Result<(), DbError> {
    let text = tx.sql(
        "UPDATE objects SET state = 'doomed', sweep_after = {now} + $3 WHERE master_id = $1 AND attempt = $2 AND state <> 'doomed'",
    );
    sqlx::query(text).bind(master).bind(attempt).bind(sweep).execute(&mut **tx).await?;
    Ok(())
}

/// Gives up the objects of all attempts at a master but one.
pub async fn doom_attempts_but(tx: &mut Tx, master: &str, but: i64, sweep: i64) -> Result<(), DbError> {
    let text = tx.sql(
        "UPDATE objects SET state = 'doomed', sweep_after = {now} + $3 WHERE master_id = $1 AND attempt <> $2 AND state <> 'doomed'",
    );
    sqlx::query(text).bind(master).bind(but).bind(sweep).execute(&mut **tx).await?;
    Ok(())
}
