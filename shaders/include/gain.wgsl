// The gains of four frames, from one gain per control block.

@group(0) @binding(9) var<storage, read> gains: array<f32>;

/// Of the frames from `frame` on, which is a multiple of four, as blocks are: they lie in one.
fn gains_at(first: u32, frame: u32, hop: u32, blocks: u32) -> vec4<f32> {
    let block = frame / hop;
    let before = gains[first + max(block, 1u) - 1u];
    let here = gains[first + block];
    let after = gains[first + min(block + 1u, blocks - 1u)];
    let u = (vec4<f32>(f32(frame % hop)) + vec4<f32>(0.5, 1.5, 2.5, 3.5)) / f32(hop);
    return vec4<f32>(
        spline(before, here, after, u.x),
        spline(before, here, after, u.y),
        spline(before, here, after, u.z),
        spline(before, here, after, u.w),
    );
}
