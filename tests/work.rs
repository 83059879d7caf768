//! The worker with a real queue, a real database and the real engine; storage is a folder that can be made to fail.

mod album;
mod kill;
mod measured;
mod nodes;
mod sandbox;
mod schema;

use crate::cli::{music, wav};
use crate::databases::{TestDb, databases, sqlite};
use loopmaster::db::{Change, Db, Tx, new_id};
use loopmaster::queue::{self, Class, NewJob};
use loopmaster::work::sandbox::Sandbox;
use loopmaster::work::{
    Chore, ChoreError, Chores, Device, Files, FilesError, MasterEnded, Next, OnEnded, Services, WorkConfig, Worker,
    estimate,
};
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::{Backend, BackendInfo, Job, Master, RenderError};
use loopmaster_core::settings::Limits;
use loopmaster_core::{Audio, plan::Limiter};
use serde_json::Value;
use sqlx::Row;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Storage in a folder.
#[derive(Default)]
pub(crate) struct Folder {
    root: PathBuf,
    /// So many of the next puts fail.
    pub(crate) failing: AtomicUsize,
    /// Masters are not stored as long as this holds.
    pub(crate) masters_wait: AtomicBool,
}

impl Folder {
    pub(crate) fn in_folder(root: PathBuf) -> Self {
        Self { root, ..Self::default() }
    }
}

impl Files for Folder {
    fn fetch<'a>(
        &'a self,
        key: &'a str,
        to: &'a Path,
    ) -> Pin<Box<dyn Future<Output = Result<(), FilesError>> + Send + 'a>> {
        Box::pin(async move {
            tokio::fs::copy(self.root.join(key), to).await.map_err(|_| FilesError::Missing(key.to_owned()))?;
            Ok(())
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        from: &'a Path,
        _media_type: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), FilesError>> + Send + 'a>> {
        Box::pin(async move {
            while key.contains("-master-wav") && self.masters_wait.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let fails = self.failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if fails.is_ok() {
                return Err(FilesError::Away("503 SlowDown".to_owned()));
            }
            let away = |error: std::io::Error| FilesError::Away(error.to_string());
            let path = self.root.join(key);
            tokio::fs::create_dir_all(path.parent().unwrap()).await.map_err(away)?;
            tokio::fs::copy(from, path).await.map_err(away)?;
            Ok(())
        })
    }
}

/// A service without its api.
pub(crate) struct Service {
    pub(crate) db: Db,
    pub(crate) url: String,
    pub(crate) files: Arc<Folder>,
    pub(crate) folder: PathBuf,
    pub(crate) ended: Arc<Mutex<Vec<MasterEnded>>>,
    pub(crate) _temporary: Option<TempDir>,
}

impl Service {
    pub(crate) fn new(test: &TestDb) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let files = Arc::new(Folder::in_folder(folder.join("files")));
        let ended = Arc::default();
        Self { db: test.db.clone(), url: test.url.clone(), files, folder, ended, _temporary: Some(temporary) }
    }

    /// An upload and the master that is to be made of it.
    pub(crate) async fn order(&self, owner: &str, name: &str, bytes: &[u8], class: Class, settings: &str) -> String {
        let file = tempfile::NamedTempFile::new_in(&self.folder).unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        self.order_file(owner, name, file.path(), class, settings).await
    }

    /// The same of a file, which is moved away.
    pub(crate) async fn order_file(
        &self,
        owner: &str,
        name: &str,
        file: &Path,
        class: Class,
        settings: &str,
    ) -> String {
        let (upload, master) = (new_id("upl"), new_id("mst"));
        let key = format!("stored/{upload}/x");
        let path = self.files.root.join(&key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = std::fs::metadata(file).unwrap().len();
        std::fs::rename(file, path).unwrap();
        let mut tx = self.db.begin().await.unwrap();
        let text = "INSERT INTO uploads (id, owner, owner_key, name, media_type, bytes, fingerprint, state, client_key, stored_key,
            part_bytes, created_at, updated_at) VALUES ($1, $2, $2, $3, '', $4, '', 'stored', '', $5, 0, 0, 0)";
        let query = sqlx::query(text).bind(&upload).bind(owner).bind(name).bind(bytes as i64).bind(key);
        query.execute(&mut *tx).await.unwrap();
        let text = "INSERT INTO masters (id, owner, upload_id, title, settings, state, attempt, created_at, version)
            VALUES ($1, $2, $3, '', $4, 'waiting', 0, 0, 0)";
        let query = sqlx::query(text).bind(&master).bind(owner).bind(&upload).bind(settings);
        query.execute(&mut *tx).await.unwrap();
        enqueue(&mut tx, &master, owner, name, bytes, class).await;
        tx.commit().await.unwrap();
        master
    }

    /// Another master of the same upload.
    pub(crate) async fn order_again(&self, master: &str, settings: &str) -> String {
        let again = new_id("mst");
        let mut tx = self.db.begin().await.unwrap();
        let text = "INSERT INTO masters (id, owner, upload_id, title, settings, state, attempt, created_at, version)
            SELECT $1, owner, upload_id, '', $2, 'waiting', 0, 0, 0 FROM masters WHERE id = $3";
        sqlx::query(text).bind(&again).bind(settings).bind(master).execute(&mut *tx).await.unwrap();
        enqueue(&mut tx, &again, "usr_1", "a.wav", 1 << 20, Class::Interactive).await;
        tx.commit().await.unwrap();
        again
    }

    pub(crate) fn config(&self) -> WorkConfig {
        let mut sandbox = Sandbox::new(Limits::default()).unwrap();
        sandbox.program = env!("CARGO_BIN_EXE_loopmaster").into();
        WorkConfig {
            budget: 2 << 30,
            threads: 2,
            tracks: 4,
            scratch: self.folder.join("scratch"),
            sandbox,
            lease: queue::LEASE,
            patience: Duration::from_secs(20),
        }
    }

    pub(crate) fn services(&self) -> Services {
        let cpu: Arc<dyn Backend> = Arc::new(Cpu);
        let ended = Arc::clone(&self.ended);
        let on_ended: OnEnded = Arc::new(move |_tx, master| {
            ended.lock().unwrap().push(master.clone());
            Box::pin(async { Ok(()) })
        });
        Services {
            db: self.db.clone(),
            files: Arc::clone(&self.files) as Arc<dyn Files>,
            device: Device::cpu(Arc::clone(&cpu), 2),
            cpu,
            chores: Chores::default(),
            on_ended: Some(on_ended),
        }
    }

    pub(crate) async fn row(&self, master: &str) -> sqlx::any::AnyRow {
        sqlx::query("SELECT * FROM masters WHERE id = $1").bind(master).fetch_one(self.db.read()).await.unwrap()
    }

    pub(crate) async fn state(&self, master: &str) -> String {
        self.row(master).await.get("state")
    }

    /// Until all have ended.
    pub(crate) async fn settled(&self, masters: &[String], seconds: u64) {
        let until = Instant::now() + Duration::from_secs(seconds);
        for master in masters {
            while matches!(self.state(master).await.as_str(), "waiting" | "running") {
                assert!(Instant::now() < until, "{master} is still {}", self.state(master).await);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn objects(&self, master: &str) -> Vec<(String, String, i64)> {
        let text = "SELECT key, state, attempt FROM objects WHERE master_id = $1 ORDER BY key";
        sqlx::query_as(text).bind(master).fetch_all(self.db.read()).await.unwrap()
    }
}

async fn enqueue(tx: &mut Tx, master: &str, owner: &str, name: &str, bytes: u64, class: Class) {
    let size = estimate(bytes, "", name, &Limits::default());
    let job = NewJob {
        kind: "master".to_owned(),
        subject: master.to_owned(),
        owner_key: owner.to_owned(),
        class,
        seconds: size.seconds,
        bytes: size.bytes,
        payload: "{}".to_owned(),
        max_attempts: 5,
        run_at: None,
    };
    queue::enqueue(tx, &job).await.unwrap().unwrap();
}

/// Works while `run` runs.
pub(crate) async fn working<T>(config: WorkConfig, services: Services, run: impl Future<Output = T>) -> T {
    let worker = Worker::new(config, services).await.unwrap();
    let drain = CancellationToken::new();
    let working = tokio::spawn(worker.run(drain.clone()));
    let result = run.await;
    drain.cancel();
    working.await.unwrap();
    result
}

fn song(seconds: f64) -> Vec<u8> {
    wav(&music(44_100, seconds, 0.5), 44_100, false)
}

/// For what is not about sound: the level is kept, nothing is changed.
const PLAIN: &str = r#"{"strength":{"overall":0},"formats":["wav24"]}"#;
const SETTINGS: &str = r#"{"style":"warm","loudness":{"lufs":-12.0},"formats":["wav24","mp3-320"]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_track_from_upload_to_artifacts() {
    for test in databases().await {
        let service = Service::new(&test);
        let mut heard = service.db.subscribe();
        let master = service.order("usr_1", "Night ☾/Drive.wav", &song(6.0), Class::Interactive, SETTINGS).await;
        working(service.config(), service.services(), service.settled(std::slice::from_ref(&master), 60)).await;

        let row = service.row(&master).await;
        let told = (row.get::<Option<String>, _>("error_code"), row.get::<Option<String>, _>("error_text"));
        assert_eq!(row.get::<&str, _>("state"), "done", "{}: {told:?}", test.name());
        assert_eq!(row.get::<Option<String>, _>("stage"), None);
        assert_eq!((row.get::<&str, _>("backend"), row.get::<i64, _>("attempt")), ("cpu", 1));
        assert!((row.get::<f64, _>("seconds") - 6.0).abs() < 0.01);
        assert!((row.get::<f64, _>("lufs") + 12.0).abs() < 0.3, "{}", row.get::<f64, _>("lufs"));
        assert!(row.get::<f64, _>("dbtp") <= -0.9);
        let (began, ended): (i64, i64) = (row.get("started_at"), row.get("finished_at"));
        assert!(began <= ended);

        let text = "SELECT kind, role, name, media_type, bytes, sha256, crc32, key FROM artifacts WHERE master_id = $1 ORDER BY kind, role";
        let rows = sqlx::query(text).bind(&master).fetch_all(service.db.read()).await.unwrap();
        let found: Vec<(&str, &str)> = rows.iter().map(|row| (row.get("kind"), row.get("role"))).collect();
        let wanted = [
            ("data", "manifest"),
            ("data", "preview"),
            ("master", "mp3-320"),
            ("master", "wav24"),
            ("plot", "loudness"),
            ("plot", "reduction"),
            ("plot", "spectrum"),
            ("preview", "master"),
            ("preview", "mix"),
            ("report", "html"),
            ("report", "json"),
            ("waveform", "master"),
            ("waveform", "mix"),
        ];
        assert_eq!(found, wanted, "{}", test.name());
        let mut guessed = std::collections::HashSet::new();
        for row in &rows {
            let key: &str = row.get("key");
            assert!(key.starts_with(&format!("jobs/{master}/1/")) && key.is_ascii(), "{key}");
            // A part of its own in each that nobody can guess from the others.
            let random = key.rsplit('/').next().unwrap().split('-').next().unwrap();
            assert!(random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
            assert!(guessed.insert(random.to_owned()), "{key} shares its random part with another");
            let bytes = std::fs::read(service.files.root.join(key)).unwrap();
            assert_eq!(row.get::<i64, _>("bytes"), bytes.len() as i64, "{key}");
            assert_eq!(row.get::<i64, _>("crc32"), i64::from(crc32fast::hash(&bytes)), "{key}");
            assert_eq!(row.get::<&str, _>("sha256"), loopmaster::digest::sha256(&bytes), "{key}");
            if row.get::<&str, _>("kind") == "plot" {
                let svg = String::from_utf8(bytes).unwrap();
                assert!(svg.starts_with("<svg xmlns=") && svg.contains("var(--master,#"), "{key}");
            }
        }
        let wav_name: &str = rows[3].get("name");
        assert_eq!(wav_name, "Drive (master) 24-bit 44.1 kHz.wav");

        let text = "SELECT result FROM results WHERE master_id = $1";
        let result: String = sqlx::query_scalar(text).bind(&master).fetch_one(service.db.read()).await.unwrap();
        let result: Value = serde_json::from_str(&result).unwrap();
        assert_eq!(result["target"]["lufs"], -12.0);
        assert_eq!(result["formats"], serde_json::json!(["wav24", "mp3-320"]));
        assert_eq!(result["backend"]["name"], "cpu");
        assert!(result["figures"]["mix"]["lufs"].is_number() && result["figures"]["master"]["correlation"].is_number());
        assert!(result["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()));
        let louder =
            result["figures"]["master"]["lufs"].as_f64().unwrap() - result["figures"]["mix"]["lufs"].as_f64().unwrap();
        assert!((result["preview"]["mix_gain_db"].as_f64().unwrap() - louder).abs() < 0.02);
        assert!(result["stages"].as_array().unwrap().iter().any(|stage| stage["stage"] == "render"));

        // Every object is stored, none forgotten, nothing left in the scratch folder; who listens was told.
        let objects = service.objects(&master).await;
        assert_eq!(objects.len(), rows.len());
        assert!(objects.iter().all(|(_, state, attempt)| state == "stored" && *attempt == 1));
        let left = std::fs::read_dir(service.folder.join("scratch")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".turn"], "the lock that making and burying folders share is all that stays");
        assert_eq!(heard.try_recv().unwrap(), Change::Jobs);
        let mut versions = 0;
        while let Ok(change) = heard.try_recv() {
            versions += i64::from(change == Change::Owner("usr_1".into()));
        }
        assert_eq!(versions, row.get::<i64, _>("version"), "one telling for each version");
        let ended = service.ended.lock().unwrap().clone();
        assert_eq!(ended.iter().map(|ended| ended.state).collect::<Vec<_>>(), ["done"]);
    }
}

/// What is told of a master: its files as (kind, role, key), and the result.
async fn told(service: &Service, master: &str) -> (Vec<(String, String, String)>, Option<Value>) {
    // In this order: what is written between the two is no file without a result.
    let text = "SELECT result FROM results WHERE master_id = $1";
    let result: Option<String> = sqlx::query_scalar(text).bind(master).fetch_optional(service.db.read()).await.unwrap();
    let text = "SELECT kind, role, key FROM artifacts WHERE master_id = $1 ORDER BY kind, role";
    let files = sqlx::query_as(text).bind(master).fetch_all(service.db.read()).await.unwrap();
    (files, result.map(|text| serde_json::from_str(&text).unwrap()))
}

/// Until a running master can be heard.
async fn audible(service: &Service, master: &str) -> (Vec<(String, String, String)>, Value) {
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        if let (files, Some(result)) = told(service, master).await {
            return (files, result);
        }
        assert!(Instant::now() < until, "{master} is {} and was never heard", service.state(master).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_heard_before_its_files_are_there() {
    for test in databases().await {
        let service = Service::new(&test);
        service.files.masters_wait.store(true, Ordering::Relaxed);
        let [heard, bulk, stopped] = [Class::Interactive, Class::Bulk, Class::Interactive];
        let heard = service.order("usr_1", "a.wav", &song(75.0), heard, PLAIN).await;
        let bulk = service.order("usr_2", "b.wav", &song(75.0), bulk, PLAIN).await;
        let stopped = service.order("usr_3", "c.wav", &song(75.0), stopped, PLAIN).await;
        let all = [heard.clone(), bulk.clone(), stopped.clone()];
        let excerpts = working(service.config(), service.services(), async {
            let (files, result) = audible(&service, &heard).await;
            let row = service.row(&heard).await;
            assert_eq!((row.get::<&str, _>("state"), row.get::<i64, _>("attempt")), ("running", 0), "{}", test.name());
            let roles: Vec<(&str, &str)> = files.iter().map(|(kind, role, _)| (kind.as_str(), role.as_str())).collect();
            let wanted = [
                ("preview", "master-excerpt"),
                ("preview", "mix-excerpt"),
                ("waveform", "master"),
                ("waveform", "mix"),
            ];
            assert_eq!(roles, wanted);
            let excerpt = &result["preview"]["excerpt"];
            let (start, seconds) = (excerpt["start"].as_f64().unwrap(), excerpt["seconds"].as_f64().unwrap());
            assert!(start % 10.0 == 0.0 && start + seconds <= 75.0 && seconds <= 40.0, "{excerpt}");
            let loudest = result["preview"]["loudest_start"].as_f64().unwrap();
            assert!(loudest >= start && loudest < start + 10.0, "it begins with the loudest place: {result}");
            for (_, _, key) in &files[..2] {
                let path = service.files.root.join(key);
                let part = loopmaster_core::decode::decode_file(&path, &Limits::default()).unwrap();
                assert!((part.audio.seconds() - seconds).abs() < 0.05, "{key}: {} s", part.audio.seconds());
            }

            // The other is stopped by its owner while it can be heard: nothing of it is told any more.
            audible(&service, &stopped).await;
            let mut tx = service.db.begin().await.unwrap();
            queue::cancel(&mut tx, "master", &stopped).await.unwrap();
            tx.commit().await.unwrap();
            service.settled(std::slice::from_ref(&stopped), 90).await;
            assert_eq!(service.state(&stopped).await, "cancelled");
            assert_eq!(told(&service, &stopped).await, (Vec::new(), None));

            assert_eq!(told(&service, &bulk).await.1, None, "nobody listens to a catalogue while it is made");
            service.files.masters_wait.store(false, Ordering::Relaxed);
            service.settled(&all, 90).await;
            files
        })
        .await;

        let (files, result) = told(&service, &heard).await;
        assert_eq!((files.len(), service.state(&heard).await.as_str()), (11, "done"));
        assert!(files.iter().all(|(_, role, _)| !role.contains("excerpt")));
        assert!(result.is_some_and(|result| result["preview"]["excerpt"].is_null() && result["reasons"].is_array()));
        // Those who listen to the excerpt hear it to its end; then it goes.
        for (key, state, _) in service.objects(&heard).await {
            let gone = excerpts.iter().any(|(_, _, excerpt)| *excerpt == key);
            assert_eq!(state, if gone { "intent" } else { "stored" }, "{key}");
        }
        let text = "SELECT COUNT(*) FROM objects WHERE master_id = $1 AND state = 'intent' AND sweep_after IS NULL";
        let kept: i64 = sqlx::query_scalar(text).bind(&heard).fetch_one(service.db.read()).await.unwrap();
        assert_eq!(kept, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_heard_of_a_run_that_failed_is_not_told() {
    let test = sqlite().await;
    let service = Service::new(&test);
    service.files.masters_wait.store(true, Ordering::Relaxed);
    let master = service.order("usr_1", "a.wav", &song(75.0), Class::Interactive, PLAIN).await;
    working(service.config(), service.services(), async {
        audible(&service, &master).await;
        service.files.failing.store(1, Ordering::Relaxed);
        service.files.masters_wait.store(false, Ordering::Relaxed);
        let until = Instant::now() + Duration::from_mins(1);
        while service.state(&master).await == "running" {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(service.state(&master).await, "waiting");
        assert_eq!(told(&service, &master).await, (Vec::new(), None));
        // The next run is heard and done.
        service.settled(std::slice::from_ref(&master), 90).await;
    })
    .await;
    assert_eq!((service.state(&master).await.as_str(), told(&service, &master).await.0.len()), ("done", 11));
}

/// The SHA-256 of what was delivered as WAV.
async fn delivered(service: &Service, master: &str) -> String {
    let text = "SELECT sha256 FROM artifacts WHERE master_id = $1 AND role = 'wav24'";
    sqlx::query_scalar(text).bind(master).fetch_one(service.db.read()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_style_of_a_mix_is_made_without_decoding_it_again() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let bytes = song(12.0);
    let warm = service.order("usr_1", "a.wav", &bytes, Class::Interactive, SETTINGS).await;
    let open = SETTINGS.replace("warm", "open");
    let (first, second, third) = working(service.config(), service.services(), async {
        service.settled(std::slice::from_ref(&warm), 60).await;
        // Whoever fetched the mix again would find nothing there.
        let uploads = service.files.root.join("stored");
        std::fs::rename(&uploads, service.files.root.join("away")).unwrap();
        let second = service.order_again(&warm, SETTINGS).await;
        let third = service.order_again(&warm, &open).await;
        service.settled(&[second.clone(), third.clone()], 60).await;
        (delivered(&service, &warm).await, delivered(&service, &second).await, delivered(&service, &third).await)
    })
    .await;
    assert_eq!(first, second, "the same settings, the same bytes");
    // A worker that has never seen the mix makes the same of it, and keeps nothing of a catalogue.
    let other = Service::new(&test);
    let fresh = other.order("usr_1", "a.wav", &bytes, Class::Bulk, &open).await;
    let bulk = working(other.config(), other.services(), async {
        other.settled(std::slice::from_ref(&fresh), 60).await;
        std::fs::rename(other.files.root.join("stored"), other.files.root.join("away")).unwrap();
        let bulk = other.order_again(&fresh, &open).await;
        other.settled(std::slice::from_ref(&bulk), 60).await;
        bulk
    })
    .await;
    assert_eq!(delivered(&other, &fresh).await, third);
    assert_eq!(other.row(&bulk).await.get::<Option<&str>, _>("error_code"), Some("work.upload_gone"));
}

/// A kick in the middle over a bass whose channels are opposed: limited hard, it breaks the check of bass in mono.
fn kick_over_opposed_bass() -> Vec<u8> {
    let sine = |hz: f32, i: usize| (std::f32::consts::TAU * hz / 44_100.0 * i as f32).sin();
    let kick = |i: usize| 0.7 * sine(60.0, i) * (-((i % 22_050) as f32) / 4_000.0).exp();
    let channel = |sign: f32| (0..6 * 44_100).map(|i| kick(i) + sign * 0.06 * sine(90.0, i)).collect();
    wav(&[channel(1.0), channel(-1.0)], 44_100, false)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_gate_sends_the_plan_back_and_not_the_customer() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let settings =
        r#"{"style":"loud","strength":{"overall":30},"loudness":{"lufs":-9.0},"formats":["wav24","mp3-v0"]}"#;
    let master = service.order("usr_1", "a.wav", &kick_over_opposed_bass(), Class::Interactive, settings).await;
    working(service.config(), service.services(), service.settled(std::slice::from_ref(&master), 90)).await;
    let row = service.row(&master).await;
    assert_eq!(row.get::<&str, _>("state"), "done", "{:?}", row.get::<Option<String>, _>("error_text"));
    assert_eq!(row.get::<i64, _>("attempt"), 1, "in the same run");
    let text = "SELECT result FROM results WHERE master_id = $1";
    let result: String = sqlx::query_scalar(text).bind(&master).fetch_one(service.db.read()).await.unwrap();
    assert!(result.contains("dB narrower."), "the account says what was taken back: {result}");
    assert_eq!(service.objects(&master).await.len(), 13, "nothing of the first try is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_through_the_embedded_storage() {
    let test = sqlite().await;
    let ours = crate::storage::Ours::start().await;
    let service = Service::new(&test);
    let bytes = song(3.0);
    let master = service.order("usr_1", "a.wav", &bytes, Class::Interactive, PLAIN).await;
    let text = "SELECT stored_key FROM uploads u JOIN masters m ON m.upload_id = u.id WHERE m.id = $1";
    let key: String = sqlx::query_scalar(text).bind(&master).fetch_one(service.db.read()).await.unwrap();
    ours.store.put_bytes(&key, bytes, "audio/wav").await.unwrap();
    let missing = service.order("usr_1", "b.wav", &song(1.0), Class::Interactive, PLAIN).await;
    let services = Services { files: Arc::new(ours.store.clone()), ..service.services() };
    working(service.config(), services, service.settled(&[master.clone(), missing.clone()], 90)).await;
    assert_eq!(service.state(&master).await, "done");
    assert_eq!(service.row(&missing).await.get::<Option<String>, _>("error_code").as_deref(), Some("work.upload_gone"));
    let text = "SELECT key, bytes FROM artifacts WHERE master_id = $1";
    let rows: Vec<(String, i64)> = sqlx::query_as(text).bind(&master).fetch_all(service.db.read()).await.unwrap();
    assert!(rows.len() > 10);
    for (key, bytes) in rows {
        let head = ours.store.head(&key).await.unwrap().unwrap();
        assert_eq!(head.bytes as i64, bytes, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_fail_alone_with_their_code() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let good = song(3.0);
    let mut three = music(44_100, 1.0, 0.5).to_vec();
    three.push(three[0].clone());
    let long = Limits::default().seconds;
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("renamed.wav", b"%PDF-1.7 this is no music".to_vec(), "decode.not_audio"),
        ("empty.wav", Vec::new(), "decode.not_audio"),
        ("cut.wav", good[..good.len() / 2].to_vec(), "decode.truncated"),
        ("surround.wav", wav(&three, 44_100, false), "decode.too_many_channels"),
        ("silent.wav", wav(&[vec![0.0; 44_100], vec![0.0; 44_100]], 44_100, false), "decode.silent"),
        ("hours.wav", wav(&[vec![0.5; (long * 8_000.0) as usize + 8_000]], 8_000, false), "decode.too_long"),
    ];
    let mut masters = Vec::new();
    for (name, bytes, code) in &cases {
        masters.push((service.order("usr_1", name, bytes, Class::Bulk, SETTINGS).await, *code));
    }
    let unknown = service.order("usr_1", "x.wav", &good, Class::Bulk, r#"{"stile":"warm"}"#).await;
    masters.push((unknown, "work.settings"));
    let gone = service.order("usr_1", "x.wav", &good, Class::Bulk, SETTINGS).await;
    let key: String =
        sqlx::query_scalar("SELECT stored_key FROM uploads u JOIN masters m ON m.upload_id = u.id WHERE m.id = $1")
            .bind(&gone)
            .fetch_one(service.db.read())
            .await
            .unwrap();
    std::fs::remove_file(service.files.root.join(key)).unwrap();
    masters.push((gone, "work.upload_gone"));
    let fine = service.order("usr_2", "fine.wav", &good, Class::Bulk, SETTINGS).await;
    masters.push((fine, "done"));
    let ids: Vec<String> = masters.iter().map(|(id, _)| id.clone()).collect();
    working(service.config(), service.services(), service.settled(&ids, 120)).await;
    for (master, code) in &masters {
        let row = service.row(master).await;
        let state: &str = row.get("state");
        let told: Option<String> = row.get("error_code");
        if *code == "done" {
            assert_eq!((state, told.as_deref()), ("done", None), "{:?}", row.get::<Option<String>, _>("error_text"));
        } else {
            assert_eq!((state, told.as_deref()), ("failed", Some(*code)));
            assert!(row.get::<&str, _>("error_text").len() > 20);
            let tries: i64 = sqlx::query_scalar("SELECT attempts FROM job_history WHERE subject = $1")
                .bind(master)
                .fetch_one(service.db.read())
                .await
                .unwrap();
            // One that is larger than it looks is put back once with its true size.
            assert!(tries == 1 || (tries == 2 && *code == "decode.truncated"), "{code} was tried {tries} times");
        }
    }
    assert_eq!(service.ended.lock().unwrap().len(), masters.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_comes_back() {
    let test = sqlite().await;
    let service = Service::new(&test);
    service.files.failing.store(3, Ordering::Relaxed);
    let master = service.order("usr_1", "a.wav", &song(2.0), Class::Interactive, SETTINGS).await;
    working(service.config(), service.services(), service.settled(std::slice::from_ref(&master), 90)).await;
    let row = service.row(&master).await;
    assert_eq!(row.get::<&str, _>("state"), "done");
    let attempt: i64 = row.get("attempt");
    assert!(attempt > 1);
    for (key, state, of) in service.objects(&master).await {
        assert_eq!(state, if of == attempt { "stored" } else { "doomed" }, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_and_draining() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let long = song(40.0);
    let cancelled = service.order("usr_1", "a.wav", &long, Class::Interactive, SETTINGS).await;
    let drained = service.order("usr_1", "b.wav", &long, Class::Interactive, SETTINGS).await;
    let config = WorkConfig { patience: Duration::ZERO, ..service.config() };
    working(config, service.services(), async {
        while service.state(&cancelled).await != "running" || service.state(&drained).await != "running" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut tx = service.db.begin().await.unwrap();
        assert_eq!(queue::cancel(&mut tx, "master", &cancelled).await.unwrap(), queue::Cancelled::Asked);
        tx.commit().await.unwrap();
        let asked = Instant::now();
        service.settled(std::slice::from_ref(&cancelled), 30).await;
        assert_eq!(service.state(&cancelled).await, "cancelled");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    })
    .await;
    // What ran when the worker was drained waits, untouched, for the next.
    let state = service.state(&drained).await;
    if state != "done" {
        assert_eq!(state, "waiting");
        let text = "SELECT state, solitary, max_attempts - attempts FROM jobs WHERE subject = $1";
        let job: (String, i64, i64) = sqlx::query_as(text).bind(&drained).fetch_one(service.db.read()).await.unwrap();
        assert_eq!(job, ("waiting".to_owned(), 0, 5));
        working(service.config(), service.services(), service.settled(std::slice::from_ref(&drained), 60)).await;
    }
    assert_eq!(service.state(&drained).await, "done");
    // A master that is deleted while it runs leaves nothing that is not to be swept.
    let deleted = service.order("usr_1", "c.wav", &song(4.0), Class::Interactive, SETTINGS).await;
    let mut tx = service.db.begin().await.unwrap();
    sqlx::query("UPDATE masters SET deleted_at = 1 WHERE id = $1").bind(&deleted).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    working(service.config(), service.services(), async {
        let left = async || -> i64 {
            sqlx::query_scalar("SELECT COUNT(*) FROM jobs").fetch_one(service.db.read()).await.unwrap()
        };
        while left().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(service.objects(&deleted).await.iter().all(|(_, state, _)| state == "doomed"));
}

/// A device that fails with loud tracks, and for good when it is told to.
struct Moody {
    broken: AtomicUsize,
    batches: Mutex<Vec<usize>>,
}

impl Backend for Moody {
    fn info(&self) -> BackendInfo {
        BackendInfo { name: "gpu".to_owned(), device: "moody".to_owned() }
    }

    fn render(&self, jobs: Vec<Job<'_>>) -> Vec<Result<Vec<Master>, RenderError>> {
        self.batches.lock().unwrap().push(jobs.len());
        let loud = jobs.iter().any(|job| job.audio.channels[0].iter().any(|x| x.abs() > 0.6));
        if self.broken.load(Ordering::Relaxed) > 0 {
            return jobs.iter().map(|_| Err(RenderError::Device("lost".to_owned()))).collect();
        }
        assert!(!loud, "a kernel that panics takes its batch along");
        Cpu.render(jobs)
    }

    fn reduce_overs(&self, master: &mut Audio, decoded: &Audio, limiter: &Limiter) {
        Cpu.reduce_overs(master, decoded, limiter);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_fails_with_one_track_masters_the_others() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let mut masters = Vec::new();
    for n in 0..6 {
        let gain = if n == 3 { 1.0 } else { 0.3 };
        let bytes = wav(&music(44_100, 2.0, gain), 44_100, true);
        masters.push(service.order("usr_1", &format!("{n}.wav"), &bytes, Class::Bulk, PLAIN).await);
    }
    let moody = Arc::new(Moody { broken: AtomicUsize::new(0), batches: Mutex::default() });
    let mut services = service.services();
    services.device =
        Device { window: Duration::from_secs(20), ..Device::batching(Arc::clone(&moody) as Arc<dyn Backend>, 6) };
    let config = WorkConfig { tracks: 6, ..service.config() };
    let worker = Worker::new(config, services.clone()).await.unwrap();
    let (health, drain) = (worker.health(), CancellationToken::new());
    let running = tokio::spawn(worker.run(drain.clone()));
    service.settled(&masters, 120).await;
    for (n, master) in masters.iter().enumerate() {
        let row = service.row(master).await;
        assert_eq!(
            (row.get::<&str, _>("state"), row.get::<&str, _>("backend")),
            ("done", if n == 3 { "cpu" } else { "gpu" })
        );
        assert_eq!(row.get::<i64, _>("attempt"), 1);
    }
    let batches = moody.batches.lock().unwrap().clone();
    assert_eq!(batches[0], 6, "{batches:?}: all six met");
    // 6, 3, 2, 1, 1 where it is, and the halves beside it.
    assert!(batches.len() <= 7, "{batches:?}");
    assert_eq!(health.taken_over.load(Ordering::Relaxed), 1);
    assert!(health.device());

    // One that is lost altogether: the processor takes over, and it shows.
    moody.broken.store(1, Ordering::Relaxed);
    let mut more = Vec::new();
    for n in 0..4 {
        more.push(service.order("usr_1", &format!("more{n}.wav"), &song(2.0), Class::Bulk, PLAIN).await);
    }
    service.settled(&more, 120).await;
    for master in &more {
        let row = service.row(master).await;
        assert_eq!((row.get::<&str, _>("state"), row.get::<&str, _>("backend")), ("done", "cpu"));
    }
    assert!(!health.device());
    drain.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_under_the_budget_with_any_mix_of_lengths() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let mut masters = Vec::new();
    // Mono at 16 bits grows fourfold, twice as much as the estimate: these come back with their true size.
    for (n, seconds) in [2.0, 30.0, 5.0, 12.0, 1.0, 40.0, 3.0, 8.0].into_iter().enumerate() {
        let [left, _] = music(44_100, seconds, 0.5);
        let bytes = if n % 2 == 0 { wav(&[left], 44_100, false) } else { song(seconds) };
        masters.push(service.order("usr_1", &format!("{n}.wav"), &bytes, Class::Bulk, PLAIN).await);
    }
    // Room for 12 million decoded bytes in memory: 34 s. A longer one runs alone, in files.
    let budget = 12_000_000 * loopmaster::work::TIMES_DECODED;
    let config = WorkConfig { budget, tracks: 8, ..service.config() };
    let worker = Worker::new(config, service.services()).await.unwrap();
    let (memory, samples, drain) = (worker.memory(), worker.samples(), CancellationToken::new());
    let running = tokio::spawn(worker.run(drain.clone()));
    service.settled(&masters, 120).await;
    drain.cancel();
    running.await.unwrap();
    let (used, peak, whole) = memory.figures();
    assert_eq!((used, whole), (0, 12_000_000));
    assert!(peak <= whole && peak > whole / 4, "{peak} of {whole}");
    // What was set aside is what was taken.
    let samples = samples();
    println!("samples took {} of {budget} bytes, and {} in files", samples.memory_peak, samples.files_peak);
    assert!(samples.memory_peak <= budget && samples.memory_peak > budget / 4, "{samples:?}");
    assert_eq!((samples.memory, samples.files), (0, 0));
    for (n, master) in masters.iter().enumerate() {
        let row = service.row(master).await;
        assert_eq!(row.get::<&str, _>("state"), "done", "{n}: {:?}", row.get::<Option<String>, _>("error_text"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_falls_silent_is_replaced() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let masters = [
        service.order("usr_1", "a.wav", &song(2.0), Class::Bulk, SETTINGS).await,
        service.order("usr_1", "b.wav", &song(2.0), Class::Bulk, SETTINGS).await,
    ];
    // It claimed both, said so, and was never heard of again.
    let limits = queue::Limits { lease: Duration::from_millis(500), ..crate::queue::limits() };
    let lost = queue::claim(&service.db, "gone", &limits).await.unwrap();
    assert_eq!(lost.len(), 2);
    let mut tx = service.db.begin().await.unwrap();
    sqlx::query("UPDATE masters SET state = 'running', stage = 'render'").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    working(service.config(), service.services(), service.settled(&masters, 60)).await;
    for master in &masters {
        let row = service.row(master).await;
        assert_eq!((row.get::<&str, _>("state"), row.get::<i64, _>("attempt")), ("done", 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chores_are_done_repeated_and_given_up() {
    for test in databases().await {
        let service = Service::new(&test);
        let log: Arc<Mutex<Vec<(String, i64)>>> = Arc::default();
        let mut services = service.services();
        let register = |chores: &mut Chores, kind: &'static str, result: fn(i64) -> Result<Next, ChoreError>| {
            let log = Arc::clone(&log);
            chores.register(kind, move |chore: Chore| {
                log.lock().unwrap().push((chore.subject.clone(), chore.attempt));
                async move { result(chore.attempt) }
            });
        };
        register(&mut services.chores, "mail", |_| Ok(Next::Done));
        register(&mut services.chores, "sweep", |_| Ok(Next::Again(Duration::from_millis(200))));
        register(&mut services.chores, "webhook", |attempt| {
            if attempt < 3 {
                Err(ChoreError {
                    after: Some(Duration::from_millis(10)),
                    ..ChoreError::transient("webhook.refused", "503")
                })
            } else {
                panic!("a handler's own fault")
            }
        });
        register(&mut services.chores, "export", |_| Err(ChoreError::permanent("export.gone", "no such user")));
        let mut tx = service.db.begin().await.unwrap();
        for (kind, subject, tries) in
            [("mail", "m", 20), ("sweep", "all", 20), ("webhook", "w", 3), ("export", "e", 20), ("unknown", "u", 20)]
        {
            let job = NewJob { max_attempts: tries, ..NewJob::chore(kind, subject, "{}".to_owned()) };
            queue::enqueue(&mut tx, &job).await.unwrap().unwrap();
        }
        tx.commit().await.unwrap();
        working(service.config(), services, async {
            let until = Instant::now() + Duration::from_secs(30);
            let seen = |subject: &str| log.lock().unwrap().iter().filter(|(name, _)| name == subject).count();
            while seen("all") < 3 || seen("w") < 3 {
                assert!(Instant::now() < until, "{:?}", log.lock().unwrap());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let history = async |subject: &str| -> Vec<(String, Option<String>)> {
            let text = "SELECT state, error_code FROM job_history WHERE subject = $1 ORDER BY ended_at LIMIT 1";
            sqlx::query_as(text).bind(subject).fetch_all(service.db.read()).await.unwrap()
        };
        assert_eq!(history("m").await, [("done".to_owned(), None)], "{}", test.name());
        assert_eq!(history("e").await, [("dead".to_owned(), Some("export.gone".to_owned()))]);
        assert_eq!(history("w").await, [("dead".to_owned(), Some("chore.panicked".to_owned()))]);
        assert_eq!(history("u").await, [], "nobody here knows it, so nobody takes it");
        let waits: String = sqlx::query_scalar("SELECT state FROM jobs WHERE subject = 'all'")
            .fetch_one(service.db.read())
            .await
            .unwrap();
        assert_eq!(waits, "waiting");
    }
}
