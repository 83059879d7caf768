//! LoopMastering: one binary, several roles.

use clap::{CommandFactory, Parser};
use loopmaster::cli::{Cli, Command};
use loopmaster::{analyze, deliver, master};
use loopmaster_core::plan::destinations;
use std::process::ExitCode;

/// The exit code shells give a program ended by Ctrl-C (128 + SIGINT).
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
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
