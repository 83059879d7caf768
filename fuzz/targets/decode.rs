//! Any bytes at all → a track within the limits, or a refusal with a code.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loopmaster_core::{decode::decode, settings::Limits};
use std::io::Cursor;
use std::panic::{set_hook, take_hook};

/// Aborts on panics of our own code only. The container and codec libraries panic on some inputs, and `decode` makes a refusal of it.
fn ours_only() {
    let abort = take_hook();
    set_hook(Box::new(move |panic| {
        let theirs = |file: &str| file.contains("/registry/src/") || file.starts_with("/rustc/");
        if !panic.location().is_some_and(|place| theirs(place.file())) {
            abort(panic);
        }
    }));
}

fuzz_target!(init: ours_only(), |bytes: &[u8]| {
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
