//! Measures what docs/edge.md quotes: a GET through the edge beside the same GET without it, at a fixed rate, in one run; the size of the
//! component; and how long the host takes to its first answer.
//!
//!     cargo run --release -p loopmaster-edge-host --example latency [reuse] [concurrent]
//!
//! The api is a stand-in that does nothing, so the ratio is the worst there can be. With two addresses it measures what is running, e.g.
//! `./run` in another window:
//!
//!     cargo run --release -p loopmaster-edge-host --example latency 127.0.0.1:3001/v1/destinations 127.0.0.1:3000/v1/destinations

#[path = "../tests/host/support.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "the tests' stand-ins; not all of them are needed here")]
mod support;

use http::Method;
use http_body_util::BodyExt as _;
use loopmaster_edge_host::Options;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::{Api, Pool, client, get, manifest, open, options, start};
use tokio::time::MissedTickBehavior;

/// Requests per second, and seconds per turn.
const RATE: u32 = 200;
const SECONDS: u32 = 5;
const TURNS: usize = 4;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [direct, proxied] = &arguments[..]
        && direct.contains('/')
    {
        let pool = client();
        return compare(&pool, whereto(direct), whereto(proxied)).await;
    }
    let mut arguments = arguments.iter().map(|text| text.parse().expect("reuse and concurrent are numbers"));
    let spin = Options::default();
    let (reuse, concurrent) = (arguments.next().unwrap_or(spin.reuse), arguments.next().unwrap_or(spin.concurrent));
    let bytes = std::fs::metadata(support::component()).map_or(0, |file| file.len());
    println!("component: {bytes} bytes");
    starts().await;
    let api = Api::start().await;
    let edge =
        start(&manifest(&api.url, &[("limits", "read=1000000/60")]), Options { reuse, concurrent, ..options() }).await;
    let pool = client();
    compare(&pool, (api.address, "/direct"), (edge.address, "/v1/plain")).await;
    edge.stop().await;
}

/// `127.0.0.1:3000/path`
fn whereto(text: &str) -> (SocketAddr, &str) {
    let (address, _) = text.split_once('/').expect("address/path");
    (address.parse().expect("an address"), &text[address.len()..])
}

/// Both ways in turns, after both are warm.
async fn compare(pool: &Pool, direct: (SocketAddr, &str), proxied: (SocketAddr, &str)) {
    for (to, path) in [direct, proxied] {
        drop(load(pool, to, path, 1).await);
    }
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        one.extend(load(pool, direct.0, direct.1, SECONDS).await);
        other.extend(load(pool, proxied.0, proxied.1, SECONDS).await);
    }
    let (one, other) = (Figures::of(one), Figures::of(other));
    println!("direct:  {one:?}");
    println!("proxied: {other:?}");
    println!("p99 ratio: {:.2}", other.p99_ms / one.p99_ms);
}

/// Time from nothing to the first answer: without compiled code, and with it.
async fn starts() {
    let manifest = manifest("http://127.0.0.1:9", &[]);
    let folder = tempfile::tempdir().expect("a folder for compiled code");
    let mut times = Vec::new();
    for _ in 0..6 {
        let options = Options { cache: Some(folder.path().to_owned()), ..options() };
        let begun = Instant::now();
        let edge = start(&manifest, options).await;
        assert!(get(edge.address, "/livez", &[]).await.status.is_success());
        times.push(begun.elapsed());
        edge.stop().await;
        // The cache packs what it was given in a thread of its own.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!("start to first answer: cold {:?}, cached {:?}", times[0], &times[1..]);
}

#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
struct Figures {
    requests: usize,
    p50_ms: f64,
    p99_ms: f64,
    most_ms: f64,
}

impl Figures {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        Self { requests: times.len(), p50_ms: at(0.5), p99_ms: at(0.99), most_ms: at(1.0) }
    }
}

/// Milliseconds each of `RATE * seconds` requests took, one sent every `1 / RATE` seconds whether or not the others are back.
async fn load(pool: &Pool, to: SocketAddr, path: &str, seconds: u32) -> Vec<f64> {
    let mut clock = tokio::time::interval(Duration::from_secs(1) / RATE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tasks = Vec::new();
    for _ in 0..RATE * seconds {
        clock.tick().await;
        let (pool, path) = (pool.clone(), path.to_owned());
        tasks.push(tokio::spawn(async move {
            let begun = Instant::now();
            let answer = open(&pool, to, Method::GET, &path, &[], "").await;
            assert!(answer.status().is_success(), "{}", answer.status());
            answer.into_body().collect().await.expect("a whole body");
            begun.elapsed().as_secs_f64() * 1000.0
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.push(task.await.expect("a request that did not panic"));
    }
    times
}
