//! The backend of a program: gathers the calls of many threads into batches for the card, and chooses between card and processor.
//!
//! A command line or a service renders each track on a thread of its own; a card wants batches. Whoever comes while the card is busy
//! waits, and the next free caller takes all that wait along: the busier the card, the larger its batches.

use crate::gpu::{Config, Gpu, GpuError, Status, list, on_card};
use loopmaster_core::Audio;
use loopmaster_core::analyse::analyse_audio;
use loopmaster_core::decode::Source;
use loopmaster_core::plan::{Limiter, Plan, plan};
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::{Backend, BackendInfo, Job, Master, RenderError, chain};
use loopmaster_core::settings::{Limiting, Settings, Style};
use loopmaster_core::units::Db;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Seconds of the track that the choice is measured with.
const SAMPLE: usize = 6;
/// Tracks of a batch at most: more would wait longer than they gain.
const BATCH: usize = 64;

/// Card or processor, whichever a batch is faster on.
pub struct Renderer {
    gpu: Option<Gpu>,
    /// Whether the card gets everything, faster or not.
    always: bool,
    queue: Mutex<Queue>,
    turn: Condvar,
    /// Batch class → whether the card is the faster one; measured once.
    faster: Mutex<HashMap<usize, bool>>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    waiting: Vec<(u64, Owned)>,
    done: HashMap<u64, Answer>,
    busy: bool,
}

/// A job back from its batch with its result; `None`: the processor is the better choice.
type Answer = (Owned, Option<Result<Vec<Master>, GpuError>>);

/// A job that can change threads.
struct Owned {
    audio: Audio,
    plan: Plan,
    rates: Vec<u32>,
    solved: Option<Db>,
}

impl Owned {
    fn job(&self) -> Job<'_> {
        // The samples are only read on the way to the card; an empty stand-in never is rendered.
        Job {
            audio: Audio::silence(self.audio.rate, 0),
            plan: &self.plan,
            rates: &self.rates,
            solved: self.solved,
            early: None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Renderer {
    fn new(gpu: Option<Gpu>, always: bool) -> Self {
        Self { gpu, always, queue: Mutex::default(), turn: Condvar::new(), faster: Mutex::default() }
    }

    /// The processor.
    #[must_use]
    pub fn cpu() -> Self {
        Self::new(None, false)
    }

    /// The card, always.
    ///
    /// # Errors
    /// There is none that can be used.
    pub fn gpu(config: Config) -> Result<Self, GpuError> {
        Ok(Self::new(Some(Gpu::open(config)?), true))
    }

    /// The card where it is faster. `tracks` are expected: a card is not opened for one, because opening takes longer than the track,
    /// and a processor that plays the card is never faster than itself.
    #[must_use]
    pub fn auto(config: Config, tracks: usize) -> Self {
        let worth = tracks > 1 && list().iter().any(|adapter| adapter.refused.is_none() && adapter.kind != "software");
        let gpu = if worth { Gpu::open(config).ok().filter(|gpu| !gpu.is_software()) } else { None };
        Self::new(gpu, false)
    }

    /// How the card stands; `None` where none is used.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.gpu.as_ref().map(Gpu::status)
    }

    /// Whether the card is the faster one for so many tracks at once.
    fn worth(&self, gpu: &Gpu, tracks: usize) -> bool {
        if self.always {
            return true;
        }
        let class = tracks.next_power_of_two();
        if let Some(faster) = lock(&self.faster).get(&class) {
            return *faster;
        }
        let faster = measure(gpu, class).is_some_and(|(card, processor)| card < processor);
        lock(&self.faster).insert(class, faster);
        faster
    }

    /// Takes all that wait through the card, and leaves each its result; `None` where the processor is the better choice.
    fn lead(&self, gpu: &Gpu, batch: Vec<(u64, Owned)>) {
        let results = catch_unwind(AssertUnwindSafe(|| {
            if !self.worth(gpu, batch.len()) {
                return batch.iter().map(|_| None).collect::<Vec<_>>();
            }
            let jobs: Vec<Job<'_>> = batch.iter().map(|(_, owned)| owned.job()).collect();
            let audio: Vec<&Audio> = batch.iter().map(|(_, owned)| &owned.audio).collect();
            gpu.try_borrowed(&jobs, &audio).into_iter().map(Some).collect()
        }));
        let mut queue = lock(&self.queue);
        match results {
            Ok(results) => {
                queue.done.extend(batch.into_iter().zip(results).map(|((at, owned), result)| (at, (owned, result))));
            }
            // A fault of ours in the batch: every track of it goes the other way.
            Err(_) => queue.done.extend(batch.into_iter().map(|(at, owned)| (at, (owned, None)))),
        }
        queue.busy = false;
        drop(queue);
        self.turn.notify_all();
    }

    /// One job through the next batch: its result, or the job back for the processor.
    fn gathered(&self, gpu: &Gpu, job: Owned) -> Answer {
        let mut queue = lock(&self.queue);
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push((ticket, job));
        loop {
            if let Some(done) = queue.done.remove(&ticket) {
                return done;
            }
            if queue.busy {
                queue = self.turn.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.busy = true;
            let count = queue.waiting.len().min(BATCH);
            let batch = queue.waiting.drain(..count).collect();
            drop(queue);
            self.lead(gpu, batch);
            queue = lock(&self.queue);
        }
    }
}

impl Backend for Renderer {
    fn info(&self) -> BackendInfo {
        match &self.gpu {
            Some(gpu) if self.always => gpu.info(),
            _ => Backend::info(&Cpu),
        }
    }

    fn render(&self, jobs: Vec<Job<'_>>) -> Vec<Result<Vec<Master>, RenderError>> {
        let Some(gpu) = &self.gpu else { return Cpu.render(jobs) };
        // What the card cannot do does not wait for it.
        if jobs.iter().all(|job| !on_card(job.plan)) {
            return Cpu.render(jobs);
        }
        // A whole batch at once needs no gathering.
        if jobs.len() > 1 {
            return if self.worth(gpu, jobs.len()) { gpu.render(jobs) } else { Cpu.render(jobs) };
        }
        jobs.into_iter()
            .map(|Job { audio, plan, rates, solved, early }| {
                let owned = Owned { audio, plan: plan.clone(), rates: rates.to_vec(), solved };
                match self.gathered(gpu, owned) {
                    (_, Some(Ok(masters))) => Ok(masters),
                    (owned, failed) => {
                        if let Some(Err(error)) = failed.filter(|_| owned.audio.frames() > 0) {
                            gpu.tell(1, 1, &error);
                        }
                        let Owned { audio, plan, rates, solved } = owned;
                        chain::run(&Cpu, Job { audio, plan: &plan, rates: &rates, solved, early })
                    }
                }
            })
            .collect()
    }

    fn reduce_overs(&self, master: &mut Audio, decoded: &Audio, limiter: &Limiter) {
        Cpu.reduce_overs(master, decoded, limiter);
    }
}

/// A short dense track and a plan with the whole chain at work.
fn sample() -> Option<(Audio, Plan)> {
    let rate = 44_100;
    let mut audio = Audio::silence(rate, SAMPLE * rate as usize);
    let mut state = 1u32;
    for n in 0..audio.frames() {
        let t = n as f64 / f64::from(rate);
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(state >> 8) / f64::from(1 << 24) - 0.5;
        let tone = |hz: f64| (std::f64::consts::TAU * hz * t).sin();
        let beat = (-(t % 0.4) * 9.0).exp();
        let mid = 0.5 * beat * tone(55.0) + 0.1 * tone(330.0) + 0.2 * noise * beat;
        audio.channels[0][n] = (mid + 0.05 * noise) as f32;
        audio.channels[1][n] = (mid - 0.05 * noise) as f32;
    }
    let settings = Settings { style: Style::Loud, limiter: Limiting::Fast, ..Settings::default() };
    let plan = plan(&analyse_audio(&audio, Source::default()), &settings, None).ok()?;
    Some((audio, plan))
}

/// Seconds that `tracks` short tracks take on the card and on the processor; `None` where the card fails.
#[must_use]
pub fn measure(gpu: &Gpu, tracks: usize) -> Option<(f64, f64)> {
    let (audio, plan) = sample()?;
    let jobs = |count: usize| -> Vec<Job<'_>> {
        (0..count).map(|_| Job { audio: audio.clone(), plan: &plan, rates: &[], solved: None, early: None }).collect()
    };
    // Once to make the buffers, once to measure.
    let batch = jobs(tracks);
    let mut card = f64::INFINITY;
    for _ in 0..2 {
        let started = Instant::now();
        if gpu.try_render(&batch).iter().any(Result::is_err) {
            return None;
        }
        card = started.elapsed().as_secs_f64();
    }
    let some = tracks.min(4);
    let started = Instant::now();
    let _ = Cpu.render(jobs(some));
    Some((card, started.elapsed().as_secs_f64() * tracks as f64 / some as f64))
}

/// Seconds of music in the track of [`measure`].
#[must_use]
pub fn measured_seconds() -> f64 {
    SAMPLE as f64
}
