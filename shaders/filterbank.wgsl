// `filterbank`: the bands of the tone-filtered signal, one after the other; their filters are the same for mid and side.

@group(0) @binding(4) var<storage, read> spectra: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> filters: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> settings: array<Band>;
@group(0) @binding(7) var<storage, read_write> bands: array<vec2<f32>>;

@compute @workgroup_size(256)
fn filterbank(
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
    let newest = tracks[item.track].spectra + item.at + tracks[item.track].bank_first;
    let parts = tracks[item.track].bank_parts;
    let rows = tracks[item.track].row_count;
    let out = tracks[item.track].bands + (item.at - 1) * i32(STEP) + i32(lane);
    for (var row = 0u; row < rows; row++) {
        let filter_row = tracks[item.track].bank + settings[item.track * BANDS + row].row * parts * POINTS;
        var v: array<vec2<f32>, 16>;
        for (var r = 0u; r < 16u; r++) {
            v[r] = vec2<f32>(0.0);
        }
        for (var part = 0u; part < parts; part++) {
            let x = u32(newest - i32(part)) * POINTS + lane;
            let h = filter_row + part * POINTS + lane;
            for (var r = 0u; r < 16u; r++) {
                v[r] += times(spectra[x + 256u * r], filters[h + 256u * r]);
            }
        }
        for (var r = 0u; r < 16u; r++) {
            v[r].y = -v[r].y;
        }
        transform_back(&v, lane);
        let start = out + i32(row * tracks[item.track].bands_stride);
        for (var r = 8u; r < 16u; r++) {
            bands[u32(start + i32(256u * r))] = v[r];
        }
    }
}
