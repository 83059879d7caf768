//! A group: tracks of one rate that are on the card at the same time, and the tables they need.

use super::error::GpuError;
use super::lane::{Lane, Store};
use super::layout::{BANDS, Band, POINTS, STEP, STRETCH, Track};
use super::pack;
use super::tables::{self, Partitioned};
use loopmaster_core::Audio;
use loopmaster_core::control::limiter;
use loopmaster_core::plan::Plan;
use loopmaster_core::render::design::{self, ShapeDesign};
use loopmaster_core::units::Db;
use rayon::prelude::*;
use std::ops::Range;

/// Frames to which every track's place in the stores is aligned, so that a window may begin there on any card (256 bytes).
pub(super) const ALIGN: usize = 32;

/// What is to be done with one track at one rate.
#[derive(Debug)]
pub(super) struct Task<'a> {
    /// The samples …
    pub(super) audio: &'a Audio,
    /// … and the frames of them that count.
    pub(super) kept: Range<usize>,
    /// The plan.
    pub(super) plan: &'a Plan,
    /// Tone and bands; `None` where they are done.
    pub(super) design: Option<ShapeDesign>,
    /// Whether the plan's saturation is still to come.
    pub(super) saturate: bool,
    /// Whether a master is wanted at this rate.
    pub(super) finish: bool,
    /// Whether the audio before the finish is wanted, too, for other rates.
    pub(super) keep: bool,
    /// A gain that was solved earlier.
    pub(super) solved: Option<Db>,
}

impl Task<'_> {
    /// Frames that count.
    pub(super) fn frames(&self) -> usize {
        self.kept.len()
    }
}

/// One track on the card.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// What is to be done.
    pub(super) task: Task<'a>,
    /// Frames per control block.
    pub(super) hop: usize,
    /// Control blocks.
    pub(super) blocks: usize,
    /// The tone filter is there.
    pub(super) toned: bool,
    /// Acting bands.
    pub(super) bands: usize,
    /// Longest level window, hops.
    pub(super) window: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// The tracks.
    pub(super) members: Vec<Member<'a>>,
    /// The same for the shaders.
    pub(super) tracks: Vec<Track>,
    /// Control blocks of all tracks.
    pub(super) blocks: usize,
    /// Frames of the stores.
    pub(super) frames: usize,
}

/// Bytes on the card for each frame of a group: two stores, and what stands per control block.
pub(super) fn bytes_per_frame(rate: u32) -> f64 {
    16.0 + (5.0 * 4.0 + 8.0 + 4.0 + 32.0 / STRETCH as f64) / limiter::hop(rate) as f64
}

/// Adds `table` to `all` unless it is there; returns where it stands.
fn place<K: PartialEq, T>(
    known: &mut Vec<(K, usize)>,
    all: &mut Vec<T>,
    key: K,
    table: impl FnOnce(&K) -> Vec<T>,
) -> usize {
    if let Some((_, at)) = known.iter().find(|(other, _)| *other == key) {
        return *at;
    }
    let at = all.len();
    all.extend(table(&key));
    known.push((key, at));
    at
}

impl<'a> Group<'a> {
    /// Lays the tracks out and uploads their tables.
    pub(super) fn new(lane: &mut Lane, tasks: Vec<Task<'a>>) -> Result<Self, GpuError> {
        let rate = tasks.first().map_or(44_100, |task| task.audio.rate);
        let (hop, scale) = (limiter::hop(rate), design::rate_scale(rate));
        debug_assert!(hop == 32 * scale && tasks.iter().all(|task| task.audio.rate == rate));
        let tones: Vec<Option<Partitioned>> = tasks
            .par_iter()
            .map(|task| task.design.as_ref().and_then(|design| design.tone.as_ref()).map(tables::tone))
            .collect();
        let widths: Vec<u32> = tasks
            .par_iter()
            .map(|task| pack::width(task.audio.channels.each_ref().map(|channel| &channel[task.kept.clone()])))
            .collect();

        let mut group = Self { members: Vec::new(), tracks: Vec::new(), blocks: 0, frames: 0 };
        let mut stretches = 0;
        let mut firs: Vec<[f32; 2]> = Vec::new();
        let mut banks: Vec<[f32; 2]> = Vec::new();
        let mut known_banks: Vec<(Vec<Vec<f64>>, usize, usize, usize)> = Vec::new();
        let (mut phases, mut known_phases) = (Vec::new(), Vec::new());
        let (mut weights, mut known_weights) = (Vec::new(), Vec::new());
        let mut settings = Vec::new();
        for ((task, tone), width) in tasks.into_iter().zip(tones).zip(widths) {
            let frames = task.frames();
            let blocks = frames.div_ceil(hop);
            let seconds = |seconds: f64| (seconds * f64::from(rate)) as f32;
            let mut track = Track {
                frames: frames as u32,
                hop: hop as u32,
                store: group.frames as i32,
                blocks: group.blocks as u32,
                states: stretches as u32,
                raw_bytes: width,
                fade_in: seconds(task.plan.edit.fade_in.0),
                fade_out: seconds(task.plan.edit.fade_out.0),
                report_threshold: f32::MAX,
                ..Track::default()
            };
            let mut bands = [Band::default(); BANDS];
            let mut window = 0;
            if let Some(design) = &task.design {
                if let Some(tone) = &tone {
                    track.has_tone = 1;
                    track.fir = firs.len() as u32;
                    track.fir_parts = tone.parts as u32;
                    track.fir_first = tone.first as i32;
                    track.fir_both = u32::from(design.tone.as_ref().is_some_and(|tone| tone.mid != tone.side));
                    firs.extend(&tone.spectra);
                }
                track.band_count = design.bands.len() as u32;
                track.row_count = (design.bands.len() - usize::from(design.is_complete())) as u32;
                track.point_count = design.points(frames) as u32;
                let rows = &design.bands[..track.row_count as usize];
                let taps: Vec<Vec<f64>> = rows.iter().map(|band| band.fir.taps.clone()).collect();
                let known = known_banks.iter().find(|(known, ..)| *known == taps).map(|(_, a, b, c)| (*a, *b, *c));
                let (at, parts, first) = known.unwrap_or_else(|| {
                    let bank = tables::bank(rows);
                    let at = banks.len();
                    banks.extend(bank.spectra);
                    known_banks.push((taps, at, bank.parts, bank.first));
                    (at, bank.parts, bank.first)
                });
                (track.bank, track.bank_parts, track.bank_first) = (at as u32, parts as u32, first as i32);
                for (row, (band, out)) in design.bands.iter().zip(&mut bands).enumerate() {
                    let gain = band.gain.parts();
                    window = window.max(band.window);
                    *out = Band {
                        row: row as u32,
                        window: band.window as u32,
                        weights: place(&mut known_weights, &mut weights, band.window, |w| tables::weights(hop, *w))
                            as u32,
                        phases: place(&mut known_phases, &mut phases, band.window, |w| tables::phases(hop, *w)) as u32,
                        threshold: 10f64.powf(-gain.threshold / 10.0) as f32,
                        slope: gain.slope as f32,
                        knee: gain.knee as f32,
                        most: gain.max_reduction as f32,
                        makeup: gain.makeup as f32,
                        attack: gain.attack as f32,
                        release: gain.release as f32,
                        spare: 0.0,
                    };
                }
            }
            settings.extend(bands);
            let (toned, bands) = (track.has_tone != 0, track.band_count as usize);
            group.tracks.push(track);
            group.members.push(Member { task, hop, blocks, toned, bands, window });
            group.frames += frames.next_multiple_of(ALIGN);
            group.blocks += blocks;
            stretches += blocks.div_ceil(STRETCH);
        }
        debug_assert!(firs.len().is_multiple_of(2 * POINTS) && STEP * 2 == POINTS);

        lane.ensure(Store::Shaped, 8 * group.frames as u64)?;
        lane.ensure(Store::Out, 8 * group.frames as u64)?;
        lane.ensure(Store::Results, 4 * 5 * group.blocks as u64)?;
        lane.ensure(Store::Gains, 8 * group.blocks as u64)?;
        lane.ensure(Store::Near, 4 * group.blocks as u64)?;
        lane.ensure(Store::KStates, 32 * stretches as u64)?;
        lane.ensure(Store::GainStates, 32 * (BANDS * group.members.len()) as u64)?;
        if let Some(bits) = lane.engine.config.poison {
            let poison = vec![bits; 2 * group.frames];
            lane.write(Store::Shaped, bytemuck::cast_slice(&poison))?;
            lane.write(Store::Out, bytemuck::cast_slice(&poison))?;
            lane.write(Store::Results, bytemuck::cast_slice(&poison[..5 * group.blocks]))?;
        }
        lane.write(Store::Firs, bytemuck::cast_slice(&firs))?;
        lane.write(Store::Bank, bytemuck::cast_slice(&banks))?;
        lane.write(Store::Phases, bytemuck::cast_slice(&phases))?;
        lane.write(Store::Weights, bytemuck::cast_slice(&weights))?;
        lane.write(Store::Settings, bytemuck::cast_slice(&settings))?;
        lane.write(Store::Weighting, bytemuck::cast_slice(&tables::weighting(rate, hop)))?;
        Ok(group)
    }
}
