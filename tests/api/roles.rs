//! The binary itself: starts with nothing beside it, tells how it is, ends when asked, and begins again where it was.

use loopmaster::db::{Db, hash_secret, new_id, new_secret};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn loopmaster(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loopmaster"));
    command.current_dir(folder).env_clear();
    command.env("LOOPMASTER_LISTEN__API", "127.0.0.1:0").env("LOOPMASTER_LISTEN__FILES", "127.0.0.1:0");
    command.env("LOOPMASTER_STORAGE__KEEP_FREE", "0").env("LOOPMASTER_WORKER__ALLOW_UNSANDBOXED", "true");
    command
}

/// A service that does not outlive its test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `serve` and reads where it listens from its log.
fn serve(folder: &Path) -> (Serving, String) {
    let child = loopmaster(folder).arg("serve").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Serving(child);
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    let url = loop {
        let line = lines.next().unwrap_or_else(|| panic!("it ended: {seen:?}")).unwrap();
        if let Some((_, url)) = line.split_once("api=") {
            let end = url.find(|c: char| !(c.is_ascii_alphanumeric() || "/.:".contains(c))).unwrap_or(url.len());
            break url[..end].to_owned();
        }
        seen.push(line);
    };
    // Whatever else it says must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, url)
}

fn get(url: &str) -> Option<String> {
    let output = Command::new("curl").args(["-sS", "--max-time", "10", url]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

fn end(mut child: Serving) {
    let pid = i32::try_from(child.0.id()).unwrap();
    assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
    let until = Instant::now() + Duration::from_mins(1);
    while Instant::now() < until {
        if let Some(status) = child.0.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("it does not end when it is asked to");
}

#[test]
fn serve_needs_nothing_and_ends_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (child, url) = serve(folder.path());
    let ready = get(&format!("{url}/readyz")).unwrap();
    assert!(ready.contains("\"ready\":true") && ready.contains("\"device\":\"cpu: ok\""), "{ready}");
    end(child);
    let secrets = std::fs::read_to_string(folder.path().join(".loopmaster/secrets.toml")).unwrap();
    let (child, url) = serve(folder.path());
    assert!(get(&format!("{url}/v1/status")).unwrap().contains("\"state\":\"ok\""));
    end(child);
    assert_eq!(std::fs::read_to_string(folder.path().join(".loopmaster/secrets.toml")).unwrap(), secrets);
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[test]
fn a_wrong_configuration_is_told_whole_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [["config", "--check"].as_slice(), &["serve"], &["work"], &["migrate"]] {
        let mut command = loopmaster(folder.path());
        command
            .args(arguments)
            .env("LOOPMASTER_LIMITS__ZIPS", "0")
            .env("LOOPMASTER_API_URL", "nowhere")
            .env("LOOPMASTER_LOG__FORMAT", "xml");
        let output = command.output().unwrap();
        assert!(!output.status.success());
        for setting in ["limits.zips", "api_url", "log.format"] {
            assert!(text(&output).contains(setting), "{arguments:?}: {}", text(&output));
        }
    }
    assert!(!folder.path().join(".loopmaster").exists(), "nothing was made");
    let good = loopmaster(folder.path()).args(["config", "--check"]).output().unwrap();
    assert!(good.status.success() && text(&good).is_empty(), "{}", text(&good));
    let example = loopmaster(folder.path()).args(["config", "--example"]).output().unwrap();
    std::fs::write(folder.path().join("loopmaster.toml"), &example.stdout).unwrap();
    let shown = loopmaster(folder.path()).arg("config").output().unwrap();
    assert!(shown.status.success() && text(&shown).contains("public_url"), "{}", text(&shown));
}

#[test]
fn migrate_says_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let first = loopmaster(folder.path()).arg("migrate").output().unwrap();
    let all = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/infra/migrations")).unwrap().count();
    let said = format!("{all} migrations were applied");
    assert!(first.status.success() && text(&first).contains(&said), "{}", text(&first));
    let second = loopmaster(folder.path()).arg("migrate").output().unwrap();
    assert!(text(&second).contains("0 migrations were applied"), "{}", text(&second));
}

/// A token of somebody, put into the database of a service that runs.
fn token(folder: &Path) -> String {
    let (user, token) = (new_id("usr"), new_secret("lmt"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Db::connect(&format!("sqlite:{}", folder.join(".loopmaster/loopmaster.db").display())).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let text = tx.sql(
            "INSERT INTO users (id, email, name, mail_when_ready, policy_version, of_age_at, created_at)
             VALUES ($1, 'label@example.com', 'Label', 1, '1', {now}, {now})",
        );
        sqlx::query(text).bind(&user).execute(&mut *tx).await.unwrap();
        let text = tx.sql(
            "INSERT INTO tokens (id, user_id, name, token_hash, scopes, created_at) VALUES ($1, $2, 'push', $3, 'uploads masters', {now})",
        );
        let query = sqlx::query(text).bind(new_id("tok")).bind(&user).bind(hash_secret(&token));
        query.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        db.close().await;
    });
    token
}

#[test]
fn a_folder_is_pushed_and_an_album_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (child, url) = serve(folder.path());
    std::fs::create_dir(folder.path().join("album")).unwrap();
    for (at, name) in ["momo64-esp.flac", "impulslogik-zen.flac"].iter().enumerate() {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        std::fs::copy(from, folder.path().join(format!("album/{} {name}", at + 1))).unwrap();
    }
    let mut push = loopmaster(folder.path());
    push.args(["push", "album", "-o", "out", "--album", "--json", "--url", &url])
        .env("LOOPMASTER_TOKEN", token(folder.path()))
        .env("HOME", folder.path())
        .env("NO_PROXY", "127.0.0.1");
    let output = push.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let mut wavs: Vec<_> = std::fs::read_dir(folder.path().join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("24-bit"))
        .collect();
    wavs.sort();
    assert_eq!(wavs.len(), 2, "{wavs:?} {}", text(&output));
    for wav in &wavs {
        let bytes = std::fs::read(wav).unwrap();
        assert!(bytes.starts_with(b"RIFF") && bytes.len() > 500_000, "{}", wav.display());
    }
    end(child);
}
