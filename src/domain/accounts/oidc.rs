//! Sign-in through a provider by OIDC: authorization code with PKCE, state and nonce, all bound to the browser that asked.
//!
//! Who somebody is says the pair (issuer, subject) and never the address: addresses change hands. An address links to an account once,
//! and only where the provider runs the mailbox ([`Person::vouched`]): that it was once seen to be read says nothing about who reads it
//! today. Every other address is confirmed by a mail of our own first.

use super::identities::{self, Identity};
use super::users::{self, User};
use super::{email, sessions};
use crate::db::{Tx, hash_secret, new_secret};
use crate::domain::audit;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::identity::Caller;
use crate::outside::oidc::{Authorization, Failure, Person, Provider};
use crate::secrets::{looks_like, same};
use crate::service::Service;
use loopmaster_core::retention::SIGN_IN;
use sqlx::Row;

/// A way back that was begun in this browser.
pub struct Begun {
    nonce: String,
    verifier: String,
    /// Where the visitor was on the way to; empty: nowhere.
    pub next: String,
}

// Nonce and verifier stay out of logs.
impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").field("next", &self.next).finish_non_exhaustive()
    }
}

/// What a sign-in ends with.
#[derive(Debug)]
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// The session.
    pub session: sessions::Opened,
    /// Whether the account was made just now.
    pub new: bool,
}

/// Where a sign-in has come to.
#[derive(Debug)]
pub enum Reached {
    /// In.
    In(Box<SignedIn>),
    /// The address is confirmed by mail first.
    Confirm {
        /// The sign-in by mail that does it.
        begun: email::Begun,
        /// Where the mail goes.
        email: String,
    },
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(why) => Self::new(
                Kind::Upstream,
                "auth.provider_away",
                "the sign-in of the provider does not answer as it should; try again in a minute, or sign in by mail",
            )
            .caused_by(why),
            Failure::Refused(why) => Self::new(
                Kind::Unmatched,
                "auth.code_refused",
                "the provider does not accept this sign-in any more; begin it again",
            )
            .caused_by(why),
            Failure::Internal(why) => Self::internal(why),
        }
    }
}

/// Where to send a browser that wants to sign in with this provider.
pub async fn authorize(provider: &Provider) -> Result<Authorization> {
    let metadata = provider.prepare().await?;
    Ok(provider.authorize(metadata)?)
}

/// Begins: gives the provider's address and the token for the browser's cookie. The network is asked before the transaction begins,
/// through [`authorize`].
pub async fn begin(
    provider: &Provider,
    tx: &mut Tx,
    asked: Authorization,
    caller: &Caller,
    next: &str,
    now: i64,
) -> Result<(String, String)> {
    let browser = caller
        .login
        .as_deref()
        .filter(|token| looks_like("lml", token))
        .map_or_else(|| new_secret("lml"), str::to_owned);
    sqlx::query(
            "INSERT INTO oidc_logins (state_hash, provider, nonce, verifier, browser_hash, guest_id, created_at, expires_at, next)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(hash_secret(&asked.state))
        .bind(provider.name)
        .bind(&asked.nonce)
        .bind(&asked.verifier)
        .bind(hash_secret(&browser))
        .bind(caller.guest.as_deref())
        .bind(now)
        .bind(now + SIGN_IN)
        .bind(next)
        .execute(&mut **tx)
        .await?;
    Ok((asked.url, browser))
}

/// Takes the way back: once, in time, in the browser that asked.
pub async fn take(provider: &Provider, tx: &mut Tx, state: &str, caller: &Caller, now: i64) -> Result<Begun> {
    let row = sqlx::query(
        "UPDATE oidc_logins SET consumed_at = $1 WHERE state_hash = $2 AND provider = $3 AND consumed_at IS NULL
             RETURNING nonce, verifier, browser_hash, expires_at, next",
    )
    .bind(now)
    .bind(hash_secret(state))
    .bind(provider.name)
    .fetch_optional(&mut **tx)
    .await?;
    let again = |code, what: &str| Error::new(Kind::Unmatched, code, format!("{what}; begin the sign-in again"));
    let Some(row) = row else { return Err(again("auth.login_unknown", "this sign-in is not known or was used")) };
    let expected: String = row.try_get("browser_hash")?;
    if !caller.login.as_deref().is_some_and(|token| same(&hash_secret(token), &expected)) {
        return Err(again("auth.other_browser", "this sign-in was begun in another browser"));
    }
    if row.try_get::<i64, _>("expires_at")? <= now {
        return Err(again("auth.login_expired", "this sign-in took too long"));
    }
    Ok(Begun { nonce: row.try_get("nonce")?, verifier: row.try_get("verifier")?, next: row.try_get("next")? })
}

/// Changes the code for who the provider says it is.
pub async fn exchange(provider: &Provider, begun: &Begun, code: &str) -> Result<Person> {
    Ok(provider.exchange(&begun.nonce, &begun.verifier, code).await?)
}

/// Signs the person in: by identity; else by an address the provider vouches for, which is then linked; else a mail goes to the address,
/// and whoever reads it in this browser is signed in and linked.
pub async fn sign_in(tx: &mut Tx, service: &Service, person: &Person, caller: &Caller, now: i64) -> Result<Reached> {
    let known: Option<(String,)> = sqlx::query_as("SELECT user_id FROM identities WHERE issuer = $1 AND subject = $2")
        .bind(&person.issuer)
        .bind(&person.subject)
        .fetch_optional(&mut **tx)
        .await?;
    let (user, new) = if let Some((id,)) = known {
        let user = users::by_id(tx, &id).await?.ok_or_else(|| Error::internal("an identity without an account"))?;
        (users::admitted(user)?, false)
    } else {
        let Some(email) = person.email.as_deref().filter(|_| person.verified) else {
            return Err(Error::forbidden(
                "auth.email_unverified",
                "the provider has not verified an address of yours; verify it there, or sign in by mail",
            ));
        };
        let identity =
            Identity { issuer: person.issuer.clone(), subject: person.subject.clone(), name: person.name.clone() };
        if !person.vouched() {
            let begun = email::begin(tx, service, email, Some(&identity), caller, now).await?;
            return Ok(Reached::Confirm { begun, email: email.to_owned() });
        }
        identities::link(tx, &identity, email, caller, now).await?
    };
    let session =
        sessions::open(tx, &user.id, caller, caller.guest.as_deref(), service.config.retention.session(), now).await?;
    audit::record(tx, caller, "signed_in.provider", &user.id, &session.id, now).await?;
    Ok(Reached::In(Box::new(SignedIn { user, session, new })))
}
