//! Parts of answers that pages and forms share.

use crate::context::Data;
use crate::world::{Body, Reply};
use http::{HeaderValue, Response, StatusCode, header};

/// Sets the cookies an answer of the api asked for.
pub(crate) fn add_cookies<A>(reply: &mut Reply<A>, data: &Data) {
    for cookie in &data.cookies {
        reply.headers_mut().append(header::SET_COOKIE, cookie.clone());
    }
}

/// 303: go and read.
pub(crate) fn see_other<A>(path: &str) -> Reply<A> {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::SEE_OTHER;
    let headers = reply.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/")));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Percent-encodes a query value.
pub(crate) fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Percent-encodes one word of a path.
pub(crate) fn path_word(text: &str) -> String {
    // Query values write a space as a plus sign, and a plus sign as `%2B`.
    encode(text).replace('+', "%20")
}
