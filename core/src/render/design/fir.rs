//! The tone filter: equalisation, width and subsonic cut in one FIR for mid and one for side.
//!
//! Mid is minimum phase (or zero phase on request). Side takes *mid's phase* and its own magnitude: its response is mid's times the
//! real ratio side/mid. A source that is panned hard lives in mid and side alike, left = mid + side, right = mid − side; phase
//! between the two filters would leak it to the other channel beyond what the difference of the magnitudes asks for. A real ratio is
//! zero phase and so reaches a little ahead; as it is smooth and small, what it adds ahead of a transient is far below audibility,
//! and only side carries it.
//!
//! One part is different: what *width* does to the bass. Folding it towards mono is a step of several dB within an octave near
//! 100 Hz, and no zero-phase filter does that without ringing 20 ms ahead of a kick. Below some 400 Hz the width is therefore
//! minimum phase; there the channels are meant to mix.

use super::filterbank::low_pass_mask;
use super::transform::inverse;
use super::{Fir, TonePair};
use crate::bands::ULTRASONIC;
use crate::plan::Tone;
use crate::settings::Phase;
use crate::units::{Db, Hz};
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;
use std::f64::consts::PI;

/// Taps at 44.1 and 48 kHz (×2, ×4 above): 5.4 Hz of resolution, enough for a subsonic cut.
const TAPS: usize = 8192;
/// Points of the design grid per tap: keeps the cepstrum of a steep curve from folding back on itself.
const GRID: usize = 16;
/// Taps of side ahead of time zero at 44.1 and 48 kHz (46 ms), for the zero-phase ratio of side to mid.
const AHEAD: usize = 2048;
/// Where width goes over from minimum phase (below) to zero phase, Hz.
const BASS: f64 = 400.0;
/// Where the cut at the end of the band has reached its depth, as a share of the rate.
const SILENT: f64 = 0.4875;
/// Bounds of a curve, dB: far beyond what `plan` asks for, they keep a hand-written plan from overflowing.
const RANGE: f64 = 60.0;

/// The pair of filters, or `None` where every curve is flat at 0 dB and there is no subsonic cut.
pub(super) fn tone_pair(tone: &Tone, rate: u32, scale: usize) -> Option<TonePair> {
    let flat = |curve: &[(Hz, Db)]| curve.iter().all(|(_, gain)| gain.0 == 0.0);
    if flat(&tone.mid) && flat(&tone.side) && flat(&tone.width) && tone.subsonic.is_none() && !tone.ultrasonic {
        return None;
    }
    let taps = TAPS * scale;
    let points = taps * GRID;
    let bin = f64::from(rate) / points as f64;
    let hz = |k: usize| k as f64 * bin;
    let neper = std::f64::consts::LN_10 / 20.0;
    let end = |k: usize| if tone.ultrasonic { band_end(hz(k) / f64::from(rate)) } else { 0.0 };
    let mid: Vec<f64> = (0..=points / 2).map(|k| (bounded(curve_at(&tone.mid, hz(k))) + end(k)) * neper).collect();
    let side: Vec<f64> = (0..=points / 2)
        .map(|k| (bounded(curve_at(&tone.side, hz(k)) + curve_at(&tone.width, hz(k))) + end(k)) * neper)
        .collect();
    // The step width makes in the bass, against its value just above.
    let rest = curve_at(&tone.width, 2.0 * BASS);
    let bass = |k: usize| bounded(curve_at(&tone.width, hz(k)) - rest) * neper * low_pass_mask(BASS, hz(k));
    let cut = |k: usize| tone.subsonic.map_or(Complex::new(1.0, 0.0), |corner| high_pass(corner, rate, hz(k)));

    let same = mid == side;
    let (spectrum, ahead): (Vec<_>, _) = match tone.phase {
        Phase::Minimum => {
            (minimum_phase(&mid).iter().enumerate().map(|(k, h)| h * cut(k)).collect(), [0, AHEAD * scale])
        }
        Phase::Linear => {
            let zero_phase = |(k, m): (usize, &f64)| Complex::new(m.exp() * cut(k).norm(), 0.0);
            (mid.iter().enumerate().map(zero_phase).collect(), [taps / 2 - 1; 2])
        }
    };
    let behind = |ahead: usize| if tone.phase == Phase::Linear { ahead } else { taps - 1 - ahead };
    let mut widened: Vec<_> = spectrum.iter().zip(mid.iter().zip(&side)).map(|(h, (m, s))| h * (s - m).exp()).collect();
    let bass: Vec<f64> = (0..=points / 2).map(bass).collect();
    if tone.phase == Phase::Minimum && bass.iter().any(|step| *step != 0.0) {
        for (h, step) in widened.iter_mut().zip(minimum_phase(&bass)) {
            // Its magnitude is in already: take the phase.
            *h *= step / step.norm();
        }
    }
    let mid = impulse(spectrum, ahead[0], behind(ahead[0]));
    let side = if same { mid.clone() } else { impulse(widened, ahead[1], behind(ahead[1])) };
    Some(TonePair { mid, side })
}

fn bounded(db: f64) -> f64 {
    if db.is_nan() { 0.0 } else { db.clamp(-RANGE, RANGE) }
}

/// A curve in dB at `hz`: interpolated over log frequency, held outside; 0 without points.
fn curve_at(curve: &[(Hz, Db)], hz: f64) -> f64 {
    let after = curve.partition_point(|(f, _)| f.0 <= hz);
    let (Some((f0, g0)), Some((f1, g1))) =
        (after.checked_sub(1).and_then(|before| curve.get(before)), curve.get(after))
    else {
        return curve.get(after).or(curve.last()).map_or(0.0, |(_, gain)| gain.0);
    };
    if f0.0 <= 0.0 {
        return g1.0;
    }
    g0.0 + (g1.0 - g0.0) * (hz / f0.0).ln() / (f1.0 / f0.0).ln()
}

/// Second-order Butterworth high-pass by the bilinear transform, corner prewarped: minimum phase, exactly zero at 0 Hz.
fn high_pass(corner: Hz, rate: u32, hz: f64) -> Complex<f64> {
    let warp = |f: f64| (PI * f / f64::from(rate)).tan();
    let highest = f64::from(rate) * 0.45;
    let s = Complex::new(0.0, warp(hz.min(highest)) / warp(corner.0.clamp(0.1, highest)));
    s * s / (s * s + s * std::f64::consts::SQRT_2 + 1.0)
}

/// The cut at the end of the band in dB, `at` as a share of the rate: a raised cosine from [`ULTRASONIC`] down to −80 dB at [`SILENT`]
/// (21.5 kHz at 44.1 kHz), so that nothing is left where interpolators of any length differ.
fn band_end(at: f64) -> f64 {
    let place = ((at - ULTRASONIC) / (SILENT - ULTRASONIC)).clamp(0.0, 1.0);
    Db::from_amplitude((0.5 + 0.5 * (PI * place).cos()).max(1e-4)).0
}

/// The minimum-phase spectrum of a log magnitude (nepers, bins 0..=n/2), by folding its real cepstrum
/// (Oppenheim & Schafer, Discrete-Time Signal Processing, 3rd ed., §13.5).
fn minimum_phase(log_magnitude: &[f64]) -> Vec<Complex<f64>> {
    let n = (log_magnitude.len() - 1) * 2;
    let mut planner = RealFftPlanner::<f64>::new();
    let mut spectrum: Vec<Complex<f64>> = log_magnitude.iter().map(|&m| Complex::new(m, 0.0)).collect();
    let mut cepstrum = inverse(&mut planner, &mut spectrum, n);
    for c in &mut cepstrum[1..n / 2] {
        *c *= 2.0;
    }
    cepstrum[n / 2 + 1..].fill(0.0);
    let forward = planner.plan_fft_forward(n);
    // The only errors are wrong lengths, and these are the planner's own.
    let _ = forward.process(&mut cepstrum, &mut spectrum);
    spectrum.iter().map(|c| Complex::from_polar(c.re.exp(), c.im)).collect()
}

/// The impulse response of a spectrum from `ahead` frames before time zero to `behind` after it; the outer quarters fade to nothing.
fn impulse(mut spectrum: Vec<Complex<f64>>, ahead: usize, behind: usize) -> Fir {
    let n = (spectrum.len() - 1) * 2;
    let whole = inverse(&mut RealFftPlanner::new(), &mut spectrum, n);
    let fade = |from_end: usize, reach: usize| {
        let length = reach / 4;
        if from_end >= length { 1.0 } else { 0.5 - 0.5 * (PI * (from_end as f64 + 0.5) / length as f64).cos() }
    };
    let last = ahead + behind;
    let taps = (0..=last).map(|i| whole[(n + i - ahead) % n] * fade(i, ahead) * fade(last - i, behind)).collect();
    Fir { taps, zero: ahead }
}
