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
    let mut y = vec![0.0; x.len()];
    for (i, &tap) in fir.taps.iter().enumerate() {
        // How much later (skip outputs) or earlier (skip inputs) this tap's copy of x sounds.
        let (late, early) = (i.saturating_sub(fir.zero), fir.zero.saturating_sub(i));
        for (y, x) in y.iter_mut().skip(late).zip(x.iter().skip(early)) {
            *y += tap * x;
        }
    }
    y
}
