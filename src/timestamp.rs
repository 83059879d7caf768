//! Milliseconds of the database as the API writes them: RFC 3339 in UTC.

use serde::Serializer;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `2026-11-25T20:15:00.120Z`: always three digits, so that texts sort as times do.
#[must_use]
pub fn rfc3339(ms: i64) -> String {
    let second = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).ok();
    match second.and_then(|second| second.format(&Rfc3339).ok()) {
        Some(text) => format!("{}.{:03}Z", text.trim_end_matches('Z'), ms.rem_euclid(1000)),
        None => String::new(),
    }
}

/// For `#[serde(serialize_with = …)]`.
pub fn written<S: Serializer>(ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*ms))
}

/// For `#[serde(serialize_with = …)]`.
pub fn written_option<S: Serializer>(ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match ms {
        Some(ms) => serializer.serialize_str(&rfc3339(*ms)),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_utc() {
        assert_eq!(super::rfc3339(1_764_101_700_123), "2025-11-25T20:15:00.123Z");
        assert_eq!(super::rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(super::rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(super::rfc3339(i64::MAX), "");
    }
}
