//! Linear PCM → planar `f32`, many cores at once. Exact for 8 to 24 bits, correctly rounded for 32 bits and doubles.

use super::{Sink, Source, chunks::corrupt, error::DecodeError, media::Media};
use crate::{settings::Limits, units::Seconds};
use multiversion::multiversion;
use rayon::prelude::*;
use std::io::{Read, Seek, SeekFrom};

/// How one sample is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    U8,
    I8,
    I16,
    I24,
    I32,
    F32,
    F64,
}

impl Sample {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// Samples in a file, as the header describes them.
pub(super) struct Pcm {
    pub(super) sample: Sample,
    pub(super) big_endian: bool,
    /// Bits that carry the sound; at most those of `sample`, whose lower ones are then zero.
    pub(super) bits: u32,
    pub(super) rate: u32,
    pub(super) channels: u16,
    /// Where the first frame begins in the file.
    pub(super) at: u64,
    /// Bytes that the header promises, and those of them that the file has.
    pub(super) declared: u64,
    pub(super) there: u64,
}

/// Bytes read at a time: small enough to stay in a cache, large enough to be shared by many cores.
const BLOCK_BYTES: usize = 4 << 20;
/// Frames per parallel piece. Unpacking has no state, so the layout cannot change a result.
const PIECE: usize = 16_384;

impl Pcm {
    /// Reads the samples once the header was held against the limits and the file.
    pub(super) fn read(
        &self,
        media: &mut Media<'_>,
        container: &str,
        limits: &Limits,
        sink: &mut dyn Sink,
    ) -> Result<Source, DecodeError> {
        if self.channels == 0 || self.rate == 0 {
            return Err(corrupt(format!("{} channels at {} Hz", self.channels, self.rate)));
        }
        let frame = u64::from(self.channels) * self.sample.bytes() as u64;
        super::check(self.rate, u64::from(self.channels), Some(self.declared / frame), limits)?;
        if self.there < self.declared {
            let seconds = |bytes: u64| Seconds((bytes / frame) as f64 / f64::from(self.rate));
            return Err(DecodeError::Truncated { have: seconds(self.there), want: seconds(self.declared) });
        }
        let frames = self.there / frame;
        let count = usize::try_from(frames).map_err(|_| corrupt("too long for this machine"))?;
        self.unpack_all(media, count, sink)?;
        Ok(Source {
            container: container.into(),
            codec: self.codec(),
            lossy: false,
            bits: Some(self.bits),
            float: matches!(self.sample, Sample::F32 | Sample::F64),
            rate: self.rate,
            channels: self.channels,
            frames,
            bytes: media.len(),
            losses: Vec::new(),
        })
    }

    /// The name that ffmpeg and symphonia use.
    fn codec(&self) -> String {
        let kind = match self.sample {
            Sample::U8 => return "pcm_u8".into(),
            Sample::I8 => return "pcm_s8".into(),
            Sample::I16 => "s16",
            Sample::I24 => "s24",
            Sample::I32 => "s32",
            Sample::F32 => "f32",
            Sample::F64 => "f64",
        };
        format!("pcm_{kind}{}", if self.big_endian { "be" } else { "le" })
    }

    fn unpack_all(&self, media: &mut Media<'_>, frames: usize, sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let frame = self.sample.bytes() * usize::from(self.channels);
        sink.begin(self.rate, self.channels, frames as u64).map_err(DecodeError::Room)?;
        let block = (BLOCK_BYTES / frame).next_multiple_of(PIECE);
        let mut bytes = vec![0_u8; block.min(frames) * frame];

        media.seek(SeekFrom::Start(self.at))?;
        for start in (0..frames).step_by(block) {
            let count = block.min(frames - start);
            let bytes = &mut bytes[..count * frame];
            media.read_exact(bytes)?;
            let unpack = &mut |left: &mut [f32], right: &mut [f32]| {
                let pieces = bytes.par_chunks(PIECE * frame);
                let left = left.par_chunks_mut(PIECE);
                if right.is_empty() {
                    pieces.zip(left).for_each(|(bytes, out)| self.unpack(bytes, out, &mut []));
                } else {
                    let right = right.par_chunks_mut(PIECE);
                    pieces.zip(left.zip(right)).for_each(|(bytes, (left, right))| self.unpack(bytes, left, right));
                }
            };
            sink.push(count, unpack).map_err(DecodeError::Room)?;
        }
        Ok(())
    }

    fn unpack(&self, bytes: &[u8], left: &mut [f32], right: &mut [f32]) {
        if self.big_endian {
            unpack::<true>(self.sample, bytes, left, right);
        } else {
            unpack::<false>(self.sample, bytes, left, right);
        }
    }
}

/// Interleaved samples → planar; mono if `right` is empty.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.2"))]
fn unpack<const BIG: bool>(sample: Sample, bytes: &[u8], left: &mut [f32], right: &mut [f32]) {
    match sample {
        Sample::U8 => spread::<1, BIG>(bytes, left, right, |[b]| (f32::from(b) - 128.0) / 128.0),
        Sample::I8 => spread::<1, BIG>(bytes, left, right, |b| f32::from(i8::from_le_bytes(b)) / 128.0),
        Sample::I16 => spread::<2, BIG>(bytes, left, right, |b| f32::from(i16::from_le_bytes(b)) / 32_768.0),
        // 24 bits in the upper three bytes of an i32: exact in f32.
        Sample::I24 => {
            spread::<3, BIG>(bytes, left, right, |[a, b, c]| i32::from_le_bytes([0, a, b, c]) as f32 / 2_147_483_648.0);
        }
        Sample::I32 => spread::<4, BIG>(bytes, left, right, |b| i32::from_le_bytes(b) as f32 / 2_147_483_648.0),
        Sample::F32 => spread::<4, BIG>(bytes, left, right, |b| flush(f32::from_le_bytes(b))),
        Sample::F64 => spread::<8, BIG>(bytes, left, right, |b| flush(f64::from_le_bytes(b) as f32)),
    }
}

/// Converts sample by sample; `convert` sees little-endian bytes.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must be compiled with the target features of its caller")]
fn spread<const N: usize, const BIG: bool>(
    bytes: &[u8],
    left: &mut [f32],
    right: &mut [f32],
    convert: impl Fn([u8; N]) -> f32,
) {
    let convert = |mut sample: [u8; N]| {
        if BIG {
            sample.reverse();
        }
        convert(sample)
    };
    let (samples, _) = bytes.as_chunks::<N>();
    if right.is_empty() {
        for (out, sample) in left.iter_mut().zip(samples) {
            *out = convert(*sample);
        }
    } else {
        let (pairs, _) = samples.as_chunks::<2>();
        for ((left, right), [l, r]) in left.iter_mut().zip(right).zip(pairs) {
            *left = convert(*l);
            *right = convert(*r);
        }
    }
}

/// Denormals are inaudible (below −750 dBFS) and slow every filter that meets them.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must be compiled with the target features of its caller")]
pub(super) fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x }
}
