//! The fine seam: what a backend made of single kernels offers to the one chain that calls them in order.

use super::BackendInfo;
use super::design::ShapeDesign;
use crate::Audio;
use crate::units::Db;

/// The kernels a backend on the CPU is made of; the chain calls them in order. [`super::reference`] holds the readable ones.
pub trait Kernels: Send + Sync {
    /// Who this is.
    fn info(&self) -> BackendInfo;

    /// `fir` + `filterbank` + `levels` + `gains` + `mix_bands`, fused. Returns the shaped audio, as long as what came in and with no
    /// latency, and the mean reduction of each band of the plan's dynamics (`[band]`, dB ≥ 0; empty where dynamics are off).
    /// A design that changes nothing hands the audio back bit-exact.
    fn shape(&self, audio: Audio, shape: &ShapeDesign) -> (Audio, Vec<Db>);
}
