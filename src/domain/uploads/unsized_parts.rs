//! Addresses for parts of an upload whose size nobody announced, as stock Uppy asks for them. An address cannot carry a size that is not
//! known, so that it carries the most there may be, and that much is taken off the quota until the part is there: before more is signed,
//! storage is asked what has arrived.
//!
//! The embedded storage holds to the most that was signed. Another S3 does not know of it: there a part may bring up to 5 GiB, which is
//! seen when the next part is asked for, and ends the upload.

use super::room::{self, Sender};
use super::row::Row;
use super::{OPEN_FOR, arrived, give_up};
use crate::domain::error::{Error, Result};
use crate::domain::limits;
use crate::service::Service;
use crate::store::PartTag;
use crate::store::embedded::{LARGEST_PART, SMALLEST_PART};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most addresses of one upload whose parts have not arrived; clients that send many parts at once send twenty.
const MOST_OPEN: usize = 64;
/// The most of a part while nothing tells how the client cuts the file. Uppy's own parts have 5 MiB up to 48 GiB.
const FIRST_MOST: u64 = 64 << 20;

/// An address that may still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    most: u64,
    until: i64,
}

/// What an upload may have in all with what has arrived and what may.
#[derive(Debug, Default)]
struct Account {
    arrived: BTreeMap<u16, u64>,
    open: BTreeMap<u16, Open>,
}

impl Account {
    /// Parts that have arrived count with their size, as the address of a part replaces it by no more than that.
    fn new(parts: &[PartTag], open: &str, now: i64) -> Self {
        let arrived: BTreeMap<u16, u64> = parts.iter().map(|part| (part.number, part.bytes.unwrap_or(0))).collect();
        // Unreadable: written by nobody; the addresses run out by themselves.
        let open: BTreeMap<u16, Open> = serde_json::from_str(open).unwrap_or_default();
        let open = open.into_iter().filter(|(number, open)| open.until > now && !arrived.contains_key(number));
        Self { open: open.collect(), arrived }
    }

    fn held(&self) -> u64 {
        self.arrived.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    fn reserved(&self) -> u64 {
        self.open.values().fold(self.held(), |sum, open| sum.saturating_add(open.most))
    }

    /// The size of the client's parts, where a part has arrived that cannot be the last one.
    fn part_size(&self, number: u16) -> Option<u64> {
        let last = self.arrived.keys().chain(self.open.keys()).copied().chain([number]).max()?;
        self.arrived.iter().filter(|(number, _)| **number < last).map(|(_, bytes)| *bytes).max()
    }

    /// The most bytes of a part; `None`: nothing is left.
    fn allow(&mut self, number: u16, budget: u64, until: i64) -> Option<u64> {
        if let Some(bytes) = self.arrived.get(&number) {
            return Some(*bytes);
        }
        if let Some(open) = self.open.get_mut(&number) {
            open.until = until;
            return Some(open.most);
        }
        let left = budget.saturating_sub(self.reserved());
        let usual = match self.part_size(number) {
            Some(size) => size.max(SMALLEST_PART),
            // Several are asked for at once, and each of them is to get its share.
            None => (left / 8).clamp(SMALLEST_PART, FIRST_MOST),
        };
        let most = usual.min(left).min(LARGEST_PART);
        if most == 0 {
            return None;
        }
        self.open.insert(number, Open { most, until });
        Some(most)
    }
}

/// Reserves what these parts may bring; gives the most of each.
pub(super) async fn allow(service: &Service, row: &Row, numbers: &[u64]) -> Result<BTreeMap<u16, u64>> {
    let parts = arrived(service, row).await?;
    let config = &service.config.limits;
    let now = service.db.now().await?;
    let mut tx = service.db.begin().await?;
    limits::lock_bytes(&mut tx, &row.owner_key).await?;
    let text = "SELECT open_parts, reserved FROM uploads WHERE id = $1 AND state = 'uploading'";
    let found: Option<(String, i64)> = sqlx::query_as(text).bind(&row.id).fetch_optional(&mut *tx).await?;
    let Some((open, before)) = found else {
        return Err(Error::conflict("upload.complete", "this upload is over; there is nothing left to send"));
    };
    let sender = Sender { owner: &row.owner, owner_key: &row.owner_key, grant: row.grant_id.as_deref() };
    let room = room::room(&mut tx, config, sender, now).await?;
    // What this upload has been given before is its own.
    let budget = room.left.saturating_add(before.max(0) as u64);
    let mut account = Account::new(&parts, &open, now);
    let held = account.held();
    if held > budget.min(config.file_bytes) {
        tx.rollback().await?;
        give_up(service, row).await?;
        return Err(if held > config.file_bytes { too_large(row, held, config.file_bytes) } else { room.refusal() });
    }
    let until = now + OPEN_FOR;
    let mut most = BTreeMap::new();
    for number in numbers {
        let number = u16::try_from(*number).unwrap_or_default();
        let Some(bytes) = account.allow(number, budget.min(config.file_bytes), until) else {
            return Err(if budget > config.file_bytes {
                too_large(row, account.reserved(), config.file_bytes)
            } else {
                room.refusal()
            });
        };
        most.insert(number, bytes);
    }
    if account.open.len() > MOST_OPEN {
        let detail = format!(
            "{} parts of this upload have an address and have not arrived; send some of them before you ask for more",
            account.open.len()
        );
        return Err(Error::too_many("upload.too_many_parts", detail, 5));
    }
    service.health.room(account.reserved().saturating_sub(held))?;
    let text =
        "UPDATE uploads SET reserved = $2, open_parts = $3, updated_at = $4 WHERE id = $1 AND state = 'uploading'";
    sqlx::query(text)
        .bind(&row.id)
        .bind(i64::try_from(account.reserved()).unwrap_or(i64::MAX))
        .bind(serde_json::to_string(&account.open).map_err(Error::internal)?)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(most)
}

fn too_large(row: &Row, bytes: u64, limit: u64) -> Error {
    Error::invalid("decode.too_large", format!("“{}” has {bytes} bytes or more and the limit is {limit}", row.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn part(number: u16, bytes: u64) -> PartTag {
        PartTag { number, etag: String::new(), bytes: Some(bytes) }
    }

    /// Stock Uppy sends six parts of 5 MiB at once, and every part of a file that fits has to fit.
    #[test]
    fn parts_of_uppy_fit() {
        let (file, budget) = (100 * MIB + 3, 110 * MIB);
        let size = |number: u16| (file - u64::from(number - 1) * 5 * MIB).min(5 * MIB);
        let mut arrived: Vec<PartTag> = Vec::new();
        let mut open = String::new();
        for number in 1..=21 {
            if number > 6 {
                arrived.push(part(number - 6, size(number - 6)));
            }
            let mut account = Account::new(&arrived, &open, 0);
            assert!(account.allow(number, budget, 1).unwrap() >= size(number), "part {number}");
            assert!(account.reserved() <= budget);
            open = serde_json::to_string(&account.open).unwrap();
        }
    }

    #[test]
    fn what_may_arrive_never_exceeds_the_budget() {
        let budget = 100 * MIB;
        let mut account = Account::default();
        let mut allowed = 0;
        for number in 1..=10_000 {
            let Some(most) = account.allow(number, budget, 1) else { break };
            allowed += most;
        }
        assert_eq!((allowed, account.reserved()), (budget, budget));
        // Every part arrives as large as it may; then nothing is left, and a part that is there can be sent again in its size.
        let arrived: Vec<PartTag> = account.open.iter().map(|(number, open)| part(*number, open.most)).collect();
        let mut account = Account::new(&arrived, &serde_json::to_string(&account.open).unwrap(), 0);
        assert_eq!(account.allow(9_999, budget, 1), None);
        assert_eq!(account.allow(1, budget, 1), Some(arrived[0].bytes.unwrap()));
    }

    #[test]
    fn tiny_parts_buy_nothing() {
        let budget = 100 * MIB;
        let mut account = Account::default();
        let mut arrived = Vec::new();
        for number in 1..=200 {
            account = Account::new(&arrived, &serde_json::to_string(&account.open).unwrap(), 0);
            let most = account.allow(number, budget, 1).unwrap();
            // The last of the addresses is not for more than what is left.
            assert!(account.held() + most <= budget);
            arrived.push(part(number, 1));
        }
        assert!(account.reserved() <= budget);
    }

    /// The last part, shorter than the others, may arrive first.
    #[test]
    fn a_short_last_part_tells_nothing_of_the_others() {
        let mut account = Account::new(&[part(3, 1000)], "", 0);
        assert!(account.allow(2, 1 << 30, 1).unwrap() >= 16 * MIB);
        let mut account = Account::new(&[part(1, 16 * MIB), part(3, 1000)], "", 0);
        assert_eq!(account.allow(2, 1 << 30, 1), Some(16 * MIB));
    }

    #[test]
    fn addresses_run_out() {
        let mut account = Account::default();
        account.allow(1, 1 << 30, 10);
        let open = serde_json::to_string(&account.open).unwrap();
        assert!(Account::new(&[], &open, 9).reserved() > 0);
        assert_eq!(Account::new(&[], &open, 10).reserved(), 0);
        assert_eq!(Account::new(&[], "nonsense", 0).reserved(), 0);
    }
}
