//! Buckets.

use super::super::record::{disk_error, timestamp};
use super::{Answer, Objects};
#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "three types of each operation"))]
use s3s::dto::*;
use s3s::{S3Request, S3Response};

pub(super) async fn list_buckets(service: &Objects, _: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
    let buckets = service.run(|disk| disk.buckets().map_err(disk_error)).await?;
    let buckets = buckets.into_iter().map(|(name, created)| Bucket {
        name: Some(name),
        creation_date: Some(timestamp(created)),
        ..Bucket::default()
    });
    Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets.collect()), ..Default::default() }))
}

pub(super) async fn head_bucket(service: &Objects, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
    service.run(move |disk| disk.has_bucket(&request.input.bucket)).await?;
    Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(service.region.clone()), ..Default::default() }))
}

pub(super) async fn create_bucket(
    service: &Objects,
    request: S3Request<CreateBucketInput>,
) -> Answer<CreateBucketOutput> {
    let location = format!("/{}", request.input.bucket);
    service.run(move |disk| disk.create_bucket(&request.input.bucket)).await?;
    Ok(S3Response::new(CreateBucketOutput { location: Some(location) }))
}

pub(super) async fn delete_bucket(
    service: &Objects,
    request: S3Request<DeleteBucketInput>,
) -> Answer<DeleteBucketOutput> {
    service.run(move |disk| disk.delete_bucket(&request.input.bucket)).await?;
    Ok(S3Response::new(DeleteBucketOutput::default()))
}

pub(super) async fn get_bucket_location(
    service: &Objects,
    request: S3Request<GetBucketLocationInput>,
) -> Answer<GetBucketLocationOutput> {
    service.run(move |disk| disk.has_bucket(&request.input.bucket)).await?;
    // The first region of all is written as nothing.
    let location = (service.region != "us-east-1").then(|| BucketLocationConstraint::from(service.region.clone()));
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint: location }))
}

pub(super) async fn get_bucket_versioning(
    service: &Objects,
    request: S3Request<GetBucketVersioningInput>,
) -> Answer<GetBucketVersioningOutput> {
    service.run(move |disk| disk.has_bucket(&request.input.bucket)).await?;
    // Never has been switched on.
    Ok(S3Response::new(GetBucketVersioningOutput::default()))
}
