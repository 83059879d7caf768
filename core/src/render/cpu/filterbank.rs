//! `filterbank`: the bands of a block beside its tone-filtered signal, all from one forward transform.

use super::fir::Overlap;
use crate::Audio;
use crate::render::design::ShapeDesign;
use multiversion::multiversion;
use realfft::num_complex::Complex;

/// `[band]` mid and side of the acting bands of `design` over the whole mix, after its tone filter: the kernel alone, as
/// [`crate::render::reference::filterbank`] is.
#[must_use]
pub fn filterbank(audio: &Audio, design: &ShapeDesign) -> Vec<[Vec<f32>; 2]> {
    let bank = Bank::new(design);
    let mut out: Vec<[Vec<f32>; 2]> = design.bands.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    let mut rows = Rows::default();
    for start in (0..audio.frames()).step_by(bank.step()) {
        bank.run(audio, start, &mut rows);
        let inside = bank.step().min(audio.frames() - start);
        for (index, band) in out.iter_mut().enumerate() {
            for (channel, band) in band.iter_mut().enumerate() {
                band.extend_from_slice(&bank.band(&rows, channel, index)[..inside]);
            }
        }
    }
    out
}

/// The filters of a design as spectra, and the layout of a block.
pub(super) struct Bank {
    overlap: Overlap,
    /// `[channel][filter][bin]`: the tone filter, where there is one, then each computed band times the tone filter; scaled by 1/points.
    spectra: [Vec<Vec<Complex<f32>>>; 2],
    toned: bool,
    /// The last band is what the others leave of `x`.
    derived: bool,
    bands: usize,
}

/// The filtered signals of one block: `[channel]`, rows of `points` values, the block's frames from `before` on.
#[derive(Default)]
pub(super) struct Rows {
    signal: [Vec<f32>; 2],
}

impl Bank {
    pub(super) fn new(design: &ShapeDesign) -> Self {
        let overlap = Overlap::new(design);
        let derived = design.is_complete();
        let computed = design.bands.len() - usize::from(derived);
        let bands = overlap.spectra(design.bands[..computed].iter().map(|band| &band.fir));
        let tone = design.tone.as_ref().map(|tone| overlap.spectra([&tone.mid, &tone.side]));
        let spectra = [0, 1].map(|channel| {
            let tone = tone.as_ref().map(|tone| &tone[channel]);
            let scaled = |value: Complex<f64>| overlap.scaled(value);
            let toned = |band: &Vec<Complex<f64>>| match tone {
                Some(tone) => band.iter().zip(tone).map(|(b, t)| scaled(b * t)).collect(),
                None => band.iter().copied().map(scaled).collect(),
            };
            let direct = tone.map(|tone| tone.iter().copied().map(scaled).collect());
            direct.into_iter().chain(bands.iter().map(toned)).collect()
        });
        Self { overlap, spectra, toned: tone.is_some(), derived, bands: design.bands.len() }
    }

    /// Frames a block yields; whole hops.
    pub(super) fn step(&self) -> usize {
        self.overlap.step
    }

    /// Filters the block that begins at frame `start`: both channels, `x` and all bands.
    pub(super) fn run(&self, audio: &Audio, start: usize, rows: &mut Rows) {
        let [mid, side] = &mut rows.signal;
        rayon::join(|| self.channel(audio, start, 0, mid), || self.channel(audio, start, 1, side));
    }

    /// The tone-filtered signal of a block, or `None` where it is the audio itself.
    pub(super) fn direct<'a>(&self, rows: &'a Rows, channel: usize) -> Option<&'a [f32]> {
        self.toned.then(|| self.row(&rows.signal[channel], 0))
    }

    /// Band `index` (among the acting ones) of a block.
    pub(super) fn band<'a>(&self, rows: &'a Rows, channel: usize, index: usize) -> &'a [f32] {
        self.row(&rows.signal[channel], index + usize::from(self.toned))
    }

    fn row<'a>(&self, signal: &'a [f32], row: usize) -> &'a [f32] {
        &signal[row * self.overlap.points + self.overlap.before..][..self.overlap.step]
    }

    fn channel(&self, audio: &Audio, start: usize, channel: usize, signal: &mut Vec<f32>) {
        let Overlap { points, step, before, .. } = self.overlap;
        let count = usize::from(self.toned) + self.bands;
        // Poison: a value that no transform writes is never silently used.
        signal.resize(count * points, f32::NAN);
        if self.overlap.filter(audio, start, channel, &self.spectra[channel], signal) {
            if self.derived {
                let (others, rest) = signal.split_at_mut((count - 1) * points);
                let rest = &mut rest[before..][..step];
                let first = usize::from(self.toned);
                if self.toned {
                    rest.copy_from_slice(self.row(others, 0));
                } else {
                    self.overlap.unfiltered(audio, start, channel, rest);
                }
                for row in first..count - 1 {
                    subtract(rest, self.row(others, row));
                }
            }
            // What lies beyond the end of the track is not part of any level.
            let inside = audio.frames().saturating_sub(start);
            if inside < step {
                for row in signal.chunks_exact_mut(points) {
                    row[before + inside..].fill(0.0);
                }
            }
        } else {
            signal.fill(0.0);
        }
    }
}

/// `out −= x`.
#[multiversion(targets("x86_64+avx2+fma"))]
fn subtract(out: &mut [f32], x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out -= x;
    }
}
