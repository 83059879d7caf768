//! Object storage, spoken to as S3 and only so: [`Store`] is the client, [`embedded`] an endpoint for one machine.
//!
//! Clients upload and download with URLs signed here for the address they see (`FILES_URL`); the service itself uses the internal
//! endpoint. Keys come from ids, never from file names.

pub mod embedded;
mod error;
mod policy;

pub use embedded::Credentials;
pub use error::StoreError;
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
use aws_sdk_s3::primitives::{ByteStream, DateTime, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use bytes::Bytes;
use error::chain;
use futures_util::{Stream, StreamExt, TryStreamExt};
use s3s::crypto::{Checksum, Md5};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use url::Url;

/// Files larger than this go up in parts.
const WHOLE: u64 = 32 << 20;
/// Size of those parts; ten thousand of them are more than any master.
const PART: u64 = 16 << 20;
/// Parts on their way at once.
const PARALLEL: usize = 4;
/// Largest object S3 copies in one request.
const COPY_WHOLE: u64 = 5 << 30;
/// Parts of larger copies.
const COPY_PART: u64 = 1 << 30;
/// Tries of one operation.
const ATTEMPTS: u32 = 3;
/// For connecting.
const CONNECT: Duration = Duration::from_secs(3);
/// For one try of an operation without bytes to speak of.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Slowest way to the storage that is waited for, bytes per second.
const SLOWEST: u64 = 1 << 20;
/// Completing copies for a while at some providers.
const COMPLETE: Duration = Duration::from_mins(2);

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

/// An object being read.
pub struct Reading {
    /// What is known about it.
    pub head: Head,
    body: ByteStream,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("head", &self.head).finish_non_exhaustive()
    }
}

impl Reading {
    /// The bytes as they come.
    pub fn stream(self) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        futures_util::stream::try_unfold(self.body, |mut body| async move {
            match body.try_next().await {
                Ok(chunk) => Ok(chunk.map(|chunk| (chunk, body))),
                Err(error) => Err(broken(&error)),
            }
        })
    }

    /// All bytes, refused where they are more than `most`.
    pub async fn bytes(self, most: u64) -> Result<Bytes> {
        if self.head.bytes > most {
            return Err(StoreError::Invalid {
                what: "the object".to_owned(),
                s3: "EntityTooLarge".to_owned(),
                status: 400,
                message: format!("it has {} bytes and at most {most} are read here", self.head.bytes),
            });
        }
        self.body
            .collect()
            .await
            .map(aws_sdk_s3::primitives::AggregatedBytes::into_bytes)
            .map_err(|error| broken(&error))
    }
}

fn broken(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable { detail: format!("the answer broke off: {}", chain(error)), full: false }
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
            inside: client(config, &config.endpoint, http.clone()),
            outside: client(config, &config.public_endpoint, http),
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

    // ── Objects ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Stores a file; large ones in parts, several at once. Returns the ETag.
    pub async fn put_file(&self, key: &str, path: &Path, media_type: &str) -> Result<String> {
        let file = |source| StoreError::File { path: path.to_owned(), source };
        let bytes = tokio::fs::metadata(path).await.map_err(file)?.len();
        if bytes > WHOLE {
            return self.put_parts(key, path, bytes, media_type).await;
        }
        let body = ByteStream::from_path(path).await.map_err(|error| file(std::io::Error::other(error)))?;
        let request = self.inside.put_object().bucket(&self.bucket).key(key).content_type(media_type).body(body);
        let request = request.customize().config_override(patient(bytes));
        request.send().await.map(|done| unquoted(done.e_tag())).map_err(failed(key))
    }

    async fn put_parts(&self, key: &str, path: &Path, bytes: u64, media_type: &str) -> Result<String> {
        let id = self.create_multipart(key, media_type).await?;
        // Ten thousand parts at most, whatever the size.
        let size = PART.max(bytes.div_ceil(10_000));
        let parts = futures_util::stream::iter(0..bytes.div_ceil(size))
            .map(|at| self.put_part(key, &id, path, at, at * size..bytes.min((at + 1) * size)))
            .buffered(PARALLEL)
            .try_collect::<Vec<_>>();
        let done = match parts.await {
            Ok(parts) => self.complete(key, &id, &parts).await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            // Best effort: the storage's own sweep takes what stays.
            let _ = self.abort(key, &id).await;
        }
        done
    }

    async fn put_part(&self, key: &str, id: &str, path: &Path, at: u64, span: Range<u64>) -> Result<PartTag> {
        let length = span.end - span.start;
        let body = ByteStream::read_from().path(path).offset(span.start).length(Length::Exact(length)).build().await;
        let body =
            body.map_err(|error| StoreError::File { path: path.to_owned(), source: std::io::Error::other(error) })?;
        let number = at as u16 + 1;
        let request = self.inside.upload_part().bucket(&self.bucket).key(key).upload_id(id).part_number(number.into());
        let request = request.body(body).customize().config_override(patient(length));
        let done = request.send().await.map_err(failed(key))?;
        Ok(PartTag { number, etag: unquoted(done.e_tag()), bytes: Some(length) })
    }

    /// Stores bytes. Returns the ETag.
    pub async fn put_bytes(&self, key: &str, bytes: impl Into<Bytes>, media_type: &str) -> Result<String> {
        self.put(key, bytes.into(), media_type, false).await
    }

    /// Stores bytes where nothing is yet.
    pub async fn put_bytes_if_absent(&self, key: &str, bytes: impl Into<Bytes>, media_type: &str) -> Result<String> {
        self.put(key, bytes.into(), media_type, true).await
    }

    async fn put(&self, key: &str, bytes: Bytes, media_type: &str, absent: bool) -> Result<String> {
        let length = bytes.len() as u64;
        let request = self.inside.put_object().bucket(&self.bucket).key(key).content_type(media_type);
        let request = request.set_if_none_match(absent.then(|| "*".to_owned())).body(ByteStream::from(bytes));
        let request = request.customize().config_override(patient(length));
        request.send().await.map(|done| unquoted(done.e_tag())).map_err(failed(key))
    }

    /// Reads an object.
    pub async fn get(&self, key: &str) -> Result<Reading> {
        self.read(key, None).await
    }

    /// Reads a stretch of an object; the head's size is that of the stretch.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Reading> {
        self.read(key, Some(range)).await
    }

    async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Reading> {
        let range = range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let request = self.inside.get_object().bucket(&self.bucket).key(key).set_range(range);
        let answer = request.send().await.map_err(failed(key))?;
        let head = Head {
            bytes: bytes_of(answer.content_length()),
            etag: unquoted(answer.e_tag()),
            media_type: answer.content_type().map(str::to_owned),
            modified: time(answer.last_modified()),
        };
        Ok(Reading { head, body: answer.body })
    }

    /// Reads an object into a file: beside, then renamed, so that a file under that name is whole. Returns its size.
    pub async fn get_to_file(&self, key: &str, path: &Path) -> Result<u64> {
        let file = |source| StoreError::File { path: path.to_owned(), source };
        let reading = self.get(key).await?;
        let expected = reading.head.bytes;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (beside, kept) = tempfile::NamedTempFile::new_in(folder).map_err(file)?.into_parts();
        let mut beside = tokio::fs::File::from_std(beside);
        let mut bytes = 0;
        let mut stream = std::pin::pin!(reading.stream());
        while let Some(chunk) = stream.try_next().await? {
            bytes += chunk.len() as u64;
            beside.write_all(&chunk).await.map_err(file)?;
        }
        if bytes != expected {
            let detail = format!("{key} broke off after {bytes} of {expected} bytes");
            return Err(StoreError::Unavailable { detail, full: false });
        }
        beside.flush().await.map_err(file)?;
        kept.persist(path).map_err(|error| file(error.error))?;
        Ok(bytes)
    }

    /// What is known about an object; `None` where it is not.
    pub async fn head(&self, key: &str) -> Result<Option<Head>> {
        match self.inside.head_object().bucket(&self.bucket).key(key).send().await.map_err(failed(key)) {
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(answer) => Ok(Some(Head {
                bytes: bytes_of(answer.content_length()),
                etag: unquoted(answer.e_tag()),
                media_type: answer.content_type().map(str::to_owned),
                modified: time(answer.last_modified()),
            })),
        }
    }

    /// Copies an object inside the storage. Returns what is known about it.
    pub async fn copy(&self, from: &str, to: &str) -> Result<Head> {
        let head = self.head(from).await?;
        let head = head.ok_or_else(|| StoreError::NotFound { what: from.to_owned(), s3: "NoSuchKey".to_owned() })?;
        let source = format!("{}/{}", self.bucket, encode_path(from));
        if head.bytes <= COPY_WHOLE {
            let request = self.inside.copy_object().bucket(&self.bucket).key(to).copy_source(source);
            let request = request.copy_source_if_match(&head.etag).customize().config_override(patient(head.bytes));
            return request.send().await.map(|_| head).map_err(failed(from));
        }
        let id = self.create_multipart(to, head.media_type.as_deref().unwrap_or("application/octet-stream")).await?;
        let parts = futures_util::stream::iter(0..head.bytes.div_ceil(COPY_PART))
            .map(|at| {
                let span = at * COPY_PART..head.bytes.min((at + 1) * COPY_PART);
                self.copy_part(&source, &head.etag, to, &id, at as u16 + 1, span)
            })
            .buffered(PARALLEL)
            .try_collect::<Vec<_>>();
        let done = match parts.await {
            Ok(parts) => self.complete(to, &id, &parts).await.map(|_| head),
            Err(error) => Err(error),
        };
        if done.is_err() {
            let _ = self.abort(to, &id).await;
        }
        done
    }

    /// Copies a stretch of an object into a part.
    async fn copy_part(
        &self,
        source: &str,
        etag: &str,
        to: &str,
        id: &str,
        number: u16,
        span: Range<u64>,
    ) -> Result<PartTag> {
        let range = format!("bytes={}-{}", span.start, span.end - 1);
        let request = self.inside.upload_part_copy().bucket(&self.bucket).key(to).upload_id(id);
        let request = request.part_number(number.into()).copy_source(source).copy_source_range(range);
        let request = request.copy_source_if_match(etag).customize().config_override(patient(span.end - span.start));
        let done = request.send().await.map_err(failed(source))?;
        let etag = unquoted(done.copy_part_result().and_then(|result| result.e_tag()));
        Ok(PartTag { number, etag, bytes: Some(span.end - span.start) })
    }

    /// Deletes an object; one that is not there is fine.
    pub async fn delete(&self, key: &str) -> Result<()> {
        match self.inside.delete_object().bucket(&self.bucket).key(key).send().await.map_err(failed(key)) {
            Err(StoreError::NotFound { .. }) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Deletes everything whose key begins so, and aborts uploads that would become such. Returns how many objects went.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<usize> {
        if prefix.is_empty() {
            return Err(StoreError::Config("deleting everything is not what a prefix is for".to_owned()));
        }
        for upload in self.unfinished(prefix).await? {
            match self.abort(&upload.key, &upload.id).await {
                Err(StoreError::NotFound { .. }) => {}
                done => done?,
            }
        }
        let mut deleted = 0;
        loop {
            let page = self.list_page(prefix, None, 1000).await?;
            if page.items.is_empty() {
                return Ok(deleted);
            }
            let objects: Result<Vec<_>, _> =
                page.items.iter().map(|item| ObjectIdentifier::builder().key(&item.key).build()).collect();
            let delete = objects.and_then(|objects| Delete::builder().set_objects(Some(objects)).quiet(true).build());
            let delete = delete.map_err(|error| StoreError::Config(error.to_string()))?;
            let request = self.inside.delete_objects().bucket(&self.bucket).delete(delete);
            let answer = request.send().await.map_err(failed(prefix))?;
            if let Some(error) = answer.errors().first() {
                return Err(StoreError::Invalid {
                    what: error.key().unwrap_or(prefix).to_owned(),
                    s3: error.code().unwrap_or("unknown").to_owned(),
                    status: 200,
                    message: error.message().unwrap_or("no message").to_owned(),
                });
            }
            deleted += page.items.len();
            if page.next.is_none() {
                return Ok(deleted);
            }
        }
    }

    /// Everything whose key begins so, in the order of the keys.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = self.list_page(prefix, next.as_deref(), 1000).await?;
            all.extend(page.items);
            next = page.next;
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// A page of a listing: for what may be a million keys. `next` is the page before's.
    pub async fn list_page(&self, prefix: &str, next: Option<&str>, limit: u16) -> Result<Page> {
        let request = self.inside.list_objects_v2().bucket(&self.bucket).prefix(prefix).max_keys(limit.into());
        let answer = request.set_continuation_token(next.map(str::to_owned)).send().await.map_err(failed(prefix))?;
        let items = answer.contents().iter().filter_map(|object| {
            Some(Listed {
                key: object.key()?.to_owned(),
                bytes: bytes_of(object.size()),
                modified: time(object.last_modified()),
            })
        });
        Ok(Page { items: items.collect(), next: answer.next_continuation_token().map(str::to_owned) })
    }

    // ── Multipart uploads ────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Begins an upload in parts. Returns its id.
    pub async fn create_multipart(&self, key: &str, media_type: &str) -> Result<String> {
        let request = self.inside.create_multipart_upload().bucket(&self.bucket).key(key).content_type(media_type);
        let answer = request.send().await.map_err(failed(key))?;
        answer.upload_id().map(str::to_owned).ok_or_else(|| StoreError::Unavailable {
            detail: format!("the storage gave no id for the upload of {key}"),
            full: false,
        })
    }

    /// A URL for the PUT of one part of exactly so many bytes.
    pub async fn presign_part(&self, key: &str, id: &str, number: u16, bytes: u64, ttl: Duration) -> Result<Url> {
        let request = self.outside.upload_part().bucket(&self.bucket).key(key).upload_id(id);
        let request = request.part_number(number.into()).content_length(signed_length(bytes));
        parsed(request.presigned(expiry(ttl)?).await.map_err(failed(key))?.uri())
    }

    /// A URL for the PUT of one part of at most so many bytes, and of no more than a part of this number that has arrived already. The
    /// embedded endpoint holds to both; S3 itself can sign an exact length only, so that elsewhere the parts have to be counted.
    pub async fn presign_part_at_most(
        &self,
        key: &str,
        id: &str,
        number: u16,
        most: u64,
        ttl: Duration,
    ) -> Result<Url> {
        let request = self.outside.upload_part().bucket(&self.bucket).key(key).upload_id(id);
        let request = request.part_number(number.into()).customize().mutate_request(move |request| {
            let uri = request.uri().to_owned();
            let join = if uri.contains('?') { '&' } else { '?' };
            // What is no URI any more is refused when it is read below.
            let _ = request.set_uri(format!("{uri}{join}{}={most}", embedded::MOST_BYTES));
        });
        let url = parsed(request.presigned(expiry(ttl)?).await.map_err(failed(key))?.uri())?;
        if url.query_pairs().all(|(name, _)| name != embedded::MOST_BYTES) {
            return Err(StoreError::Config(format!("{url} carries no limit of bytes")));
        }
        Ok(url)
    }

    /// The parts that have arrived, all pages.
    pub async fn list_parts(&self, key: &str, id: &str) -> Result<Vec<PartTag>> {
        let (mut parts, mut marker) = (Vec::new(), None);
        loop {
            let request = self.inside.list_parts().bucket(&self.bucket).key(key).upload_id(id);
            let answer = request.set_part_number_marker(marker).send().await.map_err(failed(id))?;
            parts.extend(answer.parts().iter().map(|part| PartTag {
                number: part.part_number().and_then(|number| u16::try_from(number).ok()).unwrap_or(0),
                etag: unquoted(part.e_tag()),
                bytes: Some(bytes_of(part.size())),
            }));
            marker = answer.next_part_number_marker().map(str::to_owned);
            if answer.is_truncated() != Some(true) || marker.is_none() {
                return Ok(parts);
            }
        }
    }

    /// Turns the parts into an object. Returns its ETag; completing once more gives the same answer, with every S3.
    pub async fn complete(&self, key: &str, id: &str, parts: &[PartTag]) -> Result<String> {
        let list = parts.iter().map(|part| {
            CompletedPart::builder().part_number(part.number.into()).e_tag(format!("\"{}\"", part.etag)).build()
        });
        let list = CompletedMultipartUpload::builder().set_parts(Some(list.collect())).build();
        let request = self.inside.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(id);
        let request = request.multipart_upload(list).customize();
        let patience = Config::builder().timeout_config(timeouts(COMPLETE).build());
        match request.config_override(patience).send().await.map_err(failed(id)) {
            // Completed before, perhaps by a request whose answer was lost: the object tells.
            Err(error @ StoreError::NotFound { .. }) => match self.head(key).await? {
                Some(head) if parts_etag(parts).is_some_and(|etag| etag == head.etag) => Ok(head.etag),
                _ => Err(error),
            },
            done => done.map(|done| unquoted(done.e_tag())),
        }
    }

    /// Throws an upload's parts away.
    pub async fn abort(&self, key: &str, id: &str) -> Result<()> {
        let request = self.inside.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(id);
        request.send().await.map(drop).map_err(failed(id))
    }

    /// Uploads on their way whose key begins so, all pages.
    pub async fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        let (mut uploads, mut key_marker, mut id_marker) = (Vec::new(), None, None);
        loop {
            let request = self.inside.list_multipart_uploads().bucket(&self.bucket).prefix(prefix);
            let request = request.set_key_marker(key_marker).set_upload_id_marker(id_marker);
            let answer = request.send().await.map_err(failed(prefix))?;
            uploads.extend(answer.uploads().iter().filter_map(|upload| {
                Some(Unfinished {
                    key: upload.key()?.to_owned(),
                    id: upload.upload_id()?.to_owned(),
                    created: time(upload.initiated()),
                })
            }));
            key_marker = answer.next_key_marker().map(str::to_owned);
            id_marker = answer.next_upload_id_marker().map(str::to_owned);
            if answer.is_truncated() != Some(true) || key_marker.is_none() {
                return Ok(uploads);
            }
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

fn client(config: &StorageConfig, endpoint: &Url, http: SharedHttpClient) -> Client {
    let credentials =
        aws_sdk_s3::config::Credentials::new(&config.access_key, &config.secret_key, None, None, "loopmaster");
    let config = Config::builder()
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
        .build();
    Client::from_conf(config)
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

/// The ETag S3 gives an object of such parts, where ETags are MD5s.
fn parts_etag(parts: &[PartTag]) -> Option<String> {
    let mut md5 = Md5::new();
    for part in parts {
        if part.etag.len() != 32 || !part.etag.is_ascii() {
            return None;
        }
        let digest: Option<Vec<u8>> =
            (0..16).map(|at| u8::from_str_radix(&part.etag[2 * at..2 * at + 2], 16).ok()).collect();
        md5.update(&digest?);
    }
    Some(format!("{}-{}", crate::digest::hex(&md5.finalize()), parts.len()))
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
