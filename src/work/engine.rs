//! The engine's threads. A visitor's track, and any among fewer tracks than there are threads, may use them all. Where a batch fills the
//! machine each of its tracks computes on one thread: nothing is divided, handed over or waited for, and no more of them compute at the
//! same time than there are threads.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

#[derive(Debug)]
pub(super) struct Engine {
    all: rayon::ThreadPool,
    /// Of one thread each; those nobody computes on.
    single: Mutex<Vec<rayon::ThreadPool>>,
    turns: Arc<Semaphore>,
}

/// How many threads a piece of work may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// One, when it is free.
    One,
    /// All, whatever else goes on.
    All,
}

/// A thread of its own for one piece of work; goes back however that ends.
struct Single {
    engine: Arc<Engine>,
    pool: Option<rayon::ThreadPool>,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Single {
    fn drop(&mut self) {
        self.engine.free().extend(self.pool.take());
    }
}

impl Engine {
    pub(super) fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let threads = threads.max(1);
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        Ok(Self {
            all: pool(threads)?,
            single: Mutex::new((0..threads).map(|_| pool(1)).collect::<Result<_, _>>()?),
            turns: Arc::new(Semaphore::new(threads)),
        })
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<rayon::ThreadPool>> {
        self.single.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Computes. An error is a panic of `work`.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        share: Share,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let engine = Arc::clone(self);
        let single = match share {
            // Never closed. There are as many turns as there are threads to have.
            Share::One => Arc::clone(&self.turns).acquire_owned().await.ok(),
            Share::All => None,
        };
        let single = single.map(|turn| Single { engine: Arc::clone(self), pool: self.free().pop(), _turn: turn });
        tokio::task::spawn_blocking(move || match single.as_ref().and_then(|single| single.pool.as_ref()) {
            Some(pool) => pool.install(work),
            None => engine.all.install(work),
        })
        .await
    }
}
