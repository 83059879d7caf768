//! `mix_bands`: what a band's gain adds to the signal.

use super::MidSide;
use crate::control::compressor::cubic;

/// `y += (g − 1) · band`, the excess gain g − 1 interpolated from its points to frames.
pub fn mix_bands(y: &mut MidSide, band: &MidSide, excess: &[f64], hop: usize) {
    // Held before the first point and after the last.
    let at = |point: isize| excess[point.clamp(0, excess.len() as isize - 1) as usize];
    for (y, band) in y.iter_mut().zip(band) {
        for (frame, (y, b)) in y.iter_mut().zip(band).enumerate() {
            let point = (frame / hop) as isize;
            let t = (frame % hop) as f64 / hop as f64;
            let c = cubic([at(point - 1), at(point), at(point + 1), at(point + 2)]);
            *y += (c[0] + t * (c[1] + t * (c[2] + t * c[3]))) * b;
        }
    }
}
