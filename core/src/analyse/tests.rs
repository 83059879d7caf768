//! The stage as a whole, on material made here.

use super::*;
use std::f64::consts::TAU;

fn noise(frames: usize, seed: u32, gain: f32) -> Vec<f32> {
    let mut s = seed;
    (0..frames)
        .map(|_| {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            gain * ((s >> 8) as f32 / 8_388_608.0 - 1.0)
        })
        .collect()
}

/// Pulses of decaying noise over a bass: something with peaks, bands and two sides.
fn music(rate: u32, seconds: u32) -> Audio {
    let frames = (rate * seconds) as usize;
    let channel = |seed: u32| -> Vec<f32> {
        let hiss = noise(frames, seed, 0.4);
        (0..frames)
            .map(|i| {
                let t = i as f64 / f64::from(rate);
                let beat = (-(t % 0.5) * 12.0).exp();
                (0.1 * (TAU * 55.0 * t).sin() + 0.3 * beat * (TAU * 220.0 * t).sin()) as f32 + hiss[i] * beat as f32
            })
            .collect()
    };
    Audio::new(rate, [channel(1), channel(2)])
}

fn codes(a: &Analysis) -> Vec<&str> {
    a.findings.iter().map(|f| f.code.as_str()).collect()
}

#[test]
fn a_clean_mix_has_no_findings() {
    let a =
        analyse_audio(&music(44_100, 12), Source { bits: Some(24), rate: 44_100, channels: 2, ..Source::default() });
    assert!(a.findings.is_empty(), "{:?}", a.findings);
    assert_eq!((a.bands.len(), a.ladder.len(), a.version), (BANDS, 14, ANALYSIS_VERSION));
    assert_eq!(a.waveform.points.len(), (12usize * 44_100).div_ceil(256));
    assert!(a.ladder.windows(2).all(|r| r[1].loudness.0 > r[0].loudness.0 && r[1].p95.0 >= r[0].p95.0));
    // The first rung lies under the limiter's first touch.
    let (first, mix) = (&a.ladder[0], a.loudness.integrated.unwrap());
    println!("{first:?}, mix {mix} {:?}", a.peaks.true_peak);
    assert!((first.loudness.0 - first.gain.0 - mix.0).abs() < 0.02 && first.p95 == Db(0.0));
}

#[test]
fn figures_are_equal_for_any_number_of_threads() {
    let audio = music(48_000, 20);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| analyse_audio(&audio, Source::default()))
    };
    let one = run(1);
    for threads in [2, 7] {
        let many = run(threads);
        // Equality of floats and of their text is equality of bits here: there is neither NaN nor a negative zero to hide.
        assert_eq!(one, many);
        assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&many).unwrap());
    }
}

#[test]
fn every_length_and_rate_gives_finite_figures() {
    for frames in [1, 2, 33, 441, 20_000] {
        for rate in [44_100, 48_000, 192_000] {
            for audio in [
                Audio::new(rate, [noise(frames, 1, 0.5), noise(frames, 2, 0.5)]),
                Audio::new(rate, [vec![0.5; frames], vec![0.0; frames]]),
                Audio::silence(rate, frames),
            ] {
                let text = serde_json::to_string(&analyse_audio(&audio, Source::default())).unwrap();
                // serde_json writes a non-finite number as null, which does not read back.
                let back: Analysis = serde_json::from_str(&text).unwrap();
                assert_eq!(back.frames, frames as u64);
            }
        }
    }
    assert_eq!(analyse_audio(&Audio::silence(44_100, 0), Source::default()).frames, 0);
}

#[test]
fn clipping_is_counted_and_slow_sines_are_not_clipped() {
    let rate = 44_100;
    let mut audio = music(rate, 10);
    // Five flat tops of four samples, the first at 2 s, on the left.
    for k in 0..5 {
        let at = 2 * rate as usize + k * 10_000;
        audio.channels[0][at - 1] = 0.3;
        audio.channels[0][at..at + 4].fill(1.0);
        audio.channels[0][at + 4] = 0.3;
    }
    let a = analyse_audio(&audio, Source::default());
    assert_eq!((a.clipping.clipped_runs, a.clipping.first), (5, Some(Seconds(2.0))));
    let finding = a.findings.iter().find(|f| f.code == "clipped").unwrap();
    assert!(finding.text.contains("clips 5 times, first at 0:02.0"), "{}", finding.text);

    // A full-scale sine of 20 Hz in 16 bits stays on its top for several samples, and is not clipped.
    let sine: Vec<f32> = (0..10 * rate)
        .map(|i| ((32_767.0 * (TAU * 20.0 * f64::from(i) / f64::from(rate)).sin()).round() / 32_768.0) as f32)
        .collect();
    let a = analyse_audio(&Audio::new(rate, [sine.clone(), sine]), Source::default());
    assert_eq!((a.clipping.clipped_runs, a.clipping.flat_runs), (0, 0));
}

#[test]
fn a_limited_mix_is_known_by_its_flat_tops() {
    let mut audio = music(44_100, 10);
    let top = audio.channels.iter().flatten().fold(0.0f32, |a, v| a.max(v.abs())) * 0.5;
    for v in audio.channels.iter_mut().flatten() {
        *v = (*v * 3.0).clamp(-top, top);
    }
    let a = analyse_audio(&audio, Source::default());
    assert!(a.clipping.flat_runs > 10 && codes(&a).contains(&"already_limited"), "{:?}", a.clipping);
}

#[test]
fn faults_of_left_and_right_are_told() {
    let music = music(44_100, 10);
    let with =
        |right: Vec<f32>| analyse_audio(&Audio::new(44_100, [music.channels[0].to_vec(), right]), Source::default());
    let left = &music.channels[0];
    let inverted = with(left.iter().map(|v| -v).collect());
    assert!(inverted.stereo.inverted && inverted.stereo.correlation < -0.999 && codes(&inverted).contains(&"inverted"));
    let mono = with(left.to_vec());
    assert!(mono.stereo.mono && mono.stereo.mono_loss.0 == 0.0 && codes(&mono).contains(&"mono"));
    let single = with(vec![0.0; left.len()]);
    assert!(codes(&single).contains(&"balance") && single.stereo.correlation == 0.0);
    assert!((single.stereo.mono_loss.0 - 3.0103).abs() < 0.01);
    let leaning = with(left.iter().map(|v| v * 0.5).collect());
    assert!((leaning.stereo.balance.0 - 6.02).abs() < 0.01 && codes(&leaning).contains(&"balance"));
}

#[test]
fn silence_offset_and_word_length_are_measured() {
    let rate = 44_100;
    let mut audio = music(rate, 10);
    for channel in &mut audio.channels {
        // 2 s of silence ahead, 6 s behind, 1 % off centre in between, in words of 16 bits.
        let mut x = vec![0.0f32; 2 * rate as usize];
        x.extend(channel.iter().map(|v| ((v + 0.02) * 32_768.0).round() / 32_768.0));
        x.extend(vec![0.0f32; 6 * rate as usize]);
        *channel = x.into();
    }
    let source = Source { bits: Some(24), rate, channels: 2, ..Source::default() };
    let a = analyse_audio(&audio, source);
    assert_eq!(a.condition.effective_bits, Some(16));
    assert!((a.condition.head_silence.0 - 2.0).abs() < 0.01 && (a.condition.tail_silence.0 - 6.0).abs() < 0.01);
    assert!((a.condition.dc[0] - 0.02 * 10.0 / 18.0).abs() < 1e-3);
    for code in ["dc_offset", "bit_depth", "head_silence", "tail_silence"] {
        assert!(codes(&a).contains(&code), "{code}: {:?}", codes(&a));
    }
}

#[test]
fn a_codecs_low_pass_is_found_and_a_full_spectrum_is_not() {
    let rate = 44_100;
    let full = noise(10 * rate as usize, 5, 0.5);
    // 255-tap Blackman low-pass at 16 kHz.
    let taps: Vec<f32> = (0..255)
        .map(|i| {
            let t = f64::from(i) - 127.0;
            let x = TAU * 16_000.0 / f64::from(rate) * t;
            let w = TAU * (f64::from(i) + 1.0) / 256.0;
            let sinc = if t == 0.0 { 1.0 } else { x.sin() / x };
            (sinc * (0.42 - 0.5 * w.cos() + 0.08 * (2.0 * w).cos()) * 32_000.0 / f64::from(rate)) as f32
        })
        .collect();
    let cut: Vec<f32> = full.windows(255).map(|w| w.iter().zip(&taps).map(|(a, b)| a * b).sum()).collect();
    let source = Source { bits: Some(24), rate, channels: 2, ..Source::default() };
    let a = analyse_audio(&Audio::new(rate, [cut.clone(), cut]), source.clone());
    println!("low-pass at 16 kHz read as {:.0}", a.condition.bandwidth);
    assert!((a.condition.bandwidth.0 - 16_000.0).abs() < 500.0 && codes(&a).contains(&"bandwidth"));
    let a = analyse_audio(&Audio::new(rate, [full.clone(), full]), source);
    assert!(a.condition.bandwidth.0 > 21_500.0 && !codes(&a).contains(&"bandwidth"));
}

#[test]
fn the_loudest_half_minute_is_found() {
    let rate = 44_100;
    let frames = 60 * rate as usize;
    let x: Vec<f32> = noise(frames, 9, 0.1)
        .iter()
        .enumerate()
        .map(|(i, v)| if (20 * rate as usize..50 * rate as usize).contains(&i) { v * 4.0 } else { *v })
        .collect();
    let a = analyse_audio(&Audio::new(rate, [x.clone(), x]), Source::default());
    assert!((a.loudest.0 - 20.0).abs() < 0.11, "{}", a.loudest);
}

#[test]
fn an_inverted_channel_is_found_by_less_than_a_full_inversion() {
    // Half of the sound is the same on both sides, with the bass in the middle; the correlation of the whole is only −0.4.
    let music = music(44_100, 10);
    let [a, b] = &music.channels;
    let mix = |sign: f32| {
        let right: Vec<f32> = a.iter().zip(b.iter()).map(|(a, b)| sign * (0.45 * a + 0.9 * b)).collect();
        analyse_audio(&Audio::new(44_100, [a.to_vec(), right]), Source::default())
    };
    let (whole, inverted) = (mix(1.0), mix(-1.0));
    println!("{:?}\n{:?}", whole.stereo, inverted.stereo);
    assert!(!whole.stereo.inverted && !codes(&whole).contains(&"inverted"));
    assert!(inverted.stereo.inverted && codes(&inverted).contains(&"inverted"));
}

#[test]
fn the_quietest_passage_of_music_is_no_noise() {
    let rate = 44_100;
    // A chord that swells: its quietest 0.4 s are music.
    let chord: Vec<f32> = (0..10 * rate)
        .map(|i| {
            let t = f64::from(i) / f64::from(rate);
            let level = 0.02 + 0.2 * (0.5 - 0.5 * (TAU * t / 5.0).cos());
            let tones = [220.0, 277.2, 329.6, 1_108.7, 2_637.0];
            (level * tones.iter().map(|hz| (TAU * hz * t).sin()).sum::<f64>()) as f32
        })
        .collect();
    let clean = analyse_audio(&Audio::new(rate as u32, [chord.clone(), chord.clone()]), Source::default());
    assert_eq!((clean.condition.noise_floor, clean.condition.noise_thirds), (None, None));
    // Hiss between bursts is.
    let hiss = noise(10 * rate as usize, 3, 0.003);
    let gated: Vec<f32> = chord
        .iter()
        .zip(&hiss)
        .enumerate()
        .map(|(i, (v, n))| if (i / (2 * rate as usize)).is_multiple_of(2) { v + n } else { *n })
        .collect();
    let noisy = analyse_audio(&Audio::new(rate as u32, [gated.clone(), gated]), Source::default());
    assert!(noisy.condition.noise_floor.is_some_and(|n| (n.0 + 55.2).abs() < 1.5), "{:?}", noisy.condition.noise_floor);
    assert!(noisy.condition.noise_thirds.is_some());
}
