//! The instruments: BS.1770 loudness, true peak, spectrum. Used by `analyse`, by the loudness solver of `render` and by `verify`.
//!
//! All of them cut the audio into fixed segments that depend on nothing but the audio, and reduce in a fixed order: the figures
//! are equal to the last bit for any number of threads. They use plain multiplications and additions, so the instruction set
//! does not show either.

pub mod loudness;
pub mod spectrum;
pub mod true_peak;

pub use loudness::{Loudness, integrated_from_block_energies, k_energies};
pub use spectrum::{BandMatrix, CellThirds, Spectra, Spectrum, THIRDS, ThirdOctave, third_octave};
pub(crate) use spectrum::{CELL_LENGTH, median, percentile};
pub(crate) use true_peak::bessel_i0;
pub use true_peak::{TruePeak, true_peak, true_peak_and_blocks};
