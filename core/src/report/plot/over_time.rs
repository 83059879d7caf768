//! Drawings over one time axis, made to stand above each other like the lanes of a workstation.

use super::path::Path;
use super::{Canvas, Scale};
use crate::analyse::{Severity, Waveform};
use crate::report::text::{length, minutes, number, with_unit};
use crate::units::{Db, Lufs, Seconds};

/// Most points of a line and columns of a waveform: about one per pixel of a wide page.
const COLUMNS: usize = 900;

/// Something to point at, numbered as in the list beside the drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// When, in the mix's time.
    pub at: Seconds,
    /// Its number.
    pub label: String,
    /// How grave.
    pub severity: Severity,
}

/// The time axis, in the mix's own time.
#[derive(Clone, Copy, Debug)]
pub struct Timeline<'a> {
    /// Length of the mix.
    pub length: Seconds,
    /// Where the master begins in it: what was cut from the start.
    pub master_start: Seconds,
    /// Vertical marks.
    pub marks: &'a [Mark],
    /// Whether to write the times under the drawing (in a stack of lanes: only under the last).
    pub axis: bool,
}

impl Timeline<'_> {
    fn scale(&self) -> Scale {
        Scale::linear(0.0, self.length.0.max(1e-3))
    }

    /// The class of a lane: with room for the times under it where it writes them.
    fn kind(&self, kind: &str) -> String {
        if self.axis { format!("{kind} axis") } else { kind.to_owned() }
    }

    fn ticks(&self) -> Vec<f64> {
        const STEPS: [f64; 17] =
            [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0];
        self.scale().ticks(&STEPS, 10)
    }

    fn grid(&self, canvas: &mut Canvas) {
        let (scale, ticks) = (self.scale(), self.ticks());
        let step = ticks.get(1).copied().unwrap_or(1.0);
        for (i, &tick) in ticks.iter().enumerate() {
            let x = scale.at(tick);
            if i > 0 && x < 0.999 {
                canvas.column("grid", x);
            }
            if self.axis {
                let text = if self.length.0 >= 10.0 {
                    minutes(Seconds(tick))
                } else {
                    with_unit(tick, usize::from(step < 0.99) + usize::from(step < 0.099), "s")
                };
                let class = if i % 2 == 1 && ticks.len() > 6 { "tick middle alternate" } else { "tick middle" };
                canvas.text(class, (x, 1.0), (0.0, 1.6), &text);
            }
        }
    }

    fn mark_lines(&self, canvas: &mut Canvas) {
        for mark in self.marks {
            canvas.column(&format!("mark {}", severity(mark.severity)), self.scale().within(mark.at.0));
        }
    }

    /// Labels above the drawing; marks that stand within 4 % of the width share one.
    fn mark_labels(&self, canvas: &mut Canvas) {
        let mut marks: Vec<(f64, &Mark)> =
            self.marks.iter().map(|mark| (self.scale().within(mark.at.0), mark)).collect();
        marks.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut rest = marks.as_slice();
        while let Some(&(first, _)) = rest.first() {
            let together = rest.iter().take_while(|(x, _)| x - first < 0.04).count();
            let (group, after) = rest.split_at(together);
            rest = after;
            let grave = group.iter().map(|(_, mark)| mark.severity).max().unwrap_or(Severity::Note);
            let mut labels: Vec<&str> = group.iter().map(|(_, mark)| mark.label.as_str()).take(3).collect();
            if group.len() > 3 {
                labels.push("…");
            }
            let middle = group.iter().map(|(x, _)| x).sum::<f64>() / group.len() as f64;
            canvas.text(
                &format!("label middle {}", severity(grave)),
                (middle, 0.0),
                (0.0, -0.5),
                &labels.join("\u{202f}·\u{202f}"),
            );
        }
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Advice => "advice",
        Severity::Problem => "problem",
    }
}

/// One waveform resampled to the columns of the drawing, extremes kept: `(min, max)` per column, `None` where it does not sound.
fn columns(wave: &Waveform, start: f64, length: f64, count: usize) -> Vec<Option<(f32, f32)>> {
    let step = f64::from(wave.frames_per_point) / f64::from(wave.rate.max(1));
    (0..count)
        .map(|column| {
            let time = |edge: usize| edge as f64 / count as f64 * length - start;
            let (from, to) = ((time(column) / step).floor(), (time(column + 1) / step).ceil());
            if to <= 0.0 || step <= 0.0 {
                return None;
            }
            let points = wave.points.get(from.max(0.0) as usize..(to as usize).min(wave.points.len()))?;
            points.iter().copied().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
        })
        .collect()
}

/// Waveforms of mix and master on one scale, in full-scale amplitude: the quieter in front of the louder, so that the gain is the
/// rim that shows.
#[must_use]
pub fn waveform(mix: &Waveform, master: &Waveform, timeline: &Timeline<'_>) -> String {
    if mix.points.is_empty() && master.points.is_empty() {
        return String::new();
    }
    let total = timeline.length.0.max(1e-3);
    let count = COLUMNS.min(mix.points.len().max(master.points.len()));
    let mix = columns(mix, 0.0, total, count);
    let master = columns(master, timeline.master_start.0, total, count);
    let extreme =
        |wave: &[Option<(f32, f32)>]| wave.iter().flatten().fold(0f32, |top, (low, high)| top.max(-low).max(*high));
    let mean =
        |wave: &[Option<(f32, f32)>]| wave.iter().flatten().map(|(low, high)| f64::from(high - low)).sum::<f64>();
    let peak = f64::from(extreme(&mix).max(extreme(&master)));
    // Full scale fills the drawing; overs of a float mix are shown up to +3 dB.
    let top = peak.clamp(1.0, 1.41);
    let describe = |name: &str, wave: &[Option<(f32, f32)>]| {
        format!("{name} peaks at {}", with_unit(Db::from_amplitude(f64::from(extreme(wave))).0, 1, "dBFS"))
    };
    let mut canvas = Canvas::new(
        &timeline.kind("waveform"),
        "Waveforms of mix and master",
        &format!(
            "{}; {}. {} long.",
            describe("The mix", &mix),
            describe("the master", &master),
            length(timeline.length)
        ),
    );
    timeline.grid(&mut canvas);
    let y = |value: f64| (1.0 - value / top) / 2.0;
    for (level, strong) in [(1.0, true), (0.5, false)] {
        for sign in [1.0, -1.0] {
            if strong && top == 1.0 && sign < 0.0 {
                canvas.row("grid", 1.0);
                continue;
            }
            canvas.row("grid", y(level * sign));
        }
        canvas.text("tick end", (0.0, y(level)), (-0.7, 0.33), if strong { "0" } else { "−6" });
    }
    canvas.text("tick end", (0.0, 0.5), (-0.7, 0.33), "−∞");
    let master_in_front = mean(&master) < mean(&mix);
    canvas.data(|out| {
        let mut layers = [("mix", &mix), ("master", &master)];
        if !master_in_front {
            layers.reverse();
        }
        for (class, wave) in layers {
            shape(wave, &y).draw(out, &format!("wave {class}"));
        }
    });
    canvas.row("base", 0.5);
    timeline.mark_lines(&mut canvas);
    timeline.mark_labels(&mut canvas);
    canvas.finish()
}

/// The outline of a waveform, one closed shape per stretch that sounds.
fn shape(wave: &[Option<(f32, f32)>], y: &impl Fn(f64) -> f64) -> Path {
    let mut path = Path::default();
    let x = |column: usize| (column as f64 + 0.5) / wave.len() as f64;
    let mut column = 0;
    while column < wave.len() {
        let stretch: Vec<(f32, f32)> = wave[column..].iter().map_while(|point| *point).collect();
        if let Some(first) = stretch.first() {
            path.start((x(column), y(f64::from(first.1))));
            for (i, (_, high)) in stretch.iter().enumerate().skip(1) {
                path.line((x(column + i), y(f64::from(*high))));
            }
            for (i, (low, _)) in stretch.iter().enumerate().rev() {
                path.line((x(column + i), y(f64::from(*low))));
            }
            path.close();
        }
        column += stretch.len().max(1);
    }
    path
}

/// A row of values every 0.1 s, thinned to the width of the drawing: `(seconds, value)`.
fn thinned(values: &[f32], pick: impl Fn(&[f32]) -> f32) -> Vec<(f64, f64)> {
    let group = values.len().div_ceil(COLUMNS).max(1);
    values
        .chunks(group)
        .enumerate()
        .map(|(i, chunk)| (((i * group) as f64 + chunk.len() as f64 / 2.0) * 0.1, f64::from(pick(chunk))))
        .collect()
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len() as f32
}

/// Short-term loudness of mix and master, LUFS every 0.1 s as in [`LoudnessFigures::over_time`](crate::analyse::LoudnessFigures), with
/// the loudness aimed at. Each value is drawn in the middle of its 3 s.
#[must_use]
pub fn loudness(mix: &[f32], master: &[f32], target: Option<Lufs>, timeline: &Timeline<'_>) -> String {
    /// Values per 3 s: a window that is not full yet says nothing.
    const WINDOW: usize = 30;
    let full = |values: &[f32]| values.get(WINDOW - 1..).unwrap_or(&[]).to_vec();
    let (mix, master) = (full(mix), full(master));
    let mut heard: Vec<f32> = mix.iter().chain(&master).copied().filter(|value| *value > -69.9).collect();
    heard.sort_by(f32::total_cmp);
    let (Some(&loudest), Some(&quiet)) = (heard.last(), heard.get(heard.len() / 20)) else { return String::new() };
    let loudest = f64::from(loudest).max(target.map_or(f64::NEG_INFINITY, |target| target.0));
    let high = ((loudest + 0.5) / 3.0).ceil() * 3.0;
    let low = (((f64::from(quiet) - 1.0) / 3.0).floor() * 3.0).clamp(high - 42.0, high - 12.0);
    let y = Scale::linear(low, high);
    let span = |values: &[f32]| {
        let heard = || values.iter().copied().filter(|value| *value > -69.9);
        let (quietest, loudest) = (heard().fold(0f32, f32::min), heard().fold(f32::NEG_INFINITY, f32::max));
        format!("between {} and {}", number(f64::from(quietest), 1), with_unit(f64::from(loudest), 1, "LUFS"))
    };
    let aim = target.map_or_else(String::new, |target| format!(" The target is {target} for the whole track."));
    let mut canvas = Canvas::new(
        &timeline.kind("loudness"),
        "Short-term loudness of mix and master",
        &format!("The mix moves {}, the master {}.{aim}", span(&mix), span(&master)),
    );
    timeline.grid(&mut canvas);
    canvas.scale_left(y, &y.ticks(&[3.0, 6.0, 12.0], 5), None, |value| number(value, 0));
    timeline.mark_lines(&mut canvas);
    let x = timeline.scale();
    canvas.data(|out| {
        for (class, values, start) in [("mix", &mix, 0.0), ("master", &master, timeline.master_start.0)] {
            let mut path = Path::default();
            let mut sounding = false;
            for (time, value) in thinned(values, mean) {
                let point = (x.at(time + start + 0.1 * (WINDOW / 2) as f64), 1.0 - y.at(value));
                match (value > -69.0, sounding) {
                    (true, true) => path.line(point),
                    (true, false) => path.start(point),
                    _ => {}
                }
                sounding = value > -69.0;
            }
            path.draw(out, &format!("line {class}"));
        }
    });
    if let Some(target) = target {
        canvas.row("target", 1.0 - y.within(target.0));
    }
    canvas.finish()
}

/// Gain reduction of clipper, leveler and limiter, dB ≥ 0 every 0.1 s, hanging from the top.
#[must_use]
pub fn reduction(values: &[f32], timeline: &Timeline<'_>) -> String {
    if values.is_empty() {
        return String::new();
    }
    let most = f64::from(values.iter().copied().fold(0f32, f32::max));
    let y = Scale::linear(0.0, (most / 3.0).ceil().max(1.0) * 3.0);
    let mut canvas = Canvas::new(
        &timeline.kind("reduction"),
        "Gain reduction over time",
        &format!("Clipper, leveler and limiter together take off at most {}.", with_unit(most, 1, "dB")),
    );
    timeline.grid(&mut canvas);
    for tick in y.ticks(&[3.0, 6.0, 12.0], 4) {
        canvas.row(if tick == 0.0 { "base" } else { "grid" }, y.at(tick));
        canvas.text("tick end", (0.0, y.at(tick)), (-0.7, 0.33), &number(-tick, 0));
    }
    timeline.mark_lines(&mut canvas);
    let x = timeline.scale();
    canvas.data(|out| {
        let points: Vec<(f64, f64)> = thinned(values, |chunk| chunk.iter().copied().fold(0f32, f32::max))
            .into_iter()
            .map(|(time, value)| (x.at(time + timeline.master_start.0), y.at(value)))
            .collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let mut area = Path::default();
        area.start((first.0, 0.0));
        for &point in &points {
            area.line(point);
        }
        area.line((last.0, 0.0));
        area.close();
        area.draw(out, "area master");
        let mut line = Path::default();
        for &point in &points {
            line.line(point);
        }
        line.draw(out, "line thin master");
    });
    canvas.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_a_waveform_keeps_its_peak() {
        let mut points = vec![(-0.1, 0.1); 10_000];
        points[7_777] = (-0.9, 0.95);
        let wave = Waveform { frames_per_point: 441, rate: 44_100, points };
        let drawn = columns(&wave, 0.0, 100.0, 900);
        let top = drawn.iter().flatten().fold((0f32, 0f32), |a, b| (a.0.min(b.0), a.1.max(b.1)));
        assert_eq!(top, (-0.9, 0.95));
        assert!(drawn.iter().all(Option::is_some));
    }

    #[test]
    fn a_trimmed_master_stands_where_it_was_cut() {
        let wave = Waveform { frames_per_point: 441, rate: 44_100, points: vec![(-0.1, 0.1); 500] };
        let drawn = columns(&wave, 5.0, 10.0, 100);
        assert_eq!(drawn.iter().position(Option::is_some), Some(50));
        assert!(drawn[50..].iter().all(Option::is_some));
    }

    #[test]
    fn marks_that_collide_share_a_label() {
        let mark = |at, label: &str| Mark { at: Seconds(at), label: label.to_owned(), severity: Severity::Advice };
        let marks = [mark(41.2, "1"), mark(150.0, "2"), mark(42.0, "3")];
        let timeline = Timeline { length: Seconds(200.0), master_start: Seconds(0.0), marks: &marks, axis: true };
        let mut canvas = Canvas::new("x", "t", "d");
        timeline.mark_labels(&mut canvas);
        assert!(canvas.out.contains(">1\u{202f}·\u{202f}3<") && canvas.out.contains(">2<"), "{}", canvas.out);
    }
}
