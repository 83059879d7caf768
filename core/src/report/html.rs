//! The page: header, what was done and why, findings, drawings, tables. maud escapes everything that comes from a file.

mod tables;

use super::Report;
use super::plot::{self, Mark, Timeline};
use super::text::{count, digits, length, number, rate, short_time, times, with_unit};
use crate::analyse::{Finding, Hits, Severity};
use crate::plan::{Goal, Reason};
use crate::settings::Aspect;
use crate::units::{Db, Seconds};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use tables::{chain, checks, dynamics, files, gate_names, measured};

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
        report.tags.isrc.as_ref().map_or_else(String::new, |code| format!("ISRC {code}")),
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
    let masked = trace.limiting_error.map_or_else(String::new, |error| {
        format!("; limiting error {}{thin}dB over the masking threshold", number(error.0, 1))
    });
    let note = format!(
        "at hits: median {}, 95{thin}% under {}, largest {}; over 3{thin}dB in {}{thin}% of the time{masked}",
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
