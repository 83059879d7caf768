//! How many bytes may still come: from an owner, from everybody without an account at one address, by one capability. What is there
//! counts, and what may still arrive by an address that was signed counts like it, whatever became of its upload meanwhile.

use super::OPEN_FOR;
use crate::config::Limits;
use crate::db::{Db, Tx};
use crate::domain::accounts::grants::EXHAUSTED;
use crate::domain::error::{Error, Result};
use crate::domain::identity::{Identity, Visitor};
use crate::domain::limits::quota;
use crate::service::Service;

/// Of a row of `uploads`: the bytes that its form was signed for; 0 where it comes in parts.
pub const FORM: &str = "CASE WHEN s3_upload IS NOT NULL THEN 0 WHEN reserved > 0 THEN reserved ELSE part_bytes END";

/// What an upload counts for: its file, and what may still arrive.
///
/// Addresses of parts are good for nothing once the upload is over. A form can be sent as long as its signature holds, and again after its
/// file was copied or deleted. It counts for what it was signed for, from before $2 for nothing; that of a row which is only kept for it,
/// until the row goes together with what has arrived.
fn counted() -> String {
    format!(
        "CASE WHEN state IN ('aborted', 'gone') OR (state = 'uploading' AND s3_upload IS NULL) THEN 0 ELSE bytes END
        + CASE WHEN s3_upload IS NOT NULL AND state IN ('uploading', 'completing') THEN reserved ELSE 0 END
        + CASE WHEN state IN ('uploading', 'completing', 'gone') OR created_at > $2 THEN {FORM} ELSE 0 END"
    )
}

/// Whose bytes they are.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// usr_… or gst_….
    pub owner: &'a str,
    /// A user's id, or the hash of a guest's address.
    pub owner_key: &'a str,
    /// The capability they come by.
    pub grant: Option<&'a str>,
}

impl<'a> Sender<'a> {
    /// Who asks.
    #[must_use]
    pub fn of(visitor: &'a Visitor) -> Self {
        let grant = match &visitor.identity {
            Identity::Grant { grant, .. } => Some(grant.as_str()),
            _ => None,
        };
        Self { owner: visitor.owner(), owner_key: visitor.owner_key(), grant }
    }

    /// Whether it is somebody without an account.
    #[must_use]
    pub fn is_guest(&self) -> bool {
        self.owner.starts_with("gst_")
    }
}

/// What is left of the narrowest limit.
#[derive(Debug)]
pub struct Room {
    /// Bytes.
    pub left: u64,
    narrowest: Narrowest,
    limit: u64,
    used: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Narrowest {
    Owner,
    Address,
    Grant,
}

impl Room {
    /// Refuses what does not fit.
    pub fn hold(&self, bytes: u64) -> Result<()> {
        if bytes <= self.left { Ok(()) } else { Err(self.refusal()) }
    }

    /// Whether more is there than may be.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.used > self.limit
    }

    /// Why nothing more fits.
    #[must_use]
    pub fn refusal(&self) -> Error {
        let Self { narrowest, limit, used, .. } = self;
        let (code, detail) = match narrowest {
            Narrowest::Owner => (
                "quota.stored_bytes",
                format!("{used} bytes of mixes are kept and the limit is {limit}; delete songs you do not need"),
            ),
            Narrowest::Address => (
                "quota.stored_bytes",
                format!(
                    "{used} bytes of mixes are kept for visitors at your address and the limit is {limit}; delete songs you do not \
                     need, or sign in"
                ),
            ),
            Narrowest::Grant => {
                (EXHAUSTED, "this upload address takes no more files or bytes; ask the page for a new one".to_owned())
            }
        };
        Error::forbidden(code, detail).with("limit", *limit).with("used", *used)
    }
}

/// What is left, in a transaction that holds the [lock](crate::domain::limits::lock_bytes).
pub async fn room(tx: &mut Tx, limits: &Limits, sender: Sender<'_>, now: i64) -> Result<Room> {
    let ended = now - OPEN_FOR;
    let mine = if sender.is_guest() { &limits.guest } else { &limits.user };
    let used = sum(tx, "owner = $1", sender.owner, ended).await?;
    let room = |narrowest, limit: u64, used: u64| Room { left: limit.saturating_sub(used), narrowest, limit, used };
    let mut narrow = room(Narrowest::Owner, mine.stored_bytes, used);
    if sender.is_guest() {
        let used = sum(tx, "owner_key = $1 AND owner LIKE 'gst!_%' ESCAPE '!'", sender.owner_key, ended).await?;
        let limit = mine.stored_bytes.saturating_mul(limits.guests_per_address);
        let address = room(Narrowest::Address, limit, used);
        if address.left < narrow.left {
            narrow = address;
        }
    }
    if let Some(grant) = sender.grant {
        let text = "SELECT bytes_left FROM grants WHERE id = $1";
        let left: Option<i64> = sqlx::query_scalar(text).bind(grant).fetch_optional(&mut **tx).await?;
        let limit = left.unwrap_or(0).max(0) as u64;
        // What has arrived whole is taken off the capability; what is on its way is not yet.
        let text = "SELECT CAST(COALESCE(SUM(reserved), 0) AS BIGINT) FROM uploads
            WHERE grant_id = $1 AND state IN ('uploading', 'completing')";
        let used: i64 = sqlx::query_scalar(text).bind(grant).fetch_one(&mut **tx).await?;
        let grant = room(Narrowest::Grant, limit, used.max(0) as u64);
        if grant.left < narrow.left {
            narrow = grant;
        }
    }
    Ok(narrow)
}

/// What counts of some uploads; forms signed before `ended` are good for nothing any more.
async fn sum(tx: &mut Tx, condition: &str, bind: &str, ended: i64) -> Result<u64> {
    let text =
        tx.sql(&format!("SELECT CAST(COALESCE(SUM({}), 0) AS BIGINT) FROM uploads WHERE {condition}", counted()));
    let bytes: i64 = sqlx::query_scalar(text).bind(bind).bind(ended).fetch_one(&mut **tx).await?;
    Ok(bytes.max(0) as u64)
}

/// Bytes of this owner that count, for showing.
pub async fn stored_bytes(db: &Db, owner: &str) -> Result<u64> {
    let ended = db.now().await? - OPEN_FOR;
    let text = db.sql(&format!("SELECT CAST(COALESCE(SUM({}), 0) AS BIGINT) FROM uploads WHERE owner = $1", counted()));
    let bytes: i64 = sqlx::query_scalar(text).bind(owner).bind(ended).fetch_one(db.read()).await?;
    Ok(bytes.max(0) as u64)
}

/// Refuses before storage is asked for anything; what is decided is decided by [`room`].
pub async fn looks_full(service: &Service, visitor: &Visitor, bytes: u64) -> Result<()> {
    let limit = quota(&service.config.limits, visitor).stored_bytes;
    let used = stored_bytes(&service.db, visitor.owner()).await?;
    Room { left: limit.saturating_sub(used), narrowest: Narrowest::Owner, limit, used }.hold(bytes)
}
