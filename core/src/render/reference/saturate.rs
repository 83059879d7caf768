//! `saturate`: odd and even harmonics at twice the rate, in difference form.

use crate::Audio;
use crate::control::curves::SaturationCurve;
use crate::control::limiter::{block_means, slow_part};
use crate::render::oversample::{CLIP, HALF_TAPS};

/// Adds what the polynomial adds. A polynomial of degree 3 spreads a band of `rate/2` to `3·rate/2`; at twice the rate what folds
/// back lies above `rate/2` and is filtered away. The second order also makes a slow offset that follows the loudness; it is
/// taken out again over blocks of `hop` frames.
pub fn saturate(audio: &mut Audio, hop: usize, curve: &SaturationCurve) {
    let frames = audio.frames();
    for channel in &mut audio.channels {
        let at = |n: usize, tap: usize| (n + 1 + tap).checked_sub(HALF_TAPS).filter(|at| *at < frames);
        let half_way: Vec<f64> = (0..frames)
            .map(|n| {
                let taps = CLIP.half.iter().enumerate();
                taps.filter_map(|(tap, h)| Some(f64::from(*h) * f64::from(channel[at(n, tap)?]))).sum()
            })
            .collect();
        let add = |x: f64| curve.odd(x) + curve.even(x);
        let added: Vec<f32> = (0..frames)
            .map(|n| {
                let taps = CLIP.half.iter().enumerate();
                let between: f64 = taps
                    .filter_map(|(tap, h)| {
                        let from = (n + HALF_TAPS).checked_sub(1 + tap).filter(|from| *from < frames)?;
                        Some(f64::from(*h) * add(half_way[from]))
                    })
                    .sum();
                (0.5 * (add(f64::from(channel[n])) + between)) as f32
            })
            .collect();
        let offset = slow_part(&block_means(&added, hop), hop, audio.rate);
        for (n, sample) in channel.iter_mut().enumerate() {
            *sample += added[n] - spline(&offset, n, hop);
        }
    }
}

/// The quadratic B-spline through control points at the middle of their blocks, at frame `n`.
fn spline(points: &[f32], n: usize, hop: usize) -> f32 {
    let last = points.len() - 1;
    let block = (n / hop).min(last);
    let u = ((n % hop) as f64 + 0.5) / hop as f64;
    let [before, here, after] = [block.saturating_sub(1), block, (block + 1).min(last)].map(|b| f64::from(points[b]));
    (before * 0.5 * (1.0 - u) * (1.0 - u) + here * (0.5 + u * (1.0 - u)) + after * 0.5 * u * u) as f32
}
