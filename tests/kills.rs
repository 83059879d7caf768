//! The whole service, killed again and again: `serve` as a process of its own, while `push` sends a folder and guests send files in
//! parts. Every kill may come at any moment; half of them come while a client has just asked for something. Afterwards nothing that
//! was acknowledged is lost, nothing is there twice, nothing waits for ever, and no file is left behind.
//!
//! `LOOPMASTER_TEST_KILLS`, `LOOPMASTER_TEST_SONGS` and `LOOPMASTER_TEST_SEED` change how much of it there is.

mod after;
mod clients;
mod world;

use clients::{Guest, Sent, Way};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use world::{Process, World};

/// Asked to end, the service finishes the tracks that run, or gives them back after 45 s.
const TO_END: Duration = Duration::from_mins(2);
/// After the last kill everything comes to its end within this time.
const TO_SETTLE: Duration = Duration::from_mins(20);
/// Runs of `push` that may be needed without a kill in between.
const RUNS: usize = 12;

#[derive(Clone, Copy, Debug)]
struct Size {
    kills: usize,
    songs: usize,
    guests: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes about a minute"]
async fn a_few_kills_lose_nothing() {
    survive(Size { kills: 3, songs: 4, guests: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes about half an hour"]
async fn four_hundred_kills_lose_nothing() {
    survive(Size { kills: number("KILLS", 400), songs: number("SONGS", 100), guests: 2 }).await;
}

/// Killed in the middle of a create: whoever repeats it is not sent away for a minute.
#[tokio::test]
async fn a_key_that_was_in_use_is_free_at_the_next_start() {
    let world = World::new(0).await;
    let db = world.db().await;
    let mut tx = db.begin().await.unwrap();
    let text = tx.sql("INSERT INTO idempotency (owner, key, fingerprint, created_at) VALUES ($1, 'k', 'f', {now})");
    sqlx::query(text).bind(&world.user).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    let mut server = world.serve();
    world.ready(&mut server).await;
    let batch = json!({ "name": "Album", "tracks": 1 });
    let answer = world.asking(Method::POST, "/v1/batches").header("idempotency-key", "k").json(&batch).send().await;
    assert_eq!(answer.unwrap().status(), 201);
}

fn number<T: std::str::FromStr>(name: &str, usual: T) -> T {
    let set = std::env::var(format!("LOOPMASTER_TEST_{name}")).ok();
    set.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("LOOPMASTER_TEST_{name}={text} is no number")))
}

/// What the kills were.
#[derive(Debug, Default)]
struct Kills {
    starting: usize,
    asked: usize,
    ready: usize,
    ended: usize,
    ending: usize,
}

async fn survive(size: Size) {
    let seed: u64 = number("SEED", rand::random());
    println!("seed {seed}: {size:?}");
    let mut rng = StdRng::seed_from_u64(seed);
    let began = Instant::now();
    let world = World::new(size.songs).await;
    println!("{:.0} s for the masters of an undisturbed run", began.elapsed().as_secs_f64());

    let began = Instant::now();
    let pushing = Pushing::default();
    let (stop, ways) = (CancellationToken::new(), [Way::Parts, Way::Companion, Way::Form]);
    let seeds: Vec<(Way, u64)> =
        ways.into_iter().flat_map(|way| vec![way; size.guests]).map(|way| (way, rng.random())).collect();
    let guests = seeds.into_iter().map(|(way, seed)| Guest::new(&world, way, seed).send_until(stop.clone()));
    let killing = async {
        let kills = kill(&world, size.kills, &mut rng, &pushing).await;
        stop.cancel();
        // The last one stays.
        let mut server = world.serve();
        world.ready(&mut server).await;
        println!("{:.0} s for {kills:?}", began.elapsed().as_secs_f64());
        (server, kills)
    };
    let all = async { tokio::join!(killing, pushing.rounds(&world, &stop), futures_util::future::join_all(guests)) };
    let most = Duration::from_secs(30 * size.kills as u64) + TO_SETTLE;
    let Ok(((server, kills), rounds, guests)) = tokio::time::timeout(most, all).await else {
        panic!("seed {seed}: something is stuck:\n{}\n{}", world.end_of("push.log"), world.end_of("serve.log"));
    };
    println!(
        "{:.0} s until all was quiet; {} rounds of push in {} runs, {} of them killed; it told of {:?}",
        began.elapsed().as_secs_f64(),
        rounds,
        pushing.runs.load(Ordering::Relaxed),
        pushing.killed.load(Ordering::Relaxed),
        world.push_failures()
    );
    let sent = |of: fn(&Sent) -> usize| guests.iter().map(|guest| of(&guest.sent)).sum::<usize>();
    println!(
        "guests: {} uploads begun, {} whole, {} of them mastered, {} parts; {} left, {} given up; {} requests without an answer, the \
         longest answered after {:.1} s",
        sent(|sent| sent.begun),
        sent(|sent| sent.whole.len()),
        sent(|sent| sent.whole.iter().filter(|whole| whole.master.is_some()).count()),
        sent(|sent| sent.parts),
        sent(|sent| sent.left.len()),
        sent(|sent| sent.given_up.len()),
        sent(|sent| sent.unanswered),
        guests.iter().map(|guest| guest.sent.longest).max().unwrap_or_default().as_secs_f64()
    );
    after::check(&world, server, guests, rounds).await;
    let findings = world.findings.lock().unwrap().clone();
    println!("{:.0} s in all", began.elapsed().as_secs_f64());
    if findings.is_empty() {
        return;
    }
    let logs = keep_logs(&world, seed);
    panic!("seed {seed}, {kills:?}, logs in {logs}: {} findings\n{}", findings.len(), findings.join("\n"));
}

fn keep_logs(world: &World, seed: u64) -> String {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kills-{seed}"));
    std::fs::create_dir_all(&folder).unwrap();
    for log in ["serve.log", "push.log"] {
        let _ = std::fs::copy(world.path(log), folder.join(log));
    }
    folder.display().to_string()
}

/// Starts the service and ends it, so many times.
async fn kill(world: &World, times: usize, rng: &mut StdRng, pushing: &Pushing) -> Kills {
    let mut kills = Kills::default();
    for number in 0..times {
        let mut server = world.serve();
        let wait = |rng: &mut StdRng, most: u64| {
            let wait = Duration::from_millis(rng.random_range(0..most));
            tokio::time::sleep(wait)
        };
        if number == 0 || rng.random_bool(0.15) {
            wait(rng, 400).await;
            kills.starting += 1;
        } else {
            world.ready(&mut server).await;
            // Now and then long enough for tracks to come to their end.
            let most = if rng.random_bool(0.3) { 6_000 } else { 1_500 };
            wait(rng, most).await;
            if rng.random_bool(0.5) {
                let _ = tokio::time::timeout(Duration::from_secs(2), world.steps.notified()).await;
                wait(rng, 25).await;
                kills.asked += 1;
            } else {
                kills.ready += 1;
            }
        }
        if rng.random_bool(0.1) {
            pushing.kill.store(true, Ordering::Relaxed);
        }
        if rng.random_bool(0.08) {
            server.ask_to_end();
            if rng.random_bool(0.5) {
                match server.end_within(TO_END).await {
                    None => world.found("`serve` does not end when it is asked to"),
                    // Asked before it could listen to anybody, it ends by the signal.
                    Some(status) if status.success() || status.code().is_none() => kills.ended += 1,
                    Some(status) => {
                        world.found(format!("`serve` was asked to end, and did with {status}"));
                    }
                }
            } else {
                wait(rng, 2_000).await;
                kills.ending += 1;
            }
        } else if let Some(status) = server.ended() {
            world.found(format!("`serve` ended by itself with {status}: {}", world.end_of("serve.log")));
        }
        server.kill();
        wait(rng, 200).await;
    }
    kills
}

/// `push`, started again until it has sent everything, and then for another folder.
#[derive(Debug, Default)]
struct Pushing {
    kill: AtomicBool,
    runs: AtomicUsize,
    killed: AtomicUsize,
}

impl Pushing {
    /// How many folders were sent.
    async fn rounds(&self, world: &World, stop: &CancellationToken) -> usize {
        let mut round = 0;
        while round == 0 || !stop.is_cancelled() {
            round += 1;
            let mut undisturbed = 0;
            while !self.run(world, round).await {
                undisturbed += usize::from(stop.is_cancelled());
                if undisturbed > RUNS {
                    world.found(format!("push does not come to an end: {}", world.end_of("push.log")));
                    return round;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        round
    }

    /// One run; whether it was good.
    async fn run(&self, world: &World, round: usize) -> bool {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.kill.store(false, Ordering::Relaxed);
        let mut push: Process = world.push(round);
        loop {
            if let Some(status) = push.end_within(Duration::from_millis(50)).await {
                if !matches!(status.code(), Some(0 | 1)) {
                    world.found(format!("push ended with {status}: {}", world.end_of("push.log")));
                }
                return status.success();
            }
            if self.kill.swap(false, Ordering::Relaxed) {
                push.kill();
                self.killed.fetch_add(1, Ordering::Relaxed);
                return false;
            }
        }
    }
}

/// How often each thing is there.
fn counted<T: Ord>(things: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for thing in things {
        *counts.entry(thing).or_default() += 1;
    }
    counts
}
