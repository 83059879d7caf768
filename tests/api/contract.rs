//! The description of the API, and the service as operators see it.

use crate::service::{Reply, Service};
use loopmaster::config::Config;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;

/// The description is kept, so that a change of the API is seen as one. `LOOPMASTER_GOLDEN=update cargo test --test tests
/// api::contract::the_description` rewrites it.
#[test]
fn the_description_is_the_one_that_is_kept() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let mut made = loopmaster::http::openapi().to_pretty_json().unwrap();
    made.push('\n');
    if std::env::var("LOOPMASTER_GOLDEN").is_ok_and(|wish| wish == "update") {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "the API has changed; if on purpose, rewrite docs/openapi.json");
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    let document = serde_json::to_value(loopmaster::http::openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_and_readers_are_served() {
    let watched = |config: &mut Config| config.listen.metrics.set_port(crate::operator::free_port());
    for service in Service::both(watched).await {
        let open = async |path: &str| service.bearer(None, Method::GET, path, None).await;
        let ready = open("/readyz").await.good();
        assert_eq!(
            (&ready["ready"], &ready["database"], &ready["storage"], &ready["migrations"]),
            (&json!(true), &json!("ok"), &json!("ok"), &json!("ok"))
        );
        assert_eq!(open("/livez").await.status, 200);
        let status = open("/v1/status").await.good();
        assert_eq!((&status["state"], &status["waiting"]), (&json!("ok"), &json!(0)), "{}", service.name);
        let places = open("/v1/destinations").await.good();
        assert!(places.as_array().unwrap().iter().any(|place| place["key"] == "spotify"));
        assert_eq!(open("/v1/openapi.json").await.good()["info"]["title"], "LoopMastering");

        let guest = service.guest();
        super::masters::masters(&service, &guest, &["a.wav"]).await;
        // On a socket of their own.
        let metrics = reqwest::get(format!("http://{}/metrics", service.app.config.listen.metrics)).await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let waiting =
            |device| format!("loopmaster_queue_jobs{{class=\"interactive\",state=\"waiting\",device=\"{device}\"}}");
        assert!(metrics.contains(&(waiting("any") + " 1")) && metrics.contains(&(waiting("cpu") + " 0")), "{metrics}");
        for there in [
            "loopmaster_build_info{version=\"0.",
            "loopmaster_database_seconds_bucket{operation=\"transaction\",le=\"+Inf\"}",
            "loopmaster_storage_seconds_count{operation=\"HeadBucket\"}",
            "loopmaster_mails_total{outcome=\"refused\"}",
        ] {
            assert!(metrics.contains(there), "{there}: {metrics}");
        }
        assert!(
            metrics.contains("loopmaster_http_requests_total{method=\"POST\",route=\"/v1/masters\",status=\"201\"}"),
            "{metrics}"
        );

        let docs = open("/docs").await;
        let page = String::from_utf8(docs.body.to_vec()).unwrap();
        assert!(
            page.contains("/v1/uploads/{id}/parts")
                && !["<script", "src=", "url(", "href=\"http"].iter().any(|from| page.contains(from)),
            "nothing from elsewhere"
        );
        assert!(docs.header("content-security-policy").starts_with("default-src 'none'"));
        assert_eq!(docs.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_not_for_the_net() {
    for hops in [0, 1] {
        let service = Service::with(|config| config.trusted_hops = hops).await;
        assert_eq!(
            service.bearer(None, Method::GET, "/metrics", None).await.problem(),
            (404, "request.not_found".to_owned())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_names() {
    let service = Service::start().await;
    let guest = service.guest();
    let named = guest.get("/v1/masters/mst_x").await;
    assert_eq!(named.problem(), (404, "master.not_found".to_owned()));
    assert!(named.header("x-request-id").starts_with("req_"));
    let request = service.http.get(format!("{}/v1/none", service.url)).header("lm-request-id", "a\tb");
    let reply = Reply::of(request.send().await.unwrap()).await;
    assert!(reply.header("x-request-id").starts_with("req_"), "a name that is none is replaced");
}
