//! WAV and its long form RF64 (EBU Tech 3306 v1.1), with the broadcast chunk `bext` v2 (EBU Tech 3285 v2).
//!
//! 16-bit files carry the plain PCM header every program reads, 24-bit ones `WAVE_FORMAT_EXTENSIBLE` as Microsoft asks for above
//! 16 bits, float ones format 3 with a `fact` chunk. All chunks stand before the samples, so that a file can be read as it arrives.

use super::dither::Quantiser;
use super::{EncodeError, Encoded, Hashing, Metadata, Output, SEGMENT, pipeline, segment, tags};
use crate::Audio;
use crate::settings::Codec;
use std::io::Write;

/// RIFF sizes are 32 bits wide; larger files become RF64.
const RIFF_LIMIT: u64 = u32::MAX as u64;

pub(super) fn encode<W: Output>(
    audio: &Audio,
    codec: Codec,
    meta: &Metadata,
    out: &mut W,
) -> Result<Encoded, EncodeError> {
    let chunks = if meta.clean { Vec::new() } else { metadata_chunks(audio, codec, meta)? };
    let mut out = Hashing::new(out);
    out.write_all(&header(audio.rate, codec, audio.frames() as u64, &chunks, RIFF_LIMIT))?;

    let quantiser = codec.bits().map(|bits| Quantiser::new(audio, bits, meta.seed));
    let mut clamped = 0;
    pipeline(
        audio,
        |index| {
            Ok(match quantiser {
                None => (pack_float(audio, segment(audio, index)), 0),
                Some(quantiser) => {
                    let words = Words::new(quantiser, audio, index);
                    (words.pack(bytes_per_sample(codec)), words.clamped)
                }
            })
        },
        |(bytes, overs)| {
            clamped += overs;
            Ok(out.write_all(&bytes)?)
        },
    )?;
    let (bytes, sha256) = out.finish()?;
    Ok(Encoded { bytes, sha256, clamped, dithered: quantiser.is_some_and(Quantiser::dithers) })
}

/// One quantised segment, planar.
pub(super) struct Words {
    pub(super) channels: [Vec<i32>; 2],
    pub(super) clamped: u64,
}

impl Words {
    pub(super) fn new(quantiser: Quantiser, audio: &Audio, index: usize) -> Self {
        let frames = segment(audio, index);
        let mut channels = [vec![0; frames.len()], vec![0; frames.len()]];
        let [left, right] = &mut channels;
        let clamped = quantiser.run(audio, frames, [left, right]);
        Self { channels, clamped }
    }

    /// Interleaved little-endian words of `width` bytes: the layout of a WAV file, and what a FLAC file's MD5 is taken of.
    pub(super) fn pack(&self, width: usize) -> Vec<u8> {
        let [left, right] = &self.channels;
        let frames = left.iter().zip(right);
        if width == 2 {
            let mut bytes = vec![0; left.len() * 4];
            for (out, (&l, &r)) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(frames) {
                *out = (l as u16 as u32 | (r as u16 as u32) << 16).to_le_bytes();
            }
            bytes
        } else {
            let mut bytes = vec![0; left.len() * 6];
            for (out, (&l, &r)) in bytes.as_chunks_mut::<6>().0.iter_mut().zip(frames) {
                let frame = u64::from(l as u32 & 0xff_ffff) | u64::from(r as u32 & 0xff_ffff) << 24;
                out.copy_from_slice(&frame.to_le_bytes()[..6]);
            }
            bytes
        }
    }
}

fn pack_float(audio: &Audio, frames: std::ops::Range<usize>) -> Vec<u8> {
    let [left, right] = &audio.channels;
    let mut bytes = vec![0; frames.len() * 8];
    for (out, (l, r)) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(left[frames.clone()].iter().zip(&right[frames])) {
        *out = (u64::from(l.to_bits()) | u64::from(r.to_bits()) << 32).to_le_bytes();
    }
    bytes
}

fn bytes_per_sample(codec: Codec) -> usize {
    codec.bits().map_or(4, |bits| bits as usize / 8)
}

/// A chunk that is ready to be written: four letters and its content.
type Chunk = (&'static [u8; 4], Vec<u8>);

/// Everything up to the first sample. `limit` is [`RIFF_LIMIT`], smaller in tests.
fn header(rate: u32, codec: Codec, frames: u64, metadata: &[Chunk], limit: u64) -> Vec<u8> {
    let width = bytes_per_sample(codec) as u64;
    let data = frames * 2 * width;
    let mut chunks: Vec<Chunk> = metadata.to_vec();
    chunks.push((b"fmt ", format_chunk(rate, codec)));
    if codec == Codec::Wav32f {
        // Frames per channel; 32 bits, and unused beyond (Tech 3306 §4.5 keeps the true count in `ds64`).
        chunks.push((b"fact", u32::try_from(frames).unwrap_or(u32::MAX).to_le_bytes().to_vec()));
    }

    // "WAVE", every chunk with its head and padding, the head of `data` and the samples, which are of even length in stereo.
    let content = |chunks: &[Chunk]| {
        4 + chunks.iter().map(|(_, body)| 8 + body.len() as u64 + body.len() as u64 % 2).sum::<u64>() + 8 + data
    };
    let long = content(&chunks) > limit;
    if long {
        // Tech 3306 §3.4: sizes of RIFF and data, sample count, no table; must be the first chunk.
        let size = content(&chunks) + 8 + 28;
        let mut ds64 = Vec::with_capacity(28);
        for value in [size, data, frames] {
            ds64.extend(value.to_le_bytes());
        }
        ds64.extend(0_u32.to_le_bytes());
        chunks.insert(0, (b"ds64", ds64));
    }

    let size = |bytes: u64| if long { u32::MAX } else { bytes as u32 }.to_le_bytes();
    let mut bytes = Vec::new();
    bytes.extend(if long { b"RF64" } else { b"RIFF" });
    bytes.extend(size(content(&chunks)));
    bytes.extend(b"WAVE");
    for (name, body) in &chunks {
        bytes.extend(*name);
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(body);
        bytes.extend(vec![0; body.len() % 2]);
    }
    bytes.extend(b"data");
    bytes.extend(size(data));
    bytes
}

/// `KSDATAFORMAT_SUBTYPE_PCM`.
const SUBTYPE_PCM: [u8; 16] = [1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

fn format_chunk(rate: u32, codec: Codec) -> Vec<u8> {
    let width = bytes_per_sample(codec) as u16;
    let tag: u16 = match codec {
        Codec::Wav16 => 1,
        Codec::Wav32f => 3,
        _ => 0xfffe,
    };
    let mut bytes = Vec::with_capacity(40);
    bytes.extend(tag.to_le_bytes());
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 2 * u32::from(width)).to_le_bytes());
    bytes.extend((2 * width).to_le_bytes());
    bytes.extend((8 * width).to_le_bytes());
    match codec {
        Codec::Wav16 => {}
        Codec::Wav32f => bytes.extend(0_u16.to_le_bytes()),
        _ => {
            bytes.extend(22_u16.to_le_bytes());
            bytes.extend((8 * width).to_le_bytes());
            // Front left | front right.
            bytes.extend(3_u32.to_le_bytes());
            bytes.extend(SUBTYPE_PCM);
        }
    }
    bytes
}

fn metadata_chunks(audio: &Audio, codec: Codec, meta: &Metadata) -> Result<Vec<Chunk>, EncodeError> {
    let mut chunks: Vec<Chunk> = vec![(b"bext", bext(audio, codec, meta))];
    if let Some(isrc) = &meta.tags.isrc {
        chunks.push((b"axml", axml(isrc)));
    }
    let info = tags::riff_info(meta)?;
    if let Some(body) = info.get(8..) {
        chunks.push((b"LIST", body.to_vec()));
    }
    let id3 = tags::id3v2(meta)?;
    if !id3.is_empty() {
        chunks.push((b"id3 ", id3));
    }
    Ok(chunks)
}

/// The broadcast extension, version 2: 602 bytes and the coding history (Tech 3285 v2 §2.3).
fn bext(audio: &Audio, codec: Codec, meta: &Metadata) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(700);
    let mut text = |value: &str, length: usize| {
        // The standard allows ASCII only; a character it has no place for becomes a question mark.
        let ascii = value.chars().map(|c| if c.is_ascii() && !c.is_control() { c as u8 } else { b'?' });
        let start = bytes.len();
        bytes.extend(ascii.take(length));
        bytes.resize(start + length, 0);
    };
    let tags = &meta.tags;
    let description: Vec<&str> = [&tags.artist, &tags.title].into_iter().flatten().map(String::as_str).collect();
    text(&tags.description.clone().unwrap_or_else(|| description.join(" - ")), 256);
    text(tags.artist.as_deref().unwrap_or(meta.encoder()), 32);
    // Unique per master, the same for the same master: no clock, no random number (R 99 leaves the form to the originator).
    text(&format!("LoopMastering-{:016x}", meta.seed), 32);
    let (date, time) = meta.origination.as_ref().map_or(("", ""), |(date, time)| (date, time));
    text(date, 10);
    text(time, 8);
    // Time reference: where the first sample stood on the clock of the recording, in frames of this file.
    let start = tags.time_reference.filter(|(_, rate)| *rate > 0).map_or(0, |(frames, rate)| {
        let cut = (meta.trim_start.0.max(0.0) * f64::from(rate)).round() as u64;
        let frames = u128::from(frames.saturating_add(cut)) * u128::from(audio.rate) / u128::from(rate);
        u64::try_from(frames).unwrap_or(0)
    });
    bytes.extend(start.to_le_bytes());
    bytes.extend(2_u16.to_le_bytes());
    // No UMID.
    bytes.extend([0; 64]);
    let loudness = &meta.loudness;
    for value in [
        loudness.integrated.map(|x| x.0),
        loudness.range.map(|x| x.0),
        meta.true_peak.map(|x| x.0),
        loudness.max_momentary.map(|x| x.0),
        loudness.max_short_term.map(|x| x.0),
    ] {
        bytes.extend(hundredths(value).to_le_bytes());
    }
    bytes.extend([0; 180]);
    let algorithm = if codec.bits().is_some() { "PCM" } else { "PCM-FLOAT" };
    let history =
        format!("A={algorithm},F={},W={},M=stereo,T={}\r\n", audio.rate, 8 * bytes_per_sample(codec), meta.encoder());
    bytes.extend(history.bytes());
    bytes
}

/// Tech 3285 v2 §2.3: hundredths, rounded; 0x7fff where nothing was measured.
fn hundredths(value: Option<f64>) -> i16 {
    match value {
        Some(value) if value.is_finite() => (100.0 * value).round().clamp(-9_999.0, 9_999.0) as i16,
        _ => 0x7fff,
    }
}

/// The ISRC as EBU Tech 3352 writes it into broadcast WAV.
fn axml(isrc: &str) -> Vec<u8> {
    let isrc: String = isrc.chars().filter(char::is_ascii_alphanumeric).collect();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<ebucore:ebuCoreMain xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:ebucore="urn:ebu:metadata-schema:ebuCore_2012">
<ebucore:coreMetadata>
<ebucore:identifier typeLabel="GUID" typeDefinition="Globally Unique Identifier" formatLabel="ISRC" formatDefinition="International Standard Recording Code" formatLink="http://www.ebu.ch/metadata/cs/ebu_IdentifierTypeCodeCS.xml#3.7">
<dc:identifier>ISRC:{isrc}</dc:identifier>
</ebucore:identifier>
</ebucore:coreMetadata>
</ebucore:ebuCoreMain>
"#
    )
    .into_bytes()
}

/// Frames per segment are a multiple of both, so that no segment ends within a vector.
const _: () = assert!(SEGMENT.is_multiple_of(32));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyse::LoudnessFigures;
    use crate::decode::Tags;
    use crate::units::{Db, Dbtp, Lufs, Seconds};

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn files_beyond_the_riff_limit_become_rf64() {
        // 1000 frames of 24-bit stereo: 6000 bytes of data after 12 + 48 + 8 bytes of header.
        let short = header(44_100, Codec::Wav24, 1_000, &[], 6_060);
        assert_eq!((&short[..4], u32_at(&short, 4), short.len()), (&b"RIFF"[..], 6_060, 68));
        assert_eq!((&short[60..64], u32_at(&short, 64)), (&b"data"[..], 6_000));

        let long = header(44_100, Codec::Wav24, 1_000, &[], 6_059);
        assert_eq!((&long[..4], u32_at(&long, 4), &long[8..16]), (&b"RF64"[..], u32::MAX, &b"WAVEds64"[..]));
        assert_eq!(u32_at(&long, 16), 28);
        assert_eq!((u64_at(&long, 20), u64_at(&long, 28), u64_at(&long, 36)), (6_060 + 36, 6_000, 1_000));
        assert_eq!((u32_at(&long, 44), long.len()), (0, 68 + 36));
        assert_eq!(u32_at(&long, 68 + 36 - 4), u32::MAX);

        // Two hours and a half at 192 kHz in float: 13.8 GB.
        let frames = 192_000 * 9_000;
        let real = header(192_000, Codec::Wav32f, frames, &[(b"id3 ", vec![1, 2, 3])], RIFF_LIMIT);
        assert_eq!((&real[..4], u64_at(&real, 28), u64_at(&real, 36)), (&b"RF64"[..], frames * 8, frames));
        assert_eq!(u64_at(&real, 20) + 8, real.len() as u64 + frames * 8);
    }

    #[test]
    fn bext_is_laid_out_as_tech_3285_says() {
        let meta = Metadata {
            loudness: LoudnessFigures {
                integrated: Some(Lufs(-13.987)),
                range: Some(Db(6.25)),
                max_momentary: Some(Lufs(-9.5)),
                max_short_term: None,
                ..LoudnessFigures::default()
            },
            true_peak: Some(Dbtp(-1.004)),
            seed: 0xabc,
            ..Metadata::default()
        };
        let bytes = bext(&Audio::silence(48_000, 1), Codec::Wav24, &meta);
        let i16_at = |at: usize| i16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        assert_eq!(&bytes[288..318], b"LoopMastering-0000000000000abc");
        assert_eq!(i16_at(346), 2);
        assert_eq!([412, 414, 416, 418, 420].map(i16_at), [-1_399, 625, -100, -950, 0x7fff]);
        assert_eq!(&bytes[338..346], &[0; 8]);
        // What was cut off at the start moves the first sample on the clock.
        let tags = Tags { time_reference: Some((441_000, 44_100)), ..Tags::default() };
        let late = Metadata { tags, trim_start: Seconds(0.5), ..meta.clone() };
        let moved = bext(&Audio::silence(48_000, 1), Codec::Wav24, &late);
        assert_eq!(&moved[338..346], &(10 * 48_000 + 24_000_u64).to_le_bytes());
        assert_eq!(&bytes[602..], format!("A=PCM,F=48000,W=24,M=stereo,T={}\r\n", super::super::ENCODER).as_bytes());
    }
}
