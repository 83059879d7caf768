//! Uploads by browser form (POST policy). s3s would hold the file in memory; here it streams to the disk like any other.

use super::arrivals::Arrival;
use super::disk::Disk;
use super::receive::{Announced, blocking, receive};
use super::record::{About, Condition, Record, now};
use super::{LARGEST_PART, urlencode_path};
use crate::store::policy::{self, Credentials};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderValue, LOCATION};
use hyper::{Request, Response, StatusCode};
use s3s::dto::{PostResponse, Timestamp};
use s3s::post_policy::{PostPolicy, PostPolicyCondition};
use s3s::{Body, S3Error, S3Result, s3_error};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Most bytes of one field; policies of many conditions are a few KiB.
const FIELD: usize = 64 << 10;
/// Most fields.
const FIELDS: usize = 100;
/// They come within so long.
const FIELDS_WITHIN: Duration = Duration::from_mins(1);

/// The boundary, if this is such a form.
pub(super) fn boundary(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    multer::parse_boundary(kind).ok()
}

/// Takes a form: its fields up to the file, what the policy says about them, then the file.
pub(super) async fn post(
    disk: &Arc<Disk>,
    credentials: &Credentials,
    bucket: &str,
    request: Request<Body>,
) -> S3Result<Response<Body>> {
    let boundary =
        boundary(request.headers()).ok_or_else(|| s3_error!(MalformedPOSTRequest, "The form has no boundary"))?;
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let mut form = multer::Multipart::new(request.into_body().into_data_stream(), boundary);
    let (fields, file) = tokio::time::timeout(FIELDS_WITHIN, head(&mut form))
        .await
        .map_err(|_| s3_error!(RequestTimeout, "The fields took longer than {} s", FIELDS_WITHIN.as_secs()))??;
    let range = permitted(credentials, bucket, &fields, SystemTime::now())?;
    let file_name = file.file_name().unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
    let key = fields.get("key").map(|key| key.replace("${filename}", file_name)).unwrap_or_default();
    if key.is_empty() || key.len() > 1024 {
        return Err(s3_error!(InvalidArgument, "The key has {} bytes; 1 to 1024 are allowed", key.len()));
    }
    let kind = fields.get("content-type").cloned().or_else(|| file.content_type().map(ToString::to_string));
    let most = (*range.end()).min(LARGEST_PART);
    let arrival = Arrival::begin(&disk.arrivals, format!("{bucket}/{key}"));
    let received = receive(disk, bucket, file, (None, most), &Announced::default(), Some(&arrival), |_| Ok(())).await?;
    if received.bytes < *range.start() {
        return Err(s3_error!(
            EntityTooSmall,
            "{} bytes came; the policy asks for at least {}",
            received.bytes,
            range.start()
        ));
    }
    let metadata = fields
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("x-amz-meta-")?.to_owned(), value.clone())))
        .collect();
    let record = Record {
        id: Uuid::new_v4().simple().to_string(),
        key: key.clone(),
        bytes: received.bytes,
        etag: received.etag(),
        modified: now(),
        about: About {
            content_type: kind,
            cache_control: fields.get("cache-control").cloned(),
            content_disposition: fields.get("content-disposition").cloned(),
            content_encoding: fields.get("content-encoding").cloned(),
            content_language: fields.get("content-language").cloned(),
            metadata,
        },
        sums: received.sums.clone(),
        upload: None,
        pieces: vec![received.piece()],
    };
    let etag = format!("\"{}\"", record.etag);
    let (writer, place) = (Arc::clone(disk), bucket.to_owned());
    blocking(move || writer.put(&place, &record, vec![received.blob], &Condition::default())).await?;
    answer(&fields, &format!("http://{host}/{bucket}/{}", urlencode_path(&key)), bucket, &key, &etag)
}

/// The fields before the file, and the file.
async fn head<'a>(form: &mut multer::Multipart<'a>) -> S3Result<(BTreeMap<String, String>, multer::Field<'a>)> {
    let mut fields = BTreeMap::new();
    loop {
        let field = form.next_field().await.map_err(malformed)?;
        let mut field = field.ok_or_else(|| s3_error!(InvalidArgument, "The form has no field \"file\""))?;
        let name = field.name().unwrap_or_default().to_ascii_lowercase();
        if name == "file" {
            return Ok((fields, field));
        }
        let mut value = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(malformed)? {
            value.extend_from_slice(&chunk);
            if value.len() > FIELD {
                return Err(s3_error!(
                    MaxPostPreDataLengthExceededError,
                    "The field {name} has more than {FIELD} bytes"
                ));
            }
        }
        let value =
            String::from_utf8(value).map_err(|_| s3_error!(InvalidArgument, "The field {name} is not UTF-8"))?;
        // Said twice, one of them would go unchecked.
        if fields.insert(name.clone(), value).is_some() {
            return Err(s3_error!(InvalidArgument, "The field {name} comes twice"));
        }
        if fields.len() > FIELDS {
            return Err(s3_error!(MaxPostPreDataLengthExceededError, "More than {FIELDS} fields come before the file"));
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
fn malformed(error: multer::Error) -> S3Error {
    s3_error!(MalformedPOSTRequest, "The form cannot be read: {error}")
}

/// Whether the policy is ours, still good, and covers every field; how many bytes it allows.
fn permitted(
    credentials: &Credentials,
    bucket: &str,
    fields: &BTreeMap<String, String>,
    now: SystemTime,
) -> S3Result<RangeInclusive<u64>> {
    let field = |name: &str| {
        fields.get(name).map(String::as_str).ok_or_else(|| s3_error!(AccessDenied, "The form has no field {name}"))
    };
    let (policy, signature) = (field("policy")?, field("x-amz-signature")?);
    if field("x-amz-algorithm")? != policy::ALGORITHM {
        return Err(s3_error!(InvalidRequest, "Forms are signed with {}", policy::ALGORITHM));
    }
    let credential: Vec<&str> = field("x-amz-credential")?.split('/').collect();
    let [access_key, day, region, "s3", "aws4_request"] = credential[..] else {
        return Err(s3_error!(InvalidArgument, "x-amz-credential is ACCESS-KEY/DAY/REGION/s3/aws4_request"));
    };
    if access_key != credentials.access_key {
        return Err(s3_error!(InvalidAccessKeyId, "The access key is not known here"));
    }
    if !field("x-amz-date")?.starts_with(day)
        || !policy::verify(&credentials.secret_key, day, region, policy, signature)
    {
        return Err(s3_error!(SignatureDoesNotMatch, "The signature is not that of the policy"));
    }
    let policy =
        PostPolicy::from_base64(policy).map_err(|error| s3_error!(InvalidPolicyDocument, "The policy: {error}"))?;
    if Timestamp::from(now) >= policy.expiration {
        return Err(s3_error!(AccessDenied, "Invalid according to Policy: Policy expired."));
    }
    let failed = |what: &str| s3_error!(AccessDenied, "Invalid according to Policy: Policy Condition failed: {what}");
    let value = |name: &str| if name == "bucket" { bucket } else { fields.get(name).map_or("", String::as_str) };
    let mut range = 0..=u64::MAX;
    let mut covered = vec!["bucket", "policy", "x-amz-signature", "submit"];
    for condition in &policy.conditions {
        match condition {
            PostPolicyCondition::Eq { field, value: wanted } => {
                if value(field) != wanted {
                    return Err(failed(&format!("[\"eq\", \"${field}\", \"{wanted}\"]")));
                }
                covered.push(field);
            }
            PostPolicyCondition::StartsWith { field, prefix } => {
                if !value(field).starts_with(prefix.as_str()) {
                    return Err(failed(&format!("[\"starts-with\", \"${field}\", \"{prefix}\"]")));
                }
                covered.push(field);
            }
            PostPolicyCondition::ContentLengthRange { min, max } => {
                range = (*min).max(*range.start())..=(*max).min(*range.end());
            }
        }
    }
    if fields.get("bucket").is_some_and(|named| named != bucket) {
        return Err(failed("the bucket is another one"));
    }
    if let Some(extra) = fields.keys().find(|name| !covered.contains(&name.as_str()) && !name.starts_with("x-ignore-"))
    {
        return Err(s3_error!(AccessDenied, "Invalid according to Policy: Extra input fields: {extra}"));
    }
    Ok(range)
}

fn answer(
    fields: &BTreeMap<String, String>,
    location: &str,
    bucket: &str,
    key: &str,
    etag: &str,
) -> S3Result<Response<Body>> {
    let mut response = Response::new(Body::empty());
    let header =
        |text: &str| HeaderValue::from_str(text).map_err(|_| s3_error!(InvalidArgument, "{text} is no header"));
    response.headers_mut().insert(ETAG, header(etag)?);
    response.headers_mut().insert(LOCATION, header(location)?);
    let redirect = fields.get("success_action_redirect").and_then(|redirect| url::Url::parse(redirect).ok());
    *response.status_mut() = if let Some(mut redirect) = redirect {
        redirect.query_pairs_mut().append_pair("bucket", bucket).append_pair("key", key).append_pair("etag", etag);
        response.headers_mut().insert(LOCATION, header(redirect.as_str())?);
        StatusCode::SEE_OTHER
    } else {
        match fields.get("success_action_status").map(String::as_str) {
            Some("200") => StatusCode::OK,
            Some("201") => {
                let mut text = Vec::new();
                let mut serializer = s3s::xml::Serializer::new(&mut text);
                let body = PostResponse { location, bucket, key, etag };
                let written = serializer.decl().and_then(|()| s3s::xml::Serialize::serialize(&body, &mut serializer));
                written.map_err(|error| s3_error!(InternalError, "The answer cannot be written: {error}"))?;
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
                *response.body_mut() = Body::from(Bytes::from(text));
                StatusCode::CREATED
            }
            _ => StatusCode::NO_CONTENT,
        }
    };
    Ok(response)
}
