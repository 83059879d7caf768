//! Who is asking. Cookies never reach us: the edge vouches for a guest id and hands on the session token, which is looked up here at
//! every request, so that a revoked session ends at once. Programs send a bearer token. Everybody else is nobody, which is enough for
//! capabilities (a ZIP, a share) and for the state of the service.

use super::App;
use super::problem::{Answer, Problem};
use super::server::Place;
use super::signed::{self, Vouched};
use crate::digest;
use crate::domain::accounts::{sessions, tokens};
use crate::domain::identity::{Caller, Identity, SignedIn, Visitor, is_id};
use crate::domain::{guests, nonces};
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use loopmaster_core::signing;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::internal("a route without identification"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.owner().is_none() {
            return Err(Problem::unauthorized(
                "auth.required",
                "this needs a bearer token (Authorization: Bearer lmt_…), or the pages of the service",
            ));
        }
        Ok(Self(caller))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        match caller.identity.clone() {
            Identity::User { session, user, signed_in_at } => Ok(Self { user, session, signed_in_at, caller }),
            _ => Err(Problem::unauthorized("auth.sign_in_required", "sign in with a browser to do this")),
        }
    }
}

/// The layer in front of `/v1`: reads the body (bounded in size and time), finds out who asks, and goes on to where they are counted.
pub async fn identify(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let mut forget_session = false;
    let outcome = async {
        let body = read(body, app.config.limits.body_seconds).await?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        let found = find_out(&app, &parts, &body, peer, request_id, &mut forget_session).await?;
        Ok::<_, Problem>((body, found))
    }
    .await;
    let (body, caller) = match outcome {
        Ok(found) => found,
        Err(problem) => return problem.into_response(),
    };
    tracing::Span::current().record("who", caller.actor());
    let changes = !matches!(parts.method, Method::GET | Method::HEAD) || parts.uri.path() == "/v1/me";
    let guest = match &caller.identity {
        Identity::Guest { id } if changes => Some(id.clone()),
        _ => None,
    };
    parts.extensions.insert(caller);
    let mut response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if let Some(guest) = guest.filter(|_| response.status().is_success())
        && let Some(seconds) = guests::seconds_left(&app.db, &guest).await
        && let Ok(value) = HeaderValue::try_from(format!("{guest} {seconds}"))
    {
        response.headers_mut().entry(signing::SET_GUEST).or_insert(value);
    }
    if forget_session {
        // The cookie names no session any more; a sign-in in this very answer goes first.
        response.headers_mut().entry(signing::SET_SESSION).or_insert(HeaderValue::from_static("-"));
    }
    response
}

/// The request's name in all logs; put there by the outermost layer.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

async fn read(body: Body, seconds: u64) -> Answer<Bytes> {
    use http_body_util::{BodyExt, LengthLimitError, Limited};
    let limit = signing::MAX_BODY;
    match tokio::time::timeout(Duration::from_secs(seconds), Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request.too_large",
            format!(
                "the body has more than {limit} bytes; files go to storage with the addresses that /v1/uploads gives"
            ),
        )),
        Ok(Err(error)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "request.body_broken",
            "the body ended early; send the request again",
        )
        .caused_by(error)),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request.too_slow",
            format!("the body did not arrive within {seconds} seconds; send the request again"),
        )),
    }
}

async fn find_out(
    app: &App,
    parts: &Parts,
    body: &Bytes,
    peer: Option<IpAddr>,
    request_id: String,
    forget_session: &mut bool,
) -> Answer<Caller> {
    let headers = &parts.headers;
    let through_edge = signed::claims(headers);
    let body_sha256 = if through_edge || headers.contains_key(super::idempotency::HEADER) {
        digest::sha256(body)
    } else {
        String::new()
    };
    let user_agent = shortened(headers, &header::USER_AGENT);
    let mut caller = Caller {
        identity: Identity::Nobody,
        guest: None,
        login: None,
        ip_hash: String::new(),
        user_agent,
        request_id,
        through_edge,
        body_sha256,
    };
    if through_edge {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let vouched = signed::verify(&app.config.edge, parts, &caller.body_sha256, now)?;
        if let Some(place) = parts.extensions.get::<Place>() {
            place.vouch();
        }
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            nonces::spend(&app.db, &vouched.nonce).await?;
        }
        let Vouched { ip, guest, session, login, .. } = vouched;
        caller.ip_hash = ip;
        caller.login = login;
        caller.guest = guest.filter(|id| is_id(id, "gst_"));
        if let Some(session) = session {
            match sessions::identify(&app.db, &app.config, &session).await? {
                Some(identity) => caller.identity = identity,
                None => *forget_session = true,
            }
        }
        if let (Identity::Nobody, Some(id)) = (&caller.identity, &caller.guest) {
            caller.identity = Identity::Guest { id: id.clone() };
        }
        return Ok(caller);
    }
    if let Some(ip) = client_address(headers, peer, app.config.trusted_hops) {
        caller.ip_hash = app.ip_keys.hash(&app.db, &app.config, ip).await;
    }
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let identity = match token {
            Some((_, token)) => tokens::identify(&app.db, token.trim()).await?,
            None => None,
        };
        if let Some(identity) = identity {
            caller.identity = identity;
        } else {
            // Guessing costs the guesser.
            app.rates.check(&caller)?;
            return Err(Problem::unauthorized(
                "auth.token_invalid",
                "this token is unknown, expired or revoked; make a new one in your account",
            ));
        }
    }
    Ok(caller)
}

fn shortened(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The client's address: the peer, or what the outermost trusted proxy wrote. A header with fewer entries than there are proxies did
/// not come through them, and is not believed.
fn client_address(headers: &HeaderMap, peer: Option<IpAddr>, trusted_hops: u8) -> Option<IpAddr> {
    if trusted_hops == 0 {
        return peer;
    }
    let lists = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let entries: Vec<&str> = lists.flat_map(|list| list.split(',')).map(str::trim).collect();
    let entry = entries.len().checked_sub(usize::from(trusted_hops)).and_then(|index| entries.get(index));
    entry.and_then(|entry| entry.parse().ok()).or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let address = |forwarded: &str, hops| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            client_address(&headers, Some(peer), hops).unwrap().to_string()
        };
        assert_eq!(address("1.1.1.1", 0), "10.0.0.1", "never a client's own word");
        assert_eq!(address("6.6.6.6, 2.2.2.2", 1), "2.2.2.2", "what the client wrote lies to the left");
        assert_eq!(address("6.6.6.6, 2.2.2.2, 3.3.3.3", 2), "2.2.2.2");
        assert_eq!(address("2.2.2.2", 2), "10.0.0.1", "too short: it did not come through both proxies");
        assert_eq!(address("nonsense", 1), "10.0.0.1");
    }
}
