//! `block_peaks`: the highest magnitude of each control block between the samples too.

use crate::Audio;
use crate::render::kernels::Grid;
use crate::render::oversample::{FINE, Interpolator, METER, PEAK};
use std::ops::Range;

/// Writes the peak of every block in `blocks` (each `hop` frames) to `peaks[block]`; the other entries stay as they are. The peak of
/// a block is the largest magnitude of left and right on the grid between its first frame and the first of the next block.
pub fn block_peaks(audio: &Audio, hop: usize, blocks: &[Range<usize>], grid: Grid, peaks: &mut [f32]) {
    let filters: &[&Interpolator] = match grid {
        Grid::Coarse => &[&PEAK],
        Grid::Fine => &[&FINE, &METER],
    };
    let step = grid.step(audio.rate);
    for block in blocks.iter().cloned().flatten() {
        let mut peak = 0f64;
        for channel in &audio.channels {
            for n in block * hop..((block + 1) * hop).min(channel.len()) {
                peak = peak.max(f64::from(channel[n]).abs());
                for phase in filters.iter().flat_map(|filter| filter.phases.iter().skip(step).step_by(step)) {
                    let half = phase.len() / 2;
                    let value: f64 = phase
                        .iter()
                        .enumerate()
                        .filter_map(|(tap, h)| {
                            let frame = (n + 1 + tap).checked_sub(half)?;
                            channel.get(frame).map(|x| f64::from(*h) * f64::from(*x))
                        })
                        .sum();
                    peak = peak.max(value.abs());
                }
            }
        }
        peaks[block] = peak as f32;
    }
}
