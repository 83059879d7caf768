//! The `loopmaster` binary's parts. The engine lives in `loopmaster-core`; here are its callers.
//!
//! [`flow`] takes one track through the six stages; [`master`] and [`analyze`] are the commands around it; [`deliver`] is the only
//! code that writes what people keep.

pub mod analyze;
pub mod cli;
pub mod deliver;
pub mod flow;
pub mod inputs;
pub mod master;
pub mod progress;
pub mod schedule;

/// The number of threads to use: what was asked for, else all cores.
#[must_use]
pub fn thread_count(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}
