//! Changes the sample rate by exact ratios in the frequency domain: the spectrum of each block is filtered and cut or extended.
//!
//! Zero latency by construction (the filter is symmetric around 0 and applied as a real spectrum), any pair of rates, and blocks
//! that know nothing of each other: parallel, and the same bytes on any number of threads.

use crate::{Audio, Samples};
use rayon::prelude::*;
use realfft::{RealFftPlanner, num_complex::Complex};
use std::f64::consts::PI;
use std::io;

/// Pass band up to this share of the lower rate's Nyquist frequency: 20.3 kHz for 44.1 kHz …
const PASS: f64 = 0.92;
/// … and stop band from this one: 21.5 kHz, so that what is limited afterwards has no peaks that meters and converters disagree about.
const STOP: f64 = 0.975;
/// Stop band attenuation that the window is designed for, in dB; the bar is 120.
const ATTENUATION: f64 = 140.0;
/// Input frames per block, at least; the transform is as long.
const BLOCK: usize = 16_384;

/// The audio at `rate`, `round(frames · rate / audio.rate)` frames, time-aligned with the input, silence assumed around it.
///
/// Pass band flat within ±0.01 dB to 0.92 of the lower Nyquist frequency, nothing from 0.975 of it on, images and aliases below −120 dB.
///
/// The result lies in the pool of the input.
///
/// # Errors
/// There is no room for it.
///
/// # Panics
/// If one of the rates is 0.
pub fn resample(audio: &Audio, rate: u32) -> io::Result<Audio> {
    assert!(audio.rate > 0 && rate > 0, "a sample rate of 0 Hz has no audio");
    if audio.rate == rate {
        return audio.try_clone();
    }
    let plan = Layout::new(audio.rate, rate);
    let response = response(&plan);
    let mut planner = RealFftPlanner::<f32>::new();
    let forward = planner.plan_fft_forward(plan.size_in);
    let inverse = planner.plan_fft_inverse(plan.size_out);

    let length = |frames: usize| {
        let exact = (frames as u128 * u128::from(rate) * 2 + u128::from(audio.rate)) / (2 * u128::from(audio.rate));
        exact as usize
    };
    let one = |input: &Samples| -> io::Result<Samples> {
        let mut out = input.like(length(input.len()))?;
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
        Ok(out)
    };
    let [left, right] = &audio.channels;
    let (left, right) = rayon::join(|| one(left), || one(right));
    Ok(Audio { rate, channels: [left?, right?] })
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
        let unit = gcd(rate_in, rate_out);
        let (unit_in, unit_out) = ((rate_in / unit) as usize, (rate_out / unit) as usize);
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

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
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

/// Modified Bessel function of the first kind, order 0: its power series (Abramowitz & Stegun 9.6.12), exact to rounding.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= (x / (2.0 * k)) * (x / (2.0 * k));
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A sine with raised-cosine ends of a quarter each, so that nothing leaks from the edges.
    fn tone(rate: u32, frames: usize, hz: f64) -> Vec<f32> {
        let ramp = frames / 4;
        (0..frames)
            .map(|n| {
                let edge = n.min(frames - 1 - n).min(ramp) as f64 / ramp as f64;
                let envelope = 0.5 - 0.5 * (PI * edge).cos();
                (envelope * (2.0 * PI * hz * n as f64 / f64::from(rate)).sin()) as f32
            })
            .collect()
    }

    fn stereo(rate: u32, left: Vec<f32>) -> Audio {
        let right = left.iter().map(|x| -x).collect();
        Audio::new(rate, [left, right])
    }

    /// Amplitude and phase of `hz`, through a Blackman-Harris window over the middle half (side lobes below −92 dB).
    fn phasor(rate: u32, x: &[f32], hz: f64) -> (f64, f64) {
        let middle = &x[x.len() / 4..3 * x.len() / 4];
        let (mut re, mut im, mut sum) = (0.0, 0.0, 0.0);
        for (n, &x) in middle.iter().enumerate() {
            let t = 2.0 * PI * n as f64 / middle.len() as f64;
            let w = 0.35875 - 0.48829 * t.cos() + 0.14128 * (2.0 * t).cos() - 0.01168 * (3.0 * t).cos();
            let phase = 2.0 * PI * hz * (n + x_start(middle.len())) as f64 / f64::from(rate);
            re += w * f64::from(x) * phase.cos();
            im += w * f64::from(x) * phase.sin();
            sum += w;
        }
        (2.0 * re.hypot(im) / sum, re.atan2(im))
    }

    /// First frame of the middle half of a signal whose middle half has this length.
    fn x_start(middle: usize) -> usize {
        middle / 2
    }

    const PAIRS: [(u32, u32); 14] = [
        (44_100, 48_000),
        (48_000, 44_100),
        (44_100, 88_200),
        (88_200, 44_100),
        (44_100, 96_000),
        (96_000, 44_100),
        (48_000, 88_200),
        (88_200, 48_000),
        (48_000, 96_000),
        (96_000, 48_000),
        (88_200, 96_000),
        (96_000, 88_200),
        (192_000, 44_100),
        (192_000, 48_000),
    ];

    /// The bars of the laboratory: ±0.01 dB to 20 kHz, images and aliases below −120 dB, aligned to 0.01 sample.
    #[test]
    fn laboratory() {
        let mut worst = [0.0, f64::NEG_INFINITY, f64::NEG_INFINITY, 0.0_f64];
        for (from, to) in PAIRS {
            let frames = 2 * from as usize; // divisible by 4; the steady middle second is longer than every window below
            let (mut ripple, mut shift) = (0.0_f64, 0.0_f64);
            for hz in [20.0, 100.0, 997.0, 5_000.0, 10_000.0, 15_000.0, 18_000.0, 19_500.0, 20_000.0] {
                let out = resample(&stereo(from, tone(from, frames, hz)), to).unwrap();
                assert_eq!(out.frames(), 2 * to as usize);
                let (amplitude, phase) = phasor(to, &out.channels[0], hz);
                ripple = ripple.max((20.0 * amplitude.log10()).abs());
                shift = shift.max((phase / (2.0 * PI * hz) * f64::from(to)).abs());
            }
            // Everything in the output that is not the tone, with the tone at the edge of the pass band: images and aliases land
            // at known places, round-off everywhere. The worst bin counts.
            let lower = f64::from(from.min(to)) / 2.0;
            let mut image = f64::NEG_INFINITY;
            for hz in [997.0, 10_000.0, 0.85 * lower, PASS * lower] {
                let out = resample(&stereo(from, tone(from, frames, hz)), to).unwrap();
                image = image.max(worst_bin(&out.channels[0], hz / f64::from(to)));
            }
            // Tones that the lower rate cannot hold must vanish altogether.
            let mut alias = f64::NEG_INFINITY;
            if from > to {
                for hz in [lower * 1.001, lower * 1.05, lower * 1.5, f64::from(from) / 2.0 * 0.97] {
                    if hz < f64::from(from) / 2.0 {
                        let out = resample(&stereo(from, tone(from, frames, hz)), to).unwrap();
                        alias = alias.max(worst_bin(&out.channels[0], -1.0));
                    }
                }
            }
            println!(
                "{from} -> {to}: ripple to 20 kHz {ripple:.5} dB, image {image:.1} dB, alias {alias:.1} dB, shift {shift:.6} samples"
            );
            worst = [worst[0].max(ripple), worst[1].max(image), worst[2].max(alias), worst[3].max(shift)];
        }
        assert!(worst[0] < 0.01 && worst[1] < -120.0 && worst[2] < -120.0 && worst[3] < 0.01, "{worst:?}");
    }

    /// Largest bin in dB of full scale, leaving out the main lobe around `tone` cycles per frame.
    fn worst_bin(x: &[f32], tone: f64) -> f64 {
        let size = 32_768;
        let start = (x.len() - size) / 2;
        // Kaiser window, beta 20: side lobes below −150 dB, main lobe within ±7 bins.
        let mut time: Vec<f64> = (0..size)
            .map(|n| {
                let t = 2.0 * n as f64 / (size - 1) as f64 - 1.0;
                f64::from(x[start + n]) * bessel_i0(20.0 * (1.0 - t * t).max(0.0).sqrt())
            })
            .collect();
        let sum: f64 = (0..size)
            .map(|n| bessel_i0(20.0 * (1.0 - (2.0 * n as f64 / (size - 1) as f64 - 1.0).powi(2)).max(0.0).sqrt()))
            .sum();
        let transform = RealFftPlanner::<f64>::new().plan_fft_forward(size);
        let mut spectrum = transform.make_output_vec();
        transform.process(&mut time, &mut spectrum).unwrap();
        let peak = spectrum
            .iter()
            .enumerate()
            .filter(|(bin, _)| (*bin as f64 - tone * size as f64).abs() > 10.0)
            .map(|(_, v)| v.norm())
            .fold(0.0, f64::max);
        20.0 * (2.0 * peak / sum).log10()
    }

    #[test]
    fn a_step_keeps_its_place_and_the_channels_their_own() {
        let mut left = vec![0.0; 30_000];
        left[12_345] = 1.0;
        let out = resample(&Audio::new(44_100, [left, vec![0.0; 30_000]]), 88_200).unwrap();
        let top = out.channels[0].iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(top, 24_690);
        assert!(out.channels[1].iter().all(|&x| x == 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_length_and_pair_has_the_exact_length(
            frames in prop_oneof![Just(0_usize), Just(1), Just(2), Just(16_411), Just(7_919), 0..60_000_usize],
            from in prop_oneof![Just(8_000_u32), Just(22_050), Just(32_000), Just(44_100), Just(48_000), Just(192_000), Just(44_056)],
            to in prop_oneof![Just(44_100_u32), Just(48_000), Just(88_200), Just(96_000)],
        ) {
            let out = resample(&stereo(from, vec![0.25; frames]), to).unwrap();
            let exact = (frames as f64 * f64::from(to) / f64::from(from)).round() as usize;
            prop_assert_eq!(out.frames(), exact);
            prop_assert!(out.channels.iter().flatten().all(|x| x.is_finite() && x.abs() < 0.5));
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        let audio = stereo(44_100, tone(44_100, 100_003, 1_000.0));
        let with = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| resample(&audio, 48_000).unwrap())
        };
        assert_eq!(with(1), with(7));
    }
}
