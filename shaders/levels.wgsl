// `levels`, first half: sums of mid² + side² over each hop, plain and weighted by cos and sin of the place in the hop. Three such sums
// per hop give a Hann window of any length over single frames. The last band of a complete bank is what the others leave.

@group(0) @binding(3) var<storage, read> settings: array<Band>;
@group(0) @binding(4) var<storage, read> phases: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> input: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> toned: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read> bands: array<vec2<f32>>;
@group(0) @binding(8) var<storage, read_write> sums: array<vec4<f32>>;

@compute @workgroup_size(64)
fn levels(
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
    let track = item.track;
    let hop = item.at + i32(lane);
    let length = tracks[track].hop;
    let start = hop * i32(length);
    let frames = i32(tracks[track].frames);
    let origin = u32(clamp(-start, 0, i32(length)));
    let to = u32(clamp(frames - start, 0, i32(length)));
    let rows = tracks[track].row_count;
    let stride = tracks[track].bands_stride;
    let first = tracks[track].bands + start;
    let has_tone = tracks[track].has_tone != 0u;
    let whole = select(tracks[track].input, tracks[track].toned, has_tone) + start;
    for (var band = 0u; band < tracks[track].band_count; band++) {
        let table = settings[track * BANDS + band].phases;
        var sum = vec3<f32>(0.0);
        for (var i = origin; i < to; i++) {
            var z = vec2<f32>(0.0);
            if band < rows {
                z = bands[u32(first + i32(band * stride + i))];
            } else {
                if has_tone {
                    z = toned[u32(whole + i32(i))];
                } else {
                    z = mid_side(input[u32(whole + i32(i))]);
                }
                for (var row = 0u; row < rows; row++) {
                    z -= bands[u32(first + i32(row * stride + i))];
                }
            }
            let energy = z.x * z.x + z.y * z.y;
            let phase = phases[table + i];
            sum += energy * vec3<f32>(1.0, phase.x, phase.y);
        }
        sums[u32(tracks[track].sums + i32(band * tracks[track].sums_stride) + hop)] = vec4<f32>(sum, 0.0);
    }
}
