// `block_peaks`: the highest magnitude of each control block between the samples too. Phases k and n − k of a symmetric filter share
// their even and odd halves: the larger of both is |even| + |odd|. Each lane takes four frames, so that a sample is fetched once for
// four. Modes: 0 coarse, 1 coarse with half the phases, 2 fine.

@group(0) @binding(4) var<storage, read> signal: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> results: array<f32>;

/// Frames of a tile, and what the longest filter reaches beyond them.
const TILE: u32 = 256u;
const REACH: u32 = 64u;
const LANES: u32 = 64u;

var<workgroup> tile: array<vec2<f32>, 388>;
var<workgroup> best: array<atomic<u32>, 8>;

/// Even and odd halves of up to four phase pairs, left and right.
struct Halves {
    even_left: vec4<f32>,
    odd_left: vec4<f32>,
    even_right: vec4<f32>,
    odd_right: vec4<f32>,
}

fn more(h: Halves, a: vec2<f32>, b: vec2<f32>, even: vec4<f32>, odd: vec4<f32>) -> Halves {
    let sum = a + b;
    let difference = a - b;
    return Halves(
        h.even_left + even * sum.x,
        h.odd_left + odd * difference.x,
        h.even_right + even * sum.y,
        h.odd_right + odd * difference.y,
    );
}

fn highest(h: Halves) -> f32 {
    let both = max(abs(h.even_left) + abs(h.odd_left), abs(h.even_right) + abs(h.odd_right));
    return max(max(both.x, both.y), max(both.z, both.w));
}

/// The highest readings of one group of phases for the four frames from cell `c` on.
fn scan(c: u32, table: u32, taps: u32) -> vec4<f32> {
    var h0 = Halves();
    var h1 = Halves();
    var h2 = Halves();
    var h3 = Halves();
    var a0 = tile[c];
    var a1 = tile[c + 1u];
    var a2 = tile[c + 2u];
    var a3 = tile[c + 3u];
    var b0 = a1;
    var b1 = a2;
    var b2 = a3;
    var b3 = tile[c + 4u];
    for (var i = 0u; i < taps; i++) {
        let even = filters[table + 2u * i];
        let odd = filters[table + 2u * i + 1u];
        h0 = more(h0, a0, b0, even, odd);
        h1 = more(h1, a1, b1, even, odd);
        h2 = more(h2, a2, b2, even, odd);
        h3 = more(h3, a3, b3, even, odd);
        a3 = a2;
        a2 = a1;
        a1 = a0;
        a0 = tile[c - i - 1u];
        b0 = b1;
        b1 = b2;
        b2 = b3;
        b3 = tile[c + 5u + i];
    }
    return vec4<f32>(highest(h0), highest(h1), highest(h2), highest(h3));
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
    for (var i = lane; i < 388u; i += LANES) {
        let frame = start + i32(i) - i32(REACH);
        var z = vec2<f32>(0.0);
        if frame >= 0 && frame < frames && i < TILE + 2u * REACH {
            z = signal[u32(base + frame)];
        }
        tile[i] = z;
    }
    if lane < 8u {
        atomicStore(&best[lane], 0u);
    }
    workgroupBarrier();
    let first = 4u * lane;
    let left = min(i32(item.count * hop), frames - start) - i32(first);
    if left > 0 {
        let c = REACH + first;
        let m0 = abs(tile[c]);
        let m1 = abs(tile[c + 1u]);
        let m2 = abs(tile[c + 2u]);
        let m3 = abs(tile[c + 3u]);
        var peak = vec4<f32>(max(m0.x, m0.y), max(m1.x, m1.y), max(m2.x, m2.y), max(m3.x, m3.y));
        if launch.mode == 0u {
            peak = max(peak, scan(c, COARSE, COARSE_TAPS));
        } else if launch.mode == 1u {
            peak = max(peak, scan(c, COARSE_FEW, COARSE_TAPS));
        } else {
            peak = max(peak, scan(c, FINE, FINE_TAPS));
            peak = max(peak, scan(c, FINE + 2u * FINE_TAPS, FINE_TAPS));
            peak = max(peak, scan(c, METER, METER_TAPS));
            peak = max(peak, scan(c, METER + 2u * METER_TAPS, METER_TAPS));
        }
        // Frames after the track's end are no frames.
        let inside = vec4<bool>(true, left > 1, left > 2, left > 3);
        peak = select(vec4<f32>(0.0), peak, inside);
        // Floats that are not negative keep their order as bits.
        let most = max(max(peak.x, peak.y), max(peak.z, peak.w));
        atomicMax(&best[first / hop], bitcast<u32>(most));
    }
    workgroupBarrier();
    if lane < item.count {
        results[item.slot + lane] = bitcast<f32>(atomicLoad(&best[lane]));
    }
}
