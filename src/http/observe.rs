//! The outermost layer: gives the request its name, writes its log line, counts it, and writes every refusal as a problem.

use super::identity::RequestId;
use super::problem::Problem;
use crate::db::new_id;
use crate::measure;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use loopmaster_core::signing;
use std::time::{Duration, Instant};
use tracing::Instrument;

/// Within this time a handler answers; streams have begun by then.
const PATIENCE: Duration = Duration::from_secs(30);
/// The request's name, for whoever writes to support.
const REQUEST_ID: &str = "x-request-id";

pub(super) async fn observe(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = given_id(&request).unwrap_or_else(|| new_id("req"));
    let method = request.method().clone();
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = tracing::info_span!("request", id = %id, %method, %route, who = tracing::field::Empty);
    async move {
        let response = tokio::time::timeout(PATIENCE, next.run(request)).await.unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "server.too_slow",
                format!("this took longer than {seconds} s; nothing of yours is lost, please try again"),
            )
            .retry_after(5)
            .into_response()
        });
        let mut response = told(response, &id);
        let status = response.status();
        let took = began.elapsed();
        measure::request(method.to_string(), route, status.as_u16(), took);
        tracing::info!(status = status.as_u16(), ms = took.as_millis() as u64, "answered");
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
        headers
            .entry(header::CONTENT_SECURITY_POLICY)
            .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
        response
    }
    .instrument(span)
    .await
}

/// The name the edge gave the request; whether the edge really did is checked later, where it matters.
fn given_id(request: &Request) -> Option<String> {
    let id = request.headers().get(signing::REQUEST_ID)?.to_str().ok()?;
    let sound =
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    sound.then(|| id.to_owned())
}

/// Writes refusals as problems that name the request, those of the framework included.
fn told(mut response: Response, id: &str) -> Response {
    let problem = response.extensions_mut().remove::<Problem>();
    let status = response.status();
    let problem = match problem {
        Some(problem) => problem,
        None if status.is_client_error() || status.is_server_error() => {
            let kind =
                response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            if kind.contains("json") {
                return response;
            }
            let reason = status.canonical_reason().unwrap_or("refused");
            let code = format!("request.{}", reason.to_lowercase().replace([' ', '-'], "_"));
            Problem::new(status, code, format!("{}: this request cannot be answered", reason.to_lowercase()))
        }
        None => return response,
    };
    if problem.status().is_server_error() {
        tracing::error!(code = problem.code(), cause = problem.cause(), "{}", problem.detail());
    } else {
        tracing::debug!(code = problem.code(), cause = problem.cause(), "{}", problem.detail());
    }
    let headers = response.headers().clone();
    let mut written = problem.render(Some(id));
    for (name, value) in &headers {
        // What layers added in between (rate limits, cookies to clear) stays.
        if !written.headers().contains_key(name) && *name != header::CONTENT_LENGTH {
            written.headers_mut().append(name.clone(), value.clone());
        }
    }
    written
}

pub(super) async fn nothing_here(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "request.not_found",
        format!("there is nothing at {path}; /v1/openapi.json lists what there is"),
    )
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "request.method_not_allowed",
        format!("{method} is not possible at {path}; the Allow header lists what is"),
    )
}
