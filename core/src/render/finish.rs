//! What the finish decides, at control rate: every choice of the chain after `shape` and `saturate`, without touching audio.
//!
//! The chain driver on the CPU and a device that keeps the audio to itself both run these steps in this order, so that they cannot
//! disagree: [`Finish::new`] from peaks, means and energies; [`Finish::aim`]; [`Finish::start`], the clipper, [`Finish::limit`];
//! [`Finish::correct`]; [`Finish::check`] with its rounds.

use super::kernels::Grid;
use crate::control::curves::ClipCurve;
use crate::control::limiter::{self, Levels, LimiterGain, hits, percentile, reduction};
use crate::control::solve::{Gains, LoudnessModel};
use crate::control::{Finishing, Trace};
use crate::meter::true_peak::METER_TOLERANCE;
use crate::plan::{Goal, Limiter, MaskedClipper, Plan};
use crate::settings::Edit;
use crate::units::{Db, Dbtp, Lufs, Seconds};
use std::ops::Range;

/// Loudness error above which the audio pass is repeated with a corrected gain, LU.
const CORRECT: f64 = 0.05;
/// Loudness error above which a second correction is worth its time, LU.
const CORRECT_AGAIN: f64 = 0.1;
/// What the coarse grid's filter may leave of a peak that lies above 20 kHz: −0.45 dB. Measured on real mixes.
const SHORT_FILTER: f64 = 0.95;
/// Loudness errors that a gain behind the masked clipper mends, LU: less is not worth it, more would be the limiter's work.
const TRIM: (f64, f64) = (0.02, 0.4);
/// Most rounds of touching up after the check. Two are enough but for noise that was clipped by 10 dB and more.
const ROUNDS: usize = 4;

/// A coarse peak up to which nothing can be over the ceiling.
#[must_use]
pub fn near(ceiling: Dbtp, rate: u32) -> f32 {
    (ceiling.amplitude() * (-Grid::Coarse.miss(rate)).amplitude() * SHORT_FILTER) as f32
}

/// Runs of blocks for which `on` holds, each widened by `around` blocks, merged where they touch.
#[must_use]
pub fn runs(n: usize, around: usize, on: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for block in (0..n).filter(|block| on(*block)) {
        let (from, to) = (block.saturating_sub(around), (block + around + 1).min(n));
        match runs.last_mut() {
            Some(last) if from <= last.end => last.end = to,
            _ => runs.push(from..to),
        }
    }
    runs
}

/// Frames that the edit leaves of `frames`; at least one stays.
#[must_use]
pub fn kept(edit: &Edit, frames: usize, rate: u32) -> Range<usize> {
    let start = edit.trim_start.frames(rate).min(frames.saturating_sub(1));
    start..frames - edit.trim_end.frames(rate).min(frames.saturating_sub(start + 1))
}

/// Frames at the head and at the tail that a fade changes.
#[must_use]
pub fn faded(edit: &Edit, frames: usize, rate: u32) -> [Range<usize>; 2] {
    let head = edit.fade_in.frames(rate).min(frames);
    let tail = edit.fade_out.frames(rate).min(frames);
    [0..head, (frames - tail).max(head)..frames]
}

/// Gain of the fades at `frame`: raised cosines.
#[must_use]
pub fn fade(edit: &Edit, frame: f64, frames: usize, rate: u32) -> f64 {
    let ramp = |at: f64, length: Seconds| {
        let length = length.0 * f64::from(rate);
        if at >= length { 1.0 } else { 0.5 - 0.5 * (std::f64::consts::PI * (at / length).max(0.0)).cos() }
    };
    ramp(frame + 0.5, edit.fade_in) * ramp(frames as f64 - 0.5 - frame, edit.fade_out)
}

/// Whether an edit fades at all.
#[must_use]
pub fn fades(edit: &Edit) -> bool {
    edit.fade_in.0 > 0.0 || edit.fade_out.0 > 0.0
}

/// Whether the finish has nothing to do and hands the audio on as it is.
#[must_use]
pub fn idle(plan: &Plan, frames: usize, solved: Option<Db>) -> bool {
    let idle = plan.limiter.is_none()
        && plan.clipper.is_none()
        && plan.leveler.is_none()
        && plan.masked.is_none()
        && plan.transients.is_none();
    frames == 0 || (idle && !fades(&plan.edit) && plan.goal == Goal::Keep && solved.is_none_or(|gain| gain.0 == 0.0))
}

/// What an audio pass aims at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aim {
    /// Gain into the finish.
    pub gain: Db,
    /// Loudness that the model predicts for it.
    pub predicted: Option<Lufs>,
    /// Loudness that a correction would aim at.
    pub target: Option<Lufs>,
}

/// One pass before the limiter.
#[derive(Clone, Debug)]
pub struct Start {
    gain: Db,
    leveled: Vec<f32>,
    clipped: Vec<f32>,
    /// `[block]` gain, transient shaper and leveler, linear.
    pub linear: Vec<f32>,
    /// `[block]` highest magnitude under that gain; of blocks in [`around`](Self::around) it is to be measured again after the clipper.
    pub peak: Vec<f32>,
    /// The blocks that the clipper works on. Where there are none it is left out and the gain is not applied yet: the limiter's comes
    /// with it.
    pub near: Vec<Range<usize>>,
    /// The blocks whose peak the clipper may have changed.
    pub around: Vec<Range<usize>>,
    /// Whether the gain is in the audio already.
    pub applied: bool,
}

/// One pass after the limiter's control.
#[derive(Clone, Debug)]
pub struct Limited {
    /// `[block]` the gain to apply now; `None` where it is one everywhere.
    pub gain: Option<Vec<f32>>,
    /// `[block]` no peak is above this, up to what the coarse grid misses.
    pub bound: Vec<f32>,
    /// Reductions and the share of clipped samples.
    pub trace: Trace,
}

/// See [`Finish::trim`].
#[derive(Clone, Debug)]
pub struct Trim {
    /// The gain before the limiter.
    pub gain: Db,
    /// `[block]` the gain to apply.
    pub linear: Vec<f32>,
    /// `[block]` no peak is above this afterwards.
    pub bound: Vec<f32>,
    /// What the limiter takes in addition, per 0.1 s, dB.
    pub reduction: Vec<f32>,
    /// Loudness predicted.
    pub predicted: Lufs,
}

/// The last look: which blocks come near the ceiling, and what is still over.
#[derive(Clone, Debug)]
pub struct Check {
    control: LimiterGain,
    ceiling: f32,
    elsewhere: f32,
    round: usize,
    /// The blocks to measure on the fine grid into [`peaks`](Self::peaks).
    pub look: Vec<Range<usize>>,
    /// `[block]`
    pub peaks: Vec<f32>,
}

/// The finish of one track at one rate.
#[derive(Clone, Debug)]
pub struct Finish {
    model: LoudnessModel,
    hop: usize,
    rate: u32,
    frames: usize,
    limiter: Option<Limiter>,
}

impl Finish {
    /// From `[block]` peaks on the coarse grid, block means of both channels, and K-weighted energies (before any fade) of a track.
    #[must_use]
    pub fn new(
        peak: Vec<f32>,
        means: [&[f32]; 2],
        mut energies: Vec<f64>,
        frames: usize,
        rate: u32,
        plan: &Plan,
    ) -> Self {
        let hop = limiter::hop(rate);
        let levels = Levels::new(peak, means, hop, rate);
        if fades(&plan.edit) {
            for (block, energy) in energies.iter_mut().enumerate() {
                *energy *= fade(&plan.edit, (block as f64 + 0.5) * hop as f64, frames, rate).powi(2);
            }
        }
        Self {
            model: LoudnessModel::new(levels, energies, frames, &plan.finishing()),
            hop,
            rate,
            frames,
            limiter: plan.limiter,
        }
    }

    /// The finish of whole blocks from frame `frames.start` on, as the whole's would treat them.
    #[must_use]
    pub fn part(&self, frames: &Range<usize>) -> Self {
        let blocks = frames.start / self.hop..frames.end.div_ceil(self.hop);
        Self { model: self.model.part(blocks, frames.len()), frames: frames.len(), ..self.clone() }
    }

    /// Frames per block.
    #[must_use]
    pub fn hop(&self) -> usize {
        self.hop
    }

    /// The clipper's curve.
    #[must_use]
    pub fn clip(&self) -> Option<&ClipCurve> {
        self.model.clip()
    }

    /// The blocks that may hold the highest true peak: where the coarse grid comes close to its highest reading. Only
    /// [`Goal::Peak`] needs to know.
    #[must_use]
    pub fn highest(&self) -> Vec<Range<usize>> {
        let coarse = &self.model.levels().peak;
        let top = self.top();
        runs(coarse.len(), 0, |block| coarse[block] > top * 0.95)
    }

    /// The highest reading of the coarse grid.
    #[must_use]
    pub fn top(&self) -> f32 {
        self.model.levels().peak.iter().copied().fold(0f32, f32::max)
    }

    /// The gain into the finish. `highest` is asked for the true peak of the audio where the plan aims at one.
    pub fn aim(&self, plan: &Plan, solved: Option<Db>, highest: impl FnOnce() -> f32) -> Aim {
        let of = |gain: Db| Aim { gain, predicted: self.model.predict(gain), target: None };
        if let Some(gain) = solved {
            return of(gain);
        }
        match plan.goal {
            Goal::Keep => of(Db(0.0)),
            Goal::Loudness { target, .. } => match self.model.solve(target, Db(0.0)) {
                Some((gain, predicted)) => Aim { gain, predicted: Some(predicted), target: Some(target) },
                None => Aim { gain: Db(0.0), predicted: None, target: None },
            },
            Goal::Peak { target } => {
                let peak = highest();
                of(Db(if peak > 0.0 { target.0 - Db::from_amplitude(f64::from(peak)).0 } else { 0.0 }))
            }
        }
    }

    /// The gains up to the clipper, and where it has to work.
    #[must_use]
    pub fn start(&self, gain: Db) -> Start {
        let levels = self.model.levels();
        let blocks = levels.peak.len();
        let Gains { leveled, clipped, .. } = self.model.gains(gain);
        let linear: Vec<f32> = leveled.iter().map(|level| Db(f64::from(*level)).amplitude() as f32).collect();
        let peak: Vec<f32> = (0..blocks).map(|block| levels.peak[block] * widest(&linear, block)).collect();
        let [near, around] = [0, 2].map(|wide| match self.model.clip() {
            Some(curve) => runs(blocks, wide, |block| peak[block] > curve.start * 0.98),
            None => Vec::new(),
        });
        let applied = !near.is_empty();
        Start { gain, leveled, clipped, linear, peak, near, around, applied }
    }

    /// The masked clipper and its ceiling, where the plan has one and something lies over the ceiling.
    #[must_use]
    pub fn masked(&self, start: &Start) -> Option<(MaskedClipper, f32)> {
        let (masked, ceiling) = (self.model.masked()?, Db(f64::from(self.model.ceiling())).amplitude() as f32);
        start.peak.iter().any(|peak| *peak > ceiling).then_some((masked, ceiling))
    }

    /// What level takes ahead of the masked clipper joins the gains: `[block]` dB ≤ 0. Returns it as linear gains.
    #[must_use]
    pub fn relieve(&self, start: &mut Start, relief: &[f32]) -> Vec<f32> {
        let linear: Vec<f32> = relief.iter().map(|level| Db(f64::from(*level)).amplitude() as f32).collect();
        for (block, peak) in start.peak.iter_mut().enumerate() {
            *peak *= widest(&linear, block);
        }
        for (((leveled, gain), relief), more) in
            start.leveled.iter_mut().zip(&mut start.linear).zip(relief).zip(&linear)
        {
            *leveled += relief;
            *gain *= more;
        }
        linear
    }

    /// The masked clipper has changed these frames of audio: forgets the peaks there, which are to be measured again into
    /// [`Start::peak`] over [`Start::around`]. Returns what they were.
    #[must_use]
    pub fn clipped(&self, start: &mut Start, changed: &[Range<usize>]) -> Vec<f32> {
        let blocks = start.peak.len();
        let mut on = vec![false; blocks];
        for range in changed {
            // The detector's filter reaches half a block further.
            let (from, to) = (range.start / self.hop, range.end.div_ceil(self.hop));
            on[from.saturating_sub(1).min(blocks)..(to + 1).min(blocks)].fill(true);
        }
        let before = start.peak.clone();
        for (peak, _) in start.peak.iter_mut().zip(&on).filter(|(_, on)| **on) {
            *peak = 0.0;
        }
        start.around = runs(blocks, 0, |block| on[block]);
        start.applied = true;
        before
    }

    /// What the masked clipper took off each block, from the peaks before it and those measured after it.
    pub fn took(&self, start: &mut Start, before: &[f32]) {
        let ceiling = self.model.ceiling();
        let level = |peak: f32| (Db::from_amplitude(f64::from(peak)).0 as f32).max(ceiling);
        start.clipped = before.iter().zip(&start.peak).map(|(a, b)| (level(*a) - level(*b)).max(0.0)).collect();
    }

    /// The last step towards the loudness behind the masked clipper: a gain of a few tenths of a decibel and the limiter behind it,
    /// solved on the peaks `bound` and the K-weighted `energies` that the audio has now. `None`: it is near enough, or too far away.
    #[must_use]
    pub fn trim(&self, aim: &Aim, reached: Option<Lufs>, bound: &[f32], energies: Vec<f64>) -> Option<Trim> {
        let miss = (aim.target? - reached?).0;
        self.model.masked()?;
        if !(TRIM.0..=TRIM.1).contains(&miss.abs()) {
            return None;
        }
        let levels = Levels { peak: bound.to_vec(), ..self.model.levels().clone() };
        let model = LoudnessModel::new(
            levels,
            energies,
            self.frames,
            &Finishing { limiter: self.limiter, ..Finishing::default() },
        );
        let (gain, predicted) = model.solve(aim.target?, Db(0.0))?;
        let Gains { leveled, limited, .. } = model.gains(gain);
        let reduction: Vec<f32> = limited.iter().map(|gain| reduction(*gain)).collect();
        let linear: Vec<f32> = leveled
            .iter()
            .zip(&limited)
            .map(|(level, limited)| Db(f64::from(*level)).amplitude() as f32 * limited)
            .collect();
        let bound = (0..bound.len()).map(|block| bound[block] * widest(&linear, block)).collect();
        Some(Trim { gain, linear, bound, reduction: hits(&reduction, self.hop, self.rate), predicted })
    }

    /// The limiter's gains, from peaks measured again around the clipper, which touched `touched` samples of both channels.
    #[must_use]
    pub fn limit(&self, start: Start, touched: u64) -> Limited {
        let Start { gain, leveled, clipped, linear, peak, applied, .. } = start;
        let levels = self.model.levels();
        let blocks = peak.len();
        let low: Vec<f32> = levels.low.iter().zip(&linear).map(|(low, gain)| low * gain).collect();
        let after = Levels { peak, low, ..*levels };
        let limited = self.model.control().map_or_else(|| vec![1.0; blocks], |control| control.gain(&after.envelope()));
        let bound: Vec<f32> = (0..blocks).map(|block| after.peak[block] * widest(&limited, block)).collect();

        let reduction: Vec<f32> = limited.iter().map(|gain| reduction(*gain)).collect();
        let shaped = self.model.transients();
        let total: Vec<f32> = (0..blocks)
            .map(|block| {
                let leveler = gain.0 as f32 + shaped.get(block).unwrap_or(&0.0) - leveled[block];
                leveler + clipped.get(block).unwrap_or(&0.0) + reduction[block]
            })
            .collect();
        let mut working: Vec<f32> = reduction.iter().copied().filter(|db| *db > 0.05).collect();
        let mut all = reduction;
        let trace = Trace {
            reduction: hits(&total, self.hop, self.rate),
            reduction_median: percentile(&mut working, 0.5),
            reduction_p95: percentile(&mut all, 0.95),
            clipped: touched as f64 / (2 * self.frames.max(1)) as f64,
            ..Trace::default()
        };
        let now =
            if applied { limited } else { linear.iter().zip(&limited).map(|(level, limit)| level * limit).collect() };
        let gain = now.iter().any(|gain| *gain != 1.0).then_some(now);
        Limited { gain, bound, trace }
    }

    /// A better aim, where the pass number `passes` missed its target by more than is worth another one.
    #[must_use]
    pub fn correct(&self, aim: &Aim, reached: Option<Lufs>, passes: u32) -> Option<Aim> {
        let (target, reached, guess) = (aim.target?, reached?, aim.predicted?);
        if passes > 2 {
            return None;
        }
        let error = (reached - target).0.abs();
        // A stop short of the target that the prediction knew of is no error of the prediction.
        let missed = (guess - target).0.abs() <= 2.0 * CORRECT || (reached - guess).0.abs() > CORRECT;
        if !missed || error <= if passes == 1 { CORRECT } else { CORRECT_AGAIN } {
            return None;
        }
        let (better, expected) = self.model.solve(target, reached - guess)?;
        ((better - aim.gain).0.abs() > 1e-3).then_some(Aim { gain: better, predicted: Some(expected), ..*aim })
    }

    /// The last look at a pass with these bounds; without a limiter there is none, and the highest bound is the true peak.
    pub fn check(&self, bound: &[f32]) -> Result<Check, f32> {
        let (Some(control), Some(limiter)) = (self.model.control(), &self.limiter) else {
            return Err(bound.iter().copied().fold(0f32, f32::max));
        };
        // What even the fine grid may miss is kept as a distance; where the coarse one cannot have missed more, nothing can be over.
        // Its 32 taps miss more than its grid where a mix goes on up to Nyquist, as synthesisers without band limits do.
        let ceiling =
            (limiter.ceiling.amplitude() * (-Grid::Fine.miss(self.rate) - METER_TOLERANCE).amplitude()) as f32;
        let near = near(limiter.ceiling, self.rate);
        Ok(Check {
            control: *control,
            ceiling,
            elsewhere: bound.iter().copied().filter(|peak| *peak <= near).fold(0f32, f32::max),
            round: 0,
            look: runs(bound.len(), 0, |block| bound[block] > near),
            peaks: vec![0f32; bound.len()],
        })
    }
}

impl Check {
    /// The further gain for blocks that are still over, after the peaks of [`look`](Self::look) were measured; then they are to be
    /// measured once more. `None`: done.
    pub fn judge(&mut self) -> Option<Vec<f32>> {
        // One part in a million is what rounding leaves of a block that was just brought to the ceiling.
        if self.round == ROUNDS || self.peaks.iter().all(|peak| *peak <= self.ceiling * 1.000_001) {
            return None;
        }
        self.round += 1;
        let gain = self.control.touch_up(&self.peaks, self.ceiling);
        // The spline carries a block's gain into its neighbours.
        self.look = runs(gain.len(), 1, |block| gain[block] < 1.0);
        for block in self.look.iter().cloned().flatten() {
            self.peaks[block] = 0.0;
        }
        Some(gain)
    }

    /// The highest true peak found.
    #[must_use]
    pub fn true_peak(&self) -> f32 {
        self.peaks.iter().copied().fold(self.elsewhere, f32::max)
    }
}

/// The largest gain that any frame of a block has.
fn widest(gain: &[f32], block: usize) -> f32 {
    gain[block.saturating_sub(1)..(block + 2).min(gain.len())].iter().copied().fold(0f32, f32::max)
}
