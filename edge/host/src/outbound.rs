//! Requests of the component to others: only to hosts the manifest allows, over connections that are kept.
//!
//! One connection per request is what makes a proxy's slow tail: every request pays the handshake, and a burst overflows the accept
//! queue of the server, whereupon the kernel repeats a SYN only after a second.

use bytes::Bytes;
use http::uri::Scheme;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, timeout};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// How long an idle connection is kept: shorter than servers keep theirs, so that it is rarely closed under a request.
const IDLE: Duration = Duration::from_secs(20);
/// Idle connections per host.
const IDLE_CONNECTIONS: usize = 64;
/// Without a wish of the component: time to connect, to the head of an answer, and between its parts.
const CONNECT: Duration = Duration::from_secs(5);
const FIRST_BYTE: Duration = Duration::from_secs(30);
const BETWEEN_BYTES: Duration = Duration::from_mins(1);

/// Hosts a component may connect to: `scheme://host:port`, where scheme, host or port can be `*` and a host can begin with `*.`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<Allowed>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl AllowedHosts {
    /// Reads the manifest's list.
    pub fn parse(list: &[String]) -> Result<Self, String> {
        let one = |entry: &String| {
            let fault = || format!("allowed_outbound_hosts: `{entry}` is not scheme://host:port");
            let (scheme, rest) = entry.split_once("://").ok_or_else(fault)?;
            let authority = rest.strip_suffix('/').unwrap_or(rest);
            if authority.is_empty() || authority.contains(['/', '@', '?', '#']) {
                return Err(fault());
            }
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, port),
                _ => (authority, ""),
            };
            let port = match (port, scheme) {
                ("*", _) => None,
                ("", "https") => Some(443),
                ("", "http") => Some(80),
                ("", _) => return Err(fault()),
                (port, _) => Some(port.parse().map_err(|_| fault())?),
            };
            Ok(Allowed { scheme: scheme.to_ascii_lowercase(), host: host.to_ascii_lowercase(), port })
        };
        list.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a connection is allowed.
    #[must_use]
    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        self.0.iter().any(|allowed| {
            let fits = match allowed.host.strip_prefix('*') {
                None => allowed.host == host,
                Some("") => true,
                Some(suffix) => host.len() > suffix.len() && suffix.starts_with('.') && host.ends_with(suffix),
            };
            fits && (allowed.scheme == "*" || allowed.scheme == scheme)
                && allowed.port.is_none_or(|allowed| allowed == port)
        })
    }
}

/// The pooled client, shared by all instances.
pub(crate) struct Outbound {
    client: Client<HttpsConnector<HttpConnector>, WasiBody>,
    allowed: AllowedHosts,
}

impl Outbound {
    pub(crate) fn new(allowed: AllowedHosts) -> std::io::Result<Self> {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(https);
        Ok(Self { client, allowed })
    }

    async fn send(
        &self,
        request: http::Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<http::Response<WasiBody>, Error> {
        let uri = request.uri();
        let scheme = uri.scheme_str().unwrap_or("https");
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
        if !self.allowed.allows(scheme, host, port) {
            eprintln!(
                "edge_host.outbound_denied {scheme}://{host}:{port} is not in allowed_outbound_hosts of the manifest"
            );
            return Err(Error::HttpRequestDenied);
        }
        let first_byte = options.first_byte_timeout.unwrap_or(FIRST_BYTE);
        let answer =
            timeout(first_byte, self.client.request(request)).await.map_err(|_| Error::ConnectionReadTimeout)?;
        let answer = answer.map_err(|error| describe(&error))?;
        let patience = options.between_bytes_timeout.unwrap_or(BETWEEN_BYTES);
        Ok(answer.map(|body| Patient { body, patience, sleep: Box::pin(tokio::time::sleep(patience)) }.boxed_unsync()))
    }
}

/// Which of WASI's errors it is.
fn describe(error: &hyper_util::client::legacy::Error) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
                std::io::ErrorKind::TimedOut => Error::ConnectionTimeout,
                std::io::ErrorKind::InvalidData if error.is_connect() => Error::TlsProtocolError,
                _ if error.is_connect() => Error::DestinationUnavailable,
                _ => Error::ConnectionTerminated,
            };
        }
        source = cause.source();
    }
    if error.is_connect() { Error::DestinationUnavailable } else { Error::InternalError(Some(error.to_string())) }
}

/// A body whose parts may not be too far apart.
struct Patient {
    body: Incoming,
    patience: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Body for Patient {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.sleep.as_mut().reset(Instant::now() + this.patience);
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        ready!(this.sleep.as_mut().poll(context));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The pool, as wasi:http asks for it.
pub(crate) struct Hooks(pub(crate) Arc<Outbound>);

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _answer_read: Io,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Io), Error>> + Send> {
        let outbound = Arc::clone(&self.0);
        Box::new(async move {
            let answer = outbound.send(request, options.unwrap_or_default()).await?;
            // The pool drives connections by itself.
            Ok((answer, Box::new(async { Ok(()) }) as Io))
        })
    }

    fn default_scheme(&mut self) -> Option<Scheme> {
        Some(Scheme::HTTPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(list: &[&str]) -> AllowedHosts {
        AllowedHosts::parse(&list.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn nothing_is_allowed_that_is_not_listed() {
        assert!(!hosts(&[]).allows("http", "127.0.0.1", 3001));
        let api = hosts(&["http://127.0.0.1:3001", "https://api.example", "https://*.s3.example:*"]);
        assert!(api.allows("http", "127.0.0.1", 3001) && api.allows("https", "API.example", 443));
        assert!(api.allows("https", "a.s3.example", 9000));
        for (scheme, host, port) in [
            ("https", "127.0.0.1", 3001),
            ("http", "127.0.0.1", 3002),
            ("http", "localhost", 3001),
            ("https", "api.example.evil", 443),
            ("https", ".s3.example", 443),
            ("https", "s3.example", 443),
            ("http", "169.254.169.254", 80),
        ] {
            assert!(!api.allows(scheme, host, port), "{scheme}://{host}:{port}");
        }
        assert!(hosts(&["*://*:*"]).allows("http", "anything", 1));
        assert!(hosts(&["http://[::1]:3001"]).allows("http", "[::1]", 3001));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for wrong in ["api.example", "http://", "http://a/b", "http://a:port", "redis://a", "http://u@a:1"] {
            assert!(AllowedHosts::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
