//! What is heard of a master while the rest of it is rendered is the master.

use crate::lab_masked::{beat, masked};
use loopmaster_core::Audio;
use loopmaster_core::control::limiter::{standard, standard_clipper, standard_leveler};
use loopmaster_core::plan::{Goal, Plan};
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::{Backend, Early, Job, Master};
use loopmaster_core::settings::Edit;
use loopmaster_core::units::{Db, Dbtp, Lufs, Seconds};
use std::sync::Mutex;

const START: f64 = 20.0;
const LENGTH: f64 = 10.0;

/// Verses and choruses: every 8 s of 40 another level.
fn song() -> Audio {
    let mut audio = beat(40.0);
    for channel in &mut audio.channels {
        for (n, x) in channel.iter_mut().enumerate() {
            *x *= [0.25, 0.5, 1.0, 0.7, 0.35][n / (8 * 44_100) % 5];
        }
    }
    audio
}

/// The master, and what was heard of it early from `START` on.
fn rendered(audio: Audio, plan: &Plan, rates: &[u32], solved: Option<Db>) -> (Master, Vec<Audio>, Option<Lufs>) {
    let heard = Mutex::new(Vec::new());
    let tell = |sketch: loopmaster_core::render::Sketch<'_>| {
        let from = ((START - sketch.from.0) * f64::from(sketch.part.rate)).round() as usize;
        assert!(sketch.shaped.frames() > sketch.part.frames());
        heard.lock().unwrap().push((from, sketch.part, sketch.predicted));
    };
    let early = Some(Early { start: Seconds(START), length: Seconds(LENGTH), tell: &tell });
    let master = Cpu.render(vec![Job { audio, plan, rates, solved, early }]).remove(0).unwrap().remove(0);
    let heard = heard.into_inner().unwrap();
    let predicted = heard[0].2;
    let cut = |(from, part, _): (usize, Audio, Option<Lufs>)| {
        let frames = (LENGTH * f64::from(part.rate)) as usize;
        Audio::new(part.rate, part.channels.map(|channel| channel[from..from + frames].to_vec()))
    };
    (master, heard.into_iter().map(cut).collect(), predicted)
}

/// What of `early` is not in the master from `start` seconds on, and the gain between both, dB.
fn differs(master: &Audio, early: &Audio, start: f64) -> (f64, f64) {
    let from = (start * f64::from(master.rate)) as usize;
    let (mut cross, mut ours, mut theirs) = (0.0, 0.0, 0.0);
    for (master, early) in master.channels.iter().zip(&early.channels) {
        for (a, b) in master[from..].iter().zip(&early[..]) {
            cross += f64::from(a * b);
            ours += f64::from(a * a);
            theirs += f64::from(b * b);
        }
    }
    (10.0 * (1.0 - (cross * cross / (ours * theirs)).min(1.0) + 1e-15).log10(), 10.0 * (ours / theirs).log10())
}

#[test]
fn what_is_heard_early_is_the_master() {
    let limited = Plan {
        clipper: Some(standard_clipper()),
        leveler: Some(standard_leveler()),
        limiter: Some(standard(Dbtp(-1.0))),
        ..Plan::identity()
    };
    let fading = Plan { edit: Edit { fade_in: Seconds(25.0), ..Edit::default() }, ..limited.clone() };
    let trimmed = Plan { edit: Edit { trim_start: Seconds(3.0), ..Edit::default() }, ..limited.clone() };
    for (name, plan, gain, rates) in [
        ("masked clipper", masked(8), 8.0, vec![]),
        ("leveler, clipper, limiter", limited.clone(), 8.0, vec![]),
        ("nothing limited", limited, -20.0, vec![]),
        ("a fade", fading, 4.0, vec![]),
        ("a trimmed start, at two rates", trimmed, 4.0, vec![48_000, 44_100]),
    ] {
        // At a given gain the part is the same, …
        let (master, early, _) = rendered(song(), &plan, &rates, Some(Db(gain)));
        assert_eq!(early.len(), 1, "{name}: at the first rate only");
        let (rest, louder) = differs(&master.audio, &early[0], START);
        let shifted = differs(&master.audio, &early[0], START + 0.001).0;
        // … and the gain is known within a decibel even here, where a whole song may be corrected after its first pass.
        let plan = Plan { goal: Goal::Loudness { target: Lufs(gain - 18.0), wished: None }, ..plan };
        let (master, early, predicted) = rendered(song(), &plan, &rates, None);
        let moved = differs(&master.audio, &early[0], START).1;
        println!(
            "{name}: {rest:.1} dB apart, {louder:+.4} dB in level; a millisecond late {shifted:.1} dB; corrected by {moved:+.2} dB"
        );
        assert!(rest < -60.0 && louder.abs() < 0.01 && shifted > -10.0 && moved.abs() < 0.8);
        assert!(predicted.is_some());
    }
}

/// A part at either end, of no length, or behind the end is no fault.
#[test]
fn parts_at_the_ends_are_heard_as_far_as_there_is_music() {
    let plan = Plan { goal: Goal::Loudness { target: Lufs(-9.0), wished: None }, ..masked(8) };
    let whole = beat(6.0);
    for (start, length, frames) in [(0.0, 3.0, 5.0), (4.0, 40.0, 4.0), (0.0, 0.0, 2.0), (9.0, 1.0, 0.0)] {
        let heard = Mutex::new(Vec::new());
        let tell = |sketch: loopmaster_core::render::Sketch<'_>| heard.lock().unwrap().push(sketch.part.seconds());
        let early = Some(Early { start: Seconds(start), length: Seconds(length), tell: &tell });
        let job = Job { audio: whole.clone(), plan: &plan, rates: &[], solved: None, early };
        assert!(Cpu.render(vec![job]).remove(0).is_ok());
        assert!((heard.into_inner().unwrap()[0] - frames).abs() < 0.01, "{start} s, {length} s");
    }
    // What is handed on as it is has no part to wait for.
    let heard = Mutex::new(0);
    let tell = |_: loopmaster_core::render::Sketch<'_>| *heard.lock().unwrap() += 1;
    let early = Some(Early { start: Seconds(0.0), length: Seconds(3.0), tell: &tell });
    let still = Plan { goal: Goal::Keep, ..Plan::identity() };
    let job = Job { audio: whole, plan: &still, rates: &[], solved: Some(Db(0.0)), early };
    assert!(Cpu.render(vec![job]).remove(0).is_ok());
    assert_eq!(heard.into_inner().unwrap(), 0);
}
