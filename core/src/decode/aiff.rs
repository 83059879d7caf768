//! The headers of AIFF and AIFC (Apple, 1989 and 1991).
//!
//! symphonia cannot tell a cut AIFF from something that is none; compressed AIFC goes back to it.

use super::{
    Tags,
    chunks::{self, corrupt, field, peek},
    error::DecodeError,
    media::Media,
    pcm::{Pcm, Sample},
    tags,
};
use crate::settings::Limits;

/// What a `COMM` chunk says.
struct Common {
    channels: u16,
    frames: u32,
    bits: u16,
    rate: u32,
    sample: Sample,
    big_endian: bool,
}

/// Reads the header. `None` if the samples are compressed.
pub(super) fn read(media: &mut Media<'_>, limits: &Limits) -> Result<Option<(Pcm, Tags)>, DecodeError> {
    let is_aifc = peek(media, 8, 4)? == b"AIFC";
    let (mut common, mut sound) = (None, None);
    let (mut metadata, mut tags) = (0, Tags::default());
    let mut at = 12;
    for _ in 0..chunks::MAX_CHUNKS {
        let Some((id, size)) = chunks::head(media, at)? else { break };
        let body = at + 8;
        let size = u64::from(u32::from_be_bytes(size));
        match &id {
            b"COMM" => match parse_common(&peek(media, body, size.min(64))?, is_aifc)? {
                Some(found) => common = Some(found),
                None => return Ok(None),
            },
            b"SSND" if sound.is_none() => {
                let offset = field(&peek(media, body, 8)?, 0).map_or(0, u32::from_be_bytes);
                let skip = 8 + u64::from(offset);
                let rest = media.len().saturating_sub(body);
                sound = Some((body + skip, size.min(rest).saturating_sub(skip), rest.saturating_sub(skip)));
            }
            b"ID3 " | b"NAME" | b"AUTH" | b"(c) " | b"ANNO" => {
                chunks::charge(&mut metadata, size, limits.metadata)?;
                let bytes = peek(media, body, size)?;
                if id == *b"ID3 " { tags::id3(bytes, &mut tags) } else { tags::aiff(id, &bytes, &mut tags) }
            }
            _ => {}
        }
        match chunks::next(media, body, size)? {
            Some(next) => at = next,
            None => break,
        }
    }

    let Some(Common { channels, frames, bits, rate, sample, big_endian }) = common else {
        return Err(corrupt("no COMM chunk"));
    };
    // A file without a single frame needs no sound chunk.
    let Some((at, there, rest)) = sound.or((frames == 0).then_some((0, 0, 0))) else {
        return Err(corrupt("no SSND chunk"));
    };
    let frame = (u64::from(channels) * sample.bytes() as u64).max(1);
    let mut declared = u64::from(frames) * frame;
    let mut there = there;
    if there < declared.max(1) && rest > there && !chunks::begins(media, at + there)? {
        // The size of the sound was never finished, and no chunk begins where it would end.
        there = rest;
        declared = if frames == 0 { rest } else { declared };
    } else if there / frame > declared / frame
        && peek(media, at + declared, (there - declared).min(1 << 20))?.iter().any(|&b| b != 0)
    {
        // The count of frames is older than the sound.
        declared = there;
    }
    let declared = declared / frame * frame;
    let there = there.min(declared);
    Ok(Some((Pcm { sample, big_endian, bits: u32::from(bits), rate, channels, at, declared, there }, tags)))
}

fn parse_common(bytes: &[u8], is_aifc: bool) -> Result<Option<Common>, DecodeError> {
    let short = |at| field(bytes, at).map(u16::from_be_bytes);
    let fields = (short(0), field(bytes, 2).map(u32::from_be_bytes), short(6), field(bytes, 8));
    let (Some(channels), Some(frames), Some(bits), Some(rate)) = fields else {
        return Err(corrupt("the COMM chunk is too short"));
    };
    let compression = if is_aifc { field(bytes, 18).unwrap_or_default() } else { *b"NONE" };
    let integer = |big_endian| {
        let sample = match bits {
            1..=8 => Sample::I8,
            9..=16 => Sample::I16,
            17..=24 => Sample::I24,
            25..=32 => Sample::I32,
            _ => return None,
        };
        Some((sample, big_endian, bits))
    };
    let layout = match &compression {
        b"NONE" | b"twos" | b"in24" | b"in32" => integer(true),
        b"sowt" => integer(false),
        b"raw " => Some((Sample::U8, true, 8)),
        b"fl32" | b"FL32" => Some((Sample::F32, true, 32)),
        b"fl64" | b"FL64" => Some((Sample::F64, true, 64)),
        _ => return Ok(None),
    };
    let Some((sample, big_endian, bits)) = layout else {
        return Err(DecodeError::UnsupportedCodec(format!("AIFF with {bits}-bit samples")));
    };
    Ok(Some(Common { channels, frames, bits, rate: extended(rate), sample, big_endian }))
}

/// IEEE 754 double extended, the way Motorola's coprocessor stored it; rates are positive and whole.
fn extended(bytes: [u8; 10]) -> u32 {
    let [a, b, mantissa @ ..] = bytes;
    let exponent = i32::from(u16::from_be_bytes([a, b])) - 16_383 - 63;
    let value = u64::from_be_bytes(mantissa) as f64 * 2_f64.powi(exponent);
    // Saturates: a negative or giant rate becomes one that the limits refuse.
    value.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_precision_rates() {
        assert_eq!(extended([0x40, 0x0E, 0xAC, 0x44, 0, 0, 0, 0, 0, 0]), 44_100);
        assert_eq!(extended([0x40, 0x10, 0xBB, 0x80, 0, 0, 0, 0, 0, 0]), 192_000);
        assert_eq!(extended([0; 10]), 0);
        assert_eq!(extended([0xFF; 10]), u32::MAX);
    }
}
