//! Webhooks of an account.

use super::{account, reader};
use crate::domain::audit;
use crate::domain::identity::Caller;
use crate::domain::limits::Rule;
use crate::domain::webhooks;
use crate::http::App;
use crate::http::extract::{Json, Path};
use crate::http::problem::{Answer, ProblemBody};
use crate::outside::webhooks::guard::Guard;
use crate::timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWebhook {
    /// HTTPS on port 443 of the public internet.
    #[schema(example = "https://example.com/hooks/masters")]
    url: String,
    /// master.done, master.failed, batch.ended; all without.
    #[serde(default)]
    events: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookAnswer {
    id: String,
    url: String,
    /// Empty: all.
    events: Vec<String>,
    created_at: String,
    /// Since when nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_why: Option<String>,
    /// The key of the signatures, this once: `whsec_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl WebhookAnswer {
    fn of(webhook: webhooks::Webhook, secret: Option<String>) -> Self {
        let webhooks::Webhook { id, url, events, created_at, disabled_at, disabled_why } = webhook;
        let (created_at, disabled_at) = (timestamp::rfc3339(created_at), disabled_at.map(timestamp::rfc3339));
        Self { id, url, events, created_at, disabled_at, disabled_why, secret }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookList {
    items: Vec<WebhookAnswer>,
}

/// Webhooks of the account.
#[utoipa::path(get, path = "/me/webhooks", tag = "account",
    responses((status = 200, body = WebhookList), (status = "4XX", body = ProblemBody)))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<WebhookList>> {
    let user = account(&caller)?;
    let mut c = reader(&app).await?;
    let items = webhooks::list(&mut c, user).await?;
    Ok(Json(WebhookList { items: items.into_iter().map(|webhook| WebhookAnswer::of(webhook, None)).collect() }))
}

/// Adds a webhook: Standard Webhooks signatures, tries over three days.
#[utoipa::path(post, path = "/me/webhooks", tag = "account", request_body = NewWebhook,
    responses((status = 201, body = WebhookAnswer), (status = "4XX", body = ProblemBody)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewWebhook>,
) -> Answer<(StatusCode, Json<WebhookAnswer>)> {
    let user = account(&caller)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let guard = Guard::of(&app.config);
    let (webhook, secret) = webhooks::create(&mut tx, &app.config, &guard, user, &new.url, &new.events, now).await?;
    audit::record(&mut tx, &caller, "webhook.added", &webhook.id, "", now).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(WebhookAnswer::of(webhook, Some(secret)))))
}

/// Removes a webhook with its log.
#[utoipa::path(delete, path = "/me/webhooks/{id}", tag = "account", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub(super) async fn remove(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let user = account(&caller)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    webhooks::remove(&mut tx, user, &id).await?;
    audit::record(&mut tx, &caller, "webhook.removed", &id, "", now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rotated {
    /// The new key, this once.
    secret: String,
    /// Until then the old one signs as well.
    old_secret_until: String,
}

/// Replaces the key; for a day both sign.
#[utoipa::path(post, path = "/me/webhooks/{id}/rotate", tag = "account", params(("id" = String, Path)),
    responses((status = 200, body = Rotated), (status = "4XX", body = ProblemBody)))]
pub(super) async fn rotate(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<Json<Rotated>> {
    let user = account(&caller)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let secret = webhooks::rotate(&mut tx, &app.config, user, &id, now).await?;
    audit::record(&mut tx, &caller, "webhook.rotated", &id, "", now).await?;
    tx.commit().await?;
    Ok(Json(Rotated { secret, old_secret_until: timestamp::rfc3339(now + webhooks::OVERLAP) }))
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tested {
    /// The delivery to look for in the log.
    delivery: String,
}

/// Sends a test event, and switches a webhook that is off on again.
#[utoipa::path(post, path = "/me/webhooks/{id}/test", tag = "account", params(("id" = String, Path)),
    responses((status = 202, body = Tested), (status = "4XX", body = ProblemBody)))]
pub(super) async fn test(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<(StatusCode, Json<Tested>)> {
    let user = account(&caller)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    Rule::hourly("webhook tests", 60).spend(&mut tx, user, 1).await?;
    let delivery = webhooks::test(&mut tx, user, &id, now).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(Tested { delivery })))
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryList {
    items: Vec<DeliveryAnswer>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DeliveryAnswer {
    /// The header `webhook-id`.
    id: String,
    event: String,
    /// Tries so far.
    attempts: i64,
    /// waiting, delivered or `given_up`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_at: Option<String>,
}

/// The last fifty deliveries.
#[utoipa::path(get, path = "/me/webhooks/{id}/deliveries", tag = "account", params(("id" = String, Path)),
    responses((status = 200, body = DeliveryList), (status = "4XX", body = ProblemBody)))]
pub(super) async fn deliveries(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<DeliveryList>> {
    let user = account(&caller)?;
    let mut c = reader(&app).await?;
    let items = webhooks::deliveries(&mut c, user, &id).await?;
    let items = items
        .into_iter()
        .map(|delivery| DeliveryAnswer {
            state: match (delivery.delivered_at, delivery.given_up_at) {
                (Some(_), _) => "delivered",
                (None, Some(_)) => "given_up",
                (None, None) => "waiting",
            },
            id: delivery.id,
            event: delivery.event,
            attempts: delivery.attempts,
            last_status: delivery.last_status,
            last_error: delivery.last_error,
            created_at: timestamp::rfc3339(delivery.created_at),
            delivered_at: delivery.delivered_at.map(timestamp::rfc3339),
        })
        .collect();
    Ok(Json(DeliveryList { items }))
}
