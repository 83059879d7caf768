//! Whoever sends music gets a master: excerpts of mixes, and signals that are hard on gates, at settings drawn at random.
//!
//! `LOOPMASTER_MIXES` names a folder of more mixes (WAV or FLAC) for the long run, `LOOPMASTER_MASTERS` how many masters it makes,
//! `LOOPMASTER_SEED` another draw.

use crate::dice::Dice;
use loopmaster_core::Audio;
use loopmaster_core::analyse::analyse;
use loopmaster_core::decode::decode_file;
use loopmaster_core::encode::{Metadata, encode};
use loopmaster_core::master::Clock;
use loopmaster_core::master::{self as track, Extras, MasterRequest, Outcome, TrackError};
use loopmaster_core::samples::Pool;
use loopmaster_core::settings::{Aspect, Codec, Format, Limits, Loudness, OutputRate, Settings, Strength, Style};
use loopmaster_core::units::{Dbtp, Lufs};
use loopmaster_gpu::renderer::Renderer;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

const EXTRAS: Extras = Extras { report: false, preview: false, clean: false, force: true };

/// A piece of music that was never made by a mix: each broke a gate of this engine once, or a limiter elsewhere.
fn made(name: &str, dice: &mut Dice) -> Audio {
    let rate = 44_100_usize;
    let seconds = 4 + dice.below(8);
    let frames = rate * seconds;
    let mut noise = {
        let mut dice = Dice(dice.roll());
        move || (2.0 * dice.share() - 1.0) as f32
    };
    let tau = std::f32::consts::TAU;
    let sine = |hz: f32, i: usize| (tau * hz / rate as f32 * i as f32).sin();
    let mut left = vec![0f32; frames];
    let mut right = vec![0f32; frames];
    match name {
        "a click a second over faint noise" => {
            for i in 0..frames {
                let at = (i % rate) as f32;
                let click = if at < 200.0 { (-at / 30.0).exp() * (0.4 * at).sin() * 0.9 } else { 0.0 };
                left[i] = click + 1.8e-4 * noise();
                right[i] = click + 1.8e-4 * noise();
            }
        }
        "sparse percussion" => {
            let every = rate / 10 * (7 + 4 * (noise().abs() * 4.0) as usize);
            for i in 0..frames {
                let at = (i % every) as f32 / rate as f32;
                let hit = (-at * 30.0).exp() * (sine(90.0, i) * 0.5 + 0.3 * noise());
                left[i] = 0.3 * hit;
                right[i] = 0.3 * hit + 0.05 * (-at * 60.0).exp() * noise();
            }
        }
        "one silent channel" | "clipped" | "inverted" | "faint" | "far too hot" => {
            for i in 0..frames {
                let beat = (-((i % (rate / 2)) as f32) / 4_000.0).exp();
                let chord = [110.0, 220.0, 277.2, 329.6, 1_318.5].map(|hz| sine(hz, i)).iter().sum::<f32>() * 0.08;
                left[i] = chord + 0.4 * beat * sine(55.0, i) + 0.05 * noise();
                right[i] = chord + 0.4 * beat * sine(55.0, i) + 0.05 * noise();
            }
            let scaled = |x: &mut f32, gain: f32, bound: f32| *x = (*x * gain).clamp(-bound, bound);
            match name {
                "one silent channel" => right.fill(0.0),
                "clipped" => left.iter_mut().chain(&mut right).for_each(|x| scaled(x, 4.0, 0.999_99)),
                "inverted" => right = left.iter().map(|x| -x).collect(),
                "faint" => left.iter_mut().chain(&mut right).for_each(|x| scaled(x, 0.002, 1.0)),
                _ => left.iter_mut().chain(&mut right).for_each(|x| scaled(x, 12.0, 100.0)),
            }
        }
        "a voice with pauses" => {
            for i in 0..frames {
                let second = i as f32 / rate as f32;
                let syllable = (tau * 2.1 * second).sin().max(0.0).powi(2);
                let phrase = if second % 3.0 < 2.0 { 1.0 } else { 0.0 };
                let pitch = 120.0 + 15.0 * (tau * 0.3 * second).sin();
                let voice: f32 = (1..20).map(|n| (tau * pitch * n as f32 * second).sin() / n as f32).sum();
                let hiss = if (second * 2.1) % 1.0 > 0.8 { 0.08 * noise() } else { 0.0 };
                left[i] = phrase * (0.1 * syllable * voice + hiss) + 1e-4 * noise();
                right[i] = left[i];
            }
        }
        "a torn low end" => {
            for i in 0..frames {
                left[i] = 0.3 * sine(50.0, i) + 0.1 * sine(440.0, i) + 0.02 * noise();
                right[i] = 0.3 * sine(53.0, i + 200) + 0.1 * sine(440.0, i) + 0.02 * noise();
            }
        }
        "a sine" => {
            let hz = [40.0, 1_000.0, 9_000.0][(noise().abs() * 2.99) as usize];
            for i in 0..frames {
                left[i] = 0.4 * sine(hz, i);
                right[i] = left[i];
            }
        }
        _ => unreachable!("{name}"),
    }
    Audio::new(rate as u32, [left, right])
}

const MADE: [&str; 10] = [
    "a click a second over faint noise",
    "sparse percussion",
    "one silent channel",
    "clipped",
    "inverted",
    "faint",
    "far too hot",
    "a voice with pauses",
    "a torn low end",
    "a sine",
];

/// Where excerpts come from.
enum Source {
    Mix(String, Audio),
    Made(&'static str),
}

fn mixes(folder: &Path) -> Vec<Source> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "wav" || ext == "flac"))
        .collect();
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| Source::Mix(name(path), decode_file(path, &Limits::default()).unwrap().audio)).collect()
}

/// 3 to 40 s of a mix, or all there is.
fn excerpt(audio: &Audio, dice: &mut Dice) -> Audio {
    let wanted = ((3.0 + 37.0 * dice.share()) * f64::from(audio.rate)) as usize;
    let frames = audio.frames().min(wanted);
    let start = dice.below(audio.frames() - frames + 1);
    Audio::new(audio.rate, audio.channels.each_ref().map(|channel| channel[start..start + frames].to_vec()))
}

fn settings(dice: &mut Dice) -> Settings {
    let mut strength = Strength::all(dice.of(&[30, 60, 100]));
    if dice.below(12) == 0 {
        strength = strength.only(dice.of(&Aspect::ALL));
    }
    let numbers = [None, Some(-14.0), Some(-9.0), Some(-7.0)];
    let loudness = dice.of(&numbers).map_or(Loudness::Style, |lufs| Loudness::Lufs(Lufs(lufs)));
    let codec = dice.of(&[
        Codec::Wav24,
        Codec::Wav24,
        Codec::Wav16,
        Codec::Flac24,
        Codec::Mp3V0,
        Codec::Mp3Cbr320,
        Codec::Opus,
    ]);
    let mut formats = vec![Format::WAV24];
    if codec != Codec::Wav24 {
        formats.push(Format { codec, rate: None });
    }
    Settings {
        style: dice.of(&Style::ALL),
        strength,
        loudness,
        ceiling: dice.of(&[None, None, None, Some(Dbtp(-0.1)), Some(Dbtp(-3.0))]),
        insist: dice.below(6) == 0,
        rate: dice.of(&[OutputRate::Native, OutputRate::Native, OutputRate::Native, OutputRate::Hz(48_000)]),
        formats,
        ..Settings::default()
    }
}

/// What became of many masters.
#[derive(Default)]
struct Count {
    masters: usize,
    refused: Vec<String>,
    stepped: Vec<String>,
    /// Delivered beside their number, and said.
    settled: usize,
    /// By step: how often it was taken.
    steps: BTreeMap<String, usize>,
}

fn master(path: &Path, settings: &Settings, backend: &Renderer, folder: &Path) -> Result<Outcome, TrackError> {
    let pool = Pool::default();
    let (limits, saved, reference) = (Limits::default(), None, None);
    let order = MasterRequest { settings, saved, reference, seat: None, extras: EXTRAS, backend, limits, pool: &pool };
    track::master(path, folder, &order, &mut Clock::default())
}

fn many(sources: &[Source], masters: usize, seed: u64) -> Count {
    let folder = tempfile::tempdir().unwrap();
    let backend = Renderer::cpu();
    let mut count = Count { masters, ..Count::default() };
    let mut dice = Dice(seed);
    for number in 0..masters {
        let (name, audio) = match &sources[dice.below(sources.len())] {
            Source::Mix(name, audio) => (name.as_str(), excerpt(audio, &mut dice)),
            Source::Made(name) => (*name, made(name, &mut dice)),
        };
        let settings = settings(&mut dice);
        let path = folder.path().join("mix.wav");
        let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        encode(&audio, Codec::Wav32f, &Metadata::default(), &mut file).unwrap();
        drop(file);
        let what = format!("{number}: {name}, {:.1} s, {}", audio.seconds(), serde_json::to_string(&settings).unwrap());
        match master(&path, &settings, &backend, folder.path()) {
            Ok(outcome) => {
                let broken = outcome.files.iter().flat_map(|file| &file.gates).find(|gate| !gate.passed);
                assert!(broken.is_none(), "{what}: delivered against {broken:?}");
                if !outcome.steps.is_empty() {
                    count.stepped.push(format!("{what}: {}", outcome.steps.join("; ")));
                }
                for step in &outcome.steps {
                    let name = step.split(':').next().unwrap_or_default();
                    *count.steps.entry(name.to_owned()).or_default() += 1;
                }
                let said = |text: &str| outcome.plan.reasons.iter().any(|reason| reason.text.contains(text));
                count.settled += usize::from(said("no level meets") || said("gets no louder"));
            }
            // Nothing to hear is nothing to master.
            Err(error) if error.code() == "decode.silent" => {}
            Err(error) => count.refused.push(format!("{what}: {error}")),
        }
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    count
}

fn say(count: &Count) {
    let Count { masters, refused, stepped, settled, .. } = count;
    println!(
        "{masters} masters, {} refused, {} stepped back, {settled} beside their loudness",
        refused.len(),
        stepped.len()
    );
    for (step, times) in &count.steps {
        println!("  {step}: {times}");
    }
    for line in count.refused.iter().chain(&count.stepped) {
        println!("  {line}");
    }
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn whoever_sends_music_gets_a_master() {
    let mut sources = mixes(&data());
    sources.extend(MADE.map(Source::Made));
    let count = many(&sources, 60, 12);
    say(&count);
    assert!(count.refused.is_empty(), "{:#?}", count.refused);
}

/// The bars of a release: none refused, at most one in fifty with a step back.
#[test]
#[ignore = "three thousand masters take a while"]
fn thousands_of_mixes_get_their_masters() {
    let mut sources = mixes(&data());
    if let Ok(folder) = std::env::var("LOOPMASTER_MIXES") {
        sources.extend(mixes(Path::new(&folder)));
    }
    let count = many(&sources, number("LOOPMASTER_MASTERS", 3_000) as usize, number("LOOPMASTER_SEED", 1));
    say(&count);
    assert!(count.refused.is_empty(), "{:#?}", count.refused);
    assert!(count.stepped.len() * 50 <= count.masters, "{} of {} stepped back", count.stepped.len(), count.masters);

    let made = many(&MADE.map(Source::Made), count.masters / 10, number("LOOPMASTER_SEED", 1));
    say(&made);
    assert!(made.refused.is_empty(), "{:#?}", made.refused);
}

/// The control: a gate that a plan cannot hold is met by taking the plan back, and the report says so.
#[test]
fn a_plan_that_breaks_a_gate_is_taken_back_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = data().join("thomasso-axe-from-the-80s.flac");
    let track = decode_file(&path, &Limits::default()).unwrap();
    let settings = Settings { strength: Strength::all(100), ..Settings::default() };
    let mut plan = loopmaster_core::plan::plan(&analyse(&track), &settings, None).unwrap();
    for (hz, gain) in plan.tone.mid.iter_mut().chain(&mut plan.tone.side) {
        gain.0 = if hz.0 < 300.0 { 6.0 } else { -6.0 };
    }
    plan.tone.bound.0 = 3.0;
    let pool = Pool::default();
    let backend = Renderer::cpu();
    let (limits, saved, reference) = (Limits::default(), Some(&plan), None);
    let order = MasterRequest {
        settings: &settings,
        saved,
        reference,
        seat: None,
        extras: EXTRAS,
        backend: &backend,
        limits,
        pool: &pool,
    };
    let outcome = track::master(&path, folder.path(), &order, &mut Clock::default()).unwrap();
    assert!(outcome.steps[0].starts_with("half the tone: third octaves move"), "{:?}", outcome.steps);
    assert!(outcome.files[0].gates.iter().all(|gate| gate.passed));
    assert!(
        outcome
            .plan
            .reasons
            .iter()
            .any(|reason| reason.text.contains("half of it is used") || reason.text.contains("left out"))
    );
}
