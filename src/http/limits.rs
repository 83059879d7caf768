//! How often: every request is counted in this process (cheap, forgets nobody's burst); what is expensive (uploads, masters, mails,
//! sign-ins) is counted in one SQL row that all api processes share. Both are GCRA: an allowance that refills evenly.

use super::identity::{Caller, Identity};
use super::problem::{Answer, Problem};
use crate::config::{Limits, Quota};
use crate::db::{Db, Tx};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota as Allowance, RateLimiter};
use std::num::NonZeroU32;

const HOUR: i64 = 3_600_000;

type Limiter = RateLimiter<String, DefaultKeyedStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// The counters of this process.
#[derive(Debug)]
pub struct Rates {
    guest: Limiter,
    user: Limiter,
}

impl Rates {
    /// Counters with these quotas.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let limiter = |quota: &Quota| {
            let a_minute =
                NonZeroU32::new(quota.requests_a_minute.min(u32::MAX.into()) as u32).unwrap_or(NonZeroU32::MIN);
            RateLimiter::keyed(Allowance::per_minute(a_minute)).with_middleware::<StateInformationMiddleware>()
        };
        Self { guest: limiter(&limits.guest), user: limiter(&limits.user) }
    }

    /// Counts one request of this caller.
    pub fn check(&self, limits: &Limits, caller: &Caller) -> Answer<Rated> {
        let (limiter, quota) = if caller.user().is_some() {
            (&self.user, limits.user.requests_a_minute)
        } else {
            (&self.guest, limits.guest.requests_a_minute)
        };
        let rated = |left: u64| Rated {
            name: "requests",
            quota,
            window: 60,
            left,
            reset: (60 * (quota - left.min(quota))).div_ceil(quota),
        };
        match limiter.check_key(&caller.rate_key().to_owned()) {
            Ok(snapshot) => Ok(rated(snapshot.remaining_burst_capacity().into())),
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
                let problem = Problem::too_many(
                    "rate.requests",
                    format!("more than {quota} requests in a minute; wait {wait} s"),
                    wait,
                );
                Err(rated(0).onto(problem))
            }
        }
    }

    /// Forgets whoever has his whole allowance back, so that many strangers cost no memory.
    pub fn forget_idle(&self) {
        for limiter in [&self.guest, &self.user] {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }

    /// How many callers are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.guest.len() + self.user.len()
    }
}

/// Where somebody stands, as the `RateLimit` headers tell it.
#[derive(Clone, Copy, Debug)]
pub struct Rated {
    name: &'static str,
    quota: u64,
    /// Seconds.
    window: u64,
    left: u64,
    /// Seconds until the whole allowance is back.
    reset: u64,
}

impl Rated {
    fn headers(self) -> [(HeaderName, HeaderValue); 2] {
        let Self { name, quota, window, left, reset } = self;
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        [
            (HeaderName::from_static("ratelimit-policy"), value(format!("\"{name}\";q={quota};w={window}"))),
            (HeaderName::from_static("ratelimit"), value(format!("\"{name}\";r={left};t={reset}"))),
        ]
    }

    /// Puts the headers on a response; a rule a handler has put there already stays beside.
    pub fn show(self, response: &mut HeaderMap) {
        for (name, value) in self.headers() {
            response.append(name, value);
        }
    }

    fn onto(self, problem: Problem) -> Problem {
        self.headers().into_iter().fold(problem, |problem, (name, value)| problem.header(name, value))
    }
}

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

    fn rated(self, left: u64, reset: u64) -> Rated {
        Rated { name: self.name, quota: self.quota, window: self.window as u64 / 1000, left, reset }
    }

    fn refused(self, wait: u64) -> Problem {
        let within = if self.window == HOUR { "an hour" } else { "a day" };
        let detail = format!("more than {} {} in {within}; wait {wait} s", self.quota, self.name);
        self.rated(0, wait).onto(Problem::too_many("rate.exceeded", detail, wait).with("rule", self.name))
    }

    /// Spends `cost` for `key` in the caller's transaction: what is rolled back is not counted.
    pub async fn spend(self, tx: &mut Tx, key: &str, cost: u64) -> Answer<()> {
        spend(tx, key, &[(self, cost)]).await
    }

    /// How much of it `key` has used.
    pub async fn used(self, db: &Db, key: &str) -> Answer<u64> {
        let text = db.sql("SELECT tat - {now} FROM limits WHERE key = $1");
        let debt: Option<i64> =
            sqlx::query_scalar(text).bind(format!("{}:{key}", self.name)).fetch_optional(db.read()).await?;
        // More than there can be: see `spend`.
        let debt = debt.filter(|debt| *debt <= self.window);
        Ok((debt.unwrap_or(0).max(0) as u64).div_ceil(self.each() as u64).min(self.quota))
    }
}

/// Spends several rules for the same `key`, all or none, in one statement: who holds the writer keeps others waiting.
pub async fn spend(tx: &mut Tx, key: &str, costs: &[(Rule, u64)]) -> Answer<()> {
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
