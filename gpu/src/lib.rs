//! A graphics card as a backend, through wgpu.

pub mod gpu;
pub mod renderer;
