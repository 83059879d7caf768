// What every kernel shares; it is put in front of each.
//
// A launch is a list of items: one workgroup takes one item, a piece of one track. Tracks of any lengths stand in one launch this way,
// and nothing is padded. Indices into buffers are "where the track's frame 0 would stand": they may lie before the buffer.

/// One track of the batch; the host's `Track`.
struct Track {
    frames: u32,
    hop: u32,
    store: i32,
    input: i32,
    toned: i32,
    spectra: i32,
    bands: i32,
    bands_stride: u32,
    sums: i32,
    sums_stride: u32,
    points: i32,
    points_stride: u32,
    point_count: u32,
    fir: u32,
    fir_parts: u32,
    fir_first: i32,
    fir_both: u32,
    bank: u32,
    bank_parts: u32,
    bank_first: i32,
    band_count: u32,
    row_count: u32,
    has_tone: u32,
    raw: u32,
    raw_plane: u32,
    raw_first: i32,
    raw_bytes: u32,
    blocks: u32,
    states: u32,
    report_threshold: f32,
    clip_begin: vec2<f32>,
    clip_width: vec2<f32>,
    clip_weight: vec2<f32>,
    full: f32,
    cube: f32,
    square: f32,
    fade_in: f32,
    fade_out: f32,
    spare: u32,
}

/// One acting band of a track; the host's `Band`.
struct Band {
    row: u32,
    window: u32,
    weights: u32,
    phases: u32,
    threshold: f32,
    slope: f32,
    knee: f32,
    most: f32,
    makeup: f32,
    attack: f32,
    release: f32,
    spare: f32,
}

/// One piece of work; the host's `Item`.
struct Item {
    track: u32,
    at: i32,
    count: u32,
    slot: u32,
}

/// What differs from launch to launch; the host's `Launch`.
struct Launch {
    first: u32,
    count: u32,
    ledger: u32,
    window: i32,
    mode: u32,
    spare: u32,
}

const BANDS: u32 = 5u;

@group(0) @binding(0) var<storage, read> tracks: array<Track>;
@group(0) @binding(1) var<storage, read> items: array<Item>;
@group(0) @binding(2) var<storage, read_write> ledger: array<atomic<u32>>;
var<immediate> launch: Launch;

/// The workgroup's place in the list.
fn place(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

/// Every workgroup signs: the host counts the signatures before it believes a result.
fn sign(lane: u32) {
    if lane == 0u {
        atomicAdd(&ledger[launch.ledger], 1u);
    }
}

/// Mid and side of left and right.
fn mid_side(z: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(0.5 * (z.x + z.y), 0.5 * (z.x - z.y));
}

/// The quadratic B-spline at the place `u` (0 to 1) of a block, through its own point and those of its neighbours.
fn spline(before: f32, here: f32, after: f32, u: f32) -> f32 {
    if before == here && after == here {
        return here;
    }
    return before * 0.5 * (1.0 - u) * (1.0 - u) + here * (0.5 + u * (1.0 - u)) + after * 0.5 * u * u;
}
