//! Where a key lives on the disk: a folder per `/`, names that stay safe and in order.
//!
//! Every name carries a suffix saying what it is, so an object `a` and the folder of `a/b` never meet, and no key, however it is
//! spelled, becomes `.`, `..` or an absolute path. Only `a-z 0-9 . _ -` stand for themselves: names cannot meet on file systems that
//! ignore case either. A segment too long for a file name goes on in a folder of its own.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// Longest stretch of an encoded segment in one name; file systems allow 255 bytes.
const LONGEST: usize = 200;

/// What a name in the tree stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The record of an object.
    Object,
    /// Everything below `segment/`.
    Folder,
    /// The rest of a segment too long for one name.
    Rest,
}

impl Kind {
    const fn suffix(self) -> char {
        match self {
            Self::Object => '=',
            Self::Folder => '~',
            Self::Rest => '+',
        }
    }
}

/// The path of a key's record below `root`.
pub(super) fn path_of(root: &Path, key: &str) -> PathBuf {
    let mut path = root.to_owned();
    let mut segments = key.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = if segments.peek().is_some() { Kind::Folder } else { Kind::Object };
        push_segment(&mut path, segment, last);
    }
    path
}

fn push_segment(path: &mut PathBuf, segment: &str, last: Kind) {
    let mut name = String::with_capacity(segment.len() + 1);
    for byte in segment.bytes() {
        if name.len() + 3 > LONGEST {
            name.push(Kind::Rest.suffix());
            path.push(&name);
            name.clear();
        }
        if matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-') {
            name.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(name, "%{byte:02x}");
        }
    }
    name.push(last.suffix());
    path.push(name);
}

fn decode(name: &str) -> Option<(Vec<u8>, Kind)> {
    let kind = [Kind::Object, Kind::Folder, Kind::Rest].into_iter().find(|kind| name.ends_with(kind.suffix()))?;
    let mut bytes = name[..name.len() - 1].bytes();
    let mut decoded = Vec::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    Some((decoded, kind))
}

/// One thing in a folder of the tree: its name is the key's next segment, with a `/` behind it where more follows.
#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    kind: Kind,
    path: PathBuf,
}

/// What is in a folder, in the order of the keys. Keys below `a/` all begin with `a/`, so sorting each folder by its names with that
/// slash sorts the whole tree.
fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut all = Vec::new();
    collect(folder, &[], &mut all)?;
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn collect(folder: &Path, lead: &[u8], all: &mut Vec<Entry>) -> io::Result<()> {
    let found = match std::fs::read_dir(folder) {
        // A folder whose last object has just been deleted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    for entry in found {
        let entry = entry?;
        let Some((rest, kind)) = entry.file_name().to_str().and_then(decode) else { continue };
        let mut name = [lead, &rest].concat();
        match kind {
            Kind::Rest => collect(&entry.path(), &name, all)?,
            Kind::Object => all.push(Entry { name, kind, path: entry.path() }),
            Kind::Folder => {
                name.push(b'/');
                all.push(Entry { name, kind, path: entry.path() });
            }
        }
    }
    Ok(())
}

/// What the visitor of a walk wants next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next key.
    Key,
    /// The next key that does not begin with this.
    Past(String),
    /// Nothing.
    End,
}

/// Where a walk goes.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Only keys that begin so.
    pub(super) prefix: String,
    /// Only keys behind this one.
    pub(super) after: String,
    /// None of the keys that begin so.
    pub(super) past: Option<String>,
}

impl Walk {
    /// Visits keys in their order.
    pub(super) fn run(mut self, root: &Path, visit: &mut dyn FnMut(&str, &Path) -> io::Result<Next>) -> io::Result<()> {
        self.folder(root, "", visit).map(|_| ())
    }

    fn folder(
        &mut self,
        folder: &Path,
        base: &str,
        visit: &mut dyn FnMut(&str, &Path) -> io::Result<Next>,
    ) -> io::Result<bool> {
        for entry in entries(folder)? {
            let Ok(name) = String::from_utf8(entry.name) else { continue };
            let full = format!("{base}{name}");
            if self.past.as_ref().is_some_and(|past| full.starts_with(past)) {
                continue;
            }
            let go_on = match entry.kind {
                Kind::Folder => {
                    let inside = full.starts_with(&self.prefix) || self.prefix.starts_with(&full);
                    let behind = full > self.after || self.after.starts_with(&full);
                    !inside || !behind || self.folder(&entry.path, &full, visit)?
                }
                Kind::Object | Kind::Rest => {
                    if !full.starts_with(&self.prefix) || full <= self.after {
                        continue;
                    }
                    match visit(&full, &entry.path)? {
                        Next::Key => true,
                        Next::Past(past) => {
                            self.past = Some(past);
                            true
                        }
                        Next::End => false,
                    }
                }
            };
            if !go_on {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(root: &Path, keys: &[String]) {
        for key in keys {
            let path = path_of(root, key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, key).unwrap();
        }
    }

    fn walked(root: &Path, walk: Walk) -> Vec<String> {
        let mut keys = Vec::new();
        walk.run(root, &mut |key, path| {
            assert_eq!(std::fs::read_to_string(path)?, key);
            keys.push(key.to_owned());
            Ok(Next::Key)
        })
        .unwrap();
        keys
    }

    #[test]
    fn no_key_leaves_the_folder() {
        let root = Path::new("/r");
        for key in
            ["..", "../../etc/passwd", "/etc/passwd", ".", "a/../../b", "\\..\\x", "a\0b", "a//b", "CON", "ä", "%2e%2e"]
        {
            let path = path_of(root, key);
            assert!(path.starts_with(root), "{key}: {}", path.display());
            assert!(path.components().all(|part| !matches!(part, std::path::Component::ParentDir)), "{key}");
        }
        assert_ne!(path_of(root, "a"), path_of(root, "A"));
        assert_ne!(path_of(root, "a//b"), path_of(root, "a/b"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn keys_come_back_in_their_order(
            keys in prop::collection::btree_set("[ab/.A\u{e9}-]{1,12}|[aB]{195,205}(/[a.]{0,2})?|[a/]{1,5}[\u{4e2d}]{60,80}", 1..24),
            prefix in "[ab/]{0,2}",
            after in "[ab/.]{0,3}",
        ) {
            let root = tempfile::tempdir().unwrap();
            let keys: Vec<String> = keys.into_iter().collect();
            stored(root.path(), &keys);
            prop_assert_eq!(&walked(root.path(), Walk::default()), &keys);
            let wanted: Vec<String> =
                keys.iter().filter(|key| key.starts_with(&prefix) && **key > after).cloned().collect();
            let walk = Walk { prefix, after, past: None };
            prop_assert_eq!(walked(root.path(), walk), wanted);
        }
    }

    #[test]
    fn the_longest_key_fits() {
        let root = tempfile::tempdir().unwrap();
        let keys: Vec<String> = vec!["/".repeat(1024), "A".repeat(1024), "é".repeat(512), "a/".repeat(512)];
        stored(root.path(), &keys);
        assert_eq!(walked(root.path(), Walk::default()).len(), keys.len());
    }
}
