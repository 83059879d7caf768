//! Requests to the api: what of a visitor's request travels on, and the signature that vouches for it.

use crate::config::Config;
use crate::hash::{self, hex};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use loopmaster_core::signing;
use sha2::{Digest, Sha256};

/// Who asks, as far as the edge knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visitor {
    /// The hash of their network.
    pub ip: String,
    /// Id of a verified guest cookie.
    pub guest: Option<String>,
    /// Session token, unverified.
    pub session: Option<String>,
    /// Token of a sign-in under way, unverified.
    pub login: Option<String>,
    /// Names this request in logs.
    pub request_id: String,
}

/// The visitor's headers that the api gets to see. Everything else stays here: above all `lm-*`, cookies, and whatever proxies add.
const FORWARDED: [HeaderName; 12] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::RANGE,
    header::USER_AGENT,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
];

/// The headers of a visitor's request that travel on.
#[must_use]
pub fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in FORWARDED {
        for value in headers.get_all(&name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// Takes out of the api's answer what is between it and us, or between two machines, or for the edge alone to say.
pub fn clean_answer(headers: &mut HeaderMap) {
    const OURS: [HeaderName; 9] = [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TRAILER,
        header::SET_COOKIE,
        header::SERVER,
        header::STRICT_TRANSPORT_SECURITY,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-authenticate"),
    ];
    let private = headers.keys().filter(|name| name.as_str().starts_with("lm-") || OURS.contains(name));
    for name in private.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// A request before it is signed.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: &'a str,
    /// What travels on of the visitor's headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

/// The signed request; `now` in seconds, `nonce` random.
#[must_use]
pub fn request(
    config: &Config,
    visitor: &Visitor,
    outgoing: Outgoing<'_>,
    now: u64,
    nonce: [u8; 16],
) -> Request<Vec<u8>> {
    let Outgoing { method, path, mut headers, body } = outgoing;
    let nonce = hex(&nonce);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (guest, session, login) = (text(&visitor.guest), text(&visitor.session), text(&visitor.login));
    let canonical = signing::Request {
        key_id: &config.edge_key_id,
        time: now,
        nonce: &nonce,
        method: method.as_str(),
        authority: &config.api_authority,
        path,
        body_sha256: &hex(&Sha256::digest(&body)),
        ip: &visitor.ip,
        guest: &guest,
        session: &session,
        login: &login,
        request_id: &visitor.request_id,
    }
    .canonical();
    let mac = hash::signature(&config.edge_key, canonical.as_bytes());
    let signature = format!("v1 {} {now} {nonce} {mac}", config.edge_key_id);
    for (name, value) in [
        (signing::SIGNATURE, signature.as_str()),
        (signing::IP, &visitor.ip),
        (signing::GUEST, &guest),
        (signing::SESSION, &session),
        (signing::LOGIN, &login),
        (signing::REQUEST_ID, &visitor.request_id),
    ] {
        // Absent and empty are the same under the signature. The values are hex and checked tokens.
        if let Some(value) = HeaderValue::from_str(value).ok().filter(|value| !value.is_empty()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // An unreadable path cannot come from a request that was read; it would go to the root and be refused there.
    *request.uri_mut() = format!("{}{path}", config.api_origin).parse().unwrap_or_default();
    *request.headers_mut() = headers;
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_visitor_cannot_speak_for_the_edge() {
        let kept = forwarded(&map(&[
            ("lm-guest", "gst_someone_else"),
            ("lm-signature", "v1"),
            ("cookie", "__Host-lm_session=x"),
            ("authorization", "Bearer lmt_x"),
            ("x-forwarded-for", "6.6.6.6"),
            ("spin-client-addr", "6.6.6.6:6"),
            ("host", "evil"),
            ("accept", "application/json"),
            ("last-event-id", "7"),
        ]));
        assert_eq!(kept, map(&[("accept", "application/json"), ("last-event-id", "7")]));
    }

    #[test]
    fn the_apis_private_headers_do_not_get_out() {
        let mut answer = map(&[
            ("lm-set-session", "lms_secret 60"),
            ("set-cookie", "a=b"),
            ("server", "x"),
            ("connection", "close"),
            ("etag", "\"1\""),
        ]);
        clean_answer(&mut answer);
        assert_eq!(answer, map(&[("etag", "\"1\"")]));
    }

    #[test]
    fn the_signature_covers_who_and_what() {
        let visitor = Visitor {
            ip: "ab".repeat(16),
            guest: Some("gst_0123456789abcdef".to_owned()),
            session: None,
            login: None,
            request_id: "0f".repeat(8),
        };
        let outgoing =
            Outgoing { method: Method::POST, path: "/v1/uploads?x=1", headers: HeaderMap::new(), body: b"{}".to_vec() };
        let signed = request(&config(), &visitor, outgoing, 1_790_000_000, [1; 16]);
        assert_eq!(signed.uri(), "http://127.0.0.1:3001/v1/uploads?x=1");
        let header = signed.headers()[signing::SIGNATURE].to_str().unwrap();
        let fields: Vec<&str> = header.split(' ').collect();
        assert_eq!(&fields[..4], ["v1", "local", "1790000000", &"01".repeat(16)]);
        let text = format!(
            "lm1\nlocal\n1790000000\n{}\nPOST\n127.0.0.1:3001\n/v1/uploads?x=1\n{}\n{}\ngst_0123456789abcdef\n\n\n{}",
            "01".repeat(16),
            hex(&Sha256::digest(b"{}")),
            visitor.ip,
            visitor.request_id
        );
        assert_eq!(fields[4], hash::signature("e".repeat(32).as_bytes(), text.as_bytes()));
        assert!(!signed.headers().contains_key(signing::SESSION), "an absent header is not sent");
    }
}
