//! Tags in every dialect, by lofty: ID3v2.3 for MP3 and WAV (2.4 is unknown to too many players), RIFF INFO for WAV, Vorbis
//! comments for FLAC and Opus.

use super::{EncodeError, Metadata};
use lofty::config::WriteOptions;
use lofty::id3::v2::{Frame, Id3v2Tag};
use lofty::iff::wav::RiffInfoList;
use lofty::ogg::OggPictureStorage;
use lofty::ogg::tag::VorbisComments;
use lofty::picture::{MimeType, Picture, PictureInformation, PictureType};
use lofty::tag::{Accessor, ItemKey, Tag, TagExt, TagType};

/// ReplayGain 2.0 §"Loudness normalisation": gain to −18 LUFS.
const REPLAY_GAIN: f64 = -18.0;
/// RFC 7845 §5.2.1: `R128_TRACK_GAIN` to −23 LUFS.
const R128: f64 = -23.0;

/// Which loudness tags the file's players look for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gain {
    ReplayGain,
    R128,
}

/// An ID3v2.3 tag, cover included; empty when there is nothing to say.
pub(super) fn id3v2(meta: &Metadata) -> Result<Vec<u8>, EncodeError> {
    if meta.clean {
        return Ok(Vec::new());
    }
    let mut tag = collect(meta, TagType::Id3v2, Gain::ReplayGain);
    if let Some(cover) = cover(meta) {
        tag.push_picture(cover);
    }
    // lofty collects the frames in a hash map; equal masters shall have equal bytes.
    let mut frames: Vec<Frame<'static>> = Id3v2Tag::from(tag).into_iter().collect();
    frames.sort_by_cached_key(|frame| match frame {
        Frame::UserText(text) => (frame.id_str().to_owned(), text.description.to_string()),
        _ => (frame.id_str().to_owned(), String::new()),
    });
    let mut sorted = Id3v2Tag::default();
    for frame in frames {
        sorted.insert(frame);
    }
    let mut bytes = Vec::new();
    sorted.dump_to(&mut bytes, options()).map_err(tag_error)?;
    Ok(bytes)
}

/// A whole `LIST` chunk of type `INFO`, head included; empty when there is nothing to say.
pub(super) fn riff_info(meta: &Metadata) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    let tag = collect(meta, TagType::RiffInfo, Gain::ReplayGain);
    RiffInfoList::from(tag).dump_to(&mut bytes, options()).map_err(tag_error)?;
    Ok(bytes)
}

/// The body of a FLAC `VORBIS_COMMENT` block and, if there is a cover, that of a `PICTURE` block.
pub(super) fn flac(meta: &Metadata, vendor: &str) -> Result<(Vec<u8>, Option<Vec<u8>>), EncodeError> {
    let comments = vorbis(meta, vendor, Gain::ReplayGain, false)?;
    Ok((comments, cover(meta).map(|cover| cover.as_flac_bytes(information(&cover), false))))
}

/// The body of an `OpusTags` packet after its magic, cover included.
pub(super) fn opus(meta: &Metadata, vendor: &str) -> Result<Vec<u8>, EncodeError> {
    vorbis(meta, vendor, Gain::R128, true)
}

fn vorbis(meta: &Metadata, vendor: &str, gain: Gain, with_cover: bool) -> Result<Vec<u8>, EncodeError> {
    let mut comments = VorbisComments::from(collect(meta, TagType::VorbisComments, gain));
    comments.set_vendor(vendor.to_owned());
    if let Some(cover) = cover(meta).filter(|_| with_cover) {
        let information = information(&cover);
        comments.insert_picture(cover, Some(information)).map_err(tag_error)?;
    }
    let mut bytes = Vec::new();
    comments.dump_to(&mut bytes, options()).map_err(tag_error)?;
    Ok(bytes)
}

fn options() -> WriteOptions {
    WriteOptions::new().preferred_padding(0).use_id3v23(true)
}

fn tag_error(error: impl std::fmt::Display) -> EncodeError {
    EncodeError::Tags(error.to_string())
}

/// Everything but the cover, in lofty's own terms.
fn collect(meta: &Metadata, kind: TagType, gain: Gain) -> Tag {
    let mut tag = Tag::new(kind);
    if meta.clean {
        return tag;
    }
    let tags = &meta.tags;
    for (key, value) in [
        (ItemKey::TrackTitle, &tags.title),
        (ItemKey::TrackArtist, &tags.artist),
        (ItemKey::AlbumTitle, &tags.album),
        (ItemKey::AlbumArtist, &tags.album_artist),
        (ItemKey::RecordingDate, &tags.date),
        (ItemKey::Genre, &tags.genre),
        (ItemKey::Composer, &tags.composer),
        (ItemKey::CopyrightMessage, &tags.copyright),
        (ItemKey::Publisher, &tags.publisher),
        (ItemKey::Isrc, &tags.isrc),
        (ItemKey::Comment, &tags.comment),
    ] {
        if let Some(value) = value {
            tag.insert_text(key, value.clone());
        }
    }
    for (name, value) in &tags.more {
        // The first of these keys that the dialect knows.
        let keys: &[ItemKey] = match name.as_str() {
            "lyrics" if kind == TagType::VorbisComments => &[ItemKey::Lyrics],
            "lyrics" => &[ItemKey::UnsyncLyrics],
            "bpm" => &[ItemKey::IntegerBpm, ItemKey::Bpm],
            "barcode" => &[ItemKey::Barcode],
            "catalognumber" => &[ItemKey::CatalogNumber],
            "musicbrainz_trackid" => &[ItemKey::MusicBrainzRecordingId],
            "musicbrainz_releasetrackid" => &[ItemKey::MusicBrainzTrackId],
            "musicbrainz_albumid" => &[ItemKey::MusicBrainzReleaseId],
            "musicbrainz_releasegroupid" => &[ItemKey::MusicBrainzReleaseGroupId],
            "musicbrainz_artistid" => &[ItemKey::MusicBrainzArtistId],
            "musicbrainz_albumartistid" => &[ItemKey::MusicBrainzReleaseArtistId],
            "musicbrainz_workid" => &[ItemKey::MusicBrainzWorkId],
            _ => &[],
        };
        let _ = keys.iter().any(|key| tag.insert_text(*key, value.clone()));
    }
    if let Some((number, total)) = tags.track {
        tag.set_track(number);
        if let Some(total) = total {
            tag.set_track_total(total);
        }
    }
    if let Some((number, total)) = tags.disc {
        tag.set_disk(number);
        if let Some(total) = total {
            tag.set_disk_total(total);
        }
    }
    tag.insert_text(ItemKey::EncoderSoftware, meta.encoder().to_owned());

    let Some(loudness) = meta.loudness.integrated.map(|lufs| lufs.0).filter(|lufs| lufs.is_finite()) else {
        return tag;
    };
    match gain {
        Gain::ReplayGain => {
            tag.insert_text(ItemKey::ReplayGainTrackGain, format!("{:.2} dB", REPLAY_GAIN - loudness));
            if let Some(peak) = meta.true_peak {
                tag.insert_text(ItemKey::ReplayGainTrackPeak, format!("{:.6}", peak.amplitude()));
            }
        }
        Gain::R128 => {
            // Q7.8 as a decimal integer.
            let gain = (256.0 * (R128 - loudness)).round().clamp(-32_768.0, 32_767.0) as i16;
            tag.insert_text(ItemKey::R128TrackGain, gain.to_string());
        }
    }
    tag
}

/// The front cover. A FLAC block ends at 16 MiB; a larger picture stays behind everywhere.
fn cover(meta: &Metadata) -> Option<Picture> {
    let cover = meta.tags.cover.as_ref().filter(|cover| !meta.clean && cover.bytes.len() < (1 << 24) - 256)?;
    Some(
        Picture::unchecked(cover.bytes.clone())
            .pic_type(PictureType::CoverFront)
            .mime_type(MimeType::from_str(&cover.mime))
            .build(),
    )
}

/// Size and depth, where the picture's own header tells; zeros stand for "look inside".
fn information(cover: &Picture) -> PictureInformation {
    PictureInformation::from_picture(cover).unwrap_or_default()
}
