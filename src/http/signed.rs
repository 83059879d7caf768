//! The edge's signature over what it sends: HMAC-SHA-256 over the text of [`loopmaster_core::signing`]. The key vouches for the
//! visitor's address and guest id only; the session token is checked by us, so a leaked key impersonates nobody.

use super::problem::{Answer, Problem};
use crate::config::{Edge, Secret};
use crate::digest::{keyed, unhex};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use hmac::Mac as _;
use loopmaster_core::signing;

/// Longest value of a header of ours.
const LONGEST: usize = 512;

/// What a verified edge says.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Vouched {
    /// The visitor's address, hashed.
    pub ip: String,
    /// Guest id of a verified cookie.
    pub guest: Option<String>,
    /// Session token, not looked up yet.
    pub session: Option<String>,
    /// Token of the browser that asked for a sign-in.
    pub login: Option<String>,
    /// The request's name in all logs.
    pub request_id: String,
    /// To be used once, where the method writes.
    pub nonce: String,
}

// Tokens stay out of logs.
impl std::fmt::Debug for Vouched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (guest, request) = (&self.guest, &self.request_id);
        f.debug_struct("Vouched").field("guest", guest).field("request_id", request).finish_non_exhaustive()
    }
}

/// Whether the request claims to come from the edge: it carries a header that only the edge may send.
#[must_use]
pub fn claims(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("lm-"))
}

fn refused(code: &'static str, detail: &str) -> Problem {
    Problem::unauthorized(code, detail)
}

/// Checks the signature; the nonce is the caller's to spend. `now` in seconds.
pub fn verify(edge: &Edge, parts: &Parts, body_sha256: &str, now: u64) -> Answer<Vouched> {
    let headers = &parts.headers;
    let text = |name: &str| -> Answer<String> {
        let mut values = headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(String::new()) };
        match value.to_str() {
            // A header sent twice could be read one way here and another way there.
            Ok(value) if values.next().is_none() && value.len() <= LONGEST => Ok(value.to_owned()),
            _ => Err(refused("edge.signature_invalid", "a header of the edge is not as the edge writes it")),
        }
    };
    let signature = text(signing::SIGNATURE)?;
    if signature.is_empty() {
        return Err(refused("edge.signature_missing", "headers of the edge are accepted with its signature only"));
    }
    let invalid = || refused("edge.signature_invalid", "the signature of the edge does not fit this request");
    let fields: Vec<&str> = signature.split(' ').collect();
    let ["v1", key_id, time, nonce, mac] = fields[..] else { return Err(invalid()) };
    let key = edge.keys.get(key_id).map_or("", Secret::expose);
    let time: u64 = time.parse().map_err(|_| invalid())?;
    let mac = unhex(mac).ok_or_else(invalid)?;
    let nonce_is_sound = (16..=64).contains(&nonce.len()) && nonce.bytes().all(|b| b.is_ascii_hexdigit());
    if key.is_empty() || !nonce_is_sound {
        return Err(invalid());
    }
    let host = parts.uri.authority().map(axum::http::uri::Authority::as_str);
    let host = host.or_else(|| headers.get("host").and_then(|host| host.to_str().ok())).unwrap_or_default();
    let authority = if edge.authority.is_empty() { host } else { &edge.authority };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let (ip, guest, session, login, request_id) = (
        text(signing::IP)?,
        text(signing::GUEST)?,
        text(signing::SESSION)?,
        text(signing::LOGIN)?,
        text(signing::REQUEST_ID)?,
    );
    let canonical = signing::Request {
        key_id,
        time,
        nonce,
        method: parts.method.as_str(),
        authority,
        path,
        body_sha256,
        ip: &ip,
        guest: &guest,
        session: &session,
        login: &login,
        request_id: &request_id,
    }
    .canonical();
    let mut expected = keyed(key.as_bytes());
    expected.update(canonical.as_bytes());
    // Compared in constant time.
    expected.verify_slice(&mac).map_err(|_| invalid())?;
    // Only who holds the key learns that a clock is wrong.
    if now.abs_diff(time) > signing::TOLERANCE {
        return Err(refused(
            "edge.signature_late",
            "the request was signed more than a minute ago or in the future; set the clocks of edge and api",
        ));
    }
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Vouched {
        ip,
        guest: some(guest),
        session: some(session),
        login: some(login),
        request_id,
        nonce: nonce.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{hex, hmac, sha256};
    use axum::http::Request;

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_800_000_000;

    fn edge() -> Edge {
        let keys = [("old", "f".repeat(32)), ("new", KEY.to_owned())];
        Edge { keys: keys.into_iter().map(|(id, key)| (id.to_owned(), Secret::new(key))).collect(), ..Edge::default() }
    }

    fn signed(time: u64) -> Parts {
        let body = sha256(b"{}");
        let request = signing::Request {
            key_id: "new",
            time,
            nonce: "00112233445566778899aabbccddeeff",
            method: "POST",
            authority: "127.0.0.1:3001",
            path: "/v1/uploads?a=1",
            body_sha256: &body,
            ip: "aa",
            guest: "gst_1",
            session: "lms_1",
            login: "",
            request_id: "req_1",
        };
        let mac = hex(&hmac(KEY.as_bytes(), &[request.canonical().as_bytes()]));
        Request::post("/v1/uploads?a=1")
            .header("host", "127.0.0.1:3001")
            .header(signing::SIGNATURE, format!("v1 new {time} 00112233445566778899aabbccddeeff {mac}"))
            .header(signing::IP, "aa")
            .header(signing::GUEST, "gst_1")
            .header(signing::SESSION, "lms_1")
            .header(signing::REQUEST_ID, "req_1")
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn what_the_edge_signed_is_believed() {
        let vouched = verify(&edge(), &signed(NOW), &sha256(b"{}"), NOW).unwrap();
        assert_eq!((vouched.ip.as_str(), vouched.guest.as_deref()), ("aa", Some("gst_1")));
        assert_eq!((vouched.session.as_deref(), vouched.login), (Some("lms_1"), None));
        for now in [NOW - 60, NOW + 60] {
            assert!(verify(&edge(), &signed(NOW), &sha256(b"{}"), now).is_ok());
        }
    }

    #[test]
    fn what_was_altered_is_not() {
        let code =
            |parts: &Parts, body: &[u8], now| verify(&edge(), parts, &sha256(body), now).unwrap_err().code().to_owned();
        assert_eq!(code(&signed(NOW), b"{ }", NOW), "edge.signature_invalid");
        for now in [NOW - 61, NOW + 61] {
            assert_eq!(code(&signed(NOW), b"{}", now), "edge.signature_late");
        }
        for (name, value) in [
            ("host", "other:1"),
            (signing::IP, "bb"),
            (signing::GUEST, "gst_2"),
            (signing::SESSION, "lms_2"),
            (signing::LOGIN, "x"),
        ] {
            let mut parts = signed(NOW);
            parts.headers.insert(axum::http::HeaderName::from_static(name), value.parse().unwrap());
            assert_eq!(code(&parts, b"{}", NOW), "edge.signature_invalid", "{name}");
        }
        let mut twice = signed(NOW);
        twice.headers.append(signing::GUEST, "gst_2".parse().unwrap());
        assert_eq!(code(&twice, b"{}", NOW), "edge.signature_invalid");
        let mut bare = signed(NOW);
        bare.headers.remove(signing::SIGNATURE);
        assert_eq!(code(&bare, b"{}", NOW), "edge.signature_missing");
        for nonsense in
            ["", "v1", "v2 new 1 aa bb", "v1 new x y z", "v1 none 1800000000 00112233445566778899aabbccddeeff 00"]
        {
            let mut parts = signed(NOW);
            parts.headers.insert(signing::SIGNATURE, nonsense.parse().unwrap());
            assert!(code(&parts, b"{}", NOW).starts_with("edge.signature_"), "{nonsense}");
        }
        let mut method = signed(NOW);
        method.method = axum::http::Method::DELETE;
        assert_eq!(code(&method, b"{}", NOW), "edge.signature_invalid");
    }
}
