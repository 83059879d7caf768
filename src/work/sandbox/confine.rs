//! How a decoder takes its privileges away: limits, no other descriptor, Landlock where the kernel has it, and a seccomp filter.
//!
//! The filter alone is meant to hold. Landlock says the same once more by other means, so that a hole in one of them is no way out.

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::io;
use std::os::fd::AsRawFd;

/// Limits of the process, and no descriptor but standard input, output, error and `input`; then the filter, for all threads.
pub(super) fn confine(memory: u64, seconds: u64, input: &impl AsRawFd) -> Result<(), String> {
    limit(libc::RLIMIT_AS, memory, memory)?;
    // The first says that time is up, the second kills.
    limit(libc::RLIMIT_CPU, seconds, seconds.saturating_add(1))?;
    for resource in [libc::RLIMIT_FSIZE, libc::RLIMIT_CORE, libc::RLIMIT_NPROC] {
        limit(resource, 0, 0)?;
    }
    close_all_but(input)?;
    let filter = filter().map_err(|error| error.to_string())?;
    // Sets no_new_privs on the way.
    seccompiler::apply_filter_all_threads(&filter).map_err(|error| error.to_string())
}

#[expect(unsafe_code, reason = "a C call that takes a structure of two numbers")]
fn limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> Result<(), String> {
    let limits = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the pointer is valid for the call, which only reads it.
    if unsafe { libc::setrlimit(resource, &raw const limits) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error().to_string())
    }
}

#[expect(unsafe_code, reason = "a C call that takes numbers")]
fn close_all_but(input: &impl AsRawFd) -> Result<(), String> {
    let kept = libc::c_uint::try_from(input.as_raw_fd()).map_err(|error| error.to_string())?;
    for (first, last) in [(3, kept - 1), (kept + 1, libc::c_uint::MAX)] {
        // SAFETY: no pointers, and nothing of this young process owns one of these descriptors.
        if first <= last && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error().to_string());
        }
    }
    Ok(())
}

/// No file, no port, no signal to another process and no abstract socket, as far as this kernel knows how to forbid them. Holds for the
/// calling thread and those it starts from now on.
pub(super) fn landlock() -> Result<landlock::RulesetStatus, landlock::RulesetError> {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};
    let known = ABI::V6;
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(known))?
        .handle_access(AccessNet::from_all(known))?
        .scope(Scope::from_all(known))?;
    Ok(ruleset.create()?.restrict_self()?.ruleset)
}

/// What a call's arguments may be.
enum Only {
    /// Whatever they are.
    Any,
    /// This argument has this value.
    Is(u8, u64),
    /// This argument is one of these values once the bits of the mask are cleared.
    OneOf(u8, u32, &'static [u64]),
    /// This argument has none of these bits.
    Without(u8, u32),
}

/// Everything a decoder may ask of the kernel, and why no harm comes of it. Every other call ends the process: whatever names a file, a
/// socket, a program, another process or a new one (`kill`, `tkill`, `rt_sigqueueinfo`, `rt_tgsigqueueinfo`, `pidfd_*`, `prlimit64`,
/// `process_vm_*`, `ptrace`, `kcmp`, `setpriority`, `sched_set*`, `clone*`, `execve*`, `open*`, `memfd_create`, `ioctl`, `prctl`), and the
/// large machines inside of the kernel (`io_uring_*`, `bpf`, `perf_event_open`, `userfaultfd`, `keyctl`).
fn allowed() -> Vec<(i64, Only)> {
    let own = u64::from(std::process::id());
    let executable = libc::PROT_EXEC.unsigned_abs();
    let flags = (libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME).unsigned_abs();
    vec![
        // Descriptors 0 to 2 and the copy of 0 are all there are: a file that was opened for reading, a pipe to the worker, /dev/null.
        (libc::SYS_read, Only::Any),
        (libc::SYS_readv, Only::Any),
        (libc::SYS_pread64, Only::Any),
        (libc::SYS_lseek, Only::Any),
        (libc::SYS_write, Only::Any),
        (libc::SYS_writev, Only::Any),
        (libc::SYS_close, Only::Any),
        // Whether a descriptor is open, which a build with assertions asks before it closes one. F_SETOWN would send signals for us.
        (libc::SYS_fcntl, Only::Is(1, u64::from(libc::F_GETFD.unsigned_abs()))),
        // The own memory, bounded by RLIMIT_AS. None of it becomes a program: the libraries are there already.
        (libc::SYS_brk, Only::Any),
        (libc::SYS_mmap, Only::Without(2, executable)),
        (libc::SYS_mprotect, Only::Without(2, executable)),
        (libc::SYS_munmap, Only::Any),
        (libc::SYS_mremap, Only::Any),
        (libc::SYS_madvise, Only::Any),
        // The own threads wait for each other. Nothing is shared with another process, and the operations on priorities, whose faults
        // in the kernel were ways out more than once, are left out.
        (
            libc::SYS_futex,
            Only::OneOf(
                1,
                flags,
                // FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET
                &[0, 1, 9, 10],
            ),
        ),
        (libc::SYS_sched_yield, Only::Any),
        // Time passes, which RLIMIT_CPU and the worker's patience bound.
        (libc::SYS_clock_gettime, Only::Any),
        (libc::SYS_clock_nanosleep, Only::Any),
        (libc::SYS_nanosleep, Only::Any),
        (libc::SYS_restart_syscall, Only::Any),
        // Keys of hash tables.
        (libc::SYS_getrandom, Only::Any),
        // How this process takes its own signals. One that does not hear SIGXCPU is killed a second later.
        (libc::SYS_rt_sigaction, Only::Any),
        (libc::SYS_rt_sigprocmask, Only::Any),
        (libc::SYS_rt_sigreturn, Only::Any),
        (libc::SYS_sigaltstack, Only::Any),
        // `abort` sends itself a signal: to a thread of this process, and of no other.
        (libc::SYS_getpid, Only::Any),
        (libc::SYS_gettid, Only::Any),
        (libc::SYS_tgkill, Only::Is(0, own)),
        (libc::SYS_exit, Only::Any),
        (libc::SYS_exit_group, Only::Any),
    ]
}

fn filter() -> Result<BpfProgram, BackendError> {
    let when = |argument, operator, value| {
        SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?])
    };
    let mut rules = std::collections::BTreeMap::new();
    for (call, only) in allowed() {
        let conditions = match only {
            Only::Any => Vec::new(),
            Only::Is(argument, value) => vec![when(argument, SeccompCmpOp::Eq, value)?],
            Only::OneOf(argument, mask, values) => values
                .iter()
                .map(|value| when(argument, SeccompCmpOp::MaskedEq(u64::from(!mask)), *value))
                .collect::<Result<_, _>>()?,
            Only::Without(argument, bits) => vec![when(argument, SeccompCmpOp::MaskedEq(u64::from(bits)), 0)?],
        };
        rules.insert(call, conditions);
    }
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use landlock::RulesetStatus;
    use std::net::TcpListener;

    #[test]
    fn landlock_alone_keeps_files_and_ports_away() {
        // It holds for this thread; the other tests go on as they are.
        let tried = std::thread::spawn(|| {
            let status = landlock().unwrap();
            (status, std::fs::read("/proc/self/stat").is_ok(), TcpListener::bind("127.0.0.1:0").is_ok())
        });
        match tried.join().unwrap() {
            (RulesetStatus::NotEnforced, ..) => println!("this kernel has no Landlock"),
            (RulesetStatus::FullyEnforced, file, port) => assert_eq!((file, port), (false, false)),
            // Ports came three years after files.
            (RulesetStatus::PartiallyEnforced, file, _) => assert!(!file),
        }
    }
}
