//! Where requests to an address of a user may go: HTTPS, port 443, the public internet.
//!
//! A URL of a user makes this service send requests. The name is resolved once, every address it has must be public, and the
//! request goes to the address that was looked at: a name that answers otherwise a moment later changes nothing.

use crate::config::Config;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use url::{Host, Url};

/// Why a URL is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a URL, not HTTPS, another port, with a user name, …
    #[error("{0}")]
    Form(&'static str),
    /// It points into a network that is not the public internet.
    #[error("{host} is at {address}, which is not on the public internet. Use a public address")]
    NotPublic {
        /// As in the URL.
        host: String,
        /// Where that is.
        address: IpAddr,
    },
    /// The name does not resolve at the moment.
    #[error("{host} cannot be found: {why}")]
    Unresolved {
        /// As in the URL.
        host: String,
        /// What the resolver said.
        why: String,
    },
}

type Found = Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;

/// Resolves names.
pub trait Resolve: Send + Sync {
    /// All addresses of a name.
    fn resolve(&self, host: String) -> Found;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Resolve for System {
    fn resolve(&self, host: String) -> Found {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 443)).await?.map(|address| address.ip()).collect()) })
    }
}

/// Decides about URLs.
#[derive(Clone)]
pub struct Guard {
    resolver: Arc<dyn Resolve>,
    /// Receivers of tests, `host:port`, taken as they are and over plain HTTP.
    exempt: Vec<String>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("exempt", &self.exempt).finish_non_exhaustive()
    }
}

impl Guard {
    /// As configured.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self::new(config.webhooks.exempt.clone())
    }

    /// With the system's resolver. `exempt` is for tests: receivers on this machine, `host:port`.
    #[must_use]
    pub fn new(exempt: Vec<String>) -> Self {
        Self { resolver: Arc::new(System), exempt }
    }

    /// With another resolver.
    #[must_use]
    pub fn with_resolver(resolver: Arc<dyn Resolve>, exempt: Vec<String>) -> Self {
        Self { resolver, exempt }
    }

    /// What can be said of a URL without the network.
    pub fn form(&self, url: &str) -> Result<Url, Refused> {
        if url.len() > 2000 {
            return Err(Refused::Form("The URL is longer than 2000 characters."));
        }
        let url = Url::parse(url).map_err(|_| Refused::Form("This is not a URL. Use https://host/path."))?;
        if self.is_exempt(&url) {
            return Ok(url);
        }
        if url.scheme() != "https" {
            return Err(Refused::Form("Only HTTPS is used. Use a URL that begins with https://."));
        }
        if url.port().is_some() {
            return Err(Refused::Form("Only port 443 is used. Leave the port out."));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Form("Leave user name and password out of the URL."));
        }
        match url.host() {
            Some(Host::Ipv4(address)) => public(url.host_str(), address.into())?,
            Some(Host::Ipv6(address)) => public(url.host_str(), address.into())?,
            Some(Host::Domain(name)) if name.trim_end_matches('.').contains('.') => {}
            _ => return Err(Refused::Form("The URL needs a host name of the public internet.")),
        }
        Ok(url)
    }

    /// The one address to connect to.
    pub async fn pin(&self, url: &Url) -> Result<SocketAddr, Refused> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let exempt = self.is_exempt(url);
        let addresses = match url.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            _ => self
                .resolver
                .resolve(host.clone())
                .await
                .map_err(|error| Refused::Unresolved { host: host.clone(), why: error.to_string() })?,
        };
        if !exempt {
            // One inner address among public ones is enough to refuse: which of them is used must not matter.
            for address in &addresses {
                public(Some(&host), *address)?;
            }
        }
        // IPv4 first: not every machine has a way out for the other.
        let best = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        best.map(|address| SocketAddr::new(*address, port))
            .ok_or_else(|| Refused::Unresolved { host, why: "it has no address".to_owned() })
    }

    fn is_exempt(&self, url: &Url) -> bool {
        let place = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(0));
        self.exempt.contains(&place)
    }
}

fn public(host: Option<&str>, address: IpAddr) -> Result<(), Refused> {
    let good = match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    };
    if good { Ok(()) } else { Err(Refused::NotPublic { host: host.unwrap_or_default().to_owned(), address }) }
}

/// The IANA special-purpose registry (RFC 6890 and its updates), multicast and the reserved rest.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 88, 99)
            | (192, 168, _)
            | (192, 175, 48)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// Global unicast without the ranges that are tunnels, translations or examples. What embeds an IPv4 address is judged by it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let words = address.segments();
    if words[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    let global = words[0] & 0xe000 == 0x2000;
    let special = (words[0] == 0x2001 && (words[1] < 0x200 || words[1] == 0xdb8)) // protocol assignments with Teredo; documentation
        || words[0] == 0x2002 // 6to4
        || (words[0] == 0x3fff && words[1] < 0x1000) // documentation
        || (words[0] == 0x2620 && words[1] == 0x4f && words[2] == 0x8000); // AS112
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Public at the first question, loopback ever after.
    struct Rebinding(AtomicUsize);

    impl Resolve for Rebinding {
        fn resolve(&self, _: String) -> Found {
            let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
            let address: IpAddr = if first { [93, 184, 215, 14].into() } else { [127, 0, 0, 1].into() };
            Box::pin(async move { Ok(vec![address]) })
        }
    }

    struct Fixed(Vec<IpAddr>);

    impl Resolve for Fixed {
        fn resolve(&self, _: String) -> Found {
            let addresses = self.0.clone();
            Box::pin(async move { Ok(addresses) })
        }
    }

    fn refused(url: &str) -> bool {
        Guard::new(Vec::new()).form(url).is_err()
    }

    #[test]
    fn urls_that_are_never_called() {
        for url in [
            "http://example.com/",
            "https://example.com:8443/",
            "https://a:b@example.com/",
            "ftp://example.com/",
            "example.com",
            "",
            "https://localhost/",
            "https://printer/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0/",
            "https://169.254.169.254/latest/meta-data/",
            "https://10.0.0.1/",
            "https://172.31.255.255/",
            "https://192.168.1.1/",
            "https://100.64.0.1/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[fe80::1]/",
            "https://[fd00:ec2::254]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[2002:7f00:1::]/",
            "https://[2001:db8::1]/",
            "https://255.255.255.255/",
            "https://224.0.0.1/",
            "https://[ff02::1]/",
        ] {
            assert!(refused(url), "{url}");
        }
        for url in [
            "https://example.com/hook?x=1",
            "https://example.com:443/",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/",
        ] {
            assert!(!refused(url), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_and_pinned() {
        let resolver = Arc::new(Rebinding(AtomicUsize::new(0)));
        let guard = Guard::with_resolver(resolver.clone(), Vec::new());
        let url = guard.form("https://rebind.example/").unwrap();
        assert_eq!(guard.pin(&url).await, Ok("93.184.215.14:443".parse().unwrap()));
        assert_eq!(resolver.0.load(Ordering::SeqCst), 1);
        assert!(matches!(guard.pin(&url).await, Err(Refused::NotPublic { .. })), "the next delivery looks again");
    }

    #[tokio::test]
    async fn one_inner_address_spoils_a_name() {
        let mixed = Fixed(vec![[93, 184, 215, 14].into(), [169, 254, 169, 254].into()]);
        let guard = Guard::with_resolver(Arc::new(mixed), Vec::new());
        let url = guard.form("https://mixed.example/").unwrap();
        let error = guard.pin(&url).await.unwrap_err();
        assert!(error.to_string().contains("mixed.example is at 169.254.169.254"), "{error}");
        let guard = Guard::with_resolver(Arc::new(Fixed(Vec::new())), Vec::new());
        assert!(matches!(guard.pin(&url).await, Err(Refused::Unresolved { .. })));
    }

    #[test]
    fn only_named_receivers_are_exempt() {
        let guard = Guard::new(vec!["127.0.0.1:4000".to_owned()]);
        assert!(guard.form("http://127.0.0.1:4000/hook").is_ok());
        assert!(guard.form("http://127.0.0.1:4001/hook").is_err());
        assert!(guard.form("http://localhost:4000/hook").is_err());
    }
}
