//! The fast kernels on the CPU: rayon over blocks, SIMD FFTs, AVX2 and FMA where the machine has them.

mod bands;
mod bank;
mod loops;
mod shape;

use loopmaster_core::Audio;
use loopmaster_core::render::BackendInfo;
use loopmaster_core::render::design::ShapeDesign;
use loopmaster_core::render::kernels::Kernels;
use loopmaster_core::units::Db;

/// The fast backend on the CPU; it implements [`Kernels`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Kernels for Cpu {
    fn info(&self) -> BackendInfo {
        BackendInfo { name: "cpu".to_owned(), device: instruction_set().to_owned() }
    }

    fn shape(&self, audio: Audio, shape: &ShapeDesign) -> (Audio, Vec<Db>) {
        shape::shape(audio, shape)
    }
}

/// The instruction set the hot loops and the FFTs pick at run time.
fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            return "x86_64 avx2 fma";
        }
    }
    std::env::consts::ARCH
}
