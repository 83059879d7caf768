//! Nonces of signed requests: each works once. The only module that writes the table.

use super::error::{Error, Result};
use crate::db::Db;
use loopmaster_core::signing;

/// A nonce works once. Rows go when the signature is too old anyway.
pub async fn spend(db: &Db, nonce: &str) -> Result<()> {
    let mut tx = db.begin().await?;
    let text = db.sql("INSERT INTO nonces (nonce, expires_at) VALUES ($1, {now} + $2) ON CONFLICT (nonce) DO NOTHING");
    let kept = 2_000 * signing::TOLERANCE as i64;
    let spent = sqlx::query(text).bind(nonce).bind(kept).execute(&mut *tx).await?;
    if spent.rows_affected() == 0 {
        return Err(Error::unauthorized("edge.signature_replayed", "this signed request was sent before"));
    }
    tx.commit().await?;
    Ok(())
}
