//! The folder of one service, the processes on it, and the music that goes through them.

use crate::cli::wav;
use crate::service::EDGE_KEY;
use crate::storage::{hex, http, noise};
use loopmaster::config::{Config, Secret};
use loopmaster::db::{Db, hash_secret, new_id, new_secret};
use loopmaster::store::Store;
use loopmaster_core::decode::decode_file;
use loopmaster_core::settings::Limits;
use rand::RngExt;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::Notify;

/// The smallest part that storage takes.
pub(super) const PART: usize = 5 << 20;
/// Frames a second of all excerpts.
const RATE: u32 = 44_100;
const EXCERPTS: [&str; 6] = [
    "impulslogik-zen",
    "momo64-esp",
    "settel-inner-recreation",
    "skiessi-onion",
    "tame-anderson-make-me",
    "thomasso-axe-from-the-80s",
];

/// A short piece of one of the excerpts, no two alike.
#[derive(Debug)]
pub(super) struct Song {
    pub(super) name: String,
    pub(super) wav: Vec<u8>,
}

/// So many songs of two to three seconds.
pub(super) fn songs(count: usize) -> Vec<Song> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let read = |name: &str| decode_file(&data.join(format!("{name}.flac")), &Limits::default()).unwrap().audio.channels;
    let excerpts = EXCERPTS.map(read);
    let frames = |seconds: f64| (f64::from(RATE) * seconds) as usize;
    let song = |number: usize| {
        let excerpt = number % EXCERPTS.len();
        let from = frames(0.17 * (number / EXCERPTS.len()) as f64);
        let to = from + frames(2.0 + 0.25 * (number % 5) as f64);
        let channels: Vec<Vec<f32>> = excerpts[excerpt].iter().map(|samples| samples[from..to].to_vec()).collect();
        let wav = wav(&channels, RATE, false);
        Song { name: format!("{number:03} {}", EXCERPTS[excerpt]), wav }
    };
    (0..count).map(song).collect()
}

/// The same music in a file that is larger by a chunk nobody reads.
pub(super) fn padded(wav: &[u8], padding: &[u8]) -> Vec<u8> {
    let padding = &padding[..padding.len() & !1];
    let (head, rest) = wav.split_at(12);
    let length = u32::try_from(padding.len()).unwrap();
    let mut all = Vec::with_capacity(wav.len() + padding.len() + 8);
    all.extend_from_slice(&head[..4]);
    all.extend((u32::from_le_bytes(head[4..8].try_into().unwrap()) + 8 + length).to_le_bytes());
    all.extend_from_slice(&head[8..]);
    all.extend_from_slice(b"JUNK");
    all.extend(length.to_le_bytes());
    all.extend_from_slice(padding);
    all.extend_from_slice(rest);
    all
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A port outside of those that the system gives to connections, for the service comes back to it after every kill.
fn port() -> TcpListener {
    loop {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", rand::rng().random_range(20_000..32_000))) {
            return listener;
        }
    }
}

/// A process that does not outlive the test.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// SIGKILL, and gone when this returns.
    pub(super) fn kill(&mut self) {
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }

    /// SIGTERM.
    pub(super) fn ask_to_end(&self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for the end; `None`: it did not come in time.
    pub(super) async fn end_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            match self.ended() {
                None if Instant::now() < until => tokio::time::sleep(Duration::from_millis(10)).await,
                ended => return ended,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One service and everything around it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) home: TempDir,
    pub(super) config: Config,
    /// Who pushes.
    pub(super) user: String,
    pub(super) http: reqwest::Client,
    pub(super) songs: Vec<Song>,
    /// SHA-256 of what an undisturbed run of the command line delivers, by song.
    pub(super) masters: Vec<String>,
    /// A client is taking a step: a good moment for a kill.
    pub(super) steps: Notify,
    pub(super) findings: Mutex<Vec<String>>,
    token: String,
}

impl World {
    pub(super) async fn new(count: usize) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let home = tempfile::tempdir().unwrap();
        let (api, files) = (port(), port());
        let mut config = Config { data: home.path().join("data"), ..Config::default() };
        config.listen.api = api.local_addr().unwrap();
        config.listen.files = files.local_addr().unwrap();
        config.api_url = format!("http://{}", config.listen.api).try_into().unwrap();
        config.files_url = format!("http://{}", config.listen.files).try_into().unwrap();
        config.secret = Secret::new("a service key for tests, long enough");
        config.edge.keys.insert("test".to_owned(), Secret::new(EDGE_KEY));
        config.storage.access_key = "LMTEST".to_owned();
        config.storage.secret_key = Secret::new("a storage key for tests, long enough");
        config.storage.keep_free = 0;
        config.limits.part_bytes = PART as u64;
        // One address does what hundreds do.
        config.limits.guest.tracks_a_day = 100_000;
        config.limits.guest.waiting = 100_000;
        config.limits.guest.creates_an_hour = 1_000_000;
        config.limits.guest.requests_a_minute = 1_000_000;
        config.limits.guest.stored_bytes = 1 << 40;
        // The same bytes as the command line, whatever cards there are.
        config.worker.backend = "cpu".to_owned();
        config.worker.threads = 2;
        // Trying out the sandbox takes a second of each start, in which nothing else could be hit.
        config.worker.allow_unsandboxed = true;
        config.log.filter = "info,s3s=off,symphonia=warn,lofty=error".to_owned();
        std::fs::write(home.path().join("loopmaster.toml"), toml::to_string(&config).unwrap()).unwrap();

        let songs = songs(count);
        folder_of(&songs, &home.path().join(mixes(1)));
        let db = Db::connect(&config.database()).await.unwrap();
        db.migrate().await.unwrap();
        let (user, token) = account(&db).await;
        db.close().await;
        let world = Self {
            home,
            config,
            user,
            http: http(),
            songs,
            masters: Vec::new(),
            steps: Notify::new(),
            findings: Mutex::default(),
            token,
        };
        let masters = world.undisturbed();
        Self { masters, ..world }
    }

    /// What the command line makes of the songs.
    fn undisturbed(&self) -> Vec<String> {
        let out = self.home.path().join("undisturbed");
        if self.songs.is_empty() {
            return Vec::new();
        }
        let mut command = self.loopmaster();
        command.arg("master").arg(mixes(1)).arg("-o").arg(&out).args(["--backend", "cpu", "--quiet"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let hash = |song: &Song| sha256(&std::fs::read(out.join(song.delivered())).unwrap());
        let masters: Vec<String> = self.songs.iter().map(hash).collect();
        let different: std::collections::BTreeSet<&String> = masters.iter().collect();
        assert_eq!(different.len(), masters.len(), "the songs are distinct");
        masters
    }

    fn loopmaster(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loopmaster"));
        command.current_dir(self.home.path()).env_clear().stdin(Stdio::null());
        command.env("HOME", self.home.path()).env("XDG_STATE_HOME", self.home.path().join("state"));
        command.env("NO_PROXY", "127.0.0.1").env("RUST_BACKTRACE", "1");
        for variable in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(variable) {
                command.env(variable, value);
            }
        }
        command
    }

    fn log(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.home.path().join(name)).unwrap()
    }

    /// Starts the service.
    pub(super) fn serve(&self) -> Process {
        let mut command = self.loopmaster();
        command.arg("serve").stdout(self.log("serve.log")).stderr(self.log("serve.log"));
        Process(command.spawn().unwrap())
    }

    /// Returns when the service is ready.
    pub(super) async fn ready(&self, server: &mut Process) {
        let until = Instant::now() + Duration::from_mins(2);
        loop {
            let answer = self.http.get(self.api("/readyz")).timeout(Duration::from_secs(10)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            if let Some(status) = server.ended() {
                panic!("`serve` ended by itself with {status}:\n{}", self.end_of("serve.log"));
            }
            assert!(Instant::now() < until, "`serve` does not get ready:\n{}", self.end_of("serve.log"));
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// Starts to push the songs: every round is a folder of its own.
    pub(super) fn push(&self, round: usize) -> Process {
        let folder = self.home.path().join(mixes(round));
        if !folder.exists() {
            folder_of(&self.songs, &folder);
        }
        let mut command = self.loopmaster();
        command.args(["push", &mixes(round), "-o", &masters(round), "--json", "--url", &self.api("")]);
        command.env("LOOPMASTER_TOKEN", &self.token);
        command.stdout(self.log("push.log")).stderr(self.log("push.log"));
        Process(command.spawn().unwrap())
    }

    /// An operator's task, beside the running service.
    pub(super) fn admin(&self, arguments: &[&str]) -> String {
        let output = self.loopmaster().arg("admin").args(arguments).output().unwrap();
        let (said, cried) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            self.found(format!("admin {arguments:?}: {said}{cried}"));
        }
        said.into_owned()
    }

    pub(super) fn api(&self, path: &str) -> String {
        self.config.api_url.with(path)
    }

    pub(super) fn asking(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.api(path)).bearer_auth(&self.token)
    }

    /// Asks the API as the one who pushes.
    pub(super) async fn ask(&self, method: reqwest::Method, path: &str) -> (u16, Value) {
        let answer = self.asking(method, path).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    pub(super) fn store(&self) -> Store {
        Store::new(&self.config.storage_client()).unwrap()
    }

    pub(super) async fn db(&self) -> Db {
        Db::connect(&self.config.database()).await.unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(super) fn end_of(&self, log: &str) -> String {
        let text = std::fs::read_to_string(self.path(log)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Something is not as it has to be.
    pub(super) fn found(&self, what: impl Into<String>) {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    /// Failures that `push` has told so far, by code.
    pub(super) fn push_failures(&self) -> BTreeMap<String, usize> {
        let text = std::fs::read_to_string(self.path("push.log")).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut codes = BTreeMap::new();
        for event in events.filter(|event| event["event"] == "failed") {
            *codes.entry(event["code"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        codes
    }
}

impl Song {
    /// What the master of it is called.
    pub(super) fn delivered(&self) -> String {
        format!("{} (master) 24-bit 44.1 kHz.wav", self.name)
    }
}

/// The folder of a round.
pub(super) fn mixes(round: usize) -> String {
    format!("mixes {round}")
}

/// The folder its masters are delivered to.
pub(super) fn masters(round: usize) -> String {
    format!("masters {round}")
}

fn folder_of(songs: &[Song], folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for (number, song) in songs.iter().enumerate() {
        // Every tenth takes two parts.
        let padding = if number % 10 == 4 { PART } else { 0 };
        let file = padded(&song.wav, &noise(number as u64, padding));
        std::fs::write(folder.join(format!("{}.wav", song.name)), file).unwrap();
    }
}

/// Somebody with a token.
async fn account(db: &Db) -> (String, String) {
    let (user, token) = (new_id("usr"), new_secret("lmt"));
    let mut tx = db.begin().await.unwrap();
    let text = tx.sql(
        "INSERT INTO users (id, email, name, mail_when_ready, policy_version, of_age_at, created_at)
         VALUES ($1, 'label@example.com', 'Label', 1, '1', {now}, {now})",
    );
    sqlx::query(text).bind(&user).execute(&mut *tx).await.unwrap();
    let text = tx.sql(
        "INSERT INTO tokens (id, user_id, name, token_hash, scopes, created_at) VALUES ($1, $2, 'push', $3, 'uploads masters', {now})",
    );
    sqlx::query(text).bind(new_id("tok")).bind(&user).bind(hash_secret(&token)).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    (user, token)
}
