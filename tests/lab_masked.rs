//! The laboratory of the masked clipper. Every test prints the figure it judges.

use crate::cli::{events, folder_with, master, song};
use crate::parity::noise;
use loopmaster_core::Audio;
use loopmaster_core::control::limiter::{hop, short, standard, standard_clipper, standard_leveler};
use loopmaster_core::plan::{Goal, MaskedClipper, Plan, plan};
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::kernels::{Grid, Kernels};
use loopmaster_core::render::masking::{self, Masking};
use loopmaster_core::render::{Backend, Job, Master};
use loopmaster_core::settings::{Edit, Limiting, Loudness, Settings};
use loopmaster_core::units::{Db, Dbtp, Lufs, Seconds};
use std::f64::consts::TAU;

const RATE: u32 = 44_100;

pub(crate) fn masked(rounds: u32) -> Plan {
    Plan {
        masked: Some(MaskedClipper { max_reduction: Db(18.0), rounds }),
        limiter: Some(short(Dbtp(-1.0))),
        ..Plan::identity()
    }
}

fn render(audio: &Audio, plan: &Plan, gain: Option<f64>) -> Master {
    let job = Job { audio: audio.clone(), plan, rates: &[], solved: gain.map(Db), early: None };
    Cpu.render(vec![job]).remove(0).unwrap().remove(0)
}

fn signal(seconds: f64, f: impl Fn(f64) -> f64) -> Audio {
    let one: Vec<f32> =
        (0..(seconds * f64::from(RATE)) as usize).map(|n| f(n as f64 / f64::from(RATE)) as f32).collect();
    Audio::new(RATE, [one.clone(), one])
}

/// A drum loop over a pad: 20 dB of crest, dense in the middle and treble.
pub(crate) fn beat(seconds: f64) -> Audio {
    let frames = (seconds * f64::from(RATE)) as usize;
    let mut audio = Audio::silence(RATE, frames);
    let (mut left, mut right) = (noise(3), noise(4));
    for n in 0..frames {
        let t = n as f64 / f64::from(RATE);
        let within = t % 0.5;
        let kick = 0.8 * (-within * 14.0).exp() * (TAU * (50.0 * within + 3.0 * (1.0 - (-within * 40.0).exp()))).sin();
        let snare = if t % 1.0 >= 0.5 { 0.4 * (-within * 25.0).exp() } else { 0.0 };
        let pad: f64 = [110.0, 220.0, 330.0, 440.0, 660.0].iter().map(|hz| 0.03 * (TAU * hz * t).sin()).sum();
        let air = 0.02 * (1.0 + 0.5 * (TAU * 4.0 * t).sin());
        audio.channels[0][n] = (kick + pad + (snare + air) * left()) as f32;
        audio.channels[1][n] = (kick + pad + (snare + air) * right()) as f32;
    }
    audio
}

/// What is left of a steady part of a signal without these frequencies, over the whole, dB: least squares.
fn products(signal: &[f32], partials: &[f64]) -> f64 {
    let n = signal.len() as f64;
    let window = |i: usize| 0.5 - 0.5 * (TAU * (i as f64 + 0.5) / n).cos();
    let mut rest: Vec<f64> = signal.iter().map(|x| f64::from(*x)).collect();
    let power = |x: &[f64]| x.iter().enumerate().map(|(i, x)| (x * window(i)).powi(2)).sum::<f64>();
    let whole = power(&rest);
    // One after the other, several times: windowed tones are nearly orthogonal.
    for _ in 0..6 {
        for hz in partials {
            let turn = |i: usize| TAU * hz * i as f64 / f64::from(RATE);
            let (mut c, mut s, mut norm) = (0.0, 0.0, 0.0);
            for (i, x) in rest.iter().enumerate() {
                c += window(i) * x * turn(i).cos();
                s += window(i) * x * turn(i).sin();
                norm += window(i) / 2.0;
            }
            for (i, x) in rest.iter_mut().enumerate() {
                *x -= (c * turn(i).cos() + s * turn(i).sin()) / norm;
            }
        }
    }
    10.0 * (power(&rest) / whole).log10()
}

/// Fails on the chain with leveler, soft clipper and limiter, which bends the tops of sustained notes.
#[test]
fn sustained_notes_are_turned_down_and_not_clipped() {
    let rise = |t: f64| if t < 1.0 { 0.3 } else { 1.0 };
    for (name, partials) in [
        ("sine", vec![220.0]),
        ("high sine", vec![1000.0]),
        ("chord", vec![220.0, 277.18, 329.63]),
        ("organ", vec![130.81, 261.63, 392.44, 523.25, 784.88, 1046.5]),
    ] {
        let share = 0.8 / partials.len() as f64;
        let audio = signal(3.0, |t| rise(t) * partials.iter().map(|hz| share * (TAU * hz * t).sin()).sum::<f64>());
        let peak = audio.channels[0].iter().fold(0f32, |peak, x| peak.max(x.abs()));
        let gain = 4.0 - 1.0 - Db::from_amplitude(f64::from(peak)).0;
        let steady = |audio: &Audio| audio.channels[0][2 * RATE as usize..2 * RATE as usize + 22_050].to_vec();
        let figure = |plan: &Plan| products(&steady(&render(&audio, plan, Some(gain)).audio), &partials);
        let today = Plan {
            clipper: Some(standard_clipper()),
            leveler: Some(standard_leveler()),
            limiter: Some(standard(Dbtp(-1.0))),
            ..Plan::identity()
        };
        let (ours, before) = (figure(&masked(8)), figure(&today));
        println!(
            "masked clipper, {name} 4 dB over: products {ours:.1} dB, leveler, clipper and limiter {before:.1} dB"
        );
        assert!(ours < -40.0 && ours <= before - 20.0);
    }
}

#[test]
fn hits_are_clipped_where_the_music_masks_it() {
    let audio = beat(8.0);
    let gain = 9.0;
    let loud = render(&audio, &masked(8), Some(gain));
    let masking = Masking::new(RATE);
    let ceiling = Db(-1.1).amplitude() as f32;
    let plain = {
        let mut plain = audio.clone();
        for x in plain.channels.iter_mut().flat_map(|channel| channel.iter_mut()) {
            *x = (*x * Db(gain).amplitude() as f32).clamp(-ceiling, ceiling);
        }
        plain
    };
    let error = |after: &Audio| masking::error(&audio, after, Db(gain)).unwrap().0;
    let (ours, bare) = (error(&loud.audio), error(&plain));
    let finest = error(&render(&audio, &masked(32), Some(gain)).audio);
    let taken = Cpu.masked_relief(&plain, &masking, ceiling, Db(12.0));
    println!(
        "masked clipper, hits 9 dB over: {ours:.1} dB over the threshold, finest {finest:.1}, plain clip {bare:.1}"
    );
    assert!(taken.iter().all(|taken| *taken == 0.0), "what lies under the ceiling wants nothing taken off");
    assert!(ours < bare - 3.0 && finest <= ours + 0.2);
    assert_eq!(loud.trace.limiting_error.map(|error| (error.0 * 10.0).round()), Some((ours * 10.0).round()));
}

/// Fails where the clipper only holds the samples: between them its output is a decibel and more over, and a limiter with a release holds
/// the music down for it.
#[test]
fn the_limiter_behind_finds_hardly_anything_to_do() {
    let mut audio = beat(8.0);
    for x in audio.channels.iter_mut().flat_map(|channel| channel.iter_mut()) {
        *x *= 2.0;
    }
    let over = |rounds: usize| {
        let mut out = audio.clone();
        Cpu.masked_clip(&mut out, &Masking::new(RATE), 0.88, rounds);
        let (hop, blocks) = (hop(RATE), out.frames().div_ceil(hop(RATE)));
        let mut peaks = vec![0f32; blocks];
        Cpu.block_peaks(&out, hop, std::slice::from_ref(&(0..blocks)), Grid::Coarse, &mut peaks);
        let mut over: Vec<f32> = peaks.iter().filter(|peak| **peak > 0.8).copied().collect();
        over.sort_by(f32::total_cmp);
        Db::from_amplitude(f64::from(over[over.len() * 9 / 10]) / 0.88).0
    };
    // One round does not look between the samples.
    let (without, with) = (over(1), over(8));
    let taken = render(&beat(8.0), &masked(8), Some(6.0)).trace.reduction_p95.0;
    println!(
        "over between the samples in 1 of 10 blocks: {without:.2} dB, {with:.2} with looks; the limiter takes {taken:.2} dB"
    );
    assert!(with < 0.5 * without && with < 0.3 && taken < 0.3);
}

#[test]
fn the_loudness_is_met_and_the_ceiling_kept_at_any_rate() {
    for (rate, target) in [(44_100, -12.0), (44_100, -8.0), (48_000, -9.0), (96_000, -9.0)] {
        let mut audio = beat(8.0);
        audio.rate = rate;
        let plan = Plan { goal: Goal::Loudness { target: Lufs(target), wished: None }, ..masked(8) };
        let master = render(&audio, &plan, None);
        let (reached, peak) = (master.trace.reached.unwrap(), master.trace.true_peak.unwrap());
        println!("masked clipper at {rate}: {reached:.3} for {target}, {peak:.3}, {} passes", master.trace.passes);
        assert!((reached.0 - target).abs() <= 0.05 && peak.0 <= -1.0);
        assert_eq!(master.audio.frames(), audio.frames());
    }
}

#[test]
fn what_stays_under_the_ceiling_is_untouched() {
    let audio = beat(2.0);
    let quiet = render(&audio, &masked(8), Some(-20.0));
    let gain = Db(-20.0).amplitude() as f32;
    for (before, after) in audio.channels.iter().zip(&quiet.audio.channels) {
        assert!(before.iter().zip(&after[..]).all(|(a, b)| (a * gain - b).abs() <= 1e-9));
    }
    assert_eq!(quiet.trace.limiting_error, None);
    assert_eq!(quiet.trace.clipped, 0.0);
}

/// The last third is faded away: a gain that the limiting has no part in.
#[test]
fn a_fade_is_no_error_of_the_limiting() {
    let faded = Edit { fade_out: Seconds(2.0), ..Edit::default() };
    let error = |edit: Edit, gain| render(&beat(6.0), &Plan { edit, ..masked(8) }, Some(gain)).trace.limiting_error;
    let (with, without) = (error(faded, 9.0).unwrap(), error(Edit::default(), 9.0).unwrap());
    println!("limiting error, 9 dB over: {with:.2} with a fade, {without:.2} without");
    assert!((with.0 - without.0).abs() < 1.5);
    assert_eq!(error(faded, -20.0), None);
}

/// Silence, single clicks, full-scale noise, nonsense far over the ceiling, lengths around a frame.
#[test]
fn odd_signals_keep_the_ceiling() {
    let mut hiss = noise(9);
    let mut signals: Vec<Audio> = [0, 1, 31, 1023, 1024, 1025, 2048, 4097]
        .into_iter()
        .map(|frames| Audio::new(RATE, [(0..frames).map(|_| hiss() as f32).collect(), vec![0.0; frames]]))
        .collect();
    let mut click = vec![0f32; 30_000];
    (click[0], click[15_000], click[29_999]) = (1.0, -1.0, 1.0);
    signals.push(Audio::new(RATE, [click.clone(), click]));
    signals.push(signal(1.0, |t| if ((t * 3000.0) as u64).is_multiple_of(2) { 1.0 } else { -1.0 }));
    signals.push(signal(0.5, |_| 1.0));
    for audio in &signals {
        for gain in [0.0, 12.0, 40.0] {
            let master = render(audio, &masked(8), Some(gain));
            let peak = master.audio.channels.iter().flat_map(|c| c.iter()).fold(0f32, |peak, x| peak.max(x.abs()));
            assert!(peak <= Db(-1.0).amplitude() as f32, "{} frames, {gain} dB: {peak}", audio.frames());
            assert!(master.trace.true_peak.is_none_or(|peak| peak.0 <= -1.0));
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let audio = beat(9.0);
    let plan = Plan { goal: Goal::Loudness { target: Lufs(-9.0), wished: None }, ..masked(8) };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| render(&audio, &plan, None))
    };
    let one = run(1);
    for threads in [2, 3, 7] {
        assert!(run(threads) == one, "{threads} threads");
    }
}

#[test]
fn plans_use_it_where_much_is_taken_unless_asked_not_to() {
    let mix = loopmaster_core::analyse::analyse_audio(&beat(20.0), loopmaster_core::decode::Source::default());
    let at = |lufs: f64, limiter: Limiting| {
        let settings = Settings { loudness: Loudness::Lufs(Lufs(lufs)), insist: true, limiter, ..Settings::default() };
        plan(&mix, &settings, None).unwrap()
    };
    let rounds = |plan: &Plan| plan.masked.map(|masked| masked.rounds);
    let quiet = mix.loudness.integrated.unwrap().0 - mix.peaks.true_peak.0 - 2.0;
    assert_eq!(rounds(&at(quiet, Limiting::Standard)), None);
    let standard = at(-8.0, Limiting::Standard);
    assert!(rounds(&standard).is_some() && standard.clipper.is_none() && standard.leveler.is_none());
    assert!(rounds(&at(-8.0, Limiting::Finest)) > rounds(&standard));
    let fast = at(-8.0, Limiting::Fast);
    assert!(fast.masked.is_none() && fast.clipper.is_some());
    // A plan of the version before has none.
    let mut old = serde_json::to_value(&fast).unwrap();
    assert!(old.as_object_mut().unwrap().remove("masked").is_none());
    assert_eq!(serde_json::from_value::<Plan>(old).unwrap(), fast);
}

#[test]
fn the_command_has_three_limiters_and_tells_the_error() {
    let dir = folder_with(&[("song.wav", &song())]);
    let error = |limiter: &str| {
        let folder = format!("out-{limiter}");
        let args = ["song.wav", "-o", &folder, "--loudness=-8", "--insist", "--limiter", limiter];
        let (code, all) = master(dir.path(), &args);
        assert_eq!(code, 0, "{all:?}");
        let done = events(&all, "done")[0];
        (done["plan"]["masked"]["rounds"].as_u64(), done["trace"]["limiting_error"].as_f64().expect("an error in dB"))
    };
    let (fast, standard, finest) = (error("fast"), error("standard"), error("finest"));
    println!("limiting error of the command: fast {fast:?}, standard {standard:?}, finest {finest:?}");
    assert!(fast.0.is_none() && standard.0.is_some() && finest.0 > standard.0);
    assert_eq!(master(dir.path(), &["song.wav", "--limiter", "best"]).0, 2);
}

/// Whoever insists gets the loudest there is, and is told.
#[test]
fn insisting_never_fails_after_the_render() {
    let dir = folder_with(&[("song.wav", &song())]);
    for (at, loudness) in ["--loudness=-6", "--loudness=-5"].into_iter().enumerate() {
        for limiter in ["fast", "standard"] {
            let folder = format!("out{at}{limiter}");
            let (code, all) =
                master(dir.path(), &["song.wav", "-o", &folder, loudness, "--insist", "--limiter", limiter]);
            assert_eq!(code, 0, "{all:?}");
            let done = events(&all, "done")[0];
            let (asked, got) = (loudness[11..].parse::<f64>().unwrap(), done["trace"]["reached"].as_f64().unwrap());
            println!("insisting on {asked} with {limiter}: {got:.2}");
            let said = done["plan"]["reasons"].to_string().contains("gets no louder");
            assert!((got - asked).abs() <= 0.1 || said, "{got} for {asked}, and not a word");
        }
    }
}
