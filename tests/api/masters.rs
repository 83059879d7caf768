//! Masters, batches, files and shares, with a worker played by hand.

use crate::service::{Browser, Service};
use loopmaster::db::{bump_version, new_id};
use reqwest::Method;
use serde_json::{Value, json};

fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// An upload that is there, without bytes: nobody reads it here.
pub(crate) async fn stored(service: &Service, browser: &Browser<'_>, name: &str) -> String {
    let upload = browser.begin(name, &[1; 100], json!({})).await;
    let id = upload["id"].as_str().unwrap().to_owned();
    let text =
        "UPDATE uploads SET state = 'stored', stored_key = 'stored/' || id || '/x', stored_at = {now} WHERE id = $1";
    service.change(text, &id).await;
    id
}

pub(crate) async fn masters(service: &Service, browser: &Browser<'_>, names: &[&str]) -> Vec<String> {
    let mut made = Vec::new();
    for name in names {
        let upload = stored(service, browser, name).await;
        made.extend(ids(&browser.post("/v1/masters", json!({ "uploads": [upload] })).await.good()));
    }
    made
}

/// What a worker would have written. Gives the ids of the files by role.
pub(crate) async fn finish(service: &Service, master: &str, content: &[u8]) -> Vec<(String, String)> {
    let app = &service.app;
    let owner = service.value("SELECT owner FROM masters WHERE id = $1", master).await.unwrap();
    let title = service.value("SELECT title FROM masters WHERE id = $1", master).await.unwrap();
    let mut files = Vec::new();
    let mut tx = app.db.begin().await.unwrap();
    for (kind, role, ending, media_type) in [
        ("master", "wav24", "wav", "audio/wav"),
        ("master", "flac24", "flac", "audio/flac"),
        ("preview", "master", "opus", "audio/ogg"),
        ("waveform", "master", "dat", "application/octet-stream"),
        ("report", "html", "html", "text/html"),
    ] {
        let id = new_id("art");
        sqlx::query(
            "INSERT INTO artifacts (id, master_id, kind, role, name, media_type, bytes, sha256, crc32, key, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1764101700000)",
        )
        .bind(&id)
        .bind(master)
        .bind(kind)
        .bind(role)
        .bind(format!("{title}.{ending}"))
        .bind(media_type)
        .bind(content.len() as i64)
        .bind(loopmaster::digest::sha256(content))
        .bind(i64::from(crc32fast::hash(content)))
        .bind(format!("jobs/{master}/1/{role}.{ending}"))
        .execute(&mut *tx)
        .await
        .unwrap();
        files.push((role.to_owned(), id));
    }
    let version = bump_version(&mut tx, &owner).await.unwrap();
    let text = tx.sql(
        "UPDATE masters SET state = 'done', attempt = 1, seconds = 240.5, lufs = -9.1, dbtp = -1.0, backend = 'cpu',
         started_at = {now}, finished_at = {now}, version = $2 WHERE id = $1",
    );
    sqlx::query(text).bind(master).bind(version).execute(&mut *tx).await.unwrap();
    let result = json!({ "figures": { "mix": { "lufs": -18.0 }, "master": { "lufs": -9.1 } }, "preview": { "mix_gain_db": 0.0 }, "reasons": [{ "text": "private" }] });
    let text = "INSERT INTO results (master_id, result) VALUES ($1, $2)";
    sqlx::query(text).bind(master).bind(result.to_string()).execute(&mut *tx).await.unwrap();
    sqlx::query("DELETE FROM jobs WHERE subject = $1").bind(master).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    for (role, ending) in
        [("wav24", "wav"), ("flac24", "flac"), ("master", "opus"), ("master", "dat"), ("html", "html")]
    {
        let key = format!("jobs/{master}/1/{role}.{ending}");
        app.store.put_bytes(&key, content.to_vec(), "application/octet-stream").await.unwrap();
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn another_master_follows_the_same_reference_unless_told_otherwise() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        let mix = stored(&service, &guest, "mix.wav").await;
        let (record, other) =
            (stored(&service, &guest, "record.flac").await, stored(&service, &guest, "other.flac").await);
        let made = guest.post("/v1/masters", json!({ "uploads": [mix], "reference_upload": record })).await.good();
        let path = format!("/v1/masters/{}/rerun", ids(&made)[0]);
        for (asked, kept) in [
            (json!({ "settings": { "style": "warm" } }), json!(record)),
            (json!({ "reference_upload": other }), json!(other)),
            (json!({ "reference_upload": null }), Value::Null),
        ] {
            let again = guest.post(&path, asked.clone()).await.good();
            assert_eq!(again["reference_upload"], kept, "{}: {asked}", service.name);
        }
        let strange = guest.post(&path, json!({ "reference_upload": "upl_x" })).await;
        assert_eq!(strange.problem(), (404, "upload.not_found".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tracks_are_queued_listed_stopped_and_made_again() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        let uploads = [stored(&service, &guest, "b side.wav").await, stored(&service, &guest, "A side.wav").await];
        let wish = json!({ "uploads": uploads, "settings": { "style": "loud" }, "batch": { "name": "Single", "album": true } });
        let made = guest.send(Method::POST, "/v1/masters", Some(wish.clone()), &[("idempotency-key", "k")]).await;
        assert_eq!(made.status, 201);
        let repeated = guest.send(Method::POST, "/v1/masters", Some(wish), &[("idempotency-key", "k")]).await;
        assert_eq!(repeated.good(), made.good());
        let made = made.good();
        let all = ids(&made);
        assert_eq!((&made["items"][0]["title"], &made["items"][1]["position"]), (&json!("b side"), &json!(1)));
        assert_eq!(
            made["items"][0]["expires_at"].as_str().map(str::len),
            Some("2026-11-25T20:15:00.123Z".len()),
            "{made}"
        );

        let shown = guest.get(&format!("/v1/masters/{}", all[1])).await.good();
        assert_eq!((&shown["state"], &shown["queue_position"]), (&json!("waiting"), &json!(1)), "{}", service.name);
        assert_eq!(shown["waits_for"], Value::Null, "it has not been heard");
        service.change("UPDATE masters SET song = '{}' WHERE id = $1", &all[1]).await;
        assert_eq!(guest.get(&format!("/v1/masters/{}", all[1])).await.good()["waits_for"], "album");
        let batch = made["batch"].as_str().unwrap();
        let album = guest.get(&format!("/v1/batches/{batch}")).await.good();
        assert_eq!((&album["name"], &album["album"], ids(&album)), (&json!("Single"), &json!(true), all.clone()));

        let path = format!("/v1/batches/{batch}");
        let turned = guest.patch(&path, json!({ "name": "EP", "order": [all[1], all[0]] })).await.good();
        assert_eq!((&turned["name"], ids(&turned)), (&json!("EP"), vec![all[1].clone(), all[0].clone()]));
        for wrong in [json!([all[0]]), json!([all[0], all[0]]), json!([all[0], "mst_x"])] {
            assert_eq!(guest.patch(&path, json!({ "order": wrong })).await.problem(), (422, "batch.order".to_owned()));
        }

        let stopped = guest.post(&format!("/v1/masters/{}/cancel", all[0]), json!({})).await.good();
        assert_eq!(stopped["state"], "cancelled");
        assert_eq!(guest.post(&format!("/v1/masters/{}/cancel", all[0]), json!({})).await.good()["state"], "cancelled");
        assert_eq!(service.number("SELECT COUNT(*) FROM jobs WHERE subject = $1", &all[0]).await, 0);
        let again = guest
            .post(&format!("/v1/masters/{}/rerun", all[0]), json!({ "settings": { "style": "warm" } }))
            .await
            .good();
        assert_eq!(
            (&again["settings"]["style"], &again["title"], &again["state"]),
            (&json!("warm"), &json!("b side"), &json!("waiting"))
        );
        // The versions of one song, and not the other song.
        let versions = format!("/v1/masters?upload={}&sort=oldest", uploads[0]);
        let both = [all[0].clone(), again["id"].as_str().unwrap().to_owned()];
        assert_eq!(ids(&guest.get(&versions).await.good()), both);
        assert_eq!(ids(&service.guest().get(&versions).await.good()), [""; 0]);
        finish(&service, &all[1], b"RIFF").await;
        assert_eq!(guest.get(&format!("/v1/masters/{}", all[1])).await.good()["waits_for"], Value::Null);
        assert_eq!(
            guest.post(&format!("/v1/masters/{}/cancel", all[1]), json!({})).await.problem(),
            (409, "master.ended".to_owned())
        );

        let stranger = service.guest();
        for (method, path) in [
            (Method::GET, format!("/v1/masters/{}", all[0])),
            (Method::DELETE, format!("/v1/masters/{}", all[0])),
            (Method::POST, format!("/v1/masters/{}/cancel", all[0])),
            (Method::POST, format!("/v1/masters/{}/shares", all[0])),
            (Method::GET, format!("/v1/batches/{batch}")),
        ] {
            let reply = stranger.send(method, &path, None, &[]).await;
            assert_eq!(reply.problem().0, 404, "{path}");
        }
        let theirs = stranger.post("/v1/masters", json!({ "uploads": uploads })).await;
        assert_eq!(theirs.problem(), (404, "upload.not_found".to_owned()));
        assert_eq!(stranger.post("/v1/masters/delete", json!({ "ids": all })).await.good()["deleted"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_searched_sorted_and_cut() {
    for service in Service::both(|config| config.limits.guest.tracks_a_day = 100).await {
        let guest = service.guest();
        let made =
            masters(&service, &guest, &["Zebra.wav", "apple 50%.wav", "Mango_1.wav", "banana.wav", "cherry.wav"]).await;
        service.change("UPDATE masters SET seconds = 300 WHERE id = $1", &made[3]).await;
        let walk = async |query: &str| {
            let (mut all, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = guest.get(&format!("/v1/masters?limit=2&{query}{cursor}")).await.good();
                let some = ids(&page);
                assert!(some.len() <= 2);
                all.extend(some.iter().map(|id| made.iter().position(|one| one == id).unwrap()));
                match page["next"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => return all,
                }
            }
        };
        assert_eq!(walk("").await, [4, 3, 2, 1, 0], "{}", service.name);
        assert_eq!(walk("sort=oldest").await, [0, 1, 2, 3, 4]);
        assert_eq!(walk("sort=title").await, [1, 3, 4, 2, 0]);
        assert_eq!(walk("sort=longest").await[0], 3);
        assert_eq!(walk("sort=longest").await.len(), 5);
        assert_eq!(walk("q=AN").await, [3, 2], "banana and Mango");
        assert_eq!(walk("q=50%25").await, [1], "a percent sign is a percent sign");
        assert_eq!(walk("q=o_1").await, [2]);
        assert_eq!(walk("state=done").await, [0; 0]);
        let next = guest.get("/v1/masters?limit=2&sort=title").await.good()["next"].as_str().unwrap().to_owned();
        assert_eq!(
            guest.get(&format!("/v1/masters?limit=2&sort=oldest&cursor={next}")).await.problem().1,
            "request.invalid_cursor"
        );
        for wrong in ["sort=best", "state=lost", "limit=1000", "cursor=AAAA"] {
            assert_eq!(guest.get(&format!("/v1/masters?{wrong}")).await.problem().0, 422, "{wrong}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_can_be_taken_back_for_a_moment() {
    for service in Service::both(|_| {}).await {
        let user = service.user("a@example.org").await;
        let made = masters(&service, &user, &["a.wav", "b.wav", "c.wav"]).await;
        finish(&service, &made[2], b"RIFF").await;
        let jobs = async || service.number("SELECT COUNT(*) FROM jobs WHERE kind = $1", "master").await;
        assert_eq!(jobs().await, 2);
        let gone = user.post("/v1/masters/delete", json!({ "ids": [made[0], made[2], "mst_x"] })).await.good();
        assert_eq!((&gone["deleted"], jobs().await), (&json!(2), 1), "{}", service.name);
        assert_eq!(ids(&user.get("/v1/masters").await.good()), [made[1].clone()]);
        assert_eq!(user.get(&format!("/v1/masters/{}", made[0])).await.problem().0, 404);
        let back = user.post("/v1/masters/restore", json!({ "ids": [made[0], made[2]] })).await.good();
        assert_eq!((&back["items"][0]["state"], &back["items"][1]["state"]), (&json!("waiting"), &json!("done")));
        assert_eq!(jobs().await, 2, "what waited waits again");
        // Too late.
        user.delete(&format!("/v1/masters/{}", made[1])).await.good();
        service.change("UPDATE masters SET deleted_at = deleted_at - 40000 WHERE id = $1", &made[1]).await;
        assert_eq!(user.post("/v1/masters/restore", json!({ "ids": [made[1]] })).await.good()["items"], json!([]));
        let audited = service
            .number(
                "SELECT COUNT(*) FROM audit WHERE action = 'master.delete' AND actor = $1",
                user.user.as_ref().unwrap(),
            )
            .await;
        assert_eq!(audited, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_are_for_all_and_masters_for_those_who_signed_in() {
    for service in Service::both(|_| {}).await {
        let user = service.user("a@example.org").await;
        for browser in [service.guest(), user.clone()] {
            let master = masters(&service, &browser, &["Ünder.wav"]).await.remove(0);
            let files = finish(&service, &master, b"RIFF").await;
            let shown = browser.get(&format!("/v1/masters/{master}")).await.good();
            assert_eq!((&shown["lufs"], &shown["result"]["figures"]["mix"]["lufs"]), (&json!(-9.1), &json!(-18.0)));
            for file in shown["artifacts"].as_array().unwrap() {
                let url = file["url"].as_str();
                assert_eq!(url.is_some(), file["kind"] != "master", "{file}");
                if let Some(url) = url {
                    assert_eq!(service.http.get(url).send().await.unwrap().bytes().await.unwrap(), "RIFF");
                }
            }
            let (_, wav) = &files[0];
            let link = browser.send(Method::POST, &format!("/v1/artifacts/{wav}/link"), None, &[]).await;
            if browser.user.is_none() {
                assert_eq!(link.problem(), (401, "auth.sign_in_required".to_owned()), "{}", service.name);
                assert_eq!(link.json()["artifact"], **wav);
                continue;
            }
            let url = link.good()["url"].as_str().unwrap().to_owned();
            let file = service.http.get(&url).send().await.unwrap();
            let disposition = file.headers()["content-disposition"].to_str().unwrap().to_owned();
            assert!(disposition.starts_with("attachment") && disposition.contains("%C3%9Cnder.wav"), "{disposition}");
            let altered = url.replace("wav24.wav", "flac24.flac");
            assert_eq!(service.http.get(altered).send().await.unwrap().status(), 403, "an altered address");
            let stranger = service.user("b@example.org").await;
            assert_eq!(
                stranger.send(Method::POST, &format!("/v1/artifacts/{wav}/link"), None, &[]).await.problem().0,
                404
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_shows_the_preview_until_it_is_revoked() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        let master = masters(&service, &guest, &["a.wav"]).await.remove(0);
        finish(&service, &master, b"RIFF").await;
        let path = format!("/v1/masters/{master}/shares");
        let share = guest.send(Method::POST, &path, None, &[]).await.good();
        let token = share["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        assert!(token.starts_with("lmh_"));
        let open = async || service.bearer(None, Method::GET, &format!("/v1/shared/{token}"), None).await;
        let shown = open().await.good();
        let kinds: Vec<_> =
            shown["artifacts"].as_array().unwrap().iter().map(|file| file["kind"].as_str().unwrap()).collect();
        assert_eq!((kinds, &shown["title"]), (vec!["preview", "waveform"], &json!("a")), "{}", service.name);
        assert!(!shown.to_string().contains("private"), "reasons are between us and its owner");
        assert_eq!(guest.get(&path).await.good()["items"].as_array().unwrap().len(), 1);
        let revoke = format!("/v1/shares/{}", share["id"].as_str().unwrap());
        assert_eq!(service.guest().delete(&revoke).await.problem().0, 404);
        assert_eq!(guest.delete(&revoke).await.status, 204);
        assert_eq!(open().await.problem(), (404, "share.not_found".to_owned()));
        assert_eq!(guest.get(&path).await.good()["items"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_told_when_they_are_used_up() {
    let service = Service::with(|config| {
        config.limits.guest.waiting = 2;
        config.limits.user.tracks_a_day = 2;
        config.limits.batch_tracks = 4;
    })
    .await;
    let guest = service.guest();
    masters(&service, &guest, &["a.wav", "b.wav"]).await;
    let third = stored(&service, &guest, "c.wav").await;
    assert_eq!(
        guest.post("/v1/masters", json!({ "uploads": [third] })).await.problem(),
        (403, "quota.waiting".to_owned())
    );
    let user = service.user("a@example.org").await;
    masters(&service, &user, &["a.wav", "b.wav"]).await;
    let third = stored(&service, &user, "c.wav").await;
    let refused = user.post("/v1/masters", json!({ "uploads": [third] })).await;
    assert_eq!((refused.problem(), &refused.json()["rule"]), ((429, "rate.exceeded".to_owned()), &json!("tracks")));
    assert_eq!(user.post("/v1/masters", json!({ "uploads": [] })).await.problem(), (422, "master.too_many".to_owned()));
    let many: Vec<&str> = vec![&third; 5];
    assert_eq!(
        user.post("/v1/masters", json!({ "uploads": many })).await.problem(),
        (422, "master.too_many".to_owned())
    );
    assert_eq!(user.post("/v1/batches", json!({ "tracks": 5 })).await.problem(), (422, "batch.too_large".to_owned()));
}

/// Every table that an order writes, counted.
async fn written(service: &Service) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in ["masters", "batches", "jobs", "turns", "limits", "idempotency", "guests"] {
        counts.push(service.number(&format!("SELECT COUNT(*) FROM {table} WHERE $1 = $1"), "").await);
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_the_price_and_makes_nothing() {
    for service in Service::both(|config| config.limits.user.tracks_a_day = 4).await {
        let ana = service.user("ana@example.com").await;
        let heard = masters(&service, &ana, &["one.wav"]).await.remove(0);
        finish(&service, &heard, b"x").await;
        let first = service.value("SELECT upload_id FROM masters WHERE id = $1", &heard).await.unwrap();
        let second = stored(&service, &ana, "two.wav").await;
        let ask = async |body: Value| {
            let mut body = body;
            body["dry_run"] = json!(true);
            ana.send(Method::POST, "/v1/masters", Some(body), &[("idempotency-key", "once")]).await
        };
        let before = written(&service).await;

        // As long as the first mix was, it is again.
        let known = ask(json!({ "uploads": [&first, &first] })).await;
        assert_eq!(known.status, 200, "{}: {known:?}", service.name);
        assert_eq!(known.json()["cost"], json!({ "tracks": 2, "seconds": 481.0 }));
        let price = ask(json!({ "uploads": [&first, &second], "batch": { "name": "b", "album": true } })).await.good();
        assert_eq!(price["cost"], json!({ "tracks": 2 }), "nobody has heard the second yet");
        let day = &price["quotas"]["tracks_a_day"];
        assert_eq!((&day["limit"], &day["used"]), (&json!(4), &json!(1)));
        // One comes back each quarter of a day.
        let more = day["more_after"].as_u64().unwrap();
        assert!((21_000..=21_600).contains(&more) && day["full_after"] == more, "{day}");
        assert_eq!(ana.get("/v1/me").await.good()["quotas"]["tracks_a_day"]["used"], 1);

        // What the order would be refused for, the dry run is.
        let refused = ask(json!({ "uploads": vec![&first; 4] })).await;
        assert_eq!(refused.problem(), (429, "rate.exceeded".to_owned()));
        assert!(refused.header("retry-after").parse::<u64>().unwrap() > 20_000, "{refused:?}");
        let refused = ask(json!({ "uploads": [&second], "settings": { "ceiling": 3.0 } })).await;
        assert!(refused.status == 422 && refused.problem().1.starts_with("plan."), "{refused:?}");
        let unsent = ana.begin("three.wav", &[1; 100], json!({})).await["id"].clone();
        let refused = ask(json!({ "uploads": [unsent] })).await;
        assert_eq!(refused.problem(), (409, "upload.not_complete".to_owned()));
        let theirs = service.user("ben@example.com").await;
        let body = json!({ "uploads": [&second], "dry_run": true });
        assert_eq!(
            theirs.post("/v1/masters", body).await.problem(),
            (404, "upload.not_found".to_owned()),
            "nor is anything told of what is another's"
        );
        let limit = "SELECT COUNT(*) FROM limits WHERE key = $1";
        assert_eq!(service.number(limit, &format!("tracks:{}", theirs.user.as_ref().unwrap())).await, 0);
        assert_eq!(written(&service).await, before, "{}", service.name);
        let state = service.value("SELECT state FROM uploads WHERE id = $1", &second).await;
        assert_eq!(state.as_deref(), Some("stored"));

        // The key is still free for the order itself, which says its cost, too.
        let order = json!({ "uploads": [&first, &second] });
        let made = ana.send(Method::POST, "/v1/masters", Some(order), &[("idempotency-key", "once")]).await;
        assert_eq!((made.status.as_u16(), &made.json()["cost"]), (201, &json!({ "tracks": 2 })));
        assert_eq!(ana.get("/v1/me").await.good()["quotas"]["tracks_a_day"]["used"], 3);
    }
}

/// A form that has arrived and that nobody has adopted counts as there, and stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_adopts_nothing() {
    let service = Service::start().await;
    let guest = service.guest();
    let form = guest.get("/v1/companion/s3/params?filename=a.wav&type=audio/wav").await.good();
    let key = form["fields"]["key"].as_str().unwrap().to_owned();
    let ask = async || guest.post("/v1/masters", json!({ "uploads": [&key], "dry_run": true })).await;
    assert_eq!(ask().await.problem(), (409, "upload.not_complete".to_owned()));
    service.app.store.put_bytes(&key, vec![1; 100], "audio/wav").await.unwrap();
    assert_eq!(ask().await.good()["cost"], json!({ "tracks": 1 }));
    let open = "SELECT COUNT(*) FROM uploads WHERE client_key = $1 AND state = 'uploading'";
    assert_eq!(service.number(open, &key).await, 1);
}
