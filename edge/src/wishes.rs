//! The [`Settings`] a form asks for, so that the page works without a script: `style=warm&loudness=-14&format=wav24&format=mp3-320`.
//! Field names and values are those of the command line. An empty field counts as not given; an unknown one is refused, because a
//! wish that is silently dropped is worse than an error.

use loopmaster_core::Settings;
use loopmaster_core::settings::{Named, SettingError};

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
    let mut named = Named::default();
    for (count, (field, value)) in form_urlencoded::parse(body).enumerate() {
        if count == MOST_FIELDS {
            return Err(FormError::TooMany);
        }
        let value = value.trim();
        if !value.is_empty() && !named.set(&field, value)? {
            return Err(FormError::Field(field.chars().take(40).collect()));
        }
    }
    Ok(named.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use loopmaster_core::settings::{Aspect, Codec, Fix, Format, Loudness, Material, OutputRate, Phase, Style};
    use loopmaster_core::units::{Dbtp, Lufs, Seconds};
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
                    &material=speech&fix=polarity&fix=dc&fix=dc&title=N%C3%A4cht%2C+eins&isrc=DE-A12-26-00001";
        let wished = settings(body.as_bytes()).unwrap();
        assert_eq!(wished.style, Style::Warm);
        assert_eq!(wished.strength.overall, 70);
        assert_eq!(Aspect::ALL.map(|aspect| wished.strength.of(aspect)), [0.2, 0.0, 1.0, 0.9]);
        assert_eq!(wished.loudness, Loudness::Lufs(Lufs(-9.5)));
        assert_eq!(wished.ceiling, Some(Dbtp(-1.5)));
        assert!(wished.insist);
        assert_eq!((wished.material, wished.fix), (Some(Material::Speech), vec![Fix::Polarity, Fix::Dc]));
        assert_eq!(wished.tags.title.as_deref(), Some("Nächt, eins"));
        assert_eq!(wished.tags.isrc.as_deref(), Some("DE-A12-26-00001"));
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
