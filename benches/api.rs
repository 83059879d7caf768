//! The API on one machine: SQLite, embedded storage, the client beside it. `cargo bench --bench api`
//!
//! Uploads arrive at a fixed rate whether or not earlier ones are done (an open loop), so that a stall shows in every upload it delays.
//! The disk's own fsync rate stands beside, for that is what a commit and an upload cost.

#[path = "../tests/service.rs"]
#[expect(dead_code, reason = "the tests' helper; its refusals are not looked at here")]
#[expect(clippy::unwrap_used, clippy::assigning_clones, reason = "it is written for tests, which may stop anywhere")]
mod service;

use reqwest::Method;
use serde_json::json;
use service::Service;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const UPLOADS_A_SECOND: u64 = 100;
const SECONDS: u64 = 10;
const READERS: usize = 32;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let service = Service::with(|config| {
            for quota in [&mut config.limits.user, &mut config.limits.guest] {
                quota.requests_a_minute = 10_000_000;
                quota.creates_an_hour = 3_600_000;
                quota.tracks_a_day = 86_400_000;
                quota.waiting = 1_000_000;
                quota.stored_bytes = 1 << 50;
            }
        })
        .await;
        println!("fsync of this disk: {:.0}/s", fsyncs(service.folder()));
        let user = service.user("bench@example.org").await.user.expect("a user");
        let token = service.token(&user, "uploads masters").await;
        let service = Arc::new(service);
        uploads(&service, &token).await;
        reads(&service, &token).await;
    });
}

fn fsyncs(folder: &std::path::Path) -> f64 {
    let mut file = tempfile::tempfile_in(folder).expect("a file");
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < Duration::from_secs(1) {
        file.write_all(&[0; 4096]).expect("written");
        file.sync_data().expect("synced");
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

/// Milliseconds of the three calls of an upload, and of the PUT to storage between them.
async fn upload(service: &Service, token: &str) -> [f64; 4] {
    let mut at = Instant::now();
    let mut lap = || {
        let took = at.elapsed().as_secs_f64() * 1e3;
        at = Instant::now();
        took
    };
    let content = vec![7_u8; 64 << 10];
    let wish = json!({ "name": "a.wav", "bytes": content.len(), "settings": {} });
    let made = service.bearer(Some(token), Method::POST, "/v1/uploads", Some(wish)).await.good();
    let create = lap();
    let id = made["id"].as_str().expect("an id");
    let path = format!("/v1/uploads/{id}/parts");
    let signed = service.bearer(Some(token), Method::POST, &path, Some(json!({ "numbers": [1] }))).await.good();
    let sign = lap();
    let put = service
        .http
        .put(signed["urls"]["1"].as_str().expect("an address"))
        .body(content)
        .send()
        .await
        .expect("an answer");
    let etag = put.headers()["etag"].to_str().expect("text").to_owned();
    let put = lap();
    let path = format!("/v1/uploads/{id}/complete");
    let parts = json!({ "parts": [{ "number": 1, "etag": etag }] });
    service.bearer(Some(token), Method::POST, &path, Some(parts)).await.good();
    [create, sign, put, lap()]
}

async fn uploads(service: &Arc<Service>, token: &str) {
    for _ in 0..20 {
        upload(service, token).await;
    }
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / UPLOADS_A_SECOND));
    let mut tasks = tokio::task::JoinSet::new();
    let began = Instant::now();
    for _ in 0..UPLOADS_A_SECOND * SECONDS {
        tick.tick().await;
        let (service, token) = (Arc::clone(service), token.to_owned());
        tasks.spawn(async move { upload(&service, &token).await });
    }
    let all = tasks.join_all().await;
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    println!("uploads: {rate:.1}/s of {UPLOADS_A_SECOND}/s asked for, 64 KiB each");
    for (name, which) in [
        ("create", vec![0]),
        ("sign", vec![1]),
        ("PUT", vec![2]),
        ("complete", vec![3]),
        ("create + sign + complete", vec![0, 1, 3]),
    ] {
        let mut times: Vec<f64> = all.iter().map(|laps| which.iter().map(|lap| laps[*lap]).sum()).collect();
        print_times(name, &mut times);
    }
}

fn print_times(name: &str, times: &mut [f64]) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
    println!("  {name}: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms", at(0.5), at(0.99), at(1.0));
}

/// A client of a few lines, so that it takes little of the two cores.
async fn reads(service: &Arc<Service>, token: &str) {
    let list = service.bearer(Some(token), Method::GET, "/v1/masters?limit=1", None).await.good();
    let id = list["items"][0]["id"].as_str().expect("a master").to_owned();
    let request = format!("GET /v1/masters/{id} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    let mut tasks = tokio::task::JoinSet::new();
    let until = Instant::now() + Duration::from_secs(SECONDS);
    for _ in 0..READERS {
        let (authority, request) = (service.authority().to_owned(), request.clone());
        tasks.spawn(async move {
            let mut stream = tokio::net::TcpStream::connect(authority).await.expect("a connection");
            let mut buffer = vec![0; 16 << 10];
            let mut times = Vec::new();
            while Instant::now() < until {
                let at = Instant::now();
                stream.write_all(request.as_bytes()).await.expect("sent");
                read_answer(&mut stream, &mut buffer).await;
                times.push(at.elapsed().as_secs_f64() * 1e3);
            }
            times
        });
    }
    let mut times = tasks.join_all().await.concat();
    println!("GET /v1/masters/{{id}}: {:.0}/s with {READERS} connections", times.len() as f64 / SECONDS as f64);
    print_times("each", &mut times);
}

async fn read_answer(stream: &mut tokio::net::TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.expect("an answer");
        assert!(read > 0, "the service closed the connection");
        filled += read;
        let text = std::str::from_utf8(&buffer[..filled]).expect("text");
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            assert!(head.starts_with("HTTP/1.1 200"), "{text}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if body.len() >= length.parse::<usize>().expect("a number") {
                return;
            }
        }
    }
}
