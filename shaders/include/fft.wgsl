// A complex Stockham transform of 4096 points by one workgroup of 256: three passes of radix 16 in registers, with two exchanges through
// workgroup memory between them. Lane `t` holds the points t + 256·r before and after. Twiddles come from a table of the host.

const POINTS: u32 = 4096u;
const STEP: u32 = 2048u;

@group(0) @binding(3) var<storage, read> twiddles: array<vec2<f32>>;
var<workgroup> cells: array<vec2<f32>, 4096>;

fn times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

/// a · conj(b)… with b conjugated by the caller's choice of signs.
fn times_conjugate(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x + a.y * b.y, a.y * b.x - a.x * b.y);
}

fn conjugate(a: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x, -a.y);
}

/// Spreads the cells over the banks: no two lanes of a pass meet.
fn cell(i: u32) -> u32 {
    return i ^ ((i >> 4u) & 15u);
}

fn radix4(v: ptr<function, array<vec2<f32>, 16>>, a: u32, b: u32, c: u32, d: u32) {
    let s = (*v)[a] + (*v)[c];
    let t = (*v)[a] - (*v)[c];
    let u = (*v)[b] + (*v)[d];
    let w = (*v)[b] - (*v)[d];
    // −j · w
    let x = vec2<f32>(w.y, -w.x);
    (*v)[a] = s + u;
    (*v)[b] = t + x;
    (*v)[c] = s - u;
    (*v)[d] = t - x;
}

/// Sixteen points; the result k stands at `turned(k)`.
fn radix16(v: ptr<function, array<vec2<f32>, 16>>) {
    radix4(v, 0u, 4u, 8u, 12u);
    radix4(v, 1u, 5u, 9u, 13u);
    radix4(v, 2u, 6u, 10u, 14u);
    radix4(v, 3u, 7u, 11u, 15u);
    let a = vec2<f32>(0.92387953251128674, -0.38268343236508977);
    let b = vec2<f32>(0.70710678118654752, -0.70710678118654752);
    let c = vec2<f32>(0.38268343236508977, -0.92387953251128674);
    (*v)[5] = times((*v)[5], a);
    (*v)[6] = times((*v)[6], b);
    (*v)[7] = times((*v)[7], c);
    (*v)[9] = times((*v)[9], b);
    (*v)[10] = vec2<f32>((*v)[10].y, -(*v)[10].x);
    (*v)[11] = times((*v)[11], vec2<f32>(-b.x, b.y));
    (*v)[13] = times((*v)[13], c);
    (*v)[14] = times((*v)[14], vec2<f32>(-b.x, b.y));
    (*v)[15] = times((*v)[15], vec2<f32>(-a.x, -a.y));
    radix4(v, 0u, 1u, 2u, 3u);
    radix4(v, 4u, 5u, 6u, 7u);
    radix4(v, 8u, 9u, 10u, 11u);
    radix4(v, 12u, 13u, 14u, 15u);
}

/// Puts the results of a pass into their cells, in their order. Written out, like all that touches the sixteen points: a place that a
/// loop counts is no register to some compilers.
fn put(v: ptr<function, array<vec2<f32>, 16>>, first: u32, step: u32) {
    cells[cell(first)] = (*v)[0];
    cells[cell(first + step)] = (*v)[4];
    cells[cell(first + 2u * step)] = (*v)[8];
    cells[cell(first + 3u * step)] = (*v)[12];
    cells[cell(first + 4u * step)] = (*v)[1];
    cells[cell(first + 5u * step)] = (*v)[5];
    cells[cell(first + 6u * step)] = (*v)[9];
    cells[cell(first + 7u * step)] = (*v)[13];
    cells[cell(first + 8u * step)] = (*v)[2];
    cells[cell(first + 9u * step)] = (*v)[6];
    cells[cell(first + 10u * step)] = (*v)[10];
    cells[cell(first + 11u * step)] = (*v)[14];
    cells[cell(first + 12u * step)] = (*v)[3];
    cells[cell(first + 13u * step)] = (*v)[7];
    cells[cell(first + 14u * step)] = (*v)[11];
    cells[cell(first + 15u * step)] = (*v)[15];
}

/// Fetches the points of a pass and turns point r by r times the angle of `step`: four twiddles from the table, the others are products.
fn fetch(v: ptr<function, array<vec2<f32>, 16>>, lane: u32, step: u32) {
    let w1 = twiddles[step];
    let w2 = twiddles[2u * step];
    let w4 = twiddles[4u * step];
    let w8 = twiddles[8u * step];
    let w3 = times(w1, w2);
    let w5 = times(w1, w4);
    let w6 = times(w2, w4);
    let w7 = times(w3, w4);
    (*v)[0] = cells[cell(lane)];
    (*v)[1] = times(cells[cell(lane + 256u)], w1);
    (*v)[2] = times(cells[cell(lane + 512u)], w2);
    (*v)[3] = times(cells[cell(lane + 768u)], w3);
    (*v)[4] = times(cells[cell(lane + 1024u)], w4);
    (*v)[5] = times(cells[cell(lane + 1280u)], w5);
    (*v)[6] = times(cells[cell(lane + 1536u)], w6);
    (*v)[7] = times(cells[cell(lane + 1792u)], w7);
    (*v)[8] = times(cells[cell(lane + 2048u)], w8);
    (*v)[9] = times(cells[cell(lane + 2304u)], times(w8, w1));
    (*v)[10] = times(cells[cell(lane + 2560u)], times(w8, w2));
    (*v)[11] = times(cells[cell(lane + 2816u)], times(w8, w3));
    (*v)[12] = times(cells[cell(lane + 3072u)], times(w8, w4));
    (*v)[13] = times(cells[cell(lane + 3328u)], times(w8, w5));
    (*v)[14] = times(cells[cell(lane + 3584u)], times(w8, w6));
    (*v)[15] = times(cells[cell(lane + 3840u)], times(w8, w7));
}

/// The transform in place.
fn transform(v: ptr<function, array<vec2<f32>, 16>>, lane: u32) {
    radix16(v);
    workgroupBarrier();
    put(v, lane * 16u, 1u);
    workgroupBarrier();
    let near = lane & 15u;
    fetch(v, lane, near * 16u);
    radix16(v);
    workgroupBarrier();
    put(v, (lane >> 4u) * 256u + near, 16u);
    workgroupBarrier();
    fetch(v, lane, lane);
    radix16(v);
    *v = array<vec2<f32>, 16>(
        (*v)[0], (*v)[4], (*v)[8], (*v)[12], (*v)[1], (*v)[5], (*v)[9], (*v)[13],
        (*v)[2], (*v)[6], (*v)[10], (*v)[14], (*v)[3], (*v)[7], (*v)[11], (*v)[15],
    );
}

/// The inverse without its factor, by conjugates; the caller conjugates what goes in.
fn transform_back(v: ptr<function, array<vec2<f32>, 16>>, lane: u32) {
    transform(v, lane);
    *v = array<vec2<f32>, 16>(
        conjugate((*v)[0]), conjugate((*v)[1]), conjugate((*v)[2]), conjugate((*v)[3]),
        conjugate((*v)[4]), conjugate((*v)[5]), conjugate((*v)[6]), conjugate((*v)[7]),
        conjugate((*v)[8]), conjugate((*v)[9]), conjugate((*v)[10]), conjugate((*v)[11]),
        conjugate((*v)[12]), conjugate((*v)[13]), conjugate((*v)[14]), conjugate((*v)[15]),
    );
}
