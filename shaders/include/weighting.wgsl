// The K-weighting of ITU-R BS.1770 as the two kernels of `block_energies` run it: the shelf as a transposed direct form, the high-pass
// at 38 Hz as a state-variable filter, which keeps its precision in f32. A recursion over the whole track is cut in stretches of 16
// blocks: the first kernel runs each from silence, the second starts it from what eight stretches before leave, by powers of the
// stretch's transition matrix; what is older has decayed below 10⁻¹⁰.

/// Blocks of a stretch.
const STRETCH: u32 = 16u;
/// Stretches that are remembered.
const MEMORY: u32 = 8u;

@group(0) @binding(3) var<storage, read> weighting: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> signal: array<vec2<f32>>;

/// Left and right of each of the four states.
struct Filter {
    s0: vec2<f32>,
    s1: vec2<f32>,
    s2: vec2<f32>,
    s3: vec2<f32>,
}

/// The coefficients, fetched once and not for every frame.
fn coefficients() -> array<vec4<f32>, 3> {
    return array<vec4<f32>, 3>(weighting[0], weighting[1], weighting[2]);
}

fn step(f: ptr<function, Filter>, c: array<vec4<f32>, 3>, x: vec2<f32>) -> vec2<f32> {
    let y = c[0].x * x + (*f).s0;
    (*f).s0 = c[0].y * x - c[0].w * y + (*f).s1;
    (*f).s1 = c[0].z * x - c[1].x * y;
    let v3 = y - (*f).s3;
    let v1 = c[1].y * (*f).s2 + c[1].z * v3;
    let v2 = (*f).s3 + c[1].z * (*f).s2 + c[1].w * v3;
    (*f).s2 = 2.0 * v1 - (*f).s2;
    (*f).s3 = 2.0 * v2 - (*f).s3;
    return c[2].y * (y - c[2].x * v1 - v2);
}
