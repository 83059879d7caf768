//! The [`Settings`] a form asks for, so that the page works without a script: `style=warm&loudness=-14&format=wav24&format=mp3-320`.
//! Field names and values are those of the command line. An empty field counts as not given; an unknown one is refused, because a
//! wish that is silently dropped is worse than an error.

use loopmaster_core::Settings;
use loopmaster_core::settings::{Aspect, Format, Loudness, Phase, SettingError};
use loopmaster_core::units::{Dbtp, Lufs, Seconds};

/// Most fields a form may have: all of them once and every format at every rate stay far below.
const MOST_FIELDS: usize = 64;

/// Why a form is not a set of wishes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// A value that cannot be read.
    #[error(transparent)]
    Value(#[from] SettingError),
    /// A field nobody knows.
    #[error("there is no setting `{0}`; reload the page and try again")]
    Field(String),
    /// More fields than any page of ours sends.
    #[error("the form has more than {MOST_FIELDS} fields; reload the page and try again")]
    TooMany,
}

impl FormError {
    /// `plan.what`: settings are what `plan` works with.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Value(_) => "plan.unreadable_setting",
            Self::Field(_) => "plan.unknown_setting",
            Self::TooMany => "plan.too_many_settings",
        }
    }
}

/// Reads an `application/x-www-form-urlencoded` body. Ranges are `plan`'s to judge; here only what has no meaning is refused.
pub fn settings(body: &[u8]) -> Result<Settings, FormError> {
    let mut settings = Settings::default();
    let mut formats: Vec<Format> = Vec::new();
    let mut only = None;
    for (count, (field, value)) in form_urlencoded::parse(body).enumerate() {
        if count == MOST_FIELDS {
            return Err(FormError::TooMany);
        }
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        let strength = &mut settings.strength;
        match field.as_ref() {
            "style" => settings.style = value.parse()?,
            "strength" => strength.overall = percent("strength", value)?,
            "tone" => strength.tone = Some(percent("tone", value)?),
            "dynamics" => strength.dynamics = Some(percent("dynamics", value)?),
            "width" => strength.width = Some(percent("width", value)?),
            "loudness_strength" => strength.loudness = Some(percent("loudness_strength", value)?),
            "only" => only = Some(aspect(value)?),
            "loudness" => settings.loudness = loudness(value)?,
            "ceiling" => settings.ceiling = Some(Dbtp(number("ceiling", value, "dBTP")?)),
            "insist" => settings.insist = checkbox("insist", value)?,
            "limiter" => settings.limiter = value.parse()?,
            "phase" => settings.phase = phase(value)?,
            "rate" => settings.rate = value.parse()?,
            "material" => settings.material = Some(value.parse()?),
            "fix" => {
                let fix = value.parse()?;
                if !settings.fix.contains(&fix) {
                    settings.fix.push(fix);
                }
            }
            "format" => {
                let format = value.parse()?;
                if !formats.contains(&format) {
                    formats.push(format);
                }
            }
            "trim_start" => settings.edit.trim_start = Seconds(number("trim_start", value, "seconds")?),
            "trim_end" => settings.edit.trim_end = Seconds(number("trim_end", value, "seconds")?),
            "fade_in" => settings.edit.fade_in = Seconds(number("fade_in", value, "seconds")?),
            "fade_out" => settings.edit.fade_out = Seconds(number("fade_out", value, "seconds")?),
            unknown => return Err(FormError::Field(unknown.chars().take(40).collect())),
        }
    }
    if let Some(aspect) = only {
        settings.strength = settings.strength.only(aspect);
    }
    if !formats.is_empty() {
        settings.formats = formats;
    }
    Ok(settings)
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

/// What a browser sends for a ticked box, and the two words of JSON.
fn checkbox(what: &'static str, value: &str) -> Result<bool, SettingError> {
    match value {
        "on" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(unreadable(what, value, "on, or leave it out")),
    }
}

/// A number of LUFS, or else the key of a destination; whether that destination exists is for `plan` to say, which has the table.
fn loudness(value: &str) -> Result<Loudness, SettingError> {
    if value.starts_with(|c: char| c.is_ascii_lowercase()) && value.len() <= 40 {
        return Ok(if value == "style" { Loudness::Style } else { Loudness::Destination(value.to_owned()) });
    }
    let lufs = number("loudness", value, "LUFS")
        .map_err(|_| unreadable("loudness", value, "LUFS, e.g. -14, or a destination, e.g. spotify"))?;
    Ok(Loudness::Lufs(Lufs(lufs)))
}

fn phase(value: &str) -> Result<Phase, SettingError> {
    match value {
        "minimum" => Ok(Phase::Minimum),
        "linear" => Ok(Phase::Linear),
        _ => Err(unreadable("phase", value, "minimum or linear")),
    }
}

fn aspect(value: &str) -> Result<Aspect, SettingError> {
    let known = Aspect::ALL.into_iter().find(|aspect| aspect.name() == value);
    known.ok_or_else(|| unreadable("only", value, &Aspect::ALL.map(Aspect::name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use loopmaster_core::settings::{Codec, Fix, Material, OutputRate, Style};
    use proptest::prelude::*;

    #[test]
    fn an_empty_form_asks_for_the_defaults() {
        assert_eq!(settings(b"").unwrap(), Settings::default());
        assert_eq!(settings(b"style=&loudness=&ceiling=").unwrap(), Settings::default());
    }

    #[test]
    fn every_field_arrives() {
        let body = "style=Warm&strength=70&tone=20&dynamics=0&width=100&loudness_strength=90&loudness=%E2%88%929%2C5&ceiling=-1.5\
                    &insist=on&phase=linear&rate=48000&format=flac24&format=mp3-320&format=wav16%4044100&format=flac24\
                    &trim_start=0.5&trim_end=1&fade_in=0.01&fade_out=6\
                    &material=speech&fix=polarity&fix=dc&fix=dc";
        let wished = settings(body.as_bytes()).unwrap();
        assert_eq!(wished.style, Style::Warm);
        assert_eq!(wished.strength.overall, 70);
        assert_eq!(Aspect::ALL.map(|aspect| wished.strength.of(aspect)), [0.2, 0.0, 1.0, 0.9]);
        assert_eq!(wished.loudness, Loudness::Lufs(Lufs(-9.5)));
        assert_eq!(wished.ceiling, Some(Dbtp(-1.5)));
        assert!(wished.insist);
        assert_eq!((wished.material, wished.fix), (Some(Material::Speech), vec![Fix::Polarity, Fix::Dc]));
        assert_eq!((wished.phase, wished.rate), (Phase::Linear, OutputRate::Hz(48_000)));
        let format = |codec, rate| Format { codec, rate };
        assert_eq!(
            wished.formats,
            [format(Codec::Flac24, None), format(Codec::Mp3Cbr320, None), format(Codec::Wav16, Some(44_100))]
        );
        assert_eq!((wished.edit.trim_start, wished.edit.fade_out), (Seconds(0.5), Seconds(6.0)));
    }

    #[test]
    fn one_aspect_can_be_asked_for_alone() {
        let strength = settings(b"only=width&strength=60").unwrap().strength;
        assert_eq!(Aspect::ALL.map(|aspect| strength.of(aspect)), [0.0, 0.0, 0.6, 0.0]);
    }

    #[test]
    fn destinations_are_named_and_judged_later() {
        assert_eq!(settings(b"loudness=spotify").unwrap().loudness, Loudness::Destination("spotify".to_owned()));
        assert_eq!(settings(b"loudness=style").unwrap().loudness, Loudness::Style);
    }

    #[test]
    fn what_has_no_meaning_is_refused_with_what_would_have() {
        let refused = |body: &str| settings(body.as_bytes()).unwrap_err();
        assert_eq!(refused("stile=warm").code(), "plan.unknown_setting");
        assert_eq!(
            refused("strength=101").to_string(),
            "strength `101` is not known; use a whole number from 0 to 100"
        );
        for body in [
            "loudness=NaN",
            "ceiling=inf",
            "fade_in=1e999",
            "insist=maybe",
            "format=aac",
            "style=grim",
            "only=bass",
            "material=noise",
            "fix=it",
        ] {
            let error = refused(body);
            assert_eq!(error.code(), "plan.unreadable_setting", "{body}: {error}");
        }
        assert_eq!(refused(&"format=wav24&".repeat(65)).code(), "plan.too_many_settings");
    }

    proptest! {
        #[test]
        fn any_body_is_answered(body: Vec<u8>) {
            // Whatever was read is finite and can be written down.
            if let Ok(wished) = settings(&body) {
                prop_assert!(serde_json::to_string(&wished).is_ok());
            }
        }
    }
}
