//! Sign-in by OpenID Connect with a certified provider in another process.

use super::peers::Peer;
use super::world::{Browser, World, worlds};
use axum::http::StatusCode;
use loopmaster::config::Secret;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use url::Url;

const REDIRECT: &str = "http://127.0.0.1:3000/auth/google/callback";

fn provider() -> Peer {
    Peer::start("oidc.mjs", &[REDIRECT])
}

async fn with(provider: &Peer) -> Vec<World> {
    let port = provider.port;
    worlds(|config| {
        config.oidc.google.issuer = format!("http://127.0.0.1:{port}");
        config.oidc.google.client_id = "loopmaster".to_owned();
        config.oidc.google.client_secret = Secret::new("a secret of the tests");
        config.oidc.google.picture_hosts = vec![format!("127.0.0.1:{port}")];
    })
    .await
}

/// Goes to the provider as a browser does, as `name`, and comes back with what it gives: state and code.
async fn visit(url: &str, name: &str) -> Value {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut url = Url::parse(url).unwrap();
    url.query_pairs_mut().append_pair("login_hint", name);
    let mut cookies: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..10 {
        let jar: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = http.get(url.clone()).header("cookie", jar.join("; ")).send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let Some(location) = answer.headers().get("location") else { panic!("{}", answer.text().await.unwrap()) };
        url = url.join(location.to_str().unwrap()).unwrap();
        if url.as_str().starts_with(REDIRECT) {
            let given: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
            return json!({ "state": given["state"], "code": given["code"] });
        }
    }
    panic!("the provider leads nowhere: {url}");
}

async fn begin(browser: &mut Browser<'_>) -> String {
    let reply = browser.post("/v1/auth/google", &json!({ "of_age": true, "next": "/m/mst_1?download=wav" })).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    reply.json["url"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn google_signs_in_makes_the_account_and_knows_it_again() {
    let provider = provider();
    for world in with(&provider).await {
        let mut browser = world.browser();
        world.master(browser.guest.as_deref().unwrap(), None).await;
        let url = begin(&mut browser).await;
        for part in
            ["response_type=code", "code_challenge_method=S256", "nonce=", "state=", "scope=openid+email+profile"]
        {
            assert!(url.contains(part), "{part}: {url}");
        }
        let given = visit(&url, "ana").await;
        let reply = browser.post("/v1/auth/google/callback", &given).await;
        assert_eq!(reply.status, StatusCode::OK, "{}: {reply:?}", world.name);
        assert_eq!(reply.json["next"], "/m/mst_1?download=wav");
        for next in ["//elsewhere.example", "https://elsewhere.example", "/\\elsewhere.example", "/a b"] {
            let refused = browser.post("/v1/auth/google", &json!({ "of_age": true, "next": next })).await;
            assert_eq!(refused.code(), "auth.next", "{next}");
        }
        assert_eq!(
            (&reply.json["user"]["email"], &reply.json["user"]["name"]),
            (&json!("ana@example.com"), &json!("ana of the tests"))
        );
        assert_eq!(reply.json["guest_masters"], 1);
        let picture =
            reqwest::get(reply.json["user"]["picture"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
        assert_eq!(image::load_from_memory(&picture).unwrap().width(), 256, "made anew");
        assert!(browser.session.is_some());

        // Once.
        let again = browser.post("/v1/auth/google/callback", &given).await;
        assert_eq!((again.status, again.code()), (StatusCode::BAD_REQUEST, "auth.login_unknown"));

        // The pair of issuer and subject is who it is, whatever the address is by now.
        let user = world.user_id("ana@example.com").await;
        world.run("UPDATE users SET email = 'moved@example.com'").await;
        let mut elsewhere = world.browser();
        let given = visit(&begin(&mut elsewhere).await, "ana").await;
        let reply = elsewhere.post("/v1/auth/google/callback", &given).await;
        assert_eq!(
            (&reply.json["user"]["id"], &reply.json["user"]["email"]),
            (&json!(user), &json!("moved@example.com"))
        );
        assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);

        // A banned one is kept out at the door.
        world.run("UPDATE users SET banned_at = 1").await;
        let mut banned = world.browser();
        let given = visit(&begin(&mut banned).await, "ana").await;
        assert_eq!(banned.post("/v1/auth/google/callback", &given).await.code(), "auth.banned");
        assert_eq!(banned.session, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_address_finds_its_account_and_an_unverified_one_does_not() {
    let provider = provider();
    for world in with(&provider).await {
        world.signed_in("ben@example.com").await;
        let user = world.user_id("ben@example.com").await;
        let mut browser = world.browser();
        let given = visit(&begin(&mut browser).await, "ben-2").await;
        let reply = browser.post("/v1/auth/google/callback", &given).await;
        assert_eq!(
            (&reply.json["user"]["id"], &reply.json["user"]["name"]),
            (&json!(user), &json!("ben")),
            "{}: {reply:?}",
            world.name
        );

        world.signed_in("unverified@example.com").await;
        let mut browser = world.browser();
        let given = visit(&begin(&mut browser).await, "unverified-1").await;
        let reply = browser.post("/v1/auth/google/callback", &given).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::FORBIDDEN, "auth.email_unverified"), "{reply:?}");
        assert_eq!(world.count("SELECT COUNT(*) FROM identities").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_google_does_not_run_is_confirmed_by_mail_first() {
    let provider = provider();
    for world in with(&provider).await {
        // Somebody has an account; somebody else has a Google account that was once verified for the same address.
        for name in ["private", "foreign"] {
            let email = format!("{name}@example.com");
            let mut owner = world.signed_in(&email).await;
            let user = world.user_id(&email).await;
            let mut stranger = world.browser();
            let given = visit(&begin(&mut stranger).await, &format!("{name}-1")).await;
            let reply = stranger.post("/v1/auth/google/callback", &given).await;
            assert_eq!(reply.status, StatusCode::ACCEPTED, "{}: {reply:?}", world.name);
            assert!(stranger.session.is_none() && reply.json.get("user").is_none(), "{reply:?}");
            assert_eq!((&reply.json["email"], &reply.json["next"]), (&json!(email), &json!("/m/mst_1?download=wav")));
            assert_eq!(world.count("SELECT COUNT(*) FROM identities").await, 0, "{}: {name}", world.name);
            // The mail goes to the owner. Opened in their browser it signs them in, and links nobody.
            let (_, link) = world.sign_in_letter(&email).await;
            let pressed = owner.post(&format!("/v1/auth/link/{link}"), &Value::Null).await;
            assert_eq!(pressed.json["user"]["id"], json!(user), "{pressed:?}");
            assert_eq!(world.count("SELECT COUNT(*) FROM identities").await, 0, "{}: {name}", world.name);
            let waiting = stranger.get(&format!("/v1/auth/email/{}", reply.json["login"].as_str().unwrap())).await;
            assert_eq!((&waiting.json["state"], &stranger.session), (&json!("expired"), &None));
        }

        // Their own, with the code, in the browser that went to Google: from then on Google alone will do.
        let email = "private@example.com";
        let user = world.user_id(email).await;
        let mut owner = world.browser();
        let given = visit(&begin(&mut owner).await, "private-2").await;
        let reply = owner.post("/v1/auth/google/callback", &given).await;
        let (code, _) = world.sign_in_letter(email).await;
        let done = owner.post("/v1/auth/email/code", &json!({ "login": reply.json["login"], "code": code })).await;
        assert_eq!(done.json["user"]["id"], json!(user), "{}: {done:?}", world.name);
        let mut again = world.browser();
        let given = visit(&begin(&mut again).await, "private-2").await;
        let reply = again.post("/v1/auth/google/callback", &given).await;
        assert_eq!((reply.status, &reply.json["user"]["id"]), (StatusCode::OK, &json!(user)), "{reply:?}");

        // No account is made under an address that nobody has shown to read.
        let users = world.count("SELECT COUNT(*) FROM users").await;
        let mut new = world.browser();
        let given = visit(&begin(&mut new).await, "privatenew").await;
        let reply = new.post("/v1/auth/google/callback", &given).await;
        assert_eq!((reply.status, world.count("SELECT COUNT(*) FROM users").await), (StatusCode::ACCEPTED, users));
        let (code, _) = world.sign_in_letter("privatenew@example.com").await;
        let done = new.post("/v1/auth/email/code", &json!({ "login": reply.json["login"], "code": code })).await;
        assert_eq!(done.json["user"]["name"], "privatenew of the tests", "{done:?}");

        // A mailbox of Google's own needs none of this.
        let mut gmail = world.browser();
        let given = visit(&begin(&mut gmail).await, "gmail").await;
        let reply = gmail.post("/v1/auth/google/callback", &given).await;
        assert_eq!(
            (reply.status, &reply.json["user"]["email"]),
            (StatusCode::OK, &json!("gmail@gmail.com")),
            "{reply:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_that_was_not_begun_here_leads_nowhere() {
    let provider = provider();
    for world in with(&provider).await {
        let mut browser = world.browser();
        assert_eq!(browser.post("/v1/auth/google", &json!({ "of_age": false })).await.code(), "auth.age_required");
        // Somebody else's way back, sent as a link.
        let mut attacker = world.browser();
        let given = visit(&begin(&mut attacker).await, "mallory").await;
        let mut victim = world.browser();
        assert_eq!(victim.post("/v1/auth/google/callback", &given).await.code(), "auth.other_browser");
        begin(&mut victim).await;
        assert_eq!(victim.post("/v1/auth/google/callback", &given).await.code(), "auth.other_browser");
        assert_eq!(victim.session, None);

        // A code that is not of this sign-in: PKCE.
        let url = begin(&mut browser).await;
        let mine = visit(&url, "ana").await;
        let others = visit(&begin(&mut attacker).await, "mallory").await;
        let mixed = json!({ "state": mine["state"], "code": others["code"] });
        let reply = browser.post("/v1/auth/google/callback", &mixed).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::BAD_REQUEST, "auth.code_refused"), "{reply:?}");

        // An identity token of another sign-in: nonce.
        let given = visit(&begin(&mut browser).await, "ana").await;
        world.run("UPDATE oidc_logins SET nonce = 'another' WHERE consumed_at IS NULL").await;
        let reply = browser.post("/v1/auth/google/callback", &given).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::BAD_GATEWAY, "auth.provider_away"), "{reply:?}");

        // Too late.
        let given = visit(&begin(&mut browser).await, "ana").await;
        world.run("UPDATE oidc_logins SET expires_at = 1 WHERE consumed_at IS NULL").await;
        assert_eq!(browser.post("/v1/auth/google/callback", &given).await.code(), "auth.login_expired");
        assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_provider() {
    let world = super::world::world(|_| {}).await;
    let reply = world.browser().post("/v1/auth/google", &json!({ "of_age": true })).await;
    assert_eq!((reply.status, reply.code()), (StatusCode::NOT_FOUND, "auth.provider_unknown"));
    let away = super::world::world(|config| {
        config.oidc.google.issuer = "http://127.0.0.1:1".to_owned();
        config.oidc.google.client_id = "loopmaster".to_owned();
        config.oidc.google.client_secret = Secret::new("a secret of the tests");
    })
    .await;
    let reply = away.browser().post("/v1/auth/google", &json!({ "of_age": true })).await;
    assert_eq!((reply.status, reply.code()), (StatusCode::BAD_GATEWAY, "auth.provider_away"));
}
