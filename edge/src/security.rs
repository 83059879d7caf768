//! Headers every answer has.

use crate::config::Config;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Sets what browsers must know to keep a page ours: nothing inline, nothing from elsewhere, nobody's frame.
pub fn protect(headers: &mut HeaderMap, config: &Config) {
    let set = |headers: &mut HeaderMap, name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    if let Ok(policy) = HeaderValue::from_str(&content_security_policy(&config.files_origin)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if config.secure() {
        set(headers, header::STRICT_TRANSPORT_SECURITY, "max-age=63072000; includeSubDomains");
    }
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Paths hold capabilities (sign-in links, shares). `no-referrer` would make forms send `Origin: null`.
    set(headers, header::REFERRER_POLICY, "same-origin");
    set(headers, header::X_FRAME_OPTIONS, "DENY");
    set(headers, HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(
        headers,
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
    );
    if !headers.contains_key("cross-origin-resource-policy") {
        set(headers, HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    }
}

/// Scripts and styles are files of ours; audio and uploads go to the object storage and to nobody else.
fn content_security_policy(files: &str) -> String {
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        &format!("img-src 'self' data: blob: {files}"),
        &format!("media-src 'self' blob: {files}"),
        &format!("connect-src 'self' {files}"),
        "worker-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
    .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    #[test]
    fn nothing_inline_and_nobodys_frame() {
        let mut headers = HeaderMap::new();
        protect(&mut headers, &config());
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(policy.contains("connect-src 'self' http://127.0.0.1:3002"));
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!headers.contains_key(header::STRICT_TRANSPORT_SECURITY), "not on a laptop without TLS");
        let mut secure = config();
        secure.public_origin = "https://lm.example".to_owned();
        protect(&mut headers, &secure);
        assert!(headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
    }
}
