//! One master: its stages while it is made, then everything there is to hear, see and take away.

use super::icons::icon;
use super::layout::{Frame, date, time};
use super::sentence;
use super::text::{THIN, capital, clock, count, format_name, number, size, wishes as in_a_breath, word};
use super::versions::{Job, another, comparable, in_words, versions};
use super::view::{Artifact, Finding, Master, Outcome, Reason, State};
use loopmaster_core::Stage;
use maud::{Markup, html};

/// What a shared page shows.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// The master; previews only.
    pub master: Master,
}

/// Reasons of one aspect that are shown at once.
const SHOWN: usize = 2;

/// `/m/<master>`
#[must_use]
pub fn master(frame: &Frame<'_>, job: &Job) -> Markup {
    let master = &job.master;
    let main = html! {
        lm-job data-id=(master.id) data-state=(word(master.state)) data-version=(master.version) {
            (head(master))
            (progress(master))
            @match (master.state, &master.result) {
                (State::Done, Some(result)) => {
                    (player(master, result, comparable(job), false))
                    (in_words(job))
                    (versions(job))
                    (another(frame, job))
                    (glance(result))
                    (found(&result.findings))
                    div.columns {
                        (account(result))
                        (plots(master))
                    }
                    (downloads(frame, master))
                    (sharing(frame, job))
                }
                (State::Failed, _) => { (failed(frame, job)) (versions(job)) }
                (State::Cancelled, _) => {
                    p.lead { "You stopped this one. The upload is still here." }
                    (versions(job))
                    (another(frame, job))
                }
                (State::Done, None) => p.lead { "The files are ready and their description is on its way. Reload the page in a moment." },
                (State::Waiting | State::Running, result) => {
                    @if let Some(result) = result {
                        (player(master, result, None, false))
                        (found(&result.findings))
                    }
                    (versions(job))
                    p.muted data-hint { "You can close this page. " @if frame.signed_in() { "Your master will be in your library." } @else { "Your master will be in this browser’s library." } }
                    form method="post" action={ "/m/" (master.id) "/cancel" } data-api={ "POST /v1/masters/" (master.id) "/cancel" } data-then="reload" {
                        button.button { "Stop" }
                    }
                }
            }
            (end(frame, master))
        }
    };
    frame.page("job", &master.title, "", &main)
}

/// `/s/<share>`
#[must_use]
pub fn share(frame: &Frame<'_>, shared: &Shared) -> Markup {
    let master = &shared.master;
    let main = html! {
        lm-job data-id="" data-state=(word(master.state)) data-shared {
            (head(master))
            @if let Some(result) = &master.result {
                (player(master, result, None, true))
                (glance(result))
                (found(&result.findings))
                // A share may come without reasons and drawings: nothing is said then, instead of that nothing was done.
                div.columns {
                    @if !result.reasons.is_empty() { (account(result)) }
                    @if url(master, "plot", "spectrum").is_some() { (plots(master)) }
                }
            } @else {
                p.lead { "There is nothing to hear yet. Ask whoever sent you the link to look again." }
            }
            p.pitch { "Made with LoopMastering. " a href="/" { "Master a mix of your own" } }
        }
    };
    frame.page("job", &master.title, "A mix and its master, level-matched.", &main)
}

fn head(master: &Master) -> Markup {
    let title = if master.title.trim().is_empty() { "Untitled" } else { master.title.trim() };
    html! {
        div.head {
            @if let Some(batch) = &master.batch { p.crumb { a href={ "/b/" (batch) } { "All tracks of this batch" } } }
            h1 dir="auto" class=[(title.chars().count() > 40).then_some("long")] { (title) }
            p.facts {
                @if let Some(seconds) = master.seconds { span.muted { (clock(seconds)) } }
                span.muted { (in_a_breath(&master.settings)) }
            }
        }
    }
}

/// The six stages as a list; the script moves it on.
fn progress(master: &Master) -> Markup {
    let running = master.stage.as_deref().and_then(|stage| Stage::ALL.iter().position(|known| known.name() == stage));
    let failed = master.error.as_ref().and_then(|error| {
        let stage = error.code.split('.').next()?;
        Stage::ALL.iter().position(|known| known.name() == stage)
    });
    let times = master.result.as_ref().map(|result| result.stages.as_slice()).unwrap_or_default();
    let state = |at: usize| match master.state {
        State::Done => "done",
        State::Running => match running {
            Some(now) if at < now => "done",
            Some(now) if at == now => "now",
            _ => "todo",
        },
        State::Failed => match failed {
            Some(now) if at < now => "done",
            Some(now) if at == now => "failed",
            _ => "todo",
        },
        State::Waiting | State::Cancelled => "todo",
    };
    let all: f64 = times.iter().map(|time| time.seconds).sum();
    if master.state == State::Done {
        return html! {
            details.progress.over {
                summary {
                    span.good { (icon("verified")) }
                    @if all > 0.0 { "Mastered in " (number(all)) (THIN) "s · verified" } @else { "Mastered · verified" }
                }
                ol.stages aria-label="Stages" {
                    @for stage in Stage::ALL {
                        li.done data-stage=(stage.name()) {
                            span.dot aria-hidden="true" {}
                            (stage.name())
                            @if let Some(time) = times.iter().find(|time| time.stage == stage.name()) {
                                " " span.muted { (number(time.seconds)) (THIN) "s" }
                            }
                        }
                    }
                }
            }
        };
    }
    html! {
        div.progress data-progress {
            ol.stages aria-label="Stages" {
                @for (at, stage) in Stage::ALL.iter().enumerate() {
                    @let how = state(at);
                    li class=(how) data-stage=(stage.name()) aria-current=[(how == "now").then_some("step")] {
                        span.dot aria-hidden="true" {}
                        (stage.name())
                        span.visually-hidden { @match how { "done" => " done", "now" => " under way", "failed" => " failed", _ => " to come" } }
                    }
                }
            }
            p.said data-said role="status" {
                @match master.state {
                    State::Waiting if master.waits_for.as_deref() == Some("album") => "Waits until the other songs of the album have been heard",
                    State::Waiting => { @match master.queue_position { Some(n) if n > 0 => { (count(n, "track")) " before yours" }, _ => "Next in line" } },
                    State::Running => "Working",
                    State::Done => "Done",
                    State::Failed => "Stopped",
                    State::Cancelled => "Stopped by you",
                }
            }
        }
    }
}

fn url<'a>(master: &'a Master, kind: &str, role: &str) -> Option<&'a str> {
    master.artifacts.iter().find(|a| a.kind == kind && a.role == role).and_then(|a| a.url.as_deref())
}

/// Where the player finds its sounds, and something to play without script.
///
/// `versions`: others of the song that can be heard beside it.
fn player(master: &Master, result: &Outcome, versions: Option<String>, shared: bool) -> Markup {
    let side = |whole, excerpt| url(master, "preview", whole).or_else(|| url(master, "preview", excerpt));
    let (mix, mastered) = (side("mix", "mix-excerpt"), side("master", "master-excerpt"));
    let excerpt = result.preview.excerpt;
    let figures = result.figures;
    let loudness = figures.master.lufs.zip(figures.mix.lufs).map(|(master, mix)| master - mix);
    let louder = result.preview.mix_gain_db.or(loudness);
    let seconds = figures.master.seconds.or(master.seconds).unwrap_or_default();
    let take = delivered(master).into_iter().find(|file| file.kind == "master").filter(|_| !shared);
    html! {
        lm-player
            data-id=(master.id)
            data-excerpt=[excerpt.map(|part| format!("{:.3} {:.3}", part.start, part.seconds))]
            data-mix=[mix]
            data-master=[mastered]
            data-mix-peaks=[url(master, "waveform", "mix")]
            data-master-peaks=[url(master, "waveform", "master")]
            data-name=(capital(master.settings.style.name()))
            data-lufs=[master.lufs.map(number)]
            data-versions=[versions]
            data-louder=[louder.map(|db| format!("{db:.2}"))]
            data-start=[result.preview.loudest_start.map(|at| format!("{at:.3}"))]
            data-seconds=(format!("{seconds:.3}"))
            data-title=(master.title)
            data-shared[shared]
            data-take=[take.map(|file| file.id.as_str())]
            data-take-name=[take.map(|file| file.name.as_str())]
            data-take-size=[take.map(|file| size(file.bytes))]
        {
            div.plain {
                @if let Some(mix) = mix { div.audio { p { "A · Mix" } audio controls preload="none" src=(mix) {} } }
                @if let Some(mastered) = mastered { div.audio { p { "B · Master" } audio controls preload="none" src=(mastered) {} } }
                @if mix.is_none() && mastered.is_none() { p.muted { "There is no preview of this one." } }
            }
        }
    }
}

fn severity(finding: &Finding) -> (&'static str, &'static str, &'static str) {
    match finding.severity.as_str() {
        "problem" => ("problem", "warning", "Problem"),
        "advice" | "warning" => ("advice", "info", "Worth fixing"),
        _ => ("note", "info", "Good to know"),
    }
}

fn found(findings: &[Finding]) -> Markup {
    html! {
        @if !findings.is_empty() {
            section.findings aria-labelledby="found" {
                h2 #found { "In your mix" }
                ol {
                    @for (index, finding) in findings.iter().enumerate() {
                        @let (class, symbol, name) = severity(finding);
                        li class=(class) data-at=[finding.seconds.map(|at| format!("{at:.3}"))] data-number=(index + 1) {
                            (icon(symbol))
                            div {
                                p {
                                    strong { (name) ". " }
                                    (finding.text) " "
                                    @if let Some(at) = finding.seconds {
                                        span.at data-seek=(format!("{at:.3}")) { (clock(at)) }
                                    }
                                }
                                @if !finding.advice.is_empty() { p.muted { (finding.advice) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A value of a reason, as words.
fn said(value: Option<&serde_json::Value>) -> Option<String> {
    match value? {
        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
        serde_json::Value::Number(figure) => figure.as_f64().map(number),
        _ => None,
    }
}

/// What was done and why.
fn account(result: &Outcome) -> Markup {
    html! {
        section.account aria-labelledby="did" {
            h2 #did { "What we did" }
            @if result.reasons.is_empty() { p { "Nothing: the mix was already where it should be." } }
            ul.reasons {
                @for (aspect, reasons) in by_aspect(&result.reasons) {
                    @let (first, rest) = reasons.split_at(reasons.len().min(SHOWN));
                    li {
                        span.aspect { (capital(aspect)) }
                        div {
                            @for reason in first { (done(reason)) }
                            @if !rest.is_empty() {
                                details {
                                    summary { (count(rest.len() as u64, "more change")) span.visually-hidden { " of " (aspect) } }
                                    @for reason in rest { (done(reason)) }
                                }
                            }
                        }
                    }
                }
            }
            @if let Some(why) = &result.target.stopped_early { p.muted { (why) } }
        }
    }
}

fn done(reason: &Reason) -> Markup {
    let (before, after) = (said(reason.before.as_ref()), said(reason.after.as_ref()));
    html! {
        p {
            (reason.text)
            @if let (Some(before), Some(after)) = (before, after) {
                " " span.change {
                    span.mix { (before) } span.visually-hidden { " to " } span aria-hidden="true" { " → " } span.master { (after) }
                    @if let Some(unit) = &reason.unit { (THIN) (unit) }
                }
            }
        }
    }
}

/// How many dB a reason is about: the change it names, or the first figure of its text.
fn weight(reason: &Reason) -> f64 {
    let figure = |value: &Option<serde_json::Value>| value.as_ref().and_then(serde_json::Value::as_f64);
    let told = figure(&reason.before).zip(figure(&reason.after)).map(|(before, after)| (after - before).abs());
    let text = reason.text.split("dB").next().filter(|text| text.len() < reason.text.len());
    let written = text.and_then(|text| text.trim_end().rsplit(char::is_whitespace).next()?.parse::<f64>().ok());
    told.or(written).unwrap_or_default()
}

/// Each aspect once, and in it and among them what changed most first.
fn by_aspect(reasons: &[Reason]) -> Vec<(&str, Vec<&Reason>)> {
    // There are a dozen: put in its place, each costs less room in the component than a sort.
    let mut sorted: Vec<&Reason> = Vec::new();
    for reason in reasons {
        let place = sorted.iter().take_while(|before| weight(before) >= weight(reason)).count();
        sorted.insert(place, reason);
    }
    let mut groups: Vec<(&str, Vec<&Reason>)> = Vec::new();
    for reason in sorted {
        match groups.iter_mut().find(|(aspect, _)| *aspect == reason.aspect) {
            Some((_, group)) => group.push(reason),
            None => groups.push((&reason.aspect, vec![reason])),
        }
    }
    groups
}

/// Four figures before and after, and what they mean in a sentence.
fn glance(result: &Outcome) -> Markup {
    let rows = [
        ("Loudness", "LUFS", result.figures.mix.lufs, result.figures.master.lufs),
        ("True peak", "dBTP", result.figures.mix.dbtp, result.figures.master.dbtp),
        ("Punch, peak over loudness", "dB", result.figures.mix.plr, result.figures.master.plr),
        ("Loudness range", "LU", result.figures.mix.lra, result.figures.master.lra),
    ];
    html! {
        section.glance aria-labelledby="glance" {
            h2.visually-hidden #glance { "Before and after" }
            @if let Some(story) = story(result) { p.story { (story) } }
            dl.numbers {
                @for (name, unit, before, after) in rows {
                    @if before.is_some() || after.is_some() {
                        div {
                            dt { (name) }
                            dd {
                                @if let Some(before) = before {
                                    span.mix { (number(before)) } span.visually-hidden { " to " } span aria-hidden="true" { " → " }
                                }
                                strong { (after.map_or_else(|| "–".to_owned(), number)) }
                                span.unit { (THIN) (unit) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What happened to the song, as somebody would say it.
fn story(result: &Outcome) -> Option<String> {
    let (mix, master) = (result.figures.mix, result.figures.master);
    let louder = match master.lufs? - mix.lufs? {
        db if db >= 0.25 => format!("{}{THIN}dB louder", number(db)),
        db if db <= -0.25 => format!("{}{THIN}dB quieter", number(-db)),
        _ => "As loud as your mix".to_owned(),
    };
    let punch = master.plr.map(|plr| format!(", with {}{THIN}dB of punch left", number(plr))).unwrap_or_default();
    let peaks = master.dbtp.map(|dbtp| format!(" and peaks at {}{THIN}dBTP", number(dbtp))).unwrap_or_default();
    Some(format!("{louder}{punch}{peaks}."))
}

/// The engine's drawings; fetched by the script, which makes tabs of them.
fn plots(master: &Master) -> Markup {
    let plots = [
        ("spectrum", "Spectrum", "Before, after, target."),
        ("loudness", "Loudness", "Over the length of the song."),
        ("reduction", "Gain reduction", "How much the limiter took away, and when."),
    ];
    let report = url(master, "report", "html");
    html! {
        section.plots aria-labelledby="curves" {
            div.titled {
                h2 #curves { "Curves" }
                p.keys { span.key.mix { "Mix" } span.key.master { "Master" } span.key.target { "Target" } }
            }
            lm-plots {
                @for (role, name, note) in plots {
                    @if let Some(url) = url(master, "plot", role) {
                        div data-plot=(role) data-src=(url) data-name=(name) {
                            figure {
                                figcaption { strong { (name) } " " span.muted { (note) } }
                                noscript { img src=(url) alt={ (name) " of the mix and the master" } loading="lazy"; }
                            }
                        }
                    }
                }
            }
            @if let Some(report) = report {
                p { a href=(report) data-fresh="report html" { "Full report" } span.muted { " with every figure; prints on two pages" } }
            }
        }
    }
}

/// What can be taken away: music first, then the words for people, then those for programs. The figures of the previews are of use to
/// the player alone.
fn delivered(master: &Master) -> Vec<&Artifact> {
    let rank = |file: &Artifact| match (file.kind.as_str(), file.role.as_str()) {
        // What a distributor wants stands first.
        ("master", role) if role.starts_with("wav24") => Some(0),
        ("master", _) => Some(1),
        ("report", "html") => Some(2),
        ("report", _) => Some(3),
        ("data", "manifest") => Some(4),
        _ => None,
    };
    let mut files: Vec<_> = master.artifacts.iter().filter(|file| rank(file).is_some()).collect();
    files.sort_by_key(|file| rank(file));
    files
}

fn downloads(frame: &Frame<'_>, master: &Master) -> Markup {
    let files = delivered(master);
    let name = |file: &Artifact| match (file.kind.as_str(), file.role.as_str()) {
        ("master", role) => format_name(role),
        ("report", "json") => "Report (JSON)".to_owned(),
        ("report", _) => "Report".to_owned(),
        ("data", "manifest") => "Checksums".to_owned(),
        (_, role) => capital(role),
    };
    html! {
        section.downloads aria-labelledby="take" {
            h2 #take { "Downloads" }
            @if !frame.signed_in() {
                p.muted { "Sign in to download. Pick a file; we email you a code, and the download starts." }
            }
            ul.files {
                @for file in files {
                    li {
                        a.button.file href=(file.url.clone().unwrap_or_else(|| frame.sign_in())) data-artifact=(file.id) data-kind=(file.kind) data-name=(file.name) data-fresh=[(file.kind == "report").then(|| format!("{} {}", file.kind, file.role))] {
                            (icon("download")) span { (name(file)) }
                        }
                        span.size { (size(file.bytes)) }
                        @if !file.sha256.is_empty() {
                            details.sum {
                                summary { "SHA-256" span.visually-hidden { " of " (name(file)) } }
                                code { (file.sha256) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn failed(frame: &Frame<'_>, job: &Job) -> Markup {
    let error = job.master.error.clone().unwrap_or_default();
    html! {
        section.failure aria-labelledby="failed" {
            h2 #failed { (icon("warning")) " This one could not be mastered" }
            p.lead { (sentence(&error.code, &serde_json::Value::Null)) }
            @if error.code.starts_with("decode.") { p { a.button.primary href="/" { "Upload another export" } } }
            p.muted {
                "Code " code { (if error.code.is_empty() { "unknown" } else { &error.code }) } ". Not clear? "
                a href={ "/contact?topic=question&about=" (job.master.id) } { "Contact us" } "; we will see the code."
            }
        }
        @if !error.code.starts_with("decode.") { (another(frame, job)) }
    }
}

fn sharing(frame: &Frame<'_>, job: &Job) -> Markup {
    let id = &job.master.id;
    html! {
        section.sharing aria-labelledby="sharing" {
            h2 #sharing { "Share" }
            p.muted { "Anyone with the link can listen, not download. Turn it off at any time." }
            form method="post" action={ "/m/" (id) "/share" } data-share=(id) {
                button.button { (icon("share")) "Make a link" }
            }
            ul.links data-shares {
                @for share in &job.shares {
                    li {
                        @if let Some(url) = &share.url { a href=(url) { (url) } } @else { span { "Link of " (date(&share.created_at)) } }
                        form method="post" action={ "/m/" (id) "/share" } data-api={ "DELETE /v1/shares/" (share.id) } data-then="remove" {
                            input type="hidden" name="remove" value=(share.id);
                            button.quiet { "Turn off" }
                        }
                    }
                }
            }
            @if !frame.signed_in() { p.muted { "The link expires with this track." } }
        }
    }
}

fn end(frame: &Frame<'_>, master: &Master) -> Markup {
    html! {
        div.end {
            p.muted {
                @if let Some(source) = &master.upload { "From " bdi { (source.name) } ", " (size(source.bytes)) ". " }
                @if !master.created_at.is_empty() { "Sent " (time(&master.created_at)) ". " }
                @if let Some(expires) = &master.expires_at {
                    "Kept until " (time(expires)) ". "
                    @if !frame.signed_in() { a href=(frame.sign_in()) { "Sign in to keep it" } }
                }
            }
            form method="post" action={ "/m/" (master.id) "/delete" } data-delete=(master.id) {
                label.check { input type="checkbox" name="keep_mix" value="on"; span { "Keep the mix" } }
                button.quiet.danger { (icon("trash")) "Delete" }
                p.muted { "The mix is deleted too, unless you keep it or another master uses it." }
            }
        }
    }
}
