//! Files of a master, and pages that show a preview to others.

use super::App;
use super::extract::{Json, Path};
use super::idempotency::{Begun, Idempotency};
use super::problem::{Answer, Problem, ProblemBody};
use crate::db::{hash_secret, new_id, new_secret};
use crate::domain::audit;
use crate::domain::identity::Scope;
use crate::domain::identity::Visitor;
use crate::domain::limits::{Rule, quota};
use crate::domain::masters::{self, Artifact, LINKED_FOR, Master};
use crate::timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use sqlx::Row as _;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Shares of one master that work at a time.
const MOST_SHARES: i64 = 20;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(link))
        .routes(routes!(share, shares))
        .routes(routes!(revoke))
        .routes(routes!(shared))
}

/// Where a file is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Link {
    /// GET it; the file comes under its own name.
    url: String,
    /// The address works until then; a download that has begun goes on.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: i64,
}

/// Sign an address for a file
///
/// Full masters are for those who signed in.
#[utoipa::path(post, path = "/artifacts/{id}/link", tag = "artifacts", operation_id = "artifact_link",
    responses((status = 200, body = Link), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn link(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<Json<Link>> {
    visitor.needs(Scope::Masters)?;
    let text = "SELECT a.id, a.kind, a.role, a.name, a.media_type, a.bytes, a.sha256, a.crc32, a.key, a.created_at
        FROM artifacts a JOIN masters m ON m.id = a.master_id WHERE a.id = $1 AND m.owner = $2 AND m.deleted_at IS NULL";
    let row = sqlx::query(text).bind(&id).bind(visitor.owner()).fetch_optional(app.db.read()).await?;
    let file =
        row.map(|row| masters::artifact(&row)).transpose()?.ok_or_else(|| Problem::not_found("artifact", &id))?;
    if file.kind == "master" && visitor.user().is_none() {
        return Err(Problem::unauthorized(
            "auth.sign_in_required",
            "sign in to download the full master; your songs come along",
        )
        .with("artifact", id));
    }
    let expires_at = app.db.now().await? + LINKED_FOR.as_millis() as i64;
    let url = app.store.presign_get(&file.key, &file.name, &file.r#type, false, LINKED_FOR).await?;
    Ok(Json(Link { url: url.into(), expires_at }))
}

/// A page that shows the preview to whoever has its address.
#[derive(Debug, Serialize, ToSchema)]
pub struct Share {
    /// `shr_…`
    id: String,
    /// The page; told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// When it was made.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    created_at: i64,
}

/// Shares of a master.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shares {
    items: Vec<Share>,
}

/// Share a preview
///
/// Whoever has the address hears the preview; nobody can download the master there.
#[utoipa::path(post, path = "/masters/{id}/shares", tag = "shares", operation_id = "share_create",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "The same key gets the same answer for a day")),
    responses((status = 201, body = Share), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn share(
    State(app): State<App>,
    visitor: Visitor,
    idempotency: Idempotency,
    Path(id): Path<String>,
) -> Answer<Response> {
    visitor.needs(Scope::Masters)?;
    let ticket = match idempotency.begin(&app, &visitor).await? {
        Begun::First(ticket) => ticket,
        Begun::Repeat(response) => return Ok(response),
    };
    let outcome = async {
        masters::find(&app.db, visitor.owner(), &id).await?;
        let secret = new_secret("lmh");
        let mut tx = app.db.begin().await?;
        let now = tx.now().await?;
        let mine = quota(&app.config.limits, &visitor);
        Rule::hourly("creates", mine.creates_an_hour).spend(&mut tx, visitor.owner_key(), 1).await?;
        let text = "SELECT COUNT(*) FROM shares WHERE master_id = $1 AND revoked_at IS NULL";
        let count: i64 = sqlx::query_scalar(text).bind(&id).fetch_one(&mut *tx).await?;
        if count >= MOST_SHARES {
            return Err(Problem::conflict(
                "share.too_many",
                format!("this master has {count} shares; revoke one first"),
            ));
        }
        let share = Share {
            id: new_id("shr"),
            url: Some(app.config.public_url.with(&format!("/s/{secret}"))),
            created_at: now,
        };
        sqlx::query("INSERT INTO shares (id, master_id, token_hash, created_at) VALUES ($1, $2, $3, $4)")
            .bind(&share.id)
            .bind(&id)
            .bind(hash_secret(&secret))
            .bind(now)
            .execute(&mut *tx)
            .await?;
        audit::record(&mut tx, &visitor, "share.create", &share.id, &id, now).await?;
        ticket.keep(&mut tx, &share).await?;
        tx.commit().await?;
        Ok(share)
    }
    .await;
    let share = ticket.settle(&app.db, outcome).await?;
    Ok((StatusCode::CREATED, Json(share)).into_response())
}

/// List the shares of a master
#[utoipa::path(get, path = "/masters/{id}/shares", tag = "shares", operation_id = "share_list",
    responses((status = 200, body = Shares), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn shares(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<Json<Shares>> {
    visitor.needs(Scope::Masters)?;
    masters::find(&app.db, visitor.owner(), &id).await?;
    let text = "SELECT id, created_at FROM shares WHERE master_id = $1 AND revoked_at IS NULL ORDER BY created_at, id";
    let rows = sqlx::query(text).bind(&id).fetch_all(app.db.read()).await?;
    let one = |row: &sqlx::any::AnyRow| -> Result<Share, sqlx::Error> {
        Ok(Share { id: row.try_get(0)?, url: None, created_at: row.try_get(1)? })
    };
    Ok(Json(Shares { items: rows.iter().map(one).collect::<Result<_, _>>()? }))
}

/// Revoke a share
#[utoipa::path(delete, path = "/shares/{id}", tag = "shares", operation_id = "share_revoke",
    responses((status = 204), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn revoke(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<StatusCode> {
    visitor.needs(Scope::Masters)?;
    let mut tx = app.db.begin().await?;
    let now = tx.now().await?;
    let mine =
        "SELECT COUNT(*) FROM shares WHERE id = $1 AND master_id IN (SELECT m.id FROM masters m WHERE m.owner = $2)";
    let found: i64 = sqlx::query_scalar(mine).bind(&id).bind(visitor.owner()).fetch_one(&mut *tx).await?;
    if found == 0 {
        return Err(Problem::not_found("share", &id));
    }
    let text = "UPDATE shares SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    let revoked = sqlx::query(text).bind(&id).bind(now).execute(&mut *tx).await?;
    if revoked.rows_affected() == 0 {
        // Done before, and written down then.
        return Ok(StatusCode::NO_CONTENT);
    }
    audit::record(&mut tx, &visitor, "share.revoke", &id, "", now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a share shows: enough to listen and compare, nothing of its owner.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shared {
    /// Title.
    title: String,
    /// Length of the music.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    /// Integrated loudness, LUFS.
    #[serde(skip_serializing_if = "Option::is_none")]
    lufs: Option<f64>,
    /// True peak, dBTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    dbtp: Option<f64>,
    /// When it was made.
    #[serde(serialize_with = "timestamp::written_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<i64>,
    /// What a player needs to hold mix and master against each other.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// Previews and waveforms.
    artifacts: Vec<Artifact>,
}

/// Show what is shared
///
/// Open to whoever has the address.
#[utoipa::path(get, path = "/shared/{token}", tag = "shares", operation_id = "shared_show", security(()),
    responses((status = 200, body = Shared), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn shared(State(app): State<App>, Path(token): Path<String>) -> Answer<Json<Shared>> {
    let columns = masters::COLUMNS;
    let text = app.db.sql(&format!(
        "SELECT {columns} FROM masters m JOIN uploads u ON u.id = m.upload_id JOIN shares s ON s.master_id = m.id
         WHERE s.token_hash = $1 AND s.revoked_at IS NULL AND m.deleted_at IS NULL AND m.state = 'done'"
    ));
    let row = sqlx::query(text).bind(hash_secret(&token)).fetch_optional(app.db.read()).await?;
    let gone = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "share.not_found",
            "nothing is shared at this address (any more); ask for a new one",
        )
    };
    let master: Master = row.map(|row| masters::read(&row)).transpose()?.ok_or_else(gone)?;
    let mut artifacts = masters::artifacts(&app.db, &master.id).await?;
    artifacts.retain(|file| matches!(file.kind.as_str(), "preview" | "waveform"));
    for file in &mut artifacts {
        file.url = Some(app.store.presign_get(&file.key, &file.name, &file.r#type, true, LINKED_FOR).await?.into());
    }
    let result = masters::result(&app.db, &master.id)
        .await?
        .map(|result| serde_json::json!({ "preview": result.get("preview"), "figures": result.get("figures") }));
    Ok(Json(Shared {
        title: master.title,
        seconds: master.seconds,
        lufs: master.lufs,
        dbtp: master.dbtp,
        finished_at: master.finished_at,
        result,
        artifacts,
    }))
}
