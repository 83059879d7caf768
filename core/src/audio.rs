use crate::Samples;
use crate::samples::Pool;
use std::io;

/// Stereo audio. A mono file becomes two identical channels (docs/adr/0002-always-stereo.md), so every stage after
/// `decode` knows exactly one layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// Frames per second.
    pub rate: u32,
    /// `[channel][frame]`: left, right; both of the same length; full scale is ±1, overs are kept.
    pub channels: [Samples; 2],
}

impl Audio {
    /// Two channels of the same length, in memory.
    #[must_use]
    pub fn new(rate: u32, channels: [Vec<f32>; 2]) -> Self {
        Self { rate, channels: channels.map(Samples::from) }
    }

    /// Silence of `frames` frames, in memory.
    #[must_use]
    pub fn silence(rate: u32, frames: usize) -> Self {
        Self::new(rate, [vec![0.0; frames], vec![0.0; frames]])
    }

    /// Silence of `frames` frames, where a pool has room for it.
    pub fn silence_in(rate: u32, frames: usize, pool: &Pool) -> io::Result<Self> {
        Ok(Self { rate, channels: [Samples::zeros(frames, pool)?, Samples::zeros(frames, pool)?] })
    }

    /// The same audio once more, in the same pool.
    pub fn try_clone(&self) -> io::Result<Self> {
        let [left, right] = &self.channels;
        Ok(Self { rate: self.rate, channels: [left.try_clone()?, right.try_clone()?] })
    }

    /// Where its samples come from.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        self.channels[0].pool()
    }

    /// Number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.channels[0].len()
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.frames() as f64 / f64::from(self.rate)
    }
}
