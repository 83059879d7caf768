//! `shape`: `fir`, `filterbank`, `levels`, `gains` and `mix_bands` in one pass over the track, in place.
//!
//! Blocks go through in groups. All blocks of a group are filtered side by side; then the gains of each band are followed, in order;
//! then the blocks are mixed side by side, one block late, because the level window of the last points reaches into the block that
//! follows. Mixing late is also what lets it write over its own input: a block is overwritten only when no later block needs it as
//! history. Groups, blocks and orders of sums depend on the design alone, never on the number of threads.

use super::bands::BandFollower;
use super::bank::{Bank, Rows};
use super::loops::{self, LANE};
use crate::Audio;
use crate::render::design::ShapeDesign;
use crate::render::gains::cubic;
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

/// See [`Kernels::shape`](crate::render::kernels::Kernels::shape).
pub(super) fn shape(mut audio: Audio, design: &ShapeDesign) -> (Audio, Vec<Db>) {
    let mut reductions = vec![Db(0.0); design.planned];
    let frames = audio.frames();
    if design.is_identity() || frames == 0 {
        return (audio, reductions);
    }
    let bank = Bank::new(design);
    let points = design.points(frames);
    let mut followers: Vec<_> = design.bands.iter().map(|band| BandFollower::new(band, design.hop, points)).collect();
    let blocks = frames.div_ceil(bank.step);
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
            for slot in &slots[1..=group] {
                follower.push(&slot.sums[band]);
            }
            follower.advance(last.then_some(points));
        });
        let ready = &slots[usize::from(done == 0)..group + usize::from(last)];
        let from = ready.first().map_or(0, |slot| slot.block * bank.step);
        let [left, right] = &mut audio.channels;
        let outputs = left[from..].par_chunks_mut(bank.step).zip(right[from..].par_chunks_mut(bank.step));
        outputs.zip(ready).for_each(|((left, right), slot)| mix(&bank, &followers, design.hop, slot, left, right));
        slots.swap(0, group);
        done += group;
    }
    for (band, follower) in design.bands.iter().zip(&followers) {
        if let Some(reduction) = reductions.get_mut(band.index) {
            *reduction = follower.mean();
        }
    }
    (audio, reductions)
}

/// Filters one block and sums the energies of its bands.
fn filter(bank: &Bank, followers: &[BandFollower], hop: usize, audio: &Audio, slot: &mut Slot) {
    let start = slot.block * bank.step;
    bank.run(audio, start, &mut slot.rows);
    let hops = (audio.frames() - start).min(bank.step).div_ceil(hop);
    slot.sums.resize(followers.len(), Vec::new());
    for (band, (follower, sums)) in followers.iter().zip(&mut slot.sums).enumerate() {
        sums.resize(hops, [0.0; 3]);
        let [mid, side] = [0, 1].map(|channel| bank.band(&slot.rows, channel, band));
        let [cos, sin] = &follower.phases;
        loops::hop_sums(mid, side, cos, sin, sums);
    }
}

/// `y = x + Σ (gᵢ − 1)·bᵢ` over one block, back to left and right.
fn mix(bank: &Bank, followers: &[BandFollower], hop: usize, slot: &Slot, left: &mut [f32], right: &mut [f32]) {
    let first = slot.block * bank.step / hop;
    let direct = [0, 1].map(|channel| bank.direct(&slot.rows, channel));
    let bands: Vec<_> = (0..followers.len()).map(|band| [0, 1].map(|c| bank.band(&slot.rows, c, band))).collect();
    let ramp: Vec<f32> = (0..hop).map(|i| i as f32 / hop as f32).collect();
    let ramp = ramp.as_chunks::<LANE>().0;
    let mut cubics = vec![None; followers.len()];

    for (lane, (left, right)) in left.chunks_mut(LANE).zip(right.chunks_mut(LANE)).enumerate() {
        let (at, part) = (lane * LANE, lane % ramp.len());
        if part == 0 {
            let point = first + lane / ramp.len();
            for (cubic, follower) in cubics.iter_mut().zip(followers) {
                *cubic = excess(follower, point);
            }
        }
        let lane_of = |signal: &[f32]| signal[at..].first_chunk::<LANE>().copied().unwrap_or([0.0; LANE]);
        let [mut mid, mut side] = direct.map(|x| x.map_or([0.0; LANE], lane_of));
        let mut touched = false;
        for (c, band) in cubics.iter().zip(&bands) {
            if let Some(c) = c {
                let [band_mid, band_side] = band.map(lane_of);
                loops::add_band(&mut mid, &mut side, [&band_mid, &band_side], *c, &ramp[part]);
                touched = true;
            }
        }
        if direct[0].is_some() {
            loops::left_right(&mid, &side, left, right);
        } else if touched {
            loops::add_left_right(&mid, &side, left, right);
        }
    }
}

/// The excess gain from `point` to the next as a cubic; `None` where it is nothing all the way.
fn excess(follower: &BandFollower, point: usize) -> Option<[f32; 4]> {
    let points =
        [follower.at(point.saturating_sub(1)), follower.at(point), follower.at(point + 1), follower.at(point + 2)];
    (points[1] != 0.0 || points[2] != 0.0).then(|| cubic(points).map(|c| c as f32))
}
