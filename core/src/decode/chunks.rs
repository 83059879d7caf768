//! What RIFF and IFF files share: named chunks of a declared size, one after the other.

use super::{error::DecodeError, media::Media};
use crate::units::Seconds;
use std::io::{self, Read, Seek, SeekFrom};

/// Chunks looked at before a file counts as made of nothing but headers. Real files have a dozen.
pub(super) const MAX_CHUNKS: usize = 4096;

/// A header that cannot be.
pub(super) fn corrupt(what: impl Into<String>) -> DecodeError {
    DecodeError::Corrupt { at: Seconds(0.0), what: what.into() }
}

/// The bytes of a number in a header, if they are there.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Reads up to `len` bytes at `at`; fewer at the end of the file.
pub(super) fn peek(media: &mut Media<'_>, at: u64, len: u64) -> io::Result<Vec<u8>> {
    media.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    media.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Name and the four bytes of the size of the chunk at `at`.
pub(super) fn head(media: &mut Media<'_>, at: u64) -> io::Result<Option<([u8; 4], [u8; 4])>> {
    let bytes = peek(media, at, 8)?;
    Ok(field(&bytes, 0).zip(field(&bytes, 4)))
}

/// Where the chunk after one of `size` bytes at `body` begins; `None` at the end of the file.
pub(super) fn next(media: &mut Media<'_>, body: u64, size: u64) -> io::Result<Option<u64>> {
    let Some(end) = body.checked_add(size).filter(|&end| end < media.len()) else { return Ok(None) };
    if size & 1 == 0 {
        return Ok(Some(end));
    }
    // Odd chunks are padded with a byte. Some writers forget it, and some pad with a letter.
    let after = peek(media, end, 5)?;
    let [here, behind] = [after.get(..4), after.get(1..)].map(std::option::Option::unwrap_or_default);
    let unpadded = is_known(here) || !is_known(behind) && is_name(here) && (after.first() != Some(&0));
    Ok(Some(if unpadded { end } else { end + 1 }))
}

/// Whether chunks of this name are about.
fn is_known(id: &[u8]) -> bool {
    const KNOWN: &[u8] = b"fmt data LISTfactbextid3 ID3 cue smplinstJUNKjunkPAD FLLRds64plstPEAKacidcartiXMLaxmlchnalevlumidDISPminfelm1\
        regnafspLGWVResUaXMLCOMMSSNDMARKINSTMIDIAESDAPPLCOMTNAMEAUTH(c) ANNOFVERCHAN";
    id.len() == 4 && KNOWN.chunks_exact(4).any(|known| known == id)
}

/// Whether a chunk seems to begin at `at`, and so the one before it ends there.
pub(super) fn begins(media: &mut Media<'_>, at: u64) -> io::Result<bool> {
    let head = peek(media, at, 5)?;
    Ok([head.get(..4), head.get(1..)].into_iter().flatten().any(is_name)
        && (is_known(&head[..4]) || is_known(head.get(1..).unwrap_or_default())))
}

/// Names are four printable ASCII characters.
fn is_name(id: &[u8]) -> bool {
    id.len() == 4 && id.iter().all(|b| (0x20..0x7f).contains(b))
}

/// Adds up what tags and pictures take, before any of it is read.
pub(super) fn charge(total: &mut u64, size: u64, limit: u64) -> Result<(), DecodeError> {
    *total = total.saturating_add(size);
    if *total > limit { Err(DecodeError::MetadataTooLarge { bytes: *total, limit }) } else { Ok(()) }
}
