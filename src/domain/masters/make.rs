//! Masters are asked for: of uploads, or once more of a mix that has been mastered.

use super::Master;
use super::enqueue::{Track, enqueue, room_in_queue};
use crate::db::{Db, Tx, bump_version};
use crate::domain::error::{Error, Result};
use crate::domain::idempotency::Ticket;
use crate::domain::identity::Visitor;
use crate::domain::limits::{Rule, quota, spend};
use crate::domain::uploads::mixes;
use crate::domain::uploads::{self, Row, State as Sent};
use crate::domain::{batches, guests, settings};
use crate::service::Service;
use loopmaster_core::Settings;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashMap;
use utoipa::ToSchema;

/// What is to be mastered.
#[derive(Debug)]
pub struct MasterRequest {
    /// Uploads, by id or by the key that the Companion contract gave.
    pub uploads: Vec<String>,
    /// For all of them.
    pub settings: Settings,
    /// A finished record to come close to: another upload.
    pub reference_upload: Option<String>,
    /// Put them into a batch of their own.
    pub batch: Option<NewBatch>,
}

/// Several tracks that belong together.
#[derive(Debug)]
pub struct NewBatch {
    /// To be shown.
    pub name: String,
    /// One album: its songs are mastered to belong together, in this order.
    pub album: bool,
}

/// What was queued.
#[derive(Debug, Serialize, ToSchema)]
pub struct Made {
    items: Vec<Master>,
    /// `bat_…`
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<String>,
    cost: Cost,
}

/// What an order takes of the quotas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Cost {
    /// Tracks of the day.
    tracks: u64,
    /// Audio of all tracks together, seconds; left out unless each mix has been mastered before, because nobody has decoded it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

impl Cost {
    async fn of(db: &Db, uploads: &[Row]) -> Result<Self> {
        let mut known: HashMap<String, f64> = HashMap::new();
        for some in uploads.chunks(500) {
            let places: Vec<String> = (1..=some.len()).map(|n| format!("${n}")).collect();
            let text = format!(
                "SELECT upload_id, MAX(seconds) FROM masters WHERE seconds IS NOT NULL AND upload_id IN ({}) GROUP BY upload_id",
                places.join(", ")
            );
            let query = some
                .iter()
                .fold(sqlx::query_as::<_, (String, f64)>(db.sql(&text)), |query, row| query.bind(row.id.clone()));
            known.extend(query.fetch_all(db.read()).await?);
        }
        let seconds = uploads.iter().map(|row| known.get(&row.id)).sum();
        Ok(Self { tracks: uploads.len() as u64, seconds })
    }
}

/// An order whose settings and uploads have been looked at.
struct Order {
    uploads: Vec<Row>,
    /// JSON.
    settings: String,
    reference: Option<String>,
    batch: Option<NewBatch>,
}

impl Order {
    async fn of(service: &Service, visitor: &Visitor, new: MasterRequest, looking: Looking) -> Result<Self> {
        let most = service.config.limits.batch_tracks;
        if new.uploads.is_empty() || new.uploads.len() as u64 > most {
            return Err(Error::invalid(
                "master.too_many",
                format!("{} uploads were named; name 1 to {most} at a time", new.uploads.len()),
            ));
        }
        settings::validate(&new.settings)?;
        let settings = serde_json::to_string(&new.settings).map_err(Error::internal)?;
        if let Some(id) = &new.reference_upload {
            arrived(service, visitor, id, looking).await?;
        }
        let mut uploads = Vec::with_capacity(new.uploads.len());
        for name in &new.uploads {
            // uploads/<id>.<random>
            let id = name.strip_prefix("uploads/").and_then(|rest| rest.split('.').next()).unwrap_or(name);
            let mut upload = arrived(service, visitor, id, looking).await?;
            upload.title = new.settings.tags.title().map(str::to_owned).or(upload.title);
            uploads.push(upload);
        }
        Ok(Self { uploads, settings, reference: new.reference_upload, batch: new.batch })
    }

    /// Queues it in this transaction; gives the ids of the masters and of their batch.
    async fn queue(&self, service: &Service, visitor: &Visitor, tx: &mut Tx) -> Result<(Vec<String>, Option<String>)> {
        let now = tx.now().await?;
        guests::welcome(tx, visitor, now).await?;
        let count = self.uploads.len() as u64;
        let batch = match &self.batch {
            Some(batch) => Some(batches::insert(tx, visitor.owner(), &batch.name, batch.album, count, now).await?),
            None => None,
        };
        let reference = self.reference.as_deref();
        let ids =
            queue_all(service, visitor, tx, &self.uploads, &self.settings, reference, batch.as_deref(), now).await?;
        Ok((ids, batch))
    }
}

/// One master for each upload, all queued or none; the answer is kept with the ticket.
pub async fn make(service: &Service, visitor: &Visitor, new: MasterRequest, ticket: &Ticket) -> Result<Made> {
    let order = Order::of(service, visitor, new, Looking::Adopting).await?;
    let cost = Cost::of(&service.db, &order.uploads).await?;
    let mut tx = service.db.begin().await?;
    let (ids, batch) = order.queue(service, visitor, &mut tx).await?;
    let items = written(&mut tx, &ids).await?;
    let made = Made { items, batch, cost };
    ticket.keep(&mut tx, &made).await?;
    tx.commit().await?;
    Ok(made)
}

/// What [`make`] would cost, or why it would be refused. The order is queued as it would be, in a transaction that is taken back.
pub async fn price(service: &Service, visitor: &Visitor, new: MasterRequest) -> Result<Cost> {
    let order = Order::of(service, visitor, new, Looking::Only).await?;
    let cost = Cost::of(&service.db, &order.uploads).await?;
    let mut tx = service.db.begin().await?;
    let queued = order.queue(service, visitor, &mut tx).await;
    tx.rollback().await?;
    queued.map(|_| cost)
}

/// Which record another master follows. Of JSON: what is left out is `Same`, null is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Following {
    /// The one of the first master.
    #[default]
    Same,
    /// None.
    None,
    /// This upload.
    Upload(String),
}

impl<'de> Deserialize<'de> for Following {
    fn deserialize<D: Deserializer<'de>>(value: D) -> std::result::Result<Self, D::Error> {
        Ok(Option::deserialize(value)?.map_or(Self::None, Self::Upload))
    }
}

/// Another master from the mix of one that is there.
pub async fn again(
    service: &Service,
    visitor: &Visitor,
    id: &str,
    mut settings: Settings,
    following: Following,
    ticket: &Ticket,
) -> Result<Master> {
    let before = super::find(&service.db, visitor.owner(), id).await?;
    if settings.tags.is_empty() {
        // As the reference: what is not named is as it was.
        settings.tags = serde_json::from_value(before.settings["tags"].clone()).unwrap_or_default();
    }
    let reference = match following {
        Following::Same => before.reference_upload.clone(),
        Following::None => None,
        Following::Upload(id) => Some(id),
    };
    settings::validate(&settings)?;
    let title = settings.tags.title().map(str::to_owned);
    let settings = serde_json::to_string(&settings).map_err(Error::internal)?;
    if let Some(reference) = &reference {
        arrived(service, visitor, reference, Looking::Adopting).await?;
    }
    let mut upload = arrived(service, visitor, &before.upload_id(), Looking::Adopting).await?;
    upload.title = title.or(Some(before.title));
    upload.batch_id = before.batch;
    upload.batch_position = before.position;
    let mut tx = service.db.begin().await?;
    let now = tx.now().await?;
    let ids = queue_all(service, visitor, &mut tx, &[upload], &settings, reference.as_deref(), None, now).await?;
    let master = written(&mut tx, &ids).await?.pop().ok_or_else(|| Error::internal("nothing was queued"))?;
    ticket.keep(&mut tx, &master).await?;
    tx.commit().await?;
    Ok(master)
}

/// Spends the allowance and queues one master for each upload.
#[expect(clippy::too_many_arguments, reason = "what a row of `masters` is made of")]
async fn queue_all(
    service: &Service,
    visitor: &Visitor,
    tx: &mut Tx,
    uploads: &[Row],
    settings: &str,
    reference: Option<&str>,
    batch: Option<&str>,
    now: i64,
) -> Result<Vec<String>> {
    let mine = quota(&service.config.limits, visitor);
    let held: Vec<&str> = uploads.iter().map(|row| row.id.as_str()).chain(reference).collect();
    mixes::hold(tx, visitor.owner(), &held).await?;
    let count = uploads.len() as u64;
    let costs = [(Rule::hourly("creates", mine.creates_an_hour), 1), (Rule::daily("tracks", mine.tracks_a_day), count)];
    spend(tx, visitor.owner_key(), &costs).await?;
    room_in_queue(tx, &service.config.limits, visitor, count).await?;
    let version = bump_version(tx, visitor.owner()).await?;
    let tracks: Vec<Track<'_>> = uploads
        .iter()
        .enumerate()
        .map(|(position, row)| Track {
            owner: visitor.owner(),
            owner_key: visitor.owner_key(),
            upload: &row.id,
            media_type: &row.media_type,
            name: &row.name,
            bytes: row.bytes,
            title: row.shown_title(),
            settings,
            reference,
            batch: batch.or(row.batch_id.as_deref()),
            position: if batch.is_some() { Some(position as i64) } else { row.batch_position },
        })
        .collect();
    let ids = enqueue(&service.config, tx, &tracks, version, now).await?;
    uploads::mastered(tx, uploads, visitor.user().is_some()).await?;
    Ok(ids)
}

/// What is done with an upload that has arrived without anybody saying so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looking {
    /// It is adopted now.
    Adopting,
    /// It stays as it is.
    Only,
}

/// The upload, with all its bytes there.
async fn arrived(service: &Service, visitor: &Visitor, id: &str, looking: Looking) -> Result<Row> {
    let row = uploads::find(&service.db, visitor.owner(), id).await?;
    let form = row.state == Sent::Uploading && row.s3_upload.is_none();
    match row.state {
        Sent::Stored => Ok(row),
        Sent::Completing if looking == Looking::Only => Ok(row),
        Sent::Uploading if form && looking == Looking::Only && service.store.head(&row.client_key).await?.is_some() => {
            Ok(row)
        }
        Sent::Completing => uploads::settle(service, id).await,
        Sent::Uploading if form && looking == Looking::Adopting => uploads::settle(service, id).await,
        Sent::Uploading => Err(Error::conflict(
            "upload.not_complete",
            format!("“{}” is not complete; send all parts and complete it first", row.name),
        )
        .with("upload", id)),
        Sent::Aborted | Sent::Gone => {
            Err(Error::conflict("upload.aborted", format!("“{}” was given up or has expired; send it again", row.name))
                .with("upload", id))
        }
    }
}

/// The rows just written, as they will be seen.
pub(super) async fn written(tx: &mut Tx, ids: &[String]) -> Result<Vec<Master>> {
    let columns = super::COLUMNS;
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        let text =
            tx.sql(&format!("SELECT {columns} FROM masters m JOIN uploads u ON u.id = m.upload_id WHERE m.id = $1"));
        items.push(super::read(&sqlx::query(text).bind(id).fetch_one(&mut **tx).await?)?);
    }
    Ok(items)
}
