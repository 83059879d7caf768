//! Condition of the recording: bandwidth, noise, word length.

use crate::Audio;
use crate::bands::ULTRASONIC;
use crate::decode::Source;
use crate::meter::Spectra;
use crate::units::Db;
use rayon::prelude::*;

/// Where the spectrum ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bandwidth {
    /// Highest frequency with content, Hz.
    pub(super) hz: f64,
    /// It ends in a cliff, as a lossy codec's low-pass does.
    pub(super) cliff: bool,
}

/// Smoothing of the spectrum, Hz to either side.
const SMOOTH: f64 = 100.0;
/// A cliff falls by at least this …
const CLIFF: f64 = 25.0;
/// … within this many Hz to either side of it, and what is beyond stays down.
const CLIFF_WIDTH: f64 = 400.0;
/// Where codecs put their low-passes, Hz: 64 kbit/s to 320 kbit/s. Converters and resamplers begin above.
const CODECS: std::ops::RangeInclusive<f64> = 10_000.0..=20_300.0;

/// The highest frequency with content: above the rounding noise of the word length and within 100 dB of the loudest bin.
pub(super) fn bandwidth(spectra: &Spectra, bits: Option<u32>, rate: u32) -> Bandwidth {
    let reach = (SMOOTH / spectra.bin).round().max(1.0) as usize;
    let n = spectra.power.len();
    let smooth: Vec<f64> = (0..n)
        .map(|k| {
            let range = k.saturating_sub(reach)..(k + reach + 1).min(n);
            let len = range.len() as f64;
            10.0 * (spectra.power[range].iter().sum::<f64>() / len).max(1e-18).log10()
        })
        .collect();
    // Rounding to b bits with or without dither makes at most Δ²/4 (TPDF), spread over all bins; 6 dB above that is content.
    let rounding = bits.map_or(-174.0, |b| {
        20.0 * 2f64.powi(1 - b.min(32) as i32).log10() - 6.02 - 10.0 * (n.max(1) as f64).log10() + 6.0
    });
    let loudest = smooth.iter().fold(-180.0f64, |a, &b| a.max(b));
    let floor = rounding.max(loudest - 100.0);
    let nyquist = f64::from(rate) / 2.0;
    let Some(last) = smooth.iter().rposition(|&v| v > floor) else { return Bandwidth::default() };
    let whole = (last as f64 * spectra.bin).min(nyquist);

    // The steepest fall in the codecs' range.
    let width = (CLIFF_WIDTH / spectra.bin).round().max(1.0) as usize;
    let mut best = (0.0, 0);
    for k in width..n.saturating_sub(width) {
        if CODECS.contains(&(k as f64 * spectra.bin)) {
            let fall = smooth[k - width] - smooth[k + width];
            if fall > best.0 {
                best = (fall, k);
            }
        }
    }
    let (fall, k) = best;
    if fall < CLIFF {
        return Bandwidth { hz: whole, cliff: false };
    }
    // From here on `k` is a real place, with `width` bins on both sides.
    let before = smooth[k - width];
    let stays = smooth[k + width..].iter().all(|&v| v < before - 0.8 * CLIFF);
    // Before the cliff there must be music, not the last trickle of a slope, and in the whole octave: a test tone falls steeply too.
    let music = smooth[k / 2..=k - width].iter().all(|&v| v > loudest - 85.0);
    if stays && music {
        Bandwidth { hz: k as f64 * spectra.bin, cliff: true }
    } else {
        Bandwidth { hz: whole, cliff: false }
    }
}

/// Power above [`ULTRASONIC`] against all of it.
pub(super) fn ultrasonic(spectra: &Spectra, rate: u32) -> Db {
    let first = (ULTRASONIC * f64::from(rate) / spectra.bin.max(1e-9)).ceil() as usize;
    let sum = |bins: &[f64]| bins.iter().sum::<f64>();
    let all = sum(&spectra.power);
    let above = spectra.power.get(first..).map_or(0.0, sum);
    Db(if all > 0.0 { Db::from_power(above / all).0.max(-150.0) } else { -150.0 })
}

/// The quietest 0.4 s that are not digital silence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Noise {
    /// dBFS RMS.
    pub(super) level: f64,
    /// It looks like noise, not like a quiet passage: steady, and without tones.
    pub(super) hiss: bool,
    /// Which 0.4 s.
    pub(super) cell: usize,
}

/// Under this there is nothing but dither: digital silence, mean square (−110 dBFS).
const SILENCE: f64 = 1e-11;

pub(super) fn noise(spectra: &Spectra) -> Option<Noise> {
    // The last cell may be partial, and the first window looks at the silence before the track.
    let inner = 1..spectra.cells.len().saturating_sub(1);
    let cell =
        inner.filter(|&c| spectra.cells[c] > SILENCE).min_by(|&a, &b| spectra.cells[a].total_cmp(&spectra.cells[b]))?;
    // A noise that is always there shows in several pauses at the same level; a single one may be the end of a reverberation.
    let alike = (1..spectra.cells.len() - 1)
        .filter(|&c| spectra.cells[c] > SILENCE && spectra.cells[c] < 1.6 * spectra.cells[cell] && hiss(spectra, c))
        .count();
    let level = 10.0 * spectra.cells[cell].log10();
    Some(Noise { level, hiss: alike >= PAUSES, cell })
}

/// Cells of noise that make a finding: 1.2 s.
const PAUSES: usize = 3;

/// Whether a cell is steady and without tones.
fn hiss(spectra: &Spectra, cell: usize) -> bool {
    // Steady: the blocks of the cell within 3 dB of each other, in the bands where 20 ms hold enough of a noise to say so.
    let blocks = cell * 20..(cell + 1) * 20;
    let steady = (2..spectra.matrix.mid.len()).all(|band| {
        let levels =
            blocks.clone().filter_map(|b| Some(spectra.matrix.mid[band].get(b)? + spectra.matrix.side[band].get(b)?));
        let (low, high) = levels.fold((f32::INFINITY, 0.0f32), |(l, h), v| (l.min(v), h.max(v)));
        high < 2.0 * low
    });
    steady && spectra.flatness.get(cell).is_some_and(|&f| f > 0.7)
}

/// Bits that an integer source of up to 24 bits really uses; `None` where the samples are not those of the file.
pub(super) fn effective_bits(audio: &Audio, source: &Source) -> Option<u32> {
    let bits = source.bits.filter(|&b| (1..=24).contains(&b) && !source.float && !source.lossy)?;
    if source.rate != audio.rate {
        return None;
    }
    let scale = 2f32.powi(bits as i32 - 1);
    let used = audio
        .channels
        .par_iter()
        .flat_map(|c| c.par_chunks(1 << 16))
        .map(|x| x.iter().fold(0u32, |a, &v| a | (v * scale) as i32 as u32))
        .reduce(|| 0, |a, b| a | b);
    (used != 0).then(|| bits - used.trailing_zeros().min(bits - 1))
}
