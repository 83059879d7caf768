//! Settings that an account keeps under a name: saved, shown, ordered with, and refused where they are not what they were.

use crate::service::{Browser, Reply, Service};
use loopmaster::domain::presets::MOST_PRESETS;
use reqwest::Method;
use serde_json::{Value, json};

async fn put(browser: &Browser<'_>, name: &str, settings: Value) -> Reply {
    browser.send(Method::PUT, &format!("/v1/presets/{name}"), Some(json!({ "settings": settings })), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preset_is_saved_shown_replaced_and_deleted() {
    for service in Service::both(|_| {}).await {
        let (ana, ben) = (service.user("ana@example.com").await, service.user("ben@example.com").await);
        let saved = put(&ana, "Club%20loud", json!({ "style": "loud", "loudness": { "lufs": -8.0 } })).await.good();
        assert_eq!(
            (&saved["name"], &saved["settings"]["style"]),
            (&json!("Club loud"), &json!("loud")),
            "{}",
            service.name
        );
        assert!(saved.get("outdated").is_none());
        put(&ana, "archive", json!({ "formats": ["flac24"] })).await.good();
        let listed = ana.get("/v1/presets").await.good();
        let names: Vec<&str> =
            listed["items"].as_array().unwrap().iter().filter_map(|item| item["name"].as_str()).collect();
        assert_eq!(names.len(), 2);
        assert!(names.contains(&"archive") && names.contains(&"Club loud"));
        let again = put(&ana, "Club%20loud", json!({ "style": "punchy" })).await.good();
        assert_eq!((&again["settings"]["style"], &again["settings"]["loudness"]), (&json!("punchy"), &json!("style")));
        assert_eq!(again["created_at"], saved["created_at"]);
        assert_eq!(ana.get("/v1/presets/Club%20loud").await.good(), again);

        // It is one account's alone, and none of guests.
        assert_eq!(ben.get("/v1/presets/archive").await.problem(), (404, "preset.not_found".to_owned()));
        assert_eq!(ben.get("/v1/presets").await.good()["items"], json!([]));
        assert_eq!(service.guest().get("/v1/presets").await.problem(), (401, "auth.sign_in_required".to_owned()));
        let user = ana.user.clone().unwrap();
        let token = service.token(&user, "uploads").await;
        let refused = service.bearer(Some(&token), Method::GET, "/v1/presets", None).await;
        assert_eq!(refused.problem(), (403, "auth.scope_missing".to_owned()));
        let token = service.token(&user, "masters").await;
        let listed = service.bearer(Some(&token), Method::GET, "/v1/presets", None).await.good();
        assert_eq!(listed["items"].as_array().unwrap().len(), 2);

        assert_eq!(ana.delete("/v1/presets/archive").await.status, 204);
        assert_eq!(ana.delete("/v1/presets/archive").await.problem(), (404, "preset.not_found".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_lies_over_its_preset() {
    let service = Service::start().await;
    let ana = service.user("ana@example.com").await;
    let settings = json!({
        "style": "warm", "strength": { "overall": 30, "tone": 10 }, "loudness": { "lufs": -9.0 }, "ceiling": -2.0,
        "formats": ["flac24"], "tags": { "artist": "Ana", "album": "Roads" },
    });
    put(&ana, "house", settings).await.good();
    let mix = crate::cli::wav(&crate::cli::music(44_100, 0.2, 0.5), 44_100, false);
    let upload = ana.upload("mix.wav", &mix, json!({ "preset": "house" })).await;
    let master = async |reply: Value| ana.get(&format!("/v1/masters/{}", reply.as_str().unwrap())).await.good();
    let plain = master(upload["master"].clone()).await;
    assert_eq!((&plain["settings"]["style"], &plain["settings"]["tags"]["artist"]), (&json!("warm"), &json!("Ana")));
    // What is named replaces, what is not stays; loudness is one value, strengths and tags are several.
    let over = json!({
        "uploads": [upload["id"]], "preset": "house",
        "settings": { "strength": { "tone": 50 }, "loudness": { "destination": "spotify" }, "ceiling": null, "tags": { "title": "One" } },
    });
    let made = ana.post("/v1/masters", over).await.good();
    let made = &made["items"][0]["settings"];
    assert_eq!(
        (&made["style"], &made["formats"], &made["ceiling"]),
        (&json!("warm"), &json!(["flac24"]), &Value::Null)
    );
    assert_eq!((&made["strength"]["overall"], &made["strength"]["tone"]), (&json!(30), &json!(50)));
    assert_eq!(made["loudness"], json!({ "destination": "spotify" }));
    assert_eq!(made["tags"], json!({ "title": "One", "artist": "Ana", "album": "Roads" }));
    let rerun = format!("/v1/masters/{}/rerun", plain["id"].as_str().unwrap());
    let again = ana.post(&rerun, json!({ "preset": "house", "settings": { "style": "open" } })).await.good();
    assert_eq!((&again["settings"]["style"], &again["settings"]["loudness"]["lufs"]), (&json!("open"), &json!(-9.0)));
    // The preset may go: what was ordered is ordered.
    assert_eq!(ana.delete("/v1/presets/house").await.status, 204);
    assert_eq!(master(upload["master"].clone()).await["settings"], plain["settings"]);

    for (path, body) in [
        ("/v1/uploads", json!({ "name": "a.wav", "bytes": 10, "preset": "house" })),
        ("/v1/masters", json!({ "uploads": [upload["id"]], "preset": "house" })),
        (rerun.as_str(), json!({ "preset": "house" })),
    ] {
        assert_eq!(ana.post(path, body).await.problem(), (404, "preset.not_found".to_owned()), "{path}");
    }
    let guest = json!({ "name": "a.wav", "bytes": 10, "preset": "house" });
    assert_eq!(service.guest().post("/v1/uploads", guest).await.problem(), (401, "auth.sign_in_required".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_or_used_is_refused() {
    let service = Service::start().await;
    let ana = service.user("ana@example.com").await;
    let user = ana.user.clone().unwrap();
    for (name, settings, code) in [
        ("a%2Fb", json!({}), "preset.name"),
        ("%20a", json!({}), "preset.name"),
        ("a%0Ab", json!({}), "preset.name"),
        ("a", json!({ "stile": "warm" }), "request.invalid_field"),
        ("a", json!({ "loudness": { "lufs": 3 } }), "plan.out_of_range"),
        ("a", json!({ "tags": { "isrc": "1" } }), "tags.isrc"),
    ] {
        assert_eq!(put(&ana, name, settings).await.problem(), (422, code.to_owned()), "{name}");
    }
    assert_eq!(put(&ana, &"x".repeat(65), json!({})).await.problem(), (422, "preset.name".to_owned()));
    // The largest that can be asked for: all tags in letters of four bytes.
    let long = |length: usize| "𝄞".repeat(length);
    let mut tags = json!({ "comment": long(4_000) });
    for name in ["title", "artist", "album", "album_artist", "date", "genre", "composer", "copyright", "publisher"] {
        tags[name] = long(500).into();
    }
    assert_eq!(put(&ana, "a", json!({ "tags": tags })).await.problem(), (422, "preset.too_large".to_owned()));

    // Of another version, or with what was taken out since: told in the list, refused in an order, replaced by saving it again.
    put(&ana, "old", json!({ "style": "warm" })).await.good();
    for change in [
        "UPDATE presets SET version = 99 WHERE user_id = $1",
        "UPDATE presets SET version = 1, settings = '{\"stile\":\"warm\"}' WHERE user_id = $1",
    ] {
        service.change(change, &user).await;
        let listed = ana.get("/v1/presets").await.good();
        assert!(listed["items"][0]["outdated"].is_string(), "{listed}");
        let reply = ana.post("/v1/uploads", json!({ "name": "a.wav", "bytes": 10, "preset": "old" })).await;
        assert_eq!(reply.problem(), (409, "preset.outdated".to_owned()));
        assert!(reply.json()["detail"].as_str().unwrap().contains("has to be saved again"), "{reply:?}");
    }
    assert!(put(&ana, "old", json!({ "style": "warm" })).await.good().get("outdated").is_none());

    for number in 1..MOST_PRESETS {
        put(&ana, &format!("p{number}"), json!({})).await.good();
    }
    assert_eq!(put(&ana, "more", json!({})).await.problem(), (409, "preset.too_many".to_owned()));
    put(&ana, "old", json!({ "style": "open" })).await.good();
}
