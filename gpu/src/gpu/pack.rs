//! Samples to and from staging memory: as narrow on the bus as they are exact.

use rayon::prelude::*;
use wgpu::WriteOnly;

/// A part of staging memory that a thread may take along.
pub(super) struct Own<'a>(pub WriteOnly<'a, [u8]>);

#[expect(unsafe_code, reason = "wgpu declares its write-only references `Send` for sized types alone")]
// SAFETY: like `&mut [u8]` it is the only way to these bytes, and bytes may be written by any thread.
unsafe impl Send for Own<'_> {}

/// Samples looked at in one go.
const STRIP: usize = 4096;

/// The fewest bytes (2, 3 or 4) that hold every sample exactly.
#[must_use]
pub(super) fn width(channels: [&[f32]; 2]) -> u32 {
    let fits = |scale: f32| {
        channels.into_iter().all(|channel| {
            channel.par_chunks(1 << 16).all(|part| {
                part.chunks(STRIP).all(|strip| {
                    let wrong = |x: &f32| {
                        let scaled = x * scale;
                        u32::from(scaled.trunc() != scaled || !(-scale..scale).contains(&scaled))
                    };
                    strip.iter().map(wrong).sum::<u32>() == 0
                })
            })
        })
    };
    if fits(32_768.0) {
        2
    } else if fits(8_388_608.0) {
        3
    } else {
        4
    }
}

/// Writes samples `bytes` wide, little-endian; what is left of `out` is not touched.
pub(super) fn pack(samples: &[f32], bytes: u32, out: WriteOnly<'_, [u8]>) {
    match bytes {
        2 => {
            let (pairs, _) = out.into_chunks::<2>();
            for (slot, x) in pairs.into_iter().zip(samples) {
                slot.write(((x * 32_768.0) as i16).to_le_bytes());
            }
        }
        3 => {
            let narrow = |x: f32| ((x * 8_388_608.0) as i32).to_le_bytes();
            let (fours, rest) = samples.as_chunks::<4>();
            let (groups, tail) = out.split_at(12 * fours.len());
            let (groups, _) = groups.into_chunks::<12>();
            for (slot, four) in groups.into_iter().zip(fours) {
                let [a, b, c, d] = four.map(narrow);
                slot.write([a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1], c[2], d[0], d[1], d[2]]);
            }
            let (triples, _) = tail.into_chunks::<3>();
            for (slot, x) in triples.into_iter().zip(rest) {
                let [a, b, c, _] = narrow(*x);
                slot.write([a, b, c]);
            }
        }
        _ => {
            let (words, _) = out.into_chunks::<4>();
            for (slot, x) in words.into_iter().zip(samples) {
                slot.write(x.to_le_bytes());
            }
        }
    }
}

/// Left and right of interleaved floats, written to frames `from..` of both channels.
pub(super) fn unpack(bytes: &[u8], from: usize, channels: [&mut [f32]; 2]) {
    let frames: &[[[u8; 4]; 2]] = bytemuck::cast_slice(bytes);
    let [left, right] = channels;
    let left = left[from..][..frames.len()].par_chunks_mut(1 << 15);
    let right = right[from..][..frames.len()].par_chunks_mut(1 << 15);
    left.zip(right).zip(frames.par_chunks(1 << 15)).for_each(|((left, right), frames)| {
        for ((l, r), frame) in left.iter_mut().zip(right).zip(frames) {
            (*l, *r) = (f32::from_le_bytes(frame[0]), f32::from_le_bytes(frame[1]));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_travel_as_narrow_as_they_are() {
        let exact = |scale: f32| (-9..9).map(|i| i as f32 * 1234.0 / scale).collect::<Vec<_>>();
        assert_eq!(width([&exact(32_768.0), &[]]), 2);
        assert_eq!(width([&exact(8_388_608.0), &[]]), 3);
        assert_eq!(width([&[0.1], &exact(32_768.0)]), 4);
        assert_eq!(width([&[-1.0], &[0.999_969_5]]), 2);
        // Full scale itself is no integer of any width.
        assert_eq!(width([&[1.0], &[]]), 4);
        assert_eq!(width([&[f32::NAN], &[]]), 4);
        assert_eq!(width([&[], &[]]), 2);
    }

    #[test]
    fn packing_keeps_every_bit() {
        for (bytes, scale) in [(2u32, 32_768.0f32), (3, 8_388_608.0)] {
            let samples: Vec<f32> = (0..11).map(|i| (i as f32 * 977.0 - 5000.0) / scale).collect();
            let mut out = vec![0xa5u8; 11 * bytes as usize + 5];
            pack(&samples, bytes, WriteOnly::from(&mut out[..]));
            for (i, x) in samples.iter().enumerate() {
                let at = i * bytes as usize;
                let mut word = [0u8; 4];
                word[4 - bytes as usize..].copy_from_slice(&out[at..at + bytes as usize]);
                assert_eq!((i32::from_le_bytes(word) >> (32 - 8 * bytes)) as f32 / scale, *x);
            }
            assert!(out[11 * bytes as usize..].iter().all(|b| *b == 0xa5));
        }
    }
}
