//! File bytes → [`Track`]: planar `f32` at 44.1–192 kHz, always stereo, with the tags and the facts of the source.

mod aiff;
mod chunks;
mod container;
mod error;
mod media;
mod mp4;
mod pcm;
mod sink;
mod sniff;
mod tags;
mod wav;

pub use error::DecodeError;
pub use media::Input;
pub use sink::{Gather, Sink};

use crate::{
    Audio, Samples,
    samples::Pool,
    settings::Limits,
    units::{Db, Seconds},
};
use media::Media;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

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

/// A peak at or below this is silence: the last bit of 16 (−90.3 dBFS), which is where undithered noise floors and converters end.
pub const SILENCE: f32 = 1.0 / 32_768.0;

/// Lowest rate at which the engine works; slower files are raised.
const LOWEST_RATE: u32 = 44_100;
/// Frames per piece of the parallel scan.
const PIECE: usize = 1 << 16;

/// Decodes the file at `path` into memory. Its extension is a hint for the probe and never believed.
pub fn decode_file(path: &Path, limits: &Limits) -> Result<Track, DecodeError> {
    decode_file_in(path, limits, &Pool::default())
}

/// Decodes the file at `path` into a pool.
pub fn decode_file_in(path: &Path, limits: &Limits, pool: &Pool) -> Result<Track, DecodeError> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory).into());
    }
    let mut sink = Gather::new(pool);
    let (source, tags) = decode_into(file, path.extension().and_then(|e| e.to_str()), limits, &mut sink)?;
    sink.track(source, tags)
}

/// Decodes a whole file: WAV (RF64, BW64), AIFF, CAF, FLAC, ALAC and AAC in MP4, MP3, Vorbis and Opus in Ogg or Matroska.
///
/// Hostile input is normal input: nothing is allocated but under `limits`, and nothing panics through.
pub fn decode<'a>(input: impl Input + 'a, extension: Option<&str>, limits: &Limits) -> Result<Track, DecodeError> {
    let mut sink = Gather::new(&Pool::default());
    let (source, tags) = decode_into(input, extension, limits, &mut sink)?;
    sink.track(source, tags)
}

/// The same, with the frames handed on as they come; nothing of them is held here. What is wrong with a file may turn up after some of
/// it has been handed on. The samples themselves are looked at by whoever has gathered them ([`Gather::track`]).
pub fn decode_into<'a>(
    input: impl Input + 'a,
    extension: Option<&str>,
    limits: &Limits,
    sink: &mut dyn Sink,
) -> Result<(Source, Tags), DecodeError> {
    // The decoders are not ours, and a panic in one of them must cost no more than this track.
    catch_unwind(AssertUnwindSafe(|| read(Media::new(input)?, extension, limits, sink)))
        .unwrap_or_else(|_| Err(DecodeError::Corrupt { at: Seconds(0.0), what: "its decoder gave up on it".into() }))
}

fn read(
    mut media: Media<'_>,
    extension: Option<&str>,
    limits: &Limits,
    sink: &mut dyn Sink,
) -> Result<(Source, Tags), DecodeError> {
    if media.len() > limits.bytes {
        return Err(DecodeError::TooLarge { bytes: media.len(), limit: limits.bytes });
    }
    let mut head = Vec::new();
    (&mut media).take(512).read_to_end(&mut head)?;
    media.seek(SeekFrom::Start(0))?;
    if head.is_empty() {
        return Err(DecodeError::NotAudio("the file has 0 bytes".into()));
    }
    let kind = sniff::sniff(&head);
    let header = match kind {
        sniff::Kind::NotAudio(what) => return Err(DecodeError::NotAudio(what.into())),
        sniff::Kind::Unsupported(name) => return Err(DecodeError::UnsupportedCodec(name.into())),
        sniff::Kind::Wav => wav::read(&mut media, limits)?.map(|(pcm, tags)| ("wav", pcm, tags)),
        sniff::Kind::Aiff => aiff::read(&mut media, limits)?.map(|(pcm, tags)| ("aiff", pcm, tags)),
        sniff::Kind::Container(_) | sniff::Kind::Unknown => None,
    };
    if let Some((container, pcm, tags)) = header {
        Ok((pcm.read(&mut media, container, limits, sink)?, tags))
    } else {
        media.seek(SeekFrom::Start(0))?;
        container::read(media, &kind, extension, limits, sink)
    }
}

/// Holds a layout against the limits.
fn check(rate: u32, channels: u64, frames: Option<u64>, limits: &Limits) -> Result<(), DecodeError> {
    if rate < limits.rate.0 || rate > limits.rate.1 {
        return Err(DecodeError::BadRate { rate, limit: limits.rate });
    }
    // Audio is always stereo here, whatever the limits allow.
    let most = limits.channels.min(2);
    if channels > u64::from(most) {
        return Err(DecodeError::TooManyChannels { channels, limit: most });
    }
    frames.map_or(Ok(()), |frames| check_length(rate, frames, limits))
}

fn check_length(rate: u32, frames: u64, limits: &Limits) -> Result<(), DecodeError> {
    let seconds = frames as f64 / f64::from(rate.max(1));
    if seconds > limits.seconds {
        return Err(DecodeError::TooLong { seconds: Seconds(seconds), limit: Seconds(limits.seconds) });
    }
    // Two channels of four bytes, at the lowest rate or above.
    let raised = f64::from(LOWEST_RATE.max(rate)) / f64::from(rate.max(1));
    let bytes = (frames as f64 * 8.0 * raised) as u64;
    if bytes > limits.memory {
        return Err(DecodeError::NeedsMemory { bytes, limit: limits.memory });
    }
    Ok(())
}

/// Refuses audio that is empty, silent or not made of numbers.
fn inspect(audio: &Audio) -> Result<(), DecodeError> {
    if audio.frames() == 0 {
        return Err(DecodeError::Empty);
    }
    // The bits of |x| order like |x| itself, infinities and NaNs above everything.
    let peak_bits = audio.channels.iter().map(|c| c.par_chunks(PIECE).map(peak_bits).max().unwrap_or(0)).max();
    let peak_bits = peak_bits.unwrap_or(0);
    let rate = f64::from(audio.rate);
    if peak_bits >= f32::INFINITY.to_bits() {
        let first = |c: &Samples| c.iter().position(|x| !x.is_finite());
        let positions = audio.channels.iter().enumerate().filter_map(|(channel, c)| first(c).map(|at| (at, channel)));
        let (frame, channel) = positions.min().unwrap_or_default();
        return Err(DecodeError::NonFinite { frame, at: Seconds(frame as f64 / rate), channel });
    }
    let peak = f32::from_bits(peak_bits);
    if peak <= SILENCE {
        return Err(DecodeError::Silent {
            peak: Db::from_amplitude(f64::from(peak)),
            seconds: Seconds(audio.frames() as f64 / rate),
        });
    }
    Ok(())
}

#[multiversion::multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.2"))]
fn peak_bits(samples: &[f32]) -> u32 {
    samples.iter().fold(0, |peak, x| peak.max(x.to_bits() & 0x7fff_ffff))
}
