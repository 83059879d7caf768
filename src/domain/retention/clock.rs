//! Times that no clock could have written which shows what it shows now: it was set back since. Taken as they stand, what they say would
//! last for as long as the clock was wrong, and a session, a link or a signed address longer than anybody was promised.
//!
//! Expiries go to the longest that may be from now, what was noted as the present to the present. Jobs, leases and the counters of rate
//! limits take care of themselves where they are read, for nobody may wait for the sweeper there.

use crate::db::Db;
use crate::domain::error::Result;
use crate::domain::identity::RECENT;
use loopmaster_core::retention::{
    ADDRESS_CHANGE, CONFIRMATION, EXPORT, FILE_RECHECK, GRANT, Retention, SIGN_IN, ZIP, days,
};
use sqlx::AssertSqlSafe;

const MINUTE: i64 = 60 * 1000;
/// Clocks of several machines differ by this much, and nothing is wrong.
const APART: i64 = MINUTE;

/// A column, of which rows, and how far from now it may lie at most.
struct Furthest {
    table: &'static str,
    column: &'static str,
    rows: &'static str,
    most: i64,
    /// What it becomes, from now.
    becomes: i64,
}

fn furthest(table: &'static str, column: &'static str, rows: &'static str, most: i64) -> Furthest {
    Furthest { table, column, rows, most, becomes: most }
}

fn columns(retention: &Retention) -> [Furthest; 20] {
    [
        furthest("sessions", "expires_at", "", days(retention.session_days)),
        furthest("sessions", "seen_at", "", 0),
        // Nobody knows how long ago it was: not recently.
        Furthest { table: "sessions", column: "signed_in_at", rows: "", most: 0, becomes: -RECENT - MINUTE },
        furthest("logins", "expires_at", "purpose = 'sign_in' AND ", SIGN_IN),
        furthest("logins", "expires_at", "", ADDRESS_CHANGE),
        furthest("oidc_logins", "expires_at", "", SIGN_IN),
        furthest("tickets", "verify_until", "", CONFIRMATION),
        furthest("grants", "expires_at", "", GRANT),
        furthest("zips", "expires_at", "", ZIP),
        furthest("nonces", "expires_at", "", 2 * MINUTE),
        furthest("webhooks", "old_secret_until", "", crate::domain::webhooks::OVERLAP),
        furthest("idempotency", "created_at", "", 0),
        furthest("ip_keys", "created_at", "", 0),
        furthest("workers", "seen_at", "", 0),
        furthest("masters", "deleted_at", "", 0),
        furthest("uploads", "created_at", "(state = 'uploading' OR s3_upload IS NULL) AND ", 0),
        furthest("uploads", "updated_at", "", 0),
        furthest("uploads", "stored_at", "", 0),
        furthest("objects", "sweep_after", "state <> 'stored' AND ", FILE_RECHECK),
        furthest("objects", "sweep_after", "", EXPORT),
    ]
}

/// Sets them right. How many there were.
pub(super) async fn set_right(db: &Db, retention: &Retention, now: i64) -> Result<u64> {
    let mut changed = 0;
    for Furthest { table, column, rows, most, becomes } in columns(retention) {
        let text = format!("UPDATE {table} SET {column} = $2 WHERE {rows}{column} > $1");
        let mut tx = db.begin().await?;
        let query = sqlx::query(AssertSqlSafe(text)).bind(now + most + APART).bind(now + becomes);
        let done = query.execute(&mut *tx).await?;
        tx.commit().await?;
        changed += done.rows_affected();
    }
    Ok(changed)
}
