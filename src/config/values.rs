//! Kinds of values with rules of their own: addresses, and what is never printed.

use crate::digest::hex;
use crate::secrets::redacted;
use serde::{Deserialize, Serialize};
use std::fmt;
use url::Url;

/// An http or https address without path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Url);

impl Address {
    pub(super) fn fixed(text: &'static str) -> Self {
        match Url::parse(text) {
            Ok(url) => Self(url),
            Err(error) => unreachable!("{text} is an address: {error}"),
        }
    }

    /// The address with this path, which begins with a slash.
    #[must_use]
    pub fn with(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// Whether it is an address of this machine only.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        }
    }

    /// As a URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = "use an address like https://music.example, without a path";
        let url = Url::parse(&text).map_err(|error| format!("{error}; {wrong}"))?;
        let nobody = url.username().is_empty() && url.password().is_none();
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && nobody;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !bare {
            return Err(wrong.to_owned());
        }
        Ok(Self(url))
    }
}

/// A value that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// 256 random bits, in hex.
    #[must_use]
    pub fn random() -> Self {
        let bytes: [u8; 32] = rand::random();
        Self(hex(&bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(secret)" })
    }
}

/// The address of a database. Printed without the account and the parameters in it, which may hold a password.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dsn(String);

impl Dsn {
    /// The address itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Dsn {
    fn from(address: String) -> Self {
        Self(address)
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", redacted(&self.0))
    }
}
