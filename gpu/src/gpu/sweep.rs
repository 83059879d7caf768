//! Through the frames of a group in submissions of bearable length, and what a launch over them moves.

use super::error::GpuError;
use super::group::{ALIGN, Group};
use super::lane::{Lane, Part, Store, Work};
use super::layout::Item;
use std::ops::Range;

/// Frames at which long spans are cut: whole stretches of the K-weighting at any rate.
const CUT: usize = 4096;
/// Frames that any filter of the finish reaches.
const REACH: usize = 128;

/// Frames of one track.
pub(super) type Span = (usize, Range<usize>);

/// The part of the stores that a submission works on.
pub(super) struct Window {
    pub(super) start: usize,
    pub(super) shaped: Part,
    pub(super) out: Part,
}

impl Window {
    pub(super) fn of(&self, store: Store) -> Part {
        if store == Store::Shaped { self.shaped.clone() } else { self.out.clone() }
    }
}

/// Runs of blocks as spans of frames.
pub(super) fn spans(group: &Group<'_>, member: usize, runs: &[Range<usize>]) -> Vec<Span> {
    let (hop, frames) = (group.members[member].hop, group.members[member].task.frames());
    runs.iter().map(|run| (member, (run.start * hop).min(frames)..(run.end * hop).min(frames))).collect()
}

/// All frames of some tracks.
pub(super) fn all(group: &Group<'_>, members: impl IntoIterator<Item = usize>) -> Vec<Span> {
    members.into_iter().map(|member| (member, 0..group.members[member].task.frames())).collect()
}

/// Goes through spans (in the order of the stores) in submissions of bearable length.
pub(super) fn sweep(
    lane: &mut Lane,
    group: &Group<'_>,
    spans: &[Span],
    mut each: impl FnMut(&mut Work<'_>, &Window, &[Span]),
) -> Result<(), GpuError> {
    let most = (lane.engine.limits.max_storage_buffer_binding_size / 8) as usize - 2 * ALIGN;
    let mut rest: std::collections::VecDeque<Span> =
        spans.iter().filter(|(_, span)| !span.is_empty()).cloned().collect();
    while !rest.is_empty() {
        let pace = lane.pace();
        let (mut piece, mut frames) = (Vec::new(), 0);
        let mut window: Range<usize> = 0..0;
        while let Some((member, span)) = rest.pop_front() {
            let room = (pace.saturating_sub(frames) / CUT).max(usize::from(piece.is_empty())) * CUT;
            let cut = if span.len() <= room { span.end } else { (span.start + room) / CUT * CUT };
            let track = &group.tracks[member];
            let place = track.store as usize;
            let from = (place + span.start).saturating_sub(REACH) / ALIGN * ALIGN;
            let to = (place + cut + REACH).next_multiple_of(ALIGN).min(group.frames);
            if cut <= span.start || (!piece.is_empty() && to - window.start > most) {
                rest.push_front((member, span));
                break;
            }
            window = if piece.is_empty() { from..to } else { window.start..to.max(window.end) };
            frames += cut - span.start;
            if cut < span.end {
                rest.push_front((member, cut..span.end));
            }
            piece.push((member, span.start..cut));
            if frames >= pace {
                break;
            }
        }
        let part = |lane: &Lane, store| lane.part(store, 8 * window.start as u64, Some(8 * window.len() as u64));
        let window = Window { start: window.start, shaped: part(lane, Store::Shaped)?, out: part(lane, Store::Out)? };
        let mut work = lane.begin()?;
        work.goes_through(frames);
        each(&mut work, &window, &piece);
        work.submit(&group.tracks)?;
    }
    Ok(())
}

/// Items of `unit · count` frames over spans that begin on whole units; `slot` knows where a unit's results go.
pub(super) fn items(
    piece: &[Span],
    unit: impl Fn(usize) -> usize,
    count: usize,
    slot: impl Fn(usize, usize) -> usize,
) -> Vec<Item> {
    let mut out = Vec::new();
    for (member, span) in piece {
        let unit = unit(*member);
        let (from, to) = (span.start / unit, span.end.div_ceil(unit));
        for at in (from..to).step_by(count) {
            let count = (to - at).min(count) as u32;
            out.push(Item { track: *member as u32, at: at as i32, count, slot: slot(*member, at) as u32 });
        }
    }
    out
}

/// Plain frames.
pub(super) fn frames(piece: &[Span], count: usize) -> Vec<Item> {
    items(piece, |_| 1, count, |_, _| 0)
}

pub(super) fn total(piece: &[Span]) -> u64 {
    piece.iter().map(|(_, span)| span.len() as u64).sum()
}

/// Bytes that a launch moves per frame, all of which it needs.
pub(super) fn moves(piece: &[Span], per_frame: u64) -> (u64, u64) {
    (total(piece) * per_frame, total(piece) * per_frame)
}

/// The same for a second look, which the algorithm at its least would not take.
pub(super) fn again(piece: &[Span], per_frame: u64) -> (u64, u64) {
    (total(piece) * per_frame, 0)
}
