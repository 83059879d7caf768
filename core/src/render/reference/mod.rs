//! The kernels written for reading: plain loops in `f64`, no transforms, no threads. Every fast kernel is held against these.

/// The readable backend; it implements [`Kernels`](super::kernels::Kernels).
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;
