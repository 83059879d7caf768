//! The files to deliver: container, coding and rate.

use super::SettingError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Rate of the delivered files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputRate {
    /// The mix's own rate (lower rates than 44.1 kHz were raised by `decode`).
    #[default]
    Native,
    /// 44,100; 48,000 or 96,000 Hz.
    Hz(u32),
}

impl FromStr for OutputRate {
    type Err = SettingError;
    fn from_str(s: &str) -> Result<Self, SettingError> {
        match s.to_ascii_lowercase().as_str() {
            "native" => Ok(Self::Native),
            "44100" | "44.1k" | "44.1" => Ok(Self::Hz(44_100)),
            "48000" | "48k" | "48" => Ok(Self::Hz(48_000)),
            "96000" | "96k" | "96" => Ok(Self::Hz(96_000)),
            _ => Err(SettingError {
                what: "rate",
                value: s.to_owned(),
                expected: "native, 44100, 48000 or 96000".to_owned(),
            }),
        }
    }
}

/// A kind of file to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Format {
    /// Container and coding.
    pub codec: Codec,
    /// A rate of its own, else that of [`Settings::rate`].
    pub rate: Option<u32>,
}

/// Container and coding of a delivered file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// 16-bit integer WAV, dithered.
    Wav16,
    /// 24-bit integer WAV.
    Wav24,
    /// 32-bit float WAV.
    Wav32f,
    /// 16-bit FLAC, dithered.
    Flac16,
    /// 24-bit FLAC.
    Flac24,
    /// MP3, constant 320 kbit/s.
    Mp3Cbr320,
    /// MP3, variable, quality 0.
    Mp3V0,
    /// Ogg Opus at 160 kbit/s, 48 kHz: the preview.
    Opus,
}

impl Codec {
    /// All codecs with their names.
    pub const ALL: [(&'static str, Self); 8] = [
        ("wav16", Self::Wav16),
        ("wav24", Self::Wav24),
        ("wav32f", Self::Wav32f),
        ("flac16", Self::Flac16),
        ("flac24", Self::Flac24),
        ("mp3-320", Self::Mp3Cbr320),
        ("mp3-v0", Self::Mp3V0),
        ("opus", Self::Opus),
    ];

    /// The one name of the codec.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, codec)| *codec == self).map_or("", |(name, _)| name)
    }

    /// Whether decoding gives back other samples than went in.
    #[must_use]
    pub fn lossy(self) -> bool {
        matches!(self, Self::Mp3Cbr320 | Self::Mp3V0 | Self::Opus)
    }

    /// Word length of integer codecs.
    #[must_use]
    pub fn bits(self) -> Option<u32> {
        match self {
            Self::Wav16 | Self::Flac16 => Some(16),
            Self::Wav24 | Self::Flac24 => Some(24),
            _ => None,
        }
    }

    /// File name extension.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Wav16 | Self::Wav24 | Self::Wav32f => "wav",
            Self::Flac16 | Self::Flac24 => "flac",
            Self::Mp3Cbr320 | Self::Mp3V0 => "mp3",
            Self::Opus => "opus",
        }
    }
}

impl Format {
    /// The default delivery.
    pub const WAV24: Self = Self { codec: Codec::Wav24, rate: None };

    /// The rate this file is made at, for a master whose own rate is `native`. MP3 ends at 48 kHz and Opus is always 48 kHz.
    #[must_use]
    pub fn rate_for(self, native: u32, wish: OutputRate) -> u32 {
        let rate = self.rate.unwrap_or(match wish {
            OutputRate::Native => native,
            OutputRate::Hz(rate) => rate,
        });
        match self.codec {
            Codec::Opus => 48_000,
            Codec::Mp3Cbr320 | Codec::Mp3V0 if rate > 48_000 => {
                if rate.is_multiple_of(44_100) {
                    44_100
                } else {
                    48_000
                }
            }
            _ => rate,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codec.name())?;
        self.rate.map_or(Ok(()), |rate| write!(f, "@{rate}"))
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.to_string()
    }
}

impl TryFrom<String> for Format {
    type Error = SettingError;
    fn try_from(s: String) -> Result<Self, SettingError> {
        s.parse()
    }
}

impl FromStr for Format {
    type Err = SettingError;
    /// `wav24`, or `wav16@44100` for a rate of its own.
    fn from_str(s: &str) -> Result<Self, SettingError> {
        let unknown = || SettingError {
            what: "format",
            value: s.to_owned(),
            expected: format!("{}, each also as e.g. wav16@44100", Codec::ALL.map(|(name, _)| name).join(", ")),
        };
        let (name, rate) = match s.split_once('@') {
            Some((name, rate)) => match rate.parse::<OutputRate>()? {
                OutputRate::Hz(rate) => (name, Some(rate)),
                OutputRate::Native => (name, None),
            },
            None => (s, None),
        };
        let (_, codec) =
            Codec::ALL.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).ok_or_else(unknown)?;
        Ok(Self { codec, rate })
    }
}
