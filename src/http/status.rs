//! How the service is: for people (`/v1/status`), for whoever sends traffic here (`/livez`, `/readyz`), for whoever watches (`/metrics`, on a
//! socket of its own).

use super::extract::Json;
use super::{App, docs, scrape};
use crate::config::Provider;
use crate::db::Schema;
use crate::domain::retention::periods::{Period, periods};
use crate::queue::{self, Class};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use loopmaster_core::plan::destinations;
use loopmaster_core::retention::Retention;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(places)).routes(routes!(document))
}

pub(super) fn health() -> Router<App> {
    Router::new().route("/livez", get(async || "alive\n")).route("/readyz", get(ready)).route("/docs", get(docs::page))
}

/// On a socket of its own, metrics included: there is no telling who a request to the api's socket comes from, since a proxy on this
/// machine is as near as an operator, and not every proxy says that it is one.
pub(crate) fn watch() -> Router<App> {
    let scraped = get(async |State(app): State<App>| scrape::scrape(&app).await);
    Router::new().route("/livez", get(async || "alive\n")).route("/readyz", get(ready)).route("/metrics", scraped)
}

/// Whether traffic should come here. What only limits (a full disk, a lost device) is told and does not count.
async fn ready(State(app): State<App>) -> Response {
    let seen = app.health.look(&app.db, &app.store).await;
    let draining = app.draining.is_cancelled();
    let alone = app.health.watched().is_some_and(|watched| watched.alone);
    let fits = if alone { seen.works() } else { seen.serves() };
    let good = !draining && seen.database.is_ok() && fits && seen.storage.is_ok();
    let told = |result: &Result<(), String>| match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            "away".to_owned()
        }
    };
    let disk = match app.health.free() {
        None => "not watched",
        Some((free, keep)) if free < keep => "full: uploads are refused",
        Some(_) => "ok",
    };
    let body = json!({
        "ready": good,
        "draining": draining,
        "database": told(&seen.database),
        "migrations": match &seen.schema {
            Ok(Schema::Own) => "ok".to_owned(),
            Ok(other) => other.to_string(),
            Err(error) => told(&Err(error.clone())),
        },
        "work": if app.health.watched().is_none() {
            "none in this process"
        } else if seen.works() {
            "ok"
        } else {
            "nothing is claimed"
        },
        "storage": told(&seen.storage),
        "disk": disk,
        "device": app.health.device(),
    });
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

/// How the service is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// ok, or what does not work.
    #[schema(example = "ok")]
    state: &'static str,
    /// Whether uploads are taken.
    uploads: bool,
    /// Tracks that wait.
    waiting: i64,
    /// Seconds of music that wait.
    waiting_seconds: f64,
    /// How long the oldest of them has waited, seconds.
    oldest_seconds: i64,
    /// Of the program.
    version: &'static str,
    /// Who else sees data.
    providers: Vec<Provider>,
    /// Days that things are kept, as the operator has set them.
    #[schema(value_type = BTreeMap<String, u32>)]
    retention: Retention,
    /// Everything that is kept, and how long.
    periods: Vec<Period>,
    /// Ways to sign in: email, google.
    sign_in: Vec<&'static str>,
}

/// How the service is
#[utoipa::path(get, path = "/status", tag = "service", operation_id = "status", security(()), responses((status = 200, body = Status)))]
async fn status(State(app): State<App>) -> Json<Status> {
    let seen = app.health.look(&app.db, &app.store).await;
    let depths = if seen.database.is_ok() { queue::depth(&app.db).await.unwrap_or_default() } else { Vec::new() };
    let waiting: Vec<_> = depths.iter().filter(|depth| !depth.running && depth.class != Class::Chore).collect();
    let full = app.health.room(0).is_err();
    let state = match (&seen.database, seen.serves(), &seen.storage) {
        (Err(_), ..) | (_, false, _) => "database away",
        (.., Err(_)) => "storage away",
        _ if full => "uploads closed",
        _ => "ok",
    };
    Json(Status {
        state,
        uploads: state == "ok",
        waiting: waiting.iter().map(|depth| depth.jobs).sum(),
        waiting_seconds: waiting.iter().map(|depth| depth.seconds).sum::<f64>().max(0.0),
        oldest_seconds: waiting.iter().map(|depth| depth.oldest / 1000).max().unwrap_or(0),
        version: env!("CARGO_PKG_VERSION"),
        providers: app.config.providers.clone(),
        retention: app.config.retention,
        periods: periods(&app.config.retention),
        sign_in: if app.google.is_some() { vec!["email", "google"] } else { vec!["email"] },
    })
}

/// Where masters go
///
/// What the services do with loudness, as of the date given.
#[utoipa::path(get, path = "/destinations", tag = "service", operation_id = "destinations", security(()),
    responses((status = 200, body = Vec<Object>)))]
async fn places() -> Json<Value> {
    Json(json!(destinations()))
}

/// This description
#[utoipa::path(get, path = "/openapi.json", tag = "service", operation_id = "openapi", security(()),
    responses((status = 200, body = Object)))]
async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")], docs::document())
        .into_response()
}
