//! A short track with everything in it, on the card and through the reference: a card that computes wrongly is refused.

use super::error::GpuError;
use super::group::Task;
use super::lane::Lane;
use super::run_group;
use loopmaster_core::Audio;
use loopmaster_core::bands::BANDS;
use loopmaster_core::control::limiter::{standard, standard_clipper, standard_leveler};
use loopmaster_core::plan::{BandDynamics, Goal, Plan, Saturation};
use loopmaster_core::render::design::ShapeDesign;
use loopmaster_core::render::reference::Reference;
use loopmaster_core::render::{BackendInfo, Job, Master, chain};
use loopmaster_core::units::{Db, Dbtp, Hz, Seconds};
use serde::Serialize;
use std::sync::LazyLock;

/// Frames of the track: four steps of the filters and a rest.
const FRAMES: usize = 9_001;
const RATE: u32 = 44_100;
/// Largest distance from the reference, dB relative.
const FAR: f64 = -110.0;

/// What it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SelfTest {
    /// RMS of the difference to the reference over RMS of the reference, dB.
    pub distance: f64,
    /// Difference of the true peaks, dB.
    pub true_peak: f64,
}

/// Pulses, tones and noise, wide and loud.
fn track() -> Audio {
    let mut audio = Audio::silence(RATE, FRAMES);
    let mut state = 0x9E37_79B9u32;
    for n in 0..FRAMES {
        let t = n as f64 / f64::from(RATE);
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let noise = f64::from(state) / f64::from(u32::MAX) - 0.5;
        let tone = |hz: f64| (std::f64::consts::TAU * hz * t).sin();
        let pulse = (-(t % 0.05) * 60.0).exp();
        let mid = 0.5 * pulse * tone(70.0) + 0.15 * tone(440.0) + 0.2 * pulse * noise;
        let side = 0.1 * tone(1500.0) + 0.05 * noise;
        audio.channels[0][n] = (mid + side) as f32;
        audio.channels[1][n] = (mid - side) as f32;
    }
    audio
}

fn plan() -> Plan {
    let mut plan = Plan::identity();
    plan.tone.mid = [(40.0, 2.0), (900.0, -1.0), (9000.0, 2.0)].map(|(f, g)| (Hz(f), Db(g))).into();
    plan.tone.side = [(40.0, 1.0), (6000.0, 1.5)].map(|(f, g)| (Hz(f), Db(g))).into();
    plan.tone.width = [(150.0, -3.0), (600.0, 0.5)].map(|(f, g)| (Hz(f), Db(g))).into();
    plan.tone.subsonic = Some(Hz(25.0));
    let band = BandDynamics {
        threshold: Db(-30.0),
        ratio: 2.5,
        knee: Db(6.0),
        attack: Seconds(0.005),
        release: Seconds(0.05),
        makeup: Db(0.5),
        max_reduction: Db(9.0),
    };
    plan.dynamics = vec![band; BANDS];
    plan.saturation = Some(Saturation { odd: 0.3, even: 0.2, reference: Db(0.0) });
    plan.leveler = Some(standard_leveler());
    plan.clipper = Some(standard_clipper());
    plan.limiter = Some(standard(Dbtp(-1.0)));
    plan.goal = Goal::Keep;
    plan.edit.fade_in = Seconds(0.01);
    plan.edit.fade_out = Seconds(0.02);
    plan
}

/// The gain into the finish: enough for clipper and limiter to work.
const GAIN: Db = Db(7.0);

/// The reference's answer, worked out once per process.
static WANTED: LazyLock<Option<Master>> = LazyLock::new(|| {
    let plan = plan();
    let job = Job { audio: track(), plan: &plan, rates: &[], solved: Some(GAIN), early: None };
    chain::run(&Reference, job).ok().and_then(|masters| masters.into_iter().next())
});

fn distance(got: &Audio, want: &Audio) -> f64 {
    let (mut error, mut power) = (0f64, 0f64);
    for (got, want) in got.channels.iter().flatten().zip(want.channels.iter().flatten()) {
        error += (f64::from(*got) - f64::from(*want)).powi(2);
        power += f64::from(*want).powi(2);
    }
    if error == 0.0 { -300.0 } else { 10.0 * (error / power).log10() }
}

/// Runs it.
pub(super) fn run(lane: &mut Lane, adapter: &str) -> Result<SelfTest, GpuError> {
    let (audio, plan) = (track(), plan());
    let task = Task {
        kept: 0..audio.frames(),
        audio: &audio,
        plan: &plan,
        design: Some(ShapeDesign::new(&plan, RATE)),
        saturate: true,
        finish: true,
        keep: false,
        solved: Some(GAIN),
    };
    let made = run_group(lane, vec![task], &BackendInfo::default())?;
    let wrong =
        |what: &str, error: String| GpuError::Wrong { adapter: adapter.to_owned(), what: what.to_owned(), error };
    let got = made.into_iter().next().and_then(|made| made.master);
    let (Some(got), Some(want)) = (got, &*WANTED) else {
        return Err(wrong("the self-test's master", "being no number".to_owned()));
    };
    let peak = |master: &Master| master.trace.true_peak.map_or(-300.0, |peak| peak.0);
    let found = SelfTest { distance: distance(&got.audio, &want.audio), true_peak: (peak(&got) - peak(want)).abs() };
    // A value that is not a number must not pass either.
    if found.distance.is_nan() || found.distance > FAR {
        return Err(wrong("the self-test's master", format!("{:.1} dB (bar {FAR} dB)", found.distance)));
    }
    if found.true_peak.is_nan() || found.true_peak > 0.01 {
        return Err(wrong("the self-test's true peak", format!("{:.3} dB (bar 0.01 dB)", found.true_peak)));
    }
    Ok(found)
}
