//! The letters the service writes, and how they go out: by SMTP, or into a folder where no server is configured.
//!
//! Text first, one button. A letter waits as a queue job of kind `mail`, sealed, because links and codes are secrets until used.

use crate::config::Config;
use crate::db::{DbError, Tx, new_id};
use crate::queue::{self, NewJob};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, AsyncFileTransport, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use loopmaster_core::retention::{ADDRESS_CHANGE, CONFIRMATION, SIGN_IN, duration};
use maud::{DOCTYPE, PreEscaped, html};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

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

/// A letter as it waits in the queue.
#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    to: String,
    #[serde(flatten)]
    letter: Letter,
}

/// What letters are sealed for.
const SEALED_FOR: &str = "mail";

/// Posts a letter in the transaction that gives the reason for it.
pub async fn post(tx: &mut Tx, config: &Config, to: &str, letter: &Letter) -> Result<(), DbError> {
    let waiting = serde_json::to_vec(&Waiting { to: to.to_owned(), letter: letter.clone() }).unwrap_or_default();
    let sealed = config.keys().seal(SEALED_FOR, &waiting);
    queue::enqueue(tx, &NewJob::chore("mail", &new_id("mail"), sealed)).await?;
    Ok(())
}

/// A letter that waits: to whom, and what.
#[must_use]
pub fn open(config: &Config, payload: &str) -> Option<(String, Letter)> {
    let plain = config.keys().open(SEALED_FOR, payload)?;
    let Waiting { to, letter } = serde_json::from_slice(&plain).ok()?;
    Some((to, letter))
}

/// How long letters stay in the folder that takes the place of a mail server.
pub const FOLDER_KEPT: Duration = Duration::from_hours(7 * 24);

/// Removes letters from the folder that takes the place of a mail server: those that have had their time, or all that are to or from
/// an address. Gives how many; with a mail server there are none.
pub async fn sweep_folder(config: &Config, address: Option<&str>) -> u64 {
    if !config.mail.smtp.is_empty() {
        return 0;
    }
    let (folder, address) = (config.mail_folder(), address.map(str::to_owned));
    let sweep = move || {
        let mut gone = 0;
        let Ok(entries) = std::fs::read_dir(&folder) else { return gone };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|ending| ending != "eml") {
                continue;
            }
            let over = match &address {
                Some(address) => std::fs::read(&path).is_ok_and(|text| names(&text, address)),
                None => std::fs::metadata(&path)
                    .and_then(|about| about.modified())
                    .is_ok_and(|written| written.elapsed().is_ok_and(|age| age >= FOLDER_KEPT)),
            };
            if !over {
                continue;
            }
            match std::fs::remove_file(&path) {
                Ok(()) => gone += 1,
                Err(error) => tracing::warn!(%error, path = %path.display(), "a letter stays in the mail folder"),
            }
        }
        gone
    };
    tokio::task::spawn_blocking(sweep).await.unwrap_or(0)
}

/// Whether a letter names an address, in its header or in its text: there a long line may be cut with `=`.
fn names(letter: &[u8], address: &str) -> bool {
    let text = String::from_utf8_lossy(letter).replace("=\r\n", "").replace("=\n", "").to_lowercase();
    text.match_indices(address).any(|(at, found)| {
        // bob@example.com is not rob.bob@example.com, nor bob@example.com.br.
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
        let before = text[..at].chars().next_back().is_some_and(inside);
        let mut after = text[at + found.len()..].chars();
        let goes_on = match after.next() {
            Some('.') => after.next().is_some_and(char::is_alphanumeric),
            Some(c) => c.is_alphanumeric() || matches!(c, '_' | '-'),
            None => false,
        };
        !before && !goes_on
    })
}

/// A day as letters write it: 9 December 2026.
#[must_use]
pub fn day(ms: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(ms / 1000)
        .map(|time| format!("{} {} {}", time.day(), time.month(), time.year()))
        .unwrap_or_default()
}

/// Why a letter did not go out.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// It never will: the address or the letter is refused.
    #[error("{0}")]
    Permanent(String),
    /// Later, perhaps.
    #[error("{0}")]
    Transient(String),
}

impl MailError {
    /// The same, not naming this address.
    #[must_use]
    pub fn without(self, address: &str) -> Self {
        let hide = |text: String| {
            let lower = text.to_ascii_lowercase();
            let mut hidden = String::with_capacity(text.len());
            let mut from = 0;
            for (at, found) in lower.match_indices(&address.to_ascii_lowercase()) {
                hidden.push_str(&text[from..at]);
                hidden.push('…');
                from = at + found.len();
            }
            hidden.push_str(&text[from..]);
            hidden
        };
        match self {
            Self::Permanent(text) => Self::Permanent(hide(text)),
            Self::Transient(text) => Self::Transient(hide(text)),
        }
    }
}

/// Sends letters.
#[derive(Clone, Debug)]
pub struct Mailer {
    from: Mailbox,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(PathBuf),
}

impl Mailer {
    /// As configured.
    pub fn of(config: &Config) -> Result<Self, String> {
        let mail = &config.mail;
        if mail.smtp.is_empty() {
            Self::folder(&mail.from, config.mail_folder())
        } else {
            Self::smtp(&mail.from, mail.smtp.expose())
        }
    }

    /// By SMTP (`smtp://…?tls=required`, `smtps://…`).
    pub fn smtp(from: &str, url: &str) -> Result<Self, String> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|error| format!("mail.smtp is not an SMTP address: {error}"))?
            .timeout(Some(Duration::from_secs(30)))
            .build();
        Ok(Self { from: sender(from)?, way: Way::Smtp(transport) })
    }

    /// Into a folder, one `.eml` file for each letter.
    pub fn folder(from: &str, folder: impl Into<PathBuf>) -> Result<Self, String> {
        Ok(Self { from: sender(from)?, way: Way::Folder(folder.into()) })
    }

    /// Sends one letter. `id` makes a repeat recognisable to mail programs.
    pub async fn send(&self, id: &str, to: &str, letter: &Letter) -> Result<(), MailError> {
        let permanent = |error: String| MailError::Permanent(error);
        let words = letter.words();
        let to: Address = to.parse().map_err(|error| permanent(format!("not a mail address: {error}")))?;
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&words.subject)
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())));
        if let Some(Ok(reply)) = letter.reply_to().map(str::parse) {
            message = message.reply_to(Mailbox::new(None, reply));
        }
        let mut message = message
            .multipart(MultiPart::alternative_plain_html(words.text(), words.html()))
            .map_err(|error| permanent(error.to_string()))?;
        // Keeps vacation notes from answering.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        message.headers_mut().insert_raw(HeaderValue::new(automatic, "auto-generated".to_owned()));
        match &self.way {
            Way::Smtp(transport) => transport.send(message).await.map(|_| ()).map_err(|error| {
                if error.is_permanent() {
                    MailError::Permanent(error.to_string())
                } else {
                    MailError::Transient(error.to_string())
                }
            }),
            Way::Folder(folder) => {
                let failed = |error: String| MailError::Transient(format!("the mail folder: {error}"));
                tokio::fs::create_dir_all(folder).await.map_err(|error| failed(error.to_string()))?;
                let transport = AsyncFileTransport::<Tokio1Executor>::new(folder);
                transport.send(message).await.map(|_| ()).map_err(|error| failed(error.to_string()))
            }
        }
    }
}

fn sender(from: &str) -> Result<Mailbox, String> {
    from.parse().map_err(|error| format!("mail.from is not a mail address (\"{from}\"): {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_name_an_address_are_found() {
        assert!(names(b"To: Ben <Ben@Example.com>\r\n", "ben@example.com"));
        assert!(names(b"moves to ben@exam=\r\nple.com.\r\n", "ben@example.com"));
        for other in [
            "To: rob.ben@example.com",
            "To: ben@example.com.br",
            "To: ben@example.community",
            "",
            "To: xben@example.com",
        ] {
            assert!(!names(other.as_bytes(), "ben@example.com"), "{other}");
        }
    }

    #[test]
    fn errors_do_not_repeat_the_address() {
        let said = MailError::Permanent("550 5.1.1 <Ana@Example.com>: no ana@example.com hère".to_owned());
        assert_eq!(said.without("ana@example.com").to_string(), "550 5.1.1 <…>: no … hère");
        assert_eq!(MailError::Transient("later".to_owned()).without("ana@example.com").to_string(), "later");
    }

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

    #[tokio::test]
    async fn a_folder_takes_letters() {
        let folder = tempfile::tempdir().unwrap();
        let mailer = Mailer::folder("LoopMastering <hello@lm.example>", folder.path().join("mail")).unwrap();
        let letter = Letter::SignIn { code: "012345".to_owned(), link: "https://lm.example/l/lmk_x".to_owned() };
        mailer.send("job_1", "ana@example.com", &letter).await.unwrap();
        let file = std::fs::read_dir(folder.path().join("mail")).unwrap().find_map(|entry| {
            let path = entry.unwrap().path();
            path.extension().is_some_and(|kind| kind == "eml").then_some(path)
        });
        let text = std::fs::read_to_string(file.unwrap()).unwrap();
        assert!(text.contains("To: ana@example.com") && text.contains("Subject: Sign in to LoopMastering"), "{text}");
        assert!(
            text.contains("012345")
                && text.contains("Auto-Submitted: auto-generated")
                && text.contains("<job_1@lm.example>")
        );
        assert!(matches!(mailer.send("job_2", "nobody", &letter).await, Err(MailError::Permanent(_))));
    }
}
