//! LoopMastering's engine. One track takes one road:
//!
//! ```text
//! decode → analyse → plan → render → encode → deliver
//! ```
//!
//! | stage | from → to | where |
//! |---|---|---|
//! | [`decode`] | file bytes → [`Track`](decode::Track): planar `f32` [`Audio`], tags, source facts | WAV … Matroska, under [`Limits`](settings::Limits) |
//! | [`analyse`] | `Audio` → [`Analysis`](analyse::Analysis): loudness, peaks, tone, width, dynamics, findings | one look at the music, no decisions |
//! | [`plan`] | `Analysis` + [`Settings`] → [`Plan`](plan::Plan): every decision, with its reason | no audio, no clock: decisions are data |
//! | [`render`] | `Audio` + `Plan` + [`Backend`](render::Backend) → [`Master`](render::Master) | the sound |
//! | [`encode`] | `Master` → WAV, FLAC, MP3, Opus bytes with tags | dither once, SHA-256 of everything |
//! | [`deliver`] | files that passed every check → their names | temporary names, rename |
//!
//! [`master`] takes one track through all of it:
//!
//! ```no_run
//! use loopmaster_core::master::{Clock, Extras, MasterRequest, master};
//! use loopmaster_core::render::cpu::Cpu;
//! use loopmaster_core::settings::{Limits, Settings};
//! use loopmaster_core::{machine, samples::Pool};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let order = MasterRequest {
//!     settings: &Settings::default(),
//!     saved: None,
//!     reference: None,
//!     seat: None,
//!     extras: Extras { report: true, ..Extras::default() },
//!     backend: &Cpu,
//!     limits: Limits::default(),
//!     pool: &Pool::new(machine::budget(), machine::scratch()),
//! };
//! let done = master(Path::new("song.wav"), Path::new("masters"), &order, &mut Clock::default())?;
//! println!("{} files, verified, of {:.0} s of music", done.files.len(), done.seconds);
//! # Ok(())
//! # }
//! ```
//!
//! [`control`] is the chain in figures: gains, curves and the loudness they lead to, which `analyse`, `plan` and `render` all ask.
//! [`meter`] holds the instruments (BS.1770 loudness, true peak, spectrum) that `analyse`, `render` and `verify` share;
//! [`verify`] decodes every file that was written and holds it against the plan; [`report`] tells the story.
//!
//! Without the feature `engine` only the shared domain is left ([`admission`], [`retention`], [`settings`], [`signing`], [`units`], [`Stage`]): small enough for the edge.

pub mod admission;
pub mod retention;
pub mod settings;
pub mod signing;
mod stage;
pub mod units;

pub use settings::Settings;
pub use stage::Stage;

#[cfg(feature = "engine")]
pub mod analyse;
#[cfg(feature = "engine")]
mod audio;
#[cfg(feature = "engine")]
pub mod bands;
#[cfg(feature = "engine")]
pub mod control;
#[cfg(feature = "engine")]
pub mod decode;
#[cfg(feature = "engine")]
pub mod deliver;
#[cfg(feature = "engine")]
pub mod encode;
#[cfg(feature = "engine")]
mod error;
#[cfg(feature = "engine")]
pub mod machine;
#[cfg(feature = "engine")]
pub mod master;
#[cfg(feature = "engine")]
pub mod meter;
#[cfg(feature = "engine")]
pub mod plan;
#[cfg(feature = "engine")]
pub mod render;
#[cfg(feature = "engine")]
pub mod report;
#[cfg(feature = "engine")]
pub mod resample;
#[cfg(feature = "engine")]
pub mod samples;
#[cfg(feature = "engine")]
pub mod verify;

#[cfg(feature = "engine")]
pub use audio::Audio;
#[cfg(feature = "engine")]
pub use error::Error;
#[cfg(feature = "engine")]
pub use samples::Samples;
