//! The way of frames from a decoder to the sink: without what a codec adds at the ends, and only under the limits.

use super::{Sink, error::DecodeError, pcm::flush};
use crate::{settings::Limits, units::Seconds};

/// Hands planar frames on, without what a codec adds at the ends, and only under the limits.
pub(super) struct Trimmed<'a> {
    out: &'a mut dyn Sink,
    /// Frames handed on.
    length: u64,
    /// Frames that were announced.
    expected: u64,
    pub(super) channels: u16,
    pub(super) rate: Option<u32>,
    /// Frames to drop at the start and frames to keep after those.
    skip: u64,
    keep: u64,
    limits: Limits,
    scratch: [Vec<f32>; 2],
    /// Frames that came, dropped ones included.
    pushed: u64,
}

impl<'a> Trimmed<'a> {
    pub(super) fn new(out: &'a mut dyn Sink, limits: &Limits, expected: u64, skip: u64, keep: Option<u64>) -> Self {
        Self {
            out,
            length: 0,
            expected,
            channels: 0,
            rate: None,
            skip,
            keep: keep.unwrap_or(u64::MAX),
            limits: *limits,
            scratch: [Vec::new(), Vec::new()],
            pushed: 0,
        }
    }

    pub(super) fn at(&self) -> Seconds {
        Seconds(self.length as f64 / f64::from(self.rate.unwrap_or(1).max(1)))
    }

    pub(super) fn corrupt(&self, what: impl Into<String>) -> DecodeError {
        DecodeError::Corrupt { at: self.at(), what: what.into() }
    }

    /// Frames that were handed on.
    pub(super) fn frames(&self) -> u64 {
        self.length
    }

    /// Frames that came so far, dropped ones included.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Time of the frames that came so far, dropped ones included.
    pub(super) fn passed(&self) -> Seconds {
        Seconds(self.pushed as f64 / f64::from(self.rate.unwrap_or(1).max(1)))
    }

    /// Frames per second, once the layout is known.
    pub(super) fn rate(&self) -> u32 {
        self.rate.unwrap_or(0)
    }

    /// Drops `skip` of the frames that come next, and takes `keep` behind those.
    pub(super) fn window(&mut self, skip: u64, keep: u64) {
        (self.skip, self.keep) = (skip, keep);
    }

    /// Takes the layout of the first packet and holds all later ones to it.
    pub(super) fn layout(&mut self, rate: u32, channels: usize) -> Result<(), DecodeError> {
        if self.rate.is_none() {
            super::check(rate, channels as u64, None, &self.limits)?;
            self.rate = Some(rate);
            self.channels = channels as u16;
            // Where no rate was known ahead, nobody has held the announced length against the limits.
            let most = (self.limits.memory / 8).min((self.limits.seconds * f64::from(rate)) as u64);
            self.out.begin(rate, self.channels, self.expected.min(most)).map_err(DecodeError::Room)?;
        } else if self.rate != Some(rate) || usize::from(self.channels) != channels {
            return Err(self.corrupt(format!(
                "it changes from {} channels at {} Hz to {channels} at {rate} Hz",
                self.channels,
                self.rate.unwrap_or(0)
            )));
        }
        Ok(())
    }

    /// Takes `frames` frames that `fill` writes into planar slices (one or two, as `layout` said).
    pub(super) fn push(&mut self, frames: usize, fill: impl FnOnce(&mut [&mut [f32]])) -> Result<(), DecodeError> {
        self.pushed += frames as u64;
        let mono = self.channels == 1;
        for plane in &mut self.scratch[..if mono { 1 } else { 2 }] {
            plane.resize(frames, 0.0);
        }
        let [a, b] = &mut self.scratch;
        if mono {
            fill(&mut [a]);
        } else {
            fill(&mut [a, b]);
        }

        let skip = self.skip.min(frames as u64);
        self.skip -= skip;
        let count = (frames as u64 - skip).min(self.keep);
        self.keep -= count;
        let range = skip as usize..(skip + count) as usize;
        super::check_length(self.rate.unwrap_or(0), self.length + count, &self.limits)?;
        let copy = |out: &mut [f32], plane: &[f32]| {
            for (out, x) in out.iter_mut().zip(plane) {
                *out = flush(*x);
            }
        };
        let [a, b] = &self.scratch;
        let planes = &mut |left: &mut [f32], right: &mut [f32]| {
            copy(left, &a[range.clone()]);
            if !right.is_empty() {
                copy(right, &b[range.clone()]);
            }
        };
        self.out.push(range.len(), planes).map_err(DecodeError::Room)?;
        self.length += count;
        Ok(())
    }

    /// Stands in for a packet that could not be decoded.
    pub(super) fn silence(&mut self, frames: u64) -> Result<(), DecodeError> {
        if self.rate.is_none() {
            return Ok(());
        }
        // A hole may be longer than any packet.
        let mut left = frames;
        while left > 0 {
            let piece = left.min(65_535);
            self.push(piece as usize, |planes| planes.iter_mut().for_each(|p| p.fill(0.0)))?;
            left -= piece;
        }
        Ok(())
    }

    pub(super) fn drop_end(&mut self, frames: u64) -> Result<(), DecodeError> {
        let frames = frames.min(self.length);
        self.length -= frames;
        if frames > 0 {
            self.out.drop_end(frames).map_err(DecodeError::Room)?;
        }
        Ok(())
    }
}
