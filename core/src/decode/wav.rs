//! The headers of WAV, RF64 and BW64.
//!
//! symphonia knows neither RF64 (EBU Tech 3306) nor the tags of a WAV, and reads samples on one core only; what is rarer than linear
//! PCM goes back to it.

use super::{
    Tags,
    chunks::{self, corrupt, field, peek},
    error::DecodeError,
    media::Media,
    pcm::{Pcm, Sample},
    tags,
};
use crate::settings::Limits;

/// Reads the header of a RIFF/WAVE file. `None` if its samples are compressed, which is for symphonia.
pub(super) fn read(media: &mut Media<'_>, limits: &Limits) -> Result<Option<(Pcm, Tags)>, DecodeError> {
    let file = media.len();
    let head = peek(media, 0, 12)?;
    let is_64 = head.starts_with(b"RF64") || head.starts_with(b"BW64");
    let streamed_riff = field(&head, 4) == Some([0xFF; 4]) && !is_64;

    let (mut format, mut data, mut data_64) = (None, None, None);
    let (mut metadata, mut tags) = (0, Tags::default());
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
            b"data" if data.is_none() => {
                let rest = file.saturating_sub(body);
                // Writers that cannot seek back leave these: RF64's "see ds64", ffmpeg's and SoX's "until the end".
                size = match (size, data_64) {
                    (0xFFFF_FFFF, Some(size)) if is_64 => size,
                    (0xFFFF_FFFF | 0x7FFF_F000, _) => rest,
                    (0, _) if streamed_riff => rest,
                    _ => size,
                };
                data = Some((body, size, rest.min(size)));
            }
            b"LIST" | b"id3 " | b"ID3 " => {
                chunks::charge(&mut metadata, size, limits.metadata)?;
                let bytes = peek(media, body, size)?;
                if id == *b"LIST" { tags::riff_info(&bytes, &mut tags) } else { tags::id3(bytes, &mut tags) }
            }
            _ => {}
        }
        match chunks::next(media, body, size)? {
            Some(next) => at = next,
            None => break,
        }
    }

    let Some((sample, bits, rate, channels)) = format else { return Err(corrupt("no format chunk")) };
    let Some((at, declared, there)) = data else { return Err(corrupt("no data chunk")) };
    Ok(Some((Pcm { sample, big_endian: false, bits, rate, channels, at, declared, there }, tags)))
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
    let container = align.checked_div(channels).unwrap_or(0);
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
        _ => return Ok(None),
    };
    Ok(Some((sample, u32::from(bits), rate, channels)))
}
