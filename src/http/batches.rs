//! Batches: tracks that belong together, perhaps an album with an order.

use super::App;
use super::extract::{Json, Path};
use super::idempotency::{Begun, Idempotency};
use super::masters::insert_batch;
use super::problem::{Answer, Problem, ProblemBody};
use crate::db::{Db, bump_version};
use crate::domain::guests;
use crate::domain::idempotency::Ticket;
use crate::domain::identity::Scope;
use crate::domain::identity::Visitor;
use crate::domain::limits::{Rule, quota};
use crate::domain::masters::{self, Master};
use crate::timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use loopmaster_core::admission::shown_text;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use std::collections::BTreeSet;
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
    /// One album: the order counts.
    #[serde(default)]
    album: bool,
    /// How many tracks will come.
    tracks: u64,
}

/// Tracks that belong together.
#[derive(Debug, Serialize, ToSchema)]
pub struct Batch {
    /// `bat_…`
    pub id: String,
    /// To be shown.
    pub name: String,
    /// One album: the order counts.
    pub album: bool,
    /// How many tracks were promised.
    pub tracks: i64,
    /// When it was begun.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: i64,
    /// Its masters, in order.
    pub items: Vec<Master>,
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
    let outcome = insert(&app, &visitor, new, &ticket).await;
    let batch = ticket.settle(&app.db, outcome).await?;
    Ok((StatusCode::CREATED, Json(batch)).into_response())
}

async fn insert(app: &App, visitor: &Visitor, new: NewBatch, ticket: &Ticket) -> Answer<Batch> {
    let most = app.config.limits.batch_tracks;
    if new.tracks > most {
        return Err(Problem::unprocessable(
            "batch.too_large",
            format!("a batch of {} tracks is too large; the limit is {most}", new.tracks),
        ));
    }
    let mut tx = app.db.begin().await?;
    let now = tx.now().await?;
    guests::welcome(&mut tx, visitor, now).await?;
    let mine = quota(&app.config.limits, visitor);
    Rule::hourly("creates", mine.creates_an_hour).spend(&mut tx, visitor.owner_key(), 1).await?;
    let id = insert_batch(&mut tx, visitor.owner(), &new.name, new.album, new.tracks, now).await?;
    let batch = Batch {
        id,
        name: shown_text(&new.name),
        album: new.album,
        tracks: new.tracks as i64,
        created_at: now,
        items: Vec::new(),
    };
    ticket.keep(&mut tx, &batch).await?;
    tx.commit().await?;
    Ok(batch)
}

pub(super) async fn find(db: &Db, owner: &str, id: &str) -> Answer<Batch> {
    let text = "SELECT id, name, album, announced, created_at FROM batches WHERE id = $1 AND owner = $2";
    let row = sqlx::query(text).bind(id).bind(owner).fetch_optional(db.read()).await?;
    let row = row.ok_or_else(|| Problem::not_found("batch", id))?;
    Ok(Batch {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        album: row.try_get::<i64, _>("album")? != 0,
        tracks: row.try_get("announced")?,
        created_at: row.try_get("created_at")?,
        items: masters::of_batch(db, owner, id).await?,
    })
}

/// Show a batch
#[utoipa::path(get, path = "/batches/{id}", tag = "batches", operation_id = "batch_show",
    responses((status = 200, body = Batch), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn show(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<Json<Batch>> {
    visitor.needs(Scope::Masters)?;
    find(&app.db, visitor.owner(), &id).await.map(Json)
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
    let batch = find(&app.db, visitor.owner(), &id).await?;
    if let Some(order) = &change.order {
        let there: BTreeSet<&str> = batch.items.iter().map(|master| master.id.as_str()).collect();
        let named: BTreeSet<&str> = order.iter().map(String::as_str).collect();
        if there != named || order.len() != there.len() {
            return Err(Problem::unprocessable(
                "batch.order",
                format!(
                    "the order names {} masters and the batch has {}; name each of them once",
                    order.len(),
                    there.len()
                ),
            ));
        }
    }
    let mut tx = app.db.begin().await?;
    let text = "UPDATE batches SET name = COALESCE($2, name), album = COALESCE($3, album) WHERE id = $1";
    sqlx::query(text)
        .bind(&id)
        .bind(change.name.as_deref().map(shown_text))
        .bind(change.album.map(i64::from))
        .execute(&mut *tx)
        .await?;
    if let Some(order) = &change.order {
        let version = bump_version(&mut tx, visitor.owner()).await?;
        for (position, master) in order.iter().enumerate() {
            sqlx::query("UPDATE masters SET batch_position = $2, version = $3 WHERE id = $1 AND batch_id = $4")
                .bind(master)
                .bind(position as i64)
                .bind(version)
                .bind(&id)
                .execute(&mut *tx)
                .await?;
        }
    }
    tx.commit().await?;
    find(&app.db, visitor.owner(), &id).await.map(Json)
}
