//! Written files, read by programs that are not ours: ffmpeg and ffprobe, flac and metaflac, sha256sum.

use loopmaster_core::Audio;
use loopmaster_core::analyse::{LoudnessFigures, analyse_audio};
use loopmaster_core::decode::{Picture, Source, Tags, decode_file};
use loopmaster_core::encode::{Encoded, Metadata, encode};
use loopmaster_core::plan::{Goal, Limiter, Plan};
use loopmaster_core::settings::{Codec, Limits};
use loopmaster_core::units::{Db, Dbtp, Lufs, Seconds};
use loopmaster_core::verify::{Expect, verify};
use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const LOSSLESS: [Codec; 5] = [Codec::Wav16, Codec::Wav24, Codec::Wav32f, Codec::Flac16, Codec::Flac24];

/// One sample; a prime below a FLAC block, its neighbours; a segment of the encoders and its neighbours; a prime beyond.
const LENGTHS: [usize; 8] = [1, 31, 4_095, 4_097, 65_535, 65_536, 65_537, 100_003];

/// Runs a program and returns what it printed.
fn program(name: &str, args: &[&str], file: &Path) -> Vec<u8> {
    let output = Command::new(name).args(args).arg(file).output();
    let output = output.unwrap_or_else(|e| panic!("{name}: {e}; `./test` installs it"));
    assert!(output.status.success(), "{name} {args:?} {file:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What ffmpeg decodes, interleaved: `f32le` or `s32le`.
fn ffmpeg(file: &Path, format: &str) -> Vec<[u8; 4]> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-f", format, "-"])
        .output()
        .expect("ffmpeg; `./test` installs it");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{file:?}: {errors}");
    output.stdout.as_chunks::<4>().0.to_vec()
}

fn floats(bytes: &[[u8; 4]]) -> [Vec<f32>; 2] {
    let channel = |c: usize| bytes.iter().skip(c).step_by(2).map(|b| f32::from_le_bytes(*b)).collect();
    [channel(0), channel(1)]
}

fn probe(file: &Path) -> serde_json::Value {
    let args = ["-v", "error", "-of", "json", "-show_format", "-show_streams"];
    serde_json::from_slice(&program("ffprobe", &args, file)).unwrap()
}

struct Written {
    _folder: TempDir,
    path: PathBuf,
    encoded: Encoded,
}

fn write(audio: &Audio, codec: Codec, meta: &Metadata) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master").with_extension(codec.extension());
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let encoded = encode(audio, codec, meta, &mut file).unwrap();
    assert_eq!(encoded.bytes, path.metadata().unwrap().len());
    Written { _folder: folder, path, encoded }
}

/// Noise of `bits`-bit words, the whole range, different on both channels.
fn words(rate: u32, frames: usize, bits: u32) -> Audio {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 32) as i32 >> (32 - bits)) as f32 / (1_u32 << (bits - 1)) as f32
    };
    Audio::new(rate, [(0..frames).map(|_| word()).collect(), (0..frames).map(|_| word()).collect()])
}

/// Something like music: low and high tones, fading, with a hard-panned part, at most −3 dBFS.
fn music(rate: u32, frames: usize) -> Audio {
    let sample = |i: usize, c: f64| {
        let t = i as f64 / f64::from(rate);
        let tone = |hz: f64| (std::f64::consts::TAU * hz * t).sin();
        let pulse = (-8.0 * (2.0 * t).fract()).exp();
        (0.3 * tone(110.0) + 0.2 * pulse * tone(440.0 * c) + 0.15 * tone(3_000.0 * c)) as f32
    };
    let channel = |c: f64| (0..frames).map(|i| sample(i, c)).collect();
    Audio::new(rate, [channel(1.0), channel(1.01)])
}

/// The body of a RIFF chunk.
fn chunk(file: &[u8], name: [u8; 4]) -> Option<&[u8]> {
    let mut rest = file.get(12..)?;
    loop {
        let (head, body) = rest.split_at_checked(8)?;
        let size = u32::from_le_bytes(head[4..].try_into().unwrap()) as usize;
        if head.starts_with(&name) {
            return body.get(..size);
        }
        rest = body.get(size + size % 2..)?;
    }
}

fn tagged() -> Metadata {
    // The smallest PNG: one grey pixel.
    let png =
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cch\0\0\0\x82\0\x81\
        w\xcdr\xb6\0\0\0\0IEND\xaeB`\x82";
    Metadata {
        tags: Tags {
            title: Some("Größer / Night Drive".to_owned()),
            artist: Some("Ana & Björn".to_owned()),
            album: Some("First Light".to_owned()),
            album_artist: Some("Various".to_owned()),
            track: Some((3, Some(12))),
            disc: Some((1, None)),
            date: Some("2026".to_owned()),
            genre: Some("Electronic".to_owned()),
            composer: Some("A. Müller".to_owned()),
            copyright: Some("2026 Somebody".to_owned()),
            publisher: Some("A Label".to_owned()),
            isrc: Some("DEXX12600001".to_owned()),
            comment: Some("mastered at −14".to_owned()),
            description: Some("Scene 1".to_owned()),
            time_reference: Some((3_600 * 44_100, 44_100)),
            more: [("barcode", "0123456789012"), ("bpm", "120"), ("catalognumber", "CAT 1"), ("lyrics", "la la")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            cover: Some(Picture { mime: "image/png".to_owned(), bytes: png.to_vec() }),
        },
        loudness: LoudnessFigures { integrated: Some(Lufs(-14.0)), ..LoudnessFigures::default() },
        true_peak: Some(Dbtp(-1.0)),
        seed: 42,
        ..Metadata::default()
    }
}

#[test]
fn lossless_files_come_back_exactly() {
    for codec in LOSSLESS {
        for frames in LENGTHS {
            let audio = words(44_100, frames, codec.bits().unwrap_or(24));
            let written = write(&audio, codec, &Metadata::default());
            assert!(!written.encoded.dithered && written.encoded.clamped == 0);
            // Every word of up to 24 bits is exact in f32.
            assert!(floats(&ffmpeg(&written.path, "f32le")) == audio.channels, "{} {frames}", codec.name());
        }
    }
}

#[test]
fn floats_keep_every_bit() {
    let mut audio = music(96_000, 5_000);
    audio.channels[0][7] = 1.75;
    audio.channels[1][9] = 1e-30;
    assert_eq!(floats(&ffmpeg(&write(&audio, Codec::Wav32f, &tagged()).path, "f32le")), audio.channels);
}

#[test]
fn dithered_files_hold_the_master_within_an_lsb_and_a_half() {
    let audio = music(48_000, 70_001);
    for (codec, same) in [(Codec::Wav16, Codec::Flac16), (Codec::Wav24, Codec::Flac24)] {
        let lsb = 1.0 / f64::from(1 << (codec.bits().unwrap() - 1));
        let written = write(&audio, codec, &tagged());
        assert!(written.encoded.dithered);
        let bytes = ffmpeg(&written.path, "f32le");
        for (decoded, master) in floats(&bytes).iter().zip(&audio.channels) {
            for (d, m) in decoded.iter().zip(master) {
                assert!((f64::from(*d) - f64::from(*m)).abs() <= 1.5 * lsb);
            }
        }
        assert!(bytes == ffmpeg(&write(&audio, same, &tagged()).path, "f32le"), "{} and {}", codec.name(), same.name());
    }
}

#[test]
fn flac_and_metaflac_agree() {
    for (codec, bits) in [(Codec::Flac16, "16"), (Codec::Flac24, "24")] {
        for rate in [44_100, 96_000, 192_000] {
            for frames in LENGTHS {
                let written = write(&music(rate, frames), codec, &tagged());
                let file = &written.path;
                program("flac", &["-t", "-s", "-w"], file);
                let show = |what: &str| String::from_utf8(program("metaflac", &[what], file)).unwrap();
                assert_eq!(show("--show-total-samples").trim(), frames.to_string());
                assert_eq!(show("--show-bps").trim(), bits);
                assert_ne!(show("--show-md5sum").trim(), "0".repeat(32));
            }
        }
    }
}

#[test]
fn ffprobe_reads_the_format() {
    for (codec, name, bits) in [
        (Codec::Wav16, "pcm_s16le", "16"),
        (Codec::Wav24, "pcm_s24le", "24"),
        (Codec::Wav32f, "pcm_f32le", "32"),
        (Codec::Flac16, "flac", "16"),
        (Codec::Flac24, "flac", "24"),
        (Codec::Mp3Cbr320, "mp3", ""),
        (Codec::Mp3V0, "mp3", ""),
        (Codec::Opus, "opus", ""),
    ] {
        for rate in if codec.lossy() { vec![48_000] } else { vec![44_100, 88_200, 192_000] } {
            let written = write(&music(rate, rate as usize / 2), codec, &tagged());
            let report = probe(&written.path);
            let stream = &report["streams"][0];
            assert_eq!(stream["codec_name"], name);
            assert_eq!(stream["sample_rate"], rate.to_string());
            assert_eq!(stream["channels"], 2);
            let told = [&stream["bits_per_raw_sample"], &stream["bits_per_sample"]].map(ToString::to_string);
            assert!(bits.is_empty() || told.iter().any(|t| t.trim_matches('"') == bits), "{name}: {told:?}");
            let seconds: f64 = report["format"]["duration"].as_str().unwrap().parse().unwrap();
            // ffprobe counts whole frames of lossy codecs, with the ends that a decoder cuts off: 1105 + 1152 at most.
            assert!((seconds - 0.5).abs() <= if codec.lossy() { 0.06 } else { 1e-6 }, "{name}: {seconds} s");
        }
    }
}

#[test]
fn tags_cover_and_isrc_travel() {
    for (_, codec) in Codec::ALL {
        let written = write(&music(48_000, 48_000), codec, &tagged());
        let mut report = probe(&written.path);
        if codec.extension() == "wav" {
            assert_eq!(report["format"]["tags"]["title"], "Größer / Night Drive");
            let bext = chunk(&std::fs::read(&written.path).unwrap(), *b"bext").unwrap().to_vec();
            assert_eq!((&bext[..8], &bext[338..346]), (&b"Scene 1\0"[..], &(3_600 * 48_000_u64).to_le_bytes()[..]));
            assert_eq!(report["format"]["tags"]["originator_reference"], "LoopMastering-000000000000002a");
            let bytes = std::fs::read(&written.path).unwrap();
            assert!(String::from_utf8_lossy(&bytes).contains("<dc:identifier>ISRC:DEXX12600001<"));
            // ffprobe shows the INFO list alone where there is one: show it the ID3 chunk at the head of an MP3.
            let mp3 = write(&music(48_000, 48_000), Codec::Mp3V0, &Metadata { clean: true, ..tagged() });
            let id3 = chunk(&bytes, *b"id3 ").expect("an ID3 chunk");
            std::fs::write(&mp3.path, [id3, &std::fs::read(&mp3.path).unwrap()].concat()).unwrap();
            report = probe(&mp3.path);
        }
        let mut tags = std::collections::BTreeMap::new();
        for place in [&report["format"]["tags"], &report["streams"][0]["tags"]] {
            for (key, value) in place.as_object().into_iter().flatten() {
                tags.insert(key.to_lowercase(), value.as_str().unwrap().to_owned());
            }
        }
        let get = |keys: &[&str]| keys.iter().find_map(|k| tags.get(*k)).map_or("", String::as_str);
        let name = codec.name();
        assert_eq!(get(&["title"]), "Größer / Night Drive", "{name}: {tags:?}");
        assert_eq!(get(&["artist"]), "Ana & Björn", "{name}");
        assert_eq!(get(&["album"]), "First Light", "{name}");
        assert_eq!(get(&["genre"]), "Electronic", "{name}");
        assert_eq!(get(&["composer"]), "A. Müller", "{name}");
        assert!(get(&["date", "tyer"]).contains("2026"), "{name}: {tags:?}");
        assert!(get(&["track", "tracknumber"]).starts_with('3'), "{name}: {tags:?}");
        assert_eq!(get(&["isrc", "tsrc"]), "DEXX12600001", "{name}: {tags:?}");
        assert_eq!(get(&["barcode"]), "0123456789012", "{name}: {tags:?}");
        assert_eq!(get(&["bpm", "tbpm"]), "120", "{name}: {tags:?}");
        assert_eq!(get(&["catalognumber"]), "CAT 1", "{name}: {tags:?}");
        assert!(tags.iter().any(|(key, value)| key.starts_with("lyrics") && value == "la la"), "{name}: {tags:?}");
        if codec == Codec::Opus {
            assert_eq!(get(&["r128_track_gain"]), "-2304");
        } else {
            assert_eq!(get(&["replaygain_track_gain"]), "-4.00 dB", "{name}: {tags:?}");
            assert_eq!(get(&["replaygain_track_peak"]), "0.891251", "{name}");
        }
        let streams = report["streams"].as_array().unwrap();
        assert!(streams.iter().any(|s| s["codec_name"] == "png"), "{name}: no cover");

        let clean = write(&music(48_000, 4_800), codec, &Metadata { clean: true, ..tagged() });
        let bytes = std::fs::read(&clean.path).unwrap();
        for trace in [&b"Night"[..], b"N\0i\0g\0h\0t", b"DEXX", b"LoopMastering", b"PNG"] {
            assert!(!bytes.windows(trace.len()).any(|w| w == trace), "{name} is not clean");
        }
    }
}

#[test]
fn lossy_files_come_back_in_place_and_in_length() {
    for codec in [Codec::Mp3Cbr320, Codec::Mp3V0, Codec::Opus] {
        for frames in LENGTHS {
            let audio = music(48_000, frames);
            let decoded = floats(&ffmpeg(&write(&audio, codec, &tagged()).path, "f32le"));
            assert_eq!(decoded[0].len(), frames, "{}", codec.name());
            if frames < 65_535 {
                continue;
            }
            for (decoded, master) in decoded.iter().zip(&audio.channels) {
                let energy = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
                let error: Vec<f32> = decoded.iter().zip(master).map(|(d, m)| d - m).collect();
                let snr = 10.0 * (energy(master) / energy(&error)).log10();
                let level = 10.0 * (energy(decoded) / energy(master)).log10();
                println!("{} {frames}: error {:.1} dB, level {level:+.3} dB", codec.name(), -snr);
                // One frame out of place would leave −8 dB of the 3 kHz tone alone.
                assert!(snr > 15.0 && level.abs() < 0.1, "{}: {snr} dB, {level} dB", codec.name());
            }
        }
    }
}

#[test]
fn the_sum_is_that_of_the_file_and_the_bytes_do_not_depend_on_threads() {
    let audio = music(48_000, 1_200_007);
    for (_, codec) in Codec::ALL {
        let written = write(&audio, codec, &tagged());
        let sum = String::from_utf8(program("sha256sum", &["-b"], &written.path)).unwrap();
        assert_eq!(sum.split_whitespace().next(), Some(written.encoded.sha256.as_str()), "{}", codec.name());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let again = pool.install(|| encode(&audio, codec, &tagged(), &mut Cursor::new(Vec::new()))).unwrap();
        assert_eq!(again, written.encoded);
    }
}

#[test]
fn a_full_disk_is_named() {
    let audio = words(48_000, 100_000, 24);
    for (_, codec) in Codec::ALL {
        let mut full = File::options().read(true).write(true).open("/dev/full").unwrap();
        let error = encode(&audio, codec, &tagged(), &mut full).unwrap_err();
        assert_eq!(error.code(), "encode.disk_full", "{}: {error}", codec.name());
    }
}

#[test]
fn wrong_rates_and_empty_masters_are_refused() {
    let mut out = Cursor::new(Vec::new());
    let meta = Metadata::default();
    for (codec, rate) in [(Codec::Mp3Cbr320, 96_000), (Codec::Mp3V0, 88_200), (Codec::Opus, 44_100)] {
        let error = encode(&music(rate, 100), codec, &meta, &mut out).unwrap_err();
        assert_eq!(error.code(), "encode.rate");
        assert!(error.to_string().contains(&rate.to_string()), "{error}");
    }
    assert_eq!(encode(&Audio::silence(44_100, 0), Codec::Wav24, &meta, &mut out).unwrap_err().code(), "encode.empty");
}

#[test]
fn our_decoder_reads_every_format_back_and_every_gate_holds() {
    // A master that is its own mix: what may not have changed has not.
    let master = music(48_000, 5 * 48_000 + 17);
    let mix = analyse_audio(&master, Source::default());
    let mut plan = Plan::identity();
    plan.goal = Goal::Loudness { target: mix.loudness.integrated.unwrap(), wished: None };
    plan.tone.bound = Db(0.1);
    plan.limiter = Some(Limiter {
        ceiling: Dbtp(-1.0),
        lookahead: Seconds(0.002),
        release_min: Seconds(0.03),
        release_max: Seconds(0.3),
    });
    for (name, codec) in Codec::ALL {
        let meta = tagged();
        let written = write(&master, codec, &meta);
        let decoded = decode_file(&written.path, &Limits::default()).unwrap();
        assert_eq!((decoded.tags.title, decoded.tags.isrc), (meta.tags.title, meta.tags.isrc), "{name}");
        assert_eq!(decoded.tags.cover, meta.tags.cover, "{name}");
        assert_eq!(codec == Codec::Wav32f, decoded.audio == master, "{name}");

        let verified = verify(&decoded.audio, &Expect { codec, master: &master, mix: &mix, plan: &plan });
        let gates: Vec<&str> = verified.gates.iter().map(|gate| gate.name.as_str()).collect();
        let all = ["finite", "length", "alignment", "loudness", "true_peak", "clipped", "tone", "mono_low", "mono"];
        assert_eq!(gates, all, "{name}");
        for gate in &verified.gates {
            println!("{name} {}: {}", gate.name, gate.text);
        }
        assert_eq!(verified.failed(), None, "{name}");
    }
}
