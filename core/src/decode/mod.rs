//! File bytes → [`Track`]: planar `f32` at 44.1–192 kHz, always stereo, with the tags and the facts of the source.

mod adts;
mod aiff;
mod chunks;
mod container;
mod decoder;
mod error;
mod flac;
mod flac_file;
mod layer3;
mod loss;
mod media;
mod mkv;
mod mp4;
mod mpeg;
mod ogg;
mod pcm;
mod quirks;
mod sink;
mod sniff;
mod tags;
mod trimmed;
mod wav;

pub use error::DecodeError;
pub use loss::Loss;
pub use media::Input;
pub use sink::{Gather, Sink};

use crate::{
    Audio, Samples,
    samples::Pool,
    settings::{Limits, TagWishes, isrc},
    units::{Db, Seconds},
};
use chunks::corrupt;
use media::Media;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Cursor, Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{atomic::Ordering::Relaxed, mpsc},
    thread,
    time::Duration,
};

/// The path that means standard input.
pub const STANDARD_INPUT: &str = "-";

/// A decoded file.
#[derive(Clone, Debug)]
pub struct Track {
    /// The samples. Rates under 44.1 kHz were raised, those over 192 kHz lowered, mono became two identical channels.
    pub audio: Audio,
    /// What the file was.
    pub source: Source,
    /// What the file said about itself; travels into every delivered file.
    pub tags: Tags,
}

impl Track {
    /// A copy, where there is room for its samples.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        let Self { audio, source, tags } = self;
        Ok(Self { audio: audio.try_clone()?, source: source.clone(), tags: tags.clone() })
    }
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
    /// What of it could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
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
    /// Description of a broadcast chunk: scene, take, what the location recorder was told.
    pub description: Option<String>,
    /// Where on the clock of the recording the first sample stands: frames since midnight, at which rate.
    pub time_reference: Option<(u64, u32)>,
    /// Further tags under the name that Vorbis comments give them: `lyrics`, `bpm`, `barcode`, `catalognumber`, `musicbrainz_trackid` and
    /// its kin.
    pub more: BTreeMap<String, String>,
    /// Front cover.
    #[serde(skip)]
    pub cover: Option<Picture>,
}

impl Tags {
    /// With what was wished in the place of what the mix says.
    #[must_use]
    pub fn with(mut self, wishes: &TagWishes) -> Self {
        let slots = [
            &mut self.title,
            &mut self.artist,
            &mut self.album,
            &mut self.album_artist,
            &mut self.date,
            &mut self.genre,
            &mut self.composer,
            &mut self.copyright,
            &mut self.publisher,
            &mut self.isrc,
            &mut self.comment,
        ];
        for (slot, (name, wish)) in slots.into_iter().zip(wishes.texts()) {
            let Some(wish) = wish.as_deref().map(str::trim) else { continue };
            let text = if name == "isrc" { isrc(wish) } else { Some(wish.to_owned()) };
            *slot = text.filter(|text| !text.is_empty());
        }
        let numbered = |own: Option<(u32, Option<u32>)>, number: Option<u32>, of: Option<u32>| {
            let number = number.or(own.map(|(number, _)| number))?;
            Some((number, of.or(own.and_then(|(_, of)| of))))
        };
        self.track = numbered(self.track, wishes.track, wishes.tracks);
        self.disc = numbered(self.disc, wishes.disc, wishes.discs);
        self
    }
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
/// Highest rate at which the engine works; faster files are lowered.
const HIGHEST_RATE: u32 = 192_000;
/// Frames per piece of the parallel scan.
const PIECE: usize = 1 << 16;

/// How long a pipe may keep silent before it counts as one that nobody writes to.
const PIPE_PATIENCE: Duration = Duration::from_secs(30);

/// Decodes the file at `path` into memory; `-` is standard input. Its extension is a hint for the probe and never believed. What cannot
/// seek is read to its end first.
pub fn decode_file(path: &Path, limits: &Limits) -> Result<Track, DecodeError> {
    decode_file_in(path, limits, &Pool::default())
}

/// Decodes the file at `path` into a pool.
pub fn decode_file_in(path: &Path, limits: &Limits, pool: &Pool) -> Result<Track, DecodeError> {
    let extension = path.extension().and_then(|e| e.to_str());
    let mut sink = Gather::new(pool);
    let piped = if path.as_os_str() == STANDARD_INPUT {
        Some(drain(std::io::stdin, limits)?)
    } else {
        let kind = std::fs::metadata(path)?;
        if kind.is_dir() {
            return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory).into());
        }
        let path = path.to_owned();
        if kind.is_file() { None } else { Some(drain(move || Opened(File::open(&path)), limits)?) }
    };
    let (source, tags) = match piped {
        Some(bytes) => decode_into(Cursor::new(bytes), extension, limits, &mut sink)?,
        None => decode_into(File::open(path)?, extension, limits, &mut sink)?,
    };
    sink.track(source, tags)
}

/// A file that is opened where waiting for it harms nobody.
struct Opened(std::io::Result<File>);

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.0 {
            Ok(file) => file.read(buffer),
            Err(e) => Err(std::mem::replace(e, std::io::ErrorKind::Other.into())),
        }
    }
}

/// Everything that comes through a pipe. Opening and reading may block for ever where nobody writes, so a thread of its own does it.
fn drain<R: Read>(open: impl FnOnce() -> R + Send + 'static, limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let (sender, receiver) = mpsc::sync_channel::<std::io::Result<Vec<u8>>>(4);
    thread::spawn(move || {
        let mut input = open();
        loop {
            let mut piece = Vec::new();
            let read = (&mut input).take(1 << 20).read_to_end(&mut piece);
            let last = !matches!(read, Ok(count) if count > 0);
            if sender.send(read.map(|_| piece)).is_err() || last {
                return;
            }
        }
    });
    let mut bytes = Vec::new();
    loop {
        match receiver.recv_timeout(PIPE_PATIENCE) {
            Ok(Ok(piece)) if piece.is_empty() => return Ok(bytes),
            Ok(piece) => bytes.append(&mut piece?),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(bytes),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let what = format!("nothing came through this pipe for {} s", PIPE_PATIENCE.as_secs());
                return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, what).into());
            }
        }
        if bytes.len() as u64 > limits.bytes {
            return Err(DecodeError::TooLarge { bytes: bytes.len() as u64, limit: limits.bytes });
        }
    }
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
    let media = Media::new(input)?;
    let meter = media.meter();
    // The decoders are not ours, and a panic in one of them must cost no more than this track.
    let read = catch_unwind(AssertUnwindSafe(|| read(media, extension, limits, sink)))
        .unwrap_or_else(|_| Err(corrupt("its decoder gave up on it")));
    read.map_err(|error| match error {
        // The system has read all it was asked for: it is the file that asks for what cannot be.
        DecodeError::Read(error) if !meter.failed.load(Relaxed) => corrupt(error.to_string()),
        error => error,
    })
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
        sniff::Kind::Wav => {
            wav::read(&mut media, limits)?.map(|wav::Header { pcm, tags, losses }| ("wav", pcm, tags, losses))
        }
        sniff::Kind::Aiff => {
            aiff::read(&mut media, limits)?.map(|(pcm, tags)| ("aiff", pcm, tags, loss::Losses::default()))
        }
        sniff::Kind::Container(_) | sniff::Kind::Unknown => None,
    };
    if let Some((container, pcm, tags, losses)) = header {
        let mut source = pcm.read(&mut media, container, limits, sink)?;
        source.losses = losses.bearable(Seconds(source.frames as f64 / f64::from(source.rate.max(1))))?;
        return Ok((source, tags));
    }
    let behind = mpeg::behind_id3(&mut media)?;
    let is_flac = chunks::peek(&mut media, behind, 4)? == b"fLaC";
    let read = match kind {
        sniff::Kind::Container("MP3") | sniff::Kind::Unknown if !is_flac => {
            mpeg::read(&mut media, behind, limits, sink)?
        }
        sniff::Kind::Container("Ogg") => ogg::read(&mut media, limits, sink)?,
        _ => None,
    };
    if let Some(read) = read {
        return Ok(read);
    }
    let missing = if kind == sniff::Kind::Unknown { adts::losses(&mut media, behind)? } else { None };
    media.seek(SeekFrom::Start(0))?;
    container::read(media, &kind, extension, limits, missing.unwrap_or_default(), sink)
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
