//! `gains`: from levels to gains.

use crate::control::compressor::Compressor;
use crate::units::Db;

/// The excess gain (gain − 1) at each control point, and the mean reduction over all of them.
#[must_use]
pub fn gains(levels: &[f64], gain: &Compressor) -> (Vec<f64>, Db) {
    let mut reduction = 0.0;
    let mut sum = 0.0;
    let mut excess = Vec::with_capacity(levels.len());
    for level in levels {
        reduction = gain.follow(reduction, gain.curve(*level));
        sum += reduction;
        excess.push(gain.excess(reduction));
    }
    (excess, Db(sum / levels.len().max(1) as f64))
}
