// `saturate`: what the polynomial adds to each frame, at twice the rate. `saturate_apply` adds it, less its slow offset.

@group(0) @binding(4) var<storage, read> signal: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> added: array<vec2<f32>>;

const TILE: u32 = 512u;
const LANES: u32 = 64u;

/// Pairs of samples from 64 before the tile on, two of silence, and behind them the bent half-way values, from 32 before it on.
const FILLED: u32 = TILE / 2u + 64u;
const SAMPLES: u32 = FILLED + 2u;
var<workgroup> pairs: array<vec4<f32>, SAMPLES + TILE / 2u + 34u>;

/// The polynomial: full scale, cube and square.
fn added_to(curve: vec3<f32>, z: vec4<f32>) -> vec4<f32> {
    let w = clamp(z / curve.x, vec4<f32>(-1.0), vec4<f32>(1.0));
    return w * w * (curve.z + curve.y * w);
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
    let curve = vec3<f32>(tracks[track].full, tracks[track].cube, tracks[track].square);
    for (var i = lane; i < SAMPLES; i += LANES) {
        let frame = item.at + i32(2u * i) - 64;
        var z0 = vec2<f32>(0.0);
        var z1 = vec2<f32>(0.0);
        if i < FILLED {
            if frame >= 0 && frame < frames {
                z0 = signal[u32(base + frame)];
            }
            if frame + 1 >= 0 && frame + 1 < frames {
                z1 = signal[u32(base + frame) + 1u];
            }
        }
        pairs[i] = vec4<f32>(z0, z1);
    }
    workgroupBarrier();
    for (var i = 8u * lane; i < TILE + 2u * HALF_TAPS; i += 8u * LANES) {
        let between = half_way(i);
        // Half-way values beyond either end of the track belong to no frame.
        let frame = item.at + i32(i) - i32(HALF_TAPS);
        let at = SAMPLES + i / 2u;
        pairs[at] = added_to(curve, vec4<f32>(between[1], between[2])) * within(frame, frames);
        pairs[at + 1u] = added_to(curve, vec4<f32>(between[3], between[4])) * within(frame + 2, frames);
        pairs[at + 2u] = added_to(curve, vec4<f32>(between[5], between[6])) * within(frame + 4, frames);
        pairs[at + 3u] = added_to(curve, vec4<f32>(between[7], between[8])) * within(frame + 6, frames);
    }
    if lane < 2u {
        pairs[SAMPLES + TILE / 2u + HALF_TAPS + lane] = vec4<f32>(0.0);
    }
    workgroupBarrier();
    let first = 8u * lane;
    if first < item.count {
        let back = half_way(2u * SAMPLES + first);
        let at = (first + 2u * HALF_TAPS) / 2u;
        write(item.count, base + item.at, first, added_to(curve, pairs[at]) + vec4<f32>(back[0], back[1]));
        write(item.count, base + item.at, first + 2u, added_to(curve, pairs[at + 1u]) + vec4<f32>(back[2], back[3]));
        write(item.count, base + item.at, first + 4u, added_to(curve, pairs[at + 2u]) + vec4<f32>(back[4], back[5]));
        write(item.count, base + item.at, first + 6u, added_to(curve, pairs[at + 3u]) + vec4<f32>(back[6], back[7]));
    }
}

/// 1 for those of two frames, left and right, that are the track's.
fn within(frame: i32, frames: i32) -> vec4<f32> {
    let a = select(0.0, 1.0, frame >= 0 && frame < frames);
    let b = select(0.0, 1.0, frame + 1 >= 0 && frame + 1 < frames);
    return vec4<f32>(a, a, b, b);
}

fn write(count: u32, origin: i32, first: u32, twice: vec4<f32>) {
    let at = u32(origin + i32(first));
    if first < count {
        added[at] = 0.5 * twice.xy;
    }
    if first + 1u < count {
        added[at + 1u] = 0.5 * twice.zw;
    }
}
