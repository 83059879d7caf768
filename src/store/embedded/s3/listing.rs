//! Keys and common prefixes, a page at a time.

use super::super::disk::Listed;
use super::super::keys::Walk;
use super::super::record::timestamp;
use super::{Answer, Objects, nonempty, page, quoted, urlencoded};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "three types of each operation"))]
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

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

pub(super) async fn list_objects_v2(
    service: &Objects,
    request: S3Request<ListObjectsV2Input>,
) -> Answer<ListObjectsV2Output> {
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
    let listing = service.listing(input.bucket.clone(), place, limit, encoding.as_ref()).await?;
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

pub(super) async fn list_objects(service: &Objects, request: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
    let input = request.input;
    let limit = page(input.max_keys)?;
    let (delimiter, encoding) = (nonempty(input.delimiter), input.encoding_type);
    let place = (input.prefix.clone(), input.marker.clone().unwrap_or_default(), delimiter.clone());
    let listing = service.listing(input.bucket.clone(), place, limit, encoding.as_ref()).await?;
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
