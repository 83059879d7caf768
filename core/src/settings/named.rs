//! [`Settings`] by the names that the command line, a form and a manifest give them, one value after the other.

use super::{Aspect, Fix, Format, Loudness, Phase, ReferenceAmounts, SettingError, Settings};
use crate::units::{Dbtp, Lufs, Seconds};
use std::str::FromStr;

/// Settings in the making.
#[derive(Clone, Debug, Default)]
pub struct Named {
    settings: Settings,
    formats: Vec<Format>,
    fix: Vec<Fix>,
    only: Option<Aspect>,
}

impl Named {
    /// The names of all settings but the tags, which have those of [`TagWishes`](super::TagWishes).
    pub const NAMES: [&str; 21] = [
        "style",
        "strength",
        "tone",
        "dynamics",
        "width",
        "loudness_strength",
        "only",
        "loudness",
        "ceiling",
        "insist",
        "limiter",
        "phase",
        "rate",
        "material",
        "fix",
        "formats",
        "trim_start",
        "trim_end",
        "fade_in",
        "fade_out",
        "reference_amount",
    ];

    /// Begins with these; what is set replaces theirs.
    #[must_use]
    pub fn over(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Changes only this aspect, whatever is set before or after.
    pub fn only(&mut self, aspect: Aspect) {
        self.only = Some(aspect);
    }

    /// Sets one value; several formats or fixes are separated by commas, or set one by one. False: there is no such setting.
    ///
    /// # Errors
    ///
    /// A value that has no meaning. Ranges are `plan`'s to judge.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, SettingError> {
        let Self { settings, formats, fix, only } = self;
        let strength = &mut settings.strength;
        match name {
            "style" => settings.style = value.parse()?,
            "strength" => strength.overall = percent("strength", value)?,
            "tone" => strength.tone = Some(percent("tone", value)?),
            "dynamics" => strength.dynamics = Some(percent("dynamics", value)?),
            "width" => strength.width = Some(percent("width", value)?),
            "loudness_strength" => strength.loudness = Some(percent("loudness_strength", value)?),
            "only" => *only = Some(aspect(value)?),
            "loudness" => settings.loudness = loudness(value)?,
            "ceiling" => settings.ceiling = Some(Dbtp(number("ceiling", value, "dBTP")?)),
            "insist" => settings.insist = yes("insist", value)?,
            "limiter" => settings.limiter = value.parse()?,
            "phase" => settings.phase = phase(value)?,
            "rate" => settings.rate = value.parse()?,
            "material" => settings.material = Some(value.parse()?),
            "fix" => several(value, fix)?,
            "format" | "formats" => several(value, formats)?,
            "trim_start" => settings.edit.trim_start = Seconds(number("trim_start", value, "seconds")?),
            "trim_end" => settings.edit.trim_end = Seconds(number("trim_end", value, "seconds")?),
            "fade_in" => settings.edit.fade_in = Seconds(number("fade_in", value, "seconds")?),
            "fade_out" => settings.edit.fade_out = Seconds(number("fade_out", value, "seconds")?),
            "reference_amount" => settings.reference = value.parse()?,
            tag => return settings.tags.set(tag, value),
        }
        Ok(true)
    }

    /// The settings.
    #[must_use]
    pub fn finish(self) -> Settings {
        let Self { mut settings, formats, fix, only } = self;
        if let Some(aspect) = only {
            settings.strength = settings.strength.only(aspect);
        }
        if !formats.is_empty() {
            settings.formats = formats;
        }
        if !fix.is_empty() {
            settings.fix = Fix::ALL.into_iter().filter(|known| fix.contains(known)).collect();
        }
        settings
    }
}

impl FromStr for ReferenceAmounts {
    type Err = SettingError;

    /// `70,50,50,100`: tone, dynamics, width, loudness.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        let numbers: Option<Vec<u8>> = words(text).map(|n| n.parse().ok().filter(|n| *n <= 100)).collect();
        match numbers.as_deref() {
            Some([tone, dynamics, width, loudness]) => Ok(Self::all(*tone, *dynamics, *width, *loudness)),
            _ => Err(unreadable("reference_amount", text, "four numbers from 0 to 100, e.g. 70,50,50,100")),
        }
    }
}

/// The parts of a list. Where the comma separates cells, people write something else.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ';', '|', ' ']).map(str::trim).filter(|word| !word.is_empty())
}

fn several<T: FromStr<Err = SettingError> + PartialEq>(text: &str, list: &mut Vec<T>) -> Result<(), SettingError> {
    for word in words(text) {
        let value = word.parse()?;
        if !list.contains(&value) {
            list.push(value);
        }
    }
    Ok(())
}

fn unreadable(what: &'static str, value: &str, expected: &str) -> SettingError {
    SettingError { what, value: value.chars().take(40).collect(), expected: expected.to_owned() }
}

fn percent(what: &'static str, value: &str) -> Result<u8, SettingError> {
    let percent = value.parse::<u8>().ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| unreadable(what, value, "a whole number from 0 to 100"))
}

/// A finite number, also with the typographic minus and the decimal comma people type.
fn number(what: &'static str, value: &str, unit: &str) -> Result<f64, SettingError> {
    let plain = value.replace('−', "-").replace(',', ".");
    let number = plain.parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| unreadable(what, value, &format!("a number of {unit}")))
}

/// What a browser sends for a ticked box, the words of JSON, and what people write into a cell.
fn yes(what: &'static str, value: &str) -> Result<bool, SettingError> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(unreadable(what, value, "true or false")),
    }
}

/// A number of LUFS, or else the key of a destination; whether that destination exists is for `plan` to say, which has the table.
fn loudness(value: &str) -> Result<Loudness, SettingError> {
    if value.starts_with(|c: char| c.is_ascii_alphabetic()) && value.len() <= 40 && !value.eq_ignore_ascii_case("nan") {
        let key = value.to_ascii_lowercase();
        return Ok(if key == "style" { Loudness::Style } else { Loudness::Destination(key) });
    }
    let lufs = number("loudness", value, "LUFS")
        .map_err(|_| unreadable("loudness", value, "LUFS, e.g. -14, or a destination, e.g. spotify"))?;
    Ok(Loudness::Lufs(Lufs(lufs)))
}

fn phase(value: &str) -> Result<Phase, SettingError> {
    match value.to_ascii_lowercase().as_str() {
        "minimum" => Ok(Phase::Minimum),
        "linear" => Ok(Phase::Linear),
        _ => Err(unreadable("phase", value, "minimum, linear")),
    }
}

fn aspect(value: &str) -> Result<Aspect, SettingError> {
    let known = Aspect::ALL.into_iter().find(|aspect| aspect.name().eq_ignore_ascii_case(value));
    known.ok_or_else(|| unreadable("only", value, &Aspect::ALL.map(Aspect::name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Codec, Style, TagWishes};

    #[test]
    fn every_name_sets_something() {
        for (name, value) in Named::NAMES.into_iter().zip([
            "warm",
            "1",
            "2",
            "3",
            "4",
            "5",
            "width",
            "−9,5",
            "-2",
            "yes",
            "finest",
            "linear",
            "48000",
            "speech",
            "dc",
            "flac24 mp3-320",
            "1",
            "2",
            "3",
            "4",
            "1, 2, 3, 4",
        ]) {
            let mut named = Named::default();
            assert_eq!(named.set(name, value), Ok(true), "{name}");
            assert_ne!(named.finish(), Settings::default(), "{name}");
        }
        let mut named = Named::default();
        for name in TagWishes::NAMES {
            assert_eq!(named.set(name, "1"), Ok(true), "{name}");
        }
        assert_eq!(named.set("stile", "warm"), Ok(false));
    }

    #[test]
    fn what_is_set_replaces_what_was_there() {
        let before = Settings {
            style: Style::Loud,
            formats: vec![Format::WAV24],
            fix: vec![Fix::Dc],
            ceiling: Some(Dbtp(-2.0)),
            ..Settings::default()
        };
        let mut named = Named::over(before.clone());
        assert_eq!(named.clone().finish(), before);
        named.set("formats", "mp3-320;flac24,mp3-320").unwrap();
        named.set("fix", "polarity").unwrap();
        named.only(Aspect::Tone);
        named.set("strength", "80").unwrap();
        let after = named.finish();
        assert_eq!(
            after.formats.iter().map(|format| format.codec).collect::<Vec<_>>(),
            [Codec::Mp3Cbr320, Codec::Flac24]
        );
        assert_eq!((after.style, after.ceiling, after.fix), (Style::Loud, Some(Dbtp(-2.0)), vec![Fix::Polarity]));
        assert_eq!((after.strength.of(Aspect::Tone), after.strength.of(Aspect::Width)), (0.8, 0.0));
    }
}
