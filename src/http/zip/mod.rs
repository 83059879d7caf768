//! All files of a batch in one archive, as a capability on this program's own address: a download manager can take it, break off, and
//! go on. What the archive holds is fixed when it is asked for.

pub mod layout;

use super::extract::{Json, Path};
use super::problem::{Answer, Problem, ProblemBody};
use super::{App, batches};
use crate::db::{Db, hash_secret, new_id, new_secret};
use crate::domain::audit;
use crate::domain::identity::Scope;
use crate::domain::identity::Visitor;
use crate::domain::limits::{Rule, quota};
use crate::domain::masters::{self, Master, State as Is};
use crate::timestamp;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use layout::{Content, Entry, Layout, Piece, master_of};
use loopmaster_core::retention::ZIP;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::BTreeSet;
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
    let (name, album, masters) = match (&new.batch, &new.masters) {
        (Some(id), None) => {
            let batch = batches::find(&app.db, visitor.owner(), id).await?;
            (batch.name, batch.album, batch.items)
        }
        (None, Some(ids)) if (1..=1_000).contains(&ids.len()) => {
            ("Masters".to_owned(), false, masters::find_all(&app.db, visitor.owner(), ids).await?)
        }
        _ => {
            return Err(Problem::unprocessable("zip.what", "name either a batch or 1 to 1000 masters"));
        }
    };
    let wanted: Option<BTreeSet<&str>> =
        new.formats.as_ref().map(|formats| formats.iter().map(String::as_str).collect());
    let entries = entries(&app, &name, album, &masters, wanted.as_ref()).await?;
    if entries.len() < 2 {
        return Err(Problem::conflict("zip.empty", "none of these masters is done and has files of these formats"));
    }
    let bytes = Layout::new(entries.clone()).bytes();
    let secret = new_secret("lmz");
    let id = new_id("zip");
    let mut tx = app.db.begin().await?;
    let now = tx.now().await?;
    let mine = quota(&app.config.limits, &visitor);
    Rule::hourly("creates", mine.creates_an_hour).spend(&mut tx, visitor.owner_key(), 1).await?;
    sqlx::query(
        "INSERT INTO zips (id, capability_hash, owner, name, entries, bytes, etag, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&id)
    .bind(hash_secret(&secret))
    .bind(visitor.owner())
    .bind(format!("{}.zip", safe(&name)))
    .bind(serde_json::to_string(&entries).map_err(Problem::internal)?)
    .bind(bytes as i64)
    .bind(format!("\"{id}\""))
    .bind(now)
    .bind(now + ZIP)
    .execute(&mut *tx)
    .await?;
    audit::record(&mut tx, &visitor, "zip.create", &id, &format!("{} files, {bytes} bytes", entries.len()), now)
        .await?;
    tx.commit().await?;
    let url = app.config.api_url.with(&format!("/v1/zips/{secret}"));
    Ok((StatusCode::CREATED, Json(Zip { url, bytes, expires_at: now + ZIP })).into_response())
}

/// The files and their manifest.
async fn entries(
    app: &App,
    name: &str,
    album: bool,
    masters: &[Master],
    wanted: Option<&BTreeSet<&str>>,
) -> Answer<Vec<Entry>> {
    let folder = safe(name);
    let digits = masters.len().to_string().len().max(2);
    let mut taken = BTreeSet::new();
    let mut entries = Vec::new();
    let mut listed = Vec::new();
    let mut newest = 0;
    for (index, master) in masters.iter().enumerate().filter(|(_, master)| master.state == Is::Done) {
        for file in masters::artifacts(&app.db, &master.id).await? {
            if file.kind != "master" || wanted.is_some_and(|wanted| !wanted.contains(file.role.as_str())) {
                continue;
            }
            let shown = safe(&file.name);
            let shown = if album { format!("{:0digits$} {shown}", index + 1) } else { shown };
            let shown = unique(&mut taken, &shown);
            listed.push(json!({
                "file": shown, "title": master.title, "format": file.role, "bytes": file.bytes, "sha256": file.sha256,
                "seconds": master.seconds, "lufs": master.lufs, "dbtp": master.dbtp, "master": master.id,
            }));
            newest = newest.max(file.created_at);
            entries.push(Entry {
                name: format!("{folder}/{shown}"),
                bytes: file.bytes.max(0) as u64,
                crc32: file.crc32,
                time: file.created_at,
                content: Content::Key(file.key),
            });
        }
    }
    let manifest = serde_json::to_string_pretty(&json!({ "name": name, "album": album, "files": listed }))
        .map_err(Problem::internal)?;
    entries.push(Entry {
        name: format!("{folder}/{}", unique(&mut taken, "manifest.json")),
        bytes: manifest.len() as u64,
        crc32: crc32fast::hash(manifest.as_bytes()),
        time: newest,
        content: Content::Text(manifest),
    });
    Ok(entries)
}

/// A name that every file system takes.
fn safe(name: &str) -> String {
    let clean: String =
        name.chars().map(|c| if c.is_control() || "<>:\"/\\|?*".contains(c) { '_' } else { c }).collect();
    let clean = clean.trim().trim_end_matches('.');
    if clean.is_empty() { "Masters".to_owned() } else { clean.to_owned() }
}

/// `a.wav`, `a (2).wav`, … File systems that do not tell cases apart are thought of.
fn unique(taken: &mut BTreeSet<String>, name: &str) -> String {
    let mut shown = name.to_owned();
    let mut number = 2;
    while !taken.insert(shown.to_lowercase()) {
        shown = match name.rsplit_once('.') {
            Some((stem, ending)) => format!("{stem} ({number}).{ending}"),
            None => format!("{name} ({number})"),
        };
        number += 1;
    }
    shown
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
    let text = app
        .db
        .sql("SELECT owner, name, entries, bytes, etag FROM zips WHERE capability_hash = $1 AND expires_at > {now}");
    let row = sqlx::query(text).bind(hash_secret(&capability)).fetch_optional(app.db.read()).await?;
    let gone = || {
        Problem::new(StatusCode::NOT_FOUND, "zip.not_found", "this archive is unknown or has expired; ask for it again")
    };
    let row = row.ok_or_else(gone)?;
    let (owner, name, entries): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (bytes, etag): (i64, String) = (row.try_get(3)?, row.try_get(4)?);
    let bytes = bytes.max(0) as u64;
    let entries: Vec<Entry> = serde_json::from_str(&entries).map_err(Problem::internal)?;
    let masters: BTreeSet<String> =
        entries.iter().filter_map(|entry| entry.content.master()).map(str::to_owned).collect();
    if !all_there(&app.db, &masters).await? {
        return Err(deleted());
    }
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
        None | Some(Asked::Whole) => None,
        Some(Asked::Part(range)) => Some(range),
        Some(Asked::Impossible) => {
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
                        if !all_there(&db, &master)
                            .await
                            .map_err(|problem| std::io::Error::other(problem.to_string()))?
                        {
                            return Err(std::io::Error::other(deleted().to_string()));
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

fn deleted() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "zip.deleted",
        "a song of this archive was deleted since it was asked for; ask for a new one",
    )
}

/// Whether all these masters are there, and not deleted.
async fn all_there(db: &Db, masters: &BTreeSet<String>) -> Answer<bool> {
    let masters: Vec<&String> = masters.iter().collect();
    for some in masters.chunks(500) {
        let places: Vec<String> = (1..=some.len()).map(|n| format!("${n}")).collect();
        let text = format!("SELECT COUNT(*) FROM masters WHERE deleted_at IS NULL AND id IN ({})", places.join(", "));
        let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(text));
        for id in some {
            query = query.bind((*id).clone());
        }
        if query.fetch_one(db.read()).await?.unsigned_abs() != some.len() as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Impossible,
}

/// RFC 9110, 14.1.2. Several ranges at once, and what is no range, are answered with everything, as it allows.
fn read_range(text: &str, bytes: u64) -> Asked {
    let Some(spec) = text.trim().strip_prefix("bytes=") else { return Asked::Whole };
    let Some((from, to)) = spec.split_once('-').filter(|_| !spec.contains(',')) else { return Asked::Whole };
    let digits = |text: &str| {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (digits(from.trim()), digits(to.trim())) {
        (Some(from), Some(to)) if from <= to => {
            if from < bytes {
                Asked::Part(from..to.saturating_add(1).min(bytes))
            } else {
                Asked::Impossible
            }
        }
        (Some(from), None) if to.trim().is_empty() => {
            if from < bytes {
                Asked::Part(from..bytes)
            } else {
                Asked::Impossible
            }
        }
        (None, Some(last)) if from.trim().is_empty() => {
            if last > 0 && bytes > 0 {
                Asked::Part(bytes - last.min(bytes)..bytes)
            } else {
                Asked::Impossible
            }
        }
        _ => Asked::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        assert_eq!(read_range("bytes=0-0", 10), Asked::Part(0..1));
        assert_eq!(read_range("bytes=5-", 10), Asked::Part(5..10));
        assert_eq!(read_range("bytes=-3", 10), Asked::Part(7..10));
        assert_eq!(read_range("bytes=-30", 10), Asked::Part(0..10));
        assert_eq!(read_range("bytes=5-500", 10), Asked::Part(5..10));
        for impossible in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(read_range(impossible, 10), Asked::Impossible, "{impossible}");
        }
        for whole in ["bytes=0-1,3-4", "items=0-1", "bytes=", "bytes=x-y", "bytes=4-2", "bytes=+1-2"] {
            assert_eq!(read_range(whole, 10), Asked::Whole, "{whole}");
        }
    }

    #[test]
    fn names_are_safe_and_single() {
        let mut taken = BTreeSet::new();
        assert_eq!(safe("../../a:b?"), ".._.._a_b_");
        assert_eq!(safe(" . "), "Masters");
        assert_eq!(unique(&mut taken, "A.wav"), "A.wav");
        assert_eq!(unique(&mut taken, "a.wav"), "a (2).wav");
        assert_eq!(unique(&mut taken, "a.wav"), "a (3).wav");
    }
}
