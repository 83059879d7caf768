//! The graphics card beside the processor, in one run: batches, kernels, copies. Prints a table for `docs/gpu.md`.
//!
//! `cargo bench --bench gpu -- [--seconds 240] [--batches 1,8,64]`. Without an adapter it says so and fails.

use loopmaster_core::Audio;
use loopmaster_core::analyse::analyse_audio;
use loopmaster_core::decode::{Source, decode_file};
use loopmaster_core::plan::{Plan, plan};
use loopmaster_core::render::cpu::Cpu;
use loopmaster_core::render::{Backend, Job};
use loopmaster_core::settings::{Limiting, Limits, Settings, Style};
use loopmaster_gpu::gpu::{Config, Gpu, KernelStats};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// The excerpts: those of the repository, or a copy that travelled with this program.
fn data() -> PathBuf {
    std::env::var_os("LOOPMASTER_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"), PathBuf::from)
}

/// A track of real music: an excerpt of `tests/data`, repeated.
fn music(seconds: usize) -> Audio {
    let path = data().join("tame-anderson-make-me.flac");
    let excerpt = decode_file(&path, &Limits::default()).expect("our own excerpt").audio;
    let frames = seconds * excerpt.rate as usize;
    let channels = excerpt.channels.map(|channel| channel.iter().copied().cycle().take(frames).collect());
    Audio { rate: excerpt.rate, channels }
}

/// The value after `name` on the command line.
fn option(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1)
}

fn jobs<'a>(music: &Audio, plan: &'a Plan, tracks: usize) -> Vec<Job<'a>> {
    (0..tracks).map(|_| Job { audio: music.clone(), plan, rates: &[], solved: None, early: None }).collect()
}

/// CPU seconds of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn run() -> Result<(), String> {
    let seconds: usize = option("--seconds").and_then(|text| text.parse().ok()).unwrap_or(240);
    let batches: Vec<usize> =
        option("--batches").unwrap_or("1,8,64".to_owned()).split(',').filter_map(|text| text.parse().ok()).collect();
    let music = music(seconds);
    let mix = analyse_audio(&music, Source::default());
    let started = Instant::now();
    let gpu = Gpu::open(Config { software: true, ..Config::default() }).map_err(|error| error.to_string())?;
    println!(
        "{}; opened and tested in {:.2} s, {:?}",
        gpu.status().adapter,
        started.elapsed().as_secs_f64(),
        gpu.self_test()
    );
    let copies = gpu.bandwidth(64 << 20).map_err(|error| error.to_string())?;
    println!(
        "copies: {:.1} GB/s on the card (read + written), {:.2} GB/s up, {:.2} GB/s down\n",
        copies.device * 1e-9,
        copies.up * 1e-9,
        copies.down * 1e-9
    );

    println!(
        "| style | tracks | card, × real time | processor, × real time | wall, card : processor | CPU s, card : processor | bytes moved : least |"
    );
    println!("|---|---|---|---|---|---|---|");
    for style in [Style::Balanced, Style::Loud] {
        let plan = plan(&mix, &Settings { style, limiter: Limiting::Fast, ..Settings::default() }, None)
            .map_err(|error| error.to_string())?;
        let (wall, busy) = (Instant::now(), cpu_seconds());
        let _ = Cpu.render(jobs(&music, &plan, 1));
        let (cpu_wall, cpu_busy) = (wall.elapsed().as_secs_f64(), cpu_seconds() - busy);
        for &tracks in &batches {
            let batch = jobs(&music, &plan, tracks);
            // Once to make the buffers.
            let warm = jobs(&music, &plan, tracks.min(2));
            if !gpu.is_software() {
                gpu.try_render(&warm)
                    .into_iter()
                    .find_map(Result::err)
                    .map_or(Ok(()), |error| Err(error.to_string()))?;
            }
            drop(warm);
            let before = gpu.status().traffic;
            let (wall, busy) = (Instant::now(), cpu_seconds());
            let results = gpu.try_render(&batch);
            let (card_wall, card_busy) = (wall.elapsed().as_secs_f64(), cpu_seconds() - busy);
            if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
                return Err(error.to_string());
            }
            let after = gpu.status().traffic;
            println!(
                "| {style} | {tracks} | {:.0} | {:.0} | {:.2} | {:.2} | {:.3} |",
                (tracks * seconds) as f64 / card_wall,
                seconds as f64 / cpu_wall,
                card_wall / (cpu_wall * tracks as f64),
                card_busy / (cpu_busy * tracks as f64),
                (after.device - before.device) as f64 / (after.least - before.least) as f64,
            );
        }
    }
    drop(gpu);

    // The same once more with a clock around every launch.
    for style in [Style::Balanced, Style::Loud] {
        let gpu = Gpu::open(Config { profile: true, software: true, ..Config::default() })
            .map_err(|error| error.to_string())?;
        let plan = plan(&mix, &Settings { style, limiter: Limiting::Fast, ..Settings::default() }, None)
            .map_err(|error| error.to_string())?;
        let tracks = batches.iter().copied().max().unwrap_or(1).min(if gpu.is_software() { 1 } else { 64 });
        let _ = gpu.try_render(&jobs(&music, &plan, tracks));
        let stats = gpu.kernel_stats();
        let total: f64 = stats.iter().map(|(_, stats)| stats.seconds).sum();
        println!(
            "\n{tracks} tracks, {style}, on the card alone: {:.0} × real time",
            (tracks * seconds) as f64 / total.max(1e-9)
        );
        println!("\n| kernel | launches | ms | share | MB moved | GB/s | of the copies |");
        println!("|---|---|---|---|---|---|---|");
        for (name, KernelStats { launches, bytes, seconds }) in stats.iter().filter(|(_, stats)| stats.launches > 0) {
            let rate = *bytes as f64 / seconds.max(1e-9);
            println!(
                "| {name} | {launches} | {:.2} | {:.1} % | {:.1} | {:.2} | {:.1} % |",
                seconds * 1e3,
                100.0 * seconds / total.max(1e-12),
                *bytes as f64 * 1e-6,
                rate * 1e-9,
                100.0 * rate / copies.device
            );
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
