//! `clip`: only the runs of blocks that reach the knee are brought to 16 times the rate, in two stages.

use super::half_way::{between, correlate, halve};
use crate::Audio;
use crate::control::curves::ClipCurve;
use crate::render::oversample::{CLIP, HALF_TAPS, WIDE_PHASES, WIDE_TAPS};
use multiversion::multiversion;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::LazyLock;

/// Most frames per task.
const TASK: usize = 2048;
/// Frames that the second stage reaches beyond a task.
const WIDE_REACH: usize = WIDE_TAPS / 2;
/// Frames that both filters together reach beyond a task.
const REACH: usize = HALF_TAPS + WIDE_REACH;

/// The filters of the way back.
static TURNED: LazyLock<[[f32; 2 * WIDE_TAPS]; WIDE_PHASES]> =
    LazyLock::new(|| CLIP.wide.map(|phase| std::array::from_fn(|i| phase[2 * WIDE_TAPS - 1 - i] / WIDE_PHASES as f32)));

/// See [`crate::render::reference::clip`].
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
            .map(|task| channel[task.clone()].iter().filter(|x| x.abs() > curve.report_threshold).count() as u64)
            .sum::<u64>();
        let found: Vec<Option<Vec<f32>>> = tasks
            .par_iter()
            .map_init(Scratch::default, |scratch, task| excess(channel, task, curve, scratch))
            .collect();
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

/// Memory that tasks of one thread share.
#[derive(Default)]
struct Scratch {
    x: Vec<f32>,
    between: Vec<f32>,
    doubled: Vec<f32>,
    bent: Vec<f32>,
    back: Vec<f32>,
    sum: Vec<f32>,
    even: Vec<f32>,
    odd: Vec<f32>,
}

/// `n` zeros.
fn zeros(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    buffer.clear();
    buffer.resize(n, 0.0);
    buffer
}

/// What is taken off, from `REACH` frames before the task to `REACH` frames after it; `None` where it is nothing.
fn excess(channel: &[f32], task: &Range<usize>, curve: &ClipCurve, scratch: &mut Scratch) -> Option<Vec<f32>> {
    let n = task.len();
    // The task's frames and `REACH` around them, silence outside the track.
    let x = zeros(&mut scratch.x, n + 2 * REACH);
    let from = task.start.saturating_sub(REACH);
    let to = (task.end + REACH).min(channel.len());
    let at = from + REACH - task.start;
    x[at..at + to - from].copy_from_slice(&channel[from..to]);

    // Twice the rate, for the task's frames and `WIDE_REACH` around them.
    let odd = zeros(&mut scratch.between, n + 2 * WIDE_REACH);
    between(&x[1..], odd);
    let doubled = zeros(&mut scratch.doubled, 2 * odd.len());
    for ((pair, even), odd) in doubled.chunks_exact_mut(2).zip(&x[HALF_TAPS..]).zip(&*odd) {
        (pair[0], pair[1]) = (*even, *odd);
    }

    // 16 times the rate, the curve, and back to twice: the filters of the way up, turned around.
    let bent = zeros(&mut scratch.bent, 2 * n + 4 * WIDE_TAPS);
    let back = zeros(&mut scratch.back, 2 * n + 2 * WIDE_TAPS);
    let sum = zeros(&mut scratch.sum, 2 * n + 2 * WIDE_TAPS);
    let mut any = false;
    for (phase, turned) in CLIP.wide.iter().zip(&*TURNED) {
        let value = &mut bent[2 * WIDE_TAPS..2 * WIDE_TAPS + 2 * n];
        correlate(&doubled[1..], phase, value);
        if bend(value, curve) == 0.0 {
            continue;
        }
        any = true;
        correlate(bent, turned, back);
        for (sum, back) in sum.iter_mut().zip(&*back) {
            *sum += back;
        }
    }
    any.then(|| {
        let even = zeros(&mut scratch.even, n + WIDE_TAPS);
        let odd = zeros(&mut scratch.odd, n + WIDE_TAPS + 4 * HALF_TAPS);
        for ((pair, even), odd) in sum.chunks_exact(2).zip(&mut *even).zip(&mut odd[2 * HALF_TAPS..]) {
            (*even, *odd) = (pair[0], pair[1]);
        }
        let mut out = vec![0f32; n + 2 * REACH];
        halve(even, odd, &mut out);
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
        let turn = inside * inside * inside * (1.0 - 0.5 * inside);
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
