//! The HTTP API from outside: a service in this process, its socket, and clients that behave, misbehave and break off.

#[path = "api/contract.rs"]
mod contract;
#[path = "api/edge.rs"]
mod edge;
#[path = "api/events.rs"]
mod events;
#[path = "api/fetched.rs"]
mod fetched;
#[path = "api/masters.rs"]
mod masters;
#[path = "api/presets.rs"]
mod presets;
#[path = "api/quotas.rs"]
mod quotas;
#[path = "api/roles.rs"]
mod roles;
#[path = "api/strangers.rs"]
mod strangers;
#[path = "api/uploads.rs"]
mod uploads;
#[path = "api/zips.rs"]
mod zips;

use crate::service::Service;
use loopmaster::config::Config;

impl Service {
    /// One on SQLite, one on PostgreSQL.
    pub(crate) async fn both(change: impl Fn(&mut Config)) -> Vec<Self> {
        let postgres = crate::databases::postgres().await;
        vec![Self::with(&change).await, Self::launch("PostgreSQL", postgres.url, &change).await]
    }
}
