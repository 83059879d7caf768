//! `saturate`: both channels in tasks of fixed length at twice the rate.

use super::half_way::{between, halve};
use crate::Audio;
use crate::control::curves::SaturationCurve;
use crate::control::limiter::{block_means, slow_part};
use crate::render::oversample::HALF_TAPS;
use multiversion::multiversion;
use rayon::prelude::*;
use std::io;

/// Blocks per task.
const TASK: usize = 128;

/// See [`crate::render::reference::saturate`].
pub(super) fn saturate(audio: &mut Audio, hop: usize, curve: &SaturationCurve) -> io::Result<()> {
    let (frames, rate) = (audio.frames(), audio.rate);
    for channel in &mut audio.channels {
        let mut added = channel.like(frames)?;
        added.par_chunks_mut(TASK * hop).enumerate().for_each(|(task, out)| {
            harmonics(channel, task * TASK * hop, curve, out);
        });
        let offset = slow_part(&block_means(&added, hop), hop, rate);
        let last = offset.len().saturating_sub(1);
        channel.par_chunks_mut(hop).zip(added.par_chunks(hop)).enumerate().with_min_len(TASK).for_each(
            |(block, (x, added))| {
                let points = [block.saturating_sub(1), block, (block + 1).min(last)].map(|block| offset[block]);
                add(x, added, points, hop);
            },
        );
    }
    Ok(())
}

/// Adds `added` less the spline through the offset's `points`.
#[multiversion(targets("x86_64+avx2+fma"))]
fn add(x: &mut [f32], added: &[f32], [before, here, after]: [f32; 3], hop: usize) {
    for (i, (x, added)) in x.iter_mut().zip(added).enumerate() {
        let u = (i as f32 + 0.5) / hop as f32;
        *x += added - (0.5 * before * (1.0 - u) * (1.0 - u) + here * (0.5 + u * (1.0 - u)) + 0.5 * after * u * u);
    }
}

/// What the curve adds to the frames from `start` on.
fn harmonics(channel: &[f32], start: usize, curve: &SaturationCurve, out: &mut [f32]) {
    const REACH: usize = 2 * HALF_TAPS;
    let n = out.len();
    let mut x = vec![0f32; n + 2 * REACH];
    let from = start.saturating_sub(REACH);
    let to = (start + n + REACH).min(channel.len());
    let at = from + REACH - start;
    x[at..at + to - from].copy_from_slice(&channel[from..to]);
    // Frames `start − HALF_TAPS` to `start + n + HALF_TAPS`. Half-way values beyond either end of the track belong to no frame.
    let mut padded = vec![0f32; n + 6 * HALF_TAPS];
    let odd = &mut padded[2 * HALF_TAPS..n + 4 * HALF_TAPS];
    between(&x[1..], odd);
    let outside = HALF_TAPS.saturating_sub(start);
    odd[..outside].fill(0.0);
    let beyond = (channel.len() + HALF_TAPS - start).min(odd.len());
    odd[beyond..].fill(0.0);
    let mut even = x[HALF_TAPS..HALF_TAPS + odd.len()].to_vec();
    bend(&mut even, curve);
    bend(odd, curve);
    let mut wide = vec![0f32; n + 4 * HALF_TAPS];
    halve(&even, &padded, &mut wide);
    out.copy_from_slice(&wide[REACH..REACH + n]);
}

/// Replaces values by what the curve adds to them.
#[multiversion(targets("x86_64+avx2+fma"))]
fn bend(values: &mut [f32], curve: &SaturationCurve) {
    let SaturationCurve { full, cube, square } = *curve;
    let inverse = 1.0 / full;
    for value in values {
        let w = (*value * inverse).clamp(-1.0, 1.0);
        *value = w * w * (square + cube * w);
    }
}
