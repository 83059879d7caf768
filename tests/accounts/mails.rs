//! Letters through a real SMTP server, from the row in the queue to the words that arrive.

use super::peers::Peer;
use super::world::{World, worlds};
use loopmaster::config::Secret;
use loopmaster::domain::letters;
use loopmaster::outside::mail::{Letter, MailError, Mailer};

/// What waits, sent once; how each went.
async fn send(world: &World) -> Vec<Result<(), MailError>> {
    let mailer = Mailer::of(&world.app.config).unwrap();
    let mut tx = world.app.db.begin().await.unwrap();
    let text = "DELETE FROM jobs WHERE kind = 'mail' RETURNING id, subject, payload";
    let mut rows: Vec<(String, String, String)> = sqlx::query_as(text).fetch_all(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    rows.sort();
    let mut sent = Vec::new();
    for (_, id, payload) in rows {
        sent.push(letters::deliver(&mailer, &world.app.config, &world.app.db, &id, &payload).await);
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_letter_arrives() {
    let server = Peer::start("smtp.mjs", &[]);
    for world in worlds(|config| {
        config.mail.smtp = Secret::new(format!("smtp://127.0.0.1:{}", server.port));
        config.mail.from = "LoopMastering <hello@loopmaster.example>".to_owned();
    })
    .await
    {
        let waiting = "SELECT COUNT(*) FROM jobs WHERE payload LIKE '%ana%' OR payload LIKE '%lmk_%'";
        world.browser().ask("ana@example.com").await;
        assert_eq!(world.count(waiting).await, 0, "{}: letters wait sealed", world.name);
        assert!(matches!(&send(&world).await[..], [Ok(())]));
        let mail = server.line();
        assert_eq!(mail["to"], serde_json::json!(["ana@example.com"]));
        assert_eq!(mail["from"], "hello@loopmaster.example");
        let data = mail["data"].as_str().unwrap();
        for part in [
            "Subject: Sign in to LoopMastering",
            "Auto-Submitted: auto-generated",
            "multipart/alternative",
            "Message-ID: <mail_",
            "/l/lmk_",
        ] {
            assert!(data.replace("=\r\n", "").contains(part), "{part} is missing:\n{data}");
        }

        // Who is banned gets none, and nobody notices.
        world.signed_in("ben@example.com").await;
        world.run("UPDATE users SET banned_at = 1").await;
        world.browser().ask("ben@example.com").await;
        assert!(matches!(&send(&world).await[..], [Ok(())]));
        assert!(server.silent());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_not_asked_again_and_one_that_hesitates_is() {
    let server = Peer::start("smtp.mjs", &[]);
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let mailer = Mailer::smtp("hello@loopmaster.example", &url).unwrap();
    assert!(matches!(mailer.send("a", "refused@example.com", &Letter::Closed).await, Err(MailError::Permanent(_))));
    assert!(matches!(mailer.send("b", "later@example.com", &Letter::Closed).await, Err(MailError::Transient(_))));
    assert!(mailer.send("b", "later@example.com", &Letter::Closed).await.is_ok());
    assert_eq!(server.line()["to"], serde_json::json!(["later@example.com"]));
    drop(server);
    assert!(matches!(mailer.send("c", "ana@example.com", &Letter::Closed).await, Err(MailError::Transient(_))));
    assert!(Mailer::smtp("nobody", &url).is_err());
    assert!(Mailer::smtp("hello@loopmaster.example", "http://x").is_err());
}
