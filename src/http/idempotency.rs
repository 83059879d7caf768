//! `Idempotency-Key` on creates: the same key with the same request gets the first answer again, for a day. The answer is kept in the
//! transaction that did the work (`domain::idempotency`).

use super::App;
use super::problem::{Answer, Problem};
use crate::domain::idempotency::{self, Ticket};
use crate::domain::identity::Visitor;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The header's name.
pub const HEADER: &str = "idempotency-key";
const LONGEST: usize = 255;

/// The key a client sent, if any.
#[derive(Clone, Debug)]
pub struct Idempotency {
    key: Option<String>,
    what: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let what = format!("{} {}", parts.method, parts.uri.path());
        let Some(value) = parts.headers.get(HEADER) else { return Ok(Self { key: None, what }) };
        let key = value
            .to_str()
            .ok()
            .map(|key| key.trim().trim_matches('"'))
            .filter(|key| !key.is_empty() && key.len() <= LONGEST);
        match key {
            Some(key) => Ok(Self { key: Some(key.to_owned()), what }),
            None => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "idempotency.invalid_key",
                format!("an Idempotency-Key has 1 to {LONGEST} visible ASCII characters"),
            )),
        }
    }
}

/// The first call, or one before this one.
#[derive(Debug)]
pub enum Begun {
    /// Do the work.
    First(Ticket),
    /// The work is done; this was the answer.
    Repeat(Response),
}

impl Idempotency {
    /// Looks whether this was asked before. What is made now is answered with 201.
    pub async fn begin(&self, app: &App, visitor: &Visitor) -> Answer<Begun> {
        let Some(key) = &self.key else { return Ok(Begun::First(Ticket::once())) };
        let made = StatusCode::CREATED.as_u16();
        Ok(match idempotency::begin(&app.db, &app.config, visitor, key, &self.what, made).await? {
            idempotency::Begun::First(ticket) => Begun::First(ticket),
            idempotency::Begun::Repeat { status, body } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                let mut response = (status, body).into_response();
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
                Begun::Repeat(response)
            }
        })
    }
}
