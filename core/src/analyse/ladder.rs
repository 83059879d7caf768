//! What a gain into a limiter would do: simulated on blocks of 32 frames, all gains at once in the lanes of a register.

use super::Rung;
use crate::meter::loudness::integrated_from_block_energies;
use crate::units::{Db, Dbtp, Lufs};
use multiversion::multiversion;

/// Gains of the ladder, dB: −12 … +24 in steps of 1.
const LOWEST: i32 = -12;
const RUNGS: usize = 37;
/// Rungs, rounded up to whole registers.
const LANES: usize = 40;

/// Ceiling of the model, dBTP.
const CEILING: Dbtp = Dbtp(-1.0);
/// Look-ahead of the model, in blocks to either side: ±2 ms or so.
const AHEAD: usize = 3;
/// Release of the model, seconds: between the engine's shortest and longest.
const RELEASE: f64 = 0.1;
/// Blocks whose energies are added up before gating.
const ENERGY_BLOCKS: usize = 32;
/// Every so many blocks the reduction is noted.
const NOTE_BLOCKS: usize = 8;
/// Steps of the reduction's distribution over gains of 0–1.
const STEPS: usize = 4_096;
/// Reduction from which the limiter counts as working: 0.1 dB.
const WORKING: f64 = 0.1;

/// One step of all limiters: `peak` around the block, `energy` of the block.
#[multiversion(targets("x86_64+avx2"))]
fn run(
    peaks: &[f32],
    energies: &[f32],
    ceilings: &[f32; LANES],
    keep: f32,
    reduction: &mut [f32; LANES],
    mut note: impl FnMut(&[f32; LANES]),
) -> [f32; LANES] {
    let mut sum = [0.0f32; LANES];
    let mut r = *reduction;
    for (i, (&peak, &energy)) in peaks.iter().zip(energies).enumerate() {
        let inverse = 1.0 / peak.max(1e-9);
        for l in 0..LANES {
            let wanted = 1.0 - ceilings[l] * inverse;
            let released = r[l] * keep;
            r[l] = if wanted > released { wanted } else { released };
            let gain = 1.0 - r[l];
            sum[l] += energy * gain * gain;
        }
        if i % NOTE_BLOCKS == 0 {
            note(&r);
        }
    }
    *reduction = r;
    sum
}

/// The ladder from the highest point and the K-weighted energy of every 32 frames.
pub(super) fn ladder(peaks: &[f32], energies: &[f64], block: usize, frames: usize, rate: u32) -> Vec<Rung> {
    // At higher rates blocks are put together until they last about as long as at 44.1 kHz.
    let merge = (rate.div_ceil(50_000) as usize).next_power_of_two();
    let block = block * merge;
    let blocks: Vec<f32> = peaks.chunks(merge).map(|p| p.iter().fold(0.0f32, |a, &b| a.max(b))).collect();
    let energies: Vec<f32> = energies.chunks(merge).map(|e| e.iter().sum::<f64>() as f32).collect();
    let around: Vec<f32> = (0..blocks.len())
        .map(|i| {
            let near = &blocks[i.saturating_sub(AHEAD)..(i + AHEAD + 1).min(blocks.len())];
            near.iter().fold(0.0f32, |a, &b| a.max(b))
        })
        .collect();

    let gains: [f64; LANES] = std::array::from_fn(|l| f64::from(LOWEST + l.min(RUNGS - 1) as i32));
    let ceilings = gains.map(|g| (CEILING.amplitude() / Db(g).amplitude()) as f32);
    let keep = (-(block as f64) / (RELEASE * f64::from(rate))).exp() as f32;
    let mut counts = vec![[0u32; STEPS]; RUNGS];
    let mut noted = 0u32;
    let mut reduction = [0.0f32; LANES];
    let sums: Vec<[f32; LANES]> = around
        .chunks(ENERGY_BLOCKS)
        .zip(energies.chunks(ENERGY_BLOCKS))
        .map(|(peaks, energies)| {
            run(peaks, energies, &ceilings, keep, &mut reduction, |r| {
                noted += 1;
                for (counts, r) in counts.iter_mut().zip(r) {
                    counts[((r * STEPS as f32) as usize).min(STEPS - 1)] += 1;
                }
            })
        })
        .collect();

    (0..RUNGS)
        .filter_map(|l| {
            let limited: Vec<f64> = sums.iter().map(|s| f64::from(s[l])).collect();
            let loudness = integrated_from_block_energies(&limited, ENERGY_BLOCKS * block, frames, rate)?;
            let level = |step: usize| -20.0 * (1.0 - (step as f64 + 0.5) / STEPS as f64).log10();
            // The reduction that `share` of the blocks from step `from` on do not exceed.
            let quantile = |from: usize, share: f64| {
                let total: u32 = counts[l][from..].iter().sum();
                let mut left = f64::from(total) * share;
                (from..STEPS).find(|&s| {
                    left -= f64::from(counts[l][s]);
                    left <= 0.0 && total > 0
                })
            };
            let working = ((1.0 - Db(-WORKING).amplitude()) * STEPS as f64).ceil() as usize;
            // The lowest step is "nothing".
            let db = |step: Option<usize>| Db(step.filter(|&s| s > 0).map_or(0.0, level));
            Some(Rung {
                gain: Db(gains[l]),
                loudness: Lufs(loudness.0 + gains[l]),
                median: db(quantile(working, 0.5)),
                p95: db(quantile(0, 0.95)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_material_only_gets_louder() {
        let energies = vec![32.0 * 1e-3; 5_000];
        let peaks = vec![0.05; 5_000];
        let rungs = ladder(&peaks, &energies, 32, 160_000, 44_100);
        assert_eq!(rungs.len(), RUNGS);
        for r in &rungs {
            // The peak reaches −1 dBTP at +25 dB.
            assert!((r.loudness.0 - (-0.691 - 30.0 + r.gain.0)).abs() < 1e-3, "{r:?}");
            assert_eq!((r.median, r.p95), (Db(0.0), Db(0.0)));
        }
    }

    #[test]
    fn a_steady_tone_is_turned_down_by_what_it_is_over() {
        let rungs = ladder(&vec![1.0; 5_000], &vec![32.0; 5_000], 32, 160_000, 44_100);
        for r in rungs.iter().filter(|r| r.gain.0 > 0.0) {
            let over = r.gain.0 + 1.0;
            // A step of the distribution is 20·log10(1 − 1/(4096 · gain)): 0.04 dB at 25 dB of reduction.
            assert!((r.median.0 - over).abs() < 0.05 && (r.p95.0 - over).abs() < 0.05, "{r:?}");
            assert!((r.loudness.0 - (-0.691 - 1.0)).abs() < 0.01, "{r:?}");
        }
    }

    #[test]
    fn too_short_for_loudness_has_no_ladder() {
        assert!(ladder(&[0.5; 10], &[1.0; 10], 32, 320, 44_100).is_empty());
        assert!(ladder(&[], &[], 32, 0, 192_000).is_empty());
    }
}
