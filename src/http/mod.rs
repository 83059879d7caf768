//! The HTTP API. One road for every request under `/v1`:
//!
//! ```text
//! observe (id, log line, metrics, problems) → identify (body, who) → count (how often) → handler
//! ```
//!
//! Handlers read rows, write rows, and sign addresses; bytes of audio go between client and storage. Only ZIPs stream through here.

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
pub mod places;
pub mod problem;
pub mod server;
pub mod settings;
pub mod signed;
pub mod status;
pub mod time;
pub mod turns;
pub mod uploads;
pub mod zip;

pub use identity::{Caller, Identity, Scope, SignedIn, Visitor};
pub use problem::{Answer, Problem};

use crate::config::Config;
use crate::db::{Db, DbError};
use crate::picture::Pictures;
use crate::store::{Store, StoreError};
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use events::Hub;
use identity::IpKeys;
use limits::Rates;
use places::Places;
use status::Health;
use std::ops::Deref;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use turns::{Slots, Turns};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;

/// The service's parts. Clones share them.
#[derive(Clone, Debug)]
pub struct App(Arc<Service>);

/// What handlers work with.
#[derive(Debug)]
pub struct Service {
    /// What the operator set.
    pub config: Config,
    /// The database.
    pub db: Db,
    /// Object storage.
    pub store: Store,
    /// How the parts are.
    pub health: Health,
    /// Counters of this process.
    pub rates: Rates,
    /// Keys that addresses are hashed with.
    pub ip_keys: IpKeys,
    /// Tells streams of changes.
    pub hub: Hub,
    /// Open streams by owner.
    pub streams: Slots,
    /// Archives being sent, by owner.
    pub zips: Slots,
    /// Decodes profile pictures.
    pub pictures: Pictures,
    /// Uploads being completed.
    pub settling: Turns,
    /// The order of the queue.
    pub places: Places,
    /// Sign-in with Google, where it is configured.
    pub google: Option<auth::oidc::Provider>,
    /// Cancelled when the process is asked to end: readiness goes, streams say goodbye.
    pub draining: CancellationToken,
}

impl Service {
    /// How long an unfinished upload of this owner is kept, ms.
    #[must_use]
    pub fn unfinished(&self, owner: &str) -> i64 {
        self.config.retention.unfinished(owner.starts_with("gst_"))
    }
}

impl Deref for App {
    type Target = Service;
    fn deref(&self) -> &Service {
        &self.0
    }
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The storage.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The worker.
    #[error("the worker cannot work: {0}")]
    Worker(String),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] loopmaster_private::NotPrivate),
    /// A socket or a folder.
    #[error("{what}: {error}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        error: std::io::Error,
    },
}

impl App {
    /// Connects to everything. Needs a runtime; nothing is migrated and no bucket is made.
    pub async fn open(config: Config) -> Result<Self, StartError> {
        let db = Db::connect(&config.database()).await?;
        let store = Store::new(&config.storage_client())?;
        Ok(Self::with(config, db, store))
    }

    /// From parts. Needs a runtime.
    #[must_use]
    pub fn with(config: Config, db: Db, store: Store) -> Self {
        let hub = Hub::default();
        hub.listen(&db);
        let disk = config.storage.embedded().then(|| (config.files_folder(), config.storage.keep_free));
        Self(Arc::new(Service {
            rates: Rates::new(&config.limits),
            health: Health::new(disk),
            ip_keys: IpKeys::default(),
            hub,
            streams: Slots::default(),
            zips: Slots::default(),
            pictures: Pictures::new(config.worker.allow_unsandboxed),
            settling: Turns::default(),
            places: Places::default(),
            google: auth::oidc::Provider::google(&config),
            draining: CancellationToken::new(),
            config,
            db,
            store,
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
