//! LoopMastering: one binary, several roles.

use clap::{CommandFactory, Parser};
use loopmaster::cli::{Cli, Command};
use loopmaster::config::Config;
use loopmaster::serve::{self, ServeOptions};
use loopmaster::work::sandbox;
use loopmaster::{admin, gpu, picture, push};
use std::process::ExitCode;

fn main() -> ExitCode {
    loopmaster_cli::keep_pages();
    let cli = Cli::parse();
    if let Command::DecodeConfined(order) = &cli.command {
        return ExitCode::from(sandbox::confined(order.r#try, &order.order));
    }
    if let Command::PictureConfined(args) = &cli.command {
        return ExitCode::from(picture::confined(args.unsandboxed));
    }
    if let Some(good) = service(&cli.command) {
        return if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    loopmaster_cli::leave_nothing_half_written();
    let good = match &cli.command {
        Command::Local(command) => loopmaster_cli::run(command, &gpu::Cards),
        Command::Push(args) => push::run(args),
        Command::DecodeConfined(_)
        | Command::PictureConfined(_)
        | Command::Serve(_)
        | Command::Work(_)
        | Command::Migrate(_)
        | Command::Config(_)
        | Command::Admin(_) => false,
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
        Command::Serve(args) => serve::serve(args.file.config.as_deref(), ServeOptions { worker: args.wants_worker() }),
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
