//! The fast kernels on the CPU: rayon over blocks, SIMD FFTs, AVX2 and FMA where the machine has them.

/// The fast backend on the CPU; it implements [`Kernels`](loopmaster_core::render::kernels::Kernels).
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;
