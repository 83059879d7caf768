//! The parts of the file, each with what it is where nobody sets it.

use super::values::Secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Sockets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Listen {
    /// The api.
    pub api: SocketAddr,
    /// Embedded object storage.
    pub files: SocketAddr,
    /// Metrics, always on a socket of their own: whoever reaches it reads them. Port 0: none.
    pub metrics: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self { api: loopback(3001), files: loopback(3002), metrics: loopback(0) }
    }
}

/// Object storage.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// Where this program reaches it; empty: the embedded one of this program.
    pub endpoint: String,
    /// The one bucket.
    pub bucket: String,
    /// Signed into requests.
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: Secret,
    /// Uploads are refused once less than this is free on the disk of the embedded storage, bytes.
    pub keep_free: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            bucket: "loopmaster".to_owned(),
            region: "us-east-1".to_owned(),
            access_key: String::new(),
            secret_key: Secret::default(),
            keep_free: 2 << 30,
        }
    }
}

impl Storage {
    /// Whether this program itself serves the files.
    #[must_use]
    pub fn embedded(&self) -> bool {
        self.endpoint.is_empty()
    }
}

/// The edge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Edge {
    /// Key id = secret. Two while one is being replaced by the other.
    pub keys: BTreeMap<String, Secret>,
    /// Host and port the edge signs, where a proxy in between changes the Host header; empty: the Host header.
    pub authority: String,
    /// A stream of events through the edge ends by itself after this time, seconds: before the edge would cut it.
    pub stream_seconds: u64,
}

impl Default for Edge {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), authority: String::new(), stream_seconds: 25 }
    }
}

/// Mail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Mail {
    /// Sender, `Name <address>`.
    pub from: String,
    /// `smtp://user:password@host:587?tls=required`, `smtps://…`; empty: a folder.
    pub smtp: Secret,
    /// Where mails go as files without SMTP; empty: `mail` in the data folder, where `public_url` is this machine.
    pub folder: String,
    /// Where the contact form is delivered; empty: tickets stay in the database.
    pub operator: String,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            from: "LoopMastering <noreply@localhost>".to_owned(),
            smtp: Secret::default(),
            folder: String::new(),
            operator: String::new(),
        }
    }
}

/// Sign-in through providers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Oidc {
    /// Google.
    pub google: Provides,
}

/// Webhooks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Webhooks {
    /// Receivers of tests, `host:port`: called over plain HTTP wherever they are. Only where `public_url` is this machine.
    pub exempt: Vec<String>,
}

/// One provider of identities.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Provides {
    /// Issuer; its discovery document is read from there.
    pub issuer: String,
    /// Client id; empty: not offered.
    pub client_id: String,
    /// Client secret.
    pub client_secret: Secret,
    /// Hosts that profile pictures may come from.
    pub picture_hosts: Vec<String>,
}

impl Default for Provides {
    fn default() -> Self {
        Self {
            issuer: "https://accounts.google.com".to_owned(),
            client_id: String::new(),
            client_secret: Secret::default(),
            picture_hosts: vec!["lh3.googleusercontent.com".to_owned()],
        }
    }
}

/// Quotas and rates.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Largest file, bytes.
    pub file_bytes: u64,
    /// Size of one part of an upload, bytes; grows by itself where 10,000 parts would not do.
    pub part_bytes: u64,
    /// Most bytes of a form whose file has no announced size: stock Uppy sends files up to 100 MiB so.
    pub form_bytes: u64,
    /// Tracks in one batch.
    pub batch_tracks: u64,
    /// Of a visitor without account.
    pub guest: Quota,
    /// How many times the bytes and the waiting tracks of one visitor without account all of them at one address may have together: a
    /// household or an office.
    pub guests_per_address: u64,
    /// Of an account.
    pub user: Quota,
    /// ZIP downloads of one owner at a time.
    pub zips: u64,
    /// Event streams of one owner at a time; the oldest gives way.
    pub streams: u64,
    /// A body has to arrive within this time, seconds.
    pub body_seconds: u64,
    /// Connections at once, of the api and of the embedded storage each; fewer where the system has no descriptors for them.
    pub connections: u64,
    /// From one address (of IPv6 a /64). Where it is reached, the one of least use gives way to the newest. Those of the edge do not
    /// count, and with `trusted_hops` none from this machine or a private network.
    pub connections_per_address: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 4 << 30,
            part_bytes: 8 << 20,
            form_bytes: 128 << 20,
            batch_tracks: 1_000,
            guests_per_address: 4,
            guest: Quota {
                tracks_a_day: 20,
                stored_bytes: 8 << 30,
                waiting: 20,
                creates_an_hour: 120,
                requests_a_minute: 600,
            },
            user: Quota {
                tracks_a_day: 5_000,
                stored_bytes: 1 << 40,
                waiting: 2_000,
                creates_an_hour: 20_000,
                requests_a_minute: 6_000,
            },
            zips: 2,
            streams: 8,
            body_seconds: 20,
            connections: 8_192,
            connections_per_address: 512,
        }
    }
}

/// What one owner may use.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Quota {
    /// Tracks sent to be mastered within 24 hours.
    pub tracks_a_day: u64,
    /// Bytes of mixes kept.
    pub stored_bytes: u64,
    /// Tracks waiting or running at a time.
    pub waiting: u64,
    /// Uploads and masters created in an hour, counted over all api processes.
    pub creates_an_hour: u64,
    /// Requests of any kind in a minute, counted per api process.
    pub requests_a_minute: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Limits::default().guest
    }
}

/// The worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// Bytes of memory for samples; beyond that they lie in files. 0: three eighths of what this machine has.
    pub budget_bytes: u64,
    /// auto, gpu, cpu or reference.
    pub backend: String,
    /// Threads; 0: all cores.
    pub threads: u16,
    /// Folder for files under way; empty: `work` in the data folder.
    pub folder: String,
    /// Decode without the sandbox where the system has none.
    pub allow_unsandboxed: bool,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            budget_bytes: 0,
            backend: "auto".to_owned(),
            threads: 0,
            folder: String::new(),
            allow_unsandboxed: false,
        }
    }
}

/// Logs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// text or json.
    pub format: String,
    /// As `RUST_LOG`, e.g. `info,loopmaster=debug`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: "text".to_owned(), filter: "info,s3s=off,symphonia=warn,lofty=error".to_owned() }
    }
}

/// Somebody who sees data of ours.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Provider {
    /// Who.
    pub name: String,
    /// What for.
    pub purpose: String,
    /// Where.
    pub country: String,
}
