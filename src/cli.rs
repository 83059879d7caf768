//! What can be typed. `--help` is the manual: it teaches by examples, and every value is checked before any work begins.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use loopmaster_core::Settings;
use loopmaster_core::settings::{Aspect, Edit, Format, Loudness, OutputRate, Phase, ReferenceAmounts, Strength, Style};
use loopmaster_core::units::{Dbtp, Lufs, Seconds};
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
    /// Master one mix, a hundred, or whole folders.
    Master(Box<MasterArgs>),
    /// Measure files and say what a mastering engineer would notice.
    Analyze(AnalyzeArgs),
    /// List the loudness destinations and what each platform does.
    Destinations,
    /// Print a completion script for your shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

const MASTER_EXAMPLES: &str = "\
Examples:
  loopmaster master song.wav                          a balanced 24-bit WAV master beside the mix
  loopmaster master mixes/ -o masters --format wav24,flac24,mp3-320
                                                      everything in a folder, three files each
  loopmaster master song.wav --style warm --strength 30 --report
                                                      a light warm touch, with a report to read
  loopmaster master song.wav --loudness spotify       −14 LUFS; says what the platform would turn down
  loopmaster master song.wav --loudness -9 --insist   as loud as that, whatever it takes
  loopmaster master song.wav --reference record.flac  towards the tone, width and loudness of a record
  loopmaster master song.wav --only loudness          touch nothing but level and peaks
  loopmaster master song.wav --dry-run --json > plan.jsonl
                                                      the decisions, without rendering

Exit code: 0 when every file was mastered and passed its checks, 1 when any failed (the others are delivered), 2 for a wrong call.";

/// `loopmaster master`
#[derive(Debug, Args)]
#[command(after_help = MASTER_EXAMPLES)]
pub struct MasterArgs {
    /// Mixes: files, folders (searched for audio) or quoted globs.
    #[arg(required = true, value_name = "MIX", value_hint = ValueHint::AnyPath)]
    pub mixes: Vec<PathBuf>,

    /// Where the masters go [default: beside each mix]. Folders keep their structure.
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    sound: SoundArgs,

    /// A finished record to come close to, in tone, dynamics, width and loudness.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Reference")]
    pub reference: Option<PathBuf>,

    /// How much of the reference to take, 0–100 each: tone,dynamics,width,loudness [default: 70,50,50,100].
    #[arg(long, value_name = "T,D,W,L", requires = "reference", value_parser = parse_amounts, help_heading = "Reference")]
    reference_amount: Option<ReferenceAmounts>,

    /// Apply a saved plan (from --dry-run --json or a report) instead of making one: instrumental, clean or radio version.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["style", "strength", "tone", "dynamics", "width", "loudness", "loudness_strength", "ceiling", "reference", "only", "insist"])]
    pub plan: Option<PathBuf>,

    #[command(flatten)]
    files: FileArgs,

    /// Decide and print the plan; render and write nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sound")]
struct SoundArgs {
    /// The sound to aim at.
    #[arg(long, default_value = "balanced", value_name = "STYLE", value_parser = style_parser())]
    style: String,

    /// How far to go, 0 (leave it alone) to 100.
    #[arg(long, default_value_t = 50, value_name = "0-100", value_parser = clap::value_parser!(u8).range(0..=100))]
    strength: u8,

    /// Strength of the equaliser alone [default: --strength].
    #[arg(long, value_name = "0-100", value_parser = clap::value_parser!(u8).range(0..=100))]
    tone: Option<u8>,

    /// Strength of the dynamics alone [default: --strength].
    #[arg(long, value_name = "0-100", value_parser = clap::value_parser!(u8).range(0..=100))]
    dynamics: Option<u8>,

    /// Strength of the width alone [default: --strength].
    #[arg(long, value_name = "0-100", value_parser = clap::value_parser!(u8).range(0..=100))]
    width: Option<u8>,

    /// Change only this: tone, dynamics, width or loudness.
    #[arg(long, value_name = "ASPECT", value_enum)]
    only: Option<OnlyAspect>,

    /// LUFS (e.g. -14) or a destination (spotify, apple, club …; see `loopmaster destinations`) [default: what the style reaches].
    #[arg(long, value_name = "LUFS|DESTINATION", allow_hyphen_values = true, value_parser = parse_loudness)]
    loudness: Option<Loudness>,

    /// 0: keep the mix's own loudness.
    #[arg(long, value_name = "0-100", value_parser = clap::value_parser!(u8).range(0..=100), hide_short_help = true)]
    loudness_strength: Option<u8>,

    /// Highest true peak in dBTP [default: the destination's, else -1].
    #[arg(long, value_name = "dBTP", allow_hyphen_values = true)]
    ceiling: Option<f64>,

    /// Meet the loudness even where it takes more limiting than the style allows itself.
    #[arg(long)]
    insist: bool,

    /// Phase of the equaliser: minimum never rings ahead of a transient.
    #[arg(long, value_name = "PHASE", value_enum, default_value = "minimum")]
    phase: PhaseArg,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command line")]
struct FileArgs {
    /// wav16, wav24, wav32f, flac16, flac24, mp3-320, mp3-v0, opus; separated by commas; wav16@44100 for a rate of its own.
    #[arg(long, value_name = "LIST", default_value = "wav24", value_delimiter = ',', value_parser = parse_format)]
    format: Vec<Format>,

    /// native, 44100, 48000 or 96000.
    #[arg(long, value_name = "RATE", default_value = "native", value_parser = parse_rate)]
    rate: OutputRate,

    /// Cut this many seconds from the start.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    trim_start: f64,

    /// Cut this many seconds from the end.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    trim_end: f64,

    /// Fade in over this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    fade_in: f64,

    /// Fade out over this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    fade_out: f64,

    /// No tags in the files: some distributors want them clean.
    #[arg(long)]
    clean: bool,

    /// Write the report: a page to read (.html) and everything measured (.json).
    #[arg(long)]
    report: bool,

    /// Write previews (Opus) of mix and master, their waveforms, and where the loudest 30 s are: all a player needs.
    #[arg(long)]
    preview: bool,

    /// Write manifest.json with names, sizes, loudness and SHA-256 of everything delivered.
    #[arg(long)]
    manifest: bool,

    /// Replace files that exist.
    #[arg(long)]
    force: bool,
}

/// How to run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running")]
pub struct RunArgs {
    /// auto and cpu render on the processor; reference is the slow, readable twin.
    #[arg(long, value_enum, default_value = "auto", value_name = "BACKEND")]
    pub backend: BackendArg,

    /// Threads to use [default: all cores]. The bytes do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// One JSON object per line on standard output: stages, results, errors.
    #[arg(long)]
    pub json: bool,

    /// Only errors.
    #[arg(short, long, action = ArgAction::SetTrue, conflicts_with = "json")]
    pub quiet: bool,
}

/// `loopmaster analyze`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  loopmaster analyze song.wav\n  loopmaster analyze album/ --json | jq .analysis.loudness.integrated"
)]
pub struct AnalyzeArgs {
    /// Files, folders or quoted globs.
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub files: Vec<PathBuf>,

    /// One JSON object per line: the whole analysis.
    #[arg(long)]
    pub json: bool,

    /// Threads to use [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// Which backend renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendArg {
    /// The fastest there is.
    Auto,
    /// rayon and SIMD.
    Cpu,
    /// The readable kernels the others are held against.
    Reference,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PhaseArg {
    Minimum,
    Linear,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnlyAspect {
    Tone,
    Dynamics,
    Width,
    Loudness,
}

/// What to write beside the masters, and how.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command line")]
pub struct Extras {
    /// HTML and JSON report.
    pub report: bool,
    /// Previews and waveforms.
    pub preview: bool,
    /// Manifest of the whole run.
    pub manifest: bool,
    /// No tags.
    pub clean: bool,
    /// Replace existing files.
    pub force: bool,
}

impl MasterArgs {
    /// The settings asked for.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let sound = &self.sound;
        let mut strength = Strength {
            overall: sound.strength,
            tone: sound.tone,
            dynamics: sound.dynamics,
            width: sound.width,
            loudness: sound.loudness_strength,
        };
        if let Some(only) = sound.only {
            strength = strength.only(match only {
                OnlyAspect::Tone => Aspect::Tone,
                OnlyAspect::Dynamics => Aspect::Dynamics,
                OnlyAspect::Width => Aspect::Width,
                OnlyAspect::Loudness => Aspect::Loudness,
            });
        }
        let mut formats = Vec::new();
        for format in &self.files.format {
            if !formats.contains(format) {
                formats.push(*format);
            }
        }
        Settings {
            style: sound.style.parse().unwrap_or_default(),
            strength,
            loudness: sound.loudness.clone().unwrap_or_default(),
            ceiling: sound.ceiling.map(Dbtp),
            insist: sound.insist,
            phase: match sound.phase {
                PhaseArg::Minimum => Phase::Minimum,
                PhaseArg::Linear => Phase::Linear,
            },
            rate: self.files.rate,
            formats,
            edit: Edit {
                trim_start: Seconds(self.files.trim_start),
                trim_end: Seconds(self.files.trim_end),
                fade_in: Seconds(self.files.fade_in),
                fade_out: Seconds(self.files.fade_out),
            },
            reference: self.reference_amount.unwrap_or_default(),
        }
    }

    /// What to write beside the masters.
    #[must_use]
    pub fn extras(&self) -> Extras {
        let FileArgs { report, preview, manifest, clean, force, .. } = self.files;
        Extras { report, preview, manifest, clean, force }
    }
}

fn style_parser() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(Style::ALL.map(Style::name))
}

fn parse_loudness(text: &str) -> Result<Loudness, String> {
    let typed = text.replace('−', "-");
    if let Ok(lufs) = typed.parse::<f64>() {
        return if (-40.0..=-5.0).contains(&lufs) {
            Ok(Loudness::Lufs(Lufs(lufs)))
        } else {
            Err("use −40 to −5 LUFS".to_owned())
        };
    }
    loopmaster_core::plan::destination(&typed)
        .map(|destination| Loudness::Destination(destination.key.to_owned()))
        .ok_or_else(|| "neither a number of LUFS nor a destination; `loopmaster destinations` lists them".to_owned())
}

fn parse_format(text: &str) -> Result<Format, String> {
    text.trim().parse().map_err(|e: loopmaster_core::settings::SettingError| e.to_string())
}

fn parse_rate(text: &str) -> Result<OutputRate, String> {
    text.parse().map_err(|e: loopmaster_core::settings::SettingError| e.to_string())
}

fn parse_amounts(text: &str) -> Result<ReferenceAmounts, String> {
    let wrong = || "use four numbers from 0 to 100, e.g. 70,50,50,100".to_owned();
    let numbers: Vec<u8> =
        text.split(',').map(|n| n.trim().parse::<u8>()).collect::<Result<_, _>>().map_err(|_| wrong())?;
    match numbers[..] {
        [tone, dynamics, width, loudness] if numbers.iter().all(|n| *n <= 100) => {
            Ok(ReferenceAmounts { tone, dynamics, width, loudness })
        }
        _ => Err(wrong()),
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

    fn settings(args: &[&str]) -> Settings {
        let cli = Cli::try_parse_from(["loopmaster", "master", "a.wav"].iter().chain(args)).unwrap();
        let Command::Master(args) = cli.command else { panic!("not master") };
        args.settings()
    }

    #[test]
    fn loudness_is_a_number_or_a_place() {
        assert_eq!(settings(&["--loudness", "-14"]).loudness, Loudness::Lufs(Lufs(-14.0)));
        assert_eq!(settings(&["--loudness=-14"]).loudness, Loudness::Lufs(Lufs(-14.0)));
        assert_eq!(settings(&["--loudness", "Spotify"]).loudness, Loudness::Destination("spotify".to_owned()));
        assert!(Cli::try_parse_from(["loopmaster", "master", "a.wav", "--loudness", "3"]).is_err());
    }

    #[test]
    fn only_and_formats() {
        let settings = settings(&["--only", "tone", "--format", "wav24,flac24,wav24", "--ceiling", "-0.5"]);
        assert_eq!(settings.strength.of(Aspect::Width), 0.0);
        assert_eq!(settings.formats.len(), 2);
        assert_eq!(settings.ceiling, Some(Dbtp(-0.5)));
    }
}
