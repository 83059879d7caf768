// `block_peaks`: the highest magnitude of each control block between the samples too. Phases k and n − k of a symmetric filter share
// their even and odd halves: the larger of both is |even| + |odd|. Each lane takes eight frames, so that a sample is fetched once for
// eight. Modes: 0 coarse, 1 coarse with half the phases, 2 fine.

@group(0) @binding(4) var<storage, read> signal: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> results: array<f32>;

/// Frames of a tile, and what the longest filter reaches beyond them.
const TILE: u32 = 512u;
const REACH: u32 = 64u;
const LANES: u32 = 64u;
/// A channel of the tile.
const WIDTH: u32 = TILE + 2u * REACH + 4u;

/// Left, then right.
var<workgroup> tile: array<f32, 2u * WIDTH>;
var<workgroup> best: array<atomic<u32>, 16>;

fn size(even: vec4<f32>, odd: vec4<f32>) -> f32 {
    let both = abs(even) + abs(odd);
    return max(max(both.x, both.y), max(both.z, both.w));
}

/// Even and odd halves at eight frames, and the samples on both sides that weigh in next.
struct Scan {
    e0: vec4<f32>,
    e1: vec4<f32>,
    e2: vec4<f32>,
    e3: vec4<f32>,
    e4: vec4<f32>,
    e5: vec4<f32>,
    e6: vec4<f32>,
    e7: vec4<f32>,
    o0: vec4<f32>,
    o1: vec4<f32>,
    o2: vec4<f32>,
    o3: vec4<f32>,
    o4: vec4<f32>,
    o5: vec4<f32>,
    o6: vec4<f32>,
    o7: vec4<f32>,
    a: array<f32, 8>,
    b: array<f32, 8>,
}

fn begin(c: u32) -> Scan {
    var s = Scan();
    s.a = array<f32, 8>(tile[c], tile[c + 1u], tile[c + 2u], tile[c + 3u],
        tile[c + 4u], tile[c + 5u], tile[c + 6u], tile[c + 7u]);
    s.b = array<f32, 8>(s.a[1], s.a[2], s.a[3], s.a[4], s.a[5], s.a[6], s.a[7], tile[c + 8u]);
    return s;
}

/// One pair of taps, and the next samples.
fn tap(s: ptr<function, Scan>, table: u32, a: f32, b: f32) {
    let even = filters[table];
    let odd = filters[table + 1u];
    (*s).e0 += even * ((*s).a[0] + (*s).b[0]);
    (*s).o0 += odd * ((*s).a[0] - (*s).b[0]);
    (*s).e1 += even * ((*s).a[1] + (*s).b[1]);
    (*s).o1 += odd * ((*s).a[1] - (*s).b[1]);
    (*s).e2 += even * ((*s).a[2] + (*s).b[2]);
    (*s).o2 += odd * ((*s).a[2] - (*s).b[2]);
    (*s).e3 += even * ((*s).a[3] + (*s).b[3]);
    (*s).o3 += odd * ((*s).a[3] - (*s).b[3]);
    (*s).e4 += even * ((*s).a[4] + (*s).b[4]);
    (*s).o4 += odd * ((*s).a[4] - (*s).b[4]);
    (*s).e5 += even * ((*s).a[5] + (*s).b[5]);
    (*s).o5 += odd * ((*s).a[5] - (*s).b[5]);
    (*s).e6 += even * ((*s).a[6] + (*s).b[6]);
    (*s).o6 += odd * ((*s).a[6] - (*s).b[6]);
    (*s).e7 += even * ((*s).a[7] + (*s).b[7]);
    (*s).o7 += odd * ((*s).a[7] - (*s).b[7]);
    (*s).a = array<f32, 8>(a, (*s).a[0], (*s).a[1], (*s).a[2], (*s).a[3], (*s).a[4], (*s).a[5], (*s).a[6]);
    (*s).b = array<f32, 8>((*s).b[1], (*s).b[2], (*s).b[3], (*s).b[4], (*s).b[5], (*s).b[6], (*s).b[7], b);
}

fn tap_at(s: ptr<function, Scan>, c: u32, table: u32, i: u32) {
    tap(s, table + 2u * i, tile[c - i - 1u], tile[c + 9u + i]);
}

/// The highest reading, of the first `left` frames.
fn highest(s: Scan, left: i32) -> f32 {
    var found = size(s.e0, s.o0);
    found = max(found, select(0.0, size(s.e1, s.o1), left > 1));
    found = max(found, select(0.0, size(s.e2, s.o2), left > 2));
    found = max(found, select(0.0, size(s.e3, s.o3), left > 3));
    found = max(found, select(0.0, size(s.e4, s.o4), left > 4));
    found = max(found, select(0.0, size(s.e5, s.o5), left > 5));
    found = max(found, select(0.0, size(s.e6, s.o6), left > 6));
    found = max(found, select(0.0, size(s.e7, s.o7), left > 7));
    return found;
}

/// The coarse readings at the eight frames from cell `c` on. Written out: a table read at a place that no loop counts is read once for
/// all lanes by every compiler.
fn coarse(c: u32, left: i32, table: u32) -> f32 {
    var s = begin(c);
    tap_at(&s, c, table, 0u);
    tap_at(&s, c, table, 1u);
    tap_at(&s, c, table, 2u);
    tap_at(&s, c, table, 3u);
    tap_at(&s, c, table, 4u);
    tap_at(&s, c, table, 5u);
    tap_at(&s, c, table, 6u);
    tap_at(&s, c, table, 7u);
    tap_at(&s, c, table, 8u);
    tap_at(&s, c, table, 9u);
    tap_at(&s, c, table, 10u);
    tap_at(&s, c, table, 11u);
    tap_at(&s, c, table, 12u);
    tap_at(&s, c, table, 13u);
    tap_at(&s, c, table, 14u);
    tap_at(&s, c, table, 15u);
    return highest(s, left);
}

/// The readings of one group of phases of any length.
fn scan(c: u32, left: i32, table: u32, taps: u32) -> f32 {
    var s = begin(c);
    for (var i = 0u; i < taps; i++) {
        tap_at(&s, c, table, i);
    }
    return highest(s, left);
}

/// The highest reading of a channel at eight frames.
fn peak_at(c: u32, left: i32) -> f32 {
    // Cells after the track's last frame are silent.
    var peak = 0.0;
    for (var j = 0u; j < 8u; j++) {
        peak = max(peak, abs(tile[c + j]));
    }
    if launch.mode < 2u {
        return max(peak, coarse(c, left, COARSE + launch.mode * (COARSE_FEW - COARSE)));
    }
    peak = max(peak, scan(c, left, FINE, FINE_TAPS));
    peak = max(peak, scan(c, left, FINE + 2u * FINE_TAPS, FINE_TAPS));
    peak = max(peak, scan(c, left, METER, METER_TAPS));
    return max(peak, scan(c, left, METER + 2u * METER_TAPS, METER_TAPS));
}

@compute @workgroup_size(64)
fn block_peaks(
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
    let hop = tracks[item.track].hop;
    let frames = i32(tracks[item.track].frames);
    let start = item.at * i32(hop);
    let base = tracks[item.track].store - launch.window;
    for (var i = lane; i < WIDTH; i += LANES) {
        let frame = start + i32(i) - i32(REACH);
        var z = vec2<f32>(0.0);
        if frame >= 0 && frame < frames && i < TILE + 2u * REACH {
            z = signal[u32(base + frame)];
        }
        tile[i] = z.x;
        tile[WIDTH + i] = z.y;
    }
    if lane < 16u {
        atomicStore(&best[lane], 0u);
    }
    workgroupBarrier();
    let first = 8u * lane;
    let left = min(i32(item.count * hop), frames - start) - i32(first);
    if left > 0 {
        let most = max(peak_at(REACH + first, left), peak_at(WIDTH + REACH + first, left));
        // Floats that are not negative keep their order as bits.
        atomicMax(&best[first / hop], bitcast<u32>(most));
    }
    workgroupBarrier();
    if lane < item.count {
        results[item.slot + lane] = bitcast<f32>(atomicLoad(&best[lane]));
    }
}
