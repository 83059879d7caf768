//! The service without a way to reach it: what the domain works with, whoever asks.

use crate::config::Config;
use crate::db::{Db, DbError};
use crate::health::Health;
use crate::keyed_lock::KeyedMutex;
use crate::outside::oidc::Provider;
use crate::picture::Pictures;
use crate::queue::position::Positions;
use crate::store::{Store, StoreError};
use std::ops::Deref;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The service's parts. Clones share them.
#[derive(Clone, Debug)]
pub struct Service(Arc<Parts>);

/// What the domain works with.
#[derive(Debug)]
pub struct Parts {
    /// What the operator set.
    pub config: Config,
    /// The database.
    pub db: Db,
    /// Object storage.
    pub store: Store,
    /// How the parts are.
    pub health: Health,
    /// Decodes profile pictures.
    pub pictures: Pictures,
    /// Uploads being completed.
    pub settling: KeyedMutex,
    /// The order of the queue.
    pub positions: Positions,
    /// Sign-in with Google, where it is configured.
    pub google: Option<Provider>,
    /// Cancelled when the process is asked to end: readiness goes, streams say goodbye.
    pub draining: CancellationToken,
}

impl Deref for Service {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Service {
    /// Connects to everything. Nothing is migrated and no bucket is made.
    pub async fn open(config: Config) -> Result<Self, StartError> {
        let db = Db::connect(&config.database()).await?;
        let store = Store::new(&config.storage_client())?;
        Ok(Self::with(config, db, store))
    }

    /// From parts.
    #[must_use]
    pub fn with(config: Config, db: Db, store: Store) -> Self {
        let disk = config.storage.embedded().then(|| (config.files_folder(), config.storage.keep_free));
        Self(Arc::new(Parts {
            health: Health::new(disk),
            pictures: Pictures::new(config.worker.allow_unsandboxed),
            settling: KeyedMutex::default(),
            positions: Positions::default(),
            google: Provider::google(&config),
            draining: CancellationToken::new(),
            config,
            db,
            store,
        }))
    }

    /// How long an unfinished upload of this owner is kept, ms.
    #[must_use]
    pub fn unfinished(&self, owner: &str) -> i64 {
        self.config.retention.unfinished(owner.starts_with("gst_"))
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
