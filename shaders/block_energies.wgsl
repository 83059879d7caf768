// `block_energies`, second half: each stretch once more, from the state it really begins in, with the energy of each of its blocks.

@group(0) @binding(5) var<storage, read> states: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> results: array<f32>;

@compute @workgroup_size(64)
fn block_energies(
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
    let stretch = u32(item.at) + lane;
    let hop = tracks[item.track].hop;
    let frames = tracks[item.track].frames;
    let c = coefficients();
    var f = Filter();
    for (var k = 0u; k < min(MEMORY, stretch); k++) {
        let past = 2u * (tracks[item.track].states + stretch - 1u - k);
        let a = states[past];
        let b = states[past + 1u];
        let m = 3u + 4u * k;
        f.s0 += weighting[m].x * a.xy + weighting[m].y * a.zw + weighting[m].z * b.xy + weighting[m].w * b.zw;
        f.s1 += weighting[m + 1u].x * a.xy + weighting[m + 1u].y * a.zw + weighting[m + 1u].z * b.xy + weighting[m + 1u].w * b.zw;
        f.s2 += weighting[m + 2u].x * a.xy + weighting[m + 2u].y * a.zw + weighting[m + 2u].z * b.xy + weighting[m + 2u].w * b.zw;
        f.s3 += weighting[m + 3u].x * a.xy + weighting[m + 3u].y * a.zw + weighting[m + 3u].z * b.xy + weighting[m + 3u].w * b.zw;
    }
    let window = tracks[item.track].store - launch.window;
    for (var block = 0u; block < STRETCH; block++) {
        let origin = (stretch * STRETCH + block) * hop;
        if origin >= frames {
            break;
        }
        let base = u32(window + i32(origin));
        var energy = 0.0;
        for (var i = 0u; i < min(hop, frames - origin); i++) {
            let y = step(&f, c, signal[base + i]);
            energy += y.x * y.x + y.y * y.y;
        }
        results[item.slot + STRETCH * lane + block] = energy;
    }
}
