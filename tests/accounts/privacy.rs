//! What the privacy policy promises, held against what is left.

use super::world::{Browser, World, with_token, world, worlds};
use axum::http::StatusCode;
use base64::Engine as _;
use loopmaster::db::{Db, new_id};
use loopmaster::domain::export;
use loopmaster::domain::letters;
use loopmaster::domain::retention;
use loopmaster::outside::mail::{Letter, Mailer};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Another master of an upload.
async fn another(world: &World, owner: &str, mix: &str, reference: Option<&str>, state: &str) -> String {
    let (id, now) = (new_id("mst"), world.app.db.now().await.unwrap());
    let reference = reference.map_or("NULL".to_owned(), |id| format!("'{id}'"));
    world
        .run(&format!(
            "INSERT INTO masters (id, owner, upload_id, reference_upload, title, settings, state, attempt, created_at, version)
             VALUES ('{id}', '{owner}', '{mix}', {reference}, 'another', '{{}}', '{state}', 1, {now}, 1)"
        ))
        .await;
    id
}

async fn uploads(browser: &mut Browser<'_>, query: &str) -> Vec<String> {
    let listed = browser.get(&format!("/v1/uploads{query}")).await;
    listed.json["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

async fn keys(world: &World) -> Vec<String> {
    world.app.store.list("").await.unwrap().into_iter().map(|listed| listed.key).collect()
}

/// The undo of every deletion is over.
async fn final_now(world: &World) {
    world.run("UPDATE masters SET deleted_at = deleted_at - 31000 WHERE deleted_at IS NOT NULL").await;
    retention::sweep(&world.app).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mix_goes_with_its_last_master_and_comes_back_with_an_undo() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        let user = world.user_id("ana@example.com").await;
        let (first, mix) = world.master(&user, None).await;
        let second = another(&world, &user, &mix, None, "failed").await;
        assert_eq!(ana.delete(&format!("/v1/masters/{first}")).await.status, StatusCode::OK);
        final_now(&world).await;
        assert_eq!(uploads(&mut ana, "").await, std::slice::from_ref(&mix), "{}: another master uses it", world.name);

        assert_eq!(ana.delete(&format!("/v1/masters/{second}")).await.status, StatusCode::OK);
        assert!(uploads(&mut ana, "").await.is_empty(), "{}: hidden with its last master", world.name);
        assert_eq!(ana.get(&format!("/v1/uploads/{mix}")).await.status, StatusCode::NOT_FOUND);
        let again = ana.post("/v1/masters", &json!({ "uploads": [mix] })).await;
        assert_eq!(again.status, StatusCode::NOT_FOUND, "{again:?}");
        let again = ana.post("/v1/uploads", &json!({ "name": "b.wav", "bytes": 9, "reference_upload": mix })).await;
        assert_eq!(again.status, StatusCode::NOT_FOUND, "{again:?}");
        let back = ana.post("/v1/masters/restore", &json!({ "ids": [second] })).await;
        assert_eq!(back.json["items"][0]["id"], json!(second), "{back:?}");
        assert_eq!(uploads(&mut ana, "").await, std::slice::from_ref(&mix));

        ana.post("/v1/masters/delete", &json!({ "ids": [second] })).await;
        retention::sweep(&world.app).await.unwrap();
        assert_eq!(world.count("SELECT COUNT(*) FROM uploads").await, 1, "not within the undo");
        final_now(&world).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM uploads").await, 0, "{}", world.name);
        assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 0);
        assert!(keys(&world).await.is_empty(), "{:?}", keys(&world).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mix_is_kept_where_its_owner_says_so_and_then_until_they_delete_it() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        let user = world.user_id("ana@example.com").await;
        let token = ana.post("/v1/me/tokens", &json!({ "name": "p", "scopes": ["masters", "uploads"] })).await;
        let token = token.json["token"].as_str().unwrap().to_owned();
        let (one, kept) = world.master(&user, None).await;
        let (two, kept_too) = world.master(&user, None).await;
        let (three, gone) = world.master(&user, None).await;
        let path = format!("/v1/masters/{one}?keep_mix=true");
        assert_eq!(with_token(&world, &token, "DELETE", &path, Value::Null).await.status, StatusCode::OK);
        ana.post("/v1/masters/delete", &json!({ "ids": [two], "keep_mix": true })).await;
        let path = format!("/v1/masters/{three}");
        assert_eq!(with_token(&world, &token, "DELETE", &path, Value::Null).await.status, StatusCode::OK);
        assert_eq!(ana.delete(&format!("/v1/masters/{one}?keep=true")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        final_now(&world).await;
        world.run("UPDATE uploads SET stored_at = stored_at - 864000000, created_at = created_at - 864000000").await;
        retention::sweep(&world.app).await.unwrap();
        let mut left = uploads(&mut ana, "?kept=true").await;
        left.sort();
        assert_eq!(left, [kept.clone(), kept_too.clone()], "{}: longer than what was never mastered", world.name);
        assert!(uploads(&mut ana, "?kept=false").await.is_empty());
        assert!(keys(&world).await.iter().all(|key| !key.contains(&gone)));
        assert_eq!(ana.get(&format!("/v1/uploads/{kept}")).await.json["kept"], true);

        // The choice at the last deletion counts.
        let made = ana.post("/v1/masters", &json!({ "uploads": [kept] })).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        let made = made.json["items"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(
            uploads(&mut ana, "?kept=true").await,
            std::slice::from_ref(&kept_too),
            "a new master ends the keeping"
        );
        ana.delete(&format!("/v1/masters/{made}")).await;
        assert_eq!(ana.delete(&format!("/v1/uploads/{kept_too}")).await.status, StatusCode::NO_CONTENT);
        final_now(&world).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM uploads").await, 0, "{}", world.name);
        assert!(keys(&world).await.is_empty());

        // A kept mix can be deleted while its master can still be restored; it goes with the master then, or comes back with it.
        let (four, mix) = world.master(&user, None).await;
        ana.delete(&format!("/v1/masters/{four}?keep_mix=true")).await;
        assert_eq!(ana.delete(&format!("/v1/uploads/{mix}")).await.status, StatusCode::NO_CONTENT);
        assert!(uploads(&mut ana, "").await.is_empty());
        ana.post("/v1/masters/restore", &json!({ "ids": [four] })).await;
        assert_eq!(uploads(&mut ana, "").await, std::slice::from_ref(&mix));
        assert_eq!(ana.delete(&format!("/v1/uploads/{mix}")).await.code(), "upload.in_use");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_stays_as_long_as_something_uses_it() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        let user = world.user_id("ana@example.com").await;
        let (mine, reference) = world.master(&user, None).await;
        let (_, mix) = world.master(&user, None).await;
        world.run(&format!("DELETE FROM artifacts WHERE master_id <> '{mine}'")).await;
        world.run(&format!("DELETE FROM results WHERE master_id <> '{mine}'")).await;
        world.run(&format!("DELETE FROM masters WHERE id <> '{mine}'")).await;
        let close_to_it = another(&world, &user, &mix, Some(&reference), "done").await;
        ana.delete(&format!("/v1/masters/{mine}")).await;
        final_now(&world).await;
        assert_eq!(uploads(&mut ana, "").await.len(), 2, "{}: a living master has it as a reference", world.name);
        assert_eq!(ana.delete(&format!("/v1/uploads/{reference}")).await.code(), "upload.in_use");

        // So does an upload under way that will have it.
        let coming = ana
            .post("/v1/uploads", &json!({ "name": "c.wav", "bytes": 9, "settings": {}, "reference_upload": reference }))
            .await;
        assert_eq!(coming.status, StatusCode::CREATED, "{coming:?}");
        ana.delete(&format!("/v1/masters/{close_to_it}")).await;
        final_now(&world).await;
        let left = uploads(&mut ana, "?state=stored").await;
        assert_eq!(
            left,
            std::slice::from_ref(&reference),
            "{}: what is under way needs it, and the mix is gone",
            world.name
        );
        let coming = coming.json["id"].as_str().unwrap();
        assert_eq!(ana.delete(&format!("/v1/uploads/{coming}")).await.status, StatusCode::NO_CONTENT);
        let last = another(&world, &user, &reference, None, "cancelled").await;
        ana.delete(&format!("/v1/masters/{last}")).await;
        final_now(&world).await;
        assert!(uploads(&mut ana, "?state=stored").await.is_empty());
        assert!(!keys(&world).await.iter().any(|key| key.contains(&reference)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_and_batches_leave_nothing_either() {
    for world in worlds(|_| {}).await {
        let mut guest = world.browser();
        let owner = guest.guest.clone().unwrap();
        let now = world.app.db.now().await.unwrap();
        let album = guest.post("/v1/batches", &json!({ "name": "Lanterns", "album": true, "tracks": 2 })).await;
        let album = album.json["id"].as_str().unwrap().to_owned();
        let mut made = Vec::new();
        for position in 0..2 {
            let (master, _) = world.master(&owner, Some(now + 86_400_000)).await;
            world
                .run(&format!(
                    "UPDATE masters SET batch_id = '{album}', batch_position = {position} WHERE id = '{master}'"
                ))
                .await;
            made.push(master);
        }
        guest.post("/v1/masters/delete", &json!({ "ids": [made[0]] })).await;
        final_now(&world).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM uploads").await, 1, "{}", world.name);
        assert_eq!(world.count("SELECT COUNT(*) FROM batches").await, 1, "one track is left");
        guest.post("/v1/masters/delete", &json!({ "ids": [made[1]] })).await;
        final_now(&world).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM uploads").await, 0, "{}", world.name);
        assert_eq!(world.count("SELECT COUNT(*) FROM batches").await, 0, "its name goes with the last track");
        assert!(keys(&world).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_out_of_a_song_stops_working_with_its_deletion() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        let user = world.user_id("ana@example.com").await;
        let (song, mix) = world.master(&user, None).await;
        let (other, _) = world.master(&user, None).await;
        let share = ana.post(&format!("/v1/masters/{song}/shares"), &Value::Null).await;
        let share = super::world::token_of(share.json["url"].as_str().unwrap());
        let zip = ana.post("/v1/zips", &json!({ "masters": [song, other] })).await;
        assert_eq!(zip.status, StatusCode::CREATED, "{zip:?}");
        let zip = format!("/v1/zips/{}", super::world::token_of(zip.json["url"].as_str().unwrap()));
        let artifact: String = sqlx::query_scalar("SELECT id FROM artifacts WHERE master_id = $1")
            .bind(&song)
            .fetch_one(world.app.db.read())
            .await
            .unwrap();
        let link = ana.post(&format!("/v1/artifacts/{artifact}/link"), &Value::Null).await;
        let link = link.json["url"].as_str().unwrap().to_owned();
        export::build(&world.app, &user).await.unwrap();
        let archive = ana.get("/v1/me/export").await.json["url"].as_str().unwrap().to_owned();
        assert_eq!(ana.get(&format!("/v1/shared/{share}")).await.status, StatusCode::OK, "{}", world.name);
        assert_eq!(ana.get(&zip).await.status, StatusCode::OK);
        assert_eq!(reqwest::get(&link).await.unwrap().status(), 200);
        assert_eq!(reqwest::get(&archive).await.unwrap().status(), 200);

        ana.delete(&format!("/v1/masters/{song}")).await;
        let at_once = async |ana: &mut Browser<'_>| {
            assert_eq!(ana.get(&format!("/v1/shared/{share}")).await.code(), "share.not_found");
            assert_eq!(ana.get(&zip).await.status, StatusCode::NOT_FOUND, "the archive holds a deleted song");
            let relinked = ana.post(&format!("/v1/artifacts/{artifact}/link"), &Value::Null).await;
            assert_eq!(relinked.status, StatusCode::NOT_FOUND);
            assert_eq!(ana.get("/v1/me/export").await.json["state"], "none", "the export holds it, too");
        };
        at_once(&mut ana).await;
        // An undo brings all of it back.
        ana.post("/v1/masters/restore", &json!({ "ids": [song] })).await;
        assert_eq!(ana.get(&format!("/v1/shared/{share}")).await.status, StatusCode::OK);
        assert_eq!(ana.get(&zip).await.status, StatusCode::OK);
        assert_eq!(ana.get("/v1/me/export").await.json["state"], "ready");

        ana.delete(&format!("/v1/masters/{song}")).await;
        final_now(&world).await;
        at_once(&mut ana).await;
        for address in [&link, &archive] {
            assert_eq!(reqwest::get(address).await.unwrap().status(), 404, "{}: {address}", world.name);
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM zips").await, 0);
        assert!(!keys(&world).await.iter().any(|key| key.contains(&song) || key.contains(&mix)));
        // What is packed from here on can be had.
        export::build(&world.app, &user).await.unwrap();
        assert_eq!(ana.get("/v1/me/export").await.json["state"], "ready");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_brings_the_sweeper_forward() {
    for world in worlds(|_| {}).await {
        loopmaster::chores::ensure_sweeper(&world.app.db).await.unwrap();
        world.run("UPDATE jobs SET run_at = run_at + 600000 WHERE kind = 'sweep'").await;
        let mut ana = world.signed_in("ana@example.com").await;
        let (song, _) = world.master(&world.user_id("ana@example.com").await, None).await;
        ana.delete(&format!("/v1/masters/{song}")).await;
        let run_at = world.count("SELECT run_at FROM jobs WHERE kind = 'sweep'").await;
        let left = run_at - world.app.db.now().await.unwrap();
        assert!((20_000..=31_000).contains(&left), "{}: {left} ms", world.name);
        let next = retention::next_deletion(&world.app.db).await.unwrap().unwrap();
        assert!((20_000..=30_000).contains(&next), "{next}");
    }
}

/// Every file below a folder that holds one of these, in clear.
fn found(folder: &Path, canaries: &[String]) -> Vec<String> {
    let mut hits = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            for canary in canaries.iter().filter(|canary| path.to_string_lossy().contains(*canary)) {
                hits.push(format!("{} is named after {canary}", path.display()));
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            for canary in canaries {
                let times = text.matches(canary.as_str()).count();
                if times > 0 {
                    hits.push(format!("{times} × {canary} in {}", path.display()));
                }
            }
        }
    }
    hits
}

/// Where the database of a world is, with its log.
fn database_folder(world: &World) -> PathBuf {
    let path = world.app.config.database_url.expose().trim_start_matches("sqlite:").to_owned();
    Path::new(path.split('?').next().unwrap()).parent().unwrap().to_owned()
}

fn everywhere(world: &World, canaries: &[String]) -> Vec<String> {
    let mut hits = found(&world.app.config.data, canaries);
    hits.extend(found(&database_folder(world), canaries));
    hits
}

/// Sends what waits into the mail folder.
async fn deliver(world: &World) {
    let mailer = Mailer::of(&world.app.config).unwrap();
    let text = "DELETE FROM jobs WHERE kind = 'mail' AND state = 'waiting' RETURNING subject, payload";
    let mut tx = world.app.db.begin().await.unwrap();
    let waiting: Vec<(String, String)> = sqlx::query_as(text).fetch_all(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    for (id, payload) in waiting {
        letters::deliver(&mailer, &world.app.config, &world.app.db, &id, &payload).await.unwrap();
    }
}

/// A time has passed: every letter in the folder is that much older.
fn age_letters(world: &World, age: Duration) {
    for entry in std::fs::read_dir(world.app.config.mail_folder()).unwrap().flatten() {
        let file = std::fs::File::options().append(true).open(entry.path()).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_deleted_account_is_left_in_the_data_folder() {
    let world = world(|config| config.mail.operator = "people@loopmaster.example".to_owned()).await;
    // Others, so that there are pages to share and rows that move between them.
    let mut others = Vec::new();
    for number in 0..6 {
        let other = world.signed_in(&format!("other{number}@example.com")).await;
        let user = world.user_id(&format!("other{number}@example.com")).await;
        for _ in 0..20 {
            world.master(&user, None).await;
        }
        others.push(other);
    }
    let address = "canary.address@example.com";
    let mut ana = world.signed_in(address).await;
    let user = world.user_id(address).await;
    let mut canaries: Vec<String> = [
        "canary.address",
        "CanaryName",
        "canary-hook-path",
        "CanaryToken",
        "CanaryTitle",
        "CanaryFile",
        "CanaryTicket",
        "CanaryFigure",
        "CanaryBatch",
        "CanaryPreset",
        "CanaryArtist",
        "Test Browser 1.0 Canary",
    ]
    .map(str::to_owned)
    .to_vec();
    ana.send("PATCH", "/v1/me", json!({ "name": "CanaryName" }).to_string().into()).await;
    world.run(&format!("UPDATE sessions SET user_agent = 'Test Browser 1.0 Canary' WHERE user_id = '{user}'")).await;
    for event in ["/canary-hook-path/1", "/canary-hook-path/2"] {
        let hook = ana.post("/v1/me/webhooks", &json!({ "url": format!("https://example.com{event}") })).await;
        assert_eq!(hook.status, StatusCode::CREATED, "{hook:?}");
        let hook = hook.json["id"].as_str().unwrap().to_owned();
        ana.post(&format!("/v1/me/webhooks/{hook}/test"), &Value::Null).await;
    }
    let token = ana.post("/v1/me/tokens", &json!({ "name": "CanaryToken", "scopes": ["masters", "account"] })).await;
    canaries.push(token.json["token"].as_str().unwrap().to_owned());
    for number in 0..20 {
        let settings = json!({ "settings": { "tags": { "artist": format!("CanaryArtist {}", "x".repeat(number)) } } });
        let preset = ana.send("PUT", &format!("/v1/presets/CanaryPreset{number}"), settings.to_string().into()).await;
        assert_eq!(preset.status, StatusCode::OK, "{preset:?}");
    }
    let message = json!({ "topic": "privacy", "email": address, "message": "CanaryTicket: what do you keep?" });
    assert_eq!(ana.post("/v1/contact", &message).await.status, StatusCode::ACCEPTED);
    let mut songs = Vec::new();
    for number in 0..40 {
        let (master, upload) = world.master(&user, None).await;
        world.run(&format!("UPDATE masters SET title = 'CanaryTitle {number}' WHERE id = '{master}'")).await;
        world.run(&format!("UPDATE uploads SET name = 'CanaryFile {number}.wav' WHERE id = '{upload}'")).await;
        world
            .run(&format!("UPDATE artifacts SET name = 'CanaryTitle {number}.wav' WHERE master_id = '{master}'"))
            .await;
        let figures = format!("{{\"figures\": \"CanaryFigure {}\"}}", "x".repeat(number * 37));
        world.run(&format!("UPDATE results SET result = '{figures}' WHERE master_id = '{master}'")).await;
        let share = ana.post(&format!("/v1/masters/{master}/shares"), &Value::Null).await;
        canaries.push(super::world::token_of(share.json["url"].as_str().unwrap()));
        songs.push(master);
    }
    ana.post("/v1/batches", &json!({ "name": "CanaryBatch", "tracks": 3 })).await;
    ana.post("/v1/zips", &json!({ "masters": songs[..3] })).await;
    let sessions: Vec<String> = sqlx::query_scalar("SELECT id FROM sessions WHERE user_id = $1")
        .bind(&user)
        .fetch_all(world.app.db.read())
        .await
        .unwrap();
    canaries.extend(sessions);
    export::build(&world.app, &user).await.unwrap();
    deliver(&world).await;
    world
        .run(&format!(
            "INSERT INTO job_history (id, kind, subject, owner_key, state, attempts, error_text, created_at, ended_at)
             VALUES ('job_1', 'mail', 'mail_1', '', 'dead', 1, '550 <{address}>: no such user', 1, {})",
            world.app.db.now().await.unwrap()
        ))
        .await;
    // Some songs before the account: their places in the file are taken by others.
    ana.post("/v1/masters/delete", &json!({ "ids": songs[..10] })).await;
    final_now(&world).await;
    let seen = everywhere(&world, &canaries);
    assert!(seen.len() > 5, "the search sees what is there: {seen:?}");

    ana.post("/v1/me/delete", &Value::Null).await;
    deliver(&world).await;
    // A letter that waits when the account goes does not go out.
    world.run(&format!("UPDATE users SET delete_after = 1 WHERE id = '{user}'")).await;
    retention::sweep(&world.app).await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM users WHERE email LIKE 'canary%'").await, 0);
    let left = everywhere(&world, &canaries);
    assert!(left.is_empty(), "{left:#?}");

    // The last letter says that the account is gone; in a folder it is there for a week.
    deliver(&world).await;
    assert_eq!(everywhere(&world, &canaries).len(), 1, "{:?}", everywhere(&world, &canaries));
    age_letters(&world, Duration::from_hours(6 * 24));
    retention::sweep(&world.app).await.unwrap();
    assert_eq!(everywhere(&world, &canaries).len(), 1);
    age_letters(&world, Duration::from_secs(7 * 86_400 + 1));
    assert!(retention::sweep(&world.app).await.unwrap().letters > 0);
    let left = everywhere(&world, &canaries);
    assert!(left.is_empty(), "{left:#?}");
    assert!(others[0].get("/v1/me").await.json.get("user").is_some(), "nobody else is touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_deleted_song_is_left_in_the_data_folder() {
    let world = world(|_| {}).await;
    let mut ana = world.signed_in("ana@example.com").await;
    let user = world.user_id("ana@example.com").await;
    ana.post("/v1/me/webhooks", &json!({ "url": "https://example.com/hook" })).await;
    let canaries: Vec<String> = ["CanaryTitle", "CanaryFile", "CanaryFigure"].map(str::to_owned).to_vec();
    let mut songs = Vec::new();
    for number in 0..60 {
        let (master, upload) = world.master(&user, None).await;
        if number % 3 != 0 {
            continue;
        }
        world.run(&format!("UPDATE masters SET title = 'CanaryTitle {number}' WHERE id = '{master}'")).await;
        world.run(&format!("UPDATE uploads SET name = 'CanaryFile {number}.wav' WHERE id = '{upload}'")).await;
        let figures = format!("{{\"figures\": \"CanaryFigure {}\"}}", "x".repeat(number * 31));
        world.run(&format!("UPDATE results SET result = '{figures}' WHERE master_id = '{master}'")).await;
        let mut tx = world.app.db.begin().await.unwrap();
        loopmaster::domain::notices::master_ended(&mut tx, &world.app.config, &master, 1).await.unwrap();
        tx.commit().await.unwrap();
        // A log of the version before, which did not say what it was about.
        world
            .run(&format!(
                "INSERT INTO deliveries (id, webhook_id, event, body, attempts, created_at)
                 SELECT 'dlv_{number}', id, 'master.done', '{{\"id\":\"{master}\",\"title\":\"CanaryTitle\"}}', 1, 1 FROM webhooks"
            ))
            .await;
        world
            .run(&format!(
                "INSERT INTO idempotency (owner, key, fingerprint, status, body, created_at)
                 VALUES ('{user}', 'key {number}', '', 201, '{{\"id\":\"{upload}\",\"name\":\"CanaryFile\"}}', {})",
                world.app.db.now().await.unwrap()
            ))
            .await;
        songs.push(master);
    }
    assert!(everywhere(&world, &canaries).len() > 1);
    ana.post("/v1/masters/delete", &json!({ "ids": songs })).await;
    final_now(&world).await;
    let left = everywhere(&world, &canaries);
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 40);
    assert_eq!(world.count("SELECT COUNT(*) FROM uploads").await, 40);
}

/// A worker or an export that was killed cannot clean up after itself.
#[test]
fn what_a_dead_worker_left_behind_goes_after_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let age = |path: &Path, hours: u64| {
        let time = SystemTime::now() - Duration::from_hours(hours);
        std::fs::File::open(path).unwrap().set_modified(time).unwrap();
    };
    for (name, file_hours) in [("track-dead", 25), ("export-dead", 25), ("track-alive", 1), ("other", 25)] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.join("out")).unwrap();
        std::fs::write(path.join("out/mix.wav"), b"music").unwrap();
        age(&path.join("out/mix.wav"), file_hours);
        age(&path.join("out"), 30);
        age(&path, 30);
    }
    loopmaster::work::sweep_scratch(folder.path());
    let mut left: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["other", "track-alive"]);
}

/// A file of the version before, in which deleted rows were not overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn what_earlier_versions_left_in_the_file_goes_at_the_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("old.db").display());
    let canaries = ["CanaryOfLongAgo".to_owned()];
    {
        let db = Db::connect(&url).await.unwrap();
        db.migrate().await.unwrap();
        let mut tx = db.begin().await.unwrap();
        for number in 0..500 {
            let text = "INSERT INTO tickets (id, topic, email, message, request_id, ip_hash, created_at) VALUES ($1, 'x', 'y', $2, '', '', 1)";
            let message = format!("CanaryOfLongAgo {}", "y".repeat(number));
            sqlx::query(text).bind(format!("tkt_{number}")).bind(message).execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut tx = db.begin().await.unwrap();
        sqlx::query("PRAGMA secure_delete = OFF").execute(&mut *tx).await.unwrap();
        sqlx::query("DELETE FROM tickets").execute(&mut *tx).await.unwrap();
        sqlx::query("PRAGMA user_version = 0").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        // It ended without a goodbye, as after a power cut.
    }
    // Its connections close by themselves, and the last one moves the log into the file.
    for _ in 0..500 {
        if !folder.path().join("old.db-wal").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!found(folder.path(), &canaries).is_empty(), "deleted rows lie in the file");
    let db = Db::connect(&url).await.unwrap();
    db.migrate().await.unwrap();
    let left = found(folder.path(), &canaries);
    assert!(left.is_empty(), "{left:?}");
    // Ending empties the log, with connections of this process still there.
    let mut tx = db.begin().await.unwrap();
    sqlx::query("INSERT INTO nonces (nonce, expires_at) VALUES ('CanaryOfLongAgo', 1)")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    sqlx::query("DELETE FROM nonces").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    let left = found(folder.path(), &canaries);
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_addresses_lie_sealed() {
    for world in worlds(|_| {}).await {
        let ip = "203.0.113.7".parse().unwrap();
        let hash = async || {
            let keys = loopmaster::domain::ip_keys::IpKeys::default();
            keys.hash(&world.app.db, &world.app.config, ip).await
        };
        let secret = async || -> String {
            sqlx::query_scalar("SELECT secret FROM ip_keys ORDER BY day DESC LIMIT 1")
                .fetch_one(world.app.db.read())
                .await
                .unwrap()
        };
        let first = hash().await;
        assert_eq!(hash().await, first, "{}: every process has the same", world.name);
        let kept = secret().await;
        assert!(kept.starts_with("1."), "{kept}");
        // With nothing but the database nobody gets from an address to its hash: neither by the text nor by what it encodes.
        let sealed = kept.rsplit('.').next().unwrap();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(sealed).unwrap();
        for key in bytes.windows(32).chain(std::iter::once(kept.as_bytes())) {
            let tried = loopmaster::digest::hmac(key, &[&[203, 0, 113, 7]]);
            assert_ne!(loopmaster::digest::hex(&tried[..16]), first);
        }
        // In clear, as the version before wrote it: replaced with the first request.
        let day = world.app.db.now().await.unwrap() / 86_400_000;
        world.run(&format!("UPDATE ip_keys SET secret = '{}'", "ab".repeat(32))).await;
        world
            .run(&format!(
                "INSERT INTO ip_keys (day, secret, created_at) VALUES ('{}', '{}', {})",
                day - 1,
                "cd".repeat(32),
                day * 86_400_000
            ))
            .await;
        let tried = loopmaster::digest::hmac(&[0xab; 32], &[&[203, 0, 113, 7]]);
        let now = hash().await;
        assert_ne!(now, loopmaster::digest::hex(&tried[..16]), "the key in clear is not used any more");
        assert_eq!(hash().await, now);
        assert_eq!(world.count("SELECT COUNT(*) FROM ip_keys WHERE secret NOT LIKE '1.%'").await, 0, "{}", world.name);
        // Sealed with another secret: replaced, and no request fails.
        world.run("UPDATE ip_keys SET secret = '1.AAAAAAAAAAAAAAAA.AAAA'").await;
        let now = hash().await;
        assert_eq!((hash().await, now.len()), (now.clone(), 32));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_reads_the_address_only_with_the_scope_of_the_account() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        ana.send("PATCH", "/v1/me", json!({ "name": "Ana Unnamed" }).to_string().into()).await;
        for (scopes, sees) in [
            (json!(["uploads"]), false),
            (json!(["masters"]), false),
            (json!(["uploads", "masters"]), false),
            (json!(["account"]), true),
        ] {
            let token = ana.post("/v1/me/tokens", &json!({ "name": "p", "scopes": scopes })).await;
            let token = token.json["token"].as_str().unwrap().to_owned();
            let me = with_token(&world, &token, "GET", "/v1/me", Value::Null).await;
            assert_eq!(me.status, StatusCode::OK);
            assert!(me.json["quotas"].is_object(), "{me:?}");
            let text = me.json.to_string();
            for personal in ["ana@example.com", "Ana Unnamed"] {
                assert_eq!(text.contains(personal), sees, "{}: {scopes} {text}", world.name);
            }
        }
    }
}

const DAY: i64 = 86_400_000;

/// The letters about ageing songs that wait; they are sent.
async fn notices(world: &World) -> Vec<Letter> {
    let letters = world.letters().await;
    letters.into_iter().map(|(_, letter)| letter).filter(|letter| matches!(letter, Letter::SongsAge { .. })).collect()
}

async fn sent(world: &World, letter: &Letter) {
    let Letter::SongsAge { notice, .. } = letter else { panic!("{letter:?}") };
    retention::ageing::sent(&world.app.db, notice).await.unwrap();
}

/// Some days pass: everything there is becomes older.
async fn pass(world: &World, days: i64) {
    let by = days * DAY;
    world.run(&format!("UPDATE masters SET created_at = created_at - {by}, expires_at = expires_at - {by}")).await;
    world.run(&format!("UPDATE notices SET posted_at = posted_at - {by}, sent_at = sent_at - {by}")).await;
    retention::sweep(&world.app).await.unwrap();
}

/// The same rows under another setting of the operator.
async fn set(world: &mut World, days: u32) {
    let mut config = world.app.config.clone();
    config.retention.account_days = days;
    world.app = loopmaster::http::App::open(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn songs_of_accounts_go_by_age_only_thirty_days_after_a_mail_has_left() {
    for mut world in worlds(|_| {}).await {
        world.signed_in("ana@example.com").await;
        let user = world.user_id("ana@example.com").await;
        world.letters().await;
        let (_, _) = world.master(&user, None).await;
        pass(&world, 3_000).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 1, "{}: no setting, no age", world.name);
        assert!(notices(&world).await.is_empty());

        // The operator sets one, and the song is past it by years.
        set(&mut world, 90).await;
        retention::sweep(&world.app).await.unwrap();
        let letters = notices(&world).await;
        assert!(matches!(&letters[..], [Letter::SongsAge { songs: 1, days: 90, .. }]), "{}: {letters:?}", world.name);
        // Mail fails for months: nothing goes, and it is tried again each week.
        for week in 0..10 {
            pass(&world, 8).await;
            assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 1, "{}: week {week}", world.name);
            assert_eq!(world.count("SELECT COUNT(*) FROM masters WHERE expires_at IS NOT NULL").await, 0);
            assert_eq!(notices(&world).await.len(), 1, "written again");
        }
        pass(&world, 8).await;
        let letters = notices(&world).await;
        sent(&world, &letters[0]).await;
        pass(&world, 1).await;
        let expires = world.count("SELECT expires_at FROM masters").await;
        let left = expires - world.app.db.now().await.unwrap();
        assert!((28 * DAY..=30 * DAY).contains(&left), "{}: {} days", world.name, left / DAY);
        // A shorter setting does not bring it forward.
        set(&mut world, 1).await;
        pass(&world, 28).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 1, "{}: 29 days after the mail", world.name);
        pass(&world, 2).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 0, "{}", world.name);
        assert_eq!(world.count("SELECT COUNT(*) FROM uploads").await, 0, "its mix goes with it");
        assert!(notices(&world).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_setting_takes_the_day_back_and_one_mail_tells_of_many() {
    for mut world in worlds(|_| {}).await {
        set(&mut world, 60).await;
        let mut ana = world.signed_in("ana@example.com").await;
        let user = world.user_id("ana@example.com").await;
        world.letters().await;
        let (old, _) = world.master(&user, None).await;
        pass(&world, 10).await;
        world.master(&user, None).await;
        assert!(notices(&world).await.is_empty(), "{}: 50 days are left", world.name);
        pass(&world, 22).await;
        let letters = notices(&world).await;
        assert!(matches!(&letters[..], [Letter::SongsAge { songs: 1, .. }]), "{}: {letters:?}", world.name);
        sent(&world, &letters[0]).await;
        pass(&world, 1).await;
        assert!(notices(&world).await.is_empty(), "not one each day");
        let shown = ana.get(&format!("/v1/masters/{old}")).await;
        assert!(shown.json["expires_at"].is_string(), "its owner sees the day: {shown:?}");

        // Longer: the day is taken back, and a new one is told in its time.
        set(&mut world, 400).await;
        pass(&world, 40).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM masters WHERE expires_at IS NULL").await, 2, "{}", world.name);
        set(&mut world, 0).await;
        pass(&world, 4_000).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 2, "{}: no setting, no age", world.name);
        // A time that no notice stands behind is not believed.
        world.run("UPDATE masters SET expires_at = 1").await;
        retention::sweep(&world.app).await.unwrap();
        assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 2, "{}", world.name);
        set(&mut world, 60).await;
        retention::sweep(&world.app).await.unwrap();
        let letters = notices(&world).await;
        assert!(matches!(&letters[..], [Letter::SongsAge { songs: 2, .. }]), "{}: {letters:?}", world.name);
        assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_notice_counts_from_when_the_mail_left() {
    let mut world = world(|_| {}).await;
    set(&mut world, 60).await;
    world.signed_in("ana@example.com").await;
    let user = world.user_id("ana@example.com").await;
    world.letters().await;
    world.master(&user, None).await;
    pass(&world, 59).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM notices WHERE sent_at IS NULL").await, 1);
    // Sent as the service does it: by the job of the letter.
    deliver(&world).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM notices WHERE sent_at IS NULL").await, 0);
    pass(&world, 29).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 1);
    pass(&world, 2).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 0);
}
