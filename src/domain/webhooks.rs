//! Webhooks: events of an account, sent to addresses its user has named, signed as Standard Webhooks 1.0 describes.
//!
//! A delivery is a row, written in the transaction of what it tells, and a queue job that tries for three days. The receiver finds the
//! same `webhook-id` on every try. While a secret is replaced, both sign.

use crate::config::Config;
use crate::db::{Db, DbError, Tx, new_id};
use crate::digest::hmac;
use crate::domain::error::{Error, Result};
use crate::outside::mail::{self, Letter};
use crate::outside::webhooks::guard::Guard;
use crate::outside::webhooks::{Outcome, send};
use crate::queue::{self, NewJob};
use crate::timestamp::rfc3339;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Row};
use std::time::Duration;

/// What one can be told of.
pub const EVENTS: [&str; 3] = ["master.done", "master.failed", "batch.ended"];
/// What the test button sends; every webhook gets it.
pub const TEST: &str = "webhook.test";
/// Webhooks of one account.
pub const MOST: i64 = 10;
/// For so long the old secret signs beside the new one.
pub const OVERLAP: i64 = 24 * HOUR;
/// Waits between tries, seconds; three days in all. Each is lengthened by up to a fifth, so that many do not come at once.
const WAITS: [u64; 9] = [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 18 * 3600, 24 * 3600];
/// A webhook is switched off when a delivery was given up and none has succeeded for this long.
const PATIENCE: i64 = 5 * 24 * HOUR;
const HOUR: i64 = 60 * 60 * 1000;
const SEALED_FOR: &str = "webhook";

/// A webhook, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// `whk_…`
    pub id: String,
    /// Where to.
    pub url: String,
    /// What of; empty: everything.
    pub events: Vec<String>,
    /// Milliseconds.
    pub created_at: i64,
    /// Since when nothing is sent.
    pub disabled_at: Option<i64>,
    /// Why.
    pub disabled_why: Option<String>,
}

/// One delivery as its log shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The `webhook-id`.
    pub id: String,
    /// Which event.
    pub event: String,
    /// Tries so far.
    pub attempts: i64,
    /// HTTP status of the last one.
    pub last_status: Option<i64>,
    /// What went wrong with the last one.
    pub last_error: Option<String>,
    /// Milliseconds.
    pub created_at: i64,
    /// Milliseconds.
    pub delivered_at: Option<i64>,
    /// Milliseconds.
    pub given_up_at: Option<i64>,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// Nothing more to do.
    Ended,
    /// Again after this time.
    Again(Duration),
}

/// A new secret as receivers get it.
fn new_secret() -> String {
    let bytes: [u8; 32] = rand::random();
    format!("whsec_{}", BASE64.encode(bytes))
}

/// The header `webhook-signature` for one secret.
fn signature(secret: &str, id: &str, seconds: i64, body: &str) -> Option<String> {
    let key = BASE64.decode(secret.strip_prefix("whsec_")?).ok()?;
    let seconds = seconds.to_string();
    let mac = hmac(&key, &[id.as_bytes(), b".", seconds.as_bytes(), b".", body.as_bytes()]);
    Some(format!("v1,{}", BASE64.encode(mac)))
}

/// Adds a webhook and gives its secret, which is shown this once.
pub async fn create(
    tx: &mut Tx,
    config: &Config,
    guard: &Guard,
    user: &str,
    url: &str,
    events: &[String],
    now: i64,
) -> Result<(Webhook, String)> {
    let url = guard.form(url).map_err(|refused| Error::invalid("webhook.url", refused.to_string()))?;
    if let Some(unknown) = events.iter().find(|event| !EVENTS.contains(&event.as_str())) {
        let detail = format!("there is no event `{unknown}`; use some of {}, or none for all", EVENTS.join(", "));
        return Err(Error::invalid("webhook.event", detail));
    }
    let count: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM webhooks WHERE user_id = $1").bind(user).fetch_one(&mut **tx).await?;
    if count >= MOST {
        return Err(Error::conflict(
            "webhook.too_many",
            format!("an account has at most {MOST} webhooks; remove one first"),
        ));
    }
    let secret = new_secret();
    let webhook = Webhook {
        id: new_id("whk"),
        url: url.to_string(),
        events: events.to_vec(),
        created_at: now,
        disabled_at: None,
        disabled_why: None,
    };
    sqlx::query("INSERT INTO webhooks (id, user_id, url, events, secret, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(&webhook.id)
        .bind(user)
        .bind(&webhook.url)
        .bind(webhook.events.join(" "))
        .bind(config.keys().seal(SEALED_FOR, secret.as_bytes()))
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok((webhook, secret))
}

/// A user's webhooks, the latest first.
pub async fn list(c: &mut AnyConnection, user: &str) -> Result<Vec<Webhook>> {
    let rows =
        sqlx::query("SELECT * FROM webhooks WHERE user_id = $1 ORDER BY id DESC").bind(user).fetch_all(c).await?;
    rows.iter()
        .map(|row| {
            let events: String = row.try_get("events")?;
            Ok(Webhook {
                id: row.try_get("id")?,
                url: row.try_get("url")?,
                events: events.split(' ').filter(|event| !event.is_empty()).map(str::to_owned).collect(),
                created_at: row.try_get("created_at")?,
                disabled_at: row.try_get("disabled_at")?,
                disabled_why: row.try_get("disabled_why")?,
            })
        })
        .collect()
}

/// Removes a webhook with its log.
pub async fn remove(tx: &mut Tx, user: &str, id: &str) -> Result<()> {
    owned(tx, user, id).await?;
    sqlx::query("DELETE FROM deliveries WHERE webhook_id = $1").bind(id).execute(&mut **tx).await?;
    sqlx::query("DELETE FROM webhooks WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// Removes all webhooks of an account that goes, with their logs.
pub async fn remove_all(tx: &mut Tx, user: &str) -> Result<()> {
    for text in [
        "DELETE FROM deliveries WHERE webhook_id IN (SELECT id FROM webhooks WHERE user_id = $1)",
        "DELETE FROM webhooks WHERE user_id = $1",
    ] {
        sqlx::query(text).bind(user).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Removes what was told of something that is gone.
pub async fn forget(tx: &mut Tx, owner: &str, id: &str) -> Result<()> {
    // Those of the version before do not say what they are about.
    let text = "DELETE FROM deliveries WHERE (subject = $2 OR (subject IS NULL AND body LIKE $3))
        AND webhook_id IN (SELECT id FROM webhooks WHERE user_id = $1)";
    sqlx::query(text).bind(owner).bind(id).bind(format!("%{id}%")).execute(&mut **tx).await?;
    Ok(())
}

async fn owned(c: &mut AnyConnection, user: &str, id: &str) -> Result<()> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM webhooks WHERE id = $1 AND user_id = $2")
        .bind(id)
        .bind(user)
        .fetch_one(c)
        .await?;
    if count == 0 { Err(Error::not_found("webhook", id)) } else { Ok(()) }
}

/// Gives a new secret; the old one signs beside it for [`OVERLAP`].
pub async fn rotate(tx: &mut Tx, config: &Config, user: &str, id: &str, now: i64) -> Result<String> {
    owned(tx, user, id).await?;
    let secret = new_secret();
    sqlx::query("UPDATE webhooks SET old_secret = secret, old_secret_until = $1, secret = $2 WHERE id = $3")
        .bind(now + OVERLAP)
        .bind(config.keys().seal(SEALED_FOR, secret.as_bytes()))
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(secret)
}

/// Sends a test event; also to a webhook that is off, which switches it on again.
pub async fn test(tx: &mut Tx, user: &str, id: &str, now: i64) -> Result<String> {
    owned(tx, user, id).await?;
    sqlx::query("UPDATE webhooks SET disabled_at = NULL, disabled_why = NULL WHERE id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(deliver_to(tx, id, TEST, None, &body(TEST, &json!({ "webhook": id }), now), now).await?)
}

fn body(event: &str, data: &Value, now: i64) -> String {
    json!({ "type": event, "timestamp": rfc3339(now), "data": data }).to_string()
}

/// `subject`: the master or the batch it is about, with which it goes.
async fn deliver_to(
    tx: &mut Tx,
    webhook: &str,
    event: &str,
    subject: Option<&str>,
    body: &str,
    now: i64,
) -> Result<String, DbError> {
    let id = new_id("dlv");
    sqlx::query(
        "INSERT INTO deliveries (id, webhook_id, event, body, attempts, created_at, subject) VALUES ($1, $2, $3, $4, 0, $5, $6)",
    )
    .bind(&id)
    .bind(webhook)
    .bind(event)
    .bind(body)
    .bind(now)
    .bind(subject)
    .execute(&mut **tx)
    .await?;
    // One try more than there are waits, and as many again for a worker that dies on the way.
    let job = NewJob { max_attempts: 2 * (WAITS.len() as u32 + 1), ..NewJob::chore("webhook", &id, String::new()) };
    queue::enqueue(tx, &job).await?;
    Ok(id)
}

/// Tells every webhook of `owner` that wants to know. Guests have none.
pub async fn emit(tx: &mut Tx, owner: &str, event: &str, data: &Value, now: i64) -> Result<(), DbError> {
    if !owner.starts_with("usr_") {
        return Ok(());
    }
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT id, events FROM webhooks WHERE user_id = $1 AND disabled_at IS NULL")
            .bind(owner)
            .fetch_all(&mut **tx)
            .await?;
    let text = body(event, data, now);
    for (id, events) in rows {
        if events.is_empty() || events.split(' ').any(|wanted| wanted == event) {
            deliver_to(tx, &id, event, data["id"].as_str(), &text, now).await?;
        }
    }
    Ok(())
}

/// The latest deliveries of a webhook.
pub async fn deliveries(c: &mut AnyConnection, user: &str, id: &str) -> Result<Vec<Delivery>> {
    owned(c, user, id).await?;
    let rows = sqlx::query("SELECT * FROM deliveries WHERE webhook_id = $1 ORDER BY created_at DESC, id DESC LIMIT 50")
        .bind(id)
        .fetch_all(c)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Delivery {
                id: row.try_get("id")?,
                event: row.try_get("event")?,
                attempts: row.try_get("attempts")?,
                last_status: row.try_get("last_status")?,
                last_error: row.try_get("last_error")?,
                created_at: row.try_get("created_at")?,
                delivered_at: row.try_get("delivered_at")?,
                given_up_at: row.try_get("given_up_at")?,
            })
        })
        .collect()
}

/// Does a job of kind `webhook`: one try.
pub async fn deliver(db: &Db, config: &Config, guard: &Guard, id: &str) -> Result<Tried> {
    let now = db.now().await?;
    let row = sqlx::query(
        "SELECT deliveries.event, body, attempts, delivered_at, given_up_at, webhooks.id AS webhook, url, secret, old_secret,
           old_secret_until, disabled_at, user_id
         FROM deliveries JOIN webhooks ON webhooks.id = deliveries.webhook_id WHERE deliveries.id = $1",
    )
    .bind(id)
    .fetch_optional(db.read())
    .await?;
    let Some(row) = row else { return Ok(Tried::Ended) };
    let over = row.try_get::<Option<i64>, _>("delivered_at")?.is_some()
        || row.try_get::<Option<i64>, _>("given_up_at")?.is_some();
    if over || row.try_get::<Option<i64>, _>("disabled_at")?.is_some() {
        return Ok(Tried::Ended);
    }
    let keys = config.keys();
    let open = |sealed: String| keys.open(SEALED_FOR, &sealed).and_then(|plain| String::from_utf8(plain).ok());
    let mut secrets = vec![open(row.try_get("secret")?)];
    if row.try_get::<Option<i64>, _>("old_secret_until")?.is_some_and(|until| until > now) {
        secrets.extend(row.try_get::<Option<String>, _>("old_secret")?.map(open));
    }
    let (url, body): (String, String) = (row.try_get("url")?, row.try_get("body")?);
    let signatures: Vec<String> =
        secrets.iter().flatten().filter_map(|secret| signature(secret, id, now / 1000, &body)).collect();
    let outcome = if signatures.is_empty() {
        Outcome::Refused(
            "Its secret cannot be opened any more: the service's key has changed. Rotate the secret.".to_owned(),
        )
    } else {
        send(guard, &url, id, now / 1000, &signatures.join(" "), body).await
    };
    let taken = matches!(outcome, Outcome::Taken(_));
    let attempts = row.try_get::<i64, _>("attempts")? + 1;
    let mut tx = db.begin().await?;
    let tried = record(
        &mut tx,
        config,
        &row.try_get::<String, _>("webhook")?,
        &row.try_get::<String, _>("user_id")?,
        &url,
        id,
        attempts,
        outcome,
        now,
    )
    .await?;
    tx.commit().await?;
    crate::measure::webhook(match tried {
        _ if taken => "delivered",
        Tried::Again(_) => "failed",
        Tried::Ended => "given_up",
    });
    Ok(tried)
}

#[expect(clippy::too_many_arguments, reason = "the row of a delivery, field by field")]
async fn record(
    tx: &mut Tx,
    config: &Config,
    webhook: &str,
    user: &str,
    url: &str,
    id: &str,
    attempts: i64,
    outcome: Outcome,
    now: i64,
) -> Result<Tried> {
    let wait = usize::try_from(attempts - 1)
        .ok()
        .and_then(|tries| WAITS.get(tries))
        .map(|&seconds| Duration::from_secs(seconds));
    let (status, error, again, off) = match outcome {
        Outcome::Taken(status) => (Some(status), None, None, None),
        Outcome::Gone => (Some(410), Some("410 Gone".to_owned()), None, Some("It answered 410 Gone.".to_owned())),
        Outcome::Refused(why) => (None, Some(why), None, None),
        Outcome::Failed(status, why, asked) => {
            let jitter = 1.0 + 0.2 * rand::random::<f64>();
            let again = wait.map(|wait| wait.mul_f64(jitter).max(asked.unwrap_or_default()));
            (status, Some(why), again, None)
        }
    };
    let delivered = error.is_none();
    sqlx::query("UPDATE deliveries SET attempts = $1, last_status = $2, last_error = $3, delivered_at = $4, given_up_at = $5 WHERE id = $6")
        .bind(attempts)
        .bind(status)
        .bind(error.as_deref())
        .bind(delivered.then_some(now))
        .bind((!delivered && again.is_none()).then_some(now))
        .bind(id)
        .execute(&mut **tx)
        .await?;
    if let Some(again) = again {
        return Ok(Tried::Again(again));
    }
    let why = match (delivered, off) {
        (true, _) => return Ok(Tried::Ended),
        (false, Some(why)) => Some(why),
        (false, None) => {
            let good: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM deliveries WHERE webhook_id = $1 AND delivered_at > $2")
                    .bind(webhook)
                    .bind(now - PATIENCE)
                    .fetch_one(&mut **tx)
                    .await?;
            let created: i64 = sqlx::query_scalar("SELECT created_at FROM webhooks WHERE id = $1")
                .bind(webhook)
                .fetch_one(&mut **tx)
                .await?;
            (good == 0 && created < now - PATIENCE).then(|| {
                format!("No delivery has arrived for five days; the last error: {}.", error.unwrap_or_default())
            })
        }
    };
    if let Some(why) = why {
        let first = sqlx::query(
            "UPDATE webhooks SET disabled_at = $1, disabled_why = $2 WHERE id = $3 AND disabled_at IS NULL",
        )
        .bind(now)
        .bind(&why)
        .bind(webhook)
        .execute(&mut **tx)
        .await?;
        let email: Option<String> =
            sqlx::query_scalar("SELECT email FROM users WHERE id = $1").bind(user).fetch_optional(&mut **tx).await?;
        if let (1, Some(email)) = (first.rows_affected(), email) {
            let link = config.public_url.with("/account");
            mail::post(tx, config, &email, &Letter::WebhookStopped { url: url.to_owned(), why, link }).await?;
        }
    }
    Ok(Tried::Ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the Standard Webhooks reference libraries.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let signature = signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert!(super::signature("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a", 1, "").is_none());
    }

    #[test]
    fn secrets_are_those_of_the_standard() {
        let secret = new_secret();
        let bytes = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        assert!((24..=64).contains(&bytes.len()));
        assert_ne!(secret, new_secret());
    }

    #[test]
    fn tries_go_on_for_three_days() {
        let total: u64 = WAITS.iter().sum();
        assert!((3 * 86_400..4 * 86_400).contains(&total), "{total}");
        assert!(WAITS.is_sorted());
    }
}
