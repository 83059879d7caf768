//! Whether a worker may take anything new: only while the schema is its own. What a statement of another version says of tables that
//! have changed is anybody's guess.
//!
//! In a rolling upgrade the schema moves on while workers of the version before hold tracks. They finish those, as an api of that version
//! goes on to answer: migrations keep what the version before reads and writes. But they take nothing new, take nothing back from others,
//! and wait. They do not end: whoever supervises them would start them again, into the refusal at the start and again, until the upgrade
//! comes to replace them; and where the upgrade is taken back, those that waited go on by themselves.

use super::POLL;
use crate::db::{Db, Schema};
use std::time::Instant;
use tokio::sync::Mutex;

#[derive(Default)]
pub(super) struct Gate {
    seen: Mutex<Option<(Instant, Schema)>>,
}

impl Gate {
    /// Whether anything may be claimed now. The schema is looked at once a second; one that moves in between is met by what was claimed
    /// before, as by every track under way.
    pub(super) async fn is_open(&self, db: &Db) -> bool {
        let mut seen = self.seen.lock().await;
        if let Some((at, schema)) = *seen
            && at.elapsed() < POLL
        {
            return schema == Schema::Own;
        }
        let before = seen.map_or(Schema::Own, |(_, schema)| schema);
        let now = match db.schema().await {
            Ok(now) => now,
            Err(error) => {
                tracing::warn!(%error, "the schema cannot be looked at; nothing is claimed");
                return false;
            }
        };
        *seen = Some((Instant::now(), now));
        match now {
            Schema::Own if before != now => tracing::info!("the schema is this program's again; jobs are claimed"),
            other if before != now => tracing::warn!("{other}; what is held is finished, and nothing is claimed"),
            _ => {}
        }
        now == Schema::Own
    }
}
