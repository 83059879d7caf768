//! `fir`, `filterbank`, `levels`, `gains` and `mix_bands`: the fused pass of the CPU against the five readable kernels.

use super::{BAR, SHORT, bits, distance, music};
use loopmaster_core::Audio;
use loopmaster_core::bands::BANDS;
use loopmaster_core::plan::{BandDynamics, Plan};
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::design::ShapeDesign;
use loopmaster_core::render::kernels::Kernels;
use loopmaster_core::render::reference::Reference;
use loopmaster_core::settings::Phase;
use loopmaster_core::units::{Db, Hz, Seconds};

pub(super) const OFF: BandDynamics = BandDynamics {
    threshold: Db(0.0),
    ratio: 1.0,
    knee: Db(0.0),
    attack: Seconds(0.02),
    release: Seconds(0.15),
    makeup: Db(0.0),
    max_reduction: Db(0.0),
};

pub(super) const COMPRESS: BandDynamics = BandDynamics {
    threshold: Db(-36.0),
    ratio: 2.5,
    knee: Db(6.0),
    attack: Seconds(0.01),
    release: Seconds(0.1),
    makeup: Db(0.7),
    max_reduction: Db(9.0),
};

pub(super) fn toned(phase: Phase) -> Plan {
    let mut plan = Plan::identity();
    plan.tone.mid =
        [(30.0, 2.0), (120.0, -1.5), (900.0, 0.5), (4000.0, -2.0), (12_000.0, 3.0)].map(|(f, g)| (Hz(f), Db(g))).into();
    plan.tone.side = [(30.0, 1.0), (400.0, -0.5), (6000.0, 1.0)].map(|(f, g)| (Hz(f), Db(g))).into();
    plan.tone.width = [(150.0, -4.0), (600.0, 1.0)].map(|(f, g)| (Hz(f), Db(g))).into();
    plan.tone.subsonic = Some(Hz(25.0));
    plan.tone.phase = phase;
    plan
}

pub(super) fn with_bands(mut plan: Plan, bands: &[usize], dynamics: BandDynamics) -> Plan {
    plan.dynamics = vec![OFF; BANDS];
    for band in bands {
        plan.dynamics[*band] = dynamics;
    }
    plan
}

/// Both backends on the same job: the distance, after checking that the reported reductions agree.
fn check(plan: &Plan, audio: &Audio) -> f64 {
    let design = ShapeDesign::new(plan, audio.rate);
    let (want, reductions) = Reference.shape(audio.clone(), &design);
    let (got, got_reductions) = Cpu.shape(audio.clone(), &design);
    assert_eq!(reductions.len(), plan.dynamics.len());
    for (got, want) in got_reductions.iter().zip(&reductions) {
        assert!((got.0 - want.0).abs() < 1e-4, "{got_reductions:?} against {reductions:?}");
    }
    let far = distance(&got, &want);
    assert!(far <= BAR, "{} frames at {}: {far:.1} dB", audio.frames(), audio.rate);
    far
}

fn worst(plan: &Plan, rate: u32, lengths: &[usize]) -> f64 {
    lengths.iter().map(|n| check(plan, &music(rate, *n))).fold(f64::NEG_INFINITY, f64::max)
}

#[test]
fn fir() {
    for phase in [Phase::Minimum, Phase::Linear] {
        let short = worst(&toned(phase), 44_100, &SHORT);
        // Around one transform and around one block of it.
        let long = worst(&toned(phase), 44_100, &[65_535, 65_537]);
        println!("parity fir {phase:?}: short {short:.1} dB, around a transform {long:.1} dB");
    }
    println!("parity fir 96 kHz: {:.1} dB", worst(&toned(Phase::Minimum), 96_000, &[20_011]));
}

#[test]
fn filterbank() {
    // A constant gain per band makes the filterbank alone audible: y = x + (g − 1)·b.
    let gain = BandDynamics { makeup: Db(6.0), ..OFF };
    for band in 0..BANDS {
        let plan = with_bands(Plan::identity(), &[band], gain);
        println!("parity filterbank, band {band}: {:.1} dB", worst(&plan, 48_000, &[1, 33, 5003]));
    }
    let all = with_bands(toned(Phase::Minimum), &[0, 1, 2, 3, 4], gain);
    println!("parity filterbank, all bands after the tone filter: {:.1} dB", worst(&all, 44_100, &[1, 10_007]));
}

#[test]
fn dynamics() {
    let all = [0, 1, 2, 3, 4];
    let flat = with_bands(Plan::identity(), &all, COMPRESS);
    println!("parity dynamics: {:.1} dB", worst(&flat, 44_100, &SHORT));
    for phase in [Phase::Minimum, Phase::Linear] {
        let plan = with_bands(toned(phase), &all, COMPRESS);
        println!("parity dynamics after a {phase:?} tone filter: {:.1} dB", worst(&plan, 44_100, &[1, 33, 10_007]));
        let plan = with_bands(toned(phase), &[1, 3], COMPRESS);
        println!("parity two bands after a {phase:?} tone filter: {:.1} dB", worst(&plan, 44_100, &[32, 9_999]));
    }
    println!("parity dynamics 96 kHz: {:.1} dB", worst(&flat, 96_000, &[129, 6007]));
    println!("parity dynamics 192 kHz: {:.1} dB", worst(&flat, 192_000, &[4099]));
}

#[test]
fn gains_run_on_across_blocks() {
    // Several blocks: 61,440 frames each without a tone filter, 51,200 with one.
    let flat = with_bands(Plan::identity(), &[0], COMPRESS);
    println!("parity across blocks: {:.1} dB", worst(&flat, 44_100, &[61_439, 61_440, 61_441, 150_001]));
    let toned = with_bands(toned(Phase::Minimum), &[0], COMPRESS);
    println!("parity across blocks after a tone filter: {:.1} dB", worst(&toned, 44_100, &[51_201, 110_017]));
}

#[test]
fn the_comparison_notices_faults() {
    let audio = music(44_100, 10_007);
    let design = ShapeDesign::new(&with_bands(toned(Phase::Minimum), &[0, 2], COMPRESS), 44_100);
    let (want, _) = Reference.shape(audio.clone(), &design);
    assert!(distance(&Cpu.shape(audio.clone(), &design).0, &want) <= BAR);

    let mut dropped = design.clone();
    dropped.tone.as_mut().unwrap().mid.taps[300] = 0.0;
    let mut dropped_band = design.clone();
    dropped_band.bands[1].fir.taps[2047 + 60] = 0.0;
    let mut shorter = design.clone();
    shorter.bands[0].window -= 2;
    let mut swapped = Cpu.shape(audio.clone(), &design).0;
    swapped.channels.swap(0, 1);
    let mut zeroed = Cpu.shape(audio.clone(), &design).0;
    zeroed.channels[1][5000..5032].fill(0.0);
    let mut poisoned = Cpu.shape(audio.clone(), &design).0;
    poisoned.channels[0][77] = f32::NAN;
    let never_ran = audio.clone();
    for (what, got) in [
        ("a dropped tap of the tone filter", Cpu.shape(audio.clone(), &dropped).0),
        ("a dropped tap of a band", Cpu.shape(audio.clone(), &dropped_band).0),
        ("a shorter level window", Cpu.shape(audio, &shorter).0),
        ("swapped channels", swapped),
        ("a zeroed lane", zeroed),
        ("a sample that was never written", poisoned),
        ("a pass that never ran", never_ran),
    ] {
        let far = distance(&got, &want);
        println!("canary, {what}: {far:.1} dB");
        assert!(far > BAR, "{what} went unnoticed");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let audio = music(44_100, 600_011);
    for plan in [
        toned(Phase::Linear),
        with_bands(Plan::identity(), &[0, 3], COMPRESS),
        with_bands(toned(Phase::Minimum), &[0, 1, 2, 3, 4], COMPRESS),
    ] {
        let design = ShapeDesign::new(&plan, audio.rate);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (audio, reductions) = pool.install(|| Cpu.shape(audio.clone(), &design));
            (bits(&audio), reductions)
        };
        let one = run(1);
        assert!(one.0.iter().flatten().all(|x| f32::from_bits(*x).is_finite()));
        assert_eq!(one, run(2));
        assert_eq!(one, run(7));
    }
}

#[test]
fn a_plan_that_changes_nothing_is_bit_exact_and_mono_stays_mono() {
    let audio = music(48_000, 100_003);
    let identity = ShapeDesign::new(&with_bands(Plan::identity(), &[], OFF), 48_000);
    for kernels in [&Cpu as &dyn Kernels, &Reference] {
        let (same, reductions) = kernels.shape(audio.clone(), &identity);
        assert_eq!((bits(&same), reductions), (bits(&audio), vec![Db(0.0); BANDS]));
    }
    // Bands that listen but never act: thresholds above everything.
    let idle = BandDynamics { threshold: Db(20.0), makeup: Db(0.0), ..COMPRESS };
    let design = ShapeDesign::new(&with_bands(Plan::identity(), &[0, 1, 2, 3, 4], idle), 48_000);
    assert_eq!(bits(&Cpu.shape(audio.clone(), &design).0), bits(&audio));

    let mut mono = audio;
    mono.channels[1] = mono.channels[0].clone();
    for plan in [toned(Phase::Minimum), with_bands(toned(Phase::Linear), &[0, 1, 2, 3, 4], COMPRESS)] {
        let (out, _) = Cpu.shape(mono.clone(), &ShapeDesign::new(&plan, 48_000));
        let [left, right] = bits(&out);
        assert_eq!(left, right);
    }
}

#[test]
fn extreme_input_stays_finite() {
    let design = ShapeDesign::new(&with_bands(toned(Phase::Minimum), &[0, 1, 2, 3, 4], COMPRESS), 44_100);
    for level in [1e-30f32, 1e-42, 1.0, 100.0] {
        let mut audio = Audio::silence(44_100, 70_001);
        for (n, x) in audio.channels[0].iter_mut().enumerate() {
            *x = if n % 97 < 48 { level } else { -level };
        }
        let (out, reductions) = Cpu.shape(audio, &design);
        assert!(out.channels.iter().flatten().all(|x| x.is_finite()));
        assert!(reductions.iter().all(|r| r.0.is_finite() && r.0 >= 0.0 && r.0 <= 9.0));
    }
    let (silent, _) = Cpu.shape(Audio::silence(44_100, 70_001), &design);
    assert!(silent.channels.iter().flatten().all(|x| *x == 0.0));
}
