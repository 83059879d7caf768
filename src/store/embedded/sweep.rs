//! What nobody wants any more: uploads nobody finished, and blobs that no record names.

use super::disk::{Disk, Record, disk_error, load, locked, now, unlink_all};
use super::keys::{Next, Walk};
use s3s::S3Result;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A blob that no record names is swept when it is older: a record follows its blobs within moments.
const ORPHAN_AGE: Duration = Duration::from_hours(1);

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
            swept.blobs += self.sweep_blobs(&bucket, ORPHAN_AGE).map_err(disk_error)?;
        }
        Ok(swept)
    }

    /// Blobs first, then uploads, then objects: a part that becomes an object while this looks is seen in one place or the other.
    fn sweep_blobs(&self, bucket: &str, age: Duration) -> io::Result<usize> {
        let now = SystemTime::now();
        let mut orphans = HashSet::new();
        for shard in fs::read_dir(self.bucket(bucket).join("blobs"))? {
            for blob in fs::read_dir(shard?.path())? {
                let blob = blob?;
                // Gone meanwhile.
                let Ok(about) = blob.metadata() else { continue };
                // Linking changes the time of change, not the time of modification.
                if let Some(name) = blob.file_name().to_str().and_then(number_of)
                    && now.duration_since(changed(&about)?).unwrap_or_default() >= age
                {
                    orphans.insert(name);
                }
            }
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
        let held = locked(&self.held);
        let doomed: HashSet<&PathBuf> = held.values().flat_map(|held| &held.doomed).collect();
        let paths: Vec<PathBuf> = orphans
            .iter()
            .map(|blob| self.blob_path(bucket, &format!("{blob:032x}")))
            .filter(|path| !doomed.contains(path))
            .collect();
        unlink_all(&paths);
        Ok(paths.len())
    }
}

/// A blob's name as a number: a million of them fit into little memory.
fn number_of(blob: &str) -> Option<u128> {
    u128::from_str_radix(blob, 16).ok().filter(|_| blob.len() == 32)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere the system may not know")]
fn changed(about: &fs::Metadata) -> io::Result<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    Ok(UNIX_EPOCH + Duration::from_secs(u64::try_from(about.ctime()).unwrap_or(0)))
}

#[cfg(not(unix))]
fn changed(about: &fs::Metadata) -> io::Result<SystemTime> {
    about.modified().max(about.created())
}
