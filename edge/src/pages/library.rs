//! The library, and the page of one batch or album: rows of masters that are selected, searched, played and taken away together.

use super::icons::icon;
use super::layout::{Frame, date};
use super::sentence;
use super::text::{THIN, clock, count, lufs, number, size, wishes, word};
use super::view::{Batch, Master, Masters, Mix, State};
use maud::{Markup, html};

/// What the library shows.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// `GET /v1/masters`.
    pub masters: Masters,
    /// What was searched for.
    pub q: String,
    /// Sorted by: `newest`, `oldest`, `title`, `longest`; empty: newest.
    pub sort: String,
    /// Only this state; empty: all.
    pub state: String,
    /// Whether this is not the first page.
    pub further: bool,
    /// `GET /v1/uploads?kept=true`: mixes that were kept when their masters were deleted.
    pub kept: Vec<Mix>,
}

/// Sorts the API knows, and what they are called.
const SORTS: [(&str, &str); 4] =
    [("newest", "Newest"), ("oldest", "Oldest"), ("title", "Title"), ("longest", "Longest")];
const STATES: [(&str, &str); 5] =
    [("", "All"), ("done", "Done"), ("running", "Under way"), ("waiting", "Waiting"), ("failed", "Failed")];

/// `/library`
#[must_use]
pub fn library(frame: &Frame<'_>, library: &Library) -> Markup {
    let items = &library.masters.items;
    let filtered = !library.q.is_empty() || !library.state.is_empty();
    let main = html! {
        div.titled {
            h1 { "Library" }
            a.button.primary href="/" { (icon("plus")) "Master more" }
        }
        @if !frame.signed_in() {
            p.notice { (icon("info")) span {
                "These tracks live in this browser and are deleted after a few days. "
                a href=(frame.sign_in()) { "Sign in" } " to keep them and to download the masters."
            } }
        }
        @if items.is_empty() && !filtered && !library.further && library.kept.is_empty() {
            div.empty {
                p.lead { "Nothing here yet." }
                p { "Drop a mix on the " a href="/" { "first page" } "; its master appears here while it is made." }
            }
        } @else {
            lm-library data-signed-in[frame.signed_in()] {
                form.search method="get" action="/library" role="search" {
                    span.joined {
                        label.visually-hidden for="q" { "Search your songs" }
                        (icon("search"))
                        input #q type="search" name="q" value=(library.q) placeholder="Search titles" autocomplete="off";
                    }
                    label { "Show " select name="state" { @for (value, name) in STATES { option value=(value) selected[value == library.state] { (name) } } } }
                    label { "Sort " select name="sort" { @for (value, name) in SORTS { option value=(value) selected[value == library.sort] { (name) } } } }
                    button.button data-plain { "Search" }
                }
                @if items.is_empty() { p.empty { "No matches. " a href="/library" { "Show all" } } }
                @else { (table(items, false)) }
                @if let Some(next) = &library.masters.next {
                    p.pages { a.button rel="next" href=(next_page(library, next)) { "Show more" } }
                }
            }
        }
        @if !library.kept.is_empty() { (kept(&library.kept)) }
    };
    frame.page("library", "Library", "", &main)
}

/// Mixes without a master that their owner chose to keep.
fn kept(mixes: &[Mix]) -> Markup {
    html! {
        section.kept aria-labelledby="kept" {
            h2 #kept { "Kept mixes" }
            p.muted { "You deleted the masters of these and kept the mixes. They count towards your storage until you delete them." }
            ul {
                @for mix in mixes {
                    li {
                        form method="post" action="/library/mix" {
                            input type="hidden" name="id" value=(mix.id);
                            bdi { (mix.name) } " " span.muted { (size(mix.bytes)) }
                            @if let Some(expires) = &mix.expires_at { span.muted.expires { " until " (date(expires)) } }
                            " "
                            button.button name="action" value="master" { "Master it" span.visually-hidden { ": " (mix.name) } }
                            " "
                            button.quiet.danger name="action" value="delete" { (icon("trash")) "Delete" span.visually-hidden { " the mix " (mix.name) } }
                        }
                    }
                }
            }
        }
    }
}

fn next_page(library: &Library, cursor: &str) -> String {
    let prefix = "/library?";
    let mut query = form_urlencoded::Serializer::for_suffix(prefix.to_owned(), prefix.len());
    for (name, value) in
        [("q", library.q.as_str()), ("sort", &library.sort), ("state", &library.state), ("cursor", cursor)]
    {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

/// `/b/<batch>`
#[must_use]
pub fn batch(frame: &Frame<'_>, batch: &Batch) -> Markup {
    let items = &batch.items;
    let ended = items.iter().filter(|m| !matches!(m.state, State::Waiting | State::Running)).count();
    let done = items.iter().filter(|m| m.state == State::Done).count();
    let failed = items.iter().filter(|m| m.state == State::Failed).count();
    // Another master of the same mix is a version, not another track.
    let first =
        |at: usize| mix(&items[at]).is_none_or(|song| !items[..at].iter().any(|other| mix(other) == Some(song)));
    let songs = (0..items.len()).filter(|at| first(*at)).count() as u64;
    let versions = (items.len() as u64).saturating_sub(songs);
    let all = batch.tracks.unwrap_or_default().max(songs) + versions;
    let seconds: f64 = items.iter().filter_map(|m| m.seconds).sum();
    let name = if batch.name.trim().is_empty() { "Untitled batch" } else { batch.name.trim() };
    let main = html! {
        lm-library data-batch=(batch.id) data-album[batch.album] data-signed-in[frame.signed_in()] {
            div.head {
                p.crumb { a href="/library" { "Library" } }
                h1 dir="auto" { (name) }
                p.facts {
                    span { @if batch.album { "Album" } @else { "Batch" } ", " (count(all - versions, "track")) @if versions > 0 { ", " (count(all, "version")) } }
                    @if seconds > 0.0 { span.muted { (clock(seconds)) } }
                    @if failed > 0 { span.bad { (icon("warning")) " " (failed) " failed" } }
                }
            }
            div.meter data-meter {
                progress max=(all.max(1)) value=(ended) aria-label="Tracks done" {}
                p role="status" data-meter-said { (ended.saturating_sub(failed)) " of " (all) " done" }
            }
            @if items.is_empty() { p.empty { "The tracks appear here as soon as they are uploaded." } }
            @else { (table(items, true)) }
            @if done > 0 {
                section.downloads aria-labelledby="take" {
                    h2 #take { "Everything in one file" }
                    p.muted { "A ZIP of all finished masters and a list of checksums. A broken download resumes." }
                    form method="post" action={ "/b/" (batch.id) "/zip" } data-zip=(batch.id) {
                        button.button.primary { (icon("download")) "Download ZIP" }
                    }
                }
            }
            details.more {
                summary { "Name and order" }
                form.stack method="post" action={ "/b/" (batch.id) } data-api={ "PATCH /v1/batches/" (batch.id) } data-then="reload" {
                    div.field { label for="name" { "Name" } input #name name="name" value=(batch.name) maxlength="200" required; }
                    input type="hidden" name="order" value=(items.iter().map(|m| m.id.as_str()).collect::<Vec<_>>().join(" ")) data-order;
                    p.muted data-order-hint { "Drag the rows, or use the arrows in them, to change the order." }
                    button.button { "Save" }
                }
            }
        }
    };
    frame.page("library", name, "", &main)
}

fn state(master: &Master) -> Markup {
    html! {
        span class={ "state " (word(master.state)) } data-live {
            @match master.state {
                State::Waiting => { (icon("clock")) "Waiting" },
                State::Running => { (icon("loop")) (super::text::capital(master.stage.as_deref().unwrap_or("working"))) },
                State::Done => { (icon("verified")) "Done" },
                State::Failed => { (icon("warning")) "Failed" },
                State::Cancelled => { (icon("wrong")) "Stopped" },
            }
        }
    }
}

/// Rows; `ordered`: they stand in the order of an album, with handles to change it.
fn table(items: &[Master], ordered: bool) -> Markup {
    html! {
        form data-selection method="post" action="/library/delete" {
            table.songs {
                caption.visually-hidden { "Songs. Arrow keys move, space selects, return opens, delete deletes." }
                thead {
                    tr {
                        th.pick scope="col" { label { input type="checkbox" data-all; span.visually-hidden { "Select all" } } }
                        th scope="col" { "Title" }
                        th.wave scope="col" { span.visually-hidden { "Waveform" } }
                        th.when scope="col" { "Date" }
                        th.num scope="col" { "Length" }
                        th.num scope="col" { "Loudness" }
                        th.style scope="col" { "Style" }
                        th scope="col" { "State" }
                        @if ordered { th scope="col" { span.visually-hidden { "Order" } } }
                    }
                }
                tbody {
                    @for (at, master) in items.iter().enumerate() {
                        // Another master of the song above it: the same mix with other settings.
                        @let version = at > 0 && mix(master).is_some() && mix(master) == mix(&items[at - 1]);
                        tr.version[version] data-id=(master.id) data-state=(word(master.state)) {
                            td.pick { label { input type="checkbox" name="id" value=(master.id); span.visually-hidden { "Select " (title(master)) } } }
                            th.title scope="row" {
                                a href={ "/m/" (master.id) } dir="auto" { (title(master)) @if version { span.visually-hidden { ", another version" } } }
                                @if master.state == State::Failed { @if let Some(error) = &master.error { p.why { (sentence(&error.code, &serde_json::Value::Null)) } } }
                            }
                            td.wave {
                                // Lists come without addresses of files: the script asks for those of the rows that are seen.
                                @if master.state == State::Done { canvas data-wave=(master.id) aria-hidden="true" {} }
                            }
                            td.when { (date(&master.created_at)) }
                            td.num data-length { (master.seconds.map(clock).unwrap_or_default()) }
                            td.num data-lufs title=[master.dbtp.map(|dbtp| format!("{}{THIN}dBTP", number(dbtp)))] { (lufs(master).unwrap_or_default()) }
                            td.style { (wishes(&master.settings)) }
                            td.how { (state(master)) @if let Some(expires) = &master.expires_at { span.muted.expires { "until " (date(expires)) } } }
                            @if ordered {
                                td.move {
                                    button.quiet type="button" data-move="up" hidden { (icon("up")) span.visually-hidden { "Move " (title(master)) " up" } }
                                    button.quiet type="button" data-move="down" hidden { (icon("down")) span.visually-hidden { "Move " (title(master)) " down" } }
                                }
                            }
                        }
                    }
                }
            }
            div.selection data-bar {
                p data-count role="status" { "Select songs to download or delete several at once." }
                label.check { input type="checkbox" name="keep_mix" value="on"; span { "Keep the mixes when deleting" } }
                div.buttons {
                    button.button name="action" value="zip" formaction="/library/zip" data-act="zip" { (icon("download")) "ZIP" }
                    button.button.danger name="action" value="delete" data-act="delete" { (icon("trash")) "Delete" }
                }
            }
        }
    }
}

/// The upload it was made from.
fn mix(master: &Master) -> Option<&str> {
    master.upload.as_ref().map(|upload| upload.id.as_str())
}

fn title(master: &Master) -> &str {
    let title = master.title.trim();
    if title.is_empty() { "Untitled" } else { title }
}
