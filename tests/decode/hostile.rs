//! Nothing that a file can hold may panic, hang or take memory that the limits do not allow.

use super::{chunk, format, riff, wav_24};
use loopmaster_core::{decode::decode, settings::Limits};
use proptest::prelude::*;
use std::{io::Cursor, process::Command, sync::LazyLock};

/// One small valid file of every container, each about a fifth of a second.
static SEEDS: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.wav");
    std::fs::write(&source, wav_24(48_000, 9_600)).unwrap();
    let mut seeds = vec![
        ("wav", wav_24(48_000, 9_600)),
        (
            "wav",
            riff(&[
                chunk(*b"LIST", b"INFOINAM\x04\0\0\0Name"),
                chunk(*b"fmt ", &format(3, 1, 44_100, 32)),
                chunk(*b"data", &[0x3e; 4_000]),
            ]),
        ),
    ];
    for (name, codec) in [
        ("a.flac", "flac"),
        ("a.mp3", "libmp3lame"),
        ("a.m4a", "aac"),
        ("b.m4a", "alac"),
        ("a.ogg", "libvorbis"),
        ("a.opus", "libopus"),
        ("a.aiff", "pcm_s16be"),
        ("a.caf", "pcm_s16le"),
        ("a.mka", "flac"),
        ("a.aac", "aac"),
    ] {
        let path = folder.path().join(name);
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-y", "-v", "error", "-i"])
            .arg(&source)
            .args(["-metadata", "title=Title", "-c:a", codec])
            .arg(&path)
            .status()
            .expect("ffmpeg makes the files of this test; install it (./test does)");
        assert!(made.success(), "{name}");
        seeds.push((name.split('.').next_back().unwrap(), std::fs::read(&path).unwrap()));
    }
    seeds
});

/// Decodes under narrow limits; whatever comes out must keep to them.
fn attempt(bytes: &[u8], extension: Option<&str>) {
    let limits = Limits { seconds: 5.0, bytes: 8 << 20, metadata: 1 << 20, ..Limits::default() };
    match decode(Cursor::new(bytes), extension, &limits) {
        Ok(track) => {
            let most = (limits.seconds * f64::from(track.source.rate)) as u64;
            assert!(track.source.frames <= most && track.audio.frames() > 0);
            assert!((44_100..=192_000).contains(&track.audio.rate));
            for channel in &track.audio.channels {
                assert_eq!(channel.len(), track.audio.frames());
                assert!(channel.iter().all(|x| x.is_finite()));
            }
        }
        // The overflow checks of this profile make some of symphonia's sums panic; those arrive as `corrupt`, too.
        Err(e) => assert!(e.code().starts_with("decode."), "{e}"),
    }
}

#[test]
fn the_seeds_are_valid() {
    for (name, bytes) in SEEDS.iter() {
        let result = decode(Cursor::new(bytes), Some(name), &Limits::default());
        assert!(result.is_ok(), "{name}: {:?}", result.err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn flipped_and_cut_files_are_survived(
        seed in 0..12_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..12),
        keep in prop_oneof![2 => Just(1.0), 1 => 0.0..1.0],
    ) {
        let (extension, bytes) = &SEEDS[seed];
        let mut bytes = bytes.clone();
        for (at, value, early) in flips {
            // Headers are where the lies hurt.
            let range = if early { bytes.len().min(256) } else { bytes.len() };
            bytes[at.index(range)] = value;
        }
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        attempt(&bytes, Some(extension));
    }

    #[test]
    fn rubbish_behind_a_true_beginning_is_survived(
        seed in 0..12_usize,
        keep in 4..64_usize,
        tail in prop::collection::vec(any::<u8>(), 0..4_096),
    ) {
        let (extension, bytes) = &SEEDS[seed];
        attempt(&[&bytes[..keep], &tail].concat(), Some(extension));
    }

    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..8_192)) {
        attempt(&bytes, None);
    }
}

/// A header may declare what it likes: under the limits, memory is reserved only for what the file can hold.
#[test]
fn declared_lengths_reserve_no_memory() {
    let flac = SEEDS.iter().find(|(name, _)| *name == "flac").unwrap().1.clone();
    let mut lying = flac.clone();
    // STREAMINFO: 36 bits of total samples end at byte 25; declare 2^28, 93 minutes at 48 kHz.
    lying[22..26].copy_from_slice(&(1_u32 << 28).to_be_bytes());
    let error = decode(Cursor::new(&lying), None, &Limits::default()).unwrap_err();
    println!("{error}");
    assert_eq!(error.code(), "decode.truncated");
    assert!(error.to_string().contains("of 93:"), "{error}");
}

/// Sizes that no file can have, as the formats write them: of 64 and 32 bits, signed and unsigned, either way round.
fn impossible() -> Vec<Vec<u8>> {
    let long = [i64::MAX as u64, i64::MAX as u64 - 7, 1 << 63, u64::MAX, u64::MAX - 7, u64::MAX << 32, 1 << 40];
    let short = [i32::MAX as u32, 1 << 31, u32::MAX, u32::MAX - 7];
    let long = long.into_iter().flat_map(|n| [n.to_be_bytes().to_vec(), n.to_le_bytes().to_vec()]);
    let short = short.into_iter().flat_map(|n| [n.to_be_bytes().to_vec(), n.to_le_bytes().to_vec()]);
    // Matroska's sizes carry their own length: eight bytes of "unknown", and the largest that is known. ID3's have seven bits a byte.
    let own = [vec![0x01, 255, 255, 255, 255, 255, 255, 255], vec![0x01, 255, 255, 255, 255, 255, 255, 254]];
    long.chain(short).chain(own).chain([vec![0x7f; 4]]).collect()
}

fn code(bytes: &[u8], extension: &str) -> String {
    let limits = Limits { seconds: 5.0, bytes: 8 << 20, metadata: 1 << 20, ..Limits::default() };
    match decode(Cursor::new(bytes), Some(extension), &limits) {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{} {error}", error.code()),
    }
}

/// `decode.read` says that the machine could not read the file, and is tried again: no size in a file may bring that about.
#[test]
fn no_size_in_a_header_is_taken_for_a_fault_of_the_machine() {
    use rayon::prelude::*;
    let values = impossible();
    let places: Vec<(usize, usize)> = SEEDS
        .iter()
        .enumerate()
        .flat_map(|(seed, (name, bytes))| {
            // An MP4 has its tables at the end.
            let tables = bytes.len().saturating_sub(if *name == "m4a" { 1_200 } else { 0 });
            (0..bytes.len().min(160)).chain(tables..bytes.len()).map(move |at| (seed, at))
        })
        .collect();
    places.par_iter().for_each(|&(seed, at)| {
        let (name, bytes) = &SEEDS[seed];
        let mut lying = bytes.clone();
        // Each place gets an eighth of them, in turn; all of them in the long run.
        let long = std::env::var("PROPTEST_CASES").is_ok();
        let (first, step) = if long { (0, 1) } else { (at % 8, 8) };
        for value in values.iter().skip(first).step_by(step) {
            let end = bytes.len().min(at + value.len());
            lying[at..end].copy_from_slice(&value[..end - at]);
            let found = code(&lying, name);
            assert!(!found.starts_with("decode.read"), "{name}, {value:02x?} at {at}: {found}");
            lying[at..end].copy_from_slice(&bytes[at..end]);
        }
    });
}

/// A `caff` chunk.
fn caf_chunk(id: [u8; 4], size: i64, body: &[u8]) -> Vec<u8> {
    [&id[..], &size.to_be_bytes(), body].concat()
}

/// Files with one size that cannot be, and with which every one of them once was tried five times.
pub(crate) fn crafted() -> Vec<(String, &'static str, Vec<u8>)> {
    let mut files = Vec::new();
    let desc = [&48_000_f64.to_be_bytes()[..], b"lpcm", &[0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 16]]
        .concat();
    for size in [i64::MAX, i64::MAX - 1, i64::MIN, -2, -8, 1 << 62] {
        for id in [*b"data", *b"free", *b"info", *b"pakt", *b"kuki", *b"chan"] {
            let head = [&b"caff\0\x01\0\0"[..], &caf_chunk(*b"desc", 32, &desc)].concat();
            let bytes = [head, caf_chunk(id, size, &[1; 4_000])].concat();
            files.push((format!("caf {} {size}", String::from_utf8_lossy(&id)), "caf", bytes));
        }
    }
    let ftyp = [&24_u32.to_be_bytes()[..], b"ftypM4A \0\0\0\0M4A mp42"].concat();
    for size in [u64::MAX, u64::MAX - 7, 1 << 63, i64::MAX as u64, i64::MAX as u64 - 15, 1 << 62] {
        for id in [b"mdat", b"moov", b"free", b"uuid"] {
            let bytes = [&ftyp[..], &1_u32.to_be_bytes(), id, &size.to_be_bytes(), &[0; 4_000]].concat();
            files.push((format!("mp4 {} {size}", String::from_utf8_lossy(id)), "m4a", bytes));
        }
    }
    for size in [u64::MAX, 1 << 63, i64::MAX as u64] {
        let ds64 = [&size.to_le_bytes()[..], &size.to_le_bytes(), &size.to_le_bytes(), &[0; 4]].concat();
        let data = [&b"data"[..], &u32::MAX.to_le_bytes(), &[7; 4_000]].concat();
        let mut bytes = riff(&[chunk(*b"ds64", &ds64), chunk(*b"fmt ", &format(1, 2, 48_000, 16)), data]);
        bytes[..4].copy_from_slice(b"RF64");
        files.push((format!("rf64 {size}"), "wav", bytes));
    }
    files
}

#[test]
fn sizes_that_cannot_be_are_refused_for_good() {
    for (name, extension, bytes) in crafted() {
        let found = code(&bytes, extension);
        // A size of all ones in an RF64 says that nobody knew it: the sound goes to the end of the file.
        let whole = name.starts_with("rf64") && found == "ok";
        assert!(whole || found.starts_with("decode.") && !found.starts_with("decode.read"), "{name}: {found}");
    }
}
