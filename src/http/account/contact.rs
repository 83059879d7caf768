//! The contact form, and the page of a mail that asks whether a message is really somebody's. A ticket is a row first and a mail
//! second, so that none is lost with a mail server.

use super::profile::valid_address;
use super::reader;
use crate::domain::accounts::email::limit_mails;
use crate::domain::identity::Caller;
use crate::domain::limits::Rule;
use crate::domain::tickets::{self, State as Stands, Topic};
use crate::http::App;
use crate::http::auth::through_edge;
use crate::http::extract::{Json, Path};
use crate::http::problem::{Answer, Problem, ProblemBody};
use crate::timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Messages from one network address in an hour.
const PER_IP: u64 = 10;
const LONGEST: usize = 5000;
/// Confirmations tried from one network address in an hour.
const CONFIRMATIONS: u64 = 30;

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
    let ticket = tickets::create(&mut tx, &app, body.topic, &email, message, &caller, now).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(Received { ticket })))
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Confirmation {
    /// The message.
    ticket: String,
    /// What it is about.
    topic: String,
    /// When it was sent.
    sent_at: String,
    /// `account` or `guest`: whose it is said to be.
    of: &'static str,
    /// The account's address; absent for a guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// Whether it can be confirmed in this browser: that of the guest; or not signed in with another account.
    here: bool,
    /// waiting, confirmed, expired.
    state: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Confirmed {
    /// The message.
    ticket: String,
}

/// What the page of a confirmation shows. Nothing is confirmed: programs that look into mails may ask.
#[utoipa::path(get, path = "/confirmations/{token}", tag = "contact", params(("token" = String, Path)),
    responses((status = 200, body = Confirmation), (status = "4XX", body = ProblemBody)))]
pub(super) async fn confirmation(
    State(app): State<App>,
    caller: Caller,
    Path(token): Path<String>,
) -> Answer<Json<Confirmation>> {
    through_edge(&caller)?;
    let now = app.db.now().await?;
    let (ticket, check, state) = tickets::by_link(&mut *reader(&app).await?, &token, now).await?;
    let guest = check.of.starts_with("gst_");
    Ok(Json(Confirmation {
        ticket: ticket.id,
        topic: ticket.topic,
        sent_at: timestamp::rfc3339(ticket.created_at),
        of: if guest { "guest" } else { "account" },
        here: tickets::may_confirm(&check, &caller).is_ok(),
        email: (!guest).then_some(check.email),
        state: match state {
            Stands::Waiting => "waiting",
            Stands::Confirmed => "confirmed",
            Stands::Expired => "expired",
        },
    }))
}

/// Confirms, once, that a message is the account's or the guest's whom the link was sent to.
#[utoipa::path(post, path = "/confirmations/{token}", tag = "contact", params(("token" = String, Path)),
    responses((status = 200, body = Confirmed), (status = "4XX", body = ProblemBody)))]
pub(super) async fn confirm(
    State(app): State<App>,
    caller: Caller,
    Path(token): Path<String>,
) -> Answer<Json<Confirmed>> {
    through_edge(&caller)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    Rule::hourly("confirmations", CONFIRMATIONS).spend(&mut tx, &caller.ip_hash, 1).await?;
    // A try counts, whatever becomes of it.
    tx.commit().await?;
    let mut tx = app.db.begin().await?;
    let ticket = tickets::confirm(&mut tx, &token, &caller, now).await?;
    tx.commit().await?;
    Ok(Json(Confirmed { ticket }))
}
