// `saturate`, its end: adds the harmonics less the spline through their slow offset, in place.

@group(0) @binding(3) var<storage, read> offsets: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> added: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> signal: array<vec2<f32>>;

@compute @workgroup_size(256)
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
    if lane >= item.count {
        return;
    }
    let hop = tracks[item.track].hop;
    let blocks = (tracks[item.track].frames + hop - 1u) / hop;
    let first = tracks[item.track].blocks;
    let frame = u32(item.at) + lane;
    let block = frame / hop;
    let u = (f32(frame % hop) + 0.5) / f32(hop);
    let offset = offsets[first + max(block, 1u) - 1u] * (0.5 * (1.0 - u) * (1.0 - u))
        + offsets[first + block] * (0.5 + u * (1.0 - u))
        + offsets[first + min(block + 1u, blocks - 1u)] * (0.5 * u * u);
    let at = u32(tracks[item.track].store - launch.window + i32(frame));
    signal[at] += added[at] - offset;
}
