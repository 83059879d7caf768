// `block_energies`, first half: the state that each stretch leaves when it begins in silence.

@group(0) @binding(5) var<storage, read_write> states: array<vec4<f32>>;

@compute @workgroup_size(64)
fn k_states(
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
    let length = STRETCH * tracks[item.track].hop;
    let origin = stretch * length;
    let count = min(length, tracks[item.track].frames - origin);
    let base = u32(tracks[item.track].store - launch.window + i32(origin));
    let c = coefficients();
    var f = Filter();
    for (var i = 0u; i < count; i++) {
        step(&f, c, signal[base + i]);
    }
    let out = 2u * (tracks[item.track].states + stretch);
    states[out] = vec4<f32>(f.s0, f.s1);
    states[out + 1u] = vec4<f32>(f.s2, f.s3);
}
