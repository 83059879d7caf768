//! Pages that show a preview to whoever has their address. The only module that writes the table.

use super::audit;
use super::error::{Error, Kind, Result};
use super::idempotency::Ticket;
use super::identity::Visitor;
use super::limits::{Rule, quota};
use super::masters::{self, Master};
use crate::db::{Db, Tx, hash_secret, new_id, new_secret};
use crate::service::Service;
use crate::timestamp;
use serde::Serialize;
use sqlx::Row as _;
use utoipa::ToSchema;

/// Shares of one master that work at a time.
const MOST_SHARES: i64 = 20;

/// A page that shows the preview to whoever has its address.
#[derive(Debug, Serialize, ToSchema)]
pub struct Share {
    /// `shr_…`
    pub id: String,
    /// The page; told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// When it was made.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: i64,
}

/// Makes a share of one of the visitor's masters; the answer is kept with the ticket.
pub async fn create(service: &Service, visitor: &Visitor, id: &str, ticket: &Ticket) -> Result<Share> {
    masters::find(&service.db, visitor.owner(), id).await?;
    let secret = new_secret("lmh");
    let mut tx = service.db.begin().await?;
    let now = tx.now().await?;
    let mine = quota(&service.config.limits, visitor);
    Rule::hourly("creates", mine.creates_an_hour).spend(&mut tx, visitor.owner_key(), 1).await?;
    let text = "SELECT COUNT(*) FROM shares WHERE master_id = $1 AND revoked_at IS NULL";
    let count: i64 = sqlx::query_scalar(text).bind(id).fetch_one(&mut *tx).await?;
    if count >= MOST_SHARES {
        return Err(Error::conflict("share.too_many", format!("this master has {count} shares; revoke one first")));
    }
    let share = Share {
        id: new_id("shr"),
        url: Some(service.config.public_url.with(&format!("/s/{secret}"))),
        created_at: now,
    };
    sqlx::query("INSERT INTO shares (id, master_id, token_hash, created_at) VALUES ($1, $2, $3, $4)")
        .bind(&share.id)
        .bind(id)
        .bind(hash_secret(&secret))
        .bind(now)
        .execute(&mut *tx)
        .await?;
    audit::record(&mut tx, visitor, "share.create", &share.id, id, now).await?;
    ticket.keep(&mut tx, &share).await?;
    tx.commit().await?;
    Ok(share)
}

/// The shares of a master.
pub async fn list(db: &Db, id: &str) -> Result<Vec<Share>> {
    let text = "SELECT id, created_at FROM shares WHERE master_id = $1 AND revoked_at IS NULL ORDER BY created_at, id";
    let rows = sqlx::query(text).bind(id).fetch_all(db.read()).await?;
    let one = |row: &sqlx::any::AnyRow| -> Result<Share, sqlx::Error> {
        Ok(Share { id: row.try_get(0)?, url: None, created_at: row.try_get(1)? })
    };
    Ok(rows.iter().map(one).collect::<Result<_, _>>()?)
}

/// Ends a share of one of the visitor's masters.
pub async fn revoke(db: &Db, visitor: &Visitor, id: &str) -> Result<()> {
    let mut tx = db.begin().await?;
    let now = tx.now().await?;
    let mine =
        "SELECT COUNT(*) FROM shares WHERE id = $1 AND master_id IN (SELECT m.id FROM masters m WHERE m.owner = $2)";
    let found: i64 = sqlx::query_scalar(mine).bind(id).bind(visitor.owner()).fetch_one(&mut *tx).await?;
    if found == 0 {
        return Err(Error::not_found("share", id));
    }
    let text = "UPDATE shares SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    let revoked = sqlx::query(text).bind(id).bind(now).execute(&mut *tx).await?;
    if revoked.rows_affected() == 0 {
        // Done before, and written down then.
        return Ok(());
    }
    audit::record(&mut tx, visitor, "share.revoke", id, "", now).await?;
    tx.commit().await?;
    Ok(())
}

/// The master that is shared.
pub async fn master(db: &Db, token: &str) -> Result<Master> {
    let columns = masters::COLUMNS;
    let text = db.sql(&format!(
        "SELECT {columns} FROM masters m JOIN uploads u ON u.id = m.upload_id JOIN shares s ON s.master_id = m.id
         WHERE s.token_hash = $1 AND s.revoked_at IS NULL AND m.deleted_at IS NULL AND m.state = 'done'"
    ));
    let row = sqlx::query(text).bind(hash_secret(token)).fetch_optional(db.read()).await?;
    let gone = || {
        Error::new(Kind::NotFound, "share.not_found", "nothing is shared at this address (any more); ask for a new one")
    };
    row.map(|row| masters::read(&row)).transpose()?.ok_or_else(gone)
}

/// Removes the shares of a master.
pub async fn delete_all(tx: &mut Tx, master: &str) -> Result<()> {
    sqlx::query("DELETE FROM shares WHERE master_id = $1").bind(master).execute(&mut **tx).await?;
    Ok(())
}

/// Whose the master is that this address shares.
pub async fn owner_of(tx: &mut Tx, token: &str) -> Result<Option<String>> {
    let text = "SELECT owner FROM masters JOIN shares ON master_id = masters.id WHERE token_hash = $1";
    Ok(sqlx::query_scalar(text).bind(hash_secret(token)).fetch_optional(&mut **tx).await?)
}
