//! Whether the service would take a file, from what the file's own header says: nobody has to wait for an upload to hear a certain "no".

use super::error::PushError;
use crate::work::capacity;
use loopmaster_core::decode::{DecodeError, Sink, decode_into};
use loopmaster_core::settings::Limits;
use std::io;
use std::path::Path;

/// Ends the decoder as soon as it would hand on samples.
struct Enough;

impl Sink for Enough {
    fn begin(&mut self, _rate: u32, _channels: u16, _expected: u64) -> io::Result<()> {
        Err(io::Error::other("enough"))
    }

    fn push(&mut self, _frames: usize, _fill: &mut dyn FnMut(&mut [f32], &mut [f32])) -> io::Result<()> {
        Err(io::Error::other("enough"))
    }

    fn drop_end(&mut self, _frames: u64) -> io::Result<()> {
        Err(io::Error::other("enough"))
    }
}

/// What the decoder says of a file up to its first sample.
fn header(path: &Path, limits: &Limits) -> io::Result<Result<(), DecodeError>> {
    let file = std::fs::File::open(path)?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    Ok(decode_into(file, extension, limits, &mut Enough).map(drop))
}

/// Whether a file is there, may be read, and is of a kind that is mastered: by its own header, not by its name. A code and a sentence where
/// it is not.
pub(super) fn look(path: &Path) -> Result<(), (String, String)> {
    let refused = |code: &str, reason: String| Err((code.to_owned(), reason));
    let about = match std::fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return refused("decode.missing", "there is no such file".to_owned());
        }
        Err(error) => return refused("decode.read", format!("the file cannot be read: {error}")),
    };
    // A pipe would be waited for.
    if !about.is_file() {
        return refused("decode.not_audio", "this is no file; name a WAV, AIFF, FLAC, MP3, M4A or OGG file".to_owned());
    }
    match header(path, &Limits::default()) {
        Err(error) => refused("decode.read", format!("the file cannot be read: {error}")),
        Ok(Err(
            error @ (DecodeError::NotAudio(_)
            | DecodeError::UnsupportedCodec(_)
            | DecodeError::Empty
            | DecodeError::TooManyChannels { .. }
            | DecodeError::BadRate { .. }
            | DecodeError::MetadataTooLarge { .. }),
        )) => refused(error.code(), error.to_string()),
        // What else may be wrong with it is the service's to judge.
        _ => Ok(()),
    }
}

/// Refuses what is certainly too large for the service. Everything else is the service's to judge.
pub(super) fn judge(path: &Path, limits: &Limits) -> Result<(), PushError> {
    let failed = |source| PushError::File { path: path.to_owned(), source };
    let refused = |code: &str, detail: String| Err(PushError::Failed { code: code.to_owned(), detail });
    match header(path, limits).map_err(failed)? {
        Err(error @ DecodeError::NeedsMemory { .. }) => {
            let most = capacity::in_words(limits.memory, limits);
            refused(error.code(), format!("{error}; the service takes {most}"))
        }
        Err(error @ (DecodeError::TooLong { .. } | DecodeError::TooLarge { .. })) => {
            refused(error.code(), error.to_string())
        }
        _ => Ok(()),
    }
}
