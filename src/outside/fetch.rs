//! Reads a file from an address that somebody named: from a host the guard has looked at, also after each redirect.
//! Nothing here repeats an address: what it carries may be a key.

use super::webhooks::guard::{Guard, Refused};
use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, LOCATION,
    RANGE, RETRY_AFTER,
};
use reqwest::{Client, StatusCode};
use std::time::Duration;
use url::Url;

/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// For a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// For each answer's head, and for each next byte.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest wait that the other side is granted.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// `fetch.what`
    pub code: &'static str,
    /// With the values and the way out, without the address.
    pub detail: String,
    /// After what time it may succeed; `None`: never.
    pub again: Option<Duration>,
}

impl Failed {
    /// The same again would fail the same.
    #[must_use]
    pub fn final_(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), again: None }
    }

    /// Another try may help.
    #[must_use]
    pub fn passing(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), again: Some(Duration::ZERO) }
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        match &refused {
            Refused::Form(_) => Self::final_("fetch.url", refused.to_string()),
            Refused::NotPublic { .. } => Self::final_("fetch.not_public", refused.to_string()),
            Refused::Unresolved { .. } => Self::passing("fetch.unreachable", refused.to_string()),
        }
    }
}

/// Which state of the file was read, so that the rest can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        // A weak tag says nothing of bytes.
        let tag = text(ETAG).filter(|tag| !tag.starts_with("W/"));
        tag.or_else(|| text(LAST_MODIFIED)).map(|mark| Self(mark.to_owned()))
    }
}

/// A file on its way.
#[derive(Debug)]
pub struct Coming {
    /// Where in the file it begins.
    pub begins: u64,
    /// Size of the whole file, where the other side says it.
    pub total: Option<u64>,
    /// With it the rest can be asked for after a break.
    pub mark: Option<Mark>,
    body: reqwest::Response,
}

impl Coming {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failed> {
        self.body.chunk().await.map_err(|error| broken(&error))
    }
}

/// Asks for the file from `at` on, where `mark` says that it is still the same. It may come from its beginning all the same.
pub async fn ask(guard: &Guard, url: &Url, at: u64, mark: Option<&Mark>) -> Result<Coming, Failed> {
    let mut url = url.clone();
    let rest = mark.filter(|_| at > 0);
    for _ in 0..=REDIRECTS {
        let form = guard.form(url.as_str())?;
        let address = guard.pin(&form).await?;
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .user_agent(concat!("LoopMastering/", env!("CARGO_PKG_VERSION")))
            .resolve(form.host_str().unwrap_or_default(), address)
            .build()
            .map_err(|_| Failed::passing("fetch.unreachable", "no connection could be prepared"))?;
        let mut request = client.get(form.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some(Mark(mark)) = rest {
            request = request.header(RANGE, format!("bytes={at}-")).header(IF_RANGE, mark);
        }
        let answer = match tokio::time::timeout(SILENCE, request.send()).await {
            Ok(answer) => answer.map_err(|error| broken(&error))?,
            Err(_) => return Err(silent()),
        };
        if !answer.status().is_redirection() {
            return judged(answer, if rest.is_some() { at } else { 0 });
        }
        let next = answer.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        url = next.and_then(|place| form.join(place).ok()).ok_or_else(|| {
            Failed::final_("fetch.answered", format!("it answered {} without saying where to", answer.status()))
        })?;
    }
    let detail = format!("it redirects more than {REDIRECTS} times; use the address of the file itself");
    Err(Failed::final_("fetch.redirects", detail))
}

fn judged(answer: reqwest::Response, at: u64) -> Result<Coming, Failed> {
    let (status, headers) = (answer.status(), answer.headers());
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mark = Mark::of(headers);
    if status == StatusCode::PARTIAL_CONTENT && at > 0 {
        let (begins, total) = stretch(text(CONTENT_RANGE)).unwrap_or_default();
        if begins != at {
            let detail = format!("asked for the rest from byte {at}, it sent another stretch of the file");
            return Err(Failed::final_("fetch.answered", detail));
        }
        return Ok(Coming { begins, total, mark, body: answer });
    }
    if status == StatusCode::RANGE_NOT_SATISFIABLE && at > 0 {
        return Err(Failed::final_("fetch.changed", "the file became shorter while it was fetched; order it again"));
    }
    if status != StatusCode::OK {
        let detail =
            format!("it answered {status}; check that the address works without signing in and has not expired");
        let wait = text(RETRY_AFTER).parse().map_or(Duration::ZERO, Duration::from_secs);
        let passes = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY);
        return Err(Failed { code: "fetch.answered", detail, again: passes.then(|| wait.min(LONGEST_WAIT)) });
    }
    let encoding = text(CONTENT_ENCODING);
    if !matches!(encoding, "" | "identity") {
        return Err(Failed::final_("fetch.not_a_file", "it sends the file compressed, although it was asked not to"));
    }
    let media_type = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if matches!(media_type.as_str(), "text/html" | "application/xhtml+xml") {
        let detail = "there is a web page at this address; use the address of the file itself";
        return Err(Failed::final_("fetch.not_a_file", detail));
    }
    Ok(Coming { begins: 0, total: answer.content_length(), mark, body: answer })
}

/// `bytes 5-9/10` → 5, 10
fn stretch(range: &str) -> Option<(u64, Option<u64>)> {
    let (span, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((span.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

fn silent() -> Failed {
    Failed::passing("fetch.too_slow", format!("nothing came for {} s", SILENCE.as_secs()))
}

/// In our own words: those of the client repeat the address.
fn broken(error: &reqwest::Error) -> Failed {
    if error.is_timeout() {
        silent()
    } else if error.is_connect() {
        Failed::passing("fetch.unreachable", "no connection, or no valid certificate")
    } else {
        Failed::passing("fetch.broken", "the connection broke off")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_read_and_nonsense_is_not() {
        assert_eq!(stretch("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(stretch("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "bytes */10", "bytes x-9/10", "items 5-9/10", "bytes -9/10"] {
            assert_eq!(stretch(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_what_stands_for_the_same_bytes_is_a_mark() {
        let mut headers = HeaderMap::new();
        assert_eq!(Mark::of(&headers), None);
        headers.insert(ETAG, "W/\"a\"".parse().unwrap());
        assert_eq!(Mark::of(&headers), None);
        headers.insert(LAST_MODIFIED, "Tue, 01 Dec 2026 13:00:00 GMT".parse().unwrap());
        assert_eq!(Mark::of(&headers), Some(Mark("Tue, 01 Dec 2026 13:00:00 GMT".to_owned())));
        headers.insert(ETAG, "\"a\"".parse().unwrap());
        assert_eq!(Mark::of(&headers), Some(Mark("\"a\"".to_owned())));
    }
}
