//! What can be typed. `--help` is the manual: it teaches by examples, and every value is checked before any work begins.

pub mod admin;

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueHint};
use loopmaster_cli::Local;
use loopmaster_cli::args::{FileArgs, SoundArgs, named, parse_amounts};
use loopmaster_core::Settings;
use loopmaster_core::settings::{Named, ReferenceAmounts};
use std::path::PathBuf;

/// Masters music: give it a mix, get a release-ready master and an honest account of what was done.
#[derive(Debug, Parser)]
#[command(name = "loopmaster", version, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The roles of the binary.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What needs no service.
    #[command(flatten)]
    Local(Local),
    /// Have a service master files or whole folders, and fetch the masters.
    Push(Box<PushArgs>),
    /// Serve the product: the api, and on one machine storage, database and worker with it.
    Serve(ServeArgs),
    /// Work on what waits in the queue, and nothing else.
    Work(ConfigFile),
    /// Bring the database's schema up to date.
    Migrate(ConfigFile),
    /// Show the configuration in force, or everything that is wrong with it.
    Config(ConfigArgs),
    /// Decode standard input to standard output without any privileges: a worker's child.
    #[command(hide = true)]
    DecodeConfined(Confined),
    /// Decode a picture from standard input to standard output without any privileges: an api's child.
    #[command(hide = true)]
    PictureConfined(PictureConfined),
    /// What an operator does by hand: accounts, messages, retention, reconciliation.
    Admin(admin::AdminArgs),
    /// List the graphics cards, hold the best one against the reference, and measure it.
    Gpu(GpuArgs),
    /// Print a completion script for your shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// `loopmaster decode-confined`
#[derive(Debug, Args)]
pub struct Confined {
    /// Try what the sandbox must not let happen.
    #[arg(long)]
    pub r#try: bool,
    /// What to decode and how, as JSON.
    pub order: String,
}

/// `loopmaster picture-confined`
#[derive(Debug, Args)]
pub struct PictureConfined {
    /// Keep all privileges.
    #[arg(long)]
    pub unsandboxed: bool,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// Configuration [default: $`LOOPMASTER_CONFIG`, else loopmaster.toml where there is one]. LOOPMASTER_* variables lie over it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

/// `loopmaster serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,

    /// Run a worker in this process [default: with SQLite].
    #[arg(long, overrides_with = "no_worker")]
    worker: bool,

    /// Run no worker in this process [default: with PostgreSQL].
    #[arg(long)]
    no_worker: bool,
}

impl ServeArgs {
    /// Whether a worker was asked for or ruled out.
    #[must_use]
    pub fn wants_worker(&self) -> Option<bool> {
        match (self.worker, self.no_worker) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

/// `loopmaster config`
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,

    /// Only check: say nothing where everything is right, and everything that is wrong otherwise.
    #[arg(long, conflicts_with = "example")]
    pub check: bool,

    /// Print a file to start from, with all defaults.
    #[arg(long)]
    pub example: bool,
}

/// `loopmaster gpu`
#[derive(Debug, Args)]
#[command(
    after_help = "Environment: LOOPMASTER_GPU_ADAPTER, part of the name of the card to use; LOOPMASTER_GPU_MEMORY, MiB it may use [1536]; \
                  LOOPMASTER_GPU_SOFTWARE=1, to try a software driver where there is no card."
)]
pub struct GpuArgs {
    /// Only list what there is.
    #[arg(long)]
    pub list: bool,

    /// Tracks per batch that is measured.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub batch: u16,

    /// One JSON object per line.
    #[arg(long)]
    pub json: bool,
}

const PUSH_EXAMPLES: &str = "\
Examples:
  loopmaster push mixes/ --url https://api.example.com -o masters
                                                      everything in a folder; prints nothing but what is delivered
  loopmaster push album/ --album --name \"My album\" --format wav24,mp3-320 --report
                                                      one album, in the order of the files
  loopmaster push --manifest catalogue.csv -o masters --format wav24
                                                      each row a file with tags and settings of its own; options fill empty cells
  loopmaster push mixes/ --detach                     queue everything and go; the same command without --detach fetches

A manifest is CSV with a header, or a JSON array of objects. Columns: file (relative to the manifest), reference (a file), title, artist,
album, album_artist, track, tracks, disc, discs, date, genre, composer, copyright, publisher, isrc, comment, and the options under Sound and
Files by their names (style, loudness, ceiling, formats, trim_start …). All rows are looked at before anything is sent; those that cannot be
sent are written to MANIFEST.rejected.csv with the reasons, and the others go.

Interrupted, the same command goes on: nothing that has arrived is sent again. After failures it masters only those again.

Exit code: 0 when every file was mastered and is here, 1 when any was not (the others are), 2 for a wrong call.";

/// `loopmaster push`
#[derive(Debug, Args)]
#[command(after_help = PUSH_EXAMPLES, group = ArgGroup::new("records").args(["reference", "manifest"]).multiple(true))]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command line")]
pub struct PushArgs {
    /// Mixes: files, folders (searched for audio) or quoted globs.
    #[arg(required_unless_present = "manifest", value_name = "MIX", value_hint = ValueHint::AnyPath)]
    pub mixes: Vec<PathBuf>,

    /// A table of mixes, each with the tags and settings of its master: CSV or JSON, see below.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "mixes")]
    pub manifest: Option<PathBuf>,

    /// Send nothing where a row of the manifest is rejected [default: the others are sent].
    #[arg(long, requires = "manifest")]
    pub strict: bool,

    /// Where the masters go [default: beside each mix]. Folders keep their structure.
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: Option<PathBuf>,

    /// The service's API [default: `LOOPMASTER_URL`, else this machine's port 3001].
    #[arg(long, value_name = "URL", help_heading = "Service")]
    url: Option<String>,

    /// API token; other users of this machine can see it, so better by --token-file or `LOOPMASTER_TOKEN`.
    #[arg(long, value_name = "TOKEN", help_heading = "Service", conflicts_with = "token_file")]
    pub token: Option<String>,

    /// File that holds the API token.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Service")]
    pub token_file: Option<PathBuf>,

    /// The files are one album, in their order.
    #[arg(long, help_heading = "Service")]
    pub album: bool,

    /// What the batch is called [default: the folder's name].
    #[arg(long, value_name = "NAME", help_heading = "Service")]
    pub name: Option<String>,

    /// Upload and queue, then leave.
    #[arg(long, help_heading = "Service")]
    pub detach: bool,

    /// Parts on their way at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32), help_heading = "Service")]
    pub parallel: u8,

    /// Forget what an earlier push of these files has done, and begin anew.
    #[arg(long, help_heading = "Service")]
    pub fresh: bool,

    /// Settings that the account keeps under this name; options lie over them.
    #[arg(long, value_name = "NAME", help_heading = "Sound")]
    pub preset: Option<String>,

    #[command(flatten)]
    sound: SoundArgs,

    /// A finished record to come close to, in tone, dynamics, width and loudness.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Reference")]
    pub reference: Option<PathBuf>,

    /// How much of the reference to take, 0–100 each: tone,dynamics,width,loudness [default: 70,50,50,100; the whole at --strength 100].
    #[arg(long, value_name = "T,D,W,L", requires = "records", value_parser = parse_amounts, help_heading = "Reference")]
    reference_amount: Option<ReferenceAmounts>,

    #[command(flatten)]
    files: FileArgs,

    /// Fetch the reports, too.
    #[arg(long, help_heading = "Files")]
    pub report: bool,

    /// Fetch previews and waveforms, too.
    #[arg(long, help_heading = "Files")]
    pub preview: bool,

    /// Replace files that exist.
    #[arg(long, help_heading = "Files")]
    pub force: bool,

    /// One JSON object per line on standard output: uploads, results, errors.
    #[arg(long)]
    pub json: bool,

    /// Only errors.
    #[arg(short, long, action = ArgAction::SetTrue, conflicts_with = "json")]
    pub quiet: bool,
}

impl PushArgs {
    /// The settings asked for, over others.
    #[must_use]
    pub fn named(&self, base: Settings) -> Named {
        named(base, &self.sound, &self.files, self.reference_amount)
    }

    /// The service's API.
    #[must_use]
    pub fn url(&self) -> String {
        let set = || std::env::var("LOOPMASTER_URL").ok().filter(|url| !url.is_empty());
        self.url.clone().or_else(set).unwrap_or_else(|| "http://127.0.0.1:3001".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
