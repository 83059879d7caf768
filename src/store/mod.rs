//! Object storage, spoken to as S3 and only so: [`Store`] is the client, [`embedded`] an endpoint for one machine.
//!
//! Clients upload and download with URLs signed here for the address they see (`FILES_URL`); the service itself uses the internal
//! endpoint. Keys come from ids, never from file names.

pub mod embedded;
mod error;
mod measured;
mod multipart;
mod objects;
mod policy;

pub use embedded::Credentials;
pub use error::StoreError;
pub use objects::Reading;
pub use policy::{PostBytes, PostForm};

use crate::secrets::redacted;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::DateTime;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use measured::Measured;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{Duration, SystemTime};
use url::Url;

/// Tries of one operation.
const ATTEMPTS: u32 = 3;
/// For connecting.
const CONNECT: Duration = Duration::from_secs(3);
/// For one try of an operation without bytes to speak of.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Slowest way to the storage that is waited for, bytes per second.
const SLOWEST: u64 = 1 << 20;

/// Result of an operation on the storage.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Where the storage is. `[storage]` of the configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageConfig {
    /// The endpoint the service itself uses.
    pub endpoint: Url,
    /// The endpoint as clients see it (`FILES_URL`); signatures hold only there.
    pub public_endpoint: Url,
    /// The bucket.
    pub bucket: String,
    /// The region; most stores that are not AWS accept any.
    #[serde(default = "region")]
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
}

// The secret stays out of logs.
impl fmt::Debug for StorageConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (inside, outside) = (self.endpoint.as_str(), self.public_endpoint.as_str());
        f.debug_struct("StorageConfig")
            .field("endpoint", &redacted(inside))
            .field("public_endpoint", &redacted(outside))
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

fn region() -> String {
    "us-east-1".to_owned()
}

/// What is known about an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its size.
    pub bytes: u64,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its media type.
    pub media_type: Option<String>,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Objects in the order of their keys.
    pub items: Vec<Listed>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// A part that was uploaded, as the client of an upload and S3 speak of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartTag {
    /// 1 to 10,000.
    pub number: u16,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its size, where the storage said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A multipart upload on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its key.
    pub key: String,
    /// Its id.
    pub id: String,
    /// When it began.
    pub created: Option<SystemTime>,
}

fn unquoted(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

fn time(time: Option<&DateTime>) -> Option<SystemTime> {
    time.and_then(|time| SystemTime::try_from(*time).ok())
}

fn bytes_of(length: Option<i64>) -> u64 {
    length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0)
}

fn signed_length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What to call a failed operation on `what`.
fn failed<E>(what: &str) -> impl Fn(SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> StoreError + '_
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    move |error| StoreError::new(what, &error)
}

/// The client of the storage. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    /// For the service itself.
    inside: Client,
    /// Signs for the address clients see; never sends.
    outside: Client,
    public_endpoint: Url,
    bucket: String,
    region: String,
    credentials: Credentials,
}

impl Store {
    /// A client for this storage. Nothing is sent yet: see [`Self::ensure_bucket`].
    pub fn new(config: &StorageConfig) -> Result<Self> {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https();
        Self::through(config, http)
    }

    /// A client for the endpoint of this process, without a socket between.
    pub fn beside(config: &StorageConfig, endpoint: &embedded::Handle) -> Result<Self> {
        Self::through(config, endpoint.direct())
    }

    fn through(config: &StorageConfig, http: SharedHttpClient) -> Result<Self> {
        for endpoint in [&config.endpoint, &config.public_endpoint] {
            if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host_str().is_none() {
                return Err(StoreError::Config(format!("{endpoint} is not an http or https URL")));
            }
        }
        if !s3s::path::check_bucket_name(&config.bucket) {
            return Err(StoreError::Config(format!("{:?} is not the name of a bucket", config.bucket)));
        }
        if config.access_key.is_empty() || config.secret_key.is_empty() {
            return Err(StoreError::Config("the access key or the secret key is empty".to_owned()));
        }
        Ok(Self {
            inside: Client::from_conf(client(config, &config.endpoint, http.clone()).interceptor(Measured).build()),
            outside: Client::from_conf(client(config, &config.public_endpoint, http).build()),
            public_endpoint: config.public_endpoint.clone(),
            bucket: config.bucket.clone(),
            region: config.region.clone(),
            credentials: Credentials { access_key: config.access_key.clone(), secret_key: config.secret_key.clone() },
        })
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Whether the storage answers and the bucket is there.
    pub async fn probe(&self) -> Result<()> {
        let patience = timeouts(Duration::from_secs(2)).operation_timeout(Duration::from_secs(3)).build();
        let request = self.inside.head_bucket().bucket(&self.bucket).customize();
        let config = Config::builder().timeout_config(patience).retry_config(RetryConfig::disabled());
        request.config_override(config).send().await.map(drop).map_err(failed(&self.bucket))
    }

    /// Makes the bucket where it is missing.
    pub async fn ensure_bucket(&self) -> Result<()> {
        match self.inside.head_bucket().bucket(&self.bucket).send().await.map_err(failed(&self.bucket)) {
            Err(StoreError::NotFound { .. }) => {}
            done => return done.map(drop),
        }
        match self.inside.create_bucket().bucket(&self.bucket).send().await.map_err(failed(&self.bucket)) {
            // Somebody else was quicker.
            Err(StoreError::Precondition { s3, .. }) if s3 == "BucketAlreadyOwnedByYou" => Ok(()),
            done => done.map(drop),
        }
    }

    // ── For clients ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// A URL for reading one object under a file name of our choice, shown in the page or saved.
    pub async fn presign_get(
        &self,
        key: &str,
        file_name: &str,
        media_type: &str,
        inline: bool,
        ttl: Duration,
    ) -> Result<Url> {
        let request = self.outside.get_object().bucket(&self.bucket).key(key);
        let request = request.response_content_disposition(content_disposition(file_name, inline));
        let signed = request.response_content_type(media_type).presigned(expiry(ttl)?).await.map_err(failed(key))?;
        parsed(signed.uri())
    }

    /// A form a browser may send: one key, one media type, so many bytes, until then.
    #[must_use]
    pub fn post_policy(&self, key: &str, media_type: &str, bytes: PostBytes, ttl: Duration) -> PostForm {
        let terms = policy::Terms { region: &self.region, bucket: &self.bucket, key, media_type, bytes, ttl };
        policy::sign(&self.credentials, &self.public_endpoint, terms, SystemTime::now())
    }
}

fn client(config: &StorageConfig, endpoint: &Url, http: SharedHttpClient) -> aws_sdk_s3::config::Builder {
    let credentials =
        aws_sdk_s3::config::Credentials::new(&config.access_key, &config.secret_key, None, None, "loopmaster");
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .endpoint_url(endpoint.as_str().trim_end_matches('/'))
        .region(Region::new(config.region.clone()))
        .credentials_provider(credentials)
        .force_path_style(true)
        // Many stores that are not AWS refuse the trailers that newer SDKs send unasked.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(
            RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(Duration::from_millis(100)),
        )
        .timeout_config(timeouts(ATTEMPT).build())
}

fn timeouts(attempt: Duration) -> aws_sdk_s3::config::timeout::TimeoutConfigBuilder {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(attempt * ATTEMPTS + CONNECT * ATTEMPTS)
}

/// Time for an operation that moves so many bytes.
fn patient(bytes: u64) -> aws_sdk_s3::config::Builder {
    Config::builder().timeout_config(timeouts(ATTEMPT + Duration::from_secs(bytes / SLOWEST)).build())
}

fn expiry(ttl: Duration) -> Result<PresigningConfig> {
    PresigningConfig::expires_in(ttl).map_err(|error| StoreError::Config(error.to_string()))
}

fn parsed(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| StoreError::Config(format!("{}: {error}", redacted(url))))
}

fn encode_path(key: &str) -> String {
    embedded::urlencode(key).replace("%2F", "/")
}

/// RFC 6266: the name in ASCII for old clients, in UTF-8 for the others.
#[must_use]
pub fn content_disposition(file_name: &str, inline: bool) -> String {
    let kind = if inline { "inline" } else { "attachment" };
    // Neither folders nor line breaks in a name somebody will save under.
    let name: String =
        file_name.chars().map(|c| if c.is_control() || matches!(c, '/' | '\\') { '_' } else { c }).collect();
    let plain: String = name.chars().map(|c| if c.is_ascii() && !matches!(c, '"' | '%') { c } else { '_' }).collect();
    if plain == name {
        return format!("{kind}; filename=\"{plain}\"");
    }
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{}", embedded::urlencode(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_saving() {
        assert_eq!(content_disposition("Song.wav", false), "attachment; filename=\"Song.wav\"");
        assert_eq!(
            content_disposition("Ä \"b\".wav", true),
            "inline; filename=\"_ _b_.wav\"; filename*=UTF-8''%C3%84%20%22b%22.wav"
        );
        assert_eq!(content_disposition("../a\r\nb", false), "attachment; filename=\".._a__b\"");
    }

    #[test]
    fn a_wrong_configuration_is_said() {
        let good = StorageConfig {
            endpoint: Url::parse("http://127.0.0.1:1").unwrap(),
            public_endpoint: Url::parse("http://files.test").unwrap(),
            bucket: "songs".to_owned(),
            region: region(),
            access_key: "a".to_owned(),
            secret_key: "s".to_owned(),
        };
        assert!(Store::new(&good).is_ok());
        let wrong = [
            StorageConfig { bucket: "Not A Bucket".to_owned(), ..good.clone() },
            StorageConfig { endpoint: Url::parse("ftp://x").unwrap(), ..good.clone() },
            StorageConfig { secret_key: String::new(), ..good },
        ];
        for config in wrong {
            assert_eq!(Store::new(&config).unwrap_err().code(), "storage.config");
        }
    }
}
