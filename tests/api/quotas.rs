//! What strangers may take: bytes, turns, connections. Each test is an attack that worked once.

use crate::service::{Browser, Reply, Service};
use crate::storage::limits::crowd;
use loopmaster::config::Config;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: u64 = 1 << 20;

fn guest_bytes(bytes: u64) -> impl Fn(&mut Config) {
    move |config| config.limits.guest.stored_bytes = bytes
}

/// Begins an upload as stock Uppy does; gives its id and key.
async fn begin(browser: &Browser<'_>, base: &str, metadata: Value) -> Reply {
    let body = json!({ "filename": "song.wav", "type": "audio/wav", "metadata": metadata });
    browser.post(&format!("{base}/multipart"), body).await
}

fn place(created: &Value) -> (String, String) {
    (created["uploadId"].as_str().unwrap().to_owned(), created["key"].as_str().unwrap().to_owned())
}

async fn put(service: &Service, url: &str, length: u64) -> u16 {
    let body = vec![7_u8; usize::try_from(length).unwrap()];
    service.http.put(url).body(body).send().await.map_or(0, |answer| answer.status().as_u16())
}

/// The most bytes an address says it takes.
fn most(url: &str) -> u64 {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().find(|(name, _)| name == "x-most-bytes").map_or(0, |(_, most)| most.parse().unwrap())
}

/// Sends parts as large as they are let in until none is.
async fn fill(service: &Service, browser: &Browser<'_>, base: &str) -> (u64, Reply) {
    let (upload, key) = place(&begin(browser, base, json!({})).await.good());
    let mut sent = 0;
    for number in 1.. {
        let signed = browser.get(&format!("{base}/multipart/{upload}/{number}?key={key}")).await;
        if signed.status != StatusCode::OK {
            return (sent, signed);
        }
        let signed = signed.good();
        let url = signed["url"].as_str().unwrap();
        let most = most(url);
        // It may hang up before it has read everything.
        assert!([400, 0].contains(&put(service, url, most + 1).await), "a byte more than was signed");
        assert_eq!(put(service, url, most).await, 200);
        assert_eq!(put(service, url, most).await, 200, "sent again, it takes no more room");
        sent += most;
    }
    unreachable!("numbers end at 10,000");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_unknown_size_count_against_the_quota() {
    for service in Service::both(guest_bytes(12 * MIB)).await {
        let guest = service.guest();
        let base = "/v1/companion/s3";
        let (sent, refused) = fill(&service, &guest, base).await;
        assert_eq!(refused.problem(), (403, "quota.stored_bytes".to_owned()), "{}", service.name);
        assert!(refused.json()["error"].as_str().is_some_and(|text| text.contains("the limit is 12582912")));
        assert_eq!(sent, 12 * MIB);
        // Nothing else finds room, neither another upload nor a form.
        assert_eq!(begin(&guest, base, json!({})).await.problem(), (403, "quota.stored_bytes".to_owned()));
        let form = guest.get(&format!("{base}/params?filename=a.wav")).await;
        assert_eq!(form.problem(), (403, "quota.stored_bytes".to_owned()));
        let me = guest.get("/v1/me").await.good();
        assert_eq!(me["quotas"]["stored_bytes"]["used"], 12 * MIB, "what is on its way is shown");
        // Given up, the room is there again.
        let open =
            service.value("SELECT id FROM uploads WHERE owner = $1", guest.guest.as_ref().unwrap()).await.unwrap();
        assert_eq!(guest.delete(&format!("/v1/uploads/{open}")).await.status, 204);
        begin(&guest, base, json!({})).await.good();
    }
}

/// Many addresses first, many bytes afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_counted_before_anything_arrives() {
    let service = Service::with(guest_bytes(64 * MIB)).await;
    let guest = service.guest();
    let base = "/v1/companion/s3";
    let mut allowed = 0;
    for _ in 0..4 {
        let created = begin(&guest, base, json!({})).await;
        if created.status != StatusCode::OK {
            break;
        }
        let (upload, key) = place(&created.good());
        let numbers: Vec<String> = (1..=40).map(|number| number.to_string()).collect();
        for numbers in numbers.chunks(4) {
            let path = format!("{base}/multipart/{upload}/batch?key={key}&partNumbers={}", numbers.join(","));
            let signed = guest.get(&path).await;
            if signed.status == StatusCode::OK {
                let signed = signed.good();
                let urls = signed["presignedUrls"].as_object().unwrap();
                allowed += urls.values().map(|url| most(url.as_str().unwrap())).sum::<u64>();
            }
        }
    }
    assert!(allowed <= 64 * MIB && allowed > 32 * MIB, "{allowed} bytes may arrive");
    // Nor do they get as many addresses as they like where there is room.
    let user = service.user("a@example.org").await;
    let (upload, key) = place(&begin(&user, base, json!({})).await.good());
    let numbers: Vec<String> = (1..=65).map(|number| number.to_string()).collect();
    let path = format!("{base}/multipart/{upload}/batch?key={key}&partNumbers={}", numbers.join(","));
    assert_eq!(user.get(&path).await.problem(), (429, "upload.too_many_parts".to_owned()));
}

/// As [`crate::api::uploads`] does it with exact sizes, now all at once.
#[tokio::test(flavor = "multi_thread")]
async fn creates_at_the_same_moment_do_not_share_the_last_bytes() {
    for service in Service::both(guest_bytes(10 * MIB)).await {
        let guest = service.guest();
        let body = serde_json::to_vec(&json!({ "name": "a.wav", "bytes": 6 * MIB })).unwrap();
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let request =
                guest.signed(Method::POST, "/v1/uploads", body.clone(), &[("content-type", "application/json")]);
            all.spawn(async move { Reply::of(request.send().await.unwrap()).await.status.as_u16() });
        }
        let answers = all.join_all().await;
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{}: {answers:?}", service.name);
        assert!(answers.iter().all(|status| [201, 403].contains(status)), "{answers:?}");
        assert!(
            service.app.store.unfinished("uploads/").await.unwrap().len() <= 1,
            "what was refused is left in storage"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_cookies_buy_neither_bytes_nor_turns() {
    let change = |config: &mut Config| {
        config.limits.guest.stored_bytes = 10 * MIB;
        config.limits.guest.waiting = 1;
        config.limits.guest.tracks_a_day = 100;
        config.limits.guests_per_address = 2;
    };
    for service in Service::both(change).await {
        let home = service.guest().ip;
        let bytes = async |browser: &Browser<'_>| {
            browser.post("/v1/uploads", json!({ "name": "a.wav", "bytes": 6 * MIB })).await
        };
        let mut admitted = 0;
        for _ in 0..8 {
            let guest = Browser { ip: home.clone(), ..service.guest() };
            let reply = bytes(&guest).await;
            if reply.status == StatusCode::CREATED {
                admitted += 1;
            } else {
                assert_eq!(reply.problem(), (403, "quota.stored_bytes".to_owned()));
                assert_eq!((&reply.json()["limit"], &reply.json()["used"]), (&json!(20 * MIB), &json!(18 * MIB)));
            }
        }
        assert_eq!(admitted, 3, "{}", service.name);
        assert_eq!(bytes(&service.guest()).await.status, 201, "another address is not theirs");

        let home = service.guest().ip;
        let mut admitted = 0;
        for _ in 0..6 {
            let guest = Browser { ip: home.clone(), ..service.guest() };
            let reply = guest.post("/v1/uploads", json!({ "name": "a.wav", "bytes": 9, "settings": {} })).await;
            if reply.status == StatusCode::CREATED {
                admitted += 1;
                let again = guest.post("/v1/uploads", json!({ "name": "a.wav", "bytes": 9, "settings": {} })).await;
                assert_eq!(again.problem(), (403, "quota.waiting".to_owned()), "their own limit is one");
            } else {
                assert_eq!(reply.problem(), (403, "quota.waiting".to_owned()));
            }
        }
        assert_eq!(admitted, 2, "{}", service.name);
    }
}

/// A page that tells the size gets addresses of exactly that.
#[tokio::test(flavor = "multi_thread")]
async fn a_size_in_the_metadata_is_held_to() {
    let service = Service::start().await;
    let guest = service.guest();
    let base = "/v1/companion/s3";
    let size = 5 * MIB + 1_000;
    for told in [json!(size), json!(size.to_string())] {
        let (upload, key) = place(&begin(&guest, base, json!({ "name": "song.wav", "size": told })).await.good());
        let sign = async |number: u64| guest.get(&format!("{base}/multipart/{upload}/{number}?key={key}")).await;
        let first = sign(1).await.good()["url"].as_str().unwrap().to_owned();
        let last = sign(2).await.good()["url"].as_str().unwrap().to_owned();
        assert_eq!((most(&first), sign(3).await.problem().1.as_str()), (0, "upload.no_such_part"));
        // It may hang up before it has read everything.
        assert!([403, 0].contains(&put(&service, &first, 5 * MIB - 1).await));
        assert_eq!(put(&service, &last, 1_001).await, 403);
        assert_eq!((put(&service, &first, 5 * MIB).await, put(&service, &last, 1_000).await), (200, 200));
        let shown = guest.get(&format!("/v1/uploads/{upload}")).await.good();
        assert_eq!((&shown["bytes"], &shown["part_bytes"]), (&json!(size), &json!(5 * MIB)));
    }
    // Whatever else a page calls so is no size.
    for told in [json!("large"), json!(-1), json!(0), json!({}), json!(null)] {
        let (upload, _) = place(&begin(&guest, base, json!({ "size": told })).await.good());
        assert_eq!(guest.get(&format!("/v1/uploads/{upload}")).await.good()["bytes"], 0);
    }
    let form = guest.get(&format!("{base}/params?filename=a.wav&metadata%5Bsize%5D=77")).await.good();
    let key = form["fields"]["key"].as_str().unwrap();
    let bytes = "SELECT bytes FROM uploads WHERE client_key = $1";
    assert_eq!(service.number(bytes, key).await, 77);
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_take_what_is_left_and_count_at_once() {
    for service in Service::both(|config| {
        config.limits.guest.stored_bytes = 3_000;
        config.limits.form_bytes = 2_000;
    })
    .await
    {
        let guest = service.guest();
        let form = async || guest.get("/v1/companion/s3/params?filename=song.wav&type=audio%2Fwav").await;
        let (first, second) = (form().await.good(), form().await.good());
        assert_eq!(form().await.problem(), (403, "quota.stored_bytes".to_owned()), "{}", service.name);
        for (form, most) in [(&first, 2_000), (&second, 1_000)] {
            assert_eq!(super::uploads::post_form(&service, form, &vec![7; most + 1]).await, 400);
            assert_eq!(super::uploads::post_form(&service, form, &vec![7; most]).await, 201);
        }
        // Given up, the address still takes a file: it counts as long as it works.
        let open =
            service.value("SELECT id FROM uploads WHERE owner = $1", guest.guest.as_ref().unwrap()).await.unwrap();
        assert_eq!(guest.delete(&format!("/v1/uploads/{open}")).await.status, 204);
        assert_eq!(form().await.problem(), (403, "quota.stored_bytes".to_owned()));
        service.change("UPDATE uploads SET created_at = created_at - 7200001 WHERE owner <> $1", "nobody").await;
        form().await.good();
    }
}

/// How an upload by a form is deleted while the form can still be sent.
#[derive(Clone, Copy, Debug)]
enum Deleted {
    Unsent,
    Stored,
    /// With the only master made from it.
    Mastered,
}

/// Bytes in storage that came by uploads.
async fn on_disk(service: &Service) -> u64 {
    let mut bytes = 0;
    for prefix in ["uploads/", "stored/"] {
        bytes += service.app.store.list(prefix).await.unwrap().iter().map(|found| found.bytes).sum::<u64>();
    }
    bytes
}

async fn undo_ends(service: &Service) {
    let text = "UPDATE masters SET deleted_at = deleted_at - 31000 WHERE deleted_at IS NOT NULL AND id <> $1";
    service.change(text, "none").await;
}

/// Makes the addresses signed so far end, and what is doomed go.
async fn two_hours_later(service: &Service) {
    service.change("UPDATE uploads SET created_at = created_at - 7200001 WHERE id <> $1", "none").await;
    service.change("UPDATE objects SET sweep_after = sweep_after - 7200001 WHERE key <> $1", "none").await;
    undo_ends(service).await;
    loopmaster::domain::retention::sweep(&service.app).await.unwrap();
}

/// Signs a form, deletes its upload in one of the ways, and gives the form; `None` where no room is left.
async fn sign_and_delete(service: &Service, browser: &Browser<'_>, size: &str, how: Deleted) -> Option<Value> {
    let form = browser.get(&format!("/v1/companion/s3/params?filename=song.wav&type=audio%2Fwav{size}")).await;
    if form.status != StatusCode::OK {
        assert_eq!(form.problem(), (403, "quota.stored_bytes".to_owned()));
        return None;
    }
    let form = form.good();
    let key = form["fields"]["key"].as_str().unwrap();
    let id = service.value("SELECT id FROM uploads WHERE client_key = $1", key).await.unwrap();
    let deleted = match how {
        Deleted::Unsent => browser.delete(&format!("/v1/companion/s3/multipart/{id}?key={key}")).await,
        Deleted::Stored => {
            assert_eq!(super::uploads::post_form(service, &form, &[7; 1_000]).await, 201);
            let parts = json!({ "parts": [{ "number": 1, "etag": "e" }] });
            let stored = browser.post(&format!("/v1/uploads/{id}/complete"), parts).await.good();
            assert_eq!(stored["state"], "stored");
            browser.delete(&format!("/v1/uploads/{id}")).await
        }
        Deleted::Mastered => {
            assert_eq!(super::uploads::post_form(service, &form, &[7; 1_000]).await, 201);
            let made = browser.post("/v1/masters", json!({ "uploads": [key] })).await.good();
            browser.delete(&format!("/v1/masters/{}", made["items"][0]["id"].as_str().unwrap())).await
        }
    };
    assert!(deleted.status.is_success(), "{how:?}: {deleted:?}");
    Some(form)
}

/// Deleting uploads buys no room while their forms can be sent: what may come counts, however it was deleted, and goes in the end.
#[tokio::test(flavor = "multi_thread")]
async fn deleted_uploads_count_while_their_forms_can_be_sent() {
    let quota = 4_000;
    let change = move |config: &mut Config| {
        for limits in [&mut config.limits.guest, &mut config.limits.user] {
            limits.stored_bytes = quota;
            limits.tracks_a_day = 1_000;
        }
        config.limits.guests_per_address = 1;
        config.limits.form_bytes = 1_000;
    };
    for service in Service::both(change).await {
        for how in [Deleted::Unsent, Deleted::Stored, Deleted::Mastered] {
            for size in ["&metadata%5Bsize%5D=1000", ""] {
                let home = service.guest();
                let user = service.user(&format!("{how:?}{}@example.org", size.len())).await;
                for account in [false, true] {
                    let what = format!("{}: {how:?} {size:?} account: {account}", service.name);
                    let before = on_disk(&service).await;
                    let mut forms = Vec::new();
                    for _ in 0..2 {
                        for _ in 0..3 {
                            // A visitor without an account forgets who they were, too.
                            let fresh = Browser { ip: home.ip.clone(), ..service.guest() };
                            let browser = if account { &user } else { &fresh };
                            forms.extend(sign_and_delete(&service, browser, size, how).await);
                        }
                        undo_ends(&service).await;
                        loopmaster::domain::retention::sweep(&service.app).await.unwrap();
                    }
                    for form in &forms {
                        assert_eq!(super::uploads::post_form(&service, form, &[7; 1_000]).await, 201, "{what}");
                    }
                    let brought = on_disk(&service).await - before;
                    println!("{what}: {} forms, {brought} bytes", forms.len());
                    assert!(brought <= quota && brought >= quota / 2, "{what}: {brought} bytes of {quota}");
                }
                // What is kept of them is a number: no name, nothing to be listed, nothing to be found.
                for table in ["uploads", "uploads?state=gone"] {
                    assert_eq!(user.get(&format!("/v1/{table}")).await.good()["items"], json!([]), "{table}");
                }
                let named = "SELECT COUNT(*) FROM uploads WHERE state = 'gone' AND name <> $1";
                assert_eq!(service.number(named, "").await, 0);
                two_hours_later(&service).await;
                assert_eq!(on_disk(&service).await, 0, "{}: {how:?} {size:?}: what came late is left", service.name);
                assert_eq!(service.number("SELECT COUNT(*) FROM uploads WHERE state = $1", "gone").await, 0);
                assert!(sign_and_delete(&service, &user, size, how).await.is_some(), "there is room again");
                two_hours_later(&service).await;
            }
        }
    }
}

/// While a form can be sent once more, a second file of it may lie beside the copy that is mastered.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_counts_beside_the_copy_of_its_file() {
    for service in Service::both(guest_bytes(10_000)).await {
        let guest = service.guest();
        let used = async || guest.get("/v1/me").await.good()["quotas"]["stored_bytes"]["used"].as_u64().unwrap();
        let form = guest.get("/v1/companion/s3/params?filename=a.wav&metadata%5Bsize%5D=1000").await.good();
        assert_eq!(used().await, 1_000, "{}", service.name);
        assert_eq!(super::uploads::post_form(&service, &form, &[7; 1_000]).await, 201);
        assert_eq!((used().await, on_disk(&service).await), (1_000, 1_000));
        let id = service.value("SELECT id FROM uploads WHERE owner = $1", guest.guest.as_ref().unwrap()).await.unwrap();
        let parts = json!({ "parts": [{ "number": 1, "etag": "e" }] });
        guest.post(&format!("/v1/uploads/{id}/complete"), parts).await.good();
        assert_eq!(super::uploads::post_form(&service, &form, &[8; 1_000]).await, 201);
        assert_eq!((used().await, on_disk(&service).await), (2_000, 2_000));
        two_hours_later(&service).await;
        assert_eq!((used().await, on_disk(&service).await), (1_000, 1_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grants_bytes_hold_while_they_arrive() {
    for service in Service::both(|_| {}).await {
        let user = service.user("a@example.org").await;
        let grant = service.grant(user.user.as_ref().unwrap(), 3, 7 * 1024 * 1024).await;
        let page = Browser { guest: None, session: None, ..service.guest() };
        let (sent, refused) = fill(&service, &page, &format!("/v1/u/{grant}/s3")).await;
        assert_eq!(refused.problem(), (403, "grant.exhausted".to_owned()), "{}", service.name);
        assert_eq!(sent, 7 * MIB);
    }
}

/// Storage that does not hold to what was signed: more than may be ends the upload as soon as it is seen.
#[tokio::test(flavor = "multi_thread")]
async fn what_arrived_all_the_same_is_seen() {
    let service = Service::with(guest_bytes(12 * MIB)).await;
    let guest = service.guest();
    let base = "/v1/companion/s3";
    let (upload, key) = place(&begin(&guest, base, json!({})).await.good());
    guest.get(&format!("{base}/multipart/{upload}/1?key={key}")).await.good();
    // As another S3 would take it by the same address.
    let s3_upload = service.value("SELECT s3_upload FROM uploads WHERE id = $1", &upload).await.unwrap();
    let url = service.app.store.presign_part(&key, &s3_upload, 1, 13 * MIB, Duration::from_mins(1)).await.unwrap();
    assert_eq!(put(&service, url.as_str(), 13 * MIB).await, 200);
    let next = guest.get(&format!("{base}/multipart/{upload}/2?key={key}")).await;
    assert_eq!(next.problem(), (403, "quota.stored_bytes".to_owned()));
    assert_eq!(guest.get(&format!("/v1/uploads/{upload}")).await.good()["state"], "aborted");
    assert!(service.app.store.unfinished("uploads/").await.unwrap().is_empty(), "its parts are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_leaves_unfinished_goes_within_hours() {
    for service in Service::both(|_| {}).await {
        let (guest, user) = (service.guest(), service.user("a@example.org").await);
        let begun = async |browser: &Browser<'_>| {
            browser.post("/v1/uploads", json!({ "name": "a.wav", "bytes": 9 })).await.good()["id"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let (of_guest, of_user) = (begun(&guest).await, begun(&user).await);
        let thirteen = "UPDATE uploads SET updated_at = updated_at - 46800000 WHERE id <> $1";
        service.change(thirteen, "none").await;
        loopmaster::domain::retention::sweep(&service.app).await.unwrap();
        assert_eq!(guest.get(&format!("/v1/uploads/{of_guest}")).await.status, 404, "{}", service.name);
        assert_eq!(user.get(&format!("/v1/uploads/{of_user}")).await.status, 200);
        assert_eq!(service.app.store.unfinished("uploads/").await.unwrap().len(), 1);
    }
}

/// What lies in the table of answers opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn kept_answers_are_sealed() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        let create = async || {
            let body = Some(json!({ "name": "a secret title.wav", "bytes": 9 }));
            guest.send(Method::POST, "/v1/uploads", body, &[("idempotency-key", "k")]).await
        };
        let first = create().await;
        let body = service.value("SELECT body FROM idempotency WHERE key = $1", "k").await.unwrap();
        assert!(!body.contains("secret") && !body.contains('{'), "{}: {body}", service.name);
        // What it is about can be read: it goes together with that.
        assert!(body.ends_with(first.json()["id"].as_str().unwrap()), "{body}");
        let again = create().await;
        assert_eq!(
            (again.status, again.good(), again.header("idempotent-replayed").as_str()),
            (first.status, first.good(), "true")
        );
        // An answer of the version before.
        service.change("UPDATE idempotency SET body = '{\"old\":1}' WHERE key = $1", "k").await;
        assert_eq!(create().await.good(), json!({ "old": 1 }));
        // A row moved to another key does not open.
        service.change("UPDATE idempotency SET body = '1.AAAAAAAAAAAAAAAA.AAAA' WHERE key = $1", "k").await;
        assert_eq!(create().await.problem(), (409, "idempotency.unreadable".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn minting_has_an_end() {
    for service in Service::both(|_| {}).await {
        let user = service.user("a@example.org").await;
        let id = user.user.clone().unwrap();
        let token = service.token(&id, "account").await;
        let mint = async || {
            let body = Some(json!({ "files": 1, "bytes": 1 }));
            service.bearer(Some(&token), Method::POST, "/v1/me/grants", body).await
        };
        assert_eq!(mint().await.status, 201);
        service.change("UPDATE limits SET tat = {now} + 3600000 WHERE key = $1", &format!("grants:{id}")).await;
        let refused = mint().await;
        assert_eq!(refused.problem(), (429, "rate.exceeded".to_owned()), "{}", service.name);
        assert_eq!(refused.json()["rule"], "grants");
        let audited =
            service.number("SELECT COUNT(*) FROM audit WHERE action = 'grant.minted' AND actor <> $1", "x").await;
        assert_eq!(audited, 1);
    }
}

/// A client with more connections than anybody needs, on the api and on the storage; the edge's own are not counted with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_says_nothing_keeps_nobody_waiting() {
    let service = Service::start().await;
    let files = service.app.config.files_url.to_string();
    let url = url::Url::parse(&files).unwrap();
    let files: std::net::SocketAddr = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()).parse().unwrap();
    let api: std::net::SocketAddr = service.authority().parse().unwrap();
    // A connection of the edge, kept for the next visitor.
    let guest = service.guest();
    let head = |path: &str| {
        let request = guest.signed(Method::GET, path, Vec::new(), &[]).build().unwrap();
        let mut head = format!("GET {path} HTTP/1.1\r\nhost: {api}\r\n");
        for (name, value) in request.headers() {
            let _ = write!(head, "{name}: {}\r\n", value.to_str().unwrap());
        }
        head + "\r\n"
    };
    let mut edge = tokio::net::TcpStream::connect(api).await.unwrap();
    let ask = async |edge: &mut tokio::net::TcpStream| {
        edge.write_all(head("/v1/uploads").as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = edge.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).starts_with("HTTP/1.1 200")
    };
    assert!(ask(&mut edge).await);
    for (address, path) in [(api, "/livez"), (files, "/")] {
        let crowd = crowd(address, 1_200).await;
        let began = Instant::now();
        let answer = service.http.get(format!("http://{address}{path}")).send().await.unwrap();
        println!("{path} beside {} connections: {} after {:?}", crowd.len(), answer.status(), began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(ask(&mut edge).await, "the connection of the edge was cut");
    }
}
