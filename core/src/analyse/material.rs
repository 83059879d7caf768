//! What kind of recording it is, by its figures: as weights that add up to one, never as a verdict, so that nothing jumps where one kind
//! ends and the next begins.
//!
//! The figures come from the blocks that were measured anyway: 20 ms levels of five bands, the true peaks of 0.7 ms, cells of 0.4 s.

use super::{LoudnessFigures, MaterialFigures, MaterialWeights, Peaks, Recognised};
use crate::bands::BANDS;
use crate::meter::{Spectra, percentile};
use crate::settings::Material;
use crate::units::Db;

/// Levels this far under the loudest are not listened to, dB.
const DEPTH: f64 = 60.0;
/// Blocks of 20 ms in a second.
const SECOND: usize = 50;
/// Modulations of speech: syllables come two to eight times a second.
const SYLLABLES: (f64, f64) = (2.0, 8.0);
/// Blocks between two onsets, at least: 120 ms.
const APART: usize = 6;
/// Mean rise of the bands within 60 ms that is an onset, dB.
const RISE: f64 = 4.0;

/// Blocks of 20 ms: levels in dB.
struct Blocks {
    /// Of all bands together.
    all: Vec<f64>,
    /// `[band]`
    bands: Vec<Vec<f64>>,
    /// The level that five in a hundred blocks exceed.
    loud: f64,
    /// Silent blocks before the first of these.
    first: usize,
}

impl Blocks {
    fn new(spectra: &Spectra) -> Self {
        let blocks = spectra.matrix.mid.first().map_or(0, Vec::len);
        let energy = |band: usize, i: usize| {
            f64::from(spectra.matrix.mid[band].get(i).copied().unwrap_or(0.0))
                + f64::from(spectra.matrix.side[band].get(i).copied().unwrap_or(0.0))
        };
        let level = |power: f64| Db::from_power(power.max(1e-15)).0;
        let bands: Vec<Vec<f64>> =
            (0..BANDS).map(|band| (0..blocks).map(|i| level(energy(band, i))).collect()).collect();
        let all: Vec<f64> = (0..blocks).map(|i| level((0..BANDS).map(|band| energy(band, i)).sum())).collect();
        let loud = percentile(&all, 0.95);
        // Silence before and after says nothing about the music.
        let sounding = |level: &f64| *level > loud - DEPTH;
        let (first, last) =
            (all.iter().position(sounding).unwrap_or(0), all.iter().rposition(sounding).map_or(0, |i| i + 1));
        let first = first.min(last);
        Self {
            all: all[first..last].to_vec(),
            bands: bands.into_iter().map(|band| band[first..last].to_vec()).collect(),
            loud,
            first,
        }
    }

    /// `[block]` how much the bands rise at once, dB; what lies far under the loudest counts as silence.
    fn rises(&self) -> Vec<f64> {
        let floor: Vec<f64> = self.bands.iter().map(|band| percentile(band, 0.95) - 35.0).collect();
        let present: Vec<bool> = self.bands.iter().map(|band| percentile(band, 0.95) > self.loud - 40.0).collect();
        let counted = present.iter().filter(|p| **p).count().max(1) as f64;
        (0..self.all.len())
            .map(|i| {
                let (before, after) = (i.saturating_sub(2), (i + 1).min(self.all.len() - 1));
                let rise = |band: usize| {
                    let held = |at: usize| self.bands[band][at].max(floor[band]);
                    (held(after) - held(before)).clamp(0.0, 20.0)
                };
                (0..self.bands.len()).filter(|&band| present[band]).map(rise).sum::<f64>() / counted
            })
            .collect()
    }

    /// Blocks at which something begins.
    fn onsets(rises: &[f64]) -> Vec<usize> {
        let mut found: Vec<usize> = Vec::new();
        for i in 0..rises.len() {
            let around = i.saturating_sub(APART / 2)..(i + APART / 2 + 1).min(rises.len());
            let highest = rises[around].iter().copied().fold(0.0, f64::max);
            if rises[i] >= RISE && rises[i] >= highest && found.last().is_none_or(|last| i - last >= APART) {
                found.push(i);
            }
        }
        found
    }

    /// Share of the modulation of the middle bands that lies where syllables are, times its depth: 0 a steady tone, about 1 speech.
    fn syllables(&self) -> f64 {
        let window = 2 * SECOND;
        let mut values: Vec<f64> = Vec::new();
        for band in 1..self.bands.len().min(4) {
            if percentile(&self.bands[band], 0.95) < self.loud - 30.0 {
                continue;
            }
            for part in self.bands[band].chunks_exact(window) {
                let envelope: Vec<f64> = part.iter().map(|level| 10f64.powf(level / 20.0)).collect();
                let mean = envelope.iter().sum::<f64>() / window as f64;
                if 20.0 * mean.max(1e-12).log10() < percentile(&self.bands[band], 0.95) - 25.0 {
                    continue;
                }
                // Half a hertz per bin.
                let power = |k: usize| {
                    let (mut re, mut im) = (0.0, 0.0);
                    for (i, v) in envelope.iter().enumerate() {
                        let turn = std::f64::consts::TAU * k as f64 * i as f64 / window as f64;
                        re += (v - mean) * turn.cos();
                        im += (v - mean) * turn.sin();
                    }
                    re * re + im * im
                };
                let bins = ((2.0 * SYLLABLES.0) as usize)..=((2.0 * SYLLABLES.1) as usize);
                // Parseval: an envelope that is on and off in halves has a depth of one.
                let depth = (2.0 * bins.map(power).sum::<f64>()).sqrt() / (window as f64 * mean.max(1e-12));
                values.push(depth);
            }
        }
        percentile(&values, 0.5)
    }

    /// How well the rises repeat, 0–1: the highest autocorrelation for a beat of 0.25 to 1 s.
    fn pulse(rises: &[f64]) -> f64 {
        let n = rises.len();
        if n < 4 * SECOND {
            return 0.0;
        }
        let mean = rises.iter().sum::<f64>() / n as f64;
        let centred: Vec<f64> = rises.iter().map(|v| v - mean).collect();
        let power = centred.iter().map(|v| v * v).sum::<f64>().max(1e-12);
        (SECOND / 4..=SECOND)
            .map(|lag| {
                let sum = (0..n - lag).map(|i| centred[i] * centred[i + lag]).sum::<f64>();
                sum / power * n as f64 / (n - lag) as f64
            })
            .fold(0.0, f64::max)
    }
}

/// Peak over the level that follows, median of the stronger half of the onsets, dB.
fn attack(blocks: &Blocks, onsets: &[usize], peaks: &[f32], per_block: f64) -> f64 {
    let mut crests: Vec<f64> = onsets
        .iter()
        .filter_map(|&at| {
            let place = |block: f64| (((blocks.first + at) as f64 + block) * per_block).max(0.0) as usize;
            let peak = peaks.get(place(-1.0)..place(2.5).min(peaks.len()))?.iter().copied().fold(0f32, f32::max);
            let tail = blocks.all.get(at + 3..(at + 8).min(blocks.all.len()))?;
            let power = tail.iter().map(|level| Db(*level).power()).sum::<f64>() / tail.len().max(1) as f64;
            (peak > 0.0 && power > 1e-12).then(|| Db::from_amplitude(f64::from(peak)).0 - Db::from_power(power).0)
        })
        .collect();
    crests.sort_unstable_by(f64::total_cmp);
    let half = crests.len() / 2;
    percentile(&crests[half..], 0.5)
}

/// The figures. `peaks` are the true peaks of every `block` frames.
pub(super) fn figures(
    spectra: &Spectra,
    (peaks, block): (&[f32], usize),
    rate: u32,
    levels: &Peaks,
    loudness: &LoudnessFigures,
    side: Db,
    bandwidth: f64,
) -> MaterialFigures {
    let blocks = Blocks::new(spectra);
    let rises = blocks.rises();
    let onsets = Blocks::onsets(&rises);
    let seconds = (blocks.all.len() as f64 * spectra.matrix.hop).max(1e-3);
    let per_block = spectra.matrix.hop * f64::from(rate) / block.max(1) as f64;
    // The highest points of every 0.1 s: how many of them stand near the top says how dense the music is.
    let window = ((0.1 * f64::from(rate)) as usize / block.max(1)).max(1);
    let tops: Vec<f64> = peaks
        .chunks(window)
        .map(|part| Db::from_amplitude(f64::from(part.iter().copied().fold(1e-6f32, f32::max))).0)
        .collect();
    let top = percentile(&tops, 0.99);
    let sounding = tops.iter().filter(|t| **t > top - 40.0).count().max(1) as f64;
    let near = tops.iter().filter(|t| **t > top - 6.0).count() as f64;
    let power = |from: f64, to: f64| {
        let range = ((from / spectra.bin.max(1e-9)) as usize)..((to / spectra.bin.max(1e-9)) as usize);
        spectra
            .power
            .get(range.start.min(spectra.power.len())..range.end.min(spectra.power.len()))
            .map_or(0.0, |p| p.iter().sum::<f64>())
    };
    let whole = power(20.0, 20_000.0).max(1e-20);
    let share = |from: f64, to: f64| Db::from_power((power(from, to) / whole).max(1e-9));
    let flatness: Vec<f64> = spectra
        .flatness
        .iter()
        .enumerate()
        .filter(|(cell, _)| spectra.gate.get(cell * 20).copied().unwrap_or(false))
        .map(|(_, f)| *f)
        .collect();
    MaterialFigures {
        peak_to_loudness: levels.plr.unwrap_or_default(),
        loudness_range: Db(loudness.range.map_or(0.0, |r| r.0)),
        onsets: onsets.len() as f64 / seconds,
        attack: Db(attack(&blocks, &onsets, peaks, per_block)),
        density: near / sounding,
        pauses: blocks.all.iter().filter(|level| **level < blocks.loud - 30.0).count() as f64
            / blocks.all.len().max(1) as f64,
        spread: Db(blocks.loud - percentile(&blocks.all, 0.5)),
        tonality: 1.0 - percentile(&flatness, 0.5),
        syllables: blocks.syllables(),
        pulse: Blocks::pulse(&rises),
        presence_spread: Db(percentile(&blocks.bands[3], 0.95) - percentile(&blocks.bands[3], 0.5)),
        low_correlation: spectra.correlation_low,
        sub: share(20.0, 90.0),
        treble: share(5_000.0, 20_000.0),
        side,
        bandwidth: bandwidth / 1000.0,
    }
}

/// 0 below `from`, 1 above `to`, smooth in between; `from` may be the larger one.
fn ramp(value: f64, from: f64, to: f64) -> f64 {
    let x = ((value - from) / (to - from)).clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// Signs of single kinds, 0–1 each. The borders lie in the gaps between recordings of known kinds: 12 electronic productions, 10 finished
/// records, and some 60 renderings of scores, tunes and speech; every one is a ramp, so that a mix in between gets something in between.
struct Signs {
    /// Syllables, no bass, no beat.
    speech: f64,
    /// No bass drum and no bass line: produced music has a tenth of its power below 90 Hz.
    light: f64,
    /// A low end that is as wide as a room, under music whose peaks stand out; produced music keeps its bass in the middle.
    room: f64,
    /// Single events with silence between them.
    sparse: f64,
    /// A wall of distorted guitars over drums: the presence range hardly moves.
    wall: f64,
    /// Tones rather than noise: strings, voices, keys.
    tonal: f64,
    /// A low end that leads and stands in the middle.
    heavy: f64,
    /// A limiter has been at work.
    limited: f64,
}

impl Signs {
    fn new(f: &MaterialFigures, flat_per_minute: f64, loudness_known: bool) -> Self {
        let open = ramp(f.peak_to_loudness.0, 13.5, 15.5) * ramp(f.density, 0.75, 0.55);
        // Sustained tones have low peaks by nature.
        let pressed = ramp(f.peak_to_loudness.0, 9.5, 8.5) * ramp(f.tonality, 0.65, 0.55);
        Self {
            speech: ramp(f.syllables, 0.5, 0.75)
                * ramp(f.sub.0, -14.0, -20.0)
                * ramp(f.pulse, 0.45, 0.3)
                * ramp(f.onsets, 1.2, 2.0),
            light: ramp(f.sub.0, -10.0, -14.0),
            room: ramp(f.low_correlation.abs(), 0.7, 0.6) * open,
            sparse: ramp(f.spread.0, 13.0, 20.0),
            wall: ramp(f.presence_spread.0, 4.5, 3.0) * ramp(f.onsets, 0.8, 1.4) * ramp(f.sub.0, -24.0, -18.0),
            tonal: ramp(f.tonality, 0.4, 0.52),
            heavy: ramp(f.sub.0, -11.0, -8.0) * ramp(f.low_correlation.abs(), 0.6, 0.7),
            limited: ramp(flat_per_minute, 5.0, 15.0).max(if loudness_known { pressed } else { 0.0 }),
        }
    }
}

/// The weights of the kinds. `flat_per_minute` counts flat tops, `judged` is whether there is enough sound to judge.
pub(super) fn recognise(figures: MaterialFigures, flat_per_minute: f64, judged: bool) -> Recognised {
    let signs = Signs::new(&figures, flat_per_minute, judged);
    let mastered = signs.limited;
    if !judged {
        let weights = MaterialWeights { mastered, ..MaterialWeights::default() };
        return Recognised { weights, confidence: 0.0, figures };
    }
    let fresh = 1.0 - mastered;
    let speech = signs.speech;
    let open = 1.0 - (1.0 - signs.light * (1.0 - signs.wall)) * (1.0 - signs.room) * (1.0 - signs.sparse);
    let open = (1.0 - speech) * open;
    let produced = 1.0 - speech - open;
    let electronic = signs.heavy * (1.0 - signs.wall);
    let weights = MaterialWeights {
        speech: fresh * speech,
        classical: fresh * open * signs.tonal,
        acoustic: fresh * open * (1.0 - signs.tonal),
        band: fresh * produced * (1.0 - electronic),
        electronic: fresh * produced * electronic,
        mastered,
    };
    let mut sorted = Material::ALL.map(|kind| weights.of(kind));
    sorted.sort_unstable_by(f64::total_cmp);
    Recognised { weights, confidence: sorted[5] - sorted[4], figures }
}

impl super::Hits {
    /// Reduction from which the limiter counts as working, dB.
    pub const WORKING: f32 = 0.05;
    /// Tenths of a second of which each shall have its hit.
    const FEWEST: usize = 10;

    /// Of the largest reductions of every 0.1 s.
    #[must_use]
    pub fn of(tenths: &[f32]) -> Self {
        let mut working: Vec<f32> = tenths.iter().copied().filter(|db| *db > Self::WORKING).collect();
        working.sort_unstable_by(f32::total_cmp);
        let at = |share: f64| {
            let place = (working.len().saturating_sub(1) as f64 * share).round() as usize;
            Db(working.get(place).copied().map_or(0.0, f64::from))
        };
        let over = tenths.iter().filter(|db| **db > 3.0).count() as f64;
        // Of fewer hits than one a second the missing ones lose nothing: one in 20 s does not decide.
        let missing = (tenths.len() / Self::FEWEST).saturating_sub(working.len());
        let all = working.len() + missing;
        let place = (all.saturating_sub(1) as f64 * 0.95).round() as usize;
        let steady = place.checked_sub(missing).and_then(|place| working.get(place)).copied().map_or(0.0, f64::from);
        Self {
            median: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            most: at(1.0),
            over_3: over / tenths.len().max(1) as f64,
            steady: Db(steady),
        }
    }
}

impl MaterialWeights {
    /// One kind alone.
    #[must_use]
    pub fn only(kind: Material) -> Self {
        let mut weights = Self::default();
        *weights.of_mut(kind) = 1.0;
        weights
    }

    /// The weight of a kind.
    #[must_use]
    pub fn of(&self, kind: Material) -> f64 {
        match kind {
            Material::Speech => self.speech,
            Material::Classical => self.classical,
            Material::Acoustic => self.acoustic,
            Material::Band => self.band,
            Material::Electronic => self.electronic,
            Material::Mastered => self.mastered,
        }
    }

    fn of_mut(&mut self, kind: Material) -> &mut f64 {
        match kind {
            Material::Speech => &mut self.speech,
            Material::Classical => &mut self.classical,
            Material::Acoustic => &mut self.acoustic,
            Material::Band => &mut self.band,
            Material::Electronic => &mut self.electronic,
            Material::Mastered => &mut self.mastered,
        }
    }

    /// The kind with the largest weight; `None` where nothing is known.
    #[must_use]
    pub fn best(&self) -> Option<(Material, f64)> {
        let all = Material::ALL.map(|kind| (kind, self.of(kind)));
        all.into_iter().filter(|(_, weight)| *weight > 0.0).max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures as they were measured: PLR, onsets, density, spread, tonality, syllables, pulse, sub, presence spread, low correlation.
    fn known(f: [f64; 10]) -> MaterialFigures {
        MaterialFigures {
            peak_to_loudness: Db(f[0]),
            onsets: f[1],
            density: f[2],
            spread: Db(f[3]),
            tonality: f[4],
            syllables: f[5],
            pulse: f[6],
            sub: Db(f[7]),
            presence_spread: Db(f[8]),
            low_correlation: f[9],
            ..MaterialFigures::default()
        }
    }

    const QUARTET: [f64; 10] = [12.3, 0.2, 0.70, 3.3, 0.64, 0.14, 0.11, -28.1, 7.1, 0.5];
    const SPEECH: [f64; 10] = [16.5, 2.7, 0.54, 17.8, 0.58, 0.94, 0.16, -26.5, 12.8, 1.0];
    const TRIO: [f64; 10] = [14.3, 1.0, 0.52, 3.9, 0.55, 0.15, 0.86, -18.7, 5.0, 0.8];
    const BLUES: [f64; 10] = [14.5, 3.4, 0.66, 3.9, 0.19, 0.27, 0.75, -15.0, 6.9, 0.98];
    const DRUMS: [f64; 10] = [18.4, 3.7, 0.36, 5.9, 0.22, 0.30, 0.69, -6.8, 7.3, 0.56];
    const HITS: [f64; 10] = [19.6, 0.8, 0.35, 45.8, 0.25, 1.29, 0.0, -6.6, 41.6, 0.52];
    const METAL: [f64; 10] = [11.4, 3.5, 0.98, 2.2, 0.32, 0.13, 0.84, -9.5, 1.7, 0.96];
    const CLUB: [f64; 10] = [13.6, 3.2, 0.60, 7.6, 0.20, 0.55, 0.55, -3.5, 14.8, 0.97];
    const SPARSE_CLUB: [f64; 10] = [18.5, 3.1, 0.21, 8.2, 0.31, 0.30, 0.73, -7.9, 9.7, 0.74];
    const WIDE_CLUB: [f64; 10] = [26.4, 4.7, 0.30, 6.3, 0.32, 0.71, 0.51, -8.4, 20.1, 0.79];

    #[test]
    fn kinds_are_recognised_by_their_figures() {
        for (figures, kind) in [
            (QUARTET, Material::Classical),
            (SPEECH, Material::Speech),
            (TRIO, Material::Classical),
            (BLUES, Material::Acoustic),
            (DRUMS, Material::Acoustic),
            (HITS, Material::Acoustic),
            (METAL, Material::Band),
            (CLUB, Material::Electronic),
            (SPARSE_CLUB, Material::Electronic),
            (WIDE_CLUB, Material::Electronic),
        ] {
            let found = recognise(known(figures), 0.0, true);
            assert_eq!(found.weights.best().map(|(kind, _)| kind), Some(kind), "{found:?}");
            assert!(found.confidence > 0.3, "{found:?}");
        }
        let pressed = recognise(known([7.5, 3.2, 0.9, 3.0, 0.3, 0.3, 0.5, -4.0, 5.0, 0.9]), 0.0, true);
        assert_eq!(pressed.weights.best().map(|(kind, _)| kind), Some(Material::Mastered));
        assert_eq!(recognise(known(CLUB), 0.0, false).weights.best(), None, "too little to judge");
    }

    #[test]
    fn no_weight_jumps_on_the_way_from_one_kind_to_another() {
        let all = [QUARTET, SPEECH, TRIO, BLUES, DRUMS, HITS, METAL, CLUB, SPARSE_CLUB, WIDE_CLUB];
        for from in all {
            for to in all {
                let at = |t: f64| known(std::array::from_fn(|i| from[i] + t * (to[i] - from[i])));
                let mut last: Option<MaterialWeights> = None;
                for step in 0..=1_000 {
                    let weights = recognise(at(f64::from(step) / 1_000.0), 0.0, true).weights;
                    let sum: f64 = Material::ALL.iter().map(|kind| weights.of(*kind)).sum();
                    assert!((sum - 1.0).abs() < 1e-9);
                    if let Some(last) = last {
                        for kind in Material::ALL {
                            assert!(
                                (weights.of(kind) - last.of(kind)).abs() < 0.08,
                                "{kind} at {step}: {last:?} {weights:?}"
                            );
                        }
                    }
                    last = Some(weights);
                }
            }
        }
    }

    #[test]
    fn hits_are_what_is_lost_where_something_is_lost() {
        let mut tenths = vec![0f32; 200];
        for i in 0..20 {
            tenths[10 * i] = i as f32 * 0.5;
        }
        let hits = super::super::Hits::of(&tenths);
        assert_eq!((hits.median, hits.most), (Db(5.0), Db(9.5)));
        assert!((hits.p90.0 - 8.5).abs() < 0.6 && (hits.p95.0 - 9.0).abs() < 0.6);
        assert!((hits.over_3 - 13.0 / 200.0).abs() < 1e-9);
        // Three stray clicks in a minute do not decide; a hit every two seconds does.
        let mut clicks = vec![0f32; 600];
        clicks.iter_mut().step_by(200).for_each(|v| *v = 9.0);
        assert_eq!((super::super::Hits::of(&clicks).steady, super::super::Hits::of(&clicks).most), (Db(0.0), Db(9.0)));
        clicks.iter_mut().step_by(20).for_each(|v| *v = 9.0);
        assert_eq!(super::super::Hits::of(&clicks).steady, Db(9.0));
        assert_eq!(super::super::Hits::of(&[]), super::super::Hits::default());
    }
}
