//! The storage: one suite of checks against our own S3 endpoint and against one that is not ours, unmodified S3 clients against
//! ours, and what happens when the process dies or the disk is full.

mod crash;
pub(crate) mod limits;
mod strangers;
mod suite;

use loopmaster::store::embedded::{Handle, Options, serve_with};
use loopmaster::store::{Credentials, StorageConfig, Store};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use url::Url;

pub(crate) const BUCKET: &str = "songs";

pub(crate) fn credentials() -> Credentials {
    Credentials { access_key: "operator".to_owned(), secret_key: "a secret of the tests".to_owned() }
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn config(url: &str) -> StorageConfig {
    let Credentials { access_key, secret_key } = credentials();
    StorageConfig {
        endpoint: Url::parse(url).unwrap(),
        public_endpoint: Url::parse(url).unwrap(),
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        access_key,
        secret_key,
    }
}

/// Our endpoint in a fresh folder, and a client with its bucket.
pub(crate) struct Ours {
    pub(crate) folder: TempDir,
    pub(crate) handle: Handle,
    pub(crate) store: Store,
}

impl Ours {
    pub(crate) async fn start() -> Self {
        Self::with(|options| options).await
    }

    pub(crate) async fn with(change: impl FnOnce(Options) -> Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(folder.path(), any_port(), credentials(), &["http://page.test".to_owned()]);
        let handle = serve_with(change(options)).await.unwrap();
        let store = Store::new(&config(&handle.url())).unwrap();
        store.ensure_bucket().await.unwrap();
        Self { folder, handle, store }
    }
}

/// Bytes that look like no others.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

pub(crate) fn http() -> reqwest::Client {
    // Whoever comes first; the others find it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A program that the set-up of the tests has installed into this environment.
pub(crate) fn python_tool(environment: &str, name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|cache| cache.is_absolute());
    let cache = cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"));
    let tool = cache.join("loopmaster/venv").join(environment).join("bin").join(name);
    assert!(tool.exists(), "{} is missing: ./test installs it", tool.display());
    tool
}
