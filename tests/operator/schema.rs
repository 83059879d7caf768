//! A worker and a database of two versions: told in one line at the start, and by readiness afterwards.

use super::{free_port, get, loopmaster, text};
use crate::databases::later;
use loopmaster::db::Db;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

async fn database(folder: &Path) -> Db {
    Db::connect(&format!("sqlite:{}", folder.join(".loopmaster/loopmaster.db").display())).await.unwrap()
}

struct Working(Child);

impl Drop for Working {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_version_refuses_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let run = |role: &str| loopmaster(folder.path()).arg(role).output().unwrap();
    let refused = run("work");
    let said = text(&refused);
    assert!(!refused.status.success() && said.trim().lines().count() == 1, "{said}");
    assert!(said.contains("has schema 0, and") && said.contains("run `loopmaster migrate`"), "{said}");
    assert!(run("migrate").status.success());

    // One that works meets a newer schema: its readiness tells, and it goes on.
    let socket = format!("127.0.0.1:{}", free_port());
    let mut command = loopmaster(folder.path());
    command.arg("work").env("LOOPMASTER_LISTEN__METRICS", &socket).stdout(Stdio::null()).stderr(Stdio::null());
    let mut worker = Working(command.spawn().unwrap());
    let until = Instant::now() + Duration::from_mins(1);
    let mut told = async |wanted: &[&str]| loop {
        let there = std::net::TcpStream::connect(&socket).is_ok();
        let (status, body) = if there { get(&format!("http://{socket}/readyz"), &[]) } else { (0, String::new()) };
        if wanted.iter().all(|wanted| body.contains(wanted)) {
            return status;
        }
        assert!(Instant::now() < until && worker.0.try_wait().unwrap().is_none(), "{wanted:?}: {status} {body}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    told(&["\"migrations\":\"ok\"", "\"work\":\"ok\""]).await;
    later(&database(folder.path()).await).await;
    assert_eq!(told(&["has schema 999, and", "knows none after schema", "\"work\":\"nothing is claimed\""]).await, 503);
    drop(worker);

    for role in ["work", "migrate", "serve"] {
        let refused = run(role);
        let said = text(&refused);
        assert!(!refused.status.success() && said.trim().lines().count() == 1, "{role}: {said}");
        assert!(
            said.contains("has schema 999, and this program") && said.contains("run the version that made it"),
            "{said}"
        );
    }
}
