//! What a track will take, from what is known before anybody has looked into it: size and name. Too little costs another trip through
//! the queue, too much is given back as soon as the track is decoded.

use loopmaster_core::settings::Limits;

/// Bytes of a decoded frame: two channels of four bytes.
const FRAME: f64 = 8.0;
/// The usual rate.
const RATE: f64 = 44_100.0;

/// What a track will take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Seconds of audio.
    pub seconds: f64,
    /// Bytes of decoded audio.
    pub bytes: u64,
}

/// What an upload of `bytes` bytes will take.
#[must_use]
pub fn estimate(bytes: u64, media_type: &str, name: &str, limits: &Limits) -> Estimate {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| extension == *word || media_type.contains(word));
    // Decoded bytes for each byte of the file.
    let grows = if says(&["mp3", "mpeg", "mp4", "m4a", "aac", "ogg", "oga", "opus", "webm", "mka", "mkv", "matroska"]) {
        24.0 // 128 kbit/s at 48 kHz
    } else if says(&["flac", "alac"]) {
        4.0 // 16 bits at half their size
    } else {
        2.0 // 16 bits, stereo
    };
    let most = limits.seconds * f64::from(limits.rate.1) * FRAME;
    let decoded = (bytes as f64 * grows).clamp(FRAME, most);
    Estimate { seconds: (decoded / FRAME / RATE).min(limits.seconds), bytes: decoded as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_for_what_people_upload() {
        let limits = Limits::default();
        for (name, bytes_per_second) in [
            ("a.wav", 44_100 * 4),
            ("a.WAV", 96_000 * 6),
            ("b.mp3", 16_000),
            ("b.mp3", 40_000),
            ("c.flac", 88_200),
            ("noname", 176_400),
        ] {
            let guess = estimate(bytes_per_second * 60, "", name, &limits);
            assert!(guess.bytes as f64 >= 60.0 * RATE * FRAME * 0.99, "{name}: {guess:?}");
            assert!(guess.seconds >= 59.0);
        }
        assert_eq!(estimate(40_000 * 60, "audio/mpeg", "b", &limits), estimate(40_000 * 60, "", "b.mp3", &limits));
        let huge = estimate(u64::MAX, "audio/mpeg", "x", &limits);
        assert_eq!(huge.seconds, limits.seconds);
        assert_eq!(estimate(0, "", "", &limits).bytes, 8);
    }
}
