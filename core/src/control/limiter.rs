//! Gains at control rate: leveler and true-peak limiter. Everything here works on one value per control block, serial, cheap, and
//! the same for every backend; the loudness solver runs the very same code to predict what a gain would do.

use super::curves::ClipCurve;
use super::{Clipper, Leveler, Limiter};
use crate::units::{Db, Dbtp, Seconds};
use std::ops::Range;

/// How far below the ceiling the limiter aims: what a grid of 8 can miss of a peak below 20 kHz at 44.1 kHz is 0.14 dB at worst and
/// below 0.05 dB in music; what is left is found by the check on a grid of 16.
pub const MARGIN: Db = Db(0.1);

/// Parts of the signal below this are what the half-period hold looks at.
const LOW_HZ: f64 = 120.0;
/// Longest half period that is held: 40 Hz.
const LOW_HOLD: Seconds = Seconds(0.0125);
/// Hold for everything else: half a period of 125 Hz, so that the gain does not ride on single cycles. Chosen by measuring.
const HOLD: Seconds = Seconds(0.004);
/// Time constants of the density follower that makes passages release slowly. Chosen by measuring (bass bursts against dense mixes).
const DENSITY_ATTACK: Seconds = Seconds(0.25);

/// Leveler: time constants of engine and plan.
const LEVELER_ATTACK: Seconds = Seconds(0.05);
const LEVELER_RELEASE: Seconds = Seconds(0.1);
/// How far above the ceiling sustained peaks may stay: what the clipper can take. Chosen by measuring: at 1 dB the leveler rode the
/// passages of real mixes at −9 LUFS half as much again, for no less limiting.
const LEVELER_ABOVE: Db = Db(3.0);

/// Frames per control block at `rate`: 32, and proportionally more at 2× and 4× rates, so that a block is always about 0.7 ms.
#[must_use]
pub fn hop(rate: u32) -> usize {
    super::BLOCK
        * match rate {
            0..64_000 => 1,
            64_000..128_000 => 2,
            _ => 4,
        }
}

/// Mean of each block of `hop` frames.
#[must_use]
pub fn block_means(channel: &[f32], hop: usize) -> Vec<f32> {
    channel.chunks(hop).map(|block| block.iter().sum::<f32>() / block.len() as f32).collect()
}

/// One running mean over `2·half + 1` values, shorter at the ends.
pub(super) fn running_mean(values: &[f32], half: usize) -> Vec<f32> {
    let mut sums = Vec::with_capacity(values.len() + 1);
    let mut sum = 0f64;
    sums.push(sum);
    sums.extend(values.iter().map(|v| {
        sum += f64::from(*v);
        sum
    }));
    (0..values.len())
        .map(|i| {
            let (from, to) = (i.saturating_sub(half), (i + half + 1).min(values.len()));
            ((sums[to] - sums[from]) / (to - from) as f64) as f32
        })
        .collect()
}

/// What moves slower than about 10 Hz in a signal at control rate: three running means of 33 ms, no delay.
#[must_use]
pub fn slow_part(values: &[f32], hop: usize, rate: u32) -> Vec<f32> {
    let half = blocks(Seconds(0.0165), hop, rate);
    running_mean(&running_mean(&running_mean(values, half), half), half)
}

/// `time` in blocks, at least 1.
pub(super) fn blocks(time: Seconds, hop: usize, rate: u32) -> usize {
    ((time.0 * f64::from(rate) / hop as f64).round() as usize).max(1)
}

/// What a one-pole follower with this time constant keeps per block.
pub(super) fn keep(time: Seconds, hop: usize, rate: u32) -> f32 {
    (-(hop as f64) / (time.0.max(1e-4) * f64::from(rate))).exp() as f32
}

/// `[block]` largest value within `half` blocks on either side.
fn spread(values: &[f32], half: usize) -> Vec<f32> {
    // Van Herk: maxima forward and backward within chunks of the window's length; any window is one of each.
    let (n, window) = (values.len(), 2 * half + 1);
    let mut forward = values.to_vec();
    let mut backward = values.to_vec();
    for chunk in forward.chunks_mut(window) {
        for i in 1..chunk.len() {
            chunk[i] = chunk[i].max(chunk[i - 1]);
        }
    }
    for chunk in backward.chunks_mut(window) {
        for i in (1..chunk.len()).rev() {
            chunk[i - 1] = chunk[i - 1].max(chunk[i]);
        }
    }
    (0..n)
        .map(|i| {
            let (from, to) = (i.saturating_sub(half), (i + half).min(n - 1));
            // At the ends the window is cut off and may lie within one chunk.
            if from / window == to / window && to - from + 1 < window {
                values[from..=to].iter().copied().fold(f32::MIN, f32::max)
            } else {
                backward[from].max(forward[to])
            }
        })
        .collect()
}

/// 20·log10, with a floor far below anything and a ceiling that keeps infinities out of the recursions.
fn level(amplitude: f32) -> f32 {
    6.020_6 * amplitude.clamp(1e-10, 1e10).log2()
}

/// Amplitude of a level in dB.
fn amplitude(level: f32) -> f32 {
    (level * 0.166_096_4).exp2()
}

/// What the control of one track looks at; the levels of a track before any gain.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    /// Frames per block.
    pub hop: usize,
    /// Frames per second.
    pub rate: u32,
    /// `[block]` highest magnitude of both channels, between the samples too.
    pub peak: Vec<f32>,
    /// `[block]` magnitude of what lies below 120 Hz, the larger of both channels.
    pub low: Vec<f32>,
}

impl Levels {
    /// From the peaks of the blocks and both channels' block means.
    #[must_use]
    pub fn new(peak: Vec<f32>, means: [&[f32]; 2], hop: usize, rate: u32) -> Self {
        // Two running means with a first null at twice the corner: −3 dB at about 0.7 of it, −8 dB at it.
        let half = blocks(Seconds(0.25 / LOW_HZ), hop, rate);
        let low = means.map(|mean| running_mean(&running_mean(mean, half), half));
        let low = low[0].iter().zip(&low[1]).map(|(l, r)| l.abs().max(r.abs())).collect();
        Self { hop, rate, peak, low }
    }

    /// Some of the blocks.
    #[must_use]
    pub fn part(&self, blocks: Range<usize>) -> Self {
        Self { peak: self.peak[blocks.clone()].to_vec(), low: self.low[blocks].to_vec(), ..*self }
    }

    /// `[block]` peak level in dB, with the hold for low frequencies: where what lies below 120 Hz makes up most of the peak, the
    /// level is that of the loudest moment within half a period, so that the gain does not follow the waveform.
    #[must_use]
    pub fn envelope(&self) -> Vec<f32> {
        let half = blocks(Seconds(LOW_HOLD.0 / 2.0), self.hop, self.rate);
        let held = spread(&self.peak, half);
        let low = spread(&self.low, half);
        let mut out = vec![0.0; self.peak.len()];
        for (i, out) in out.iter_mut().enumerate() {
            let here = level(self.peak[i]);
            let share = ((low[i] / held[i].max(1e-10) - 0.45) / 0.2).clamp(0.0, 1.0);
            *out = if share > 0.0 { here + share * (level(held[i]) - here) } else { here };
        }
        out
    }
}

/// `[block]` gain of the leveler, dB ≤ 0, for an envelope in dB that a gain of `gain` dB is applied to.
///
/// A slow hand: it follows the part of the overshoot that stays (attack 50 ms, release 100 ms as time constants: 95 % in 300 ms), so
/// that clipper and limiter are left with the transients.
#[must_use]
pub fn level_gain(envelope: &[f32], gain: f32, ceiling: f32, leveler: &Leveler, hop: usize, rate: u32) -> Vec<f32> {
    let most = leveler.max_reduction.0.clamp(0.0, 3.0) as f32;
    let above = ceiling + LEVELER_ABOVE.0 as f32 - gain;
    let (attack, release) = (keep(LEVELER_ATTACK, hop, rate), keep(LEVELER_RELEASE, hop, rate));
    let fall = keep(Seconds(0.02), hop, rate);
    let mut held = 0f32;
    let mut state = 0f32;
    envelope
        .iter()
        .map(|level| {
            let over = (level - above).clamp(0.0, most);
            held = (held * fall).max(over);
            let keep = if held > state { attack } else { release };
            state = held + (state - held) * keep;
            -state
        })
        .collect()
}

/// The limiter, worked out for one track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimiterGain {
    hop: usize,
    rate: u32,
    /// Level aimed at, dB.
    pub ceiling: f32,
    /// Blocks on either side of the smoothing window.
    half: usize,
    /// Blocks that the gain is held for.
    hold: usize,
    fast: f32,
    slow: f32,
    attack: f32,
}

impl LimiterGain {
    /// For the plan's limiter.
    #[must_use]
    pub fn new(limiter: &Limiter, hop: usize, rate: u32) -> Self {
        let lookahead = limiter.lookahead.0.clamp(0.000_5, 0.02) * f64::from(rate) / hop as f64;
        Self {
            hop,
            rate,
            ceiling: (limiter.ceiling.0 - MARGIN.0) as f32,
            half: ((lookahead / 2.0).round() as usize).max(1),
            // A release that is shorter than the hold is meant to be.
            hold: blocks(Seconds(HOLD.0.min(limiter.release_min.0)), hop, rate).div_ceil(2),
            // A plan's release is the time to 90 %: ln 10 time constants.
            fast: keep(Seconds(limiter.release_min.0 / std::f64::consts::LN_10), hop, rate),
            slow: keep(Seconds(limiter.release_max.0 / std::f64::consts::LN_10), hop, rate),
            attack: keep(DENSITY_ATTACK, hop, rate),
        }
    }

    /// `[block]` gain of the limiter (linear, ≤ 1) for a peak level in dB.
    ///
    /// 1. reduction needed per block; the largest within the window plus one block on either side (that one for the spline);
    /// 2. release: fast after single peaks, and no faster than the density of recent reduction in dense passages;
    /// 3. a smooth positive window over the look-ahead, on linear gains.
    ///
    /// Every control point is a mean of values that are each at most what the blocks around need, so the ceiling holds.
    #[must_use]
    pub fn gain(&self, envelope: &[f32]) -> Vec<f32> {
        let needed: Vec<f32> = envelope.iter().map(|level| (level - self.ceiling).max(0.0)).collect();
        if needed.iter().all(|over| *over == 0.0) {
            return vec![1.0; needed.len()];
        }
        // The hold is a longer window, not a counter that restarts: peaks of nearly the same height must not make a difference.
        let ahead = spread(&needed, self.half + 1);
        let held = spread(&ahead, self.hold);
        let (mut fast, mut dense) = (0f32, 0f32);
        let mut gain = vec![1f32; needed.len()];
        for (i, gain) in gain.iter_mut().enumerate() {
            // The window of the hold, moved back by half its length: it looks into the past only.
            let over = ahead[i].max(held[i.saturating_sub(self.hold)]);
            fast = over.max(fast * self.fast);
            dense = fast + (dense - fast) * if fast > dense { self.attack } else { self.slow };
            let reduction = fast.max(dense);
            if reduction > 1e-6 {
                *gain = amplitude(-reduction);
            }
        }
        self.smooth(&gain)
    }

    /// A Hann window over the look-ahead.
    fn smooth(&self, gain: &[f32]) -> Vec<f32> {
        let n = 2 * self.half + 1;
        let window: Vec<f32> =
            (1..=n).map(|i| (std::f64::consts::PI * i as f64 / (n + 1) as f64).sin().powi(2) as f32).collect();
        let sum: f32 = window.iter().sum();
        let window: Vec<f32> = window.iter().map(|w| w / sum).collect();
        let last = gain.len() - 1;
        let at = |i: isize| gain[i.clamp(0, last as isize) as usize];
        (0..gain.len() as isize)
            .map(|i| {
                let from = i - self.half as isize;
                let first = at(from);
                if window.iter().enumerate().all(|(k, _)| at(from + k as isize) == first) {
                    return first;
                }
                // A convex sum may round up by an ulp or two: never above the largest of its terms.
                let mean: f32 = window.iter().enumerate().map(|(k, w)| w * at(from + k as isize)).sum();
                mean.min(1.0)
            })
            .collect()
    }

    /// `[block]` a further gain for blocks that are still too high (`peak` linear, 0 elsewhere), without release: only around them.
    #[must_use]
    pub fn touch_up(&self, peak: &[f32], ceiling: f32) -> Vec<f32> {
        let over: Vec<f32> = peak.iter().map(|peak| (*peak / ceiling).max(1.0)).collect();
        let gain: Vec<f32> = spread(&over, self.half + 1).into_iter().map(|over| 1.0 / over).collect();
        self.smooth(&gain)
    }
}

/// Reduction of a limiter's gain (linear, ≤ 1) in dB, ≥ 0.
#[must_use]
pub fn reduction(gain: f32) -> f32 {
    if gain < 1.0 { -Db::from_amplitude(f64::from(gain)).0 as f32 } else { 0.0 }
}

/// The largest of every 0.1 s of a `[block]` reduction: one value per hit, however short it is.
#[must_use]
pub fn hits(reduction: &[f32], hop: usize, rate: u32) -> Vec<f32> {
    let tenth = (rate as usize / 10).div_ceil(hop.max(1)).max(1);
    reduction.chunks(tenth).map(|part| part.iter().copied().fold(0f32, f32::max)).collect()
}

/// The value in dB below which a share `at` of the values lies; sorts; 0 for none.
#[must_use]
pub fn percentile(values: &mut [f32], at: f64) -> Db {
    let Some(last) = values.len().checked_sub(1) else { return Db(0.0) };
    let index = (last as f64 * at).round() as usize;
    Db(f64::from(*values.select_nth_unstable_by(index, f32::total_cmp).1))
}

/// The level an envelope has after the clipper: never more than what goes in.
#[must_use]
pub fn clipped_level(level: f32, curve: &ClipCurve, start: f32) -> f32 {
    if level <= start {
        return level;
    }
    let peak = f64::from(amplitude(level));
    self::level((peak - curve.excess(peak)) as f32)
}

/// A limiter with the times every style uses.
#[must_use]
pub fn standard(ceiling: Dbtp) -> Limiter {
    Limiter { ceiling, lookahead: Seconds(0.002), release_min: Seconds(0.03), release_max: Seconds(0.3) }
}

/// The limiter behind the masked clipper, which leaves it a few tenths of a decibel between the samples: without a release, which
/// would hold down the music for nothing.
#[must_use]
pub fn short(ceiling: Dbtp) -> Limiter {
    Limiter { ceiling, lookahead: Seconds(0.002), release_min: Seconds(0.001), release_max: Seconds(0.001) }
}

/// The strongest clipper of any style. At −9 LUFS on real mixes, 3 dB of it leave a third less residual and less riding than 2 dB.
#[must_use]
pub fn standard_clipper() -> Clipper {
    Clipper { max_reduction: Db(3.0), knee: Db(4.0) }
}

/// The strongest leveler of any style. It rides the level of passages (about 0.1 dB more spread of the 400 ms gain on real mixes at
/// −9 LUFS than clipper and limiter alone), so most styles do without.
#[must_use]
pub fn standard_leveler() -> Leveler {
    Leveler { max_reduction: Db(3.0) }
}
