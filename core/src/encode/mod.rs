//! [`Audio`] → file bytes: WAV, FLAC, MP3, Opus; dither once, tags by a library, SHA-256 of everything.
//!
//! A file is written in one pass over the master, in segments that rayon prepares while the previous ones are hashed and
//! written; nothing here holds a second copy of the track. Equal input gives equal bytes for any number of threads: segments have
//! a fixed length and the dither is a function of the frame's index, not of the order of work.

mod dither;
mod flac;
pub mod manifest;
mod mp3;
mod opus;

pub mod peaks;
mod tags;
mod wav;

use crate::Audio;
use crate::analyse::LoudnessFigures;
use crate::decode::Tags;
use crate::settings::Codec;
use crate::units::{Dbtp, Seconds};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::io::{self, Read, Seek, SeekFrom, Write};

pub use manifest::{Delivered, Manifest, file_name, is_delivery, portable};

/// What a delivered file says about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// The tags of the mix.
    pub tags: Tags,
    /// Loudness of the master, for `bext`, ReplayGain and R128 tags.
    pub loudness: LoudnessFigures,
    /// True peak of the master, for the same.
    pub true_peak: Option<Dbtp>,
    /// Seed of the dither and of the file's reference number: the same seed gives the same bytes.
    pub seed: u64,
    /// No tags at all, as some distributors want it.
    pub clean: bool,
    /// Name and version of the encoder, e.g. `LoopMastering 0.1.0`; empty: [`ENCODER`].
    pub encoder: String,
    /// What was cut off before the first sample, for the time reference of `bext`.
    pub trim_start: Seconds,
    /// `yyyy-mm-dd` and `hh:mm:ss` for `bext`; `None` leaves them empty, so that the bytes do not depend on the clock.
    pub origination: Option<(String, String)>,
}

impl Metadata {
    fn encoder(&self) -> &str {
        if self.encoder.is_empty() { ENCODER } else { &self.encoder }
    }
}

/// How the files name their maker unless told otherwise.
pub const ENCODER: &str = concat!("LoopMastering ", env!("CARGO_PKG_VERSION"));

/// A written file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Samples beyond full scale that an integer format had to clamp.
    pub clamped: u64,
    /// Whether the word length was reduced, and the samples dithered.
    pub dithered: bool,
}

/// Where a file is written: an empty file opened for reading and writing, or a `Cursor<Vec<u8>>`.
pub trait Output: Read + Write + Seek + Send {}
impl<T: Read + Write + Seek + Send> Output for T {}

/// Writes `audio` as `codec` into the empty `out`, from its start.
///
/// MP3 wants 32, 44.1 or 48 kHz and Opus 48 kHz: [`Format::rate_for`](crate::settings::Format::rate_for) says which rate to render.
/// An error leaves `out` half written; the caller removes it.
pub fn encode<W: Output>(audio: &Audio, codec: Codec, meta: &Metadata, out: &mut W) -> Result<Encoded, EncodeError> {
    if audio.frames() == 0 {
        return Err(EncodeError::Empty);
    }
    out.rewind()?;
    match codec {
        Codec::Wav16 | Codec::Wav24 | Codec::Wav32f => wav::encode(audio, codec, meta, out),
        Codec::Flac16 | Codec::Flac24 => flac::encode(audio, codec, meta, out),

        Codec::Mp3Cbr320 | Codec::Mp3V0 => mp3::encode(audio, codec, meta, out),
        Codec::Opus => opus::encode(audio, meta, out),
    }
}

/// Frames per segment: 16 FLAC blocks, 0.4 MB of 24-bit stereo, small enough for the cache of a core.
const SEGMENT: usize = 16 * flac::BLOCK;

/// Segments prepared together while their predecessors are written. Fixed: memory does not grow with the number of cores.
const BATCH: usize = 16;

/// The frames of segment `index`.
fn segment(audio: &Audio, index: usize) -> std::ops::Range<usize> {
    let start = index * SEGMENT;
    start..(start + SEGMENT).min(audio.frames())
}

/// `produce(0..segments)` on all cores, `consume` in order on one, both at once.
fn pipeline<T: Send>(
    audio: &Audio,
    produce: impl Fn(usize) -> Result<T, EncodeError> + Sync,
    mut consume: impl FnMut(T) -> Result<(), EncodeError> + Send,
) -> Result<(), EncodeError> {
    let segments = audio.frames().div_ceil(SEGMENT);
    let batch = |first: usize| -> Vec<Result<T, EncodeError>> {
        (first..(first + BATCH).min(segments)).into_par_iter().map(&produce).collect()
    };
    let mut ready = batch(0);
    let mut next = BATCH;
    while !ready.is_empty() {
        let (done, upcoming) =
            rayon::join(|| ready.into_iter().try_for_each(|item| consume(item?)), || batch(next.min(segments)));
        done?;
        ready = upcoming;
        next += BATCH;
    }
    Ok(())
}

/// Counts and hashes what passes through.
struct Hashing<'a, W> {
    out: &'a mut W,
    hash: Sha256,
    bytes: u64,
}

impl<'a, W: Write> Hashing<'a, W> {
    fn new(out: &'a mut W) -> Self {
        Self { out, hash: Sha256::new(), bytes: 0 }
    }

    fn finish(self) -> io::Result<(u64, String)> {
        self.out.flush()?;
        Ok((self.bytes, hex(&self.hash.finalize())))
    }
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.out.write(data)?;
        self.hash.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Length and SHA-256 of a file whose head was written last.
fn hash_back<W: Output>(out: &mut W) -> io::Result<(u64, String)> {
    out.flush()?;
    out.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        match out.read(&mut buffer)? {
            0 => return Ok((bytes, hex(&hash.finalize()))),
            n => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The disk said no.
    #[error("cannot write: {0}; check the free space and the permissions of the output folder")]
    Write(#[from] io::Error),
    /// The format has no such sample rate.
    #[error("{codec} files cannot have {rate} Hz; use {expected}")]
    Rate {
        /// The format.
        codec: &'static str,
        /// The rate of the audio.
        rate: u32,
        /// What would be right.
        expected: &'static str,
    },
    /// There is nothing to write.
    #[error("there are no samples to write; check the trims")]
    Empty,
    /// The codec's library refused, which is a fault of ours.
    #[error("the {codec} encoder failed ({detail}); please report this file, and use another format meanwhile")]
    Codec {
        /// The format.
        codec: &'static str,
        /// What its library said.
        detail: String,
    },
    /// The tags cannot be written.
    #[error("the tags cannot be written ({0}); use the variant without tags")]
    Tags(String),
}

impl EncodeError {
    /// `encode.what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Write(e) if e.kind() == io::ErrorKind::StorageFull => "encode.disk_full",
            Self::Write(_) => "encode.write",
            Self::Rate { .. } => "encode.rate",
            Self::Empty => "encode.empty",
            Self::Codec { .. } => "encode.codec",
            Self::Tags(_) => "encode.tags",
        }
    }
}
