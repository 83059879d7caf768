//! Golden masters as numbers: what the whole road makes of the excerpts in `tests/data`, held against `tests/golden.json`.
//!
//! A change that alters the sound on purpose rewrites the numbers with
//! `LOOPMASTER_GOLDEN=update cargo test --test tests golden`, and their diff is part of the change.

use loopmaster_core::Settings;
use loopmaster_core::analyse::{Analysis, analyse, analyse_audio};
use loopmaster_core::decode::decode_file;
use loopmaster_core::plan::plan;
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::{Backend, Job, Trace};
use loopmaster_core::settings::{Limits, Style};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The figures are kept with two decimals, so half of the last one is lost; another instruction set may move a sample by −120 dB, a
/// figure at an edge of a gate or block by somewhat more, and 0.02 leaves that room while staying far below what can be heard.
const TOLERANCE: f64 = 0.02;

/// Each excerpt in the default style; each of the other styles on one excerpt that gives it something to do.
const MASTERS: [(&str, Style); 11] = [
    ("impulslogik-zen", Style::Balanced),
    ("momo64-esp", Style::Balanced),
    ("settel-inner-recreation", Style::Balanced),
    ("skiessi-onion", Style::Balanced),
    ("tame-anderson-make-me", Style::Balanced),
    ("thomasso-axe-from-the-80s", Style::Balanced),
    ("impulslogik-zen", Style::Gentle),
    ("momo64-esp", Style::Warm),
    ("settel-inner-recreation", Style::Open),
    ("thomasso-axe-from-the-80s", Style::Punchy),
    ("tame-anderson-make-me", Style::Loud),
];

/// One master in numbers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Figures {
    lufs: f64,
    dbtp: f64,
    lra: f64,
    /// Gain into the limiter.
    gain: f64,
    /// Limiting, median of the blocks in which it works and 95th percentile of all.
    reduction: [f64; 2],
    /// Mean reduction of each band.
    bands: Vec<f64>,
    /// Third octaves of mid from 25 Hz, dB.
    thirds: Vec<f64>,
}

fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

/// Third octaves around 25, 31.5 … 16,000 Hz: the points of the analysis (12 per octave) of each, summed as powers.
fn thirds(analysis: &Analysis) -> Vec<f64> {
    let centres = (0..=28).map(|third| 1_000.0 * 2f64.powf(f64::from(third - 16) / 3.0));
    let third = |centre: f64| {
        let inside = |hz: f64| (hz / centre).log2().abs() <= 1.0 / 6.0;
        let points = analysis.spectrum.hz.iter().zip(&analysis.spectrum.mid).filter(|(hz, _)| inside(f64::from(**hz)));
        rounded(10.0 * points.map(|(_, db)| 10f64.powf(f64::from(*db) / 10.0)).sum::<f64>().log10())
    };
    centres.map(third).collect()
}

fn figures(analysis: &Analysis, trace: &Trace) -> Figures {
    Figures {
        lufs: rounded(analysis.loudness.integrated.unwrap().0),
        dbtp: rounded(analysis.peaks.true_peak.0),
        lra: rounded(analysis.loudness.range.unwrap().0),
        gain: rounded(trace.gain.0),
        reduction: [rounded(trace.reduction_median.0), rounded(trace.reduction_p95.0)],
        bands: trace.bands.iter().map(|band| rounded(band.0)).collect(),
        thirds: thirds(analysis),
    }
}

fn master(excerpt: &str, style: Style) -> Figures {
    let path = folder().join(format!("data/{excerpt}.flac"));
    let track = decode_file(&path, &Limits::default()).unwrap();
    let mix = analyse(&track);
    let plan = plan(&mix, &Settings { style, ..Settings::default() }, None).unwrap();
    let rates = [track.audio.rate];
    let job = Job { audio: track.audio, plan: &plan, rates: &rates, solved: None, early: None };
    let master = Cpu.render(vec![job]).remove(0).unwrap().remove(0);
    figures(&analyse_audio(&master.audio, track.source), &master.trace)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// What differs by more than the tolerance, named.
fn differences(kept: &Figures, made: &Figures) -> Vec<String> {
    let mut lines = Vec::new();
    let mut compare = |name: &str, kept: &[f64], made: &[f64]| {
        if kept.len() != made.len() {
            lines.push(format!("{name}: {} values instead of {}", made.len(), kept.len()));
        }
        for (i, (kept, made)) in kept.iter().zip(made).enumerate() {
            if (kept - made).abs() > TOLERANCE {
                lines.push(format!("{name}[{i}]: {made} instead of {kept}"));
            }
        }
    };
    compare("lufs", &[kept.lufs], &[made.lufs]);
    compare("dbtp", &[kept.dbtp], &[made.dbtp]);
    compare("lra", &[kept.lra], &[made.lra]);
    compare("gain", &[kept.gain], &[made.gain]);
    compare("reduction", &kept.reduction, &made.reduction);
    compare("bands", &kept.bands, &made.bands);
    compare("thirds", &kept.thirds, &made.thirds);
    lines
}

#[test]
fn masters_sound_as_they_did() {
    let made: BTreeMap<String, Figures> =
        MASTERS.iter().map(|(excerpt, style)| (format!("{excerpt}, {style}"), master(excerpt, *style))).collect();
    for (name, figures) in &made {
        println!("{name}: {} LUFS, {} dBTP, {} dB p95", figures.lufs, figures.dbtp, figures.reduction[1]);
    }
    let file = folder().join("golden.json");
    if std::env::var("LOOPMASTER_GOLDEN").is_ok_and(|wish| wish == "update") {
        std::fs::write(&file, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        return;
    }
    let kept: BTreeMap<String, Figures> = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(kept.keys().eq(made.keys()), "golden.json holds other masters; rewrite it");
    let report: Vec<String> = made
        .iter()
        .flat_map(|(name, made)| differences(&kept[name], made).into_iter().map(move |line| format!("{name}: {line}")))
        .collect();
    assert!(report.is_empty(), "the sound has changed; if on purpose, rewrite golden.json:\n{}", report.join("\n"));
}

#[test]
fn a_change_that_could_be_heard_is_noticed() {
    let figures = |shift: f64| Figures {
        lufs: -14.0,
        dbtp: -1.0,
        lra: 5.0,
        gain: 6.0,
        reduction: [1.0, 2.0],
        bands: vec![0.5; 5],
        thirds: (0..29).map(|third| if third == 7 { -20.0 + shift } else { -20.0 }).collect(),
    };
    assert_eq!(differences(&figures(0.0), &figures(0.015)), Vec::<String>::new());
    assert_eq!(differences(&figures(0.0), &figures(0.1)), ["thirds[7]: -19.9 instead of -20"]);
}
