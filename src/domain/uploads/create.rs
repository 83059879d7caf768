//! An upload begins: what it may be is checked before storage is asked for anything, and what it costs is spent with its row.

use super::row::{Row, State, Upload, owns};
use super::{LARGEST_PART, MOST_PARTS, fetched, random_name, room};
use crate::db::objects;
use crate::db::{Tx, new_id};
use crate::domain::accounts::grants;
use crate::domain::error::{Error, Result};
use crate::domain::idempotency::Ticket;
use crate::domain::identity::{Identity, Visitor};
use crate::domain::limits::{Rule, quota, spend};
use crate::domain::masters::enqueue::room_in_queue;
use crate::domain::uploads::mixes;
use crate::domain::uploads::room::Sender;
use crate::domain::{admission, guests, settings};
use crate::service::Service;
use loopmaster_core::Settings;
use loopmaster_core::admission::{Declared, admit};
use url::Url;

/// How the bytes come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// In parts.
    Parts,
    /// In one POST with a signed policy.
    Post,
    /// The service fetches them.
    Fetched(Url),
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

/// Size of the parts of a file: the configured one, larger where that would make too many.
pub(super) fn part_size(bytes: u64, wished: u64) -> u64 {
    let least = bytes.div_ceil(MOST_PARTS).next_multiple_of(1 << 20);
    wished.max(least).min(LARGEST_PART)
}

/// Begins an upload. The answer is kept with the ticket, in the same transaction.
pub async fn create(
    service: &Service,
    visitor: &Visitor,
    wish: Wish,
    ticket: Option<&Ticket>,
) -> Result<(Upload, Row)> {
    let admission = admission::limits(&service.db, &service.config).await?;
    // Where the size is not declared it is looked at when it is there.
    let declared = Declared { name: &wish.name, bytes: wish.bytes.unwrap_or(1), media_type: &wish.media_type };
    let admitted =
        admit(declared, &admission).map_err(|refusal| Error::invalid(refusal.code(), refusal.to_string()))?;
    if let Some(settings) = &wish.settings {
        settings::validate(settings)?;
    }
    service.health.room(wish.bytes.unwrap_or_default())?;
    for (what, id) in [("batch", &wish.batch), ("upload", &wish.reference)] {
        if let Some(id) = id {
            owns(&service.db, visitor.owner(), what, id).await?;
        }
    }
    room::looks_full(service, visitor, wish.bytes.unwrap_or(1)).await?;

    let id = new_id("upl");
    // No folder of its own: on the embedded storage that is one more to make, to make durable and to remove.
    let client_key = format!("uploads/{id}.{}", random_name());
    let media_type = if wish.media_type.is_empty() { "application/octet-stream" } else { wish.media_type.trim() };
    let media_type: String = media_type.chars().filter(char::is_ascii_graphic).take(100).collect();
    let s3_upload = match wish.way {
        Way::Parts | Way::Fetched(_) => Some(service.store.create_multipart(&client_key, &media_type).await?),
        Way::Post => None,
    };
    let place = Place { id, client_key, media_type, s3_upload, name: admitted.name };
    let (key, begun) = (place.client_key.clone(), place.s3_upload.clone());
    let written = write_down(service, visitor, wish, place, ticket).await;
    if let (Err(_), Some(id)) = (&written, begun)
        && let Err(error) = service.store.abort(&key, &id).await
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
    service: &Service,
    visitor: &Visitor,
    wish: Wish,
    place: Place,
    ticket: Option<&Ticket>,
) -> Result<(Upload, Row)> {
    let limits = &service.config.limits;
    let mine = quota(limits, visitor);
    let bytes = wish.bytes.unwrap_or_default();
    let part_bytes = match (&wish.way, wish.part_bytes) {
        (Way::Parts, Some(size)) => size,
        (Way::Parts, None) => part_size(bytes, limits.part_bytes),
        (Way::Post, _) => bytes,
        (Way::Fetched(_), _) => part_size(limits.file_bytes, limits.part_bytes),
    };

    // Asked before: who holds the writer keeps others waiting.
    let now = service.db.now().await?;
    let mut tx = service.db.begin().await?;
    guests::welcome(&mut tx, visitor, now).await?;
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
    let reserved = match (&wish.way, wish.bytes) {
        (Way::Post, None) => room.left.min(limits.form_bytes).min(limits.file_bytes),
        _ => 0,
    };
    if reserved > 0 {
        service.health.room(reserved)?;
    }
    let grant_id = sender.grant.map(str::to_owned);
    if let Some(grant) = &grant_id {
        grants::spend(&mut tx, grant, 1, bytes).await?;
    }
    let days = match visitor.identity {
        Identity::Guest { .. } => service.config.retention.guest_days,
        _ => service.config.retention.unused_days,
    };
    let source = match &wish.way {
        Way::Fetched(url) => Some(fetched::sealed(&service.config, &place.id, url)),
        Way::Parts | Way::Post => None,
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
        title: wish
            .title
            .as_deref()
            .or_else(|| wish.settings.as_ref()?.tags.title())
            .map(loopmaster_core::admission::shown_text),
        settings: wish.settings.as_ref().map(serde_json::to_string).transpose().map_err(Error::internal)?,
        batch_id: wish.batch,
        batch_position: wish.position,
        reference_upload: wish.reference,
        created_at: now,
        expires_at: Some(now + i64::from(days) * 86_400_000),
        master: None,
        kept: false,
        reserved,
        source,
        failure: None,
        id: place.id,
    };
    if let Some(reference) = &row.reference_upload {
        mixes::hold(&mut tx, &row.owner, &[reference]).await?;
    }
    insert(&mut tx, &row).await?;
    if row.source.is_some() {
        fetched::enqueue(&mut tx, &row.id).await?;
    }
    if wish.way == Way::Post {
        // Parts become an object only when we say so, and it is written down then.
        objects::intend_of_upload(&mut tx, &row.client_key, &row.id, now).await?;
    }
    let upload = Upload::of(&row, service.unfinished(&row.owner));
    if let Some(ticket) = ticket {
        ticket.keep(&mut tx, &upload).await?;
    }
    tx.commit().await?;
    crate::measure::upload_begun();
    Ok((upload, row))
}

async fn insert(tx: &mut Tx, row: &Row) -> Result<()> {
    let text = "INSERT INTO uploads (id, owner, owner_key, grant_id, name, media_type, bytes, fingerprint, state, client_key, s3_upload,
        part_bytes, title, settings, batch_id, batch_position, reference_upload, created_at, updated_at, expires_at,
        reserved, source) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18, $19, $20, $21)";
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
        .bind(&row.source)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
