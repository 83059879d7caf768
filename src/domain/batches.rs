//! Batches: tracks that belong together, perhaps an album with an order. The only module that writes the table.

use super::error::{Error, Result};
use super::guests;
use super::idempotency::Ticket;
use super::identity::Visitor;
use super::limits::{Rule, quota};
use super::masters::{self, Master};
use crate::db::{Db, Tx, new_id};
use crate::service::Service;
use crate::timestamp;
use loopmaster_core::admission::shown_text;
use serde::Serialize;
use sqlx::Row as _;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Tracks that belong together.
#[derive(Debug, Serialize, ToSchema)]
pub struct Batch {
    /// `bat_…`
    pub id: String,
    /// To be shown.
    pub name: String,
    /// One album: its songs are mastered to belong together, in this order.
    pub album: bool,
    /// How many tracks were promised.
    pub tracks: i64,
    /// When it was begun.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: i64,
    /// Its masters, in order.
    pub items: Vec<Master>,
}

/// Begins a batch for tracks to come; the answer is kept with the ticket.
pub async fn create(
    service: &Service,
    visitor: &Visitor,
    name: &str,
    album: bool,
    tracks: u64,
    ticket: &Ticket,
) -> Result<Batch> {
    let most = service.config.limits.batch_tracks;
    if tracks > most {
        return Err(Error::invalid(
            "batch.too_large",
            format!("a batch of {tracks} tracks is too large; the limit is {most}"),
        ));
    }
    let mut tx = service.db.begin().await?;
    let now = tx.now().await?;
    guests::welcome(&mut tx, visitor, now).await?;
    let mine = quota(&service.config.limits, visitor);
    Rule::hourly("creates", mine.creates_an_hour).spend(&mut tx, visitor.owner_key(), 1).await?;
    let id = insert(&mut tx, visitor.owner(), name, album, tracks, now).await?;
    let batch = Batch { id, name: shown_text(name), album, tracks: tracks as i64, created_at: now, items: Vec::new() };
    ticket.keep(&mut tx, &batch).await?;
    tx.commit().await?;
    Ok(batch)
}

/// Writes a batch; gives its id.
pub async fn insert(tx: &mut Tx, owner: &str, name: &str, album: bool, tracks: u64, now: i64) -> Result<String> {
    let id = new_id("bat");
    sqlx::query("INSERT INTO batches (id, owner, name, album, announced, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(&id)
        .bind(owner)
        .bind(shown_text(name))
        .bind(i64::from(album))
        .bind(tracks as i64)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(id)
}

/// The owner's batch with its masters.
pub async fn find(db: &Db, owner: &str, id: &str) -> Result<Batch> {
    let text = "SELECT id, name, album, announced, created_at FROM batches WHERE id = $1 AND owner = $2";
    let row = sqlx::query(text).bind(id).bind(owner).fetch_optional(db.read()).await?;
    let row = row.ok_or_else(|| Error::not_found("batch", id))?;
    Ok(Batch {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        album: row.try_get::<i64, _>("album")? != 0,
        tracks: row.try_get("announced")?,
        created_at: row.try_get("created_at")?,
        items: masters::of_batch(db, owner, id).await?,
    })
}

/// Changes name, kind or order.
pub async fn change(
    db: &Db,
    owner: &str,
    id: &str,
    name: Option<&str>,
    album: Option<bool>,
    order: Option<&[String]>,
) -> Result<Batch> {
    let batch = find(db, owner, id).await?;
    if let Some(order) = order {
        let there: BTreeSet<&str> = batch.items.iter().map(|master| master.id.as_str()).collect();
        let named: BTreeSet<&str> = order.iter().map(String::as_str).collect();
        if there != named || order.len() != there.len() {
            return Err(Error::invalid(
                "batch.order",
                format!(
                    "the order names {} masters and the batch has {}; name each of them once",
                    order.len(),
                    there.len()
                ),
            ));
        }
    }
    let mut tx = db.begin().await?;
    let text = "UPDATE batches SET name = COALESCE($2, name), album = COALESCE($3, album) WHERE id = $1";
    sqlx::query(text).bind(id).bind(name.map(shown_text)).bind(album.map(i64::from)).execute(&mut *tx).await?;
    if let Some(order) = order {
        masters::reorder(&mut tx, owner, id, order).await?;
    }
    tx.commit().await?;
    find(db, owner, id).await
}

/// Takes a batch as through, once: with so many tracks there, and all that were announced. Gives name and when it was begun.
pub async fn end(tx: &mut Tx, batch: &str, tracks: i64, now: i64) -> Result<Option<(String, i64)>, sqlx::Error> {
    // The last two to end may both think they are the last: one of them changes the row.
    let text = "UPDATE batches SET mailed_at = $1 WHERE id = $2 AND mailed_at IS NULL AND announced <= $3 RETURNING name, created_at";
    sqlx::query_as(text).bind(now).bind(batch).bind(tracks).fetch_optional(&mut **tx).await
}

/// One track less is to come.
pub async fn expect_one_less(tx: &mut Tx, batch: &str) -> Result<()> {
    let text = "UPDATE batches SET announced = announced - 1 WHERE id = $1 AND announced > 0";
    sqlx::query(text).bind(batch).execute(&mut **tx).await?;
    Ok(())
}

/// Removes a batch, with its name, when nothing of it is left and nothing more was promised; true if it went. One that still waits for
/// tracks goes after its period.
pub async fn delete_if_empty(tx: &mut Tx, batch: &str) -> Result<bool> {
    let text = "DELETE FROM batches WHERE id = $1 AND announced <= 0 AND NOT EXISTS (SELECT 1 FROM masters WHERE batch_id = $1)
        AND NOT EXISTS (SELECT 1 FROM uploads WHERE batch_id = $1)";
    Ok(sqlx::query(text).bind(batch).execute(&mut **tx).await?.rows_affected() > 0)
}

/// Gives all batches of an owner to another one.
pub async fn move_to(tx: &mut Tx, from: &str, to: &str) -> Result<()> {
    sqlx::query("UPDATE batches SET owner = $1 WHERE owner = $2").bind(to).bind(from).execute(&mut **tx).await?;
    Ok(())
}

/// Removes all batches of an owner.
pub async fn delete_all(tx: &mut Tx, owner: &str) -> Result<()> {
    sqlx::query("DELETE FROM batches WHERE owner = $1").bind(owner).execute(&mut **tx).await?;
    Ok(())
}
