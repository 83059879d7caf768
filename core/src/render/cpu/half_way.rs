//! Values half-way between samples, up to twice the rate and back: what `clip` and `saturate` share, as `shaders/include/half_way.wgsl`.

use super::mul_add;
use crate::render::oversample::{CLIP, HALF_TAPS};
use multiversion::{multiversion, target::target_cfg_f};

/// `out[n] = Σ taps[i] · x[n + i]`; `x` holds at least `out.len() + N − 1` samples.
#[multiversion(targets("x86_64+avx2+fma"), dispatcher = "direct")]
pub(super) fn correlate<const N: usize>(x: &[f32], taps: &[f32; N], out: &mut [f32]) {
    if target_cfg_f!(target_feature = "fma") {
        correlate_with::<N, true>(x, taps, out);
    } else {
        correlate_with::<N, false>(x, taps, out);
    }
}

#[expect(clippy::inline_always, reason = "the loops must be compiled with the caller's instruction set")]
#[inline(always)]
fn correlate_with<const N: usize, const FMA: bool>(x: &[f32], taps: &[f32; N], out: &mut [f32]) {
    let done = lanes::<N, 32, FMA>(x, taps, out);
    let done = done + lanes::<N, 8, FMA>(&x[done..], taps, &mut out[done..]);
    lanes::<N, 1, FMA>(&x[done..], taps, &mut out[done..]);
}

/// As many outputs as whole groups of `LANES` give; returns how many.
#[expect(clippy::inline_always, reason = "the loops must be compiled with the caller's instruction set")]
#[inline(always)]
fn lanes<const N: usize, const LANES: usize, const FMA: bool>(x: &[f32], taps: &[f32; N], out: &mut [f32]) -> usize {
    let mut n = 0;
    for out in out.chunks_exact_mut(LANES) {
        let x = &x[n..n + LANES + N - 1];
        let mut sum = [0f32; LANES];
        for (i, h) in taps.iter().enumerate() {
            let x = &x[i..i + LANES];
            for l in 0..LANES {
                sum[l] = mul_add::<FMA>(*h, x[l], sum[l]);
            }
        }
        out.copy_from_slice(&sum);
        n += LANES;
    }
    n
}

/// The values half-way between samples: `out[n]` lies between `x[n + HALF_TAPS − 1]` and `x[n + HALF_TAPS]`.
pub(super) fn between(x: &[f32], out: &mut [f32]) {
    correlate(x, &CLIP.half, out);
}

/// From twice the rate to once: `out[n]` gathers the even value at `n − HALF_TAPS` and the odd ones around it. `even` holds the
/// frames, `odd` the same with `2 · HALF_TAPS` zeros on either side, `out` `2 · HALF_TAPS` more than the frames.
pub(super) fn halve(even: &[f32], odd: &[f32], out: &mut [f32]) {
    // The filter is symmetric: turning it around changes nothing.
    correlate(odd, &CLIP.half, out);
    for (out, even) in out[HALF_TAPS..].iter_mut().zip(even) {
        *out += even;
    }
    for out in out {
        *out *= 0.5;
    }
}
