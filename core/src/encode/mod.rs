//! [`Audio`](crate::Audio) → file bytes: WAV, FLAC, MP3, Opus; dither once, tags by a library, SHA-256 of everything.

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The disk said no.
    #[error("cannot write: {0}; check the free space and the permissions of the output folder")]
    Write(#[from] std::io::Error),
}

impl EncodeError {
    /// `encode.what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Write(e) if e.kind() == std::io::ErrorKind::StorageFull => "encode.disk_full",
            Self::Write(_) => "encode.write",
        }
    }
}
