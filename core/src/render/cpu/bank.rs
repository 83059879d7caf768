//! `fir` and `filterbank` by overlap-save: one forward transform per block and channel, one inverse per filter.

use super::loops;
use crate::Audio;
use crate::render::design::{Fir, ShapeDesign, rate_scale};
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::{Arc, Mutex, PoisonError};

/// Points of a transform at 44.1 and 48 kHz.
const POINTS: usize = 65_536;

/// The filters of a design as spectra, and the layout of a block.
pub(super) struct Bank {
    points: usize,
    /// Frames a block yields; whole hops.
    pub(super) step: usize,
    /// Frames of history a block needs. Smaller than `step`: blocks may be overwritten one block late.
    pub(super) before: usize,
    /// `[channel][filter][bin]`: the tone filter, where there is one, then each computed band times the tone filter; scaled by 1/points.
    spectra: [Vec<Vec<Complex<f32>>>; 2],
    toned: bool,
    /// The last band is what the others leave of `x`.
    derived: bool,
    bands: usize,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    workshops: Mutex<Vec<Workshop>>,
}

/// Scratch of one running transform.
struct Workshop {
    segment: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    product: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

/// The filtered signals of one block: `[channel]`, rows of `points` values, the block's frames from `before` on.
#[derive(Default)]
pub(super) struct Rows {
    signal: [Vec<f32>; 2],
}

impl Bank {
    pub(super) fn new(design: &ShapeDesign) -> Self {
        let points = POINTS * rate_scale(design.rate);
        let mut planner = RealFftPlanner::<f64>::new();
        let mut spectrum = |fir: &Fir| {
            let mut circle = vec![0.0; points];
            for (i, tap) in fir.taps.iter().enumerate() {
                circle[(points + i - fir.zero) % points] = *tap;
            }
            let plan = planner.plan_fft_forward(points);
            let mut spectrum = plan.make_output_vec();
            // The only error is a wrong length, and these are the plan's own.
            let _ = plan.process(&mut circle, &mut spectrum);
            spectrum
        };
        let derived = design.is_complete();
        let computed = design.bands.len() - usize::from(derived);
        let bands: Vec<_> = design.bands[..computed].iter().map(|band| spectrum(&band.fir)).collect();
        let tone = design.tone.as_ref().map(|tone| [spectrum(&tone.mid), spectrum(&tone.side)]);
        let spectra = [0, 1].map(|channel| {
            let tone = tone.as_ref().map(|tone| &tone[channel]);
            let scaled = |value: Complex<f64>| {
                let value = value / points as f64;
                Complex::new(value.re as f32, value.im as f32)
            };
            let toned = |band: &Vec<Complex<f64>>| match tone {
                Some(tone) => band.iter().zip(tone).map(|(b, t)| scaled(b * t)).collect(),
                None => band.iter().copied().map(scaled).collect(),
            };
            let direct = tone.map(|tone| tone.iter().copied().map(scaled).collect());
            direct.into_iter().chain(bands.iter().map(toned)).collect()
        });

        let reach = |of: fn(&Fir) -> usize| {
            let tone = design.tone.as_ref().map_or(0, |tone| of(&tone.mid).max(of(&tone.side)));
            tone + design.bands.iter().map(|band| of(&band.fir)).max().unwrap_or(0)
        };
        let (before, ahead) = (reach(Fir::behind), reach(Fir::ahead));
        let step = (points - before - ahead) / design.hop * design.hop;
        let mut planner = RealFftPlanner::<f32>::new();
        Self {
            points,
            step,
            before,
            spectra,
            toned: tone.is_some(),
            derived,
            bands: design.bands.len(),
            forward: planner.plan_fft_forward(points),
            inverse: planner.plan_fft_inverse(points),
            workshops: Mutex::default(),
        }
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
        &signal[row * self.points + self.before..][..self.step]
    }

    fn channel(&self, audio: &Audio, start: usize, channel: usize, signal: &mut Vec<f32>) {
        let count = usize::from(self.toned) + self.bands;
        // Poison: a value that no transform writes is never silently used.
        signal.resize(count * self.points, f32::NAN);
        let mut workshop = self.workshop();
        let Workshop { segment, spectrum, product, scratch } = &mut workshop;
        if self.load(audio, start, channel, segment) {
            // Wrong lengths are the only errors of a forward transform, and the buffers are the plan's own; the inverse also wants
            // real values at 0 Hz and Nyquist, which the product of two such spectra has.
            let _ = self.forward.process_with_scratch(segment, spectrum, scratch);
            for (filter, row) in self.spectra[channel].iter().zip(signal.chunks_exact_mut(self.points)) {
                loops::multiply(spectrum, filter, product);
                let _ = self.inverse.process_with_scratch(product, row, scratch);
            }
            if self.derived {
                let (others, rest) = signal.split_at_mut((count - 1) * self.points);
                let rest = &mut rest[self.before..][..self.step];
                let first = usize::from(self.toned);
                if self.toned {
                    rest.copy_from_slice(self.row(others, 0));
                } else {
                    self.load(audio, start, channel, segment);
                    rest.copy_from_slice(&segment[self.before..][..self.step]);
                }
                for row in first..count - 1 {
                    loops::subtract(rest, self.row(others, row));
                }
            }
            // What lies beyond the end of the track is not part of any level.
            let inside = audio.frames().saturating_sub(start);
            if inside < self.step {
                for row in signal.chunks_exact_mut(self.points) {
                    row[self.before + inside..].fill(0.0);
                }
            }
        } else {
            signal.fill(0.0);
        }
        self.workshops.lock().unwrap_or_else(PoisonError::into_inner).push(workshop);
    }

    /// Fills `segment` with mid or side from `start − before` on, silence outside of the track; `false` where all of it is zero.
    fn load(&self, audio: &Audio, start: usize, channel: usize, segment: &mut [f32]) -> bool {
        let [left, right] = &audio.channels;
        let skip = self.before.saturating_sub(start);
        let from = (start + skip).saturating_sub(self.before).min(left.len());
        let length = (segment.len() - skip).min(left.len() - from);
        segment[..skip].fill(0.0);
        segment[skip + length..].fill(0.0);
        let inside = &mut segment[skip..][..length];
        let sign = if channel == 0 { 1.0 } else { -1.0 };
        loops::mid_side(&left[from..][..length], &right[from..][..length], sign, inside);
        inside.iter().any(|sample| *sample != 0.0)
    }

    fn workshop(&self) -> Workshop {
        let free = self.workshops.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| Workshop {
            segment: self.forward.make_input_vec(),
            spectrum: self.forward.make_output_vec(),
            product: self.inverse.make_input_vec(),
            scratch: vec![Complex::default(); self.forward.get_scratch_len().max(self.inverse.get_scratch_len())],
        })
    }
}
