//! What symphonia 0.6.1 reads wrongly, and the way around it. Each has a test in `tests/decode/quirks.rs` that fails once symphonia is
//! mended, so that the way around can go.

use super::{
    chunks::{self, field},
    media::Media,
};
use std::io::{self, Seek, SeekFrom};
use symphonia::core::codecs::audio::{AudioCodecParameters, well_known as id};

/// What symphonia says of a joint stereo frame whose channels have blocks of different kinds. The standard allows them, and recorders
/// and encoders write them; mid and side are then added up before each channel goes its own way.
pub(super) const UNEQUAL_BLOCKS: &str = "block_type mismatch";

/// Whether a frame of layer III in joint stereo gives its channels blocks of different kinds (ISO/IEC 11172-3, 2.4.1.7).
pub(super) fn has_unequal_blocks(frame: &[u8], before: usize, mpeg_1: bool, joined: bool) -> bool {
    if !joined {
        return false;
    }
    let Some(side) = frame.get(before..) else { return false };
    // Where granules begin, how many there are, bits of a channel in one, and where it says that its window is switched.
    let (start, granules, length, switch) = if mpeg_1 { (20, 2, 59, 33) } else { (10, 1, 63, 38) };
    let bits = |at: usize, count: usize| {
        (at..at + count)
            .fold(0_u8, |value, bit| value << 1 | side.get(bit / 8).map_or(0, |byte| byte >> (7 - bit % 8) & 1))
    };
    // Kind of block and whether it is mixed; 0 is a long one.
    let kind = |granule: usize, channel: usize| {
        let at = start + (granule * 2 + channel) * length + switch;
        if bits(at, 1) == 1 { bits(at + 1, 3) } else { 0 }
    };
    (0..granules).any(|granule| kind(granule, 0) != kind(granule, 1))
}

/// The numbers of an Opus header are little-endian (RFC 7845, 5.1), but big-endian in MP4 (Encapsulation of Opus in ISO Base Media File
/// Format, 4.3.2), and symphonia copies them as they stand.
pub(super) fn turn_opus_head(params: &mut AudioCodecParameters, in_mp4: bool) {
    if in_mp4
        && params.codec == id::CODEC_ID_OPUS
        && let Some(head) = &mut params.extra_data
        && head.len() >= 18
    {
        // Pre-skip, rate, gain.
        for field in [10..12, 12..16, 16..18] {
            head[field].reverse();
        }
    }
}

/// A CAF whose sound goes on to the end of the file says so by a size of −1, which symphonia refuses for PCM.
pub(super) fn end_open_caf(media: &mut Media<'_>) -> io::Result<()> {
    let mut at = 8_u64;
    for _ in 0..chunks::MAX_CHUNKS {
        let head = chunks::peek(media, at, 12)?;
        let (Some(id), Some(size)) = (field::<4>(&head, 0), field(&head, 4).map(i64::from_be_bytes)) else { break };
        if size == -1 && id == *b"data" {
            let rest = media.len() - at - 12;
            media.replace(at + 4, rest.to_be_bytes().to_vec());
        }
        match u64::try_from(size).ok().and_then(|size| at.checked_add(12)?.checked_add(size)) {
            Some(next) if next < media.len() => at = next,
            _ => break,
        }
    }
    media.seek(SeekFrom::Start(0)).map(drop)
}

/// Whether FLAC frames of such words need the decoder of this crate: the side channel of 32-bit samples has 33 bits.
pub(super) fn is_flac_too_wide(bits: u32) -> bool {
    bits > 31
}

/// The ways around are needed as long as these pass: a failure means that symphonia was mended, and that its way around can go. For the
/// header of Opus in MP4 that is `tests/decode/whole.rs`, for Ogg `core/src/decode/ogg.rs` says what is left out.
#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use symphonia::core::{
        checksum::{Crc8Ccitt, Crc16Ansi},
        codecs::audio::{AudioCodecParameters, AudioDecoderOptions, well_known as id},
        errors::Error,
        formats::{FormatOptions, FormatReader, TrackType, probe::Hint},
        io::{MediaSourceStream, Monitor},
        meta::MetadataOptions,
        packet::Packet,
        units::{Duration, Timestamp},
    };

    fn probe(bytes: Vec<u8>) -> Result<Box<dyn FormatReader>, Error> {
        let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), <_>::default());
        symphonia::default::get_probe().probe(
            &Hint::new(),
            stream,
            FormatOptions::default(),
            MetadataOptions::default(),
        )
    }

    /// One frame of verbatim subframes, 16 samples of a channel each; `side` has one more bit.
    fn flac_frame(assignment: u8, code: u8, subframes: [(i64, u32); 2]) -> Vec<u8> {
        let mut frame = vec![0xFF, 0xF8, 0x69, assignment << 4 | code << 1, 0, 15];
        let mut crc = Crc8Ccitt::new(0);
        crc.process_buf_bytes(&frame);
        frame.push(crc.crc());
        let mut bits = Vec::new();
        for (value, width) in subframes {
            bits.extend([0, 0, 0, 0, 0, 0, 1, 0]);
            for _ in 0..16 {
                bits.extend((0..width).rev().map(|bit| (value >> bit & 1) as u8));
            }
        }
        frame.extend(bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |b, (n, bit)| b | bit << (7 - n))));
        let mut crc = Crc16Ansi::new(0);
        crc.process_buf_bytes(&frame);
        frame.extend(crc.crc().to_be_bytes());
        frame
    }

    fn streaminfo(bits: u64) -> Vec<u8> {
        let packed = 44_100 << 44 | 1 << 41 | (bits - 1) << 36 | 16_u64;
        [&[0, 16, 0, 16][..], &[0; 6], &packed.to_be_bytes(), &[0; 16]].concat()
    }

    #[test]
    fn the_side_of_32_bits_is_read_wrongly() {
        let (left, right) = (i64::from(i32::MAX), i64::from(i32::MIN));
        let frame = flac_frame(10, 7, [((left + right) >> 1, 32), (left - right, 33)]);
        let info = super::super::flac::Info::parse(&streaminfo(32)).unwrap();
        let ours = super::super::flac::frame(&frame, &info).unwrap();
        assert_eq!((ours.channels[0][3], ours.channels[1][3], ours.bytes), (left, right, frame.len()));

        let mut params = AudioCodecParameters::new();
        params.for_codec(id::CODEC_ID_FLAC).with_extra_data(streaminfo(32).into());
        let theirs = std::panic::catch_unwind(move || {
            let mut decoder =
                symphonia::default::get_codecs().make_audio_decoder(&params, &AudioDecoderOptions::default()).unwrap();
            let buffer = decoder.decode(&Packet::new(0, Timestamp::ZERO, Duration::new(16), frame)).ok()?;
            let mut out: Vec<i32> = Vec::new();
            buffer.copy_to_vec_interleaved(&mut out);
            Some(out)
        });
        assert_ne!(theirs.ok().flatten().map(|out| [out[0], out[1]]), Some([i32::MAX, i32::MIN]));
    }

    #[test]
    fn a_smallest_block_of_zero_is_refused() {
        let file = |least: u8| {
            let mut info = streaminfo(16);
            info[1] = least;
            [&b"fLaC\x80\0\0\x22"[..], &info, &flac_frame(1, 4, [(5, 16), (6, 16)])].concat()
        };
        assert!(probe(file(16)).is_ok());
        assert!(probe(file(0)).is_err());
    }

    #[test]
    fn a_caf_that_is_open_at_its_end_is_refused() {
        let caf = |size: i64| {
            let mut file = b"caff\0\x01\0\0desc\0\0\0\0\0\0\0\x20".to_vec();
            file.extend(44_100_f64.to_be_bytes());
            file.extend(b"lpcm");
            for value in [2_u32, 4, 1, 2, 16] {
                file.extend(value.to_be_bytes());
            }
            file.extend(b"data");
            file.extend(size.to_be_bytes());
            file.extend([0; 4 + 4000]);
            file
        };
        assert!(probe(caf(4004)).is_ok());
        assert!(probe(caf(-1)).is_err());
    }

    /// Frames of MPEG-1 layer III with no sound in them, one bit rate for the first 20 and another for the rest.
    fn mp3(frames: usize) -> Vec<u8> {
        let frame = |code: u8, bytes: usize| {
            let mut frame = vec![0; bytes];
            frame[..4].copy_from_slice(&[0xFF, 0xFB, code << 4, 0x40]);
            frame
        };
        (0..frames).flat_map(|n| if n < 20 { frame(14, 1044) } else { frame(1, 104) }).collect()
    }

    #[test]
    fn the_length_of_an_mp3_is_guessed_from_its_first_frames() {
        let format = probe(mp3(200)).unwrap();
        let track = format.default_track(TrackType::Audio).unwrap();
        assert!(track.num_frames.unwrap() < 100 * 1152);
    }

    #[test]
    fn blocks_of_different_kinds_are_refused() {
        let mut frame = mp3(1);
        // Mid/side; the side of the first granule switches its window to a start block.
        frame[3] = 0x60;
        let side = 4 * 8 + 20 + 59 + 33;
        for bit in [side, side + 2] {
            frame[bit / 8] |= 0x80 >> (bit % 8);
        }
        assert!(super::has_unequal_blocks(&frame, 4, true, true));
        let mut params = AudioCodecParameters::new();
        params.for_codec(id::CODEC_ID_MP3);
        let mut decoder =
            symphonia::default::get_codecs().make_audio_decoder(&params, &AudioDecoderOptions::default()).unwrap();
        let error = decoder.decode(&Packet::new(0, Timestamp::ZERO, Duration::new(1152), frame)).err().unwrap();
        assert!(error.to_string().contains(super::UNEQUAL_BLOCKS), "{error}");
    }
}
