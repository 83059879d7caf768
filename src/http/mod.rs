//! The HTTP API. One road for every request under `/v1`:
//!
//! ```text
//! observe (id, log line, metrics, problems) → identify (body, who) → count (how often) → handler
//! ```
//!
//! Handlers ask the domain and sign addresses; bytes of audio go between client and storage. Only ZIPs stream through here.

pub mod account;
mod admission;
pub mod artifacts;
pub mod auth;
pub mod batches;
pub mod docs;
pub mod events;
pub mod extract;
pub mod idempotency;
pub mod identity;
pub mod limits;
pub mod masters;
mod observe;
pub mod page;
mod presets;
pub mod problem;
mod scrape;
pub mod server;
pub mod signed;
pub mod status;
pub mod uploads;
pub mod zip;

pub use problem::{Answer, Problem};

use crate::config::Config;
use crate::domain::ip_keys::IpKeys;
use crate::keyed_lock::Permits;
use crate::service::{Service, StartError};
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use events::Hub;
use limits::Rates;
use std::ops::Deref;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;

/// The service, and what only HTTP needs of it. Clones share it.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// What handlers work with.
#[derive(Debug)]
pub struct Parts {
    /// What works without HTTP.
    pub service: Service,
    /// Counters of this process.
    pub rates: Rates,
    /// Keys that addresses are hashed with.
    pub ip_keys: IpKeys,
    /// Tells streams of changes.
    pub hub: Hub,
    /// Open streams by owner.
    pub streams: Permits,
    /// Archives being sent, by owner.
    pub zips: Permits,
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Deref for Parts {
    type Target = Service;
    fn deref(&self) -> &Service {
        &self.service
    }
}

impl App {
    /// Connects to everything. Needs a runtime; nothing is migrated and no bucket is made.
    pub async fn open(config: Config) -> Result<Self, StartError> {
        Ok(Self::of(Service::open(config).await?))
    }

    /// What HTTP needs around a service. Needs a runtime.
    #[must_use]
    pub fn of(service: Service) -> Self {
        let hub = Hub::default();
        hub.listen(&service.db);
        Self(Arc::new(Parts {
            rates: Rates::new(&service.config.limits),
            ip_keys: IpKeys::default(),
            hub,
            streams: Permits::default(),
            zips: Permits::default(),
            service,
        }))
    }
}

/// The document the paths are written into.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "LoopMastering",
        description = "Masters music: send a mix, get a release-ready master and an honest account of what was done.",
        license(name = "MPL-2.0", identifier = "MPL-2.0")
    ),
    components(schemas(problem::ProblemBody))
)]
struct Document;

fn documented() -> OpenApiRouter<App> {
    let parts = [
        uploads::routes(),
        masters::routes(),
        batches::routes(),
        presets::routes(),
        artifacts::routes(),
        zip::routes(),
        events::routes(),
        auth::routes(),
        account::routes(),
        admission::routes(),
        status::routes(),
    ];
    let v1 = parts.into_iter().fold(OpenApiRouter::new(), OpenApiRouter::merge);
    OpenApiRouter::with_openapi(Document::openapi()).nest("/v1", v1)
}

/// The API's description.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = documented().into_openapi();
    let bearer =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token of an account: lmt_…")).build();
    document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(bearer));
    document.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            // Every refusal is a problem, whatever its handler says of itself.
            for (status, response) in responses.iter_mut() {
                if let (false, RefOr::T(response)) = (status.starts_with(['2', '3']), response) {
                    response.content = problems();
                }
            }
            let mut away = ResponseBuilder::new().description("A part of the service is away, or at fault").build();
            away.content = problems();
            responses.insert("5XX".to_owned(), RefOr::T(away));
        }
    }
    document
}

fn problems<C: FromIterator<(String, RefOr<Content>)>>() -> C {
    let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
    std::iter::once(("application/problem+json".to_owned(), RefOr::T(Content::new(Some(schema))))).collect()
}

/// What a process without the api answers: health and metrics.
pub fn watched(app: App) -> Router {
    Router::new().merge(status::watch()).with_state(app)
}

/// The whole API.
pub fn router(app: App) -> Router {
    let (v1, _) = documented().split_for_parts();
    let panicked = |panic: Box<dyn std::any::Any + Send>| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        axum::response::IntoResponse::into_response(Problem::internal(format!("panic: {}", text.unwrap_or_default())))
    };
    let v1 = v1
        .nest("/v1", uploads::companion::routes())
        .layer(from_fn_with_state(app.clone(), limits::count))
        .layer(from_fn_with_state(app.clone(), identity::identify));
    Router::new()
        .merge(v1)
        .merge(status::health())
        .fallback(observe::nothing_here)
        .method_not_allowed_fallback(observe::wrong_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(observe::observe))
        .with_state(app)
}
