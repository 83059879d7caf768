//! What files say about themselves → [`Tags`].

use super::{Picture, Tags};
use std::io::Cursor;
use symphonia::core::io::{BufReader, MediaSourceStream};
use symphonia::core::meta::{
    MetadataBuilder, MetadataContainer, MetadataReader, MetadataRevision, RawTagSubField, RawValue, StandardTag,
    StandardVisualKey,
};
use symphonia::default::meta::embedded::{flac, vorbis};

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

/// Values of one field that may stand there several times.
#[derive(Default)]
struct Several(Vec<String>);

impl Several {
    fn add(&mut self, value: &str) {
        let value = clean(value);
        if !value.is_empty() && !self.0.iter().any(|known| known == value) {
            self.0.push(value.to_owned());
        }
    }

    /// All of them in one line, the way that tag editors show them.
    fn fill(self, slot: &mut Option<String>) {
        if slot.is_none() && !self.0.is_empty() {
            *slot = Some(self.0.join("; "));
        }
    }
}

fn container(container: &MetadataContainer, tags: &mut Tags) {
    let (mut track_total, mut disc_total, mut description, mut writer) = (None, None, None, None);
    let [mut artists, mut album_artists, mut genres, mut composers] = [(); 4].map(|()| Several::default());
    let number = |n: u64| u32::try_from(n).ok().filter(|&n| n > 0);
    for tag in &container.tags {
        let Some(standard) = &tag.std else {
            // ffmpeg's way to put a comment into an `ID3v2` tag.
            let named = |field: &RawTagSubField| field.value.to_string().eq_ignore_ascii_case("comment");
            if tag.raw.key == "TXXX" && tag.raw.sub_fields.iter().flatten().any(named) {
                text(&mut description, &tag.raw.value.to_string());
            }
            if tag.raw.key == "UFID"
                && let RawValue::Binary(id) = &tag.raw.value
                && tag.raw.sub_fields.iter().flatten().any(|f| f.value.to_string().contains("musicbrainz.org"))
            {
                more(tags, "musicbrainz_trackid", &latin(id));
            }
            // symphonia gives no standard tag to a field with several values (`ID3v2.4`).
            if let RawValue::StringList(values) = &tag.raw.value {
                let several = match tag.raw.key.as_str() {
                    "TPE1" => &mut artists,
                    "TPE2" => &mut album_artists,
                    "TCON" => &mut genres,
                    "TCOM" => &mut composers,
                    key => {
                        if let Some(first) = values.iter().find(|value| !clean(value).is_empty()) {
                            first_of_several(key, first, tags);
                        }
                        continue;
                    }
                };
                values.iter().for_each(|value| several.add(value));
            }
            continue;
        };
        match standard {
            StandardTag::TrackTitle(s) => text(&mut tags.title, s),
            StandardTag::Artist(s) => artists.add(s),
            StandardTag::Album(s) => text(&mut tags.album, s),
            StandardTag::AlbumArtist(s) => album_artists.add(s),
            StandardTag::Genre(s) => genres.add(s),
            StandardTag::Composer(s) => composers.add(s),
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
            StandardTag::Lyrics(s) => more(tags, "lyrics", s),
            StandardTag::Bpm(n) => more(tags, "bpm", &n.to_string()),
            StandardTag::IdentBarcode(s) | StandardTag::IdentUpc(s) | StandardTag::IdentEanUpn(s) => {
                more(tags, "barcode", s);
            }
            StandardTag::IdentCatalogNumber(s) => more(tags, "catalognumber", s),
            StandardTag::MusicBrainzTrackId(s) | StandardTag::MusicBrainzRecordingId(s) => {
                more(tags, "musicbrainz_trackid", s);
            }
            StandardTag::MusicBrainzReleaseTrackId(s) => more(tags, "musicbrainz_releasetrackid", s),
            StandardTag::MusicBrainzAlbumId(s) => more(tags, "musicbrainz_albumid", s),
            StandardTag::MusicBrainzReleaseGroupId(s) => more(tags, "musicbrainz_releasegroupid", s),
            StandardTag::MusicBrainzArtistId(s) => more(tags, "musicbrainz_artistid", s),
            StandardTag::MusicBrainzAlbumArtistId(s) => more(tags, "musicbrainz_albumartistid", s),
            StandardTag::MusicBrainzWorkId(s) => more(tags, "musicbrainz_workid", s),
            _ => {}
        }
    }
    artists.fill(&mut tags.artist);
    album_artists.fill(&mut tags.album_artist);
    genres.fill(&mut tags.genre);
    composers.fill(&mut tags.composer);
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

/// A field of `ID3v2` that should have one value and has several: the first counts.
fn first_of_several(key: &str, value: &str, tags: &mut Tags) {
    match key {
        "TIT2" => text(&mut tags.title, value),
        "TALB" => text(&mut tags.album, value),
        "TPUB" => text(&mut tags.publisher, value),
        "TCOP" => text(&mut tags.copyright, value),
        "TDRC" | "TYER" | "TDRL" => text(&mut tags.date, value),
        "TSRC" => isrc(&mut tags.isrc, value),
        "TBPM" => more(tags, "bpm", value),
        "TRCK" => tags.track = tags.track.or(number_of(value)),
        "TPOS" => tags.disc = tags.disc.or(number_of(value)),
        _ => {}
    }
}

/// Longest text of a further tag: a songbook's lyrics are shorter.
const LONGEST: usize = 64 << 10;

fn more(tags: &mut Tags, name: &str, value: &str) {
    let value = clean(value);
    if !value.is_empty() && value.len() <= LONGEST && !tags.more.contains_key(name) {
        tags.more.insert(name.to_owned(), value.to_owned());
    }
}

/// `3` or `3/12`.
fn number_of(value: &str) -> Option<(u32, Option<u32>)> {
    let value = clean(value);
    let (n, total) = value.split_once('/').map_or((value, None), |(n, total)| (n, Some(total)));
    let number = |s: &str| s.trim().parse().ok().filter(|&n: &u32| n > 0);
    number(n).map(|n| (n, total.and_then(number)))
}

/// Without the white space and zeros around it; nothing where there is only a placeholder.
fn clean(value: &str) -> &str {
    let value = value.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    // What a program wrote that had no letters for the text: nothing but question marks.
    if value.len() > 1 && value.bytes().all(|b| b == b'?') { "" } else { value }
}

/// Description and time reference of a `bext` chunk (EBU Tech 3285, 2.3). The rate is not known yet.
pub(super) fn broadcast(bytes: &[u8], tags: &mut Tags) {
    if let Some(description) = bytes.get(..256) {
        let end = description.iter().position(|&b| b == 0).unwrap_or(description.len());
        text(&mut tags.description, &latin(&description[..end]));
    }
    let reference = super::chunks::field(bytes, 338).map_or(0, u64::from_le_bytes);
    if reference > 0 && tags.time_reference.is_none() {
        tags.time_reference = Some((reference, 0));
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
    let value = clean(value);
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

/// Vorbis comments, behind the signature of their packet.
pub(super) fn vorbis_comment(bytes: &[u8], tags: &mut Tags) {
    let mut builder = MetadataBuilder::new(vorbis::VORBIS_COMMENT_METADATA_INFO);
    let mut side = Vec::new();
    // Broken ones are passed over, as everywhere: no tag is worth a refused track.
    if vorbis::read_vorbis_comment(&mut BufReader::new(bytes), &mut builder, &mut side).is_ok() {
        revision(&builder.build(), tags);
    }
}

/// A picture block of FLAC, behind its head.
pub(super) fn flac_picture(bytes: &[u8], tags: &mut Tags) {
    if let Ok(visual) = flac::read_flac_picture_block(&mut BufReader::new(bytes)) {
        let mut builder = MetadataBuilder::new(vorbis::VORBIS_COMMENT_METADATA_INFO);
        builder.add_visual(visual);
        revision(&builder.build(), tags);
    }
}

/// The tags behind the sound of an MP3 (APE, then `ID3v1`): they fill what the tags before it leave empty.
pub(super) fn behind(bytes: &[u8], tags: &mut Tags) {
    let stream = |bytes: &[u8]| {
        MediaSourceStream::new(
            Box::new(Cursor::new(bytes.to_vec())),
            symphonia::core::io::MediaSourceStreamOptions::default(),
        )
    };
    let options = symphonia::core::meta::MetadataOptions::default;
    let find = |what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    if let Some(at) = find(b"APETAGEX") {
        let read = symphonia::default::meta::ApeReader::try_new(stream(&bytes[at..]), options())
            .and_then(|mut reader| reader.read_all());
        if let Ok(buffer) = read {
            revision(&buffer.revision, tags);
        }
    }
    if let Some(at) = bytes.len().checked_sub(128).filter(|&at| bytes[at..].starts_with(b"TAG")) {
        let read = symphonia::default::meta::Id3v1Reader::try_new(stream(&bytes[at..]), options())
            .and_then(|mut reader| reader.read_all());
        if let Ok(buffer) = read {
            revision(&buffer.revision, tags);
        }
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
                tags.track = tags.track.or(number_of(&value));
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
    fn wishes_stand_in_the_place_of_what_the_mix_says() {
        let wished = |json: &str| serde_json::from_str::<crate::settings::TagWishes>(json).unwrap();
        let mut mix = Tags { track: Some((3, Some(12))), genre: Some("Rock".to_owned()), ..Tags::default() };
        assert_eq!(mix.clone().with(&wished("{}")), mix);
        let all = r#"{"title":"a","artist":"b","album":"c","album_artist":"d","date":"e","genre":"f","composer":"g","copyright":"h",
            "publisher":"i","isrc":"de-a45-24-01234","comment":"k","track":4,"disc":1,"discs":2}"#;
        let text = |text: &str| Some(text.to_owned());
        let expected = Tags {
            title: text("a"),
            artist: text("b"),
            album: text("c"),
            album_artist: text("d"),
            date: text("e"),
            genre: text("f"),
            composer: text("g"),
            copyright: text("h"),
            publisher: text("i"),
            isrc: text("DEA452401234"),
            comment: text("k"),
            track: Some((4, Some(12))),
            disc: Some((1, Some(2))),
            ..Tags::default()
        };
        assert_eq!(mix.clone().with(&wished(all)), expected);
        mix.isrc = text("DEA452401234");
        let bare = mix.with(&wished(r#"{"genre":" ","isrc":"","tracks":10}"#));
        assert_eq!(bare, Tags { track: Some((3, Some(10))), ..Tags::default() });
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
