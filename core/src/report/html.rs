//! The page: header, what was done and why, findings, drawings, tables. maud escapes everything that comes from a file.

use super::plot::{self, Mark, Timeline};
use super::text::{band, bytes, count, digits, frequency, length, number, rate, short_time, signed, times, with_unit};
use super::{DeliveredFile, Report};
use crate::analyse::{Analysis, Finding, Hits, Severity};
use crate::plan::{Goal, Reason};
use crate::settings::{Aspect, Codec, Loudness, Phase};
use crate::units::{Db, Hz, Lufs, Seconds};
use crate::verify::Gate;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::fmt::Write as _;

/// Findings printed at most; the rest is counted and stands in the JSON.
const FINDINGS: usize = 12;
/// Findings and reasons on paper, so that two pages hold them; the style sheet hides what comes after.
const ON_PAPER: usize = 6;

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let findings = &report.mix.findings[..report.mix.findings.len().min(FINDINGS)];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Whatever a tag may hold: this page runs nothing and loads nothing.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (report.title()) " · mastering report" }
                style { (PreEscaped(include_str!("page.css"))) (PreEscaped(plot::CSS)) }
            }
            body {
                main class=[density(report)] {
                    (head(report))
                    div.words {
                        (did(report))
                        (heard(report, findings))
                    }
                    (over_time(report, findings))
                    (tone(report))
                    (bands(report))
                    div.tables {
                        (measured(report))
                        (chain(report))
                    }
                    (dynamics(report))
                    (files(report))
                    (checks(report))
                    (foot(report))
                }
            }
        }
    }
    .into_string()
}

/// On paper two pages hold everything: a report with many words or rows gets smaller drawings.
fn density(report: &Report) -> Option<&'static str> {
    // About as many letters as stand in a line of either column.
    let lines = |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| text.chars().count() / 52 + 1).sum::<usize>();
    let reasons = lines(&mut report.plan.reasons.iter().map(|reason| reason.text.as_str()));
    let findings = lines(&mut report.mix.findings.iter().take(ON_PAPER).map(|finding| finding.text.as_str()));
    let words = reasons > 20 || findings > 20;
    let rows = report.files.len() + gate_names(&report.files).len() + report.plan.dynamics.len() > 17;
    match (words, rows) {
        (true, true) => Some("wordy long"),
        (true, false) => Some("wordy"),
        (false, true) => Some("long"),
        (false, false) => None,
    }
}

fn head(report: &Report) -> Markup {
    let title = report.title();
    let size = match title.chars().count() {
        0..=32 => "short",
        33..=80 => "long",
        _ => "longest",
    };
    let source = &report.mix.source;
    let word = match (source.bits, source.float) {
        (Some(bits), true) => format!("{bits}-bit float"),
        (Some(bits), false) => format!("{bits}-bit"),
        _ => String::new(),
    };
    let channels = if source.channels == 1 { "mono" } else { "" };
    let facts = [
        source.container.to_uppercase(),
        word,
        if source.rate > 0 { rate(source.rate) } else { rate(report.mix.rate) },
        channels.to_owned(),
        length(report.mix.seconds()),
    ];
    let facts = facts.into_iter().filter(|fact| !fact.is_empty()).collect::<Vec<_>>().join(" · ");
    html! {
        header {
            p.brand { span.mark { (icon(r#"<circle cx="12" cy="12" r="8"/>"#)) } "LoopMastering" span.kind { "Mastering report" } }
            h1 class=(size) dir="auto" title=[(size == "longest").then_some(title)] { (title) }
            @if let Some(artist) = report.tags.artist.as_deref().filter(|artist| !artist.trim().is_empty()) {
                p.artist dir="auto" { (artist) }
            }
            p.source { bdi { (report.file) } " · " (facts) }
            (figures(report))
            (verdict(report))
        }
    }
}

fn figures(report: &Report) -> Markup {
    let (mix, master) = (&report.mix, &report.master);
    let say = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| number(value, 1));
    let figure = |name: &str, long: &str, unit: &str, before: Option<f64>, after: Option<f64>| {
        html! {
            div {
                dt { (name) " " span.long { (long) } }
                dd {
                    // A figure that stayed is said once.
                    @if say(before) != say(after) {
                        span.before { (say(before)) }
                        span.to aria-label="to" { "→" }
                    }
                    span.after { (say(after)) }
                    @if after.is_some() { span.unit { (unit) } }
                }
            }
        }
    };
    html! {
        dl.figures {
            (figure("Loudness", "integrated", "LUFS", mix.loudness.integrated.map(|l| l.0), master.loudness.integrated.map(|l| l.0)))
            (figure("True peak", "", "dBTP", Some(mix.peaks.true_peak.0), Some(master.peaks.true_peak.0)))
            (figure("PLR", "peak to loudness", "dB", mix.peaks.plr.map(|p| p.0), master.peaks.plr.map(|p| p.0)))
            (figure("LRA", "loudness range", "LU", mix.loudness.range.map(|r| r.0), master.loudness.range.map(|r| r.0)))
        }
    }
}

fn verdict(report: &Report) -> Markup {
    let gates = || report.files.iter().flat_map(|file| &file.gates);
    let (all, failed) = (gates().count(), gates().filter(|gate| !gate.passed).count());
    let files = count(report.files.len(), "file", "files");
    html! {
        @if report.verified() {
            p.verdict.good {
                (tick()) strong { "Verified" }
                span { (files) " written, decoded again and measured. " @if all == 1 { "The check passed." } @else { "All " (all) " checks passed." } }
            }
        } @else if failed > 0 {
            p.verdict.bad {
                (cross()) strong { "Not verified" }
                span { (failed) " of " (count(all, "check", "checks")) " failed, see Checks. Nothing of a failed file is delivered." }
            }
        } @else {
            p.verdict.none { strong { "Not verified" } span { "No file was written and checked yet." } }
        }
    }
}

fn did(report: &Report) -> Markup {
    let reasons = &report.plan.reasons;
    let of = |aspect: Aspect| reasons.iter().filter(move |reason| reason.aspect == aspect);
    html! {
        section.did {
            h2 { "What we did" }
            @if report.unchanged() {
                p.lead { "Nothing. The master is your mix, sample for sample." }
            } @else if reasons.is_empty() {
                p.lead { "The settings are in the chain below." }
            }
            @for aspect in Aspect::ALL {
                @if of(aspect).next().is_some() {
                    div.aspect {
                        h3 { (capital(aspect.name())) }
                        ul { @for reason in of(aspect) { li { span { (reason.text) } (change(reason)) } } }
                    }
                }
            }
        }
    }
}

fn change(reason: &Reason) -> Markup {
    // `dB side/mid` is explained by the sentence: the figure keeps the unit proper.
    let unit = reason.unit.as_deref().and_then(|unit| unit.split(' ').next()).unwrap_or("");
    let largest =
        [reason.before, reason.after].into_iter().flatten().fold(0f64, |a, b| if b.abs() > a.abs() { b } else { a });
    let say = |value: f64| number(value, digits(unit, largest));
    html! {
        @match (reason.before, reason.after) {
            (Some(before), Some(after)) => {
                span.change {
                    span.mix { (say(before)) } " → " span.master { (with_unit(after, digits(unit, largest), unit)) }
                }
            }
            (Some(value), None) | (None, Some(value)) => { span.change { (with_unit(value, digits(unit, value), unit)) } }
            (None, None) => {}
        }
    }
}

fn heard(report: &Report, findings: &[Finding]) -> Markup {
    let more = report.mix.findings.len() - findings.len();
    html! {
        section.heard {
            h2 { "About your mix" }
            @if findings.is_empty() {
                p.lead { "Nothing to fix before release." }
            } @else {
                ol {
                    @for (index, finding) in findings.iter().enumerate() {
                        li {
                            span.number { (index + 1) }
                            span {
                                span class={ "severity " (severity(finding.severity)) } { (capital(severity(finding.severity))) }
                                @if let Some(at) = finding.at { " " span.clock { (at.clock()) } }
                                " " (finding.text)
                            }
                        }
                    }
                }
                @if findings.len() > ON_PAPER { p.paper { "And " (report.mix.findings.len() - ON_PAPER) " more on the page and in the JSON report." } }
                @if more > 0 { p.more { "And " (more) " more in the JSON report." } }
            }
        }
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Advice => "advice",
        Severity::Problem => "problem",
    }
}

fn over_time(report: &Report, findings: &[Finding]) -> Markup {
    let marks: Vec<Mark> = findings
        .iter()
        .enumerate()
        .filter_map(|(index, finding)| {
            Some(Mark { at: finding.at?, label: (index + 1).to_string(), severity: finding.severity })
        })
        .collect();
    let timeline = Timeline {
        length: report.mix.seconds(),
        master_start: report.plan.edit.trim_start,
        marks: &marks,
        axis: false,
    };
    let (mix, master, trace) = (&report.mix, &report.master, &report.trace);
    let target = match report.plan.goal {
        Goal::Loudness { target, .. } => Some(target),
        Goal::Keep | Goal::Peak { .. } => None,
    };
    let worked = trace.reduction.iter().any(|value| *value > 0.05);
    let thin = super::text::THIN;
    let hits = Hits::of(&trace.reduction);
    let note = format!(
        "at hits: median {}, 95{thin}% under {}, largest {}; over 3{thin}dB in {}{thin}% of the time",
        number(hits.median.0, 1),
        number(hits.p95.0, 1),
        hits.most,
        number(hits.over_3 * 100.0, usize::from(hits.over_3 > 0.0 && hits.over_3 < 0.0095)),
    );
    let loudness = |axis| {
        plot::loudness(&mix.loudness.over_time, &master.loudness.over_time, target, &Timeline { axis, ..timeline })
    };
    let loudness = loudness(!worked);
    let alone = loudness.is_empty() && !worked;
    let wave = plot::waveform(&mix.waveform, &master.waveform, &Timeline { axis: alone, ..timeline });
    let pressed =
        if worked { plot::reduction(&trace.reduction, &Timeline { axis: true, ..timeline }) } else { String::new() };
    html! {
        section.time {
            (titled("Over time", &html! { (key("mix", "mix")) (key("master", "master")) @if target.is_some() { (key("target", "target")) } }))
            @if !wave.is_empty() {
                figure { (caption("Waveform", "dBFS", "")) (PreEscaped(wave)) }
            }
            @if !loudness.is_empty() {
                figure {
                    (caption("Loudness", "LUFS, short-term", ""))
                    (PreEscaped(loudness))
                }
            }
            @if worked {
                figure {
                    (caption(
                        "Gain reduction",
                        "dB",
                        &note,
                    ))
                    (PreEscaped(pressed))
                }
            } @else if !report.unchanged() {
                p.none { "Clipper and limiter had nothing to do." }
            }
        }
    }
}

/// A heading with the key to the drawings under it.
fn titled(name: &str, keys: &Markup) -> Markup {
    html! { div.titled { h2 { (name) } span.keys { (keys) } } }
}

fn caption(name: &str, unit: &str, note: &str) -> Markup {
    html! {
        figcaption {
            strong { (name) }
            span.unit { (unit) }
            @if !note.is_empty() { span.note { (note) } }
        }
    }
}

fn key(class: &str, name: &str) -> Markup {
    html! { span class={ "key " (class) } { (name) } }
}

fn tone(report: &Report) -> Markup {
    let (mix, master, tone) = (&report.mix.spectrum, &report.master.spectrum, &report.plan.tone);
    let shift = plot::level_shift(mix, master, tone);
    let note = shift.map_or_else(String::new, |shift| match number(shift.0.abs(), 1).as_str() {
        "0.0" => String::new(),
        figure => format!(
            "master drawn {figure}{}dB {} to compare tone, not loudness",
            super::text::THIN,
            if shift.0 > 0.0 { "lower" } else { "higher" }
        ),
    });
    let flat = tone.is_mid_flat();
    html! {
        section.tone {
            (titled("Tone", &html! { @if shift.is_some() { (key("mix", "mix")) (key("master", "master")) @if !flat { (key("target", "planned filter")) } } }))
            @if shift.is_some() {
                figure {
                    (caption("Spectrum", "dB per 1/12 octave", &note))
                    (PreEscaped(plot::spectrum(mix, master, tone)))
                }
                figure {
                    (caption("Change", "dB, master against mix", ""))
                    (PreEscaped(plot::tone(mix, master, tone)))
                }
            } @else {
                p.none { "Too short for a spectrum." }
            }
        }
    }
}

fn bands(report: &Report) -> Markup {
    let (mix, master) = (&report.mix.bands, &report.master.bands);
    let shift = match (report.mix.loudness.integrated, report.master.loudness.integrated) {
        (Some(before), Some(after)) => after - before,
        // Too short for a loudness: as far apart as the spectra are.
        _ => plot::level_shift(&report.mix.spectrum, &report.master.spectrum, &report.plan.tone)
            .unwrap_or(report.preview.difference),
    };
    let levels = plot::levels(mix, master, &report.plan.dynamics, shift);
    let thresholds = report.plan.dynamics.iter().any(|band| band.ratio > 1.0);
    html! {
        @if !levels.is_empty() {
            section.bands {
                (titled("Bands", &html! {
                    (key("mix", "mix")) (key("master", "master")) @if thresholds { span.note { "▾ threshold" } }
                }))
                figure {
                    (caption("Levels", "dBFS, 10th to 95th percentile", ""))
                    (PreEscaped(levels))
                }
                figure { (caption("Width", "side against mid, dB", "")) (PreEscaped(plot::width(mix, master))) }
                figure { (caption("Correlation", "left with right", "")) (PreEscaped(plot::correlation(mix, master))) }
            }
        }
    }
}

fn measured(report: &Report) -> Markup {
    let lufs = |value: Option<Lufs>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
    let db = |value: Db| value.to_string();
    let maybe =
        |value: Option<Db>, unit: &str| value.map_or_else(|| "–".to_owned(), |value| with_unit(value.0, 1, unit));
    let balance = |value: Db| match number(value.0.abs(), 1).as_str() {
        "0.0" => "centred".to_owned(),
        figure => format!("{figure}{}dB {}", super::text::THIN, if value.0 > 0.0 { "left" } else { "right" }),
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
    let say = |(hz, gain): (Hz, Db)| format!("{}{}dB at {}", signed(gain.0, 1), super::text::THIN, frequency(hz));
    let up = most(|a, b| a > b).filter(|point| point.1.0 >= 0.05);
    let down = most(|a, b| a < b).filter(|point| point.1.0 <= -0.05);
    match (up, down) {
        (None, None) => "flat".to_owned(),
        (Some(one), None) | (None, Some(one)) => say(one),
        (Some(up), Some(down)) => format!("{}, {}", say(up), say(down)),
    }
}

fn chain(report: &Report) -> Markup {
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
        let from = Hz(crate::analyse::ULTRASONIC * f64::from(report.mix.rate));
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
    rows.push(("Gain", format!("{}{}dB", signed(trace.gain.0, 2), super::text::THIN)));
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

fn dynamics(report: &Report) -> Markup {
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
                                        td { (signed(dynamics.makeup.0, 1)) (super::text::THIN) "dB" }
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

fn files(report: &Report) -> Markup {
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
fn gate_names(files: &[DeliveredFile]) -> Vec<&str> {
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

fn checks(report: &Report) -> Markup {
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
                (i > 0 && (len - i).is_multiple_of(3)).then_some(super::text::THIN).into_iter().chain([c])
            })
            .collect();
        return grouped;
    }
    with_unit(value, digits, unit)
}

fn foot(report: &Report) -> Markup {
    let seconds: f64 = report.speed.iter().map(|stage| stage.seconds.0).sum();
    let total = report.mix.seconds().0 / seconds;
    html! {
        footer {
            p {
                (report.engine)
                @if seconds > 0.0 {
                    " · " (short_time(Seconds(seconds))) ", " (times(total)) ": "
                    @for (index, stage) in report.speed.iter().enumerate() {
                        @if index > 0 { ", " } (stage.stage.name()) " " (short_time(stage.seconds))
                    }
                }
            }
            p {
                "Loudness by ITU-R BS.1770-5 and EBU Tech 3341/3342, true peak 16× oversampled. "
                @if report.preview.difference.0.abs() >= 0.05 {
                    "To compare fairly, turn the master " (if report.preview.difference.0 > 0.0 { "down" } else { "up" }) " by "
                    (Db(report.preview.difference.0.abs())) "; the loudest 30" (super::text::THIN) "s start at " (report.preview.start.clock()) "."
                }
            }
        }
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// An icon on Lucide's 24-unit grid.
fn icon(shapes: &str) -> Markup {
    html! { svg.icon viewBox="0 0 24 24" aria-hidden="true" { (PreEscaped(shapes)) } }
}

fn tick() -> Markup {
    icon(r#"<path d="M20 6 9 17l-5-5"/>"#)
}

fn cross() -> Markup {
    icon(r#"<path d="M18 6 6 18M6 6l12 12"/>"#)
}
