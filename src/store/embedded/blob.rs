//! Blobs: files with random names that are written once, and the folders they stand in.

use crate::keyed_lock::locked;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

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
    pub(super) path: PathBuf,
    kept: bool,
    fresh: Arc<Fresh>,
}

impl NewBlob {
    /// A name for a blob that will stand where `path` says, known to the sweep before there is a file.
    pub(super) fn new(fresh: &Arc<Fresh>, path: impl FnOnce(&str) -> PathBuf) -> Self {
        let number = Uuid::new_v4();
        let name = number.simple().to_string();
        locked(fresh).insert(number.as_u128());
        Self { path: path(&name), name, kept: false, fresh: Arc::clone(fresh) }
    }

    /// From now on a record names it, or may.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    /// No record names it after all; or `doubtful`, one may.
    pub(super) fn give_up(&mut self, doubtful: bool) {
        self.kept = doubtful;
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

pub(super) fn unlink_all(paths: &[PathBuf]) {
    for path in paths {
        if let Err(error) = remove(path) {
            tracing::warn!(%error, path = %path.display(), "storage: a blob stays for the sweep");
        }
    }
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Makes a folder and its parents; returns those that were not there.
pub(super) fn make_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
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
