//! The fast kernels of the processor against the readable ones, each alone and each under its own name. What the fused pass makes of the
//! first five is held in `shape`.

use super::{BAR, SHORT, music, noise};
use crate::parity::shape::{COMPRESS, toned, with_bands};
use loopmaster_core::Audio;
use loopmaster_core::control::curves::{ClipCurve, SaturationCurve};
use loopmaster_core::control::limiter::{hop, standard_clipper};
use loopmaster_core::plan::{Plan, Saturation};
use loopmaster_core::render::cpu::{self, Cpu};
use loopmaster_core::render::design::ShapeDesign;
use loopmaster_core::render::kernels::{Grid, Kernels};
use loopmaster_core::render::reference::{self, MidSide, Reference};
use loopmaster_core::settings::Phase;
use loopmaster_core::units::Db;
use std::ops::Range;

const RATE: u32 = 44_100;

/// RMS of the difference over RMS of `want`, dB.
fn hold(kernel: &str, frames: usize, got: impl IntoIterator<Item = f64>, want: impl IntoIterator<Item = f64>) {
    let (mut got, mut error, mut power) = (got.into_iter(), 0.0, 0.0);
    for want in want {
        let got = got.next().unwrap_or_else(|| panic!("{kernel}: too few values for {frames} frames"));
        error += (got - want).powi(2);
        power += want.powi(2);
    }
    assert!(got.next().is_none(), "{kernel}: too many values for {frames} frames");
    let far = if error == 0.0 { f64::NEG_INFINITY } else { 10.0 * (error / power).log10() };
    assert!(far <= BAR, "{kernel}: {frames} frames: {far:.1} dB");
}

fn wide(signal: &[f32]) -> impl Iterator<Item = f64> {
    signal.iter().copied().map(f64::from)
}

/// Mid and side, with so many frames of silence around them.
fn mid_side(audio: &Audio, pad: usize) -> MidSide {
    [1.0, -1.0].map(|sign| {
        let mut out = vec![0.0; pad + audio.frames() + pad];
        for ((x, l), r) in out[pad..].iter_mut().zip(&audio.channels[0]).zip(&audio.channels[1]) {
            *x = 0.5 * (f64::from(*l) + sign * f64::from(*r));
        }
        out
    })
}

fn design(plan: &Plan) -> ShapeDesign {
    ShapeDesign::new(plan, RATE)
}

fn all_bands() -> Plan {
    with_bands(Plan::identity(), &[0, 1, 2, 3, 4], COMPRESS)
}

#[test]
fn fir() {
    for phase in [Phase::Minimum, Phase::Linear] {
        let design = design(&toned(phase));
        for frames in SHORT.into_iter().chain([65_537]) {
            let audio = music(RATE, frames);
            let want = reference::fir(&mid_side(&audio, 0), design.tone.as_ref().unwrap());
            for (got, want) in cpu::fir(&audio, &design).iter().zip(want) {
                hold("fir", frames, wide(got), want);
            }
        }
    }
}

#[test]
fn filterbank() {
    for plan in [with_bands(Plan::identity(), &[1, 3], COMPRESS), all_bands()] {
        let design = design(&plan);
        for frames in SHORT {
            let audio = music(RATE, frames);
            let want = reference::filterbank(&mid_side(&audio, 0), &design.bands);
            let got = cpu::filterbank(&audio, &design);
            // Against the signal that the bands are parts of: a band may hold next to nothing of it.
            let whole: f64 = mid_side(&audio, 0).iter().flatten().map(|x| x * x).sum();
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
                assert_eq!(got.len(), want.len(), "filterbank");
                let error: f64 = wide(got).zip(want).map(|(got, want)| (got - want).powi(2)).sum();
                let far = 10.0 * (error / whole).log10();
                assert!(error == 0.0 || far <= BAR, "filterbank: {frames} frames: {far:.1} dB");
            }
        }
    }
}

/// A band: noise that comes and goes.
fn band(frames: usize) -> [Vec<f32>; 2] {
    let mut random = noise(frames as u64 + 1);
    [0.5, 0.2].map(|level| (0..frames).map(|n| (level * random() * (1.0 + (n as f64 * 0.003).sin())) as f32).collect())
}

fn as_read(band: &[Vec<f32>; 2]) -> MidSide {
    band.each_ref().map(|channel| wide(channel).collect())
}

#[test]
fn levels() {
    let design = design(&all_bands());
    for window in design.bands.iter().map(|band| band.window) {
        for frames in SHORT {
            let band = band(frames);
            let want = reference::levels(&as_read(&band), design.hop, window);
            hold("levels", frames, cpu::levels(&band, design.hop, window), want);
        }
    }
}

/// Both follow the same control, so these are the same bits.
#[test]
fn gains() {
    let design = design(&all_bands());
    let mut random = noise(9);
    let levels: Vec<f64> = (0..2000).map(|n| (random().abs() * (1.0 + (f64::from(n) * 0.01).sin())).powi(4)).collect();
    for band in &design.bands {
        let (got, want) = (cpu::gains(&levels, &band.gain), reference::gains(&levels, &band.gain));
        assert!(got.1 > Db(0.5), "gains: nothing to follow");
        assert!(got.0 == want.0 && (got.1.0 - want.1.0).abs() < 1e-12, "gains: {:?} against {:?}", got.1, want.1);
    }
}

#[test]
fn mix_bands() {
    let hop = design(&all_bands()).hop;
    for frames in SHORT.into_iter().filter(|frames| *frames > 0) {
        let (audio, band) = (music(RATE, frames), band(frames));
        let mut random = noise(5);
        let excess: Vec<f64> = (0..=frames.div_ceil(hop)).map(|_| 0.5 * random()).collect();
        let mut want = mid_side(&audio, 0);
        reference::mix_bands(&mut want, &as_read(&band), &excess, hop);
        let mut got = audio.clone();
        cpu::mix_bands(&mut got, &band, &excess, hop);
        for (got, want) in mid_side(&got, 0).into_iter().zip(want) {
            hold("mix_bands", frames, got, want);
        }
    }
}

/// Largest difference against the largest value, dB.
fn apart(a: &Audio, b: &Audio) -> f64 {
    let pairs = a.channels.iter().flatten().zip(b.channels.iter().flatten());
    let (difference, top) =
        pairs.fold((0f64, 0f64), |(d, t), (a, b)| (d.max(f64::from(a - b).abs()), t.max(f64::from(*b).abs())));
    if difference == 0.0 { -400.0 } else { 20.0 * (difference / top).log10() }
}

/// A kernel of the finish over loud noise of many lengths at three rates: the noise, its hop, all blocks as one run, and single blocks
/// with gaps.
fn finish(kernel: impl Fn(&Audio, usize, &[Range<usize>])) {
    for rate in [44_100, 96_000, 192_000] {
        let hop = hop(rate);
        for frames in [1, 2, 31, 32, 33, hop, hop + 1, 4095, 4096, 12_345] {
            let mut random = noise(frames as u64);
            let mut audio = Audio::silence(rate, frames);
            for channel in &mut audio.channels {
                channel.iter_mut().for_each(|x| *x = random() as f32);
            }
            let blocks = frames.div_ceil(hop);
            let some: Vec<_> = (0..blocks).step_by(3).map(|b| b..(b + 1 + b % 2).min(blocks)).collect();
            let all = 0..blocks;
            kernel(&audio, hop, std::slice::from_ref(&all));
            kernel(&audio, hop, &some);
        }
    }
}

/// Both backends on the same audio; what they return must be equal, and the audio no farther apart than `bar`. A filter of 64 + 16 taps in
/// `f32` against one in `f64`: √80 roundings of 2⁻²⁴ are −125 dB; the bar is −120 dB, and −119 where two such filters follow each other.
fn both<R: PartialEq + std::fmt::Debug>(
    name: &str,
    audio: &Audio,
    bar: f64,
    run: impl Fn(&dyn Kernels, &mut Audio) -> R,
) {
    let [mut fast, mut readable] = [audio.clone(), audio.clone()];
    assert_eq!(run(&Cpu, &mut fast), run(&Reference, &mut readable), "{name}");
    let far = apart(&fast, &readable);
    assert!(far < bar, "{name}: {} frames at {}: {far:.1} dB", audio.frames(), audio.rate);
}

#[test]
fn saturate() {
    let curve = SaturationCurve::new(&Saturation { odd: 0.6, even: 0.3, reference: Db(0.0) }, 1.0);
    finish(|audio, hop, _| {
        both("saturate", audio, BAR, |kernels, audio| kernels.saturate(audio, hop, &curve).unwrap());
    });
}

#[test]
fn clip() {
    let curve = ClipCurve::new(&standard_clipper(), 0.6);
    finish(|audio, hop, blocks| {
        both("clip", audio, BAR + 1.0, |kernels, audio| kernels.clip(audio, hop, blocks, &curve));
    });
}

#[test]
fn apply_gain() {
    finish(|audio, hop, _| {
        let mut random = noise(3);
        let gain: Vec<f32> = (0..audio.frames().div_ceil(hop)).map(|_| random() as f32).collect();
        both("apply_gain", audio, BAR, |kernels, audio| kernels.apply_gain(audio, hop, &gain));
    });
}

#[test]
fn block_peaks() {
    finish(|audio, hop, blocks| {
        for grid in [Grid::Coarse, Grid::Fine] {
            let [fast, readable] = [&Cpu as &dyn Kernels, &Reference].map(|kernels| {
                let mut peaks = vec![f32::NAN; audio.frames().div_ceil(hop)];
                kernels.block_peaks(audio, hop, blocks, grid, &mut peaks);
                peaks
            });
            for (block, (a, b)) in fast.iter().zip(&readable).enumerate() {
                let asked = blocks.iter().any(|run| run.contains(&block));
                assert_eq!(
                    asked,
                    !a.is_nan() && !b.is_nan(),
                    "block_peaks: block {block} of {} frames",
                    audio.frames()
                );
                assert!(!asked || f64::from(a - b).abs() < 1e-6, "block_peaks: {a} against {b} in block {block}");
            }
        }
    });
}

#[test]
fn block_energies() {
    finish(|audio, hop, _| {
        let [fast, readable] = [Cpu.block_energies(audio, hop), Reference.block_energies(audio, hop)];
        assert_eq!(fast.len(), readable.len(), "block_energies");
        let top = readable.iter().copied().fold(0.0, f64::max);
        assert!(fast.iter().zip(&readable).all(|(a, b)| (a - b).abs() <= 1e-9 * top), "block_energies");
    });
}
