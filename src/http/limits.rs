//! How often: every request is counted in this process by `tower_governor` (cheap, forgets nobody's burst); what is expensive (uploads,
//! masters, mails, sign-ins) is counted for all processes together (`domain::limits`). Both are GCRA: an allowance that refills evenly.

use super::App;
use super::problem::{Answer, Problem, rate_limit};
use crate::config::Limits;
use crate::domain::error::{Allowance, Error};
use crate::domain::identity::Caller;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{self, HeaderMap};
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
            for (name, value) in rate_limit(requests(self.quota, left)) {
                // A rule a handler has put there already stays beside.
                response.append(name, value);
            }
        }
    }
}

fn requests(quota: u64, left: u64) -> Allowance {
    let reset = (60 * (quota - left.min(quota))).div_ceil(quota);
    Allowance { name: "requests", quota, window: 60, left, reset }
}

/// `seconds`: how long to wait, rounded down.
fn refused(quota: u64, seconds: u64) -> Problem {
    let wait = seconds + 1;
    let detail = format!("more than {quota} requests in a minute; wait {wait} s");
    Error::too_many("rate.requests", detail, wait).allowance(requests(quota, 0)).into()
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
