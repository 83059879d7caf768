//! What a plan asks of each step of the chain: numbers only.

use crate::units::{Db, Dbtp, Seconds};
use serde::{Deserialize, Serialize};

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

/// Lets hits stand out by taking back what follows them, for about a tenth of a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transients {
    /// Most that is taken off behind a hit, 0–6 dB.
    pub depth: Db,
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

/// Takes peaks off with the error where the music masks it; what would be heard is left to the level. What is over between the samples
/// is left to the limiter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskedClipper {
    /// Most it takes off, 0–24 dB; the level takes what is beyond.
    pub max_reduction: Db,
    /// Rounds of the optimisation, 1–64.
    pub rounds: u32,
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

/// Everything between the gain that is solved and the master.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Finishing {
    /// Transient shaper; it comes first.
    pub transients: Option<Transients>,
    /// Leveler.
    pub leveler: Option<Leveler>,
    /// Soft clipper.
    pub clipper: Option<Clipper>,
    /// Masked clipper, in the place of both.
    pub masked: Option<MaskedClipper>,
    /// True-peak limiter; it comes last.
    pub limiter: Option<Limiter>,
}
