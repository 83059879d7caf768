//! `apply_gain`: the three weights of the spline are the same in every block.

use crate::Audio;
use multiversion::multiversion;
use rayon::prelude::*;

/// Blocks per task.
const TASK: usize = 4096;

/// See [`crate::render::reference::apply_gain`].
pub(super) fn apply_gain(audio: &mut Audio, hop: usize, gain: &[f32]) {
    let Some(last) = gain.len().checked_sub(1) else { return };
    let weights: Vec<[f32; 3]> = (0..hop)
        .map(|i| {
            let u = (i as f64 + 0.5) / hop as f64;
            [0.5 * (1.0 - u) * (1.0 - u), 0.5 + u * (1.0 - u), 0.5 * u * u].map(|w| w as f32)
        })
        .collect();
    for channel in &mut audio.channels {
        channel.par_chunks_mut(TASK * hop).enumerate().for_each(|(task, frames)| {
            for (i, frames) in frames.chunks_mut(hop).enumerate() {
                let block = (task * TASK + i).min(last);
                let points = [block.saturating_sub(1), block, (block + 1).min(last)].map(|block| gain[block]);
                if points[0] == points[1] && points[1] == points[2] {
                    if points[1] != 1.0 {
                        for x in frames {
                            *x *= points[1];
                        }
                    }
                } else {
                    spline(frames, points, &weights);
                }
            }
        });
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn spline(frames: &mut [f32], [before, here, after]: [f32; 3], weights: &[[f32; 3]]) {
    for (x, w) in frames.iter_mut().zip(weights) {
        *x *= before * w[0] + here * w[1] + after * w[2];
    }
}
