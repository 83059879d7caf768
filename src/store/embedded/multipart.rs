//! Uploads in parts: a file each, a line per part, and one rename that turns them into an object without copying a byte.
//!
//! The file is a journal. Its first line says what the upload is; every part that has arrived appends a line, and of two with one
//! number the later counts. Completing appends the object's record and moves the file to where records are. Making, syncing and
//! removing files is what a small upload costs, so there is one, and it is never rewritten.

use super::blob::{NewBlob, remove, unlink_all};
use super::disk::Disk;
use super::record::{About, Condition, Piece, Record, Sums, contents, disk_error, now, parse};
use s3s::{S3ErrorCode, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::PoisonError;
use uuid::Uuid;

/// Several times what ten thousand parts take: parts that are sent again and again lengthen the file each time.
const MOST_JOURNAL: u64 = 16 << 20;

/// A multipart upload on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) created: u64,
    pub(super) about: About,
}

/// A part of an upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) blob: String,
    pub(super) bytes: u64,
    pub(super) etag: String,
    pub(super) modified: u64,
    pub(super) sums: Sums,
}

/// Whether a part may be replaced by a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// As S3 does.
    Allowed,
    /// What has been counted with the size it arrived with stays within it.
    Refused,
}

/// A line behind the first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    /// A part has arrived.
    Part { number: u16, part: Part },
    /// What the upload was about to become: where this is the last line and the file is still here, it has not.
    Object(Box<Record>),
}

/// What an upload's file says.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) upload: Upload,
    pub(super) parts: BTreeMap<u16, Part>,
    /// Where its last whole line ends.
    pub(super) end: u64,
}

/// Finishes what a killed process left half done.
pub(super) fn recover(disk: &Disk) -> io::Result<()> {
    disk.buckets()?.iter().try_for_each(|(bucket, _)| recover_bucket(disk, bucket))
}

fn recover_bucket(disk: &Disk, bucket: &str) -> io::Result<()> {
    for leftover in fs::read_dir(disk.bucket(bucket).join("tmp"))? {
        remove(&leftover?.path())?;
    }
    for id in disk.upload_ids(bucket)? {
        let path = disk.upload(bucket, &id);
        // An earlier version kept an upload in a folder.
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
            continue;
        }
        let over = match disk.journal(bucket, &id) {
            Ok(Some(Journal { upload, end, .. })) => {
                // Killed in the middle of a line: the next one would go on in it.
                File::options().write(true).open(&path)?.set_len(end)?;
                // A power cut may leave what was being renamed in both places.
                disk.record(bucket, &upload.key)?.is_some_and(|record| record.upload.as_ref() == Some(&id))
            }
            // Never answered, so nobody knows it.
            Ok(None) => true,
            // It could be neither completed nor aborted, and would end every sweep.
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                tracing::error!(%error, "storage: an upload is given up");
                true
            }
            Err(error) => return Err(error),
        };
        if over {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

impl Disk {
    /// Reads an upload's file. Without a whole first line there is no upload: its id was never told.
    pub(super) fn journal(&self, bucket: &str, id: &str) -> io::Result<Option<Journal>> {
        let path = self.upload(bucket, id);
        let text = contents(&path)?.unwrap_or_default();
        // What follows the last end of a line is being written, or its writer was killed.
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let mut lines = text[..end].split_inclusive(|byte| *byte == b'\n');
        let Some(first) = lines.next() else { return Ok(None) };
        let upload = parse(&path, first)?;
        let mut parts = BTreeMap::new();
        for line in lines {
            if let Line::Part { number, part } = parse(&path, line)? {
                parts.insert(number, part);
            }
        }
        Ok(Some(Journal { upload, parts, end: end as u64 }))
    }

    pub(super) fn create_upload(&self, bucket: &str, upload: &Upload) -> S3Result<String> {
        self.has_bucket(bucket)?;
        let id = Uuid::new_v4().simple().to_string();
        let (folder, path) = (self.bucket(bucket).join("uploads"), self.upload(bucket, &id));
        let made = File::create_new(&path).and_then(|file| Self::write_new(&file, &folder, upload));
        made.map_err(|error| {
            let _ = fs::remove_file(&path);
            disk_error(error)
        })?;
        Ok(id)
    }

    /// The upload, if it is this key's.
    pub(super) fn find_upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<Journal> {
        let unknown =
            || s3_error!(NoSuchUpload, "There is no upload {id} for {key}: completed, aborted, expired or never made");
        // The id becomes a file name: only what was given out is looked for.
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        match self.journal(bucket, id).map_err(disk_error)? {
            Some(journal) if journal.upload.key == key => Ok(journal),
            _ => {
                self.has_bucket(bucket)?;
                Err(unknown())
            }
        }
    }

    pub(super) fn put_part(
        &self,
        bucket: &str,
        (key, id, number): (&str, &str, u16),
        blob: NewBlob,
        part: Part,
        growth: Growth,
    ) -> S3Result<()> {
        // Writers of parts of one upload wait for each other.
        let _upload = self.upload_lock(id).write().unwrap_or_else(PoisonError::into_inner);
        let journal = self.find_upload(bucket, key, id)?;
        if journal.end > MOST_JOURNAL {
            return Err(s3_error!(
                InvalidRequest,
                "Parts of the upload {id} were sent again so often that its record has {} bytes; complete it or begin anew",
                journal.end
            ));
        }
        if let Some(old) = journal.parts.get(&number)
            && growth == Growth::Refused
            && part.bytes > old.bytes
        {
            return Err(s3_error!(
                EntityTooLarge,
                "Part {number} has {} bytes, and this address replaces it by no more than that",
                old.bytes
            ));
        }
        Self::append(&self.upload(bucket, id), journal.end, &Line::Part { number, part }, Some(blob))
            .map_err(disk_error)?;
        if let Some(old) = journal.parts.get(&number) {
            unlink_all(&[self.blob_path(bucket, &old.blob)]);
        }
        Ok(())
    }

    /// Turns the upload into an object: `choose` picks and checks the parts under the lock.
    pub(super) fn complete(
        &self,
        bucket: &str,
        (key, id): (&str, &str),
        condition: &Condition,
        choose: impl FnOnce(Option<&BTreeMap<u16, Part>>) -> S3Result<(String, Vec<Piece>)>,
    ) -> S3Result<Record> {
        let _upload = self.upload_lock(id).write().unwrap_or_else(PoisonError::into_inner);
        let Journal { upload, parts, end } = match self.find_upload(bucket, key, id) {
            Err(error) if error.code() == &S3ErrorCode::NoSuchUpload => {
                // Completed before? The same parts get the same answer.
                let _lock = self.read_lock(bucket, key);
                return match self.record(bucket, key).map_err(disk_error)? {
                    Some(record) if record.upload.as_deref() == Some(id) && choose(None)?.0 == record.etag => {
                        Ok(record)
                    }
                    _ => Err(error),
                };
            }
            journal => journal?,
        };
        let (etag, pieces) = choose(Some(&parts))?;
        let record = Record {
            id: Uuid::new_v4().simple().to_string(),
            key: key.to_owned(),
            bytes: pieces.iter().map(|piece| piece.bytes).sum(),
            etag,
            modified: now(),
            about: upload.about,
            sums: Sums::default(),
            upload: Some(id.to_owned()),
            pieces,
        };
        let journal = self.upload(bucket, id);
        self.put_by(bucket, key, condition, |path| {
            Self::append(&journal, end, &record, None)?;
            Self::put_into_place(&journal, path)
        })?;
        // What the client left out of the list is of no use any more.
        let used: HashSet<&str> = record.pieces.iter().map(|piece| piece.blob.as_str()).collect();
        let unused: Vec<PathBuf> = parts
            .values()
            .filter(|part| !used.contains(part.blob.as_str()))
            .map(|part| self.blob_path(bucket, &part.blob))
            .collect();
        unlink_all(&unused);
        Ok(record)
    }

    pub(super) fn abort(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        let _upload = self.upload_lock(id).write().unwrap_or_else(PoisonError::into_inner);
        let parts = self.find_upload(bucket, key, id)?.parts;
        let _lock = self.read_lock(bucket, key);
        let record = self.record(bucket, key).map_err(disk_error)?;
        let completed = record.is_some_and(|record| record.upload.as_deref() == Some(id));
        fs::remove_file(self.upload(bucket, id)).map_err(disk_error)?;
        if completed {
            return Err(s3_error!(NoSuchUpload, "The upload {id} has been completed"));
        }
        let blobs: Vec<PathBuf> = parts.values().map(|part| self.blob_path(bucket, &part.blob)).collect();
        unlink_all(&blobs);
        Ok(())
    }

    /// All uploads on their way, by key, then by age.
    pub(super) fn uploads(&self, bucket: &str) -> S3Result<Vec<(String, Upload)>> {
        self.has_bucket(bucket)?;
        let mut uploads = Vec::new();
        for id in self.upload_ids(bucket).map_err(disk_error)? {
            if let Some(journal) = self.journal(bucket, &id).map_err(disk_error)? {
                uploads.push((id, journal.upload));
            }
        }
        uploads.sort_by(|a, b| (&a.1.key, a.1.created, &a.0).cmp(&(&b.1.key, b.1.created, &b.0)));
        Ok(uploads)
    }
}
