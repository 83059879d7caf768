//! SVG path data in whole units of the data layer, relative and short.

use super::{HIGH, WIDE};
use std::fmt::Write;

/// A path in the making; points are fractions of the drawing, x to the right, y downwards.
#[derive(Default)]
pub(super) struct Path {
    data: String,
    at: Option<(i64, i64)>,
}

fn snap((x, y): (f64, f64)) -> (i64, i64) {
    // Values far outside are held just outside: the layer clips them.
    ((x.clamp(-1.0, 2.0) * WIDE).round() as i64, (y.clamp(-1.0, 2.0) * HIGH).round() as i64)
}

impl Path {
    pub(super) fn start(&mut self, point: (f64, f64)) {
        let (x, y) = snap(point);
        let _ = write!(self.data, "M{x} {y}");
        self.at = Some((x, y));
    }

    pub(super) fn line(&mut self, point: (f64, f64)) {
        let Some((x0, y0)) = self.at else { return self.start(point) };
        let (x, y) = snap(point);
        self.command('l', &[x - x0, y - y0]);
        self.at = Some((x, y));
    }

    fn curve(&mut self, first: (f64, f64), second: (f64, f64), point: (f64, f64)) {
        let Some((x0, y0)) = self.at else { return self.start(point) };
        let (a, b, c) = (snap(first), snap(second), snap(point));
        self.command('c', &[a.0 - x0, a.1 - y0, b.0 - x0, b.1 - y0, c.0 - x0, c.1 - y0]);
        self.at = Some(c);
    }

    fn command(&mut self, letter: char, values: &[i64]) {
        self.data.push(letter);
        for (i, value) in values.iter().enumerate() {
            if i > 0 && *value >= 0 {
                self.data.push(' ');
            }
            let _ = write!(self.data, "{value}");
        }
    }

    /// A smooth line through all points that never overshoots them: monotone cubic interpolation (Fritsch and Carlson, "Monotone
    /// piecewise cubic interpolation", SIAM J. Numer. Anal. 17, 1980). Points ascend in x.
    pub(super) fn smooth(&mut self, points: &[(f64, f64)]) {
        let Some((&first, rest)) = points.split_first() else { return };
        if self.at.is_some() {
            self.line(first);
        } else {
            self.start(first);
        }
        let slope = |i: usize| {
            let ((x0, y0), (x1, y1)) = (points[i], points[i + 1]);
            (y1 - y0) / (x1 - x0).max(1e-12)
        };
        let last = rest.len();
        let tangent = |i: usize| match i {
            _ if last == 0 => 0.0,
            0 => slope(0),
            i if i == last => slope(last - 1),
            i => {
                let (a, b) = (slope(i - 1), slope(i));
                // The harmonic mean keeps the curve monotone between its points.
                if a * b <= 0.0 { 0.0 } else { 2.0 * a * b / (a + b) }
            }
        };
        for (i, &(x, y)) in rest.iter().enumerate() {
            let (x0, y0) = points[i];
            let third = (x - x0) / 3.0;
            self.curve((x0 + third, y0 + tangent(i) * third), (x - third, y - tangent(i + 1) * third), (x, y));
        }
    }

    pub(super) fn close(&mut self) {
        if self.at.is_some() {
            self.data.push('z');
        }
    }

    /// Writes the element, unless nothing was drawn.
    pub(super) fn draw(&self, out: &mut String, class: &str) {
        if !self.data.is_empty() {
            let _ = write!(out, r#"<path class="{class}" d="{}"/>"#, self.data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_and_short() {
        let mut path = Path::default();
        path.line((0.0, 0.5));
        path.line((0.001, 0.497));
        path.line((0.002, 0.501));
        path.close();
        let mut out = String::new();
        path.draw(&mut out, "x");
        assert_eq!(out, r#"<path class="x" d="M0 500l2-3l2 4z"/>"#);
    }

    #[test]
    fn smooth_lines_do_not_overshoot() {
        // A step: every control point must stay between 0.2 and 0.8, or the curve would swing past it.
        let mut path = Path::default();
        path.smooth(&[(0.0, 0.2), (0.25, 0.2), (0.5, 0.8), (0.75, 0.8)]);
        let (mut y, mut extremes) = (200, (i64::MAX, i64::MIN));
        for segment in path.data.split('c').skip(1) {
            let spaced = segment.replace('-', " -");
            let v: Vec<i64> = spaced.split_whitespace().map(|v| v.parse().unwrap()).collect();
            for dy in [v[1], v[3], v[5]] {
                extremes = (extremes.0.min(y + dy), extremes.1.max(y + dy));
            }
            y += v[5];
        }
        assert_eq!((y, extremes), (800, (200, 800)));
    }
}
