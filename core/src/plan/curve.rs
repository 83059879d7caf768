//! Levels over frequency, as the plan handles them: read between points, averaged over octaves, compared.

use crate::units::{Db, Hz};

/// `points` at `hz`, straight over log frequency, held outside.
pub(super) fn interpolate(points: &[(f64, f64)], hz: f64) -> f64 {
    let Some(&(first, level)) = points.first() else { return 0.0 };
    if hz <= first {
        return level;
    }
    for pair in points.windows(2) {
        let ((a, low), (b, high)) = (pair[0], pair[1]);
        if hz <= b {
            return low + (high - low) * (hz / a).ln() / (b / a).ln();
        }
    }
    points.last().map_or(0.0, |p| p.1)
}

/// The curve's value at `hz`.
pub(super) fn gain_at(curve: &[(Hz, Db)], hz: f64) -> f64 {
    let points: Vec<(f64, f64)> = curve.iter().map(|(f, g)| (f.0, g.0)).collect();
    interpolate(&points, hz)
}

/// Octaves over which a level is averaged at `hz`: finer would follow the key, not the tone.
pub(super) fn smoothing(hz: f64) -> f64 {
    interpolate(&[(80.0, 1.0), (125.0, 0.5), (400.0, 0.5), (630.0, 1.0 / 3.0)], hz)
}

/// `values` at `hz`, averaged with a raised cosine whose width at half height is `width` octaves.
pub(super) fn average(hz: &[f64], values: &[f64], width: impl Fn(f64) -> f64) -> Vec<f64> {
    hz.iter()
        .map(|&centre| {
            let width = width(centre);
            let (mut sum, mut weights) = (0.0, 0.0);
            for (&f, &value) in hz.iter().zip(values) {
                let distance = (f / centre).log2().abs();
                if distance < width {
                    let weight = 0.5 + 0.5 * (std::f64::consts::PI * distance / width).cos();
                    sum += weight * value;
                    weights += weight;
                }
            }
            sum / weights.max(1e-9)
        })
        .collect()
}

pub(super) fn between(low: f64, high: f64, share: f64) -> f64 {
    low + (high - low) * share
}

/// Octaves over which a level is averaged at `hz`.
fn closer(hz: f64, free: f64) -> f64 {
    let cautious = smoothing(hz);
    let close = interpolate(&[(250.0, 0.5), (350.0, 0.25)], hz);
    between(cautious, close, free)
}

/// Powers of `db` averaged over the points that count; dB.
pub(super) fn smooth(hz: &[f64], db: &[f64], counts: &[bool], free: f64) -> Vec<f64> {
    let width = |hz: f64| closer(hz, free);
    let of = |values: Vec<f64>| average(hz, &values, width);
    let sums = of(db.iter().zip(counts).map(|(db, counts)| if *counts { power(*db) } else { 0.0 }).collect());
    let shares = of(counts.iter().map(|counts| f64::from(u8::from(*counts))).collect());
    let level =
        |(sum, share): (f64, &f64)| if *share > 1e-6 { Db::from_power(sum / share).0.max(-150.0) } else { -150.0 };
    sums.into_iter().zip(&shares).map(level).collect()
}

/// The level around which `values` lie: no outlier pulls with more than a few dB.
pub(super) fn centre(values: &[f64]) -> f64 {
    let (mut low, mut high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (f64::min(a, *v), f64::max(b, *v)));
    if low > high {
        return 0.0;
    }
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if values.iter().map(|v| (v - middle).clamp(-6.0, 6.0)).sum::<f64>() > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// dB → power.
pub(super) fn power(db: f64) -> f64 {
    10f64.powf(db / 10.0)
}

/// The weighted mean, where there is anything to average.
pub(super) fn mean(values: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (sum, weights) =
        values.fold((0.0, 0.0), |(sum, weights), (value, weight)| (sum + weight * value, weights + weight));
    (weights > 0.0).then(|| sum / weights)
}
