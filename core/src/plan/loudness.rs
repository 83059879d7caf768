//! How loud, and at what price: the ladder of the analysis says what a gain into a limiter would do to this very mix.

use super::destinations::Destination;
use super::material::Profile;
use super::style::StyleSpec;
use super::{Clipper, Goal, Leveler, Limiter, MaskedClipper, Reason, reason};
use crate::analyse::{Analysis, Hits, Rung};
use crate::control::Trace;
use crate::control::limiter::short;
use crate::settings::{Aspect, Limiting, Settings};
use crate::units::{Db, Dbtp, Lufs, Seconds};

/// Ceiling the ladder was measured at, dBTP.
const LADDER_CEILING: f64 = -1.0;
/// A wish in numbers may take this much more limiting than the style takes by itself: somebody decided.
const WISH: f64 = 2.0;
/// And this much help of clipper and leveler, dB, where the style has less.
const WISH_CLIPPER: f64 = 2.5;
const WISH_LEVELER: f64 = 2.0;
/// And this much of the masked clipper, dB.
const WISH_MASKED: f64 = 6.0;
/// Share of the work that the clipper does where it may: more is heard on sustained notes.
const CLIPPER_SHARE: f64 = 0.4;
/// What the leveler spares the limiter per decibel: it only moves on passages, not on hits.
const LEVELER_SHARE: f64 = 0.5;
/// Rungs of 1 dB added beyond a ladder that ends before the budget does.
const BEYOND: usize = 16;
/// Most a mix that was limited already is limited again: median of the blocks, and at 19 of 20 hits, dB.
const LIMITED: f64 = 1.0;
const LIMITED_HITS: f64 = 2.0;
/// At 19 of 20 hits, dB: from here on the masked clipper does the work.
const MASKED_FROM: f64 = 2.0;
/// Most it takes, dB.
const MASKED_MOST: f64 = 18.0;
/// What is said about it.
const MASKED: &str = "Peaks are clipped so that the music masks the error; where it would be heard, on sustained notes, the level gives \
                      way instead.";
/// Knee of the clipper, dB.
const CLIPPER_KNEE: f64 = 4.0;
/// Level most streaming services play at, LUFS (see `destinations`).
const STREAMING: f64 = -14.0;

/// What loudness is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wish {
    /// What the style reaches; strength 0–1 moves its nominal loudness by ±1 LU.
    Style { strength: f64 },
    /// This number, asked for.
    Number(Lufs),
    /// This number, because the reference has it.
    Reference(Lufs),
    /// This number, because it is so far below the loudest song of its album; `asked`: somebody named a loudness for the album.
    Album { loudness: Lufs, below: Db, asked: bool },
}

/// Most that the verify bound allows for limiting, dB: what the deepest limiting of any wish amounts to.
const MOST_TAKEN: f64 = 12.0;

/// What was decided for loudness and peaks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) goal: Goal,
    pub(super) clipper: Option<Clipper>,
    pub(super) leveler: Option<Leveler>,
    pub(super) masked: Option<MaskedClipper>,
    pub(super) limiter: Limiter,
    /// What clipper, leveler and limiter take off the loud passages together, dB.
    pub(super) taken: f64,
    pub(super) reasons: Vec<Reason>,
}

/// The ladder at a ceiling of our own: a limiter at c after a gain g does what one at −1 dBTP does after g − (c + 1), c + 1 louder.
struct Ladder {
    rungs: Vec<Rung>,
    shift: f64,
}

/// Limiting a loudness takes: of the blocks, and at the hits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Price {
    median: f64,
    p95: f64,
    hits: Hits,
}

/// On dense mixes 19 of 20 hits lose about 1.8 times what 19 of 20 blocks do: measured on 22 mixes and records.
const HITS_PER_BLOCKS: f64 = 1.8;

/// What a rung takes off the hits; an analysis of an earlier version only says what it takes off the blocks.
fn hits_of(rung: &Rung) -> Hits {
    let hits = Db(HITS_PER_BLOCKS * rung.p95.0);
    rung.hits.unwrap_or(Hits {
        median: rung.p95,
        p90: hits,
        p95: hits,
        most: hits,
        over_3: if hits.0 > 3.0 { 0.05 } else { 0.0 },
        steady: hits,
    })
}

/// Both moved by the same function of each figure.
fn each(a: Hits, b: Hits, with: impl Fn(f64, f64) -> f64) -> Hits {
    Hits {
        median: Db(with(a.median.0, b.median.0)),
        p90: Db(with(a.p90.0, b.p90.0)),
        p95: Db(with(a.p95.0, b.p95.0)),
        most: Db(with(a.most.0, b.most.0)),
        over_3: with(a.over_3, b.over_3),
        steady: Db(with(a.steady.0, b.steady.0)),
    }
}

impl Ladder {
    fn new(analysis: &Analysis, loudness: f64, ceiling: Dbtp) -> Self {
        let peak = true_peak(analysis);
        let sound = |r: &&Rung| {
            let h = hits_of(r);
            [r.gain.0, r.loudness.0, r.median.0, r.p95.0, h.median.0, h.p90.0, h.p95.0, h.most.0, h.over_3, h.steady.0]
                .iter()
                .all(|v| v.is_finite())
        };
        let mut rungs: Vec<Rung> = analysis.ladder.iter().filter(sound).copied().collect();
        rungs.sort_by(|a, b| a.gain.0.total_cmp(&b.gain.0));
        rungs.dedup_by(|b, a| b.gain.0 <= a.gain.0);
        // A louder rung is louder and costs more; rounding must not say otherwise.
        for i in 1..rungs.len() {
            let before = rungs[i - 1];
            let rung = &mut rungs[i];
            rung.loudness = Lufs(rung.loudness.0.max(before.loudness.0));
            rung.median = Db(rung.median.0.max(before.median.0));
            rung.p95 = Db(rung.p95.0.max(before.p95.0));
            // Quiet hits join in with little each, so that a share of all of them may fall while every single one loses more.
            rung.hits = Some(each(hits_of(rung), hits_of(&before), f64::max));
        }
        // The median counts blocks in which the limiter works at all; where those are a few in a hundred, it says nothing.
        for rung in &mut rungs {
            rung.median = Db(rung.median.0.min(rung.p95.0));
        }
        if rungs.len() < 2 {
            // Without a ladder every decibel over the peaks is taken to be limited away on the loudest passages.
            let touch = LADDER_CEILING - peak;
            let rung = |over: f64| Rung {
                gain: Db(touch + over),
                loudness: Lufs(loudness + touch + 0.9 * over),
                median: Db(over / 2.0),
                p95: Db(over),
                hits: None,
            };
            rungs = (0..=12).map(|over| rung(f64::from(over))).collect();
        }
        // Beyond the last rung every decibel buys a little less and costs a whole one.
        if let [.., before, last] = rungs[..] {
            let mut slope = ((last.loudness.0 - before.loudness.0) / (last.gain.0 - before.gain.0)).clamp(0.0, 1.0);
            let mut rung = last;
            for _ in 0..BEYOND {
                let works = if rung.p95.0 > 0.0 || slope < 0.99 { 1.0 } else { 0.0 };
                slope *= 1.0 - 0.1 * works;
                rung.gain = Db(rung.gain.0 + 1.0);
                rung.loudness = Lufs(rung.loudness.0 + slope);
                rung.median = Db(rung.median.0 + 0.7 * works);
                rung.p95 = Db(rung.p95.0 + works);
                let held = hits_of(&rung);
                rung.hits = Some(Hits { over_3: held.over_3, ..each(held, held, |v, _| v + works) });
                // Where the ladder says nothing about limiting, the peaks say when it begins.
                if rung.gain.0 > LADDER_CEILING - peak && works == 0.0 {
                    rung.p95 = Db(0.1);
                    rung.hits = Some(Hits { p90: Db(0.1), p95: Db(0.1), most: Db(0.1), steady: Db(0.1), ..held });
                }
                rungs.push(rung);
            }
        }
        Self { rungs, shift: ceiling.0 - LADDER_CEILING }
    }

    /// What `target` takes; beyond the last rung, what that one takes.
    fn price(&self, target: f64) -> Price {
        let wanted = target - self.shift;
        let of = |r: &Rung| Price { median: r.median.0, p95: r.p95.0, hits: hits_of(r) };
        let Some(first) = self.rungs.first() else { return Price::default() };
        if wanted <= first.loudness.0 {
            // Under the lowest rung the level only falls.
            let less = first.loudness.0 - wanted;
            let hits = hits_of(first);
            return Price {
                median: (first.median.0 - less).max(0.0),
                p95: (first.p95.0 - less).max(0.0),
                hits: Hits { over_3: hits.over_3, ..each(hits, hits, |v, _| (v - less).max(0.0)) },
            };
        }
        for pair in self.rungs.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            if wanted <= b.loudness.0 {
                let share = (wanted - a.loudness.0) / (b.loudness.0 - a.loudness.0).max(1e-9);
                let mix = |x: f64, y: f64| x + (y - x) * share.clamp(0.0, 1.0);
                return Price {
                    median: mix(a.median.0, b.median.0),
                    p95: mix(a.p95.0, b.p95.0),
                    hits: each(hits_of(a), hits_of(b), mix),
                };
            }
        }
        self.rungs.last().map_or_else(Price::default, of)
    }

    /// The loudest that stays within all budgets: of the blocks (median where the limiter works, and 95th percentile of all), which dense
    /// music fills, and at 19 of 20 hits.
    fn reach(&self, median: f64, p95: f64, hits: f64) -> f64 {
        let at = |r: &Rung| hits_of(r).steady;
        let fits = |r: &Rung| r.median.0 <= median && r.p95.0 <= p95 && at(r).0 <= hits;
        let Some(first) = self.rungs.first() else { return 0.0 };
        if !fits(first) {
            let over = (at(first).0 - hits).max(first.p95.0 - p95).max(first.median.0 - median);
            return first.loudness.0 - over.max(0.0) + self.shift;
        }
        let mut best = first.loudness.0;
        for pair in self.rungs.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            if fits(b) {
                best = b.loudness.0;
                continue;
            }
            let share = |x: Db, y: Db, most: f64| {
                if y.0 > most { ((most - x.0) / (y.0 - x.0).max(1e-9)).clamp(0.0, 1.0) } else { 1.0 }
            };
            best = a.loudness.0
                + (b.loudness.0 - a.loudness.0)
                    * share(a.median, b.median, median).min(share(a.p95, b.p95, p95)).min(share(at(a), at(b), hits));
            break;
        }
        best + self.shift
    }
}

/// The mix's true peak; full scale where there is none.
fn true_peak(analysis: &Analysis) -> f64 {
    let peak = analysis.peaks.true_peak.0;
    if peak.is_finite() { peak } else { 0.0 }
}

/// Decides loudness, clipper, leveler and limiter.
pub(super) fn decide(
    analysis: &Analysis,
    spec: &StyleSpec,
    profile: &Profile,
    wish: Wish,
    settings: &Settings,
    ceiling: Dbtp,
    destination: Option<&Destination>,
) -> Decision {
    let limiter = limiter(spec, ceiling);
    let insist = settings.insist;
    let Some(loudness) = analysis.loudness.integrated.map(|l| l.0).filter(|l| l.is_finite()) else {
        let text = format!("Too short or too quiet for a loudness figure: the peaks are brought to {ceiling} instead.");
        let figures = Reason {
            before: Some(analysis.peaks.true_peak.0),
            after: Some(ceiling.0),
            unit: Some("dBTP".to_owned()),
            ..reason(Aspect::Loudness, text)
        };
        return Decision {
            goal: Goal::Peak { target: ceiling },
            clipper: None,
            leveler: None,
            masked: None,
            limiter,
            taken: 0.0,
            reasons: vec![figures],
        };
    };
    let ladder = Ladder::new(analysis, loudness, ceiling);
    let limited = profile.mastered >= 0.5;
    let fresh = 1.0 - profile.mastered;
    let untouched = loudness + ceiling.0 - true_peak(analysis);
    let asked = matches!(wish, Wish::Number(_) | Wish::Reference(_) | Wish::Album { asked: true, .. });

    // What may be spent. Who names a number has decided about the kind of music, too.
    let (clipper, leveler) = match asked {
        true if insist => (3.0, 3.0),
        true => (spec.clipper.max(WISH_CLIPPER) * fresh, spec.leveler.max(WISH_LEVELER) * fresh),
        false => (spec.clipper * profile.clipping * fresh, spec.leveler * profile.clipping * fresh),
    };
    let generous = if asked { WISH } else { 1.0 };
    // What the masked clipper takes is heard less: a number that was asked for may cost more of it.
    let masks = if asked && settings.limiter != Limiting::Fast { WISH_MASKED * fresh } else { 0.0 };
    let help = clipper.max(masks) + LEVELER_SHARE * leveler;
    let (median, p95) =
        (spec.median * generous + f64::midpoint(clipper, leveler).max(masks), spec.p95 * generous + help);
    let hits = if asked { spec.hits * WISH } else { profile.hits };
    let blend = |least: f64, budget: f64| least + (budget - least) * fresh;
    let reach = ladder.reach(blend(LIMITED, median), blend(LIMITED, p95), blend(LIMITED_HITS, hits)).max(untouched);

    let (target, wished) = match wish {
        Wish::Style { strength } => {
            // Nobody asked to be turned down: a mix that is louder than the style keeps its level.
            let nominal = (profile.loudness + 2.0 * (strength - 0.5)).max(loudness);
            let floor =
                analysis.peaks.plr.filter(|plr| plr.0.is_finite()).map_or(spec.plr, |plr| spec.plr.min(plr.0 - 0.5));
            (nominal.min(reach).min((ceiling.0 - floor).max(untouched)), None)
        }
        Wish::Number(number) | Wish::Reference(number) | Wish::Album { loudness: number, .. }
            if number.0 <= reach + 0.05 || (insist && !matches!(wish, Wish::Reference(_))) =>
        {
            (number.0, None)
        }
        Wish::Number(number) | Wish::Reference(number) | Wish::Album { loudness: number, .. } => (reach, Some(number)),
    };
    // What the engine chooses is a round number below what it may reach; what a person chose stays as it is.
    let chosen = wished.is_some() || !matches!(wish, Wish::Number(_) | Wish::Album { .. });
    let target = Lufs(if chosen { (target * 10.0 + 1e-6).floor() / 10.0 } else { target }.clamp(-70.0, -4.0));
    let price = ladder.price(target.0);

    // Where much has to be taken, one clipper takes what the music masks.
    let masked = rounds(settings.limiter)
        .filter(|_| price.hits.p95.0 > MASKED_FROM)
        .map(|rounds| MaskedClipper { max_reduction: Db(MASKED_MOST), rounds });
    let (clipper, leveler, limiter) = match masked {
        Some(_) => (0.0, 0.0, short(ceiling)),
        None => (clipper, leveler, limiter),
    };
    // Else the clipper takes the tops, the leveler the long swells, and the limiter what is left.
    let clip = if price.p95 > 1.0 { clipper.min(CLIPPER_SHARE * price.p95) } else { 0.0 };
    let rest = price.p95 - clip - spec.p95;
    let level = if rest > 0.3 { leveler.min(rest) } else { 0.0 };

    let mut reasons = vec![explain(analysis, loudness, target, wish, destination, spec)];
    reasons.push(limiting(&price.hits, false));
    if let Some(number) = wished {
        reasons.push(stop(number, target, limited, price.hits.p95.0, wish));
    }
    if masked.is_some() {
        reasons.push(reason(Aspect::Loudness, MASKED.to_owned()));
    }
    if clip > 0.0 {
        let text = format!(
            "A soft clipper rounds at most {} off the highest peaks, so that the limiter has less to do.",
            Db(clip)
        );
        reasons.push(reason(Aspect::Loudness, text));
    }
    if level > 0.0 {
        let text = format!(
            "A slow hand on the fader takes up to {} off the loudest passages ahead of the limiter.",
            Db(level)
        );
        reasons.push(reason(Aspect::Loudness, text));
    }
    if let Some(text) = playback(target, wish, destination) {
        reasons.push(reason(Aspect::Loudness, text));
    }
    let round = |v: f64| Db((v * 100.0).round() / 100.0);
    Decision {
        goal: Goal::Loudness { target, wished },
        clipper: (clip > 0.0).then(|| Clipper { max_reduction: round(clip), knee: Db(CLIPPER_KNEE) }),
        leveler: (level > 0.0).then(|| Leveler { max_reduction: round(level) }),
        masked,
        limiter,
        taken: price.p95.clamp(0.0, MOST_TAKEN),
        reasons,
    }
}

/// Rounds of the masked clipper; `None`: it is not to be used.
fn rounds(limiting: Limiting) -> Option<u32> {
    match limiting {
        Limiting::Fast => None,
        Limiting::Standard => Some(8),
        Limiting::Finest => Some(32),
    }
}

/// The style's limiter at a ceiling.
pub(super) fn limiter(spec: &StyleSpec, ceiling: Dbtp) -> Limiter {
    let (release_min, release_max) = spec.limiter;
    Limiter { ceiling, lookahead: Seconds(0.002), release_min: Seconds(release_min), release_max: Seconds(release_max) }
}

fn explain(
    analysis: &Analysis,
    loudness: f64,
    target: Lufs,
    wish: Wish,
    destination: Option<&Destination>,
    spec: &StyleSpec,
) -> Reason {
    let change = target.0 - loudness;
    let moved = if change.abs() < 0.1 {
        format!("The loudness stays at {target}")
    } else if change > 0.0 {
        format!("{} louder, to {target}", Db(change))
    } else {
        format!("{} quieter, to {target}", Db(-change))
    };
    let whose = match (wish, destination) {
        (Wish::Album { below, .. }, _) if below.0 < -0.05 => {
            format!(", {} below the loudest song of the album", Db(-below.0))
        }
        (Wish::Album { .. }, _) => ", the loudest song of the album".to_owned(),
        (_, Some(place)) if place.target.is_some() => format!(", for {}", place.name),
        (Wish::Number(_), _) => ", as you asked".to_owned(),
        (Wish::Reference(_), _) => ", towards the reference".to_owned(),
        (Wish::Style { .. }, _) if (target.0 - spec.loudness).abs() < 1.05 => {
            format!(", where {} masters live", spec.style)
        }
        (Wish::Style { .. }, _) => String::new(),
    };
    let over = if change < -0.1 && matches!(wish, Wish::Style { .. }) {
        format!(" Your mix peaks at {:+.1}, and a record has to stay below the ceiling.", analysis.peaks.true_peak)
    } else {
        String::new()
    };
    let limited = analysis
        .clipping
        .already_limited
        .as_ref()
        .map_or("", |_| " The mix was limited before it came here, so we hardly touch its peaks.");
    Reason {
        before: Some((loudness * 10.0).round() / 10.0),
        after: Some(target.0),
        unit: Some("LUFS".to_owned()),
        ..reason(Aspect::Loudness, format!("{moved}{whose}.{over}{limited}"))
    }
}

/// Unit by which the sentence about the limiting is found again.
const AT_HITS: &str = "dB at hits";

/// What clipper, leveler and limiter take together: as planned, or as the render has done it.
fn limiting(hits: &Hits, done: bool) -> Reason {
    let percent = 100.0 * hits.over_3;
    let text = if hits.most.0 < 0.1 {
        "The limiter has nothing to do.".to_owned()
    } else if hits.p90.0 < 0.5 {
        format!("The limiter only catches single peaks, by {} at most.", hits.most)
    } else {
        let often = match percent {
            _ if hits.most.0 <= 3.0 => "it never takes more than 3\u{202f}dB".to_owned(),
            0.0..0.5 => "more than 3\u{202f}dB in less than 1\u{202f}% of the time".to_owned(),
            _ => format!("more than 3\u{202f}dB in {percent:.0}\u{202f}% of the time"),
        };
        format!(
            "{} takes about {} off the loud hits: half of all hits lose less than {}, 19 of 20 less than {}, the largest {}; {often}.",
            if done { "The limiting" } else { "The limiter" },
            hits.p90,
            hits.median,
            hits.p95,
            hits.most,
        )
    };
    Reason {
        before: None,
        after: Some((hits.p95.0 * 100.0).round() / 100.0),
        unit: Some(AT_HITS.to_owned()),
        ..reason(Aspect::Loudness, text)
    }
}

/// Puts what the render has done in the place of what was planned, so that the account holds one figure and the true one.
pub(super) fn account(reasons: &mut [Reason], trace: &Trace) {
    if let Some(planned) = reasons.iter_mut().find(|reason| reason.unit.as_deref() == Some(AT_HITS)) {
        *planned = limiting(&Hits::of(&trace.reduction), true);
    }
}

fn stop(wished: Lufs, target: Lufs, limited: bool, hits: f64, wish: Wish) -> Reason {
    let asked = match wish {
        Wish::Reference(_) => "The reference has",
        Wish::Album { .. } => "Among the other songs it belongs at",
        Wish::Number(_) | Wish::Style { .. } => "You asked for",
    };
    let why = if limited {
        "The mix was limited already, and limiting it again would flatten it.".to_owned()
    } else {
        format!("More would take over {} off the hits, and you would hear it.", Db(hits))
    };
    let way = if matches!(wish, Wish::Number(_)) { " Insist, and you get it anyway." } else { "" };
    Reason {
        before: Some(wished.0),
        after: Some(target.0),
        unit: Some("LUFS".to_owned()),
        ..reason(Aspect::Loudness, format!("{asked} {wished}; we stop at {target}. {why}{way}"))
    }
}

/// What happens to the master where it is played.
fn playback(target: Lufs, wish: Wish, destination: Option<&Destination>) -> Option<String> {
    match destination {
        Some(place) => Some(match place.playback {
            Some(level) if target.0 > level.0 + 0.3 => {
                format!("{} {} will turn this master down by {}.", place.note, place.name, target - level)
            }
            _ => place.note.to_owned(),
        }),
        None if target.0 > STREAMING + 0.5 && !matches!(wish, Wish::Reference(_)) => Some(format!(
            "Streaming services that play at {} will turn it down by {}.",
            Lufs(STREAMING),
            target - Lufs(STREAMING)
        )),
        None => None,
    }
}
