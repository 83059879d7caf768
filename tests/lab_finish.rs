//! The laboratory of the finish: saturation, clipper, leveler, limiter and loudness solver against known signals. Every test prints
//! the figure it judges. The parameters are those that plans use.

use crate::parity::noise;
use loopmaster_core::Audio;
use loopmaster_core::control::curves::{ClipCurve, SaturationCurve};
use loopmaster_core::control::limiter::{self, hop};
use loopmaster_core::meter::loudness::{Loudness, STEREO};
use loopmaster_core::plan::{Goal, Plan, Saturation};
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::kernels::Kernels;
use loopmaster_core::render::reference::Reference;
use loopmaster_core::render::{Backend, Job, Master};
use loopmaster_core::units::{Db, Dbtp, Lufs};
use proptest::prelude::*;
use std::f64::consts::{PI, TAU};

const RATE: u32 = 44_100;

/// The limiter of every plan, at −1 dBTP.
fn plan() -> Plan {
    Plan { limiter: Some(limiter::standard(Dbtp(-1.0))), ..Plan::identity() }
}

/// Leveler, clipper and limiter as the loud styles use them, aiming at a loudness.
fn loud(target: f64) -> Plan {
    Plan {
        clipper: Some(limiter::standard_clipper()),
        leveler: Some(limiter::standard_leveler()),
        goal: Goal::Loudness { target: Lufs(target), wished: None },
        ..plan()
    }
}

fn signal(seconds: f64, rate: u32, f: impl Fn(f64) -> f64) -> Audio {
    let frames = (seconds * f64::from(rate)) as usize;
    let one: Vec<f32> = (0..frames).map(|n| f(n as f64 / f64::from(rate)) as f32).collect();
    Audio::new(rate, [one.clone(), one])
}

fn render(backend: &dyn Backend, audio: &Audio, plan: &Plan, gain: Option<f64>) -> Master {
    let job = Job { audio: audio.clone(), plan, rates: &[audio.rate], solved: gain.map(Db), early: None };
    backend.render(vec![job]).remove(0).unwrap().remove(0)
}

fn amplitude(db: f64) -> f64 {
    Db(db).amplitude()
}

fn db(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

/// Something like music: bass notes, chords with decay, a kick and noise hits twice a second, wide, 20 dB of crest.
fn music(seconds: f64, rate: u32) -> Audio {
    let frames = (seconds * f64::from(rate)) as usize;
    let mut audio = Audio::silence(rate, frames);
    let mut hiss = noise(7);
    let roots = [55.0, 65.4, 49.0, 73.4];
    for n in 0..frames {
        let t = n as f64 / f64::from(rate);
        let beat = t * 2.0;
        let (step, within) = (beat.floor() as usize, beat.fract() / 2.0);
        let root = roots[step / 4 % 4];
        let swell = 0.6 + 0.4 * (TAU * t / 16.0).sin();
        let bass = 0.25 * (TAU * root * t).sin() * (-within * 2.0).exp();
        let chord: f64 = [4.0, 5.0, 6.0, 9.0]
            .iter()
            .map(|k| (TAU * root * k * t + k).sin() * (-within * (1.0 + k / 4.0)).exp())
            .sum::<f64>()
            * 0.05;
        let kick =
            if step % 2 == 0 { 0.7 * (TAU * 50.0 * within + 6.0 * (1.0 - (-within * 40.0).exp())).sin() } else { 0.0 };
        let snare = if step % 2 == 1 { 0.5 * hiss() } else { 0.0 };
        let hit = (kick * (-within * 12.0).exp() + snare * (-within * 25.0).exp()) * swell;
        let wide = 0.03 * hiss() * (-(beat * 4.0).fract() * 6.0).exp();
        audio.channels[0][n] = (0.5 * (bass + chord * swell + hit + wide)) as f32;
        audio.channels[1][n] = (0.5 * (bass + chord * 0.8 * swell + hit - wide)) as f32;
    }
    band_limited(audio)
}

/// Takes out what lies above 20 kHz at 44.1 kHz (in proportion at other rates): noise up to the very edge of the band has peaks
/// between the samples that no filter of finite length finds, and no track holds it.
fn band_limited(mut audio: Audio) -> Audio {
    let taps: Vec<f64> = (0..255)
        .map(|i| {
            let t = f64::from(i) - 127.0;
            let cut = 2.0 * 19_000.0 / 44_100.0;
            let sinc = if t == 0.0 { cut } else { (PI * t * cut).sin() / (PI * t) };
            let p = TAU * f64::from(i) / 254.0;
            sinc * (0.42 - 0.5 * p.cos() + 0.08 * (2.0 * p).cos())
        })
        .collect();
    for channel in &mut audio.channels {
        let x = std::mem::take(channel);
        *channel = (0..x.len())
            .map(|n| {
                let near = taps
                    .iter()
                    .enumerate()
                    .filter_map(|(i, h)| Some(h * f64::from(*x.get((n + i).checked_sub(127)?)?)));
                near.sum::<f64>() as f32
            })
            .collect();
    }
    audio
}

fn integrated(audio: &Audio) -> f64 {
    Loudness::measure(&[&audio.channels[0], &audio.channels[1]], &STEREO, audio.rate).integrated.unwrap().0
}

/// True peak by brute force, no relation to the engine's filters: a grid of 32 (sinc of 256 taps) around every point that lies within
/// 1.5 dB of the highest on a grid of 4 (48 taps, may miss 0.7 dB).
fn true_peak(audio: &Audio) -> f64 {
    const PAD: usize = 128;
    fn rows(half: isize, grid: usize) -> Vec<Vec<f64>> {
        let row = |k: usize| {
            let taps = (-half + 1..=half).map(|i| {
                let t = i as f64 - k as f64 / grid as f64;
                let sinc = if t == 0.0 { 1.0 } else { (PI * t).sin() / (PI * t) };
                sinc * (0.5 + 0.5 * (PI * t / half as f64).cos())
            });
            taps.collect()
        };
        (0..grid).map(row).collect()
    }
    fn peak_at(padded: &[f64], n: usize, rows: &[Vec<f64>]) -> f64 {
        let half = rows[0].len() / 2;
        let near = &padded[n + PAD + 1 - half..=n + PAD + half];
        rows.iter().map(|row| row.iter().zip(near).map(|(h, x)| h * x).sum::<f64>().abs()).fold(0.0, f64::max)
    }
    let (coarse, fine) = (rows(24, 4), rows(PAD as isize, 32));
    let mut peak = 0f64;
    let same = audio.channels[0] == audio.channels[1];
    for channel in &audio.channels[..if same { 1 } else { 2 }] {
        let mut padded = vec![0f64; channel.len() + 2 * PAD];
        for (padded, x) in padded[PAD..].iter_mut().zip(channel) {
            *padded = f64::from(*x);
        }
        let near: Vec<f64> = (0..channel.len()).map(|n| peak_at(&padded, n, &coarse)).collect();
        let top = near.iter().copied().fold(0.0, f64::max);
        for n in (0..channel.len()).filter(|n| near[*n] >= 0.84 * top) {
            peak = peak.max(peak_at(&padded, n, &fine));
        }
    }
    peak
}

/// Amplitude of the component at `hz`, Blackman-Harris window, over the given frames of the left channel.
fn tone(audio: &Audio, frames: std::ops::Range<usize>, hz: f64) -> f64 {
    let n = frames.len() as f64;
    let (mut re, mut im, mut sum) = (0.0, 0.0, 0.0);
    for (i, x) in audio.channels[0][frames].iter().enumerate() {
        let p = TAU * i as f64 / n;
        let w = 0.358_75 - 0.488_29 * p.cos() + 0.141_28 * (2.0 * p).cos() - 0.011_68 * (3.0 * p).cos();
        let phase = TAU * hz * i as f64 / f64::from(audio.rate);
        re += w * f64::from(*x) * phase.cos();
        im += w * f64::from(*x) * phase.sin();
        sum += w;
    }
    2.0 * re.hypot(im) / sum
}

/// Harmonic distortion: harmonics 2–10 against the fundamental.
fn thd(audio: &Audio, frames: std::ops::Range<usize>, hz: f64) -> f64 {
    let harmonics = (2..=10).map(|k| k as f64 * hz).filter(|f| *f < 20_000.0);
    harmonics.map(|f| tone(audio, frames.clone(), f).powi(2)).sum::<f64>().sqrt() / tone(audio, frames, hz)
}

#[test]
fn identity_is_bit_exact() {
    let audio = music(3.0, RATE);
    for backend in [&Cpu as &dyn Backend, &Reference] {
        assert_eq!(render(backend, &audio, &Plan::identity(), None).audio, audio);
        // A limiter that has nothing to do, at an unchanged level, changes nothing either.
        assert_eq!(render(backend, &audio, &plan(), None).audio, audio);
    }
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    let audio = music(8.0, 48_000);
    let plan = Plan { saturation: Some(Saturation { odd: 0.3, even: 0.1, reference: Db(0.0) }), ..loud(-9.0) };
    let masters: Vec<Master> = [1, 2, 7]
        .into_iter()
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| render(&Cpu, &audio, &plan, None))
        })
        .collect();
    assert!(masters[0].trace.passes >= 1 && masters[0].audio != audio);
    assert!(masters.iter().all(|master| *master == masters[0]), "the number of threads changed the master");
}

/// Largest difference against the largest value, in dB.
fn apart(a: &Audio, b: &Audio) -> f64 {
    let pairs = a.channels.iter().flatten().zip(b.channels.iter().flatten());
    let (mut difference, mut top) = (0f64, 0f64);
    for (a, b) in pairs {
        difference = difference.max(f64::from(a - b).abs());
        top = top.max(f64::from(*b).abs());
    }
    if difference == 0.0 { -400.0 } else { db(difference / top) }
}

/// With plan and gain frozen, the whole chain agrees across backends.
#[test]
fn fast_and_readable_chains_agree() {
    let audio = music(2.0, RATE);
    let plan = Plan { saturation: Some(Saturation { odd: 0.3, even: 0.1, reference: Db(0.0) }), ..loud(-9.0) };
    let [fast, readable] =
        [&Cpu as &dyn Backend, &Reference].map(|backend| render(backend, &audio, &plan, Some(12.0)).audio);
    println!("cpu against reference, whole finish: {:.1} dB", apart(&fast, &readable));
    assert!(apart(&fast, &readable) < -115.0);
}

#[test]
fn loudness_lands_where_it_was_asked_for() {
    let audio = music(24.0, RATE);
    for target in [-23.0, -14.0, -9.0] {
        let plan = loud(target);
        let master = render(&Cpu, &audio, &plan, None);
        let (reached, trace) = (integrated(&master.audio), &master.trace);
        let predicted = trace.predicted.unwrap().0;
        println!(
            "target {target}: {reached:.3} LUFS in {} passes, predicted {predicted:.3}, limiter median {:.2} p95 {:.2} dB, {:.2} % clipped",
            trace.passes,
            trace.reduction_median.0,
            trace.reduction_p95.0,
            100.0 * trace.clipped
        );
        assert!((reached - target).abs() <= 0.1);
        assert!(trace.passes <= 2, "{} passes", trace.passes);
        assert!((reached - trace.reached.unwrap().0).abs() < 0.01);
        assert!(true_peak(&master.audio) <= amplitude(-1.0));
        // Frozen, the gain gives the same master in exactly one pass.
        let again = render(&Cpu, &audio, &plan, Some(trace.gain.0));
        assert_eq!(again.trace.passes, 1);
        assert!(again.audio == master.audio, "a frozen gain gave another master");
    }
}

#[test]
fn a_peak_goal_brings_the_true_peak_there() {
    let audio = signal(0.3, RATE, |t| 0.2 * (TAU * 11_025.0 * t + PI / 4.0).sin() * (PI * t / 0.3).sin());
    let plan = Plan { goal: Goal::Peak { target: Dbtp(-3.0) }, ..plan() };
    let peak = db(true_peak(&render(&Cpu, &audio, &plan, None).audio));
    println!("peak goal −3 dBTP: {peak:.3} dBTP");
    assert!((peak + 3.0).abs() < 0.02);
}

#[test]
fn limiter_thd_of_a_steady_tone() {
    // 3 dB reduction: a tone at +2 dBFS under a ceiling of −1.
    let audio = signal(4.0, RATE, |t| amplitude(2.0) * (TAU * 1_000.0 * t).sin());
    let master = render(&Cpu, &audio, &plan(), None);
    let thd = thd(&master.audio, 44_100..132_300, 1_000.0);
    println!(
        "limiter THD, 1 kHz, 3 dB: {:.5} % ({:.1} dB); reduction {:.2} dB",
        100.0 * thd,
        db(thd),
        master.trace.reduction[20]
    );
    assert!((master.trace.reduction[20] - 3.1).abs() < 0.05);
    assert!(thd < 1e-4);
}

#[test]
fn limiter_thd_of_low_tones() {
    for hz in [40.0, 50.0, 60.0, 80.0, 100.0, 150.0, 200.0] {
        let audio = signal(6.0, RATE, |t| amplitude(2.0) * (TAU * hz * t).sin());
        let steady = thd(&render(&Cpu, &audio, &plan(), None).audio, 44_100..220_500, hz);
        println!("limiter THD, {hz} Hz steady, 3 dB: {:.3} %", 100.0 * steady);
        assert!(steady < 3e-3);
    }
    // Bursts of 200 ms, every 600 ms, starting and ending at zero crossings.
    let audio = signal(3.0, RATE, |t| if t % 0.6 < 0.2 { amplitude(2.0) * (TAU * 50.0 * t).sin() } else { 0.0 });
    let master = render(&Cpu, &audio, &plan(), None);
    for burst in 1..5 {
        // The inner 160 ms: 8 periods.
        let start = ((burst as f64 * 0.6 + 0.02) * 44_100.0) as usize;
        let thd = thd(&master.audio, start..start + 7_056, 50.0);
        println!("limiter THD, 50 Hz burst {burst}, 3 dB: {:.3} %", 100.0 * thd);
        assert!(thd < 1e-2);
    }
}

#[test]
fn limiter_intermodulation() {
    // SMPTE: 60 Hz and 7 kHz, 4 : 1, driven 3 dB over the ceiling; side tones at 7 kHz ± 60 k against the 7 kHz.
    let level = amplitude(2.0);
    let audio = signal(4.0, RATE, |t| level * (0.8 * (TAU * 60.0 * t).sin() + 0.2 * (TAU * 7_000.0 * t).sin()));
    let out = render(&Cpu, &audio, &plan(), None).audio;
    let span = 44_100..132_300;
    let side: f64 = (1..=4)
        .flat_map(|k| [7_000.0 - 60.0 * f64::from(k), 7_000.0 + 60.0 * f64::from(k)])
        .map(|hz| tone(&out, span.clone(), hz).powi(2))
        .sum();
    let smpte = side.sqrt() / tone(&out, span.clone(), 7_000.0);
    println!("limiter IMD, SMPTE 60 + 7000 Hz: {:.4} %", 100.0 * smpte);
    assert!(smpte < 3e-3);

    let audio = signal(4.0, RATE, |t| 0.5 * level * ((TAU * 19_000.0 * t).sin() + (TAU * 20_000.0 * t).sin()));
    let out = render(&Cpu, &audio, &plan(), None).audio;
    let ccif = tone(&out, span.clone(), 1_000.0) / (tone(&out, span.clone(), 19_000.0) + tone(&out, span, 20_000.0));
    println!("limiter IMD, CCIF 19 + 20 kHz, product at 1 kHz: {:.1} dB", db(ccif));
    assert!(db(ccif) < -80.0);
}

/// Highest component of a processed sine that is neither it nor one of its harmonics, dBFS: everything else is an alias. The sine sits
/// on an odd bin of a transform of 2¹⁵, so that aliases fall beside harmonics.
fn alias(hz: f64, process: impl Fn(&mut Audio)) -> f64 {
    const N: usize = 1 << 15;
    let bin = (hz / 44_100.0 * N as f64 / 2.0).round() * 2.0 + 1.0;
    let hz = bin * 44_100.0 / N as f64;
    let mut audio = signal(1.2, RATE, |t| (TAU * hz * t).sin());
    for channel in &mut audio.channels {
        for x in channel {
            *x *= amplitude(5.0) as f32;
        }
    }
    process(&mut audio);
    // A whole number of periods: no window. Plain transform of the middle, by Goertzel at the folded harmonics.
    let from = 8_000;
    let level = |k: usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, x) in audio.channels[0][from..from + N].iter().enumerate() {
            let phase = TAU * ((i * k) % N) as f64 / N as f64;
            re += f64::from(*x) * phase.cos();
            im += f64::from(*x) * phase.sin();
        }
        2.0 * re.hypot(im) / N as f64
    };
    // Harmonics beyond 22.05 kHz fold back to these bins: they and nothing else can be aliases of a periodic signal.
    let fundamental = bin as usize;
    let worst = (2..=120)
        .map(|order| order * fundamental)
        .filter(|k| *k > N / 2)
        .map(|k| {
            let folded = k % N;
            if folded > N / 2 { N - folded } else { folded }
        })
        .filter(|k| (*k as f64) < 20_000.0 / 44_100.0 * N as f64 && k % fundamental != 0)
        .map(level)
        .fold(0.0, f64::max);
    db(worst + 1e-12)
}

#[test]
fn clipper_and_saturator_do_not_alias() {
    let clip = ClipCurve::new(&limiter::standard_clipper(), amplitude(-1.1));
    // Full scale of the saturator is raised to the peak of the signal, as the chain does.
    let top = amplitude(5.0) as f32;
    let saturation = SaturationCurve::new(&Saturation { odd: 1.0, even: 0.0, reference: Db(0.0) }, top);
    let both = SaturationCurve::new(&Saturation { odd: 0.5, even: 0.5, reference: Db(0.0) }, top);
    let (mut worst, mut worst_saturation) = (-400f64, -400f64);
    for hz in [
        1_000.0, 1_700.0, 2_900.0, 4_300.0, 6_100.0, 8_300.0, 9_700.0, 11_300.0, 13_100.0, 15_300.0, 17_100.0,
        18_700.0, 20_000.0,
    ] {
        let clipped = alias(hz, |audio| {
            let blocks = audio.frames().div_ceil(32);
            Cpu.clip(audio, 32, std::slice::from_ref(&(0..blocks)), &clip);
        });
        let saturated = alias(hz, |audio| Cpu.saturate(audio, 32, &saturation).unwrap())
            .max(alias(hz, |audio| Cpu.saturate(audio, 32, &both).unwrap()));
        println!("{hz:6} Hz +6 dB: clipper aliases {clipped:.1} dBFS, saturator {saturated:.1} dBFS");
        worst = worst.max(clipped);
        worst_saturation = worst_saturation.max(saturated);
    }
    println!("worst alias: clipper {worst:.1} dBFS, saturator {worst_saturation:.1} dBFS");
    assert!(worst < -90.0 && worst_saturation < -90.0);
}

#[test]
fn saturation_leaves_no_offset_and_keeps_small_signals() {
    let curve = SaturationCurve::new(&Saturation { odd: 0.4, even: 0.6, reference: Db(0.0) }, 1.0);
    let mut audio = signal(2.0, RATE, |t| 0.7 * (TAU * 440.0 * t).sin());
    Cpu.saturate(&mut audio, 32, &curve).unwrap();
    let mean = audio.channels[0].iter().map(|x| f64::from(*x)).sum::<f64>() / audio.frames() as f64;
    let second = tone(&audio, 22_050..66_150, 880.0);
    println!("saturation: offset {:.1} dBFS, second harmonic {:.1} dBFS", db(mean.abs() + 1e-12), db(second));
    assert!(db(mean.abs()) < -80.0 && db(second) > -30.0);
    let mut quiet = signal(0.5, RATE, |t| 1e-3 * (TAU * 440.0 * t).sin());
    let before = tone(&quiet, 4_410..17_640, 440.0);
    Cpu.saturate(&mut quiet, 32, &curve).unwrap();
    let change = db(tone(&quiet, 4_410..17_640, 440.0) / before);
    println!("saturation: −60 dBFS changes by {change:.5} dB");
    assert!(change.abs() < 1e-3);
}

#[test]
fn the_clipper_leaves_everything_else_alone() {
    let mut audio = signal(1.0, RATE, |t| 0.3 * (TAU * 330.0 * t).sin());
    audio.channels[0][20_000] = 0.99;
    let before = audio.clone();
    let hop = hop(RATE);
    let block = 20_000 / hop;
    let blocks = block - 1..block + 2;
    Cpu.clip(&mut audio, hop, std::slice::from_ref(&blocks), &ClipCurve::new(&limiter::standard_clipper(), 0.8));
    let moved: Vec<usize> = (0..audio.frames()).filter(|n| audio.channels[0][*n] != before.channels[0][*n]).collect();
    println!("one peak clipped: {} frames moved, {}..={}", moved.len(), moved[0], moved[moved.len() - 1]);
    assert!(moved.iter().all(|n| n.abs_diff(20_000) < 3 * hop + 36));
    assert_eq!(audio.channels[1], before.channels[1]);
}

#[test]
fn a_bass_burst_does_not_pump_the_music() {
    // 1 kHz at −20 dBFS throughout; 50 Hz at 0 dBFS for 200 ms. What the gain does to the 1 kHz is read from the right channel's
    // difference to the left: both carry the burst, one carries the tone inverted.
    let burst = |t: f64| if (1.0..1.2).contains(&t) { (TAU * 50.0 * t).sin() } else { 0.0 };
    let tone = |t: f64| 0.1 * (TAU * 1_000.0 * t).sin();
    let mut audio = signal(3.0, RATE, |t| burst(t) + tone(t));
    audio.channels[1] = signal(3.0, RATE, |t| burst(t) - tone(t)).channels[0].clone();
    for (name, plan) in
        [("limiter", plan()), ("leveler and limiter", Plan { leveler: Some(limiter::standard_leveler()), ..plan() })]
    {
        let master = render(&Cpu, &audio, &plan, None);
        let gain = |t: f64| {
            // Over 10 ms: ten periods of the tone.
            let span = (t * 44_100.0) as usize..(t * 44_100.0) as usize + 441;
            let level =
                |a: &Audio| span.clone().map(|n| f64::from(a.channels[0][n] - a.channels[1][n]).powi(2)).sum::<f64>();
            0.5 * 10.0 * (level(&master.audio) / level(&audio)).log10() * 2.0
        };
        // 1 + 0.1 under −1 dBTP: what must be taken, with the limiter's margin.
        let direct = db(1.1) + 1.1;
        let deepest = (900..1_600).map(|ms| -gain(f64::from(ms) * 1e-3)).fold(0.0, f64::max);
        let after = -gain(1.35);
        println!(
            "{name}: 1 kHz falls by {deepest:.2} dB (direct reduction {direct:.2} dB), {after:.2} dB left 150 ms after the burst"
        );
        assert!(deepest <= direct + 0.2);
        assert!(after <= 0.5);
    }
}

/// Cases 20–23 of EBU Tech 3341 v4, Table 1: a carrier at fs/6 with one period of fs/4 at full scale, made at four times the rate.
fn ebu_burst(offset: usize, rate: u32) -> Audio {
    let frames = rate as usize; // one second is enough
    let (mut x, mut n) = (vec![0f64; 4 * frames], 0usize);
    let burst = frames * 2 / 24 * 24;
    while n < x.len() {
        let (phase, level) = match n {
            n if n < burst => (n as f64 / 24.0, 0.5),
            n if n < burst + 16 => ((n - burst) as f64 / 16.0, 1.0),
            n => ((n - burst - 16) as f64 / 24.0, 0.5),
        };
        let fade = (n.min(x.len() - n) as f64 / (0.4 * f64::from(rate))).min(1.0);
        x[n] = fade * level * (TAU * phase).sin();
        n += 1;
    }
    let taps: Vec<f64> = (0..511)
        .map(|i| {
            let t = f64::from(i) - 255.0;
            let sinc = if t == 0.0 { 0.25 } else { (PI * t / 4.0).sin() / (PI * t) };
            let p = TAU * f64::from(i) / 510.0;
            sinc * (0.42 - 0.5 * p.cos() + 0.08 * (2.0 * p).cos())
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    let one: Vec<f32> = (0..frames)
        .map(|n| {
            let at = 4 * n + offset;
            let value: f64 =
                taps.iter().enumerate().filter_map(|(i, h)| x.get((at + i).checked_sub(255)?).map(|x| h * x)).sum();
            (value / sum) as f32
        })
        .collect();
    Audio::new(rate, [one.clone(), one])
}

#[test]
fn ebu_true_peak_signals_stay_under_the_ceiling() {
    let fade = |t: f64, length: f64| (t.min(length - t) / 0.01).clamp(0.0, 1.0);
    let rate = 48_000;
    let mut cases: Vec<(String, Audio)> =
        [(15, 4.0, 0.5, 0.0), (16, 4.0, 0.5, 45.0), (17, 6.0, 0.5, 60.0), (18, 8.0, 0.5, 67.5), (19, 4.0, 1.41, 45.0)]
            .into_iter()
            .map(|(case, divisor, level, degrees): (u32, f64, f64, f64)| {
                let f =
                    |t: f64| level * fade(t, 0.5) * (TAU * f64::from(rate) / divisor * t + degrees.to_radians()).sin();
                (format!("case {case}"), signal(0.5, rate, f))
            })
            .collect();
    cases.extend((0..4).map(|offset| (format!("case {}", 20 + offset), ebu_burst(offset, rate))));
    for (name, mut audio) in cases {
        for channel in &mut audio.channels {
            for x in channel {
                *x *= amplitude(6.0) as f32;
            }
        }
        let before = db(true_peak(&audio));
        for plan in [plan(), Plan { goal: Goal::Keep, ..loud(-9.0) }] {
            let master = render(&Cpu, &audio, &plan, None);
            let after = db(true_peak(&master.audio));
            println!(
                "{name} + 6 dB: {before:.2} → {after:.3} dBTP; the limiter's own reading {:.3}",
                master.trace.true_peak.unwrap().0
            );
            assert!(after <= -1.0);
        }
    }
}

#[test]
fn noise_squares_and_overs_stay_under_the_ceiling() {
    for rate in [44_100, 96_000, 192_000] {
        let mut random = noise(3);
        let white: Vec<f64> = (0..rate).map(|_| 4.0 * random()).collect();
        let signals: [(&str, Audio); 4] = [
            ("white noise, +12 dBFS", signal(0.2, rate, |t| white[(t * f64::from(rate)).round() as usize])),
            ("full-scale square", signal(0.2, rate, |t| if (t * 440.0).fract() < 0.5 { 1.0 } else { -1.0 })),
            ("impulses", signal(0.2, rate, |t| if (t * 50.0).fract() < 50.0 / f64::from(rate) { 4.0 } else { 0.0 })),
            ("offset", signal(0.2, rate, |_| 1.5)),
        ];
        for (name, audio) in signals {
            let audio = band_limited(audio);
            for plan in [plan(), Plan { goal: Goal::Keep, ..loud(-9.0) }] {
                let master = render(&Cpu, &audio, &plan, None);
                let peak = db(true_peak(&master.audio));
                println!("{name} at {rate}: {peak:.3} dBTP");
                assert!(peak <= -1.0);
                assert_eq!(master.audio.frames(), audio.frames());
            }
        }
    }
}

#[test]
fn taming_takes_down_the_places_that_decode_too_high_and_no_others() {
    let master = render(&Cpu, &music(6.0, RATE), &loud(-9.0), None).audio;
    // A codec that raises a tenth of a second by 2 dB.
    let mut decoded = master.clone();
    for channel in &mut decoded.channels {
        channel[90_000..94_410].iter_mut().for_each(|x| *x *= 1.259);
    }
    let mut tamed = master.clone();
    Cpu.reduce_overs(&mut tamed, &decoded, &limiter::standard(Dbtp(-0.2)));
    let mut again = tamed.clone();
    for channel in &mut again.channels {
        channel[90_000..94_410].iter_mut().for_each(|x| *x *= 1.259);
    }
    let (before, after) = (db(true_peak(&decoded)), db(true_peak(&again)));
    println!("{before:.3} dBTP before, {after:.3} after, {:+.3} LU", integrated(&tamed) - integrated(&master));
    assert!(before > 0.5 && after <= -0.19);
    assert_eq!(master.channels[0][..89_000], tamed.channels[0][..89_000]);
    assert_eq!(master.channels[1][96_000..], tamed.channels[1][96_000..]);
    // Nothing over, nothing done; a decoding of another length is not looked at.
    let same = tamed.clone();
    Cpu.reduce_overs(&mut tamed, &master, &limiter::standard(Dbtp(-0.2)));
    Cpu.reduce_overs(&mut tamed, &Audio::silence(RATE, 10), &limiter::standard(Dbtp(-0.2)));
    assert_eq!(tamed, same);
}

#[test]
fn edits_cut_and_fade_in_the_mixs_own_time() {
    use loopmaster_core::settings::Edit;
    use loopmaster_core::units::Seconds;
    let audio = music(4.0, RATE);
    let edit =
        Edit { trim_start: Seconds(0.5), trim_end: Seconds(0.25), fade_in: Seconds(0.1), fade_out: Seconds(1.0) };
    let out = render(&Cpu, &audio, &Plan { edit, ..Plan::identity() }, None).audio;
    assert_eq!(out.frames(), 176_400 - 22_050 - 11_025);
    assert!(out.channels[0][0].abs() < 1e-6 && out.channels[0][out.frames() - 1].abs() < 1e-6);
    assert_eq!(out.channels[0][30_000..90_000], audio.channels[0][52_050..112_050]);
    // Loudness is met with the fades on.
    let faded = Plan { edit, ..loud(-14.0) };
    assert!((integrated(&render(&Cpu, &audio, &faded, None).audio) + 14.0).abs() <= 0.1);
}

#[test]
fn delivery_rates_are_each_limited_on_their_own() {
    // Like most tracks at 96 kHz: little above 20 kHz.
    let audio = loopmaster_core::resample::resample(&music(6.0, RATE), 96_000).unwrap();
    let plan = loud(-9.0);
    let job = Job { audio, plan: &plan, rates: &[96_000, 44_100, 48_000], solved: None, early: None };
    for master in Cpu.render(vec![job]).remove(0).unwrap() {
        let (peak, loudness) = (db(true_peak(&master.audio)), integrated(&master.audio));
        println!("{} Hz: {loudness:.3} LUFS, {peak:.3} dBTP", master.audio.rate);
        assert!(peak <= -1.0 && (loudness + 9.0).abs() <= 0.1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever finite samples come in, finite samples of the same number come out, under the ceiling on the samples themselves.
    #[test]
    fn any_finite_input_gives_a_finite_master(
        frames in 1usize..6_000,
        seed in any::<u64>(),
        exponent in -45i32..38,
        target in -30f64..-4.0,
        kind in 0u8..4,
    ) {
        let mut random = noise(seed);
        let scale = 10f64.powi(exponent) as f32;
        let mut audio = Audio::silence(RATE, frames);
        for channel in &mut audio.channels {
            for (n, x) in channel.iter_mut().enumerate() {
                *x = match kind {
                    0 => random() as f32 * scale,
                    1 if n == frames / 2 => scale,
                    2 => scale,
                    3 if n % 2 == 0 => scale * if n % 3 == 0 { -1.0 } else { 1.0 },
                    _ => 0.0,
                };
            }
        }
        let plan = Plan { saturation: Some(Saturation { odd: 0.5, even: 0.2, reference: Db(0.0) }), ..loud(target) };
        let master = render(&Cpu, &audio, &plan, None);
        prop_assert_eq!(master.audio.frames(), frames);
        let top = master.audio.channels.iter().flatten().fold(0f32, |top, x| if x.is_finite() { top.max(x.abs()) } else { f32::INFINITY });
        prop_assert!(f64::from(top) <= amplitude(-1.0) * 1.000_001, "{}", top);
    }
}
