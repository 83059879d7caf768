//! `shape`: `fir`, `filterbank`, `levels`, `gains` and `mix_bands` in one pass over the track, in place.
//!
//! Blocks go through in groups. All blocks of a group are filtered side by side; then the gains of each band are followed, in order;
//! then the blocks are mixed side by side, one block late, because the level window of the last points reaches into the block that
//! follows. Mixing late is also what lets it write over its own input: a block is overwritten only when no later block needs it as
//! history. Groups, blocks and orders of sums depend on the design alone, never on the number of threads.

use super::filterbank::{Bank, Rows};
use super::gains::Gains;
use super::levels::Levels;
use super::mix_bands;
use crate::Audio;
use crate::render::design::{Band, ShapeDesign};
use crate::units::Db;
use rayon::prelude::*;

/// Blocks per group: enough to keep sixteen threads busy on one track, few enough to stay small.
const GROUP: usize = 8;

/// One block on its way.
#[derive(Default)]
struct Slot {
    /// Which block; they are counted from the start of the track.
    block: usize,
    rows: Rows,
    /// `[band][hop]`
    sums: Vec<Vec<[f32; 3]>>,
}

/// One band on its way through the track.
struct Follower {
    levels: Levels,
    gains: Gains,
}

/// See [`Kernels::shape`](crate::render::kernels::Kernels::shape).
pub(super) fn shape(mut audio: Audio, design: &ShapeDesign) -> (Audio, Vec<Db>) {
    let mut reductions = vec![Db(0.0); design.planned];
    let frames = audio.frames();
    if design.is_identity() || frames == 0 {
        return (audio, reductions);
    }
    let bank = Bank::new(design);
    let points = design.points(frames);
    let follower =
        |band: &Band| Follower { levels: Levels::new(design.hop, band.window), gains: Gains::new(band.gain, points) };
    let mut followers: Vec<_> = design.bands.iter().map(follower).collect();
    let step = bank.step();
    let blocks = frames.div_ceil(step);
    let mut slots: Vec<Slot> = (0..=GROUP.min(blocks)).map(|_| Slot::default()).collect();

    // slots[0] holds the last block of the group before.
    let mut done = 0;
    while done < blocks {
        let group = (blocks - done).min(GROUP);
        slots[1..=group].par_iter_mut().enumerate().for_each(|(place, slot)| {
            slot.block = done + place;
            filter(&bank, &followers, design.hop, &audio, slot);
        });
        let last = done + group == blocks;
        followers.par_iter_mut().enumerate().for_each(|(band, follower)| {
            let Follower { levels, gains } = follower;
            for slot in &slots[1..=group] {
                levels.push(&slot.sums[band]);
            }
            levels.advance(last.then_some(points), |level| gains.push(level));
        });
        let ready = &slots[usize::from(done == 0)..group + usize::from(last)];
        let from = ready.first().map_or(0, |slot| slot.block * step);
        let [left, right] = &mut audio.channels;
        let outputs = left[from..].par_chunks_mut(step).zip(right[from..].par_chunks_mut(step));
        outputs.zip(ready).for_each(|((left, right), slot)| mix(&bank, &followers, design.hop, slot, left, right));
        slots.swap(0, group);
        done += group;
    }
    for (band, follower) in design.bands.iter().zip(&followers) {
        if let Some(reduction) = reductions.get_mut(band.index) {
            *reduction = follower.gains.mean();
        }
    }
    (audio, reductions)
}

/// Filters one block and sums the energies of its bands.
fn filter(bank: &Bank, followers: &[Follower], hop: usize, audio: &Audio, slot: &mut Slot) {
    let start = slot.block * bank.step();
    bank.run(audio, start, &mut slot.rows);
    let hops = (audio.frames() - start).min(bank.step()).div_ceil(hop);
    slot.sums.resize(followers.len(), Vec::new());
    for (band, (follower, sums)) in followers.iter().zip(&mut slot.sums).enumerate() {
        sums.resize(hops, [0.0; 3]);
        let [mid, side] = [0, 1].map(|channel| bank.band(&slot.rows, channel, band));
        follower.levels.sums(mid, side, sums);
    }
}

/// Mixes one block, back to left and right.
fn mix(bank: &Bank, followers: &[Follower], hop: usize, slot: &Slot, left: &mut [f32], right: &mut [f32]) {
    let direct = [0, 1].map(|channel| bank.direct(&slot.rows, channel));
    let bands: Vec<_> = (0..followers.len()).map(|band| [0, 1].map(|c| bank.band(&slot.rows, c, band))).collect();
    let excess: Vec<&[f64]> = followers.iter().map(|follower| follower.gains.excess()).collect();
    mix_bands::mix(direct, &bands, &excess, hop, slot.block * bank.step() / hop, left, right);
}
