//! The versions of a song on the page of one of them: the others there are, and the ways to make more.

use super::home::{left, wishes};
use super::layout::Frame;
use super::text::{capital, count, number, wishes as in_a_breath, word};
use super::view::{Destination, Master, Share, State};
use loopmaster_core::settings::{Settings, Style};
use maud::{Markup, html};
use serde_json::json;

/// What the page of a master shows.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// The master with result and artifacts.
    pub master: Master,
    /// `GET /v1/destinations`, for mastering it another way.
    pub destinations: Vec<Destination>,
    /// `GET /v1/masters/{id}/shares`.
    pub shares: Vec<Share>,
    /// File name of the record it follows.
    pub reference: Option<String>,
    /// `GET /v1/masters?upload=…`: the versions of the song, this one among them, the newest first.
    pub versions: Vec<Master>,
}

/// Most versions beside the page's own that the player takes: with the mix there are five to choose from.
const BESIDE: usize = 3;
/// Most that are made at once: as many as can be heard beside the one that is there.
const AT_ONCE: usize = BESIDE;

/// The other finished versions that sound sample for sample beside this one, the newest first, as the player reads them.
pub(super) fn comparable(job: &Job) -> Option<String> {
    let master = &job.master;
    let same_length = |other: &Master| other.seconds.zip(master.seconds).is_some_and(|(a, b)| (a - b).abs() < 0.01);
    let fits = |other: &&Master| {
        other.state == State::Done && other.settings.edit == master.settings.edit && same_length(other)
    };
    let beside: Vec<_> = others(job).filter(fits).take(BESIDE).map(named).collect();
    (!beside.is_empty() && master.state == State::Done).then(|| json!(beside).to_string())
}

fn named(master: &Master) -> serde_json::Value {
    json!({ "id": master.id, "name": capital(master.settings.style.name()), "lufs": master.lufs.map(number).unwrap_or_default() })
}

fn others(job: &Job) -> impl Iterator<Item = &Master> {
    job.versions.iter().filter(|version| version.id != job.master.id)
}

/// All versions of the song, as links; nothing where there is one.
pub(super) fn versions(job: &Job) -> Markup {
    if others(job).next().is_none() {
        return html! {};
    }
    html! {
        section.versions aria-labelledby="versions" {
            h2 #versions { "Versions" span.muted { " of this song" } }
            ul {
                @for version in &job.versions {
                    @let open = matches!(version.state, State::Waiting | State::Running);
                    @let here = version.id == job.master.id;
                    li data-version=[open.then_some(version.id.as_str())] {
                        a href={ "/m/" (version.id) } aria-current=[here.then_some("page")] {
                            strong { (in_a_breath(&version.settings)) }
                            " "
                            span.muted data-how {
                                @if version.state == State::Done { @if let Some(lufs) = version.lufs { (number(lufs)) " LUFS" } @else { "done" } }
                                @else { (word(version.state)) }
                            }
                            @if here { span.muted { " this page" } }
                        }
                    }
                }
            }
        }
    }
}

/// A wish in words, what it changes, and the fields of the form that say so.
struct Change {
    words: &'static str,
    what: String,
    fields: String,
}

/// Louder or quieter by this much, dB.
const STEP: f64 = 1.5;
/// More or less of an aspect by this much.
const SHARE: u8 = 20;

/// What can be asked for in words; only what the settings can say, and nothing that they say already.
fn changes(master: &Master) -> Vec<Change> {
    let now = &master.settings;
    let of = |aspect: Option<u8>| aspect.unwrap_or(now.strength.overall);
    let mut changes = Vec::new();
    for (words, style) in [("A bit warmer", Style::Warm), ("Brighter", Style::Open)] {
        let tone = of(now.strength.tone);
        if now.style != style {
            let what = format!("style {}", style.name());
            changes.push(Change { words, what, fields: format!("style={}", style.name()) });
        } else if tone < 100 {
            let more = tone.saturating_add(SHARE).min(100);
            changes.push(Change { words, what: format!("tone {tone} → {more}"), fields: format!("tone={more}") });
        }
    }
    // Whoever wants the mix's own loudness has it.
    if let Some(lufs) = master.lufs.filter(|_| of(now.strength.loudness) > 0) {
        for (words, by) in [("Louder", STEP), ("Quieter", -STEP)] {
            let wanted = ((lufs + by) * 2.0).round() / 2.0;
            if (LOWEST..=HIGHEST).contains(&wanted) {
                let what = format!("{} → {} LUFS", number(lufs), number(wanted));
                changes.push(Change { words, what, fields: format!("loudness=custom&lufs={wanted}") });
            }
        }
    }
    let dynamics = of(now.strength.dynamics);
    if dynamics > 0 {
        let less = dynamics.saturating_sub(SHARE);
        let what = format!("dynamics {dynamics} → {less}");
        changes.push(Change { words: "Keep more punch", what, fields: format!("dynamics={less}") });
    }
    changes
}

/// What the form takes for a loudness, LUFS.
const LOWEST: f64 = -40.0;
const HIGHEST: f64 = -5.0;

/// Changes in words: each makes another version with one setting changed, and the way back is the version before.
pub(super) fn in_words(job: &Job) -> Markup {
    let master = &job.master;
    let at = job.versions.iter().position(|version| version.id == master.id);
    let earlier = at.and_then(|at| job.versions[at + 1..].iter().find(|version| version.state == State::Done));
    html! {
        section.words.scripted aria-labelledby="words" {
            h2 #words { "Change it" span.muted { " Each makes another version and counts as one track." } }
            form.pills data-rerun=(master.id) {
                @for Change { words, what, fields } in changes(master) {
                    button.button data-set=(fields) { (words) small.muted { (what) } }
                }
            }
            @if let Some(earlier) = earlier {
                p { a href={ "/m/" (earlier.id) } { "Back to the version before" } span.muted { " " (in_a_breath(&earlier.settings)) @if let Some(lufs) = earlier.lufs { ", " (number(lufs)) " LUFS" } } }
            }
        }
    }
}

/// Several styles of the same mix in one go, with what they cost; the script sends one order for each.
fn several(frame: &Frame<'_>, job: &Job) -> Markup {
    let now = job.master.settings.style;
    html! {
        details.more.scripted {
            summary { "Several at once" span.muted { " to compare" } }
            form.several data-several=(job.master.id) data-most=(AT_ONCE) data-left=[left(frame)] {
                fieldset {
                    legend { "Styles" span.muted { " up to " (AT_ONCE) } }
                    div.pills {
                        @for style in Style::ALL {
                            @if style != now {
                                label.pill {
                                    input type="checkbox" name="direction" value=(style.name()) data-made[job.versions.iter().any(|version| version.settings.style == style)];
                                    span { (capital(style.name())) }
                                }
                            }
                        }
                    }
                }
                p.muted data-cost role="status" {
                    "Each counts as one track"
                    @if let Some(left) = left(frame) { "; you can master " (count(left, "more track")) " today" }
                    "."
                }
                div.joined {
                    button.button disabled data-make { "Make them" }
                    button.button type="button" data-surprise { "Surprise me: three directions" }
                }
            }
        }
    }
}

/// Another style without another upload.
pub(super) fn another(frame: &Frame<'_>, job: &Job) -> Markup {
    let master = &job.master;
    let now: &Settings = &master.settings;
    html! {
        section.another aria-labelledby="another" data-upload=[master.upload.as_ref().map(|u| u.id.as_str())] {
            h2 #another { "Another style" span.muted { " No new upload. This version stays." } }
            @if master.reference_upload.is_some() {
                label.check {
                    input type="checkbox" data-same-reference checked;
                    span { "Follow the same reference" @if let Some(name) = &job.reference { ": " bdi { (name) } } }
                }
            }
            form.pills method="post" action={ "/m/" (master.id) } data-rerun=(master.id) {
                @for style in Style::ALL {
                    @if style != now.style {
                        button.button name="style" value=(style.name()) { (capital(style.name())) }
                    }
                }
            }
            (several(frame, job))
            details.more {
                summary { "With other settings" }
                form.wishes method="post" action={ "/m/" (master.id) } data-rerun=(master.id) {
                    (wishes(frame, now, &job.destinations, false))
                    @if master.reference_upload.is_some() {
                        noscript {
                            input type="hidden" name="has_reference" value="on";
                            label.check { input type="checkbox" name="same_reference" value="on" checked; span { "Follow the same reference" } }
                        }
                    }
                    button.button { "Master again" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loopmaster_core::units::Seconds;

    fn version(id: &str, state: State, seconds: f64) -> Master {
        Master { id: id.to_owned(), state, seconds: Some(seconds), lufs: Some(-11.04), ..Master::default() }
    }

    #[test]
    fn only_what_sounds_beside_this_one_is_compared() {
        let mut trimmed = version("trimmed", State::Done, 243.0);
        trimmed.settings.edit.trim_start = Seconds(0.5);
        let mut job = Job {
            master: version("this", State::Done, 243.0),
            versions: vec![
                version("a", State::Done, 243.0),
                version("waits", State::Waiting, 243.0),
                version("this", State::Done, 243.0),
                version("longer", State::Done, 244.0),
                trimmed,
                version("b", State::Done, 243.0),
                version("c", State::Done, 243.0),
                version("d", State::Done, 243.0),
            ],
            ..Job::default()
        };
        let said: serde_json::Value = serde_json::from_str(&comparable(&job).unwrap()).unwrap();
        assert_eq!(said[0], json!({ "id": "a", "name": "Balanced", "lufs": "−11.0" }));
        let ids: Vec<_> = said.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["a", "b", "c"], "with the mix and this one there are five keys");
        job.versions.truncate(5);
        job.versions.remove(0);
        assert_eq!(comparable(&job), None);
        let page = versions(&job).into_string();
        assert!(page.contains("data-version=\"waits\"") && page.matches("aria-current").count() == 1, "{page}");
        job.versions.retain(|version| version.id == "this");
        assert_eq!(versions(&job).into_string(), "");
    }

    #[test]
    fn words_become_settings_that_the_form_has() {
        let mut master = version("this", State::Done, 243.0);
        let said = |master: &Master| -> Vec<String> {
            let read = |change: Change| {
                let form = change.fields.replace("loudness=custom&lufs", "loudness");
                assert!(
                    crate::wishes::settings(form.as_bytes()).is_ok_and(|wished| wished != Settings::default()),
                    "{form}"
                );
                format!("{}: {}", change.words, change.what)
            };
            changes(master).into_iter().map(read).collect()
        };
        let all = [
            "A bit warmer: style warm",
            "Brighter: style open",
            "Louder: −11.0 → −9.5 LUFS",
            "Quieter: −11.0 → −12.5 LUFS",
            "Keep more punch: dynamics 50 → 30",
        ];
        assert_eq!(said(&master), all);
        master.settings.style = Style::Warm;
        master.settings.strength.tone = Some(90);
        master.settings.strength.dynamics = Some(0);
        master.lufs = Some(-5.5);
        assert_eq!(said(&master), ["A bit warmer: tone 90 → 100", "Brighter: style open", "Quieter: −5.5 → −7.0 LUFS"]);
        master.settings.strength.tone = Some(100);
        master.settings.strength.loudness = Some(0);
        assert_eq!(said(&master), ["Brighter: style open"]);
    }

    #[test]
    fn the_way_back_is_the_finished_version_before() {
        let mut job = Job { master: version("second", State::Done, 9.0), ..Job::default() };
        assert!(!in_words(&job).into_string().contains("version before"));
        job.versions = ["third", "second", "failed", "first"].map(|id| version(id, State::Done, 9.0)).to_vec();
        job.versions[2].state = State::Failed;
        assert!(in_words(&job).into_string().contains("<a href=\"/m/first\">Back to the version before</a>"));
    }
}
