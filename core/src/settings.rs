//! What a person may ask for: style, strength, loudness, formats. Serialised the same in the CLI, the API and the page.

mod format;
mod named;
mod tags;

pub use format::{Codec, Format, OutputRate};
pub use named::Named;
pub use tags::{HIGHEST_NUMBER, LONGEST_COMMENT, LONGEST_TAG, TagError, TagWishes, isrc};

use crate::units::{Dbtp, Lufs, Seconds};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Everything a person may choose for one master. `Settings::default()` needs no thought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The sound that is aimed at.
    pub style: Style,
    /// How far to go.
    pub strength: Strength,
    /// How loud it shall be.
    pub loudness: Loudness,
    /// Highest true peak of lossless files; `None`: the destination's, else −1 dBTP.
    pub ceiling: Option<Dbtp>,
    /// Meet the loudness even where it takes more limiting than the style's budget.
    pub insist: bool,
    /// How peaks are taken off where much has to be taken.
    #[serde(skip_serializing_if = "Limiting::is_standard")]
    pub limiter: Limiting,
    /// Phase of the tone filter.
    pub phase: Phase,
    /// Rate of the delivered files.
    pub rate: OutputRate,
    /// The files to deliver.
    pub formats: Vec<Format>,
    /// Cut and fade.
    pub edit: Edit,
    /// How much of a reference to take, where there is one.
    pub reference: ReferenceAmounts,
    /// What each of several references is for, in their order; one that is not listed is for everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<ReferenceUse>,
    /// What kind of recording it is; `None`: what the analysis finds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub material: Option<Material>,
    /// Faults of the mix to mend before it is mastered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fix: Vec<Fix>,
    /// What the files say about themselves instead of what the mix says.
    #[serde(skip_serializing_if = "TagWishes::is_empty")]
    pub tags: TagWishes,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            style: Style::default(),
            strength: Strength::default(),
            loudness: Loudness::default(),
            ceiling: None,
            insist: false,
            limiter: Limiting::default(),
            phase: Phase::default(),
            rate: OutputRate::default(),
            formats: vec![Format::WAV24],
            edit: Edit::default(),
            reference: ReferenceAmounts::default(),
            references: Vec::new(),
            material: None,
            fix: Vec::new(),
            tags: TagWishes::default(),
        }
    }
}

/// The words of a choice: all values, the one name of each, and a text read as one of them.
macro_rules! words {
    ($choice:ident $what:literal: $($value:ident $name:literal),+; #[$all:meta] #[$one:meta]) => {
        impl $choice {
            #[$all]
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            #[$one]
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name),+
                }
            }
        }

        impl fmt::Display for $choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $choice {
            type Err = SettingError;

            fn from_str(text: &str) -> Result<Self, SettingError> {
                let known = Self::ALL.into_iter().find(|value| value.name().eq_ignore_ascii_case(text));
                known.ok_or_else(|| SettingError {
                    what: $what,
                    value: text.to_owned(),
                    expected: Self::ALL.map(Self::name).join(", "),
                })
            }
        }
    };
}

/// The sound that is aimed at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// Least touch: acoustic, jazz, classical, or a mix that is already right.
    Gentle,
    /// The default: tidy tone, steady low end, competitive but dynamic.
    #[default]
    Balanced,
    /// Fuller lows, softer top, a little saturation.
    Warm,
    /// Air and width, clear low mids.
    Open,
    /// Transients forward, firm low end.
    Punchy,
    /// As loud as it goes within its budget.
    Loud,
}

words! {
    Style "style": Gentle "gentle", Balanced "balanced", Warm "warm", Open "open", Punchy "punchy", Loud "loud";
    /// All styles, quietest first.
    /// The one name of the style.
}

/// A setting that cannot be read, with what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{value}` is not known; use {expected}")]
pub struct SettingError {
    /// Which setting.
    pub what: &'static str,
    /// What was given.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

/// How peaks are taken off where more than about 2 dB have to be taken; where less is taken, all do the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limiting {
    /// Leveler, soft clipper and limiter: the least work.
    Fast,
    /// A clipper that puts its error where the music masks it, and a limiter for what is left.
    #[default]
    Standard,
    /// The same with more rounds, until hardly anything changes.
    Finest,
}

words! {
    Limiting "limiter": Fast "fast", Standard "standard", Finest "finest";
    /// All of them, the least work first.
    /// Its one name.
}

impl Limiting {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_standard(&self) -> bool {
        *self == Self::Standard
    }
}

/// A kind of recording: each has its own idea of how loud, how dense and how full a master should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Material {
    /// Spoken word.
    Speech,
    /// Solo instruments, chamber music, choirs, orchestras.
    Classical,
    /// Jazz, folk, sparse bands: acoustic instruments with open dynamics.
    Acoustic,
    /// Pop and rock bands.
    Band,
    /// Dense electronic productions.
    Electronic,
    /// Mastered or limited already.
    Mastered,
}

words! {
    Material "material": Speech "speech", Classical "classical", Acoustic "acoustic", Band "band", Electronic "electronic", Mastered "mastered";
    /// All kinds.
    /// The one name of the kind.
}

/// A fault of the mix that can be mended before it is mastered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fix {
    /// One channel is inverted.
    Polarity,
    /// One channel is silent or weaker than the other.
    Balance,
    /// The waveform is off centre.
    Dc,
}

words! {
    Fix "fix": Polarity "polarity", Balance "balance", Dc "dc";
    /// All faults that can be mended.
    /// The one name of the fix.
}

/// The four things a master changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aspect {
    /// Equalisation.
    Tone,
    /// Multiband dynamics and saturation.
    Dynamics,
    /// Stereo width.
    Width,
    /// Loudness and peaks.
    Loudness,
}

impl Aspect {
    /// All aspects in the order the chain applies them.
    pub const ALL: [Self; 4] = [Self::Tone, Self::Dynamics, Self::Width, Self::Loudness];

    /// The one name of the aspect.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tone => "tone",
            Self::Dynamics => "dynamics",
            Self::Width => "width",
            Self::Loudness => "loudness",
        }
    }
}

/// 0 (leave it alone) to 100 (as far as the style goes), for the whole and per aspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Strength {
    /// For every aspect that has no value of its own; 50 is the default of every style.
    pub overall: u8,
    /// Equalisation.
    pub tone: Option<u8>,
    /// Multiband dynamics and saturation.
    pub dynamics: Option<u8>,
    /// Stereo width.
    pub width: Option<u8>,
    /// Loudness: 0 leaves the mix's own loudness, anything else aims at the wish.
    pub loudness: Option<u8>,
}

impl Default for Strength {
    fn default() -> Self {
        Self { overall: 50, tone: None, dynamics: None, width: None, loudness: None }
    }
}

impl Strength {
    /// The same strength for everything.
    #[must_use]
    pub fn all(overall: u8) -> Self {
        Self { overall, tone: None, dynamics: None, width: None, loudness: None }
    }

    /// 0.0–1.0 for one aspect.
    #[must_use]
    pub fn of(self, aspect: Aspect) -> f64 {
        let own = match aspect {
            Aspect::Tone => self.tone,
            Aspect::Dynamics => self.dynamics,
            Aspect::Width => self.width,
            Aspect::Loudness => self.loudness,
        };
        f64::from(own.unwrap_or(self.overall).min(100)) / 100.0
    }

    /// This strength for one aspect, and 0 for the others.
    #[must_use]
    pub fn only(self, aspect: Aspect) -> Self {
        let keep = |a: Aspect| Some(if a == aspect { (self.of(a) * 100.0).round() as u8 } else { 0 });
        Self {
            overall: 0,
            tone: keep(Aspect::Tone),
            dynamics: keep(Aspect::Dynamics),
            width: keep(Aspect::Width),
            loudness: keep(Aspect::Loudness),
        }
    }
}

/// How loud it shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loudness {
    /// What the style reaches within its limiting budget.
    #[default]
    Style,
    /// An integrated loudness.
    Lufs(Lufs),
    /// The key of a row of `plan::destinations`, e.g. `spotify`.
    Destination(String),
}

/// How much of a reference to take, each 0–100.
///
/// An aspect that is left out takes its default at the default strength (70, 50, 50 and 100), and the whole at strength 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReferenceAmounts {
    /// Its tone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tone: Option<u8>,
    /// Its dynamics, per band.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamics: Option<u8>,
    /// Its width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u8>,
    /// Its loudness, unless a loudness was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loudness: Option<u8>,
}

impl ReferenceAmounts {
    /// All four, asked for.
    #[must_use]
    pub fn all(tone: u8, dynamics: u8, width: u8, loudness: u8) -> Self {
        Self { tone: Some(tone), dynamics: Some(dynamics), width: Some(width), loudness: Some(loudness) }
    }

    /// The amount of an aspect that was asked for, and the one at the default strength where none was.
    #[must_use]
    pub fn of(self, aspect: Aspect) -> (Option<u8>, u8) {
        match aspect {
            Aspect::Tone => (self.tone, 70),
            Aspect::Dynamics => (self.dynamics, 50),
            Aspect::Width => (self.width, 50),
            Aspect::Loudness => (self.loudness, 100),
        }
    }
}

/// What one of several references is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReferenceUse {
    /// Its weight beside others for the same aspect, above 0.
    pub weight: f64,
    /// The aspects it is for; none: those that no other reference is named for.
    pub aspects: Vec<Aspect>,
}

impl Default for ReferenceUse {
    fn default() -> Self {
        Self { weight: 1.0, aspects: Vec::new() }
    }
}

/// Phase of the tone filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// No pre-ringing.
    #[default]
    Minimum,
    /// No phase shift; rings before transients.
    Linear,
}

/// Cut and fade, in the mix's own time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edit {
    /// Seconds cut from the start.
    pub trim_start: Seconds,
    /// Seconds cut from the end.
    pub trim_end: Seconds,
    /// Length of the fade-in after the cut.
    pub fade_in: Seconds,
    /// Length of the fade-out before the cut.
    pub fade_out: Seconds,
}

/// Bounds on what is decoded, checked before anything is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest file, in bytes.
    pub bytes: u64,
    /// Longest track.
    pub seconds: f64,
    /// Most channels.
    pub channels: u16,
    /// Lowest and highest sample rate, in Hz.
    pub rate: (u32, u32),
    /// Largest total of tags and pictures, in bytes.
    pub metadata: u64,
    /// Most bytes of decoded audio.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 4 << 30,
            seconds: 2.0 * 3600.0,
            channels: 2,
            rate: (8_000, 384_000),
            metadata: 16 << 20,
            memory: u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests;
