//! The S3 endpoint for one machine: durable files in a folder, one operator's keys, on the loopback unless told otherwise.
//!
//! Signatures, XML and routing are s3s'; what the operations do is [`s3`], how bytes become durable is [`disk`], with what a key means in [`record`] and the files of bytes in [`blob`].

mod arrivals;
mod blob;
mod direct;
mod disk;
mod keys;
mod multipart;
mod post;
mod receive;
mod record;
mod s3;
mod signed;
mod sweep;

pub use super::policy::Credentials;
pub use disk::free_bytes;
pub(super) use signed::MOST_BYTES;
pub use sweep::Swept;

use aws_sdk_s3::config::SharedHttpClient;
use disk::Disk;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use loopmaster_net::{Answering, Limits, Listener};
use s3::Objects;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3ErrorCode, S3Result, s3_error};
use signed::Proof;
use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use uuid::Uuid;

/// Smallest part but the last.
pub const SMALLEST_PART: u64 = 5 << 20;
/// Largest object of one PUT, and largest part.
pub const LARGEST_PART: u64 = 5 << 30;
/// For the head of a request, a connection kept alive included.
const HEAD: Duration = Duration::from_secs(30);
/// For requests on their way when the server is stopped.
const GRACE: Duration = Duration::from_secs(10);

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of everything; one server at a time.
    pub folder: PathBuf,
    /// Where to listen; port 0 for any.
    pub listen: SocketAddr,
    /// The operator's keys.
    pub credentials: Credentials,
    /// Origins of pages that may read answers; `*` for all.
    pub cors_origins: Vec<String>,
    /// What the region is called.
    pub region: String,
    /// Free bytes on the disk that are never used up: writes get 507 before.
    pub reserve: u64,
    /// Multipart uploads nobody finished are removed after so long.
    pub unfinished_after: Duration,
    /// How often to sweep.
    pub sweep_every: Duration,
    /// Connections.
    pub connections: Limits,
}

impl Options {
    /// The usual.
    #[must_use]
    pub fn new(folder: &Path, listen: SocketAddr, credentials: Credentials, cors_origins: &[String]) -> Self {
        Self {
            folder: folder.to_owned(),
            listen,
            credentials,
            cors_origins: cors_origins.to_vec(),
            region: "us-east-1".to_owned(),
            reserve: 256 << 20,
            unfinished_after: Duration::from_hours(7 * 24),
            sweep_every: Duration::from_hours(6),
            connections: Limits::default(),
        }
    }
}

/// A running server; dropped, it stops at once.
#[derive(Debug)]
pub struct Handle {
    addr: SocketAddr,
    disk: Arc<Disk>,
    direct: SharedHttpClient,
    unfinished_after: Duration,
    stop: watch::Sender<bool>,
    served: Option<JoinHandle<()>>,
}

impl Handle {
    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The endpoint's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The way to it without a socket, for clients in this process.
    pub(super) fn direct(&self) -> SharedHttpClient {
        self.direct.clone()
    }

    /// Sweeps now: uploads nobody finished, blobs that no object names.
    pub async fn sweep(&self) -> S3Result<Swept> {
        let (disk, after) = (Arc::clone(&self.disk), self.unfinished_after);
        receive::blocking(move || disk.sweep(after)).await
    }

    /// Takes no more requests, lets those on their way end, and returns when the folder is free.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        if let Some(served) = self.served.take() {
            let _ = served.await;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(served) = self.served.take() {
            served.abort();
        }
    }
}

/// Serves a folder.
pub async fn serve(
    folder: &Path,
    listen: SocketAddr,
    credentials: Credentials,
    cors_origins: &[String],
) -> io::Result<Handle> {
    serve_with(Options::new(folder, listen, credentials, cors_origins)).await
}

/// Serves a folder with all options.
pub async fn serve_with(options: Options) -> io::Result<Handle> {
    let cors = cors(&options.cors_origins)?;
    let (folder, reserve) = (options.folder.clone(), options.reserve);
    let open = move || Disk::open(&folder, reserve).and_then(|disk| multipart::recover(&disk).map(|()| disk));
    let disk = tokio::task::spawn_blocking(open).await.map_err(io::Error::other)??;
    let listener = TcpListener::bind(options.listen).await?;
    let addr = listener.local_addr()?;

    let mut builder = S3ServiceBuilder::new(Objects { disk: Arc::clone(&disk), region: options.region.clone() });
    builder.set_auth(SimpleAuth::from_single(
        options.credentials.access_key.clone(),
        options.credentials.secret_key.clone(),
    ));
    let mut config = S3Config::default();
    // Ten thousand parts with their checksums.
    config.xml_max_body_size = 4 << 20;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    let state = Arc::new(State { s3: builder.build(), disk: Arc::clone(&disk), credentials: options.credentials });

    let direct = SharedHttpClient::new(direct::Direct(Arc::clone(&state)));
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(state.answer(request.map(Body::from)).await) }
    });
    let service = tower::ServiceBuilder::new().layer(cors).service(service);
    let listener = Listener::new(listener, Limits { first: HEAD, ..options.connections });
    let (stop, stopped) = watch::channel(false);
    let (sweeper, after, every) = (Arc::clone(&disk), options.unfinished_after, options.sweep_every);
    let served = tokio::spawn(async move {
        let mut swept = JoinSet::new();
        swept.spawn(async move {
            loop {
                let disk = Arc::clone(&sweeper);
                match receive::blocking(move || disk.sweep(after)).await {
                    Ok(swept) if swept != Swept::default() => tracing::info!(?swept, "storage: swept"),
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "storage: the sweep failed"),
                }
                tokio::time::sleep(every).await;
            }
        });
        accept(listener, service, stopped).await;
    });
    Ok(Handle { addr, disk, direct, unfinished_after: options.unfinished_after, stop, served: Some(served) })
}

fn cors(origins: &[String]) -> io::Result<CorsLayer> {
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let origins: Result<Vec<HeaderValue>, _> = origins.iter().map(|origin| origin.parse()).collect();
        AllowOrigin::list(origins.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?)
    };
    let exposed = ["etag", "content-range", "accept-ranges", "content-length", "location", "x-amz-request-id"];
    Ok(CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(Duration::from_hours(1)))
}

async fn accept<S>(listener: Listener, service: S, mut stopped: watch::Receiver<bool>)
where
    S: tower::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = tokio::select! {
            (stream, _) = listener.accept(|error| tracing::warn!(%error, "storage: a connection could not be accepted")) => stream,
            () = stop(&mut stopped) => break,
        };
        let (seat, service) = (stream.seat(), service.clone());
        let service = service_fn(move |request| {
            let asking = seat.request();
            let answer = service.clone().call(request);
            async move { answer.await.map(|response| response.map(|body| Answering::new(body, asking))) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_headers(128)
            .serve_connection(TokioIo::new(stream), service);
        let mut stopped = stopped.clone();
        connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = stop(&mut stopped) => None,
            };
            let ended = if let Some(ended) = ended {
                ended
            } else {
                connection.as_mut().graceful_shutdown();
                connection.await
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "storage: a connection broke");
            }
        });
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!("storage: connections cut after {} s", GRACE.as_secs());
    }
}

/// Returns when the server is to stop.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

struct State {
    s3: S3Service,
    disk: Arc<Disk>,
    credentials: Credentials,
}

impl State {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let id = Uuid::new_v4().simple().to_string();
        // An empty body is not waited for, so no `100 Continue` goes out; botocore then misreads the next answer on the connection.
        let headers = request.headers();
        let empty = headers.contains_key(EXPECT) && headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
        let brings = !request.body().is_end_stream();
        let mut response = match self.dispatch(request).await {
            Ok(response) => response,
            Err(mut error) => {
                error.set_request_id(&id);
                error.to_http_response().unwrap_or_else(|error| internal(&error))
            }
        };
        // What was refused may not have been read to its end; the connection then closes under whatever a client sends next.
        let unread = brings && !response.status().is_success();
        let headers = response.headers_mut();
        if empty || unread {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-amz-request-id", id);
        }
        // Whatever was uploaded, a browser shows it as what it is said to be and lets it touch nothing.
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        headers.insert(
            "content-security-policy",
            HeaderValue::from_static("sandbox allow-scripts allow-popups allow-downloads"),
        );
        response
    }

    async fn dispatch(&self, request: Request<Body>) -> S3Result<Response<Body>> {
        if signed::check(&request)? == Proof::Form {
            let bucket = request.uri().path().trim_matches('/').to_owned();
            if !s3s::path::check_bucket_name(&bucket) {
                return Err(s3_error!(MethodNotAllowed, "Forms go to /BUCKET"));
            }
            return post::post(&self.disk, &self.credentials, &bucket, request).await;
        }
        self.s3.call(request).await.map_err(|error| S3Error::with_source(S3ErrorCode::InternalError, error.into()))
    }
}

fn internal(error: &S3Error) -> Response<Body> {
    tracing::error!(%error, "storage: an error could not be written");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// Percent-encodes all but unreserved characters.
pub(super) fn urlencode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

fn urlencode_path(key: &str) -> String {
    urlencode(key).replace("%2F", "/")
}
