//! Formats that are made by the system's ffmpeg: lossless ones must come back to the bit, lossy ones in place and at full length.

use super::{assert_exact, bytes_16, bytes_24, music, wav, wav_24};
use loopmaster_core::{
    decode::{DecodeError, Track, decode_file},
    settings::Limits,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Ends in the middle of a packet of every codec.
const FRAMES: usize = 100_003;

fn ffmpeg(input: &Path, options: &[&str], output: &Path) {
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-y", "-v", "error", "-i"])
        .arg(input)
        .args(options)
        .arg(output)
        .status()
        .expect("ffmpeg makes the files of this test; install it (./test does)");
    assert!(status.success(), "ffmpeg {options:?} {}", output.display());
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn make(&self, source: &[u8], options: &[&str], name: &str) -> PathBuf {
        let input = self.0.path().join("source.wav");
        fs::write(&input, source).unwrap();
        let output = self.0.path().join(name);
        ffmpeg(&input, options, &output);
        output
    }
}

fn read(path: &Path) -> Result<Track, DecodeError> {
    decode_file(path, &Limits::default())
}

#[test]
fn lossless_formats_come_back_to_the_bit() {
    let folder = Folder::new();
    let music = music(FRAMES);
    let (wide, narrow) = (wav(1, 2, 44_100, 24, &bytes_24(&music)), wav(1, 2, 44_100, 16, &bytes_16(&music)));
    for (bits, options, name, container) in [
        (24, &["-c:a", "flac"][..], "a.flac", "flac"),
        (16, &["-c:a", "flac"], "b.flac", "flac"),
        (24, &["-c:a", "flac"], "c.oga", "ogg"),
        (24, &["-c:a", "alac"], "d.m4a", "mp4"),
        (16, &["-c:a", "alac"], "e.m4a", "mp4"),
        (24, &["-c:a", "pcm_s24be"], "f.aiff", "aiff"),
        (16, &["-c:a", "pcm_s16be"], "g.aif", "aiff"),
        (24, &["-c:a", "pcm_f32be"], "h.aiff", "aiff"),
        (16, &["-c:a", "pcm_s16le"], "i.aifc", "aiff"),
        (24, &["-c:a", "pcm_s24le"], "j.caf", "caf"),
        (16, &["-c:a", "alac"], "k.caf", "caf"),
        (24, &["-c:a", "flac"], "l.mka", "mkv"),
        (24, &["-c:a", "pcm_s24le"], "m.mkv", "mkv"),
        (24, &["-c:a", "pcm_f32le"], "n.wav", "wav"),
        (24, &["-c:a", "pcm_f64le"], "o.wav", "wav"),
        (24, &["-c:a", "pcm_s24le", "-rf64", "always"], "p.wav", "wav"),
        (16, &["-c:a", "pcm_s16le"], "q.mov", "mp4"),
    ] {
        let path = folder.make(if bits == 24 { &wide } else { &narrow }, options, name);
        let track = read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("{name}: {:?}", track.source);
        assert_eq!(track.audio.rate, 44_100);
        assert_exact(&track, &music, bits);
        assert_eq!((track.source.container.as_str(), track.source.lossy), (container, false), "{name}");
        let float = options.iter().any(|o| o.contains("_f"));
        assert_eq!(track.source.float, float, "{name}");
        if !float {
            assert_eq!(track.source.bits, Some(bits), "{name}");
        }
        assert_eq!(track.source.bytes, fs::metadata(&path).unwrap().len());
    }
}

/// The lag in frames at which `y` looks most like `x`, searched over ±3000, and the normalised likeness there.
fn alignment(x: &[f32], y: &[f32]) -> (isize, f64) {
    const REACH: usize = 3_000;
    let part = 20_000..26_000;
    let energy = |s: &[f32]| s.iter().map(|&v| v * v).sum::<f32>();
    let reference = &x[part.clone()];
    let own = energy(reference);
    (0..=2 * REACH)
        .map(|shift| {
            let other = &y[part.start + shift - REACH..part.end + shift - REACH];
            let dot: f32 = reference.iter().zip(other).map(|(a, b)| a * b).sum();
            (shift as isize - REACH as isize, f64::from(dot / (own * energy(other)).sqrt()))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap()
}

#[test]
fn lossy_formats_keep_their_place_and_length() {
    let folder = Folder::new();
    for (rate, options, name, codec) in [
        (44_100, &["-c:a", "libmp3lame", "-b:a", "320k"][..], "a.mp3", "mp3"),
        (44_100, &["-c:a", "libmp3lame", "-q:a", "0"], "b.mp3", "mp3"),
        (48_000, &["-c:a", "libmp3lame", "-b:a", "128k"], "c.mp3", "mp3"),
        (44_100, &["-c:a", "aac", "-b:a", "256k"], "d.m4a", "aac"),
        (48_000, &["-c:a", "aac", "-b:a", "192k", "-movflags", "+faststart"], "e.m4a", "aac"),
        (44_100, &["-c:a", "libvorbis", "-q:a", "8"], "f.ogg", "vorbis"),
        (48_000, &["-c:a", "libopus", "-b:a", "192k"], "g.opus", "opus"),
        (48_000, &["-c:a", "libopus", "-b:a", "192k"], "h.ogg", "opus"),
        (44_100, &["-c:a", "pcm_mulaw"], "j.wav", "pcm_mulaw"),
    ] {
        let path = folder.make(&wav_24(rate, FRAMES), options, name);
        let track = read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let original: Vec<Vec<f32>> =
            (0..2).map(|c| music(FRAMES).iter().map(|m| m[c] as f32 / 8_388_608.0).collect()).collect();
        println!("{name}: {:?}", track.source);
        assert_eq!(track.audio.frames(), FRAMES, "{name}");
        for (c, channel) in track.audio.channels.iter().enumerate() {
            let (lag, likeness) = alignment(&original[c], channel);
            println!("  channel {c}: lag {lag}, likeness {likeness:.5}");
            assert_eq!(lag, 0, "{name}");
            // A sample's shift would cost 0.02 at 2 kHz and 44.1 kHz; no codec at these rates costs a tenth of that on tones.
            assert!(likeness > 0.995, "{name}: {likeness}");
        }
        assert_eq!((track.source.codec.as_str(), track.source.lossy, track.source.bits), (codec, true, None), "{name}");
    }
}

#[test]
fn cut_and_damaged_files_are_refused() {
    let folder = Folder::new();
    let source = wav_24(44_100, 3 * FRAMES);
    for (options, name, code) in [
        (&["-c:a", "flac"][..], "a.flac", "decode.truncated"),
        (&["-c:a", "libmp3lame", "-b:a", "320k"], "a.mp3", "decode.truncated"),
        (&["-c:a", "pcm_s24be"], "a.aiff", "decode.truncated"),
        (&["-c:a", "alac", "-movflags", "+faststart"], "a.m4a", "decode.truncated"),
        (&["-c:a", "aac", "-movflags", "+faststart"], "b.m4a", "decode.truncated"),
    ] {
        let path = folder.make(&source, options, name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = read(&path).unwrap_err();
        println!("{name}: {} {error}", error.code());
        assert_eq!(error.code(), code, "{name}");
        assert!(error.to_string().contains("0:06.8"), "{name} must say how long it should be: {error}");
    }
    // What has its index at the end cannot say how long it was.
    for (options, name) in [(&["-c:a", "pcm_s24le"][..], "b.caf"), (&["-c:a", "aac"], "c.m4a")] {
        let path = folder.make(&source, options, name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = read(&path).unwrap_err();
        println!("{name}: {} {error}", error.code());
        assert!(matches!(error.code(), "decode.corrupt" | "decode.truncated"), "{name}: {error}");
    }
    // A FLAC frame destroyed in the middle: its samples are gone, and lossless means none may be.
    let path = folder.make(&source, &["-c:a", "flac"], "c.flac");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0x55);
    fs::write(&path, &bytes).unwrap();
    let error = read(&path).unwrap_err();
    println!("{} {error}", error.code());
    assert!(matches!(error.code(), "decode.corrupt" | "decode.truncated"));
    // The same in containers whose demuxers do not look at frames, down to a single bit.
    for name in ["c.mka", "c.oga"] {
        let path = folder.make(&source, &["-c:a", "flac"], name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = read(&path).unwrap_err();
        println!("{name}: {} {error}", error.code());
        assert!(matches!(error.code(), "decode.corrupt" | "decode.truncated"), "{name}: {error}");
    }
    // An MP3 with a hole plays on, in time.
    let path = folder.make(&source, &["-c:a", "libmp3lame", "-b:a", "320k"], "d.mp3");
    let whole = read(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 300].fill(0x55);
    fs::write(&path, &bytes).unwrap();
    let holed = read(&path).unwrap();
    assert!(holed.audio.frames().abs_diff(whole.audio.frames()) <= 1_152, "{}", holed.audio.frames());
    let tail = |t: &Track| t.audio.channels[0][t.audio.frames() - 40_000..].to_vec();
    assert_eq!(tail(&holed), tail(&whole));
}

#[test]
fn tags_and_covers_travel() {
    let folder = Folder::new();
    let cover = folder.0.path().join("cover.png");
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-y", "-v", "error", "-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", "1"])
        .arg(&cover)
        .status()
        .unwrap();
    assert!(made.success());
    let cover = cover.to_str().unwrap().to_owned();
    let text = [
        "-metadata",
        "title=Lied für Ü",
        "-metadata",
        "artist=The Band",
        "-metadata",
        "album=Album",
        "-metadata",
        "album_artist=All",
        "-metadata",
        "track=3/12",
        "-metadata",
        "disc=1/2",
        "-metadata",
        "date=2026",
        "-metadata",
        "genre=Dub",
        "-metadata",
        "composer=Someone",
        "-metadata",
        "copyright=(c) 2026",
        "-metadata",
        "comment=hello",
    ];
    let picture =
        ["-i", cover.as_str(), "-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v:0", "attached_pic"];
    for (name, codec, with_cover, full) in [
        ("a.flac", "flac", true, true),
        ("a.mp3", "libmp3lame", true, true),
        ("a.m4a", "aac", true, true),
        ("a.ogg", "libvorbis", false, true),
        ("a.opus", "libopus", false, true),
        ("a.wav", "pcm_s16le", false, false),
        ("a.aiff", "pcm_s16be", false, false),
    ] {
        let mut options: Vec<&str> = if with_cover { picture.to_vec() } else { Vec::new() };
        options.extend(text);
        options.extend(["-c:a", codec, "-metadata", "TSRC=DEA452401234", "-metadata", "ISRC=DEA452401234"]);
        let tags = read(&folder.make(&wav_24(48_000, 20_000), &options, name)).unwrap().tags;
        println!("{name}: {tags:?}");
        assert_eq!(tags.title.as_deref(), Some("Lied für Ü"), "{name}");
        if full {
            assert_eq!(tags.artist.as_deref(), Some("The Band"), "{name}");
            assert_eq!(tags.album.as_deref(), Some("Album"), "{name}");
            assert_eq!(tags.album_artist.as_deref(), Some("All"), "{name}");
            assert_eq!(tags.track.map(|t| t.0), Some(3), "{name}");
            assert_eq!(tags.date.as_deref(), Some("2026"), "{name}");
            assert_eq!(tags.genre.as_deref(), Some("Dub"), "{name}");
            assert_eq!(tags.composer.as_deref(), Some("Someone"), "{name}");
            assert_eq!(tags.comment.as_deref(), Some("hello"), "{name}");
        }
        if with_cover {
            let cover = tags.cover.unwrap_or_else(|| panic!("{name} lost its cover"));
            assert_eq!(cover.mime, "image/png", "{name}");
        }
    }
}
