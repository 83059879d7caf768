//! Memoryless curves: what `saturate` and `clip` do to one value.

use super::{Clipper, Saturation};
use crate::units::Db;

/// Soft clipping around a ceiling, worked out from [`Clipper`].
///
/// The slope of the curve turns from 1 to 0 around the ceiling, and from 0 to `floor` around the level at which `max_reduction` is
/// taken, so that no more than that is ever taken off. Both turns are smoothsteps (two continuous derivatives of the curve) and
/// wide: the 35th harmonic of a 20 kHz tone at +6 dB, the first to fold into the band at 16 times the rate, lies below −90 dBFS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipCurve {
    /// Magnitude below which nothing happens.
    pub start: f32,
    /// Where each turn begins.
    pub begin: [f32; 2],
    /// How wide each turn is.
    pub width: [f32; 2],
    /// How much each turn counts: 1, and minus the slope above the second turn.
    pub weight: [f32; 2],
    /// Magnitude from which more than 0.1 dB is taken off: what counts as clipped in a report.
    pub report_threshold: f32,
}

/// Integral of the smoothstep `3t² − 2t³` from 0 to `t`, continued with a slope of 1.
fn turn(t: f64) -> f64 {
    let inside = t.clamp(0.0, 1.0);
    inside * inside * inside * (1.0 - 0.5 * inside) + (t - 1.0).max(0.0)
}

impl ClipCurve {
    /// The curve for a ceiling (linear amplitude).
    #[must_use]
    pub fn new(clipper: &Clipper, ceiling: f64) -> Self {
        // More than 3 dB of clipping is heard as distortion on sustained tones: docs and plan promise to stay below.
        let floor = Db(-clipper.max_reduction.0.clamp(0.0, 3.0)).amplitude();
        let start = Db(-clipper.knee.0.clamp(0.1, 12.0)).amplitude();
        let first = 1.0 - start;
        // Wider than the first turn, and never beginning before it.
        let second = (1.0 / floor - start).min(2.0 * first);
        let mut curve = Self {
            start: (start * ceiling) as f32,
            report_threshold: f32::MAX,
            begin: [(start * ceiling) as f32, ((1.0 / floor - second) * ceiling) as f32],
            width: [(2.0 * first * ceiling) as f32, (2.0 * second * ceiling) as f32],
            weight: [1.0, -floor as f32],
        };
        // The share that is taken off grows with the magnitude: halve the interval.
        let (mut low, mut high) = (f64::from(curve.start), ceiling / floor * 2.0);
        let least = 1.0 - Db(-0.1).amplitude();
        if curve.excess(high) > least * high {
            for _ in 0..40 {
                let middle = f64::midpoint(low, high);
                if curve.excess(middle) > least * middle { high = middle } else { low = middle }
            }
            curve.report_threshold = high as f32;
        }
        curve
    }

    /// What is taken off a magnitude, ≥ 0.
    #[must_use]
    pub fn excess(&self, magnitude: f64) -> f64 {
        let part = |i: usize| {
            let width = f64::from(self.width[i]);
            f64::from(self.weight[i]) * width * turn((magnitude - f64::from(self.begin[i])) / width)
        };
        (part(0) + part(1)).max(0.0)
    }
}

/// The polynomial of [`Saturation`] in difference form: `y − x = cube·w³ + square·w²`, where `w` is `x` over `full`, held in ±1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SaturationCurve {
    /// Amplitude that counts as full scale.
    pub full: f32,
    /// Factor of the third order, ≤ 0.
    pub cube: f32,
    /// Factor of the second order.
    pub square: f32,
}

impl SaturationCurve {
    /// The curve for audio whose highest sample has the magnitude `peak`. Small signals keep their level. The slope stays ≥ 0 up to
    /// full scale: `odd` = 1 is the cubic soft clipper `v − v³/3`, and where `odd + even` exceeds 1 both give way. The level of full
    /// scale is raised to the music's own peak where that is higher (+2 dB for peaks between the samples): a polynomial stays
    /// free of aliases only as long as nothing is cut off.
    #[must_use]
    pub fn new(saturation: &Saturation, peak: f32) -> Self {
        let (odd, even) = (saturation.odd.clamp(0.0, 1.0), saturation.even.clamp(-1.0, 1.0));
        let share = (odd + even.abs()).max(1.0);
        let full = saturation.reference.amplitude().max(f64::from(peak) * Db(2.0).amplitude()).max(1e-6);
        Self { full: full as f32, cube: (-odd / share / 3.0 * full) as f32, square: (even / share / 2.0 * full) as f32 }
    }

    /// Third-order part of the difference at `x`.
    #[must_use]
    pub fn odd(&self, x: f64) -> f64 {
        let w = (x / f64::from(self.full)).clamp(-1.0, 1.0);
        f64::from(self.cube) * w * w * w
    }

    /// Second-order part of the difference at `x`.
    #[must_use]
    pub fn even(&self, x: f64) -> f64 {
        let w = (x / f64::from(self.full)).clamp(-1.0, 1.0);
        f64::from(self.square) * w * w
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_is_monotonic_and_never_takes_more_than_its_limit() {
        for max in [0.0, 1.0, 2.0, 3.0] {
            for knee in [0.5, 2.0, 4.0] {
                let curve = ClipCurve::new(&Clipper { max_reduction: Db(max), knee: Db(knee) }, 0.89);
                let mut last = 0.0;
                for i in 0..20_000 {
                    let v = f64::from(i) * 2e-4;
                    let out = v - curve.excess(v);
                    assert!(out >= last - 1e-7 && out <= v, "not monotonic at {v} for {max} dB, knee {knee} dB");
                    let taken = if v > 0.0 { -Db::from_amplitude(out / v).0 } else { 0.0 };
                    assert!(taken <= max + 1e-4, "{taken} dB taken at {v}, the most is {max} dB");
                    last = out;
                }
            }
        }
    }

    #[test]
    fn saturation_keeps_small_signals_and_never_folds_back() {
        let curve = SaturationCurve::new(&Saturation { odd: 0.8, even: 0.5, reference: Db(0.0) }, 0.3);
        let y = |x: f64| x + curve.odd(x) + curve.even(x);
        assert!((y(1e-4) / 1e-4 - 1.0).abs() < 1e-4);
        assert!((-1500..1500).all(|i| y(f64::from(i + 1) * 1e-3) >= y(f64::from(i) * 1e-3)));
    }
}
