//! Conversion with an end of the band of its own, below Nyquist: for masters that go to a lower rate.
//!
//! The spectrum of each block is filtered and cut or extended. Zero latency by construction (the filter is symmetric around 0 and
//! applied as a real spectrum), and blocks that know nothing of each other: parallel, and the same bytes on any number of threads.

use super::{convert, ratio};
use crate::Audio;
use crate::meter::bessel_i0;
use rayon::prelude::*;
use realfft::{RealFftPlanner, num_complex::Complex};
use std::f64::consts::PI;
use std::io;

/// Pass band up to this share of the lower rate's Nyquist frequency: 20.3 kHz for 44.1 kHz …
pub(super) const PASS: f64 = 0.92;
/// … and stop band from this one: 21.5 kHz, so that what is limited afterwards has no peaks that meters and converters disagree about.
pub(super) const STOP: f64 = 0.975;
/// Stop band attenuation that the window is designed for, in dB; the bar is 120.
const ATTENUATION: f64 = 140.0;
/// Input frames per block, at least; the transform is as long.
const BLOCK: usize = 16_384;

/// The audio at `rate`: flat within ±0.01 dB to [`PASS`] of the lower Nyquist frequency, nothing from [`STOP`] on, images and aliases
/// below −120 dB.
pub(super) fn resample(audio: &Audio, rate: u32) -> io::Result<Audio> {
    let plan = Layout::new(audio.rate, rate);
    let response = response(&plan);
    let mut planner = RealFftPlanner::<f32>::new();
    let forward = planner.plan_fft_forward(plan.size_in);
    let inverse = planner.plan_fft_inverse(plan.size_out);

    convert(audio, rate, |input, out| {
        out.par_chunks_mut(plan.hop_out).enumerate().for_each_init(
            || {
                (
                    forward.make_input_vec(),
                    forward.make_output_vec(),
                    inverse.make_input_vec(),
                    inverse.make_output_vec(),
                    vec![Complex::default(); forward.get_scratch_len().max(inverse.get_scratch_len())],
                )
            },
            |(time_in, spectrum_in, spectrum_out, time_out, scratch), (block, out)| {
                // Frames [block·hop − pad, … + size) of the input, zeros outside.
                let start = block * plan.hop_in;
                let (from, skipped) = (start.saturating_sub(plan.pad_in), plan.pad_in.saturating_sub(start));
                let there = input.get(from..).unwrap_or_default();
                let count = there.len().min(plan.size_in - skipped);
                time_in.fill(0.0);
                time_in[skipped..skipped + count].copy_from_slice(&there[..count]);
                // Sizes come from the same plan: the transforms cannot refuse them.
                let transformed =
                    forward.process_with_scratch(time_in, spectrum_in, &mut scratch[..forward.get_scratch_len()]);
                debug_assert!(transformed.is_ok());
                spectrum_out.fill(Complex::default());
                for ((out, bin), gain) in spectrum_out.iter_mut().zip(spectrum_in.iter()).zip(&response) {
                    *out = bin * gain;
                }
                // The last bins of both transforms must be real; the response is zero there, up to rounding.
                if let Some(last) = spectrum_out.last_mut() {
                    last.im = 0.0;
                }
                let transformed =
                    inverse.process_with_scratch(spectrum_out, time_out, &mut scratch[..inverse.get_scratch_len()]);
                debug_assert!(transformed.is_ok());
                out.copy_from_slice(&time_out[plan.pad_out..plan.pad_out + out.len()]);
            },
        );
        Ok(())
    })
}

/// Sizes of the blocks: all of them whole multiples of the smallest stretch that has whole frames at both rates.
struct Layout {
    size_in: usize,
    size_out: usize,
    hop_in: usize,
    hop_out: usize,
    pad_in: usize,
    pad_out: usize,
    /// Half the length of the filter, in input frames.
    half: usize,
    /// Filter edge between pass and stop band, in cycles per input frame.
    cutoff: f64,
}

impl Layout {
    fn new(rate_in: u32, rate_out: u32) -> Self {
        let [unit_in, unit_out] = ratio(rate_in, rate_out);
        let lower = f64::from(rate_in.min(rate_out)) / f64::from(rate_in);
        // Kaiser's estimate of the length (Oppenheim & Schafer, Discrete-Time Signal Processing, 3rd ed., 7.6).
        let transition = (STOP - PASS) * lower / 2.0;
        let taps = (ATTENUATION - 7.95) / (2.285 * 2.0 * PI * transition);
        let half = (taps / 2.0).ceil() as usize;
        let pad = half.div_ceil(unit_in).max(1);
        // Even, so that both transforms are.
        let units = (BLOCK.max(8 * half)).div_ceil(unit_in).max(3 * pad).next_multiple_of(2);
        Self {
            size_in: units * unit_in,
            size_out: units * unit_out,
            hop_in: (units - 2 * pad) * unit_in,
            hop_out: (units - 2 * pad) * unit_out,
            pad_in: pad * unit_in,
            pad_out: pad * unit_out,
            half,
            cutoff: f64::midpoint(PASS, STOP) * lower / 2.0,
        }
    }
}

/// The filter's real spectrum at the bins of the input transform that the output has too, with the scale of the unnormalised transforms.
fn response(plan: &Layout) -> Vec<f32> {
    let beta = 0.1102 * (ATTENUATION - 8.7);
    let mut taps = vec![0.0_f64; plan.size_in];
    for n in 0..=plan.half {
        let x = n as f64 * 2.0 * plan.cutoff;
        let sinc = if n == 0 { 1.0 } else { (PI * x).sin() / (PI * x) };
        let t = n as f64 / (plan.half + 1) as f64;
        let value = 2.0 * plan.cutoff * sinc * bessel_i0(beta * (1.0 - t * t).sqrt()) / bessel_i0(beta);
        taps[n] = value;
        if n > 0 {
            taps[plan.size_in - n] = value;
        }
    }
    let transform = RealFftPlanner::<f64>::new().plan_fft_forward(plan.size_in);
    let mut spectrum = transform.make_output_vec();
    let transformed = transform.process(&mut taps, &mut spectrum);
    debug_assert!(transformed.is_ok());
    let bins = plan.size_in.min(plan.size_out) / 2 + 1;
    spectrum[..bins].iter().map(|bin| (bin.re / plan.size_in as f64) as f32).collect()
}
