//! Streams of events: nothing is missed, nobody hangs on, and a thousand that come and go leave nothing behind.

use super::masters::{finish, masters};
use crate::service::{Browser, Service};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// One event of a stream.
#[derive(Debug, Default)]
struct Told {
    event: String,
    id: String,
    data: Value,
}

struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(browser: &Browser<'_>, last: Option<&str>) -> Self {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last.map(|last| ("last-event-id", last)));
        let response = browser.signed(Method::GET, "/v1/events", Vec::new(), &headers).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; comments are passed over. `None`: the stream has ended.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((block, rest)) = self.text.clone().split_once("\n\n") {
                self.text = rest.to_owned();
                let mut told = Told::default();
                for line in block.lines() {
                    match line.split_once(": ").or_else(|| line.split_once(':')) {
                        Some(("event", name)) => name.clone_into(&mut told.event),
                        Some(("id", id)) => id.clone_into(&mut told.id),
                        Some(("data", data)) => told.data = serde_json::from_str(data).unwrap(),
                        _ => {}
                    }
                }
                if !told.event.is_empty() {
                    return Some(told);
                }
                continue;
            }
            let chunk =
                tokio::time::timeout(Duration::from_secs(40), self.response.chunk()).await.expect("a sign of life");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_how_things_stand_then_what_changes() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        let made = masters(&service, &guest, &["a.wav", "b.wav"]).await;
        let mut stream = Stream::open(&guest, None).await;
        let first = stream.next().await.unwrap();
        assert_eq!(
            (first.event.as_str(), first.data["items"].as_array().unwrap().len()),
            ("snapshot", 2),
            "{}",
            service.name
        );
        assert_eq!((&first.data["version"], first.id.as_str()), (&json!(2), "2"));
        assert_eq!(first.data["items"][0]["queue_position"], 1);

        finish(&service, &made[0], b"RIFF").await;
        let change = stream.next().await.unwrap();
        assert_eq!(
            (change.event.as_str(), &change.data["id"], &change.data["state"]),
            ("master", &json!(made[0]), &json!("done"))
        );
        assert_eq!(change.id, "3");
        guest.delete(&format!("/v1/masters/{}", made[1])).await.good();
        let gone = stream.next().await.unwrap();
        assert_eq!((&gone.data["id"], &gone.data["deleted"]), (&json!(made[1]), &json!(true)));
        drop(stream);

        // Back after a break: only what was missed, in its order.
        let mut stream = Stream::open(&guest, Some("2")).await;
        let missed = [stream.next().await.unwrap(), stream.next().await.unwrap()];
        assert_eq!(missed.map(|told| told.id), ["3", "4"]);
        // A version of another world: how things stand.
        for last in ["99", "-1", "x"] {
            assert_eq!(Stream::open(&guest, Some(last)).await.next().await.unwrap().event, "snapshot", "{last}");
        }
        // Nobody hears of others.
        let other = service.guest();
        let mut theirs = Stream::open(&other, None).await;
        assert_eq!(theirs.next().await.unwrap().data, json!({ "version": 0, "whole": true, "items": [] }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_poll_are_told_too() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        let made = masters(&service, &guest, &["a.wav"]).await;
        let first = guest.get("/v1/events").await;
        assert_eq!((&first.good()["version"], &first.good()["whole"]), (&json!(1), &json!(true)));
        let same =
            guest.send(Method::GET, "/v1/events?since=1", None, &[("if-none-match", &first.header("etag"))]).await;
        assert_eq!((same.status.as_u16(), same.body.len()), (304, 0), "{}", service.name);
        finish(&service, &made[0], b"RIFF").await;
        let changed = guest
            .send(Method::GET, "/v1/events?since=1", None, &[("if-none-match", &first.header("etag"))])
            .await
            .good();
        assert_eq!(
            (&changed["version"], &changed["whole"], &changed["items"][0]["state"]),
            (&json!(2), &json!(false), &json!("done"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_through_the_edge_ends_before_it_is_cut() {
    let service = Service::with(|config| config.edge.stream_seconds = 1).await;
    let guest = service.guest();
    let mut stream = Stream::open(&guest, None).await;
    assert_eq!(stream.next().await.unwrap().event, "snapshot");
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("by itself");
    assert!(ended.is_none());
    assert!(stream.text.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_says_goodbye() {
    let mut service = Service::start().await;
    let guest = service.guest();
    let mut stream = Stream::open(&guest, None).await;
    stream.next().await.unwrap();
    // Streams end by themselves; whoever asks for readiness meanwhile is told.
    service.app.draining.cancel();
    let ready = service.bearer(None, Method::GET, "/readyz", None).await;
    assert_eq!((ready.status.as_u16(), &ready.json()["draining"]), (503, &json!(true)));
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.next()).await.expect("at once");
    assert!(ended.is_none());
    service_stop(&mut service).await;
}

async fn service_stop(service: &mut Service) {
    tokio::time::timeout(Duration::from_secs(15), service.stop()).await.expect("nothing holds the process");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_stream_gives_way() {
    let service = Service::with(|config| config.limits.streams = 2).await;
    let guest = service.guest();
    let mut first = Stream::open(&guest, None).await;
    first.next().await.unwrap();
    let _second = Stream::open(&guest, None).await;
    let _third = Stream::open(&guest, None).await;
    assert!(tokio::time::timeout(Duration::from_secs(5), first.next()).await.expect("at once").is_none());
    assert_eq!(service.app.streams.taken(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_come_and_go() {
    let service = Service::with(|config| config.limits.guest.requests_a_minute = 100_000).await;
    let guests: Vec<_> = (0..250).map(|_| service.guest()).collect();
    for round in 0..4 {
        let mut open = Vec::new();
        for guest in &guests {
            open.push(Stream::open(guest, None).await);
        }
        assert_eq!(service.app.streams.taken(), 250, "round {round}");
        for (n, stream) in open.iter_mut().enumerate() {
            // Some read, some leave at once.
            if n % 3 == 0 {
                assert_eq!(stream.next().await.unwrap().event, "snapshot");
            }
        }
        drop(open);
        for _ in 0..200 {
            if service.app.streams.taken() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(service.app.streams.taken(), 0, "round {round}");
    }
    assert_eq!(guests[0].get("/v1/masters").await.status, 200);
}
