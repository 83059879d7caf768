//! The three cookies: who a guest is (vouched for here), and two tokens of the api that are opaque here.
//!
//! A guest cookie is `2.<guest id>.<expiry, Unix seconds>.<date of the privacy policy seen>.<HMAC-SHA-256, base64url>`; one of the
//! version before begins with `1` and has no date. It is minted on a document request alone, so that the many requests of a first visit
//! cannot each make one. The id of a valid one never changes, so that two tabs cannot fight; only its expiry and date do.

use crate::hash::{hex, keyed};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderValue, header};
use sha2::Sha256;

/// The guest cookie.
pub const GUEST: &str = "__Host-lm_guest";
/// The session cookie.
pub const SESSION: &str = "__Host-lm_session";
/// The cookie of a sign-in under way.
pub const LOGIN: &str = "__Host-lm_login";

/// All values of one cookie in a request, in their order. The `__Host-` prefix keeps other hosts from planting any.
pub fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

/// The api's token in cookie `name`, if it looks like one: `prefix` and then only what tokens are made of. Whether it is one, the api says.
#[must_use]
pub fn token(headers: &HeaderMap, name: &str, prefix: &str) -> Option<String> {
    values(headers, name).find(|value| is_token(value, prefix)).map(str::to_owned)
}

/// Whether `text` is `prefix` followed by 16 to 200 of the characters tokens are made of.
#[must_use]
pub fn is_token(text: &str, prefix: &str) -> bool {
    let rest = text.strip_prefix(prefix).unwrap_or_default();
    (16..=200).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// What a guest cookie says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// `gst_…`
    pub id: String,
    /// When the cookie ends, Unix seconds.
    pub expiry: u64,
    /// The date of the privacy policy this visitor has seen; empty in a cookie from before policies were noted.
    pub policy: String,
}

/// The verified guest of a request; forged, truncated and expired cookies are none.
#[must_use]
pub fn guest(headers: &HeaderMap, keys: &[Vec<u8>], now: u64) -> Option<Guest> {
    values(headers, GUEST).find_map(|value| open_guest(value, keys, now))
}

fn open_guest(value: &str, keys: &[Vec<u8>], now: u64) -> Option<Guest> {
    let (signed, signature) = value.rsplit_once('.')?;
    let fields: Vec<&str> = signed.split('.').collect();
    let (id, expiry, policy) = match fields[..] {
        ["1", id, expiry] => (id, expiry, ""),
        ["2", id, expiry, policy] => (id, expiry, policy),
        _ => return None,
    };
    let expiry = expiry.parse::<u64>().ok()?;
    if !is_token(id, "gst_") || expiry <= now {
        return None;
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let valid = keys.iter().any(|key| mac(key, signed).verify_slice(&signature).is_ok());
    valid.then(|| Guest { id: id.to_owned(), expiry, policy: policy.to_owned() })
}

fn mac(key: &[u8], signed: &str) -> Hmac<Sha256> {
    let mut mac = keyed(key);
    mac.update(b"lm-guest\n");
    mac.update(signed.as_bytes());
    mac
}

/// A new guest id: `gst_` and a UUID v7 made of the time and `random`.
#[must_use]
pub fn guest_id(now_ms: u64, mut random: [u8; 16]) -> String {
    random[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
    random[6] = 0x70 | (random[6] & 0x0f);
    random[8] = 0x80 | (random[8] & 0x3f);
    format!("gst_{}", hex(&random))
}

/// The `Set-Cookie` that makes its browser guest `id` until `now + seconds`, and notes which privacy policy was seen.
#[must_use]
pub fn set_guest(id: &str, policy: &str, key: &[u8], now: u64, seconds: u64) -> HeaderValue {
    let signed = format!("2.{id}.{}.{policy}", now.saturating_add(seconds));
    let signature = URL_SAFE_NO_PAD.encode(mac(key, &signed).finalize().into_bytes());
    set(GUEST, &format!("{signed}.{signature}"), seconds)
}

/// `Set-Cookie` for `name`; zero seconds delete it.
#[must_use]
pub fn set(name: &str, value: &str, seconds: u64) -> HeaderValue {
    let line = format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    // Names are ours and values are tokens, so this cannot fail; an empty header would be ignored by browsers.
    HeaderValue::from_str(&line).unwrap_or(HeaderValue::from_static(""))
}

/// What the api wants of a cookie: `<token> <seconds>`, or `-` to delete it. Anything else changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Delete it.
    Clear,
    /// Set it to a value for so many seconds.
    Set(String, u64),
}

impl Wish {
    /// Reads a `lm-set-…` header whose tokens begin with `prefix`.
    #[must_use]
    pub fn read(value: &HeaderValue, prefix: &str) -> Option<Self> {
        let text = value.to_str().ok()?.trim();
        if text == "-" {
            return Some(Self::Clear);
        }
        let (token, seconds) = text.split_once(' ')?;
        is_token(token, prefix).then_some(())?;
        Some(Self::Set(token.to_owned(), seconds.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_790_000_000;

    fn keys() -> Vec<Vec<u8>> {
        vec![vec![1; 32], vec![2; 32]]
    }

    fn cookie(line: &str) -> HeaderMap {
        [(header::COOKIE, HeaderValue::from_str(line).unwrap())].into_iter().collect()
    }

    fn minted() -> (String, String) {
        let id = guest_id(NOW * 1000, [7; 16]);
        let set = set_guest(&id, "2026-11-30", &keys()[0], NOW, 600);
        (id, set.to_str().unwrap().split(';').next().unwrap().to_owned())
    }

    #[test]
    fn a_minted_guest_comes_back_until_the_cookie_expires() {
        let (id, pair) = minted();
        assert!(id.starts_with("gst_") && id.len() == 36, "{id}");
        let sent = cookie(&format!("other=1; {pair}; b=2"));
        let expected = Guest { id, expiry: NOW + 600, policy: "2026-11-30".to_owned() };
        assert_eq!(guest(&sent, &keys(), NOW + 599), Some(expected));
        assert_eq!(guest(&sent, &keys(), NOW + 600), None);
    }

    #[test]
    fn a_rotated_key_still_opens_and_a_foreign_one_does_not() {
        let set = set_guest(&minted().0, "2026-11-30", &[2; 32], NOW, 600);
        let sent = cookie(set.to_str().unwrap().split(';').next().unwrap());
        assert!(guest(&sent, &keys(), NOW).is_some());
        assert_eq!(guest(&sent, &[vec![3; 32]], NOW), None);
    }

    #[test]
    fn a_forged_cookie_before_the_true_one_does_not_hide_it() {
        let (id, pair) = minted();
        let found = guest(&cookie(&format!("{GUEST}=forged; {pair}")), &keys(), NOW);
        assert_eq!(found.map(|guest| guest.id), Some(id));
    }

    #[test]
    fn a_cookie_of_the_version_before_still_opens() {
        let (id, _) = minted();
        let signed = format!("1.{id}.{}", NOW + 600);
        let signature = URL_SAFE_NO_PAD.encode(mac(&keys()[0], &signed).finalize().into_bytes());
        let found = guest(&cookie(&format!("{GUEST}={signed}.{signature}")), &keys(), NOW);
        assert_eq!(found, Some(Guest { id: id.clone(), expiry: NOW + 600, policy: String::new() }));
        // A date cannot be added to it without the key.
        let dated = format!("{GUEST}=2.{id}.{}.2026-11-30.{signature}", NOW + 600);
        assert_eq!(guest(&cookie(&dated), &keys(), NOW), None);
    }

    #[test]
    fn cookies_are_host_bound_and_out_of_scripts_reach() {
        let set = set(SESSION, "lms_0123456789abcdef", 60);
        assert_eq!(
            set.to_str().unwrap(),
            "__Host-lm_session=lms_0123456789abcdef; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn only_what_looks_like_a_token_travels_on() {
        for junk in
            ["", "lms_", "lms_short", "lms_0123456789abc\u{e9}ef", "xxx_0123456789abcdef", "lms_0123456789abcdef\""]
        {
            assert!(!is_token(junk, "lms_"), "{junk}");
        }
        let sent = cookie("__Host-lm_session=lms_0123456789abcdef");
        assert_eq!(token(&sent, SESSION, "lms_").as_deref(), Some("lms_0123456789abcdef"));
        assert_eq!(token(&sent, LOGIN, "lml_"), None);
    }

    #[test]
    fn the_apis_wishes_are_read() {
        let read = |text: &'static str| Wish::read(&HeaderValue::from_static(text), "lms_");
        assert_eq!(read("-"), Some(Wish::Clear));
        assert_eq!(read("lms_0123456789abcdef 60"), Some(Wish::Set("lms_0123456789abcdef".to_owned(), 60)));
        for nothing in ["", "lms_0123456789abcdef", "lms_0123456789abcdef soon", "x; Domain=evil 60"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn no_change_to_a_cookie_keeps_it_valid(at in 0usize..120, byte in 0x21u8..0x7f, cut in 0usize..120) {
            let (_, pair) = minted();
            let value = pair.split_once('=').unwrap().1.to_owned();
            let mut changed = value.clone().into_bytes();
            let at = at % changed.len();
            changed[at] = byte;
            let changed = String::from_utf8(changed).unwrap();
            // The last character of base64 has bits that carry nothing; the decoder refuses them when they are set.
            prop_assert_eq!(open_guest(&changed, &keys(), NOW).is_some(), changed == value);
            prop_assert_eq!(open_guest(&value[..cut % value.len()], &keys(), NOW), None);
        }

        #[test]
        fn any_cookie_header_is_survived(line in "[ -~]{0,300}") {
            prop_assert_eq!(guest(&cookie(&line), &keys(), NOW), None);
        }
    }
}
