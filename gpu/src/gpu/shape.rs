//! `shape` of a group: unpack, tone filter, bands, levels, gains and mix, a chunk of each track at a time.
//!
//! A chunk brings all it needs along: the samples around it that the filters reach, and the hops that its level windows reach. Only the
//! gain recursion carries state from chunk to chunk, so no band of a whole track is ever stored. Transforms stand on a grid that is fixed
//! to the track, so the bits do not depend on where chunks end or which tracks share a batch.

use super::error::GpuError;
use super::group::{ALIGN, Group, Member};
use super::kernels::Kernel;
use super::lane::{Lane, Part, Store};
use super::layout::{BANDS, Item, MIX_TILE, POINTS, STEP, State, Track};
use super::pack;
use rayon::prelude::*;
use std::ops::Range;

/// Frames that one item of `unpack` takes.
const UNPACK: usize = 1024;
/// Fewest steps of a chunk: below that its surroundings outweigh it.
const LEAST: usize = 32;

/// What one chunk computes, all in places of the track.
#[derive(Debug, Default)]
struct Chunk {
    member: usize,
    /// Frames that are done with it.
    frames: Range<usize>,
    /// Frames to unpack.
    input: Range<isize>,
    /// Transforms of the input for the tone filter.
    tone: Range<isize>,
    /// Steps of filtered signal.
    signal: Range<isize>,
    /// Transforms of it for the bands.
    spectra: Range<isize>,
    /// Steps of bands.
    bands: Range<isize>,
    /// Hops whose energies are summed.
    hops: Range<isize>,
    /// Control points that are new.
    points: Range<usize>,
}

fn below(frame: isize) -> isize {
    frame.div_euclid(STEP as isize)
}

fn above(frame: isize) -> isize {
    -below(-frame)
}

fn frames_of(steps: &Range<isize>) -> Range<isize> {
    steps.start * STEP as isize..steps.end * STEP as isize
}

impl Chunk {
    fn new(index: usize, member: &Member<'_>, track: &Track, frames: Range<usize>) -> Self {
        let (start, end, total) = (frames.start as isize, frames.end as isize, member.task.frames() as isize);
        let hop = member.hop as isize;
        let mut chunk = Self { member: index, frames, ..Self::default() };
        chunk.signal = below(start)..above(end);
        if member.bands > 0 {
            let half = member.window.div_ceil(2) as isize;
            // Gains up to two points after the last frame; the four before the new ones are carried over.
            chunk.points =
                if start == 0 { 0 } else { (start / hop + 3) as usize }..((end + hop - 1) / hop + 3) as usize;
            chunk.hops = chunk.points.start as isize - half..chunk.points.end as isize + half;
            let reach = (chunk.hops.start.min(start / hop) * hop).max(0)..((chunk.hops.end * hop).min(total)).max(end);
            chunk.bands = below(reach.start)..above(reach.end);
            let (first, parts) = (track.bank_first as isize, track.bank_parts as isize);
            if track.row_count > 0 {
                chunk.spectra = chunk.bands.start + first - parts + 1..chunk.bands.end + first;
            } else {
                chunk.spectra = chunk.bands.clone();
            }
            chunk.signal = (chunk.spectra.start - 1).min(chunk.bands.start)..chunk.spectra.end.max(chunk.bands.end);
        }
        if member.toned {
            let (first, parts) = (track.fir_first as isize, track.fir_parts as isize);
            chunk.tone = chunk.signal.start + first - parts + 1..chunk.signal.end + first;
            chunk.input = frames_of(&(chunk.tone.start - 1..chunk.tone.end));
        } else if member.bands > 0 {
            chunk.input = frames_of(&chunk.signal);
        } else {
            chunk.input = start..end;
        }
        chunk
    }

    /// Samples of the track that it unpacks.
    fn raw(&self, total: usize) -> Range<usize> {
        let clamp = |at: isize| at.clamp(0, total as isize) as usize;
        clamp(self.input.start)..clamp(self.input.end)
    }
}

/// Places in the buffers of a chunk, handed out one after the other.
#[derive(Default)]
struct Places {
    raw: usize,
    input: usize,
    toned: usize,
    spectra: usize,
    bands: usize,
    sums: usize,
    points: usize,
}

fn take(place: &mut usize, from: isize, length: usize) -> i32 {
    let base = *place as isize - from;
    *place += length;
    base as i32
}

/// Items of `size` from a range.
fn cut(track: usize, range: &Range<isize>, size: usize, out: &mut Vec<Item>) {
    for at in (range.start..range.end).step_by(size) {
        let count = (range.end - at).min(size as isize) as u32;
        out.push(Item { track: track as u32, at: at as i32, count, slot: 0 });
    }
}

/// Shapes all tracks of a group into the store; returns `[track][acting band]` the mean reduction in dB.
pub(super) fn shape(lane: &mut Lane, group: &Group<'_>) -> Result<Vec<Vec<f64>>, GpuError> {
    let mut done = vec![0usize; group.members.len()];
    let mut first = 0;
    loop {
        let active = group.members.iter().zip(&done).filter(|(member, done)| **done < member.task.frames()).count();
        if active == 0 {
            break;
        }
        // Every track a share, as many tracks as fit; the next submission goes on with the others.
        let share = (lane.pace() / active / STEP).max(LEAST) * STEP;
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut frames = 0;
        for step in 0..group.members.len() {
            let index = (first + step) % group.members.len();
            let member = &group.members[index];
            let total = member.task.frames();
            if done[index] >= total {
                continue;
            }
            // A rest that would be nearly all surroundings is taken along.
            let end = if total - done[index] <= share + share / 4 { total } else { done[index] + share };
            let chunk = Chunk::new(index, member, &group.tracks[index], done[index]..end);
            if !chunks.is_empty() && frames + chunk.input.len() > lane.most() {
                first = index;
                break;
            }
            frames += chunk.input.len();
            done[index] = end;
            chunks.push(chunk);
            if frames >= lane.pace() {
                first = (index + 1) % group.members.len();
                break;
            }
        }
        submit(lane, group, &chunks)?;
    }
    let mut states = vec![State::default(); BANDS * group.members.len()];
    if group.members.iter().any(|member| member.bands > 0) {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut states);
        lane.read(&[(Store::GainStates, 0, bytes.len() as u64)], &mut |_, at, from| {
            bytes[at as usize..][..from.len()].copy_from_slice(from);
        })?;
    }
    let mean = |state: &State, track: &Track| {
        (f64::from(state.total[0]) + f64::from(state.total[1])) / f64::from(track.point_count.max(1))
    };
    let of = |(index, (member, track)): (usize, (&Member<'_>, &Track))| {
        states[BANDS * index..][..member.bands].iter().map(|state| mean(state, track)).collect()
    };
    Ok(group.members.iter().zip(&group.tracks).enumerate().map(of).collect())
}

/// One submission: all kernels over some chunks.
fn submit(lane: &mut Lane, group: &Group<'_>, chunks: &[Chunk]) -> Result<(), GpuError> {
    let mut tracks = group.tracks.clone();
    let mut places = Places::default();
    for chunk in chunks {
        let (member, track) = (&group.members[chunk.member], &mut tracks[chunk.member]);
        let raw = chunk.raw(member.task.frames());
        // One word more, because a sample may end in it.
        let plane = (raw.len() * track.raw_bytes as usize).div_ceil(4) + 1;
        track.raw = places.raw as u32;
        track.raw_plane = plane as u32;
        track.raw_first = raw.start as i32;
        places.raw += 2 * plane;
        if member.toned || member.bands > 0 {
            track.input = take(&mut places.input, chunk.input.start, chunk.input.len());
        } else {
            // Nothing to do but unpack: straight into the store.
            track.input = track.store;
        }
        if member.toned {
            let signal = frames_of(&chunk.signal);
            track.toned = take(&mut places.toned, signal.start, signal.len());
        }
        let transforms = match (chunk.tone.is_empty(), chunk.spectra.is_empty()) {
            (true, _) => chunk.spectra.clone(),
            (_, true) => chunk.tone.clone(),
            _ => chunk.tone.start.min(chunk.spectra.start)..chunk.tone.end.max(chunk.spectra.end),
        };
        track.spectra = take(&mut places.spectra, transforms.start, transforms.len());
        if member.bands > 0 {
            let frames = frames_of(&chunk.bands);
            track.bands_stride = frames.len() as u32;
            track.bands = take(&mut places.bands, frames.start, frames.len() * track.row_count as usize);
            track.sums_stride = chunk.hops.len() as u32;
            track.sums = take(&mut places.sums, chunk.hops.start, chunk.hops.len() * member.bands);
            // Four points before the new ones, or the one before the first.
            let before = if chunk.points.start == 0 { 1 } else { 4 };
            track.points_stride = (chunk.points.len() + before) as u32;
            let start = chunk.points.start as isize - before as isize;
            track.points = take(&mut places.points, start, (chunk.points.len() + before) * member.bands);
        }
    }
    for (store, bytes) in [
        (Store::Raw, 4 * places.raw),
        (Store::Input, 8 * places.input),
        (Store::Toned, 8 * places.toned),
        (Store::Spectra, 8 * POINTS * places.spectra),
        (Store::Bands, 8 * places.bands),
        (Store::Sums, 16 * places.sums),
        (Store::Points, 4 * places.points),
    ] {
        lane.ensure(store, bytes as u64)?;
    }
    let engine = std::sync::Arc::clone(&lane.engine);
    let whole = |lane: &mut Lane, store| lane.whole(store);
    let raw = whole(lane, Store::Raw)?;
    let input = whole(lane, Store::Input)?;
    let toned = whole(lane, Store::Toned)?;
    let spectra = whole(lane, Store::Spectra)?;
    let bands = whole(lane, Store::Bands)?;
    let sums = whole(lane, Store::Sums)?;
    let points = whole(lane, Store::Points)?;
    let firs = whole(lane, Store::Firs)?;
    let bank = whole(lane, Store::Bank)?;
    let phases = whole(lane, Store::Phases)?;
    let weights = whole(lane, Store::Weights)?;
    let settings = whole(lane, Store::Settings)?;
    let states = whole(lane, Store::GainStates)?;
    let twiddles = Part::of(&engine.twiddles);
    let binding = engine.limits.max_storage_buffer_binding_size / 8;
    let windows = windows(group, chunks, binding as usize);
    let stores: Vec<(Range<usize>, Part)> = windows
        .iter()
        .map(|(window, _)| {
            Ok((window.clone(), lane.part(Store::Shaped, 8 * window.start as u64, Some(8 * window.len() as u64))?))
        })
        .collect::<Result<_, GpuError>>()?;

    let mut work = lane.begin()?;
    let mut slots = Vec::new();
    for chunk in chunks {
        let track = &tracks[chunk.member];
        let target = raw.from(4 * u64::from(track.raw));
        let at = work.reserve(&target, 8 * u64::from(track.raw_plane));
        slots.push((at as usize, 4 * track.raw_plane as usize));
    }
    let mut memory = work.memory();
    let mut behind = 0;
    let mut writes = Vec::new();
    for (chunk, (at, plane)) in chunks.iter().zip(slots) {
        let task = &group.members[chunk.member].task;
        let raw = chunk.raw(task.frames());
        for channel in 0..2 {
            let from = at + channel * plane;
            let (_, rest) = memory.split_at(from - behind);
            let (own, rest) = rest.split_at(plane);
            (memory, behind) = (rest, from + plane);
            let samples = &task.audio.channels[channel][task.kept.start + raw.start..task.kept.start + raw.end];
            writes.push((samples, tracks[chunk.member].raw_bytes, pack::Own(own)));
        }
    }
    writes.into_par_iter().for_each(|(samples, bytes, own)| pack::pack(samples, bytes, own.0));

    let any = |chunk: &&Chunk| group.members[chunk.member].toned || group.members[chunk.member].bands > 0;
    // What a launch moves, and what it would without the surroundings of chunks.
    let mut items = Vec::new();
    let moved = |chunk: &Chunk, bytes: usize, unit: f64, computed: usize| {
        let least = bytes as f64 * chunk.frames.len() as f64 / unit;
        ((bytes * computed) as u64, least as u64)
    };
    let add = |sum: &mut (u64, u64), (moves, least): (u64, u64)| *sum = (sum.0 + moves, sum.1 + least);
    let step = STEP as f64;

    let mut bytes = (0, 0);
    for chunk in chunks.iter().filter(any) {
        cut(chunk.member, &chunk.input, UNPACK, &mut items);
        add(&mut bytes, moved(chunk, 8 + 2 * tracks[chunk.member].raw_bytes as usize, 1.0, chunk.input.len()));
    }
    work.launch(Kernel::Unpack, &[raw.clone(), input.clone()], &items, (0, 0), bytes);
    for ((window, store), (_, members)) in stores.iter().zip(&windows) {
        items.clear();
        bytes = (0, 0);
        for chunk in members.iter().map(|at| &chunks[*at]).filter(|chunk| !any(chunk)) {
            cut(chunk.member, &chunk.input, UNPACK, &mut items);
            add(&mut bytes, moved(chunk, 8 + 2 * tracks[chunk.member].raw_bytes as usize, 1.0, chunk.input.len()));
        }
        work.launch(Kernel::Unpack, &[raw.clone(), store.clone()], &items, (window.start, 0), bytes);
    }

    // A transform reads and writes 4096 points; two that follow each other share what they read of the spectra but for one.
    let transform = 2 * 8 * POINTS;
    items.clear();
    bytes = (0, 0);
    for chunk in chunks {
        cut(chunk.member, &chunk.tone, 1, &mut items);
        if !chunk.tone.is_empty() {
            add(&mut bytes, moved(chunk, transform, step, chunk.tone.len()));
        }
    }
    work.launch(Kernel::Spectrum, &[twiddles.clone(), input.clone(), spectra.clone()], &items, (0, 0), bytes);
    items.clear();
    bytes = (0, 0);
    for chunk in chunks.iter().filter(|chunk| !chunk.tone.is_empty()) {
        cut(chunk.member, &chunk.signal, 2, &mut items);
        let each = (tracks[chunk.member].fir_parts as usize + 1) * 8 * POINTS + 2 * 8 * STEP;
        add(&mut bytes, moved(chunk, each, 2.0 * step, chunk.signal.len().div_ceil(2)));
    }
    let parts = [twiddles.clone(), spectra.clone(), firs, toned.clone()];
    work.launch(Kernel::Fir, &parts, &items, (0, 0), bytes);

    for mode in [1, 0] {
        items.clear();
        bytes = (0, 0);
        let source = |chunk: &&Chunk| u32::from(group.members[chunk.member].toned) == mode;
        for chunk in chunks.iter().filter(source).filter(|chunk| tracks[chunk.member].row_count > 0) {
            cut(chunk.member, &chunk.spectra, 1, &mut items);
            add(&mut bytes, moved(chunk, transform, step, chunk.spectra.len()));
        }
        let signal = if mode == 1 { &toned } else { &input };
        let parts = [twiddles.clone(), signal.clone(), spectra.clone()];
        work.launch(Kernel::Spectrum, &parts, &items, (0, mode), bytes);
    }
    items.clear();
    bytes = (0, 0);
    for chunk in chunks.iter().filter(|chunk| tracks[chunk.member].row_count > 0) {
        cut(chunk.member, &chunk.bands, 2, &mut items);
        let track = &tracks[chunk.member];
        let each = (track.bank_parts as usize + 1) * 8 * POINTS + track.row_count as usize * 2 * 8 * STEP;
        add(&mut bytes, moved(chunk, each, 2.0 * step, chunk.bands.len().div_ceil(2)));
    }
    let parts = [twiddles, spectra, bank, settings.clone(), bands.clone()];
    work.launch(Kernel::Filterbank, &parts, &items, (0, 0), bytes);

    let banded = |chunk: &&Chunk| group.members[chunk.member].bands > 0;
    items.clear();
    bytes = (0, 0);
    for chunk in chunks.iter().filter(banded) {
        let (member, track) = (&group.members[chunk.member], &tracks[chunk.member]);
        cut(chunk.member, &chunk.hops, 64, &mut items);
        let signals = track.row_count as usize + usize::from(member.bands > track.row_count as usize);
        let each = 8 * member.hop * signals + 16 * member.bands;
        add(&mut bytes, moved(chunk, each, member.hop as f64, chunk.hops.len()));
    }
    let parts = [settings.clone(), phases, input.clone(), toned.clone(), bands.clone(), sums.clone()];
    work.launch(Kernel::Levels, &parts, &items, (0, 0), bytes);
    items.clear();
    bytes = (0, 0);
    for chunk in chunks.iter().filter(banded) {
        let member = &group.members[chunk.member];
        cut(chunk.member, &(chunk.points.start as isize..chunk.points.end as isize), 64, &mut items);
        add(&mut bytes, moved(chunk, 20 * member.bands, member.hop as f64, chunk.points.len()));
    }
    work.launch(Kernel::GainComputer, &[settings.clone(), weights, sums, points.clone()], &items, (0, 0), bytes);
    items.clear();
    bytes = (0, 0);
    for chunk in chunks.iter().filter(banded) {
        let member = &group.members[chunk.member];
        for band in 0..member.bands {
            let (at, count) = (chunk.points.start as i32, chunk.points.len() as u32);
            items.push(Item { track: chunk.member as u32, at, count, slot: band as u32 });
        }
        add(&mut bytes, moved(chunk, 8 * member.bands, member.hop as f64, chunk.points.len()));
    }
    work.launch(Kernel::Gains, &[settings.clone(), points.clone(), states], &items, (0, 0), bytes);

    for ((window, store), (_, members)) in stores.iter().zip(&windows) {
        items.clear();
        bytes = (0, 0);
        for chunk in members.iter().map(|at| &chunks[*at]).filter(any) {
            let frames = chunk.frames.start as isize..chunk.frames.end as isize;
            cut(chunk.member, &frames, MIX_TILE, &mut items);
            let each = 16 + 8 * tracks[chunk.member].row_count as usize;
            add(&mut bytes, moved(chunk, each, 1.0, chunk.frames.len()));
        }
        let parts = [settings.clone(), input.clone(), toned.clone(), bands.clone(), points.clone(), store.clone()];
        work.launch(Kernel::MixBands, &parts, &items, (window.start, 0), bytes);
    }
    work.goes_through(chunks.iter().map(|chunk| chunk.frames.len()).sum());
    work.submit(&tracks)
}

/// Windows of the store, each within `most` frames, and the chunks that end up in each.
fn windows(group: &Group<'_>, chunks: &[Chunk], most: usize) -> Vec<(Range<usize>, Vec<usize>)> {
    let mut order: Vec<usize> = (0..chunks.len()).collect();
    order.sort_by_key(|at| chunks[*at].member);
    let mut windows: Vec<(Range<usize>, Vec<usize>)> = Vec::new();
    for at in order {
        let store = group.tracks[chunks[at].member].store as usize;
        let from = (store + chunks[at].frames.start) / ALIGN * ALIGN;
        let to = (store + chunks[at].frames.end).next_multiple_of(ALIGN);
        match windows.last_mut() {
            Some((window, members)) if to - window.start <= most => {
                window.end = to;
                members.push(at);
            }
            _ => windows.push((from..to, vec![at])),
        }
    }
    windows
}
