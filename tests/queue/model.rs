//! The queue against a model of it: the same random calls to both, on both databases, and after each call the same rows.

use super::{limits, pass};
use crate::databases::{TestDb, postgres, sqlite};
use loopmaster::db::Db;
use loopmaster::queue::{
    self, Cancelled, Class, End, Failure, FailureClass, Fate, Lease, Limits, Lost, NewJob, QueueError,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::Row;
use std::collections::BTreeMap;
use std::time::Duration;

/// One call.
#[derive(Clone, Debug)]
enum Op {
    Enqueue {
        owner: u8,
        class: Class,
        seconds: u8,
        size: u64,
        subject: u8,
        tries: u32,
    },
    Claim {
        worker: usize,
        jobs: usize,
        bytes: u64,
        reserve: u64,
        seconds: u16,
        idle: bool,
    },
    /// The k-th lease ever given, perhaps long lost.
    Finish(usize),
    Fail(usize, FailureClass),
    Release(usize),
    Stop(usize),
    Beat(usize),
    Cancel(u8),
    /// A worker starts anew, under a new name.
    Restart(usize),
    /// A worker dies and is found; `true`: by a fault of its own.
    Die(usize, bool),
    Pass,
    Reap,
}

fn op() -> impl Strategy<Value = Op> {
    let class = prop_oneof![Just(Class::Interactive), Just(Class::Bulk), Just(Class::Bulk)];
    let failure = prop_oneof![Just(FailureClass::Permanent), Just(FailureClass::Transient), Just(FailureClass::Device)];
    prop_oneof![
        8 => (0..4_u8, class, 0..100_u8, 0..8_u64, 0..14_u8, 1..4_u32)
            .prop_map(|(owner, class, seconds, size, subject, tries)| Op::Enqueue { owner, class, seconds, size, subject, tries }),
        8 => (0..3_usize, 0..5_usize, 0..10_u64, 0..4_u64, 0..200_u16, any::<bool>())
            .prop_map(|(worker, jobs, bytes, reserve, seconds, idle)| Op::Claim { worker, jobs, bytes, reserve, seconds, idle }),
        4 => (0..40_usize).prop_map(Op::Finish),
        3 => (0..40_usize, failure).prop_map(|(lease, class)| Op::Fail(lease, class)),
        1 => (0..40_usize).prop_map(Op::Release),
        1 => (0..40_usize).prop_map(Op::Stop),
        2 => (0..40_usize).prop_map(Op::Beat),
        2 => (0..14_u8).prop_map(Op::Cancel),
        1 => (0..3_usize).prop_map(Op::Restart),
        2 => (0..3_usize, any::<bool>()).prop_map(|(worker, crashed)| Op::Die(worker, crashed)),
        2 => Just(Op::Pass),
        3 => Just(Op::Reap),
    ]
}

/// A job as the model knows it.
#[derive(Clone, Debug, PartialEq)]
struct Job {
    subject: String,
    owner: String,
    class: Class,
    seconds: f64,
    bytes: u64,
    turn: f64,
    due: bool,
    /// Who has it, and whether the lease has run out.
    run: Option<(String, bool)>,
    attempts: i64,
    most: i64,
    solitary: bool,
    lost_alone: i64,
    lost_on: Option<String>,
    kills: i64,
    cancel: bool,
}

#[derive(Default)]
struct Model {
    /// By id: ids sort by age.
    jobs: BTreeMap<String, Job>,
    ended: BTreeMap<String, (&'static str, i64)>,
    finish: BTreeMap<String, f64>,
    now: f64,
}

impl Model {
    /// What a claim gives: by the words of the documentation, not by the code's.
    fn claim(&mut self, worker: &str, limits: &Limits) -> Vec<String> {
        let mut line: Vec<(String, Job)> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.run.is_none() && job.due)
            .map(|(id, job)| (id.clone(), job.clone()))
            .collect();
        line.sort_by(|(a, x), (b, y)| x.turn.total_cmp(&y.turn).then(a.cmp(b)));
        let head = line.first().map(|(_, job)| job.turn);
        let mut got: Vec<(String, Job)> = Vec::new();
        let mut stuck: Vec<Class> = Vec::new();
        for (id, job) in line {
            if stuck.contains(&job.class) {
                continue;
            }
            if job.solitary || job.bytes > limits.whole {
                if got.is_empty() && limits.idle && limits.jobs > 0 {
                    got.push((id, job));
                }
                break;
            }
            let taken: u64 = got.iter().map(|(_, job)| job.bytes).sum();
            let heard: f64 = got.iter().map(|(_, job)| job.seconds).sum();
            let visitor = job.class == Class::Interactive;
            let room = limits.bytes + if visitor { limits.reserve } else { 0 };
            let first = got.is_empty() && limits.jobs > 0;
            let slot = visitor && !got.iter().any(|(_, job)| job.class == Class::Interactive);
            let batch = got.len() < limits.jobs && heard + job.seconds <= limits.seconds;
            if (first && limits.idle) || (taken + job.bytes <= room && (first || slot || batch)) {
                got.push((id, job));
            } else {
                stuck.push(job.class);
            }
        }
        let ids: Vec<String> = got.into_iter().map(|(id, _)| id).collect();
        if let Some(head) = head.filter(|_| !ids.is_empty()) {
            self.now = self.now.max(head);
        }
        for id in &ids {
            let job = self.jobs.get_mut(id).unwrap();
            job.run = Some((worker.to_owned(), false));
            job.attempts += 1;
        }
        ids
    }

    /// Whether a lease is still the one that counts.
    fn holds(&self, lease: &Lease) -> bool {
        self.jobs.get(&lease.id).is_some_and(|job| job.run.is_some() && job.attempts == lease.attempt)
    }

    /// What the loss of a job's worker means for it.
    fn lose(&mut self, id: &str, end: End, lost: &Lost) {
        let job = self.jobs.get_mut(id).unwrap();
        let worker = job.run.take().unwrap().0;
        if end == End::Killed {
            job.most += 1;
            job.kills += i64::from(job.solitary);
        } else if job.solitary && job.lost_on.as_ref() != Some(&worker) {
            job.lost_alone += 1;
        }
        if job.cancel {
            assert_eq!(*lost, Lost::Cancelled);
            self.end(id, "cancelled");
        } else if job.lost_alone == 3 || job.kills == 8 || job.attempts >= job.most {
            assert!(matches!(lost, Lost::Dead(..)));
            self.end(id, "dead");
        } else {
            assert_eq!(*lost, Lost::Again);
            if job.solitary && end != End::Killed {
                job.lost_on = Some(worker);
            }
            job.solitary = true;
            // From the second loss alone on the runs lie apart.
            job.due = job.lost_alone + job.kills < 2;
        }
    }

    fn end(&mut self, id: &str, how: &'static str) {
        let job = self.jobs.remove(id).unwrap();
        self.ended.insert(id.to_owned(), (how, job.attempts));
    }

    fn back(&mut self, id: &str, due: bool, counts: bool) -> Fate {
        let job = self.jobs.get_mut(id).unwrap();
        if job.cancel {
            self.end(id, "cancelled");
            return Fate::Cancelled;
        }
        job.run = None;
        job.due = due;
        job.most += i64::from(!counts);
        Fate::Again
    }
}

struct World {
    model: Model,
    leases: Vec<Lease>,
    workers: [u32; 3],
}

async fn apply(db: &Db, world: &mut World, op: &Op) {
    let World { model, leases, workers } = world;
    match op {
        Op::Enqueue { owner, class, seconds, size, subject, tries } => {
            let (subject, owner, seconds) = (format!("s{subject}"), format!("o{owner}"), f64::from(*seconds));
            let job = NewJob { bytes: *size, max_attempts: *tries, ..super::track(&subject, &owner, *class, seconds) };
            let mut tx = db.begin().await.unwrap();
            let id = queue::enqueue(&mut tx, &job).await.unwrap();
            tx.commit().await.unwrap();
            let there = model.jobs.values().any(|job| job.subject == subject);
            assert_eq!(id.is_none(), there);
            let own = model.finish.get(&owner).copied().unwrap_or(f64::MIN);
            let turn = own.max(model.now) + seconds;
            let Some(id) = id else {
                model.finish.insert(owner, turn - seconds);
                return;
            };
            model.finish.insert(owner.clone(), turn);
            let job = Job {
                subject,
                owner,
                class: *class,
                seconds,
                bytes: *size,
                turn,
                due: true,
                run: None,
                attempts: 0,
                most: i64::from(*tries),
                solitary: false,
                lost_alone: 0,
                lost_on: None,
                kills: 0,
                cancel: false,
            };
            model.jobs.insert(id, job);
        }
        Op::Claim { worker, jobs, bytes, reserve, seconds, idle } => {
            let name = format!("w{worker}.{}", workers[*worker]);
            let limits = Limits {
                jobs: *jobs,
                bytes: *bytes,
                reserve: *reserve,
                whole: 5,
                seconds: f64::from(*seconds),
                idle: *idle,
                ..limits()
            };
            let got = queue::claim(db, &name, &limits).await.unwrap();
            let mut wanted = model.claim(&name, &limits);
            wanted.sort_by(|a, b| model.jobs[a].turn.total_cmp(&model.jobs[b].turn).then(a.cmp(b)));
            assert_eq!(got.iter().map(|lease| lease.id.clone()).collect::<Vec<_>>(), wanted);
            assert!(got.iter().all(Lease::alive));
            leases.extend(got);
        }
        Op::Finish(lease) => {
            let Some(lease) = leases.get(*lease) else { return };
            let mut tx = db.begin().await.unwrap();
            match queue::finish(&mut tx, lease).await {
                Ok(()) => {
                    tx.commit().await.unwrap();
                    assert!(model.holds(lease));
                    model.end(&lease.id, "done");
                }
                Err(QueueError::Stale) => assert!(!model.holds(lease)),
                Err(error) => panic!("{error}"),
            }
        }
        Op::Stop(lease) => {
            let Some(lease) = leases.get(*lease) else { return };
            let mut tx = db.begin().await.unwrap();
            let stopped = queue::cancelled(&mut tx, lease).await.is_ok();
            assert_eq!(stopped, model.holds(lease));
            if stopped {
                tx.commit().await.unwrap();
                model.end(&lease.id, "cancelled");
            }
        }
        Op::Fail(lease, class) => {
            let Some(lease) = leases.get(*lease) else { return };
            let after = Some(Duration::from_mins(30));
            let failure = Failure { class: *class, code: "t.t".into(), text: String::new(), after };
            let mut tx = db.begin().await.unwrap();
            let fate = queue::fail(&mut tx, lease, &failure).await;
            assert_eq!(fate.is_ok(), model.holds(lease));
            let Ok(fate) = fate else { return };
            tx.commit().await.unwrap();
            let job = &model.jobs[&lease.id];
            let wanted = match class {
                FailureClass::Permanent => Fate::Dead,
                FailureClass::Transient if job.attempts >= job.most => Fate::Dead,
                FailureClass::Transient => model.back(&lease.id, false, true),
                FailureClass::Device => model.back(&lease.id, false, false),
            };
            assert_eq!(fate, wanted);
            if wanted == Fate::Dead {
                model.end(&lease.id, "dead");
            }
        }
        Op::Release(lease) => {
            let Some(lease) = leases.get(*lease) else { return };
            let mut tx = db.begin().await.unwrap();
            let fate = queue::release(&mut tx, lease).await;
            assert_eq!(fate.is_ok(), model.holds(lease));
            let Ok(fate) = fate else { return };
            tx.commit().await.unwrap();
            assert_eq!(fate, model.back(&lease.id, true, false));
        }
        Op::Beat(lease) => {
            let Some(lease) = leases.get(*lease) else { return };
            let beat = queue::heartbeat(db, &[lease]).await.unwrap().remove(0);
            if model.holds(lease) {
                let job = model.jobs.get_mut(&lease.id).unwrap();
                assert_eq!(beat, if job.cancel { queue::Beat::Cancel } else { queue::Beat::Held });
                job.run.as_mut().unwrap().1 = false;
            } else {
                assert_eq!(beat, queue::Beat::Lost);
            }
        }
        Op::Cancel(subject) => {
            let subject = format!("s{subject}");
            let mut tx = db.begin().await.unwrap();
            let found = queue::cancel(&mut tx, "master", &subject).await.unwrap();
            tx.commit().await.unwrap();
            let job = model.jobs.iter_mut().find(|(_, job)| job.subject == subject).map(|(id, job)| (id.clone(), job));
            match job {
                None => assert_eq!(found, Cancelled::Unknown),
                Some((_, job)) if job.run.is_some() => {
                    job.cancel = true;
                    assert_eq!(found, Cancelled::Asked);
                }
                Some((id, job)) => {
                    assert_eq!(found, Cancelled::Gone);
                    if job.attempts == 0
                        && let Some(finish) = model.finish.get_mut(&job.owner)
                    {
                        *finish -= job.seconds;
                    }
                    model.end(&id, "cancelled");
                }
            }
        }
        Op::Restart(worker) => workers[*worker] += 1,
        Op::Die(worker, crashed) => {
            let name = format!("w{worker}.{}", workers[*worker]);
            workers[*worker] += 1;
            let end = if *crashed { End::Crashed } else { End::Killed };
            let mut tx = db.begin().await.unwrap();
            let reaped = queue::reap_worker(&mut tx, &name, end).await.unwrap();
            tx.commit().await.unwrap();
            if end == End::Killed {
                for job in model.jobs.values_mut().filter(|job| job.lost_on.as_ref() == Some(&name)) {
                    job.lost_alone -= 1;
                    job.most += 1;
                    job.kills += 1;
                    job.lost_on = None;
                }
            }
            let held = |job: &Job| job.run.as_ref().is_some_and(|run| run.0 == name);
            let lost: Vec<String> = model.jobs.iter().filter(|(_, job)| held(job)).map(|(id, _)| id.clone()).collect();
            assert_eq!(reaped.iter().map(|job| job.id.clone()).collect::<Vec<_>>(), lost);
            for reaped in reaped {
                model.lose(&reaped.id, end, &reaped.lost);
            }
        }
        Op::Pass => {
            pass(db).await;
            for job in model.jobs.values_mut() {
                job.due = true;
                if let Some((_, over)) = &mut job.run {
                    *over = true;
                }
            }
        }
        Op::Reap => reap(db, model).await,
    }
}

async fn reap(db: &Db, model: &mut Model) {
    let mut tx = db.begin().await.unwrap();
    let mut reaped = queue::reap(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    reaped.sort_by(|a, b| a.id.cmp(&b.id));
    let over: Vec<String> = model
        .jobs
        .iter()
        .filter(|(_, job)| job.run.as_ref().is_some_and(|run| run.1))
        .map(|(id, _)| id.clone())
        .collect();
    assert_eq!(reaped.iter().map(|job| job.id.clone()).collect::<Vec<_>>(), over);
    for reaped in reaped {
        model.lose(&reaped.id, End::Silent, &reaped.lost);
    }
    let now = model.now;
    model.finish.retain(|_, finish| *finish > now);
}

/// The rows say what the model says.
async fn compare(db: &Db, model: &Model) {
    let rows = sqlx::query("SELECT * FROM jobs ORDER BY id").fetch_all(db.read()).await.unwrap();
    assert_eq!(rows.len(), model.jobs.len());
    for (row, (id, job)) in rows.iter().zip(&model.jobs) {
        assert_eq!(row.get::<&str, _>("id"), id);
        assert_eq!(row.get::<&str, _>("subject"), job.subject);
        assert_eq!(row.get::<&str, _>("state"), if job.run.is_some() { "running" } else { "waiting" });
        let holder: Option<String> = row.get("worker_id");
        assert_eq!(holder.as_ref(), job.run.as_ref().map(|run| &run.0));
        assert!((row.get::<f64, _>("turn") - job.turn).abs() < 1e-6);
        assert_eq!(row.get::<i64, _>("attempts"), job.attempts);
        assert_eq!(row.get::<i64, _>("max_attempts"), job.most);
        assert_eq!(row.get::<i64, _>("solitary") != 0, job.solitary);
        assert_eq!(row.get::<i64, _>("lost_alone"), job.lost_alone);
        assert_eq!(row.get::<i64, _>("kills"), job.kills);
        assert_eq!(row.get::<i64, _>("cancel") != 0, job.cancel);
    }
    let text = "SELECT id, state, attempts FROM job_history ORDER BY id";
    let rows: Vec<(String, String, i64)> = sqlx::query_as(text).fetch_all(db.read()).await.unwrap();
    let ended: Vec<_> =
        model.ended.iter().map(|(id, (how, attempts))| (id.clone(), (*how).to_owned(), *attempts)).collect();
    assert_eq!(rows, ended);
}

async fn story(test: &TestDb, ops: &[Op]) {
    let mut tx = test.db.begin().await.unwrap();
    for text in [
        "DELETE FROM jobs",
        "DELETE FROM job_history",
        "DELETE FROM turns WHERE owner_key <> '*'",
        "UPDATE turns SET finish = 0",
    ] {
        sqlx::query(text).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut world = World { model: Model::default(), leases: Vec::new(), workers: [0; 3] };
    for op in ops {
        apply(&test.db, &mut world, op).await;
        compare(&test.db, &world.model).await;
    }
    // Nothing is ever stuck: workers that fail at nothing bring every story to its end.
    for round in 0..100 {
        apply(&test.db, &mut world, &Op::Pass).await;
        apply(&test.db, &mut world, &Op::Reap).await;
        let all = Op::Claim { worker: 0, jobs: 4, bytes: 9, reserve: 3, seconds: 200, idle: true };
        let before = world.leases.len();
        apply(&test.db, &mut world, &all).await;
        for lease in before..world.leases.len() {
            apply(&test.db, &mut world, &Op::Finish(lease)).await;
        }
        if world.model.jobs.is_empty() {
            break;
        }
        assert!(round < 99, "{} jobs never end", world.model.jobs.len());
    }
    compare(&test.db, &world.model).await;
}

fn check(database: impl AsyncFn() -> TestDb) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let test = runtime.block_on(database());
    // A story takes about a hundred transactions: `./test long` asks for a hundred times as many cases, not for days.
    let asked = Config::default().cases;
    let config = Config { cases: if asked > 1000 { 400 } else { 24 }, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&vec(op(), 1..70), |ops| {
            runtime.block_on(story(&test, &ops));
            Ok(())
        })
        .unwrap();
    drop(test);
}

#[test]
fn sqlite_does_what_the_model_does() {
    check(sqlite);
}

#[test]
fn postgres_does_what_the_model_does() {
    check(postgres);
}
