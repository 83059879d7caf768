//! What the masked clipper works with: frames, a masking threshold, and how far a rise in level may go before clipping is heard.
//!
//! For a signal x and a ceiling c the clipper looks for the error e that is heard least among all that keep |x + e| ≤ c: the one that
//! minimises Σ |STFT(e)|² · w, where w falls with the masking threshold of x. The problem is that of Defraene, van Waterschoot and
//! Moonen, "Real-time perception-based clipping of audio signals using convex optimization" (IEEE TASLP 20(10), 2012); here overlapping
//! frames are solved together, and by the alternating direction method of multipliers (Boyd et al., *Foundations and Trends in Machine
//! Learning* 3(1), 2011), whose step in frequency is one filter per frame: it comes further in six rounds than projected gradients do.
//! The last rounds look between the samples too, so that the limiter behind has hardly anything left to do.

use super::design::rate_scale;
use crate::Audio;
use crate::units::Db;
use rayon::prelude::*;
use realfft::RealFftPlanner;
use std::f64::consts::PI;

/// Half-Bark bands up to Nyquist at any rate.
pub const BANDS: usize = 50;
/// Points of a frame at 44.1 and 48 kHz: error that spreads over 46 ms is masked before and after a hit, and bass is resolved.
const POINTS: usize = 2048;
/// Bands that count: up to 24 Bark, 15.5 kHz. Where the music ends below that, nothing masks what lies above.
const AUDIBLE: usize = 48;
/// Slopes of the spreading towards low and high bands, dB per Bark.
const SLOPES: (f64, f64) = (25.0, 10.0);
/// Threshold under the spread spectrum, dB: the worst case, a tone that masks a tone.
const OFFSET: f64 = 14.0;
/// Smallest weight over the largest, before the power of ¾ that makes the problem better conditioned.
const RANGE: f32 = 1e-6;
/// Step of the multipliers, on the scale of the weights. Steps, ranges and powers were chosen together, by noise to mask after 6, 8 and 12
/// rounds: a larger step (0.1, root, 10⁻⁴) is ahead up to 5 rounds and 3 dB behind after 12.
const STEP: f32 = 0.008;
/// Over-relaxation.
pub const RELAX: f32 = 1.8;
/// Most rounds that begin with a look between the samples.
const LOOKS: usize = 4;
/// The phases of [`PEAK`](super::oversample::PEAK) that such a look takes: a quarter, half and three quarters of the way.
pub const PHASES: [usize; 3] = [2, 4, 6];
/// Where both neighbours lie below this share of the ceiling, a look finds nothing between them.
pub const NEAR: f32 = 0.5;
/// Power under which a band masks nothing: −120 dB under a sine at full scale.
const SILENT: f32 = 1e-12;
/// Error over the threshold in the worst band, dB, from which the plain clip of a frame counts as heard, and from which it is not
/// clipped at all. Plain clips of music at −9 LUFS stay below 26 in 99 of 100 frames, those of sustained tones lie at 40 to 85.
const HEARD: (f32, f32) = (26.0, 34.0);
/// Frames on either side over which a relief holds, and is smoothed after that.
const HOLD: usize = 3;

/// Frames, windows and bands at one rate.
#[derive(Clone, Debug)]
pub struct Masking {
    /// Points of a frame.
    pub points: usize,
    /// Frames (of audio) from one frame to the next.
    pub hop: usize,
    /// Window of analysis and synthesis: its squares add up to one.
    pub window: Vec<f32>,
    /// `[band]` its first bin; the last entry is one beyond the last bin.
    pub edges: [usize; BANDS + 1],
    /// `[band]` one over the number of its bins; 0 where it has none.
    share: [f32; BANDS],
    /// `[band][source]` with the offset, and what scales power so that a sine at full scale reads 1.
    spread: Vec<[f32; BANDS]>,
    scale: f32,
}

/// A critical-band rate in Bark (Zwicker & Terhardt, JASA 68 (1980)).
fn bark(hz: f64) -> f64 {
    13.0 * (0.000_76 * hz).atan() + 3.5 * (hz / 7500.0).powi(2).atan()
}

impl Masking {
    /// At `rate`.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        let points = POINTS * rate_scale(rate);
        let window: Vec<f32> = (0..points).map(|i| ((i as f64 + 0.5) / points as f64 * PI).sin() as f32).collect();
        let hertz = |bin: usize| bin as f64 * f64::from(rate) / points as f64;
        let band = |bin: usize| ((bark(hertz(bin)) * 2.0) as usize).min(BANDS - 1);
        let bins = points / 2 + 1;
        let edges = std::array::from_fn(|edge| (0..bins).find(|bin| band(*bin) >= edge).unwrap_or(bins));
        let share = std::array::from_fn(|band| {
            let count = edges[band + 1] - edges[band];
            if count > 0 { 1.0 / count as f32 } else { 0.0 }
        });
        let offset = 10f64.powf(-OFFSET / 10.0);
        let spread = (0..BANDS)
            .map(|to| {
                std::array::from_fn(|from| {
                    let bark = (to as f64 - from as f64) / 2.0;
                    let slope = if bark >= 0.0 { -SLOPES.1 * bark } else { SLOPES.0 * bark };
                    (10f64.powf(slope / 10.0) * offset * f64::from(share[to])) as f32
                })
            })
            .collect();
        let sum: f64 = window.iter().map(|w| f64::from(*w)).sum();
        Self { points, hop: points / 2, window, edges, share, spread, scale: (4.0 / (sum * sum)) as f32 }
    }

    /// Frames that cover `length` samples: frame `i` covers the samples from `(i − 1) · hop` on, for two hops.
    #[must_use]
    pub fn frames(&self, length: usize) -> usize {
        length.div_ceil(self.hop) + 1
    }

    /// `[band]` threshold per bin of a frame with these powers by band, on the scale of the transform.
    #[must_use]
    pub fn threshold(&self, power: &[f32; BANDS]) -> [f32; BANDS] {
        let least = SILENT / self.scale;
        std::array::from_fn(|to| {
            let spread: f32 = self.spread[to].iter().zip(power).map(|(spread, power)| spread * power).sum();
            spread.max(least)
        })
    }

    /// `[band]` what the step in frequency keeps of the error: 1 where it is masked, little where it is heard. With the scale of an
    /// inverse transform that does not divide.
    #[must_use]
    pub fn keep(&self, threshold: &[f32; BANDS]) -> [f32; BANDS] {
        let least = threshold.iter().zip(&self.share).filter(|(_, share)| **share > 0.0);
        let least = least.map(|(threshold, _)| *threshold).fold(f32::INFINITY, f32::min);
        let norm = 1.0 / self.points as f32;
        threshold.map(|threshold| {
            let root = (least / threshold).max(RANGE).sqrt();
            let weight = root * root.sqrt();
            norm * STEP / (weight + STEP)
        })
    }

    /// Error over the threshold of a frame: (mean over the bands, worst band), as ratios of powers.
    #[must_use]
    pub fn ratio(&self, error: &[f32; BANDS], threshold: &[f32; BANDS]) -> (f32, f32) {
        let (mut sum, mut worst, mut count) = (0f32, 0f32, 0f32);
        let bands = error.iter().zip(threshold).zip(&self.share).take(AUDIBLE);
        for ((error, threshold), share) in bands.filter(|(_, share)| **share > 0.0) {
            let ratio = error * share / threshold;
            sum += ratio;
            worst = worst.max(ratio);
            count += 1.0;
        }
        (sum / count.max(1.0), worst)
    }
}

/// How many of the rounds, the last ones, begin with a look between the samples: where the signal with the error so far is over the
/// ceiling there, the samples around are held lower by as much in this round and those after it.
#[must_use]
pub fn looks(rounds: usize) -> usize {
    (rounds / 2).min(LOOKS)
}

/// How much of what a frame is over the ceiling has to be taken by level, 0–1, for the error of its plain clip over the threshold in
/// the worst band (a ratio of powers).
#[must_use]
pub fn heard(worst: f32) -> f32 {
    let level = 3.010_3 * worst.max(1e-20).log2();
    ((level - HEARD.0) / (HEARD.1 - HEARD.0)).clamp(0.0, 1.0)
}

/// `[block]` gain in dB ≤ 0 of blocks of `hop` frames of audio, from what each frame wants taken off, dB ≥ 0: each frame's own for as
/// long as it lasts, smooth in between.
#[must_use]
pub fn relief(masking: &Masking, taken: &[f32], blocks: usize, hop: usize) -> Vec<f32> {
    let at = |values: &[f32], i: isize| values[i.clamp(0, values.len() as isize - 1) as usize];
    let span = HOLD as isize;
    // One frame more than is smoothed: a frame lasts from the middle of the one before to that of the one after.
    let held: Vec<f32> = (0..taken.len() as isize)
        .map(|i| (i - span - 1..=i + span + 1).map(|k| at(taken, k)).fold(0f32, f32::max))
        .collect();
    let window: Vec<f32> = (-span..=span)
        .map(|k| f32::midpoint((k as f32 / (span + 1) as f32 * std::f32::consts::PI).cos(), 1.0))
        .collect();
    let sum: f32 = window.iter().sum();
    let smooth: Vec<f32> = (0..held.len() as isize)
        .map(|i| window.iter().zip(-span..).map(|(w, k)| w / sum * at(&held, i + k)).sum())
        .collect();
    (0..blocks)
        .map(|block| {
            // The middle of frame `i` lies at `i · hop` of the frames.
            let place = (block as f32 + 0.5) * hop as f32 / masking.hop as f32;
            let (whole, part) = (place.floor(), place.fract());
            let (a, b) = (at(&smooth, whole as isize), at(&smooth, whole as isize + 1));
            -(a + (b - a) * part)
        })
        .collect()
}

/// Every how many frames the error of a whole master is looked at.
const EVERY: usize = 4;

/// What was done to `before` on the way to `after` beyond a constant `gain`, over what the music masks: the mean over frames and bands
/// of both channels in dB. `None` where it is nothing.
#[must_use]
pub fn error(before: &Audio, after: &Audio, gain: Db) -> Option<Db> {
    let masking = Masking::new(before.rate);
    let frames = masking.frames(before.frames());
    let gain = gain.amplitude() as f32;
    let plan = RealFftPlanner::<f32>::new().plan_fft_forward(masking.points);
    let sums: Vec<(f64, u32)> = (0..frames.div_ceil(EVERY))
        .into_par_iter()
        .map(|at| {
            let from = (at * EVERY * masking.hop).min(before.frames());
            let to = (from + masking.points).min(before.frames());
            let (mut sum, mut count) = (0f64, 0);
            for (before, after) in before.channels.iter().zip(&after.channels) {
                let mut music = vec![0f32; masking.points];
                let mut error = vec![0f32; masking.points];
                for (at, (x, y)) in before[from..to].iter().zip(&after[from..to]).enumerate() {
                    music[at] = gain * x * masking.window[at];
                    error[at] = (y - gain * x) * masking.window[at];
                }
                if music.iter().all(|x| *x == 0.0) {
                    continue;
                }
                count += 1;
                let powers = [music, error].map(|mut frame| {
                    let mut spectrum = plan.make_output_vec();
                    // The only error is a wrong length, and these are the plan's own.
                    let _ = plan.process(&mut frame, &mut spectrum);
                    let power = |band: usize| {
                        spectrum[masking.edges[band]..masking.edges[band + 1]]
                            .iter()
                            .map(realfft::num_complex::Complex::norm_sqr)
                            .sum()
                    };
                    std::array::from_fn(power)
                });
                sum += f64::from(masking.ratio(&powers[1], &masking.threshold(&powers[0])).0);
            }
            (sum, count)
        })
        .collect();
    let (sum, count) = sums.iter().fold((0.0, 0), |(a, n), (b, m)| (a + b, n + m));
    // Rounding of the samples alone lies at −90 dB.
    let ratio = sum / f64::from(count.max(1));
    (ratio.is_finite() && ratio > 1e-8).then(|| Db::from_power(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_add_up_to_one_and_every_bin_has_its_band() {
        for rate in [44_100, 48_000, 96_000, 192_000] {
            let masking = Masking::new(rate);
            for i in 0..masking.hop {
                let sum = masking.window[i].powi(2) + masking.window[i + masking.hop].powi(2);
                assert!((sum - 1.0).abs() < 1e-6);
            }
            assert!(masking.edges.is_sorted());
            assert_eq!((masking.edges[0], masking.edges[BANDS]), (0, masking.hop + 1));
        }
    }

    #[test]
    fn a_relief_covers_what_each_frame_wants() {
        let masking = Masking::new(44_100);
        let mut taken = vec![0f32; 40];
        taken[20] = 4.0;
        let gain = relief(&masking, &taken, 39 * 32, 32);
        assert_eq!((gain[0], gain[39 * 32 - 1]), (0.0, 0.0));
        // Frame 20 covers the samples of two hops, 32 blocks each.
        assert!(gain[19 * 32..21 * 32].iter().all(|gain| (gain + 4.0).abs() < 1e-5), "{:?}", &gain[19 * 32..21 * 32]);
        assert!(gain.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.07));
    }
}
