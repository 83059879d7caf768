//! Nothing is delivered unmeasured: every file is decoded again and held against the plan by a meter the limiter never saw.

use serde::{Deserialize, Serialize};

/// One gate of the verify rule, passed or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// `loudness`, `true_peak`, `length`, `finite`, `clipped`, `tone`, `mono_low`, `mono`.
    pub name: String,
    /// Whether it held.
    pub passed: bool,
    /// What was measured.
    pub measured: f64,
    /// The bound it was held against.
    pub bound: f64,
    /// Both in words, with units.
    pub text: String,
}

/// A written file broke a gate.
#[derive(Debug, thiserror::Error)]
#[error("{file} failed the {} gate: {}; nothing of it was delivered", gate.name, gate.text)]
pub struct GateFailure {
    /// Which file.
    pub file: String,
    /// Which gate.
    pub gate: Gate,
}

impl GateFailure {
    /// `encode.gate_what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.gate.name.as_str() {
            "loudness" => "encode.gate_loudness",
            "true_peak" => "encode.gate_true_peak",
            "length" => "encode.gate_length",
            "finite" => "encode.gate_finite",
            "clipped" => "encode.gate_clipped",
            "tone" => "encode.gate_tone",
            _ => "encode.gate_mono",
        }
    }
}
