//! The loudness solver: which gain into leveler, clipper and limiter lands at the wished loudness.
//!
//! It never touches audio: one peak level and one K-weighted energy per control block are enough to run the very same control as
//! the render does, and to predict the integrated loudness from the gains that come out.

use super::curves::ClipCurve;
use super::limiter::{self, Levels, LimiterGain, MARGIN};
use super::{Finishing, Leveler, MaskedClipper, transients};
use crate::meter::loudness::integrated_from_block_energies;
use crate::units::{Db, Lufs};
use std::ops::Range;

/// How close the prediction comes to the target, LU.
pub const CLOSE: f64 = 0.005;
/// Below this slope (LU per dB of gain) more gain buys distortion, not loudness: the solver stops.
const FUTILE: f64 = 0.08;
/// Share of a block's energy that lies where its peak is clipped: what 3 dB off the peak take off the energy. Chosen so that the
/// prediction is right on real mixes at −9 LUFS (within 0.03 LU on 9 of 12).
const CLIP_LOSS: f64 = 0.6;
/// The same for the masked clipper, whose error reaches into the blocks around: what level would take off. The median of 12 excerpts at
/// −9 and −11 LUFS is 1.25 (0.6 to 1.6), but with more than 1 the prediction would fall while the gain rises.
const MASKED_LOSS: f64 = 1.0;
/// Most gain above the one that would do without any limiter.
const MOST: f64 = 30.0;

/// A track at control rate, and what will be done to it.
#[derive(Clone, Debug)]
pub struct LoudnessModel {
    levels: Levels,
    /// `[block]` peak level with the hold for lows, behind the transient shaper, dB.
    envelope: Vec<f32>,
    /// `[block]` K-weighted energy, fades included.
    energies: Vec<f64>,
    /// `[block]` gain of the transient shaper, dB ≤ 0; empty without one.
    transients: Vec<f32>,
    frames: usize,
    leveler: Option<Leveler>,
    clip: Option<ClipCurve>,
    masked: Option<MaskedClipper>,
    control: Option<LimiterGain>,
    /// Level the leveler and the clipper aim at, dB.
    ceiling: f32,
}

/// The gains of one run of the control.
#[derive(Clone, Debug, PartialEq)]
pub struct Gains {
    /// `[block]` gain, transient shaper and leveler, dB.
    pub leveled: Vec<f32>,
    /// `[block]` what the clipper takes off the block's peak, dB ≥ 0; empty without a clipper.
    pub clipped: Vec<f32>,
    /// `[block]` gain of the limiter, linear.
    pub limited: Vec<f32>,
}

impl LoudnessModel {
    /// From the levels and K-weighted energies (of `Kernels::block_energies`, scaled by the squares of any fades) of a track of
    /// `frames` frames.
    #[must_use]
    pub fn new(levels: Levels, energies: Vec<f64>, frames: usize, steps: &Finishing) -> Self {
        let shaper = steps.transients.filter(|transients| transients.depth.0 > 0.0);
        let transients =
            shaper.map(|it| transients::gains(&energies, &it, levels.hop, levels.rate)).unwrap_or_default();
        // Leveler, clipper and limiter see what the shaper leaves.
        let mut envelope = levels.envelope();
        add(&mut envelope, &transients);
        // The masked clipper does the work of leveler and clipper.
        let both = steps.masked.is_none();
        let control = steps.limiter.map(|limiter| LimiterGain::new(&limiter, levels.hop, levels.rate));
        // Without a limiter, leveler and clipper work towards full scale.
        let ceiling = control.map_or(-MARGIN.0 as f32, |control| control.ceiling);
        let clipper = steps.clipper.filter(|clipper| both && clipper.max_reduction.0 > 0.0);
        Self {
            envelope,
            levels,
            energies,
            transients,
            frames,
            leveler: steps.leveler.filter(|leveler| both && leveler.max_reduction.0 > 0.0),
            clip: clipper.map(|clipper| ClipCurve::new(&clipper, Db(f64::from(ceiling)).amplitude())),
            masked: steps.masked,
            control,
            ceiling,
        }
    }

    /// Some of the blocks, of which `frames` frames are heard.
    #[must_use]
    pub fn part(&self, blocks: Range<usize>, frames: usize) -> Self {
        Self {
            levels: self.levels.part(blocks.clone()),
            envelope: self.envelope[blocks.clone()].to_vec(),
            energies: self.energies[blocks.clone()].to_vec(),
            transients: if self.transients.is_empty() { Vec::new() } else { self.transients[blocks].to_vec() },
            frames,
            ..self.clone()
        }
    }

    /// The masked clipper.
    #[must_use]
    pub fn masked(&self) -> Option<MaskedClipper> {
        self.masked
    }

    /// Level that leveler, clipper and limiter aim at, dB.
    #[must_use]
    pub fn ceiling(&self) -> f32 {
        self.ceiling
    }

    /// The clipper's curve.
    #[must_use]
    pub fn clip(&self) -> Option<&ClipCurve> {
        self.clip.as_ref()
    }

    /// The limiter's control.
    #[must_use]
    pub fn control(&self) -> Option<&LimiterGain> {
        self.control.as_ref()
    }

    /// The levels it works on.
    #[must_use]
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// `[block]` gain of the transient shaper, dB ≤ 0; empty without one.
    #[must_use]
    pub fn transients(&self) -> &[f32] {
        &self.transients
    }

    /// `[block]` input gain and leveler together, dB.
    fn leveled(&self, gain: Db) -> Vec<f32> {
        let gain = gain.0 as f32;
        match &self.leveler {
            None => vec![gain; self.envelope.len()],
            Some(leveler) => {
                let Levels { hop, rate, .. } = self.levels;
                let mut out = limiter::level_gain(&self.envelope, gain, self.ceiling, leveler, hop, rate);
                for level in &mut out {
                    *level += gain;
                }
                out
            }
        }
    }

    /// All gains for an input gain, as far as they can be known without audio.
    #[must_use]
    pub fn gains(&self, gain: Db) -> Gains {
        let mut leveled = self.leveled(gain);
        let mut envelope: Vec<f32> = self.envelope.iter().zip(&leveled).map(|(level, gain)| level + gain).collect();
        let clipped = match &self.clip {
            None => self.masked_gains(&mut leveled, &mut envelope),
            Some(curve) => {
                let start = Db::from_amplitude(f64::from(curve.start)).0 as f32;
                envelope
                    .iter_mut()
                    .map(|level| {
                        let before = *level;
                        *level = limiter::clipped_level(before, curve, start);
                        before - *level
                    })
                    .collect()
            }
        };
        let limited = self.control.map_or_else(|| vec![1.0; envelope.len()], |control| control.gain(&envelope));
        add(&mut leveled, &self.transients);
        Gains { leveled, clipped, limited }
    }

    /// What the masked clipper takes off each block, without what it leaves to the level because it would be heard: that takes audio to
    /// know, and is made up for by [`Finish::correct`](crate::render::finish::Finish::correct).
    fn masked_gains(&self, leveled: &mut [f32], envelope: &mut [f32]) -> Vec<f32> {
        let Some(masked) = self.masked else { return Vec::new() };
        leveled
            .iter_mut()
            .zip(envelope)
            .map(|(leveled, envelope)| {
                let over = (*envelope - self.ceiling).max(0.0);
                let clipped = over.min(masked.max_reduction.0 as f32);
                *leveled -= over - clipped;
                *envelope -= over;
                clipped
            })
            .collect()
    }

    /// Integrated loudness that a gain leads to; `None` where the track has none.
    #[must_use]
    pub fn predict(&self, gain: Db) -> Option<Lufs> {
        self.loudness_of(&self.gains(gain))
    }

    /// Integrated loudness under these gains.
    #[must_use]
    pub fn loudness_of(&self, gains: &Gains) -> Option<Lufs> {
        let mut energies: Vec<f64> = self
            .energies
            .iter()
            .zip(&gains.leveled)
            .zip(&gains.limited)
            .map(|((energy, leveled), limited)| {
                energy * f64::from((leveled * 0.332_192_8).exp2()) * f64::from(*limited).powi(2)
            })
            .collect();
        let loss = if self.masked.is_some() { MASKED_LOSS } else { CLIP_LOSS };
        for (energy, clipped) in energies.iter_mut().zip(&gains.clipped).filter(|(_, clipped)| **clipped > 0.0) {
            *energy *= 1.0 - loss * (1.0 - f64::from((clipped * -0.332_192_8).exp2()));
        }
        integrated_from_block_energies(&energies, self.levels.hop, self.frames, self.levels.rate)
    }

    /// Gain whose predicted loudness plus `bias` is the target; the gain at which more would buy nothing where the target is out of
    /// reach; `None` where the track has no loudness.
    #[must_use]
    pub fn solve(&self, target: Lufs, bias: Db) -> Option<(Db, Lufs)> {
        // A quiet track may lie below the absolute gate until it is raised: measure it where it would clip.
        let loudest = self.levels.peak.iter().copied().fold(0f32, f32::max);
        if loudest <= 0.0 {
            return None;
        }
        let flat = -Db::from_amplitude(f64::from(loudest)).0;
        let unlimited = Gains {
            leveled: vec![flat as f32; self.envelope.len()],
            clipped: Vec::new(),
            limited: vec![1.0; self.envelope.len()],
        };
        let start = flat + (target - bias - self.loudness_of(&unlimited)?).0;
        let reach = |gain: f64| self.predict(Db(gain)).map_or(-150.0, |loudness| (loudness + bias - target).0);

        // Limiting only takes away: `start` is a lower bound of the gain. Step by what is missing, then close in on it.
        let (mut low, mut low_error) = (start, reach(start));
        let mut best = (low, low_error);
        let (mut high, mut high_error) = (f64::NAN, f64::NAN);
        for _ in 0..24 {
            if best.1.abs() <= CLOSE || (low - start) >= MOST {
                break;
            }
            let next = if high.is_nan() {
                low + (-low_error * 1.5).clamp(0.1, 6.0)
            } else {
                // False position, kept off the ends so that it cannot stall.
                let at = low + (high - low) * low_error / (low_error - high_error);
                at.clamp(low + 0.02 * (high - low), high - 0.02 * (high - low))
            };
            let error = reach(next);
            if high.is_nan() && error < 0.0 && (error - low_error) < FUTILE * (next - low) {
                break;
            }
            if error.abs() < best.1.abs() {
                best = (next, error);
            }
            if error < 0.0 {
                (low, low_error) = (next, error);
            } else {
                (high, high_error) = (next, error);
            }
        }
        Some((Db(best.0), target + Db(best.1) - bias))
    }
}

/// Adds dB to dB, block by block.
fn add(levels: &mut [f32], more: &[f32]) {
    for (level, more) in levels.iter_mut().zip(more) {
        *level += more;
    }
}
