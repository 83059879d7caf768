//! The home page: drop, wishes, queue, and something to hear before that.

use super::icons::icon;
use super::layout::Frame;
use super::text::{THIN, capital, count, format_name, number, size, style_note};
use super::view::{Destination, Quota};
use loopmaster_core::settings::{
    Aspect, Codec, Fix, Format, LONGEST_TAG, Limits, Loudness, Material, Phase, Settings, Style, TagWishes,
};
use maud::{Markup, PreEscaped, html};

/// What the home page shows.
#[derive(Clone, Debug, Default)]
pub struct Home {
    /// `GET /v1/destinations`; empty where the api is down: then the style decides, or a number.
    pub destinations: Vec<Destination>,
    /// Days a guest's tracks are kept.
    pub guest_days: u32,
    /// Days that songs of accounts are kept; 0: until they are deleted.
    pub account_days: u32,
}

/// What a new visitor gets without thinking: 24-bit for distributors, CD quality, something to send round.
const DELIVERED: [&str; 3] = ["wav24", "wav16@44100", "mp3-320"];
/// What can be ticked.
const OFFERED: [&str; 6] = ["wav24", "wav16@44100", "wav32f", "flac24", "mp3-320", "mp3-v0"];

/// `/`
#[must_use]
pub fn home(frame: &Frame<'_>, home: &Home) -> Markup {
    let about = "Drop your mix, hear the master level-matched, download release-ready files. No tracking, no account needed to listen.";
    let limits = Limits::default();
    let main = html! {
        div.hero {
            h1 { "Drop your mix. " span.warm { "Hear the master." } }
            p.lead { "Release-ready masters. Every file checked, every change explained." }
        }
        lm-upload
            data-most-bytes=(limits.bytes)
            data-days=(home.guest_days)
            data-tracks-left=[left(frame)]
        {
            section.drop aria-label="Your mixes" {
                (icon("upload"))
                p.big { "Drop your mixes here" }
                p {
                    label.button.primary for="files" { "Choose files" }
                    input #files.visually-hidden type="file" name="files" multiple aria-label="Choose files"
                        accept="audio/*,.wav,.aif,.aiff,.aifc,.flac,.mp3,.m4a,.ogg,.oga,.opus,.caf,.rf64,.bwf" aria-describedby="drop-facts";
                }
                p #drop-facts.muted {
                    "WAV, AIFF, FLAC, MP3, M4A or OGG, up to " (minutes(limits.seconds)) " and " (size(limits.bytes)) " per track. "
                    @match (frame.signed_in(), allowed(frame)) {
                        (true, _) => {},
                        (false, Some(tracks)) => { (count(tracks, "track")) " a day, free; more with an account." },
                        (false, None) => "Free; more tracks a day with an account.",
                    }
                }
                noscript {
                    p.notice.bad { (icon("warning")) span {
                        "Uploading in pieces that survive a lost connection takes JavaScript, and it is switched off here. "
                        "Switch it on for this site, or use the " a href="/api" { "API" } "."
                    } }
                }
            }
            div.queue data-queue hidden {}
            form #wishes.wishes autocomplete="off" {
                (wishes(frame, &Settings::default(), &home.destinations, true))
                div.go data-go hidden {
                    button.button.primary type="submit" { "Master" }
                    p.muted data-go-note {}
                }
            }
        }
        (quota(frame, home))
        (demo())
        (promises(frame, home))
    };
    frame.page("home", "", about, &main)
}

/// How many tracks may be sent in a day.
fn allowed(frame: &Frame<'_>) -> Option<u64> {
    Some(frame.me.quotas.get("tracks_a_day")?.limit)
}

/// How many tracks may still be sent today.
pub(super) fn left(frame: &Frame<'_>) -> Option<u64> {
    let Quota { limit, used } = *frame.me.quotas.get("tracks_a_day")?;
    Some(limit.saturating_sub(used))
}

fn quota(frame: &Frame<'_>, _: &Home) -> Markup {
    html! {
        @if let Some(left) = left(frame) {
            @if left < 20 {
                p.muted.quota {
                    @if left == 0 { "You have used today’s tracks; new ones can be mastered tomorrow. Uploads wait meanwhile." }
                    @else { "You can master " (count(left, "more track")) " today." }
                }
            }
        }
    }
}

/// The fields of [`crate::wishes`]. `whole`: also what only makes sense before the first master.
pub(super) fn wishes(frame: &Frame<'_>, now: &Settings, destinations: &[Destination], whole: bool) -> Markup {
    let chosen = |codec: &str| {
        if *now == Settings::default() {
            DELIVERED.contains(&codec)
        } else {
            now.formats.iter().any(|f| f.to_string() == codec)
        }
    };
    html! {
        @if frame.signed_in() { (presets()) }
        fieldset.styles {
            legend { "Style" }
            div.pills {
                @for style in [Style::Balanced, Style::Warm, Style::Open, Style::Punchy, Style::Loud, Style::Gentle] {
                    label.pill title=(style_note(style)) {
                        input type="radio" name="style" value=(style.name()) checked[style == now.style] data-note=(style_note(style));
                        span { (capital(style.name())) }
                    }
                }
            }
            p.muted.note data-style-note aria-live="polite" { (style_note(now.style)) }
        }
        div.row {
            (loudness(now, destinations))
            div.field.strength {
                label for="strength" { "Strength" }
                div.slider {
                    input #strength type="range" name="strength" min="0" max="100" step="5" value=(now.strength.overall) data-percent;
                    output for="strength" { (now.strength.overall) }
                }
                p.muted.ends { span { "subtle" } span { "full" } }
            }
            @if whole {
                div.field.reference {
                    label for="reference" { "Reference" }
                    div.picked data-reference {
                        label.button for="reference" { (icon("plus")) "Add a record you love" }
                        input #reference.visually-hidden type="file" name="reference" accept="audio/*,.wav,.aif,.aiff,.flac,.mp3,.m4a,.ogg,.opus";
                    }
                    p.muted { "We match its tone and loudness. The file itself stays private." }
                }
            }
        }
        details.more {
            summary { "More options" span.muted { " formats, ceiling, fine-tuning" } }
            fieldset {
                legend { "Files" }
                div.checks {
                    @for role in OFFERED {
                        label.check {
                            input type="checkbox" name="format" value=(role) checked[chosen(role)];
                            span { (format_name(role)) span.muted { (format_note(role)) } }
                        }
                    }
                }
            }
            fieldset {
                legend { "Fine-tune" }
                p.muted { "Blank follows Strength; 0 leaves that aspect untouched." }
                div.row.four {
                    @for aspect in Aspect::ALL {
                        @let name = if aspect == Aspect::Loudness { "loudness_strength" } else { aspect.name() };
                        div.field {
                            label for={ "only-" (name) } { (capital(aspect.name())) }
                            input id={ "only-" (name) } type="number" inputmode="numeric" name=(name) min="0" max="100" step="1" placeholder="as above" value=[of(now, aspect)];
                        }
                    }
                }
            }
            div.row.four {
                div.field {
                    label for="material" { "Kind of recording" }
                    select #material name="material" {
                        option value="" { "Detect automatically" }
                        @for kind in Material::ALL {
                            option value=(kind.name()) selected[now.material == Some(kind)] { (material_name(kind)) }
                        }
                    }
                }
                div.field {
                    label for="ceiling" { "True-peak ceiling, dBTP" }
                    input #ceiling type="text" inputmode="decimal" name="ceiling" placeholder="−1.0" value=[now.ceiling.map(|c| number(c.0))];
                }
                div.field {
                    label for="rate" { "Sample rate" }
                    select #rate name="rate" {
                        option value="" { "As the mix" }
                        @for (value, name) in [("44100", "44.1 kHz"), ("48000", "48 kHz"), ("96000", "96 kHz")] { option value=(value) selected[value.parse().ok() == Some(now.rate)] { (name) } }
                    }
                }
                div.field {
                    label for="phase" { "Tone filter" }
                    select #phase name="phase" {
                        option value="" { "Minimum phase" }
                        option value="linear" selected[now.phase == Phase::Linear] { "Linear phase" }
                    }
                }
            }
            fieldset {
                legend { "Fix first" }
                p.muted { "Only what your mix needs is changed; the report says what." }
                div.checks {
                    @for fix in Fix::ALL {
                        label.check {
                            input type="checkbox" name="fix" value=(fix.name()) checked[now.fix.contains(&fix)];
                            span { (fix_name(fix)) }
                        }
                    }
                }
            }
            label.check {
                input type="checkbox" name="insist" checked[now.insist];
                span { "Reach the target even if it needs heavier limiting" }
            }
        }
        (tags(&now.tags, whole))
    }
}

/// Settings under a name; the script fetches them when this is opened.
fn presets() -> Markup {
    html! {
        details.more.presets.scripted data-presets {
            summary { "Presets" span.muted { " your settings under a name" } }
            div.row {
                div.field {
                    label for="preset" { "Use a preset" }
                    select #preset data-preset { option value="" { "Choose …" } }
                }
                div.field {
                    label for="preset-name" { "Save the settings below as" }
                    div.joined {
                        input #preset-name type="text" maxlength="64" autocomplete="off" data-preset-name;
                        button.button type="button" data-preset-save { "Save" }
                    }
                }
            }
            p.muted data-preset-said role="status" {}
        }
    }
}

/// What the files say about themselves. `all`: for every track that is sent, so without what belongs to one alone.
fn tags(now: &TagWishes, all: bool) -> Markup {
    let one = [("title", "Title", now.title.as_deref()), ("isrc", "ISRC", now.isrc.as_deref())];
    let every = [
        ("artist", "Artist", now.artist.as_deref()),
        ("album", "Album", now.album.as_deref()),
        ("album_artist", "Album artist", now.album_artist.as_deref()),
        ("date", "Date or year", now.date.as_deref()),
        ("genre", "Genre", now.genre.as_deref()),
    ];
    // What has no field here goes along as it is.
    let texts = [
        ("composer", &now.composer),
        ("copyright", &now.copyright),
        ("publisher", &now.publisher),
        ("comment", &now.comment),
    ];
    let numbers = [("track", now.track), ("tracks", now.tracks), ("disc", now.disc), ("discs", now.discs)];
    html! {
        @for (name, value) in texts { @if let Some(value) = value { input type="hidden" name=(name) value=(value); } }
        @for (name, value) in numbers { @if let Some(value) = value { input type="hidden" name=(name) value=(value); } }
        details.more.tags {
            @if all { summary { "Artist, album, year" span.muted { " written into the files" } } }
            @else { summary { "Title, artist, ISRC" span.muted { " written into the files" } } }
            p.muted { "Blank keeps what the mix says." @if all { " The same for all tracks; each one’s title and ISRC go on its own page." } }
            div.row {
                @for (name, label, value) in one.iter().filter(|_| !all).chain(&every) {
                    div.field {
                        label for={ "tag-" (name) } { (label) }
                        input id={ "tag-" (name) } type="text" name=(name) value=[value] data-blank[*value == Some("")] maxlength=(LONGEST_TAG) autocomplete="off" placeholder=[(*name == "isrc").then_some("DE-A12-26-00001")];
                    }
                }
            }
        }
    }
}

fn material_name(kind: Material) -> &'static str {
    match kind {
        Material::Speech => "Speech",
        Material::Classical => "Solo or classical",
        Material::Acoustic => "Jazz or acoustic",
        Material::Band => "Band",
        Material::Electronic => "Dense electronic",
        Material::Mastered => "Mastered already",
    }
}

fn fix_name(fix: Fix) -> &'static str {
    match fix {
        Fix::Polarity => "Flip an inverted channel",
        Fix::Balance => "Balance a weak or silent channel",
        Fix::Dc => "Remove DC offset",
    }
}

fn of(now: &Settings, aspect: Aspect) -> Option<u8> {
    match aspect {
        Aspect::Tone => now.strength.tone,
        Aspect::Dynamics => now.strength.dynamics,
        Aspect::Width => now.strength.width,
        Aspect::Loudness => now.strength.loudness,
    }
}

fn format_note(role: &str) -> &'static str {
    match role.parse::<Format>().map(|format| format.codec) {
        Ok(Codec::Wav24) => " for distributors",
        Ok(Codec::Wav16) => " for CD and older stores",
        Ok(Codec::Wav32f) => " for further editing",
        Ok(Codec::Flac24) => " same sound, half the size",
        Ok(Codec::Mp3Cbr320) => " for sharing",
        Ok(Codec::Mp3V0) => " smaller",
        _ => "",
    }
}

fn loudness(now: &Settings, destinations: &[Destination]) -> Markup {
    let (key, custom) = match &now.loudness {
        Loudness::Style => ("", None),
        Loudness::Lufs(lufs) => ("custom", Some(number(lufs.0))),
        Loudness::Destination(key) => (key.as_str(), None),
    };
    html! {
        div.field.loudness {
            label for="loudness" { "Loudness" }
            div.joined {
                select #loudness name="loudness" data-loudness {
                    option value="" selected[key.is_empty()] { "Let the style decide" }
                    @for row in destinations {
                        option value=(row.key) selected[row.key == key] data-note=(row.note) {
                            (row.name)
                            @if let Some(target) = row.target { " " (number(target)) }
                        }
                    }
                    option value="custom" selected[custom.is_some()] { "A number …" }
                }
                span.suffix data-custom hidden[custom.is_none()] {
                    input type="text" inputmode="decimal" name="lufs" aria-label={ "Loudness in LUFS" } placeholder="−14" value=[custom.as_deref()];
                    span { "LUFS" }
                }
            }
            p.muted.note data-loudness-note aria-live="polite" { "As loud as this style and recording allow. Balanced usually lands near −12 LUFS." }
        }
    }
}

/// The waveforms of the demo, drawn from the same files that are played.
const DEMO: &str = include_str!("demo.svg");

fn demo() -> Markup {
    html! {
        section.demo aria-labelledby="demo" {
            div.titled {
                h2 #demo { "Hear it first" }
                p.keys { span.key.mix { "Mix" } span.key.master { "Master" } }
            }
            lm-demo data-mix="/demo/mix.opus" data-master="/demo/master.opus" data-gain=(DEMO_GAIN) data-seconds=(DEMO_SECONDS) {
                div.wave aria-hidden="true" { (PreEscaped(DEMO)) }
                div.plain {
                    div.audio { p { "A · Mix" } audio controls preload="none" src="/demo/mix.opus" {} }
                    div.audio { p { "B · Master" } audio controls preload="none" src="/demo/master.opus" {} }
                }
            }
            p.muted.credit {
                span.scripted { "Levels matched: the master plays " (number(DEMO_GAIN.abs())) (THIN) "dB lower here, so you compare sound, not loudness. " }
                "Music: “Onion” by Skiessi, an excerpt, mastered with the default settings, "
                a href="https://creativecommons.org/licenses/by-sa/4.0/" rel="license noreferrer" { "CC BY-SA 4.0" } "."
            }
        }
    }
}

/// How much louder the demo's master is than its mix, dB.
const DEMO_GAIN: f64 = 9.1;
/// Length of the demo.
const DEMO_SECONDS: f64 = 7.0;

fn promises(frame: &Frame<'_>, home: &Home) -> Markup {
    html! {
        section.promises aria-label="What you can count on" {
            div {
                h2 { "Nothing hidden" }
                p { "You see every move in plain words and curves: what was cut, what was lifted, how hard the limiter worked. If your mix has a problem, we say where and how to fix it." }
            }
            div {
                h2 { "Measured, not assumed" }
                p { "Each file is decoded again and measured: loudness, true peaks, length. What misses its target is made again." }
            }
            div {
                h2 { "Yours" }
                p {
                    @if frame.signed_in() { "Your songs stay " (stay(home.account_days)) ", and when you delete a song, it is gone." }
                    @else if home.guest_days > 0 { "Without an account, tracks are deleted after " (count(home.guest_days.into(), "day")) ". With an account they stay " (stay(home.account_days)) "." }
                    @else { "Your songs are private, and when you delete a song, it is gone." }
                    " No trackers, no ads, nothing sold. " a href="/privacy" { "How we handle your data" } "."
                }
            }
        }
    }
}

/// How long songs of accounts stay.
fn stay(account_days: u32) -> String {
    match account_days {
        0 => "until you delete them".to_owned(),
        days => format!("for {}, and a mail tells you 30 days before", count(days.into(), "day")),
    }
}

/// `30 minutes`, `4 hours`.
fn minutes(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    if minutes >= 120 && minutes.is_multiple_of(60) { count(minutes / 60, "hour") } else { count(minutes, "minute") }
}
