// `saturate`: what the polynomial adds to each frame, at twice the rate. `saturate_apply` adds it, less its slow offset.

@group(0) @binding(4) var<storage, read> signal: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> added: array<vec2<f32>>;

const TILE: u32 = 256u;
const LANES: u32 = 64u;

var<workgroup> x: array<vec2<f32>, 388>;
var<workgroup> bent: array<vec2<f32>, 324>;

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
    var w0 = bent[first];
    var w1 = bent[first + 1u];
    var w2 = bent[first + 2u];
    for (var q = 0u; q < 16u; q++) {
        let h = filters[HALF + q];
        let at = first + 3u + 4u * q;
        let w3 = bent[at];
        let w4 = bent[at + 1u];
        let w5 = bent[at + 2u];
        let w6 = bent[at + 3u];
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

fn add(z: vec2<f32>, full: f32, cube: f32, square: f32) -> vec2<f32> {
    let w = clamp(z / full, vec2<f32>(-1.0), vec2<f32>(1.0));
    return w * w * (square + cube * w);
}

@compute @workgroup_size(64)
fn saturate(
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
    let full = tracks[track].full;
    let cube = tracks[track].cube;
    let square = tracks[track].square;
    for (var i = lane; i < 388u; i += LANES) {
        let frame = item.at + i32(i) - 64;
        var z = vec2<f32>(0.0);
        if frame >= 0 && frame < frames && i < 384u {
            z = signal[u32(base + frame)];
        }
        x[i] = z;
    }
    workgroupBarrier();
    for (var i = 4u * lane; i < 320u; i += 4u * LANES) {
        let between = half_way(i + 1u);
        for (var j = 0u; j < 4u; j++) {
            let frame = item.at + i32(i + j) - i32(HALF_TAPS);
            // Half-way values beyond either end of the track belong to no frame.
            var z = vec2<f32>(0.0);
            if frame >= 0 && frame < frames {
                z = add(between[j], full, cube, square);
            }
            bent[i + j] = z;
        }
    }
    if lane < 4u {
        bent[320u + lane] = vec2<f32>(0.0);
    }
    workgroupBarrier();
    let first = 4u * lane;
    if first < item.count {
        let back = halve(first);
        for (var j = 0u; j < 4u; j++) {
            if first + j < item.count {
                let z = add(x[first + j + 64u], full, cube, square);
                added[u32(base + item.at + i32(first + j))] = 0.5 * (z + back[j]);
            }
        }
    }
}
