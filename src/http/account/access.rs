//! What opens the account: sessions, API tokens, upload grants.

use super::{account, reader};
use crate::domain::accounts::tokens::Token;
use crate::domain::accounts::{grants, sessions, tokens, users};
use crate::domain::audit;
use crate::domain::identity::{Caller, Identity, SignedIn};
use crate::http::App;
use crate::http::extract::{Json, Path};
use crate::http::problem::{Answer, Problem, ProblemBody};
use crate::outside::mail::{Letter, post};
use crate::timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const DAY: i64 = 24 * 60 * 60 * 1000;
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionList {
    items: Vec<SessionAnswer>,
}

#[derive(Debug, Serialize, ToSchema)]
struct SessionAnswer {
    id: String,
    /// As the browser calls itself.
    user_agent: String,
    created_at: String,
    seen_at: String,
    /// Whether it is the one that asks.
    current: bool,
}

/// Where the account is signed in.
#[utoipa::path(get, path = "/me/sessions", tag = "account",
    responses((status = 200, body = SessionList), (status = "4XX", body = ProblemBody)))]
pub(super) async fn list_sessions(State(app): State<App>, who: SignedIn) -> Answer<Json<SessionList>> {
    let now = app.db.now().await?;
    let idle = i64::from(app.config.retention.session_idle_days) * DAY;
    let mut c = reader(&app).await?;
    let items = sessions::list(&mut c, &who.user, idle, now).await?;
    let items = items
        .into_iter()
        .map(|session| SessionAnswer {
            current: session.id == who.session,
            id: session.id,
            user_agent: session.user_agent,
            created_at: timestamp::rfc3339(session.created_at),
            seen_at: timestamp::rfc3339(session.seen_at),
        })
        .collect();
    Ok(Json(SessionList { items }))
}

/// Ends one session, at once.
#[utoipa::path(delete, path = "/me/sessions/{id}", tag = "account", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub(super) async fn revoke_session(
    State(app): State<App>,
    who: SignedIn,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    if !sessions::revoke(&mut tx, &who.user, &id, now).await? {
        return Err(Problem::not_found("session", &id));
    }
    audit::record(&mut tx, &who.caller, "session.revoked", &id, "", now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revoked {
    /// How many sessions have ended.
    revoked: u64,
}

/// Ends all sessions but the one that asks.
#[utoipa::path(post, path = "/me/sessions/revoke-others", tag = "account",
    responses((status = 200, body = Revoked), (status = "4XX", body = ProblemBody)))]
pub(super) async fn revoke_others(State(app): State<App>, who: SignedIn) -> Answer<Json<Revoked>> {
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let revoked = sessions::revoke_all(&mut tx, &who.user, Some(&who.session), now).await?;
    audit::record(&mut tx, &who.caller, "sessions.revoked", &who.user, &revoked.to_string(), now).await?;
    tx.commit().await?;
    Ok(Json(Revoked { revoked }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// What it is for, 1 to 60 characters.
    name: String,
    /// uploads, masters, account.
    scopes: Vec<String>,
    /// How many days it works; for ever without.
    days: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenAnswer {
    id: String,
    name: String,
    scopes: Vec<String>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// The token itself, this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl TokenAnswer {
    fn of(token: Token, secret: Option<String>) -> Self {
        let Token { id, name, scopes, created_at, used_at, expires_at } = token;
        Self {
            id,
            name,
            scopes,
            created_at: timestamp::rfc3339(created_at),
            used_at: used_at.map(timestamp::rfc3339),
            expires_at: expires_at.map(timestamp::rfc3339),
            token: secret,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenList {
    items: Vec<TokenAnswer>,
}

/// API tokens that are not revoked.
#[utoipa::path(get, path = "/me/tokens", tag = "account",
    responses((status = 200, body = TokenList), (status = "4XX", body = ProblemBody)))]
pub(super) async fn list_tokens(State(app): State<App>, who: SignedIn) -> Answer<Json<TokenList>> {
    let mut c = reader(&app).await?;
    let items = tokens::list(&mut c, &who.user).await?;
    Ok(Json(TokenList { items: items.into_iter().map(|token| TokenAnswer::of(token, None)).collect() }))
}

/// Makes an API token. It is shown this once. Needs a recent sign-in.
#[utoipa::path(post, path = "/me/tokens", tag = "account", request_body = NewToken,
    responses((status = 201, body = TokenAnswer), (status = "4XX", body = ProblemBody)))]
pub(super) async fn create_token(
    State(app): State<App>,
    who: SignedIn,
    Json(new): Json<NewToken>,
) -> Answer<(StatusCode, Json<TokenAnswer>)> {
    who.recent(&app.db).await?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let (made, token) = tokens::create(&mut tx, &who.user, &new.name, &new.scopes, new.days, now).await?;
    audit::record(&mut tx, &who.caller, "token.made", &made.id, &made.scopes.join(" "), now).await?;
    if let Some(user) = users::by_id(&mut tx, &who.user).await? {
        let letter = Letter::TokenMade { name: made.name.clone(), link: app.config.public_url.with("/account") };
        post(&mut tx, &app.config, &user.email, &letter).await?;
    }
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(TokenAnswer::of(made, Some(token)))))
}

/// Revokes a token with the grants it has minted, at once.
#[utoipa::path(delete, path = "/me/tokens/{id}", tag = "account", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub(super) async fn revoke_token(State(app): State<App>, who: SignedIn, Path(id): Path<String>) -> Answer<StatusCode> {
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    if !tokens::revoke(&mut tx, &who.user, &id, now).await? {
        return Err(Problem::not_found("token", &id));
    }
    grants::revoke(&mut tx, "token_id", &id, now).await?;
    audit::record(&mut tx, &who.caller, "token.revoked", &id, "", now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGrant {
    /// How many files it may take, 1 to 1000.
    files: i64,
    /// How many bytes in all.
    bytes: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GrantAnswer {
    id: String,
    /// The capability, this once.
    grant: String,
    /// What an uploader in somebody else's page is pointed at (Uppy: `companionEndpoint`).
    url: String,
    expires_at: String,
}

/// Mints an upload-only capability for a page of somebody else: one hour, capped. Needs a token with the scope `account`.
#[utoipa::path(post, path = "/me/grants", tag = "account", request_body = NewGrant,
    responses((status = 201, body = GrantAnswer), (status = "4XX", body = ProblemBody)))]
pub(super) async fn create_grant(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewGrant>,
) -> Answer<(StatusCode, Json<GrantAnswer>)> {
    let user = account(&caller)?.to_owned();
    let Identity::Token { token, .. } = &caller.identity else {
        return Err(Problem::unauthorized(
            "auth.token_required",
            "grants are minted by a program with a token of yours, not by a browser",
        ));
    };
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let most = app.config.limits.user.stored_bytes;
    let (id, grant, until) = grants::mint(&mut tx, &user, token, new.files, new.bytes, most, now).await?;
    audit::record(&mut tx, &caller, "grant.minted", &id, "", now).await?;
    tx.commit().await?;
    let url = app.config.public_url.with(&format!("/u/{grant}"));
    Ok((StatusCode::CREATED, Json(GrantAnswer { id, grant, url, expires_at: timestamp::rfc3339(until) })))
}
