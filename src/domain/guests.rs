//! People without an account: a row for each browser that has sent something, and how long its cookie is worth keeping. The only module
//! that writes the table.

use super::error::Result;
use super::identity::{Identity, Visitor};
use crate::db::{Db, Tx};

/// Makes the row of a guest id not seen before.
pub async fn welcome(tx: &mut Tx, visitor: &Visitor, now: i64) -> Result<()> {
    if let Identity::Guest { id } = &visitor.identity {
        sqlx::query("INSERT INTO guests (id, created_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
            .bind(id)
            .bind(now)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// How long the newest track of a guest has to live, seconds: so long the cookie lives that it is reached with. `None` without a track,
/// and where the database does not say: then the cookie stays as it is.
pub async fn seconds_left(db: &Db, guest: &str) -> Option<i64> {
    let text = db.sql(
        "SELECT MAX(expires_at) - {now} FROM (SELECT expires_at FROM masters WHERE owner = $1
           UNION ALL SELECT expires_at FROM uploads WHERE owner = $1) AS tracks",
    );
    let left: Option<i64> = sqlx::query_scalar(text).bind(guest).fetch_one(db.read()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "a guest cookie is not renewed");
        None
    });
    left.filter(|left| *left > 0).map(|left| left.unsigned_abs().div_ceil(1000) as i64)
}

/// Marks a guest as moved into an account; false if somebody was faster.
pub async fn mark_merged(tx: &mut Tx, guest: &str, user: &str, now: i64) -> Result<bool> {
    let text = "UPDATE guests SET merged_into = $1, merged_at = $2 WHERE id = $3 AND merged_into IS NULL";
    let first = sqlx::query(text).bind(user).bind(now).bind(guest).execute(&mut **tx).await?;
    Ok(first.rows_affected() > 0)
}

/// Of guests that were moved into an account which goes only that they were moved stays.
pub async fn forget_account(tx: &mut Tx, user: &str) -> Result<()> {
    let text = "UPDATE guests SET merged_into = 'deleted' WHERE merged_into = $1";
    sqlx::query(text).bind(user).execute(&mut **tx).await?;
    Ok(())
}

/// Removes the row of a guest.
pub async fn delete(tx: &mut Tx, guest: &str) -> Result<()> {
    sqlx::query("DELETE FROM guests WHERE id = $1").bind(guest).execute(&mut **tx).await?;
    Ok(())
}

/// Where a guest's things are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// There is no such guest.
    Nowhere,
    /// With the guest.
    Guest,
    /// In this account, by now.
    Account(String),
}

/// Where this guest's things are now.
pub async fn place_of(tx: &mut Tx, guest: &str) -> Result<Place> {
    let text = "SELECT merged_into FROM guests WHERE id = $1";
    let row: Option<(Option<String>,)> = sqlx::query_as(text).bind(guest).fetch_optional(&mut **tx).await?;
    Ok(match row {
        None => Place::Nowhere,
        Some((None,)) => Place::Guest,
        Some((Some(user),)) => Place::Account(user),
    })
}
