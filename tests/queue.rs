//! The queue on both databases: what it promises one by one, and against a model of it in memory (`model`).

mod model;

use crate::databases::{TestDb, databases};
use loopmaster::db::Db;
use loopmaster::queue::{
    self, Beat, Cancelled, Class, End, Failure, FailureClass, Fate, Lease, Limits, Lost, NewJob, QueueError,
};
use std::time::Duration;

pub(crate) fn limits() -> Limits {
    Limits {
        jobs: 8,
        bytes: 1 << 30,
        reserve: 1 << 28,
        whole: 2 << 30,
        seconds: 1e6,
        idle: true,
        lease: Duration::from_secs(30),
    }
}

pub(crate) fn track(subject: &str, owner: &str, class: Class, seconds: f64) -> NewJob {
    NewJob {
        kind: "master".to_owned(),
        subject: subject.to_owned(),
        owner_key: owner.to_owned(),
        class,
        seconds,
        bytes: 1 << 20,
        payload: String::new(),
        max_attempts: 5,
        run_at: None,
    }
}

pub(crate) async fn put(db: &Db, jobs: impl IntoIterator<Item = NewJob>) {
    let mut tx = db.begin().await.unwrap();
    for job in jobs {
        queue::enqueue(&mut tx, &job).await.unwrap().unwrap();
    }
    tx.commit().await.unwrap();
}

/// Leases run out and delays pass.
pub(crate) async fn pass(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    let text = "UPDATE jobs SET run_at = run_at - 3600000, lease_until = lease_until - 3600000";
    sqlx::query(text).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

async fn reap(db: &Db) -> Vec<Lost> {
    let mut tx = db.begin().await.unwrap();
    let reaped = queue::reap(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    reaped.into_iter().map(|job| job.lost).collect()
}

async fn died(db: &Db, worker: &str, end: End) -> Vec<Lost> {
    let mut tx = db.begin().await.unwrap();
    let reaped = queue::reap_worker(&mut tx, worker, end).await.unwrap();
    tx.commit().await.unwrap();
    reaped.into_iter().map(|job| job.lost).collect()
}

async fn finish(db: &Db, lease: &Lease) -> Result<(), QueueError> {
    let mut tx = db.begin().await?;
    queue::finish(&mut tx, lease).await?;
    Ok(tx.commit().await?)
}

async fn fail(db: &Db, lease: &Lease, class: FailureClass) -> Fate {
    let failure = Failure { class, code: "test.failed".into(), text: "it failed".into(), after: None };
    let mut tx = db.begin().await.unwrap();
    let fate = queue::fail(&mut tx, lease, &failure).await.unwrap();
    tx.commit().await.unwrap();
    fate
}

async fn ended(db: &Db, subject: &str) -> Vec<(String, Option<String>)> {
    let text = "SELECT state, error_code FROM job_history WHERE subject = $1 ORDER BY ended_at, id";
    sqlx::query_as(text).bind(subject).fetch_all(db.read()).await.unwrap()
}

fn subjects(leases: &[Lease]) -> Vec<&str> {
    leases.iter().map(|lease| lease.subject.as_str()).collect()
}

async fn each(run: impl AsyncFn(&TestDb)) {
    for test in databases().await {
        run(&test).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_waits_for_at_most_one_batch() {
    each(async |test| {
        let db = &test.db;
        put(db, (0..400).map(|n| track(&format!("heavy{n:03}"), "heavy", Class::Bulk, 10.0))).await;
        let batch = Limits { seconds: 50.0, idle: false, ..limits() };
        let first = queue::claim(db, "w1", &batch).await.unwrap();
        assert_eq!(subjects(&first), ["heavy000", "heavy001", "heavy002", "heavy003", "heavy004"], "{}", test.name());

        // One comes while the batch runs, one of many tracks of his own, and one whose single track is an hour long.
        put(db, [track("visitor", "visitor", Class::Interactive, 200.0)]).await;
        put(db, (0..10).map(|n| track(&format!("other{n}"), "other", Class::Bulk, 10.0))).await;
        let second = queue::claim(db, "w1", &batch).await.unwrap();
        assert!(subjects(&second).contains(&"visitor"), "{:?}", subjects(&second));
        assert!(subjects(&second).contains(&"other0"), "{:?}", subjects(&second));
        // From there on the two take turns.
        let third = queue::claim(db, "w1", &batch).await.unwrap();
        let heavy = subjects(&third).iter().filter(|subject| subject.starts_with("heavy")).count();
        assert!((2..=3).contains(&heavy), "{:?}", subjects(&third));

        // Where bulk has taken all there is, the reserve lets one in.
        put(db, [track("late", "late", Class::Interactive, 30.0)]).await;
        let full = Limits { jobs: 0, bytes: 0, ..batch };
        assert_eq!(subjects(&queue::claim(db, "w1", &full).await.unwrap()), ["late"]);
        assert!(queue::claim(db, "w1", &full).await.unwrap().is_empty());

        // What was done, or cancelled before it ran, is not held against an owner afterwards.
        for n in 100..400 {
            let mut tx = db.begin().await.unwrap();
            queue::cancel(&mut tx, "master", &format!("heavy{n:03}")).await.unwrap();
            tx.commit().await.unwrap();
        }
        loop {
            let leases = queue::claim(db, "w1", &limits()).await.unwrap();
            if leases.is_empty() {
                break;
            }
            for lease in leases {
                finish(db, &lease).await.unwrap();
            }
        }
        put(db, [track("again", "heavy", Class::Bulk, 10.0)]).await;
        put(db, [track("new", "new", Class::Bulk, 100.0)]).await;
        assert_eq!(subjects(&queue::claim(db, "w1", &limits()).await.unwrap()), ["again", "new"], "{}", test.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_does_not_travel() {
    each(async |test| {
        let db = &test.db;
        put(db, (0..8).map(|n| track(&format!("t{n}"), "owner", Class::Bulk, 10.0))).await;
        // Whoever runs t3 dies. Every start of a worker has its own name.
        let mut starts = 0;
        let mut deaths = 0;
        loop {
            starts += 1;
            let worker = format!("worker-{starts}");
            let mut died = false;
            while !died {
                let leases = queue::claim(db, &worker, &limits()).await.unwrap();
                if leases.is_empty() {
                    break;
                }
                if leases.iter().any(|lease| lease.subject == "t3") {
                    deaths += 1;
                    died = true;
                } else {
                    assert!(leases.iter().all(|lease| lease.solitary), "the neighbours are under suspicion too");
                    assert_eq!(leases.len(), 1);
                    finish(db, &leases[0]).await.unwrap();
                }
            }
            let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM jobs").fetch_one(db.read()).await.unwrap();
            if left == 0 {
                break;
            }
            assert!(starts < 20, "{}: it goes round and round", test.name());
            // The last run lies apart from the others: a start that finds nothing to do waits.
            pass(db).await;
            reap(db).await;
        }
        assert_eq!(deaths, 4, "{}: once in the batch, three times alone, the last of them a clean run", test.name());
        for n in 0..8 {
            let wanted = if n == 3 { ("dead", Some("queue.lost")) } else { ("done", None) };
            let found = ended(db, &format!("t{n}")).await;
            assert_eq!(found, [(wanted.0.to_owned(), wanted.1.map(str::to_owned))], "{} t{n}", test.name());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_alone_waits_for_an_idle_worker_and_holds_the_line() {
    each(async |test| {
        let db = &test.db;
        put(db, ["a", "b", "c"].map(|name| track(name, name, Class::Bulk, 10.0))).await;
        let one = Limits { jobs: 1, ..limits() };
        assert_eq!(subjects(&queue::claim(db, "w1", &one).await.unwrap()), ["a"]);
        pass(db).await;
        assert_eq!(reap(db).await, [Lost::Again]);
        let busy = Limits { idle: false, ..limits() };
        assert!(queue::claim(db, "w1", &busy).await.unwrap().is_empty(), "{}", test.name());
        let leases = queue::claim(db, "w1", &limits()).await.unwrap();
        assert_eq!((subjects(&leases), leases[0].solitary, leases[0].attempt), (vec!["a"], true, 2));

        // Lost once more by the same start of a worker: that is one failure of it, and not the job's. (It is a run of the few it has.)
        pass(db).await;
        assert_eq!(reap(db).await, [Lost::Again]);
        assert_eq!(subjects(&queue::claim(db, "w1", &limits()).await.unwrap()), ["a"]);
        // A second start is. Before a file is blamed, whatever goes on at the machine has time to pass.
        pass(db).await;
        reap(db).await;
        assert_eq!(subjects(&queue::claim(db, "w2", &limits()).await.unwrap()), ["a"]);
        pass(db).await;
        assert_eq!(reap(db).await, [Lost::Again]);
        let others = queue::claim(db, "w3", &limits()).await.unwrap();
        assert_eq!(subjects(&others), ["b", "c"], "{}: it does not run at once", test.name());
        for lease in &others {
            finish(db, lease).await.unwrap();
        }
        pass(db).await;
        assert_eq!(subjects(&queue::claim(db, "w3", &limits()).await.unwrap()), ["a"]);
        pass(db).await;
        assert!(matches!(&reap(db).await[..], [Lost::Dead("queue.lost", _)]), "{}", test.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chore_outlives_every_kill_and_ends_by_faults() {
    each(async |test| {
        let db = &test.db;
        put(db, [NewJob::chore("sweep", "sweep", String::new())]).await;
        let lose = async |worker: String, end: End| {
            pass(db).await;
            let claimed = queue::claim_chores(db, &worker, &["sweep"], 9, Duration::from_secs(30)).await.unwrap();
            assert_eq!(subjects(&claimed), ["sweep"], "{}", test.name());
            died(db, &worker, end).await
        };
        for n in 0..50 {
            assert_eq!(lose(format!("k{n}"), End::Killed).await, [Lost::Again]);
        }
        let mut crashes = 1;
        while lose(format!("c{crashes}"), End::Crashed).await == [Lost::Again] {
            crashes += 1;
            assert!(crashes < 100, "it goes round for ever");
        }
        println!("{}: dead after {crashes} crashes", test.name());
        assert!(crashes > 10);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_killed_says_nothing_about_a_file() {
    each(async |test| {
        let db = &test.db;
        put(db, [track("a", "a", Class::Bulk, 10.0)]).await;
        // Nobody waits for the lease of one that is known to be dead.
        for n in 0..8 {
            assert_eq!(
                subjects(&queue::claim(db, &format!("w{n}"), &limits()).await.unwrap()),
                ["a"],
                "{}",
                test.name()
            );
            assert_eq!(died(db, &format!("w{n}"), End::Killed).await, [Lost::Again]);
            pass(db).await;
        }
        // Seven of them while it was alone: it has all its attempts, and still it does not go round for ever.
        let row: (i64, i64, i64) = sqlx::query_as("SELECT lost_alone, kills, max_attempts - attempts FROM jobs")
            .fetch_one(db.read())
            .await
            .unwrap();
        assert_eq!(row, (0, 7, 5), "{}", test.name());
        queue::claim(db, "w8", &limits()).await.unwrap();
        assert!(matches!(&died(db, "w8", End::Killed).await[..], [Lost::Dead("queue.lost", _)]));

        // One that only seemed silent, until it was found killed: what was held against its job is taken back.
        put(db, [track("b", "b", Class::Bulk, 10.0)]).await;
        for worker in ["x1", "x2"] {
            queue::claim(db, worker, &limits()).await.unwrap();
            pass(db).await;
            reap(db).await;
        }
        let held = async || -> (i64, i64) {
            sqlx::query_as("SELECT lost_alone, kills FROM jobs").fetch_one(db.read()).await.unwrap()
        };
        assert_eq!(held().await, (1, 0));
        assert_eq!(died(db, "x2", End::Killed).await, []);
        assert_eq!(held().await, (0, 1), "{}", test.name());

        // Crashes count, however soon they are known.
        for (worker, wanted) in [("y1", true), ("y2", true), ("y3", false)] {
            pass(db).await;
            assert_eq!(subjects(&queue::claim(db, worker, &limits()).await.unwrap()), ["b"]);
            assert_eq!(died(db, worker, End::Crashed).await == [Lost::Again], wanted, "{} {worker}", test.name());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_a_day_keeps_nobody_waiting() {
    each(async |test| {
        let db = &test.db;
        let day_ahead = async || {
            let mut tx = db.begin().await.unwrap();
            let text = "UPDATE jobs SET run_at = run_at + 86400000, lease_until = lease_until + 86400000,
                created_at = created_at + 86400000";
            sqlx::query(text).execute(&mut *tx).await.unwrap();
            tx.commit().await.unwrap();
        };
        put(db, ["fresh", "failed", "runs"].map(|name| track(name, name, Class::Bulk, 1.0))).await;
        let leases = queue::claim(db, "w", &limits()).await.unwrap();
        fail(db, &leases[1], FailureClass::Transient).await;
        let mut tx = db.begin().await.unwrap();
        queue::release(&mut tx, &leases[0]).await.unwrap();
        let later = Some(db_now(&mut tx).await + 600_000);
        queue::enqueue(&mut tx, &NewJob { run_at: later, ..NewJob::chore("sweep", "all", "{}".into()) }).await.unwrap();
        queue::enqueue(&mut tx, &NewJob::chore("mail", "m1", "{}".into())).await.unwrap();
        tx.commit().await.unwrap();
        day_ahead().await;

        let mut ready = Vec::new();
        while let [lease] = &queue::claim(db, "w", &Limits { jobs: 1, ..limits() }).await.unwrap()[..] {
            finish(db, lease).await.unwrap();
            ready.push(lease.subject.clone());
        }
        assert_eq!(ready, ["fresh", "failed"], "{}", test.name());
        let chores = queue::claim_chores(db, "w", &["sweep", "mail"], 9, Duration::from_secs(30)).await.unwrap();
        let mut chores = subjects(&chores);
        chores.sort_unstable();
        assert_eq!(chores, ["all", "m1"], "{}", test.name());

        // A lease of tomorrow is one of now: a worker that lives keeps it, and of one that does not it ends in its usual time.
        assert!(reap(db).await.is_empty());
        let left: i64 = sqlx::query_scalar(db.sql("SELECT MAX(lease_until) - {now} FROM jobs WHERE state = 'running'"))
            .fetch_one(db.read())
            .await
            .unwrap();
        assert!((0..=30_000).contains(&left), "{}: {left}", test.name());
        assert_eq!(queue::heartbeat(db, &[&leases[2]]).await.unwrap(), [Beat::Held]);
        pass(db).await;
        assert!(reap(db).await.contains(&Lost::Again));

        // What waits as long as it was told to goes on waiting.
        put(db, [NewJob { run_at: later, ..track("later", "later", Class::Bulk, 1.0) }]).await;
        let waits = queue::claim(db, "w", &limits()).await.unwrap();
        assert!(!subjects(&waits).contains(&"later"), "{}", test.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_forward_takes_nobody_s_lease() {
    let test = crate::databases::sqlite().await;
    let db = &test.db;
    put(db, [track("a", "a", Class::Bulk, 1.0)]).await;
    let lease = queue::claim(db, "w", &limits()).await.unwrap().remove(0);
    pass(db).await;
    let mut tx = db.begin().await.unwrap();
    queue::grant_anew(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert!(reap(db).await.is_empty());
    assert_eq!(queue::heartbeat(db, &[&lease]).await.unwrap(), [Beat::Held]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_of_the_lease_ends_a_job() {
    each(async |test| {
        let db = &test.db;
        put(db, [track("a", "o", Class::Interactive, 10.0)]).await;
        let zombie = queue::claim(db, "w1", &limits()).await.unwrap().remove(0);
        pass(db).await;
        reap(db).await;
        let heir = queue::claim(db, "w2", &limits()).await.unwrap().remove(0);
        assert_eq!(queue::heartbeat(db, &[&zombie, &heir]).await.unwrap(), [Beat::Lost, Beat::Held]);

        // The zombie's transaction, result and all, is undone.
        let mut tx = db.begin().await.unwrap();
        sqlx::query("INSERT INTO guests (id, created_at) VALUES ('gst_zombie', 0)").execute(&mut *tx).await.unwrap();
        assert!(matches!(queue::finish(&mut tx, &zombie).await, Err(QueueError::Stale)));
        tx.rollback().await.unwrap();
        let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM guests").fetch_one(db.read()).await.unwrap();
        assert_eq!(left, 0);
        let failure = Failure { class: FailureClass::Permanent, code: "x.y".into(), text: String::new(), after: None };
        let mut tx = db.begin().await.unwrap();
        assert!(matches!(queue::fail(&mut tx, &zombie, &failure).await, Err(QueueError::Stale)));
        assert!(matches!(queue::release(&mut tx, &zombie).await, Err(QueueError::Stale)));
        tx.rollback().await.unwrap();

        // Two who believe to hold the same lease finish it at the same time: one result counts.
        let tries: Vec<_> = (0..8)
            .map(|_| {
                let (db, heir) = (db.clone(), &heir);
                async move { finish(&db, heir).await.is_ok() }
            })
            .collect();
        let won = futures_util::future::join_all(tries).await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1, "{}", test.name());
        assert_eq!(ended(db, "a").await, [("done".to_owned(), None)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_what_another_has() {
    each(async |test| {
        let db = &test.db;
        put(db, (0..60).map(|n| track(&format!("t{n}"), &format!("o{}", n % 7), Class::Bulk, 1.0))).await;
        let workers: Vec<_> = (0..6)
            .map(|worker| {
                let db = db.clone();
                tokio::spawn(async move {
                    let mut mine = Vec::new();
                    let mut empty = 0;
                    while empty < 3 {
                        let few = Limits { jobs: 3, idle: false, ..limits() };
                        let leases = queue::claim(&db, &format!("w{worker}"), &few).await.unwrap();
                        empty = if leases.is_empty() { empty + 1 } else { 0 };
                        for lease in leases {
                            finish(&db, &lease).await.unwrap();
                            mine.push(lease.subject);
                        }
                    }
                    mine
                })
            })
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.await.unwrap());
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 60, "{}", test.name());
        let done: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM job_history").fetch_one(db.read()).await.unwrap();
        assert_eq!(done, 60);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_by_their_class() {
    each(async |test| {
        let db = &test.db;
        put(db, [track("bad", "o", Class::Bulk, 1.0)]).await;
        let lease = queue::claim(db, "w", &limits()).await.unwrap().remove(0);
        assert_eq!(fail(db, &lease, FailureClass::Permanent).await, Fate::Dead);
        assert_eq!(ended(db, "bad").await, [("dead".to_owned(), Some("test.failed".to_owned()))]);

        // Transient: waits longer each time, and is given up at the last attempt.
        put(db, [track("flaky", "o", Class::Bulk, 1.0)]).await;
        for attempt in 1..=5 {
            let lease = queue::claim(db, "w", &limits()).await.unwrap().remove(0);
            assert_eq!(lease.attempt, attempt, "{}", test.name());
            let fate = fail(db, &lease, FailureClass::Transient).await;
            assert_eq!(fate, if attempt == 5 { Fate::Dead } else { Fate::Again });
            pass(db).await;
        }
        assert_eq!(ended(db, "flaky").await.len(), 1);

        // A device's failures and drains never count, and no two runs have the same number.
        put(db, [track("innocent", "o", Class::Bulk, 1.0)]).await;
        for attempt in 1..=12 {
            let lease = queue::claim(db, "w", &limits()).await.unwrap().remove(0);
            assert_eq!(lease.attempt, attempt);
            if attempt % 2 == 0 {
                assert_eq!(fail(db, &lease, FailureClass::Device).await, Fate::Again);
            } else {
                let mut tx = db.begin().await.unwrap();
                assert_eq!(queue::release(&mut tx, &lease).await.unwrap(), Fate::Again);
                tx.commit().await.unwrap();
            }
            assert!(!lease.solitary);
            pass(db).await;
        }
        let lease = queue::claim(db, "w", &limits()).await.unwrap().remove(0);
        assert_eq!(lease.max_attempts - lease.attempt, 4, "the five attempts are still there, and this is the first");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling() {
    each(async |test| {
        let db = &test.db;
        put(db, ["waits", "runs", "fails"].map(|name| track(name, "o", Class::Bulk, 1.0))).await;
        let cancel = async |subject: &str| {
            let mut tx = db.begin().await.unwrap();
            let found = queue::cancel(&mut tx, "master", subject).await.unwrap();
            tx.commit().await.unwrap();
            found
        };
        assert_eq!(cancel("waits").await, Cancelled::Gone);
        assert_eq!(cancel("waits").await, Cancelled::Unknown);
        let leases = queue::claim(db, "w", &limits()).await.unwrap();
        assert_eq!(subjects(&leases), ["runs", "fails"]);
        assert_eq!(cancel("runs").await, Cancelled::Asked);
        assert_eq!(queue::cancel_asked(db, "w").await.unwrap(), [leases[0].id.clone()]);
        assert_eq!(queue::heartbeat(db, &[&leases[0], &leases[1]]).await.unwrap(), [Beat::Cancel, Beat::Held]);
        let mut tx = db.begin().await.unwrap();
        queue::cancelled(&mut tx, &leases[0]).await.unwrap();
        tx.commit().await.unwrap();
        // One that fails on its own after it was to be cancelled does not come back.
        cancel("fails").await;
        assert_eq!(fail(db, &leases[1], FailureClass::Transient).await, Fate::Cancelled);
        for subject in ["waits", "runs", "fails"] {
            assert_eq!(ended(db, subject).await[0].0, "cancelled", "{} {subject}", test.name());
        }
        // The subject is free again.
        put(db, [track("runs", "o", Class::Bulk, 1.0)]).await;
        let mut tx = db.begin().await.unwrap();
        assert_eq!(queue::enqueue(&mut tx, &track("runs", "o", Class::Bulk, 1.0)).await.unwrap(), None);
        tx.commit().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_wrong() {
    each(async |test| {
        let db = &test.db;
        let short = Limits { lease: Duration::from_millis(150), ..limits() };
        put(db, [track("a", "o", Class::Bulk, 1.0)]).await;
        let lease = queue::claim(db, "w1", &short).await.unwrap().remove(0);
        assert!(lease.alive() && lease.left() <= Duration::from_millis(150));
        // The database's clock stands still or is set back: by its word the lease goes on, by the worker's own clock it has ended.
        let mut tx = db.begin().await.unwrap();
        sqlx::query("UPDATE jobs SET lease_until = lease_until + 3600000").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!lease.alive(), "{}", test.name());
        assert!(reap(db).await.is_empty());
        // A heartbeat that gets through while it is still ours brings it back.
        assert_eq!(queue::heartbeat(db, &[&lease]).await.unwrap(), [Beat::Held]);
        assert!(lease.alive());
        // It is set forward: the lease is gone before the worker would think so, and the worker is told.
        let lease = {
            pass(db).await;
            pass(db).await;
            assert_eq!(reap(db).await, [Lost::Again]);
            lease
        };
        assert_eq!(queue::heartbeat(db, &[&lease]).await.unwrap(), [Beat::Lost]);
        assert!(matches!(finish(db, &lease).await, Err(QueueError::Stale)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tracks_are_not_passed_by_small_ones() {
    each(async |test| {
        let db = &test.db;
        let sized = |name: &str, bytes: u64| NewJob { bytes, ..track(name, name, Class::Bulk, 10.0) };
        put(db, [sized("a", 600 << 20), sized("b", 600 << 20), sized("c", 1), sized("d", 3 << 30)]).await;
        let first = queue::claim(db, "w", &limits()).await.unwrap();
        assert_eq!(subjects(&first), ["a"], "{}: b does not fit beside a, and c waits behind b", test.name());
        let left = Limits { bytes: 424 << 20, idle: false, ..limits() };
        assert!(queue::claim(db, "w", &left).await.unwrap().is_empty());
        let second = queue::claim(db, "w", &Limits { idle: false, ..limits() }).await.unwrap();
        assert_eq!(subjects(&second), ["b", "c"]);
        // Larger than all there is: alone.
        assert!(queue::claim(db, "w", &Limits { idle: false, ..limits() }).await.unwrap().is_empty());
        assert_eq!(subjects(&queue::claim(db, "w", &limits()).await.unwrap()), ["d"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_chores_and_figures() {
    each(async |test| {
        let db = &test.db;
        let mut tx = db.begin().await.unwrap();
        assert_eq!(queue::class_for(&mut tx, "o", 3).await.unwrap(), Class::Interactive);
        for name in ["a", "b"] {
            queue::enqueue(&mut tx, &track(name, "o", Class::Interactive, 60.0)).await.unwrap();
        }
        assert_eq!(queue::class_for(&mut tx, "o", 1).await.unwrap(), Class::Interactive);
        assert_eq!(queue::class_for(&mut tx, "o", 2).await.unwrap(), Class::Bulk);
        let later = Some(db_now(&mut tx).await + 3_600_000);
        queue::enqueue(&mut tx, &NewJob { run_at: later, ..NewJob::chore("sweep", "all", "{}".into()) }).await.unwrap();
        queue::enqueue(&mut tx, &NewJob::chore("mail", "m1", "{}".into())).await.unwrap();
        tx.commit().await.unwrap();

        assert_eq!(queue::position(db, "master", "a").await.unwrap(), Some(0));
        assert_eq!(queue::position(db, "master", "b").await.unwrap(), Some(1));
        let depth = queue::depth(db).await.unwrap();
        let tracks = depth.iter().find(|depth| depth.class == Class::Interactive).unwrap();
        assert_eq!((tracks.jobs, tracks.seconds, tracks.running), (2, 120.0, false), "{}", test.name());
        assert!((0..60_000).contains(&tracks.oldest) && tracks.device == "any");
        // One that is to run in an hour is not old, however long ago it was made, and does not hide that another one waits.
        let mut tx = db.begin().await.unwrap();
        sqlx::query("UPDATE jobs SET created_at = created_at - 7200000").execute(&mut *tx).await.unwrap();
        sqlx::query("UPDATE jobs SET run_at = run_at - 5000 WHERE subject = 'm1'").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let chores = queue::depth(db).await.unwrap().into_iter().find(|depth| depth.class == Class::Chore).unwrap();
        assert!(chores.jobs == 2 && (5_000..60_000).contains(&chores.oldest), "{chores:?}");

        // Chores are none of the tracks' business, and only those one knows.
        assert_eq!(queue::claim(db, "w", &limits()).await.unwrap().len(), 2);
        let lasts = Duration::from_secs(30);
        assert!(queue::claim_chores(db, "w", &["sweep"], 9, lasts).await.unwrap().is_empty(), "not yet");
        let chores = queue::claim_chores(db, "w", &["sweep", "mail"], 9, lasts).await.unwrap();
        assert_eq!(subjects(&chores), ["m1"]);
        pass(db).await;
        assert_eq!(subjects(&queue::claim_chores(db, "w", &["sweep"], 9, lasts).await.unwrap()), ["all"]);
        assert_eq!(queue::position(db, "master", "a").await.unwrap(), None);
    })
    .await;
}

async fn db_now(tx: &mut loopmaster::db::Tx) -> i64 {
    let text = tx.sql("SELECT {now}");
    sqlx::query_scalar(text).fetch_one(&mut **tx).await.unwrap()
}
