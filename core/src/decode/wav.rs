//! The headers of WAV, RF64 and BW64.
//!
//! symphonia knows neither RF64 (EBU Tech 3306) nor the tags of a WAV, and reads samples on one core only; what is rarer than linear
//! PCM goes back to it.

use super::{
    Tags,
    chunks::{self, corrupt, field, peek},
    error::DecodeError,
    loss::Losses,
    media::Media,
    pcm::{Pcm, Sample},
    sniff, tags,
};
use crate::{settings::Limits, units::Seconds};
use std::io;

/// A header that was read.
pub(super) struct Header {
    pub(super) pcm: Pcm,
    pub(super) tags: Tags,
    /// What of the file is not in the audio.
    pub(super) losses: Losses,
}

/// Reads the header of a RIFF/WAVE file. `None` if its samples are compressed, which is for symphonia.
pub(super) fn read(media: &mut Media<'_>, limits: &Limits) -> Result<Option<Header>, DecodeError> {
    let file = media.len();
    let head = peek(media, 0, 12)?;
    let is_64 = head.starts_with(b"RF64") || head.starts_with(b"BW64");
    let riff = field(&head, 4).map_or(0, u32::from_le_bytes);

    let (mut format, mut data_64) = (None, None);
    // Body, declared size, and the bytes of it that are there.
    let mut data: Vec<(u64, u64, u64)> = Vec::new();
    let (mut metadata, mut tags) = (0, Tags::default());
    // An `ID3v2` tag knows more letters than a list of the form `INFO`, which fills what it leaves empty.
    let mut lists: Vec<Vec<u8>> = Vec::new();
    let mut at = 12;
    for _ in 0..chunks::MAX_CHUNKS {
        let Some((id, size)) = chunks::head(media, at)? else { break };
        let body = at + 8;
        let mut size = u64::from(u32::from_le_bytes(size));
        match &id {
            b"ds64" => data_64 = field(&peek(media, body, 28)?, 8).map(u64::from_le_bytes),
            b"fmt " => match parse_format(&peek(media, body, size.min(64))?)? {
                Some(found) => format = Some(found),
                None => return Ok(None),
            },
            // A second one is of a recording that was split.
            b"data" => {
                let rest = file.saturating_sub(body);
                let long = data_64.filter(|_| is_64 && data.is_empty());
                size = data_size(media, body, size, rest, long, riff)?;
                data.push((body, size, rest.min(size)));
            }
            b"LIST" | b"id3 " | b"ID3 " | b"bext" => {
                chunks::charge(&mut metadata, size, limits.metadata)?;
                let bytes = peek(media, body, size)?;
                match &id {
                    b"LIST" => lists.push(bytes),
                    b"bext" => tags::broadcast(&bytes, &mut tags),
                    _ => tags::id3(bytes, &mut tags),
                }
            }
            _ => {}
        }
        match chunks::next(media, body, size)? {
            Some(next) => at = next,
            None => break,
        }
    }

    let Some((sample, bits, rate, channels)) = format else { return Err(corrupt("no format chunk")) };
    for list in &lists {
        tags::riff_info(list, &mut tags);
    }
    // The tag knows its rate from here.
    if let Some((_, clock)) = &mut tags.time_reference {
        *clock = rate;
    }
    let Some(&(at, first, _)) = data.first() else { return Err(corrupt("no data chunk")) };
    if let Some(what) = sniff::bitstream(&peek(media, at, BITSTREAM_WINDOW.min(first))?) {
        return Err(DecodeError::UnsupportedCodec(format!("{what} inside a WAV that says it is PCM")));
    }
    let frame = (u64::from(channels) * sample.bytes() as u64).max(1);
    let seconds = |bytes: u64| Seconds((bytes / frame) as f64 / f64::from(rate.max(1)));
    let mut losses = Losses::default();
    let (mut declared, mut there) = (0, 0);
    for (index, &(body, size, present)) in data.iter().enumerate() {
        // Writers that count their own header promise that much more than there is.
        declared += size;
        there += present;
        let missing = size - present;
        if (1..=at.min(1024)).contains(&missing) && index + 1 == data.len() {
            declared -= missing;
            let what = format!("the header promises {missing} bytes more than the file has");
            losses.add(seconds(there), seconds(missing), &what);
        }
        if let Some(&(next, ..)) = data.get(index + 1) {
            media.hide(body + present, next);
        }
    }
    if let Some(&(body, size, present)) = data.last()
        && size == present
    {
        // The writer's last look at its sizes may be older than its last sample.
        let end = body + size;
        let behind = file.saturating_sub(end);
        if behind > frame * u64::from(rate) / 20
            && !chunks::begins(media, end)?
            && peek(media, end, behind.min(1 << 16))?.iter().any(|&b| b != 0)
        {
            let what = format!("{behind} bytes behind the sound belong to no chunk and were left out");
            losses.add(seconds(there), Seconds(0.0), &what);
        }
    }
    Ok(Some(Header { pcm: Pcm { sample, big_endian: false, bits, rate, channels, at, declared, there }, tags, losses }))
}

/// Bytes of samples in which another coding is searched.
const BITSTREAM_WINDOW: u64 = 1 << 20;

/// The size of a `data` chunk by what its header, the header of the file and the file itself say.
fn data_size(media: &mut Media<'_>, body: u64, size: u64, rest: u64, long: Option<u64>, riff: u32) -> io::Result<u64> {
    /// Half and whole of what 32 bits hold, less a header: what writers put there that do not know the size yet.
    const UNKNOWN: [std::ops::RangeInclusive<u64>; 2] = [0x7FFF_0000..=0x8000_FFFF, 0xFFFF_0000..=0xFFFF_FFFF];
    if let Some(long) = long {
        // EBU Tech 3306: the long size is the true one, and the short one says "look there". Some writers leave one of them unfinished.
        return Ok(match (long, size) {
            (0 | u64::MAX, 0xFFFF_FFFF) => rest,
            (0 | u64::MAX, size) => size,
            (long, size) if long > rest && size > 0 && size < rest && size != 0xFFFF_FFFF => size,
            (long, _) => long,
        });
    }
    if size > rest && UNKNOWN.iter().any(|range| range.contains(&size)) {
        return Ok(rest);
    }
    // Never finished: neither size counts a single sample.
    let unfinished = u64::from(riff) + 8 <= body || riff == u32::MAX;
    if size == 0 && rest > 0 && unfinished && !chunks::begins(media, body)? {
        return Ok(rest);
    }
    Ok(size)
}

/// Sample, bits, rate and channels of a `fmt ` chunk; `None` for compressed formats. (Microsoft Multimedia Standards Update, 1994;
/// 8-bit is unsigned, everything else signed.)
fn parse_format(bytes: &[u8]) -> Result<Option<(Sample, u32, u32, u16)>, DecodeError> {
    /// The last 14 bytes of every sub-format of `WAVE_FORMAT_EXTENSIBLE` that stands for an old format tag.
    const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];
    let short = |at| field(bytes, at).map(u16::from_le_bytes);
    let fields = (short(0), short(2), field(bytes, 4).map(u32::from_le_bytes), short(12), short(14));
    let (Some(mut tag), Some(channels), Some(rate), Some(align), Some(mut bits)) = fields else {
        return Err(corrupt("the format chunk is too short"));
    };
    // A sample's container: the alignment says it, the bits may be fewer (left-justified, zeros below).
    // Old writers get the alignment wrong, but not the bytes per second.
    let bytes_per_second = field(bytes, 8).map_or(0, u32::from_le_bytes);
    let natural = channels.saturating_mul(bits.div_ceil(8));
    let mut container = align.checked_div(channels).unwrap_or(0);
    let wrong = u64::from(container) * 8 < u64::from(bits)
        || align != natural && u64::from(bytes_per_second) == u64::from(rate) * u64::from(natural);
    if wrong {
        container = bits.div_ceil(8);
    }
    if tag == 0xFFFE {
        let (Some(valid), Some(sub), Some(tail)) = (short(18), short(24), field(bytes, 26)) else {
            return Err(corrupt("the extensible format chunk is too short"));
        };
        if tail != GUID_TAIL {
            return Err(DecodeError::UnsupportedCodec("WAV with an unknown sub-format".into()));
        }
        tag = sub;
        if valid != 0 && valid < bits && tag == 1 {
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
            let what = format!("WAV with {bits}-bit {kind} samples in {container} bytes");
            return Err(DecodeError::UnsupportedCodec(what));
        }
        // ADPCM and the two logarithmic codings.
        (0x02 | 0x06 | 0x07 | 0x11, ..) => return Ok(None),
        _ => return Err(DecodeError::UnsupportedCodec(format!("{} inside a WAV", coding(tag)))),
    };
    Ok(Some((sample, u32::from(bits), rate, channels)))
}

/// What a format tag stands for (Microsoft's `mmreg.h`).
fn coding(tag: u16) -> String {
    let name = match tag {
        0x0031 => "GSM 06.10",
        0x0050 => "MPEG layer I or II",
        0x0055 => "MP3",
        0x0092 | 0x2000 => "AC-3",
        0x0008 | 0x2001 => "DTS",
        0x00FF | 0x1600..=0x1602 | 0x1610 | 0x706D => "AAC",
        0x0160..=0x0163 => "Windows Media Audio",
        0x674F..=0x6771 => "Vorbis",
        0xF1AC => "FLAC",
        0x5756 => "WavPack",
        _ => "an unknown coding",
    };
    format!("{name} (format 0x{tag:04X})")
}
