//! How the engine divides what is heard: the bands of analysis and dynamics, and where the end of a recording's own band begins.

/// Lower edges of the engine's bands in Hz; the first band begins at 0, the last ends at Nyquist. Chosen by ear and practice:
/// sub and kick, low mids, mids with the voice, presence, air.
pub const BAND_EDGES: [f64; 4] = [120.0, 500.0, 2_500.0, 8_000.0];

/// Number of bands.
pub const BANDS: usize = BAND_EDGES.len() + 1;

/// Where the last tenth of the band begins, as a share of the sample rate. Between here and Nyquist a peak between the samples reads
/// differently on every meter and converter, because their filters end here.
pub const ULTRASONIC: f64 = 0.4535;
