//! PostgreSQL is Debian's, started once per process on a socket in a temporary folder, and gone with the process: a shell holds the
//! other end of a pipe and cleans up when it closes, however the process ends.

use sqlx::{AnyConnection, Connection};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A PostgreSQL of our own.
pub(crate) struct Server {
    folder: PathBuf,
    /// Its standard input is the pipe that keeps it alive.
    _shell: Child,
}

impl Server {
    /// The one of this process. `durable` counts only for the first caller: tests do without fsync, benches must not.
    pub(crate) fn shared(durable: bool) -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(durable))
    }

    fn start(durable: bool) -> Self {
        let programs =
            programs().expect("PostgreSQL is not installed; ./test installs it, or: apt-get install postgresql");
        let folder =
            tempfile::Builder::new().prefix("loopmaster-postgres-").tempdir().expect("a temporary folder").keep();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).expect("a folder of our own");
        // The server refuses to run as root.
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).expect("a folder to give away");
        }
        let sync = if durable { "" } else { "-c fsync=off -c synchronous_commit=off -c full_page_writes=off" };
        let script = format!(
            "trap '' INT
            '{bin}/initdb' --pgdata=data --username=loopmaster --auth=trust --encoding=UTF8 --no-locale --no-sync >log 2>&1 || exit
            '{bin}/postgres' -D data -k \"$PWD\" -c listen_addresses= -c max_connections=400 -c shared_buffers=64MB {sync} \
                </dev/null >>log 2>&1 &
            cat >/dev/null
            kill -QUIT $!; wait; cd /; rm -rf \"$0\"",
            bin = programs.display(),
        );
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg(&folder).current_dir(&folder).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = user {
            shell.uid(uid).gid(gid);
        }
        let shell = shell.spawn().expect("a shell");
        let server = Self { folder, _shell: shell };
        let socket = server.folder.join(".s.PGSQL.5432");
        let until = Instant::now() + Duration::from_mins(1);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let log = || std::fs::read_to_string(server.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "PostgreSQL does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn url(&self, name: &str) -> String {
        format!("postgres:///{name}?host={}&user=loopmaster", self.folder.display())
    }

    /// The address of a new, empty database.
    pub(crate) async fn fresh(&self, name: &str) -> String {
        sqlx::any::install_default_drivers();
        let url = self.url("postgres");
        let until = Instant::now() + Duration::from_secs(30);
        let mut connection = loop {
            // "The database system is starting up."
            match AnyConnection::connect(&url).await {
                Ok(connection) => break connection,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let text = format!("CREATE DATABASE {name}");
        sqlx::query(sqlx::AssertSqlSafe(text)).execute(&mut connection).await.expect("a new database");
        connection.close().await.expect("a clean end");
        self.url(name)
    }
}

fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path));
    found.into_iter().rev().find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
}

/// Whom to become when we are root.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|name| Some((id(&["-u", name])?, id(&["-g", name])?)))
}
