//! A data folder of an earlier version, opened by this one: everything still reads, waits, finishes, and nothing is lost.

use crate::operator::{Serving, Visitor, free_port, loopmaster, text};
use crate::service::Reply;
use loopmaster::digest::sha256;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Connection};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn kept(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/upgrade").join(file)
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Unpacks a folder, and moves every time in it as if it had been made just now.
async fn unpacked(name: &str, into: &Path) -> Value {
    let held: Value = serde_json::from_slice(&std::fs::read(kept(&format!("{name}.json"))).unwrap()).unwrap();
    let status = Command::new("tar").arg("-xmzf").arg(kept(&format!("{name}.tar.gz"))).arg("-C").arg(into).status();
    assert!(status.unwrap().success());
    // A minute ago, so that nothing happens in the future.
    let later = now() - held["made_at"].as_i64().unwrap() - 60_000;
    sqlx::any::install_default_drivers();
    let mut db = AnyConnection::connect(&format!("sqlite:{}", into.join("loopmaster.db").display())).await.unwrap();
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> '_sqlx_migrations'")
            .fetch_all(&mut db)
            .await
            .unwrap();
    for table in tables {
        let columns = format!("SELECT name FROM pragma_table_info('{table}') WHERE type = 'BIGINT'");
        let columns: Vec<String> = sqlx::query_scalar(AssertSqlSafe(columns)).fetch_all(&mut db).await.unwrap();
        for column in columns {
            // Milliseconds since 1970, and no count of bytes.
            let text = format!(
                "UPDATE {table} SET {column} = {column} + {later} WHERE {column} BETWEEN 1700000000000 AND 2200000000000"
            );
            sqlx::query(AssertSqlSafe(text)).execute(&mut db).await.unwrap();
        }
    }
    sqlx::query("UPDATE ip_keys SET day = CAST(created_at / 86400000 AS TEXT)").execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    for entry in walkdir::WalkDir::new(into.join("files")) {
        let path = entry.unwrap().into_path();
        // Records are lines of JSON; sound is no text, and what a master tells of itself has no such names in it.
        if path.is_file()
            && !path.iter().any(|part| part == "blobs")
            && let Ok(record) = std::fs::read_to_string(&path)
        {
            std::fs::write(&path, moved(&record, later)).unwrap();
        }
    }
    held
}

fn moved(record: &str, later: i64) -> String {
    let mut rest = record;
    let mut whole = String::new();
    while let Some(at) =
        ["\"created\":", "\"modified\":"].iter().filter_map(|name| rest.find(name).map(|at| at + name.len())).min()
    {
        let end = rest[at..].find(|c: char| !c.is_ascii_digit()).unwrap() + at;
        whole += &rest[..at];
        whole += &(rest[at..end].parse::<i64>().unwrap() + later).to_string();
        rest = &rest[end..];
    }
    whole + rest
}

/// The binary with that folder, its storage at `files`: `admin` asks the one of the service that runs.
fn program(folder: &Path, files: &str) -> Command {
    let mut command = loopmaster(folder);
    command.env("LOOPMASTER_DATA", folder.join("data")).env("LOOPMASTER_WORKER__BACKEND", "cpu");
    command.env("LOOPMASTER_LISTEN__FILES", files).env("LOOPMASTER_FILES_URL", format!("http://{files}"));
    command.env("LOOPMASTER_WEBHOOKS__EXEMPT", "[\"127.0.0.1:9\"]").env("LOOPMASTER_LIMITS__PART_BYTES", "5242880");
    command
}

/// Everything one asks in this test.
struct Client<'a> {
    url: &'a str,
    guest: Visitor,
    ana: Visitor,
    token: String,
}

impl Client<'_> {
    fn of<'a>(service: &'a Serving, held: &Value) -> Client<'a> {
        let text = |part: &str, name: &str| held[part][name].as_str().unwrap().to_owned();
        Client {
            url: &service.url,
            guest: Visitor { ip: text("guest", "ip"), guest: text("guest", "guest"), session: String::new() },
            ana: Visitor {
                ip: text("account", "ip"),
                guest: text("account", "guest"),
                session: text("account", "session"),
            },
            token: text("account", "token"),
        }
    }

    async fn get(&self, who: &Visitor, path: &str) -> Value {
        who.send(self.url, Method::GET, path, Vec::new()).await.good()
    }

    async fn post(&self, who: &Visitor, path: &str, body: Value) -> Reply {
        who.send(self.url, Method::POST, path, body.to_string().into_bytes()).await
    }

    async fn bearer(&self, method: Method, path: &str, body: Option<(&str, &str)>) -> Reply {
        let mut request =
            reqwest::Client::new().request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if let Some((key, body)) = body {
            request =
                request.header("content-type", "application/json").header("idempotency-key", key).body(body.to_owned());
        }
        Reply::of(request.send().await.unwrap()).await
    }

    async fn bytes(&self, url: &str) -> Vec<u8> {
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        answer.bytes().await.unwrap().to_vec()
    }

    async fn done(&self, who: &Visitor, master: &str) -> Value {
        let until = Instant::now() + Duration::from_mins(2);
        loop {
            let seen = self.get(who, &format!("/v1/masters/{master}")).await;
            match seen["state"].as_str().unwrap() {
                "done" => return seen,
                "waiting" | "running" if Instant::now() < until => tokio::time::sleep(Duration::from_millis(200)).await,
                _ => panic!("{seen}"),
            }
        }
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}

/// What was there before is there, whoever asks and by whatever they hold.
async fn reads(client: &Client<'_>, held: &Value) {
    let (guest, account) = (&held["guest"], &held["account"]);
    let seen = client.get(&client.guest, &format!("/v1/masters/{}", text_of(&guest["finished"]))).await;
    assert_eq!(seen["state"], "done");
    let failed = client.get(&client.guest, &format!("/v1/masters/{}", text_of(&guest["failed"]))).await;
    assert_eq!((&failed["state"], &failed["error"]["code"]), (&json!("failed"), &guest["error"]));
    for share in [&guest["share"], &account["share"]] {
        let shared = client.get(&Visitor::default(), &format!("/v1/shared/{}", text_of(share))).await;
        assert!(shared["title"].is_string() || shared["master"].is_object(), "{shared}");
    }

    let me = client.get(&client.ana, "/v1/me").await;
    assert_eq!((&me["user"]["id"], &me["user"]["email"]), (&account["user"], &account["email"]), "{me}");
    let hooks = client.get(&client.ana, "/v1/me/webhooks").await;
    assert_eq!(hooks["items"][0]["id"], account["webhook"], "{hooks}");
    let tokens = client.get(&client.ana, "/v1/me/tokens").await;
    assert_eq!(tokens["items"][0]["name"], "studio", "{tokens}");
    let masters = client.bearer(Method::GET, "/v1/masters", None).await.good();
    let ids: Vec<&Value> = masters["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    let [first, second] = [&account["tracks"][0], &account["tracks"][1]];
    assert!([first, second, &account["waiting"]].iter().all(|id| ids.contains(id)) && ids.len() == 3, "{masters}");
    let batch = client.bearer(Method::GET, &format!("/v1/batches/{}", text_of(&account["batch"])), None).await.good();
    assert_eq!((&batch["name"], &batch["album"]), (&json!("Single"), &json!(true)), "{batch}");

    let path = format!("/v1/artifacts/{}/link", text_of(&account["artifact"]["id"]));
    let link = client.bearer(Method::POST, &path, None).await.good();
    let file = client.bytes(text_of(&link["url"])).await;
    assert_eq!(
        (json!(file.len()), json!(sha256(&file))),
        (account["artifact"]["bytes"].clone(), account["artifact"]["sha256"].clone())
    );
    let zip = client.bytes(&format!("{}{}", client.url, text_of(&account["zip"]))).await;
    assert_eq!(json!(zip.len()), account["zip_bytes"]);
    assert!(zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap().len() >= 2);

    let once = &account["once"];
    // As make.py wrote it, to the byte.
    let body = r#"{"name": "once.wav", "bytes": 1000, "type": "audio/wav"}"#;
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), once["body"]);
    let again = client.bearer(Method::POST, "/v1/uploads", Some((text_of(&once["key"]), body))).await.good();
    assert_eq!(again["id"], once["id"], "the answer of before");
}

/// The rows that nobody shows, counted.
async fn counted(data: &Path) -> Vec<(&'static str, i64)> {
    let mut db = AnyConnection::connect(&format!("sqlite:{}", data.join("loopmaster.db").display())).await.unwrap();
    let mut counts = Vec::new();
    for text in [
        "SELECT COUNT(*) FROM users",
        "SELECT COUNT(*) FROM guests",
        "SELECT COUNT(*) FROM sessions WHERE revoked_at IS NULL",
        "SELECT COUNT(*) FROM masters WHERE deleted_at IS NULL",
        "SELECT COUNT(*) FROM artifacts",
        "SELECT COUNT(*) FROM results",
        "SELECT COUNT(*) FROM webhooks WHERE disabled_at IS NULL",
        "SELECT COUNT(*) FROM deliveries WHERE given_up_at IS NULL",
        "SELECT COUNT(*) FROM shares WHERE revoked_at IS NULL",
        "SELECT COUNT(*) FROM grants WHERE revoked_at IS NULL",
        "SELECT COUNT(*) FROM tickets WHERE closed_at IS NULL",
        "SELECT COUNT(*) FROM zips",
        "SELECT COUNT(*) FROM uploads WHERE state IN ('stored', 'uploading')",
        "SELECT COUNT(*) FROM jobs WHERE kind = 'master'",
        "SELECT COUNT(*) FROM jobs WHERE kind = 'webhook'",
    ] {
        counts.push((text, sqlx::query_scalar(text).fetch_one(&mut db).await.unwrap()));
    }
    db.close().await.unwrap();
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_93b35a5_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    loopmaster_private::make(&data).unwrap();
    let held = unpacked("93b35a5", &data).await;
    let files = format!("127.0.0.1:{}", free_port());
    let admin = |arguments: &[&str]| {
        let output = program(folder.path(), &files).arg("admin").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        text(&output)
    };
    let before = counted(&data).await;

    // Without a worker: all of it is read, and nothing goes.
    let service = Serving::start_with(&mut program(folder.path(), &files), &["--no-worker"]);
    let client = Client::of(&service, &held);
    reads(&client, &held).await;
    let waiting = text_of(&held["account"]["waiting"]);
    assert_eq!(client.get(&client.ana, &format!("/v1/masters/{waiting}")).await["state"], "waiting");
    let tickets = admin(&["tickets"]);
    assert!(tickets.contains(text_of(&held["account"]["ticket"])) && tickets.contains("my record"), "{tickets}");
    let found = admin(&["reconcile"]);
    assert!(found.contains("0 unknown") && found.contains("0 missing"), "{found}");
    admin(&["retention"]);
    reads(&client, &held).await;
    service.stop();
    assert_eq!(counted(&data).await, before, "rows went");

    // With one: what waited is mastered, and the upload goes on from the part that has arrived.
    let service = Serving::start(&mut program(folder.path(), &files));
    let client = Client::of(&service, &held);
    let unfinished = &held["guest"]["unfinished"];
    let path = format!("/v1/uploads/{}", text_of(&unfinished["id"]));
    assert_eq!(client.get(&client.guest, &path).await["state"], "uploading");
    let parts = client.get(&client.guest, &format!("{path}/parts")).await;
    let arrived = parts["parts"].as_array().or_else(|| parts["items"].as_array()).unwrap_or_else(|| panic!("{parts}"));
    assert_eq!((arrived.len(), &arrived[0]["number"], &arrived[0]["bytes"]), (1, &json!(1), &unfinished["part_bytes"]));
    let long = wave(31);
    assert_eq!((json!(long.len()), json!(sha256(&long))), (unfinished["bytes"].clone(), unfinished["sha256"].clone()));
    let urls = client.post(&client.guest, &format!("{path}/parts"), json!({ "numbers": [2] })).await.good();
    let size = usize::try_from(unfinished["part_bytes"].as_u64().unwrap()).unwrap();
    let sent =
        reqwest::Client::new().put(text_of(&urls["urls"]["2"])).body(long[size..].to_vec()).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    let tag = sent.headers()["etag"].to_str().unwrap().trim_matches('"').to_owned();
    let body = json!({ "parts": [{ "number": 1, "etag": arrived[0]["etag"] }, { "number": 2, "etag": tag }] });
    let completed = client.post(&client.guest, &format!("{path}/complete"), body).await.good();
    client.done(&client.guest, text_of(&completed["master"])).await;
    client.done(&client.ana, waiting).await;
    let again = client
        .post(&client.guest, &format!("/v1/masters/{}/rerun", text_of(&held["guest"]["finished"])), json!({}))
        .await;
    client.done(&client.guest, text_of(&again.good()["id"])).await;
    reads_again(&client, &held).await;
    let found = admin(&["reconcile"]);
    assert!(found.contains("0 unknown") && found.contains("0 missing"), "{found}");
    service.stop();
}

/// After some work: the account's things are still its own.
async fn reads_again(client: &Client<'_>, held: &Value) {
    let me = client.get(&client.ana, "/v1/me").await;
    assert_eq!(me["user"]["id"], held["account"]["user"]);
    let path = format!("/v1/artifacts/{}/link", text_of(&held["account"]["artifact"]["id"]));
    let link = client.bearer(Method::POST, &path, None).await.good();
    assert_eq!(json!(sha256(&client.bytes(text_of(&link["url"])).await)), held["account"]["artifact"]["sha256"]);
}

/// The bytes of `wave` in make.py: the part that was not sent.
fn wave(seconds: u32) -> Vec<u8> {
    use std::f64::consts::TAU;
    let period: Vec<f64> = (0..441)
        .map(f64::from)
        // In the order of make.py, to the last bit.
        .map(|n| [TAU * n / 441.0, TAU * 5.0 * n / 441.0, TAU * 40.0 * n / 441.0])
        .map(|[a, b, c]| (a.sin() + 0.5 * b.sin() + 0.2 * c.sin()) / 1.7)
        .collect();
    let mut data = Vec::new();
    for block in 0..seconds * 100 {
        let gain = [1.0, 0.5, 0.8, 0.3][(block / 10 % 4) as usize];
        for v in &period {
            for full in [32_767.0, 29_000.0] {
                data.extend(((full * 0.25 * gain * v) as i16).to_le_bytes());
            }
        }
    }
    let bytes = u32::try_from(data.len()).unwrap();
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16u32.to_le_bytes());
    wav.extend([1u16, 2].map(u16::to_le_bytes).concat());
    wav.extend([44_100u32, 176_400].map(u32::to_le_bytes).concat());
    wav.extend([4u16, 16].map(u16::to_le_bytes).concat());
    wav.extend(b"data");
    wav.extend(bytes.to_le_bytes());
    wav.extend(data);
    wav
}
