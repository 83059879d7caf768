//! What operators ask of machines: pause, resume, drain; and what they see.

use super::{Service, working};
use crate::cli::{music, wav};
use crate::databases::databases;
use loopmaster::queue::Class;
use loopmaster::work::Worker;
use loopmaster::work::nodes::{self, ALL, Wish};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const SETTINGS: &str = r#"{"formats":["wav24"]}"#;

async fn ask(service: &Service, host: &str, wish: Wish) -> u64 {
    let mut tx = service.db.begin().await.unwrap();
    let changed = nodes::ask(&mut tx, host, wish).await.unwrap();
    tx.commit().await.unwrap();
    changed
}

/// The one worker that lives, once it has said so.
async fn only(service: &Service) -> nodes::Node {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let mut all = nodes::all(&service.db).await.unwrap();
        if let Some(node) = all.pop() {
            assert!(all.is_empty(), "{all:?}");
            return node;
        }
        assert!(Instant::now() < until, "no worker has said that it lives");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_machine_takes_nothing_new_until_it_is_resumed() {
    for test in databases().await {
        let service = Service::new(&test);
        assert_eq!(ask(&service, ALL, Wish::Pause).await, 1);
        assert_eq!(ask(&service, ALL, Wish::Pause).await, 0, "it is paused already");
        let mix = wav(&music(44_100, 4.0, 0.4), 44_100, true);
        working(service.config(), service.services(), async {
            let node = only(&service).await;
            assert!(node.paused && !node.draining && node.tracks == 0, "{node:?}");
            assert_eq!(node.device, "cpu");
            assert!(node.about.contains(env!("CARGO_PKG_VERSION")) && node.started_at > 0, "{node:?}");
            // The worker hears it within a second; what it has not heard of yet it would take.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let master = service.order("usr_1", "mix.wav", &mix, Class::Interactive, SETTINGS).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(service.state(&master).await, "waiting");

            // A pause of another machine changes nothing; the end of that of all lets this one go on.
            ask(&service, "elsewhere", Wish::Pause).await;
            assert_eq!(nodes::paused(&service.db).await.unwrap(), ["*", "elsewhere"]);
            assert_eq!(ask(&service, ALL, Wish::Resume).await, 2, "all that were paused go on");
            service.settled(std::slice::from_ref(&master), 60).await;
            assert_eq!(service.state(&master).await, "done");

            // By its own name.
            assert_eq!(ask(&service, &node.host, Wish::Pause).await, 1);
            assert!(only(&service).await.paused);
            assert_eq!(ask(&service, &node.host, Wish::Resume).await, 1);
            assert!(!only(&service).await.paused);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_finishes_what_it_holds_and_ends_alone() {
    for test in databases().await {
        let service = Service::new(&test);
        let mix = wav(&music(44_100, 20.0, 0.4), 44_100, true);
        let mut masters = Vec::new();
        for index in 0..5 {
            masters.push(service.order("usr_1", &format!("{index}.wav"), &mix, Class::Interactive, SETTINGS).await);
        }
        let process = CancellationToken::new();
        // One after the other: some of them are left for whoever comes next.
        let config = loopmaster::work::WorkConfig { tracks: 1, ..service.config() };
        let worker = Worker::new(config, service.services()).await.unwrap();
        let run = tokio::spawn(worker.run(process.clone()));
        let until = Instant::now() + Duration::from_secs(30);
        let node = loop {
            let node = only(&service).await;
            if node.tracks == 1 {
                break node;
            }
            assert!(Instant::now() < until, "{node:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(node.seconds > 0, "{node:?}");
        assert_eq!(ask(&service, &node.host, Wish::Drain).await, 1);
        tokio::time::timeout(Duration::from_mins(2), run).await.expect("the worker ends").unwrap();
        assert!(!process.is_cancelled(), "what else is in the process goes on");
        let mut done = 0;
        for master in &masters {
            let state = service.state(master).await;
            assert!(["done", "waiting"].contains(&state.as_str()), "{state}");
            done += usize::from(state == "done");
        }
        assert!((1..=4).contains(&done), "{done} were finished, and nothing new was taken");
        assert!(nodes::all(&service.db).await.unwrap().is_empty(), "it has said goodbye");
        assert_eq!(ask(&service, &node.host, Wish::Drain).await, 0, "nobody is left to drain");
    }
}
