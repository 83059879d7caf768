//! The bass: at a sixteenth of the rate, through windows long enough to tell its twelfths of an octave apart.

use super::{CELL, GROUP, Setup, WINDOW, dot, load, transform, weighted};
use crate::Audio;
use rayon::prelude::*;
use realfft::num_complex::Complex;
use std::f64::consts::PI;

/// Half the decimator's length in its own output samples.
const REACH: usize = 8;
/// Taps of the decimator: a sinc at half the new rate under a Kaiser window of 60 dB, flat to 0.38 of the new rate.
fn decimator(decimation: usize) -> Vec<f32> {
    let reach = (REACH * decimation) as f64;
    let beta = 0.1102 * (60.0 - 8.7);
    let raw: Vec<f64> = (0..=2 * REACH * decimation)
        .map(|i| {
            let t = i as f64 - reach;
            let x = PI * t / decimation as f64;
            let sinc = if t == 0.0 { 1.0 } else { x.sin() / x };
            sinc * crate::meter::bessel_i0(beta * (1.0 - (t / reach).powi(2)).max(0.0).sqrt())
        })
        .collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|v| (v / sum) as f32).collect()
}

/// Output samples per unit of decimation work.
const DECIMATE_GROUP: usize = 4_096;

/// Every `decimation`-th sample of the low-passed channel; the first is at frame 0.
fn decimate(x: &[f32], decimation: usize, taps: &[f32]) -> Vec<f32> {
    let reach = REACH * decimation;
    let count = x.len().div_ceil(decimation);
    let mut out = vec![0.0; count];
    out.par_chunks_mut(DECIMATE_GROUP).enumerate().for_each(|(group, out)| {
        for (i, out) in out.iter_mut().enumerate() {
            let centre = (group * DECIMATE_GROUP + i) * decimation;
            let from = centre.saturating_sub(reach);
            let to = (centre + reach + 1).min(x.len());
            *out = dot(&x[from..to], &taps[from + reach - centre..to + reach - centre]);
        }
    });
    out
}

/// What the long windows give.
pub(super) struct Bass {
    /// `[cell][mid, side][1/12 octave below CROSSOVER]` mean square.
    pub(super) bands: Vec<[Vec<f64>; 2]>,
    /// Sums of mid², side², mid · side from 20 to 120 Hz.
    pub(super) low: [f64; 3],
}

/// Takes the channels down and looks at them through long windows, cell by cell.
pub(super) fn bass(audio: &Audio, dc: [f32; 2], setup: &Setup, cells: usize) -> Bass {
    let taps = decimator(setup.decimation);
    let left = decimate(&audio.channels[0], setup.decimation, &taps);
    let right = decimate(&audio.channels[1], setup.decimation, &taps);
    let groups: Vec<usize> = (0..cells).step_by(GROUP).collect();
    let parts: Vec<Bass> = groups
        .par_iter()
        .map(|&first| {
            let mut input = [vec![0.0f32; WINDOW], vec![0.0f32; WINDOW]];
            let mut output = [setup.long_forward.make_output_vec(), setup.long_forward.make_output_vec()];
            let mut scratch = setup.long_forward.make_scratch_vec();
            let mut part = Bass { bands: Vec::new(), low: [0.0; 3] };
            for cell in first..(first + GROUP).min(cells) {
                let centre = (cell * CELL + CELL / 2) * setup.hop / setup.decimation;
                let from = centre as isize - (WINDOW / 2) as isize;
                let [mid, side] = &mut input;
                load(&left, &right, from, &setup.long_window, dc, mid, side);
                for (input, output) in input.iter_mut().zip(&mut output) {
                    transform(&*setup.long_forward, input, output, &mut scratch);
                }
                let [mid, side] = &output;
                let power = |v: &[Complex<f32>], k: usize| f64::from(v[k].norm_sqr()) * setup.long_scale;
                part.bands.push([mid, side].map(|v| setup.long.iter().map(|p| weighted(p, |k| power(v, k))).collect()));
                part.low[0] += weighted(&setup.low, |k| power(mid, k));
                part.low[1] += weighted(&setup.low, |k| power(side, k));
                let cross = |k: usize| f64::from(mid[k].re * side[k].re + mid[k].im * side[k].im) * setup.long_scale;
                part.low[2] += weighted(&setup.low, cross);
            }
            part
        })
        .collect();
    let mut whole = Bass { bands: Vec::with_capacity(cells), low: [0.0; 3] };
    for part in parts {
        whole.bands.extend(part.bands);
        for (total, v) in whole.low.iter_mut().zip(part.low) {
            *total += v;
        }
    }
    whole
}
