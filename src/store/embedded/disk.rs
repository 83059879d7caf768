//! The files of the embedded store, and the order in which they become durable.
//!
//! Bytes live in blobs: files with fresh random names that are written once, made durable, and never changed. What a key means is a
//! small record naming its blobs. A record is written beside, made durable, and renamed into place: that rename is the moment an
//! object exists, so a process killed anywhere leaves either the old object or the new one, and at worst blobs that no record names,
//! which a sweep removes.
//!
//! An upload in parts is one file that grows by a line for every part ([`super::multipart`]) and becomes the object's record in the
//! end: a file that is there already takes no folder and no rename to become durable. A line without its end was never acknowledged
//! and does not count.

use super::arrivals::Arrivals;
use super::blob::{Fresh, NewBlob, make_folders, remove, sync_folder, unlink_all};
use super::keys::{self, Next, Walk};
use super::record::{Condition, Piece, Record, disk_error, full, load, now, write_line};
use crate::keyed_lock::locked;
use s3s::{S3Result, s3_error};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use uuid::Uuid;

/// Keys share this many locks.
const LOCKS: usize = 256;

/// The folder of the store.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    keys: Vec<RwLock<()>>,
    uploads: Vec<RwLock<()>>,
    pub(super) held: Mutex<HashMap<String, Held>>,
    pub(super) fresh: Arc<Fresh>,
    pub(super) arrivals: Arrivals,
    /// Free bytes never to be used up.
    reserve: u64,
    /// One server at a time: held as long as this lives.
    _lock: File,
}

/// An object being read.
#[derive(Debug)]
pub(super) struct Held {
    readers: usize,
    pub(super) record: Arc<Record>,
    doomed: Vec<PathBuf>,
}

/// A record whose blobs stay until this is dropped, whatever happens to the key meanwhile.
#[derive(Debug)]
pub(super) struct Reading {
    disk: Arc<Disk>,
    bucket: String,
    pub(super) record: Arc<Record>,
}

impl Reading {
    pub(super) fn path(&self, piece: &Piece) -> PathBuf {
        self.disk.blob_path(&self.bucket, &piece.blob)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut held = locked(&self.disk.held);
        if let Some(entry) = held.get_mut(&self.record.id) {
            entry.readers -= 1;
            if entry.readers == 0 {
                let doomed = std::mem::take(&mut entry.doomed);
                held.remove(&self.record.id);
                drop(held);
                unlink_all(&doomed);
            }
        }
    }
}

impl Disk {
    /// Opens the folder; [`super::multipart::recover`] finishes what a killed process left half done.
    pub(super) fn open(root: &Path, reserve: u64) -> io::Result<Arc<Self>> {
        fs::create_dir_all(root.join("buckets"))?;
        let lock = File::create(root.join("lock"))?;
        lock.try_lock().map_err(|_| {
            io::Error::new(ErrorKind::AddrInUse, format!("another server has the folder {} open", root.display()))
        })?;
        let locks = || (0..LOCKS).map(|_| RwLock::new(())).collect();
        let disk = Self {
            root: root.to_owned(),
            keys: locks(),
            uploads: locks(),
            held: Mutex::default(),
            fresh: Arc::default(),
            arrivals: Arrivals::default(),
            reserve,
            _lock: lock,
        };
        Ok(Arc::new(disk))
    }

    pub(super) fn bucket(&self, bucket: &str) -> PathBuf {
        self.root.join("buckets").join(bucket)
    }

    pub(super) fn objects(&self, bucket: &str) -> PathBuf {
        self.bucket(bucket).join("objects")
    }

    pub(super) fn upload(&self, bucket: &str, id: &str) -> PathBuf {
        self.bucket(bucket).join("uploads").join(id)
    }

    pub(super) fn upload_ids(&self, bucket: &str) -> io::Result<Vec<String>> {
        let folder = self.bucket(bucket).join("uploads");
        let mut ids = Vec::new();
        for entry in fs::read_dir(folder)? {
            ids.extend(entry?.file_name().into_string());
        }
        Ok(ids)
    }

    pub(super) fn blob_path(&self, bucket: &str, blob: &str) -> PathBuf {
        self.bucket(bucket).join("blobs").join(blob.get(..2).unwrap_or("00")).join(blob)
    }

    pub(super) fn record(&self, bucket: &str, key: &str) -> io::Result<Option<Record>> {
        load(&keys::path_of(&self.objects(bucket), key))
    }

    fn lock(&self, bucket: &str, key: &str) -> &RwLock<()> {
        &self.keys[crc32fast::hash(format!("{bucket}/{key}").as_bytes()) as usize % LOCKS]
    }

    pub(super) fn read_lock(&self, bucket: &str, key: &str) -> RwLockReadGuard<'_, ()> {
        self.lock(bucket, key).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self, bucket: &str, key: &str) -> RwLockWriteGuard<'_, ()> {
        self.lock(bucket, key).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by whoever changes the upload. Taken before a key's lock.
    pub(super) fn upload_lock(&self, id: &str) -> &RwLock<()> {
        &self.uploads[crc32fast::hash(id.as_bytes()) as usize % LOCKS]
    }

    // ── Buckets ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Names and times of creation.
    pub(super) fn buckets(&self) -> io::Result<Vec<(String, u64)>> {
        let mut buckets = Vec::new();
        for entry in fs::read_dir(self.root.join("buckets"))? {
            let entry = entry?;
            if let (Ok(name), Some(created)) =
                (entry.file_name().into_string(), load::<u64>(&entry.path().join("created"))?)
            {
                buckets.push((name, created));
            }
        }
        buckets.sort();
        Ok(buckets)
    }

    pub(super) fn has_bucket(&self, bucket: &str) -> S3Result<()> {
        match load::<u64>(&self.bucket(bucket).join("created")).map_err(disk_error)? {
            Some(_) => Ok(()),
            None => Err(s3_error!(NoSuchBucket, "There is no bucket {bucket}")),
        }
    }

    pub(super) fn create_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.has_bucket(bucket).is_ok() {
            return Err(s3_error!(BucketAlreadyOwnedByYou, "The bucket {bucket} is yours already"));
        }
        let folder = self.bucket(bucket);
        let made = || {
            for part in ["objects", "uploads", "blobs", "tmp"] {
                fs::create_dir_all(folder.join(part))?;
            }
            for byte in 0..=u8::MAX {
                fs::create_dir_all(folder.join("blobs").join(format!("{byte:02x}")))?;
            }
            sync_folder(&folder.join("blobs"))?;
            Self::write_new(&File::create(folder.join("created"))?, &folder, &now())?;
            sync_folder(&self.root.join("buckets"))?;
            sync_folder(&self.root)
        };
        made().map_err(disk_error)
    }

    pub(super) fn delete_bucket(&self, bucket: &str) -> S3Result<()> {
        self.has_bucket(bucket)?;
        let (keys, _) = self.list(bucket, Walk::default(), None, 1)?;
        if !keys.is_empty() || !self.upload_ids(bucket).map_err(disk_error)?.is_empty() {
            return Err(s3_error!(BucketNotEmpty, "The bucket {bucket} is not empty"));
        }
        let folder = self.bucket(bucket);
        remove(&folder.join("created")).and_then(|()| fs::remove_dir_all(&folder)).map_err(disk_error)
    }

    // ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Refuses early what would not fit.
    pub(super) fn room(&self, bytes: u64) -> S3Result<()> {
        let free = free_bytes(&self.root).map_err(disk_error)?;
        if free.saturating_sub(bytes) < self.reserve {
            return Err(full(&format!("{free} bytes free, {} kept in reserve", self.reserve)));
        }
        Ok(())
    }

    /// A fresh file for bytes on their way.
    pub(super) fn new_blob(&self, bucket: &str) -> io::Result<(NewBlob, File)> {
        let blob = self.fresh_blob(bucket);
        let file = File::create_new(&blob.path)?;
        Ok((blob, file))
    }

    /// A name for a blob, known to the sweep before there is a file.
    fn fresh_blob(&self, bucket: &str) -> NewBlob {
        NewBlob::new(&self.fresh, |name| self.blob_path(bucket, name))
    }

    /// Writes a file that stands already where it is to be; no rename needed.
    pub(super) fn write_new(file: &File, folder: &Path, what: &impl Serialize) -> io::Result<()> {
        write_line(file, what)?;
        file.sync_all()?;
        sync_folder(folder)
    }

    /// Puts a record into place: beside, durable, renamed, the rename durable. The blobs it names become durable before it does.
    fn write_record(&self, bucket: &str, path: &Path, record: &Record, blobs: &mut [NewBlob]) -> io::Result<()> {
        let beside = self.bucket(bucket).join("tmp").join(Uuid::new_v4().simple().to_string());
        let written = (|| {
            let file = File::create_new(&beside)?;
            write_line(&file, record)?;
            file.sync_all()?;
            let shards: HashSet<&Path> = blobs.iter().filter_map(|blob| blob.path.parent()).collect();
            shards.into_iter().try_for_each(sync_folder)
        })();
        if let Err(error) = written {
            let _ = remove(&beside);
            return Err(error);
        }
        // From here on the record may be what a restart finds.
        blobs.iter_mut().for_each(NewBlob::keep);
        Self::put_into_place(&beside, path).inspect_err(|_| drop(remove(&beside)))
    }

    /// Renames a durable file, durably.
    pub(super) fn put_into_place(beside: &Path, path: &Path) -> io::Result<()> {
        let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
        let mut tries = 0;
        let made = loop {
            let made = make_folders(folder)?;
            match fs::rename(beside, path) {
                Ok(()) => break made,
                // A delete has just removed the empty folder.
                Err(error) if error.kind() == ErrorKind::NotFound && tries < 16 => tries += 1,
                Err(error) => return Err(error),
            }
        };
        sync_folder(folder)?;
        made.iter().filter_map(|made| made.parent()).try_for_each(sync_folder)
    }

    /// Appends a line to a file of which so much counts. The blob it names becomes durable before it does; a line that fails leaves
    /// nothing of itself.
    pub(super) fn append(path: &Path, end: u64, line: &impl Serialize, mut blob: Option<NewBlob>) -> io::Result<()> {
        blob.as_ref().and_then(|blob| blob.path.parent()).map_or(Ok(()), sync_folder)?;
        let file = File::options().append(true).open(path)?;
        // Part of a line that could not be cut off when it failed.
        if file.metadata()?.len() > end {
            file.set_len(end)?;
        }
        // From here on the line may be what a restart finds.
        blob.iter_mut().for_each(NewBlob::keep);
        write_line(&file, line).and_then(|()| file.sync_data()).inspect_err(|_| {
            // Uncut, it may still name the blob: better one too many for the sweep than a part without its bytes.
            let cut = file.set_len(end).and_then(|()| file.sync_data());
            if let Some(blob) = &mut blob {
                blob.give_up(cut.is_err());
            }
        })
    }

    /// Makes `key` mean `record`, under a condition.
    pub(super) fn put(
        &self,
        bucket: &str,
        record: &Record,
        mut blobs: Vec<NewBlob>,
        condition: &Condition,
    ) -> S3Result<()> {
        self.put_by(bucket, &record.key, condition, |path| self.write_record(bucket, path, record, &mut blobs))
    }

    /// The same, by whatever puts the record where it belongs.
    pub(super) fn put_by(
        &self,
        bucket: &str,
        key: &str,
        condition: &Condition,
        write: impl FnOnce(&Path) -> io::Result<()>,
    ) -> S3Result<()> {
        let _lock = self.write_lock(bucket, key);
        self.has_bucket(bucket)?;
        let path = keys::path_of(&self.objects(bucket), key);
        let old: Option<Record> = load(&path).map_err(disk_error)?;
        condition.check(key, old.as_ref())?;
        write(&path).map_err(disk_error)?;
        if let Some(old) = old {
            self.discard(bucket, &old);
        }
        Ok(())
    }

    /// Removes a key; one that is not there is fine.
    pub(super) fn delete(&self, bucket: &str, key: &str, over: Option<String>) -> S3Result<()> {
        let _lock = self.write_lock(bucket, key);
        let root = self.objects(bucket);
        let path = keys::path_of(&root, key);
        let old: Option<Record> = match load(&path) {
            // Damaged: deleting is all that is left to do with it.
            Err(error) if error.kind() == ErrorKind::InvalidData => None,
            old => old.map_err(disk_error)?,
        };
        if over.is_some() {
            Condition { absent: false, over }.check(key, old.as_ref())?;
        }
        let removed = match fs::remove_file(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
            removed => removed,
        };
        let folders = path.ancestors().skip(1).take_while(|folder| *folder != root);
        removed.and_then(|()| path.parent().map_or(Ok(()), sync_folder)).map_err(disk_error)?;
        for folder in folders {
            // Not empty: somebody else's.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        if let Some(old) = old {
            self.discard(bucket, &old);
        }
        Ok(())
    }

    /// The blobs of a record nothing names any more go, at once or with their last reader.
    fn discard(&self, bucket: &str, record: &Record) {
        let paths: Vec<PathBuf> = record.pieces.iter().map(|piece| self.blob_path(bucket, &piece.blob)).collect();
        let mut held = locked(&self.held);
        if let Some(entry) = held.get_mut(&record.id) {
            entry.doomed = paths;
        } else {
            drop(held);
            unlink_all(&paths);
        }
    }

    // ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The record of a key, its blobs kept until the answer is dropped.
    pub(super) fn read(self: &Arc<Self>, bucket: &str, key: &str) -> S3Result<Reading> {
        let _lock = self.read_lock(bucket, key);
        let Some(record) = self.record(bucket, key).map_err(disk_error)? else {
            self.has_bucket(bucket)?;
            return Err(s3_error!(NoSuchKey, "There is no object {key}"));
        };
        let mut held = locked(&self.held);
        let entry = held.entry(record.id.clone()).or_insert_with(|| Held {
            readers: 0,
            record: Arc::new(record),
            doomed: Vec::new(),
        });
        entry.readers += 1;
        let record = Arc::clone(&entry.record);
        drop(held);
        Ok(Reading { disk: Arc::clone(self), bucket: bucket.to_owned(), record })
    }

    /// The same bytes under other names: hard links where the file system has them.
    pub(super) fn link(&self, from: &Reading, bucket: &str) -> io::Result<(Vec<Piece>, Vec<NewBlob>)> {
        let (mut pieces, mut blobs) = (Vec::new(), Vec::new());
        for piece in &from.record.pieces {
            let blob = self.fresh_blob(bucket);
            let source = from.path(piece);
            if fs::hard_link(&source, &blob.path).is_err() {
                fs::copy(&source, &blob.path)?;
                File::open(&blob.path)?.sync_all()?;
            }
            pieces.push(Piece { blob: blob.name.clone(), bytes: piece.bytes });
            blobs.push(blob);
        }
        Ok((pieces, blobs))
    }

    /// Keys and common prefixes in their order, at most `limit`, and whether there are more.
    pub(super) fn list(
        &self,
        bucket: &str,
        walk: Walk,
        delimiter: Option<&str>,
        limit: usize,
    ) -> S3Result<(Vec<Listed>, bool)> {
        self.has_bucket(bucket)?;
        let (mut listed, mut more) = (Vec::new(), false);
        let lead = walk.prefix.len();
        let walked = walk.run(&self.objects(bucket), &mut |key, path| {
            let common = delimiter.and_then(|delimiter| {
                key[lead..].find(delimiter).map(|at| key[..lead + at + delimiter.len()].to_owned())
            });
            if listed.len() == limit {
                more = true;
                return Ok(Next::End);
            }
            if let Some(common) = common {
                listed.push(Listed::Common(common.clone()));
                return Ok(Next::Past(common));
            }
            match load::<Record>(path) {
                Ok(Some(record)) => listed.push(Listed::Object(Box::new(record))),
                // Deleted since the folder was read.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    tracing::error!(%error, "storage: left out of a listing");
                }
                Err(error) => return Err(error),
            }
            Ok(Next::Key)
        });
        walked.map_err(disk_error)?;
        Ok((listed, more))
    }
}

/// A line of a listing.
#[derive(Debug)]
pub(super) enum Listed {
    Object(Box<Record>),
    Common(String),
}

impl Listed {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Object(record) => &record.key,
            Self::Common(prefix) => prefix,
        }
    }
}

/// Bytes free for this user on the file system of a path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    Ok(loopmaster_core::machine::disk(path)?.0)
}
