//! The only stage that touches the world: temporary names beside the target, renamed when everything of a track is verified.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Unfinished files of this process, so that Ctrl-C leaves none behind.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static COUNTER: AtomicU64 = AtomicU64::new(0);

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every unfinished file; for the Ctrl-C handler. Holds the lock for good, so that no new file can appear.
pub fn abandon_all() {
    let files = unfinished();
    for path in files.iter() {
        let _ = std::fs::remove_file(path);
    }
    std::mem::forget(files);
}

/// Why nothing was delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The target exists.
    #[error("{} exists; use --force to replace it, or another --output", .0.display())]
    Exists(PathBuf),
    /// The folder cannot be made or written to.
    #[error("cannot write to {}: {source}; check the permissions and the free space, or use another --output", path.display())]
    Folder {
        /// Which folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DeliverError {
    /// `deliver.what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists(_) => "deliver.exists",
            Self::Folder { source, .. } if source.kind() == io::ErrorKind::StorageFull => "deliver.disk_full",
            Self::Folder { .. } => "deliver.unwritable",
        }
    }
}

/// A file under a temporary name, removed when dropped before [`deliver`].
#[derive(Debug)]
pub struct Draft {
    temporary: PathBuf,
    /// Where it will stand.
    pub target: PathBuf,
}

impl Draft {
    /// Opens a temporary file beside `target`, readable and writable.
    pub fn create(target: &Path) -> Result<(Self, File), DeliverError> {
        let folder = target.parent().unwrap_or(Path::new(""));
        let failed = |source| DeliverError::Folder { path: folder.to_owned(), source };
        if !folder.as_os_str().is_empty() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let name = format!(".loopmaster-{}-{}.part", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let temporary = folder.join(name);
        let mut files = unfinished();
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&temporary).map_err(failed)?;
        files.insert(temporary.clone());
        drop(files);
        Ok((Self { temporary, target: target.to_owned() }, file))
    }

    /// The temporary name, to read the file back.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    fn publish(self, force: bool) -> Result<PathBuf, DeliverError> {
        let failed = |source| DeliverError::Folder { path: self.target.clone(), source };
        let files = unfinished();
        if force {
            std::fs::rename(&self.temporary, &self.target).map_err(failed)?;
        } else {
            // A hard link refuses to replace a file that appeared meanwhile; not every file system has them.
            match std::fs::hard_link(&self.temporary, &self.target) {
                Ok(()) => std::fs::remove_file(&self.temporary).map_err(failed)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(DeliverError::Exists(self.target.clone()));
                }
                Err(_) => std::fs::rename(&self.temporary, &self.target).map_err(failed)?,
            }
        }
        drop(files);
        Ok(self.target.clone())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let mut files = unfinished();
        if files.remove(&self.temporary) {
            // After publish() there is nothing left under this name.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Refuses targets that exist, before any work is done.
pub fn check_targets<'a>(targets: impl IntoIterator<Item = &'a PathBuf>, force: bool) -> Result<(), DeliverError> {
    if force {
        return Ok(());
    }
    match targets.into_iter().find(|path| std::fs::symlink_metadata(path).is_ok()) {
        Some(path) => Err(DeliverError::Exists(path.clone())),
        None => Ok(()),
    }
}

/// Gives every draft its name. If one cannot be given, those already given by this call are taken back.
pub fn deliver(drafts: Vec<Draft>, force: bool) -> Result<Vec<PathBuf>, DeliverError> {
    let mut done = Vec::with_capacity(drafts.len());
    for draft in drafts {
        match draft.publish(force) {
            Ok(path) => done.push(path),
            Err(error) => {
                if !force {
                    for path in &done {
                        let _ = std::fs::remove_file(path);
                    }
                }
                return Err(error);
            }
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn drafts_appear_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("sub/a.wav");
        let (draft, mut file) = Draft::create(&target).unwrap();
        file.write_all(b"one").unwrap();
        assert!(!target.exists());
        drop(draft);
        assert_eq!(std::fs::read_dir(dir.path().join("sub")).unwrap().count(), 0);

        let write = |text: &[u8]| {
            let (draft, mut file) = Draft::create(&target).unwrap();
            file.write_all(text).unwrap();
            draft
        };
        deliver(vec![write(b"two")], false).unwrap();
        assert_eq!(deliver(vec![write(b"three")], false).unwrap_err().code(), "deliver.exists");
        assert_eq!(std::fs::read(&target).unwrap(), b"two");
        deliver(vec![write(b"four")], true).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"four");
        assert_eq!(std::fs::read_dir(dir.path().join("sub")).unwrap().count(), 1);
    }
}
