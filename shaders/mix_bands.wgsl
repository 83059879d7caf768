// `mix_bands`: y = x + Σ (g − 1)·band, the excess gains interpolated by cubics that never leave the range of their points; back to
// left and right.

@group(0) @binding(3) var<storage, read> settings: array<Band>;
@group(0) @binding(4) var<storage, read> input: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> toned: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> bands: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read> points: array<f32>;
@group(0) @binding(8) var<storage, read_write> shaped: array<vec2<f32>>;

fn slope(a: f32, b: f32) -> f32 {
    if (a > 0.0 && b > 0.0) || (a < 0.0 && b < 0.0) {
        return 2.0 * a * (b / (a + b));
    }
    return 0.0;
}

fn cubic(p0: f32, p1: f32, p2: f32, p3: f32, t: f32) -> f32 {
    let step = p2 - p1;
    let m0 = slope(p1 - p0, step);
    let m1 = slope(step, p3 - p2);
    return p1 + t * (m0 + t * (3.0 * step - 2.0 * m0 - m1 + t * (m0 + m1 - 2.0 * step)));
}

@compute @workgroup_size(256)
fn mix_bands(
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
    if lane >= item.count {
        return;
    }
    let track = item.track;
    let frame = item.at + i32(lane);
    let hop = tracks[track].hop;
    let point = i32(u32(frame) / hop);
    let t = f32(u32(frame) % hop) / f32(hop);
    let rows = tracks[track].row_count;
    let toned_here = tracks[track].has_tone != 0u;
    var stereo = vec2<f32>(0.0);
    var x = vec2<f32>(0.0);
    if toned_here {
        x = toned[u32(tracks[track].toned + frame)];
    } else {
        stereo = input[u32(tracks[track].input + frame)];
        x = mid_side(stereo);
    }
    var added = vec2<f32>(0.0);
    var rest = x;
    for (var band = 0u; band < tracks[track].band_count; band++) {
        var z = rest;
        if band < rows {
            z = bands[u32(tracks[track].bands + i32(band * tracks[track].bands_stride) + frame)];
            rest -= z;
        }
        let at = u32(tracks[track].points + i32(band * tracks[track].points_stride) + point);
        added += cubic(points[at - 1u], points[at], points[at + 1u], points[at + 2u], t) * z;
    }
    if toned_here {
        let y = x + added;
        stereo = vec2<f32>(y.x + y.y, y.x - y.y);
    } else {
        stereo += vec2<f32>(added.x + added.y, added.x - added.y);
    }
    shaped[u32(tracks[track].store - launch.window + frame)] = stereo;
}
