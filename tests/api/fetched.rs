//! Mixes from addresses: hosts that behave, break off, lie, never end, and lead elsewhere.

use crate::service::{Browser, Service};
use axum::http::Method;
use loopmaster::domain::uploads::fetched;
use loopmaster::outside::webhooks::guard::{Guard, Resolve};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MIB: usize = 1 << 20;

/// A host of files. What it does is in the path.
struct Origin {
    /// `127.0.0.1:<port>`
    place: String,
    /// The requests, with their headers in lower case.
    seen: Arc<Mutex<Vec<String>>>,
    /// Connections on which it is told that the other side has gone.
    left: Arc<Mutex<u32>>,
}

impl Origin {
    async fn start(content: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let (seen, left) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (content, telling, leaving) = (Arc::new(content), Arc::clone(&seen), Arc::clone(&left));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (content, telling, leaving) = (Arc::clone(&content), Arc::clone(&telling), Arc::clone(&leaving));
                tokio::spawn(async move {
                    if answer(socket, &content, &telling).await.is_err() {
                        *leaving.lock().unwrap() += 1;
                    }
                });
            }
        });
        Self { place, seen, left }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.place)
    }

    fn asked(&self, path: &str) -> Vec<String> {
        let start = format!("get {path} ");
        self.seen.lock().unwrap().iter().filter(|request| request.starts_with(&start)).cloned().collect()
    }
}

async fn answer(mut socket: TcpStream, content: &[u8], seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let path = path.split('?').next().unwrap_or_default();
    let before = {
        let mut seen = seen.lock().unwrap();
        let start = format!("get {path}");
        let before = seen.iter().filter(|request| request.starts_with(&start)).count();
        seen.push(head.clone());
        before
    };
    let from: usize = head
        .split("range: bytes=")
        .nth(1)
        .and_then(|rest| rest.split('-').next()?.parse().ok())
        .unwrap_or(0)
        .min(content.len());
    let all = content.len();
    let send = match path {
        "/lies.wav" => "200 OK\r\ncontent-length: 999999999999\r\n\r\n".to_owned(),
        "/empty.wav" => "200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/page.wav" => "200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: 6\r\n\r\n<html>".to_owned(),
        "/packed.wav" => "200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 6\r\n\r\nxxxxxx".to_owned(),
        "/moved.wav" => "302 Found\r\nlocation: whole.wav\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/loop.wav" => "302 Found\r\nlocation: /loop.wav\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/near.wav" => "302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/inner.wav" => "302 Found\r\nlocation: https://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/named.wav" => "302 Found\r\nlocation: https://inner.example/x\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/busy.wav" if before == 0 => "503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n".to_owned(),
        // The last is cut off without a way to go on.
        "/whole.wav" | "/busy.wav" | "/torn.wav" => format!("200 OK\r\ncontent-length: {all}\r\n\r\n"),
        "/pieces.wav" | "/other.wav" if from == 0 => format!("200 OK\r\netag: \"a\"\r\ncontent-length: {all}\r\n\r\n"),
        "/pieces.wav" => format!(
            "206 Partial\r\netag: \"a\"\r\ncontent-range: bytes {from}-{}/{all}\r\ncontent-length: {}\r\n\r\n",
            all - 1,
            all - from
        ),
        "/other.wav" => format!(
            "206 Partial\r\netag: \"b\"\r\ncontent-range: bytes {from}-{all}/{}\r\ncontent-length: {}\r\n\r\n",
            all + 1,
            all + 1 - from
        ),
        "/endless.wav" | "/counted.wav" | "/drip.wav" => "200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
        _ => "404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
    };
    socket.write_all(format!("HTTP/1.1 {send}").as_bytes()).await?;
    match path {
        "/whole.wav" | "/busy.wav" => socket.write_all(content).await?,
        "/torn.wav" => socket.write_all(&content[..all / 2]).await?,
        "/pieces.wav" | "/other.wav" => socket.write_all(&content[from..all.min(from + 3 * MIB)]).await?,
        "/counted.wav" => {
            for piece in content.chunks(100_000) {
                socket.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                socket.write_all(piece).await?;
                socket.write_all(b"\r\n").await?;
            }
            socket.write_all(b"0\r\n\r\n").await?;
        }
        "/endless.wav" => loop {
            socket.write_all(format!("{MIB:x}\r\n").as_bytes()).await?;
            socket.write_all(&vec![7; MIB]).await?;
            socket.write_all(b"\r\n").await?;
        },
        "/drip.wav" => loop {
            socket.write_all(b"1\r\nx\r\n").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        },
        _ => {}
    }
    socket.shutdown().await
}

/// Orders a file and has it fetched once, as a worker does. Gives the upload as it is afterwards.
async fn order(service: &Service, browser: &Browser<'_>, guard: &Guard, body: Value) -> Value {
    let upload = browser.post("/v1/uploads", body).await.good();
    let id = upload["id"].as_str().unwrap();
    assert_eq!((&upload["state"], &upload["fetched"]), (&json!("uploading"), &json!(true)));
    fetched::fetch(&service.app.service, guard, id, false).await.unwrap();
    browser.get(&format!("/v1/uploads/{id}")).await.good()
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 7 % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_whole_whatever_the_connection_does() {
    let file = content(11 * MIB + 5);
    let origin = Origin::start(file.clone()).await;
    let exempt = vec![origin.place.clone()];
    let change = |config: &mut loopmaster::config::Config| {
        config.webhooks.exempt.clone_from(&exempt);
        config.limits.part_bytes = 5 << 20;
    };
    for service in Service::both(change).await {
        let guard = Guard::of(&service.app.config);
        let ana = service.user("ana@example.com").await;
        for path in ["/whole.wav", "/counted.wav", "/pieces.wav", "/moved.wav", "/busy.wav"] {
            let upload = order(&service, &ana, &guard, json!({ "url": origin.url(path) })).await;
            assert_eq!(
                (&upload["state"], &upload["bytes"], &upload["name"]),
                (&json!("stored"), &json!(file.len()), &json!(&path[1..])),
                "{}: {path}: {upload}",
                service.name
            );
            let id = upload["id"].as_str().unwrap();
            let key = service.value("SELECT stored_key FROM uploads WHERE id = $1", id).await.unwrap();
            let kept = service.app.store.get(&key).await.unwrap().bytes(u64::MAX).await.unwrap();
            assert!(kept == file, "{}: {path}: other bytes arrived", service.name);
        }
        let pieces = origin.asked("/pieces.wav");
        assert!(pieces.len() >= 4 && pieces[1].contains("range: bytes=") && pieces[1].contains("if-range: \"a\""));
        assert_eq!(ana.get("/v1/me").await.good()["quotas"]["stored_bytes"]["used"], 5 * file.len());
        origin.seen.lock().unwrap().clear();

        // Mastered as soon as it is there, and asked for again by the same key it is the same.
        let body = json!({ "url": origin.url("/whole.wav"), "name": "Ä.wav", "settings": { "style": "warm" } });
        let key = [("idempotency-key", "once")];
        let first = ana.send(Method::POST, "/v1/uploads", Some(body.clone()), &key).await.good();
        let id = first["id"].as_str().unwrap();
        fetched::fetch(&service.app.service, &guard, id, false).await.unwrap();
        let there = ana.get(&format!("/v1/uploads/{id}")).await.good();
        assert!(there["master"].is_string() && there["name"] == "Ä.wav", "{there}");
        assert_eq!(ana.send(Method::POST, "/v1/uploads", Some(body), &key).await.good()["id"], id);
        // A worker that died after it had everything comes back, and finds nothing to do.
        fetched::fetch(&service.app.service, &guard, id, false).await.unwrap();
        assert_eq!(origin.asked("/whole.wav").len(), 1, "it is not fetched twice");
        origin.seen.lock().unwrap().clear();
    }
}

struct Inner;

impl Resolve for Inner {
    fn resolve(&self, _: String) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        Box::pin(async { Ok(vec![[10, 0, 0, 1].into()]) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_says_why() {
    let origin = Origin::start(content(4 * MIB)).await;
    let exempt = vec![origin.place.clone()];
    let change = |config: &mut loopmaster::config::Config| {
        config.webhooks.exempt.clone_from(&exempt);
        config.limits.file_bytes = 16 << 20;
        config.limits.part_bytes = 5 << 20;
        config.limits.user.stored_bytes = 40 << 20;
    };
    for service in Service::both(change).await {
        let guard = Guard::with_resolver(Arc::new(Inner), exempt.clone());
        let ana = service.user("ana@example.com").await;
        for (path, code) in [
            ("/lies.wav", "decode.too_large"),
            ("/endless.wav", "decode.too_large"),
            ("/empty.wav", "decode.empty"),
            ("/page.wav", "fetch.not_a_file"),
            ("/packed.wav", "fetch.not_a_file"),
            ("/none.wav", "fetch.answered"),
            ("/loop.wav", "fetch.redirects"),
            ("/near.wav", "fetch.url"),
            ("/inner.wav", "fetch.not_public"),
            ("/named.wav", "fetch.not_public"),
            ("/torn.wav", "fetch.broken"),
            ("/other.wav", "fetch.changed"),
        ] {
            let url = origin.url(&format!("{path}?key=hush"));
            let upload = order(&service, &ana, &guard, json!({ "url": url, "settings": { "style": "warm" } })).await;
            assert_eq!(
                (&upload["state"], &upload["error"]["code"]),
                (&json!("aborted"), &json!(code)),
                "{path}: {upload}"
            );
            assert!(upload["error"]["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{upload}");
            assert!(!upload.to_string().contains("hush"), "{upload}");
        }
        assert_eq!(service.number("SELECT COUNT(*) FROM masters WHERE $1 = $1", "").await, 0);
        assert!(service.app.store.unfinished("uploads/").await.unwrap().is_empty(), "parts are left in storage");
        let me = ana.get("/v1/me").await.good();
        assert_eq!(me["quotas"]["stored_bytes"]["used"], 0, "{}: what did not come counts", service.name);
        let left = "SELECT COUNT(*) FROM uploads WHERE source <> $1";
        assert_eq!(service.number(left, "").await, 0, "{}: addresses are kept", service.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetched_bytes_count_before_they_come() {
    let origin = Origin::start(content(4 * MIB)).await;
    let exempt = vec![origin.place.clone()];
    let change = |config: &mut loopmaster::config::Config| {
        config.webhooks.exempt.clone_from(&exempt);
        config.limits.part_bytes = 5 << 20;
        config.limits.user.stored_bytes = 10 << 20;
    };
    for service in Service::both(change).await {
        let guard = Guard::of(&service.app.config);
        let ana = service.user("ana@example.com").await;
        for path in ["/whole.wav", "/counted.wav"] {
            assert_eq!(order(&service, &ana, &guard, json!({ "url": origin.url(path) })).await["state"], "stored");
        }
        for path in ["/whole.wav", "/counted.wav", "/endless.wav"] {
            let upload = order(&service, &ana, &guard, json!({ "url": origin.url(path) })).await;
            assert_eq!(upload["error"]["code"], "quota.stored_bytes", "{}: {path}: {upload}", service.name);
        }
        assert_eq!(ana.get("/v1/me").await.good()["quotas"]["stored_bytes"]["used"], 8 * MIB);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_looked_at_before_anything_is_made() {
    for service in Service::both(|_| {}).await {
        let ana = service.user("ana@example.com").await;
        for url in [
            "http://example.com/a.wav",
            "https://example.com:8443/a.wav",
            "https://ana:hush@example.com/a.wav",
            "https://localhost/a.wav",
            "https://10.0.0.1/a.wav",
            "https://[::ffff:127.0.0.1]/a.wav",
            "file:///etc/passwd",
            "",
        ] {
            let refused = ana.post("/v1/uploads", json!({ "url": url })).await;
            assert_eq!(refused.problem(), (422, "fetch.url".to_owned()), "{url}");
            assert!(!refused.json().to_string().contains("hush"));
        }
        let url = "https://files.example.com/My%20mix.wav?key=hush";
        for body in [json!({ "url": url, "bytes": 5 }), json!({ "name": "a.wav" }), json!({ "bytes": 5 }), json!({})] {
            assert_eq!(ana.post("/v1/uploads", body).await.problem(), (422, "request.invalid_field".to_owned()));
        }
        let guest = service.guest();
        let refused = guest.post("/v1/uploads", json!({ "url": url })).await;
        assert_eq!(refused.problem(), (401, "auth.sign_in_required".to_owned()));
        assert_eq!(service.number("SELECT COUNT(*) FROM uploads WHERE $1 = $1", "").await, 0);

        // Nobody else sends for it, nothing shows the address, and given up it is not fetched.
        let upload = ana.post("/v1/uploads", json!({ "url": url })).await.good();
        assert_eq!(upload["name"], "My mix.wav");
        let id = upload["id"].as_str().unwrap();
        for (path, body) in [("parts", json!({ "numbers": [1] })), ("complete", json!({ "parts": [] }))] {
            let refused = ana.post(&format!("/v1/uploads/{id}/{path}"), body).await;
            assert_eq!(refused.problem(), (409, "upload.fetched".to_owned()), "{path}");
        }
        let jobs = "SELECT COUNT(*) FROM jobs WHERE kind = 'fetch' AND subject = $1";
        assert_eq!(service.number(jobs, id).await, 1);
        let kept = service.value("SELECT source FROM uploads WHERE id = $1", id).await.unwrap();
        assert!(!kept.is_empty() && !kept.contains("hush") && !kept.contains("example"), "{kept}");
        assert_eq!(ana.delete(&format!("/v1/uploads/{id}")).await.status, 204);
        assert_eq!(service.number(jobs, id).await, 0);
        assert_eq!(service.value("SELECT source FROM uploads WHERE id = $1", id).await.as_deref(), Some(""));
        fetched::fetch(&service.app.service, &Guard::of(&service.app.config), id, false).await.unwrap();
        let upload = ana.get(&format!("/v1/uploads/{id}")).await.good();
        assert_eq!((&upload["state"], upload.get("error")), (&json!("aborted"), None));
    }
}

/// With a worker: the queue, and a deletion in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_fetches_and_stops_when_the_upload_is_deleted() {
    let origin = Origin::start(content(MIB)).await;
    let service = Service::working_with(|config| config.webhooks.exempt = vec![origin.place.clone()]).await;
    let ana = service.user("ana@example.com").await;
    let until = async |what: &str, done: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // More than run at once: none of them may keep the others waiting for good.
    let mut dripping = Vec::new();
    for _ in 0..4 {
        let upload = ana.post("/v1/uploads", json!({ "url": origin.url("/drip.wav") })).await.good();
        dripping.push(upload["id"].as_str().unwrap().to_owned());
    }
    until("four are fetched at once", &|| origin.asked("/drip.wav").len() == 4).await;
    let last = ana.post("/v1/uploads", json!({ "url": origin.url("/whole.wav") })).await.good();
    for id in &dripping {
        assert_eq!(ana.delete(&format!("/v1/uploads/{id}")).await.status, 204);
    }
    until("the connections end", &|| *origin.left.lock().unwrap() >= 4).await;
    let begun = Instant::now();
    loop {
        let upload = ana.get(&format!("/v1/uploads/{}", last["id"].as_str().unwrap())).await.good();
        if upload["state"] == "stored" {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{upload}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
