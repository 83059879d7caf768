//! What can go wrong between here and the service.

use crate::secrets::redacted;
use reqwest::StatusCode;
use std::path::PathBuf;
use std::time::Duration;

/// Why a track, or all of them, did not get through.
#[derive(Debug, thiserror::Error)]
pub(super) enum PushError {
    /// The service said no, in its own words.
    #[error("{detail}")]
    Problem { code: String, detail: String, status: u16, retry_after: Option<Duration> },
    /// Nobody answers, or the connection breaks.
    #[error("{what} cannot be reached: {detail}; what has been sent is kept, the same command goes on")]
    Unreachable { what: String, detail: String },
    /// The storage refuses a part.
    #[error("the storage refuses part {part} (status {status}): {detail}")]
    Storage { part: u64, status: u16, detail: String },
    /// A part or a download arrived with other bytes than were sent.
    #[error("{what} arrived damaged: {expected} was expected and {found} came")]
    Damaged { what: String, expected: String, found: String },
    /// The mix is another one than when its upload began.
    #[error("{} changed while it was being sent; start again when it is finished", .0.display())]
    Changed(PathBuf),
    /// A file on this machine.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// A manifest that is none.
    #[error("{}: {detail}", path.display())]
    Manifest { path: PathBuf, code: &'static str, detail: String },
    /// Rows of a manifest cannot be sent, and it is all or nothing.
    #[error("{} of {rows} rows are rejected, and with --strict nothing is sent; see {}", .rejected, beside.display())]
    Strict { rejected: usize, rows: usize, beside: PathBuf },
    /// A result's name is taken.
    #[error("{} exists; use --force to replace it, or another --output", .0.display())]
    Exists(PathBuf),
    /// The service could not make the master.
    #[error("{detail}")]
    Failed { code: String, detail: String },
    /// No token.
    #[error("there is no API token; make one in your account and give it by --token-file, LOOPMASTER_TOKEN or {}", .0.display())]
    NoToken(PathBuf),
    /// The address is none.
    #[error("{} is not the address of a service, such as https://api.example.com", redacted(.0))]
    Address(String),
    /// The same push runs already.
    #[error("the same files are being pushed already by another process ({} is locked)", .0.display())]
    Running(PathBuf),
}

impl PushError {
    /// The stable code.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Problem { code, .. } | Self::Failed { code, .. } => code,
            Self::Unreachable { .. } => "push.unreachable",
            Self::Storage { .. } => "push.storage_refused",
            Self::Damaged { .. } => "push.damaged",
            Self::Changed(_) => "push.changed",
            Self::File { .. } => "push.file",
            Self::Manifest { code, .. } => code,
            Self::Strict { .. } => "manifest.rejected",
            Self::Exists(_) => "deliver.exists",
            Self::NoToken(_) => "push.no_token",
            Self::Address(_) => "push.address",
            Self::Running(_) => "push.running",
        }
    }

    /// Whether the same request may succeed in a while.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Problem { status, .. } | Self::Storage { status, .. } => {
                matches!(status, 408 | 425 | 429) || *status >= 500
            }
            Self::Unreachable { .. } => true,
            _ => false,
        }
    }

    /// Whether the thing asked for is not (or no longer) there.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Problem { status: 404 | 410, .. } | Self::Storage { status: 404, .. } => true,
            Self::Problem { code, .. } => code == "upload.aborted",
            _ => false,
        }
    }

    pub(super) fn transport(what: &str, error: &reqwest::Error) -> Self {
        // Whoever has the address of an object has the object, until it expires.
        let mut detail = error.to_string();
        if let Some(url) = error.url() {
            detail = detail.replace(url.as_str(), &redacted(url.as_str()));
        }
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            detail = format!("{detail}: {error}");
            cause = error.source();
        }
        Self::Unreachable { what: redacted(what), detail }
    }

    /// From an answer that is no success: RFC 9457, or whatever stands in front of the service.
    pub(super) fn answered(status: StatusCode, retry_after: Option<Duration>, body: &str) -> Self {
        let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let text = |name: &str| problem[name].as_str().map(str::to_owned);
        let shown = || body.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
        Self::Problem {
            code: text("code").unwrap_or_else(|| "push.refused".to_owned()),
            detail: text("detail").or_else(|| text("title")).unwrap_or_else(|| format!("{status}: {}", shown())),
            status: status.as_u16(),
            retry_after,
        }
    }
}
