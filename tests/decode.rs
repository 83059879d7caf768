//! The decode stage against every kind of file people send, made here: WAVs by hand, the other formats by the system's ffmpeg.

use loopmaster_core::{
    decode::{DecodeError, Track, decode, decode_file},
    settings::Limits,
};
use std::{fs, io::Cursor, path::PathBuf};

/// A RIFF chunk with its padding.
fn chunk(id: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = id.to_vec();
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    out.extend(vec![0; body.len() % 2]);
    out
}

fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let align = channels * bits.div_ceil(8);
    let mut out = Vec::new();
    out.extend(tag.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * u32::from(align)).to_le_bytes());
    out.extend(align.to_le_bytes());
    out.extend(bits.to_le_bytes());
    out
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = [b"WAVE".to_vec(), chunks.concat()].concat();
    [b"RIFF".to_vec(), (body.len() as u32).to_le_bytes().to_vec(), body].concat()
}

fn wav(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    riff(&[chunk(*b"fmt ", &format(tag, channels, rate, bits)), chunk(*b"data", data)])
}

/// Whole numbers of 24 bits, two channels that differ: a chord with noise, ends included, nothing periodic in the packet sizes.
fn music(frames: usize) -> Vec<[i32; 2]> {
    let mut state = 0x1234_5678_u32;
    (0..frames)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(state >> 8) / f64::from(1 << 24) - 0.5;
            let t = n as f64 / 44_100.0;
            let tone = |hz: f64| (std::f64::consts::TAU * hz * t).sin();
            let left = 0.3 * tone(220.0) + 0.2 * tone(1_331.7) + 0.02 * noise;
            let right = 0.25 * tone(331.3) + 0.2 * tone(2_113.9) - 0.02 * noise;
            [left, right].map(|x| (x * 8_388_607.0) as i32)
        })
        .collect()
}

fn bytes_24(music: &[[i32; 2]]) -> Vec<u8> {
    music.iter().flatten().flat_map(|x| x.to_le_bytes()[..3].to_vec()).collect()
}

fn bytes_16(music: &[[i32; 2]]) -> Vec<u8> {
    music.iter().flatten().flat_map(|x| ((x >> 8) as i16).to_le_bytes()).collect()
}

fn wav_24(rate: u32, frames: usize) -> Vec<u8> {
    wav(1, 2, rate, 24, &bytes_24(&music(frames)))
}

fn read(bytes: &[u8]) -> Result<Track, DecodeError> {
    decode(Cursor::new(bytes), None, &Limits::default())
}

/// The code of a refusal; its text must say what to do, so it is long, and goes to the log.
fn refusal(bytes: &[u8]) -> (&'static str, String) {
    let error = read(bytes).unwrap_err();
    println!("{}: {error}", error.code());
    assert!(error.code().starts_with("decode.") && error.to_string().len() > 30);
    (error.code(), error.to_string())
}

/// The samples of `music`, of which only the upper `bits` are there, must have come back to the bit.
fn assert_exact(track: &Track, music: &[[i32; 2]], bits: u32) {
    assert_eq!(track.audio.frames(), music.len());
    for (c, channel) in track.audio.channels.iter().enumerate() {
        for (n, &x) in channel.iter().enumerate() {
            let whole = (music[n][c] >> (24 - bits)) as f32 / (1_u32 << (bits - 1)) as f32;
            assert_eq!(x, whole, "channel {c} frame {n}");
        }
    }
}

#[test]
fn every_word_length_is_exact() {
    let music = music(40_001);
    let flat: Vec<i32> = music.iter().flatten().copied().collect();
    let u8s: Vec<u8> = flat.iter().map(|x| ((x >> 16) + 128) as u8).collect();
    let i32s: Vec<u8> = flat.iter().flat_map(|x| (x << 8).to_le_bytes()).collect();
    let f32s: Vec<u8> = flat.iter().flat_map(|&x| (x as f32 / 8_388_608.0).to_le_bytes()).collect();
    let f64s: Vec<u8> = flat.iter().flat_map(|&x| (f64::from(x) / 8_388_608.0).to_le_bytes()).collect();
    for (tag, bits, exact, data) in [
        (1, 8, 8, u8s),
        (1, 16, 16, bytes_16(&music)),
        (1, 24, 24, bytes_24(&music)),
        (1, 32, 24, i32s),
        (3, 32, 24, f32s),
        (3, 64, 24, f64s),
    ] {
        for rate in [44_100, 48_000, 88_200, 96_000, 176_400, 192_000] {
            let track = read(&wav(tag, 2, rate, bits, &data)).unwrap();
            assert_exact(&track, &music, exact);
            assert_eq!((track.audio.rate, track.source.rate), (rate, rate));
            assert_eq!((track.source.bits, track.source.float), (Some(u32::from(bits)), tag == 3));
            assert_eq!((track.source.channels, track.source.lossy), (2, false));
            assert_eq!(track.source.frames, 40_001);
        }
    }
}

#[test]
fn full_scale_and_overs_are_kept() {
    let extremes: Vec<u8> = [i16::MIN, i16::MAX].iter().flat_map(|x| x.to_le_bytes()).collect();
    let track = read(&wav(1, 2, 44_100, 16, &extremes)).unwrap();
    assert_eq!([track.audio.channels[0][0], track.audio.channels[1][0]], [-1.0, 32_767.0 / 32_768.0]);
    let hot: Vec<u8> = [4.0_f32, -3.5, 1e-40, 0.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let track = read(&wav(3, 2, 44_100, 32, &hot)).unwrap();
    assert_eq!(track.audio.channels, [vec![4.0, 0.0], vec![-3.5, 0.0]]);
}

#[test]
fn mono_becomes_two_identical_channels() {
    let data: Vec<u8> = music(5_000).iter().flat_map(|x| ((x[0] >> 8) as i16).to_le_bytes()).collect();
    let track = read(&wav(1, 1, 44_100, 16, &data)).unwrap();
    assert_eq!(track.source.channels, 1);
    assert_eq!(track.audio.frames(), 5_000);
    assert_eq!(track.audio.channels[0], track.audio.channels[1]);
}

#[test]
fn one_sample_is_a_track() {
    assert_eq!(read(&wav_24(44_100, 2)).unwrap().audio.frames(), 2);
    let half = 0x0040_0000_i32;
    let track = read(&wav(1, 2, 44_100, 24, &bytes_24(&[[half, half]]))).unwrap();
    assert_eq!(track.audio.channels, [vec![0.5], vec![0.5]]);
}

#[test]
fn low_rates_are_raised() {
    for (rate, raised) in [(8_000, 48_000), (11_025, 44_100), (16_000, 48_000), (22_050, 44_100), (32_000, 48_000)] {
        let track = read(&wav_24(rate, 9_001)).unwrap();
        assert_eq!((track.source.rate, track.source.frames, track.audio.rate), (rate, 9_001, raised));
        let exact = (9_001.0 * f64::from(raised) / f64::from(rate)).round() as usize;
        assert_eq!(track.audio.frames(), exact);
    }
}

#[test]
fn rf64_and_bw64_are_read() {
    let music = music(3_000);
    let data = bytes_24(&music);
    for magic in [b"RF64", b"BW64"] {
        let mut sizes = 0_u64.to_le_bytes().to_vec();
        sizes.extend((data.len() as u64).to_le_bytes());
        sizes.extend(3_000_u64.to_le_bytes());
        sizes.extend(0_u32.to_le_bytes());
        let mut file = magic.to_vec();
        file.extend(u32::MAX.to_le_bytes());
        file.extend(b"WAVE");
        file.extend(chunk(*b"ds64", &sizes));
        file.extend(chunk(*b"fmt ", &format(1, 2, 48_000, 24)));
        file.extend(b"data");
        file.extend(u32::MAX.to_le_bytes());
        file.extend(&data);
        // Chunks after the samples are found through the 64-bit size.
        file.extend(chunk(*b"LIST", b"INFOINAM\x04\0\0\0Name"));
        let track = read(&file).unwrap();
        assert_exact(&track, &music, 24);
        assert_eq!(track.tags.title.as_deref(), Some("Name"));
        file.truncate(file.len() - 8_000);
        assert_eq!(refusal(&file).0, "decode.truncated");
    }
}

#[test]
fn extensible_says_its_valid_bits() {
    let music = music(1_000);
    let mut fmt = format(0xFFFE, 2, 44_100, 32);
    fmt.extend(22_u16.to_le_bytes());
    fmt.extend(24_u16.to_le_bytes());
    fmt.extend(3_u32.to_le_bytes());
    fmt.extend([1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]);
    let data: Vec<u8> = music.iter().flatten().flat_map(|x| (x << 8).to_le_bytes()).collect();
    let track = read(&riff(&[chunk(*b"fmt ", &fmt), chunk(*b"data", &data)])).unwrap();
    assert_exact(&track, &music, 24);
    assert_eq!(track.source.bits, Some(24));
    fmt[30] = 0x55;
    assert_eq!(refusal(&riff(&[chunk(*b"fmt ", &fmt), chunk(*b"data", &data)])).0, "decode.unsupported_codec");
}

#[test]
fn chunks_of_every_shape_are_passed() {
    let music = music(777);
    let data = chunk(*b"data", &bytes_24(&music));
    let fmt = chunk(*b"fmt ", &format(1, 2, 44_100, 24));
    let odd = chunk(*b"odd ", b"123");
    let mut unpadded = odd.clone();
    unpadded.pop();
    let junk = chunk(*b"JUNK", &vec![0; 4_097]);
    for chunks in [
        vec![odd.clone(), fmt.clone(), odd.clone(), junk.clone(), data.clone(), odd.clone()],
        vec![unpadded.clone(), fmt.clone(), unpadded.clone(), data.clone()],
        vec![fmt.clone(), chunk(*b"fact", &777_u32.to_le_bytes()), data.clone(), b"trailing rubbish".to_vec()],
        // The samples may come before their format in nobody's files but a fuzzer's; the walk finds both.
        vec![data.clone(), fmt.clone()],
    ] {
        assert_exact(&read(&riff(&chunks)).unwrap(), &music, 24);
    }
    assert_eq!(refusal(&riff(std::slice::from_ref(&fmt))).0, "decode.corrupt");
    assert_eq!(refusal(&riff(std::slice::from_ref(&data))).0, "decode.corrupt");
}

#[test]
fn a_stream_of_unknown_length_runs_to_the_end() {
    let music = music(500);
    for size in [u32::MAX, 0x7FFF_F000] {
        let mut file = riff(&[chunk(*b"fmt ", &format(1, 2, 44_100, 24))]);
        file[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        file.extend(b"data");
        file.extend(size.to_le_bytes());
        file.extend(bytes_24(&music));
        assert_exact(&read(&file).unwrap(), &music, 24);
    }
}

#[test]
fn a_cut_wav_is_refused_with_its_lengths() {
    let mut file = wav_24(44_100, 88_200);
    file.truncate(44 + 6 * 44_100);
    let (code, text) = refusal(&file);
    assert_eq!(code, "decode.truncated");
    assert!(text.contains("0:01.0") && text.contains("0:02.0"), "{text}");
}

#[test]
fn lying_headers_allocate_nothing() {
    // Four hours declared: over the limit whatever the file holds.
    let mut file = wav_24(44_100, 10);
    file[40..44].copy_from_slice(&(4 * 3_600 * 44_100 * 6 - 1_u32).to_le_bytes());
    let limits = Limits { seconds: 3_600.0, ..Limits::default() };
    let error = decode(Cursor::new(&file), None, &limits).unwrap_err();
    println!("{error}");
    assert_eq!(error.code(), "decode.too_long");
    assert!(error.to_string().contains("limit is 60:00.0"), "{error}");
    // One hour: within the limits, and not there.
    file[40..44].copy_from_slice(&(3_600 * 44_100 * 6_u32).to_le_bytes());
    assert_eq!(refusal(&file).0, "decode.truncated");
}

#[test]
fn limits_are_kept() {
    let file = wav_24(44_100, 44_100);
    let with = |limits: Limits| decode(Cursor::new(&file), None, &limits).map(|_| ()).map_err(|e| e.code());
    let base = Limits::default();
    assert_eq!(with(base), Ok(()));
    assert_eq!(with(Limits { bytes: file.len() as u64 - 1, ..base }), Err("decode.too_large"));
    assert_eq!(with(Limits { seconds: 0.99, ..base }), Err("decode.too_long"));
    assert_eq!(with(Limits { channels: 1, ..base }), Err("decode.too_many_channels"));
    assert_eq!(with(Limits { rate: (48_000, 96_000), ..base }), Err("decode.bad_rate"));
    let (code, text) = refusal(&wav(1, 6, 44_100, 24, &bytes_24(&music(900))));
    assert_eq!(code, "decode.too_many_channels");
    assert!(text.contains("6 channels"));
    assert_eq!(refusal(&wav(1, 2, 400_000, 24, &bytes_24(&music(900)))).0, "decode.bad_rate");
    assert_eq!(refusal(&wav(1, 2, 4_000, 24, &bytes_24(&music(900)))).0, "decode.bad_rate");
    let fat = chunk(*b"LIST", &vec![b' '; (16 << 20) + 2]);
    let fat = riff(&[fat, chunk(*b"fmt ", &format(1, 2, 44_100, 24)), chunk(*b"data", &bytes_24(&music(9)))]);
    assert_eq!(refusal(&fat).0, "decode.metadata_too_large");
}

#[test]
fn samples_that_are_no_numbers_are_named_with_their_place() {
    let mut samples = vec![0.25_f32; 2 * 44_100];
    samples[2 * 30_000 + 1] = f32::INFINITY;
    samples[2 * 40_000] = f32::NAN;
    let bytes = |x: &[f32]| wav(3, 2, 44_100, 32, &x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
    let (code, text) = refusal(&bytes(&samples));
    assert_eq!(code, "decode.non_finite");
    assert!(text.contains("30000") && text.contains("right"), "{text}");
    // A double that no float can hold.
    let huge: Vec<u8> = [1.0_f64, 1e300].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(refusal(&wav(3, 2, 44_100, 64, &huge)).0, "decode.non_finite");
}

#[test]
fn silence_and_nothing_are_told_apart() {
    let (code, text) = refusal(&wav(1, 2, 44_100, 16, &vec![0; 4 * 44_100]));
    assert_eq!(code, "decode.silent");
    assert!(text.contains("digital zero"), "{text}");
    // One bit of dither is silence too; two are not.
    let noise =
        |step: i16| -> Vec<u8> { (0..88_200_i32).flat_map(|n| ((n % 3 - 1) as i16 * step).to_le_bytes()).collect() };
    assert_eq!(refusal(&wav(1, 2, 44_100, 16, &noise(1))).0, "decode.silent");
    assert!(read(&wav(1, 2, 44_100, 16, &noise(2))).is_ok());
    assert_eq!(refusal(&wav(1, 2, 44_100, 16, &[])).0, "decode.empty");
    assert_eq!(refusal(b"").0, "decode.not_audio");
}

#[test]
fn what_is_no_audio_is_called_by_its_name() {
    for (bytes, word) in [
        (&b"%PDF-1.7\n%\xe2\xe3\xcf\xd3"[..], "PDF"),
        (b"PK\x03\x04\x14\0\0\0", "ZIP"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"Lyrics: la la la\n", "text"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG"),
        (b"MThd\0\0\0\x06", "MIDI"),
        (b"RIFF\x10\0\0\0AVI LIST", "AVI"),
        (&[0; 4096], "zeros"),
        (&vec![0x80; 70_000], "no known kind"),
    ] {
        // The extension promises a WAV; the bytes decide.
        let error = decode(Cursor::new(bytes), Some("wav"), &Limits::default()).unwrap_err();
        println!("{error}");
        assert_eq!(error.code(), "decode.not_audio");
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(refusal(b"wvpk\0\0\0\0 something").0, "decode.unsupported_codec");
}

#[test]
fn paths_of_every_kind_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut names =
        vec![PathBuf::from("with spaces and ümläuts.wav"), PathBuf::from("no extension"), PathBuf::from("lies.mp3")];
    #[cfg(unix)]
    names.push(PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"not \xff utf8.wav")));
    for name in names {
        let path = folder.path().join(name);
        fs::write(&path, wav_24(44_100, 100)).unwrap();
        assert_eq!(decode_file(&path, &Limits::default()).unwrap().audio.frames(), 100);
    }
    for path in [folder.path().to_owned(), folder.path().join("absent.wav")] {
        let error = decode_file(&path, &Limits::default()).unwrap_err();
        println!("{error}");
        assert_eq!(error.code(), "decode.read");
    }
}

mod damage;
mod formats;
pub(crate) mod hostile;
mod whole;
