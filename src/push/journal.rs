//! What a push has done so far, so that the same command goes on after a crash, or after a part of it has failed. Lines of JSON, each
//! durable before the next step; the service stays the truth about which bytes it has. Lines that a version does not know are passed over.

use super::api::Artifact;
use super::error::PushError;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// A step taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(super) enum Step {
    /// The push began; creates are named after it, so that one whose answer was lost is not made twice.
    Begun { run: String },
    /// The batch was made.
    Batch { id: String },
    /// An upload was made for a file as it was then.
    Upload { file: String, stamp: String, id: String },
    /// A master will not come, and that was said. The next run makes another of the same upload.
    Failed { master: String },
    /// That other master.
    Again { upload: String, master: String },
    /// The results of a file as it was then are here.
    Done { file: String, stamp: String, track: Box<Here> },
}

/// A track whose results are here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Here {
    pub(super) master: String,
    pub(super) seconds: Option<f64>,
    pub(super) lufs: Option<f64>,
    pub(super) dbtp: Option<f64>,
    /// Whether reports and previews were fetched, too.
    pub(super) report: bool,
    pub(super) preview: bool,
    pub(super) files: Vec<Artifact>,
}

#[derive(Debug, Default)]
struct Known {
    run: String,
    batch: Option<String>,
    uploads: HashMap<(String, String), String>,
    failed: HashSet<String>,
    again: HashMap<String, String>,
    done: HashMap<(String, String), Here>,
}

impl Known {
    fn learn(&mut self, step: Step) {
        match step {
            Step::Begun { run } => self.run = run,
            Step::Batch { id } => self.batch = Some(id),
            Step::Upload { file, stamp, id } => {
                self.uploads.insert((file, stamp), id);
            }
            Step::Failed { master } => {
                self.failed.insert(master);
            }
            Step::Again { upload, master } => {
                self.again.insert(upload, master);
            }
            Step::Done { file, stamp, track } => {
                self.done.insert((file, stamp), *track);
            }
        }
    }
}

/// The journal of one push.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    inner: Mutex<(File, Known)>,
}

impl Journal {
    /// Opens the journal under a name, begun where there is none; `before` is the name that the version before gave it. `fresh` forgets
    /// what it says.
    pub(super) fn open(folder: &Path, name: &str, before: &str, fresh: bool) -> Result<Self, PushError> {
        let path = folder.join(format!("{name}.jsonl"));
        let failed = |source| PushError::File { path: path.clone(), source };
        // Names of unreleased music stand in it.
        loopmaster_private::make(folder).map_err(failed)?;
        let old = folder.join(format!("{before}.jsonl"));
        if !path.exists() && old.exists() {
            // Whoever has it locked keeps the lock.
            std::fs::rename(&old, &path).map_err(failed)?;
        }
        loopmaster_private::file(&path).map_err(failed)?;
        loopmaster_private::tighten(folder).map_err(|error| failed(std::io::Error::other(error)))?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        file.try_lock().map_err(|_| PushError::Running(path.clone()))?;
        if fresh {
            file.set_len(0).map_err(failed)?;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        // A line the machine went down on is no step.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut known = Known::default();
        let lines = bytes[..whole].split(|byte| *byte == b'\n');
        lines.filter_map(|line| serde_json::from_slice(line).ok()).for_each(|step| known.learn(step));
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        let new = known.run.is_empty();
        let journal = Self { path: path.clone(), inner: Mutex::new((file, known)) };
        if new {
            journal.write(Step::Begun { run: Uuid::new_v4().simple().to_string() })?;
            // The name, too, has to last.
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(journal)
    }

    /// Makes a step durable.
    pub(super) fn write(&self, step: Step) -> Result<(), PushError> {
        let failed = |source| PushError::File { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(&step).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0.write_all(&line).and_then(|()| inner.0.sync_data()).map_err(failed)?;
        inner.1.learn(step);
        Ok(())
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.inner.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// A name for a create, the same whenever this push is taken up again.
    pub(super) fn key(&self, what: &str) -> String {
        self.read(|known| format!("{}-{what}", known.run))
    }

    pub(super) fn batch(&self) -> Option<String> {
        self.read(|known| known.batch.clone())
    }

    /// The upload made for a file that has not changed since.
    pub(super) fn upload(&self, file: &str, stamp: &str) -> Option<String> {
        self.read(|known| known.uploads.get(&(file.to_owned(), stamp.to_owned())).cloned())
    }

    /// Whether it was said that this master will not come.
    pub(super) fn has_failed(&self, master: &str) -> bool {
        self.read(|known| known.failed.contains(master))
    }

    /// The latest master that was made of an upload because the one before had failed.
    pub(super) fn again(&self, upload: &str) -> Option<String> {
        self.read(|known| known.again.get(upload).cloned())
    }

    /// The results of a file that has not changed since.
    pub(super) fn here(&self, file: &str, stamp: &str) -> Option<Here> {
        self.read(|known| known.done.get(&(file.to_owned(), stamp.to_owned())).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let upload = Step::Upload { file: "ä.wav".to_owned(), stamp: "1".to_owned(), id: "upl_1".to_owned() };
        let journal = Journal::open(folder.path(), "a", "old", false).unwrap();
        assert!(matches!(Journal::open(folder.path(), "a", "old", false), Err(PushError::Running(_))));
        let key = journal.key("batch");
        journal.write(Step::Batch { id: "bat_1".to_owned() }).unwrap();
        journal.write(upload).unwrap();
        drop(journal);
        // The machine went down in the middle of a line.
        let path = folder.path().join("a.jsonl");
        let text = std::fs::read_to_string(&path).unwrap() + "{\"step\":\"batch\",\"i";
        std::fs::write(&path, &text).unwrap();
        let journal = Journal::open(folder.path(), "a", "old", false).unwrap();
        assert_eq!((journal.key("batch"), journal.batch().as_deref()), (key.clone(), Some("bat_1")));
        assert_eq!(journal.upload("ä.wav", "1").as_deref(), Some("upl_1"));
        assert_eq!(journal.upload("ä.wav", "2"), None);
        journal.write(Step::Failed { master: "mst_1".to_owned() }).unwrap();
        journal.write(Step::Again { upload: "upl_1".to_owned(), master: "mst_2".to_owned() }).unwrap();
        drop(journal);
        let journal = Journal::open(folder.path(), "a", "old", false).unwrap();
        assert!(journal.has_failed("mst_1") && !journal.has_failed("mst_2"));
        assert_eq!(journal.again("upl_1").as_deref(), Some("mst_2"));
        drop(journal);
        // What the version before wrote, under the name that it gave.
        let old = "{\"step\":\"begun\",\"run\":\"r\"}\n{\"step\":\"upload\",\"file\":\"b.wav\",\"stamp\":\"3\",\"id\":\"upl_3\"}\n";
        std::fs::write(folder.path().join("old.jsonl"), old).unwrap();
        let journal = Journal::open(folder.path(), "new", "old", false).unwrap();
        assert_eq!((journal.key("x").as_str(), journal.upload("b.wav", "3").as_deref()), ("r-x", Some("upl_3")));
        drop(journal);
        assert_ne!(Journal::open(folder.path(), "a", "old", true).unwrap().key("batch"), key);
    }
}
