// `levels`, second half, and the static curve of `gains`: the level under the Hann window around each control point, in dB against the
// threshold, bent by the soft knee.

@group(0) @binding(3) var<storage, read> settings: array<Band>;
@group(0) @binding(4) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> points: array<f32>;

/// 10·log10 by the series of artanh: logarithms of WGSL may be off by a part in two million.
fn decibels(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    // Mantissa from √½ to √2.
    let offset = bits - 0x3f3504f3u;
    let exponent = bitcast<i32>(offset) >> 23u;
    let mantissa = bitcast<f32>((offset & 0x007fffffu) + 0x3f3504f3u);
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let q = s * s;
    let series = 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * (1.0 / 9.0)))));
    return f32(exponent) * 3.01029995663981195 + 4.34294481903251828 * series;
}

@compute @workgroup_size(64)
fn gain_computer(
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
    let point = item.at + i32(lane);
    for (var index = 0u; index < tracks[track].band_count; index++) {
        let band = settings[track * BANDS + index];
        let first = tracks[track].sums + i32(index * tracks[track].sums_stride) + point - i32(band.window / 2u);
        var level = 0.0;
        for (var p = 0u; p < band.window; p++) {
            level += dot(sums[u32(first + i32(p))].xyz, weights[band.weights + p].xyz);
        }
        let ratio = level * band.threshold;
        var aim = 0.0;
        // Below 10⁻³⁰ of the threshold nothing is asked for by any knee, and the bits of a denormal are no logarithm.
        if ratio > 1e-30 {
            let over = decibels(min(ratio, 1e30));
            if 2.0 * over > -band.knee {
                var bent = over;
                if 2.0 * over < band.knee {
                    let into = over + 0.5 * band.knee;
                    bent = into * into / (2.0 * band.knee);
                }
                aim = min(band.slope * bent, band.most);
            }
        }
        points[u32(tracks[track].points + i32(index * tracks[track].points_stride) + point)] = aim;
    }
}
