//! What letters say: all their words stand here.

use loopmaster_core::retention::{ADDRESS_CHANGE, CONFIRMATION, SIGN_IN, duration};
use maud::{DOCTYPE, PreEscaped, html};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One letter, before it is put into words.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "letter", rename_all = "snake_case")]
pub enum Letter {
    /// A link and a code to sign in with.
    SignIn {
        /// Six digits.
        code: String,
        /// The page that shows the button.
        link: String,
    },
    /// To the old address: somebody signed in wants the account to have another.
    ConfirmOldAddress {
        /// The address it would have.
        new: String,
        /// The page that shows the button.
        link: String,
    },
    /// To the new address.
    ConfirmNewAddress {
        /// The page that shows the button.
        link: String,
    },
    /// To the old address, afterwards.
    AddressChanged {
        /// The address the account has now.
        new: String,
    },
    /// All tracks of a batch have ended.
    MastersReady {
        /// The batch's name.
        name: String,
        /// How many are done.
        done: i64,
        /// How many failed.
        failed: i64,
        /// The batch's page.
        link: String,
    },
    /// An export can be fetched.
    ExportReady {
        /// The account page, where the download is.
        link: String,
        /// The last day it is there.
        until: String,
    },
    /// The account goes on that day.
    Closing {
        /// Day.
        on: String,
        /// The account page, where it can be kept.
        link: String,
    },
    /// The account is gone.
    Closed,
    /// Songs of the account go by their age.
    SongsAge {
        /// The notice this letter is.
        notice: String,
        /// How many.
        songs: u64,
        /// How many days songs are kept.
        days: u32,
        /// None goes before this day.
        first: String,
        /// The library, where each song has its day.
        link: String,
    },
    /// A new API token exists.
    TokenMade {
        /// Its name.
        name: String,
        /// The account page.
        link: String,
    },
    /// A webhook does not get deliveries any more.
    WebhookStopped {
        /// Where it went.
        url: String,
        /// What happened.
        why: String,
        /// The account page.
        link: String,
    },
    /// To us: somebody wrote through the contact form.
    Ticket {
        /// Its id.
        ticket: String,
        /// What it is about.
        topic: String,
        /// Who answers go to.
        from: String,
        /// Their account, where they were signed in.
        user: Option<String>,
        /// Its address. A letter of the version before has none.
        #[serde(default)]
        account: Option<String>,
        /// Their guest's id, where they were not.
        #[serde(default)]
        guest: Option<String>,
        /// What they wrote.
        message: String,
    },
    /// Asks whether a message is really theirs.
    ConfirmMessage {
        /// The message's id.
        ticket: String,
        /// The day it was sent.
        sent: String,
        /// Whether it is about a guest's tracks, and not an account.
        guest: bool,
        /// The page that shows the button.
        link: String,
    },
    /// To them: it has arrived.
    TicketReceived {
        /// Its id.
        ticket: String,
    },
}

// Links and codes open accounts: logs get the subject alone.
impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Letter").field(&self.words().subject).finish()
    }
}

/// A letter in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Subject line.
    pub subject: String,
    /// Paragraphs before the code and the button.
    pub before: Vec<String>,
    /// Shown large.
    pub code: Option<String>,
    /// Label and address.
    pub button: Option<(&'static str, String)>,
    /// Paragraphs after it, muted.
    pub after: Vec<String>,
}

impl Letter {
    /// Puts the letter into words.
    #[must_use]
    pub fn words(&self) -> Words {
        let words = |subject: &str, before: &[&str]| Words {
            subject: subject.to_owned(),
            before: before.iter().map(|&line| line.to_owned()).collect(),
            code: None,
            button: None,
            after: Vec::new(),
        };
        match self {
            Self::SignIn { code, link } => Words {
                code: Some(code.clone()),
                button: Some(("Sign in", link.clone())),
                after: vec![
                    format!(
                        "Open the link in the browser you started in, or type the code there. Either works once, for {}.",
                        duration(SIGN_IN)
                    ),
                    "You did not ask for this? Then nothing happens: without this mail nobody gets in.".to_owned(),
                ],
                ..words("Sign in to LoopMastering", &["Here is your way into LoopMastering."])
            },
            Self::ConfirmOldAddress { new, link } => Words {
                button: Some(("Let it change", link.clone())),
                after: vec![
                    format!("The change also needs a yes from the new address. Both links work for {}.", duration(ADDRESS_CHANGE)),
                    "It was not you? Do not press the button. Sign in, look at your sessions and end those you do not know.".to_owned(),
                ],
                ..words(
                    "Your LoopMastering account wants another address",
                    &[&format!("You, or somebody signed in as you, asked that your account moves to {new}.")],
                )
            },
            Self::ConfirmNewAddress { link } => Words {
                button: Some(("This address is mine", link.clone())),
                after: vec![
                    format!("The change also needs a yes from the old address. Both links work for {}.", duration(ADDRESS_CHANGE)),
                    "You do not know what this is about? Leave it, and nothing changes.".to_owned(),
                ],
                ..words("Confirm this address for LoopMastering", &["An account at LoopMastering wants to move to this address."])
            },
            Self::AddressChanged { new } => words(
                "Your LoopMastering account has a new address",
                &[
                    &format!("From now on you sign in with {new}. This address does not open your account any more."),
                    "It was not you? Answer through the contact form at once; we keep a record of the change.",
                ],
            ),
            Self::MastersReady { name, done, failed, link } => {
                let masters = if *done == 1 { "1 master is".to_owned() } else { format!("{done} masters are") };
                let mut text = words(
                    &if *done == 0 { format!("{name}: no master came out") } else { format!("{name}: your masters are ready") },
                    &[&if *done == 0 {
                        format!("None of the tracks of {name} could be mastered.")
                    } else {
                        format!("{name} is done: {masters} ready to hear and to download.")
                    }],
                );
                if *failed > 0 {
                    let tracks = if *failed == 1 { "1 track".to_owned() } else { format!("{failed} tracks") };
                    text.before.push(format!("{tracks} could not be mastered. The page says why and what to do."));
                }
                text.button = Some(("Listen", link.clone()));
                text.after = vec!["You get this once for each batch. Your account page turns it off.".to_owned()];
                text
            }
            Self::ExportReady { link, until } => Words {
                button: Some(("To the download", link.clone())),
                after: vec![format!("It is there until {until}. You need to be signed in.")],
                ..words("Your LoopMastering export is ready", &["Everything we keep about you is packed into one archive."])
            },
            Self::Closing { on, link } => Words {
                button: Some(("Keep my account", link.clone())),
                after: vec!["It was not you? Keep the account, then end the sessions you do not know.".to_owned()],
                ..words(
                    "Your LoopMastering account will be deleted",
                    &[
                        &format!("As you asked, your account goes on {on}, with every mix, master and setting in it."),
                        "Until then you can sign in, download, and change your mind.",
                    ],
                )
            },
            Self::Closed => words(
                "Your LoopMastering account is deleted",
                &["Your account is gone, and your mixes and masters with it. Thank you for the music."],
            ),
            Self::SongsAge { songs, days, first, link, .. } => {
                let (these, they) = if *songs == 1 { ("1 song".to_owned(), "it goes") } else { (format!("{songs} songs"), "they go") };
                Words {
                    button: Some(("Open my library", link.clone())),
                    after: vec!["Download what you want to keep. Your account and newer songs stay as they are.".to_owned()],
                    ..words(
                        &format!("{these} of yours will be removed from LoopMastering"),
                        &[
                            &format!("This service keeps songs for {days} days. {these} of yours will be that old soon: {they} with the mix and all masters, none before {first}."),
                            "Your library shows the day at each song.",
                        ],
                    )
                }
            }
            Self::TokenMade { name, link } => Words {
                button: Some(("Look at my tokens", link.clone())),
                after: vec!["It was not you? Revoke it there, and end the sessions you do not know.".to_owned()],
                ..words(
                    "A new API token for your LoopMastering account",
                    &[&format!("The token “{name}” was made just now. Programs that hold it can use your account.")],
                )
            },
            Self::WebhookStopped { url, why, link } => Words {
                button: Some(("Look at my webhooks", link.clone())),
                ..words(
                    "A webhook of your LoopMastering account is off",
                    &[&format!("We no longer send events to {url}. {why}"), "Repair the receiver, then send a test from your account page: it switches the webhook on again."],
                )
            },
            Self::Ticket { ticket, topic, from, user, account, guest, message } => words(
                &format!("[{ticket}] {topic}"),
                &[
                    &match (user, account, guest) {
                        (Some(user), Some(account), _) => format!("From {from}, signed in as {user} ({account})."),
                        (Some(user), None, _) => format!("From {from}, signed in as {user}."),
                        (None, _, Some(guest)) => format!("From {from}, not signed in, guest {guest}."),
                        (None, _, None) => format!("From {from}, not signed in."),
                    },
                    message,
                    &format!(
                        "The address was typed into a form and proves nothing. Before acting on an account or on tracks: \
                         loopmaster admin tickets verify {ticket}"
                    ),
                ],
            ),
            Self::ConfirmMessage { ticket, sent, guest, link } => Words {
                button: Some(("Look at it", link.clone())),
                after: vec![
                    format!("The link works once, for {}.", duration(CONFIRMATION)),
                    "You did not write to us? Leave it, and nothing happens.".to_owned(),
                ],
                ..words(
                    &format!("Did you write to LoopMastering? [{ticket}]"),
                    &[
                        &if *guest {
                            format!(
                                "On {sent} we got a message about tracks that a guest made. If it was you, please confirm it \
                                 in the browser you made them in: copy the address there."
                            )
                        } else {
                            format!("On {sent} we got a message about your account. If it was you, please confirm it.")
                        },
                        "We act on it only then.",
                    ],
                )
            },
            Self::TicketReceived { ticket } => words(
                "We have your message",
                &[&format!("Your message has arrived as {ticket}. A person reads it and answers to this address.")],
            ),
        }
    }

    /// Where an answer should go, when not to the sender.
    #[must_use]
    pub fn reply_to(&self) -> Option<&str> {
        match self {
            Self::Ticket { from, .. } => Some(from),
            _ => None,
        }
    }
}

impl Words {
    /// The text part.
    #[must_use]
    pub fn text(&self) -> String {
        let mut parts = self.before.clone();
        parts.extend(self.code.as_ref().map(|code| format!("Your code: {code}")));
        parts.extend(self.button.as_ref().map(|(label, url)| format!("{label}:\n{url}")));
        parts.extend(self.after.iter().cloned());
        parts.push("LoopMastering".to_owned());
        parts.join("\n\n") + "\n"
    }

    /// The HTML part: the same words, readable without images, light and dark.
    #[must_use]
    pub fn html(&self) -> String {
        const STYLE: &str = ":root{color-scheme:light dark}body{margin:0;background:#f7f6f3;color:#1b1d20;font:16px/24px \
            system-ui,sans-serif}main{max-width:520px;margin:0 auto;padding:32px 24px}p{margin:0 0 16px;white-space:pre-line}\
            .code{font:28px/36px ui-monospace,monospace;letter-spacing:4px}.button{display:inline-block;margin:8px 0 24px;\
            padding:12px 24px;border-radius:10px;background:#1b1d20;color:#fff;text-decoration:none}.muted{color:#5e646c}\
            @media(prefers-color-scheme:dark){body{background:#101214;color:#eceae5}.button{background:#f2a33a;color:#101214}\
            .muted{color:#9aa1ab}}";
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width";
                    title { (self.subject) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        @for paragraph in &self.before { p { (paragraph) } }
                        @if let Some(code) = &self.code { p.code { (code) } }
                        @if let Some((label, url)) = &self.button { a.button href=(url) { (label) } }
                        @for paragraph in &self.after { p.muted { (paragraph) } }
                        p.muted { "LoopMastering" }
                    }
                }
            }
        }
        .into_string()
    }
}

/// A day as letters write it: 9 December 2026.
#[must_use]
pub fn day(ms: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(ms / 1000)
        .map(|time| format!("{} {} {}", time.day(), time.month(), time.year()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_out() {
        assert_eq!(day(1_796_774_400_000), "9 December 2026");
    }

    #[test]
    fn words_are_the_same_in_text_and_html_and_html_is_escaped() {
        let letter = Letter::MastersReady {
            name: "<b>Night & drive".to_owned(),
            done: 3,
            failed: 1,
            link: "https://lm.example/b/bat_1".to_owned(),
        };
        let words = letter.words();
        assert_eq!(words.subject, "<b>Night & drive: your masters are ready");
        assert!(words.text().contains("3 masters are ready"), "{}", words.text());
        assert!(words.text().contains("1 track could not be mastered"));
        assert!(words.text().contains("https://lm.example/b/bat_1"));
        let html = words.html();
        assert!(html.contains("&lt;b&gt;Night &amp; drive is done") && !html.contains("<b>Night"), "{html}");
        assert!(html.contains("href=\"https://lm.example/b/bat_1\""));
    }
}
