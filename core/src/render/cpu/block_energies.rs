//! `block_energies`: the meter's own K-weighting, whose blocks are those of the control.

use crate::Audio;
use crate::meter::loudness::{STEREO, k_energies};

/// See [`crate::render::reference::block_energies`].
pub(super) fn block_energies(audio: &Audio, hop: usize) -> Vec<f64> {
    k_energies(&[&audio.channels[0], &audio.channels[1]], &STEREO, audio.rate, hop)
}
