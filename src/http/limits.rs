//! How often: every request is counted in this process by `tower_governor` (cheap, forgets nobody's burst); what is expensive (uploads,
//! masters, mails, sign-ins) is counted in one SQL row that all api processes share. Both are GCRA: an allowance that refills evenly.

use super::App;
use super::identity::{Caller, Identity};
use super::problem::{Answer, Problem};
use crate::config::{Limits, Quota};
use crate::db::{Db, Tx};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{self, HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use tower::{Layer, ServiceExt};
use tower_governor::governor::{GovernorConfig, GovernorConfigBuilder};
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};

const HOUR: i64 = 3_600_000;

/// The layer inside [`super::identity::identify`]: counts the request of the caller found there, and refuses it where it is one too many.
pub async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>() else {
        return Problem::internal("a request is counted before it is known whose it is").into_response();
    };
    let counter = app.rates.of(caller);
    let Ok(mut response) = counter.layer.layer(next).oneshot(request).await;
    counter.show(response.headers_mut());
    response
}

/// Requests are counted by who was identified. The extractors that come with the crate believe whatever a client writes into
/// `X-Forwarded-For`.
#[derive(Clone, Debug)]
struct ByCaller;

impl KeyExtractor for ByCaller {
    type Key = String;

    fn extract<T>(&self, request: &http::Request<T>) -> Result<String, GovernorError> {
        let caller = request.extensions().get::<Caller>().ok_or(GovernorError::UnableToExtractKey)?;
        Ok(caller.rate_key().to_owned())
    }
}

/// Counts the requests of everybody who has the same quota.
struct Counter {
    quota: u64,
    config: Arc<GovernorConfig<ByCaller, StateInformationMiddleware>>,
    layer: GovernorLayer<ByCaller, StateInformationMiddleware, Body>,
}

impl Counter {
    fn new(quota: u64) -> Self {
        let a_minute = NonZeroU32::new(quota.min(u32::MAX.into()) as u32).unwrap_or(NonZeroU32::MIN);
        let config = GovernorConfigBuilder::default()
            .key_extractor(ByCaller)
            .use_headers()
            .period(governor::Quota::per_minute(a_minute).replenish_interval())
            .burst_size(a_minute.get())
            .finish();
        #[expect(clippy::expect_used, reason = "a minute has more nanoseconds than a quota has requests")]
        let config = Arc::new(config.expect("neither the period nor the burst is zero"));
        let refusal = move |error: GovernorError| match error {
            GovernorError::TooManyRequests { wait_time, .. } => refused(quota, wait_time).into_response(),
            error => Problem::internal(error).into_response(),
        };
        let layer = GovernorLayer::new(Arc::clone(&config)).error_handler(refusal);
        Self { quota, config, layer }
    }

    /// Says where the caller stands, in place of the headers with which the layer says it.
    fn show(&self, response: &mut HeaderMap) {
        response.remove("x-ratelimit-limit");
        let left = response.remove("x-ratelimit-remaining");
        if let Some(left) = left.and_then(|left| left.to_str().ok()?.parse().ok()) {
            requests(self.quota, left).show(response);
        }
    }
}

fn requests(quota: u64, left: u64) -> Rated {
    let reset = (60 * (quota - left.min(quota))).div_ceil(quota);
    Rated { name: "requests", quota, window: 60, left, reset }
}

/// `seconds`: how long to wait, rounded down.
fn refused(quota: u64, seconds: u64) -> Problem {
    let wait = seconds + 1;
    let detail = format!("more than {quota} requests in a minute; wait {wait} s");
    requests(quota, 0).onto(Problem::too_many("rate.requests", detail, wait))
}

/// The counters of this process.
pub struct Rates {
    guest: Counter,
    user: Counter,
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rates").field("remembered", &self.remembered()).finish_non_exhaustive()
    }
}

impl Rates {
    /// Counters with these quotas.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { guest: Counter::new(limits.guest.requests_a_minute), user: Counter::new(limits.user.requests_a_minute) }
    }

    fn of(&self, caller: &Caller) -> &Counter {
        if caller.user().is_some() { &self.user } else { &self.guest }
    }

    /// Counts something that [`count`] does not see: a guessed token, a capability in a path.
    pub fn check(&self, caller: &Caller) -> Answer<()> {
        let counter = self.of(caller);
        match counter.config.limiter().check_key(&caller.rate_key().to_owned()) {
            Ok(_) => Ok(()),
            Err(until) => Err(refused(counter.quota, until.wait_time_from(DefaultClock::default().now()).as_secs())),
        }
    }

    /// Forgets whoever has his whole allowance back, so that many strangers cost no memory; the layer never does so by itself.
    pub fn forget_idle(&self) {
        for counter in [&self.guest, &self.user] {
            counter.config.limiter().retain_recent();
            counter.config.limiter().shrink_to_fit();
        }
    }

    /// How many callers are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.guest.config.limiter().len() + self.user.config.limiter().len()
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
