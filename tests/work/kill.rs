//! kill -9 in the middle of a batch.

use super::{Folder, SETTINGS, Service};
use crate::cli::{music, wav};
use crate::databases::{databases, sqlite};
use loopmaster::db::Db;
use loopmaster::queue::{self, Class};
use loopmaster::work::{Files, Services, Transfer, WorkConfig, Worker};
use sqlx::Row;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const URL: &str = "LOOPMASTER_TEST_URL";
const FOLDER: &str = "LOOPMASTER_TEST_FOLDER";
const LEASE: &str = "LOOPMASTER_TEST_LEASE";

/// Storage that takes the worker along which fetches the file of this owner.
struct Poisoned(Arc<Folder>);

impl Files for Poisoned {
    fn fetch<'a>(&'a self, key: &'a str, to: &'a Path) -> Transfer<'a> {
        Box::pin(async move {
            self.0.fetch(key, to).await?;
            if std::fs::read(to).is_ok_and(|bytes| bytes.starts_with(b"poison")) {
                std::process::abort();
            }
            Ok(())
        })
    }

    fn put<'a>(&'a self, key: &'a str, from: &'a Path, media_type: &'a str) -> Transfer<'a> {
        self.0.put(key, from, media_type)
    }
}

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
            files: Arc::new(Folder::in_folder(folder.join("files"))),
            folder,
            ended: Arc::default(),
            _temporary: None,
        };
        let lease = Duration::from_secs(lease.parse().unwrap());
        let config = WorkConfig { tracks: 8, lease, ..service.config() };
        let services = Services { files: Arc::new(Poisoned(Arc::clone(&service.files))), ..service.services() };
        let worker = Worker::new(config, services).await.unwrap();
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

/// Folders of workers below the scratch, and whether a mix lies in them.
fn scratch(service: &Service) -> Vec<(PathBuf, bool)> {
    let Ok(workers) = std::fs::read_dir(service.folder.join("scratch")) else { return Vec::new() };
    let workers = workers.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let holds = |worker: &PathBuf| {
        let tracks = std::fs::read_dir(worker).map(|tracks| tracks.flatten().collect::<Vec<_>>()).unwrap_or_default();
        tracks.iter().any(|track| track.path().join("mix").exists())
    };
    workers.map(|worker| (worker.clone(), holds(&worker))).collect()
}

async fn until(what: &str, seconds: u64, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(seconds);
    while !holds().await {
        assert!(Instant::now() < until, "{what} within {seconds} s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_had_goes_and_the_living_keep_theirs() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let song = wav(&music(44_100, 60.0, 0.5), 44_100, false);
    let mut masters = Vec::new();
    for n in 0..3 {
        masters.push(service.order("usr_1", &format!("{n}.wav"), &song, Class::Bulk, SETTINGS).await);
    }
    let mut first = start(&service, queue::LEASE);
    until("a mix should be there", 60, async || scratch(&service).iter().any(|(_, holds)| *holds)).await;
    let dead = scratch(&service).remove(0).0;
    let mut second = start(&service, queue::LEASE);
    until("the second should have its folder", 60, async || scratch(&service).len() == 2).await;
    let living = scratch(&service).into_iter().map(|(path, _)| path).find(|path| *path != dead).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let killed = Instant::now();
    // Long before its leases would have run out.
    until("what the first had should be gone", 15, async || !dead.exists()).await;
    println!("gone {:.1} s after the kill", killed.elapsed().as_secs_f64());
    assert!(living.join("lock").exists());
    let text = "SELECT COUNT(*) FROM jobs WHERE state = 'running' AND worker_id = $1";
    let name = dead.file_name().unwrap().to_string_lossy().replace("worker-", "");
    let held: i64 = sqlx::query_scalar(text).bind(&name).fetch_one(service.db.read()).await.unwrap();
    assert_eq!(held, 0, "its jobs are free");
    let blamed: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM jobs WHERE lost_alone > 0")
        .fetch_one(service.db.read())
        .await
        .unwrap();
    assert_eq!(blamed, 0);
    service.settled(&masters, 200).await;
    for master in &masters {
        assert_eq!(service.state(master).await, "done");
    }
    second.kill().unwrap();
    second.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_crashes_every_worker_is_dead_after_a_few_clean_runs() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let song = wav(&music(44_100, 1.0, 0.5), 44_100, false);
    let fine = service.order("usr_1", "fine.wav", &song, Class::Bulk, SETTINGS).await;
    let poison = service.order("usr_1", "bad.wav", b"poison", Class::Bulk, SETTINGS).await;
    let mut crashes = 0;
    let mut worker = start(&service, queue::LEASE);
    let until = Instant::now() + Duration::from_mins(2);
    while service.state(&poison).await != "failed" {
        assert!(Instant::now() < until, "{crashes} crashes, and it is still {}", service.state(&poison).await);
        if worker.try_wait().unwrap().is_some() {
            crashes += 1;
            assert!(crashes <= 4, "it goes round and round");
            worker = start(&service, queue::LEASE);
        }
        // The time between its runs passes.
        let mut tx = service.db.begin().await.unwrap();
        sqlx::query("UPDATE jobs SET run_at = 0 WHERE state = 'waiting'").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let row = service.row(&poison).await;
    assert_eq!((crashes, row.get::<&str, _>("error_code")), (4, "queue.lost"), "in company, and three times alone");
    service.settled(std::slice::from_ref(&fine), 60).await;
    assert_eq!(service.state(&fine).await, "done");
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "25 kills take minutes"]
async fn twenty_five_kills_lose_none_of_forty() {
    use rand::RngExt;
    let test = sqlite().await;
    let service = Service::new(&test);
    let song = wav(&music(44_100, 20.0, 0.5), 44_100, false);
    let mut masters = Vec::new();
    for n in 0..40 {
        masters.push(service.order("usr_1", &format!("{n}.wav"), &song, Class::Bulk, SETTINGS).await);
    }
    for _ in 0..25 {
        let mut worker = start(&service, queue::LEASE);
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(1_000..5_000))).await;
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let mut worker = start(&service, queue::LEASE);
    service.settled(&masters, 1_500).await;
    worker.kill().unwrap();
    worker.wait().unwrap();
    for master in &masters {
        assert_eq!(
            service.state(master).await,
            "done",
            "{:?}",
            service.row(master).await.get::<Option<String>, _>("error_text")
        );
    }
    assert_eq!(scratch(&service).iter().filter(|(_, holds)| *holds).count(), 0);
}
