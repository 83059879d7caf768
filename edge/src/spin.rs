//! The component: Spin's requests, answers, time, store and variables behind [`World`]. Nothing is decided here.

use crate::config::{Config, VARIABLES};
use crate::edge;
use crate::events::{COME_BACK, Ends, Gap};
use crate::world::{Body, ReadError, Reply, StoreDown, Unreachable, World};
use futures::future::{Either, select};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use spin_sdk::experimental::wasi::keyvalue::atomics::{self, CasError};
use spin_sdk::experimental::wasi::keyvalue::store;
use spin_sdk::http::Request as SpinRequest;
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{self, ErrorCode, Fields, RequestOptions, Scheme};
use spin_sdk::wasip3::http_compat::IncomingRequestBody;
use spin_sdk::wasip3::wit_bindgen::{StreamReader, StreamResult, StreamWriter};
use spin_sdk::wasip3::{random, spawn, wit_future, wit_stream};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// How often a change to the store is tried when others are faster.
const TRIES: usize = 8;
/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;

thread_local! {
    /// Read once per instance. It is the same for every visitor: the only thing that outlives a request.
    static CONFIG: RefCell<Option<Rc<Config>>> = const { RefCell::new(None) };
}

/// Spin's entry point: the macro exports it as wasi:http/handler.
#[spin_sdk::http_service]
async fn entry(request: SpinRequest) -> Result<types::Response, ErrorCode> {
    serve(request).await
}

async fn serve(request: SpinRequest) -> Result<types::Response, ErrorCode> {
    let started = monotonic_clock::now();
    let config = match config().await {
        Ok(config) => config,
        Err(why) => {
            eprintln!("{why}");
            let text = b"edge.misconfigured: the operator finds the reasons in the log\n";
            let mut reply = Response::new(Body::Full(text.as_slice().into()));
            *reply.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            return respond(reply, started);
        }
    };
    let (parts, body) = request.into_parts();
    respond(edge::handle(&Spin, &config, &parts, body).await, started)
}

async fn config() -> Result<Rc<Config>, String> {
    if let Some(config) = CONFIG.with_borrow(Clone::clone) {
        return Ok(config);
    }
    let mut values = Vec::with_capacity(VARIABLES.len());
    for name in VARIABLES {
        values.push(match spin_sdk::variables::get(name).await {
            Ok(value) => Some(value),
            Err(spin_sdk::variables::Error::Undefined(_)) => None,
            Err(error) => return Err(format!("edge.misconfigured: variable {name}: {error:?}")),
        });
    }
    let get = |name: &str| VARIABLES.iter().position(|known| *known == name).and_then(|at| values[at].clone());
    let config = Rc::new(Config::read(get).map_err(|error| error.to_string())?);
    CONFIG.set(Some(Rc::clone(&config)));
    Ok(config)
}

struct Spin;

impl World for Spin {
    type Incoming = IncomingRequestBody;
    type Answer = types::Response;

    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&random::random::get_random_bytes(16));
        bytes
    }

    async fn read(&self, mut body: IncomingRequestBody, most: usize) -> Result<Vec<u8>, ReadError> {
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(bytes) = frame.map_err(|_| ReadError::Broken)?.into_data() {
                if all.len() + bytes.len() > most {
                    return Err(ReadError::TooLarge);
                }
                all.extend_from_slice(&bytes);
            }
        }
        Ok(all)
    }

    async fn collect(&self, body: types::Response, most: usize) -> Result<Vec<u8>, ReadError> {
        let (mut stream, trailers) = open(body);
        let mut all = Vec::new();
        loop {
            let (result, chunk) = stream.read(Vec::with_capacity(CHUNK)).await;
            if all.len() + chunk.len() > most {
                return Err(ReadError::TooLarge);
            }
            all.extend_from_slice(&chunk);
            if !matches!(result, StreamResult::Complete(_)) {
                break;
            }
        }
        // Only the trailers tell an end from a break.
        trailers.await.map_err(|_| ReadError::Broken)?;
        Ok(all)
    }

    async fn send(
        &self,
        request: Request<Vec<u8>>,
        patience_ms: u64,
    ) -> Result<Response<types::Response>, Unreachable> {
        let unreachable = |code: ErrorCode| Unreachable(format!("{code:?}"));
        let request = to_wasi(request, patience_ms).map_err(unreachable)?;
        let answer = client::send(request).await.map_err(unreachable)?;
        let mut response = Response::builder().status(answer.get_status_code());
        for (name, value) in answer.get_headers().copy_all() {
            response = response.header(name, value);
        }
        response.body(answer).map_err(|error| Unreachable(error.to_string()))
    }

    async fn update(
        &self,
        key: &str,
        mut change: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<(), StoreDown> {
        let down = |error: store::Error| StoreDown(format!("{error:?}"));
        let bucket = store::open("default").map_err(down)?;
        let Ok(mut swap) = atomics::Cas::new(&bucket, key) else {
            // This host has no atomics: two at once may count as one, and the api counts again.
            let held = bucket.get(key).map_err(down)?;
            return match change(held.as_deref()) {
                Some(value) => bucket.set(key, &value).map_err(down),
                None => Ok(()),
            };
        };
        for _ in 0..TRIES {
            let held = swap.current().map_err(down)?;
            let Some(value) = change(held.as_deref()) else { return Ok(()) };
            swap = match atomics::swap(swap, &value) {
                Ok(()) => return Ok(()),
                Err(CasError::CasFailed(newer)) => newer,
                Err(CasError::StoreError(error)) => return Err(down(error)),
            };
        }
        Err(StoreDown(format!("{key} changed {TRIES} times while it was being changed")))
    }

    fn log(&self, line: &str) {
        eprintln!("{line}");
    }
}

type Trailers = spin_sdk::wasip3::wit_bindgen::FutureReader<Result<Option<types::Trailers>, ErrorCode>>;

/// The bytes of an answer, and what ends them.
fn open(answer: types::Response) -> (StreamReader<u8>, Trailers) {
    let (_, done) = wit_future::new(|| Ok(()));
    types::Response::consume_body(answer, done)
}

fn to_wasi(request: Request<Vec<u8>>, patience_ms: u64) -> Result<types::Request, ErrorCode> {
    let (parts, body) = request.into_parts();
    let options = RequestOptions::new();
    // A host that cannot limit these uses its own limits.
    let _ = options.set_connect_timeout(Some(3_000 * MS));
    let _ = options.set_first_byte_timeout(Some(patience_ms * MS));
    let mut headers = fields(parts.headers)?;
    let contents = if body.is_empty() {
        None
    } else {
        let length = body.len().to_string().into_bytes();
        headers = with(headers, "content-length", length)?;
        Some(streamed(body))
    };
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = types::Request::new(headers, contents, trailers, Some(options));
    let scheme = if parts.uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    request.set_method(&(&parts.method).into()).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    request.set_scheme(Some(&scheme)).map_err(invalid)?;
    request.set_authority(parts.uri.authority().map(http::uri::Authority::as_str)).map_err(invalid)?;
    request.set_path_with_query(parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str)).map_err(invalid)?;
    Ok(request)
}

fn with(headers: Fields, name: &str, value: Vec<u8>) -> Result<Fields, ErrorCode> {
    headers.set(name, &[value]).map_err(|error| ErrorCode::InternalError(Some(format!("{name}: {error:?}"))))?;
    Ok(headers)
}

fn fields(headers: HeaderMap) -> Result<Fields, ErrorCode> {
    Fields::try_from(headers).map_err(|error| ErrorCode::InternalError(Some(format!("headers: {error:?}"))))
}

/// Bytes as a stream.
fn streamed(bytes: Vec<u8>) -> StreamReader<u8> {
    let (mut writer, reader) = wit_stream::new();
    spawn(async move {
        // Whoever stops reading has had enough.
        let _ = writer.write_all(bytes).await;
    });
    reader
}

/// Hands an answer to Spin; `started` is when its request came, on the monotonic clock.
fn respond(reply: Reply<types::Response>, started: u64) -> Result<types::Response, ErrorCode> {
    let (parts, body) = reply.into_parts();
    let headers = fields(parts.headers)?;
    let whole = || wit_future::new(|| Ok(None)).1;
    let (contents, trailers) = match body {
        Body::Full(bytes) if bytes.is_empty() => (None, whole()),
        Body::Full(bytes) => (Some(streamed(bytes.into_owned())), whole()),
        Body::Stream(answer) => {
            let (stream, trailers) = open(answer);
            (Some(stream), trailers)
        }
        Body::Events(answer, ends) => {
            let (stream, _) = open(answer);
            let (writer, reader) = wit_stream::new();
            spawn(pass_events(stream, writer, started, ends));
            (Some(reader), whole())
        }
    };
    let (response, _) = types::Response::new(headers, contents, trailers);
    response.set_status_code(parts.status.as_u16()).map_err(|()| ErrorCode::HttpProtocolError)?;
    Ok(response)
}

/// Passes events on until the api ends or it is time; then ends between two of them.
async fn pass_events(mut stream: StreamReader<u8>, mut writer: StreamWriter<u8>, started: u64, ends: Ends) {
    let mut gap = Gap::default();
    let ends = [started + ends.at_a_gap * MS, started + ends.at_last * MS];
    loop {
        let mut read = std::pin::pin!(stream.read(Vec::with_capacity(CHUNK)));
        let mut next = None;
        for end in ends {
            match select(read.as_mut(), std::pin::pin!(monotonic_clock::wait_until(end))).await {
                Either::Left((read, _)) => {
                    next = Some(read);
                    break;
                }
                Either::Right(_) if gap.between_events() => break,
                Either::Right(_) => {}
            }
        }
        let Some((result, mut chunk)) = next else { break };
        let late = monotonic_clock::now() >= ends[0];
        let cut = if late { gap.up_to_gap(&chunk) } else { None };
        chunk.truncate(cut.unwrap_or(chunk.len()));
        gap.pass(&chunk);
        if !writer.write_all(chunk).await.is_empty() || !matches!(result, StreamResult::Complete(_)) {
            return;
        }
        if cut.is_some() {
            break;
        }
    }
    // In the middle of an event nothing may follow: the browser would take it for the event's end.
    if gap.between_events() {
        let _ = writer.write_all(COME_BACK.to_vec()).await;
    }
}
