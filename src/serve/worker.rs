//! The worker as a role: what it needs, from the configuration and from storage.

use crate::chores::{chores, ensure_sweeper};
use crate::config::Config;
use crate::http::{App, StartError, status};
use crate::mail::Mailer;
use crate::notices::on_ended;
use crate::queue::LEASE;
use crate::thread_count;
use crate::webhooks::guard::Guard;
use crate::work::sandbox::Sandbox;
use crate::work::{Device, Services, WorkConfig, Worker};
use axum::Router;
use loopmaster_core::render::{Backend, reference::Reference};
use loopmaster_core::settings::Limits;
use loopmaster_gpu::cpu::Cpu;
use loopmaster_gpu::gpu::Config as GpuConfig;
use loopmaster_gpu::renderer::Renderer;
use std::sync::Arc;
use std::time::Duration;

/// Tracks a card is handed at once.
const CARD_TRACKS: usize = 32;

/// A drain waits this long for what runs, then gives it back.
const PATIENCE: Duration = Duration::from_secs(45);

/// A worker of this service, ready to run; readiness tells how its device does.
pub(super) async fn worker(app: &App) -> Result<Worker, StartError> {
    let config = &app.config;
    let threads = thread_count(Some(config.worker.threads).filter(|threads| *threads > 0));
    let failed = |error: String| StartError::Worker(error);
    let limits = Limits { bytes: config.limits.file_bytes, ..Limits::default() };
    let mut sandbox = Sandbox::new(limits).map_err(|error| failed(error.to_string()))?;
    sandbox.unsandboxed = config.worker.allow_unsandboxed;
    let (name, device, cpu) = device(config, threads)?;
    let mailer = Mailer::of(config).map_err(failed)?;
    ensure_sweeper(&app.db).await?;
    let services = Services {
        db: app.db.clone(),
        files: Arc::new(app.store.clone()),
        cpu,
        device,
        chores: chores(app, mailer, Guard::of(config)),
        on_ended: Some(on_ended(app)),
    };
    let work = WorkConfig {
        budget: config.worker.budget_bytes,
        threads,
        tracks: threads * 2,
        scratch: config.work_folder(),
        sandbox,
        lease: LEASE,
        patience: PATIENCE,
    };
    let worker = Worker::new(work, services).await.map_err(failed)?;
    app.health.watch(name, worker.health());
    Ok(worker)
}

fn device(config: &Config, threads: usize) -> Result<(&'static str, Device, Arc<dyn Backend>), StartError> {
    let cpu: Arc<dyn Backend> = Arc::new(Cpu);
    match config.worker.backend.as_str() {
        "reference" => {
            let slow: Arc<dyn Backend> = Arc::new(Reference);
            Ok(("reference", Device::cpu(Arc::clone(&slow), threads), slow))
        }
        "gpu" => {
            let card = Renderer::gpu(GpuConfig::default()).map_err(|error| StartError::Worker(error.to_string()))?;
            Ok(("gpu", Device::batching(Arc::new(card), CARD_TRACKS), cpu))
        }
        "auto" => {
            let fastest = Renderer::auto(GpuConfig::default(), CARD_TRACKS);
            if fastest.status().is_none() {
                return Ok(("cpu", Device::cpu(Arc::clone(&cpu), threads), cpu));
            }
            Ok(("auto", Device::batching(Arc::new(fastest), CARD_TRACKS), cpu))
        }
        _ => Ok(("cpu", Device::cpu(Arc::clone(&cpu), threads), cpu)),
    }
}

/// What a worker without an api answers: health and metrics.
pub(super) fn watched(app: &App) -> Router {
    Router::new().merge(status::watch()).with_state(app.clone())
}
