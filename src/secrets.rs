//! Secrets the service gives out, keeps and signs with.
//!
//! What is given out is random and only its hash is kept; what must be read again (a webhook's key, a mail that waits) is sealed
//! with a key drawn from the service's own secret.

use crate::config::Config;
use crate::http::signed::{hex, hmac};
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
    /// Drawn from the configuration's `secret`.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let Ok(seal) = UnboundKey::new(&CHACHA20_POLY1305, &config.key("seal 1")) else {
            unreachable!("32 bytes are a ChaCha20 key")
        };
        Self { codes: config.key("codes 1"), seal: LessSafeKey::new(seal) }
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

    fn keys(secret: &str) -> Keys {
        Keys::of(&Config { secret: crate::config::Secret::new(secret), ..Config::default() })
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
