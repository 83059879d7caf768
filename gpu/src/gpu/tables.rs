//! Tables that kernels read: twiddles, short filters, K-weighting, and the spectra of a track's filters. All are worked out in `f64`.

use super::layout::{MEMORY, POINTS, STEP, STRETCH};
use loopmaster_core::meter::loudness::k_weighting;
use loopmaster_core::render::design::{Band, Fir, TonePair};
use loopmaster_core::render::oversample::{CLIP, FINE, Interpolator, METER, PEAK};
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use std::f64::consts::TAU;
use std::sync::Arc;

/// A complex number of a shader.
pub(super) type Pair = [f32; 2];

/// Where the short filters stand in their table, in groups of four floats: the constants of `filters.wgsl`.
#[cfg(test)]
pub(super) const PLACES: &[(&str, usize)] = &[
    ("COARSE", 0),
    ("COARSE_TAPS", 16),
    ("COARSE_FEW", 32),
    ("FINE", 64),
    ("FINE_TAPS", 64),
    ("METER", 320),
    ("METER_TAPS", 10),
    ("HALF", 360),
    ("HALF_TAPS", 32),
    ("WIDE", 376),
    ("WIDE_PHASES", 8),
    ("WIDE_TAPS", 8),
    ("GROUPS", 408),
];

/// `exp(−2πi k / 4096)`.
#[must_use]
pub(super) fn twiddles() -> Vec<Pair> {
    (0..POINTS)
        .map(|k| {
            let (sin, cos) = (TAU * k as f64 / POINTS as f64).sin_cos();
            [cos as f32, -sin as f32]
        })
        .collect()
}

/// One group of a folded detector: for each tap pair the even halves of up to four phase pairs, then the odd ones. The last place of
/// the last group is the middle phase.
fn fold(filter: &Interpolator, pairs: &[usize], middle: bool) -> Vec<f32> {
    let half = filter.phases[0].len() / 2;
    let mut out = Vec::with_capacity(8 * half);
    for i in 0..half {
        let mut even = [0f32; 4];
        let mut odd = [0f32; 4];
        for (place, k) in pairs.iter().enumerate() {
            let (a, b) = (filter.phases[*k][half - 1 - i], filter.phases[*k][half + i]);
            (even[place], odd[place]) = (0.5 * (a + b), 0.5 * (a - b));
        }
        if middle {
            even[3] = filter.phases[filter.phases.len() / 2][half + i];
        }
        out.extend(even);
        out.extend(odd);
    }
    out
}

/// The table of short filters.
#[must_use]
pub(super) fn filters() -> Vec<f32> {
    let mut out = Vec::new();
    out.extend(fold(&PEAK, &[1, 2, 3], true));
    out.extend(fold(&PEAK, &[2], true));
    for fine in [&*FINE, &*METER] {
        out.extend(fold(fine, &[1, 2, 3, 4], false));
        out.extend(fold(fine, &[5, 6, 7], true));
    }
    out.extend(CLIP.half);
    out.extend(CLIP.wide.iter().flatten());
    out
}

/// The K-weighting at a rate for blocks of `hop` frames: coefficients, then the powers 0 … 7 of a stretch's transition matrix.
#[must_use]
pub(super) fn weighting(rate: u32, hop: usize) -> Vec<f32> {
    let [shelf, high] = k_weighting(rate);
    // The high-pass once more as a state-variable filter (trapezoidal integrators): g and k of the same bilinear transform.
    let a0 = 4.0 / (1.0 - high.a[0] + high.a[1]);
    let g = (a0 * (1.0 + high.a[0] + high.a[1])).sqrt() / 2.0;
    let k = (1.0 - high.a[1]) * a0 / 2.0 / g;
    let (a1, scale) = (1.0 / (1.0 + g * (g + k)), high.b[0] * a0);
    let (a2, a3) = (g * a1, g * g * a1);
    let step = |s: &mut [f64; 4]| {
        let y = s[0];
        (s[0], s[1]) = (s[1] - shelf.a[0] * y, -shelf.a[1] * y);
        let v3 = y - s[3];
        let v1 = a1 * s[2] + a2 * v3;
        let v2 = s[3] + a2 * s[2] + a3 * v3;
        (s[2], s[3]) = (2.0 * v1 - s[2], 2.0 * v2 - s[3]);
    };
    let mut out: Vec<f32> =
        [shelf.b[0], shelf.b[1], shelf.b[2], shelf.a[0], shelf.a[1], a1, a2, a3, k, scale, 0.0, 0.0]
            .map(|x| x as f32)
            .into();
    // Column by column: what a unit in each state becomes.
    let mut columns: [[f64; 4]; 4] = std::array::from_fn(|c| std::array::from_fn(|r| if r == c { 1.0 } else { 0.0 }));
    for _ in 0..MEMORY {
        for row in 0..4 {
            out.extend(columns.map(|column| column[row] as f32));
        }
        for column in &mut columns {
            for _ in 0..STRETCH * hop {
                step(column);
            }
        }
    }
    out
}

/// A filter in partitions of [`STEP`] taps, as spectra.
#[derive(Clone, Debug, Default)]
pub(super) struct Partitioned {
    /// Partitions.
    pub(super) parts: usize,
    /// How many transforms ahead the first looks.
    pub(super) first: usize,
    /// Their spectra.
    pub(super) spectra: Vec<Pair>,
}

struct Transformer {
    plan: Arc<dyn RealToComplex<f64>>,
}

impl Transformer {
    fn new() -> Self {
        Self { plan: RealFftPlanner::new().plan_fft_forward(POINTS) }
    }

    /// All bins of the partition `part` of a filter, over the points of a transform.
    fn part(&self, fir: &Fir, first: usize, part: usize) -> Vec<Complex<f64>> {
        let mut time = vec![0.0; POINTS];
        for (offset, slot) in time[..STEP].iter_mut().enumerate() {
            // Lag of the tap: index − zero = offset + (part − first) · STEP.
            let tap = (offset + part * STEP + fir.zero).checked_sub(first * STEP);
            *slot = tap.and_then(|tap| fir.taps.get(tap)).copied().unwrap_or(0.0) / POINTS as f64;
        }
        let mut half = self.plan.make_output_vec();
        // The only error is a wrong length, and these are the plan's own.
        let _ = self.plan.process(&mut time, &mut half);
        let mirrored: Vec<_> = half[1..STEP].iter().rev().map(Complex::conj).collect();
        half.extend(mirrored);
        half
    }
}

/// Partitions that the filters need, and how far ahead the first looks.
fn extent<'a>(filters: impl Iterator<Item = &'a Fir> + Clone) -> (usize, usize) {
    let first = filters.clone().map(|fir| fir.zero.div_ceil(STEP)).max().unwrap_or(0);
    let parts = filters.map(|fir| (fir.taps.len() + first * STEP - fir.zero).div_ceil(STEP)).max().unwrap_or(0);
    (first, parts)
}

fn single(value: Complex<f64>) -> Pair {
    [value.re as f32, value.im as f32]
}

/// The tone filter: for each partition the half sum of mid and side, then their half difference.
#[must_use]
pub(super) fn tone(pair: &TonePair) -> Partitioned {
    let (first, parts) = extent([&pair.mid, &pair.side].into_iter());
    let transformer = Transformer::new();
    let mut spectra = Vec::with_capacity(parts * 2 * POINTS);
    for part in 0..parts {
        let mid = transformer.part(&pair.mid, first, part);
        let side = transformer.part(&pair.side, first, part);
        spectra.extend(mid.iter().zip(&side).map(|(m, s)| single((m + s) * 0.5)));
        spectra.extend(mid.iter().zip(&side).map(|(m, s)| single((m - s) * 0.5)));
    }
    Partitioned { parts, first, spectra }
}

/// The computed bands of a track, one after the other.
#[must_use]
pub(super) fn bank(bands: &[Band]) -> Partitioned {
    let (first, parts) = extent(bands.iter().map(|band| &band.fir));
    let transformer = Transformer::new();
    let spectra = bands
        .iter()
        .flat_map(|band| (0..parts).map(move |part| (band, part)))
        .flat_map(|(band, part)| transformer.part(&band.fir, first, part))
        .map(single)
        .collect();
    Partitioned { parts, first, spectra }
}

/// cos and sin of the places in a hop, under a Hann window of `window` hops.
#[must_use]
pub(super) fn phases(hop: usize, window: usize) -> Vec<Pair> {
    let length = (hop * window) as f64;
    (0..hop)
        .map(|i| {
            let (sin, cos) = (TAU * (i as f64 + 0.5) / length).sin_cos();
            [cos as f32, sin as f32]
        })
        .collect()
}

/// Per hop of the window, what the three sums of the hop are multiplied by; ½ (1 − cos(θ + φ)) over half the window's length.
#[must_use]
pub(super) fn weights(hop: usize, window: usize) -> Vec<[f32; 4]> {
    let length = (hop * window) as f64;
    (0..window)
        .map(|p| {
            let theta = TAU * p as f64 / window as f64;
            [1.0 / length, -theta.cos() / length, theta.sin() / length, 0.0].map(|w| w as f32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_stand_where_the_shaders_look() {
        let at = |name: &str| PLACES.iter().find(|(place, _)| *place == name).unwrap().1;
        let filters = filters();
        assert_eq!(filters.len(), 4 * at("GROUPS"));
        assert_eq!(filters[4 * at("HALF")..][..2 * at("HALF_TAPS")], CLIP.half);
        assert_eq!(filters[4 * at("WIDE")..][..16], CLIP.wide[0]);
        // The middle phase of the fine filter, nearest tap: twice its weight is nearly the whole of a sinc's 4/π.
        assert!((filters[4 * (at("FINE") + 2 * at("FINE_TAPS")) + 3] - FINE.phases[8][64]).abs() < 1e-9);
    }

    #[test]
    fn no_phase_of_the_clipper_grows_more_than_its_shader_assumes() {
        let most = CLIP.wide.iter().map(|phase| phase.iter().map(|h| h.abs()).sum::<f32>()).fold(0.0, f32::max);
        println!("growth {most}");
        assert!(most < 2.0);
    }

    #[test]
    fn the_state_variable_filter_is_the_table_of_bs_1770() {
        for (rate, hop) in [(44_100, 32), (48_000, 32), (96_000, 64), (192_000, 128)] {
            let table = weighting(rate, hop).into_iter().map(f64::from).collect::<Vec<_>>();
            let [shelf, high] = k_weighting(rate);
            let (mut s, mut t) = ([0.0; 4], [0.0; 4]);
            let mut worst = 0f64;
            for n in 0..20_000 {
                let x = if n == 0 { 1.0 } else { 0.0 };
                let y = shelf.b[0] * x + s[0];
                (s[0], s[1]) = (shelf.b[1] * x - shelf.a[0] * y + s[1], shelf.b[2] * x - shelf.a[1] * y);
                let want = high.b[0] * y + s[2];
                (s[2], s[3]) = (high.b[1] * y - high.a[0] * want + s[3], high.b[2] * y - high.a[1] * want);
                let y = table[0] * x + t[0];
                (t[0], t[1]) = (table[1] * x - table[3] * y + t[1], table[2] * x - table[4] * y);
                let v3 = y - t[3];
                let v1 = table[5] * t[2] + table[6] * v3;
                let v2 = t[3] + table[6] * t[2] + table[7] * v3;
                (t[2], t[3]) = (2.0 * v1 - t[2], 2.0 * v2 - t[3]);
                worst = worst.max((table[9] * (y - table[8] * v1 - v2) - want).abs());
            }
            // Coefficients rounded to f32 are all that differs.
            assert!(worst < 2e-6, "{rate}: {worst:e}");
        }
    }
}
