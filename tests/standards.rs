//! The meters against their standards: the synthesisable cases of EBU Tech 3341 v4 (1–6, 9–23) and Tech 3342 (1–4) at five rates, the
//! calibration of ITU-R BS.1770-5, and the true-peak meter against brute force. (3341 cases 7, 8 and 3342 cases 5, 6 are recordings.)

use loopmaster_core::meter::loudness::{STEREO, k_weighting_table, loudness_of};
use loopmaster_core::meter::{Loudness, k_energies, true_peak};
use std::f64::consts::{PI, TAU};

const RATES: [u32; 5] = [44_100, 48_000, 88_200, 96_000, 192_000];

fn amplitude(db: f64) -> f64 {
    10f64.powf(db / 20.0)
}

/// (seconds, peak dBFS) of each part of a programme.
type Segments = [(f64, f64)];

/// A 1 kHz sine of one channel, phase-continuous through segments of (seconds, peak dBFS).
fn tone(rate: u32, segments: &Segments) -> Vec<f32> {
    let mut out = Vec::new();
    let mut end = 0.0;
    for &(seconds, level) in segments {
        end += seconds;
        let gain = if level.is_finite() { amplitude(level) } else { 0.0 };
        while (out.len() as f64) < (end * f64::from(rate)).round() {
            out.push((gain * (TAU * 1_000.0 * out.len() as f64 / f64::from(rate)).sin()) as f32);
        }
    }
    out
}

const SILENT: f64 = f64::NEG_INFINITY;

fn stereo(rate: u32, segments: &Segments) -> Loudness {
    let x = tone(rate, segments);
    Loudness::measure(&[&x, &x], &STEREO, rate)
}

/// Loudness of every window of `seconds` that ends on a 10 ms grid: (end in hops, LUFS).
fn running(rate: u32, x: &[f32], seconds: f64) -> Vec<(usize, f64)> {
    let hop = rate as usize / 100;
    let energies = k_energies(&[x, x], &STEREO, rate, hop);
    let n = (seconds * 100.0).round() as usize;
    energies
        .windows(n)
        .enumerate()
        .map(|(i, w)| (i + n, loudness_of(w.iter().sum::<f64>() / (n * hop) as f64)))
        .collect()
}

#[track_caller]
fn near(what: &str, rate: u32, measured: f64, expected: f64, above: f64, below: f64) {
    println!("{what} @ {rate}: {measured:.3} (expected {expected:.1} +{above}/−{below})");
    assert!(
        measured <= expected + above && measured >= expected - below,
        "{what} @ {rate}: {measured}, not {expected}"
    );
}

#[test]
fn tech_3341_integrated_momentary_short_term() {
    for rate in RATES {
        for (case, level) in [(1, -23.0), (2, -33.0)] {
            let l = stereo(rate, &[(20.0, level)]);
            for (name, v) in [("I", l.integrated), ("max M", l.max_momentary), ("max S", l.max_short_term)] {
                near(&format!("3341-{case} {name}"), rate, v.unwrap().0, level, 0.1, 0.1);
            }
        }
        let programmes: [(u32, &Segments); 3] = [
            (3, &[(10.0, -36.0), (60.0, -23.0), (10.0, -36.0)]),
            (4, &[(10.0, -72.0), (10.0, -36.0), (60.0, -23.0), (10.0, -36.0), (10.0, -72.0)]),
            (5, &[(20.0, -26.0), (20.1, -20.0), (20.0, -26.0)]),
        ];
        for (case, segments) in programmes {
            near(&format!("3341-{case} I"), rate, stereo(rate, segments).integrated.unwrap().0, -23.0, 0.1, 0.1);
        }

        let [lr, c, s] = [-28.0, -24.0, -30.0].map(|level| tone(rate, &[(20.0, level)]));
        let surround = Loudness::measure(&[&lr, &lr, &c, &s, &s], &[1.0, 1.0, 1.0, 1.41, 1.41], rate);
        near("3341-6 I", rate, surround.integrated.unwrap().0, -23.0, 0.1, 0.1);
    }
}

#[test]
fn tech_3341_windows() {
    for rate in RATES {
        let x = tone(rate, &[(1.34, -20.0), (1.66, -30.0)].repeat(5));
        let l = Loudness::measure(&[&x, &x], &STEREO, rate);
        // From the value that ends at 3.0 s on.
        for v in &l.over_time[29..] {
            assert!((f64::from(*v) + 23.0).abs() <= 0.1, "3341-9 @ {rate}: {v}");
        }
        near("3341-9 S", rate, l.max_short_term.unwrap().0, -23.0, 0.1, 0.1);

        let x = tone(rate, &[(0.18, -20.0), (0.22, -30.0)].repeat(25));
        for (end, v) in running(rate, &x, 0.4) {
            assert!(end < 100 || (v + 23.0).abs() <= 0.1, "3341-12 @ {rate}: {v} at {end}");
        }
        near("3341-12 M", rate, Loudness::measure(&[&x, &x], &STEREO, rate).max_momentary.unwrap().0, -23.0, 0.1, 0.1);

        for i in 0..20 {
            let l = stereo(rate, &[(f64::from(i) * 0.15, SILENT), (3.0, -23.0), (1.0, SILENT)]);
            near(&format!("3341-10 #{i} max S"), rate, l.max_short_term.unwrap().0, -23.0, 0.1, 0.1);
            let l = stereo(rate, &[(f64::from(i) * 0.02, SILENT), (0.4, -23.0), (1.0, SILENT)]);
            near(&format!("3341-13 #{i} max M"), rate, l.max_momentary.unwrap().0, -23.0, 0.1, 0.1);
        }

        // Live meters: one programme, the maximum of every segment in turn.
        for (case, window, step) in [(11, 3.0, 0.15), (14, 0.4, 0.02)] {
            let segments: Vec<(f64, f64)> = (0..20)
                .flat_map(|i| {
                    let i = f64::from(i);
                    [(i * step, SILENT), (window, -38.0 + i), (window - i * step, SILENT)]
                })
                .collect();
            let values = running(rate, &tone(rate, &segments), window);
            let length = (2.0 * window * 100.0).round() as usize;
            for i in 0..20 {
                let segment = values.iter().filter(|(end, _)| (i * length + 1..=(i + 1) * length).contains(end));
                let most = segment.map(|v| v.1).fold(f64::NEG_INFINITY, f64::max);
                near(&format!("3341-{case} #{i}"), rate, most, -38.0 + i as f64, 0.1, 0.1);
            }
        }
    }
}

/// A sine at `share` of the rate with `phase` degrees, fades of 10 ms at both ends.
fn faded(rate: u32, frames: usize, share: f64, phase: f64, level: f64) -> Vec<f32> {
    let fade = f64::from(rate) / 100.0;
    (0..frames)
        .map(|i| {
            let gain = (i as f64 / fade).min((frames - i) as f64 / fade).min(1.0);
            (gain * level * (TAU * share * i as f64 + phase.to_radians()).sin()) as f32
        })
        .collect()
}

/// Tech 3341 cases 20–23: fs/6 at 0.5 with one period of fs/4 at 1.0 inside, made at 4·fs, low-passed, every fourth sample.
fn burst(rate: u32, offset: usize) -> Vec<f32> {
    let length = 4 * (rate as usize / 2);
    // Starts at an upward zero crossing of the carrier (period 24), lasts one period of 16; the carrier resumes at phase 0.
    let start = length / 2 / 24 * 24;
    let fade = 0.4 * f64::from(rate);
    let x: Vec<f64> = (0..length)
        .map(|i| {
            let gain = (i as f64 / fade).min((length - i) as f64 / fade).min(1.0);
            gain * if i < start {
                0.5 * (TAU * i as f64 / 24.0).sin()
            } else if i < start + 16 {
                (TAU * (i - start) as f64 / 16.0).sin()
            } else {
                0.5 * (TAU * (i - start - 16) as f64 / 24.0).sin()
            }
        })
        .collect();
    // 511-tap Blackman sinc at fs/2, unity at DC.
    let taps: Vec<f64> = (0..511)
        .map(|i| {
            let t = f64::from(i) - 255.0;
            let sinc = if t == 0.0 { 1.0 } else { (PI * t / 4.0).sin() / (PI * t / 4.0) };
            let w = TAU * (f64::from(i) + 1.0) / 512.0;
            sinc * (0.42 - 0.5 * w.cos() + 0.08 * (2.0 * w).cos())
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    (offset..length)
        .step_by(4)
        .map(|centre| {
            let at = |tap: usize| (centre + tap).checked_sub(255).and_then(|i| x.get(i)).copied().unwrap_or(0.0);
            (taps.iter().enumerate().map(|(tap, h)| h * at(tap)).sum::<f64>() / sum) as f32
        })
        .collect()
}

#[test]
fn tech_3341_true_peak() {
    for rate in RATES {
        let cases = [
            (15, 4.0, 0.0, 0.5, -6.0),
            (16, 4.0, 45.0, 0.5, -6.0),
            (17, 6.0, 60.0, 0.5, -6.0),
            (18, 8.0, 67.5, 0.5, -6.0),
            (19, 4.0, 45.0, 1.41, 3.0),
        ];
        for (case, divisor, phase, level, expected) in cases {
            let x = faded(rate, rate as usize / 2, 1.0 / divisor, phase, level);
            near(&format!("3341-{case} TP"), rate, true_peak(&[&x, &x], rate).level().0, expected, 0.2, 0.4);
        }
        for offset in 0..4 {
            let x = burst(rate, offset);
            let peak = true_peak(&[&x, &x], rate);
            near(&format!("3341-{} TP", 20 + offset), rate, peak.level().0, 0.0, 0.2, 0.4);
            // The dense peak of the official files is −0.08 dBTP.
            assert!((peak.level().0 + 0.078).abs() < 0.02, "{} @ {rate}", peak.level().0);
        }
    }
}

#[test]
fn tech_3342_loudness_range() {
    for rate in RATES {
        let cases: [(u32, &Segments, f64); 4] = [
            (1, &[(20.0, -20.0), (20.0, -30.0)], 10.0),
            (2, &[(20.0, -20.0), (20.0, -15.0)], 5.0),
            (3, &[(20.0, -40.0), (20.0, -20.0)], 20.0),
            (4, &[(20.0, -50.0), (20.0, -35.0), (20.0, -20.0), (20.0, -35.0), (20.0, -50.0)], 15.0),
        ];
        for (case, segments, expected) in cases {
            near(&format!("3342-{case} LRA"), rate, stereo(rate, segments).range.unwrap().0, expected, 1.0, 1.0);
        }
    }
}

#[test]
fn bs_1770_calibration() {
    // Tables 1 and 2 of BS.1770-5.
    let [shelf, high] = k_weighting_table(48_000);
    let published = [
        (shelf.b, [1.535_124_859_586_97, -2.691_696_189_406_38, 1.198_392_810_852_85]),
        (high.b, [1.0, -2.0, 1.0]),
        ([1.0, shelf.a[0], shelf.a[1]], [1.0, -1.690_659_293_182_41, 0.732_480_774_215_85]),
        ([1.0, high.a[0], high.a[1]], [1.0, -1.990_047_454_833_98, 0.990_072_250_366_21]),
    ];
    for (ours, theirs) in published {
        for (a, b) in ours.iter().zip(theirs) {
            assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        }
    }
    for rate in RATES {
        let seconds = 20 * rate as usize;
        let sine: Vec<f32> = (0..seconds).map(|i| (TAU * 997.0 * i as f64 / f64::from(rate)).sin() as f32).collect();
        let one = Loudness::measure(&[&sine, &vec![0.0; seconds]], &STEREO, rate).integrated.unwrap().0;
        println!("997 Hz, 0 dBFS, one channel @ {rate}: {one:.4} (−3.01)");
        // The standard gives two decimals.
        assert!((one + 3.01).abs() < 0.005);
        // Tech 3341, section 2.9.
        let aligned = stereo(rate, &[(20.0, -23.0)]).integrated.unwrap().0;
        println!("1 kHz, −23 dBFS, both @ {rate}: {aligned:.4} (−22.993)");
        assert!((aligned + 22.993).abs() < 0.005);
    }
}

#[test]
fn bs_1770_gates() {
    let rate = 48_000;
    // Just above and just below the absolute gate.
    assert!((stereo(rate, &[(20.0, -69.5)]).integrated.unwrap().0 + 69.5).abs() < 0.1);
    assert_eq!(stereo(rate, &[(20.0, -70.5)]).integrated, None);
    // −75 is gated absolutely: it must not pull the relative gate down.
    let gated = stereo(rate, &[(20.0, -20.0), (60.0, -75.0)]).integrated.unwrap().0;
    assert!((gated + 20.0).abs() < 0.1, "{gated}");
    // 8 LU under the louder part counts, 14 LU does not.
    let counted = stereo(rate, &[(30.0, -20.0), (30.0, -28.0)]).integrated.unwrap().0;
    let mean = 10.0 * (0.5 * (10f64.powf(-2.0) + 10f64.powf(-2.8))).log10();
    assert!((counted - mean).abs() < 0.1, "{counted} is not {mean}");
    let left_out = stereo(rate, &[(30.0, -20.0), (30.0, -34.0)]).integrated.unwrap().0;
    assert!((left_out + 20.0).abs() < 0.1, "{left_out}");
}

#[test]
fn true_peak_at_the_worst_phases() {
    let mut worst = 0.0f64;
    for rate in [44_100, 96_000] {
        for share in [0.02, 0.1, 0.2, 0.25, 0.3, 1.0 / 3.0, 0.4, 0.45] {
            for step in 0..8 {
                let x = faded(rate, 12_000, share, f64::from(step) * 22.5, 0.5);
                let off = true_peak(&[&x], rate).level().0 - 20.0 * 0.5f64.log10();
                worst = worst.max(off.abs());
                assert!(off.abs() < 0.02, "{share} of {rate} at step {step}: {off:+.4} dB");
            }
        }
    }
    println!("true peak of sines at 8 phases: within {worst:.4} dB");
}

/// The highest point on a grid of 64, by a windowed sinc of 512 taps in f64.
fn brute_force(x: &[f32]) -> f64 {
    let reach = 256i64;
    let mut best = 0.0f64;
    for phase in 0..64 {
        let taps: Vec<f64> = (-reach + 1..=reach)
            .map(|k| {
                let t = k as f64 - f64::from(phase) / 64.0;
                let sinc = if t == 0.0 { 1.0 } else { (PI * t).sin() / (PI * t) };
                sinc * (0.5 + 0.5 * (PI * t / (reach as f64 + 1.0)).cos())
            })
            .collect();
        for frame in 0..x.len() as i64 {
            let from = frame - reach + 1;
            let first = (-from).max(0) as usize;
            let last = (x.len() as i64 - from).clamp(0, 2 * reach) as usize;
            let samples = &x[(from + first as i64) as usize..];
            let v: f64 = taps[first..last].iter().zip(samples).map(|(h, &x)| h * f64::from(x)).sum();
            best = best.max(v.abs());
        }
    }
    best
}

#[test]
fn true_peak_agrees_with_brute_force() {
    let mut worst = 0.0f64;
    for seed in 0..6u32 {
        // Random sines under 0.45 of the rate: noise whose waveform between the samples is known.
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1u32 << 24)
        };
        let parts: Vec<(f64, f64)> = (0..40).map(|_| (0.45 * random(), TAU * random())).collect();
        let x: Vec<f32> = (0..2_000)
            .map(|i| {
                let gain = (f64::from(i) / 200.0).min(f64::from(2_000 - i) / 200.0).min(1.0);
                (gain * parts.iter().map(|(f, p)| 0.05 * (TAU * f * f64::from(i) + p).sin()).sum::<f64>()) as f32
            })
            .collect();
        let dense = 20.0 * brute_force(&x).log10();
        for rate in [44_100, 96_000] {
            let ours = true_peak(&[&x], rate).level().0;
            worst = worst.max((ours - dense).abs());
            assert!((ours - dense).abs() < 0.02, "#{seed} @ {rate}: {ours:.4}, by brute force {dense:.4}");
        }
    }
    println!("true peak of noise against 64× brute force: within {worst:.4} dB");
}
