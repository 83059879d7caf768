/// Stereo audio in memory. A mono file becomes two identical channels (docs/adr/0002-always-stereo.md), so every stage after
/// `decode` knows exactly one layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// Frames per second.
    pub rate: u32,
    /// `[channel][frame]`: left, right; both of the same length; full scale is ±1, overs are kept.
    pub channels: [Vec<f32>; 2],
}

impl Audio {
    /// Silence of `frames` frames.
    #[must_use]
    pub fn silence(rate: u32, frames: usize) -> Self {
        Self { rate, channels: [vec![0.0; frames], vec![0.0; frames]] }
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
