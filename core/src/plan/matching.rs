//! Towards a record: the equalisation and the width that bring the long-term spectra of mid and side to those of a target.
//!
//! Up to an amount of 50 the caution is that of a style: broad curves of gentle slopes within a few dB. From there on the limits widen,
//! and at 100 the curve goes where the record is: no limit to its slope but the smoothing, up to 24 dB.
//!
//! What a curve does is not what the master gets: dynamics and limiter follow it, and a band is wider than a point. So the finished
//! master is measured against the goal, and the curve corrected by what is missing ([`Closing`]).

use super::curve::{average, between, centre, gain_at, interpolate, power, smooth};
use super::reference::{Target, part};
use super::shape::Shape;
use super::style::REGIONS;
use super::tone::{self, Answer, Equalisation, gentle_slopes, k_weight};
use super::width::{self, Width};
use super::{Plan, Reason, reason};
use crate::analyse::{Analysis, Spectrum};
use crate::bands::{BAND_EDGES, BANDS};
use crate::settings::{Aspect, Settings};
use crate::units::{Db, Hz};

/// A mix counts down to this far below its loudest point, dB.
const OWN_RANGE: f64 = 60.0;
/// Steepest curve while limits are not widened, dB per octave.
const SLOPE: f64 = 6.0;
/// Bounds per whole amount while limits are not widened, and at amount 100, up to and above 8 kHz, dB.
const BOUND: (f64, f64) = (10.0, 6.0);
const BOUND_FREE: (f64, f64) = (24.0, 18.0);
/// Bound for a mix that was limited already while limits are not widened, dB.
const BOUND_LIMITED: f64 = 1.5;
/// Largest difference between the curves of mid and side, dB: more leaks hard-panned sources to the other channel.
const SIDE: (f64, f64) = (2.0, 10.0);
/// Differences that are none of tone and of width while limits are not widened, dB.
const SAME_TONE: f64 = 0.5;
const SAME_WIDTH: f64 = 1.0;
/// A mix whose mid lies this close to the record already has its tone, dB: rms, and at any point.
const ALIKE: (f64, f64) = (0.7, 2.5);
/// A region this far under the record is absent rather than quiet, and stays so, dB.
const ABSENT: f64 = 30.0;
/// Largest change of width per whole amount, and at amount 100, dB.
const WIDTH: (f64, f64) = (4.0, 12.0);
/// Where a limit begins to hold, as a share of it at amount 100: of the tone at 12 and 9 dB, of the width at 8.
const KNEE: f64 = 0.5;
const KNEE_WIDTH: f64 = 2.0 / 3.0;
/// Octaves over which width is averaged: what is narrower belongs to the tone of the side.
const BROAD: f64 = 1.0;
/// Below this the side has no tone of its own, Hz.
const BASS: f64 = 120.0;
/// Mono losses that a plan may cause, dB: below 120 Hz and overall. The gates stand at 1 and 3.
const MONO_LOSS: (f64, f64) = (0.8, 2.5);
/// Loss below 120 Hz up to which a record is followed, dB: half of the bass is gone then.
const MONO_LOSS_FOLLOWED: f64 = 3.0;
/// What the gate leaves for what limiter and dynamics do, dB.
const MONO_ROOM: f64 = 0.3;
/// When more than this is asked of a region, the record may not suit the song, dB.
const UNLIKE: f64 = 10.0;
/// Octaves over which the finished curve is rounded.
const ROUNDING: f64 = 1.0 / 6.0;
/// Most rounds of correction, and the largest correction of one, dB.
const ROUNDS: u32 = 2;
const STEP: f64 = 6.0;
/// With more than this share of the mix cut away, what is left is no measure of what was done.
const CUT: f64 = 0.1;
/// An rms difference from the goal that needs no correction, dB.
const CLOSE: f64 = 0.15;

/// How far the limits are widened, 0–1.
fn freedom(amount: f64) -> f64 {
    (2.0 * amount - 1.0).clamp(0.0, 1.0)
}

/// A value that goes up to `bound` and no further: exact up to the knee, a share of the bound; 0 while limits are not widened.
fn limit(value: f64, bound: f64, knee: f64) -> f64 {
    if bound <= 0.0 {
        return 0.0;
    }
    let knee = knee * bound;
    let over = value.abs() - knee;
    if over <= 0.0 { value } else { value.signum() * (knee + (bound - knee) * (over / (bound - knee)).tanh()) }
}

/// What lies beyond ±`dead`.
fn beyond(value: f64, dead: f64) -> f64 {
    value.signum() * (value.abs() - dead).max(0.0)
}

/// Points that do not count take the value between their neighbours that do; beyond the last one it fades over an octave.
fn filled(hz: &[f64], values: &[f64], counts: &[bool]) -> Vec<f64> {
    let known: Vec<(f64, f64)> = (0..hz.len()).filter(|i| counts[*i]).map(|i| (hz[i], values[i])).collect();
    let (Some(first), Some(last)) = (known.first(), known.last()) else { return vec![0.0; hz.len()] };
    hz.iter()
        .map(|&f| {
            let outside = (first.0 / f).log2().max((f / last.0).log2()).max(0.0);
            interpolate(&known, f) * (1.0 - outside).max(0.0)
        })
        .collect()
}

/// A mix beside a target, both smoothed over what both of them say.
struct Comparison {
    own: Shape,
    /// Smoothed levels of the mix, dB.
    mid: Vec<f64>,
    side: Vec<f64>,
    /// Points that are compared: in the tone, and in the width.
    counts: Vec<bool>,
    sided: Vec<bool>,
    /// The mix over the target in mid, levels aligned, dB.
    over: Vec<f64>,
    /// How much wider the mix is, dB, and the part of it that is broad.
    wider: Vec<f64>,
    broad: Vec<f64>,
}

impl Comparison {
    fn new(analysis: &Analysis, theirs: &Shape, free: f64) -> Self {
        let own = Shape::new(analysis, OWN_RANGE);
        let theirs = theirs.on(&own.hz);
        let both = |a: &[bool], b: &[bool]| -> Vec<bool> { a.iter().zip(b).map(|(a, b)| *a && *b).collect() };
        let counts = both(&own.counts, &theirs.counts);
        let sided = both(&own.sided, &theirs.sided);
        let smooth = |levels: &[f64], counts: &[bool]| smooth(&own.hz, levels, counts, free);
        let (mid, side) = (smooth(&own.mid, &counts), smooth(&own.side, &counts));
        let (their_mid, their_side) = (smooth(&theirs.mid, &counts), smooth(&theirs.side, &counts));
        let difference: Vec<f64> =
            (0..mid.len()).map(|i| if counts[i] { mid[i] - their_mid[i] } else { 0.0 }).collect();
        let level = centre(&(0..mid.len()).filter(|i| counts[*i]).map(|i| difference[i]).collect::<Vec<_>>());
        let over = (0..mid.len()).map(|i| if counts[i] { difference[i] - level } else { 0.0 }).collect();
        // What lies 40 dB under the mid is nowhere heard, however far.
        let ratio = |side: f64, mid: f64| (side - mid).max(-40.0);
        let wider: Vec<f64> = (0..mid.len())
            .map(|i| if sided[i] { ratio(side[i], mid[i]) - ratio(their_side[i], their_mid[i]) } else { 0.0 })
            .collect();
        let share = average(&own.hz, &sided.iter().map(|s| f64::from(u8::from(*s))).collect::<Vec<_>>(), |_| BROAD);
        let broad = average(&own.hz, &wider, |_| BROAD).iter().zip(&share).map(|(w, s)| w / s.max(1e-6)).collect();
        Self { own, mid, side, counts, sided, over, wider, broad }
    }
}

/// Decides the equalisation; `amount` 0–1.
pub(super) fn tone(analysis: &Analysis, theirs: &Shape, amount: f64) -> Equalisation {
    let free = freedom(amount);
    let levels = tone::Levels::new(&analysis.spectrum);
    let with = Comparison::new(analysis, theirs, free);
    if amount <= 0.0 || levels.hz.is_empty() || with.own.hz.len() != levels.hz.len() {
        return Equalisation::default();
    }
    let hz = &with.own.hz;
    let limited = analysis.clipping.already_limited.is_some();
    let bounds: Vec<f64> = hz
        .iter()
        .map(|&hz| {
            let pick = |(low, high): (f64, f64)| if hz > 8_000.0 { high } else { low };
            let bound = between(amount * pick(BOUND), pick(BOUND_FREE), free * free);
            if limited { between(bound.min(BOUND_LIMITED), bound, free) } else { bound }
        })
        .collect();
    let boost = tone::boostable(analysis, &levels);
    let compared: Vec<f64> = (0..hz.len()).filter(|i| with.counts[*i]).map(|i| with.over[i]).collect();
    let rms = (compared.iter().map(|v| v * v).sum::<f64>() / compared.len().max(1) as f64).sqrt();
    let alike = rms < ALIKE.0 && compared.iter().all(|over| over.abs() < ALIKE.1);
    let over = if alike { vec![0.0; hz.len()] } else { with.over.clone() };
    let wanted: Vec<f64> = over
        .iter()
        .enumerate()
        .map(|(i, &over)| {
            let allowed = if over < 0.0 { boost[i] * ((ABSENT + over) / 8.0).clamp(0.0, 1.0) } else { 1.0 };
            -limit(amount * beyond(over, SAME_TONE * (1.0 - free)) * allowed, bounds[i], KNEE * free)
        })
        .collect();
    let shaped = |wanted: &[f64]| {
        let whole = filled(hz, wanted, &with.counts);
        let gentle = if free < 1.0 { gentle_slopes(hz, &whole, SLOPE / (1.0 - free)) } else { whole };
        average(hz, &gentle, |_| ROUNDING)
    };
    let mid = shaped(&wanted);
    let most = between(SIDE.0, SIDE.1, free);
    let side: Vec<f64> = (0..hz.len())
        .map(|i| {
            let own = if with.sided[i] { with.wider[i] - with.broad[i] } else { 0.0 };
            wanted[i] - limit(amount * beyond(own, SAME_TONE * (1.0 - free)), most, KNEE * free) * above_bass(hz[i])
        })
        .collect();
    let side = shaped(&side);
    let side: Vec<f64> = side.iter().zip(&mid).map(|(s, m)| s.clamp(m - most, m + most)).collect();
    let answer = Answer { outside: with.over.clone(), curve: mid };
    let say = |applied: &[f64]| {
        let mut reasons = tone::explain(hz, &answer, applied, "on the reference");
        reasons.extend(unlike(hz, &with));
        reasons
    };
    let bound = bounds.iter().copied().fold(0.0, f64::max);
    tone::finish(analysis, &levels, [&answer.curve, &side], bound, |_| (-bound, bound), say)
}

/// 0 in the bass, 1 from an octave above it.
fn above_bass(hz: f64) -> f64 {
    (hz / BASS).log2().clamp(0.0, 1.0)
}

/// A word where a region is further from the record than two records of a kind are from each other.
fn unlike(hz: &[f64], with: &Comparison) -> Option<Reason> {
    let mut low = 0.0;
    let mut most: Option<(&str, bool, f64)> = None;
    for region in &REGIONS {
        let inside: Vec<f64> = (0..hz.len())
            .filter(|i| (low..region.high).contains(&hz[*i]) && with.counts[*i])
            .map(|i| with.over[i])
            .collect();
        low = region.high;
        let mean = inside.iter().sum::<f64>() / inside.len().max(1) as f64;
        if mean.abs() > most.map_or(UNLIKE, |(.., known)| known.abs()) {
            most = Some((region.name, region.plural, mean));
        }
    }
    let (name, plural, mean) = most?;
    let text = format!(
        "In {name} the reference lies {} {} your mix: that is further than one song usually is from another, and the record may not \
         suit this one.",
        Db(mean.abs()),
        if mean > 0.0 { "under" } else { "over" },
    );
    let text = if plural { text.replace("that is further", "they are further") } else { text };
    Some(Reason { before: Some(round(mean)), unit: Some("dB".to_owned()), ..reason(Aspect::Tone, text) })
}

/// Decides the width; `amount` and `strength` 0–1.
pub(super) fn width(analysis: &Analysis, theirs: &Shape, amount: f64, strength: f64) -> Width {
    let one_sided = analysis.stereo.balance.0.abs() > width::ONE_SIDED;
    if strength <= 0.0 || analysis.stereo.mono || one_sided || analysis.bands.len() != BANDS {
        return Width::default();
    }
    let free = freedom(amount);
    let with = Comparison::new(analysis, theirs, free);
    let hz = &with.own.hz;
    let bound = between(WIDTH.0 * amount, WIDTH.1, free);
    let torn = width::torn_low_end(analysis, strength);
    let band = |hz: f64| BAND_EDGES.iter().position(|edge| hz < *edge).unwrap_or(BANDS - 1);
    let gains: Vec<f64> = (0..hz.len())
        .map(|i| {
            let wanted = -limit(amount * beyond(with.broad[i], SAME_WIDTH * (1.0 - free)), bound, KNEE_WIDTH * free);
            // A side that is inverted or nearly empty is not widened.
            let open = with.sided[i]
                && with.side[i] - with.mid[i] > width::NO_SIDE
                && analysis.stereo.correlation > 0.0
                && analysis.bands[band(hz[i])].correlation > 0.0;
            let wanted = if open { wanted } else { wanted.min(0.0) };
            // With caution the low end is only mended; towards the whole amount it follows the record.
            between(between(torn, wanted, free), wanted, above_bass(hz[i]))
        })
        .collect();
    // With no word from the record, the side stays.
    let known: Vec<bool> = (0..hz.len()).map(|i| with.sided[i] || (hz[i] < BASS && torn < 0.0)).collect();
    let gains: Vec<f64> = filled(hz, &gains, &known).into_iter().map(round).collect();
    if gains.iter().all(|gain| gain.abs() < width::AUDIBLE) {
        return Width::default();
    }
    let means: [f64; BANDS] = std::array::from_fn(|b| {
        let inside: Vec<f64> = (0..hz.len()).filter(|i| band(hz[*i]) == b && known[*i]).map(|i| gains[i]).collect();
        round(inside.iter().sum::<f64>() / inside.len().max(1) as f64)
    });
    let told = means.map(|gain| if gain.abs() < width::AUDIBLE { 0.0 } else { gain });
    Width {
        reasons: width::explain(analysis, &told, true),
        allowance: allowance(&with, &gains),
        curve: hz.iter().zip(gains).map(|(hz, gain)| (Hz(round(*hz)), Db(gain))).collect(),
    }
}

/// How far a third octave's level may move because its side does, dB.
fn allowance(with: &Comparison, gains: &[f64]) -> f64 {
    (0..gains.len())
        .filter(|i| with.counts[*i])
        .map(|i| {
            let ratio = power(with.side[i] - with.mid[i]);
            Db::from_power((1.0 + ratio * power(gains[i])) / (1.0 + ratio)).0.abs()
        })
        .fold(0.0, f64::max)
}

/// The loss in mono below 120 Hz that the gate has to let through for a record whose own is `theirs`, dB; 0: none.
pub(super) fn mono_low(analysis: &Analysis, theirs: Option<(&f64, f64)>) -> Db {
    let most = theirs.map_or(0.0, |(loss, amount)| freedom(amount) * loss.min(MONO_LOSS_FOLLOWED));
    let followed = most > MONO_LOSS.0.max(analysis.stereo.mono_loss_low.0) && !analysis.stereo.mono;
    Db(if followed { round(most + MONO_ROOM) } else { 0.0 })
}

/// Narrows what would lose too much in mono after tone and width, by as much as that takes.
pub(super) fn keep_mono(
    analysis: &Analysis,
    mid: &[(Hz, Db)],
    side: &[(Hz, Db)],
    width: &mut Vec<(Hz, Db)>,
    mono_low: Db,
) {
    let own = Shape::new(analysis, OWN_RANGE);
    let stereo = &analysis.stereo;
    let narrower = |width: &[(Hz, Db)], low: bool| {
        let (mut before, mut after) = ([0.0; 2], [0.0; 2]);
        for (i, &hz) in own.hz.iter().enumerate().filter(|(_, hz)| !low || **hz < BASS) {
            let heard = if low { 1.0 } else { k_weight(hz) };
            let (m, s) = (heard * power(own.mid[i]), heard * power(own.side[i]));
            before = [before[0] + m, before[1] + s];
            after[0] += m * power(gain_at(mid, hz));
            after[1] += s * power(gain_at(side, hz) + gain_at(width, hz));
        }
        let (lost, most) = if low {
            (stereo.mono_loss_low.0, MONO_LOSS.0.max(mono_low.0 - MONO_ROOM))
        } else {
            (stereo.mono_loss.0, MONO_LOSS.1)
        };
        // What was measured over the whole track, moved as these levels move.
        let ratio = |loss: f64| (power(loss) - 1.0).max(1e-9);
        let now = ratio(lost) * (after[1] / after[0].max(1e-300)) / (before[1] / before[0].max(1e-300)).max(1e-300);
        Db::from_power(now / ratio(most.max(lost))).0
    };
    for low in [true, false] {
        let over = narrower(width, low);
        if !over.is_finite() || over <= 0.0 {
            continue;
        }
        if width.is_empty() {
            width.extend(own.hz.iter().map(|hz| (Hz(round(*hz)), Db(0.0))));
        }
        for (hz, gain) in width.iter_mut() {
            // From the edge of the bass on it fades over an octave.
            let share = if low { 1.0 - above_bass(hz.0 / std::f64::consts::SQRT_2) } else { 1.0 };
            gain.0 = round((gain.0 - share * (over + 0.1)).max(-24.0));
        }
    }
}

/// Where a master towards a reference shall lie, and what was corrected so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Closing {
    /// What is compared, with its levels.
    goal: Shape,
    free: f64,
    rounds: u32,
    /// The nearest so far: its distance in dB, and its plan.
    best: Option<(f64, Box<Plan>)>,
}

/// What a measurement of the master says.
#[derive(Clone, Debug, PartialEq)]
pub enum Closed {
    /// This plan comes nearer: to be rendered and measured again.
    Again(Box<Plan>),
    /// This plan was nearer, and is not to be measured again.
    Back(Box<Plan>),
    /// Near enough: the plan with what was reached in its reasons.
    Done(Box<Plan>),
}

impl Closing {
    /// `None` where the tone does not follow a reference, or too much is cut away to tell.
    #[must_use]
    pub fn new(mix: &Analysis, plan: &Plan, settings: &Settings, target: Option<&Target>) -> Option<Self> {
        let (theirs, amount) = part(settings, target, Aspect::Tone, |t| t.tone.as_ref())?;
        let free = freedom(amount);
        let with = Comparison::new(mix, theirs, free);
        let cut = plan.edit.trim_start.0 + plan.edit.trim_end.0;
        if (plan.tone.mid.is_empty() && plan.tone.width.is_empty()) || cut > CUT * mix.seconds().0 {
            return None;
        }
        let hz = with.own.hz;
        let goal = |levels: &[f64], curves: [&Vec<(Hz, Db)>; 2]| -> Vec<f64> {
            let moved = |(hz, level): (&f64, &f64)| level + gain_at(curves[0], *hz) + gain_at(curves[1], *hz);
            hz.iter().zip(levels).map(moved).collect()
        };
        let none = Vec::new();
        let goal = Shape {
            mid: goal(&with.mid, [&plan.tone.mid, &none]),
            side: goal(&with.side, [&plan.tone.side, &plan.tone.width]),
            counts: with.counts,
            sided: with.own.sided,
            hz: hz.clone(),
        };
        Some(Self { goal, free, rounds: 0, best: None })
    }

    /// What to do after a render of `plan` whose loud parts have the mean power `heard`.
    #[must_use]
    pub fn next(&mut self, plan: &Plan, mix: &Analysis, heard: &Spectrum) -> Closed {
        let Shape { hz, counts, sided, .. } = &self.goal;
        let is = Shape::levels(heard).on(hz);
        let off = |goal: &[f64], levels: &[f64]| -> Vec<f64> {
            let smoothed = smooth(hz, levels, counts, self.free);
            (0..hz.len()).map(|i| if counts[i] { goal[i] - smoothed[i] } else { 0.0 }).collect()
        };
        let (mid, side) = (off(&self.goal.mid, &is.mid), off(&self.goal.side, &is.side));
        let n = counts.iter().filter(|counts| **counts).count().max(1) as f64;
        let level = mid.iter().sum::<f64>() / n;
        let missing = |values: &[f64], counts: &[bool]| -> Vec<f64> {
            let step = (0..hz.len()).map(|i| if counts[i] { (values[i] - level).clamp(-STEP, STEP) } else { 0.0 });
            step.collect()
        };
        let missing_mid = missing(&mid, counts);
        let missing_side: Vec<f64> = (0..hz.len())
            .map(|i| if sided[i] { (side[i] - level).clamp(-STEP, STEP) } else { missing_mid[i] })
            .collect();
        let distance = (missing_mid.iter().map(|v| v * v).sum::<f64>() / n).sqrt();
        let told = |plan: &Plan, distance: f64, rounds: u32| {
            let mut plan = plan.clone();
            if rounds > 0 {
                let text = format!(
                    "The finished master was measured against the reference and corrected {}; its tone lies {:.1}\u{202f}dB from where it \
                     should.",
                    if rounds == 1 { "once" } else { "twice" },
                    distance,
                );
                plan.reasons.push(reason(Aspect::Tone, text));
            }
            Box::new(plan)
        };
        if let Some((nearest, best)) = &self.best
            && distance > *nearest
        {
            return Closed::Back(told(best, *nearest, self.rounds - 1));
        }
        if distance < CLOSE || self.rounds >= ROUNDS {
            return Closed::Done(told(plan, distance, self.rounds));
        }
        self.best = Some((distance, Box::new(plan.clone())));
        self.rounds += 1;
        let mut next = plan.clone();
        for (curve, missing) in [(&mut next.tone.mid, &missing_mid), (&mut next.tone.side, &missing_side)] {
            let correction = average(hz, &filled(hz, missing, counts), |_| ROUNDING);
            *curve = (0..hz.len())
                .map(|i| (Hz(round(hz[i])), Db(round((gain_at(curve, hz[i]) + correction[i]).clamp(-24.0, 24.0)))))
                .collect();
        }
        keep_mono(mix, &next.tone.mid, &next.tone.side, &mut next.tone.width, next.tone.mono_low);
        // The bound follows the plan.
        let wider = (next.largest_gain() - plan.largest_gain()).max(0.0);
        next.tone.bound = Db(((plan.tone.bound.0 + wider) * 10.0).ceil() / 10.0);
        Closed::Again(Box::new(next))
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
