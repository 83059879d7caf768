//! The graphics card as a backend: raw samples up, masters down, everything between on the card.
//!
//! [`Gpu`] takes a batch of tracks of any lengths, in groups that fit the memory it may use. Whatever goes wrong with the card (none,
//! limits, a lost device, no memory, a launch that never ran), the tracks concerned start again on the processor from their samples; a
//! track never consists of parts from both. How that fits together: `docs/gpu.md`.

mod config;
mod device;
mod error;
mod finish;
mod group;
pub mod kernels;
mod lane;
pub mod layout;
mod pack;
#[cfg(test)]
mod parity;
mod selftest;
mod shape;
mod sweep;
mod tables;

pub use config::Config;
pub use device::{AdapterFacts, Engine, list};
pub use error::GpuError;
pub use lane::{Bandwidth, KernelStats, Traffic};
pub use selftest::SelfTest;

use group::{Group, Task, bytes_per_frame};
use lane::{Lane, Store};
use loopmaster_core::Audio;
use loopmaster_core::plan::{Limiter, Plan};
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::design::ShapeDesign;
use loopmaster_core::render::finish::kept;
use loopmaster_core::render::{Backend, BackendInfo, Job, Master, RenderError, chain};
use loopmaster_core::resample::deliver;
use loopmaster_core::units::Db;
use rayon::prelude::*;
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most tracks of a group: what a search through their table bears.
const TRACKS: usize = 256;
/// How long a card that failed is left alone before it is opened again.
const REST: Duration = Duration::from_mins(1);
/// Share of the memory that tracks may take; the rest is for the chunks.
const SHARE: f64 = 0.6;

/// What a service can tell about its card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Adapter and driver.
    pub adapter: String,
    /// The adapter's name.
    pub name: String,
    /// Its driver and that one's version.
    pub driver: String,
    /// Whether the next batch goes to the card.
    pub ready: bool,
    /// The last fault.
    pub fault: Option<String>,
    /// Its stable code.
    pub code: Option<String>,
    /// Tracks rendered on the card.
    pub rendered: u64,
    /// Tracks that had to start again on the processor.
    pub restarted: u64,
    /// Submissions so far.
    pub submissions: u64,
    /// Bytes moved so far.
    pub traffic: Traffic,
}

enum State {
    Ready(Box<Lane>),
    Failed(Instant),
}

/// The backend on a graphics card.
pub struct Gpu {
    config: Config,
    /// The device; taken by one batch at a time.
    state: Mutex<State>,
    status: Mutex<Status>,
    who: BackendInfo,
    software: bool,
    test: SelfTest,
    notice: fn(&str),
}

/// What one track of a group came to.
#[derive(Default)]
struct Rendered {
    /// The master at the group's rate; `None` where none is wanted or a sample is not a number.
    master: Option<Master>,
    /// The audio before the finish, for other rates.
    shaped: Option<Audio>,
    bands: Vec<Db>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens a card and holds it against the reference.
    ///
    /// # Errors
    /// None that can be used, or one that computes wrongly.
    pub fn open(config: Config) -> Result<Self, GpuError> {
        let (lane, test) = Self::lane(&config)?;
        let engine = &lane.engine;
        let who = BackendInfo { name: "gpu".to_owned(), device: engine.describe() };
        let (name, driver) = (engine.name().to_owned(), engine.driver());
        let status = Status { adapter: who.device.clone(), name, driver, ready: true, ..Status::default() };
        Ok(Self {
            software: engine.is_software(),
            state: Mutex::new(State::Ready(Box::new(lane))),
            status: Mutex::new(status),
            who,
            config,
            test,
            notice: |text| eprintln!("{text}"),
        })
    }

    /// Where the line about a failing card goes, instead of standard error.
    #[must_use]
    pub fn with_notice(mut self, notice: fn(&str)) -> Self {
        self.notice = notice;
        self
    }

    fn lane(config: &Config) -> Result<(Lane, SelfTest), GpuError> {
        // Faults for tests happen after the self-test: its submissions do not count.
        let engine = Arc::new(Engine::open(config)?);
        let mut lane = Lane::new(Arc::clone(&engine))?;
        let test = selftest::run(&mut lane, engine.name())?;
        engine.arm();
        lane.traffic = Traffic::default();
        lane.stats.fill(KernelStats::default());
        Ok((lane, test))
    }

    /// How the card stands.
    #[must_use]
    pub fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// Whether a processor plays the card.
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.software
    }

    /// What the self-test found when the card was opened.
    #[must_use]
    pub fn self_test(&self) -> &SelfTest {
        &self.test
    }

    /// Buffers made so far, while the card is there.
    #[must_use]
    pub fn allocations(&self) -> Option<u64> {
        match &*lock(&self.state) {
            State::Ready(lane) => Some(lane.engine.allocations()),
            State::Failed(_) => None,
        }
    }

    /// What each kernel came to since the card was opened, in the order of [`kernels::TABLE`]; empty where the card is gone.
    #[must_use]
    pub fn kernel_stats(&self) -> Vec<(&'static str, KernelStats)> {
        match &*lock(&self.state) {
            State::Ready(lane) => kernels::TABLE.iter().map(|row| row.name).zip(lane.stats.iter().copied()).collect(),
            State::Failed(_) => Vec::new(),
        }
    }

    /// What plain copies of `bytes` reach.
    ///
    /// # Errors
    /// The card is gone, or has no room.
    pub fn bandwidth(&self, bytes: u64) -> Result<Bandwidth, GpuError> {
        match &mut *lock(&self.state) {
            State::Ready(lane) => lane.bandwidth(bytes),
            State::Failed(_) => Err(GpuError::Failed("the device is gone".to_owned())),
        }
    }

    /// Renders what the card can, `[job]`; an error where it could not, whatever the cause.
    ///
    /// # Errors
    /// Per job: see [`GpuError`].
    #[must_use]
    pub fn try_render(&self, jobs: &[Job<'_>]) -> Vec<Result<Vec<Master>, GpuError>> {
        let audio: Vec<&Audio> = jobs.iter().map(|job| &job.audio).collect();
        self.try_borrowed(jobs, &audio)
    }

    /// The same with the samples beside the jobs.
    pub(crate) fn try_borrowed(&self, jobs: &[Job<'_>], audio: &[&Audio]) -> Vec<Result<Vec<Master>, GpuError>> {
        let mut state = lock(&self.state);
        if let State::Failed(since) = &*state
            && since.elapsed() > REST
        {
            match Self::lane(&self.config) {
                Ok((lane, _)) => {
                    *state = State::Ready(Box::new(lane));
                    lock(&self.status).ready = true;
                }
                Err(_) => *state = State::Failed(Instant::now()),
            }
        }
        let State::Ready(lane) = &mut *state else {
            let fault = lock(&self.status).fault.clone().unwrap_or_default();
            return jobs.iter().map(|_| Err(GpuError::Failed(fault.clone()))).collect();
        };
        if jobs.iter().any(|job| !on_card(job.plan)) {
            let refused = || GpuError::Failed("the masked clipper works on the processor".to_owned());
            return jobs.iter().map(|_| Err(refused())).collect();
        }
        let results = self.batch(lane, jobs, audio);
        let broken = lane.engine.health().err();
        let mut status = lock(&self.status);
        status.submissions = lane.engine.submissions();
        status.traffic = lane.traffic;
        for result in &results {
            match result {
                Ok(_) => status.rendered += 1,
                Err(error) => {
                    status.restarted += 1;
                    status.fault = Some(error.to_string());
                    status.code = Some(error.code().to_owned());
                }
            }
        }
        if let Some(error) = broken {
            status.ready = false;
            status.fault = Some(error.to_string());
            status.code = Some(error.code().to_owned());
            *state = State::Failed(Instant::now());
        }
        results
    }

    fn batch(&self, lane: &mut Lane, jobs: &[Job<'_>], audio: &[&Audio]) -> Vec<Result<Vec<Master>, GpuError>> {
        let natives: Vec<Task<'_>> = jobs
            .par_iter()
            .zip(audio)
            .map(|(job, audio)| {
                let rate = audio.rate;
                let design = ShapeDesign::new(job.plan, rate);
                Task {
                    audio,
                    kept: kept(&job.plan.edit, audio.frames(), rate),
                    plan: job.plan,
                    design: (!design.is_identity()).then_some(design),
                    saturate: true,
                    finish: job.rates.is_empty() || job.rates.contains(&rate),
                    keep: job.rates.iter().any(|other| *other != rate),
                    solved: job.solved,
                }
            })
            .collect();
        let made = self.groups(lane, natives);
        // Other rates: converted on the processor, finished on the card.
        let others: Vec<(usize, u32)> = jobs
            .iter()
            .enumerate()
            .flat_map(|(at, job)| job.rates.iter().map(move |rate| (at, *rate)))
            .filter(|(at, rate)| *rate != audio[*at].rate)
            .collect();
        let converted: Vec<(usize, Audio)> = others
            .par_iter()
            .filter_map(|(at, rate)| {
                let shaped = made[*at].as_ref().ok()?.shaped.as_ref()?;
                Some((*at, deliver(shaped, *rate).ok()?))
            })
            .collect();
        let tasks = converted
            .iter()
            .map(|(at, audio)| Task {
                audio,
                kept: 0..audio.frames(),
                plan: jobs[*at].plan,
                design: None,
                saturate: false,
                finish: true,
                keep: false,
                solved: jobs[*at].solved,
            })
            .collect();
        let mut extra: Vec<(usize, Result<Rendered, GpuError>)> =
            converted.iter().map(|(at, _)| *at).zip(self.groups(lane, tasks)).collect();

        let mut out = Vec::with_capacity(jobs.len());
        for (at, (job, made)) in jobs.iter().zip(made).enumerate() {
            out.push(made.and_then(|made| {
                let lost = || GpuError::Failed("a sample is not a number".to_owned());
                let mut masters: Vec<Master> = made.master.into_iter().collect();
                let mut rest = Vec::new();
                for (owner, result) in extra.extract_if(.., |(owner, _)| *owner == at) {
                    debug_assert_eq!(owner, at);
                    rest.push(result?.master.ok_or_else(lost)?);
                }
                masters.extend(rest);
                let native = [audio[at].rate];
                let rates = if job.rates.is_empty() { &native[..] } else { job.rates };
                rates
                    .iter()
                    .map(|rate| {
                        let place = masters.iter().position(|master| master.audio.rate == *rate).ok_or_else(lost)?;
                        let mut master = masters.swap_remove(place);
                        master.trace.bands.clone_from(&made.bands);
                        Ok(master)
                    })
                    .collect()
            }));
        }
        out
    }

    /// Runs tasks of any rates in groups that fit; results in the order of the tasks.
    fn groups(&self, lane: &mut Lane, tasks: Vec<Task<'_>>) -> Vec<Result<Rendered, GpuError>> {
        let room = lane.room() as f64 * SHARE;
        let limits = &lane.engine.limits;
        // Both stores and the results are single buffers; the results are bound whole.
        let longest = (limits.max_buffer_size / 8).min(1 << 31) as usize;
        let blocks = (limits.max_storage_buffer_binding_size / 20) as usize;
        let mut results: Vec<Option<Result<Rendered, GpuError>>> = tasks.iter().map(|_| None).collect();
        let mut waiting: Vec<(usize, Task<'_>)> = tasks.into_iter().enumerate().collect();
        while !waiting.is_empty() {
            let rate = waiting[0].1.audio.rate;
            let hop = loopmaster_core::control::limiter::hop(rate);
            let (mut frames, mut places, mut chosen) = (0usize, Vec::new(), Vec::new());
            let mut rest = Vec::new();
            for (place, task) in waiting {
                let own = task.frames().next_multiple_of(group::ALIGN);
                let fits = (frames + own) as f64 * bytes_per_frame(rate) <= room
                    && frames + own < longest
                    && (frames + own) / hop + TRACKS < blocks;
                if task.frames() == 0 {
                    // Nothing to compute; the processor hands it back as it is.
                    results[place] = Some(Err(GpuError::Failed("the track is empty".to_owned())));
                } else if task.audio.rate == rate && chosen.len() < TRACKS && (fits || chosen.is_empty()) {
                    if fits {
                        frames += own;
                        places.push(place);
                        chosen.push(task);
                    } else {
                        let needs = (own as f64 * bytes_per_frame(rate) / SHARE) as u64 >> 20;
                        let budget = self.config.memory >> 20;
                        results[place] = Some(Err(GpuError::Memory { needs, budget }));
                    }
                } else {
                    rest.push((place, task));
                }
            }
            waiting = rest;
            if chosen.is_empty() {
                continue;
            }
            match self.group(lane, chosen) {
                Ok(made) => {
                    for (place, made) in places.into_iter().zip(made) {
                        results[place] = Some(Ok(made));
                    }
                }
                Err(error) => {
                    for place in places {
                        results[place] = Some(Err(error.clone()));
                    }
                }
            }
        }
        results.into_iter().map(|result| result.unwrap_or(Err(GpuError::NoAdapter))).collect()
    }

    fn group(&self, lane: &mut Lane, tasks: Vec<Task<'_>>) -> Result<Vec<Rendered>, GpuError> {
        run_group(lane, tasks, &self.who)
    }

    /// One line, once per kind of fault and batch.
    pub(crate) fn tell(&self, failed: usize, of: usize, error: &GpuError) {
        (self.notice)(&format!("{failed} of {of} tracks start again on the processor: {error} [{}]", error.code()));
    }
}

/// Shapes, saturates and finishes the tracks of one group.
fn run_group(lane: &mut Lane, tasks: Vec<Task<'_>>, who: &BackendInfo) -> Result<Vec<Rendered>, GpuError> {
    let mut group = Group::new(lane, tasks)?;
    let means = shape::shape(lane, &group)?;
    let bands = finish::reductions(&group, &means);
    finish::saturate(lane, &mut group)?;
    let keep: Vec<usize> = (0..group.members.len()).filter(|at| group.members[*at].task.keep).collect();
    let kept = finish::download(lane, &group, Store::Shaped, &keep)?;
    let masters = finish::finish(lane, &mut group, who)?;
    let mut made: Vec<Rendered> =
        masters.into_iter().zip(bands).map(|(master, bands)| Rendered { master, shaped: None, bands }).collect();
    for (at, audio) in keep.into_iter().zip(kept) {
        made[at].shaped = Some(audio);
    }
    Ok(made)
}

/// Whether a card can carry a plan out.
pub(crate) fn on_card(plan: &Plan) -> bool {
    plan.masked.is_none()
}

impl Backend for Gpu {
    fn info(&self) -> BackendInfo {
        self.who.clone()
    }

    fn render(&self, jobs: Vec<Job<'_>>) -> Vec<Result<Vec<Master>, RenderError>> {
        // The masked clipper has no kernel on the card: the processor renders such a track from the start.
        if jobs.iter().any(|job| !on_card(job.plan)) {
            let (card, processor): (Vec<_>, Vec<_>) =
                jobs.into_iter().enumerate().partition(|(_, job)| on_card(job.plan));
            let (places, card): (Vec<usize>, Vec<_>) = card.into_iter().unzip();
            let made = if card.is_empty() { Vec::new() } else { self.render(card) };
            let mut all: Vec<_> = places.into_iter().zip(made).collect();
            all.par_extend(processor.into_par_iter().map(|(at, job)| (at, chain::run(&Cpu, job))));
            all.sort_by_key(|(at, _)| *at);
            return all.into_iter().map(|(_, result)| result).collect();
        }
        // An empty track is no fault of the card.
        let results = self.try_render(&jobs);
        let failed: Vec<&GpuError> = jobs
            .iter()
            .zip(&results)
            .filter(|(job, _)| job.audio.frames() > 0)
            .filter_map(|(_, result)| result.as_ref().err())
            .collect();
        if let Some(error) = failed.first() {
            self.tell(failed.len(), jobs.len(), error);
        }
        jobs.into_par_iter()
            .zip(results)
            .map(|(job, result)| match result {
                Ok(masters) => Ok(masters),
                Err(_) => chain::run(&Cpu, job),
            })
            .collect()
    }

    fn reduce_overs(&self, master: &mut Audio, decoded: &Audio, limiter: &Limiter) {
        // A few blocks of a file that the host has just decoded: not worth the way to the card.
        Cpu.reduce_overs(master, decoded, limiter);
    }
}
