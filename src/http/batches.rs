//! Batches: tracks that belong together, perhaps an album with an order.

use super::App;
use super::extract::{Json, Path};
use super::idempotency::{Begun, Idempotency};
use super::problem::{Answer, ProblemBody};
use crate::domain::batches::{self, Batch};
use crate::domain::identity::{Scope, Visitor};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(make)).routes(routes!(show, change))
}

/// Several tracks to come.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBatch {
    /// To be shown.
    #[serde(default)]
    name: String,
    /// One album: its songs are mastered to belong together, in this order.
    #[serde(default)]
    album: bool,
    /// How many tracks will come.
    tracks: u64,
}

/// Begin a batch
///
/// Then name it in each upload.
#[utoipa::path(post, path = "/batches", tag = "batches", operation_id = "batch_create", request_body = NewBatch,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "The same key gets the same answer for a day")),
    responses((status = 201, body = Batch), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn make(
    State(app): State<App>,
    visitor: Visitor,
    idempotency: Idempotency,
    Json(new): Json<NewBatch>,
) -> Answer<Response> {
    visitor.needs(Scope::Masters)?;
    let ticket = match idempotency.begin(&app, &visitor).await? {
        Begun::First(ticket) => ticket,
        Begun::Repeat(response) => return Ok(response),
    };
    let outcome = batches::create(&app, &visitor, &new.name, new.album, new.tracks, &ticket).await;
    let batch = ticket.settle(&app.db, outcome).await?;
    Ok((StatusCode::CREATED, Json(batch)).into_response())
}

/// Show a batch
#[utoipa::path(get, path = "/batches/{id}", tag = "batches", operation_id = "batch_show",
    responses((status = 200, body = Batch), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn show(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<Json<Batch>> {
    visitor.needs(Scope::Masters)?;
    Ok(Json(batches::find(&app.db, visitor.owner(), &id).await?))
}

/// What is to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Another name.
    name: Option<String>,
    /// Whether it is an album.
    album: Option<bool>,
    /// All masters of the batch, in their new order.
    order: Option<Vec<String>>,
}

/// Change a batch
///
/// Its name, whether it is an album, or the order of its tracks.
#[utoipa::path(patch, path = "/batches/{id}", tag = "batches", operation_id = "batch_change", request_body = Change,
    responses((status = 200, body = Batch), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn change(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    Json(change): Json<Change>,
) -> Answer<Json<Batch>> {
    visitor.needs(Scope::Masters)?;
    let Change { name, album, order } = change;
    Ok(Json(batches::change(&app.db, visitor.owner(), &id, name.as_deref(), album, order.as_deref()).await?))
}
