//! One row of a manifest: what it asks for, and everything that is wrong with it.

use super::table::Record;
use crate::push::fits;
use loopmaster_cli::inputs::Input;
use loopmaster_core::plan;
use loopmaster_core::settings::{Named, SettingError, Settings, TagWishes, isrc};
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// The columns that name files.
pub(super) const FILES: [&str; 2] = ["file", "reference"];

/// Something that is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: String,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(code: &str, reason: String) -> Self {
        Self { code: code.to_owned(), reason }
    }
}

/// A row that was looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) number: u64,
    /// What its cell `file` says.
    pub(super) named: String,
    pub(super) input: Option<Input>,
    pub(super) settings: Settings,
    pub(super) reference: Option<PathBuf>,
    /// Without hyphens.
    pub(super) isrc: Option<String>,
    pub(super) faults: Vec<Fault>,
}

/// Looks at rows.
#[derive(Debug)]
pub(super) struct Look<'a> {
    /// Where the manifest lies.
    folder: &'a Path,
    /// What empty cells mean.
    base: Named,
    reference: Option<PathBuf>,
    /// References that were looked at.
    known: HashMap<PathBuf, Option<Fault>>,
}

impl<'a> Look<'a> {
    pub(super) fn new(folder: &'a Path, base: Named, reference: Option<PathBuf>) -> Self {
        Self { folder, base, reference, known: HashMap::new() }
    }

    pub(super) fn row(&mut self, record: &Record, columns: &[String]) -> Row {
        let mut row = Row { number: record.row, reference: self.reference.clone(), ..Row::default() };
        let mut named = self.base.clone();
        for (column, cell) in columns.iter().zip(&record.cells) {
            let cell = cell.trim();
            if cell.is_empty() {
                continue;
            }
            match column.as_str() {
                "file" => cell.clone_into(&mut row.named),
                "reference" => row.reference = Some(self.place(cell)),
                _ => {
                    if let Err(error) = named.set(column, cell) {
                        row.faults.push(Fault::new("plan.unreadable_setting", suggested(&error)));
                    }
                }
            }
        }
        if let Some(reason) = &record.broken {
            row.faults.push(Fault::new("manifest.cells", reason.clone()));
            return row;
        }
        self.file(&mut row);
        if let Some(path) = row.reference.clone() {
            let look = || {
                fits::look(&path)
                    .err()
                    .map(|(code, reason)| Fault::new(&code, format!("the reference {}: {reason}", path.display())))
            };
            row.faults.extend(self.known.entry(path.clone()).or_insert_with(look).clone());
        }
        let settings = named.finish();
        if let Err(error) = settings.tags.check() {
            row.faults.push(Fault::new(error.code(), error.to_string()));
        }
        if let Err(error) = plan::check(&Settings { tags: TagWishes::default(), ..settings.clone() }) {
            let reason = match &error {
                plan::PlanError::UnknownDestination { value, known } => {
                    near(&error.to_string(), value, known.split(", "))
                }
                _ => error.to_string(),
            };
            row.faults.push(Fault::new(error.code(), reason));
        }
        row.isrc = settings.tags.isrc.as_deref().and_then(isrc);
        row.settings = settings;
        row
    }

    /// A name in the manifest, from here.
    fn place(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        // As Windows writes it.
        let other = self.folder.join(name.replace('\\', "/"));
        if !path.exists() && other.exists() { other } else { path }
    }

    fn file(&self, row: &mut Row) {
        if row.named.is_empty() {
            row.faults.push(Fault::new("manifest.no_file", "the row names no file".to_owned()));
            return;
        }
        let path = self.place(&row.named);
        if let Err((code, reason)) = fits::look(&path) {
            row.faults.push(Fault::new(&code, reason));
        }
        let bytes = std::fs::metadata(&path).map_or(0, |about| about.len());
        let below = path.strip_prefix(self.folder).ok().and_then(Path::parent).unwrap_or(Path::new(""));
        let inside = below.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let below = if inside { below.to_owned() } else { PathBuf::new() };
        row.input = Some(Input { path, below, bytes });
    }
}

/// Of these names the one that was most likely meant.
pub(super) fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let near = names.map(|name| (strsim::damerau_levenshtein(&typed, name), name));
    // A third of it may be wrong.
    near.filter(|(wrong, name)| *wrong <= (name.chars().count() / 3).max(1))
        .min_by_key(|(wrong, _)| *wrong)
        .map(|(_, name)| name)
}

/// With the word that was meant in the place of a list of all words.
fn near<'a>(said: &str, typed: &str, names: impl Iterator<Item = &'a str>) -> String {
    let first = said.rsplit_once("; use ").map_or(said, |(first, _)| first);
    nearest(typed, names).map_or_else(|| said.to_owned(), |near| format!("{first}; did you mean `{near}`?"))
}

fn suggested(error: &SettingError) -> String {
    near(&error.to_string(), &error.value, error.expected.split(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word() {
        let words = || ["gentle", "balanced", "warm", "open", "punchy", "loud"].into_iter();
        for (typed, near) in [
            ("warmm", Some("warm")),
            ("Bulanced", Some("balanced")),
            ("punhcy", Some("punchy")),
            ("oben", Some("open")),
            ("metal", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, words()), near, "{typed}");
        }
        let error = "mp3-32".parse::<loopmaster_core::settings::Format>().unwrap_err();
        assert!(suggested(&error).ends_with("did you mean `mp3-320`?"), "{}", suggested(&error));
    }
}
