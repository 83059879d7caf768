//! The roles that stay: `serve` (the api, on one machine together with storage and worker), `work`, `migrate`, and `config`.

mod worker;

use crate::config::{Config, Sources, Unusable};
use crate::db::{Db, DbError, Dialect};
use crate::domain::idempotency::free_abandoned;
use crate::http::server::serve as listen;
use crate::http::{App, router, watched};
use crate::service::{Service, StartError};
use crate::store::Store;
use crate::store::embedded::{self, Credentials};
use crate::telemetry;
use crate::work::Worker;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers on their way may take this long once the process was asked to end.
const GRACE: Duration = Duration::from_secs(20);
/// Between losing readiness and refusing connections, where somebody balances the load.
const UNREADY: Duration = Duration::from_secs(5);
/// How often what only grows is tidied.
const TIDY: Duration = Duration::from_secs(30);

/// Why a role ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] Unusable),
    /// Something the service needs.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The runtime.
    #[error("no threads to run on: {0}")]
    Runtime(#[from] std::io::Error),
    /// A task of the operator.
    #[error("{0}")]
    Task(crate::domain::error::Error),
}

impl From<DbError> for RoleError {
    fn from(error: DbError) -> Self {
        Self::Start(error.into())
    }
}

/// What `serve` runs beside the api.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServeOptions {
    /// The worker; `None`: with SQLite, where nobody else could.
    pub worker: Option<bool>,
}

/// `loopmaster serve`
pub fn serve(file: Option<&Path>, beside: ServeOptions) -> Result<(), RoleError> {
    loopmaster_private::new_files();
    let config = Config::open(&Sources::process(file))?;
    prepare(&config);
    runtime()?.block_on(async {
        let service = Running::start(config, beside).await?;
        let stopped = stopped();
        tracing::info!(api = %service.app.config.api_url, "serving");
        stopped.await;
        service.stop().await;
        Ok(())
    })
}

/// `loopmaster work`
pub fn work(file: Option<&Path>) -> Result<(), RoleError> {
    loopmaster_private::new_files();
    let config = Config::open(&Sources::process(file))?;
    prepare(&config);
    runtime()?.block_on(async {
        telemetry::collect();
        data_folder(&config)?;
        let app = App::open(config).await?;
        let worker = worker::worker(&app, true).await?;
        let stop = CancellationToken::new();
        let watch = match app.config.listen.metrics {
            socket if socket.port() == 0 => None,
            socket => {
                let connections = app.config.connections(loopmaster_net::raise_descriptor_limit());
                let listener = bind("metrics", socket).await?;
                Some(tokio::spawn(listen(listener, connections, watched(app.clone()), stop.clone(), GRACE)))
            }
        };
        let stopped = stopped();
        tracing::info!("working");
        // It ends by itself where an operator drains this node.
        let working = worker.run(app.draining.clone());
        tokio::pin!(working);
        tokio::select! {
            () = stopped => {
                app.draining.cancel();
                working.await;
            }
            () = &mut working => app.draining.cancel(),
        }
        stop.cancel();
        if let Some(watch) = watch {
            drop(watch.await);
        }
        app.db.close().await;
        Ok(())
    })
}

async fn bind(what: &str, socket: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(socket).await.map_err(|error| StartError::Io { what: format!("{what} on {socket}"), error })
}

/// `loopmaster migrate`
pub fn migrate(file: Option<&Path>) -> Result<(), RoleError> {
    loopmaster_private::new_files();
    let config = Config::open(&Sources::process(file))?;
    prepare(&config);
    runtime()?.block_on(async {
        if config.data.exists() {
            data_folder(&config)?;
        }
        let db = Db::connect(&config.database()).await?;
        let applied = db.migrate().await?;
        println!("{applied} migrations were applied; the schema is up to date");
        db.close().await;
        Ok(())
    })
}

/// `loopmaster config`: what is in force, secrets hidden; or everything that is wrong.
pub fn check(file: Option<&Path>, quiet: bool) -> Result<(), RoleError> {
    let config = Config::check(&Sources::process(file))?;
    if !quiet {
        println!("{config:#?}");
    }
    Ok(())
}

fn prepare(config: &Config) {
    // A second installation finds the first, which is the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    telemetry::log(&config.log);
}

/// The data folder is for this process's user alone. One of an earlier version, which others could read, is closed; one that others can
/// write, or that is somebody else's, is refused.
fn data_folder(config: &Config) -> Result<(), StartError> {
    loopmaster_private::folder(&config.data)?;
    match loopmaster_private::tighten(&config.data)? {
        0 => {}
        closed => tracing::warn!(
            folder = %config.data.display(),
            closed,
            "other users could read the data folder; now only its owner can (0700, files 0600)"
        ),
    }
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Ends with SIGTERM or Ctrl-C, which are heard from the call on. A second one ends the process at once.
fn stopped() -> impl Future<Output = ()> {
    let first = signal();
    async move {
        first.await;
        tracing::info!("asked to end; once more ends at once");
        let second = signal();
        tokio::spawn(async move {
            second.await;
            std::process::exit(130);
        });
    }
}

#[cfg(unix)]
fn signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let heard = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        match heard {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            _ => drop(tokio::signal::ctrl_c().await),
        }
    }
}

#[cfg(not(unix))]
async fn signal() {
    drop(tokio::signal::ctrl_c().await);
}

/// A service with everything it needs.
#[derive(Debug)]
pub struct Running {
    /// Its parts.
    pub app: App,
    /// Where the api listens.
    pub api: SocketAddr,
    /// Where metrics are, if anywhere.
    pub metrics: Option<SocketAddr>,
    files: Option<embedded::Handle>,
    stop_listening: CancellationToken,
    working: Option<tokio::task::JoinHandle<()>>,
    servers: Vec<tokio::task::JoinHandle<()>>,
}

impl Running {
    /// Starts storage (where it is embedded), database, worker (where it belongs here), api. Nothing is answered that could not be done.
    pub async fn start(mut config: Config, beside: ServeOptions) -> Result<Self, StartError> {
        telemetry::collect();
        let connections = config.connections(loopmaster_net::raise_descriptor_limit());
        let at = |what: String| move |error| StartError::Io { what, error };
        // Before anybody is answered: what a visitor sends must find a worker.
        let with_worker = beside.worker.unwrap_or_else(|| config.database().starts_with("sqlite:"));
        if with_worker {
            worker::sandbox(&config).await?;
        }
        data_folder(&config)?;
        let files = if config.storage.embedded() {
            let mut options = embedded::Options::new(
                &config.files_folder(),
                config.listen.files,
                Credentials {
                    access_key: config.storage.access_key.clone(),
                    secret_key: config.storage.secret_key.expose().to_owned(),
                },
                // Pages of anybody may send what they hold a signature for.
                &["*".to_owned()],
            );
            options.connections = connections;
            options.region.clone_from(&config.storage.region);
            let what = format!("storage on {}", config.listen.files);
            let handle = embedded::serve_with(options).await.map_err(at(what))?;
            // Port 0 asks for any; the others have to know which.
            if config.listen.files.port() == 0 {
                config.listen.files.set_port(port_of(&handle.url()));
                config.files_url = handle.url().try_into().unwrap_or(config.files_url);
            }
            Some(handle)
        } else {
            None
        };
        let db = Db::connect(&config.database()).await?;
        // A file of one machine has nobody else to do it; on a cluster `migrate` runs once before the new version.
        if db.dialect() == Dialect::Sqlite {
            db.migrate().await?;
            free_abandoned(&db).await?;
        }
        let store = match &files {
            Some(files) => Store::beside(&config.storage_client(), files)?,
            None => Store::new(&config.storage_client())?,
        };
        if files.is_some() {
            store.ensure_bucket().await?;
        }
        let listener = bind("api", config.listen.api).await?;
        let api = listener.local_addr().map_err(at("api".to_owned()))?;
        if config.listen.api.port() == 0 {
            config.api_url = format!("http://{api}").try_into().unwrap_or(config.api_url);
        }
        let app = App::of(Service::with(config, db, store));
        let worker: Option<Worker> = if with_worker { Some(worker::worker(&app, false).await?) } else { None };
        let stop_listening = CancellationToken::new();
        let mut servers = Vec::new();
        servers.push(tokio::spawn(listen(listener, connections, router(app.clone()), stop_listening.clone(), GRACE)));
        let metrics = Some(app.config.listen.metrics).filter(|socket| socket.port() != 0);
        if let Some(socket) = metrics {
            let listener = bind("metrics", socket).await?;
            servers.push(tokio::spawn(listen(
                listener,
                connections,
                watched(app.clone()),
                stop_listening.clone(),
                GRACE,
            )));
        }
        let working = worker.map(|worker| tokio::spawn(worker.run(app.draining.clone())));
        tokio::spawn(tidy(app.clone()));
        Ok(Self { app, api, metrics, files, stop_listening, working, servers })
    }

    /// Readiness goes, streams say goodbye, answers on their way end; then storage and database close.
    pub async fn stop(self) {
        self.app.draining.cancel();
        if !self.app.config.public_url.is_loopback() {
            // Whoever sends traffic here has to see first that readiness is gone.
            tokio::time::sleep(UNREADY).await;
        }
        self.stop_listening.cancel();
        for server in self.servers {
            drop(server.await);
        }
        if let Some(working) = self.working {
            drop(working.await);
        }
        if let Some(files) = self.files {
            files.stop().await;
        }
        self.app.db.close().await;
        tracing::info!("ended");
    }
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0)
}

async fn tidy(app: App) {
    let mut tick = tokio::time::interval(TIDY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = app.draining.cancelled() => return,
        }
        app.rates.forget_idle();
        telemetry::tidy();
        // One that was given up would stay away until the next start.
        if let Err(error) = crate::chores::ensure_sweeper(&app.db).await {
            tracing::warn!(%error, "whether there is a sweeper is not known");
        }
    }
}
