//! A clock that was a day ahead and is set back: what was written before lies in the future.

use super::world::worlds;
use axum::http::StatusCode;
use loopmaster::domain::limits::Rule;
use loopmaster::domain::retention;
use loopmaster_core::retention::days;
use serde_json::json;

const DAY: i64 = 86_400_000;

#[tokio::test(flavor = "multi_thread")]
async fn allowances_are_not_gone_for_a_day() {
    for world in worlds(|_| {}).await {
        let rule = Rule::hourly("creates", 2);
        let spend = async |cost| {
            let mut tx = world.app.db.begin().await.unwrap();
            let spent = rule.spend(&mut tx, "somebody", cost).await.is_ok();
            tx.commit().await.unwrap();
            spent
        };
        assert!(spend(2).await && !spend(1).await, "{}", world.name);
        world.run(&format!("UPDATE limits SET tat = tat + {DAY}")).await;
        assert_eq!(rule.standing(&world.app.db, "somebody").await.unwrap().used, 0, "{}", world.name);
        assert!(spend(2).await, "{}: a debt of more than an hour is none", world.name);
        assert!(!spend(1).await, "{}: from here on it counts again", world.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_go_on_and_last_no_longer() {
    for world in worlds(|_| {}).await {
        let mut ana = world.signed_in("ana@example.com").await;
        world
            .run(&format!(
                "UPDATE sessions SET signed_in_at = signed_in_at + {DAY}, seen_at = seen_at + {DAY}, expires_at = expires_at + {DAY}"
            ))
            .await;
        assert_eq!(ana.get("/v1/me").await.status, StatusCode::OK, "{}", world.name);
        // Nobody knows any more when that sign-in was.
        let reply = ana.post("/v1/me/tokens", &json!({ "name": "x", "scopes": ["uploads"] })).await;
        assert_eq!(reply.code(), "auth.recent_sign_in_required", "{}", world.name);
        assert!(retention::sweep(&world.app).await.unwrap().set_right > 0);
        let now = world.app.db.now().await.unwrap();
        let longest = now + days(world.app.config.retention.session_days);
        assert!(world.count("SELECT MAX(expires_at) FROM sessions").await <= longest, "{}", world.name);
        assert!(world.count("SELECT MAX(seen_at) FROM sessions").await <= now);
        assert!(world.count("SELECT MAX(signed_in_at) FROM sessions").await <= now - 600_000);
        assert_eq!(ana.get("/v1/me").await.status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_does_not_wait_for_tomorrow() {
    for world in worlds(|_| {}).await {
        let now = world.app.db.now().await.unwrap();
        let (deleted, _) = world.master("usr_1", None).await;
        let (stays, _) = world.master("usr_1", None).await;
        world.run(&format!("UPDATE masters SET deleted_at = {} WHERE id = '{deleted}'", now + DAY)).await;
        world
            .run(&format!(
                "UPDATE objects SET state = 'doomed', sweep_after = {} WHERE master_id = '{stays}'",
                now + DAY
            ))
            .await;
        world.run(&format!("INSERT INTO nonces (nonce, expires_at) VALUES ('n', {})", now + DAY)).await;
        retention::sweep(&world.app).await.unwrap();
        let latest = world.count("SELECT MAX(sweep_after) FROM objects WHERE state <> 'stored'").await;
        assert!(latest <= world.app.db.now().await.unwrap() + 2 * 3_600_000, "{}", world.name);
        assert!(world.count("SELECT MAX(expires_at) FROM nonces").await <= now + 200_000, "{}", world.name);
        // Half a minute of undo later it goes.
        world.run("UPDATE masters SET deleted_at = deleted_at - 40000").await;
        assert_eq!(retention::sweep(&world.app).await.unwrap().masters, 1, "{}", world.name);
    }
}
