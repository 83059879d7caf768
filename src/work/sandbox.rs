//! Decoding in a process of its own.
//!
//! The parsers meet whatever strangers upload, so they run where they can do nothing: the same binary, with an empty environment, the file
//! as standard input and a pipe as standard output, no other descriptor, no new privileges, bounded memory, processor time and file
//! size, and a seccomp filter that knows only what computing needs: no file can be opened, no socket made, no program run, no other
//! process reached. A crash, a hang or a balloon ends that process and that job.
//!
//! A decoder is judged by the processor time it has used, never by the clock: on a busy machine everything takes long, and no file is to
//! blame for that. The clock only ends a decoder that makes no progress at all.
//!
//! What comes back is checked like any other input. Samples are handed over as they are decoded, so that the child holds none of them:
//! messages of one byte that says what it is (`b` rate, channels and announced frames; `f` a number of frames, planar; `d` how many of the
//! last frames were padding), little endian, and at the end `e` with a length-prefixed JSON header and the cover.

mod child;
#[cfg(target_os = "linux")]
mod confine;
mod messages;
mod trials;
mod watch;

pub(crate) use child::confine_to;
pub use child::confined;

use futures_util::{StreamExt, TryStreamExt};
use loopmaster_core::decode::{DecodeError, Gather, Track};
use loopmaster_core::samples::Pool;
use loopmaster_core::settings::Limits;
use messages::{BUFFER, Order, receive};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use trials::{TRIALS, Trial};
use watch::{Bounds, Counted, Running, Stuck, watched};

/// Decoded bytes for which the processor has a second on top: a long track may take longer.
const BYTES_A_SECOND: u64 = 32 << 20;
/// What the pipe holds, so that the two processes do not wait for each other at every 64 KiB.
#[cfg(target_os = "linux")]
const PIPE: usize = 1 << 20;

/// Processor time of a trial of the sandbox.
const TRIAL: Duration = Duration::from_secs(1);
/// A trial that gets no processor time at all for so long says nothing.
const PATIENT_TRIAL: Duration = Duration::from_mins(1);
/// Trials at the same time.
const TRIALS_AT_ONCE: usize = 4;

/// What runs as the child, where it is not this program.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the `loopmaster` binary for a program that has the service in it as a library. Once; the first name holds.
pub fn use_program(path: impl Into<PathBuf>) {
    drop(PROGRAM.set(path.into()));
}

/// The binary that runs as the child.
pub(crate) fn program() -> io::Result<PathBuf> {
    PROGRAM.get().map_or_else(std::env::current_exe, |path| Ok(path.clone()))
}

/// How files are decoded.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// This binary.
    pub program: PathBuf,
    /// No confinement: for systems without seccomp, after the operator has said so.
    pub unsandboxed: bool,
    /// Processor seconds.
    pub seconds: u64,
    /// Threads of one decoder.
    pub threads: usize,
    /// Bounds on the input, whatever the job.
    pub limits: Limits,
}

/// Why there is no track.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file: the same again would end the same.
    #[error("{text}")]
    File {
        /// `decode.what`
        code: String,
        /// What is wrong, and what to do.
        text: String,
    },
    /// The audio is larger than what was set aside for it.
    #[error("decoded, the track takes at least {0} bytes")]
    Larger(u64),
    /// The machine: another time it may work.
    #[error("the decoder could not be run: {0}")]
    Machine(#[from] io::Error),
}

impl Sandbox {
    /// This binary, confined.
    pub fn new(limits: Limits) -> io::Result<Self> {
        Ok(Self { program: program()?, unsandboxed: false, seconds: 120, threads: 1, limits })
    }

    /// Decodes `file`, whose audio may have `bytes` bytes, into `pool`. Whoever stops waiting stops the decoder.
    pub async fn decode(
        &self,
        file: &Path,
        extension: Option<&str>,
        bytes: u64,
        pool: &Pool,
    ) -> Result<Track, Refusal> {
        let limits = Limits { memory: bytes.min(self.limits.memory), ..self.limits };
        let seconds = self.seconds + limits.memory / BYTES_A_SECOND;
        let order = Order {
            extension: extension.map(str::to_owned),
            limits,
            seconds,
            threads: self.threads,
            unsandboxed: self.unsandboxed,
        };
        let order = serde_json::to_string(&order).map_err(io::Error::from)?;
        let mut child = self.command(&["decode-confined", &order]).stdin(File::open(file)?).spawn()?;
        let Some(pipe) = child.stdout.take() else {
            return Err(io::Error::other("the decoder has no output").into());
        };
        // A system that allows less is slower, and that is all.
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE);
        let mut child = Running { child, used: None };
        let gather = Gather::new(pool);
        // What is left to do with the samples is done on as many threads as the decoder has.
        let threads = rayon::ThreadPoolBuilder::new().num_threads(self.threads.max(1)).build();
        let threads = threads.map_err(|error| io::Error::other(error.to_string()))?;
        let received = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&received);
        let bounds = Bounds::of(Duration::from_secs(seconds));
        let id = child.child.id();
        let reading = tokio::task::spawn_blocking(move || {
            let mut pipe = io::BufReader::with_capacity(BUFFER, Counted::new(pipe, counting));
            threads.install(|| receive(&mut pipe, &limits, gather))
        });
        match watched(id, &received, &bounds, reading).await.map_err(|stuck| stuck.refusal(seconds))? {
            // A broken answer is explained by how the child ended; one that is a lie needs no more explaining.
            Ok(Err(broken)) if broken.kind() == io::ErrorKind::InvalidData => Err(lied(&broken)),
            Ok(Err(broken)) => {
                let ended = watched(id, &received, &bounds, child.ended()).await;
                let status = ended.map_err(|stuck| stuck.refusal(seconds))??;
                Err(explain(status, child.used, seconds, &broken))
            }
            Ok(Ok(answer)) => answer,
            Err(panicked) => Err(io::Error::other(panicked.to_string()).into()),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().current_dir("/").stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    /// Tries what must not be possible. The worker refuses to start on a machine that would let it happen. What has been found out about
    /// a program once holds for the life of this process.
    pub async fn check(&self) -> Result<(), String> {
        static HOLDS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
        let known = || HOLDS.lock().unwrap_or_else(PoisonError::into_inner).contains(&self.program);
        if self.unsandboxed || known() {
            return Ok(());
        }
        let trials = futures_util::stream::iter(TRIALS).map(|trial| self.attempt(trial)).buffered(TRIALS_AT_ONCE);
        trials.try_collect::<()>().await?;
        HOLDS.lock().unwrap_or_else(PoisonError::into_inner).push(self.program.clone());
        Ok(())
    }

    /// One trial. The error says what was seen.
    async fn attempt(&self, trial: &Trial) -> Result<(), String> {
        let order = Order {
            extension: Some(trial.name.to_owned()),
            limits: Limits { memory: 1 << 20, ..self.limits },
            seconds: TRIAL.as_secs(),
            threads: 1,
            unsandboxed: false,
        };
        let order = serde_json::to_string(&order).map_err(|error| error.to_string())?;
        let started = Instant::now();
        let spawned = self.command(&["decode-confined", "--try", &order]).stdin(Stdio::null()).spawn();
        let mut child = spawned.map_err(|error| format!("the decoder cannot be run: {error}"))?;
        drop(child.stdout.take());
        let mut child = Running { child, used: None };
        let bounds = Bounds { patience: PATIENT_TRIAL, ..Bounds::of(TRIAL) };
        let ended = watched(child.child.id(), &AtomicU64::new(1), &bounds, child.ended()).await;
        let used = child.used.map_or_else(|| "?".to_owned(), |used| format!("{:.2}", used.as_secs_f64()));
        let seen = format!("after {used} s of processor time in {:.2} s", started.elapsed().as_secs_f64());
        let lets = |how: &str| format!("the sandbox lets a decoder {} ({how} {seen})", trial.says);
        let without = "--allow-unsandboxed goes without one";
        match ended {
            Err(Stuck::Overtime(_)) => Err(format!("{}; {without}", lets("it still ran"))),
            Err(stuck) => Err(format!(
                "whether the sandbox lets a decoder {} could not be found out: {} ({seen}); start again when the machine is less busy",
                trial.says,
                stuck.says()
            )),
            Ok(Err(error)) => Err(format!("the decoder cannot be waited for: {error}")),
            Ok(Ok(status)) if status.code() == Some(CANNOT_CONFINE) => {
                Err("this system cannot confine the decoder (seccomp, rlimits); --allow-unsandboxed goes without"
                    .to_owned())
            }
            Ok(Ok(status)) => match signal(status) {
                None => Err(format!("{}; {without}", lets(&format!("it ended with {status}")))),
                Some(signal) if trial.ends.contains(&signal) => Ok(()),
                Some(signal) => Err(format!(
                    "the trial whether the sandbox lets a decoder {} was ended by signal {signal} {seen}, and not by the sandbox; \
                     start again, and look at the system's log if it stays so",
                    trial.says
                )),
            },
        }
    }
}

fn signal(status: ExitStatus) -> Option<i32> {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    return None;
}

/// Signals by their numbers on Linux and macOS.
const ABORTED: i32 = 6;
const KILLED: i32 = 9;
const TIME_IS_UP: i32 = 24;
#[cfg(target_os = "macos")]
const FORBIDDEN: i32 = 12;
#[cfg(not(target_os = "macos"))]
const FORBIDDEN: i32 = 31;
/// Exit code of a Rust program that panicked.
const PANICKED: i32 = 101;
/// Exit code of a child that could not take its privileges away.
pub(crate) const CANNOT_CONFINE: i32 = 77;

fn file(code: &str, text: String) -> Refusal {
    Refusal::File { code: code.to_owned(), text }
}

fn too_slow(seconds: u64) -> Refusal {
    let text = format!(
        "the file was not decoded within {seconds} s of processor time; it is probably damaged, export it again"
    );
    file("decode.too_slow", text)
}

/// `does`: "the file makes its decoder …"
fn crashed(does: &str) -> Refusal {
    file("decode.crashed", format!("the file makes its decoder {does}; export it again, in another format if you can"))
}

/// Whatever it says, or ends with after saying it: it has been taken over.
fn lied(broken: &io::Error) -> Refusal {
    crashed(&format!("say what is not true ({broken})"))
}

/// Why there is no answer, by how the child ended.
fn explain(status: ExitStatus, used: Option<Duration>, seconds: u64, broken: &io::Error) -> Refusal {
    let limit = Duration::from_secs(seconds);
    match signal(status) {
        // The decoder may have refused to hear that its time was up.
        Some(KILLED) if used.is_some_and(|used| used >= limit) => too_slow(seconds),
        Some(KILLED) => io::Error::other("the decoder was killed, by hand or because memory is short").into(),
        Some(TIME_IS_UP) => too_slow(seconds),
        Some(FORBIDDEN) => crashed("do what no decoder has to"),
        Some(ABORTED) => crashed(&format!("take more memory than its sound can need, or crash (signal {ABORTED})")),
        Some(signal) => crashed(&format!("crash (signal {signal})")),
        None if status.success() || status.code() == Some(PANICKED) => {
            crashed(&format!("end in the middle ({broken})"))
        }
        None => io::Error::other(format!("the decoder ended with {status}")).into(),
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::NeedsMemory { bytes, .. } => Self::Larger(bytes),
            DecodeError::Read(error) | DecodeError::Room(error) => Self::Machine(error),
            error => Self::File { code: error.code().to_owned(), text: error.to_string() },
        }
    }
}

impl Stuck {
    /// What that says about the file.
    fn refusal(self, seconds: u64) -> Refusal {
        match self {
            Self::Overtime(_) => too_slow(seconds),
            Self::Asleep(_) => {
                file("decode.too_slow", format!("the file's decoder does not go on: {}; export it again", self.says()))
            }
            // The machine's doing, whatever the file is.
            Self::Starved(_) | Self::Slow(_) => io::Error::other(self.says()).into(),
        }
    }
}
