//! Random damage to every container: nothing is lost without a word, nothing panics, nothing hangs.

use super::{music, wav_24};
use crate::dice::Dice;
use loopmaster_core::{
    Audio,
    analyse::analyse,
    decode::decode,
    encode::{Metadata, encode},
    settings::{Codec, Limits},
};
use rayon::prelude::*;
use std::{
    fs,
    io::Cursor,
    process::Command,
    sync::LazyLock,
    time::{Duration, Instant},
};

/// Frames of every whole file: two seconds.
const FRAMES: usize = 88_200;
/// What may be missing without a word, in seconds: a little more than one packet of most codecs.
const SMALL: f64 = 0.025;

/// A whole file of every container and codec, with the name it is tried under.
static WHOLE: LazyLock<Vec<(String, &str, Vec<u8>)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.wav");
    fs::write(&source, wav_24(44_100, FRAMES)).unwrap();
    let channel = |c: usize| music(FRAMES).iter().map(|x| x[c] as f32 / 8_388_608.0).collect::<Vec<_>>();
    let audio = Audio::new(44_100, [channel(0), channel(1)]);
    let studio = loopmaster_core::resample::resample(&audio, 48_000).unwrap();
    let mut files = Vec::new();
    for codec in [Codec::Wav16, Codec::Wav24, Codec::Flac16, Codec::Flac24, Codec::Mp3Cbr320, Codec::Opus] {
        let mut file = Cursor::new(Vec::new());
        let audio = if codec == Codec::Opus { &studio } else { &audio };
        encode(audio, codec, &Metadata::default(), &mut file).unwrap();
        files.push((format!("our {}", codec.name()), codec.extension(), file.into_inner()));
    }
    for (name, extension, arguments) in [
        ("AAC in MP4", "m4a", &["-c:a", "aac"][..]),
        ("AAC in fragmented MP4", "m4a", &["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"]),
        ("ALAC in MP4", "m4a", &["-c:a", "alac"]),
        ("Vorbis", "ogg", &["-c:a", "libvorbis"]),
        ("Opus", "opus", &["-c:a", "libopus"]),
        ("FLAC in Ogg", "ogg", &["-c:a", "flac"]),
        ("AIFF", "aiff", &["-c:a", "pcm_s16be"]),
        ("CAF", "caf", &["-c:a", "pcm_s16le"]),
        ("FLAC in Matroska", "mka", &["-c:a", "flac"]),
        ("Opus in WebM", "webm", &["-c:a", "libopus"]),
        ("ADTS", "aac", &["-c:a", "aac"]),
        ("MP3 of varying rate", "mp3", &["-c:a", "libmp3lame", "-q:a", "2"]),
    ] {
        let path = folder.path().join(format!("a.{extension}"));
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-y", "-v", "error", "-i"])
            .arg(&source)
            .args(arguments)
            .arg(&path)
            .status();
        assert!(made.expect("./test installs ffmpeg").success(), "{name}");
        files.push((name.to_owned(), extension, fs::read(&path).unwrap()));
    }
    files
});

/// One way a file is damaged, and what it was.
fn damaged(whole: &[u8], seed: u64) -> (Vec<u8>, String) {
    let mut dice = Dice(seed);
    let mut bytes = whole.to_vec();
    match dice.below(3) {
        0 => {
            bytes.truncate(dice.below(bytes.len()));
            let text = format!("cut off after {} of {} bytes", bytes.len(), whole.len());
            (bytes, text)
        }
        1 => {
            let places: Vec<usize> = (0..=dice.below(8)).map(|_| dice.below(8 * bytes.len())).collect();
            for &bit in &places {
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            (bytes, format!("bits flipped: {places:?} of {}", 8 * whole.len()))
        }
        _ => {
            let from = dice.below(bytes.len());
            let length = 1 + dice.below((bytes.len() - from).min(bytes.len() / 3));
            bytes.drain(from..from + length);
            (bytes, format!("bytes {from}..{} of {} cut out", from + length, whole.len()))
        }
    }
}

/// What is wrong with how one damaged file is read.
fn fault(name: &str, extension: &str, bytes: &[u8], seconds: f64) -> Option<String> {
    let start = Instant::now();
    let read = decode(Cursor::new(bytes), Some(extension), &Limits::default());
    let spent = start.elapsed();
    if spent > Duration::from_secs(10) {
        return Some(format!("{name}: {spent:?}"));
    }
    let track = match read {
        Ok(track) => track,
        Err(error) => return (error.code() == "decode.read").then(|| format!("{name}: {error}")),
    };
    let missing = seconds - track.source.frames as f64 / f64::from(track.source.rate);
    let told = || analyse(&track).findings.iter().any(|finding| finding.code == "source_damaged");
    (missing > SMALL && !told()).then(|| format!("{name}: {missing:.3} s are missing"))
}

fn survive(cases: u64) {
    let seconds: Vec<f64> = WHOLE
        .iter()
        .map(|(name, extension, bytes)| {
            let track = decode(Cursor::new(bytes), Some(extension), &Limits::default());
            let track = track.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(track.source.losses.is_empty(), "{name}");
            track.source.frames as f64 / f64::from(track.source.rate)
        })
        .collect();
    let faults: Vec<String> = (0..cases)
        .into_par_iter()
        .filter_map(|case| {
            let at = case as usize % WHOLE.len();
            let (name, extension, whole) = &WHOLE[at];
            let (bytes, what) = damaged(whole, case);
            fault(&format!("case {case}, {name}, {what}"), extension, &bytes, seconds[at])
        })
        .collect();
    assert!(faults.is_empty(), "{} of {cases}:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn nothing_is_lost_without_a_word() {
    survive(60);
}

#[test]
#[ignore = "two thousand files; ./test long calls it"]
fn nothing_is_lost_without_a_word_two_thousand_times() {
    survive(2_000);
}
