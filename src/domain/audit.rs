//! What happened to accounts, and who did it: for their owners' export, for support, for the day something was not right. This is the
//! only module that writes the table.

use super::error::Result;
use super::identity::Caller;
use super::limits::Rule;
use crate::db::{Db, Tx, new_id};

/// What is written down for one owner or address in an hour: more than deleting a thousand songs one by one.
const CHANGES_AN_HOUR: u64 = 10_000;

/// Writes down who did what, in the transaction that does it.
pub async fn record(tx: &mut Tx, caller: &Caller, action: &str, target: &str, detail: &str, now: i64) -> Result<()> {
    // Whoever does and undoes the same all day does not fill the table.
    if !caller.owner_key().is_empty() {
        Rule::hourly("changes", CHANGES_AN_HOUR).spend(tx, caller.owner_key(), 1).await?;
    }
    note(tx, caller.actor(), action, target, &caller.ip_hash, detail, now).await?;
    Ok(())
}

/// Writes one entry. `actor` and `target` are ids; `detail` holds no secret and no address: an address of a webhook is a secret, too.
pub async fn note(
    tx: &mut Tx,
    actor: &str,
    action: &str,
    target: &str,
    ip: &str,
    detail: &str,
    now: i64,
) -> Result<()> {
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

/// Leaves of an account that goes only that something happened, when, and the account's own id. Comes before its tokens and grants are
/// deleted: what they did is found by their ids.
pub async fn forget(tx: &mut Tx, user: &str) -> Result<()> {
    for actors in [
        "SELECT id FROM tokens WHERE user_id = $1",
        "SELECT id FROM grants WHERE user_id = $1",
        "SELECT id FROM guests WHERE merged_into = $1",
    ] {
        let text =
            format!("UPDATE audit SET actor = $1, target = '', ip_hash = '', detail = '' WHERE actor IN ({actors})");
        sqlx::query(sqlx::AssertSqlSafe(text)).bind(user).execute(&mut **tx).await?;
    }
    for text in [
        "UPDATE audit SET target = '', ip_hash = '', detail = '' WHERE actor = $1 AND target <> $1",
        "UPDATE audit SET ip_hash = '', detail = '' WHERE target = $1",
    ] {
        sqlx::query(text).bind(user).execute(&mut **tx).await?;
    }
    Ok(())
}

/// What somebody did, or what was done to something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Milliseconds.
    pub at: i64,
    /// Who did it.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// More.
    pub detail: String,
}

/// What is recorded about an id, the latest first.
pub async fn about(db: &Db, id: &str) -> Result<Vec<Entry>> {
    let text = "SELECT at, actor, action, target, detail FROM audit WHERE actor = $1 OR target = $1 ORDER BY at DESC LIMIT 500";
    let rows: Vec<(i64, String, String, String, String)> = sqlx::query_as(text).bind(id).fetch_all(db.read()).await?;
    Ok(rows
        .into_iter()
        .map(|(at, actor, action, target, detail)| Entry { at, actor, action, target, detail })
        .collect())
}
