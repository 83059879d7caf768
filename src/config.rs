//! What an operator may set: one TOML file, the environment over it (`LOOPMASTER_STORAGE__BUCKET=…`), and every wrong value named at
//! once. The defaults serve the whole product on this machine; secrets that are missing there are made at the first start and kept
//! in the data folder.

use crate::digest::hex;
use crate::outside::address;
use crate::secrets::{Keys, redacted, weakness};
use crate::store::StorageConfig;
use loopmaster_core::retention::{LONGEST_COOKIE_DAYS, Retention};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::{Table, Value};
use url::Url;

/// What environment variables begin with.
const PREFIX: &str = "LOOPMASTER_";
/// Variables with that beginning that are not settings: the file itself, and what clients and tests use.
const NOT_SETTINGS: [&str; 5] = ["config", "token", "golden", "edge_host_", "test_"];
/// Characters of a secret somebody chose, at least.
const LEAST: usize = 32;
/// The file of generated secrets, in the data folder.
const SECRETS: &str = "secrets.toml";

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

/// An http or https address without path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Url);

impl Address {
    fn fixed(text: &'static str) -> Self {
        match Url::parse(text) {
            Ok(url) => Self(url),
            Err(error) => unreachable!("{text} is an address: {error}"),
        }
    }

    /// The address with this path, which begins with a slash.
    #[must_use]
    pub fn with(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// Whether it is an address of this machine only.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        }
    }

    /// As a URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = "use an address like https://music.example, without a path";
        let url = Url::parse(&text).map_err(|error| format!("{error}; {wrong}"))?;
        let nobody = url.username().is_empty() && url.password().is_none();
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && nobody;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !bare {
            return Err(wrong.to_owned());
        }
        Ok(Self(url))
    }
}

/// A value that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// 256 random bits, in hex.
    #[must_use]
    pub fn random() -> Self {
        let bytes: [u8; 32] = rand::random();
        Self(hex(&bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(secret)" })
    }
}

/// The address of a database. Printed without the account and the parameters in it, which may hold a password.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dsn(String);

impl Dsn {
    /// The address itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Dsn {
    fn from(address: String) -> Self {
        Self(address)
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", redacted(&self.0))
    }
}

/// One value that cannot be used, and what could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Which setting, e.g. `storage.bucket`.
    pub setting: String,
    /// What is wrong with it, and what would be right.
    pub text: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.text)
    }
}

/// All that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:\n{}", .0.iter().map(|complaint| format!("  {complaint}")).collect::<Vec<_>>().join("\n"))]
pub struct Unusable(pub Vec<Complaint>);

/// Where values come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; `None`: `$LOOPMASTER_CONFIG`, else `loopmaster.toml` where there is one.
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    /// A file and this process's environment.
    #[must_use]
    pub fn process(file: Option<&Path>) -> Self {
        // A name or value that is not UTF-8 cannot be one of ours.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file: file.map(Path::to_owned), environment }
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

    fn judge(&self, complaints: &mut Vec<Complaint>, may_make_secrets: bool) {
        let mut complain = |setting: &str, text: String| {
            complaints.push(Complaint { setting: setting.to_owned(), text });
        };
        let database = self.database_url.expose();
        if !(database.is_empty() || ["sqlite:", "postgres://", "postgresql://"].iter().any(|s| database.starts_with(s)))
        {
            complain("database_url", "use sqlite:<path> or postgres://user@host/database".to_owned());
        }
        if !self.storage.endpoint.is_empty() && Address::try_from(self.storage.endpoint.clone()).is_err() {
            complain(
                "storage.endpoint",
                format!("`{}` is not an http or https address without a path", redacted(&self.storage.endpoint)),
            );
        }
        let bucket = &self.storage.bucket;
        if !(3..=63).contains(&bucket.len())
            || !bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        {
            complain("storage.bucket", format!("`{bucket}` cannot be a bucket: 3 to 63 of a-z, 0-9, - and ."));
        }
        let secret_key = self.storage.secret_key.expose();
        if !self.storage.embedded() && (self.storage.access_key.is_empty() || secret_key.is_empty()) {
            complain("storage.access_key", "a storage of its own needs access_key and secret_key".to_owned());
        } else if self.storage.access_key.is_empty() != secret_key.is_empty() {
            complain("storage.secret_key", "and access_key belong together: set both, or neither".to_owned());
        }
        // What a storage elsewhere gives out has the length its makers chose; on one's own machine it may be a test's.
        let least = match (self.storage.embedded(), self.public_url.is_loopback()) {
            (true, _) => LEAST,
            (false, false) => LEAST / 2,
            (false, true) => 1,
        };
        if !secret_key.is_empty()
            && least > 1
            && let Some(weak) = weakness(secret_key, least)
        {
            complain("storage.secret_key", weak);
        }
        for (id, key) in &self.edge.keys {
            if id.is_empty() || id.len() > 32 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                // Name and key are easily taken for each other.
                let shown: String = id.chars().take(4).collect();
                complain("edge.keys", format!("`{shown}…` cannot name a key: 1 to 32 letters, digits and -"));
            } else if let Some(weak) = weakness(key.expose(), LEAST) {
                complain(&format!("edge.keys.{id}"), weak);
            }
        }
        if self.edge.keys.len() > 2 {
            complain(
                "edge.keys",
                format!("has {} keys; use one, and a second while the first is replaced", self.edge.keys.len()),
            );
        }
        if let Some(weak) = weakness(self.secret.expose(), LEAST).filter(|_| !self.secret.is_empty()) {
            complain("secret", weak);
        }
        if !may_make_secrets {
            if self.secret.is_empty() {
                complain("secret", "is missing; it is made by itself only where public_url is this machine".to_owned());
            }
            if self.edge.keys.is_empty() {
                complain(
                    "edge.keys",
                    "is missing; it is made by itself only where public_url is this machine".to_owned(),
                );
            }
            if self.storage.access_key.is_empty() && secret_key.is_empty() && self.storage.embedded() {
                complain(
                    "storage.access_key",
                    "is missing; it is made by itself only where public_url is this machine".to_owned(),
                );
            }
        }
        if self.mail.from.parse::<lettre::message::Mailbox>().is_err() {
            complain("mail.from", format!("`{}` is not a sender; use `Name <name@host>`", self.mail.from));
        }
        let smtp = self.mail.smtp.expose();
        if !(smtp.is_empty() || smtp.starts_with("smtp://") || smtp.starts_with("smtps://")) {
            complain("mail.smtp", "use smtp://… or smtps://…".to_owned());
        } else if !smtp.is_empty() && !address::is_smtp(smtp) {
            complain(
                "mail.smtp",
                "cannot be read; use smtps://user:password@host, special characters as %40".to_owned(),
            );
        }
        if smtp.is_empty() && self.mail.folder.is_empty() && !self.public_url.is_loopback() {
            complain(
                "mail.smtp",
                "is missing: nobody would get the mail to sign in with. Use smtps://user:password@host, or set mail.folder where \
                 another program sends the files of a folder"
                    .to_owned(),
            );
        }
        if !(self.mail.operator.is_empty() || self.mail.operator.parse::<lettre::Address>().is_ok()) {
            complain("mail.operator", format!("`{}` is not a mail address", self.mail.operator));
        }
        if !(self.webhooks.exempt.is_empty() || self.public_url.is_loopback()) {
            complain("webhooks.exempt", "is for tests: leave it out where public_url is not this machine".to_owned());
        }
        let google = &self.oidc.google;
        if google.client_id.is_empty() != google.client_secret.is_empty() {
            complain("oidc.google", "needs both client_id and client_secret, or neither".to_owned());
        }
        let mut within = |setting: &str, value: u64, range: std::ops::RangeInclusive<u64>| {
            if !range.contains(&value) {
                complain(setting, format!("{value} is out of range; use {} to {}", range.start(), range.end()));
            }
        };
        within("trusted_hops", self.trusted_hops.into(), 0..=8);
        within("limits.file_bytes", self.limits.file_bytes, 1..=64 << 30);
        within("limits.part_bytes", self.limits.part_bytes, 5 << 20..=5 << 30);
        within("limits.form_bytes", self.limits.form_bytes, 1..=5 << 30);
        within("limits.guests_per_address", self.limits.guests_per_address, 1..=1_000_000);
        within("limits.batch_tracks", self.limits.batch_tracks, 1..=10_000);
        within("limits.zips", self.limits.zips, 1..=1_000);
        within("limits.streams", self.limits.streams, 1..=1_000);
        within("edge.stream_seconds", self.edge.stream_seconds, 1..=3_600);
        within("limits.body_seconds", self.limits.body_seconds, 1..=25);
        within("limits.connections", self.limits.connections, 16..=1_000_000);
        within("limits.connections_per_address", self.limits.connections_per_address, 1..=1_000_000);
        for (who, quota) in [("guest", &self.limits.guest), ("user", &self.limits.user)] {
            within(&format!("limits.{who}.requests_a_minute"), quota.requests_a_minute, 1..=10_000_000);
            within(&format!("limits.{who}.creates_an_hour"), quota.creates_an_hour, 1..=3_600_000);
        }
        let retention = &self.retention;
        // A guest's tracks are reached with a cookie, and browsers keep none longer.
        within("retention.guest_days", retention.guest_days.into(), 1..=LONGEST_COOKIE_DAYS.into());
        for (setting, days) in [
            ("unused_days", retention.unused_days),
            ("unfinished_days", retention.unfinished_days),
            ("account_grace_days", retention.account_grace_days),
            ("audit_days", retention.audit_days),
            ("session_idle_days", retention.session_idle_days),
            ("session_days", retention.session_days),
            ("ticket_days", retention.ticket_days),
            ("backup_days", retention.backup_days),
        ] {
            within(&format!("retention.{setting}"), days.into(), 1..=3_650);
        }
        within("retention.guest_unfinished_hours", retention.guest_unfinished_hours.into(), 1..=87_600);
        within("retention.account_days", retention.account_days.into(), 0..=3_650);
        if self.worker.budget_bytes != 0 {
            within("worker.budget_bytes", self.worker.budget_bytes, loopmaster_core::machine::LEAST_BUDGET..=1 << 44);
        }
        within("worker.threads", self.worker.threads.into(), 0..=1_024);
        if !["auto", "gpu", "cpu", "reference"].contains(&self.worker.backend.as_str()) {
            complain(
                "worker.backend",
                format!("`{}` is not known; use auto, gpu, cpu or reference", self.worker.backend),
            );
        }
        if !["text", "json"].contains(&self.log.format.as_str()) {
            complain("log.format", format!("`{}` is not known; use text or json", self.log.format));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            complain("log.filter", format!("{error}; use e.g. info,loopmaster=debug"));
        }
        // Cookies named `__Host-` are kept over plain http on this machine only.
        if self.public_url.url().scheme() == "http" && !self.public_url.is_loopback() {
            complain("public_url", format!("{} has to be https: browsers drop the cookies otherwise", self.public_url));
        }
    }
}

/// Lays the layers over each other and collects what is wrong.
#[derive(Default)]
struct Reader {
    complaints: Vec<Complaint>,
}

impl Reader {
    fn complain(&mut self, setting: &str, text: impl Into<String>) {
        self.complaints.push(Complaint { setting: setting.to_owned(), text: text.into() });
    }

    fn read(&mut self, sources: &Sources, make_secrets: bool) -> Option<Config> {
        let schema = match Value::try_from(Config::default()) {
            Ok(Value::Table(schema)) => schema,
            Ok(_) => Table::new(),
            Err(error) => {
                self.complain("defaults", error.to_string());
                return None;
            }
        };
        let file = self.file(sources);
        let environment = self.environment(&sources.environment, &schema);
        let mut given = Table::new();
        self.lay(&mut given, file, &schema, "");
        self.lay(&mut given, environment, &schema, "");

        // What was generated at an earlier start lies under what is given now.
        let data = given.get("data").and_then(Value::as_str).map_or(Config::default().data, PathBuf::from);
        let mut whole = schema.clone();
        let path = data.join(SECRETS);
        let mut secrets = self.table(&path, true);
        // Half a pair of credentials from here and half from there would fit nobody.
        if given.get("storage").is_some_and(|storage| storage.get("access_key").is_some()) {
            secrets.remove("storage");
        }
        if given.get("edge").is_some_and(|edge| edge.get("keys").is_some()) {
            secrets.remove("edge");
        }
        self.lay(&mut whole, secrets, &schema, "");
        self.lay(&mut whole, given, &schema, "");

        let mut config: Config = match Value::Table(whole).try_into() {
            Ok(config) => config,
            Err(error) => {
                self.complain("file", error.message().to_owned());
                return None;
            }
        };
        let own_machine = config.public_url.is_loopback();
        config.judge(&mut self.complaints, own_machine);
        // In a cluster only roles that keep something on this machine need the folder; they make it.
        if make_secrets && self.complaints.is_empty() && (own_machine || config.data.exists()) {
            if let Err(error) = loopmaster_private::folder(&config.data) {
                self.complain("data", error.to_string());
            } else if own_machine && let Err(error) = config.make_secrets(&path) {
                self.complain("data", format!("{} cannot be written: {error}", path.display()));
            }
        }
        Some(config)
    }

    fn file(&mut self, sources: &Sources) -> Table {
        let named = sources
            .environment
            .iter()
            .find(|(name, _)| name == "LOOPMASTER_CONFIG")
            .map(|(_, value)| PathBuf::from(value));
        match sources.file.clone().or(named) {
            Some(path) => self.table(&path, false),
            None => self.table(Path::new("loopmaster.toml"), true),
        }
    }

    fn table(&mut self, path: &Path, may_be_missing: bool) -> Table {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if may_be_missing && error.kind() == std::io::ErrorKind::NotFound => return Table::new(),
            Err(error) => {
                self.complain(&path.display().to_string(), format!("cannot be read: {error}"));
                return Table::new();
            }
        };
        text.parse().unwrap_or_else(|error: toml::de::Error| {
            // Without the line itself, which may hold a secret.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let message = error.message().trim().replace('\n', "; ");
            self.complain(&path.display().to_string(), format!("line {line}, column {column}: {message}"));
            Table::new()
        })
    }

    /// `LOOPMASTER_STORAGE__BUCKET=mixes` → `{storage: {bucket: "mixes"}}`, each value read as what the setting is.
    fn environment(&mut self, variables: &[(String, String)], schema: &Table) -> Table {
        let mut table = Table::new();
        for (name, text) in variables {
            let Some(key) = name.strip_prefix(PREFIX).map(str::to_ascii_lowercase) else { continue };
            if NOT_SETTINGS.iter().any(|other| key == *other || (other.ends_with('_') && key.starts_with(other))) {
                continue;
            }
            let path: Vec<&str> = key.split("__").collect();
            let mut kind = None;
            let mut level = Some(schema);
            for step in &path {
                kind = level.and_then(|table| table.get(*step));
                level = kind.and_then(Value::as_table);
            }
            let value = match kind {
                // A key of a free table, e.g. LOOPMASTER_EDGE__KEYS__A, is text; an unknown setting is found out below.
                None | Some(Value::String(_)) => Value::String(text.clone()),
                Some(_) => {
                    match format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value")) {
                        Some(value) => value,
                        None => Value::String(text.clone()),
                    }
                }
            };
            if !put(&mut table, &path, value) {
                self.complain(&path.join("."), "is set both as a value and as a group");
            }
        }
        table
    }

    /// Puts `over` on top of `base`; what does not fit the schema is complained about and left out.
    fn lay(&mut self, base: &mut Table, over: Table, schema: &Table, path: &str) {
        for (key, value) in over {
            let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let Some(kind) = schema.get(&key) else {
                let near =
                    schema.keys().max_by_key(|known| likeness(known, &key)).filter(|known| likeness(known, &key) >= 3);
                let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                self.complain(&name, format!("there is no such setting{hint}"));
                continue;
            };
            match (kind, value) {
                // An empty table in the defaults is free: its keys are the operator's.
                (Value::Table(inner), Value::Table(value)) if inner.is_empty() => {
                    let mut kept = Table::new();
                    for (key, value) in value {
                        if value.is_str() {
                            kept.insert(key, value);
                        } else {
                            self.complain(&format!("{name}.{key}"), format!("is {}; use text", value.type_str()));
                        }
                    }
                    base.insert(key, Value::Table(kept));
                }
                (Value::Table(inner), Value::Table(value)) => {
                    let place = base.entry(key).or_insert_with(|| Value::Table(Table::new()));
                    if let Value::Table(place) = place {
                        self.lay(place, value, inner, &name);
                    }
                }
                (kind, value) => {
                    if let Some(value) = self.fitting(kind, value, &name) {
                        base.insert(key, value);
                    }
                }
            }
        }
    }

    fn fitting(&mut self, kind: &Value, value: Value, name: &str) -> Option<Value> {
        let hidden = ["secret", "key", "smtp", "database"].iter().any(|word| name.contains(word)) || kind.is_table();
        let shown = if hidden { "a value".to_owned() } else { format!("`{}`", redacted_value(&value.to_string())) };
        if !kind.same_type(&value) {
            let wanted = match kind {
                Value::String(_) => "text",
                Value::Integer(_) => "a whole number",
                Value::Float(_) => "a number",
                Value::Boolean(_) => "true or false",
                Value::Array(_) => "a list",
                Value::Table(_) => "a group of settings",
                Value::Datetime(_) => "a date",
            };
            self.complain(name, format!("{shown} is not {wanted}"));
            return None;
        }
        // Types with a grammar of their own are tried here, so that one wrong value does not hide the next.
        let text = value.as_str().unwrap_or_default().to_owned();
        let problem = match name {
            "public_url" | "api_url" | "files_url" => Address::try_from(text).err(),
            "listen.api" | "listen.files" | "listen.metrics" => {
                text.parse::<SocketAddr>().err().map(|_| "use address:port, e.g. 127.0.0.1:3001".to_owned())
            }
            _ => match value.as_integer() {
                Some(number) if number < 0 => Some("use a number that is not negative".to_owned()),
                Some(number) if name == "trusted_hops" && number > 255 => Some("use 0 to 8".to_owned()),
                Some(number) if name == "worker.threads" && number > 65_535 => Some("use 0 to 1024".to_owned()),
                Some(number) if name.starts_with("retention.") && number > 3_650 => Some("use 1 to 3650".to_owned()),
                _ => None,
            },
        };
        if let Some(problem) = problem {
            self.complain(name, format!("{shown} cannot be used: {problem}"));
            return None;
        }
        Some(value)
    }
}

/// A value as it may be shown: where it is an address, without account and query.
fn redacted_value(text: &str) -> String {
    let text = text.trim_matches('"');
    if text.contains("://") || text.contains('@') { redacted(text) } else { text.to_owned() }
}

/// Puts a value at a path; false where something else stands in the way.
fn put(table: &mut Table, path: &[&str], value: Value) -> bool {
    match path {
        [] => false,
        [last] => table.insert((*last).to_owned(), value).is_none(),
        [folder, rest @ ..] => match table.entry(*folder).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => put(inner, rest, value),
            _ => false,
        },
    }
}

/// Length of the common beginning and end: enough to find a slip of the keyboard.
fn likeness(a: &str, b: &str) -> usize {
    let head = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let tail = a.bytes().rev().zip(b.bytes().rev()).take_while(|(a, b)| a == b).count();
    head + tail
}

/// What is generated, in the shape of the configuration itself.
#[derive(Default, Serialize)]
struct Generated {
    secret: String,
    edge: GeneratedEdge,
    storage: GeneratedStorage,
}

#[derive(Default, Serialize)]
struct GeneratedEdge {
    keys: BTreeMap<String, Secret>,
}

#[derive(Default, Serialize)]
struct GeneratedStorage {
    access_key: String,
    secret_key: Secret,
}

impl Config {
    fn make_secrets(&mut self, path: &Path) -> std::io::Result<()> {
        let lacks_storage = self.storage.embedded() && self.storage.access_key.is_empty();
        if !(self.secret.is_empty() || self.edge.keys.is_empty() || lacks_storage) {
            return Ok(());
        }
        if self.secret.is_empty() {
            self.secret = Secret::random();
        }
        if self.edge.keys.is_empty() {
            self.edge.keys.insert("local".to_owned(), Secret::random());
        }
        if lacks_storage {
            self.storage.access_key = format!("LM{}", &Secret::random().expose()[..18].to_ascii_uppercase());
            self.storage.secret_key = Secret::random();
        }
        let generated = Generated {
            secret: self.secret.expose().to_owned(),
            edge: GeneratedEdge { keys: self.edge.keys.clone() },
            storage: GeneratedStorage {
                access_key: self.storage.access_key.clone(),
                secret_key: self.storage.secret_key.clone(),
            },
        };
        let text = toml::to_string(&generated).map_err(std::io::Error::other)?;
        // The temporary file is private from its first byte on; the rename makes a half-written one impossible.
        let mut file = tempfile::Builder::new().prefix(".secrets").tempfile_in(&self.data)?;
        std::io::Write::write_all(
            &mut file,
            format!("# Made at the first start; for this machine only. Keep it as you keep the database.\n{text}")
                .as_bytes(),
        )?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(file: &str, environment: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loopmaster.toml");
        std::fs::write(&path, format!("data = {:?}\n{file}", folder.path().join("data"))).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        (folder, Sources { file: Some(path), environment })
    }

    #[test]
    fn nothing_given_serves_this_machine_and_keeps_its_secrets() {
        let (folder, sources) = sources("", &[]);
        assert!(Config::check(&sources).unwrap().secret.is_empty(), "a check writes nothing");
        assert!(!folder.path().join("data").exists());
        let first = Config::open(&sources).unwrap();
        assert!(
            first.secret.expose().len() == 64 && first.edge.keys.len() == 1 && !first.storage.access_key.is_empty()
        );
        let again = Config::open(&sources).unwrap();
        assert_eq!((&first.secret, &first.edge.keys), (&again.secret, &again.edge.keys));
        assert_eq!(first.storage.secret_key, again.storage.secret_key);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(folder.path().join("data").join(SECRETS)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "only the owner reads it");
        }
        assert!(!format!("{first:?}").contains(first.secret.expose()), "never printed");
    }

    #[test]
    fn the_environment_lies_over_the_file() {
        let (_folder, sources) = sources(
            "api_url = \"http://127.0.0.1:1\"\n[limits]\nzips = 3\n",
            &[
                ("LOOPMASTER_API_URL", "http://127.0.0.1:9001"),
                ("LOOPMASTER_LIMITS__GUEST__WAITING", "7"),
                ("LOOPMASTER_STORAGE__BUCKET", "12345"),
                ("LOOPMASTER_EDGE__KEYS__A", "0123456789abcdef0123456789abcdef"),
                ("LOOPMASTER_TOKEN", "of a client"),
                ("HOME", "/"),
            ],
        );
        let config = Config::check(&sources).unwrap();
        assert_eq!(config.api_url.to_string(), "http://127.0.0.1:9001");
        assert_eq!((config.limits.zips, config.limits.guest.waiting), (3, 7));
        assert_eq!(
            config.limits.guest.tracks_a_day,
            Limits::default().guest.tracks_a_day,
            "the rest of the group stays"
        );
        assert_eq!(config.storage.bucket, "12345", "text stays text even where it looks like a number");
        assert_eq!(config.edge.keys.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn all_wrong_values_are_named_at_once() {
        let (_folder, sources) = sources(
            "publicurl = 1\napi_url = \"ftp://x\"\ntrusted_hops = -1\ndatabase_url = \"mysql://x\"\n[storage]\nbucket = \"No\"\n\
             secret_key = \"x\"\naccess_key = \"a\"\n[edge.keys]\na = \"short\"\n[worker]\nbackend = \"tpu\"\nthreads = \"many\"\n[log]\nformat = \"xml\"\n",
            &[("LOOPMASTER_LIMITS__ZIPS", "0"), ("LOOPMASTER_NONSENSE", "1")],
        );
        let Unusable(complaints) = Config::check(&sources).unwrap_err();
        let named: Vec<&str> = complaints.iter().map(|complaint| complaint.setting.as_str()).collect();
        for setting in [
            "publicurl",
            "api_url",
            "trusted_hops",
            "database_url",
            "storage.bucket",
            "storage.secret_key",
            "edge.keys.a",
            "worker.backend",
            "worker.threads",
            "log.format",
            "limits.zips",
            "nonsense",
        ] {
            assert!(named.contains(&setting), "{setting} is missing in {named:?}");
        }
        let hint = complaints.iter().find(|complaint| complaint.setting == "publicurl").unwrap();
        assert!(hint.text.contains("public_url"), "{hint}");
        assert!(!Unusable(complaints.clone()).to_string().contains("short\""), "secrets are not repeated");
    }

    #[test]
    fn a_public_service_has_to_bring_its_secrets() {
        let (folder, sources) = sources("public_url = \"https://music.example\"", &[]);
        let Unusable(complaints) = Config::open(&sources).unwrap_err();
        let named: Vec<&str> = complaints.iter().map(|complaint| complaint.setting.as_str()).collect();
        assert_eq!(named, ["secret", "edge.keys", "storage.access_key", "mail.smtp"]);
        assert!(!folder.path().join("data").exists());
    }

    const PUBLIC: &str = "public_url = \"https://music.example\"\nsecret = \"0c2f5a9e4b7d8136e0a1f4c25b9d7e83\"\n";
    const KEYS: &str = "[edge.keys]\na = \"5b9d7e830c2f5a9e4b7d8136e0a1f4c2\"\n";
    const STORAGE: &str = "[storage]\naccess_key = \"LMA\"\nsecret_key = \"4b7d8136e0a1f4c25b9d7e830c2f5a9e\"\n";

    fn complaints(file: &str) -> Vec<String> {
        let (_folder, sources) = sources(file, &[]);
        Config::check(&sources).map_or_else(
            |Unusable(complaints)| complaints.into_iter().map(|complaint| complaint.setting).collect(),
            |_| Vec::new(),
        )
    }

    #[test]
    fn a_public_service_sends_its_mail() {
        let whole = format!("{PUBLIC}{KEYS}{STORAGE}");
        assert_eq!(complaints(&whole), ["mail.smtp"]);
        for mail in ["smtp = \"smtps://a:b@mail.example\"", "folder = \"outbox\""] {
            assert!(complaints(&format!("{whole}[mail]\n{mail}\n")).is_empty(), "{mail}");
        }
        assert_eq!(complaints(&format!("{whole}[mail]\nsmtp = \"smtps://a:b@\"\n")), ["mail.smtp"]);
        assert!(complaints("").is_empty(), "on one's own machine they lie in a folder");
    }

    #[test]
    fn secrets_that_can_be_guessed_are_named_at_once() {
        let held = "a".repeat(40);
        let named = complaints(&format!(
            "public_url = \"https://music.example\"\nsecret = \"{held}\"\n[edge.keys]\na = \"{held}\"\nb = \"\"\n\
             [storage]\naccess_key = \"LMA\"\nsecret_key = \"x\"\n[mail]\nfolder = \"outbox\"\n"
        ));
        assert_eq!(named, ["storage.secret_key", "edge.keys.a", "edge.keys.b", "secret"]);
        // An access key alone would leave the embedded storage open to whoever signs with nothing.
        for half in ["access_key = \"LMA\"", "secret_key = \"4b7d8136e0a1f4c25b9d7e830c2f5a9e\""] {
            assert_eq!(complaints(&format!("[storage]\n{half}\n")), ["storage.secret_key"], "{half}");
        }
        let mail = "[mail]\nfolder = \"outbox\"\n";
        let elsewhere = |secret: &str| {
            let storage = format!(
                "[storage]\nendpoint = \"https://s3.example\"\naccess_key = \"a\"\nsecret_key = \"{secret}\"\n"
            );
            complaints(&format!("{PUBLIC}{KEYS}{storage}{mail}"))
        };
        assert_eq!(elsewhere("x"), ["storage.secret_key"]);
        assert!(elsewhere("K005abcdEFGH1234ijklMNOP5678qrs").is_empty(), "31 characters of a provider's");
        let tests = "[storage]\nendpoint = \"http://127.0.0.1:9000\"\naccess_key = \"a\"\nsecret_key = \"minio\"\n";
        assert!(complaints(tests).is_empty(), "a test's storage on one's own machine");
    }

    #[test]
    fn nothing_that_is_printed_holds_a_secret() {
        let whole = format!("{PUBLIC}{KEYS}{STORAGE}");
        for (file, good) in [
            (
                format!(
                    "database_url = \"postgres://a:hunter2@db/a\"\n{whole}[mail]\nsmtp = \"smtps://a:hunter2@m.example\""
                ),
                true,
            ),
            ("database_url = \"postgres://db/a?user=a&password=hunter2\"".to_owned(), true),
            ("database_url = \"mysql://a:hunter2@db/a\"".to_owned(), false),
            ("database_url = [\"postgres://a:hunter2@db/a\"]".to_owned(), false),
            ("database_url = \"postgres://a:hunter2@db/a".to_owned(), false),
            ("secret = \"hunter2".to_owned(), false),
            ("secret = hunter2".to_owned(), false),
            ("secret = \"hunter2\"".to_owned(), false),
            ("edge = \"hunter2\"".to_owned(), false),
            ("[edge]\nkeys = \"hunter2\"".to_owned(), false),
            ("[edge.keys]\n\"0hunter2\u{e9}\" = \"\"".to_owned(), false),
            ("[edge.keys]\na = [\"hunter2\"]".to_owned(), false),
            ("storage = \"hunter2\"".to_owned(), false),
            ("[storage]\nendpoint = \"https://a:hunter2@s3.example\"".to_owned(), false),
            ("[storage]\nendpoint = \"https://:hunter2@s3.example\"".to_owned(), false),
            ("[storage]\nendpoint = \"https://s3.example/?key=hunter2\"".to_owned(), false),
            ("public_url = \"https://a:hunter2@music.example\"".to_owned(), false),
            ("public_url = \"https://:hunter2@music.example\"".to_owned(), false),
            ("api_url = \"https://a:hunter2/@music.example\"".to_owned(), false),
            ("[mail]\nsmtp = \"http://a:hunter2@mail.example\"".to_owned(), false),
            ("[mail]\nsmtp = \"smtps://a:hunter2@\"".to_owned(), false),
            ("[mail]\nsmtp = [\"smtps://a:hunter2@m.example\"]".to_owned(), false),
            ("[oidc.google]\nclient_secret = \"hunter2\"".to_owned(), false),
            ("[oidc]\ngoogle = \"hunter2\"".to_owned(), false),
            ("[listen]\napi = \"a:hunter2@127.0.0.1:1\"".to_owned(), false),
        ] {
            let (_folder, sources) = sources(&file, &[]);
            let shown = match Config::check(&sources) {
                Ok(config) => {
                    assert!(good, "{file}");
                    format!("{config:?} {config:#?} {:?}", config.storage_client())
                }
                Err(unusable) => {
                    assert!(!good, "{file}: {unusable}");
                    format!("{unusable} {unusable:?}")
                }
            };
            assert!(!shown.contains("hunter2"), "{file}: {shown}");
            assert!(!shown.contains("4b7d8136e0a1f4c2"), "{file}: {shown}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_data_folder_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, sources) = sources("", &[]);
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
        let unusable = Config::open(&sources).unwrap_err().to_string();
        assert!(unusable.contains("data: ") && unusable.contains("can be written by other users"), "{unusable}");
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "no secret is put there");
    }

    #[test]
    fn the_example_is_a_configuration() {
        let (_folder, mut sources) = sources("", &[]);
        let path = sources.file.clone().unwrap();
        std::fs::write(&path, Config::example()).unwrap();
        sources.file = Some(path);
        assert!(Config::check(&sources).is_ok());
    }
}
