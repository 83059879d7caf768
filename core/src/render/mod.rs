//! `Audio` + `Plan` → [`Master`], through a [`Backend`].
//!
//! A backend is coarse (a batch of tracks in, masters out), so that a device can keep the data where it is. The kernels it is made
//! of are fine, and each has one name everywhere: `fir`, `filterbank`, `levels`, `gains`, `saturate`, `clip`, `masked_clip`,
//! `block_peaks`, `block_energies`, `apply_gain`. [`reference`] holds the readable ones.

pub mod chain;
pub mod cpu;
pub mod design;
pub mod finish;
pub mod kernels;
pub mod masking;
pub mod oversample;
pub mod reference;

pub use crate::control::{BLOCK, Trace};

use crate::Audio;
use crate::plan::{Limiter, Plan};
use crate::units::{Db, Lufs, Seconds};
use serde::{Deserialize, Serialize};

/// One track to render.
#[derive(Debug)]
pub struct Job<'a> {
    /// The mix; consumed, so that memory can be reused.
    pub audio: Audio,
    /// What to do.
    pub plan: &'a Plan,
    /// Delivery rates, each rendered with its own limiter pass; the master's own rate first.
    pub rates: &'a [u32],
    /// A gain before the limiter that was solved earlier; `None`: solve it.
    pub solved: Option<Db>,
    /// A part that somebody waits to hear. A device that keeps the audio to itself may leave it out.
    pub early: Option<Early<'a>>,
}

/// A part of the master that is wanted before the limiter has been through the whole.
#[derive(Clone, Copy)]
pub struct Early<'a> {
    /// Where it begins, in the master.
    pub start: Seconds,
    /// Its length.
    pub length: Seconds,
    /// Gets it, on the thread that renders.
    pub tell: &'a Tell<'a>,
}

/// Gets a part of a master that is still being rendered.
pub type Tell<'a> = dyn for<'s> Fn(Sketch<'s>) + Send + Sync + 'a;

impl std::fmt::Debug for Early<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Early").field("start", &self.start).field("length", &self.length).finish_non_exhaustive()
    }
}

/// What is known of a master once its gain is solved. The whole may still move by a few tenths of a decibel, where its loudness is
/// corrected.
#[derive(Debug)]
pub struct Sketch<'a> {
    /// The part that was asked for, through leveler, clippers and limiter, with music around it.
    pub part: Audio,
    /// Where `part` begins, in the master.
    pub from: Seconds,
    /// The whole ahead of them.
    pub shaped: &'a Audio,
    /// The gain that `shaped` gets.
    pub gain: Db,
    /// Loudness that is expected of the whole.
    pub predicted: Option<Lufs>,
}

/// A rendered master at one rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Master {
    /// The samples.
    pub audio: Audio,
    /// What happened on the way.
    pub trace: Trace,
    /// Who rendered it: a track that a device could not finish comes from the processor.
    pub backend: BackendInfo,
}

/// Who rendered: two runs with equal values give equal bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendInfo {
    /// `reference`, `cpu`, `gpu`.
    pub name: String,
    /// Instruction set or device.
    pub device: String,
}

/// Renders batches of tracks.
pub trait Backend: Send + Sync {
    /// Who this is.
    fn info(&self) -> BackendInfo;

    /// Renders each job at each of its rates: `[job]` → `[rate]`. One failing job does not disturb the others.
    fn render(&self, jobs: Vec<Job<'_>>) -> Vec<Result<Vec<Master>, RenderError>>;

    /// Takes a master down, in place, where a lossy file made of it decodes above the limiter's ceiling; only there, so that what
    /// codecs add to single peaks does not cost the whole file its loudness.
    fn reduce_overs(&self, master: &mut Audio, decoded: &Audio, limiter: &Limiter);
}

/// Why a render failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// A sample became infinite or not a number: a fault of ours.
    #[error("the render produced a non-finite sample at frame {frame}; please report this file")]
    NonFinite {
        /// First frame.
        frame: usize,
    },
    /// The device did not do it; the track may be innocent and is worth another try, alone or elsewhere.
    #[error("the device failed: {0}")]
    Device(String),
    /// A copy of the track has no room.
    #[error("there is no room to render the track ({0}); make room on that disk, or allow more memory")]
    Room(#[from] std::io::Error),
}

impl RenderError {
    /// `render.what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NonFinite { .. } => "render.non_finite",
            Self::Device(_) => "render.device",
            Self::Room(_) => "render.room",
        }
    }
}
