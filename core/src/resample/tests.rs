use super::band_end::{PASS, STOP};
use super::*;
use crate::meter::bessel_i0;
use crate::meter::true_peak::true_peak;
use proptest::prelude::*;
use realfft::RealFftPlanner;
use std::f64::consts::PI;

type Convert = fn(&Audio, u32) -> io::Result<Audio>;
/// Both kernels; each of them takes any pair.
const WAYS: [(&str, Convert); 2] = [("rubato", resample), ("with an end of the band", band_end::resample)];

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
    for (name, convert) in WAYS {
        let mut worst = [0.0, f64::NEG_INFINITY, f64::NEG_INFINITY, 0.0_f64];
        for (from, to) in PAIRS {
            let frames = 2 * from as usize; // divisible by 4; the steady middle second is longer than every window below
            let (mut ripple, mut shift) = (0.0_f64, 0.0_f64);
            for hz in [20.0, 100.0, 997.0, 5_000.0, 10_000.0, 15_000.0, 18_000.0, 19_500.0, 20_000.0] {
                let out = convert(&stereo(from, tone(from, frames, hz)), to).unwrap();
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
                let out = convert(&stereo(from, tone(from, frames, hz)), to).unwrap();
                image = image.max(worst_bin(&out.channels[0], hz / f64::from(to)));
            }
            // Tones that the lower rate cannot hold must vanish altogether.
            let mut alias = f64::NEG_INFINITY;
            if from > to {
                for hz in [lower * 1.001, lower * 1.05, lower * 1.5, f64::from(from) / 2.0 * 0.97] {
                    if hz < f64::from(from) / 2.0 {
                        let out = convert(&stereo(from, tone(from, frames, hz)), to).unwrap();
                        alias = alias.max(worst_bin(&out.channels[0], -1.0));
                    }
                }
            }
            println!(
                "{name}, {from} -> {to}: ripple to 20 kHz {ripple:.5} dB, image {image:.1} dB, alias {alias:.1} dB, shift {shift:.6} samples"
            );
            worst = [worst[0].max(ripple), worst[1].max(image), worst[2].max(alias), worst[3].max(shift)];
        }
        let [ripple, image, alias, shift] = worst;
        assert!(ripple < 0.01 && image < -120.0 && alias < -120.0 && shift < 0.01, "{name}: {worst:?}");
    }
}

/// ADR 4: meters disagree about what lies at the very end of the band, so a master that goes to a lower rate has nothing there.
#[test]
fn a_master_at_a_lower_rate_ends_below_nyquist() {
    for (from, to) in PAIRS.into_iter().filter(|(from, to)| to < from) {
        for share in [STOP, 0.98, 0.99, 1.0] {
            let hz = share * f64::from(to) / 2.0;
            let out = deliver(&stereo(from, tone(from, 2 * from as usize, hz)), to).unwrap();
            let left = worst_bin(&out.channels[0], -1.0);
            assert!(left < -120.0, "{from} -> {to}: {left:.1} dB at {share} of Nyquist");
        }
    }
}

/// Two implementations that share nothing say the same, up to 0.9 of the lower Nyquist frequency.
#[test]
fn rubato_and_our_own_kernel_agree() {
    for (from, to) in PAIRS {
        let (lower, frames) = (f64::from(from.min(to)) / 2.0, 2 * from as usize);
        let mut chord = vec![0.0_f32; frames];
        for step in 1..=24 {
            // None of them a multiple of another.
            let hz = 0.9 * lower * (f64::from(step) / 24.0).powf(1.7);
            chord.iter_mut().zip(tone(from, frames, hz)).for_each(|(sum, x)| *sum += x / 24.0);
        }
        let audio = stereo(from, chord);
        let (ours, theirs) = (band_end::resample(&audio, to).unwrap(), resample(&audio, to).unwrap());
        let apart = ours.channels.iter().flatten().zip(theirs.channels.iter().flatten());
        let apart = 20.0 * f64::from(apart.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)).log10();
        println!("{from} -> {to}: {apart:.1} dB apart");
        assert!(apart < -120.0, "{from} -> {to}: {apart:.1} dB");
    }
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
    for (name, convert) in WAYS {
        let mut left = vec![0.0; 30_000];
        left[12_345] = 1.0;
        let out = convert(&Audio::new(44_100, [left, vec![0.0; 30_000]]), 88_200).unwrap();
        let top = out.channels[0].iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(top, 24_690, "{name}");
        assert!(out.channels[1].iter().all(|&x| x == 0.0), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_length_and_pair_has_the_exact_length(
        frames in prop_oneof![Just(0_usize), Just(1), Just(2), Just(16_411), Just(7_919), 0..60_000_usize],
        from in prop_oneof![Just(8_000_u32), Just(22_050), Just(32_000), Just(44_100), Just(48_000), Just(192_000), Just(44_056)],
        to in prop_oneof![Just(44_100_u32), Just(48_000), Just(88_200), Just(96_000)],
        way in 0..WAYS.len(),
    ) {
        let out = WAYS[way].1(&stereo(from, vec![0.25; frames]), to).unwrap();
        let exact = (frames as f64 * f64::from(to) / f64::from(from)).round() as usize;
        prop_assert_eq!(out.frames(), exact);
        prop_assert!(out.channels.iter().flatten().all(|x| x.is_finite() && x.abs() < 0.5));
    }
}

/// Rates that have nothing in common make blocks as long as a second; the sound is the same.
#[test]
fn rates_without_a_common_divisor_are_converted_as_well() {
    for (from, to) in [(8_009, 48_000), (44_087, 48_000), (383_987, 192_000)] {
        let out = resample(&stereo(from, tone(from, 2 * from as usize, 997.0)), to).unwrap();
        assert_eq!(out.frames(), 2 * to as usize);
        let (amplitude, phase) = phasor(to, &out.channels[0], 997.0);
        assert!((20.0 * amplitude.log10()).abs() < 0.01 && phase.abs() < 1e-3, "{from} -> {to}: {amplitude}, {phase}");
        let rest = worst_bin(&out.channels[0], 997.0 / f64::from(to));
        assert!(rest < -120.0, "{from} -> {to}: {rest:.1} dB");
    }
}

/// Long enough for several stretches.
#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let audio = stereo(44_100, tone(44_100, 300_003, 1_000.0));
    for (name, convert) in WAYS {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| convert(&audio, 48_000).unwrap())
        };
        assert_eq!(with(1), with(7), "{name}");
    }
}

/// Noise up to Nyquist, of which no two meters read the same peak at its own rate: raised to another, it reads the same on a long
/// interpolation, on an ideal one and on one of 20 taps per phase. That is why only what goes to a lower rate has an end of the band.
#[test]
fn meters_agree_about_what_was_raised() {
    const SIZE: usize = 1 << 16;
    let level = |amplitude: f64| 20.0 * amplitude.log10();
    let apart = |audio: &Audio| {
        let mut part = audio.channels[0][..SIZE].to_vec();
        for (n, x) in part.iter_mut().enumerate() {
            let edge = n.min(SIZE - 1 - n).min(4_096) as f64 / 4_096.0;
            *x *= (0.5 - 0.5 * (PI * edge).cos()) as f32;
        }
        let read =
            [level(true_peak(&[&part], audio.rate).amplitude), level(ideal_peak(&part)), level(short_peak(&part))];
        println!("{} Hz: {read:.3?} dBTP", audio.rate);
        read.iter().copied().fold(f64::MIN, f64::max) - read.iter().copied().fold(f64::MAX, f64::min)
    };
    let mut state = 7_u32;
    for (from, to) in [(44_100, 48_000), (44_100, 96_000), (88_200, 96_000)] {
        let noise = (0..100_000).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        });
        let native = stereo(from, noise.collect());
        let (before, after) = (apart(&native), apart(&deliver(&native, to).unwrap()));
        assert!(after < 0.1 && before > after, "{from} -> {to}: {before:.3} dB apart before, {after:.3} after");
    }
}

/// The peak of the waveform by Fourier interpolation, 16 times.
fn ideal_peak(x: &[f32]) -> f64 {
    let mut time: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(x.len()), planner.plan_fft_inverse(16 * x.len()));
    let (mut narrow, mut wide, mut out) =
        (forward.make_output_vec(), inverse.make_input_vec(), inverse.make_output_vec());
    forward.process(&mut time, &mut narrow).unwrap();
    wide[..x.len() / 2].copy_from_slice(&narrow[..x.len() / 2]);
    inverse.process(&mut wide, &mut out).unwrap();
    out.iter().fold(0.0, |peak: f64, x| peak.max(x.abs())) / x.len() as f64
}

/// The same by a windowed sinc of 20 taps per phase, as many meters have it.
fn short_peak(x: &[f32]) -> f64 {
    let phase = |phase: i32| -> Vec<f64> {
        let tap = |tap: i32| {
            let t = f64::from(tap) - f64::from(phase) / 16.0;
            let sinc = if t == 0.0 { 1.0 } else { (PI * t).sin() / (PI * t) };
            sinc * bessel_i0(6.0 * (1.0 - (t / 10.5).powi(2)).sqrt()) / bessel_i0(6.0)
        };
        (-9..=10).map(tap).collect()
    };
    let phases: Vec<Vec<f64>> = (0..16).map(phase).collect();
    let at = |around: &[f32], taps: &Vec<f64>| around.iter().zip(taps).map(|(x, tap)| f64::from(*x) * tap).sum::<f64>();
    x.windows(20).flat_map(|around| phases.iter().map(move |taps| at(around, taps).abs())).fold(0.0, f64::max)
}
