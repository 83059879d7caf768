//! `gains`: from the levels of one band to its gains, in the order of the track.

use crate::control::compressor::Compressor;
use crate::units::Db;

/// The excess gain (gain − 1) at each control point, and the mean reduction over all of them: the kernel alone, as
/// [`crate::render::reference::gains`] is.
#[must_use]
pub fn gains(levels: &[f64], gain: &Compressor) -> (Vec<f64>, Db) {
    let mut gains = Gains::new(*gain, levels.len());
    for level in levels {
        gains.push(*level);
    }
    let mean = gains.mean();
    (gains.excess, mean)
}

/// The gain of one band so far.
pub(super) struct Gains {
    gain: Compressor,
    /// Excess gain (gain − 1) of every point so far.
    excess: Vec<f64>,
    reduction: f64,
    total: f64,
}

impl Gains {
    pub(super) fn new(gain: Compressor, points: usize) -> Self {
        Self { gain, excess: Vec::with_capacity(points), reduction: 0.0, total: 0.0 }
    }

    /// Takes the level of the next point.
    pub(super) fn push(&mut self, level: f64) {
        self.reduction = self.gain.follow(self.reduction, self.gain.curve(level));
        self.total += self.reduction;
        self.excess.push(self.gain.excess(self.reduction));
    }

    /// Mean reduction over all points.
    pub(super) fn mean(&self) -> Db {
        Db(self.total / self.excess.len().max(1) as f64)
    }

    /// The excess gains of all points so far.
    pub(super) fn excess(&self) -> &[f64] {
        &self.excess
    }
}
