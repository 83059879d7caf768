//! The tables of the page: what was measured, the chain, the dynamics, the files and their checks.

use super::{cross, tick};
use crate::analyse::Analysis;
use crate::plan::Goal;
use crate::report::text::{band, bytes, count, frequency, number, rate, short_time, signed, with_unit};
use crate::report::{DeliveredFile, Report};
use crate::settings::{Codec, Loudness, Phase};
use crate::units::{Db, Hz, Lufs};
use crate::verify::Gate;
use maud::{Markup, html};
use std::fmt::Write as _;

pub(super) fn measured(report: &Report) -> Markup {
    let lufs = |value: Option<Lufs>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
    let db = |value: Db| value.to_string();
    let maybe =
        |value: Option<Db>, unit: &str| value.map_or_else(|| "–".to_owned(), |value| with_unit(value.0, 1, unit));
    let balance = |value: Db| match number(value.0.abs(), 1).as_str() {
        "0.0" => "centred".to_owned(),
        figure => format!("{figure}{}dB {}", crate::report::text::THIN, if value.0 > 0.0 { "left" } else { "right" }),
    };
    let row = |name: &str, of: &dyn Fn(&Analysis) -> String| {
        html! { tr { th scope="row" { (name) } td.mix { (of(&report.mix)) } td.master { (of(&report.master)) } } }
    };
    html! {
        section.measured {
            h2 { "Measured" }
            table {
                thead { tr { th {} th.mix scope="col" { "Mix" } th.master scope="col" { "Master" } } }
                tbody {
                    (row("Integrated loudness", &|a| lufs(a.loudness.integrated)))
                    (row("Loudest 3 s", &|a| lufs(a.loudness.max_short_term)))
                    (row("Loudest 0.4 s", &|a| lufs(a.loudness.max_momentary)))
                    (row("Loudness range", &|a| maybe(a.loudness.range, "LU")))
                    (row("True peak", &|a| a.peaks.true_peak.to_string()))
                    (row("Sample peak", &|a| with_unit(a.peaks.sample.0, 1, "dBFS")))
                    (row("Peak to loudness", &|a| maybe(a.peaks.plr, "dB")))
                    (row("Clipped runs", &|a| a.clipping.clipped_runs.to_string()))
                    (row("Correlation", &|a| number(a.stereo.correlation, 2)))
                    (row("Balance", &|a| balance(a.stereo.balance)))
                    (row("Lost in mono", &|a| db(a.stereo.mono_loss)))
                    @if report.mix.condition.noise_floor.or(report.master.condition.noise_floor).is_some() {
                        (row("Noise between the notes", &|a| maybe(a.condition.noise_floor, "dBFS")))
                    }
                }
            }
        }
    }
}

/// The strongest lift and the deepest cut of a curve in words.
fn extremes(points: &[(Hz, Db)]) -> String {
    let most = |better: fn(&f64, &f64) -> bool| {
        points.iter().copied().reduce(|a, b| if better(&b.1.0, &a.1.0) { b } else { a })
    };
    let say =
        |(hz, gain): (Hz, Db)| format!("{}{}dB at {}", signed(gain.0, 1), crate::report::text::THIN, frequency(hz));
    let up = most(|a, b| a > b).filter(|point| point.1.0 >= 0.05);
    let down = most(|a, b| a < b).filter(|point| point.1.0 <= -0.05);
    match (up, down) {
        (None, None) => "flat".to_owned(),
        (Some(one), None) | (None, Some(one)) => say(one),
        (Some(up), Some(down)) => format!("{}, {}", say(up), say(down)),
    }
}

pub(super) fn chain(report: &Report) -> Markup {
    let (plan, trace) = (&report.plan, &report.trace);
    let mut rows: Vec<(&str, String)> = Vec::new();
    let wish = match &report.settings.loudness {
        Loudness::Style => String::new(),
        Loudness::Lufs(wish) => format!(", {wish}"),
        Loudness::Destination(key) => format!(", for {key}"),
    };
    rows.push(("Asked for", format!("{}, strength {}{wish}", plan.style, report.settings.strength.overall)));
    let found = &report.mix.material;
    match (report.settings.material, found.weights.best()) {
        (Some(kind), _) => rows.push(("Material", format!("{kind}, as named"))),
        (None, Some((kind, weight))) => {
            let share = |value: f64| with_unit(100.0 * value, 0, "%");
            rows.push(("Material", format!("{kind} ({}, confidence {})", share(weight), share(found.confidence))));
        }
        (None, None) => {}
    }
    let mut edits = Vec::new();
    for (what, time) in [("start", plan.edit.trim_start), ("end", plan.edit.trim_end)] {
        if time.0 > 0.0 {
            edits.push(format!("{} cut from the {what}", short_time(time)));
        }
    }
    for (what, time) in [("in", plan.edit.fade_in), ("out", plan.edit.fade_out)] {
        if time.0 > 0.0 {
            edits.push(format!("fade {what} {}", short_time(time)));
        }
    }
    if !edits.is_empty() {
        rows.push(("Edit", edits.join(", ")));
    }
    let phase = match plan.tone.phase {
        Phase::Minimum => "minimum phase",
        Phase::Linear => "linear phase",
    };
    let mut filter = if plan.tone.is_off() { "off".to_owned() } else { phase.to_owned() };
    if let Some(corner) = plan.tone.subsonic {
        let _ = write!(filter, ", subsonic cut at {}", frequency(corner));
    }
    if plan.tone.ultrasonic {
        let from = Hz(crate::bands::ULTRASONIC * f64::from(report.mix.rate));
        let _ = write!(filter, ", nothing above {}", frequency(from));
    }
    rows.push(("Filter", filter));
    if !plan.tone.mid.is_empty() {
        rows.push(("Mid", extremes(&plan.tone.mid)));
    }
    if !plan.tone.side.is_empty() && plan.tone.side != plan.tone.mid {
        rows.push(("Side", extremes(&plan.tone.side)));
    }
    if !plan.tone.width.is_empty() {
        rows.push(("Width", extremes(&plan.tone.width)));
    }
    if plan.dynamics.is_empty() {
        rows.push(("Dynamics", "off".to_owned()));
    }
    if let Some(colour) = plan.saturation {
        rows.push((
            "Saturation",
            format!(
                "odd {}, even {} at {}",
                with_unit(colour.odd * 100.0, 1, "%"),
                with_unit(colour.even * 100.0, 1, "%"),
                with_unit(colour.reference.0, 1, "dBFS")
            ),
        ));
    }
    if let Some(transients) = plan.transients {
        rows.push(("Transients", format!("up to {} off what follows a hit", transients.depth)));
    }
    rows.push(("Gain", format!("{}{}dB", signed(trace.gain.0, 2), crate::report::text::THIN)));
    rows.push((
        "Clipper",
        plan.clipper.map_or_else(
            || "off".to_owned(),
            |clipper| {
                format!(
                    "up to {}, knee {}, {} of samples",
                    clipper.max_reduction,
                    clipper.knee,
                    with_unit(trace.clipped * 100.0, 2, "%")
                )
            },
        ),
    ));
    rows.push((
        "Leveler",
        plan.leveler.map_or_else(|| "off".to_owned(), |leveler| format!("up to {}", leveler.max_reduction)),
    ));
    if let Some(masked) = plan.masked {
        let text = format!(
            "up to {}, {} rounds, {} of samples",
            masked.max_reduction,
            masked.rounds,
            with_unit(trace.clipped * 100.0, 2, "%")
        );
        rows.push(("Masked clipper", text));
    }
    rows.push((
        "Limiter",
        plan.limiter.map_or_else(
            || "off".to_owned(),
            |limiter| {
                format!(
                    "ceiling {}, look-ahead {}, release {}–{}",
                    limiter.ceiling,
                    short_time(limiter.lookahead),
                    number(limiter.release_min.0 * 1e3, 0),
                    short_time(limiter.release_max)
                )
            },
        ),
    ));
    rows.push((
        "Aim",
        match plan.goal {
            Goal::Keep => "level kept".to_owned(),
            Goal::Loudness { target, wished } => {
                let stop = wished
                    .filter(|wish| *wish != target)
                    .map_or_else(String::new, |wish| format!(" ({} asked for)", number(wish.0, 1)));
                let reached = trace.reached.map_or_else(String::new, |reached| {
                    format!(
                        ", reached {} in {}",
                        with_unit(reached.0, 2, "LUFS"),
                        count(trace.passes as usize, "pass", "passes")
                    )
                });
                format!("{target}{stop}{reached}")
            }
            Goal::Peak { target } => format!("true peak {target}"),
        },
    ));
    rows.push((
        "Backend",
        [&report.backend.name, &report.backend.device]
            .into_iter()
            .filter(|s| !s.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join(", "),
    ));
    html! {
        section.chain {
            h2 { "Chain" }
            table { tbody { @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } } } }
        }
    }
}

pub(super) fn dynamics(report: &Report) -> Markup {
    let (plan, trace) = (&report.plan, &report.trace);
    html! {
        @if !plan.dynamics.is_empty() {
            section.dynamics {
                h2 { "Dynamics per band" }
                div.scroll {
                    table.grid {
                        thead {
                            tr {
                                th scope="col" { "Band" } th scope="col" { "Threshold" } th scope="col" { "Ratio" } th scope="col" { "Knee" }
                                th scope="col" { "Attack" } th scope="col" { "Release" } th scope="col" { "Make-up" } th scope="col" { "At most" }
                                th scope="col" { "Mean" }
                            }
                        }
                        tbody {
                            @for (index, dynamics) in plan.dynamics.iter().enumerate() {
                                @let (name, span) = band(index, &report.mix.bands);
                                tr {
                                    th scope="row" { (name) " " span.span { (span) } }
                                    @if dynamics.ratio <= 1.0 {
                                        td colspan="8" { "off" }
                                    } @else {
                                        td { (with_unit(dynamics.threshold.0, 1, "dBFS")) }
                                        td { (number(dynamics.ratio, if dynamics.ratio < 2.0 { 2 } else { 1 })) ":1" }
                                        td { (dynamics.knee) }
                                        td { (short_time(dynamics.attack)) }
                                        td { (short_time(dynamics.release)) }
                                        td { (signed(dynamics.makeup.0, 1)) (crate::report::text::THIN) "dB" }
                                        td { (dynamics.max_reduction) }
                                        td.master { (trace.bands.get(index).map_or_else(|| "–".to_owned(), |mean| with_unit(-mean.0, 1, "dB"))) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `WAV 24-bit`, `MP3 320 kbit/s`.
fn format_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Wav16 => "WAV 16-bit",
        Codec::Wav24 => "WAV 24-bit",
        Codec::Wav32f => "WAV 32-bit float",
        Codec::Flac16 => "FLAC 16-bit",
        Codec::Flac24 => "FLAC 24-bit",
        Codec::Mp3Cbr320 => "MP3 320 kbit/s",
        Codec::Mp3V0 => "MP3 V0",
        Codec::Opus => "Opus 160 kbit/s",
    }
}

pub(super) fn files(report: &Report) -> Markup {
    html! {
        @if !report.files.is_empty() {
            section.files {
                h2 { "Files" }
                div.scroll {
                    table.grid {
                        thead {
                            tr {
                                th scope="col" { "File" } th scope="col" { "Format" } th scope="col" { "Rate" } th scope="col" { "Size" }
                                th scope="col" { "Loudness" } th scope="col" { "True peak" } th.hash scope="col" { "SHA-256" }
                            }
                        }
                        tbody {
                            @for file in &report.files {
                                tr {
                                    th scope="row" { bdi { (file.name) } }
                                    td { (format_name(file.format.codec)) }
                                    td { (rate(file.rate)) }
                                    td { (bytes(file.bytes)) }
                                    td { (file.lufs.map_or_else(|| "–".to_owned(), |lufs| lufs.to_string())) }
                                    td { (file.dbtp) }
                                    td.hash { span title=(file.sha256) { (file.sha256) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Gates by name in the order they first appear.
pub(super) fn gate_names(files: &[DeliveredFile]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for gate in files.iter().flat_map(|file| &file.gates) {
        if !names.contains(&gate.name.as_str()) {
            names.push(&gate.name);
        }
    }
    names
}

/// What a gate is called, how its bound is written, what unit and how many decimals it has.
fn gate_words<'a>(name: &'a str, goal: &Goal) -> (&'a str, &'static str, &'static str, usize) {
    match (name, goal) {
        ("loudness", Goal::Peak { .. }) => ("Peak", "target", "dBTP", 2),
        ("loudness", _) => ("Loudness", "target", "LUFS", 2),
        ("true_peak", _) => ("True peak", "≤", "dBTP", 2),
        ("length", _) => ("Length in frames", "", "", 0),
        ("alignment", _) => ("Largest deviation", "≤", "", 2),
        ("finite", _) => ("Broken samples", "", "", 0),
        ("clipped", _) => ("Clipped runs", "≤", "", 0),
        ("tone", _) => ("Tone moved", "≤", "dB", 1),
        ("mono_low", _) => ("Lost in mono, bass", "≤", "dB", 1),
        ("mono", _) => ("Lost in mono", "≤", "dB", 1),
        (other, _) => (other, "bound", "", 2),
    }
}

/// One gate of one file: measured, and the bound where it says more.
fn gate(gate: &Gate, codec: Codec, goal: &Goal) -> Markup {
    let (_, relation, unit, digits) = gate_words(&gate.name, goal);
    // Words against words: a lossless file deviates by its word length, a lossy one by whole frames.
    let (unit, digits) = match (gate.name.as_str(), codec.bits()) {
        ("alignment", Some(_)) => ("LSB", 2),
        ("alignment", None) => (if codec.lossy() { "frames" } else { "" }, 0),
        _ => (unit, digits),
    };
    let bound = !gate.passed || (!relation.is_empty() && (gate.bound != 0.0 || gate.measured != 0.0));
    html! {
        td class=(if gate.passed { "passed" } else { "failed" }) title=(gate.text) {
            @if gate.passed { (tick()) } @else { (cross()) }
            span.value { (figure(gate.measured, digits, unit)) }
            @if bound {
                span.bound { (if relation.is_empty() { "not" } else { relation }) " " (figure(gate.bound, digits, unit)) }
            }
        }
    }
}

pub(super) fn checks(report: &Report) -> Markup {
    let names = gate_names(&report.files);
    let goal = &report.plan.goal;
    html! {
        @if !names.is_empty() {
            section.checks.many[report.files.len() > 3] {
                h2 { "Checks" }
                div.scroll {
                    table.grid {
                        thead {
                            tr {
                                th scope="col" { "Decoded file" }
                                @for file in &report.files { th scope="col" { (format_name(file.format.codec)) span.span { " " (rate(file.rate)) } } }
                            }
                        }
                        tbody {
                            @for name in &names {
                                tr {
                                    th scope="row" { (gate_words(name, goal).0) }
                                    @for file in &report.files {
                                        @match file.gates.iter().find(|gate| gate.name == *name) {
                                            Some(found) => (gate(found, file.format.codec, goal)),
                                            None => td { "–" },
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A figure, whole when it is whole, with thousands set apart.
fn figure(value: f64, digits: usize, unit: &str) -> String {
    if digits == 0 && value.abs() >= 10_000.0 && value.is_finite() {
        let plain = number(value, 0);
        let len = plain.chars().count();
        let grouped: String = plain
            .chars()
            .enumerate()
            .flat_map(|(i, c)| {
                (i > 0 && (len - i).is_multiple_of(3)).then_some(crate::report::text::THIN).into_iter().chain([c])
            })
            .collect();
        return grouped;
    }
    with_unit(value, digits, unit)
}
