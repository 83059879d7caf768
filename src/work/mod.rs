//! The worker: takes jobs from the queue, takes tracks through the same flow as the command line, and writes down what came of it.
//!
//! ```text
//! claim ─► fetch ─► decode (sandbox) ─► analyse, plan ─► render (batches) ─► encode, verify ─► upload ─► one transaction
//! ```
//!
//! Every claimed track is on its way by itself; they meet at the renderer, which gathers batches. What bounds them is claimed bytes of
//! decoded audio: a track takes [`TIMES_DECODED`] times its samples at its worst, so the budget divided by that is what may be claimed.
//! A track that is larger comes alone, with its samples in files. One whose estimate was too low is stopped by its decoder before it takes
//! more, and goes back with its true size.
//!
//! A lease is kept by heartbeats. Whoever lost it, by the database's word or by the own clock, stops and writes nothing.
//!
//! The files of a track lie in a folder of its worker, which goes with the worker ([`scratch`]). A worker that was killed is found by its
//! folder: at the next start, by another worker beside it, or by the sweeper. Its jobs are free at once, and since it was killed, they
//! are not blamed for it ([`bury`]).

mod album;
pub mod capacity;
mod chores;
mod crash;
mod engine;
mod estimate;
mod files;
mod gate;
mod keep;
mod memory;
pub mod nodes;
mod reap;
mod recent;
mod record;
mod render;
mod result;
pub mod sandbox;
pub mod scratch;
mod track;

pub use capacity::TIMES_DECODED;
use chores::Pace;
pub use chores::{Chore, ChoreError, Chores, Next};
use engine::{Engine, Share};
pub use estimate::{Estimate, estimate};
pub use files::{Files, FilesError, Transfer};
use gate::Gate;
pub use memory::Memory;
pub use reap::{bury, reap_once, sweep_scratch};
pub use record::MasterEnded;
pub use render::{Device, Health};
pub use result::{Summary, summary};

use crate::db::{Change, Db, DbError, Tx};
use crate::queue::{self, Class, LEASE, Lease, Limits, NewJob};
use loopmaster_core::Stage;
use loopmaster_core::render::Backend;
use loopmaster_core::samples::{Pool, Usage};
use memory::Room;
use nodes::Orders;
use recent::Recent;
use render::Renderer;
use sandbox::Sandbox;
use scratch::Scratch;
use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Part of the budget that only interactive jobs may take: one in so many.
const RESERVED: u64 = 5;
/// Estimated work of what is claimed at once, so that nobody waits for more than this.
const WORK_AT_ONCE: f64 = 5.0;
/// What a worker is taken to do before it has done anything, in seconds of audio per second.
const FIRST_SPEED: f64 = 40.0;
/// The queue is looked at this often even when nobody says anything.
const POLL: Duration = Duration::from_secs(1);
/// Chores of each pace at the same time.
const CHORES: usize = 4;

/// How a worker is to work.
#[derive(Clone, Debug)]
pub struct WorkConfig {
    /// Memory for the samples of tracks.
    pub budget: u64,
    /// Threads of the engine.
    pub threads: usize,
    /// Tracks on their way at the same time.
    pub tracks: usize,
    /// Where files lie while they are worked on, and samples that the budget has no room for. Workers may share it: each has a folder of
    /// its own there.
    pub scratch: PathBuf,
    /// How files are decoded.
    pub sandbox: Sandbox,
    /// How long a lease lasts without a heartbeat: [`LEASE`] but where something is tried out.
    pub lease: Duration,
    /// How long a drain waits for what is running before it gives it back.
    pub patience: Duration,
}

type Told<'a> = Pin<Box<dyn Future<Output = Result<(), DbError>> + Send + 'a>>;
/// Called in the transaction in which a master ends.
pub type OnEnded = Arc<dyn for<'a> Fn(&'a mut Tx, &'a MasterEnded) -> Told<'a> + Send + Sync>;

/// What a worker needs of the rest of the service.
#[derive(Clone)]
pub struct Services {
    /// The database.
    pub db: Db,
    /// Storage.
    pub files: Arc<dyn Files>,
    /// The processor's kernels: for tracks that run alone, and where a device fails.
    pub cpu: Arc<dyn Backend>,
    /// Who renders.
    pub device: Device,
    /// The service's own jobs.
    pub chores: Chores,
    /// Who has to know that a master has ended.
    pub on_ended: Option<OnEnded>,
}

/// Why a run is stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Lost,
    Cancelled,
    Drain,
}

/// A leased job and how to stop it.
struct Held {
    lease: Lease,
    /// Bytes of decoded audio it may take.
    room: u64,
    stop: CancellationToken,
    why: OnceLock<Why>,
}

impl Held {
    fn new(lease: Lease, room: u64) -> Arc<Self> {
        Arc::new(Self { lease, room, stop: CancellationToken::new(), why: OnceLock::new() })
    }

    /// The first reason counts.
    fn stop(&self, why: Why) {
        let _ = self.why.set(why);
        self.stop.cancel();
    }
}

/// What all tasks of a worker share.
struct Shared {
    name: String,
    /// The machine.
    host: String,
    config: WorkConfig,
    services: Services,
    gate: Gate,
    orders: Orders,
    scratch: Scratch,
    engine: Arc<Engine>,
    renderer: Renderer,
    decoders: tokio::sync::Semaphore,
    memory: Arc<Memory>,
    recent: Recent,
    /// Where samples lie.
    pool: Pool,
    /// Most bytes of decoded audio of one track.
    largest: u64,
    held: Mutex<HashMap<String, Arc<Held>>>,
    stages: Mutex<HashMap<String, (String, Stage)>>,
    speed: Mutex<f64>,
}

/// A worker, not yet working.
pub struct Worker {
    shared: Arc<Shared>,
    health: Arc<Health>,
}

impl Worker {
    /// Makes ready to work; must be called in a runtime. The sandbox is tried first, and what killed workers have left here goes.
    pub async fn new(config: WorkConfig, services: Services) -> Result<Self, String> {
        config.sandbox.check().await?;
        // A new name for each start: a job lost twice by one start is one failure of that start.
        let host = host();
        let name = format!("{host}-{}", uuid::Uuid::now_v7().simple());
        let unusable = |error: std::io::Error| format!("{}: cannot be used: {error}", config.scratch.display());
        let scratch = Scratch::of_worker(&config.scratch, &name).map_err(unusable)?;
        crash::write_to(scratch.last_words().map_err(unusable)?);
        bury(&services.db, services.on_ended.as_ref(), &config.scratch).await;
        let threads = config.threads.max(1);
        let engine = Arc::new(Engine::new(threads).map_err(|error| error.to_string())?);
        let health = Arc::new(Health::default());
        let device = services.device.clone();
        let renderer = Renderer::start(device, Arc::clone(&services.cpu), Arc::clone(&engine), Arc::clone(&health));
        if loopmaster_core::machine::in_memory(&config.scratch) {
            tracing::warn!(
                folder = %config.scratch.display(),
                "scratch files lie in memory here: long tracks take more than worker.budget_bytes; set worker.folder to a disk"
            );
        }
        let pool = Pool::new(config.budget, &config.scratch);
        let largest = capacity::largest_in(config.budget, &config.scratch, &config.sandbox.limits);
        let memory = Memory::new((config.budget / TIMES_DECODED).max(1));
        let shared = Shared {
            name,
            host,
            config,
            services,
            gate: Gate::default(),
            orders: Orders::default(),
            scratch,
            engine,
            renderer,
            decoders: tokio::sync::Semaphore::new(threads),
            memory: Arc::new(memory),
            recent: Recent::default(),
            pool,
            largest,
            held: Mutex::default(),
            stages: Mutex::default(),
            speed: Mutex::new(FIRST_SPEED),
        };
        Ok(Self { shared: Arc::new(shared), health })
    }

    /// How the device does.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// What samples take now, and the most they ever took.
    pub fn samples(&self) -> impl Fn() -> Usage + Send + use<> {
        let pool = self.shared.pool.clone();
        move || pool.usage()
    }

    /// How much memory is set aside.
    #[must_use]
    pub fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.shared.memory)
    }

    /// Works until `drain`, or until an operator asks this node to drain; then ends or gives back what it holds.
    pub async fn run(self, drain: CancellationToken) {
        let shared = self.shared;
        // An operator's wish ends this worker, not what else there is in the process.
        let drain = drain.child_token();
        let tasks = TaskTracker::new();
        let ended = CancellationToken::new();
        let keeping = [
            tokio::spawn(Arc::clone(&shared).beat(ended.clone())),
            tokio::spawn(Arc::clone(&shared).tell(ended.clone())),
            tokio::spawn(Arc::clone(&shared).reap(drain.clone())),
            tokio::spawn(Arc::clone(&shared).announce(drain.clone())),
            tokio::spawn(Arc::clone(&shared).obey(drain.clone())),
            tokio::spawn(Arc::clone(&shared).chores(drain.clone(), tasks.clone())),
        ];
        Arc::clone(&shared).tracks(&drain, &tasks).await;

        tasks.close();
        if tokio::time::timeout(shared.config.patience, tasks.wait()).await.is_err() {
            for held in shared.held().values() {
                held.stop(Why::Drain);
            }
            // What computes cannot be stopped in the middle, but its lease has been given back.
            let _ = tokio::time::timeout(LEASE, tasks.wait()).await;
        }
        ended.cancel();
        for task in keeping {
            let _ = task.await;
        }
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    if name.is_empty() { "worker".to_owned() } else { name }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, HashMap<String, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stages(&self) -> MutexGuard<'_, HashMap<String, (String, Stage)>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes tracks as long as there is room.
    async fn tracks(self: Arc<Self>, drain: &CancellationToken, tasks: &TaskTracker) {
        let mut changes = self.services.db.subscribe();
        while !drain.is_cancelled() {
            let claimed = match self.limits() {
                Some(limits) if !self.orders.paused() && self.gate.is_open(&self.services.db).await => {
                    self.claim(&limits).await
                }
                _ => Ok(Vec::new()),
            };
            match claimed {
                Ok(tracks) if !tracks.is_empty() => {
                    for (held, room, assignment) in tracks {
                        let shared = Arc::clone(&self);
                        tasks.spawn(async move { track::run(shared, held, room, assignment).await });
                    }
                    continue;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "no jobs can be claimed"),
            }
            let woken = async {
                loop {
                    match changes.recv().await {
                        Ok(Change::Owner(_)) => {}
                        Ok(Change::Jobs | Change::Unknown)
                        | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => return,
                        Err(tokio::sync::broadcast::error::RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            tokio::select! {
                () = drain.cancelled() => {}
                () = woken => {}
                () = self.memory.freed.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Tracks on their way, whatever stage they are in.
    fn tracks_held(&self) -> usize {
        self.held().values().filter(|held| held.lease.class != Class::Chore).count()
    }

    /// Nobody waits for one of many: where they fill the machine, each has one thread.
    fn share(&self, held: &Held) -> Share {
        let full = self.tracks_held() >= self.config.threads.max(1);
        if full && held.lease.class == Class::Bulk { Share::One } else { Share::All }
    }

    /// What may be claimed now; `None`: nothing.
    fn limits(&self) -> Option<Limits> {
        let held = self.held();
        let tracks = held.values().filter(|held| held.lease.class != Class::Chore);
        let (mut count, mut seconds, mut alone, mut interactive) = (0, 0.0, false, 0);
        for held in tracks {
            count += 1;
            seconds += held.lease.seconds;
            alone |= held.lease.solitary;
            interactive += usize::from(held.lease.class == Class::Interactive);
        }
        drop(held);
        let tracks = self.config.tracks.max(1);
        // One above the number is for an interactive job that found only bulk here.
        if alone || count > tracks || (count == tracks && interactive > 0) {
            return None;
        }
        let (used, _, whole) = self.memory.figures();
        let free = whole.saturating_sub(used);
        let bytes = free.saturating_sub(whole / RESERVED);
        let speed = *self.speed.lock().unwrap_or_else(PoisonError::into_inner);
        let left = WORK_AT_ONCE * speed - seconds;
        // Every thread has its track; what is claimed ahead of that is bounded by its work, so that nobody waits long behind it.
        let threads = self.config.threads.clamp(1, tracks);
        let (jobs, seconds) = if count < threads {
            (threads - count, f64::MAX)
        } else if left > 0.0 {
            (tracks.saturating_sub(count), left)
        } else {
            (0, 0.0)
        };
        Some(Limits {
            jobs,
            bytes,
            reserve: free - bytes,
            whole,
            seconds,
            idle: count == 0 && used == 0,
            lease: self.config.lease,
        })
    }

    /// Leases tracks and says so in their rows.
    async fn claim(
        &self,
        limits: &Limits,
    ) -> Result<Vec<(Arc<Held>, Room, Option<record::Assignment>)>, queue::QueueError> {
        let leases = queue::claim(&self.services.db, &self.name, limits).await?;
        let mut tracks = Vec::with_capacity(leases.len());
        for lease in leases {
            let bytes = lease.bytes.clamp(1, self.largest.max(1));
            let room = self.memory.take(bytes.min(self.memory.whole));
            let held = Held::new(lease, bytes);
            self.held().insert(held.lease.id.clone(), Arc::clone(&held));
            tracks.push((held, room));
        }
        if tracks.is_empty() {
            return Ok(Vec::new());
        }
        self.recent.fit(self.memory.free());
        let started = async {
            let mut tx = self.services.db.begin().await?;
            let mut assignments = Vec::with_capacity(tracks.len());
            for (held, _) in &tracks {
                assignments.push(record::look(&mut tx, &held.lease.subject).await?);
            }
            let masters: Vec<_> = tracks
                .iter()
                .zip(&assignments)
                .map(|((held, _), assignment)| (held.lease.subject.as_str(), assignment.as_ref()))
                .collect();
            record::start(&mut tx, &masters).await?;
            tx.commit().await?;
            Ok::<_, DbError>(assignments)
        };
        match started.await {
            Ok(assignments) => Ok(tracks
                .into_iter()
                .zip(assignments)
                .map(|((held, room), assignment)| (held, room, assignment))
                .collect()),
            Err(error) => {
                // The leases go back now if that is possible, and otherwise when they run out.
                for (held, _) in tracks {
                    self.held().remove(&held.lease.id);
                    if let Ok(mut tx) = self.services.db.begin().await
                        && queue::release(&mut tx, &held.lease).await.is_ok()
                    {
                        let _ = tx.commit().await;
                    }
                }
                Err(error.into())
            }
        }
    }

    /// Does chores.
    async fn chores(self: Arc<Self>, drain: CancellationToken, tasks: TaskTracker) {
        let paces = [Pace::Short, Pace::Long].map(|pace| self.services.chores.kinds(pace));
        let mut changes = self.services.db.subscribe();
        while !drain.is_cancelled() && paces.iter().any(|kinds| !kinds.is_empty()) {
            let mut claimed = false;
            for kinds in &paces {
                match self.claim_chores(kinds).await {
                    Ok(leases) => {
                        claimed |= !leases.is_empty();
                        for lease in leases {
                            let held = Held::new(lease, 0);
                            self.held().insert(held.lease.id.clone(), Arc::clone(&held));
                            let shared = Arc::clone(&self);
                            tasks.spawn(async move { shared.chore(&held).await });
                        }
                    }
                    Err(error) => tracing::warn!(%error, "no chores can be claimed"),
                }
            }
            if claimed {
                continue;
            }
            tokio::select! {
                () = drain.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
                _ = changes.recv() => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// As many chores of these kinds as may run beside each other.
    async fn claim_chores(&self, kinds: &[&str]) -> Result<Vec<Lease>, DbError> {
        let running = self.held().values().filter(|held| kinds.contains(&held.lease.kind.as_str())).count();
        let room = if self.gate.is_open(&self.services.db).await { CHORES.saturating_sub(running) } else { 0 };
        queue::claim_chores(&self.services.db, &self.name, kinds, room, self.config.lease).await
    }

    async fn chore(&self, held: &Arc<Held>) {
        let lease = &held.lease;
        let Some(doing) = self.services.chores.start(&lease.kind, Chore::of(lease)) else { return };
        // A panic of a handler is a failure of its chore.
        let mut doing = tokio::spawn(doing);
        let done = tokio::select! {
            () = held.stop.cancelled() => {
                doing.abort();
                None
            }
            done = &mut doing => Some(done.unwrap_or_else(|error| Err(ChoreError::transient("chore.panicked", error)))),
        };
        let (done, why) = (&done, held.why.get());
        let written = self
            .persist(lease, |mut tx| async move {
                match done {
                    None if why == Some(&Why::Cancelled) => queue::cancelled(&mut tx, lease).await?,
                    None => drop(queue::release(&mut tx, lease).await?),
                    Some(Ok(next)) => {
                        queue::finish(&mut tx, lease).await?;
                        if let Next::Again(after) = next {
                            let job = NewJob {
                                run_at: Some(now_in(&mut tx, *after).await?),
                                max_attempts: u32::try_from(lease.max_attempts).unwrap_or(u32::MAX),
                                ..NewJob::chore(&lease.kind, &lease.subject, lease.payload.clone())
                            };
                            queue::enqueue(&mut tx, &job).await?;
                        }
                    }
                    Some(Err(error)) => drop(queue::fail(&mut tx, lease, &error.clone().failure()).await?),
                }
                Ok(tx)
            })
            .await;
        if let Some(Err(error)) = done {
            tracing::warn!(
                kind = lease.kind,
                subject = lease.subject,
                code = error.code,
                error = error.text,
                "a chore failed"
            );
        }
        if let Err(error) = written {
            tracing::warn!(kind = lease.kind, subject = lease.subject, %error, "a chore's end is not written down");
        }
        self.held().remove(&lease.id);
        self.memory.freed.notify_one();
    }

    /// One transaction about a lease, tried again while the database is away and the lease is ours. `write` gives the transaction back
    /// to be committed; one that fails takes it along, and with it all it did.
    async fn persist<W>(&self, lease: &Lease, write: impl Fn(Tx) -> W) -> Result<(), queue::QueueError>
    where
        W: Future<Output = Result<Tx, queue::QueueError>>,
    {
        let mut wait = Duration::from_millis(50);
        loop {
            if !lease.alive() {
                return Err(queue::QueueError::Stale);
            }
            let tried = async {
                let tx = write(self.services.db.begin().await?).await?;
                Ok(tx.commit().await?)
            };
            match tried.await {
                Err(queue::QueueError::Db(error)) if error.is_unavailable() => {
                    tracing::warn!(%error, job = lease.id, "cannot be written down yet");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(POLL * 2);
                }
                other => return other,
            }
        }
    }

    /// How many seconds of audio a second of this worker is worth.
    fn learn(&self, seconds: f64, spent: Duration) {
        let beside = self.tracks_held().max(1);
        let speed = seconds / spent.as_secs_f64().max(0.01) * beside as f64;
        let mut known = self.speed.lock().unwrap_or_else(PoisonError::into_inner);
        *known = (*known * 0.8 + speed * 0.2).clamp(1.0, 1e5);
    }
}

async fn now_in(tx: &mut Tx, after: Duration) -> Result<i64, DbError> {
    let now: i64 = sqlx::query_scalar(tx.sql("SELECT {now}")).fetch_one(&mut **tx).await?;
    Ok(now.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)))
}
