//! Sign-in at a provider by OpenID Connect, as far as it is spoken with the provider: discovery, the address to go to, the exchange of a
//! code for claims. What an account makes of them is `domain::accounts::oidc`.

use crate::config::{Config, Provides};
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

/// Why a provider was of no help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It does not answer as it should.
    #[error("{0}")]
    Away(String),
    /// It does not accept the code.
    #[error("{0}")]
    Refused(String),
    /// It could not be asked.
    #[error("{0}")]
    Internal(String),
}

fn away(why: impl std::fmt::Display) -> Failure {
    Failure::Away(why.to_string())
}

/// What has to be kept until a browser comes back.
pub struct Authorization {
    /// Where to send it.
    pub url: String,
    /// Comes back with it.
    pub state: String,
    /// Comes back in the identity token.
    pub nonce: String,
    /// Proves that the code is ours to exchange.
    pub verifier: String,
}

/// One provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// As rows name it.
    pub name: &'static str,
    settings: Provides,
    redirect: String,
    known: Arc<Mutex<Option<(Instant, CoreProviderMetadata)>>>,
}

/// Who the provider says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Which provider.
    pub issuer: String,
    /// Who there.
    pub subject: String,
    /// In the one spelling accounts have.
    pub email: Option<String>,
    /// Whether the provider has once seen that they read the address.
    pub verified: bool,
    /// The organisation's domain.
    organisation: Option<String>,
    /// As they want to be called.
    pub name: Option<String>,
    /// Where their picture is.
    pub picture: Option<String>,
}

impl Person {
    /// Whether the provider runs the mailbox, so that nobody else reads it: mailboxes of Google itself, and those under the domain of an
    /// organisation whose accounts Google keeps. Every other address was only once shown to be read.
    #[must_use]
    pub fn vouched(&self) -> bool {
        let Some((_, domain)) = self.email.as_deref().and_then(|email| email.rsplit_once('@')) else { return false };
        let own = ["gmail.com", "googlemail.com"].contains(&domain);
        let organisation = self.organisation.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(domain));
        self.verified && (own || organisation)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct HttpError(String);

type Called = Pin<Box<dyn Future<Output = Result<http::Response<Vec<u8>>, HttpError>> + Send>>;

/// For calls to providers. Redirects are not followed: they would lead where nobody has looked.
pub fn client() -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(15))
        .user_agent(concat!("LoopMastering/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Failure::Internal(error.to_string()))
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

    fn call() -> Result<impl Fn(http::Request<Vec<u8>>) -> Called + Send + Sync + use<>, Failure> {
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
    async fn metadata(&self, afresh: bool) -> Result<CoreProviderMetadata, Failure> {
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

    /// Where to send the browser, with what has to be kept until it comes back. Asks no network: what is needed is `metadata`.
    pub fn authorize(&self, metadata: CoreProviderMetadata) -> Result<Authorization, Failure> {
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
        Ok(Authorization {
            url: url.to_string(),
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
        })
    }

    /// What [`Provider::authorize`] needs from the network.
    pub async fn prepare(&self) -> Result<CoreProviderMetadata, Failure> {
        self.metadata(false).await
    }

    /// Changes the code for an identity token and checks it.
    pub async fn exchange(&self, nonce: &str, verifier: &str, code: &str) -> Result<Person, Failure> {
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
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()))
            .request_async(&Self::call()?)
            .await
            .map_err(|error| match error {
                openidconnect::RequestTokenError::ServerResponse(why) => Failure::Refused(why.to_string()),
                other => away(other),
            })?;
        let token = answer.id_token().ok_or_else(|| away("no identity token in the answer"))?;
        let nonce = Nonce::new(nonce.to_owned());
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
        email: claims.email().and_then(|email| crate::outside::address::address(email.as_str())),
        verified: claims.email_verified().unwrap_or(false),
        organisation: claims.additional_claims().hd.clone(),
        name: text(claims.name().and_then(|name| name.get(None)).map(|name| name.as_str()))
            .filter(|name| !name.trim().is_empty()),
        picture: claims.picture().and_then(|picture| picture.get(None)).map(|picture| picture.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn google_vouches_for_its_own_mailboxes_and_those_of_its_organisations() {
        let person = |email: &str, verified, organisation: Option<&str>| Person {
            issuer: "https://accounts.google.com".to_owned(),
            subject: "1".to_owned(),
            email: crate::outside::address::address(email),
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
