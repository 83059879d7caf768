//! A service of one test, and browsers in front of it that keep cookies as the edge does.

use crate::databases::TestDb;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use loopmaster::config::{Config, Secret};
use loopmaster::digest::{hex, hmac, sha256};
use loopmaster::http::{App, router};
use loopmaster::outside::mail::{self, Letter};
use loopmaster_core::signing;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tower::ServiceExt;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const AUTHORITY: &str = "api.test";

pub(super) struct World {
    pub app: App,
    pub router: Router,
    pub name: &'static str,
    _folder: TempDir,
    _storage: loopmaster::store::embedded::Handle,
    _db: TestDb,
}

/// One on each database.
pub(super) async fn worlds(change: impl Fn(&mut Config)) -> Vec<World> {
    let mut worlds = Vec::new();
    for test in crate::databases::databases().await {
        worlds.push(World::of(test, &change).await);
    }
    worlds
}

/// One on SQLite, where the database makes no difference.
pub(super) async fn world(change: impl Fn(&mut Config)) -> World {
    World::of(crate::databases::sqlite().await, &change).await
}

impl World {
    async fn of(test: TestDb, change: &impl Fn(&mut Config)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        loopmaster::work::sandbox::use_program(env!("CARGO_BIN_EXE_loopmaster"));
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            data: folder.path().join("data"),
            database_url: test.url.clone().into(),
            secret: Secret::new("a secret of the tests, long enough"),
            ..Config::default()
        };
        config.edge.keys.insert("test".to_owned(), Secret::new(KEY));
        config.edge.authority = AUTHORITY.to_owned();
        config.storage.access_key = "access".to_owned();
        config.storage.secret_key = Secret::new("a secret of the storage");
        change(&mut config);
        let storage = super::storage(&mut config).await;
        let app = App::open(config).await.unwrap();
        let router = router(app.clone());
        Self { app, router, name: test.name(), _folder: folder, _storage: storage, _db: test }
    }

    pub(super) fn browser(&self) -> Browser<'_> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Browser {
            world: self,
            guest: Some(format!("gst_{number:032x}")),
            session: None,
            login: None,
            ip: format!("{number:032x}"),
        }
    }

    /// Somebody signed in by mail.
    pub(super) async fn signed_in(&self, email: &str) -> Browser<'_> {
        let mut browser = self.browser();
        let login = browser.ask(email).await;
        let (code, _) = self.sign_in_letter(email).await;
        let reply = browser.post("/v1/auth/email/code", &serde_json::json!({ "login": login, "code": code })).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        browser
    }

    pub(super) async fn user_id(&self, email: &str) -> String {
        sqlx::query_scalar("SELECT id FROM users WHERE email = $1")
            .bind(email)
            .fetch_one(self.app.db.read())
            .await
            .unwrap()
    }

    pub(super) async fn count(&self, text: &'static str) -> i64 {
        sqlx::query_scalar(text).fetch_one(self.app.db.read()).await.unwrap()
    }

    pub(super) async fn run(&self, text: &str) -> u64 {
        let mut tx = self.app.db.begin().await.unwrap();
        let done = sqlx::query(sqlx::AssertSqlSafe(text.to_owned())).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        done.rows_affected()
    }

    /// The letters that wait, in their order; they are taken out.
    pub(super) async fn letters(&self) -> Vec<(String, Letter)> {
        let text = "DELETE FROM jobs WHERE kind = 'mail' AND state = 'waiting' RETURNING id, payload";
        let mut tx = self.app.db.begin().await.unwrap();
        let mut rows: Vec<(String, String)> = sqlx::query_as(text).fetch_all(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        rows.sort();
        rows.iter().map(|(_, payload)| mail::open(&self.app.config, payload).unwrap()).collect()
    }

    /// Code and path of the last sign-in letter to an address.
    pub(super) async fn sign_in_letter(&self, email: &str) -> (String, String) {
        let letters = self.letters().await;
        let found = letters.into_iter().rev().find_map(|(to, letter)| match letter {
            Letter::SignIn { code, link } if to == email => Some((code, token_of(&link))),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no letter to {email}"))
    }

    /// A finished master of an owner, with its upload and one file, written as the worker writes them.
    pub(super) async fn master(&self, owner: &str, expires_at: Option<i64>) -> (String, String) {
        let now = self.app.db.now().await.unwrap();
        let (upload, master) = (loopmaster::db::new_id("upl"), loopmaster::db::new_id("mst"));
        let (stored, file) = (format!("stored/{upload}/mix"), format!("jobs/{master}/1/master.wav"));
        for key in [&stored, &file] {
            self.app.store.put_bytes(key, key.clone().into_bytes(), "audio/wav").await.unwrap();
        }
        let mut tx = self.app.db.begin().await.unwrap();
        if owner.starts_with("gst_") {
            let text = "INSERT INTO guests (id, created_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
            sqlx::query(text).bind(owner).bind(now).execute(&mut *tx).await.unwrap();
        }
        let text = "INSERT INTO uploads (id, owner, owner_key, name, media_type, bytes, fingerprint, state, client_key, stored_key, part_bytes,
            created_at, updated_at, stored_at, expires_at)
            VALUES ($1, $2, $2, 'a mix.wav', 'audio/wav', 9, '', 'stored', $3, $4, 0, $5, $5, $5, $6)";
        let client = format!("uploads/{upload}/mix");
        let query = sqlx::query(text).bind(&upload).bind(owner).bind(client).bind(&stored).bind(now).bind(expires_at);
        query.execute(&mut *tx).await.unwrap();
        let text = "INSERT INTO masters (id, owner, upload_id, title, settings, state, attempt, created_at, finished_at, expires_at, version)
            VALUES ($1, $2, $3, 'a mix', '{}', 'done', 1, $4, $4, $5, 1)";
        sqlx::query(text)
            .bind(&master)
            .bind(owner)
            .bind(&upload)
            .bind(now)
            .bind(expires_at)
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::query("INSERT INTO results (master_id, result) VALUES ($1, '{\"figures\": 1}')")
            .bind(&master)
            .execute(&mut *tx)
            .await
            .unwrap();
        let text =
            "INSERT INTO artifacts (id, master_id, kind, role, name, media_type, bytes, sha256, crc32, key, created_at)
            VALUES ($1, $2, 'master', 'wav24', 'a master.wav', 'audio/wav', 9, '', 0, $3, $4)";
        sqlx::query(text)
            .bind(loopmaster::db::new_id("art"))
            .bind(&master)
            .bind(&file)
            .bind(now)
            .execute(&mut *tx)
            .await
            .unwrap();
        for (key, of_upload, of_master) in [(&stored, Some(&upload), None), (&file, None, Some(&master))] {
            let text = "INSERT INTO objects (key, state, upload_id, master_id, attempt, created_at) VALUES ($1, 'stored', $2, $3, 1, $4)";
            let query = sqlx::query(text).bind(key).bind(of_upload).bind(of_master).bind(now);
            query.execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
        (master, upload)
    }
}

/// The secret at the end of a link.
pub(super) fn token_of(link: &str) -> String {
    link.rsplit('/').next().unwrap().to_owned()
}

/// A browser behind the edge.
#[derive(Clone)]
pub(super) struct Browser<'a> {
    pub world: &'a World,
    pub guest: Option<String>,
    pub session: Option<String>,
    pub login: Option<String>,
    pub ip: String,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub json: Value,
}

impl Reply {
    pub(super) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }
}

impl Browser<'_> {
    pub(super) async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, Vec::new()).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, if body.is_null() { Vec::new() } else { body.to_string().into_bytes() }).await
    }

    pub(super) async fn delete(&mut self, path: &str) -> Reply {
        self.send("DELETE", path, Vec::new()).await
    }

    /// Asks for a mail; gives the sign-in's id.
    pub(super) async fn ask(&mut self, email: &str) -> String {
        let reply = self.post("/v1/auth/email", &serde_json::json!({ "email": email, "of_age": true })).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
        reply.json["login"].as_str().unwrap().to_owned()
    }

    pub(super) async fn send(&mut self, method: &str, path: &str, body: Vec<u8>) -> Reply {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let nonce: [u8; 16] = rand::random();
        let (nonce, digest) = (hex(&nonce), sha256(&body));
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (guest, session, login) = (text(&self.guest), text(&self.session), text(&self.login));
        let canonical = signing::Request {
            key_id: "test",
            time,
            nonce: &nonce,
            method,
            authority: AUTHORITY,
            path,
            body_sha256: &digest,
            ip: &self.ip,
            guest: &guest,
            session: &session,
            login: &login,
            request_id: "req_test",
        }
        .canonical();
        let mac = hex(&hmac(KEY.as_bytes(), &[canonical.as_bytes()]));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("user-agent", "Test Browser 1.0")
            .header(signing::SIGNATURE, format!("v1 test {time} {nonce} {mac}"))
            .header(signing::IP, &self.ip)
            .header(signing::REQUEST_ID, "req_test");
        for (name, value) in [(signing::GUEST, &guest), (signing::SESSION, &session), (signing::LOGIN, &login)] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        if !body.is_empty() && !path.ends_with("/picture") {
            request = request.header("content-type", "application/json");
        }
        let reply = answer(&self.world.router, request.body(Body::from(body)).unwrap()).await;
        for (name, jar) in [
            (signing::SET_SESSION, &mut self.session),
            (signing::SET_LOGIN, &mut self.login),
            (signing::SET_GUEST, &mut self.guest),
        ] {
            if let Some(value) = reply.headers.get(name) {
                let value = value.to_str().unwrap();
                *jar = (value != "-").then(|| value.split_once(' ').unwrap().0.to_owned());
            }
        }
        reply
    }
}

/// A program with a token.
pub(super) async fn with_token(world: &World, token: &str, method: &str, path: &str, body: Value) -> Reply {
    let mut request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    let body = if body.is_null() {
        Body::empty()
    } else {
        request = request.header("content-type", "application/json");
        Body::from(body.to_string())
    };
    answer(&world.router, request.body(body).unwrap()).await
}

async fn answer(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Reply { status: parts.status, headers: parts.headers, json }
}
