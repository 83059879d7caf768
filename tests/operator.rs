//! What an operator runs and reads: the binary with its data folder, configuration and metrics.

use crate::service::{EDGE_KEY, Reply, unix_now};
use loopmaster::db::{Db, hash_secret, new_id, new_secret};
use loopmaster::digest::{hex, hmac, sha256};
use loopmaster_core::signing;
use reqwest::Method;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[path = "operator/environment.rs"]
mod environment;
#[path = "operator/http2.rs"]
mod http2;
mod install;
#[path = "operator/nodes.rs"]
mod nodes;
#[path = "operator/pictures.rs"]
mod pictures;
#[cfg(unix)]
#[path = "operator/private.rs"]
mod private;
#[path = "operator/schema.rs"]
mod schema;

pub(crate) fn loopmaster(folder: &Path) -> Command {
    // For the clients of these tests.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loopmaster"));
    command.current_dir(folder).env_clear();
    command.env("LOOPMASTER_LISTEN__API", "127.0.0.1:0").env("LOOPMASTER_LISTEN__FILES", "127.0.0.1:0");
    command.env("LOOPMASTER_STORAGE__KEEP_FREE", "0").env("LOOPMASTER_EDGE__KEYS__TEST", EDGE_KEY);
    command
}

/// `loopmaster serve` in a folder of its own; ends with the test.
pub(crate) struct Serving {
    child: Child,
    pub(crate) url: String,
    /// What it said before it served.
    pub(crate) said: Vec<String>,
}

impl Serving {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command, &[])
    }

    pub(crate) fn start_with(command: &mut Command, arguments: &[&str]) -> Self {
        let mut child =
            command.arg("serve").args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let url = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {said:?}")).unwrap();
            if let Some((_, url)) = line.split_once("api=") {
                let end = url.find(|c: char| !(c.is_ascii_alphanumeric() || "/.:".contains(c))).unwrap_or(url.len());
                break url[..end].to_owned();
            }
            said.push(line);
        };
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, said }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(mut self) {
        assert!(Command::new("kill").arg(self.pid().to_string()).status().unwrap().success());
        let until = Instant::now() + Duration::from_mins(1);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end when it is asked to");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody behind the edge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visitor {
    pub(crate) ip: String,
    pub(crate) guest: String,
    pub(crate) session: String,
}

impl Visitor {
    pub(crate) fn with_session(session: &str) -> Self {
        Self { ip: sha256(session.as_bytes())[..32].to_owned(), session: session.to_owned(), ..Self::default() }
    }

    /// What the edge would send for them; a body is JSON but for pictures.
    pub(crate) async fn send(&self, url: &str, method: Method, path: &str, body: Vec<u8>) -> Reply {
        let (time, nonce, request_id) = (unix_now(), uuid::Uuid::new_v4().simple().to_string(), new_id("req"));
        let canonical = signing::Request {
            key_id: "test",
            time,
            nonce: &nonce,
            method: method.as_str(),
            authority: url.trim_start_matches("http://"),
            path,
            body_sha256: &sha256(&body),
            ip: &self.ip,
            guest: &self.guest,
            session: &self.session,
            login: "",
            request_id: &request_id,
        }
        .canonical();
        let mac = hex(&hmac(EDGE_KEY.as_bytes(), &[canonical.as_bytes()]));
        let mut request = reqwest::Client::new().request(method, format!("{url}{path}"));
        for (name, value) in [
            (signing::IP, &self.ip),
            (signing::GUEST, &self.guest),
            (signing::SESSION, &self.session),
            (signing::REQUEST_ID, &request_id),
        ] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        if !body.is_empty() && !path.ends_with("/picture") {
            request = request.header("content-type", "application/json");
        }
        let signature = format!("v1 test {time} {nonce} {mac}");
        Reply::of(request.header(signing::SIGNATURE, signature).body(body).send().await.unwrap()).await
    }
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// Somebody signed in, put into the database of a service that runs: user and session token.
pub(crate) async fn signed_in(data: &Path) -> (String, String) {
    let (user, token) = (new_id("usr"), new_secret("lms"));
    let db = Db::connect(&format!("sqlite:{}", data.join("loopmaster.db").display())).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let text = tx.sql(
        "INSERT INTO users (id, email, name, mail_when_ready, policy_version, of_age_at, created_at)
         VALUES ($1, $2, 'Test', 1, '1', {now}, {now})",
    );
    sqlx::query(text).bind(&user).bind(format!("{user}@example.com")).execute(&mut *tx).await.unwrap();
    let text = tx.sql(
        "INSERT INTO sessions (id, token_hash, user_id, user_agent, ip_hash, created_at, signed_in_at, seen_at, expires_at)
         VALUES ($1, $2, $3, 'test', '', {now}, {now}, {now}, {now} + 86400000)",
    );
    let query = sqlx::query(text).bind(new_id("ses")).bind(hash_secret(&token)).bind(&user);
    query.execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    (user, token)
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `curl` with these headers: status and body.
pub(crate) fn get(url: &str, headers: &[&str]) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "10", "--noproxy", "*", "-w", "\n%{http_code}", url]);
    for header in headers {
        command.args(["-H", header]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let all = String::from_utf8(output.stdout).unwrap();
    let (body, status) = all.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// A proxy on the same machine is as near as the operator, whatever headers it sets.
#[test]
fn metrics_are_on_a_socket_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("127.0.0.1:{}", free_port());
    let mut command = loopmaster(folder.path());
    let service = Serving::start(command.env("LOOPMASTER_LISTEN__METRICS", &socket));
    for header in [
        "accept: */*",
        "x-forwarded-for: 203.0.113.9",
        "forwarded: for=203.0.113.9",
        "via: 1.1 proxy",
        "x-real-ip: 203.0.113.9",
        "lm-ip: 00112233445566778899aabbccddeeff",
    ] {
        for path in ["/metrics", "/v1/metrics", "/metrics/", "//metrics"] {
            let (status, body) = get(&format!("{}{path}", service.url), &[header]);
            assert!((400..500).contains(&status) && !body.contains("loopmaster_"), "{header} {path}: {status} {body}");
        }
    }
    let (status, body) = get(&format!("http://{socket}/metrics"), &[]);
    assert!(status == 200 && body.contains("loopmaster_queue_jobs{"), "{status} {body}");
    assert!(body.contains("route=\"none\",status=\"404\""), "{body}");
    service.stop();

    let service = Serving::start(&mut loopmaster(folder.path()));
    assert_eq!(get(&format!("{}/metrics", service.url), &[]).0, 404, "nowhere unless it is configured");
    service.stop();
}

#[test]
fn what_is_shown_of_a_configuration_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let config = [&["config"][..], &["config", "--check"]];
    let all = [config[0], config[1], &["migrate"], &["serve"], &["work"], &["admin", "tickets"]];
    let run = |setting: &str, value: &str, arguments: &[&str], good: bool| {
        let mut command = loopmaster(folder.path());
        let output = command.args(arguments).env(format!("LOOPMASTER_{setting}"), value).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.success(), good, "{value} {arguments:?}: {said}");
        assert!(!said.contains("hunter2"), "{value} {arguments:?}: {said}");
    };
    for (setting, value) in [
        ("DATABASE_URL", "postgres://a:hunter2@127.0.0.1:1/a"),
        ("DATABASE_URL", "postgres://127.0.0.1:1/a?user=a&password=hunter2"),
        ("DATABASE_URL", "postgres://a:hunter2"),
        ("MAIL__SMTP", "smtps://a:hunter2@mail.example"),
    ] {
        for arguments in config {
            run(setting, value, arguments, true);
        }
    }
    // As far as the database, which is not there, or whose address is none.
    run("DATABASE_URL", "postgres://a:hunter2@127.0.0.1:1/a", &["migrate"], false);
    for arguments in [&["migrate"][..], &["serve", "--no-worker"]] {
        run("DATABASE_URL", "postgres://a:hunter2", arguments, false);
    }
    for (setting, value) in [
        ("DATABASE_URL", "mysql://a:hunter2@127.0.0.1:1/a"),
        ("MAIL__SMTP", "smtps://a:hunter2@mail.example:none"),
        ("STORAGE__ENDPOINT", "http://a:hunter2@127.0.0.1:1"),
        ("PUBLIC_URL", "http://a:hunter2@127.0.0.1:1"),
        ("LIMITS__ZIPS", "http://a:hunter2@127.0.0.1:1"),
        ("SECRET", "hunter2"),
        ("EDGE__KEYS__A", "hunter2"),
        ("STORAGE__SECRET_KEY", "hunter2"),
    ] {
        for arguments in all {
            run(setting, value, arguments, false);
        }
    }
}

#[test]
fn a_public_service_does_not_start_on_a_laptops_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = loopmaster(folder.path());
    command.env("LOOPMASTER_PUBLIC_URL", "https://music.example").env("LOOPMASTER_SECRET", "a".repeat(64));
    command.env("LOOPMASTER_STORAGE__ACCESS_KEY", "a").env("LOOPMASTER_STORAGE__SECRET_KEY", "x");
    let output = command.arg("serve").output().unwrap();
    assert!(!output.status.success());
    for setting in
        ["mail.smtp: is missing", "\n  secret: ", "storage.secret_key: has 1 characters and needs 32 or more"]
    {
        assert!(text(&output).contains(setting), "{setting}: {}", text(&output));
    }
    assert!(!folder.path().join(".loopmaster").exists(), "nothing was made");
}

/// Data folder of [`loopmaster`] in `folder`.
fn data(folder: &TempDir) -> PathBuf {
    folder.path().join(".loopmaster")
}
