//! What the domain refuses or cannot do: a kind that code decides on, a stable code that programs decide on, a sentence for people.
//! Nothing here knows how it travels; `http::problem` gives each kind its status and headers, in one place.

use crate::db::DbError;
use crate::db::objects::NotStored;
use crate::store::StoreError;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What the domain's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Seconds after which to ask again when a part of the service is away.
const AWAY: u64 = 5;
/// Seconds after which to ask again when there is no room.
const FULL: u64 = 600;

/// A part of the service that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The database.
    Database,
    /// Object storage.
    Storage,
    /// A worker that has something in its hands.
    Worker,
    /// What packs exports.
    Export,
    /// What decodes profile pictures.
    Pictures,
    /// All of it, where it cannot be opened.
    Service,
}

impl Part {
    /// As codes and sentences name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Storage => "storage",
            Self::Worker => "worker",
            Self::Export => "export",
            Self::Pictures => "pictures",
            Self::Service => "service",
        }
    }
}

/// What kind of failure it is: what decisions are made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not there, or not the caller's: both are told the same.
    NotFound,
    /// It was there, and is used up, expired or deleted.
    Gone,
    /// Nobody knows who asks, or it must be somebody else.
    Unauthorized,
    /// It is known who asks, and he may not.
    Forbidden,
    /// It does not fit the state things are in.
    Conflict,
    /// What was sent cannot be used.
    Invalid,
    /// What came back from another service belongs to nothing that was begun here.
    Unmatched,
    /// More bytes than are taken.
    TooLarge,
    /// Too often, or too many at once.
    TooMany,
    /// There is no room for more bytes.
    Full,
    /// A part does not answer; nothing was acknowledged, and asking again helps.
    Away(Part),
    /// Somebody else's service does not answer as it should.
    Upstream,
    /// Ours; the cause goes to the log.
    Internal,
}

/// Where somebody stands with an allowance that refills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Which.
    pub name: &'static str,
    /// How many there are in a window.
    pub quota: u64,
    /// Seconds.
    pub window: u64,
    /// How many are left.
    pub left: u64,
    /// Seconds until all of it is back.
    pub reset: u64,
}

/// A refusal or a failure, with the cause only we see.
#[derive(Clone)]
pub struct Error(Box<Parts>);

/// What an error is made of, for whoever puts it into another form.
#[derive(Clone)]
pub struct Parts {
    /// See [`Error::kind`].
    pub kind: Kind,
    /// See [`Error::code`].
    pub code: Cow<'static, str>,
    /// See [`Error::detail`].
    pub detail: String,
    /// Members beyond these.
    pub more: Map<String, Value>,
    /// Seconds after which asking again may help.
    pub retry_after: Option<u64>,
    /// The allowance that is used up, where it is one.
    pub allowance: Option<Allowance>,
    /// See [`Error::cause`].
    pub cause: Option<Arc<str>>,
}

impl Error {
    /// An error with a stable code `part.what`, and a sentence with the values and the way out.
    #[must_use]
    pub fn new(kind: Kind, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            code: code.into(),
            detail: detail.into(),
            more: Map::new(),
            retry_after: None,
            allowance: None,
            cause: None,
        }))
    }

    /// There is no such thing of the caller's.
    #[must_use]
    pub fn not_found(what: &str, id: &str) -> Self {
        let shown: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
        Self::new(Kind::NotFound, format!("{what}.not_found"), format!("there is no {what} `{shown}` of yours"))
    }

    /// See [`Kind::Unauthorized`].
    #[must_use]
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Unauthorized, code, detail)
    }

    /// See [`Kind::Forbidden`].
    #[must_use]
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, code, detail)
    }

    /// See [`Kind::Conflict`].
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, code, detail)
    }

    /// See [`Kind::Invalid`].
    #[must_use]
    pub fn invalid(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, code, detail)
    }

    /// Too many; fewer after so many seconds.
    #[must_use]
    pub fn too_many(code: &'static str, detail: impl Into<String>, seconds: u64) -> Self {
        Self::new(Kind::TooMany, code, detail).retry_after(seconds)
    }

    /// Ours; the cause goes to the log.
    #[must_use]
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(
            Kind::Internal,
            "server.internal",
            "something went wrong on our side; it has been written down, please try again",
        )
        .caused_by(cause)
    }

    /// This part is away; nothing was acknowledged.
    #[must_use]
    pub fn away(part: Part, cause: impl fmt::Display) -> Self {
        let name = part.name();
        Self::new(
            Kind::Away(part),
            format!("server.{name}_away"),
            format!("the {name} cannot be reached at the moment; nothing of yours is lost, please try again in {AWAY} seconds"),
        )
        .retry_after(AWAY)
        .caused_by(cause)
    }

    /// Storage has no room for a file.
    #[must_use]
    pub fn full(cause: impl fmt::Display) -> Self {
        Self::new(
            Kind::Full,
            "storage.full",
            "the service has no room for this file at the moment; nothing of yours is lost, please try again later",
        )
        .retry_after(FULL)
        .caused_by(cause)
    }

    /// Another member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(name.to_owned(), value.into());
        self
    }

    /// Asking again may help after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds.max(1));
        self
    }

    /// The allowance that is used up.
    #[must_use]
    pub fn allowance(mut self, allowance: Allowance) -> Self {
        self.0.allowance = Some(allowance);
        self
    }

    /// What only the log shall know.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string().into());
        self
    }

    /// What decisions are made on.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether the request is refused as it is: sent once more, it would be refused once more. Otherwise something of ours failed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !matches!(self.0.kind, Kind::Full | Kind::Away(_) | Kind::Upstream | Kind::Internal)
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What only the log shall know.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// All of it.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        *self.0
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.0.kind, self.0.code, self.0.detail)?;
        self.0.cause.as_ref().map_or(Ok(()), |cause| write!(f, " ({cause})"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl std::error::Error for Error {}

impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        if error.is_unavailable() { Self::away(Part::Database, error) } else { Self::internal(error) }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        DbError::from(error).into()
    }
}

impl From<NotStored> for Error {
    fn from(error: NotStored) -> Self {
        match error {
            NotStored::Db(error) => error.into(),
            NotStored::TooLate(_) => Self::away(Part::Storage, error),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { full: true, .. } => Self::full(error),
            StoreError::Unavailable { .. } => Self::away(Part::Storage, error),
            // What the client named is not what storage has: its words are for the client.
            StoreError::Invalid { s3, message, .. } => {
                let code = match s3.as_str() {
                    "InvalidPart" => "upload.part_wrong",
                    "InvalidPartOrder" => "upload.part_order",
                    "EntityTooSmall" => "upload.part_too_small",
                    "EntityTooLarge" => "upload.part_too_large",
                    _ => return Self::internal(error),
                };
                let detail = format!(
                    "storage refuses the parts: {message}; send the parts named again and complete with their ETags"
                );
                Self::invalid(code, detail).with("storage_code", s3.clone())
            }
            StoreError::NotFound { .. }
            | StoreError::Precondition { .. }
            | StoreError::Denied { .. }
            | StoreError::File { .. }
            | StoreError::Config(_) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_is_said_to_be_away() {
        assert_eq!(Error::from(sqlx::Error::PoolTimedOut).kind(), Kind::Away(Part::Database));
        assert_eq!(Error::from(sqlx::Error::RowNotFound).kind(), Kind::Internal);
    }

    #[test]
    fn what_would_be_refused_again_is_told_from_what_failed() {
        assert!(Error::not_found("upload", "upl_1").is_refusal() && Error::too_many("a.b", "", 1).is_refusal());
        assert!(!Error::away(Part::Worker, "").is_refusal() && !Error::internal("").is_refusal());
        assert!(!Error::full("").is_refusal());
    }
}
