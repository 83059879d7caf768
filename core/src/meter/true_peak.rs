//! True peak after ITU-R BS.1770-5, Annex 2: the independent meter of `verify`, sharing nothing with the limiter's detector.
//!
//! Three steps, exact for band-limited signals at a fraction of the price of oversampling everything 16 times:
//!
//! 1. the highest point of every block of 32 frames on a 4× grid (2× from 88.2 kHz on: BS.1770 asks for ≥ 192 kHz or so);
//! 2. a point of the 4× grid is at most 1/cos(π/8) = 0.69 dB below the waveform's top next to it (√2 = 3.01 dB on the 2× grid), so
//!    only blocks that come this close to the highest one can hold the peak;
//! 3. in those, the tops are read on a 16× grid with a long filter and a parabola through the three highest points.

use crate::units::{Db, Dbtp};
use multiversion::multiversion;
use rayon::prelude::*;
use std::f64::consts::PI;
use std::sync::LazyLock;

/// The highest point of a waveform.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TruePeak {
    /// Its magnitude, full scale = 1.
    pub amplitude: f64,
    /// The frame at or before it.
    pub frame: usize,
    /// The highest sample.
    pub sample: f32,
}

impl TruePeak {
    /// The level; `-inf` for silence.
    #[must_use]
    pub fn level(&self) -> Dbtp {
        Dbtp::from_amplitude(self.amplitude)
    }
}

/// How far good meters may differ on a peak near Nyquist, because their filters do: what is held under a ceiling keeps this distance.
pub const METER_TOLERANCE: Db = Db(0.05);

/// Taps per phase of the coarse filter (Annex 2 of BS.1770-5 has 12).
const COARSE_TAPS: usize = 16;
/// Sidelobes of the coarse filter, dB: flat to 0.43 of the rate.
const COARSE_STOP: f64 = 45.0;
/// Phases of the coarse filter.
const COARSE_PHASES: usize = 4;

/// Taps per phase of the fine filter: flat within 0.01 dB to 0.475 of the rate, 20.9 kHz at 44.1 kHz.
const FINE_TAPS: usize = 96;
/// Sidelobes of the fine filter, dB.
const FINE_STOP: f64 = 70.0;
/// Phases of the fine filter.
const FINE_PHASES: usize = 16;

/// Frames per block of the coarse search.
pub const BLOCK: usize = 32;
/// Blocks per segment, the unit of work of a thread.
const SEGMENT_BLOCKS: usize = 2_048;

/// Frames that the coarse filter looks back.
const COARSE_BACK: usize = COARSE_TAPS / 2 - 1;
/// Frames that the fine filter looks back.
const FINE_BACK: usize = FINE_TAPS / 2 - 1;

/// Allowance for the ripple of the coarse filter: a factor of 0.15 dB.
const RIPPLE: f32 = 1.017;

/// Modified Bessel function of the first kind, order 0, by its power series.
pub(crate) fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= (x / (2.0 * k)).powi(2);
        sum += term;
        k += 1.0;
    }
    sum
}

/// An interpolator of `phases` × `TAPS` taps: a sinc at half the rate under a Kaiser window (Kaiser 1974), `[phase][tap]`. Phase p
/// gives the waveform p / `phases` frames after the frame at tap `TAPS / 2 − 1`; phase 0 is the frame itself.
fn interpolator<const TAPS: usize>(phases: usize, stop: f64) -> Vec<[f32; TAPS]> {
    let beta =
        if stop > 50.0 { 0.1102 * (stop - 8.7) } else { 0.5842 * (stop - 21.0).powf(0.4) + 0.078_86 * (stop - 21.0) };
    let half = TAPS as f64 / 2.0;
    (0..phases)
        .map(|phase| {
            let at = |tap: usize| tap as f64 - (half - 1.0) - phase as f64 / phases as f64;
            let raw: [f64; TAPS] = std::array::from_fn(|tap| {
                let t = at(tap);
                let sinc = if t == 0.0 { 1.0 } else { (PI * t).sin() / (PI * t) };
                sinc * bessel_i0(beta * (1.0 - (t / half).powi(2)).max(0.0).sqrt()) / bessel_i0(beta)
            });
            // Unity gain for a constant, in every phase.
            let sum: f64 = raw.iter().sum();
            raw.map(|v| (v / sum) as f32)
        })
        .collect()
}

static COARSE: LazyLock<[[f32; COARSE_TAPS]; COARSE_PHASES]> = LazyLock::new(|| {
    let phases = interpolator(COARSE_PHASES, COARSE_STOP);
    std::array::from_fn(|p| phases[p])
});

/// `[tap][phase]`: the phases are the lanes.
static FINE: LazyLock<[[f32; FINE_PHASES]; FINE_TAPS]> = LazyLock::new(|| {
    let phases = interpolator::<FINE_TAPS>(FINE_PHASES, FINE_STOP);
    std::array::from_fn(|tap| std::array::from_fn(|p| phases[p][tap]))
});

/// Lanes of the coarse search.
const LANES: usize = 16;

/// Highest magnitude of each block on the 4× grid (2× if `half`), and the highest sample of all blocks.
/// `x`: `COARSE_BACK` frames, then whole blocks, then `COARSE_TAPS / 2` frames.
#[multiversion(targets("x86_64+avx2"))]
fn coarse_peaks(x: &[f32], phases: &[[f32; COARSE_TAPS]; COARSE_PHASES], half: bool, out: &mut [f32]) -> f32 {
    let mut highest = [0.0f32; LANES];
    for (block, out) in out.iter_mut().enumerate() {
        let mut top = [0.0f32; LANES];
        for part in 0..BLOCK / LANES {
            let from = block * BLOCK + part * LANES;
            let x: &[f32; LANES + COARSE_TAPS - 1] = match x[from..from + LANES + COARSE_TAPS - 1].try_into() {
                Ok(x) => x,
                Err(_) => return 0.0,
            };
            for l in 0..LANES {
                let v = x[l + COARSE_BACK].abs();
                top[l] = if v > top[l] { v } else { top[l] };
                highest[l] = if v > highest[l] { v } else { highest[l] };
            }
            let mut middle = [0.0f32; LANES];
            if half {
                for tap in 0..COARSE_TAPS {
                    for l in 0..LANES {
                        middle[l] += phases[2][tap] * x[l + tap];
                    }
                }
            } else {
                let (mut first, mut third) = ([0.0f32; LANES], [0.0f32; LANES]);
                for tap in 0..COARSE_TAPS {
                    for l in 0..LANES {
                        let v = x[l + tap];
                        first[l] += phases[1][tap] * v;
                        middle[l] += phases[2][tap] * v;
                        third[l] += phases[3][tap] * v;
                    }
                }
                for l in 0..LANES {
                    let (a, b) = (first[l].abs(), third[l].abs());
                    let v = if a > b { a } else { b };
                    top[l] = if v > top[l] { v } else { top[l] };
                }
            }
            for l in 0..LANES {
                let v = middle[l].abs();
                top[l] = if v > top[l] { v } else { top[l] };
            }
        }
        *out = top.iter().fold(0.0, |a, &b| a.max(b));
    }
    highest.iter().fold(0.0, |a, &b| a.max(b))
}

/// The 16 points from one frame to just before the next. `x`: the [`FINE_TAPS`] frames around.
#[multiversion(targets("x86_64+avx2"))]
fn fine_points(x: &[f32], taps: &[[f32; FINE_PHASES]; FINE_TAPS]) -> [f32; FINE_PHASES] {
    let mut sum = [0.0f32; FINE_PHASES];
    for (taps, &x) in taps.iter().zip(x) {
        for p in 0..FINE_PHASES {
            sum[p] += taps[p] * x;
        }
    }
    sum
}

/// `x[from − back .. from + length]` with silence outside of `x`, borrowed where it lies inside.
fn window(x: &[f32], from: usize, back: usize, length: usize) -> std::borrow::Cow<'_, [f32]> {
    if from >= back
        && let Some(inside) = x.get(from - back..from + length)
    {
        return inside.into();
    }
    let at = |i: usize| (from + i).checked_sub(back).and_then(|i| x.get(i)).copied().unwrap_or(0.0);
    (0..back + length).map(at).collect()
}

/// The highest point of a block, and the frame at or before it, among frames whose points on the 4× grid reach `floor`.
fn fine_peak(x: &[f32], from: usize, floor: f32) -> (f64, usize) {
    // A frame more on both sides: a top just outside of the block is found from inside, whichever of the two was hot.
    let first = from.saturating_sub(1);
    let length = from + BLOCK + 1 - first;
    let near = window(x, first, COARSE_BACK, length + COARSE_TAPS / 2);
    let tops: Vec<f32> = near
        .windows(COARSE_TAPS)
        .take(length)
        .map(|around| {
            let point = |taps: &[f32; COARSE_TAPS]| taps.iter().zip(around).map(|(h, x)| h * x).sum::<f32>().abs();
            COARSE.iter().map(point).fold(0.0, f32::max)
        })
        .collect();
    // A top of the waveform is next to a top of the grid.
    let hot = |frame: usize| {
        let near = &tops[frame.saturating_sub(1)..(frame + 2).min(length)];
        tops[frame] >= floor && near.iter().all(|&top| top <= tops[frame])
    };
    let mut best = (0.0, from);
    let mut frame = 0;
    while frame < length {
        if !hot(frame) {
            frame += 1;
            continue;
        }
        let start = first + frame;
        let mut run = 1;
        while frame + run < length && hot(frame + run) {
            run += 1;
        }
        frame += run;
        // The run with a frame on either side, so that a top at its end has both neighbours for the parabola.
        let x = window(x, start, FINE_BACK + 1, run + 1 + FINE_TAPS / 2);
        let points: Vec<f64> =
            (0..run + 2).flat_map(|i| fine_points(&x[i..i + FINE_TAPS], &FINE)).map(f64::from).collect();
        for (i, w) in points.windows(3).enumerate() {
            let sign = if w[1] < 0.0 { -1.0 } else { 1.0 };
            let [a, b, c] = [w[0] * sign, w[1] * sign, w[2] * sign];
            let (slope, bend) = ((c - a) / 2.0, a - 2.0 * b + c);
            let top = if b >= a && b >= c && bend < 0.0 { b - slope * slope / (2.0 * bend) } else { b };
            if top > best.0 {
                best = (top, (start + (i + 1) / FINE_PHASES).saturating_sub(1));
            }
        }
    }
    best
}

/// The true peak over all channels, `[channel][frame]`. Before and after the track there is silence.
#[must_use]
pub fn true_peak(channels: &[&[f32]], rate: u32) -> TruePeak {
    true_peak_and_blocks(channels, rate).0
}

/// The true peak, and the highest point of every 32 frames over all channels on the coarse grid.
#[must_use]
pub fn true_peak_and_blocks(channels: &[&[f32]], rate: u32) -> (TruePeak, Vec<f32>) {
    let half = rate >= 88_200;
    let frames = channels.iter().map(|c| c.len()).max().unwrap_or(0);
    let segment = SEGMENT_BLOCKS * BLOCK;
    let work: Vec<(&[f32], usize)> =
        channels.iter().flat_map(|&c| (0..c.len().div_ceil(segment)).map(move |s| (c, s * segment))).collect();
    let coarse: Vec<(Vec<f32>, f32)> = work
        .par_iter()
        .map(|&(x, from)| {
            let blocks = (x.len() - from).min(segment).div_ceil(BLOCK);
            let near = window(x, from, COARSE_BACK, blocks * BLOCK + COARSE_TAPS / 2);
            let mut peaks = vec![0.0; blocks];
            let sample = coarse_peaks(&near, &COARSE, half, &mut peaks);
            (peaks, sample)
        })
        .collect();
    let sample = coarse.iter().fold(0.0f32, |a, &(_, b)| a.max(b));
    let mut highest = vec![0.0f32; frames.div_ceil(BLOCK)];
    for (&(_, from), (peaks, _)) in work.iter().zip(&coarse) {
        for (h, &p) in highest[from / BLOCK..].iter_mut().zip(peaks) {
            *h = h.max(p);
        }
    }
    // How far the waveform can rise above its highest point on a grid: 1/cos(π/4) on 2×, 1/cos(π/8) on 4×.
    let loss = if half { std::f32::consts::FRAC_1_SQRT_2 } else { (std::f32::consts::PI / 8.0).cos() };
    // Gathered are only those that can hold the peak: long tracks have tens of millions.
    let floor = floor(highest.iter().fold(0.0f32, |a, &b| a.max(b)), loss);
    let mut blocks: Vec<Block<'_>> = work
        .iter()
        .zip(&coarse)
        .flat_map(|(&(x, from), (peaks, _))| {
            let near = peaks.iter().enumerate().filter(move |(_, peak)| can_hold(**peak, floor));
            near.map(move |(b, &peak)| Block { x, from: from + b * BLOCK, peak })
        })
        .collect();
    drop(coarse);
    if half {
        blocks.par_iter_mut().for_each(|b| {
            let near = window(b.x, b.from, COARSE_BACK, BLOCK + COARSE_TAPS / 2);
            coarse_peaks(&near, &COARSE, false, std::slice::from_mut(&mut b.peak));
        });
    }
    let floor = keep_near(&mut blocks, (std::f32::consts::PI / 8.0).cos());
    let fine: Vec<(f64, usize)> = blocks.par_iter().map(|b| fine_peak(b.x, b.from, floor)).collect();
    let (amplitude, frame) = fine.iter().fold((f64::from(sample), usize::MAX), |best, &here| {
        if here.0 > best.0 || (here.0 == best.0 && here.1 < best.1) { here } else { best }
    });
    (TruePeak { amplitude, frame: if frame < frames { frame } else { frames.saturating_sub(1) }, sample }, highest)
}

/// A block of the coarse search.
struct Block<'a> {
    /// Its channel.
    x: &'a [f32],
    /// Its first frame.
    from: usize,
    /// Its highest point on the grid.
    peak: f32,
}

/// Keeps the blocks that can hold the peak, given the largest loss of the grid; returns the level they reach.
fn keep_near(blocks: &mut Vec<Block<'_>>, loss: f32) -> f32 {
    let floor = floor(blocks.iter().fold(0.0f32, |a, b| a.max(b.peak)), loss);
    blocks.retain(|b| can_hold(b.peak, floor));
    floor
}

/// The level from which on a block can hold the peak.
fn floor(highest: f32, loss: f32) -> f32 {
    highest * loss / RIPPLE
}

fn can_hold(peak: f32, floor: f32) -> bool {
    peak > 0.0 && peak >= floor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_single_frames() {
        assert_eq!(true_peak(&[], 44_100), TruePeak::default());
        assert_eq!(true_peak(&[&[], &[]], 44_100), TruePeak::default());
        assert_eq!(true_peak(&[&[0.0; 100]], 44_100).amplitude, 0.0);
        let one = true_peak(&[&[-0.5]], 96_000);
        assert_eq!((one.amplitude, one.frame, one.sample), (0.5, 0, 0.5));
    }

    #[test]
    fn phase_zero_is_the_sample() {
        for (tap, &v) in COARSE[0].iter().enumerate() {
            assert!((f64::from(v) - f64::from(u8::from(tap == COARSE_BACK))).abs() < 1e-7);
        }
    }

    #[test]
    fn finds_the_top_between_samples_and_its_place() {
        // fs/4 at 45°: every sample is 3.01 dB under the top; one period is 1 dB higher.
        let x: Vec<f32> = (0..10_000)
            .map(|i| {
                let window = 0.5 + 0.061 * (-(f64::from(i) - 5_000.5).powi(2) / 1_000.0).exp();
                (window * (PI / 2.0 * f64::from(i) + PI / 4.0).sin()) as f32
            })
            .collect();
        for rate in [44_100, 96_000, 192_000] {
            let peak = true_peak(&[&x], rate);
            println!("{rate} Hz: {:.4} dBTP at {} (0.561 = -5.020)", peak.level().0, peak.frame);
            assert!((peak.level().0 - 20.0 * 0.561f64.log10()).abs() < 0.01);
            assert!((4_999..=5_001).contains(&peak.frame));
        }
    }
}
