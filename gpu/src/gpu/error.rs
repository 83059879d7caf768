//! Why a card cannot be used, or did not do it.

/// Why the card cannot be used, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// Nothing answers.
    #[error(
        "no graphics adapter was found; install a Vulkan driver (Debian: mesa-vulkan-drivers), or use --backend cpu"
    )]
    NoAdapter,
    /// The processor plays the card: slower than the processor by itself, so nobody who asks for a card is served by it.
    #[error(
        "{adapter} is a software driver, by which the processor plays a graphics card, and slower than the processor by itself; \
         install the card's own driver, use --backend cpu (a worker: worker.backend = \"cpu\"), or set LOOPMASTER_GPU_SOFTWARE=1 to try it"
    )]
    Software {
        /// Its name.
        adapter: String,
    },
    /// The adapter cannot run the kernels.
    #[error("{adapter} has {what} {has}, and the kernels need {needs}; use --backend cpu")]
    Limits {
        /// Its name.
        adapter: String,
        /// Which limit.
        what: &'static str,
        /// Its value there.
        has: u64,
        /// The least that will do.
        needs: u64,
    },
    /// The driver refused to open the device.
    #[error("{adapter} could not be opened: {message}")]
    Open {
        /// Its name.
        adapter: String,
        /// The driver's words.
        message: String,
    },
    /// A result of the self-test differs from the reference.
    #[error(
        "{adapter} computes wrongly: {what} differs from the reference by {error}; update its driver, or use --backend cpu"
    )]
    Wrong {
        /// Its name.
        adapter: String,
        /// What was compared.
        what: String,
        /// By how much.
        error: String,
    },
    /// A variable of the environment holds what it cannot.
    #[error("{name} is {value:?}, which is not {wanted}; correct or unset it")]
    Setting {
        /// Which variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        wanted: &'static str,
    },
    /// Device lost, out of memory, a validation error, or a launch that left no trace.
    #[error("the graphics device failed: {0}")]
    Failed(String),
    /// The work does not fit the memory that may be used.
    #[error(
        "{needs} MiB of graphics memory are needed, {budget} may be used; raise LOOPMASTER_GPU_MEMORY, or use --backend cpu"
    )]
    Memory {
        /// MiB.
        needs: u64,
        /// MiB.
        budget: u64,
    },
}

impl GpuError {
    /// `gpu.what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoAdapter => "gpu.no_adapter",
            Self::Software { .. } => "gpu.software",
            Self::Limits { .. } => "gpu.limits",
            Self::Open { .. } => "gpu.open",
            Self::Wrong { .. } => "gpu.wrong",
            Self::Setting { .. } => "gpu.setting",
            Self::Failed(_) => "gpu.failed",
            Self::Memory { .. } => "gpu.memory",
        }
    }
}
