//! Where decoded frames go.

use super::{DecodeError, HIGHEST_RATE, LOWEST_RATE, Source, Tags, Track, inspect};
use crate::samples::Pool;
use crate::{Audio, Samples, resample};
use std::io;

/// Takes decoded frames as they come, so that whoever decodes holds none of them. An error is one of the sink's own: it has no room.
pub trait Sink {
    /// Once, before the first frames. `expected` frames were announced; 0 where nobody knows.
    fn begin(&mut self, rate: u32, channels: u16, expected: u64) -> io::Result<()>;

    /// Takes `frames` frames that `fill` writes to left and right; with one channel, right is empty.
    fn push(&mut self, frames: usize, fill: &mut dyn FnMut(&mut [f32], &mut [f32])) -> io::Result<()>;

    /// The last `frames` frames were padding.
    fn drop_end(&mut self, frames: u64) -> io::Result<()>;
}

/// Gathers frames to a [`Track`].
#[derive(Debug)]
pub struct Gather {
    pool: Pool,
    rate: u32,
    mono: bool,
    channels: [Samples; 2],
    filled: usize,
}

impl Gather {
    /// Nothing yet; the samples will lie in `pool`.
    #[must_use]
    pub fn new(pool: &Pool) -> Self {
        Self { pool: pool.clone(), rate: 0, mono: false, channels: [Samples::default(), Samples::default()], filled: 0 }
    }

    /// The whole: looked through, and brought to a rate at which the engine works.
    pub fn track(self, source: Source, tags: Tags) -> Result<Track, DecodeError> {
        let Self { rate, mut channels, filled, .. } = self;
        for channel in &mut channels {
            channel.truncate(filled);
            channel.fit().map_err(DecodeError::Room)?;
        }
        let mut audio = Audio { rate, channels };
        inspect(&audio)?;
        if audio.rate > HIGHEST_RATE {
            // DXD holds nothing above that anybody hears, and its halves are rates that players know.
            let target = if audio.rate.is_multiple_of(LOWEST_RATE) { 4 * LOWEST_RATE } else { HIGHEST_RATE };
            audio = resample::resample(&audio, target).map_err(DecodeError::Room)?;
        }
        if audio.rate < LOWEST_RATE {
            let target = if LOWEST_RATE.is_multiple_of(audio.rate) { LOWEST_RATE } else { 48_000 };
            audio = resample::resample(&audio, target).map_err(DecodeError::Room)?;
        }
        Ok(Track { audio, source, tags })
    }
}

impl Sink for Gather {
    fn begin(&mut self, rate: u32, channels: u16, expected: u64) -> io::Result<()> {
        self.rate = rate;
        self.mono = channels < 2;
        let expected = usize::try_from(expected).unwrap_or(0);
        self.channels = [Samples::zeros(expected, &self.pool)?, Samples::zeros(expected, &self.pool)?];
        Ok(())
    }

    fn push(&mut self, frames: usize, fill: &mut dyn FnMut(&mut [f32], &mut [f32])) -> io::Result<()> {
        let range = self.filled..self.filled + frames;
        for channel in &mut self.channels {
            if range.end > channel.len() {
                channel.extend_by(range.end - channel.len())?;
            }
        }
        let [left, right] = &mut self.channels;
        let (left, right) = (&mut left[range.clone()], &mut right[range.clone()]);
        if self.mono {
            fill(left, &mut []);
            right.copy_from_slice(left);
        } else {
            fill(left, right);
        }
        self.filled = range.end;
        Ok(())
    }

    fn drop_end(&mut self, frames: u64) -> io::Result<()> {
        self.filled = self.filled.saturating_sub(usize::try_from(frames).unwrap_or(usize::MAX));
        Ok(())
    }
}
