use crate::units::{Db, Seconds};
use std::io;

/// Why a file is not a track. The text says what is wrong, with the values, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No known audio container was found; holds what it looks like instead.
    #[error("this is not an audio file we can read ({0}); export WAV, AIFF, FLAC, MP3, M4A or OGG")]
    NotAudio(String),
    /// Audio, but in a form that is not decoded here; holds its name.
    #[error("{0} is not supported; export WAV, AIFF, FLAC, MP3, AAC in M4A, or OGG")]
    UnsupportedCodec(String),
    /// The audio ends before the file says it does.
    #[error(
        "the file is cut off: only {} of {} are there; upload it again, or export it again if the original is cut too",
        .have.clock(), .want.clock()
    )]
    Truncated {
        /// Audio that is there.
        have: Seconds,
        /// Audio the header promises.
        want: Seconds,
    },
    /// The bytes break the rules of their format.
    #[error("the file is damaged at {}: {what}; export it again", .at.clock())]
    Corrupt {
        /// Where in the audio; 0 for the header.
        at: Seconds,
        /// What is wrong there.
        what: String,
    },
    /// A container without a single frame.
    #[error("the file holds no audio (0 samples); check the export range")]
    Empty,
    /// Nothing above [`SILENCE`](super::SILENCE).
    #[error("the file is silent: nothing in its {} is louder than {}; check the export and the master bus", .seconds.clock(), level(*.peak))]
    Silent {
        /// Sample peak; `-inf` dB if every sample is zero.
        peak: Db,
        /// Length of the silence.
        seconds: Seconds,
    },
    /// Longer than [`Limits::seconds`](crate::settings::Limits).
    #[error("the track is {} long and the limit is {}; split it", .seconds.clock(), .limit.clock())]
    TooLong {
        /// Its length, as far as it is known.
        seconds: Seconds,
        /// The limit.
        limit: Seconds,
    },
    /// More audio than [`Limits::memory`](crate::settings::Limits).
    #[error(
        "decoded, the track takes at least {bytes} bytes and {limit} may be used; lower the sample rate, or split it"
    )]
    NeedsMemory {
        /// What it takes, as far as it is known.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// More bytes than [`Limits::bytes`](crate::settings::Limits).
    #[error("the file has {bytes} bytes and the limit is {limit}; export FLAC, or fewer bits per sample")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Surround.
    #[error("the file has {channels} channels and we master up to {limit}; export a stereo mix")]
    TooManyChannels {
        /// Channels in the file.
        channels: u64,
        /// The limit.
        limit: u16,
    },
    /// A sample rate outside [`Limits::rate`](crate::settings::Limits).
    #[error("the sample rate is {rate} Hz and we read {} to {} Hz; export at 44.1, 48 or 96 kHz", .limit.0, .limit.1)]
    BadRate {
        /// Its rate.
        rate: u32,
        /// Lowest and highest rate.
        limit: (u32, u32),
    },
    /// Infinities or NaNs among the samples.
    #[error(
        "sample {frame} ({}) of the {} channel is not a number; a plug-in of the mix misbehaves there, export again without it",
        .at.clock(), if *.channel == 0 { "left" } else { "right" }
    )]
    NonFinite {
        /// First such frame, counted from 0 at the rate of the file.
        frame: usize,
        /// The same as time.
        at: Seconds,
        /// 0 left, 1 right.
        channel: usize,
    },
    /// Tags and pictures above [`Limits::metadata`](crate::settings::Limits).
    #[error("tags and pictures take {bytes} bytes and the limit is {limit}; embed a smaller cover")]
    MetadataTooLarge {
        /// Bytes read before giving up.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// What was decoded has no room: the machine's fault, not the file's.
    #[error("there is no room for the decoded audio ({0}); make room on that disk, or allow more memory")]
    Room(#[source] io::Error),
    /// The file cannot be read.
    #[error("cannot read the file: {0}; check that it exists, is a file and may be read")]
    Read(#[from] io::Error),
}

/// A peak as people read it.
fn level(peak: Db) -> String {
    if peak.0.is_finite() { format!("{peak}FS") } else { "digital zero".into() }
}

impl DecodeError {
    /// `decode.what`; never changes once published.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAudio(_) => "decode.not_audio",
            Self::UnsupportedCodec(_) => "decode.unsupported_codec",
            Self::Truncated { .. } => "decode.truncated",
            Self::Corrupt { .. } => "decode.corrupt",
            Self::Empty => "decode.empty",
            Self::Silent { .. } => "decode.silent",
            Self::TooLong { .. } => "decode.too_long",
            Self::NeedsMemory { .. } => "decode.needs_memory",
            Self::TooLarge { .. } => "decode.too_large",
            Self::TooManyChannels { .. } => "decode.too_many_channels",
            Self::BadRate { .. } => "decode.bad_rate",
            Self::NonFinite { .. } => "decode.non_finite",
            Self::MetadataTooLarge { .. } => "decode.metadata_too_large",
            Self::Room(_) => "decode.room",
            Self::Read(_) => "decode.read",
        }
    }
}
