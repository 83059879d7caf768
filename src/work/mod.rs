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

pub mod capacity;
mod chores;
mod crash;
mod engine;
mod estimate;
mod files;
mod recent;
mod record;
mod render;
mod result;
pub mod sandbox;
pub mod scratch;
mod track;

pub use capacity::TIMES_DECODED;
pub use chores::{Chore, ChoreError, Chores, Next};
use engine::{Engine, Share};
pub use estimate::{Estimate, estimate};
pub use files::{Files, FilesError, Transfer};
pub use record::MasterEnded;
pub use render::{Device, Health};
pub use result::{Summary, summary};

use crate::db::{Change, Db, DbError, Tx};
use crate::queue::{self, Beat, Class, End, LEASE, Lease, Limits, NewJob, Reaped};
use loopmaster_core::Stage;
use loopmaster_core::render::Backend;
use loopmaster_core::samples::{Pool, Usage};
use recent::Recent;
use render::Renderer;
use sandbox::Sandbox;
use scratch::Scratch;
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;
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
/// Silent workers are looked for this often.
const REAP: Duration = Duration::from_secs(5);
/// The database's clock was set when it goes this much further than ours from one look to the next, in milliseconds.
const SET_FORWARD: i64 = 5_000;
/// Stages are told to those who watch at most this often.
const TELL: Duration = Duration::from_millis(400);
/// Chores at the same time.
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

/// Bytes of decoded audio that are set aside, given back when dropped.
#[derive(Debug)]
struct Room {
    memory: Arc<Memory>,
    bytes: AtomicU64,
}

impl Room {
    /// The track is smaller than it looked.
    fn shrink(&self, to: u64) {
        let before = self.bytes.fetch_min(to, Ordering::Relaxed);
        self.memory.used.fetch_sub(before.saturating_sub(to), Ordering::Relaxed);
        self.memory.freed.notify_one();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        self.memory.freed.notify_one();
    }
}

/// Counts what is set aside, in bytes of decoded audio.
#[derive(Debug)]
pub struct Memory {
    whole: u64,
    used: AtomicU64,
    peak: AtomicU64,
    freed: Notify,
}

impl Memory {
    fn take(self: &Arc<Self>, bytes: u64) -> Room {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(used, Ordering::Relaxed);
        metrics::gauge!("loopmaster_device_bytes").set(used as f64);
        Room { memory: Arc::clone(self), bytes: AtomicU64::new(bytes) }
    }

    /// Bytes set aside now, the most there ever were, and the most there may be.
    #[must_use]
    pub fn figures(&self) -> (u64, u64, u64) {
        (self.used.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed), self.whole)
    }

    /// What nobody has set aside.
    fn free(&self) -> u64 {
        self.whole.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

/// What all tasks of a worker share.
struct Shared {
    name: String,
    config: WorkConfig,
    services: Services,
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
        let name = format!("{}-{}", host(), uuid::Uuid::now_v7().simple());
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
        let memory = Memory {
            whole: (config.budget / TIMES_DECODED).max(1),
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            freed: Notify::new(),
        };
        let shared = Shared {
            name,
            config,
            services,
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

    /// Works until `drain`, then ends or gives back what it holds.
    pub async fn run(self, drain: CancellationToken) {
        let shared = self.shared;
        let tasks = TaskTracker::new();
        let ended = CancellationToken::new();
        let keeping = [
            tokio::spawn(Arc::clone(&shared).beat(ended.clone())),
            tokio::spawn(Arc::clone(&shared).tell(ended.clone())),
            tokio::spawn(Arc::clone(&shared).reap(drain.clone())),
            tokio::spawn(Arc::clone(&shared).announce(drain.clone())),
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
                Some(limits) => self.claim(&limits).await,
                None => Ok(Vec::new()),
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

    /// Keeps leases, and stops what is lost or cancelled.
    async fn beat(self: Arc<Self>, ended: CancellationToken) {
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
                metrics::counter!("loopmaster_leases_lost_total").increment(1);
                held.stop(Why::Lost);
            }
        }
    }

    /// Tells those who watch which stage their track is in.
    async fn tell(self: Arc<Self>, ended: CancellationToken) {
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
    async fn announce(self: Arc<Self>, drain: CancellationToken) {
        let db = &self.services.db;
        loop {
            if let Err(error) = capacity::announce(db, &self.name, self.largest).await {
                tracing::warn!(%error, "what this worker takes cannot be told");
            }
            tokio::select! {
                () = drain.cancelled() => break,
                () = tokio::time::sleep(capacity::ANNOUNCE) => {}
            }
        }
        if let Err(error) = capacity::leave(db, &self.name).await {
            tracing::debug!(%error, "the end of this worker is not told");
        }
    }

    /// Takes back what silent and dead workers hold.
    async fn reap(self: Arc<Self>, drain: CancellationToken) {
        let mut clocks = None;
        loop {
            // Not all workers at the same moment.
            let wait = REAP.mul_f64(0.75 + 0.5 * rand::random::<f64>());
            tokio::select! {
                () = drain.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let (db, on_ended) = (&self.services.db, self.services.on_ended.as_ref());
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

    /// Does chores.
    async fn chores(self: Arc<Self>, drain: CancellationToken, tasks: TaskTracker) {
        let kinds = self.services.chores.kinds();
        let mut changes = self.services.db.subscribe();
        while !drain.is_cancelled() && !kinds.is_empty() {
            let running = self.held().values().filter(|held| held.lease.class == Class::Chore).count();
            let leases = queue::claim_chores(
                &self.services.db,
                &self.name,
                &kinds,
                CHORES.saturating_sub(running),
                self.config.lease,
            )
            .await;
            match leases {
                Ok(leases) if !leases.is_empty() => {
                    for lease in leases {
                        let held = Held::new(lease, 0);
                        self.held().insert(held.lease.id.clone(), Arc::clone(&held));
                        let shared = Arc::clone(&self);
                        tasks.spawn(async move { shared.chore(&held).await });
                    }
                    continue;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "no chores can be claimed"),
            }
            tokio::select! {
                () = drain.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
                _ = changes.recv() => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
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

/// What died before this has left nobody who comes back to it.
const DEAD: Duration = Duration::from_hours(24);

/// Removes what workers and exports of the versions before, whose folders had no locks, have left when they died: mixes and masters
/// among it.
pub fn sweep_scratch(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with("track-") || name.starts_with("export-"));
        let dead = newest(&entry.path()).is_some_and(|at| at.elapsed().is_ok_and(|age| age >= DEAD));
        if ours
            && dead
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(%error, path = %entry.path().display(), "left behind by a worker that died, and cannot be removed");
        }
    }
}

/// The last time something was written below a path.
fn newest(path: &Path) -> Option<SystemTime> {
    let about = std::fs::symlink_metadata(path).ok()?;
    let own = about.modified().ok()?;
    if !about.is_dir() {
        return Some(own);
    }
    let below = std::fs::read_dir(path).ok()?.flatten().filter_map(|entry| newest(&entry.path())).max();
    Some(below.map_or(own, |below| below.max(own)))
}

/// Whether the database's clock has gone much further than ours since the last time.
async fn set_forward(db: &Db, before: &mut Option<(Instant, i64)>) -> Result<bool, DbError> {
    let asked = Instant::now();
    let now = db.now().await?;
    let Some((then, was)) = before.replace((asked, now)) else { return Ok(false) };
    let passed = i64::try_from(then.elapsed().as_millis()).unwrap_or(i64::MAX);
    Ok(now.saturating_sub(was) > passed.saturating_add(SET_FORWARD))
}

/// Takes back the leases that have run out, with all that follows for their masters. How many there were.
pub async fn reap_once(db: &Db, on_ended: Option<&OnEnded>) -> Result<usize, queue::QueueError> {
    let mut tx = db.begin().await?;
    let reaped = queue::reap(&mut tx).await?;
    let count = reaped.len();
    taken_back(tx, reaped, on_ended).await?;
    Ok(count)
}

/// What follows for the masters whose jobs were taken back, and the commit.
async fn taken_back(mut tx: Tx, reaped: Vec<Reaped>, on_ended: Option<&OnEnded>) -> Result<(), queue::QueueError> {
    for job in &reaped {
        tracing::warn!(job = job.id, subject = job.subject, lost = ?job.lost, "a lease was lost");
        if job.kind != "master" {
            continue;
        }
        if let (Some(ended), Some(told)) = (record::reaped(&mut tx, job).await?, on_ended) {
            told(&mut tx, &ended).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Looks for workers of this machine that were killed, frees their jobs, and removes what they were at. How many folders there were.
/// What cannot be done now is done the next time somebody looks.
pub async fn bury(db: &Db, on_ended: Option<&OnEnded>, root: &Path) -> u64 {
    sweep_scratch(root);
    let folder = root.to_owned();
    let look = tokio::task::spawn_blocking(move || scratch::dead(&folder)).await;
    let dead = match look.map_err(std::io::Error::other).flatten() {
        Ok(dead) => dead,
        Err(error) => {
            tracing::warn!(%error, folder = %root.display(), "what killed workers have left cannot be looked for");
            return 0;
        }
    };
    let mut gone = 0;
    for dead in dead {
        if let Some(worker) = &dead.worker {
            let end = if dead.crashed { End::Crashed } else { End::Killed };
            let freed = async {
                let mut tx = db.begin().await?;
                let reaped = queue::reap_worker(&mut tx, worker, end).await?;
                taken_back(tx, reaped, on_ended).await
            };
            if let Err(error) = freed.await {
                tracing::warn!(%error, worker, "the jobs of a dead worker cannot be taken back yet");
                continue;
            }
            tracing::warn!(worker, crashed = dead.crashed, "a worker has died; its jobs run again");
        }
        match tokio::task::spawn_blocking(move || dead.remove()).await.map_err(std::io::Error::other).flatten() {
            Ok(()) => gone += 1,
            Err(error) => tracing::warn!(%error, "what a killed worker has left cannot be removed"),
        }
    }
    gone
}
