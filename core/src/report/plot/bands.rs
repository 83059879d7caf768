//! Drawings with a row per band: mix and master on one scale, the way from one to the other as a line.

use super::{Canvas, Scale};
use crate::analyse::BandFigures;
use crate::plan::BandDynamics;
use crate::report::text::{band, number, with_unit};
use crate::units::Db;

/// Height of the middle of row `index`, 0–1.
fn row(index: usize, rows: usize) -> f64 {
    (index as f64 + 0.5) / rows as f64
}

fn frame(
    canvas: &mut Canvas,
    bands: &[BandFigures],
    scale: Scale,
    ticks: &[f64],
    base: f64,
    label: impl Fn(f64) -> String,
) {
    for &tick in ticks {
        canvas.column(if tick == base { "base" } else { "grid" }, scale.at(tick));
        canvas.text("tick middle", (scale.at(tick), 1.0), (0.0, 1.6), &label(tick));
    }
    for index in 0..bands.len() {
        let (name, span) = band(index, bands);
        canvas.text("name end", (0.0, row(index, bands.len())), (-0.8, -0.15), &name);
        canvas.text("tick end", (0.0, row(index, bands.len())), (-0.93, 1.0), &span);
    }
}

/// From the mix's dot to the master's, per band.
fn dumbbells(canvas: &mut Canvas, scale: Scale, values: &[(f64, f64)]) {
    for (index, (mix, master)) in values.iter().enumerate() {
        let y = row(index, values.len());
        let (from, to) = (scale.within(*mix), scale.within(*master));
        canvas.bar("way", from, to, y, 0);
        // A ring and a dot: where nothing moved, both are seen.
        canvas.dot("ring mix", from, y, 0, 5.5);
        canvas.dot("dot master", to, y, 0, 3.5);
    }
}

fn same_bands(mix: &[BandFigures], master: &[BandFigures]) -> bool {
    !mix.is_empty() && mix.len() == master.len()
}

/// Width per band: side over mid in dB, before and after. Below −40 dB a band is mono to the ear.
#[must_use]
pub fn width(mix: &[BandFigures], master: &[BandFigures]) -> String {
    if !same_bands(mix, master) {
        return String::new();
    }
    let side = |figures: &BandFigures| {
        let ratio = figures.side.0 - figures.mid.0;
        if ratio.is_nan() { -40.0 } else { ratio.clamp(-40.0, 10.0) }
    };
    let values: Vec<(f64, f64)> = mix.iter().zip(master).map(|(a, b)| (side(a), side(b))).collect();
    let widest = values.iter().fold(0f64, |top, (a, b)| top.max(*a).max(*b));
    let scale = Scale::linear(-40.0, if widest > 0.5 { 10.0 } else { 0.0 });
    let mut canvas = Canvas::new("bands", "Width per band", &describe(mix, &values, "side against mid", "dB"));
    let ticks = scale.ticks(&[10.0], 6);
    frame(&mut canvas, mix, scale, &ticks, 0.0, |tick| if tick == -40.0 { "mono".to_owned() } else { number(tick, 0) });
    dumbbells(&mut canvas, scale, &values);
    canvas.finish()
}

/// Correlation of left and right per band, before and after.
#[must_use]
pub fn correlation(mix: &[BandFigures], master: &[BandFigures]) -> String {
    if !same_bands(mix, master) {
        return String::new();
    }
    let values: Vec<(f64, f64)> = mix.iter().zip(master).map(|(a, b)| (a.correlation, b.correlation)).collect();
    let lowest = values.iter().fold(1f64, |low, (a, b)| low.min(*a).min(*b));
    let scale = Scale::linear(if lowest < -0.02 { -1.0 } else { 0.0 }, 1.0);
    let mut canvas = Canvas::new("bands", "Correlation per band", &describe(mix, &values, "correlation", ""));
    let ticks = scale.ticks(&[0.25, 0.5], 5);
    frame(&mut canvas, mix, scale, &ticks, 0.0, |tick| {
        if tick.fract() == 0.0 {
            number(tick, 0)
        } else {
            number(tick, if (tick * 2.0).fract() == 0.0 { 1 } else { 2 })
        }
    });
    dumbbells(&mut canvas, scale, &values);
    canvas.finish()
}

fn describe(bands: &[BandFigures], values: &[(f64, f64)], what: &str, unit: &str) -> String {
    let digits = if unit.is_empty() { 2 } else { 1 };
    let one = |(index, (before, after)): (usize, &(f64, f64))| {
        format!("{} {} → {}", band(index, bands).0, number(*before, digits), with_unit(*after, digits, unit))
    };
    format!("{what}: {}.", values.iter().enumerate().map(one).collect::<Vec<_>>().join(", "))
}

/// Level distribution per band: a bar from the 10th to the 95th percentile of the 20 ms levels with the median on it, mix above
/// master, the master drawn `shift` lower; the compressor's threshold where there is one.
#[must_use]
pub fn levels(mix: &[BandFigures], master: &[BandFigures], dynamics: &[BandDynamics], shift: Db) -> String {
    if !same_bands(mix, master) {
        return String::new();
    }
    let levels = |figures: &BandFigures, shift: f64| figures.percentiles.map(|level| level.0 - shift);
    let rows: Vec<_> = mix.iter().zip(master).map(|(a, b)| (levels(a, 0.0), levels(b, shift.0))).collect();
    let all = || rows.iter().flat_map(|(a, b)| a.iter().chain(b)).copied().filter(|level| level.is_finite());
    let high = ((all().fold(-60.0, f64::max) + 1.0) / 6.0).ceil() * 6.0;
    let low = (((all().fold(0.0, f64::min) - 1.0) / 6.0).floor() * 6.0).max(high - 66.0);
    let scale = Scale::linear(low, high);
    let spreads: Vec<(f64, f64)> = rows.iter().map(|(a, b)| (a[2] - a[1], b[2] - b[1])).collect();
    let mut canvas = Canvas::new(
        "bands",
        "Levels per band",
        &describe(mix, &spreads, "From the median to the 95th percentile of the 20 ms levels", "dB"),
    );
    let ticks = scale.ticks(&[12.0, 18.0, 24.0], 6);
    frame(&mut canvas, mix, scale, &ticks, f64::NAN, |tick| number(tick, 0));
    for (index, (before, after)) in rows.iter().enumerate() {
        let y = row(index, rows.len());
        for (class, levels, dy) in [("mix", before, -5), ("master", after, 5)] {
            canvas.bar(&format!("bar {class}"), scale.within(levels[0]), scale.within(levels[2]), y, dy);
            canvas.dot("median", scale.within(levels[1]), y, dy, 2.0);
        }
        if let Some(band) = dynamics.get(index).filter(|band| band.ratio > 1.0) {
            let x = scale.within(band.threshold.0);
            canvas.text("threshold middle", (x, y), (0.0, -0.85), "▾");
        }
    }
    canvas.finish()
}
