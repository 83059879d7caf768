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
    // As long as guest tracks, by the api's word: seven days where nothing else is set. It was 180 days before.
    assert!(line.ends_with("; Path=/; Max-Age=604800; Secure; HttpOnly; SameSite=Lax"), "{line}");
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
    // The sentence of the code with its figure; the api's own words are for programs.
    assert!(wrong.text().contains("Tries left: 4.") && wrong.text().contains("lgn_1"), "{}", wrong.text());
    assert!(!wrong.text().contains("4 tries are left"), "{}", wrong.text());

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

#[tokio::test]
async fn a_guest_cookie_lives_as_long_as_the_operator_keeps_guest_tracks() {
    let (edge, api) = stack(&[], options()).await;
    let life = |got: &Got| {
        let lines = got.headers.get_all("set-cookie").into_iter().map(|line| line.to_str().unwrap());
        let line = lines.filter(|line| line.starts_with(GUEST)).next_back().map(str::to_owned);
        line.map(|line| line.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse::<u64>().unwrap())
    };
    // Also on a page that needs nothing else of the api.
    for path in ["/", "/terms", "/privacy", "/contact"] {
        assert_eq!(life(&get(edge.address, path, &[]).await), Some(7 * 86_400), "{path}");
    }
    api.keeps_guests(3);
    let first = get(edge.address, "/terms", &[]).await;
    assert_eq!(life(&first), Some(3 * 86_400));
    let page = get(edge.address, "/privacy", &[]).await.text();
    assert!(page.contains("3 days after your newest track") && !page.contains("7 days after your newest track"));
    // A new track renews it: the api says for how long, and the guest stays the same.
    let guest = first.cookie(GUEST).unwrap();
    let made = post(edge.address, "/v1/renewed", &[("cookie", &guest)], "").await;
    assert_eq!(life(&made), Some(7200));
    let id = |cookie: &str| cookie.split('.').nth(1).unwrap().to_owned();
    assert_eq!(id(&made.cookie(GUEST).unwrap()), id(&guest));
    // One that would outlive every track, from before the period was shortened, is shortened on the next page.
    api.keeps_guests(1);
    let shortened = get(edge.address, "/", &[("cookie", &guest)]).await;
    assert_eq!(life(&shortened), Some(86_400));
    assert_eq!(id(&shortened.cookie(GUEST).unwrap()), id(&guest));
    edge.stop().await;
}

#[tokio::test]
async fn a_guest_closes_the_notice_of_a_new_policy_and_nothing_new_is_stored() {
    let (edge, api) = stack(&[], options()).await;
    let changed = "Our privacy policy has changed";
    let new = get(edge.address, "/terms", &[]).await;
    assert!(!new.text().contains(changed), "nobody who comes for the first time is told");
    let guest = new.cookie(GUEST).unwrap();
    assert!(!get(edge.address, "/terms", &[("cookie", &guest)]).await.text().contains(changed));

    // A cookie from before policies were noted, signed as that version did.
    let id = guest.split('.').nth(1).unwrap();
    let old = old_guest_cookie(id);
    for path in ["/terms", "/", "/m/mst_1", "/privacy"] {
        let page = get(edge.address, path, &[("cookie", &old)]).await.text();
        assert!(page.contains(changed) && page.contains("action=\"/privacy/seen\""), "{path}");
    }
    let asked = api.seen().len();
    let closed = post(edge.address, "/privacy/seen", &[("cookie", &old)], "next=%2Fterms").await;
    assert_eq!((closed.status, closed.header("location")), (StatusCode::SEE_OTHER, "/terms"));
    assert_eq!(api.seen().len(), asked, "the service stores nothing");
    let cookies = closed.headers.get_all("set-cookie").iter().count();
    let seen = closed.cookie(GUEST).unwrap();
    assert!(cookies == 1 && seen.contains(id), "the same guest, and no other cookie: {seen}");
    assert!(!get(edge.address, "/terms", &[("cookie", &seen)]).await.text().contains(changed));
    // A page of somebody else cannot close it, and no address leads away.
    let foreign = send(edge.address, Method::POST, "/privacy/seen", &[("cookie", &old)], "").await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    let away = post(edge.address, "/privacy/seen", &[("cookie", &old)], "next=%2F%2Fevil.example").await;
    assert_eq!(away.header("location"), "/privacy");
    let nobody = post(edge.address, "/privacy/seen", &[], "next=%2F").await;
    assert_eq!((nobody.status, nobody.cookie(GUEST)), (StatusCode::SEE_OTHER, None));
    edge.stop().await;
}

#[tokio::test]
async fn earlier_policies_stay_where_they_are_linked() {
    let (edge, _api) = stack(&[], options()).await;
    let now = get(edge.address, "/privacy", &[]).await.text();
    let links: Vec<&str> = now.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let earlier: Vec<&&str> = links.iter().filter(|link| link.starts_with("/privacy/")).collect();
    assert!(!earlier.is_empty());
    for link in earlier {
        let page = get(edge.address, link, &[]).await;
        assert_eq!(page.status, StatusCode::OK, "{link}");
        let day = link.rsplit('/').next().unwrap();
        assert!(page.text().contains(&format!("datetime=\"{day}\"")) && page.text().contains("an earlier version"));
    }
    for path in ["/privacy/2026-01-01", "/privacy/2026-11-25/x", "/privacy/..%2Fx"] {
        assert_eq!(get(edge.address, path, &[]).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn security_txt_says_where_to_report() {
    let contact = "security@music.example, https://music.example/report";
    let (edge, api) = stack(&[("security_contact", contact), ("public_url", "https://music.example")], options()).await;
    let got = get(edge.address, "/.well-known/security.txt", &[]).await;
    assert_eq!((got.status, got.header("content-type")), (StatusCode::OK, "text/plain; charset=utf-8"));
    let text = got.text();
    for line in [
        "Contact: mailto:security@music.example",
        "Contact: https://music.example/report",
        "Preferred-Languages: en",
        "Canonical: https://music.example/.well-known/security.txt",
        "Policy: https://music.example/security",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let expires: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Expires: ")).collect();
    let [expires] = expires[..] else { panic!("one Expires: {text}") };
    // Never past, and less than the year ahead that RFC 9116 recommends.
    let ahead = days_ahead(expires);
    assert!((170.0..190.0).contains(&ahead) && expires.ends_with("T00:00:00Z"), "{expires}: {ahead}");
    assert_eq!(got.header("cache-control"), "public, max-age=86400");
    assert_eq!(get(edge.address, "/security", &[]).await.status, StatusCode::OK);
    let wrong = send(edge.address, Method::POST, "/.well-known/security.txt", &[], "").await;
    assert_eq!((wrong.status, wrong.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"));
    let head = send(edge.address, Method::HEAD, "/.well-known/security.txt", &[], "").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert!(!api.seen().iter().any(|seen| seen.contains("security.txt")), "the api is not needed for it");
    edge.stop().await;
}

#[tokio::test]
async fn a_confirmation_is_shown_by_get_and_made_by_post() {
    let (edge, api) = stack(&[], options()).await;
    let shown = get(edge.address, "/confirm/lmv_1", &[]).await;
    assert_eq!((shown.status, shown.cookie(GUEST)), (StatusCode::OK, None), "a mail scanner becomes no guest");
    assert!(shown.text().contains("Yes, it was me") && shown.text().contains("nora@example.com"), "{}", shown.text());
    assert!(!api.seen().iter().any(|seen| seen.starts_with("POST")), "looking confirms nothing");
    let done = post(edge.address, "/confirm/lmv_1", &[], "").await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/confirm/lmv_1"));
    assert!(api.seen().contains(&"POST /v1/confirmations/lmv_1".to_owned()));
    let foreign = send(edge.address, Method::POST, "/confirm/lmv_1", &[], "").await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN, "no other site presses the button");
    let elsewhere = get(edge.address, "/confirm/lmv_2", &[]).await.text();
    assert!(elsewhere.contains("not the browser that made the tracks") && !elsewhere.contains("Yes, it was me"));
    let refused = post(edge.address, "/confirm/lmv_2", &[], "").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text().contains("Open the link there") || refused.text().contains("open the link there"));
    assert_eq!(get(edge.address, "/confirm/lmv_3", &[]).await.status, StatusCode::NOT_FOUND);
    edge.stop().await;
}
