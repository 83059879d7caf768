//! FLAC frames (RFC 9639), for the streams that symphonia reads wrongly or not at all: 32-bit samples with decorrelated channels, whose
//! side channel has 33 bits, and files whose STREAMINFO denies the sizes of their blocks.

use super::{DecodeError, chunks::field, trimmed::Trimmed};
use std::io::{Read, Seek, SeekFrom};
use symphonia::core::checksum::{Crc8Ccitt, Crc16Ansi};
use symphonia::core::io::Monitor;

/// Bytes of the metadata block of kind 0.
pub(super) const STREAMINFO: usize = 34;
/// Most frames of a block.
pub(super) const MAX_BLOCK: usize = 65_535;

/// What STREAMINFO says of every frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Info {
    pub(super) rate: u32,
    pub(super) channels: u16,
    pub(super) bits: u32,
    /// 0 if unknown.
    pub(super) frames: u64,
    /// Whether the sizes of blocks are such as a decoder may lean on.
    pub(super) sound_sizes: bool,
}

impl Info {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [least, most] = [0, 2].map(|at| field(bytes, at).map(u16::from_be_bytes));
        let packed = field(bytes, 10).map(u64::from_be_bytes)?;
        Some(Self {
            rate: (packed >> 44) as u32,
            channels: ((packed >> 41) & 7) as u16 + 1,
            bits: ((packed >> 36) & 31) as u32 + 1,
            frames: packed & 0xF_FFFF_FFFF,
            sound_sizes: least? >= 16 && most? >= least?,
        })
    }
}

/// Decodes the frames from `at` to the end.
pub(super) fn read(
    mut input: impl Read + Seek,
    at: u64,
    info: &Info,
    sink: &mut Trimmed<'_>,
) -> Result<(), DecodeError> {
    /// More than any frame has: two channels of 65,535 samples of 33 bits.
    const MOST: usize = 1 << 20;
    input.seek(SeekFrom::Start(at))?;
    let (mut bytes, mut start) = (Vec::new(), 0);
    loop {
        if bytes.len() - start < MOST {
            bytes.drain(..start);
            start = 0;
            let room = (2 * MOST - bytes.len()) as u64;
            (&mut input).take(room).read_to_end(&mut bytes)?;
        }
        if info.frames > 0 && sink.frames() >= info.frames {
            return Ok(());
        }
        let rest = &bytes[start..];
        // Zeros behind the last frame are no sound.
        if rest.iter().all(|&b| b == 0) {
            return Ok(());
        }
        match frame(rest, info) {
            Ok(frame) => {
                start += frame.bytes;
                push(&frame, sink)?;
            }
            // The length that STREAMINFO promises tells how much is missing.
            Err(SHORT) if info.frames > 0 => return Ok(()),
            Err(what) => return Err(sink.corrupt(what)),
        }
    }
}

/// Whole numbers to full scale.
pub(super) fn push(frame: &Frame, sink: &mut Trimmed<'_>) -> Result<(), DecodeError> {
    sink.layout(frame.rate, frame.channels.len())?;
    let scale = 1.0 / 2_f64.powi(frame.bits as i32 - 1);
    sink.push(frame.channels[0].len(), |planes| {
        for (plane, channel) in planes.iter_mut().zip(&frame.channels) {
            for (out, &x) in plane.iter_mut().zip(channel) {
                *out = (x as f64 * scale) as f32;
            }
        }
    })
}

/// Bits from the most significant one on.
struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

/// The frame ends before it is complete, or breaks a rule.
type Broken = &'static str;
const SHORT: Broken = "a frame ends too early";

impl Bits<'_> {
    /// Up to 57 bits.
    fn take(&mut self, count: u32) -> Result<u64, Broken> {
        let end = self.at + count as usize;
        if end > self.bytes.len() * 8 {
            return Err(SHORT);
        }
        let first = self.at / 8;
        let word = if let Some(word) = self.bytes.get(first..first + 8).and_then(|b| b.try_into().ok()) {
            u64::from_be_bytes(word)
        } else {
            let mut word = [0; 8];
            let rest = &self.bytes[first.min(self.bytes.len())..];
            word[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(word)
        };
        let shifted = word << (self.at % 8);
        self.at = end;
        Ok(if count == 0 { 0 } else { shifted >> (64 - count) })
    }

    fn signed(&mut self, count: u32) -> Result<i64, Broken> {
        if count == 0 {
            return Ok(0);
        }
        let value = self.take(count)?;
        Ok(((value << (64 - count)) as i64) >> (64 - count))
    }

    /// Zeros up to the next one, which is taken, too.
    fn unary(&mut self) -> Result<u64, Broken> {
        let mut zeros = 0;
        loop {
            let left = (self.bytes.len() * 8).saturating_sub(self.at).min(32) as u32;
            if left == 0 {
                return Err(SHORT);
            }
            let at = self.at;
            let word = self.take(left)? << (64 - left);
            let run = word.leading_zeros();
            if run < left {
                self.at = at + run as usize + 1;
                return Ok(zeros + u64::from(run));
            }
            zeros += u64::from(left);
        }
    }
}

/// The header of a frame.
struct Head {
    frames: usize,
    assignment: u8,
    bits: u32,
    rate: u32,
}

fn head(bits: &mut Bits<'_>, info: &Info) -> Result<Head, Broken> {
    const ODD: Broken = "a frame's header is none";
    if bits.take(15)? != 0b111_1111_1111_1100 {
        return Err(ODD);
    }
    bits.take(1)?;
    let (block, rate, assignment, size) = (bits.take(4)?, bits.take(4)?, bits.take(4)? as u8, bits.take(3)?);
    bits.take(1)?;
    // The number of the frame or sample, in the manner of UTF-8.
    let first = bits.take(8)? as u8;
    let more = first.leading_ones();
    if more == 1 || more > 7 {
        return Err(ODD);
    }
    for _ in 1..more {
        if bits.take(8)? >> 6 != 0b10 {
            return Err(ODD);
        }
    }
    let frames = match block {
        0 => return Err(ODD),
        1 => 192,
        2..=5 => 576 << (block - 2),
        6 => bits.take(8)? as usize + 1,
        7 => bits.take(16)? as usize + 1,
        _ => 256 << (block - 8),
    };
    let rate = match rate {
        0 => info.rate,
        12 => bits.take(8)? as u32 * 1000,
        13 => bits.take(16)? as u32,
        14 => bits.take(16)? as u32 * 10,
        15 => return Err(ODD),
        n => [88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000][n as usize - 1],
    };
    let width = match size {
        0 => info.bits,
        3 => return Err(ODD),
        n => [8, 12, 0, 16, 20, 24, 32][n as usize - 1],
    };
    let mut crc = Crc8Ccitt::new(0);
    crc.process_buf_bytes(&bits.bytes[..bits.at / 8]);
    if bits.take(8)? as u8 != crc.crc() {
        return Err(ODD);
    }
    if assignment > 10 || frames > MAX_BLOCK {
        return Err(ODD);
    }
    Ok(Head { frames, assignment, bits: width, rate })
}

/// One decoded frame.
pub(super) struct Frame {
    /// Bytes that it takes.
    pub(super) bytes: usize,
    pub(super) rate: u32,
    pub(super) bits: u32,
    /// Whole numbers, per channel.
    pub(super) channels: Vec<Vec<i64>>,
}

/// Decodes the frame at the beginning of `bytes`, which may go on behind it.
pub(super) fn frame(bytes: &[u8], info: &Info) -> Result<Frame, Broken> {
    let mut bits = Bits { bytes, at: 0 };
    let Head { frames, assignment, bits: width, rate } = head(&mut bits, info)?;
    // 8: left and side, 9: side and right, 10: mid and side.
    let widths: Vec<u32> = match assignment {
        8 | 10 => vec![width, width + 1],
        9 => vec![width + 1, width],
        n => vec![width; usize::from(n) + 1],
    };
    let mut channels = widths.iter().map(|&w| subframe(&mut bits, w, frames)).collect::<Result<Vec<_>, _>>()?;
    if let [a, b] = &mut channels[..] {
        for (a, b) in a.iter_mut().zip(b) {
            match assignment {
                8 => *b = *a - *b,
                9 => *a += *b,
                10 => {
                    let twice = (*a << 1) | (*b & 1);
                    (*a, *b) = ((twice + *b) >> 1, (twice - *b) >> 1);
                }
                _ => {}
            }
        }
    }
    let end = bits.at.div_ceil(8);
    let said = field(bytes, end).map(u16::from_be_bytes).ok_or(SHORT)?;
    let mut crc = Crc16Ansi::new(0);
    crc.process_buf_bytes(&bytes[..end]);
    if crc.crc() != said {
        return Err("a frame's checksum is wrong");
    }
    Ok(Frame { bytes: end + 2, rate, bits: width, channels })
}

fn subframe(bits: &mut Bits<'_>, width: u32, frames: usize) -> Result<Vec<i64>, Broken> {
    const ODD: Broken = "a subframe's header is none";
    if bits.take(1)? != 0 {
        return Err(ODD);
    }
    let kind = bits.take(6)? as usize;
    let wasted = if bits.take(1)? == 1 { bits.unary()? as u32 + 1 } else { 0 };
    let width = width.checked_sub(wasted).filter(|&w| w > 0).ok_or(ODD)?;
    let mut out = Vec::with_capacity(frames);
    match kind {
        0 => out.resize(frames, bits.signed(width)?),
        1 => {
            for _ in 0..frames {
                out.push(bits.signed(width)?);
            }
        }
        8..=12 => {
            const WEIGHTS: [&[i64]; 5] = [&[], &[1], &[2, -1], &[3, -3, 1], &[4, -6, 4, -1]];
            let order = kind - 8;
            predicted(bits, width, frames, order, &mut out, |_| Ok((WEIGHTS[order].to_vec(), 0)))?;
        }
        32.. => {
            let order = kind - 31;
            predicted(bits, width, frames, order, &mut out, |bits| {
                let precision = bits.take(4)? as u32 + 1;
                let shift = bits.signed(5)?;
                if precision == 16 || shift < 0 {
                    return Err(ODD);
                }
                let weights = (0..order).map(|_| bits.signed(precision)).collect::<Result<Vec<_>, _>>()?;
                Ok((weights, shift as u32))
            })?;
        }
        _ => return Err(ODD),
    }
    if wasted > 0 {
        for x in &mut out {
            *x <<= wasted;
        }
    }
    Ok(out)
}

/// Warm-up samples, weights of the predictor, then what it missed.
fn predicted<'a>(
    bits: &mut Bits<'a>,
    width: u32,
    frames: usize,
    order: usize,
    out: &mut Vec<i64>,
    weights: impl FnOnce(&mut Bits<'a>) -> Result<(Vec<i64>, u32), Broken>,
) -> Result<(), Broken> {
    const ODD: Broken = "a subframe's residual is none";
    if order > frames {
        return Err(ODD);
    }
    for _ in 0..order {
        out.push(bits.signed(width)?);
    }
    let (weights, shift) = weights(bits)?;
    let (parameter_bits, escape) = match bits.take(2)? {
        0 => (4, 15),
        1 => (5, 31),
        _ => return Err(ODD),
    };
    let partitions = 1_usize << bits.take(4)?;
    let length = frames / partitions;
    if !frames.is_multiple_of(partitions) || length < order {
        return Err(ODD);
    }
    for partition in 0..partitions {
        let parameter = bits.take(parameter_bits)? as u32;
        let raw = if parameter == escape { Some(bits.take(5)? as u32) } else { None };
        for _ in if partition == 0 { order } else { 0 }..length {
            let missed = if let Some(raw) = raw {
                bits.signed(raw)?
            } else {
                let folded = (bits.unary()? << parameter) | bits.take(parameter)?;
                ((folded >> 1) as i64) ^ -((folded & 1) as i64)
            };
            let past = out.iter().rev();
            // A hostile file may overflow; a real one cannot (RFC 9639, 4.3).
            let sum = weights.iter().zip(past).fold(0_i64, |sum, (w, x)| sum.wrapping_add(w.wrapping_mul(*x)));
            let value = (sum >> shift).wrapping_add(missed);
            // 33 bits are the most that a subframe holds.
            if value.unsigned_abs() > 1 << 33 {
                return Err(ODD);
            }
            out.push(value);
        }
    }
    Ok(())
}
