//! What is measured, by its one name: a function for everything that is counted where it happens. What only says how things stand is set
//! when somebody asks (`http/scrape.rs`). Labels have few values, whatever files, clients and servers bring.

use loopmaster_core::Stage;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Seconds; from a database read to a long upload.
const SHORT: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds of a track: from a plan to two hours of music, from an empty queue to a full one.
const LONG: [f64; 15] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0, 14_400.0];

const COUNTERS: [(&str, &str); 18] = [
    ("loopmaster_http_requests_total", "Answers by method, route and status"),
    ("loopmaster_uploads_begun_total", "Uploads begun"),
    ("loopmaster_uploads_stored_total", "Uploads that arrived"),
    ("loopmaster_uploads_stored_bytes_total", "Bytes that arrived"),
    ("loopmaster_tracks_total", "Tracks that ended, by outcome and, of those that failed, by code"),
    ("loopmaster_audio_seconds_total", "Seconds of music mastered"),
    ("loopmaster_jobs_retried_total", "Runs of jobs that are tried again, by kind and code"),
    ("loopmaster_jobs_dead_total", "Jobs given up, by kind and code"),
    ("loopmaster_leases_lost_total", "Jobs that this worker was too slow to keep"),
    ("loopmaster_mails_total", "Letters handed to the mail server, by outcome: sent, away (tried again), refused"),
    ("loopmaster_webhooks_total", "Calls of webhooks, by outcome: delivered, failed (tried again), given_up"),
    ("loopmaster_storage_errors_total", "Operations of the storage that failed, by operation"),
    ("loopmaster_database_errors_total", "Statements of the database that failed, by code"),
    ("loopmaster_card_tracks_total", "Tracks rendered on the graphics card"),
    ("loopmaster_card_restarted_tracks_total", "Tracks a card began and the processor did again"),
    ("loopmaster_batches_total", "Batches given to the device"),
    ("loopmaster_batched_tracks_total", "Tracks in them: divided by the batches, the fill"),
    ("loopmaster_taken_over_tracks_total", "Tracks the processor took over from the device"),
];
const GAUGES: [(&str, &str); 12] = [
    ("loopmaster_build_info", "1, with the version of the program"),
    ("loopmaster_worker_info", "1, with what the worker of this process renders on: device, adapter and driver"),
    ("loopmaster_queue_jobs", "Jobs by class, state and device"),
    (
        "loopmaster_queue_audio_seconds",
        "Seconds of music by class, state and device: what runs on a card or on a processor, and what waits for any or for a processor",
    ),
    ("loopmaster_queue_oldest_seconds", "How long ago the oldest job might have begun, by class, state and device"),
    ("loopmaster_event_streams", "Open streams of events"),
    ("loopmaster_zip_downloads", "Archives being sent"),
    ("loopmaster_rate_limit_callers", "Callers the rate limit remembers"),
    ("loopmaster_disk_free_bytes", "Free bytes on the disk of the embedded storage"),
    ("loopmaster_scratch_free_bytes", "Free bytes on the disk of a worker's files under way"),
    ("loopmaster_device_lost", "1 while the processor does the device's work"),
    ("loopmaster_device_bytes", "Bytes of decoded audio that tracks under way have set aside"),
];
const HISTOGRAMS: [(&str, &str); 5] = [
    ("loopmaster_http_request_seconds", "Time to the head of the answer, by route"),
    ("loopmaster_stage_seconds", "Time of a track in each stage, waiting for its turn included"),
    ("loopmaster_queue_wait_seconds", "Time from when a job might have begun until a worker took it, by class"),
    ("loopmaster_storage_seconds", "Time to the head of the storage's answer, by operation"),
    ("loopmaster_database_seconds", "Time to begin a transaction that writes, and from there to its commit"),
];

/// Kinds of jobs that have a name of their own.
const KINDS: [&str; 5] = ["master", "mail", "webhook", "export", "sweep"];
/// Codes of failures that have a name of their own in a process: a decoder may have been made to say anything.
const CODES: usize = 64;

/// The collector with its buckets.
pub(crate) fn builder() -> Result<PrometheusBuilder, BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SHORT)?
        .set_buckets_for_metric(full("loopmaster_stage_seconds"), &LONG)?
        .set_buckets_for_metric(full("loopmaster_queue_wait_seconds"), &LONG)
}

/// Says what each is, and begins those at nothing whose first event has to be seen as an increase.
pub(crate) fn describe() {
    for (name, text) in COUNTERS {
        metrics::describe_counter!(name, text);
    }
    for (name, text) in GAUGES {
        metrics::describe_gauge!(name, text);
    }
    for (name, text) in HISTOGRAMS {
        metrics::describe_histogram!(name, metrics::Unit::Seconds, text);
    }
    metrics::gauge!("loopmaster_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::counter!("loopmaster_leases_lost_total").increment(0);
    for outcome in ["sent", "away", "refused"] {
        metrics::counter!("loopmaster_mails_total", "outcome" => outcome).increment(0);
    }
    for outcome in ["delivered", "failed", "given_up"] {
        metrics::counter!("loopmaster_webhooks_total", "outcome" => outcome).increment(0);
    }
    for code in ["database.unavailable", "database.failed"] {
        metrics::counter!("loopmaster_database_errors_total", "code" => code).increment(0);
    }
}

/// A request was answered.
pub(crate) fn request(method: String, route: String, status: u16, took: Duration) {
    let labels = [("method", method), ("route", route.clone()), ("status", status.to_string())];
    metrics::counter!("loopmaster_http_requests_total", &labels).increment(1);
    metrics::histogram!("loopmaster_http_request_seconds", "route" => route).record(took.as_secs_f64());
}

/// An upload was begun.
pub(crate) fn upload_begun() {
    metrics::counter!("loopmaster_uploads_begun_total").increment(1);
}

/// An upload arrived.
pub(crate) fn upload_stored(bytes: u64) {
    metrics::counter!("loopmaster_uploads_stored_total").increment(1);
    metrics::counter!("loopmaster_uploads_stored_bytes_total").increment(bytes);
}

/// A worker took a job that might have begun so long ago.
pub(crate) fn queued(class: &'static str, wait: Duration) {
    metrics::histogram!("loopmaster_queue_wait_seconds", "class" => class).record(wait.as_secs_f64());
}

/// A track of so many seconds is done, and took so long in each stage.
pub(crate) fn mastered(seconds: f64, stages: &[(Stage, f64)]) {
    metrics::counter!("loopmaster_tracks_total", "outcome" => "done", "code" => "").increment(1);
    metrics::counter!("loopmaster_audio_seconds_total").increment(seconds as u64);
    for (stage, took) in stages {
        metrics::histogram!("loopmaster_stage_seconds", "stage" => stage.name()).record(*took);
    }
}

/// How a run of a job ended that did not succeed; counted once that is written down.
#[derive(Clone, Debug)]
pub enum Run {
    /// It is tried again.
    Retried {
        /// The job's kind.
        kind: String,
        /// Why.
        code: String,
    },
    /// It is given up.
    Dead {
        /// The job's kind.
        kind: String,
        /// Why.
        code: String,
    },
}

impl Run {
    pub(crate) fn count(&self) {
        let (Self::Retried { kind, code } | Self::Dead { kind, code }) = self;
        let kind = KINDS.into_iter().find(|known| known == kind).unwrap_or("other");
        let code = bounded(code);
        match self {
            Self::Retried { .. } => {
                metrics::counter!("loopmaster_jobs_retried_total", "kind" => kind, "code" => code).increment(1);
            }
            Self::Dead { .. } => {
                if kind == "master" {
                    metrics::counter!("loopmaster_tracks_total", "outcome" => "failed", "code" => code.clone())
                        .increment(1);
                }
                metrics::counter!("loopmaster_jobs_dead_total", "kind" => kind, "code" => code).increment(1);
            }
        }
    }
}

/// A code as a label.
fn bounded(code: &str) -> String {
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_');
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = seen.contains(code) || seen.len() < CODES && code.len() <= 48 && code.chars().all(plain);
    if !fits {
        return "other".to_owned();
    }
    seen.insert(code.to_owned());
    code.to_owned()
}

/// A job was lost because this worker could not say in time that it lives.
pub(crate) fn lease_lost() {
    metrics::counter!("loopmaster_leases_lost_total").increment(1);
}

/// So much is set aside for tracks under way.
pub(crate) fn set_aside(bytes: u64) {
    metrics::gauge!("loopmaster_device_bytes").set(bytes as f64);
}

/// A letter was handed to the mail server.
pub(crate) fn mail(outcome: &'static str) {
    metrics::counter!("loopmaster_mails_total", "outcome" => outcome).increment(1);
}

/// A webhook was called.
pub(crate) fn webhook(outcome: &'static str) {
    metrics::counter!("loopmaster_webhooks_total", "outcome" => outcome).increment(1);
}

/// An operation of the storage was answered, or was not.
pub(crate) fn storage(operation: &str, took: Duration, failed: bool) {
    metrics::histogram!("loopmaster_storage_seconds", "operation" => operation.to_owned()).record(took.as_secs_f64());
    metrics::counter!("loopmaster_storage_errors_total", "operation" => operation.to_owned())
        .increment(u64::from(failed));
}

/// A transaction has begun or was committed.
pub(crate) fn database(operation: &'static str, took: Duration) {
    metrics::histogram!("loopmaster_database_seconds", "operation" => operation).record(took.as_secs_f64());
}

/// A statement failed.
pub(crate) fn database_failed(code: &'static str) {
    metrics::counter!("loopmaster_database_errors_total", "code" => code).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn named(folder: &Path, found: &mut BTreeSet<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                named(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for kind in ["counter", "gauge", "histogram"] {
                for rest in text.split(&format!("metrics::{kind}!(")).skip(1) {
                    let Some(name) = rest.trim_start().strip_prefix("\"loopmaster_") else { continue };
                    let name = name.split('"').next().unwrap();
                    found.insert((kind.to_owned(), format!("loopmaster_{name}")));
                }
            }
        }
    }

    #[test]
    fn what_is_measured_is_described_and_the_other_way_round() {
        let mut found = BTreeSet::new();
        named(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let described = [("counter", &COUNTERS[..]), ("gauge", &GAUGES), ("histogram", &HISTOGRAMS)]
            .into_iter()
            .flat_map(|(kind, list)| list.iter().map(move |(name, _)| (kind.to_owned(), (*name).to_owned())))
            .collect::<BTreeSet<_>>();
        assert_eq!(found, described);
        for (kind, name) in found {
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        }
    }

    #[test]
    fn codes_of_strangers_do_not_grow_the_list() {
        assert_eq!(bounded("decode.unknown_format"), "decode.unknown_format");
        for odd in ["Decode", "a b", "é", &"a".repeat(49)] {
            assert_eq!(bounded(odd), "other");
        }
        let kept = (0..1_000).filter(|n| bounded(&format!("made.up_{n}")) != "other").count();
        assert!(kept < CODES, "{kept}");
        assert_eq!(bounded("decode.unknown_format"), "decode.unknown_format", "what is known stays");
    }
}
