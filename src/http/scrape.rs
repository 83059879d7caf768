//! `/metrics`: how things stand when somebody asks, beside what was counted where it happened (`measure.rs`).

use super::App;
use crate::health::DeviceStatus;
use crate::queue::{self, Class, Depth};
use crate::telemetry;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use std::sync::atomic::Ordering;

/// All metrics in Prometheus' text format.
pub(super) async fn scrape(app: &App) -> Response {
    match queue::depth(&app.db).await {
        Ok(depths) => tell_depth(&depths),
        Err(error) => tracing::warn!(%error, "the queue's depth is not known"),
    }
    metrics::gauge!("loopmaster_event_streams").set(app.streams.taken() as f64);
    metrics::gauge!("loopmaster_zip_downloads").set(app.zips.taken() as f64);
    metrics::gauge!("loopmaster_rate_limit_callers").set(app.rates.remembered() as f64);
    if let Some((free, _)) = app.health.free() {
        metrics::gauge!("loopmaster_disk_free_bytes").set(free as f64);
    }
    if let Some(watched) = app.health.watched() {
        tell_worker(watched);
        if let Ok((free, _)) = loopmaster_core::machine::disk(&app.config.work_folder()) {
            metrics::gauge!("loopmaster_scratch_free_bytes").set(free as f64);
        }
    }
    let mut response = telemetry::rendered().into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}

/// Every class, state and device is told, also where nothing is: whoever scales on them must not take nothing for "unknown".
fn tell_depth(depths: &[Depth]) {
    for class in [Class::Interactive, Class::Bulk, Class::Chore] {
        for (running, state) in [(false, "waiting"), (true, "running")] {
            for device in queue::DEVICES {
                let of = |depth: &&Depth| depth.class == class && depth.running == running && depth.device == device;
                let depth = depths.iter().find(of);
                let labels = [("class", class.as_str()), ("state", state), ("device", device)];
                metrics::gauge!("loopmaster_queue_jobs", &labels).set(depth.map_or(0.0, |depth| depth.jobs as f64));
                metrics::gauge!("loopmaster_queue_audio_seconds", &labels)
                    .set(depth.map_or(0.0, |depth| depth.seconds));
                metrics::gauge!("loopmaster_queue_oldest_seconds", &labels)
                    .set(depth.map_or(0.0, |depth| depth.oldest as f64 / 1000.0));
            }
        }
    }
}

fn tell_worker(watched: &DeviceStatus) {
    let DeviceStatus { name, health: device, card, .. } = watched;
    let card = card.as_ref().and_then(|card| card.status());
    let well = device.device() && card.as_ref().is_none_or(|card| card.ready);
    metrics::gauge!("loopmaster_device_lost").set(if well { 0.0 } else { 1.0 });
    let (adapter, driver) =
        card.as_ref().map_or_else(Default::default, |card| (card.name.clone(), card.driver.clone()));
    // `auto` is one or the other.
    let kind = if card.is_some() { "gpu" } else { *name };
    let labels = [("device", kind.to_owned()), ("adapter", adapter), ("driver", driver)];
    metrics::gauge!("loopmaster_worker_info", &labels).set(1.0);
    if let Some(card) = card {
        metrics::counter!("loopmaster_card_tracks_total").absolute(card.rendered);
        metrics::counter!("loopmaster_card_restarted_tracks_total").absolute(card.restarted);
    }
    let total = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed) as u64;
    metrics::counter!("loopmaster_batches_total").absolute(total(&device.batches));
    metrics::counter!("loopmaster_batched_tracks_total").absolute(total(&device.tracks));
    metrics::counter!("loopmaster_taken_over_tracks_total").absolute(total(&device.taken_over));
}
