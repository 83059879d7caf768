//! `block_energies`: the K-weighted energy of each control block.

use crate::Audio;
use crate::meter::loudness::k_weighting;

/// `[block]` sum over both channels and the block's frames of the square of the K-weighted signal (ITU-R BS.1770-5, Annex 1).
#[must_use]
pub fn block_energies(audio: &Audio, hop: usize) -> Vec<f64> {
    let mut energies = vec![0.0; audio.frames().div_ceil(hop)];
    let sections = k_weighting(audio.rate);
    for channel in &audio.channels {
        let mut state = [[0.0; 2]; 2];
        for (block, frames) in channel.chunks(hop).enumerate() {
            for x in frames {
                let mut y = f64::from(*x);
                // Direct form II, transposed.
                for (section, s) in sections.iter().zip(&mut state) {
                    let x = y;
                    y = section.b[0] * x + s[0];
                    s[0] = section.b[1] * x - section.a[0] * y + s[1];
                    s[1] = section.b[2] * x - section.a[1] * y;
                }
                energies[block] += y * y;
            }
        }
    }
    energies
}
