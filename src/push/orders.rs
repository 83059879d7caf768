//! What is to be pushed, and how: the mixes that were named, all alike, or the rows of a manifest, each by itself.

use super::error::PushError;
use super::manifest::{self, Ordered};
use super::place;
use super::send::Source;
use crate::cli::PushArgs;
use crate::digest::hex;
use loopmaster_cli::inputs::{self, Input};
use loopmaster_cli::master::output_folders;
use loopmaster_cli::progress::Progress;
use loopmaster_core::Settings;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A mix, and what is to be made of it.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub(super) mix: PathBuf,
    /// Where its results go.
    pub(super) folder: PathBuf,
    /// Place among the others, from 1.
    pub(super) position: usize,
    pub(super) settings: Value,
    pub(super) reference: Option<PathBuf>,
    /// A short name for settings and reference; empty where all tracks of a journal have the same.
    pub(super) order: String,
}

/// All that one command asks for.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) tracks: Vec<Track>,
    /// Whether they are a batch.
    pub(super) batch: bool,
    /// What it is called.
    pub(super) name: String,
    /// Names that lead nowhere, and rows that are rejected; all of them have been told.
    pub(super) left_out: usize,
    /// The journal's name, and the one that the version before gave it.
    pub(super) journal: (String, String),
}

impl Orders {
    /// What these arguments ask for, over these settings.
    pub(super) fn of(args: &PushArgs, base: Settings, progress: &Progress) -> Result<Self, PushError> {
        match &args.manifest {
            Some(path) => Self::by_manifest(path, args, &base, progress),
            None => Ok(Self::by_name(args, base, progress)),
        }
    }

    fn by_name(args: &PushArgs, base: Settings, progress: &Progress) -> Self {
        let (inputs, missing) = inputs::resolve(&args.mixes);
        progress.unresolved(&missing);
        let settings = serde_json::to_value(args.named(base).finish()).unwrap_or_default();
        let journal = place::journal_names(args, &inputs, &settings);
        let folders = output_folders(&inputs, args.output.as_deref());
        let batch = inputs.len() > 1 || args.album;
        let tracks = inputs.into_iter().zip(folders).enumerate().map(|(at, (Input { path, .. }, folder))| Track {
            mix: path,
            folder,
            position: at + 1,
            settings: settings.clone(),
            reference: args.reference.clone(),
            order: String::new(),
        });
        let name = args.name.clone().unwrap_or_else(|| batch_name(&args.mixes));
        Self { tracks: tracks.collect(), batch, name, left_out: missing.len(), journal }
    }

    fn by_manifest(path: &Path, args: &PushArgs, base: &Settings, progress: &Progress) -> Result<Self, PushError> {
        // The journal knows files by their names, wherever the command is called.
        let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let manifest = manifest::read(path, args, base, progress)?;
        if args.strict && manifest.rejected > 0 {
            return Err(PushError::Strict {
                rejected: manifest.rejected,
                rows: manifest.rows,
                beside: manifest::beside(path),
            });
        }
        // Of a file that stands there twice, the first row is the one that is sent.
        let places = manifest.files.iter().zip(output_folders(&manifest.files, args.output.as_deref())).rev();
        let places: HashMap<&Path, PathBuf> = places.map(|(file, place)| (file.path.as_path(), place)).collect();
        let name = args.name.clone().unwrap_or_else(|| {
            path.file_stem().map_or_else(|| "push".to_owned(), |name| name.to_string_lossy().into_owned())
        });
        let tracks = manifest.tracks.into_iter().map(|Ordered { input, position, settings, reference }| {
            let settings = serde_json::to_value(settings).unwrap_or_default();
            let order = order(&settings, reference.as_deref());
            let folder = places.get(input.path.as_path()).cloned().unwrap_or_default();
            Track { mix: input.path, folder, position, settings, reference, order }
        });
        let journal = place::manifest_journal(args, path);
        Ok(Self {
            tracks: tracks.collect(),
            batch: manifest.rows > 1 || args.album,
            name,
            left_out: manifest.rejected,
            journal: (journal.clone(), journal),
        })
    }
}

/// The same for the same settings and the same reference as it is now.
fn order(settings: &Value, reference: Option<&Path>) -> String {
    let mut hash = Sha256::new();
    hash.update(settings.to_string());
    if let Some(path) = reference {
        let stamp = Source::look(path).map(|source| source.stamp).unwrap_or_default();
        hash.update(path.canonicalize().unwrap_or_else(|_| path.to_owned()).as_os_str().as_encoded_bytes());
        hash.update(stamp);
    }
    hex(&hash.finalize()[..12])
}

fn batch_name(named: &[PathBuf]) -> String {
    let first = named.first().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).unwrap_or_default();
    first.file_name().map_or_else(|| "push".to_owned(), |name| name.to_string_lossy().into_owned())
}
