use crate::{
    Stage, decode::DecodeError, encode::EncodeError, plan::PlanError, render::RenderError, verify::GateFailure,
};

/// Why a track ended without its files. The text says what is wrong, with the values, and what to do; the code is stable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be turned into audio.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The plan cannot be made or does not fit.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The backend failed.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A file cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A written file broke a gate of the verify rule.
    #[error(transparent)]
    Verify(#[from] GateFailure),
}

impl Error {
    /// `stage.what`, e.g. `decode.not_audio`; never changes once published.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Decode(e) => e.code(),
            Self::Plan(e) => e.code(),
            Self::Render(e) => e.code(),
            Self::Encode(e) => e.code(),
            Self::Verify(e) => e.code(),
        }
    }

    /// The stage that failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Decode(_) => Stage::Decode,
            Self::Plan(_) => Stage::Plan,
            Self::Render(_) => Stage::Render,
            Self::Encode(_) | Self::Verify(_) => Stage::Encode,
        }
    }
}
