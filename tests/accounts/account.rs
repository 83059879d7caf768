//! Tokens, grants, what needs a recent sign-in, profile, export, deletion, contact.

use super::world::{Browser, World, with_token, world, worlds};
use axum::http::StatusCode;
use loopmaster::domain::accounts::grants;
use loopmaster::domain::export;
use loopmaster::domain::retention;
use loopmaster::outside::mail::Letter;
use serde_json::{Value, json};
use std::io::{Cursor, Read};

async fn token(browser: &mut Browser<'_>, scopes: &[&str]) -> (String, String) {
    let reply = browser.post("/v1/me/tokens", &json!({ "name": "a program", "scopes": scopes, "days": 30 })).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    let text = |name: &str| reply.json[name].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_scoped_shown_once_and_over_when_revoked() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        let (id, secret) = token(&mut ana, &["account", "uploads"]).await;
        let (_, uploads_only) = token(&mut ana, &["uploads"]).await;
        let letters = world.letters().await;
        assert!(
            letters.iter().all(|(to, letter)| to == "ana@example.com" && matches!(letter, Letter::TokenMade { .. })),
            "{letters:?}"
        );
        let listed = ana.get("/v1/me/tokens").await;
        assert!(!listed.json.to_string().contains("lmt_"), "{listed:?}");
        assert_eq!(listed.json["items"][1]["scopes"], json!(["uploads", "account"]));
        let me = with_token(&world, &secret, "GET", "/v1/me", Value::Null).await;
        assert_eq!(me.json["user"]["email"], "ana@example.com", "{}: {me:?}", world.name);
        assert_eq!(with_token(&world, &secret, "GET", "/v1/me/webhooks", Value::Null).await.status, StatusCode::OK);
        let refused = with_token(&world, &uploads_only, "GET", "/v1/me/webhooks", Value::Null).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "auth.scope_missing"));
        // A token makes no tokens, whatever its scopes.
        let more =
            with_token(&world, &secret, "POST", "/v1/me/tokens", json!({ "name": "more", "scopes": ["account"] }))
                .await;
        assert_eq!(more.status, StatusCode::UNAUTHORIZED);

        let grant = with_token(&world, &secret, "POST", "/v1/me/grants", json!({ "files": 2, "bytes": 100 })).await;
        assert_eq!(grant.status, StatusCode::CREATED, "{grant:?}");
        assert!(
            grant.json["url"].as_str().unwrap().ends_with(&format!("/u/{}", grant.json["grant"].as_str().unwrap()))
        );
        let granted = grant.json["id"].as_str().unwrap();
        let spend = async |bytes: u64| {
            let mut tx = world.app.db.begin().await.unwrap();
            let spent = grants::spend(&mut tx, granted, 1, bytes).await.is_ok();
            if spent {
                tx.commit().await.unwrap();
            } else {
                tx.rollback().await.unwrap();
            }
            spent
        };
        assert!(!spend(101).await, "more bytes than it may");
        assert!(spend(60).await && !spend(41).await && spend(40).await && !spend(0).await);
        for wrong in [
            json!({ "files": 0, "bytes": 1 }),
            json!({ "files": 1, "bytes": -1 }),
            json!({ "files": 1_000_000, "bytes": 1 }),
        ] {
            assert_eq!(with_token(&world, &secret, "POST", "/v1/me/grants", wrong).await.code(), "grant.caps");
        }
        assert_eq!(ana.post("/v1/me/grants", &json!({ "files": 1, "bytes": 1 })).await.code(), "auth.token_required");

        let mut ben = world.signed_in("ben@example.com").await;
        assert_eq!(ben.delete(&format!("/v1/me/tokens/{id}")).await.status, StatusCode::NOT_FOUND);
        assert_eq!(ana.delete(&format!("/v1/me/tokens/{id}")).await.status, StatusCode::NO_CONTENT);
        let after = with_token(&world, &secret, "GET", "/v1/me", Value::Null).await;
        assert_eq!(
            (after.status, after.code()),
            (StatusCode::UNAUTHORIZED, "auth.token_invalid"),
            "used after revocation"
        );
        assert_eq!(world.count("SELECT COUNT(*) FROM grants WHERE revoked_at IS NULL").await, 0, "its grants go along");
        assert_eq!(with_token(&world, &uploads_only, "GET", "/v1/me", Value::Null).await.status, StatusCode::OK);
        world.run("UPDATE tokens SET expires_at = 1").await;
        assert_eq!(
            with_token(&world, &uploads_only, "GET", "/v1/me", Value::Null).await.status,
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_matters_needs_a_recent_sign_in() {
    let world = world(|_| {}).await;
    let mut ana = world.signed_in("ana@example.com").await;
    world.run("UPDATE sessions SET signed_in_at = signed_in_at - 600001").await;
    for (path, body) in [
        ("/v1/me/tokens", json!({ "name": "x", "scopes": ["uploads"] })),
        ("/v1/me/email", json!({ "email": "new@example.com" })),
        ("/v1/me/export", Value::Null),
        ("/v1/me/delete", Value::Null),
    ] {
        let reply = ana.post(path, &body).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::FORBIDDEN, "auth.recent_sign_in_required"), "{path}");
    }
    let mut guest = world.browser();
    for path in ["/v1/me/tokens", "/v1/me/sessions", "/v1/me/export", "/v1/auth/merge"] {
        assert_eq!(guest.get(path).await.code(), "auth.sign_in_required", "{path}");
    }
    for (body, code) in [
        (json!({ "name": "", "scopes": ["uploads"] }), "token.name"),
        (json!({ "name": "x", "scopes": [] }), "token.scopes"),
        (json!({ "name": "x", "scopes": ["root"] }), "token.scopes"),
        (json!({ "name": "x", "scopes": ["uploads"], "days": 0 }), "token.days"),
        (json!({ "name": "x", "scopes": ["uploads"], "admin": true }), "request.invalid_field"),
    ] {
        world.run("UPDATE sessions SET signed_in_at = seen_at").await;
        assert_eq!(ana.post("/v1/me/tokens", &body).await.code(), code, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_and_its_picture() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        let reply = ana
            .send("PATCH", "/v1/me", json!({ "name": " Ana Ü. ", "mail_when_ready": false }).to_string().into())
            .await;
        assert_eq!(
            (&reply.json["name"], &reply.json["mail_when_ready"]),
            (&json!("Ana Ü."), &json!(false)),
            "{reply:?}"
        );
        for name in ["", "a\nb", &"x".repeat(101)] {
            assert_eq!(
                ana.send("PATCH", "/v1/me", json!({ "name": name }).to_string().into()).await.code(),
                "account.name"
            );
        }
        world.run("UPDATE users SET policy_version = '2020-01-01'").await;
        assert_eq!(ana.get("/v1/me").await.json["user"]["policy_current"], false);
        ana.send("PATCH", "/v1/me", json!({ "accept_policy": true }).to_string().into()).await;
        assert_eq!(ana.get("/v1/me").await.json["user"]["policy_current"], true);

        let mut png = Cursor::new(Vec::new());
        image::DynamicImage::new_rgb8(40, 30).write_to(&mut png, image::ImageFormat::Png).unwrap();
        let first = ana.send("PUT", "/v1/me/picture", png.clone().into_inner()).await;
        let address = first.json["picture"].as_str().unwrap_or_else(|| panic!("{}: {first:?}", world.name)).to_owned();
        let jpeg = reqwest::get(address).await.unwrap().bytes().await.unwrap();
        assert_eq!(image::load_from_memory_with_format(&jpeg, image::ImageFormat::Jpeg).unwrap().width(), 256);
        ana.send("PUT", "/v1/me/picture", png.into_inner()).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM objects WHERE state = 'doomed'").await, 1, "the old one goes");
        assert!(ana.delete("/v1/me/picture").await.json.get("picture").is_none());
        assert_eq!(world.count("SELECT COUNT(*) FROM objects WHERE state = 'stored'").await, 0);
        let reply = ana.send("PUT", "/v1/me/picture", b"GIF89a".to_vec()).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::UNPROCESSABLE_ENTITY, "picture.unreadable"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_everything_and_no_secret() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        let user = world.user_id("ana@example.com").await;
        let (master, upload) = world.master(&user, None).await;
        let other = world.master("usr_other", None).await;
        let preset = json!({ "settings": { "style": "punchy" } }).to_string();
        let saved = ana.send("PUT", "/v1/presets/a%20preset", preset.into()).await;
        assert_eq!(saved.status, StatusCode::OK, "{saved:?}");
        let (_, secret) = token(&mut ana, &["account"]).await;
        world.letters().await;
        assert_eq!(ana.get("/v1/me/export").await.json["state"], "none");
        assert_eq!(ana.post("/v1/me/export", &Value::Null).await.status, StatusCode::ACCEPTED);
        assert_eq!(ana.post("/v1/me/export", &Value::Null).await.json["state"], "preparing", "twice is once");
        assert_eq!(world.run("DELETE FROM jobs WHERE kind = 'export'").await, 1);
        export::build(&world.app, &user).await.unwrap();
        assert!(matches!(&world.letters().await[..], [(to, Letter::ExportReady { .. })] if to == "ana@example.com"));
        let ready = ana.get("/v1/me/export").await;
        assert_eq!(ready.json["state"], "ready", "{}: {ready:?}", world.name);
        let bytes = reqwest::get(ready.json["url"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes.to_vec())).unwrap();
        let mut all = String::new();
        let names: Vec<String> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
        for name in &names {
            zip.by_name(name).unwrap().read_to_string(&mut all).unwrap();
        }
        assert!(
            names.contains(&format!("masters/{master}/a master.wav"))
                && names.contains(&format!("mixes/{upload}/a mix.wav")),
            "{names:?}"
        );
        for known in [
            "ana@example.com",
            &master,
            "Test Browser 1.0",
            "\"figures\": 1",
            "signed_in.mail",
            "a program",
            "a preset",
            "punchy",
            &format!("jobs/{master}/1/master.wav"),
        ] {
            assert!(all.contains(known), "{known} is missing:\n{all}");
        }
        let hash: String =
            sqlx::query_scalar("SELECT token_hash FROM sessions LIMIT 1").fetch_one(world.app.db.read()).await.unwrap();
        for hidden in [secret.as_str(), hash.as_str(), other.0.as_str(), ana.session.as_deref().unwrap()] {
            assert!(!all.contains(hidden), "{hidden}");
        }
        world.run("UPDATE sessions SET signed_in_at = signed_in_at - 600001").await;
        assert!(ana.get("/v1/me/export").await.json.get("url").is_none(), "the download, too, needs a recent sign-in");
    }
}

/// Sweeps until nothing is left of what was doomed.
async fn swept_twice(world: &World) {
    retention::sweep(&world.app).await.unwrap();
    world.run("UPDATE objects SET sweep_after = 1 WHERE state = 'swept'").await;
    retention::sweep(&world.app).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_goes_after_its_days_of_grace_with_everything_in_it() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        let mut ben = world.signed_in("ben@example.com").await;
        let user = world.user_id("ana@example.com").await;
        let (other, _) = world.master(&world.user_id("ben@example.com").await, None).await;
        for _ in 0..3 {
            world.master(&user, None).await;
        }
        token(&mut ana, &["account"]).await;
        ana.post("/v1/me/webhooks", &json!({ "url": "https://example.com/hook" })).await;
        export::build(&world.app, &user).await.unwrap();
        world.letters().await;

        let leaving = ana.post("/v1/me/delete", &Value::Null).await;
        assert_eq!(leaving.status, StatusCode::ACCEPTED, "{leaving:?}");
        assert!(matches!(&world.letters().await[..], [(_, Letter::Closing { .. })]));
        assert_eq!(
            ana.post("/v1/me/delete", &Value::Null).await.json,
            leaving.json,
            "asked twice, the first day stands"
        );
        assert_eq!(ana.get("/v1/me").await.json["user"]["delete_after"], leaving.json["delete_after"]);
        assert_eq!(ana.post("/v1/me/keep", &Value::Null).await.json["delete_after"], Value::Null);
        world.run("UPDATE users SET delete_after = delete_after - 1209600001").await;
        swept_twice(&world).await;
        assert!(ana.get("/v1/me").await.json.get("user").is_some(), "kept");

        ana.post("/v1/me/delete", &Value::Null).await;
        swept_twice(&world).await;
        assert!(ana.get("/v1/me").await.json.get("user").is_some(), "not before its time");
        world.letters().await;
        world.run("UPDATE users SET delete_after = delete_after - 1209600001").await;
        swept_twice(&world).await;
        let gone = ana.get("/v1/me").await;
        assert!(gone.status == StatusCode::OK && gone.json.get("user").is_none(), "{}: {gone:?}", world.name);
        assert!(matches!(&world.letters().await[..], [(to, Letter::Closed)] if to == "ana@example.com"));
        for (what, text) in [
            ("users", "SELECT COUNT(*) FROM users WHERE email = 'ana@example.com'"),
            ("logins", "SELECT COUNT(*) FROM logins WHERE email = 'ana@example.com'"),
            ("tokens", "SELECT COUNT(*) FROM tokens"),
            ("webhooks", "SELECT COUNT(*) FROM webhooks"),
            ("others' masters", "SELECT COUNT(*) - 1 FROM masters"),
            ("others' artifacts", "SELECT COUNT(*) - 1 FROM artifacts"),
            ("others' uploads", "SELECT COUNT(*) - 1 FROM uploads"),
            ("others' objects", "SELECT COUNT(*) - 2 FROM objects"),
        ] {
            assert_eq!(world.count(text).await, 0, "{}: {what}", world.name);
        }
        let mut left: Vec<String> =
            world.app.store.list("").await.unwrap().into_iter().map(|listed| listed.key).collect();
        left.retain(|key| !key.contains(&other) && !key.starts_with("stored/"));
        assert!(left.is_empty(), "{left:?}");
        assert!(ben.get("/v1/me").await.json.get("user").is_some());
        // The address may come again, as somebody new.
        let again = world.signed_in("ana@example.com").await;
        assert!(again.session.is_some());
        assert_ne!(world.user_id("ana@example.com").await, user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_becomes_a_ticket_and_two_mails() {
    let world = world(|config| config.mail.operator = "people@loopmaster.example".to_owned()).await;
    let mut guest = world.browser();
    let message =
        json!({ "topic": "privacy", "email": "Ana@example.com", "message": "Please tell me\r\nwhat you keep." });
    let reply = guest.post("/v1/contact", &message).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
    let ticket = reply.json["ticket"].as_str().unwrap().to_owned();
    let letters = world.letters().await;
    assert!(
        matches!(&letters[0], (to, Letter::Ticket { from, message, .. })
        if to == "people@loopmaster.example" && from == "ana@example.com" && message == "Please tell me\nwhat you keep."),
        "{letters:?}"
    );
    assert!(
        matches!(&letters[1], (to, Letter::TicketReceived { ticket: named }) if to == "ana@example.com" && *named == ticket)
    );
    for wrong in [
        json!({ "topic": "privacy", "email": "nobody", "message": "x" }),
        json!({ "topic": "privacy", "email": "a@example.com", "message": " \n " }),
        json!({ "topic": "privacy", "email": "a@example.com", "message": "x".repeat(5001) }),
        json!({ "topic": "spam", "email": "a@example.com", "message": "x" }),
    ] {
        assert_eq!(guest.post("/v1/contact", &wrong).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    for n in 0..9 {
        let message = json!({ "topic": "other", "email": format!("a{n}@example.com"), "message": "x" });
        assert_eq!(guest.post("/v1/contact", &message).await.status, StatusCode::ACCEPTED);
    }
    let message = json!({ "topic": "other", "email": "z@example.com", "message": "x" });
    assert_eq!(guest.post("/v1/contact", &message).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(world.count("SELECT COUNT(*) FROM tickets").await, 10);
}
