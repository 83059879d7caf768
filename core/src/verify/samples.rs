//! What is read from the samples one by one.

use super::Gate;
use crate::Audio;
use rayon::prelude::*;
use std::ops::Range;

/// Frames per unit of work.
const PIECE: usize = 1 << 16;

/// Samples that are infinite or not a number.
pub(super) fn non_finite(audio: &Audio) -> usize {
    let count = |piece: &[f32]| piece.iter().map(|x| u32::from(!x.is_finite())).sum::<u32>() as usize;
    audio.channels.iter().map(|samples| samples.par_chunks(PIECE).map(count).sum::<usize>()).sum()
}

/// A lossless file holds the master: to the bit in float, within the dither and the rounding (1 + ½ LSB) in integers.
pub(super) fn exact(decoded: &Audio, master: &Audio, bits: Option<u32>) -> Gate {
    let scale = bits.map_or(1.0, |bits| f64::from(1_u32 << (bits - 1)));
    let bound = if bits.is_some() { 1.5 } else { 0.0 };
    // What an integer file cannot hold was clamped, and counted, by the encoder.
    let (low, high) = if bits.is_some() { (-scale, scale - 1.0) } else { (f64::NEG_INFINITY, f64::INFINITY) };
    let largest = |(decoded, master): (&[f32], &[f32])| {
        decoded.iter().zip(master).fold(0.0_f64, |largest, (&d, &m)| {
            let difference = (f64::from(d) * scale - (f64::from(m) * scale).clamp(low, high)).abs();
            // A NaN is as far away as can be.
            if difference <= largest { largest } else { difference.min(f64::MAX) }
        })
    };
    let measured = (decoded.channels.iter())
        .zip(&master.channels)
        .map(|(d, m)| d.par_chunks(PIECE).zip(m.par_chunks(PIECE)).map(largest).reduce(|| 0.0, f64::max))
        .fold(0.0, f64::max);
    let text = match (measured <= bound, bits) {
        (true, None) => "every sample equals the master's".to_owned(),
        (true, Some(bits)) => format!("every sample within {measured:.2} LSB of {bits} bits of the master's"),
        (false, None) => format!("a sample is {measured:e} away from the master's"),
        (false, Some(bits)) => {
            format!("a sample is {measured:.2} LSB of {bits} bits away from the master's, at most 1.5")
        }
    };
    Gate::new("alignment", measured <= bound, measured, bound, text)
}

/// Frames that are compared.
const WINDOW: usize = 8192;
/// Farthest shift that is looked for: more than the delay of any codec here (MP3: 576 + 529, or a frame of 1152).
const REACH: usize = 1536;
/// Moments that are looked at: a file that is out of place is so everywhere, and by as much.
const MOMENTS: usize = 3;
/// How much better the moved file has to match, of 1. A steady tone matches itself a period on as well as in place, but for the
/// codec's noise.
const BETTER: f64 = 0.01;

/// A lossy file is in place: in its loudest moments it matches the master better unmoved than moved.
pub(super) fn aligned(decoded: &Audio, master: &Audio) -> Gate {
    let frames = decoded.frames().min(master.frames());
    let window = WINDOW.min(frames);
    // The loudest windows, in the louder channel there.
    let energy = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
    let mut moments: Vec<(f32, usize, usize)> = (0..=frames - window)
        .step_by(WINDOW)
        .flat_map(|start| [(0, start), (1, start)])
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(channel, start)| (energy(&master.channels[channel][start..start + window]), channel, start))
        .collect();
    moments.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
    moments.truncate(MOMENTS);
    let mut lags: Vec<isize> =
        moments.iter().map(|&(_, channel, start)| lag(decoded, master, channel, start..start + window)).collect();
    lags.sort_unstable();
    // The shift that most moments agree on.
    let most = lags.chunk_by(|a, b| a == b).max_by_key(|same| same.len());
    let lag = most.filter(|same| 2 * same.len() > lags.len()).map_or(0, |same| same[0]);
    let text = if lag == 0 { "in place".to_owned() } else { format!("{lag:+} frames out of place") };
    Gate::new("alignment", lag == 0, lag as f64, 0.0, text)
}

/// How far a moment of the master is moved in the decoded file, frames; 0 where it matches in place as well as anywhere.
fn lag(decoded: &Audio, master: &Audio, channel: usize, moment: Range<usize>) -> isize {
    let (start, window) = (moment.start, moment.len());
    let reference = &master.channels[channel][moment];
    let reach = REACH.min(window / 2);
    let near: Vec<f32> = (0..window + 2 * reach)
        .map(|i| {
            (start + i).checked_sub(reach).and_then(|at| decoded.channels[channel].get(at)).copied().unwrap_or(0.0)
        })
        .collect();
    let own = reference.iter().map(|r| f64::from(*r).powi(2)).sum::<f64>().sqrt();
    // Normalised, so that a louder neighbour does not pass for a better match.
    let match_at = |shift: usize| -> f64 {
        let (mut cross, mut power) = (0.0, 0.0);
        for (&r, &d) in reference.iter().zip(&near[shift..]) {
            cross += f64::from(r) * f64::from(d);
            power += f64::from(d) * f64::from(d);
        }
        if power > 0.0 && own > 0.0 { cross / (power.sqrt() * own) } else { 0.0 }
    };
    let matches: Vec<f64> = (0..=2 * reach).into_par_iter().map(match_at).collect();
    let best = (0..matches.len()).fold(reach, |best, i| if matches[i] > matches[best] { i } else { best });
    if matches[best] - matches[reach] <= BETTER { 0 } else { best as isize - reach as isize }
}

/// Level from which a run counts as clipped: `analyse::Clipping`'s.
const CLIPPED: f32 = 0.999;

/// Runs of ≥ 3 equal samples at or above 0.999 of full scale, as `analyse` counts them in the mix.
pub(super) fn clipped_runs(audio: &Audio) -> u64 {
    audio.channels.iter().map(|samples| runs(samples)).sum()
}

fn runs(samples: &[f32]) -> u64 {
    let count = |piece: usize| {
        let start = piece * PIECE;
        let end = (start + PIECE).min(samples.len());
        // Most pieces hold no such sample, and are left after one pass that compilers make fast.
        if samples[start..end].iter().fold(0.0_f32, |peak, x| peak.max(x.abs())) < CLIPPED {
            return 0;
        }
        // A run belongs to the piece in which it begins.
        let begins = |i: usize| samples[i].abs() >= CLIPPED && (i == 0 || samples[i - 1] != samples[i]);
        (start..end)
            .filter(|&i| begins(i) && samples[i..].iter().take(3).filter(|&&x| x == samples[i]).count() == 3)
            .count() as u64
    };
    (0..samples.len().div_ceil(PIECE)).into_par_iter().map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(frames: usize) -> Audio {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as f32 / 4_294_967_296.0 - 0.5
        };
        Audio::new(44_100, [(0..frames).map(|_| next()).collect(), (0..frames).map(|_| next()).collect()])
    }

    #[test]
    fn one_wrong_sample_is_found() {
        let master = noise(200_000);
        assert!(exact(&master, &master, None).passed && exact(&master, &master, Some(24)).passed);
        for wrong in [0.4, f32::NAN, f32::INFINITY] {
            let mut decoded = master.clone();
            decoded.channels[1][177_777] = wrong;
            assert!(!exact(&decoded, &master, None).passed && !exact(&decoded, &master, Some(16)).passed, "{wrong}");
        }
        let mut hot = master.clone();
        hot.channels[0][9] = 1.5;
        let mut clamped = hot.clone();
        clamped.channels[0][9] = 32_767.0 / 32_768.0;
        assert!(exact(&clamped, &hot, Some(16)).passed && !exact(&clamped, &hot, None).passed);
    }

    #[test]
    fn a_shift_is_found_and_a_tone_is_not_one() {
        let master = noise(100_000);
        assert_eq!(aligned(&master, &master).measured, 0.0);
        for shift in [1_isize, -1, 529, 1_105, -1_152] {
            let moved = |x: &[f32]| {
                let at = |i: usize| usize::try_from(i as isize - shift).ok().and_then(|i| x.get(i)).copied();
                (0..x.len()).map(|i| at(i).unwrap_or(0.0)).collect()
            };
            let decoded = Audio::new(44_100, [moved(&master.channels[0]), moved(&master.channels[1])]);
            let gate = aligned(&decoded, &master);
            assert!(!gate.passed && gate.measured == shift as f64, "{shift}: {}", gate.text);
        }
        let tone: Vec<f32> = (0..44_100).map(|i| (i as f32 * std::f32::consts::TAU / 100.0).sin()).collect();
        let tone = Audio::new(44_100, [tone.clone(), tone]);
        assert!(aligned(&tone, &tone).passed);
        for frames in [0, 1, 31] {
            assert!(aligned(&noise(frames), &noise(frames)).passed);
        }
    }

    #[test]
    fn runs_are_counted_once_also_across_pieces() {
        let mut audio = Audio::silence(44_100, 200_000);
        audio.channels[0][PIECE - 1..PIECE + 2].fill(1.0);
        audio.channels[0][0..3].fill(-1.0);
        audio.channels[0][100..102].fill(1.0);
        audio.channels[1][199_990..].fill(1.0);
        audio.channels[1][50..60].fill(0.99);
        assert_eq!(clipped_runs(&audio), 3);
        audio.channels[1][0] = f32::NAN;
        assert_eq!(non_finite(&audio), 1);
    }
}
