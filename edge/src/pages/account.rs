//! The account: one column, plain sections.

use super::icons::icon;
use super::layout::{Frame, date, time};
use super::text::{capital, count, size};
use super::view::{Export, Preset, Quota, Session, Token, User, Webhook};
use crate::answers::path_word;
use maud::{Markup, html};

/// What the account page shows.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// `GET /v1/me/sessions`.
    pub sessions: Vec<Session>,
    /// `GET /v1/me/tokens`.
    pub tokens: Vec<Token>,
    /// `GET /v1/me/webhooks`.
    pub webhooks: Vec<Webhook>,
    /// `GET /v1/presets`: their names.
    pub presets: Vec<Preset>,
    /// `GET /v1/me/export`.
    pub export: Option<Export>,
    /// A token or webhook that was just made: its secret is shown this once.
    pub secret: Option<String>,
    /// Days between asking for deletion and the deletion.
    pub grace_days: u32,
}

/// `/account`
#[must_use]
pub fn account(frame: &Frame<'_>, account: &Account) -> Markup {
    let nobody = User::default();
    let user = frame.me.user.as_ref().unwrap_or(&nobody);
    let main = html! {
        lm-account.column {
            h1 { "Account" }
            @if let Some(after) = &user.delete_after {
                form.notice.bad method="post" action="/account/keep" data-api="POST /v1/me/keep" data-then="reload" {
                    (icon("warning"))
                    span { "This account and everything in it goes on " (time(after)) "." }
                    button.button { "Keep my account" }
                }
            }
            @if let Some(secret) = &account.secret { (shown_once(secret)) }
            div data-once {}
            (profile(user))
            (address(user))
            (quotas(frame))
            (presets(&account.presets))
            (sessions(&account.sessions))
            (tokens(&account.tokens))
            (webhooks(&account.webhooks))
            (export(account.export.as_ref()))
            (leave(user, account.grace_days))
            form.signout method="post" action="/sign-in/out" data-api="POST /v1/auth/sign-out" data-then="/" {
                button.button { "Sign out" }
            }
        }
    };
    frame.page("account", "Account", "", &main)
}

fn shown_once(secret: &str) -> Markup {
    html! {
        div.notice.good role="status" {
            (icon("verified"))
            span { "Copy it now; it is not shown again." br; code.secret data-copy { (secret) } }
        }
    }
}

fn profile(user: &User) -> Markup {
    html! {
        section aria-labelledby="profile" {
            h2 #profile { "Profile" }
            div.picture {
                @if let Some(picture) = &user.picture { img src=(picture) alt="Your picture" width="72" height="72"; }
                @else { span.blank { (icon("user")) } }
                div {
                    label.button for="picture" data-needs-script { "Choose a picture" }
                    input #picture.visually-hidden type="file" accept="image/png,image/jpeg,image/webp" data-picture;
                    p.muted { "PNG, JPEG or WebP. It is cropped to a square, and its metadata is removed." }
                    @if user.picture.is_some() {
                        form method="post" action="/account/remove-picture" data-api="DELETE /v1/me/picture" data-then="reload" {
                            button.quiet { "Remove it" }
                        }
                    }
                }
            }
            form.stack method="post" action="/account" data-api="PATCH /v1/me" data-then="say:Saved" {
                div.field { label for="name" { "Name" } input #name name="name" value=(user.name) maxlength="100" autocomplete="name"; }
                label.check {
                    input type="checkbox" name="mail_when_ready" value="true" checked[user.mail_when_ready] data-bool;
                    span { "Mail me when a long batch is ready" }
                }
                button.button { "Save" }
            }
        }
    }
}

fn address(user: &User) -> Markup {
    html! {
        section aria-labelledby="address" {
            h2 #address { "Email" }
            p { strong { (user.email) } }
            form.stack method="post" action="/account/email" data-api="POST /v1/me/email" data-then="say:Open the links we sent to both addresses. Until then nothing changes." {
                div.field { label for="email" { "New address" } input #email type="email" name="email" autocomplete="email" required maxlength="254"; }
                p.muted { "We send a link to both addresses. Confirm both to finish." }
                button.button { "Change email" }
            }
        }
    }
}

/// Settings under a name; they are made where settings are chosen.
fn presets(presets: &[Preset]) -> Markup {
    html! {
        section aria-labelledby="presets" {
            h2 #presets { "Presets" }
            p.muted { "Settings under a name. Choose and save them above the styles, on the " a href="/" { "first page" } " and on each master’s page." }
            ul.lines {
                @for preset in presets {
                    li {
                        div {
                            bdi { (preset.name) }
                            @if preset.outdated { p.muted { "From an earlier version of this service. Save it again to use it." } }
                        }
                        form method="post" action="/account/remove-preset" data-api={ "DELETE /v1/presets/" (path_word(&preset.name)) } data-then="remove" {
                            input type="hidden" name="id" value=(preset.name);
                            button.quiet.danger { (icon("trash")) "Delete" span.visually-hidden { " the preset " (preset.name) } }
                        }
                    }
                }
            }
        }
    }
}

/// Known quotas with their words; others by their names.
fn quotas(frame: &Frame<'_>) -> Markup {
    let name = |key: &str| match key {
        "tracks_a_day" => "Tracks mastered today".to_owned(),
        "stored_bytes" => "Mixes stored".to_owned(),
        "waiting" => "Tracks waiting or under way".to_owned(),
        "creates_an_hour" => "Uploads and masters this hour".to_owned(),
        other => capital(&other.replace('_', " ")),
    };
    let shown = |key: &str, value: u64| if key.ends_with("bytes") { size(value) } else { value.to_string() };
    html! {
        @if !frame.me.quotas.is_empty() {
            section aria-labelledby="use" {
                h2 #use { "Use" }
                dl.quotas {
                    @for (key, Quota { limit, used }) in &frame.me.quotas {
                        div {
                            dt { (name(key)) }
                            dd {
                                progress max=((*limit).max(1)) value=((*used).min(*limit)) aria-label=(name(key)) {}
                                (shown(key, *used)) " of " (shown(key, *limit))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `Firefox on Linux`, from what a browser calls itself; a guess that is good enough to recognise one's own.
fn browser(agent: &str) -> String {
    let find =
        |names: &[(&str, &'static str)]| names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name);
    let which = find(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = find(&[
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS", "Mac"),
        ("Linux", "Linux"),
    ]);
    match (which, system) {
        (Some(which), Some(system)) => format!("{which} on {system}"),
        (Some(which), None) => which.to_owned(),
        _ if agent.is_empty() => "Unknown browser".to_owned(),
        _ => agent.chars().take(40).collect(),
    }
}

fn sessions(sessions: &[Session]) -> Markup {
    html! {
        section aria-labelledby="sessions" {
            h2 #sessions { "Where you are signed in" }
            ul.lines {
                @for session in sessions {
                    li {
                        span { strong { (browser(&session.user_agent)) } @if session.current { span.muted { " this one" } } }
                        span.muted { "last seen " (time(&session.seen_at)) }
                        @if !session.current {
                            form method="post" action="/account/revoke" data-api={ "DELETE /v1/me/sessions/" (session.id) } data-then="remove" {
                                input type="hidden" name="id" value=(session.id);
                                button.quiet { "End session" }
                            }
                        }
                    }
                }
            }
            @if sessions.len() > 1 {
                form method="post" action="/account/revoke-others" data-api="POST /v1/me/sessions/revoke-others" data-then="reload" {
                    button.button { "Sign out everywhere else" }
                }
            }
        }
    }
}

fn tokens(tokens: &[Token]) -> Markup {
    html! {
        section aria-labelledby="tokens" {
            h2 #tokens { "API tokens" }
            p.muted { "For programs of your own; see the " a href="/api" { "API page" } "." }
            ul.lines {
                @for token in tokens {
                    li {
                        span { strong { (token.name) } " " span.muted { (token.scopes.join(", ")) } }
                        span.muted {
                            @match &token.used_at { Some(used) => { "last used " (date(used)) }, None => "never used" }
                            @if let Some(expires) = &token.expires_at { ", ends " (date(expires)) }
                        }
                        form method="post" action="/account/remove-token" data-api={ "DELETE /v1/me/tokens/" (token.id) } data-then="remove" {
                            input type="hidden" name="id" value=(token.id);
                            button.quiet.danger { "Remove" span.visually-hidden { " token " (token.name) } }
                        }
                    }
                }
            }
            details.more {
                summary { "New token" }
                form.stack method="post" action="/account/token" data-api="POST /v1/me/tokens" data-then="secret:token" {
                    div.field { label for="token-name" { "Token name" } input #token-name name="name" required maxlength="100"; }
                    fieldset {
                        legend { "Permissions" }
                        div.checks {
                            @for (scope, what) in [("uploads", "upload"), ("masters", "master, list and download"), ("account", "see the account")] {
                                label.check { input type="checkbox" name="scopes" value=(scope) checked[scope != "account"] data-list; span { (what) } }
                            }
                        }
                    }
                    div.field { label for="token-days" { "Expires after (days)" } input #token-days type="number" name="days" min="1" max="3650" value="365" data-number; }
                    button.button { "Create token" }
                }
            }
        }
    }
}

fn webhooks(webhooks: &[Webhook]) -> Markup {
    html! {
        section aria-labelledby="webhooks" {
            h2 #webhooks { "Webhooks" }
            p.muted { "We POST to your URL when a master finishes or fails, with Standard Webhooks signatures." }
            ul.lines {
                @for hook in webhooks {
                    li {
                        span { code { (hook.url) } }
                        span.muted {
                            @match &hook.disabled_at { Some(at) => { "stopped " (date(at)) ": the address said it is gone" }, None => { "since " (date(&hook.created_at)) } }
                        }
                        span.buttons {
                            @for (form, api, then, name) in [
                                ("test-webhook", "POST /v1/me/webhooks/{}/test", "say:A test is on its way.", "Test"),
                                ("rotate-webhook", "POST /v1/me/webhooks/{}/rotate", "secret:secret", "New secret"),
                                ("remove-webhook", "DELETE /v1/me/webhooks/{}", "remove", "Remove"),
                            ] {
                                form method="post" action={ "/account/" (form) } data-api=(api.replace("{}", &hook.id)) data-then=(then) {
                                    input type="hidden" name="id" value=(hook.id);
                                    button.quiet { (name) span.visually-hidden { " " (hook.url) } }
                                }
                            }
                        }
                    }
                }
            }
            details.more {
                summary { "New webhook" }
                form.stack method="post" action="/account/webhook" data-api="POST /v1/me/webhooks" data-then="secret:secret" {
                    div.field { label for="hook-url" { "Address" } input #hook-url type="url" name="url" placeholder="https://" required maxlength="2000"; }
                    button.button { "Add webhook" }
                }
            }
        }
    }
}

fn export(export: Option<&Export>) -> Markup {
    html! {
        section aria-labelledby="export" {
            h2 #export { "Your data" }
            p.muted { "One archive with your profile, your songs, their reports and everything we have on you." }
            @match export.map(|e| (e.state.as_str(), e)) {
                Some(("ready", export)) => {
                    @if let Some(url) = &export.url {
                        p { a.button.primary href=(url) { (icon("download")) "Download" @if let Some(bytes) = export.bytes { " " (size(bytes)) } } }
                    } @else {
                        p { a.button href="/sign-in?again=1&next=/account" { "Sign in once more to download it" } }
                    }
                    @if let Some(expires) = &export.expires_at { p.muted { "Kept until " (time(expires)) "." } }
                },
                Some(("preparing", _)) => p role="status" { (icon("clock")) " It is being put together; we mail you when it is ready." },
                _ => {
                    form method="post" action="/account/export" data-api="POST /v1/me/export" data-then="reload" {
                        button.button { "Prepare export" }
                    }
                }
            }
        }
    }
}

fn leave(user: &User, grace: u32) -> Markup {
    html! {
        @if user.delete_after.is_none() {
            section aria-labelledby="leave" {
                h2 #leave { "Delete the account" }
                p.muted {
                    "Songs, files, tokens and profile go for good"
                    @if grace > 0 { " after " (count(grace.into(), "day")) "; until then you can sign in and keep it" }
                    "."
                }
                details.more {
                    summary { "Delete my account" }
                    form.stack method="post" action="/account/delete" data-api="POST /v1/me/delete" data-then="reload" data-confirm=(user.email) {
                        div.field {
                            label for="confirm" { "Type " strong { (user.email) } " to confirm" }
                            input #confirm name="confirm" autocomplete="off" required;
                        }
                        button.button.danger { "Delete my account" }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::browser;

    #[test]
    fn browsers_are_recognised_or_quoted() {
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0";
        assert_eq!((browser(firefox), browser(edge)), ("Firefox on Linux".into(), "Edge on Windows".into()));
        assert_eq!((browser("curl/8.5"), browser("")), ("curl/8.5".into(), "Unknown browser".into()));
    }
}
