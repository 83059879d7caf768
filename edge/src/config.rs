//! What the manifest's variables say. Everything is checked at once, so that a wrong deployment is told whole and on its first request.

use crate::events::Ends;
use crate::limits::Limits;
use http::Uri;

/// The names of all variables, as `spin.toml` declares them.
pub const VARIABLES: [&str; 10] = [
    "public_url",
    "api_url",
    "files_url",
    "edge_key_id",
    "edge_key",
    "cookie_keys",
    "security_contact",
    "trusted_hops",
    "handler_seconds",
    "limits",
];

/// The edge's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Scheme and authority visitors use: `https://loopmastering.example`.
    pub public_origin: String,
    /// Scheme and authority of the api.
    pub api_origin: String,
    /// Host and port of the api, which is signed.
    pub api_authority: String,
    /// Scheme and authority of the object storage as browsers see it, for the content security policy.
    pub files_origin: String,
    /// Names the key of [`Config::edge_key`] to the api.
    pub edge_key_id: String,
    /// Signs requests to the api.
    pub edge_key: Vec<u8>,
    /// The first signs guest cookies; all of them are believed.
    pub cookie_keys: Vec<Vec<u8>>,
    /// Where security problems are reported, as `security.txt` lists it: `mailto:` and `https:` addresses.
    pub security_contacts: Vec<String>,
    /// How many proxies of ours stand in front: so many entries at the end of X-Forwarded-For are believed.
    pub trusted_hops: usize,
    /// When streams of events are ended.
    pub events: Ends,
    /// Requests a visitor may make.
    pub limits: Limits,
}

/// Why the edge cannot serve, all reasons in one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("edge.misconfigured: {}", .0.join("; "))]
pub struct Misconfigured(pub Vec<String>);

/// Shortest secret that is accepted, in bytes.
const SHORTEST_SECRET: usize = 32;

impl Config {
    /// Reads the variables through `get`; what is absent or empty has the default of a single machine, but secrets have none.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, Misconfigured> {
        let mut faults = Vec::new();
        let value = |name: &str| get(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let mut origin = |name: &str, default: &str| {
            let text = value(name).unwrap_or_else(|| default.to_owned());
            split_origin(&text).unwrap_or_else(|| {
                faults.push(format!("{name} = `{text}` is not http(s)://host[:port] without a path"));
                Default::default()
            })
        };
        let (public_origin, _) = origin("public_url", "http://127.0.0.1:3000");
        let (api_origin, api_authority) = origin("api_url", "http://127.0.0.1:3001");
        let (files_origin, _) = origin("files_url", "http://127.0.0.1:3002");
        let edge_key = value("edge_key").unwrap_or_default().into_bytes();
        if edge_key.len() < SHORTEST_SECRET {
            faults.push(format!("edge_key needs at least {SHORTEST_SECRET} bytes and has {}", edge_key.len()));
        }
        let keys = value("cookie_keys").unwrap_or_default();
        let cookie_keys: Vec<Vec<u8>> = keys.split(',').map(|key| key.trim().as_bytes().to_vec()).collect();
        if let Some(short) = cookie_keys.iter().map(Vec::len).find(|length| *length < SHORTEST_SECRET) {
            faults.push(format!("each of cookie_keys needs at least {SHORTEST_SECRET} bytes and one has {short}"));
        }
        let mut number = |name: &str, default: u64, most: u64| match value(name).map(|text| (text.parse::<u64>(), text))
        {
            None => default,
            Some((Ok(number), _)) if number <= most => number,
            Some((_, text)) => {
                faults.push(format!("{name} = `{text}` is not a whole number up to {most}"));
                default
            }
        };
        let trusted_hops = number("trusted_hops", 0, 8);
        let handler_seconds = number("handler_seconds", 30, 3600).max(3);
        let limits = Limits::parse(&value("limits").unwrap_or_default()).unwrap_or_else(|fault| {
            faults.push(fault);
            Limits::default()
        });
        let security_contacts = match security_contacts(&value("security_contact").unwrap_or_default()) {
            Ok(contacts) if contacts.is_empty() => vec![format!("{public_origin}/contact?topic=security")],
            Ok(contacts) => contacts,
            Err(fault) => {
                faults.push(fault);
                Vec::new()
            }
        };
        let edge_key_id = value("edge_key_id").unwrap_or_else(|| "local".to_owned());
        if edge_key_id.len() > 32 || !edge_key_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            faults.push(format!("edge_key_id = `{edge_key_id}` is not 1 to 32 letters, digits and -"));
        }
        if !faults.is_empty() {
            return Err(Misconfigured(faults));
        }
        Ok(Self {
            public_origin,
            api_origin,
            api_authority,
            files_origin,
            edge_key_id,
            edge_key,
            cookie_keys,
            security_contacts,
            trusted_hops: trusted_hops as usize,
            events: Ends::before(handler_seconds),
            limits,
        })
    }

    /// Whether visitors come over TLS.
    #[must_use]
    pub fn secure(&self) -> bool {
        self.public_origin.starts_with("https://")
    }
}

/// Addresses separated by commas, each as RFC 9116 wants it: `mailto:`, `https://` or `tel:`. A bare mail address becomes `mailto:`.
fn security_contacts(list: &str) -> Result<Vec<String>, String> {
    let each = |contact: &str| {
        let plain = contact.bytes().all(|b| b.is_ascii_graphic());
        let mail = |address: &str| {
            address
                .split_once('@')
                .is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.contains('@'))
        };
        let web = |address: &str| {
            address
                .parse::<Uri>()
                .is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty()))
        };
        match contact.split_once(':') {
            None if plain && mail(contact) => Ok(format!("mailto:{contact}")),
            Some(("mailto", address)) if plain && mail(address) => Ok(contact.to_owned()),
            Some(("https", _)) if plain && web(contact) => Ok(contact.to_owned()),
            Some(("tel", number)) if plain && !number.is_empty() => Ok(contact.to_owned()),
            _ => Err(format!("security_contact = `{contact}` is not a mail address, https:// or tel: address")),
        }
    };
    list.split(',').map(str::trim).filter(|contact| !contact.is_empty()).map(each).collect()
}

/// `https://Host:443/` → (`https://host:443`, `host:443`).
fn split_origin(url: &str) -> Option<(String, String)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority()?.as_str().to_ascii_lowercase();
    let plain = !authority.contains('@') && uri.path() == "/" && uri.query().is_none();
    plain.then(|| (format!("{scheme}://{authority}"), authority))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration for tests of other modules.
    pub(crate) fn config() -> Config {
        read(&[]).unwrap()
    }

    fn read(set: &[(&str, &str)]) -> Result<Config, Misconfigured> {
        Config::read(|name| {
            let set = set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            set.or_else(|| match name {
                "edge_key" => Some("e".repeat(32)),
                "cookie_keys" => Some("c".repeat(32)),
                _ => None,
            })
        })
    }

    #[test]
    fn one_machine_needs_only_secrets() {
        let config = config();
        assert_eq!(config.public_origin, "http://127.0.0.1:3000");
        assert_eq!(config.api_authority, "127.0.0.1:3001");
        assert_eq!(config.security_contacts, ["http://127.0.0.1:3000/contact?topic=security"]);
        assert!(!config.secure());
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let wrong = read(&[
            ("public_url", "https://example.com/app"),
            ("api_url", "api:3001"),
            ("edge_key", "short"),
            ("cookie_keys", "cccccccccccccccccccccccccccccccc,old"),
            ("trusted_hops", "-1"),
            ("security_contact", "security@music.example, http://music.example/report"),
            ("limits", "page=lots"),
        ]);
        let text = wrong.unwrap_err().to_string();
        for part in [
            "public_url",
            "api_url",
            "has 5",
            "cookie_keys",
            "one has 3",
            "trusted_hops = `-1`",
            "http://music.example/report",
            "page=lots",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn security_contacts_are_addresses_a_reporter_can_use() {
        let contacts = |text: &str| read(&[("security_contact", text)]).map(|config| config.security_contacts);
        assert_eq!(
            contacts("security@music.example, https://music.example/report").unwrap(),
            ["mailto:security@music.example", "https://music.example/report"]
        );
        for wrong in [
            "nobody",
            "http://music.example/",
            "javascript:alert(1)",
            "a@b@c.example",
            "mailto:@music.example",
            "a b@c.example",
            "a@c.example\nContact: mailto:b@c.example",
            "https:",
        ] {
            assert!(contacts(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins_are_compared_as_browsers_write_them() {
        let config = read(&[("public_url", "https://Music.Example/")]).unwrap();
        assert_eq!(config.public_origin, "https://music.example");
        assert!(config.secure());
    }
}
