//! The server: connections in, instances of the component behind them.

use crate::guest::{Guest, Shared};
use crate::keyvalue::KeyValue;
use crate::manifest::{Manifest, ManifestError};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use loopmaster_net::{Answering, Limits, Listener};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use wasmtime::component::{Component, GuestTaskId};
use wasmtime::{Cache, CacheConfig, Config, Engine, Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    ExpirationError, HandlerState, Instance, ProxyHandler, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState,
    WorkerStatus,
};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{Error, WasiBody};

/// How the host runs the component.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Requests one instance serves before it is replaced.
    pub reuse: usize,
    /// Of them at once.
    pub concurrent: usize,
    /// Memory of an instance, bytes.
    pub memory: usize,
    /// Time for an answer's head, and again for what follows it.
    pub deadline: Duration,
    /// How long an idle instance is kept.
    pub idle: Duration,
    /// Longest body that is taken, bytes.
    pub body: u64,
    /// Connections at once, and from where.
    pub connections: Limits,
    /// Where compiled code is kept between runs.
    pub cache: Option<PathBuf>,
    /// Where the key-value store is kept between runs.
    pub store: Option<PathBuf>,
}

impl Default for Options {
    /// What Spin does, and Akamai's limits.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            reuse: 128,
            concurrent: 16,
            memory: 128 << 20,
            deadline: Duration::from_secs(30),
            idle: Duration::from_secs(1),
            body: 10 << 20,
            connections: Limits { first: HEADER_TIME, ..Limits::default() },
            cache: None,
            store: None,
        }
    }
}

/// Why the host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The component.
    #[error(
        "edge_host.component: {0}: {1:#}; build it: cargo build --profile edge --target wasm32-wasip2 -p loopmaster-edge"
    )]
    Component(PathBuf, wasmtime::Error),
    /// The engine.
    #[error("edge_host.engine: {0:#}")]
    Engine(wasmtime::Error),
    /// The address.
    #[error("edge_host.listen: {0}: {1}; choose another address with --listen")]
    Listen(SocketAddr, std::io::Error),
    /// The system's certificates.
    #[error("edge_host.certificates: {0}; install the system's certificates (Debian: ca-certificates)")]
    Certificates(std::io::Error),
}

/// Requests that are handled at once, all instances together.
const MOST_REQUESTS: usize = 1024;
/// How often the engine looks whether a busy instance has to let others in.
const EPOCH: Duration = Duration::from_millis(50);
/// How often the store is written.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// How long a stop waits for answers under way.
const PATIENCE: Duration = Duration::from_secs(10);
/// A visitor who sends their headers slower than this is gone.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// A compiled component and what it gets.
pub struct Host {
    engine: Engine,
    pre: ServicePre<Guest>,
    shared: Arc<Shared>,
    store: Arc<KeyValue>,
    options: Options,
}

impl Host {
    /// Compiles the component, or takes it from the cache.
    pub fn new(manifest: &Manifest, options: Options) -> Result<Self, HostError> {
        let engine = engine(&options).map_err(HostError::Engine)?;
        let missing = |error| HostError::Component(manifest.source.clone(), error);
        let component = Component::from_file(&engine, &manifest.source).map_err(missing)?;
        let linker = Guest::linker(&engine).map_err(HostError::Engine)?;
        let pre = linker.instantiate_pre(&component).and_then(ServicePre::new).map_err(missing)?;
        let store = Arc::new(KeyValue::open(options.store.clone()));
        let shared = Shared::new(manifest, &store, options.memory).map_err(HostError::Certificates)?;
        Ok(Self { engine, pre, shared: Arc::new(shared), store, options })
    }

    /// The component's default key-value store.
    #[must_use]
    pub fn store(&self) -> &Arc<KeyValue> {
        &self.store
    }

    /// Listens and serves until the handle is stopped.
    pub async fn start(self) -> Result<Running, HostError> {
        let failed = |error| HostError::Listen(self.options.listen, error);
        let listener = TcpListener::bind(self.options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let store = Arc::clone(&self.store);
        let task = tokio::spawn(self.serve(listener, stopped));
        Ok(Running { address, store, stop, task })
    }

    async fn serve(self, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
        let ending = Arc::new(AtomicBool::new(false));
        let server = Arc::new(Server {
            handler: ProxyHandler::new(Instances {
                pre: self.pre,
                shared: self.shared,
                options: self.options.clone(),
                ending: Arc::clone(&ending),
            }),
            options: self.options,
            room: Semaphore::new(MOST_REQUESTS),
        });
        let descriptors = loopmaster_net::raise_descriptor_limit();
        // A visitor may need a connection to the api beside their own.
        let total = loopmaster_net::affordable(server.options.connections.total, descriptors, 2);
        let listener = Listener::new(listener, Limits { total, ..server.options.connections });
        let graceful = GracefulShutdown::new();
        let mut epoch = tokio::time::interval(EPOCH);
        let mut save = tokio::time::interval(SAVE_EVERY);
        loop {
            let (stream, peer) = tokio::select! {
                _ = &mut stopped => break,
                _ = epoch.tick() => { self.engine.increment_epoch(); continue; }
                _ = save.tick() => { drop(tokio::spawn(write(Arc::clone(&self.store)))); continue; }
                accepted = listener.accept(|error| eprintln!("edge_host.accept: {error}")) => accepted,
            };
            let (server, seat) = (Arc::clone(&server), stream.seat());
            let service = service_fn(move |request| {
                let (server, asking) = (Arc::clone(&server), seat.request());
                async move {
                    let answer = server.answer(request, peer).await;
                    Ok::<_, Infallible>(answer.map(|body| Answering::new(body, asking)))
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            // A visitor who leaves in the middle is no news.
            tokio::spawn(async move { drop(connection.await) });
        }
        drop(listener);
        ending.store(true, Ordering::Relaxed);
        let ending = tokio::time::timeout(PATIENCE, graceful.shutdown());
        tokio::pin!(ending);
        loop {
            tokio::select! {
                _ = &mut ending => break,
                _ = epoch.tick() => self.engine.increment_epoch(),
            }
        }
        write(self.store).await;
    }
}

async fn write(store: Arc<KeyValue>) {
    let saved = tokio::task::spawn_blocking(move || store.save()).await;
    if let Ok(Err(error)) = saved {
        eprintln!("edge_host.store_not_saved: {error}");
    }
}

fn engine(options: &Options) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true);
    if let Some(folder) = &options.cache {
        let mut cache = CacheConfig::new();
        cache.with_directory(folder);
        config.cache(Some(Cache::new(cache)?));
    }
    Engine::new(&config)
}

/// A host that serves.
#[derive(Debug)]
pub struct Running {
    /// Where.
    pub address: SocketAddr,
    /// The component's default key-value store.
    pub store: Arc<KeyValue>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Takes no more connections, finishes the answers under way, and saves the store.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

struct Server {
    handler: ProxyHandler<Instances>,
    options: Options,
    room: Semaphore,
}

type Answer = Response<WasiBody>;

impl Server {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if declared.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > self.options.body) {
            return plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "edge_host.body_too_large: the body is longer than the host takes",
            );
        }
        let Ok(_room) = self.room.try_acquire() else {
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "edge_host.busy: too many requests at once; try again in a moment",
            );
        };
        let Some(request) = prepare(request, peer) else {
            return plain(StatusCode::BAD_REQUEST, "edge_host.no_host: the request names no host");
        };
        match self.handler.handle((), request).await {
            Ok(answer) => answer,
            Err(error) if error.is::<ExpirationError>() => {
                plain(StatusCode::GATEWAY_TIMEOUT, "edge_host.too_slow: the component did not answer in time")
            }
            Err(error) => {
                eprintln!("edge_host.guest_failed: {error:#}");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "edge_host.guest_failed: the component failed; try again")
            }
        }
    }
}

/// As Spin hands requests on: with an absolute address, and who asks in headers that visitors cannot set.
fn prepare(request: Request<Incoming>, peer: SocketAddr) -> Option<Request<WasiBody>> {
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = parts.uri.authority().map(http::uri::Authority::as_str).or(host)?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let full = format!("http://{authority}{path}");
    parts.uri = full.parse::<Uri>().ok()?;
    let spin = |name: &HeaderName| name.as_str().starts_with("spin-");
    for name in parts.headers.keys().filter(|name| spin(name)).cloned().collect::<Vec<_>>() {
        parts.headers.remove(name);
    }
    for (name, value) in [
        ("spin-client-addr", peer.to_string()),
        ("spin-full-url", full),
        ("spin-path-info", parts.uri.path().to_owned()),
        ("spin-matched-route", "/...".to_owned()),
        ("spin-raw-component-route", "/...".to_owned()),
        ("spin-component-route", String::new()),
        ("spin-base-path", "/".to_owned()),
    ] {
        parts.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?);
    }
    Some(Request::from_parts(parts, body.map_err(Error::from).boxed_unsync()))
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(Error::from).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// Makes instances.
struct Instances {
    pre: ServicePre<Guest>,
    shared: Arc<Shared>,
    options: Options,
    ending: Arc<AtomicBool>,
}

impl HandlerState for Instances {
    type StoreData = Guest;
    type WorkerExpiration = Expiry;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Guest, Expiry, Worker>> {
        let mut store = Store::new(self.pre.engine(), Guest::new(Arc::clone(&self.shared)));
        store.limiter(|guest| &mut guest.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let proxy = ProxyPre::P3(self.pre.clone()).instantiate_async(&mut store).await?;
        let Options { reuse, concurrent, deadline, idle, .. } = self.options;
        Ok(Instance {
            store,
            proxy,
            view: Guest::view,
            expiration: Expiry { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), deadline, idle },
            state: Worker { reuse, concurrent, deadline, ending: Arc::clone(&self.ending) },
        })
    }
}

/// How many requests an instance takes.
struct Worker {
    reuse: usize,
    concurrent: usize,
    deadline: Duration,
    ending: Arc<AtomicBool>,
}

impl WorkerState for Worker {
    type StoreData = Guest;
    type RequestData = ();

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.reuse {
            ShouldAccept::Never
        } else if concurrent >= self.concurrent {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _store: StoreContextMut<'_, Guest>,
        _request: (),
        _task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        Box::pin(tokio::time::sleep(self.deadline))
    }

    fn drop(&self, _store: Store<Guest>, result: wasmtime::Result<()>) {
        // Idle instances are cut off when the host stops.
        if let Err(error) = result
            && !self.ending.load(Ordering::Relaxed)
        {
            eprintln!("edge_host.instance_ended: {error:#}");
        }
    }
}

/// When an instance has had its time, also one that is too busy to look at the clock.
struct Expiry {
    sleep: Pin<Box<Sleep>>,
    deadline: Duration,
    idle: Duration,
}

impl WorkerExpiration for Expiry {
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>, status: WorkerStatus, start: Instant) -> Poll<()> {
        let time = match status {
            WorkerStatus::Idle => self.idle,
            WorkerStatus::Requests | WorkerStatus::PostReturn => self.deadline,
        };
        self.sleep.as_mut().reset((start + time).into());
        self.sleep.as_mut().poll(context)
    }
}
