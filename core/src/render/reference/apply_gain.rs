//! `apply_gain`: a gain at control rate, brought to the samples.

use crate::Audio;

/// Multiplies both channels by the quadratic B-spline through the control points `gain[block]` (linear, one per `hop` frames, at the
/// middle of its block; held beyond both ends). Every sample's gain is a convex combination of the control points of its own
/// block and its two neighbours: where none of those is above what the block needs, no sample's is.
pub fn apply_gain(audio: &mut Audio, hop: usize, gain: &[f32]) {
    let Some(last) = gain.len().checked_sub(1) else { return };
    for channel in &mut audio.channels {
        for (n, sample) in channel.iter_mut().enumerate() {
            let block = (n / hop).min(last);
            let u = ((n % hop) as f64 + 0.5) / hop as f64;
            let [before, here, after] =
                [block.saturating_sub(1), block, (block + 1).min(last)].map(|b| f64::from(gain[b]));
            let value = before * 0.5 * (1.0 - u) * (1.0 - u) + here * (0.5 + u * (1.0 - u)) + after * 0.5 * u * u;
            *sample = (f64::from(*sample) * value) as f32;
        }
    }
}
