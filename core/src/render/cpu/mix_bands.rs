//! `mix_bands`: `y = x + Σ (gᵢ − 1)·bᵢ`, back to left and right, a lane of frames at a time.

use crate::Audio;
use crate::control::compressor::cubic;
use multiversion::multiversion;

/// Frames mixed at a time; every hop is a multiple of it.
const LANE: usize = 32;

/// Adds what the gain of one band adds to the whole mix, in place: the kernel alone, as [`crate::render::reference::mix_bands`] is.
pub fn mix_bands(audio: &mut Audio, band: &[Vec<f32>; 2], excess: &[f64], hop: usize) {
    let [mid, side] = band.each_ref().map(|channel| {
        let mut whole = channel.clone();
        whole.resize(channel.len().next_multiple_of(LANE), 0.0);
        whole
    });
    let [left, right] = &mut audio.channels;
    mix([None, None], &[[&mid, &side]], &[excess], hop, 0, left, right);
}

/// The same over one block and all its bands: `direct` is the tone-filtered signal, where there is one; `[band]` signals of whole lanes,
/// `[band]` the excess gains of the whole track, whose point `first` stands at the block's first frame.
pub(super) fn mix(
    direct: [Option<&[f32]>; 2],
    bands: &[[&[f32]; 2]],
    excess: &[&[f64]],
    hop: usize,
    first: usize,
    left: &mut [f32],
    right: &mut [f32],
) {
    let ramp: Vec<f32> = (0..hop).map(|i| i as f32 / hop as f32).collect();
    let ramp = ramp.as_chunks::<LANE>().0;
    let mut cubics = vec![None; bands.len()];

    for (lane, (left, right)) in left.chunks_mut(LANE).zip(right.chunks_mut(LANE)).enumerate() {
        let (at, part) = (lane * LANE, lane % ramp.len());
        if part == 0 {
            let point = first + lane / ramp.len();
            for (cubic, excess) in cubics.iter_mut().zip(excess) {
                *cubic = between(excess, point);
            }
        }
        let lane_of = |signal: &[f32]| signal[at..].first_chunk::<LANE>().copied().unwrap_or([0.0; LANE]);
        let [mut mid, mut side] = direct.map(|x| x.map_or([0.0; LANE], lane_of));
        let mut touched = false;
        for (c, band) in cubics.iter().zip(bands) {
            if let Some(c) = c {
                let [band_mid, band_side] = band.map(lane_of);
                add_band(&mut mid, &mut side, [&band_mid, &band_side], *c, &ramp[part]);
                touched = true;
            }
        }
        if direct[0].is_some() {
            left_right(&mid, &side, left, right);
        } else if touched {
            add_left_right(&mid, &side, left, right);
        }
    }
}

/// The excess gain from `point` to the next as a cubic, held before the first and after the last; `None` where it is nothing all the
/// way.
fn between(excess: &[f64], point: usize) -> Option<[f32; 4]> {
    let at = |point: usize| excess.get(point).or(excess.last()).copied().unwrap_or(0.0);
    let points = [at(point.saturating_sub(1)), at(point), at(point + 1), at(point + 2)];
    (points[1] != 0.0 || points[2] != 0.0).then(|| cubic(points).map(|c| c as f32))
}

/// `mid += (g − 1)·band mid`, likewise side, over one lane; the excess gain is the cubic `c` at `t`.
#[multiversion(targets("x86_64+avx2+fma"))]
fn add_band(mid: &mut [f32; LANE], side: &mut [f32; LANE], band: [&[f32; LANE]; 2], c: [f32; 4], t: &[f32; LANE]) {
    for i in 0..LANE {
        let excess = c[0] + t[i] * (c[1] + t[i] * (c[2] + t[i] * c[3]));
        mid[i] += excess * band[0][i];
        side[i] += excess * band[1][i];
    }
}

/// Left and right of mid and side.
#[multiversion(targets("x86_64+avx2+fma"))]
fn left_right(mid: &[f32], side: &[f32], left: &mut [f32], right: &mut [f32]) {
    for (((m, s), l), r) in mid.iter().zip(side).zip(left).zip(right) {
        *l = m + s;
        *r = m - s;
    }
}

/// Adds what mid and side gained to left and right.
#[multiversion(targets("x86_64+avx2+fma"))]
fn add_left_right(mid: &[f32], side: &[f32], left: &mut [f32], right: &mut [f32]) {
    for (((m, s), l), r) in mid.iter().zip(side).zip(left).zip(right) {
        *l += m + s;
        *r += m - s;
    }
}
