//! Errors of the edge itself, for programs: RFC 9457, in the form of the api's.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

/// An error with a stable code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable, for programs.
    pub code: &'static str,
    /// For a person: what happened and what to do.
    pub detail: String,
    /// Seconds until it is worth trying again.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem without a time to come back.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after: None }
    }

    /// The same, worth trying again after so many seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// As an answer. `request_id` tells support which request it was.
    #[must_use]
    pub fn to_response(&self, path: &str, request_id: &str) -> Response<Vec<u8>> {
        let body = json!({
            "type": format!("urn:loopmaster:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "instance": path,
            "request_id": request_id,
        });
        let mut response = Response::new(body.to_string().into_bytes());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
