//! Copies of what songs were called and what was found out about them, outside their own rows: answers kept for repeated requests, logs
//! of webhooks, lists of ZIP files, exports, the history of jobs. They go together with the song.

use crate::db::Tx;
use crate::db::objects;
use crate::domain::error::Result;
use crate::domain::{idempotency, webhooks, zips};
use crate::queue;
use std::collections::{BTreeMap, BTreeSet};

/// What has been removed in a transaction: ids by owner.
#[derive(Debug, Default)]
pub struct Removed(BTreeMap<String, BTreeSet<String>>);

impl Removed {
    /// Notes a master, an upload or a batch of `owner`.
    pub fn add(&mut self, owner: &str, id: &str) {
        self.0.entry(owner.to_owned()).or_default().insert(id.to_owned());
    }

    /// How many there are of a kind, by the beginning of their ids.
    #[must_use]
    pub fn count(&self, prefix: &str) -> u64 {
        self.0.values().flatten().filter(|id| id.starts_with(prefix)).count() as u64
    }

    /// Removes the copies.
    pub async fn forget(&self, tx: &mut Tx, now: i64) -> Result<()> {
        for (owner, ids) in &self.0 {
            idempotency::forget_answers(tx, owner, |text| names(text, ids)).await?;
            zips::forget(tx, owner, |text| names(text, ids)).await?;
            for id in ids {
                webhooks::forget(tx, owner, id).await?;
                queue::forget_subject(tx, id).await?;
            }
            exports(tx, owner, now).await?;
        }
        Ok(())
    }
}

/// Whether a text names one of these ids. Looks at every id in it once, however many there are.
fn names(text: &str, ids: &BTreeSet<String>) -> bool {
    // mst_, upl_ and bat_ are as long as each other.
    const LENGTH: usize = 4 + 32;
    text.match_indices('_').any(|(at, _)| {
        at.checked_sub(3).and_then(|from| text.get(from..from + LENGTH)).is_some_and(|word| ids.contains(word))
    })
}

/// Archives of everything the owner has: they may hold what was deleted, and a new one is packed whenever it is asked for.
pub async fn exports(tx: &mut Tx, owner: &str, now: i64) -> Result<()> {
    let text = "SELECT key FROM objects WHERE user_id = $1 AND key LIKE 'exports/%' AND state = 'stored'";
    let old: Vec<String> = sqlx::query_scalar(text).bind(owner).fetch_all(&mut **tx).await?;
    for key in &old {
        objects::mark_for_deletion(tx, key, now).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_whatever_text_they_stand() {
        let master = crate::db::new_id("mst");
        let ids = BTreeSet::from([master.clone()]);
        assert!(names(&format!("{{\"items\":[{{\"id\":\"{master}\"}}]}}"), &ids));
        assert!(names(&format!("jobs/{master}/1/a.wav"), &ids));
        assert!(!names(&format!("jobs/{}/1/a_b.wav", crate::db::new_id("mst")), &ids));
        for text in ["", "_", "é_", "é__é", &master[..30]] {
            assert!(!names(text, &ids), "{text}");
        }
    }
}
