//! Uploads: the client says what it will send, gets signed addresses for the parts, puts them into storage by itself, and says when
//! it is done. Interrupted, it lists what is there and goes on. [`crate::domain::uploads`] holds the states; here are the addresses of our own
//! contract, and [`companion`] speaks the one that stock Uppy speaks.

pub mod companion;

use super::App;
use super::extract::{Json, Path, Query};
use super::idempotency::{Begun, Idempotency};
use super::page::{self, Cursor, Page};
use super::problem::{Answer, Problem, ProblemBody};
use crate::domain::identity::{Scope, Visitor};
use crate::domain::presets::Wished;
use crate::domain::settings::SettingsSchema;
use crate::domain::uploads::fetched;
use crate::domain::uploads::{self, SIGNED_FOR, State as Is, Upload, Way, Wish};
use crate::timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Most addresses in one answer.
const MOST_NUMBERS: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, remove))
        .routes(routes!(sign, parts))
        .routes(routes!(complete))
}

/// What a client wants to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUpload {
    /// File name, to be shown; that of the address where `url` is given and this is not.
    #[schema(example = "song.wav")]
    name: Option<String>,
    /// Size; exactly this is accepted. Not beside `url`.
    #[schema(example = 42_336_044, minimum = 1)]
    bytes: Option<u64>,
    /// Where the service is to fetch the file instead of having it sent: HTTPS on port 443 of the public internet. For accounts.
    #[schema(example = "https://files.example.com/song.wav")]
    url: Option<String>,
    /// Media type; empty where the client has none.
    #[serde(default)]
    r#type: String,
    /// Anything by which the client knows the file again.
    #[serde(default)]
    fingerprint: String,
    /// Master it with these settings as soon as it is complete.
    #[schema(value_type = Option<SettingsSchema>)]
    settings: Option<Wished>,
    /// Master it with this preset of the account as soon as it is complete; the settings lie over it.
    preset: Option<String>,
    /// A batch it belongs to.
    batch: Option<String>,
    /// Its place in the batch.
    position: Option<u32>,
    /// Title of the master; the file name without its ending where none is given.
    title: Option<String>,
    /// A finished record to come close to: another upload.
    reference_upload: Option<String>,
}

/// Begin an upload
///
/// Declares name and size. The answer tells how the file is to be cut; addresses for the parts come from `/parts`. With `url` the service
/// fetches the file by itself: ask until `state` is `stored`, or `aborted` with `error`; deleting the upload stops it.
#[utoipa::path(post, path = "/uploads", tag = "uploads", operation_id = "upload_create", request_body = NewUpload,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "The same key gets the same answer for a day")),
    responses((status = 201, body = Upload), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn create(
    State(app): State<App>,
    visitor: Visitor,
    idempotency: Idempotency,
    Json(new): Json<NewUpload>,
) -> Answer<Response> {
    visitor.needs(Scope::Uploads)?;
    if new.settings.is_some() || new.preset.is_some() {
        visitor.needs(Scope::Masters)?;
    }
    let (name, bytes, way) = match (new.url, new.name, new.bytes) {
        (None, Some(name), Some(bytes)) => (name, Some(bytes), Way::Parts),
        (Some(url), name, None) => {
            if visitor.user().is_none() {
                return Err(Problem::unauthorized(
                    "auth.sign_in_required",
                    "sign in to have a file fetched, or send it",
                ));
            }
            let url = fetched::address(&app.config, &url)?;
            (name.unwrap_or_else(|| fetched::name_of(&url)), None, Way::Fetched(url))
        }
        _ => {
            let detail =
                "give `name` and `bytes` of the file you will send, or `url` without `bytes` of one to be fetched";
            return Err(Problem::unprocessable("request.invalid_field", detail));
        }
    };
    let ticket = match idempotency.begin(&app, &visitor).await? {
        Begun::First(ticket) => ticket,
        Begun::Repeat(response) => return Ok(response),
    };
    let outcome = async {
        let settings = match (new.settings, new.preset) {
            (None, None) => None,
            (settings, preset) => {
                Some(settings.unwrap_or_default().over(&app.db, visitor.user(), preset.as_deref()).await?)
            }
        };
        let wish = Wish {
            name,
            bytes,
            media_type: new.r#type,
            fingerprint: shortened(&new.fingerprint, 200),
            settings,
            batch: new.batch,
            position: new.position.map(i64::from),
            title: new.title,
            reference: new.reference_upload,
            way,
            part_bytes: None,
        };
        uploads::create(&app, &visitor, wish, Some(&ticket)).await
    };
    let outcome = outcome.await;
    let (upload, _) = ticket.settle(&app.db, outcome).await?;
    Ok((StatusCode::CREATED, Json(upload)).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Listing {
    /// Only uploads in this state.
    #[param(inline)]
    state: Option<Is>,
    /// Only mixes that are kept without a master, or only others.
    kept: Option<bool>,
    /// Where the last page ended.
    cursor: Option<String>,
    /// Most items of a page, 1 to 200; 50 where it is not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// List uploads
///
/// Newest first. With `state=uploading`: what a returning client can go on with.
#[utoipa::path(get, path = "/uploads", tag = "uploads", operation_id = "upload_list", params(Listing),
    responses((status = 200, body = Page<Upload>), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn list(State(app): State<App>, visitor: Visitor, Query(listing): Query<Listing>) -> Answer<Json<Page<Upload>>> {
    visitor.needs(Scope::Uploads)?;
    let limit = page::limit(listing.limit)?;
    let before = Cursor::<(i64, String)>::read(listing.cursor.as_deref())?;
    let (time, id) = before.map_or((i64::MAX, String::new()), |cursor| cursor.0);
    let rows = uploads::list(&app.db, visitor.owner(), listing.state, listing.kept, time, &id, limit).await?;
    let unfinished = app.unfinished(visitor.owner());
    Ok(Json(Page::cut(rows, limit, |row| (row.created_at, row.id.clone())).map(|row| Upload::of(&row, unfinished))))
}

/// Show an upload
#[utoipa::path(get, path = "/uploads/{id}", tag = "uploads", operation_id = "upload_show",
    responses((status = 200, body = Upload), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn show(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<Json<Upload>> {
    visitor.needs(Scope::Uploads)?;
    let row = uploads::current(&app, uploads::find(&app.db, visitor.owner(), &id).await?).await?;
    Ok(Json(Upload::of(&row, app.unfinished(&row.owner))))
}

/// Give an upload up
///
/// Stops an unfinished one, and deletes a finished one that no master needs any more.
#[utoipa::path(delete, path = "/uploads/{id}", tag = "uploads", operation_id = "upload_delete",
    responses((status = 204), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn remove(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<StatusCode> {
    visitor.needs(Scope::Uploads)?;
    let row = uploads::find(&app.db, visitor.owner(), &id).await?;
    uploads::abort(&app, &visitor, &row).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which parts are to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// From 1.
    #[schema(example = json!([1, 2, 3]), min_items = 1, max_items = 1000)]
    numbers: Vec<u64>,
}

/// Where parts go.
#[derive(Debug, Serialize, ToSchema)]
pub struct Signed {
    /// PUT exactly the bytes of each part to its address.
    #[schema(value_type = BTreeMap<String, String>)]
    urls: BTreeMap<u64, String>,
    /// The addresses work until then.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: i64,
}

/// Sign addresses for parts
///
/// Each address takes exactly the bytes of its part. When one has expired (403 from storage), ask for it again.
#[utoipa::path(post, path = "/uploads/{id}/parts", tag = "uploads", operation_id = "upload_sign", request_body = Numbers,
    responses((status = 200, body = Signed), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn sign(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    Json(Numbers { numbers }): Json<Numbers>,
) -> Answer<Json<Signed>> {
    visitor.needs(Scope::Uploads)?;
    if numbers.is_empty() || numbers.len() > MOST_NUMBERS {
        return Err(Problem::unprocessable(
            "upload.too_many_parts",
            format!("{} part numbers were given; ask for 1 to {MOST_NUMBERS} at a time", numbers.len()),
        ));
    }
    let row = uploads::current(&app, uploads::find(&app.db, visitor.owner(), &id).await?).await?;
    let expires_at = app.db.now().await? + SIGNED_FOR.as_millis() as i64;
    let urls = uploads::sign(&app, &row, &numbers).await?;
    Ok(Json(Signed { urls, expires_at }))
}

/// A part that has arrived.
#[derive(Debug, Serialize, ToSchema)]
pub struct Arrived {
    number: u64,
    etag: String,
    bytes: u64,
}

/// The parts that have arrived.
#[derive(Debug, Serialize, ToSchema)]
pub struct Parts {
    parts: Vec<Arrived>,
}

/// List the parts that have arrived
#[utoipa::path(get, path = "/uploads/{id}/parts", tag = "uploads", operation_id = "upload_parts",
    responses((status = 200, body = Parts), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn parts(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<Json<Parts>> {
    visitor.needs(Scope::Uploads)?;
    let row = uploads::current(&app, uploads::find(&app.db, visitor.owner(), &id).await?).await?;
    let parts = uploads::arrived(&app, &row).await?;
    let parts = parts.into_iter().map(|part| Arrived {
        number: part.number.into(),
        etag: part.etag,
        bytes: part.bytes.unwrap_or_default(),
    });
    Ok(Json(Parts { parts: parts.collect() }))
}

/// All parts, as storage answered for each.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Complete {
    parts: Vec<SentPart>,
}

/// One part that was sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SentPart {
    number: u64,
    /// The `ETag` header of the answer to the PUT.
    etag: String,
}

/// Complete an upload
///
/// Repeating it gives the first answer. With settings given at the beginning the track is queued in the same moment.
#[utoipa::path(post, path = "/uploads/{id}/complete", tag = "uploads", operation_id = "upload_complete", request_body = Complete,
    responses((status = 200, body = Upload), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn complete(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    Json(Complete { parts }): Json<Complete>,
) -> Answer<Json<Upload>> {
    visitor.needs(Scope::Uploads)?;
    let row = uploads::find(&app.db, visitor.owner(), &id).await?;
    let parts = parts.into_iter().map(|part| (part.number, part.etag)).collect();
    let row = uploads::complete(&app, &row, parts).await?;
    Ok(Json(Upload::of(&row, app.unfinished(&row.owner))))
}

fn shortened(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}
