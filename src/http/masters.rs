//! Masters: ask for them, look at them, stop them, ask again with other settings, delete them and think better of it.

use super::App;
use super::extract::{Json, Path, Query};
use super::idempotency::{Begun, Idempotency};
use super::page::{self, Cursor, Page};
use super::problem::{Answer, Problem, ProblemBody};
use crate::domain::error::Error;
use crate::domain::identity::{Scope, Visitor};
use crate::domain::masters::change::Deleted;
use crate::domain::masters::listing::{Listed, Sort};
use crate::domain::masters::make::{Cost, Following, Made, MasterRequest, NewBatch};
use crate::domain::masters::{self, Master, State as Is, change, listing, make};
use crate::domain::presets::Wished;
use crate::domain::quotas::Quotas;
use crate::domain::settings::SettingsSchema;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(make_all, list))
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
    /// One album: its songs are mastered to belong together, in this order.
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
    settings: Wished,
    /// A preset of the account that the settings lie over.
    preset: Option<String>,
    /// A finished record to come close to: another upload.
    reference_upload: Option<String>,
    /// Put them into a batch of their own.
    batch: Option<NewBatchOf>,
    /// Only say what it would cost, or why it would be refused: nothing is made, counted or kept under the key.
    #[serde(default)]
    dry_run: bool,
}

/// What an order would cost.
#[derive(Debug, Serialize, ToSchema)]
pub struct Price {
    cost: Cost,
    /// How things stand now, without the order.
    quotas: Quotas,
}

/// Master uploads
///
/// One master for each upload, all with the same settings. They are queued together or not at all.
#[utoipa::path(post, path = "/masters", tag = "masters", operation_id = "master_create", request_body = NewMasters,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "The same key gets the same answer for a day")),
    responses((status = 201, body = Made), (status = 200, description = "With `dry_run`: what it would cost", body = Price),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn make_all(
    State(app): State<App>,
    visitor: Visitor,
    idempotency: Idempotency,
    Json(new): Json<NewMasters>,
) -> Answer<Response> {
    visitor.needs(Scope::Masters)?;
    let NewMasters { uploads, settings, preset, reference_upload, batch, dry_run } = new;
    let batch = batch.map(|batch| NewBatch { name: batch.name, album: batch.album });
    let order = async {
        let settings = settings.over(&app.db, visitor.user(), preset.as_deref()).await?;
        Ok::<_, Error>(MasterRequest { uploads, settings, reference_upload, batch })
    };
    if dry_run {
        let cost = make::price(&app, &visitor, order.await?).await?;
        let quotas = Quotas::of(&app, &visitor).await?;
        return Ok(Json(Price { cost, quotas }).into_response());
    }
    let ticket = match idempotency.begin(&app, &visitor).await? {
        Begun::First(ticket) => ticket,
        Begun::Repeat(response) => return Ok(response),
    };
    let outcome = async { make::make(&app, &visitor, order.await?, &ticket).await };
    let outcome = outcome.await;
    let made = ticket.settle(&app.db, outcome).await?;
    Ok((StatusCode::CREATED, Json(made)).into_response())
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
    /// Only masters of this mix: the versions of a song.
    upload: Option<String>,
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
    let asked = Listed {
        sort,
        state: listing.state,
        batch: listing.batch.as_deref(),
        upload: listing.upload.as_deref(),
        words: listing.q.as_deref(),
        after: cursor.map(|(_, key, id)| (key, id)),
        limit: limit + 1,
    };
    let keyed = listing::list(&app.db, visitor.owner(), asked).await?;
    Ok(Json(Page::cut(keyed, limit, |(key, master)| (sort, key.clone(), master.id.clone())).map(|(_, master)| master)))
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
    Ok(Json(change::cancel(&app, &visitor, &id).await?))
}

/// The wishes for another master of the same mix.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rerun {
    #[serde(default)]
    #[schema(value_type = SettingsSchema)]
    settings: Wished,
    /// A preset of the account that the settings lie over.
    preset: Option<String>,
    /// A finished record to come close to: another upload. Left out, the first master's; null, none.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    reference_upload: Following,
}

/// Master again with other settings
///
/// Makes another master from the same mix, towards the same reference unless another one or none is given; the first stays.
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
    let outcome = async {
        let settings = wish.settings.over(&app.db, visitor.user(), wish.preset.as_deref()).await?;
        make::again(&app, &visitor, &id, settings, wish.reference_upload, &ticket).await
    };
    let outcome = outcome.await;
    let master = ticket.settle(&app.db, outcome).await?;
    Ok((StatusCode::CREATED, Json(master)).into_response())
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
    Ok(Json(change::delete(&app, &visitor, &[id], keep_mix).await?))
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
    Ok(Json(change::delete(&app, &visitor, &ids, keep_mix).await?))
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
    Ok(Json(Restored { items: change::restore(&app, &visitor, &ids).await? }))
}
