//! `levels` and `gains` of one band: fed with hop sums block by block, serial over the track.

use super::loops;
use crate::render::design::Band;
use crate::render::gains::BandGain;
use crate::units::Db;
use std::f64::consts::TAU;

/// Follows one band through the track.
///
/// The level at a point is a Hann window over frames, `½ (1 − cos(θ + φ))` with θ fixed per hop and φ per frame in the hop: three
/// sums per hop (plain, cos φ, sin φ) give the exact window of any length for three multiplications per frame.
pub(super) struct BandFollower {
    gain: BandGain,
    window: usize,
    /// cos φ and sin φ for each frame of a hop.
    pub(super) phases: [Vec<f32>; 2],
    /// Per hop of the window, what the three sums are multiplied by.
    weights: Vec<[f32; 3]>,
    /// Sums of the hops from `first` on, as far as they are still needed.
    sums: Vec<[f32; 3]>,
    first: usize,
    /// Excess gain (gain − 1) of every point so far.
    pub(super) excess: Vec<f64>,
    reduction: f64,
    total: f64,
}

impl BandFollower {
    pub(super) fn new(band: &Band, hop: usize, points: usize) -> Self {
        let length = (hop * band.window) as f64;
        let phase = |i: usize| TAU * (i as f64 + 0.5) / length;
        let weight = |p: usize| {
            let theta = TAU * p as f64 / band.window as f64;
            [1.0, -theta.cos(), theta.sin()].map(|w| (w / length) as f32)
        };
        Self {
            gain: band.gain,
            window: band.window,
            phases: [
                (0..hop).map(|i| phase(i).cos() as f32).collect(),
                (0..hop).map(|i| phase(i).sin() as f32).collect(),
            ],
            weights: (0..band.window).map(weight).collect(),
            sums: Vec::new(),
            first: 0,
            excess: Vec::with_capacity(points),
            reduction: 0.0,
            total: 0.0,
        }
    }

    /// Takes the sums of the next hops.
    pub(super) fn push(&mut self, sums: &[[f32; 3]]) {
        self.sums.extend_from_slice(sums);
    }

    /// Works out every point whose window has been seen; at the end of the track (`points` given) all that are left.
    pub(super) fn advance(&mut self, points: Option<usize>) {
        let half = self.window / 2;
        let seen = self.first + self.sums.len();
        let end = points.unwrap_or((seen + 1).saturating_sub(half));
        for point in self.excess.len()..end {
            // The window begins at hop point − half; what lies outside of the track is silence.
            let from = point.saturating_sub(half).max(self.first).min(seen);
            let to = (point + half).min(seen);
            let weights = &self.weights[(from + half).saturating_sub(point).min(self.window)..];
            let power = loops::weigh(&self.sums[from - self.first..to - self.first], weights);
            self.reduction = self.gain.follow(self.reduction, self.gain.curve(power));
            self.total += self.reduction;
            self.excess.push(self.gain.excess(self.reduction));
        }
        let done = self.excess.len().saturating_sub(half).saturating_sub(self.first).min(self.sums.len());
        self.sums.drain(..done);
        self.first += done;
    }

    /// Mean reduction over all points.
    pub(super) fn mean(&self) -> Db {
        Db(self.total / self.excess.len().max(1) as f64)
    }

    /// The excess gain at a point, held before the first and after the last.
    pub(super) fn at(&self, point: usize) -> f64 {
        self.excess.get(point).or(self.excess.last()).copied().unwrap_or(0.0)
    }
}
