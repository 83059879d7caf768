//! Answers that say no: RFC 9457 with stable codes. What is ours alone to know (a database's words, a path) goes to the log under
//! the request's id and never to the client.

use crate::db::DbError;
use crate::domain::error::{Allowance, Error, Kind, Parts};
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

    /// See [`Error::not_found`].
    #[must_use]
    pub fn not_found(kind: &str, id: &str) -> Self {
        Error::not_found(kind, id).into()
    }

    /// See [`Error::unauthorized`].
    #[must_use]
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Error::unauthorized(code, detail).into()
    }

    /// 422: well-formed, and still not possible.
    #[must_use]
    pub fn unprocessable(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Error::invalid(code, detail).into()
    }

    /// See [`Error::too_many`].
    #[must_use]
    pub fn too_many(code: &'static str, detail: impl Into<String>, seconds: u64) -> Self {
        Error::too_many(code, detail, seconds).into()
    }

    /// See [`Error::internal`].
    #[must_use]
    pub fn internal(cause: impl fmt::Display) -> Self {
        Error::internal(cause).into()
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

/// The one place that says what a kind of error is in HTTP.
fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Gone => StatusCode::GONE,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Unmatched => StatusCode::BAD_REQUEST,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::Full | Kind::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Upstream => StatusCode::BAD_GATEWAY,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let Parts { kind, code, detail, more, retry_after, allowance, cause } = error.into_parts();
        let mut headers = Vec::new();
        if kind == Kind::Unauthorized {
            headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"loopmastering\"")));
        }
        if let Some(seconds) = retry_after {
            headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        headers.extend(allowance.into_iter().flat_map(rate_limit));
        Self(Box::new(Inner { status: status_of(kind), code, detail, more, headers, cause }))
    }
}

/// The `RateLimit` headers of an allowance.
pub(super) fn rate_limit(allowance: Allowance) -> [(HeaderName, HeaderValue); 2] {
    let Allowance { name, quota, window, left, reset } = allowance;
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    [
        (HeaderName::from_static("ratelimit-policy"), value(format!("\"{name}\";q={quota};w={window}"))),
        (HeaderName::from_static("ratelimit"), value(format!("\"{name}\";r={left};t={reset}"))),
    ]
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        Error::from(error).into()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::Part;
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
    fn a_part_that_is_away_is_503_with_a_time_to_come_again() {
        let problem = Problem::from(Error::away(Part::Database, "refused"));
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(problem.render(None).headers()[header::RETRY_AFTER], "5");
        let problem = Problem::from(Error::internal("a row is missing"));
        assert_eq!(problem.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn who_is_not_known_is_told_how_to_say_it() {
        let response = Problem::unauthorized("auth.required", "sign in").render(None);
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"loopmastering\"");
    }

    #[test]
    fn refusals_are_the_clients_and_failures_ours() {
        for (kind, error) in [
            (Kind::NotFound, Error::not_found("upload", "upl_1")),
            (Kind::TooMany, Error::too_many("rate.exceeded", "wait", 3)),
            (Kind::Full, Error::full("0 bytes")),
            (Kind::Internal, Error::internal("x")),
        ] {
            assert_eq!(error.kind(), kind);
            assert_eq!(error.is_refusal(), status_of(kind).is_client_error(), "{error:?}");
        }
    }
}
