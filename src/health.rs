//! How the parts are: what readiness, the status page and the admission of uploads ask.

use crate::db::{Db, Schema};
use crate::domain::error::Error;
use crate::store::Store;
use crate::work;
use loopmaster_gpu::renderer::Renderer;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a look at the parts is good for.
const FRESH: Duration = Duration::from_secs(2);
/// A part that does not answer within this time is away.
const PATIENCE: Duration = Duration::from_secs(3);

/// What keeps an eye on the parts.
#[derive(Debug)]
pub struct Health {
    /// Where the embedded storage keeps its files, and how much must stay free there.
    disk: Option<(PathBuf, u64)>,
    seen: Mutex<Option<(Instant, Seen)>>,
    /// What renders in this process, where a worker runs in it.
    device: OnceLock<DeviceStatus>,
}

/// What renders in this process.
pub struct DeviceStatus {
    /// As it is configured.
    pub name: &'static str,
    /// How it does.
    pub health: Arc<work::Health>,
    /// The card, where one is used.
    pub card: Option<Arc<Renderer>>,
    /// Whether the worker is all there is in this process.
    pub alone: bool,
}

impl fmt::Debug for DeviceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceStatus").field("name", &self.name).field("health", &self.health).finish_non_exhaustive()
    }
}

/// How the parts were when they were last looked at.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether the database answers.
    pub database: Result<(), String>,
    /// How its schema stands to this program's.
    pub schema: Result<Schema, String>,
    /// Whether storage answers.
    pub storage: Result<(), String>,
}

impl Seen {
    /// Whether an api can answer. On a newer schema it does: in a rolling upgrade the schema comes first, and the version before serves
    /// until it is replaced.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self.schema, Ok(Schema::Own | Schema::Newer { .. }))
    }

    /// Whether a worker claims anything.
    #[must_use]
    pub fn works(&self) -> bool {
        self.schema == Ok(Schema::Own)
    }
}

impl Health {
    /// Watches this disk, if any.
    #[must_use]
    pub fn new(disk: Option<(PathBuf, u64)>) -> Self {
        Self { disk, seen: Mutex::default(), device: OnceLock::new() }
    }

    /// From now on tells how this device does.
    pub fn watch(&self, device: DeviceStatus) {
        // There is one worker in a process.
        drop(self.device.set(device));
    }

    /// How the device does, in words.
    #[must_use]
    pub fn device(&self) -> String {
        let Some(DeviceStatus { name, health, card, .. }) = self.device.get() else {
            return "none in this process".to_owned();
        };
        let lost = |why: &str| format!("{name}: lost, the processor does its work{why}");
        match card.as_ref().and_then(|card| card.status()) {
            _ if !health.device() => lost(""),
            Some(card) if !card.ready => lost(&card.code.map_or(String::new(), |code| format!(" ({code})"))),
            Some(card) => format!("{name}: ok, {}", card.adapter),
            None => format!("{name}: ok"),
        }
    }

    /// What renders in this process, where a worker runs in it.
    #[must_use]
    pub fn watched(&self) -> Option<&DeviceStatus> {
        self.device.get()
    }

    /// Free bytes, and how many have to stay free.
    #[must_use]
    pub fn free(&self) -> Option<(u64, u64)> {
        let (folder, keep) = self.disk.as_ref()?;
        crate::store::embedded::free_bytes(folder).ok().map(|free| (free, *keep))
    }

    /// Refuses an upload before the disk is full.
    pub fn room(&self, bytes: u64) -> Result<(), Error> {
        match self.free() {
            // The copy that is made at the end shares the bytes or takes them a second time.
            Some((free, keep)) if free < keep.saturating_add(bytes.saturating_mul(2)) => {
                Err(Error::full(format!("{free} bytes are free, {keep} have to stay")))
            }
            _ => Ok(()),
        }
    }

    /// Looks at database and storage, or tells what was seen a moment ago.
    pub async fn look(&self, db: &Db, store: &Store) -> Seen {
        if let Some((at, seen)) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
            && at.elapsed() < FRESH
        {
            return seen;
        }
        let (database, schema, storage) = tokio::join!(
            within("the database", async { db.now().await.map(drop).map_err(|error| error.to_string()) }),
            within("the database", async { db.schema().await.map_err(|error| error.to_string()) }),
            within("storage", async { store.probe().await.map(drop).map_err(|error| error.to_string()) }),
        );
        let seen = Seen { database, schema, storage };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), seen.clone()));
        seen
    }
}

async fn within<T>(what: &str, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(format!("{what} does not answer")))
}
