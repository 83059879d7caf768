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

/// How far ahead `security.txt` says it holds, days.
const SECURITY_TXT_DAYS: u64 = 180;

/// `/.well-known/security.txt` (RFC 9116), at `now` in Unix seconds.
#[must_use]
pub fn txt(config: &Config, now: u64) -> String {
    let origin = &config.public_origin;
    let contacts: Vec<String> =
        config.security_contacts.iter().map(|contact| format!("Contact: {contact}\n")).collect();
    let contacts = contacts.concat();
    let (year, month, day) = civil(now / 86_400 + SECURITY_TXT_DAYS);
    format!(
        "{contacts}Expires: {year:04}-{month:02}-{day:02}T00:00:00Z\n\
         Preferred-Languages: en\n\
         Canonical: {origin}/.well-known/security.txt\n\
         Policy: {origin}/security\n"
    )
}

/// Year, month and day of a number of days since 1970: eras of 400 years, counted from March so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year_of_era + era * 400 + next, month, day)
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
    #[test]
    fn security_txt_has_its_fields_and_is_never_past() {
        let mut config = config();
        config.public_origin = "https://music.example".to_owned();
        config.security_contacts =
            vec!["mailto:security@music.example".to_owned(), "https://music.example/report".to_owned()];
        // 30 November 2026, and a leap day.
        for (now, expires) in [(1_795_996_800, "2027-05-29"), (1_835_395_200, "2028-08-27")] {
            let text = txt(&config, now);
            let field = |name: &str| {
                let mark = format!("{name}: ");
                text.lines().filter_map(|line| line.strip_prefix(&mark).map(str::to_owned)).collect::<Vec<_>>()
            };
            assert_eq!(field("Contact"), ["mailto:security@music.example", "https://music.example/report"]);
            assert_eq!(field("Expires"), [format!("{expires}T00:00:00Z")], "at {now}");
            assert_eq!(field("Canonical"), ["https://music.example/.well-known/security.txt"]);
            assert_eq!(field("Policy"), ["https://music.example/security"]);
            assert_eq!(field("Preferred-Languages"), ["en"]);
        }
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_453, (2025, 12, 31)),
            (20_454, (2026, 1, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date, "{days}");
        }
    }
}
