//! What of a file could not be read: told to the customer with its time, and too much of it refuses the file.

use super::error::DecodeError;
use crate::units::Seconds;
use serde::{Deserialize, Serialize};

/// A stretch of the source that is not in the audio, or stands there as silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Where, in the audio as it was read.
    pub at: Seconds,
    /// How long; 0 where nobody can know.
    pub seconds: Seconds,
    /// What it is, as the end of a sentence: `the frames there are broken; silence stands in their place`.
    pub what: String,
}

/// Share of the audio that may be lost before the file is refused.
const SHARE: f64 = 0.01;
/// Longest loss at one place.
const AT_ONCE: Seconds = Seconds(0.5);
/// Losses that are listed; all of them count.
const LISTED: usize = 100;

/// Collects losses while a file is read.
#[derive(Debug, Default)]
pub(super) struct Losses {
    listed: Vec<Loss>,
    total: f64,
}

impl Losses {
    /// Losses of one kind that follow each other are one.
    pub(super) fn add(&mut self, at: Seconds, seconds: Seconds, what: &str) {
        self.total += seconds.0;
        if let Some(last) = self.listed.last_mut()
            && last.what == what
            && (at.0 - last.at.0 - last.seconds.0).abs() < 0.03
        {
            last.seconds.0 += seconds.0;
        } else if self.listed.len() < LISTED {
            self.listed.push(Loss { at, seconds, what: what.to_owned() });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The list, if the customer can live with it.
    pub(super) fn bearable(self, length: Seconds) -> Result<Vec<Loss>, DecodeError> {
        let longest = self.listed.iter().max_by(|a, b| a.seconds.0.total_cmp(&b.seconds.0));
        let Some(longest) = longest else { return Ok(self.listed) };
        if longest.seconds.0 > AT_ONCE.0 || self.total > SHARE * length.0 {
            let places = self.listed.len();
            let lost = Seconds(self.total);
            let what = match places {
                1 => format!("{:.2}\u{202f}s cannot be read: {}", lost.0, longest.what),
                n => format!("{:.2}\u{202f}s at {n} places cannot be read: {}", lost.0, longest.what),
            };
            let first = if longest.seconds.0 > AT_ONCE.0 { longest } else { &self.listed[0] };
            return Err(DecodeError::Corrupt { at: first.at, what });
        }
        Ok(self.listed)
    }
}
