//! LoopMastering: one binary, several roles.

use clap::{CommandFactory, Parser};
use loopmaster::cli::{Cli, Command};
use loopmaster::config::Config;
use loopmaster::serve::{self, Beside};
use loopmaster::work::sandbox;
use loopmaster::{admin, analyze, deliver, gpu, master, picture, push};
use loopmaster_core::plan::destinations;
use std::process::ExitCode;

/// The exit code shells give a program ended by Ctrl-C (128 + SIGINT).
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    loopmaster::keep_pages();
    let cli = Cli::parse();
    if let Command::DecodeConfined(order) = &cli.command {
        return ExitCode::from(sandbox::confined(order));
    }
    if let Command::PictureConfined(args) = &cli.command {
        return ExitCode::from(picture::confined(args));
    }
    if let Some(good) = service(&cli.command) {
        return if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
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
        Command::Push(args) => push::run(args),
        Command::DecodeConfined(_)
        | Command::PictureConfined(_)
        | Command::Serve(_)
        | Command::Work(_)
        | Command::Migrate(_)
        | Command::Config(_)
        | Command::Admin(_) => false,
        Command::Destinations => {
            list_destinations();
            true
        }
        Command::Gpu(args) => gpu::run(args),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "loopmaster", &mut std::io::stdout());
            true
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The roles that hear signals by themselves; `None`: another one.
fn service(command: &Command) -> Option<bool> {
    let ended = match command {
        Command::Serve(args) => serve::serve(args.file.config.as_deref(), Beside { worker: args.wants_worker() }),
        Command::Work(file) => serve::work(file.config.as_deref()),
        Command::Admin(args) => admin::command(args),
        Command::Migrate(file) => serve::migrate(file.config.as_deref()),
        Command::Config(args) if args.example => {
            print!("{}", Config::example());
            Ok(())
        }
        Command::Config(args) => serve::check(args.file.config.as_deref(), args.check),
        _ => return None,
    };
    if let Err(error) = &ended {
        eprintln!("{error}");
    }
    Some(ended.is_ok())
}

fn list_destinations() {
    for row in destinations() {
        let target = row.target.map_or_else(|| "the style decides".to_owned(), |lufs| lufs.to_string());
        println!("{:<14} {:<28} {target}, ceiling {}", row.key, row.name, row.ceiling);
        println!("{:<14} {}", "", row.note);
    }
}
