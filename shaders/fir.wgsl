// `fir`: the tone filter in partitions of 2048 taps, overlap-save. With M and S the filters of mid and side and X the transform of
// mid + i·side, the filtered spectrum is (M + S)/2 · X[k] + (M − S)/2 · conj X[N − k].

@group(0) @binding(4) var<storage, read> spectra: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> filters: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> toned: array<vec2<f32>>;

@compute @workgroup_size(256)
fn fir(
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
    let newest = tracks[item.track].spectra + item.at + tracks[item.track].fir_first;
    let both = tracks[item.track].fir_both != 0u;
    let parts = tracks[item.track].fir_parts;
    var v: array<vec2<f32>, 16>;
    for (var part = 0u; part < parts; part++) {
        let x = u32(newest - i32(part)) * POINTS;
        let h = tracks[item.track].fir + part * 2u * POINTS;
        for (var r = 0u; r < 16u; r++) {
            let k = lane + 256u * r;
            v[r] += times(spectra[x + k], filters[h + k]);
        }
        if both {
            for (var r = 0u; r < 16u; r++) {
                let k = lane + 256u * r;
                v[r] += times_conjugate(filters[h + POINTS + k], spectra[x + ((POINTS - k) & (POINTS - 1u))]);
            }
        }
    }
    for (var r = 0u; r < 16u; r++) {
        v[r].y = -v[r].y;
    }
    transform_back(&v, lane);
    let out = tracks[item.track].toned + (item.at - 1) * i32(STEP) + i32(lane);
    for (var r = 8u; r < 16u; r++) {
        toned[u32(out + i32(256u * r))] = v[r];
    }
}
