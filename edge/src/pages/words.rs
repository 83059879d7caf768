//! Pages of words: terms, security, contact, status, API, and what is said when something is not there.

use super::icons::icon;
use super::layout::Frame;
use super::text::{clock, count, number};
use super::view::Status;
use maud::{Markup, html};

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

/// `/security`: the policy that `security.txt` names; `SECURITY.md` says the same to whoever reads the source.
#[must_use]
pub fn security(frame: &Frame<'_>, contacts: &[String]) -> Markup {
    let main = html! {
        article.prose {
            h1 { "Security" }
            p.lead { "Found a hole? Tell us before you tell others. We read every report." }
            h2 { "How to report" }
            ul {
                @for contact in contacts {
                    // An address that is shown is one that can be copied.
                    li { a href=(contact) { (contact.strip_prefix("mailto:").unwrap_or(contact)) } }
                }
            }
            p { "Say what you did, what happened, and what an attacker could do with it." }
            p { "You get an answer within 3 working days, and an assessment within 10. We tell you when it is fixed, and name you if you like. Please give us 90 days before you publish." }
            h2 { "In scope" }
            ul {
                li { "These pages, the API and the storage they use." }
                li { "Reading, changing or deleting what belongs to somebody else." }
                li { "Signing in as somebody else, or going round a confirmation." }
                li { "An audio file that makes the service crash, hang or run code." }
                li { "Anything that is kept longer than the " a href="/privacy#periods" { "privacy page" } " says." }
            }
            p { "Out of scope: floods of traffic, social engineering, and reports of a scanner without a working example." }
            h2 { "What we ask" }
            p { "Use your own account and files. Stop at the first proof, keep nothing of others, and leave the service running." }
        }
    };
    frame.page("site", "Security", "How to report a security problem.", &main)
}

/// What the contact page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// The topic that is chosen: one of the names in `TOPICS`.
    pub topic: String,
    /// What the message begins with: the id of a master, for one.
    pub about: String,
    /// The ticket of what was just sent.
    pub ticket: Option<String>,
}

const TOPICS: [(&str, &str); 7] = [
    ("question", "A question or a problem"),
    ("privacy", "Privacy: my data"),
    ("account", "My account"),
    ("child", "A child under 13 uses LoopMastering"),
    ("copyright", "Copyright complaint"),
    ("security", "A security problem"),
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
            p.lead { "A person reads this. Before we act on an account or on tracks, we mail you a link to confirm that it is you. If your request is about an account, sign in first." }
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
                p.muted { "Copyright: which work, where you found it, and that you hold the rights or act for whoever does." }
                p.muted { "A child under 13: the email address of the account, or the address of a track, and how you know." }
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
            h2 { "Embed uploads on your site" }
            p {
                "Mint a grant with " code { "POST /v1/me/grants" } ": an address that takes uploads and nothing else, for an hour. It speaks the contract of Uppy’s Companion, so stock Uppy works with "
                code { "companionEndpoint" } " set to it."
            }
            h2 { "Notifications" }
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
        p.lead { "There is nothing at this address: it was deleted, has expired, or belongs to another browser or account." }
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
        p { a.button href="/" { "Home" } " " a.button href="/contact" { "Contact us" } }
    };
    plain(frame, title, &text, request)
}
