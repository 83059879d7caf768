//! Stereo width: a gain of the side per band, never at the price of mono.

use super::style::StyleSpec;
use super::{Reason, reason};
use crate::analyse::Analysis;
use crate::bands::{BAND_EDGES, BANDS};
use crate::settings::Aspect;
use crate::units::{Db, Hz};

/// A side this far under the mid is noise and crosstalk, not width, dB.
pub(super) const NO_SIDE: f64 = -40.0;
/// Bass goes towards mono only if its channels disagree more than this.
const LOW_CORRELATION: f64 = 0.3;
/// By at most this much, dB.
const LOW_CUT: f64 = 6.0;
/// Channels this far apart in level are not a picture to be changed: what one of them lacks must not leak into it, dB.
pub(super) const ONE_SIDED: f64 = 20.0;
/// Loudness a fold to mono may cost after widening, dB; the gate stands at 3.
const MONO_LOSS: f64 = 2.5;
/// Smaller changes are left out, dB.
pub(super) const AUDIBLE: f64 = 0.3;

/// What was decided for the width.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Width {
    pub(super) curve: Vec<(Hz, Db)>,
    pub(super) reasons: Vec<Reason>,
    /// How far a third octave's level may move because of it, dB.
    pub(super) allowance: f64,
}

/// Side over mid, dB.
fn ratio(analysis: &Analysis, band: usize) -> Option<f64> {
    let figures = analysis.bands.get(band)?;
    let ratio = figures.side.0 - figures.mid.0;
    (ratio.is_finite() && figures.mid.0 > -100.0).then_some(ratio)
}

/// Gain of the low end, dB: never wider, and narrower only where left and right work against each other.
pub(super) fn torn_low_end(analysis: &Analysis, strength: f64) -> f64 {
    // One silent channel is no torn low end.
    let apart = analysis.stereo.correlation_low < LOW_CORRELATION
        && analysis.stereo.balance.0.abs() < 12.0
        && ratio(analysis, 0).is_some_and(|r| r > -20.0);
    if apart { -LOW_CUT * (2.0 * strength).min(1.0) } else { 0.0 }
}

/// Decides the width for a style; `strength` 0–1.
pub(super) fn decide(analysis: &Analysis, spec: &StyleSpec, strength: f64) -> Width {
    let one_sided = analysis.stereo.balance.0.abs() > ONE_SIDED;
    if strength <= 0.0 || analysis.stereo.mono || one_sided || analysis.bands.len() != BANDS {
        return Width::default();
    }
    let mut gains = [0.0f64; BANDS];
    for (band, gain) in gains.iter_mut().enumerate() {
        let Some(now) = ratio(analysis, band) else { continue };
        let (low, high) = spec.width[band];
        let outside = (now - high).max(0.0) - (low - now).max(0.0);
        *gain = (-outside * (1.2 * strength).min(1.0)).clamp(-spec.widen * strength, spec.widen * strength);
    }
    gains[0] = torn_low_end(analysis, strength);
    for (band, gain) in gains.iter_mut().enumerate() {
        // Inverted or nearly empty sides are not widened.
        let open = ratio(analysis, band).is_some_and(|r| r > NO_SIDE) && analysis.stereo.correlation > 0.0;
        if *gain > 0.0 && !(open && analysis.bands[band].correlation > 0.0) {
            *gain = 0.0;
        }
        if gain.abs() < AUDIBLE {
            *gain = 0.0;
        }
    }
    let loss = |share: f64| {
        let (mut mid, mut side) = (0.0, 0.0);
        for (figures, gain) in analysis.bands.iter().zip(gains) {
            mid += figures.mid.power();
            side += Db(figures.side.0 + gain.max(0.0) * share + gain.min(0.0)).power();
        }
        Db::from_power(1.0 + side / mid.max(1e-15)).0
    };
    if gains.iter().any(|g| *g > 0.0) {
        let share =
            [1.0, 0.75, 0.5, 0.25].into_iter().find(|share| loss(*share).max(analysis.stereo.mono_loss.0) <= MONO_LOSS);
        for gain in &mut gains {
            if *gain > 0.0 {
                *gain *= share.unwrap_or(0.0);
            }
        }
    }
    let gains = gains.map(|g| (g * 100.0).round() / 100.0);
    if gains.iter().all(|g| *g == 0.0) {
        return Width::default();
    }
    let allowance = (0..BANDS)
        .filter_map(|band| {
            ratio(analysis, band)
                .map(|r| Db::from_power((1.0 + Db(r + gains[band]).power()) / (1.0 + Db(r).power())).0.abs())
        })
        .fold(0.0, f64::max);
    Width { curve: curve(&gains), reasons: explain(analysis, &gains, false), allowance }
}

/// Flat within a band, an octave from one to the next: gentler than any ear notices.
fn curve(gains: &[f64; BANDS]) -> Vec<(Hz, Db)> {
    let half = std::f64::consts::SQRT_2;
    let mut points = Vec::with_capacity(2 * BANDS);
    for (band, gain) in gains.iter().enumerate() {
        let low = if band == 0 { 20.0 } else { BAND_EDGES[band - 1] * half };
        let high = BAND_EDGES.get(band).map_or(20_000.0, |edge| edge / half);
        points.push((Hz((low * 10.0).round() / 10.0), Db(*gain)));
        points.push((Hz((high * 10.0).round() / 10.0), Db(*gain)));
    }
    points
}

pub(super) fn explain(analysis: &Analysis, gains: &[f64; BANDS], reference: bool) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let figures = |band: usize, text: String| {
        let now = ratio(analysis, band).unwrap_or(0.0);
        let round = |v: f64| (v * 10.0).round() / 10.0;
        Reason {
            before: Some(round(now)),
            after: Some(round(now + gains[band])),
            unit: Some("dB side/mid".to_owned()),
            ..reason(Aspect::Width, text)
        }
    };
    if gains[0] < 0.0 && !reference {
        let text = format!(
            "The low end is {} narrower: left and right disagreed below {:.0} Hz (correlation {:.1}), which costs bass on every mono speaker.",
            Db(-gains[0]),
            BAND_EDGES[0],
            analysis.stereo.correlation_low
        );
        reasons.push(figures(0, text));
    }
    let goal = if reference { "to match the reference" } else { "for this style" };
    let name = |first: usize, last: usize| {
        let from = BAND_EDGES[first.max(1) - 1];
        match BAND_EDGES.get(last) {
            None if first == 0 => "everywhere".to_owned(),
            Some(to) if first > 1 => format!("between {} and {}", hertz(from), hertz(*to)),
            Some(to) => format!("below {}", hertz(*to)),
            None => format!("above {}", hertz(from)),
        }
    };
    // A style only mends the low end, a record is followed there, too.
    let mut band = usize::from(!reference);
    while band < BANDS {
        let sign = if gains[band] == 0.0 { 0.0 } else { gains[band].signum() };
        let mut last = band;
        while last + 1 < BANDS && gains[last + 1] != 0.0 && gains[last + 1].signum() == sign {
            last += 1;
        }
        if sign != 0.0 {
            let most = (band..=last).max_by(|a, b| gains[*a].abs().total_cmp(&gains[*b].abs())).unwrap_or(band);
            let text = format!(
                "{} {} side {}: the picture was {} there {goal}.",
                Db(gains[most].abs()),
                if sign > 0.0 { "more" } else { "less" },
                name(band, last),
                if sign > 0.0 { "narrow" } else { "too wide" },
            );
            reasons.push(figures(most, text));
        }
        band = last + 1;
    }
    reasons
}

fn hertz(hz: f64) -> String {
    if hz >= 1_000.0 { format!("{}\u{202f}kHz", hz / 1_000.0) } else { format!("{hz:.0}\u{202f}Hz") }
}
