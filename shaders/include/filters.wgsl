// The short filters of the host, and where they stand in their table of four floats each.

// Of a detector, for each pair of taps (n − i, n + 1 + i): even halves of three phase pairs and the middle phase, then odd halves; the
// finer ones have two such groups.
const COARSE: u32 = 0u;
const COARSE_TAPS: u32 = 16u;
const COARSE_FEW: u32 = 32u;
const FINE: u32 = 64u;
const FINE_TAPS: u32 = 64u;
const METER: u32 = 320u;
const METER_TAPS: u32 = 10u;
// 1 → 2: the taps half-way between samples.
const HALF: u32 = 360u;
const HALF_TAPS: u32 = 32u;
// 2 → 16: eight phases of 16 taps.
const WIDE: u32 = 376u;
const WIDE_PHASES: u32 = 8u;
const WIDE_TAPS: u32 = 8u;

/// Groups of four floats.
const GROUPS: u32 = 408u;

@group(0) @binding(3) var<uniform> filters: array<vec4<f32>, GROUPS>;
