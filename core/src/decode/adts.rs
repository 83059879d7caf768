//! AAC in ADTS (ISO/IEC 13818-7, 6.2): finds where its frames do not follow each other. symphonia's reader looks for the next frame
//! without a word.

use super::{
    chunks::field,
    loss::Losses,
    media::Media,
    mpeg::{self, Window},
};
use crate::units::Seconds;
use std::io;

/// Frames of PCM in a block of AAC.
const BLOCK: u64 = 1024;
/// Frames in a row, right at the start, that make an ADTS stream out of bytes.
const SURE: usize = 3;
/// Bytes of a header.
const HEADER: usize = 7;
/// Bytes of the largest frame.
const LARGEST: u64 = 1 << 13;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    rate: u32,
    /// Bytes, header included.
    bytes: u64,
    blocks: u64,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        const RATES: [u32; 13] =
            [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
        let [a, b, c, d, e, f, g]: [u8; HEADER] = field(bytes, 0)?;
        // Twelve bits of sync, and two of layer that are always 0.
        if a != 0xFF || b & 0xF6 != 0xF0 {
            return None;
        }
        let rate = *RATES.get(usize::from(c >> 2 & 15))?;
        let bytes = u64::from(d & 3) << 11 | u64::from(e) << 3 | u64::from(f >> 5);
        (bytes > HEADER as u64).then_some(Self { rate, bytes, blocks: u64::from(g & 3) + 1 })
    }
}

/// What is missing of an ADTS file; `None` for any other. `from` is behind `ID3v2` tags.
pub(super) fn losses(media: &mut Media<'_>, from: u64) -> io::Result<Option<Losses>> {
    let end = mpeg::behind_sound(media)?;
    let mut window = Window::new(media);
    let (mut at, mut frames, mut found) = (from, 0, Losses::default());
    if Head::parse(window.get(at, HEADER)?).is_none() {
        return Ok(None);
    }
    // Frames in a row from the first one on; where that is damaged, from the next one.
    let start = if follows(&mut window, from, end, SURE)? { Some(from) } else { next(&mut window, from + 1, end)? };
    if !start.map_or(Ok(false), |start| follows(&mut window, start, end, SURE))? {
        return Ok(None);
    }
    let mut rate = 0;
    while at < end {
        let seconds = |frames: u64| Seconds(frames as f64 / f64::from(rate.max(1)));
        match Head::parse(window.get(at, HEADER)?) {
            Some(head) if at + head.bytes > end => {
                found.add(
                    seconds(frames),
                    Seconds(0.0),
                    "the file ends there in the middle of a frame: it may be cut off",
                );
                break;
            }
            Some(head) => {
                rate = head.rate;
                frames += head.blocks * BLOCK;
                at += head.bytes;
            }
            None => {
                found.add(
                    seconds(frames),
                    Seconds(0.0),
                    "the frames there do not follow each other: some may be missing",
                );
                let Some(next) = next(&mut window, at + 1, end)? else { break };
                at = next;
            }
        }
    }
    Ok(Some(found))
}

/// Whether `count` frames follow each other from here on, or go on to the end, which may cut the last one.
fn follows(window: &mut Window<'_, '_>, from: u64, end: u64, count: usize) -> io::Result<bool> {
    let mut at = from;
    for _ in 0..count {
        let Some(head) = Head::parse(window.get(at, HEADER)?) else { return Ok(false) };
        at += head.bytes;
        if at >= end {
            break;
        }
    }
    Ok(true)
}

/// Where the next frame begins that another one follows, or the end.
fn next(window: &mut Window<'_, '_>, from: u64, end: u64) -> io::Result<Option<u64>> {
    for at in from..end {
        if let Some(head) = Head::parse(window.get(at, HEADER)?) {
            let behind = at + head.bytes;
            if behind == end || (behind < end && Head::parse(window.get(behind, HEADER)?).is_some()) {
                return Ok(Some(at));
            }
        }
        // A stream that is damaged for so long is left to the decoder.
        if at - from > 64 * LARGEST {
            break;
        }
    }
    Ok(None)
}
