//! Files of ours: embedded with their compressed forms, under names that change with their content.

use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use std::borrow::Cow;
use std::io::Read as _;

/// One embedded file.
#[derive(Clone, Copy, Debug)]
pub struct File {
    path: &'static str,
    media_type: &'static str,
    tag: &'static str,
    immutable: bool,
    form: Form,
}

/// How a file is kept: what packs well in two codings and not a third time as it is.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// As it is: sound, pictures.
    Plain(&'static [u8]),
    /// Packed only.
    Packed {
        /// By Brotli.
        brotli: &'static [u8],
        /// By gzip.
        gzip: &'static [u8],
    },
}

/// What a page has to load for one entry of the web build. Paths, ready for `href` and `src`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The entry's name.
    pub name: &'static str,
    /// The module to run; empty for an entry that is a stylesheet.
    pub script: &'static str,
    /// Stylesheets.
    pub styles: &'static [&'static str],
    /// Modules the script imports, for `modulepreload`.
    pub modules: &'static [&'static str],
}

mod table {
    use super::{Entry, File, Form};
    include!(concat!(env!("OUT_DIR"), "/assets.rs"));
}

/// The entry of this name; a build without a web build has none but `plain`.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    table::ENTRIES.iter().find(|entry| entry.name == name)
}

/// The file at a path.
#[must_use]
pub fn file(path: &str) -> Option<&'static File> {
    table::FILES.iter().find(|file| file.path == path)
}

/// The paths of all files.
pub fn paths() -> impl Iterator<Item = &'static str> {
    table::FILES.iter().map(|file| file.path)
}

impl File {
    /// Answers a request for it: compressed as the browser likes best, a range of it (Safari plays audio so), or 304.
    #[must_use]
    pub fn answer(&self, asked: &HeaderMap) -> Response<Cow<'static, [u8]>> {
        let (coding, bytes) = self.body(asked);
        let tag = if coding.is_empty() { format!("\"{}\"", self.tag) } else { format!("\"{}-{coding}\"", self.tag) };
        let mut response = Response::new(bytes);
        let headers = response.headers_mut();
        let caching = if self.immutable { "public, max-age=31536000, immutable" } else { "public, max-age=3600" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if !coding.is_empty() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        if matches_tag(asked, &tag) {
            headers.remove(header::CONTENT_ENCODING);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Cow::Borrowed(&[]);
            return response;
        }
        if matches!(self.form, Form::Plain(_)) {
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            cut(&mut response, asked, &tag);
        }
        response
    }

    fn body(&self, asked: &HeaderMap) -> (&'static str, Cow<'static, [u8]>) {
        match self.form {
            Form::Plain(bytes) => ("", Cow::Borrowed(bytes)),
            Form::Packed { brotli, .. } if accepts(asked, "br") => ("br", Cow::Borrowed(brotli)),
            Form::Packed { gzip, .. } if accepts(asked, "gzip") => ("gzip", Cow::Borrowed(gzip)),
            Form::Packed { gzip, .. } => {
                let mut bytes = Vec::new();
                // What the build packed can be unpacked; a test does it for every file.
                let unpacked = GzDecoder::new(gzip).read_to_end(&mut bytes).is_ok();
                ("", Cow::Owned(if unpacked { bytes } else { Vec::new() }))
            }
        }
    }
}

/// Whether the browser takes a content coding.
#[must_use]
pub fn accepts(asked: &HeaderMap, coding: &str) -> bool {
    let lines = asked.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused =
            parts.any(|part| part.replace(' ', "").strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32)));
        name.eq_ignore_ascii_case(coding) && !refused
    })
}

/// `If-None-Match` names this tag.
#[must_use]
pub fn matches_tag(asked: &HeaderMap, tag: &str) -> bool {
    let lines = asked.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|item| item == "*" || item.trim_start_matches("W/") == tag)
}

/// Cuts a whole answer down to the one range that was asked for, if it can be had; several ranges get the whole.
fn cut(response: &mut Response<Cow<'static, [u8]>>, asked: &HeaderMap, tag: &str) {
    let said = |name: &HeaderName| asked.get(name).and_then(|value| value.to_str().ok());
    let Some(spec) = said(&header::RANGE).and_then(|range| range.trim().strip_prefix("bytes=")) else { return };
    if said(&header::IF_RANGE).is_some_and(|wanted| wanted != tag) || spec.contains(',') {
        return;
    }
    let length = response.body().len();
    let Some((first, last)) = spec.split_once('-') else { return };
    let range = match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Ok(first), _) if last.trim().is_empty() => first..length,
        (_, Ok(suffix)) if first.trim().is_empty() => length.saturating_sub(suffix)..length,
        _ => return,
    };
    let (status, said) = if range.is_empty() || range.start >= length {
        *response.body_mut() = Cow::Borrowed(&[]);
        (StatusCode::RANGE_NOT_SATISFIABLE, format!("bytes */{length}"))
    } else {
        let said = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        if let Cow::Borrowed(bytes) = *response.body() {
            *response.body_mut() = Cow::Borrowed(&bytes[range]);
        }
        (StatusCode::PARTIAL_CONTENT, said)
    };
    *response.status_mut() = status;
    if let Ok(said) = HeaderValue::from_str(&said) {
        response.headers_mut().insert(header::CONTENT_RANGE, said);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: File = File {
        path: "/assets/a.css",
        media_type: "text/css",
        tag: "abc",
        immutable: true,
        form: Form::Packed { brotli: b"br", gzip: b"gz" },
    };
    const SOUND: File = File { form: Form::Plain(b"0123456789"), ..TEXT };

    fn asked(headers: &[(HeaderName, &'static str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_best_coding_the_browser_takes_is_sent() {
        for (accept, coding, body) in [
            ("gzip, deflate, br, zstd", "br", &b"br"[..]),
            ("gzip;q=0.5, br;q=0", "gzip", b"gz"),
            ("GZIP", "gzip", b"gz"),
        ] {
            let answer = TEXT.answer(&asked(&[(header::ACCEPT_ENCODING, accept)]));
            let said = answer.headers().get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap());
            assert_eq!((said, &**answer.body()), (coding, body), "{accept}");
            assert!(answer.headers()[header::CACHE_CONTROL].to_str().unwrap().ends_with("immutable"));
        }
    }

    #[test]
    fn a_known_tag_is_not_sent_again() {
        let tag = TEXT.answer(&HeaderMap::new()).headers()[header::ETAG].clone();
        assert_eq!(tag, "\"abc\"");
        let again = TEXT.answer(&asked(&[(header::IF_NONE_MATCH, "\"old\", W/\"abc\"")]));
        assert_eq!((again.status(), again.body().len()), (StatusCode::NOT_MODIFIED, 0));
        let packed = TEXT.answer(&asked(&[(header::IF_NONE_MATCH, "\"abc\""), (header::ACCEPT_ENCODING, "br")]));
        assert_eq!(packed.status(), StatusCode::OK, "another form is another thing");
    }

    #[test]
    fn sound_can_be_had_in_parts() {
        for (range, status, body, said) in [
            ("bytes=2-4", 206, "234", "bytes 2-4/10"),
            ("bytes=7-", 206, "789", "bytes 7-9/10"),
            ("bytes=-2", 206, "89", "bytes 8-9/10"),
            ("bytes=8-99", 206, "89", "bytes 8-9/10"),
            ("bytes=10-", 416, "", "bytes */10"),
            ("bytes=0-1,3-4", 200, "0123456789", ""),
            ("bytes=4-2", 200, "0123456789", ""),
            ("lines=1", 200, "0123456789", ""),
        ] {
            let answer = SOUND.answer(&asked(&[(header::RANGE, range)]));
            assert_eq!((answer.status().as_u16(), &**answer.body()), (status, body.as_bytes()), "{range}");
            let content = answer.headers().get(header::CONTENT_RANGE).map_or("", |value| value.to_str().unwrap());
            assert_eq!(content, said, "{range}");
        }
        let stale = SOUND.answer(&asked(&[(header::RANGE, "bytes=2-4"), (header::IF_RANGE, "\"old\"")]));
        assert_eq!(stale.status(), StatusCode::OK);
    }

    #[test]
    fn every_file_can_be_had_unpacked() {
        for file in table::FILES {
            let got = file.answer(&asked(&[(header::ACCEPT_ENCODING, "identity")]));
            assert!(!got.headers().contains_key(header::CONTENT_ENCODING));
            assert!(!got.body().is_empty(), "{}", file.path);
        }
    }

    #[test]
    fn every_entry_loads_files_that_exist() {
        assert!(!table::ENTRIES.is_empty());
        for entry in table::ENTRIES {
            let script = Some(entry.script).filter(|script| !script.is_empty());
            for path in script.iter().chain(entry.styles).chain(entry.modules) {
                assert!(file(path).is_some_and(|file| file.immutable), "{}: {path}", entry.name);
            }
        }
    }
}
