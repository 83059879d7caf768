//! Any bytes at all → a track within the limits, or a refusal with a code.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loopmaster_core::{decode::decode, settings::Limits};
use std::io::Cursor;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { seconds: 5.0, bytes: 1 << 20, metadata: 1 << 16, ..Limits::default() };
    match decode(Cursor::new(bytes), None, &limits) {
        Ok(track) => {
            assert!(track.source.frames as f64 <= limits.seconds * f64::from(track.source.rate));
            assert!(track.audio.frames() > 0 && (44_100..=192_000).contains(&track.audio.rate));
            let [left, right] = &track.audio.channels;
            assert_eq!(left.len(), right.len());
            assert!(left.iter().chain(right).all(|x| x.is_finite()));
        }
        Err(refusal) => assert!(refusal.code().starts_with("decode.")),
    }
});
