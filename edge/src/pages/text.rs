//! Figures and times as a person would write them.

use super::view::{Master, State};
use loopmaster_core::settings::{Loudness, Settings, Style};
use std::fmt::Write as _;

/// Between a number and its unit.
pub(super) const THIN: &str = "\u{202f}";

/// `−14.0`: one decimal, a real minus, no minus zero.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    if text == "-0.0" { "0.0".to_owned() } else { text.replace('-', "−") }
}

/// `3:07`, `1:02:30`.
pub(super) fn clock(seconds: f64) -> String {
    let whole = if seconds.is_finite() { seconds.max(0.0).round() as u64 } else { 0 };
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// `48.2 MB`.
pub(super) fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    let (value, unit) = match bytes {
        b if b < 1e3 => return format!("{b}{THIN}bytes"),
        b if b < 1e6 => (b / 1e3, "kB"),
        b if b < 1e9 => (b / 1e6, "MB"),
        b if b < 1e12 => (b / 1e9, "GB"),
        b => (b / 1e12, "TB"),
    };
    if value < 10.0 { format!("{value:.1}{THIN}{unit}") } else { format!("{value:.0}{THIN}{unit}") }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `2026-11-25T20:15:00.123Z` → `25 Nov 2026`; what is not such a time stays as it is.
pub(super) fn day(rfc3339: &str) -> String {
    let part = |range| rfc3339.get(range).and_then(|text: &str| text.parse::<usize>().ok());
    let month = part(5..7).and_then(|month| MONTHS.get(month.checked_sub(1)?));
    match (part(0..4), month, part(8..10)) {
        (Some(year), Some(month), Some(day)) => format!("{day} {month} {year}"),
        _ => rfc3339.to_owned(),
    }
}

/// `25 Nov 2026, 20:15 UTC`; the script makes it the reader's own time.
pub(super) fn moment(rfc3339: &str) -> String {
    match rfc3339.get(11..16) {
        Some(time) => format!("{}, {time} UTC", day(rfc3339)),
        None => day(rfc3339),
    }
}

/// `1 track`, `3 tracks`.
pub(super) fn count(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// First letter upper case.
pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What a style does, for who is choosing one.
pub(super) fn style_note(style: Style) -> &'static str {
    match style {
        Style::Gentle => "Least touch. For acoustic, jazz, classical, or a mix that is already right.",
        Style::Balanced => "Tidy tone, steady low end, competitive and still dynamic.",
        Style::Warm => "Fuller lows, softer top, a little saturation.",
        Style::Open => "Air and width, clear low mids.",
        Style::Punchy => "Transients forward, firm low end.",
        Style::Loud => "As loud as it goes without breaking.",
    }
}

/// What a kind of file is called.
pub(super) fn format_name(role: &str) -> String {
    let (codec, rate) = role.split_once('@').unwrap_or((role, ""));
    let name = match codec {
        "wav16" => "WAV 16",
        "wav24" => "WAV 24",
        "wav32f" => "WAV 32 float",
        "flac16" => "FLAC 16",
        "flac24" => "FLAC 24",
        "mp3-320" => "MP3 320",
        "mp3-v0" => "MP3 V0",
        "opus" => "Opus 160",
        other => other,
    };
    match rate.parse::<u32>() {
        Ok(rate) => format!("{name} / {}", f64::from(rate) / 1000.0),
        Err(_) => name.to_owned(),
    }
}

/// `Warm, Spotify, strength 70`: the settings in a breath.
pub(super) fn wishes(settings: &Settings) -> String {
    let mut text = capital(settings.style.name());
    match &settings.loudness {
        Loudness::Style => {}
        Loudness::Lufs(lufs) => _ = write!(text, ", {}{THIN}LUFS", number(lufs.0)),
        Loudness::Destination(key) => _ = write!(text, ", {}", capital(key)),
    }
    if settings.strength.overall != 50 {
        _ = write!(text, ", strength {}", settings.strength.overall);
    }
    text
}

/// How far a master is, in a word.
pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Running => "running",
        State::Done => "done",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}

/// `−14.0 LUFS`, or nothing yet.
pub(super) fn lufs(master: &Master) -> Option<String> {
    master.lufs.map(|lufs| format!("{}{THIN}LUFS", number(lufs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_a_person_writes_them() {
        assert_eq!((number(-14.04), number(-0.01), number(3.25)), ("−14.0".into(), "0.0".into(), "3.2".into()));
        assert_eq!(
            (clock(187.4), clock(3750.0), clock(f64::NAN), clock(-3.0)),
            ("3:07".into(), "1:02:30".into(), "0:00".into(), "0:00".into())
        );
        assert_eq!(
            (size(999), size(1_500_000), size(48_200_000)),
            (format!("999{THIN}bytes"), format!("1.5{THIN}MB"), format!("48{THIN}MB"))
        );
        assert_eq!(count(1, "track") + ", " + &count(3, "track"), "1 track, 3 tracks");
    }

    #[test]
    fn times_are_read_or_left_alone() {
        assert_eq!(moment("2026-11-25T20:15:00.123Z"), "25 Nov 2026, 20:15 UTC");
        assert_eq!(day("2026-01-02"), "2 Jan 2026");
        for odd in ["", "soon", "2026-13-01T00:00:00Z", "2026-00-01", "é26-01-01T"] {
            assert!(day(odd) == odd, "{odd}");
        }
    }

    #[test]
    fn formats_have_names() {
        assert_eq!(
            (format_name("wav16@44100"), format_name("mp3-320"), format_name("stem")),
            ("WAV 16 / 44.1".into(), "MP3 320".into(), "stem".into())
        );
    }
}
