//! `fir`: the tone filter by overlap-save, one forward transform per block and channel and one inverse per filter. The filters of the
//! bands go through the same transforms, so that each block is transformed once.

use crate::Audio;
use crate::render::design::{Fir, ShapeDesign, rate_scale};
use multiversion::multiversion;
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::{Arc, Mutex, PoisonError};

/// Points of a transform at 44.1 and 48 kHz.
const POINTS: usize = 65_536;

/// Mid and side of the mix through the tone filter of `design`, as long as what came in: the kernel alone, as
/// [`crate::render::reference::fir`] is; [`Kernels::shape`](crate::render::kernels::Kernels::shape) fuses it with the others.
#[must_use]
pub fn fir(audio: &Audio, design: &ShapeDesign) -> [Vec<f32>; 2] {
    let overlap = Overlap::new(&ShapeDesign { bands: Vec::new(), ..design.clone() });
    let tone = design.tone.as_ref().map(|tone| overlap.spectra([&tone.mid, &tone.side]));
    let mut row = vec![0.0; overlap.points];
    [0, 1].map(|channel| {
        let filter: Option<Vec<_>> =
            tone.as_ref().map(|tone| tone[channel].iter().map(|value| overlap.scaled(*value)).collect());
        let mut out = Vec::with_capacity(audio.frames());
        for start in (0..audio.frames()).step_by(overlap.step) {
            let inside = overlap.before..overlap.before + overlap.step.min(audio.frames() - start);
            match &filter {
                Some(filter) if overlap.filter(audio, start, channel, std::slice::from_ref(filter), &mut row) => {}
                Some(_) => row.fill(0.0),
                None => overlap.unfiltered(audio, start, channel, &mut row[overlap.before..][..overlap.step]),
            }
            out.extend_from_slice(&row[inside]);
        }
        out
    })
}

/// How a track is cut into blocks, and the transforms that filter one.
pub(super) struct Overlap {
    pub(super) points: usize,
    /// Frames a block yields; whole hops.
    pub(super) step: usize,
    /// Frames of history a block needs. Smaller than `step`: blocks may be overwritten one block late.
    pub(super) before: usize,
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

impl Overlap {
    pub(super) fn new(design: &ShapeDesign) -> Self {
        let points = POINTS * rate_scale(design.rate);
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
            forward: planner.plan_fft_forward(points),
            inverse: planner.plan_fft_inverse(points),
            workshops: Mutex::default(),
        }
    }

    /// The spectra of filters, unscaled.
    pub(super) fn spectra<'f>(&self, firs: impl IntoIterator<Item = &'f Fir>) -> Vec<Vec<Complex<f64>>> {
        let plan = RealFftPlanner::<f64>::new().plan_fft_forward(self.points);
        let spectrum = |fir: &Fir| {
            let mut circle = vec![0.0; self.points];
            for (i, tap) in fir.taps.iter().enumerate() {
                circle[(self.points + i - fir.zero) % self.points] = *tap;
            }
            let mut spectrum = plan.make_output_vec();
            // The only error is a wrong length, and these are the plan's own.
            let _ = plan.process(&mut circle, &mut spectrum);
            spectrum
        };
        firs.into_iter().map(spectrum).collect()
    }

    /// A value of such a spectrum as blocks take it: the inverse transform does not divide.
    pub(super) fn scaled(&self, value: Complex<f64>) -> Complex<f32> {
        let value = value / self.points as f64;
        Complex::new(value.re as f32, value.im as f32)
    }

    /// Mid or side of the block that begins at frame `start` through each of `filters`, one row of `signal` after the other; `false`
    /// where the block is silent, and nothing was written.
    pub(super) fn filter(
        &self,
        audio: &Audio,
        start: usize,
        channel: usize,
        filters: &[Vec<Complex<f32>>],
        signal: &mut [f32],
    ) -> bool {
        let mut workshop = self.workshop();
        let Workshop { segment, spectrum, product, scratch } = &mut workshop;
        let sounds = self.load(audio, start, channel, segment);
        if sounds {
            // Wrong lengths are the only errors of a forward transform, and the buffers are the plan's own; the inverse also wants
            // real values at 0 Hz and Nyquist, which the product of two such spectra has.
            let _ = self.forward.process_with_scratch(segment, spectrum, scratch);
            for (filter, row) in filters.iter().zip(signal.chunks_exact_mut(self.points)) {
                multiply(spectrum, filter, product);
                let _ = self.inverse.process_with_scratch(product, row, scratch);
            }
        }
        self.workshops.lock().unwrap_or_else(PoisonError::into_inner).push(workshop);
        sounds
    }

    /// Writes what a block's own frames are before any filter.
    pub(super) fn unfiltered(&self, audio: &Audio, start: usize, channel: usize, out: &mut [f32]) {
        let mut workshop = self.workshop();
        self.load(audio, start, channel, &mut workshop.segment);
        out.copy_from_slice(&workshop.segment[self.before..][..self.step]);
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
        mid_side(&left[from..][..length], &right[from..][..length], sign, inside);
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

/// Mid and side of left and right.
#[multiversion(targets("x86_64+avx2+fma"))]
fn mid_side(left: &[f32], right: &[f32], sign: f32, out: &mut [f32]) {
    for ((out, l), r) in out.iter_mut().zip(left).zip(right) {
        *out = 0.5 * (l + sign * r);
    }
}

/// `out = x · h`, bin by bin.
#[multiversion(targets("x86_64+avx2+fma"))]
fn multiply(x: &[Complex<f32>], h: &[Complex<f32>], out: &mut [Complex<f32>]) {
    for ((out, x), h) in out.iter_mut().zip(x).zip(h) {
        *out = Complex::new(x.re * h.re - x.im * h.im, x.re * h.im + x.im * h.re);
    }
}
