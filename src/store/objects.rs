//! Objects: stored, read, copied, listed, deleted.

use super::error::chain;
use super::{
    Head, Listed, Page, PartTag, Result, Store, StoreError, bytes_of, encode_path, failed, patient, time, unquoted,
};
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use std::ops::Range;
use std::path::Path;
use tokio::io::AsyncWriteExt;

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

impl Store {
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
}
