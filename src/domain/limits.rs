//! How often: what is expensive (uploads, masters, mails, sign-ins) is counted in one SQL row that all processes share. GCRA: an
//! allowance that refills evenly. The only module that writes the table.

use super::error::{Allowance, Error, Result};
use super::identity::{Caller, Identity};
use crate::config::{Limits, Quota};
use crate::db::{Db, Tx};

const HOUR: i64 = 3_600_000;

/// The quota a caller has.
#[must_use]
pub fn quota<'a>(limits: &'a Limits, caller: &Caller) -> &'a Quota {
    match caller.identity {
        Identity::Nobody | Identity::Guest { .. } => &limits.guest,
        _ => &limits.user,
    }
}

/// What is rationed over all processes.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// As clients see it, e.g. `creates`.
    pub name: &'static str,
    /// How many …
    pub quota: u64,
    /// … in this many milliseconds.
    pub window: i64,
}

impl Rule {
    /// So many in an hour.
    #[must_use]
    pub fn hourly(name: &'static str, quota: u64) -> Self {
        Self { name, quota, window: HOUR }
    }

    /// So many in a day.
    #[must_use]
    pub fn daily(name: &'static str, quota: u64) -> Self {
        Self { name, quota, window: 24 * HOUR }
    }

    fn each(self) -> i64 {
        self.window / i64::try_from(self.quota).unwrap_or(i64::MAX).clamp(1, self.window)
    }

    fn allowance(self, left: u64, reset: u64) -> Allowance {
        Allowance { name: self.name, quota: self.quota, window: self.window as u64 / 1000, left, reset }
    }

    fn refused(self, wait: u64) -> Error {
        let within = if self.window == HOUR { "an hour" } else { "a day" };
        let detail = format!("more than {} {} in {within}; wait {wait} s", self.quota, self.name);
        Error::too_many("rate.exceeded", detail, wait).allowance(self.allowance(0, wait)).with("rule", self.name)
    }

    /// Spends `cost` for `key` in the caller's transaction: what is rolled back is not counted.
    pub async fn spend(self, tx: &mut Tx, key: &str, cost: u64) -> Result<()> {
        spend(tx, key, &[(self, cost)]).await
    }

    /// Where `key` stands with it.
    pub async fn standing(self, db: &Db, key: &str) -> Result<Standing> {
        let text = db.sql("SELECT tat - {now} FROM limits WHERE key = $1");
        let debt: Option<i64> =
            sqlx::query_scalar(text).bind(format!("{}:{key}", self.name)).fetch_optional(db.read()).await?;
        // More than there can be: see `spend`.
        let debt = debt.filter(|debt| *debt <= self.window);
        let (debt, each) = (debt.unwrap_or(0).max(0) as u64, self.each() as u64);
        let after = |debt: u64| (debt > 0).then(|| debt.div_ceil(1000));
        let used = debt.div_ceil(each);
        let standing = Standing {
            used: used.min(self.quota),
            more: after(debt - used.saturating_sub(1) * each),
            all: after(debt),
        };
        Ok(standing)
    }
}

/// What of a rule is used, and when it is not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How much is used.
    pub used: u64,
    /// Seconds until it is one less.
    pub more: Option<u64>,
    /// Seconds until it is none.
    pub all: Option<u64>,
}

/// Spends several rules for the same `key`, all or none, in one statement: who holds the writer keeps others waiting.
pub async fn spend(tx: &mut Tx, key: &str, costs: &[(Rule, u64)]) -> Result<()> {
    let mut rows = Vec::with_capacity(costs.len());
    for (rule, cost) in costs {
        let price = rule.each().saturating_mul(i64::try_from(*cost).unwrap_or(i64::MAX));
        if rule.quota == 0 || price > rule.window {
            return Err(rule.refused(rule.window as u64 / 1000));
        }
        rows.push((rule, format!("{}:{key}", rule.name), price));
    }
    // A row that is refused stays as it is, and is not returned.
    let offered: Vec<String> = (0..rows.len()).map(|n| format!("(${}, {{now}} + ${})", 2 * n + 1, 2 * n + 2)).collect();
    let windows: Vec<String> =
        (0..rows.len()).map(|n| format!("WHEN ${} THEN {}", 2 * n + 1, rows[n].0.window)).collect();
    let price = "(excluded.tat - {now})";
    let window = format!("CASE limits.key {} ELSE 0 END", windows.join(" "));
    // A debt larger than any can be was written before the clock was set back. Kept at its largest it would never become less.
    let base =
        format!("CASE WHEN limits.tat > {{now}} AND limits.tat <= {{now}} + {window} THEN limits.tat ELSE {{now}} END");
    let text = tx.sql(&format!(
        "INSERT INTO limits (key, tat) VALUES {}
         ON CONFLICT (key) DO UPDATE SET tat = {base} + {price}
         WHERE {base} + {price} - {{now}} <= {window}
         RETURNING key",
        offered.join(", ")
    ));
    let mut query = sqlx::query_scalar::<_, String>(text);
    for (_, name, price) in &rows {
        query = query.bind(name.clone()).bind(*price);
    }
    let granted = query.fetch_all(&mut **tx).await?;
    let Some((rule, name, price)) = rows.iter().find(|(_, name, _)| !granted.contains(name)) else { return Ok(()) };
    let text = tx.sql("SELECT tat - {now} FROM limits WHERE key = $1");
    let debt: i64 = sqlx::query_scalar(text).bind(name).fetch_one(&mut **tx).await?;
    Err(rule.refused(((debt + price - rule.window).max(0) as u64).div_ceil(1000)))
}

/// Lets nobody else with this key at the count until the transaction ends: two that ask at once cannot both be given the last bytes.
/// Where creates have been spent for the key in the same transaction, it holds that lock already.
pub async fn lock_bytes(tx: &mut Tx, owner_key: &str) -> Result<()> {
    let text =
        tx.sql("INSERT INTO limits (key, tat) VALUES ($1, {now}) ON CONFLICT (key) DO UPDATE SET tat = excluded.tat");
    sqlx::query(text).bind(format!("bytes:{owner_key}")).execute(&mut **tx).await?;
    Ok(())
}
