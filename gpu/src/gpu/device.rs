//! The device: which card, with which limits, and whether it still can be trusted.

use super::config::Config;
use super::error::GpuError;
use super::kernels::{self, Compiled, Kernel};
use super::layout::Launch;
use super::tables;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wgpu::{
    Adapter, AdapterInfo, Backends, Buffer, BufferUsages, Device, DeviceType, Features, Instance, Limits, Queue,
};

/// Bytes of workgroup memory that the largest kernel takes.
pub(super) const SHARED: u32 = 32_768;
/// Storage buffers of the kernel that binds most.
const STORAGES: u32 = 10;
/// Longest wait for one submission: far more than any takes, so that a card that hangs does not hang its user.
const PATIENCE: Duration = Duration::from_mins(1);

/// An adapter as `loopmaster gpu` lists it.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterFacts {
    /// Its name.
    pub name: String,
    /// `discrete`, `integrated`, `software` …
    pub kind: &'static str,
    /// Vulkan, Metal, DX12.
    pub api: String,
    /// Driver and version.
    pub driver: String,
    /// Largest storage binding, bytes.
    pub binding: u64,
    /// Largest buffer, bytes.
    pub buffer: u64,
    /// Workgroup memory, bytes.
    pub shared: u32,
    /// Threads per workgroup.
    pub threads: u32,
    /// Why it cannot be used.
    pub refused: Option<String>,
}

fn instance() -> Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = Backends::PRIMARY;
    // Shaders are validated in any case; the driver's own layers are for its developers.
    descriptor.flags = wgpu::InstanceFlags::empty();
    // An allocation that would leave the card without memory fails as one, instead of taking the device with it.
    descriptor.memory_budget_thresholds =
        wgpu::MemoryBudgetThresholds { for_resource_creation: Some(90), for_device_loss: None };
    Instance::new(descriptor)
}

/// All adapters, the most capable first.
fn adapters(instance: &Instance) -> Vec<Adapter> {
    let mut adapters = pollster::block_on(instance.enumerate_adapters(Backends::PRIMARY));
    adapters.sort_by_key(|adapter| rank(&adapter.get_info()));
    adapters
}

fn rank(info: &AdapterInfo) -> u8 {
    match info.device_type {
        _ if is_software(info) => 4,
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other | DeviceType::Cpu => 3,
    }
}

fn kind(info: &AdapterInfo) -> &'static str {
    match info.device_type {
        _ if is_software(info) => "software",
        DeviceType::DiscreteGpu => "discrete",
        DeviceType::IntegratedGpu => "integrated",
        DeviceType::VirtualGpu => "virtual",
        DeviceType::Other | DeviceType::Cpu => "other",
    }
}

/// Whether the processor plays the card: Mesa's llvmpipe and lavapipe, `SwiftShader`, WARP. Their kind says so; behind a virtual card they
/// are known by their name.
fn is_software(info: &AdapterInfo) -> bool {
    let name = info.name.to_lowercase();
    info.device_type == DeviceType::Cpu || ["llvmpipe", "lavapipe", "swiftshader"].iter().any(|one| name.contains(one))
}

/// Why an adapter cannot be used, if so.
fn check(info: &AdapterInfo, limits: &Limits, features: Features, software: bool) -> Result<(), GpuError> {
    if is_software(info) && !software {
        return Err(GpuError::Software { adapter: info.name.clone() });
    }
    check_limits(&info.name, limits, features)
}

/// The first limit that is too small.
fn check_limits(name: &str, limits: &Limits, features: Features) -> Result<(), GpuError> {
    let immediates = if features.contains(Features::IMMEDIATES) { limits.max_immediate_size } else { 0 };
    let needs: [(&'static str, u64, u64); 7] = [
        ("bytes of workgroup memory", u64::from(limits.max_compute_workgroup_storage_size), u64::from(SHARED)),
        ("threads per workgroup", u64::from(limits.max_compute_invocations_per_workgroup), 256),
        ("threads per workgroup side", u64::from(limits.max_compute_workgroup_size_x), 256),
        ("storage buffers per stage", u64::from(limits.max_storage_buffers_per_shader_stage), u64::from(STORAGES)),
        ("bytes of immediate data", u64::from(immediates), size_of::<Launch>() as u64),
        ("bytes per storage binding", limits.max_storage_buffer_binding_size, 128 << 20),
        ("workgroups per dimension", u64::from(limits.max_compute_workgroups_per_dimension), 32_768),
    ];
    match needs.into_iter().find(|(_, has, needs)| has < needs) {
        Some((what, has, needs)) => Err(GpuError::Limits { adapter: name.to_owned(), what, has, needs }),
        None => Ok(()),
    }
}

/// What there is, whether or not it can be used.
#[must_use]
pub fn list() -> Vec<AdapterFacts> {
    let Config { software, .. } = Config::default();
    let facts = |adapter: &Adapter| {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        AdapterFacts {
            kind: kind(&info),
            api: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            binding: limits.max_storage_buffer_binding_size,
            buffer: limits.max_buffer_size,
            shared: limits.max_compute_workgroup_storage_size,
            threads: limits.max_compute_invocations_per_workgroup,
            refused: check(&info, &limits, adapter.features(), software).err().map(|error| error.to_string()),
            name: info.name,
        }
    };
    adapters(&instance()).iter().map(facts).collect()
}

/// The first thing that went wrong; everything after it is its consequence.
#[derive(Debug, Default)]
struct Health(Mutex<Option<GpuError>>);

impl Health {
    fn fail(&self, error: GpuError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn check(&self) -> Result<(), GpuError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }
}

/// An open device with its kernels.
#[derive(Debug)]
pub struct Engine {
    pub(super) device: Device,
    pub(super) queue: Queue,
    pub(super) kernels: Vec<Compiled>,
    pub(super) limits: Limits,
    pub(super) config: Config,
    pub(super) twiddles: Buffer,
    pub(super) filters: Buffer,
    info: AdapterInfo,
    health: Arc<Health>,
    submissions: AtomicU64,
    /// Whether the faults of the configuration happen.
    armed: AtomicBool,
    /// Buffers made so far.
    allocations: AtomicU64,
}

impl Engine {
    /// Opens the adapter that `config` names, or the most capable one that can run the kernels.
    ///
    /// # Errors
    /// There is none, or it refuses.
    pub fn open(config: &Config) -> Result<Self, GpuError> {
        config.check()?;
        let wanted = |adapter: &Adapter| {
            let name = adapter.get_info().name.to_lowercase();
            config.adapter.as_ref().is_none_or(|part| name.contains(&part.to_lowercase()))
        };
        let mut refused = None;
        for adapter in adapters(&instance()).into_iter().filter(wanted) {
            let (info, limits) = (adapter.get_info(), adapter.limits());
            match check(&info, &limits, adapter.features(), config.software) {
                Ok(()) => return Self::with(&adapter, info, &limits, config),
                // What keeps the most capable one from being used is what its owner has to know.
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or(GpuError::NoAdapter))
    }

    fn with(adapter: &Adapter, info: AdapterInfo, has: &Limits, config: &Config) -> Result<Self, GpuError> {
        let limits = Limits {
            max_compute_workgroup_storage_size: SHARED,
            max_compute_invocations_per_workgroup: 256,
            max_storage_buffers_per_shader_stage: STORAGES,
            max_immediate_size: size_of::<Launch>() as u32,
            max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
            max_buffer_size: has.max_buffer_size,
            min_storage_buffer_offset_alignment: has.min_storage_buffer_offset_alignment,
            ..Limits::default()
        };
        let timestamps =
            if config.profile { adapter.features() & Features::TIMESTAMP_QUERY } else { Features::empty() };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("loopmaster"),
            required_features: Features::IMMEDIATES | timestamps,
            required_limits: limits.clone(),
            ..wgpu::DeviceDescriptor::default()
        };
        let refused = |message: String| GpuError::Open { adapter: info.name.clone(), message };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| refused(error.to_string()))?;
        let health = Arc::new(Health::default());
        let seen = Arc::clone(&health);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| seen.fail(GpuError::Failed(error.to_string()))));
        let seen = Arc::clone(&health);
        device.set_device_lost_callback(move |reason, message| {
            seen.fail(GpuError::Failed(format!("device lost ({reason:?}) {message}").trim().to_owned()));
        });
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let kernels = kernels::compile(&device);
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(refused(error.to_string()));
        }
        let table = |label, bytes: &[u8]| {
            let usage = BufferUsages::STORAGE | BufferUsages::UNIFORM | BufferUsages::COPY_DST;
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes.len() as u64,
                usage,
                mapped_at_creation: false,
            });
            queue.write_buffer(&buffer, 0, bytes);
            buffer
        };
        let twiddles = table("twiddles", bytemuck::cast_slice(&tables::twiddles()));
        let filters = table("filters", bytemuck::cast_slice(&tables::filters()));
        health.check()?;
        Ok(Self {
            device,
            queue,
            kernels,
            limits,
            config: config.clone(),
            twiddles,
            filters,
            info,
            health,
            submissions: AtomicU64::new(0),
            armed: AtomicBool::new(false),
            allocations: AtomicU64::new(0),
        })
    }

    /// The adapter's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// Name and driver.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} ({}, {} {})", self.info.name, self.info.backend, self.info.driver, self.info.driver_info)
    }

    /// The driver and its version.
    #[must_use]
    pub fn driver(&self) -> String {
        format!("{} {}", self.info.driver, self.info.driver_info).trim().to_owned()
    }

    /// Whether a processor plays the card.
    #[must_use]
    pub fn is_software(&self) -> bool {
        is_software(&self.info)
    }

    /// The first fault since it was opened.
    ///
    /// # Errors
    /// That fault.
    pub fn health(&self) -> Result<(), GpuError> {
        self.health.check()
    }

    /// Submissions so far.
    #[must_use]
    pub fn submissions(&self) -> u64 {
        self.submissions.load(Ordering::Relaxed)
    }

    /// Buffers made so far: constant once the largest batch has been seen.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed)
    }

    /// Counts submissions from here on, and lets the faults for tests happen.
    pub(super) fn arm(&self) {
        self.submissions.store(0, Ordering::Relaxed);
        self.armed.store(true, Ordering::Relaxed);
    }

    /// Whether launches are timed.
    pub(super) fn profiles(&self) -> bool {
        self.config.profile && self.device.features().contains(Features::TIMESTAMP_QUERY)
    }

    pub(super) fn compiled(&self, kernel: Kernel) -> &Compiled {
        &self.kernels[kernel as usize]
    }

    pub(super) fn buffer(&self, label: &str, size: u64, usage: BufferUsages, mapped: bool) -> Buffer {
        self.allocations.fetch_add(1, Ordering::Relaxed);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: mapped,
        })
    }

    /// Hands work to the card; returns what to wait for.
    pub(super) fn submit(&self, commands: wgpu::CommandBuffer) -> Result<wgpu::SubmissionIndex, GpuError> {
        let number = self.submissions.fetch_add(1, Ordering::Relaxed);
        if self.config.lose_at == Some(number) && self.armed.load(Ordering::Relaxed) {
            self.device.destroy();
        }
        let index = self.queue.submit([commands]);
        self.health.check()?;
        Ok(index)
    }

    /// Whether launches of the submission to come are left out, for tests.
    pub(super) fn skips(&self) -> bool {
        self.armed.load(Ordering::Relaxed) && self.config.skip_from.is_some_and(|from| self.submissions() >= from)
    }

    /// Waits until a submission is done and its callbacks have run.
    pub(super) fn wait(&self, index: wgpu::SubmissionIndex) -> Result<(), GpuError> {
        let waited = self.device.poll(wgpu::PollType::Wait { submission_index: Some(index), timeout: Some(PATIENCE) });
        if let Err(error) = waited {
            self.health.fail(GpuError::Failed(error.to_string()));
        }
        self.health.check()
    }

    /// Notes a fault that was found outside of the driver.
    pub(super) fn fail(&self, message: String) -> GpuError {
        let error = GpuError::Failed(message);
        self.health.fail(error.clone());
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good_limits() -> Limits {
        Limits {
            max_compute_workgroup_storage_size: SHARED,
            max_storage_buffers_per_shader_stage: 16,
            max_immediate_size: 128,
            ..Limits::default()
        }
    }

    #[test]
    fn a_software_driver_is_no_card() {
        let adapter = |name: &str, kind| {
            let mut info = AdapterInfo::new(kind, wgpu::Backend::Vulkan);
            info.name = name.to_owned();
            info
        };
        let limits = good_limits();
        let checked = |info: &AdapterInfo, software| check(info, &limits, Features::IMMEDIATES, software);
        for (name, device) in [
            ("llvmpipe (LLVM 15.0.6, 256 bits)", DeviceType::Cpu),
            ("Virtio-GPU Venus (llvmpipe (LLVM 19.1.7, 256 bits))", DeviceType::VirtualGpu),
            ("SwiftShader Device (Subzero)", DeviceType::Cpu),
            ("Microsoft Basic Render Driver", DeviceType::Cpu),
        ] {
            let info = adapter(name, device);
            let error = checked(&info, false).unwrap_err();
            let said = error.to_string();
            assert!(error.code() == "gpu.software" && said.starts_with(name) && !said.contains('\n'), "{said}");
            assert!(said.contains("LOOPMASTER_GPU_SOFTWARE") && said.contains("worker.backend"), "{said}");
            assert_eq!((checked(&info, true), kind(&info), rank(&info)), (Ok(()), "software", 4));
        }
        for (name, device) in
            [("NVIDIA H200", DeviceType::DiscreteGpu), ("Virtio-GPU Venus (AMD Radeon)", DeviceType::VirtualGpu)]
        {
            let info = adapter(name, device);
            assert_eq!(checked(&info, false), Ok(()));
            assert!(rank(&info) < 4 && kind(&info) != "software");
        }
    }

    #[test]
    fn limits_that_are_too_small_are_named() {
        let features = Features::IMMEDIATES;
        let good = good_limits();
        assert_eq!(check_limits("a card", &good, features), Ok(()));
        for (limits, features, code) in [
            (Limits { max_compute_workgroup_storage_size: 16_384, ..good.clone() }, features, "workgroup memory"),
            (Limits { max_storage_buffers_per_shader_stage: 8, ..good.clone() }, features, "storage buffers"),
            (Limits { max_compute_invocations_per_workgroup: 128, ..good.clone() }, features, "threads"),
            (Limits { max_storage_buffer_binding_size: 64 << 20, ..good.clone() }, features, "binding"),
            (good.clone(), Features::empty(), "immediate"),
        ] {
            let error = check_limits("a card", &limits, features).unwrap_err();
            assert!(error.code() == "gpu.limits" && error.to_string().contains(code), "{error}");
        }
    }
}
