//! Uploads in parts: begun, signed for, listed, completed, thrown away.

use super::{
    PartTag, Result, Store, StoreError, Unfinished, bytes_of, embedded, expiry, failed, parsed, patient, signed_length,
    time, timeouts, unquoted,
};
use aws_sdk_s3::config::Config;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use s3s::crypto::{Checksum, Md5};
use std::time::Duration;
use url::Url;

/// Completing copies for a while at some providers.
const COMPLETE: Duration = Duration::from_mins(2);

impl Store {
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

    /// Stores one part. Returns its ETag.
    pub async fn put_part_bytes(&self, key: &str, id: &str, number: u16, bytes: Bytes) -> Result<String> {
        let length = bytes.len() as u64;
        let request = self.inside.upload_part().bucket(&self.bucket).key(key).upload_id(id).part_number(number.into());
        let request = request.body(ByteStream::from(bytes)).customize().config_override(patient(length));
        request.send().await.map(|done| unquoted(done.e_tag())).map_err(failed(id))
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
