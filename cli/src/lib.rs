//! The commands that need no service: [`master`] and [`analyze`], what can be typed to them ([`args`]), which files are meant
//! ([`inputs`]), how their work is shared among threads ([`schedule`]) and what is seen of it ([`progress`]).

mod album;
pub mod analyze;
pub mod args;
pub mod inputs;
pub mod master;
pub mod progress;
pub mod schedule;

use clap::Subcommand;
use loopmaster_core::plan::destinations;
use loopmaster_core::render::{Backend, cpu::Cpu};

/// What needs no service.
#[derive(Debug, Subcommand)]
pub enum Local {
    /// Master one mix, a hundred, or whole folders.
    Master(Box<args::MasterArgs>),
    /// Measure files and say what a mastering engineer would notice.
    Analyze(args::AnalyzeArgs),
    /// List the loudness destinations and what each platform does.
    Destinations,
}

/// Who renders, as far as a program has a choice.
pub trait Backends: Sync {
    /// The faster one of card and processor for so many tracks.
    fn auto(&self, tracks: usize) -> Box<dyn Backend>;

    /// The graphics card.
    ///
    /// # Errors
    /// There is none that can be used: a stable code, and a sentence that says so.
    fn card(&self) -> Result<Box<dyn Backend>, (&'static str, String)>;
}

/// A program without graphics cards.
#[derive(Clone, Copy, Debug)]
pub struct Processor;

impl Backends for Processor {
    fn auto(&self, _tracks: usize) -> Box<dyn Backend> {
        Box::new(Cpu)
    }

    fn card(&self) -> Result<Box<dyn Backend>, (&'static str, String)> {
        let message = "this program is built without graphics cards; build the full one: \
                       cargo build --release --package loopmaster";
        Err(("gpu.not_built", message.to_owned()))
    }
}

/// Runs a command; `true` when all of it went well.
#[must_use]
pub fn run(command: &Local, backends: &dyn Backends) -> bool {
    match command {
        Local::Master(args) => master::run(args, backends),
        Local::Analyze(args) => analyze::run(args),
        Local::Destinations => {
            list_destinations();
            true
        }
    }
}

fn list_destinations() {
    for row in destinations() {
        let target = row.target.map_or_else(|| "the style decides".to_owned(), |lufs| lufs.to_string());
        println!("{:<14} {:<28} {target}, ceiling {}", row.key, row.name, row.ceiling);
        println!("{:<14} {}", "", row.note);
    }
}

/// From here on Ctrl-C and a polite kill leave no half file behind; -9 leaves hidden `.part` files that are never taken for music.
pub fn leave_nothing_half_written() {
    /// The exit code shells give a program ended by Ctrl-C (128 + SIGINT).
    const INTERRUPTED: i32 = 130;
    let set = ctrlc::set_handler(|| {
        loopmaster_core::deliver::abandon_all();
        std::process::exit(INTERRUPTED);
    });
    if let Err(error) = set {
        eprintln!("Ctrl-C may leave .part files behind: {error}");
    }
}

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
