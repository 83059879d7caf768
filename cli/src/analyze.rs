//! `loopmaster analyze`: what a mastering engineer would notice, in a few lines or as JSON.

use crate::args::AnalyzeArgs;
use crate::progress::{Progress, Voice};
use crate::{inputs, schedule, thread_count};
use loopmaster_core::analyse::{Analysis, Severity, analyse};
use loopmaster_core::decode::decode_file_in;
use loopmaster_core::master::Watch;
use loopmaster_core::settings::Limits;
use loopmaster_core::{Error, Stage};
use serde_json::json;
use std::fmt::Write as _;

/// Analyses everything named; `true` when nothing failed.
#[must_use]
pub fn run(args: &AnalyzeArgs) -> bool {
    let progress = Progress::new(if args.json { Voice::Json } else { Voice::Human });
    let (inputs, missing) = inputs::resolve(&args.files);
    for error in &missing {
        progress.event(&json!({ "event": "failed", "code": error.code(), "message": error.to_string() }));
        if !args.json {
            eprintln!("{error} [{}]", error.code());
        }
    }
    let pool = args.room.pool();
    let results = schedule::run(&inputs, thread_count(args.threads), |_, input| {
        let mut line = progress.track(&input.path);
        line.stage(Stage::Decode, "");
        let result = decode_file_in(&input.path, &Limits::default(), &pool).map(|track| {
            line.length(track.audio.seconds());
            line.stage(Stage::Analyse, "");
            analyse(&track)
        });
        match result {
            Ok(analysis) => {
                line.event(json!({ "event": "analysis", "analysis": analysis }));
                progress.say(&describe(&input.path.display().to_string(), &analysis));
                true
            }
            Err(error) => {
                let error = Error::from(error);
                drop(line);
                progress.error(&input.path.display().to_string(), error.code(), &error.to_string());
                false
            }
        }
    });
    missing.is_empty() && results.into_iter().all(|ok| ok)
}

/// The figures and findings of one file, for a terminal.
fn describe(name: &str, analysis: &Analysis) -> String {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let source = &analysis.source;
    let loudness = &analysis.loudness;
    let mut text = String::new();
    let _ = writeln!(text, "\n{name}");
    let _ = writeln!(
        text,
        "  {} · {} · {} Hz{} · {}",
        analysis.seconds().clock(),
        source.codec,
        source.rate,
        source
            .bits
            .map(|bits| format!(" · {bits} bit{}", if source.float { " float" } else { "" }))
            .unwrap_or_default(),
        if source.channels == 1 { "mono" } else { "stereo" },
    );
    let _ = writeln!(
        text,
        "  loudness    {} integrated · range {} · max short-term {} · max momentary {}",
        or_dash(loudness.integrated.map(|v| v.to_string())),
        or_dash(loudness.range.map(|v| format!("{:.1} LU", v.0))),
        or_dash(loudness.max_short_term.map(|v| v.to_string())),
        or_dash(loudness.max_momentary.map(|v| v.to_string())),
    );
    let _ = writeln!(
        text,
        "  peaks       {:.2} at {} · sample peak {:.2}FS · PLR {} · crest {}",
        analysis.peaks.true_peak,
        analysis.peaks.at.clock(),
        analysis.peaks.sample,
        or_dash(analysis.peaks.plr.map(|v| v.to_string())),
        analysis.peaks.crest,
    );
    let _ = writeln!(
        text,
        "  stereo      correlation {:.2} · below 120 Hz {:.2} · side {} against mid · {:.1} lost in mono",
        analysis.stereo.correlation,
        analysis.stereo.correlation_low,
        analysis.stereo.side_mid,
        analysis.stereo.mono_loss,
    );
    if let Some((kind, weight)) = analysis.material.weights.best() {
        let _ = writeln!(
            text,
            "  material    {kind} ({:.0} %, confidence {:.0} %)",
            100.0 * weight,
            100.0 * analysis.material.confidence
        );
    }
    for finding in &analysis.findings {
        let mark = match finding.severity {
            Severity::Problem => "✗",
            Severity::Advice => "!",
            Severity::Note => "·",
        };
        let _ = writeln!(text, "  {mark} {}", finding.text);
    }
    text.pop();
    text
}
