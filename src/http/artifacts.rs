//! Files of a master, and pages that show a preview to others.

use super::App;
use super::extract::{Json, Path};
use super::idempotency::{Begun, Idempotency};
use super::problem::{Answer, Problem, ProblemBody};
use crate::domain::identity::{Scope, Visitor};
use crate::domain::masters::{self, Artifact, LINKED_FOR};
use crate::domain::shares::{self, Share};
use crate::timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(link))
        .routes(routes!(share, list))
        .routes(routes!(revoke))
        .routes(routes!(shared))
}

/// Where a file is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Link {
    /// GET it; the file comes under its own name.
    url: String,
    /// The address works until then; a download that has begun goes on.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: i64,
}

/// Sign an address for a file
///
/// Full masters are for those who signed in.
#[utoipa::path(post, path = "/artifacts/{id}/link", tag = "artifacts", operation_id = "artifact_link",
    responses((status = 200, body = Link), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn link(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<Json<Link>> {
    visitor.needs(Scope::Masters)?;
    let file = masters::artifact_of(&app.db, visitor.owner(), &id).await?;
    if file.kind == "master" && visitor.user().is_none() {
        return Err(Problem::unauthorized(
            "auth.sign_in_required",
            "sign in to download the full master; your songs come along",
        )
        .with("artifact", id));
    }
    let expires_at = app.db.now().await? + LINKED_FOR.as_millis() as i64;
    let url = app.store.presign_get(&file.key, &file.name, &file.r#type, false, LINKED_FOR).await?;
    Ok(Json(Link { url: url.into(), expires_at }))
}

/// Shares of a master.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shares {
    items: Vec<Share>,
}

/// Share a preview
///
/// Whoever has the address hears the preview; nobody can download the master there.
#[utoipa::path(post, path = "/masters/{id}/shares", tag = "shares", operation_id = "share_create",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "The same key gets the same answer for a day")),
    responses((status = 201, body = Share), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn share(
    State(app): State<App>,
    visitor: Visitor,
    idempotency: Idempotency,
    Path(id): Path<String>,
) -> Answer<Response> {
    visitor.needs(Scope::Masters)?;
    let ticket = match idempotency.begin(&app, &visitor).await? {
        Begun::First(ticket) => ticket,
        Begun::Repeat(response) => return Ok(response),
    };
    let outcome = shares::create(&app, &visitor, &id, &ticket).await;
    let share = ticket.settle(&app.db, outcome).await?;
    Ok((StatusCode::CREATED, Json(share)).into_response())
}

/// List the shares of a master
#[utoipa::path(get, path = "/masters/{id}/shares", tag = "shares", operation_id = "share_list",
    responses((status = 200, body = Shares), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn list(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<Json<Shares>> {
    visitor.needs(Scope::Masters)?;
    masters::find(&app.db, visitor.owner(), &id).await?;
    Ok(Json(Shares { items: shares::list(&app.db, &id).await? }))
}

/// Revoke a share
#[utoipa::path(delete, path = "/shares/{id}", tag = "shares", operation_id = "share_revoke",
    responses((status = 204), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn revoke(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<StatusCode> {
    visitor.needs(Scope::Masters)?;
    shares::revoke(&app.db, &visitor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a share shows: enough to listen and compare, nothing of its owner.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shared {
    /// Title.
    title: String,
    /// Length of the music.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    /// Integrated loudness, LUFS.
    #[serde(skip_serializing_if = "Option::is_none")]
    lufs: Option<f64>,
    /// True peak, dBTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    dbtp: Option<f64>,
    /// When it was made.
    #[serde(serialize_with = "timestamp::written_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<i64>,
    /// What a player needs to hold mix and master against each other.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// Previews and waveforms.
    artifacts: Vec<Artifact>,
}

/// Show what is shared
///
/// Open to whoever has the address.
#[utoipa::path(get, path = "/shared/{token}", tag = "shares", operation_id = "shared_show", security(()),
    responses((status = 200, body = Shared), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn shared(State(app): State<App>, Path(token): Path<String>) -> Answer<Json<Shared>> {
    let master = shares::master(&app.db, &token).await?;
    let mut artifacts = masters::artifacts(&app.db, &master.id).await?;
    artifacts.retain(|file| matches!(file.kind.as_str(), "preview" | "waveform"));
    for file in &mut artifacts {
        file.url = Some(app.store.presign_get(&file.key, &file.name, &file.r#type, true, LINKED_FOR).await?.into());
    }
    let result = masters::result(&app.db, &master.id)
        .await?
        .map(|result| serde_json::json!({ "preview": result.get("preview"), "figures": result.get("figures") }));
    Ok(Json(Shared {
        title: master.title,
        seconds: master.seconds,
        lufs: master.lufs,
        dbtp: master.dbtp,
        finished_at: master.finished_at,
        result,
        artifacts,
    }))
}
