//! Songs of one record, mastered by `--album`: they stand beside each other as planned, whatever the order of the work.

use crate::cli::{events, master};
use loopmaster_core::decode::decode_file;
use loopmaster_core::encode::{Metadata, encode};
use loopmaster_core::meter::{Loudness, loudness::STEREO};
use loopmaster_core::settings::{Codec, Limits};
use serde_json::Value;
use std::path::Path;

/// Six songs, some of them exported lower than the others.
const SONGS: [(&str, f32); 6] = [
    ("impulslogik-zen", 1.0),
    ("momo64-esp", 0.5),
    ("settel-inner-recreation", 0.2),
    ("skiessi-onion", 1.0),
    ("tame-anderson-make-me", 0.8),
    ("thomasso-axe-from-the-80s", 0.6),
];

fn record(folder: &Path) {
    for (name, gain) in SONGS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.flac"));
        let mut audio = decode_file(&path, &Limits::default()).unwrap().audio;
        audio.channels.iter_mut().flatten().for_each(|x| *x *= gain);
        let mut file = std::fs::File::create_new(folder.join(named(name))).unwrap();
        encode(&audio, Codec::Wav32f, &Metadata::default(), &mut file).unwrap();
    }
}

fn named(name: &str) -> String {
    format!("{name}.wav")
}

fn delivered(name: &str) -> String {
    format!("{name} (master) 24-bit 44.1 kHz.wav")
}

fn clean(name: &str) -> String {
    delivered(name).replace("master", "master, no tags")
}

fn of<'a>(told: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let all = events(told, kind);
    all.into_iter().find(|event| event["file"] == named(name)).unwrap_or_else(|| panic!("no {kind} of {name}"))
}

/// Loudness of a master by the meter of its own.
fn loudness(folder: &Path, name: &str) -> f64 {
    let audio = decode_file(&folder.join(delivered(name)), &Limits::default()).unwrap().audio;
    let [left, right] = &audio.channels;
    Loudness::measure(&[left, right], &STEREO, audio.rate).integrated.unwrap().0
}

#[test]
fn songs_stand_beside_each_other_as_planned() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path());
    let names: Vec<String> = SONGS.iter().map(|(name, _)| named(name)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let call = |more: &[&str], names: &[&str], out: &str| {
        let (code, told) = master(folder.path(), &[more, names, &["-o", out]].concat());
        assert_eq!(code, 0, "{told:?}");
        told
    };
    let told = call(&["--album", "--threads", "2"], &names, "record");
    call(&["--threads", "2"], &names, "alone");
    let mut loudest = f64::NEG_INFINITY;
    for (number, (name, _)) in (1u64..).zip(SONGS) {
        let seat = &of(&told, "seat", name)["seat"];
        assert_eq!((seat["number"].as_u64(), seat["of"].as_u64()), (Some(number), Some(6)));
        let goal = &of(&told, "done", name)["plan"]["goal"]["loudness"];
        let (planned, reached) = (goal["target"].as_f64().unwrap(), loudness(&folder.path().join("record"), name));
        let by_itself = loudness(&folder.path().join("alone"), name);
        println!("{name}: {reached:.2} of {planned:.1}, seat {seat}, by itself {by_itself:.2}");
        assert!((reached - planned).abs() <= 0.1);
        // A song stops short of its seat only where its peaks would suffer.
        let wanted = seat["loudness"].as_f64().unwrap();
        assert!(planned <= wanted + 1e-9 && (planned >= wanted - 1e-9 || goal["wished"] == seat["loudness"]));
        let below = seat["below"].as_f64().unwrap();
        assert!((-4.0..=0.0).contains(&below));
        for point in seat["tone"].as_array().unwrap() {
            assert!(point[1].as_f64().unwrap().abs() <= 2.0);
        }
        loudest = loudest.max(below);
        let tags = lofty(&folder.path().join("record").join(delivered(name)));
        assert_eq!(tags, Some((number as u32, Some(6))));
    }
    assert_eq!(loudest, 0.0, "one song is the loudest");

    // The order of the songs only numbers them, and the bytes do not depend on the threads.
    let mut turned = names.clone();
    turned.reverse();
    call(&["--album", "--clean", "--threads", "2"], &names, "clean");
    call(&["--album", "--clean", "--threads", "1"], &turned, "turned");
    for (name, _) in SONGS {
        let bytes = |out: &str| std::fs::read(folder.path().join(out).join(clean(name))).unwrap();
        assert!(bytes("clean") == bytes("turned"), "{name}");
    }
}

fn lofty(path: &Path) -> Option<(u32, Option<u32>)> {
    decode_file(path, &Limits::default()).unwrap().tags.track
}

#[test]
fn a_song_that_cannot_be_read_costs_the_record_nothing_but_itself() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path());
    std::fs::write(folder.path().join("broken.wav"), b"RIFF, they say").unwrap();
    let call = ["--album", "impulslogik-zen.wav", "broken.wav", "-", "momo64-esp.wav", "-o", "out"];
    let (code, told) = master(folder.path(), &call);
    assert_eq!(code, 1);
    let failed: Vec<(&str, &str)> = events(&told, "failed")
        .iter()
        .map(|event| (event["file"].as_str().unwrap(), event["code"].as_str().unwrap()))
        .collect();
    assert_eq!(failed.len(), 2, "each is told once: {failed:?}");
    assert!(failed.contains(&("-", "album.standard_input")));
    let summary = events(&told, "summary")[0];
    assert_eq!((summary["mastered"].as_u64(), summary["failed"].as_u64()), (Some(2), Some(2)));
    assert_eq!(of(&told, "seat", "momo64-esp")["seat"]["of"], 2);

    let (code, _) = master(folder.path(), &["--album", "--plan", "x.json", "momo64-esp.wav"]);
    assert_eq!(code, 2, "a saved plan has its loudness already");
}
