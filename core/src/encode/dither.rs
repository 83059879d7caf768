//! From `f32` to 16- or 24-bit words.
//!
//! TPDF dither of 2 LSB peak to peak makes the error of the rounding independent of the music, in its mean and its power
//! (Lipshitz, Wannamaker & Vanderkooy, "Quantization and Dither: A Theoretical Survey", JAES 40(5), 1992): total noise LSB²/4,
//! which is −96.33 dBFS at 16 bits. It is added exactly once, per channel on its own, and not at all where every sample of the
//! track already is a word of that length.

use crate::Audio;
use multiversion::multiversion;
use std::ops::Range;

/// A word length, and whether (and with which noise) to dither to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantiser {
    bits: u32,
    /// Key of the noise; `None`: every sample is exact.
    key: Option<u32>,
}

impl Quantiser {
    /// For this track. Looks through it until the first sample that is not a word of `bits`.
    pub(super) fn new(audio: &Audio, bits: u32, seed: u64) -> Self {
        let scale = full_scale(bits);
        let exact = audio.channels.iter().all(|samples| samples.chunks(4096).all(|chunk| all_words(chunk, scale)));
        Self { bits, key: (!exact).then(|| hash((seed ^ seed >> 32) as u32)) }
    }

    pub(super) fn dithers(self) -> bool {
        self.key.is_some()
    }

    /// Quantises `frames` into `out[channel]`; returns how many samples had to be clamped.
    pub(super) fn run(self, audio: &Audio, frames: Range<usize>, out: [&mut [i32]; 2]) -> u64 {
        let mut clamped = 0;
        for (channel, (samples, out)) in audio.channels.iter().zip(out).enumerate() {
            // Even counters for the left channel, odd ones for the right: no noise value is used twice within 2³¹ frames.
            let counter = (frames.start as u32).wrapping_mul(2).wrapping_add(channel as u32);
            clamped += match self.key {
                Some(key) => dithered(&samples[frames.clone()], out, full_scale(self.bits), key, counter),
                None => exact(&samples[frames.clone()], out, full_scale(self.bits)),
            };
        }
        clamped
    }
}

/// LSBs per full scale.
fn full_scale(bits: u32) -> f64 {
    f64::from(1 << (bits - 1))
}

/// 32 bits of noise from a counter: C. Wellons' `lowbias32` (hash-prospector, 2018, public domain).
#[inline]
fn hash(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}

/// 1.5 · 2⁵²: added to a small number, it leaves that number, rounded to nearest even, in the low bits of the mantissa. The one way
/// to round that costs one addition on every instruction set.
const ROUND: f64 = 6_755_399_441_055_744.0;

#[inline]
fn round(x: f64) -> i32 {
    (x + ROUND).to_bits() as u32 as i32
}

#[multiversion(targets("x86_64+avx512f+avx512dq", "x86_64+avx2"))]
fn dithered(samples: &[f32], out: &mut [i32], scale: f64, key: u32, counter: u32) -> u64 {
    let (low, high) = (-scale, scale - 1.0);
    let mut clamped = 0_u32;
    for (index, (&sample, out)) in samples.iter().zip(out).enumerate() {
        let noise = hash((index as u32).wrapping_mul(2).wrapping_add(counter) ^ key);
        // The sum of two uniform 16-bit numbers, centred: triangular over (−1, 1) LSB.
        let triangular = f64::from((noise & 0xffff) as i32 + (noise >> 16) as i32 - 0xffff) * (1.0 / 65_536.0);
        let value = f64::from(sample) * scale;
        clamped += u32::from(value > high || value < low);
        *out = round((value + triangular).max(low).min(high));
    }
    u64::from(clamped)
}

#[multiversion(targets("x86_64+avx512f+avx512dq", "x86_64+avx2"))]
fn exact(samples: &[f32], out: &mut [i32], scale: f64) -> u64 {
    let (low, high) = (-scale, scale - 1.0);
    for (&sample, out) in samples.iter().zip(out) {
        *out = round((f64::from(sample) * scale).max(low).min(high));
    }
    // `all_words` has seen to it that nothing lies outside.
    0
}

#[multiversion(targets("x86_64+avx512f+avx512dq", "x86_64+avx2"))]
fn all_words(samples: &[f32], scale: f64) -> bool {
    let strangers: u32 = samples
        .iter()
        .map(|&sample| {
            let value = f64::from(sample) * scale;
            u32::from(f64::from(round(value)) != value) + u32::from(value < -scale) + u32::from(value > scale - 1.0)
        })
        .sum();
    strangers == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantise(audio: &Audio, bits: u32, seed: u64) -> ([Vec<i32>; 2], u64) {
        let mut out = [vec![0; audio.frames()], vec![0; audio.frames()]];
        let [left, right] = &mut out;
        let clamped = Quantiser::new(audio, bits, seed).run(audio, 0..audio.frames(), [left, right]);
        (out, clamped)
    }

    /// A level no word can hold, so that the track is dithered, 10⁻⁶ LSB above silence.
    fn almost_silence(frames: usize) -> Audio {
        Audio::new(48_000, [vec![3e-11; frames], vec![3e-11; frames]])
    }

    #[test]
    fn silence_gets_white_noise_of_a_quarter_lsb_squared() {
        let frames = 1 << 20;
        let ([left, right], _) = quantise(&almost_silence(frames), 16, 7);
        let n = frames as f64;
        let sum = |x: &[i32], y: &[i32]| x.iter().zip(y).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() / n;
        for channel in [&left, &right] {
            let level = 10.0 * (sum(channel, channel) / 32_768.0_f64.powi(2)).log10();
            let mean = channel.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            println!("16-bit TPDF on silence: {level:.2} dBFS, mean {mean:+.4} LSB");
            assert!((level + 96.33).abs() < 0.1);
            assert!(mean.abs() < 0.01);
            // Flat: neighbours at any distance are unrelated. 0.01 is ten standard deviations of 2²⁰ values.
            for lag in [1, 2, 3, 64, 1024] {
                assert!((sum(&channel[lag..], channel) / sum(channel, channel)).abs() < 0.01, "lag {lag}");
            }
        }
        let correlation = sum(&left, &right) / (sum(&left, &left) * sum(&right, &right)).sqrt();
        println!("correlation of left and right: {correlation:+.5}");
        assert!(correlation.abs() < 0.01);
    }

    #[test]
    fn the_error_does_not_know_the_signal() {
        let frames = 1 << 20;
        // Ramps through two LSBs, so that every position between two words occurs.
        let ramp: Vec<f32> = (0..frames).map(|i| (i as f32 / frames as f32) * 2.0 / 32_768.0).collect();
        let audio = Audio::new(48_000, [ramp.clone(), ramp]);
        let ([left, _], _) = quantise(&audio, 16, 3);
        for part in 0..8 {
            let range = part * frames / 8..(part + 1) * frames / 8;
            let error = |i: usize| f64::from(left[i]) - f64::from(audio.channels[0][i]) * 32_768.0;
            let mean = range.clone().map(error).sum::<f64>() / range.len() as f64;
            let power = range.clone().map(|i| error(i).powi(2)).sum::<f64>() / range.len() as f64;
            // Standard deviations over 2¹⁷ values: mean 0.5/√2¹⁷ = 0.0014, power < 0.0012.
            assert!(mean.abs() < 0.007 && (power - 0.25).abs() < 0.006, "part {part}: mean {mean}, power {power}");
        }
    }

    #[test]
    fn words_pass_unchanged_and_overs_are_counted() {
        let words: Vec<i32> = (-32_768..32_768).collect();
        let samples: Vec<f32> = words.iter().map(|&w| w as f32 / 32_768.0).collect();
        let audio = Audio::new(44_100, [samples.clone(), samples]);
        assert!(!Quantiser::new(&audio, 16, 1).dithers());
        let ([left, right], clamped) = quantise(&audio, 16, 1);
        assert_eq!((left, right, clamped), (words.clone(), words.clone(), 0));
        let ([left, _], clamped) = quantise(&audio, 24, 1);
        assert_eq!((left, clamped), (words.iter().map(|w| w << 8).collect(), 0));

        let hot = Audio::new(44_100, [vec![1.0, -1.0, 1.5, -1.5, 0.999_95], vec![f32::NAN; 5]]);
        let ([left, right], clamped) = quantise(&hot, 16, 1);
        assert_eq!(clamped, 3);
        assert_eq!((left[0], left[2], left[3]), (32_767, 32_767, -32_768));
        assert!(right.iter().all(|w| (-32_768..=32_767).contains(w)));
    }

    #[test]
    fn the_seed_decides_and_the_segments_do_not() {
        let audio = almost_silence(10_000);
        let (whole, _) = quantise(&audio, 16, 5);
        assert_eq!(whole, quantise(&audio, 16, 5).0);
        assert_ne!(whole, quantise(&audio, 16, 6).0);
        let quantiser = Quantiser::new(&audio, 16, 5);
        let mut parts = [vec![0; 10_000], vec![0; 10_000]];
        for range in [0..77, 77..4_100, 4_100..10_000] {
            let [left, right] = &mut parts;
            quantiser.run(&audio, range.clone(), [&mut left[range.clone()], &mut right[range.clone()]]);
        }
        assert_eq!(whole, parts);
    }
}
