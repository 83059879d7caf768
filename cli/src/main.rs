//! The command line alone: masters and analyses files. It builds in minutes; what serves, pushes and uses graphics cards is in
//! `loopmaster`, which knows these commands, too.

use clap::Parser;
use loopmaster_cli::{Local, Processor};
use std::process::ExitCode;

/// Masters music: give it a mix, get a release-ready master and an honest account of what was done.
#[derive(Debug, Parser)]
#[command(
    name = "loopmaster",
    version,
    max_term_width = 110,
    arg_required_else_help = true,
    after_help = "This is the small program. The full one, `loopmaster`, also has push, serve, work, migrate, config, admin, gpu and completions."
)]
struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Local,
}

fn main() -> ExitCode {
    loopmaster_cli::keep_pages();
    let Cli { command } = Cli::parse();
    loopmaster_cli::leave_nothing_half_written();
    if loopmaster_cli::run(&command, &Processor) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
