// `filterbank`: the bands of the tone-filtered signal, one after the other; their filters are the same for mid and
// side. A workgroup makes two transforms that follow each other, as in `fir`.

@group(0) @binding(4) var<storage, read> spectra: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> filters: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> settings: array<Band>;
@group(0) @binding(7) var<storage, read_write> bands: array<vec2<f32>>;

/// Bin k of two filtered spectra, conjugated: of the transform `newest` and of the one after it.
fn bin(newest: u32, taps: u32, parts: u32, k: u32) -> vec4<f32> {
    var sum = vec2<f32>(0.0);
    var later = vec2<f32>(0.0);
    var next = spectra[(newest + 1u) * POINTS + k];
    for (var part = 0u; part < parts; part++) {
        let z = spectra[(newest - part) * POINTS + k];
        let h = filters[taps + part * POINTS + k];
        sum += times(z, h);
        later += times(next, h);
        next = z;
    }
    return vec4<f32>(conjugate(sum), conjugate(later));
}

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
    let newest = u32(tracks[item.track].spectra + item.at + tracks[item.track].bank_first);
    let parts = tracks[item.track].bank_parts;
    let rows = tracks[item.track].row_count;
    let stride = tracks[item.track].bands_stride;
    let bank = tracks[item.track].bank;
    let out = tracks[item.track].bands + (item.at - 1) * i32(STEP) + i32(lane);
    for (var row = 0u; row < rows; row++) {
        let taps = bank + settings[item.track * BANDS + row].row * parts * POINTS;
        let b0 = bin(newest, taps, parts, lane);
        let b1 = bin(newest, taps, parts, lane + 256u);
        let b2 = bin(newest, taps, parts, lane + 512u);
        let b3 = bin(newest, taps, parts, lane + 768u);
        let b4 = bin(newest, taps, parts, lane + 1024u);
        let b5 = bin(newest, taps, parts, lane + 1280u);
        let b6 = bin(newest, taps, parts, lane + 1536u);
        let b7 = bin(newest, taps, parts, lane + 1792u);
        let b8 = bin(newest, taps, parts, lane + 2048u);
        let b9 = bin(newest, taps, parts, lane + 2304u);
        let b10 = bin(newest, taps, parts, lane + 2560u);
        let b11 = bin(newest, taps, parts, lane + 2816u);
        let b12 = bin(newest, taps, parts, lane + 3072u);
        let b13 = bin(newest, taps, parts, lane + 3328u);
        let b14 = bin(newest, taps, parts, lane + 3584u);
        let b15 = bin(newest, taps, parts, lane + 3840u);
        var v = array<vec2<f32>, 16>(
            b0.xy, b1.xy, b2.xy, b3.xy, b4.xy, b5.xy, b6.xy, b7.xy,
            b8.xy, b9.xy, b10.xy, b11.xy, b12.xy, b13.xy, b14.xy, b15.xy,
        );
        let start = out + i32(row * stride);
        for (var which = 0u; which < item.count; which++) {
            if which > 0u {
                v = array<vec2<f32>, 16>(
                    b0.zw, b1.zw, b2.zw, b3.zw, b4.zw, b5.zw, b6.zw, b7.zw,
                    b8.zw, b9.zw, b10.zw, b11.zw, b12.zw, b13.zw, b14.zw, b15.zw,
                );
            }
            transform_back(&v, lane);
            let at = u32(start + i32(STEP * which));
            bands[at + 2048u] = v[8];
            bands[at + 2304u] = v[9];
            bands[at + 2560u] = v[10];
            bands[at + 2816u] = v[11];
            bands[at + 3072u] = v[12];
            bands[at + 3328u] = v[13];
            bands[at + 3584u] = v[14];
            bands[at + 3840u] = v[15];
        }
    }
}
