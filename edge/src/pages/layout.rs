//! What all pages share: head, header, footer.

use super::icons::{icon, sprite};
use super::view::Me;
use loopmaster_core::retention::POLICY;
use maud::{DOCTYPE, Markup, html};

/// What a page has to load for its entry. Paths, ready for `href` and `src`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files<'a> {
    /// The module to run; empty: none.
    pub script: &'a str,
    /// Stylesheets.
    pub styles: &'a [&'a str],
    /// Modules the script imports.
    pub modules: &'a [&'a str],
}

/// What surrounds every page.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Finds what an entry of the web build has to load: `site`, `home`, `job`, `library`, `account`, `sign-in`.
    pub files: &'a dyn Fn(&str) -> Files<'static>,
    /// Who is looking; `Me::default()` for a guest or where the api was not asked.
    pub me: &'a Me,
    /// The path that was asked for, for "where am I" in the header and for coming back after signing in.
    pub path: &'a str,
    /// One sentence to say at the top: what a form did, or why it did not.
    pub notice: Option<Notice<'a>>,
    /// Whether this browser's guest has seen the privacy policy in force; an account says it itself.
    pub policy_seen: bool,
}

/// What a form led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// It is done.
    Done(&'a str),
    /// It is not, and why.
    Refused(&'a str),
}

impl<'a> Frame<'a> {
    /// A frame without anything to say.
    #[must_use]
    pub fn new(files: &'a dyn Fn(&str) -> Files<'static>, me: &'a Me, path: &'a str) -> Self {
        Self { files, me, path, notice: None, policy_seen: true }
    }

    /// The same with a sentence at the top.
    #[must_use]
    pub fn saying(self, notice: Notice<'a>) -> Self {
        Self { notice: Some(notice), ..self }
    }

    /// Whether the visitor is signed in.
    pub(super) fn signed_in(&self) -> bool {
        self.me.user.is_some()
    }

    /// Where signing in leads back to.
    pub(super) fn sign_in(&self) -> String {
        let here = if matches!(self.path, "/" | "/sign-in") || !self.path.starts_with('/') { "" } else { self.path };
        if here.is_empty() {
            return "/sign-in".to_owned();
        }
        let prefix = "/sign-in?";
        form_urlencoded::Serializer::for_suffix(prefix.to_owned(), prefix.len()).append_pair("next", here).finish()
    }

    /// A whole document.
    pub(super) fn page(&self, entry: &str, title: &str, about: &str, main: &Markup) -> Markup {
        let files = (self.files)(entry);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { @if title.is_empty() { "LoopMastering" } @else { (title) " · LoopMastering" } }
                    @if !about.is_empty() {
                        meta name="description" content=(about);
                        // What messengers show of a link.
                        meta property="og:site_name" content="LoopMastering";
                        meta property="og:type" content="website";
                        meta property="og:title" content=(if title.is_empty() { "LoopMastering" } else { title });
                        meta property="og:description" content=(about);
                    }
                    meta name="color-scheme" content="light dark";
                    meta name="theme-color" media="(prefers-color-scheme: light)" content="#faf9f7";
                    meta name="theme-color" media="(prefers-color-scheme: dark)" content="#101214";
                    link rel="icon" href="/favicon.svg" type="image/svg+xml";
                    link rel="manifest" href="/app.webmanifest";
                    link rel="apple-touch-icon" href="/icon-192.png";
                    @for style in files.styles { link rel="stylesheet" href=(style); }
                    @for module in files.modules { link rel="modulepreload" href=(module); }
                    @if !files.script.is_empty() { script type="module" src=(files.script) {} }
                }
                body data-signed-in[self.signed_in()] {
                    a.skip href="#main" { "Skip to the content" }
                    (sprite())
                    (self.header())
                    main id="main" tabindex="-1" {
                        @match self.notice {
                            Some(Notice::Done(text)) => p.notice.good role="status" { (icon("verified")) span { (text) } },
                            Some(Notice::Refused(text)) => p.notice.bad role="alert" { (icon("warning")) span { (text) } },
                            None => {}
                        }
                        (self.policy())
                        (main)
                    }
                    (footer())
                    div #toasts role="status" aria-live="polite" {}
                }
            }
        }
    }

    fn header(&self) -> Markup {
        let here = |path: &str| (self.path == path).then_some("page");
        html! {
            header.top {
                a.brand href="/" aria-current=[here("/")] {
                    svg.mark viewBox="0 0 24 24" aria-hidden="true" { circle cx="12" cy="12" r="8" {} }
                    "LoopMastering"
                }
                nav aria-label="Main" {
                    a href="/library" aria-current=[here("/library")] { "Library" }
                    @if let Some(user) = &self.me.user {
                        a.who href="/account" aria-current=[here("/account")] {
                            @if let Some(picture) = &user.picture { img src=(picture) alt="" width="24" height="24"; }
                            @else { (icon("user")) }
                            "Account"
                        }
                    } @else {
                        a href=(self.sign_in()) aria-current=[here("/sign-in")] { "Sign in" }
                    }
                }
            }
        }
    }

    /// Whoever has seen an older privacy policy is told until they close the notice: an account notes it, and a guest's cookie.
    fn policy(&self) -> Markup {
        let text = html! {
            (icon("info"))
            span { "Our privacy policy has changed. The new version has been in effect since " (super::text::day(POLICY)) ". " a href="/privacy" { "Read it" } "." }
        };
        html! {
            @if let Some(user) = &self.me.user {
                @if !user.policy_current {
                    form.notice method="post" action="/account" data-api="PATCH /v1/me" data-then="remove" {
                        (text)
                        button.quiet name="accept_policy" value="true" { "Got it" }
                    }
                }
            } @else if !self.policy_seen {
                form.notice method="post" action="/privacy/seen" data-quiet {
                    (text)
                    input type="hidden" name="next" value=(self.path);
                    button.quiet { "Got it" }
                }
            }
        }
    }
}

fn footer() -> Markup {
    html! {
        footer.bottom {
            nav aria-label="About" {
                a href="/privacy" { "Privacy" }
                a href="/contact" { "Contact us" }
                a href="/terms" { "Terms" }
                a href="/security" { "Security" }
                a href="/status" { "Status" }
                a href="/api" { "API" }
            }
        }
    }
}

/// A time the script turns into the reader's own.
pub(super) fn time(rfc3339: &str) -> Markup {
    html! { time datetime=(rfc3339) { (super::text::moment(rfc3339)) } }
}

/// A day.
pub(super) fn date(rfc3339: &str) -> Markup {
    html! { time datetime=(rfc3339) data-day { (super::text::day(rfc3339)) } }
}
