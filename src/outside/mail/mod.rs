//! The letters the service writes ([`letter`]), and how they go out: by SMTP, or into a folder where no server is configured ([`folder`]).
//!
//! Text first, one button. A letter waits as a queue job of kind `mail`, sealed, because links and codes are secrets until used.

mod folder;
mod letter;

pub use folder::{FOLDER_KEPT, sweep_folder};
pub use letter::{Letter, Words, day};

use crate::config::Config;
use crate::db::{DbError, Tx, new_id};
use crate::queue::{self, NewJob};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, AsyncFileTransport, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

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
    fn errors_do_not_repeat_the_address() {
        let said = MailError::Permanent("550 5.1.1 <Ana@Example.com>: no ana@example.com hère".to_owned());
        assert_eq!(said.without("ana@example.com").to_string(), "550 5.1.1 <…>: no … hère");
        assert_eq!(MailError::Transient("later".to_owned()).without("ana@example.com").to_string(), "later");
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
