use super::*;

fn noise(frames: usize, seed: u32) -> Vec<f32> {
    let mut s = seed;
    (0..frames)
        .map(|_| {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (s >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

#[test]
fn sines_keep_their_level_at_every_rate() {
    for rate in [44_100u32, 48_000, 88_200, 96_000, 192_000] {
        let frames = rate as usize * 4;
        let tone = |hz: f64, level: f64| -> Vec<f32> {
            (0..frames).map(|i| (level * (TAU * hz * i as f64 / f64::from(rate)).sin()) as f32).collect()
        };
        // Mid: 60 Hz at −6 dB. Side: 5 kHz at −20 dB.
        let (low, high) = (tone(60.0, 0.501_187), tone(5_000.0, 0.1));
        let left = low.iter().zip(&high).map(|(a, b)| a + b).collect();
        let right = low.iter().zip(&high).map(|(a, b)| a - b).collect();
        let s = Spectra::measure(&Audio::new(rate, [left, right]));
        assert_eq!(s.spectrum.hz.len(), POINTS);
        let thirds = s.spectrum.third_octaves();
        assert_eq!(thirds.len(), 29);
        let total = |pick: fn(&ThirdOctave) -> f32| {
            10.0 * thirds.iter().map(|t| 10f64.powf(f64::from(pick(t)) / 10.0)).sum::<f64>().log10()
        };
        println!("{rate}: mid {:.3} dB (-9.01), side {:.3} dB (-23.01)", total(|t| t.mid), total(|t| t.side));
        // The windows' sidelobes and the ends of the track take less than 0.05 dB.
        assert!((total(|t| t.mid) + 9.010).abs() < 0.05);
        assert!((total(|t| t.side) + 23.010).abs() < 0.05);
        let loudest = thirds.iter().max_by(|a, b| a.mid.total_cmp(&b.mid)).unwrap();
        assert!((loudest.hz - 62.5).abs() < 1.0, "{loudest:?}");
        assert!(s.correlation_low > 0.999 && s.correlation[3] < -0.999);
        assert!(s.mono_loss_low.0 < 0.01 && s.mono_loss.0 > 0.1);
        // Crest of a sine: 3.01 dB.
        println!("crest low {:.2}, presence {:.2}", s.crest[0], s.crest[3]);
        assert!((s.crest[3].0 - 3.01).abs() < 0.1);
    }
}

#[test]
fn white_noise_is_a_straight_line_across_the_crossover() {
    let rate = 44_100;
    let audio = Audio::new(rate, [noise(rate as usize * 60, 1), noise(rate as usize * 60, 2)]);
    let s = Spectra::measure(&audio);
    // White noise: +3 dB per octave. Uniform in ±1: mean square 1/3 per channel, half of it in mid, over 22.05 kHz.
    for third in s.spectrum.third_octaves() {
        let width = f64::from(third.hz) * (2f64.powf(1.0 / 6.0) - 2f64.powf(-1.0 / 6.0));
        let expected = 10.0 * (1.0 / 6.0 * width / 22_050.0).log10();
        let off = f64::from(third.mid) - expected;
        // A band of B Hz seen for T ≈ 0.5 s has about k = B·T independent powers, one at least; the median of their sum lies
        // 1/(3k) under its mean. On top, the scatter of 150 cells.
        let k = (0.5 * width / 4.0).max(1.0);
        let bound = -10.0 * (1.0 - 1.0 / (3.0 * k)).log10() + 0.4;
        assert!(off.abs() < bound, "{} Hz: {off:.2} dB", third.hz);
    }
    assert!(s.correlation.iter().all(|c| c.abs() < 0.05), "{:?}", s.correlation);
    println!("mono loss {:.3} (3.01), flatness {:.2}", s.mono_loss, s.flatness[3]);
    assert!((s.mono_loss.0 - 3.01).abs() < 0.05);
    assert!(s.flatness[3] > 0.8);
}

#[test]
fn the_tone_alone_is_the_same_tone() {
    let audio = Audio::new(44_100, [noise(300_000, 5), noise(300_000, 6)]);
    let (whole, tone) = (Spectra::measure(&audio), Spectra::tone(&audio));
    assert_eq!(whole.spectrum, tone.spectrum);
    assert_eq!((whole.mono_loss, whole.mono_loss_low), (tone.mono_loss, tone.mono_loss_low));
}

#[test]
fn any_length_gives_finite_figures() {
    for frames in [1, 2, 31, 882, 883, 20_000] {
        for rate in [44_100, 192_000] {
            let s = Spectra::measure(&Audio::new(rate, [noise(frames, 3), vec![0.0; frames]]));
            assert!(s.spectrum.mid.iter().chain(&s.spectrum.side).all(|v| v.is_finite() && *v >= FLOOR));
            assert_eq!(s.matrix.mid[0].len(), frames.div_ceil(rate as usize / 50));
            assert!(s.crest.iter().all(|c| c.0.is_finite()) && s.mono_loss.0.is_finite());
            assert!(s.flatness.iter().all(|f| f.is_finite()));
        }
    }
    let nothing = Spectra::measure(&Audio::silence(44_100, 1_000));
    assert!(nothing.spectrum.mid.iter().all(|&v| v == FLOOR) && nothing.mono_loss.0 == 0.0);
    assert!(Spectra::measure(&Audio::silence(44_100, 0)).cells.is_empty());
}
