//! Positions in the queue. Everybody who waits asks for his own again and again: the queue is read once a second for all of them.

use crate::db::{Db, DbError};
use sqlx::Row as _;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long a look at the queue is good for.
const FRESH: Duration = Duration::from_secs(1);

/// Master → how many go before it.
type Order = Arc<HashMap<String, i64>>;

/// The order of the queue, as of a moment ago.
#[derive(Debug, Default)]
pub struct Positions(Mutex<Option<(Instant, Order)>>);

impl Positions {
    /// How many masters go before this one; `None` where it does not wait.
    pub async fn of(&self, db: &Db, master: &str) -> Result<Option<i64>, DbError> {
        match self.order(db).await?.get(master) {
            Some(place) => Ok(Some(*place)),
            // It came after that look.
            None => Ok(super::position(db, "master", master).await?),
        }
    }

    async fn order(&self, db: &Db) -> Result<Order, DbError> {
        // Whoever comes while somebody looks waits for what he finds.
        let mut kept = self.0.lock().await;
        if let Some((at, order)) = &*kept
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(order));
        }
        let text = "SELECT subject FROM jobs WHERE kind = 'master' AND state = 'waiting' ORDER BY turn, id";
        let rows = sqlx::query(text).fetch_all(db.read()).await?;
        let mut order = HashMap::with_capacity(rows.len());
        for (place, row) in (0..).zip(&rows) {
            order.insert(row.try_get(0)?, place);
        }
        let order = Arc::new(order);
        *kept = Some((Instant::now(), Arc::clone(&order)));
        Ok(order)
    }
}
