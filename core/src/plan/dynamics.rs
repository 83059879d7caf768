//! Multiband dynamics: a band whose loud moments stick out further than on records of the style is held, and given its average back.

use super::curve::{gain_at, interpolate};
use super::style::StyleSpec;
use super::{BandDynamics, Reason, Saturation, Transients, reason};
use crate::analyse::Analysis;
use crate::bands::{BAND_EDGES, BANDS};
use crate::meter::percentile;
use crate::settings::Aspect;
use crate::units::{Db, Hz, Seconds};

/// Soft knee, dB.
const KNEE: f64 = 6.0;
/// Ratio at strength 100 (1 at 0).
const RATIO: f64 = 2.5;
/// A band that would be turned down less than this on its loud moments is left alone, dB.
const WORTH: f64 = 0.3;
/// A wider spread than this is not uneven but sparse: a hi-hat now and then. It stays as it is, dB.
const SPARSE: f64 = 24.0;
/// Loudness grows with this power of the intensity (Stevens): the average that is given back is one of loudness, so that a few loud
/// moments do not lift everything else.
const LOUDNESS: f64 = 0.3;
/// Most gain to give back, dB.
const MAKEUP: f64 = 2.0;
/// Bands this far under the loudest one carry nothing to hold, dB.
const QUIET: f64 = 45.0;

const NAMES: [&str; BANDS] = ["low end", "low mids", "mids", "presence range", "top"];

/// What was decided for the bands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Multiband {
    pub(super) bands: Vec<BandDynamics>,
    pub(super) reasons: Vec<Reason>,
    /// How far a third octave's long-term level may move because of them, dB.
    pub(super) allowance: f64,
}

/// The gain curve every compressor of the engine uses: reduction in dB ≥ 0 for a level in dBFS RMS. Quadratic soft knee (Giannoulis,
/// Massberg, Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012, eq. 4).
#[must_use]
pub fn reduction(band: &BandDynamics, level: f64) -> f64 {
    let slope = 1.0 - 1.0 / band.ratio.max(1.0);
    let (over, knee) = (level - band.threshold.0, band.knee.0.max(0.0));
    let reduced = if 2.0 * over <= -knee {
        0.0
    } else if 2.0 * over < knee {
        slope * (over + knee / 2.0).powi(2) / (2.0 * knee)
    } else {
        slope * over
    };
    reduced.min(band.max_reduction.0)
}

/// A band's level over time, dBFS RMS with the tone applied, of the blocks that sound.
struct Levels {
    hop: f64,
    blocks: Vec<f64>,
    /// 10th, 50th and 95th percentile.
    percentiles: [f64; 3],
}

fn levels(analysis: &Analysis, band: usize, gain: f64) -> Option<Levels> {
    let figures = analysis.bands.get(band)?;
    let percentiles = figures.percentiles.map(|p| p.0 + gain);
    if percentiles.iter().any(|p| !p.is_finite()) || percentiles[1] > percentiles[2] {
        return None;
    }
    let matrix = &analysis.matrix;
    let blocks = match (matrix.mid.get(band), matrix.side.get(band)) {
        (Some(mid), Some(side)) if !mid.is_empty() && mid.len() == side.len() && matrix.hop > 0.0 => mid
            .iter()
            .zip(side)
            .map(|(m, s)| Db::from_power(f64::from(*m) + f64::from(*s)).0 + gain)
            .map(|l| if l.is_finite() { l } else { -150.0 })
            .collect(),
        // Without the matrix (a saved analysis), the percentiles stand for the distribution.
        _ => {
            let points = [(0.1, percentiles[0]), (0.5, percentiles[1]), (0.95, percentiles[2])];
            (1..40).map(|i| interpolate(&points, f64::from(i) / 40.0)).collect()
        }
    };
    Some(Levels { hop: if matrix.hop > 0.0 { matrix.hop } else { f64::INFINITY }, blocks, percentiles })
}

impl Levels {
    /// Reduction per block with attack and release, as the renderer's control loop does it, at the matrix's own pace.
    fn simulate(&self, band: &BandDynamics) -> Vec<f64> {
        let pace = |time: Seconds| 1.0 - (-self.hop / time.0.max(1e-3)).exp();
        let (attack, release) = (pace(band.attack), pace(band.release));
        let mut state = 0.0;
        self.blocks
            .iter()
            .map(|&level| {
                let wanted = reduction(band, level);
                state += (wanted - state) * if wanted > state { attack } else { release };
                state
            })
            .collect()
    }
}

/// Decides the bands; `strength` 0–1; `curve` is the tone ahead of them. With a reference, its spread is the goal, by `amount`.
pub(super) fn decide(
    analysis: &Analysis,
    spec: &StyleSpec,
    strength: f64,
    curve: &[(Hz, Db)],
    reference: Option<(&[Option<f64>; BANDS], f64)>,
) -> Multiband {
    if strength <= 0.0 || analysis.clipping.already_limited.is_some() || analysis.bands.len() != BANDS {
        return Multiband::default();
    }
    let power = |b: &crate::analyse::BandFigures| b.percentiles[2].0;
    let loudest = analysis.bands.iter().map(power).filter(|l| l.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    let mut out = Multiband::default();
    let mut held: Vec<(usize, f64, f64, f64)> = Vec::new();
    for index in 0..BANDS {
        let figures = &analysis.bands[index];
        let off = BandDynamics {
            threshold: Db(0.0),
            ratio: 1.0,
            knee: Db(KNEE),
            attack: Seconds(spec.attack[index]),
            release: Seconds(spec.release[index]),
            makeup: Db(0.0),
            max_reduction: Db(0.0),
        };
        out.bands.push(off);
        let gain = band_gain(analysis, curve, index);
        let Some(levels) = levels(analysis, index, gain) else { continue };
        let [_, median, top] = levels.percentiles;
        if !(power(figures) > loudest - QUIET && median > -100.0) {
            continue;
        }
        let spread = top - median;
        let (goal, share, most) = match reference.and_then(|(spreads, amount)| Some((spreads[index]?, amount))) {
            Some((theirs, amount)) => (theirs, amount, 1.5 * spec.hold.max(4.0) * amount),
            _ => (spec.spread[index], (1.2 * strength).min(1.0), spec.hold * strength),
        };
        let wanted = ((spread - goal).max(0.0) * share).min(most);
        // The threshold sits in the upper third of the band's own levels: quiet passages stay untouched.
        let threshold = median + 0.3 * spread;
        let over = top - threshold;
        if wanted < WORTH || over < 1.0 || spread > SPARSE {
            continue;
        }
        let ratio = (over / (over - wanted.min(0.8 * over)))
            .clamp(1.0, 1.0 + (RATIO - 1.0) * strength.max(share.min(strength * 2.0)));
        let mut band = BandDynamics {
            threshold: Db(round(threshold)),
            ratio: round(ratio),
            max_reduction: Db(round((1.5 * wanted).max(wanted + 1.0))),
            ..off
        };
        if band.ratio < 1.1 {
            continue;
        }
        let reductions = levels.simulate(&band);
        let (mut before, mut after) = (0.0, 0.0);
        for (&level, &r) in levels.blocks.iter().zip(&reductions) {
            before += Db(level * LOUDNESS).power();
            after += Db((level - r) * LOUDNESS).power();
        }
        let makeup = Db::from_power(before / after.max(1e-300)).0 / LOUDNESS;
        if !makeup.is_finite() || makeup < WORTH / 3.0 {
            continue;
        }
        let makeup = makeup.min(MAKEUP);
        band.makeup = Db(round(makeup));
        out.bands[index] = band;
        out.allowance = out.allowance.max(makeup);
        let p95 = percentile(&reductions, 0.95);
        held.push((index, spread, (spread - p95).max(0.0), p95));
    }
    if held.is_empty() {
        return Multiband::default();
    }
    held.sort_by(|a, b| b.3.total_cmp(&a.3));
    for (index, spread, after, p95) in held {
        let band = &out.bands[index];
        let was = if matches!(index, 1 | 2) { "were" } else { "was" };
        let text = format!(
            "The {} {was} uneven: loud moments stood {} over the usual level. A {:.1}:1 compressor takes up to {} off them and gives the \
             average back.",
            NAMES[index],
            Db(spread),
            band.ratio,
            Db(p95.max(0.1)),
        );
        out.reasons.push(Reason {
            before: Some(round(spread)),
            after: Some(round(after)),
            unit: Some("dB".to_owned()),
            ..reason(Aspect::Dynamics, text)
        });
    }
    out
}

/// Harmonic colour for the styles that want it; relative to the mix's own peaks, so that a quiet export gets the same.
pub(super) fn saturate(analysis: &Analysis, spec: &StyleSpec, strength: f64) -> (Option<Saturation>, Option<Reason>) {
    let (odd, even) = spec.saturation;
    if strength <= 0.0 || odd + even <= 0.0 || analysis.clipping.already_limited.is_some() {
        return (None, None);
    }
    let peak = analysis.peaks.sample.0;
    if !peak.is_finite() {
        return (None, None);
    }
    let saturation = Saturation {
        odd: round(odd * strength),
        even: round(even * strength),
        reference: Db(round(peak.clamp(-40.0, 6.0))),
    };
    if saturation.odd + saturation.even < 0.005 {
        return (None, None);
    }
    let text = if even > odd {
        "A little saturation rounds the peaks and adds warm overtones, strongest where the music is loudest."
    } else {
        "A trace of saturation on the peaks adds density without level."
    };
    (Some(saturation), Some(reason(Aspect::Dynamics, text.to_owned())))
}

/// The transient shaper, for the styles that want hits to stand out.
pub(super) fn punch(analysis: &Analysis, spec: &StyleSpec, strength: f64) -> (Option<Transients>, Option<Reason>) {
    let depth = Db(round(spec.punch * (1.2 * strength).min(1.0)));
    if depth.0 < WORTH || analysis.clipping.already_limited.is_some() {
        return (None, None);
    }
    let text = format!(
        "What follows each hit is taken back by up to {depth} for a tenth of a second, so that hits stand out."
    );
    (Some(Transients { depth }), Some(reason(Aspect::Dynamics, text)))
}

/// What the tone curve does to the level of a band.
fn band_gain(analysis: &Analysis, curve: &[(Hz, Db)], band: usize) -> f64 {
    if curve.is_empty() {
        return 0.0;
    }
    let low = if band == 0 { 0.0 } else { BAND_EDGES[band - 1] };
    let high = BAND_EDGES.get(band).copied().unwrap_or(f64::INFINITY);
    let (mut before, mut after) = (0.0, 0.0);
    for (i, &hz) in analysis.spectrum.hz.iter().enumerate() {
        let hz = f64::from(hz);
        if hz >= low && hz < high {
            let level =
                |v: &[f32]| v.get(i).copied().filter(|v| v.is_finite()).map_or(0.0, |v| Db(f64::from(v)).power());
            let power = level(&analysis.spectrum.mid) + level(&analysis.spectrum.side);
            before += power;
            after += power * Db(gain_at(curve, hz)).power();
        }
    }
    if before > 0.0 { Db::from_power(after / before).0 } else { 0.0 }
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
