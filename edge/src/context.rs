//! What a request is answered with: the surroundings, the configuration, who asks, and a way to ask the api.

use crate::config::Config;
use crate::cookies::{self, Guest, Wish};
use crate::problem::Problem;
use crate::upstream::{self, Outgoing, Visitor};
use crate::world::{Unreachable, World};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use loopmaster_core::retention::{POLICY, Retention};
use loopmaster_core::signing;
use std::sync::OnceLock;

/// How long the api may think while a page waits to be drawn, milliseconds.
pub(crate) const PATIENCE_OF_PAGES: u64 = 8_000;
/// The longest answer of the api that a page is drawn from, bytes.
const LONGEST_DATA: usize = 4 << 20;

/// Everything a request is answered with.
pub(crate) struct Edge<'a, W: World> {
    /// The surroundings.
    pub world: &'a W,
    /// The configuration.
    pub config: &'a Config,
    /// Who asks.
    pub visitor: Visitor,
    /// Unix seconds.
    pub now: u64,
    /// What the visitor sent, without the body.
    pub asked: &'a Parts,
    /// The guest cookie, verified.
    pub guest: Option<Guest>,
    /// The operator's periods, once the api has said them in this request.
    pub retention: OnceLock<Retention>,
}

/// An answer of the api to a page's question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Vec<u8>,
    /// Its wishes for cookies, as `Set-Cookie` lines.
    pub cookies: Vec<HeaderValue>,
}

impl<W: World> Edge<'_, W> {
    /// The cookie of a guest for so many seconds. Whoever is known stays with the privacy policy they have seen.
    pub(crate) fn guest_cookie(&self, id: &str, seconds: u64) -> HeaderValue {
        let known = self.guest.as_ref().filter(|guest| guest.id == id);
        let policy = known.map_or(POLICY, |guest| guest.policy.as_str());
        cookies::set_guest(id, policy, &self.config.cookie_keys[0], self.now, seconds)
    }

    pub(crate) fn signed(&self, outgoing: Outgoing<'_>) -> Request<Vec<u8>> {
        upstream::request(self.config, &self.visitor, outgoing, self.now, self.world.random())
    }

    /// Asks the api for a page: `body` is JSON.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Data, Problem> {
        self.ask_within(PATIENCE_OF_PAGES, method, path, body).await
    }

    /// The same with less patience, milliseconds.
    pub(crate) async fn ask_within(
        &self,
        patience: u64,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Data, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        for name in [header::ACCEPT_LANGUAGE, header::USER_AGENT] {
            if let Some(value) = self.asked.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let request = self.signed(Outgoing { method, path, headers, body: body.unwrap_or_default() });
        let answer = self.world.send(request, patience).await.map_err(|down| self.api_down(&down))?;
        let (parts, body) = answer.into_parts();
        let body = self.world.collect(body, LONGEST_DATA).await;
        let body = body.map_err(|error| self.api_down(&Unreachable(format!("its answer: {error:?}"))))?;
        Ok(Data { status: parts.status, body, cookies: self.cookies_asked_for(&parts.headers) })
    }

    pub(crate) fn api_down(&self, down: &Unreachable) -> Problem {
        self.world.log(&format!("edge.api_down {} {}", self.visitor.request_id, down.0));
        let detail = "the mastering service does not answer at the moment; nothing is lost, try again in a few seconds";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "edge.api_down", detail).retry_after(5)
    }

    /// The cookies an answer of the api asks for.
    pub(crate) fn cookies_asked_for(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        let wished = [
            (signing::SET_SESSION, cookies::SESSION, "lms_"),
            (signing::SET_LOGIN, cookies::LOGIN, "lml_"),
            (signing::SET_GUEST, cookies::GUEST, "gst_"),
        ];
        let read = |(header, cookie, prefix)| match Wish::read(headers.get(header)?, prefix)? {
            Wish::Clear => Some(cookies::set(cookie, "", 0)),
            Wish::Set(id, seconds) if cookie == cookies::GUEST => Some(self.guest_cookie(&id, seconds)),
            Wish::Set(token, seconds) => Some(cookies::set(cookie, &token, seconds)),
        };
        wished.into_iter().filter_map(read).collect()
    }
}
