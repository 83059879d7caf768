// `fade`: raised cosines at both ends, in place.

@group(0) @binding(3) var<storage, read_write> signal: array<vec2<f32>>;

/// sin²(π/2 · x) for x from 0 to 1; sines of WGSL may be off by a part in two thousand.
fn ramp(at: f32, length: f32) -> f32 {
    if at >= length {
        return 1.0;
    }
    let x = 1.57079632679489662 * (at / length);
    let q = x * x;
    let s = x * (1.0 - q / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0 * (1.0 - q / 72.0 * (1.0 - q / 110.0 * (1.0 - q / 156.0))))));
    return s * s;
}

@compute @workgroup_size(256)
fn fade(
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
    let frames = tracks[item.track].frames;
    let base = tracks[item.track].store - launch.window;
    for (var i = lane; i < item.count; i += 256u) {
        let frame = u32(item.at) + i;
        let gain = ramp(f32(frame) + 0.5, tracks[item.track].fade_in)
            * ramp(f32(frames - 1u - frame) + 0.5, tracks[item.track].fade_out);
        signal[u32(base + i32(frame))] *= gain;
    }
}
