//! Laboratory: what the first half of `render` does to signals whose answer is known. Each test prints its figure.

use crate::parity::noise;
use loopmaster_core::Audio;
use loopmaster_core::bands::BANDS;
use loopmaster_core::plan::{BandDynamics, Plan};
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::design::ShapeDesign;
use loopmaster_core::render::kernels::Kernels;
use loopmaster_core::settings::Phase;
use loopmaster_core::units::{Db, Hz, Seconds};
use std::f64::consts::TAU;

const OFF: BandDynamics = BandDynamics {
    threshold: Db(0.0),
    ratio: 1.0,
    knee: Db(0.0),
    attack: Seconds(0.02),
    release: Seconds(0.15),
    makeup: Db(0.0),
    max_reduction: Db(0.0),
};

/// Bands as a plan sets them, lowest first: attack and release in seconds.
const TIMES: [(f64, f64); BANDS] = [(0.02, 0.15), (0.015, 0.12), (0.01, 0.1), (0.005, 0.08), (0.003, 0.06)];

fn compressors(threshold: f64, ratio: f64, max: f64) -> Vec<BandDynamics> {
    TIMES
        .map(|(attack, release)| BandDynamics {
            threshold: Db(threshold),
            ratio,
            knee: Db(6.0),
            attack: Seconds(attack),
            release: Seconds(release),
            makeup: Db(0.0),
            max_reduction: Db(max),
        })
        .into()
}

fn shape(plan: &Plan, audio: Audio) -> Audio {
    let design = ShapeDesign::new(plan, audio.rate);
    Cpu.shape(audio, &design).0
}

fn stereo(rate: u32, left: Vec<f32>, right: Vec<f32>) -> Audio {
    Audio::new(rate, [left, right])
}

/// Real and imaginary part of the spectrum of `x` at `hz`.
fn dft(x: &[f32], hz: f64, rate: u32) -> (f64, f64) {
    let step = TAU * hz / f64::from(rate);
    // A rotating phasor, reset from the exact angle every 1024 frames.
    let (step_sin, step_cos) = step.sin_cos();
    let (mut re, mut im) = (0.0, 0.0);
    for (chunk, x) in x.chunks(1024).enumerate() {
        let (mut sin, mut cos) = (step * (chunk * 1024) as f64).sin_cos();
        for x in x {
            re += f64::from(*x) * cos;
            im -= f64::from(*x) * sin;
            (sin, cos) = (sin * step_cos + cos * step_sin, cos * step_cos - sin * step_sin);
        }
    }
    (re, im)
}

fn level((re, im): (f64, f64)) -> f64 {
    20.0 * re.hypot(im).log10()
}

/// 24 points per octave from 20 Hz to 20 kHz.
fn grid() -> impl Iterator<Item = f64> {
    (0..=239).map(|i| 20.0 * 1000f64.powf(f64::from(i) / 239.0))
}

/// A smooth curve within ±`range` dB, 12 points per octave from 10 Hz to 24 kHz.
fn curve(random: &mut impl FnMut() -> f64, range: f64) -> Vec<(Hz, Db)> {
    // Two slow waves over log frequency: steepest slope 2π · (0.6 · 0.12 + 0.4 · 0.2) · range ≈ 0.96 · range dB per octave.
    let (a, b) = (random() * 9.0, random() * 9.0);
    let wave = |octave: f64| (0.6 * (TAU * 0.12 * octave + a).sin() + 0.4 * (TAU * 0.2 * octave + b).sin()) * range;
    (0..=135).map(|i| f64::from(i) / 12.0).map(|octave| (Hz(10.0 * octave.exp2()), Db(wave(octave)))).collect()
}

fn at(curve: &[(Hz, Db)], hz: f64) -> f64 {
    let place = (hz / curve[0].0.0).log2() * 12.0;
    let i = (place.max(0.0) as usize).min(curve.len() - 2);
    let t = (place - i as f64).clamp(0.0, 1.0);
    curve[i].1.0 + t * (curve[i + 1].1.0 - curve[i].1.0)
}

#[test]
fn the_filter_follows_the_request_within_a_twentieth_of_a_decibel() {
    let mut random = noise(11);
    for rate in [44_100, 48_000, 96_000, 192_000] {
        for phase in [Phase::Minimum, Phase::Linear] {
            let mut plan = Plan::identity();
            plan.tone.mid = curve(&mut random, 6.0);
            plan.tone.side = plan.tone.mid.iter().zip(curve(&mut random, 2.0)).map(|(m, s)| (m.0, m.1 + s.1)).collect();
            plan.tone.width = curve(&mut random, 2.0);
            plan.tone.subsonic = Some(Hz(22.0));
            plan.tone.phase = phase;
            // An impulse in mid and one in side; half its energy each would do, but this needs no scaling.
            let frames = rate as usize;
            let pulse = |height: f32| {
                let mut x = vec![0.0; frames];
                x[frames / 2] = height;
                x
            };
            let mut worst = [0f64; 2];
            for (channel, sign) in [1.0, -1.0].into_iter().enumerate() {
                let out = shape(&plan, stereo(rate, pulse(1.0), pulse(sign)));
                for hz in grid() {
                    let cut = -10.0 * (1.0 + (22.0 / hz).powi(4)).log10();
                    let tone = if channel == 0 {
                        at(&plan.tone.mid, hz)
                    } else {
                        at(&plan.tone.side, hz) + at(&plan.tone.width, hz)
                    };
                    let error = level(dft(&out.channels[0], hz, rate)) - (tone + cut);
                    worst[channel] = worst[channel].max(error.abs());
                }
            }
            println!("FIR at {rate} Hz, {phase:?}: mid within {:.4} dB, side within {:.4} dB", worst[0], worst[1]);
            assert!(worst.iter().all(|w| *w <= 0.05), "{rate} {phase:?} {worst:?}");
        }
    }
}

#[test]
fn the_subsonic_cut_removes_dc() {
    let mut plan = Plan::identity();
    plan.tone.subsonic = Some(Hz(20.0));
    let out = shape(&plan, stereo(44_100, vec![0.5; 100_000], vec![0.25; 100_000]));
    let left = out.channels[0][40_000..60_000].iter().fold(0f32, |a, x| a.max(x.abs()));
    println!("DC after the subsonic cut: {:.1} dB", 20.0 * f64::from(left / 0.5).log10());
    assert!(left < 0.5e-3, "{left}");
}

#[test]
fn the_ultrasonic_cut_leaves_what_is_heard_and_nothing_that_meters_disagree_about() {
    let mut plan = Plan::identity();
    plan.tone.ultrasonic = true;
    for rate in [44_100, 48_000, 96_000] {
        for phase in [Phase::Minimum, Phase::Linear] {
            plan.tone.phase = phase;
            let mut x = vec![0.0; rate as usize];
            x[rate as usize / 2] = 1.0;
            let out = shape(&plan, stereo(rate, x.clone(), x));
            let gain = |share: f64| level(dft(&out.channels[0], share * f64::from(rate), rate));
            let flat = (1..90).map(|i| gain(f64::from(i) / 200.0).abs()).fold(0.0, f64::max);
            let rest = (0..12).map(|i| gain(0.488 + f64::from(i) / 1_000.0)).fold(-200.0, f64::max);
            // What is left of the music, up to 19 kHz at 44.1 kHz, when the mix is taken from the master.
            let null = (1..86).map(|i| gain(f64::from(i) / 200.0).abs()).fold(0.0, f64::max);
            let null = 20.0 * (10f64.powf(null / 20.0) - 1.0).log10();
            println!(
                "ultrasonic cut at {rate} Hz, {phase:?}: ±{flat:.4} dB to 0.445 of the rate, {rest:.1} dB from 0.488 on, null {null:.0} dB"
            );
            assert!(flat < 0.05 && rest < -70.0 && (phase == Phase::Minimum || null < -100.0));
        }
    }
}

#[test]
fn bands_add_up_to_the_signal() {
    let mut random = noise(3);
    let mut white = || (0..200_000).map(|_| (random() * 0.5) as f32).collect::<Vec<_>>();
    let audio = stereo(44_100, white(), white());
    // One band at a time with a gain of 2: y − x is the band.
    let mut sum = vec![0f64; audio.frames()];
    for band in 0..BANDS {
        let mut plan = Plan::identity();
        plan.dynamics = vec![OFF; BANDS];
        plan.dynamics[band].makeup = Db(20.0 * 2f64.log10());
        let out = shape(&plan, audio.clone());
        for ((sum, y), x) in sum.iter_mut().zip(&out.channels[0]).zip(&audio.channels[0]) {
            *sum += f64::from(*y) - f64::from(*x);
        }
    }
    let (error, power) = sum
        .iter()
        .zip(&audio.channels[0])
        .fold((0.0, 0.0), |(e, p), (sum, x)| (e + (sum - f64::from(*x)).powi(2), p + f64::from(*x).powi(2)));
    let relative = 10.0 * (error / power).log10();
    println!("filterbank reconstruction: {relative:.1} dB");
    assert!(relative <= -130.0);
}

/// Strongest product of a tone, dB under it, and the level of the tone itself; four-term Blackman–Harris window (sidelobes −92 dB,
/// main lobe ±4 bins; Harris, Proc. IEEE 66 (1978)).
fn products(x: &[f32], hz: f64, rate: u32) -> (f64, f64, f64) {
    let n = x.len();
    let mut windowed: Vec<f64> = x
        .iter()
        .enumerate()
        .map(|(i, x)| {
            let a = TAU * i as f64 / n as f64;
            f64::from(*x) * (0.358_75 - 0.488_29 * a.cos() + 0.141_28 * (2.0 * a).cos() - 0.011_68 * (3.0 * a).cos())
        })
        .collect();
    let plan = realfft::RealFftPlanner::<f64>::new().plan_fft_forward(n);
    let mut spectrum = plan.make_output_vec();
    plan.process(&mut windowed, &mut spectrum).unwrap();
    let bin = f64::from(rate) / n as f64;
    let near = |k: usize| (k as f64 - hz / bin).abs() < 6.0;
    let peak = |keep: &dyn Fn(usize) -> bool| {
        spectrum
            .iter()
            .enumerate()
            .filter(|(k, _)| keep(*k))
            .map(|(k, c)| (c.norm(), k))
            .fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a })
    };
    let (tone, (product, k)) = (peak(&near).0, peak(&|k| !near(k)));
    (20.0 * (product / tone).log10(), k as f64 * bin, 20.0 * (tone / n as f64 * 2.0 / 0.358_75).log10())
}

#[test]
fn multiband_tones_stay_clean() {
    let rate = 44_100;
    let half_control = f64::from(rate) / 64.0;
    let near_control = (1..=7).flat_map(|k| [f64::from(k) * half_control + 3.0, f64::from(k) * half_control - 11.0]);
    let mut worst = (f64::NEG_INFINITY, 0.0, 0.0);
    let tones = (0..=40).map(|i| 50.0 * 100f64.powf(f64::from(i) / 40.0)).chain(near_control);
    for hz in tones.map(|hz| hz.round() + 0.3).filter(|hz| *hz <= 5000.5) {
        let x: Vec<f32> =
            (0..131_072).map(|n| (0.501_187 * (TAU * hz * f64::from(n) / f64::from(rate)).sin()) as f32).collect();
        // Where two bands share the tone each hears less of it: lower the thresholds until the tone is 3 dB down from −6 dBFS.
        let mut threshold = -15.0;
        let (mut product, mut place, mut tone) = (0.0, 0.0, 0.0);
        for _ in 0..6 {
            let mut plan = Plan::identity();
            plan.dynamics = compressors(threshold, 2.0, 12.0);
            let out = shape(&plan, stereo(rate, x.clone(), x.clone()));
            // The last two thirds but for the very end: the gain has settled.
            (product, place, tone) = products(&out.channels[0][44_000..109_536], hz, rate);
            if (tone + 9.0).abs() < 0.1 {
                break;
            }
            threshold -= 2.0 * (tone + 9.0);
        }
        assert!((tone + 9.0).abs() < 0.2, "{hz} Hz came out at {tone:.2} dB");
        if product > worst.0 {
            worst = (product, hz, place);
        }
        assert!(product < -70.0, "{hz} Hz: {product:.1} dB at {place:.1} Hz");
    }
    println!(
        "multiband, tones of 50 Hz–5 kHz at 3 dB reduction: worst product {:.1} dB ({:.1} Hz, at {:.1} Hz)",
        worst.0, worst.1, worst.2
    );
}

/// A kick: from 150 down to 50 Hz, silence before it; it begins at the returned frame.
fn kick(rate: u32) -> (Vec<f32>, usize) {
    let start = rate as usize / 2;
    let x = (0..rate as usize)
        .map(|n| {
            let t = (n as f64 - start as f64) / f64::from(rate);
            let phase = TAU * (50.0 * t + 100.0 / 30.0 * (1.0 - (-30.0 * t).exp()));
            if t < 0.0 { 0.0 } else { (0.9 * (-t * 12.0).exp() * (1.0 - (-t * 2000.0).exp()) * phase.sin()) as f32 }
        })
        .collect();
    (x, start)
}

/// Peaks more than 10 and 20 ms ahead of `start`, dB under the loudest sample.
fn ahead(x: &[f32], start: usize, rate: u32) -> [f64; 2] {
    let peak = |x: &[f32]| x.iter().fold(0f32, |a, x| a.max(x.abs()));
    let whole = peak(x);
    [0.01, 0.02].map(|seconds: f64| {
        let until = start - (seconds * f64::from(rate)) as usize;
        20.0 * f64::from(peak(&x[..until]) / whole).max(1e-12).log10()
    })
}

#[test]
fn a_kick_has_no_echo_ahead_of_it() {
    let rate = 44_100;
    let (x, start) = kick(rate);
    let mut tone = Plan::identity();
    tone.tone.mid = [(40.0, 3.0), (80.0, 0.0), (300.0, -2.0), (1000.0, 0.0)].map(|(f, g)| (Hz(f), Db(g))).into();
    tone.tone.side = tone.tone.mid.clone();
    tone.tone.width = [(80.0, -6.0), (160.0, 0.0), (3000.0, 2.0)].map(|(f, g)| (Hz(f), Db(g))).into();
    tone.tone.subsonic = Some(Hz(20.0));
    let mut strong = tone.clone();
    strong.dynamics = compressors(-40.0, 4.0, 12.0);
    let mut low = tone.clone();
    low.dynamics = vec![OFF; BANDS];
    low.dynamics[0] = BandDynamics { makeup: Db(3.0), ..compressors(-40.0, 4.0, 12.0)[0] };
    let mut lift = Plan::identity();
    lift.dynamics = vec![OFF; BANDS];
    lift.dynamics[0].makeup = Db(-6.0);
    let mono = |x: &[f32]| stereo(rate, x.to_vec(), x.to_vec());
    let panned = |x: &[f32]| stereo(rate, x.to_vec(), vec![0.0; x.len()]);
    for (what, plan, audio) in [
        ("tone filter, hard-panned kick", &tone, panned(&x)),
        ("all bands pressed by up to 12 dB", &strong, mono(&x)),
        ("the low band alone, up to 12 dB", &low, mono(&x)),
        ("the low band alone, hard-panned kick", &low, panned(&x)),
        ("the low band alone at a steady −6 dB", &lift, mono(&x)),
    ] {
        let out = shape(plan, audio);
        let echo = out.channels.each_ref().map(|x| ahead(x, start, rate));
        let worst = [0, 1].map(|i| {
            // A hard-panned kick leaves little in the other channel; what it leads is judged against the kick itself.
            let peak = |c: usize| out.channels[c].iter().fold(0f32, |a, x| a.max(x.abs()));
            let loudest = peak(0).max(peak(1));
            (0..2).map(|c| echo[c][i] + 20.0 * f64::from((peak(c) / loudest).max(1e-12)).log10()).fold(-240.0, f64::max)
        });
        println!("kick pre-echo, {what}: {:.1} dB at 10 ms, {:.1} dB at 20 ms ahead", worst[0], worst[1]);
        assert!(worst[0] <= -50.0 && worst[1] <= -70.0, "{what}: {worst:?}");
    }
}

#[test]
fn a_hard_panned_source_leaks_no_more_than_magnitudes_ask_for() {
    let rate = 44_100;
    let mut random = noise(5);
    let mut plan = Plan::identity();
    plan.tone.mid = curve(&mut random, 4.0);
    plan.tone.side = plan.tone.mid.iter().zip(curve(&mut random, 2.0)).map(|(m, s)| (m.0, m.1 + s.1)).collect();
    let mut pulse = vec![0f32; 44_100];
    pulse[20_000] = 1.0;
    let out = shape(&plan, stereo(rate, pulse.clone(), vec![0.0; pulse.len()]));
    let mut worst = 0f64;
    let mut loudest = f64::NEG_INFINITY;
    for hz in grid().filter(|hz| *hz > 30.0) {
        let ratio = 10f64.powf((at(&plan.tone.side, hz) - at(&plan.tone.mid, hz)) / 20.0);
        let asked = ((1.0 - ratio) / (1.0 + ratio)).abs();
        let [left, right] = out.channels.each_ref().map(|x| 10f64.powf(level(dft(x, hz, rate)) / 20.0));
        worst = worst.max(right / left - asked);
        loudest = loudest.max(20.0 * (right / left).log10());
    }
    println!(
        "hard-panned source: leak at most {loudest:.1} dB, beyond what the magnitudes ask for by at most {:.1} dB",
        20.0 * worst.log10()
    );
    // Response within 0.05 dB for mid and side: (10^(0.1/20) − 1)/2 = 0.6 %.
    assert!(worst < 0.006);
}

#[test]
fn attack_and_release_take_their_time() {
    let rate = 44_100;
    let second = f64::from(rate);
    for (band, hz) in [(0, 60.0), (2, 1000.0), (4, 15_000.0)] {
        let mut plan = Plan::identity();
        plan.dynamics = compressors(-21.0, 2.0, 12.0);
        for off in (0..BANDS).filter(|b| *b != band) {
            plan.dynamics[off] = OFF;
        }
        plan.dynamics[band].attack = Seconds(0.05);
        plan.dynamics[band].release = Seconds(0.2);
        // Quiet for 1 s, 12 dB over the threshold for 1 s, quiet again.
        let (up, down) = (rate as usize, 2 * rate as usize);
        let x: Vec<f32> = (0..4 * rate as usize)
            .map(|n| {
                let amplitude = if (up..down).contains(&n) { 0.501_187 } else { 0.01 };
                (amplitude * (TAU * hz * n as f64 / second).sin()) as f32
            })
            .collect();
        let out = shape(&plan, stereo(rate, x.clone(), x.clone()));
        // Gain per frame from the analytic amplitude: energy of output over input in a sliding window of whole periods.
        let window = (second / hz).round() as usize * if hz < 100.0 { 1 } else { (hz / 1000.0).ceil() as usize * 2 };
        let gain = |n: usize| {
            let energy = |x: &[f32]| {
                x[n - window / 2..n + window.div_ceil(2)].iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()
            };
            10.0 * (energy(&out.channels[0]) / energy(&x)).log10()
        };
        let full = gain(down - rate as usize / 10);
        let time = |from: usize, reached: &dyn Fn(f64) -> bool| {
            (from..from + rate as usize)
                .step_by(8)
                .find(|n| reached(gain(*n)))
                .map(|n| (n - from) as f64 / second)
                .unwrap()
        };
        // The windows straddle the step for half their length; begin behind it.
        let attack = time(up + window, &|g| g <= full * 0.632) + window as f64 / second;
        let release = time(down + window, &|g| g >= full * 0.368) + window as f64 / second;
        println!(
            "band {band}: {:.2} dB reduction, attack {:.1} ms of 50, release {:.1} ms of 200",
            -full,
            attack * 1e3,
            release * 1e3
        );
        assert!((-6.1..-5.0).contains(&full), "{full}");
        // The level window (≤ 52 ms, centred) smears a step by a fraction of its half length, and the static curve sees the rise
        // before its end: 15 ms both ways.
        assert!((attack - 0.05).abs() < 0.015 && (release - 0.2).abs() < 0.03);
    }
}
