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
    let origin = u32(base + (item.at - 1) * i32(STEP) + i32(lane));
    var v = array<vec2<f32>, 16>(
        point(origin), point(origin + 256u), point(origin + 512u), point(origin + 768u),
        point(origin + 1024u), point(origin + 1280u), point(origin + 1536u), point(origin + 1792u),
        point(origin + 2048u), point(origin + 2304u), point(origin + 2560u), point(origin + 2816u),
        point(origin + 3072u), point(origin + 3328u), point(origin + 3584u), point(origin + 3840u),
    );
    transform(&v, lane);
    let out = u32(tracks[item.track].spectra + item.at) * POINTS + lane;
    spectra[out] = v[0];
    spectra[out + 256u] = v[1];
    spectra[out + 512u] = v[2];
    spectra[out + 768u] = v[3];
    spectra[out + 1024u] = v[4];
    spectra[out + 1280u] = v[5];
    spectra[out + 1536u] = v[6];
    spectra[out + 1792u] = v[7];
    spectra[out + 2048u] = v[8];
    spectra[out + 2304u] = v[9];
    spectra[out + 2560u] = v[10];
    spectra[out + 2816u] = v[11];
    spectra[out + 3072u] = v[12];
    spectra[out + 3328u] = v[13];
    spectra[out + 3584u] = v[14];
    spectra[out + 3840u] = v[15];
}

fn point(at: u32) -> vec2<f32> {
    let z = signal[at];
    return select(z, mid_side(z), launch.mode == 0u);
}
