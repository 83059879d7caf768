//! Objects: written, read, copied, deleted.

use super::super::LARGEST_PART;
use super::super::receive::{Announced, body, receive, stream};
use super::super::record::{About, Condition, Record, Sums, disk_error, now, timestamp};
use super::conditions::{Conditions, span};
use super::{Answer, Objects, PAGE, condition, content_length, quoted, trailed, trailers};
#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "three types of each operation"))]
use s3s::dto::*;
use s3s::{S3Request, S3Response, s3_error};
use std::sync::Arc;
use uuid::Uuid;

pub(super) async fn put_object(service: &Objects, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
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
        receive(&service.disk, &input.bucket, bytes, (Some(length), LARGEST_PART), &announced, None, |_| Ok(()))
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
    service.run(move |disk| disk.put(&input.bucket, &record, vec![received.blob], &condition)).await?;
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

pub(super) async fn get_object(service: &Objects, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
    let input = request.input;
    let reading = Arc::new(service.read(input.bucket, input.key).await?);
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
    let sums =
        if content_range.is_none() && input.checksum_mode.is_some() { record.sums.clone() } else { Sums::default() };
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

pub(super) async fn head_object(service: &Objects, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
    let input = request.input;
    let record = Arc::clone(&service.read(input.bucket, input.key).await?.record);
    let conditions = Conditions {
        matches: input.if_match,
        none_match: input.if_none_match,
        modified_since: input.if_modified_since,
        unmodified_since: input.if_unmodified_since,
    };
    conditions.check(&record)?;
    let (span, content_range, parts_count) = span(&record, input.range, input.part_number)?;
    let about = record.about.clone();
    let sums =
        if content_range.is_none() && input.checksum_mode.is_some() { record.sums.clone() } else { Sums::default() };
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

pub(super) async fn delete_object(
    service: &Objects,
    request: S3Request<DeleteObjectInput>,
) -> Answer<DeleteObjectOutput> {
    let DeleteObjectInput { bucket, key, if_match, .. } = request.input;
    let over = condition(if_match, None)?.over;
    service
        .run(move |disk| {
            disk.has_bucket(&bucket)?;
            disk.delete(&bucket, &key, over)
        })
        .await?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub(super) async fn delete_objects(
    service: &Objects,
    request: S3Request<DeleteObjectsInput>,
) -> Answer<DeleteObjectsOutput> {
    let DeleteObjectsInput { bucket, delete, .. } = request.input;
    if delete.objects.len() > PAGE as usize {
        return Err(s3_error!(MalformedXML, "At most {PAGE} keys at once"));
    }
    let quiet = delete.quiet.unwrap_or(false);
    let (deleted, errors) = service
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

pub(super) async fn copy_object(service: &Objects, request: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
    let input = request.input;
    let conditions = Conditions {
        matches: input.copy_source_if_match,
        none_match: input.copy_source_if_none_match,
        modified_since: input.copy_source_if_modified_since,
        unmodified_since: input.copy_source_if_unmodified_since,
    };
    let source = service.source(&input.copy_source, &conditions).await?;
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
    let record = service
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
