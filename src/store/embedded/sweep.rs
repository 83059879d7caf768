//! What nobody wants any more: uploads nobody finished, and blobs that no record names.

use super::blob::{number_of, unlink_all};
use super::disk::Disk;
use super::keys::{Next, Walk};
use super::record::{Record, disk_error, load, now};
use crate::keyed_lock::locked;
use s3s::S3Result;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Multipart uploads nobody finished.
    pub uploads: usize,
    /// Blobs that no record names.
    pub blobs: usize,
}

impl Disk {
    /// Aborts uploads nobody finished and removes blobs that no record names.
    pub(super) fn sweep(&self, unfinished_after: Duration) -> S3Result<Swept> {
        let mut swept = Swept::default();
        let limit = now().saturating_sub(unfinished_after.as_millis() as u64);
        for (bucket, _) in self.buckets().map_err(disk_error)? {
            for (id, upload) in self.uploads(&bucket)? {
                if upload.created < limit && self.abort(&bucket, &upload.key, &id).is_ok() {
                    swept.uploads += 1;
                }
            }
            swept.blobs += self.sweep_blobs(&bucket).map_err(disk_error)?;
        }
        Ok(swept)
    }

    /// Blobs first, then those that are just being written, then uploads, then objects: a blob that is being written when this looks is
    /// found to be fresh or has its record already; a part that becomes an object is seen in one place or the other.
    fn sweep_blobs(&self, bucket: &str) -> io::Result<usize> {
        let mut orphans = HashSet::new();
        for shard in fs::read_dir(self.bucket(bucket).join("blobs"))? {
            for blob in fs::read_dir(shard?.path())? {
                orphans.extend(blob?.file_name().to_str().and_then(number_of));
            }
        }
        for fresh in locked(&self.fresh).iter() {
            orphans.remove(fresh);
        }
        if orphans.is_empty() {
            return Ok(0);
        }
        for id in self.upload_ids(bucket)? {
            if let Some(journal) = self.journal(bucket, &id)? {
                for part in journal.parts.values() {
                    number_of(&part.blob).map(|name| orphans.remove(&name));
                }
            }
        }
        Walk::default().run(&self.objects(bucket), &mut |_, path| {
            // A damaged record ends the sweep: what it named cannot be known.
            if let Some(record) = load::<Record>(path)? {
                for piece in &record.pieces {
                    number_of(&piece.blob).map(|name| orphans.remove(&name));
                }
            }
            Ok(Next::Key)
        })?;
        // What is being read goes with its last reader; it has no record any more where that was replaced while this looked.
        let held = locked(&self.held);
        for piece in held.values().flat_map(|held| &held.record.pieces) {
            number_of(&piece.blob).map(|name| orphans.remove(&name));
        }
        let paths: Vec<PathBuf> = orphans.iter().map(|blob| self.blob_path(bucket, &format!("{blob:032x}"))).collect();
        unlink_all(&paths);
        Ok(paths.len())
    }
}
