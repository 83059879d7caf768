//! What the component is made of, and that it stays alone: size, imports, limits, traps.

use crate::support::*;
use http::StatusCode;
use loopmaster_edge_host::Options;
use std::time::Duration;
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

/// What Spin 4.1 offers a component behind its HTTP trigger: `world platform` of `spin:up@4.1.0` (wit/world.wit of Spin; the worlds it
/// includes are wasi:cli/imports 0.2.6 and 0.3.0, wasi:keyvalue/imports 0.2.0-draft2). Interfaces that we will never use are left out.
const SPIN_OFFERS: [&str; 29] = [
    "wasi:cli/environment@0.2",
    "wasi:cli/exit@0.2",
    "wasi:cli/stderr@0.2",
    "wasi:cli/stdin@0.2",
    "wasi:cli/stdout@0.2",
    "wasi:cli/terminal-input@0.2",
    "wasi:cli/terminal-output@0.2",
    "wasi:cli/terminal-stderr@0.2",
    "wasi:cli/terminal-stdin@0.2",
    "wasi:cli/terminal-stdout@0.2",
    "wasi:clocks/monotonic-clock@0.2",
    "wasi:clocks/wall-clock@0.2",
    "wasi:filesystem/preopens@0.2",
    "wasi:filesystem/types@0.2",
    "wasi:io/error@0.2",
    "wasi:io/poll@0.2",
    "wasi:io/streams@0.2",
    "wasi:random/insecure-seed@0.2",
    "wasi:random/random@0.2",
    "wasi:clocks/monotonic-clock@0.3.0",
    "wasi:clocks/system-clock@0.3.0",
    "wasi:clocks/types@0.3.0",
    "wasi:random/random@0.3.0",
    "wasi:http/types@0.3.0",
    "wasi:http/client@0.3.0",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "spin:key-value/key-value@3.0.0",
    "spin:variables/variables@3.0.0",
];

#[test]
fn spin_offers_everything_the_component_imports() {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    let engine = Engine::new(&config).unwrap();
    let component = Component::from_file(&engine, component()).unwrap();
    let kind = component.component_type();
    let imports: Vec<String> = kind.imports(&engine).map(|(name, _)| name.to_owned()).collect();
    assert!(!imports.is_empty());
    for import in &imports {
        // 0.2 is kept compatible: 0.2.6 offers what 0.2.0 to 0.2.6 ask for.
        let offered = |offer: &str| {
            let patch = import.strip_prefix(offer).and_then(|rest| rest.strip_prefix('.'));
            import == offer
                || (offer.ends_with("@0.2") && patch.and_then(|p| p.parse().ok()).is_some_and(|p: u32| p <= 6))
        };
        assert!(
            SPIN_OFFERS.iter().any(|offer| offered(offer)),
            "Spin does not offer {import}; all imports: {imports:#?}"
        );
    }
    let exports: Vec<&str> = kind.exports(&engine).map(|(name, _)| name).collect();
    assert_eq!(exports, ["wasi:http/handler@0.3.0"]);
}

#[test]
fn the_component_is_small() {
    let bytes = std::fs::metadata(component()).unwrap().len();
    assert!(bytes <= 1_550_000, "{bytes} bytes");
}

#[tokio::test]
async fn only_hosts_of_the_manifest_can_be_reached() {
    let api = Api::start().await;
    let elsewhere = manifest("http://127.0.0.1:9", &[]);
    // The variables lead to a host that the list does not have.
    let mut manifest = manifest(&api.url, &[]);
    manifest.allowed = elsewhere.allowed;
    let edge = start(&manifest, options()).await;
    let got = get(edge.address, "/v1/echo", &[]).await;
    assert_eq!((got.status, got.json()["code"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("edge.api_down")));
    assert!(api.seen().is_empty());
    edge.stop().await;
}

#[tokio::test]
async fn a_request_that_kills_its_instance_kills_no_other() {
    // Enough memory to start, too little for a body of a megabyte.
    let narrow = Options { memory: 3 << 20, ..options() };
    let (edge, _api) = stack(&[], narrow).await;
    assert_eq!(get(edge.address, "/v1/plain", &[]).await.status, StatusCode::OK);
    let large = "x".repeat(1 << 20);
    let got = post(edge.address, "/v1/echo", &[], &large).await;
    assert_eq!(got.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", got.text());
    for _ in 0..3 {
        assert_eq!(get(edge.address, "/v1/plain", &[]).await.status, StatusCode::OK);
    }
    edge.stop().await;
    let (edge, _api) = stack(&[], options()).await;
    assert_eq!(post(edge.address, "/v1/echo", &[], &large).await.status, StatusCode::OK, "the usual memory is enough");
    edge.stop().await;
}

#[tokio::test]
async fn a_slow_api_is_waited_for_only_as_long_as_the_host_allows() {
    let (edge, _api) = stack(&[], Options { deadline: Duration::from_millis(20), ..options() }).await;
    let got = get(edge.address, "/v1/slow", &[]).await;
    assert_eq!(got.status, StatusCode::GATEWAY_TIMEOUT, "{}", got.text());
    edge.stop().await;
}

#[tokio::test]
async fn a_component_without_secrets_says_so_to_the_operator_only() {
    let (edge, _api) = stack(&[("edge_key", "short")], options()).await;
    let got = get(edge.address, "/", &[]).await;
    assert_eq!(got.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(got.text().starts_with("edge.misconfigured") && !got.text().contains("short"), "{}", got.text());
    edge.stop().await;
}

#[tokio::test]
async fn the_store_outlives_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Options { store: Some(folder.path().join("store.json")), ..options() };
    let once = [("limits", "mail=1/3600")];
    let (edge, _api) = stack(&once, kept.clone()).await;
    let form = "email=nora%40example.com&of_age=on";
    assert_eq!(post(edge.address, "/sign-in", &[], form).await.status, StatusCode::SEE_OTHER);
    let key = edge.store.get("day-key").unwrap().1;
    edge.stop().await;
    let (edge, _api) = stack(&once, kept).await;
    assert_eq!(edge.store.get("day-key").unwrap().1, key, "the key of the day is the same");
    assert_eq!(post(edge.address, "/sign-in", &[], form).await.status, StatusCode::TOO_MANY_REQUESTS);
    edge.stop().await;
}
