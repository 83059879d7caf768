//! From band levels to gains, at control rate: one point per hop. Shared by all backends on the CPU, so that they cannot disagree.

use super::BandDynamics;

/// Gain computer and smoothing of one band.
///
/// The static curve is a downward compressor with a quadratic soft knee (Giannoulis, Massberg & Reiss, "Digital Dynamic Range
/// Compressor Design", J. AES 60 (2012), eq. 4); the reduction in dB then follows through one pole that is fast on the way up
/// (attack) and slow on the way down (release).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compressor {
    threshold: f64,
    slope: f64,
    knee: f64,
    max_reduction: f64,
    makeup: f64,
    attack: f64,
    release: f64,
    /// Mean square under which the curve takes nothing.
    quiet: f64,
}

/// The numbers of a [`Compressor`], for a device that runs it itself: dB, and shares per point.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "named as in the literature; see `Compressor::curve` and `Compressor::follow`")]
pub struct Parts {
    pub threshold: f64,
    pub slope: f64,
    pub knee: f64,
    pub max_reduction: f64,
    pub makeup: f64,
    pub attack: f64,
    pub release: f64,
}

/// dB per neper of power: 10 / ln 10.
const DB_PER_LN_POWER: f64 = 10.0 / std::f64::consts::LN_10;
/// Nepers of amplitude per dB: ln 10 / 20.
const LN_AMPLITUDE_PER_DB: f64 = std::f64::consts::LN_10 / 20.0;
/// A reduction that has faded below this, in dB, has ended: 10⁻⁷ dB is a tenth of a unit in the last place of an `f32` gain.
const ENDED: f64 = 1e-7;

impl Compressor {
    /// Settings of the plan at a control rate of one point per `hop` seconds.
    #[must_use]
    pub fn new(band: &BandDynamics, hop: f64) -> Self {
        // Time constants: 63 % of a step after `seconds`; zero or less: at once.
        let pole = |seconds: f64| if seconds > 0.0 { 1.0 - (-hop / seconds).exp() } else { 1.0 };
        let knee = band.knee.0.max(0.0);
        Self {
            threshold: band.threshold.0,
            slope: 1.0 - 1.0 / band.ratio.max(1.0),
            knee,
            max_reduction: band.max_reduction.0.max(0.0),
            makeup: band.makeup.0,
            attack: pole(band.attack.0),
            release: pole(band.release.0),
            quiet: 10f64.powf((band.threshold.0 - knee / 2.0) / 10.0),
        }
    }

    /// Its numbers.
    #[must_use]
    pub fn parts(&self) -> Parts {
        let Self { threshold, slope, knee, max_reduction, makeup, attack, release, quiet: _ } = *self;
        Parts { threshold, slope, knee, max_reduction, makeup, attack, release }
    }

    /// Whether it can change anything at all.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.makeup != 0.0 || (self.slope > 0.0 && self.max_reduction > 0.0)
    }

    /// The static curve: reduction in dB ≥ 0 for a mean square `power` of the band (full-scale square wave: 1).
    #[must_use]
    pub fn curve(&self, power: f64) -> f64 {
        if power <= self.quiet {
            return 0.0;
        }
        let over = DB_PER_LN_POWER * power.ln() - self.threshold;
        let bent = if 2.0 * over < self.knee { (over + self.knee / 2.0).powi(2) / (2.0 * self.knee) } else { over };
        (self.slope * bent).min(self.max_reduction)
    }

    /// The reduction one point later, given the one before and the static curve's wish.
    #[must_use]
    pub fn follow(&self, before: f64, wish: f64) -> f64 {
        let after = before + (wish - before) * if wish > before { self.attack } else { self.release };
        if after < ENDED { 0.0 } else { after }
    }

    /// What the band is multiplied by when it is added: gain − 1, with makeup. Exactly 0 for no reduction and no makeup.
    #[must_use]
    pub fn excess(&self, reduction: f64) -> f64 {
        (LN_AMPLITUDE_PER_DB * (self.makeup - reduction)).exp() - 1.0
    }
}

/// The cubic between `points[1]` and `points[2]`, as coefficients of 1, t, t², t³ for t from 0 to 1. Its slopes at the points are
/// the harmonic means of the neighbouring differences (Fritsch & Butland, SIAM J. Sci. Stat. Comput. 5 (1984)), zero at an extremum:
/// smooth in value and slope, and never beyond the points, so that a gain cannot overshoot.
#[must_use]
pub fn cubic(points: [f64; 4]) -> [f64; 4] {
    let steps = [points[1] - points[0], points[2] - points[1], points[3] - points[2]];
    let slope = |a: f64, b: f64| if a * b > 0.0 { 2.0 * a * b / (a + b) } else { 0.0 };
    let (m0, m1) = (slope(steps[0], steps[1]), slope(steps[1], steps[2]));
    [points[1], m0, 3.0 * steps[1] - 2.0 * m0 - m1, m0 + m1 - 2.0 * steps[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Db, Seconds};

    fn band() -> BandDynamics {
        BandDynamics {
            threshold: Db(-20.0),
            ratio: 2.0,
            knee: Db(6.0),
            attack: Seconds(0.02),
            release: Seconds(0.2),
            makeup: Db(0.0),
            max_reduction: Db(6.0),
        }
    }

    #[test]
    fn the_curve_is_the_text_books() {
        let gain = Compressor::new(&band(), 0.001);
        let at = |db: f64| gain.curve(10f64.powf(db / 10.0));
        assert_eq!(at(-23.0), 0.0);
        assert!((at(-20.0) - 0.5 * 9.0 / 12.0).abs() < 1e-12);
        assert!((at(-17.0) - 1.5).abs() < 1e-12);
        assert!((at(-12.0) - 4.0).abs() < 1e-12);
        assert_eq!(at(0.0), 6.0);
        assert_eq!(gain.curve(0.0), 0.0);
    }

    #[test]
    fn time_constants_reach_63_percent() {
        let gain = Compressor::new(&band(), 0.001);
        let mut r = 0.0;
        for _ in 0..20 {
            r = gain.follow(r, 1.0);
        }
        assert!((r - (1.0 - (-1f64).exp())).abs() < 1e-9);
        r = 1.0;
        for _ in 0..200 {
            r = gain.follow(r, 0.0);
        }
        assert!((r - (-1f64).exp()).abs() < 1e-9);
        for _ in 0..10_000 {
            r = gain.follow(r, 0.0);
        }
        assert_eq!((r, gain.excess(r)), (0.0, 0.0));
    }

    #[test]
    fn the_cubic_meets_its_points_and_never_leaves_their_range() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        for _ in 0..2000 {
            let p = [random(), random(), random(), random()];
            let c = cubic(p);
            let at = |t: f64| c[0] + t * (c[1] + t * (c[2] + t * c[3]));
            assert!((at(0.0) - p[1]).abs() < 1e-15 && (at(1.0) - p[2]).abs() < 1e-14);
            for i in 0..=20 {
                let y = at(f64::from(i) / 20.0);
                assert!(y >= p[1].min(p[2]) - 1e-14 && y <= p[1].max(p[2]) + 1e-14, "{p:?} {y}");
            }
        }
    }
}
