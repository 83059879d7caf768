//! LoopMastering: one binary, several roles.

use clap::{CommandFactory, Parser};
use loopmaster::cli::{Cli, Command};
use loopmaster::{analyze, deliver, master};
use loopmaster_core::plan::destinations;
use std::process::ExitCode;

/// The exit code shells give a program ended by Ctrl-C (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// Whole tracks come and go as single allocations. Keeping their pages saves the system from clearing them each time: 5 to 8 % of
/// the wall time of a 240 s master.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "glibc's allocator is tuned by a C call")]
fn keep_pages() {
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
fn keep_pages() {}

fn main() -> ExitCode {
    keep_pages();
    let cli = Cli::parse();
    // Ctrl-C and a polite kill leave no half file behind; -9 leaves hidden `.part` files that are never taken for music.
    if let Err(error) = ctrlc::set_handler(|| {
        deliver::abandon_all();
        std::process::exit(INTERRUPTED);
    }) {
        eprintln!("Ctrl-C may leave .part files behind: {error}");
    }
    let good = match &cli.command {
        Command::Master(args) => master::run(args),
        Command::Analyze(args) => analyze::run(args),
        Command::Destinations => {
            list_destinations();
            true
        }
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "loopmaster", &mut std::io::stdout());
            true
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn list_destinations() {
    for row in destinations() {
        let target = row.target.map_or_else(|| "the style decides".to_owned(), |lufs| lufs.to_string());
        println!("{:<14} {:<28} {target}, ceiling {}", row.key, row.name, row.ceiling);
        println!("{:<14} {}", "", row.note);
    }
}
