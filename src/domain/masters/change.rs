//! Masters are stopped, deleted and restored.

use super::enqueue::requeue;
use super::make::written;
use super::{Master, State};
use crate::db::objects::{self, Of};
use crate::db::{Tx, bump_version};
use crate::domain::error::{Error, Result};
use crate::domain::identity::Visitor;
use crate::domain::retention::traces::Removed;
use crate::domain::uploads::mixes;
use crate::domain::{audit, notices, shares};
use crate::queue::{self, Cancelled};
use crate::service::Service;
use crate::timestamp;
use loopmaster_core::retention::UNDO;
use serde::Serialize;
use sqlx::Row as _;
use utoipa::ToSchema;

/// What a master cancelled by its deletion carries, so that a restore queues it again.
const DELETED: &str = "master.deleted";

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    /// How many.
    pub deleted: u64,
    /// Until then `/masters/restore` brings them back.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    pub undo_until: i64,
}

/// Stops a master: a waiting one at once, a running one as soon as its worker hears of it.
pub async fn cancel(service: &Service, visitor: &Visitor, id: &str) -> Result<Master> {
    let master = super::find(&service.db, visitor.owner(), id).await?;
    match master.state {
        State::Cancelled => return Ok(master),
        State::Done | State::Failed => {
            return Err(Error::conflict(
                "master.ended",
                format!("“{}” has ended already ({})", master.title, master.state.name()),
            ));
        }
        State::Waiting | State::Running => {}
    }
    let mut tx = service.db.begin().await?;
    let now = tx.now().await?;
    if queue::cancel(&mut tx, "master", id).await? == Cancelled::Gone {
        let version = bump_version(&mut tx, visitor.owner()).await?;
        sqlx::query("UPDATE masters SET state = 'cancelled', finished_at = $2, version = $3 WHERE id = $1 AND state = 'waiting'")
            .bind(id)
            .bind(now)
            .bind(version)
            .execute(&mut *tx)
            .await?;
        // It may have been the last open one of its batch. A running one is told by its worker.
        notices::master_ended(&mut tx, &service.config, id, now).await?;
    }
    tx.commit().await?;
    super::find(&service.db, visitor.owner(), id).await
}

/// Deletes masters; those that are not there (any more) are passed over. For [`UNDO`] they can be restored.
pub async fn delete(service: &Service, visitor: &Visitor, ids: &[String], keep_mix: bool) -> Result<Deleted> {
    let mut tx = service.db.begin().await?;
    let now = tx.now().await?;
    let version = bump_version(&mut tx, visitor.owner()).await?;
    let mut deleted = 0;
    for id in ids {
        let gone = sqlx::query(
            "UPDATE masters SET deleted_at = $3, version = $4 WHERE id = $1 AND owner = $2 AND deleted_at IS NULL",
        )
        .bind(id)
        .bind(visitor.owner())
        .bind(now)
        .bind(version)
        .execute(&mut *tx)
        .await?;
        if gone.rows_affected() == 0 {
            continue;
        }
        deleted += 1;
        mixes::choose(&mut tx, id, keep_mix, now).await?;
        // A waiting job goes, and comes back with a restore; a running one is stopped when the row goes for good.
        let text = "UPDATE masters SET state = 'cancelled', error_code = $2 WHERE id = $1 AND state = 'waiting'";
        let waiting = sqlx::query(text).bind(id).bind(DELETED).execute(&mut *tx).await?;
        if waiting.rows_affected() == 1 {
            queue::cancel(&mut tx, "master", id).await?;
        }
        audit::record(&mut tx, visitor, "master.delete", id, "", now).await?;
    }
    // Its sweeper comes when the last of the undo is over, not some minutes later.
    queue::hasten(&mut tx, "sweep", "sweep", now + UNDO + 1_000).await?;
    tx.commit().await?;
    Ok(Deleted { deleted, undo_until: now + UNDO })
}

/// Takes deletions back while they can be. What waited is queued again, at the end.
pub async fn restore(service: &Service, visitor: &Visitor, ids: &[String]) -> Result<Vec<Master>> {
    let mut tx = service.db.begin().await?;
    let now = tx.now().await?;
    let version = bump_version(&mut tx, visitor.owner()).await?;
    let mut back = Vec::new();
    for id in ids {
        let text = "UPDATE masters SET deleted_at = NULL, version = $4
            WHERE id = $1 AND owner = $2 AND deleted_at > $3 RETURNING upload_id, state, COALESCE(error_code, '') AS code";
        let row = sqlx::query(text)
            .bind(id)
            .bind(visitor.owner())
            .bind(now - UNDO)
            .bind(version)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { continue };
        back.push(id.clone());
        mixes::choose(&mut tx, id, false, now).await?;
        if row.try_get::<String, _>("code")? == DELETED {
            let upload: String = row.try_get("upload_id")?;
            requeue(&service.config, &mut tx, id, &upload, visitor.owner_key()).await?;
        }
    }
    let items = written(&mut tx, &back).await?;
    tx.commit().await?;
    Ok(items)
}

/// Removes a master, its mix and its reference where nothing else needs them ([`mixes`]), and dooms their objects; false while a worker
/// has it. The caller ends with [`Removed::forget`].
pub async fn purge(tx: &mut Tx, master: &str, removed: &mut Removed, now: i64) -> Result<bool> {
    if queue::cancel(tx, "master", master).await? == Cancelled::Asked {
        return Ok(false);
    }
    objects::doom_all(tx, Of::Master(master), now).await?;
    shares::delete_all(tx, master).await?;
    for text in ["DELETE FROM results WHERE master_id = $1", "DELETE FROM artifacts WHERE master_id = $1"] {
        sqlx::query(text).bind(master).execute(&mut **tx).await?;
    }
    let row: Option<(String, String, Option<String>)> =
        sqlx::query_as("DELETE FROM masters WHERE id = $1 RETURNING owner, upload_id, reference_upload")
            .bind(master)
            .fetch_optional(&mut **tx)
            .await?;
    if let Some((owner, mix, reference)) = row {
        removed.add(&owner, master);
        for upload in std::iter::once(mix).chain(reference) {
            if mixes::release(tx, &upload, now).await? {
                removed.add(&owner, &upload);
            }
        }
        bump_version(tx, &owner).await?;
    }
    Ok(true)
}
