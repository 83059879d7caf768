use serde::{Deserialize, Serialize};
use std::fmt;

/// The six steps of every track: module names, job states, tracing spans, metric labels and prefixes of error codes alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// File bytes → audio.
    Decode,
    /// Audio → measurements and findings.
    Analyse,
    /// Measurements and wishes → decisions.
    Plan,
    /// Audio and decisions → mastered audio.
    Render,
    /// Mastered audio → files, each verified by decoding it again.
    Encode,
    /// Files → the person who asked.
    Deliver,
}

impl Stage {
    /// All stages in the order a track takes them.
    pub const ALL: [Self; 6] = [Self::Decode, Self::Analyse, Self::Plan, Self::Render, Self::Encode, Self::Deliver];

    /// The one name of the stage.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Analyse => "analyse",
            Self::Plan => "plan",
            Self::Render => "render",
            Self::Encode => "encode",
            Self::Deliver => "deliver",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
