//! The binary itself: starts with nothing beside it, tells how it is, ends when asked, and begins again where it was.

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

/// Starts `serve` and reads where it listens from its log.
fn serve(folder: &Path) -> (Child, String) {
    let mut child = loopmaster(folder).arg("serve").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
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

fn end(mut child: Child) {
    let pid = i32::try_from(child.id()).unwrap();
    assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
    let until = Instant::now() + Duration::from_mins(1);
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
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
    assert!(first.status.success() && text(&first).contains("1 migrations were applied"), "{}", text(&first));
    let second = loopmaster(folder.path()).arg("migrate").output().unwrap();
    assert!(text(&second).contains("0 migrations were applied"), "{}", text(&second));
}
