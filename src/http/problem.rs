//! Answers that say no: RFC 9457 with stable codes. What is ours alone to know (a database's words, a path) goes to the log under
//! the request's id and never to the client.

use crate::db::DbError;
use crate::store::StoreError;
use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What handlers return.
pub type Answer<T> = Result<T, Problem>;

/// Seconds after which a client should ask again when a part of the service is away.
const AWAY: u64 = 5;

/// An error as the client sees it, with the cause only we see.
#[derive(Clone)]
pub struct Problem(Box<Inner>);

#[derive(Clone)]
struct Inner {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    more: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Arc<str>>,
}

/// The body of a problem, as the documentation shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Names the kind of problem: `urn:loopmastering:problem:` and the code.
    #[schema(example = "urn:loopmastering:problem:upload.not_found")]
    pub r#type: String,
    /// The kind in words; the same for every problem of this code.
    pub title: String,
    /// The HTTP status again.
    pub status: u16,
    /// What happened here, with the values concerned and what to do.
    pub detail: String,
    /// Stable; what programs branch on.
    #[schema(example = "upload.not_found")]
    pub code: String,
    /// The request, as the logs name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

impl Problem {
    /// A problem with a stable code `part.what`, and a sentence with the values and the way out.
    #[must_use]
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            code: code.into(),
            detail: detail.into(),
            more: Map::new(),
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// 404 for what is not there or not the caller's: both are told the same.
    #[must_use]
    pub fn not_found(kind: &str, id: &str) -> Self {
        let shown: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
        Self::new(StatusCode::NOT_FOUND, format!("{kind}.not_found"), format!("there is no {kind} `{shown}` of yours"))
    }

    /// 401
    #[must_use]
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"loopmastering\""))
    }

    /// 403
    #[must_use]
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 409
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 422: well-formed, and still not possible.
    #[must_use]
    pub fn unprocessable(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 429
    #[must_use]
    pub fn too_many(code: &'static str, detail: impl Into<String>, seconds: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail).retry_after(seconds)
    }

    /// 500: ours; the cause goes to the log.
    #[must_use]
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server.internal",
            "something went wrong on our side; it has been written down, please try again",
        )
        .caused_by(cause)
    }

    /// 503: `part` (database, storage) is away; nothing was acknowledged, the client should come again.
    #[must_use]
    pub fn away(part: &'static str, cause: impl fmt::Display) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("server.{part}_away"),
            format!("the {part} cannot be reached at the moment; nothing of yours is lost, please try again in {AWAY} seconds"),
        )
        .retry_after(AWAY)
        .caused_by(cause)
    }

    /// Another member of the problem.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(name.to_owned(), value.into());
        self
    }

    /// Another header of the response.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// `Retry-After`, seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// What only the log shall know.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string().into());
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The sentence for the client.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What only the log shall know.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// `upload.not_found` → `Not found`.
    fn title(&self) -> String {
        let words = self.0.code.rsplit('.').next().unwrap_or_default().replace('_', " ");
        let mut letters = words.chars();
        letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
    }

    /// The response for the request with this id.
    #[must_use]
    pub fn render(&self, request_id: Option<&str>) -> Response {
        let inner = &self.0;
        let body = ProblemBody {
            r#type: format!("urn:loopmastering:problem:{}", inner.code),
            title: self.title(),
            status: inner.status.as_u16(),
            detail: inner.detail.clone(),
            code: inner.code.clone().into_owned(),
            instance: request_id.map(str::to_owned),
        };
        let mut value = serde_json::to_value(body).unwrap_or_default();
        if let Value::Object(members) = &mut value {
            members.extend(inner.more.clone());
        }
        let mut response = (inner.status, Json(value)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in &inner.headers {
            headers.append(name, value.clone());
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.render(None);
        // The outermost layer knows the request's id: it writes the log line and renders again.
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.0.status, self.0.code, self.0.detail)?;
        self.0.cause.as_ref().map_or(Ok(()), |cause| write!(f, " ({cause})"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        if error.is_unavailable() { Self::away("database", error) } else { Self::internal(error) }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { full: true, .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "storage.full",
                "the service has no room for this file at the moment; nothing of yours is lost, please try again later",
            )
            .retry_after(600)
            .caused_by(error),
            StoreError::Unavailable { .. } => Self::away("storage", error),
            // What the client named is not what storage has: its words are for the client.
            StoreError::Invalid { s3, message, .. } => {
                let code = match s3.as_str() {
                    "InvalidPart" => "upload.part_wrong",
                    "InvalidPartOrder" => "upload.part_order",
                    "EntityTooSmall" => "upload.part_too_small",
                    "EntityTooLarge" => "upload.part_too_large",
                    _ => return Self::internal(error),
                };
                let detail = format!(
                    "storage refuses the parts: {message}; send the parts named again and complete with their ETags"
                );
                Self::unprocessable(code, detail).with("storage_code", s3.clone())
            }
            StoreError::NotFound { .. }
            | StoreError::Precondition { .. }
            | StoreError::Denied { .. }
            | StoreError::File { .. }
            | StoreError::Config(_) => Self::internal(error),
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        DbError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn json(response: Response) -> Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_problem_says_what_the_client_may_know() {
        let problem = Problem::internal("password=hunter2").with("upload", "upl_1");
        let response = problem.render(Some("req_1"));
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = json(response).await;
        assert_eq!(body["type"], "urn:loopmastering:problem:server.internal");
        assert_eq!((&body["title"], &body["instance"]), (&"Internal".into(), &"req_1".into()));
        assert_eq!(body["upload"], "upl_1");
        assert!(!body.to_string().contains("hunter2"));
        assert_eq!(problem.cause(), Some("password=hunter2"));
    }

    #[test]
    fn a_database_that_is_away_is_said_to_be_away() {
        assert_eq!(Problem::from(sqlx::Error::PoolTimedOut).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(Problem::from(sqlx::Error::RowNotFound).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
