//! Which files are meant: files as they are, folders searched for audio, globs where the shell did not expand them. Masters and
//! previews of an earlier run that lie beside their mixes are not searched for; named themselves, they are taken.

use fast_glob::glob_match;
use loopmaster_core::admission::AUDIO_ENDINGS;
use loopmaster_core::decode::STANDARD_INPUT;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use walkdir::WalkDir;

/// One file to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The file.
    pub path: PathBuf,
    /// Its folder below the folder that was named; empty for a file that was named itself.
    pub below: PathBuf,
    /// Size in bytes, 0 if unknown: the longest go first.
    pub bytes: u64,
}

/// A name on the command line that leads to no file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Nothing there.
    #[error("{0}: there is no such file or folder")]
    Missing(String),
    /// A folder without audio.
    #[error("{0}: this folder holds no audio files; looked for .wav .aiff .flac .mp3 .m4a .ogg and their like")]
    NoAudio(String),
    /// A glob that matches nothing.
    #[error("{0}: nothing matches this pattern")]
    NoMatch(String),
    /// A folder that cannot be read.
    #[error("{0}: cannot be read: {1}")]
    Unreadable(String, String),
}

impl InputError {
    /// `decode.what`, as in every other error that is about an input.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "decode.missing",
            Self::NoAudio(_) => "decode.no_audio",
            Self::NoMatch(_) => "decode.no_match",
            Self::Unreadable(..) => "decode.unreadable",
        }
    }
}

/// Resolves what was named, in order, each file once. What leads nowhere is an error of its own and stops nothing else.
#[must_use]
pub fn resolve(named: &[PathBuf]) -> (Vec<Input>, Vec<InputError>) {
    let mut inputs = Vec::new();
    let mut errors = Vec::new();
    for path in named {
        match resolve_one(path) {
            Ok(found) => inputs.extend(found),
            Err(error) => errors.push(error),
        }
    }
    let mut seen = HashSet::new();
    inputs.retain(|input| seen.insert(input.path.canonicalize().unwrap_or_else(|_| input.path.clone())));
    (inputs, errors)
}

fn resolve_one(path: &Path) -> Result<Vec<Input>, InputError> {
    if path.as_os_str() == STANDARD_INPUT {
        return Ok(vec![Input { path: path.to_owned(), below: PathBuf::new(), bytes: 0 }]);
    }
    if path.is_dir() {
        return folder(path, |_| true).and_then(|found| {
            if found.is_empty() { Err(InputError::NoAudio(path.display().to_string())) } else { Ok(found) }
        });
    }
    // Anything that exists and is no folder is tried; decode says what is wrong with it.
    if std::fs::symlink_metadata(path).is_ok() {
        let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
        return Ok(vec![Input { path: path.to_owned(), below: PathBuf::new(), bytes }]);
    }
    let pattern = path.to_str().filter(|text| text.contains(['*', '?', '[', '{']));
    let Some(pattern) = pattern else {
        return Err(InputError::Missing(path.display().to_string()));
    };
    let glob = pattern.strip_prefix("./").unwrap_or(pattern);
    let found = folder(&glob_root(path), |file| {
        glob_match(glob, file.strip_prefix("./").unwrap_or(file).as_os_str().as_encoded_bytes())
    })?;
    if found.is_empty() { Err(InputError::NoMatch(pattern.to_owned())) } else { Ok(found) }
}

/// The deepest folder of a glob that has no wildcard.
fn glob_root(pattern: &Path) -> PathBuf {
    let mut root = PathBuf::new();
    for component in pattern.components() {
        if component.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']) {
            break;
        }
        root.push(component);
    }
    if root.as_os_str().is_empty() { PathBuf::from(Component::CurDir.as_os_str()) } else { root }
}

fn folder(root: &Path, keep: impl Fn(&Path) -> bool) -> Result<Vec<Input>, InputError> {
    if let Err(error) = std::fs::read_dir(root) {
        return Err(InputError::Unreadable(root.display().to_string(), error.to_string()));
    }
    let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
    Ok(WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name()))
        .filter_map(Result::ok)
        .filter(|entry| is_file(entry.path()) && is_audio(entry.path()) && keep(entry.path()))
        .filter(|entry| !loopmaster_core::encode::is_delivery(&entry.file_name().to_string_lossy()))
        .map(|entry| Input {
            below: entry.path().parent().and_then(|p| p.strip_prefix(root).ok()).unwrap_or(Path::new("")).to_owned(),
            bytes: entry.metadata().map_or(0, |m| m.len()),
            path: entry.into_path(),
        })
        .collect())
}

/// A pipe or a socket in a folder is nobody's mix, and would be waited for. A link that leads nowhere is told about when it is opened.
fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).map_or_else(|_| std::fs::symlink_metadata(path).is_ok(), |kind| kind.is_file())
}

fn is_audio(path: &Path) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|ext| AUDIO_ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ext)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn folders_globs_and_what_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("album/cd1")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        for name in [
            "album/b.WAV",
            "album/a.flac",
            "album/cd1/c d.mp3",
            "album/cover.jpg",
            "album/.hidden.wav",
            "album/b (master) 24-bit 44.1 kHz.wav",
            "album/b (preview of the mix).opus",
        ] {
            fs::write(root.join(name), b"x").unwrap();
        }
        let (found, errors) =
            resolve(&[root.join("album"), root.join("album/a.flac"), root.join("empty"), root.join("nope.wav")]);
        let names: Vec<_> = found.iter().map(|i| i.path.strip_prefix(root).unwrap().display().to_string()).collect();
        assert_eq!(names, ["album/a.flac", "album/b.WAV", "album/cd1/c d.mp3"]);
        assert_eq!(found[2].below, Path::new("cd1"));
        assert_eq!(errors.iter().map(InputError::code).collect::<Vec<_>>(), ["decode.no_audio", "decode.missing"]);

        let (found, _) = resolve(&[root.join("album/*.flac")]);
        assert_eq!(found.len(), 1);
        let (found, _) = resolve(&[root.join("album/**/*.mp3")]);
        assert_eq!(found.len(), 1);
        let (found, _) = resolve(&[root.join("album/{a,b}*.{WAV,flac}")]);
        assert_eq!(found.len(), 2);
        let (found, _) = resolve(&[root.join("al?um/cd[1-3]/c d.mp3")]);
        assert_eq!(found.len(), 1);
        let (found, errors) = resolve(&[root.join("album/*.mp3"), root.join("album/[")]);
        assert!(found.is_empty(), "a star stops at a folder");
        assert_eq!(errors.iter().map(InputError::code).collect::<Vec<_>>(), ["decode.no_match", "decode.no_match"]);
        let (_, errors) = resolve(&[root.join("album/*.aiff")]);
        assert_eq!(errors[0].code(), "decode.no_match");
    }
}
