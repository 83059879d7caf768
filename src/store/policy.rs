//! Browser uploads by form: POST policies with AWS signature version 4, which aws-sdk-s3 does not sign.

use crate::digest::hex;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use s3s::dto::{Timestamp, TimestampFormat};
use serde::Serialize;
use serde_json::json;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use url::Url;

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Who signs.
#[derive(Clone)]
pub struct Credentials {
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
}

// The secret stays out of logs.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// A form a browser may send: the fields in front of the file, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PostForm {
    /// Where the form goes.
    pub url: Url,
    /// Its fields; the file comes last.
    pub fields: BTreeMap<String, String>,
}

/// How many bytes a form may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostBytes {
    /// So many.
    Exactly(u64),
    /// One to so many.
    AtMost(u64),
}

/// What a form is signed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) region: &'a str,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) media_type: &'a str,
    pub(super) bytes: PostBytes,
    pub(super) ttl: Duration,
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The key of a day, a region and a service.
pub(super) fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> [u8; 32] {
    let day = hmac(format!("AWS4{secret}").as_bytes(), date);
    hmac(&hmac(&hmac(&day, region), service), "aws4_request")
}

/// The signature of a policy in base64.
pub(super) fn signature(secret: &str, date: &str, region: &str, policy: &str) -> String {
    hex(&hmac(&signing_key(secret, date, region, "s3"), policy))
}

/// Whether a signature is that of the policy, in constant time.
pub(super) fn verify(secret: &str, date: &str, region: &str, policy: &str, signature: &str) -> bool {
    let given: Option<Vec<u8>> = (0..32)
        .map(|at| signature.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()))
        .collect();
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(&signing_key(secret, date, region, "s3")).expect("any length");
    mac.update(policy.as_bytes());
    signature.len() == 64 && given.is_some_and(|given| mac.verify_slice(&given).is_ok())
}

/// A time as policies write it (`2015-12-30T12:00:00.000Z`) and as signatures do (`20151230T120000Z`).
fn written(time: SystemTime) -> (String, String) {
    let mut text = Vec::new();
    // Writing to memory cannot fail, and the calendar holds all times of this program.
    let _ = Timestamp::from(time).format(TimestampFormat::DateTime, &mut text);
    let long = String::from_utf8(text).unwrap_or_default();
    let short: String = long.split('.').next().unwrap_or_default().replace(['-', ':', 'Z'], "");
    (long, format!("{short}Z"))
}

/// Signs a form for one key. Everything the browser sends is fixed but the bytes, and of those their number.
pub(super) fn sign(credentials: &Credentials, base: &Url, terms: Terms<'_>, now: SystemTime) -> PostForm {
    let (_, date) = written(now);
    let (expiration, _) = written(now + terms.ttl);
    let day = &date[..8.min(date.len())];
    let credential = format!("{}/{day}/{}/s3/aws4_request", credentials.access_key, terms.region);
    let mut fields = BTreeMap::from(
        [
            ("key", terms.key),
            ("content-type", terms.media_type),
            ("success_action_status", "201"),
            ("x-amz-algorithm", ALGORITHM),
            ("x-amz-credential", &credential),
            ("x-amz-date", &date),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let (least, most) = match terms.bytes {
        PostBytes::Exactly(bytes) => (bytes, bytes),
        PostBytes::AtMost(bytes) => (1, bytes),
    };
    let mut conditions = vec![json!({ "bucket": terms.bucket }), json!(["content-length-range", least, most])];
    conditions.extend(fields.iter().map(|(name, value)| json!(["eq", format!("${name}"), value])));
    let policy = BASE64_STANDARD.encode(json!({ "expiration": expiration, "conditions": conditions }).to_string());
    let signature = signature(&credentials.secret_key, day, terms.region, &policy);
    fields.insert("policy".to_owned(), policy);
    fields.insert("x-amz-signature".to_owned(), signature);
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(terms.bucket);
    }
    PostForm { url, fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    /// "Example: Browser-Based Upload using HTTP POST" in the S3 API reference.
    const PUBLISHED: &str = concat!(
        "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1w",
        "bGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAg",
        "IHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2Fk",
        "Lmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUx",
        "MjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXot",
        "bWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3",
        "czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlU",
        "MDAwMDAwWiIgfQ0KICBdDQp9"
    );

    #[test]
    fn the_published_policy_has_the_published_signature() {
        let published = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";
        assert_eq!(signature(SECRET, "20151229", "us-east-1", PUBLISHED), published);
        assert!(verify(SECRET, "20151229", "us-east-1", PUBLISHED, published));
        assert!(!verify(SECRET, "20151230", "us-east-1", PUBLISHED, published));
        assert!(!verify(SECRET, "20151229", "us-east-1", &PUBLISHED[1..], published));
        for broken in ["", "8a", "zz", &published[1..], &format!("{published}00")] {
            assert!(!verify(SECRET, "20151229", "us-east-1", PUBLISHED, broken), "{broken}");
        }
    }

    #[test]
    fn the_published_signing_key() {
        // "Deriving a signing key" in the AWS General Reference.
        let key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "iam");
        assert_eq!(hex(&key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    #[test]
    fn a_form_fixes_everything() {
        let credentials = Credentials { access_key: "AK".to_owned(), secret_key: SECRET.to_owned() };
        let terms = Terms {
            region: "eu-1",
            bucket: "songs",
            key: "uploads/upl_1/ä \"quoted\"",
            media_type: "audio/wav",
            bytes: PostBytes::Exactly(44),
            ttl: Duration::from_mins(15),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(403_152);
        let form = sign(&credentials, &Url::parse("http://files.test:3002/").unwrap(), terms, now);
        assert_eq!(form.url.as_str(), "http://files.test:3002/songs");
        assert_eq!(form.fields["x-amz-date"], "20151229T000000Z");
        let policy = BASE64_STANDARD.decode(&form.fields["policy"]).unwrap();
        let policy: serde_json::Value = serde_json::from_slice(&policy).unwrap();
        assert!(policy["expiration"].as_str().unwrap().starts_with("2015-12-29T00:15:00"));
        let conditions = policy["conditions"].as_array().unwrap();
        assert!(conditions.contains(&json!(["content-length-range", 44, 44])));
        // Every field but the policy and its signature is in the policy.
        for (name, value) in &form.fields {
            let fixed = conditions.contains(&json!(["eq", format!("${name}"), value]));
            assert_eq!(fixed, name != "policy" && name != "x-amz-signature", "{name}");
        }
        assert!(verify(SECRET, "20151229", "eu-1", &form.fields["policy"], &form.fields["x-amz-signature"]));
    }
}
