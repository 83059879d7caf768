//! Webhooks, read by the reference library of Standard Webhooks in another process.

use super::peers::Peer;
use super::world::{World, world, worlds};
use axum::http::StatusCode;
use loopmaster::db::Db;
use loopmaster::domain::webhooks::{self, Tried};
use loopmaster::domain::{notices, retention};
use loopmaster::outside::mail::Letter;
use loopmaster::outside::webhooks::guard::{Guard, Resolve};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The deliveries that wait, tried once each.
async fn deliver(world: &World) -> Vec<Tried> {
    let mut tx = world.app.db.begin().await.unwrap();
    let text = "DELETE FROM jobs WHERE kind = 'webhook' RETURNING subject";
    let mut ids: Vec<String> = sqlx::query_scalar(text).fetch_all(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    ids.sort();
    let mut tried = Vec::new();
    for id in ids {
        tried.push(again(&world.app.db, world, &id).await);
    }
    tried
}

async fn again(db: &Db, world: &World, id: &str) -> Tried {
    webhooks::deliver(db, &world.app.config, &Guard::of(&world.app.config), id).await.unwrap()
}

async fn ended(world: &World, master: &str) {
    let now = world.app.db.now().await.unwrap();
    let mut tx = world.app.db.begin().await.unwrap();
    notices::master_ended(&mut tx, &world.app.config, master, now).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_signed_tried_again_and_logged() {
    let receiver = Peer::start("receiver.mjs", &[]);
    let place = format!("127.0.0.1:{}", receiver.port);
    let http = reqwest::Client::new();
    for world in worlds(|config| config.webhooks.exempt = vec![place.clone()]).await {
        let tell_secret = async |secret: &str| {
            http.put(format!("http://{place}/secret")).body(secret.to_owned()).send().await.unwrap();
        };
        let mut ana = world.signed_in("ana@example.com").await;
        let created = ana
            .post("/v1/me/webhooks", &json!({ "url": format!("http://{place}/ok"), "events": ["master.done"] }))
            .await;
        assert_eq!(created.status, StatusCode::CREATED, "{}: {created:?}", world.name);
        let (id, secret) = (created.json["id"].as_str().unwrap(), created.json["secret"].as_str().unwrap());
        tell_secret(secret).await;
        let listed = ana.get("/v1/me/webhooks").await;
        assert!(!listed.json.to_string().contains("whsec_"), "{listed:?}");

        let (master, _) = world.master(&world.user_id("ana@example.com").await, None).await;
        ended(&world, &master).await;
        world.master("gst_00000000000000000000000000000001", None).await;
        assert_eq!(deliver(&world).await, [Tried::Ended]);
        let seen = receiver.line();
        assert_eq!((&seen["verified"], &seen["signatures"]), (&json!(true), &json!(1)), "{seen}");
        let body: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
        assert_eq!((&body["type"], &body["data"]["id"]), (&json!("master.done"), &json!(master)));
        let log = ana.get(&format!("/v1/me/webhooks/{id}/deliveries")).await;
        assert_eq!(
            (&log.json["items"][0]["state"], &log.json["items"][0]["id"]),
            (&json!("delivered"), &seen["id"]),
            "{log:?}"
        );

        // While the key is replaced both sign; afterwards the old one does not.
        let rotated = ana.post(&format!("/v1/me/webhooks/{id}/rotate"), &Value::Null).await;
        let new = rotated.json["secret"].as_str().unwrap();
        for known in [secret, new] {
            tell_secret(known).await;
            ana.post(&format!("/v1/me/webhooks/{id}/test"), &Value::Null).await;
            assert_eq!(deliver(&world).await, [Tried::Ended]);
            let seen = receiver.line();
            assert_eq!((&seen["verified"], &seen["signatures"]), (&json!(true), &json!(2)), "{seen}");
        }
        world.run("UPDATE webhooks SET old_secret_until = 1").await;
        ana.post(&format!("/v1/me/webhooks/{id}/test"), &Value::Null).await;
        deliver(&world).await;
        assert_eq!(receiver.line()["signatures"], 1);

        // Not another's.
        let mut ben = world.signed_in("ben@example.com").await;
        for (method, path) in [("POST", "/rotate"), ("POST", "/test"), ("GET", "/deliveries"), ("DELETE", "")] {
            let reply = ben.send(method, &format!("/v1/me/webhooks/{id}{path}"), Vec::new()).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method} {path}");
        }
        assert_eq!(ana.delete(&format!("/v1/me/webhooks/{id}")).await.status, StatusCode::NO_CONTENT);
        ended(&world, &master).await;
        assert!(deliver(&world).await.is_empty() && receiver.silent());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_fail() {
    let receiver = Peer::start("receiver.mjs", &[]);
    let place = format!("127.0.0.1:{}", receiver.port);
    let world = world(|config| config.webhooks.exempt = vec![place.clone(), "127.0.0.1:1".to_owned()]).await;
    let mut ana = world.signed_in("ana@example.com").await;
    let mut hooks = Vec::new();
    for path in ["/flaky", "/redirect", "/broken", "/gone"] {
        let created = ana.post("/v1/me/webhooks", &json!({ "url": format!("http://{place}{path}") })).await;
        hooks.push(created.json["id"].as_str().unwrap().to_owned());
    }
    let created = ana.post("/v1/me/webhooks", &json!({ "url": "http://127.0.0.1:1/closed" })).await;
    hooks.push(created.json["id"].as_str().unwrap().to_owned());
    let test = async |ana: &mut super::world::Browser<'_>, n: usize| {
        let reply = ana.post(&format!("/v1/me/webhooks/{}/test", hooks[n]), &Value::Null).await;
        let tried = deliver(&world).await;
        (reply.json["delivery"].as_str().unwrap().to_owned(), tried[0].clone())
    };
    let last = async |ana: &mut super::world::Browser<'_>, n: usize| {
        ana.get(&format!("/v1/me/webhooks/{}/deliveries", hooks[n])).await.json["items"][0].clone()
    };

    let (delivery, tried) = test(&mut ana, 0).await;
    // It asked for 7 s; ours would have been 5 to 6.
    assert_eq!(tried, Tried::Again(Duration::from_secs(7)));
    let first = receiver.line();
    assert_eq!(again(&world.app.db, &world, &delivery).await, Tried::Ended);
    assert_eq!(receiver.line()["id"], first["id"], "the same webhook-id");
    assert_eq!(
        (&last(&mut ana, 0).await["state"], &last(&mut ana, 0).await["attempts"]),
        (&json!("delivered"), &json!(2))
    );

    let (_, tried) = test(&mut ana, 1).await;
    assert!(matches!(tried, Tried::Again(_)));
    assert_eq!(receiver.line()["url"], "/redirect");
    assert_eq!(last(&mut ana, 1).await["last_status"], 302);
    assert!(receiver.silent(), "a redirect was followed");

    // Ten tries, longer and longer apart; then it is given up, and after five days of that the webhook is off.
    world.run("UPDATE webhooks SET created_at = created_at - 432000001").await;
    let (delivery, mut tried) = test(&mut ana, 2).await;
    let mut total = Duration::ZERO;
    let mut tries = 1;
    while let Tried::Again(after) = tried {
        total += after;
        tries += 1;
        assert_eq!(receiver.line()["url"], "/broken");
        tried = again(&world.app.db, &world, &delivery).await;
    }
    receiver.line();
    assert_eq!(tries, 10);
    assert!((3.0..4.0).contains(&(total.as_secs_f64() / 86_400.0)), "{total:?}");
    assert_eq!(
        (&last(&mut ana, 2).await["state"], &last(&mut ana, 2).await["last_status"]),
        (&json!("given_up"), &json!(500))
    );
    assert!(
        matches!(&world.letters().await[..], [(_, Letter::WebhookStopped { url, .. })] if url.ends_with("/broken"))
    );

    let (_, tried) = test(&mut ana, 3).await;
    assert_eq!(tried, Tried::Ended);
    receiver.line();
    assert!(matches!(&world.letters().await[..], [(_, Letter::WebhookStopped { why, .. })] if why.contains("410")));
    let listed = ana.get("/v1/me/webhooks").await;
    let off: Vec<bool> =
        listed.json["items"].as_array().unwrap().iter().map(|hook| hook.get("disabled_at").is_some()).collect();
    assert_eq!(off, [false, true, true, false, false], "latest first: closed, gone, broken, redirect, flaky");
    let (master, _) = world.master(&world.user_id("ana@example.com").await, None).await;
    ended(&world, &master).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM jobs WHERE kind = 'webhook'").await, 3, "none for those that are off");
    world.run("DELETE FROM jobs WHERE kind = 'webhook'").await;

    assert!(matches!(test(&mut ana, 4).await.1, Tried::Again(_)));
    assert_eq!(last(&mut ana, 4).await["last_error"], "No connection, or no valid certificate.");
}

/// One public address and then an inner one, for a name that looks harmless.
struct Inner(AtomicUsize);

impl Resolve for Inner {
    fn resolve(&self, _: String) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(vec![[93, 184, 215, 14].into(), [127, 0, 0, 1].into()]) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inner_addresses_are_never_called() {
    let receiver = Peer::start("receiver.mjs", &[]);
    let world = world(|_| {}).await;
    let mut ana = world.signed_in("ana@example.com").await;
    let here = format!("http://127.0.0.1:{}/", receiver.port);
    for url in [
        "https://169.254.169.254/latest/meta-data/",
        "https://localhost/",
        "https://[::ffff:127.0.0.1]/",
        "https://2130706433/",
        "http://example.com/",
        "https://example.com:8443/",
        "https://user:pass@example.com/",
        "gopher://example.com/",
        &here,
        "nonsense",
    ] {
        let reply = ana.post("/v1/me/webhooks", &json!({ "url": url })).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::UNPROCESSABLE_ENTITY, "webhook.url"), "{url}");
    }
    // A name is judged when it is called.
    let reply = ana.post("/v1/me/webhooks", &json!({ "url": "https://rebind.example/" })).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    let id = reply.json["id"].as_str().unwrap();
    for asked in 1..=2 {
        let delivery = ana.post(&format!("/v1/me/webhooks/{id}/test"), &Value::Null).await.json["delivery"]
            .as_str()
            .unwrap()
            .to_owned();
        let resolver = Arc::new(Inner(AtomicUsize::new(0)));
        let guard = Guard::with_resolver(resolver.clone(), Vec::new());
        for _ in 0..asked {
            // Given up at once: the second time nobody even looks.
            assert_eq!(
                webhooks::deliver(&world.app.db, &world.app.config, &guard, &delivery).await.unwrap(),
                Tried::Ended
            );
        }
        assert_eq!(resolver.0.load(Ordering::SeqCst), 1);
        let log = ana.get(&format!("/v1/me/webhooks/{id}/deliveries")).await;
        assert_eq!(log.json["items"][0]["state"], "given_up");
        assert!(log.json["items"][0]["last_error"].as_str().unwrap().contains("not on the public internet"), "{log:?}");
    }
    assert!(receiver.silent());
    for body in [
        json!({ "url": "https://example.com/", "events": ["all"] }),
        json!({ "url": "https://example.com/", "event": "x" }),
    ] {
        assert_eq!(ana.post("/v1/me/webhooks", &body).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    for _ in 1..webhooks::MOST {
        ana.post("/v1/me/webhooks", &json!({ "url": "https://example.com/" })).await;
    }
    assert_eq!(ana.post("/v1/me/webhooks", &json!({ "url": "https://example.com/" })).await.code(), "webhook.too_many");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_batch_is_announced_once() {
    for world in worlds(|_| {}).await {
        world.signed_in("ana@example.com").await;
        let user = world.user_id("ana@example.com").await;
        let mut masters = Vec::new();
        for _ in 0..3 {
            masters.push(world.master(&user, None).await.0);
        }
        world
            .run(&format!(
                "INSERT INTO batches (id, owner, name, album, announced, created_at) VALUES ('bat_1', '{user}', 'Night Drive', 1, 3, 1)"
            ))
            .await;
        world.run("UPDATE masters SET batch_id = 'bat_1'").await;
        world.run(&format!("UPDATE masters SET state = 'running' WHERE id = '{}'", masters[1])).await;
        world.letters().await;
        ended(&world, &masters[0]).await;
        assert!(world.letters().await.is_empty(), "one is not through");
        world
            .run(&format!(
                "UPDATE masters SET state = 'failed', error_code = 'decode.not_audio' WHERE id = '{}'",
                masters[1]
            ))
            .await;
        for master in &masters {
            ended(&world, master).await;
        }
        let letters = world.letters().await;
        assert!(
            matches!(&letters[..], [(to, Letter::MastersReady { name, done: 2, failed: 1, .. })] if to == "ana@example.com" && name == "Night Drive"),
            "{}: {letters:?}",
            world.name
        );
        // Who does not want it does not get it, nor does who is still looking.
        for (change, name) in
            [("UPDATE users SET mail_when_ready = 0", "off"), ("UPDATE users SET mail_when_ready = 1", "short")]
        {
            world.run("UPDATE batches SET mailed_at = NULL").await;
            world.run(change).await;
            if name == "short" {
                let now = world.app.db.now().await.unwrap();
                world.run(&format!("UPDATE batches SET created_at = {now}")).await;
            }
            ended(&world, &masters[0]).await;
            assert!(world.letters().await.is_empty(), "{name}");
        }
        // Of four, the one that still waits is deleted for good: nothing more is to come.
        let (waiting, _) = world.master(&user, None).await;
        world.run(&format!("UPDATE masters SET batch_id = 'bat_1', state = 'waiting' WHERE id = '{waiting}'")).await;
        world.run("UPDATE batches SET mailed_at = NULL, announced = 4, created_at = 1").await;
        ended(&world, &masters[0]).await;
        assert!(world.letters().await.is_empty(), "one waits");
        world.run(&format!("UPDATE masters SET deleted_at = 1 WHERE id = '{waiting}'")).await;
        retention::sweep(&world.app).await.unwrap();
        let letters = world.letters().await;
        assert!(
            matches!(&letters[..], [(_, Letter::MastersReady { done: 2, failed: 1, .. })]),
            "{}: {letters:?}",
            world.name
        );
    }
}
