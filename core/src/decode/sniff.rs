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
    (b"RIFX", "big-endian WAV (RIFX)"),
    (b"\x0b\x77", "AC-3"),
    (b"\x7f\xfe\x80\x01", "DTS"),
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

/// A coded stream that pretends to be PCM, as on DTS CDs and in recordings of a digital output: played as PCM it is noise.
pub(super) fn bitstream(samples: &[u8]) -> Option<&'static str> {
    /// Sync words of four bytes or more. Loud music holds some of them by chance, but not three times at one distance.
    const SYNCS: &[(&[u8], &str)] = &[
        (b"\x7f\xfe\x80\x01", "DTS"),
        (b"\xfe\x7f\x01\x80", "DTS"),
        (b"\x1f\xff\xe8\x00", "DTS"),
        (b"\xff\x1f\x00\xe8", "DTS"),
        (b"\xf8\x72\x4e\x1f", "Dolby or DTS"),
        (b"\x72\xf8\x1f\x4e", "Dolby or DTS"),
        (b"\x00\x72\xf8\x00\x1f\x4e", "Dolby or DTS"),
        (b"\x00\x00\x72\xf8\x00\x00\x1f\x4e", "Dolby or DTS"),
    ];
    /// Longest frame or burst, bytes: E-AC-3 in IEC 61937 repeats every 24,576.
    const FRAME: usize = 1 << 15;
    let mut last = [(0, 0); SYNCS.len()];
    for at in 0..samples.len() {
        // Few bytes begin any of them.
        if !matches!(samples[at], 0 | 0x1f | 0x72 | 0x7f | 0xf8 | 0xfe | 0xff) {
            continue;
        }
        for ((place, distance), (sync, what)) in last.iter_mut().zip(SYNCS) {
            if samples[at..].starts_with(sync) {
                let apart = at - *place;
                if apart == *distance && (1..=FRAME).contains(&apart) {
                    return Some(what);
                }
                (*place, *distance) = (at, apart);
            }
        }
    }
    // Frames of AC-3 begin with two bytes only, in either order, but say where the next one begins.
    let pair = |at: usize| samples.get(at..at + 2);
    let is_ac3 = |start: usize, swapped: bool| {
        let mut at = start;
        (0..6).all(|_| {
            let sync: &[u8] = if swapped { &[0x77, 0x0b] } else { &[0x0b, 0x77] };
            let size = samples.get(at + if swapped { 5 } else { 4 }).and_then(|&code| ac3_bytes(code));
            let fits = pair(at) == Some(sync);
            at += size.unwrap_or(0);
            fits && size.is_some()
        })
    };
    let starts =
        samples.windows(2).enumerate().filter(|(_, w)| matches!(w, [0x0b, 0x77] | [0x77, 0x0b])).map(|(at, _)| at);
    starts.take(256).any(|at| is_ac3(at, samples[at] == 0x77)).then_some("AC-3")
}

/// Bytes of an AC-3 frame by its fifth byte (ATSC A/52, table 5.18).
fn ac3_bytes(code: u8) -> Option<usize> {
    const KBITS: [usize; 19] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
    let kbits = *KBITS.get(usize::from(code & 0x3F) / 2)?;
    let words = match code >> 6 {
        0 => kbits * 2,
        1 => kbits * 96_000 / 44_100 + usize::from(code & 1),
        2 => kbits * 3,
        _ => return None,
    };
    Some(words * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_word_counts_where_frames_would_repeat_it() {
        let at = |places: &[usize]| {
            let mut samples = vec![3_u8; 400_000];
            for place in places {
                samples[*place..place + 4].copy_from_slice(b"\xfe\x7f\x01\x80");
            }
            bitstream(&samples)
        };
        assert_eq!(at(&[512, 2_524, 4_536]), Some("DTS"));
        assert_eq!(at(&[0, 176_400, 352_800]), None, "full-scale clicks, one a second");
        assert_eq!(at(&[100, 1_000, 5_000, 5_400]), None);
    }

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
