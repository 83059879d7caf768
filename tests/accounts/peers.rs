//! Servers and clients that nobody here wrote, each a process that ends when its standard input does.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// One process of tests/peers.
pub(super) struct Peer {
    child: Child,
    lines: Receiver<Value>,
    pub port: u16,
}

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let output = Command::new("bash")
            .args(["-c", ". infra/setup.sh; need_peers"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "the peers are not there; they need node, npm and a registry");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

impl Peer {
    pub(super) fn start(script: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("node")
            .arg(script)
            .args(arguments)
            .current_dir(folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // Libraries have their own things to say.
                let Ok(line) = serde_json::from_str(&line) else { continue };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut peer = Self { child, lines, port: 0 };
        peer.port = peer.line()["port"].as_u64().unwrap() as u16;
        peer
    }

    /// What it says next.
    pub(super) fn line(&self) -> Value {
        self.lines.recv_timeout(Duration::from_secs(30)).expect("the peer says nothing")
    }

    /// Whether it has said nothing more.
    pub(super) fn silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
