//! Sign-in by mail: a link and a six-digit code, bound to the browser that asked.
//!
//! - Whoever asks gets the same answer for every address; the mail alone tells.
//! - Opening the link shows a button, pressing it consumes: programs that look into mails press nothing.
//! - Opened in another browser, the link signs in there and only there; the tab that waits stays outside, or somebody could send
//!   a link and wait for the other's session.
//! - Opened in the same browser, the tab that waits finds the session and goes on.

use super::identities::{self, Identity as Linked};
use super::sessions::{self, Opened};
use super::users::{self, User};
use crate::db::{Tx, hash_secret, new_id, new_secret};
use crate::domain::audit;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::identity::{Caller, Identity};
use crate::domain::limits::Rule;
use crate::outside::mail::{Letter, post};
use crate::secrets::{looks_like, same, six_digits};
use crate::service::Service;
use loopmaster_core::retention::{ADDRESS_CHANGE, SIGN_IN};
use sqlx::{AnyConnection, Row};

/// Wrong codes before the login is void.
const TRIES: i64 = 5;
/// For so long after the link was used, the waiting tab lets the cookie of the link's page arrive.
const SETTLE: i64 = 5000;

/// Mails to one address in an hour.
const PER_ADDRESS: u64 = 5;
/// Mails asked for from one network address in an hour.
const PER_IP: u64 = 30;
/// Codes tried for one address in a day, over all logins: six digits are guessed by patience otherwise.
const CODES: u64 = 30;

/// A sign-in that has begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// `lgn_…`, for the tab that waits.
    pub login: String,
    /// `lml_…`, for the browser's cookie.
    pub browser: String,
    /// Milliseconds.
    pub expires_at: i64,
}

/// What a sign-in ends with.
#[derive(Debug)]
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// The session.
    pub session: Opened,
    /// Whether it began in this browser: only then may a guest's masters be taken over.
    pub same_browser: bool,
}

/// How a waiting tab stands.
#[derive(Debug)]
pub enum Waiting {
    /// Nobody has used link or code.
    Waiting,
    /// This browser is signed in; a session where its cookie has not arrived.
    SignedIn(Option<Opened>),
    /// Too late, or used elsewhere (true).
    Expired(bool),
}

/// What the page of a link shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// The address the mail went to.
    pub email: String,
    /// Whether it was this browser that asked.
    pub same_browser: bool,
    /// `sign_in`, `change_email_old` or `change_email_new`.
    pub purpose: String,
    /// waiting, used or expired.
    pub state: &'static str,
}

/// What pressing the button of a link did.
#[derive(Debug)]
pub enum Pressed {
    /// Signed in.
    SignedIn(Box<SignedIn>),
    /// One of the two addresses of a change has said yes; `true`: both, and the change is made.
    Confirmed(bool),
}

struct Login {
    id: String,
    email: String,
    purpose: String,
    user_id: Option<String>,
    code_hash: String,
    browser_hash: String,
    tries: i64,
    expires_at: i64,
    consumed_at: Option<i64>,
    consumed_by: Option<String>,
    handed_over_at: Option<i64>,
    /// To be linked to the account of the address, once that is confirmed in the browser that asked.
    identity: Option<Linked>,
}

/// Begins a sign-in and posts the mail. The cookie of an earlier one is kept: asking again must not break the first link.
/// `identity` came back from a provider that does not vouch for the address.
pub async fn begin(
    tx: &mut Tx,
    service: &Service,
    email: &str,
    identity: Option<&Linked>,
    caller: &Caller,
    now: i64,
) -> Result<Begun> {
    let Caller { guest, ip_hash: ip, login, .. } = caller;
    let guest = guest.as_deref();
    limit_mails(tx, service, email, ip).await?;
    let browser =
        login.as_deref().filter(|token| looks_like("lml", token)).map_or_else(|| new_secret("lml"), str::to_owned);
    let expires_at = now + SIGN_IN;
    let draft = Draft { email, purpose: "sign_in", user: None, browser: &browser, guest, ip, expires_at, identity };
    let (login, link, code) = insert(tx, service, &draft, now).await?;
    post(
        tx,
        &service.config,
        email,
        &Letter::SignIn { code, link: service.config.public_url.with(&format!("/l/{link}")) },
    )
    .await?;
    Ok(Begun { login, browser, expires_at: now + SIGN_IN })
}

/// Both limits of asking for a mail.
pub async fn limit_mails(tx: &mut Tx, service: &Service, email: &str, ip: &str) -> Result<()> {
    let address = service.config.keys().blind(email);
    Rule::hourly("mails", PER_ADDRESS).spend(tx, &address, 1).await?;
    if !ip.is_empty() {
        Rule::hourly("mails", PER_IP).spend(tx, ip, 1).await?;
    }
    Ok(())
}

struct Draft<'a> {
    email: &'a str,
    purpose: &'a str,
    user: Option<&'a str>,
    browser: &'a str,
    guest: Option<&'a str>,
    ip: &'a str,
    expires_at: i64,
    identity: Option<&'a Linked>,
}

/// Gives the login's id, the link's secret and the code.
async fn insert(tx: &mut Tx, service: &Service, draft: &Draft<'_>, now: i64) -> Result<(String, String, String)> {
    let (id, link, code) = (new_id("lgn"), new_secret("lmk"), six_digits());
    sqlx::query(
        "INSERT INTO logins (id, email, purpose, user_id, link_hash, code_hash, browser_hash, guest_id, tries, ip_hash, created_at,
           expires_at, issuer, subject, person_name) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $11, $12, $13, $14)",
    )
    .bind(&id)
    .bind(draft.email)
    .bind(draft.purpose)
    .bind(draft.user)
    .bind(hash_secret(&link))
    .bind(service.config.keys().code_hash(&id, &code))
    .bind(hash_secret(draft.browser))
    .bind(draft.guest)
    .bind(draft.ip)
    .bind(now)
    .bind(draft.expires_at)
    .bind(draft.identity.map(|identity| &identity.issuer))
    .bind(draft.identity.map(|identity| &identity.subject))
    .bind(draft.identity.and_then(|identity| identity.name.as_ref()))
    .execute(&mut **tx)
    .await?;
    Ok((id, link, code))
}

async fn find(c: &mut AnyConnection, text: &'static str, key: &str) -> Result<Option<Login>> {
    let Some(row) = sqlx::query(text).bind(key).fetch_optional(c).await? else { return Ok(None) };
    Ok(Some(Login {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        purpose: row.try_get("purpose")?,
        user_id: row.try_get("user_id")?,
        code_hash: row.try_get("code_hash")?,
        browser_hash: row.try_get("browser_hash")?,
        tries: row.try_get("tries")?,
        expires_at: row.try_get("expires_at")?,
        consumed_at: row.try_get("consumed_at")?,
        consumed_by: row.try_get("consumed_by")?,
        handed_over_at: row.try_get("handed_over_at")?,
        identity: match (row.try_get("issuer")?, row.try_get("subject")?) {
            (Some(issuer), Some(subject)) => Some(Linked { issuer, subject, name: row.try_get("person_name")? }),
            _ => None,
        },
    }))
}

/// The login, locked: SQLite has one writer, and PostgreSQL locks a row that is written.
async fn held(tx: &mut Tx, id: &str) -> Result<Option<Login>> {
    find(tx, "UPDATE logins SET tries = tries WHERE id = $1 RETURNING *", id).await
}

impl Login {
    fn is_of(&self, caller: &Caller) -> bool {
        caller.login.as_deref().is_some_and(|token| same(&hash_secret(token), &self.browser_hash))
    }

    fn open(&self, now: i64) -> Result<()> {
        if self.consumed_at.is_some() {
            return Err(Error::new(
                Kind::Gone,
                "auth.login_used",
                "this link or code has been used; ask for a new mail to sign in again",
            ));
        }
        if self.expires_at <= now {
            return Err(Error::new(
                Kind::Gone,
                "auth.login_expired",
                "this link or code is too old; ask for a new mail",
            ));
        }
        Ok(())
    }
}

fn unknown() -> Error {
    Error::new(
        Kind::NotFound,
        "auth.login_unknown",
        "this sign-in was not begun in this browser, or is long over; ask for a new mail",
    )
}

/// Tries a code. The caller commits also after an error: tries are counted.
pub async fn try_code(
    tx: &mut Tx,
    service: &Service,
    login: &str,
    code: &str,
    caller: &Caller,
    now: i64,
) -> Result<SignedIn> {
    let found = held(tx, login).await?.filter(|found| found.purpose == "sign_in" && found.is_of(caller));
    let found = found.ok_or_else(unknown)?;
    found.open(now)?;
    let spent = || {
        Error::new(
            Kind::Gone,
            "auth.code_spent",
            "five wrong codes: this one is void. Ask for a new mail, or use its link",
        )
    };
    if found.tries >= TRIES {
        return Err(spent());
    }
    let keys = service.config.keys();
    Rule::daily("codes", CODES).spend(tx, &keys.blind(&found.email), 1).await?;
    sqlx::query("UPDATE logins SET tries = tries + 1 WHERE id = $1").bind(&found.id).execute(&mut **tx).await?;
    // As people type it: 123 456.
    let typed: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    if !same(&keys.code_hash(&found.id, &typed), &found.code_hash) {
        let left = TRIES - found.tries - 1;
        if left <= 0 {
            return Err(spent());
        }
        let tries = if left == 1 { "one try is".to_owned() } else { format!("{left} tries are") };
        let detail = format!("this is not the code of the last mail; {tries} left");
        return Err(Error::invalid("auth.code_wrong", detail).with("tries_left", left));
    }
    consume(tx, service, &found, true, caller, now).await
}

async fn consume(
    tx: &mut Tx,
    service: &Service,
    login: &Login,
    same_browser: bool,
    caller: &Caller,
    now: i64,
) -> Result<SignedIn> {
    // Elsewhere the link signs in and links nothing: whoever went to the provider need not be who reads the mail.
    let user = match login.identity.as_ref().filter(|_| same_browser) {
        Some(identity) => identities::link(tx, identity, &login.email, caller, now).await?.0,
        None => users::by_proven_email(tx, &login.email, now).await?,
    };
    let guest = caller.guest.as_deref().filter(|_| same_browser);
    let session = sessions::open(tx, &user.id, caller, guest, service.config.retention.session(), now).await?;
    audit::record(
        tx,
        caller,
        if same_browser { "signed_in.mail" } else { "signed_in.mail_elsewhere" },
        &user.id,
        &session.id,
        now,
    )
    .await?;
    sqlx::query("UPDATE logins SET consumed_at = $1, consumed_by = $2 WHERE id = $3")
        .bind(now)
        // A session elsewhere is none of the waiting tab's business.
        .bind(same_browser.then_some(&session.id))
        .bind(&login.id)
        .execute(&mut **tx)
        .await?;
    Ok(SignedIn { user, session, same_browser })
}

/// How the tab that waits stands.
pub async fn wait(tx: &mut Tx, service: &Service, login: &str, caller: &Caller, now: i64) -> Result<Waiting> {
    let found = held(tx, login).await?.filter(|found| found.is_of(caller)).ok_or_else(unknown)?;
    let Some(consumed_at) = found.consumed_at else {
        return Ok(if found.expires_at <= now { Waiting::Expired(false) } else { Waiting::Waiting });
    };
    let Some(by) = &found.consumed_by else { return Ok(Waiting::Expired(true)) };
    let Some((user,)): Option<(String,)> =
        sqlx::query_as("SELECT user_id FROM sessions WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2")
            .bind(by)
            .bind(now)
            .fetch_optional(&mut **tx)
            .await?
    else {
        return Ok(Waiting::Expired(false));
    };
    if matches!(&caller.identity, Identity::User { user: here, .. } if *here == user) {
        return Ok(Waiting::SignedIn(None));
    }
    // The page of the link sets the cookie of this very browser: a second session is needed only if that answer was lost.
    if now < consumed_at + SETTLE {
        return Ok(Waiting::Waiting);
    }
    if found.handed_over_at.is_some() || now > consumed_at + SIGN_IN {
        return Ok(Waiting::Expired(false));
    }
    sqlx::query("UPDATE logins SET handed_over_at = $1 WHERE id = $2")
        .bind(now)
        .bind(&found.id)
        .execute(&mut **tx)
        .await?;
    let (guest, lasts) = (caller.guest.as_deref(), service.config.retention.session());
    Ok(Waiting::SignedIn(Some(sessions::open(tx, &user, caller, guest, lasts, now).await?)))
}

/// What the page of a link shows before anything is pressed.
pub async fn show(c: &mut AnyConnection, link: &str, caller: &Caller, now: i64) -> Result<Shown> {
    let found = by_link(c, link, "SELECT * FROM logins WHERE link_hash = $1").await?;
    let state = match found.consumed_at {
        Some(_) => "used",
        None if found.expires_at <= now => "expired",
        None => "waiting",
    };
    Ok(Shown { same_browser: found.is_of(caller), email: found.email, purpose: found.purpose, state })
}

async fn by_link(c: &mut AnyConnection, link: &str, text: &'static str) -> Result<Login> {
    let found = if looks_like("lmk", link) { find(c, text, &hash_secret(link)).await? } else { None };
    found.ok_or_else(|| {
        Error::new(
            Kind::NotFound,
            "auth.link_unknown",
            "this link is not known; copy the whole of it, or ask for a new mail",
        )
    })
}

/// Presses the button of a link.
pub async fn press(tx: &mut Tx, service: &Service, link: &str, caller: &Caller, now: i64) -> Result<Pressed> {
    let found = by_link(tx, link, "UPDATE logins SET tries = tries WHERE link_hash = $1 RETURNING *").await?;
    found.open(now)?;
    if found.purpose == "sign_in" {
        let same_browser = found.is_of(caller);
        let signed_in = consume(tx, service, &found, same_browser, caller, now).await?;
        return Ok(Pressed::SignedIn(Box::new(signed_in)));
    }
    sqlx::query("UPDATE logins SET consumed_at = $1 WHERE id = $2")
        .bind(now)
        .bind(&found.id)
        .execute(&mut **tx)
        .await?;
    Ok(Pressed::Confirmed(
        change_if_both(tx, service, found.user_id.as_deref().unwrap_or_default(), caller, now).await?,
    ))
}

/// Begins a change of address: both mailboxes are asked.
pub async fn begin_change(
    tx: &mut Tx,
    service: &Service,
    user: &User,
    new: &str,
    caller: &Caller,
    now: i64,
) -> Result<i64> {
    let ip = caller.ip_hash.as_str();
    limit_mails(tx, service, new, ip).await?;
    // One change at a time: links of an earlier one are void.
    sqlx::query("UPDATE logins SET expires_at = $1 WHERE user_id = $2 AND purpose <> 'sign_in' AND expires_at > $1")
        .bind(now)
        .bind(&user.id)
        .execute(&mut **tx)
        .await?;
    let expires_at = now + ADDRESS_CHANGE;
    for (purpose, email) in [("change_email_old", user.email.as_str()), ("change_email_new", new)] {
        // No code, and no browser to be bound to: the link proves the mailbox and opens no session.
        let draft =
            Draft { email, purpose, user: Some(&user.id), browser: "", guest: None, ip, expires_at, identity: None };
        let (_, link, _) = insert(tx, service, &draft, now).await?;
        let link = service.config.public_url.with(&format!("/l/{link}"));
        let letter = match purpose {
            "change_email_old" => Letter::ConfirmOldAddress { new: new.to_owned(), link },
            _ => Letter::ConfirmNewAddress { link },
        };
        post(tx, &service.config, email, &letter).await?;
    }
    Ok(expires_at)
}

/// Makes the change once both have said yes.
async fn change_if_both(tx: &mut Tx, service: &Service, user: &str, caller: &Caller, now: i64) -> Result<bool> {
    // The rows of the one change under way; those of earlier ones have ended.
    let rows: Vec<(String, String, Option<i64>)> = sqlx::query_as(
        "SELECT purpose, email, consumed_at FROM logins WHERE user_id = $1 AND purpose <> 'sign_in' AND expires_at > $2",
    )
    .bind(user)
    .bind(now)
    .fetch_all(&mut **tx)
    .await?;
    let yes = |purpose: &str| {
        rows.iter().find(|(p, _, consumed)| p == purpose && consumed.is_some()).map(|(_, email, _)| email.clone())
    };
    let (Some(old), Some(new)) = (yes("change_email_old"), yes("change_email_new")) else { return Ok(false) };
    if users::by_email(tx, &new).await?.is_some_and(|other| other.id != user) {
        return Err(Error::conflict(
            "account.email_taken",
            format!("{new} has an account already; sign in there, or use another address"),
        ));
    }
    let changed = users::set_email(tx, user, &old, &new).await?;
    sqlx::query("UPDATE logins SET expires_at = $1 WHERE user_id = $2 AND purpose <> 'sign_in' AND expires_at > $1")
        .bind(now)
        .bind(user)
        .execute(&mut **tx)
        .await?;
    if !changed {
        return Err(Error::conflict(
            "account.email_changed",
            "the account has another address by now; begin the change again",
        ));
    }
    audit::record(tx, caller, "email.changed", user, "", now).await?;
    post(tx, &service.config, &old, &Letter::AddressChanged { new }).await?;
    Ok(true)
}

/// Removes sign-ins of an address that goes with its account.
pub async fn forget_address(tx: &mut Tx, address: &str) -> Result<()> {
    sqlx::query("DELETE FROM logins WHERE email = $1").bind(address).execute(&mut **tx).await?;
    Ok(())
}

/// Removes sign-ins and changes of address of an account that goes. Comes before its sessions are deleted.
pub async fn forget(tx: &mut Tx, user: &str) -> Result<()> {
    let text = "DELETE FROM logins WHERE user_id = $1 OR consumed_by IN (SELECT id FROM sessions WHERE user_id = $1)";
    sqlx::query(text).bind(user).execute(&mut **tx).await?;
    Ok(())
}
