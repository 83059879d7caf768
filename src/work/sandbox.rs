//! Decoding in a process of its own.
//!
//! The parsers meet whatever strangers upload, so they run where they can do nothing: the same binary, with an empty environment, the file
//! as standard input and a pipe as standard output, no other descriptor, no new privileges, bounded memory, processor time and file
//! size, and a seccomp filter that knows only what computing needs: no file can be opened, no socket made, no program run. A crash, a
//! hang or a balloon ends that process and that job.
//!
//! What comes back is checked like any other input. Samples are handed over as they are decoded, so that the child holds none of them:
//! messages of one byte that says what it is (`b` rate, channels and announced frames; `f` a number of frames, planar; `d` how many of the
//! last frames were padding), little endian, and at the end `e` with a length-prefixed JSON header and the cover.

use crate::cli::Confined;
use loopmaster_core::decode::{DecodeError, Gather, Picture, Sink, Source, Tags, Track, decode_into};
use loopmaster_core::samples::Pool;
use loopmaster_core::settings::Limits;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

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
    /// Processor seconds, and, doubled, seconds on the clock.
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
        let child = Running(Arc::new(Mutex::new(child)));
        let gather = Gather::new(pool);
        // What is left to do with the samples is done on as many threads as the decoder has.
        let threads = rayon::ThreadPoolBuilder::new().num_threads(self.threads.max(1)).build();
        let threads = threads.map_err(|error| io::Error::other(error.to_string()))?;
        let reading = tokio::task::spawn_blocking(move || {
            let mut pipe = io::BufReader::with_capacity(BUFFER, pipe);
            threads.install(|| receive(&mut pipe, &limits, gather))
        });
        match tokio::time::timeout(Duration::from_secs(seconds * 2), reading).await {
            Err(_) => Err(too_slow(seconds * 2)),
            // A broken answer is explained by how the child ended.
            Ok(Ok(Err(broken))) => match child.ended().await {
                Ok(status) => Err(explain(status, seconds, &broken)),
                Err(error) => Err(error.into()),
            },
            Ok(Ok(Ok(answer))) => answer,
            Ok(Err(panicked)) => Err(io::Error::other(panicked.to_string()).into()),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().current_dir("/").stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    /// Tries what must not be possible. The worker refuses to start on a machine that would let it happen.
    pub async fn check(&self) -> Result<(), String> {
        if self.unsandboxed {
            return Ok(());
        }
        for trial in Trial::ALL {
            let order = Order {
                extension: Some(trial.name().to_owned()),
                limits: Limits { memory: 1 << 20, ..self.limits },
                seconds: 1,
                threads: 1,
                unsandboxed: false,
            };
            let order = serde_json::to_string(&order).map_err(|error| error.to_string())?;
            let spawned = self.command(&["decode-confined", "--try", &order]).stdin(Stdio::null()).spawn();
            let mut child = spawned.map_err(|error| format!("the decoder cannot be run: {error}"))?;
            drop(child.stdout.take());
            let child = Running(Arc::new(Mutex::new(child)));
            let ended = tokio::time::timeout(Duration::from_secs(10), child.ended()).await;
            let status = ended.map_err(|_| format!("the sandbox lets a decoder {}", trial.says()))?;
            let status = status.map_err(|error| error.to_string())?;
            if status.code() == Some(CANNOT_CONFINE) {
                return Err(
                    "this system cannot confine the decoder (seccomp, rlimits); --allow-unsandboxed goes without"
                        .to_owned(),
                );
            }
            if status.code().is_some() {
                return Err(format!(
                    "the sandbox lets a decoder {}; --allow-unsandboxed goes without one",
                    trial.says()
                ));
            }
        }
        Ok(())
    }
}

/// Signals by their numbers on Linux and macOS.
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

fn too_slow(seconds: u64) -> Refusal {
    let text = format!("the file was not decoded within {seconds} s; it is probably damaged, export it again");
    Refusal::File { code: "decode.too_slow".to_owned(), text }
}

/// Why there is no answer, by how the child ended.
fn explain(status: ExitStatus, seconds: u64, broken: &io::Error) -> Refusal {
    let file = |code: &str, text: String| Refusal::File { code: code.to_owned(), text };
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let crashed = "export it again, in another format if you can";
    // Whatever it says, or ends with after saying it: it has been taken over.
    if broken.kind() == io::ErrorKind::InvalidData {
        return file(
            "decode.crashed",
            format!("the file makes its decoder say what is not true ({broken}); {crashed}"),
        );
    }
    match signal {
        Some(KILLED) => io::Error::other("the decoder was killed, by hand or because memory is short").into(),
        Some(TIME_IS_UP) => too_slow(seconds),
        Some(FORBIDDEN) => {
            file("decode.crashed", format!("the file makes its decoder do what no decoder has to; {crashed}"))
        }
        Some(signal) => {
            file("decode.crashed", format!("the file makes its decoder crash (signal {signal}); {crashed}"))
        }
        None if status.success() || status.code() == Some(PANICKED) => {
            file("decode.crashed", format!("the file's decoder ended in the middle ({broken}); {crashed}"))
        }
        None => io::Error::other(format!("the decoder ended with {status}")).into(),
    }
}

/// A child that ends when nobody waits for it any more.
struct Running(Arc<Mutex<Child>>);

impl Running {
    async fn ended(&self) -> io::Result<ExitStatus> {
        let child = Arc::clone(&self.0);
        loop {
            if let Some(status) = child.lock().unwrap_or_else(PoisonError::into_inner).try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let child = Arc::clone(&self.0);
        let mut held = child.lock().unwrap_or_else(PoisonError::into_inner);
        // Already gone is well.
        let _ = held.kill();
        let _ = held.wait();
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
        out.iter_mut().for_each(|sample| *sample = f32::from_bits(sample.to_bits().swap_bytes()));
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

/// What a trial of the sandbox attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    Open,
    Network,
    Program,
    Memory,
    Time,
}

impl Trial {
    const ALL: [Self; 5] = [Self::Open, Self::Network, Self::Program, Self::Memory, Self::Time];

    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Network => "network",
            Self::Program => "program",
            Self::Memory => "memory",
            Self::Time => "time",
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::Open => "open files",
            Self::Network => "reach the network",
            Self::Program => "run programs",
            Self::Memory => "take all the memory",
            Self::Time => "run for ever",
        }
    }

    /// Returns if the sandbox lets it.
    fn attempt(self) {
        match self {
            Self::Open => drop(File::open("/etc/passwd")),
            Self::Network => drop(std::net::UdpSocket::bind("127.0.0.1:0")),
            Self::Program => drop(Command::new("/bin/true").status()),
            Self::Memory => {
                drop(std::hint::black_box(Vec::<u8>::with_capacity(2 << 30)));
            }
            Self::Time => {
                while std::hint::black_box(true) {
                    std::hint::spin_loop();
                }
            }
        }
    }
}

/// The child: takes its privileges away, then decodes standard input to standard output. The exit code.
#[must_use]
pub fn confined(args: &Confined) -> u8 {
    let Ok(order) = serde_json::from_str::<Order>(&args.order) else {
        return 2;
    };
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
    if args.r#try {
        if let Some(trial) = Trial::ALL.into_iter().find(|trial| Some(trial.name()) == order.extension.as_deref()) {
            trial.attempt();
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
    let memory = memory.saturating_add(OWN_MEMORY);
    limit(libc::RLIMIT_AS, memory, memory)?;
    // The first says that time is up, the second kills.
    limit(libc::RLIMIT_CPU, seconds, seconds.saturating_add(1))?;
    for resource in [libc::RLIMIT_FSIZE, libc::RLIMIT_CORE, libc::RLIMIT_NPROC] {
        limit(resource, 0, 0)?;
    }
    close_all_but(input)?;
    let filter = filter().map_err(|error| error.to_string())?;
    // For all threads; sets no_new_privs on the way.
    seccompiler::apply_filter_all_threads(&filter).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn confine(order: &Order, input: &impl AsRawFd) -> Result<(), String> {
    confine_to(order.limits.metadata, order.seconds, input)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn confine_to(_memory: u64, _seconds: u64, _input: &impl AsRawFd) -> Result<(), String> {
    Err("only Linux has seccomp".to_owned())
}

#[cfg(target_os = "linux")]
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

/// Closes every descriptor but standard input, output and error, and the copy of the input.
#[cfg(target_os = "linux")]
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

/// What computing needs, and nothing that names a file, a socket, a process or a program. Everything else ends the process.
#[cfg(target_os = "linux")]
fn filter() -> Result<seccompiler::BpfProgram, seccompiler::BackendError> {
    use std::collections::BTreeMap;

    use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};
    let allowed = [
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_pread64,
        libc::SYS_lseek,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_brk,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_getrandom,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_tgkill,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = allowed.into_iter().map(|call| (call, Vec::new())).collect();
    // Whether a descriptor is open, which a build with assertions asks before it closes one.
    let asks = u64::from(libc::F_GETFD.unsigned_abs());
    let asks = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, asks)?;
    rules.insert(libc::SYS_fcntl, vec![SeccompRule::new(vec![asks])?]);
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?.try_into()
}
