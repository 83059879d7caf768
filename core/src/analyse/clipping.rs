//! Flat tops: clipped, or cut by a limiter or clipper before us.

use super::levels::{Levels, POINT};
use crate::Audio;

/// At least this share of full scale counts as clipped: the converters of many workstations stop one step short of it.
const FULL: f32 = 0.999;

/// Equal samples in a row that make a flat top.
const RUN: usize = 3;

/// A flat top ends in a step of at least this share of its height. The top of a slow sine is flat too, within the file's word
/// length, but it leaves its plateau by one or two steps (3e-5 in 16 bits).
const STEP: f32 = 2e-4;

/// Runs of equal samples at the top, and the first frame of the first of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Runs {
    pub(super) count: u64,
    pub(super) first: Option<usize>,
}

/// Runs of ≥ 3 equal samples at or above 0.999 of full scale, over both channels.
pub(super) fn clipped(audio: &Audio, levels: &Levels) -> Runs {
    let mut runs = Runs::default();
    for channel in 0..2 {
        for sign in [1.0, -1.0] {
            find(audio, levels, channel, sign, FULL, &mut runs);
        }
    }
    runs
}

/// Runs of ≥ 3 equal samples at each channel's own highest and lowest sample, where that is below full scale but not faint.
pub(super) fn flat(audio: &Audio, levels: &Levels) -> Runs {
    let mut runs = Runs::default();
    for channel in 0..2 {
        for sign in [1.0, -1.0] {
            let extreme = levels.points.iter().fold(0.0f32, |a, p| a.max(reach(p, channel, sign)));
            if (0.1..FULL).contains(&extreme) && extreme > 0.7 * levels.peak {
                find(audio, levels, channel, sign, extreme * 0.9999, &mut runs);
            }
        }
    }
    runs
}

/// Samples beyond ±1.
pub(super) fn over(audio: &Audio, levels: &Levels) -> u64 {
    let mut count = 0;
    for (i, _) in levels.points.iter().enumerate().filter(|(_, p)| p.peak() > 1.0) {
        let range = i * POINT..((i + 1) * POINT).min(audio.frames());
        count +=
            audio.channels.iter().map(|c| c[range.clone()].iter().filter(|v| v.abs() > 1.0).count()).sum::<usize>();
    }
    count as u64
}

fn reach(point: &super::levels::Point, channel: usize, sign: f32) -> f32 {
    if sign > 0.0 { point.high[channel] } else { -point.low[channel] }
}

fn find(audio: &Audio, levels: &Levels, channel: usize, sign: f32, threshold: f32, runs: &mut Runs) {
    let x = &audio.channels[channel];
    let at = |i: usize| x.get(i).map_or(0.0, |v| v * sign);
    // Only points that reach the threshold are looked at; neighbours are one stretch.
    let mut point = 0;
    while point < levels.points.len() {
        if reach(&levels.points[point], channel, sign) < threshold {
            point += 1;
            continue;
        }
        let start = point;
        while point < levels.points.len() && reach(&levels.points[point], channel, sign) >= threshold {
            point += 1;
        }
        let end = (point * POINT).min(x.len());
        let mut i = start * POINT;
        while i < end {
            let level = at(i);
            if level < threshold {
                i += 1;
                continue;
            }
            let mut last = i + 1;
            while last < end && at(last) == level {
                last += 1;
            }
            let before = i.checked_sub(1).map_or(0.0, at);
            if last - i >= RUN && level - before.min(at(last)) > STEP * level {
                runs.count += 1;
                runs.first = Some(runs.first.map_or(i, |f| f.min(i)));
            }
            i = last;
        }
    }
}
