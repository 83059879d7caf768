//! May this upload begin? Judged by what the browser declares, so that a visitor hears a certain "no" before a long upload and not
//! after it. Whatever is not certain is admitted: `decode` looks at the bytes themselves and has the last word, with the same codes.

use crate::settings::Limits;

/// What a browser says of a file it wants to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared<'a> {
    /// File name, perhaps with a path.
    pub name: &'a str,
    /// Size in bytes.
    pub bytes: u64,
    /// Media type; empty where the browser has none.
    pub media_type: &'a str,
}

/// An upload that may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The file name as a person knows it: no path, nothing invisible, at most [`LONGEST_NAME`] characters. To be shown, never to be
    /// opened: storage keys come from ids.
    pub name: String,
    /// Size in bytes; more than this must not be stored.
    pub bytes: u64,
}

/// Longest name that is shown, in characters: the limit of most file systems is 255 bytes, and `(master).wav` has to fit behind it.
pub const LONGEST_NAME: usize = 200;

/// Endings of the containers `decode` reads.
pub const AUDIO_ENDINGS: [&str; 25] = [
    "aac", "aif", "aifc", "aiff", "alac", "bw64", "bwf", "caf", "flac", "m4a", "m4b", "m4r", "mka", "mkv", "mov",
    "mp2", "mp3", "mp4", "oga", "ogg", "opus", "rf64", "wav", "wave", "webm",
];

/// Why an upload must not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing in it.
    #[error("“{name}” has 0 bytes; export it again")]
    Empty {
        /// The file.
        name: String,
    },
    /// More bytes than [`Limits::bytes`].
    #[error("“{name}” has {bytes} bytes and the limit is {limit}; export FLAC, or fewer bits per sample")]
    TooLarge {
        /// The file.
        name: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// More audio than [`Limits::memory`], whatever is in it.
    #[error(
        "“{name}” has {bytes} bytes, at least {decoded} decoded, and there is room for {limit}; lower the sample rate, export fewer bits \
         per sample, or split it"
    )]
    NeedsMemory {
        /// The file.
        name: String,
        /// Its size.
        bytes: u64,
        /// Least size of its audio, decoded.
        decoded: u64,
        /// The limit.
        limit: u64,
    },
    /// Certainly something else than audio.
    #[error("“{name}” is {media_type}, not audio; choose a WAV, AIFF, FLAC, MP3, M4A or OGG file")]
    NotAudio {
        /// The file.
        name: String,
        /// What the browser says it is.
        media_type: String,
    },
}

impl Refusal {
    /// The code `decode` would have given after the upload.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "decode.empty",
            Self::TooLarge { .. } => "decode.too_large",
            Self::NeedsMemory { .. } => "decode.needs_memory",
            Self::NotAudio { .. } => "decode.not_audio",
        }
    }
}

/// Judges one declared upload.
pub fn admit(declared: Declared<'_>, limits: &Limits) -> Result<Admitted, Refusal> {
    let name = shown_name(declared.name);
    if declared.bytes == 0 {
        return Err(Refusal::Empty { name });
    }
    if declared.bytes > limits.bytes {
        return Err(Refusal::TooLarge { name, bytes: declared.bytes, limit: limits.bytes });
    }
    // No file we read has more than 16 bytes for the 8 of a decoded frame: PCM as doubles. Pictures and tags are no audio.
    let decoded = declared.bytes.saturating_sub(limits.metadata) / 2;
    if decoded > limits.memory {
        return Err(Refusal::NeedsMemory { name, bytes: declared.bytes, decoded, limit: limits.memory });
    }
    let media_type = essence(declared.media_type);
    if says_otherwise(&media_type) && !has_audio_ending(&name) {
        return Err(Refusal::NotAudio { name, media_type });
    }
    Ok(Admitted { name, bytes: declared.bytes })
}

/// `Audio/WAV; codecs=1` → `audio/wav`, cut to a length that can be shown.
fn essence(media_type: &str) -> String {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.chars().filter(char::is_ascii_graphic).take(100).collect::<String>().to_ascii_lowercase()
}

/// Whether a media type rules audio out. Video is let through: M4A and Matroska are often declared so.
fn says_otherwise(essence: &str) -> bool {
    let (kind, sub) = essence.split_once('/').unwrap_or((essence, ""));
    match kind {
        "" | "audio" | "video" => false,
        "application" => !matches!(sub, "octet-stream" | "ogg" | "mp4" | "x-flac" | "x-matroska" | "flac"),
        _ => true,
    }
}

fn has_audio_ending(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, ending)| AUDIO_ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending)))
}

/// A name that may be shown, never opened: the last component of either kind of path, as [`shown_text`].
#[must_use]
pub fn shown_name(name: &str) -> String {
    shown_text(name.rsplit(['/', '\\']).next().unwrap_or_default())
}

/// What somebody typed, as it may be shown: without control characters, and without the marks that reverse or hide text
/// (`song\u{202e}vaw.exe`); at most [`LONGEST_NAME`] characters.
#[must_use]
pub fn shown_text(text: &str) -> String {
    let visible = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let clean: String = text.chars().filter(visible).collect();
    let clean = clean.trim();
    if clean.is_empty() || clean.chars().all(|c| c == '.') {
        return "untitled".to_owned();
    }
    shorten(clean)
}

/// Keeps the ending, which tells what the file is.
fn shorten(name: &str) -> String {
    let length = name.chars().count();
    if length <= LONGEST_NAME {
        return name.to_owned();
    }
    let ending = name.rsplit_once('.').map(|(_, ending)| ending).filter(|ending| ending.chars().count() <= 8);
    let tail = ending.map_or(String::new(), |ending| format!(".{ending}"));
    let keep = LONGEST_NAME - 1 - tail.chars().count();
    format!("{}…{tail}", name.chars().take(keep).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judge(name: &str, bytes: u64, media_type: &str) -> Result<Admitted, Refusal> {
        admit(Declared { name, bytes, media_type }, &Limits::default())
    }

    #[test]
    fn what_musicians_send_is_admitted() {
        for (name, media_type) in [
            ("song.wav", "audio/wav"),
            ("song.WAV", "audio/x-wav; codecs=1"),
            ("song.flac", ""),
            ("bounce.m4a", "video/mp4"),
            ("song.ogg", "application/ogg"),
            ("take 3 (final).v2", ""),
            ("no ending", "application/octet-stream"),
            // Systems that do not know an ending call it text; the ending knows better.
            ("song.caf", "text/plain"),
        ] {
            assert_eq!(judge(name, 1_000, media_type).map(|a| a.name), Ok(name.to_owned()), "{media_type}");
        }
    }

    #[test]
    fn what_cannot_be_music_is_refused_with_decodes_codes_and_advice() {
        let refused = |name, bytes, media_type| judge(name, bytes, media_type).unwrap_err();
        let pdf = refused("invoice.pdf", 9, "application/pdf");
        assert_eq!(pdf.code(), "decode.not_audio");
        assert_eq!(
            pdf.to_string(),
            "“invoice.pdf” is application/pdf, not audio; choose a WAV, AIFF, FLAC, MP3, M4A or OGG file"
        );
        assert_eq!(refused("cover.jpg", 9, "image/jpeg").code(), "decode.not_audio");
        assert_eq!(refused("song.wav", 0, "audio/wav").code(), "decode.empty");
        let large = refused("song.wav", (4 << 30) + 1, "audio/wav");
        assert_eq!(large.code(), "decode.too_large");
        assert!(large.to_string().contains("4294967297") && large.to_string().contains("4294967296"));
        assert!(judge("song.wav", 4 << 30, "audio/wav").is_ok(), "the limit itself is allowed");
        // A small machine: twice its room and the pictures may well be a file of doubles.
        let small = Limits { memory: 100 << 20, ..Limits::default() };
        let of = |bytes| admit(Declared { name: "song.wav", bytes, media_type: "" }, &small);
        assert!(of((200 << 20) + small.metadata).is_ok());
        let large = of((200 << 20) + small.metadata + 2).unwrap_err();
        assert_eq!(large.code(), "decode.needs_memory");
        assert!(large.to_string().contains("104857600; lower the sample rate"), "{large}");
    }

    #[test]
    fn names_are_shown_without_paths_and_tricks() {
        assert_eq!(shown_name("C:\\fakepath\\song.wav"), "song.wav");
        assert_eq!(shown_name("../../etc/passwd"), "passwd");
        assert_eq!(shown_name("song\u{202e}vaw.exe"), "songvaw.exe");
        assert_eq!(shown_name("a\r\nSet-Cookie: b.wav"), "aSet-Cookie: b.wav");
        for nothing in ["", "..", "/", " \u{200b} "] {
            assert_eq!(shown_name(nothing), "untitled");
        }
        assert_eq!(shown_name("夜のドライブ.flac"), "夜のドライブ.flac");
        let long = shown_name(&format!("{}.wav", "ü".repeat(400)));
        assert!(long.chars().count() == LONGEST_NAME && long.ends_with("….wav"), "{long}");
    }

    proptest! {
        #[test]
        fn any_declaration_gets_a_short_clean_answer(name in ".{0,400}", bytes: u64, media_type in ".{0,200}") {
            let shown = match judge(&name, bytes, &media_type) {
                Ok(admitted) => admitted.name,
                Err(
                    Refusal::Empty { name }
                    | Refusal::TooLarge { name, .. }
                    | Refusal::NeedsMemory { name, .. }
                    | Refusal::NotAudio { name, .. },
                ) => name,
            };
            prop_assert!((1..=LONGEST_NAME).contains(&shown.chars().count()));
            prop_assert!(!shown.contains(['/', '\\']) && !shown.chars().any(char::is_control));
        }
    }
}
