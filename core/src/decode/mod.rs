//! File bytes → [`Track`]: planar `f32` at 44.1–192 kHz, always stereo, with the tags and the facts of the source.

use crate::Audio;
use serde::{Deserialize, Serialize};

/// A decoded file.
#[derive(Clone, Debug)]
pub struct Track {
    /// The samples. Rates under 44.1 kHz were raised, mono became two identical channels.
    pub audio: Audio,
    /// What the file was.
    pub source: Source,
    /// What the file said about itself; travels into every delivered file.
    pub tags: Tags,
}

/// Facts of the file as it came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// `wav`, `flac`, `mp4` …
    pub container: String,
    /// `pcm_s24le`, `mp3`, `aac` …
    pub codec: String,
    /// Whether the codec loses information.
    pub lossy: bool,
    /// Word length of the samples in the file; `None` for lossy codecs.
    pub bits: Option<u32>,
    /// Whether those words are floating point.
    pub float: bool,
    /// Frames per second in the file.
    pub rate: u32,
    /// Channels in the file.
    pub channels: u16,
    /// Frames in the file, after gapless trimming.
    pub frames: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Tags that travel along. Empty fields are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tags {
    /// Track title.
    pub title: Option<String>,
    /// Track artist.
    pub artist: Option<String>,
    /// Album title.
    pub album: Option<String>,
    /// Album artist.
    pub album_artist: Option<String>,
    /// Position in the album and, if known, of how many.
    pub track: Option<(u32, Option<u32>)>,
    /// Disc number and, if known, of how many.
    pub disc: Option<(u32, Option<u32>)>,
    /// Release date or year as written.
    pub date: Option<String>,
    /// Genre.
    pub genre: Option<String>,
    /// Composer.
    pub composer: Option<String>,
    /// Copyright line.
    pub copyright: Option<String>,
    /// Publisher or label.
    pub publisher: Option<String>,
    /// International Standard Recording Code, 12 characters.
    pub isrc: Option<String>,
    /// Free comment.
    pub comment: Option<String>,
    /// Front cover.
    #[serde(skip)]
    pub cover: Option<Picture>,
}

/// A picture as it stood in the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// `image/jpeg`, `image/png` …
    pub mime: String,
    /// The encoded image.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}, {} bytes)", self.mime, self.bytes.len())
    }
}

/// Why a file is not a track.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No known container was found.
    #[error("this is not an audio file we can read ({0}); export WAV, AIFF, FLAC, MP3, M4A or OGG")]
    NotAudio(String),
}

impl DecodeError {
    /// `decode.what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAudio(_) => "decode.not_audio",
        }
    }
}
