//! From the plan's curves to taps and bands: what `shape` needs, worked out once per track in `f64`.

use crate::plan::Plan;

/// Everything `shape` needs that does not depend on the samples. Cheap and deterministic.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeDesign {
    /// Rate it was made for, Hz.
    pub rate: u32,
}

impl ShapeDesign {
    /// Turns the plan's tone, width, subsonic cut and dynamics into filters at `rate`.
    #[must_use]
    pub fn new(_plan: &Plan, rate: u32) -> Self {
        Self { rate }
    }
}
