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

/// Coefficients of 1, t, t², t³ between the two inner points.
fn cubic(p0: f32, p1: f32, p2: f32, p3: f32) -> vec4<f32> {
    let step = p2 - p1;
    let m0 = slope(p1 - p0, step);
    let m1 = slope(step, p3 - p2);
    return vec4<f32>(p1, m0, 3.0 * step - 2.0 * m0 - m1, m0 + m1 - 2.0 * step);
}

fn at(c: vec4<f32>, t: f32) -> f32 {
    return c.x + t * (c.y + t * (c.z + t * c.w));
}

/// Without a tone filter left and right stay what they are, and only what is added goes through mid and side.
fn write(out: u32, input_at: u32, toned_here: bool, x: vec2<f32>, added: vec2<f32>) {
    if toned_here {
        let y = x + added;
        shaped[out] = vec2<f32>(y.x + y.y, y.x - y.y);
    } else {
        shaped[out] = input[input_at] + vec2<f32>(added.x + added.y, added.x - added.y);
    }
}

@compute @workgroup_size(64)
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
    // Four frames of one hop: their gains share a cubic.
    let offset = 4u * lane;
    if offset >= item.count {
        return;
    }
    let track = item.track;
    let frame = item.at + i32(offset);
    let count = min(4u, item.count - offset);
    let hop = tracks[track].hop;
    let point = i32(u32(frame) / hop);
    let t = (vec4<f32>(f32(u32(frame) % hop)) + vec4<f32>(0.0, 1.0, 2.0, 3.0)) / f32(hop);
    let rows = tracks[track].row_count;
    let toned_here = tracks[track].has_tone != 0u;
    let toned_at = u32(tracks[track].toned + frame);
    let input_at = u32(tracks[track].input + frame);
    var x0 = vec2<f32>(0.0);
    var x1 = vec2<f32>(0.0);
    var x2 = vec2<f32>(0.0);
    var x3 = vec2<f32>(0.0);
    // Places after the last frame are read, too, and never written.
    if toned_here {
        x0 = toned[toned_at];
        x1 = toned[toned_at + 1u];
        x2 = toned[toned_at + 2u];
        x3 = toned[toned_at + 3u];
    } else {
        x0 = mid_side(input[input_at]);
        x1 = mid_side(input[input_at + 1u]);
        x2 = mid_side(input[input_at + 2u]);
        x3 = mid_side(input[input_at + 3u]);
    }
    var rest0 = x0;
    var rest1 = x1;
    var rest2 = x2;
    var rest3 = x3;
    var added0 = vec2<f32>(0.0);
    var added1 = vec2<f32>(0.0);
    var added2 = vec2<f32>(0.0);
    var added3 = vec2<f32>(0.0);
    for (var band = 0u; band < tracks[track].band_count; band++) {
        let p = u32(tracks[track].points + i32(band * tracks[track].points_stride) + point);
        let c = cubic(points[p - 1u], points[p], points[p + 1u], points[p + 2u]);
        var z0 = rest0;
        var z1 = rest1;
        var z2 = rest2;
        var z3 = rest3;
        if band < rows {
            let b = u32(tracks[track].bands + i32(band * tracks[track].bands_stride) + frame);
            z0 = bands[b];
            z1 = bands[b + 1u];
            z2 = bands[b + 2u];
            z3 = bands[b + 3u];
            rest0 -= z0;
            rest1 -= z1;
            rest2 -= z2;
            rest3 -= z3;
        }
        added0 += at(c, t.x) * z0;
        added1 += at(c, t.y) * z1;
        added2 += at(c, t.z) * z2;
        added3 += at(c, t.w) * z3;
    }
    let out = u32(tracks[track].store - launch.window + frame);
    write(out, input_at, toned_here, x0, added0);
    if count > 1u {
        write(out + 1u, input_at + 1u, toned_here, x1, added1);
    }
    if count > 2u {
        write(out + 2u, input_at + 2u, toned_here, x2, added2);
    }
    if count > 3u {
        write(out + 3u, input_at + 3u, toned_here, x3, added3);
    }
}
