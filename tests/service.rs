//! A whole service in this process: embedded storage, a database, the api on a socket of its own, and browsers that come through an
//! edge that signs as ours does.

use bytes::Bytes;
use loopmaster::config::{Config, Secret};
use loopmaster::db::{hash_secret, new_id, new_secret};
use loopmaster::digest::{hex, hmac, sha256};
use loopmaster::http::App;
use loopmaster::serve::{Running, ServeOptions};
use loopmaster_core::signing;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

pub(crate) const EDGE_KEY: &str = "an edge key for tests, long enough";

pub(crate) struct Service {
    pub(crate) app: App,
    /// `http://127.0.0.1:<port>`
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) name: &'static str,
    running: Option<Running>,
    folder: TempDir,
}

/// What an answer was.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        Self { status: response.status(), headers: response.headers().clone(), body: response.bytes().await.unwrap() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON of an answer that is good.
    #[track_caller]
    pub(crate) fn good(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Status and code of a problem.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        assert!(body["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{body}");
        assert_eq!(body["instance"], self.header("x-request-id"), "{body}");
        (self.status.as_u16(), body["code"].as_str().unwrap().to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    }
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::launch("SQLite", String::new(), change).await
    }

    /// With a worker in the same process.
    pub(crate) async fn working() -> Self {
        Self::working_with(|_| {}).await
    }

    pub(crate) async fn working_with(more: impl FnOnce(&mut Config)) -> Self {
        let change = |config: &mut Config| {
            more(config);
            config.worker.backend = "cpu".to_owned();
            config.worker.threads = 2;
            // Trying out the sandbox takes a second of each start.
            config.worker.allow_unsandboxed = true;
        };
        Self::begin("SQLite", String::new(), change, true).await
    }

    pub(crate) async fn launch(name: &'static str, database_url: String, change: impl FnOnce(&mut Config)) -> Self {
        Self::begin(name, database_url, change, false).await
    }

    async fn begin(name: &'static str, database_url: String, change: impl FnOnce(&mut Config), worker: bool) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        loopmaster::work::sandbox::use_program(env!("CARGO_BIN_EXE_loopmaster"));
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            Config { data: folder.path().to_owned(), database_url: database_url.into(), ..Config::default() };
        config.secret = Secret::new("a service key for tests, long enough");
        config.edge.keys.insert("test".to_owned(), Secret::new(EDGE_KEY));
        config.storage.access_key = "LMTEST".to_owned();
        config.storage.secret_key = Secret::new("a storage key for tests, long enough");
        config.storage.keep_free = 0;
        config.listen.api.set_port(0);
        config.listen.files.set_port(0);
        change(&mut config);
        let running = Running::start(config, ServeOptions { worker: Some(worker) }).await.unwrap();
        let url = format!("http://{}", running.api);
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { app: running.app.clone(), url, http, name, running: Some(running), folder }
    }

    /// Ends the service as SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A browser with a guest cookie of its own, at an address of its own.
    pub(crate) fn guest(&self) -> Browser<'_> {
        let guest = new_id("gst");
        Browser {
            service: self,
            ip: sha256(guest.as_bytes())[..32].to_owned(),
            guest: Some(guest),
            session: None,
            login: None,
            user: None,
        }
    }

    /// A browser in which somebody has just signed in.
    pub(crate) async fn user(&self, email: &str) -> Browser<'_> {
        let user = new_id("usr");
        let token = new_secret("lms");
        let db = &self.app.db;
        let mut tx = db.begin().await.unwrap();
        let text = tx.sql(
            "INSERT INTO users (id, email, name, mail_when_ready, policy_version, of_age_at, created_at)
             VALUES ($1, $2, 'Test', 1, '1', {now}, {now})",
        );
        sqlx::query(text).bind(&user).bind(email).execute(&mut *tx).await.unwrap();
        let text = tx.sql(
            "INSERT INTO sessions (id, token_hash, user_id, user_agent, ip_hash, created_at, signed_in_at, seen_at, expires_at)
             VALUES ($1, $2, $3, 'test', '', {now}, {now}, {now}, {now} + 86400000)",
        );
        sqlx::query(text).bind(new_id("ses")).bind(hash_secret(&token)).bind(&user).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        Browser { session: Some(token), user: Some(user), ..self.guest() }
    }

    /// A bearer token of a user.
    pub(crate) async fn token(&self, user: &str, scopes: &str) -> String {
        let token = new_secret("lmt");
        let mut tx = self.app.db.begin().await.unwrap();
        let text = tx.sql("INSERT INTO tokens (id, user_id, name, token_hash, scopes, created_at) VALUES ($1, $2, 'test', $3, $4, {now})");
        let query = sqlx::query(text).bind(new_id("tok")).bind(user).bind(hash_secret(&token)).bind(scopes);
        query.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        token
    }

    /// A capability for pages of others.
    pub(crate) async fn grant(&self, user: &str, files: i64, bytes: i64) -> String {
        let grant = new_secret("lmg");
        let mut tx = self.app.db.begin().await.unwrap();
        let text = tx.sql(
            "INSERT INTO grants (id, grant_hash, user_id, files_left, bytes_left, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, {now}, {now} + 3600000)",
        );
        let query = sqlx::query(text).bind(new_id("grt")).bind(hash_secret(&grant)).bind(user).bind(files).bind(bytes);
        query.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        grant
    }

    /// Straight to the api, with a bearer token or without.
    pub(crate) async fn bearer(&self, token: Option<&str>, method: Method, path: &str, body: Option<Value>) -> Reply {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    /// One value of a row, as text.
    pub(crate) async fn value(&self, text: &str, bind: &str) -> Option<String> {
        sqlx::query_scalar(sqlx::AssertSqlSafe(text.to_owned()))
            .bind(bind.to_owned())
            .fetch_optional(self.app.db.read())
            .await
            .unwrap()
    }

    pub(crate) async fn number(&self, text: &str, bind: &str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(text.to_owned()))
            .bind(bind.to_owned())
            .fetch_one(self.app.db.read())
            .await
            .unwrap()
    }

    pub(crate) async fn change(&self, text: &str, bind: &str) {
        let mut tx = self.app.db.begin().await.unwrap();
        let text = tx.sql(text);
        sqlx::query(text).bind(bind.to_owned()).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// A browser behind the edge.
#[derive(Clone)]
pub(crate) struct Browser<'a> {
    pub(crate) service: &'a Service,
    pub(crate) ip: String,
    pub(crate) guest: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) login: Option<String>,
    /// The account, for looking at rows.
    pub(crate) user: Option<String>,
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Browser<'_> {
    /// What the edge would send.
    pub(crate) fn signed(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> reqwest::RequestBuilder {
        let (time, nonce, request_id) = (unix_now(), uuid::Uuid::new_v4().simple().to_string(), new_id("req"));
        self.signed_at(method, path, body, headers, time, &nonce, &request_id)
    }

    #[expect(clippy::too_many_arguments, reason = "all that is signed")]
    pub(crate) fn signed_at(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        headers: &[(&str, &str)],
        time: u64,
        nonce: &str,
        request_id: &str,
    ) -> reqwest::RequestBuilder {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (guest, session, login) = (text(&self.guest), text(&self.session), text(&self.login));
        let canonical = signing::Request {
            key_id: "test",
            time,
            nonce,
            method: method.as_str(),
            authority: self.service.authority(),
            path,
            body_sha256: &sha256(&body),
            ip: &self.ip,
            guest: &guest,
            session: &session,
            login: &login,
            request_id,
        }
        .canonical();
        let mac = hex(&hmac(EDGE_KEY.as_bytes(), &[canonical.as_bytes()]));
        let mut request = self.service.http.request(method, format!("{}{path}", self.service.url));
        request = request.header(signing::SIGNATURE, format!("v1 test {time} {nonce} {mac}"));
        for (name, value) in [
            (signing::IP, self.ip.as_str()),
            (signing::GUEST, &guest),
            (signing::SESSION, &session),
            (signing::LOGIN, &login),
            (signing::REQUEST_ID, request_id),
        ] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body)
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let bytes = body.as_ref().map_or(Vec::new(), |body| serde_json::to_vec(body).unwrap());
        let mut all = headers.to_vec();
        if body.is_some() {
            all.push(("content-type", "application/json"));
        }
        Reply::of(self.signed(method, path, bytes, &all).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None, &[]).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, Some(body), &[]).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, Some(body), &[]).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None, &[]).await
    }

    /// Sends a file as the page does: create, sign, PUT, complete. Gives the completed upload.
    pub(crate) async fn upload(&self, name: &str, content: &[u8], more: Value) -> Value {
        let upload = self.begin(name, content, more).await;
        let parts = self.put_all(&upload, content).await;
        let path = format!("/v1/uploads/{}/complete", upload["id"].as_str().unwrap());
        self.post(&path, json!({ "parts": parts })).await.good()
    }

    pub(crate) async fn begin(&self, name: &str, content: &[u8], more: Value) -> Value {
        let mut body = json!({ "name": name, "bytes": content.len(), "type": "audio/wav" });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.post("/v1/uploads", body).await.good()
    }

    /// PUTs every part; gives what `complete` wants.
    pub(crate) async fn put_all(&self, upload: &Value, content: &[u8]) -> Vec<Value> {
        let path = format!("/v1/uploads/{}/parts", upload["id"].as_str().unwrap());
        let count = upload["parts"].as_u64().unwrap();
        let numbers: Vec<u64> = (1..=count).collect();
        let signed = self.post(&path, json!({ "numbers": numbers })).await.good();
        let size = usize::try_from(upload["part_bytes"].as_u64().unwrap()).unwrap();
        let mut parts = Vec::new();
        for (number, part) in (1..).zip(content.chunks(size)) {
            let url = signed["urls"][number.to_string()].as_str().unwrap();
            let answer = self.service.http.put(url).body(part.to_vec()).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
            let etag = answer.headers()["etag"].to_str().unwrap();
            parts.push(json!({ "number": number, "etag": etag }));
        }
        parts
    }
}
