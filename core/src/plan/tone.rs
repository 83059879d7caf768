//! Equalisation: towards the nearest edge of the range records live in, or to a reference.

use super::curve::{average, interpolate, smoothing};
use super::material::Profile;
use super::shape::Shape;
use super::style::{Corridor, REGIONS, StyleSpec};
use super::{Reason, reason};
use crate::analyse::{Analysis, Spectrum};
use crate::meter::third_octave;
use crate::settings::{Aspect, Style};
use crate::units::{Db, Hz};

/// Steepest curve, dB per octave.
const SLOPE: f64 = 6.0;
/// Moves smaller than this are left out, dB.
const AUDIBLE: f64 = 0.3;
/// Bound at style strength 100, and for mixes that were limited already, dB. No mix comes near it: a deviation of 14 dB moves 6.3 dB.
const BOUND: f64 = 8.0;
/// How late the correction bends: 1 from the start, large values only at the bound.
const KNEE: f64 = 1.5;
const BOUND_LIMITED: f64 = 3.0;
/// With a correction of this share of the bound, 0.7 of the style's own sound is added.
const ROOM: f64 = 0.5;
/// From here on a deviation is called much, dB.
const MUCH: f64 = 6.0;
/// The style pulls at nothing outside of this, Hz.
const PULLED: (f64, f64) = (40.0, 16_000.0);
/// Octaves over which a deviation is averaged: a style is broader than the notes of one song.
const BROAD: f64 = 0.5;
/// A region this far under the range is absent rather than quiet, and stays so, dB.
const ABSENT: f64 = 16.0;
/// Regions below this may be absent: not every kind of music has a bass. Above it, a dull mix is dull. Hz.
const LOWS: f64 = 160.0;
/// The limits of the range in which levels are compared, Hz.
const RANGE: (f64, f64) = (35.0, 17_000.0);

/// A decided equalisation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Equalisation {
    pub(super) mid: Vec<(Hz, Db)>,
    pub(super) side: Vec<(Hz, Db)>,
    pub(super) subsonic: Option<Hz>,
    pub(super) reasons: Vec<Reason>,
}

/// A spectrum prepared for decisions.
pub(super) struct Levels {
    pub(super) hz: Vec<f64>,
    mid: Vec<f64>,
    side: Vec<f64>,
    pub(super) both: Vec<f64>,
}

impl Levels {
    pub(super) fn new(spectrum: &Spectrum) -> Self {
        let Shape { hz, mid, side, .. } = Shape::levels(spectrum);
        let [mid, side] = [mid, side].map(|levels| levels.into_iter().map(|db| Db(db).power()).collect::<Vec<f64>>());
        let both: Vec<f64> = mid.iter().zip(&side).map(|(m, s)| m + s).collect();
        let smooth = |power: &[f64]| smooth(&hz, power);
        let (mid, side, both) = (smooth(&mid), smooth(&side), smooth(&both));
        Self { hz, mid, side, both }
    }
}

/// Power at `hz` → dB over [`smoothing`].
fn smooth(hz: &[f64], power: &[f64]) -> Vec<f64> {
    average(hz, power, smoothing).into_iter().map(|p| Db::from_power(p).0.max(-150.0)).collect()
}

/// What is asked of one spectrum.
struct Ask<'a> {
    hz: &'a [f64],
    level: &'a [f64],
    /// The range aimed at.
    range: Vec<Corridor>,
    /// Points that are compared at all.
    compared: Vec<bool>,
    /// 0–1 per point: how far a boost is allowed.
    boost: Vec<f64>,
    share: f64,
    /// Bound, dB: the correction bends towards it and never stops growing.
    bound: f64,
}

/// The answer: what lies outside the range per point, and the move.
pub(super) struct Answer {
    pub(super) outside: Vec<f64>,
    pub(super) curve: Vec<f64>,
}

impl Ask<'_> {
    /// The level is free: the range is slid to where the mix needs little and lies in its middle. No outlier pulls with more than a few dB.
    fn offset(&self) -> f64 {
        let first = self.align(|_| 1.0);
        // Regions that are absent say nothing about the level of the others.
        self.align(|i| {
            let here = (self.level[i] - first) - (self.range[i].low - ABSENT);
            if self.hz[i] > LOWS { 1.0 } else { (here / 8.0 + 0.5).clamp(0.0, 1.0) }
        })
    }

    fn align(&self, weight: impl Fn(usize) -> f64) -> f64 {
        let points = || (0..self.hz.len()).filter(|&i| self.compared[i] && weight(i) > 0.0);
        let differences = points().map(|i| self.level[i] - self.range[i].middle);
        let (mut low, mut high) =
            differences.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), d| (a.min(d), b.max(d)));
        if low > high {
            return 0.0;
        }
        let pull = |offset: f64| -> f64 {
            points()
                .map(|i| {
                    let level = self.level[i] - offset;
                    let middle = level - self.range[i].middle;
                    weight(i) * (self.range[i].outside(level).clamp(-4.0, 4.0) + 0.25 * middle.clamp(-6.0, 6.0))
                })
                .sum()
        };
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if pull(middle) > 0.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
        f64::midpoint(low, high)
    }

    /// From the middle of the range to where the level lies in it, dB. Here the level is the one that most of the spectrum agrees about: a
    /// single region that sticks out pulls at nothing else. A quartet has no bass and a lossy file no top, so there is nothing to pull at
    /// the ends.
    fn inside(&self) -> Vec<f64> {
        let counts = |i: usize| self.compared[i] && (2.0 * PULLED.0..=0.75 * PULLED.1).contains(&self.hz[i]);
        let mut differences: Vec<f64> =
            (0..self.hz.len()).filter(|&i| counts(i)).map(|i| self.level[i] - self.range[i].middle).collect();
        let offset = crate::meter::median(&mut differences).unwrap_or(0.0);
        (0..self.hz.len())
            .map(|i| {
                let (hz, range) = (self.hz[i], &self.range[i]);
                let inside = range.clamp(self.level[i] - offset) - range.middle;
                // An octave from nothing to all; what lacks in the lows begins later.
                let low = if inside < 0.0 { LOWS } else { PULLED.0 };
                let ends = (hz / low).log2().min((PULLED.1 / hz).log2() * 2.0).clamp(0.0, 1.0);
                if self.compared[i] { inside * ends } else { 0.0 }
            })
            .collect()
    }

    fn answer(&self) -> Answer {
        let offset = self.offset();
        let outside: Vec<f64> = (0..self.hz.len())
            .map(|i| if self.compared[i] { self.range[i].outside(self.level[i] - offset) } else { 0.0 })
            .collect();
        let outside = average(self.hz, &outside, |_| BROAD);
        let wanted: Vec<f64> = outside
            .iter()
            .enumerate()
            .map(|(i, &out)| {
                let there = if self.hz[i] < LOWS { ((ABSENT + out) / 8.0).clamp(0.0, 1.0) } else { 1.0 };
                let allowed = if out < 0.0 { self.boost[i] * there } else { 1.0 };
                let asked = self.share * out * allowed;
                -asked / (1.0 + (asked.abs() / self.bound).powf(KNEE)).powf(1.0 / KNEE)
            })
            .collect();
        Answer { outside, curve: gentle_slopes(self.hz, &wanted, SLOPE) }
    }
}

/// The largest curve under `wanted` (in magnitude) that nowhere rises or falls faster than `slope`, dB per octave.
pub(super) fn gentle_slopes(hz: &[f64], wanted: &[f64], slope: f64) -> Vec<f64> {
    let envelope = |sign: f64| -> Vec<f64> {
        let mut out: Vec<f64> = wanted.iter().map(|w| (w * sign).max(0.0)).collect();
        for i in 1..out.len() {
            out[i] = out[i].min(out[i - 1] + slope * (hz[i] / hz[i - 1]).log2());
        }
        for i in (1..out.len()).rev() {
            out[i - 1] = out[i - 1].min(out[i] + slope * (hz[i] / hz[i - 1]).log2());
        }
        out
    };
    envelope(1.0).iter().zip(envelope(-1.0)).map(|(up, down)| up - down).collect()
}

/// Where boosts are allowed, 0–1: not beyond the effective bandwidth, not where the mix is noise, not under 35 Hz.
pub(super) fn boostable(analysis: &Analysis, levels: &Levels) -> Vec<f64> {
    let bandwidth = if analysis.condition.bandwidth.0 > 0.0 { analysis.condition.bandwidth.0 } else { f64::INFINITY };
    let noise = noise(analysis);
    levels
        .hz
        .iter()
        .zip(&levels.both)
        .map(|(&hz, &level)| {
            if hz < RANGE.0 || hz > 0.9 * bandwidth {
                return 0.0;
            }
            noise.as_ref().map_or(1.0, |noise| ((level - interpolate(noise, hz) - 10.0) / 10.0).clamp(0.0, 1.0))
        })
        .collect()
}

/// The noise between the notes per 1/12 octave, where there is one.
fn noise(analysis: &Analysis) -> Option<Vec<(f64, f64)>> {
    let floor = analysis.condition.noise_floor.map(|n| n.0).filter(|n| n.is_finite())?;
    if let Some(thirds) = &analysis.condition.noise_thirds {
        // Raised cosines over an octave hold the energy of six twelfths.
        let twelfth = |third: f32| f64::from(third) - 10.0 * 6f64.log10();
        return Some(thirds.iter().enumerate().map(|(n, &level)| (third_octave(n), twelfth(level))).collect());
    }
    // An earlier analysis knows only its level: white noise of that level, per 1/12 octave (5.78 % of the centre) of a 20 kHz band, and
    // only where it is far under the music; a dense mix has none to show.
    let loudness = analysis.loudness.integrated.map_or(-23.0, |l| l.0);
    let white = |hz: f64| (hz, floor + 10.0 * (0.0578 * hz / 20_000.0).log10());
    (floor < loudness - 30.0).then(|| (0..=20).map(|i| white(20.0 * 2f64.powf(f64::from(i) / 2.0))).collect())
}

/// Decides the equalisation for a style; `strength` 0–1.
pub(super) fn for_style(analysis: &Analysis, spec: &StyleSpec, profile: &Profile, strength: f64) -> Equalisation {
    let levels = Levels::new(&analysis.spectrum);
    if strength <= 0.0 || levels.hz.is_empty() {
        return Equalisation::default();
    }
    let bound = BOUND * strength;
    let bound = bound + (bound.min(BOUND_LIMITED) - bound) * profile.mastered;
    let loudest = levels.both.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let ask = Ask {
        hz: &levels.hz,
        level: &levels.both,
        range: levels.hz.iter().map(|&hz| spec.corridor(hz)).collect(),
        compared: levels
            .hz
            .iter()
            .zip(&levels.both)
            .map(|(&hz, &l)| comparable(analysis, hz) && l > loudest - 100.0)
            .collect(),
        boost: (boostable(analysis, &levels).into_iter().zip(&levels.hz))
            .map(|(boost, hz)| {
                boost * (profile.low_boost + (1.0 - profile.low_boost) * (hz / LOWS).log2().clamp(0.0, 1.0))
            })
            .collect(),
        share: (1.4 * strength).min(1.0),
        bound,
    };
    let answer = ask.answer();
    let record = match spec.style {
        Style::Gentle | Style::Balanced => "on most records".to_owned(),
        style => format!("on most {style} records"),
    };
    let say = |curve: &[f64]| {
        let mut reasons = explain(&levels.hz, &answer, curve, &record);
        reasons.extend(introduce(spec, &levels.hz, curve, ask.share));
        reasons
    };
    let most = bound + ask.share * (1.0 - profile.mastered) * spec.strongest();
    let limit = |hz: f64| {
        let (least, highest) = spec.moves(hz);
        ((least * ask.share).max(-most), (highest * ask.share).min(most))
    };
    // A voice or a room keeps the balance it has.
    let pull = spec.pull * profile.dynamics;
    let curve = coloured(&ask, &answer, spec, pull, most);
    finish(analysis, &levels, [&curve, &curve], most, limit, say)
}

/// The correction with the character of the style: inside the range it pulls towards the middle, and everywhere it adds its own shape.
fn coloured(ask: &Ask<'_>, answer: &Answer, spec: &StyleSpec, pull: f64, most: f64) -> Vec<f64> {
    let room = ROOM * most;
    // Where the correction goes the same way already, there is less to add.
    let add = |i: usize, corrected: f64, gain: f64| {
        let allowed = if gain > 0.0 { ask.boost[i] * gain } else { gain };
        let already = if corrected * gain > 0.0 { corrected / room } else { 0.0 };
        corrected + allowed / already.hypot(1.0)
    };
    let inside = average(ask.hz, &ask.inside(), |_| BROAD);
    let pulled: Vec<f64> = (0..ask.hz.len()).map(|i| add(i, answer.curve[i], -ask.share * pull * inside[i])).collect();
    let pulled = gentle_slopes(ask.hz, &pulled, SLOPE);
    (pulled.iter().enumerate())
        .map(|(i, gain)| add(i, *gain, ask.share * spec.character(ask.hz[i])).clamp(-most, most))
        .collect()
}

/// What the style gives every mix, in words.
fn introduce(spec: &StyleSpec, hz: &[f64], applied: &[f64], share: f64) -> Option<Reason> {
    let list = |sign: f64| -> Vec<&str> {
        let mut low = 0.0;
        let mut names = Vec::new();
        for (region, character) in REGIONS.iter().zip(spec.character) {
            let inside = hz.iter().zip(applied).filter(|(hz, _)| (low..region.high).contains(*hz));
            let (sum, count) = inside.fold((0.0, 0), |(sum, count), (_, gain)| (sum + gain, count + 1));
            low = region.high;
            // Only what came of it.
            if character * sign * share >= 1.0 && count > 0 && sum / f64::from(count) * sign > AUDIBLE {
                names.push(region.name);
            }
        }
        names
    };
    let (more, less) = (list(1.0), list(-1.0));
    let and = |names: &[&str]| match names {
        [first, second, third] => format!("{first}, {second} and {third}"),
        names => names.join(" and "),
    };
    let text = match (more.is_empty(), less.is_empty()) {
        (true, true) => return None,
        (false, true) => format!("The {} style brings {} forward.", spec.style, and(&more)),
        (true, false) => format!("The {} style holds {} back.", spec.style, and(&less)),
        (false, false) => {
            format!("The {} style brings {} forward and holds {} back.", spec.style, and(&more), and(&less))
        }
    };
    Some(reason(Aspect::Tone, text))
}

/// Whether levels at `hz` say anything about the tone of this file.
pub(super) fn comparable(analysis: &Analysis, hz: f64) -> bool {
    let bandwidth = analysis.condition.bandwidth.0;
    (RANGE.0..=RANGE.1).contains(&hz) && (bandwidth <= 0.0 || hz <= 0.95 * bandwidth)
}

pub(super) fn finish(
    analysis: &Analysis,
    levels: &Levels,
    [mid, side]: [&[f64]; 2],
    most: f64,
    limit: impl Fn(f64) -> (f64, f64),
    say: impl Fn(&[f64]) -> Vec<Reason>,
) -> Equalisation {
    let subsonic = subsonic(analysis);
    let mut reasons = Vec::new();
    if let Some((corner, why)) = &subsonic {
        reasons.push(reason(Aspect::Tone, format!("Everything below {:.0} Hz is filtered out: {why}", corner.0)));
    }
    let subsonic = subsonic.map(|(corner, _)| corner);
    let largest = mid.iter().chain(side).fold(0.0f64, |most, v| most.max(v.abs()));
    if largest < AUDIBLE {
        return Equalisation { subsonic, reasons, ..Equalisation::default() };
    }
    // Tone is shape, not level: the curve is moved so that the loudness stays.
    let (mut before, mut after) = (0.0, 0.0);
    for (i, &hz) in levels.hz.iter().enumerate() {
        let heard = k_weight(hz);
        let (m, s) = (Db(levels.mid[i]).power(), Db(levels.side[i]).power());
        before += heard * (m + s);
        after += heard * (m * Db(mid[i]).power() + s * Db(side[i]).power());
    }
    let offset = if before > 0.0 { Db::from_power(after / before).0.clamp(-most / 3.0, most / 3.0) } else { 0.0 };
    // A curve that meets its bound stops as a whole: cut off at the bound, every dull mix would end with the same treble.
    let (low, high) = mid.iter().chain(side).fold((0.0f64, 0.0f64), |(low, high), v| (low.min(*v), high.max(*v)));
    let offset = offset.max(high - most).min((low + most).max(high - most));
    let round = |v: f64| (v * 100.0).round() / 100.0;
    let moved = |curve: &[f64]| -> Vec<f64> {
        let limited = |(&hz, &gain): (&f64, &f64)| {
            let (least, most) = limit(hz);
            round((gain - offset).clamp(least, most))
        };
        levels.hz.iter().zip(curve).map(limited).collect()
    };
    let (mid, side) = (moved(mid), moved(side));
    reasons.splice(0..0, say(&mid));
    let points =
        |curve: &[f64]| levels.hz.iter().zip(curve).map(|(&hz, &gain)| (Hz(round(hz)), Db(gain))).collect::<Vec<_>>();
    let (mid, side) = (points(&mid), points(&side));
    Equalisation { mid, side, subsonic, reasons }
}

/// Power weight of BS.1770's K-weighting, approximated (±0.5 dB) by its two corners: 38 Hz and +4 dB around 1.5 kHz.
pub(super) fn k_weight(hz: f64) -> f64 {
    let low = 1.0 / (1.0 + (38.0 / hz).powi(4));
    let shelf = (hz / 1_500.0).powi(2);
    low * Db(4.0 * shelf / (1.0 + shelf)).power()
}

/// A cut under the music where there is energy nobody hears, or DC.
fn subsonic(analysis: &Analysis) -> Option<(Hz, String)> {
    let [left, right] = analysis.condition.dc;
    let dc = left.abs().max(right.abs());
    let (mut below, mut all) = (0.0, 0.0);
    for (i, &hz) in analysis.spectrum.hz.iter().enumerate() {
        let level = |v: &[f32]| v.get(i).copied().filter(|v| v.is_finite()).map_or(0.0, |v| Db(f64::from(v)).power());
        let power = level(&analysis.spectrum.mid) + level(&analysis.spectrum.side);
        all += power;
        if hz < 22.0 {
            below += power;
        }
    }
    let share = if all > 0.0 { Db::from_power(below / all).0 } else { f64::NEG_INFINITY };
    // Half a percent of DC shifts every peak and clicks at every cut; −30 dB of rumble costs headroom. By practice.
    if dc > 5e-3 {
        Some((Hz(20.0), format!("the mix carries a DC offset of {:.1} % that only costs headroom.", dc * 100.0)))
    } else if share > -30.0 {
        let corner = if share > -18.0 { 25.0 } else { 20.0 };
        Some((Hz(corner), format!("rumble {:.0} dB under the music took headroom without being heard.", -share)))
    } else {
        None
    }
}

/// One sentence per lobe of the answer: neighbouring points that move the same way are one decision. The figures are those of the curve
/// that is `applied`, in which the level is made up for.
pub(super) fn explain(hz: &[f64], answer: &Answer, applied: &[f64], record: &str) -> Vec<Reason> {
    let region = |i: usize| REGIONS.iter().position(|r| hz[i] < r.high).unwrap_or(REGIONS.len() - 1);
    let mut lobes: Vec<usize> = Vec::new();
    let mut last = 0.0;
    let mut open = false;
    for (i, &change) in answer.curve.iter().enumerate() {
        if change.abs() < AUDIBLE {
            open = false;
            continue;
        }
        let sign = change.signum();
        match lobes.last_mut().filter(|peak| sign == last && (open || region(**peak) == region(i))) {
            Some(peak) if answer.curve[*peak].abs() < change.abs() => *peak = i,
            Some(_) => {}
            None => lobes.push(i),
        }
        (last, open) = (sign, true);
    }
    // The largest moves first, and no more than a person wants to read.
    lobes.sort_by(|a, b| answer.curve[*b].abs().total_cmp(&answer.curve[*a].abs()));
    lobes.truncate(5);
    lobes
        .into_iter()
        .filter(|&i| applied[i] * answer.curve[i] > 0.0 && applied[i].abs() >= AUDIBLE / 2.0)
        .map(|i| {
            let (change, out) = (applied[i], answer.outside[i]);
            let index = region(i);
            let named = &REGIONS[index];
            let mut name = named.name.to_owned();
            name[..1].make_ascii_uppercase();
            let text = format!(
                "{name} {} {}{} than {record}, which {}: we {} {} around {}.",
                if named.plural { "are" } else { "is" },
                if out.abs() >= MUCH { "much " } else { "" },
                if out > 0.0 { "stronger" } else { "weaker" },
                consequence(index, out > 0.0),
                if change > 0.0 { "gave" } else { "took" },
                Db(change.abs()),
                pitch(hz[i]),
            );
            Reason {
                before: None,
                after: Some((change * 10.0).round() / 10.0),
                unit: Some("dB".to_owned()),
                ..reason(Aspect::Tone, text)
            }
        })
        .collect()
}

/// A frequency as an engineer says it: 63 Hz, 250 Hz, 3.2 kHz.
pub(super) fn pitch(hz: f64) -> String {
    if hz >= 995.0 {
        let khz = format!("{:.1}", hz / 1_000.0);
        format!("{}\u{202f}kHz", khz.strip_suffix(".0").unwrap_or(&khz))
    } else if hz >= 100.0 {
        format!("{:.0}\u{202f}Hz", (hz / 10.0).round() * 10.0)
    } else {
        format!("{hz:.0}\u{202f}Hz")
    }
}

/// What a listener notices.
fn consequence(region: usize, over: bool) -> &'static str {
    match (region, over) {
        (0, true) => "used up headroom",
        (0, false) => "left the bottom thin",
        (1, true) => "sat on everything else",
        (1, false) => "left the low end light",
        (2, true) => "clouded the mix",
        (2, false) => "left the mix without body",
        (3, true) => "sounded boxy",
        (3, false) => "kept voice and leads back",
        (4, true) => "sounded sharp",
        (4, false) => "hid the detail",
        (_, true) => "sounded brittle",
        (_, false) => "left the top dull",
    }
}
