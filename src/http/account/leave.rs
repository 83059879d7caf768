//! Taking everything along, and going: export and deletion, both of them the user's own to do.

use super::reader;
use crate::domain::accounts::users;
use crate::domain::audit;
use crate::domain::export;
use crate::domain::identity::SignedIn;
use crate::domain::limits::Rule;
use crate::http::App;
use crate::http::extract::Json;
use crate::http::problem::{Answer, ProblemBody};
use crate::outside::mail::{self, Letter};
use crate::queue::{self, NewJob};
use crate::timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// How long a link to an export works; a new one is made whenever the page asks.
const LINK: Duration = Duration::from_mins(15);
const DAY: i64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExportState {
    /// none, preparing, ready or failed.
    state: &'static str,
    /// Where to download it, for a few minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// When it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

/// Packs everything kept about the account into one archive; a mail tells when it is there. Needs a recent sign-in.
#[utoipa::path(post, path = "/me/export", tag = "account",
    responses((status = 202, body = ExportState), (status = "4XX", body = ProblemBody)))]
pub(super) async fn export(State(app): State<App>, who: SignedIn) -> Answer<(StatusCode, Json<ExportState>)> {
    who.recent(&app.db).await?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    // One at a time: asking again while it is being packed changes nothing.
    let job = NewJob { max_attempts: 5, ..NewJob::chore("export", &who.user, String::new()) };
    if queue::enqueue(&mut tx, &job).await?.is_some() {
        Rule::daily("exports", 10).spend(&mut tx, &who.user, 1).await?;
        audit::record(&mut tx, &who.caller, "export.asked", &who.user, "", now).await?;
    }
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(ExportState { state: "preparing", url: None, expires_at: None })))
}

/// Whether an export is there. The download needs a recent sign-in, like asking for it.
#[utoipa::path(get, path = "/me/export", tag = "account",
    responses((status = 200, body = ExportState), (status = "4XX", body = ProblemBody)))]
pub(super) async fn export_state(State(app): State<App>, who: SignedIn) -> Answer<Json<ExportState>> {
    let mut c = reader(&app).await?;
    let plain = |state| Json(ExportState { state, url: None, expires_at: None });
    let (key, until) = match export::state(&mut c, &who.user).await? {
        export::State::Preparing => return Ok(plain("preparing")),
        export::State::Failed => return Ok(plain("failed")),
        export::State::None => return Ok(plain("none")),
        export::State::Ready { key, until } => (key, until),
    };
    drop(c);
    let recent = who.recent(&app.db).await.is_ok();
    let url = if recent {
        Some(app.store.presign_get(&key, export::FILE_NAME, "application/zip", false, LINK).await?.to_string())
    } else {
        None
    };
    Ok(Json(ExportState { state: "ready", url, expires_at: Some(timestamp::rfc3339(until)) }))
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Leaving {
    /// When the account goes with everything in it; nothing while it is kept.
    delete_after: Option<String>,
}

/// Deletes the account after the days of grace. Needs a recent sign-in.
#[utoipa::path(post, path = "/me/delete", tag = "account",
    responses((status = 202, body = Leaving), (status = "4XX", body = ProblemBody)))]
pub(super) async fn delete(State(app): State<App>, who: SignedIn) -> Answer<(StatusCode, Json<Leaving>)> {
    who.recent(&app.db).await?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let user = users::of_session(&mut tx, &who.user).await?;
    // Asked twice, the first day stands.
    let after = user.delete_after.unwrap_or(now + i64::from(app.config.retention.account_grace_days) * DAY);
    if user.delete_after.is_none() {
        users::delete_after(&mut tx, &user.id, after).await?;
        audit::record(&mut tx, &who.caller, "account.delete_asked", &user.id, "", now).await?;
        let letter = Letter::Closing { on: mail::day(after), link: app.config.public_url.with("/account") };
        mail::post(&mut tx, &app.config, &user.email, &letter).await?;
    }
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(Leaving { delete_after: Some(timestamp::rfc3339(after)) })))
}

/// Keeps an account that was to be deleted.
#[utoipa::path(post, path = "/me/keep", tag = "account",
    responses((status = 200, body = Leaving), (status = "4XX", body = ProblemBody)))]
pub(super) async fn keep(State(app): State<App>, who: SignedIn) -> Answer<Json<Leaving>> {
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    if users::keep(&mut tx, &who.user).await? {
        audit::record(&mut tx, &who.caller, "account.kept", &who.user, "", now).await?;
    }
    tx.commit().await?;
    Ok(Json(Leaving { delete_after: None }))
}
