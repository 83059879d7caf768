//! Which bins belong to which band, and by how much.

use crate::bands::{BAND_EDGES, BANDS};
use std::f64::consts::PI;

/// Gain of the engine's low-pass at `edge`: a raised cosine over log frequency, two octaves wide up to 500 Hz, one from 1 kHz on.
fn low_pass(edge: f64, hz: f64) -> f64 {
    let octaves = if edge <= 500.0 { 2.0 } else { (2.0 - (edge / 500.0).log2()).max(1.0) };
    0.5 + 0.5 * (PI * ((hz.max(1e-9) / edge).log2() / octaves + 0.5).clamp(0.0, 1.0)).cos()
}

/// A band as it weighs amplitudes of bins: its first bin and its gains from there on.
pub(super) struct Mask {
    pub(super) first: usize,
    pub(super) gain: Vec<f32>,
    /// Gains squared: weights of powers.
    pub(super) power: Vec<f32>,
}

/// The bands of the engine, for so many bins.
pub(super) fn masks(bins: usize, bin: f64) -> Vec<Mask> {
    (0..BANDS)
        .map(|band| {
            let gain = |k: usize| {
                let hz = k as f64 * bin;
                let above = if band == 0 { 0.0 } else { low_pass(BAND_EDGES[band - 1], hz) };
                BAND_EDGES.get(band).map_or(1.0, |&e| low_pass(e, hz)) - above
            };
            let heard = |k: &usize| gain(*k) > 1e-4;
            let first = (0..bins).find(heard).unwrap_or(0);
            let last = (0..bins).rev().find(heard).map_or(first, |k| k + 1);
            let gain: Vec<f32> = (first..last).map(|k| gain(k) as f32).collect();
            let power = gain.iter().map(|g| g * g).collect();
            Mask { first, gain, power }
        })
        .collect()
}

/// Parts of bins that a 1/12-octave band covers: bin k reaches from k − ½ to k + ½.
pub(super) fn cover(low: f64, high: f64, bin: f64, bins: usize) -> Vec<(usize, f64)> {
    let (low, high) = (low / bin + 0.5, (high / bin + 0.5).min(bins as f64));
    (low as usize..(high.ceil().max(0.0) as usize).min(bins))
        .map(|k| (k, (high.min(k as f64 + 1.0) - low.max(k as f64)).max(0.0)))
        .collect()
}
