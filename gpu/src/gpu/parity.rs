//! The five kernels of `shape`, each alone: what the card made of its own intermediate results, read back from its stores, against the
//! readable kernel of the same name on the same numbers. The others have a plan that leaves nothing else to do (`tests/parity/gpu.rs`).
//!
//! The bar is −120 dB, as there.

use super::config::Config;
use super::device::Engine;
use super::group::{Group, Task};
use super::lane::{Lane, Store};
use super::layout::{BANDS, STEP, Track};
use super::{shape, tables};
use loopmaster_core::Audio;
use loopmaster_core::plan::{BandDynamics, Plan};
use loopmaster_core::render::design::ShapeDesign;
use loopmaster_core::render::reference::{self, MidSide};
use loopmaster_core::units::{Db, Hz, Seconds};
use std::sync::{Arc, LazyLock};

/// The bar, dB.
const BAR: f64 = -120.0;
const RATE: u32 = 44_100;
/// Two steps of the filters and a rest.
const FRAMES: usize = 5_003;

/// The stores of the card after one pass of `shape` over a track.
struct Stores {
    design: ShapeDesign,
    /// Mid and side of the mix, with `PAD` of silence around it.
    mix: MidSide,
    /// `[band]`
    toned: MidSide,
    bands: Vec<MidSide>,
    levels: Vec<Vec<f64>>,
    excess: Vec<Vec<f64>>,
    shaped: MidSide,
}

/// Frames around the track that a band's filter reaches.
const PAD: usize = STEP;

fn audio() -> Audio {
    let mut state = 0x2545_F491u32;
    let mut audio = Audio::silence(RATE, FRAMES);
    for n in 0..FRAMES {
        let t = n as f64 / f64::from(RATE);
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let noise = f64::from(state) / f64::from(u32::MAX) - 0.5;
        let tone = |hz: f64| (std::f64::consts::TAU * hz * t).sin();
        let pulse = (-(t % 0.04) * 60.0).exp();
        let (mid, side) = (0.5 * pulse * tone(70.0) + 0.3 * pulse * noise, 0.1 * tone(1500.0) + 0.1 * noise);
        audio.channels[0][n] = (mid + side) as f32;
        audio.channels[1][n] = (mid - side) as f32;
    }
    audio
}

fn plan() -> Plan {
    let mut plan = Plan::identity();
    plan.tone.mid = [(40.0, 2.0), (900.0, -1.0), (9000.0, 2.0)].map(|(f, g)| (Hz(f), Db(g))).into();
    plan.tone.side = [(40.0, 1.0), (6000.0, 1.5)].map(|(f, g)| (Hz(f), Db(g))).into();
    let band = BandDynamics {
        threshold: Db(-36.0),
        ratio: 2.5,
        knee: Db(6.0),
        attack: Seconds(0.005),
        release: Seconds(0.05),
        makeup: Db(0.5),
        max_reduction: Db(9.0),
    };
    plan.dynamics = vec![band; BANDS];
    // Four bands, so that each is computed: a fifth would be what they leave.
    plan.dynamics[1] = BandDynamics { ratio: 1.0, makeup: Db(0.0), ..band };
    plan
}

static STORES: LazyLock<Stores> = LazyLock::new(|| {
    let (audio, plan) = (audio(), plan());
    let engine =
        Engine::open(&Config { software: true, ..Config::default() }).unwrap_or_else(|error| panic!("{error}"));
    let mut lane = Lane::new(Arc::new(engine)).unwrap();
    let design = ShapeDesign::new(&plan, RATE);
    let task = Task {
        kept: 0..FRAMES,
        audio: &audio,
        plan: &plan,
        design: Some(design.clone()),
        saturate: false,
        finish: false,
        keep: false,
        solved: None,
    };
    let group = Group::new(&mut lane, vec![task]).unwrap();
    shape::shape(&mut lane, &group).unwrap();
    let mut track = [Track::default()];
    let words = size_of::<Track>() / 4;
    let read = lane.floats(Store::Tracks, 0, words).unwrap();
    bytemuck::cast_slice_mut::<Track, f32>(&mut track).copy_from_slice(&read);
    let [track] = track;

    let mut floats = |store: Store, first: i64, count: usize| -> Vec<f64> {
        let first = usize::try_from(first).unwrap();
        lane.floats(store, first, count).unwrap().into_iter().map(f64::from).collect()
    };
    let mut pairs = |store: Store, first: i64, count: usize| -> MidSide {
        let read = floats(store, 2 * first, 2 * count);
        [0, 1].map(|channel| read.iter().skip(channel).step_by(2).copied().collect())
    };
    let toned = pairs(Store::Toned, i64::from(track.toned) - PAD as i64, PAD + FRAMES + PAD);
    let bands = (0..track.row_count)
        .map(|row| pairs(Store::Bands, i64::from(track.bands) + i64::from(row * track.bands_stride), FRAMES))
        .collect();
    let [left, right] = pairs(Store::Shaped, i64::from(track.store), FRAMES);
    let halves = |sign: f64| left.iter().zip(&right).map(|(l, r)| 0.5 * (l + sign * r)).collect();
    let shaped = [halves(1.0), halves(-1.0)];
    let points = track.point_count as usize;
    let levels = design.bands.iter().zip(0..).map(|(band, index)| {
        let half = band.window / 2;
        let first = i64::from(track.sums) + i64::from(index * track.sums_stride) - half as i64;
        let sums = floats(Store::Sums, 4 * first, 4 * (points + band.window));
        let weights = tables::weights(design.hop, band.window);
        let level = |point: usize| {
            let window = sums[4 * point..].chunks_exact(4).zip(&weights);
            window.map(|(s, w)| s.iter().zip(w).map(|(s, w)| s * f64::from(*w)).sum::<f64>()).sum()
        };
        (0..points).map(level).collect()
    });
    let levels = levels.collect();
    let excess = (0..track.band_count)
        .map(|band| floats(Store::Points, i64::from(track.points) + i64::from(band * track.points_stride), points))
        .collect();
    let mix = [1.0, -1.0].map(|sign| {
        let mut mix = vec![0.0; PAD + FRAMES + PAD];
        for ((x, l), r) in mix[PAD..].iter_mut().zip(&audio.channels[0]).zip(&audio.channels[1]) {
            *x = 0.5 * (f64::from(*l) + sign * f64::from(*r));
        }
        mix
    });
    Stores { design, mix, toned, bands, levels, excess, shaped }
});

/// RMS of the difference over RMS of `whole`, dB.
fn distance(pairs: &[(&Vec<f64>, &Vec<f64>)], whole: &[&Vec<f64>]) -> f64 {
    let mut error = 0.0;
    for (got, want) in pairs {
        assert_eq!(got.len(), want.len());
        error += got.iter().zip(*want).map(|(got, want)| (got - want).powi(2)).sum::<f64>();
    }
    let power: f64 = whole.iter().copied().flatten().map(|value| value.powi(2)).sum();
    assert!(power > 0.0 && error.is_finite());
    10.0 * (error / power).log10()
}

/// Mid and side go through one complex transform, so what rounding leaves is measured against both.
fn hold(kernel: &str, pairs: &[(&Vec<f64>, &Vec<f64>)], whole: &[&Vec<f64>]) {
    let far = distance(pairs, whole);
    println!("parity gpu {kernel}: {far:.1} dB");
    assert!(far <= BAR, "{kernel}: {far:.1} dB");
}

fn inside(signal: &MidSide) -> MidSide {
    signal.each_ref().map(|channel| channel[PAD..PAD + FRAMES].to_vec())
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn fir() {
    let want = reference::fir(&STORES.mix, STORES.design.tone.as_ref().unwrap());
    let [mid, side] = &STORES.toned;
    hold("fir", &[(mid, &want[0]), (side, &want[1])], &[&want[0], &want[1]]);
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn filterbank() {
    assert_eq!(STORES.bands.len(), STORES.design.bands.len());
    let want = reference::filterbank(&STORES.toned, &STORES.design.bands);
    // A band may hold next to nothing of the signal that was transformed.
    let [mid, side] = &inside(&STORES.toned);
    for (got, want) in STORES.bands.iter().zip(&want) {
        let want = inside(want);
        hold("filterbank", &[(&got[0], &want[0]), (&got[1], &want[1])], &[mid, side]);
    }
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn levels() {
    for ((got, band), design) in STORES.levels.iter().zip(&STORES.bands).zip(&STORES.design.bands) {
        let want = reference::levels(band, STORES.design.hop, design.window);
        hold("levels", &[(got, &want)], &[&want]);
    }
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn gains() {
    for ((got, levels), band) in STORES.excess.iter().zip(&STORES.levels).zip(&STORES.design.bands) {
        let (want, _) = reference::gains(levels, &band.gain);
        hold("gains", &[(got, &want)], &[&want]);
    }
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn mix_bands() {
    let mut want = inside(&STORES.toned);
    for (band, excess) in STORES.bands.iter().zip(&STORES.excess) {
        reference::mix_bands(&mut want, band, excess, STORES.design.hop);
    }
    let [mid, side] = &STORES.shaped;
    hold("mix_bands", &[(mid, &want[0]), (side, &want[1])], &[&want[0], &want[1]]);
}

#[test]
#[ignore = "needs a Vulkan driver; ./test runs it where there is one"]
fn the_comparison_notices_a_small_fault_in_each() {
    let stores = &*STORES;
    for (kernel, signal) in [
        ("fir", &stores.toned[0]),
        ("filterbank", &stores.bands[2][1]),
        ("levels", &stores.levels[0]),
        ("gains", &stores.excess[3]),
        ("mix_bands", &stores.shaped[1]),
    ] {
        let off: Vec<f64> = signal.iter().map(|value| value * (1.0 + 2e-6)).collect();
        assert!(distance(&[(&off, signal)], &[signal]) > BAR, "{kernel}");
    }
}
