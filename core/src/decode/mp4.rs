//! Gapless facts of MP4 files that symphonia leaves out: the edit list (ISO/IEC 14496-12, 8.6.6) and iTunes' tag.

use super::{
    chunks::{field, peek},
    media::Media,
};
use crate::units::Seconds;
use std::io::{self, Seek, SeekFrom};
use symphonia::core::meta::MetadataRevision;

/// The first real edit of the sound track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// Start in units of the track's own clock.
    start: u64,
    /// Length in units of the movie's clock; 0 for "to the end".
    length: u64,
    /// The movie's clock, per second.
    movie: u32,
    /// The track's clock, per second.
    media: u32,
}

impl Edit {
    /// Frames to drop at the start and to keep after that. The movie's clock is often too coarse (1 ms) to say the end to the
    /// frame: where the samples run out within one tick of it, they are right.
    pub(super) fn trim(self, declared: Option<u64>, rate: u32) -> (u64, Option<u64>) {
        if self.media == 0 || self.movie == 0 {
            return (0, None);
        }
        let scale = |n: u64, clock: u32| (u128::from(n) * u128::from(rate) / u128::from(clock)) as u64;
        let skip = scale(self.start, self.media);
        let length = scale(self.length, self.movie);
        let tick = u64::from(rate.div_ceil(self.movie)) + 1;
        let keep = match declared.map(|n| n.saturating_sub(skip)) {
            Some(rest) if self.length == 0 || rest.abs_diff(length) <= tick => Some(rest),
            _ if self.length == 0 => None,
            _ => Some(length),
        };
        (skip, keep)
    }
}

/// Most bytes of a `moov` box that are looked through; one for hours of music has a few megabytes of tables.
const MAX_MOOV: u64 = 32 << 20;
const MAX_BOXES: usize = 4096;

/// What a walk over the outermost boxes of an MP4 tells.
#[derive(Default)]
pub(super) struct Scan {
    /// The edit list of the sound.
    pub(super) edit: Option<Edit>,
    /// The sound's length, priming and padding included.
    pub(super) seconds: Option<Seconds>,
    /// The share of the sound's bytes that is there, where the file ends inside of them.
    pub(super) cut: Option<f64>,
    /// Whether the sound is in fragments, each with a header of its own.
    pub(super) fragmented: bool,
}

/// Walks over the boxes; finds nothing in files of other kinds.
pub(super) fn scan(media: &mut Media<'_>) -> io::Result<Scan> {
    let mut found = Scan::default();
    let mut at = 0_u64;
    for index in 0..MAX_BOXES {
        let head = peek(media, at, 16)?;
        let rest = media.len().saturating_sub(at);
        let Some((size, kind, header)) = box_head(&head, rest) else { break };
        match kind {
            _ if index == 0 && kind != b"ftyp" => break,
            b"moov" if size <= rest => {
                let moov = peek(media, at + header, (size - header).min(MAX_MOOV))?;
                found.edit = edit_in(&moov);
                found.seconds = sound(&moov).and_then(length).filter(|length| length.0 > 0.0);
                found.fragmented = child(&moov, *b"mvex").is_some();
            }
            b"mdat" if size > rest => found.cut = Some(rest as f64 / size as f64),
            _ => {}
        }
        at = at.saturating_add(size);
    }
    media.seek(SeekFrom::Start(0))?;
    Ok(found)
}

/// Size with header, type and size of the header.
fn box_head(bytes: &[u8], rest: u64) -> Option<(u64, &[u8], u64)> {
    let size = u32_at(bytes, 0)?;
    let kind = bytes.get(4..8)?;
    let (size, header) = match size {
        0 => (rest, 8),
        1 => (u64_at(bytes, 8)?, 16),
        n => (u64::from(n), 8),
    };
    (size >= header).then_some((size, kind, header))
}

fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (size, kind, header) = box_head(bytes, bytes.len() as u64)?;
        let (this, rest) = bytes.split_at_checked(size as usize)?;
        bytes = rest;
        Some((kind, this.get(header as usize..)?))
    })
}

fn child(bytes: &[u8], name: [u8; 4]) -> Option<&[u8]> {
    boxes(bytes).find(|(kind, _)| kind == &name).map(|(_, body)| body)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    field(bytes, at).map(u32::from_be_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    field(bytes, at).map(u64::from_be_bytes)
}

/// The clock of an `mvhd` or `mdhd` box.
fn clock(header: &[u8]) -> Option<u32> {
    u32_at(header, if *header.first()? == 1 { 20 } else { 12 })
}

/// The first sound track.
fn sound(moov: &[u8]) -> Option<&[u8]> {
    boxes(moov).filter(|(kind, _)| kind == b"trak").map(|(_, body)| body).find(|trak| {
        let handler = child(trak, *b"mdia").and_then(|mdia| child(mdia, *b"hdlr"));
        handler.and_then(|h| h.get(8..12)) == Some(b"soun")
    })
}

/// A track's length by its media header.
fn length(track: &[u8]) -> Option<Seconds> {
    let header = child(child(track, *b"mdia")?, *b"mdhd")?;
    let units = if *header.first()? == 1 { u64_at(header, 24)? } else { u64::from(u32_at(header, 16)?) };
    let clock = clock(header).filter(|&clock| clock > 0)?;
    Some(Seconds(units as f64 / f64::from(clock)))
}

fn edit_in(moov: &[u8]) -> Option<Edit> {
    let movie = clock(child(moov, *b"mvhd")?)?;
    let sound = sound(moov)?;
    let media = clock(child(child(sound, *b"mdia")?, *b"mdhd")?)?;
    let elst = child(child(sound, *b"edts")?, *b"elst")?;
    let long = *elst.first()? == 1;
    let size = if long { 20 } else { 12 };
    let count = u32_at(elst, 4)? as usize;
    elst.get(8..)?.chunks_exact(size).take(count).find_map(|entry| {
        let (length, start) = if long {
            (u64_at(entry, 0)?, u64_at(entry, 8)? as i64)
        } else {
            (u64::from(u32_at(entry, 0)?), i64::from(u32_at(entry, 4)? as i32))
        };
        // −1 is an empty edit: a pause before the sound.
        u64::try_from(start).ok().map(|start| Edit { start, length, movie, media })
    })
}

/// Frames to drop and to keep from `iTunSMPB`: ` 00000000 <delay> <padding> <length, 16 digits> …` in hexadecimal.
pub(super) fn itunes_gapless(revision: &MetadataRevision) -> Option<(u64, u64)> {
    let tag = revision.media.tags.iter().find(|t| t.raw.key.ends_with("iTunSMPB"))?;
    let text = tag.raw.value.to_string();
    let mut fields = text.split_whitespace().skip(1).map(|field| u64::from_str_radix(field, 16));
    let delay = fields.next()?.ok()?;
    let length = fields.nth(1)?.ok()?;
    (length > 0 && delay < 1 << 20).then_some((delay, length))
}
