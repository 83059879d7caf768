//! What the chain has done to a track, in figures.

use crate::units::{Db, Dbtp, Lufs};
use serde::{Deserialize, Serialize};

/// What the chain did, for the report and for `verify`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Gain into clipper and limiter.
    pub gain: Db,
    /// Loudness the solver predicted.
    pub predicted: Option<Lufs>,
    /// Loudness by the render's own meter.
    pub reached: Option<Lufs>,
    /// True peak by the limiter's own detector.
    pub true_peak: Option<Dbtp>,
    /// Audio passes of the limiter (1, or 2 with a correction).
    pub passes: u32,
    /// Gain reduction of clipper + leveler + limiter, without what the transient shaper takes: one value per 0.1 s, the largest in it, dB ≥ 0.
    pub reduction: Vec<f32>,
    /// Median of the limiter's reduction where it works, dB.
    pub reduction_median: Db,
    /// 95th percentile of it over the track, dB.
    pub reduction_p95: Db,
    /// Share of samples the clipper touched.
    pub clipped: f64,
    /// What leveler, clipper and limiter did to the music, over what it masks: mean over frames and bands, dB. Below 0 it is masked on
    /// average; `None` where nothing was changed but the level, or where it was not measured.
    #[serde(default)]
    pub limiting_error: Option<Db>,
    /// `[band]` mean reduction of the multiband dynamics, dB ≥ 0.
    pub bands: Vec<Db>,
}
