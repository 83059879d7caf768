//! `Analysis` + `Settings` → [`Plan`]. No audio, no clock, no device: decisions are data, each with its reason.

use crate::settings::{Aspect, Edit, Phase, Style};
use crate::units::{Db, Dbtp, Hz, Lufs, Seconds};
use serde::{Deserialize, Serialize};

/// Version of [`Plan`]; a saved plan of another version is refused.
pub const PLAN_VERSION: u32 = 1;

/// Every decision for one master. `Plan::identity()` leaves the samples untouched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The style it was made for.
    pub style: Style,
    /// Tone filter, width and subsonic cut: one FIR for mid and one for side.
    pub tone: Tone,
    /// Multiband dynamics; empty: off. Otherwise one entry per band of `analyse::BAND_EDGES`.
    pub dynamics: Vec<BandDynamics>,
    /// Harmonic colour; `None`: off.
    pub saturation: Option<Saturation>,
    /// Soft clipper before the limiter; `None`: off.
    pub clipper: Option<Clipper>,
    /// Leveler before the limiter; `None`: off.
    pub leveler: Option<Leveler>,
    /// True-peak limiter; `None`: off (identity).
    pub limiter: Option<Limiter>,
    /// Where the loudness shall land.
    pub goal: Goal,
    /// Cut and fade.
    pub edit: Edit,
    /// Why, in the order a listener would ask.
    pub reasons: Vec<Reason>,
}

/// Tone, width and the subsonic cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tone {
    /// Equalisation of mid: dB at Hz, ascending, interpolated over log frequency, held outside. Empty: flat.
    pub mid: Vec<(Hz, Db)>,
    /// Equalisation of side; differs from mid by ≤ 2 dB.
    pub side: Vec<(Hz, Db)>,
    /// Extra gain of side only: width. Empty: none.
    pub width: Vec<(Hz, Db)>,
    /// Subsonic and DC cut: −3 dB corner of a second-order Butterworth high-pass; `None`: off.
    pub subsonic: Option<Hz>,
    /// Phase of the filter.
    pub phase: Phase,
    /// Largest |dB| the verify gate allows the plan to move a third octave.
    pub bound: Db,
}

/// A downward compressor for one band, detector on mid² + side².
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandDynamics {
    /// Level above which it works, dBFS RMS of the band.
    pub threshold: Db,
    /// Input dB per output dB above the threshold; 1: off.
    pub ratio: f64,
    /// Width of the soft knee.
    pub knee: Db,
    /// Time to 63 % of a rise in reduction.
    pub attack: Seconds,
    /// Time to 63 % of its return.
    pub release: Seconds,
    /// Gain that gives the band its average level back.
    pub makeup: Db,
    /// Most reduction, ≥ 0.
    pub max_reduction: Db,
}

/// A memoryless curve of odd and even order, oversampled so that no alias falls into the band.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saturation {
    /// Amount 0–1: share of the third-order term at full scale.
    pub odd: f64,
    /// Amount 0–1: share of the second-order term at full scale.
    pub even: f64,
    /// Level that counts as full scale of the curve, dBFS.
    pub reference: Db,
}

/// Rounds the tops off; runs before the limiter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clipper {
    /// Most it may take off, ≤ 3 dB.
    pub max_reduction: Db,
    /// Knee below its ceiling.
    pub knee: Db,
}

/// A slow hand on the fader ahead of the limiter (attack 50 ms, release 300 ms).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leveler {
    /// Most it may take off, ≤ 3 dB.
    pub max_reduction: Db,
}

/// Stereo-linked true-peak limiter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limiter {
    /// Highest true peak of the lossless files.
    pub ceiling: Dbtp,
    /// Look-ahead.
    pub lookahead: Seconds,
    /// Shortest release (after single peaks).
    pub release_min: Seconds,
    /// Longest release (in dense passages).
    pub release_max: Seconds,
}

/// Where the loudness shall land.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Goal {
    /// Leave the level as it is.
    Keep,
    /// This integrated loudness, ±0.1 LU.
    Loudness {
        /// What is aimed at, after any announced stop.
        target: Lufs,
        /// What was asked for, where the plan stops short of it.
        wished: Option<Lufs>,
    },
    /// Too short or too quiet to have a loudness: bring the true peak here.
    Peak {
        /// The true peak aimed at.
        target: Dbtp,
    },
}

/// One decision in words and numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// What it changes.
    pub aspect: Aspect,
    /// One or two plain sentences.
    pub text: String,
    /// The figure before, where there is one.
    pub before: Option<f64>,
    /// The figure after.
    pub after: Option<f64>,
    /// Unit of both.
    pub unit: Option<String>,
}

impl Plan {
    /// A plan that changes nothing: rendering it is bit-exact.
    #[must_use]
    pub fn identity() -> Self {
        Self {
            version: PLAN_VERSION,
            style: Style::Balanced,
            tone: Tone::default(),
            dynamics: Vec::new(),
            saturation: None,
            clipper: None,
            leveler: None,
            limiter: None,
            goal: Goal::Keep,
            edit: Edit::default(),
            reasons: Vec::new(),
        }
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A setting is out of its range.
    #[error("{setting} is {value}; use {range}")]
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        range: String,
    },
}

impl PlanError {
    /// `plan.what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfRange { .. } => "plan.out_of_range",
        }
    }
}
