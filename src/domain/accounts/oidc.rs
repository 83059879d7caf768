//! Sign-in through a provider by OIDC: authorization code with PKCE, state and nonce, all bound to the browser that asked.
//!
//! Who somebody is says the pair (issuer, subject) and never the address: addresses change hands. An address links to an account once,
//! and only where the provider runs the mailbox ([`Person::vouched`]): that it was once seen to be read says nothing about who reads it
//! today. Every other address is confirmed by a mail of our own first.

use super::users::{self, User};
use super::{email, sessions};
use crate::config::{Config, Provides};
use crate::db::{Tx, hash_secret, new_secret};
use crate::domain::audit;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::identity::Caller;
use crate::secrets::{looks_like, same};
use crate::service::Service;
use loopmaster_core::retention::SIGN_IN;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessTokenHash, AdditionalClaims, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    EmptyExtraTokenFields, EndpointNotSet, IdTokenClaims, IdTokenFields, IssuerUrl, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, StandardErrorResponse, StandardTokenResponse,
    TokenResponse, http,
};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Discovery document and keys are asked for again after this time.
const FRESH: Duration = Duration::from_hours(1);
/// Largest answer of a provider that is read.
const LARGEST: usize = 1 << 20;

/// What Google says beyond the standard.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Workspace {
    /// The domain of the organisation that runs the account; nothing for accounts of private people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hd: Option<String>,
}

impl AdditionalClaims for Workspace {}

type Fields = IdTokenFields<
    Workspace,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

/// The library's client, with [`Workspace`] among the claims.
type GoogleClient<
    HasAuthUrl = EndpointNotSet,
    HasDeviceAuthUrl = EndpointNotSet,
    HasIntrospectionUrl = EndpointNotSet,
    HasRevocationUrl = EndpointNotSet,
    HasTokenUrl = EndpointNotSet,
    HasUserInfoUrl = EndpointNotSet,
> = Client<
    Workspace,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    HasAuthUrl,
    HasDeviceAuthUrl,
    HasIntrospectionUrl,
    HasRevocationUrl,
    HasTokenUrl,
    HasUserInfoUrl,
>;

/// One provider.
#[derive(Clone, Debug)]
pub struct Provider {
    name: &'static str,
    settings: Provides,
    redirect: String,
    known: Arc<Mutex<Option<(Instant, CoreProviderMetadata)>>>,
}

/// Who the provider says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    issuer: String,
    subject: String,
    email: Option<String>,
    verified: bool,
    /// The organisation's domain.
    organisation: Option<String>,
    name: Option<String>,
    /// Where their picture is.
    pub picture: Option<String>,
}

impl Person {
    /// Whether the provider runs the mailbox, so that nobody else reads it: mailboxes of Google itself, and those under the domain of an
    /// organisation whose accounts Google keeps. Every other address was only once shown to be read.
    fn vouched(&self) -> bool {
        let Some((_, domain)) = self.email.as_deref().and_then(|email| email.rsplit_once('@')) else { return false };
        let own = ["gmail.com", "googlemail.com"].contains(&domain);
        let organisation = self.organisation.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(domain));
        self.verified && (own || organisation)
    }
}

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

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct HttpError(String);

type Called = Pin<Box<dyn Future<Output = Result<http::Response<Vec<u8>>, HttpError>> + Send>>;

fn away(why: impl std::fmt::Display) -> Error {
    Error::new(
        Kind::Upstream,
        "auth.provider_away",
        "the sign-in of the provider does not answer as it should; try again in a minute, or sign in by mail",
    )
    .caused_by(why)
}

/// For calls to providers. Redirects are not followed: they would lead where nobody has looked.
pub fn client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(15))
        .user_agent(concat!("LoopMastering/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(Error::internal)
}

impl Provider {
    /// Google, if it is configured.
    #[must_use]
    pub fn google(config: &Config) -> Option<Self> {
        let settings = config.oidc.google.clone();
        let redirect = config.public_url.with("/auth/google/callback");
        (!settings.client_id.is_empty()).then(|| Self { name: "google", settings, redirect, known: Arc::default() })
    }

    /// Hosts that pictures may come from.
    #[must_use]
    pub fn picture_hosts(&self) -> &[String] {
        &self.settings.picture_hosts
    }

    fn call() -> Result<impl Fn(http::Request<Vec<u8>>) -> Called + Send + Sync + use<>> {
        let client = client()?;
        Ok(move |request: http::Request<Vec<u8>>| -> Called {
            let client = client.clone();
            Box::pin(async move {
                let failed = |error: reqwest::Error| HttpError(error.to_string());
                let mut answer = client.execute(request.try_into().map_err(failed)?).await.map_err(failed)?;
                let mut body = Vec::new();
                while let Some(chunk) = answer.chunk().await.map_err(failed)? {
                    if body.len() + chunk.len() > LARGEST {
                        return Err(HttpError(format!("the answer has more than {LARGEST} bytes")));
                    }
                    body.extend_from_slice(&chunk);
                }
                let mut response = http::Response::new(body);
                *response.status_mut() = answer.status();
                *response.headers_mut() = answer.headers().clone();
                Ok(response)
            })
        })
    }

    /// Discovery document with keys; asked for again when it is old, or `afresh`.
    async fn metadata(&self, afresh: bool) -> Result<CoreProviderMetadata> {
        let mut known = self.known.lock().await;
        match &*known {
            Some((since, metadata)) if !afresh && since.elapsed() < FRESH => Ok(metadata.clone()),
            _ => {
                let issuer = IssuerUrl::new(self.settings.issuer.clone()).map_err(away)?;
                let metadata = CoreProviderMetadata::discover_async(issuer, &Self::call()?).await.map_err(away)?;
                *known = Some((Instant::now(), metadata.clone()));
                Ok(metadata)
            }
        }
    }

    /// Begins: gives the provider's address and the token for the browser's cookie. The network is asked before the transaction begins,
    /// through [`Provider::prepare`].
    pub async fn begin(
        &self,
        tx: &mut Tx,
        metadata: CoreProviderMetadata,
        caller: &Caller,
        next: &str,
        now: i64,
    ) -> Result<(String, String)> {
        let browser = caller
            .login
            .as_deref()
            .filter(|token| looks_like("lml", token))
            .map_or_else(|| new_secret("lml"), str::to_owned);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let redirect = RedirectUrl::new(self.redirect.clone()).map_err(away)?;
        let client =
            GoogleClient::from_provider_metadata(metadata, ClientId::new(self.settings.client_id.clone()), None)
                .set_redirect_uri(redirect);
        let (url, state, nonce) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scope(Scope::new("email".to_owned()))
            .add_scope(Scope::new("profile".to_owned()))
            .set_pkce_challenge(challenge)
            .url();
        sqlx::query(
            "INSERT INTO oidc_logins (state_hash, provider, nonce, verifier, browser_hash, guest_id, created_at, expires_at, next)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(hash_secret(state.secret()))
        .bind(self.name)
        .bind(nonce.secret())
        .bind(verifier.secret())
        .bind(hash_secret(&browser))
        .bind(caller.guest.as_deref())
        .bind(now)
        .bind(now + SIGN_IN)
        .bind(next)
        .execute(&mut **tx)
        .await?;
        Ok((url.to_string(), browser))
    }

    /// What [`Provider::begin`] needs from the network.
    pub async fn prepare(&self) -> Result<CoreProviderMetadata> {
        self.metadata(false).await
    }

    /// Takes the way back: once, in time, in the browser that asked.
    pub async fn take(&self, tx: &mut Tx, state: &str, caller: &Caller, now: i64) -> Result<Begun> {
        let row = sqlx::query(
            "UPDATE oidc_logins SET consumed_at = $1 WHERE state_hash = $2 AND provider = $3 AND consumed_at IS NULL
             RETURNING nonce, verifier, browser_hash, expires_at, next",
        )
        .bind(now)
        .bind(hash_secret(state))
        .bind(self.name)
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

    /// Changes the code for an identity token and checks it.
    pub async fn exchange(&self, begun: &Begun, code: &str) -> Result<Person> {
        let secret = ClientSecret::new(self.settings.client_secret.expose().to_owned());
        let redirect = RedirectUrl::new(self.redirect.clone()).map_err(away)?;
        let client_of = |metadata| {
            GoogleClient::from_provider_metadata(
                metadata,
                ClientId::new(self.settings.client_id.clone()),
                Some(secret.clone()),
            )
            .set_redirect_uri(redirect.clone())
        };
        let client = client_of(self.metadata(false).await?);
        let answer = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(away)?
            .set_pkce_verifier(PkceCodeVerifier::new(begun.verifier.clone()))
            .request_async(&Self::call()?)
            .await
            .map_err(|error| match error {
                openidconnect::RequestTokenError::ServerResponse(why) => Error::new(
                    Kind::Unmatched,
                    "auth.code_refused",
                    "the provider does not accept this sign-in any more; begin it again",
                )
                .caused_by(why),
                other => away(other),
            })?;
        let token = answer.id_token().ok_or_else(|| away("no identity token in the answer"))?;
        let nonce = Nonce::new(begun.nonce.clone());
        // Keys change: one the cached set does not know may be in a fresh one.
        let fresh;
        let verifier = client.id_token_verifier();
        let (claims, verifier) = if let Ok(claims) = token.claims(&verifier, &nonce) {
            (claims, verifier)
        } else {
            fresh = client_of(self.metadata(true).await?);
            let verifier = fresh.id_token_verifier();
            (token.claims(&verifier, &nonce).map_err(away)?, verifier)
        };
        if let Some(expected) = claims.access_token_hash() {
            let algorithm = token.signing_alg().map_err(away)?;
            let key = token.signing_key(&verifier).map_err(away)?;
            let actual = AccessTokenHash::from_token(answer.access_token(), algorithm, key).map_err(away)?;
            if actual != *expected {
                return Err(away("the access token does not belong to the identity token"));
            }
        }
        Ok(person(claims))
    }
}

fn person(claims: &IdTokenClaims<Workspace, CoreGenderClaim>) -> Person {
    let text =
        |value: Option<&str>| value.map(|text| text.chars().filter(|c| !c.is_control()).take(100).collect::<String>());
    Person {
        issuer: claims.issuer().to_string(),
        subject: claims.subject().to_string(),
        email: claims.email().and_then(|email| crate::mail::address(email.as_str())),
        verified: claims.email_verified().unwrap_or(false),
        organisation: claims.additional_claims().hd.clone(),
        name: text(claims.name().and_then(|name| name.get(None)).map(|name| name.as_str()))
            .filter(|name| !name.trim().is_empty()),
        picture: claims.picture().and_then(|picture| picture.get(None)).map(|picture| picture.as_str().to_owned()),
    }
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
        link(tx, &identity, email, caller, now).await?
    };
    let session =
        sessions::open(tx, &user.id, caller, caller.guest.as_deref(), service.config.retention.session(), now).await?;
    audit::record(tx, caller, "signed_in.provider", &user.id, &session.id, now).await?;
    Ok(Reached::In(Box::new(SignedIn { user, session, new })))
}

/// An identity at a provider that is to be linked to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which provider.
    pub issuer: String,
    /// Who there.
    pub subject: String,
    /// For a new account.
    pub name: Option<String>,
}

/// The account of an address that was shown to be the person's, by now linked to the identity; and whether it is new.
pub async fn link(tx: &mut Tx, identity: &Identity, email: &str, caller: &Caller, now: i64) -> Result<(User, bool)> {
    let new = users::by_email(tx, email).await?.is_none();
    let mut user = users::by_proven_email(tx, email, now).await?;
    if let (true, Some(name)) = (new, &identity.name) {
        sqlx::query("UPDATE users SET name = $1 WHERE id = $2").bind(name).bind(&user.id).execute(&mut **tx).await?;
        user.name.clone_from(name);
    }
    let linked = sqlx::query(
        "INSERT INTO identities (issuer, subject, user_id, email, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (issuer, subject) DO NOTHING",
    )
    .bind(&identity.issuer)
    .bind(&identity.subject)
    .bind(&user.id)
    .bind(email)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    // Linked meanwhile by a sign-in beside this one: that one stays.
    if linked.rows_affected() > 0 {
        audit::record(tx, caller, "identity.linked", &user.id, &identity.issuer, now).await?;
    }
    Ok((user, new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn google_vouches_for_its_own_mailboxes_and_those_of_its_organisations() {
        let person = |email: &str, verified, organisation: Option<&str>| Person {
            issuer: "https://accounts.google.com".to_owned(),
            subject: "1".to_owned(),
            email: crate::mail::address(email),
            verified,
            organisation: organisation.map(str::to_owned),
            name: None,
            picture: None,
        };
        for (email, organisation) in [
            ("ana@gmail.com", None),
            ("Ana@GoogleMail.com", None),
            ("ana@studio.example", Some("studio.example")),
            ("ana@Studio.example", Some("STUDIO.example")),
        ] {
            assert!(person(email, true, organisation).vouched(), "{email}");
            assert!(!person(email, false, organisation).vouched(), "{email}, not verified");
        }
        for (email, organisation) in [
            ("ana@yahoo.example", None),
            ("ana@studio.example", Some("")),
            ("ana@studio.example", Some("other.example")),
            ("ana@studio.example", Some("example")),
            ("ana@sub.studio.example", Some("studio.example")),
            ("ana@notgmail.com", None),
            ("ana@gmail.com.example", None),
            ("ana@mail.gmail.com", None),
        ] {
            assert!(!person(email, true, organisation).vouched(), "{email} {organisation:?}");
        }
    }
}
