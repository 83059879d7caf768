//! What opens the account: sessions, API tokens, upload grants.

use super::{account, reader};
use crate::db::{hash_secret, new_id, new_secret};
use crate::domain::accounts::{grants, sessions, users};
use crate::domain::audit;
use crate::domain::identity::Caller;
use crate::domain::identity::Identity;
use crate::domain::identity::Scope;
use crate::domain::identity::SignedIn;
use crate::domain::limits::Rule;
use crate::http::App;
use crate::http::extract::{Json, Path};
use crate::http::problem::{Answer, Problem, ProblemBody};
use crate::mail::{Letter, post};
use crate::timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use loopmaster_core::retention::GRANT;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use utoipa::ToSchema;

const DAY: i64 = 24 * 60 * 60 * 1000;
/// Tokens of one account that work.
const MOST_TOKENS: i64 = 50;
/// Made in a day, those counted that were revoked meanwhile.
const TOKENS_A_DAY: u64 = 100;
/// Minted in an hour, one a second: a page asks for one when a visitor comes to upload.
const GRANTS_AN_HOUR: u64 = 3_600;
/// Files one grant may take.
const GRANT_FILES: i64 = 1000;

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

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenList {
    items: Vec<TokenAnswer>,
}

/// API tokens that are not revoked.
#[utoipa::path(get, path = "/me/tokens", tag = "account",
    responses((status = 200, body = TokenList), (status = "4XX", body = ProblemBody)))]
pub(super) async fn list_tokens(State(app): State<App>, who: SignedIn) -> Answer<Json<TokenList>> {
    let mut c = reader(&app).await?;
    let rows = sqlx::query("SELECT * FROM tokens WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id DESC")
        .bind(&who.user)
        .fetch_all(&mut *c)
        .await?;
    let items = rows
        .iter()
        .map(|row| {
            let scopes: String = row.try_get("scopes")?;
            Ok(TokenAnswer {
                id: row.try_get("id")?,
                name: row.try_get("name")?,
                scopes: scopes.split(' ').map(str::to_owned).collect(),
                created_at: timestamp::rfc3339(row.try_get("created_at")?),
                used_at: row.try_get::<Option<i64>, _>("used_at")?.map(timestamp::rfc3339),
                expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(timestamp::rfc3339),
                token: None,
            })
        })
        .collect::<Answer<_>>()?;
    Ok(Json(TokenList { items }))
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
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > 60 || name.chars().any(char::is_control) {
        return Err(Problem::unprocessable("token.name", "a token's name has 1 to 60 characters, on one line"));
    }
    let known = Scope::ALL.map(Scope::name);
    if new.scopes.is_empty() || new.scopes.iter().any(|scope| !known.contains(&scope.as_str())) {
        return Err(Problem::unprocessable("token.scopes", format!("name one or more of {}", known.join(", "))));
    }
    if new.days.is_some_and(|days| !(1..=3650).contains(&days)) {
        return Err(Problem::unprocessable("token.days", "a token works 1 to 3650 days, or for ever without `days`"));
    }
    let scopes: Vec<&str> = known.into_iter().filter(|scope| new.scopes.iter().any(|asked| asked == scope)).collect();
    let now = app.db.now().await?;
    let expires_at = new.days.map(|days| now + i64::from(days) * DAY);
    let (id, token) = (new_id("tok"), new_secret("lmt"));
    let mut tx = app.db.begin().await?;
    Rule::daily("tokens", TOKENS_A_DAY).spend(&mut tx, &who.user, 1).await?;
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tokens WHERE user_id = $1 AND revoked_at IS NULL")
        .bind(&who.user)
        .fetch_one(&mut *tx)
        .await?;
    if count >= MOST_TOKENS {
        return Err(Problem::conflict(
            "token.too_many",
            format!("an account has at most {MOST_TOKENS} tokens; revoke one first"),
        ));
    }
    sqlx::query("INSERT INTO tokens (id, user_id, name, token_hash, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(&id)
        .bind(&who.user)
        .bind(name)
        .bind(hash_secret(&token))
        .bind(scopes.join(" "))
        .bind(now)
        .bind(expires_at)
        .execute(&mut *tx)
        .await?;
    audit::record(&mut tx, &who.caller, "token.made", &id, &scopes.join(" "), now).await?;
    if let Some(user) = users::by_id(&mut tx, &who.user).await? {
        let letter = Letter::TokenMade { name: name.to_owned(), link: app.config.public_url.with("/account") };
        post(&mut tx, &app.config, &user.email, &letter).await?;
    }
    tx.commit().await?;
    let answer = TokenAnswer {
        id,
        name: name.to_owned(),
        scopes: scopes.into_iter().map(str::to_owned).collect(),
        created_at: timestamp::rfc3339(now),
        used_at: None,
        expires_at: expires_at.map(timestamp::rfc3339),
        token: Some(token),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Revokes a token with the grants it has minted, at once.
#[utoipa::path(delete, path = "/me/tokens/{id}", tag = "account", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub(super) async fn revoke_token(State(app): State<App>, who: SignedIn, Path(id): Path<String>) -> Answer<StatusCode> {
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let done = sqlx::query("UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND user_id = $3 AND revoked_at IS NULL")
        .bind(now)
        .bind(&id)
        .bind(&who.user)
        .execute(&mut *tx)
        .await?;
    if done.rows_affected() == 0 {
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
    let most = i64::try_from(app.config.limits.user.stored_bytes).unwrap_or(i64::MAX);
    if !(1..=GRANT_FILES).contains(&new.files) || !(1..=most).contains(&new.bytes) {
        let detail = format!("a grant takes 1 to {GRANT_FILES} files and 1 to {most} bytes in all");
        return Err(Problem::unprocessable("grant.caps", detail));
    }
    let now = app.db.now().await?;
    let (id, grant) = (new_id("grt"), new_secret("lmg"));
    let mut tx = app.db.begin().await?;
    Rule::hourly("grants", GRANTS_AN_HOUR).spend(&mut tx, &user, 1).await?;
    sqlx::query(
        "INSERT INTO grants (id, grant_hash, user_id, token_id, files_left, bytes_left, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&id)
    .bind(hash_secret(&grant))
    .bind(&user)
    .bind(token)
    .bind(new.files)
    .bind(new.bytes)
    .bind(now)
    .bind(now + GRANT)
    .execute(&mut *tx)
    .await?;
    audit::record(&mut tx, &caller, "grant.minted", &id, "", now).await?;
    tx.commit().await?;
    let url = app.config.public_url.with(&format!("/u/{grant}"));
    Ok((StatusCode::CREATED, Json(GrantAnswer { id, grant, url, expires_at: timestamp::rfc3339(now + GRANT) })))
}
