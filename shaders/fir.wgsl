// `fir`: the tone filter in partitions of 2048 taps, overlap-save. With M and S the filters of mid and side and X the transform of
// mid + i·side, the filtered spectrum is (M + S)/2 · X[k] + (M − S)/2 · conj X[N − k]. A workgroup makes two transforms that follow each
// other: they share the filters and all but one of the spectra each needs.

@group(0) @binding(4) var<storage, read> spectra: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> filters: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> toned: array<vec2<f32>>;

/// Where a workgroup reads.
struct Place {
    newest: u32,
    parts: u32,
    taps: u32,
    both: bool,
}

/// The bins k and N − k: of the transform `newest` into the cells, of the one after it as the result. Real filters: both bins share both
/// spectra and, conjugated, both filters.
fn bins(at: Place, k: u32) -> vec4<f32> {
    let mirrored = (POINTS - k) & (POINTS - 1u);
    var low = vec2<f32>(0.0);
    var high = vec2<f32>(0.0);
    var later_low = vec2<f32>(0.0);
    var later_high = vec2<f32>(0.0);
    var next_z = spectra[(at.newest + 1u) * POINTS + k];
    var next_mirror = spectra[(at.newest + 1u) * POINTS + mirrored];
    for (var part = 0u; part < at.parts; part++) {
        let z = spectra[(at.newest - part) * POINTS + k];
        let mirror = spectra[(at.newest - part) * POINTS + mirrored];
        let a = filters[at.taps + part * 2u * POINTS + k];
        low += times(z, a);
        high += times_conjugate(mirror, a);
        later_low += times(next_z, a);
        later_high += times_conjugate(next_mirror, a);
        if at.both {
            let b = filters[at.taps + (part * 2u + 1u) * POINTS + k];
            low += times_conjugate(b, mirror);
            high += conjugate(times(b, z));
            later_low += times_conjugate(b, next_mirror);
            later_high += conjugate(times(b, next_z));
        }
        next_z = z;
        next_mirror = mirror;
    }
    place_bins(k, vec4<f32>(low, high));
    return vec4<f32>(later_low, later_high);
}

/// Puts the bins k and N − k into their cells.
fn place_bins(k: u32, bins: vec4<f32>) {
    cells[cell(k)] = bins.xy;
    if k > 0u {
        cells[cell(POINTS - k)] = bins.zw;
    }
}

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
    let track = item.track;
    let at = Place(
        u32(tracks[track].spectra + item.at + tracks[track].fir_first),
        tracks[track].fir_parts,
        tracks[track].fir,
        tracks[track].fir_both != 0u,
    );
    let later0 = bins(at, lane);
    let later1 = bins(at, lane + 256u);
    let later2 = bins(at, lane + 512u);
    let later3 = bins(at, lane + 768u);
    let later4 = bins(at, lane + 1024u);
    let later5 = bins(at, lane + 1280u);
    let later6 = bins(at, lane + 1536u);
    let later7 = bins(at, lane + 1792u);
    // The bin in the middle is its own mirror.
    var later_middle = vec2<f32>(0.0);
    if lane == 0u {
        var middle = vec2<f32>(0.0);
        var next_z = spectra[(at.newest + 1u) * POINTS + STEP];
        for (var part = 0u; part < at.parts; part++) {
            let z = spectra[(at.newest - part) * POINTS + STEP];
            let a = filters[at.taps + part * 2u * POINTS + STEP];
            let b = filters[at.taps + (part * 2u + 1u) * POINTS + STEP];
            middle += times(z, a) + times_conjugate(b, z);
            later_middle += times(next_z, a) + times_conjugate(b, next_z);
            next_z = z;
        }
        cells[cell(STEP)] = middle;
    }
    let out = tracks[track].toned + (item.at - 1) * i32(STEP) + i32(lane);
    for (var which = 0u; which < item.count; which++) {
        if which > 0u {
            workgroupBarrier();
            place_bins(lane, later0);
            place_bins(lane + 256u, later1);
            place_bins(lane + 512u, later2);
            place_bins(lane + 768u, later3);
            place_bins(lane + 1024u, later4);
            place_bins(lane + 1280u, later5);
            place_bins(lane + 1536u, later6);
            place_bins(lane + 1792u, later7);
            if lane == 0u {
                cells[cell(STEP)] = later_middle;
            }
        }
        workgroupBarrier();
        var v = array<vec2<f32>, 16>(
            conjugate(cells[cell(lane)]), conjugate(cells[cell(lane + 256u)]),
            conjugate(cells[cell(lane + 512u)]), conjugate(cells[cell(lane + 768u)]),
            conjugate(cells[cell(lane + 1024u)]), conjugate(cells[cell(lane + 1280u)]),
            conjugate(cells[cell(lane + 1536u)]), conjugate(cells[cell(lane + 1792u)]),
            conjugate(cells[cell(lane + 2048u)]), conjugate(cells[cell(lane + 2304u)]),
            conjugate(cells[cell(lane + 2560u)]), conjugate(cells[cell(lane + 2816u)]),
            conjugate(cells[cell(lane + 3072u)]), conjugate(cells[cell(lane + 3328u)]),
            conjugate(cells[cell(lane + 3584u)]), conjugate(cells[cell(lane + 3840u)]),
        );
        transform_back(&v, lane);
        let to = u32(out + i32(STEP * which));
        toned[to + 2048u] = v[8];
        toned[to + 2304u] = v[9];
        toned[to + 2560u] = v[10];
        toned[to + 2816u] = v[11];
        toned[to + 3072u] = v[12];
        toned[to + 3328u] = v[13];
        toned[to + 3584u] = v[14];
        toned[to + 3840u] = v[15];
    }
}
