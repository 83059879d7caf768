//! What rows of masters say about their age: the notice their owner was sent, and when they go. The rule is `retention::ageing`.

use crate::db::Tx;
use crate::domain::error::Result;

/// Owner and id of each master that has changed.
type Changed = Vec<(String, String)>;

/// No master goes by its age any more.
pub async fn take_back_all(tx: &mut Tx) -> Result<Changed> {
    let text = "UPDATE masters SET expires_at = NULL, notice_id = NULL WHERE notice_id IS NOT NULL RETURNING owner, id";
    Ok(sqlx::query_as(text).fetch_all(&mut **tx).await?)
}

/// Masters that are kept for longer than their owner was told; `untold` stands for the time of those that have none yet.
pub async fn take_back_longer(tx: &mut Tx, kept: i64, untold: i64) -> Result<Changed> {
    let text = "UPDATE masters SET expires_at = NULL, notice_id = NULL WHERE notice_id IS NOT NULL
        AND created_at + $1 > COALESCE(expires_at, $2) RETURNING owner, id";
    Ok(sqlx::query_as(text).bind(kept).bind(untold).fetch_all(&mut **tx).await?)
}

/// Masters whose notice was posted before this time and has not left.
pub async fn take_back_unsent(tx: &mut Tx, posted: i64) -> Result<Changed> {
    let text = "UPDATE masters SET expires_at = NULL, notice_id = NULL WHERE notice_id IN
        (SELECT id FROM notices WHERE sent_at IS NULL AND posted_at <= $1) RETURNING owner, id";
    Ok(sqlx::query_as(text).bind(posted).fetch_all(&mut **tx).await?)
}

/// A master has changed.
pub async fn set_version(tx: &mut Tx, id: &str, version: i64) -> Result<()> {
    let text = "UPDATE masters SET version = $1 WHERE id = $2";
    sqlx::query(text).bind(version).bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// Masters of a notice that has left go `kept` after they were made, and not before `soonest`.
pub async fn set_time(tx: &mut Tx, owner: &str, notice: &str, kept: i64, soonest: i64, version: i64) -> Result<()> {
    let text =
        "UPDATE masters SET expires_at = CASE WHEN created_at + $1 > $2 THEN created_at + $1 ELSE $2 END, version = $3
        WHERE notice_id = $4 AND owner = $5 AND expires_at IS NULL";
    sqlx::query(text).bind(kept).bind(soonest).bind(version).bind(notice).bind(owner).execute(&mut **tx).await?;
    Ok(())
}

/// The notice names all masters of the owner that were made before this time. Gives when they were made.
pub async fn assign_notice(tx: &mut Tx, owner: &str, notice: &str, made: i64) -> Result<Vec<i64>> {
    let text = "UPDATE masters SET notice_id = $1 WHERE owner = $2 AND notice_id IS NULL AND deleted_at IS NULL
        AND created_at <= $3 AND state NOT IN ('waiting', 'running') RETURNING created_at";
    Ok(sqlx::query_scalar(text).bind(notice).bind(owner).bind(made).fetch_all(&mut **tx).await?)
}
