//! The operations of S3 on the disk.

use super::arrivals::Arrival;
use super::disk::{Disk, Listed, Reading};
use super::keys::Walk;
use super::multipart::{Growth, Part, Upload};
use super::receive::{Announced, blocking, body, receive, stream};
use super::record::{About, Condition, Piece, Record, Sums, disk_error, now, timestamp};
use super::signed;
use super::{LARGEST_PART, SMALLEST_PART};
use crate::digest::hex;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use s3s::crypto::{Checksum as _, Md5};
#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "three types of each operation"))]
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, TrailingHeaders, s3_error};
use std::collections::BTreeMap;
use std::ops::Range as Span;
use std::sync::Arc;
use uuid::Uuid;

/// Most keys, parts or uploads in one answer.
const PAGE: i32 = 1000;
/// Most parts of an upload.
const PARTS: i32 = 10_000;

/// S3 on a folder.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) disk: Arc<Disk>,
    pub(super) region: String,
}

type Answer<T> = S3Result<S3Response<T>>;

impl Objects {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Disk>) -> S3Result<T> + Send + 'static,
    ) -> S3Result<T> {
        let disk = Arc::clone(&self.disk);
        blocking(move || work(&disk)).await
    }

    async fn read(&self, bucket: String, key: String) -> S3Result<Reading> {
        self.run(move |disk| disk.read(&bucket, &key)).await
    }

    /// The object a copy comes from.
    async fn source(&self, source: &CopySource, conditions: &Conditions) -> S3Result<Reading> {
        let CopySource::Bucket { bucket, key, version_id: None } = source else {
            return Err(s3_error!(NotImplemented, "Copies come from a bucket and a key, without versions"));
        };
        let reading = self.read(bucket.to_string(), key.to_string()).await?;
        match conditions.check(&reading.record) {
            Err(error) if error.code() == &s3s::S3ErrorCode::NotModified => {
                Err(s3_error!(PreconditionFailed, "A condition on the source does not hold"))
            }
            checked => checked.map(|()| reading),
        }
    }
}

/// The conditions of RFC 9110 on reading.
#[derive(Debug, Default)]
struct Conditions {
    matches: Option<ETagCondition>,
    none_match: Option<ETagCondition>,
    modified_since: Option<Timestamp>,
    unmodified_since: Option<Timestamp>,
}

impl Conditions {
    fn check(&self, record: &Record) -> S3Result<()> {
        let is = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == record.etag,
        };
        // HTTP dates have whole seconds.
        let modified = timestamp(record.modified / 1000 * 1000);
        let failed = || s3_error!(PreconditionFailed, "The object has the ETag {}", record.etag);
        match (&self.matches, &self.unmodified_since) {
            (Some(condition), _) if !is(condition) => return Err(failed()),
            (None, Some(since)) if modified > *since => return Err(failed()),
            _ => {}
        }
        let unchanged = match (&self.none_match, &self.modified_since) {
            (Some(condition), _) => is(condition),
            (None, Some(since)) => modified <= *since,
            (None, None) => false,
        };
        if unchanged {
            let mut error = s3_error!(NotModified);
            let mut headers = hyper::HeaderMap::new();
            if let Ok(etag) = format!("\"{}\"", record.etag).parse() {
                headers.insert(hyper::header::ETAG, etag);
            }
            error.set_headers(headers);
            return Err(error);
        }
        Ok(())
    }
}

/// The stretch asked for: by range, by part, or all of it; with the number of parts where one was asked for.
fn span(
    record: &Record,
    range: Option<Range>,
    part: Option<i32>,
) -> S3Result<(Span<u64>, Option<String>, Option<i32>)> {
    let (span, parts) = match (range, part) {
        (Some(_), Some(_)) => return Err(s3_error!(InvalidRequest, "Ask for a range or for a part, not for both")),
        (None, None) => return Ok((0..record.bytes, None, None)),
        (Some(range), None) => {
            let span = range.check(record.bytes).map_err(|_| {
                s3_error!(InvalidRange, "The object has {} bytes: the range lies outside", record.bytes)
            })?;
            (span, None)
        }
        (None, Some(number)) => {
            let count = record.pieces.len().max(1) as i32;
            if !(1..=count).contains(&number) {
                return Err(s3_error!(InvalidRange, "The object has {count} parts"));
            }
            let before = record.pieces.iter().take(number as usize - 1).map(|piece| piece.bytes).sum();
            let length = record.pieces.get(number as usize - 1).map_or(0, |piece| piece.bytes);
            (before..before + length, record.upload.is_some().then_some(count))
        }
    };
    let shown = format!("bytes {}-{}/{}", span.start, span.end.saturating_sub(1), record.bytes);
    Ok((span, Some(shown), parts))
}

fn condition(if_match: Option<ETagCondition>, if_none_match: Option<&ETagCondition>) -> S3Result<Condition> {
    let absent = match if_none_match {
        None => false,
        Some(ETagCondition::Any) => true,
        Some(ETagCondition::ETag(_)) => {
            return Err(s3_error!(NotImplemented, "If-None-Match of a write can only be *"));
        }
    };
    let over = if_match.map(|condition| condition.into_etag().map_or_else(String::new, ETag::into_value));
    Ok(Condition { absent, over })
}

fn content_length(length: Option<i64>) -> S3Result<u64> {
    length
        .and_then(|length| u64::try_from(length).ok())
        .ok_or_else(|| s3_error!(MissingContentLength, "Content-Length is missing"))
}

/// Headers that say what follows behind the body.
fn trailers(headers: &hyper::HeaderMap) -> String {
    headers.get("x-amz-trailer").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn trailed(announced: &mut Announced, trailers: Option<&TrailingHeaders>) {
    if let Some(trailers) = trailers {
        trailers.read(|headers| announced.trailed(headers));
    }
}

fn part_number(number: i32) -> S3Result<u16> {
    if (1..=PARTS).contains(&number) {
        return Ok(number as u16);
    }
    Err(s3_error!(InvalidArgument, "Part numbers go from 1 to {PARTS}, not {number}"))
}

fn page(asked: Option<i32>) -> S3Result<i32> {
    match asked {
        Some(asked) if asked < 0 => Err(s3_error!(InvalidArgument, "{asked} is less than nothing")),
        asked => Ok(asked.unwrap_or(PAGE).min(PAGE)),
    }
}

/// The ETag of an object of parts: the MD5 of their MD5s and how many they are.
fn parts_etag<'a>(etags: impl Iterator<Item = &'a str>) -> S3Result<String> {
    let (mut md5, mut count) = (Md5::new(), 0);
    for etag in etags {
        let digest: Option<Vec<u8>> = (0..16)
            .map(|at| etag.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()))
            .collect();
        md5.update(
            &digest.filter(|_| etag.len() == 32).ok_or_else(|| s3_error!(InvalidPart, "{etag} is no part's ETag"))?,
        );
        count += 1;
    }
    Ok(format!("{}-{count}", hex(&md5.finalize())))
}

/// Holds the list of a completion against the parts that are here; without them (completed before) only the ETags count.
fn choose(
    list: &[CompletedPart],
    here: Option<&BTreeMap<u16, Part>>,
    size: Option<i64>,
) -> S3Result<(String, Vec<Piece>)> {
    if list.is_empty() {
        return Err(s3_error!(InvalidRequest, "A completion names at least one part"));
    }
    let mut before = 0;
    for part in list {
        let number = part_number(part.part_number.unwrap_or(0))?;
        if number <= before {
            return Err(s3_error!(InvalidPartOrder, "Part {number} is listed behind part {before}"));
        }
        before = number;
    }
    let (mut etags, mut pieces) = (Vec::new(), Vec::new());
    for (at, part) in list.iter().enumerate() {
        let number = part_number(part.part_number.unwrap_or(0))?;
        let etag = part.e_tag.as_ref().map(ETag::value).unwrap_or_default();
        etags.push(etag);
        let Some(here) = here else { continue };
        let found = here.get(&number).ok_or_else(|| s3_error!(InvalidPart, "Part {number} was never uploaded"))?;
        if found.etag != etag {
            return Err(s3_error!(InvalidPart, "Part {number} has the ETag {}, not {etag}", found.etag));
        }
        let given = [
            (&part.checksum_crc32, &found.sums.crc32),
            (&part.checksum_crc32c, &found.sums.crc32c),
            (&part.checksum_crc64nvme, &found.sums.crc64nvme),
            (&part.checksum_sha1, &found.sums.sha1),
            (&part.checksum_sha256, &found.sums.sha256),
        ];
        if given.into_iter().any(|(given, found)| given.is_some() && found.is_some() && given != found) {
            return Err(s3_error!(InvalidPart, "Part {number} has another checksum"));
        }
        if found.bytes < SMALLEST_PART && at + 1 < list.len() {
            return Err(s3_error!(
                EntityTooSmall,
                "Part {number} has {} bytes; all but the last need {SMALLEST_PART}",
                found.bytes
            ));
        }
        pieces.push(Piece { blob: found.blob.clone(), bytes: found.bytes });
    }
    let bytes: u64 = pieces.iter().map(|piece| piece.bytes).sum();
    if here.is_some() && size.is_some_and(|size| u64::try_from(size) != Ok(bytes)) {
        return Err(s3_error!(InvalidRequest, "The parts have {bytes} bytes, not {}", size.unwrap_or_default()));
    }
    Ok((parts_etag(etags.into_iter())?, pieces))
}

#[expect(clippy::unnecessary_wraps, reason = "that is how answers have it")]
fn quoted(etag: &str) -> Option<ETag> {
    Some(ETag::Strong(etag.to_owned()))
}

fn urlencoded(text: String, encoding: Option<&EncodingType>) -> String {
    match encoding {
        Some(encoding) if encoding.as_str() == EncodingType::URL => super::urlencode(&text),
        _ => text,
    }
}

fn nonempty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A page of keys and common prefixes.
#[derive(Default)]
struct Listing {
    contents: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
    last: Option<String>,
    more: bool,
}

impl Listing {
    fn new(listed: Vec<Listed>, more: bool, encoding: Option<&EncodingType>) -> Self {
        let mut page = Self { last: listed.last().map(|last| last.key().to_owned()), more, ..Self::default() };
        for entry in listed {
            match entry {
                Listed::Common(prefix) => {
                    page.prefixes.push(CommonPrefix { prefix: Some(urlencoded(prefix, encoding)) });
                }
                Listed::Object(record) => page.contents.push(Object {
                    e_tag: quoted(&record.etag),
                    key: Some(urlencoded(record.key, encoding)),
                    last_modified: Some(timestamp(record.modified)),
                    size: Some(record.bytes as i64),
                    storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                    ..Object::default()
                }),
            }
        }
        page
    }
}

impl Objects {
    async fn listing(
        &self,
        bucket: String,
        (prefix, after, delimiter): (Option<String>, String, Option<String>),
        limit: i32,
        encoding: Option<&EncodingType>,
    ) -> S3Result<Listing> {
        // A common prefix that ended the last page is not gone into again.
        let past = delimiter.as_ref().filter(|delimiter| after.ends_with(*delimiter)).map(|_| after.clone());
        let walk = Walk { prefix: prefix.unwrap_or_default(), after, past };
        if limit == 0 {
            self.run(move |disk| disk.has_bucket(&bucket)).await?;
            return Ok(Listing::default());
        }
        let (listed, more) =
            self.run(move |disk| disk.list(&bucket, walk, delimiter.as_deref(), limit as usize)).await?;
        Ok(Listing::new(listed, more, encoding))
    }
}

#[async_trait::async_trait]
impl S3 for Objects {
    // ── Buckets ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
        let buckets = self.run(|disk| disk.buckets().map_err(disk_error)).await?;
        let buckets = buckets.into_iter().map(|(name, created)| Bucket {
            name: Some(name),
            creation_date: Some(timestamp(created)),
            ..Bucket::default()
        });
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets.collect()), ..Default::default() }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.run(move |disk| disk.has_bucket(&request.input.bucket)).await?;
        Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(self.region.clone()), ..Default::default() }))
    }

    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        let location = format!("/{}", request.input.bucket);
        self.run(move |disk| disk.create_bucket(&request.input.bucket)).await?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(location) }))
    }

    async fn delete_bucket(&self, request: S3Request<DeleteBucketInput>) -> Answer<DeleteBucketOutput> {
        self.run(move |disk| disk.delete_bucket(&request.input.bucket)).await?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    async fn get_bucket_location(&self, request: S3Request<GetBucketLocationInput>) -> Answer<GetBucketLocationOutput> {
        self.run(move |disk| disk.has_bucket(&request.input.bucket)).await?;
        // The first region of all is written as nothing.
        let location = (self.region != "us-east-1").then(|| BucketLocationConstraint::from(self.region.clone()));
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint: location }))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> Answer<GetBucketVersioningOutput> {
        self.run(move |disk| disk.has_bucket(&request.input.bucket)).await?;
        // Never has been switched on.
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    // ── Objects ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let behind = trailers(&request.headers);
        let input = request.input;
        if input.write_offset_bytes.is_some() {
            return Err(s3_error!(NotImplemented, "Objects are written whole"));
        }
        let condition = condition(input.if_match, input.if_none_match.as_ref())?;
        let length = content_length(input.content_length)?;
        let mut announced = Announced {
            md5: input.content_md5,
            sums: Sums {
                crc32: input.checksum_crc32,
                crc32c: input.checksum_crc32c,
                crc64nvme: input.checksum_crc64nvme,
                sha1: input.checksum_sha1,
                sha256: input.checksum_sha256,
            },
            trailers: behind,
        };
        let bytes = input.body.unwrap_or_else(|| s3s::Body::empty().into());
        let received =
            receive(&self.disk, &input.bucket, bytes, (Some(length), LARGEST_PART), &announced, None, |_| Ok(()))
                .await?;
        trailed(&mut announced, request.trailing_headers.as_ref());
        announced.check(&received)?;
        let record = Record {
            id: Uuid::new_v4().simple().to_string(),
            key: input.key,
            bytes: received.bytes,
            etag: received.etag(),
            modified: now(),
            about: About {
                content_type: input.content_type,
                cache_control: input.cache_control,
                content_disposition: input.content_disposition,
                content_encoding: input.content_encoding,
                content_language: input.content_language,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            },
            sums: received.sums.clone(),
            upload: None,
            pieces: vec![received.piece()],
        };
        let (etag, sums) = (quoted(&record.etag), record.sums.clone());
        self.run(move |disk| disk.put(&input.bucket, &record, vec![received.blob], &condition)).await?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: etag,
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            ..Default::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let input = request.input;
        let reading = Arc::new(self.read(input.bucket, input.key).await?);
        let record = Arc::clone(&reading.record);
        let conditions = Conditions {
            matches: input.if_match,
            none_match: input.if_none_match,
            modified_since: input.if_modified_since,
            unmodified_since: input.if_unmodified_since,
        };
        conditions.check(&record)?;
        let (span, content_range, parts_count) = span(&record, input.range, input.part_number)?;
        let length = span.end - span.start;
        let about = record.about.clone();
        // A checksum of the whole is of no use beside a part of it.
        let sums = if content_range.is_none() && input.checksum_mode.is_some() {
            record.sums.clone()
        } else {
            Sums::default()
        };
        let bytes = stream(reading, span).await?;
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(body(bytes)),
            cache_control: about.cache_control,
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            content_disposition: about.content_disposition,
            content_encoding: about.content_encoding,
            content_language: about.content_language,
            content_length: Some(length as i64),
            content_range,
            content_type: about.content_type,
            e_tag: quoted(&record.etag),
            last_modified: Some(timestamp(record.modified)),
            metadata: Some(about.metadata.into_iter().collect()),
            parts_count,
            ..Default::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let input = request.input;
        let record = Arc::clone(&self.read(input.bucket, input.key).await?.record);
        let conditions = Conditions {
            matches: input.if_match,
            none_match: input.if_none_match,
            modified_since: input.if_modified_since,
            unmodified_since: input.if_unmodified_since,
        };
        conditions.check(&record)?;
        let (span, content_range, parts_count) = span(&record, input.range, input.part_number)?;
        let about = record.about.clone();
        let sums = if content_range.is_none() && input.checksum_mode.is_some() {
            record.sums.clone()
        } else {
            Sums::default()
        };
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: about.cache_control,
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            content_disposition: about.content_disposition,
            content_encoding: about.content_encoding,
            content_language: about.content_language,
            content_length: Some((span.end - span.start) as i64),
            content_range,
            content_type: about.content_type,
            e_tag: quoted(&record.etag),
            last_modified: Some(timestamp(record.modified)),
            metadata: Some(about.metadata.into_iter().collect()),
            parts_count,
            ..Default::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        let DeleteObjectInput { bucket, key, if_match, .. } = request.input;
        let over = condition(if_match, None)?.over;
        self.run(move |disk| {
            disk.has_bucket(&bucket)?;
            disk.delete(&bucket, &key, over)
        })
        .await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        let DeleteObjectsInput { bucket, delete, .. } = request.input;
        if delete.objects.len() > PAGE as usize {
            return Err(s3_error!(MalformedXML, "At most {PAGE} keys at once"));
        }
        let quiet = delete.quiet.unwrap_or(false);
        let (deleted, errors) = self
            .run(move |disk| {
                disk.has_bucket(&bucket)?;
                let (mut deleted, mut errors) = (Vec::new(), Vec::new());
                for object in delete.objects {
                    let over = object.e_tag.map(ETag::into_value);
                    match disk.delete(&bucket, &object.key, over) {
                        Ok(()) => deleted.push(DeletedObject { key: Some(object.key), ..Default::default() }),
                        Err(error) => errors.push(Error {
                            code: Some(error.code().as_str().to_owned()),
                            key: Some(object.key),
                            message: error.message().map(str::to_owned),
                            version_id: None,
                        }),
                    }
                }
                Ok((deleted, errors))
            })
            .await?;
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..Default::default()
        }))
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        let input = request.input;
        let conditions = Conditions {
            matches: input.copy_source_if_match,
            none_match: input.copy_source_if_none_match,
            modified_since: input.copy_source_if_modified_since,
            unmodified_since: input.copy_source_if_unmodified_since,
        };
        let source = self.source(&input.copy_source, &conditions).await?;
        let replace = input.metadata_directive.as_ref().is_some_and(|how| how.as_str() == MetadataDirective::REPLACE);
        let itself = matches!(&input.copy_source, CopySource::Bucket { bucket, key, .. }
            if **bucket == *input.bucket && **key == *input.key);
        if itself && !replace {
            return Err(s3_error!(InvalidRequest, "A copy onto itself needs new metadata"));
        }
        let about = if replace {
            About {
                content_type: input.content_type,
                cache_control: input.cache_control,
                content_disposition: input.content_disposition,
                content_encoding: input.content_encoding,
                content_language: input.content_language,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            }
        } else {
            source.record.about.clone()
        };
        let (bucket, key) = (input.bucket, input.key);
        let record = self
            .run(move |disk| {
                disk.has_bucket(&bucket)?;
                let (pieces, blobs) = disk.link(&source, &bucket).map_err(disk_error)?;
                let from = &source.record;
                let record = Record {
                    id: Uuid::new_v4().simple().to_string(),
                    key,
                    bytes: from.bytes,
                    etag: from.etag.clone(),
                    modified: now(),
                    about,
                    sums: from.sums.clone(),
                    upload: None,
                    pieces,
                };
                disk.put(&bucket, &record, blobs, &Condition::default()).map(|()| record)
            })
            .await?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: quoted(&record.etag),
                last_modified: Some(timestamp(record.modified)),
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        let input = request.input;
        let after = match &input.continuation_token {
            Some(token) => BASE64_URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|key| String::from_utf8(key).ok())
                .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token is not one of ours"))?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let limit = page(input.max_keys)?;
        let (delimiter, encoding) = (nonempty(input.delimiter), input.encoding_type);
        let place = (input.prefix.clone(), after, delimiter.clone());
        let listing = self.listing(input.bucket.clone(), place, limit, encoding.as_ref()).await?;
        let token = listing.last.filter(|_| listing.more).map(|last| BASE64_URL_SAFE_NO_PAD.encode(last));
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(urlencoded(input.prefix.unwrap_or_default(), encoding.as_ref())),
            max_keys: Some(limit),
            key_count: Some((listing.contents.len() + listing.prefixes.len()) as i32),
            continuation_token: input.continuation_token,
            is_truncated: Some(listing.more),
            next_continuation_token: token,
            contents: Some(listing.contents),
            common_prefixes: Some(listing.prefixes),
            delimiter: delimiter.map(|delimiter| urlencoded(delimiter, encoding.as_ref())),
            start_after: input.start_after.map(|after| urlencoded(after, encoding.as_ref())),
            encoding_type: encoding,
            ..Default::default()
        }))
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
        let input = request.input;
        let limit = page(input.max_keys)?;
        let (delimiter, encoding) = (nonempty(input.delimiter), input.encoding_type);
        let place = (input.prefix.clone(), input.marker.clone().unwrap_or_default(), delimiter.clone());
        let listing = self.listing(input.bucket.clone(), place, limit, encoding.as_ref()).await?;
        let next = listing.last.filter(|_| listing.more && delimiter.is_some());
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(urlencoded(input.prefix.unwrap_or_default(), encoding.as_ref())),
            marker: Some(urlencoded(input.marker.unwrap_or_default(), encoding.as_ref())),
            max_keys: Some(limit),
            is_truncated: Some(listing.more),
            contents: Some(listing.contents),
            common_prefixes: Some(listing.prefixes),
            delimiter: delimiter.map(|delimiter| urlencoded(delimiter, encoding.as_ref())),
            next_marker: next.map(|next| urlencoded(next, encoding.as_ref())),
            encoding_type: encoding,
            ..Default::default()
        }))
    }

    // ── Multipart uploads ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let input = request.input;
        let upload = Upload {
            key: input.key.clone(),
            created: now(),
            about: About {
                content_type: input.content_type,
                cache_control: input.cache_control,
                content_disposition: input.content_disposition,
                content_encoding: input.content_encoding,
                content_language: input.content_language,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            },
        };
        let bucket = input.bucket.clone();
        let id = self.run(move |disk| disk.create_upload(&bucket, &upload)).await?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        let behind = trailers(&request.headers);
        let input = request.input;
        let number = part_number(input.part_number)?;
        let length = content_length(input.content_length)?;
        let mut announced = Announced {
            md5: input.content_md5,
            sums: Sums {
                crc32: input.checksum_crc32,
                crc32c: input.checksum_crc32c,
                crc64nvme: input.checksum_crc64nvme,
                sha1: input.checksum_sha1,
                sha256: input.checksum_sha256,
            },
            trailers: behind,
        };
        let place = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
        let known = move |disk: &Disk| disk.find_upload(&place.0, &place.1, &place.2).map(drop);
        let bytes = input.body.unwrap_or_else(|| s3s::Body::empty().into());
        let limit = signed::most_bytes(request.uri.query())?;
        let most = limit.unwrap_or(LARGEST_PART).min(LARGEST_PART);
        let arrival = signed::by_url(request.uri.query())
            .then(|| Arrival::begin(&self.disk.arrivals, format!("{}/{}/{number}", input.bucket, input.upload_id)));
        let received =
            receive(&self.disk, &input.bucket, bytes, (Some(length), most), &announced, arrival.as_ref(), known)
                .await?;
        trailed(&mut announced, request.trailing_headers.as_ref());
        announced.check(&received)?;
        let part = Part {
            blob: received.blob.name.clone(),
            bytes: received.bytes,
            etag: received.etag(),
            modified: now(),
            sums: received.sums,
        };
        let (etag, sums) = (quoted(&part.etag), part.sums.clone());
        let growth = if limit.is_some() { Growth::Refused } else { Growth::Allowed };
        self.run(move |disk| {
            disk.put_part(&input.bucket, (&input.key, &input.upload_id, number), received.blob, part, growth)
        })
        .await?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: etag,
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            ..Default::default()
        }))
    }

    async fn upload_part_copy(&self, request: S3Request<UploadPartCopyInput>) -> Answer<UploadPartCopyOutput> {
        let input = request.input;
        let number = part_number(input.part_number)?;
        let conditions = Conditions {
            matches: input.copy_source_if_match,
            none_match: input.copy_source_if_none_match,
            modified_since: input.copy_source_if_modified_since,
            unmodified_since: input.copy_source_if_unmodified_since,
        };
        let source = Arc::new(self.source(&input.copy_source, &conditions).await?);
        let range = input.copy_source_range.as_deref().map(Range::parse).transpose();
        let range = range.map_err(|_| s3_error!(InvalidArgument, "x-amz-copy-source-range is bytes=FIRST-LAST"))?;
        let (span, ..) = span(&source.record, range, None)?;
        let place = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
        let known = move |disk: &Disk| disk.find_upload(&place.0, &place.1, &place.2).map(drop);
        let length = span.end - span.start;
        let bytes = stream(source, span).await?;
        let announced = Announced::default();
        let received =
            receive(&self.disk, &input.bucket, bytes, (Some(length), LARGEST_PART), &announced, None, known).await?;
        let part = Part {
            blob: received.blob.name.clone(),
            bytes: received.bytes,
            etag: received.etag(),
            modified: now(),
            sums: Sums::default(),
        };
        let result = CopyPartResult {
            e_tag: quoted(&part.etag),
            last_modified: Some(timestamp(part.modified)),
            ..Default::default()
        };
        self.run(move |disk| {
            disk.put_part(&input.bucket, (&input.key, &input.upload_id, number), received.blob, part, Growth::Allowed)
        })
        .await?;
        Ok(S3Response::new(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() }))
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
        let input = request.input;
        let limit = page(input.max_parts)?;
        let after = input.part_number_marker.unwrap_or(0);
        let place = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
        let all = self.run(move |disk| disk.find_upload(&place.0, &place.1, &place.2)).await?.parts;
        let mut behind = all.into_iter().filter(|(number, _)| i32::from(*number) > after);
        let parts: Vec<s3s::dto::Part> = behind
            .by_ref()
            .take(limit as usize)
            .map(|(number, part)| s3s::dto::Part {
                part_number: Some(number.into()),
                e_tag: quoted(&part.etag),
                size: Some(part.bytes as i64),
                last_modified: Some(timestamp(part.modified)),
                checksum_crc32: part.sums.crc32,
                checksum_crc32c: part.sums.crc32c,
                checksum_crc64nvme: part.sums.crc64nvme,
                checksum_sha1: part.sums.sha1,
                checksum_sha256: part.sums.sha256,
            })
            .collect();
        let more = limit > 0 && behind.next().is_some();
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            part_number_marker: Some(after),
            next_part_number_marker: parts.last().and_then(|last| last.part_number).filter(|_| more),
            max_parts: Some(limit),
            is_truncated: Some(more),
            parts: Some(parts),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            ..Default::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        let input = request.input;
        if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
            return Err(s3_error!(NotImplemented, "Uploads are listed without a delimiter"));
        }
        let limit = page(input.max_uploads)?;
        let bucket = input.bucket.clone();
        let mut all = self.run(move |disk| disk.uploads(&bucket)).await?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let key_marker = input.key_marker.clone().unwrap_or_default();
        // Uploads of one key come in the order of their age; behind the marker is behind that upload.
        let mut reached = false;
        all.retain(|(id, upload)| {
            let same = upload.key == key_marker;
            let behind = upload.key > key_marker || (same && reached);
            reached |= same && input.upload_id_marker.as_ref() == Some(id);
            behind && upload.key.starts_with(&prefix)
        });
        let more = limit > 0 && all.len() > limit as usize;
        all.truncate(limit as usize);
        let encoding = input.encoding_type;
        let last = all.last().filter(|_| more).cloned();
        let uploads = all.into_iter().map(|(id, upload)| MultipartUpload {
            key: Some(urlencoded(upload.key, encoding.as_ref())),
            upload_id: Some(id),
            initiated: Some(timestamp(upload.created)),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            ..Default::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: Some(urlencoded(prefix, encoding.as_ref())),
            key_marker: Some(urlencoded(key_marker, encoding.as_ref())),
            upload_id_marker: input.upload_id_marker,
            max_uploads: Some(limit),
            is_truncated: Some(more),
            uploads: Some(uploads.collect()),
            next_key_marker: last.as_ref().map(|(_, upload)| urlencoded(upload.key.clone(), encoding.as_ref())),
            next_upload_id_marker: last.map(|(id, _)| id),
            encoding_type: encoding,
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let input = request.input;
        let condition = condition(input.if_match, input.if_none_match.as_ref())?;
        let list = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let place = (input.bucket.clone(), input.key.clone(), input.upload_id);
        let record = self
            .run(move |disk| {
                disk.complete(&place.0, (&place.1, &place.2), &condition, |here| {
                    choose(&list, here, input.mpu_object_size)
                })
            })
            .await?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, super::urlencode_path(&input.key))),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: quoted(&record.etag),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let AbortMultipartUploadInput { bucket, key, upload_id, .. } = request.input;
        self.run(move |disk| disk.abort(&bucket, &key, &upload_id)).await?;
        Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), hyper::StatusCode::NO_CONTENT))
    }
}
