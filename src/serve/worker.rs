//! The worker as a role: what it needs, from the configuration and from storage.

use crate::chores::{chores, ensure_sweeper};
use crate::config::Config;
use crate::domain::notices::on_ended;
use crate::health::DeviceStatus;
use crate::outside::mail::Mailer;
use crate::outside::webhooks::guard::Guard;
use crate::queue::LEASE;
use crate::service::{Service, StartError};
use crate::work::sandbox::Sandbox;
use crate::work::{Device, Services, WorkConfig, Worker};
use loopmaster_cli::thread_count;
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::{Backend, reference::Reference};
use loopmaster_core::settings::Limits;
use loopmaster_gpu::gpu::Config as GpuConfig;
use loopmaster_gpu::renderer::Renderer;
use std::sync::Arc;
use std::time::Duration;

/// Tracks a card is handed at once.
const CARD_TRACKS: usize = 32;

/// A drain waits this long for what runs, then gives it back.
const PATIENCE: Duration = Duration::from_secs(45);

/// How files are decoded here, once it is known that the sandbox holds.
pub(super) async fn sandbox(config: &Config) -> Result<Sandbox, StartError> {
    let limits = Limits { bytes: config.limits.file_bytes, ..Limits::default() };
    let mut sandbox = Sandbox::new(limits).map_err(|error| StartError::Worker(error.to_string()))?;
    sandbox.unsandboxed = config.worker.allow_unsandboxed;
    sandbox.check().await.map_err(StartError::Worker)?;
    Ok(sandbox)
}

/// A worker of this service, ready to run; readiness tells how its device does. `alone`: nothing else is in this process.
pub(super) async fn worker(service: &Service, alone: bool) -> Result<Worker, StartError> {
    let config = &service.config;
    // Before anything is written or tried.
    service.db.fits().await?;
    let threads = thread_count(Some(config.worker.threads).filter(|threads| *threads > 0));
    let failed = |error: String| StartError::Worker(error);
    let sandbox = sandbox(config).await?;
    let Chosen { name, device, cpu, card } = Chosen::of(config, threads)?;
    let mailer = Mailer::of(config).map_err(failed)?;
    let services = Services {
        db: service.db.clone(),
        files: Arc::new(service.store.clone()),
        cpu,
        device,
        chores: chores(service, mailer, Guard::of(config)),
        on_ended: Some(on_ended(service)),
    };
    let work = WorkConfig {
        budget: config.budget(),
        threads,
        tracks: threads * 2,
        scratch: config.work_folder(),
        sandbox,
        lease: LEASE,
        patience: PATIENCE,
    };
    let worker = Worker::new(work, services).await.map_err(failed)?;
    // After the jobs of killed workers were taken back: a sweeper that was killed once too often has ended then.
    ensure_sweeper(&service.db).await?;
    service.health.watch(DeviceStatus { name, health: worker.health(), card, alone });
    Ok(worker)
}

/// What renders, by the configuration.
struct Chosen {
    name: &'static str,
    device: Device,
    /// What does the device's work where it fails.
    cpu: Arc<dyn Backend>,
    card: Option<Arc<Renderer>>,
}

impl Chosen {
    fn of(config: &Config, threads: usize) -> Result<Self, StartError> {
        let on = |name, cpu: Arc<dyn Backend>| Self {
            name,
            device: Device::cpu(Arc::clone(&cpu), threads),
            cpu,
            card: None,
        };
        let batching = |name, card: Renderer| {
            let card = Arc::new(card);
            let device = Device::batching(Arc::<Renderer>::clone(&card), CARD_TRACKS);
            Self { name, device, cpu: Arc::new(Cpu), card: Some(card) }
        };
        if matches!(config.worker.backend.as_str(), "gpu" | "auto") {
            GpuConfig::default().check().map_err(|error| StartError::Worker(error.to_string()))?;
        }
        Ok(match config.worker.backend.as_str() {
            "reference" => on("reference", Arc::new(Reference)),
            "gpu" => batching(
                "gpu",
                Renderer::gpu(GpuConfig::default()).map_err(|error| StartError::Worker(error.to_string()))?,
            ),
            "auto" => match Renderer::auto(GpuConfig::default(), CARD_TRACKS) {
                fastest if fastest.status().is_some() => batching("auto", fastest),
                _ => on("cpu", Arc::new(Cpu)),
            },
            _ => on("cpu", Arc::new(Cpu)),
        })
    }
}
