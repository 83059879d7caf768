//! Visits: cookies, pages without a script, files, limits.

use crate::support::*;
use futures_util::future::join;
use http::{Method, StatusCode};
use loopmaster_edge_host::Options;
use loopmaster_edge_host::manifest::Manifest;

const GUEST: &str = "__Host-lm_guest";

#[tokio::test]
async fn a_guest_is_made_by_the_first_document_and_stays() {
    let (edge, _api) = stack(&[], options()).await;
    for path in ["/v1/plain", "/livez", "/robots.txt"] {
        assert_eq!(get(edge.address, path, &[]).await.cookie(GUEST), None, "{path} is no document");
    }
    let fetched = get(edge.address, "/", &[("sec-fetch-dest", "empty")]).await;
    assert_eq!(fetched.cookie(GUEST), None, "nor is a page that a script fetches");
    assert_eq!(send(edge.address, Method::HEAD, "/", &[], "").await.cookie(GUEST), None);

    let first = get(edge.address, "/", &[("sec-fetch-dest", "document")]).await;
    let line = first.headers.get("set-cookie").unwrap().to_str().unwrap();
    assert!(line.ends_with("; Path=/; Max-Age=15552000; Secure; HttpOnly; SameSite=Lax"), "{line}");
    let guest = first.cookie(GUEST).unwrap();
    for path in ["/", "/library", "/privacy"] {
        assert_eq!(get(edge.address, path, &[("cookie", &guest)]).await.cookie(GUEST), None, "never replaced");
    }
    let known = get(edge.address, "/v1/echo", &[("cookie", &guest)]).await.json();
    assert!(known["guest"].as_str().unwrap().starts_with("gst_"));

    let forged = guest.replace("gst_", "gst_0");
    let truncated = &guest[..guest.len() - 3];
    let unsigned = format!("{GUEST}={}", known["guest"].as_str().unwrap());
    for bad in [forged.as_str(), truncated, &unsigned, "__Host-lm_guest=", "__Host-lm_guest=\u{7f}"] {
        let Ok(bad) = http::HeaderValue::from_str(bad) else { continue };
        let bad = bad.to_str().unwrap();
        assert_eq!(get(edge.address, "/v1/echo", &[("cookie", bad)]).await.json()["guest"], "", "{bad}");
        assert!(get(edge.address, "/", &[("cookie", bad)]).await.cookie(GUEST).is_some(), "{bad} is as none");
    }
    edge.stop().await;
}

#[tokio::test]
async fn two_first_visits_at_once_make_two_guests_that_both_work() {
    let (edge, _api) = stack(&[], options()).await;
    let (one, other) = join(get(edge.address, "/", &[]), get(edge.address, "/library", &[])).await;
    let (one, other) = (one.cookie(GUEST).unwrap(), other.cookie(GUEST).unwrap());
    assert_ne!(one, other);
    for guest in [&one, &other] {
        let seen = get(edge.address, "/v1/echo", &[("cookie", guest)]).await.json();
        assert!(guest.contains(seen["guest"].as_str().unwrap()) && seen["guest"] != "");
    }
    // The browser keeps the last; a tab that was first goes on with it.
    let both = format!("{one}; {other}");
    assert_eq!(get(edge.address, "/", &[("cookie", &both)]).await.cookie(GUEST), None);
    edge.stop().await;
}

#[tokio::test]
async fn documents_are_readable_and_protected() {
    let (edge, _api) = stack(&[], options()).await;
    let page = get(edge.address, "/m/mst_1", &[("cookie", "__Host-lm_session=lms_0123456789abcdef")]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let text = page.text();
    assert!(text.contains("Night &lt;Drive&gt;") && text.contains("A little less mud."), "{text}");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("cache-control"), "private, no-cache");
    assert_eq!(page.header("x-request-id").len(), 16);
    let packed = get(edge.address, "/privacy", &[("accept-encoding", "gzip, br")]).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() * 2 < get(edge.address, "/privacy", &[]).await.body.len());
    for path in ["/m/mst_2", "/nothing", "/m/../v1/me", "/v1/../metrics"] {
        let got = get(edge.address, path, &[("accept", "text/html")]).await;
        assert_eq!(
            (got.status, got.header("content-type")),
            (StatusCode::NOT_FOUND, "text/html; charset=utf-8"),
            "{path}"
        );
    }
    let wrong = send(edge.address, Method::PUT, "/privacy", &[], "").await;
    assert_eq!((wrong.status, wrong.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"));
    edge.stop().await;
}

#[tokio::test]
async fn files_are_packed_and_never_sent_twice() {
    let (edge, api) = stack(&[], options()).await;
    let page = get(edge.address, "/", &[]).await.text();
    let path = page
        .split('"')
        .find(|part| part.starts_with("/assets/") && part.rsplit_once('.').is_some_and(|(_, ending)| ending == "css"))
        .unwrap();
    let file = get(edge.address, path, &[("accept-encoding", "br")]).await;
    assert_eq!((file.status, file.header("content-encoding")), (StatusCode::OK, "br"));
    assert!(file.header("cache-control").contains("immutable"));
    let again = get(edge.address, path, &[("accept-encoding", "br"), ("if-none-match", file.header("etag"))]).await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert!(api.seen().iter().all(|seen| !seen.contains("/assets/")), "files need no api");
    edge.stop().await;
}

#[tokio::test]
async fn signing_in_works_without_a_script() {
    let (edge, api) = stack(&[], options()).await;
    let sent = post(edge.address, "/sign-in", &[], "email=nora%40example.com&of_age=on&next=%2Fm%2Fmst_1").await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text());
    assert_eq!(sent.header("location"), "/sign-in?login=lgn_1&next=%2Fm%2Fmst_1");
    let login = sent.cookie("__Host-lm_login").unwrap();
    assert!(!sent.headers.contains_key("lm-set-login"), "the api's wish does not get out");

    let wrong =
        post(edge.address, "/sign-in/code", &[("cookie", &login)], "login=lgn_1&code=000000&next=%2Fm%2Fmst_1").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text().contains("4 tries are left") && wrong.text().contains("lgn_1"), "{}", wrong.text());

    let done =
        post(edge.address, "/sign-in/code", &[("cookie", &login)], "login=lgn_1&code=123+456&next=%2Fm%2Fmst_1").await;
    assert_eq!(done.header("location"), "/sign-in?merge=1&next=%2Fm%2Fmst_1");
    let session = done.cookie("__Host-lm_session").unwrap();
    assert_eq!(done.cookie("__Host-lm_login").as_deref(), Some("__Host-lm_login="), "cleared");
    let merge = get(edge.address, done.header("location"), &[("cookie", &session)]).await.text();
    assert!(merge.contains("2 tracks"), "{merge}");
    let left = post(edge.address, "/sign-in/merge", &[("cookie", &session)], "keep=leave&next=%2Fm%2Fmst_1").await;
    assert_eq!(left.header("location"), "/m/mst_1");

    let rerun = post(edge.address, "/m/mst_1", &[("cookie", &session)], "style=warm&loudness=-14").await;
    assert_eq!((rerun.status, rerun.header("location")), (StatusCode::SEE_OTHER, "/m/mst_2"));
    let grim = post(edge.address, "/m/mst_1", &[("cookie", &session)], "style=grim").await;
    assert_eq!(grim.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(grim.text().contains("grim"));

    let google = post(edge.address, "/sign-in/google", &[], "of_age=on").await;
    assert_eq!(
        (google.status, google.header("refresh")),
        (StatusCode::OK, "0; url=https://accounts.example/o?client_id=1")
    );
    let out = post(edge.address, "/sign-in/out", &[("cookie", &session)], "").await;
    assert_eq!((out.header("location"), out.cookie("__Host-lm_session").as_deref()), ("/", Some("__Host-lm_session=")));
    let nobody = get(edge.address, "/account", &[]).await;
    assert_eq!(nobody.header("location"), "/sign-in?next=/account");
    assert_eq!(api.refused(), Vec::<String>::new());
    edge.stop().await;
}

#[tokio::test]
async fn whoever_asks_too_often_waits_and_nobody_else() {
    let (edge, _api) = stack(&[("limits", "page=3/60 mail=1/600"), ("trusted_hops", "1")], options()).await;
    let from = |address: &'static str| [("x-forwarded-for", address)];
    let guest = get(edge.address, "/terms", &from("9.9.9.1")).await.cookie(GUEST).unwrap();
    let visits = async |cookie: &str| {
        let headers = [("cookie", cookie), ("x-forwarded-for", "9.9.9.1")];
        get(edge.address, "/terms", &headers).await
    };
    for _ in 0..3 {
        assert_eq!(visits(&guest).await.status, StatusCode::OK);
    }
    let refused = visits(&guest).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=20).contains(&seconds));
    assert_eq!(refused.header("ratelimit-policy"), "\"page\";q=3;w=60");
    assert!(refused.header("content-type").starts_with("text/html"));
    assert_eq!(visits("").await.status, StatusCode::OK, "somebody else behind the same address");
    let form = "email=a%40example.com&of_age=on";
    let mail = async |address| post(edge.address, "/sign-in", &from(address), form).await.status;
    assert_eq!(mail("9.9.9.1").await, StatusCode::SEE_OTHER);
    assert_eq!(mail("9.9.9.1").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(mail("9.9.9.2").await, StatusCode::SEE_OTHER, "another network");
    edge.stop().await;
}

#[tokio::test]
async fn a_store_that_is_away_stops_mail_and_nothing_else() {
    let api = Api::start().await;
    let manifest = Manifest { stores: Vec::new(), ..manifest(&api.url, &[]) };
    let edge = start(&manifest, Options { reuse: 1, concurrent: 1, ..options() }).await;
    assert_eq!(get(edge.address, "/", &[]).await.status, StatusCode::OK);
    assert_eq!(get(edge.address, "/v1/echo", &[]).await.status, StatusCode::OK);
    let mail = post(edge.address, "/sign-in", &[], "email=a%40example.com&of_age=on").await;
    assert_eq!((mail.status, mail.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "60"));
    edge.stop().await;
}
