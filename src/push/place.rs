//! Where a push keeps what it has done, and where it finds its token.

use super::error::PushError;
use crate::cli::PushArgs;
use loopmaster_cli::inputs::Input;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A folder of the user's by the XDG rules.
fn user_folder(variable: &str, below_home: &str) -> PathBuf {
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from).join(below_home);
    set.unwrap_or_else(home).join("loopmaster")
}

pub(super) fn state_folder() -> PathBuf {
    user_folder("XDG_STATE_HOME", ".local/state").join("push")
}

/// One journal for one command: the same files and folders, as they were named, to the same service with the same settings; and the
/// name by the version before, which took the files that were found in the folders.
pub(super) fn journal_names(args: &PushArgs, inputs: &[Input], settings: &Value) -> (String, String) {
    let reference = || args.reference.iter().map(PathBuf::as_path);
    let found = inputs.iter().map(|input| input.path.as_path());
    (
        journal_name(args, settings, "named", reference().chain(args.mixes.iter().map(PathBuf::as_path))),
        journal_name(args, settings, "", reference().chain(found)),
    )
}

/// One journal for one manifest, whatever stands in it: its rows are told apart by what they order.
pub(super) fn manifest_journal(args: &PushArgs, manifest: &Path) -> String {
    journal_name(args, &Value::Null, "manifest", std::iter::once(manifest))
}

fn journal_name<'a>(args: &PushArgs, settings: &Value, kind: &str, paths: impl Iterator<Item = &'a Path>) -> String {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut hash = Sha256::new();
    let mut add = |text: &[u8]| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    if !kind.is_empty() {
        add(kind.as_bytes());
    }
    add(args.url().as_bytes());
    add(settings.to_string().as_bytes());
    add(args.name.as_deref().unwrap_or_default().as_bytes());
    add(&[u8::from(args.album)]);
    for path in paths {
        add(whole(path).as_os_str().as_encoded_bytes());
    }
    crate::digest::hex(&hash.finalize()[..16])
}

pub(super) fn token(args: &PushArgs) -> Result<String, PushError> {
    let usual = user_folder("XDG_CONFIG_HOME", ".config").join("token");
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|source| PushError::File { path: path.to_owned(), source });
    let token = match (&args.token, &args.token_file, std::env::var("LOOPMASTER_TOKEN")) {
        (Some(token), ..) => token.clone(),
        (None, Some(path), _) => read(path)?,
        (None, None, Ok(token)) if !token.trim().is_empty() => token,
        (None, None, _) => read(&usual).unwrap_or_default(),
    };
    let token = token.trim().to_owned();
    // It goes into a header.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(PushError::NoToken(usual));
    }
    Ok(token)
}
