//! An upload as it is kept, as it is shown, and how it is found.

use crate::db::Db;
use crate::domain::error::{Error, Result};
use crate::domain::uploads::mixes::HIDDEN;
use crate::timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

/// Where an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Parts are on their way.
    Uploading,
    /// Storage puts them together.
    Completing,
    /// It is there.
    Stored,
    /// Given up.
    Aborted,
    /// Deleted; only the address of its form is known until it ends.
    Gone,
}

impl State {
    /// As it is kept.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Completing => "completing",
            Self::Stored => "stored",
            Self::Aborted => "aborted",
            Self::Gone => "gone",
        }
    }

    pub(super) fn of(text: &str) -> Self {
        match text {
            "uploading" => Self::Uploading,
            "completing" => Self::Completing,
            "stored" => Self::Stored,
            "aborted" => Self::Aborted,
            _ => Self::Gone,
        }
    }
}

/// An upload as it is kept.
#[derive(Clone, Debug)]
pub struct Row {
    /// `upl_…`
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// Whose turn its master costs.
    pub owner_key: String,
    /// The capability it came by.
    pub grant_id: Option<String>,
    /// To be shown.
    pub name: String,
    /// As declared.
    pub media_type: String,
    /// 0 while nobody knows.
    pub bytes: u64,
    /// The client's mark.
    pub fingerprint: String,
    /// Where it is.
    pub state: State,
    /// Where the client's bytes go.
    pub client_key: String,
    /// The copy.
    pub stored_key: Option<String>,
    /// Storage's id of the multipart upload.
    pub s3_upload: Option<String>,
    /// Size of a part.
    pub part_bytes: u64,
    /// Title of the master it becomes.
    pub title: Option<String>,
    /// JSON.
    pub settings: Option<String>,
    /// Batch.
    pub batch_id: Option<String>,
    /// Place there.
    pub batch_position: Option<i64>,
    /// Another upload.
    pub reference_upload: Option<String>,
    /// ms
    pub created_at: i64,
    /// ms
    pub expires_at: Option<i64>,
    /// The first master made from it.
    pub master: Option<String>,
    /// Its owner chose to keep it without a master.
    pub kept: bool,
    /// Bytes that may still arrive, where nobody knows the size.
    pub reserved: u64,
    /// The sealed address it is fetched from, empty when that is over; `None`: its client sends it.
    pub source: Option<String>,
    /// Why it was not fetched.
    pub failure: Option<Failure>,
}

/// Why a file did not come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UploadFailure)]
pub struct Failure {
    /// `fetch.what`, or what an upload is refused for.
    pub code: String,
    /// What went wrong, with the values.
    pub detail: String,
}

const COLUMNS: &str = "u.id, u.owner, u.owner_key, u.grant_id, u.name, u.media_type, u.bytes, u.fingerprint, u.state, u.client_key,
    u.stored_key, u.s3_upload, u.part_bytes, u.title, u.settings, u.batch_id, u.batch_position, u.reference_upload, u.created_at,
    u.expires_at, u.kept_at, u.reserved, u.source, u.failure, (SELECT MIN(m.id) FROM masters m WHERE m.upload_id = u.id AND m.deleted_at IS NULL) AS master";

impl Row {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let size = |name| row.try_get::<i64, _>(name).map(|bytes| bytes.max(0) as u64);
        Ok(Self {
            id: row.try_get("id")?,
            owner: row.try_get("owner")?,
            owner_key: row.try_get("owner_key")?,
            grant_id: row.try_get("grant_id")?,
            name: row.try_get("name")?,
            media_type: row.try_get("media_type")?,
            bytes: size("bytes")?,
            fingerprint: row.try_get("fingerprint")?,
            state: State::of(row.try_get("state")?),
            client_key: row.try_get("client_key")?,
            stored_key: row.try_get("stored_key")?,
            s3_upload: row.try_get("s3_upload")?,
            part_bytes: size("part_bytes")?,
            title: row.try_get("title")?,
            settings: row.try_get("settings")?,
            batch_id: row.try_get("batch_id")?,
            batch_position: row.try_get("batch_position")?,
            reference_upload: row.try_get("reference_upload")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
            master: row.try_get("master")?,
            kept: row.try_get::<Option<i64>, _>("kept_at")?.is_some(),
            reserved: size("reserved")?,
            source: row.try_get("source")?,
            failure: row
                .try_get::<Option<String>, _>("failure")?
                .and_then(|failure| serde_json::from_str(&failure).ok()),
        })
    }

    /// How many parts there are; 0 where nobody knows the size.
    #[must_use]
    pub fn parts(&self) -> u64 {
        if self.part_bytes == 0 { 0 } else { self.bytes.div_ceil(self.part_bytes) }
    }

    /// The exact size of a part; `None`: there is no such part.
    #[must_use]
    pub fn bytes_of(&self, number: u64) -> Option<u64> {
        let parts = self.parts();
        if !(1..=parts).contains(&number) {
            return None;
        }
        Some(if number == parts { self.bytes - (parts - 1) * self.part_bytes } else { self.part_bytes })
    }

    /// Title of the master: what was given, else the file name without its ending.
    #[must_use]
    pub fn shown_title(&self) -> String {
        match &self.title {
            Some(title) => title.clone(),
            None => title_of(&self.name).to_owned(),
        }
    }
}

/// `song.final.wav` → `song.final`
#[must_use]
pub fn title_of(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((title, ending)) if !title.is_empty() && ending.len() <= 5 => title,
        _ => name,
    }
}

/// An upload.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Upload {
    /// `upl_…`
    pub id: String,
    /// File name.
    pub name: String,
    /// Size as declared; 0 while nobody knows.
    pub bytes: u64,
    /// Media type as declared.
    pub r#type: String,
    /// As the client gave it.
    pub fingerprint: String,
    /// Where it is.
    pub state: State,
    /// Size of every part but the last.
    pub part_bytes: u64,
    /// Number of parts.
    pub parts: u64,
    /// The batch it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Its place there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// When it was begun.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: i64,
    /// When it goes by itself; none: it is kept until it is deleted.
    #[serde(serialize_with = "timestamp::written_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<i64>,
    /// The first master made from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Its last master was deleted and the mix was kept: it stays until it is deleted itself, or goes with its next master.
    pub kept: bool,
    /// The service fetches it from an address; nothing is sent for it.
    pub fetched: bool,
    /// Why it could not be fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

impl Upload {
    /// As its owner sees it; `unfinished`: how long one that is not finished is kept, ms.
    #[must_use]
    pub fn of(row: &Row, unfinished: i64) -> Self {
        let ends = row.created_at + unfinished;
        let open = matches!(row.state, State::Uploading | State::Completing);
        Self {
            id: row.id.clone(),
            name: row.name.clone(),
            bytes: row.bytes,
            r#type: row.media_type.clone(),
            fingerprint: row.fingerprint.clone(),
            state: row.state,
            part_bytes: row.part_bytes,
            parts: row.parts(),
            batch: row.batch_id.clone(),
            position: row.batch_position,
            created_at: row.created_at,
            expires_at: if open {
                Some(row.expires_at.map_or(ends, |expires| expires.min(ends)))
            } else {
                row.expires_at
            },
            master: row.master.clone(),
            kept: row.kept && row.master.is_none(),
            fetched: row.source.is_some(),
            error: row.failure.clone(),
        }
    }
}

/// Why nothing more can be sent for this upload.
pub(super) fn closed(row: &Row) -> Error {
    match row.state {
        State::Aborted | State::Gone => {
            Error::conflict("upload.aborted", "this upload was given up or has expired; begin a new one")
        }
        State::Uploading | State::Completing | State::Stored => {
            Error::conflict("upload.complete", "this upload is complete; there is nothing left to send")
        }
    }
    .with("state", row.state.name())
}

/// Refuses what a client wants to send for an upload that the service fetches.
pub(super) fn is_sent(row: &Row) -> Result<()> {
    if row.source.is_none() {
        return Ok(());
    }
    Err(Error::conflict("upload.fetched", "this upload is fetched from its address; nothing can be sent for it"))
}

/// The owner's upload; 404 for everybody else.
pub async fn find(db: &Db, owner: &str, id: &str) -> Result<Row> {
    let text = db.sql(&format!(
        "SELECT {COLUMNS} FROM uploads u WHERE u.id = $1 AND u.owner = $2 AND u.state <> 'gone' AND NOT {HIDDEN}"
    ));
    let row = sqlx::query(text).bind(id).bind(owner).fetch_optional(db.read()).await?;
    row.map(|row| Row::read(&row)).transpose()?.ok_or_else(|| Error::not_found("upload", id))
}

/// The upload, whoever owns it.
pub(super) async fn load(db: &Db, id: &str) -> Result<Row> {
    let text = db.sql(&format!("SELECT {COLUMNS} FROM uploads u WHERE u.id = $1"));
    let row = sqlx::query(text).bind(id).fetch_optional(db.read()).await?;
    row.map(|row| Row::read(&row)).transpose()?.ok_or_else(|| Error::not_found("upload", id))
}

/// Newest first.
pub async fn list(
    db: &Db,
    owner: &str,
    state: Option<State>,
    kept: Option<bool>,
    time: i64,
    id: &str,
    limit: i64,
) -> Result<Vec<Row>> {
    let text = db.sql(&format!(
        "SELECT {COLUMNS} FROM uploads u WHERE u.owner = $1 AND (u.created_at < $2 OR (u.created_at = $2 AND u.id < $3))
         AND u.state <> 'gone' AND (u.state = $4 OR ($4 = '' AND u.state <> 'aborted'))
         AND ($5 = 2 OR $5 = CASE WHEN u.kept_at IS NOT NULL AND NOT EXISTS
           (SELECT 1 FROM masters m WHERE m.upload_id = u.id AND m.deleted_at IS NULL) THEN 1 ELSE 0 END) AND NOT {HIDDEN}
         ORDER BY u.created_at DESC, u.id DESC LIMIT $6"
    ));
    let state = state.map_or("", State::name);
    let query = sqlx::query(text).bind(owner).bind(time).bind(id).bind(state).bind(kept.map_or(2_i64, i64::from));
    let rows = query.bind(limit + 1).fetch_all(db.read()).await?;
    Ok(rows.iter().map(Row::read).collect::<Result<_, _>>()?)
}

/// 404 unless this batch or upload is the owner's.
pub async fn owns(db: &Db, owner: &str, what: &str, id: &str) -> Result<()> {
    let text = db.sql(&match what {
        "batch" => "SELECT COUNT(*) FROM batches WHERE id = $1 AND owner = $2".to_owned(),
        _ => format!(
            "SELECT COUNT(*) FROM uploads u WHERE u.id = $1 AND u.owner = $2 AND u.state NOT IN ('aborted', 'gone') AND NOT {HIDDEN}"
        ),
    });
    let count: i64 = sqlx::query_scalar(text).bind(id).bind(owner).fetch_one(db.read()).await?;
    if count == 1 { Ok(()) } else { Err(Error::not_found(what, id)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_come_from_names() {
        assert_eq!(title_of("song.final.wav"), "song.final");
        assert_eq!((title_of("song"), title_of(".wav")), ("song", ".wav"));
    }
}
