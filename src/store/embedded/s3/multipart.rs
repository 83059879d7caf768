//! Uploads in parts.

use super::super::arrivals::Arrival;
use super::super::disk::Disk;
use super::super::multipart::{Growth, Part, Upload};
use super::super::receive::{Announced, receive, stream};
use super::super::record::{About, Piece, Sums, now, timestamp};
use super::super::{LARGEST_PART, SMALLEST_PART, signed};
use super::conditions::{Conditions, span};
use super::{Answer, Objects, PARTS, condition, content_length, page, quoted, trailed, trailers, urlencoded};
use crate::digest::hex;
use s3s::crypto::{Checksum as _, Md5};
#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "three types of each operation"))]
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use std::collections::BTreeMap;
use std::sync::Arc;

fn part_number(number: i32) -> S3Result<u16> {
    if (1..=PARTS).contains(&number) {
        return Ok(number as u16);
    }
    Err(s3_error!(InvalidArgument, "Part numbers go from 1 to {PARTS}, not {number}"))
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

pub(super) async fn create_multipart_upload(
    service: &Objects,
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
    let id = service.run(move |disk| disk.create_upload(&bucket, &upload)).await?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: input.checksum_type,
        ..Default::default()
    }))
}

pub(super) async fn upload_part(service: &Objects, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
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
        .then(|| Arrival::begin(&service.disk.arrivals, format!("{}/{}/{number}", input.bucket, input.upload_id)));
    let received =
        receive(&service.disk, &input.bucket, bytes, (Some(length), most), &announced, arrival.as_ref(), known).await?;
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
    service
        .run(move |disk| {
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

pub(super) async fn upload_part_copy(
    service: &Objects,
    request: S3Request<UploadPartCopyInput>,
) -> Answer<UploadPartCopyOutput> {
    let input = request.input;
    let number = part_number(input.part_number)?;
    let conditions = Conditions {
        matches: input.copy_source_if_match,
        none_match: input.copy_source_if_none_match,
        modified_since: input.copy_source_if_modified_since,
        unmodified_since: input.copy_source_if_unmodified_since,
    };
    let source = Arc::new(service.source(&input.copy_source, &conditions).await?);
    let range = input.copy_source_range.as_deref().map(Range::parse).transpose();
    let range = range.map_err(|_| s3_error!(InvalidArgument, "x-amz-copy-source-range is bytes=FIRST-LAST"))?;
    let (span, ..) = span(&source.record, range, None)?;
    let place = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
    let known = move |disk: &Disk| disk.find_upload(&place.0, &place.1, &place.2).map(drop);
    let length = span.end - span.start;
    let bytes = stream(source, span).await?;
    let announced = Announced::default();
    let received =
        receive(&service.disk, &input.bucket, bytes, (Some(length), LARGEST_PART), &announced, None, known).await?;
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
    service
        .run(move |disk| {
            disk.put_part(&input.bucket, (&input.key, &input.upload_id, number), received.blob, part, Growth::Allowed)
        })
        .await?;
    Ok(S3Response::new(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() }))
}

pub(super) async fn list_parts(service: &Objects, request: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
    let input = request.input;
    let limit = page(input.max_parts)?;
    let after = input.part_number_marker.unwrap_or(0);
    let place = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
    let all = service.run(move |disk| disk.find_upload(&place.0, &place.1, &place.2)).await?.parts;
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

pub(super) async fn list_multipart_uploads(
    service: &Objects,
    request: S3Request<ListMultipartUploadsInput>,
) -> Answer<ListMultipartUploadsOutput> {
    let input = request.input;
    if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(s3_error!(NotImplemented, "Uploads are listed without a delimiter"));
    }
    let limit = page(input.max_uploads)?;
    let bucket = input.bucket.clone();
    let mut all = service.run(move |disk| disk.uploads(&bucket)).await?;
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

pub(super) async fn complete_multipart_upload(
    service: &Objects,
    request: S3Request<CompleteMultipartUploadInput>,
) -> Answer<CompleteMultipartUploadOutput> {
    let input = request.input;
    let condition = condition(input.if_match, input.if_none_match.as_ref())?;
    let list = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    let place = (input.bucket.clone(), input.key.clone(), input.upload_id);
    let record = service
        .run(move |disk| {
            disk.complete(&place.0, (&place.1, &place.2), &condition, |here| choose(&list, here, input.mpu_object_size))
        })
        .await?;
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, super::super::urlencode_path(&input.key))),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: quoted(&record.etag),
        ..Default::default()
    }))
}

pub(super) async fn abort_multipart_upload(
    service: &Objects,
    request: S3Request<AbortMultipartUploadInput>,
) -> Answer<AbortMultipartUploadOutput> {
    let AbortMultipartUploadInput { bucket, key, upload_id, .. } = request.input;
    service.run(move |disk| disk.abort(&bucket, &key, &upload_id)).await?;
    Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), hyper::StatusCode::NO_CONTENT))
}
