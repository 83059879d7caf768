//! The `loopmaster` binary's parts. The engine lives in `loopmaster-core`; here are its callers.
//!
//! [`flow`] takes one track through the six stages; [`master`] and [`analyze`] are the commands around it; [`deliver`] is the only
//! code that writes what people keep.

pub mod admin;
pub mod analyze;
pub mod audit;
pub mod chores;
pub mod cli;
pub mod config;
pub mod db;
pub mod deliver;
pub mod flow;
pub mod gpu;
pub mod http;
pub mod inputs;
pub mod machine;
pub mod mail;
pub mod master;
pub mod notices;
pub mod picture;
pub mod progress;
pub mod push;
pub mod queue;
pub mod retention;
pub mod schedule;
pub mod secrets;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod tickets;
pub mod webhooks;
pub mod work;

/// The number of threads to use: what was asked for, else all cores.
#[must_use]
pub fn thread_count(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// Whole tracks come and go as single allocations. Keeping their pages saves the system from clearing them each time: 5 to 8 % of
/// the wall time of a 240 s master. To be called first of all.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "glibc's allocator is tuned by a C call")]
pub fn keep_pages() {
    // SAFETY: no pointers; called before any other thread starts.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        // What one thread gives back serves the others; allocations are few and large.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
/// Nothing to tune here.
pub fn keep_pages() {}
