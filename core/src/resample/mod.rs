//! Changes the sample rate by exact ratios, time-aligned with the input: [`resample`] for what is read and heard, [`deliver`] for masters.
//!
//! rubato does it, in blocks; a stretch of blocks begins one block early and then knows nothing of the others: parallel, the same bytes
//! on any number of threads, and memory for a few blocks only. What is different about masters that go to a lower rate: ADR 10.

mod band_end;
#[cfg(test)]
mod tests;

use crate::{Audio, Samples};
use rayon::prelude::*;
use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler, ResamplerConstructionError, WindowFunction};
use std::io;

/// Frames of a block at the lower of the two rates, at least. The filter is as long and flat to 0.953 of the lower Nyquist frequency; its
/// gain is rounded to single precision, and of the lengths that are long enough this one comes out closest to 1.
const BLOCK: usize = 588;
/// Frames of the output that are made in one go, about; the block ahead of them is made twice.
const STRETCH: usize = 65_536;

/// The audio at `rate`, `round(frames · rate / audio.rate)` frames, time-aligned with the input, silence assumed around it.
///
/// Flat within ±0.01 dB to 0.92 of the lower Nyquist frequency, images and aliases below −120 dB; the band ends at that frequency.
///
/// The result lies in the pool of the input.
///
/// # Errors
/// There is no room for it.
///
/// # Panics
/// If one of the rates is 0.
pub fn resample(audio: &Audio, rate: u32) -> io::Result<Audio> {
    let blocks = Blocks::new(audio.rate, rate);
    let stretch = (STRETCH / blocks.size_out).max(4);
    convert(audio, rate, |input, out| {
        let stretches = out.par_chunks_mut(stretch * blocks.size_out).enumerate();
        stretches.try_for_each_init(
            || Converter::new(&blocks),
            |converter, (at, out)| {
                let converter = converter.as_mut().map_err(|error| io::Error::other(error.to_string()))?;
                converter.run(input, at * stretch, out)
            },
        )
    })
}

/// [`resample`] for a master: where it goes to a lower rate, nothing is left from 0.975 of the new Nyquist frequency on, so that no two
/// meters read different true peaks (ADR 4).
///
/// # Errors
/// There is no room for it.
///
/// # Panics
/// If one of the rates is 0.
pub fn deliver(audio: &Audio, rate: u32) -> io::Result<Audio> {
    if rate < audio.rate { band_end::resample(audio, rate) } else { resample(audio, rate) }
}

/// Gives `fill` each channel, and the place of its result; a rate that does not change is a copy.
fn convert(audio: &Audio, rate: u32, fill: impl Fn(&[f32], &mut [f32]) -> io::Result<()> + Sync) -> io::Result<Audio> {
    if audio.rate == rate {
        return audio.try_clone();
    }
    let length = |frames: usize| {
        let exact = (frames as u128 * u128::from(rate) * 2 + u128::from(audio.rate)) / (2 * u128::from(audio.rate));
        exact as usize
    };
    let one = |input: &Samples| -> io::Result<Samples> {
        let mut out = input.like(length(input.len()))?;
        fill(input, &mut out)?;
        Ok(out)
    };
    let [left, right] = &audio.channels;
    let (left, right) = rayon::join(|| one(left), || one(right));
    Ok(Audio { rate, channels: [left?, right?] })
}

/// The smallest numbers of frames that last equally long at both rates.
fn ratio(from: u32, to: u32) -> [usize; 2] {
    assert!(from > 0 && to > 0, "a sample rate of 0 Hz has no audio");
    let (mut unit, mut rest) = (from, to);
    while rest > 0 {
        (unit, rest) = (rest, unit % rest);
    }
    [from, to].map(|rate| (rate / unit) as usize)
}

/// Sizes of the blocks: whole frames at both rates, and an even number of them, since the filter delays by half a block.
struct Blocks {
    ratio: [usize; 2],
    size_in: usize,
    size_out: usize,
}

impl Blocks {
    fn new(from: u32, to: u32) -> Self {
        let ratio = ratio(from, to);
        let units = BLOCK.div_ceil(ratio[0].min(ratio[1])).next_multiple_of(2);
        Self { ratio, size_in: units * ratio[0], size_out: units * ratio[1] }
    }
}

/// What converts one channel, with the room for a block.
struct Converter {
    fft: Fft<f32>,
    block_in: Vec<f32>,
    block_out: Vec<f32>,
}

impl Converter {
    fn new(blocks: &Blocks) -> Result<Self, ResamplerConstructionError> {
        let (&Blocks { ratio: [from, to], size_in, size_out }, window) = (blocks, WindowFunction::BlackmanHarris2);
        let fft = Fft::new_custom(from, to, size_in, 1, 1, window, FixedSync::Both)?;
        Ok(Self { fft, block_in: vec![0.0; size_in], block_out: vec![0.0; size_out] })
    }

    /// The output from block `first` on.
    fn run(&mut self, input: &[f32], first: usize, out: &mut [f32]) -> io::Result<()> {
        let Self { fft, block_in, block_out } = self;
        let (size_in, size_out) = (block_in.len(), block_out.len());
        fft.reset();
        // The first block only fills the filter.
        let wanted = std::iter::once(None).chain(out.chunks_mut(size_out).map(Some));
        for (block, wanted) in (first..).zip(wanted) {
            // The delay of half a block, and half a block more to have whole ones: frames [block·size − size / 2, … + size), zeros outside.
            let (start, ahead) = (block * size_in, size_in / 2);
            let (from, skipped) = (start.saturating_sub(ahead), ahead.saturating_sub(start));
            let there = input.get(from..).unwrap_or_default();
            let count = there.len().min(size_in - skipped);
            block_in.fill(0.0);
            block_in[skipped..skipped + count].copy_from_slice(&there[..count]);
            let source = SequentialSlice::new(&block_in[..], 1, size_in).map_err(io::Error::other)?;
            let mut target = SequentialSlice::new_mut(&mut block_out[..], 1, size_out).map_err(io::Error::other)?;
            fft.process_into_buffer(&source, &mut target, None).map_err(io::Error::other)?;
            if let Some(wanted) = wanted {
                wanted.copy_from_slice(&block_out[..wanted.len()]);
            }
        }
        Ok(())
    }
}
