//! What can go wrong with storage, by what the caller can do about it.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use std::path::PathBuf;

/// A failed operation on the storage.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object or the upload is not there (any more).
    #[error("{what} is not in the storage ({s3})")]
    NotFound {
        /// The key or upload asked for.
        what: String,
        /// S3's own code.
        s3: String,
    },
    /// A condition of the write does not hold.
    #[error("{what} has been written by somebody else meanwhile ({s3})")]
    Precondition {
        /// The key.
        what: String,
        /// S3's own code.
        s3: String,
    },
    /// The storage does not answer, is overloaded, or its disk is full: try again later.
    #[error("the storage is not available: {detail}")]
    Unavailable {
        /// What was seen.
        detail: String,
        /// The storage said that its disk is full.
        full: bool,
    },
    /// The storage refuses the request as it is: trying again is of no use.
    #[error("the storage refuses {what}: {message} ({s3}, status {status})")]
    Invalid {
        /// The key or upload.
        what: String,
        /// S3's own code, e.g. `InvalidPart`.
        s3: String,
        /// The HTTP status.
        status: u16,
        /// S3's own words.
        message: String,
    },
    /// The keys in the configuration are not those of the storage.
    #[error("the storage denies access: {message} ({s3}); check the access key, the secret key and the clock")]
    Denied {
        /// S3's own code.
        s3: String,
        /// S3's own words.
        message: String,
    },
    /// A file on this machine.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration of the storage.
    #[error("the storage is not configured: {0}")]
    Config(String),
}

impl StoreError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "storage.not_found",
            Self::Precondition { .. } => "storage.precondition_failed",
            Self::Unavailable { full: false, .. } => "storage.unavailable",
            Self::Unavailable { full: true, .. } => "storage.full",
            Self::Invalid { .. } => "storage.invalid_request",
            Self::Denied { .. } => "storage.access_denied",
            Self::File { .. } => "storage.file",
            Self::Config(_) => "storage.config",
        }
    }

    /// S3's own code, where S3 spoke.
    #[must_use]
    pub fn s3_code(&self) -> Option<&str> {
        match self {
            Self::NotFound { s3, .. }
            | Self::Precondition { s3, .. }
            | Self::Invalid { s3, .. }
            | Self::Denied { s3, .. } => Some(s3),
            Self::Unavailable { .. } | Self::File { .. } | Self::Config(_) => None,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the object or upload is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    pub(super) fn new<E: ProvideErrorMetadata + std::error::Error + 'static>(
        what: &str,
        error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
    ) -> Self {
        let Some(response) = error.raw_response() else {
            return Self::Unavailable { detail: chain(error), full: false };
        };
        let status = response.status().as_u16();
        let message = error.message().unwrap_or("no message").to_owned();
        // HEAD has no body to carry a code.
        let s3 = error.code().map_or_else(|| format!("status {status}"), str::to_owned);
        let what = what.to_owned();
        match status {
            404 => Self::NotFound { what, s3 },
            409 | 412 => Self::Precondition { what, s3 },
            401 | 403 => Self::Denied { s3, message },
            507 => Self::Unavailable { detail: message, full: true },
            408 | 429 | 500.. => {
                Self::Unavailable { detail: format!("{message} ({s3}, status {status})"), full: false }
            }
            // S3 gives 400 for a body that came too slowly.
            400 if s3 == "RequestTimeout" => Self::Unavailable { detail: message, full: false },
            // Broken off in the middle of an answer.
            200..=299 => Self::Unavailable { detail: chain(error), full: false },
            _ => Self::Invalid { what, s3, status, message },
        }
    }
}

/// An error with all its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
