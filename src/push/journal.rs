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
    /// An upload was made for a file as it was then, and with it the master that was ordered.
    Upload {
        file: String,
        stamp: String,
        id: String,
        /// What stands in a manifest for the file, as a short name of it; empty where all files are ordered alike.
        #[serde(default)]
        order: String,
    },
    /// A master will not come, and that was said. The next run makes another of the same upload.
    Failed { master: String },
    /// That other master, or one that was ordered differently.
    Again {
        upload: String,
        master: String,
        #[serde(default)]
        order: String,
    },
    /// The results of a file as it was then are here.
    Done {
        file: String,
        stamp: String,
        track: Box<Here>,
        #[serde(default)]
        order: String,
    },
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
    /// What an upload's own master was ordered as.
    orders: HashMap<String, String>,
    failed: HashSet<String>,
    /// By upload and order.
    again: HashMap<(String, String), String>,
    /// By file: as it was, what was ordered, and what came.
    done: HashMap<String, (String, String, Here)>,
}

impl Known {
    fn learn(&mut self, step: Step) {
        match step {
            Step::Begun { run } => self.run = run,
            Step::Batch { id } => self.batch = Some(id),
            Step::Upload { file, stamp, id, order } => {
                self.orders.insert(id.clone(), order);
                self.uploads.insert((file, stamp), id);
            }
            Step::Failed { master } => {
                self.failed.insert(master);
            }
            Step::Again { upload, master, order } => {
                self.again.insert((upload, order), master);
            }
            Step::Done { file, stamp, track, order } => {
                self.done.insert(file, (stamp, order, *track));
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

    /// The latest master of an upload by this order; `first` is the one that was made with the upload.
    pub(super) fn latest(&self, upload: &str, order: &str, first: Option<String>) -> Option<String> {
        self.read(|known| {
            let again = known.again.get(&(upload.to_owned(), order.to_owned())).cloned();
            again.or_else(|| first.filter(|_| known.orders.get(upload).is_none_or(|own| own == order)))
        })
    }

    /// The results of a file that has not changed since, by this order.
    pub(super) fn here(&self, file: &str, stamp: &str, order: &str) -> Option<Here> {
        self.read(|known| {
            let (as_it_was, ordered, here) = known.done.get(file)?;
            (as_it_was == stamp && ordered == order).then(|| here.clone())
        })
    }

    /// What came last of a file, whatever it was and however it was ordered.
    pub(super) fn came(&self, file: &str) -> Vec<Artifact> {
        self.read(|known| known.done.get(file).map(|(.., here)| here.files.clone()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let upload = Step::Upload {
            file: "ä.wav".to_owned(),
            stamp: "1".to_owned(),
            id: "upl_1".to_owned(),
            order: "warm".to_owned(),
        };
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
        let again = |order: &str, master: &str| Step::Again {
            upload: "upl_1".to_owned(),
            master: master.to_owned(),
            order: order.to_owned(),
        };
        let latest = |journal: &Journal, order: &str| journal.latest("upl_1", order, Some("mst_1".to_owned()));
        assert_eq!((latest(&journal, "warm").as_deref(), latest(&journal, "loud")), (Some("mst_1"), None));
        journal.write(again("warm", "mst_2")).unwrap();
        journal.write(again("loud", "mst_3")).unwrap();
        drop(journal);
        let journal = Journal::open(folder.path(), "a", "old", false).unwrap();
        assert!(journal.has_failed("mst_1") && !journal.has_failed("mst_2"));
        assert_eq!(latest(&journal, "warm").as_deref(), Some("mst_2"));
        assert_eq!(latest(&journal, "loud").as_deref(), Some("mst_3"));
        drop(journal);
        // What the version before wrote, under the name that it gave.
        let old = "{\"step\":\"begun\",\"run\":\"r\"}\n{\"step\":\"upload\",\"file\":\"b.wav\",\"stamp\":\"3\",\"id\":\"upl_3\"}\n";
        std::fs::write(folder.path().join("old.jsonl"), old).unwrap();
        let journal = Journal::open(folder.path(), "new", "old", false).unwrap();
        assert_eq!((journal.key("x").as_str(), journal.upload("b.wav", "3").as_deref()), ("r-x", Some("upl_3")));
        assert_eq!(journal.latest("upl_3", "", Some("mst_1".to_owned())).as_deref(), Some("mst_1"));
        drop(journal);
        assert_ne!(Journal::open(folder.path(), "a", "old", true).unwrap().key("batch"), key);
    }
}
