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

#[cfg(target_os = "linux")]
mod confine;
mod trials;

use futures_util::{StreamExt, TryStreamExt};
use loopmaster_core::decode::{DecodeError, Gather, Picture, Sink, Source, Tags, Track, decode_into};
use loopmaster_core::samples::Pool;
use loopmaster_core::settings::Limits;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use trials::{TRIALS, Trial};

/// A header is a few hundred bytes; tags may take megabytes.
const LONGEST_HEADER: u32 = 32 << 20;
/// Address space: the program, its stacks and buffers, and the tables of packets that some containers begin with. Samples are not held.
const OWN_MEMORY: u64 = 896 << 20;
/// Most frames of one message.
const MOST_FRAMES: u32 = 1 << 23;
/// Short messages go through the pipe together.
const BUFFER: usize = 256 << 10;
/// Messages begin with these.
const BEGIN: u8 = b'b';
const FRAMES: u8 = b'f';
const DROP: u8 = b'd';
const END: u8 = b'e';
/// Decoded bytes for which the processor has a second on top: a long track may take longer.
const BYTES_A_SECOND: u64 = 32 << 20;
/// What the pipe holds, so that the two processes do not wait for each other at every 64 KiB.
#[cfg(target_os = "linux")]
const PIPE: usize = 1 << 20;

/// How often a decoder is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A decoder that neither computes nor writes anything for half of its processor time, and at least for this, is stuck.
const PATIENCE: Duration = Duration::from_secs(10);
/// However slowly it goes on, a decoder ends after so many times its processor time, and not before this.
const LONGEST: u32 = 30;
const AT_LEAST: Duration = Duration::from_mins(10);
/// Beyond the processor time that is allowed, until somebody who is not ended by the system is ended from here.
const OVERTIME: Duration = Duration::from_secs(2);
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

/// What the child is told, as its only argument.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    extension: Option<String>,
    limits: Limits,
    seconds: u64,
    threads: usize,
    unsandboxed: bool,
}

/// What the child answers, after the samples.
#[derive(Debug, Serialize, Deserialize)]
enum Header {
    Track { source: Box<Source>, tags: Box<Tags>, cover: Option<(String, u64)> },
    Larger(u64),
    Refused { code: String, text: String },
    Machine(String),
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

/// How long a decoder may go on.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Processor time.
    used: Duration,
    /// On the clock, without any progress.
    patience: Duration,
    /// On the clock.
    longest: Duration,
}

impl Bounds {
    fn of(used: Duration) -> Self {
        Self { used, patience: (used / 2).max(PATIENCE), longest: (used * LONGEST).max(AT_LEAST) }
    }
}

/// Why a decoder was not waited for any longer.
#[derive(Clone, Copy, Debug)]
enum Stuck {
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
    fn says(self) -> String {
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

/// Waits for `done` while the process keeps to its bounds and makes progress. Time is counted in looks: while this process itself is
/// stopped or starved, nobody loses any.
async fn watched<T>(id: u32, received: &AtomicU64, bounds: &Bounds, done: impl Future<Output = T>) -> Result<T, Stuck> {
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
struct Counted<R> {
    inner: R,
    received: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    fn new(inner: R, received: Arc<AtomicU64>) -> Self {
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
struct Running {
    child: Child,
    /// Processor time, as it was last seen.
    used: Option<Duration>,
}

impl Running {
    async fn ended(&mut self) -> io::Result<ExitStatus> {
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

/// Reads an answer; `Err` outside: what came is no answer.
fn receive(pipe: &mut impl Read, limits: &Limits, mut gather: Gather) -> io::Result<Result<Track, Refusal>> {
    let mut begun: Option<(u64, u64)> = None;
    loop {
        let [message] = read(pipe)?;
        match (message, &mut begun) {
            (BEGIN, None) => {
                let rate = u32::from_le_bytes(read(pipe)?);
                let [channels] = read(pipe)?;
                let expected = u64::from_le_bytes(read(pipe)?);
                if !(limits.rate.0..=limits.rate.1).contains(&rate) || !(1..=2).contains(&channels) {
                    return Err(wrong("a layout that is none"));
                }
                // The same arithmetic as the decoder's own: slow files are raised to 44.1 kHz.
                let raised = f64::from(rate.max(44_100)) / f64::from(rate);
                let most = (limits.memory as f64 / (8.0 * raised)).ceil() as u64;
                if let Err(error) = gather.begin(rate, channels.into(), expected.min(most)) {
                    return Ok(Err(Refusal::Machine(error)));
                }
                begun = Some((0, most));
            }
            (FRAMES, Some((total, most))) => {
                let frames = u32::from_le_bytes(read(pipe)?);
                *total += u64::from(frames);
                if frames > MOST_FRAMES || *total > *most {
                    return Err(wrong("more samples than were asked for"));
                }
                let mut come = Ok(());
                let taken = gather.push(frames as usize, &mut |left, right| {
                    come = samples(pipe, left).and_then(|()| samples(pipe, right));
                });
                come?;
                if let Err(error) = taken {
                    return Ok(Err(Refusal::Machine(error)));
                }
            }
            (DROP, Some((total, _))) => {
                let frames = u64::from_le_bytes(read(pipe)?);
                *total = total.checked_sub(frames).ok_or_else(|| wrong("padding that was never sent"))?;
                gather.drop_end(frames)?;
            }
            (END, _) => return end(pipe, limits, gather),
            _ => return Err(wrong("a message that is none")),
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn read<const N: usize>(pipe: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    pipe.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn samples(pipe: &mut impl Read, out: &mut [f32]) -> io::Result<()> {
    pipe.read_exact(bytemuck::cast_slice_mut(out))?;
    if cfg!(target_endian = "big") {
        for sample in out {
            *sample = f32::from_bits(sample.to_bits().swap_bytes());
        }
    }
    Ok(())
}

/// What comes after the samples, and the track.
fn end(pipe: &mut impl Read, limits: &Limits, gather: Gather) -> io::Result<Result<Track, Refusal>> {
    let length = u32::from_le_bytes(read(pipe)?);
    if length > LONGEST_HEADER {
        return Err(wrong("a header that never ends"));
    }
    let mut text = vec![0; length as usize];
    pipe.read_exact(&mut text)?;
    let (source, mut tags, cover) = match serde_json::from_slice(&text).map_err(|_| wrong("a header that is none"))? {
        Header::Track { source, tags, cover } => (source, tags, cover),
        Header::Larger(bytes) => return Ok(Err(Refusal::Larger(bytes))),
        Header::Refused { code, text } => return Ok(Err(Refusal::File { code, text })),
        Header::Machine(text) => return Ok(Err(Refusal::Machine(io::Error::other(text)))),
    };
    if let Some((mime, bytes)) = cover {
        if bytes > limits.metadata {
            return Err(wrong("a cover that is too large"));
        }
        let mut picture = vec![0; usize::try_from(bytes).map_err(|_| wrong("a cover that is too large"))?];
        pipe.read_exact(&mut picture)?;
        tags.cover = Some(Picture { mime, bytes: picture });
    }
    if pipe.read(&mut [0])? != 0 {
        return Err(wrong("more bytes than were announced"));
    }
    Ok(gather.track(*source, *tags).map_err(Refusal::from))
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
        && let Err(error) = confine::landlock()
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
        && let Err(error) = confine(&order, &input)
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
    let mut pipe = Pipe { out, planes: [Vec::new(), Vec::new()], mono: false };
    let answer = decode_into(File::from(input), order.extension.as_deref(), &order.limits, &mut pipe);
    // A parent that is gone wants nothing.
    u8::from(finish(&mut pipe.out, answer).is_err())
}

/// The way to the parent.
struct Pipe<W> {
    out: W,
    planes: [Vec<f32>; 2],
    mono: bool,
}

impl<W: Write> Sink for Pipe<W> {
    fn begin(&mut self, rate: u32, channels: u16, expected: u64) -> io::Result<()> {
        self.mono = channels < 2;
        self.out.write_all(&[BEGIN])?;
        self.out.write_all(&rate.to_le_bytes())?;
        self.out.write_all(&[if self.mono { 1 } else { 2 }])?;
        self.out.write_all(&expected.to_le_bytes())
    }

    fn push(&mut self, frames: usize, fill: &mut dyn FnMut(&mut [f32], &mut [f32])) -> io::Result<()> {
        let [left, right] = &mut self.planes;
        left.resize(frames, 0.0);
        right.resize(if self.mono { 0 } else { frames }, 0.0);
        fill(left, right);
        // One piece never holds so many frames that this could be reached: it keeps both sides from depending on that.
        let most = MOST_FRAMES as usize;
        for start in (0..frames).step_by(most) {
            let range = start..(start + most).min(frames);
            self.out.write_all(&[FRAMES])?;
            self.out.write_all(&(range.len() as u32).to_le_bytes())?;
            for plane in [left.get(range.clone()), right.get(range)].into_iter().flatten() {
                if cfg!(target_endian = "little") {
                    self.out.write_all(bytemuck::cast_slice(plane))?;
                } else {
                    self.out.write_all(&plane.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>())?;
                }
            }
        }
        Ok(())
    }

    fn drop_end(&mut self, frames: u64) -> io::Result<()> {
        self.out.write_all(&[DROP])?;
        self.out.write_all(&frames.to_le_bytes())
    }
}

/// The last message.
fn finish(pipe: &mut impl Write, answer: Result<(Source, Tags), DecodeError>) -> io::Result<()> {
    let mut cover = None;
    let header = match answer {
        Ok((source, mut tags)) => {
            cover = tags.cover.take();
            let picture = cover.as_ref().map(|picture| (picture.mime.clone(), picture.bytes.len() as u64));
            Header::Track { source: Box::new(source), tags: Box::new(tags), cover: picture }
        }
        // The only room that is needed here is the parent's.
        Err(DecodeError::Room(error)) => return Err(error),
        Err(DecodeError::NeedsMemory { bytes, .. }) => Header::Larger(bytes),
        Err(DecodeError::Read(error)) => Header::Machine(error.to_string()),
        Err(error) => Header::Refused { code: error.code().to_owned(), text: error.to_string() },
    };
    let text = serde_json::to_vec(&header)?;
    pipe.write_all(&[END])?;
    pipe.write_all(&u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes())?;
    pipe.write_all(&text)?;
    if let Some(picture) = cover {
        pipe.write_all(&picture.bytes)?;
    }
    pipe.flush()
}

#[cfg(target_os = "linux")]
fn confine(order: &Order, input: &impl AsRawFd) -> Result<(), String> {
    confine_to(order.limits.metadata, order.seconds, input)
}

/// Takes everything from this process but `memory` bytes beyond its own, so many processor seconds, its standard streams and `input`.
#[cfg(target_os = "linux")]
pub(crate) fn confine_to(memory: u64, seconds: u64, input: &impl AsRawFd) -> Result<(), String> {
    confine::confine(memory.saturating_add(OWN_MEMORY), seconds, input)
}

#[cfg(not(target_os = "linux"))]
fn confine(order: &Order, input: &impl AsRawFd) -> Result<(), String> {
    confine_to(order.limits.metadata, order.seconds, input)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn confine_to(_memory: u64, _seconds: u64, _input: &impl AsRawFd) -> Result<(), String> {
    Err("only Linux has seccomp".to_owned())
}
