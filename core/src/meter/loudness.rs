//! Loudness after ITU-R BS.1770-5 with the meters of EBU Tech 3341 and the loudness range of Tech 3342.

use crate::units::{Db, Lufs};
use multiversion::multiversion;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::f64::consts::{PI, TAU};

/// Weights of left and right (BS.1770-5, Table 3).
pub const STEREO: [f64; 2] = [1.0, 1.0];

/// Absolute gate, LUFS (BS.1770-5, Annex 1, step 4).
pub const ABSOLUTE_GATE: f64 = -70.0;

/// Relative gate of integrated loudness, LU (BS.1770-5, Annex 1, step 4).
const RELATIVE_GATE: f64 = -10.0;

/// Relative gate of the loudness range, LU (EBU Tech 3342, section 2).
const RANGE_GATE: f64 = -20.0;

/// The frequency at which BS.1770-5 calibrates its constant of −0.691 dB.
const CALIBRATION_HZ: f64 = 997.0;

/// A second-order section, `a0` = 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Biquad {
    /// Numerator.
    pub b: [f64; 3],
    /// Denominator without its leading 1.
    pub a: [f64; 2],
}

impl Biquad {
    /// Power gain at `hz`.
    #[must_use]
    pub fn power(&self, hz: f64, rate: f64) -> f64 {
        let (s1, c1) = (TAU * hz / rate).sin_cos();
        let (s2, c2) = (2.0 * TAU * hz / rate).sin_cos();
        let square = |re: f64, im: f64| re * re + im * im;
        square(self.b[0] + self.b[1] * c1 + self.b[2] * c2, self.b[1] * s1 + self.b[2] * s2)
            / square(1.0 + self.a[0] * c1 + self.a[1] * c2, self.a[0] * s1 + self.a[1] * s2)
    }
}

/// The two sections of the K-weighting at `rate`: shelf, high-pass; at 48 kHz the tables 1 and 2 of BS.1770-5.
///
/// The tables are the bilinear transform of an analogue prototype; its parameters are those that give the tables back.
#[must_use]
pub fn k_weighting_table(rate: u32) -> [Biquad; 2] {
    let rate = f64::from(rate);
    let warp = |hz: f64| (PI * hz / rate).tan();

    let (k, q) = (warp(1_681.974_450_955_533), 0.707_175_236_955_419_6);
    let high = 10f64.powf(3.999_843_853_973_347 / 20.0);
    let band = high.powf(0.499_666_774_154_541_6);
    let a0 = 1.0 + k / q + k * k;
    let shelf = Biquad {
        b: [(high + band * k / q + k * k) / a0, 2.0 * (k * k - high) / a0, (high - band * k / q + k * k) / a0],
        a: [2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0],
    };

    let (k, q) = (warp(38.135_470_876_024_44), 0.500_327_037_323_877_3);
    let a0 = 1.0 + k / q + k * k;
    let high_pass = Biquad { b: [1.0, -2.0, 1.0], a: [2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0] };
    [shelf, high_pass]
}

/// The K-weighting at `rate`, scaled so that 997 Hz has the same gain as at 48 kHz: the bilinear transform bends the plain one,
/// which reads 0.03 dB low at 192 kHz.
#[must_use]
pub fn k_weighting(rate: u32) -> [Biquad; 2] {
    let gain = |rate: u32, sections: &[Biquad; 2]| {
        sections.iter().map(|s| s.power(CALIBRATION_HZ, f64::from(rate))).product::<f64>().sqrt()
    };
    let [mut shelf, high_pass] = k_weighting_table(rate);
    let scale = gain(48_000, &k_weighting_table(48_000)) / gain(rate, &[shelf, high_pass]);
    shelf.b = shelf.b.map(|b| b * scale);
    [shelf, high_pass]
}

/// Filters in flight at once: four segments of a stereo track fill two AVX2 registers.
const LANES: usize = 8;

/// Length of a segment, seconds: long against the pre-roll, short enough to give several threads work.
const SEGMENT: f64 = 6.0;

/// Pre-roll of a segment, seconds. The slowest pole (38 Hz, critically damped) has decayed by e^(−0.4·2π·38) = 1e-41: less than the
/// rounding of `f64`.
const PRE_ROLL: f64 = 0.4;

/// Frames that are transposed into lanes at a time.
const CHUNK: usize = 64;

/// States below this are cleared, so that silence never computes with denormals; far below any gate.
const TINY: f64 = 1e-80;

/// Filters a chunk in all lanes and returns the sum of squares per lane. `state`: two values per section.
#[multiversion(targets("x86_64+avx2"))]
fn filter_chunk(
    x: &[[f64; LANES]],
    sections: &[Biquad; 2],
    state: &mut [[f64; LANES]; 4],
    mut sum: [f64; LANES],
) -> [f64; LANES] {
    let [shelf, high] = *sections;
    let [mut s0, mut s1, mut s2, mut s3] = *state;
    for x in x {
        for l in 0..LANES {
            let y = shelf.b[0] * x[l] + s0[l];
            s0[l] = shelf.b[1] * x[l] - shelf.a[0] * y + s1[l];
            s1[l] = shelf.b[2] * x[l] - shelf.a[1] * y;
            // The numerator of the high-pass is 1, −2, 1.
            let z = y + s2[l];
            s2[l] = -2.0 * y - high.a[0] * z + s3[l];
            s3[l] = y - high.a[1] * z;
            sum[l] += z * z;
        }
    }
    let clear = |s: [f64; LANES]| s.map(|v| if v.abs() < TINY { 0.0 } else { v });
    *state = [clear(s0), clear(s1), clear(s2), clear(s3)];
    sum
}

/// Copies `x[from..from + n]` into lane `lane` of `chunk`, silence outside of `x`.
fn load_lane(chunk: &mut [[f64; LANES]], lane: usize, x: &[f32], from: isize) {
    let n = chunk.len() as isize;
    if from >= 0 && from + n <= x.len() as isize {
        for (c, &v) in chunk.iter_mut().zip(&x[from as usize..(from + n) as usize]) {
            c[lane] = f64::from(v);
        }
    } else {
        for (i, c) in (from..).zip(chunk.iter_mut()) {
            c[lane] = usize::try_from(i).ok().and_then(|i| x.get(i)).map_or(0.0, |&v| f64::from(v));
        }
    }
}

/// The K-weighted energy of each hop: `[hop]`, Σ over channels of weight · Σ over frames of the filtered sample squared.
///
/// `channels` is `[channel][frame]`, all of one length, with a weight each. The last hop may be partial; there are
/// `frames.div_ceil(hop_frames)` of them. Divide by the frames of the hop for a mean square.
#[must_use]
pub fn k_energies(channels: &[&[f32]], weights: &[f64], rate: u32, hop_frames: usize) -> Vec<f64> {
    let frames = channels.iter().map(|c| c.len()).max().unwrap_or(0);
    let hop = hop_frames.max(1);
    let hops = frames.div_ceil(hop);
    let segment_hops = ((SEGMENT * f64::from(rate)) as usize).div_ceil(hop).max(1);
    let pre_roll = (PRE_ROLL * f64::from(rate)).ceil() as isize;
    let sections = k_weighting(rate);

    // One lane per channel and segment, channels next to each other.
    let lanes: Vec<(usize, usize)> =
        (0..hops.div_ceil(segment_hops)).flat_map(|s| (0..channels.len()).map(move |c| (c, s))).collect();
    let energies: Vec<Vec<[f64; LANES]>> = lanes
        .par_chunks(LANES)
        .map(|group| {
            let mut state = [[0.0; LANES]; 4];
            let mut chunk = [[0.0; LANES]; CHUNK];
            let starts: Vec<isize> = group.iter().map(|&(_, s)| (s * segment_hops * hop) as isize).collect();
            let fill = |chunk: &mut [[f64; LANES]], t: isize| {
                for (lane, (&(channel, _), start)) in group.iter().zip(&starts).enumerate() {
                    load_lane(chunk, lane, channels[channel], start + t);
                }
            };
            // The track's first segment has silence before it and needs no pre-roll, but it shares its group.
            let mut t = -pre_roll;
            while t < 0 {
                let n = CHUNK.min(-t as usize);
                fill(&mut chunk[..n], t);
                filter_chunk(&chunk[..n], &sections, &mut state, [0.0; LANES]);
                t += n as isize;
            }
            // The group's first segment starts earliest: none of its lanes has more hops than that one.
            let first = group.first().map_or(0, |&(_, s)| s * segment_hops);
            // The track's end within the group's last segment: from there on the filters must not ring into the last hop.
            let end = starts.last().map_or(0, |start| frames as isize - start);
            let mut out = Vec::with_capacity(segment_hops.min(hops - first));
            for _ in first..hops.min(first + segment_hops) {
                let mut sum = [0.0; LANES];
                let mut left = hop;
                while left > 0 {
                    let to_end = if t < end { (end - t) as usize } else { usize::MAX };
                    let n = CHUNK.min(left).min(to_end);
                    fill(&mut chunk[..n], t);
                    sum = filter_chunk(&chunk[..n], &sections, &mut state, sum);
                    t += n as isize;
                    left -= n;
                    if t == end {
                        for (lane, start) in
                            starts.iter().enumerate().filter(|(_, start)| **start + t >= frames as isize)
                        {
                            debug_assert_eq!(start + t, frames as isize);
                            for s in &mut state {
                                s[lane] = 0.0;
                            }
                        }
                    }
                }
                out.push(sum);
            }
            out
        })
        .collect();

    let mut total = vec![0.0; hops];
    for (group, sums) in lanes.chunks(LANES).zip(&energies) {
        for (lane, &(channel, segment)) in group.iter().enumerate() {
            let weight = weights.get(channel).copied().unwrap_or(0.0);
            for (t, s) in total[segment * segment_hops..].iter_mut().zip(sums) {
                *t += weight * s[lane];
            }
        }
    }
    total
}

/// Loudness of a weighted mean square (BS.1770-5, Annex 1, equation 2); `-inf` for silence.
#[must_use]
pub fn loudness_of(mean_square: f64) -> f64 {
    -0.691 + 10.0 * mean_square.log10()
}

/// The weighted mean square that has this loudness.
fn mean_square_of(lufs: f64) -> f64 {
    10f64.powf((lufs + 0.691) / 10.0)
}

/// Energy up to any frame, from energies per hop.
struct Cumulative {
    /// `[hop]` energy before the hop, and the total.
    sums: Vec<f64>,
    hop: f64,
    frames: f64,
}

impl Cumulative {
    fn new(energies: &[f64], hop_frames: usize, frames: usize) -> Self {
        let mut sum = 0.0;
        let mut sums = Vec::with_capacity(energies.len() + 1);
        sums.push(0.0);
        sums.extend(energies.iter().map(|e| {
            sum += e;
            sum
        }));
        Self { sums, hop: hop_frames.max(1) as f64, frames: frames as f64 }
    }

    /// Energy before `frame`; between hops, a hop's energy counts as spread evenly.
    fn before(&self, frame: f64) -> f64 {
        let at = (frame / self.hop).max(0.0);
        let hop = at as usize;
        match (self.sums.get(hop), self.sums.get(hop + 1)) {
            (Some(&low), Some(&high)) => low + (high - low) * (at - hop as f64),
            _ => self.sums.last().copied().unwrap_or(0.0),
        }
    }

    /// Mean squares of all whole windows of `length` frames, one every `step` frames.
    fn windows(&self, length: f64, step: f64) -> impl Iterator<Item = f64> {
        // Half a frame of tolerance, so that rounding never loses a window that fits.
        let count = if self.frames + 0.5 < length { 0 } else { ((self.frames + 0.5 - length) / step) as usize + 1 };
        (0..count).map(move |i| {
            let from = i as f64 * step;
            ((self.before(from + length) - self.before(from)) / length).max(0.0)
        })
    }
}

/// Mean of the values above `gate`; `None` if there are none.
fn mean_above(values: &[f64], gate: f64) -> Option<f64> {
    let (sum, n) = values.iter().filter(|&&v| v > gate).fold((0.0, 0u64), |(sum, n), v| (sum + v, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// Integrated loudness of hop energies (of [`k_energies`], or scaled by a gain): 400 ms blocks with 75 % overlap and both gates of
/// BS.1770-5. Exact where the hop divides 100 ms; else blocks begin and end within hops, whose energy counts as spread evenly.
///
/// `None`: shorter than 400 ms, or nothing above −70 LUFS.
#[must_use]
pub fn integrated_from_block_energies(energies: &[f64], hop_frames: usize, frames: usize, rate: u32) -> Option<Lufs> {
    let rate = f64::from(rate);
    let blocks: Vec<f64> = Cumulative::new(energies, hop_frames, frames).windows(0.4 * rate, 0.1 * rate).collect();
    integrated(&blocks)
}

/// Both gates of BS.1770-5, Annex 1, over the mean squares of blocks.
fn integrated(blocks: &[f64]) -> Option<Lufs> {
    let absolute = mean_square_of(ABSOLUTE_GATE);
    let relative = mean_above(blocks, absolute)? * Db(RELATIVE_GATE).power();
    mean_above(blocks, absolute.max(relative)).map(|m| Lufs(loudness_of(m)))
}

/// The value at `share` (0–1) of sorted `values`: the nearest one, as Tech 3342 computes it.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

/// BS.1770-5 and EBU Tech 3341/3342 figures; `None` where there is nothing above the gates or the track is too short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loudness {
    /// Gated integrated loudness.
    pub integrated: Option<Lufs>,
    /// Loudest 400 ms.
    pub max_momentary: Option<Lufs>,
    /// Loudest 3 s.
    pub max_short_term: Option<Lufs>,
    /// Loudness range.
    pub range: Option<Db>,
    /// 95th percentile of gated short-term loudness.
    pub p95_short_term: Option<Lufs>,
    /// Short-term loudness every 0.1 s, LUFS, floored at −70; the value at index i covers the 3 s ending at (i + 1) · 0.1 s, with
    /// silence before the track.
    pub over_time: Vec<f32>,
}

impl Loudness {
    /// Measures `channels` `[channel][frame]` with a weight for each ([`STEREO`] for stereo).
    #[must_use]
    pub fn measure(channels: &[&[f32]], weights: &[f64], rate: u32) -> Self {
        // 10 ms: Tech 3341 cases 10 and 13 start off the 100 ms grid.
        let hop = (rate as usize).div_ceil(100).max(1);
        let frames = channels.iter().map(|c| c.len()).max().unwrap_or(0);
        Self::from_energies(&k_energies(channels, weights, rate, hop), hop, frames, rate)
    }

    /// The figures of energies per hop of at most 10 ms.
    #[must_use]
    pub fn from_energies(energies: &[f64], hop_frames: usize, frames: usize, rate: u32) -> Self {
        let rate = f64::from(rate);
        let fine = 0.01 * rate;
        let energy = Cumulative::new(energies, hop_frames, frames);
        let loudest = |length: f64| {
            let most = energy.windows(length * rate, fine).fold(0.0, f64::max);
            (most > mean_square_of(ABSOLUTE_GATE)).then(|| Lufs(loudness_of(most)))
        };
        let blocks: Vec<f64> = energy.windows(0.4 * rate, 0.1 * rate).collect();

        // Tech 3342: 3 s windows every 0.1 s (at least 10 Hz since 2016).
        let mut short: Vec<f64> = energy.windows(3.0 * rate, 0.1 * rate).collect();
        let absolute = mean_square_of(ABSOLUTE_GATE);
        let relative = mean_above(&short, absolute).map_or(0.0, |mean| mean * Db(RANGE_GATE).power());
        short.retain(|&v| v > absolute && v > relative);
        short.sort_by(f64::total_cmp);
        let (p10, p95) = (percentile(&short, 0.10), percentile(&short, 0.95));

        let points = (frames as f64 / (0.1 * rate) + 1e-9) as usize;
        let over_time = (1..=points)
            .map(|i| {
                let end = 0.1 * rate * i as f64;
                let mean = (energy.before(end) - energy.before(end - 3.0 * rate)).max(0.0) / (3.0 * rate);
                loudness_of(mean).max(ABSOLUTE_GATE) as f32
            })
            .collect();

        Self {
            integrated: integrated(&blocks),
            max_momentary: loudest(0.4),
            max_short_term: loudest(3.0),
            range: p10.zip(p95).map(|(low, high)| Db(10.0 * (high / low).log10())),
            p95_short_term: p95.map(|v| Lufs(loudness_of(v))),
            over_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_agree_with_one_plain_filter() {
        // Two channels over several segments, so that pre-roll and segment borders are inside.
        let rate = 44_100;
        let frames = 20 * rate as usize + 17;
        let noise = |seed: u32| -> Vec<f32> {
            let mut s = seed;
            (0..frames)
                .map(|_| {
                    s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    s as f32 / 4_294_967_296.0 - 0.5
                })
                .collect()
        };
        let (left, right) = (noise(1), noise(2));
        let [shelf, high] = k_weighting(rate);
        let plain = |x: &[f32]| -> Vec<f64> {
            let mut s = [0.0f64; 4];
            x.iter()
                .map(|&x| {
                    let x = f64::from(x);
                    let y = shelf.b[0] * x + s[0];
                    s[0] = shelf.b[1] * x - shelf.a[0] * y + s[1];
                    s[1] = shelf.b[2] * x - shelf.a[1] * y;
                    let z = high.b[0] * y + s[2];
                    s[2] = high.b[1] * y - high.a[0] * z + s[3];
                    s[3] = high.b[2] * y - high.a[1] * z;
                    z * z
                })
                .collect()
        };
        let (l, r) = (plain(&left), plain(&right));
        for hop in [32, 441, 1_000_000] {
            let fast = k_energies(&[&left, &right], &[1.0, 0.5], rate, hop);
            assert_eq!(fast.len(), frames.div_ceil(hop));
            for (h, e) in fast.iter().enumerate() {
                let range = h * hop..frames.min((h + 1) * hop);
                let slow = l[range.clone()].iter().sum::<f64>() + 0.5 * r[range].iter().sum::<f64>();
                // A hop is a sum of up to 1e6 positive f64 terms: 1e6 · 2^-53 ≈ 1e-10 at worst.
                assert!((e - slow).abs() <= 1e-10 * slow.max(1e-6), "hop {hop} #{h}: {e} {slow}");
            }
        }
    }

    #[test]
    fn too_short_or_silent_has_no_loudness() {
        let tone: Vec<f32> = (0..17_639).map(|i| (i as f32 * 0.1).sin()).collect();
        assert_eq!(Loudness::measure(&[&tone], &[1.0], 44_100).integrated, None);
        let silence = vec![0.0f32; 100_000];
        let l = Loudness::measure(&[&silence, &silence], &STEREO, 44_100);
        assert_eq!((l.integrated, l.range, l.max_momentary), (None, None, None));
        assert!(l.over_time.iter().all(|&v| v == -70.0));
        assert_eq!(Loudness::measure(&[], &[], 44_100).integrated, None);
        assert!(Loudness::measure(&[&[0.5]], &[1.0], 44_100).over_time.is_empty());
    }

    #[test]
    fn a_hop_of_32_frames_predicts_the_exact_figure() {
        let rate = 44_100;
        let tone: Vec<f32> =
            (0..rate as usize * 5).map(|i| 0.3 * (i as f32 * 0.05).sin() * (i as f32 * 0.000_02).cos()).collect();
        let exact = Loudness::measure(&[&tone], &[1.0], rate).integrated.unwrap();
        let near =
            integrated_from_block_energies(&k_energies(&[&tone], &[1.0], rate, 32), 32, tone.len(), rate).unwrap();
        println!("hop 32: {near:.6}, exact {exact:.6}");
        assert!((exact - near).0.abs() < 1e-3);
    }
}
