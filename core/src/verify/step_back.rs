//! What a plan takes back when a file made from it breaks a gate: whoever sends music gets a master.
//!
//! A loudness that the solver's corrections did not meet is delivered as it is, and said ([`settle`]). Any other gate sends the plan
//! back: the aspect that broke it is halved, then left out; at last only level and limiter remain. Each step is a reason of the new
//! plan. The bounds stay those of the first plan: what was promised holds.

use super::{Gate, LOUDNESS};
use crate::analyse::Analysis;
use crate::control::Trace;
use crate::plan::{Goal, Plan, Reason, reason};
use crate::settings::Aspect;
use crate::units::{Db, Dbtp, Hz, Lufs};

/// Room under the ceiling that the plain level leaves for what meters read differently, dB.
const ROOM: f64 = 0.2;
/// Most that a master may be louder than its number and still be delivered with a word, LU.
const LOUDER: f64 = 3.0;
/// How much narrower the bass becomes at least with each step for mono, and the whole picture, dB.
const NARROWER: (f64, f64) = (3.0, 1.5);
/// Upper edge of what counts as bass in mono, Hz.
const BASS: f64 = 120.0;

/// The plan of a render that landed beside its loudness, with the loudness it `reached` and the reason; `None` where it landed well.
///
/// No other gain would do: the render has solved it, measured, and corrected it twice.
#[must_use]
pub fn settle(plan: &Plan, reached: Option<Lufs>) -> Option<Plan> {
    let (Goal::Loudness { target, wished }, Some(reached)) = (plan.goal, reached) else { return None };
    let over = (reached - target).0;
    if over.abs() <= 0.9 * LOUDNESS || over > LOUDER {
        return None;
    }
    let landed = Lufs((reached.0 * 100.0).round() / 100.0);
    let (wished, text) = if over > 0.0 {
        let text = format!(
            "The loudness is {landed:.1}, not {target:.1}: so little of this music counts for the meter that no level meets the number."
        );
        (wished, text)
    } else {
        let ceiling = plan.limiter.map_or(Dbtp(0.0), |limiter| limiter.ceiling);
        let text = format!(
            "The loudness is {landed:.1}, not {target:.1}: with its peaks under {ceiling:.1} this mix gets no louder, whatever the gain."
        );
        (wished.or(Some(target)), text)
    };
    let mut plan = plan.clone();
    plan.goal = Goal::Loudness { target: landed, wished };
    plan.reasons.push(Reason {
        before: Some(target.0),
        after: Some(landed.0),
        unit: Some("LUFS".to_owned()),
        ..reason(Aspect::Loudness, text)
    });
    Some(plan)
}

/// The steps that one track has taken back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepBack {
    taken: Vec<(Step, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Half(Aspect),
    Without(Aspect),
    /// Side down, in the bass or everywhere; a second time further.
    Narrow {
        bass: bool,
        again: bool,
    },
    /// Half of what is above the level that needs no limiting.
    Quieter,
    /// Level and limiter only.
    Level,
}

impl StepBack {
    /// The steps in the order in which they were taken, each with what the gate had said.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        let name = |step: &Step| match step {
            Step::Half(aspect) => format!("half the {}", aspect.name()),
            Step::Without(aspect) => format!("without {}", aspect.name()),
            Step::Narrow { .. } => "narrower".to_owned(),
            Step::Quieter => "half the limiting".to_owned(),
            Step::Level => "level only".to_owned(),
        };
        self.taken.iter().map(|(step, gate)| format!("{}: {gate}", name(step))).collect()
    }

    /// The plan to render after a file of `plan` failed `gate`; `trace` is that of its render. `None`: nothing is left to take back,
    /// which is a fault of ours.
    pub fn next(&mut self, plan: &Plan, mix: &Analysis, trace: &Trace, gate: &Gate) -> Option<Plan> {
        let candidates = match gate.name.as_str() {
            "tone" => [heaviest(plan, trace), Aspect::Tone, Aspect::Dynamics, Aspect::Loudness]
                .into_iter()
                .flat_map(|aspect| match aspect {
                    Aspect::Loudness => [Step::Quieter; 2],
                    aspect => [Step::Half(aspect), Step::Without(aspect)],
                })
                .collect(),
            "mono" | "mono_low" => {
                let bass = gate.name == "mono_low";
                // The bass is never made wider.
                let wider = [Step::Half(Aspect::Width), Step::Without(Aspect::Width)].into_iter().filter(|_| !bass);
                let narrower = [false, true].map(|again| Step::Narrow { bass, again });
                let rest = [Step::Without(Aspect::Dynamics), Step::Without(Aspect::Tone), Step::Quieter];
                wider.chain(narrower).chain(rest).collect()
            }
            "loudness" | "true_peak" | "clipped" => vec![Step::Quieter],
            _ => Vec::new(),
        };
        let tried = |step: Step| self.taken.iter().any(|(taken, _)| *taken == step || *taken == Step::Level);
        let (step, plan) = (candidates.into_iter().chain([Step::Level]))
            .filter(|step| !tried(*step))
            .find_map(|step| Some((step, take(step, plan, mix, gate)?)))?;
        self.taken.push((step, gate.text.clone()));
        Some(plan)
    }
}

/// The aspect that moves the third octaves most: of the tone its largest gain, of dynamics and limiter what they take.
fn heaviest(plan: &Plan, trace: &Trace) -> Aspect {
    let curves = plan.tone.mid.iter().chain(&plan.tone.side).chain(&plan.tone.width);
    let tone = curves.map(|(_, gain)| gain.0.abs()).fold(0.0, f64::max);
    let dynamics = trace.bands.iter().map(|band| band.0.abs()).fold(0.0, f64::max);
    let limiting = 0.5 * trace.reduction_p95.0;
    if limiting > tone.max(dynamics) {
        Aspect::Loudness
    } else if dynamics > tone {
        Aspect::Dynamics
    } else {
        Aspect::Tone
    }
}

/// The plan with a step taken; `None` where the plan has nothing of it.
fn take(step: Step, plan: &Plan, mix: &Analysis, gate: &Gate) -> Option<Plan> {
    let mut next = plan.clone();
    let what = &gate.text;
    let (aspect, text) = match step {
        Step::Half(aspect) => {
            scale(&mut next, aspect, 0.5).then_some(())?;
            next.reasons.retain(|given| given.aspect != aspect);
            (aspect, format!("The full {} went further than planned ({what}), so half of it is used.", named(aspect)))
        }
        Step::Without(aspect) => {
            scale(&mut next, aspect, 0.0).then_some(())?;
            next.reasons.retain(|given| given.aspect != aspect);
            (aspect, format!("The {} went further than planned ({what}), so it is left out.", named(aspect)))
        }
        Step::Narrow { bass, .. } => {
            let by = narrower(bass, gate);
            narrow(&mut next.tone.width, bass, by);
            let whose = if bass { "bass" } else { "master" };
            let text = format!("In mono the {whose} lost more than planned ({what}), so it is {} narrower.", Db(by));
            (Aspect::Width, text)
        }
        Step::Quieter => {
            let Goal::Loudness { target, wished } = plan.goal else { return None };
            let own = plain_loudness(plan, mix)?;
            if target.0 <= own.0 + 0.2 {
                return None;
            }
            let middle = Lufs((10.0 * f64::midpoint(target.0, own.0)).floor() / 10.0);
            next.goal = Goal::Loudness { target: middle, wished: wished.or(Some(target)) };
            next.reasons.retain(|given| given.aspect != Aspect::Loudness);
            (Aspect::Loudness, format!("At {target} a file failed its check ({what}), so we stop at {middle}."))
        }
        Step::Level => {
            let goal = match (plan.goal, plain_loudness(plan, mix)) {
                (Goal::Loudness { target, wished }, Some(own)) if target > own => {
                    Goal::Loudness { target: own, wished: wished.or(Some(target)) }
                }
                (Goal::Keep, Some(own)) if mix.loudness.integrated.is_some_and(|loudness| own < loudness) => {
                    Goal::Loudness { target: own, wished: None }
                }
                (Goal::Peak { target }, _) => Goal::Peak { target: Dbtp(target.0 - ROOM / 2.0) },
                (goal, _) => goal,
            };
            let (style, limiter, edit) = (plan.style, plan.limiter, plan.edit);
            next = Plan { style, limiter, goal, edit, mend: plan.mend, ..Plan::identity() };
            let text = format!(
                "A check failed with everything else ({what}), so this master is only brought to level; the limiter guards its peaks."
            );
            (Aspect::Loudness, text)
        }
    };
    next.reasons.push(reason(aspect, text));
    Some(next)
}

/// How much narrower a loss in mono of `gate.measured` has to become to hold the gate, dB, and no less than a step.
fn narrower(bass: bool, gate: &Gate) -> f64 {
    let ratio = |loss: f64| (Db(loss).power() - 1.0).max(1e-3);
    let needed = Db::from_power(ratio(gate.measured) / ratio(gate.bound - 0.1)).0;
    let least = if bass { NARROWER.0 } else { NARROWER.1 };
    if needed.is_finite() { needed.clamp(least, 12.0) } else { least }
}

/// Takes side down below [`BASS`], or everywhere.
fn narrow(width: &mut Vec<(Hz, Db)>, bass: bool, by: f64) {
    if width.is_empty() {
        width.extend([20.0, 85.0, 170.0, 20_000.0].map(|hz| (Hz(hz), Db(0.0))));
    }
    for (hz, gain) in width.iter_mut().filter(|(hz, _)| !bass || hz.0 < BASS) {
        // The bass is what mono takes most from.
        gain.0 = (gain.0 - if bass || hz.0 >= BASS { by } else { by.max(NARROWER.0) }).max(-24.0);
    }
}

/// The loudness at which the peaks of the untouched mix just stay under the ceiling.
fn plain_loudness(plan: &Plan, mix: &Analysis) -> Option<Lufs> {
    let loudness = mix.loudness.integrated?;
    let ceiling = plan.limiter.map_or(-1.0, |limiter| limiter.ceiling.0);
    let own = loudness.0 + ceiling - ROOM - mix.peaks.true_peak.0;
    own.is_finite().then_some(Lufs((own * 100.0).floor() / 100.0))
}

fn named(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::Tone => "equalisation",
        Aspect::Dynamics => "compression",
        Aspect::Width => "change of width",
        Aspect::Loudness => "limiting",
    }
}

/// Scales an aspect of a plan by `share` < 1; `false` where there is nothing to scale.
fn scale(plan: &mut Plan, aspect: Aspect, share: f64) -> bool {
    let curve = |curve: &mut Vec<(Hz, Db)>| {
        let any = !curve.is_empty();
        for (_, gain) in curve.iter_mut() {
            gain.0 *= share;
        }
        if share == 0.0 {
            curve.clear();
        }
        any
    };
    match aspect {
        Aspect::Tone => {
            let (mid, side) = (curve(&mut plan.tone.mid), curve(&mut plan.tone.side));
            mid || side
        }
        // What was made narrower is no danger to mono.
        Aspect::Width => {
            let wider = plan.tone.width.iter_mut().filter(|(_, gain)| gain.0 > 0.0);
            wider.map(|(_, gain)| gain.0 *= share).count() > 0
        }
        Aspect::Dynamics => {
            let any = !plan.dynamics.is_empty() || plan.saturation.is_some() || plan.transients.is_some();
            if share == 0.0 {
                plan.dynamics.clear();
                plan.saturation = None;
                plan.transients = None;
            }
            if let Some(transients) = &mut plan.transients {
                transients.depth.0 *= share;
            }
            for band in &mut plan.dynamics {
                band.ratio = 1.0 / (1.0 - share * (1.0 - 1.0 / band.ratio));
                band.makeup.0 *= share;
                band.max_reduction.0 *= share;
            }
            if let Some(saturation) = &mut plan.saturation {
                saturation.odd *= share;
                saturation.even *= share;
            }
            any
        }
        Aspect::Loudness => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{BandDynamics, Limiter, Saturation, Tone, Transients};
    use crate::units::{Hz, Seconds};

    fn plan() -> Plan {
        let band = BandDynamics {
            threshold: Db(-20.0),
            ratio: 2.0,
            knee: Db(6.0),
            attack: Seconds(0.01),
            release: Seconds(0.1),
            makeup: Db(1.0),
            max_reduction: Db(4.0),
        };
        let curve = |gain: f64| vec![(Hz(100.0), Db(gain)), (Hz(1_000.0), Db(-gain))];
        Plan {
            tone: Tone { mid: curve(4.0), side: curve(3.0), width: curve(1.0), bound: Db(6.0), ..Tone::default() },
            dynamics: vec![band; 4],
            saturation: Some(Saturation { odd: 0.2, even: 0.1, reference: Db(0.0) }),
            transients: Some(Transients { depth: Db(3.0) }),
            limiter: Some(Limiter {
                ceiling: Dbtp(-1.0),
                lookahead: Seconds(0.002),
                release_min: Seconds(0.03),
                release_max: Seconds(0.3),
            }),
            goal: Goal::Loudness { target: Lufs(-10.0), wished: None },
            ..Plan::identity()
        }
    }

    fn mix() -> Analysis {
        let mut mix = Analysis::default();
        mix.loudness.integrated = Some(Lufs(-18.0));
        mix.peaks.true_peak = Dbtp(-3.0);
        mix
    }

    /// Every plan on the way down from a gate that never holds.
    fn descent(name: &str) -> Vec<(Step, Plan)> {
        let gate = Gate::new(name, false, 7.0, 6.0, "7 against 6".to_owned());
        let (mix, trace) = (mix(), Trace { gain: Db(8.0), ..Trace::default() });
        let (mut back, mut plan, mut plans) = (StepBack::default(), plan(), Vec::new());
        while let Some(next) = back.next(&plan, &mix, &trace, &gate) {
            plan = next;
            plans.push((back.taken.last().unwrap().0, plan.clone()));
            assert!(plans.len() < 20, "it has no end");
        }
        plans
    }

    fn steps(descent: &[(Step, Plan)]) -> Vec<Step> {
        descent.iter().map(|(step, _)| *step).collect()
    }

    #[test]
    fn a_loudness_that_no_gain_meets_is_told_as_it_is() {
        let reached = |lufs: f64| settle(&plan(), Some(Lufs(lufs)));
        assert_eq!(reached(-10.08), None);
        assert_eq!(reached(-6.5), None, "far too loud is a fault, and its gate says so");
        let (target, wished) = (Lufs(-9.85), None);
        assert_eq!(reached(-9.85).unwrap().goal, Goal::Loudness { target, wished });
        let short = reached(-12.0).unwrap();
        assert_eq!(short.goal, Goal::Loudness { target: Lufs(-12.0), wished: Some(Lufs(-10.0)) });
        assert!(short.reasons.last().unwrap().text.contains("gets no louder"));
    }

    #[test]
    fn the_aspect_that_broke_a_gate_is_halved_then_left_out_and_the_bounds_stay() {
        use Aspect::{Dynamics, Tone as Eq, Width};
        let tone = descent("tone");
        assert_eq!(
            steps(&tone),
            [
                Step::Half(Eq),
                Step::Without(Eq),
                Step::Half(Dynamics),
                Step::Without(Dynamics),
                Step::Quieter,
                Step::Level
            ]
        );
        assert_eq!(tone[0].1.tone.mid, vec![(Hz(100.0), Db(2.0)), (Hz(1_000.0), Db(-2.0))]);
        assert_eq!(tone[0].1.tone.bound, Db(6.0));
        assert!(tone[1].1.tone.mid.is_empty() && !tone[1].1.tone.width.is_empty());
        let band = tone[2].1.dynamics[0];
        assert!((band.ratio - 4.0 / 3.0).abs() < 1e-12 && band.max_reduction == Db(2.0));

        let mono = descent("mono");
        let narrow = |bass: bool, again: bool| Step::Narrow { bass, again };
        let rest = [Step::Without(Dynamics), Step::Without(Eq), Step::Quieter, Step::Level];
        let wide = [Step::Half(Width), Step::Without(Width), narrow(false, false), narrow(false, true)];
        assert_eq!(steps(&mono), [&wide[..], &rest[..]].concat());
        assert_eq!(mono[0].1.tone.width, vec![(Hz(100.0), Db(0.5)), (Hz(1_000.0), Db(-1.0))]);
        let low = descent("mono_low");
        assert_eq!(steps(&low), [&[narrow(true, false), narrow(true, true)][..], &rest[..]].concat());
        assert_eq!(low[1].1.tone.width, vec![(Hz(100.0), Db(-5.0)), (Hz(1_000.0), Db(-1.0))]);
        assert!(tone.iter().chain(&mono).all(|(_, plan)| !plan.reasons.is_empty()));
    }

    #[test]
    fn at_last_only_level_and_limiter_remain() {
        for name in ["tone", "mono", "loudness", "true_peak", "clipped", "length"] {
            let descent = descent(name);
            let (step, last) = descent.last().unwrap();
            assert_eq!(*step, Step::Level);
            assert!(last.tone.is_off() && last.dynamics.is_empty());
            assert!(last.saturation.is_none() && last.transients.is_none());
            // The mix peaks at −3 dBTP: 1.8 dB more, and 0.2 dB stay under the ceiling.
            assert_eq!(last.goal, Goal::Loudness { target: Lufs(-16.2), wished: Some(Lufs(-10.0)) }, "{name}");
            assert!(last.limiter.is_some());
        }
    }
}
