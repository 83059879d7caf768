//! Long-term spectrum, band energies over time, and the mono figures, from one pass of short windows (≈ 46 ms every 20 ms) and one of
//! long windows (≈ 0.7 s every 0.4 s) over the bass.
//!
//! Mid is (L + R)/2 and side (L − R)/2, so that mid² + side² is the mean power of both channels. Both kinds of window are reduced
//! to cells of 0.4 s, so that the medians over the cells mean the same on either side of the crossover.

mod bass;
mod masks;
#[cfg(test)]
mod tests;

use super::loudness::k_weighting;
use crate::Audio;
use crate::bands::BANDS;
use crate::units::{Db, Seconds};
use bass::bass;
use masks::{Mask, cover, masks};
use multiversion::multiversion;
use rayon::prelude::*;
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;
use std::sync::Arc;

/// Long-term spectrum from gated cell medians, on a log grid of 12 bands per octave whose edges are those of third octaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// Centres, 20.3 Hz to 19.6 kHz.
    pub hz: Vec<f32>,
    /// Mid, dB per 1/12 octave (a full-scale sine is −3 dB); floored at −150.
    pub mid: Vec<f32>,
    /// Side, dB per 1/12 octave; floored at −150.
    pub side: Vec<f32>,
}

/// Energies on a time × band × mid/side grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BandMatrix {
    /// Seconds from one block to the next (≈ 20 ms).
    pub hop: f64,
    /// `[band][block]` mean square of mid, (L + R)/2.
    pub mid: Vec<Vec<f32>>,
    /// `[band][block]` mean square of side, (L − R)/2.
    pub side: Vec<Vec<f32>>,
}

/// One third octave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThirdOctave {
    /// Centre: 1000 · 2^(n/3).
    pub hz: f32,
    /// Mid, dB.
    pub mid: f32,
    /// Side, dB.
    pub side: f32,
}

/// Third octaves from 25 Hz to 16 kHz.
pub const THIRDS: usize = 29;

/// Mid + side of 0.4 s in each third octave of [`third_octave`], dB. The bands overlap and have soft edges, so that a tone
/// at an edge does not jump from one to the other when the rate, and with it the grid of the transform, changes.
pub type CellThirds = [f32; THIRDS];

/// Centre of third octave `n`, counted from 25 Hz: 1000 · 2^((n − 16)/3).
#[must_use]
pub fn third_octave(n: usize) -> f64 {
    1_000.0 * 2f64.powf((n as f64 - 16.0) / 3.0)
}

/// `[third]` the 1/12-octave bands that count and their weights: raised cosines over an octave, 1 at the centre.
fn soft_thirds() -> Vec<Vec<(usize, f64)>> {
    let weight = |third: usize, band: usize| {
        let centre = (edge(band) * edge(band + 1)).sqrt();
        let octaves = (centre / third_octave(third)).log2().abs();
        if octaves < 0.5 { 0.5 + 0.5 * (TAU * octaves).cos() } else { 0.0 }
    };
    let bands = |third| (0..POINTS).map(move |band| (band, weight(third, band))).filter(|(_, weight)| *weight > 0.0);
    (0..THIRDS).map(|third| bands(third).collect()).collect()
}

/// Everything the windows tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spectra {
    /// Long-term spectrum.
    pub spectrum: Spectrum,
    /// The same bands by their mean power over the cells that count, instead of the median.
    pub average: Spectrum,
    /// Band energies over time.
    pub matrix: BandMatrix,
    /// `[block]` whether the 0.4 s around it in `matrix` are loud enough to count (above −70 dBFS and −20 dB under the mean).
    pub gate: Vec<bool>,
    /// `[band]` correlation of left and right over the whole track.
    pub correlation: Vec<f64>,
    /// Correlation of left and right from 20 to 120 Hz.
    pub correlation_low: f64,
    /// K-weighted level lost when folded to mono, dB ≥ 0.
    pub mono_loss: Db,
    /// Level lost from 20 to 120 Hz, dB ≥ 0.
    pub mono_loss_low: Db,
    /// `[band]` peak over RMS within 20 ms, median.
    pub crest: Vec<Db>,
    /// `[bin]` mean power of mid + side, linear frequency.
    pub power: Vec<f64>,
    /// Width of a bin of `power`, Hz.
    pub bin: f64,
    /// `[cell]` mean square of mid + side of 0.4 s each.
    pub cells: Vec<f64>,
    /// `[cell]` levels of the third octaves.
    pub thirds: Vec<CellThirds>,
    /// `[cell]` spectral flatness above 700 Hz, 0 (tones) to 1 (noise whose density is even within each octave).
    pub flatness: Vec<f64>,
}

/// Lowest level that is written, dB.
pub const FLOOR: f32 = -150.0;

/// Largest mono loss that is told apart from total cancellation.
const TOTAL_LOSS: f64 = 60.0;

/// Blocks of 20 ms per cell.
const CELL: usize = 20;
/// Length of a cell.
pub(crate) const CELL_LENGTH: Seconds = Seconds(0.4);
/// Cells per unit of work of a thread.
const GROUP: usize = 8;
/// Length of the short window at 44.1 and 48 kHz, and of the long one after decimation.
const WINDOW: usize = 2_048;
/// Decimation of the bass at 44.1 and 48 kHz.
const DECIMATION: usize = 16;

/// 1/12-octave edges are 1000 · 2^(m/12) Hz; this is the lowest m (19.7 Hz) …
const LOWEST: i32 = -68;
/// … the number of bands (to 20.2 kHz) …
const POINTS: usize = 120;
/// … and the band from which on short windows are used (707 Hz).
const CROSSOVER: usize = (-6 - LOWEST) as usize;

/// Lower edge of 1/12-octave band `band`, Hz.
fn edge(band: usize) -> f64 {
    1_000.0 * 2f64.powf(f64::from(LOWEST + band as i32) / 12.0)
}

impl Spectrum {
    /// Third octaves from 25 Hz to 16 kHz (energies of four bands added).
    #[must_use]
    pub fn third_octaves(&self) -> Vec<ThirdOctave> {
        let sum = |db: &[f32]| (10.0 * db.iter().map(|&v| 10f64.powf(f64::from(v) / 10.0)).sum::<f64>().log10()) as f32;
        // The band from 1000 · 2^(−1/6) Hz begins at m = −2; 25 Hz is 16 third octaves below.
        let first = (-2 - 4 * 16 - LOWEST) as usize;
        (0..THIRDS)
            .filter_map(|n| {
                let range = first + 4 * n..first + 4 * n + 4;
                let hz = third_octave(n) as f32;
                Some(ThirdOctave { hz, mid: sum(self.mid.get(range.clone())?), side: sum(self.side.get(range)?) })
            })
            .collect()
    }
}

/// Hann window, and the factor that makes one-sided bin powers add up to a mean square.
fn hann(n: usize) -> (Vec<f32>, f64) {
    let window: Vec<f64> = (0..n).map(|i| 0.5 - 0.5 * (TAU * (i as f64 + 0.5) / n as f64).cos()).collect();
    let energy: f64 = window.iter().map(|w| w * w).sum();
    (window.iter().map(|&w| w as f32).collect(), 2.0 / (n as f64 * energy))
}

/// Windowed mid and side of the frames from `from` on, silence outside; `dc` of mid and side is taken out.
#[multiversion(targets("x86_64+avx2"))]
fn load(left: &[f32], right: &[f32], from: isize, window: &[f32], dc: [f32; 2], mid: &mut [f32], side: &mut [f32]) {
    let n = window.len();
    let first = (-from).clamp(0, n as isize) as usize;
    let last = (left.len() as isize - from).clamp(first as isize, n as isize) as usize;
    mid[..first].fill(0.0);
    side[..first].fill(0.0);
    mid[last..].fill(0.0);
    side[last..].fill(0.0);
    let at = (from + first as isize).max(0) as usize;
    let (left, right) = (&left[at..at + last - first], &right[at..at + last - first]);
    let (mid, side) = (&mut mid[first..last], &mut side[first..last]);
    for ((((m, s), l), r), w) in mid.iter_mut().zip(side).zip(left).zip(right).zip(&window[first..last]) {
        *m = (0.5 * (l + r) - dc[0]) * w;
        *s = (0.5 * (l - r) - dc[1]) * w;
    }
}

/// Powers of mid and side and their cross term per bin; powers are added to `sum`.
#[multiversion(targets("x86_64+avx2"))]
fn powers(mid: &[Complex<f32>], side: &[Complex<f32>], out: &mut [Vec<f32>; 3], sum: &mut [Vec<f32>; 2]) {
    let n = mid.len();
    let [pm, ps, px] = out;
    let [sm, ss] = sum;
    let (pm, ps, px, sm, ss) = (&mut pm[..n], &mut ps[..n], &mut px[..n], &mut sm[..n], &mut ss[..n]);
    let side = &side[..n];
    for k in 0..n {
        pm[k] = mid[k].re * mid[k].re + mid[k].im * mid[k].im;
        ps[k] = side[k].re * side[k].re + side[k].im * side[k].im;
        px[k] = mid[k].re * side[k].re + mid[k].im * side[k].im;
        sm[k] += pm[k];
        ss[k] += ps[k];
    }
}

/// Σ a·b in sixteen lanes and a fixed order; both of one length.
#[multiversion(targets("x86_64+avx2"))]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (a16, b16) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a16.remainder().iter().zip(b16.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a16.zip(b16) {
        for l in 0..16 {
            lanes[l] += a[l] * b[l];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The windows and transforms of one rate.
struct Setup {
    /// Frames per 20 ms block.
    hop: usize,
    window: Vec<f32>,
    scale: f64,
    masks: Vec<Mask>,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    /// Parts of short bins per 1/12 octave, from [`CROSSOVER`] on.
    short: Vec<Vec<(usize, f64)>>,
    decimation: usize,
    long_window: Vec<f32>,
    long_scale: f64,
    long_forward: Arc<dyn RealToComplex<f32>>,
    /// Parts of long bins per 1/12 octave, below [`CROSSOVER`].
    long: Vec<Vec<(usize, f64)>>,
    /// Parts of long bins from 20 to 120 Hz.
    low: Vec<(usize, f64)>,
}

impl Setup {
    fn new(rate: u32) -> Self {
        // 44.1 and 48 kHz: 1; up to 96 kHz: 2; up to 192 kHz: 4.
        let factor = (rate.div_ceil(50_000) as usize).next_power_of_two();
        let n = WINDOW * factor;
        let (window, scale) = hann(n);
        let bin = f64::from(rate) / n as f64;
        let decimation = DECIMATION * factor;
        let long_bin = f64::from(rate) / (decimation * WINDOW) as f64;
        let (long_window, long_scale) = hann(WINDOW);
        let mut planner = RealFftPlanner::new();
        Self {
            hop: (rate as usize).div_ceil(50).max(1),
            masks: masks(n / 2 + 1, bin),
            window,
            scale,
            forward: planner.plan_fft_forward(n),
            inverse: planner.plan_fft_inverse(n),
            short: (CROSSOVER..POINTS).map(|b| cover(edge(b), edge(b + 1), bin, n / 2 + 1)).collect(),
            decimation,
            long_window,
            long_scale,
            long_forward: planner.plan_fft_forward(WINDOW),
            long: (0..CROSSOVER).map(|b| cover(edge(b), edge(b + 1), long_bin, WINDOW / 2 + 1)).collect(),
            low: cover(20.0, 120.0, long_bin, WINDOW / 2 + 1),
        }
    }
}

/// How much is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Everything.
    Whole,
    /// No figures of bands.
    Tone,
}

/// What a group of cells gives.
struct Part {
    /// `[mid, side][band][block]`.
    rows: [Vec<Vec<f32>>; 2],
    /// `[cell]`.
    cells: Vec<Cell>,
    /// `[bin]` summed power of mid, of side.
    power: [Vec<f64>; 2],
    /// `[band]` sums of mid², side², mid · side.
    sums: [[f64; 3]; BANDS],
}

/// 0.4 s.
struct Cell {
    /// Mean square of mid + side.
    energy: f64,
    /// `[mid, side][1/12 octave from CROSSOVER on]` mean square.
    bands: [Vec<f64>; 2],
    /// `[band]` peak over RMS in the middle of the cell; 0 for silence.
    crest: [f64; BANDS],
}

fn weighted(parts: &[(usize, f64)], power: impl Fn(usize) -> f64) -> f64 {
    parts.iter().map(|&(k, share)| share * power(k)).sum()
}

fn short_group(
    audio: &Audio,
    dc: [f32; 2],
    setup: &Setup,
    blocks: std::ops::Range<usize>,
    total: usize,
    detail: Detail,
) -> Part {
    let n = setup.window.len();
    let bins = n / 2 + 1;
    let [left, right] = &audio.channels;
    let mut input = [vec![0.0f32; n], vec![0.0f32; n]];
    let mut output = [setup.forward.make_output_vec(), setup.forward.make_output_vec()];
    let mut scratch = setup.forward.make_scratch_vec();
    let mut back = setup.inverse.make_scratch_vec();
    let mut power = [vec![0.0f32; bins], vec![0.0f32; bins], vec![0.0f32; bins]];
    let mut part = Part {
        rows: [vec![Vec::new(); BANDS], vec![Vec::new(); BANDS]],
        cells: Vec::new(),
        power: [vec![0.0; bins], vec![0.0; bins]],
        sums: [[0.0; 3]; BANDS],
    };
    let mut start = blocks.start;
    while start < blocks.end {
        let end = (start + CELL).min(blocks.end);
        let mut sum = [vec![0.0f32; bins], vec![0.0f32; bins]];
        let mut crest = [0.0; BANDS];
        for block in start..end {
            let from = (block * setup.hop + setup.hop / 2) as isize - n as isize / 2;
            let [mid, side] = &mut input;
            load(left, right, from, &setup.window, dc, mid, side);
            for (input, output) in input.iter_mut().zip(&mut output) {
                transform(&*setup.forward, input, output, &mut scratch);
            }
            powers(&output[0], &output[1], &mut power, &mut sum);
            if detail == Detail::Tone {
                continue;
            }
            for (band, mask) in setup.masks.iter().enumerate() {
                let range = mask.first..mask.first + mask.power.len();
                let sums: [f64; 3] =
                    std::array::from_fn(|i| f64::from(dot(&mask.power, &power[i][range.clone()])) * setup.scale);
                part.rows[0][band].push(sums[0] as f32);
                part.rows[1][band].push(sums[1] as f32);
                for (total, v) in part.sums[band].iter_mut().zip(sums) {
                    *total += v;
                }
                // One block per cell is enough for a median.
                if block == start + (end - start) / 2 {
                    let louder = &output[usize::from(sums[1] > sums[0])];
                    crest[band] = block_crest(louder, mask, setup, &mut input[0], &mut back);
                }
            }
        }
        let scale = setup.scale / (end - start) as f64;
        let bands = [&sum[0], &sum[1]]
            .map(|sum| setup.short.iter().map(|p| weighted(p, |k| f64::from(sum[k]) * scale)).collect::<Vec<f64>>());
        let energy = (1..bins).map(|k| f64::from(sum[0][k] + sum[1][k])).sum::<f64>() * scale;
        for (mean, sum) in part.power.iter_mut().zip(&sum) {
            for (m, &s) in mean.iter_mut().zip(sum) {
                *m += f64::from(s) * setup.scale / total as f64;
            }
        }
        part.cells.push(Cell { energy, bands, crest });
        start = end;
    }
    part
}

/// Runs a transform whose buffers were made by itself, so their lengths fit.
fn transform(
    fft: &dyn RealToComplex<f32>,
    input: &mut [f32],
    output: &mut [Complex<f32>],
    scratch: &mut [Complex<f32>],
) {
    let fits = fft.process_with_scratch(input, output, scratch);
    debug_assert!(fits.is_ok());
}

/// Peak over RMS of one band in the middle half of a window.
fn block_crest(
    spectrum: &[Complex<f32>],
    mask: &Mask,
    setup: &Setup,
    time: &mut [f32],
    scratch: &mut [Complex<f32>],
) -> f64 {
    let mut band = setup.inverse.make_input_vec();
    for ((b, s), g) in band[mask.first..].iter_mut().zip(&spectrum[mask.first..]).zip(&mask.gain) {
        *b = s * g;
    }
    // What a real signal's spectrum has at both ends.
    band[0].im = 0.0;
    if let Some(last) = band.last_mut() {
        last.im = 0.0;
    }
    if setup.inverse.process_with_scratch(&mut band, time, scratch).is_err() {
        return 0.0;
    }
    let n = time.len();
    let (mut peak, mut energy) = (0.0f64, 0.0f64);
    for (v, w) in time[n / 4..3 * n / 4].iter().zip(&setup.window[n / 4..3 * n / 4]) {
        let v = f64::from(v / w);
        peak = peak.max(v.abs());
        energy += v * v;
    }
    let rms = (energy / (n / 2) as f64).sqrt();
    if rms > 0.0 { peak / rms } else { 0.0 }
}

/// Correlation of left and right from sums of mid², side² and mid · side; 0 where one of them is silent.
fn correlation([mid, side, cross]: [f64; 3]) -> f64 {
    let (left, right) = (mid + side + 2.0 * cross, mid + side - 2.0 * cross);
    // Under −120 dB of the other, a channel is rounding noise.
    if left.min(right) <= 1e-12 * left.max(right) || left.max(right) < 1e-15 {
        return 0.0;
    }
    ((mid - side) / (left * right).sqrt()).clamp(-1.0, 1.0)
}

/// Level lost when side goes, dB ≥ 0.
fn loss(mid: f64, side: f64) -> Db {
    if side <= 0.0 {
        return Db(0.0);
    }
    Db((10.0 * (1.0 + side / mid.max(1e-300)).log10()).clamp(0.0, TOTAL_LOSS))
}

/// Middle value; the lower one of two.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// The value below which a share `at` of the values lies; 0 for none.
pub(crate) fn percentile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get((sorted.len().saturating_sub(1) as f64 * at).round() as usize).copied().unwrap_or(0.0)
}

/// Mean of mid and side.
fn means(audio: &Audio) -> [f32; 2] {
    let mean = |x: &[f32]| {
        let sums: Vec<f64> = x.par_chunks(1 << 16).map(|c| c.iter().map(|&v| f64::from(v)).sum::<f64>()).collect();
        sums.iter().sum::<f64>() / x.len().max(1) as f64
    };
    let [left, right] = [mean(&audio.channels[0]), mean(&audio.channels[1])];
    [(0.5 * (left + right)) as f32, (0.5 * (left - right)) as f32]
}

/// Which cells count: above −70 dBFS and no more than 20 dB under the mean of those. All, if none is that loud.
fn gate(cells: &[f64]) -> Vec<bool> {
    let absolute = 1e-7;
    let (sum, n) = cells.iter().filter(|&&v| v > absolute).fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
    let floor = if n == 0 { 0.0 } else { absolute.max(sum / n as f64 * 0.01) };
    cells.iter().map(|&v| v >= floor).collect()
}

impl Spectra {
    /// Measures a whole track of any length.
    #[must_use]
    pub fn measure(audio: &Audio) -> Self {
        Self::with(audio, Detail::Whole)
    }

    /// Spectrum, mono losses and cells alone, as `verify` asks for: the figures of bands stay empty.
    #[must_use]
    pub fn tone(audio: &Audio) -> Self {
        Self::with(audio, Detail::Tone)
    }

    fn with(audio: &Audio, detail: Detail) -> Self {
        let setup = Setup::new(audio.rate);
        let dc = means(audio);
        let total = audio.frames().div_ceil(setup.hop);
        let starts: Vec<usize> = (0..total).step_by(GROUP * CELL).collect();
        let parts: Vec<Part> = starts
            .par_iter()
            .map(|&s| short_group(audio, dc, &setup, s..(s + GROUP * CELL).min(total), total, detail))
            .collect();
        let cells: Vec<&Cell> = parts.iter().flat_map(|p| &p.cells).collect();
        let bass = bass(audio, dc, &setup, cells.len());

        let energies: Vec<f64> = cells.iter().map(|c| c.energy).collect();
        let gated = gate(&energies);
        let counted: Vec<usize> = (0..cells.len()).filter(|&c| gated[c]).collect();
        let values = |channel: usize, band: usize| -> Vec<f64> {
            let value = |&c: &usize| match band.checked_sub(CROSSOVER) {
                Some(band) => cells[c].bands[channel][band],
                None => bass.bands[c][channel][band],
            };
            counted.iter().map(value).collect()
        };
        let floored = |power: f64| (10.0 * power.max(1e-300).log10()).max(f64::from(FLOOR)) as f32;
        let typical = |channel: usize, band: usize| floored(median(&mut values(channel, band)).unwrap_or(0.0));
        let mean_power = |channel: usize, band: usize| {
            let values = values(channel, band);
            floored(values.iter().sum::<f64>() / values.len().max(1) as f64)
        };
        let bands: Vec<usize> = (0..POINTS).collect();
        let spectrum = Spectrum {
            hz: bands.iter().map(|&b| (edge(b) * edge(b + 1)).sqrt() as f32).collect(),
            mid: bands.par_iter().map(|&b| typical(0, b)).collect(),
            side: bands.par_iter().map(|&b| typical(1, b)).collect(),
        };

        let average = Spectrum {
            hz: spectrum.hz.clone(),
            mid: bands.par_iter().map(|&b| mean_power(0, b)).collect(),
            side: bands.par_iter().map(|&b| mean_power(1, b)).collect(),
        };

        let soft = soft_thirds();
        let thirds = (0..cells.len()).map(|c| {
            let power = |band: usize| match band.checked_sub(CROSSOVER) {
                Some(band) => cells[c].bands[0][band] + cells[c].bands[1][band],
                None => bass.bands[c][0][band] + bass.bands[c][1][band],
            };
            let level = |third: usize| (10.0 * weighted(&soft[third], power).max(1e-300).log10()).max(f64::from(FLOOR));
            std::array::from_fn(|third| level(third) as f32)
        });
        let thirds: Vec<CellThirds> = thirds.collect();

        let row = |channel: usize, band: usize| -> Vec<f32> {
            parts.iter().flat_map(|p| p.rows[channel][band].iter().copied()).collect()
        };
        let matrix = BandMatrix {
            hop: setup.hop as f64 / f64::from(audio.rate.max(1)),
            mid: (0..BANDS).map(|b| row(0, b)).collect(),
            side: (0..BANDS).map(|b| row(1, b)).collect(),
        };

        let sums =
            |band: usize| parts.iter().fold([0.0; 3], |t: [f64; 3], p| std::array::from_fn(|i| t[i] + p.sums[band][i]));
        let bins = setup.window.len() / 2 + 1;
        let bin = f64::from(audio.rate) / setup.window.len() as f64;
        let mean = |channel: usize, k: usize| parts.iter().map(|p| p.power[channel][k]).sum::<f64>();
        let [shelf, high] = k_weighting(audio.rate);
        let (mut mid, mut side, mut power) = (0.0, 0.0, Vec::with_capacity(bins));
        for k in 0..bins {
            let hz = k as f64 * bin;
            let weight = shelf.power(hz, f64::from(audio.rate)) * high.power(hz, f64::from(audio.rate));
            let (m, s) = (mean(0, k), mean(1, k));
            mid += weight * m;
            side += weight * s;
            power.push(m + s);
        }
        Self {
            spectrum,
            average,
            matrix,
            gate: (0..total).map(|b| gated[b / CELL]).collect(),
            correlation: (0..BANDS).map(|b| correlation(sums(b))).collect(),
            correlation_low: correlation(bass.low),
            mono_loss: loss(mid, side),
            mono_loss_low: loss(bass.low[0], bass.low[1]),
            crest: (0..BANDS)
                .map(|band| {
                    let mut values: Vec<f64> =
                        counted.iter().map(|&c| cells[c].crest[band]).filter(|&v| v > 0.0).collect();
                    Db(20.0 * median(&mut values).unwrap_or(1.0).max(1.0).log10())
                })
                .collect(),
            power,
            bin,
            thirds,
            flatness: cells.iter().map(|c| flatness(&c.bands)).collect(),
            cells: energies,
        }
    }
}

/// Geometric over arithmetic mean of the densities (power per Hz, so power per band over the band's width) above the crossover,
/// taken within each octave and averaged over the octaves: a tilted noise is as flat as a white one.
fn flatness(bands: &[Vec<f64>; 2]) -> f64 {
    let density: Vec<f64> = bands[0]
        .iter()
        .zip(&bands[1])
        .enumerate()
        .map(|(b, (m, s))| (m + s).max(1e-30) / edge(CROSSOVER + b))
        .collect();
    let octaves: Vec<f64> = density
        .chunks_exact(12)
        .map(|octave| {
            let log = octave.iter().map(|v| v.ln()).sum::<f64>() / 12.0;
            log.exp() / (octave.iter().sum::<f64>() / 12.0)
        })
        .collect();
    octaves.iter().sum::<f64>() / octaves.len().max(1) as f64
}
