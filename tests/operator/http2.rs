//! One client of HTTP/2 that breaks the rules of good company.

use super::pictures::peak;
use super::{Serving, loopmaster};
use reqwest::Method;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Most the service may grow by, bytes.
const GROWTH: u64 = 64 << 20;

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Opens streams and resets each in the same breath, over one connection after another, for as long as it is allowed to: the streams
/// and the connections.
async fn reset(address: String, until: Instant) -> (u32, u32) {
    let (headers, rst_stream, settings) = (1, 3, 4);
    // GET, http, then path and authority as literals that are not indexed (RFC 7541).
    let mut request = vec![0x82, 0x86];
    for (name, value) in [(4, "/v1/status"), (1, address.as_str())] {
        request.extend([name, value.len() as u8]);
        request.extend(value.as_bytes());
    }
    let (mut streams, mut connections) = (0, 0);
    while Instant::now() < until {
        let Ok(stream) = TcpStream::connect(&address).await else { continue };
        let (mut from, mut to) = stream.into_split();
        let reading = tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(settings, 0, 0, &[]));
        connections += 1;
        let mut id = 1;
        while Instant::now() < until && !reading.is_finished() {
            for _ in 0..50 {
                bytes.extend(frame(headers, 0x5, id, &request));
                bytes.extend(frame(rst_stream, 0, id, &8_u32.to_be_bytes()));
                id += 2;
            }
            if to.write_all(&bytes).await.is_err() {
                break;
            }
            bytes.clear();
            streams += 50;
            // Two thousand a second of each: what is measured is the service, and not this machine.
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        reading.abort();
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
    // Each connection is ended for it, or at least does no harm.
    assert!(streams > 1_000 && answers > 10);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(grown < GROWTH, "{} MiB", grown >> 20);
    service.stop();
}
