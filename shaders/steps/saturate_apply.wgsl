// `saturate`, its end: adds the harmonics less the spline through their slow offset, in place.

@group(0) @binding(3) var<storage, read> offsets: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> added: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> signal: array<vec2<f32>>;

@compute @workgroup_size(64)
fn saturate_apply(
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
    // Four frames of one block share its offsets.
    for (var i = 4u * lane; i < item.count; i += 256u) {
        let frame = u32(item.at) + i;
        let block = frame / hop;
        let before = offsets[first + max(block, 1u) - 1u];
        let here = offsets[first + block];
        let after = offsets[first + min(block + 1u, blocks - 1u)];
        let at = u32(tracks[item.track].store - launch.window + i32(frame));
        for (var j = 0u; j < min(4u, item.count - i); j++) {
            let u = (f32(frame % hop + j) + 0.5) / f32(hop);
            let offset = before * (0.5 * (1.0 - u) * (1.0 - u)) + here * (0.5 + u * (1.0 - u)) + after * (0.5 * u * u);
            signal[at + j] += added[at + j] - offset;
        }
    }
}
