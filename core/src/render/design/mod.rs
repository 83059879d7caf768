//! From the plan's curves to taps and bands: what `shape` needs, worked out once per track in `f64`.

mod filterbank;
mod fir;
mod transform;

use crate::control::compressor::Compressor;
use crate::plan::Plan;
use crate::units::{Db, Hz};
pub use filterbank::{band_taps, low_pass_mask};

/// Everything `shape` needs that does not depend on the samples. Cheap (a few transforms) and deterministic.
///
/// The shaped signal is `y = x + Σ (gᵢ − 1)·bᵢ`: `x` is the mix through the tone filter, `bᵢ` the bands of `x`, `gᵢ` the gains that
/// follow from their levels. Where all gains are one nothing is added, and without a tone filter `x` is the mix itself, bit by bit.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeDesign {
    /// Rate it was made for, Hz.
    pub rate: u32,
    /// Frames from one control point of the dynamics to the next: 32 at 44.1 and 48 kHz, twice that at twice the rate.
    pub hop: usize,
    /// Tone, width and subsonic cut; `None`: all of it is flat and the audio passes untouched.
    pub tone: Option<TonePair>,
    /// The bands that can act, lowest first.
    pub bands: Vec<Band>,
    /// Number of bands in the plan; the ones missing in [`bands`](Self::bands) leave the audio alone.
    pub planned: usize,
}

/// The filters of mid = (L + R)/2 and side = (L − R)/2; left = mid + side, right = mid − side.
#[derive(Clone, Debug, PartialEq)]
pub struct TonePair {
    /// Filter of mid.
    pub mid: Fir,
    /// Filter of side.
    pub side: Fir,
}

/// A finite impulse response with the place of its time zero: `y[n] = Σ taps[i] · x[n + zero − i]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fir {
    /// The taps.
    pub taps: Vec<f64>,
    /// Index of time zero; the taps before it reach ahead.
    pub zero: usize,
}

/// One band that acts.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Its place among the bands of the plan.
    pub index: usize,
    /// Zero-phase taps: symmetric about `zero`.
    pub fir: Fir,
    /// Length of the Hann window its level is measured with, in hops; even.
    pub window: usize,
    /// From level to gain.
    pub gain: Compressor,
}

/// How much longer filters and hops are than at 44.1 and 48 kHz: 1, 2 or 4.
#[must_use]
pub fn rate_scale(rate: u32) -> usize {
    match rate {
        0..=50_000 => 1,
        50_001..=100_000 => 2,
        _ => 4,
    }
}

/// Lower end of the lowest band for its level detector, in Hz: kicks and basses have their fundamentals above it.
const LOWEST: f64 = 40.0;

/// Shortest level window in hops. It decides how far a tone near a multiple of half the control rate is held down before its ripple is
/// sampled and comes back as a slow beat: with eight hops every product of a tone stays under −90 dB in the laboratory.
const SHORTEST_WINDOW: usize = 8;

impl ShapeDesign {
    /// Turns the plan's tone, width, subsonic cut and dynamics into filters at `rate`.
    #[must_use]
    pub fn new(plan: &Plan, rate: u32) -> Self {
        let scale = rate_scale(rate);
        let hop = 32 * scale;
        let hop_seconds = hop as f64 / f64::from(rate);
        let edges = &crate::bands::BAND_EDGES[..];
        let acting: Vec<usize> = (0..plan.dynamics.len().min(edges.len() + 1))
            .filter(|&index| Compressor::new(&plan.dynamics[index], hop_seconds).acts())
            .collect();
        let mut taps: Vec<Option<Fir>> =
            if acting.is_empty() { Vec::new() } else { band_taps(edges, rate, scale).into_iter().map(Some).collect() };
        let bands = acting
            .into_iter()
            .filter_map(|index| {
                let low = if index == 0 { LOWEST } else { edges[index - 1] };
                let hops = (2.0 / (low * hop_seconds)).ceil() as usize;
                Some(Band {
                    index,
                    fir: taps.get_mut(index)?.take()?,
                    window: hops.next_multiple_of(2).max(SHORTEST_WINDOW),
                    gain: Compressor::new(&plan.dynamics[index], hop_seconds),
                })
            })
            .collect();
        Self { rate, hop, tone: fir::tone_pair(&plan.tone, rate, scale), bands, planned: plan.dynamics.len() }
    }

    /// Nothing changes: the audio is handed back as it came.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.tone.is_none() && self.bands.is_empty()
    }

    /// All bands act: they add up to `x`, so that one of them need not be computed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.bands.len() == crate::bands::BANDS
    }

    /// Number of control points for `frames` frames: point `h` stands at frame `h · hop`, the last at or after the end.
    #[must_use]
    pub fn points(&self, frames: usize) -> usize {
        frames.div_ceil(self.hop) + 1
    }
}

impl Fir {
    /// Frames it looks ahead.
    #[must_use]
    pub fn ahead(&self) -> usize {
        self.zero
    }

    /// Frames it looks back.
    #[must_use]
    pub fn behind(&self) -> usize {
        self.taps.len().saturating_sub(self.zero + 1)
    }

    /// Magnitude of its response.
    #[must_use]
    pub fn magnitude(&self, hz: Hz, rate: u32) -> Db {
        let step = std::f64::consts::TAU * hz.0 / f64::from(rate);
        let (mut re, mut im) = (0.0, 0.0);
        for (i, tap) in self.taps.iter().enumerate() {
            let (sin, cos) = (step * i as f64).sin_cos();
            re += tap * cos;
            im -= tap * sin;
        }
        Db::from_amplitude(re.hypot(im))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bands::BANDS;
    use crate::plan::BandDynamics;
    use crate::units::Seconds;

    fn compressor(ratio: f64, makeup: f64) -> BandDynamics {
        BandDynamics {
            threshold: Db(-30.0),
            ratio,
            knee: Db(6.0),
            attack: Seconds(0.02),
            release: Seconds(0.15),
            makeup: Db(makeup),
            max_reduction: Db(6.0),
        }
    }

    #[test]
    fn a_flat_plan_needs_no_filter() {
        let mut plan = Plan::identity();
        assert!(ShapeDesign::new(&plan, 44_100).is_identity());
        plan.tone.mid = vec![(Hz(100.0), Db(0.0)), (Hz(1000.0), Db(0.0))];
        plan.dynamics = vec![compressor(1.0, 0.0); BANDS];
        assert!(ShapeDesign::new(&plan, 44_100).is_identity());
    }

    #[test]
    fn only_bands_that_can_act_are_made() {
        let mut plan = Plan::identity();
        plan.dynamics = vec![compressor(1.0, 0.0); BANDS];
        plan.dynamics[1] = compressor(2.0, 0.0);
        plan.dynamics[3] = compressor(1.0, 1.0);
        for (rate, hop) in [(44_100, 32), (48_000, 32), (96_000, 64), (192_000, 128)] {
            let design = ShapeDesign::new(&plan, rate);
            assert_eq!(design.bands.iter().map(|band| band.index).collect::<Vec<_>>(), [1, 3]);
            assert_eq!((design.hop, design.planned), (hop, BANDS));
        }
    }

    #[test]
    fn level_windows_hold_two_periods() {
        let mut plan = Plan::identity();
        plan.dynamics = vec![compressor(2.0, 0.0); BANDS];
        let design = ShapeDesign::new(&plan, 44_100);
        let seconds: Vec<f64> = design.bands.iter().map(|b| (b.window * 32) as f64 / 44_100.0).collect();
        assert!(seconds[0] >= 0.05 && seconds[0] < 0.052, "{seconds:?}");
        assert!(seconds[1] >= 2.0 / 120.0, "{seconds:?}");
        assert!(design.bands.iter().all(|b| b.window % 2 == 0 && b.window >= SHORTEST_WINDOW));
    }
}
