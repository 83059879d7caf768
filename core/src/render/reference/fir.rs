//! `fir`: the tone filter.

use super::MidSide;
use crate::render::design::{Fir, TonePair};

/// Mid and side through their filters; as long as what came in.
#[must_use]
pub fn fir(signal: &MidSide, tone: &TonePair) -> MidSide {
    [convolve(&signal[0], &tone.mid), convolve(&signal[1], &tone.side)]
}

/// `y[n] = Σ taps[i] · x[n + zero − i]`, silence outside of `x`.
#[must_use]
pub fn convolve(x: &[f64], fir: &Fir) -> Vec<f64> {
    let last = fir.taps.len().saturating_sub(1);
    // Padded so that padded[n + last − i] is x[n + zero − i], and up to whole groups of outputs.
    let mut padded = vec![0.0; last - fir.zero.min(last)];
    padded.extend_from_slice(x);
    padded.resize(x.len().next_multiple_of(OUTPUTS) + last, 0.0);
    let mut y = Vec::with_capacity(x.len() + OUTPUTS);
    for n in (0..x.len()).step_by(OUTPUTS) {
        y.extend(outputs(&padded[n..], &fir.taps));
    }
    y.truncate(x.len());
    y
}

/// Outputs worked out side by side, for speed alone.
const OUTPUTS: usize = 16;

/// Consecutive outputs: the first is the last tap times the first sample, and so on.
#[multiversion::multiversion(targets("x86_64+avx2+fma"))]
fn outputs(x: &[f64], taps: &[f64]) -> [f64; OUTPUTS] {
    let mut sums = [0.0; OUTPUTS];
    for (tap, x) in taps.iter().rev().zip(x.windows(OUTPUTS)) {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += tap * x;
        }
    }
    sums
}
