//! `clip`: the soft clipper at 16 times the rate, in difference form.

use crate::Audio;
use crate::control::curves::ClipCurve;
use crate::render::oversample::{CLIP, HALF_TAPS, WIDE_TAPS};
use std::ops::Range;

/// Value at `n + 1/2` from the neighbours.
fn half_way(x: &[f64], n: usize) -> f64 {
    CLIP.half
        .iter()
        .enumerate()
        .filter_map(|(tap, h)| x.get((n + 1 + tap).checked_sub(HALF_TAPS)?).map(|x| x * f64::from(*h)))
        .sum()
}

/// Clips the `blocks` (each `hop` frames) of both channels: only what the curve takes off is filtered back to the rate and
/// subtracted, so that frames farther than the filter's length from any clipped one stay as they are, bit for bit. Returns how
/// many samples of both channels lose more than 0.1 dB.
pub fn clip(audio: &mut Audio, hop: usize, blocks: &[Range<usize>], curve: &ClipCurve) -> u64 {
    // Silence on both sides, so that what the filters find between it and the track counts too.
    const PAD: usize = HALF_TAPS + WIDE_TAPS;
    let ends = |block: usize| 2 * (PAD + (block * hop).min(audio.frames()));
    let frames = audio.frames() + 2 * PAD;
    let mut inside = vec![false; 2 * frames];
    for blocks in blocks {
        inside[ends(blocks.start)..ends(blocks.end)].fill(true);
    }
    let mut touched = 0;
    for channel in &mut audio.channels {
        touched += channel
            .iter()
            .zip(inside[2 * PAD..].iter().step_by(2))
            .filter(|(x, on)| **on && x.abs() > curve.report_threshold)
            .count();
        let mut x = vec![0.0; frames];
        for (x, sample) in x[PAD..].iter_mut().zip(&*channel) {
            *x = f64::from(*sample);
        }
        // To twice the rate.
        let mut doubled = vec![0.0; 2 * frames];
        for n in 0..frames {
            doubled[2 * n] = x[n];
            doubled[2 * n + 1] = half_way(&x, n);
        }
        // To 16 times the rate, through the curve, and back to twice: the filters of the way up, reversed.
        let mut excess = vec![0.0; 2 * frames];
        for m in (0..2 * frames).filter(|m| inside[*m]) {
            for phase in &CLIP.wide {
                let around = || (0..2 * WIDE_TAPS).map(|tap| (m + 1 + tap).checked_sub(WIDE_TAPS));
                let value: f64 =
                    phase.iter().zip(around()).filter_map(|(h, at)| doubled.get(at?).map(|z| z * f64::from(*h))).sum();
                let taken = curve.excess(value.abs()).copysign(value);
                for (h, at) in phase.iter().zip(around()) {
                    if let Some(sum) = at.and_then(|at| excess.get_mut(at)) {
                        *sum += f64::from(*h) * taken / CLIP.wide.len() as f64;
                    }
                }
            }
        }
        // Back to the rate.
        for (n, sample) in (PAD..).zip(channel.iter_mut()) {
            let sum: f64 = CLIP
                .half
                .iter()
                .enumerate()
                .filter_map(|(tap, h)| {
                    let at = (n + HALF_TAPS).checked_sub(1 + tap)?;
                    excess.get(2 * at + 1).map(|e| e * f64::from(*h))
                })
                .sum();
            *sample -= (0.5 * (excess[2 * n] + sum)) as f32;
        }
    }
    touched as u64
}
