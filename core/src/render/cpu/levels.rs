//! `levels`: how strong a band is at each control point, from sums over hops that come block by block.
//!
//! The level at a point is a Hann window over frames, `½ (1 − cos(θ + φ))` with θ fixed per hop and φ per frame in the hop: three sums
//! per hop (plain, cos φ, sin φ) give the exact window of any length for three multiplications per frame.

use multiversion::multiversion;
use std::f64::consts::TAU;

/// The level of a band at each control point of the track: the kernel alone, as [`crate::render::reference::levels`] is.
#[must_use]
pub fn levels(band: &[Vec<f32>; 2], hop: usize, window: usize) -> Vec<f64> {
    let hops = band[0].len().div_ceil(hop);
    let [mid, side] = band.each_ref().map(|channel| {
        let mut whole = channel.clone();
        whole.resize(hops * hop, 0.0);
        whole
    });
    let mut levels = Levels::new(hop, window);
    let mut sums = vec![[0.0; 3]; hops];
    levels.sums(&mid, &side, &mut sums);
    levels.push(&sums);
    let mut out = Vec::with_capacity(hops + 1);
    levels.advance(Some(hops + 1), |level| out.push(level));
    out
}

/// The level window of one band on its way through the track.
pub(super) struct Levels {
    window: usize,
    /// cos φ and sin φ for each frame of a hop.
    phases: [Vec<f32>; 2],
    /// Per hop of the window, what the three sums are multiplied by.
    weights: Vec<[f32; 3]>,
    /// Sums of the hops from `first` on, as far as they are still needed.
    sums: Vec<[f32; 3]>,
    first: usize,
    /// Points worked out so far.
    done: usize,
}

impl Levels {
    pub(super) fn new(hop: usize, window: usize) -> Self {
        let length = (hop * window) as f64;
        let phase = |i: usize| TAU * (i as f64 + 0.5) / length;
        let weight = |p: usize| {
            let theta = TAU * p as f64 / window as f64;
            [1.0, -theta.cos(), theta.sin()].map(|w| (w / length) as f32)
        };
        Self {
            window,
            phases: [
                (0..hop).map(|i| phase(i).cos() as f32).collect(),
                (0..hop).map(|i| phase(i).sin() as f32).collect(),
            ],
            weights: (0..window).map(weight).collect(),
            sums: Vec::new(),
            first: 0,
            done: 0,
        }
    }

    /// The sums of whole hops of a band.
    pub(super) fn sums(&self, mid: &[f32], side: &[f32], out: &mut [[f32; 3]]) {
        let [cos, sin] = &self.phases;
        hop_sums(mid, side, cos, sin, out);
    }

    /// Takes the sums of the next hops.
    pub(super) fn push(&mut self, sums: &[[f32; 3]]) {
        self.sums.extend_from_slice(sums);
    }

    /// Hands over the level of every point whose window has been seen; at the end of the track (`points` given) of all that are left.
    pub(super) fn advance(&mut self, points: Option<usize>, mut each: impl FnMut(f64)) {
        let half = self.window / 2;
        let seen = self.first + self.sums.len();
        let end = points.unwrap_or((seen + 1).saturating_sub(half));
        for point in self.done..end {
            // The window begins at hop point − half; what lies outside of the track is silence.
            let from = point.saturating_sub(half).max(self.first).min(seen);
            let to = (point + half).min(seen);
            let weights = &self.weights[(from + half).saturating_sub(point).min(self.window)..];
            each(weigh(&self.sums[from - self.first..to - self.first], weights));
        }
        self.done = self.done.max(end);
        let old = self.done.saturating_sub(half).saturating_sub(self.first).min(self.sums.len());
        self.sums.drain(..old);
        self.first += old;
    }
}

/// Sums of mid² + side² over each hop: plain, and weighted by `cos` and `sin` (one hop long). `mid` and `side` are whole hops.
#[multiversion(targets("x86_64+avx2+fma"))]
fn hop_sums(mid: &[f32], side: &[f32], cos: &[f32], sin: &[f32], out: &mut [[f32; 3]]) {
    let hop = cos.len();
    for ((out, mid), side) in out.iter_mut().zip(mid.chunks_exact(hop)).zip(side.chunks_exact(hop)) {
        let mut sums = [[0f32; 8]; 3];
        for (((m, s), c), n) in
            mid.chunks_exact(8).zip(side.chunks_exact(8)).zip(cos.chunks_exact(8)).zip(sin.chunks_exact(8))
        {
            for i in 0..8 {
                let energy = m[i] * m[i] + s[i] * s[i];
                sums[0][i] += energy;
                sums[1][i] += energy * c[i];
                sums[2][i] += energy * n[i];
            }
        }
        *out = sums.map(|lanes| {
            let fours = [lanes[0] + lanes[4], lanes[1] + lanes[5], lanes[2] + lanes[6], lanes[3] + lanes[7]];
            (fours[0] + fours[2]) + (fours[1] + fours[3])
        });
    }
}

/// `Σ sums · weights` in `f64`, three accumulators.
#[multiversion(targets("x86_64+avx2+fma"))]
fn weigh(sums: &[[f32; 3]], weights: &[[f32; 3]]) -> f64 {
    let mut total = [0f64; 3];
    for (sums, weights) in sums.iter().zip(weights) {
        for i in 0..3 {
            total[i] += f64::from(sums[i]) * f64::from(weights[i]);
        }
    }
    total[0] + total[1] + total[2]
}
