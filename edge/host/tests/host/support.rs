//! The component, a host for it, an api that believes nobody, and a client.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use loopmaster_core::signing;
use loopmaster_edge_host::manifest::Manifest;
use loopmaster_edge_host::{Host, Options, Running};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;

/// Where visitors believe to be; the port they really use is another.
pub(crate) const ORIGIN: &str = "http://127.0.0.1:3000";
pub(crate) const EDGE_KEY: &str = "0123456789abcdef0123456789abcdef";
const COOKIE_KEY: &str = "fedcba9876543210fedcba9876543210";

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The component, built once; where it cannot be built nothing else is worth testing.
pub(crate) fn component() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--locked", "--quiet", "--profile", "edge", "--target", "wasm32-wasip2"])
            .args(["--package", "loopmaster-edge"])
            .current_dir(root())
            .status()
            .unwrap();
        assert!(
            status.success(),
            "the component cannot be built; is the target there? rustup target add wasm32-wasip2"
        );
        root().join("target/wasm32-wasip2/edge/loopmaster_edge.wasm")
    })
}

/// The manifest of the repository with the component that was built and these variables.
pub(crate) fn manifest(api: &str, set: &[(&str, &str)]) -> Manifest {
    let source = component().to_owned();
    let value = |variable: &str| {
        let name = &variable.strip_prefix("SPIN_VARIABLE_")?.to_lowercase();
        let set = set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        set.or_else(|| match name.as_str() {
            "api_url" => Some(api.to_owned()),
            "edge_key" => Some(EDGE_KEY.to_owned()),
            "cookie_keys" => Some(COOKIE_KEY.to_owned()),
            _ => None,
        })
    };
    let manifest = Manifest::read(&root().join("edge/spin.toml"), value).unwrap();
    Manifest { source, ..manifest }
}

/// Compiled code is shared by all tests of a run, and by runs.
pub(crate) fn options() -> Options {
    let cache = root().join("target/edge-host-cache");
    Options { listen: SocketAddr::from(([127, 0, 0, 1], 0)), cache: Some(cache), ..Options::default() }
}

pub(crate) async fn start(manifest: &Manifest, options: Options) -> Running {
    Host::new(manifest, options).unwrap().start().await.unwrap()
}

/// Edge and api, with these variables.
pub(crate) async fn stack(set: &[(&str, &str)], options: Options) -> (Running, Api) {
    let api = Api::start().await;
    let running = start(&manifest(&api.url, set), options).await;
    (running, api)
}

/// What a visitor got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `name=value` of the cookie that was set.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let lines = self.headers.get_all(header::SET_COOKIE).into_iter().map(|line| line.to_str().unwrap());
        let mut pairs = lines.filter_map(|line| line.split(';').next());
        pairs.find(|pair| pair.starts_with(&format!("{name}="))).map(str::to_owned)
    }
}

/// A guest cookie as the version before wrote it, without the date of a policy, good for an hour: `name=value`.
pub(crate) fn old_guest_cookie(id: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let signed = format!("1.{id}.{}", now + 3600);
    let mut mac = Hmac::<Sha256>::new_from_slice(COOKIE_KEY.as_bytes()).unwrap();
    mac.update(b"lm-guest\n");
    mac.update(signed.as_bytes());
    format!("__Host-lm_guest={signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// How many days ahead a date is, give or take two: years and months by their mean length.
pub(crate) fn days_ahead(date: &str) -> f64 {
    let part = |range| date.get(range).and_then(|text: &str| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let days = 365.2425 * (part(0..4) - 1970.0) + 30.44 * (part(5..7) - 1.0) + part(8..10);
    days - SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() / 86_400.0
}

pub(crate) type Pool = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn client() -> Pool {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) async fn send(to: SocketAddr, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
    let answer = open(&client(), to, method, path, headers, body).await;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Got { status: parts.status, headers: parts.headers, body }
}

pub(crate) async fn open(
    client: &Pool,
    to: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response<Incoming> {
    let mut request = Request::builder().method(method).uri(format!("http://{to}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.request(request.body(Full::from(body.to_owned())).unwrap()).await.unwrap()
}

pub(crate) async fn get(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Got {
    send(to, Method::GET, path, headers, "").await
}

/// As a page of ours would.
pub(crate) async fn post(to: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
    let headers = [&[("origin", ORIGIN), ("sec-fetch-site", "same-origin")], headers].concat();
    send(to, Method::POST, path, &headers, body).await
}

/// An api that checks every signature and answers what tests need.
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    paths: Mutex<Vec<String>>,
    nonces: Mutex<BTreeSet<String>>,
    refused: Mutex<Vec<String>>,
    guest_days: Mutex<Option<u32>>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Api {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let state = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { break };
                stream.set_nodelay(true).unwrap();
                let state = Arc::clone(&state);
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move { drop(connection.serve_connection(TokioIo::new(stream), service).await) });
            }
        });
        Self { url: format!("http://{address}"), address, seen, task }
    }

    /// `METHOD path` of what came, in its order.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.paths.lock().unwrap().clone()
    }

    /// From now on guest tracks are kept so many days.
    pub(crate) fn keeps_guests(&self, days: u32) {
        *self.seen.guest_days.lock().unwrap() = Some(days);
    }

    /// Why requests were refused.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.seen.refused.lock().unwrap().clone()
    }
}

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn full(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()).boxed_unsync());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

fn said(value: &Value) -> Reply {
    full(200, "application/json", value.to_string())
}

fn refused(status: u16, code: &str, detail: &str) -> Reply {
    full(status, "application/problem+json", json!({ "status": status, "code": code, "detail": detail }).to_string())
}

async fn answer(seen: Arc<Seen>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = parts.uri.path_and_query().unwrap().as_str().to_owned();
    if path == "/direct" {
        // What the proxied `/v1/plain` is compared with.
        return Ok(said(&json!({ "ok": true })));
    }
    seen.paths.lock().unwrap().push(format!("{} {path}", parts.method));
    if let Err(why) = verify(&seen, &parts, &path, &body) {
        seen.refused.lock().unwrap().push(format!("{} {path}: {why}", parts.method));
        return Ok(refused(401, "edge.signature_invalid", &why));
    }
    let text = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let echo = || {
        let names: BTreeMap<&str, &str> =
            parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("?"))).collect();
        json!({
            "method": parts.method.as_str(), "path": path, "headers": names, "body": String::from_utf8_lossy(&body),
            "guest": text(signing::GUEST), "session": text(signing::SESSION), "login": text(signing::LOGIN), "ip": text(signing::IP),
        })
    };
    let bare = path.split('?').next().unwrap_or_default();
    let mut reply = match (parts.method.as_str(), bare) {
        ("GET", "/v1/plain") => said(&json!({ "ok": true })),
        ("GET", "/v1/slow") => {
            tokio::time::sleep(Duration::from_millis(u64::from(body.len() as u32) + 40)).await;
            said(&echo())
        }
        ("GET", "/v1/large") => full(200, "application/octet-stream", vec![7; 3 << 20]),
        ("GET", "/v1/events") => events(&text("last-event-id")),
        ("GET", "/v1/me") if !text(signing::SESSION).is_empty() => said(
            &json!({ "user": { "id": "usr_1", "email": "nora@example.com", "name": "Nora", "policy_current": true } }),
        ),
        ("GET", "/v1/me") => said(&json!({ "guest": { "masters": 2 } })),
        ("GET", "/v1/destinations") => said(&json!([{ "key": "spotify", "name": "Spotify", "target": -14.0 }])),
        ("GET", "/v1/status") => {
            let mut status = json!({ "ok": true, "parts": [], "sign_in": ["google"] });
            if let Some(days) = *seen.guest_days.lock().unwrap() {
                status["retention"] = json!({ "guest_days": days });
            }
            said(&status)
        }
        ("POST", "/v1/renewed") => {
            let mut reply = full(201, "application/json", json!({ "id": "mst_3" }).to_string());
            let renewed = format!("{} 7200", text(signing::GUEST));
            reply.headers_mut().insert(signing::SET_GUEST, HeaderValue::try_from(renewed).unwrap());
            reply
        }
        ("GET", "/v1/confirmations/lmv_1") => said(&json!({
            "ticket": "tkt_1", "sent_at": "2026-11-29T18:20:00Z", "of": "account", "email": "nora@example.com", "here": true,
            "state": "waiting",
        })),
        ("GET", "/v1/confirmations/lmv_2") => {
            said(&json!({ "ticket": "tkt_1", "of": "guest", "here": false, "state": "waiting" }))
        }
        ("POST", "/v1/confirmations/lmv_1") => said(&json!({ "ticket": "tkt_1" })),
        ("POST", "/v1/confirmations/lmv_2") => {
            refused(403, "ticket.other_browser", "this is not the browser that made the tracks; open the link there")
        }
        ("GET", "/v1/masters/mst_1") => said(&json!({
            "id": "mst_1", "title": "Night <Drive>", "state": "done", "created_at": "2026-11-25T20:00:00Z", "lufs": -9.5,
            "artifacts": [{ "id": "art_1", "kind": "master", "role": "wav24", "name": "Night Drive.wav", "bytes": 7 }],
            "result": { "reasons": [{ "aspect": "tone", "text": "A little less mud." }] },
        })),
        ("GET", "/v1/masters/mst_1/shares" | "/v1/me/sessions" | "/v1/me/tokens" | "/v1/me/webhooks") => {
            said(&json!({ "items": [] }))
        }
        ("GET", "/v1/masters") => said(&json!({ "items": [] })),
        ("POST", "/v1/masters/mst_1/rerun") => full(201, "application/json", json!({ "id": "mst_2" }).to_string()),
        ("POST", "/v1/auth/email") => {
            let mut reply = full(202, "application/json", json!({ "login": "lgn_1" }).to_string());
            reply.headers_mut().insert(signing::SET_LOGIN, HeaderValue::from_static("lml_0123456789abcdef 900"));
            reply
        }
        ("POST", "/v1/auth/email/code") if body.windows(6).any(|window| window == b"123456") => {
            let mut reply = said(&json!({ "user": {}, "guest_masters": 2 }));
            reply.headers_mut().insert(signing::SET_SESSION, HeaderValue::from_static("lms_0123456789abcdef 3600"));
            reply.headers_mut().insert(signing::SET_LOGIN, HeaderValue::from_static("-"));
            reply
        }
        ("POST", "/v1/auth/email/code") => {
            let detail = "this is not the code; 4 tries are left";
            let said = json!({ "status": 422, "code": "auth.code_wrong", "detail": detail, "tries_left": 4 });
            full(422, "application/problem+json", said.to_string())
        }
        ("GET", "/v1/auth/merge") => said(&json!({ "masters": 2 })),
        ("POST", "/v1/auth/google") => said(&json!({ "url": "https://accounts.example/o?client_id=1" })),
        ("POST", "/v1/auth/sign-out") => {
            let mut reply = full(204, "application/json", "");
            reply.headers_mut().insert(signing::SET_SESSION, HeaderValue::from_static("-"));
            reply
        }
        _ if bare.ends_with("/echo") => said(&echo()),
        _ => refused(404, "not_found", "there is nothing here"),
    };
    reply.headers_mut().insert(header::SERVER, HeaderValue::from_static("secret/1.0"));
    Ok(reply)
}

/// Ten events a second, numbered on from the last one that was heard.
fn events(last: &str) -> Reply {
    let first = last.parse::<u64>().map_or(1, |last| last + 1);
    let stream = futures_util::stream::iter(first..).then(|number| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let event = format!("id: {number}\nevent: master\ndata: {{\"version\":{number}}}\n\n");
        Ok::<_, Infallible>(Frame::data(Bytes::from(event)))
    });
    let mut reply = Response::new(StreamBody::new(stream).boxed_unsync());
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    reply
}

/// The api's side of the signature, written from its description and not from the edge's code.
fn verify(seen: &Seen, parts: &http::request::Parts, path: &str, body: &[u8]) -> Result<(), String> {
    let text = |name: &str| {
        let mut all = parts.headers.get_all(name).into_iter();
        let value = all.next().map_or("", |value| value.to_str().unwrap_or("\n")).to_owned();
        if all.next().is_some() { Err(format!("{name} twice")) } else { Ok(value) }
    };
    let known =
        [signing::SIGNATURE, signing::IP, signing::GUEST, signing::SESSION, signing::LOGIN, signing::REQUEST_ID];
    let foreign: Vec<&HeaderName> = parts
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("lm-") && !known.contains(&name.as_str()))
        .collect();
    if !foreign.is_empty() {
        return Err(format!("headers nobody knows: {foreign:?}"));
    }
    let signature = text(signing::SIGNATURE)?;
    let fields: Vec<&str> = signature.split(' ').collect();
    let ["v1", key_id, time, nonce, mac] = fields[..] else { return Err(format!("signature `{signature}`")) };
    let time: u64 = time.parse().map_err(|_| "time")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    if now.abs_diff(time) > signing::TOLERANCE || key_id != "local" {
        return Err(format!("time {time} or key {key_id}"));
    }
    if nonce.len() != 32 || !seen.nonces.lock().unwrap().insert(nonce.to_owned()) {
        return Err(format!("nonce {nonce}"));
    }
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|n| char::from_digit(n.into(), 16))
            .collect::<String>()
    };
    let canonical = [
        "lm1",
        key_id,
        &time.to_string(),
        nonce,
        parts.method.as_str(),
        &text("host")?,
        path,
        &hex(&Sha256::digest(body)),
        &text(signing::IP)?,
        &text(signing::GUEST)?,
        &text(signing::SESSION)?,
        &text(signing::LOGIN)?,
        &text(signing::REQUEST_ID)?,
    ]
    .join("\n");
    let mut expected = Hmac::<Sha256>::new_from_slice(EDGE_KEY.as_bytes()).unwrap();
    expected.update(canonical.as_bytes());
    if hex(&expected.finalize().into_bytes()) == mac { Ok(()) } else { Err(format!("signature over {canonical:?}")) }
}
