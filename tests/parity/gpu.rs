//! The graphics card against the readable reference and against the fast kernels of the processor, kernel by kernel through plans that
//! leave only that kernel to do, and whole masters of real music with the gain frozen.
//!
//! The bar is that of the other kernels, −120 dB: a transform of 4096 points rounds 12 times each way, the tone filter and the bands
//! follow each other, and the partitions of a filter add up to five such results: √(2 · 5 · 24) · 2⁻²⁵ ≈ 4.6·10⁻⁷, −127 dB.
//!
//! What needs an adapter is ignored, and fails without one: `./test` looks for one and then runs these with all others. A test is named
//! after the kernel that it holds; those of `shape` are taken apart further in `gpu/src/gpu/parity.rs`.

use super::{BAR, bits, distance, music, noise};
use crate::operator::{Serving, get, loopmaster};
use crate::parity::shape::{COMPRESS, OFF, toned, with_bands};
use loopmaster_core::analyse::analyse;
use loopmaster_core::bands::BANDS;
use loopmaster_core::control::limiter::{standard, standard_clipper, standard_leveler};
use loopmaster_core::decode::{Track, decode_file};
use loopmaster_core::plan::{BandDynamics, Goal, MaskedClipper, Plan, Saturation, Transients, plan};
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::reference::Reference;
use loopmaster_core::render::{Backend, Job, Master, chain};
use loopmaster_core::settings::{Limiting, Limits, Loudness, Phase, Settings, Style};
use loopmaster_core::units::{Db, Dbtp, Lufs, Seconds};
use loopmaster_core::{Audio, Samples};
use loopmaster_gpu::gpu::{Config, Gpu};
use loopmaster_gpu::renderer::Renderer;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// A software driver will do: the kernels are the same.
fn open(config: Config) -> Gpu {
    Gpu::open(Config { software: true, ..config }).unwrap_or_else(|error| panic!("{error}")).with_notice(|_| ())
}

/// Bits of a number that is none, which no kernel writes.
const POISON: u32 = 0x7fc0_dead;

static CARD: LazyLock<Gpu> = LazyLock::new(|| open(Config::default()));

fn job<'a>(audio: &Audio, plan: &'a Plan, solved: Option<f64>) -> Job<'a> {
    Job { audio: audio.clone(), plan, rates: &[], solved: solved.map(Db), early: None }
}

fn on_card(gpu: &Gpu, audio: &Audio, plan: &Plan, solved: Option<f64>) -> Master {
    gpu.try_render(&[job(audio, plan, solved)]).remove(0).unwrap().remove(0)
}

fn on(kernels: &dyn Backend, audio: &Audio, plan: &Plan, solved: Option<f64>) -> Master {
    kernels.render(vec![job(audio, plan, solved)]).remove(0).unwrap().remove(0)
}

/// Card against reference and processor; returns the worst distance.
fn check(gpu: &Gpu, kernel: &str, plan: &Plan, rate: u32, lengths: &[usize], solved: Option<f64>) -> f64 {
    let mut worst = f64::NEG_INFINITY;
    for frames in lengths {
        let audio = music(rate, *frames);
        let got = on_card(gpu, &audio, plan, solved);
        let name = &got.backend.name;
        assert_eq!(name, "gpu");
        for twin in [&Reference as &dyn Backend, &Cpu] {
            let want = on(twin, &audio, plan, solved);
            let far = distance(&got.audio, &want.audio);
            assert!(far <= BAR, "{kernel}: {frames} frames at {rate}: {far:.1} dB from {}", want.backend.name);
            assert_eq!(got.trace.bands.len(), want.trace.bands.len());
            for (got, want) in got.trace.bands.iter().zip(&want.trace.bands) {
                assert!((got.0 - want.0).abs() < 1e-4, "{kernel}: {got:?} {want:?}");
            }
            let peak = |master: &Master| master.trace.true_peak.map_or(-200.0, |peak| peak.0);
            assert!((peak(&got) - peak(&want)).abs() < 0.001, "{kernel}: {} {}", peak(&got), peak(&want));
            worst = worst.max(far);
        }
    }
    worst
}

/// Around a workgroup, a hop, a step of the filters and a transform; primes.
const LENGTHS: [usize; 10] = [1, 31, 33, 255, 256, 257, 2047, 2049, 4096, 5003];

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn fir() {
    let gpu = &*CARD;
    for phase in [Phase::Minimum, Phase::Linear] {
        println!("parity gpu fir {phase:?}: {:.1} dB", check(gpu, "fir", &toned(phase), 44_100, &LENGTHS, None));
    }
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn filterbank() {
    let gpu = &*CARD;
    let gain = BandDynamics { makeup: Db(6.0), ..OFF };
    for bands in [&[0][..], &[1, 3], &[0, 1, 2, 3, 4]] {
        let plan = with_bands(Plan::identity(), bands, gain);
        let far = check(gpu, "filterbank", &plan, 48_000, &[1, 33, 4099], None);
        println!("parity gpu filterbank {bands:?}: {far:.1} dB");
    }
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn dynamics() {
    let gpu = &*CARD;
    let all = [0, 1, 2, 3, 4];
    let flat = with_bands(Plan::identity(), &all, COMPRESS);
    println!("parity gpu dynamics: {:.1} dB", check(gpu, "dynamics", &flat, 44_100, &LENGTHS, None));
    let plan = with_bands(toned(Phase::Linear), &[1, 4], COMPRESS);
    println!(
        "parity gpu two bands after a tone filter: {:.1} dB",
        check(gpu, "dynamics", &plan, 44_100, &[32, 9_973], None)
    );
    let plan = with_bands(toned(Phase::Minimum), &all, COMPRESS);
    println!("parity gpu 96 kHz: {:.1} dB", check(gpu, "dynamics", &plan, 96_000, &[129, 6007], None));
    println!("parity gpu 192 kHz: {:.1} dB", check(gpu, "dynamics", &plan, 192_000, &[4099], None));
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn saturate() {
    let mut plan = Plan::identity();
    plan.saturation = Some(Saturation { odd: 0.6, even: 0.3, reference: Db(0.0) });
    println!("parity gpu saturate: {:.1} dB", check(&CARD, "saturate", &plan, 44_100, &LENGTHS, None));
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn clip() {
    let mut plan = Plan::identity();
    plan.clipper = Some(standard_clipper());
    println!("parity gpu clip: {:.1} dB", check(&CARD, "clip", &plan, 44_100, &LENGTHS, Some(6.0)));
    println!("parity gpu clip 96 kHz: {:.1} dB", check(&CARD, "clip", &plan, 96_000, &[9_973], Some(6.0)));
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn apply_gain() {
    let mut plan = Plan::identity();
    plan.leveler = Some(standard_leveler());
    plan.limiter = Some(standard(Dbtp(-1.0)));
    println!("parity gpu limit: {:.1} dB", check(&CARD, "apply_gain", &plan, 44_100, &LENGTHS, Some(9.0)));
    println!("parity gpu limit 192 kHz: {:.1} dB", check(&CARD, "apply_gain", &plan, 192_000, &[9_973], Some(9.0)));
}

/// A peak goal sets the gain by the highest of the blocks' peaks, and nothing else.
#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn block_peaks() {
    let mut plan = Plan::identity();
    plan.goal = Goal::Peak { target: Dbtp(-3.0) };
    println!("parity gpu peak goal: {:.1} dB", check(&CARD, "block_peaks", &plan, 44_100, &[33, 10_007], None));
    println!("parity gpu peak goal 96 kHz: {:.1} dB", check(&CARD, "block_peaks", &plan, 96_000, &[9_973], None));
}

/// A loudness goal that no limiter stands in the way of sets the gain by the blocks' energies, and nothing else. The card filters and sums
/// in `f32`: what is left of that in a whole track is far below a thousandth of a LU.
#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn block_energies() {
    let mut plan = Plan::identity();
    plan.goal = Goal::Loudness { target: Lufs(-23.0), wished: None };
    for (rate, frames) in [(44_100, 40_009), (48_000, 50_021), (96_000, 100_003)] {
        let audio = music(rate, frames);
        let [got, want] = [on_card(&CARD, &audio, &plan, None), on(&Reference, &audio, &plan, None)];
        let reached = (got.trace.reached.unwrap() - want.trace.reached.unwrap()).0.abs();
        let gain = (got.trace.gain.0 - want.trace.gain.0).abs();
        println!("parity gpu loudness goal {rate}: {reached:.6} LU, gain {gain:.6} dB");
        assert!(want.trace.gain.0.abs() > 1.0, "block_energies: nothing to reach at {rate}");
        assert!(reached < 1e-3 && gain < 1e-3, "block_energies: {reached} LU, {gain} dB at {rate}");
    }
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn all_of_the_finish() {
    let mut plan = Plan::identity();
    plan.leveler = Some(standard_leveler());
    plan.limiter = Some(standard(Dbtp(-1.0)));
    plan.edit.fade_in = Seconds(0.05);
    plan.edit.fade_out = Seconds(0.1);
    plan.edit.trim_start = Seconds(0.01);
    plan.clipper = Some(standard_clipper());
    let far = check(&CARD, "the finish", &plan, 48_000, &[1, 997, 20_011], Some(9.0));
    println!("parity gpu all of the finish: {far:.1} dB");
}

/// The excerpts: those of the repository, or a copy that travelled with this program.
fn data() -> PathBuf {
    std::env::var_os("LOOPMASTER_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"), PathBuf::from)
}

fn excerpt(name: &str, seconds: f64) -> Track {
    let path = data().join(name);
    let mut track = decode_file(&path, &Limits::default()).unwrap();
    let frames = Seconds(seconds).frames(track.audio.rate);
    track.audio.channels.iter_mut().for_each(|channel| channel.truncate(frames));
    track
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn whole_masters_of_real_music() {
    let gpu = &*CARD;
    for (name, style, seconds) in [
        ("settel-inner-recreation.flac", Style::Balanced, 4.0),
        ("tame-anderson-make-me.flac", Style::Loud, 7.0),
        ("skiessi-onion.flac", Style::Warm, 3.0),
        ("impulslogik-zen.flac", Style::Punchy, 3.0),
        ("momo64-esp.flac", Style::Open, 3.0),
        ("thomasso-axe-from-the-80s.flac", Style::Gentle, 3.0),
    ] {
        let track = excerpt(name, seconds);
        let loudness = if style == Style::Loud { Loudness::Lufs(Lufs(-9.0)) } else { Loudness::default() };
        let settings = Settings { style, loudness, insist: true, limiter: Limiting::Fast, ..Settings::default() };
        let plan = plan(&analyse(&track), &settings, None).unwrap();
        let want = on(&Cpu, &track.audio, &plan, None);
        let frozen = on_card(gpu, &track.audio, &plan, Some(want.trace.gain.0));
        // The processor once more with its gain given, because a correction counts as a pass.
        let twin = on(&Cpu, &track.audio, &plan, Some(want.trace.gain.0));
        let far = distance(&frozen.audio, &twin.audio);
        let free = on_card(gpu, &track.audio, &plan, None);
        let lufs = (free.trace.reached.unwrap() - want.trace.reached.unwrap()).0.abs();
        let peak = (free.trace.true_peak.unwrap().0 - want.trace.true_peak.unwrap().0).abs();
        println!("parity gpu {name} {style}: {far:.1} dB frozen; free: {lufs:.5} LU, {peak:.4} dB true peak");
        assert!(far <= BAR && lufs <= 0.01 && peak <= 0.02);
        assert_eq!(free.trace.passes, want.trace.passes);
        assert!((free.trace.clipped - want.trace.clipped).abs() < 1e-4);
    }
}

/// A plan with the whole chain at work.
fn everything() -> Plan {
    let mut plan = with_bands(toned(Phase::Minimum), &[0, 1, 2, 3, 4], COMPRESS);
    plan.saturation = Some(Saturation { odd: 0.2, even: 0.1, reference: Db(0.0) });
    plan.leveler = Some(standard_leveler());
    plan.clipper = Some(standard_clipper());
    plan.limiter = Some(standard(Dbtp(-1.0)));
    plan.goal = Goal::Loudness { target: Lufs(-11.0), wished: None };
    plan
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn a_batch_of_any_lengths_gives_the_bits_of_each_alone() {
    let gpu = &*CARD;
    let (all, tone, nothing) = (everything(), toned(Phase::Linear), with_bands(Plan::identity(), &[], OFF));
    let lengths = [70_001, 1, 30_011, 2048, 44_100, 257];
    let plans = [&all, &tone, &nothing, &all, &all, &tone];
    let audio: Vec<Audio> = lengths.iter().map(|frames| music(44_100, *frames)).collect();
    let jobs: Vec<Job<'_>> = audio.iter().zip(plans).map(|(audio, plan)| job(audio, plan, None)).collect();
    let batch = gpu.try_render(&jobs);
    // Small submissions, poisoned stores: other chunks, the same bits, and none of them poison.
    let small = open(Config { frames: 1 << 16, poison: Some(POISON), ..Config::default() });
    let poisoned = small.try_render(&jobs);
    for (at, (batch, poisoned)) in batch.into_iter().zip(poisoned).enumerate() {
        let alone = on_card(gpu, &audio[at], plans[at], None);
        let (batch, poisoned) = (batch.unwrap().remove(0), poisoned.unwrap().remove(0));
        assert_eq!(bits(&batch.audio), bits(&alone.audio), "{} frames in the batch", lengths[at]);
        assert_eq!(bits(&poisoned.audio), bits(&alone.audio), "{} frames in small submissions", lengths[at]);
        assert!(bits(&poisoned.audio).iter().flatten().all(|x| *x != POISON));
    }
    // A plan that changes nothing is bit-exact.
    assert_eq!(bits(&on_card(gpu, &audio[2], &nothing, None).audio), bits(&audio[2]));
}

/// The shaper's gain is the level in dB, and the card knows the energy of a block to a few millionths: what that leaves is 110 dB down.
#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn transients_follow_the_levels_of_the_card() {
    let gpu = &*CARD;
    let plan = Plan { transients: Some(Transients { depth: Db(3.0) }), ..everything() };
    for rate in [44_100, 96_000] {
        let audio = music(rate, 60_013);
        let job = Job { audio: audio.clone(), plan: &plan, rates: &[rate], solved: Some(Db(5.0)), early: None };
        let want = chain::run(&Cpu, job).unwrap().remove(0);
        let far = distance(&on_card(gpu, &audio, &plan, Some(5.0)).audio, &want.audio);
        println!("parity gpu transients at {rate}: {far:.1} dB");
        assert!(far <= -110.0);
    }
}

/// The masked clipper has no kernel on the card yet: such a track is the processor's, to the bit, and the others stay on the card.
#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn the_masked_clipper_is_left_to_the_processor() {
    let gpu = &*CARD;
    let masked = Some(MaskedClipper { max_reduction: Db(18.0), rounds: 8 });
    let (here, there) = (Plan { masked, clipper: None, leveler: None, ..everything() }, everything());
    let audio = music(44_100, 60_013);
    let jobs = vec![job(&audio, &here, None), job(&audio, &there, None), job(&audio, &here, Some(9.0))];
    let got: Vec<Master> = Backend::render(gpu, jobs).into_iter().map(|made| made.unwrap().remove(0)).collect();
    for (got, solved) in [(&got[0], None), (&got[2], Some(9.0))] {
        assert_eq!(got.backend.name, "cpu");
        assert_eq!(bits(&got.audio), bits(&on(&Cpu, &audio, &here, solved).audio));
    }
    assert_eq!(got[1].backend.name, "gpu");
    assert!(gpu.try_render(&[job(&audio, &here, None)]).remove(0).is_err());
    assert_eq!(gpu.status().fault, None, "that is no fault of the card");
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn delivery_rates_are_finished_on_the_card() {
    let gpu = &*CARD;
    let (audio, plan) = (music(44_100, 60_013), everything());
    let rates = [44_100, 48_000, 96_000];
    let job = || Job { audio: audio.clone(), plan: &plan, rates: &rates, solved: Some(Db(5.0)), early: None };
    let got = gpu.try_render(&[job()]).remove(0).unwrap();
    let want = chain::run(&Cpu, job()).unwrap();
    for (got, want) in got.iter().zip(&want) {
        let far = distance(&got.audio, &want.audio);
        println!("parity gpu delivery at {}: {far:.1} dB", want.audio.rate);
        assert!(far <= BAR && got.backend.name == "gpu");
    }
    assert_eq!(got.len(), want.len());
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn a_second_batch_makes_no_buffers_and_moves_little_more_than_it_must() {
    let gpu = open(Config::default());
    let (audio, plan) = (music(44_100, 300_007), everything());
    on_card(&gpu, &audio, &plan, None);
    let before = (gpu.allocations(), gpu.status().traffic);
    on_card(&gpu, &audio, &plan, None);
    let after = gpu.status().traffic;
    assert_eq!(gpu.allocations(), before.0);
    let ratio = (after.device - before.1.device) as f64 / (after.least - before.1.least) as f64;
    println!("gpu traffic: {ratio:.3} of the least");
    assert!(ratio <= 1.5);
}

/// Two short tracks, as a batch.
fn pair() -> (Vec<Audio>, Plan) {
    let mut plan = everything();
    plan.tone.phase = Phase::Linear;
    (vec![music(44_100, 20_011), music(44_100, 5_003)], plan)
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn a_device_lost_at_any_submission_costs_no_track() {
    let (audio, plan) = pair();
    let jobs = || audio.iter().map(|audio| job(audio, &plan, Some(6.0))).collect::<Vec<_>>();
    let gpu = open(Config::default());
    assert!(gpu.try_render(&jobs()).iter().all(Result::is_ok));
    let submissions = gpu.status().submissions;
    assert!(submissions > 10);
    let want: Vec<_> = jobs().into_iter().map(|job| bits(&chain::run(&Cpu, job).unwrap()[0].audio)).collect();
    for lost in 0..submissions {
        let gpu = open(Config { lose_at: Some(lost), ..Config::default() });
        let got = gpu.render(jobs());
        for (got, want) in got.into_iter().zip(&want) {
            let master = got.unwrap().remove(0);
            assert_eq!((master.backend.name.as_str(), &bits(&master.audio)), ("cpu", want), "lost at {lost}");
        }
        let status = gpu.status();
        assert!(!status.ready && status.restarted == 2 && status.code.as_deref() == Some("gpu.failed"), "{status:?}");
        // The next batch goes straight to the processor.
        assert!(gpu.render(jobs()).iter().all(|result| result.as_ref().unwrap()[0].backend.name == "cpu"));
    }
    println!("gpu: lost at each of {submissions} submissions, every track right on the processor");
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn launches_that_never_ran_are_noticed() {
    let (audio, plan) = pair();
    for from in [0, 7, 12] {
        let gpu = open(Config { skip_from: Some(from), ..Config::default() });
        let results = gpu.try_render(&[job(&audio[0], &plan, Some(6.0))]);
        let error = results[0].as_ref().unwrap_err();
        println!("canary, launches left out from submission {from}: {error}");
        assert!(error.to_string().contains("never ran"), "{error}");
    }
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn the_comparison_notices_small_faults() {
    let gpu = &*CARD;
    let (audio, plan) = (music(44_100, 10_007), everything());
    let want = on(&Cpu, &audio, &plan, Some(6.0)).audio;
    let mut faults: Vec<(&str, Plan)> = Vec::new();
    let mut fault = |what, change: fn(&mut Plan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        faults.push((what, plan));
    };
    fault("a thousandth of a dB of tone", |plan| plan.tone.mid[2].1.0 += 0.001);
    fault("attack and release swapped", |plan| {
        let band = &mut plan.dynamics[3];
        std::mem::swap(&mut band.attack, &mut band.release);
    });
    fault("half a hundredth of a dB of makeup", |plan| plan.dynamics[1].makeup.0 += 0.005);
    fault("a little less saturation", |plan| plan.saturation.as_mut().unwrap().odd *= 0.999);
    fault("a ceiling a hundredth of a dB off", |plan| plan.limiter.as_mut().unwrap().ceiling.0 -= 0.01);
    for (what, plan) in faults {
        let far = distance(&on_card(gpu, &audio, &plan, Some(6.0)).audio, &want);
        println!("canary, {what}: {far:.1} dB");
        assert!(far > BAR, "{what} went unnoticed");
    }
    let mut got = on_card(gpu, &audio, &plan, Some(6.0)).audio;
    got.channels[0][5000] = 0.0;
    assert!(distance(&got, &want) > BAR);
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn what_does_not_fit_goes_to_the_processor() {
    let gpu = open(Config { memory: 160 << 20, ..Config::default() });
    let plan = Plan::identity();
    let (long, short) = (Audio::silence(44_100, 12 << 20), music(44_100, 10_007));
    let results = gpu.try_render(&[job(&long, &plan, None), job(&short, &plan, None)]);
    let error = results[0].as_ref().unwrap_err();
    println!("{error}");
    assert_eq!(error.code(), "gpu.memory");
    assert_eq!(bits(&results[1].as_ref().unwrap()[0].audio), bits(&short));
    assert!(gpu.status().ready);
    let masters = gpu.render(vec![job(&long, &plan, None)]).remove(0).unwrap();
    assert_eq!((masters[0].backend.name.as_str(), masters[0].audio.frames()), ("cpu", 12 << 20));
    // An empty track is handed back as it came.
    let empty = gpu.render(vec![job(&Audio::silence(44_100, 0), &plan, None)]).remove(0).unwrap();
    assert_eq!(empty[0].audio.frames(), 0);
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn callers_of_many_threads_share_batches() {
    let renderer = Renderer::gpu(Config { software: true, ..Config::default() }).unwrap();
    let plan = with_bands(toned(Phase::Minimum), &[0, 2], COMPRESS);
    let mut random = noise(3);
    let audio: Vec<Audio> = (0..6).map(|_| music(44_100, 3000 + (random().abs() * 9000.0) as usize)).collect();
    let results: Vec<Master> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            audio.iter().map(|audio| scope.spawn(|| on(&renderer, audio, &plan, Some(1.0)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (audio, got) in audio.iter().zip(&results) {
        assert!(distance(&got.audio, &on(&Cpu, audio, &plan, Some(1.0)).audio) <= BAR);
        assert_eq!(got.backend.name, "gpu");
    }
    let status = renderer.status().unwrap();
    assert_eq!((status.rendered, status.restarted), (6, 0));
    assert_eq!(BANDS, plan.dynamics.len());
}

/// What takes minutes besides.
mod long {
    use super::*;

    /// Longer than any buffer that may be bound at once.
    #[test]
    #[ignore = "minutes on a software card, and several GB of memory: and a Vulkan driver: part of `./test long`"]
    fn thirty_minutes_of_real_music() {
        let gpu = open(Config { memory: 4 << 30, ..Config::default() });
        let track = excerpt("tame-anderson-make-me.flac", 60.0);
        let settings = Settings { limiter: Limiting::Fast, ..Settings::default() };
        let plan = plan(&analyse(&track), &settings, None).unwrap();
        let frames = Seconds(1_800.0).frames(track.audio.rate) + 1;
        let long = |channel: &Samples| channel.iter().copied().cycle().take(frames).collect();
        let audio = Audio { rate: track.audio.rate, channels: track.audio.channels.each_ref().map(long) };
        let want = on(&Cpu, &audio, &plan, Some(3.0));
        let got = on_card(&gpu, &audio, &plan, Some(3.0));
        let far = distance(&got.audio, &want.audio);
        println!("parity gpu 30 min: {far:.1} dB");
        assert!(far <= BAR && got.backend.name == "gpu");
    }
}

/// Mesa's software driver and no other: a node that is to work on a card does not start, whoever leaves the choice gets the processor,
/// and only who says so gets the driver.
#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn a_software_driver_is_no_card_to_a_worker() {
    let drivers =
        std::fs::read_dir("/usr/share/vulkan/icd.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut drivers =
        drivers.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd")));
    let Some(driver) = drivers.next() else {
        println!("parity gpu: the software driver is not installed here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let command = |backend: &str| {
        let mut command = loopmaster(folder.path());
        command.env("VK_DRIVER_FILES", &driver).env("VK_ICD_FILENAMES", &driver).env("XDG_RUNTIME_DIR", folder.path());
        command.env("LOOPMASTER_WORKER__BACKEND", backend);
        command
    };
    let refused = command("gpu").arg("serve").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    let last = said.lines().last().unwrap_or_default();
    assert!(!refused.status.success() && last.starts_with("the worker cannot work: llvmpipe"), "{said}");
    assert!(last.contains("software driver") && last.contains("worker.backend = \"cpu\""), "{said}");
    let listed = command("gpu").args(["gpu", "--json"]).output().unwrap();
    let said = String::from_utf8_lossy(&listed.stdout);
    assert!(!listed.status.success() && said.contains("\"code\":\"gpu.software\""), "{said}");

    let device = |command: &mut Command| {
        let service = Serving::start(command);
        let (status, body) = get(&format!("{}/readyz", service.url), &[]);
        service.stop();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["device"].as_str().unwrap().to_owned()
    };
    assert_eq!(device(&mut command("auto")), "cpu: ok");
    assert_eq!(device(command("auto").env("LOOPMASTER_GPU_SOFTWARE", "1")), "cpu: ok", "never faster than itself");
    let allowed = device(command("gpu").env("LOOPMASTER_GPU_SOFTWARE", "1"));
    assert!(allowed.starts_with("gpu: ok, llvmpipe"), "{allowed}");
}

/// A card that was promised must be there: what needs one fails where the loader finds no driver, and no test takes that for a reason to
/// pass. The part of `./test` that runs them sets `LOOPMASTER_GPU`; where it is set, there is a card.
#[test]
fn a_missing_card_is_a_failure() {
    let run = |variables: &[(&str, &str)]| {
        let mut run = Command::new(std::env::current_exe().unwrap());
        run.args(["--include-ignored", "--exact", "parity::gpu::what_does_not_fit_goes_to_the_processor"]);
        run.envs(variables.iter().copied()).output().unwrap()
    };
    let nowhere = "/nonexistent/driver.json";
    let without = run(&[("VK_DRIVER_FILES", nowhere), ("VK_ICD_FILENAMES", nowhere), ("LOOPMASTER_GPU", "1")]);
    let said = String::from_utf8_lossy(&without.stdout).into_owned() + &String::from_utf8_lossy(&without.stderr);
    assert!(!without.status.success() && said.contains("1 failed"), "{said}");
    if std::env::var_os("LOOPMASTER_GPU").is_some() {
        let with = run(&[]);
        assert!(with.status.success(), "LOOPMASTER_GPU is set, but: {}", String::from_utf8_lossy(&with.stdout));
    }
}
