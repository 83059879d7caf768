//! The fast backends: the CPU with rayon and SIMD FFTs, and a graphics card through wgpu.

pub mod cpu;
pub mod gpu;
pub mod renderer;
