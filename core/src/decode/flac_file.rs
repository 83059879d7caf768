//! Native FLAC files (RFC 9639): where their frames begin, what their header says, and the whole of those that symphonia cannot read.

use super::{
    DecodeError, Sink, Source, Tags,
    chunks::{charge, field, peek},
    flac::{Info, STREAMINFO, read},
    media::Media,
    mpeg, quirks, tags,
    trimmed::Trimmed,
};
use crate::{settings::Limits, units::Seconds};
use std::io::{self, Seek, SeekFrom};

/// Where the frames of a native FLAC file begin, and its STREAMINFO. `at` is behind `ID3v2` tags.
pub(super) fn header(media: &mut Media<'_>, at: u64) -> io::Result<Option<(Info, u64)>> {
    if peek(media, at, 4)? != b"fLaC" {
        return Ok(None);
    }
    let (mut info, mut at) = (None, at + 4);
    // As many blocks as no real file has.
    for _ in 0..4096 {
        let head = peek(media, at, 4)?;
        let Some(head) = field::<4>(&head, 0) else { return Ok(None) };
        let size = u64::from(u32::from_be_bytes(head) & 0x00FF_FFFF);
        if head[0].trailing_zeros() >= 7 {
            info = Info::parse(&peek(media, at + 4, STREAMINFO as u64)?);
        }
        at += 4 + size;
        if head[0] & 0x80 != 0 {
            return Ok(info.map(|info| (info, at)));
        }
    }
    Ok(None)
}

/// A native FLAC file.
#[derive(Clone, Copy)]
pub(super) struct Native {
    pub(super) info: Info,
    /// Where its frames begin.
    pub(super) at: u64,
    /// Whether symphonia would read it wrongly, or not at all.
    pub(super) ours: bool,
}

/// Looks at a native FLAC file before symphonia does, and leaves out tags of other kinds behind the sound.
pub(super) fn prepare(media: &mut Media<'_>) -> io::Result<Option<Native>> {
    let start = mpeg::behind_id3(media)?;
    let found = header(media, start)?;
    if found.is_some() {
        let end = mpeg::behind_sound(media)?;
        media.end_at(end);
    }
    media.seek(SeekFrom::Start(0))?;
    Ok(found.map(|(info, at)| Native { info, at, ours: !info.sound_sizes || quirks::is_flac_too_wide(info.bits) }))
}

/// Reads a file that symphonia would not.
pub(super) fn whole(
    media: &mut Media<'_>,
    native: Native,
    limits: &Limits,
    sink: &mut dyn Sink,
) -> Result<(Source, Tags), DecodeError> {
    let Native { info, at, .. } = native;
    let bytes = media.len();
    super::check(info.rate, info.channels.into(), Some(info.frames), limits)?;
    let (mut found, mut charged) = (Tags::default(), 0);
    let mut block = mpeg::behind_id3(media)? + 4;
    while block < at {
        let Some(head) = field::<4>(&peek(media, block, 4)?, 0) else { break };
        let size = u64::from(u32::from_be_bytes(head) & 0x00FF_FFFF);
        let kind = head[0] & 0x7F;
        if matches!(kind, 4 | 6) {
            charge(&mut charged, size, limits.metadata)?;
            let body = peek(media, block + 4, size)?;
            if kind == 4 { tags::vorbis_comment(&body, &mut found) } else { tags::flac_picture(&body, &mut found) }
        }
        block += 4 + size;
    }
    // A frame of silence may take ten bytes; memory for more than that is taken as it comes.
    let mut sink = Trimmed::new(sink, limits, info.frames.min(bytes.saturating_mul(64)), 0, None);
    read(&mut *media, at, &info, &mut sink)?;
    let frames = sink.frames();
    if frames < info.frames {
        let want = Seconds(info.frames as f64 / f64::from(info.rate.max(1)));
        return Err(DecodeError::Truncated { have: sink.at(), want });
    }
    let source = Source {
        container: "flac".into(),
        codec: "flac".into(),
        bits: Some(info.bits),
        rate: info.rate,
        channels: info.channels,
        frames,
        bytes,
        ..Source::default()
    };
    Ok((source, found))
}
