//! What page and API tell of a finished master.

use loopmaster_core::analyse::Analysis;
use loopmaster_core::master::Excerpt;
use loopmaster_core::plan::Goal;
use loopmaster_core::report::Report;
use loopmaster_core::units::Lufs;
use serde_json::{Value, json};

/// The columns of `masters` and the JSON of `results`.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Seconds of music.
    pub seconds: f64,
    /// Integrated loudness of the master.
    pub lufs: Option<f64>,
    /// Its true peak.
    pub dbtp: Option<f64>,
    /// The rest, a few kilobytes.
    pub json: Value,
}

/// What a player needs before the rest is known.
#[must_use]
pub(super) fn heard_first(excerpt: &Excerpt) -> Value {
    let lufs = |lufs: Option<Lufs>| lufs.map(|lufs| round(lufs.0, 2));
    let song = round(excerpt.song.0, 3);
    json!({
        "figures": {
            "mix": { "lufs": lufs(excerpt.mix), "seconds": song },
            "master": { "lufs": lufs(excerpt.master), "seconds": song },
        },
        "preview": {
            "mix_gain_db": round(excerpt.difference.0, 2),
            "loudest_start": round(excerpt.loudest.0, 3),
            "excerpt": { "start": round(excerpt.start.0, 3), "seconds": round(excerpt.seconds.0, 3) },
        },
    })
}

/// The account in short.
#[must_use]
pub fn summary(report: &Report) -> Summary {
    let Report { mix, master, plan, trace, preview, .. } = report;
    let (target, stopped_early) = match plan.goal {
        Goal::Loudness { target, wished } => {
            let stopped =
                wished.map(|wished| format!("asked for {wished}, stopped at {target}: more would be heard as damage"));
            (Some(target.0), stopped)
        }
        Goal::Keep | Goal::Peak { .. } => (None, None),
    };
    let ceiling = match (plan.goal, plan.limiter) {
        (Goal::Peak { target }, _) => Some(target.0),
        (_, limiter) => limiter.map(|limiter| limiter.ceiling.0),
    };
    // A file may tell more than anybody reads: what is grave comes first.
    let findings = mix.findings.iter().take(50).map(|finding| {
        json!({ "code": finding.code, "severity": finding.severity, "seconds": finding.at.map(|at| at.0), "text": finding.text })
    });
    let reasons = plan.reasons.iter().map(|reason| {
        json!({ "aspect": reason.aspect, "text": reason.text, "before": reason.before, "after": reason.after, "unit": reason.unit })
    });
    let stages = report.speed.iter().map(|time| json!({ "stage": time.stage, "seconds": round(time.seconds.0, 3) }));
    let json = json!({
        "figures": { "mix": figures(mix), "master": figures(master) },
        "target": { "lufs": target, "ceiling": ceiling, "stopped_early": stopped_early },
        "style": plan.style,
        "reasons": reasons.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
        // Above 0 the master is the louder one and is turned down by this to compare; below 0 the mix, by its amount.
        "preview": {
            "mix_gain_db": round(preview.difference.0, 2),
            "loudest_start": round(preview.start.0, 3),
            "seconds": round(30.0_f64.min(master.seconds().0), 3),
        },
        "stages": stages.collect::<Vec<_>>(),
        "backend": report.backend,
        "limited": {
            "median": round(trace.reduction_median.0, 2),
            "p95": round(trace.reduction_p95.0, 2),
            "clipped": trace.clipped,
            "error": trace.limiting_error.map(|error| round(error.0, 2)),
        },
        "formats": report.files.iter().map(|file| file.format.to_string()).collect::<Vec<_>>(),
        "engine": report.engine,
    });
    let finite = |value: f64| Some(value).filter(|value| value.is_finite());
    Summary {
        seconds: mix.seconds().0,
        lufs: master.loudness.integrated.and_then(|lufs| finite(lufs.0)),
        dbtp: finite(master.peaks.true_peak.0),
        json,
    }
}

fn figures(analysis: &Analysis) -> Value {
    json!({
        "lufs": analysis.loudness.integrated.map(|lufs| round(lufs.0, 2)),
        "dbtp": round(analysis.peaks.true_peak.0, 2),
        "lra": analysis.loudness.range.map(|range| round(range.0, 2)),
        "plr": analysis.peaks.plr.map(|plr| round(plr.0, 2)),
        "crest": round(analysis.peaks.crest.0, 2),
        "correlation": round(analysis.stereo.correlation, 3),
        "seconds": round(analysis.seconds().0, 3),
    })
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10.0_f64.powi(digits);
    (value * scale).round() / scale
}
