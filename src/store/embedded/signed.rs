//! What a request may carry: nothing that changes what it does and that its signature does not cover. s3s checks that a signature fits
//! what it covers; that it covers enough is checked here, before anything else reads the request.
//!
//! S3 demands the same: every `x-amz-*` header and the host are signed. Whoever holds a presigned URL could otherwise turn an upload
//! into a copy of somebody else's object with one more header.

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request};
use s3s::{Body, S3Result, s3_error};
use std::collections::HashSet;

/// Longest life of a presigned URL.
const LONGEST_EXPIRY: u32 = 7 * 24 * 3600;
/// What S3 acts on: headers and query parameters with this beginning.
const PREFIX: &str = "x-amz-";
/// Names the object a copy is made from.
const COPY_SOURCE: &str = "x-amz-copy-source";
/// A query parameter of our own on presigned URLs of parts whose size nobody announced: the most bytes the part may have, and no more
/// than the part that is there already. Other stores ignore parameters that begin with `x-`.
pub(in crate::store) const MOST_BYTES: &str = "x-most-bytes";

/// How a request proves where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A signature in the `Authorization` header: the operator's own programs.
    Header,
    /// A signature in the URL: whoever was handed it.
    Url,
    /// The signed policy of a form, checked with its fields.
    Form,
}

/// Refuses what carries more than was signed.
pub(super) fn check(request: &Request<Body>) -> S3Result<Proof> {
    let headers = request.headers();
    let query = parameters(request.uri().query());
    let value =
        |name: &str| query.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
    let mut once = HashSet::new();
    for (name, _) in &query {
        let name = name.to_ascii_lowercase();
        if (name.starts_with(PREFIX) || name == MOST_BYTES) && !once.insert(name.clone()) {
            return Err(s3_error!(AuthorizationQueryParametersError, "The parameter {name} comes twice"));
        }
    }
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    let authorization = authorizations.next();
    if authorizations.next().is_some() {
        return Err(s3_error!(InvalidRequest, "The header authorization comes twice"));
    }
    // Version 2 signs neither the host nor the length.
    let old = authorization.is_some_and(|value| value.as_bytes().starts_with(b"AWS "));
    if old || value("Signature").is_some() {
        return Err(s3_error!(InvalidRequest, "Please use AWS4-HMAC-SHA256"));
    }
    let url = value("X-Amz-Signature").is_some();
    if request.method() == Method::POST && is_form(headers) {
        if authorization.is_some() || url {
            return Err(s3_error!(InvalidRequest, "Forms are signed by their policy and by nothing else"));
        }
        if let Some(name) = amz_headers(headers).next().or_else(|| once.iter().next().map(String::as_str)) {
            return Err(unsigned(name));
        }
        return Ok(Proof::Form);
    }
    match (authorization, url) {
        (Some(_), true) => Err(s3_error!(InvalidRequest, "Sign in the URL or in the header, not in both")),
        (None, false) => Err(s3_error!(AccessDenied, "The request is not signed")),
        (Some(authorization), false) => {
            let text = authorization.to_str().unwrap_or_default();
            let signed = text.split([',', ' ']).find_map(|part| part.trim().strip_prefix("SignedHeaders="));
            all_signed(headers, signed.unwrap_or_default())?;
            Ok(Proof::Header)
        }
        (None, true) => {
            let expires = value("X-Amz-Expires").and_then(|seconds| seconds.parse::<u32>().ok());
            if expires.is_some_and(|seconds| seconds > LONGEST_EXPIRY) {
                return Err(s3_error!(AuthorizationQueryParametersError, "X-Amz-Expires is at most {LONGEST_EXPIRY}"));
            }
            all_signed(headers, value("X-Amz-SignedHeaders").unwrap_or_default())?;
            // A URL is for bytes that come or go, never for moving them about behind the service's back.
            if headers.contains_key(COPY_SOURCE) || once.contains(COPY_SOURCE) {
                return Err(s3_error!(AccessDenied, "Copies are signed in the header authorization, not in a URL"));
            }
            Ok(Proof::Url)
        }
    }
}

/// The most bytes a part may have by the URL it is sent with; `None`: the URL says nothing of it.
pub(super) fn most_bytes(query: Option<&str>) -> S3Result<Option<u64>> {
    let Some((_, value)) = parameters(query).into_iter().find(|(name, _)| name == MOST_BYTES) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| s3_error!(InvalidArgument, "{MOST_BYTES} is a number of bytes"))
}

/// Whether the signature stands in the URL.
pub(super) fn by_url(query: Option<&str>) -> bool {
    parameters(query).iter().any(|(name, _)| name.eq_ignore_ascii_case("X-Amz-Signature"))
}

fn parameters(query: Option<&str>) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

/// Any header that a reader might take for a form, so that nobody but our own reader of forms reads one.
fn is_form(headers: &HeaderMap) -> bool {
    let form = |value: &hyper::header::HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        text.contains("multipart/form-data")
    };
    headers.get_all(CONTENT_TYPE).iter().any(form)
}

fn amz_headers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.keys().map(hyper::header::HeaderName::as_str).filter(|name| name.starts_with(PREFIX))
}

fn all_signed(headers: &HeaderMap, signed: &str) -> S3Result<()> {
    let signed: HashSet<&str> = signed.split(';').collect();
    if !signed.contains(HOST.as_str()) {
        return Err(unsigned(HOST.as_str()));
    }
    for name in amz_headers(headers) {
        if !signed.contains(name) {
            return Err(unsigned(name));
        }
        // Left out of what is verified, and still read by somebody.
        if headers.get_all(name).iter().any(|value| std::str::from_utf8(value.as_bytes()).is_err()) {
            return Err(s3_error!(InvalidRequest, "The header {name} is not UTF-8"));
        }
    }
    Ok(())
}

fn unsigned(name: &str) -> s3s::S3Error {
    s3_error!(AccessDenied, "There were headers present in the request which were not signed: {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str =
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Date=d&X-Amz-Expires=60&X-Amz-Signature=s";

    fn code(request: hyper::http::request::Builder) -> Result<Proof, String> {
        check(&request.body(Body::empty()).unwrap()).map_err(|error| error.code().as_str().to_owned())
    }

    fn put(more: &str) -> hyper::http::request::Builder {
        Request::put(format!("/b/k?{SCOPE}&X-Amz-SignedHeaders=content-length%3Bhost{more}"))
    }

    #[test]
    fn urls_carry_nothing_unsigned() {
        assert_eq!(code(put("")), Ok(Proof::Url));
        assert_eq!(code(put("").header("content-type", "audio/wav").header("range", "bytes=0-1")), Ok(Proof::Url));
        for name in ["x-amz-copy-source", "X-AMZ-ACL", "x-amz-meta-a", "x-amz-tagging", "x-amz-anything-new"] {
            assert_eq!(code(put("").header(name, "v")), Err("AccessDenied".to_owned()), "{name}");
            assert_eq!(code(put("").header(name, "")), Err("AccessDenied".to_owned()), "{name} without a value");
        }
        // Signed, and still no copy.
        let query = format!("/b/k?{SCOPE}&X-Amz-SignedHeaders=host%3Bx-amz-copy-source");
        let copy = Request::put(query).header("x-amz-copy-source", "b/other");
        assert_eq!(code(copy), Err("AccessDenied".to_owned()));
        assert_eq!(code(put("&X-Amz-Copy-Source=b%2Fother")), Err("AccessDenied".to_owned()));
        let twice = "AuthorizationQueryParametersError".to_owned();
        assert_eq!(code(put("&X-Amz-Expires=9")), Err(twice.clone()));
        assert_eq!(code(put("&x-amz-expires=9")), Err(twice.clone()));
        assert_eq!(code(put("&x-most-bytes=1&x-most-bytes=2")), Err(twice));
        assert_eq!(code(put("").header("authorization", "AWS4-HMAC-SHA256 x")), Err("InvalidRequest".to_owned()));
        assert_eq!(code(Request::get("/b/k")), Err("AccessDenied".to_owned()));
        let hostless = Request::get(format!("/b/k?{SCOPE}&X-Amz-SignedHeaders=range"));
        assert_eq!(code(hostless), Err("AccessDenied".to_owned()));
    }

    #[test]
    fn headers_are_signed_all_or_none() {
        let with = |signed: &str| {
            let text =
                format!("AWS4-HMAC-SHA256 Credential=a/d/r/s3/aws4_request, SignedHeaders={signed}, Signature=s");
            Request::put("/b/k").header("authorization", text).header("x-amz-date", "d")
        };
        assert_eq!(code(with("host;x-amz-date")), Ok(Proof::Header));
        assert_eq!(code(with("host")), Err("AccessDenied".to_owned()));
        assert_eq!(code(with("host;x-amz-date").header("x-amz-copy-source", "b/o")), Err("AccessDenied".to_owned()));
        let signed = with("host;x-amz-copy-source;x-amz-date").header("x-amz-copy-source", "b/o");
        assert_eq!(code(signed), Ok(Proof::Header));
        assert_eq!(code(with("host;x-amz-date").header("authorization", "AWS4")), Err("InvalidRequest".to_owned()));
        let binary = hyper::header::HeaderValue::from_bytes(b"b/\xff").unwrap();
        let binary = with("host;x-amz-copy-source;x-amz-date").header("x-amz-copy-source", binary);
        assert_eq!(code(binary), Err("InvalidRequest".to_owned()));
    }

    #[test]
    fn forms_have_their_policy_only() {
        let form = |path: &str| Request::post(path).header("content-type", "multipart/form-data; boundary=x");
        assert_eq!(code(form("/b")), Ok(Proof::Form));
        assert_eq!(code(form("/b").header("x-amz-acl", "public-read")), Err("AccessDenied".to_owned()));
        assert_eq!(code(form("/b?x-amz-acl=public-read")), Err("AccessDenied".to_owned()));
        assert_eq!(code(form("/b").header("authorization", "x")), Err("InvalidRequest".to_owned()));
        assert_eq!(code(Request::post("/b").header("content-type", "Multipart/Form-Data")), Ok(Proof::Form));
    }
}
