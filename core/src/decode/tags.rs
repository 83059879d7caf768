//! What files say about themselves → [`Tags`].

use super::{Picture, Tags};
use std::io::Cursor;
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::{
    MetadataContainer, MetadataReader, MetadataRevision, RawTagSubField, RawValue, StandardTag, StandardVisualKey,
};

/// Fills what is still empty from one revision of symphonia's metadata.
pub(super) fn revision(revision: &MetadataRevision, tags: &mut Tags) {
    container(&revision.media, tags);
    for track in &revision.per_track {
        container(&track.metadata, tags);
    }
}

/// Bytes that a revision holds in memory, for the limit.
pub(super) fn size(revision: &MetadataRevision) -> u64 {
    let one = |c: &MetadataContainer| {
        let pictures: usize = c.visuals.iter().map(|v| v.data.len()).sum();
        // Numbers and flags count as one byte; they are bounded by the number of tags.
        let text: usize = c
            .tags
            .iter()
            .map(|t| match &t.raw.value {
                RawValue::Binary(b) => b.len(),
                RawValue::String(s) => s.len(),
                RawValue::StringList(l) => l.iter().map(String::len).sum(),
                _ => 1,
            })
            .sum();
        (pictures + text) as u64
    };
    one(&revision.media) + revision.per_track.iter().map(|t| one(&t.metadata)).sum::<u64>()
}

fn container(container: &MetadataContainer, tags: &mut Tags) {
    let (mut track_total, mut disc_total, mut description, mut writer) = (None, None, None, None);
    let number = |n: u64| u32::try_from(n).ok().filter(|&n| n > 0);
    for tag in &container.tags {
        let Some(standard) = &tag.std else {
            // ffmpeg's way to put a comment into an `ID3v2` tag.
            let named = |field: &RawTagSubField| field.value.to_string().eq_ignore_ascii_case("comment");
            if tag.raw.key == "TXXX" && tag.raw.sub_fields.iter().flatten().any(named) {
                text(&mut description, &tag.raw.value.to_string());
            }
            continue;
        };
        match standard {
            StandardTag::TrackTitle(s) => text(&mut tags.title, s),
            StandardTag::Artist(s) => text(&mut tags.artist, s),
            StandardTag::Album(s) => text(&mut tags.album, s),
            StandardTag::AlbumArtist(s) => text(&mut tags.album_artist, s),
            StandardTag::Genre(s) => text(&mut tags.genre, s),
            StandardTag::Composer(s) => text(&mut tags.composer, s),
            StandardTag::Copyright(s) => text(&mut tags.copyright, s),
            StandardTag::Label(s) => text(&mut tags.publisher, s),
            StandardTag::Comment(s) => text(&mut tags.comment, s),
            // MP4's word for it.
            StandardTag::Writer(s) => text(&mut writer, s),
            // Vorbis comments call it so.
            StandardTag::Description(s) => text(&mut description, s),
            StandardTag::IdentIsrc(s) => isrc(&mut tags.isrc, s),
            StandardTag::ReleaseDate(s)
            | StandardTag::ReleaseTime(s)
            | StandardTag::RecordingDate(s)
            | StandardTag::RecordingTime(s) => text(&mut tags.date, s),
            StandardTag::ReleaseYear(y) | StandardTag::RecordingYear(y) => text(&mut tags.date, &y.to_string()),
            StandardTag::TrackNumber(n) => tags.track = tags.track.or(number(*n).map(|n| (n, None))),
            StandardTag::DiscNumber(n) => tags.disc = tags.disc.or(number(*n).map(|n| (n, None))),
            StandardTag::TrackTotal(n) => track_total = number(*n),
            StandardTag::DiscTotal(n) => disc_total = number(*n),
            _ => {}
        }
    }
    tags.comment = tags.comment.take().or(description);
    tags.composer = tags.composer.take().or(writer);
    if let Some((_, total @ None)) = &mut tags.track {
        *total = track_total;
    }
    if let Some((_, total @ None)) = &mut tags.disc {
        *total = disc_total;
    }
    if tags.cover.is_none() {
        let front = |usage: Option<StandardVisualKey>| usage == Some(StandardVisualKey::FrontCover);
        let visual = container.visuals.iter().find(|v| front(v.usage)).or_else(|| container.visuals.first());
        tags.cover = visual.map(|v| Picture { mime: mime(&v.data, v.media_type.as_deref()), bytes: v.data.to_vec() });
    }
}

/// The type of a picture: what it is before what its tag says it is.
fn mime(bytes: &[u8], declared: Option<&str>) -> String {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => declared.unwrap_or("application/octet-stream"),
    }
    .into()
}

fn text(slot: &mut Option<String>, value: &str) {
    let value = value.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    if slot.is_none() && !value.is_empty() {
        *slot = Some(value.to_owned());
    }
}

/// ISO 3901: two letters, three alphanumerics, seven digits; often written with hyphens.
fn isrc(slot: &mut Option<String>, value: &str) {
    let code: String = value.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    if slot.is_none()
        && code.len() == 12
        && code[..2].bytes().all(|b| b.is_ascii_alphabetic())
        && code[5..].bytes().all(|b| b.is_ascii_digit())
    {
        *slot = Some(code);
    }
}

/// An `ID3v2` tag in a chunk of its own. Broken ones are passed over: no tag is worth a refused track.
pub(super) fn id3(bytes: Vec<u8>, tags: &mut Tags) {
    let stream =
        MediaSourceStream::new(Box::new(Cursor::new(bytes)), symphonia::core::io::MediaSourceStreamOptions::default());
    let options = symphonia::core::meta::MetadataOptions::default();
    let read = symphonia::default::meta::Id3v2Reader::try_new(stream, options).and_then(|mut reader| reader.read_all());
    if let Ok(buffer) = read {
        revision(&buffer.revision, tags);
    }
}

/// A `LIST` chunk of the form `INFO` (Microsoft RIFF, 1991).
pub(super) fn riff_info(mut bytes: &[u8], tags: &mut Tags) {
    let Some(rest) = bytes.strip_prefix(b"INFO") else { return };
    bytes = rest;
    while let Some((head, rest)) = bytes.split_at_checked(8) {
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let Some(raw) = rest.get(..size) else { return };
        let value = latin(raw);
        match &head[..4] {
            b"INAM" => text(&mut tags.title, &value),
            b"IART" => text(&mut tags.artist, &value),
            b"IPRD" => text(&mut tags.album, &value),
            b"ICRD" => text(&mut tags.date, &value),
            b"IGNR" => text(&mut tags.genre, &value),
            b"IMUS" => text(&mut tags.composer, &value),
            b"ICOP" => text(&mut tags.copyright, &value),
            b"ICMT" => text(&mut tags.comment, &value),
            // "Source" by the letter, an ISRC by the habit of some writers: only a well-formed one is taken.
            b"ISRC" => isrc(&mut tags.isrc, &value),
            b"IPRT" | b"ITRK" => {
                let value = value.trim_matches(|c: char| c == '\0' || c.is_whitespace());
                let (n, total) = value.split_once('/').map_or((value, None), |(n, total)| (n, Some(total)));
                let number = |s: &str| s.trim().parse().ok().filter(|&n: &u32| n > 0);
                tags.track = tags.track.or(number(n).map(|n| (n, total.and_then(number))));
            }
            _ => {}
        }
        bytes = rest.get(size.next_multiple_of(2)..).unwrap_or_default();
    }
}

/// A text chunk of an AIFF: ASCII by the letter.
pub(super) fn aiff(id: [u8; 4], bytes: &[u8], tags: &mut Tags) {
    let value = latin(bytes);
    match &id {
        b"NAME" => text(&mut tags.title, &value),
        b"AUTH" => text(&mut tags.artist, &value),
        b"(c) " => text(&mut tags.copyright, &value),
        _ => text(&mut tags.comment, &value),
    }
}

/// UTF-8 as it is written today, or Latin-1 as it was once.
fn latin(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|&b| char::from(b)).collect(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isrc_is_twelve_characters_or_nothing() {
        let read = |s: &str| {
            let mut slot = None;
            isrc(&mut slot, s);
            slot
        };
        assert_eq!(read("de-a45-24-01234").as_deref(), Some("DEA452401234"));
        assert_eq!(read("DEA45240123"), None);
        assert_eq!(read("vinyl"), None);
    }

    #[test]
    fn info_lists_are_read_and_never_overrun() {
        let mut tags = Tags::default();
        riff_info(
            b"INFOINAM\x05\0\0\0Song\0\0IART\x03\0\0\0\xc4\xd6x\0IPRT\x04\0\0\x003/12ICMT\xff\xff\xff\xff",
            &mut tags,
        );
        assert_eq!(tags.title.as_deref(), Some("Song"));
        assert_eq!(tags.artist.as_deref(), Some("ÄÖx"));
        assert_eq!(tags.track, Some((3, Some(12))));
        assert_eq!(tags.comment, None);
    }
}
