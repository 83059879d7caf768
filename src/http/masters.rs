//! Masters: ask for them, look at them, stop them, ask again with other settings, delete them and think better of it.

use super::App;
use super::extract::{Json, Path, Query};
use super::idempotency::{Begun, Idempotency};
use super::page::{self, Cursor, Page};
use super::problem::{Answer, Problem, ProblemBody};
use crate::db::{Tx, bump_version, new_id};
use crate::domain::audit;
use crate::domain::guests;
use crate::domain::idempotency::Ticket;
use crate::domain::identity::Scope;
use crate::domain::identity::Visitor;
use crate::domain::limits::{Rule, quota, spend};
use crate::domain::masters::enqueue::{Track, enqueue, requeue, room_in_queue};
use crate::domain::masters::{self, Master, State as Is};
use crate::domain::retention::mixes;
use crate::domain::settings::{self, SettingsSchema};
use crate::domain::uploads::{self, Row, State as Sent};
use crate::queue::{self, Cancelled};
use crate::timestamp;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use loopmaster_core::Settings;
use loopmaster_core::admission::shown_text;
use loopmaster_core::retention::UNDO;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What a master cancelled by its deletion carries, so that a restore queues it again.
const DELETED: &str = "master.deleted";

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(make, list))
        .routes(routes!(show, remove))
        .routes(routes!(cancel))
        .routes(routes!(rerun))
        .routes(routes!(remove_many))
        .routes(routes!(restore))
}

/// Several tracks that belong together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBatchOf {
    /// To be shown.
    #[serde(default)]
    name: String,
    /// One album: the order counts.
    #[serde(default)]
    album: bool,
}

/// What is to be mastered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMasters {
    /// Uploads, by id or by the key that the Companion contract gave.
    #[schema(min_items = 1, max_items = 1000)]
    uploads: Vec<String>,
    /// For all of them.
    #[serde(default)]
    #[schema(value_type = SettingsSchema)]
    settings: Settings,
    /// A finished record to come close to: another upload.
    reference_upload: Option<String>,
    /// Put them into a batch of their own.
    batch: Option<NewBatchOf>,
}

/// What was queued.
#[derive(Debug, Serialize, ToSchema)]
pub struct Made {
    items: Vec<Master>,
    /// `bat_…`
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<String>,
}

/// Master uploads
///
/// One master for each upload, all with the same settings. They are queued together or not at all.
#[utoipa::path(post, path = "/masters", tag = "masters", operation_id = "master_create", request_body = NewMasters,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "The same key gets the same answer for a day")),
    responses((status = 201, body = Made), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn make(
    State(app): State<App>,
    visitor: Visitor,
    idempotency: Idempotency,
    Json(new): Json<NewMasters>,
) -> Answer<Response> {
    visitor.needs(Scope::Masters)?;
    let ticket = match idempotency.begin(&app, &visitor).await? {
        Begun::First(ticket) => ticket,
        Begun::Repeat(response) => return Ok(response),
    };
    let outcome = make_all(&app, &visitor, new, &ticket).await;
    let made = ticket.settle(&app.db, outcome).await?;
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

async fn make_all(app: &App, visitor: &Visitor, new: NewMasters, ticket: &Ticket) -> Answer<Made> {
    let most = app.config.limits.batch_tracks;
    if new.uploads.is_empty() || new.uploads.len() as u64 > most {
        return Err(Problem::unprocessable(
            "master.too_many",
            format!("{} uploads were named; name 1 to {most} at a time", new.uploads.len()),
        ));
    }
    settings::validate(&new.settings)?;
    let settings = serde_json::to_string(&new.settings).map_err(Problem::internal)?;
    if let Some(id) = &new.reference_upload {
        arrived(app, visitor, id).await?;
    }
    let mut uploads = Vec::with_capacity(new.uploads.len());
    for name in &new.uploads {
        // uploads/<id>.<random>
        let id = name.strip_prefix("uploads/").and_then(|rest| rest.split('.').next()).unwrap_or(name);
        uploads.push(arrived(app, visitor, id).await?);
    }

    let mut tx = app.db.begin().await?;
    let now = tx.now().await?;
    guests::welcome(&mut tx, visitor, now).await?;
    let batch = match &new.batch {
        Some(batch) => {
            Some(insert_batch(&mut tx, visitor.owner(), &batch.name, batch.album, uploads.len() as u64, now).await?)
        }
        None => None,
    };
    let ids =
        queue_all(app, visitor, &mut tx, &uploads, &settings, new.reference_upload.as_deref(), batch.as_deref(), now)
            .await?;
    let items = written(&mut tx, &ids).await?;
    let made = Made { items, batch };
    ticket.keep(&mut tx, &made).await?;
    tx.commit().await?;
    Ok(made)
}

/// Spends the allowance and queues one master for each upload.
#[expect(clippy::too_many_arguments, reason = "what a row of `masters` is made of")]
async fn queue_all(
    app: &App,
    visitor: &Visitor,
    tx: &mut Tx,
    uploads: &[Row],
    settings: &str,
    reference: Option<&str>,
    batch: Option<&str>,
    now: i64,
) -> Answer<Vec<String>> {
    let mine = quota(&app.config.limits, visitor);
    let held: Vec<&str> = uploads.iter().map(|row| row.id.as_str()).chain(reference).collect();
    mixes::hold(tx, visitor.owner(), &held).await?;
    let count = uploads.len() as u64;
    let costs = [(Rule::hourly("creates", mine.creates_an_hour), 1), (Rule::daily("tracks", mine.tracks_a_day), count)];
    spend(tx, visitor.owner_key(), &costs).await?;
    room_in_queue(tx, &app.config.limits, visitor, count).await?;
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
    let ids = enqueue(&app.config, tx, &tracks, version, now).await?;
    // A mix that a user has mastered stays until it is deleted. Whether it is kept without a master is asked at the next deletion.
    let user = i64::from(visitor.user().is_some());
    for row in uploads.iter().filter(|row| row.kept || (user == 1 && row.expires_at.is_some())) {
        let text = "UPDATE uploads SET kept_at = NULL, expires_at = CASE WHEN $2 = 1 THEN NULL ELSE expires_at END WHERE id = $1";
        sqlx::query(text).bind(&row.id).bind(user).execute(&mut **tx).await?;
    }
    Ok(ids)
}

/// The rows just written, as they will be seen.
async fn written(tx: &mut Tx, ids: &[String]) -> Answer<Vec<Master>> {
    let columns = masters::COLUMNS;
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        let text =
            tx.sql(&format!("SELECT {columns} FROM masters m JOIN uploads u ON u.id = m.upload_id WHERE m.id = $1"));
        items.push(masters::read(&sqlx::query(text).bind(id).fetch_one(&mut **tx).await?)?);
    }
    Ok(items)
}

pub(super) async fn insert_batch(
    tx: &mut Tx,
    owner: &str,
    name: &str,
    album: bool,
    tracks: u64,
    now: i64,
) -> Answer<String> {
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

/// The upload, stored; what came by a POST is adopted now.
async fn arrived(app: &App, visitor: &Visitor, id: &str) -> Answer<Row> {
    let row = uploads::find(&app.db, visitor.owner(), id).await?;
    match row.state {
        Sent::Stored => Ok(row),
        Sent::Completing => Ok(uploads::settle(app, id).await?),
        Sent::Uploading if row.s3_upload.is_none() => Ok(uploads::settle(app, id).await?),
        Sent::Uploading => Err(Problem::conflict(
            "upload.not_complete",
            format!("“{}” is not complete; send all parts and complete it first", row.name),
        )
        .with("upload", id)),
        Sent::Aborted | Sent::Gone => Err(Problem::conflict(
            "upload.aborted",
            format!("“{}” was given up or has expired; send it again", row.name),
        )
        .with("upload", id)),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Listing {
    /// Where the last page ended.
    cursor: Option<String>,
    /// Most items of a page, 1 to 200; 50 where it is not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// Words in the title or the file name.
    q: Option<String>,
    /// The order; newest where it is not given.
    #[param(inline)]
    sort: Option<Sort>,
    /// Only masters in this state.
    #[param(inline)]
    state: Option<Is>,
    /// Only masters of this batch.
    batch: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Sort {
    #[default]
    Newest,
    Oldest,
    Title,
    Longest,
}

/// List masters
#[utoipa::path(get, path = "/masters", tag = "masters", operation_id = "master_list", params(Listing),
    responses((status = 200, body = Page<Master>), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn list(State(app): State<App>, visitor: Visitor, Query(listing): Query<Listing>) -> Answer<Json<Page<Master>>> {
    visitor.needs(Scope::Masters)?;
    let limit = page::limit(listing.limit)?;
    let sort = listing.sort.unwrap_or_default();
    let cursor = Cursor::<(Sort, String, String)>::read(listing.cursor.as_deref())?.map(|cursor| cursor.0);
    if cursor.as_ref().is_some_and(|(of, ..)| *of != sort) {
        return Err(Problem::unprocessable(
            "request.invalid_cursor",
            "this cursor is of another order; begin without it",
        ));
    }
    // A key is text, so that one statement's shape serves every order; numbers are written with equal lengths.
    let (key, descends) = match sort {
        Sort::Newest => ("m.created_at", true),
        Sort::Oldest => ("m.created_at", false),
        Sort::Title => ("LOWER(m.title)", false),
        Sort::Longest => ("CAST(COALESCE(m.seconds, 0) * 1000 AS BIGINT)", true),
    };
    let (order, beyond) = if descends { ("DESC", "<") } else { ("ASC", ">") };
    let columns = masters::COLUMNS;
    let text = app.db.sql(&format!(
        "SELECT {columns}, {key} AS sort_key FROM masters m JOIN uploads u ON u.id = m.upload_id
         WHERE m.owner = $1 AND m.deleted_at IS NULL AND ($2 = '' OR m.state = $2) AND ($3 = '' OR m.batch_id = $3)
         AND ($4 = '' OR LOWER(m.title) LIKE $4 ESCAPE '!' OR LOWER(u.name) LIKE $4 ESCAPE '!')
         AND ($5 = 0 OR {key} {beyond} $6 OR ({key} = $6 AND m.id {beyond} $7))
         ORDER BY {key} {order}, m.id {order} LIMIT $8"
    ));
    let (started, last, id) = cursor.map_or((0_i64, String::new(), String::new()), |(_, key, id)| (1, key, id));
    let words = listing.q.as_deref().map(str::trim).filter(|q| !q.is_empty()).map_or(String::new(), like);
    let state = listing.state.map_or("", Is::name);
    let query = sqlx::query(text)
        .bind(visitor.owner())
        .bind(state)
        .bind(listing.batch.unwrap_or_default())
        .bind(words)
        .bind(started);
    let query = match sort {
        Sort::Title => query.bind(last),
        Sort::Newest | Sort::Oldest | Sort::Longest => query.bind(last.parse::<i64>().unwrap_or_default()),
    };
    let rows = query.bind(id).bind(limit + 1).fetch_all(app.db.read()).await?;
    let mut keyed = Vec::with_capacity(rows.len());
    for row in &rows {
        let key = match sort {
            Sort::Title => row.try_get::<String, _>("sort_key")?,
            Sort::Newest | Sort::Oldest | Sort::Longest => row.try_get::<i64, _>("sort_key")?.to_string(),
        };
        keyed.push((key, masters::read(row)?));
    }
    Ok(Json(Page::cut(keyed, limit, |(key, master)| (sort, key.clone(), master.id.clone())).map(|(_, master)| master)))
}

/// `50% off` → `%50!% off%`
fn like(words: &str) -> String {
    let mut pattern = String::from("%");
    for c in words.chars().take(100).flat_map(char::to_lowercase) {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Show a master
///
/// With its place in the queue while it waits, and with result and files when it is done.
#[utoipa::path(get, path = "/masters/{id}", tag = "masters", operation_id = "master_show",
    responses((status = 200, body = Master), (status = 304, description = "Not changed since the ETag given"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn show(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Response> {
    visitor.needs(Scope::Masters)?;
    let mut master = masters::find(&app.db, visitor.owner(), &id).await?;
    // Places in the queue change without a new version, and addresses of files expire.
    let etag = match master.state {
        Is::Running | Is::Failed | Is::Cancelled => Some(format!("\"{}-{}\"", master.id, master.version)),
        Is::Waiting | Is::Done => None,
    };
    if let Some(etag) = &etag
        && headers.get(header::IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == etag.as_bytes())
    {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    masters::complete(&app, &mut master).await?;
    let mut response = Json(master).into_response();
    if let Some(etag) = etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Stop a master
///
/// A waiting one is stopped at once, a running one as soon as its worker hears of it.
#[utoipa::path(post, path = "/masters/{id}/cancel", tag = "masters", operation_id = "master_cancel",
    responses((status = 200, body = Master), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn cancel(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Answer<Json<Master>> {
    visitor.needs(Scope::Masters)?;
    let master = masters::find(&app.db, visitor.owner(), &id).await?;
    match master.state {
        Is::Cancelled => return Ok(Json(master)),
        Is::Done | Is::Failed => {
            return Err(Problem::conflict(
                "master.ended",
                format!("“{}” has ended already ({})", master.title, master.state.name()),
            ));
        }
        Is::Waiting | Is::Running => {}
    }
    let mut tx = app.db.begin().await?;
    let now = tx.now().await?;
    if queue::cancel(&mut tx, "master", &id).await? == Cancelled::Gone {
        let version = bump_version(&mut tx, visitor.owner()).await?;
        sqlx::query("UPDATE masters SET state = 'cancelled', finished_at = $2, version = $3 WHERE id = $1 AND state = 'waiting'")
            .bind(&id)
            .bind(now)
            .bind(version)
            .execute(&mut *tx)
            .await?;
        // It may have been the last open one of its batch. A running one is told by its worker.
        crate::domain::notices::master_ended(&mut tx, &app.config, &id, now).await?;
    }
    tx.commit().await?;
    Ok(Json(masters::find(&app.db, visitor.owner(), &id).await?))
}

/// The wishes for another master of the same mix.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rerun {
    #[serde(default)]
    #[schema(value_type = SettingsSchema)]
    settings: Settings,
    /// A finished record to come close to: another upload.
    reference_upload: Option<String>,
}

/// Master again with other settings
///
/// Makes another master from the same mix; the first stays.
#[utoipa::path(post, path = "/masters/{id}/rerun", tag = "masters", operation_id = "master_rerun", request_body = Rerun,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "The same key gets the same answer for a day")),
    responses((status = 201, body = Master), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn rerun(
    State(app): State<App>,
    visitor: Visitor,
    idempotency: Idempotency,
    Path(id): Path<String>,
    Json(wish): Json<Rerun>,
) -> Answer<Response> {
    visitor.needs(Scope::Masters)?;
    let ticket = match idempotency.begin(&app, &visitor).await? {
        Begun::First(ticket) => ticket,
        Begun::Repeat(response) => return Ok(response),
    };
    let outcome = again(&app, &visitor, &id, wish, &ticket).await;
    let master = ticket.settle(&app.db, outcome).await?;
    Ok((StatusCode::CREATED, Json(master)).into_response())
}

async fn again(app: &App, visitor: &Visitor, id: &str, wish: Rerun, ticket: &Ticket) -> Answer<Master> {
    let before = masters::find(&app.db, visitor.owner(), id).await?;
    settings::validate(&wish.settings)?;
    let settings = serde_json::to_string(&wish.settings).map_err(Problem::internal)?;
    if let Some(reference) = &wish.reference_upload {
        arrived(app, visitor, reference).await?;
    }
    let mut upload = arrived(app, visitor, &before.upload_id()).await?;
    upload.title = Some(before.title.clone());
    upload.batch_id = before.batch;
    upload.batch_position = before.position;
    let mut tx = app.db.begin().await?;
    let now = tx.now().await?;
    let ids =
        queue_all(app, visitor, &mut tx, &[upload], &settings, wish.reference_upload.as_deref(), None, now).await?;
    let master = written(&mut tx, &ids).await?.pop().ok_or_else(|| Problem::internal("nothing was queued"))?;
    ticket.keep(&mut tx, &master).await?;
    tx.commit().await?;
    Ok(master)
}

/// Some masters.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ids {
    #[schema(min_items = 1, max_items = 1000)]
    ids: Vec<String>,
}

/// Some masters to be deleted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    #[schema(min_items = 1, max_items = 1000)]
    ids: Vec<String>,
    /// Keep the mixes; without it each goes with the last master that uses it.
    #[serde(default)]
    keep_mix: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Keeping {
    /// Keep the mix; without it the mix goes with the last master that uses it.
    #[serde(default)]
    keep_mix: bool,
}

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    /// How many.
    deleted: u64,
    /// Until then `/masters/restore` brings them back.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    undo_until: i64,
}

/// Delete a master
///
/// With its files and everything recorded about it, once it cannot be restored any more. The mix goes too, unless another master uses it
/// or `keep_mix` is given.
#[utoipa::path(delete, path = "/masters/{id}", tag = "masters", operation_id = "master_delete", params(Keeping),
    responses((status = 200, body = Deleted), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn remove(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(Keeping { keep_mix }): Query<Keeping>,
) -> Answer<Json<Deleted>> {
    visitor.needs(Scope::Masters)?;
    masters::find(&app.db, visitor.owner(), &id).await?;
    delete(&app, &visitor, &[id], keep_mix).await.map(Json)
}

/// Delete many masters
///
/// Ids that are not there (any more) are passed over. Mixes go too, unless other masters use them or `keep_mix` is given.
#[utoipa::path(post, path = "/masters/delete", tag = "masters", operation_id = "master_delete_many", request_body = Deletion,
    responses((status = 200, body = Deleted), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn remove_many(
    State(app): State<App>,
    visitor: Visitor,
    Json(Deletion { ids, keep_mix }): Json<Deletion>,
) -> Answer<Json<Deleted>> {
    visitor.needs(Scope::Masters)?;
    bounded(&ids)?;
    delete(&app, &visitor, &ids, keep_mix).await.map(Json)
}

fn bounded(ids: &[String]) -> Answer<()> {
    if ids.is_empty() || ids.len() > 1_000 {
        return Err(Problem::unprocessable(
            "master.too_many",
            format!("{} ids were named; name 1 to 1000 at a time", ids.len()),
        ));
    }
    Ok(())
}

async fn delete(app: &App, visitor: &Visitor, ids: &[String], keep_mix: bool) -> Answer<Deleted> {
    let mut tx = app.db.begin().await?;
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

/// What came back.
#[derive(Debug, Serialize, ToSchema)]
pub struct Restored {
    items: Vec<Master>,
}

/// Take a deletion back
///
/// Within thirty seconds. What waited is queued again, at the end.
#[utoipa::path(post, path = "/masters/restore", tag = "masters", operation_id = "master_restore", request_body = Ids,
    responses((status = 200, body = Restored), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn restore(State(app): State<App>, visitor: Visitor, Json(Ids { ids }): Json<Ids>) -> Answer<Json<Restored>> {
    visitor.needs(Scope::Masters)?;
    bounded(&ids)?;
    let mut tx = app.db.begin().await?;
    let now = tx.now().await?;
    let version = bump_version(&mut tx, visitor.owner()).await?;
    let mut back = Vec::new();
    for id in &ids {
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
            requeue(&app.config, &mut tx, id, &upload, visitor.owner_key()).await?;
        }
    }
    let items = written(&mut tx, &back).await?;
    tx.commit().await?;
    Ok(Json(Restored { items }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_looked_for_as_they_are() {
        assert_eq!(super::like("50%_Off!"), "%50!%!_off!!%");
    }
}
