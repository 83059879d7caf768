//! What a gain into the limiter would do: the control of `render`'s own limiter, run on the blocks of this very mix.

use super::{Hits, Rung};
use crate::Audio;
use crate::control::Finishing;
use crate::control::limiter::{Levels, block_means, hits, hop, percentile, reduction, standard};
use crate::control::solve::LoudnessModel;
use crate::units::{Db, Dbtp};
use rayon::prelude::*;

/// Ceiling of the limiter.
const CEILING: Dbtp = Dbtp(-1.0);
/// Gains of the rungs above the one at which the limiter begins to work, dB. One below stands for all in which it does nothing.
const ABOVE: [f64; 14] = [-6.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 18.0, 22.0];
/// Reduction from which the limiter counts as working, dB.
const WORKING: f32 = 0.1;
/// Every so many blocks the reduction is noted.
const NOTE: usize = 4;

/// Bytes that all rungs in work may take, and what one takes for each block.
const AT_ONCE: usize = 256 << 20;
const RUNG: usize = 48;

/// The ladder from the highest point and the K-weighted energy of every `block` frames.
pub(super) fn ladder(audio: &Audio, peaks: &[f32], energies: &[f64], block: usize) -> Vec<Rung> {
    let (frames, rate) = (audio.frames(), audio.rate.max(1));
    let hop = hop(rate);
    let merge = (hop / block).max(1);
    let highest = |peaks: &[f32]| peaks.iter().fold(0f32, |a, &b| a.max(b));
    let peak: Vec<f32> = peaks.chunks(merge).map(highest).collect();
    let energies: Vec<f64> = energies.chunks(merge).map(|e| e.iter().sum()).collect();
    let top = highest(&peak);
    if top <= 0.0 {
        return Vec::new();
    }
    let (left, right) = rayon::join(|| block_means(&audio.channels[0], hop), || block_means(&audio.channels[1], hop));
    let levels = Levels::new(peak, [&left, &right], hop, rate);
    let model = LoudnessModel::new(
        levels,
        energies,
        frames,
        &Finishing { limiter: Some(standard(CEILING)), ..Finishing::default() },
    );
    let touch = (CEILING.0 - Db::from_amplitude(f64::from(top)).0).floor();
    // Each rung takes a dozen values per block while it is worked out: of a long track only a few stand side by side.
    let at_once = (AT_ONCE / (model.levels().peak.len() * RUNG).max(1)).clamp(1, ABOVE.len());
    let side_by_side = |above: &[f64]| -> Vec<Option<Rung>> {
        above.par_iter().map(|above| rung(&model, Db(touch + above))).collect()
    };
    ABOVE.chunks(at_once).flat_map(side_by_side).flatten().collect()
}

/// Loudness and reduction after a gain; `None` where there is no loudness.
fn rung(model: &LoudnessModel, gain: Db) -> Option<Rung> {
    let gains = model.gains(gain);
    let loudness = model.loudness_of(&gains)?;
    let reductions: Vec<f32> = gains.limited.iter().map(|&gain| reduction(gain)).collect();
    let mut all: Vec<f32> = reductions.iter().step_by(NOTE).copied().collect();
    let mut working: Vec<f32> = all.iter().copied().filter(|db| *db > WORKING).collect();
    let levels = model.levels();
    let hits = Hits::of(&hits(&reductions, levels.hop, levels.rate));
    Some(Rung {
        gain,
        loudness,
        median: percentile(&mut working, 0.5),
        p95: percentile(&mut all, 0.95),
        hits: Some(hits),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Audio of one level; the figures of its blocks are given apart.
    fn audio() -> Audio {
        Audio::silence(44_100, 160_000)
    }

    #[test]
    fn below_the_first_touch_it_only_gets_louder() {
        let rungs = ladder(&audio(), &vec![0.05; 5_000], &vec![32.0 * 1e-3; 5_000], 32);
        assert_eq!(rungs.len(), ABOVE.len());
        // The peak reaches −1 dBTP at +25 dB; the limiter aims 0.1 dB lower.
        for r in rungs.iter().filter(|r| r.gain.0 < 24.9) {
            assert!((r.loudness.0 - (-0.691 - 30.0 + r.gain.0)).abs() < 1e-3, "{r:?}");
            assert_eq!((r.median, r.p95), (Db(0.0), Db(0.0)));
        }
        assert!(rungs[0].gain.0 < 24.9 && rungs[1].gain.0 > 24.0);
    }

    #[test]
    fn a_steady_level_is_turned_down_by_what_it_is_over() {
        let rungs = ladder(&audio(), &vec![1.0; 5_000], &vec![32.0; 5_000], 32);
        for r in rungs.iter().filter(|r| r.gain.0 > 0.0) {
            let over = r.gain.0 + 1.1;
            assert!((r.median.0 - over).abs() < 0.01 && (r.p95.0 - over).abs() < 0.01, "{r:?}");
            assert!((r.loudness.0 - (-0.691 - 1.1)).abs() < 0.01, "{r:?}");
        }
        assert!(rungs.windows(2).all(|pair| pair[1].gain.0 > pair[0].gain.0));
    }

    #[test]
    fn silence_and_what_is_too_short_for_loudness_have_no_ladder() {
        assert!(ladder(&Audio::silence(44_100, 320), &[0.5; 10], &[1.0; 10], 32).is_empty());
        assert!(ladder(&Audio::silence(192_000, 0), &[], &[], 32).is_empty());
        assert!(ladder(&audio(), &vec![0.0; 5_000], &vec![0.0; 5_000], 32).is_empty());
    }
}
