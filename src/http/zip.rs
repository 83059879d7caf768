//! All files of a batch in one archive, as a capability on this program's own address: a download manager can take it, break off, and
//! go on. What the archive holds is fixed when it is asked for.

use super::App;
use super::extract::{Json, Path};
use super::problem::{Answer, Problem, ProblemBody};
use crate::domain::identity::{Scope, Visitor};
use crate::domain::masters;
use crate::domain::zips::layout::{Layout, Piece, master_of};
use crate::domain::zips::{self, Asked, Found};
use crate::timestamp;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(make)).routes(routes!(send))
}

/// What goes into the archive.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewZip {
    /// All done masters of this batch …
    batch: Option<String>,
    /// … or these masters.
    masters: Option<Vec<String>>,
    /// Only these formats, e.g. wav24; all where none are given.
    formats: Option<Vec<String>>,
}

/// An archive to be fetched.
#[derive(Debug, Serialize, ToSchema)]
pub struct Zip {
    /// GET it, also in ranges; whoever has the address has the files.
    url: String,
    /// Exact size.
    bytes: u64,
    /// It works until then.
    #[serde(serialize_with = "timestamp::written")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: i64,
}

/// Ask for an archive
///
/// Holds the masters and a manifest with names, sizes and SHA-256. For those who signed in.
#[utoipa::path(post, path = "/zips", tag = "artifacts", operation_id = "zip_create", request_body = NewZip,
    responses((status = 201, body = Zip), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn make(State(app): State<App>, visitor: Visitor, Json(new): Json<NewZip>) -> Answer<Response> {
    visitor.needs(Scope::Masters)?;
    if visitor.user().is_none() {
        return Err(Problem::unauthorized(
            "auth.sign_in_required",
            "sign in to download the full masters; your songs come along",
        ));
    }
    let NewZip { batch, masters, formats } = new;
    let asked = Asked { batch: batch.as_deref(), masters: masters.as_deref(), formats: formats.as_deref() };
    let (secret, zip) = zips::create(&app, &visitor, asked).await?;
    let url = app.config.api_url.with(&format!("/v1/zips/{secret}"));
    Ok((StatusCode::CREATED, Json(Zip { url, bytes: zip.bytes, expires_at: zip.expires_at })).into_response())
}

/// Fetch an archive
///
/// With `Range` and `If-Range`, so that a download that broke off goes on.
#[utoipa::path(get, path = "/zips/{capability}", tag = "artifacts", operation_id = "zip_fetch", security(()),
    params(("Range" = Option<String>, Header, description = "bytes=<from>-<to>")),
    responses((status = 200, description = "The archive", content_type = "application/zip"),
        (status = 206, description = "A part of it", content_type = "application/zip"),
        (status = 304, description = "Not changed"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn send(State(app): State<App>, Path(capability): Path<String>, headers: HeaderMap) -> Answer<Response> {
    let Found { owner, name, etag, bytes, entries } = zips::find(&app.db, &capability).await?;
    let same = |name: header::HeaderName| headers.get(name).is_some_and(|given| given.as_bytes() == etag.as_bytes());
    if same(header::IF_NONE_MATCH) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let fresh = !headers.contains_key(header::IF_RANGE) || same(header::IF_RANGE);
    let range = match headers
        .get(header::RANGE)
        .filter(|_| fresh)
        .and_then(|range| range.to_str().ok())
        .map(|range| read_range(range, bytes))
    {
        None | Some(AskedRange::Whole) => None,
        Some(AskedRange::Part(range)) => Some(range),
        Some(AskedRange::Impossible) => {
            let content_range = HeaderValue::try_from(format!("bytes */{bytes}")).map_err(Problem::internal)?;
            return Err(Problem::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "zip.range",
                format!("the archive has {bytes} bytes"),
            )
            .header(header::CONTENT_RANGE, content_range));
        }
    };
    let slot = app.zips.take(&owner, app.config.limits.zips).ok_or_else(|| {
        let most = app.config.limits.zips;
        Problem::too_many(
            "zip.too_many",
            format!("{most} archives are being downloaded already; wait for one to end"),
            10,
        )
    })?;
    let layout = Layout::new(entries);
    let span = range.clone().unwrap_or(0..bytes);
    let length = span.end - span.start;
    let (store, db) = (app.store.clone(), app.db.clone());
    // One piece after the other, as fast as the reader takes it: nothing is held but what is on its way.
    let stream = stream::iter(layout.pieces(span.clone()))
        .then(move |piece| {
            let (store, db) = (store.clone(), db.clone());
            async move {
                Ok::<_, std::io::Error>(match piece {
                    Piece::Bytes(bytes) => stream::once(async { Ok(bytes.into()) }).boxed(),
                    Piece::Object { key, range } => {
                        // Deleted while the files before it were sent: the archive ends here.
                        let master = master_of(&key).map(str::to_owned).into_iter().collect();
                        if !masters::all_there(&db, &master).await.map_err(std::io::Error::other)? {
                            return Err(std::io::Error::other(zips::deleted().to_string()));
                        }
                        let object = store.get_range(&key, range).await.map_err(std::io::Error::other)?;
                        object.stream().map_err(std::io::Error::other).boxed()
                    }
                })
            }
        })
        .try_flatten()
        .inspect(move |_: &std::io::Result<bytes::Bytes>| {
            let _held_to_the_end = &slot;
        });
    let mut response = Response::new(Body::from_stream(stream));
    let disposition = crate::store::content_disposition(&name, false);
    let head = response.headers_mut();
    let value = |text: String| HeaderValue::try_from(text).map_err(Problem::internal);
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    head.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head.insert(header::ETAG, value(etag)?);
    head.insert(header::CONTENT_DISPOSITION, value(disposition)?);
    if range.is_some() {
        head.insert(header::CONTENT_RANGE, value(format!("bytes {}-{}/{bytes}", span.start, span.end - 1))?);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

#[derive(Debug, PartialEq, Eq)]
enum AskedRange {
    Whole,
    Part(Range<u64>),
    Impossible,
}

/// RFC 9110, 14.1.2. Several ranges at once, and what is no range, are answered with everything, as it allows.
fn read_range(text: &str, bytes: u64) -> AskedRange {
    let Some(spec) = text.trim().strip_prefix("bytes=") else { return AskedRange::Whole };
    let Some((from, to)) = spec.split_once('-').filter(|_| !spec.contains(',')) else { return AskedRange::Whole };
    let digits = |text: &str| {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (digits(from.trim()), digits(to.trim())) {
        (Some(from), Some(to)) if from <= to => {
            if from < bytes {
                AskedRange::Part(from..to.saturating_add(1).min(bytes))
            } else {
                AskedRange::Impossible
            }
        }
        (Some(from), None) if to.trim().is_empty() => {
            if from < bytes {
                AskedRange::Part(from..bytes)
            } else {
                AskedRange::Impossible
            }
        }
        (None, Some(last)) if from.trim().is_empty() => {
            if last > 0 && bytes > 0 {
                AskedRange::Part(bytes - last.min(bytes)..bytes)
            } else {
                AskedRange::Impossible
            }
        }
        _ => AskedRange::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        assert_eq!(read_range("bytes=0-0", 10), AskedRange::Part(0..1));
        assert_eq!(read_range("bytes=5-", 10), AskedRange::Part(5..10));
        assert_eq!(read_range("bytes=-3", 10), AskedRange::Part(7..10));
        assert_eq!(read_range("bytes=-30", 10), AskedRange::Part(0..10));
        assert_eq!(read_range("bytes=5-500", 10), AskedRange::Part(5..10));
        for impossible in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(read_range(impossible, 10), AskedRange::Impossible, "{impossible}");
        }
        for whole in ["bytes=0-1,3-4", "items=0-1", "bytes=", "bytes=x-y", "bytes=4-2", "bytes=+1-2"] {
            assert_eq!(read_range(whole, 10), AskedRange::Whole, "{whole}");
        }
    }
}
