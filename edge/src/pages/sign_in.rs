//! Signing in: address, then code or link; afterwards what to do with the guest's tracks.

use super::icons::icon;
use super::layout::{Frame, time};
use super::text::count;
use super::view::{Confirmation, Link};
use crate::routes::local;
use loopmaster_core::retention::{CONFIRMATION, SIGN_IN, duration};
use maud::{Markup, html};

/// Where somebody who signs in is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInStep {
    /// Asks for the address.
    Address,
    /// A mail is on its way.
    Code {
        /// The login under way.
        login: String,
        /// Where the mail went; empty where that is not known any more.
        email: String,
    },
    /// Signed in; the browser has tracks of a guest.
    Merge {
        /// How many.
        masters: u64,
    },
}

/// What the sign-in page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Which step.
    pub step: SignInStep,
    /// Where to go afterwards: a path of ours.
    pub next: String,
    /// Whether Google is offered.
    pub google: bool,
}

/// `/sign-in`
#[must_use]
pub fn sign_in(frame: &Frame<'_>, page: &SignIn) -> Markup {
    let next = local(&page.next);
    let main = html! {
        lm-sign-in.column.narrow data-next=(next) data-step=(match page.step { SignInStep::Address => "address", SignInStep::Code { .. } => "code", SignInStep::Merge { .. } => "merge" })
            data-login=[match &page.step { SignInStep::Code { login, .. } => Some(login), _ => None }]
        {
            @match &page.step {
                SignInStep::Address => (address(page.google, next)),
                SignInStep::Code { login, email } => (code(login, email, next)),
                SignInStep::Merge { masters } => (merge(*masters, next)),
            }
        }
    };
    frame.page("sign-in", "Sign in", "", &main)
}

fn address(google: bool, next: &str) -> Markup {
    html! {
        h1 { "Sign in" }
        p.lead { "No password. We email you a code; if you are new here, it creates your account." }
        form.stack method="post" action="/sign-in" data-step="address" {
            input type="hidden" name="next" value=(next);
            div.field { label for="email" { "Email" } input #email type="email" name="email" autocomplete="email" required maxlength="254" autofocus; }
            label.check { input #of-age type="checkbox" name="of_age" value="on" required; span { "I am 13 or older" } }
            button.button.primary.wide { (icon("mail")) "Send me a code" }
        }
        @if google {
            p.or aria-hidden="true" { "or" }
            form.stack method="post" action="/sign-in/google" data-step="google" {
                input type="hidden" name="next" value=(next);
                input type="hidden" name="of_age" value="on";
                button.button.wide { "Continue with Google" }
                p.muted { "Going on with Google says that you are 13 or older. Google tells us your name, address and picture, and learns that you use LoopMastering." }
            }
        }
        p.muted { "Signing in means you agree to the " a href="/terms" { "terms" } ". What we keep is on the " a href="/privacy" { "privacy page" } "." }
    }
}

fn code(login: &str, email: &str, next: &str) -> Markup {
    html! {
        h1 { "Check your mail" }
        p.lead {
            "We sent a code and a link to "
            @if email.is_empty() { "your address" } @else { strong { (email) } }
            ". Enter the code or open the link; this page continues by itself."
        }
        form.stack method="post" action="/sign-in/code" data-step="code" {
            input type="hidden" name="login" value=(login);
            input type="hidden" name="next" value=(next);
            div.field {
                label for="code" { "Six-digit code" }
                input #code.code name="code" inputmode="numeric" autocomplete="one-time-code" pattern="[0-9 ]{6,8}" maxlength="8" required autofocus;
            }
            button.button.primary.wide { "Sign in" }
        }
        p.muted data-wait role="status" { "The code expires in " (duration(SIGN_IN)) "." }
        p { a href={ "/sign-in?" (form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish()) } { "Use another address" } }
    }
}

fn merge(masters: u64, next: &str) -> Markup {
    html! {
        h1 { "You are signed in" }
        p.lead { "As a guest you mastered " strong { (count(masters, "track")) } " in this browser. Move " (if masters == 1 { "it" } else { "them" }) " into your account?" }
        form.stack method="post" action="/sign-in/merge" data-step="merge" {
            input type="hidden" name="next" value=(next);
            button.button.primary.wide name="keep" value="move" { "Move " (count(masters, "track")) }
            button.button.wide name="keep" value="leave" { "Leave " (if masters == 1 { "it" } else { "them" }) }
            p.muted { "Moved tracks belong to your account. The others are deleted when their time is up." }
        }
    }
}

/// `/l/<token>`: the button consumes, so that a mail scanner that looks at links does not.
#[must_use]
pub fn link(frame: &Frame<'_>, token: &str, link: &Link) -> Markup {
    let change = link.purpose.as_deref().is_some_and(|purpose| purpose.starts_with("change_email"));
    let main = html! {
        div.column.narrow {
            @match link.state.as_str() {
                "waiting" => {
                    h1 { @if change { "Confirm the change" } @else { "Sign in" } }
                    p.lead {
                        @if change { "Confirm " strong { (link.email) } " for your account." }
                        @else { "Sign in as " strong { (link.email) } "." }
                    }
                    @if !link.same_browser && !change {
                        p.notice { (icon("info")) span { "You asked for this in another browser or app. This button signs in here; tracks made there as a guest stay there. If you did not ask, close this page." } }
                    }
                    form.stack method="post" action={ "/l/" (token) } data-link=(token) {
                        button.button.primary.wide { @if change { "Confirm" } @else { "Sign in" } }
                    }
                },
                "used" => {
                    h1 { "This link was used" }
                    p.lead { @if change { "The change was confirmed with it." } @else { "Whoever asked for it has been signed in; the page it was asked on has gone on by itself." } }
                    p { a.button href="/library" { "Open the library" } }
                },
                _ => {
                    h1 { "This link has ended" }
                    p.lead { "Links work once and for " (duration(SIGN_IN)) ". Ask for a new one." }
                    p { a.button.primary href="/sign-in" { "Sign in" } }
                }
            }
        }
    };
    frame.page("sign-in", "Sign in", "", &main)
}

/// `/confirm/<token>`: the button confirms, so that a mail scanner that looks at links does not.
#[must_use]
pub fn confirm(frame: &Frame<'_>, token: &str, confirmation: &Confirmation) -> Markup {
    let guest = confirmation.of == "guest";
    let main = html! {
        div.column.narrow {
            @match confirmation.state.as_str() {
                "waiting" => {
                    h1 { "Did you write to us?" }
                    p.lead {
                        "We got a message " @if !confirmation.sent_at.is_empty() { "on " (time(&confirmation.sent_at)) " " }
                        @if guest { "about tracks that a guest made in one browser." }
                        @else { "about the account of " strong { (confirmation.email) } "." }
                        " Confirm that it was you, so that we may act on it."
                    }
                    @if !confirmation.here && guest {
                        p.notice.bad role="alert" { (icon("warning")) span { "This is not the browser that made the tracks. Open the link there; it cannot be confirmed here." } }
                    } @else if !confirmation.here {
                        p.notice.bad role="alert" { (icon("warning")) span { "You are signed in with another account. Sign out, or sign in as " (confirmation.email) ", and open the link again." } }
                    } @else {
                        form.stack method="post" action={ "/confirm/" (token) } data-api={ "POST /v1/confirmations/" (token) } data-then={ "/confirm/" (token) } {
                            button.button.primary.wide { "Yes, it was me" }
                        }
                    }
                    p.muted { "It was not you? Close this page. Nothing happens without the button. Message " code { (confirmation.ticket) } "." }
                },
                "confirmed" => {
                    h1 { "Thank you" }
                    p.lead { "You have confirmed that message " code { (confirmation.ticket) } " is yours. We go on with it and answer by mail." }
                    p { a.button href="/" { "Home" } }
                },
                _ => {
                    h1 { "This link has expired" }
                    p.lead { "Such a link works for " (duration(CONFIRMATION)) ", until a newer one is sent or the message is closed. Answer our mail, or " a href="/contact" { "write to us" } " again." }
                }
            }
        }
    };
    frame.page("sign-in", "Confirm", "", &main)
}

/// A stop on the way to another site, for browsers without script: a form may not redirect there.
#[must_use]
pub fn onward(frame: &Frame<'_>, to: &str, name: &str) -> Markup {
    let main = html! {
        div.column.narrow {
            h1 { "On to " (name) }
            p { a.button.primary.wide href=(to) rel="noreferrer" { "Continue to " (name) (icon("onward")) } }
        }
    };
    frame.page("sign-in", "Sign in", "", &main)
}
