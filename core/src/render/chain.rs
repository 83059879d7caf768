//! The one chain: edit → shape → saturate → per rate: resample → solve → transients → leveler → clipper → limiter → check → fades.
//! Where much has to be taken, the masked clipper stands in the place of leveler and clipper.
//!
//! It runs over any [`Kernels`]; a [`Backend`] on the CPU is this and nothing else. The leveler comes before the
//! clipper, so that the clipper meets transients only and never works on a sustained tone that the leveler would have taken.

use super::design::ShapeDesign;
use super::finish::{self, Aim, Finish, fade, fades, idle, near, runs};
use super::kernels::{Grid, Kernels};
use super::masking::{self, Masking};
use super::{Backend, BackendInfo, Early, Job, Master, RenderError, Sketch, Trace};
use crate::Audio;
use crate::control::curves::SaturationCurve;
use crate::control::limiter::{LimiterGain, block_means, hop};
use crate::meter::integrated_from_block_energies;
use crate::plan::{Limiter, Plan};
use crate::settings::Edit;
use crate::units::{Db, Dbtp, Seconds};
use rayon::prelude::*;

/// Gains behind the masked clipper at most: the second mends what the limiter makes of the first.
const TRIMS: usize = 2;
/// Music on both sides of a part that is heard early, seconds: by then leveler and limiter do what they do in the whole.
const AROUND: f64 = 2.0;

/// Whoever has the kernels is a backend: the chain calls them, jobs in parallel.
impl<K: Kernels> Backend for K {
    fn info(&self) -> BackendInfo {
        Kernels::info(self)
    }

    fn render(&self, jobs: Vec<Job<'_>>) -> Vec<Result<Vec<Master>, RenderError>> {
        jobs.into_par_iter().map(|job| run(self, job)).collect()
    }

    fn reduce_overs(&self, master: &mut Audio, decoded: &Audio, limiter: &Limiter) {
        reduce_overs(self, master, decoded, limiter);
    }
}

/// Renders one job at each of its rates.
///
/// # Errors
/// A non-finite sample in the result, or no room for a copy of the track.
pub fn run(kernels: &dyn Kernels, job: Job<'_>) -> Result<Vec<Master>, RenderError> {
    let Job { audio, plan, rates, solved, early } = job;
    let audio = trim(audio, &plan.edit);
    let native = audio.rate;
    let (mut audio, bands) = kernels.shape(audio, &ShapeDesign::new(plan, native));
    if let Some(saturation) = plan.saturation.filter(|s| s.odd != 0.0 || s.even != 0.0) {
        let peak = audio.channels.iter().flatten().fold(0f32, |peak, x| peak.max(x.abs()));
        kernels.saturate(&mut audio, hop(native), &SaturationCurve::new(&saturation, peak))?;
    }
    let native_only = [native];
    let rates = if rates.is_empty() { &native_only } else { rates };
    let mut masters = Vec::with_capacity(rates.len());
    let mut shaped = Some(audio);
    for (i, &rate) in rates.iter().enumerate() {
        let last = i + 1 == rates.len();
        let source = match &shaped {
            Some(audio) if rate != audio.rate => crate::resample::deliver(audio, rate)?,
            Some(audio) if !last => audio.try_clone()?,
            _ => shaped.take().unwrap_or_else(|| Audio::silence(rate, 0)),
        };
        if last {
            shaped = None;
        }
        let mut master = finish(kernels, source, plan, solved, early.filter(|_| i == 0))?;
        master.trace.bands.clone_from(&bands);
        masters.push(master);
    }
    Ok(masters)
}

/// See [`Backend::reduce_overs`].
fn reduce_overs(kernels: &dyn Kernels, master: &mut Audio, decoded: &Audio, limiter: &Limiter) {
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
    let gain = LimiterGain::new(limiter, hop, rate).touch_up(&peaks, limiter.ceiling.amplitude() as f32);
    kernels.apply_gain(master, hop, &gain);
}

/// `[block]` peaks of the whole track on the coarse grid.
fn coarse_peaks(kernels: &dyn Kernels, audio: &Audio, hop: usize) -> Vec<f32> {
    let blocks = audio.frames().div_ceil(hop);
    let mut peaks = vec![0f32; blocks];
    kernels.block_peaks(audio, hop, std::slice::from_ref(&(0..blocks)), Grid::Coarse, &mut peaks);
    peaks
}

/// Cuts both ends; at least one frame stays.
#[must_use]
pub fn trim(mut audio: Audio, edit: &Edit) -> Audio {
    let kept = finish::kept(edit, audio.frames(), audio.rate);
    if kept.len() < audio.frames() {
        for channel in &mut audio.channels {
            channel.keep(kept.clone());
        }
    }
    audio
}

/// Everything after `saturate`, at one rate.
fn finish(
    kernels: &dyn Kernels,
    audio: Audio,
    plan: &Plan,
    solved: Option<Db>,
    early: Option<Early<'_>>,
) -> Result<Master, RenderError> {
    if idle(plan, audio.frames(), solved) {
        check_finite(&audio)?;
        return Ok(Master { audio, trace: Trace::default(), backend: kernels.info() });
    }
    let hop = hop(audio.rate);
    let means = audio.channels.each_ref().map(|channel| block_means(channel, hop));
    let control = Finish::new(
        coarse_peaks(kernels, &audio, hop),
        [&means[0], &means[1]],
        kernels.block_energies(&audio, hop),
        audio.frames(),
        audio.rate,
        plan,
    );
    let mut aim = control.aim(plan, solved, || {
        let mut peaks = vec![0f32; means[0].len()];
        kernels.block_peaks(&audio, hop, &control.highest(), Grid::Fine, &mut peaks);
        peaks.into_iter().fold(control.top(), f32::max)
    });

    if let Some(early) = early {
        sketch(kernels, &control, &audio, plan, aim, &early);
    }
    let limits = plan.limiter.is_some() || plan.clipper.is_some() || plan.leveler.is_some() || plan.masked.is_some();
    let frames = audio.frames();
    let mut shaped = audio;
    let mut passes = 1;
    loop {
        // The shaped audio is kept only where a correction may need it, or to say what the limiting has done to it.
        let needed = limits || (aim.target.is_some() && passes <= 2);
        let (mut out, kept) = if needed { (shaped.try_clone()?, Some(shaped)) } else { (shaped, None) };
        let (mut trace, mut bound) = pass(kernels, &control, &mut out, aim.gain);
        if fades(&plan.edit) {
            apply_fades(&mut out, 0, frames, &plan.edit);
        }
        let mut energies = kernels.block_energies(&out, hop);
        if !energies.iter().sum::<f64>().is_finite() {
            check_finite(&out)?;
        }
        let loudness =
            |energies: &[f64], out: &Audio| integrated_from_block_energies(energies, hop, out.frames(), out.rate);
        let mut reached = loudness(&energies, &out);
        let mut trims = 0;
        while trims < TRIMS
            && let Some(trim) = control.trim(&aim, reached, &bound, energies.clone())
        {
            trims += 1;
            kernels.apply_gain(&mut out, hop, &trim.linear);
            for (all, more) in trace.reduction.iter_mut().zip(&trim.reduction) {
                *all += more;
            }
            bound = trim.bound;
            aim = Aim { gain: Db(aim.gain.0 + trim.gain.0), predicted: Some(trim.predicted), ..aim };
            energies = kernels.block_energies(&out, hop);
            reached = loudness(&energies, &out);
        }
        if trims == 0
            && let Some(better) = control.correct(&aim, reached, passes)
            && let Some(kept) = kept
        {
            shaped = kept;
            aim = better;
            passes += 1;
            continue;
        }
        let true_peak = check(kernels, &control, &mut out, &bound);
        trace.limiting_error = kept.filter(|_| limits).and_then(|mut before| {
            // A fade is no error of the limiting.
            if fades(&plan.edit) {
                apply_fades(&mut before, 0, frames, &plan.edit);
            }
            masking::error(&before, &out, aim.gain)
        });
        trace.true_peak = (true_peak > 0.0).then(|| Dbtp::from_amplitude(f64::from(true_peak)));
        trace.gain = aim.gain;
        trace.predicted = aim.predicted;
        trace.reached = reached;
        trace.passes = passes;
        return Ok(Master { audio: out, trace, backend: kernels.info() });
    }
}

/// Takes the part that is wanted early through one pass, and hands it out. What cannot be had early is heard later.
fn sketch(kernels: &dyn Kernels, control: &Finish, shaped: &Audio, plan: &Plan, aim: Aim, early: &Early<'_>) {
    let (frames, rate) = (shaped.frames(), shaped.rate);
    let at = |seconds: f64| ((seconds.max(0.0) * f64::from(rate)) as usize).min(frames);
    // The frames of the masked clipper lie as they do in the whole; they hold whole blocks.
    let grid = Masking::new(rate).hop.max(control.hop());
    let from = at(early.start.0 - AROUND) / grid * grid;
    let range = from..at(early.start.0 + early.length.0 + AROUND);
    let mut part = Audio::new(rate, shaped.channels.each_ref().map(|channel| channel[range.clone()].to_vec()));
    let control = control.part(&range);
    let (_, bound) = pass(kernels, &control, &mut part, aim.gain);
    if fades(&plan.edit) {
        apply_fades(&mut part, from, frames, &plan.edit);
    }
    check(kernels, &control, &mut part, &bound);
    if check_finite(&part).is_ok() {
        let from = Seconds(from as f64 / f64::from(rate));
        (early.tell)(Sketch { part, from, shaped, gain: aim.gain, predicted: aim.predicted });
    }
}

/// Fades what of `audio`, which begins at frame `from` of `whole` frames, lies in a fade.
fn apply_fades(audio: &mut Audio, from: usize, whole: usize, edit: &Edit) {
    let (frames, rate) = (audio.frames(), audio.rate);
    for range in finish::faded(edit, whole, rate) {
        let here = range.start.clamp(from, from + frames)..range.end.clamp(from, from + frames);
        for channel in &mut audio.channels {
            for n in here.clone() {
                let x = &mut channel[n - from];
                *x = (f64::from(*x) * fade(edit, n as f64, whole, rate)) as f32;
            }
        }
    }
}

/// The first sample that is not a number, as an error.
///
/// # Errors
/// There is one.
pub fn check_finite(audio: &Audio) -> Result<(), RenderError> {
    let bad = audio.channels.iter().filter_map(|channel| channel.iter().position(|x| !x.is_finite())).min();
    bad.map_or(Ok(()), |frame| Err(RenderError::NonFinite { frame }))
}

/// Leveler, clipper and limiter over `audio`, in place; also returns the peaks that the blocks have now, `[block]`.
fn pass(kernels: &dyn Kernels, control: &Finish, audio: &mut Audio, gain: Db) -> (Trace, Vec<f32>) {
    let hop = control.hop();
    let mut start = control.start(gain);
    // Clipper: only where a peak reaches its knee; what it did is measured again there.
    let mut touched = 0;
    if let Some(curve) = control.clip().filter(|_| !start.near.is_empty()) {
        kernels.apply_gain(audio, hop, &start.linear);
        touched = kernels.clip(audio, hop, &start.near, curve);
        kernels.block_peaks(audio, hop, &start.around, Grid::Coarse, &mut start.peak);
    }
    if let Some((masked, ceiling)) = control.masked(&start) {
        let masking = Masking::new(audio.rate);
        kernels.apply_gain(audio, hop, &start.linear);
        let taken = kernels.masked_relief(audio, &masking, ceiling, masked.max_reduction);
        if taken.iter().any(|taken| *taken > 0.0) {
            let relief = masking::relief(&masking, &taken, start.peak.len(), hop);
            let linear = control.relieve(&mut start, &relief);
            kernels.apply_gain(audio, hop, &linear);
        }
        let done = kernels.masked_clip(audio, &masking, ceiling, masked.rounds as usize);
        touched = done.touched;
        let before = control.clipped(&mut start, &done.changed);
        kernels.block_peaks(audio, hop, &start.around, Grid::Coarse, &mut start.peak);
        control.took(&mut start, &before);
    }
    let limited = control.limit(start, touched);
    if let Some(gain) = limited.gain {
        kernels.apply_gain(audio, hop, &gain);
    }
    (limited.trace, limited.bound)
}

/// Looks closely wherever the result comes near the ceiling, and takes what is still over down, only there. Returns the highest
/// true peak.
fn check(kernels: &dyn Kernels, control: &Finish, audio: &mut Audio, bound: &[f32]) -> f32 {
    let mut check = match control.check(bound) {
        Ok(check) => check,
        Err(highest) => return highest,
    };
    loop {
        kernels.block_peaks(audio, control.hop(), &check.look, Grid::Fine, &mut check.peaks);
        match check.judge() {
            Some(gain) => kernels.apply_gain(audio, control.hop(), &gain),
            None => return check.true_peak(),
        }
    }
}
