//! `loopmaster admin nodes`, `pause`, `resume` and `drain`, held against a worker in a process of its own.

use super::{loopmaster, text};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

struct Working(Child);

impl Drop for Working {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn admin(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = loopmaster(folder).arg("admin").args(arguments).output().unwrap();
    (output.status.success(), text(&output))
}

fn workers(folder: &Path) -> Vec<Value> {
    let (fine, said) = admin(folder, &["nodes", "--json"]);
    assert!(fine, "{said}");
    let line = said.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{said}"));
    serde_json::from_str::<Value>(line).unwrap()["workers"].as_array().unwrap().clone()
}

#[test]
fn a_machine_is_seen_paused_resumed_and_drained() {
    let folder = tempfile::tempdir().unwrap();
    assert!(loopmaster(folder.path()).arg("migrate").output().unwrap().status.success());
    let (fine, said) = admin(folder.path(), &["pause", "nowhere"]);
    assert!(!fine && said.contains("nowhere"), "{said}");

    let mut command = loopmaster(folder.path());
    command.arg("work").env("LOOPMASTER_LISTEN__METRICS", "127.0.0.1:0").stdout(Stdio::null()).stderr(Stdio::null());
    let mut worker = Working(command.spawn().unwrap());
    let until = Instant::now() + Duration::from_mins(1);
    let node = loop {
        if let Some(node) = workers(folder.path()).pop() {
            break node;
        }
        assert!(Instant::now() < until && worker.0.try_wait().unwrap().is_none(), "no worker has said that it lives");
        std::thread::sleep(Duration::from_millis(200));
    };
    let host = node["host"].as_str().unwrap().to_owned();
    assert_eq!((&node["paused"], &node["draining"], &node["device"]), (&false.into(), &false.into(), &"cpu".into()));

    let (fine, said) = admin(folder.path(), &["pause", &host]);
    assert!(fine && said.contains("nothing new is taken"), "{said}");
    let (_, said) = admin(folder.path(), &["pause", &host]);
    assert!(said.contains("paused already"), "{said}");
    let (_, said) = admin(folder.path(), &["nodes"]);
    assert!(said.contains(&format!("{host}  paused, 0 tracks of about 0 s")) && said.contains("threads"), "{said}");

    // All are paused, too: the end of the one pause is not enough, and is said.
    admin(folder.path(), &["pause", "all"]);
    let (fine, said) = admin(folder.path(), &["resume", &host]);
    assert!(fine && said.contains("admin resume all"), "{said}");
    assert_eq!(workers(folder.path())[0]["paused"], true);
    let (fine, said) = admin(folder.path(), &["resume", "all"]);
    assert!(fine && said.contains("taken again"), "{said}");
    assert_eq!(workers(folder.path())[0]["paused"], false);

    let (fine, said) = admin(folder.path(), &["drain", &host]);
    assert!(fine && said.contains("then the workers end"), "{said}");
    let until = Instant::now() + Duration::from_mins(1);
    let ended = loop {
        if let Some(status) = worker.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < until, "a drained worker goes on");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(ended.success(), "{ended}");
    assert!(workers(folder.path()).is_empty());

    let (_, said) = admin(folder.path(), &["audit", &host]);
    for action in ["node.paused", "node.resumed", "node.drained"] {
        assert!(said.contains(action), "{action}: {said}");
    }
}
