//! The tone and width of a recording, as they are compared.

use super::curve::{average, centre, interpolate, mean, power, smooth};
use super::width::ONE_SIDED;
use crate::analyse::{Analysis, Spectrum};

/// A side this far under the mid is noise and crosstalk, not width, dB.
const NO_SIDE: f64 = -40.0;
/// The limits of the range in which levels are compared, Hz.
const RANGE: (f64, f64) = (28.0, 17_000.0);
/// Share of the bandwidth up to which a level says something about the tone: above is the edge of a low-pass.
const BELOW_THE_EDGE: f64 = 0.95;

/// The long-term levels of mid and side, with what of them says something.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shape {
    pub(super) hz: Vec<f64>,
    /// dB per 1/12 octave.
    pub(super) mid: Vec<f64>,
    pub(super) side: Vec<f64>,
    /// Points that say something about the tone.
    pub(super) counts: Vec<bool>,
    /// Points that say something about the width.
    pub(super) sided: Vec<bool>,
}

impl Shape {
    /// The mean power of the loud parts; in an analysis without it, the medians stand for it. Levels more than `range` dB under the
    /// loudest do not count.
    pub(super) fn new(analysis: &Analysis, range: f64) -> Self {
        let spectrum = if analysis.average.hz.is_empty() { &analysis.spectrum } else { &analysis.average };
        let mut shape = Self::levels(spectrum);
        let bandwidth = analysis.condition.bandwidth.0;
        let edge = if bandwidth > 0.0 { BELOW_THE_EDGE * bandwidth } else { f64::INFINITY };
        let both = |i: usize| power(shape.mid[i]) + power(shape.side[i]);
        let loudest = (0..shape.hz.len()).map(both).fold(0.0, f64::max);
        let counts = |i: usize| {
            (RANGE.0..=RANGE.1.min(edge)).contains(&shape.hz[i])
                && loudest > 0.0
                && both(i) > loudest * power(-range)
                && shape.mid[i] > -149.0
        };
        shape.counts = (0..shape.hz.len()).map(counts).collect();
        let one_sided = analysis.stereo.balance.0.abs() > ONE_SIDED;
        let (mid, side) = (0..shape.hz.len())
            .filter(|i| shape.counts[*i])
            .fold((0.0, 0.0), |(m, s), i| (m + power(shape.mid[i]), s + power(shape.side[i])));
        let wide = !analysis.stereo.mono && !one_sided && side > mid * power(NO_SIDE);
        shape.sided = shape.counts.iter().map(|counts| *counts && wide).collect();
        shape
    }

    /// Levels alone: nothing counts yet.
    pub(super) fn levels(spectrum: &Spectrum) -> Self {
        let clean = |values: &[f32], i: usize| {
            values.get(i).copied().filter(|v| v.is_finite()).map_or(-150.0, f64::from).clamp(-150.0, 60.0)
        };
        let mut points: Vec<(f64, f64, f64)> = (0..spectrum.hz.len())
            .map(|i| (f64::from(spectrum.hz[i]), clean(&spectrum.mid, i), clean(&spectrum.side, i)))
            .filter(|(hz, ..)| hz.is_finite() && *hz > 1.0)
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|b, a| b.0 <= a.0);
        Self {
            hz: points.iter().map(|p| p.0).collect(),
            mid: points.iter().map(|p| p.1).collect(),
            side: points.iter().map(|p| p.2).collect(),
            counts: vec![false; points.len()],
            sided: vec![false; points.len()],
        }
    }

    /// The weighted mean of shapes in dB, their levels aligned. A record counts where it says something; towards the end of that it
    /// fades, so that the mean has no step there.
    pub(super) fn blend(shapes: &[(&Self, f64)]) -> Option<Self> {
        if let [(only, _)] = shapes {
            return Some((*only).clone());
        }
        let hz = &shapes.first()?.0.hz;
        let shapes: Vec<(Self, f64)> = shapes
            .iter()
            .map(|(shape, weight)| {
                let shape = shape.on(hz);
                // The notes of two songs are not averaged, their tone is.
                let mid = smooth(hz, &shape.mid, &shape.counts, 1.0);
                let side = smooth(hz, &shape.side, &shape.counts, 1.0);
                (Self { mid, side, ..shape }, *weight)
            })
            .collect();
        let common = |i: usize| shapes.iter().all(|(shape, _)| shape.counts[i]);
        let level = |shape: &Self| {
            let against = |i: usize| shape.mid[i] - shapes[0].0.mid[i];
            centre(&(0..hz.len()).filter(|i| common(*i)).map(against).collect::<Vec<_>>())
        };
        let levels: Vec<f64> = shapes.iter().map(|(shape, _)| level(shape)).collect();
        let shares = |flags: fn(&Self) -> &Vec<bool>| -> Vec<Vec<f64>> {
            let soft = |(shape, weight): &(Self, f64)| {
                let flags: Vec<f64> = flags(shape).iter().map(|flag| f64::from(u8::from(*flag))).collect();
                let near = average(hz, &flags, |_| 0.5);
                flags.iter().zip(near).map(|(flag, near)| weight * flag * near.powi(2)).collect()
            };
            shapes.iter().map(soft).collect()
        };
        let (toned, sided) = (shares(|shape| &shape.counts), shares(|shape| &shape.sided));
        let at = |i: usize, shares: &[Vec<f64>], value: &dyn Fn(usize) -> f64| {
            mean((0..shapes.len()).map(|s| (value(s), shares[s][i])))
        };
        let mut out = Self { hz: hz.clone(), ..Self::default() };
        for i in 0..hz.len() {
            let mid = at(i, &toned, &|s| shapes[s].0.mid[i] - levels[s]);
            let ratio = at(i, &sided, &|s| (shapes[s].0.side[i] - shapes[s].0.mid[i]).max(NO_SIDE));
            out.counts.push(mid.is_some());
            out.sided.push(mid.is_some() && ratio.is_some());
            out.mid.push(mid.unwrap_or(-150.0));
            out.side.push(mid.unwrap_or(-150.0) + ratio.unwrap_or(NO_SIDE));
        }
        Some(out)
    }

    /// The same levels on another grid; what lies between a point that counts and one that does not counts as the nearer one.
    pub(super) fn on(&self, hz: &[f64]) -> Self {
        if self.hz == hz {
            return self.clone();
        }
        let curve = |values: &[f64]| -> Vec<f64> {
            let points: Vec<(f64, f64)> = self.hz.iter().copied().zip(values.iter().copied()).collect();
            hz.iter().map(|&f| interpolate(&points, f)).collect()
        };
        let flags = |values: &[bool]| -> Vec<bool> {
            let distance = |f: f64, i: usize| (self.hz[i] / f).log2().abs();
            hz.iter()
                .map(|&f| {
                    let nearest = (0..self.hz.len()).min_by(|a, b| distance(f, *a).total_cmp(&distance(f, *b)));
                    nearest.is_some_and(|i| distance(f, i) < 0.1 && values[i])
                })
                .collect()
        };
        Self {
            hz: hz.to_vec(),
            mid: curve(&self.mid),
            side: curve(&self.side),
            counts: flags(&self.counts),
            sided: flags(&self.sided),
        }
    }
}
