//! What the long windows tell: tone and mono-fold of the file against those of the mix.

use super::{Expect, Gate};
use crate::Audio;
use crate::analyse::Analysis;
use crate::meter::{CELL_LENGTH, CellThirds, Spectra, THIRDS, median, third_octave};
use crate::plan::Plan;
use crate::units::Db;
use std::ops::RangeInclusive;

/// Third octaves that are compared, Hz: [`Tone::bound`](crate::plan::Tone::bound) promises nothing beyond.
const RANGE: RangeInclusive<f64> = 39.0..=16_500.0;
/// A third octave this far under the loudest has no energy to speak of: noise, or what a codec left.
const FAINT: f64 = -60.0;
/// Nor has one below this level, dBFS.
const SILENT: f64 = -90.0;
/// A lossy codec hides its noise beside louder tones: in its files, a third octave this far under the loudest one within two
/// octaves is taken for that noise, dB. Opus codes everything below 200 Hz as one band.
const MASKED: f64 = -20.0;
/// Those two octaves.
const MASKING: usize = 6;
/// What a lossy codec may add to the plan's bound, dB. Chosen by ear: far above what 320 kbit/s, V0 or Opus at 160 do.
const CODEC: f64 = 1.0;
/// How far a third octave may lie from where the filters take it, dB, where the plan promises nothing closer: what a mix without any
/// filter strays from one that was planned to move by eight.
const STRAY: f64 = 4.0;
/// A cell this far under the mean of all is a pause, dB.
const QUIET: f64 = -20.0;
/// With more than this share of the mix cut away, what is left may well sound different.
const CUT: f64 = 0.1;

/// Bass this far under the whole is not heard, dB.
const NO_BASS: f64 = -40.0;
/// Most that may be lost in mono below 120 Hz, and overall.
const LOSS_LOW: Db = Db(1.0);
const LOSS: Db = Db(3.0);
/// Losses this close are equal, dB: dither and rounding; more for lossy codecs, which code mid and side apart.
const EQUAL: (f64, f64) = (0.05, 0.3);

pub(super) fn gates(decoded: &Audio, expect: &Expect<'_>) -> Vec<Gate> {
    let after = Spectra::tone(decoded);
    let stereo = &expect.mix.stereo;
    let lossy = expect.codec.lossy();
    let mut gates: Vec<Gate> = tone(&after.thirds, expect).into_iter().collect();
    if bass_is_heard(expect.mix) {
        // A record may be followed that loses more.
        let most = Db(LOSS_LOW.0.max(expect.plan.tone.mono_low.0));
        gates.push(mono("mono_low", " below 120 Hz", after.mono_loss_low, stereo.mono_loss_low, most, lossy));
    }
    gates.push(mono("mono", "", after.mono_loss, stereo.mono_loss, LOSS, lossy));
    gates
}

/// Whether there is bass that could be lost in mono, and not just rumble far under everything else.
fn bass_is_heard(mix: &Analysis) -> bool {
    let powers: Vec<f64> = mix.bands.iter().map(|band| band.mid.power() + band.side.power()).collect();
    powers.first().is_none_or(|bass| *bass > powers.iter().sum::<f64>() * Db(NO_BASS).power())
}

/// The largest move of a third octave, aligned in level by the gain that leaves the largest move smallest.
///
/// Both files are compared cell by cell, and the median over the cells is the move: what limiter and leveler do to a whole cell is
/// level, not tone, and a band that only sounds now and then is judged where it sounds.
fn tone(after: &[CellThirds], expect: &Expect<'_>) -> Option<Gate> {
    let (plan, mix) = (expect.plan, expect.mix);
    let cut = plan.edit.trim_start.0 + plan.edit.trim_end.0;
    if plan.tone.bound.0 <= 0.0 || cut > CUT * mix.seconds().0 {
        return None;
    }
    let skipped = (plan.edit.trim_start.0 / CELL_LENGTH.0).round() as usize;
    let cells = mix.thirds.iter().skip(skipped).zip(after).map(|(before, after)| (before, after, power(before)));
    let cells: Vec<_> = cells.filter(|(_, after, before)| before.min(power(after)) > Db(SILENT).power()).collect();
    let mean = cells.iter().map(|(.., power)| power).sum::<f64>() / cells.len().max(1) as f64;
    let compared: Vec<usize> = (0..THIRDS).filter(|third| RANGE.contains(&third_octave(*third))).collect();
    let mut moved: Vec<Vec<f64>> = vec![Vec::new(); THIRDS];
    for (before, after, _) in cells.into_iter().filter(|(.., power)| *power > mean * Db(QUIET).power()) {
        let moves: Vec<(usize, f64)> = audible(before, &compared, expect.codec.lossy())
            .map(|third| (third, f64::from(after[third] - before[third])))
            .collect();
        let Some(level) = median(&mut moves.iter().map(|(_, change)| *change).collect::<Vec<f64>>()) else { continue };
        for (third, change) in moves {
            moved[third].push(change - level);
        }
    }
    // A band that hardly ever sounds has no tone to speak of.
    let least = moved.iter().map(Vec::len).max()?.div_ceil(10);
    let moves: Vec<(f64, f64)> = (moved.iter_mut().enumerate())
        .filter(|(_, changes)| !changes.is_empty() && changes.len() >= least)
        .filter_map(|(third, changes)| Some((median(changes)?, third_octave(third))))
        .collect();
    let lowest = moves.iter().copied().reduce(|a, b| if b.0 < a.0 { b } else { a })?;
    let highest = moves.iter().copied().reduce(|a, b| if b.0 > a.0 { b } else { a })?;
    let measured = (highest.0 - lowest.0) / 2.0;
    let codec = if expect.codec.lossy() { CODEC } else { 0.0 };
    let bound = plan.tone.bound.0 + codec;
    // A plan that moves much promises where, too: a band goes where the curves do, and no gain of a filter takes it elsewhere.
    let strays = strays(&moves, plan);
    let tolerance = (plan.tone.bound.0 - plan.largest_gain()).max(STRAY) + codec;
    if measured <= bound && strays > tolerance {
        let text =
            format!("third octaves lie {strays:.1} dB from where the plan moves them, at most {tolerance:.1} dB");
        return Some(Gate::new("tone", false, strays, tolerance, text));
    }
    let text = format!(
        "third octaves move by up to ±{measured:.1} dB ({:.0} Hz up against {:.0} Hz), bound ±{bound:.1} dB",
        highest.1, lowest.1
    );
    Some(Gate::new("tone", measured <= bound, measured, bound, text))
}

/// How far the moves lie outside what the plan's filters do within each band, dB, aligned in level.
fn strays(moves: &[(f64, f64)], plan: &Plan) -> f64 {
    let mut beyond = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for (moved, centre) in moves {
        // The bands are an octave wide.
        let gains = (-6..=6).flat_map(|step| plan.tone.gains(centre * 2f64.powf(f64::from(step) / 12.0)));
        let (low, high) = gains.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), g| (a.min(g), b.max(g)));
        beyond = (beyond.0.max(moved - high), beyond.1.max(low - moved));
    }
    f64::midpoint(beyond.0, beyond.1)
}

/// Power of a whole cell; the soft bands count everything one and a half times.
fn power(cell: &CellThirds) -> f64 {
    cell.iter().map(|level| Db(f64::from(*level)).power()).sum::<f64>() / 1.5
}

/// Those of the `compared` third octaves that can be heard beside the others of a cell.
fn audible(cell: &CellThirds, compared: &[usize], lossy: bool) -> impl Iterator<Item = usize> {
    let loudest = |thirds: &mut dyn Iterator<Item = usize>| {
        f64::from(thirds.map(|third| cell[third]).fold(f32::NEG_INFINITY, f32::max))
    };
    let faint = (loudest(&mut (0..THIRDS)) + FAINT).max(SILENT);
    let masked = move |third: usize| {
        let mut near = (0..THIRDS).filter(|other| lossy && other.abs_diff(third) <= MASKING);
        loudest(&mut near) + MASKED
    };
    compared.iter().copied().filter(move |third| f64::from(cell[*third]) > faint.max(masked(*third)))
}

fn mono(name: &str, place: &str, after: Db, before: Db, bound: Db, lossy: bool) -> Gate {
    let equal = before.0 + if lossy { EQUAL.1 } else { EQUAL.0 };
    let text = format!(
        "folded to mono it loses {after:.2}{place}, the mix {before:.2}; under {bound} or no more than the mix"
    );
    Gate::new(name, after < bound || after.0 <= equal, after.0, bound.0.max(equal), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Codec;
    use crate::units::{Hz, Seconds};

    /// 6 s of noise, white below the corner of a first-order low-pass, the channels as far apart as `side` says.
    fn noise(corner: f32, side: f32) -> Audio {
        let mut state = 9_u32;
        let (mut m, mut s) = (0.0, 0.0);
        let mut channels = [Vec::new(), Vec::new()];
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as f32 / 4_294_967_296.0 - 0.5
        };
        for _ in 0..288_000 {
            m += corner * (next() - m);
            s += corner * (next() - s);
            channels[0].push(0.5 * (m + side * s));
            channels[1].push(0.5 * (m - side * s));
        }
        Audio::new(48_000, channels)
    }

    fn analysis(audio: &Audio) -> Analysis {
        let spectra = Spectra::measure(audio);
        let mut mix = Analysis { rate: audio.rate, frames: audio.frames() as u64, ..Analysis::default() };
        mix.thirds = spectra.thirds;
        (mix.stereo.mono_loss, mix.stereo.mono_loss_low) = (spectra.mono_loss, spectra.mono_loss_low);
        mix
    }

    fn failed(after: &Audio, before: &Audio, plan: &Plan) -> Vec<String> {
        let mix = analysis(before);
        let expect = Expect { codec: Codec::Wav24, master: after, mix: &mix, plan };
        gates(after, &expect).into_iter().filter(|gate| !gate.passed).map(|gate| gate.name).collect()
    }

    #[test]
    fn a_tone_beyond_the_plan_is_found_whatever_its_level() {
        let bound = |bound: f64| {
            let mut plan = Plan::identity();
            plan.tone.bound = Db(bound);
            plan
        };
        let (bright, dark) = (noise(1.0, 0.3), noise(0.3, 0.3));
        let mut louder = bright.clone();
        louder.channels.iter_mut().flatten().for_each(|x| *x *= 1.7);
        assert!(failed(&louder, &bright, &bound(0.1)).is_empty());
        // A first-order low-pass at 2.7 kHz takes some 15 dB off at 16 kHz, ±7 when aligned.
        assert_eq!(failed(&dark, &bright, &bound(5.0)), ["tone"]);
        assert!(failed(&dark, &bright, &bound(9.0)).is_empty());
        assert!(failed(&dark, &bright, &bound(0.0)).is_empty(), "no promise, no gate");
        let mut trimmed = bound(5.0);
        trimmed.edit.trim_end = Seconds(3.0);
        assert!(failed(&dark, &bright, &trimmed).is_empty());
    }

    #[test]
    fn a_large_move_is_let_through_where_it_was_planned_and_nowhere_else() {
        let (bright, dark) = (noise(1.0, 0.3), noise(0.3, 0.3));
        let towards = |curve: Vec<(Hz, Db)>| {
            let mut plan = Plan::identity();
            plan.tone.bound = Db(18.0);
            (plan.tone.mid, plan.tone.side) = (curve.clone(), curve);
            plan
        };
        // What the low-pass does: nothing up to 1 kHz, some 15 dB less at 16 kHz.
        let falling = towards(vec![(Hz(1_000.0), Db(0.0)), (Hz(4_000.0), Db(-5.0)), (Hz(16_000.0), Db(-14.0))]);
        let rising = towards(vec![(Hz(1_000.0), Db(0.0)), (Hz(4_000.0), Db(5.0)), (Hz(16_000.0), Db(14.0))]);
        assert!(failed(&dark, &bright, &falling).is_empty());
        assert_eq!(failed(&bright, &bright, &falling), ["tone"], "the filter was never applied");
        assert_eq!(failed(&dark, &bright, &rising), ["tone"], "another filter was applied");
    }

    #[test]
    fn a_new_mono_loss_is_found_and_an_old_one_is_not_held_against_the_master() {
        let (narrow, wide) = (noise(1.0, 0.2), noise(1.0, 2.0));
        let none: [&str; 0] = [];
        assert_eq!(failed(&wide, &narrow, &Plan::identity()), ["mono_low", "mono"]);
        assert_eq!(failed(&wide, &wide, &Plan::identity()), none);
        assert_eq!(failed(&narrow, &wide, &Plan::identity()), none);
        for frames in [0, 1, 1_000] {
            let short = Audio::silence(44_100, frames);
            assert_eq!(failed(&short, &short, &Plan::identity()), none);
        }
    }
}
