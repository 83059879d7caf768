//! By mail: link and code, the browser they are bound to, and whoever tries to get around that.

use super::world::{token_of, with_token, world, worlds};
use axum::http::StatusCode;
use loopmaster::outside::mail::Letter;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_code_signs_in_and_the_guest_s_masters_come_along() {
    for world in worlds(|_| {}).await {
        let mut browser = world.browser();
        let guest = browser.guest.clone().unwrap();
        let now = world.app.db.now().await.unwrap();
        for _ in 0..2 {
            world.master(&guest, Some(now + 1_000_000)).await;
        }
        let login = browser.ask("Ana@Example.com").await;
        assert!(browser.login.as_deref().unwrap().starts_with("lml_"));
        let waiting = browser.get(&format!("/v1/auth/email/{login}")).await;
        assert_eq!(waiting.json["state"], "waiting", "{}: {waiting:?}", world.name);
        let (code, _) = world.sign_in_letter("ana@example.com").await;
        // As people type it.
        let typed = format!("{} {}", &code[..3], &code[3..]);
        let reply = browser.post("/v1/auth/email/code", &json!({ "login": login, "code": typed })).await;
        assert_eq!(reply.status, StatusCode::OK, "{}: {reply:?}", world.name);
        assert_eq!(reply.json["user"]["email"], "ana@example.com");
        assert_eq!(reply.json["guest_masters"], 2);
        assert!(browser.session.as_deref().unwrap().starts_with("lms_"));

        let me = browser.get("/v1/me").await;
        assert_eq!((&me.json["user"]["name"], &me.json["user"]["policy_current"]), (&json!("ana"), &json!(true)));
        assert_eq!(me.json["guest"]["masters"], 2);
        assert_eq!(browser.get("/v1/auth/merge").await.json["masters"], 2);
        let merged = browser.post("/v1/auth/merge", &Value::Null).await;
        assert_eq!(merged.json["moved"], 2, "{merged:?}");
        assert_eq!(browser.guest, None, "the browser gets a new guest id");
        let user = world.user_id("ana@example.com").await;
        let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM masters WHERE owner = $1 AND expires_at IS NULL")
            .bind(&user)
            .fetch_one(world.app.db.read())
            .await
            .unwrap();
        assert_eq!(kept, 2, "{}", world.name);
        assert_eq!(world.count("SELECT COUNT(*) FROM uploads WHERE expires_at IS NOT NULL").await, 0);
        // Once only.
        browser.guest = Some(guest);
        assert_eq!(browser.get("/v1/auth/merge").await.json["masters"], 0);
        assert_eq!(browser.post("/v1/auth/merge", &Value::Null).await.json["moved"], 0);

        // The code is used up.
        let again = browser.post("/v1/auth/email/code", &json!({ "login": login, "code": code })).await;
        assert_eq!((again.status, again.code()), (StatusCode::GONE, "auth.login_used"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_the_same_browser_carries_the_waiting_tab_along() {
    for world in worlds(|_| {}).await {
        let mut tab = world.browser();
        world.master(tab.guest.as_deref().unwrap(), None).await;
        let login = tab.ask("ana@example.com").await;
        let (_, link) = world.sign_in_letter("ana@example.com").await;
        let mut page = tab.clone();
        for _ in 0..3 {
            // A scanner of mails looks and presses nothing.
            let shown = world.browser().get(&format!("/v1/auth/link/{link}")).await;
            assert_eq!(
                (&shown.json["state"], &shown.json["same_browser"]),
                (&json!("waiting"), &json!(false)),
                "{shown:?}"
            );
        }
        let shown = page.get(&format!("/v1/auth/link/{link}")).await;
        assert_eq!(
            shown.json,
            json!({ "email": "ana@example.com", "same_browser": true, "state": "waiting", "purpose": "sign_in" })
        );
        let pressed = page.post(&format!("/v1/auth/link/{link}"), &Value::Null).await;
        assert_eq!((pressed.status, &pressed.json["guest_masters"]), (StatusCode::OK, &json!(1)), "{pressed:?}");

        // One cookie jar: the tab has the session as soon as the page has it.
        let mut together = tab.clone();
        together.session.clone_from(&page.session);
        assert_eq!(together.get(&format!("/v1/auth/email/{login}")).await.json["state"], "signed_in");
        // The answer to the page was lost: the tab gets a session of its own, once, after a moment.
        assert_eq!(tab.get(&format!("/v1/auth/email/{login}")).await.json["state"], "waiting");
        world.run("UPDATE logins SET consumed_at = consumed_at - 6000").await;
        assert_eq!(tab.clone().get(&format!("/v1/auth/email/{login}")).await.json["state"], "signed_in");
        assert_eq!(tab.get(&format!("/v1/auth/email/{login}")).await.json["state"], "expired");

        let used = page.post(&format!("/v1/auth/link/{link}"), &Value::Null).await;
        assert_eq!(used.code(), "auth.login_used");
        assert_eq!(page.get(&format!("/v1/auth/link/{link}")).await.json["state"], "used");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opened_by_somebody_else_signs_in_there_and_takes_nothing() {
    for world in worlds(|_| {}).await {
        let mut attacker = world.browser();
        let login = attacker.ask("victim@example.com").await;
        let (code, link) = world.sign_in_letter("victim@example.com").await;
        let mut victim = world.browser();
        let guest = victim.guest.clone();
        world.master(guest.as_deref().unwrap(), None).await;
        let pressed = victim.post(&format!("/v1/auth/link/{link}"), &Value::Null).await;
        assert_eq!(
            (pressed.status, &pressed.json["guest_masters"]),
            (StatusCode::OK, &json!(0)),
            "{}: {pressed:?}",
            world.name
        );
        // Nothing of the other's browser moves, and its guest id is not thrown away.
        assert_eq!(victim.get("/v1/auth/merge").await.json["masters"], 0);
        assert_eq!(victim.post("/v1/auth/merge", &Value::Null).await.json["moved"], 0);
        assert_eq!(victim.guest, guest);
        // The tab that began it stays outside, also much later.
        world.run("UPDATE logins SET consumed_at = consumed_at - 60000").await;
        let waiting = attacker.get(&format!("/v1/auth/email/{login}")).await;
        assert_eq!(waiting.json, json!({ "state": "expired", "elsewhere": true }));
        assert_eq!(attacker.session, None);
        let late = attacker.post("/v1/auth/email/code", &json!({ "login": login, "code": code })).await;
        assert_eq!(late.code(), "auth.login_used");

        // A login of one browser is none of another's business, code or not.
        let login = attacker.ask("victim@example.com").await;
        let (code, _) = world.sign_in_letter("victim@example.com").await;
        let mut stranger = world.browser();
        let reply = stranger.post("/v1/auth/email/code", &json!({ "login": login, "code": code })).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::NOT_FOUND, "auth.login_unknown"));
        assert_eq!(stranger.get(&format!("/v1/auth/email/{login}")).await.code(), "auth.login_unknown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_codes_void_the_right_one() {
    for world in worlds(|_| {}).await {
        let mut browser = world.browser();
        let login = browser.ask("ana@example.com").await;
        let (code, link) = world.sign_in_letter("ana@example.com").await;
        let wrong = if code == "000000" { "000001" } else { "000000" };
        for left in (0..5).rev() {
            let reply = browser.post("/v1/auth/email/code", &json!({ "login": login, "code": wrong })).await;
            if left > 0 {
                assert_eq!(
                    (reply.code(), &reply.json["tries_left"]),
                    ("auth.code_wrong", &json!(left)),
                    "{}: {reply:?}",
                    world.name
                );
            } else {
                assert_eq!(reply.code(), "auth.code_spent");
            }
        }
        let reply = browser.post("/v1/auth/email/code", &json!({ "login": login, "code": code })).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::GONE, "auth.code_spent"));
        // The link is not guessed and still works; after its time nothing does.
        assert_eq!(browser.clone().post(&format!("/v1/auth/link/{link}"), &Value::Null).await.status, StatusCode::OK);
        let login = browser.ask("ana@example.com").await;
        let (code, link) = world.sign_in_letter("ana@example.com").await;
        world.run("UPDATE logins SET expires_at = expires_at - 900001").await;
        assert_eq!(
            browser.post("/v1/auth/email/code", &json!({ "login": login, "code": code })).await.code(),
            "auth.login_expired"
        );
        assert_eq!(browser.post(&format!("/v1/auth/link/{link}"), &Value::Null).await.code(), "auth.login_expired");
        assert_eq!(browser.get(&format!("/v1/auth/email/{login}")).await.json["state"], "expired");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_who_has_an_account() {
    for world in worlds(|_| {}).await {
        world.signed_in("known@example.com").await;
        world.run("UPDATE users SET banned_at = 1").await;
        let mut replies = Vec::new();
        for email in ["known@example.com", "unknown@example.com"] {
            let reply = world.browser().post("/v1/auth/email", &json!({ "email": email, "of_age": true })).await;
            let shape: Vec<String> = reply.json.as_object().unwrap().keys().cloned().collect();
            let mut headers: Vec<String> = reply.headers.keys().map(ToString::to_string).collect();
            headers.sort();
            replies.push((reply.status, shape, headers));
        }
        assert_eq!(replies[0], replies[1], "{}", world.name);
        // Both have a letter in the queue; whether it is sent is decided there.
        assert_eq!(world.letters().await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_are_limited_by_address_and_by_network() {
    let world = world(|_| {}).await;
    let mut browser = world.browser();
    let begin = |email: String| json!({ "email": email, "of_age": true });
    for _ in 0..5 {
        browser.ask("ana@example.com").await;
    }
    let reply = browser.post("/v1/auth/email", &begin("ana@example.com".to_owned())).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{reply:?}");
    assert!(reply.headers.contains_key("retry-after"));
    // From another network it is the same address.
    assert_eq!(
        world.browser().post("/v1/auth/email", &begin("ana@example.com".to_owned())).await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    for n in 0..25 {
        browser.ask(&format!("ana{n}@example.com")).await;
    }
    assert_eq!(
        browser.post("/v1/auth/email", &begin("ben@example.com".to_owned())).await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    world.browser().ask("ben@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sign_in() {
    let world = world(|_| {}).await;
    let mut browser = world.browser();
    let reply = browser.post("/v1/auth/email", &json!({ "email": "ana@example.com", "of_age": false })).await;
    assert_eq!((reply.status, reply.code()), (StatusCode::UNPROCESSABLE_ENTITY, "auth.age_required"));
    for email in ["", "ana", "ana@localhost", "a@b.c\r\nBcc: d@e.f", "Ana <ana@example.com>"] {
        let reply = browser.post("/v1/auth/email", &json!({ "email": email, "of_age": true })).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::UNPROCESSABLE_ENTITY, "request.email"), "{email}");
    }
    for link in ["x", "lmk_0", &format!("lmk_{}", "0".repeat(64)), "%00"] {
        for method in ["GET", "POST"] {
            let reply = browser.send(method, &format!("/v1/auth/link/{link}"), Vec::new()).await;
            assert_eq!((reply.status, reply.code()), (StatusCode::NOT_FOUND, "auth.link_unknown"), "{link}");
        }
    }
    // Programs do not sign in.
    let reply = with_token(
        &world,
        "lmt_nonsense",
        "POST",
        "/v1/auth/email",
        json!({ "email": "ana@example.com", "of_age": true }),
    )
    .await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(world.letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_sessions_are_no_sessions_and_never_an_error() {
    for world in worlds(|_| {}).await {
        let good = world.signed_in("ana@example.com").await;
        let token = good.session.clone().unwrap();
        for forged in [
            "lms_",
            "x",
            &token[..20],
            &token.replace("lms_", "lmt_"),
            &token.to_uppercase(),
            &format!("lms_{}", "0".repeat(64)),
        ] {
            let mut browser = good.clone();
            browser.session = Some(forged.to_owned());
            let reply = browser.get("/v1/me").await;
            assert_eq!(reply.status, StatusCode::OK, "{forged}: {reply:?}");
            assert!(reply.json.get("user").is_none() && reply.json.get("guest").is_some());
            assert_eq!(browser.session, None, "the cookie is cleared");
            assert_eq!(browser.guest, good.guest, "a valid guest cookie is never replaced");
        }
        for end in [
            "UPDATE sessions SET seen_at = seen_at - 31536000000",
            "UPDATE sessions SET seen_at = seen_at + 31536000000, expires_at = expires_at - 15552000001",
            "UPDATE sessions SET expires_at = expires_at + 15552000001, revoked_at = 1",
            "UPDATE users SET banned_at = 1",
        ] {
            world.run(end).await;
            assert!(good.clone().get("/v1/me").await.json.get("user").is_none(), "{end}");
        }
        // A deleted user.
        world.run("UPDATE users SET banned_at = NULL").await;
        world.run("UPDATE sessions SET revoked_at = NULL").await;
        assert!(good.clone().get("/v1/me").await.json.get("user").is_some());
        world.run("DELETE FROM sessions").await;
        world.run("DELETE FROM users").await;
        let reply = good.clone().get("/v1/me").await;
        assert_eq!(reply.status, StatusCode::OK);
        assert!(reply.json.get("user").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_end_at_once() {
    for world in worlds(|_| {}).await {
        let mut first = world.signed_in("ana@example.com").await;
        let mut second = world.signed_in("ana@example.com").await;
        let mut third = world.signed_in("ana@example.com").await;
        let listed = first.get("/v1/me/sessions").await;
        let items = listed.json["items"].as_array().unwrap().clone();
        assert_eq!(items.len(), 3, "{}: {listed:?}", world.name);
        assert_eq!(items.iter().filter(|item| item["current"] == true).count(), 1);
        assert!(items.iter().all(|item| item["user_agent"] == "Test Browser 1.0"));
        let listed = second.get("/v1/me/sessions").await;
        let own =
            listed.json["items"].as_array().unwrap().iter().find(|item| item["current"] == true).unwrap()["id"].clone();
        let path = format!("/v1/me/sessions/{}", own.as_str().unwrap());
        let mut stranger = world.signed_in("ben@example.com").await;
        assert_eq!(stranger.delete(&path).await.status, StatusCode::NOT_FOUND);
        assert_eq!(first.delete(&path).await.status, StatusCode::NO_CONTENT);
        assert_eq!(first.delete(&path).await.status, StatusCode::NOT_FOUND);
        assert_eq!(second.get("/v1/me/sessions").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(first.post("/v1/me/sessions/revoke-others", &Value::Null).await.json["revoked"], 1);
        assert_eq!(third.get("/v1/me/sessions").await.status, StatusCode::UNAUTHORIZED);
        let mut copy = first.clone();
        assert_eq!(first.post("/v1/auth/sign-out", &Value::Null).await.status, StatusCode::NO_CONTENT);
        assert_eq!(first.session, None);
        assert_eq!(copy.get("/v1/me/sessions").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(stranger.get("/v1/me/sessions").await.status, StatusCode::OK);
        // A new sign-in ends the session the browser came with.
        let before = stranger.session.clone();
        let login = stranger.ask("ben@example.com").await;
        let (code, _) = world.sign_in_letter("ben@example.com").await;
        stranger.post("/v1/auth/email/code", &json!({ "login": login, "code": code })).await;
        assert_ne!(stranger.session, before);
        let mut old = stranger.clone();
        old.session = before;
        assert_eq!(old.get("/v1/me/sessions").await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_changes_when_both_mailboxes_say_yes() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        world.signed_in("taken@example.com").await;
        let ask = async |browser: &mut super::world::Browser<'_>, email: &str| {
            let reply = browser.post("/v1/me/email", &json!({ "email": email })).await;
            assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
            let links = world.letters().await.into_iter().filter_map(|(to, letter)| match letter {
                Letter::ConfirmOldAddress { link, new } => {
                    assert_eq!((to.as_str(), new.as_str()), ("ana@example.com", email));
                    Some(("old", token_of(&link)))
                }
                Letter::ConfirmNewAddress { link } => {
                    assert_eq!(to, email);
                    Some(("new", token_of(&link)))
                }
                _ => None,
            });
            let links: std::collections::HashMap<_, _> = links.collect();
            (links["old"].clone(), links["new"].clone())
        };
        let (stale_old, _) = ask(&mut ana, "first@example.com").await;
        let (old, new) = ask(&mut ana, "new@example.com").await;
        // Any browser will do: the mailbox is what is proven. It signs nobody in.
        let mut other = world.browser();
        assert_eq!(other.post(&format!("/v1/auth/link/{stale_old}"), &Value::Null).await.code(), "auth.login_expired");
        let reply = other.post(&format!("/v1/auth/link/{new}"), &Value::Null).await;
        assert_eq!((&reply.json["address_changed"], &other.session), (&json!(false), &None), "{reply:?}");
        assert_eq!(ana.get("/v1/me").await.json["user"]["email"], "ana@example.com");
        assert_eq!(other.post(&format!("/v1/auth/link/{old}"), &Value::Null).await.json["address_changed"], true);
        assert_eq!(ana.get("/v1/me").await.json["user"]["email"], "new@example.com");
        assert!(matches!(&world.letters().await[..], [(to, Letter::AddressChanged { .. })] if to == "ana@example.com"));

        // An address with an account is told only to whoever reads it.
        let reply = ana.post("/v1/me/email", &json!({ "email": "taken@example.com" })).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        let links: Vec<String> = world
            .letters()
            .await
            .into_iter()
            .filter_map(|(_, letter)| match letter {
                Letter::ConfirmOldAddress { link, .. } | Letter::ConfirmNewAddress { link } => Some(token_of(&link)),
                _ => None,
            })
            .collect();
        other.post(&format!("/v1/auth/link/{}", links[0]), &Value::Null).await;
        let reply = other.post(&format!("/v1/auth/link/{}", links[1]), &Value::Null).await;
        assert_eq!(
            (reply.status, reply.code()),
            (StatusCode::CONFLICT, "account.email_taken"),
            "{}: {reply:?}",
            world.name
        );
        assert_eq!(ana.post("/v1/me/email", &json!({ "email": "new@example.com" })).await.code(), "account.email_same");
    }
}
