//! What a worker does beside its tracks: keeps leases, tells stages, says that it lives, and looks for workers that do not.

use super::reap::{bury, reap_once, set_forward};
use super::{Held, POLL, Shared, Why, nodes, record};
use crate::db::Change;
use crate::measure;
use crate::queue::{self, Beat, Lease};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Silent workers are looked for this often.
const REAP: Duration = Duration::from_secs(5);
/// Stages are told to those who watch at most this often.
const TELL: Duration = Duration::from_millis(400);

impl Shared {
    /// Keeps leases, and stops what is lost or cancelled.
    pub(super) async fn beat(self: Arc<Self>, ended: CancellationToken) {
        let mut changes = self.services.db.subscribe();
        let third = self.config.lease / 3;
        let mut next = Instant::now() + third;
        // A job may be to be cancelled; asking once a second is soon enough.
        let (mut asked, mut ask) = (Instant::now(), false);
        loop {
            let until = if ask { next.min(asked + POLL) } else { next };
            tokio::select! {
                () = ended.cancelled() => return,
                () = tokio::time::sleep_until(until.into()) => {}
                change = changes.recv() => {
                    ask |= !matches!(change, Ok(Change::Owner(_)));
                    if asked.elapsed() < POLL {
                        continue;
                    }
                }
            }
            if ask && asked.elapsed() >= POLL {
                (asked, ask) = (Instant::now(), false);
                if let Ok(jobs) = queue::cancel_asked(&self.services.db, &self.name).await {
                    jobs.iter()
                        .filter_map(|job| self.held().get(job).cloned())
                        .for_each(|held| held.stop(Why::Cancelled));
                }
            }
            if Instant::now() < next {
                continue;
            }
            let held: Vec<Arc<Held>> = self.held().values().cloned().collect();
            let leases: Vec<&Lease> = held.iter().map(|held| &held.lease).collect();
            // While the database is away leases are not extended, and every second is one less.
            let beats = match tokio::time::timeout(third, queue::heartbeat(&self.services.db, &leases)).await {
                Ok(Ok(beats)) => {
                    next = Instant::now() + third;
                    beats
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "leases cannot be extended");
                    next = Instant::now() + POLL.min(third);
                    Vec::new()
                }
                Err(_) => {
                    next = Instant::now() + POLL.min(third);
                    Vec::new()
                }
            };
            for (held, beat) in held.iter().zip(beats) {
                match beat {
                    Beat::Held => {}
                    Beat::Cancel => held.stop(Why::Cancelled),
                    Beat::Lost => held.stop(Why::Lost),
                }
            }
            for held in held.iter().filter(|held| !held.lease.alive()) {
                measure::lease_lost();
                held.stop(Why::Lost);
            }
        }
    }

    /// Tells those who watch which stage their track is in.
    pub(super) async fn tell(self: Arc<Self>, ended: CancellationToken) {
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = tokio::time::sleep(TELL) => {}
            }
            self.recent.fit(self.memory.free());
            let stages = std::mem::take(&mut *self.stages());
            if stages.is_empty() {
                continue;
            }
            let told = async {
                let mut tx = self.services.db.begin().await?;
                // Rows of versions are locked in one order by everybody.
                let mut stages: Vec<_> = stages.into_iter().collect();
                stages.sort_by(|(a, (x, _)), (b, (y, _))| (x, a).cmp(&(y, b)));
                for (master, (owner, stage)) in stages {
                    record::stage(&mut tx, &master, &owner, stage.name()).await?;
                }
                tx.commit().await
            };
            if let Err(error) = told.await {
                tracing::debug!(%error, "stages are not told");
            }
        }
    }

    /// Says that this worker lives, and how large a track it takes.
    pub(super) async fn announce(self: Arc<Self>, drain: CancellationToken) {
        let db = &self.services.db;
        let device = &self.services.device;
        let renders = device.backend.info();
        let about = format!(
            "{}, {} threads, {}",
            env!("CARGO_PKG_VERSION"),
            self.config.threads,
            [renders.name, renders.device].join(" ").trim()
        );
        let card = nodes::Card {
            name: &self.name,
            host: &self.host,
            largest: self.largest,
            device: device.kind,
            about: &about,
        };
        loop {
            if let Err(error) = nodes::announce(db, &card).await {
                tracing::warn!(%error, "what this worker takes cannot be told");
            }
            tokio::select! {
                () = drain.cancelled() => break,
                () = tokio::time::sleep(nodes::ANNOUNCE) => {}
            }
        }
        if let Err(error) = nodes::leave(db, &self.name).await {
            tracing::debug!(%error, "the end of this worker is not told");
        }
    }

    /// Hears what operators want; a wish to drain cancels `drain`.
    pub(super) async fn obey(self: Arc<Self>, drain: CancellationToken) {
        self.orders.listen(&self.services.db, &self.name, &self.host, &drain).await;
    }

    /// Takes back what silent and dead workers hold.
    pub(super) async fn reap(self: Arc<Self>, drain: CancellationToken) {
        let mut clocks = None;
        loop {
            // Not all workers at the same moment.
            let wait = REAP.mul_f64(0.75 + 0.5 * rand::random::<f64>());
            tokio::select! {
                () = drain.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let (db, on_ended) = (&self.services.db, self.services.on_ended.as_ref());
            if !self.gate.is_open(db).await {
                continue;
            }
            bury(db, on_ended, &self.config.scratch).await;
            let reaped = async {
                if set_forward(db, &mut clocks).await? {
                    tracing::warn!("the clock of the database was set forward; all leases begin anew");
                    let mut tx = db.begin().await?;
                    queue::grant_anew(&mut tx).await?;
                    tx.commit().await?;
                }
                reap_once(db, on_ended).await
            };
            if let Err(error) = reaped.await {
                tracing::warn!(%error, "silent workers cannot be looked for");
            }
        }
    }
}
