//! `levels`: how strong a band is at each control point.

use super::MidSide;
use std::f64::consts::PI;

/// Mean of mid² + side² = (L² + R²)/2 under a Hann window of `window` hops around each control point; silence outside of the band.
///
/// The window weighs single frames, not sums of hops: a sum over a hop is a boxcar, which lets tones near half the control rate beat
/// with it and come back as sidebands.
#[must_use]
pub fn levels(band: &MidSide, hop: usize, window: usize) -> Vec<f64> {
    let frames = band[0].len();
    let length = hop * window;
    let hann: Vec<f64> = (0..length).map(|j| (PI * (j as f64 + 0.5) / length as f64).sin().powi(2)).collect();
    let energy = |frame: usize| band[0][frame].powi(2) + band[1][frame].powi(2);
    (0..=frames.div_ceil(hop))
        .map(|point| {
            let weighted = |(j, weight): (usize, &f64)| {
                let frame = (point * hop + j).checked_sub(length / 2).filter(|frame| *frame < frames);
                frame.map_or(0.0, |frame| weight * energy(frame))
            };
            hann.iter().enumerate().map(weighted).sum::<f64>() / (length as f64 / 2.0)
        })
        .collect()
}
