//! Messages of the contact form, the only owner of their table: who sent them, and whether the person an account or a guest's tracks
//! belong to has confirmed that the message is theirs.
//!
//! What somebody types proves nothing. A message is an account's only if it was sent signed in. An operator who has to know sends a
//! link: to the address of the account, or, for a guest, to the address in the message, and then it works only in the browser that
//! holds the guest's tracks. A link works once.

use crate::db::{Db, Tx, hash_secret, new_id, new_secret};
use crate::domain::accounts::email::limit_mails;
use crate::domain::accounts::users;
use crate::domain::audit;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::identity::{Caller, Identity};
use crate::outside::mail::{self, Letter};
use crate::secrets::looks_like;
use crate::service::Service;
use loopmaster_core::retention::CONFIRMATION;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use utoipa::ToSchema;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A question or a error.
    Question,
    /// Somebody's data.
    Privacy,
    /// An account.
    Account,
    /// A child under 13 uses the service.
    Child,
    /// A copyright complaint.
    Copyright,
    /// A security error.
    Security,
    /// Anything else.
    Other,
}

impl Topic {
    /// As it is written down.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Privacy => "privacy",
            Self::Account => "account",
            Self::Child => "child",
            Self::Copyright => "copyright",
            Self::Security => "security",
            Self::Other => "other",
        }
    }
}

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// `tkt_…`
    pub id: String,
    /// [`Topic::name`].
    pub topic: String,
    /// The address that was typed: where answers go.
    pub email: String,
    /// The account of a sender who was signed in.
    pub user: Option<String>,
    /// The guest of a sender who was not.
    pub guest: Option<String>,
    /// The text.
    pub message: String,
    /// Milliseconds, like all that follow.
    pub created_at: i64,
    /// When it was closed.
    pub closed_at: Option<i64>,
    /// The confirmation that was asked for last.
    pub check: Option<Check>,
}

/// A confirmation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `usr_…` or `gst_…`
    pub of: String,
    /// Where the link went.
    pub email: String,
    /// When.
    pub sent_at: i64,
    /// Until when it works.
    pub until: i64,
    /// When it was confirmed, and how.
    pub confirmed: Option<(i64, String)>,
}

/// Whose account or tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An account.
    Account {
        /// `usr_…`
        id: String,
        /// Its address.
        email: String,
    },
    /// The tracks of a browser.
    Guest {
        /// `gst_…`
        id: String,
    },
}

impl Subject {
    /// `usr_…` or `gst_…`
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Account { id, .. } | Self::Guest { id } => id,
        }
    }
}

/// How a confirmation stands, for its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The button can be pressed.
    Waiting,
    /// It has been.
    Confirmed,
    /// Too late, replaced, or closed.
    Expired,
}

fn ticket(row: &AnyRow) -> Result<Ticket> {
    let check = match (row.try_get::<Option<String>, _>("verify_of")?, row.try_get("verify_sent_at")?) {
        (Some(of), Some(sent_at)) => Some(Check {
            of,
            email: row.try_get::<Option<String>, _>("verify_email")?.unwrap_or_default(),
            sent_at,
            until: row.try_get::<Option<i64>, _>("verify_until")?.unwrap_or(sent_at),
            confirmed: row
                .try_get::<Option<i64>, _>("verified_at")?
                .zip(row.try_get::<Option<String>, _>("verified_by")?),
        }),
        _ => None,
    };
    Ok(Ticket {
        id: row.try_get("id")?,
        topic: row.try_get("topic")?,
        email: row.try_get("email")?,
        user: row.try_get("user_id")?,
        guest: row.try_get("guest_id")?,
        message: row.try_get("message")?,
        created_at: row.try_get("created_at")?,
        closed_at: row.try_get("closed_at")?,
        check,
    })
}

/// Writes a message down and posts its two mails: to the operator, and to the address that was typed.
pub async fn create(
    tx: &mut Tx,
    service: &Service,
    topic: Topic,
    email: &str,
    message: &str,
    caller: &Caller,
    now: i64,
) -> Result<String> {
    let id = new_id("tkt");
    let account = match caller.user() {
        Some(user) => users::by_id(tx, user).await?,
        None => None,
    };
    let guest = match &caller.identity {
        Identity::Guest { id } => Some(id.as_str()),
        _ => None,
    };
    sqlx::query(
        "INSERT INTO tickets (id, topic, email, user_id, guest_id, message, request_id, ip_hash, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&id)
    .bind(topic.name())
    .bind(email)
    .bind(account.as_ref().map(|account| account.id.as_str()))
    .bind(guest)
    .bind(message)
    .bind(&caller.request_id)
    .bind(&caller.ip_hash)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    if !service.config.mail.operator.is_empty() {
        let (user, account) = account.map(|account| (account.id, account.email)).unzip();
        let letter = Letter::Ticket {
            ticket: id.clone(),
            topic: topic.name().to_owned(),
            from: email.to_owned(),
            user,
            account,
            guest: guest.map(str::to_owned),
            message: message.to_owned(),
        };
        mail::post(tx, &service.config, &service.config.mail.operator, &letter).await?;
    }
    mail::post(tx, &service.config, email, &Letter::TicketReceived { ticket: id.clone() }).await?;
    Ok(id)
}

/// The open messages, oldest first, of one topic or all.
pub async fn open(db: &Db, topic: Option<Topic>) -> Result<Vec<Ticket>> {
    let text =
        "SELECT * FROM tickets WHERE closed_at IS NULL AND ($1 = '' OR topic = $1) ORDER BY created_at LIMIT 200";
    let rows = sqlx::query(text).bind(topic.map_or("", Topic::name)).fetch_all(db.read()).await?;
    rows.iter().map(ticket).collect()
}

/// One message that is open.
pub async fn find(tx: &mut Tx, id: &str) -> Result<Ticket> {
    let row = sqlx::query("SELECT * FROM tickets WHERE id = $1").bind(id).fetch_optional(&mut **tx).await?;
    let found = ticket(&row.ok_or_else(|| Error::not_found("ticket", id))?)?;
    if let Some(closed) = found.closed_at {
        let detail = format!("{id} was closed at {}", crate::timestamp::rfc3339(closed));
        return Err(Error::conflict("ticket.closed", detail));
    }
    Ok(found)
}

/// Closes a message; false if there is no such open one.
pub async fn close(tx: &mut Tx, id: &str, now: i64) -> Result<bool> {
    let text = "UPDATE tickets SET closed_at = $1 WHERE id = $2 AND closed_at IS NULL";
    Ok(sqlx::query(text).bind(now).bind(id).execute(&mut **tx).await?.rows_affected() > 0)
}

/// Takes an account or a guest that is gone out of all messages. Whether and when something was confirmed stays.
pub async fn forget(tx: &mut Tx, subject: &str) -> Result<()> {
    for text in [
        "UPDATE tickets SET user_id = NULL WHERE user_id = $1",
        "UPDATE tickets SET guest_id = NULL WHERE guest_id = $1",
        "UPDATE tickets SET verify_of = NULL, verify_email = NULL, verify_hash = NULL WHERE verify_of = $1",
    ] {
        sqlx::query(text).bind(subject).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Removes the messages of an account that goes, by the account or by an address of it. A message is part of the account; somebody who
/// still wants an answer writes again, and is known by that address then.
pub async fn delete_of(tx: &mut Tx, user: &str, addresses: &[String]) -> Result<()> {
    for address in addresses {
        sqlx::query("DELETE FROM tickets WHERE email = $1").bind(address).execute(&mut **tx).await?;
    }
    sqlx::query("DELETE FROM tickets WHERE user_id = $1").bind(user).execute(&mut **tx).await?;
    Ok(())
}

/// Whose a message is by what the sender's browser proved; nobody's if it proved nothing.
pub async fn subject(tx: &mut Tx, ticket: &Ticket) -> Result<Option<Subject>> {
    if let Some(user) = &ticket.user {
        let account = users::by_id(tx, user).await?;
        return Ok(account.map(|account| Subject::Account { id: account.id, email: account.email }));
    }
    Ok(ticket.guest.clone().map(|id| Subject::Guest { id }))
}

/// Posts a link that confirms a message as this account's or guest's. A link that was sent before is void.
pub async fn ask(tx: &mut Tx, service: &Service, ticket: &Ticket, of: &Subject, now: i64) -> Result<Check> {
    let (email, guest) = match of {
        Subject::Account { email, .. } => (email, false),
        Subject::Guest { .. } => (&ticket.email, true),
    };
    limit_mails(tx, service, email, "").await?;
    let secret = new_secret("lmv");
    let check = Check {
        of: of.id().to_owned(),
        email: email.clone(),
        sent_at: now,
        until: now + CONFIRMATION,
        confirmed: None,
    };
    sqlx::query(
        "UPDATE tickets SET verify_of = $1, verify_email = $2, verify_hash = $3, verify_sent_at = $4, verify_until = $5,
           verified_at = NULL, verified_by = NULL WHERE id = $6",
    )
    .bind(&check.of)
    .bind(&check.email)
    .bind(hash_secret(&secret))
    .bind(check.sent_at)
    .bind(check.until)
    .bind(&ticket.id)
    .execute(&mut **tx)
    .await?;
    let letter = Letter::ConfirmMessage {
        ticket: ticket.id.clone(),
        sent: mail::day(ticket.created_at),
        guest,
        link: service.config.public_url.with(&format!("/confirm/{secret}")),
    };
    mail::post(tx, &service.config, email, &letter).await?;
    Ok(check)
}

/// The message a link belongs to, and how the confirmation stands.
pub async fn by_link(c: &mut AnyConnection, link: &str, now: i64) -> Result<(Ticket, Check, State)> {
    let row = if looks_like("lmv", link) {
        sqlx::query("SELECT * FROM tickets WHERE verify_hash = $1")
            .bind(hash_secret(link))
            .fetch_optional(&mut *c)
            .await?
    } else {
        None
    };
    let unknown = || {
        let detail = "this link is not known, or a newer one was sent; copy the whole of it, or write to us again";
        Error::new(Kind::NotFound, "ticket.link_unknown", detail)
    };
    let mut found = ticket(&row.ok_or_else(unknown)?)?;
    let check = found.check.take().ok_or_else(unknown)?;
    let state = if check.confirmed.is_some() {
        State::Confirmed
    } else if check.until <= now || found.closed_at.is_some() || !still(c, &check).await? {
        State::Expired
    } else {
        State::Waiting
    };
    Ok((found, check, state))
}

/// Whether the account still has the address its link went to. A guest's link is held to the browser instead.
async fn still(c: &mut AnyConnection, check: &Check) -> Result<bool> {
    if check.of.starts_with("gst_") {
        return Ok(true);
    }
    Ok(users::by_id(c, &check.of).await?.is_some_and(|account| account.email == check.email))
}

/// How this caller may confirm, or why not.
pub fn may_confirm(check: &Check, caller: &Caller) -> Result<&'static str> {
    if check.of.starts_with("gst_") {
        if caller.guest.as_deref() == Some(check.of.as_str()) {
            return Ok("in the browser of the tracks");
        }
        return Err(Error::forbidden(
            "ticket.other_browser",
            "this is not the browser that made the tracks; open the link there",
        ));
    }
    match caller.user() {
        Some(user) if user == check.of => Ok("signed in, by the link in the mailbox"),
        None => Ok("by the link in the mailbox"),
        Some(_) => Err(Error::forbidden(
            "ticket.other_account",
            "you are signed in with another account; sign out first, or sign in with the account the mail went to",
        )),
    }
}

/// Confirms a message, once.
pub async fn confirm(tx: &mut Tx, link: &str, caller: &Caller, now: i64) -> Result<String> {
    let gone = |code, detail: &str| Err(Error::new(Kind::Gone, code, detail));
    let (ticket, check, state) = by_link(tx, link, now).await?;
    match state {
        State::Confirmed => return gone("ticket.link_used", "this link has been used: the message is confirmed"),
        State::Expired => {
            return gone("ticket.link_expired", "this link has expired; answer our mail, or write to us again");
        }
        State::Waiting => {}
    }
    let how = may_confirm(&check, caller)?;
    let done = sqlx::query(
        "UPDATE tickets SET verified_at = $1, verified_by = $2
         WHERE verify_hash = $3 AND verified_at IS NULL AND closed_at IS NULL AND verify_until > $1",
    )
    .bind(now)
    .bind(how)
    .bind(hash_secret(link))
    .execute(&mut **tx)
    .await?;
    if done.rows_affected() == 0 {
        return gone("ticket.link_used", "this link has been used: the message is confirmed");
    }
    audit::record(tx, caller, "ticket.confirmed", &ticket.id, &format!("{} {how}", check.of), now).await?;
    Ok(ticket.id)
}
