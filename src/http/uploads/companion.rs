//! The contract of Uppy's Companion for S3, so that an unmodified Uppy 5 or 6 works: under `/companion/s3` for our own visitors, under
//! `/u/<grant>/s3` for pages of others. `uploadId` is our id of the upload. Small files go in one POST that nobody reports the end of;
//! they are adopted when a master is made from them, or by the sweeper.

use super::super::extract::{Json, Path, Query};
use super::super::observe::wrong_method;
use super::super::{Answer, App, Problem};
use super::{MOST_NUMBERS, shortened};
use crate::domain::accounts::grants;
use crate::domain::identity::{Caller, Identity, Scope, Visitor};
use crate::domain::uploads::SIGNED_FOR;
use crate::domain::uploads::{self, Row, Way, Wish};
use crate::store::PostBytes;
use crate::store::embedded::SMALLEST_PART;
use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tower_http::cors::{Any, CorsLayer};

/// Both places.
pub(in crate::http) fn routes() -> Router<App> {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, header::ACCEPT])
        .max_age(Duration::from_hours(1));
    Router::new().nest("/companion/s3", contract()).nest("/u/{grant}/s3", contract().layer(cors))
}

fn contract() -> Router<App> {
    Router::new()
        .route("/params", get(params))
        .route("/multipart", post(create))
        .route("/multipart/{upload}", get(list).delete(abort))
        .route("/multipart/{upload}/batch", get(batch))
        .route("/multipart/{upload}/complete", post(complete))
        .route("/multipart/{upload}/{number}", get(sign))
        // Before the layer of CORS, which answers OPTIONS where a method is not there.
        .method_not_allowed_fallback(wrong_method)
}

/// Refusals as Uppy reads them: with a member `error`.
struct Refused(Problem);

impl<E: Into<Problem>> From<E> for Refused {
    fn from(problem: E) -> Self {
        let problem = problem.into();
        let text = problem.detail().to_owned();
        Self(problem.with("error", text))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

type Told<T> = Result<T, Refused>;

/// Who sends: our visitor, or whoever holds the capability in the path.
struct Sender(Visitor);

impl FromRequestParts<App> for Sender {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Told<Self> {
        let params = RawPathParams::from_request_parts(parts, app).await.map_err(Problem::internal)?;
        let grant = params.iter().find(|(name, _)| *name == "grant").map(|(_, grant)| grant.to_owned());
        let visitor = match grant {
            Some(grant) => {
                let caller = Caller::from_request_parts(parts, app).await?;
                let visitor = grants::identify(&app.db, &grant, &caller).await?;
                app.rates.check(&visitor)?;
                visitor
            }
            None => Visitor::from_request_parts(parts, app).await?,
        };
        visitor.needs(Scope::Uploads)?;
        Ok(Self(visitor))
    }
}

/// The path's variables; `grant` is there in one of the two places.
#[derive(Deserialize)]
struct Place {
    upload: String,
    number: Option<u64>,
}

#[derive(Deserialize)]
struct Key {
    key: String,
    #[serde(rename = "partNumbers")]
    part_numbers: Option<String>,
}

/// The sender's upload with this id and this key.
async fn find(app: &App, sender: &Sender, place: &Place, key: &Key) -> Answer<Row> {
    let row = uploads::find(&app.db, sender.0.owner(), &place.upload).await?;
    // A capability reaches what came by it, and nothing else of its user.
    let reaches = match &sender.0.identity {
        Identity::Grant { grant, .. } => row.grant_id.as_deref() == Some(grant),
        _ => true,
    };
    if !reaches || row.client_key != key.key {
        return Err(Problem::not_found("upload", &place.upload));
    }
    Ok(row)
}

/// How stock Uppy cuts a file: as small as S3 takes it, and in no more parts than S3 takes.
fn uppys_part(bytes: u64) -> u64 {
    bytes.div_ceil(10_000).max(SMALLEST_PART)
}

/// The size of the file, where the page tells it: a number or, in a query, digits. Whatever else is called so is none.
fn size(value: &Value) -> Option<u64> {
    let bytes = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    bytes.filter(|bytes| *bytes > 0)
}

fn wish(name: Option<String>, media_type: Option<String>, bytes: Option<u64>, way: Way) -> Answer<Wish> {
    let name = name.filter(|name| !name.trim().is_empty());
    let Some(name) = name else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "upload.no_name", "the file name is missing; send filename"));
    };
    Ok(Wish {
        name,
        bytes,
        media_type: media_type.unwrap_or_default(),
        fingerprint: String::new(),
        settings: None,
        batch: None,
        position: None,
        title: None,
        reference: None,
        way,
        part_bytes: bytes.map(uppys_part),
    })
}

#[derive(Deserialize)]
struct File {
    filename: Option<String>,
    r#type: Option<String>,
    /// What the page tells of the file; stock Uppy sends its size only where the page puts it there.
    #[serde(default)]
    metadata: Value,
}

#[derive(Deserialize)]
struct Asked {
    filename: Option<String>,
    r#type: Option<String>,
    #[serde(rename = "metadata[size]")]
    size: Option<String>,
}

async fn params(State(app): State<App>, sender: Sender, Query(file): Query<Asked>) -> Told<axum::Json<Value>> {
    let bytes = file.size.and_then(|text| size(&Value::String(text)));
    let wish = wish(file.filename, file.r#type, bytes, Way::Post)?;
    let (_, row) = uploads::create(&app, &sender.0, wish, None).await?;
    let bytes = match row.bytes {
        0 => PostBytes::AtMost(row.reserved),
        bytes => PostBytes::Exactly(bytes),
    };
    let policy = app.store.post_policy(&row.client_key, &row.media_type, bytes, SIGNED_FOR);
    Ok(axum::Json(
        json!({ "method": "POST", "url": policy.url, "fields": policy.fields, "expires": SIGNED_FOR.as_secs() }),
    ))
}

async fn create(State(app): State<App>, sender: Sender, Json(file): Json<File>) -> Told<axum::Json<Value>> {
    let wish = wish(file.filename, file.r#type, size(&file.metadata["size"]), Way::Parts)?;
    let (_, row) = uploads::create(&app, &sender.0, wish, None).await?;
    Ok(axum::Json(json!({ "key": row.client_key, "uploadId": row.id, "bucket": app.config.storage.bucket })))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    part_number: i64,
    #[serde(rename = "ETag")]
    etag: String,
    size: u64,
}

async fn list(
    State(app): State<App>,
    sender: Sender,
    Path(place): Path<Place>,
    Query(key): Query<Key>,
) -> Told<axum::Json<Vec<Listed>>> {
    let row = uploads::current(&app, find(&app, &sender, &place, &key).await?).await?;
    let parts = uploads::arrived(&app, &row).await?;
    let parts = parts.into_iter().map(|part| Listed {
        part_number: part.number.into(),
        etag: format!("\"{}\"", part.etag),
        size: part.bytes.unwrap_or_default(),
    });
    Ok(axum::Json(parts.collect()))
}

async fn sign(
    State(app): State<App>,
    sender: Sender,
    Path(place): Path<Place>,
    Query(key): Query<Key>,
) -> Told<axum::Json<Value>> {
    let row = uploads::current(&app, find(&app, &sender, &place, &key).await?).await?;
    let number = number(place.number.unwrap_or_default())?;
    let url = uploads::sign(&app, &row, &[number]).await?.remove(&number);
    Ok(axum::Json(json!({ "url": url, "expires": SIGNED_FOR.as_secs() })))
}

fn number(number: u64) -> Answer<u64> {
    if (1..=10_000).contains(&number) {
        return Ok(number);
    }
    Err(Problem::new(
        StatusCode::BAD_REQUEST,
        "upload.no_such_part",
        format!("part {number} cannot be; use 1 to 10000"),
    ))
}

async fn batch(
    State(app): State<App>,
    sender: Sender,
    Path(place): Path<Place>,
    Query(key): Query<Key>,
) -> Told<axum::Json<Value>> {
    let row = uploads::current(&app, find(&app, &sender, &place, &key).await?).await?;
    let wanted = key.part_numbers.as_deref().unwrap_or_default();
    let numbers: Vec<u64> = wanted.split(',').map(|number| number.trim().parse().unwrap_or_default()).collect();
    if numbers.len() > MOST_NUMBERS {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "upload.too_many_parts",
            format!("ask for at most {MOST_NUMBERS} parts at a time"),
        )
        .into());
    }
    let numbers = numbers.into_iter().map(number).collect::<Answer<Vec<u64>>>()?;
    let urls = uploads::sign(&app, &row, &numbers).await?;
    let urls: BTreeMap<String, String> = urls.into_iter().map(|(number, url)| (number.to_string(), url)).collect();
    Ok(axum::Json(json!({ "presignedUrls": urls })))
}

#[derive(Deserialize)]
struct Sent {
    parts: Vec<SentPart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SentPart {
    part_number: u64,
    #[serde(rename = "ETag")]
    etag: String,
}

async fn complete(
    State(app): State<App>,
    sender: Sender,
    Path(place): Path<Place>,
    Query(key): Query<Key>,
    Json(sent): Json<Sent>,
) -> Told<axum::Json<Value>> {
    let row = find(&app, &sender, &place, &key).await?;
    let parts = sent.parts.into_iter().map(|part| (part.part_number, shortened(&part.etag, 200))).collect();
    let row = uploads::complete(&app, &row, parts).await?;
    let bucket = &app.config.storage.bucket;
    let location = app.config.files_url.with(&format!("/{bucket}/{}", row.client_key));
    Ok(axum::Json(json!({ "location": location, "key": row.client_key, "bucket": bucket })))
}

async fn abort(
    State(app): State<App>,
    sender: Sender,
    Path(place): Path<Place>,
    Query(key): Query<Key>,
) -> Told<axum::Json<Value>> {
    let row = find(&app, &sender, &place, &key).await?;
    uploads::abort(&app, &sender.0, &row).await?;
    Ok(axum::Json(json!({})))
}
