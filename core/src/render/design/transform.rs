//! From a spectrum to time, for designs.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

/// Inverse real transform, scaled by 1/n.
pub(super) fn inverse(planner: &mut RealFftPlanner<f64>, spectrum: &mut [Complex<f64>], n: usize) -> Vec<f64> {
    spectrum[0].im = 0.0;
    spectrum[n / 2].im = 0.0;
    let mut time = vec![0.0; n];
    // The only errors are wrong lengths and imaginary parts at 0 Hz and Nyquist: neither can be.
    let _ = planner.plan_fft_inverse(n).process(spectrum, &mut time);
    for t in &mut time {
        *t /= n as f64;
    }
    time
}
