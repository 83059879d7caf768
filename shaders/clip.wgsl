// `clip`: the soft clipper over a tile, at 16 times the rate in two stages, of the samples under their gain. Only places within the marked
// blocks are bent; the filters of the way back carry it into the blocks around, which have tiles, too. It reads the samples before the
// gain and writes the result elsewhere, so that no tile disturbs its neighbours.

@group(0) @binding(4) var<storage, read> signal: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> near: array<u32>;
@group(0) @binding(6) var<storage, read_write> result: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> results: array<f32>;

const TILE: u32 = 256u;
const LANES: u32 = 64u;
/// Frames before the tile at which the samples, the doubled rate and the bent values begin.
const FROM_X: u32 = 72u;
const FROM_DOUBLE: u32 = 40u;
const FROM_BENT: u32 = 36u;
/// Places of the doubled rate that are bent.
const BENT: u32 = 656u;
/// Frames of what is taken off, from 32 before the tile to 32 after it: first at the frames, then half-way after them.
const EXCESS: u32 = 320u;
/// Sum of the magnitudes of the taps of a phase of the second stage, at most.
const GROWTH: f32 = 2.0;

var<workgroup> x: array<vec2<f32>, 404>;
var<workgroup> doubled: array<vec2<f32>, 672>;
var<workgroup> excess: array<vec2<f32>, 640>;
var<workgroup> touched: atomic<u32>;
/// Whether any lane bends anything in this round; all that write it write the same.
var<workgroup> busy: u32;

fn turn(t: vec2<f32>) -> vec2<f32> {
    let inside = clamp(t, vec2<f32>(0.0), vec2<f32>(1.0));
    return inside * inside * inside * (1.0 - 0.5 * inside) + max(t - 1.0, vec2<f32>(0.0));
}

/// Four samples through the taps half-way between samples; a sample is fetched once for four results.
fn half_way(first: u32) -> array<vec2<f32>, 4> {
    var s0 = vec2<f32>(0.0);
    var s1 = vec2<f32>(0.0);
    var s2 = vec2<f32>(0.0);
    var s3 = vec2<f32>(0.0);
    var w0 = x[first];
    var w1 = x[first + 1u];
    var w2 = x[first + 2u];
    for (var q = 0u; q < 16u; q++) {
        let h = filters[HALF + q];
        let at = first + 3u + 4u * q;
        let w3 = x[at];
        let w4 = x[at + 1u];
        let w5 = x[at + 2u];
        let w6 = x[at + 3u];
        s0 += h.x * w0 + h.y * w1 + h.z * w2 + h.w * w3;
        s1 += h.x * w1 + h.y * w2 + h.z * w3 + h.w * w4;
        s2 += h.x * w2 + h.y * w3 + h.z * w4 + h.w * w5;
        s3 += h.x * w3 + h.y * w4 + h.z * w5 + h.w * w6;
        w0 = w4;
        w1 = w5;
        w2 = w6;
    }
    return array<vec2<f32>, 4>(s0, s1, s2, s3);
}

/// The same on the way back: the filter is symmetric.
fn halve(first: u32) -> array<vec2<f32>, 4> {
    var s0 = vec2<f32>(0.0);
    var s1 = vec2<f32>(0.0);
    var s2 = vec2<f32>(0.0);
    var s3 = vec2<f32>(0.0);
    var w0 = excess[EXCESS + first];
    var w1 = excess[EXCESS + first + 1u];
    var w2 = excess[EXCESS + first + 2u];
    for (var q = 0u; q < 16u; q++) {
        let h = filters[HALF + q];
        let at = EXCESS + first + 3u + 4u * q;
        let w3 = excess[at];
        let w4 = excess[at + 1u];
        let w5 = excess[at + 2u];
        let w6 = excess[at + 3u];
        s0 += h.x * w0 + h.y * w1 + h.z * w2 + h.w * w3;
        s1 += h.x * w1 + h.y * w2 + h.z * w3 + h.w * w4;
        s2 += h.x * w2 + h.y * w3 + h.z * w4 + h.w * w5;
        s3 += h.x * w3 + h.y * w4 + h.z * w5 + h.w * w6;
        w0 = w4;
        w1 = w5;
        w2 = w6;
    }
    return array<vec2<f32>, 4>(s0, s1, s2, s3);
}

/// Adds what a bent place gives to one of the sixteen places around it. All lanes take the same step at a time, so no two meet.
fn spread(place: u32, tap: u32, value: vec2<f32>) {
    workgroupBarrier();
    let e = i32(place + tap) - 15;
    if place < BENT && e >= 0 && e < i32(2u * EXCESS) {
        excess[(u32(e) & 1u) * EXCESS + (u32(e) >> 1u)] += value;
    }
}

@compute @workgroup_size(64)
fn clip(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = place(group, groups);
    if n >= launch.count {
        return;
    }
    sign(lane);
    let item = items[launch.first + n];
    let track = item.track;
    let frames = i32(tracks[track].frames);
    let base = tracks[track].store - launch.window;
    let hop = tracks[track].hop;
    let blocks = tracks[track].blocks;
    let count = (tracks[track].frames + hop - 1u) / hop;
    for (var i = lane; i < 404u; i += LANES) {
        let frame = item.at + i32(i) - i32(FROM_X);
        var z = vec2<f32>(0.0);
        if frame >= 0 && frame < frames && i < 400u {
            z = signal[u32(base + frame)] * gain_at(blocks, u32(frame), hop, count);
        }
        x[i] = z;
    }
    for (var i = lane; i < 640u; i += LANES) {
        excess[i] = vec2<f32>(0.0);
    }
    if lane == 0u {
        atomicStore(&touched, 0u);
    }
    workgroupBarrier();
    for (var i = 4u * lane; i < 336u; i += 4u * LANES) {
        // Half-way after frame i of the doubled range: the samples from 31 before it to 32 after it.
        let between = half_way(i + FROM_X - FROM_DOUBLE + 1u - HALF_TAPS);
        let at = i + FROM_X - FROM_DOUBLE;
        doubled[2u * i] = x[at];
        doubled[2u * i + 1u] = between[0];
        doubled[2u * i + 2u] = x[at + 1u];
        doubled[2u * i + 3u] = between[1];
        doubled[2u * i + 4u] = x[at + 2u];
        doubled[2u * i + 5u] = between[2];
        doubled[2u * i + 6u] = x[at + 3u];
        doubled[2u * i + 7u] = between[3];
    }
    workgroupBarrier();
    let begin = tracks[track].clip_begin;
    let width = tracks[track].clip_width;
    let weight = tracks[track].clip_weight * width / f32(WIDE_PHASES);
    for (var round = 0u; round < BENT; round += LANES) {
        if lane == 0u {
            busy = 0u;
        }
        workgroupBarrier();
        let i = round + lane;
        let frame = item.at + i32(i >> 1u) - i32(FROM_BENT);
        var left0 = vec4<f32>(0.0);
        var left1 = vec4<f32>(0.0);
        var left2 = vec4<f32>(0.0);
        var left3 = vec4<f32>(0.0);
        var right0 = vec4<f32>(0.0);
        var right1 = vec4<f32>(0.0);
        var right2 = vec4<f32>(0.0);
        var right3 = vec4<f32>(0.0);
        if i < BENT && frame >= 0 && frame < frames && near[blocks + u32(frame) / hop] != 0u {
            let at = i + 2u * (FROM_DOUBLE - FROM_BENT) + 1u - WIDE_TAPS;
            let d0 = doubled[at];
            let d1 = doubled[at + 1u];
            let d2 = doubled[at + 2u];
            let d3 = doubled[at + 3u];
            let d4 = doubled[at + 4u];
            let d5 = doubled[at + 5u];
            let d6 = doubled[at + 6u];
            let d7 = doubled[at + 7u];
            let d8 = doubled[at + 8u];
            let d9 = doubled[at + 9u];
            let d10 = doubled[at + 10u];
            let d11 = doubled[at + 11u];
            let d12 = doubled[at + 12u];
            let d13 = doubled[at + 13u];
            let d14 = doubled[at + 14u];
            let d15 = doubled[at + 15u];
            let most = max(
                max(max(max(abs(d0), abs(d1)), max(abs(d2), abs(d3))), max(max(abs(d4), abs(d5)), max(abs(d6), abs(d7)))),
                max(max(max(abs(d8), abs(d9)), max(abs(d10), abs(d11))), max(max(abs(d12), abs(d13)), max(abs(d14), abs(d15)))),
            );
            // No phase makes more than `GROWTH` of its samples: where that stays below the knee, nothing is taken off.
            let phases = select(0u, WIDE_PHASES, GROWTH * max(most.x, most.y) > begin.x);
            if phases > 0u {
                busy = 1u;
            }
            for (var phase = 0u; phase < phases; phase++) {
                let h0 = filters[WIDE + 4u * phase];
                let h1 = filters[WIDE + 4u * phase + 1u];
                let h2 = filters[WIDE + 4u * phase + 2u];
                let h3 = filters[WIDE + 4u * phase + 3u];
                let value = h0.x * d0 + h0.y * d1 + h0.z * d2 + h0.w * d3
                    + h1.x * d4 + h1.y * d5 + h1.z * d6 + h1.w * d7
                    + h2.x * d8 + h2.y * d9 + h2.z * d10 + h2.w * d11
                    + h3.x * d12 + h3.y * d13 + h3.z * d14 + h3.w * d15;
                let size = abs(value);
                let off = max(
                    weight.x * turn((size - begin.x) / width.x) + weight.y * turn((size - begin.y) / width.y),
                    vec2<f32>(0.0),
                );
                let taken = select(off, -off, value < vec2<f32>(0.0));
                // The filters of the way up, turned around.
                left0 += h0 * taken.x;
                left1 += h1 * taken.x;
                left2 += h2 * taken.x;
                left3 += h3 * taken.x;
                right0 += h0 * taken.y;
                right1 += h1 * taken.y;
                right2 += h2 * taken.y;
                right3 += h3 * taken.y;
            }
        }
        if workgroupUniformLoad(&busy) != 0u {
            spread(i, 0u, vec2<f32>(left0.x, right0.x));
            spread(i, 1u, vec2<f32>(left0.y, right0.y));
            spread(i, 2u, vec2<f32>(left0.z, right0.z));
            spread(i, 3u, vec2<f32>(left0.w, right0.w));
            spread(i, 4u, vec2<f32>(left1.x, right1.x));
            spread(i, 5u, vec2<f32>(left1.y, right1.y));
            spread(i, 6u, vec2<f32>(left1.z, right1.z));
            spread(i, 7u, vec2<f32>(left1.w, right1.w));
            spread(i, 8u, vec2<f32>(left2.x, right2.x));
            spread(i, 9u, vec2<f32>(left2.y, right2.y));
            spread(i, 10u, vec2<f32>(left2.z, right2.z));
            spread(i, 11u, vec2<f32>(left2.w, right2.w));
            spread(i, 12u, vec2<f32>(left3.x, right3.x));
            spread(i, 13u, vec2<f32>(left3.y, right3.y));
            spread(i, 14u, vec2<f32>(left3.z, right3.z));
            spread(i, 15u, vec2<f32>(left3.w, right3.w));
        }
    }
    workgroupBarrier();
    let first = 4u * lane;
    if first < item.count {
        // Back to the rate: the half-way values from 32 before a frame to 31 after it.
        let back = halve(first);
        for (var j = 0u; j < 4u; j++) {
            let at = first + j;
            if at < item.count {
                let frame = u32(item.at) + at;
                let sample = x[at + FROM_X];
                result[u32(base + i32(frame))] = sample - 0.5 * (excess[at + 32u] + back[j]);
                if near[blocks + frame / hop] != 0u {
                    let size = abs(sample);
                    let felt = tracks[track].felt;
                    let clipped = u32(size.x > felt) + u32(size.y > felt);
                    if clipped > 0u {
                        atomicAdd(&touched, clipped);
                    }
                }
            }
        }
    }
    workgroupBarrier();
    if lane == 0u {
        results[item.slot] = f32(atomicLoad(&touched));
    }
}
