//! The bands: zero-phase, adding up to one, with transitions wide enough not to ring ahead of a kick.

use super::Fir;
use super::transform::inverse;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;
use std::f64::consts::PI;

/// Taps of a band on each side of time zero at 44.1 and 48 kHz (46 ms).
const REACH: usize = 2047;
/// Points of the design grid at 44.1 and 48 kHz.
const GRID: usize = 131_072;

/// The zero-phase taps of the bands between `edges` (ascending, Hz), lowest first: one more than there are edges. Their sum is a
/// single one at time zero, to `f64` rounding: every band is the difference of two low-passes, the last the rest to one.
#[must_use]
pub fn band_taps(edges: &[f64], rate: u32, scale: usize) -> Vec<Fir> {
    let reach = REACH * scale;
    let mut below = vec![0.0; 2 * reach + 1];
    let mut bands = Vec::with_capacity(edges.len() + 1);
    let mut planner = RealFftPlanner::new();
    for &edge in edges {
        let low = low_pass(&mut planner, edge, rate, scale);
        bands.push(Fir { taps: low.iter().zip(&below).map(|(a, b)| a - b).collect(), zero: reach });
        below = low;
    }
    let mut rest: Vec<f64> = below.iter().map(|tap| -tap).collect();
    rest[reach] += 1.0;
    bands.push(Fir { taps: rest, zero: reach });
    bands
}

/// Gain of the low-pass at `edge`: a raised cosine over log frequency, one half at the edge. Under 500 Hz the transition is two octaves
/// wide, above 1 kHz one octave: half an octave at 120 Hz would ring 30 dB under a kick, 10 ms ahead of it.
#[must_use]
pub fn low_pass_mask(edge: f64, hz: f64) -> f64 {
    let octaves = if edge <= 500.0 { 2.0 } else { (2.0 - (edge / 500.0).log2()).max(1.0) };
    let place = (hz.max(1e-9) / edge).log2() / octaves;
    0.5 + 0.5 * (PI * (place + 0.5).clamp(0.0, 1.0)).cos()
}

fn low_pass(planner: &mut RealFftPlanner<f64>, edge: f64, rate: u32, scale: usize) -> Vec<f64> {
    let (n, reach) = (GRID * scale, REACH * scale);
    let bin = f64::from(rate) / n as f64;
    let mut mask: Vec<Complex<f64>> =
        (0..=n / 2).map(|k| Complex::new(low_pass_mask(edge, k as f64 * bin), 0.0)).collect();
    let whole = inverse(planner, &mut mask, n);
    // A Hann window: it takes 4 dB off what rings 20 ms ahead and leaves the transitions as wide as they were.
    let window = |distance: usize| 0.5 + 0.5 * (PI * distance as f64 / (reach + 1) as f64).cos();
    let mut taps: Vec<f64> = (0..=2 * reach).map(|i| whole[reach.abs_diff(i)] * window(reach.abs_diff(i))).collect();
    let sum: f64 = taps.iter().sum();
    for tap in &mut taps {
        *tap /= sum;
    }
    taps
}
