//! `clip`: only the runs of blocks that reach the knee are brought to eight times the rate, in two stages.

use super::fold::{between, correlate, halve};
use loopmaster_core::Audio;
use loopmaster_core::render::curves::ClipCurve;
use loopmaster_core::render::oversample::{CLIP, HALF_TAPS, QUAD_TAPS};
use multiversion::multiversion;
use rayon::prelude::*;
use std::ops::Range;

/// Most frames per task.
const TASK: usize = 2048;
/// Frames that the second stage reaches beyond a task.
const QUAD_REACH: usize = QUAD_TAPS / 2;
/// Frames that both filters together reach beyond a task.
const REACH: usize = HALF_TAPS + QUAD_REACH;

/// See [`loopmaster_core::render::reference::clip`].
pub(super) fn clip(audio: &mut Audio, hop: usize, blocks: &[Range<usize>], curve: &ClipCurve) -> u64 {
    let frames = audio.frames();
    let tasks: Vec<Range<usize>> = blocks
        .iter()
        .map(|run| (run.start * hop).min(frames)..(run.end * hop).min(frames))
        .flat_map(|run| run.clone().step_by(TASK).map(move |from| from..(from + TASK).min(run.end)))
        .collect();
    let mut touched = 0;
    for channel in &mut audio.channels {
        touched += tasks
            .iter()
            .map(|task| channel[task.clone()].iter().filter(|x| x.abs() > curve.start).count() as u64)
            .sum::<u64>();
        let found: Vec<Option<Vec<f32>>> = tasks.par_iter().map(|task| excess(channel, task, curve)).collect();
        for (task, excess) in tasks.iter().zip(found) {
            let Some(excess) = excess else { continue };
            let from = task.start.saturating_sub(REACH);
            for (x, e) in channel[from..].iter_mut().zip(&excess[from + REACH - task.start..]) {
                *x -= e;
            }
        }
    }
    touched
}

/// What is taken off, from `REACH` frames before the task to `REACH` frames after it; `None` where it is nothing.
fn excess(channel: &[f32], task: &Range<usize>, curve: &ClipCurve) -> Option<Vec<f32>> {
    let n = task.len();
    // The task's frames and `REACH` around them, silence outside the track.
    let mut x = vec![0f32; n + 2 * REACH];
    let from = task.start.saturating_sub(REACH);
    let to = (task.end + REACH).min(channel.len());
    let at = from + REACH - task.start;
    x[at..at + to - from].copy_from_slice(&channel[from..to]);

    // Twice the rate, for the task's frames and `QUAD_REACH` around them.
    let mut odd = vec![0f32; n + 2 * QUAD_REACH];
    between(&x[1..], &mut odd);
    let doubled: Vec<f32> = x[HALF_TAPS..].iter().zip(&odd).flat_map(|(even, odd)| [*even, *odd]).collect();

    // Eight times the rate, the curve, and back to twice: the filters of the way up, turned around.
    let mut bent = vec![0f32; 2 * n + 4 * QUAD_TAPS];
    let mut back = vec![0f32; 2 * n + 2 * QUAD_TAPS];
    let mut sum = vec![0f32; 2 * n + 2 * QUAD_TAPS];
    let mut any = false;
    for phase in &CLIP.quad {
        let value = &mut bent[2 * QUAD_TAPS..2 * QUAD_TAPS + 2 * n];
        correlate(&doubled[1..], phase, value);
        if bend(value, curve) == 0.0 {
            continue;
        }
        any = true;
        let turned: [f32; 2 * QUAD_TAPS] = std::array::from_fn(|i| 0.25 * phase[2 * QUAD_TAPS - 1 - i]);
        correlate(&bent, &turned, &mut back);
        sum.iter_mut().zip(&back).for_each(|(sum, back)| *sum += back);
    }
    any.then(|| {
        let (even, odd): (Vec<f32>, Vec<f32>) = sum.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip();
        let mut out = vec![0f32; n + 2 * REACH];
        halve(&even, &odd, &mut out);
        out
    })
}

/// Replaces values by what the curve takes off them; returns the largest of it.
#[multiversion(targets("x86_64+avx2+fma"))]
fn bend(values: &mut [f32], curve: &ClipCurve) -> f32 {
    let ClipCurve { begin, width, weight, .. } = *curve;
    let inverse = [1.0 / width[0], 1.0 / width[1]];
    let scale = [weight[0] * width[0], weight[1] * width[1]];
    let mut most = [0f32; 8];
    let part = |magnitude: f32, i: usize| {
        let t = (magnitude - begin[i]) * inverse[i];
        let inside = t.clamp(0.0, 1.0);
        let squared = inside * inside;
        let turn = squared * squared * inside * (7.0 + inside * (-14.0 + inside * (10.0 - 2.5 * inside)));
        scale[i] * (turn + (t - 1.0).max(0.0))
    };
    for chunk in values.chunks_mut(8) {
        for (most, value) in most.iter_mut().zip(chunk) {
            let taken = (part(value.abs(), 0) + part(value.abs(), 1)).max(0.0);
            *most = most.max(taken);
            *value = taken.copysign(*value);
        }
    }
    most.into_iter().fold(0.0, f32::max)
}
