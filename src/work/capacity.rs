//! How large a track this worker takes.
//!
//! Samples lie in memory up to the budget, and in files of the scratch folder beyond it ([`loopmaster_core::samples`]). What is worked out beside them (levels,
//! gains and energies of short blocks) is always in memory, so the budget bounds a track, too, and so does the disk.

use loopmaster_core::settings::Limits;
use loopmaster_core::{Audio, machine};
use serde::Serialize;
use std::path::Path;

/// Memory of a track in units of its decoded samples, where all of it fits: the mix's preview, a master for each rate, the files decoded again.
/// 5.3 were measured at two rates and three files; what is above lies in files.
pub const TIMES_DECODED: u64 = 5;
/// Decoded bytes for each byte of what is worked out beside the samples, rounded down.
const BESIDE: u64 = 2;
/// Room on the disk of a track at its worst in units of its decoded samples: [`TIMES_DECODED`], and the files that are made.
pub(super) const TIMES_ON_DISK: u64 = 6;
/// Rates for which the longest track is told.
const RATES: [u32; 6] = [44_100, 48_000, 88_200, 96_000, 176_400, 192_000];

/// The longest track of a sample rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Longest {
    /// Frames per second of the file.
    #[schema(example = 44_100)]
    pub rate: u32,
    /// Seconds.
    #[schema(example = 7_200.0)]
    pub seconds: f64,
}

/// Bytes of decoded audio.
pub(super) fn bytes(audio: &Audio) -> u64 {
    8 * audio.frames() as u64
}

/// Most bytes of decoded audio that one track may have on a machine with this budget and such a disk (0: unknown).
#[must_use]
pub fn largest(budget: u64, disk: u64, limits: &Limits) -> u64 {
    let wanted = promised(limits);
    let beside = budget.saturating_mul(BESIDE);
    let disk = if disk == 0 { u64::MAX } else { disk / TIMES_ON_DISK };
    wanted.min(beside).min(disk.max(budget / TIMES_DECODED)).min(limits.memory)
}

/// Bytes of the longest track at the highest rate: more is never asked for.
#[must_use]
pub fn promised(limits: &Limits) -> u64 {
    // Two channels of four bytes.
    (limits.seconds * f64::from(limits.rate.1) * 8.0) as u64
}

/// The same for the disk of a folder.
#[must_use]
pub fn largest_in(budget: u64, scratch: &Path, limits: &Limits) -> u64 {
    // The folder may not be made yet.
    let there = scratch.ancestors().find(|folder| folder.is_dir());
    let disk = there.and_then(|folder| machine::disk(folder).ok()).map_or(0, |(_, whole)| whole);
    largest(budget, disk, limits)
}

/// How long tracks of each rate may be, if they may have `largest` bytes.
#[must_use]
pub fn longest(largest: u64, limits: &Limits) -> Vec<Longest> {
    let seconds = |rate: u32| (largest as f64 / 8.0 / f64::from(rate)).min(limits.seconds).floor();
    RATES.into_iter().map(|rate| Longest { rate, seconds: seconds(rate) }).collect()
}

/// `2 h at 44.1 kHz, 46 min at 192 kHz`: what can be done about a track that is too large.
#[must_use]
pub fn in_words(largest: u64, limits: &Limits) -> String {
    let of = |rate: u32| {
        let seconds = (largest as f64 / 8.0 / f64::from(rate)).min(limits.seconds);
        let minutes = (seconds / 60.0).floor();
        let length =
            if minutes < 120.0 { format!("{minutes:.0} min") } else { format!("{:.0} h", (minutes / 60.0).floor()) };
        format!("{length} at {} kHz", f64::from(rate) / 1_000.0)
    };
    format!("{}, {} and {}", of(44_100), of(96_000), of(192_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_of_eight_gibibytes_keeps_the_promise() {
        let limits = Limits::default();
        // Three eighths of 8 GiB, and a disk with room.
        let largest = largest(3 << 30, 200 << 30, &limits);
        let of =
            |rate: u32| longest(largest, &limits).into_iter().find(|longest| longest.rate == rate).unwrap().seconds;
        assert_eq!((of(44_100), of(48_000)), (7_200.0, 7_200.0));
        assert!(of(192_000) >= 40.0 * 60.0, "{}", of(192_000));
        assert_eq!(in_words(largest, &limits), "2 h at 44.1 kHz, 2 h at 96 kHz and 69 min at 192 kHz");
    }

    #[test]
    fn a_small_machine_or_disk_takes_less_and_says_so() {
        let limits = Limits::default();
        let small = largest(384 << 20, 0, &limits);
        assert_eq!(small, 768 << 20);
        assert_eq!(in_words(small, &limits), "38 min at 44.1 kHz, 17 min at 96 kHz and 8 min at 192 kHz");
        // 6 GB of disk hold a sixth of that of audio; what fits into memory needs none.
        assert_eq!(largest(3 << 30, 6_000_000_000, &limits), 1_000_000_000);
        assert_eq!(largest(3 << 30, 1, &limits), (3 << 30) / TIMES_DECODED);
        // Nobody needs more than the longest track at the highest rate.
        assert_eq!(largest(1 << 50, 0, &limits), promised(&limits));
    }
}
