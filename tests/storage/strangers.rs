//! S3 clients nobody here wrote, unmodified, against our endpoint.

use super::{BUCKET, Ours, credentials, noise, python_tool};
use std::path::Path;
use std::process::{Command, Output};

fn ran(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn same(one: &Path, other: &Path) {
    assert!(std::fs::read(one).unwrap() == std::fs::read(other).unwrap(), "{} came back changed", one.display());
}

#[test]
fn the_aws_cli() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ours = runtime.block_on(Ours::start());
    let folder = tempfile::tempdir().unwrap();
    let url = ours.handle.url();
    let aws = |args: &[&str]| {
        let keys = credentials();
        let mut command = Command::new(python_tool("s3", "aws"));
        command.args(["--endpoint-url", &url]).args(args).current_dir(folder.path());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder.path());
        command.env("AWS_ACCESS_KEY_ID", keys.access_key).env("AWS_SECRET_ACCESS_KEY", keys.secret_key);
        command.env("AWS_DEFAULT_REGION", "us-east-1").env("AWS_EC2_METADATA_DISABLED", "true");
        text(&ran(&mut command))
    };
    let source = folder.path().join("mixes");
    std::fs::create_dir_all(source.join("album")).unwrap();
    // Above the CLI's threshold of 8 MiB: goes up and comes down in parts.
    std::fs::write(source.join("large mix.wav"), noise(1, (17 << 20) + 3)).unwrap();
    std::fs::write(source.join("album/ü 1.flac"), noise(2, 10_000)).unwrap();
    std::fs::write(source.join("album/empty"), b"").unwrap();
    let at = format!("s3://{BUCKET}");
    aws(&["s3", "cp", "--recursive", "mixes", &format!("{at}/m")]);
    let listed = aws(&["s3", "ls", "--recursive", &format!("{at}/m/")]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.contains("m/album/ü 1.flac") && listed.contains(&((17 << 20) + 3).to_string()), "{listed}");
    aws(&["s3", "sync", &format!("{at}/m"), "back"]);
    for name in ["large mix.wav", "album/ü 1.flac", "album/empty"] {
        same(&source.join(name), &folder.path().join("back").join(name));
    }
    // Nothing has changed: nothing is sent.
    assert_eq!(aws(&["s3", "sync", "mixes", &format!("{at}/m"), "--size-only"]), "");
    aws(&["s3", "mv", &format!("{at}/m/large mix.wav"), &format!("{at}/moved.wav")]);
    let head = aws(&["s3api", "head-object", "--bucket", BUCKET, "--key", "moved.wav", "--query", "ContentLength"]);
    assert_eq!(head.trim(), ((17 << 20) + 3).to_string());
    aws(&["s3", "rm", "--recursive", &at]);
    assert!(runtime.block_on(ours.store.list("")).unwrap().is_empty());
}

#[test]
fn rclone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ours = runtime.block_on(Ours::start());
    let folder = tempfile::tempdir().unwrap();
    let url = ours.handle.url();
    let rclone = |args: &[&str]| {
        let keys = credentials();
        let mut command = Command::new("rclone");
        command
            .args(args)
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", folder.path());
        command.env("RCLONE_CONFIG", folder.path().join("none")).env("RCLONE_CONFIG_OURS_TYPE", "s3");
        command.env("RCLONE_CONFIG_OURS_PROVIDER", "Other").env("RCLONE_CONFIG_OURS_ENDPOINT", &url);
        command.env("RCLONE_CONFIG_OURS_ACCESS_KEY_ID", keys.access_key);
        command.env("RCLONE_CONFIG_OURS_SECRET_ACCESS_KEY", keys.secret_key);
        command.env("RCLONE_S3_UPLOAD_CUTOFF", "6M").env("RCLONE_S3_CHUNK_SIZE", "5M");
        ran(&mut command)
    };
    let source = folder.path().join("mixes");
    std::fs::create_dir_all(source.join("a/b")).unwrap();
    std::fs::write(source.join("a/b/large.wav"), noise(3, (12 << 20) + 1)).unwrap();
    std::fs::write(source.join("a/ß & c.flac"), noise(4, 5_000)).unwrap();
    let at = format!("ours:{BUCKET}/r");
    rclone(&["copy", "mixes", &at]);
    let listed = text(&rclone(&["lsf", "-R", "--files-only", &at]));
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["a/b/large.wav", "a/ß & c.flac"]);
    rclone(&["check", "--download", "mixes", &at]);
    // Stopped half way: what is there is left alone, what is missing or changed is sent, and times are kept.
    rclone(&["deletefile", &format!("{at}/a/ß & c.flac")]);
    let again = rclone(&["copy", "-v", "--stats-one-line", "mixes", &at]);
    let log = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(log.contains("ß & c.flac: Copied") && !log.contains("large.wav: Copied"), "{log}");
    rclone(&["copy", &at, "back"]);
    same(&source.join("a/b/large.wav"), &folder.path().join("back/a/b/large.wav"));
    same(&source.join("a/ß & c.flac"), &folder.path().join("back/a/ß & c.flac"));
    rclone(&["mkdir", "ours:another-bucket"]);
    assert!(text(&rclone(&["lsd", "ours:"])).contains("another-bucket"));
    rclone(&["rmdir", "ours:another-bucket"]);
    rclone(&["purge", &at]);
    assert!(runtime.block_on(ours.store.list("r/")).unwrap().is_empty());
    assert!(runtime.block_on(ours.store.unfinished("r/")).unwrap().is_empty());
}
