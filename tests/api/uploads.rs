//! Uploads: our own contract and that of Uppy's Companion, with everything clients do wrong.

use crate::service::{Browser, Reply, Service};
use loopmaster::domain::uploads;
use loopmaster::store::PartTag;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Two parts: the smallest S3 allows, and a rest.
const SMALL: u64 = 5 << 20;

fn two_parts() -> Vec<u8> {
    (0..SMALL as u32 + 1000).map(|n| (n % 251) as u8).collect()
}

fn small_parts(config: &mut loopmaster::config::Config) {
    config.limits.part_bytes = SMALL;
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

async fn complete(browser: &Browser<'_>, upload: &Value, parts: &Value) -> Reply {
    browser.post(&format!("/v1/uploads/{}/complete", id(upload)), json!({ "parts": parts })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_arrives_whole_and_only_its_owner_sees_it() {
    for service in Service::both(small_parts).await {
        let guest = service.guest();
        let content = two_parts();
        let upload = guest.begin("C:\\mixes\\song.wav", &content, json!({ "fingerprint": "f" })).await;
        assert_eq!(
            (&upload["state"], &upload["parts"], &upload["part_bytes"]),
            (&json!("uploading"), &json!(2), &json!(SMALL))
        );
        assert_eq!((&upload["name"], &upload["fingerprint"]), (&json!("song.wav"), &json!("f")));
        let parts = json!(guest.put_all(&upload, &content).await);
        let listed = guest.get(&format!("/v1/uploads/{}/parts", id(&upload))).await.good();
        assert_eq!(listed["parts"].as_array().unwrap().len(), 2, "{listed}");
        assert_eq!(listed["parts"][1]["bytes"], 1000);

        let kept = guest.post(&format!("/v1/uploads/{}/parts", id(&upload)), json!({ "numbers": [2] })).await.good();
        let first = complete(&guest, &upload, &parts).await.good();
        assert_eq!(first["state"], "stored", "{}", service.name);
        // Once more, with whatever parts: the first answer.
        assert_eq!(complete(&guest, &upload, &parts).await.good(), first);
        assert_eq!(complete(&guest, &upload, &json!([])).await.good(), first);
        let key = service.value("SELECT stored_key FROM uploads WHERE id = $1", &id(&upload)).await.unwrap();
        assert!(key.starts_with("uploads/") && !key.contains("song"), "{key}");
        // An address that was kept takes nothing any more.
        let late = service.http.put(kept["urls"]["2"].as_str().unwrap()).body(vec![1_u8; 1000]).send().await.unwrap();
        assert_eq!(late.status(), 404, "{late:?}");
        let stored = service.app.store.get(&key).await.unwrap().bytes(1 << 30).await.unwrap();
        assert_eq!(stored, content);
        let kept = "SELECT COUNT(*) FROM objects WHERE upload_id = $1 AND state = 'stored' AND sweep_after IS NULL";
        assert_eq!(service.number(kept, &id(&upload)).await, 1);

        let stranger = service.guest();
        for (method, path, body) in [
            (Method::GET, String::new(), None),
            (Method::DELETE, String::new(), None),
            (Method::GET, "/parts".to_owned(), None),
            (Method::POST, "/parts".to_owned(), Some(json!({ "numbers": [1] }))),
            (Method::POST, "/complete".to_owned(), Some(json!({ "parts": [] }))),
        ] {
            let reply = stranger.send(method, &format!("/v1/uploads/{}{path}", id(&upload)), body, &[]).await;
            assert_eq!(reply.problem(), (404, "upload.not_found".to_owned()), "{path}");
        }
        assert_eq!(stranger.get("/v1/uploads").await.good()["items"], json!([]));
        let items = guest.get("/v1/uploads").await.good();
        assert_eq!(items["items"][0]["id"], upload["id"]);
        assert_eq!(guest.get("/v1/uploads?state=uploading").await.good()["items"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_parts_are_refused_and_can_be_mended() {
    for service in Service::both(small_parts).await {
        let guest = service.guest();
        let content = two_parts();
        let upload = guest.begin("song.wav", &content, json!({})).await;
        let parts = guest.put_all(&upload, &content).await;
        let code = async |parts: Value| complete(&guest, &upload, &parts).await.problem();
        assert_eq!(code(json!([])).await, (422, "upload.part_missing".to_owned()));
        assert_eq!(code(json!([parts[0]])).await, (422, "upload.part_missing".to_owned()));
        assert_eq!(code(json!([parts[1], parts[0]])).await, (422, "upload.part_order".to_owned()));
        assert_eq!(code(json!([parts[0], { "number": 2, "etag": "" }])).await, (422, "upload.part_etag".to_owned()));
        let wrong = json!([parts[0], { "number": 2, "etag": "\"00000000000000000000000000000000\"" }]);
        assert_eq!(code(wrong).await, (422, "upload.part_wrong".to_owned()), "{}", service.name);
        assert_eq!(guest.get(&format!("/v1/uploads/{}", id(&upload))).await.good()["state"], "uploading");
        assert_eq!(complete(&guest, &upload, &json!(parts)).await.good()["state"], "stored");

        // Addresses take exactly their part, in size and in time.
        let upload = guest.begin("song.wav", &content, json!({})).await;
        let path = format!("/v1/uploads/{}/parts", id(&upload));
        let signed = guest.post(&path, json!({ "numbers": [2] })).await.good();
        let url = signed["urls"]["2"].as_str().unwrap();
        for wrong in [999, 1001, 0] {
            let answer = service.http.put(url).body(vec![0; wrong]).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{wrong} bytes");
        }
        let altered = url.replace("partNumber=2", "partNumber=1");
        assert_eq!(service.http.put(altered).body(vec![0; 1000]).send().await.unwrap().status(), 403);
        for numbers in [json!([0]), json!([3]), json!([1_000_000])] {
            assert_eq!(
                guest.post(&path, json!({ "numbers": numbers })).await.problem(),
                (422, "upload.no_such_part".to_owned())
            );
        }
        assert_eq!(guest.post(&path, json!({ "numbers": [] })).await.problem().0, 422);

        // Given up: nothing more can be said about it.
        assert_eq!(guest.delete(&format!("/v1/uploads/{}", id(&upload))).await.status, 204);
        assert_eq!(guest.delete(&format!("/v1/uploads/{}", id(&upload))).await.status, 204);
        assert_eq!(complete(&guest, &upload, &json!(parts)).await.problem(), (409, "upload.aborted".to_owned()));
        assert_eq!(guest.post(&path, json!({ "numbers": [1] })).await.problem(), (409, "upload.aborted".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_music_is_refused_before_it_travels() {
    let service = Service::with(|config| {
        config.limits.file_bytes = 1 << 20;
        config.limits.guest.stored_bytes = (1 << 20) + 5;
    })
    .await;
    let guest = service.guest();
    let refused = async |body: Value| guest.post("/v1/uploads", body).await.problem();
    assert_eq!(refused(json!({ "name": "a.pdf", "bytes": 9, "type": "application/pdf" })).await.1, "decode.not_audio");
    assert_eq!(refused(json!({ "name": "a.wav", "bytes": 0 })).await.1, "decode.empty");
    assert_eq!(refused(json!({ "name": "a.wav", "bytes": (1 << 20) + 1 })).await.1, "decode.too_large");
    assert_eq!(refused(json!({ "name": "a.wav", "bytes": u64::MAX })).await.1, "decode.too_large");
    let loud = json!({ "name": "a.wav", "bytes": 9, "settings": { "loudness": { "lufs": 3.0 } } });
    assert_eq!(refused(loud).await, (422, "plan.out_of_range".to_owned()));
    let unknown = json!({ "name": "a.wav", "bytes": 9, "settings": { "stile": "warm" } });
    assert_eq!(refused(unknown).await, (422, "request.invalid_field".to_owned()));
    assert_eq!(
        refused(json!({ "name": "a.wav", "bytes": 9, "batch": "bat_x" })).await,
        (404, "batch.not_found".to_owned())
    );
    assert_eq!(
        refused(json!({ "name": "a.wav", "bytes": 9, "reference_upload": "upl_x" })).await,
        (404, "upload.not_found".to_owned())
    );
    guest.post("/v1/uploads", json!({ "name": "a.wav", "bytes": 1 << 20 })).await.good();
    let full = guest.post("/v1/uploads", json!({ "name": "a.wav", "bytes": 6 })).await;
    assert_eq!(full.problem(), (403, "quota.stored_bytes".to_owned()));
    assert_eq!(full.json()["limit"], (1 << 20) + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_workers_have_no_room_for_is_told_and_refused_before_it_travels() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        let limits = async || service.bearer(None, reqwest::Method::GET, "/v1/limits", None).await.good();
        let hours = |limits: &Value, rate: u32| {
            let longest = limits["longest"].as_array().unwrap();
            longest.iter().find(|longest| longest["rate"] == rate).unwrap()["seconds"].as_f64().unwrap()
        };
        let large = json!({ "name": "set.wav", "bytes": 300 << 20 });
        // Nobody works here: the promise stands.
        let told = limits().await;
        assert_eq!((hours(&told, 44_100), hours(&told, 192_000)), (7_200.0, 7_200.0), "{told}");
        assert_eq!((&told["file_bytes"], &told["seconds"]), (&json!(4_u64 << 30), &json!(7_200.0)));
        guest.post("/v1/uploads", large.clone()).await.good();
        // A small machine, a smaller one, and one that has not been heard of for an hour.
        let mut tx = service.app.db.begin().await.unwrap();
        for (name, bytes, ago) in [("a", 500_i64 << 20, 0_i64), ("b", 128 << 20, 60_000), ("c", 1, 3_600_000)] {
            let text = tx.sql("INSERT INTO workers (name, largest_bytes, seen_at) VALUES ($1, $2, {now} - $3)");
            sqlx::query(text).bind(name).bind(bytes).bind(ago).execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
        let told = limits().await;
        assert_eq!(told["decoded_bytes"], 128 << 20, "{told}");
        assert_eq!((hours(&told, 44_100), hours(&told, 192_000)), (380.0, 87.0));
        let refused = guest.post("/v1/uploads", large.clone()).await;
        assert_eq!(refused.problem(), (422, "decode.needs_memory".to_owned()));
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("134217728") && detail.contains("lower the sample rate"), "{detail}");
        // What may fit is admitted: the decoder knows.
        guest.post("/v1/uploads", json!({ "name": "set.wav", "bytes": 270 << 20 })).await.good();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_refused_before_the_disk_is_full() {
    let service = Service::with(|config| config.storage.keep_free = 1 << 60).await;
    let reply = service.guest().post("/v1/uploads", json!({ "name": "a.wav", "bytes": 9 })).await;
    assert_eq!(reply.problem(), (503, "storage.full".to_owned()));
    assert_eq!(reply.header("retry-after"), "600");
    let ready = service.bearer(None, Method::GET, "/readyz", None).await.good();
    assert_eq!(ready["disk"], "full: uploads are refused");
    assert_eq!(service.bearer(None, Method::GET, "/v1/status", None).await.good()["uploads"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gets_the_same_answer() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        let body = json!({ "name": "a.wav", "bytes": 9 });
        let with = async |browser: &Browser<'_>, key: &str, body: &Value| {
            browser.send(Method::POST, "/v1/uploads", Some(body.clone()), &[("idempotency-key", key)]).await
        };
        let first = with(&guest, "one", &body).await;
        assert_eq!(first.status, 201);
        let again = with(&guest, "one", &body).await;
        assert_eq!((again.status, again.good()), (StatusCode::CREATED, first.good()), "{}", service.name);
        assert_eq!(again.header("idempotent-replayed"), "true");
        let other = with(&guest, "one", &json!({ "name": "b.wav", "bytes": 9 })).await;
        assert_eq!(other.problem(), (422, "idempotency.key_reused".to_owned()));
        assert_ne!(
            with(&service.guest(), "one", &body).await.good()["id"],
            first.good()["id"],
            "keys are of their owner"
        );
        assert_eq!(with(&guest, &"k".repeat(256), &body).await.problem().1, "idempotency.invalid_key");
        // A failure frees the key.
        assert_eq!(with(&guest, "two", &json!({ "name": "a.wav", "bytes": 0 })).await.problem().0, 422);
        assert_eq!(with(&guest, "two", &body).await.status, 201);
        // Several at once: one does the work.
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let request = guest.signed(
                Method::POST,
                "/v1/uploads",
                serde_json::to_vec(&body).unwrap(),
                &[("content-type", "application/json"), ("idempotency-key", "three")],
            );
            all.spawn(async move { Reply::of(request.send().await.unwrap()).await });
        }
        let replies = all.join_all().await;
        let made: std::collections::BTreeSet<String> =
            replies.iter().filter(|reply| reply.status == 201).map(|reply| id(&reply.json())).collect();
        assert_eq!(made.len(), 1, "{replies:?}");
        assert!(replies.iter().all(|reply| reply.status == 201 || reply.problem().1 == "idempotency.in_progress"));
        assert_eq!(
            service.number("SELECT COUNT(*) FROM uploads WHERE owner = $1", guest.guest.as_ref().unwrap()).await,
            3
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_storages_complete_and_ours_loses_nothing() {
    for service in Service::both(small_parts).await {
        let guest = service.guest();
        let content = two_parts();
        let settings = json!({ "settings": { "style": "warm" }, "title": "My song" });
        for client_repeats in [true, false] {
            let upload = guest.begin("song.wav", &content, settings.clone()).await;
            let parts = guest.put_all(&upload, &content).await;
            // Our process dies after storage has completed: the row says `completing`, the parts are gone.
            let row = uploads::find(&service.app.db, guest.guest.as_ref().unwrap(), &id(&upload)).await.unwrap();
            let tags: Vec<PartTag> = parts
                .iter()
                .map(|part| PartTag {
                    number: part["number"].as_u64().unwrap() as u16,
                    etag: part["etag"].as_str().unwrap().trim_matches('"').to_owned(),
                    bytes: None,
                })
                .collect();
            service.app.store.complete(&row.client_key, row.s3_upload.as_ref().unwrap(), &tags).await.unwrap();
            let text = "UPDATE uploads SET state = 'completing', stored_key = client_key WHERE id = $1";
            service.change(text, &row.id).await;

            let settled = if client_repeats {
                complete(&guest, &upload, &json!(parts)).await.good()
            } else {
                let row = uploads::settle(&service.app, &row.id).await.unwrap();
                assert_eq!(row.state, uploads::State::Stored);
                guest.get(&format!("/v1/uploads/{}", row.id)).await.good()
            };
            assert_eq!(settled["state"], "stored", "{}", service.name);
            let master = settled["master"].as_str().unwrap();
            let shown = guest.get(&format!("/v1/masters/{master}")).await.good();
            assert_eq!((&shown["title"], &shown["state"]), (&json!("My song"), &json!("waiting")));
            assert_eq!(shown["settings"]["style"], "warm");
            let jobs = service.number("SELECT COUNT(*) FROM jobs WHERE kind = 'master' AND subject = $1", master).await;
            assert_eq!(jobs, 1, "mastered once");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_storage_has_completed_leaves_nobody_waiting() {
    for service in Service::both(small_parts).await {
        let guest = service.guest();
        let content = two_parts();
        for all in [true, false] {
            let upload = guest.begin("song.wav", &content, json!({ "settings": {} })).await;
            let path = format!("/v1/uploads/{}", id(&upload));
            let mut parts = guest.put_all(&upload, &content).await;
            let row = uploads::find(&service.app.db, guest.guest.as_ref().unwrap(), &id(&upload)).await.unwrap();
            if !all {
                // A part that was named, and did not survive.
                let storage = row.s3_upload.as_ref().unwrap();
                service.app.store.abort(&row.client_key, storage).await.unwrap();
                let again = service.app.store.create_multipart(&row.client_key, "audio/wav").await.unwrap();
                service.change(&format!("UPDATE uploads SET s3_upload = '{again}' WHERE id = $1"), &row.id).await;
            }
            // Our process dies before it has asked storage: the row says `completing`, and nobody is at it.
            let text = "UPDATE uploads SET state = 'completing', stored_key = client_key WHERE id = $1";
            service.change(text, &row.id).await;

            // A client that comes back finds out what is left to do, whatever it asks first.
            let listed = guest.get(&format!("{path}/parts")).await;
            let shown = guest.get(&path).await.good();
            if all {
                assert_eq!(listed.problem(), (409, "upload.complete".to_owned()), "{}", service.name);
                assert_eq!(shown["state"], "stored");
                assert!(shown["master"].as_str().is_some(), "{shown}");
            } else {
                assert_eq!(listed.good()["parts"], json!([]), "{}", service.name);
                assert_eq!(shown["state"], "uploading");
                parts = guest.put_all(&upload, &content).await;
            }
            let done = complete(&guest, &upload, &json!(parts)).await.good();
            assert_eq!((&done["state"], done["master"].as_str().is_some()), (&json!("stored"), true));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_complete_at_once_and_one_master_is_made() {
    for service in Service::both(small_parts).await {
        let guest = service.guest();
        let content = two_parts();
        let upload = guest.begin("song.wav", &content, json!({ "settings": {} })).await;
        let parts = json!(guest.put_all(&upload, &content).await);
        let path = format!("/v1/uploads/{}/complete", id(&upload));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let body = serde_json::to_vec(&json!({ "parts": parts })).unwrap();
            let request = guest.signed(Method::POST, &path, body, &[("content-type", "application/json")]);
            all.spawn(async move { Reply::of(request.send().await.unwrap()).await.good() });
        }
        let answers = all.join_all().await;
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        let masters = service.number("SELECT COUNT(*) FROM masters WHERE upload_id = $1", &id(&upload)).await;
        assert_eq!(masters, 1, "{}", service.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_is_away_is_said_to_be_away() {
    let service = Service::with(|config| {
        // Nobody listens there.
        config.storage.endpoint = "http://127.0.0.1:9".to_owned();
    })
    .await;
    let reply = service.guest().post("/v1/uploads", json!({ "name": "a.wav", "bytes": 9 })).await;
    assert_eq!(reply.problem(), (503, "server.storage_away".to_owned()));
    assert_eq!(reply.header("retry-after"), "5");
    assert!(!reply.json().to_string().contains("127.0.0.1:9"), "our insides stay ours");
    let ready = service.bearer(None, Method::GET, "/readyz", None).await;
    assert_eq!((ready.status.as_u16(), &ready.json()["storage"]), (503, &json!("away")));
    assert_eq!(service.bearer(None, Method::GET, "/livez", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_said_to_be_away() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        guest.get("/v1/masters").await.good();
        service.app.db.close().await;
        let reply = guest.get("/v1/masters").await;
        assert_eq!(reply.problem(), (503, "server.database_away".to_owned()), "{}", service.name);
        assert!(reply.header("retry-after").parse::<u64>().is_ok());
        assert_eq!(service.bearer(None, Method::GET, "/readyz", None).await.status, 503);
        assert_eq!(service.bearer(None, Method::GET, "/v1/status", None).await.good()["state"], "database away");
    }
}

// The contract of Uppy's Companion, as its aws-s3 plugin calls it.

async fn multipart(browser: &Browser<'_>, base: &str, content: &[u8]) -> (Value, Vec<Value>) {
    let created = browser
        .post(&format!("{base}/multipart"), json!({ "filename": "song.wav", "type": "audio/wav", "metadata": {} }))
        .await
        .good();
    let (upload, key) = (created["uploadId"].as_str().unwrap(), created["key"].as_str().unwrap());
    let mut parts = Vec::new();
    for (number, part) in (1..).zip(content.chunks(SMALL as usize)) {
        let signed = browser.get(&format!("{base}/multipart/{upload}/{number}?key={key}")).await.good();
        assert!(signed["expires"].as_u64().unwrap() > 60);
        let put = browser.service.http.put(signed["url"].as_str().unwrap()).body(part.to_vec()).send().await.unwrap();
        assert_eq!(put.status(), 200);
        parts.push(json!({ "PartNumber": number, "ETag": put.headers()["etag"].to_str().unwrap() }));
    }
    (created, parts)
}

#[tokio::test(flavor = "multi_thread")]
async fn companion_in_parts() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        let content = two_parts();
        let (created, parts) = multipart(&guest, "/v1/companion/s3", &content).await;
        let (upload, key) = (created["uploadId"].as_str().unwrap(), created["key"].as_str().unwrap());
        assert_eq!(created["bucket"], "loopmaster");
        let base = format!("/v1/companion/s3/multipart/{upload}");
        let listed = guest.get(&format!("{base}?key={key}")).await.good();
        assert_eq!((&listed[0]["ETag"], &listed[1]["Size"]), (&parts[0]["ETag"], &json!(1000)));
        let urls = guest.get(&format!("{base}/batch?key={key}&partNumbers=1,2,3")).await.good();
        assert_eq!(urls["presignedUrls"].as_object().unwrap().len(), 3);

        let stranger = service.guest();
        for (browser, key) in [(&stranger, key), (&guest, "uploads/x/y")] {
            let reply = browser.get(&format!("{base}?key={key}")).await;
            assert_eq!(reply.problem(), (404, "upload.not_found".to_owned()));
            assert!(reply.json()["error"].as_str().is_some(), "Uppy reads `error`");
        }
        for number in ["0", "10001"] {
            assert_eq!(guest.get(&format!("{base}/{number}?key={key}")).await.status, 400);
        }
        let done = guest.post(&format!("{base}/complete?key={key}"), json!({ "parts": parts })).await.good();
        assert_eq!(done["key"], key);
        assert!(done["location"].as_str().unwrap().ends_with(key));
        assert_eq!(guest.post(&format!("{base}/complete?key={key}"), json!({ "parts": parts })).await.good(), done);
        let shown = guest.get(&format!("/v1/uploads/{upload}")).await.good();
        assert_eq!((&shown["state"], &shown["bytes"]), (&json!("stored"), &json!(content.len())), "{}", service.name);
        // A master by the key, which is all a page of Uppy knows.
        let made = guest.post("/v1/masters", json!({ "uploads": [key] })).await.good();
        assert_eq!(made["items"][0]["upload"]["id"], upload);

        let (created, _) = multipart(&guest, "/v1/companion/s3", &content).await;
        let (upload, key) = (created["uploadId"].as_str().unwrap(), created["key"].as_str().unwrap());
        let aborted = guest.delete(&format!("/v1/companion/s3/multipart/{upload}?key={key}")).await;
        assert_eq!(aborted.good(), json!({}));
        assert_eq!(guest.post("/v1/companion/s3/multipart", json!({ "type": "audio/wav" })).await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn companion_in_one_post_is_adopted_when_it_is_mastered() {
    for service in Service::both(|config| config.limits.file_bytes = 2_000).await {
        let guest = service.guest();
        let params = guest
            .get("/v1/companion/s3/params?filename=song.wav&type=audio%2Fwav&metadata%5Bname%5D=song.wav")
            .await
            .good();
        assert_eq!((&params["method"], &params["fields"]["success_action_status"]), (&json!("POST"), &json!("201")));
        let key = params["fields"]["key"].as_str().unwrap().to_owned();
        let early = guest.post("/v1/masters", json!({ "uploads": [key] })).await;
        assert_eq!(early.problem(), (409, "upload.not_complete".to_owned()), "{}", service.name);
        let send = async |bytes: usize| post_form(&service, &params, &vec![7; bytes]).await;
        assert_eq!(send(2_001).await, 400, "more than the policy allows");
        assert_eq!(send(1_500).await, 201);
        let made = guest.post("/v1/masters", json!({ "uploads": [key] })).await.good();
        assert_eq!(made["items"][0]["upload"]["bytes"], 1_500);
        assert_eq!(guest.get("/v1/companion/s3/params?type=audio%2Fwav").await.status, 400);
    }
}

/// A form as a browser sends it, the file last.
pub(super) async fn post_form(service: &Service, params: &Value, content: &[u8]) -> u16 {
    let mut body = Vec::new();
    for (name, value) in params["fields"].as_object().unwrap() {
        let field = format!(
            "--frontier\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{}\r\n",
            value.as_str().unwrap()
        );
        body.extend(field.as_bytes());
    }
    body.extend(b"--frontier\r\ncontent-disposition: form-data; name=\"file\"; filename=\"song.wav\"\r\ncontent-type: audio/wav\r\n\r\n");
    body.extend(content);
    body.extend(b"\r\n--frontier--\r\n");
    let request = service.http.post(params["url"].as_str().unwrap());
    let request = request.header("content-type", "multipart/form-data; boundary=frontier").body(body);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_takes_uploads_for_its_user_and_nothing_else() {
    for service in Service::both(|_| {}).await {
        let user = service.user("a@example.org").await;
        let id = user.user.clone().unwrap();
        let grant = service.grant(&id, 2, 6 << 20).await;
        let base = format!("/v1/u/{grant}/s3");
        // A page of somebody else: neither cookies nor tokens.
        let page = Browser { guest: None, session: None, ..service.guest() };
        let content = two_parts();
        let (created, parts) = multipart(&page, &base, &content).await;
        let (upload, key) = (created["uploadId"].as_str().unwrap(), created["key"].as_str().unwrap());
        let done = page.post(&format!("{base}/multipart/{upload}/complete?key={key}"), json!({ "parts": parts })).await;
        assert_eq!(done.good()["key"], key, "{}", service.name);
        assert_eq!(user.get(&format!("/v1/uploads/{upload}")).await.good()["state"], "stored");

        // It does not reach what came another way, even of the same user.
        let own = user.begin("own.wav", &content, json!({})).await;
        let own_key =
            service.value("SELECT client_key FROM uploads WHERE id = $1", own["id"].as_str().unwrap()).await.unwrap();
        let reach = page.get(&format!("{base}/multipart/{}?key={own_key}", own["id"].as_str().unwrap())).await;
        assert_eq!(reach.problem(), (404, "upload.not_found".to_owned()));

        // Bytes, then files, then time run out. What is left of the bytes is in the address: no more arrives than that.
        let created = page
            .post(&format!("{base}/multipart"), json!({ "filename": "song.wav", "type": "audio/wav" }))
            .await
            .good();
        let (upload, key) = (created["uploadId"].as_str().unwrap(), created["key"].as_str().unwrap());
        let signed = page.get(&format!("{base}/multipart/{upload}/1?key={key}")).await.good();
        let put = service.http.put(signed["url"].as_str().unwrap()).body(content[..SMALL as usize].to_vec());
        // It may hang up before it has read everything.
        assert!(put.send().await.map_or(true, |answer| answer.status() == 400));
        let full = page.get(&format!("{base}/multipart/{upload}/2?key={key}")).await;
        assert_eq!(full.problem(), (403, "grant.exhausted".to_owned()));
        let third = page.get(&format!("{base}/params?filename=a.wav")).await;
        assert_eq!(third.problem(), (403, "grant.exhausted".to_owned()));
        service.change("UPDATE grants SET expires_at = {now} - 1 WHERE user_id = $1", &id).await;
        assert_eq!(
            page.get(&format!("{base}/params?filename=a.wav")).await.problem(),
            (404, "grant.not_found".to_owned())
        );

        // Pages of others may call it; ours may not be called by them.
        for (path, allowed) in [(format!("{base}/multipart"), true), ("/v1/companion/s3/multipart".to_owned(), false)] {
            let request = service.http.request(Method::OPTIONS, format!("{}{path}", service.url));
            let request =
                request.header("origin", "https://other.example").header("access-control-request-method", "POST");
            let answer = request.header("access-control-request-headers", "content-type").send().await.unwrap();
            assert_eq!(answer.headers().contains_key("access-control-allow-origin"), allowed, "{path}");
            assert!(!answer.headers().contains_key("access-control-allow-credentials"));
        }
    }
}
