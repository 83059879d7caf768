//! Who is believed, and what happens to those who are not.

use crate::service::{Browser, Service, unix_now};
use loopmaster::db::new_id;
use loopmaster_core::signing;
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn only_the_edge_speaks_for_visitors() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        assert_eq!(guest.get("/v1/masters").await.good()["items"], json!([]), "{}", service.name);
        // Nobody in particular, a cookie without the edge, and an edge that did not sign.
        let nobody = service.bearer(None, Method::GET, "/v1/masters", None).await;
        assert_eq!(nobody.problem(), (401, "auth.required".to_owned()));
        assert!(nobody.header("www-authenticate").starts_with("Bearer"));
        let from_outside = |name: &'static str, value: String| {
            let request = service.http.get(format!("{}/v1/masters", service.url)).header(name, value);
            async move { crate::service::Reply::of(request.send().await.unwrap()).await.problem() }
        };
        assert_eq!(
            from_outside("cookie", format!("__Host-lm_guest={}", guest.guest.clone().unwrap())).await.1,
            "auth.required"
        );
        assert_eq!(from_outside(signing::GUEST, guest.guest.clone().unwrap()).await.1, "edge.signature_missing");
        assert_eq!(from_outside(signing::SESSION, "lms_x".to_owned()).await.1, "edge.signature_missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_single_fresh_and_whole() {
    for service in Service::both(|_| {}).await {
        let guest = service.guest();
        let body = serde_json::to_vec(&json!({ "name": "a.wav", "bytes": 10 })).unwrap();
        let json_type = [("content-type", "application/json")];
        let send = |time: u64, nonce: &'static str, body: Vec<u8>| {
            let request = guest.signed_at(Method::POST, "/v1/uploads", body, &json_type, time, nonce, "req_1");
            async move { crate::service::Reply::of(request.send().await.unwrap()).await }
        };
        let now = unix_now();
        assert_eq!(send(now, "00000000000000000000000000000001", body.clone()).await.status, 201);
        let again = send(now, "00000000000000000000000000000001", body.clone()).await;
        assert_eq!(again.problem(), (401, "edge.signature_replayed".to_owned()), "{}", service.name);
        for late in [now - 120, now + 120] {
            assert_eq!(
                send(late, "00000000000000000000000000000002", body.clone()).await.problem().1,
                "edge.signature_late"
            );
        }
        // Altered on the way: another body under the same signature.
        let altered = guest
            .signed(Method::POST, "/v1/uploads", body.clone(), &json_type)
            .body(&b"{\"name\":\"b.wav\",\"bytes\":10}"[..]);
        let altered = crate::service::Reply::of(altered.send().await.unwrap()).await;
        assert_eq!(altered.problem(), (401, "edge.signature_invalid".to_owned()));
        // Reading may be repeated: a GET is sent twice by the edge when a connection breaks.
        for _ in 0..2 {
            let get = guest.signed_at(
                Method::GET,
                "/v1/masters",
                Vec::new(),
                &[],
                now,
                "00000000000000000000000000000003",
                "req_2",
            );
            assert_eq!(get.send().await.unwrap().status(), 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_session_is_no_session() {
    for service in Service::both(|_| {}).await {
        let user = service.user("a@example.org").await;
        let id = user.user.clone().unwrap();
        let uploads = async |browser: &Browser<'_>| browser.get("/v1/uploads").await;
        user.begin("a.wav", &[1; 10], json!({})).await;
        assert_eq!(uploads(&user).await.good()["items"].as_array().unwrap().len(), 1);
        // Forged, truncated, and of nobody: the guest that is behind it stays who it is, and the cookie is cleared.
        let token = user.session.clone().unwrap();
        for session in [token[..20].to_owned(), "lms_".to_owned(), "x".to_owned(), format!("lms_{}", "0".repeat(64))] {
            let browser = Browser { session: Some(session), ..user.clone() };
            let reply = uploads(&browser).await;
            assert_eq!(reply.good()["items"], json!([]), "{}", service.name);
            assert_eq!(
                (reply.header(signing::SET_SESSION).as_str(), reply.header(signing::SET_GUEST).as_str()),
                ("-", "")
            );
        }
        // Without a guest either it is nobody.
        let alone = Browser { session: Some("lms_x".to_owned()), guest: None, ..user.clone() };
        assert_eq!(uploads(&alone).await.problem(), (401, "auth.required".to_owned()));
        for (text, undo) in [
            (
                "UPDATE sessions SET revoked_at = {now} WHERE user_id = $1",
                "UPDATE sessions SET revoked_at = NULL WHERE user_id = $1",
            ),
            (
                "UPDATE sessions SET expires_at = {now} - 1 WHERE user_id = $1",
                "UPDATE sessions SET expires_at = {now} + 60000 WHERE user_id = $1",
            ),
            (
                "UPDATE sessions SET seen_at = 0 WHERE user_id = $1",
                "UPDATE sessions SET seen_at = {now} WHERE user_id = $1",
            ),
            ("UPDATE users SET banned_at = {now} WHERE id = $1", "UPDATE users SET banned_at = NULL WHERE id = $1"),
        ] {
            service.change(text, &id).await;
            assert_eq!(uploads(&user).await.good()["items"], json!([]), "{text}");
            service.change(undo, &id).await;
            assert_eq!(uploads(&user).await.good()["items"].as_array().unwrap().len(), 1, "{undo}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_do_what_they_were_made_for() {
    for service in Service::both(|_| {}).await {
        let user = service.user("a@example.org").await;
        let id = user.user.clone().unwrap();
        let token = service.token(&id, "uploads").await;
        let uploads = service.bearer(Some(&token), Method::GET, "/v1/uploads", None).await;
        assert_eq!(uploads.good()["items"], json!([]));
        assert!(uploads.header("ratelimit-policy").starts_with("\"requests\";q=6000;w=60"), "{uploads:?}");
        let masters = service.bearer(Some(&token), Method::GET, "/v1/masters", None).await;
        assert_eq!(masters.problem(), (403, "auth.scope_missing".to_owned()));
        for wrong in ["lmt_", "lmt_0", "x", "", &"lmt_0".repeat(500)] {
            let reply = service.bearer(Some(wrong), Method::GET, "/v1/uploads", None).await;
            assert_eq!(reply.problem(), (401, "auth.token_invalid".to_owned()), "{wrong}");
        }
        service.change("UPDATE tokens SET revoked_at = {now} WHERE user_id = $1", &id).await;
        let revoked = service.bearer(Some(&token), Method::GET, "/v1/uploads", None).await;
        assert_eq!(revoked.problem(), (401, "auth.token_invalid".to_owned()), "a revoked token ends at once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_waits_and_forged_addresses_do_not_help() {
    let service = Service::with(|config| config.limits.guest.requests_a_minute = 20).await;
    let mut refused = 0;
    for n in 0..60_u32 {
        let forged = format!("10.{}.{}.{}", n % 7, n, n % 250);
        let request = service.http.get(format!("{}/v1/masters", service.url));
        let request = request
            .header("x-forwarded-for", &forged)
            .header("forwarded", format!("for={forged}"))
            .header("x-real-ip", forged);
        let reply = crate::service::Reply::of(request.send().await.unwrap()).await;
        if reply.status == 429 {
            refused += 1;
            assert_eq!(reply.problem().1, "rate.requests");
            assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{reply:?}");
            assert!(reply.header("ratelimit").starts_with("\"requests\";r=0;t="), "{reply:?}");
        } else {
            assert_eq!(reply.problem().1, "auth.required");
        }
    }
    assert!(refused >= 35, "{refused} of 60 were refused");
    assert_eq!(service.app.rates.remembered(), 1, "one address, however it calls itself");
    // Somebody else is not kept waiting.
    assert_eq!(service.guest().get("/v1/masters").await.status, 200);
}

/// Two quotas, and what is said of them: in the headers of the draft and a problem, never in the older headers.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_who_asks_and_each_answer_says_what_is_left() {
    let service = Service::with(|config| {
        config.limits.guest.requests_a_minute = 3;
        config.limits.user.requests_a_minute = 4;
    })
    .await;
    let said = |reply: &crate::service::Reply| {
        let old = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-after", "x-ratelimit-whitelisted"];
        assert!(old.iter().all(|name| !reply.headers.contains_key(*name)), "{reply:?}");
        for name in ["ratelimit", "ratelimit-policy"] {
            assert!(reply.headers.get_all(name).iter().count() <= 1, "{reply:?}");
        }
        (reply.status.as_u16(), reply.header("ratelimit-policy"), reply.header("ratelimit"))
    };
    let known = |status: u16, quota: u64, left: u64, reset: u64| {
        (status, format!("\"requests\";q={quota};w=60"), format!("\"requests\";r={left};t={reset}"))
    };
    let guest = service.guest();
    // Refusals of a handler are counted, too.
    assert_eq!(said(&guest.get("/v1/masters").await), known(200, 3, 2, 20));
    assert_eq!(said(&guest.get("/v1/masters/mst_none").await), known(404, 3, 1, 40));
    assert_eq!(said(&guest.get("/v1/uploads?limit=0").await), known(422, 3, 0, 60));
    let refused = guest.get("/v1/masters").await;
    assert_eq!(said(&refused), known(429, 3, 0, 60));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(refused.problem().1, "rate.requests");
    assert_eq!(refused.json()["detail"], format!("more than 3 requests in a minute; wait {wait} s"));
    assert!(refused.header(signing::SET_GUEST).is_empty(), "{refused:?}");

    // An account has its own quota, each of its tokens too, and a capability is counted by itself.
    let user = service.user("a@example.org").await;
    let id = user.user.clone().unwrap();
    let token = service.token(&id, "uploads").await;
    assert_eq!(said(&user.get("/v1/uploads").await), known(200, 4, 3, 15));
    assert_eq!(said(&service.bearer(Some(&token), Method::GET, "/v1/uploads", None).await), known(200, 4, 3, 15));
    let grant = service.grant(&id, 9, 9).await;
    let sign = async || {
        let page = Browser { guest: None, session: None, ..service.guest() };
        page.get(&format!("/v1/u/{grant}/s3/params")).await
    };
    for _ in 0..4 {
        assert_eq!(said(&sign().await), known(400, 3, 2, 20), "each page has another address");
    }
    assert_eq!(sign().await.problem(), (429, "rate.requests".to_owned()));

    // Guessing tokens costs the address of whoever guesses.
    let mut guesses = Vec::new();
    for _ in 0..4 {
        guesses.push(service.bearer(Some("lmt_guess"), Method::GET, "/v1/uploads", None).await.problem().1);
    }
    assert_eq!(guesses[..3], ["auth.token_invalid"; 3]);
    assert_eq!(guesses[3], "rate.requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_are_counted_over_all_processes() {
    for service in Service::both(|config| config.limits.guest.creates_an_hour = 3).await {
        let guest = service.guest();
        for _ in 0..3 {
            guest.begin("a.wav", &[1; 10], json!({})).await;
        }
        // A new cookie buys nothing: the address is counted.
        let fresh = Browser { guest: Some(new_id("gst")), ..guest.clone() };
        for browser in [&guest, &fresh] {
            let reply = browser.post("/v1/uploads", json!({ "name": "a.wav", "bytes": 10 })).await;
            assert_eq!(reply.problem(), (429, "rate.exceeded".to_owned()), "{}", service.name);
            let wait: u64 = reply.header("retry-after").parse().unwrap();
            assert!((1..=1200).contains(&wait), "{wait}");
            let limits: Vec<_> = reply.headers.get_all("ratelimit-policy").iter().collect();
            assert!(limits.iter().any(|limit| *limit == "\"creates\";q=3;w=3600"), "{limits:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded_in_size_time_and_sense() {
    let service = Service::with(|config| config.limits.body_seconds = 1).await;
    let guest = service.guest();
    let json_type = [("content-type", "application/json")];
    let send = async |body: Vec<u8>, headers: &[(&str, &str)]| {
        let request = guest.signed(Method::POST, "/v1/uploads", body, headers);
        crate::service::Reply::of(request.send().await.unwrap()).await.problem()
    };
    assert_eq!(send(vec![b' '; (1 << 20) + 1], &json_type).await, (413, "request.too_large".to_owned()));
    assert_eq!(send(b"{\"name\":".to_vec(), &json_type).await, (400, "request.invalid_json".to_owned()));
    assert_eq!(send(b"\xff\xfe".to_vec(), &json_type).await, (400, "request.invalid_json".to_owned()));
    assert_eq!(send(b"{}".to_vec(), &json_type).await, (422, "request.invalid_field".to_owned()));
    assert_eq!(
        send(b"{\"name\":\"a.wav\",\"bytes\":1,\"nmae\":1}".to_vec(), &json_type).await,
        (422, "request.invalid_field".to_owned())
    );
    assert_eq!(
        send(b"{\"name\":\"a.wav\",\"bytes\":-1}".to_vec(), &json_type).await,
        (422, "request.invalid_field".to_owned())
    );
    assert_eq!(send(b"{}".to_vec(), &[]).await, (415, "request.not_json".to_owned()));
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(matches!(send(deep.into_bytes(), &json_type).await.0, 400 | 422));
    let slow = slowly(
        &service,
        b"POST /v1/uploads HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{\"na",
    )
    .await;
    assert!(slow.starts_with("HTTP/1.1 408 ") && slow.contains("request.too_slow"), "{slow}");
    assert_eq!(guest.get("/v1/nothing").await.problem(), (404, "request.not_found".to_owned()));
    assert_eq!(guest.patch("/v1/uploads", json!({})).await.problem(), (405, "request.method_not_allowed".to_owned()));
    assert_eq!(guest.get("/v1/uploads?limit=0").await.problem(), (422, "request.invalid_query".to_owned()));
    assert_eq!(guest.get("/v1/uploads?limmit=1").await.problem(), (422, "request.invalid_query".to_owned()));
    assert_eq!(guest.get("/v1/uploads?cursor=%00").await.problem(), (422, "request.invalid_cursor".to_owned()));
    assert_eq!(guest.get("/v1/uploads/%ff%fe").await.status, 404);
}

/// Sends the beginning of a request and then nothing; what comes back until the service closes.
async fn slowly(service: &Service, beginning: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(service.authority()).await.unwrap();
    stream.write_all(beginning).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), async {
        // A kept connection stays open after the answer.
        while !String::from_utf8_lossy(&answer).contains("too_slow") {
            if stream.read_buf(&mut answer).await.unwrap() == 0 {
                break;
            }
        }
    });
    read.await.expect("the service lets nobody hold a connection for ever");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_cut() {
    let service = Service::start().await;
    let began = Instant::now();
    let answer = slowly(&service, b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(25));
}
