//! What symphonia leaves out of Matroska and `WebM`: the padding behind the last packet (`DiscardPadding`, RFC 9559, 5.1.3.5.7).

use super::{chunks::peek, media::Media};
use std::{
    collections::HashMap,
    io::{self, Seek, SeekFrom},
};

const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1F43_B675;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const SIMPLE_BLOCK: u32 = 0xA3;
const DISCARD_PADDING: u32 = 0x75A2;
/// Elements looked at: a packet has one or two, and the longest track that anybody sends has a million packets.
const MAX_ELEMENTS: usize = 8_000_000;

/// Bytes read at a time, because the heads of elements are small and many.
const WINDOW: usize = 1 << 16;

struct Window<'m, 'a> {
    media: &'m mut Media<'a>,
    bytes: Vec<u8>,
    from: u64,
}

impl Window<'_, '_> {
    fn get(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let has = self.from + self.bytes.len() as u64;
        if at < self.from || at + count as u64 > has && has < self.media.len() {
            self.bytes = peek(self.media, at, WINDOW as u64)?;
            self.from = at;
        }
        let start = usize::try_from(at - self.from).unwrap_or(usize::MAX).min(self.bytes.len());
        Ok(&self.bytes[start..self.bytes.len().min(start + count)])
    }

    /// Identifier, size (`None` where it is unknown) and where the body begins.
    fn element(&mut self, at: u64) -> io::Result<Option<(u32, Option<u64>, u64)>> {
        let bytes = self.get(at, 12)?;
        let Some((id, wide)) = number(bytes, false) else { return Ok(None) };
        let Some((size, long)) = number(&bytes[wide..], true) else { return Ok(None) };
        let unknown = size == (1 << (7 * long)) - 1;
        Ok(u32::try_from(id).ok().map(|id| (id, (!unknown).then_some(size), at + (wide + long) as u64)))
    }
}

/// An EBML number and its bytes; the mark of the length is left out of sizes and stays in identifiers.
fn number(bytes: &[u8], strip: bool) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let long = first.leading_zeros() as usize + 1;
    let bytes = bytes.get(..long).filter(|_| long <= 8)?;
    let value = bytes.iter().fold(0, |value, &b| value << 8 | u64::from(b));
    Some((if strip { value & !(1 << (7 * long)) } else { value }, long))
}

/// Nanoseconds of padding behind the last packet of every track.
pub(super) fn padding(media: &mut Media<'_>) -> io::Result<HashMap<u64, u64>> {
    let mut window = Window { media, bytes: Vec::new(), from: 0 };
    let (mut padding, mut track) = (HashMap::new(), 0);
    let mut at = 0;
    for _ in 0..MAX_ELEMENTS {
        if at >= window.media.len() {
            break;
        }
        let Some((id, size, body)) = window.element(at)? else { break };
        let next = size.and_then(|size| body.checked_add(size));
        match id {
            // Their children come next.
            SEGMENT | CLUSTER | BLOCK_GROUP => at = body,
            BLOCK | SIMPLE_BLOCK => {
                track = number(window.get(body, 8)?, true).map_or(0, |(track, _)| track);
                padding.remove(&track);
                let Some(next) = next else { break };
                at = next;
            }
            DISCARD_PADDING => {
                let count = size.filter(|&size| size <= 8).unwrap_or(0) as usize;
                let bytes = window.get(body, count)?;
                let sign = bytes.first().map_or(0, |&b| if b & 0x80 != 0 { -1_i64 } else { 0 });
                let value = bytes.iter().fold(sign, |value, &b| value << 8 | i64::from(b));
                // Negative padding would be at the start of a packet.
                if let Ok(value) = u64::try_from(value) {
                    padding.insert(track, value);
                }
                let Some(next) = next else { break };
                at = next;
            }
            _ => {
                let Some(next) = next else { break };
                at = next;
            }
        }
    }
    window.media.seek(SeekFrom::Start(0))?;
    Ok(padding)
}
