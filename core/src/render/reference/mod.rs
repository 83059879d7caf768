//! The kernels written for reading: plain loops in `f64`, no transforms (but in `masked_clip`), no threads. Every fast kernel is held against these.
//!
//! They are slow (a direct convolution with thousands of taps) and meant for clips of a second.

mod apply_gain;
mod block_energies;
mod block_peaks;
mod clip;
mod filterbank;
mod fir;
mod gains;
mod levels;
mod masked_clip;
mod mix_bands;
mod saturate;

pub use apply_gain::apply_gain;
pub use block_energies::block_energies;
pub use block_peaks::block_peaks;
pub use clip::clip;
pub use filterbank::filterbank;
pub use fir::{convolve, fir};
pub use gains::gains;
pub use levels::levels;
pub use masked_clip::{masked_clip, masked_relief};
pub use mix_bands::mix_bands;
pub use saturate::saturate;

use super::BackendInfo;
use super::design::ShapeDesign;
use super::kernels::{Grid, Kernels, MaskedClip};
use super::masking::Masking;
use crate::Audio;
use crate::control::curves::{ClipCurve, SaturationCurve};
use crate::units::Db;
use std::io;
use std::ops::Range;

/// The readable backend; it implements [`Kernels`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// Mid and side, `[channel][frame]`: mid = (L + R)/2, side = (L − R)/2.
pub type MidSide = [Vec<f64>; 2];

impl Kernels for Reference {
    fn info(&self) -> BackendInfo {
        BackendInfo { name: "reference".to_owned(), device: "f64".to_owned() }
    }

    fn shape(&self, audio: Audio, shape: &ShapeDesign) -> (Audio, Vec<Db>) {
        let mut reductions = vec![Db(0.0); shape.planned];
        if shape.is_identity() {
            return (audio, reductions);
        }
        let frames = audio.frames();
        // The tone filter rings beyond the ends of the track, and the bands reach out there: pad by their reach.
        let pad = shape.bands.iter().map(|band| band.fir.ahead()).max().unwrap_or(0);
        let [left, right] = &audio.channels;
        let mut x = [1.0, -1.0].map(|sign| {
            let mut padded = vec![0.0; pad + frames + pad];
            for ((x, l), r) in padded[pad..].iter_mut().zip(left).zip(right) {
                *x = 0.5 * (f64::from(*l) + sign * f64::from(*r));
            }
            padded
        });
        if let Some(tone) = &shape.tone {
            x = fir(&x, tone);
        }
        let cut = |signal: MidSide| signal.map(|channel| channel[pad..pad + frames].to_vec());
        let bands: Vec<MidSide> = filterbank(&x, &shape.bands).into_iter().map(cut).collect();
        let mut y = cut(x);
        for (band, signal) in shape.bands.iter().zip(&bands) {
            let levels = levels(signal, shape.hop, band.window);
            let (excess, mean) = gains(&levels, &band.gain);
            mix_bands(&mut y, signal, &excess, shape.hop);
            if let Some(reduction) = reductions.get_mut(band.index) {
                *reduction = mean;
            }
        }
        let channels = [1.0, -1.0].map(|sign| y[0].iter().zip(&y[1]).map(|(m, s)| (m + sign * s) as f32).collect());
        (Audio::new(audio.rate, channels), reductions)
    }

    fn saturate(&self, audio: &mut Audio, hop: usize, curve: &SaturationCurve) -> io::Result<()> {
        saturate(audio, hop, curve);
        Ok(())
    }

    fn clip(&self, audio: &mut Audio, hop: usize, blocks: &[Range<usize>], curve: &ClipCurve) -> u64 {
        clip(audio, hop, blocks, curve)
    }

    fn masked_relief(&self, audio: &Audio, masking: &Masking, ceiling: f32, most: Db) -> Vec<f32> {
        masked_relief(audio, masking, ceiling, most)
    }

    fn masked_clip(&self, audio: &mut Audio, masking: &Masking, ceiling: f32, rounds: usize) -> MaskedClip {
        masked_clip(audio, masking, ceiling, rounds)
    }

    fn block_peaks(&self, audio: &Audio, hop: usize, blocks: &[Range<usize>], grid: Grid, peaks: &mut [f32]) {
        block_peaks(audio, hop, blocks, grid, peaks);
    }

    fn block_energies(&self, audio: &Audio, hop: usize) -> Vec<f64> {
        block_energies(audio, hop)
    }

    fn apply_gain(&self, audio: &mut Audio, hop: usize, gain: &[f32]) {
        apply_gain(audio, hop, gain);
    }
}
