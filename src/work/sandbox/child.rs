//! The child: what it gives up before it touches a file of strangers, and what it does then.

use super::CANNOT_CONFINE;
use super::messages::{BUFFER, Order, Pipe, finish};
use super::trials::TRIALS;
use loopmaster_core::decode::decode_into;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Address space: the program, its stacks and buffers, and the tables of packets that some containers begin with. Samples are not held.
const OWN_MEMORY: u64 = 896 << 20;

/// The child: takes its privileges away, then decodes standard input to standard output. The exit code.
#[must_use]
pub fn confined(attempt: bool, order: &str) -> u8 {
    let Ok(order) = serde_json::from_str::<Order>(order) else {
        return 2;
    };
    // The id of another process to try things on, while it may be asked for.
    #[cfg(unix)]
    let parent = std::os::unix::process::parent_id();
    #[cfg(not(unix))]
    let parent = 0;
    // Before there are other threads, for it holds for this one and those to come. A kernel that has none of it is no reason to stop.
    #[cfg(target_os = "linux")]
    if !order.unsandboxed
        && let Err(error) = super::confine::landlock()
    {
        eprintln!("{error}");
    }
    // Threads cannot be made later in the same way: the pool looks at the system's files.
    if rayon::ThreadPoolBuilder::new().num_threads(order.threads.max(1)).build_global().is_err() {
        return 3;
    }
    let Ok(input) = io::stdin().as_fd().try_clone_to_owned() else {
        return 4;
    };
    if !order.unsandboxed
        && let Err(error) = confined_as(&order, &input)
    {
        eprintln!("{error}");
        return u8::try_from(CANNOT_CONFINE).unwrap_or(1);
    }
    if attempt {
        if let Some(trial) = TRIALS.iter().find(|trial| Some(trial.name) == order.extension.as_deref()) {
            (trial.attempt)(parent);
        }
        return 0;
    }
    let out = io::BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let mut pipe = Pipe::new(out);
    let answer = decode_into(File::from(input), order.extension.as_deref(), &order.limits, &mut pipe);
    // A parent that is gone wants nothing.
    u8::from(finish(&mut pipe.out, answer).is_err())
}

#[cfg(target_os = "linux")]
fn confined_as(order: &Order, input: &impl AsRawFd) -> Result<(), String> {
    confine_to(order.limits.metadata, order.seconds, input)
}

/// Takes everything from this process but `memory` bytes beyond its own, so many processor seconds, its standard streams and `input`.
#[cfg(target_os = "linux")]
pub(crate) fn confine_to(memory: u64, seconds: u64, input: &impl AsRawFd) -> Result<(), String> {
    super::confine::confine(memory.saturating_add(OWN_MEMORY), seconds, input)
}

#[cfg(not(target_os = "linux"))]
fn confined_as(order: &Order, input: &impl AsRawFd) -> Result<(), String> {
    confine_to(order.limits.metadata, order.seconds, input)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn confine_to(_memory: u64, _seconds: u64, _input: &impl AsRawFd) -> Result<(), String> {
    Err("only Linux has seccomp".to_owned())
}
