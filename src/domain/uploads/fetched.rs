//! A mix that the service fetches from an address: part by part into storage, with the bytes counted against the quota before they come.
//!
//! A connection that breaks off is gone on with where it broke, if the other side says that the file is still the same, and begun anew
//! otherwise. The address is kept sealed, only until the fetching ends, and is neither logged nor shown: it may carry a key. What a worker
//! that died has fetched is fetched again.

use super::complete::{complete_known, settle};
use super::room::{self, Sender};
use super::row::{Failure, Row, State, load};
use super::{FETCH, drop_parts, mark_for_deletion};
use crate::config::Config;
use crate::db::Tx;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::limits;
use crate::outside::fetch::{self, Failed, Mark};
use crate::outside::webhooks::guard::Guard;
use crate::queue::{self, NewJob};
use crate::service::Service;
use bytes::BytesMut;
use std::time::Duration;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

/// For one file in all.
const LONGEST: Duration = Duration::from_hours(1);
/// Over this time …
const WINDOW: Duration = Duration::from_mins(1);
/// … at least so many bytes have to come: 16 KiB a second.
const LEAST: u64 = 60 * (16 << 10);
/// Breaks in a row without a whole part between them.
const BREAKS: u32 = 5;
/// How often a file is begun anew because the other side cannot send a rest.
const BEGINNINGS: u32 = 3;

fn purpose(upload: &str) -> String {
    format!("address of {upload}")
}

/// What can be said of an address before it is called; only its path gives the file a name.
pub fn address(config: &Config, url: &str) -> Result<Url> {
    let guard = Guard::of(config);
    guard.form(url).map_err(|refused| Error::invalid("fetch.url", refused.to_string()))
}

/// `https://host/a/My%20song.wav?key=…` → `My song.wav`
#[must_use]
pub fn name_of(url: &Url) -> String {
    let last = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
    // As the value of a form, whose own signs are taken literally.
    let plain = last.replace('+', "%2B").replace('&', "%26");
    let value = form_urlencoded::parse(format!("name={plain}").as_bytes()).next().map(|(_, value)| value.into_owned());
    value.filter(|name| !name.is_empty()).unwrap_or_else(|| "mix".to_owned())
}

/// The address as a row keeps it.
pub(super) fn sealed(config: &Config, upload: &str, url: &Url) -> String {
    config.keys().seal(&purpose(upload), url.as_str().as_bytes())
}

/// A worker is to fetch it.
pub(super) async fn enqueue(tx: &mut Tx, upload: &str) -> Result<()> {
    queue::enqueue(tx, &NewJob::chore(FETCH, upload, String::new())).await?;
    Ok(())
}

/// How an attempt ended.
enum Ended {
    /// It is given up, or over: nobody waits for it.
    Over,
    /// It does not come, and will not.
    Failed(Failure),
    /// Something of ours failed.
    Ours(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        if error.is_refusal() {
            Self::Failed(Failure { code: error.code().to_owned(), detail: error.detail().to_owned() })
        } else {
            Self::Ours(error)
        }
    }
}

/// Does a job of kind [`FETCH`]. `last`: it is not tried again, whatever fails.
pub async fn fetch(service: &Service, guard: &Guard, id: &str, last: bool) -> Result<()> {
    let row = match load(&service.db, id).await {
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        row => row?,
    };
    let done = match row.state {
        State::Uploading => bring(service, guard, &row).await,
        // A worker died in the middle of it.
        State::Completing => settle(service, id).await.map(drop).map_err(Ended::from),
        State::Stored | State::Aborted | State::Gone => Ok(()),
    };
    match done {
        Ok(()) => forget(service, id).await,
        Err(Ended::Over) => Ok(()),
        Err(Ended::Failed(failure)) => give_up(service, &row, &failure).await,
        Err(Ended::Ours(error)) if last => {
            let detail = "the service could not keep the file; order it again later".to_owned();
            give_up(service, &row, &Failure { code: "fetch.failed".to_owned(), detail }).await?;
            Err(error)
        }
        Err(Ended::Ours(error)) => Err(error),
    }
}

/// The address is not needed any more.
async fn forget(service: &Service, id: &str) -> Result<()> {
    let mut tx = service.db.begin().await?;
    sqlx::query("UPDATE uploads SET source = '' WHERE id = $1 AND source <> ''").bind(id).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

async fn give_up(service: &Service, row: &Row, failure: &Failure) -> Result<()> {
    let now = service.db.now().await?;
    let mut tx = service.db.begin().await?;
    let text = "UPDATE uploads SET state = 'aborted', updated_at = $2, title = NULL, settings = NULL, fingerprint = '',
        reference_upload = NULL, source = '', failure = $3 WHERE id = $1 AND state IN ('uploading', 'aborted')";
    let failure = serde_json::to_string(failure).map_err(Error::internal)?;
    sqlx::query(text).bind(&row.id).bind(now).bind(failure).execute(&mut *tx).await?;
    mark_for_deletion(&mut tx, row, now).await?;
    tx.commit().await?;
    drop_parts(service, row).await;
    Ok(())
}

/// What of a file has come.
#[derive(Default)]
struct Got {
    /// Numbers and tags of the parts that storage has.
    parts: Vec<(u64, String)>,
    /// What is in no part yet.
    open: BytesMut,
    bytes: u64,
    total: Option<u64>,
    mark: Option<Mark>,
    beginnings: u32,
    breaks: u32,
}

async fn bring(service: &Service, guard: &Guard, row: &Row) -> Result<(), Ended> {
    let opened = row.source.as_deref().and_then(|sealed| service.config.keys().open(&purpose(&row.id), sealed));
    let url = opened.and_then(|plain| Url::parse(std::str::from_utf8(&plain).ok()?).ok());
    let Some(url) = url else {
        let detail = "the address cannot be opened any more, the service's key has changed; order it again".to_owned();
        return Err(Ended::Failed(Failure { code: "fetch.failed".to_owned(), detail }));
    };
    let mut got = Got::default();
    let all = async {
        loop {
            let failed = match read(service, guard, row, &url, &mut got).await {
                Ok(done) => return done,
                Err(failed) => failed,
            };
            got.breaks += 1;
            let Some(wait) = failed.again.filter(|_| got.breaks <= BREAKS) else {
                let Failed { code, detail, .. } = failed;
                return Err(Ended::Failed(Failure { code: code.to_owned(), detail }));
            };
            tokio::time::sleep(wait.max(Duration::from_millis(250) * 2_u32.pow(got.breaks))).await;
        }
    };
    let Ok(done) = tokio::time::timeout(LONGEST, all).await else {
        let detail = format!("the file did not come within {} minutes", LONGEST.as_secs() / 60);
        return Err(Ended::Failed(Failure { code: "fetch.too_slow".to_owned(), detail }));
    };
    done?;
    // With what was counted for it meanwhile.
    let row = load(&service.db, &row.id).await?;
    complete_known(service, &row, got.parts).await?;
    Ok(())
}

/// Reads over one connection. Outside: the connection failed; inside: it is all there, or there is no use in going on.
async fn read(
    service: &Service,
    guard: &Guard,
    row: &Row,
    url: &Url,
    got: &mut Got,
) -> Result<Result<(), Ended>, Failed> {
    let limit = service.config.limits.file_bytes;
    let mut coming = fetch::ask(guard, url, got.bytes, got.mark.as_ref()).await?;
    if coming.begins == 0 {
        let beginnings = got.beginnings + 1;
        if beginnings > BEGINNINGS {
            let detail = "the connection broke off again and again, and the file cannot be fetched in pieces there";
            return Err(Failed::final_("fetch.broken", detail));
        }
        *got = Got { beginnings, breaks: got.breaks, total: coming.total, mark: coming.mark.take(), ..Got::default() };
    } else if got.total.is_some() && coming.total != got.total {
        return Err(Failed::final_("fetch.changed", "the file changed while it was fetched; order it again"));
    }
    if let Some(total) = got.total.filter(|total| *total <= limit)
        && let Err(ended) = reserve(service, row, total).await
    {
        return Ok(Err(ended));
    }
    let mut window = (Instant::now(), 0);
    loop {
        if got.total.unwrap_or(got.bytes) > limit {
            let detail = format!("“{}” has more than {limit} bytes, and that is the limit", row.name);
            return Ok(Err(Ended::Failed(Failure { code: "decode.too_large".to_owned(), detail })));
        }
        let Some(chunk) = coming.next().await? else { break };
        got.bytes += chunk.len() as u64;
        got.open.extend_from_slice(&chunk);
        window.1 += chunk.len() as u64;
        if window.0.elapsed() > WINDOW {
            if window.1 < LEAST {
                let detail =
                    format!("{} bytes came in a minute; put the file where it can be fetched faster", window.1);
                return Err(Failed::final_("fetch.too_slow", detail));
            }
            window = (Instant::now(), 0);
        }
        while got.open.len() as u64 >= row.part_bytes.max(1) {
            if let Err(ended) = keep(service, row, got, row.part_bytes as usize).await {
                return Ok(Err(ended));
            }
            got.breaks = 0;
        }
    }
    match got.total {
        Some(total) if got.bytes < total => {
            return Err(Failed::passing("fetch.broken", format!("{} of {total} bytes came", got.bytes)));
        }
        Some(total) if got.bytes > total => {
            let detail = format!("{total} bytes were announced and {} came", got.bytes);
            return Err(Failed::final_("fetch.answered", detail));
        }
        _ => {}
    }
    if got.bytes == 0 {
        let detail = format!("“{}” is empty; export it again", row.name);
        return Ok(Err(Ended::Failed(Failure { code: "decode.empty".to_owned(), detail })));
    }
    let rest = got.open.len();
    Ok(if rest == 0 { Ok(()) } else { keep(service, row, got, rest).await })
}

/// Puts the first bytes that are in no part into the next one.
async fn keep(service: &Service, row: &Row, got: &mut Got, bytes: usize) -> Result<(), Ended> {
    let Some(upload) = &row.s3_upload else { return Err(Error::internal("nothing to put parts into").into()) };
    if got.total.is_none() {
        reserve(service, row, got.bytes).await?;
    }
    let number = got.parts.len() as u16 + 1;
    let part = got.open.split_to(bytes).freeze();
    match service.store.put_part_bytes(&row.client_key, upload, number, part).await {
        Ok(tag) => got.parts.push((number.into(), tag)),
        Err(error) if error.is_not_found() => return Err(Ended::Over),
        Err(error) => return Err(Ended::Ours(error.into())),
    }
    Ok(())
}

/// Counts so many bytes for it, where they fit.
async fn reserve(service: &Service, row: &Row, bytes: u64) -> Result<(), Ended> {
    service.health.room(bytes)?;
    let now = service.db.now().await.map_err(Error::from)?;
    let mut tx = service.db.begin().await.map_err(Error::from)?;
    limits::lock_bytes(&mut tx, &row.owner_key).await?;
    let text = "SELECT reserved FROM uploads WHERE id = $1 AND state = 'uploading'";
    let before: Option<i64> =
        sqlx::query_scalar(text).bind(&row.id).fetch_optional(&mut *tx).await.map_err(Error::from)?;
    let Some(before) = before else { return Err(Ended::Over) };
    let sender = Sender { owner: &row.owner, owner_key: &row.owner_key, grant: None };
    let room = room::room(&mut tx, &service.config.limits, sender, now).await?;
    if bytes > room.left.saturating_add(before.max(0) as u64) {
        return Err(room.refusal().into());
    }
    sqlx::query("UPDATE uploads SET reserved = $2, updated_at = $3 WHERE id = $1")
        .bind(&row.id)
        .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
        .bind(now)
        .execute(&mut *tx)
        .await
        .map_err(Error::from)?;
    tx.commit().await.map_err(Error::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_paths() {
        let name = |url: &str| name_of(&Url::parse(url).unwrap());
        assert_eq!(name("https://a.example/b/My%20song.wav?key=secret#x"), "My song.wav");
        assert_eq!(name("https://a.example/a+b=c&d.wav"), "a+b=c&d.wav");
        assert_eq!((name("https://a.example/"), name("https://a.example/b/")), ("mix".to_owned(), "mix".to_owned()));
        assert!(!name("https://a.example/%2e%2e%2fx%00.wav?key=secret").contains("secret"));
    }

    #[test]
    fn an_address_opens_only_for_its_upload() {
        let config =
            Config { secret: crate::config::Secret::new("a service key for tests, long enough"), ..Config::default() };
        let url = Url::parse("https://a.example/x.wav?key=secret").unwrap();
        let kept = sealed(&config, "upl_1", &url);
        assert!(!kept.contains("secret") && !kept.contains("a.example"));
        assert_eq!(config.keys().open(&purpose("upl_1"), &kept).as_deref(), Some(url.as_str().as_bytes()));
        assert_eq!(config.keys().open(&purpose("upl_2"), &kept), None);
    }
}
