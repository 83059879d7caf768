//! Nothing is delivered unmeasured: every file is decoded again and held against the plan by a meter the limiter never saw.
//!
//! A gate judges only what the plan changed. `finite`, `length` and `alignment` judge the encoder and always stand; an identity
//! plan has no others, so that the mix passes as it is, however loud.

mod samples;
mod spectrum;
mod step_back;

pub use step_back::{StepBack, settle};

use crate::Audio;
use crate::analyse::Analysis;
use crate::meter::{Loudness, true_peak};
use crate::plan::{Goal, Plan};
use crate::settings::Codec;
use crate::units::{Dbtp, Lufs};
use serde::{Deserialize, Serialize};

/// Highest true peak of a decoded lossy file. A lossy file above it is taken down at its overs and encoded again.
pub const LOSSY_CEILING: Dbtp = Dbtp(-0.1);

/// How far the integrated loudness of a lossless file may be from the plan's, LU.
const LOUDNESS: f64 = 0.1;
/// How much louder and how much quieter a lossy file may be: it may have been taken down at its overs, LU.
const LOUDNESS_LOSSY: (f64, f64) = (0.5, 1.5);
/// How far the true peak may be from a peak target, dB: the limiter aims 0.1 dB lower than its ceiling.
const PEAK: f64 = 0.2;

/// What a file should be.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// How it was encoded.
    pub codec: Codec,
    /// The samples it was encoded from, at its rate.
    pub master: &'a Audio,
    /// The mix.
    pub mix: &'a Analysis,
    /// What was decided.
    pub plan: &'a Plan,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// The gates it was held against.
    pub gates: Vec<Gate>,
    /// Its integrated loudness; `None` where nothing is above the gates of BS.1770.
    pub integrated: Option<Lufs>,
    /// Its true peak.
    pub true_peak: Dbtp,
}

impl Verified {
    /// The first gate that did not hold.
    #[must_use]
    pub fn failed(&self) -> Option<&Gate> {
        self.gates.iter().find(|gate| !gate.passed)
    }
}

/// One gate of the verify rule, passed or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// `finite`, `length`, `alignment`, `loudness`, `true_peak`, `clipped`, `tone`, `mono_low`, `mono`.
    pub name: String,
    /// Whether it held.
    pub passed: bool,
    /// What was measured.
    pub measured: f64,
    /// The bound it was held against.
    pub bound: f64,
    /// Both in words, with units.
    pub text: String,
}

impl Gate {
    fn new(name: &str, passed: bool, measured: f64, bound: f64, text: String) -> Self {
        Self { name: name.to_owned(), passed, measured, bound, text }
    }
}

/// Holds a file, decoded, against what it should be.
#[must_use]
pub fn verify(decoded: &Audio, expect: &Expect<'_>) -> Verified {
    let [left, right] = &decoded.channels;
    let loudness = Loudness::measure(&[left, right], &crate::meter::loudness::STEREO, decoded.rate);
    let true_peak = true_peak(&[left, right], decoded.rate).level();

    let mut gates = vec![finite(decoded), length(decoded, expect.master)];
    gates.push(if expect.codec.lossy() {
        samples::aligned(decoded, expect.master)
    } else {
        samples::exact(decoded, expect.master, expect.codec.bits())
    });
    if changes(expect.plan) {
        gates.extend(loudness_gate(loudness.integrated, true_peak, expect));
        gates.extend(true_peak_gate(true_peak, expect));
        gates.extend(clipped(decoded, expect));
        gates.extend(spectrum::gates(decoded, expect));
    }
    Verified { gates, integrated: loudness.integrated, true_peak }
}

/// Whether the plan touches the samples at all, cuts and fades aside.
fn changes(plan: &Plan) -> bool {
    let Plan { tone, dynamics, saturation, transients, clipper, leveler, masked, limiter, goal, .. } = plan;
    let still = saturation.is_none()
        && transients.is_none()
        && clipper.is_none()
        && leveler.is_none()
        && masked.is_none()
        && limiter.is_none();
    !(tone.is_off() && still && dynamics.is_empty() && *goal == Goal::Keep)
}

fn finite(decoded: &Audio) -> Gate {
    let strangers = samples::non_finite(decoded);
    Gate::new("finite", strangers == 0, strangers as f64, 0.0, format!("{strangers} samples are not numbers"))
}

fn length(decoded: &Audio, master: &Audio) -> Gate {
    let passed = decoded.frames() == master.frames() && decoded.rate == master.rate;
    Gate::new(
        "length",
        passed,
        decoded.frames() as f64,
        master.frames() as f64,
        if passed {
            format!("{} frames, as rendered", decoded.frames())
        } else {
            format!(
                "{} frames at {} Hz instead of {} at {} Hz",
                decoded.frames(),
                decoded.rate,
                master.frames(),
                master.rate
            )
        },
    )
}

fn loudness_gate(integrated: Option<Lufs>, true_peak: Dbtp, expect: &Expect<'_>) -> Option<Gate> {
    let lossy = expect.codec.lossy();
    let (measured, target, (louder, quieter), text) = match expect.plan.goal {
        Goal::Keep => return None,
        Goal::Loudness { target, .. } => {
            let bounds = if lossy { LOUDNESS_LOSSY } else { (LOUDNESS, LOUDNESS) };
            let aim = if lossy {
                format!("target {target:.2} +{}/−{} LU", bounds.0, bounds.1)
            } else {
                format!("target {target:.2} ±{LOUDNESS} LU")
            };
            let text = integrated.map_or_else(
                || format!("nothing above the gates of BS.1770, {aim}"),
                |lufs| format!("{lufs:.2}, {aim}"),
            );
            (integrated.map_or(-70.0, |lufs| lufs.0), target.0, bounds, text)
        }
        // A lossy file may lie anywhere under its ceiling.
        Goal::Peak { .. } if lossy => return None,
        Goal::Peak { target } => (
            true_peak.0.max(-200.0),
            target.0,
            (PEAK, PEAK),
            format!("peak {true_peak:.2}, target {target:.2} ±{PEAK} dB"),
        ),
    };
    Some(Gate::new("loudness", (-quieter..=louder).contains(&(measured - target)), measured, target, text))
}

fn true_peak_gate(true_peak: Dbtp, expect: &Expect<'_>) -> Option<Gate> {
    let limiter = expect.plan.limiter?;
    let bound = if expect.codec.lossy() { LOSSY_CEILING } else { limiter.ceiling };
    let text = format!("{true_peak:.2}, ceiling {bound:.2}");
    Some(Gate::new("true_peak", true_peak <= bound, true_peak.0.max(-200.0), bound.0, text))
}

fn clipped(decoded: &Audio, expect: &Expect<'_>) -> Option<Gate> {
    // A ceiling within the last 0.01 dB lets even a rounded top hold its highest word for three samples.
    if expect.plan.limiter.is_none_or(|limiter| limiter.ceiling.0 > -0.01) {
        return None;
    }
    let (before, after) = (expect.mix.clipping.clipped_runs, samples::clipped_runs(decoded));
    let text = format!("{after} clipped runs, {before} in the mix");
    Some(Gate::new("clipped", after <= before, after as f64, before as f64, text))
}

/// A written file broke a gate.
#[derive(Debug, thiserror::Error)]
#[error("{file} failed the {} gate ({}) with nothing left but level and limiter, which is a fault of ours; please report this file", gate.name, gate.text)]
pub struct GateFailure {
    /// Which file.
    pub file: String,
    /// Which gate.
    pub gate: Gate,
}

impl GateFailure {
    /// `encode.gate_what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.gate.name.as_str() {
            "finite" => "encode.gate_finite",
            "length" => "encode.gate_length",
            "alignment" => "encode.gate_alignment",
            "loudness" => "encode.gate_loudness",
            "true_peak" => "encode.gate_true_peak",
            "clipped" => "encode.gate_clipped",
            "tone" => "encode.gate_tone",
            _ => "encode.gate_mono",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Limiter;
    use crate::units::Seconds;

    /// 5 s of 997 Hz on both channels: a full-scale one reads 0 LUFS and 0 dBTP.
    fn tone(level: f64) -> Audio {
        let amplitude = 10f64.powf(level / 20.0);
        let sample = |i: u32| (amplitude * (std::f64::consts::TAU * 997.0 / 48_000.0 * f64::from(i)).sin()) as f32;
        let samples: Vec<f32> = (0..240_000).map(sample).collect();
        Audio::new(48_000, [samples.clone(), samples])
    }

    fn plan(target: f64, ceiling: f64) -> Plan {
        let limiter = Limiter {
            ceiling: Dbtp(ceiling),
            lookahead: Seconds(0.002),
            release_min: Seconds(0.03),
            release_max: Seconds(0.3),
        };
        let goal = Goal::Loudness { target: Lufs(target), wished: None };
        Plan { limiter: Some(limiter), goal, ..Plan::identity() }
    }

    fn failed(decoded: &Audio, master: &Audio, codec: Codec, plan: &Plan) -> Vec<String> {
        let mix = Analysis::default();
        let verified = verify(decoded, &Expect { codec, master, mix: &mix, plan });
        verified.gates.into_iter().filter(|gate| !gate.passed).map(|gate| gate.name).collect()
    }

    #[test]
    fn each_gate_fails_alone() {
        let good = tone(-6.0);
        let none: [&str; 0] = [];
        assert_eq!(failed(&good, &good, Codec::Wav24, &plan(-6.0, -1.0)), none);
        assert_eq!(failed(&good, &good, Codec::Wav24, &plan(-6.2, -1.0)), ["loudness"]);
        assert_eq!(failed(&good, &good, Codec::Wav24, &plan(-6.0, -6.1)), ["true_peak"]);
        assert_eq!(failed(&good, &good, Codec::Mp3V0, &plan(-6.4, -6.1)), none);
        assert_eq!(failed(&good, &good, Codec::Mp3V0, &plan(-4.6, -6.1)), none);
        assert_eq!(failed(&good, &good, Codec::Mp3V0, &plan(-6.6, -6.1)), ["loudness"]);
        assert_eq!(failed(&good, &good, Codec::Mp3V0, &plan(-4.4, -6.1)), ["loudness"]);
        let hot = tone(-0.05);
        assert_eq!(failed(&hot, &hot, Codec::Mp3V0, &plan(0.0, -1.0)), ["true_peak"]);

        let mut clipped = good.clone();
        clipped.channels[0][100..104].fill(1.0);
        assert_eq!(failed(&clipped, &clipped, Codec::Wav32f, &plan(-6.0, -0.02)), ["true_peak", "clipped"]);
        let mut short = good.clone();
        short.channels.iter_mut().for_each(|channel| channel.truncate(239_999));
        assert_eq!(failed(&short, &good, Codec::Wav16, &plan(-6.0, -1.0)), ["length"]);
        let mut late = good.clone();
        late.channels.iter_mut().for_each(|channel| channel.rotate_right(7));
        assert_eq!(failed(&late, &good, Codec::Wav16, &plan(-6.0, -1.0)), ["alignment"]);
        let mut broken = good.clone();
        broken.channels[1][1000] = f32::NAN;
        assert!(failed(&broken, &good, Codec::Wav32f, &plan(-6.0, -1.0)).contains(&"finite".to_owned()));
    }

    #[test]
    fn an_identity_plan_lets_any_mix_pass() {
        for audio in [tone(6.0), Audio::silence(44_100, 10), Audio::silence(44_100, 0)] {
            assert!(failed(&audio, &audio, Codec::Wav32f, &Plan::identity()).is_empty());
        }
    }

    #[test]
    fn short_material_is_held_to_its_peak() {
        let goal = |target: f64| Plan { goal: Goal::Peak { target: Dbtp(target) }, ..plan(0.0, -1.0) };
        let mut click = Audio::silence(44_100, 4_000);
        click.channels.iter_mut().for_each(|channel| channel[2_000] = 0.88);
        // −1.11 dBTP: a single sample is its own true peak.
        assert!(failed(&click, &click, Codec::Wav24, &goal(-1.0)).is_empty());
        assert_eq!(failed(&click, &click, Codec::Wav24, &goal(-1.4)), ["loudness"]);
        assert!(failed(&click, &click, Codec::Mp3V0, &goal(-1.4)).is_empty());
    }
}
