//! The structures that host and shaders share. A test holds each field against what naga reads in the shaders.

use bytemuck::{Pod, Zeroable};

/// Frames of one overlap-save step: half of a transform.
pub const STEP: usize = 2048;
/// Points of a transform.
pub const POINTS: usize = 2 * STEP;
/// Bands a track may have.
pub const BANDS: usize = loopmaster_core::bands::BANDS;
/// Frames of the tiles of the finish …
pub const TILE: usize = 512;
/// … and of the sum of the bands.
pub const MIX_TILE: usize = 256;
/// Blocks of a stretch of the K-weighting …
pub const STRETCH: usize = 16;
/// … and stretches that are remembered.
pub const MEMORY: usize = 8;

/// One track of the batch: `Track` of `common.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Track {
    /// Frames of the whole track.
    pub frames: u32,
    /// Frames per control block, and per control point of the dynamics.
    pub hop: u32,
    /// Where frame 0 stands in the two stores.
    pub store: i32,
    /// Where frame 0 stands in the unpacked chunk.
    pub input: i32,
    /// Where frame 0 stands in the tone-filtered chunk.
    pub toned: i32,
    /// Where transform 0 stands.
    pub spectra: i32,
    /// Where frame 0 of the first band stands …
    pub bands: i32,
    /// … and how far the next band is.
    pub bands_stride: u32,
    /// Where hop 0 of the first band stands …
    pub sums: i32,
    /// … and how far the next band is.
    pub sums_stride: u32,
    /// Where control point 0 of the first band stands …
    pub points: i32,
    /// … and how far the next band is.
    pub points_stride: u32,
    /// Control points of the track.
    pub point_count: u32,
    /// Where the tone filter begins.
    pub fir: u32,
    /// Its partitions.
    pub fir_parts: u32,
    /// How many transforms ahead its first partition looks.
    pub fir_first: i32,
    /// Whether mid and side have different filters.
    pub fir_both: u32,
    /// Where the filters of the bands begin.
    pub bank: u32,
    /// Their partitions.
    pub bank_parts: u32,
    /// How many transforms ahead their first partition looks.
    pub bank_first: i32,
    /// Bands that act.
    pub band_count: u32,
    /// Bands that are computed; the one missing is what they leave.
    pub row_count: u32,
    /// Whether there is a tone filter.
    pub has_tone: u32,
    /// First word of the raw samples.
    pub raw: u32,
    /// Words from the left channel to the right.
    pub raw_plane: u32,
    /// The frame they begin with.
    pub raw_first: i32,
    /// Bytes per raw sample: 2, 3 or 4.
    pub raw_bytes: u32,
    /// Where the track's control blocks begin.
    pub blocks: u32,
    /// Where its stretches of the K-weighting begin.
    pub states: u32,
    /// Magnitude from which a sample counts as clipped.
    pub report_threshold: f32,
    /// The curve of the clipper.
    pub clip_begin: [f32; 2],
    /// The curve of the clipper.
    pub clip_width: [f32; 2],
    /// The curve of the clipper.
    pub clip_weight: [f32; 2],
    /// The curve of the saturation.
    pub full: f32,
    /// The curve of the saturation.
    pub cube: f32,
    /// The curve of the saturation.
    pub square: f32,
    /// Frames of the fade in.
    pub fade_in: f32,
    /// Frames of the fade out.
    pub fade_out: f32,
    /// Up to a whole number of eight bytes.
    pub spare: u32,
}

/// One acting band: `Band` of `common.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Band {
    /// Its place among the filters of the track's bank.
    pub row: u32,
    /// Length of its level window in hops.
    pub window: u32,
    /// Where its window's weights begin.
    pub weights: u32,
    /// Where its phases within a hop begin.
    pub phases: u32,
    /// One over the threshold as a mean square.
    pub threshold: f32,
    /// Slope of the static curve.
    pub slope: f32,
    /// Its knee, dB.
    pub knee: f32,
    /// Most reduction, dB.
    pub most: f32,
    /// Makeup, dB.
    pub makeup: f32,
    /// What the reduction gains on its aim per point on the way up …
    pub attack: f32,
    /// … and down.
    pub release: f32,
    /// Up to a whole number of sixteen bytes.
    pub spare: f32,
}

/// One piece of work: `Item` of `common.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Item {
    /// Which track.
    pub track: u32,
    /// The first frame, hop, point, block or transform.
    pub at: i32,
    /// How many.
    pub count: u32,
    /// Where the result goes, or which band.
    pub slot: u32,
}

/// What differs from launch to launch: `Launch` of `common.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Launch {
    /// The first of its items.
    pub first: u32,
    /// How many items.
    pub count: u32,
    /// Where its workgroups sign.
    pub ledger: u32,
    /// The frame of the stores at which the bound part begins.
    pub window: i32,
    /// A kernel's own.
    pub mode: u32,
    /// Up to a whole number of eight bytes.
    pub spare: u32,
}

/// What a band carries from chunk to chunk: `State` of `gains.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct State {
    /// Reduction in dB, as two floats.
    pub reduction: [f32; 2],
    /// Sum of all reductions so far, as two floats.
    pub total: [f32; 2],
    /// The last four excess gains.
    pub held: [f32; 4],
}
