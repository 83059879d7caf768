// `spectrum`: transform j of a track holds its frames from (j − 1)·2048 to (j + 1)·2048, mid + i·side. Mode 0 reads left and right,
// mode 1 the tone-filtered mid and side.

@group(0) @binding(4) var<storage, read> signal: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> spectra: array<vec2<f32>>;

@compute @workgroup_size(256)
fn spectrum(
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
    let base = select(tracks[item.track].input, tracks[item.track].toned, launch.mode == 1u);
    let origin = base + (item.at - 1) * i32(STEP) + i32(lane);
    var v: array<vec2<f32>, 16>;
    for (var r = 0u; r < 16u; r++) {
        v[r] = signal[u32(origin + i32(256u * r))];
    }
    if launch.mode == 0u {
        for (var r = 0u; r < 16u; r++) {
            v[r] = mid_side(v[r]);
        }
    }
    transform(&v, lane);
    let out = u32(tracks[item.track].spectra + item.at) * POINTS + lane;
    for (var r = 0u; r < 16u; r++) {
        spectra[out + 256u * r] = v[r];
    }
}
