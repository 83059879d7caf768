//! Uploads in parts: a folder each, a record per part, and one rename that turns them into an object without copying a byte.

use super::disk::{
    About, Condition, Disk, NewBlob, Piece, Record, Sums, disk_error, load, now, sync_folder, unlink_all,
};
use s3s::{S3ErrorCode, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;
use uuid::Uuid;

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

impl Disk {
    pub(super) fn upload_ids(&self, bucket: &str) -> io::Result<Vec<String>> {
        let folder = self.bucket(bucket).join("uploads");
        let mut ids = Vec::new();
        for entry in fs::read_dir(folder)? {
            ids.extend(entry?.file_name().into_string());
        }
        Ok(ids)
    }

    pub(super) fn create_upload(&self, bucket: &str, upload: &Upload) -> S3Result<String> {
        self.has_bucket(bucket)?;
        let id = Uuid::new_v4().simple().to_string();
        let folder = self.upload(bucket, &id);
        let made = || {
            fs::create_dir(&folder)?;
            Self::write_new(&folder.join("upload"), upload)?;
            sync_folder(&self.bucket(bucket).join("uploads"))
        };
        made().map_err(|error| {
            let _ = fs::remove_dir_all(&folder);
            disk_error(error)
        })?;
        Ok(id)
    }

    /// The upload, if it is this key's.
    pub(super) fn find_upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<Upload> {
        let unknown =
            || s3_error!(NoSuchUpload, "There is no upload {id} for {key}: completed, aborted, expired or never made");
        // The id becomes a file name: only what was given out is looked for.
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        match load::<Upload>(&self.upload(bucket, id).join("upload")).map_err(disk_error)? {
            Some(upload) if upload.key == key => Ok(upload),
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
        part: &Part,
    ) -> S3Result<()> {
        // Two writers of one part are rare; they wait for each other.
        let _upload = self.upload_lock(id).write().unwrap_or_else(PoisonError::into_inner);
        self.find_upload(bucket, key, id)?;
        let path = self.upload(bucket, id).join(format!("{number:05}"));
        let old: Option<Part> = load(&path).map_err(disk_error)?;
        self.write_record(bucket, &path, part, &mut [blob]).map_err(disk_error)?;
        if let Some(old) = old {
            unlink_all(&[self.blob_path(bucket, &old.blob)]);
        }
        Ok(())
    }

    /// Parts by number.
    pub(super) fn parts(&self, bucket: &str, key: &str, id: &str) -> S3Result<BTreeMap<u16, Part>> {
        self.find_upload(bucket, key, id)?;
        let read = || {
            let mut parts = BTreeMap::new();
            for entry in fs::read_dir(self.upload(bucket, id))? {
                let entry = entry?;
                // Beside the parts lies what is known about the upload.
                if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u16>().ok())
                    && let Some(part) = load(&entry.path())?
                {
                    parts.insert(number, part);
                }
            }
            Ok(parts)
        };
        read().map_err(disk_error)
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
        let upload = match self.find_upload(bucket, key, id) {
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
            upload => upload?,
        };
        let parts = self.parts(bucket, key, id)?;
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
        self.put(bucket, &record, Vec::new(), condition)?;
        // What the client left out of the list is of no use any more.
        let used: HashSet<&str> = record.pieces.iter().map(|piece| piece.blob.as_str()).collect();
        let unused: Vec<PathBuf> = parts
            .values()
            .filter(|part| !used.contains(part.blob.as_str()))
            .map(|part| self.blob_path(bucket, &part.blob))
            .collect();
        if let Err(error) = fs::remove_dir_all(self.upload(bucket, id)) {
            tracing::warn!(%error, id, "storage: a completed upload's folder stays until the next start");
        }
        unlink_all(&unused);
        Ok(record)
    }

    pub(super) fn abort(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        let _upload = self.upload_lock(id).write().unwrap_or_else(PoisonError::into_inner);
        let parts = self.parts(bucket, key, id)?;
        let _lock = self.read_lock(bucket, key);
        let record = self.record(bucket, key).map_err(disk_error)?;
        let completed = record.is_some_and(|record| record.upload.as_deref() == Some(id));
        fs::remove_dir_all(self.upload(bucket, id)).map_err(disk_error)?;
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
            if let Some(upload) = load::<Upload>(&self.upload(bucket, &id).join("upload")).map_err(disk_error)? {
                uploads.push((id, upload));
            }
        }
        uploads.sort_by(|a, b| (&a.1.key, a.1.created, &a.0).cmp(&(&b.1.key, b.1.created, &b.0)));
        Ok(uploads)
    }
}
