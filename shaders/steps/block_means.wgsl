// `block_means`: mean of left and of right and the highest sample of both, of each control block.

@group(0) @binding(3) var<storage, read> signal: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> results: array<f32>;

@compute @workgroup_size(64)
fn block_means(
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
    let origin = (u32(item.at) + lane) * hop;
    let count = min(hop, tracks[item.track].frames - origin);
    let base = u32(tracks[item.track].store - launch.window + i32(origin));
    var sum = vec2<f32>(0.0);
    var peak = 0.0;
    for (var i = 0u; i < count; i++) {
        let z = signal[base + i];
        sum += z;
        peak = max(peak, max(abs(z.x), abs(z.y)));
    }
    let out = item.slot + 3u * lane;
    results[out] = sum.x / f32(count);
    results[out + 1u] = sum.y / f32(count);
    results[out + 2u] = peak;
}
