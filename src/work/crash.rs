//! The last words of a worker that crashes: one byte in a file, from inside of the signal. Whoever finds the file empty knows that the
//! worker was killed from outside, which says nothing about what it was at.

use std::fs::File;

#[cfg(unix)]
pub(super) use unix::write_to;

/// Nobody tells crashed from killed here.
#[cfg(not(unix))]
pub(super) fn write_to(_words: File) {}

#[cfg(unix)]
mod unix {
    use super::File;
    use std::io;
    use std::os::fd::IntoRawFd;
    use std::ptr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI32, Ordering};

    /// What a program sends itself, or the processor it.
    const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];

    /// The file; −1: none.
    static WORDS: AtomicI32 = AtomicI32::new(-1);
    /// What was to happen before.
    static BEFORE: [OnceLock<libc::sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

    /// From now on a crash of this process writes into `words`, which stays open until then.
    pub(in crate::work) fn write_to(words: File) {
        WORDS.store(words.into_raw_fd(), Ordering::Relaxed);
        for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
            if before.get().is_none()
                && let Err(error) = install(signal, before)
            {
                tracing::warn!(%error, signal, "a crash of this worker will look as if it had been killed");
            }
        }
    }

    #[expect(unsafe_code, reason = "signal handlers are C functions")]
    fn install(signal: i32, before: &OnceLock<libc::sigaction>) -> io::Result<()> {
        // SAFETY: the structure is made of numbers, for which zero is a value.
        let (mut new, mut old): (libc::sigaction, libc::sigaction) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        // SAFETY: the pointer is valid for the call, which only writes what was there.
        if unsafe { libc::sigaction(signal, ptr::null(), &raw mut old) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // Known before the handler can run.
        let _ = before.set(old);
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = write;
        new.sa_sigaction = handler as libc::sighandler_t;
        // On the stack that Rust keeps for the case that a thread has used up its own.
        new.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
        // SAFETY: the handler does only what may be done in one: a write, and putting the former handler back.
        if unsafe { libc::sigaction(signal, &raw const new, ptr::null_mut()) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Writes, unless another process sent the signal, and lets happen what would have happened.
    #[expect(unsafe_code, reason = "C calls that are safe inside of a signal")]
    extern "C" fn write(signal: i32, about: *mut libc::siginfo_t, _context: *mut libc::c_void) {
        // SAFETY: the system hands over a valid structure, which holds a process id where the code is not positive.
        let (fault, own) = unsafe { ((*about).si_code > 0, (*about).si_pid() == libc::getpid()) };
        let words = WORDS.load(Ordering::Relaxed);
        if words >= 0 && (fault || own) {
            // SAFETY: one byte that lives for ever.
            unsafe { libc::write(words, b"x".as_ptr().cast(), 1) };
        }
        let before = SIGNALS.iter().position(|known| *known == signal).and_then(|at| BEFORE[at].get());
        if let Some(before) = before {
            // SAFETY: the pointer is valid for the call, which only reads it.
            unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
        }
        // A fault comes again by itself; what was sent would be lost.
        if !fault {
            // SAFETY: no pointers. It arrives when this returns.
            unsafe { libc::raise(signal) };
        }
    }
}
