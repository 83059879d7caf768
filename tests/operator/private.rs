//! Only the account the service runs under reads what it keeps.

use super::{Serving, data, loopmaster, signed_in, text};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Every file and folder with more than its owner's bits.
fn open(folder: &Path) -> Vec<String> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
        .filter_map(|entry| {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            let allowed = if entry.file_type().is_dir() { 0o700 } else { 0o600 };
            (mode & !allowed != 0).then(|| format!("{} {mode:o}", entry.path().display()))
        })
        .collect()
}

/// The command, under an umask that hides nothing.
fn under(umask: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    shell.current_dir(command.get_current_dir().unwrap()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("PATH", std::env::var_os("PATH").unwrap());
    shell
}

fn set(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Has something of everything written: rows with their log, an object, a letter, scratch files of a worker.
fn used(folder: &tempfile::TempDir, service: &Serving) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (_, session) = signed_in(&data(folder)).await;
        let picture = super::pictures::png(40, 30);
        let answer = super::pictures::put(&service.url, &session, picture).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let letter = super::pictures::contact(&service.url).await;
        assert!(letter.status.is_success(), "{letter:?}");
    });
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mail = data(folder).join("mail");
    while std::fs::read_dir(&mail).map_or(0, Iterator::count) == 0 {
        assert!(std::time::Instant::now() < until, "no letter was written");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn nobody_else_reads_what_a_service_keeps() {
    for umask in ["000", "022", "077"] {
        let folder = tempfile::tempdir().unwrap();
        let service = Serving::start(&mut under(umask, &loopmaster(folder.path())));
        used(&folder, &service);
        let found = open(&data(&folder));
        assert!(found.is_empty(), "umask {umask}, while it runs: {found:#?}");
        service.stop();
        let found = open(&data(&folder));
        assert!(found.is_empty(), "umask {umask}: {found:#?}");
        for made in ["loopmaster.db", "secrets.toml", "files", "mail", "work"] {
            assert!(data(&folder).join(made).exists(), "{made} was looked at");
        }
    }
}

#[test]
fn migrate_makes_private_files_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = loopmaster(folder.path());
    command.arg("migrate");
    let output = under("000", &command).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(data(&folder).join("loopmaster.db").exists());
    let found = open(&data(&folder));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_folder_of_the_version_before_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let service = Serving::start(&mut loopmaster(folder.path()));
    used(&folder, &service);
    service.stop();
    for entry in walkdir::WalkDir::new(data(&folder)) {
        let entry = entry.unwrap();
        set(entry.path(), if entry.file_type().is_dir() { 0o755 } else { 0o644 });
    }
    let service = Serving::start(&mut loopmaster(folder.path()));
    assert!(
        service.said.iter().any(|line| line.contains("other users could read the data folder")),
        "{:?}",
        service.said
    );
    let found = open(&data(&folder));
    assert!(found.is_empty(), "{found:#?}");
    service.stop();
    let service = Serving::start(&mut loopmaster(folder.path()));
    assert!(!service.said.iter().any(|line| line.contains("other users")), "once: {:?}", service.said);
    service.stop();
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    for mode in [0o777, 0o770, 0o1777] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(data(&folder)).unwrap();
        set(&data(&folder), mode);
        for arguments in [&["serve"][..], &["work"], &["migrate"], &["admin", "tickets"]] {
            let output = loopmaster(folder.path()).args(arguments).output().unwrap();
            assert!(!output.status.success());
            let said = text(&output);
            assert!(
                said.contains("data: ") && said.contains("can be written by other users") && said.contains("chmod"),
                "{said}"
            );
        }
        assert_eq!(std::fs::read_dir(data(&folder)).unwrap().count(), 0, "nothing was made");
    }
}
