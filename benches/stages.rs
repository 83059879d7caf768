//! One group for each stage and kernel. An element is one second of music, so `elem/s` reads as × real time.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use loopmaster_core::analyse::{Analysis, analyse_audio};
use loopmaster_core::decode::{Source, decode, decode_file};
use loopmaster_core::encode::{Metadata, encode};
use loopmaster_core::meter::loudness::{Loudness, STEREO};
use loopmaster_core::meter::true_peak::true_peak;
use loopmaster_core::plan::{Plan, plan};
use loopmaster_core::render::design::ShapeDesign;
use loopmaster_core::render::kernels::Kernels;
use loopmaster_core::resample::resample;
use loopmaster_core::settings::{Codec, Limits, Style};
use loopmaster_core::{Audio, Settings};
use loopmaster_gpu::cpu::Cpu;
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
    let mut music = Audio { rate: 44_100, channels: [Vec::new(), Vec::new()] };
    for path in excerpts().iter().cycle() {
        let excerpt = decode_file(path, &Limits::default()).expect("our own excerpt").audio;
        for (whole, part) in music.channels.iter_mut().zip(excerpt.channels) {
            whole.extend(part);
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
    group.bench_function("44100 to 48000", |b| b.iter(|| resample(&music, 48_000)));
    group.finish();
}

fn meters(c: &mut Criterion) {
    let music = music();
    let channels = music.channels.each_ref().map(Vec::as_slice);
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
    let (_, plan) = decided(&music);
    let mut group = c.benchmark_group("render");
    group.throughput(Throughput::Elements(SECONDS as u64));
    group.bench_function("design", |b| b.iter(|| ShapeDesign::new(black_box(&plan), music.rate)));
    let design = ShapeDesign::new(&plan, music.rate);
    group.bench_function("shape", |b| {
        b.iter_batched(|| music.clone(), |audio| Cpu.shape(audio, &design), BatchSize::PerIteration);
    });
    group.finish();
}

fn stage_encode(c: &mut Criterion) {
    let music = music();
    let studio = resample(&music, 48_000);
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

criterion_group! { name = stages; config = patience(); targets = stage_decode, meters, stage_analyse_and_plan, stage_render, stage_encode }
criterion_main!(stages);
