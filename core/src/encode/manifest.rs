//! Names of the delivered files, and the list that travels with them.

use super::ENCODER;
use crate::settings::{Codec, Format};
use crate::units::{Dbtp, Lufs};
use serde::{Deserialize, Serialize};

/// What was delivered: `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this structure.
    pub version: u32,
    /// Name and version of the engine.
    pub engine: String,
    /// The files.
    pub files: Vec<Delivered>,
}

/// One delivered file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivered {
    /// Name of the file, relative to the manifest.
    pub name: String,
    /// Container and coding.
    pub format: Format,
    /// Frames per second.
    pub rate: u32,
    /// Word length; `None` for float and lossy files.
    pub bits: Option<u32>,
    /// Frames of music.
    pub frames: u64,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Integrated loudness, read from the decoded file.
    pub lufs: Option<Lufs>,
    /// True peak, read from the decoded file.
    pub dbtp: Dbtp,
}

impl Manifest {
    /// A manifest of these files, in this order.
    #[must_use]
    pub fn new(files: Vec<Delivered>) -> Self {
        Self { version: 1, engine: ENCODER.to_owned(), files }
    }

    /// The manifest as indented JSON with a newline at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists only: nothing that JSON cannot say. A level of −∞ dBTP becomes null.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// Longest name of a song in bytes: leaves room for what is added within the 255 that file systems allow.
const STEM: usize = 180;

/// The name of a delivered file, e.g. `Night Drive (master) 24-bit 44.1 kHz.wav`, for a song called `stem`.
///
/// It says what tells the formats of one song apart, so that no two of them share a name, and is valid on Windows, macOS and
/// Linux. `clean` marks the variant without tags.
#[must_use]
pub fn file_name(stem: &str, format: Format, rate: u32, clean: bool) -> String {
    let what = match format.codec {
        Codec::Wav16 | Codec::Flac16 => "16-bit",
        Codec::Wav24 | Codec::Flac24 => "24-bit",
        Codec::Wav32f => "32-bit float",
        Codec::Mp3Cbr320 => "320 kbps",
        Codec::Mp3V0 => "V0",
        Codec::Opus => "160 kbps",
    };
    let variant = if clean { "master, no tags" } else { "master" };
    let khz = f64::from(rate) / 1000.0;
    format!("{} ({variant}) {what} {khz} kHz.{}", portable(stem), format.codec.extension())
}

/// Whether a file is called as [`file_name`] and the previews are: a folder is searched for mixes, not for what was made of them.
#[must_use]
pub fn is_delivery(name: &str) -> bool {
    let Some((_, rest)) = name.rsplit_once(" (") else { return false };
    let ours = rest.starts_with("master) ") || rest.starts_with("master, no tags) ");
    (ours && rest.contains(" kHz.")) || rest == "preview).opus" || rest == "preview of the mix).opus"
}

/// The beginning of a file name that every system accepts.
#[must_use]
pub fn portable(stem: &str) -> String {
    let replaced: String =
        stem.chars()
            .map(|c| {
                if c.is_control() || matches!(c, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*') {
                    '-'
                } else {
                    c
                }
            })
            .collect();
    // A leading dot hides a file, and Windows drops trailing dots and spaces.
    let mut name = replaced.trim_matches([' ', '.']);
    if name.len() > STEM {
        let end = (0..=STEM).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
        name = name[..end].trim_end_matches([' ', '.']);
    }
    if name.is_empty() {
        return "Untitled".to_owned();
    }
    // Device names of Windows, also with anything after a dot.
    let device = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |prefix: &str| {
        device.strip_prefix(prefix).is_some_and(|n| n.len() == 1 && n.bytes().all(|b| (b'1'..=b'9').contains(&b)))
    };
    if matches!(device.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT") {
        format!("_{name}")
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_what_a_person_would_write() {
        let name = |stem: &str, format: &str, rate, clean| file_name(stem, format.parse().unwrap(), rate, clean);
        assert_eq!(name("Night Drive", "wav24", 44_100, false), "Night Drive (master) 24-bit 44.1 kHz.wav");
        assert_eq!(name("Night Drive", "mp3-320", 48_000, true), "Night Drive (master, no tags) 320 kbps 48 kHz.mp3");
        assert_eq!(name("a/b: \"c\"?", "flac16", 88_200, false), "a-b- -c-- (master) 16-bit 88.2 kHz.flac");
        assert_eq!(name("..hidden. ", "wav32f", 96_000, false), "hidden (master) 32-bit float 96 kHz.wav");
        assert!(name("con", "wav16", 44_100, false).starts_with("_con (master) "));
        assert_eq!((portable("Lpt1.mix"), portable("Concert")), ("_Lpt1.mix".to_owned(), "Concert".to_owned()));
        assert_eq!((portable(" . "), portable("Ü\u{7}")), ("Untitled".to_owned(), "Ü-".to_owned()));
        assert!(name(&"ü".repeat(300), "wav32f", 192_000, true).len() <= 240);
    }

    #[test]
    fn formats_of_a_song_never_share_a_name() {
        let mut names = HashSet::new();
        for (_, codec) in Codec::ALL {
            for rate in [44_100, 48_000, 88_200, 96_000, 176_400, 192_000] {
                for clean in [false, true] {
                    assert!(names.insert(file_name("x", Format { codec, rate: None }, rate, clean).to_lowercase()));
                }
            }
        }
    }

    #[test]
    fn the_manifest_reads_back() {
        let file = Delivered {
            name: "x.wav".to_owned(),
            format: Format::WAV24,
            rate: 44_100,
            bits: Some(24),
            frames: 10,
            bytes: 128,
            sha256: "0".repeat(64),
            lufs: None,
            dbtp: Dbtp(-1.0),
        };
        let manifest = Manifest::new(vec![file]);
        assert_eq!(serde_json::from_str::<Manifest>(&manifest.to_json()).unwrap(), manifest);
    }
}
