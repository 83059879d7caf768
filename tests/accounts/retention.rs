//! What goes and when, what stays, and what register and storage say of each other.

use super::world::{World, world, worlds};
use loopmaster::config::Config;
use loopmaster::db::objects;
use loopmaster::domain::retention;
use loopmaster::queue::{self, NewJob};
use loopmaster_core::retention::PERIODS;
use std::collections::BTreeSet;

async fn keys(world: &World) -> Vec<String> {
    let mut keys: Vec<String> = world.app.store.list("").await.unwrap().into_iter().map(|listed| listed.key).collect();
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_s_things_go_and_a_user_s_stay() {
    for world in worlds(|_| {}).await {
        world.signed_in("ana@example.com").await;
        let user = world.user_id("ana@example.com").await;
        let (kept, _) = world.master(&user, None).await;
        let guest = "gst_00000000000000000000000000000009";
        let now = world.app.db.now().await.unwrap();
        let (old, _) = world.master(guest, Some(now - 1)).await;
        let (young, _) = world.master(guest, Some(now + 3_600_000)).await;

        let would = retention::dry_run(&world.app.db, &world.app.config).await.unwrap();
        assert_eq!((would.masters, would.accounts), (1, 0), "{}: {would:?}", world.name);
        assert_eq!(keys(&world).await.len(), 6, "a dry run changes nothing");

        let did = retention::sweep(&world.app).await.unwrap();
        assert_eq!((did.masters, did.uploads), (1, 1), "{}: {did:?}", world.name);
        let left = keys(&world).await;
        assert!(left.len() == 4 && left.iter().all(|key| !key.contains(&old)), "{left:?}");
        for master in [&kept, &young] {
            assert!(left.iter().any(|key| key.contains(master.as_str())));
        }
        // What a late worker or a signed address still writes is looked for once more.
        let late = format!("jobs/{old}/1/master.wav");
        world.app.store.put_bytes(&late, b"late".to_vec(), "audio/wav").await.unwrap();
        retention::sweep(&world.app).await.unwrap();
        assert_eq!(keys(&world).await.len(), 5, "not before its time");
        world.run("UPDATE objects SET sweep_after = 1 WHERE state = 'swept'").await;
        retention::sweep(&world.app).await.unwrap();
        assert_eq!(keys(&world).await, left);
        assert_eq!(world.count("SELECT COUNT(*) FROM objects").await, 4, "{}", world.name);
        let again = retention::sweep(&world.app).await.unwrap();
        assert_eq!((again.masters, again.uploads, again.objects), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_masters_have_their_undo_and_running_ones_are_asked_to_stop() {
    for world in worlds(|_| {}).await {
        let now = world.app.db.now().await.unwrap();
        let (master, _) = world.master("usr_1", None).await;
        world.run(&format!("UPDATE masters SET deleted_at = {}", now - 10_000)).await;
        assert_eq!(retention::sweep(&world.app).await.unwrap().masters, 0, "{}: within 30 s", world.name);
        world.run(&format!("UPDATE masters SET deleted_at = {}, state = 'running'", now - 40_000)).await;
        let mut tx = world.app.db.begin().await.unwrap();
        queue::enqueue(&mut tx, &NewJob::chore("master", &master, String::new())).await.unwrap();
        tx.commit().await.unwrap();
        world.run("UPDATE jobs SET state = 'running'").await;
        assert_eq!(retention::sweep(&world.app).await.unwrap().masters, 0);
        assert_eq!(world.count("SELECT cancel FROM jobs").await, 1);
        world.run("DELETE FROM jobs").await;
        assert_eq!(retention::sweep(&world.app).await.unwrap().masters, 1);
        // The mix goes with it.
        assert_eq!(world.count("SELECT COUNT(*) FROM uploads").await, 0);
        assert!(keys(&world).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_uploads_give_their_parts_back() {
    for world in worlds(|_| {}).await {
        let key = "uploads/upl_1/random";
        let id = world.app.store.create_multipart(key, "audio/wav").await.unwrap();
        world
            .run(&format!(
                "INSERT INTO uploads (id, owner, owner_key, name, media_type, bytes, fingerprint, state, client_key, s3_upload, part_bytes,
                   created_at, updated_at) VALUES ('upl_1', 'usr_1', 'usr_1', 'a', 'audio/wav', 5, '', 'uploading', '{key}', '{id}', 5, 1, 1)"
            ))
            .await;
        assert_eq!(world.app.store.unfinished("uploads/").await.unwrap().len(), 1);
        assert_eq!(retention::sweep(&world.app).await.unwrap().uploads, 1, "{}", world.name);
        assert!(world.app.store.unfinished("uploads/").await.unwrap().is_empty());
        assert_eq!(world.count("SELECT COUNT(*) FROM uploads").await, 0);
    }
}

/// Given up by its client, swept by storage, or lost with the process that was just removing it: its parts are gone before its row is.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_its_parts_does_not_stop_the_sweep() {
    for world in worlds(|_| {}).await {
        for (number, state) in ["aborted", "uploading", "completing"].into_iter().enumerate() {
            let key = format!("uploads/upl_{number}.random");
            let id = world.app.store.create_multipart(&key, "audio/wav").await.unwrap();
            world.app.store.abort(&key, &id).await.unwrap();
            world
                .run(&format!(
                    "INSERT INTO uploads (id, owner, owner_key, name, media_type, bytes, fingerprint, state, client_key, stored_key,
                       s3_upload, part_bytes, created_at, updated_at)
                     VALUES ('upl_{number}', 'usr_1', 'usr_1', 'a', 'audio/wav', 5, '', '{state}', '{key}', '{key}', '{id}', 5, 1, 1)"
                ))
                .await;
        }
        retention::sweep(&world.app).await.unwrap();
        // What was being completed is open again, and has its time from now on.
        world.run("UPDATE uploads SET updated_at = 1").await;
        retention::sweep(&world.app).await.unwrap();
        assert_eq!(world.count("SELECT COUNT(*) FROM uploads").await, 0, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_after_their_periods() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        ana.get("/v1/me").await;
        let now = world.app.db.now().await.unwrap();
        let day = 86_400_000;
        for (day_name, age) in [("old", 49 * day / 24), ("young", 47 * day / 24)] {
            world
                .run(&format!(
                    "INSERT INTO ip_keys (day, secret, created_at) VALUES ('{day_name}', 'x', {})",
                    now - age
                ))
                .await;
        }
        world
            .run(&format!(
                "INSERT INTO nonces (nonce, expires_at) VALUES ('spent', {}), ('fresh', {})",
                now - 1,
                now + 60_000
            ))
            .await;
        world.run(&format!("INSERT INTO limits (key, tat) VALUES ('idle', {}), ('busy', {now})", now - 2 * day)).await;
        world.run(&format!("INSERT INTO audit (id, at, actor, action, target, ip_hash, detail) VALUES ('old', {}, '', '', '', '', '')", now - 181 * day)).await;
        let audited = world.count("SELECT COUNT(*) FROM audit").await;
        let would = retention::dry_run(&world.app.db, &world.app.config).await.unwrap();
        let did = retention::sweep(&world.app).await.unwrap();
        assert_eq!(would.rows, did.rows, "{}: a dry run says what a sweep does", world.name);
        for (table, gone) in
            [("ip_keys", 1), ("nonces", 1), ("limits", 1), ("audit", 1), ("sessions", 0), ("logins", 0)]
        {
            assert!(did.rows.contains(&(table, gone)), "{table}: {:?}", did.rows);
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM audit").await, audited - 1);
        assert!(ana.get("/v1/me").await.json.get("user").is_some());
        // A session that has ended goes a month later, a login a day.
        world.run(&format!("UPDATE sessions SET revoked_at = {}", now - 31 * day)).await;
        world.run(&format!("UPDATE logins SET expires_at = {}", now - 2 * day)).await;
        let did = retention::sweep(&world.app).await.unwrap();
        assert!(did.rows.contains(&("sessions", 1)) && did.rows.contains(&("logins", 1)), "{:?}", did.rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn register_and_storage_are_compared() {
    for world in worlds(|_| {}).await {
        let (master, _) = world.master("usr_1", None).await;
        let lost = format!("jobs/{master}/1/master.wav");
        world.app.store.delete(&lost).await.unwrap();
        world.app.store.put_bytes("jobs/stray/1/x", b"x".to_vec(), "audio/wav").await.unwrap();
        let found = retention::reconcile(&world.app.db, &world.app.store, false).await.unwrap();
        assert_eq!((found.unknown, found.missing), (vec!["jobs/stray/1/x".to_owned()], vec![lost]), "{}", world.name);
        retention::sweep(&world.app).await.unwrap();
        assert_eq!(keys(&world).await.len(), 2, "looking changes nothing");
        retention::reconcile(&world.app.db, &world.app.store, true).await.unwrap();
        retention::sweep(&world.app).await.unwrap();
        assert_eq!(keys(&world).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_took_too_long_is_not_called_stored() {
    let world = world(|_| {}).await;
    let mut tx = world.app.db.begin().await.unwrap();
    objects::intend(&mut tx, "pictures/usr_1/x.jpg", Some("usr_1"), 1).await.unwrap();
    tx.commit().await.unwrap();
    retention::sweep(&world.app).await.unwrap();
    let mut tx = world.app.db.begin().await.unwrap();
    assert!(objects::stored(&mut tx, "pictures/usr_1/x.jpg", None).await.is_err());
}

/// Whoever adds a table with a time in it says in `loopmaster_core::retention::PERIODS` how long its rows stay; and what stands there
/// as deleted by the sweeper can be deleted by it.
#[tokio::test(flavor = "multi_thread")]
async fn every_table_with_a_time_is_in_the_table_of_periods() {
    for world in worlds(|_| {}).await {
        let columns: Vec<(String, String)> = if world.name == "SQLite" {
            sqlx::query_as(
                "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'
                   AND m.name NOT LIKE 'sqlite_%'",
            )
        } else {
            sqlx::query_as(
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns
                 WHERE table_schema = current_schema()",
            )
        }
        .fetch_all(world.app.db.read())
        .await
        .unwrap();
        let known: BTreeSet<&str> = PERIODS.iter().flat_map(|period| period.names).copied().collect();
        let mut seen = BTreeSet::new();
        for (table, column) in &columns {
            let time = ["at", "tat"].contains(&column.as_str())
                || ["_at", "_until", "_after"].iter().any(|ending| column.ends_with(ending));
            // The book of migrations is not about anybody.
            if time && !table.contains("migrations") {
                seen.insert(table.as_str());
                assert!(known.contains(table.as_str()), "{}: {table}.{column}: say how long its rows stay", world.name);
            }
        }
        assert!(seen.len() > 15, "{}: {seen:?}", world.name);
        for name in known {
            assert!(columns.iter().any(|(table, _)| table == name), "{}: there is no table {name}", world.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_nobody_uses_goes_when_its_period_is_over() {
    for world in worlds(|config| config.retention.session_idle_days = 5).await {
        let mut ana = world.signed_in("ana@example.com").await;
        let now = world.app.db.now().await.unwrap();
        world.run(&format!("UPDATE sessions SET seen_at = {}", now - 4 * 86_400_000)).await;
        retention::sweep(&world.app).await.unwrap();
        assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1, "{}", world.name);
        world.run(&format!("UPDATE sessions SET seen_at = {}", now - 6 * 86_400_000)).await;
        retention::sweep(&world.app).await.unwrap();
        assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 0, "{}: the browser's name goes", world.name);
        assert!(ana.get("/v1/me").await.json.get("user").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lasts_as_long_as_the_operator_says() {
    let world = world(|config| config.retention.session_days = 3).await;
    let mut ana = world.browser();
    let login = ana.ask("ana@example.com").await;
    let (code, _) = world.sign_in_letter("ana@example.com").await;
    let reply = ana.post("/v1/auth/email/code", &serde_json::json!({ "login": login, "code": code })).await;
    let cookie = reply.headers[loopmaster_core::signing::SET_SESSION].to_str().unwrap();
    assert!(cookie.ends_with(&format!(" {}", 3 * 86_400)), "{cookie}");
    let days = "SELECT (expires_at - created_at) / 86400000 FROM sessions";
    assert_eq!(world.count(days).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_s_cookie_lives_as_long_as_the_newest_track() {
    for world in worlds(|config| config.retention.guest_days = 3).await {
        let mut guest = world.browser();
        let id = guest.guest.clone().unwrap();
        let seconds = |reply: &super::world::Reply| {
            let value = reply.headers.get(loopmaster_core::signing::SET_GUEST)?.to_str().unwrap();
            let (named, seconds) = value.split_once(' ').unwrap();
            assert_eq!(named, id);
            Some(seconds.parse::<i64>().unwrap())
        };
        // Without a track the cookie stays as it is.
        assert_eq!(seconds(&guest.get("/v1/me").await), None, "{}", world.name);
        let upload = serde_json::json!({ "name": "a.wav", "bytes": 1000, "type": "audio/wav" });
        let begun = guest.post("/v1/uploads", &upload).await;
        let three_days = 3 * 86_400;
        let left = seconds(&begun).unwrap_or_else(|| panic!("{}: a new track renews it: {begun:?}", world.name));
        assert!((three_days - 60..=three_days).contains(&left), "{}: {left}", world.name);

        // An older track does not shorten it, and a master made later makes it longer.
        let now = world.app.db.now().await.unwrap();
        world.run(&format!("UPDATE uploads SET expires_at = {}", now + 3_600_000)).await;
        let left = seconds(&guest.get("/v1/me").await).unwrap();
        assert!((3_540..=3_600).contains(&left), "{}: {left}", world.name);
        world.master(&id, Some(now + 2 * 86_400_000)).await;
        let left = seconds(&guest.get("/v1/me").await).unwrap();
        assert!((2 * 86_400 - 60..=2 * 86_400).contains(&left), "{}: {left}", world.name);
        // Looking at a list does not write cookies, and neither does what was refused.
        assert_eq!(seconds(&guest.get("/v1/masters").await), None);
        assert_eq!(seconds(&guest.post("/v1/uploads", &serde_json::json!({ "name": "" })).await), None);
        // Once everything is gone there is nothing to be reached.
        world.run(&format!("UPDATE uploads SET expires_at = {}", now - 1)).await;
        world.run(&format!("UPDATE masters SET expires_at = {}", now - 1)).await;
        assert_eq!(seconds(&guest.get("/v1/me").await), None);
    }
}

#[test]
fn periods_are_what_the_operator_sets() {
    let mut config = Config::default();
    config.retention.guest_days = 3;
    let periods = retention::periods::periods(&config.retention);
    assert_eq!(periods[0].hours, 72);
}
