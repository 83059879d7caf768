// `clip`: the soft clipper over a tile, at 16 times the rate in two stages, of the samples under their gain. Only places within the marked
// blocks are bent; the filters of the way back carry it into the blocks around, which have tiles, too. It reads the samples before the
// gain and writes the result elsewhere, so that no tile disturbs its neighbours.

@group(0) @binding(4) var<storage, read> signal: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> near: array<u32>;
@group(0) @binding(6) var<storage, read_write> result: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> results: array<f32>;

const TILE: u32 = 512u;
const LANES: u32 = 64u;
/// Frames before the tile at which the samples, the doubled rate and the bent values begin. A tile begins at a multiple of eight frames.
const FROM_X: u32 = 72u;
const FROM_DOUBLE: u32 = 40u;
const FROM_BENT: u32 = 36u;
/// Frames of the doubled rate that are made.
const DOUBLED: u32 = TILE + 2u * FROM_DOUBLE;
/// Places of the doubled rate that are bent.
const BENT: u32 = 2u * (TILE + 2u * FROM_BENT);
/// Pairs of samples, two of silence, and behind them pairs of what is taken off, from 32 frames before the tile to 32 after it: first at the frames, then
/// half-way after them.
const FILLED: u32 = TILE / 2u + FROM_X;
const SAMPLES: u32 = FILLED + 2u;
const EXCESS: u32 = TILE / 2u + 32u;
/// Sum of the magnitudes of the taps of a phase of the second stage, at most.
const GROWTH: f32 = 2.0;

var<workgroup> pairs: array<vec4<f32>, SAMPLES + 2u * EXCESS>;
/// The doubled rate: each frame and what is half-way after it.
var<workgroup> doubled: array<vec4<f32>, DOUBLED>;
var<workgroup> touched: atomic<u32>;
/// Whether any lane bends anything in this round; all that write it write the same.
var<workgroup> busy: u32;

fn turn(t: vec2<f32>) -> vec2<f32> {
    let inside = clamp(t, vec2<f32>(0.0), vec2<f32>(1.0));
    return inside * inside * inside * (1.0 - 0.5 * inside) + max(t - 1.0, vec2<f32>(0.0));
}

/// What the clipper takes off.
fn bend(value: vec2<f32>, begin: vec2<f32>, width: vec2<f32>, weight: vec2<f32>) -> vec2<f32> {
    let size = abs(value);
    let off = max(
        weight.x * turn((size - begin.x) / width.x) + weight.y * turn((size - begin.y) / width.y),
        vec2<f32>(0.0),
    );
    return select(off, -off, value < vec2<f32>(0.0));
}

/// A phase of the second stage.
struct Phase {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

/// A value from the sixteen samples around it.
fn up(h: Phase, v: ptr<function, array<vec2<f32>, 20>>, j: u32) -> vec2<f32> {
    return h.a.x * (*v)[j] + h.a.y * (*v)[j + 1u] + h.a.z * (*v)[j + 2u] + h.a.w * (*v)[j + 3u]
        + h.b.x * (*v)[j + 4u] + h.b.y * (*v)[j + 5u] + h.b.z * (*v)[j + 6u] + h.b.w * (*v)[j + 7u]
        + h.c.x * (*v)[j + 8u] + h.c.y * (*v)[j + 9u] + h.c.z * (*v)[j + 10u] + h.c.w * (*v)[j + 11u]
        + h.d.x * (*v)[j + 12u] + h.d.y * (*v)[j + 13u] + h.d.z * (*v)[j + 14u] + h.d.w * (*v)[j + 15u];
}

/// The way back: the same filter turned around gives it to the places around.
fn down(h: Phase, v: ptr<function, array<vec2<f32>, 20>>, j: u32, taken: vec2<f32>) {
    (*v)[j] += h.a.x * taken;
    (*v)[j + 1u] += h.a.y * taken;
    (*v)[j + 2u] += h.a.z * taken;
    (*v)[j + 3u] += h.a.w * taken;
    (*v)[j + 4u] += h.b.x * taken;
    (*v)[j + 5u] += h.b.y * taken;
    (*v)[j + 6u] += h.b.z * taken;
    (*v)[j + 7u] += h.b.w * taken;
    (*v)[j + 8u] += h.c.x * taken;
    (*v)[j + 9u] += h.c.y * taken;
    (*v)[j + 10u] += h.c.z * taken;
    (*v)[j + 11u] += h.c.w * taken;
    (*v)[j + 12u] += h.d.x * taken;
    (*v)[j + 13u] += h.d.y * taken;
    (*v)[j + 14u] += h.d.z * taken;
    (*v)[j + 15u] += h.d.w * taken;
}

/// Adds four values from place 4 · `cell` − 16 on. All lanes take the same step at a time, so no two meet.
fn spread(cell: u32, a: vec2<f32>, b: vec2<f32>, c: vec2<f32>, d: vec2<f32>) {
    workgroupBarrier();
    if cell >= 4u && cell < 4u + EXCESS {
        pairs[SAMPLES + cell - 4u] += vec4<f32>(a, c);
        pairs[SAMPLES + EXCESS + cell - 4u] += vec4<f32>(b, d);
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
    for (var i = 2u * lane; i < SAMPLES; i += 2u * LANES) {
        let frame = item.at + i32(2u * i) - i32(FROM_X);
        var z0 = vec2<f32>(0.0);
        var z1 = vec2<f32>(0.0);
        var z2 = vec2<f32>(0.0);
        var z3 = vec2<f32>(0.0);
        if frame >= 0 && frame < frames && i < FILLED {
            let at = u32(base + frame);
            let gain = gains_at(blocks, u32(frame), hop, count);
            // Places after the last frame are read, too, and never used.
            z0 = signal[at] * gain.x;
            z1 = select(z1, signal[at + 1u] * gain.y, frame + 1 < frames);
            z2 = select(z2, signal[at + 2u] * gain.z, frame + 2 < frames);
            z3 = select(z3, signal[at + 3u] * gain.w, frame + 3 < frames);
        }
        pairs[i] = vec4<f32>(z0, z1);
        pairs[i + 1u] = vec4<f32>(z2, z3);
    }
    for (var i = lane; i < 2u * EXCESS; i += LANES) {
        pairs[SAMPLES + i] = vec4<f32>(0.0);
    }
    if lane == 0u {
        atomicStore(&touched, 0u);
    }
    workgroupBarrier();
    for (var i = 8u * lane; i < DOUBLED; i += 8u * LANES) {
        // Half-way after frame i of the doubled range: the samples from 31 before it to 32 after it.
        let between = half_way(i + FROM_X - FROM_DOUBLE - HALF_TAPS);
        let at = (i + FROM_X - FROM_DOUBLE) / 2u;
        let a = pairs[at];
        let b = pairs[at + 1u];
        let c = pairs[at + 2u];
        let d = pairs[at + 3u];
        doubled[i] = vec4<f32>(a.xy, between[1]);
        doubled[i + 1u] = vec4<f32>(a.zw, between[2]);
        doubled[i + 2u] = vec4<f32>(b.xy, between[3]);
        doubled[i + 3u] = vec4<f32>(b.zw, between[4]);
        doubled[i + 4u] = vec4<f32>(c.xy, between[5]);
        doubled[i + 5u] = vec4<f32>(c.zw, between[6]);
        doubled[i + 6u] = vec4<f32>(d.xy, between[7]);
        doubled[i + 7u] = vec4<f32>(d.zw, between[8]);
    }
    workgroupBarrier();
    let begin = tracks[track].clip_begin;
    let width = tracks[track].clip_width;
    let weight = tracks[track].clip_weight * width / f32(WIDE_PHASES);
    // Each lane takes four places, which share their samples and most of what they give back.
    for (var round = 0u; round < BENT; round += 4u * LANES) {
        if lane == 0u {
            busy = 0u;
        }
        workgroupBarrier();
        let i = round + 4u * lane;
        let frame = item.at + i32(i >> 1u) - i32(FROM_BENT);
        var given = array<vec2<f32>, 20>();
        if i < BENT && frame >= 0 && frame < frames && near[blocks + u32(frame) / hop] != 0u {
            let at = i / 2u + FROM_DOUBLE - FROM_BENT - WIDE_TAPS / 2u;
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
            let most = max(
                max(max(max(abs(d0), abs(d1)), max(abs(d2), abs(d3))), max(max(abs(d4), abs(d5)), max(abs(d6), abs(d7)))),
                max(abs(d8), abs(d9)),
            );
            // No phase makes more than `GROWTH` of its samples: where that stays below the knee, nothing is taken off.
            let phases = select(0u, WIDE_PHASES, GROWTH * max(max(most.x, most.y), max(most.z, most.w)) > begin.x);
            if phases > 0u {
                busy = 1u;
            }
            var v = array<vec2<f32>, 20>(
                d0.xy, d0.zw, d1.xy, d1.zw, d2.xy, d2.zw, d3.xy, d3.zw, d4.xy, d4.zw,
                d5.xy, d5.zw, d6.xy, d6.zw, d7.xy, d7.zw, d8.xy, d8.zw, d9.xy, d9.zw,
            );
            // Of the places after the track's last frame nothing is taken.
            let more = select(0.0, 1.0, frame + 1 < frames);
            for (var phase = 0u; phase < phases; phase++) {
                let table = WIDE + 4u * phase;
                let h = Phase(filters[table], filters[table + 1u], filters[table + 2u], filters[table + 3u]);
                down(h, &given, 1u, bend(up(h, &v, 1u), begin, width, weight));
                down(h, &given, 2u, bend(up(h, &v, 2u), begin, width, weight));
                down(h, &given, 3u, more * bend(up(h, &v, 3u), begin, width, weight));
                down(h, &given, 4u, more * bend(up(h, &v, 4u), begin, width, weight));
            }
        }
        if workgroupUniformLoad(&busy) != 0u {
            let cell = i / 4u;
            spread(cell, given[0], given[1], given[2], given[3]);
            spread(cell + 1u, given[4], given[5], given[6], given[7]);
            spread(cell + 2u, given[8], given[9], given[10], given[11]);
            spread(cell + 3u, given[12], given[13], given[14], given[15]);
            spread(cell + 4u, given[16], given[17], given[18], given[19]);
        }
    }
    workgroupBarrier();
    let first = 8u * lane;
    if first < item.count {
        // Back to the rate: the half-way values from 32 before a frame to 31 after it.
        let back = half_way(2u * (SAMPLES + EXCESS) + first);
        let x = (first + FROM_X) / 2u;
        let e = SAMPLES + 16u + first / 2u;
        let report_threshold = tracks[track].report_threshold;
        let to = base + item.at;
        var clipped = 0u;
        clipped += write(item.count, to, first, pairs[x], pairs[e] + vec4<f32>(back[0], back[1]), report_threshold);
        clipped += write(item.count, to, first + 2u, pairs[x + 1u], pairs[e + 1u] + vec4<f32>(back[2], back[3]), report_threshold);
        clipped += write(item.count, to, first + 4u, pairs[x + 2u], pairs[e + 2u] + vec4<f32>(back[4], back[5]), report_threshold);
        clipped += write(item.count, to, first + 6u, pairs[x + 3u], pairs[e + 3u] + vec4<f32>(back[6], back[7]), report_threshold);
        // Eight frames lie in one block.
        if clipped > 0u && near[blocks + (u32(item.at) + first) / hop] != 0u {
            atomicAdd(&touched, clipped);
        }
    }
    workgroupBarrier();
    if lane == 0u {
        results[item.slot] = f32(atomicLoad(&touched));
    }
}

/// Two frames of the result; gives how many of their samples are over `report_threshold`.
fn write(count: u32, origin: i32, first: u32, samples: vec4<f32>, excess: vec4<f32>, report_threshold: f32) -> u32 {
    let at = u32(origin + i32(first));
    let bent = samples - 0.5 * excess;
    let over = vec4<u32>(abs(samples) > vec4<f32>(report_threshold));
    var clipped = 0u;
    if first < count {
        result[at] = bent.xy;
        clipped = over.x + over.y;
    }
    if first + 1u < count {
        result[at + 1u] = bent.zw;
        clipped += over.z + over.w;
    }
    return clipped;
}
