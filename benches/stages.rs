//! One group for each stage and kernel. An element is one second of music, so `elem/s` reads as × real time.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use loopmaster_core::analyse::{Analysis, analyse, analyse_audio};
use loopmaster_core::control::curves::{ClipCurve, SaturationCurve};
use loopmaster_core::control::limiter::{Levels, block_means, hop, standard_clipper};
use loopmaster_core::control::solve::LoudnessModel;
use loopmaster_core::decode::{Source, decode, decode_file};
use loopmaster_core::encode::{Metadata, encode};
use loopmaster_core::meter::loudness::{Loudness, STEREO};
use loopmaster_core::meter::true_peak::true_peak;
use loopmaster_core::plan::{Plan, Saturation, plan};
use loopmaster_core::render::cpu::{self, Cpu};
use loopmaster_core::render::design::ShapeDesign;
use loopmaster_core::render::kernels::{Grid, Kernels};
use loopmaster_core::render::masking::Masking;
use loopmaster_core::render::{Backend, Job};
use loopmaster_core::resample::resample;
use loopmaster_core::settings::{Codec, Limits, Style};
use loopmaster_core::units::{Db, Lufs};
use loopmaster_core::verify::{Expect, verify};
use loopmaster_core::{Audio, Settings};
use std::hint::black_box;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Long enough that every core has its segments, short enough for a coffee: the music of the benches, in seconds.
const SECONDS: usize = 56;

fn excerpts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut files: Vec<_> =
        folder.read_dir().expect("tests/data").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "flac"));
    files.sort();
    files
}

/// The excerpts of `tests/data`, one after the other, until there are [`SECONDS`] of them.
fn music() -> Audio {
    let mut music = Audio::new(44_100, [Vec::new(), Vec::new()]);
    for path in excerpts().iter().cycle() {
        let excerpt = decode_file(path, &Limits::default()).expect("our own excerpt").audio;
        for (whole, part) in music.channels.iter_mut().zip(excerpt.channels) {
            whole.extend_from_slice(&part).expect("room");
        }
        if music.seconds() >= SECONDS as f64 {
            break;
        }
    }
    for channel in &mut music.channels {
        channel.truncate(SECONDS * 44_100);
    }
    music
}

/// `music` as a file in memory.
fn file(music: &Audio, codec: Codec) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    encode(music, codec, &Metadata::default(), &mut file).expect("plain music encodes");
    file.into_inner()
}

fn stage_decode(c: &mut Criterion) {
    let music = music();
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(SECONDS as u64));
    for codec in [Codec::Wav16, Codec::Wav24, Codec::Flac16, Codec::Flac24, Codec::Mp3Cbr320] {
        let file = file(&music, codec);
        group.bench_function(codec.name(), |b| {
            b.iter(|| decode(Cursor::new(&file), None, &Limits::default()).expect("our own file"));
        });
    }
    group.bench_function("44100 to 48000", |b| b.iter(|| resample(&music, 48_000).expect("room")));
    group.finish();
}

fn meters(c: &mut Criterion) {
    let music = music();
    let channels = music.channels.each_ref().map(|channel| &channel[..]);
    let mut group = c.benchmark_group("meter");
    group.throughput(Throughput::Elements(SECONDS as u64));
    group.bench_function("loudness", |b| b.iter(|| Loudness::measure(black_box(&channels), &STEREO, music.rate)));
    group.bench_function("true_peak", |b| b.iter(|| true_peak(black_box(&channels), music.rate)));
    group.finish();
}

/// The mix as analysed, and a plan with every part of the chain at work.
fn decided(music: &Audio) -> (Analysis, Plan) {
    let mix = analyse_audio(music, Source::default());
    let settings = Settings { style: Style::Loud, ..Settings::default() };
    let plan = plan(&mix, &settings, None).expect("a plan for plain music");
    (mix, plan)
}

fn stage_analyse_and_plan(c: &mut Criterion) {
    let music = music();
    let (mix, _) = decided(&music);
    let settings = Settings::default();
    let mut group = c.benchmark_group("analyse");
    group.throughput(Throughput::Elements(SECONDS as u64));
    group.bench_function("whole", |b| b.iter(|| analyse_audio(black_box(&music), Source::default())));
    group.finish();
    c.benchmark_group("plan").bench_function("whole", |b| b.iter(|| plan(black_box(&mix), &settings, None)));
}

fn stage_render(c: &mut Criterion) {
    let music = music();
    let rate = music.rate;
    let (_, plan) = decided(&music);
    let hop = hop(rate);
    let blocks = music.frames().div_ceil(hop);
    let all = 0..blocks;
    let whole = std::slice::from_ref(&all);
    let mut group = c.benchmark_group("render");
    group.throughput(Throughput::Elements(SECONDS as u64));

    group.bench_function("design", |b| b.iter(|| ShapeDesign::new(black_box(&plan), rate)));
    let design = ShapeDesign::new(&plan, rate);
    group.bench_function("shape", |b| {
        b.iter_batched(|| music.clone(), |audio| Cpu.shape(audio, &design), BatchSize::PerIteration);
    });
    // The five that `shape` fuses, each alone.
    group.bench_function("fir", |b| b.iter(|| cpu::fir(black_box(&music), &design)));
    group.bench_function("filterbank", |b| b.iter(|| cpu::filterbank(black_box(&music), &design)));
    if let (Some(band), Some(signal)) = (design.bands.first(), cpu::filterbank(&music, &design).first()) {
        group.bench_function("levels", |b| b.iter(|| cpu::levels(black_box(signal), design.hop, band.window)));
        let levels = cpu::levels(signal, design.hop, band.window);
        group.bench_function("gains", |b| b.iter(|| cpu::gains(black_box(&levels), &band.gain)));
        let (excess, _) = cpu::gains(&levels, &band.gain);
        group.bench_function("mix_bands", |b| {
            b.iter_batched_ref(
                || music.clone(),
                |audio| cpu::mix_bands(audio, signal, &excess, design.hop),
                BatchSize::PerIteration,
            );
        });
    }
    let saturation = SaturationCurve::new(&Saturation { odd: 0.3, even: 0.1, reference: Db(0.0) }, 0.8);
    group.bench_function("saturate", |b| {
        b.iter_batched_ref(
            || music.clone(),
            |audio| Cpu.saturate(audio, hop, &saturation).expect("room"),
            BatchSize::PerIteration,
        );
    });
    // A ceiling in the midst of the music: every block is worked on, which no plan allows.
    let curve = ClipCurve::new(&standard_clipper(), 0.2);
    group.bench_function("clip", |b| {
        b.iter_batched_ref(|| music.clone(), |audio| Cpu.clip(audio, hop, whole, &curve), BatchSize::PerIteration);
    });
    let masking = Masking::new(rate);
    group.bench_function("masked_relief", |b| b.iter(|| Cpu.masked_relief(black_box(&music), &masking, 0.2, Db(12.0))));
    group.bench_function("masked_clip, 8 rounds", |b| {
        b.iter_batched_ref(|| music.clone(), |audio| Cpu.masked_clip(audio, &masking, 0.2, 8), BatchSize::PerIteration);
    });
    for (name, grid) in [("block_peaks, coarse", Grid::Coarse), ("block_peaks, fine", Grid::Fine)] {
        let mut peaks = vec![0.0; blocks];
        group.bench_function(name, |b| b.iter(|| Cpu.block_peaks(black_box(&music), hop, whole, grid, &mut peaks)));
    }
    group.bench_function("block_energies", |b| b.iter(|| Cpu.block_energies(black_box(&music), hop)));
    let gain: Vec<f32> = (0..blocks).map(|block| 0.9 + 0.1 * (block as f32 * 0.01).sin()).collect();
    group.bench_function("apply_gain", |b| {
        b.iter_batched_ref(|| music.clone(), |audio| Cpu.apply_gain(audio, hop, &gain), BatchSize::PerIteration);
    });

    let mut peaks = vec![0.0; blocks];
    Cpu.block_peaks(&music, hop, whole, Grid::Coarse, &mut peaks);
    let means = music.channels.each_ref().map(|channel| block_means(channel, hop));
    let levels = Levels::new(peaks, [&means[0], &means[1]], hop, rate);
    let model = LoudnessModel::new(levels, Cpu.block_energies(&music, hop), music.frames(), &plan.finishing());
    group.bench_function("solve", |b| b.iter(|| model.solve(Lufs(-10.0), Db(0.0))));

    group.bench_function("whole", |b| {
        let job = || vec![Job { audio: music.clone(), plan: &plan, rates: &[], solved: None, early: None }];
        b.iter_batched(job, |jobs| Cpu.render(jobs), BatchSize::PerIteration);
    });
    group.finish();
}

/// A 24-bit WAV in, a verified 24-bit WAV out, all in memory.
fn whole_road(c: &mut Criterion) {
    let music = music();
    let mix_file = file(&music, Codec::Wav24);
    let mut group = c.benchmark_group("road");
    group.throughput(Throughput::Elements(SECONDS as u64));
    group.bench_function("wav24 to wav24, verified", |b| {
        b.iter(|| {
            let track = decode(Cursor::new(&mix_file), None, &Limits::default()).expect("our own file");
            let mix = analyse(&track);
            let plan = plan(&mix, &Settings::default(), None).expect("a plan for plain music");
            let job = Job { audio: track.audio, plan: &plan, rates: &[], solved: None, early: None };
            let master = Cpu.render(vec![job]).remove(0).expect("a master").remove(0).audio;
            let written = file(&master, Codec::Wav24);
            let decoded = decode(Cursor::new(&written), None, &Limits::default()).expect("our own file").audio;
            let expect = Expect { codec: Codec::Wav24, master: &master, mix: &mix, plan: &plan };
            verify(&decoded, &expect)
        });
    });
    group.finish();
}

/// What `verify` alone takes, of a file that equals its master.
fn stage_verify(c: &mut Criterion) {
    let music = music();
    let (mix, plan) = decided(&music);
    let expect = Expect { codec: Codec::Wav24, master: &music, mix: &mix, plan: &plan };
    let mut group = c.benchmark_group("verify");
    group.throughput(Throughput::Elements(SECONDS as u64));
    group.bench_function("wav24", |b| b.iter(|| verify(black_box(&music), &expect)));
    group.finish();
}

fn stage_encode(c: &mut Criterion) {
    let music = music();
    let studio = resample(&music, 48_000).expect("room");
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(SECONDS as u64));
    for (name, codec) in Codec::ALL {
        let audio = if codec == Codec::Opus { &studio } else { &music };
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || Cursor::new(Vec::with_capacity(1 << 25)),
                |out| encode(audio, codec, &Metadata::default(), out).expect("plain music encodes"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn patience() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
}

criterion_group! { name = stages; config = patience(); targets = stage_decode, meters, stage_analyse_and_plan, stage_render, stage_encode, stage_verify, whole_road }
criterion_main!(stages);
