//! The description of the API, as JSON for programs and as one page for people. The page is written here and needs neither a script
//! nor anybody else's server.

use super::openapi;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;
use std::sync::OnceLock;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}\
h2{margin-top:2.5rem;border-bottom:1px solid #ccc}details{border:1px solid #ccc;border-radius:6px;margin:.5rem 0;padding:.5rem .8rem}\
summary{cursor:pointer}code,pre{font:14px/1.45 ui-monospace,monospace}pre{overflow:auto;background:#f4f4f2;padding:.7rem;border-radius:6px}\
.m{display:inline-block;min-width:4.5rem;font-weight:700}table{border-collapse:collapse}td,th{text-align:left;padding:.15rem .8rem .15rem 0;vertical-align:top}\
a{color:#0b57a4}@media(prefers-color-scheme:dark){body{background:#161616;color:#eee}pre{background:#242424}details,h2{border-color:#444}a{color:#8ab8f0}}";

/// The description as JSON; the same bytes as `docs/openapi.json`.
pub(super) fn document() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text = openapi().to_pretty_json().unwrap_or_default();
        text.push('\n');
        text
    })
}

pub(super) async fn page() -> Response {
    static PAGE: OnceLock<String> = OnceLock::new();
    let page = PAGE.get_or_init(|| {
        let document: Value = serde_json::from_str(document()).unwrap_or_default();
        written(&document).into_string()
    });
    let mut response = page.as_str().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
        ),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

fn written(document: &Value) -> Markup {
    let empty = serde_json::Map::new();
    let paths = document["paths"].as_object().unwrap_or(&empty);
    let schemas = document["components"]["schemas"].as_object().unwrap_or(&empty);
    let mut tags: Vec<&str> = Vec::new();
    let operations: Vec<(&str, &str, &Value)> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = ["get", "post", "put", "patch", "delete"];
            methods
                .into_iter()
                .filter_map(move |method| item.get(method).map(|operation| (path.as_str(), method, operation)))
        })
        .collect();
    for (.., operation) in &operations {
        let tag = operation["tags"][0].as_str().unwrap_or("other");
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { "LoopMastering API" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { "LoopMastering API" }
                p { (document["info"]["description"].as_str().unwrap_or_default()) }
                p { "Programs send " code { "Authorization: Bearer lmt_…" } "; tokens are made in the account. The same as JSON: "
                    a href="/v1/openapi.json" { "openapi.json" } "." }
                nav aria-label="Parts" { @for tag in &tags { a href={ "#" (tag) } { (tag) } " " } a href="#schemas" { "schemas" } }
                @for tag in &tags {
                    h2 id=(tag) { (tag) }
                    @for (path, method, operation) in operations.iter().filter(|(.., operation)| operation["tags"][0].as_str().unwrap_or("other") == *tag) {
                        (one(path, method, operation))
                    }
                }
                h2 id="schemas" { "Schemas" }
                @for (name, schema) in schemas {
                    details id={ "schema-" (name) } {
                        summary { code { (name) } }
                        pre { (serde_json::to_string_pretty(schema).unwrap_or_default()) }
                    }
                }
            }
        }
    }
}

fn one(path: &str, method: &str, operation: &Value) -> Markup {
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let empty = serde_json::Map::new();
    let responses = operation["responses"].as_object().unwrap_or(&empty);
    let body = &operation["requestBody"]["content"];
    html! {
        details id=(operation["operationId"].as_str().unwrap_or_default()) {
            summary {
                span.m { (method.to_uppercase()) } " " code { (path) } " — " (operation["summary"].as_str().unwrap_or_default())
            }
            @if let Some(text) = operation["description"].as_str() { p { (text) } }
            @if !parameters.is_empty() {
                table {
                    @for parameter in parameters {
                        tr {
                            td { code { (parameter["name"].as_str().unwrap_or_default()) } }
                            td { (parameter["in"].as_str().unwrap_or_default()) }
                            td { (parameter["description"].as_str().unwrap_or_default()) }
                        }
                    }
                }
            }
            @if let Some(types) = body.as_object() {
                p { "Body: " @for (kind, content) in types { code { (kind) } " " (reference(&content["schema"])) } }
            }
            table {
                @for (status, response) in responses {
                    tr {
                        td { code { (status) } }
                        td { (response["description"].as_str().unwrap_or_default()) }
                        td { @if let Some(types) = response["content"].as_object() { @for content in types.values() { (reference(&content["schema"])) " " } } }
                    }
                }
            }
        }
    }
}

fn reference(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        html! { a href={ "#schema-" (name) } { (name) } }
    } else {
        html! {}
    }
}
