//! Recognises files by their first bytes, so that a refusal can say what the file is.

/// What the first bytes of a file say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// RIFF, RF64 or BW64 with the form `WAVE`.
    Wav,
    /// FORM with the form `AIFF` or `AIFC`.
    Aiff,
    /// A container for symphonia: its name.
    Container(&'static str),
    /// Certainly not audio: what it is.
    NotAudio(&'static str),
    /// Audio in a container or codec that nobody here decodes: its name.
    Unsupported(&'static str),
    /// Nothing known; MP3 and AAC may begin anyhow.
    Unknown,
}

const NOT_AUDIO: &[(&[u8], &str)] = &[
    (b"%PDF", "this is a PDF"),
    (b"PK\x03\x04", "this is a ZIP archive or an office document; unpack it first"),
    (b"PK\x05\x06", "this is an empty ZIP archive"),
    (b"Rar!", "this is a RAR archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "this is a 7-Zip archive; unpack it first"),
    (b"\x1f\x8b", "this is a gzip archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "this is a Zstandard archive; unpack it first"),
    (b"\x89PNG", "this is a PNG picture"),
    (b"\xff\xd8\xff", "this is a JPEG picture"),
    (b"GIF8", "this is a GIF picture"),
    (b"II*\0", "this is a TIFF picture"),
    (b"MThd", "this is a MIDI file: notes, not sound"),
    (b"{\\rtf", "this is a text document"),
    (b"<?xml", "this is an XML document"),
    (b"\x7fELF", "this is a program"),
    (b"MZ", "this is a program"),
    (b"SQLite format 3", "this is a database"),
    (b"FLhd", "this is an FL Studio project; export the audio"),
];

const CONTAINERS: &[(&[u8], &str)] =
    &[(b"fLaC", "FLAC"), (b"OggS", "Ogg"), (b"caff", "CAF"), (b"\x1a\x45\xdf\xa3", "Matroska"), (b"ID3", "MP3")];

const UNSUPPORTED: &[(&[u8], &str)] = &[
    (b"wvpk", "WavPack"),
    (b"MAC ", "Monkey's Audio"),
    (b"\x30\x26\xb2\x75", "Windows Media Audio"),
    (b"#!AMR", "AMR"),
    (b"DSD ", "DSD"),
    (b"FRM8", "DSD"),
    (b"MPCK", "Musepack"),
    (b"MP+", "Musepack"),
    (b"TTA1", "True Audio"),
    (b"OFR ", "OptimFROG"),
    (b".snd", "Sun AU"),
    (b"riff\x2e\x91\xcf\x11", "Sony Wave64"),
];

/// Looks at the first bytes of a file (a few hundred suffice).
pub(super) fn sniff(head: &[u8]) -> Kind {
    let form = head.get(8..12).unwrap_or_default();
    if [&b"RIFF"[..], b"RF64", b"BW64"].iter().any(|magic| head.starts_with(magic)) {
        return match form {
            b"WAVE" => Kind::Wav,
            b"AVI " => Kind::NotAudio("this is an AVI video; export its sound"),
            b"WEBP" => Kind::NotAudio("this is a WebP picture"),
            b"RMID" => Kind::NotAudio("this is a MIDI file: notes, not sound"),
            _ => Kind::NotAudio("a RIFF file without WAVE audio"),
        };
    }
    if let Some((_, what)) = NOT_AUDIO.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Kind::NotAudio(what);
    }
    if head.starts_with(b"FORM") && matches!(form, b"AIFF" | b"AIFC") {
        return Kind::Aiff;
    }
    if head.get(4..8) == Some(b"ftyp") {
        return Kind::Container("MP4");
    }
    if let Some((_, name)) = CONTAINERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Kind::Container(name);
    }
    if let Some((_, what)) = UNSUPPORTED.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Kind::Unsupported(what);
    }
    let start = head.trim_ascii_start();
    let starts = |tag: &[u8]| start.get(..tag.len()).is_some_and(|s| s.eq_ignore_ascii_case(tag));
    if starts(b"<!doctype html") || starts(b"<html") {
        return Kind::NotAudio("this is a web page; was the download link followed to its end?");
    }
    if !head.is_empty() && head.iter().all(|&b| b == 0) {
        return Kind::NotAudio("the file starts with nothing but zeros");
    }
    // Text: no control bytes but white space, and valid UTF-8 up to a character cut in two at the end of the window.
    let textual = !head.is_empty()
        && head.iter().all(|&b| b >= 0x20 && b != 0x7f || matches!(b, b'\t' | b'\n' | b'\r' | 0x0c))
        && match std::str::from_utf8(head) {
            Ok(_) => true,
            Err(e) => e.error_len().is_none(),
        };
    if textual {
        return Kind::NotAudio("this is a text file");
    }
    Kind::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell() {
        assert_eq!(sniff(b"RIFF\x24\0\0\0WAVEfmt "), Kind::Wav);
        assert_eq!(sniff(b"BW64\xff\xff\xff\xffWAVEds64"), Kind::Wav);
        assert_eq!(sniff(b"%PDF-1.7\n"), Kind::NotAudio("this is a PDF"));
        assert_eq!(sniff("Grüße, kein Lied".as_bytes()), Kind::NotAudio("this is a text file"));
        assert_eq!(sniff(b"FORM\0\0\x10\0AIFFCOMM"), Kind::Aiff);
        assert_eq!(sniff(b"wvpk1234"), Kind::Unsupported("WavPack"));
        assert_eq!(sniff(b"ID3\x04\0\0"), Kind::Container("MP3"));
        assert_eq!(sniff(b""), Kind::Unknown);
    }
}
