//! `loopmaster master`: the command around [`loopmaster_core::master`].

use crate::args::{BackendArg, MasterArgs};
use crate::inputs::{self, Input};
use crate::progress::{Progress, Voice};
use crate::{Backends, album, schedule, thread_count};
use loopmaster_core::Error;
use loopmaster_core::analyse::{Analysis, Severity, analyse};
use loopmaster_core::decode::{STANDARD_INPUT, decode_file_in};
use loopmaster_core::encode::{Delivered, Manifest, portable};
use loopmaster_core::master::{self as track, MasterRequest, Outcome, stem};
use loopmaster_core::plan::{Goal, Plan, Target};
use loopmaster_core::render::{Backend, cpu::Cpu, reference::Reference};
use loopmaster_core::samples::Pool;
use loopmaster_core::settings::Limits;
use serde_json::json;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Masters everything named; `true` when every file was mastered and passed its gates.
#[must_use]
pub fn run(args: &MasterArgs, backends: &dyn Backends) -> bool {
    let started = Instant::now();
    let voice = match (args.run.json, args.run.quiet) {
        (true, _) => Voice::Json,
        (_, true) => Voice::Quiet,
        _ => Voice::Human,
    };
    let progress = Progress::new(voice);
    let settings = args.settings();
    let (inputs, missing) = inputs::resolve(&args.mixes);
    let backend: Box<dyn Backend> = match args.run.backend {
        BackendArg::Auto => backends.auto(inputs.len()),
        BackendArg::Cpu => Box::new(Cpu),
        BackendArg::Gpu => match backends.card() {
            Ok(card) => card,
            Err((code, message)) => {
                progress.error("--backend gpu", code, &message);
                return false;
            }
        },
        BackendArg::Reference => Box::new(Reference),
    };
    let pool = args.run.room.pool();
    let Some((saved, reference)) = preparations(args, &pool, &progress) else { return false };
    let order = MasterRequest {
        settings: &settings,
        saved: saved.as_ref(),
        reference: reference.as_ref(),
        seat: None,
        extras: args.extras(),
        backend: &*backend,
        limits: Limits::default(),
        pool: &pool,
    };

    progress.unresolved(&missing);
    let folders = output_folders(&inputs, args.output.as_deref());
    let threads = thread_count(args.run.threads);
    let seats =
        if args.album { album::listen(&inputs, threads, &order, &progress) } else { vec![Ok(None); inputs.len()] };
    let outcomes = schedule::run(&inputs, threads, |index, input| {
        let seat = seats[index].clone()?;
        let order = MasterRequest { seat: seat.as_ref(), ..order };
        schedule::guarded(input, &progress, || one(input, &folders[index], args, &order, &progress))
    });

    let done: Vec<&Outcome> = outcomes.iter().flatten().flatten().collect();
    let failed = missing.len() + outcomes.iter().filter(|outcome| outcome.is_err()).count();
    let mut good = failed == 0;
    if args.manifest() && !done.is_empty() {
        good &= write_manifest(args, &done, &progress);
    }
    finish(&done, failed, started, args, &progress);
    good
}

/// The saved plan and the analysed reference; `None` when one of them cannot be had, after saying so.
fn preparations(args: &MasterArgs, pool: &Pool, progress: &Progress) -> Option<(Option<Plan>, Option<Target>)> {
    let saved = match &args.plan {
        None => None,
        Some(path) => match read_plan(path) {
            Ok(plan) => Some(plan),
            Err((code, message)) => {
                progress.error(&path.display().to_string(), code, &message);
                return None;
            }
        },
    };
    let mut records = Vec::with_capacity(args.reference.len());
    for reference in &args.reference {
        match decode_file_in(&reference.path, &Limits::default(), pool) {
            Ok(track) => records.push((Target::from(&analyse(&track)), reference.used.clone())),
            Err(error) => {
                let error = Error::from(error);
                progress.error(&reference.path.display().to_string(), error.code(), &format!("the reference: {error}"));
                return None;
            }
        }
    }
    let reference = (!records.is_empty()).then(|| Target::blend(&records));
    Some((saved, reference))
}

/// A plan from a file: the plan itself, a line of `--dry-run --json`, or a report.
fn read_plan(path: &Path) -> Result<Plan, (&'static str, String)> {
    /// A plan is a few kilobytes, a report some hundred.
    const LARGEST: u64 = 16 << 20;
    let wrong = |message: String| ("plan.unreadable", message);
    let size = std::fs::metadata(path).map_err(|error| wrong(format!("cannot be read: {error}")))?.len();
    if size > LARGEST {
        return Err(wrong(format!("{size} bytes are no plan; use the output of --dry-run --json, or a report")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    // Of several JSON lines, the one that holds the plan.
    let lines = std::iter::once(text.as_str()).chain(text.lines());
    let inner = lines
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|mut value| value.get_mut("plan").map(serde_json::Value::take))
        .map_or(text.clone(), |plan| plan.to_string());
    Plan::from_json(&inner).map_err(|error| (error.code(), error.to_string()))
}

/// Whether a path is no place in a folder of the user's.
fn is_stream(path: &Path) -> bool {
    path.as_os_str() == STANDARD_INPUT || path.starts_with("/dev") || path.starts_with("/proc")
}

/// The folder of each input's files. Two inputs that would write the same names get folders apart.
#[must_use]
pub fn output_folders(inputs: &[Input], output: Option<&Path>) -> Vec<PathBuf> {
    let mut taken: HashSet<(PathBuf, String)> = HashSet::new();
    inputs
        .iter()
        .map(|input| {
            let base = match output {
                Some(output) => output.join(&input.below),
                // Nothing can be written beside standard input or a descriptor.
                None if is_stream(&input.path) => PathBuf::new(),
                None => input.path.parent().unwrap_or(Path::new("")).to_owned(),
            };
            // The name as it will stand in the folder: different names can become one there, and so can letters of different case.
            let stem = portable(&stem(&input.path)).to_lowercase();
            let mut folder = base.clone();
            let mut number = 1;
            while !taken.insert((folder.clone(), stem.clone())) {
                number += 1;
                folder = base.join(number.to_string());
            }
            folder
        })
        .collect()
}

/// One track; the error has been told when this returns.
fn one(
    input: &Input,
    folder: &Path,
    args: &MasterArgs,
    order: &MasterRequest<'_>,
    progress: &Progress,
) -> Result<Option<Outcome>, ()> {
    let name = input.path.display().to_string();
    let mut line = progress.track(&input.path);
    if args.dry_run {
        return match track::decide(&input.path, order, &mut line) {
            Ok((_, mix, plan)) => {
                line.event(json!({ "event": "plan", "plan": plan }));
                progress.say(&describe_plan(&name, &mix, &plan));
                Ok(None)
            }
            Err(error) => {
                drop(line);
                progress.error(&name, error.code(), &error.to_string());
                Err(())
            }
        };
    }
    match track::master(&input.path, folder, order, &mut line) {
        Ok(outcome) => {
            let spent = line.elapsed();
            line.event(json!({
                "event": "done",
                "files": outcome.files,
                "paths": outcome.paths.iter().map(|p| p.to_string_lossy()).collect::<Vec<_>>(),
                "seconds": outcome.seconds,
                "wall_seconds": spent,
                "plan": outcome.plan,
                "trace": outcome.trace,
            }));
            drop(line);
            progress.say(&describe(&name, &outcome, spent));
            Ok(Some(outcome))
        }
        Err(error) => {
            drop(line);
            progress.error(&name, error.code(), &error.to_string());
            Err(())
        }
    }
}

fn reasons(text: &mut String, mix: &Analysis, plan: &Plan) {
    for reason in &plan.reasons {
        let _ = write!(text, "\n  · {}", reason.text);
    }
    for finding in mix.findings.iter().filter(|finding| finding.severity >= Severity::Advice) {
        let _ = write!(text, "\n  ! {}", finding.text);
    }
}

fn describe_plan(name: &str, mix: &Analysis, plan: &Plan) -> String {
    let goal = match plan.goal {
        Goal::Keep => "level kept".to_owned(),
        Goal::Loudness { target, .. } => target.to_string(),
        Goal::Peak { target } => target.to_string(),
    };
    let mut text = format!("{name} → {} · {goal}", plan.style);
    reasons(&mut text, mix, plan);
    text
}

fn describe(name: &str, outcome: &Outcome, spent: f64) -> String {
    let figures = outcome.files.first().map_or_else(String::new, |file| {
        let lufs = file.lufs.map_or_else(|| "–".to_owned(), |lufs| lufs.to_string());
        format!("{lufs} · {:.2} · verified", file.dbtp)
    });
    let mut text = format!("{name} → {figures} · {:.0} × real time", outcome.seconds / spent.max(1e-9));
    reasons(&mut text, &outcome.mix, &outcome.plan);
    for path in &outcome.paths {
        let _ = write!(text, "\n  → {}", path.display());
    }
    text
}

fn write_manifest(args: &MasterArgs, done: &[&Outcome], progress: &Progress) -> bool {
    let folder = args.output.clone().unwrap_or_default();
    let target = folder.join("manifest.json");
    let files = done
        .iter()
        .flat_map(|outcome| outcome.files.iter().zip(&outcome.paths))
        .map(|(file, path)| {
            let name = path.strip_prefix(&folder).unwrap_or(path).to_string_lossy().into_owned();
            Delivered { name, ..Delivered::from(file) }
        })
        .collect();
    let json = Manifest::new(files).to_json();
    match track::write_file(&target, json.as_bytes(), args.extras().force) {
        Ok(()) => true,
        Err(error) => {
            progress.error(&target.display().to_string(), error.code(), &error.to_string());
            false
        }
    }
}

fn finish(done: &[&Outcome], failed: usize, started: Instant, args: &MasterArgs, progress: &Progress) {
    let wall = started.elapsed().as_secs_f64();
    let seconds: f64 = done.iter().map(|outcome| outcome.seconds).sum();
    progress.event(&json!({
        "event": "summary",
        "mastered": done.len(),
        "failed": failed,
        "seconds": seconds,
        "wall_seconds": wall,
    }));
    if args.dry_run || done.len() + failed < 2 {
        return;
    }
    let speed = seconds / wall.max(1e-9);
    progress.say(&format!("{} mastered, {failed} failed, {speed:.0} × real time", done.len()));
}
