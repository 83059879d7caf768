//! `infra/install.sh`: a release is installed whole, or nothing is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// A release of this machine's kind whose programs say their name.
fn release(folder: &Path) -> String {
    let arch = std::env::consts::ARCH;
    let name = format!("loopmaster-9.9.9-{arch}-linux");
    let tree = folder.join(&name);
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::create_dir_all(tree.join("lib/loopmaster/infra")).unwrap();
    fs::write(tree.join("lib/loopmaster/infra/serve.sh"), "").unwrap();
    let program = tree.join("bin/loopmaster");
    fs::write(&program, "#!/bin/sh\necho nine\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let archive = format!("{name}.tar.gz");
    shell(
        folder,
        &format!("tar czf {archive} {name} && rm -r {name} && echo other > other.deb && sha256sum *.* > SHA256SUMS"),
    );
    archive
}

fn shell(folder: &Path, text: &str) {
    assert!(Command::new("sh").args(["-c", text]).current_dir(folder).status().unwrap().success(), "{text}");
}

fn install(release: &Path, prefix: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/install.sh");
    Command::new(script).arg(release).env("PREFIX", prefix).output().unwrap()
}

#[test]
fn a_release_is_installed_and_replaces_the_one_before() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    release(from.path());
    fs::create_dir_all(to.path().join("lib/loopmaster/old")).unwrap();
    for _ in 0..2 {
        let done = install(from.path(), to.path());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let said = Command::new(to.path().join("bin/loopmaster")).output().unwrap();
    assert_eq!(said.stdout, b"nine\n");
    assert!(to.path().join("lib/loopmaster/infra/serve.sh").is_file());
    assert!(!to.path().join("lib/loopmaster/old").exists(), "something of the version before is left");
    assert_eq!(fs::read_dir(to.path().join("bin")).unwrap().count(), 1);
}

#[test]
fn what_is_not_as_the_sums_say_is_not_installed() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let archive = release(from.path());
    let refused = |why: &str| {
        let done = install(from.path(), to.path());
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains(why), "{said}");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0, "half of it was installed");
    };
    let whole = fs::read(from.path().join(&archive)).unwrap();
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(from.path().join(&archive), other).unwrap();
    refused("is not what SHA256SUMS says");
    fs::remove_file(from.path().join(&archive)).unwrap();
    refused("cannot be fetched");
    let sums = fs::read_to_string(from.path().join("SHA256SUMS")).unwrap();
    let another = sums.replace(std::env::consts::ARCH, "m68k");
    fs::write(from.path().join("SHA256SUMS"), another).unwrap();
    refused("has no program for");
    fs::remove_file(from.path().join("SHA256SUMS")).unwrap();
    refused("There is no SHA256SUMS");
}
