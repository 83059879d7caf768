//! Guests who send files while the service dies under them, in the three ways there are: in parts by our own contract, in parts as
//! Uppy does by Companion's, and in one form. Whatever was acknowledged they write down, and hold the service to it.

use super::world::{PART, World, padded, sha256};
use crate::service::{EDGE_KEY, unix_now};
use crate::storage::{hex as digest, noise};
use loopmaster::db::new_id;
use loopmaster::digest::{hex, hmac, sha256 as body_hash};
use loopmaster_core::signing;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, RequestBuilder};
use s3s::crypto::{Checksum, Md5};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Longest that anything may be refused or unanswered for; an idempotency key stays taken for a minute after a kill.
const PATIENCE: Duration = Duration::from_mins(4);

/// How the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Parts,
    Companion,
    Form,
}

/// A file that the service, or storage for it, said it has.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub(super) upload: String,
    pub(super) sha256: String,
    pub(super) song: usize,
    /// The master that was promised with it.
    pub(super) master: Option<String>,
    /// Said by the service, not only by storage.
    pub(super) stored: bool,
}

/// What became of a guest's files.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) whole: Vec<Whole>,
    /// Begun by an answered create, and left there with these parts.
    pub(super) left: Vec<(String, BTreeMap<u64, String>)>,
    pub(super) given_up: Vec<String>,
    /// Uploads that were asked for, each under a key of its own.
    pub(super) begun: usize,
    pub(super) parts: usize,
    pub(super) unanswered: usize,
    pub(super) longest: Duration,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    etag: Option<String>,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    fn is_temporary(&self) -> bool {
        self.status >= 500 || self.status == 429 || self.code() == "idempotency.in_progress"
    }
}

/// Something that was not to be: it goes to the findings, and the guest goes on with another file.
type Done<T> = Result<T, String>;

/// One browser with its guest cookie.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    pub(super) world: &'a World,
    pub(super) id: String,
    pub(super) sent: Sent,
    ip: String,
    rng: StdRng,
    way: Way,
}

struct Open {
    id: String,
    key: String,
    size: usize,
}

impl<'a> Guest<'a> {
    pub(super) fn new(world: &'a World, way: Way, seed: u64) -> Self {
        let id = new_id("gst");
        let ip = body_hash(id.as_bytes())[..32].to_owned();
        Self { world, id, sent: Sent::default(), ip, rng: StdRng::seed_from_u64(seed), way }
    }

    /// Sends one file after the other; the last one is finished.
    pub(super) async fn send_until(mut self, stop: CancellationToken) -> Self {
        while !stop.is_cancelled() {
            let done = match self.way {
                Way::Parts | Way::Companion => self.in_parts().await,
                Way::Form => self.in_a_form().await,
            };
            if let Err(what) = done {
                self.world.found(format!("{:?}: {what}", self.way));
            }
            self.pause(1_500).await;
        }
        self
    }

    async fn pause(&mut self, most: u64) {
        let pause = self.rng.random_range(0..most);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// Music in a file of one or two parts that is like no other.
    fn file(&mut self) -> (usize, Vec<u8>) {
        let large = if self.rng.random_bool(0.35) { PART } else { 0 };
        let padding = large + self.rng.random_range(100..20_000);
        let song = self.rng.random_range(0..self.world.songs.len());
        (song, padded(&self.world.songs[song].wav, &noise(self.rng.random(), padding)))
    }

    /// As the edge would send it.
    fn signed(&self, method: &Method, path: &str, body: &[u8]) -> RequestBuilder {
        let (time, nonce, request_id) = (unix_now(), uuid::Uuid::new_v4().simple().to_string(), new_id("req"));
        let url = self.world.api(path);
        let canonical = signing::Request {
            key_id: "test",
            time,
            nonce: &nonce,
            method: method.as_str(),
            authority: &self.world.config.listen.api.to_string(),
            path,
            body_sha256: &body_hash(body),
            ip: &self.ip,
            guest: &self.id,
            session: "",
            login: "",
            request_id: &request_id,
        }
        .canonical();
        let mac = hex(&hmac(EDGE_KEY.as_bytes(), &[canonical.as_bytes()]));
        let request = self.world.http.request(method.clone(), url);
        let request = request.header(signing::SIGNATURE, format!("v1 test {time} {nonce} {mac}"));
        let request = request.header(signing::IP, &self.ip).header(signing::GUEST, &self.id);
        request.header(signing::REQUEST_ID, request_id).body(body.to_vec())
    }

    /// One request, answered or not.
    async fn once(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        self.world.steps.notify_waiters();
        let answer = request.timeout(Duration::from_mins(1)).send().await?;
        let status = answer.status().as_u16();
        let etag = answer.headers().get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let body = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
        self.world.steps.notify_waiters();
        Ok(Answer { status, etag, body })
    }

    /// The same until there is an answer that stays: whoever is not answered asks again.
    async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>, key: Option<&str>) -> Done<Value> {
        let bytes = body.map_or(Vec::new(), |body| serde_json::to_vec(body).unwrap());
        let began = Instant::now();
        loop {
            let mut request = self.signed(&method, path, &bytes);
            if body.is_some() {
                request = request.header("content-type", "application/json");
            }
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            let why = match self.once(request).await {
                Ok(answer) if !answer.is_temporary() => {
                    self.sent.longest = self.sent.longest.max(began.elapsed());
                    return match answer.status {
                        200..300 => Ok(answer.body),
                        status => Err(format!("{method} {path}: {status} {}", answer.body)),
                    };
                }
                Ok(Answer { status: 500, body, .. }) => return Err(format!("{method} {path}: 500 {body}")),
                Ok(answer) => answer.body.to_string(),
                Err(error) => error.to_string(),
            };
            self.sent.unanswered += 1;
            if began.elapsed() > PATIENCE {
                return Err(format!("{method} {path}: stuck for {} s: {why}", began.elapsed().as_secs()));
            }
            self.pause(300).await;
        }
    }

    async fn begin(&mut self, name: &str, bytes: usize, settings: Option<Value>) -> Done<Open> {
        self.sent.begun += 1;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if self.way == Way::Companion {
            let file = json!({ "filename": name, "type": "audio/wav", "metadata": {} });
            let made = self.ask(Method::POST, "/v1/companion/s3/multipart", Some(&file), None).await?;
            return Ok(Open { id: text(&made["uploadId"]), key: text(&made["key"]), size: PART });
        }
        let mut file = json!({ "name": name, "bytes": bytes, "type": "audio/wav" });
        if let Some(settings) = settings {
            file["settings"] = settings;
        }
        let key = new_id("key");
        let made = self.ask(Method::POST, "/v1/uploads", Some(&file), Some(&key)).await?;
        // Whoever is told the answer again is told the same.
        if self.rng.random_bool(0.2) {
            let again = self.ask(Method::POST, "/v1/uploads", Some(&file), Some(&key)).await?;
            if again["id"] != made["id"] {
                return Err(format!("one key made two uploads: {made} {again}"));
            }
        }
        let size = usize::try_from(made["part_bytes"].as_u64().unwrap_or_default()).unwrap_or_default();
        Ok(Open { id: text(&made["id"]), key: String::new(), size })
    }

    async fn address(&mut self, upload: &Open, number: u64) -> Done<String> {
        let Open { id, key, .. } = upload;
        let answer = if self.way == Way::Companion {
            let path = format!("/v1/companion/s3/multipart/{id}/{number}?key={key}");
            self.ask(Method::GET, &path, None, None).await?["url"].take()
        } else {
            let numbers = json!({ "numbers": [number] });
            let path = format!("/v1/uploads/{id}/parts");
            self.ask(Method::POST, &path, Some(&numbers), None).await?["urls"][number.to_string()].take()
        };
        answer.as_str().map(str::to_owned).ok_or_else(|| format!("no address for part {number} of {id}"))
    }

    async fn arrived(&mut self, id: &str, key: &str) -> Done<BTreeMap<u64, String>> {
        let (list, number, etag) = if self.way == Way::Companion {
            let path = format!("/v1/companion/s3/multipart/{id}?key={key}");
            (self.ask(Method::GET, &path, None, None).await?, "PartNumber", "ETag")
        } else {
            let path = format!("/v1/uploads/{id}/parts");
            (self.ask(Method::GET, &path, None, None).await?["parts"].take(), "number", "etag")
        };
        let parts = list.as_array().ok_or_else(|| format!("no list of parts of {id}: {list}"))?;
        let part = |part: &Value| Some((part[number].as_u64()?, part[etag].as_str()?.trim_matches('"').to_owned()));
        Ok(parts.iter().filter_map(part).collect())
    }

    /// What has been acknowledged is there.
    pub(super) async fn holds(&mut self, id: &str, key: &str, parts: &BTreeMap<u64, String>) -> Done<()> {
        let there = self.arrived(id, key).await?;
        match parts.iter().find(|(number, etag)| there.get(number) != Some(etag)) {
            None => Ok(()),
            Some((number, _)) => Err(format!("part {number} of {id} was acknowledged, and {there:?} are there")),
        }
    }

    /// One file in parts, in any order, some of them twice; some are left in the middle, and some are given up.
    async fn in_parts(&mut self) -> Done<()> {
        let (song, content) = self.file();
        let name = format!("guest {:08x}.wav", self.rng.random::<u32>());
        let wanted = self.rng.random_bool(0.5);
        let settings = (wanted && self.way == Way::Parts).then(|| json!({}));
        let upload = self.begin(&name, content.len(), settings.clone()).await?;
        let parts: Vec<&[u8]> = content.chunks(upload.size.max(1)).collect();
        let mut order: Vec<usize> = (0..parts.len()).collect();
        if self.rng.random_bool(0.5) {
            order.reverse();
        }
        if self.rng.random_bool(0.2) {
            order.push(order[0]);
        }
        let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
        for at in order {
            let number = at as u64 + 1;
            let etag = self.part(&upload, number, parts[at], &acknowledged).await?;
            acknowledged.insert(number, etag);
            self.sent.parts += 1;
            self.pause(400).await;
            if self.rng.random_bool(0.04) {
                let key = upload.key.clone();
                self.holds(&upload.id, &key, &acknowledged).await?;
                self.sent.left.push((upload.id, acknowledged));
                return Ok(());
            }
            if self.rng.random_bool(0.04) {
                self.ask(Method::DELETE, &format!("/v1/uploads/{}", upload.id), None, None).await?;
                self.sent.given_up.push(upload.id);
                return Ok(());
            }
        }
        self.complete(&upload, &acknowledged).await?;
        let mut master = None;
        let shown = self.ask(Method::GET, &format!("/v1/uploads/{}", upload.id), None, None).await?;
        if shown["state"] != "stored" || shown["bytes"] != content.len() {
            return Err(format!("{} was completed, and is shown as {shown}", upload.id));
        }
        if settings.is_some() {
            master = shown["master"].as_str().map(str::to_owned);
            if master.is_none() {
                return Err(format!("{} was completed without its master: {shown}", upload.id));
            }
        } else if wanted {
            let of = if self.way == Way::Companion { &upload.key } else { &upload.id };
            master = Some(self.master(of).await?);
        }
        self.sent.whole.push(Whole { upload: upload.id, sha256: sha256(&content), song, master, stored: true });
        Ok(())
    }

    /// Sends one part until it is acknowledged.
    async fn part(&mut self, upload: &Open, number: u64, bytes: &[u8], before: &BTreeMap<u64, String>) -> Done<String> {
        let etag = digest(&Md5::checksum(bytes));
        let began = Instant::now();
        loop {
            let url = self.address(upload, number).await?;
            let why = match self.once(self.world.http.put(url).body(bytes.to_vec())).await {
                Ok(Answer { status: 200, etag: Some(said), .. }) if said.trim_matches('"') == etag => return Ok(etag),
                Ok(answer) if answer.status < 500 => {
                    return Err(format!("part {number} of {}: {answer:?}", upload.id));
                }
                Ok(answer) => format!("{answer:?}"),
                Err(error) => error.to_string(),
            };
            self.sent.unanswered += 1;
            if began.elapsed() > PATIENCE {
                return Err(format!("part {number} of {}: stuck: {why}", upload.id));
            }
            self.holds(&upload.id, &upload.key, before).await?;
        }
    }

    async fn complete(&mut self, upload: &Open, parts: &BTreeMap<u64, String>) -> Done<()> {
        let Open { id, key, .. } = upload;
        let named = |number: &str, etag: &str| -> Vec<Value> {
            parts.iter().map(|(n, tag)| json!({ number: n, etag: format!("\"{tag}\"") })).collect()
        };
        let (path, body) = match self.way {
            Way::Companion => (
                format!("/v1/companion/s3/multipart/{id}/complete?key={key}"),
                json!({ "parts": named("PartNumber", "ETag") }),
            ),
            _ => (format!("/v1/uploads/{id}/complete"), json!({ "parts": named("number", "etag") })),
        };
        if self.rng.random_bool(0.15) {
            // A browser that goes away in the middle of it, and comes back.
            let request = self.signed(&Method::POST, &path, &serde_json::to_vec(&body).unwrap());
            let request = request.header("content-type", "application/json").timeout(Duration::from_millis(4));
            drop(self.once(request).await);
            self.pause(300).await;
        }
        self.ask(Method::POST, &path, Some(&body), None).await.map(drop)
    }

    /// Asks for a master of an upload.
    async fn master(&mut self, upload: &str) -> Done<String> {
        let body = json!({ "uploads": [upload] });
        let made = self.ask(Method::POST, "/v1/masters", Some(&body), Some(&new_id("key"))).await?;
        let master = made["items"][0]["id"].as_str().map(str::to_owned);
        master.ok_or_else(|| format!("no master of {upload}: {made}"))
    }

    /// A small file in one form, as Uppy sends it. Nobody says goodbye: it is adopted with its master, or by the sweeper.
    async fn in_a_form(&mut self) -> Done<()> {
        let (song, content) = self.file();
        let name = format!("form%20{:08x}.wav", self.rng.random::<u32>());
        self.sent.begun += 1;
        let path = format!("/v1/companion/s3/params?filename={name}&type=audio%2Fwav");
        let form = self.ask(Method::GET, &path, None, None).await?;
        let (Some(url), Some(fields)) = (form["url"].as_str(), form["fields"].as_object()) else {
            return Err(format!("no form: {form}"));
        };
        let mut body = Vec::new();
        for (name, value) in fields {
            let value = value.as_str().unwrap_or_default();
            let field = format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(field.as_bytes());
        }
        body.extend_from_slice(b"--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n");
        body.extend_from_slice(&content);
        body.extend_from_slice(b"\r\n--edge--\r\n");
        let began = Instant::now();
        loop {
            let request = self.world.http.post(url).body(body.clone());
            match self.once(request.header("content-type", "multipart/form-data; boundary=edge")).await {
                Ok(Answer { status: 201, .. }) => break,
                Ok(answer) if answer.status < 500 => return Err(format!("the form: {answer:?}")),
                _ if began.elapsed() > PATIENCE => return Err("the form: stuck".to_owned()),
                _ => self.sent.unanswered += 1,
            }
            self.pause(300).await;
        }
        let key = fields["key"].as_str().unwrap_or_default().to_owned();
        let upload = key.trim_start_matches("uploads/").split('.').next().unwrap_or_default().to_owned();
        self.pause(400).await;
        let master = if self.rng.random_bool(0.6) { Some(self.master(&key).await?) } else { None };
        let stored = master.is_some();
        self.sent.whole.push(Whole { upload, sha256: sha256(&content), song, master, stored });
        Ok(())
    }

    /// Everything that is shown to this guest, page by page.
    pub(super) async fn masters(&mut self) -> Done<Vec<Value>> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut page = self.ask(Method::GET, &format!("/v1/masters?limit=200{cursor}"), None, None).await?;
            if let Value::Array(items) = page["items"].take() {
                all.extend(items);
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    pub(super) fn way_is_own(&self) -> bool {
        self.way == Way::Parts
    }

    pub(super) async fn shown(&mut self, path: &str) -> Done<Value> {
        self.ask(Method::GET, path, None, None).await
    }
}
