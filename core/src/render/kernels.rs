//! The fine seam: what a backend made of single kernels offers to the one chain that calls them in order.

use super::BackendInfo;
use super::design::ShapeDesign;
use super::masking::Masking;
use crate::Audio;
use crate::control::curves::{ClipCurve, SaturationCurve};
use crate::units::Db;
use std::io;
use std::ops::Range;

/// How closely [`Kernels::block_peaks`] looks between the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// 8 positions per sample up to 48 kHz, 4 at higher rates: what the limiter is driven by.
    Coarse,
    /// 16 positions, with a long filter and with a short one as other meters have, the higher reading of both: the check.
    Fine,
}

impl Grid {
    /// Every how many phases of the filter are looked at, at `rate`.
    #[must_use]
    pub fn step(self, rate: u32) -> usize {
        match self {
            Self::Coarse if rate >= 64_000 => 2,
            Self::Coarse | Self::Fine => 1,
        }
    }

    /// What this grid may miss of a peak at worst: the peak of a tone at the edge of the band, half-way between two positions.
    #[must_use]
    pub fn miss(self, rate: u32) -> Db {
        let positions = match self {
            Self::Coarse => 8 / self.step(rate),
            Self::Fine => 16,
        };
        Db(-Db::from_amplitude((std::f64::consts::FRAC_PI_2 / positions as f64).cos()).0)
    }
}

/// What the masked clipper did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskedClip {
    /// Samples of both channels that lie more than 0.1 dB over the ceiling.
    pub touched: u64,
    /// Frames of audio that may have changed, ascending per channel; the channels one after the other.
    pub changed: Vec<Range<usize>>,
}

impl MaskedClip {
    /// 0.1 dB.
    pub const FELT: f64 = 1.011_579_5;

    /// Adds the `active` frames of a channel: frame `i` lies from `(i − 1) · hop` on, for two hops.
    pub fn note(&mut self, active: &[usize], hop: usize, length: usize) {
        let first = self.changed.len();
        for frame in active {
            let range = (frame.saturating_sub(1) * hop).min(length)..((frame + 1) * hop).min(length);
            match self.changed[first..].last_mut() {
                Some(last) if range.start <= last.end => last.end = range.end,
                _ => self.changed.push(range),
            }
        }
    }
}

/// The kernels a backend on the CPU is made of; the chain calls them in order. [`super::reference`] holds the readable ones.
pub trait Kernels: Send + Sync {
    /// Who this is.
    fn info(&self) -> BackendInfo;

    /// `fir` + `filterbank` + `levels` + `gains` + `mix_bands`, fused. Returns the shaped audio, as long as what came in and with no
    /// latency, and the mean reduction of each band of the plan's dynamics (`[band]`, dB ≥ 0; empty where dynamics are off).
    /// A design that changes nothing hands the audio back bit-exact.
    fn shape(&self, audio: Audio, shape: &ShapeDesign) -> (Audio, Vec<Db>);

    /// Adds the harmonics of a curve, in place. Its slow offset is taken out over blocks of `hop` frames.
    ///
    /// # Errors
    /// There is no room for what is to be added.
    fn saturate(&self, audio: &mut Audio, hop: usize, curve: &SaturationCurve) -> io::Result<()>;

    /// Soft-clips the given blocks of `hop` frames in place; frames away from them stay as they are, bit for bit. Returns how many
    /// samples of both channels lose more than 0.1 dB.
    fn clip(&self, audio: &mut Audio, hop: usize, blocks: &[Range<usize>], curve: &ClipCurve) -> u64;

    /// `[frame]` what each frame of the masked clipper wants taken off by level first, dB ≥ 0: where a plain clip at `ceiling` would be
    /// heard, and what exceeds `most`.
    fn masked_relief(&self, audio: &Audio, masking: &Masking, ceiling: f32, most: Db) -> Vec<f32>;

    /// Holds both channels within `ceiling`, in place, with the error where it is heard least, in so many rounds. Frames away from what
    /// exceeds the ceiling stay as they are, bit for bit.
    fn masked_clip(&self, audio: &mut Audio, masking: &Masking, ceiling: f32, rounds: usize) -> MaskedClip;

    /// Writes the highest magnitude of both channels, between the samples too, of each of the given blocks of `hop` frames to
    /// `peaks[block]`; the other entries stay as they are.
    fn block_peaks(&self, audio: &Audio, hop: usize, blocks: &[Range<usize>], grid: Grid, peaks: &mut [f32]);

    /// `[block]` K-weighted energy of both channels: the sum of squares over the block's frames (ITU-R BS.1770-5).
    fn block_energies(&self, audio: &Audio, hop: usize) -> Vec<f64>;

    /// Multiplies both channels by the quadratic B-spline through `gain[block]` (linear, in the middle of each block of `hop`
    /// frames, held beyond the ends), in place.
    fn apply_gain(&self, audio: &mut Audio, hop: usize, gain: &[f32]);
}
