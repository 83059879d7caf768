//! `Audio` → [`Analysis`]: everything a mastering engineer looks at before touching a knob.

use crate::decode::Source;
use crate::units::{Db, Dbtp, Hz, Lufs, Seconds};
use serde::{Deserialize, Serialize};

pub use crate::meter::{BandMatrix, Loudness as LoudnessFigures, Spectrum};

/// Lower edges of the engine's bands in Hz; the first band begins at 0, the last ends at Nyquist. Chosen by ear and practice:
/// sub and kick, low mids, mids with the voice, presence, air.
pub const BAND_EDGES: [f64; 4] = [120.0, 500.0, 2_500.0, 8_000.0];

/// Number of bands.
pub const BANDS: usize = BAND_EDGES.len() + 1;

/// What one track is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Version of this structure.
    pub version: u32,
    /// Facts of the file.
    pub source: Source,
    /// Rate of the analysed audio, Hz.
    pub rate: u32,
    /// Frames of the analysed audio.
    pub frames: u64,
    /// BS.1770 loudness.
    pub loudness: LoudnessFigures,
    /// Peaks.
    pub peaks: Peaks,
    /// Clipped and flat-topped samples.
    pub clipping: Clipping,
    /// Silence at the ends, noise, bandwidth, word length.
    pub condition: Condition,
    /// Left against right.
    pub stereo: Stereo,
    /// Per band, lowest first; `BANDS` entries.
    pub bands: Vec<BandFigures>,
    /// Long-term spectrum.
    pub spectrum: Spectrum,
    /// Loudness and limiting for a ladder of gains: what the plan consults instead of the audio.
    pub ladder: Vec<Rung>,
    /// Band energies over time.
    #[serde(skip)]
    pub matrix: BandMatrix,
    /// Waveform for drawing.
    #[serde(skip)]
    pub waveform: Waveform,
    /// Start of the loudest 30 s (of the whole track where it is shorter).
    pub loudest: Seconds,
    /// What the artist should know, gravest first.
    pub findings: Vec<Finding>,
}

impl Analysis {
    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> Seconds {
        Seconds(self.frames as f64 / f64::from(self.rate.max(1)))
    }
}

/// Peaks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// Highest sample, dBFS; −inf cannot occur because silence is refused by `decode`.
    pub sample: Db,
    /// True peak, 16× where it matters.
    pub true_peak: Dbtp,
    /// When the true peak occurs.
    pub at: Seconds,
    /// True peak minus integrated loudness.
    pub plr: Option<Db>,
    /// Peak over RMS.
    pub crest: Db,
}

/// Signs of clipping and limiting before us.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clipping {
    /// Runs of ≥ 3 equal samples at or above 0.999 of full scale.
    pub clipped_runs: u64,
    /// Where the first of them is.
    pub first: Option<Seconds>,
    /// Runs of ≥ 3 equal samples at the file's own extreme (below full scale: a limiter's ceiling).
    pub flat_runs: u64,
    /// Samples above full scale (float sources).
    pub over_samples: u64,
    /// The mix has been limited already: what gave it away.
    pub already_limited: Option<String>,
}

/// Condition of the recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Silence before the music (below −60 dB under the peak).
    pub head_silence: Seconds,
    /// Silence after it.
    pub tail_silence: Seconds,
    /// Level of the quietest passages that are not digital silence, dBFS RMS.
    pub noise_floor: Option<Db>,
    /// Highest frequency with content.
    pub bandwidth: Hz,
    /// Bits that are really used by integer sources.
    pub effective_bits: Option<u32>,
    /// Mean of left and right, full scale = 1.
    pub dc: [f64; 2],
}

/// Left against right.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stereo {
    /// Left minus right RMS.
    pub balance: Db,
    /// −1 … 1.
    pub correlation: f64,
    /// Correlation below 120 Hz.
    pub correlation_low: f64,
    /// Side minus mid RMS.
    pub side_mid: Db,
    /// Loudness lost when folded to mono, ≥ 0.
    pub mono_loss: Db,
    /// The same below 120 Hz.
    pub mono_loss_low: Db,
    /// Both channels are the same.
    pub mono: bool,
    /// One channel looks inverted (correlation < −0.5).
    pub inverted: bool,
}

/// One band over the whole track.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BandFigures {
    /// Lower edge.
    pub low: Hz,
    /// Upper edge.
    pub high: Hz,
    /// RMS of mid, dBFS, from the louder blocks.
    pub mid: Db,
    /// RMS of side.
    pub side: Db,
    /// Correlation of left and right.
    pub correlation: f64,
    /// 95th minus 50th percentile of the 20 ms levels.
    pub spread: Db,
    /// 10th, 50th, 95th percentile of the 20 ms levels (mid² + side²), dBFS, of blocks above the gate.
    pub percentiles: [Db; 3],
    /// Block peak over block RMS, median.
    pub crest: Db,
}

/// What a gain into a limiter at −1 dBTP would do to this mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rung {
    /// Gain before the limiter.
    pub gain: Db,
    /// Integrated loudness after it.
    pub loudness: Lufs,
    /// Median gain reduction of the blocks in which it works.
    pub median: Db,
    /// 95th percentile of the gain reduction over the whole track.
    pub p95: Db,
}

/// Minimum and maximum per pixel, for drawing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waveform {
    /// Frames per point.
    pub frames_per_point: u32,
    /// Rate the frames are counted at.
    pub rate: u32,
    /// `(min, max)` of both channels together.
    pub points: Vec<(f32, f32)>,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Worth fixing before release.
    Advice,
    /// Will be heard.
    Problem,
}

/// Something the artist should know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name, e.g. `clipped`, `already_limited`, `bandwidth`.
    pub code: String,
    /// How grave.
    pub severity: Severity,
    /// Where, if at one place.
    pub at: Option<Seconds>,
    /// What it is and what to do, in the voice of docs (plain, short, with numbers).
    pub text: String,
}
