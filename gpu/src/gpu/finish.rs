//! The finish of a group: what `core`'s control decides, carried out on the card. All tracks go through each step together.

use super::error::GpuError;
use super::group::Group;
use super::kernels::Kernel;
use super::lane::{Lane, Part, Store};
use super::layout::{STRETCH, TILE};
use super::pack;
use super::sweep::{Span, again, all, frames, items, moves, spans, sweep};
use loopmaster_core::Audio;
use loopmaster_core::control::curves::SaturationCurve;
use loopmaster_core::control::limiter::slow_part;
use loopmaster_core::meter::integrated_from_block_energies;
use loopmaster_core::plan::Goal;
use loopmaster_core::render::finish::{self as control, Aim, Check, Finish};
use loopmaster_core::render::kernels::Grid;
use loopmaster_core::render::{BackendInfo, Master, Trace};
use loopmaster_core::units::{Db, Dbtp};
use rayon::prelude::*;
use std::ops::Range;

/// Blocks around a clipped one that the filters of the way back reach at most.
const AROUND: usize = 2;

/// Means (three floats per block: left, right, highest sample) from float `first` of the results on.
fn means(lane: &mut Lane, group: &Group<'_>, members: &[usize], store: Store, first: usize) -> Result<(), GpuError> {
    let results = lane.whole(Store::Results)?;
    sweep(lane, group, &all(group, members.iter().copied()), |work, window, piece| {
        let slot = |member: usize, block: usize| first + 3 * (group.tracks[member].blocks as usize + block);
        let items = items(piece, |member| group.members[member].hop, 64, slot);
        work.launch(
            Kernel::BlockMeans,
            &[window.of(store), results.clone()],
            &items,
            (window.start, 0),
            moves(piece, 8),
        );
    })
}

/// Energies per block from float `first` of the results on.
fn energies(lane: &mut Lane, group: &Group<'_>, members: &[usize], store: Store, first: usize) -> Result<(), GpuError> {
    let [weighting, states, results] =
        [Store::Weighting, Store::KStates, Store::Results].map(|store| lane.whole(store));
    let (weighting, states, results) = (weighting?, states?, results?);
    sweep(lane, group, &all(group, members.iter().copied()), |work, window, piece| {
        let slot = |member: usize, stretch: usize| first + group.tracks[member].blocks as usize + STRETCH * stretch;
        let items = items(piece, |member| STRETCH * group.members[member].hop, 64, slot);
        let parts = [weighting.clone(), window.of(store), states.clone()];
        work.launch(Kernel::KStates, &parts, &items, (window.start, 0), moves(piece, 8));
        let parts = [weighting.clone(), window.of(store), states.clone(), results.clone()];
        work.launch(Kernel::BlockEnergies, &parts, &items, (window.start, 0), moves(piece, 8));
    })
}

/// Peaks of the given blocks, `[list][block in the order of its runs]`.
fn peaks(
    lane: &mut Lane,
    group: &Group<'_>,
    store: Store,
    grid: Grid,
    lists: &[(usize, &[Range<usize>])],
) -> Result<Vec<Vec<f32>>, GpuError> {
    let filters = Part::of(&lane.engine.filters);
    let results = lane.whole(Store::Results)?;
    // Places in the results: one list after the other, run by run.
    let mut starts: Vec<Vec<(usize, usize)>> = vec![Vec::new(); group.members.len()];
    let mut next = 0;
    let mut work = Vec::new();
    for (member, runs) in lists {
        for run in *runs {
            starts[*member].push((run.start, next));
            next += run.len();
        }
        work.extend(spans(group, *member, runs));
    }
    let slot = |member: usize, block: usize| {
        let at = starts[member].partition_point(|(start, _)| *start <= block).saturating_sub(1);
        starts[member].get(at).map_or(0, |(start, place)| place + block - start)
    };
    let rate = group.members.first().map_or(44_100, |member| member.task.audio.rate);
    let mode = match (grid, grid.step(rate)) {
        (Grid::Coarse, 1) => 0,
        (Grid::Coarse, _) => 1,
        (Grid::Fine, _) => 2,
    };
    sweep(lane, group, &work, |work, window, piece| {
        let mut items = Vec::new();
        for (member, span) in piece {
            let hop = group.members[*member].hop;
            let one = [(*member, span.clone())];
            items.extend(self::items(&one, |_| hop, TILE / hop, slot));
        }
        let parts = [filters.clone(), window.of(store), results.clone()];
        work.launch(Kernel::BlockPeaks, &parts, &items, (window.start, mode), moves(piece, 8));
    })?;
    let found = lane.floats(Store::Results, 0, next)?;
    let mut rest = &found[..];
    let mut out = Vec::with_capacity(lists.len());
    for (_, runs) in lists {
        let (own, after) = rest.split_at(runs.iter().map(ExactSizeIterator::len).sum());
        out.push(own.to_vec());
        rest = after;
    }
    Ok(out)
}

/// Puts the peaks of runs in their places.
fn scatter(runs: &[Range<usize>], found: &[f32], peaks: &mut [f32]) {
    for (block, peak) in runs.iter().cloned().flatten().zip(found) {
        peaks[block] = *peak;
    }
}

/// Uploads `[block]` gains of some tracks.
fn upload(lane: &mut Lane, group: &Group<'_>, gains: &[(usize, &[f32])]) -> Result<(), GpuError> {
    for (member, gains) in gains {
        lane.write_at(Store::Gains, 4 * u64::from(group.tracks[*member].blocks), bytemuck::cast_slice(gains))?;
    }
    Ok(())
}

/// Applies the uploaded gains over spans: from the shaped store to the other, or in place.
fn apply(lane: &mut Lane, group: &Group<'_>, spans: &[Span], in_place: bool) -> Result<(), GpuError> {
    let gains = lane.whole(Store::Gains)?;
    let idle = lane.whole(Store::Near)?;
    sweep(lane, group, spans, |work, window, piece| {
        let source = if in_place { idle.clone() } else { window.shaped.clone() };
        let parts = [gains.clone(), source, window.out.clone()];
        let bytes = if in_place { again(piece, 16) } else { moves(piece, 16) };
        work.launch(Kernel::ApplyGain, &parts, &frames(piece, 2 * TILE), (window.start, u32::from(in_place)), bytes);
    })
}

/// `saturate` of the tracks whose plan wants it, in the shaped store.
pub(super) fn saturate(lane: &mut Lane, group: &mut Group<'_>) -> Result<(), GpuError> {
    let wants = |member: &super::group::Member<'_>| {
        member.task.plan.saturation.filter(|s| member.task.saturate && (s.odd != 0.0 || s.even != 0.0))
    };
    let members: Vec<usize> = (0..group.members.len()).filter(|at| wants(&group.members[*at]).is_some()).collect();
    if members.is_empty() {
        return Ok(());
    }
    means(lane, group, &members, Store::Shaped, 0)?;
    let found = lane.floats(Store::Results, 0, 3 * group.blocks)?;
    for &at in &members {
        let (member, track) = (&group.members[at], &mut group.tracks[at]);
        let blocks = &found[3 * track.blocks as usize..][..3 * member.blocks];
        let peak = blocks.chunks_exact(3).fold(0f32, |peak, block| peak.max(block[2]));
        if let Some(saturation) = wants(member) {
            let curve = SaturationCurve::new(&saturation, peak);
            (track.full, track.cube, track.square) = (curve.full, curve.cube, curve.square);
        }
    }
    let filters = Part::of(&lane.engine.filters);
    sweep(lane, group, &all(group, members.iter().copied()), |work, window, piece| {
        let parts = [filters.clone(), window.shaped.clone(), window.out.clone()];
        work.launch(Kernel::Saturate, &parts, &frames(piece, TILE), (window.start, 0), moves(piece, 16));
    })?;
    means(lane, group, &members, Store::Out, 0)?;
    let found = lane.floats(Store::Results, 0, 3 * group.blocks)?;
    for &at in &members {
        let (member, track) = (&group.members[at], &group.tracks[at]);
        let blocks = &found[3 * track.blocks as usize..][..3 * member.blocks];
        let [left, right] = [0, 1].map(|channel| {
            let means: Vec<f32> = blocks.chunks_exact(3).map(|block| block[channel]).collect();
            slow_part(&means, member.hop, member.task.audio.rate)
        });
        let pairs: Vec<[f32; 2]> = left.into_iter().zip(right).map(|(l, r)| [l, r]).collect();
        lane.write_at(Store::Gains, 8 * u64::from(track.blocks), bytemuck::cast_slice(&pairs))?;
    }
    let offsets = lane.whole(Store::Gains)?;
    sweep(lane, group, &all(group, members.iter().copied()), |work, window, piece| {
        let parts = [offsets.clone(), window.out.clone(), window.shaped.clone()];
        work.launch(Kernel::SaturateApply, &parts, &frames(piece, TILE), (window.start, 0), moves(piece, 24));
    })
}

/// A track on its way through the finish.
struct InFlight {
    at: usize,
    control: Finish,
    aim: Aim,
    passes: u32,
    trace: Trace,
    bound: Vec<f32>,
}

/// Finishes the tracks that want a master at this rate: `[member]`; `None` where none is wanted, or where a sample is not a number,
/// which the processor is to look into.
pub(super) fn finish(
    lane: &mut Lane,
    group: &mut Group<'_>,
    who: &BackendInfo,
) -> Result<Vec<Option<Master>>, GpuError> {
    let mut masters: Vec<Option<Master>> = group.members.iter().map(|_| None).collect();
    let wanted: Vec<usize> = (0..group.members.len()).filter(|at| group.members[*at].task.finish).collect();
    let (idle, busy): (Vec<usize>, Vec<usize>) = wanted.into_iter().partition(|at| {
        let task = &group.members[*at].task;
        control::idle(task.plan, task.frames(), task.solved)
    });
    let audio = download(lane, group, Store::Shaped, &idle)?;
    for (at, audio) in idle.into_iter().zip(audio) {
        masters[at] = Some(Master { audio, trace: Trace::default(), backend: who.clone() });
    }
    if busy.is_empty() {
        return Ok(masters);
    }
    let mut going = begin(lane, group, &busy)?;
    let mut pending: Vec<usize> = (0..going.len()).collect();
    let mut lost = vec![false; going.len()];
    while !pending.is_empty() {
        pass(lane, group, &mut going, &pending)?;
        fade(lane, group, &going, &pending)?;
        let members: Vec<usize> = pending.iter().map(|at| going[*at].at).collect();
        energies(lane, group, &members, Store::Out, 0)?;
        let found = lane.floats(Store::Results, 0, group.blocks)?;
        let decisions: Vec<(bool, Option<Aim>)> = {
            let group = &*group;
            let mut of: Vec<(usize, &mut InFlight)> =
                going.iter_mut().enumerate().filter(|(at, _)| pending.contains(at)).collect();
            of.par_iter_mut()
                .map(|(_, going)| {
                    let member = &group.members[going.at];
                    let own = &found[group.tracks[going.at].blocks as usize..][..member.blocks];
                    let energies: Vec<f64> = own.iter().map(|energy| f64::from(*energy)).collect();
                    if !energies.iter().sum::<f64>().is_finite() {
                        return (true, None);
                    }
                    let (frames, rate) = (member.task.frames(), member.task.audio.rate);
                    let reached = integrated_from_block_energies(&energies, member.hop, frames, rate);
                    going.trace.gain = going.aim.gain;
                    going.trace.predicted = going.aim.predicted;
                    going.trace.reached = reached;
                    going.trace.passes = going.passes;
                    (false, going.control.correct(&going.aim, reached, going.passes))
                })
                .collect()
        };
        let mut again = Vec::new();
        for (at, (broken, better)) in pending.into_iter().zip(decisions) {
            lost[at] |= broken;
            if let Some(better) = better {
                going[at].aim = better;
                going[at].passes += 1;
                again.push(at);
            }
        }
        pending = again;
    }
    check(lane, group, &mut going)?;
    let members: Vec<usize> = going.iter().map(|going| going.at).collect();
    let audio = download(lane, group, Store::Out, &members)?;
    for ((going, audio), lost) in going.into_iter().zip(audio).zip(lost) {
        if !lost {
            masters[going.at] = Some(Master { audio, trace: going.trace, backend: who.clone() });
        }
    }
    Ok(masters)
}

/// Peaks, means and energies of the shaped tracks, and from them the gain that each aims at.
fn begin(lane: &mut Lane, group: &Group<'_>, busy: &[usize]) -> Result<Vec<InFlight>, GpuError> {
    // The one read-back: peaks come from a list of their own.
    let whole: Vec<Range<usize>> = busy.iter().map(|at| 0..group.members[*at].blocks).collect();
    let lists: Vec<(usize, &[Range<usize>])> =
        busy.iter().zip(&whole).map(|(at, run)| (*at, std::slice::from_ref(run))).collect();
    let coarse = peaks(lane, group, Store::Shaped, Grid::Coarse, &lists)?;
    means(lane, group, busy, Store::Shaped, group.blocks)?;
    energies(lane, group, busy, Store::Shaped, 0)?;
    let found = lane.floats(Store::Results, 0, 4 * group.blocks)?;
    let controls: Vec<Finish> = busy
        .par_iter()
        .zip(coarse)
        .map(|(at, peak)| {
            let (member, first) = (&group.members[*at], group.tracks[*at].blocks as usize);
            let energies = found[first..][..member.blocks].iter().map(|energy| f64::from(*energy)).collect();
            let blocks = &found[group.blocks + 3 * first..][..3 * member.blocks];
            let [left, right] = [0, 1].map(|c| blocks.chunks_exact(3).map(|block| block[c]).collect::<Vec<f32>>());
            Finish::new(peak, [&left, &right], energies, member.task.frames(), member.task.audio.rate, member.task.plan)
        })
        .collect();
    // Only a plan that aims at a peak asks for the fine grid here.
    let asks = |at: usize| {
        let task = &group.members[at].task;
        task.solved.is_none() && matches!(task.plan.goal, Goal::Peak { .. })
    };
    let runs: Vec<(usize, Vec<Range<usize>>)> =
        busy.iter().zip(&controls).filter(|(at, _)| asks(**at)).map(|(at, control)| (*at, control.highest())).collect();
    let lists: Vec<(usize, &[Range<usize>])> = runs.iter().map(|(at, runs)| (*at, &runs[..])).collect();
    let fine = if lists.is_empty() { Vec::new() } else { peaks(lane, group, Store::Shaped, Grid::Fine, &lists)? };
    let highest: Vec<(usize, f32)> =
        runs.iter().zip(fine).map(|((at, _), fine)| (*at, fine.into_iter().fold(0f32, f32::max))).collect();
    Ok(busy
        .par_iter()
        .zip(controls)
        .map(|(at, control)| {
            let task = &group.members[*at].task;
            let fine = highest.iter().find(|(member, _)| member == at).map_or(0.0, |(_, peak)| *peak);
            let aim = control.aim(task.plan, task.solved, || fine.max(control.top()));
            InFlight { at: *at, control, aim, passes: 1, trace: Trace::default(), bound: Vec::new() }
        })
        .collect())
}

/// One audio pass of the tracks `pending`: leveler, clipper, limiter.
fn pass(lane: &mut Lane, group: &mut Group<'_>, going: &mut [InFlight], pending: &[usize]) -> Result<(), GpuError> {
    let mut starts: Vec<(usize, control::Start)> =
        pending.par_iter().map(|at| (*at, going[*at].control.start(going[*at].aim.gain))).collect();
    let clipping: Vec<usize> = (0..starts.len()).filter(|place| !starts[*place].1.near.is_empty()).collect();
    let mut touched = vec![0u64; starts.len()];
    if !clipping.is_empty() {
        let mut clipped_spans = Vec::new();
        let mut members = Vec::new();
        for &place in &clipping {
            let (at, start) = &starts[place];
            let member = going[*at].at;
            if let Some(curve) = going[*at].control.clip() {
                let track = &mut group.tracks[member];
                (track.clip_begin, track.clip_width, track.clip_weight) = (curve.begin, curve.width, curve.weight);
                track.report_threshold = curve.report_threshold;
            }
            let blocks = group.members[member].blocks;
            let mut near = vec![0u32; blocks];
            for block in start.near.iter().cloned().flatten() {
                near[block] = 1;
            }
            lane.write_at(Store::Near, 4 * u64::from(group.tracks[member].blocks), bytemuck::cast_slice(&near))?;
            upload(lane, group, &[(member, &start.linear)])?;
            let around = control::runs(blocks, AROUND, |block| near[block] == 1);
            clipped_spans.extend(spans(group, member, &around));
            members.push(member);
        }
        apply(lane, group, &all(group, members.iter().copied()), false)?;
        let counts = clip(lane, group, &clipped_spans)?;
        for &place in &clipping {
            touched[place] = counts[going[starts[place].0].at];
        }
        let lists: Vec<(usize, &[Range<usize>])> =
            clipping.iter().map(|place| (going[starts[*place].0].at, &starts[*place].1.around[..])).collect();
        let found = peaks(lane, group, Store::Out, Grid::Coarse, &lists)?;
        for (place, found) in clipping.iter().zip(found) {
            let start = &mut starts[*place].1;
            scatter(&start.around, &found, &mut start.peak);
        }
    }
    let applied: Vec<bool> = (0..starts.len()).map(|place| clipping.binary_search(&place).is_ok()).collect();
    let limited: Vec<(usize, control::Limited)> = starts
        .into_par_iter()
        .zip(touched)
        .map(|((at, start), touched)| (at, going[at].control.limit(start, touched)))
        .collect();
    let (mut fresh, mut placed) = (Vec::new(), Vec::new());
    for ((at, limited), applied) in limited.into_iter().zip(applied) {
        let member = going[at].at;
        if let Some(gain) = &limited.gain {
            upload(lane, group, &[(member, gain)])?;
        } else if !applied {
            upload(lane, group, &[(member, &vec![1.0; group.members[member].blocks])])?;
        }
        match (applied, limited.gain.is_some()) {
            (false, _) => fresh.push(member),
            (true, true) => placed.push(member),
            (true, false) => {}
        }
        going[at].trace = limited.trace;
        going[at].bound = limited.bound;
    }
    apply(lane, group, &all(group, fresh), false)?;
    apply(lane, group, &all(group, placed), true)
}

/// The clipper over spans of the out store; `[member]` how many samples it touched.
fn clip(lane: &mut Lane, group: &Group<'_>, spans: &[Span]) -> Result<Vec<u64>, GpuError> {
    let filters = Part::of(&lane.engine.filters);
    let [gains, near, results] = [Store::Gains, Store::Near, Store::Results].map(|store| lane.whole(store));
    let (gains, near, results) = (gains?, near?, results?);
    let mut tiles: Vec<usize> = Vec::new();
    sweep(lane, group, spans, |work, window, piece| {
        let mut items = frames(piece, TILE);
        for item in &mut items {
            item.slot = tiles.len() as u32;
            tiles.push(item.track as usize);
        }
        let parts =
            [filters.clone(), gains.clone(), window.shaped.clone(), near.clone(), window.out.clone(), results.clone()];
        work.launch(Kernel::Clip, &parts, &items, (window.start, 0), moves(piece, 16));
    })?;
    let found = lane.floats(Store::Results, 0, tiles.len())?;
    let mut counts = vec![0u64; group.members.len()];
    for (member, count) in tiles.into_iter().zip(found) {
        counts[member] += count as u64;
    }
    Ok(counts)
}

fn fade(lane: &mut Lane, group: &Group<'_>, going: &[InFlight], pending: &[usize]) -> Result<(), GpuError> {
    let mut ends = Vec::new();
    for at in pending {
        let (member, task) = (going[*at].at, &group.members[going[*at].at].task);
        let faded = control::faded(&task.plan.edit, task.frames(), task.audio.rate);
        ends.extend(faded.into_iter().map(|span| (member, span)));
    }
    sweep(lane, group, &ends, |work, window, piece| {
        let parts = [window.out.clone()];
        work.launch(Kernel::Fade, &parts, &frames(piece, 2 * TILE), (window.start, 0), moves(piece, 16));
    })
}

/// Looks closely wherever a result comes near its ceiling, and takes down what is still over.
fn check(lane: &mut Lane, group: &Group<'_>, going: &mut [InFlight]) -> Result<(), GpuError> {
    let mut checks: Vec<Option<Check>> = Vec::new();
    for going in going.iter_mut() {
        let (check, highest) = match going.control.check(&going.bound) {
            Ok(check) => (Some(check), 0.0),
            Err(highest) => (None, highest),
        };
        going.trace.true_peak = true_peak(highest);
        checks.push(check);
    }
    let mut open: Vec<usize> = (0..checks.len()).filter(|at| checks[*at].is_some()).collect();
    while !open.is_empty() {
        let lists: Vec<(usize, &[Range<usize>])> =
            open.iter().filter_map(|at| Some((going[*at].at, &checks[*at].as_ref()?.look[..]))).collect();
        let found = peaks(lane, group, Store::Out, Grid::Fine, &lists)?;
        let mut next = Vec::new();
        let mut touched = Vec::new();
        for (&at, found) in open.iter().zip(found) {
            let Some(check) = &mut checks[at] else { continue };
            let look = check.look.clone();
            scatter(&look, &found, &mut check.peaks);
            match check.judge() {
                Some(gain) => {
                    upload(lane, group, &[(going[at].at, &gain)])?;
                    touched.extend(spans(group, going[at].at, &check.look));
                    next.push(at);
                }
                None => going[at].trace.true_peak = true_peak(check.true_peak()),
            }
        }
        apply(lane, group, &touched, true)?;
        open = next;
    }
    Ok(())
}

fn true_peak(amplitude: f32) -> Option<Dbtp> {
    (amplitude > 0.0).then(|| Dbtp::from_amplitude(f64::from(amplitude)))
}

/// Brings tracks back from a store.
pub(super) fn download(
    lane: &mut Lane,
    group: &Group<'_>,
    store: Store,
    members: &[usize],
) -> Result<Vec<Audio>, GpuError> {
    let mut out = Vec::with_capacity(members.len());
    for task in members.iter().map(|at| &group.members[*at].task) {
        let room = Audio::silence_in(task.audio.rate, task.frames(), task.audio.pool());
        out.push(room.map_err(|error| GpuError::Failed(error.to_string()))?);
    }
    let parts: Vec<(Store, u64, u64)> = members
        .iter()
        .map(|at| (store, 8 * group.tracks[*at].store as u64, 8 * group.members[*at].task.frames() as u64))
        .collect();
    lane.read(&parts, &mut |part, at, bytes| {
        pack::unpack(bytes, at as usize / 8, out[part].channels.each_mut().map(|channel| &mut **channel));
    })?;
    Ok(out)
}

/// What a track's bands did, in the places of the plan's.
pub(super) fn reductions(group: &Group<'_>, means: &[Vec<f64>]) -> Vec<Vec<Db>> {
    group
        .members
        .iter()
        .zip(means)
        .map(|(member, means)| {
            let Some(design) = &member.task.design else { return Vec::new() };
            let mut out = vec![Db(0.0); design.planned];
            for (band, mean) in design.bands.iter().zip(means) {
                if let Some(reduction) = out.get_mut(band.index) {
                    *reduction = Db(*mean);
                }
            }
            out
        })
        .collect()
}
