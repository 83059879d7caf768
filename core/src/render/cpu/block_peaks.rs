//! `block_peaks`: phases k and 8 − k of a symmetric filter share their even and odd halves, so two phases cost one.

use super::mul_add;
use crate::Audio;
use crate::render::kernels::Grid;
use crate::render::oversample::{FINE, FINE_TAPS, Interpolator, METER, METER_TAPS, PEAK, PEAK_TAPS};
use multiversion::{multiversion, target::target_cfg_f};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::LazyLock;

/// Frames computed at a time.
const LANES: usize = 32;
/// Blocks per task.
const TASK: usize = 256;

/// Even and odd halves of the phase pairs (k, n − k), then the middle phase: `[pair][tap pair] = (even, odd)`. Tap pair `i` weighs
/// the samples `n − i` and `n + 1 + i`.
struct Folded<const HALF: usize> {
    pairs: Vec<[(f32, f32); HALF]>,
    middle: [f32; HALF],
}

impl<const HALF: usize> Folded<HALF> {
    fn new(filter: &Interpolator, step: usize) -> Self {
        let phases = filter.phases.len();
        let pairs = (step..phases / 2).step_by(step).map(|k| {
            std::array::from_fn(|i| {
                let (a, b) = (filter.phases[k][HALF - 1 - i], filter.phases[k][HALF + i]);
                (0.5 * (a + b), 0.5 * (a - b))
            })
        });
        Self { pairs: pairs.collect(), middle: std::array::from_fn(|i| filter.phases[phases / 2][HALF + i]) }
    }
}

static COARSE: LazyLock<[Folded<{ PEAK_TAPS / 2 }>; 2]> = LazyLock::new(|| [1, 2].map(|step| Folded::new(&PEAK, step)));
static CLOSE: LazyLock<Folded<{ FINE_TAPS / 2 }>> = LazyLock::new(|| Folded::new(&FINE, 1));
static SHORT: LazyLock<Folded<{ METER_TAPS / 2 }>> = LazyLock::new(|| Folded::new(&METER, 1));

/// See [`crate::render::reference::block_peaks`].
pub(super) fn block_peaks(audio: &Audio, hop: usize, blocks: &[Range<usize>], grid: Grid, peaks: &mut [f32]) {
    let tasks: Vec<Range<usize>> =
        blocks.iter().flat_map(|run| run.clone().step_by(TASK).map(|from| from..(from + TASK).min(run.end))).collect();
    let step = grid.step(audio.rate);
    let found: Vec<Vec<f32>> = tasks
        .par_iter()
        .map(|task| {
            let mut out = vec![0f32; task.len()];
            for channel in &audio.channels {
                match grid {
                    Grid::Coarse => scan(channel, hop, task.start, &COARSE[step - 1], &mut out),
                    Grid::Fine => {
                        scan(channel, hop, task.start, &CLOSE, &mut out);
                        scan(channel, hop, task.start, &SHORT, &mut out);
                    }
                }
            }
            out
        })
        .collect();
    for (task, found) in tasks.into_iter().zip(found) {
        peaks[task].copy_from_slice(&found);
    }
}

/// Raises `out` to the peaks of one channel's blocks from `first` on.
fn scan<const HALF: usize>(channel: &[f32], hop: usize, first: usize, filter: &Folded<HALF>, out: &mut [f32]) {
    // The frames and what the filter reaches beyond them, silence outside the track and after its end.
    let frames = out.len() * hop;
    let mut x = vec![0f32; frames + 2 * HALF];
    let start = first * hop;
    let end = (start + frames).min(channel.len());
    let from = start.saturating_sub(HALF);
    let to = (end + HALF).min(channel.len());
    let at = from + HALF - start;
    x[at..at + to - from].copy_from_slice(&channel[from..to]);
    peaks_of(&x, hop, end - start, filter, out);
}

/// Peaks of `frames` frames; `x` begins `HALF` frames ahead of the first.
#[multiversion(targets("x86_64+avx2+fma"), dispatcher = "direct")]
fn peaks_of<const HALF: usize>(x: &[f32], hop: usize, frames: usize, filter: &Folded<HALF>, out: &mut [f32]) {
    if target_cfg_f!(target_feature = "fma") {
        peaks_with::<HALF, true>(x, hop, frames, filter, out);
    } else {
        peaks_with::<HALF, false>(x, hop, frames, filter, out);
    }
}

#[expect(clippy::inline_always, reason = "the loops must be compiled with the caller's instruction set")]
#[inline(always)]
fn peaks_with<const HALF: usize, const FMA: bool>(
    x: &[f32],
    hop: usize,
    frames: usize,
    filter: &Folded<HALF>,
    out: &mut [f32],
) {
    let mut even = [[0f32; LANES]; HALF];
    let mut odd = [[0f32; LANES]; HALF];
    for (block, out) in out.iter_mut().enumerate() {
        for n in (block * hop..(block + 1) * hop).step_by(LANES).take_while(|n| *n < frames) {
            // Tap pair i of frame n: the samples n − i and n + 1 + i.
            let x = &x[n..n + LANES + 2 * HALF];
            for (i, (even, odd)) in even.iter_mut().zip(&mut odd).enumerate() {
                let (a, b) = (&x[HALF - i..HALF - i + LANES], &x[HALF + 1 + i..HALF + 1 + i + LANES]);
                for l in 0..LANES {
                    even[l] = a[l] + b[l];
                    odd[l] = a[l] - b[l];
                }
            }
            let mut best = [0f32; LANES];
            for l in 0..LANES {
                best[l] = x[HALF + l].abs();
            }
            let mut sum = [0f32; LANES];
            for (h, even) in filter.middle.iter().zip(&even) {
                for l in 0..LANES {
                    sum[l] = mul_add::<FMA>(*h, even[l], sum[l]);
                }
            }
            for l in 0..LANES {
                best[l] = best[l].max(sum[l].abs());
            }
            for pair in &filter.pairs {
                let (mut e, mut o) = ([0f32; LANES], [0f32; LANES]);
                for (i, (he, ho)) in pair.iter().enumerate() {
                    for l in 0..LANES {
                        e[l] = mul_add::<FMA>(*he, even[i][l], e[l]);
                        o[l] = mul_add::<FMA>(*ho, odd[i][l], o[l]);
                    }
                }
                // Phase k is e + o, phase n − k is e − o: the larger magnitude of both.
                for l in 0..LANES {
                    best[l] = best[l].max(e[l].abs() + o[l].abs());
                }
            }
            // Frames after the track's end are no frames.
            for best in best.iter().take(frames - n) {
                *out = out.max(*best);
            }
        }
    }
}
