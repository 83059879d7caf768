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
