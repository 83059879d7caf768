//! The one chain: edit → shape → saturate → per rate: resample → solve → leveler → clipper → limiter → check → fades.
//!
//! It runs over any [`Kernels`]; a [`Backend`] on the CPU is this and nothing else. The leveler comes before the
//! clipper, so that the clipper meets transients only and never works on a sustained tone that the leveler would have taken.

use super::curves::SaturationCurve;
use super::design::ShapeDesign;
use super::kernels::{Grid, Kernels};
use super::limiter::{Control, Levels, block_means, hop, percentile, reduction};
use super::solve::{Gains, Model};
use super::{Backend, BackendInfo, Job, Master, RenderError, Trace};
use crate::Audio;
use crate::meter::{integrated_from_block_energies, true_peak::METERS};
use crate::plan::{Goal, Limiter, Plan};
use crate::settings::Edit;
use crate::units::{Db, Dbtp, Lufs, Seconds};
use rayon::prelude::*;
use std::ops::Range;

/// Loudness error above which the audio pass is repeated with a corrected gain, LU.
const CORRECT: f64 = 0.05;
/// Loudness error above which a second correction is worth its time, LU.
const CORRECT_AGAIN: f64 = 0.1;
/// What the coarse grid's filter may leave of a peak that lies above 20 kHz: −0.45 dB. Measured on real mixes.
const SHORT_FILTER: f64 = 0.95;
/// Rounds of touching up after the check.
const ROUNDS: usize = 2;

/// Whoever has the kernels is a backend: the chain calls them, jobs in parallel.
impl<K: Kernels> Backend for K {
    fn info(&self) -> BackendInfo {
        Kernels::info(self)
    }

    fn render(&self, jobs: Vec<Job<'_>>) -> Vec<Result<Vec<Master>, RenderError>> {
        jobs.into_par_iter().map(|job| run(self, job)).collect()
    }

    fn tame(&self, master: &mut Audio, decoded: &Audio, limiter: &Limiter) {
        tame(self, master, decoded, limiter);
    }
}

/// Renders one job at each of its rates.
///
/// # Errors
/// A non-finite sample in the result.
pub fn run(kernels: &dyn Kernels, job: Job<'_>) -> Result<Vec<Master>, RenderError> {
    let Job { audio, plan, rates, solved } = job;
    let audio = trim(audio, &plan.edit);
    let native = audio.rate;
    let (mut audio, bands) = kernels.shape(audio, &ShapeDesign::new(plan, native));
    if let Some(saturation) = plan.saturation.filter(|s| s.odd != 0.0 || s.even != 0.0) {
        let peak = audio.channels.iter().flatten().fold(0f32, |peak, x| peak.max(x.abs()));
        kernels.saturate(&mut audio, hop(native), &SaturationCurve::new(&saturation, peak));
    }
    let native_only = [native];
    let rates = if rates.is_empty() { &native_only } else { rates };
    let mut masters = Vec::with_capacity(rates.len());
    let mut shaped = Some(audio);
    for (i, &rate) in rates.iter().enumerate() {
        let last = i + 1 == rates.len();
        let source = match &shaped {
            Some(audio) if rate != audio.rate => crate::resample::resample(audio, rate),
            Some(audio) if !last => audio.clone(),
            _ => shaped.take().unwrap_or_else(|| Audio::silence(rate, 0)),
        };
        if last {
            shaped = None;
        }
        let mut master = finish(kernels, source, plan, solved)?;
        master.trace.bands.clone_from(&bands);
        masters.push(master);
    }
    Ok(masters)
}

/// See [`Backend::tame`].
fn tame(kernels: &dyn Kernels, master: &mut Audio, decoded: &Audio, limiter: &Limiter) {
    let (hop, rate) = (hop(master.rate), master.rate);
    if decoded.rate != rate || decoded.frames() != master.frames() {
        return;
    }
    let mut peaks = coarse_peaks(kernels, decoded, hop);
    let near = near(limiter.ceiling, rate);
    let look = runs(peaks.len(), 0, |block| peaks[block] > near);
    if look.is_empty() {
        return;
    }
    kernels.block_peaks(decoded, hop, &look, Grid::Fine, &mut peaks);
    let gain = Control::new(limiter, hop, rate).touch_up(&peaks, limiter.ceiling.amplitude() as f32);
    kernels.apply_gain(master, hop, &gain);
}

/// `[block]` peaks of the whole track on the coarse grid.
fn coarse_peaks(kernels: &dyn Kernels, audio: &Audio, hop: usize) -> Vec<f32> {
    let blocks = audio.frames().div_ceil(hop);
    let mut peaks = vec![0f32; blocks];
    kernels.block_peaks(audio, hop, std::slice::from_ref(&(0..blocks)), Grid::Coarse, &mut peaks);
    peaks
}

/// A coarse peak up to which nothing can be over the ceiling.
fn near(ceiling: Dbtp, rate: u32) -> f32 {
    (ceiling.amplitude() * (-Grid::Coarse.miss(rate)).amplitude() * SHORT_FILTER) as f32
}

/// Cuts both ends; at least one frame stays.
fn trim(mut audio: Audio, edit: &Edit) -> Audio {
    let frames = audio.frames();
    let start = edit.trim_start.frames(audio.rate).min(frames.saturating_sub(1));
    let end = frames - edit.trim_end.frames(audio.rate).min(frames.saturating_sub(start + 1));
    if start > 0 || end < frames {
        for channel in &mut audio.channels {
            channel.truncate(end);
            channel.drain(..start);
        }
    }
    audio
}

/// Gain of the fades at `frame`: raised cosines.
fn fade(edit: &Edit, frame: f64, frames: usize, rate: u32) -> f64 {
    let ramp = |at: f64, length: Seconds| {
        let length = length.0 * f64::from(rate);
        if at >= length { 1.0 } else { 0.5 - 0.5 * (std::f64::consts::PI * (at / length).max(0.0)).cos() }
    };
    ramp(frame + 0.5, edit.fade_in) * ramp(frames as f64 - 0.5 - frame, edit.fade_out)
}

/// Everything after `saturate`, at one rate.
fn finish(kernels: &dyn Kernels, audio: Audio, plan: &Plan, solved: Option<Db>) -> Result<Master, RenderError> {
    let faded = plan.edit.fade_in.0 > 0.0 || plan.edit.fade_out.0 > 0.0;
    let idle = plan.limiter.is_none() && plan.clipper.is_none() && plan.leveler.is_none();
    if audio.frames() == 0 || (idle && !faded && plan.goal == Goal::Keep && solved.is_none_or(|gain| gain.0 == 0.0)) {
        check_finite(&audio)?;
        return Ok(Master { audio, trace: Trace::default() });
    }
    let pass = Pass::new(kernels, &audio, plan);
    let (mut gain, mut predicted, target) = pass.gain(kernels, &audio, plan, solved);

    // The shaped audio is kept only as long as a correction may need it.
    let mut shaped = audio;
    let mut passes = 1;
    loop {
        let may_repeat = target.is_some() && passes <= 2;
        let (mut out, keep) = if may_repeat { (shaped.clone(), Some(shaped)) } else { (shaped, None) };
        let (mut trace, bound) = pass.run(kernels, &mut out, gain);
        if faded {
            apply_fades(&mut out, &plan.edit);
        }
        let energies = kernels.block_energies(&out, pass.hop);
        if !energies.iter().sum::<f64>().is_finite() {
            check_finite(&out)?;
        }
        let reached = integrated_from_block_energies(&energies, pass.hop, out.frames(), out.rate);
        if let (Some(target), Some(reached), Some(guess), Some(keep)) = (target, reached, predicted, keep) {
            let error = (reached - target).0.abs();
            // A stop short of the target that the prediction knew of is no error of the prediction.
            let missed = (guess - target).0.abs() <= 2.0 * CORRECT || (reached - guess).0.abs() > CORRECT;
            if missed
                && error > if passes == 1 { CORRECT } else { CORRECT_AGAIN }
                && let Some((better, expected)) = pass.model.solve(target, reached - guess)
                && (better - gain).0.abs() > 1e-3
            {
                (gain, predicted) = (better, Some(expected));
                shaped = keep;
                passes += 1;
                continue;
            }
        }
        let true_peak = pass.check(kernels, &mut out, &bound);
        trace.true_peak = (true_peak > 0.0).then(|| Dbtp::from_amplitude(f64::from(true_peak)));
        trace.gain = gain;
        trace.predicted = predicted;
        trace.reached = reached;
        trace.passes = passes;
        return Ok(Master { audio: out, trace });
    }
}

fn apply_fades(audio: &mut Audio, edit: &Edit) {
    let (frames, rate) = (audio.frames(), audio.rate);
    let head = edit.fade_in.frames(rate).min(frames);
    let tail = edit.fade_out.frames(rate).min(frames);
    for channel in &mut audio.channels {
        for n in (0..head).chain((frames - tail).max(head)..frames) {
            channel[n] = (f64::from(channel[n]) * fade(edit, n as f64, frames, rate)) as f32;
        }
    }
}

fn check_finite(audio: &Audio) -> Result<(), RenderError> {
    let bad = audio.channels.iter().filter_map(|channel| channel.iter().position(|x| !x.is_finite())).min();
    bad.map_or(Ok(()), |frame| Err(RenderError::NonFinite { frame }))
}

/// Runs of blocks for which `on` holds, each widened by `around` blocks, merged where they touch.
fn runs(n: usize, around: usize, on: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
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

/// What one pass over the audio needs to know.
struct Pass {
    model: Model,
    hop: usize,
    rate: u32,
    limiter: Option<Limiter>,
}

impl Pass {
    fn new(kernels: &dyn Kernels, audio: &Audio, plan: &Plan) -> Self {
        let (hop, frames, rate) = (hop(audio.rate), audio.frames(), audio.rate);
        let peak = coarse_peaks(kernels, audio, hop);
        let means = [block_means(&audio.channels[0], hop), block_means(&audio.channels[1], hop)];
        let levels = Levels::new(peak, [&means[0], &means[1]], hop, rate);
        let mut energies = kernels.block_energies(audio, hop);
        if plan.edit.fade_in.0 > 0.0 || plan.edit.fade_out.0 > 0.0 {
            for (block, energy) in energies.iter_mut().enumerate() {
                *energy *= fade(&plan.edit, (block as f64 + 0.5) * hop as f64, frames, rate).powi(2);
            }
        }
        Self { model: Model::new(levels, energies, frames, plan), hop, rate, limiter: plan.limiter }
    }

    /// The gain into the finish, its predicted loudness, and the target that a correction would aim at.
    fn gain(
        &self,
        kernels: &dyn Kernels,
        audio: &Audio,
        plan: &Plan,
        solved: Option<Db>,
    ) -> (Db, Option<Lufs>, Option<Lufs>) {
        if let Some(gain) = solved {
            return (gain, self.model.predict(gain), None);
        }
        match plan.goal {
            Goal::Keep => (Db(0.0), self.model.predict(Db(0.0)), None),
            Goal::Loudness { target, .. } => match self.model.solve(target, Db(0.0)) {
                Some((gain, predicted)) => (gain, Some(predicted), Some(target)),
                None => (Db(0.0), None, None),
            },
            Goal::Peak { target } => {
                let peak = self.highest(kernels, audio);
                let gain = if peak > 0.0 { target.0 - Db::from_amplitude(f64::from(peak)).0 } else { 0.0 };
                (Db(gain), self.model.predict(Db(gain)), None)
            }
        }
    }

    /// The true peak of the audio that was measured: the fine grid where the coarse one comes close to the highest.
    fn highest(&self, kernels: &dyn Kernels, audio: &Audio) -> f32 {
        let coarse = &self.model.levels().peak;
        let top = coarse.iter().copied().fold(0f32, f32::max);
        let near = runs(coarse.len(), 0, |block| coarse[block] > top * 0.95);
        let mut peaks = vec![0f32; coarse.len()];
        kernels.block_peaks(audio, self.hop, &near, Grid::Fine, &mut peaks);
        peaks.into_iter().fold(top, f32::max)
    }

    /// Leveler, clipper and limiter over `audio`, in place; also returns the peaks that the blocks have now, `[block]`.
    fn run(&self, kernels: &dyn Kernels, audio: &mut Audio, gain: Db) -> (Trace, Vec<f32>) {
        let hop = self.hop;
        let levels = self.model.levels();
        let blocks = levels.peak.len();
        let Gains { leveled, clipped, .. } = self.model.gains(gain);
        let linear: Vec<f32> = leveled.iter().map(|level| Db(f64::from(*level)).amplitude() as f32).collect();
        // The largest gain that any frame of a block has.
        let widest = |gain: &[f32], block: usize| {
            gain[block.saturating_sub(1)..(block + 2).min(blocks)].iter().copied().fold(0f32, f32::max)
        };
        let mut peak: Vec<f32> = (0..blocks).map(|block| levels.peak[block] * widest(&linear, block)).collect();

        // Clipper: only where a peak reaches its knee; what it did is measured again there.
        let mut touched = 0;
        let mut applied = false;
        if let Some(curve) = self.model.clip() {
            let near = runs(blocks, 0, |block| peak[block] > curve.start * 0.98);
            if !near.is_empty() {
                kernels.apply_gain(audio, hop, &linear);
                applied = true;
                touched = kernels.clip(audio, hop, &near, curve);
                let around = runs(blocks, 2, |block| peak[block] > curve.start * 0.98);
                kernels.block_peaks(audio, hop, &around, Grid::Coarse, &mut peak);
            }
        }

        // Limiter.
        let low: Vec<f32> = levels.low.iter().zip(&linear).map(|(low, gain)| low * gain).collect();
        let after = Levels { peak, low, ..*levels };
        let limited = self.model.control().map_or_else(|| vec![1.0; blocks], |control| control.gain(&after.envelope()));
        if applied {
            if limited.iter().any(|gain| *gain != 1.0) {
                kernels.apply_gain(audio, hop, &limited);
            }
        } else {
            let both: Vec<f32> = linear.iter().zip(&limited).map(|(level, limit)| level * limit).collect();
            if both.iter().any(|gain| *gain != 1.0) {
                kernels.apply_gain(audio, hop, &both);
            }
        }

        // No peak is above this, up to what the coarse grid misses.
        let bound: Vec<f32> = (0..blocks).map(|block| after.peak[block] * widest(&limited, block)).collect();

        let reduction: Vec<f32> = limited.iter().map(|gain| reduction(*gain)).collect();
        let total: Vec<f32> = (0..blocks)
            .map(|block| gain.0 as f32 - leveled[block] + clipped.get(block).unwrap_or(&0.0) + reduction[block])
            .collect();
        let tenth = (self.rate as usize / 10).div_ceil(hop).max(1);
        let mut working: Vec<f32> = reduction.iter().copied().filter(|db| *db > 0.05).collect();
        let mut all = reduction;
        let trace = Trace {
            reduction: total.chunks(tenth).map(|part| part.iter().copied().fold(0f32, f32::max)).collect(),
            reduction_median: percentile(&mut working, 0.5),
            reduction_p95: percentile(&mut all, 0.95),
            clipped: touched as f64 / (2 * audio.frames().max(1)) as f64,
            ..Trace::default()
        };
        (trace, bound)
    }

    /// Looks closely wherever the result comes near the ceiling, and takes what is still over down, only there. Returns the highest
    /// true peak.
    fn check(&self, kernels: &dyn Kernels, audio: &mut Audio, bound: &[f32]) -> f32 {
        let (Some(control), Some(limiter)) = (self.model.control(), &self.limiter) else {
            return bound.iter().copied().fold(0f32, f32::max);
        };
        // What even the fine grid may miss is kept as a distance; where the coarse one cannot have missed more, nothing can be over.
        // Its 32 taps miss more than its grid where a mix goes on up to Nyquist, as synthesisers without band limits do.
        let ceiling = (limiter.ceiling.amplitude() * (-Grid::Fine.miss(self.rate) - METERS).amplitude()) as f32;
        let near = near(limiter.ceiling, self.rate);
        let elsewhere = bound.iter().copied().filter(|peak| *peak <= near).fold(0f32, f32::max);
        let mut look = runs(bound.len(), 0, |block| bound[block] > near);
        let mut peaks = vec![0f32; bound.len()];
        for round in 0..=ROUNDS {
            for block in look.iter().cloned().flatten() {
                peaks[block] = 0.0;
            }
            kernels.block_peaks(audio, self.hop, &look, Grid::Fine, &mut peaks);
            // One part in a million is what rounding leaves of a block that was just brought to the ceiling.
            if round == ROUNDS || peaks.iter().all(|peak| *peak <= ceiling * 1.000_001) {
                break;
            }
            let gain = control.touch_up(&peaks, ceiling);
            kernels.apply_gain(audio, self.hop, &gain);
            // The spline carries a block's gain into its neighbours.
            look = runs(gain.len(), 1, |block| gain[block] < 1.0);
        }
        peaks.into_iter().fold(elsewhere, f32::max)
    }
}
