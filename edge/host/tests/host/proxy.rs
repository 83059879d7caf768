//! The way to the api: signatures, headers, streams, and that visitors are not mistaken for each other.

use crate::support::*;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use loopmaster_edge_host::Options;
use serde_json::Value;

#[tokio::test]
async fn requests_are_signed_and_visitors_cannot_add_to_that() {
    let (edge, api) = stack(&[], options()).await;
    let guest = get(edge.address, "/", &[]).await.cookie("__Host-lm_guest").unwrap();
    let cookies = format!("{guest}; __Host-lm_session=lms_0123456789abcdef; other=1");
    let forged = [
        ("cookie", cookies.as_str()),
        ("lm-guest", "gst_0123456789abcdef"),
        ("lm-session", "lms_ffffffffffffffff"),
        ("lm-signature", "v1 local 1 00 00"),
        ("lm-anything", "1"),
        ("authorization", "Bearer lmt_0123456789abcdef"),
        ("x-forwarded-for", "6.6.6.6"),
        ("spin-client-addr", "6.6.6.6:6"),
        ("idempotency-key", "k1"),
    ];
    let got = post(edge.address, "/v1/uploads/echo?a=1&b=%2F", &forged, "{\"name\":\"song.wav\"}").await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.text());
    let seen = got.json();
    assert_eq!(seen["path"], "/v1/uploads/echo?a=1&b=%2F");
    assert_eq!(seen["body"], "{\"name\":\"song.wav\"}");
    assert_eq!(seen["session"], "lms_0123456789abcdef");
    assert!(guest.contains(seen["guest"].as_str().unwrap()), "{seen}");
    assert_eq!(seen["headers"]["idempotency-key"], "k1");
    for name in ["cookie", "authorization", "x-forwarded-for", "spin-client-addr", "origin"] {
        assert_eq!(seen["headers"][name], Value::Null, "{name}");
    }
    assert!(!got.headers.contains_key("server"), "nor does the api's server get out");
    assert_eq!(api.refused(), Vec::<String>::new());

    // Another address: only what our own proxies write is believed.
    let here = get(edge.address, "/v1/echo", &[("x-forwarded-for", "6.6.6.6")]).await.json()["ip"].clone();
    assert_eq!(here.as_str().unwrap().len(), 32);
    assert_eq!(get(edge.address, "/v1/echo", &[]).await.json()["ip"], here);
    edge.stop().await;
    let (behind, _api) = stack(&[("trusted_hops", "1")], options()).await;
    let ip =
        async |from: &str| get(behind.address, "/v1/echo", &[("x-forwarded-for", from)]).await.json()["ip"].clone();
    assert_eq!(ip("1.1.1.1, 9.9.9.9").await, ip("2.2.2.2, 9.9.9.9").await);
    assert_ne!(ip("9.9.9.9").await, ip("9.9.9.8").await);
    behind.stop().await;
}

#[tokio::test]
async fn only_our_own_pages_may_change_anything() {
    let (edge, api) = stack(&[], options()).await;
    for headers in [
        &[][..],
        &[("origin", "https://evil.example")],
        &[("origin", "null"), ("sec-fetch-site", "same-origin")],
        &[("origin", ORIGIN), ("sec-fetch-site", "cross-site")],
    ] {
        for (method, path) in [
            (Method::POST, "/v1/echo"),
            (Method::DELETE, "/v1/echo"),
            (Method::GET, "/companion/s3/echo"),
            (Method::POST, "/companion/s3/echo"),
            (Method::POST, "/sign-in/out"),
        ] {
            let got = send(edge.address, method.clone(), path, headers, "").await;
            assert_eq!(got.status, StatusCode::FORBIDDEN, "{method} {path} {headers:?}");
        }
    }
    assert_eq!(api.seen(), Vec::<String>::new());
    let ours = [("sec-fetch-site", "same-origin")];
    let got = get(edge.address, "/companion/s3/echo", &ours).await;
    assert_eq!(got.json()["path"], "/v1/companion/s3/echo");
    assert_eq!(get(edge.address, "/v1/echo", &[]).await.status, StatusCode::OK, "reading is free");
    edge.stop().await;
}

#[tokio::test]
async fn pages_of_others_upload_under_a_grant_and_without_cookies() {
    let (edge, _api) = stack(&[], options()).await;
    let path = "/u/lmg_0123456789abcdef/s3/echo";
    let foreign = [("origin", "https://other.example"), ("sec-fetch-site", "cross-site")];
    let preflight = send(edge.address, Method::OPTIONS, path, &foreign, "").await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (StatusCode::OK, "*"));
    assert!(preflight.header("access-control-allow-methods").contains("POST"));
    let with_cookie = [&foreign[..], &[("cookie", "__Host-lm_session=lms_0123456789abcdef")]].concat();
    let got = send(edge.address, Method::POST, path, &with_cookie, "{}").await;
    assert_eq!((got.status, got.header("access-control-allow-origin")), (StatusCode::OK, "*"));
    assert!(!got.headers.contains_key("access-control-allow-credentials") && !got.headers.contains_key("set-cookie"));
    let seen = got.json();
    assert_eq!(
        (seen["path"].as_str(), seen["session"].as_str()),
        (Some("/v1/u/lmg_0123456789abcdef/s3/echo"), Some(""))
    );
    edge.stop().await;
}

#[tokio::test]
async fn bodies_stream_out_and_are_bounded_in() {
    let (edge, api) = stack(&[], options()).await;
    let large = get(edge.address, "/v1/large", &[]).await;
    assert_eq!((large.body.len(), large.body.iter().all(|byte| *byte == 7)), (3 << 20, true));
    let most = "x".repeat(1 << 20);
    assert_eq!(post(edge.address, "/v1/echo", &[], &most).await.json()["body"], most);
    let got = post(edge.address, "/v1/echo", &[], &format!("{most}x")).await;
    assert_eq!((got.status, got.json()["code"].as_str()), (StatusCode::PAYLOAD_TOO_LARGE, Some("edge.body_too_large")));
    let got = post(edge.address, "/v1/echo", &[], &"x".repeat((10 << 20) + 1)).await;
    assert_eq!(got.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(api.seen().len(), 2);
    edge.stop().await;
}

#[tokio::test]
async fn events_end_between_two_and_go_on_where_they_ended() {
    // A host that gives three seconds instead of thirty.
    let (edge, _api) = stack(&[("handler_seconds", "3")], options()).await;
    let mut heard = Vec::new();
    for _ in 0..2 {
        let last = heard.last().map(ToString::to_string);
        let resume: Vec<(&str, &str)> = last.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let got = get(edge.address, "/v1/events", &resume).await;
        assert_eq!((got.status, got.header("content-type")), (StatusCode::OK, "text/event-stream"));
        let text = got.text();
        assert!(text.ends_with("retry: 250\n\n"), "ended cleanly: {text:?}");
        heard.extend(text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse::<u64>().unwrap()));
    }
    assert!(heard.len() > 4, "{heard:?}");
    assert!(heard.iter().zip(1..).all(|(id, expected)| *id == expected), "nothing twice, nothing lost: {heard:?}");
    // A visitor who leaves ends the stream on both sides, and the next is served.
    let mut left = open(&client(), edge.address, Method::GET, "/v1/events", &[], "").await;
    assert!(left.body_mut().frame().await.unwrap().is_ok());
    drop(left);
    assert_eq!(get(edge.address, "/v1/plain", &[]).await.status, StatusCode::OK);
    edge.stop().await;
}

#[tokio::test]
async fn no_visitor_gets_anothers_answer() {
    for (reuse, concurrent) in [(128, 16), (1, 1)] {
        let (edge, api) =
            stack(&[("limits", "page=100000/60 read=100000/60")], Options { reuse, concurrent, ..options() }).await;
        let guests: Vec<String> = join_all((0..12).map(|_| get(edge.address, "/", &[])))
            .await
            .iter()
            .map(|got| got.cookie("__Host-lm_guest").unwrap())
            .collect();
        let pool = client();
        let asks = (0..240).map(|number| {
            let (guest, pool) = (&guests[number % guests.len()], pool.clone());
            let session = format!("lms_{number:032}");
            async move {
                let cookie = format!("{guest}; __Host-lm_session={session}");
                let path = format!("/v1/slow?n={number}");
                let answer = open(&pool, edge.address, Method::GET, &path, &[("cookie", &cookie)], "").await;
                let seen: Value =
                    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
                assert_eq!(seen["path"], path);
                assert_eq!(seen["session"], session, "at {reuse}/{concurrent}");
                assert!(
                    guest.contains(&format!(".{}.", seen["guest"].as_str().unwrap())),
                    "at {reuse}/{concurrent}: {seen}"
                );
            }
        });
        join_all(asks).await;
        assert_eq!(api.refused(), Vec::<String>::new());
        edge.stop().await;
    }
}

#[tokio::test]
async fn an_api_that_is_away_is_said_to_be() {
    let (edge, api) = stack(&[], options()).await;
    let address = api.address;
    drop(api);
    // Connections of the pool may live on for a moment.
    let mut got = get(edge.address, "/v1/echo", &[]).await;
    for _ in 0..50 {
        if got.status == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        got = get(edge.address, "/v1/echo", &[]).await;
    }
    assert_eq!((got.status, got.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"), "{address}");
    assert_eq!(got.json()["code"], "edge.api_down");
    let page = get(edge.address, "/m/mst_1", &[]).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (StatusCode::SERVICE_UNAVAILABLE, "text/html; charset=utf-8")
    );
    let home = get(edge.address, "/", &[]).await;
    assert_eq!(home.status, StatusCode::OK, "the home page keeps its queue");
    assert!(home.text().contains("does not answer"), "{}", home.text());
    for page in ["/privacy", "/terms", "/contact", "/api", "/status", "/livez"] {
        assert_eq!(get(edge.address, page, &[]).await.status, StatusCode::OK, "{page} needs no api");
    }
    edge.stop().await;
}
