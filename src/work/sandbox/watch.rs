//! Waiting for a decoder: it is judged by the processor time it has used, and by whether it goes on.

use std::io::{self, Read};
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often a decoder is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A decoder that neither computes nor writes anything for half of its processor time, and at least for this, is stuck.
const PATIENCE: Duration = Duration::from_secs(10);
/// However slowly it goes on, a decoder ends after so many times its processor time, and not before this.
const LONGEST: u32 = 30;
const AT_LEAST: Duration = Duration::from_mins(10);
/// Beyond the processor time that is allowed, until somebody who is not ended by the system is ended from here.
const OVERTIME: Duration = Duration::from_secs(2);

/// How long a decoder may go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Processor time.
    pub(super) used: Duration,
    /// On the clock, without any progress.
    pub(super) patience: Duration,
    /// On the clock.
    pub(super) longest: Duration,
}

impl Bounds {
    pub(super) fn of(used: Duration) -> Self {
        Self { used, patience: (used / 2).max(PATIENCE), longest: (used * LONGEST).max(AT_LEAST) }
    }
}

/// Why a decoder was not waited for any longer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stuck {
    /// It used more processor time than it may, and the system did not end it.
    Overtime(Duration),
    /// It sleeps, though its input is there and its output is read.
    Asleep(Duration),
    /// It is to run, and the machine gives it no time; or it was stopped, or waits for a disk.
    Starved(Duration),
    /// It goes on, far too slowly.
    Slow(Duration),
}

impl Stuck {
    pub(super) fn says(self) -> String {
        match self {
            Self::Overtime(used) => format!("it used {:.1} s of processor time", used.as_secs_f64()),
            Self::Asleep(used) => format!("it fell asleep after {:.1} s of processor time", used.as_secs_f64()),
            Self::Starved(used) => {
                format!("after {:.1} s of processor time the machine gave it no more", used.as_secs_f64())
            }
            Self::Slow(used) => {
                format!("the machine gave it {:.1} s of processor time and no more", used.as_secs_f64())
            }
        }
    }
}

/// Waits for `done` while the process keeps to its bounds and makes progress. Time is counted in looks: while this process itself is
/// stopped or starved, nobody loses any.
pub(super) async fn watched<T>(
    id: u32,
    received: &AtomicU64,
    bounds: &Bounds,
    done: impl Future<Output = T>,
) -> Result<T, Stuck> {
    let looks = |time: Duration| (time.as_secs_f64() / LOOK.as_secs_f64()).ceil() as u64;
    let (mut looked, mut idle, mut before) = (0_u64, 0_u64, (None, 0));
    tokio::pin!(done);
    loop {
        tokio::select! {
            biased;
            done = &mut done => return Ok(done),
            () = tokio::time::sleep(LOOK) => {}
        }
        looked += 1;
        // Where a system does not tell, only the longest time counts.
        let time = processor_time(id);
        let used = time.unwrap_or_default();
        let now = (time, received.load(Ordering::Relaxed));
        let waits_for_us = now.1 == 0;
        idle = if now == before && time.is_some() && !waits_for_us { idle + 1 } else { 0 };
        before = now;
        if used > bounds.used + OVERTIME {
            return Err(Stuck::Overtime(used));
        }
        if idle >= looks(bounds.patience) {
            return Err(if asleep(id) { Stuck::Asleep(used) } else { Stuck::Starved(used) });
        }
        if looked >= looks(bounds.longest) {
            return Err(Stuck::Slow(used));
        }
    }
}

/// Processor time that all threads of a process have used; also of one that has ended and was not waited for yet.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "two C calls that write a number each")]
fn processor_time(id: u32) -> Option<Duration> {
    let id = libc::pid_t::try_from(id).ok()?;
    let mut clock = 0;
    // SAFETY: the pointer is valid for the call.
    if unsafe { libc::clock_getcpuclockid(id, &raw mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for the call.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(not(target_os = "linux"))]
fn processor_time(_id: u32) -> Option<Duration> {
    None
}

/// Whether every thread of a process waits for an event: neither running, nor ready to run, nor stopped, nor at a disk.
fn asleep(id: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state stands behind the name, which is in brackets and may hold anything.
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
    })
}

/// Counts what is read, beginning with one: somebody reads.
pub(super) struct Counted<R> {
    inner: R,
    received: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub(super) fn new(inner: R, received: Arc<AtomicU64>) -> Self {
        received.store(1, Ordering::Relaxed);
        Self { inner, received }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.received.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// A child that ends when nobody waits for it any more.
pub(super) struct Running {
    pub(super) child: Child,
    /// Processor time, as it was last seen.
    pub(super) used: Option<Duration>,
}

impl Running {
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            // Asked first: nobody knows the time of one that has been waited for.
            self.used = processor_time(self.child.id()).or(self.used);
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
