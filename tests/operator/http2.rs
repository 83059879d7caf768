//! One client of HTTP/2 that breaks the rules of good company.

use super::pictures::peak;
use super::{Serving, loopmaster};
use reqwest::Method;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Most the service may grow by, bytes.
const GROWTH: u64 = 64 << 20;

/// Opens streams and resets each at once, over one connection after another, for as long as it is allowed to; how many were reset.
async fn reset(address: String, until: Instant) -> (usize, usize) {
    let (mut streams, mut connections) = (0, 0);
    while Instant::now() < until {
        let Ok(stream) = TcpStream::connect(&address).await else { continue };
        let Ok((client, connection)) = h2::client::handshake(stream).await else { continue };
        connections += 1;
        let driver = tokio::spawn(connection);
        let mut client = client;
        while Instant::now() < until {
            let Ok(ready) = client.ready().await else { break };
            client = ready;
            let request = axum::http::Request::builder().uri(format!("http://{address}/v1/status")).body(()).unwrap();
            let Ok((_, mut body)) = client.send_request(request, false) else { break };
            body.send_reset(h2::Reason::CANCEL);
            streams += 1;
        }
        driver.abort();
    }
    (streams, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_keep_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let service = Serving::start(&mut loopmaster(folder.path()));
    let address = service.url.trim_start_matches("http://").to_owned();
    let before = peak(service.pid());
    let until = Instant::now() + Duration::from_secs(4);
    let attackers: Vec<_> = (0..4).map(|_| tokio::spawn(reset(address.clone(), until))).collect();
    let (mut answers, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < until {
        let began = Instant::now();
        let answer = reqwest::Client::new().request(Method::GET, format!("{}/v1/status", service.url)).send().await;
        assert_eq!(answer.unwrap().status(), 200);
        slowest = slowest.max(began.elapsed());
        answers += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut streams, mut connections) = (0, 0);
    for attacker in attackers {
        let (reset, opened) = attacker.await.unwrap();
        (streams, connections) = (streams + reset, connections + opened);
    }
    let grown = peak(service.pid()).saturating_sub(before);
    println!(
        "{streams} streams reset over {connections} connections in 4 s; {answers} others answered, the slowest after {slowest:?}; {} MiB more",
        grown >> 20
    );
    assert!(streams > 1_000 && answers > 10);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(grown < GROWTH, "{} MiB", grown >> 20);
    service.stop();
}
