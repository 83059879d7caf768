//! Drawings over one frequency axis.

use super::path::Path;
use super::{Canvas, Scale};
use crate::analyse::Spectrum;
use crate::plan::Tone;
use crate::report::text::{frequency, number, signed, with_unit};
use crate::units::{Db, Hz};

/// The range people hear.
const LOW: f64 = 20.0;
const HIGH: f64 = 20_000.0;

/// Where the two spectra are compared to find how much louder one is: the range that carries the loudness. Chosen by practice.
const COMPARED: std::ops::RangeInclusive<f64> = 60.0..=12_000.0;

fn axis() -> Scale {
    Scale::log(LOW, HIGH)
}

fn grid(canvas: &mut Canvas, labels: bool) {
    const TICKS: [(f64, &str); 10] = [
        (20.0, "20"),
        (50.0, "50"),
        (100.0, "100"),
        (200.0, "200"),
        (500.0, "500"),
        (1e3, "1k"),
        (2e3, "2k"),
        (5e3, "5k"),
        (1e4, "10k"),
        (2e4, "20k"),
    ];
    for (hz, label) in TICKS {
        let x = axis().at(hz);
        if hz > LOW && hz < HIGH {
            canvas.column(if [100.0, 1e3, 1e4].contains(&hz) { "grid decade" } else { "grid" }, x);
        }
        if labels {
            canvas.text("tick middle", (x, 1.0), (0.0, 1.6), label);
        }
    }
    if labels {
        canvas.text("tick end unit", (0.0, 1.0), (-1.2, 1.6), "Hz");
    }
}

/// Points of the drawing's range with their level, smoothed to about 1/6 octave: weights ¼ ½ ¼ on power over the twelfth octaves.
fn smoothed(hz: &[f32], level: &[f32]) -> Vec<(f64, f64)> {
    let power = |i: usize| Db(f64::from(level[i])).power();
    let last = hz.len().min(level.len()).saturating_sub(1);
    (0..hz.len().min(level.len()))
        .map(|i| {
            let sum = 0.25 * power(i.saturating_sub(1)) + 0.5 * power(i) + 0.25 * power((i + 1).min(last));
            (f64::from(hz[i]), Db::from_power(sum.max(1e-20)).0)
        })
        .collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Gain of the planned mid filter at `hz`: equalisation and subsonic cut.
fn planned(tone: &Tone, hz: f64) -> f64 {
    tone.gains(hz)[0]
}

/// How the master's tone differs from the mix's, once loudness is taken out.
struct Difference {
    /// What the loudness took out, dB.
    shift: f64,
    /// Hz, dB.
    points: Vec<(f64, f64)>,
}

fn difference(mix: &Spectrum, master: &Spectrum, tone: &Tone) -> Option<Difference> {
    let (before, after) = (smoothed(&mix.hz, &mix.mid), smoothed(&master.hz, &master.mid));
    // Both stand on the same grid of twelfth octaves as far as both reach.
    let raw: Vec<(f64, f64)> = before
        .iter()
        .zip(&after)
        .filter(|((f0, _), (f1, _))| (f0 / f1 - 1.0).abs() < 0.01)
        .map(|((hz, before), (_, after))| (*hz, after - before))
        .collect();
    let compared = raw.iter().filter(|(hz, _)| COMPARED.contains(hz));
    let shift = median(compared.map(|(hz, change)| change - planned(tone, *hz)).collect())?;
    Some(Difference { shift, points: raw.into_iter().map(|(hz, change)| (hz, change - shift)).collect() })
}

/// Deepest level drawn, dB under the highest.
const DEEPEST: f64 = 102.0;

/// By how much [`spectrum`] draws the master lower than it is, so that only the tone differs; `None` where there is no spectrum.
#[must_use]
pub fn level_shift(mix: &Spectrum, master: &Spectrum, tone: &Tone) -> Option<Db> {
    difference(mix, master, tone).map(|difference| Db(difference.shift))
}

fn curve(points: &[(f64, f64)], y: Scale) -> Vec<(f64, f64)> {
    points
        .iter()
        .filter(|(hz, _)| (LOW * 0.9..=HIGH * 1.1).contains(hz))
        .map(|(hz, level)| (axis().at(*hz), 1.0 - y.at(*level)))
        .collect()
}

/// Long-term spectra of mix and master (mid, gated medians per twelfth octave), drawn at one loudness, and the tone that was planned.
#[must_use]
pub fn spectrum(mix: &Spectrum, master: &Spectrum, tone: &Tone) -> String {
    let Some(Difference { shift, .. }) = difference(mix, master, tone) else { return String::new() };
    let before = smoothed(&mix.hz, &mix.mid);
    let after: Vec<(f64, f64)> =
        smoothed(&master.hz, &master.mid).into_iter().map(|(hz, level)| (hz, level - shift)).collect();
    let flat = tone.is_mid_flat();
    let target: Vec<(f64, f64)> =
        before.iter().filter(|_| !flat).map(|(hz, level)| (*hz, level + planned(tone, *hz))).collect();
    let shown = |points: &[(f64, f64)]| {
        let inside = points.iter().filter(|(hz, _)| (LOW..=HIGH).contains(hz));
        inside.map(|(_, level)| *level).fold(f64::NEG_INFINITY, f64::max)
    };
    let high = ((shown(&before).max(shown(&after)) + 2.0) / 6.0).ceil() * 6.0;
    // The floor lies under what sounds up to 20 kHz; where there is nothing (above a codec's low-pass, under a high-pass) the curve may
    // leave the drawing.
    let sounding =
        before.iter().chain(&after).filter(|(hz, level)| (LOW..=HIGH).contains(hz) && *level > high - DEEPEST);
    let lowest = sounding.map(|(_, level)| *level).fold(high, f64::min);
    let low = (((lowest - 2.0) / 6.0).floor() * 6.0).clamp(high - DEEPEST, high - 54.0);
    let y = Scale::linear(low, high);
    let top = before.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a }).unwrap_or_default();
    let mut canvas = Canvas::new(
        "spectrum",
        "Spectrum of mix and master",
        &format!(
            "Level per twelfth octave from 20 Hz to 20 kHz. The mix is strongest at {}; the master is drawn {} lower to compare tone, \
             not loudness.{}",
            frequency(Hz(top.0)),
            with_unit(shift, 1, "dB"),
            if flat { "" } else { " The dashed line is the target: the mix through the planned filter." }
        ),
    );
    grid(&mut canvas, false);
    canvas.scale_left(y, &y.ticks(&[6.0, 12.0, 18.0, 24.0], 6), None, |value| number(value, 0));
    canvas.data(|out| {
        let mix = curve(&before, y);
        if let (Some(first), Some(last)) = (mix.first(), mix.last()) {
            let mut area = Path::default();
            area.start((first.0, 1.0));
            area.smooth(&mix);
            area.line((last.0, 1.0));
            area.close();
            area.draw(out, "area mix");
        }
        for (class, points) in [("line mix", mix), ("line master", curve(&after, y)), ("target", curve(&target, y))] {
            if points.is_empty() {
                continue;
            }
            let mut line = Path::default();
            line.smooth(&points);
            line.draw(out, class);
        }
    });
    canvas.finish()
}

/// What changed in the tone: master against mix at one loudness, with the planned curve.
#[must_use]
pub fn tone(mix: &Spectrum, master: &Spectrum, tone: &Tone) -> String {
    let Some(Difference { points, .. }) = difference(mix, master, tone) else { return String::new() };
    let flat = tone.is_mid_flat();
    let plan: Vec<(f64, f64)> = points.iter().map(|(hz, _)| (*hz, planned(tone, *hz))).collect();
    // Differences outside 25 Hz–18 kHz are mostly noise and subsonics: they may leave the drawing.
    let reach = |points: &[(f64, f64)]| {
        let inside = points.iter().filter(|(hz, _)| (25.0..=18_000.0).contains(hz));
        inside.map(|(_, level)| level.abs()).fold(0f64, f64::max)
    };
    let most = if reach(&points).max(reach(&plan)) > 3.0 { 6.0 } else { 3.0 };
    let y = Scale::linear(-most, most);
    let end = |better: fn(f64, f64) -> bool| {
        let inside = points.iter().copied().filter(|(hz, _)| (25.0..=18_000.0).contains(hz));
        inside.reduce(|a, b| if better(b.1, a.1) { b } else { a }).unwrap_or_default()
    };
    let (up, down) = (end(|a, b| a > b), end(|a, b| a < b));
    let mut canvas = Canvas::new(
        "tone",
        "Change of tone",
        &format!(
            "Master against mix at one loudness: at most {} at {} and {} at {}.",
            with_unit_signed(up.1),
            frequency(Hz(up.0)),
            with_unit_signed(down.1),
            frequency(Hz(down.0)),
        ),
    );
    grid(&mut canvas, true);
    canvas.scale_left(y, &[most, 0.0, -most], Some(0.0), |value| signed(value, 0));
    canvas.data(|out| {
        let changed = curve(&points, y);
        if let (Some(first), Some(last)) = (changed.first(), changed.last()) {
            let mut area = Path::default();
            area.start((first.0, 0.5));
            area.smooth(&changed);
            area.line((last.0, 0.5));
            area.close();
            area.draw(out, "area master");
        }
        let mut line = Path::default();
        line.smooth(&changed);
        line.draw(out, "line master");
        if !flat {
            let mut line = Path::default();
            line.smooth(&curve(&plan, y));
            line.draw(out, "target");
        }
    });
    canvas.finish()
}

fn with_unit_signed(value: f64) -> String {
    format!("{}{}dB", signed(value, 1), crate::report::text::THIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_planned_curve_is_read_between_its_points() {
        let tone = Tone {
            mid: vec![(Hz(100.0), Db(2.0)), (Hz(400.0), Db(-2.0))],
            subsonic: Some(Hz(20.0)),
            ..Tone::default()
        };
        // Half-way in log frequency; the cut is −3 dB at its corner and nothing two decades up.
        assert!((planned(&tone, 200.0) - 0.0).abs() < 1e-3);
        assert!((planned(&tone, 20.0) - (2.0 - 3.0103)).abs() < 1e-3);
        assert!((planned(&tone, 5_000.0) + 2.0).abs() < 1e-3);
    }

    #[test]
    fn a_louder_copy_has_the_same_tone() {
        let hz: Vec<f32> = (0..120).map(|i| 20.0 * 2f32.powf(i as f32 / 12.0)).collect();
        let mid: Vec<f32> = hz.iter().map(|hz| -30.0 - 4.0 * (hz / 100.0).log2()).collect();
        let mix = Spectrum { hz: hz.clone(), side: vec![-150.0; 120], mid: mid.clone() };
        let master = Spectrum { mid: mid.iter().map(|level| level + 6.0).collect(), ..mix.clone() };
        let change = difference(&mix, &master, &Tone::default()).unwrap();
        assert!((change.shift - 6.0).abs() < 1e-4);
        assert!(change.points.iter().all(|(_, level)| level.abs() < 1e-4));
    }
}
