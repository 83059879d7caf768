// `apply_gain`: the quadratic B-spline through one gain per block, times the samples. Mode 0 reads another buffer, mode 1 works in place.

@group(0) @binding(4) var<storage, read> signal: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> result: array<vec2<f32>>;

@compute @workgroup_size(64)
fn apply_gain(
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
    let blocks = (tracks[item.track].frames + hop - 1u) / hop;
    let first = tracks[item.track].blocks;
    let base = tracks[item.track].store - launch.window;
    // Four frames of one block share its gains.
    for (var i = 4u * lane; i < item.count; i += 256u) {
        let frame = u32(item.at) + i;
        let at = u32(base + i32(frame));
        let gain = gains_at(first, frame, hop, blocks);
        for (var j = 0u; j < min(4u, item.count - i); j++) {
            var z = vec2<f32>(0.0);
            if launch.mode == 0u {
                z = signal[at + j];
            } else {
                z = result[at + j];
            }
            result[at + j] = z * gain[j];
        }
    }
}
