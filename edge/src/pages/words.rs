//! Pages of words: privacy, terms, contact, status, API, and what is said when something is not there.

use super::icons::icon;
use super::layout::Frame;
use super::text::{clock, count, day, number};
use super::view::{Provider, Status};
use loopmaster_core::retention::{POLICY, Retention};
use maud::{Markup, html};
use serde::Deserialize;

/// Where a browser keeps something for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A cookie.
    Cookie,
    /// localStorage: until cleared.
    Local,
    /// sessionStorage: until the tab is closed.
    Session,
    /// A database of IndexedDB.
    Database,
}

/// One thing that is kept in a visitor's browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where.
    pub place: Kept,
    /// Under which name.
    pub name: &'static str,
    /// What it holds and what for.
    pub what: &'static str,
    /// How long.
    pub period: &'static str,
}

/// Everything that is kept in a visitor's browser. A test compares this with the names in the code, so the table cannot be forgotten.
pub const STORED: [Stored; 7] = [
    Stored {
        place: Kept::Cookie,
        name: "__Host-lm_guest",
        what: "A random number, signed by us, that ties the tracks you master without an account to this browser. Essential.",
        period: "as long as guest tracks are kept",
    },
    Stored {
        place: Kept::Cookie,
        name: "__Host-lm_session",
        what: "Says that you are signed in. Essential once you have an account.",
        period: "until you sign out, or the session ends",
    },
    Stored {
        place: Kept::Cookie,
        name: "__Host-lm_login",
        what: "Ties a sign-in link or a sign-in with Google to the browser that asked for it, so that nobody else can use it.",
        period: "15 minutes",
    },
    Stored {
        place: Kept::Local,
        name: "lm.uploads",
        what: "Which uploads are unfinished: name, size and a fingerprint of the file, so that only the missing parts are sent after a reload.",
        period: "until the upload is mastered or removed, at most 7 days",
    },
    Stored {
        place: Kept::Local,
        name: "lm.latest",
        what: "A reference to the master or batch you made last, for the link back to it.",
        period: "7 days after it was made",
    },
    Stored {
        place: Kept::Session,
        name: "lm.pending",
        what: "The download you asked for before signing in, so that it starts by itself afterwards.",
        period: "cleared after use, or with the tab",
    },
    Stored {
        place: Kept::Database,
        name: "lm",
        what: "In Chrome and its relatives: a pointer to the file you chose (not the file), so that one click reopens it after a restart.",
        period: "until the upload ends",
    },
];

/// One thing that is kept, by the service's own table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Period {
    /// What.
    pub what: String,
    /// Since when the time runs.
    pub since: String,
    /// How long.
    pub hours: u32,
}

/// What the privacy page prints of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Privacy {
    /// Who else sees data.
    pub providers: Vec<Provider>,
    /// How long what is kept.
    pub retention: Retention,
    /// Everything that is kept.
    pub periods: Vec<Period>,
}

fn period(days: u32) -> String {
    count(days.into(), "day")
}

/// `/privacy`
#[must_use]
pub fn privacy(frame: &Frame<'_>, privacy: &Privacy) -> Markup {
    let Retention {
        guest_days,
        account_days,
        unused_days,
        unfinished_days,
        account_grace_days,
        audit_days,
        session_idle_days,
        session_days,
        ticket_days,
        backup_days,
    } = privacy.retention;
    let periods = [
        ("Uploads and masters of guests", format!("{} after they were made", period(guest_days))),
        (
            "Uploads and masters of accounts",
            match account_days {
                0 => "until you delete them; if that should change, you are told by mail at least 30 days before".to_owned(),
                days => format!("{} after they were made; you are told by mail at least 30 days before", period(days)),
            },
        ),
        (
            "A song you delete",
            "30 seconds to undo, then its files, its mix and its record are removed; the mix stays if another master uses it or you choose to keep it".to_owned(),
        ),
        ("A mix you keep", "until you delete it".to_owned()),
        ("Uploads never mastered", period(unused_days)),
        ("Uploads begun and not finished", period(unfinished_days)),
        ("An account you delete", format!("{} to change your mind, then all of it goes", period(account_grace_days))),
        ("A session", format!("{} unused, {} at most", period(session_idle_days), period(session_days))),
        ("A sign-in code or link", "15 minutes".to_owned()),
        ("An export of your data", "7 days".to_owned()),
        (
            "Hashes of IP addresses",
            "the key that makes them is deleted after 48 hours; then nobody can tell whose they were".to_owned(),
        ),
        ("Security log: sign-ins and changes to an account", period(audit_days)),
        ("What you write to us", period(ticket_days)),
        ("Backups of the database", period(backup_days)),
    ];
    let main = html! {
        article.prose {
            h1 { "Privacy" }
            p.lead { "What we store, why, for how long, and what you can do about it. Effective " time datetime=(POLICY) { (day(POLICY)) } "." }
            ul.summary {
                li { "No trackers, no advertising, no third-party requests from these pages." }
                li { "Your music is used to master your music, and for nothing else." }
                li { "We sell nothing about you to anybody." }
                li { "You can take everything with you, and delete everything, by yourself." }
            }
            h2 { "What we store" }
            dl.facts-list {
                dt { "Your account" }
                dd { "Name, email address, a picture if you add one, and records of your sign-ins and sessions. You can change name, address and picture at any time." }
                dt { "Signing in with Google" }
                dd { "Only if you choose it. Google then tells us your name, address and picture, and an identifier of your Google account." }
                dt { "Your music" }
                dd { "File names, types and sizes, what state a job is in, the uploads themselves, previews, masters and the files we deliver." }
                dt { "Security" }
                dd { "Your IP address reaches our servers, as with every site. We keep only a keyed hash of its prefix, to limit abuse, under a key of the day. Sessions remember what your browser calls itself, so that you recognise them. Requests are logged with time, path and result." }
            }
            h2 #browser { "What we keep in your browser" }
            p { "All of it is needed for what you asked for; none of it follows you anywhere." }
            div.scroll tabindex="0" role="region" aria-labelledby="browser" {
                table.stored {
                    thead { tr { th scope="col" { "Kind" } th scope="col" { "Name" } th scope="col" { "What for" } th scope="col" { "How long" } } }
                    tbody {
                        @for stored in STORED {
                            tr data-stored=(stored.name) {
                                td { (match stored.place { Kept::Cookie => "Cookie", Kept::Local => "localStorage", Kept::Session => "sessionStorage", Kept::Database => "IndexedDB" }) }
                                td { code { (stored.name) } }
                                td { (stored.what) }
                                td { (stored.period) }
                            }
                        }
                    }
                }
            }
            h2 { "What we use it for" }
            p { "To run accounts and uploads, to master, to play previews and deliver files, to prevent abuse and limit rates, and to answer you. There is no profile of you, and no music of yours trains anything." }
            h2 { "Who else sees it" }
            p { "Companies that run the machines, the storage, the processing and the security of the service, as far as they must; and authorities where the law leaves no choice. Nobody else." }
            @if privacy.providers.is_empty() {
                p { "This installation names no such company: it runs on its operator’s own machines." }
            } @else {
                ul.providers {
                    @for provider in &privacy.providers {
                        li { strong { (provider.name) } @if !provider.purpose.is_empty() { ", " (provider.purpose) } @if !provider.country.is_empty() { " (" (provider.country) ")" } }
                    }
                }
            }
            h2 #periods { "How long" }
            div.scroll tabindex="0" role="region" aria-labelledby="periods" {
                table.stored {
                    thead { tr { th scope="col" { "What" } th scope="col" { "Kept" } } }
                    tbody { @for (what, how_long) in &periods { tr { th scope="row" { (what) } td { (how_long) } } } }
                }
            }
            @if !privacy.periods.is_empty() {
                details.more {
                    summary { "Every period, to the last table" }
                    p.muted { "What the service itself works through, every ten minutes." }
                    div.scroll tabindex="0" role="region" aria-label="Every period" {
                        table.stored {
                            thead { tr { th scope="col" { "What" } th scope="col" { "Since" } th scope="col" { "Kept" } } }
                            tbody {
                                @for Period { what, since, hours } in &privacy.periods {
                                    tr { th scope="row" { (what) } td { (since) } td { (match *hours { 0 => "until then".to_owned(), hours if hours % 24 == 0 => period(hours / 24), hours => count(hours.into(), "hour") }) } }
                                }
                            }
                        }
                    }
                }
            }
            p.muted { "A backup may hold something you deleted until the backup itself is replaced; it is only ever used to repair the service, and what was deleted is deleted again." }
            h2 { "What you can do" }
            ul {
                li { "Listen to, download and delete your songs in the " a href="/library" { "library" } "." }
                li { "Download one archive with everything we have on you, or delete your account, under " a href="/account" { "Account" } ". We promise neither to be asked twice nor to be slow: both start with one button." }
                li { "Ask us anything else through " a href="/contact" { "Contact us" } ": correction, objection, a question. We make sure it is you before we act." }
            }
            h2 { "Children" }
            p { "LoopMastering is not for children under 13, and signing up asks you to say that you are older." }
            h2 { "When this changes" }
            p { "A new version gets a new date on this page, and you are told at your next sign-in." }
        }
    };
    frame.page("site", "Privacy", "What LoopMastering stores, why, for how long, and what you can do about it.", &main)
}

/// `/terms`
#[must_use]
pub fn terms(frame: &Frame<'_>) -> Markup {
    let main = html! {
        article.prose {
            h1 { "Terms" }
            p.lead { "Short, because there is little to say: it is your music, and it stays yours." }
            h2 { "Your rights" }
            p { "By uploading you say that the music is yours, or that you may have it mastered. You keep every right in it. You let us store and process it, for as long as it is here, to make your masters, previews and reports, and to play them to those you share a link with. Nothing more." }
            h2 { "A reference track" }
            p { "A record you add as a reference is measured. It is never delivered to anybody and goes like any other upload." }
            h2 { "What we promise" }
            p { "Every job ends: with a master that was checked, or with a reason. We keep what the page says we keep, and delete what you delete. The service may be down at times; your originals belong in your own backup, too." }
            h2 { "What we ask" }
            p { "Do not upload what you have no right to, do not attack the service, and do not go round its limits. We may end accounts that do." }
            h2 #copyright { "If your work was used without permission" }
            p {
                "Tell us through " a href="/contact?topic=copyright" { "Contact us, topic copyright" } ". Say which work it is, where you found it (the share link), "
                "that you hold the rights or act for whoever does, and how we reach you. We look at it, end the link if you are right, and tell both sides."
            }
            h2 { "Price" }
            p { "The service costs nothing at present. If that changes, you are told before it does, and nothing you have made is held back." }
            h2 { "The law" }
            p { "We answer for what we do wrong on purpose or by gross carelessness, and where the law says so; not for music that was never backed up, nor for a release that a shop refuses." }
        }
    };
    frame.page("site", "Terms", "", &main)
}

/// What the contact page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// The topic that is chosen: question, privacy, account, copyright, other.
    pub topic: String,
    /// What the message begins with: the id of a master, for one.
    pub about: String,
    /// The ticket of what was just sent.
    pub ticket: Option<String>,
}

const TOPICS: [(&str, &str); 5] = [
    ("question", "A question or a problem"),
    ("privacy", "Privacy: my data"),
    ("account", "My account"),
    ("copyright", "Copyright complaint"),
    ("other", "Something else"),
];

/// `/contact`
#[must_use]
pub fn contact(frame: &Frame<'_>, contact: &Contact) -> Markup {
    let email = frame.me.user.as_ref().map_or("", |user| user.email.as_str());
    let about = contact.about.chars().take(80).collect::<String>();
    let main = html! {
        div.column {
            h1 { "Contact us" }
            @if let Some(ticket) = &contact.ticket {
                p.notice.good role="status" { (icon("verified")) span { "Thank you, we have it. Your ticket is " code { (ticket) } "; the answer comes by mail." } }
            }
            p.lead { "A person reads this. Requests about privacy and accounts are answered after we have made sure it is you." }
            form.stack method="post" action="/contact" data-api="POST /v1/contact" data-then="ticket" {
                div.field {
                    label for="topic" { "About" }
                    select #topic name="topic" { @for (value, name) in TOPICS { option value=(value) selected[value == contact.topic] { (name) } } }
                }
                div.field { label for="email" { "Your email" } input #email type="email" name="email" value=(email) autocomplete="email" required maxlength="254"; }
                div.field {
                    label for="message" { "Message" }
                    textarea #message name="message" rows="8" required maxlength="5000" { @if !about.is_empty() { "About " (about) ":\n\n" } }
                }
                p.muted { "For a copyright complaint: which work, where you found it, and that you hold the rights or act for whoever does." }
                button.button.primary { (icon("mail")) "Send" }
            }
        }
    };
    frame.page("site", "Contact us", "", &main)
}

/// `/status`; `None`: the api did not answer.
#[must_use]
pub fn status(frame: &Frame<'_>, status: Option<&Status>) -> Markup {
    let main = html! {
        div.column {
            h1 { "Status" }
            @match status {
                Some(status) => {
                    @if status.state == "ok" { p.lead.verdict { span.good { (icon("verified")) " Everything works" } } }
                    @else { p.lead.verdict { span.bad { (icon("warning")) " " (super::text::capital(if status.state.is_empty() { "not known" } else { &status.state })) } } }
                    @if status.uploads == Some(false) { p { "Uploads are not taken at present; a queue that is open waits and goes on by itself." } }
                    dl.quotas {
                        @if let Some(waiting) = status.waiting { div { dt { "Waiting" } dd { (count(waiting, "track")) } } }
                        @if let Some(seconds) = status.waiting_seconds { @if seconds > 0.0 { div { dt { "Music waiting" } dd { (clock(seconds)) } } } }
                        @if let Some(oldest) = status.oldest_seconds { @if oldest > 0.0 { div { dt { "Longest wait" } dd { (if oldest < 60.0 { format!("{} s", number(oldest)) } else { clock(oldest) }) } } } }
                        @if let Some(version) = &status.version { div { dt { "Version" } dd { code { (version) } } } }
                    }
                },
                None => p.lead.verdict { span.bad { (icon("warning")) " Mastering does not answer at present" } " These pages do. What you have uploaded is safe and goes on by itself." },
            }
        }
    };
    frame.page("site", "Status", "", &main)
}

/// `/api`; `origin`: where programs go.
#[must_use]
pub fn api(frame: &Frame<'_>, origin: &str) -> Markup {
    let steps = [
        (
            "Say what is coming, and with which settings.",
            format!(
                "curl -s {origin}/v1/uploads -H \"authorization: Bearer $TOKEN\" \\\n  -H 'content-type: application/json' \\\n  -d '{{\"name\":\"song.wav\",\"bytes\":48211234,\"type\":\"audio/wav\",\"settings\":{{\"style\":\"warm\",\"formats\":[\"wav24\",\"mp3-320\"]}}}}'"
            ),
        ),
        (
            "Ask for signed addresses and send the parts there. Keep the ETag of each.",
            format!(
                "curl -s {origin}/v1/uploads/$UPLOAD/parts -H \"authorization: Bearer $TOKEN\" \\\n  -H 'content-type: application/json' -d '{{\"numbers\":[1,2,3,4,5,6]}}'"
            ),
        ),
        (
            "Complete it. The answer names the master that was made of it.",
            format!(
                "curl -s {origin}/v1/uploads/$UPLOAD/complete -H \"authorization: Bearer $TOKEN\" \\\n  -H 'content-type: application/json' -d '{{\"parts\":[{{\"number\":1,\"etag\":\"…\"}}]}}'"
            ),
        ),
        (
            "Watch it, then take the files.",
            format!(
                "curl -N {origin}/v1/events -H \"authorization: Bearer $TOKEN\"\ncurl -s -X POST {origin}/v1/artifacts/$FILE/link -H \"authorization: Bearer $TOKEN\""
            ),
        ),
    ];
    let main = html! {
        article.prose {
            h1 { "API" }
            p.lead { "Everything these pages do, programs can do. JSON over HTTPS, errors as RFC 9457 with stable codes, creates that may be repeated with an " code { "Idempotency-Key" } "." }
            p { a.button href="/v1/openapi.json" { (icon("download")) "OpenAPI description" } }
            h2 { "A token" }
            p { "Make one under " a href="/account#tokens" { "Account" } ". It is shown once; give it the scopes it needs and no more." }
            h2 { "A master in four calls" }
            ol.steps {
                @for (text, code) in &steps { li { p { (text) } pre tabindex="0" { code { (code) } } } }
            }
            h2 { "From a page of your own" }
            p {
                "Mint a grant with " code { "POST /v1/me/grants" } ": an address that takes uploads and nothing else, for an hour. It speaks the contract of Uppy’s Companion, so stock Uppy works with "
                code { "companionEndpoint" } " set to it."
            }
            h2 { "Being told" }
            p { "Add a webhook under " a href="/account#webhooks" { "Account" } ". Deliveries are signed as Standard Webhooks and repeated for days." }
        }
    };
    frame.page("site", "API", "Master music from a program: tokens, uploads, events, webhooks.", &main)
}

fn plain(frame: &Frame<'_>, title: &str, text: &Markup, code: Option<&str>) -> Markup {
    let main = html! {
        div.column.nothing {
            h1 { (title) }
            (text)
            @if let Some(code) = code { p.muted { "Request " code { (code) } } }
        }
    };
    frame.page("site", title, "", &main)
}

/// 404: also for what belongs to somebody else.
#[must_use]
pub fn not_found(frame: &Frame<'_>) -> Markup {
    let text = html! {
        p.lead { "There is nothing at this address: it was deleted, its time is over, or it belongs to another browser or account." }
        p { a.button.primary href="/" { "Master a mix" } " " a.button href="/library" { "Library" } @if !frame.signed_in() { " " a.button href=(frame.sign_in()) { "Sign in" } } }
    };
    plain(frame, "Not here", &text, None)
}

/// 503: the api does not answer. The script asks again and goes on by itself.
#[must_use]
pub fn away(frame: &Frame<'_>) -> Markup {
    let text = html! {
        div data-away {
            p.lead { "Mastering does not answer at present. Nothing is lost: what you uploaded is safe, and your queue is kept in this browser." }
            p role="status" data-away-said { "Reload in a moment." }
            p { a.button href=(frame.path) { (icon("retry")) "Try again" } " " a.button href="/status" { "Status" } }
        }
    };
    plain(frame, "Back in a moment", &text, None)
}

/// Anything else that went wrong: what it was, and the request it can be found by.
#[must_use]
pub fn failed(frame: &Frame<'_>, title: &str, detail: &str, request: Option<&str>) -> Markup {
    let text = html! {
        p.lead { (detail) }
        p { a.button href="/" { "First page" } " " a.button href="/contact" { "Contact us" } }
    };
    plain(frame, title, &text, request)
}
