// `unpack`: raw samples of 16, 24 or 32 bits to left and right; silence outside of the track.

@group(0) @binding(3) var<storage, read> raw: array<u32>;
@group(0) @binding(4) var<storage, read_write> frames_out: array<vec2<f32>>;

/// 16 and 24 bits are integers, 32 bits the float itself.
fn sample(start: u32, index: u32, bytes: u32) -> f32 {
    if bytes == 4u {
        return bitcast<f32>(raw[start + index]);
    }
    let at = index * bytes;
    let word = start + (at >> 2u);
    let shift = (at & 3u) * 8u;
    var bits = raw[word] >> shift;
    let high = 32u - bytes * 8u;
    if shift > high {
        bits |= raw[word + 1u] << (32u - shift);
    }
    let value = bitcast<i32>(bits << high) >> high;
    return f32(value) * select(1.0 / 8388608.0, 1.0 / 32768.0, bytes == 2u);
}

@compute @workgroup_size(256)
fn unpack(
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
    let frames = tracks[item.track].frames;
    let start = tracks[item.track].raw;
    let plane = tracks[item.track].raw_plane;
    let first = tracks[item.track].raw_first;
    let bytes = tracks[item.track].raw_bytes;
    let base = tracks[item.track].input - launch.window;
    for (var i = lane; i < item.count; i += 256u) {
        let frame = item.at + i32(i);
        var z = vec2<f32>(0.0);
        if frame >= 0 && u32(frame) < frames {
            let index = u32(frame - first);
            z = vec2<f32>(sample(start, index, bytes), sample(start + plane, index, bytes));
        }
        frames_out[u32(base + frame)] = z;
    }
}
