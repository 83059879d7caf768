//! kill -9 in the middle of a batch.

use super::{Folder, SETTINGS, Service};
use crate::cli::{music, wav};
use crate::databases::databases;
use loopmaster::db::Db;
use loopmaster::queue::{self, Class};
use loopmaster::work::{WorkConfig, Worker};
use sqlx::Row;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const URL: &str = "LOOPMASTER_TEST_URL";
const FOLDER: &str = "LOOPMASTER_TEST_FOLDER";
const LEASE: &str = "LOOPMASTER_TEST_LEASE";

/// Not a test: this binary as a worker process of its own.
#[test]
#[ignore = "the process that the test below kills"]
fn worker_process() {
    let (Ok(url), Ok(folder), Ok(lease)) = (std::env::var(URL), std::env::var(FOLDER), std::env::var(LEASE)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let folder = PathBuf::from(folder);
        let service = Service {
            db: Db::connect(&url).await.unwrap(),
            url,
            files: Arc::new(Folder { root: folder.join("files"), failing: AtomicUsize::new(0) }),
            folder,
            ended: Arc::default(),
            _temporary: None,
        };
        let lease = Duration::from_secs(lease.parse().unwrap());
        let config = WorkConfig { tracks: 8, lease, ..service.config() };
        let worker = Worker::new(config, service.services()).await.unwrap();
        worker.run(CancellationToken::new()).await;
    });
}

fn start(service: &Service, lease: Duration) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "work::kill::worker_process", "--nocapture", "--test-threads=1"])
        .env(URL, &service.url)
        .env(FOLDER, &service.folder)
        .env(LEASE, lease.as_secs().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_a_batch_of_eight_loses_none() {
    // `./test long` waits for the lease of the service; a shorter one shows the same.
    let long = std::env::var("PROPTEST_CASES").is_ok();
    let lease = if long { queue::LEASE } else { Duration::from_secs(4) };
    for test in databases().await {
        let service = Service::new(&test);
        let song = wav(&music(44_100, 15.0, 0.5), 44_100, false);
        let mut masters = Vec::new();
        for n in 0..8 {
            masters.push(service.order("usr_1", &format!("{n}.wav"), &song, Class::Bulk, SETTINGS).await);
        }
        let mut first = start(&service, lease);
        let until = Instant::now() + Duration::from_mins(1);
        let running = async || -> i64 {
            let text = "SELECT COUNT(*) FROM masters WHERE state = 'running'";
            sqlx::query_scalar(text).fetch_one(service.db.read()).await.unwrap()
        };
        while running().await < 8 {
            assert!(Instant::now() < until, "{}: only {} run", test.name(), running().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        first.kill().unwrap();
        first.wait().unwrap();
        let killed = Instant::now();
        let mut second = start(&service, lease);
        service.settled(&masters, 300).await;
        println!(
            "{}: all eight ended {:.1} s after the kill, lease {} s",
            test.name(),
            killed.elapsed().as_secs_f64(),
            lease.as_secs()
        );
        second.kill().unwrap();
        second.wait().unwrap();
        for master in &masters {
            let row = service.row(master).await;
            assert_eq!(row.get::<&str, _>("state"), "done", "{}", test.name());
            let attempt: i64 = row.get("attempt");
            assert!(attempt <= 2, "{attempt}");
            // What the first run may have uploaded is known, and is to be swept.
            for (key, state, of) in service.objects(master).await {
                assert_eq!(state, if of == attempt { "stored" } else { "doomed" }, "{key}");
            }
        }
    }
}
