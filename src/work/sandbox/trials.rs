//! What the sandbox must not let happen, tried by a confined decoder itself.

use std::fs::File;
use std::process::Command;

/// Signals by their numbers on Linux.
const ABORT: i32 = 6;
const KILL: i32 = 9;
const CPU: i32 = 24;
const FORBIDDEN: &[i32] = &[31];

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) name: &'static str,
    /// "The sandbox lets a decoder …"
    pub(super) says: &'static str,
    /// The signals that end it where the sandbox holds.
    pub(super) ends: &'static [i32],
    /// Returns if the sandbox lets it. Takes the process id of the worker.
    pub(super) attempt: fn(u32),
}

const fn forbidden(name: &'static str, says: &'static str, attempt: fn(u32)) -> Trial {
    Trial { name, says, ends: FORBIDDEN, attempt }
}

fn open(path: &str) {
    drop(File::open(path));
}

/// All attempts, those that name what they reach first.
pub(super) const TRIALS: &[Trial] = &[
    forbidden("open", "open files", |_| open("/etc/passwd")),
    forbidden("parent", "read of another process", |parent| open(&format!("/proc/{parent}/environ"))),
    forbidden("network", "reach the network", |_| drop(std::net::UdpSocket::bind("127.0.0.1:0"))),
    forbidden("program", "run programs", |_| drop(Command::new("/bin/true").status())),
    Trial {
        name: "memory",
        says: "take all the memory",
        ends: &[ABORT],
        attempt: |_| drop(std::hint::black_box(Vec::<u8>::with_capacity(2 << 30))),
    },
    Trial {
        name: "time",
        says: "run for ever",
        ends: &[CPU, KILL],
        attempt: |_| {
            while std::hint::black_box(true) {
                std::hint::spin_loop();
            }
        },
    },
    #[cfg(target_os = "linux")]
    forbidden("tgkill", "send signals to other processes", |parent| call(libc::SYS_tgkill, [parent, parent, 0])),
    #[cfg(target_os = "linux")]
    forbidden("kill", "send signals to other processes", |parent| call(libc::SYS_kill, [parent, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("tkill", "send signals to other threads", |parent| call(libc::SYS_tkill, [parent, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("sigqueue", "queue signals for other processes", |parent| {
        call(libc::SYS_rt_sigqueueinfo, [parent, 0, 0]);
    }),
    #[cfg(target_os = "linux")]
    forbidden("tgsigqueue", "queue signals for other processes", |parent| {
        call(libc::SYS_rt_tgsigqueueinfo, [parent, parent, 0]);
    }),
    #[cfg(target_os = "linux")]
    forbidden("pidfd", "get hold of other processes", |parent| call(libc::SYS_pidfd_open, [parent, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("owner", "have signals sent to other processes", |parent| {
        call(libc::SYS_fcntl, [0, libc::F_SETOWN.unsigned_abs(), parent]);
    }),
    #[cfg(target_os = "linux")]
    forbidden("limits", "change the limits of other processes", |parent| call(libc::SYS_prlimit64, [parent, 7, 0])),
    #[cfg(target_os = "linux")]
    forbidden("vm", "read the memory of other processes", |parent| call(libc::SYS_process_vm_readv, [parent, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("ptrace", "trace other processes", |parent| call(libc::SYS_ptrace, [2, parent, 0])),
    #[cfg(target_os = "linux")]
    forbidden("kcmp", "compare other processes", |parent| call(libc::SYS_kcmp, [parent, parent, 0])),
    #[cfg(target_os = "linux")]
    forbidden("priority", "change the priority of other processes", |parent| {
        call(libc::SYS_setpriority, [0, parent, 19]);
    }),
    #[cfg(target_os = "linux")]
    forbidden("affinity", "move other processes", |parent| call(libc::SYS_sched_setaffinity, [parent, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("scheduler", "schedule other processes", |parent| call(libc::SYS_sched_setattr, [parent, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("clone", "start processes", |_| call(libc::SYS_clone, [libc::SIGCHLD.unsigned_abs(), 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("terminal", "type into a terminal", |_| {
        call(libc::SYS_ioctl, [0, u32::try_from(libc::TIOCSTI).unwrap_or(0), 0]);
    }),
    #[cfg(target_os = "linux")]
    forbidden("memfd", "make files in memory", |_| call(libc::SYS_memfd_create, [0, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("openat2", "open files", |_| call(libc::SYS_openat2, [0, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("uring", "use io_uring", |_| call(libc::SYS_io_uring_setup, [1, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("fault", "handle page faults", |_| call(libc::SYS_userfaultfd, [0, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("keys", "use the kernel's keys", |_| call(libc::SYS_keyctl, [0, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("bpf", "load programs into the kernel", |_| call(libc::SYS_bpf, [0, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("perf", "watch the kernel", |_| call(libc::SYS_perf_event_open, [0, 0, 0])),
    #[cfg(target_os = "linux")]
    forbidden("code", "make programs in memory", |_| {
        let [protection, flags] = [libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS];
        anonymous(protection.unsigned_abs(), flags.unsigned_abs());
    }),
];

/// A bare call of the kernel with small numbers: none of the trials hands over an address.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the C library has no names for most of these calls")]
fn call(number: i64, [a, b, c]: [u32; 3]) {
    // SAFETY: where a call takes an address it gets 0, which the kernel refuses to follow. Where the filter holds nothing comes back.
    unsafe { libc::syscall(number, u64::from(a), u64::from(b), u64::from(c), 0_u64, 0_u64, 0_u64) };
}

/// A page of memory.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "memory that may be run is nothing a safe program asks for")]
fn anonymous(protection: u32, flags: u32) {
    // SAFETY: the kernel chooses an address where nothing is, and nothing is done with the page.
    unsafe { libc::syscall(libc::SYS_mmap, 0_u64, 4096_u64, u64::from(protection), u64::from(flags), -1_i64, 0_u64) };
}
