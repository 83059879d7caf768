use super::read::{SECRETS, holds_secret};
use super::*;

fn sources(file: &str, environment: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loopmaster.toml");
    std::fs::write(&path, format!("data = {:?}\n{file}", folder.path().join("data"))).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    (folder, Sources { file: Some(path), environment })
}

#[test]
fn nothing_given_serves_this_machine_and_keeps_its_secrets() {
    let (folder, sources) = sources("", &[]);
    assert!(Config::check(&sources).unwrap().secret.is_empty(), "a check writes nothing");
    assert!(!folder.path().join("data").exists());
    let first = Config::open(&sources).unwrap();
    assert!(first.secret.expose().len() == 64 && first.edge.keys.len() == 1 && !first.storage.access_key.is_empty());
    let again = Config::open(&sources).unwrap();
    assert_eq!((&first.secret, &first.edge.keys), (&again.secret, &again.edge.keys));
    assert_eq!(first.storage.secret_key, again.storage.secret_key);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path().join("data").join(SECRETS)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "only the owner reads it");
    }
    assert!(!format!("{first:?}").contains(first.secret.expose()), "never printed");
}

#[test]
fn the_environment_lies_over_the_file() {
    let (_folder, sources) = sources(
        "api_url = \"http://127.0.0.1:1\"\n[limits]\nzips = 3\n",
        &[
            ("LOOPMASTER_API_URL", "http://127.0.0.1:9001"),
            ("LOOPMASTER_LIMITS__GUEST__WAITING", "7"),
            ("LOOPMASTER_STORAGE__BUCKET", "12345"),
            ("LOOPMASTER_EDGE__KEYS__A", "0123456789abcdef0123456789abcdef"),
            ("LOOPMASTER_TOKEN", "of a client"),
            ("HOME", "/"),
        ],
    );
    let config = Config::check(&sources).unwrap();
    assert_eq!(config.api_url.to_string(), "http://127.0.0.1:9001");
    assert_eq!((config.limits.zips, config.limits.guest.waiting), (3, 7));
    assert_eq!(config.limits.guest.tracks_a_day, Limits::default().guest.tracks_a_day, "the rest of the group stays");
    assert_eq!(config.storage.bucket, "12345", "text stays text even where it looks like a number");
    assert_eq!(config.edge.keys.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn all_wrong_values_are_named_at_once() {
    let (_folder, sources) = sources(
        "publicurl = 1\napi_url = \"ftp://x\"\ntrusted_hops = -1\ndatabase_url = \"mysql://x\"\n[storage]\nbucket = \"No\"\n\
         secret_key = \"x\"\naccess_key = \"a\"\n[edge.keys]\na = \"short\"\n[worker]\nbackend = \"tpu\"\nthreads = \"many\"\n[log]\nformat = \"xml\"\n",
        &[("LOOPMASTER_LIMITS__ZIPS", "0"), ("LOOPMASTER_NONSENSE", "1")],
    );
    let Unusable(complaints) = Config::check(&sources).unwrap_err();
    let named: Vec<&str> = complaints.iter().map(|complaint| complaint.setting.as_str()).collect();
    for setting in [
        "publicurl",
        "api_url",
        "trusted_hops",
        "database_url",
        "storage.bucket",
        "storage.secret_key",
        "edge.keys.a",
        "worker.backend",
        "worker.threads",
        "log.format",
        "limits.zips",
        "nonsense",
    ] {
        assert!(named.contains(&setting), "{setting} is missing in {named:?}");
    }
    let hint = complaints.iter().find(|complaint| complaint.setting == "publicurl").unwrap();
    assert!(hint.text.contains("public_url"), "{hint}");
    assert!(!Unusable(complaints.clone()).to_string().contains("short\""), "secrets are not repeated");
}

#[test]
fn a_public_service_has_to_bring_its_secrets() {
    let (folder, sources) = sources("public_url = \"https://music.example\"", &[]);
    let Unusable(complaints) = Config::open(&sources).unwrap_err();
    let named: Vec<&str> = complaints.iter().map(|complaint| complaint.setting.as_str()).collect();
    assert_eq!(named, ["secret", "edge.keys", "storage.access_key", "mail.smtp"]);
    assert!(!folder.path().join("data").exists());
}

const PUBLIC: &str = "public_url = \"https://music.example\"\nsecret = \"0c2f5a9e4b7d8136e0a1f4c25b9d7e83\"\n";
const KEYS: &str = "[edge.keys]\na = \"5b9d7e830c2f5a9e4b7d8136e0a1f4c2\"\n";
const STORAGE: &str = "[storage]\naccess_key = \"LMA\"\nsecret_key = \"4b7d8136e0a1f4c25b9d7e830c2f5a9e\"\n";

fn complaints(file: &str) -> Vec<String> {
    let (_folder, sources) = sources(file, &[]);
    Config::check(&sources).map_or_else(
        |Unusable(complaints)| complaints.into_iter().map(|complaint| complaint.setting).collect(),
        |_| Vec::new(),
    )
}

#[test]
fn a_public_service_sends_its_mail() {
    let whole = format!("{PUBLIC}{KEYS}{STORAGE}");
    assert_eq!(complaints(&whole), ["mail.smtp"]);
    for mail in ["smtp = \"smtps://a:b@mail.example\"", "folder = \"outbox\""] {
        assert!(complaints(&format!("{whole}[mail]\n{mail}\n")).is_empty(), "{mail}");
    }
    assert_eq!(complaints(&format!("{whole}[mail]\nsmtp = \"smtps://a:b@\"\n")), ["mail.smtp"]);
    assert!(complaints("").is_empty(), "on one's own machine they lie in a folder");
}

#[test]
fn secrets_that_can_be_guessed_are_named_at_once() {
    let held = "a".repeat(40);
    let named = complaints(&format!(
        "public_url = \"https://music.example\"\nsecret = \"{held}\"\n[edge.keys]\na = \"{held}\"\nb = \"\"\n\
         [storage]\naccess_key = \"LMA\"\nsecret_key = \"x\"\n[mail]\nfolder = \"outbox\"\n"
    ));
    assert_eq!(named, ["storage.secret_key", "edge.keys.a", "edge.keys.b", "secret"]);
    // An access key alone would leave the embedded storage open to whoever signs with nothing.
    for half in ["access_key = \"LMA\"", "secret_key = \"4b7d8136e0a1f4c25b9d7e830c2f5a9e\""] {
        assert_eq!(complaints(&format!("[storage]\n{half}\n")), ["storage.secret_key"], "{half}");
    }
    let mail = "[mail]\nfolder = \"outbox\"\n";
    let elsewhere = |secret: &str| {
        let storage =
            format!("[storage]\nendpoint = \"https://s3.example\"\naccess_key = \"a\"\nsecret_key = \"{secret}\"\n");
        complaints(&format!("{PUBLIC}{KEYS}{storage}{mail}"))
    };
    assert_eq!(elsewhere("x"), ["storage.secret_key"]);
    assert!(elsewhere("K005abcdEFGH1234ijklMNOP5678qrs").is_empty(), "31 characters of a provider's");
    let tests = "[storage]\nendpoint = \"http://127.0.0.1:9000\"\naccess_key = \"a\"\nsecret_key = \"minio\"\n";
    assert!(complaints(tests).is_empty(), "a test's storage on one's own machine");
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let whole = format!("{PUBLIC}{KEYS}{STORAGE}");
    for (file, good) in [
        (
            format!(
                "database_url = \"postgres://a:hunter2@db/a\"\n{whole}[mail]\nsmtp = \"smtps://a:hunter2@m.example\""
            ),
            true,
        ),
        ("database_url = \"postgres://db/a?user=a&password=hunter2\"".to_owned(), true),
        ("database_url = \"mysql://a:hunter2@db/a\"".to_owned(), false),
        ("database_url = [\"postgres://a:hunter2@db/a\"]".to_owned(), false),
        ("database_url = \"postgres://a:hunter2@db/a".to_owned(), false),
        ("secret = \"hunter2".to_owned(), false),
        ("secret = hunter2".to_owned(), false),
        ("secret = \"hunter2\"".to_owned(), false),
        ("edge = \"hunter2\"".to_owned(), false),
        ("[edge]\nkeys = \"hunter2\"".to_owned(), false),
        ("[edge.keys]\n\"0hunter2\u{e9}\" = \"\"".to_owned(), false),
        ("[edge.keys]\na = [\"hunter2\"]".to_owned(), false),
        ("storage = \"hunter2\"".to_owned(), false),
        ("[storage]\nendpoint = \"https://a:hunter2@s3.example\"".to_owned(), false),
        ("[storage]\nendpoint = \"https://:hunter2@s3.example\"".to_owned(), false),
        ("[storage]\nendpoint = \"https://s3.example/?key=hunter2\"".to_owned(), false),
        ("public_url = \"https://a:hunter2@music.example\"".to_owned(), false),
        ("public_url = \"https://:hunter2@music.example\"".to_owned(), false),
        ("api_url = \"https://a:hunter2/@music.example\"".to_owned(), false),
        ("[mail]\nsmtp = \"http://a:hunter2@mail.example\"".to_owned(), false),
        ("[mail]\nsmtp = \"smtps://a:hunter2@\"".to_owned(), false),
        ("[mail]\nsmtp = [\"smtps://a:hunter2@m.example\"]".to_owned(), false),
        ("[oidc.google]\nclient_secret = \"hunter2\"".to_owned(), false),
        ("[oidc]\ngoogle = \"hunter2\"".to_owned(), false),
        ("[listen]\napi = \"a:hunter2@127.0.0.1:1\"".to_owned(), false),
    ] {
        let (_folder, sources) = sources(&file, &[]);
        let shown = match Config::check(&sources) {
            Ok(config) => {
                assert!(good, "{file}");
                format!("{config:?} {config:#?} {:?}", config.storage_client())
            }
            Err(unusable) => {
                assert!(!good, "{file}: {unusable}");
                format!("{unusable} {unusable:?}")
            }
        };
        assert!(!shown.contains("hunter2"), "{file}: {shown}");
        assert!(!shown.contains("4b7d8136e0a1f4c2"), "{file}: {shown}");
    }
}

/// Every setting that is never printed, and the half of the storage's keys that goes with its secret, may lie in a file; nothing else does.
#[test]
fn every_secret_may_lie_in_a_file() {
    fn leaves(table: &toml::Table, path: &str, found: &mut Vec<String>) {
        for (key, value) in table {
            let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value {
                toml::Value::Table(inner) if inner.is_empty() => found.push(format!("{name}.a")),
                toml::Value::Table(inner) => leaves(inner, &name, found),
                toml::Value::String(_) => found.push(name),
                _ => {}
            }
        }
    }
    let toml::Value::Table(defaults) = toml::Value::try_from(Config::default()).unwrap() else { unreachable!() };
    let mut names = Vec::new();
    leaves(&defaults, "", &mut names);
    let hidden = |name: &str| {
        let steps: Vec<&str> = name.split('.').collect();
        let mut whole = defaults.clone();
        let mut level = &mut whole;
        for step in &steps[..steps.len() - 1] {
            level = level.get_mut(*step).unwrap().as_table_mut().unwrap();
        }
        level.insert((*steps.last().unwrap()).to_owned(), "sqlite:hunter2?x=hunter3".into());
        // Addresses and sockets take no such text, and are shown.
        toml::Value::Table(whole).try_into::<Config>().is_ok_and(|config| !format!("{config:?}").contains("hunter3"))
    };
    let secret: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| holds_secret(&name.split('.').collect::<Vec<_>>())).collect();
    for name in &names {
        assert_eq!(hidden(name) || name == "storage.access_key", secret.contains(&name.as_str()), "{name}");
    }
    assert_eq!(secret.len(), 7, "{secret:?}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    for name in secret {
        let value = match name {
            "database_url" => "postgres://a:hunter2@db.example/a".to_owned(),
            "mail.smtp" => "smtps://a:hunter2@mail.example".to_owned(),
            _ => Secret::random().expose().to_owned(),
        };
        std::fs::write(&path, format!("{value}\n")).unwrap();
        let variable = format!("LOOPMASTER_{}", name.to_uppercase().replace('.', "__"));
        let (file, other) = (format!("{variable}_FILE"), "4b7d8136e0a1f4c25b9d7e830c2f5a9e");
        let (file, variable) = (file.as_str(), variable.as_str());
        // What belongs together is given together.
        let beside = match name {
            "storage.access_key" => ("LOOPMASTER_STORAGE__SECRET_KEY", other),
            "storage.secret_key" => ("LOOPMASTER_STORAGE__ACCESS_KEY", "LMA"),
            "oidc.google.client_secret" => ("LOOPMASTER_OIDC__GOOGLE__CLIENT_ID", "a"),
            _ => ("HOME", "/"),
        };
        let read = |more: &[(&str, &str)]| {
            let (_folder, sources) =
                sources("secret = \"0c2f5a9e4b7d8136e0a1f4c25b9d7e83\"\n", &[&[beside][..], more].concat());
            Config::check(&sources).map_err(|unusable| format!("{unusable} {unusable:?}"))
        };
        let at = path.to_str().unwrap();
        // The file lies over loopmaster.toml, like every variable, and what is set to nothing says nothing.
        for more in [&[(file, at)][..], &[(file, at), (variable, "")]] {
            let config = read(more).unwrap();
            let mut held = toml::Value::try_from(&config).unwrap();
            for step in name.split('.') {
                held = held.get(step).unwrap().clone();
            }
            assert_eq!(held.as_str(), Some(value.as_str()), "{name}");
        }
        // Half of a pair is told as such.
        assert!(read(&[(file, "")]).err().is_none_or(|said| !said.contains(file)), "{name}: no file is named");
        let both = read(&[(file, at), (variable, value.as_str())]).unwrap_err();
        assert!(both.contains(&format!("{name}: is given by {variable} and by {file}")), "{both}");
        let refused = read(&[(file, "/nonexistent/secret")]).unwrap_err();
        assert!(
            refused.contains(&format!("{name}: {file} names /nonexistent/secret, which cannot be read")),
            "{refused}"
        );
        std::fs::write(&path, "\n").unwrap();
        let empty = read(&[(file, at)]).unwrap_err();
        assert!(empty.contains(&format!("{name}: {file} names {at}, which is empty")), "{empty}");
        assert_eq!(empty.matches(&format!("{name}: ")).count(), 1, "told once: {empty}");
        for said in [both, refused, empty] {
            assert!(!said.contains(&value) && !said.contains("hunter2"), "{said}");
        }
    }
    let (_folder, sources) = sources("", &[("LOOPMASTER_PUBLIC_URL_FILE", "/nonexistent")]);
    assert!(Config::check(&sources).is_err(), "what is no secret lies in no file");
}

#[cfg(unix)]
#[test]
fn a_data_folder_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, sources) = sources("", &[]);
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
    let unusable = Config::open(&sources).unwrap_err().to_string();
    assert!(unusable.contains("data: ") && unusable.contains("can be written by other users"), "{unusable}");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "no secret is put there");
}

#[test]
fn the_example_is_a_configuration() {
    let (_folder, mut sources) = sources("", &[]);
    let path = sources.file.clone().unwrap();
    std::fs::write(&path, Config::example()).unwrap();
    sources.file = Some(path);
    assert!(Config::check(&sources).is_ok());
}
