//! The chain at control rate: gains, curves and the loudness they lead to, one value per block of about 0.7 ms, without touching audio.
//!
//! It stands below analysis, plan and render, because all three ask it the same question: what comes out if this gain goes in? The
//! analysis for its loudness ladder, the plan for what it promises, the render for what it does.

pub mod compressor;
pub mod curves;
pub mod limiter;
pub mod solve;
mod steps;
mod trace;
pub mod transients;

pub use steps::{BandDynamics, Clipper, Finishing, Leveler, Limiter, MaskedClipper, Saturation, Transients};
pub use trace::Trace;

/// Frames per control block of clipper, limiter and loudness solver.
pub const BLOCK: usize = 32;
