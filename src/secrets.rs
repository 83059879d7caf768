//! Secrets the service gives out, keeps and signs with.
//!
//! What is given out is random and only its hash is kept; what must be read again (a webhook's key, a mail that waits) is sealed
//! with a key drawn from the service's own secret.

use crate::digest::{hex, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Whether this may be a secret of [`crate::db::new_secret`] with that prefix; spares the database a search for rubbish.
#[must_use]
pub fn looks_like(prefix: &str, secret: &str) -> bool {
    let hex = secret.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// Six digits, each equally likely.
#[must_use]
pub fn six_digits() -> String {
    format!("{:06}", rand::random_range(0..1_000_000))
}

/// Equal, in a time that does not tell how much of it is.
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// An address as logs, errors and `loopmaster config` may show it: what names and opens an account, the values of its query and its
/// fragment are left out. Takes what is no address, too, because those end in error messages; in doubt more is left out.
#[must_use]
pub fn redacted(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once(':') else {
        // No scheme, but perhaps an account: `user@host`.
        return address.rsplit_once('@').map_or_else(|| address.to_owned(), |(_, rest)| redacted_rest("", rest));
    };
    if scheme == "sqlite" && !rest.contains('@') {
        return format!("{scheme}:{}", without_query(rest));
    }
    let (slashes, rest) = rest.strip_prefix("//").map_or(("", rest), |rest| ("//", rest));
    // A password may hold every character, an `@` and a slash included, if it was not written as an address wants it.
    match rest.rsplit_once('@') {
        Some((_, rest)) => redacted_rest(&format!("{scheme}:{slashes}"), rest),
        None if slashes.is_empty() && !scheme.contains('.') => format!("{scheme}:…"),
        None => {
            let authority = rest.find(['/', '?', '#']).map_or(rest, |at| &rest[..at]);
            let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
            // `user:password/name`, with the host forgotten; an IPv6 address ends with a bracket.
            if port.bytes().all(|byte| byte.is_ascii_digit()) || authority.ends_with(']') {
                format!("{scheme}:{slashes}{}", without_query(rest))
            } else {
                format!("{scheme}:{slashes}…")
            }
        }
    }
}

fn redacted_rest(before: &str, rest: &str) -> String {
    format!("{before}…@{}", without_query(rest))
}

fn without_query(text: &str) -> String {
    let Some((path, query)) = text.split_once('?') else {
        return text.split_once('#').map_or(text, |(path, _)| path).to_owned();
    };
    let names = query.split('#').next().unwrap_or_default().split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}=…"),
        None => "…".to_owned(),
    });
    format!("{path}?{}", names.collect::<Vec<_>>().join("&"))
}

/// Why a secret that somebody chose can be guessed; nothing where it cannot. Fewer than `least` characters are too few.
#[must_use]
pub fn weakness(secret: &str, least: usize) -> Option<String> {
    let count = secret.chars().count();
    let way_out = "use a random one, e.g. from `openssl rand -hex 32`";
    if count < least {
        return Some(format!("has {count} characters and needs {least} or more; {way_out}"));
    }
    let bytes = secret.as_bytes();
    // Written twice it is no longer, e.g. `changemechangeme`. Half a random secret is allowed to come twice.
    let repeats = (1..16).any(|unit| unit < bytes.len() && bytes.iter().zip(&bytes[unit..]).all(|(a, b)| a == b));
    // Shannon's estimate: random hex has 3.7 bits a character, a sentence about as many, one key held down none.
    let mut counts = std::collections::HashMap::<char, f64>::new();
    secret.chars().for_each(|letter| *counts.entry(letter).or_default() += 1.0);
    let bits: f64 = counts.values().map(|times| -times * (times / count as f64).log2()).sum();
    if repeats || bits < 2.5 * least as f64 {
        return Some(format!("repeats itself and can be guessed; {way_out}"));
    }
    None
}

/// The service's own secret, put to its uses. Each use has a key of its own.
#[derive(Clone)]
pub struct Keys {
    codes: [u8; 32],
    seal: LessSafeKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Keys {
    /// From the keys for codes and for seals.
    #[must_use]
    pub fn new(codes: [u8; 32], seal: [u8; 32]) -> Self {
        let Ok(seal) = UnboundKey::new(&CHACHA20_POLY1305, &seal) else { unreachable!("32 bytes are a ChaCha20 key") };
        Self { codes, seal: LessSafeKey::new(seal) }
    }

    /// The hash under which a six-digit code is kept. Keyed: a million codes are soon tried by whoever holds only the database.
    #[must_use]
    pub fn code_hash(&self, login: &str, code: &str) -> String {
        hex(&hmac(&self.codes, &[login.as_bytes(), b" ", code.as_bytes()]))
    }

    /// A keyed hash of something that must not be read from the database, such as an address in a rate limit's key.
    #[must_use]
    pub fn blind(&self, text: &str) -> String {
        hex(&hmac(&self.codes, &[b"blind ", text.as_bytes()])[..16])
    }

    /// Encrypts for the database; `purpose` must be the same when it is opened.
    #[must_use]
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> String {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce);
        let mut sealed = plain.to_vec();
        // A text of less than 256 GiB cannot fail.
        let _ = self.seal.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(purpose.as_bytes()),
            &mut sealed,
        );
        format!("1.{}.{}", URL_SAFE_NO_PAD.encode(nonce), URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What [`Keys::seal`] took; nothing when it was altered, sealed for something else, or with another secret.
    #[must_use]
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.strip_prefix("1.")?.split_once('.')?;
        let nonce: [u8; NONCE_LEN] = URL_SAFE_NO_PAD.decode(nonce).ok()?.try_into().ok()?;
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let plain = self
            .seal
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(purpose.as_bytes()), &mut bytes)
            .ok()?
            .len();
        bytes.truncate(plain);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn tokens_are_recognised_and_rubbish_is_not() {
        let token = crate::db::new_secret("lms");
        assert!(looks_like("lms", &token), "{token}");
        assert!(!looks_like("lmt", &token));
        for rubbish in
            ["", "lms", "lms_", &token[..20], &format!("{token}0"), &token.replace('_', "é"), &token.to_uppercase()]
        {
            assert!(!looks_like("lms", rubbish), "{rubbish}");
        }
    }

    #[test]
    fn addresses_are_shown_without_what_opens_them() {
        for (address, shown) in [
            ("postgres://loopmaster:hunter2@db/loopmaster", "postgres://…@db/loopmaster"),
            ("postgres://loopmaster@db:5432/loopmaster", "postgres://…@db:5432/loopmaster"),
            ("postgresql://db/loopmaster?user=a&password=hunter2", "postgresql://db/loopmaster?user=…&password=…"),
            ("postgres://a:hunter2/@?#:x@db/b?sslpassword=hunter2#hunter2", "postgres://…@db/b?sslpassword=…"),
            ("postgres://a:hunter2/b", "postgres://…"),
            ("postgres:a:hunter2@db/b", "postgres:…@db/b"),
            ("mysql:hunter2", "mysql:…"),
            ("a:hunter2@db", "a:…@db"),
            ("hunter2@db", "…@db"),
            ("https://:hunter2@s3.example", "https://…@s3.example"),
            ("https://s3.example:9000/a?X-Amz-Signature=hunter2", "https://s3.example:9000/a?X-Amz-Signature=…"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("http://[::1]", "http://[::1]"),
            ("smtps://user:hunter2@mail.example", "smtps://…@mail.example"),
            ("sqlite:data/a.db?mode=rwc", "sqlite:data/a.db?mode=…"),
            ("sqlite:///srv/a.db", "sqlite:///srv/a.db"),
            ("", ""),
            ("nowhere", "nowhere"),
        ] {
            assert_eq!(redacted(address), shown, "{address}");
        }
    }

    #[test]
    fn what_can_be_guessed_is_weak() {
        for weak in [
            "",
            "x",
            "0123456789abcdef0123456789abcde",
            &"a".repeat(64),
            &"changeme".repeat(8),
            &"0".repeat(32),
            &format!("{}bcdefgh", "a".repeat(40)),
        ] {
            assert!(weakness(weak, 32).is_some(), "{weak}");
            assert!(!weakness(weak, 32).is_some_and(|text| weak.len() > 8 && text.contains(weak)), "not repeated");
        }
        for strong in [
            crate::config::Secret::random().expose(),
            "a service key for tests, long enough",
            "äöü 9kd.Lq2+fj3/ßzT7-x_Wc5:mB8#nV4",
        ] {
            assert_eq!(weakness(strong, 32), None, "{strong}");
        }
        for _ in 0..1_000 {
            assert_eq!(weakness(&crate::config::Secret::random().expose()[..32], 32), None);
        }
    }

    fn keys(secret: &str) -> Keys {
        Config { secret: crate::config::Secret::new(secret), ..Config::default() }.keys()
    }

    #[test]
    fn sealed_text_opens_for_its_purpose_only() {
        let keys = keys("a secret");
        let sealed = keys.seal("webhook", b"whsec_abc");
        assert_eq!(keys.open("webhook", &sealed).as_deref(), Some(&b"whsec_abc"[..]));
        assert_ne!(sealed, keys.seal("webhook", b"whsec_abc"), "each sealing has a nonce of its own");
        assert_eq!(keys.open("mail", &sealed), None);
        assert_eq!(super::tests::keys("another").open("webhook", &sealed), None);
        let mut altered = sealed.clone();
        altered.replace_range(sealed.len() - 1.., if sealed.ends_with('A') { "B" } else { "A" });
        assert!(
            keys.open("webhook", &altered).is_none_or(|plain| plain == b"whsec_abc"),
            "base64 has spare bits at its end"
        );
        assert_eq!(keys.open("webhook", ""), None);
        assert_eq!(keys.open("webhook", "1.é.é"), None);
    }

    #[test]
    fn codes_are_six_digits_and_bound_to_their_login() {
        let keys = keys("a secret");
        for _ in 0..100 {
            let code = six_digits();
            assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()));
        }
        assert_ne!(keys.code_hash("a", "123456"), keys.code_hash("b", "123456"));
        assert!(same("abc", "abc") && !same("abc", "abd") && !same("abc", "ab"));
    }
}
