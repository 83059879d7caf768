//! Variables of the environment: what is no setting stops no role.

use super::{Serving, loopmaster, text};
use std::collections::BTreeSet;
use std::path::Path;

/// What is read anywhere of the program, and by the scripts that run in its environment. Names in comments and in help count, too.
const SOURCES: [&str; 12] = [
    "src",
    "core/src",
    "gpu/src",
    "cli/src",
    "net/src",
    "private/src",
    "edge/src",
    "edge/host/src",
    "infra/backup/loopmaster-backup",
    "infra/serve.sh",
    "infra/setup.sh",
    "run",
];

fn names(path: &Path, found: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            names(&entry.unwrap().path(), found);
        }
        return;
    }
    let Ok(text) = std::fs::read_to_string(path) else { return };
    if path.file_name().is_some_and(|name| name == "tests.rs") {
        return;
    }
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
    for rest in code.split("LOOPMASTER_").skip(1) {
        let name: String =
            rest.chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_').collect();
        // `LOOPMASTER_{…}` names none by itself, and a longer name may begin so.
        let cut = rest[name.len()..].starts_with(['{', '$', '*', '…', '%']);
        if !(name.is_empty() || cut || name.ends_with('_')) {
            found.insert(name);
        }
    }
}

#[test]
fn no_variable_that_is_read_stops_a_role() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for source in SOURCES {
        names(&root.join(source), &mut found);
    }
    // Without these nothing would have been looked at.
    for known in
        ["CONFIG", "TOKEN", "URL", "PROGRAM", "GPU_MEMORY", "GPU_ADAPTER", "GPU_SOFTWARE", "EDGE_HOST_DATA", "DATA"]
    {
        assert!(found.contains(known), "{known} is not in {found:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let (config, secret, key) =
        (folder.path().join("a.toml"), folder.path().join("secret"), "0c2f5a9e4b7d8136".repeat(2));
    std::fs::write(&config, "").unwrap();
    std::fs::write(&secret, format!("{}\n", "5b9d7e830c2f5a9e4b7d8136e0a1f4c2")).unwrap();
    let value = |name: &str| match name {
        "CONFIG" => config.to_str().unwrap().to_owned(),
        "DATA" => folder.path().join("data").to_str().unwrap().to_owned(),
        "SECRET" | "STORAGE__SECRET_KEY" => "5b9d7e830c2f5a9e4b7d8136e0a1f4c2".to_owned(),
        name if name.starts_with("EDGE__KEYS__") && !name.ends_with("_FILE") => format!("{key}-1"),
        name if name.ends_with("_FILE") => secret.to_str().unwrap().to_owned(),
        name if name.starts_with("LISTEN__") => "127.0.0.1:0".to_owned(),
        "PUBLIC_URL" | "API_URL" | "FILES_URL" => "http://127.0.0.1:1".to_owned(),
        "STORAGE__BUCKET" => "mixes".to_owned(),
        "DATABASE_URL" => format!("sqlite:{}", folder.path().join("a.db").display()),
        "LOG__FORMAT" => "json".to_owned(),
        _ => "1".to_owned(),
    };
    for name in &found {
        let mut command = loopmaster(folder.path());
        command.arg("migrate").env(format!("LOOPMASTER_{name}"), value(name));
        if name == "STORAGE__ACCESS_KEY" || name == "STORAGE__SECRET_KEY" {
            command
                .env("LOOPMASTER_STORAGE__ACCESS_KEY", "LMA")
                .env("LOOPMASTER_STORAGE__SECRET_KEY", value("STORAGE__SECRET_KEY"));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "LOOPMASTER_{name}: {}", text(&output));
    }
    // All that is no setting at once, in the role that runs everything.
    let mut command = loopmaster(folder.path());
    let others =
        ["TOKEN", "URL", "PROGRAM", "GPU_MEMORY", "GPU_ADAPTER", "GPU_SOFTWARE", "EDGE_HOST_DATA", "EDGE_HOST_LISTEN"];
    command.envs(others.map(|name| (format!("LOOPMASTER_{name}"), value(name))));
    Serving::start(&mut command).stop();
    let unknown = loopmaster(folder.path()).arg("migrate").env("LOOPMASTER_GPUS", "1").output().unwrap();
    assert!(!unknown.status.success() && text(&unknown).contains("there is no such setting"), "{}", text(&unknown));
}
