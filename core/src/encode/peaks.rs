//! Waveform overviews for drawing, in the formats of BBC audiowaveform (version 2), which web players read:
//! <https://github.com/bbc/audiowaveform/blob/master/doc/DataFormat.md>.

use crate::Audio;
use crate::analyse::Waveform;
use rayon::prelude::*;

/// Minimum and maximum of both channels together, one pair per `frames_per_point` frames (the last pair may cover fewer).
#[must_use]
pub fn waveform(audio: &Audio, frames_per_point: u32) -> Waveform {
    let step = frames_per_point.max(1) as usize;
    let [left, right] = &audio.channels;
    let extremes = |samples: &[f32]| {
        samples.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)))
    };
    let points = left
        .par_chunks(step)
        .zip(right.par_chunks(step))
        .map(|(left, right)| {
            let (l, r) = (extremes(left), extremes(right));
            (l.0.min(r.0), l.1.max(r.1))
        })
        .collect();
    Waveform { frames_per_point: step as u32, rate: audio.rate, points }
}

/// The binary form, 8 bits per value: what a page draws needs no more.
#[must_use]
pub fn dat(waveform: &Waveform) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24 + 2 * waveform.points.len());
    // Version, flags (bit 0: 8 bits), rate, frames per pixel, pixels, channels.
    for value in [2, 1, waveform.rate, waveform.frames_per_point, waveform.points.len() as u32, 1] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(values(waveform).map(|value| value as u8));
    bytes
}

/// The JSON form of the same values.
#[must_use]
pub fn json(waveform: &Waveform) -> String {
    serde_json::json!({
        "version": 2,
        "channels": 1,
        "sample_rate": waveform.rate,
        "samples_per_pixel": waveform.frames_per_point,
        "bits": 8,
        "length": waveform.points.len(),
        "data": values(waveform).collect::<Vec<i8>>(),
    })
    .to_string()
}

/// Minimum, maximum, minimum, maximum …
fn values(waveform: &Waveform) -> impl Iterator<Item = i8> {
    let scale = |x: f32| (x * 128.0).round().clamp(-128.0, 127.0) as i8;
    waveform.points.iter().flat_map(move |&(low, high)| [scale(low), scale(high)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_tell_the_same() {
        let audio = Audio::new(48_000, [vec![0.0, 0.5, -0.25, 1.5, 0.0], vec![0.1, -1.0, 0.0, 0.0, 0.25]]);
        let wave = waveform(&audio, 2);
        assert_eq!(wave.points, [(-1.0, 0.5), (-0.25, 1.5), (0.0, 0.25)]);
        let bytes = dat(&wave);
        let head: Vec<u32> = bytes[..24].as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        assert_eq!(head, [2, 1, 48_000, 2, 3, 1]);
        assert_eq!(bytes[24..].iter().map(|&b| b as i8).collect::<Vec<_>>(), [-128, 64, -32, 127, 0, 32]);
        let value: serde_json::Value = serde_json::from_str(&json(&wave)).unwrap();
        assert_eq!(value["data"], serde_json::json!([-128, 64, -32, 127, 0, 32]));
        assert_eq!((&value["length"], &value["bits"]), (&3.into(), &8.into()));
    }
}
