//! The command line as a stranger meets it: the binary itself, real files, the whole table of bad input.

use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A few seconds of something like music: a bass line, chords with a moving tremolo, a noise hit every half second; stereo.
pub(crate) fn music(rate: u32, seconds: f64, gain: f32) -> [Vec<f32>; 2] {
    let frames = (f64::from(rate) * seconds) as usize;
    let mut noise = 0x1234_5678_u32;
    let mut channels = [Vec::with_capacity(frames), Vec::with_capacity(frames)];
    for n in 0..frames {
        let t = n as f64 / f64::from(rate);
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        let hit = (f64::from(noise) / f64::from(u32::MAX) - 0.5) * (-(t % 0.5) / 0.03).exp();
        let tone = |hz: f64, phase: f64| (std::f64::consts::TAU * hz * t + phase).sin();
        let bass = 0.35 * tone(55.0 + 27.5 * ((t / 2.0) as u32 % 3) as f64, 0.0);
        let tremolo = 0.6 + 0.4 * tone(0.7, 0.0);
        let chord =
            |phase: f64| tremolo * 0.08 * (tone(220.0, phase) + tone(277.2, 2.0 * phase) + tone(1_318.5, phase));
        channels[0].push(gain * (bass + chord(0.0) + 0.5 * hit) as f32);
        channels[1].push(gain * (bass + chord(0.9) + 0.4 * hit) as f32);
    }
    channels
}

/// A WAV file: 16-bit PCM or 32-bit float by `float`.
pub(crate) fn wav(channels: &[Vec<f32>], rate: u32, float: bool) -> Vec<u8> {
    let width = if float { 4 } else { 2 };
    let count = channels.len() as u32;
    let frames = channels.first().map_or(0, Vec::len) as u32;
    let data = frames * count * width;
    let mut out = Vec::new();
    out.extend(b"RIFF");
    out.extend((36 + data).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16u32.to_le_bytes());
    out.extend(if float { 3u16 } else { 1 }.to_le_bytes());
    out.extend((count as u16).to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * count * width).to_le_bytes());
    out.extend(((count * width) as u16).to_le_bytes());
    out.extend((width as u16 * 8).to_le_bytes());
    out.extend(b"data");
    out.extend(data.to_le_bytes());
    for frame in 0..frames as usize {
        for channel in channels {
            if float {
                out.extend(channel[frame].to_le_bytes());
            } else {
                out.extend(((channel[frame] * 32_767.0).round() as i16).to_le_bytes());
            }
        }
    }
    out
}

pub(crate) fn song() -> Vec<u8> {
    wav(&music(44_100, 4.0, 0.5), 44_100, false)
}

fn loopmaster() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loopmaster"));
    command.stdin(Stdio::null());
    command
}

fn run(args: &[&OsStr]) -> Output {
    loopmaster().args(args).output().unwrap()
}

/// Runs `loopmaster master … --json` and returns its exit code and events.
pub(crate) fn master(dir: &Path, args: &[&str]) -> (i32, Vec<Value>) {
    let output = loopmaster().current_dir(dir).arg("master").args(args).arg("--json").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains("panicked"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code().unwrap(), events)
}

pub(crate) fn events<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

pub(crate) fn folder_with(contents: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in contents {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

#[test]
fn one_song_becomes_a_verified_master() {
    let dir = folder_with(&[("my song.wav", &song())]);
    let (code, all) = master(dir.path(), &["my song.wav", "-o", "out", "--loudness", "-14"]);
    assert_eq!(code, 0, "{all:?}");
    let done = &events(&all, "done")[0];
    let file = &done["files"][0];
    assert!((file["lufs"].as_f64().unwrap() + 14.0).abs() <= 0.1, "{file}");
    assert!(file["dbtp"].as_f64().unwrap() <= -1.0, "{file}");
    assert!(file["gates"].as_array().unwrap().iter().all(|gate| gate["passed"] == true));
    let names = files(&dir.path().join("out"));
    assert_eq!(names.len(), 1);
    assert_eq!(names[0], file["name"].as_str().unwrap());
    // The stages come in their one order, under their one names.
    let stages: Vec<&str> = events(&all, "stage").iter().map(|event| event["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["decode", "analyse", "plan", "render", "encode", "deliver"]);
    // The SHA-256 that was told is the file's own.
    let sum = Command::new("sha256sum").arg(dir.path().join("out").join(&names[0])).output().unwrap();
    assert!(String::from_utf8(sum.stdout).unwrap().contains(file["sha256"].as_str().unwrap()));
}

#[test]
fn every_file_of_a_full_delivery_is_there() {
    let dir = folder_with(&[("song.wav", &song())]);
    let formats = "wav16@48000,wav24,wav32f,flac16,flac24,mp3-320,mp3-v0,opus";
    let args = ["song.wav", "-o", "out", "--format", formats, "--report", "--preview", "--manifest"];
    let (code, all) = master(dir.path(), &args);
    assert_eq!(code, 0, "{:?}", events(&all, "failed"));
    let done = &events(&all, "done")[0];
    assert_eq!(done["files"].as_array().unwrap().len(), 8);
    for path in done["paths"].as_array().unwrap() {
        assert!(dir.path().join(path.as_str().unwrap()).metadata().unwrap().len() > 0, "{path}");
    }
    let out = dir.path().join("out");
    let manifest: Value = serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["files"].as_array().unwrap().len(), 8);
    // 8 masters, 2 reports, 5 files for a player, 1 manifest, and no leftovers.
    assert_eq!(files(&out).len(), 16, "{:?}", files(&out));
    // A report can be used as a plan again, on another file.
    let report = files(&out).into_iter().find(|name| name.ends_with("(report).json")).unwrap();
    std::fs::write(dir.path().join("instrumental.wav"), song()).unwrap();
    let plan = format!("out/{report}");
    let (code, all) = master(dir.path(), &["instrumental.wav", "-o", "out2", "--plan", &plan]);
    assert_eq!(code, 0, "{all:?}");
    assert_eq!(events(&all, "done")[0]["plan"], done["plan"]);
}

#[test]
fn the_bytes_do_not_depend_on_the_threads() {
    let dir = folder_with(&[("song.wav", &song())]);
    let bytes: Vec<Vec<u8>> = ["1", "2", "7"]
        .iter()
        .map(|threads| {
            let (code, _) = master(dir.path(), &["song.wav", "-o", threads, "--threads", threads, "--style", "warm"]);
            assert_eq!(code, 0);
            let out = dir.path().join(threads);
            std::fs::read(out.join(&files(&out)[0])).unwrap()
        })
        .collect();
    assert!(bytes[0] == bytes[1] && bytes[0] == bytes[2]);
}

#[test]
fn a_dry_run_decides_and_writes_nothing() {
    let dir = folder_with(&[("song.wav", &song())]);
    let (code, all) = master(dir.path(), &["song.wav", "--dry-run", "-o", "out"]);
    assert_eq!(code, 0);
    assert!(!events(&all, "plan")[0]["plan"]["reasons"].as_array().unwrap().is_empty());
    assert_eq!(files(dir.path()), ["song.wav"]);
}

#[test]
fn existing_files_are_kept_unless_forced() {
    let dir = folder_with(&[("song.wav", &song())]);
    assert_eq!(master(dir.path(), &["song.wav", "-o", "out"]).0, 0);
    let out = dir.path().join("out");
    let path = out.join(&files(&out)[0]);
    std::fs::write(&path, b"mine").unwrap();
    let (code, all) = master(dir.path(), &["song.wav", "-o", "out"]);
    assert_eq!((code, events(&all, "failed")[0]["code"].as_str()), (1, Some("deliver.exists")));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    assert_eq!(master(dir.path(), &["song.wav", "-o", "out", "--force"]).0, 0);
    assert!(std::fs::metadata(&path).unwrap().len() > 4);
}

/// The table of bad input: what is given, and the code it gets.
fn bad_inputs() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = song();
    let mut lying = good.clone();
    lying[40..44].copy_from_slice(&(400_000_000u32).to_le_bytes());
    let mut four_hours = wav(&[vec![0.1; 100], vec![0.1; 100]], 44_100, false);
    four_hours[40..44].copy_from_slice(&(4 * 3_600 * 44_100 * 4u32).to_le_bytes());
    let mut broken = music(44_100, 1.0, 0.5);
    broken[0][1_000] = f32::NAN;
    broken[1][2_000] = f32::INFINITY;
    let six: Vec<Vec<f32>> = (0..6).map(|_| music(48_000, 0.5, 0.3)[0].clone()).collect();
    vec![
        ("a document.wav", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n".to_vec(), "decode.not_audio"),
        ("lying header.wav", lying, "decode.truncated"),
        ("nothing.wav", Vec::new(), "decode.not_audio"),
        ("no samples.wav", wav(&[vec![], vec![]], 44_100, false), "decode.empty"),
        ("silence.wav", wav(&[vec![0.0; 44_100], vec![0.0; 44_100]], 44_100, false), "decode.silent"),
        ("four hours.wav", four_hours, "decode.too_long"),
        ("surround.wav", wav(&six, 48_000, false), "decode.too_many_channels"),
        ("nan.wav", wav(&broken, 44_100, true), "decode.non_finite"),
        ("text.mp3", b"this is not music, it is a shopping list".repeat(20), "decode.not_audio"),
    ]
}

#[test]
fn names_that_become_one_overwrite_nothing() {
    let song = song();
    let names = ["a:b.wav", "a-b.wav", "a?b.wav", "A-B.flac.wav", "a-b.WAV", " a-b.wav", "É.wav", "é.wav"];
    let dir = folder_with(&names.map(|name| (name, song.as_slice())));
    for force in [&[][..], &["--force"]] {
        let (code, events_) = master(dir.path(), &[&[".", "-o", "out"][..], force].concat());
        assert_eq!(code, 0, "{events_:?}");
        let paths: Vec<&str> = events(&events_, "done").iter().map(|e| e["paths"][0].as_str().unwrap()).collect();
        let different: std::collections::HashSet<String> = paths.iter().map(|p| p.to_lowercase()).collect();
        assert_eq!((paths.len(), different.len()), (names.len(), names.len()), "{paths:?}");
        assert!(paths.iter().all(|path| dir.path().join(path).exists()), "{paths:?}");
    }
}

#[test]
fn standard_input_and_pipes_are_mixes_too() {
    let dir = folder_with(&[("song.wav", &song())]);
    for (mix, name) in [("-", "stdin (master) 24-bit 44.1 kHz.wav"), ("pipe.wav", "pipe (master) 24-bit 44.1 kHz.wav")]
    {
        let mut command = loopmaster();
        command.current_dir(dir.path()).args(["master", mix, "-o", "out"]);
        let mut writer = None;
        if mix == "-" {
            command.stdin(std::fs::File::open(dir.path().join("song.wav")).unwrap());
        } else {
            let pipe = dir.path().join(mix);
            assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            writer = Some(std::thread::spawn(move || std::fs::write(pipe, song()).unwrap()));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if let Some(writer) = writer {
            writer.join().unwrap();
        }
        assert!(dir.path().join("out").join(name).exists(), "{:?}", files(&dir.path().join("out")));
    }
    // A pipe in a folder is nobody's mix, and a search does not wait for it.
    let (code, done) = master(dir.path(), &[".", "-o", "again"]);
    assert_eq!((code, events(&done, "done").len()), (0, 1));
}

#[test]
fn a_search_finds_everything_that_can_be_read() {
    let dir = folder_with(&[
        ("a.bwf", &song()),
        ("b.mp2", b"x"),
        ("c.m4b", b"x"),
        ("d.mov", b"x"),
        ("e.webm", b"x"),
        ("f.txt", b"x"),
    ]);
    let (_, events_) = master(dir.path(), &[".", "-o", "out"]);
    assert_eq!((events(&events_, "done").len(), events(&events_, "failed").len()), (1, 4), "{events_:?}");
}

#[test]
fn bad_files_get_one_line_each_and_stop_nobody() {
    let bad = bad_inputs();
    let dir = tempfile::tempdir().unwrap();
    let mixes = dir.path().join("mixes");
    std::fs::create_dir(&mixes).unwrap();
    for (name, bytes, _) in &bad {
        std::fs::write(mixes.join(name), bytes).unwrap();
    }
    std::fs::write(mixes.join("good.wav"), song()).unwrap();
    let one = [vec![0.5f32], vec![0.5]];
    std::fs::write(mixes.join("one sample.wav"), wav(&one, 44_100, false)).unwrap();
    std::fs::write(mixes.join("telephone.wav"), wav(&music(8_000, 3.0, 0.5), 8_000, false)).unwrap();
    // A name that is not UTF-8, and one with spaces and quotes.
    std::fs::write(mixes.join(OsStr::from_bytes(b"caf\xe9 \"live\".wav")), song()).unwrap();

    let (code, all) = master(dir.path(), &["mixes", "nope.wav", "-o", "out"]);
    assert_eq!(code, 1);
    for (name, _, expected) in &bad {
        let failed = events(&all, "failed");
        let event = failed.iter().find(|event| event["file"].as_str().unwrap().ends_with(name));
        let event = event.unwrap_or_else(|| panic!("{name} did not fail: {all:?}"));
        assert_eq!(event["code"], *expected, "{name}: {event}");
        let message = event["message"].as_str().unwrap();
        assert!(message.len() > 20 && !message.contains('\n'), "{name}: {message}");
    }
    assert!(events(&all, "failed").iter().any(|event| event["code"] == "decode.missing"));
    assert_eq!(events(&all, "failed").len(), bad.len() + 1);
    assert_eq!(events(&all, "done").len(), 4);
    assert_eq!(files(&dir.path().join("out")).len(), 4, "{:?}", files(&dir.path().join("out")));
}

#[test]
fn outputs_that_cannot_be_written() {
    let dir = folder_with(&[("song.wav", &song()), ("a file", b"x")]);
    let (code, all) = master(dir.path(), &["song.wav", "-o", "a file/out"]);
    assert_eq!((code, events(&all, "failed")[0]["code"].as_str()), (1, Some("deliver.unwritable")));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let (code, all) = master(dir.path(), &["empty"]);
    assert_eq!((code, events(&all, "failed")[0]["code"].as_str()), (1, Some("decode.no_audio")));
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let dir = folder_with(&[("song.wav", &song())]);
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    // A private mount namespace: a file system of 128 KiB that goes away with the process.
    let script = "mount -t tmpfs -o size=128k tmpfs disk && \"$0\" master song.wav -o disk --json; code=$?; ls -A disk >&2; exit $code";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_loopmaster")])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let (text, left) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{text} {left}");
    assert!(text.contains("disk_full"), "{text} {left}");
    assert_eq!(left.trim(), "", "left on the disk: {left}");
}

#[test]
fn interrupted_work_leaves_no_half_file() {
    let dir = folder_with(&[("song.wav", &wav(&music(44_100, 60.0, 0.5), 44_100, false))]);
    let out = dir.path().join("out");
    let mut child = loopmaster()
        .current_dir(dir.path())
        .args(["master", "song.wav", "-o", "out", "--format", "flac24,mp3-320", "--threads", "1", "--quiet"])
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !out.is_dir() || files(&out).is_empty() {
        assert!(started.elapsed() < Duration::from_mins(2), "nothing was ever written");
        std::thread::sleep(Duration::from_millis(2));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(files(&out), Vec::<String>::new());
}

#[test]
fn wrong_calls_are_told_apart_from_bad_files() {
    for args in [
        &["master"][..],
        &["master", "a.wav", "--style", "epic"],
        &["master", "a.wav", "--strength", "101"],
        &["frobnicate"],
    ] {
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        assert_eq!(run(&args).status.code(), Some(2), "{args:?}");
    }
    let help = String::from_utf8(run(&[OsStr::new("master"), OsStr::new("--help")]).stdout).unwrap();
    for word in ["Examples:", "--reference", "--loudness", "spotify", "Exit code"] {
        assert!(help.contains(word), "{word}");
    }
    let bash = run(&[OsStr::new("completions"), OsStr::new("bash")]);
    assert!(String::from_utf8(bash.stdout).unwrap().contains("_loopmaster"));
}

#[test]
fn analyze_speaks_and_writes_json() {
    let dir = folder_with(&[("song.wav", &song())]);
    let path: PathBuf = dir.path().join("song.wav");
    let text = run(&[OsStr::new("analyze"), path.as_os_str()]);
    assert!(text.status.success());
    assert!(String::from_utf8(text.stdout).unwrap().contains("LUFS"));
    let json = run(&[OsStr::new("analyze"), path.as_os_str(), OsStr::new("--json")]);
    let line = String::from_utf8(json.stdout).unwrap();
    let event: Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
    assert_eq!(event["event"], "analysis");
    assert!(event["analysis"]["loudness"]["integrated"].as_f64().unwrap() < -5.0);
}

/// Samples of a 32-bit float WAV as we write it: the data are what follows `data`.
fn float_samples(path: &Path) -> Vec<[f32; 2]> {
    let bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(4).position(|four| four == b"data").unwrap() + 8;
    let sample = |four: &[u8]| f32::from_le_bytes(four.try_into().unwrap());
    bytes[at..].chunks_exact(8).map(|frame| [sample(&frame[..4]), sample(&frame[4..])]).collect()
}

#[test]
fn faults_of_a_mix_are_said_and_mended_by_request() {
    let [left, right] = music(44_100, 6.0, 0.4);
    // One channel inverted, much weaker and off centre.
    let broken: Vec<f32> = right.iter().map(|v| -0.4 * v + 0.02).collect();
    let dir = folder_with(&[("broken.wav", &wav(&[left, broken], 44_100, true))]);
    let correlation = |folder: &str| {
        let name = &files(&dir.path().join(folder))[0];
        let samples = float_samples(&dir.path().join(folder).join(name));
        let sum = |of: fn(&[f32; 2]) -> f64| samples.iter().map(of).sum::<f64>();
        let both = sum(|f| f64::from(f[0]) * f64::from(f[1]));
        let [l, r] = [sum(|f| f64::from(f[0]).powi(2)), sum(|f| f64::from(f[1]).powi(2))];
        (both / (l * r).sqrt(), 10.0 * (l / r).log10())
    };
    let words = |events: &[Value]| serde_json::to_string(&events[0]["plan"]).unwrap();
    let (code, all) = master(dir.path(), &["broken.wav", "-o", "plain", "--format", "wav32f"]);
    assert_eq!(code, 0, "{all:?}");
    assert!(correlation("plain").0 < -0.5, "unasked, nothing is mended");
    let report = ["broken.wav", "-o", "mended", "--format", "wav32f", "--fix", "polarity,balance,dc", "--report"];
    let (code, all) = master(dir.path(), &report);
    assert_eq!(code, 0, "{all:?}");
    let (after, lean) = correlation("mended");
    assert!(after > 0.5 && lean.abs() < 1.0, "{after} {lean}");
    let done: Vec<Value> = events(&all, "done").into_iter().cloned().collect();
    let plan = words(&done);
    assert!(plan.contains("polarity is flipped") && plan.contains("is raised by") && plan.contains("offset"), "{plan}");
    // The same plan mends the same faults again.
    std::fs::write(dir.path().join("plan.json"), &plan).unwrap();
    let (code, all) = master(dir.path(), &["broken.wav", "-o", "again", "--format", "wav32f", "--plan", "plan.json"]);
    assert_eq!(code, 0, "{all:?}");
    assert!(correlation("again").0 > 0.5);
    let analysed = loopmaster().current_dir(dir.path()).args(["analyze", "broken.wav"]).output().unwrap();
    let text = String::from_utf8_lossy(&analysed.stdout).into_owned();
    for fix in ["fix: polarity", "fix: balance", "fix: dc"] {
        assert!(text.contains(fix), "{text}");
    }
    assert_eq!(master(dir.path(), &["broken.wav", "--fix", "hum"]).0, 2);
}

#[test]
fn the_kind_of_recording_can_be_named() {
    let dir = folder_with(&[("song.wav", &song())]);
    let target = |kind: &str| {
        let (code, all) = master(dir.path(), &["song.wav", "--dry-run", "--material", kind]);
        assert_eq!(code, 0, "{all:?}");
        events(&all, "plan")[0]["plan"]["goal"]["loudness"]["target"].as_f64().unwrap()
    };
    assert!(target("speech") <= -16.0 && target("electronic") > -15.0, "{} {}", target("speech"), target("electronic"));
    assert_eq!(master(dir.path(), &["song.wav", "--material", "hiphop"]).0, 2);
}

#[test]
fn what_is_told_about_the_limiting_is_what_was_done() {
    let dir = folder_with(&[("song.wav", &song())]);
    let (code, all) = master(dir.path(), &["song.wav", "-o", "out", "--loudness=-9", "--insist"]);
    assert_eq!(code, 0, "{all:?}");
    let done = events(&all, "done")[0];
    let mut hits: Vec<f64> =
        done["trace"]["reduction"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    hits.retain(|db| *db > 0.05);
    hits.sort_by(f64::total_cmp);
    let p90 = hits[((hits.len() - 1) as f64 * 0.9).round() as usize];
    let words = done["plan"]["reasons"].to_string();
    assert!(words.contains(&format!("takes about {p90:.1}")), "{p90}: {words}");
}
