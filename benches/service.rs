//! What the service costs beside its engine: the queue on both databases, and the worker beside the command line.
//!
//! `cargo bench --bench service` prints the queue's figures, with the disk's own rate of fsync beside them: on SQLite a commit is an
//! fsync, and the queue cannot be quicker than its disk but by sharing commits. `-- tracks N SECONDS` masters N tracks of SECONDS by
//! the command line and by a worker with its queue.

#[path = "../tests/databases/server.rs"]
mod server;

use loopmaster::db::{Db, new_id};
use loopmaster::queue::{self, Class, Limits, NewJob};
use loopmaster::work::sandbox::Sandbox;
use loopmaster::work::{Chores, Device, Files, FilesError, Services, Transfer, WorkConfig, Worker, estimate};
use loopmaster_core::render::Backend;
use loopmaster_core::render::cpu::Cpu;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn main() {
    loopmaster_cli::keep_pages();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("tracks") => {
            let number =
                |at: usize, default: f64| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
            runtime.block_on(tracks(number(1, 100.0) as usize, number(2, 10.0)));
        }
        _ => runtime.block_on(queues()),
    }
}

/// Commits of a kilobyte that this disk takes in a second, one after the other.
fn fsyncs(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("fsync")).expect("a file");
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(2) {
        file.write_all(&[7; 1024]).and_then(|()| file.sync_data()).expect("a disk");
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

async fn queues() {
    let folder = tempfile::tempdir().expect("a folder");
    println!("fsync: {:.0}/s", fsyncs(folder.path()));
    let sqlite = Db::connect(&format!("sqlite:{}", folder.path().join("bench.db").display())).await.expect("SQLite");
    let server = server::Server::shared(true);
    let postgres = Db::connect(&server.fresh("bench").await).await.expect("PostgreSQL");
    for (name, db) in [("SQLite", sqlite), ("PostgreSQL", postgres)] {
        db.migrate().await.expect("a schema");
        for (batch, jobs) in [(1, 2_000), (8, 4_000)] {
            enqueue(&db, jobs).await;
            let began = Instant::now();
            let workers: Vec<_> = (0..8).map(|worker| tokio::spawn(drain(db.clone(), worker, batch))).collect();
            let mut done = 0;
            for worker in workers {
                done += worker.await.expect("a worker");
            }
            assert_eq!(done, jobs);
            let rate = f64::from(jobs) / began.elapsed().as_secs_f64();
            println!("{name}, 8 workers, {batch} claimed at once, each finished by itself: {rate:.0} jobs/s");
        }
    }
}

async fn enqueue(db: &Db, jobs: u32) {
    let began = Instant::now();
    for part in 0..jobs / 100 {
        let mut tx = db.begin().await.expect("a transaction");
        for n in 0..100 {
            let job = NewJob {
                owner_key: format!("owner{}", n % 20),
                class: Class::Bulk,
                seconds: 10.0,
                bytes: 1 << 20,
                ..NewJob::chore("master", &format!("{part}-{n}-{}", new_id("mst")), "{}".to_owned())
            };
            queue::enqueue(&mut tx, &job).await.expect("a job");
        }
        tx.commit().await.expect("a commit");
    }
    println!("  enqueued, a hundred in a transaction: {:.0} jobs/s", f64::from(jobs) / began.elapsed().as_secs_f64());
}

async fn drain(db: Db, worker: u32, batch: usize) -> u32 {
    let limits = Limits {
        jobs: batch,
        bytes: 1 << 40,
        reserve: 0,
        whole: 1 << 40,
        seconds: 1e9,
        idle: false,
        lease: queue::LEASE,
    };
    let mut done = 0;
    loop {
        let leases = queue::claim(&db, &format!("w{worker}"), &limits).await.expect("a claim");
        if leases.is_empty() {
            return done;
        }
        for lease in leases {
            let mut tx = db.begin().await.expect("a transaction");
            queue::finish(&mut tx, &lease).await.expect("an end");
            tx.commit().await.expect("a commit");
            done += 1;
        }
    }
}

/// Storage that costs a copy.
struct Folder(PathBuf);

impl Files for Folder {
    fn fetch<'a>(&'a self, key: &'a str, to: &'a Path) -> Transfer<'a> {
        Box::pin(async move {
            tokio::fs::copy(self.0.join(key), to).await.map_err(|error| FilesError::Away(error.to_string()))?;
            Ok(())
        })
    }

    fn put<'a>(&'a self, key: &'a str, from: &'a Path, _media_type: &'a str) -> Transfer<'a> {
        Box::pin(async move {
            let away = |error: std::io::Error| FilesError::Away(error.to_string());
            let path = self.0.join(key);
            tokio::fs::create_dir_all(path.parent().unwrap_or(&self.0)).await.map_err(away)?;
            tokio::fs::copy(from, path).await.map_err(away)?;
            Ok(())
        })
    }
}

/// Processor seconds of this process and of its children that have ended.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit_once(") ").map_or("", |(_, after)| after);
    // utime, stime, cutime, cstime in hundredths.
    after.split(' ').skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Highest resident memory of this process so far, MiB.
fn peak() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

fn song(seconds: f64, seed: u32) -> Vec<u8> {
    let frames = (44_100.0 * seconds) as u32;
    let mut out = Vec::with_capacity(frames as usize * 4 + 44);
    let data = frames * 4;
    for (word, number) in [(b"RIFF", Some(36 + data)), (b"WAVE", None), (b"fmt ", Some(16))] {
        out.extend(word);
        out.extend(number.into_iter().flat_map(u32::to_le_bytes));
    }
    out.extend([1, 0, 2, 0]);
    out.extend(44_100_u32.to_le_bytes());
    out.extend(176_400_u32.to_le_bytes());
    out.extend([4, 0, 16, 0]);
    out.extend(b"data");
    out.extend(data.to_le_bytes());
    let mut noise = seed | 1;
    for n in 0..frames {
        let t = f64::from(n) / 44_100.0;
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        // A bed of noise: the gates listen in third octaves, and there is none without sound.
        let white = f64::from(noise) / f64::from(u32::MAX) - 0.5;
        let hit = white * (0.1 + (-(t % 0.5) / 0.03).exp());
        let tone = |hz: f64| (std::f64::consts::TAU * hz * t).sin();
        let body = 0.3 * tone(55.0) + 0.1 * tone(220.0) * (1.0 + 0.4 * tone(0.7)) + 0.05 * tone(1_318.5);
        for side in [0.4, 0.5] {
            out.extend((((body + side * hit) * 0.5 * 32_767.0) as i16).to_le_bytes());
        }
    }
    out
}

/// The command line and the worker with the same tracks, settings and threads.
async fn tracks(count: usize, seconds: f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mixes = folder.path().join("mixes");
    std::fs::create_dir(&mixes).expect("a folder");
    for n in 0..count {
        std::fs::write(mixes.join(format!("{n:04}.wav")), song(seconds, n as u32 * 77 + 5)).expect("a file");
    }
    let program = env!("CARGO_BIN_EXE_loopmaster");
    let (before, began) = (cpu(), Instant::now());
    let mut command = Command::new(program);
    command.arg("master").arg(&mixes).arg("-o").arg(folder.path().join("masters"));
    let status = command.args(["--quiet", "--preview", "--report", "--threads", "2"]).status().expect("the binary");
    assert!(status.success());
    let (alone, alone_wall) = (cpu() - before, began.elapsed().as_secs_f64());
    println!(
        "command line: {count} × {seconds} s, {alone:.1} CPU s, {alone_wall:.1} s, {:.1} × real time",
        count as f64 * seconds / alone_wall
    );

    let db = Db::connect(&format!("sqlite:{}", folder.path().join("bench.db").display())).await.expect("SQLite");
    db.migrate().await.expect("a schema");
    let root = folder.path().join("files");
    for n in 0..count {
        let (upload, master) = (new_id("upl"), new_id("mst"));
        let (owner, key, name) = (format!("usr_{}", n % 20), format!("stored/{upload}/x"), format!("{n:04}.wav"));
        let bytes = std::fs::metadata(mixes.join(&name)).expect("a file").len();
        std::fs::create_dir_all(root.join("stored").join(&upload)).expect("a folder");
        std::fs::rename(mixes.join(&name), root.join(&key)).expect("a move");
        let mut tx = db.begin().await.expect("a transaction");
        let text = "INSERT INTO uploads (id, owner, owner_key, name, media_type, bytes, fingerprint, state, client_key, stored_key,
            part_bytes, created_at, updated_at) VALUES ($1, $2, $2, $3, '', $4, '', 'stored', '', $5, 0, 0, 0)";
        let query = sqlx::query(text).bind(&upload).bind(&owner).bind(&name).bind(bytes as i64).bind(key);
        query.execute(&mut *tx).await.expect("a row");
        let text = "INSERT INTO masters (id, owner, upload_id, title, settings, state, attempt, created_at, version)
            VALUES ($1, $2, $3, '', '{}', 'waiting', 0, 0, 0)";
        sqlx::query(text).bind(&master).bind(&owner).bind(&upload).execute(&mut *tx).await.expect("a row");
        let size = estimate(bytes, "", &name, &loopmaster_core::settings::Limits::default());
        let chore = NewJob::chore("master", &master, "{}".to_owned());
        let job = NewJob {
            owner_key: owner,
            class: Class::Bulk,
            seconds: size.seconds,
            bytes: size.bytes,
            max_attempts: 5,
            ..chore
        };
        queue::enqueue(&mut tx, &job).await.expect("a job");
        tx.commit().await.expect("a commit");
    }

    let mut sandbox = Sandbox::new(loopmaster_core::settings::Limits::default()).expect("a sandbox");
    sandbox.program = program.into();
    let config = WorkConfig {
        budget: 2 << 30,
        threads: 2,
        tracks: 4,
        scratch: folder.path().join("scratch"),
        sandbox,
        lease: queue::LEASE,
        patience: Duration::from_secs(30),
    };
    let kernels: Arc<dyn Backend> = Arc::new(Cpu);
    let services = Services {
        db: db.clone(),
        files: Arc::new(Folder(root)),
        device: Device::cpu(Arc::clone(&kernels), 2),
        cpu: kernels,
        chores: Chores::default(),
        on_ended: None,
    };
    let worker = Worker::new(config, services).await.expect("a worker");
    let (memory, stop) = (worker.memory(), CancellationToken::new());
    let (before, began) = (cpu(), Instant::now());
    let working = tokio::spawn(worker.run(stop.clone()));
    let mut next = count / 4;
    loop {
        let done: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM masters WHERE state NOT IN ('waiting', 'running')")
            .fetch_one(db.read())
            .await
            .expect("a count");
        let done = done as usize;
        if done >= next.max(1) {
            println!("  {done} ended, peak resident {:.0} MiB", peak());
            next += (count / 4).max(1);
        }
        if done >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let wall = began.elapsed().as_secs_f64();
    stop.cancel();
    working.await.expect("a worker");
    let spent = cpu() - before;
    let good: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM masters WHERE state = 'done'")
        .fetch_one(db.read())
        .await
        .expect("a count");
    let (_, most, whole) = memory.figures();
    println!(
        "worker: {good} done, {spent:.1} CPU s, {wall:.1} s, {:.1} × real time; set aside at most {most} of {whole} decoded bytes",
        count as f64 * seconds / wall
    );
    println!("worker / command line: {:.2} × the CPU, {:.2} × the time", spent / alone, wall / alone_wall);
}
