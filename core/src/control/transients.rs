//! The transient shaper, at control rate: what follows a hit is taken back for a moment, so that the hit stands out.
//!
//! Behind the limiter a hit can only stand out by what follows it: peaks lie at the ceiling either way. Two followers that rise at
//! once fall at different paces; how far the slow one stays above the fast one says how far the sound has fallen since the last hit.

use super::Transients;
use super::limiter::{blocks, keep, running_mean};
use crate::units::Seconds;

/// Follows the sound as it dies away. Chosen by measuring, as the next.
const FAST: Seconds = Seconds(0.02);
/// Remembers the hit: 0.15 s later two thirds of what was taken are back.
const SLOW: Seconds = Seconds(0.15);
/// The gain moves within this time, before a hit as after it.
const SMOOTH: Seconds = Seconds(0.0015);
/// Under this mean square there is nothing to shape.
const SILENCE: f64 = 1e-9;

/// `[block]` gain, dB ≤ 0, from the K-weighted energies of the blocks.
#[must_use]
pub fn gains(energies: &[f64], transients: &Transients, hop: usize, rate: u32) -> Vec<f32> {
    let depth = transients.depth.0.clamp(0.0, 6.0) as f32;
    let (fast, slow) = (keep(FAST, hop, rate), keep(SLOW, hop, rate));
    let level = |energy: &f64| (10.0 * (energy / hop as f64 + SILENCE).log10()) as f32;
    let Some(first) = energies.first().map(level) else { return Vec::new() };
    let (mut near, mut far) = (first, first);
    let follow = |state: &mut f32, level: f32, keep: f32| *state = level.max(level + (*state - level) * keep);
    let taken: Vec<f32> = energies
        .iter()
        .map(|energy| {
            let level = level(energy);
            follow(&mut near, level, fast);
            follow(&mut far, level, slow);
            -(far - near).clamp(0.0, depth)
        })
        .collect();
    let half = blocks(SMOOTH, hop, rate);
    running_mean(&running_mean(&taken, half), half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Db;

    const HOP: usize = 32;
    const RATE: u32 = 44_100;

    /// Blocks of a sound that falls by `fall` dB per second after each hit, four hits a second.
    fn hits(fall: f64) -> Vec<f64> {
        let period = RATE as usize / HOP / 4;
        (0..8 * period)
            .map(|block| HOP as f64 * 10f64.powf(-(((block % period) * HOP) as f64) / f64::from(RATE) * fall / 10.0))
            .collect()
    }

    #[test]
    fn the_hit_stays_and_what_follows_is_taken_back() {
        let gains = gains(&hits(100.0), &Transients { depth: Db(3.0) }, HOP, RATE);
        let period = RATE as usize / HOP / 4;
        let at = |ms: usize| gains[4 * period + ms * RATE as usize / 1000 / HOP];
        assert!(at(5) > -0.6, "the hit: {}", at(5));
        assert!(at(80) < -2.0, "its body: {}", at(80));
        assert!(gains.iter().all(|gain| (-3.0..=0.0).contains(gain)));
    }

    #[test]
    fn a_held_tone_and_silence_are_left_alone() {
        for energies in [vec![1.0; 4000], vec![0.0; 4000]] {
            assert!(gains(&energies, &Transients { depth: Db(6.0) }, HOP, RATE).iter().all(|gain| *gain == 0.0));
        }
        assert!(gains(&[], &Transients { depth: Db(6.0) }, HOP, RATE).is_empty());
    }

    #[test]
    fn more_depth_takes_more() {
        let sum = |depth| gains(&hits(60.0), &Transients { depth: Db(depth) }, HOP, RATE).iter().sum::<f32>();
        assert!(sum(1.0) > sum(2.0) && sum(2.0) > sum(4.0));
    }
}
