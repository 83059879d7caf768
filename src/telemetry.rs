//! What operators see: log lines (text or JSON) with request and job ids, and metrics for Prometheus.

use crate::config::Log;
use crate::measure;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;

static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Begins to collect metrics; once for the process.
pub fn collect() {
    METRICS.get_or_init(|| match measure::builder().and_then(PrometheusBuilder::install_recorder) {
        Ok(handle) => {
            measure::describe();
            Some(handle)
        }
        Err(error) => {
            tracing::error!(%error, "there will be no metrics");
            None
        }
    });
}

/// Everything collected, in Prometheus' text format.
#[must_use]
pub fn rendered() -> String {
    METRICS.get().and_then(Option::as_ref).map(PrometheusHandle::render).unwrap_or_default()
}

/// Keeps histograms from growing; to be called every few seconds.
pub fn tidy() {
    if let Some(handle) = METRICS.get().and_then(Option::as_ref) {
        handle.run_upkeep();
    }
}

/// Begins to write the log; once for the process.
pub fn log(log: &Log) {
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let begun = if log.format == "json" {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    // A second call (tests) keeps the first log.
    drop(begun);
}
