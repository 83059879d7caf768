//! Whose a message is: what a browser proves, what a mailbox proves, and that a typed address proves nothing.

use super::world::{Browser, World, token_of, world, worlds};
use axum::http::StatusCode;
use clap::Parser;
use loopmaster::admin;
use loopmaster::cli::admin::AdminArgs;
use loopmaster::outside::mail::Letter;
use serde_json::{Value, json};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    admin: AdminArgs,
}

/// `loopmaster admin …` on the service of a world: what it prints, or the code and text of its refusal.
async fn admin(world: &World, words: &[&str]) -> Result<String, (String, String)> {
    let line = Line::try_parse_from([&["admin"][..], words].concat()).unwrap();
    let done = admin::run(&line.admin, world.app.config.clone()).await;
    done.map_err(|problem| (problem.code().to_owned(), problem.detail().to_owned()))
}

async fn write(browser: &mut Browser<'_>, topic: &str, email: &str) -> String {
    let reply =
        browser.post("/v1/contact", &json!({ "topic": topic, "email": email, "message": "Delete it all." })).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
    reply.json["ticket"].as_str().unwrap().to_owned()
}

/// Where the last confirmation went, and the secret of its link.
async fn confirmation(world: &World) -> (String, String) {
    let letters = world.letters().await;
    let found = letters.into_iter().rev().find_map(|(to, letter)| match letter {
        Letter::ConfirmMessage { link, .. } => Some((to, token_of(&link))),
        _ => None,
    });
    found.expect("a confirmation")
}

async fn audited(world: &World, action: &str, target: &str) -> Vec<String> {
    let text = "SELECT actor || ' ' || detail FROM audit WHERE action = $1 AND target = $2 ORDER BY at, id";
    sqlx::query_scalar(text).bind(action).bind(target).fetch_all(world.app.db.read()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_signed_in_is_the_account_s_and_a_typed_address_is_nobody_s() {
    for world in worlds(|config| config.mail.operator = "people@loopmaster.example".to_owned()).await {
        let mut ana = world.signed_in("ana@example.com").await;
        let user = world.user_id("ana@example.com").await;
        // The answer may go elsewhere; the account is known all the same.
        let own = write(&mut ana, "privacy", "elsewhere@example.com").await;
        let letters = world.letters().await;
        let told = letters.iter().find_map(|(_, letter)| match letter {
            Letter::Ticket { user, account, guest, .. } => Some((user.clone(), account.clone(), guest.clone())),
            _ => None,
        });
        assert_eq!(told, Some((Some(user.clone()), Some("ana@example.com".to_owned()), None)), "{}", world.name);

        // Somebody else types Ana's address.
        let mut stranger = world.browser();
        let claimed = write(&mut stranger, "account", "ana@example.com").await;
        let guest = stranger.guest.clone().unwrap();
        let listed = admin(&world, &["tickets"]).await.unwrap();
        let of = |id: &str| listed.split("\n\n").find(|part| part.starts_with(id)).unwrap().to_owned();
        assert!(of(&own).contains(&format!("signed in as {user} (ana@example.com)")), "{listed}");
        assert!(
            of(&own).contains("reply to   elsewhere@example.com") && of(&own).contains("not confirmed"),
            "{listed}"
        );
        assert!(of(&claimed).contains(&format!("not signed in; guest {guest}")), "{listed}");
        assert!(of(&claimed).contains("has not shown to be its owner"), "{listed}");

        // Asked for a confirmation, the one goes to the account's address, the other to what was typed and the stranger's browser.
        world.letters().await;
        let said = admin(&world, &["tickets", "verify", &own]).await.unwrap();
        assert!(said.contains(&user) && said.contains("ana@example.com"), "{said}");
        let (to, secret) = confirmation(&world).await;
        assert_eq!(to, "ana@example.com", "{}: not to the address that was typed", world.name);
        admin(&world, &["tickets", "verify", &claimed]).await.unwrap();
        let (_, claims) = confirmation(&world).await;
        let shown = stranger.get(&format!("/v1/confirmations/{claims}")).await;
        assert_eq!((&shown.json["of"], shown.json.get("email")), (&json!("guest"), None));
        assert_eq!(stranger.post(&format!("/v1/confirmations/{claims}"), &Value::Null).await.status, StatusCode::OK);
        // That proves a browser, and no account: nothing of Ana's may go for it.
        let refused = admin(&world, &["tickets", "purge", &claimed, "--of", "ana@example.com", "--yes"]).await;
        assert_eq!(refused.unwrap_err().0, "ticket.not_confirmed");
        assert_eq!(world.user_id("ana@example.com").await, user);

        let path = format!("/v1/confirmations/{secret}");
        assert_eq!(ana.post(&path, &Value::Null).await.status, StatusCode::OK);
        let listed = admin(&world, &["tickets", "--topic", "privacy"]).await.unwrap();
        assert!(listed.starts_with("1 open") && listed.contains(&format!("for {user}, signed in")), "{listed}");
        assert_eq!(audited(&world, "ticket.confirmation_sent", &own).await, [format!("operator {user}")]);
        let confirmed = audited(&world, "ticket.confirmed", &own).await;
        assert!(confirmed.len() == 1 && confirmed[0].starts_with(&format!("{user} {user} signed in")), "{confirmed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_shows_and_only_the_button_confirms_once_and_in_time() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        let mut ben = world.signed_in("ben@example.com").await;
        let ticket = write(&mut ana, "account", "ana@example.com").await;
        admin(&world, &["tickets", "verify", &ticket]).await.unwrap();
        let (_, first) = confirmation(&world).await;
        let (first, mut scanner) = (format!("/v1/confirmations/{first}"), world.browser());
        for _ in 0..3 {
            let shown = scanner.get(&first).await;
            let state = (&shown.json["state"], &shown.json["here"], &shown.json["ticket"]);
            assert_eq!(state, (&json!("waiting"), &json!(true), &json!(ticket)), "{}: {shown:?}", world.name);
        }
        // Signed in as somebody else it is not confirmed by mistake.
        assert_eq!(ben.get(&first).await.json["here"], false);
        let refused = ben.post(&first, &Value::Null).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "ticket.other_account"));

        // A newer link replaces it.
        admin(&world, &["tickets", "verify", &ticket]).await.unwrap();
        let (_, second) = confirmation(&world).await;
        let second = format!("/v1/confirmations/{second}");
        assert_eq!(ana.post(&first, &Value::Null).await.code(), "ticket.link_unknown");
        // Too late; and back in time it works, twice does not.
        let until = world.count("SELECT verify_until FROM tickets").await;
        world.run("UPDATE tickets SET verify_until = 1").await;
        assert_eq!(ana.get(&second).await.json["state"], "expired");
        let late = ana.post(&second, &Value::Null).await;
        assert_eq!((late.status, late.code()), (StatusCode::GONE, "ticket.link_expired"));
        world.run(&format!("UPDATE tickets SET verify_until = {until}")).await;
        // The account has another address by now: the mailbox proves nothing of it any more.
        world.run("UPDATE users SET email = 'moved@example.com' WHERE email = 'ana@example.com'").await;
        assert_eq!(ana.post(&second, &Value::Null).await.code(), "ticket.link_expired");
        world.run("UPDATE users SET email = 'ana@example.com' WHERE email = 'moved@example.com'").await;
        // A phone that is not signed in opens the mail.
        assert_eq!(world.browser().post(&second, &Value::Null).await.status, StatusCode::OK, "{}", world.name);
        let again = ana.post(&second, &Value::Null).await;
        assert_eq!((again.status, again.code()), (StatusCode::GONE, "ticket.link_used"));
        assert_eq!(ana.get(&second).await.json["state"], "confirmed");
        let listed = admin(&world, &["tickets"]).await.unwrap();
        assert!(listed.contains("confirmed 20") && listed.contains("by the link in the mailbox"), "{listed}");

        // What is closed is not asked about, and guesses find nothing.
        admin(&world, &["close", &ticket]).await.unwrap();
        assert_eq!(admin(&world, &["tickets", "verify", &ticket]).await.unwrap_err().0, "ticket.closed");
        assert_eq!(admin(&world, &["tickets", "verify", "tkt_0"]).await.unwrap_err().0, "ticket.not_found");
        for guess in ["x", "lmv_", &format!("lmv_{}", "0".repeat(64)), "..%2F..%2Fme"] {
            let path = format!("/v1/confirmations/{guess}");
            assert_eq!(ana.get(&path).await.status, StatusCode::NOT_FOUND, "{guess}");
            assert_eq!(ana.post(&path, &Value::Null).await.status, StatusCode::NOT_FOUND, "{guess}");
        }
        // And they are counted, wrong ones too.
        let mut codes = Vec::new();
        for _ in 0..31 {
            codes.push(ben.post("/v1/confirmations/lmv_0", &Value::Null).await.status);
        }
        assert_eq!(codes.last(), Some(&StatusCode::TOO_MANY_REQUESTS), "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_confirms_only_in_the_browser_of_the_tracks() {
    for world in worlds(|_| {}).await {
        let mut maker = world.browser();
        let guest = maker.guest.clone().unwrap();
        world.master(&guest, None).await;
        let ticket = write(&mut maker, "privacy", "kim@example.com").await;
        admin(&world, &["tickets", "verify", &ticket]).await.unwrap();
        let (to, secret) = confirmation(&world).await;
        assert_eq!(to, "kim@example.com");
        let path = format!("/v1/confirmations/{secret}");
        // The mail alone is not enough: another browser, another account, no cookie at all.
        let mut signed_in = world.signed_in("kim@example.com").await;
        let mut bare = world.browser();
        bare.guest = None;
        for other in [&mut world.browser(), &mut signed_in, &mut bare] {
            assert_eq!(other.get(&path).await.json["here"], false);
            let refused = other.post(&path, &Value::Null).await;
            assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "ticket.other_browser"));
        }
        assert_eq!(maker.post(&path, &Value::Null).await.status, StatusCode::OK, "{}", world.name);
        let listed = admin(&world, &["tickets"]).await.unwrap();
        assert!(listed.contains(&format!("for {guest}, in the browser of the tracks")), "{listed}");

        // Now it may be acted on: everything of the guest goes, and the message is closed.
        let unsure = admin(&world, &["tickets", "purge", &ticket]).await.unwrap_err();
        assert!(unsure.0 == "admin.not_sure" && unsure.1.contains("1 masters and 1 uploads"), "{unsure:?}");
        assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 1);
        admin(&world, &["tickets", "purge", &ticket, "--yes"]).await.unwrap();
        for text in ["SELECT COUNT(*) FROM masters", "SELECT COUNT(*) FROM uploads", "SELECT COUNT(*) FROM guests"] {
            assert_eq!(world.count(text).await, 0, "{}: {text}", world.name);
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM tickets WHERE closed_at IS NOT NULL").await, 1);
        assert_eq!(
            world.count("SELECT COUNT(*) FROM tickets WHERE guest_id IS NOT NULL OR verify_of IS NOT NULL").await,
            0
        );
        assert_eq!(audited(&world, "purged", &guest).await, [format!("operator {ticket} privacy")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_browser_or_an_account_somebody_has_to_be_named() {
    let world = world(|_| {}).await;
    world.signed_in("ana@example.com").await;
    let user = world.user_id("ana@example.com").await;
    let mut bare = world.browser();
    bare.guest = None;
    let ticket = write(&mut bare, "account", "ana@example.com").await;
    let refused = admin(&world, &["tickets", "verify", &ticket]).await.unwrap_err();
    assert!(refused.0 == "ticket.no_sender" && refused.1.contains("--of"), "{refused:?}");
    // The account is asked itself: its mailbox is as good as a sign-in.
    admin(&world, &["tickets", "verify", &ticket, "--of", "ana@example.com"]).await.unwrap();
    let (to, secret) = confirmation(&world).await;
    assert_eq!(to, "ana@example.com");
    assert_eq!(bare.post(&format!("/v1/confirmations/{secret}"), &Value::Null).await.status, StatusCode::OK);
    admin(&world, &["tickets", "purge", &ticket, "--of", &user, "--yes"]).await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_child_is_listed_and_acted_on_with_one_command() {
    for world in worlds(|_| {}).await {
        world.signed_in("kid@example.com").await;
        let kid = world.user_id("kid@example.com").await;
        let (master, upload) = world.master(&kid, None).await;
        world
            .run(&format!(
                "INSERT INTO shares (id, master_id, token_hash, created_at) VALUES ('shr_1', '{master}', '{}', 1)",
                loopmaster::db::hash_secret("lmh_0123456789abcdef")
            ))
            .await;
        let guest = "gst_00000000000000000000000000000abc";
        let (guest_master, _) = world.master(guest, None).await;
        let mut parent = world.browser();
        let ticket = write(&mut parent, "child", "parent@example.com").await;
        write(&mut parent, "question", "parent@example.com").await;
        let listed = admin(&world, &["tickets", "--topic", "child"]).await.unwrap();
        assert!(listed.starts_with("1 open") && listed.contains("a child") && listed.contains(&ticket), "{listed}");

        // A parent knows an address, a track or a link; each leads to the account, and nothing goes before it is said twice.
        for who in ["kid@example.com", &kid, &master, &upload, "https://music.example/s/lmh_0123456789abcdef"] {
            let unsure = admin(&world, &["tickets", "purge", &ticket, "--of", who]).await.unwrap_err();
            assert!(unsure.0 == "admin.not_sure" && unsure.1.contains(&kid), "{who}: {unsure:?}");
        }
        for nobody in ["nobody@example.com", "usr_0", "mst_0", "gst_0", "/s/lmh_0"] {
            let unknown = admin(&world, &["tickets", "purge", &ticket, "--of", nobody, "--yes"]).await.unwrap_err();
            assert!(unknown.0.ends_with("not_found"), "{nobody}: {unknown:?}");
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
        let said = admin(&world, &["tickets", "purge", &ticket, "--of", &master, "--yes"]).await.unwrap();
        assert!(said.contains(&kid) && said.contains("is closed"), "{said}");
        assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0, "{}", world.name);
        assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 1, "the other's stays");
        // Of a deleted account the audit keeps what happened; why is written down with the message.
        assert_eq!(audited(&world, "purged", &kid).await, ["operator "]);
        assert_eq!(audited(&world, "ticket.closed", &ticket).await, [format!("operator {kid} purged")]);
        assert_eq!(admin(&world, &["tickets", "purge", &ticket, "--yes"]).await.unwrap_err().0, "ticket.closed");

        // A child without an account.
        let ticket = write(&mut parent, "child", "parent@example.com").await;
        admin(&world, &["tickets", "purge", &ticket, "--of", &guest_master, "--yes"]).await.unwrap();
        assert_eq!(world.count("SELECT COUNT(*) FROM masters").await, 0);
        assert_eq!(audited(&world, "purged", guest).await.len(), 1);
    }
}

#[test]
fn a_letter_of_the_version_before_is_still_read() {
    let old = json!({ "letter": "ticket", "ticket": "tkt_1", "topic": "other", "from": "a@example.com", "user": "usr_1", "message": "x" });
    let letter: Letter = serde_json::from_value(old).unwrap();
    assert!(letter.words().text().contains("From a@example.com, signed in as usr_1."), "{}", letter.words().text());
}
