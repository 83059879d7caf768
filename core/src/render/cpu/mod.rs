//! The fast kernels on the CPU: rayon over blocks, SIMD FFTs, AVX2 and FMA where the machine has them.
//!
//! One file for each kernel, named as its twin in [`reference`](super::reference). Beside them stand `shape`, the one pass that fuses the
//! first five, and `half_way`, which `clip` and `saturate` share.

mod apply_gain;
mod block_energies;
mod block_peaks;
mod clip;
mod filterbank;
mod fir;
mod gains;
mod half_way;
mod levels;
mod masked_clip;
mod mix_bands;
mod saturate;
mod shape;

pub use filterbank::filterbank;
pub use fir::fir;
pub use gains::gains;
pub use levels::levels;
pub use mix_bands::mix_bands;

use crate::Audio;
use crate::control::curves::{ClipCurve, SaturationCurve};
use crate::render::BackendInfo;
use crate::render::design::ShapeDesign;
use crate::render::kernels::{Grid, Kernels, MaskedClip};
use crate::render::masking::Masking;
use crate::units::Db;
use std::io;
use std::ops::Range;

/// The processor; it implements [`Kernels`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Kernels for Cpu {
    fn info(&self) -> BackendInfo {
        BackendInfo { name: "cpu".to_owned(), device: instruction_set().to_owned() }
    }

    fn shape(&self, audio: Audio, shape: &ShapeDesign) -> (Audio, Vec<Db>) {
        shape::shape(audio, shape)
    }

    fn saturate(&self, audio: &mut Audio, hop: usize, curve: &SaturationCurve) -> io::Result<()> {
        saturate::saturate(audio, hop, curve)
    }

    fn clip(&self, audio: &mut Audio, hop: usize, blocks: &[Range<usize>], curve: &ClipCurve) -> u64 {
        clip::clip(audio, hop, blocks, curve)
    }

    fn masked_relief(&self, audio: &Audio, masking: &Masking, ceiling: f32, most: Db) -> Vec<f32> {
        masked_clip::masked_relief(audio, masking, ceiling, most)
    }

    fn masked_clip(&self, audio: &mut Audio, masking: &Masking, ceiling: f32, rounds: usize) -> MaskedClip {
        masked_clip::masked_clip(audio, masking, ceiling, rounds)
    }

    fn block_peaks(&self, audio: &Audio, hop: usize, blocks: &[Range<usize>], grid: Grid, peaks: &mut [f32]) {
        block_peaks::block_peaks(audio, hop, blocks, grid, peaks);
    }

    fn block_energies(&self, audio: &Audio, hop: usize) -> Vec<f64> {
        block_energies::block_energies(audio, hop)
    }

    fn apply_gain(&self, audio: &mut Audio, hop: usize, gain: &[f32]) {
        apply_gain::apply_gain(audio, hop, gain);
    }
}

/// `a · b + c`, fused where the machine does that in hardware (elsewhere it would be a slow library call).
#[expect(clippy::inline_always, reason = "the loops must be compiled with the caller's instruction set")]
#[inline(always)]
fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
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
