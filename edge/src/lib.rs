//! What a visitor touches first. It will become a Spin component (pages, cookies, rate limits, upload coordination); what stands
//! today are its decisions, plain Rust without a DSP, a runtime or a clock, tested on any machine and checked for wasm:
//!
//! - [`admission`]: may this upload begin? Said before a byte of it travels.
//! - [`wishes`]: the [`Settings`](loopmaster_core::Settings) a form asks for.
//!
//! Both answer with a text for a person and a stable `code()` for a program.

pub mod admission;
pub mod wishes;
