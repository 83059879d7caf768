//! FLAC (RFC 9639) by libFLAC at level 5, on all cores.
//!
//! Frames do not depend on each other, so every segment has an encoder of its own and only the frame numbers, which each encoder
//! starts at zero, are written anew. The frames are byte for byte those of one libFLAC encoder over the whole track (a test holds
//! this). libFLAC's stream interface cannot go back to the head of the file, so the metadata blocks are written here.

use super::dither::Quantiser;
use super::wav::Words;
use super::{EncodeError, Encoded, Metadata, Output, SEGMENT, hash_back, pipeline, tags};
use crate::Audio;
use crate::settings::Codec;
use flac_bound::{FlacEncoder, WriteWrapper};
use md5::{Digest, Md5};
use std::io::{self, SeekFrom, Write};
use std::sync::LazyLock;

/// Frames per FLAC block: libFLAC's choice at level 5.
pub(super) const BLOCK: usize = 4096;

/// libFLAC's default, and the level every figure of its makers is quoted at: 6–8 gain 1 % for twice the time.
const LEVEL: u32 = 5;

/// `fLaC`, a block head and STREAMINFO.
const STREAMINFO_AT: u64 = 8;

pub(super) fn encode<W: Output>(
    audio: &Audio,
    codec: Codec,
    meta: &Metadata,
    out: &mut W,
) -> Result<Encoded, EncodeError> {
    let bits = codec.bits().unwrap_or(24);
    let (rate, frames) = (audio.rate, audio.frames() as u64);
    let quantiser = Quantiser::new(audio, bits, meta.seed);

    let head = metadata_blocks(meta)?;
    out.write_all(b"fLaC")?;
    out.write_all(&block_head(0, 34, false))?;
    out.write_all(&StreamInfo::default().bytes(rate, bits, frames))?;
    out.write_all(&head)?;

    let mut info = StreamInfo::default();
    let mut md5 = Md5::new();
    let (mut number, mut clamped) = (0_u64, 0);
    pipeline(
        audio,
        |index| {
            let words = Words::new(quantiser, audio, index);
            let blocks = encode_segment(&words, rate, bits)?;
            Ok((words.pack(bits as usize / 8), blocks, words.clamped))
        },
        |(bytes, blocks, overs)| {
            md5.update(&bytes);
            clamped += overs;
            for block in blocks {
                let block = renumber(&block, number)?;
                info.sizes(block.len() as u32);
                out.write_all(&block)?;
                number += 1;
            }
            Ok(())
        },
    )?;

    info.md5 = md5.finalize().into();
    out.seek(SeekFrom::Start(STREAMINFO_AT))?;
    out.write_all(&info.bytes(rate, bits, frames))?;
    let (bytes, sha256) = hash_back(out)?;
    Ok(Encoded { bytes, sha256, clamped, dithered: quantiser.dithers() })
}

/// The FLAC frames of one segment, numbered from zero.
fn encode_segment(words: &Words, rate: u32, bits: u32) -> Result<Vec<Vec<u8>>, EncodeError> {
    let mut blocks = Blocks::default();
    {
        let mut writer = WriteWrapper(&mut blocks);
        let mut encoder = FlacEncoder::new()
            .ok_or_else(|| failure("out of memory"))?
            .channels(2)
            .bits_per_sample(bits)
            .sample_rate(rate)
            .compression_level(LEVEL)
            .blocksize(BLOCK as u32)
            // The subset would refuse uncommon sample rates; block size and order stay within it at every level up to 8.
            .streamable_subset(false)
            .init_write(&mut writer)
            .map_err(|e| failure(format!("{e:?}")))?;
        let [left, right] = &words.channels;
        encoder.process(&[left, right]).map_err(|()| failure(format!("{:?}", encoder.state())))?;
        encoder.finish().map_err(|encoder| failure(format!("{:?}", encoder.state())))?;
    }
    let expected = words.channels[0].len().div_ceil(BLOCK);
    if blocks.0.len() == expected {
        Ok(blocks.0)
    } else {
        Err(failure(format!("{} frames instead of {expected}", blocks.0.len())))
    }
}

fn failure(detail: impl Into<String>) -> EncodeError {
    EncodeError::Codec { codec: "FLAC", detail: detail.into() }
}

/// Keeps what libFLAC writes, one entry per frame: it hands over each frame whole, and the metadata, which begins otherwise, is
/// not wanted.
#[derive(Default)]
struct Blocks(Vec<Vec<u8>>);

impl Write for Blocks {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.starts_with(&SYNC) {
            self.0.push(data.to_vec());
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sync code and "fixed block size" (RFC 9639 §9.1).
const SYNC: [u8; 2] = [0xff, 0xf8];

/// The same frame with another number, and both checksums put right (RFC 9639 §9.1).
fn renumber(frame: &[u8], number: u64) -> Result<Vec<u8>, EncodeError> {
    // A segment holds fewer than 128 frames: their numbers take one byte, the fifth. After it, block size and rate where the codes
    // of the third byte say so, then CRC-8.
    let extra = |code: u8| match code {
        6 | 12 => 1,
        7 | 13 | 14 => 2,
        _ => 0,
    };
    let codes = *frame.get(2).ok_or_else(|| failure("a frame without header"))?;
    let end = 5 + if codes >> 4 < 8 { extra(codes >> 4) } else { 0 } + extra((codes & 15).max(8));
    if frame.len() < end + 3 || frame[4] >= 0x80 || crc8(&frame[..end]) != frame[end] {
        return Err(failure("a frame header that RFC 9639 does not know"));
    }
    let mut renumbered = Vec::with_capacity(frame.len() + 6);
    renumbered.extend(&frame[..4]);
    renumbered.extend(coded_number(number));
    renumbered.extend(&frame[5..end]);
    renumbered.push(crc8(&renumbered));

    // CRC-16 is linear: what the exchange of the header changes in it is the difference of both headers, carried over the body.
    let (body, tail) = frame[end + 1..].split_at(frame.len() - end - 3);
    let change = carry(crc16(&frame[..=end]) ^ crc16(&renumbered), body.len());
    let crc = u16::from_be_bytes([tail[0], tail[1]]) ^ change;
    renumbered.extend(body);
    renumbered.extend(crc.to_be_bytes());
    Ok(renumbered)
}

/// A frame number in the extended UTF-8 of RFC 9639 §9.1.5, up to 36 bits.
fn coded_number(number: u64) -> Vec<u8> {
    if number < 0x80 {
        return vec![number as u8];
    }
    // n continuation bytes carry 6 bits each, the first byte 6 − n (none for n = 6).
    let n = (1..6).find(|&n| number < 1 << (6 * n + 6 - n)).unwrap_or(6);
    let mark = (0xff00_u16 >> (n + 1)) as u8;
    let mut bytes = vec![mark | (number >> (6 * n)) as u8];
    bytes.extend((0..n).rev().map(|i| 0x80 | (number >> (6 * i)) as u8 & 0x3f));
    bytes
}

/// x⁸ + x² + x + 1.
fn crc8(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |crc, byte| (0..8).fold(crc ^ byte, |c: u8, _| if c & 0x80 == 0 { c << 1 } else { c << 1 ^ 7 }))
}

/// x¹⁶ + x¹⁵ + x² + 1.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (0..8).fold(crc ^ u16::from(byte) << 8, |c, _| times_x(c)))
}

/// One bit further in GF(2)\[x\] modulo the polynomial of [`crc16`].
fn times_x(c: u16) -> u16 {
    if c & 0x8000 == 0 { c << 1 } else { c << 1 ^ 0x8005 }
}

fn times(a: u16, b: u16) -> u16 {
    (0..16).rev().fold(0, |product, bit| times_x(product) ^ if b >> bit & 1 == 1 { a } else { 0 })
}

/// What a CRC-16 becomes after `bytes` zero bytes: times x^(8·bytes), by squaring.
fn carry(crc: u16, bytes: usize) -> u16 {
    static POWERS: LazyLock<[u16; 32]> = LazyLock::new(|| {
        let mut next = 0x100;
        std::array::from_fn(|_| {
            let power = next;
            next = times(power, power);
            power
        })
    });
    POWERS
        .iter()
        .enumerate()
        .fold(crc, |crc, (bit, &power)| if bytes >> bit & 1 == 1 { times(crc, power) } else { crc })
}

/// What STREAMINFO (RFC 9639 §8.2) tells beyond the format.
#[derive(Default)]
struct StreamInfo {
    /// Smallest and largest frame in bytes.
    size: Option<(u32, u32)>,
    md5: [u8; 16],
}

impl StreamInfo {
    fn sizes(&mut self, bytes: u32) {
        let (low, high) = self.size.unwrap_or((bytes, bytes));
        self.size = Some((low.min(bytes), high.max(bytes)));
    }

    fn bytes(&self, rate: u32, bits: u32, frames: u64) -> Vec<u8> {
        let (low, high) = self.size.unwrap_or_default();
        let mut bytes = Vec::with_capacity(34);
        bytes.extend((BLOCK as u16).to_be_bytes());
        bytes.extend((BLOCK as u16).to_be_bytes());
        bytes.extend(&low.to_be_bytes()[1..]);
        bytes.extend(&high.to_be_bytes()[1..]);
        // 20 bits of rate, 3 of channels − 1, 5 of word length − 1, 36 of frames.
        let fields = u64::from(rate) << 44 | 1 << 41 | u64::from(bits - 1) << 36 | frames & ((1 << 36) - 1);
        bytes.extend(fields.to_be_bytes());
        bytes.extend(self.md5);
        bytes
    }
}

fn block_head(kind: u8, length: usize, last: bool) -> [u8; 4] {
    let [_, high, mid, low] = (length as u32).to_be_bytes();
    [kind | if last { 0x80 } else { 0 }, high, mid, low]
}

/// Comments and cover; at least an empty comment block, because a file must end its metadata somewhere.
fn metadata_blocks(meta: &Metadata) -> Result<Vec<u8>, EncodeError> {
    let vendor = if meta.clean { String::new() } else { format!("{} (libFLAC)", meta.encoder()) };
    let (comments, picture) = tags::flac(meta, &vendor)?;
    let mut bytes = Vec::new();
    bytes.extend(block_head(4, comments.len(), picture.is_none()));
    bytes.extend(comments);
    if let Some(picture) = picture {
        bytes.extend(block_head(6, picture.len(), true));
        bytes.extend(picture);
    }
    Ok(bytes)
}

/// A frame's number within its segment takes one byte, and only a segment's last frame may be short.
const _: () = assert!(SEGMENT.is_multiple_of(BLOCK) && SEGMENT / BLOCK <= 128);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn music(frames: usize) -> Audio {
        let sample = |i: usize, f: f64| ((i as f64 * f).sin() * 0.4 + (i as f64 * f * 7.3).sin() * 0.2) as f32;
        let wave = |f: f64| (0..frames).map(move |i| sample(i, f));
        Audio::new(44_100, [wave(0.031).collect(), wave(0.0317).collect()])
    }

    #[test]
    fn segments_give_the_frames_of_one_encoder() {
        // Long enough for frame numbers of one and of two bytes, across many segments, with a short last frame.
        let audio = music(150 * BLOCK + 777);
        let quantiser = Quantiser::new(&audio, 24, 1);
        let frames = audio.frames();
        let mut whole = Words { channels: [vec![0; frames], vec![0; frames]], clamped: 0 };
        let [left, right] = &mut whole.channels;
        quantiser.run(&audio, 0..frames, [left, right]);
        let serial = encode_segment(&whole, 44_100, 24).unwrap().concat();

        let mut file = Cursor::new(Vec::new());
        let meta = Metadata { seed: 1, clean: true, ..Metadata::default() };
        encode(&audio, Codec::Flac24, &meta, &mut file).unwrap();
        assert!(file.into_inner().ends_with(&serial));
    }

    #[test]
    fn numbers_and_checksums_are_those_of_the_rfc() {
        assert_eq!(coded_number(0x7f), [0x7f]);
        assert_eq!(coded_number(0x80), [0xc2, 0x80]);
        assert_eq!(coded_number(0x7ff), "\u{7ff}".as_bytes());
        assert_eq!(coded_number(0xffff), "\u{ffff}".as_bytes());
        assert_eq!(coded_number(0x1_0000), "\u{10000}".as_bytes());
        assert_eq!(coded_number(0x1f_ffff), [0xf7, 0xbf, 0xbf, 0xbf]);
        assert_eq!(coded_number(0x8000_0000), [0xfe, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80]);
        // CRC-8/SMBUS and CRC-16/UMTS of "123456789" (RFC 9639 uses the same polynomials and start values).
        assert_eq!(crc8(b"123456789"), 0xf4);
        assert_eq!(crc16(b"123456789"), 0xfee8);
        assert_eq!(carry(crc16(b"1234"), 5), crc16(b"1234\0\0\0\0\0"));
    }
}
