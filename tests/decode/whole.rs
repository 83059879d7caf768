//! A track holds the whole of what its file holds, or says what is missing and where; the files are such as people send.

use super::{assert_exact, bytes_16, bytes_24, chunk, format, music, read, refusal, riff, wav, wav_24};
use loopmaster_core::{
    analyse::analyse,
    decode::{DecodeError, Track, decode, decode_file},
    settings::Limits,
};
use std::{fs, io::Cursor, path::Path, process::Command};

/// The bytes that a program makes of a WAV.
fn made(program: &str, wav: &[u8], arguments: &[&str], name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("source.wav");
    fs::write(&input, wav).unwrap();
    let output = folder.path().join(name);
    let mut command = Command::new(program);
    match program {
        "flac" => command.args(arguments).args(["-s", "-o"]).arg(&output).arg(&input),
        _ => command.args(["-nostdin", "-y", "-v", "error", "-i"]).arg(&input).args(arguments).arg(&output),
    };
    assert!(command.status().expect("./test installs it").success(), "{program} {arguments:?}");
    fs::read(output).unwrap()
}

fn ffmpeg(wav: &[u8], arguments: &[&str], name: &str) -> Vec<u8> {
    made("ffmpeg", wav, arguments, name)
}

/// Power of the difference from the samples of `music`, against theirs: small where a lossy track stands in its place.
fn distance(left: &[f32], music: &[[i32; 2]]) -> f64 {
    let wanted = |m: &[i32; 2]| f64::from(m[0]) / 8_388_608.0;
    let error: f64 = left.iter().zip(music).map(|(&x, m)| (f64::from(x) - wanted(m)).powi(2)).sum();
    error / music.iter().map(|m| wanted(m).powi(2)).sum::<f64>()
}

fn lost(track: &Track) -> f64 {
    track.source.losses.iter().map(|loss| loss.seconds.0).sum()
}

/// What the customer reads of it.
fn told(track: &Track) -> Vec<(String, f64)> {
    let findings = analyse(track).findings;
    findings.into_iter().filter(|f| f.code == "source_damaged").map(|f| (f.text, f.at.unwrap().0)).collect()
}

// MP3.

/// Offsets and lengths of the frames of layer III, MPEG-1, 44.1 kHz.
fn frames(mp3: &[u8]) -> Vec<(usize, usize)> {
    const KBITS: [usize; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    let mut at = 0;
    if mp3.starts_with(b"ID3") {
        at = 10 + mp3[6..10].iter().fold(0, |size, &b| size << 7 | usize::from(b));
    }
    let mut frames = Vec::new();
    while at + 4 <= mp3.len() && mp3[at] == 0xFF && mp3[at + 1] & 0xE0 == 0xE0 {
        let length = 144_000 * KBITS[usize::from(mp3[at + 2] >> 4)] / 44_100 + usize::from(mp3[at + 2] >> 1 & 1);
        frames.push((at, length));
        at += length;
    }
    frames
}

#[test]
fn an_mp3_of_varying_rate_without_a_header_is_read_to_its_end() {
    // The first frames are the largest: a length by their size is a fraction of the true one.
    let loud_then_soft: Vec<[i32; 2]> = music(10 * 44_100)
        .iter()
        .enumerate()
        .map(|(n, &[l, r])| {
            let noise = ((n as u32).wrapping_mul(2_654_435_761) >> 9) as i32 - (1 << 22);
            if n < 44_100 { [noise, -noise / 2] } else { [l / 64, r / 64] }
        })
        .collect();
    let source = wav(1, 2, 44_100, 24, &bytes_24(&loud_then_soft));
    let mp3 = ffmpeg(&source, &["-c:a", "libmp3lame", "-q:a", "2", "-write_xing", "0", "-id3v2_version", "0"], "a.mp3");
    let track = read(&mp3).unwrap();
    println!("{} frames of {}", track.audio.frames(), loud_then_soft.len());
    assert!(track.audio.frames() >= loud_then_soft.len());
    assert_eq!(track.audio.frames(), frames(&mp3).len() * 1152);
    assert!(track.source.losses.is_empty());
}

#[test]
fn joined_mp3s_are_read_to_the_last() {
    let encode = |frames: usize, tagged: bool| {
        let tag = if tagged { ["-id3v2_version", "3"] } else { ["-write_xing", "0"] };
        ffmpeg(
            &wav_24(44_100, frames),
            &[&["-c:a", "libmp3lame", "-b:a", "192k", "-write_id3v1", "1"][..], &tag].concat(),
            "a.mp3",
        )
    };
    let (first, second) = (encode(100_003, true), encode(50_001, true));
    let track = read(&[first.clone(), second.clone(), first.clone()].concat()).unwrap();
    // Each without its delay and padding.
    assert_eq!(track.audio.frames(), 100_003 + 50_001 + 100_003);
    assert!(distance(&track.audio.channels[0], &music(100_003)) < 0.01);
    assert!(distance(&track.audio.channels[0][100_003..150_004], &music(50_001)) < 0.01);
    assert!(told(&track).is_empty(), "{:?}", told(&track));
    // A second one without a header of its own.
    let bare = encode(50_001, false);
    let track = read(&[first, bare.clone()].concat()).unwrap();
    assert_eq!(track.audio.frames(), 100_003 + frames(&bare).len() * 1152);
}

#[test]
fn broken_frames_of_an_mp3_are_told_or_too_many() {
    let mp3 = ffmpeg(&wav_24(44_100, 20 * 44_100), &["-c:a", "libmp3lame", "-b:a", "192k"], "a.mp3");
    let spoil = |which: std::ops::Range<usize>, skip: usize, byte: u8| {
        let mut bytes = mp3.clone();
        for &(at, length) in &frames(&mp3)[which] {
            bytes[at + skip..at + length].fill(byte);
        }
        bytes
    };
    // A hole where frames were is as long as they were.
    let track = read(&spoil(383..385, 0, 0)).unwrap();
    assert_eq!(track.audio.frames(), 20 * 44_100);
    let holed = told(&track);
    println!("{holed:?}");
    assert!((9.8..10.2).contains(&holed[0].1) && holed[0].0.contains("silence"), "{holed:?}");
    assert!((0.05..0.2).contains(&lost(&track)), "{}", lost(&track));
    let (code, text) = refusal(&spoil(383..403, 0, 0));
    assert_eq!(code, "decode.corrupt");
    assert!(text.contains("0:10.0") || text.contains("0:09.9"), "{text}");
    // Whole headers, and behind them something else than what was encoded.
    let track = read(&spoil(383..385, 40, 0x55)).unwrap();
    let changed = told(&track);
    println!("{changed:?}");
    assert_eq!((track.audio.frames(), changed.is_empty()), (20 * 44_100, false));
    assert!(told(&read(&mp3).unwrap()).is_empty());
}

/// In mid/side granules whose side is empty, gives the side another kind of block: legal, and changes no sample.
fn with_unequal_blocks(mp3: &[u8], every: usize) -> (Vec<u8>, usize) {
    let mut out = mp3.to_vec();
    let get = |bytes: &[u8], at: usize, count: usize| {
        (at..at + count).fold(0_u32, |v, bit| v << 1 | u32::from(bytes[bit / 8] >> (7 - bit % 8) & 1))
    };
    let (mut seen, mut patched) = (0, 0);
    for &(at, _) in frames(mp3).iter().skip(2) {
        if mp3[at + 3] >> 6 != 1 || mp3[at + 3] & 0x20 == 0 {
            continue;
        }
        for granule in 0..2 {
            let mid = (at + 4) * 8 + 20 + granule * 118;
            let side = mid + 59;
            if get(mp3, side, 12) == 0
                && get(mp3, side + 12, 9) == 0
                && get(mp3, side + 33, 1) == 0
                && get(mp3, mid + 33, 1) == 0
            {
                if seen % every == 0 {
                    for (n, bit) in (side + 33..side + 56).enumerate() {
                        let mask = 0x80 >> (bit % 8);
                        // Window switching, a start block, nothing else.
                        if n == 0 || n == 2 { out[bit / 8] |= mask } else { out[bit / 8] &= !mask }
                    }
                    patched += 1;
                }
                seen += 1;
            }
        }
    }
    (out, patched)
}

#[test]
fn joint_stereo_may_give_its_channels_different_blocks() {
    let equal: Vec<[i32; 2]> = music(5 * 44_100).iter().map(|m| [m[0], m[0]]).collect();
    let source = wav(1, 2, 44_100, 24, &bytes_24(&equal));
    let mp3 = ffmpeg(&source, &["-c:a", "libmp3lame", "-b:a", "192k", "-joint_stereo", "1"], "a.mp3");
    let plain = read(&mp3).unwrap();
    for every in [3, 190] {
        let (patched, count) = with_unequal_blocks(&mp3, every);
        assert!(count > 0);
        let track = read(&patched).unwrap();
        assert_eq!(track.audio.frames(), plain.audio.frames());
        // The patch is not in the checksum of the encoder.
        assert!(lost(&track) == 0.0);
        let pairs = track.audio.channels[0].iter().zip(&plain.audio.channels[0]);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{count} granules: {worst}");
        assert!(worst < 2e-4);
    }
}

// Ogg.

/// Where the pages begin and end.
fn pages(ogg: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut pages, mut at) = (Vec::new(), 0);
    while ogg.get(at..at + 4) == Some(b"OggS") {
        let count = usize::from(ogg[at + 26]);
        let size = 27 + count + ogg[at + 27..at + 27 + count].iter().map(|&n| usize::from(n)).sum::<usize>();
        pages.push(at..at + size);
        at += size;
    }
    pages
}

fn seal(page: &mut [u8]) {
    page[22..26].fill(0);
    let sum = page.iter().fold(0_u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte) << 24, |r, _| if r >> 31 == 1 { r << 1 ^ 0x04C1_1DB7 } else { r << 1 })
    });
    page[22..26].copy_from_slice(&sum.to_le_bytes());
}

/// Changes the position of some pages.
fn moved(ogg: &[u8], change: impl Fn(usize, u64) -> u64) -> Vec<u8> {
    let mut out = ogg.to_vec();
    for (n, page) in pages(ogg).into_iter().enumerate() {
        let page = &mut out[page];
        let position = u64::from_le_bytes(page[6..14].try_into().unwrap());
        page[6..14].copy_from_slice(&change(n, position).to_le_bytes());
        seal(page);
    }
    out
}

#[test]
fn positions_of_ogg_pages_may_be_missing_or_late() {
    for (codec, rate, name) in [("libvorbis", 44_100, "a.ogg"), ("libopus", 48_000, "a.opus")] {
        let source = wav_24(rate, 200_003);
        let ogg = ffmpeg(&source, &["-c:a", codec, "-page_duration", "100000"], name);
        let plain = read(&ogg).unwrap();
        assert_eq!(plain.audio.frames(), 200_003, "{codec}");
        let last = pages(&ogg).len() - 1;
        let none = moved(&ogg, |n, position| if n > 3 && n < last && n % 3 == 0 { u64::MAX } else { position });
        // Cut out of a longer stream.
        let late = moved(&ogg, |n, position| if n > 1 { position + 9_000_000 } else { position });
        for bytes in [none, late] {
            let track = read(&bytes).unwrap();
            assert_eq!(track.audio.frames(), 200_003, "{codec}");
            assert_eq!(track.audio, plain.audio);
            assert!(track.source.losses.is_empty(), "{:?}", track.source.losses);
        }
    }
}

#[test]
fn a_broken_page_of_ogg_is_told_and_its_place_kept() {
    for (codec, rate, name) in [("libvorbis", 44_100, "a.ogg"), ("libopus", 48_000, "a.opus")] {
        let length = 30 * rate as usize;
        let ogg = ffmpeg(&wav_24(rate, length), &["-c:a", codec, "-b:a", "192k", "-page_duration", "100000"], name);
        let plain = read(&ogg).unwrap();
        let all = pages(&ogg);
        let mut bytes = ogg.clone();
        bytes[all[all.len() / 2].start + 200] ^= 0x55;
        let track = read(&bytes).unwrap();
        let told = told(&track);
        println!("{codec}: {told:?}");
        assert_eq!(track.audio.frames(), length, "{codec}");
        assert!(told.len() == 1 && (10.0..20.0).contains(&told[0].1), "{told:?}");
        assert!((0.02..0.3).contains(&lost(&track)), "{}", lost(&track));
        // What follows stands where it stood.
        let tail = |t: &Track| t.audio.channels[0][length - rate as usize..].to_vec();
        let worst = tail(&track).iter().zip(tail(&plain)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{codec}: {worst}");
        // Six pages are too many at once.
        for page in &all[all.len() / 2..all.len() / 2 + 6] {
            bytes[page.start + 30] ^= 0x55;
        }
        let (code, text) = refusal(&bytes);
        assert_eq!(code, "decode.corrupt");
        assert!(text.contains("0:1"), "{text}");
    }
}

#[test]
fn an_ogg_without_its_end_says_so() {
    let ogg = ffmpeg(&wav_24(44_100, 400_000), &["-c:a", "libvorbis", "-b:a", "192k"], "a.ogg");
    let (code, text) = refusal(&ogg[..ogg.len() / 2]);
    assert_eq!(code, "decode.corrupt");
    assert!(text.contains("cut off"), "{text}");
    let all = pages(&ogg);
    let track = read(&ogg[..all[all.len() / 2].end]).unwrap();
    let told = told(&track);
    assert!(
        told.len() == 1 && told[0].0.contains("cut off") && (told[0].1 - track.audio.seconds()).abs() < 0.1,
        "{told:?}"
    );
    // Something else behind the end is no page that is missing.
    let track = read(&[ogg, b"TAG".to_vec(), vec![b' '; 125]].concat()).unwrap();
    assert_eq!((track.audio.frames(), track.source.losses.len()), (400_000, 0));
}

#[test]
fn a_chain_of_ogg_streams_is_one_track() {
    let ogg = ffmpeg(&wav_24(44_100, 100_003), &["-c:a", "libvorbis"], "a.ogg");
    let mut second = ogg.clone();
    for page in pages(&ogg) {
        second[page.start + 14] ^= 1;
        seal(&mut second[page]);
    }
    assert_eq!(read(&[ogg, second].concat()).unwrap().audio.frames(), 2 * 100_003);
    let speex = [&b"OggS\0\x02"[..], &[0; 8], b"abcd\0\0\0\0\0\0\0\0\x01\x50Speex   ", &[0; 72]].concat();
    let mut page = speex.clone();
    seal(&mut page);
    let (code, text) = refusal(&page);
    assert!(code == "decode.unsupported_codec" && text.contains("Speex"), "{text}");
}

// MP4, Matroska.

#[test]
fn fragments_of_an_mp4_are_all_read() {
    for flags in ["frag_keyframe+empty_moov+delay_moov", "frag_keyframe+empty_moov", "+dash", "frag_keyframe"] {
        let options = ["-c:a", "aac", "-b:a", "256k", "-movflags", flags, "-frag_duration", "500000", "-f", "mp4"];
        let mp4 = ffmpeg(&wav_24(44_100, 220_507), &options, "a.m4a");
        let track = read(&mp4).unwrap();
        println!("{flags}: {}", track.audio.frames());
        // Without an edit list nobody knows the priming.
        assert!((220_507..=220_507 + 2 * 1024).contains(&track.audio.frames()), "{flags}: {}", track.audio.frames());
        if flags.contains("delay") {
            assert_eq!(track.audio.frames(), 220_507);
            assert!(distance(&track.audio.channels[0], &music(220_507)) < 0.01);
        }
        let (code, text) = refusal(&mp4[..mp4.len() * 3 / 4]);
        assert!(matches!(code, "decode.corrupt" | "decode.truncated"), "{text}");
    }
}

#[test]
fn opus_is_in_its_place_whatever_holds_it() {
    for name in ["a.opus", "a.mp4", "a.webm", "a.mka"] {
        let bytes = ffmpeg(&wav_24(48_000, 220_507), &["-c:a", "libopus", "-b:a", "256k", "-strict", "-2"], name);
        let track = read(&bytes).unwrap();
        assert_eq!(track.audio.frames(), 220_507, "{name}");
        let distance = distance(&track.audio.channels[0], &music(220_507));
        println!("{name}: {distance}");
        assert!(distance < 0.01, "{name}");
    }
}

// FLAC.

#[test]
fn flac_of_32_bits_is_exact() {
    let mut state = 7_u32;
    let words: Vec<[i32; 2]> = music(60_001)
        .iter()
        .map(|m| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [l, r] = m.map(|x| x << 8);
            // Alike, so that mid and side are chosen, and opposite at full scale, so that the side needs its 33rd bit.
            if state >> 28 == 0 { [i32::MAX - 3, i32::MIN + 5] } else { [l + (state >> 24) as i32, l + (r >> 12)] }
        })
        .collect();
    let data: Vec<u8> = words.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    let source = wav(1, 2, 44_100, 32, &data);
    for name in ["a.flac", "a.oga"] {
        let arguments: &[&str] = if name == "a.oga" { &["--ogg"] } else { &[] };
        let track = read(&made("flac", &source, arguments, name)).unwrap();
        assert_eq!((track.audio.frames(), track.source.bits), (60_001, Some(32)), "{name}");
        for (c, channel) in track.audio.channels.iter().enumerate() {
            assert!(
                channel.iter().zip(&words).all(|(&x, w)| x == (f64::from(w[c]) / 2_147_483_648.0) as f32),
                "{name}"
            );
        }
    }
}

#[test]
fn flac_with_odd_sizes_or_other_tags_is_whole() {
    let music = music(50_001);
    let flac = made("flac", &wav(1, 2, 44_100, 24, &bytes_24(&music)), &["-T", "TITLE=Name"], "a.flac");
    // Smallest and largest block of STREAMINFO.
    for (least, most) in [(0_u16, 4096_u16), (0, 0), (4096, 16), (16, 15)] {
        let mut odd = flac.clone();
        odd[8..10].copy_from_slice(&least.to_be_bytes());
        odd[10..12].copy_from_slice(&most.to_be_bytes());
        let track = read(&odd).unwrap();
        assert_exact(&track, &music, 24);
        assert_eq!((track.tags.title.as_deref(), track.source.container.as_str()), (Some("Name"), "flac"));
        // Still nothing of a cut one passes.
        assert!(matches!(refusal(&odd[..odd.len() / 2]).0, "decode.truncated" | "decode.corrupt"));
        let middle = odd.len() / 2;
        odd[middle] ^= 1;
        assert!(matches!(refusal(&odd).0, "decode.truncated" | "decode.corrupt"));
    }
    let id3v1 = [b"TAG".to_vec(), vec![b'x'; 125]].concat();
    let footer = |flags: u32| {
        [&b"APETAGEX\xd0\x07\0\0"[..], &64_u32.to_le_bytes(), &1_u32.to_le_bytes(), &flags.to_le_bytes(), &[0; 8]]
            .concat()
    };
    let ape = [footer(0xA000_0000), vec![b'y'; 32], footer(0x8000_0000)].concat();
    let id3v2 = [&b"ID3\x03\0\0\0\0\0\x14TIT2\0\0\0\x0a\0\0\0From ID3\0"[..]].concat();
    for (before, behind) in
        [(vec![], id3v1.clone()), (vec![], ape.clone()), (vec![], [ape, id3v1.clone()].concat()), (id3v2, id3v1)]
    {
        assert_exact(&read(&[before, flac.clone(), behind].concat()).unwrap(), &music, 24);
    }
}

// WAV, AIFF, CAF.

#[test]
fn sizes_that_streams_and_crashes_leave_are_seen_through() {
    let music = music(30_001);
    let data = bytes_24(&music);
    let fmt = chunk(*b"fmt ", &format(1, 2, 44_100, 24));
    let file = |riff: u32, size: u32| {
        [&b"RIFF"[..], &riff.to_le_bytes(), b"WAVE", &fmt, b"data", &size.to_le_bytes(), &data].concat()
    };
    let whole = data.len() as u32;
    for (riff, size) in [
        (0x7FFF_FFFF, 0x7FFF_FFFF),
        (0xFFFF_FFFF, 0xFFFF_FFFF - 36),
        (0xFFFF_FFFF, 0xFFFF_FFFF - 44),
        (0x7FFF_FFFF, 0x7FFF_FFFF - 36),
        (0x8000_0024, 0x8000_0000),
        (0, 0),
        (36, 0),
        (0xFFFF_FFFF, 0),
        (whole + 80, whole + 44),
    ] {
        assert_exact(&read(&file(riff, size)).unwrap(), &music, 24);
    }
    // A size that is honestly too large is a file that was cut.
    assert_eq!(refusal(&file(whole + 36, whole + 60_000)).0, "decode.truncated");
    // Samples behind the size: a recorder that died after it had last looked.
    let told = told(&read(&file(whole / 2 + 36, whole / 12 * 6)).unwrap());
    assert!(told.len() == 1 && (told[0].1 - 15_000.0 / 44_100.0).abs() < 0.01, "{told:?}");

    let rf64 = |long: u64, short: u32| {
        let ds64 = [0, long, 30_001].iter().flat_map(|n: &u64| n.to_le_bytes()).chain([0; 4]).collect::<Vec<_>>();
        let head = [&b"RF64\xff\xff\xff\xffWAVE"[..], &chunk(*b"ds64", &ds64), &fmt].concat();
        [&head[..], b"data", &short.to_le_bytes(), &data].concat()
    };
    for (long, short) in
        [(whole.into(), 0x000F_FFFF), (whole.into(), 0), (0, whole), (0, u32::MAX), (u64::MAX, u32::MAX)]
    {
        assert_exact(&read(&rf64(long, short)).unwrap(), &music, 24);
    }
}

#[test]
fn chunks_that_are_odd_or_come_twice_lose_no_sound() {
    let music = music(20_001);
    let data = bytes_24(&music);
    let fmt = chunk(*b"fmt ", &format(1, 2, 44_100, 24));
    let mut padded = chunk(*b"bext", &[b'a'; 603]);
    *padded.last_mut().unwrap() = b'x';
    let data_chunk = chunk(*b"data", &data);
    assert_exact(&read(&riff(&[padded.clone(), fmt.clone(), data_chunk.clone()])).unwrap(), &music, 24);
    for cut in [6 * 10_000, 6 * 10_000 + 2, 6] {
        let parts = [chunk(*b"data", &data[..cut]), padded.clone(), chunk(*b"data", &data[cut..])];
        let track = read(&riff(&[vec![fmt.clone()], parts.to_vec()].concat())).unwrap();
        assert_exact(&track, &music, 24);
        assert_eq!(track.source.frames, 20_001);
    }
    // Old writers' alignment.
    for (bits, align) in [(16, 2), (16, 0), (24, 4), (16, 6)] {
        let mut odd = format(1, 2, 44_100, bits);
        odd[12..14].copy_from_slice(&u16::to_le_bytes(align));
        let words = if bits == 16 { bytes_16(&music) } else { data.clone() };
        assert_exact(&read(&riff(&[chunk(*b"fmt ", &odd), chunk(*b"data", &words)])).unwrap(), &music, bits.into());
    }
}

#[test]
fn coded_streams_in_a_wav_are_no_music() {
    let inside = |bytes: &[u8]| wav(1, 2, 48_000, 16, bytes);
    let source = wav_24(48_000, 96_000);
    let dts = ffmpeg(&source, &["-c:a", "dca", "-strict", "-2", "-b:a", "1411200"], "a.dts");
    let ac3 = ffmpeg(&source, &["-c:a", "ac3", "-b:a", "448k"], "a.ac3");
    let swapped = |bytes: &[u8]| bytes.chunks_exact(2).flat_map(|b| [b[1], b[0]]).collect::<Vec<_>>();
    let spdif = ffmpeg(&source, &["-c:a", "ac3", "-f", "spdif"], "a.spdif");
    // Behind silence, too.
    let late = [vec![0; 40_000], dts.clone()].concat();
    for (bytes, name) in [
        (&dts, "DTS"),
        (&swapped(&dts), "DTS"),
        (&ac3, "AC-3"),
        (&swapped(&ac3), "AC-3"),
        (&spdif, "Dolby"),
        (&late, "DTS"),
    ] {
        let (code, text) = refusal(&inside(bytes));
        assert_eq!(code, "decode.unsupported_codec");
        assert!(text.contains(name), "{text}");
    }
    for (tag, name) in [(0x55, "MP3"), (0x2000, "AC-3"), (0x1234, "unknown")] {
        let (code, text) = refusal(&wav(tag, 2, 48_000, 16, &[1; 4000]));
        assert!(code == "decode.unsupported_codec" && text.contains(name), "{text}");
    }
}

#[test]
fn aiff_and_caf_whose_sizes_disagree_are_whole() {
    let music = music(20_001);
    let data: Vec<u8> = music.iter().flatten().flat_map(|x| x.to_be_bytes()[1..].to_vec()).collect();
    let big = |id: &[u8; 4], size: u32, body: &[u8]| [&id[..], &size.to_be_bytes(), body].concat();
    let file = |count: u32, size: u32, behind: &[u8]| {
        let mut common = vec![0, 2];
        common.extend(count.to_be_bytes());
        common.extend([0, 24, 0x40, 0x0E, 0xAC, 0x44, 0, 0, 0, 0, 0, 0]);
        let body =
            [&b"AIFF"[..], &big(b"COMM", 18, &common), &big(b"SSND", size, &[&[0; 8], &data[..], behind].concat())]
                .concat();
        big(b"FORM", 0, &body)
    };
    let whole = data.len() as u32 + 8;
    let name = big(b"NAME", 4, b"Name");
    for (count, size, behind) in [
        (20_001, whole, &name[..]),
        (0, 0, &[]),
        (20_001, 0, &[]),
        (10_000, whole, &name),
        (20_001, u32::MAX, &[]),
        (0, whole, &name),
    ] {
        assert_exact(&read(&file(count, size, behind)).unwrap(), &music, 24);
    }
    assert_eq!(refusal(&file(40_000, whole, &name)).0, "decode.truncated");

    let caf = ffmpeg(&wav(1, 2, 44_100, 24, &bytes_24(&music)), &["-c:a", "pcm_s24le"], "a.caf");
    let at = caf.windows(4).position(|w| w == b"data").unwrap();
    let end = at + 16 + music.len() * 6;
    let mut open = caf[..end].to_vec();
    open[at + 4..at + 12].fill(0xFF);
    assert_exact(&read(&open).unwrap(), &music, 24);
}

#[test]
fn dxd_is_lowered_to_rates_of_the_engine() {
    for (rate, lowered) in [(352_800, 176_400), (384_000, 192_000)] {
        let track = read(&wav_24(rate, 35_280)).unwrap();
        assert_eq!((track.source.rate, track.audio.rate), (rate, lowered));
        assert_eq!(track.audio.frames(), 17_640);
    }
    assert_eq!(refusal(&wav_24(400_000, 900)).0, "decode.bad_rate");
}

// Tags.

fn id3(version: u8, frames: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, text) in frames {
        body.extend(*name);
        body.extend((text.len() as u32).to_be_bytes());
        body.extend([0, 0]);
        body.extend(*text);
    }
    let size = [21, 14, 7, 0].map(|shift| (body.len() >> shift & 0x7F) as u8);
    [&b"ID3"[..], &[version, 0, 0], &size, &body].concat()
}

#[test]
fn the_better_tag_wins_and_all_values_count() {
    let mp3 =
        ffmpeg(&wav_24(44_100, 60_000), &["-c:a", "libmp3lame", "-id3v2_version", "0", "-map_metadata", "-1"], "a.mp3");
    let long = "A title that goes on for longer than thirty letters";
    let mut old = b"TAG".to_vec();
    old.extend(&long.as_bytes()[..30]);
    old.extend(format!("{:<30}{:<30}1999{:<30}\x11", "Someone", "Record", "Words").as_bytes());
    let track = read(&[id3(3, &[(b"TIT2", format!("\0{long}").as_bytes())]), mp3.clone(), old].concat()).unwrap();
    assert_eq!(track.tags.title.as_deref(), Some(long));
    // What the first does not have comes from the second.
    assert_eq!((track.tags.artist.as_deref(), track.tags.genre.as_deref()), (Some("Someone"), Some("Rock")));

    let several =
        id3(4, &[(b"TPE1", b"\x03Alice\0Bob\0Carol"), (b"TIT2", b"\x03One\0Two"), (b"TCON", b"\x03Dub\0Jazz")]);
    let tags = read(&[several, mp3].concat()).unwrap().tags;
    assert_eq!((tags.artist.as_deref(), tags.title.as_deref()), (Some("Alice; Bob; Carol"), Some("One")));
    assert_eq!(tags.genre.as_deref(), Some("Dub; Jazz"));

    let comments = [
        "ARTIST=Alice",
        "ARTIST=Bob",
        "LYRICS=la la",
        "BPM=120",
        "BARCODE=0123456789012",
        "CATALOGNUMBER=CAT 1",
        "MUSICBRAINZ_TRACKID=f1d5f3b0-0000-4000-8000-000000000000",
    ];
    let arguments: Vec<&str> = comments.iter().flat_map(|comment| ["-T", comment]).collect();
    for (extra, name) in [(&[][..], "a.flac"), (&["--ogg"], "a.oga")] {
        let tags = read(&made("flac", &wav_24(44_100, 20_000), &[&arguments[..], extra].concat(), name)).unwrap().tags;
        assert_eq!(tags.artist.as_deref(), Some("Alice; Bob"), "{name}");
        for (key, value) in [
            ("lyrics", "la la"),
            ("bpm", "120"),
            ("barcode", "0123456789012"),
            ("catalognumber", "CAT 1"),
            ("musicbrainz_trackid", "f1d5f3b0-0000-4000-8000-000000000000"),
        ] {
            assert_eq!(tags.more.get(key).map(String::as_str), Some(value), "{name}");
        }
    }
}

#[test]
fn tags_of_a_wav_have_an_order_and_a_clock() {
    let list = chunk(*b"LIST", b"INFOINAM\x04\0\0\0????IART\x04\0\0\0Band");
    let tag = chunk(*b"id3 ", &id3(4, &[(b"TIT2", "\x03Лучшее".as_bytes())]));
    let mut bext = vec![0; 602];
    bext[..7].copy_from_slice(b"Scene 1");
    bext[338..346].copy_from_slice(&(3_600 * 44_100_u64).to_le_bytes());
    let bext = chunk(*b"bext", &bext);
    let parts = |chunks: &[&Vec<u8>]| {
        let fmt = chunk(*b"fmt ", &format(1, 2, 44_100, 24));
        let data = chunk(*b"data", &bytes_24(&music(5_000)));
        let chunks: Vec<Vec<u8>> = chunks.iter().map(|c| (*c).clone()).collect();
        riff(&[chunks, vec![fmt, data]].concat())
    };
    for order in [[&list, &tag, &bext], [&tag, &bext, &list]] {
        let tags = read(&parts(&order)).unwrap().tags;
        assert_eq!((tags.title.as_deref(), tags.artist.as_deref()), (Some("Лучшее"), Some("Band")));
        assert_eq!(
            (tags.description.as_deref(), tags.time_reference),
            (Some("Scene 1"), Some((3_600 * 44_100, 44_100)))
        );
    }
}

// Pipes.

#[cfg(unix)]
#[test]
fn pipes_are_read_to_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.wav");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (to, file) = (pipe.clone(), wav_24(44_100, 100_000));
    let writer = std::thread::spawn(move || fs::write(to, file).unwrap());
    assert_eq!(decode_file(&pipe, &Limits::default()).unwrap().audio.frames(), 100_000);
    writer.join().unwrap();
    // More than may be read.
    let (to, file) = (pipe.clone(), wav_24(44_100, 2_000_000));
    let writer = std::thread::spawn(move || fs::write(to, file).is_ok());
    let error = decode_file(&pipe, &Limits { bytes: 1 << 20, ..Limits::default() }).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
    drop(writer);
}

#[cfg(unix)]
#[test]
#[ignore = "waits for half a minute"]
fn a_pipe_that_nobody_writes_to_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.wav");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = decode_file(Path::new(&pipe), &Limits::default()).unwrap_err();
    assert_eq!(error.code(), "decode.read");
    assert!(error.to_string().contains("pipe"), "{error}");
    assert!(decode(Cursor::new(b""), None, &Limits::default()).is_err());
}
