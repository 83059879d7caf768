//! The one who renders: gathers what is ready into batches for the device, and finds the track that a device cannot take.
//!
//! A batch waits for tracks that are on their way, but not longer than [`Device::window`]; a visitor alone waits for nobody. When a
//! device fails, what failed is decoded again (its samples were consumed) and tried in halves until the bad track stands alone; that
//! one goes to the processor. A device that fails three times in a row with single tracks is lost: the processor does everything, and
//! once a minute one batch tries the device again.

use super::engine::{Engine, Share};
use super::sandbox::Refusal;
use loopmaster_core::Audio;
use loopmaster_core::master::PlannedTrack;
use loopmaster_core::render::{Backend, BackendInfo, Master, RenderError, Tell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Failures of single tracks in a row after which a device is lost.
const LOST_AFTER: u32 = 3;
/// How long a lost device is left alone.
const REST: Duration = Duration::from_mins(1);

/// Who renders, and how it wants its work.
#[derive(Clone)]
pub struct Device {
    /// The kernels.
    pub backend: Arc<dyn Backend>,
    /// What it is, for those who count workers: cpu or gpu.
    pub kind: &'static str,
    /// How long a batch may wait for tracks on their way.
    pub window: Duration,
    /// Most tracks of one batch.
    pub tracks: usize,
    /// Batches at the same time.
    pub at_once: usize,
}

impl Device {
    /// The processor: tracks go side by side, each by itself.
    #[must_use]
    pub fn cpu(backend: Arc<dyn Backend>, threads: usize) -> Self {
        Self { backend, kind: "cpu", window: Duration::ZERO, tracks: 1, at_once: threads.max(1) + 1 }
    }

    /// A device that is quick with many and has one queue.
    #[must_use]
    pub fn batching(backend: Arc<dyn Backend>, tracks: usize) -> Self {
        Self { backend, kind: "gpu", window: Duration::from_millis(50), tracks, at_once: 1 }
    }
}

/// Decodes a track once more.
pub(super) type Again = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Audio, Refusal>> + Send>> + Send + Sync>;

/// One track to be rendered.
pub(super) struct Request {
    pub(super) ready: Arc<PlannedTrack>,
    pub(super) audio: Audio,
    pub(super) again: Again,
    /// On the processor, by itself.
    pub(super) solitary: bool,
    /// Gets what can be heard before the whole is rendered.
    pub(super) tell: Option<Arc<Tell<'static>>>,
    /// Of the processor's threads.
    pub(super) share: Share,
    pub(super) reply: oneshot::Sender<Result<Rendered, Unrendered>>,
}

/// A rendered track, and by whom.
pub(super) struct Rendered {
    pub(super) masters: Vec<Master>,
    pub(super) by: BackendInfo,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unrendered {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Decode(#[from] Refusal),
    /// A fault of ours.
    #[error("the engine failed on this file, which is a fault of ours; please report it")]
    Panicked,
}

/// Shared with whoever reports health.
#[derive(Debug, Default)]
pub struct Health {
    failures: AtomicU32,
    lost_at: Mutex<Option<Instant>>,
    /// Batches given to the device.
    pub batches: AtomicUsize,
    /// Tracks in them.
    pub tracks: AtomicUsize,
    /// Tracks the processor had to take over.
    pub taken_over: AtomicUsize,
}

impl Health {
    /// Whether the device is in use.
    #[must_use]
    pub fn device(&self) -> bool {
        self.lost_at.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Whether the device may be given a batch: it is well, or has rested.
    fn may_try(&self) -> bool {
        let mut lost = self.lost_at.lock().unwrap_or_else(PoisonError::into_inner);
        match *lost {
            None => true,
            Some(at) if at.elapsed() >= REST => {
                // One batch tries; the others go on as they are until it is back.
                *lost = Some(Instant::now());
                true
            }
            Some(_) => false,
        }
    }

    fn well(&self) {
        self.failures.store(0, Ordering::Relaxed);
        *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failed_alone(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= LOST_AFTER {
            let mut lost = self.lost_at.lock().unwrap_or_else(PoisonError::into_inner);
            if lost.is_none() {
                tracing::error!("the device is lost; the processor does its work");
            }
            *lost = Some(Instant::now());
        }
    }
}

/// Counts a track that is on its way to the renderer, until it is there or has ended.
pub(super) struct OnTheWay(Arc<AtomicUsize>);

impl Drop for OnTheWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes requests.
#[derive(Clone)]
pub(super) struct Renderer {
    requests: mpsc::UnboundedSender<Request>,
    coming: Arc<AtomicUsize>,
}

struct Shared {
    device: Device,
    cpu: Arc<dyn Backend>,
    engine: Arc<Engine>,
    health: Arc<Health>,
}

impl Renderer {
    /// Ends when the last clone is gone and all is rendered. `cpu` is for tracks that run alone and those a device cannot take.
    pub(super) fn start(device: Device, cpu: Arc<dyn Backend>, engine: Arc<Engine>, health: Arc<Health>) -> Self {
        let (requests, inbox) = mpsc::unbounded_channel();
        let coming = Arc::new(AtomicUsize::new(0));
        tokio::spawn(gather(Arc::new(Shared { device, cpu, engine, health }), inbox, Arc::clone(&coming)));
        Self { requests, coming }
    }

    pub(super) fn on_the_way(&self) -> OnTheWay {
        self.coming.fetch_add(1, Ordering::Relaxed);
        OnTheWay(Arc::clone(&self.coming))
    }

    pub(super) fn send(&self, request: Request, arrived: OnTheWay) {
        // The gatherer lives as long as this.
        let _ = self.requests.send(request);
        drop(arrived);
    }
}

async fn gather(shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Request>, coming: Arc<AtomicUsize>) {
    let slots = Arc::new(Semaphore::new(shared.device.at_once.max(1)));
    let mut next: VecDeque<Request> = VecDeque::new();
    loop {
        let first = match next.pop_front() {
            Some(request) => request,
            None => match inbox.recv().await {
                Some(request) => request,
                None => return,
            },
        };
        // While the device is busy the batch goes on filling.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let mut batch = vec![first];
        let until = tokio::time::Instant::now() + shared.device.window;
        while !batch[0].solitary && batch.len() < shared.device.tracks {
            let request = match next.pop_front().map_or_else(|| inbox.try_recv().ok(), Some) {
                Some(request) => request,
                None if coming.load(Ordering::Relaxed) == 0 => break,
                None => match tokio::time::timeout_at(until, inbox.recv()).await {
                    Ok(Some(request)) => request,
                    Ok(None) | Err(_) => break,
                },
            };
            if request.solitary {
                next.push_back(request);
                break;
            }
            batch.push(request);
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.batch(batch).await;
            drop(slot);
        });
    }
}

impl Shared {
    /// Renders a batch, dividing what the device fails at.
    async fn batch(&self, batch: Vec<Request>) {
        let mut left = vec![batch];
        while let Some(batch) = left.pop() {
            let alone = batch.len() == 1;
            let is_device = !Arc::ptr_eq(&self.device.backend, &self.cpu);
            let on_device = is_device && !(alone && batch[0].solitary) && self.health.may_try();
            if !on_device && !alone {
                // The processor takes them one by one, so that a fault costs only its own track.
                left.extend(batch.into_iter().map(|request| vec![request]));
                continue;
            }
            let backend = if on_device { &self.device.backend } else { &self.cpu };
            if on_device {
                self.health.batches.fetch_add(1, Ordering::Relaxed);
                self.health.tracks.fetch_add(batch.len(), Ordering::Relaxed);
            }
            let failed = self.once(batch, Arc::clone(backend), on_device).await;
            if !on_device {
                continue;
            }
            if failed.is_empty() {
                self.health.well();
                continue;
            }
            let mut failed = again(failed).await;
            if alone {
                self.health.failed_alone();
                self.health.taken_over.fetch_add(failed.len(), Ordering::Relaxed);
                self.once(failed, Arc::clone(&self.cpu), false).await;
            } else if !failed.is_empty() {
                let second = failed.split_off(failed.len().div_ceil(2));
                left.extend([second, failed].into_iter().filter(|half| !half.is_empty()));
            }
        }
    }

    /// Renders a batch and answers; what the device failed at comes back, without samples.
    async fn once(&self, batch: Vec<Request>, backend: Arc<dyn Backend>, device: bool) -> Vec<Request> {
        let mut waiting = Vec::with_capacity(batch.len());
        let mut work = Vec::with_capacity(batch.len());
        for mut request in batch {
            let audio = std::mem::replace(&mut request.audio, Audio::silence(44_100, 0));
            work.push((Arc::clone(&request.ready), request.tell.clone(), audio));
            waiting.push(request);
        }
        let by = backend.info();
        // A device is fed by all threads.
        let share = waiting.first().filter(|_| !device).map_or(Share::All, |request| request.share);
        let render = move || {
            let (tracks, audio): (Vec<_>, Vec<_>) =
                work.into_iter().map(|(ready, tell, audio)| ((ready, tell), audio)).unzip();
            let jobs = tracks.iter().zip(audio).map(|((ready, tell), audio)| ready.job(audio, tell.as_deref()));
            backend.render(jobs.collect())
        };
        // What panics has no results.
        let mut results = self.engine.run(share, render).await.unwrap_or_default().into_iter();
        let mut failed = Vec::new();
        for request in waiting {
            let answer = match results.next() {
                Some(Ok(masters)) => Ok(Rendered { masters, by: by.clone() }),
                Some(Err(RenderError::Device(what))) if device => {
                    tracing::warn!(what, "the device failed");
                    failed.push(request);
                    continue;
                }
                // A panic takes the whole batch along; one that is alone is guilty.
                None if device => {
                    tracing::warn!("the device's kernels panicked");
                    failed.push(request);
                    continue;
                }
                Some(Err(error)) => Err(error.into()),
                None => Err(Unrendered::Panicked),
            };
            // Nobody waits for a track that was cancelled.
            let _ = request.reply.send(answer);
        }
        failed
    }
}

/// The samples once more.
async fn again(failed: Vec<Request>) -> Vec<Request> {
    let mut ready = Vec::with_capacity(failed.len());
    for mut request in failed {
        match (request.again)().await {
            Ok(audio) => {
                request.audio = audio;
                ready.push(request);
            }
            Err(refusal) => {
                let _ = request.reply.send(Err(refusal.into()));
            }
        }
    }
    ready
}
