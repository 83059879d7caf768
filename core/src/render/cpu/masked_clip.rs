//! `masked_relief` and `masked_clip`: tasks of frames side by side.
//!
//! A task solves some frames more than it answers for: what a round or a look between the samples does reaches one hop further than
//! what came before, so that with one frame of surroundings for each the answer is that of the whole track, bit for bit, wherever tasks begin.

use crate::Audio;
use crate::render::kernels::MaskedClip;
use crate::render::masking::{BANDS, Masking, NEAR, PHASES, RELAX, heard, looks};
use crate::render::oversample::{PEAK, PEAK_TAPS};
use crate::units::Db;
use multiversion::multiversion;
use rayon::prelude::*;
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::ops::Range;
use std::sync::Arc;

/// Frames that a task answers for.
const TASK: usize = 160;

/// Memory and transforms of one thread.
struct Scratch {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    frame: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    work: Vec<Complex<f32>>,
    s: Vec<f32>,
    z: Vec<f32>,
    u: Vec<f32>,
    e: Vec<f32>,
    limits: Vec<f32>,
    keep: Vec<[f32; BANDS]>,
}

/// The transforms of a rate, planned once.
struct Plans {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl Plans {
    fn new(masking: &Masking) -> Self {
        let mut planner = RealFftPlanner::new();
        Self { forward: planner.plan_fft_forward(masking.points), inverse: planner.plan_fft_inverse(masking.points) }
    }

    fn scratch(&self) -> Scratch {
        let (forward, inverse) = (Arc::clone(&self.forward), Arc::clone(&self.inverse));
        let work = forward.get_scratch_len().max(inverse.get_scratch_len());
        Scratch {
            frame: forward.make_input_vec(),
            spectrum: forward.make_output_vec(),
            work: vec![Complex::default(); work],
            forward,
            inverse,
            s: Vec::new(),
            z: Vec::new(),
            u: Vec::new(),
            e: Vec::new(),
            limits: Vec::new(),
            keep: Vec::new(),
        }
    }
}

impl Scratch {
    /// Powers by band of what `frame` holds, windowed.
    fn powers(&mut self, masking: &Masking) -> [f32; BANDS] {
        // The only error is a wrong length, and these are the plan's own.
        let _ = self.forward.process_with_scratch(&mut self.frame, &mut self.spectrum, &mut self.work);
        let mut powers = [0f32; BANDS];
        for (power, edges) in powers.iter_mut().zip(masking.edges.windows(2)) {
            *power = energy(&self.spectrum[edges[0]..edges[1]]);
        }
        powers
    }
}

/// The samples that frame `frame` covers, silence outside the channel, into `out`.
fn load(channel: &[f32], masking: &Masking, frame: usize, out: &mut [f32]) {
    let start = frame as isize * masking.hop as isize - masking.hop as isize;
    copy(channel, start, out);
}

/// Samples from `start` on, silence outside the channel.
fn copy(channel: &[f32], start: isize, out: &mut [f32]) {
    let end = start + out.len() as isize;
    let (from, to) = (start.clamp(0, channel.len() as isize), end.clamp(0, channel.len() as isize));
    let at = (from - start) as usize;
    out[..at].fill(0.0);
    out[at..at + (to - from) as usize].copy_from_slice(&channel[from as usize..to as usize]);
    out[at + (to - from) as usize..].fill(0.0);
}

/// Highest magnitudes of the hops of a channel, with the silent one before it: frame `i` covers hops `i` and `i + 1`.
fn hop_peaks(channel: &[f32], masking: &Masking) -> Vec<f32> {
    let mut peaks = vec![0f32; masking.frames(channel.len()) + 1];
    peaks[1..].par_iter_mut().zip(channel.par_chunks(masking.hop)).for_each(|(peak, hop)| *peak = magnitude(hop));
    peaks
}

/// See [`crate::render::reference::masked_relief`].
pub(super) fn masked_relief(audio: &Audio, masking: &Masking, ceiling: f32, most: Db) -> Vec<f32> {
    let plans = Plans::new(masking);
    let mut taken = vec![0f32; masking.frames(audio.frames())];
    for channel in &audio.channels {
        let peaks = hop_peaks(channel, masking);
        taken.par_iter_mut().enumerate().with_min_len(64).for_each_init(
            || plans.scratch(),
            |scratch, (frame, taken)| {
                let peak = peaks[frame].max(peaks[frame + 1]);
                if peak <= ceiling {
                    return;
                }
                let over = Db::from_amplitude(f64::from(peak) / f64::from(ceiling)).0 as f32;
                load(channel, masking, frame, &mut scratch.frame);
                scale(&mut scratch.frame, &masking.window);
                let threshold = masking.threshold(&scratch.powers(masking));
                load(channel, masking, frame, &mut scratch.frame);
                excess(&mut scratch.frame, &masking.window, ceiling);
                let (_, worst) = masking.ratio(&scratch.powers(masking), &threshold);
                *taken = taken.max((over * heard(worst)).max(over - most.0 as f32));
            },
        );
    }
    taken
}

/// Frames that a task solves, and those it answers for.
struct Task {
    solved: Range<usize>,
    /// Hops.
    owned: Range<usize>,
}

/// Cuts runs of active frames into tasks.
fn tasks(active: &[usize], reach: usize, most: usize) -> Vec<Task> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &frame in active {
        match runs.last_mut() {
            Some(run) if run.end == frame => run.end += 1,
            _ => runs.push(frame..frame + 1),
        }
    }
    runs.iter()
        .flat_map(|run| {
            run.clone().step_by(most).map(move |from| {
                let to = (from + most).min(run.end);
                Task {
                    solved: from.saturating_sub(reach).max(run.start)..(to + reach).min(run.end),
                    owned: from..to + usize::from(to == run.end),
                }
            })
        })
        .collect()
}

/// See [`crate::render::reference::masked_clip`].
pub(super) fn masked_clip(audio: &mut Audio, masking: &Masking, ceiling: f32, rounds: usize) -> MaskedClip {
    clip_by(audio, masking, ceiling, rounds, TASK)
}

fn clip_by(audio: &mut Audio, masking: &Masking, ceiling: f32, rounds: usize, most: usize) -> MaskedClip {
    let plans = Plans::new(masking);
    let mut done = MaskedClip::default();
    for channel in &mut audio.channels {
        let peaks = hop_peaks(channel, masking);
        let frames = masking.frames(channel.len());
        let over = |frame: usize| peaks[frame].max(peaks[frame + 1]) > ceiling;
        let active: Vec<usize> =
            (0..frames).filter(|frame| (frame.saturating_sub(1)..(frame + 2).min(frames)).any(over)).collect();
        done.note(&active, masking.hop, channel.len());
        let tasks = tasks(&active, rounds + looks(rounds), most);
        let source: &[f32] = channel;
        let found: Vec<Vec<f32>> = tasks
            .par_iter()
            .map_init(|| plans.scratch(), |scratch, task| solve(source, masking, task, ceiling, rounds, scratch))
            .collect();
        for (task, z) in tasks.iter().zip(found) {
            // Hop `i` of the frames lies one hop before hop `i` of the channel.
            let skip = if task.owned.start == 0 { masking.hop } else { 0 };
            let start = task.owned.start * masking.hop + skip - masking.hop;
            if start < channel.len() {
                done.touched += finish(&mut channel[start..], &z[skip..], ceiling);
            }
        }
    }
    done
}

/// The error of the hops that a task answers for.
fn solve(
    channel: &[f32],
    masking: &Masking,
    task: &Task,
    ceiling: f32,
    rounds: usize,
    scratch: &mut Scratch,
) -> Vec<f32> {
    let (hop, points, count) = (masking.hop, masking.points, task.solved.len());
    let length = (count + 1) * hop;
    for buffer in [&mut scratch.s, &mut scratch.z, &mut scratch.u, &mut scratch.e] {
        buffer.clear();
        buffer.resize(length, 0.0);
    }
    copy(channel, (task.solved.start as isize - 1) * hop as isize, &mut scratch.s);
    scratch.keep.clear();
    for frame in 0..count {
        window(&scratch.s[frame * hop..][..points], &masking.window, &mut scratch.frame);
        let threshold = masking.threshold(&scratch.powers(masking));
        scratch.keep.push(masking.keep(&threshold));
    }
    start(&scratch.s, &mut scratch.z, ceiling);
    scratch.limits.clear();
    scratch.limits.resize(length, ceiling);
    for at in 0..rounds {
        if at + looks(rounds) >= rounds {
            sum(&scratch.s, &scratch.z, &mut scratch.e);
            look(&scratch.e, ceiling, &mut scratch.limits);
        }
        scratch.e.fill(0.0);
        for frame in 0..count {
            let at = frame * hop..frame * hop + points;
            difference(&scratch.z[at.clone()], &scratch.u[at.clone()], &masking.window, &mut scratch.frame);
            let _ = scratch.forward.process_with_scratch(&mut scratch.frame, &mut scratch.spectrum, &mut scratch.work);
            for (keep, edges) in scratch.keep[frame].iter().zip(masking.edges.windows(2)) {
                for value in &mut scratch.spectrum[edges[0]..edges[1]] {
                    *value *= *keep;
                }
            }
            // Lengths are the plan's own, and a zero-phase filter leaves 0 Hz and Nyquist real.
            let _ = scratch.inverse.process_with_scratch(&mut scratch.spectrum, &mut scratch.frame, &mut scratch.work);
            add(&mut scratch.e[at], &scratch.frame, &masking.window);
        }
        round(&scratch.s, &scratch.e, &scratch.limits, &mut scratch.z, &mut scratch.u);
    }
    let from = (task.owned.start - task.solved.start) * hop;
    scratch.z[from..from + task.owned.len() * hop].to_vec()
}

/// Highest magnitude.
#[multiversion(targets("x86_64+avx2+fma"))]
fn magnitude(values: &[f32]) -> f32 {
    let mut most = [0f32; 8];
    for chunk in values.chunks(8) {
        for (most, value) in most.iter_mut().zip(chunk) {
            *most = most.max(value.abs());
        }
    }
    most.into_iter().fold(0.0, f32::max)
}

/// Sum of squared magnitudes.
#[multiversion(targets("x86_64+avx2+fma"))]
fn energy(values: &[Complex<f32>]) -> f32 {
    let mut sums = [0f32; 8];
    for chunk in values.chunks(8) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value.re * value.re + value.im * value.im;
        }
    }
    sums.into_iter().sum()
}

/// `values ·= by`.
#[multiversion(targets("x86_64+avx2+fma"))]
fn scale(values: &mut [f32], by: &[f32]) {
    for (value, by) in values.iter_mut().zip(by) {
        *value *= by;
    }
}

/// `out = values · by`.
#[multiversion(targets("x86_64+avx2+fma"))]
fn window(values: &[f32], by: &[f32], out: &mut [f32]) {
    for ((out, value), by) in out.iter_mut().zip(values).zip(by) {
        *out = value * by;
    }
}

/// `out = (z − u) · by`.
#[multiversion(targets("x86_64+avx2+fma"))]
fn difference(z: &[f32], u: &[f32], by: &[f32], out: &mut [f32]) {
    for (((out, z), u), by) in out.iter_mut().zip(z).zip(u).zip(by) {
        *out = (z - u) * by;
    }
}

/// `sums += values · by`.
#[multiversion(targets("x86_64+avx2+fma"))]
fn add(sums: &mut [f32], values: &[f32], by: &[f32]) {
    for ((sum, value), by) in sums.iter_mut().zip(values).zip(by) {
        *sum += value * by;
    }
}

/// Replaces values by what a plain clip adds to them, windowed.
#[multiversion(targets("x86_64+avx2+fma"))]
fn excess(values: &mut [f32], by: &[f32], ceiling: f32) {
    for (value, by) in values.iter_mut().zip(by) {
        *value = (value.clamp(-ceiling, ceiling) - *value) * by;
    }
}

/// `z` of a plain clip.
#[multiversion(targets("x86_64+avx2+fma"))]
fn start(s: &[f32], z: &mut [f32], ceiling: f32) {
    for (z, s) in z.iter_mut().zip(s) {
        *z = s.clamp(-ceiling, ceiling) - s;
    }
}

/// `out = s + z`.
#[multiversion(targets("x86_64+avx2+fma"))]
fn sum(s: &[f32], z: &[f32], out: &mut [f32]) {
    for ((out, s), z) in out.iter_mut().zip(s).zip(z) {
        *out = s + z;
    }
}

/// Lowers the limits around what is over the ceiling between the samples. The ends are left alone: they are surroundings, or the ends
/// of a run, where nothing is over.
#[multiversion(targets("x86_64+avx2+fma"))]
fn look(signal: &[f32], ceiling: f32, limits: &mut [f32]) {
    const HALF: usize = PEAK_TAPS / 2;
    let phases = PHASES.map(|phase| &PEAK.phases[phase][..PEAK_TAPS]);
    let (near, length) = (ceiling * NEAR, signal.len());
    // How far the places before the sample, at it and after it are over the ceiling: `over[i]` lies between `n − 2 + i` and the next.
    let mut over = [1f32; 4];
    #[expect(clippy::needless_range_loop, reason = "the place counts in the signal, too")]
    for n in 2..length.saturating_sub(1) {
        let between = n + 1;
        over.rotate_left(1);
        over[3] = 1.0;
        let inside = between >= HALF && between + HALF < length;
        if inside && signal[between].abs().max(signal[between + 1].abs()) > near {
            let x = &signal[between + 1 - HALF..between + 1 + HALF];
            for phase in phases {
                let mut sums = [0f32; 8];
                for (h, x) in phase.chunks_exact(8).zip(x.chunks_exact(8)) {
                    for (sum, (h, x)) in sums.iter_mut().zip(h.iter().zip(x)) {
                        *sum += h * x;
                    }
                }
                over[3] = over[3].max(sums.into_iter().sum::<f32>().abs() / ceiling);
            }
        }
        let most = over.into_iter().fold(1.0, f32::max);
        if most > 1.0 {
            limits[n] = (limits[n] / most).max(near);
        }
    }
}

/// The step in time: the nearest error that holds the ceiling, and the multipliers.
#[multiversion(targets("x86_64+avx2+fma"))]
fn round(s: &[f32], e: &[f32], limits: &[f32], z: &mut [f32], u: &mut [f32]) {
    for ((((z, u), s), e), limit) in z.iter_mut().zip(u).zip(s).zip(e).zip(limits) {
        let wanted = RELAX * e + (1.0 - RELAX) * *z + *u;
        *z = (s + wanted).clamp(-limit, *limit) - s;
        *u = wanted - *z;
    }
}

/// Adds the error; what has none stays as it is. Returns how many samples lie more than 0.1 dB over the ceiling.
#[multiversion(targets("x86_64+avx2+fma"))]
fn finish(channel: &mut [f32], z: &[f32], ceiling: f32) -> u64 {
    let report_threshold = ceiling * MaskedClip::FELT as f32;
    let mut touched = 0;
    for (x, z) in channel.iter_mut().zip(z) {
        touched += u64::from(x.abs() > report_threshold);
        *x = if *z == 0.0 { *x } else { (*x + z).clamp(-ceiling, ceiling) };
    }
    touched
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise with hits that lie 6 dB over full scale, and silence between them.
    fn hits(frames: usize) -> Audio {
        let mut state = 1u32;
        let mut audio = Audio::silence(44_100, frames);
        for n in 0..frames {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(state >> 8) / f64::from(1 << 24) - 0.5;
            let t = n as f64 / 44_100.0;
            let beat = if t % 2.0 < 1.2 { (-(t % 0.3) * 12.0).exp() } else { 0.0 };
            let x = 4.0 * beat * (0.5 * noise + 0.4 * (std::f64::consts::TAU * 60.0 * t).sin());
            audio.channels[0][n] = x as f32;
            audio.channels[1][n] = (0.7 * x) as f32;
        }
        audio
    }

    #[test]
    fn tasks_of_any_length_give_the_same_bits() {
        let masking = Masking::new(44_100);
        let mix = hits(441_000);
        let mut whole = mix.clone();
        let done = clip_by(&mut whole, &masking, 0.88, 6, usize::MAX / 4);
        assert!(done.touched > 1000, "{} samples over the ceiling", done.touched);
        for most in [1, 7, 40, TASK] {
            let mut cut = mix.clone();
            assert_eq!(clip_by(&mut cut, &masking, 0.88, 6, most), done);
            assert!(cut == whole, "tasks of {most} frames");
        }
    }

    #[test]
    fn the_ceiling_holds_and_what_is_under_it_stays() {
        let masking = Masking::new(44_100);
        let mix = hits(441_001);
        let mut out = mix.clone();
        let done = masked_clip(&mut out, &masking, 0.88, 6);
        for (before, after) in mix.channels.iter().zip(&out.channels) {
            assert!(after.iter().all(|x| x.abs() <= 0.88));
            let inside = |n: usize| done.changed.iter().any(|range| range.contains(&n));
            assert!((0..before.len()).all(|n| inside(n) || before[n].to_bits() == after[n].to_bits()));
            assert!((0..before.len()).any(|n| !inside(n)));
        }
        let mut quiet = mix.clone();
        for channel in &mut quiet.channels {
            channel.iter_mut().for_each(|x| *x *= 0.1);
        }
        let same = quiet.clone();
        assert_eq!(masked_clip(&mut quiet, &masking, 0.88, 6), MaskedClip::default());
        assert!(quiet == same);
    }
}
