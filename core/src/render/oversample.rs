//! Filters for the grid between the samples, designed once in `f64` and shared by the readable and the fast kernels.

use std::f64::consts::PI;
use std::sync::LazyLock;

/// Taps per phase of the detector's filter: flat to ±0.03 dB up to 20 kHz at 44.1 kHz (Kaiser, 51 dB: Oppenheim & Schafer,
/// *Discrete-Time Signal Processing*, 3rd ed., §7.6).
pub const PEAK_TAPS: usize = 32;
/// Phases of the detector: 8 positions per sample.
pub const PEAK_PHASES: usize = 8;
/// Taps per phase of the fine check: ±0.01 dB up to 21.3 kHz at 44.1 kHz (Kaiser, 68 dB).
pub const FINE_TAPS: usize = 128;
/// Phases of the fine check: 16 positions per sample.
pub const FINE_PHASES: usize = 16;
/// Taps per phase of the second filter of the fine check, short as those of many meters: its images let what lies between 17 kHz and
/// Nyquist read too high, by up to 0.2 dB on bright synthesisers. A master is to pass those meters, too.
pub const METER_TAPS: usize = 20;
/// Half the length of the 1 → 2 stage of [`CLIP`], in taps of its odd phase.
pub const HALF_TAPS: usize = 32;
/// Half the length of the 2 → 16 stage of [`CLIP`], in samples of the doubled rate.
pub const WIDE_TAPS: usize = 8;
/// Phases of that stage.
pub const WIDE_PHASES: usize = 8;

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let q = x * x / 4.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..64 {
        term *= q / f64::from(k * k);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}

/// Kaiser window over −1 … 1; 0 outside.
fn kaiser(t: f64, beta: f64) -> f64 {
    if t.abs() >= 1.0 { 0.0 } else { bessel_i0(beta * (1.0 - t * t).sqrt()) / bessel_i0(beta) }
}

fn sinc(t: f64) -> f64 {
    if t == 0.0 { 1.0 } else { (PI * t).sin() / (PI * t) }
}

/// Polyphase interpolator: `[phase][tap]`; phase `k` of `phases` gives the value at `n + k/phases` from the samples
/// `n − taps/2 + 1 ..= n + taps/2`. Phase 0 is the sample itself. Every phase sums to 1, so that a constant stays itself.
#[derive(Clone, Debug)]
pub struct Interpolator {
    /// `[phase][tap]`.
    pub phases: Vec<Vec<f32>>,
}

impl Interpolator {
    /// A windowed sinc with cut-off at Nyquist.
    #[must_use]
    pub fn new(phases: usize, taps: usize, beta: f64) -> Self {
        let half = taps as f64 / 2.0;
        let phases = (0..phases)
            .map(|phase| {
                let shift = phase as f64 / phases as f64;
                let row: Vec<f64> = (0..taps)
                    .map(|tap| tap as f64 - (half - 1.0) - shift)
                    .map(|t| sinc(t) * kaiser(t / half, beta))
                    .collect();
                let sum: f64 = row.iter().sum();
                row.into_iter().map(|v| (v / sum) as f32).collect()
            })
            .collect();
        Self { phases }
    }
}

/// The detector of the limiter: 8 positions per sample.
pub static PEAK: LazyLock<Interpolator> = LazyLock::new(|| Interpolator::new(PEAK_PHASES, PEAK_TAPS, 4.6));
/// The check after the limiter: 16 positions per sample.
pub static FINE: LazyLock<Interpolator> = LazyLock::new(|| Interpolator::new(FINE_PHASES, FINE_TAPS, 6.5));
/// The second filter of the check, at the same positions.
pub static METER: LazyLock<Interpolator> = LazyLock::new(|| Interpolator::new(FINE_PHASES, METER_TAPS, 10.0));
/// The way to the sixteenfold rate and back, for the curves.
pub static CLIP: LazyLock<TwoStage> = LazyLock::new(TwoStage::new);

/// 1 → 2 → 16 times the rate and back with the same filters. The first stage keeps the samples as they are and finds those half-way
/// between with `2 · HALF_TAPS` taps (images −95 dB from 24.1 kHz at 44.1 kHz); the second goes on to 16 with a short filter, as the
/// signal fills only half of the doubled band.
#[derive(Clone, Debug)]
pub struct TwoStage {
    /// Value at `n + 1/2` from the samples `n − HALF_TAPS + 1 ..= n + HALF_TAPS`; symmetric.
    pub half: [f32; 2 * HALF_TAPS],
    /// `[phase][tap]`: value at `m + k/8` of the doubled rate from its samples `m − WIDE_TAPS + 1 ..= m + WIDE_TAPS`.
    pub wide: [[f32; 2 * WIDE_TAPS]; WIDE_PHASES],
}

impl TwoStage {
    fn new() -> Self {
        let half = Interpolator::new(2, 2 * HALF_TAPS, 9.5);
        // Kaiser with beta 10: images of a signal that fills half of the band are 100 dB down.
        let wide = Interpolator::new(WIDE_PHASES, 2 * WIDE_TAPS, 10.0);
        Self {
            half: std::array::from_fn(|i| half.phases[1][i]),
            wide: std::array::from_fn(|k| std::array::from_fn(|i| wide.phases[k][i])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// |response| of the whole polyphase set at `hz`, for a rate of 1.
    fn gain(filter: &Interpolator, hz: f64) -> f64 {
        let phases = filter.phases.len() as f64;
        let (mut re, mut im) = (0.0, 0.0);
        for (k, row) in filter.phases.iter().enumerate() {
            for (i, h) in row.iter().enumerate() {
                let t = k as f64 / phases - (i as f64 - (row.len() as f64 / 2.0 - 1.0));
                re += f64::from(*h) * (2.0 * PI * hz * t).cos();
                im += f64::from(*h) * (2.0 * PI * hz * t).sin();
            }
        }
        re.hypot(im) / phases
    }

    #[test]
    fn interpolators_are_flat_to_20_khz_and_reject_images() {
        for (name, filter, flat, images) in [("peak", &*PEAK, 0.05, -48.0), ("fine", &*FINE, 0.01, -65.0)] {
            let ripple = (0..=200)
                .map(|i| (20.0 * gain(filter, 20_000.0 / 44_100.0 * f64::from(i) / 200.0).log10()).abs())
                .fold(0.0, f64::max);
            let image = (0..=200)
                .map(|i| 20.0 * gain(filter, (24_100.0 + 64_000.0 * f64::from(i) / 200.0) / 44_100.0).log10())
                .fold(-300.0, f64::max);
            println!("{name}: ripple {ripple:.4} dB to 20 kHz, images {image:.1} dB");
            assert!(ripple < flat && image < images);
        }
    }
}
