// `gains`: the reduction that each control point aims at, followed by one pole, fast up and slow down; one lane per track and band, serial
// in time. The state travels from chunk to chunk. Aims are replaced by excess gains (gain − 1) in place.

@group(0) @binding(3) var<storage, read> settings: array<Band>;
@group(0) @binding(4) var<storage, read_write> points: array<f32>;
@group(0) @binding(5) var<storage, read_write> states: array<State>;

/// Where a band stands after the last point: reduction and its sum in two floats each, and the last four excess gains.
struct State {
    reduction: vec2<f32>,
    total: vec2<f32>,
    held: vec4<f32>,
}

/// A number of two floats plus a small one, without loss: one alone stops moving 10⁻⁵ dB ahead of its aim.
fn add(number: vec2<f32>, more: f32) -> vec2<f32> {
    let step = more + number.y;
    let sum = number.x + step;
    let kept = sum - number.x;
    return vec2<f32>(sum, (number.x - (sum - kept)) + (step - kept));
}

/// exp(x) − 1 for a gain of some dB either way.
fn exp_minus_one(x: f32) -> f32 {
    let n = round(x * 1.44269504088896341);
    let r = fma(n, 2.12194440e-4, fma(n, -0.693359375, x));
    let series = r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r / 5040.0))))));
    let power = bitcast<f32>(u32(i32(n) + 127) << 23u);
    return fma(power, series, power - 1.0);
}

@compute @workgroup_size(32)
fn gains(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = place(group, groups) * 32u + lane;
    if n >= launch.count {
        return;
    }
    sign(lane);
    let item = items[launch.first + n];
    let track = item.track;
    let band = settings[track * BANDS + item.slot];
    let base = tracks[track].points + i32(item.slot * tracks[track].points_stride);
    let last = i32(tracks[track].point_count);
    let cell = track * BANDS + item.slot;
    var state = states[cell];
    var held = state.held;
    if item.at > 0 {
        for (var i = 0; i < 4; i++) {
            points[u32(base + item.at - 4 + i)] = held[i];
        }
    } else {
        state.reduction = vec2<f32>(0.0);
        state.total = vec2<f32>(0.0);
    }
    var reduction = state.reduction;
    for (var i = 0; i < i32(item.count); i++) {
        let point = item.at + i;
        var excess = held.w;
        if point < last {
            let aim = points[u32(base + point)];
            let rising = aim > reduction.x;
            let missing = (aim - reduction.x) - reduction.y;
            reduction = add(reduction, missing * select(band.release, band.attack, rising));
            if reduction.x < 1e-7 {
                reduction = vec2<f32>(0.0);
            }
            state.total = add(state.total, reduction.x);
            excess = exp_minus_one(0.115129254649702284 * ((band.makeup - reduction.x) - reduction.y));
        }
        if item.at + i == 0 {
            // Held before the first point.
            points[u32(base - 1)] = excess;
        }
        points[u32(base + point)] = excess;
        held = vec4<f32>(held.yzw, excess);
    }
    state.reduction = reduction;
    state.held = held;
    states[cell] = state;
}
