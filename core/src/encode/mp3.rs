//! MP3 (ISO/IEC 11172-3 layer III) by LAME: 320 kbit/s constant, or V0.
//!
//! LAME is LGPL code in a static library; what that asks of distributors stands in the documentation.

use super::{EncodeError, Encoded, Metadata, Output, SEGMENT, hash_back, segment, tags};
use crate::Audio;
use crate::settings::Codec;
use mp3lame_encoder::{Bitrate, Builder, DualPcm, Encoder, FlushGap, Mode, Quality, VbrMode, max_required_buffer_size};
use std::io::SeekFrom;

pub(super) fn encode<W: Output>(
    audio: &Audio,
    codec: Codec,
    meta: &Metadata,
    out: &mut W,
) -> Result<Encoded, EncodeError> {
    if ![32_000, 44_100, 48_000].contains(&audio.rate) {
        return Err(EncodeError::Rate { codec: codec.name(), rate: audio.rate, expected: "32000, 44100 or 48000" });
    }
    let id3 = tags::id3v2(meta)?;
    out.write_all(&id3)?;

    let mut lame = lame(audio.rate, codec)?;
    let mut bytes = Vec::with_capacity(max_required_buffer_size(SEGMENT));
    for index in 0..audio.frames().div_ceil(SEGMENT) {
        let frames = segment(audio, index);
        let input = DualPcm { left: &audio.channels[0][frames.clone()], right: &audio.channels[1][frames] };
        bytes.clear();
        lame.encode_to_vec(input, &mut bytes).map_err(failure)?;
        out.write_all(&bytes)?;
    }
    bytes.clear();
    lame.flush_to_vec::<FlushGap>(&mut bytes).map_err(failure)?;
    out.write_all(&bytes)?;

    // LAME began with an empty frame; now it knows the delay, the padding, the length and the seek table that belong there. Players
    // cut the two ends by it, so that as many frames come out as went in.
    let mut tag = Vec::with_capacity(lame.lame_tag_size());
    lame.lame_tag_encode_to_vec(&mut tag).ok_or_else(|| failure("no LAME tag"))?;
    out.seek(SeekFrom::Start(id3.len() as u64))?;
    out.write_all(&tag)?;
    let (bytes, sha256) = hash_back(out)?;
    Ok(Encoded { bytes, sha256, clamped: 0, dithered: false })
}

fn lame(rate: u32, codec: Codec) -> Result<Encoder, EncodeError> {
    let mut lame = Builder::new().ok_or_else(|| failure("out of memory"))?;
    lame.set_num_channels(2).map_err(failure)?;
    lame.set_sample_rate(rate).map_err(failure)?;
    lame.set_output_sample_rate(std::num::NonZeroU32::new(rate)).map_err(failure)?;
    lame.set_mode(Mode::JointStereo).map_err(failure)?;
    if codec == Codec::Mp3V0 {
        lame.set_vbr_mode(VbrMode::Mtrh).map_err(failure)?;
        lame.set_vbr_quality(Quality::Best).map_err(failure)?;
    } else {
        lame.set_vbr_mode(VbrMode::Off).map_err(failure)?;
        lame.set_brate(Bitrate::Kbps320).map_err(failure)?;
    }
    lame.set_quality(QUALITY).map_err(failure)?;
    lame.build().map_err(failure)
}

/// LAME's effort: the best that costs no more than its default 5 (a minute of music takes 0.7 s of a core; 2 takes 1.7 s, for a
/// search of the noise shaping that 320 kbit/s and V0 hardly need).
const QUALITY: Quality = Quality::VeryNice;

fn failure(detail: impl std::fmt::Display) -> EncodeError {
    EncodeError::Codec { codec: "MP3", detail: detail.to_string() }
}
