//! The states of an upload:
//!
//! ```text
//! uploading → completing → stored → (no row), or gone while its form can still be sent
//!           ↘ aborted
//! ```
//!
//! `completing` is written before storage is asked to complete, together with the key that is read. Whatever breaks after that, the next
//! call looks at what storage has and goes on from there: parts that are gone but an object that is there mean that storage had
//! completed. What came by a POST is copied to a key for which no client holds a signature, so that what is mastered is what was
//! checked; parts need no copy. With the row's `stored` the master and its job are written in one transaction.

use super::super::admission;
use super::super::idempotency::Ticket;
use super::super::identity::{Identity, audit, welcome};
use super::super::limits::{Rule, quota, spend};
use super::super::masters::create::{Track, enqueue};
use super::super::masters::room_in_queue;
use super::super::settings;
use super::super::{Answer, App, Problem, Visitor};
use super::room::{self, Sender};
use super::{SIGNED_FOR, Upload, unsized_parts};
use crate::db::{Db, Tx, bump_version, new_id};
use crate::queue;
use crate::retention::mixes::{self, HIDDEN, UNUSED};
use crate::retention::purge_upload;
use crate::retention::traces::Removed;
use crate::store::PartTag;
use axum::http::StatusCode;
use loopmaster_core::Settings;
use loopmaster_core::admission::{Declared, admit};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;
use tracing::Instrument;
use utoipa::ToSchema;

/// S3 allows no more parts …
const MOST_PARTS: u64 = 10_000;
/// … and no larger ones.
const LARGEST_PART: u64 = 5 << 30;
/// How long something may arrive at an address after it was signed: while it works, and what is on its way when it ends.
pub(crate) const OPEN_FOR: i64 = 2 * SIGNED_FOR.as_millis() as i64;

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

    fn of(text: &str) -> Self {
        match text {
            "uploading" => Self::Uploading,
            "completing" => Self::Completing,
            "stored" => Self::Stored,
            "aborted" => Self::Aborted,
            _ => Self::Gone,
        }
    }
}

/// How the bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In parts.
    Parts,
    /// In one POST with a signed policy.
    Post,
}

/// What a client wants to send.
#[derive(Clone, Debug)]
pub struct Wish {
    /// File name.
    pub name: String,
    /// Size, where the client says it.
    pub bytes: Option<u64>,
    /// Media type.
    pub media_type: String,
    /// The client's mark for the file.
    pub fingerprint: String,
    /// Master it at once.
    pub settings: Option<Settings>,
    /// Batch it belongs to.
    pub batch: Option<String>,
    /// Place in the batch.
    pub position: Option<i64>,
    /// Title of the master.
    pub title: Option<String>,
    /// Another upload to come close to.
    pub reference: Option<String>,
    /// How the bytes come.
    pub way: Way,
    /// How the client cuts the file, where that is not ours to say.
    pub part_bytes: Option<u64>,
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
}

const COLUMNS: &str = "u.id, u.owner, u.owner_key, u.grant_id, u.name, u.media_type, u.bytes, u.fingerprint, u.state, u.client_key,
    u.stored_key, u.s3_upload, u.part_bytes, u.title, u.settings, u.batch_id, u.batch_position, u.reference_upload, u.created_at,
    u.expires_at, u.kept_at, u.reserved, (SELECT MIN(m.id) FROM masters m WHERE m.upload_id = u.id AND m.deleted_at IS NULL) AS master";

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

fn closed(row: &Row) -> Problem {
    match row.state {
        State::Aborted | State::Gone => {
            Problem::conflict("upload.aborted", "this upload was given up or has expired; begin a new one")
        }
        State::Uploading | State::Completing | State::Stored => {
            Problem::conflict("upload.complete", "this upload is complete; there is nothing left to send")
        }
    }
    .with("state", row.state.name())
}

/// The owner's upload; 404 for everybody else.
pub async fn find(db: &Db, owner: &str, id: &str) -> Answer<Row> {
    let text = db.sql(&format!(
        "SELECT {COLUMNS} FROM uploads u WHERE u.id = $1 AND u.owner = $2 AND u.state <> 'gone' AND NOT {HIDDEN}"
    ));
    let row = sqlx::query(text).bind(id).bind(owner).fetch_optional(db.read()).await?;
    row.map(|row| Row::read(&row)).transpose()?.ok_or_else(|| Problem::not_found("upload", id))
}

/// An upload as far as it has come: what a process that died left in the middle of being completed is brought to its end first, so that
/// no client waits for somebody who is not there. What is being completed here is waited for.
pub async fn current(app: &App, row: Row) -> Answer<Row> {
    if row.state != State::Completing {
        return Ok(row);
    }
    match settle(app, &row.id).await {
        // Parts are missing after all: it is open again, and says so itself.
        Err(problem) if problem.status().is_client_error() => find(&app.db, &row.owner, &row.id).await,
        settled => settled,
    }
}

async fn load(db: &Db, id: &str) -> Answer<Row> {
    let text = db.sql(&format!("SELECT {COLUMNS} FROM uploads u WHERE u.id = $1"));
    let row = sqlx::query(text).bind(id).fetch_optional(db.read()).await?;
    row.map(|row| Row::read(&row)).transpose()?.ok_or_else(|| Problem::not_found("upload", id))
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
) -> Answer<Vec<Row>> {
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

/// Size of the parts of a file: the configured one, larger where that would make too many.
fn part_size(bytes: u64, wished: u64) -> u64 {
    let least = bytes.div_ceil(MOST_PARTS).next_multiple_of(1 << 20);
    wished.max(least).min(LARGEST_PART)
}

/// Begins an upload. The answer is kept with the ticket, in the same transaction.
pub async fn create(app: &App, visitor: &Visitor, wish: Wish, ticket: Option<&Ticket>) -> Answer<(Upload, Row)> {
    let admission = admission::limits(app).await?;
    // Where the size is not declared it is looked at when it is there.
    let declared = Declared { name: &wish.name, bytes: wish.bytes.unwrap_or(1), media_type: &wish.media_type };
    let admitted =
        admit(declared, &admission).map_err(|refusal| Problem::unprocessable(refusal.code(), refusal.to_string()))?;
    if let Some(settings) = &wish.settings {
        settings::judge(settings)?;
    }
    app.health.room(wish.bytes.unwrap_or_default())?;
    for (what, id) in [("batch", &wish.batch), ("upload", &wish.reference)] {
        if let Some(id) = id {
            owns(&app.db, visitor.owner(), what, id).await?;
        }
    }
    room::looks_full(app, visitor, wish.bytes.unwrap_or(1)).await?;

    let id = new_id("upl");
    // No folder of its own: on the embedded storage that is one more to make, to make durable and to remove.
    let client_key = format!("uploads/{id}.{}", random_name());
    let media_type = if wish.media_type.is_empty() { "application/octet-stream" } else { wish.media_type.trim() };
    let media_type: String = media_type.chars().filter(char::is_ascii_graphic).take(100).collect();
    let s3_upload = match wish.way {
        Way::Parts => Some(app.store.create_multipart(&client_key, &media_type).await?),
        Way::Post => None,
    };
    let place = Place { id, client_key, media_type, s3_upload, name: admitted.name };
    let (key, begun) = (place.client_key.clone(), place.s3_upload.clone());
    let written = write_down(app, visitor, wish, place, ticket).await;
    if let (Err(_), Some(id)) = (&written, begun)
        && let Err(error) = app.store.abort(&key, &id).await
    {
        tracing::warn!(%error, "an upload that was refused is left to the storage's sweep");
    }
    written
}

/// What has been made for an upload before it is written down.
struct Place {
    id: String,
    client_key: String,
    media_type: String,
    s3_upload: Option<String>,
    name: String,
}

async fn write_down(
    app: &App,
    visitor: &Visitor,
    wish: Wish,
    place: Place,
    ticket: Option<&Ticket>,
) -> Answer<(Upload, Row)> {
    let limits = &app.config.limits;
    let mine = quota(limits, visitor);
    let bytes = wish.bytes.unwrap_or_default();
    let part_bytes = match (wish.way, wish.part_bytes) {
        (Way::Parts, Some(size)) => size,
        (Way::Parts, None) => part_size(bytes, limits.part_bytes),
        (Way::Post, _) => bytes,
    };

    // Asked before: who holds the writer keeps others waiting.
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    welcome(&mut tx, visitor, now).await?;
    let mut costs = vec![(Rule::hourly("creates", mine.creates_an_hour), 1)];
    if wish.settings.is_some() {
        costs.push((Rule::daily("tracks", mine.tracks_a_day), 1));
    }
    // From here on nobody else spends for this key until the end of the transaction, so that what is counted stays true.
    spend(&mut tx, visitor.owner_key(), &costs).await?;
    if wish.settings.is_some() {
        room_in_queue(&mut tx, limits, visitor, 1).await?;
    }
    let sender = Sender::of(visitor);
    let room = room::room(&mut tx, limits, sender, now).await?;
    room.hold(wish.bytes.unwrap_or(1))?;
    // A form may be sent as soon as it is signed; parts are counted one by one.
    let reserved = match (wish.way, wish.bytes) {
        (Way::Post, None) => room.left.min(limits.form_bytes).min(limits.file_bytes),
        _ => 0,
    };
    if reserved > 0 {
        app.health.room(reserved)?;
    }
    let grant_id = sender.grant.map(str::to_owned);
    if let Some(grant) = &grant_id {
        spend_grant(&mut tx, grant, 1, bytes).await?;
    }
    let days = match visitor.identity {
        Identity::Guest { .. } => app.config.retention.guest_days,
        _ => app.config.retention.unused_days,
    };
    let row = Row {
        owner: visitor.owner().to_owned(),
        owner_key: visitor.owner_key().to_owned(),
        grant_id,
        name: place.name,
        media_type: place.media_type,
        bytes,
        fingerprint: wish.fingerprint,
        state: State::Uploading,
        client_key: place.client_key,
        stored_key: None,
        s3_upload: place.s3_upload,
        part_bytes,
        title: wish.title.map(|title| loopmaster_core::admission::shown_text(&title)),
        settings: wish.settings.as_ref().map(serde_json::to_string).transpose().map_err(Problem::internal)?,
        batch_id: wish.batch,
        batch_position: wish.position,
        reference_upload: wish.reference,
        created_at: now,
        expires_at: Some(now + i64::from(days) * 86_400_000),
        master: None,
        kept: false,
        reserved,
        id: place.id,
    };
    if let Some(reference) = &row.reference_upload {
        mixes::hold(&mut tx, &row.owner, &[reference]).await?;
    }
    insert(&mut tx, &row).await?;
    if wish.way == Way::Post {
        // Parts become an object only when we say so, and it is written down then.
        intend(&mut tx, &row.client_key, &row.id, now).await?;
    }
    let upload = Upload::of(&row, app.unfinished(&row.owner));
    if let Some(ticket) = ticket {
        ticket.keep(&mut tx, StatusCode::CREATED, &upload).await?;
    }
    tx.commit().await?;
    metrics::counter!("loopmaster_uploads_begun_total").increment(1);
    Ok((upload, row))
}

async fn insert(tx: &mut Tx, row: &Row) -> Answer<()> {
    let text = "INSERT INTO uploads (id, owner, owner_key, grant_id, name, media_type, bytes, fingerprint, state, client_key, s3_upload,
        part_bytes, title, settings, batch_id, batch_position, reference_upload, created_at, updated_at, expires_at,
        reserved) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18, $19, $20)";
    sqlx::query(text)
        .bind(&row.id)
        .bind(&row.owner)
        .bind(&row.owner_key)
        .bind(&row.grant_id)
        .bind(&row.name)
        .bind(&row.media_type)
        .bind(row.bytes as i64)
        .bind(&row.fingerprint)
        .bind(row.state.name())
        .bind(&row.client_key)
        .bind(&row.s3_upload)
        .bind(row.part_bytes as i64)
        .bind(&row.title)
        .bind(&row.settings)
        .bind(&row.batch_id)
        .bind(row.batch_position)
        .bind(&row.reference_upload)
        .bind(row.created_at)
        .bind(row.expires_at)
        .bind(row.reserved as i64)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Written down before the bytes are.
async fn intend(tx: &mut Tx, key: &str, upload: &str, now: i64) -> Answer<()> {
    let text = "INSERT INTO objects (key, state, upload_id, created_at) VALUES ($1, 'intent', $2, $3) ON CONFLICT (key) DO NOTHING";
    sqlx::query(text).bind(key).bind(upload).bind(now).execute(&mut **tx).await?;
    Ok(())
}

fn random_name() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// 404 unless this batch or upload is the owner's.
pub(in crate::http) async fn owns(db: &Db, owner: &str, what: &str, id: &str) -> Answer<()> {
    let text = db.sql(&match what {
        "batch" => "SELECT COUNT(*) FROM batches WHERE id = $1 AND owner = $2".to_owned(),
        _ => format!(
            "SELECT COUNT(*) FROM uploads u WHERE u.id = $1 AND u.owner = $2 AND u.state NOT IN ('aborted', 'gone') AND NOT {HIDDEN}"
        ),
    });
    let count: i64 = sqlx::query_scalar(text).bind(id).bind(owner).fetch_one(db.read()).await?;
    if count == 1 { Ok(()) } else { Err(Problem::not_found(what, id)) }
}

/// Spends files and bytes of a grant, in the transaction that makes the upload or learns its size.
pub async fn spend_grant(tx: &mut Tx, grant: &str, files: i64, bytes: u64) -> Answer<()> {
    let text = "UPDATE grants SET files_left = files_left - $2, bytes_left = bytes_left - $3
        WHERE id = $1 AND files_left >= $2 AND bytes_left >= $3 AND revoked_at IS NULL";
    let spent = sqlx::query(text).bind(grant).bind(files).bind(bytes as i64).execute(&mut **tx).await?;
    if spent.rows_affected() == 1 {
        return Ok(());
    }
    Err(Problem::forbidden(
        "grant.exhausted",
        "this upload address takes no more files or bytes; ask the page for a new one",
    ))
}

/// An address for one part of exactly its size; without a declared size, of what [`unsized_parts`] allows.
pub async fn sign(app: &App, row: &Row, numbers: &[u64]) -> Answer<BTreeMap<u64, String>> {
    let (State::Uploading, Some(upload)) = (row.state, &row.s3_upload) else { return Err(closed(row)) };
    let last = if row.bytes == 0 { MOST_PARTS } else { row.parts() };
    if let Some(number) = numbers.iter().find(|number| !(1..=last).contains(*number)) {
        let detail = format!("there is no part {number}; the parts are 1 to {last}");
        return Err(Problem::unprocessable("upload.no_such_part", detail));
    }
    let mut urls = BTreeMap::new();
    if row.bytes == 0 {
        for (number, most) in unsized_parts::allow(app, row, numbers).await? {
            let url = app.store.presign_part_at_most(&row.client_key, upload, number, most, SIGNED_FOR).await?;
            urls.insert(number.into(), url.into());
        }
        return Ok(urls);
    }
    for number in numbers {
        let bytes = row.bytes_of(*number).unwrap_or_default();
        let url = app.store.presign_part(&row.client_key, upload, *number as u16, bytes, SIGNED_FOR).await?;
        urls.insert(*number, url.into());
    }
    Ok(urls)
}

/// The parts storage has.
pub async fn arrived(app: &App, row: &Row) -> Answer<Vec<PartTag>> {
    let (State::Uploading, Some(upload)) = (row.state, &row.s3_upload) else { return Err(closed(row)) };
    match app.store.list_parts(&row.client_key, upload).await {
        Ok(parts) => Ok(parts),
        Err(error) if error.is_not_found() => {
            Err(Problem::conflict("upload.aborted", "the parts of this upload have expired; begin a new one"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Gives an upload up, or deletes a stored one that no master needs.
pub async fn abort(app: &App, visitor: &Visitor, row: &Row) -> Answer<()> {
    if matches!(row.state, State::Aborted | State::Gone) {
        return Ok(());
    }
    let _turn = app.settling.of(&row.id).await;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    // Whoever makes a master from it holds this row, too.
    let state = sqlx::query_scalar::<_, String>(tx.sql("SELECT state FROM uploads WHERE id = $1 {lock}"))
        .bind(&row.id)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(state) = state.as_deref().map(State::of) else { return Ok(()) };
    let count = |condition: &str| format!("SELECT COUNT(*) FROM uploads u WHERE u.id = $1 AND {condition}");
    sqlx::query("UPDATE uploads SET kept_at = NULL WHERE id = $1").bind(&row.id).execute(&mut *tx).await?;
    let going: i64 = sqlx::query_scalar(tx.sql(&count(HIDDEN))).bind(&row.id).fetch_one(&mut *tx).await?;
    let unused = count(UNUSED).replace("FROM uploads u WHERE u.id", "FROM uploads WHERE id");
    let unused: i64 = sqlx::query_scalar(tx.sql(&unused)).bind(&row.id).fetch_one(&mut *tx).await?;
    if going == 1 {
        // Its masters are deleted and can still be restored: it goes with them, or comes back with them.
    } else if unused == 0 {
        return Err(Problem::conflict(
            "upload.in_use",
            "a master was made from this upload, or with it as a reference; delete the master, and the upload goes with it",
        ));
    } else if state == State::Stored {
        let mut removed = Removed::default();
        purge_upload(&mut tx, &row.id, now).await?;
        removed.add(&row.owner, &row.id);
        removed.forget(&mut tx, now).await?;
        // The client's own key, for which an address may still be held, is looked for once more by the sweeper.
        queue::hasten(&mut tx, "sweep", "sweep", now).await?;
    } else {
        // The row stays for a day, so that a client which is still sending is told.
        let text =
            "UPDATE uploads SET state = 'aborted', updated_at = $2, title = NULL, settings = NULL, fingerprint = '',
            reference_upload = NULL WHERE id = $1 AND state <> 'gone'";
        sqlx::query(text).bind(&row.id).bind(now).execute(&mut *tx).await?;
        doom(&mut tx, row, now).await?;
    }
    audit(&mut tx, visitor, "upload.delete", &row.id, "", now).await?;
    tx.commit().await?;
    drop_parts(app, row).await;
    Ok(())
}

/// The parts of an upload that was given up go. What storage does not hear now the sweeper tells it later.
async fn drop_parts(app: &App, row: &Row) {
    if let Some(upload) = &row.s3_upload
        && let Err(error) = app.store.abort(&row.client_key, upload).await
        && !error.is_not_found()
    {
        tracing::warn!(%error, upload = %row.id, "the parts are left to the sweeper");
    }
}

/// More has arrived than may: the upload ends, and its parts go.
pub(super) async fn give_up(app: &App, row: &Row) -> Answer<()> {
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let text = "UPDATE uploads SET state = 'aborted', updated_at = $2 WHERE id = $1 AND state = 'uploading'";
    sqlx::query(text).bind(&row.id).bind(now).execute(&mut *tx).await?;
    doom(&mut tx, row, now).await?;
    tx.commit().await?;
    drop_parts(app, row).await;
    Ok(())
}

/// All objects of an upload are to be swept: that of a form when nothing more arrives there and nothing counts for it any more, others
/// now.
async fn doom(tx: &mut Tx, row: &Row, now: i64) -> Answer<()> {
    let text = "UPDATE objects SET state = 'doomed', sweep_after = CASE WHEN key = $2 THEN $3 ELSE $4 END WHERE upload_id = $1";
    let form = if row.s3_upload.is_none() { &row.client_key } else { "" };
    let query = sqlx::query(text).bind(&row.id).bind(form).bind(row.created_at + OPEN_FOR).bind(now);
    query.execute(&mut **tx).await?;
    Ok(())
}

/// The client says that everything is there.
pub async fn complete(app: &App, row: &Row, parts: Vec<(u64, String)>) -> Answer<Row> {
    // Whether it is still so is asked by whatever is written.
    let known = (row.state == State::Uploading).then(|| row.clone());
    run(app, &row.id, known, Some(parts)).await
}

/// Brings an upload as far as what is in storage allows: for the sweeper, and for what came by a POST without a goodbye.
pub async fn settle(app: &App, id: &str) -> Answer<Row> {
    run(app, id, None, None).await
}

/// Runs to its end even if the one who asked has gone.
async fn run(app: &App, id: &str, known: Option<Row>, parts: Option<Vec<(u64, String)>>) -> Answer<Row> {
    let (app, id) = (app.clone(), id.to_owned());
    let task = async move {
        let _turn = app.settling.of(&id).await;
        run_alone(&app, &id, known, parts).await
    };
    tokio::spawn(task.in_current_span()).await.map_err(Problem::internal)?
}

async fn run_alone(app: &App, id: &str, known: Option<Row>, parts: Option<Vec<(u64, String)>>) -> Answer<Row> {
    let mut row = match known {
        Some(row) => row,
        None => load(&app.db, id).await?,
    };
    match row.state {
        State::Stored => return Ok(row),
        State::Aborted | State::Gone => return Err(closed(&row)),
        State::Uploading => {
            if let Some(parts) = &parts {
                whole(&row, parts)?;
            }
            if row.s3_upload.is_none() && app.store.head(&row.client_key).await?.is_none() {
                return Err(Problem::conflict(
                    "upload.not_complete",
                    format!("“{}” has not arrived yet; send it first", row.name),
                ));
            }
            if !begin_completing(app, &mut row).await? {
                return Box::pin(run_alone(app, id, None, parts)).await;
            }
        }
        State::Completing => {}
    }
    if row.s3_upload.is_some() {
        put_together(app, &row, parts).await?;
    }
    let Some(stored_key) = row.stored_key.clone() else {
        return Err(Problem::internal("completing without a key for the copy"));
    };
    // What was signed part by part has its size; what was not is looked at before it is copied.
    if (row.bytes, &row.s3_upload) == (0, &None)
        && let Some(head) = app.store.head(&row.client_key).await?
        && let Err(problem) = judge(app, &row, head.bytes)
    {
        refuse(app, &row).await?;
        return Err(problem);
    }
    // Parts become an object when we say so, and from then on the addresses of parts take nothing more. A POST can be repeated as long as
    // its signature holds: only its copy stays what it is.
    let there = match row.s3_upload {
        Some(_) => app.store.head(&stored_key).await?,
        None => match app.store.copy(&row.client_key, &stored_key).await {
            Ok(head) => Some(head),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        },
    };
    let Some(head) = there else {
        back_to_uploading(app, &row).await?;
        let name = &row.name;
        let detail = format!("“{name}” has not arrived yet; send all parts, then complete");
        return Err(Problem::conflict("upload.not_complete", detail));
    };
    if let Err(problem) = judge(app, &row, head.bytes) {
        refuse(app, &row).await?;
        return Err(problem);
    }
    let adopted = adopt(app, &row, &stored_key, head.bytes, &head.etag).await;
    if adopted.as_ref().is_err_and(|problem| problem.status() == StatusCode::FORBIDDEN) {
        refuse(app, &row).await?;
    }
    adopted
}

/// Whether these are all parts, in order, each with what storage answered.
fn whole(row: &Row, parts: &[(u64, String)]) -> Answer<()> {
    let count = parts.len() as u64;
    // Without a declared size only the order can be judged here.
    let expected = if row.bytes == 0 { count } else { row.parts() };
    if count == 0 || count != expected || count > MOST_PARTS {
        return Err(Problem::unprocessable(
            "upload.part_missing",
            format!("{count} parts were named, but there are {expected}; name each once"),
        ));
    }
    let mut last = 0;
    for (number, etag) in parts {
        let follows = if row.bytes == 0 { *number > last } else { *number == last + 1 };
        if !follows || *number > MOST_PARTS {
            return Err(Problem::unprocessable(
                "upload.part_order",
                format!("part {number} comes after part {last}; name the parts in ascending order"),
            ));
        }
        if etag.is_empty() || etag.len() > 200 || etag.chars().any(char::is_control) {
            return Err(Problem::unprocessable(
                "upload.part_etag",
                format!("part {number} has no ETag; take it from storage's answer to the PUT"),
            ));
        }
        last = *number;
    }
    Ok(())
}

/// `uploading` → `completing`, with the key it is read from. False: somebody else was faster.
async fn begin_completing(app: &App, row: &mut Row) -> Answer<bool> {
    let stored_key = match row.s3_upload {
        Some(_) => row.client_key.clone(),
        None => format!("stored/{}.{}", row.id, random_name()),
    };
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let text = "UPDATE uploads SET state = 'completing', stored_key = $2, updated_at = $3 WHERE id = $1 AND state = 'uploading'";
    let mine = sqlx::query(text).bind(&row.id).bind(&stored_key).bind(now).execute(&mut *tx).await?;
    if mine.rows_affected() == 0 {
        return Ok(false);
    }
    intend(&mut tx, &stored_key, &row.id, now).await?;
    tx.commit().await?;
    row.state = State::Completing;
    row.stored_key = Some(stored_key);
    Ok(true)
}

async fn back_to_uploading(app: &App, row: &Row) -> Answer<()> {
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    sqlx::query("UPDATE uploads SET state = 'uploading', updated_at = $2 WHERE id = $1 AND state = 'completing'")
        .bind(&row.id)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    if let Some(key) = row.stored_key.as_ref().filter(|key| **key != row.client_key) {
        sqlx::query("UPDATE objects SET state = 'doomed', sweep_after = $2 WHERE key = $1")
            .bind(key)
            .bind(now)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Asks storage to make one object of the parts. That it has been done before is as good.
async fn put_together(app: &App, row: &Row, parts: Option<Vec<(u64, String)>>) -> Answer<()> {
    let Some(upload) = &row.s3_upload else { return Ok(()) };
    let parts = match parts {
        Some(parts) => parts,
        // After a crash nobody names the parts: storage knows them.
        None => match app.store.list_parts(&row.client_key, upload).await {
            Ok(parts) => parts.into_iter().map(|part| (u64::from(part.number), part.etag)).collect(),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        },
    };
    if let Err(problem) = whole(row, &parts) {
        if app.store.head(&row.client_key).await?.is_some() {
            return Ok(());
        }
        back_to_uploading(app, row).await?;
        return Err(problem);
    }
    let tag = |(number, etag): (u64, String)| PartTag {
        number: number as u16,
        etag: etag.trim_matches('"').to_owned(),
        bytes: None,
    };
    let parts: Vec<PartTag> = parts.into_iter().map(tag).collect();
    match app.store.complete(&row.client_key, upload, &parts).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => {
            if app.store.head(&row.client_key).await?.is_some() {
                return Ok(());
            }
            refuse(app, row).await?;
            Err(Problem::conflict(
                "upload.aborted",
                "the parts of this upload have expired or were aborted; begin a new one",
            ))
        }
        Err(error) => {
            let problem = Problem::from(error);
            if problem.status().is_client_error() {
                back_to_uploading(app, row).await?;
            }
            Err(problem)
        }
    }
}

/// Whether what has arrived is what was announced.
fn judge(app: &App, row: &Row, bytes: u64) -> Answer<()> {
    let limit = app.config.limits.file_bytes;
    if bytes > limit {
        return Err(Problem::unprocessable(
            "decode.too_large",
            format!("“{}” has {bytes} bytes and the limit is {limit}", row.name),
        ));
    }
    if row.bytes != 0 && bytes != row.bytes {
        return Err(Problem::unprocessable(
            "upload.size_differs",
            format!("“{}” was announced with {} bytes, and {bytes} arrived; begin a new upload", row.name, row.bytes),
        ));
    }
    Ok(())
}

/// What arrived cannot be taken.
async fn refuse(app: &App, row: &Row) -> Answer<()> {
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    sqlx::query("UPDATE uploads SET state = 'aborted', updated_at = $2 WHERE id = $1 AND state = 'completing'")
        .bind(&row.id)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    doom(&mut tx, row, now).await?;
    tx.commit().await?;
    Ok(())
}

/// `completing` → `stored`, and the master with its job. Gives the row as it is then.
async fn adopt(app: &App, row: &Row, stored_key: &str, bytes: u64, etag: &str) -> Answer<Row> {
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    // What becomes a user's master stays until it is deleted.
    let kept = row.settings.is_some() && !row.owner.starts_with("gst_");
    let unannounced = row.bytes == 0;
    if unannounced {
        room::lock(&mut tx, &row.owner_key).await?;
    }
    let text = "UPDATE uploads SET state = 'stored', bytes = $2, etag = $3, stored_at = $4, updated_at = $4,
        expires_at = CASE WHEN $5 = 1 THEN NULL ELSE expires_at END WHERE id = $1 AND state = 'completing'";
    let query = sqlx::query(text).bind(&row.id).bind(bytes as i64).bind(etag).bind(now).bind(i64::from(kept));
    let mine = query.execute(&mut *tx).await?;
    if mine.rows_affected() == 0 {
        // Another process has finished it; its answer is the first.
        tx.rollback().await?;
        return load(&app.db, &row.id).await;
    }
    if unannounced {
        // Storage that cannot hold to a limit may have taken more than was reserved.
        if bytes > row.reserved {
            let sender = Sender { owner: &row.owner, owner_key: &row.owner_key, grant: None };
            let room = room::room(&mut tx, &app.config.limits, sender, now).await?;
            if room.is_exceeded() {
                return Err(room.refusal());
            }
        }
        if let Some(grant) = &row.grant_id {
            spend_grant(&mut tx, grant, 0, bytes).await?;
        }
    }
    let text = "UPDATE objects SET state = CASE WHEN key = $2 THEN 'stored' ELSE 'doomed' END,
        sweep_after = CASE WHEN key = $2 THEN NULL ELSE $3 END WHERE upload_id = $1";
    sqlx::query(text).bind(&row.id).bind(stored_key).bind(row.created_at + OPEN_FOR).execute(&mut *tx).await?;
    let mut master = None;
    if let Some(settings) = &row.settings {
        let version = bump_version(&mut tx, &row.owner).await?;
        let track = Track {
            owner: &row.owner,
            owner_key: &row.owner_key,
            upload: &row.id,
            media_type: &row.media_type,
            name: &row.name,
            bytes,
            title: row.shown_title(),
            settings,
            reference: row.reference_upload.as_deref(),
            batch: row.batch_id.as_deref(),
            position: row.batch_position,
        };
        master = enqueue(app, &mut tx, &[track], version, now).await?.pop();
    }
    tx.commit().await?;
    metrics::counter!("loopmaster_uploads_stored_total").increment(1);
    metrics::counter!("loopmaster_uploads_stored_bytes_total").increment(bytes);
    let expires_at = row.expires_at.filter(|_| !kept);
    Ok(Row { state: State::Stored, bytes, expires_at, master, ..row.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(bytes: u64, part_bytes: u64) -> Row {
        Row {
            id: String::new(),
            owner: String::new(),
            owner_key: String::new(),
            grant_id: None,
            name: "song.wav".to_owned(),
            media_type: String::new(),
            bytes,
            fingerprint: String::new(),
            state: State::Uploading,
            client_key: String::new(),
            stored_key: None,
            s3_upload: None,
            part_bytes,
            title: None,
            settings: None,
            batch_id: None,
            batch_position: None,
            reference_upload: None,
            created_at: 0,
            expires_at: None,
            master: None,
            kept: false,
            reserved: 0,
        }
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_file(bytes in 1..=5_u64 << 40, wished in 5_u64 << 20..=64 << 20) {
            let row = row(bytes, part_size(bytes, wished));
            prop_assert!(row.parts() <= MOST_PARTS && row.part_bytes >= 5 << 20 && row.part_bytes <= LARGEST_PART);
            let last = row.bytes_of(row.parts()).unwrap();
            prop_assert!(last >= 1 && last <= row.part_bytes);
            prop_assert_eq!((row.parts() - 1) * row.part_bytes + last, bytes);
            prop_assert_eq!((row.bytes_of(0), row.bytes_of(row.parts() + 1)), (None, None));
        }
    }

    #[test]
    fn parts_have_to_be_named_whole_and_in_order() {
        let row = row(20 << 20, 8 << 20);
        let named = |numbers: &[u64]| {
            let parts: Vec<(u64, String)> = numbers.iter().map(|number| (*number, "\"e\"".to_owned())).collect();
            whole(&row, &parts).map_err(|problem| problem.code().to_owned())
        };
        assert_eq!(named(&[1, 2, 3]), Ok(()));
        assert_eq!(named(&[1, 2]).unwrap_err(), "upload.part_missing");
        assert_eq!(named(&[2, 1, 3]).unwrap_err(), "upload.part_order");
        assert_eq!(named(&[1, 1, 2]).unwrap_err(), "upload.part_order");
        assert_eq!(named(&[]).unwrap_err(), "upload.part_missing");
        assert_eq!(
            whole(&row, &[(1, String::new()), (2, String::new()), (3, String::new())]).unwrap_err().code(),
            "upload.part_etag"
        );
    }

    #[test]
    fn titles_come_from_names() {
        assert_eq!(title_of("song.final.wav"), "song.final");
        assert_eq!((title_of("song"), title_of(".wav")), ("song", ".wav"));
    }
}
