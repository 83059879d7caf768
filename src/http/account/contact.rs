//! The contact form: a ticket is a row first and a mail second, so that none is lost with a mail server.

use super::profile::valid_address;
use crate::db::new_id;
use crate::http::App;
use crate::http::auth::email::limit_mails;
use crate::http::extract::Json;
use crate::http::identity::Caller;
use crate::http::limits::Rule;
use crate::http::problem::{Answer, Problem, ProblemBody};
use crate::mail::{Letter, post};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Messages from one network address in an hour.
const PER_IP: u64 = 10;
const LONGEST: usize = 5000;

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Topic {
    Question,
    Privacy,
    Account,
    Copyright,
    Other,
}

impl Topic {
    fn name(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Privacy => "privacy",
            Self::Account => "account",
            Self::Copyright => "copyright",
            Self::Other => "other",
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "what clients write")]
pub(super) struct Message {
    topic: Topic,
    /// Where the answer goes.
    email: String,
    /// At most 5000 characters.
    message: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Received {
    /// What to name when asking again.
    ticket: String,
}

/// Writes to the people behind the service.
#[utoipa::path(post, path = "/contact", tag = "contact", security((), ("bearer" = [])), request_body = Message,
    responses((status = 202, body = Received), (status = "4XX", body = ProblemBody)))]
pub(super) async fn contact(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<Message>,
) -> Answer<(StatusCode, Json<Received>)> {
    let email = valid_address(&body.email)?;
    let message = body.message.replace("\r\n", "\n");
    let message = message.trim();
    let length = message.chars().count();
    if message.is_empty() || length > LONGEST || message.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        let detail = format!("the message has {length} characters; write 1 to {LONGEST} of text");
        return Err(Problem::unprocessable("contact.message", detail));
    }
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    // Where nobody knows the address, all who are unknown share one allowance.
    Rule::hourly("messages", PER_IP).spend(&mut tx, &caller.ip_hash, 1).await?;
    // A confirmation goes to whatever address was typed: the form must not flood a stranger.
    limit_mails(&mut tx, &app, &email, &caller.ip_hash).await?;
    let (ticket, topic) = (new_id("tkt"), body.topic.name());
    let user = caller.user().map(str::to_owned);
    sqlx::query(
        "INSERT INTO tickets (id, topic, email, user_id, message, request_id, ip_hash, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&ticket)
    .bind(topic)
    .bind(&email)
    .bind(user.as_deref())
    .bind(message)
    .bind(&caller.request_id)
    .bind(&caller.ip_hash)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    if !app.config.mail.operator.is_empty() {
        let letter = Letter::Ticket {
            ticket: ticket.clone(),
            topic: topic.to_owned(),
            from: email.clone(),
            user,
            message: message.to_owned(),
        };
        post(&mut tx, &app.config, &app.config.mail.operator, &letter).await?;
    }
    post(&mut tx, &app.config, &email, &Letter::TicketReceived { ticket: ticket.clone() }).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(Received { ticket })))
}
