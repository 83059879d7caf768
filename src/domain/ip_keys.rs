//! Keys of the day, with which addresses are hashed. The only module that writes the table.

use super::error::Result;
use crate::config::Config;
use crate::db::Db;
use crate::digest;
use crate::secrets::Keys;
use loopmaster_core::retention::IP_KEY;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DAY: i64 = 24 * 3600 * 1000;

/// Hashes addresses with a random key of the day that is forgotten after 48 hours.
#[derive(Debug, Default)]
pub struct IpKeys(Mutex<Option<IpKey>>);

#[derive(Clone, Debug)]
struct IpKey {
    day: i64,
    key: Arc<[u8; 32]>,
    /// Made up while the database was away; looked for again then.
    until: Option<Instant>,
}

impl IpKeys {
    /// The hash of the network an address belongs to: IPv4 alone, IPv6 with its /64. Without the database it is this process's own for a
    /// while: who asks for the state of the service is told even then.
    pub async fn hash(&self, db: &Db, config: &Config, ip: IpAddr) -> String {
        let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64) / DAY;
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let good = |kept: &IpKey| kept.day == today && kept.until.is_none_or(|until| Instant::now() < until);
        let key = if let Some(kept) = kept.filter(good) {
            kept.key
        } else {
            let (key, until) = match key_of(db, &config.keys(), today).await {
                Ok(key) => (key, None),
                Err(error) => {
                    tracing::warn!(cause = error.cause(), "no key of the day");
                    (rand::random(), Some(Instant::now() + Duration::from_secs(10)))
                }
            };
            let key = Arc::new(key);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(IpKey { day: today, key: Arc::clone(&key), until });
            key
        };
        let network = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets()[..8].to_vec(),
        };
        digest::hex(&digest::hmac(&*key, &[&network])[..16])
    }
}

/// The key of a day. It lies sealed with the service's secret: who has only the database, or a backup of it, cannot try addresses.
async fn key_of(db: &Db, keys: &Keys, day: i64) -> Result<[u8; 32]> {
    let name = day.to_string();
    let purpose = format!("key of day {name}");
    let open = |kept: &str| keys.open(&purpose, kept).and_then(|key| <[u8; 32]>::try_from(key).ok());
    let fresh: [u8; 32] = rand::random();
    let mut tx = db.begin().await?;
    let insert =
        db.sql("INSERT INTO ip_keys (day, secret, created_at) VALUES ($1, $2, {now}) ON CONFLICT (day) DO NOTHING");
    sqlx::query(insert).bind(&name).bind(keys.seal(&purpose, &fresh)).execute(&mut *tx).await?;
    let old = db.sql("DELETE FROM ip_keys WHERE created_at < {now} - $1");
    sqlx::query(old).bind(IP_KEY).execute(&mut *tx).await?;
    let text = tx.sql("SELECT secret FROM ip_keys WHERE day = $1 {lock}");
    let kept: String = sqlx::query_scalar(text).bind(&name).fetch_one(&mut *tx).await?;
    let key = if let Some(key) = open(&kept) {
        key
    } else {
        // In clear, by a process of an earlier version that still runs, or sealed with a secret of before: it is replaced, and what
        // was hashed with it is as good as forgotten.
        let text = "UPDATE ip_keys SET secret = $1 WHERE day = $2";
        sqlx::query(text).bind(keys.seal(&purpose, &fresh)).bind(&name).execute(&mut *tx).await?;
        fresh
    };
    // Those of other days are of no use to anybody; one in clear does not wait for its time.
    sqlx::query("DELETE FROM ip_keys WHERE day <> $1 AND secret NOT LIKE '1.%'").bind(&name).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(key)
}
