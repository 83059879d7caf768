//! `masked_relief` and `masked_clip`: clipping with the error where it is heard least. Whole channels at a time, in `f64`; the one
//! place among these kernels with a fast transform, because a direct one would take minutes for a second of audio.

use crate::Audio;
use crate::render::kernels::MaskedClip;
use crate::render::masking::{BANDS, Masking, NEAR, PHASES, RELAX, heard, looks};
use crate::render::oversample::{PEAK, PEAK_TAPS};
use crate::units::Db;
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::ops::Range;
use std::sync::Arc;

/// A channel with silence around it, cut into frames.
struct Frames<'a> {
    masking: &'a Masking,
    /// Frame `i` is what lies from `i · hop` on, for two hops.
    padded: Vec<f64>,
    count: usize,
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
}

impl<'a> Frames<'a> {
    fn new(masking: &'a Masking, channel: &[f32]) -> Self {
        let count = masking.frames(channel.len());
        let mut padded = vec![0.0; (count + 1) * masking.hop];
        for (to, from) in padded[masking.hop..].iter_mut().zip(channel) {
            *to = f64::from(*from);
        }
        let mut planner = RealFftPlanner::new();
        let (forward, inverse) = (planner.plan_fft_forward(masking.points), planner.plan_fft_inverse(masking.points));
        Self { masking, padded, count, forward, inverse }
    }

    fn peak(&self, frame: usize) -> f64 {
        self.padded[frame * self.masking.hop..][..self.masking.points].iter().fold(0.0, |peak, x| peak.max(x.abs()))
    }

    fn spectrum(&self, signal: &[f64], frame: usize) -> Vec<Complex<f64>> {
        let from = frame * self.masking.hop;
        let mut windowed: Vec<f64> =
            signal[from..].iter().zip(&self.masking.window).map(|(x, w)| x * f64::from(*w)).collect();
        let mut spectrum = self.forward.make_output_vec();
        // The only error is a wrong length, and these are the plan's own.
        let _ = self.forward.process(&mut windowed, &mut spectrum);
        spectrum
    }

    fn powers(&self, spectrum: &[Complex<f64>]) -> [f32; BANDS] {
        let edges = &self.masking.edges;
        std::array::from_fn(|band| {
            spectrum[edges[band]..edges[band + 1]].iter().map(Complex::norm_sqr).sum::<f64>() as f32
        })
    }
}

/// `[frame]` what each frame wants taken off by level before it is clipped, dB ≥ 0, the larger of both channels: what would be heard
/// of a plain clip, and what exceeds `most`.
#[must_use]
pub fn masked_relief(audio: &Audio, masking: &Masking, ceiling: f32, most: Db) -> Vec<f32> {
    let mut taken = vec![0f32; masking.frames(audio.frames())];
    for channel in &audio.channels {
        let frames = Frames::new(masking, channel);
        let limit = f64::from(ceiling);
        let error: Vec<f64> = frames.padded.iter().map(|x| x.clamp(-limit, limit) - x).collect();
        for (frame, taken) in taken.iter_mut().enumerate() {
            let peak = frames.peak(frame);
            if peak > limit {
                let over = Db::from_amplitude(peak / limit).0 as f32;
                let threshold = masking.threshold(&frames.powers(&frames.spectrum(&frames.padded, frame)));
                let (_, worst) = masking.ratio(&frames.powers(&frames.spectrum(&error, frame)), &threshold);
                *taken = taken.max((over * heard(worst)).max(over - most.0 as f32));
            }
        }
    }
    taken
}

/// Lowers `limits` around whatever of `signal` is over `ceiling` between the samples.
fn look(signal: &[f64], ceiling: f64, limits: &mut [f64]) {
    let half = PEAK_TAPS / 2;
    // What lies between sample `n` and the next, over the ceiling.
    let mut over = vec![1.0f64; signal.len()];
    for n in half..signal.len().saturating_sub(half) {
        if signal[n].abs().max(signal[n + 1].abs()) > ceiling * f64::from(NEAR) {
            for phase in PHASES {
                let taps = PEAK.phases[phase].iter().zip(&signal[n + 1 - half..]);
                let value: f64 = taps.map(|(h, x)| f64::from(*h) * x).sum();
                over[n] = over[n].max(value.abs() / ceiling);
            }
        }
    }
    for n in 2..signal.len().saturating_sub(1) {
        let most = over[n - 2..=n + 1].iter().fold(1.0, |most: f64, over| most.max(*over));
        limits[n] = (limits[n] / most).max(ceiling * f64::from(NEAR));
    }
}

/// Holds both channels within `ceiling`, with the error where it is heard least: `rounds` of the method of multipliers over the frames
/// that exceed it and one on either side, the last of which look between the samples too. Frames away from them stay as they are, bit for bit.
pub fn masked_clip(audio: &mut Audio, masking: &Masking, ceiling: f32, rounds: usize) -> MaskedClip {
    let limit = f64::from(ceiling);
    let mut done = MaskedClip::default();
    for channel in &mut audio.channels {
        let frames = Frames::new(masking, channel);
        let over: Vec<bool> = (0..frames.count).map(|frame| frames.peak(frame) > limit).collect();
        let active: Vec<usize> = (0..frames.count)
            .filter(|frame| over[frame.saturating_sub(1)..(frame + 2).min(frames.count)].contains(&true))
            .collect();
        done.note(&active, masking.hop, channel.len());
        let keep: Vec<[f32; BANDS]> = active
            .iter()
            .map(|frame| masking.keep(&masking.threshold(&frames.powers(&frames.spectrum(&frames.padded, *frame)))))
            .collect();
        let s = &frames.padded;
        // Runs of active frames, in samples.
        let mut runs: Vec<Range<usize>> = Vec::new();
        for frame in &active {
            let (from, to) = (frame * masking.hop, frame * masking.hop + masking.points);
            match runs.last_mut() {
                Some(last) if from + masking.hop == last.end => last.end = to,
                _ => runs.push(from..to),
            }
        }
        let mut limits = vec![limit; s.len()];
        let project = |at: usize, v: f64, limit: f64| (s[at] + v).clamp(-limit, limit) - s[at];
        let mut z: Vec<f64> = (0..s.len()).map(|at| project(at, 0.0, limit)).collect();
        let mut u = vec![0.0; s.len()];
        for round in 0..rounds {
            if round + looks(rounds) >= rounds {
                let sum: Vec<f64> = s.iter().zip(&z).map(|(s, z)| s + z).collect();
                for run in &runs {
                    look(&sum[run.clone()], limit, &mut limits[run.clone()]);
                }
            }
            let difference: Vec<f64> = z.iter().zip(&u).map(|(z, u)| z - u).collect();
            let mut e = vec![0.0; s.len()];
            for (frame, keep) in active.iter().zip(&keep) {
                let mut spectrum = frames.spectrum(&difference, *frame);
                for (band, keep) in keep.iter().enumerate() {
                    for value in &mut spectrum[masking.edges[band]..masking.edges[band + 1]] {
                        *value *= f64::from(*keep);
                    }
                }
                let mut back = frames.inverse.make_output_vec();
                // Lengths are the plan's own, and a zero-phase filter leaves 0 Hz and Nyquist real.
                let _ = frames.inverse.process(&mut spectrum, &mut back);
                for ((e, x), w) in e[frame * masking.hop..].iter_mut().zip(back).zip(&masking.window) {
                    *e += x * f64::from(*w);
                }
            }
            for at in 0..s.len() {
                let relax = f64::from(RELAX);
                let wanted = relax * e[at] + (1.0 - relax) * z[at] + u[at];
                z[at] = project(at, wanted, limits[at]);
                u[at] = wanted - z[at];
            }
        }
        for (sample, z) in channel.iter_mut().zip(&z[masking.hop..]) {
            done.touched += u64::from(f64::from(sample.abs()) > limit * MaskedClip::FELT);
            if *z != 0.0 {
                *sample = (f64::from(*sample) + z).clamp(-limit, limit) as f32;
            }
        }
    }
    done
}
