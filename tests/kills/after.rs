//! What has to hold when everything is quiet: asked of the API, of the database, and of the folders.

use super::clients::{Guest, Whole};
use super::world::{Process, World, masters, mixes, sha256};
use super::{TO_END, TO_SETTLE, counted};
use loopmaster::db::Db;
use reqwest::Method;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

const DAY: i64 = 86_400_000;
/// Every table whose rows belong to something that is under way.
const QUIET: [(&str, &str); 6] = [
    ("jobs of tracks", "SELECT COUNT(*) FROM jobs WHERE kind = 'master'"),
    ("jobs that run", "SELECT COUNT(*) FROM jobs WHERE state <> 'waiting'"),
    ("leases", "SELECT COUNT(*) FROM jobs WHERE lease_token IS NOT NULL OR lease_until IS NOT NULL"),
    ("chores that are due", "SELECT COUNT(*) FROM jobs WHERE kind <> 'sweep'"),
    ("masters under way", "SELECT COUNT(*) FROM masters WHERE state IN ('waiting', 'running')"),
    ("stages of masters that do not run", "SELECT COUNT(*) FROM masters WHERE stage IS NOT NULL"),
];

pub(super) async fn check(world: &World, server: Process, mut guests: Vec<Guest<'_>>, rounds: usize) {
    settled(world).await;
    for guest in &mut guests {
        if let Err(what) = of_guest(world, guest).await {
            world.found(what);
        }
    }
    for round in 1..=rounds {
        delivered(world, round);
    }
    pushed(world, rounds).await;
    again(world, rounds).await;
    stopped(world, server).await;
    rows(world).await;
    // Everything that has a time is past it.
    let server = later(world, &guests).await;
    compared(world).await;
    stopped(world, server).await;
    files(world);
}

/// Waits until nothing is under way.
async fn settled(world: &World) {
    let db = world.db().await;
    let until = Instant::now() + TO_SETTLE;
    loop {
        let mut busy = Vec::new();
        for (what, text) in QUIET {
            let count = count(&db, text).await;
            if count > 0 {
                busy.push(format!("{count} {what}"));
            }
        }
        if busy.is_empty() {
            break;
        }
        if Instant::now() > until {
            world.found(format!("never quiet: {}", busy.join(", ")));
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    db.close().await;
}

async fn count(db: &Db, text: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(text.to_owned())).fetch_one(db.read()).await.unwrap()
}

async fn run(db: &Db, text: &str) {
    let mut tx = db.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(text.to_owned())).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

/// What a guest was promised: as the guest is shown it.
async fn of_guest(world: &World, guest: &mut Guest<'_>) -> Result<(), String> {
    let shown = guest.masters().await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_upload = counted(shown.iter().map(|master| text(&master["upload"]["id"])));
    let states: BTreeMap<String, &Value> = shown.iter().map(|master| (text(&master["id"]), master)).collect();
    for Whole { upload, master, song, stored, .. } in guest.sent.whole.clone() {
        if stored {
            let row = guest.shown(&format!("/v1/uploads/{upload}")).await?;
            if row["state"] != "stored" {
                world.found(format!("{upload} of {} was stored, and is {row}", guest.id));
            }
        }
        let count = of_upload.get(&upload).copied().unwrap_or_default();
        if count != usize::from(master.is_some()) {
            world.found(format!("{upload} of {} has {count} masters, and {master:?} was promised", guest.id));
        }
        let Some(master) = master else { continue };
        match states.get(&master) {
            Some(row) if row["state"] == "done" => {
                let whole = guest.shown(&format!("/v1/masters/{master}")).await?;
                if delivery(&whole) != Some(world.masters[song].as_str()) {
                    world.found(format!("{master} differs from an undisturbed run: {whole}"));
                }
            }
            other => world.found(format!("{master} of {} is not done: {other:?}", guest.id)),
        }
    }
    for (upload, parts) in guest.sent.left.clone() {
        let row = guest.shown(&format!("/v1/uploads/{upload}")).await?;
        if row["state"] != "uploading" {
            world.found(format!("{upload} was left in the middle, and is {row}"));
        } else if guest.way_is_own() {
            guest.holds(&upload, "", &parts).await?;
        }
    }
    Ok(())
}

/// The SHA-256 of a master's delivery.
fn delivery(master: &Value) -> Option<&str> {
    let artifacts = master["artifacts"].as_array()?;
    artifacts.iter().find(|artifact| artifact["kind"] == "master")?["sha256"].as_str()
}

/// What `push` has brought back: every master once, with the bytes of an undisturbed run, and nothing else.
fn delivered(world: &World, round: usize) {
    let folder = world.path(&masters(round));
    let there: BTreeSet<String> = names(&folder).into_iter().collect();
    let mut wanted: BTreeSet<String> = world.songs.iter().map(super::world::Song::delivered).collect();
    wanted.insert("manifest.json".to_owned());
    for name in there.symmetric_difference(&wanted) {
        world.found(format!(
            "round {round}: {name} is {}",
            if wanted.contains(name) { "missing" } else { "left behind" }
        ));
    }
    for (song, expected) in world.songs.iter().zip(&world.masters) {
        let bytes = std::fs::read(folder.join(song.delivered())).unwrap_or_default();
        if sha256(&bytes) != *expected {
            world.found(format!("round {round}: {} differs from an undisturbed run", song.delivered()));
        }
    }
    let mixes: Vec<String> = names(&world.path(&mixes(round)));
    if mixes.len() != world.songs.len() {
        world.found(format!("round {round}: something was left among the mixes: {mixes:?}"));
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let mut names: Vec<String> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Every song of every round has one master, and it is done.
async fn pushed(world: &World, rounds: usize) {
    let (mut cursor, mut masters) = (String::new(), Vec::new());
    loop {
        let (_, mut page) = world.ask(Method::GET, &format!("/v1/masters?limit=200{cursor}")).await;
        if let Value::Array(items) = page["items"].take() {
            masters.extend(items);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let names = counted(masters.iter().map(|master| master["upload"]["name"].as_str().unwrap_or_default()));
    for song in &world.songs {
        let name = format!("{}.wav", song.name);
        let count = names.get(name.as_str()).copied().unwrap_or_default();
        if count != rounds {
            world.found(format!("{name} has {count} masters after {rounds} rounds"));
        }
    }
    for master in masters.iter().filter(|master| master["state"] != "done") {
        world.found(format!("a master is not done: {master}"));
    }
    let batches = counted(masters.iter().map(|master| master["batch"].to_string()));
    if batches.len() != rounds {
        world.found(format!("{rounds} rounds made the batches {batches:?}"));
    }
}

/// The same command again: nothing is sent, nothing is made. One master less: that one comes again, and no other.
async fn again(world: &World, rounds: usize) {
    let db = world.db().await;
    let totals = async || {
        (
            count(&db, "SELECT COUNT(*) FROM uploads").await,
            count(&db, "SELECT COUNT(*) FROM masters WHERE deleted_at IS NULL").await,
            count(&db, "SELECT COUNT(*) FROM batches").await,
        )
    };
    let before = totals().await;
    for round in 1..=rounds {
        let mut push = world.push(round);
        match push.end_within(Duration::from_mins(5)).await {
            Some(status) if status.success() => {}
            ended => world.found(format!("round {round} again ends with {ended:?}: {}", world.end_of("push.log"))),
        }
        drop(push);
        delivered(world, round);
    }
    let after = totals().await;
    if after != before {
        world.found(format!("a second push sent something: {after:?} uploads, masters, batches after {before:?}"));
    }

    let text = "SELECT id FROM masters WHERE owner = $1 ORDER BY id LIMIT 1";
    let gone: String = sqlx::query_scalar(text).bind(&world.user).fetch_one(db.read()).await.unwrap();
    let (status, answer) = world.ask(Method::DELETE, &format!("/v1/masters/{gone}")).await;
    if status != 200 {
        world.found(format!("{gone} cannot be deleted: {status} {answer}"));
    }
    let before = totals().await;
    let mut push = world.push(1);
    let ended = push.end_within(Duration::from_mins(5)).await;
    let after = totals().await;
    println!(
        "one master deleted, push again: {ended:?}, {before:?} → {after:?}: {}",
        world.end_of("push.log").lines().last().unwrap_or_default()
    );
    if ended.is_none() {
        world.found(format!("after one master was deleted push does not end: {}", world.end_of("push.log")));
    }
    if after.0 - before.0 > 1 || after.1 - before.1 > 1 {
        world.found(format!("one master was deleted, and push made more than that: {before:?} → {after:?}"));
    }
    db.close().await;
}

async fn stopped(world: &World, mut server: Process) {
    server.ask_to_end();
    match server.end_within(TO_END).await {
        Some(status) if status.success() => {}
        ended => world.found(format!("`serve` was asked to end, and did: {ended:?}: {}", world.end_of("serve.log"))),
    }
}

/// The rows, while nobody writes.
async fn rows(world: &World) {
    let db = world.db().await;
    let none = [
        ("failed masters", "SELECT COUNT(*) FROM masters WHERE state = 'failed'"),
        ("tracks that were given up", "SELECT COUNT(*) FROM job_history WHERE state = 'dead' AND kind = 'master'"),
        ("chores that were given up", "SELECT COUNT(*) FROM job_history WHERE state = 'dead' AND kind <> 'master'"),
        (
            "uploads with two masters",
            "SELECT COUNT(*) FROM (SELECT 1 FROM masters WHERE deleted_at IS NULL GROUP BY upload_id HAVING COUNT(*) > 1) AS two",
        ),
        (
            "masters without their files",
            "SELECT COUNT(*) FROM masters WHERE state = 'done' AND NOT EXISTS (SELECT 1 FROM artifacts WHERE master_id = masters.id)",
        ),
        (
            "files without their object",
            "SELECT COUNT(*) FROM artifacts WHERE NOT EXISTS (SELECT 1 FROM objects WHERE objects.key = artifacts.key AND state = 'stored')",
        ),
        (
            "uploads without their object",
            "SELECT COUNT(*) FROM uploads WHERE state = 'stored' AND NOT EXISTS (SELECT 1 FROM objects WHERE objects.key = uploads.stored_key AND state = 'stored')",
        ),
    ];
    for (what, text) in none.into_iter().chain(QUIET) {
        let count = count(&db, text).await;
        if count > 0 {
            world.found(format!("{count} {what}"));
        }
    }
    let text = "SELECT DISTINCT error_code || ': ' || error_text FROM masters WHERE state = 'failed' AND error_code IS NOT NULL";
    let why: Vec<String> = sqlx::query_scalar(text).fetch_all(db.read()).await.unwrap();
    for why in why {
        world.found(why);
    }
    let sweepers = count(&db, "SELECT COUNT(*) FROM jobs WHERE kind = 'sweep' AND state = 'waiting'").await;
    if sweepers != 1 {
        world.found(format!("{sweepers} sweepers wait"));
    }
    db.close().await;
}

/// Sets the clock of everything forward and lets the sweepers run: what arrived without a goodbye is adopted, what was left is removed.
async fn later(world: &World, guests: &[Guest<'_>]) -> Process {
    let db = world.db().await;
    run(&db, "UPDATE uploads SET created_at = created_at - 180000, updated_at = updated_at - 180000 WHERE state IN ('uploading', 'completing')").await;
    let mut server = world.serve();
    world.ready(&mut server).await;
    world.admin(&["retention"]);
    let store = world.store();
    for Whole { upload, sha256: sent, .. } in guests.iter().flat_map(|guest| &guest.sent.whole) {
        let text = "SELECT stored_key FROM uploads WHERE id = $1 AND state = 'stored'";
        let key: Option<String> = sqlx::query_scalar(text).bind(upload).fetch_optional(db.read()).await.unwrap();
        let Some(key) = key else {
            world.found(format!("{upload} was acknowledged, and is not stored"));
            continue;
        };
        match store.get(&key).await {
            Ok(reading) => {
                let bytes = reading.bytes(1 << 30).await.unwrap();
                if sha256(&bytes) != *sent {
                    world.found(format!("{upload} arrived changed: {} bytes", bytes.len()));
                }
            }
            Err(error) => world.found(format!("{upload} was acknowledged, and cannot be read: {error}")),
        }
    }
    let completing = count(&db, "SELECT COUNT(*) FROM uploads WHERE state = 'completing'").await;
    if completing > 0 {
        world.found(format!("{completing} uploads are neither whole nor open"));
    }
    run(
        &db,
        &format!(
            "UPDATE uploads SET created_at = created_at - {0}, updated_at = updated_at - {0} WHERE state <> 'stored'",
            9 * DAY
        ),
    )
    .await;
    // Doomed objects go, and are looked for once more.
    for _ in 0..3 {
        run(&db, "UPDATE objects SET sweep_after = 1 WHERE sweep_after IS NOT NULL").await;
        world.admin(&["retention"]);
    }
    for guest in guests {
        for upload in &guest.sent.given_up {
            let text = "SELECT state FROM uploads WHERE id = $1";
            let state: Option<String> = sqlx::query_scalar(text).bind(upload).fetch_optional(db.read()).await.unwrap();
            if let Some(state) = state {
                world.found(format!("{upload} was given up, and is {state}"));
            }
        }
    }
    db.close().await;
    stopped(world, server).await;
    older_uploads(world);
    let mut server = world.serve();
    world.ready(&mut server).await;
    // Storage sweeps by itself when it starts.
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until && !names(&bucket(world).join("uploads")).is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server
}

fn bucket(world: &World) -> std::path::PathBuf {
    world.config.files_folder().join("buckets").join(&world.config.storage.bucket)
}

/// Uploads in storage that nobody finished are older than a week now. A create that was killed before it was written down leaves one.
fn older_uploads(world: &World) {
    let folder = bucket(world).join("uploads");
    for name in names(&folder) {
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let mut upload: Value = serde_json::from_str(first).unwrap();
        upload["created"] = (upload["created"].as_i64().unwrap() - 8 * DAY).into();
        std::fs::write(folder.join(&name), format!("{upload}\n{rest}")).unwrap();
    }
}

/// Register and storage say the same, by the operator's tool and by hand.
async fn compared(world: &World) {
    let said = world.admin(&["reconcile"]);
    if said.trim() != "0 unknown, 0 missing" {
        world.found(format!("reconcile: {said}"));
    }
    let listed = world.store().list("").await.unwrap();
    let listed: BTreeSet<String> = listed.into_iter().map(|object| object.key).collect();
    let db = world.db().await;
    let registered: Vec<(String, String)> =
        sqlx::query_as("SELECT key, state FROM objects").fetch_all(db.read()).await.unwrap();
    db.close().await;
    for (key, state) in registered.iter().filter(|(_, state)| state != "stored") {
        world.found(format!("{key} is still {state}"));
    }
    let registered: BTreeSet<String> = registered.into_iter().map(|(key, _)| key).collect();
    for key in listed.symmetric_difference(&registered) {
        world.found(format!("{key} is only in {}", if listed.contains(key) { "storage" } else { "the register" }));
    }
    println!("{} objects in storage and in the register", listed.len());
}

/// No file but those that something names.
fn files(world: &World) {
    let data = &world.config.data;
    let expected = ["files", "loopmaster.db", "loopmaster.db-shm", "loopmaster.db-wal", "mail", "secrets.toml", "work"];
    for name in names(data).iter().filter(|name| !expected.contains(&name.as_str())) {
        world.found(format!("left in the data folder: {name}"));
    }
    let scratch: Vec<String> = names(&data.join("work")).into_iter().filter(|name| !name.starts_with('.')).collect();
    if !scratch.is_empty() {
        world.found(format!("{} left in the scratch folder: {scratch:?}", scratch.len()));
    }
    let bucket = bucket(world);
    for name in
        names(&bucket).iter().filter(|name| !["blobs", "created", "objects", "tmp", "uploads"].contains(&name.as_str()))
    {
        world.found(format!("left in the bucket: {name}"));
    }
    for folder in ["tmp", "uploads"] {
        let left = names(&bucket.join(folder));
        if !left.is_empty() {
            world.found(format!("{} left in storage's {folder}: {left:?}", left.len()));
        }
    }
    let (mut named, mut blobs) = (BTreeSet::new(), BTreeSet::new());
    for entry in walkdir::WalkDir::new(bucket.join("objects")).into_iter().flatten() {
        if entry.file_type().is_file() {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let record: Value = serde_json::from_str(text.trim_end().rsplit('\n').next().unwrap()).unwrap();
            let pieces = record["pieces"].as_array().unwrap().iter();
            named.extend(pieces.map(|piece| piece["blob"].as_str().unwrap().to_owned()));
        }
    }
    for entry in walkdir::WalkDir::new(bucket.join("blobs")).into_iter().flatten() {
        if entry.file_type().is_file() {
            blobs.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    let lost = named.difference(&blobs).count();
    if lost > 0 {
        world.found(format!("{lost} pieces of objects are missing"));
    }
    let left = blobs.difference(&named).count();
    if left > 0 {
        world.found(format!("{left} of {} files of storage belong to no object", blobs.len()));
    }
    let journals = names(&world.path("state/loopmaster/push"));
    if let Some(name) = journals.iter().find(|name| name.strip_suffix(".jsonl").is_none()) {
        world.found(format!("left among the journals of push: {name}"));
    }
}
