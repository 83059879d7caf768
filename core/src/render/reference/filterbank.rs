//! `filterbank`: the bands of a signal.

use super::{MidSide, convolve};
use crate::render::design::Band;

/// `[band]` the signal through each band's zero-phase taps.
#[must_use]
pub fn filterbank(signal: &MidSide, bands: &[Band]) -> Vec<MidSide> {
    bands.iter().map(|band| [convolve(&signal[0], &band.fir), convolve(&signal[1], &band.fir)]).collect()
}
