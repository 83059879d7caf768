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
    // Real filters: the bins k and N − k share both transforms and, conjugated, both filters. Each lane takes eight such pairs.
    var low: array<vec2<f32>, 8>;
    var high: array<vec2<f32>, 8>;
    var middle = vec2<f32>(0.0);
    for (var part = 0u; part < parts; part++) {
        let x = u32(newest - i32(part)) * POINTS;
        let h = tracks[item.track].fir + part * 2u * POINTS;
        for (var r = 0u; r < 8u; r++) {
            let k = lane + 256u * r;
            let a = filters[h + k];
            let z = spectra[x + k];
            let mirror = spectra[x + ((POINTS - k) & (POINTS - 1u))];
            low[r] += times(z, a);
            high[r] += times_conjugate(mirror, a);
            if both {
                let b = filters[h + POINTS + k];
                low[r] += times_conjugate(b, mirror);
                let w = times(b, z);
                high[r] += vec2<f32>(w.x, -w.y);
            }
        }
        if lane == 0u {
            let z = spectra[x + STEP];
            middle += times(z, filters[h + STEP]) + times_conjugate(filters[h + POINTS + STEP], z);
        }
    }
    for (var r = 0u; r < 8u; r++) {
        let k = lane + 256u * r;
        cells[cell(k)] = low[r];
        if k > 0u {
            cells[cell(POINTS - k)] = high[r];
        }
    }
    if lane == 0u {
        cells[cell(STEP)] = middle;
    }
    workgroupBarrier();
    var v: array<vec2<f32>, 16>;
    for (var r = 0u; r < 16u; r++) {
        let z = cells[cell(lane + 256u * r)];
        v[r] = vec2<f32>(z.x, -z.y);
    }
    transform_back(&v, lane);
    let out = tracks[item.track].toned + (item.at - 1) * i32(STEP) + i32(lane);
    for (var r = 8u; r < 16u; r++) {
        toned[u32(out + i32(256u * r))] = v[r];
    }
}
