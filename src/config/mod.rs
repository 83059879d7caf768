//! What an operator may set: one TOML file, the environment over it (`LOOPMASTER_STORAGE__BUCKET=…`), and every wrong value named at
//! once. The defaults serve the whole product on this machine; secrets that are missing there are made at the first start and kept
//! in the data folder.
//!
//! - [`sections`]: the parts of the file, each with its defaults; [`values`]: kinds of values with rules of their own.
//! - [`read`]: file, environment and generated secrets laid over each other; [`judge`]: whether the values go together.

mod complaint;
mod generate;
mod judge;
mod read;
mod sections;
mod values;

#[cfg(test)]
mod tests;

pub use complaint::{Complaint, Unusable};
pub use read::Sources;
pub use sections::{Edge, Limits, Listen, Log, Mail, Oidc, Provider, Provides, Quota, Storage, Webhooks, Worker};
pub use values::{Address, Dsn, Secret};

use crate::secrets::Keys;
use crate::store::StorageConfig;
use loopmaster_core::retention::Retention;
use read::Reader;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use url::Url;

/// Characters of a secret somebody chose, at least.
const LEAST: usize = 32;

/// Everything that may be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Where people open the pages: the edge.
    pub public_url: Address,
    /// Where bearer tokens and capabilities go: this program.
    pub api_url: Address,
    /// Object storage as clients see it; presigned URLs carry this host.
    pub files_url: Address,
    /// Sockets to listen on.
    pub listen: Listen,
    /// Folder for everything that is kept on this machine.
    pub data: PathBuf,
    /// `sqlite:<path>` or `postgres://…`; empty: SQLite in the data folder.
    pub database_url: Dsn,
    /// The service's key: secrets at rest are sealed with what is derived from it.
    pub secret: Secret,
    /// How many proxies in front of the api append to `X-Forwarded-For`. 0: the header is never read.
    pub trusted_hops: u8,
    /// Object storage.
    pub storage: Storage,
    /// The edge.
    pub edge: Edge,
    /// Mail.
    pub mail: Mail,
    /// Sign-in through providers.
    pub oidc: Oidc,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// Quotas and rates.
    pub limits: Limits,
    /// How long things are kept.
    pub retention: Retention,
    /// The worker.
    pub worker: Worker,
    /// Logs.
    pub log: Log,
    /// Who else sees data; the privacy page prints the list.
    pub providers: Vec<Provider>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: Address::fixed("http://127.0.0.1:3000"),
            api_url: Address::fixed("http://127.0.0.1:3001"),
            files_url: Address::fixed("http://127.0.0.1:3002"),
            listen: Listen::default(),
            data: PathBuf::from(".loopmaster"),
            database_url: Dsn::default(),
            secret: Secret::default(),
            trusted_hops: 0,
            storage: Storage::default(),
            edge: Edge::default(),
            mail: Mail::default(),
            oidc: Oidc::default(),
            webhooks: Webhooks::default(),
            limits: Limits::default(),
            retention: Retention::default(),
            worker: Worker::default(),
            log: Log::default(),
            providers: Vec::new(),
        }
    }
}

impl Config {
    /// How many connections there may be, of the api and of the embedded storage each, and from where.
    #[must_use]
    pub fn connections(&self, descriptors: u64) -> loopmaster_net::Limits {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        loopmaster_net::Limits {
            total: loopmaster_net::affordable(number(self.limits.connections), descriptors, 2),
            per_address: number(self.limits.connections_per_address),
            behind_proxies: self.trusted_hops > 0,
            ..loopmaster_net::Limits::default()
        }
    }

    /// Reads and judges. Missing secrets are left empty where this machine alone uses them: [`Config::open`] makes them.
    pub fn check(sources: &Sources) -> Result<Self, Unusable> {
        let mut reader = Reader::default();
        let config = reader.read(sources, false);
        match config {
            Some(config) if reader.complaints.is_empty() => Ok(config),
            _ => Err(Unusable(reader.complaints)),
        }
    }

    /// Reads, judges, makes the data folder where there is none, and the secrets that are missing on a machine of one's own.
    pub fn open(sources: &Sources) -> Result<Self, Unusable> {
        let mut reader = Reader::default();
        let config = reader.read(sources, true);
        match config {
            Some(config) if reader.complaints.is_empty() => Ok(config),
            _ => Err(Unusable(reader.complaints)),
        }
    }

    /// The service's secret, put to its uses.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys::new(self.key("codes 1"), self.key("seal 1"))
    }

    /// A key for one purpose, derived from the service's key.
    #[must_use]
    pub fn key(&self, purpose: &str) -> [u8; 32] {
        crate::digest::hmac(self.secret.expose().as_bytes(), &[b"loopmaster ", purpose.as_bytes()])
    }

    /// The database, by default SQLite in the data folder.
    #[must_use]
    pub fn database(&self) -> String {
        if self.database_url.is_empty() {
            format!("sqlite:{}", self.data.join("loopmaster.db").display())
        } else {
            self.database_url.expose().to_owned()
        }
    }

    /// Folder for mails without SMTP.
    #[must_use]
    pub fn mail_folder(&self) -> PathBuf {
        if self.mail.folder.is_empty() { self.data.join("mail") } else { PathBuf::from(&self.mail.folder) }
    }

    /// Folder for a worker's files under way.
    #[must_use]
    pub fn work_folder(&self) -> PathBuf {
        if self.worker.folder.is_empty() { self.data.join("work") } else { PathBuf::from(&self.worker.folder) }
    }

    /// Bytes of memory that a worker's samples may take.
    #[must_use]
    pub fn budget(&self) -> u64 {
        match self.worker.budget_bytes {
            0 => loopmaster_core::machine::budget(),
            bytes => bytes,
        }
    }

    /// Folder of the embedded storage.
    #[must_use]
    pub fn files_folder(&self) -> PathBuf {
        self.data.join("files")
    }

    /// Where this program reaches its storage, and where clients do.
    #[must_use]
    pub fn storage_client(&self) -> StorageConfig {
        let inside = Url::parse(&self.storage.endpoint).unwrap_or_else(|_| {
            let here = Address::try_from(format!("http://{}", self.listen.files));
            here.map_or_else(|_| self.files_url.url().clone(), |here| here.url().clone())
        });
        StorageConfig {
            endpoint: inside,
            public_endpoint: self.files_url.url().clone(),
            bucket: self.storage.bucket.clone(),
            region: self.storage.region.clone(),
            access_key: self.storage.access_key.clone(),
            secret_key: self.storage.secret_key.expose().to_owned(),
        }
    }

    /// The whole configuration as TOML, secrets left out: a file to start from.
    #[must_use]
    pub fn example() -> String {
        toml::to_string_pretty(&Self::default()).unwrap_or_default()
    }
}
