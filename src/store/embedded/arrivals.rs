//! Bodies on their way by a URL or a form, named by what they are to become. One at a time for each name: an address for some bytes
//! that is used a thousand times at once would otherwise take a thousand times the room.

use crate::keyed_lock::locked;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrivals(Arc<Mutex<Arriving>>);

#[derive(Debug, Default)]
struct Arriving {
    count: u64,
    named: HashMap<String, (u64, CancellationToken)>,
}

/// A body that may go on until the next one of its name begins.
#[derive(Debug)]
pub(super) struct Arrival {
    arrivals: Arrivals,
    name: String,
    number: u64,
    replaced: CancellationToken,
}

impl Arrival {
    /// The newest wins: whoever sends again has lost the connection that the older one still waits on.
    pub(super) fn begin(arrivals: &Arrivals, name: String) -> Self {
        let replaced = CancellationToken::new();
        let mut arriving = locked(&arrivals.0);
        arriving.count += 1;
        let number = arriving.count;
        if let Some((_, older)) = arriving.named.insert(name.clone(), (number, replaced.clone())) {
            older.cancel();
        }
        drop(arriving);
        Self { arrivals: arrivals.clone(), name, number, replaced }
    }

    /// Waits until the same is being sent once more.
    pub(super) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut arriving = locked(&self.arrivals.0);
        if arriving.named.get(&self.name).is_some_and(|(number, _)| *number == self.number) {
            arriving.named.remove(&self.name);
        }
    }
}
