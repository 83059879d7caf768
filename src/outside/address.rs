//! What can be written to: mailboxes, and mail servers.

use lettre::{Address, AsyncSmtpTransport, Tokio1Executor};

/// Whether this is an address mail can be sent to, in the one spelling accounts are kept under.
#[must_use]
pub fn address(typed: &str) -> Option<String> {
    let address: Address = typed.trim().to_lowercase().parse().ok()?;
    // A name without a dot is a machine of the local network; nobody's mailbox on the internet.
    let named = address.domain().contains('.') && !address.domain().starts_with('[');
    (named && typed.len() <= 254).then(|| address.to_string())
}

/// Whether this is an address of an SMTP server.
#[must_use]
pub fn is_smtp(url: &str) -> bool {
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_spelling() {
        assert_eq!(address(" Ana@Example.COM "), Some("ana@example.com".to_owned()));
        for bad in [
            "",
            "ana",
            "ana@",
            "@example.com",
            "ana@localhost",
            "ana@[127.0.0.1]",
            "a@b.c\r\nBcc: x@y.z",
            "Ana <a@b.c>",
            "a b@c.de",
        ] {
            assert_eq!(address(bad), None, "{bad}");
        }
        assert_eq!(address(&format!("{}@example.com", "a".repeat(300))), None);
    }
}
