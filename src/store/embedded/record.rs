//! What a key means: records, and how they are written and read.

use s3s::dto::Timestamp;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the client said about an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_language: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
}

/// Checksums the client gave and the bytes were held against, base64.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sums {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crc32: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crc32c: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crc64nvme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
}

/// A stretch of an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) blob: String,
    pub(super) bytes: u64,
}

/// What a key means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Told apart from the next object under the same key.
    pub(super) id: String,
    pub(super) key: String,
    pub(super) bytes: u64,
    pub(super) etag: String,
    /// Milliseconds since 1970.
    pub(super) modified: u64,
    pub(super) about: About,
    pub(super) sums: Sums,
    /// The multipart upload it came from: completing that once more gives the same answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upload: Option<String>,
    pub(super) pieces: Vec<Piece>,
}

/// Under which condition a key may be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    /// Only where nothing is.
    pub(super) absent: bool,
    /// Only over the object with this ETag; empty for any.
    pub(super) over: Option<String>,
}

impl Condition {
    pub(super) fn check(&self, key: &str, old: Option<&Record>) -> S3Result<()> {
        if self.absent && old.is_some() {
            return Err(s3_error!(PreconditionFailed, "There is an object {key} already"));
        }
        match (&self.over, old) {
            (Some(_), None) => Err(s3_error!(NoSuchKey, "There is no object {key}")),
            (Some(etag), Some(old)) if !etag.is_empty() && *etag != old.etag => {
                Err(s3_error!(PreconditionFailed, "The object {key} has the ETag {}", old.etag))
            }
            _ => Ok(()),
        }
    }
}

/// Turns a failure of the disk into what S3 would say.
pub(super) fn disk_error(error: io::Error) -> S3Error {
    if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) {
        return full(&error.to_string());
    }
    tracing::error!(%error, "storage: the disk failed");
    let mut failure = s3_error!(InternalError, "The disk failed: {error}");
    failure.set_source(Box::new(error));
    failure
}

/// 507: nothing was kept, and trying again at once is of no use.
pub(super) fn full(why: &str) -> S3Error {
    let mut error = S3Error::with_message(
        S3ErrorCode::Custom("InsufficientStorage".into()),
        format!("There is no room left on the disk ({why}). Nothing of this request was kept."),
    );
    error.set_status_code(hyper::StatusCode::INSUFFICIENT_STORAGE);
    error
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

pub(super) fn timestamp(milliseconds: u64) -> Timestamp {
    (UNIX_EPOCH + Duration::from_millis(milliseconds)).into()
}

/// Reads a file that may not be there.
pub(super) fn contents(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        // A key `a` below an object's record, or a name too long: neither can exist.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        text => text.map(Some),
    }
}

/// What a file says; what cannot be read is damage, not absence.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &[u8]) -> io::Result<T> {
    serde_json::from_slice(text)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("{} is damaged: {error}", path.display())))
}

/// Reads a record: the last line of its file, for before it there may be the parts it came in.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let last = |text: Vec<u8>| {
        let text = text.trim_ascii_end();
        let from = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        parse(path, &text[from..])
    };
    contents(path)?.map(last).transpose()
}

/// One line, in one write.
pub(super) fn write_line(mut file: &File, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    file.write_all(&line)
}
