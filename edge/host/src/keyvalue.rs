//! The key-value store: in memory, with compare-and-swap and increment as Spin has them, and kept in a file between runs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A store. Values have versions, so that a swap is told from a change and its undoing.
#[derive(Debug, Default)]
pub struct KeyValue {
    held: Mutex<Held>,
    file: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Held {
    values: BTreeMap<String, (u64, Vec<u8>)>,
    version: u64,
    changed: bool,
}

/// The value of a key has changed since it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed;

impl KeyValue {
    /// A store that is kept in `file`. What cannot be read of it is reported and forgotten: counters, not data.
    #[must_use]
    pub fn open(file: Option<PathBuf>) -> Self {
        let store = Self { file, ..Self::default() };
        let Some(text) = store.file.as_ref().and_then(|file| std::fs::read(file).ok()) else { return store };
        let read: Result<BTreeMap<String, String>, _> = serde_json::from_slice(&text);
        match read {
            Ok(values) => {
                let mut held = store.held();
                for (key, value) in values {
                    if let Ok(value) = STANDARD.decode(value) {
                        held.version += 1;
                        let version = held.version;
                        held.values.insert(key, (version, value));
                    }
                }
            }
            Err(error) => eprintln!("edge_host.store_unreadable the key-value store begins empty: {error}"),
        }
        store
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // A map is whole even if somebody panicked while they held it.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a key and its version.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<(u64, Vec<u8>)> {
        self.held().values.get(key).cloned()
    }

    /// Sets a key.
    pub fn set(&self, key: &str, value: Vec<u8>) {
        self.held().set(key, value);
    }

    /// Deletes a key.
    pub fn delete(&self, key: &str) {
        let mut held = self.held();
        held.changed |= held.values.remove(key).is_some();
    }

    /// All keys.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.held().values.keys().cloned().collect()
    }

    /// Sets a key if its version is still `seen`; `None`: it was not there.
    pub fn swap(&self, key: &str, seen: Option<u64>, value: Vec<u8>) -> Result<(), Changed> {
        let mut held = self.held();
        if held.values.get(key).map(|(version, _)| *version) != seen {
            return Err(Changed);
        }
        held.set(key, value);
        Ok(())
    }

    /// Adds to a key that holds a number in eight little-endian bytes, as Spin's stores do; `None`: it holds something else.
    pub fn increment(&self, key: &str, delta: i64) -> Option<i64> {
        let mut held = self.held();
        let number = match held.values.get(key) {
            None => 0,
            Some((_, value)) => i64::from_le_bytes(value.as_slice().try_into().ok()?),
        };
        let sum = number.checked_add(delta)?;
        held.set(key, sum.to_le_bytes().to_vec());
        Some(sum)
    }

    /// Writes the file if something has changed since. Readers see the old one or the new one.
    pub fn save(&self) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let text = {
            let mut held = self.held();
            if !std::mem::take(&mut held.changed) {
                return Ok(());
            }
            let values: BTreeMap<_, _> =
                held.values.iter().map(|(key, (_, value))| (key, STANDARD.encode(value))).collect();
            serde_json::to_vec(&values)?
        };
        let beside = file.with_extension("new");
        let mut written = private(&beside)?;
        written.write_all(&text)?;
        written.sync_all()?;
        std::fs::rename(&beside, file)
    }
}

/// The key of the day is in the store: nobody else reads it.
fn private(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Held {
    fn set(&mut self, key: &str, value: Vec<u8>) {
        self.version += 1;
        self.changed = true;
        self.values.insert(key.to_owned(), (self.version, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_sees_every_change() {
        let store = KeyValue::default();
        assert_eq!(store.swap("a", Some(1), vec![1]), Err(Changed));
        assert_eq!(store.swap("a", None, vec![1]), Ok(()));
        let (seen, _) = store.get("a").unwrap();
        store.set("a", vec![2]);
        store.set("a", vec![1]);
        assert_eq!(store.swap("a", Some(seen), vec![3]), Err(Changed), "there and back is a change");
        store.delete("a");
        assert_eq!(store.swap("a", None, vec![4]), Ok(()));
    }

    #[test]
    fn numbers_are_added_to_and_other_things_are_not() {
        let store = KeyValue::default();
        assert_eq!((store.increment("n", 2), store.increment("n", -5)), (Some(2), Some(-3)));
        store.set("n", b"text".to_vec());
        assert_eq!(store.increment("n", 1), None);
        store.set("n", i64::MAX.to_le_bytes().to_vec());
        assert_eq!(store.increment("n", 1), None);
    }

    #[test]
    fn the_store_survives_a_restart_and_a_broken_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.json");
        let store = KeyValue::open(Some(file.clone()));
        store.set("day-key", vec![0, 255]);
        store.save().unwrap();
        assert_eq!(KeyValue::open(Some(file.clone())).get("day-key").unwrap().1, [0, 255]);
        std::fs::write(&file, "{").unwrap();
        assert_eq!(KeyValue::open(Some(file)).keys(), Vec::<String>::new());
    }
}
