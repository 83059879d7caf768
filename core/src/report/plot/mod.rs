//! Drawings as SVG fragments for a page: [`waveform`], [`loudness`], [`reduction`] over one time axis, [`spectrum`] and [`tone`] over
//! one frequency axis, [`levels`], [`width`] and [`correlation`] with a row per band.
//!
//! Each fragment is one `<svg role="img">` with a `<title>` and a `<desc>`, or empty where there is nothing to draw. It takes its
//! colours and sizes from [`CSS`] and the variables `--mix`, `--master`, `--target`, `--line`, `--text`, `--muted`, `--ground`, `--bad` of
//! the page around it. Positions are percentages and only the data is stretched: a drawing fills any width at any height with lines
//! and letters of one size, on a phone and on paper.

mod bands;
mod over_time;
mod path;
mod tone;

pub use bands::{correlation, levels, width};
pub use over_time::{Mark, Timeline, loudness, reduction, waveform};
pub use tone::{level_shift, spectrum, tone};

use std::fmt::Write;

/// Style of the fragments: include it once per page.
pub const CSS: &str = include_str!("plot.css");

/// The variables of [`CSS`] and what they are where nobody sets them.
const COLOURS: [(&str, &str); 9] = [
    ("mix", "#6b8fb0"),
    ("master", "#cc7f20"),
    ("target", "#7c838c"),
    ("line", "#80808033"),
    ("rule", "#80808066"),
    ("text", "#7c838c"),
    ("muted", "#7c838c"),
    ("ground", "#ffffff"),
    ("bad", "#d64a42"),
];

/// A fragment as a file of its own, `height` pixels high: put into a page it takes that page's variables, alone it has colours that are
/// seen on light and dark. `None` where there is nothing to draw.
#[must_use]
pub fn standalone(fragment: &str, height: u32) -> Option<String> {
    if fragment.is_empty() {
        return None;
    }
    let style = COLOURS.iter().fold(CSS.to_owned(), |css, (name, colour)| {
        css.replace(&format!("var(--{name})"), &format!("var(--{name},{colour})"))
    });
    // The margins that the style gives the fragment in a page are those of its place in this frame.
    let (left, top, below) = (40, 20, 28);
    let whole = height + top + below;
    let inner = fragment.replacen("<svg ", &format!(r#"<svg x="{left}" y="{top}" height="{height}" "#), 1);
    Some(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="100%" height="{whole}"><style>{style}</style>{inner}</svg>"#
    ))
}

/// Units of the stretched data layer: fine enough that a unit is under a pixel.
const WIDE: f64 = 2000.0;
const HIGH: f64 = 1000.0;

/// Maps a range to 0–1.
#[derive(Clone, Copy, Debug)]
struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    fn linear(low: f64, high: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, log: false }
    }

    fn log(low: f64, high: f64) -> Self {
        Self { low, high, log: true }
    }

    fn at(self, value: f64) -> f64 {
        if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// Like `at`, held inside the drawing.
    fn within(self, value: f64) -> f64 {
        let at = self.at(value);
        if at.is_nan() { 0.0 } else { at.clamp(0.0, 1.0) }
    }

    /// Round values inside the range, at most `most` of them, from the first step of `steps` that is wide enough.
    fn ticks(self, steps: &[f64], most: usize) -> Vec<f64> {
        let span = self.high - self.low;
        let fits = |step: &&f64| span / **step <= most.saturating_sub(1) as f64 + 1e-6;
        let step = steps.iter().find(fits).or(steps.last()).copied().unwrap_or(span);
        let first = (self.low / step - 1e-6).ceil() as i64;
        let last = (self.high / step + 1e-6).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }
}

/// One fragment in the making.
struct Canvas {
    out: String,
}

impl Canvas {
    /// `kind` becomes the class `plot-kind`, whatever stands after it further classes.
    fn new(kind: &str, title: &str, description: &str) -> Self {
        let mut out = String::with_capacity(16 << 10);
        let (title, description) = (escape(title), escape(description));
        let _ = write!(
            out,
            r#"<svg class="plot plot-{kind}" role="img" width="100%"><title>{title}</title><desc>{description}</desc>"#
        );
        Self { out }
    }

    /// Horizontal hairline at `y` (0 at the top, 1 at the bottom).
    fn row(&mut self, class: &str, y: f64) {
        let y = percent(y);
        let _ = write!(self.out, r#"<line class="{class}" x1="0" x2="100%" y1="{y}" y2="{y}"/>"#);
    }

    /// Vertical hairline at `x` (0–1).
    fn column(&mut self, class: &str, x: f64) {
        let x = percent(x);
        let _ = write!(self.out, r#"<line class="{class}" x1="{x}" x2="{x}" y1="0" y2="100%"/>"#);
    }

    /// A horizontal bar with round ends.
    fn bar(&mut self, class: &str, from: f64, to: f64, y: f64, dy: i32) {
        let (from, to, y) = (percent(from), percent(to), percent(y));
        let _ = write!(
            self.out,
            r#"<line class="{class}" x1="{from}" x2="{to}" y1="{y}" y2="{y}" transform="translate(0 {dy})"/>"#
        );
    }

    /// A dot.
    fn dot(&mut self, class: &str, x: f64, y: f64, dy: i32, radius: f64) {
        let (x, y) = (percent(x), percent(y));
        let _ = write!(
            self.out,
            r#"<circle class="{class}" cx="{x}" cy="{y}" r="{radius}" transform="translate(0 {dy})"/>"#
        );
    }

    /// Text at a point; `dx` and `dy` in em.
    fn text(&mut self, class: &str, (x, y): (f64, f64), (dx, dy): (f64, f64), text: &str) {
        let (x, y, text) = (percent(x), percent(y), escape(text));
        let _ = write!(self.out, r#"<text class="{class}" x="{x}" y="{y}" dx="{dx}em" dy="{dy}em">{text}</text>"#);
    }

    /// Scale on the left: a hairline and a figure per tick. The tick at `strong` is drawn as the base line.
    fn scale_left(&mut self, scale: Scale, ticks: &[f64], strong: Option<f64>, label: impl Fn(f64) -> String) {
        for &tick in ticks {
            let y = 1.0 - scale.at(tick);
            self.row(if strong == Some(tick) { "base" } else { "grid" }, y);
            self.text("tick end", (0.0, y), (-0.7, 0.33), &label(tick));
        }
    }

    /// The stretched layer: everything `draw` writes is in `WIDE` × `HIGH`.
    fn data(&mut self, draw: impl FnOnce(&mut String)) {
        let _ = write!(
            self.out,
            r#"<svg width="100%" height="100%" viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none">"#
        );
        draw(&mut self.out);
        self.out.push_str("</svg>");
    }

    fn finish(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }
}

/// `12.5%`, with no more digits than a wide screen can show.
fn percent(fraction: f64) -> String {
    let hundredths = (fraction * 1e4).round() as i64;
    match (hundredths / 100, hundredths % 100) {
        (0, 0) => "0".to_owned(),
        (_, 0) => format!("{}%", hundredths / 100),
        _ => format!("{}%", hundredths as f64 / 100.0),
    }
}

/// Text inside markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Control characters are not allowed in XML at all.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(Scale::linear(-30.0, -6.0).ticks(&[1.0, 2.0, 3.0, 6.0], 5), [-30.0, -24.0, -18.0, -12.0, -6.0]);
        assert_eq!(Scale::linear(0.0, 0.3).ticks(&[0.05, 0.1, 0.2], 5), [0.0, 0.1, 0.2, 0.1 * 3.0]);
    }

    #[test]
    fn percentages_are_short() {
        assert_eq!(percent(0.0), "0");
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(0.125), "12.5%");
        assert_eq!(percent(1.0 / 3.0), "33.33%");
        assert_eq!(percent(-0.005), "-0.5%");
    }

    #[test]
    fn text_cannot_leave_its_element() {
        assert_eq!(escape("<a href=\"x\">&\u{7}"), "&lt;a href=&quot;x&quot;&gt;&amp; ");
    }
}
