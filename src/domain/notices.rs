//! What an account is told when masters end: webhooks, and a mail when a batch that took its time is through.

use crate::config::Config;
use crate::db::{DbError, Tx};
use crate::domain::batches;
use crate::domain::webhooks;
use crate::outside::mail::{self, Letter};
use crate::service::Service;
use crate::work::OnEnded;
use serde_json::json;
use sqlx::Row;
use std::sync::Arc;

/// Somebody who waited less long than this is still looking.
const LONG: i64 = 2 * 60 * 1000;

/// What a worker calls in the transaction in which a master ends.
#[must_use]
pub fn on_ended(service: &Service) -> OnEnded {
    let service = service.clone();
    Arc::new(move |tx, ended| {
        let service = service.clone();
        Box::pin(async move {
            let now = service.db.now().await?;
            master_ended(tx, &service.config, &ended.master, now).await
        })
    })
}

/// Tells that a master has ended: called in the transaction that ends it, whichever way.
pub async fn master_ended(tx: &mut Tx, config: &Config, master: &str, now: i64) -> Result<(), DbError> {
    let text =
        "SELECT owner, batch_id, title, state, seconds, lufs, dbtp, error_code, error_text FROM masters WHERE id = $1";
    let Some(row) = sqlx::query(text).bind(master).fetch_optional(&mut **tx).await? else { return Ok(()) };
    let (owner, state): (String, String) = (row.try_get("owner")?, row.try_get("state")?);
    let batch: Option<String> = row.try_get("batch_id")?;
    let event = match state.as_str() {
        "done" => Some("master.done"),
        "failed" => Some("master.failed"),
        _ => None,
    };
    if let Some(event) = event {
        let mut data = json!({
            "id": master,
            "title": row.try_get::<String, _>("title")?,
            "state": state,
            "batch": batch,
            "seconds": row.try_get::<Option<f64>, _>("seconds")?,
            "lufs": row.try_get::<Option<f64>, _>("lufs")?,
            "dbtp": row.try_get::<Option<f64>, _>("dbtp")?,
            "page": config.public_url.with(&format!("/m/{master}")),
        });
        if let Some(code) = row.try_get::<Option<String>, _>("error_code")? {
            data["error"] = json!({ "code": code, "detail": row.try_get::<Option<String>, _>("error_text")? });
        }
        webhooks::emit(tx, &owner, event, &data, now).await?;
    }
    match batch {
        Some(batch) => batch_ended(tx, config, &owner, &batch, now).await,
        None => Ok(()),
    }
}

/// Tells, once, that a batch is through, where it is: nothing of it waits or is still to come.
pub async fn batch_ended(tx: &mut Tx, config: &Config, owner: &str, batch: &str, now: i64) -> Result<(), DbError> {
    let text = "SELECT COUNT(*) AS tracks,
          CAST(COALESCE(SUM(CASE WHEN state = 'done' THEN 1 ELSE 0 END), 0) AS BIGINT) AS done,
          CAST(COALESCE(SUM(CASE WHEN state = 'failed' THEN 1 ELSE 0 END), 0) AS BIGINT) AS failed,
          CAST(COALESCE(SUM(CASE WHEN state IN ('waiting', 'running') THEN 1 ELSE 0 END), 0) AS BIGINT) AS open
        FROM masters WHERE batch_id = $1 AND deleted_at IS NULL";
    let row = sqlx::query(text).bind(batch).fetch_one(&mut **tx).await?;
    let (tracks, done, failed): (i64, i64, i64) =
        (row.try_get("tracks")?, row.try_get("done")?, row.try_get("failed")?);
    if tracks == 0 || row.try_get::<i64, _>("open")? > 0 {
        return Ok(());
    }
    let Some((name, begun)) = batches::end(tx, batch, tracks, now).await? else { return Ok(()) };
    let link = config.public_url.with(&format!("/b/{batch}"));
    let data = json!({ "id": batch, "name": name, "tracks": tracks, "done": done, "failed": failed, "page": link });
    webhooks::emit(tx, owner, "batch.ended", &data, now).await?;
    if now - begun < LONG {
        return Ok(());
    }
    let text = "SELECT email FROM users WHERE id = $1 AND mail_when_ready = 1 AND banned_at IS NULL";
    let email: Option<String> = sqlx::query_scalar(text).bind(owner).fetch_optional(&mut **tx).await?;
    if let Some(email) = email {
        mail::post(tx, config, &email, &Letter::MastersReady { name, done, failed, link }).await?;
    }
    Ok(())
}
