//! What is set aside for tracks on their way, in bytes of decoded audio.

use crate::measure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Bytes of decoded audio that are set aside, given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    memory: Arc<Memory>,
    bytes: AtomicU64,
}

impl Room {
    /// The track is smaller than it looked.
    pub(super) fn shrink(&self, to: u64) {
        let before = self.bytes.fetch_min(to, Ordering::Relaxed);
        self.memory.give_back(before.saturating_sub(to));
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes.load(Ordering::Relaxed));
    }
}

/// Counts what is set aside, in bytes of decoded audio.
#[derive(Debug)]
pub struct Memory {
    pub(super) whole: u64,
    used: AtomicU64,
    peak: AtomicU64,
    pub(super) freed: Notify,
}

impl Memory {
    /// So much may be set aside.
    pub(super) fn new(whole: u64) -> Self {
        Self { whole, used: AtomicU64::new(0), peak: AtomicU64::new(0), freed: Notify::new() }
    }

    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Room {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(used, Ordering::Relaxed);
        measure::set_aside(used);
        Room { memory: Arc::clone(self), bytes: AtomicU64::new(bytes) }
    }

    fn give_back(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        measure::set_aside(before.saturating_sub(bytes));
        self.freed.notify_one();
    }

    /// Bytes set aside now, the most there ever were, and the most there may be.
    #[must_use]
    pub fn figures(&self) -> (u64, u64, u64) {
        (self.used.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed), self.whole)
    }

    /// What nobody has set aside.
    pub(super) fn free(&self) -> u64 {
        self.whole.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}
