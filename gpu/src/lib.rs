//! The fast backends: the CPU with rayon and SIMD FFTs.

pub mod cpu;
