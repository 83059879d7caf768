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

use super::keys::{self, Next, Walk};
use super::multipart::Journal;
use super::receive::Arrivals;
use s3s::dto::Timestamp;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Keys share this many locks.
const LOCKS: usize = 256;

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

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
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
fn write_line(mut file: &File, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    file.write_all(&line)
}

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

/// Blobs of this process that no record names yet, by their numbers. There is one server at a time, so that every other blob without a
/// record was left by a process that died.
pub(super) type Fresh = Mutex<HashSet<u128>>;

/// A blob's name as a number: a million of them fit into little memory.
pub(super) fn number_of(blob: &str) -> Option<u128> {
    u128::from_str_radix(blob, 16).ok().filter(|_| blob.len() == 32)
}

/// A blob no record names yet; dropped unkept, it goes.
#[derive(Debug)]
pub(super) struct NewBlob {
    pub(super) name: String,
    path: PathBuf,
    kept: bool,
    fresh: Arc<Fresh>,
}

impl NewBlob {
    fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for NewBlob {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = remove(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "storage: an unfinished blob stays for the sweep");
        }
        number_of(&self.name).map(|number| locked(&self.fresh).remove(&number));
    }
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

pub(super) fn unlink_all(paths: &[PathBuf]) {
    for path in paths {
        if let Err(error) = remove(path) {
            tracing::warn!(%error, path = %path.display(), "storage: a blob stays for the sweep");
        }
    }
}

impl Disk {
    /// Opens the folder and finishes what a killed process left half done.
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
        for bucket in disk.buckets()? {
            disk.recover(&bucket.0)?;
        }
        Ok(Arc::new(disk))
    }

    fn recover(&self, bucket: &str) -> io::Result<()> {
        for leftover in fs::read_dir(self.bucket(bucket).join("tmp"))? {
            remove(&leftover?.path())?;
        }
        for id in self.upload_ids(bucket)? {
            let path = self.upload(bucket, &id);
            // An earlier version kept an upload in a folder.
            if path.is_dir() {
                fs::remove_dir_all(&path)?;
                continue;
            }
            let over = match self.journal(bucket, &id) {
                Ok(Some(Journal { upload, end, .. })) => {
                    // Killed in the middle of a line: the next one would go on in it.
                    File::options().write(true).open(&path)?.set_len(end)?;
                    // A power cut may leave what was being renamed in both places.
                    self.record(bucket, &upload.key)?.is_some_and(|record| record.upload.as_ref() == Some(&id))
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

    pub(super) fn bucket(&self, bucket: &str) -> PathBuf {
        self.root.join("buckets").join(bucket)
    }

    pub(super) fn objects(&self, bucket: &str) -> PathBuf {
        self.bucket(bucket).join("objects")
    }

    pub(super) fn upload(&self, bucket: &str, id: &str) -> PathBuf {
        self.bucket(bucket).join("uploads").join(id)
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
        let number = Uuid::new_v4();
        let name = number.simple().to_string();
        locked(&self.fresh).insert(number.as_u128());
        NewBlob { path: self.blob_path(bucket, &name), name, kept: false, fresh: Arc::clone(&self.fresh) }
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
                blob.kept = cut.is_err();
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

impl Condition {
    fn check(&self, key: &str, old: Option<&Record>) -> S3Result<()> {
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

/// Makes a folder and its parents; returns those that were not there.
fn make_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    let mut made = Vec::new();
    while let Some(folder) = missing.pop() {
        match fs::create_dir(folder) {
            Ok(()) => made.push(folder.to_owned()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // Its parent has just been removed: the rename will say so, and the caller comes again.
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

/// Bytes free for this user on the file system of a path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    Ok(loopmaster_core::machine::disk(path)?.0)
}
