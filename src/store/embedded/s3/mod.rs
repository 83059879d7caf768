//! The operations of S3 on the disk: what a request asks, and what the answer holds.

mod buckets;
mod conditions;
mod listing;
mod multipart;
mod objects;

use super::disk::{Disk, Reading};
use super::receive::{Announced, blocking};
use super::record::Condition;
use conditions::Conditions;
#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "three types of each operation"))]
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, TrailingHeaders, s3_error};
use std::sync::Arc;

/// Most keys, parts or uploads in one answer.
const PAGE: i32 = 1000;
/// Most parts of an upload.
const PARTS: i32 = 10_000;

/// S3 on a folder.
#[derive(Clone, Debug)]
pub(in super::super) struct Objects {
    pub(in super::super) disk: Arc<Disk>,
    pub(in super::super) region: String,
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

fn page(asked: Option<i32>) -> S3Result<i32> {
    match asked {
        Some(asked) if asked < 0 => Err(s3_error!(InvalidArgument, "{asked} is less than nothing")),
        asked => Ok(asked.unwrap_or(PAGE).min(PAGE)),
    }
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

#[async_trait::async_trait]
impl S3 for Objects {
    async fn list_buckets(&self, request: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
        buckets::list_buckets(self, request).await
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        buckets::head_bucket(self, request).await
    }

    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        buckets::create_bucket(self, request).await
    }

    async fn delete_bucket(&self, request: S3Request<DeleteBucketInput>) -> Answer<DeleteBucketOutput> {
        buckets::delete_bucket(self, request).await
    }

    async fn get_bucket_location(&self, request: S3Request<GetBucketLocationInput>) -> Answer<GetBucketLocationOutput> {
        buckets::get_bucket_location(self, request).await
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> Answer<GetBucketVersioningOutput> {
        buckets::get_bucket_versioning(self, request).await
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        objects::put_object(self, request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        objects::get_object(self, request).await
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        objects::head_object(self, request).await
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        objects::delete_object(self, request).await
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        objects::delete_objects(self, request).await
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        objects::copy_object(self, request).await
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        listing::list_objects_v2(self, request).await
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
        listing::list_objects(self, request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        multipart::create_multipart_upload(self, request).await
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        multipart::upload_part(self, request).await
    }

    async fn upload_part_copy(&self, request: S3Request<UploadPartCopyInput>) -> Answer<UploadPartCopyOutput> {
        multipart::upload_part_copy(self, request).await
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
        multipart::list_parts(self, request).await
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        multipart::list_multipart_uploads(self, request).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        multipart::complete_multipart_upload(self, request).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        multipart::abort_multipart_upload(self, request).await
    }
}
