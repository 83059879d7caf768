//! Results on their way down: what is here already is kept, half a file goes on where it stopped, and a file gets its name only when
//! its SHA-256 is the one the service told.

use super::api::{Api, Artifact, patiently};
use super::error::PushError;
use crate::digest::hex;
use reqwest::StatusCode;
use reqwest::header::RANGE;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A connection on which nothing comes for so long is given up.
const SILENCE: Duration = Duration::from_mins(1);

/// The name of a result: what the service says, never a way out of the folder.
pub(super) fn file_name(artifact: &Artifact) -> String {
    let last = artifact.name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).collect();
    let clean = clean.trim_start_matches('.').trim();
    if clean.is_empty() { format!("{}-{}", artifact.role, artifact.id) } else { clean.to_owned() }
}

/// Brings a result to `target`.
pub(super) async fn fetch(api: &Api, artifact: &Artifact, target: &Path, force: bool) -> Result<(), PushError> {
    let failed = |source| PushError::File { path: target.to_owned(), source };
    let (path, wanted) = (target.to_owned(), artifact.clone());
    if off(move || is_here(&path, &wanted)).await.map_err(failed)? {
        return Ok(());
    }
    if !force && std::fs::symlink_metadata(target).is_ok() {
        return Err(PushError::Exists(target.to_owned()));
    }
    let folder = target.parent().unwrap_or(Path::new("")).to_owned();
    if !folder.as_os_str().is_empty() {
        std::fs::create_dir_all(&folder).map_err(failed)?;
    }
    // Of this result alone: the id does not come twice.
    let id: String = artifact.id.chars().filter(char::is_ascii_alphanumeric).collect();
    let part = folder.join(format!(".loopmaster-{id}.part"));
    match patiently(|| attempt(api, artifact, &part)).await {
        // Half of it may be from another time: once more, from the start.
        Err(PushError::Damaged { .. }) => patiently(|| attempt(api, artifact, &part)).await?,
        done => done?,
    }
    let (target, taken) = (target.to_owned(), target.to_owned());
    off(move || publish(&part, &target, force)).await.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => PushError::Exists(taken),
        _ => PushError::File { path: taken, source },
    })
}

async fn off<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Whether all of them are where they belong, as they came.
pub(super) async fn are_here(files: Vec<(PathBuf, Artifact)>) -> bool {
    off(move || files.iter().try_fold(true, |all, (path, artifact)| Ok(all && is_here(path, artifact)?)))
        .await
        .unwrap_or(false)
}

fn is_here(path: &Path, artifact: &Artifact) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(about) if about.is_file() && about.len() == artifact.bytes => {
            Ok(hex(&hashed(path)?.0.finalize()) == artifact.sha256)
        }
        _ => Ok(false),
    }
}

/// The hash of what is there, and how much it is.
fn hashed(path: &Path) -> io::Result<(Sha256, u64)> {
    let (mut file, mut hash, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hash, bytes));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

async fn attempt(api: &Api, artifact: &Artifact, part: &Path) -> Result<(), PushError> {
    let failed = |source| PushError::File { path: part.to_owned(), source };
    let path = part.to_owned();
    let open = move || {
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        hashed(&path).map(|(hash, bytes)| (file, hash, bytes))
    };
    let (mut file, mut hash, mut bytes) = off(open).await.map_err(failed)?;
    if bytes > artifact.bytes {
        file.set_len(0).map_err(failed)?;
        (hash, bytes) = (Sha256::new(), 0);
    }
    if bytes < artifact.bytes {
        let url = api.link(&artifact.id).await?;
        let request = api.http.get(url).header(RANGE, format!("bytes={bytes}-"));
        let lost = |error: &reqwest::Error| PushError::transport("the storage", error);
        let mut answer = request.send().await.map_err(|error| lost(&error))?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK => {
                file.set_len(0).map_err(failed)?;
                hash = Sha256::new();
            }
            // An address that expired meanwhile (403) is asked for again with the next try.
            StatusCode::FORBIDDEN => {
                return Err(PushError::Unreachable {
                    what: artifact.name.clone(),
                    detail: "its address expired".to_owned(),
                });
            }
            status => return Err(PushError::answered(status, None, &answer.text().await.unwrap_or_default())),
        }
        loop {
            let chunk = tokio::time::timeout(SILENCE, answer.chunk()).await.map_err(|_| PushError::Unreachable {
                what: artifact.name.clone(),
                detail: format!("nothing came for {} s", SILENCE.as_secs()),
            })?;
            let Some(chunk) = chunk.map_err(|error| lost(&error))? else { break };
            (file, hash) = off(move || {
                file.write_all(&chunk)?;
                hash.update(&chunk);
                Ok((file, hash))
            })
            .await
            .map_err(failed)?;
        }
    }
    off(move || file.sync_all()).await.map_err(failed)?;
    let found = hex(&hash.finalize());
    if found != artifact.sha256 {
        // Nothing of it can be trusted.
        std::fs::remove_file(part).map_err(failed)?;
        return Err(PushError::Damaged { what: artifact.name.clone(), expected: artifact.sha256.clone(), found });
    }
    Ok(())
}

/// Gives a whole file its name.
fn publish(part: &Path, target: &PathBuf, force: bool) -> io::Result<()> {
    if force {
        return std::fs::rename(part, target);
    }
    // A hard link refuses to replace a file that appeared meanwhile; not every file system has them.
    match std::fs::hard_link(part, target) {
        Ok(()) => std::fs::remove_file(part),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) => std::fs::rename(part, target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        let named = |name: &str| {
            file_name(&Artifact {
                id: "art_1".to_owned(),
                kind: "master".to_owned(),
                role: "wav24".to_owned(),
                name: name.to_owned(),
                bytes: 1,
                sha256: String::new(),
            })
        };
        assert_eq!(named("Song (master).wav"), "Song (master).wav");
        assert_eq!(named("../../.ssh/keys"), "keys");
        assert_eq!(named("..\\a.wav"), "a.wav");
        assert_eq!(named(".bashrc"), "bashrc");
        assert_eq!(named(".."), "wav24-art_1");
        assert_eq!(named(""), "wav24-art_1");
    }
}
