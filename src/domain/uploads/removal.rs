//! Uploads go: their rows, and what is in storage for them.

use super::room::FORM;
use super::{FETCH, OPEN_FOR};
use crate::db::objects::{self, Of};
use crate::db::{Db, Tx};
use crate::domain::error::Result;
use crate::queue;
use crate::store::Store;

/// Ends the multipart upload of an upload that is not finished, so that its parts take no room.
pub async fn abort_parts(db: &Db, store: &Store, upload: &str) -> Result<()> {
    let parts: Option<(String, String)> = sqlx::query_as(
        "SELECT client_key, s3_upload FROM uploads WHERE id = $1 AND s3_upload IS NOT NULL AND state <> 'stored'",
    )
    .bind(upload)
    .fetch_optional(db.read())
    .await?;
    if let Some((key, id)) = parts {
        match store.abort(&key, &id).await {
            // Given up by its client, or swept by the storage itself: what is gone must not hold up the sweep of everything else.
            Err(error) if error.is_not_found() => {}
            done => done?,
        }
    }
    Ok(())
}

/// Removes an upload nothing refers to, and dooms its objects. Of a form that can still be sent a row stays which says how much it may
/// bring, and to whom it counts, until [`end_forms`] finds that it cannot be sent any more.
pub async fn purge(tx: &mut Tx, upload: &str, now: i64) -> Result<()> {
    let text = tx.sql(&format!(
        "UPDATE uploads SET state = 'gone', name = '', media_type = '', fingerprint = '', etag = NULL, title = NULL,
        settings = NULL, batch_id = NULL, batch_position = NULL, reference_upload = NULL, kept_at = NULL, stored_at = NULL,
        expires_at = NULL, updated_at = $2 WHERE id = $1 AND {FORM} > 0 AND created_at > $3"
    ));
    let query = sqlx::query(text).bind(upload).bind(now).bind(now - OPEN_FOR);
    if query.execute(&mut **tx).await?.rows_affected() == 0 {
        return erase(tx, upload, now).await;
    }
    doom_all(tx, upload, now).await
}

/// Removes an upload with its row, and dooms its objects.
pub async fn erase(tx: &mut Tx, upload: &str, now: i64) -> Result<()> {
    doom_all(tx, upload, now).await?;
    queue::cancel(tx, FETCH, upload).await?;
    sqlx::query("DELETE FROM uploads WHERE id = $1").bind(upload).execute(&mut **tx).await?;
    Ok(())
}

async fn doom_all(tx: &mut Tx, upload: &str, now: i64) -> Result<()> {
    objects::doom_all(tx, Of::Upload(upload), now).await?;
    let row: Option<(String, Option<String>)> =
        sqlx::query_as("SELECT client_key, stored_key FROM uploads WHERE id = $1")
            .bind(upload)
            .fetch_optional(&mut **tx)
            .await?;
    if let Some((client, stored)) = row {
        objects::mark_for_deletion(tx, &client, now).await?;
        if let Some(stored) = stored {
            objects::mark_for_deletion(tx, &stored, now).await?;
        }
    }
    Ok(())
}

/// A step of forms that could still be sent after their uploads were deleted and cannot any more: what has arrived goes in this sweep.
pub async fn end_forms(db: &Db, now: i64, most: i64) -> Result<usize> {
    let mut tx = db.begin().await?;
    let text = "SELECT id FROM uploads WHERE state = 'gone' AND created_at <= $1 ORDER BY id LIMIT $2";
    let found: Vec<String> = sqlx::query_scalar(text).bind(now - OPEN_FOR).bind(most).fetch_all(&mut *tx).await?;
    for upload in &found {
        erase(&mut tx, upload, now).await?;
    }
    tx.commit().await?;
    Ok(found.len())
}
