//! Bodies, queries and paths, refused in our own words.

use super::problem::Problem;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A JSON body: 415 where it is not declared as JSON, 400 where it is not JSON, 422 where it is not what was asked for, fields
/// nobody knows included (the types carry `deny_unknown_fields`).
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let declared =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence != "application/json" && !(essence.starts_with("application/") && essence.ends_with("+json")) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "request.not_json",
                "send the body as content-type: application/json",
            ));
        }
        let body = Bytes::from_request(request, state).await.map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, "request.body_broken", "the body ended early; send the request again")
                .caused_by(error)
        })?;
        parse(&body).map(Self)
    }
}

/// Reads JSON from bytes, with the same refusals.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let detail = error.to_string();
        if error.is_data() {
            Problem::unprocessable("request.invalid_field", format!("the body cannot be used: {detail}"))
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "request.invalid_json", format!("the body is not JSON: {detail}"))
        }
    })
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The query string, refused with 422 where a field is unknown or unreadable.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|error| {
            Problem::unprocessable("request.invalid_query", format!("the query cannot be used: {}", error.body_text()))
        })
    }
}

/// Parts of the path.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, state).await.map(|path| Self(path.0)).map_err(|error| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "request.not_found",
                format!("there is nothing at this address: {}", error.body_text()),
            )
        })
    }
}
