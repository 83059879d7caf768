//! Copies of what songs were called and what was found out about them, outside their own rows: answers kept for repeated requests, logs
//! of webhooks, lists of ZIP files, exports, the history of jobs. They go together with the song.

use crate::db::Tx;
use crate::domain::error::Result;
use crate::domain::objects;
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
            answers(tx, owner, ids).await?;
            zips(tx, owner, ids).await?;
            for id in ids {
                deliveries(tx, owner, id).await?;
                sqlx::query("DELETE FROM job_history WHERE subject = $1").bind(id).execute(&mut **tx).await?;
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

/// The key stays taken: asking once more must not make it once more.
async fn answers(tx: &mut Tx, owner: &str, ids: &BTreeSet<String>) -> Result<()> {
    let kept: Vec<(String, String)> =
        sqlx::query_as("SELECT key, body FROM idempotency WHERE owner = $1 AND body IS NOT NULL")
            .bind(owner)
            .fetch_all(&mut **tx)
            .await?;
    for (key, _) in kept.iter().filter(|(_, body)| names(body, ids)) {
        sqlx::query("UPDATE idempotency SET body = NULL WHERE owner = $1 AND key = $2")
            .bind(owner)
            .bind(key)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

async fn zips(tx: &mut Tx, owner: &str, ids: &BTreeSet<String>) -> Result<()> {
    let kept: Vec<(String, String)> =
        sqlx::query_as("SELECT id, entries FROM zips WHERE owner = $1").bind(owner).fetch_all(&mut **tx).await?;
    for (zip, _) in kept.iter().filter(|(_, entries)| names(entries, ids)) {
        sqlx::query("DELETE FROM zips WHERE id = $1").bind(zip).execute(&mut **tx).await?;
    }
    Ok(())
}

async fn deliveries(tx: &mut Tx, owner: &str, id: &str) -> Result<()> {
    // Those of the version before do not say what they are about.
    let text = "DELETE FROM deliveries WHERE (subject = $2 OR (subject IS NULL AND body LIKE $3))
        AND webhook_id IN (SELECT id FROM webhooks WHERE user_id = $1)";
    sqlx::query(text).bind(owner).bind(id).bind(format!("%{id}%")).execute(&mut **tx).await?;
    Ok(())
}

/// Archives of everything the owner has: they may hold what was deleted, and a new one is packed whenever it is asked for.
pub async fn exports(tx: &mut Tx, owner: &str, now: i64) -> Result<()> {
    let text = "SELECT key FROM objects WHERE user_id = $1 AND key LIKE 'exports/%' AND state = 'stored'";
    let old: Vec<String> = sqlx::query_scalar(text).bind(owner).fetch_all(&mut **tx).await?;
    for key in &old {
        objects::doom(tx, key, now).await?;
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
