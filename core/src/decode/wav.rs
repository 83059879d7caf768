//! WAV, RF64 and BW64 with PCM or float samples, read straight into planar `f32`.
//!
//! symphonia knows neither RF64 (EBU Tech 3306) nor tags after the samples, and one core unpacking through its packets is slower than
//! the whole rest of this stage; everything rarer than linear PCM goes back to it.

use super::{Source, Tags, error::DecodeError, media::Media, tags};
use crate::{Audio, settings::Limits, units::Seconds};
use multiversion::multiversion;
use rayon::prelude::*;
use std::io::{self, Read, Seek, SeekFrom};

/// How one sample is stored, little-endian; 8-bit is unsigned, everything else signed (Microsoft RIFF, 1991).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sample {
    U8,
    I16,
    I24,
    I32,
    F32,
    F64,
}

impl Sample {
    fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    fn codec(self) -> &'static str {
        match self {
            Self::U8 => "pcm_u8",
            Self::I16 => "pcm_s16le",
            Self::I24 => "pcm_s24le",
            Self::I32 => "pcm_s32le",
            Self::F32 => "pcm_f32le",
            Self::F64 => "pcm_f64le",
        }
    }
}

/// The header, believed only as far as it was checked.
struct Header {
    sample: Sample,
    bits: u32,
    rate: u32,
    channels: u16,
    frames: u64,
    data_at: u64,
    tags: Tags,
}

/// Chunks looked at before a file counts as made of nothing but headers. Real files have a dozen.
const MAX_CHUNKS: usize = 4096;
/// Bytes read at a time: small enough to stay in a cache, large enough to be shared by many cores.
const BLOCK_BYTES: usize = 4 << 20;
/// Frames per parallel piece. Unpacking has no state, so the layout cannot change a result.
const PIECE: usize = 16_384;

/// Reads a RIFF/WAVE file. `None` if its samples are compressed, which is for symphonia.
pub(super) fn read(media: &mut Media<'_>, limits: &Limits) -> Result<Option<(Audio, Source, Tags)>, DecodeError> {
    let Some(header) = read_header(media, limits)? else { return Ok(None) };
    let audio = read_samples(media, &header)?;
    let source = Source {
        container: "wav".into(),
        codec: header.sample.codec().into(),
        lossy: false,
        bits: Some(header.bits),
        float: header.sample.is_float(),
        rate: header.rate,
        channels: header.channels,
        frames: header.frames,
        bytes: media.len(),
    };
    Ok(Some((audio, source, header.tags)))
}

fn corrupt(what: impl Into<String>) -> DecodeError {
    DecodeError::Corrupt { at: Seconds(0.0), what: what.into() }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Reads up to `len` bytes at `at`; fewer at the end of the file.
fn peek(media: &mut Media<'_>, at: u64, len: usize) -> io::Result<Vec<u8>> {
    media.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::with_capacity(len);
    media.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_header(media: &mut Media<'_>, limits: &Limits) -> Result<Option<Header>, DecodeError> {
    let file = media.len();
    let head = peek(media, 0, 12)?;
    let is_64 = head.get(..4).is_some_and(|id| id == b"RF64" || id == b"BW64");
    let streamed_riff = u32_at(&head, 4) == Some(u32::MAX) && !is_64;

    let (mut format, mut data, mut data_64) = (None, None, None);
    let (mut metadata, mut tags) = (0_u64, Tags::default());
    let mut at = 12_u64;
    for _ in 0..MAX_CHUNKS {
        let chunk = peek(media, at, 8)?;
        let (Some(id), Some(size)) = (chunk.get(..4), u32_at(&chunk, 4)) else { break };
        let body = at + 8;
        let mut size = u64::from(size);
        match id {
            b"ds64" => data_64 = u64_at(&peek(media, body, 28)?, 8),
            b"fmt " => {
                let bytes = peek(media, body, size.min(64) as usize)?;
                match parse_format(&bytes)? {
                    Some(found) => format = Some(found),
                    None => return Ok(None),
                }
            }
            b"data" if data.is_none() => {
                let rest = file.saturating_sub(body);
                // Writers that cannot seek back leave these: RF64's "see ds64", ffmpeg's and SoX's "until the end".
                let declared = match (size, data_64) {
                    (0xFFFF_FFFF, Some(size)) if is_64 => size,
                    (0xFFFF_FFFF | 0x7FFF_F000, _) => rest,
                    (0, _) if streamed_riff => rest,
                    _ => size,
                };
                data = Some((body, declared, rest.min(declared)));
                size = declared;
            }
            b"LIST" | b"id3 " | b"ID3 " => {
                metadata += size;
                if metadata > limits.metadata {
                    return Err(DecodeError::MetadataTooLarge { bytes: metadata, limit: limits.metadata });
                }
                let bytes = peek(media, body, size as usize)?;
                if id == b"LIST" { tags::riff_info(&bytes, &mut tags) } else { tags::id3(bytes, &mut tags) }
            }
            _ => {}
        }
        let Some(end) = body.checked_add(size) else { break };
        at = end + (size & 1);
        // Some writers forget the padding byte of an odd chunk, which would be zero: no name begins so.
        if size & 1 == 1 && plausible_id(&peek(media, end, 4)?) {
            at = end;
        }
        if at >= file {
            break;
        }
    }

    let Some((sample, bits, rate, channels)) = format else { return Err(corrupt("no format chunk")) };
    let Some((data_at, declared, there)) = data else { return Err(corrupt("no data chunk")) };
    if channels == 0 || rate == 0 {
        return Err(corrupt(format!("{channels} channels at {rate} Hz")));
    }
    let frame = u64::from(channels) * sample.bytes() as u64;
    let seconds = |bytes: u64| Seconds((bytes / frame) as f64 / f64::from(rate));
    super::check(rate, u64::from(channels), Some(declared / frame), limits)?;
    if there < declared {
        return Err(DecodeError::Truncated { have: seconds(there), want: seconds(declared) });
    }
    Ok(Some(Header { sample, bits, rate, channels, frames: there / frame, data_at, tags }))
}

/// Chunk names are four printable ASCII characters.
fn plausible_id(id: &[u8]) -> bool {
    id.len() == 4 && id.iter().all(|b| (0x20..0x7f).contains(b))
}

/// Sample, bits, rate and channels of a `fmt ` chunk; `None` for compressed formats.
fn parse_format(bytes: &[u8]) -> Result<Option<(Sample, u32, u32, u16)>, DecodeError> {
    /// The last 14 bytes of every sub-format of `WAVE_FORMAT_EXTENSIBLE` that stands for an old format tag.
    const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];
    let fields = (u16_at(bytes, 0), u16_at(bytes, 2), u32_at(bytes, 4), u16_at(bytes, 12), u16_at(bytes, 14));
    let (Some(mut tag), Some(channels), Some(rate), Some(align), Some(mut bits)) = fields else {
        return Err(corrupt("the format chunk is too short"));
    };
    // A sample's container: the alignment says it, the bits may be fewer (left-justified, zeros below).
    let container = align.checked_div(channels).unwrap_or(0);
    if tag == 0xFFFE {
        let (Some(valid), Some(sub), Some(tail)) = (u16_at(bytes, 18), u16_at(bytes, 24), bytes.get(26..40)) else {
            return Err(corrupt("the extensible format chunk is too short"));
        };
        if tail != GUID_TAIL {
            return Err(DecodeError::UnsupportedCodec("WAV with an unknown sub-format".into()));
        }
        tag = sub;
        if valid != 0 && valid <= bits {
            bits = valid;
        }
    }
    let sample = match (tag, container, bits) {
        (1, 1, 1..=8) => Sample::U8,
        (1, 2, 1..=16) => Sample::I16,
        (1, 3, 1..=24) => Sample::I24,
        (1, 4, 1..=32) => Sample::I32,
        (3, 4, 32) => Sample::F32,
        (3, 8, 64) => Sample::F64,
        (1 | 3, ..) => {
            let kind = if tag == 1 { "integer" } else { "float" };
            return Err(DecodeError::UnsupportedCodec(format!(
                "WAV with {bits}-bit {kind} samples in {container} bytes"
            )));
        }
        _ => return Ok(None),
    };
    Ok(Some((sample, u32::from(bits), rate, channels)))
}

fn read_samples(media: &mut Media<'_>, header: &Header) -> Result<Audio, DecodeError> {
    // `read_header` saw that this many frames are in the file and under the limits.
    let frames = usize::try_from(header.frames).map_err(|_| corrupt("too long for this machine"))?;
    let mono = header.channels == 1;
    let frame = header.sample.bytes() * usize::from(header.channels);
    let mut left = vec![0.0_f32; frames];
    let mut right = vec![0.0_f32; if mono { 0 } else { frames }];
    let block = (BLOCK_BYTES / frame).next_multiple_of(PIECE);
    let mut bytes = vec![0_u8; block.min(frames) * frame];

    media.seek(SeekFrom::Start(header.data_at))?;
    for start in (0..frames).step_by(block) {
        let count = block.min(frames - start);
        let bytes = &mut bytes[..count * frame];
        media.read_exact(bytes)?;
        let pieces = bytes.par_chunks(PIECE * frame);
        let left = left[start..start + count].par_chunks_mut(PIECE);
        if mono {
            pieces.zip(left).for_each(|(bytes, out)| unpack(header.sample, bytes, out, &mut []));
        } else {
            let right = right[start..start + count].par_chunks_mut(PIECE);
            pieces.zip(left.zip(right)).for_each(|(bytes, (left, right))| unpack(header.sample, bytes, left, right));
        }
    }
    if mono {
        right.clone_from(&left);
    }
    Ok(Audio { rate: header.rate, channels: [left, right] })
}

/// Interleaved samples → planar; mono if `right` is empty.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.2"))]
fn unpack(sample: Sample, bytes: &[u8], left: &mut [f32], right: &mut [f32]) {
    match sample {
        Sample::U8 => spread(bytes, left, right, |[b]: [u8; 1]| (f32::from(b) - 128.0) / 128.0),
        Sample::I16 => spread(bytes, left, right, |b: [u8; 2]| f32::from(i16::from_le_bytes(b)) / 32_768.0),
        // 24 bits in the upper three bytes of an i32: exact in f32.
        Sample::I24 => {
            spread(bytes, left, right, |[a, b, c]: [u8; 3]| i32::from_le_bytes([0, a, b, c]) as f32 / 2_147_483_648.0);
        }
        Sample::I32 => spread(bytes, left, right, |b: [u8; 4]| i32::from_le_bytes(b) as f32 / 2_147_483_648.0),
        Sample::F32 => spread(bytes, left, right, |b: [u8; 4]| flush(f32::from_le_bytes(b))),
        Sample::F64 => spread(bytes, left, right, |b: [u8; 8]| flush(f64::from_le_bytes(b) as f32)),
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "must be compiled with the target features of its caller")]
fn spread<const N: usize>(bytes: &[u8], left: &mut [f32], right: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
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
