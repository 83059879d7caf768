//! How often a visitor may ask, by class of request: the generic cell rate algorithm over a few bytes per visitor. The api counts on its
//! own and has the last word; this is the wall that needs no database.
//!
//! Addresses are known only as keyed hashes of their network (/32, /64), under a random [`DayKey`]. States live in a fixed number of
//! slots per class, so the store cannot grow: whoever hashes to an occupied slot takes it over.

use crate::hash::{hex, keyed, signature};
use hmac::Mac;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What kind of request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A document.
    Page,
    /// Reading through the api.
    Read,
    /// Making or changing something.
    Create,
    /// Steps of an upload: many per file.
    Upload,
    /// Trying to sign in.
    Login,
    /// Whatever sends a mail.
    Mail,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 6] = [Self::Page, Self::Read, Self::Create, Self::Upload, Self::Login, Self::Mail];

    /// Its name in headers, keys and configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Read => "read",
            Self::Create => "create",
            Self::Upload => "upload",
            Self::Login => "login",
            Self::Mail => "mail",
        }
    }

    /// What happens when the store is away: visitors go on, but nobody guesses codes or sends mail uncounted.
    #[must_use]
    pub fn fails_open(self) -> bool {
        !matches!(self, Self::Login | Self::Mail)
    }
}

/// So many requests at once, refilled within so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests.
    pub quota: u32,
    /// Seconds until a used-up quota is whole again.
    pub window: u32,
}

/// A limit per class, and how much more a network may do than one visitor in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits([Limit; 6]);

/// A network has so many times the quota of one visitor: a band, a school or a phone carrier sits behind one address.
const NETWORK: u32 = 4;

impl Default for Limits {
    fn default() -> Self {
        let limit = |quota, window| Limit { quota, window };
        // In the order of `Class::ALL`. Three hundred files dropped at once are 300 creates and about 1000 upload steps.
        Self([limit(240, 60), limit(1200, 60), limit(400, 60), limit(3000, 60), limit(20, 600), limit(6, 600)])
    }
}

impl Limits {
    /// The limit of a class for one visitor.
    #[must_use]
    pub fn of(&self, class: Class) -> Limit {
        self.0[class as usize]
    }

    /// The limit of a class for a network. Sign-ins and mails are counted per network only, without the factor.
    #[must_use]
    pub fn of_network(&self, class: Class) -> Limit {
        let limit = self.of(class);
        let factor = if class.fails_open() { NETWORK } else { 1 };
        Limit { quota: limit.quota.saturating_mul(factor), ..limit }
    }

    /// Defaults, changed by `page=240/60 read=…`: requests per seconds.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut limits = Self::default();
        for item in text.split([' ', ',']).filter(|item| !item.is_empty()) {
            let fault = || format!("limits: `{item}` is not class=requests/seconds, e.g. page=240/60");
            let (name, limit) = item.split_once('=').ok_or_else(fault)?;
            let class = Class::ALL.into_iter().find(|class| class.name() == name).ok_or_else(fault)?;
            let (quota, window) = limit.split_once('/').ok_or_else(fault)?;
            let positive =
                |text: &str| text.parse::<u32>().ok().filter(|n| (1..=1_000_000).contains(n)).ok_or_else(fault);
            limits.0[class as usize] = Limit { quota: positive(quota)?, window: positive(window)? };
        }
        Ok(limits)
    }
}

/// The answer to one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// May it pass?
    pub allowed: bool,
    /// Requests that could follow at once.
    pub remaining: u32,
    /// Milliseconds until one more is allowed; 0 if one is now.
    pub retry_ms: u64,
    /// Milliseconds until the quota is whole.
    pub whole_ms: u64,
}

/// The slot a visitor has, and their state in it: eight bytes of who, eight of the theoretical arrival time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The slot's key in the store.
    pub key: String,
    who: [u8; 8],
}

/// Slots are numbered by so many hex digits.
const SLOT_DIGITS: usize = 4;

impl Slot {
    /// The slot of `who`, an opaque text, in `class`.
    #[must_use]
    pub fn of(class: Class, who: &str) -> Self {
        let digest = Sha256::digest(format!("{}\n{who}", class.name()));
        let mut short = [0; 8];
        short.copy_from_slice(&digest[8..16]);
        Self { key: format!("rate/{}/{}", class.name(), &hex(&digest[..4])[..SLOT_DIGITS]), who: short }
    }

    /// Counts one request at `now` (ms) against what the slot holds; also what it must hold from now on, if it changes.
    #[must_use]
    pub fn count(&self, held: Option<&[u8]>, limit: Limit, now: u64) -> (Verdict, Option<Vec<u8>>) {
        let arrival = held.filter(|held| held.len() == 16 && held[..8] == self.who).map_or(0, |held| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&held[8..]);
            u64::from_be_bytes(bytes)
        });
        // Microseconds, so that a thousand requests a second still have an interval.
        let now = now.saturating_mul(1000);
        let whole = u64::from(limit.window) * 1_000_000;
        let interval = (whole / u64::from(limit.quota)).max(1);
        // Further ahead than the window cannot be: a clock was set back, and nobody is locked out for that.
        let arrival = if arrival > now.saturating_add(whole) { now } else { arrival.max(now) };
        let next = arrival + interval;
        let allowed = next <= now.saturating_add(whole);
        let arrival = if allowed { next } else { arrival };
        let room = now.saturating_add(whole).saturating_sub(arrival);
        let verdict = Verdict {
            allowed,
            remaining: u32::try_from(room / interval).unwrap_or(u32::MAX),
            retry_ms: interval.saturating_sub(room).div_ceil(1000),
            whole_ms: (arrival - now).div_ceil(1000),
        };
        (verdict, allowed.then(|| [self.who, arrival.to_be_bytes()].concat()))
    }
}

/// Where the key of the day lives in the store.
pub const DAY_KEY: &str = "day-key";

/// The random key addresses are hashed with. One day, one key: the next day's overwrites it, so at most 48 hours after its first use
/// nothing can tell which addresses had been behind a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayKey {
    day: u32,
    key: [u8; 32],
}

impl DayKey {
    /// A key for the day of `now` (Unix seconds).
    #[must_use]
    pub fn new(now: u64, key: [u8; 32]) -> Self {
        Self { day: (now / 86_400) as u32, key }
    }

    /// What the store held, if it is a key of today.
    #[must_use]
    pub fn read(held: &[u8], now: u64) -> Option<Self> {
        let (day, key) = held.split_first_chunk::<4>()?;
        let read = Self { day: u32::from_be_bytes(*day), key: key.try_into().ok()? };
        (read.day == (now / 86_400) as u32).then_some(read)
    }

    /// What the store shall hold.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.day.to_be_bytes()[..], &self.key].concat()
    }

    /// The key that is used: what lies in the store together with a secret that does not, so that a copy of the store opens nothing.
    #[must_use]
    pub fn under(&self, secret: &[u8]) -> Self {
        let mut mac = keyed(secret);
        mac.update(b"key of the day");
        mac.update(&self.to_bytes());
        Self { day: self.day, key: mac.finalize().into_bytes().into() }
    }

    /// The hash a network is known by today.
    #[must_use]
    pub fn hash(&self, address: Option<IpAddr>) -> String {
        let mut hash = match address.map(network) {
            Some(IpAddr::V4(v4)) => signature(&self.key, &v4.octets()),
            Some(IpAddr::V6(v6)) => signature(&self.key, &v6.octets()),
            None => signature(&self.key, b"unknown"),
        };
        hash.truncate(32);
        hash
    }
}

/// The part of an address that stands for one subscriber: a whole IPv4 address, the first half of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

/// The visitor's address: the peer's, or with `hops` proxies of ours in front, what the outermost of them saw. `forwarded` is the whole
/// of X-Forwarded-For; its beginning is whatever the visitor wrote and is never looked at.
#[must_use]
pub fn address(peer: Option<&str>, forwarded: &str, hops: usize) -> Option<IpAddr> {
    let peer = peer.and_then(parse_address);
    if hops == 0 {
        return peer;
    }
    let seen = forwarded.rsplit(',').nth(hops - 1).and_then(parse_address);
    seen.or(peer)
}

/// `1.2.3.4`, `1.2.3.4:5`, `::1` or `[::1]:5`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let socket = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    bare.parse::<IpAddr>().ok().or_else(socket).filter(|address| *address != IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: Limit = Limit { quota: 3, window: 60 };

    fn run(times: &[u64]) -> Vec<bool> {
        let slot = Slot::of(Class::Page, "someone");
        let mut held = None;
        let mut answers = Vec::new();
        for now in times {
            let (verdict, next) = slot.count(held.as_deref(), LIMIT, *now);
            answers.push(verdict.allowed);
            held = next.or(held);
        }
        answers
    }

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let t = 1_790_000_000_000;
        assert_eq!(
            run(&[t, t, t, t, t + 19_999, t + 20_000, t + 20_001]),
            [true, true, true, false, false, true, false]
        );
    }

    #[test]
    fn the_verdict_says_when_to_come_back() {
        let slot = Slot::of(Class::Mail, "someone");
        let now = 1_790_000_000_000;
        let (first, held) = slot.count(None, LIMIT, now);
        assert_eq!(first, Verdict { allowed: true, remaining: 2, retry_ms: 0, whole_ms: 20_000 });
        let (_, held) = slot.count(held.as_deref(), LIMIT, now);
        let (last, held) = slot.count(held.as_deref(), LIMIT, now);
        assert_eq!((last.remaining, last.retry_ms), (0, 20_000));
        let (refused, unchanged) = slot.count(held.as_deref(), LIMIT, now + 5_000);
        assert_eq!(refused, Verdict { allowed: false, remaining: 0, retry_ms: 15_000, whole_ms: 55_000 });
        assert_eq!(unchanged, None, "a refused request does not lengthen the wait");
    }

    #[test]
    fn a_clock_set_back_and_a_slot_of_junk_lock_nobody_out() {
        let t = 1_790_000_000_000;
        assert_eq!(run(&[t, t, t, t - 3_600_000, t - 3_600_000 + 20_000]), [true; 5]);
        let slot = Slot::of(Class::Page, "someone");
        for junk in [&b""[..], b"0123", &[0xff; 16], &[0; 40]] {
            assert!(slot.count(Some(junk), LIMIT, t).0.allowed);
        }
    }

    #[test]
    fn whoever_shares_a_slot_is_not_held_to_anothers_count() {
        let (one, other) = (Slot::of(Class::Page, "one"), Slot::of(Class::Page, "other"));
        let (_, full) = one.count(None, Limit { quota: 1, window: 60 }, 0);
        assert!(!one.count(full.as_deref(), Limit { quota: 1, window: 60 }, 0).0.allowed);
        assert!(other.count(full.as_deref(), Limit { quota: 1, window: 60 }, 0).0.allowed);
    }

    #[test]
    fn addresses_are_known_by_their_network_under_todays_key() {
        let key = DayKey::new(86_400 * 5, [9; 32]);
        let hash = |text: &str| key.hash(parse_address(text));
        assert_eq!(hash("2001:db8:1:2::1"), hash("[2001:db8:1:2:ffff::9]:443"));
        assert_ne!(hash("2001:db8:1:2::1"), hash("2001:db8:1:3::1"));
        assert_eq!(hash("::ffff:192.0.2.1"), hash("192.0.2.1:80"));
        assert_ne!(hash("192.0.2.1"), hash("192.0.2.2"));
        assert_eq!(hash("192.0.2.1").len(), 32);
        let held = key.to_bytes();
        assert_eq!(DayKey::read(&held, 86_400 * 6 - 1), Some(key.clone()));
        assert_eq!(DayKey::read(&held, 86_400 * 6), None, "yesterday's key is not used");
        assert_eq!(DayKey::read(b"", 0), None);
        assert_ne!(DayKey::new(86_400 * 6, [8; 32]).hash(None), key.hash(None));
        // Whoever has a copy of the store still needs the secret.
        let used = key.under(b"a secret of the edge");
        assert_eq!(used.hash(None), key.under(b"a secret of the edge").hash(None));
        assert_ne!(used.hash(None), key.hash(None));
        assert_ne!(used.hash(None), key.under(b"another secret of the edge").hash(None));
    }

    #[test]
    fn only_our_own_proxies_are_believed() {
        let seen = |forwarded, hops| address(Some("10.0.0.1:99"), forwarded, hops).unwrap().to_string();
        assert_eq!(seen("6.6.6.6", 0), "10.0.0.1");
        assert_eq!(seen("6.6.6.6, 192.0.2.7", 1), "192.0.2.7");
        assert_eq!(seen("6.6.6.6, 192.0.2.7, 10.0.0.9", 2), "192.0.2.7");
        assert_eq!(seen("junk", 1), "10.0.0.1");
        assert_eq!(address(None, "", 0), None);
    }

    #[test]
    fn limits_are_configured_by_class() {
        let limits = Limits::parse("page=5/10, mail=1/3600").unwrap();
        assert_eq!(limits.of(Class::Page), Limit { quota: 5, window: 10 });
        assert_eq!(limits.of_network(Class::Page).quota, 20);
        assert_eq!(limits.of_network(Class::Mail), Limit { quota: 1, window: 3600 });
        assert_eq!(limits.of(Class::Read), Limits::default().of(Class::Read));
        for wrong in ["page", "page=5", "page=0/5", "pages=5/5", "page=5/-1"] {
            assert!(Limits::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_quota_plus_refill(quota in 1u32..50, window in 1u32..100, gaps in prop::collection::vec(0u64..3_000, 1..200)) {
            let (slot, limit) = (Slot::of(Class::Read, "x"), Limit { quota, window });
            let (mut held, mut now, mut passed) = (None, 1_790_000_000_000u64, 0u64);
            let start = now;
            for gap in gaps {
                now += gap;
                let (verdict, next) = slot.count(held.as_deref(), limit, now);
                passed += u64::from(verdict.allowed);
                held = next.or(held);
            }
            let refill = (now - start) * u64::from(quota) / (u64::from(window) * 1000);
            prop_assert!(passed <= u64::from(quota) + refill + 1, "{passed}");
        }
    }
}
