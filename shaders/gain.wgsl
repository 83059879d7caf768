// The gain of a frame, from one gain per control block.

@group(0) @binding(9) var<storage, read> gains: array<f32>;

fn gain_at(first: u32, frame: u32, hop: u32, blocks: u32) -> f32 {
    let block = frame / hop;
    let u = (f32(frame % hop) + 0.5) / f32(hop);
    let before = gains[first + max(block, 1u) - 1u];
    let after = gains[first + min(block + 1u, blocks - 1u)];
    return spline(before, gains[first + block], after, u);
}
