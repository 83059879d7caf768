//! Folders that only the account a service runs under may enter, and files that only it may read: 0700 and 0600, whatever the umask
//! was. Mixes nobody has released, mail with sign-in codes, and the keys of the service lie there.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a folder cannot be used for private data.
#[derive(Debug, thiserror::Error)]
pub enum NotPrivate {
    /// Another account owns it.
    #[error(
        "{} belongs to the user with id {owner}, and this process runs as {own}: run it as that user, or give the folder to this one \
         (chown -R {own} {})", .path.display(), .path.display()
    )]
    Owner {
        /// Which folder or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        own: u32,
    },
    /// Other accounts can put files there.
    #[error(
        "{} can be written by other users (mode {mode:04o}), so what is in it cannot be trusted: look through it, then close it with \
         chmod -R go-rwx {}", .path.display(), .path.display()
    )]
    Writable {
        /// Which folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file system says no.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Which folder or file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Bytes of a file with a secret, at most.
const LONGEST_SECRET: u64 = 64 << 10;

/// Why a file does not hold a secret. Never what it holds.
#[derive(Debug, thiserror::Error)]
pub enum NoSecret {
    /// The file system says no.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// Nothing is in it.
    #[error("is empty")]
    Empty,
    /// It has more than 64 KiB.
    #[error("has more than {LONGEST_SECRET} bytes, which is no secret")]
    Long,
    /// It is not UTF-8.
    #[error("holds bytes that are no text")]
    Binary,
}

/// The secret in a file, as containers, systemd and clusters hand them out, without the ends of lines behind it.
///
/// # Errors
/// There is none.
pub fn secret(path: &Path) -> Result<String, NoSecret> {
    let mut bytes = Vec::new();
    // A device has no end.
    File::open(path)?.take(LONGEST_SECRET + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_SECRET {
        return Err(NoSecret::Long);
    }
    let text = String::from_utf8(bytes).map_err(|_| NoSecret::Binary)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(NoSecret::Empty),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(unix)]
pub use unix::{file, folder, make, new_files, tighten};

#[cfg(unix)]
mod unix {
    use super::NotPrivate;
    use rustix::fs::Mode;
    use rustix::process::{geteuid, umask};
    use std::fs::{DirBuilder, Metadata, OpenOptions, Permissions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
    use std::path::Path;
    use walkdir::WalkDir;

    /// What the group and everybody else may do.
    const OTHERS: u32 = 0o077;
    /// What the group and everybody else may write.
    const OTHERS_WRITE: u32 = 0o022;

    /// From now on this process makes folders 0700 and files 0600. For the whole process, so it is called first in `main`.
    pub fn new_files() {
        umask(Mode::RWXG | Mode::RWXO);
    }

    /// Makes the folder with its parents, 0700, where it is not there.
    pub fn make(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    /// Makes an empty file, 0600, where none is there.
    pub fn file(path: &Path) -> io::Result<()> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the folder with its parents, 0700, or looks at the one that is there: it must be ours, and nobody else may write into it.
    pub fn folder(path: &Path) -> Result<(), NotPrivate> {
        let failed = |error| NotPrivate::Io { path: path.to_owned(), error };
        make(path).map_err(failed)?;
        let found = path.metadata().map_err(failed)?;
        let (owner, own) = (found.uid(), geteuid().as_raw());
        if owner != own {
            return Err(NotPrivate::Owner { path: path.to_owned(), owner, own });
        }
        if found.mode() & OTHERS_WRITE != 0 {
            return Err(NotPrivate::Writable { path: path.to_owned(), mode: found.mode() & 0o7777 });
        }
        Ok(())
    }

    /// Closes a folder of an earlier version to other users, and everything in it. Gives how many files and folders were open; costs one
    /// look into the folder where none is. Symbolic links are left alone, and so is what they lead to.
    pub fn tighten(path: &Path) -> Result<u64, NotPrivate> {
        let failed = |path: &Path, error: io::Error| NotPrivate::Io { path: path.to_owned(), error };
        if !is_open(&path.metadata().map_err(|error| failed(path, error))?) && !has_open(path)? {
            return Ok(0);
        }
        let mut closed = 0;
        // From the inside out: an interrupted walk leaves the outer folders open, and the next start walks again.
        for entry in WalkDir::new(path).contents_first(true) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if is_gone(error.io_error()) => continue,
                Err(error) => {
                    let at = error.path().unwrap_or(path).to_owned();
                    return Err(failed(&at, error.into()));
                }
            };
            // The root itself may be a link to another disk; it is followed.
            let found = if entry.depth() == 0 { path.metadata() } else { entry.path().symlink_metadata() };
            let found = match found {
                Ok(found) if found.is_symlink() || !is_open(&found) => continue,
                Ok(found) => found,
                Err(error) if is_gone(Some(&error)) => continue,
                Err(error) => return Err(failed(entry.path(), error)),
            };
            match std::fs::set_permissions(entry.path(), Permissions::from_mode(found.mode() & 0o7777 & !OTHERS)) {
                Ok(()) => closed += 1,
                Err(error) if is_gone(Some(&error)) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    let (owner, own) = (found.uid(), geteuid().as_raw());
                    return Err(NotPrivate::Owner { path: entry.path().to_owned(), owner, own });
                }
                Err(error) => return Err(failed(entry.path(), error)),
            }
        }
        Ok(closed)
    }

    fn is_open(found: &Metadata) -> bool {
        found.mode() & OTHERS != 0
    }

    /// Whether something directly in the folder is open.
    fn has_open(path: &Path) -> Result<bool, NotPrivate> {
        let failed = |error| NotPrivate::Io { path: path.to_owned(), error };
        for entry in path.read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.metadata() {
                Ok(found) if !found.is_symlink() && is_open(&found) => return Ok(true),
                Ok(_) => {}
                Err(error) if is_gone(Some(&error)) => {}
                Err(error) => return Err(NotPrivate::Io { path: entry.path(), error }),
            }
        }
        Ok(false)
    }

    /// Another process (the edge beside the api) may remove its files meanwhile.
    fn is_gone(error: Option<&io::Error>) -> bool {
        error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

/// Permissions of this system are not made of modes.
#[cfg(not(unix))]
pub fn new_files() {}

/// Makes the folder with its parents.
#[cfg(not(unix))]
pub fn make(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// The program makes its files by itself.
#[cfg(not(unix))]
pub fn file(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes the folder with its parents.
#[cfg(not(unix))]
pub fn folder(path: &Path) -> Result<(), NotPrivate> {
    make(path).map_err(|error| NotPrivate::Io { path: path.to_owned(), error })
}

/// Permissions of this system are not made of modes.
#[cfg(not(unix))]
pub fn tighten(_path: &Path) -> Result<u64, NotPrivate> {
    Ok(0)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_folder_is_made_private_and_an_open_one_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let made = temp.path().join("a/b");
        folder(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
        for open in [0o770, 0o707, 0o777, 0o1777, 0o2775] {
            set(&made, open);
            let refused = folder(&made).unwrap_err();
            assert!(matches!(refused, NotPrivate::Writable { .. }), "{open:o}: {refused}");
            assert!(refused.to_string().contains("chmod -R go-rwx"), "{refused}");
            assert_eq!(mode(&made), open, "refused, not changed");
        }
        set(&made, 0o755);
        folder(&made).unwrap();
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        // Nobody's but root's on every system; the tests of a container may run as root, and then give a folder away.
        let temp = tempfile::tempdir().unwrap();
        let theirs = if rustix::process::geteuid().is_root() {
            let theirs = temp.path().join("theirs");
            fs::create_dir(&theirs).unwrap();
            std::os::unix::fs::chown(&theirs, Some(65_534), None).unwrap();
            theirs
        } else {
            PathBuf::from("/")
        };
        let refused = folder(&theirs).unwrap_err();
        assert!(matches!(refused, NotPrivate::Owner { .. }), "{refused}");
    }

    #[test]
    fn a_secret_is_what_stands_in_its_file() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("secret");
        for (text, held) in
            [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2"), (" a\nb \n\n", " a\nb ")]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(secret(&path).unwrap(), held);
        }
        for empty in ["", "\n", "\r\n"] {
            fs::write(&path, empty).unwrap();
            assert!(matches!(secret(&path), Err(NoSecret::Empty)), "{empty:?}");
        }
        fs::write(&path, b"hunter2\xff").unwrap();
        let refused = secret(&path).unwrap_err();
        assert!(matches!(refused, NoSecret::Binary) && !format!("{refused} {refused:?}").contains("hunter2"));
        assert!(matches!(secret(Path::new("/dev/zero")), Err(NoSecret::Long)));
        for nothing in [temp.path(), &temp.path().join("nothing")] {
            assert!(matches!(secret(nothing), Err(NoSecret::Unreadable(_))), "{}", nothing.display());
        }
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("data"), "").unwrap();
        assert!(matches!(folder(&temp.path().join("data")).unwrap_err(), NotPrivate::Io { .. }));
        assert!(matches!(folder(&temp.path().join("data/under")).unwrap_err(), NotPrivate::Io { .. }));
    }

    #[test]
    fn an_open_tree_is_closed_once_and_links_are_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let (data, outside) = (temp.path().join("data"), temp.path().join("outside"));
        fs::create_dir_all(data.join("files/blobs")).unwrap();
        for file in [&data.join("loopmaster.db"), &data.join("files/blobs/1"), &outside] {
            fs::write(file, "").unwrap();
            set(file, 0o644);
        }
        for folder in ["", "files", "files/blobs"] {
            set(&data.join(folder), 0o755);
        }
        symlink(&outside, data.join("link")).unwrap();
        assert_eq!(tighten(&data).unwrap(), 5);
        for (path, expected) in
            [("", 0o700), ("files/blobs", 0o700), ("files/blobs/1", 0o600), ("loopmaster.db", 0o600)]
        {
            assert_eq!(mode(&data.join(path)), expected, "{path}");
        }
        assert_eq!(mode(&outside), 0o644);
        assert_eq!(tighten(&data).unwrap(), 0);
        // A folder that was closed by hand, with open files in it.
        set(&data.join("loopmaster.db"), 0o644);
        assert_eq!(tighten(&data).unwrap(), 1);
    }

    #[test]
    fn a_folder_behind_a_link_is_closed_too() {
        let temp = tempfile::tempdir().unwrap();
        let (disk, data) = (temp.path().join("disk"), temp.path().join("data"));
        fs::create_dir(&disk).unwrap();
        fs::write(disk.join("loopmaster.db"), "").unwrap();
        set(&disk.join("loopmaster.db"), 0o644);
        set(&disk, 0o755);
        symlink(&disk, &data).unwrap();
        folder(&data).unwrap();
        assert_eq!(tighten(&data).unwrap(), 2);
        assert_eq!((mode(&disk), mode(&disk.join("loopmaster.db"))), (0o700, 0o600));
    }
}
