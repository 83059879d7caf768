//! Folders for files under way, which go with whoever made them: by itself where that ends well, and otherwise by the next who looks.
//!
//! Each has a lock file that its maker keeps locked. The system takes the lock away with the process, however that ends; a folder whose
//! lock can be had belongs to nobody any more. Making one and looking for dead ones take turns, so that nobody sees a folder whose lock
//! is still to come.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// In each folder.
const LOCK: &str = "lock";
/// Beside them: whose turn it is.
const TURN: &str = ".turn";
/// Something is in it where the maker has crashed.
const CRASHED: &str = "crashed";
/// A folder of a worker; its name follows.
const WORKER: &str = "worker-";
/// A folder of somebody else.
const OTHER: &str = "scratch-";

/// A folder of its own for files under way; it goes when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// A folder below `root` for the worker of this name.
    pub(super) fn of_worker(root: &Path, name: &str) -> io::Result<Self> {
        Self::make(root, &format!("{WORKER}{name}"))
    }

    /// A folder below `root` for anything else.
    pub fn new(root: &Path) -> io::Result<Self> {
        Self::make(root, &format!("{OTHER}{}", uuid::Uuid::now_v7().simple()))
    }

    fn make(root: &Path, name: &str) -> io::Result<Self> {
        let _turn = turn(root)?;
        let path = root.join(name);
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        let lock = File::create_new(path.join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that tells whoever finds this folder that its maker has crashed.
    pub(super) fn last_words(&self) -> io::Result<File> {
        File::create(self.path.join(CRASHED))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, folder = %self.path.display(), "a folder of files under way stays until the next start");
        }
    }
}

/// A folder whose maker is dead, and that nobody else sees as such meanwhile.
#[derive(Debug)]
pub struct Dead {
    path: PathBuf,
    /// Its name, where it was a worker.
    pub(super) worker: Option<String>,
    /// By a fault of its own, as far as it could still tell.
    pub(super) crashed: bool,
    _lock: Option<File>,
}

impl Dead {
    /// Removes it with all that is in it.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

/// The folders below `root` whose makers are dead.
pub fn dead(root: &Path) -> io::Result<Vec<Dead>> {
    if !root.is_dir() {
        return Ok(Vec::new());
    }
    let _turn = turn(root)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let ours = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        // A link is never followed: what it names is not ours.
        if !entry.file_type()?.is_dir() || !ours(&[WORKER, OTHER]) {
            continue;
        }
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => match lock.try_lock() {
                Ok(()) => Some(lock),
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            },
            // From between the making of a folder and of its lock.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let crashed = fs::metadata(path.join(CRASHED)).is_ok_and(|about| about.len() > 0);
        let worker = name.strip_prefix(WORKER).map(str::to_owned);
        found.push(Dead { path, worker, crashed, _lock: lock });
    }
    Ok(found)
}

fn turn(root: &Path) -> io::Result<File> {
    fs::create_dir_all(root)?;
    let turn = File::create(root.join(TURN))?;
    turn.lock()?;
    Ok(turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_are_found_and_the_living_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let living = Scratch::of_worker(root, "host-1").unwrap();
        fs::write(living.path().join("mix"), "mine").unwrap();
        // Killed: the lock is gone, the folder is there.
        for (name, words) in [("worker-host-2", ""), ("worker-host-3", "x")] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join(LOCK), "").unwrap();
            fs::write(root.join(name).join(CRASHED), words).unwrap();
            fs::create_dir(root.join(name).join("track-1")).unwrap();
            fs::write(root.join(name).join("track-1/mix"), "a customer's").unwrap();
        }
        // From between, and not ours at all.
        for name in ["worker-between", "elsewhere"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(root.join("elsewhere"), root.join("worker-link")).unwrap();
        fs::write(root.join("worker-file"), "").unwrap();

        let found = dead(root).unwrap();
        assert!(dead(root).unwrap().len() < found.len(), "who has found a locked one keeps it");
        let mut workers: Vec<_> = found.iter().map(|dead| (dead.worker.as_deref(), dead.crashed)).collect();
        workers.sort_unstable();
        let wanted = [(Some("between"), false), (Some("host-2"), false), (Some("host-3"), true)];
        assert_eq!(workers, wanted);
        for dead in found {
            dead.remove().unwrap();
        }
        let mut left: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let wanted: &[&str] =
            if cfg!(unix) { &[".turn", "elsewhere", "worker-file", "worker-host-1", "worker-link"] } else { &[] };
        assert!(!cfg!(unix) || left == wanted, "{left:?}");
        assert_eq!(fs::read_to_string(living.path().join("mix")).unwrap(), "mine");
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }
}
