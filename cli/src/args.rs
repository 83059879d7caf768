//! What can be typed to master and to analyse. `--help` is the manual: it teaches by examples, and every value is checked before any
//! work begins.

mod values;

pub use values::{ReferenceArg, parse_amounts};

use clap::{ArgAction, Args, ValueEnum, ValueHint};
use loopmaster_core::master::Extras;
use loopmaster_core::samples::Pool;
use loopmaster_core::settings::{
    Aspect, Fix, Format, Limiting, Loudness, Material, Named, OutputRate, Phase, ReferenceAmounts, ReferenceUse,
};
use loopmaster_core::units::{Dbtp, Seconds};
use loopmaster_core::{Settings, machine};
use std::path::PathBuf;
use values::{
    parse_fix, parse_format, parse_limiter, parse_loudness, parse_material, parse_rate, parse_reference, parse_size,
    parse_tag, style_parser,
};

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
  loopmaster master song.wav --reference record.flac --strength 100
                                                      as close to the record as it goes
  loopmaster master song.wav --reference a.flac:2 --reference b.wav:1
                                                      between two records, twice as much of the first
  loopmaster master song.wav --reference a.flac:tone+width --reference b.wav:loudness
                                                      tone and width of one record, loudness of another
  loopmaster master --album 01.wav 02.wav 03.wav -o album
                                                      songs of one album, in their order
  loopmaster master song.wav --only loudness          touch nothing but level and peaks
  loopmaster master song.wav --dry-run --json > plan.jsonl
                                                      the decisions, without rendering

Exit code: 0 when every file was mastered and passed its checks, 1 when any failed (the others are delivered), 2 for a wrong call.";

/// `loopmaster master`
#[derive(Debug, Args)]
#[command(after_help = MASTER_EXAMPLES)]
pub struct MasterArgs {
    /// Mixes: files, folders (searched for audio), quoted globs, or `-` for standard input.
    #[arg(required = true, value_name = "MIX", value_hint = ValueHint::AnyPath)]
    pub mixes: Vec<PathBuf>,

    /// Where the masters go [default: beside each mix]. Folders keep their structure.
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    sound: SoundArgs,

    /// A finished record to come close to, in tone, dynamics, width and loudness. May be given several times, each with a weight
    /// (`FILE:2`), or with what it is for (`FILE:loudness`, `FILE:tone+width`, `FILE:2:tone`): an aspect comes from the records named for it,
    /// else from those named for none.
    #[arg(long, value_name = "FILE[:WEIGHT][:ASPECTS]", value_hint = ValueHint::FilePath, value_parser = parse_reference,
          help_heading = "Reference")]
    pub reference: Vec<ReferenceArg>,

    /// How much of the reference to take, 0–100 each: tone,dynamics,width,loudness [default: 70,50,50,100; the whole at --strength 100].
    #[arg(long, value_name = "T,D,W,L", requires = "reference", value_parser = parse_amounts, help_heading = "Reference")]
    reference_amount: Option<ReferenceAmounts>,

    /// Apply a saved plan (from --dry-run --json or a report) instead of making one: instrumental, clean or radio version.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["style", "strength", "tone", "dynamics", "width", "loudness", "loudness_strength", "ceiling", "reference", "only", "insist", "limiter", "material", "fix"])]
    pub plan: Option<PathBuf>,

    /// The mixes are one album, in this order: the loudest song meets the loudness, the others keep half of their distance to it, and
    /// their tones meet half-way. Track numbers are written.
    #[arg(long, conflicts_with = "plan", help_heading = "Sound")]
    pub album: bool,

    #[command(flatten)]
    files: FileArgs,

    #[command(flatten)]
    extras: ExtraArgs,

    /// Decide and print the plan; render and write nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What the master is to sound like.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sound")]
pub struct SoundArgs {
    /// The sound to aim at [default: balanced].
    #[arg(long, value_name = "STYLE", value_parser = style_parser())]
    style: Option<String>,

    /// How far to go, 0 (leave it alone) to 100 [default: 50].
    #[arg(long, value_name = "0-100", value_parser = clap::value_parser!(u8).range(0..=100))]
    strength: Option<u8>,

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

    /// How peaks are taken off where more than about 2 dB are taken: fast (leveler, soft clipper, limiter), standard (clipped where the
    /// music masks it) or finest (the same, more rounds) [default: standard].
    #[arg(long, value_name = "QUALITY", value_parser = parse_limiter)]
    limiter: Option<Limiting>,

    /// Phase of the equaliser: minimum never rings ahead of a transient [default: minimum].
    #[arg(long, value_name = "PHASE", value_enum)]
    phase: Option<PhaseArg>,

    /// What kind of recording it is: speech, classical, acoustic, band, electronic or mastered [default: what the analysis finds].
    #[arg(long, value_name = "KIND", value_parser = parse_material)]
    material: Option<Material>,

    /// Faults of the mix to mend first: polarity, balance, dc; separated by commas. Only what a mix has is mended.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_fix)]
    fix: Vec<Fix>,
}

/// The files to deliver.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub struct FileArgs {
    /// wav16, wav24, wav32f, flac16, flac24, mp3-320, mp3-v0, opus; separated by commas; wav16@44100 for a rate of its own
    /// [default: wav24].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_format)]
    format: Vec<Format>,

    /// native, 44100, 48000 or 96000 [default: native].
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    rate: Option<OutputRate>,

    /// Cut this many seconds from the start.
    #[arg(long, value_name = "SECONDS")]
    trim_start: Option<f64>,

    /// Cut this many seconds from the end.
    #[arg(long, value_name = "SECONDS")]
    trim_end: Option<f64>,

    /// Fade in over this many seconds.
    #[arg(long, value_name = "SECONDS")]
    fade_in: Option<f64>,

    /// Fade out over this many seconds.
    #[arg(long, value_name = "SECONDS")]
    fade_out: Option<f64>,

    /// A tag of the masters in the place of the mix's own, e.g. artist=Ana, isrc=DE-A12-26-00001 or track=3/12; may be given several times.
    /// Nothing behind the = leaves the tag out. Tags: title, artist, album, `album_artist`, track, tracks, disc, discs, date, genre, composer,
    /// copyright, publisher, isrc, comment.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_tag)]
    tag: Vec<(String, String)>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command line")]
struct ExtraArgs {
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
    /// auto takes the faster one; cpu is the processor, gpu a graphics card; reference is the slow, readable twin.
    #[arg(long, value_enum, default_value = "auto", value_name = "BACKEND")]
    pub backend: BackendArg,

    /// Threads to use [default: all cores]. The bytes do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Where samples lie.
    #[command(flatten)]
    pub room: RoomArgs,

    /// One JSON object per line on standard output: stages, results, errors.
    #[arg(long)]
    pub json: bool,

    /// Only errors.
    #[arg(short, long, action = ArgAction::SetTrue, conflicts_with = "json")]
    pub quiet: bool,
}

/// Where samples lie.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running")]
pub struct RoomArgs {
    /// Memory for samples, e.g. 512M or 2G [default: three eighths of the machine's]. What does not fit lies in scratch files. The bytes
    /// do not depend on it.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,

    /// Folder for scratch files; nothing stays there [default: the system's for temporary files that is on a disk].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    scratch: Option<PathBuf>,
}

impl RoomArgs {
    /// Where samples lie.
    #[must_use]
    pub fn pool(&self) -> Pool {
        let folder = self.scratch.clone().unwrap_or_else(machine::scratch);
        Pool::new(self.memory.unwrap_or_else(machine::budget), folder)
    }
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

    /// Where samples lie.
    #[command(flatten)]
    pub room: RoomArgs,
}

/// Which backend renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendArg {
    /// The fastest there is.
    Auto,
    /// rayon and SIMD.
    Cpu,
    /// A graphics card; without one that works it is an error.
    Gpu,
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

impl MasterArgs {
    /// The settings asked for.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let mut settings = named(Settings::default(), &self.sound, &self.files, self.reference_amount).finish();
        if self.reference.iter().any(|reference| reference.used != ReferenceUse::default()) {
            settings.references = self.reference.iter().map(|reference| reference.used.clone()).collect();
        }
        settings
    }

    /// What to write beside the masters.
    #[must_use]
    pub fn extras(&self) -> Extras {
        let ExtraArgs { report, preview, manifest: _, clean, force } = self.extras;
        Extras { report, preview, clean, force }
    }

    /// Whether a list of everything delivered is wanted.
    #[must_use]
    pub fn manifest(&self) -> bool {
        self.extras.manifest
    }
}

/// The settings that these arguments ask for, over others.
#[must_use]
pub fn named(base: Settings, sound: &SoundArgs, files: &FileArgs, amounts: Option<ReferenceAmounts>) -> Named {
    let mut settings = base;
    let strength = &mut settings.strength;
    strength.overall = sound.strength.unwrap_or(strength.overall);
    for (own, given) in [
        (&mut strength.tone, sound.tone),
        (&mut strength.dynamics, sound.dynamics),
        (&mut strength.width, sound.width),
        (&mut strength.loudness, sound.loudness_strength),
    ] {
        *own = given.or(*own);
    }
    if let Some(style) = sound.style.as_ref().and_then(|style| style.parse().ok()) {
        settings.style = style;
    }
    if let Some(loudness) = &sound.loudness {
        settings.loudness = loudness.clone();
    }
    settings.ceiling = sound.ceiling.map(Dbtp).or(settings.ceiling);
    settings.insist |= sound.insist;
    settings.limiter = sound.limiter.unwrap_or(settings.limiter);
    settings.phase = match sound.phase {
        Some(PhaseArg::Minimum) => Phase::Minimum,
        Some(PhaseArg::Linear) => Phase::Linear,
        None => settings.phase,
    };
    settings.rate = files.rate.unwrap_or(settings.rate);
    if !files.format.is_empty() {
        settings.formats.clear();
    }
    for format in &files.format {
        if !settings.formats.contains(format) {
            settings.formats.push(*format);
        }
    }
    let edit = &mut settings.edit;
    for (own, given) in [
        (&mut edit.trim_start, files.trim_start),
        (&mut edit.trim_end, files.trim_end),
        (&mut edit.fade_in, files.fade_in),
        (&mut edit.fade_out, files.fade_out),
    ] {
        *own = given.map_or(*own, Seconds);
    }
    settings.reference = amounts.unwrap_or(settings.reference);
    settings.material = sound.material.or(settings.material);
    if !sound.fix.is_empty() {
        settings.fix = Fix::ALL.into_iter().filter(|fix| sound.fix.contains(fix)).collect();
    }
    for (name, value) in &files.tag {
        // They have been read once, by `parse_tag`.
        let _ = settings.tags.set(name, value);
    }
    let mut named = Named::over(settings);
    if let Some(only) = sound.only {
        named.only(match only {
            OnlyAspect::Tone => Aspect::Tone,
            OnlyAspect::Dynamics => Aspect::Dynamics,
            OnlyAspect::Width => Aspect::Width,
            OnlyAspect::Loudness => Aspect::Loudness,
        });
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use loopmaster_core::settings::Style;
    use loopmaster_core::units::Lufs;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: MasterArgs,
    }

    fn settings(args: &[&str]) -> Settings {
        Cli::try_parse_from(["master", "a.wav"].iter().chain(args)).unwrap().args.settings()
    }

    #[test]
    fn loudness_is_a_number_or_a_place() {
        assert_eq!(settings(&["--loudness", "-14"]).loudness, Loudness::Lufs(Lufs(-14.0)));
        assert_eq!(settings(&["--loudness=-14"]).loudness, Loudness::Lufs(Lufs(-14.0)));
        assert_eq!(settings(&["--loudness", "Spotify"]).loudness, Loudness::Destination("spotify".to_owned()));
        assert!(Cli::try_parse_from(["master", "a.wav", "--loudness", "3"]).is_err());
    }

    #[test]
    fn a_reference_has_a_weight_and_aspects_behind_colons() {
        use Aspect::{Loudness as Loud, Tone, Width};
        let read =
            |text: &str| parse_reference(text).map(|r| (r.path.display().to_string(), r.used.weight, r.used.aspects));
        let plain = |path: &str| Ok((path.to_owned(), 1.0, vec![]));
        assert_eq!(read("a.flac"), plain("a.flac"));
        assert_eq!(read("a.flac:2"), Ok(("a.flac".to_owned(), 2.0, vec![])));
        assert_eq!(read("b.wav:loudness"), Ok(("b.wav".to_owned(), 1.0, vec![Loud])));
        for text in ["b.wav:0.5:tone+width", "b.wav:tone+width:0.5"] {
            assert_eq!(read(text), Ok(("b.wav".to_owned(), 0.5, vec![Tone, Width])));
        }
        assert_eq!(read(r"C:\records\a.wav:3"), Ok((r"C:\records\a.wav".to_owned(), 3.0, vec![])));
        assert_eq!(read("side: a.wav"), plain("side: a.wav"), "a name with a colon is a name");
        for text in ["a.wav:0", "a.wav:-1", "a.wav:1e9", "a.wav:NaN"] {
            assert!(read(text).is_err(), "{text}");
        }
        // A file that is there is never taken apart, and a typo behind one is told.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mix:2");
        std::fs::write(&file, b"").unwrap();
        let name = file.display().to_string();
        assert_eq!(read(&name), plain(&name));
        assert!(read(&format!("{name}:loudnes")).unwrap_err().contains("loudness"));
        // The settings say it only where there is something to say.
        assert!(settings(&["--reference", "a.wav"]).references.is_empty());
        let two = settings(&["--reference", "a.wav:2", "--reference", "b.wav:loudness"]);
        assert_eq!(two.references.len(), 2);
        let text = serde_json::to_string(&two).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), two);
    }

    #[test]
    fn tags_are_named_and_checked() {
        let tags = settings(&[
            "--tag",
            "title=a = b",
            "--tag",
            "track=3/12",
            "--tag",
            "Album-Artist=",
            "--tag",
            "isrc=de-a12-26-00001",
        ])
        .tags;
        assert_eq!((tags.title.as_deref(), tags.track, tags.tracks), (Some("a = b"), Some(3), Some(12)));
        assert_eq!((tags.album_artist.as_deref(), tags.isrc.as_deref()), (Some(""), Some("de-a12-26-00001")));
        for wrong in ["title", "heading=x", "track=first", "track=0", "isrc=1234"] {
            assert!(Cli::try_parse_from(["master", "a.wav", "--tag", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_given_stays_as_it_was() {
        let args = |more: &[&str]| Cli::try_parse_from(["master", "a.wav"].iter().chain(more)).unwrap().args;
        let before = settings(&[
            "--style",
            "warm",
            "--strength",
            "30",
            "--tone",
            "10",
            "--loudness",
            "-9",
            "--ceiling",
            "-2",
            "--insist",
            "--limiter",
            "fast",
            "--phase",
            "linear",
            "--format",
            "flac24",
            "--rate",
            "48000",
            "--trim-start",
            "1",
            "--fade-out",
            "2",
            "--material",
            "band",
            "--fix",
            "dc",
            "--tag",
            "artist=Ana",
        ]);
        let over = |more: &[&str]| {
            let args = args(more);
            named(before.clone(), &args.sound, &args.files, None).finish()
        };
        assert_eq!(over(&[]), before);
        assert_eq!(over(&["--style", "loud"]), Settings { style: Style::Loud, ..before.clone() });
    }

    #[test]
    fn only_and_formats() {
        let settings = settings(&["--only", "tone", "--format", "wav24,flac24,wav24", "--ceiling", "-0.5"]);
        assert_eq!(settings.strength.of(Aspect::Width), 0.0);
        assert_eq!(settings.formats.len(), 2);
        assert_eq!(settings.ceiling, Some(Dbtp(-0.5)));
    }
}
