//! What operators see: log lines (text or JSON) with request and job ids, and metrics for Prometheus.

use crate::config::Log;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;

static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Seconds; from a database read to a long upload.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Begins to collect metrics; once for the process.
pub fn collect() {
    METRICS.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS);
        match builder.and_then(metrics_exporter_prometheus::PrometheusBuilder::install_recorder) {
            Ok(handle) => {
                describe();
                Some(handle)
            }
            Err(error) => {
                tracing::error!(%error, "there will be no metrics");
                None
            }
        }
    });
}

fn describe() {
    metrics::describe_counter!("loopmaster_http_requests_total", "Answers by method, route and status");
    metrics::describe_histogram!(
        "loopmaster_http_request_seconds",
        metrics::Unit::Seconds,
        "Time to the head of the answer, by route"
    );
    metrics::describe_counter!("loopmaster_uploads_begun_total", "Uploads begun");
    metrics::describe_counter!("loopmaster_uploads_stored_total", "Uploads that arrived");
    metrics::describe_counter!("loopmaster_uploads_stored_bytes_total", "Bytes that arrived");
    metrics::describe_gauge!("loopmaster_queue_jobs", "Jobs by class and state");
    metrics::describe_gauge!(
        "loopmaster_queue_audio_seconds",
        "Seconds of music by class and state; scale workers on those that wait"
    );
    metrics::describe_gauge!("loopmaster_queue_oldest_seconds", "Age of the oldest job by class and state");
    metrics::describe_gauge!("loopmaster_event_streams", "Open streams of events");
    metrics::describe_gauge!("loopmaster_zip_downloads", "Archives being sent");
    metrics::describe_gauge!("loopmaster_rate_limit_callers", "Callers the rate limit remembers");
    metrics::describe_gauge!("loopmaster_disk_free_bytes", "Free bytes on the disk of the embedded storage");
    metrics::describe_gauge!("loopmaster_device_lost", "1 while the processor does the device's work");
    metrics::describe_gauge!("loopmaster_card_tracks", "Tracks rendered on the graphics card");
    metrics::describe_gauge!("loopmaster_card_restarted_tracks", "Tracks a card began and the processor did again");
    metrics::describe_gauge!("loopmaster_batches", "Batches given to the device since the start");
    metrics::describe_gauge!("loopmaster_batched_tracks", "Tracks in them: divided by the batches, the fill");
    metrics::describe_gauge!("loopmaster_taken_over_tracks", "Tracks the processor took over from the device");
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
