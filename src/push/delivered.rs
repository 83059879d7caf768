//! What has come back of a push, and the list of it.

use super::api::Artifact;
use crate::cli::PushArgs;
use loopmaster_cli::progress::Progress;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A track that came through.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    pub(super) mix: PathBuf,
    pub(super) master: String,
    pub(super) seconds: Option<f64>,
    pub(super) lufs: Option<f64>,
    pub(super) dbtp: Option<f64>,
    pub(super) files: Vec<(PathBuf, Artifact)>,
}

pub(super) fn describe(track: &Delivered) -> String {
    let name = track.mix.file_name().unwrap_or_default().to_string_lossy();
    let measured = match (track.lufs, track.dbtp) {
        (Some(lufs), Some(dbtp)) => format!("  {lufs:.1} LUFS, {dbtp:.1} dBTP"),
        _ => String::new(),
    };
    let mut text = format!("{name}{measured}");
    for (path, _) in &track.files {
        let _ = write!(text, "\n  → {}", path.display());
    }
    text
}

pub(super) fn write_manifest(args: &PushArgs, done: &[&Delivered], progress: &Progress) -> bool {
    let folder = args.output.clone().unwrap_or_else(|| common_folder(done));
    let files: Vec<Value> = done
        .iter()
        .flat_map(|track| {
            track.files.iter().map(|(path, artifact)| {
                json!({
                    "name": path.strip_prefix(&folder).unwrap_or(path), "mix": track.mix, "master": track.master,
                    "kind": artifact.kind, "role": artifact.role, "bytes": artifact.bytes, "sha256": artifact.sha256,
                    "lufs": track.lufs, "dbtp": track.dbtp, "seconds": track.seconds,
                })
            })
        })
        .collect();
    let target = folder.join("manifest.json");
    // Never over the manifest that the mixes came from.
    let same =
        |path: &PathBuf| path.canonicalize().ok().is_some_and(|path| target.canonicalize().is_ok_and(|to| to == path));
    let target = if args.manifest.as_ref().is_some_and(same) { folder.join("manifest.delivered.json") } else { target };
    let text = serde_json::to_string_pretty(&json!({ "version": 1, "files": files })).unwrap_or_default() + "\n";
    // A manifest tells about the push that wrote it: the one before is replaced.
    let written = loopmaster_core::master::write_file(&target, text.as_bytes(), true);
    if let Err(error) = &written {
        progress.error(&target.display().to_string(), error.code(), &error.to_string());
    }
    written.is_ok()
}

/// The deepest folder that holds everything delivered.
fn common_folder(done: &[&Delivered]) -> PathBuf {
    let mut folders = done.iter().flat_map(|track| track.files.iter().filter_map(|(path, _)| path.parent()));
    let mut common = folders.next().unwrap_or(Path::new("")).to_owned();
    for folder in folders {
        while !folder.starts_with(&common) && common.pop() {}
    }
    common
}
