//! One pass over the samples: sums, extremes and the waveform, per 256 frames.

use super::Waveform;
use crate::Audio;
use multiversion::multiversion;
use rayon::prelude::*;

/// Frames per point of the waveform, as audiowaveform's default zoom.
pub(super) const POINT: usize = 256;

/// Points per unit of work of a thread.
const GROUP: usize = 512;

const LANES: usize = 16;

/// 256 frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Point {
    /// `[channel]` lowest sample.
    pub(super) low: [f32; 2],
    /// `[channel]` highest sample.
    pub(super) high: [f32; 2],
    /// Sums of L, R, L², R², L·R.
    sums: [f32; 5],
    /// Largest |L − R|.
    difference: f32,
}

impl Point {
    /// Highest magnitude.
    pub(super) fn peak(&self) -> f32 {
        self.high[0].max(self.high[1]).max(-self.low[0]).max(-self.low[1])
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn point(left: &[f32], right: &[f32]) -> Point {
    let mut low = [[f32::INFINITY; LANES]; 2];
    let mut high = [[f32::NEG_INFINITY; LANES]; 2];
    let mut sums = [[0.0f32; LANES]; 5];
    let mut difference = [0.0f32; LANES];
    let whole = left.len() / LANES * LANES;
    let mut add = |lane: usize, l: f32, r: f32| {
        low[0][lane] = if l < low[0][lane] { l } else { low[0][lane] };
        low[1][lane] = if r < low[1][lane] { r } else { low[1][lane] };
        high[0][lane] = if l > high[0][lane] { l } else { high[0][lane] };
        high[1][lane] = if r > high[1][lane] { r } else { high[1][lane] };
        let d = (l - r).abs();
        difference[lane] = if d > difference[lane] { d } else { difference[lane] };
        sums[0][lane] += l;
        sums[1][lane] += r;
        sums[2][lane] += l * l;
        sums[3][lane] += r * r;
        sums[4][lane] += l * r;
    };
    for (l, r) in left[..whole].chunks_exact(LANES).zip(right[..whole].chunks_exact(LANES)) {
        for lane in 0..LANES {
            add(lane, l[lane], r[lane]);
        }
    }
    for (lane, (&l, &r)) in left[whole..].iter().zip(&right[whole..]).enumerate() {
        add(lane, l, r);
    }
    Point {
        low: low.map(|v| v.iter().fold(f32::INFINITY, |a, &b| a.min(b))),
        high: high.map(|v| v.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b))),
        sums: sums.map(|v| v.iter().sum()),
        difference: difference.iter().fold(0.0, |a, &b| a.max(b)),
    }
}

/// What the pass found.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// One per 256 frames.
    pub(super) points: Vec<Point>,
    /// Highest magnitude.
    pub(super) peak: f32,
    /// `[channel]` mean.
    pub(super) mean: [f64; 2],
    /// `[channel]` mean square.
    pub(super) square: [f64; 2],
    /// Mean of L·R.
    pub(super) product: f64,
    /// Both channels are equal in every sample.
    pub(super) mono: bool,
}

pub(super) fn measure(audio: &Audio) -> Levels {
    let [left, right] = &audio.channels;
    let groups: Vec<(Vec<Point>, [f64; 5])> = left
        .par_chunks(POINT * GROUP)
        .zip(right.par_chunks(POINT * GROUP))
        .map(|(left, right)| {
            let points: Vec<Point> = left.chunks(POINT).zip(right.chunks(POINT)).map(|(l, r)| point(l, r)).collect();
            let sums =
                points.iter().fold([0.0; 5], |t: [f64; 5], p| std::array::from_fn(|i| t[i] + f64::from(p.sums[i])));
            (points, sums)
        })
        .collect();
    let frames = audio.frames().max(1) as f64;
    let mut sums = [0.0; 5];
    let mut points = Vec::with_capacity(audio.frames().div_ceil(POINT));
    for (group, part) in groups {
        points.extend(group);
        for (total, v) in sums.iter_mut().zip(part) {
            *total += v / frames;
        }
    }
    Levels {
        peak: points.iter().fold(0.0, |a, p| a.max(p.peak())),
        mono: points.iter().all(|p| p.difference == 0.0),
        mean: [sums[0], sums[1]],
        square: [sums[2], sums[3]],
        product: sums[4],
        points,
    }
}

impl Levels {
    pub(super) fn waveform(&self, rate: u32) -> Waveform {
        let points = self.points.iter().map(|p| (p.low[0].min(p.low[1]), p.high[0].max(p.high[1]))).collect();
        Waveform { frames_per_point: POINT as u32, rate, points }
    }

    /// Frames before the first and after the last sample that reaches `floor`.
    pub(super) fn silence(&self, audio: &Audio, floor: f32) -> (usize, usize) {
        let frames = audio.frames();
        let loud = |i: &usize| audio.channels.iter().any(|c| c[*i].abs() >= floor);
        let Some(first) = self.points.iter().position(|p| p.peak() >= floor) else { return (frames, 0) };
        let last = self.points.iter().rposition(|p| p.peak() >= floor).unwrap_or(first);
        let head = (first * POINT..frames).find(loud).unwrap_or(0);
        let end = (last * POINT..frames.min((last + 1) * POINT)).rev().find(loud).map_or(frames, |i| i + 1);
        (head, frames - end)
    }
}
