//! Figures as a person writes them: few digits, a real minus sign, a thin space before the unit.

use crate::analyse::BandFigures;
use crate::units::{Hz, Seconds};

/// U+202F, the thin space that does not break, between a figure and its unit.
pub(crate) const THIN: char = '\u{202f}';

/// `value` with `digits` decimals and a typographic minus; `−∞` and `∞` for the infinite, an en dash for not-a-number.
pub(crate) fn number(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "–".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "−∞" }.to_owned();
    }
    let text = format!("{:.digits$}", value.abs());
    let zero = !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if value < 0.0 && !zero { format!("−{text}") } else { text }
}

/// Like [`number`], with a plus sign on what rounds to more than zero.
pub(crate) fn signed(value: f64, digits: usize) -> String {
    let text = number(value, digits);
    let positive = value > 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if positive { format!("+{text}") } else { text }
}

/// A figure with its unit.
pub(crate) fn with_unit(value: f64, digits: usize, unit: &str) -> String {
    let figure = number(value, digits);
    if unit.is_empty() { figure } else { format!("{figure}{THIN}{unit}") }
}

/// Decimals a person would give a figure of this unit.
pub(crate) fn digits(unit: &str, value: f64) -> usize {
    match unit {
        "Hz" | "%" | "samples" | "bits" | "bit" => 0,
        _ if unit.starts_with("dB ") => 1,
        "dB" | "LU" | "LUFS" | "dBTP" | "dBFS" => 1,
        "kHz" | "s" => usize::from(value.abs() < 100.0),
        _ if value.abs() >= 100.0 || value.fract() == 0.0 => 0,
        _ => 2,
    }
}

/// `80 Hz`, `2.5 kHz`.
pub(crate) fn frequency(hz: Hz) -> String {
    if hz.0 < 995.0 {
        return with_unit(if hz.0 < 100.0 { hz.0.round() } else { (hz.0 / 5.0).round() * 5.0 }, 0, "Hz");
    }
    let khz = hz.0 / 1000.0;
    with_unit(khz, usize::from(khz < 99.95 && ((khz * 10.0).round() / 10.0).fract() != 0.0), "kHz")
}

/// `44.1 kHz`: rates are named exactly.
pub(crate) fn rate(hz: u32) -> String {
    let khz = f64::from(hz) / 1000.0;
    let digits = (0..3).find(|&d| ((khz * 10f64.powi(d)).fract()).abs() < 1e-9).unwrap_or(3);
    with_unit(khz, digits as usize, "kHz")
}

/// `38.4 MB`, in powers of ten as file managers and shops count.
pub(crate) fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1_000 => with_unit(value, 0, "B"),
        1_000..999_500 => with_unit(value / 1e3, 0, "kB"),
        999_500..999_950_000 => with_unit(value / 1e6, 1, "MB"),
        _ => with_unit(value / 1e9, 2, "GB"),
    }
}

/// A length for people: `4:03`, or `0.3 s` where a clock would say nothing.
pub(crate) fn length(seconds: Seconds) -> String {
    if seconds.0 < 10.0 {
        return with_unit(seconds.0, if seconds.0 < 0.095 { 3 } else { 1 }, "s");
    }
    minutes(seconds)
}

/// `0:05`, `4:03`, `1:02:03`.
pub(crate) fn minutes(seconds: Seconds) -> String {
    let whole = seconds.0.max(0.0).round() as u64;
    if whole >= 3600 {
        format!("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
    } else {
        format!("{}:{:02}", whole / 60, whole % 60)
    }
}

/// Short times of ballistics: `0.5 ms`, `20 ms`, `1.5 s`.
pub(crate) fn short_time(time: Seconds) -> String {
    let ms = time.0 * 1e3;
    if ms >= 999.5 {
        with_unit(time.0, 1, "s")
    } else {
        with_unit(ms, usize::from(ms < 9.95 && ms.fract() > 0.05), "ms")
    }
}

/// `× 240` real time.
pub(crate) fn times(factor: f64) -> String {
    with_unit(factor, usize::from(factor < 9.95), "× real time")
}

/// `1 file`, `3 files`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// What a band is called and where it lies: `("Bass", "to 120 Hz")`.
pub(crate) fn band(index: usize, bands: &[BandFigures]) -> (String, String) {
    const NAMES: [&str; crate::bands::BANDS] = ["Bass", "Low mid", "Mid", "Presence", "Air"];
    let name = NAMES.get(index).map_or_else(|| format!("Band {}", index + 1), |name| (*name).to_owned());
    let Some(figures) = bands.get(index) else { return (name, String::new()) };
    let span = if index == 0 {
        format!("to {}", frequency(figures.high))
    } else if index + 1 == bands.len() {
        format!("from {}", frequency(figures.low))
    } else {
        // One unit for both ends: `120–500 Hz`, `0.5–2.5 kHz`.
        let (scale, unit) = if figures.high.0 < 1000.0 { (1.0, "Hz") } else { (1000.0, "kHz") };
        let end = |hz: Hz| {
            let value = hz.0 / scale;
            number(value, usize::from((value * 10.0).round() % 10.0 != 0.0))
        };
        format!("{}–{}{THIN}{unit}", end(figures.low), end(figures.high))
    };
    (name, span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_as_people_round() {
        assert_eq!(number(-14.04, 1), "−14.0");
        assert_eq!(number(-0.04, 1), "0.0");
        assert_eq!(signed(0.04, 1), "0.0");
        assert_eq!(signed(1.46, 1), "+1.5");
        assert_eq!(number(f64::NEG_INFINITY, 1), "−∞");
        assert_eq!(number(f64::NAN, 1), "–");
        assert_eq!(frequency(Hz(251.3)), "250\u{202f}Hz");
        assert_eq!(frequency(Hz(28.0)), "28\u{202f}Hz");
        assert_eq!(frequency(Hz(2500.0)), "2.5\u{202f}kHz");
        assert_eq!(frequency(Hz(8000.0)), "8\u{202f}kHz");
        assert_eq!(frequency(Hz(999.0)), "1\u{202f}kHz");
        assert_eq!(rate(44_100), "44.1\u{202f}kHz");
        assert_eq!(rate(48_000), "48\u{202f}kHz");
        assert_eq!(rate(11_025), "11.025\u{202f}kHz");
        assert_eq!(bytes(63_504_044), "63.5\u{202f}MB");
        assert_eq!(bytes(999_999), "1.0\u{202f}MB");
        assert_eq!(bytes(53_000), "53\u{202f}kB");
        assert_eq!(length(Seconds(243.2)), "4:03");
        assert_eq!(length(Seconds(0.3)), "0.3\u{202f}s");
        assert_eq!(length(Seconds(3723.0)), "1:02:03");
        assert_eq!(short_time(Seconds(0.002)), "2\u{202f}ms");
        assert_eq!(short_time(Seconds(0.0015)), "1.5\u{202f}ms");
        assert_eq!(count(1, "file", "files"), "1 file");
    }

    #[test]
    fn bands_say_where_they_lie() {
        let edge = |low, high| BandFigures { low: Hz(low), high: Hz(high), ..BandFigures::default() };
        let bands =
            [edge(0.0, 120.0), edge(120.0, 500.0), edge(500.0, 2_500.0), edge(2_500.0, 8_000.0), edge(8e3, 22e3)];
        let spans: Vec<String> = (0..5).map(|i| band(i, &bands).1).collect();
        assert_eq!(
            spans,
            ["to 120\u{202f}Hz", "120–500\u{202f}Hz", "0.5–2.5\u{202f}kHz", "2.5–8\u{202f}kHz", "from 8\u{202f}kHz"]
        );
    }
}
