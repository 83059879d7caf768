// `apply_gain`: the quadratic B-spline through one gain per block, times the samples. Mode 0 reads another buffer, mode 1 works in place.

@group(0) @binding(4) var<storage, read> signal: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> result: array<vec2<f32>>;

@compute @workgroup_size(256)
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
    let base = tracks[item.track].store - launch.window;
    for (var i = lane; i < item.count; i += 256u) {
        let frame = u32(item.at) + i;
        let at = u32(base + i32(frame));
        var z = vec2<f32>(0.0);
        if launch.mode == 0u {
            z = signal[at];
        } else {
            z = result[at];
        }
        result[at] = z * gain_at(tracks[item.track].blocks, frame, hop, blocks);
    }
}
