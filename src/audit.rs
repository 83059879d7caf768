//! What happened to accounts, and who did it: for their owners' export, for support, for the day something was not right.

use crate::db::{Tx, new_id};

/// Writes one entry. `actor` and `target` are ids; `detail` holds no secret and no address.
pub async fn note(
    tx: &mut Tx,
    actor: &str,
    action: &str,
    target: &str,
    ip: &str,
    detail: &str,
    now: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO audit (id, at, actor, action, target, ip_hash, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(new_id("aud"))
    .bind(now)
    .bind(actor)
    .bind(action)
    .bind(target)
    .bind(ip)
    .bind(detail)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
