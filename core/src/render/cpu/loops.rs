//! The hot loops of `shape`, compiled once more for AVX2 and FMA.

use multiversion::multiversion;
use realfft::num_complex::Complex;

/// Frames mixed at a time; every hop is a multiple of it.
pub(super) const LANE: usize = 32;

/// Mid and side of left and right.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn mid_side(left: &[f32], right: &[f32], sign: f32, out: &mut [f32]) {
    for ((out, l), r) in out.iter_mut().zip(left).zip(right) {
        *out = 0.5 * (l + sign * r);
    }
}

/// `out = x · h`, bin by bin.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn multiply(x: &[Complex<f32>], h: &[Complex<f32>], out: &mut [Complex<f32>]) {
    for ((out, x), h) in out.iter_mut().zip(x).zip(h) {
        *out = Complex::new(x.re * h.re - x.im * h.im, x.re * h.im + x.im * h.re);
    }
}

/// `out −= x`.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn subtract(out: &mut [f32], x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out -= x;
    }
}

/// Sums of mid² + side² over each hop: plain, and weighted by `cos` and `sin` (one hop long). `mid` and `side` are whole hops.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn hop_sums(mid: &[f32], side: &[f32], cos: &[f32], sin: &[f32], out: &mut [[f32; 3]]) {
    let hop = cos.len();
    for ((out, mid), side) in out.iter_mut().zip(mid.chunks_exact(hop)).zip(side.chunks_exact(hop)) {
        let mut sums = [[0f32; 8]; 3];
        for (((m, s), c), n) in
            mid.chunks_exact(8).zip(side.chunks_exact(8)).zip(cos.chunks_exact(8)).zip(sin.chunks_exact(8))
        {
            for i in 0..8 {
                let energy = m[i] * m[i] + s[i] * s[i];
                sums[0][i] += energy;
                sums[1][i] += energy * c[i];
                sums[2][i] += energy * n[i];
            }
        }
        *out = sums.map(|lanes| {
            let fours = [lanes[0] + lanes[4], lanes[1] + lanes[5], lanes[2] + lanes[6], lanes[3] + lanes[7]];
            (fours[0] + fours[2]) + (fours[1] + fours[3])
        });
    }
}

/// `Σ sums · weights` in `f64`, four accumulators.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn weigh(sums: &[[f32; 3]], weights: &[[f32; 3]]) -> f64 {
    let mut total = [0f64; 3];
    for (sums, weights) in sums.iter().zip(weights) {
        for i in 0..3 {
            total[i] += f64::from(sums[i]) * f64::from(weights[i]);
        }
    }
    total[0] + total[1] + total[2]
}

/// `mid += (g − 1)·band mid`, likewise side, over one lane; the excess gain is the cubic `c` at `t`.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn add_band(
    mid: &mut [f32; LANE],
    side: &mut [f32; LANE],
    band: [&[f32; LANE]; 2],
    c: [f32; 4],
    t: &[f32; LANE],
) {
    for i in 0..LANE {
        let excess = c[0] + t[i] * (c[1] + t[i] * (c[2] + t[i] * c[3]));
        mid[i] += excess * band[0][i];
        side[i] += excess * band[1][i];
    }
}

/// Left and right of mid and side.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn left_right(mid: &[f32], side: &[f32], left: &mut [f32], right: &mut [f32]) {
    for (((m, s), l), r) in mid.iter().zip(side).zip(left).zip(right) {
        *l = m + s;
        *r = m - s;
    }
}

/// Adds what mid and side gained to left and right.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn add_left_right(mid: &[f32], side: &[f32], left: &mut [f32], right: &mut [f32]) {
    for (((m, s), l), r) in mid.iter().zip(side).zip(left).zip(right) {
        *l += m + s;
        *r += m - s;
    }
}
