//! Connections: bounded in number, in the time a head may take, and ended politely.

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use loopmaster_net::{Answering, Limits, Listener, Seat};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// The head of a request has to arrive within this time; on a kept connection the next one has.
const HEAD_TIME: Duration = Duration::from_secs(15);

/// The place of a request's connection among the others, for whoever can vouch for it.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Seat>);

impl Place {
    /// The edge is at the other end: it brings many visitors through one address, and counts them itself.
    pub(super) fn vouch(&self) {
        self.0.vouch();
    }
}

/// Serves until `stop`, then lets answers on their way end, for at most `grace`.
pub async fn serve(listener: TcpListener, limits: Limits, router: Router, stop: CancellationToken, grace: Duration) {
    let listener = Listener::new(listener, Limits { first: HEAD_TIME, ..limits });
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept(|error| tracing::warn!(%error, "a connection could not be accepted")) => accepted,
        };
        let (stream, peer) = accepted;
        let seat = stream.seat();
        let router = router.clone();
        let stop = stop.clone();
        tracker.spawn(async move {
            let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
                let (router, asking, place) = (router.clone(), seat.request(), Place(Arc::clone(&seat)));
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                request.extensions_mut().insert(place);
                async move {
                    let answered: Result<Response, _> = router.oneshot(request).await;
                    answered.map(|response| response.map(|body| Answering::new(body, asking)))
                }
            });
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
            builder
                .http2()
                .timer(TokioTimer::new())
                .keep_alive_interval(Duration::from_secs(20))
                .keep_alive_timeout(Duration::from_secs(20))
                // Streams that are opened and reset before anybody looked at them.
                .max_pending_accept_reset_streams(20)
                .max_concurrent_streams(128);
            let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            // Clients that break off are everyday.
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        });
    }
    tracker.close();
    drop(listener);
    if tokio::time::timeout(grace, tracker.wait()).await.is_err() {
        tracing::warn!(seconds = grace.as_secs(), "some connections were cut");
    }
}
