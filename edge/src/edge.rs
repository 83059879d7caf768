//! One request, from the visitor's to the answer: who asks, may they, and who answers.

use crate::config::Config;
use crate::context::Edge;
use crate::cookies;
use crate::hash::hex;
use crate::limits::{self, Class, DAY_KEY, DayKey, Limit, Slot, Verdict};
use crate::origin;
use crate::problem::Problem;
use crate::routes::{self, Page, Route};
use crate::security;
use crate::upstream::{self, Outgoing, Visitor};
use crate::world::{Body, ReadError, Reply, StoreDown, World};
use crate::{assets, documents, forms};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use loopmaster_core::retention::Retention;
use loopmaster_core::signing;
use std::borrow::Cow;
use std::sync::OnceLock;

/// How long the api may think before it counts as away, milliseconds: less than the host gives us.
const PATIENCE: u64 = 25_000;

/// Answers one request.
pub async fn handle<W: World>(world: &W, config: &Config, asked: &Parts, body: W::Incoming) -> Reply<W::Answer> {
    let now = world.now_ms() / 1000;
    let request_id = hex(&world.random()[..8]);
    let path = asked.uri.path();
    let route = Route::of(&asked.method, path);
    let visitor = Visitor { request_id, ..Visitor::default() };
    let mut edge = Edge { world, config, visitor, now, asked, guest: None, retention: OnceLock::new() };
    let mut reply = match route {
        Route::Asset if assets::file(path).is_some() => edge.asset(path),
        Route::Live => edge.live().await,
        Route::SecurityTxt => edge.security_txt(),
        Route::Grant if asked.method == Method::OPTIONS => Response::new(Body::empty()),
        _ => match edge.admit(route).await {
            Err(refusal) => refusal,
            Ok(()) => edge.answer(route, body).await,
        },
    };
    if route == Route::Grant {
        open_to_all(reply.headers_mut());
    }
    edge.finish(route, &mut reply);
    reply
}

impl<W: World> Edge<'_, W> {
    /// Learns who asks and refuses what may not be asked: from other sites, or too often.
    async fn admit(&mut self, route: Route<'_>) -> Result<(), Reply<W::Answer>> {
        let headers = &self.asked.headers;
        let (class, changes) = match route {
            Route::Api { from, to } => {
                let path = format!("{to}{}", &self.asked.uri.path()[from.len()..]);
                let companion = !from.is_empty() || path.starts_with("/v1/companion/");
                (routes::api_class(&self.asked.method, &path), companion || !reads(&self.asked.method))
            }
            Route::Form(page, form) => (routes::form_class(page, form), true),
            Route::Grant => (Class::Upload, false),
            _ => (Class::Page, false),
        };
        if changes && let Err(foreign) = origin::same_origin(headers, &self.config.public_origin) {
            let problem = Problem::new(StatusCode::FORBIDDEN, "edge.cross_site", foreign.to_string());
            return Err(documents::refuse(self, route, &problem));
        }
        if route != Route::Grant {
            self.guest = cookies::guest(headers, &self.config.cookie_keys, self.now);
            self.visitor.guest = self.guest.as_ref().map(|guest| guest.id.clone());
            self.visitor.session = cookies::token(headers, cookies::SESSION, "lms_");
            self.visitor.login = cookies::token(headers, cookies::LOGIN, "lml_");
        }
        match self.count(class).await {
            Ok(None) => Ok(()),
            Ok(Some((verdict, limit))) => {
                let seconds = verdict.retry_ms.div_ceil(1000).max(1);
                let detail = format!(
                    "{} requests of this kind in {} seconds are the limit; try again in {seconds} seconds",
                    limit.quota, limit.window
                );
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "edge.too_many_requests", detail);
                let mut reply = documents::refuse(self, route, &problem.retry_after(seconds));
                rate_headers(reply.headers_mut(), class, limit, verdict);
                Err(reply)
            }
            Err(StoreDown(why)) => {
                self.world.log(&format!("edge.store_down {} {why}", self.visitor.request_id));
                if class.fails_open() {
                    return Ok(());
                }
                let detail = "signing in and sending mail pause for a moment; try again in a minute";
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "edge.store_down", detail);
                Err(documents::refuse(self, route, &problem.retry_after(60)))
            }
        }
    }

    /// Hashes the address and counts the request; the first limit that is used up, if one is.
    async fn count(&mut self, class: Class) -> Result<Option<(Verdict, Limit)>, StoreDown> {
        let key = self.day_key().await;
        let headers = &self.asked.headers;
        let text = |name: &str| {
            headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",")
        };
        let peer = text("spin-client-addr");
        let address = limits::address(Some(&peer), &text("x-forwarded-for"), self.config.trusted_hops);
        // Without a store the hash is of this request alone: nobody is confused with anybody.
        let fallback = || DayKey::new(self.now, double(self.world.random(), self.world.random()));
        let hash = |key: &DayKey| key.under(&self.config.edge_key).hash(address);
        self.visitor.ip = key.as_ref().map_or_else(|_| fallback().hash(address), hash);
        key?;
        let network = (format!("ip {}", self.visitor.ip), self.config.limits.of_network(class));
        let person = self.visitor.session.as_deref().or(self.visitor.guest.as_deref());
        let person = person.map(|person| (format!("id {person}"), self.config.limits.of(class)));
        for (who, limit) in person.into_iter().chain([network]) {
            let slot = Slot::of(class, &who);
            let now = self.world.now_ms();
            let mut verdict = None;
            self.world
                .update(&slot.key, |held| {
                    let (said, next) = slot.count(held, limit, now);
                    verdict = Some(said);
                    next
                })
                .await?;
            if let Some(verdict) = verdict.filter(|verdict| !verdict.allowed) {
                return Ok(Some((verdict, limit)));
            }
        }
        Ok(None)
    }

    /// Today's key; the first request of a day makes it, and with that yesterday's is gone.
    async fn day_key(&self) -> Result<DayKey, StoreDown> {
        let fresh = DayKey::new(self.now, double(self.world.random(), self.world.random()));
        let mut key = None;
        self.world
            .update(DAY_KEY, |held| {
                key = held.and_then(|held| DayKey::read(held, self.now));
                key.is_none().then(|| fresh.to_bytes())
            })
            .await?;
        Ok(key.unwrap_or(fresh))
    }

    async fn answer(&self, route: Route<'_>, body: W::Incoming) -> Reply<W::Answer> {
        match route {
            Route::Document(page) => {
                let reply = documents::show(self, page).await;
                self.mint(page, reply).await
            }
            Route::Form(page, form) => match self.read_body(body).await {
                Ok(body) => forms::submit(self, page, form, &body).await,
                Err(problem) => documents::refuse(self, route, &problem),
            },
            Route::Api { from, to } => self.pass(route, from, to, body).await,
            Route::Grant => self.pass(route, "", "/v1", body).await,
            Route::WrongMethod(allowed) => {
                let detail = format!("this address answers {allowed}");
                let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "edge.wrong_method", detail);
                let mut reply = documents::refuse(self, route, &problem);
                reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
                reply
            }
            Route::Asset | Route::Live | Route::SecurityTxt | Route::Nowhere => {
                let problem = Problem::new(StatusCode::NOT_FOUND, "edge.not_found", "there is nothing at this address");
                documents::refuse(self, route, &problem)
            }
        }
    }

    /// Makes a guest of a visitor without a valid cookie. Only documents do it, and only those that can lead to an upload or show one:
    /// a browser loads one document at a time, so a first visit makes one guest. A cookie that would outlive every track, from before the
    /// period was shortened, is shortened, too.
    async fn mint(&self, page: Page<'_>, mut reply: Reply<W::Answer>) -> Reply<W::Answer> {
        let wanted =
            self.asked.method == Method::GET && !matches!(page, Page::Callback | Page::Link(_) | Page::Confirm(_));
        let navigated = self.asked.headers.get("sec-fetch-dest").is_none_or(|dest| dest == "document");
        if !wanted || !navigated || !reply.status().is_success() || sets_guest(reply.headers()) {
            return reply;
        }
        let usual = self.now + guest_seconds(&Retention::default());
        if self.retention.get().is_none() && self.guest.as_ref().is_none_or(|guest| guest.expiry > usual) {
            documents::learn_retention(self).await;
        }
        if let Some(guest) = &self.guest {
            let most = self.retention.get().map(guest_seconds);
            if let Some(most) = most.filter(|most| guest.expiry > self.now + most) {
                reply.headers_mut().append(header::SET_COOKIE, self.guest_cookie(&guest.id, most));
            }
            return reply;
        }
        let id = cookies::guest_id(self.world.now_ms(), self.world.random());
        // Where nobody says how long guest tracks live, the shortest period that can be set; the api renews it with the first track.
        let seconds = self.retention.get().map_or(86_400, guest_seconds);
        reply.headers_mut().append(header::SET_COOKIE, self.guest_cookie(&id, seconds));
        reply
    }

    /// Reads a body that will be signed.
    async fn read_body(&self, body: W::Incoming) -> Result<Vec<u8>, Problem> {
        let too_large = || {
            let detail =
                format!("more than {} bytes cannot be sent here; audio goes to the object storage", signing::MAX_BODY);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "edge.body_too_large", detail)
        };
        let declared = self.asked.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if declared.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > signing::MAX_BODY as u64) {
            return Err(too_large());
        }
        self.world.read(body, signing::MAX_BODY).await.map_err(|error| match error {
            ReadError::TooLarge => too_large(),
            ReadError::Broken => Problem::new(
                StatusCode::BAD_REQUEST,
                "edge.body_broken",
                "the request ended before its body did; send it again",
            ),
        })
    }

    /// Passes a request on to the api and its answer back.
    async fn pass(&self, route: Route<'_>, from: &str, to: &str, body: W::Incoming) -> Reply<W::Answer> {
        let body = match self.read_body(body).await {
            Ok(body) => body,
            Err(problem) => return documents::refuse(self, route, &problem),
        };
        let whole = self.asked.uri.path_and_query().map_or("/", |path| path.as_str());
        let path = format!("{to}{}", &whole[from.len()..]);
        let headers = upstream::forwarded(&self.asked.headers);
        let request = self.signed(Outgoing { method: self.asked.method.clone(), path: &path, headers, body });
        match self.world.send(request, PATIENCE).await {
            Err(down) => documents::refuse(self, route, &self.api_down(&down)),
            Ok(answer) => {
                let (mut parts, body) = answer.into_parts();
                let cookies = if route == Route::Grant { Vec::new() } else { self.cookies_asked_for(&parts.headers) };
                upstream::clean_answer(&mut parts.headers);
                for cookie in cookies {
                    parts.headers.append(header::SET_COOKIE, cookie);
                }
                if !parts.headers.contains_key(header::CACHE_CONTROL) {
                    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
                }
                let kind =
                    parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
                let body = if kind.starts_with("text/event-stream") {
                    Body::Events(body, self.config.events)
                } else {
                    Body::Stream(body)
                };
                Response::from_parts(parts, body)
            }
        }
    }

    fn asset(&self, path: &str) -> Reply<W::Answer> {
        let not_found = || Response::new(Cow::Borrowed(&b""[..]));
        assets::file(path).map_or_else(not_found, |file| file.answer(&self.asked.headers)).map(Body::Full)
    }

    /// RFC 9116. The date until which it holds is always half a year away, so that it is never past.
    fn security_txt(&self) -> Reply<W::Answer> {
        let text = security::txt(self.config, self.now);
        let mut reply = Response::new(Body::Full(Cow::Owned(text.into_bytes())));
        reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
        reply
    }

    /// Health checks come when visitors do not, so the key of a day ends even on a day without any.
    async fn live(&self) -> Reply<W::Answer> {
        if let Err(StoreDown(why)) = self.day_key().await {
            self.world.log(&format!("edge.store_down {} {why}", self.visitor.request_id));
        }
        let mut reply = Response::new(Body::Full(Cow::Borrowed(b"ok\n")));
        reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }

    /// What every answer has.
    fn finish(&self, route: Route<'_>, reply: &mut Reply<W::Answer>) {
        let headers = reply.headers_mut();
        security::protect(headers, self.config);
        if let Ok(id) = HeaderValue::from_str(&self.visitor.request_id) {
            headers.insert(HeaderName::from_static("x-request-id"), id);
        }
        if matches!(route, Route::Document(_) | Route::Form(..)) {
            headers.append(header::VARY, HeaderValue::from_static("cookie"));
        }
        if self.asked.method == Method::HEAD {
            if let Body::Full(bytes) = reply.body() {
                let length = HeaderValue::from(bytes.len());
                reply.headers_mut().insert(header::CONTENT_LENGTH, length);
            }
            *reply.body_mut() = Body::empty();
        }
    }
}

/// How long a guest's tracks live, in seconds.
fn guest_seconds(retention: &Retention) -> u64 {
    retention.guest().unsigned_abs() / 1000
}

/// Whether an answer changes the guest cookie already.
fn sets_guest(headers: &HeaderMap) -> bool {
    headers.get_all(header::SET_COOKIE).iter().any(|line| line.as_bytes().starts_with(cookies::GUEST.as_bytes()))
}

/// Pages of others may upload under a grant: any origin, no cookies.
fn open_to_all(headers: &mut HeaderMap) {
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, POST, DELETE, OPTIONS"),
        ("access-control-allow-headers", "*"),
        ("access-control-expose-headers", "ETag, Location, Retry-After, X-Request-Id"),
        ("access-control-max-age", "7200"),
        ("cross-origin-resource-policy", "cross-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.remove("access-control-allow-credentials");
}

fn rate_headers(headers: &mut HeaderMap, class: Class, limit: Limit, verdict: Verdict) {
    let name = class.name();
    for (header, value) in [
        ("ratelimit-policy", format!("\"{name}\";q={};w={}", limit.quota, limit.window)),
        ("ratelimit", format!("\"{name}\";r={};t={}", verdict.remaining, verdict.retry_ms.div_ceil(1000))),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(header), value);
        }
    }
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn double(first: [u8; 16], second: [u8; 16]) -> [u8; 32] {
    let mut both = [0; 32];
    both[..16].copy_from_slice(&first);
    both[16..].copy_from_slice(&second);
    both
}
