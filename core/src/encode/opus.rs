//! Ogg Opus (RFC 6716, RFC 7845) by libopus: the preview, 160 kbit/s at 48 kHz.

use super::{EncodeError, Encoded, Hashing, Metadata, Output, tags};
use crate::Audio;
use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use opus::{Application, Bitrate, Channels, Encoder};

const RATE: u32 = 48_000;

/// Transparent to most listeners for stereo music (RFC 7845 names 96–160 kbit/s and more for such use).
const BITS_PER_SECOND: i32 = 160_000;

/// 20 ms, libopus' recommended frame.
const FRAME: usize = 960;

/// Packets per page: 1 s, the most RFC 7845 §6 asks for.
const PAGE: usize = 50;

pub(super) fn encode<W: Output>(audio: &Audio, meta: &Metadata, out: &mut W) -> Result<Encoded, EncodeError> {
    if audio.rate != RATE {
        return Err(EncodeError::Rate { codec: "opus", rate: audio.rate, expected: "48000" });
    }
    let mut encoder = Encoder::new(RATE, Channels::Stereo, Application::Audio).map_err(failure)?;
    encoder.set_bitrate(Bitrate::Bits(BITS_PER_SECOND)).map_err(failure)?;
    encoder.set_complexity(10).map_err(failure)?;
    // The decoder drops this many frames first; the encoder needs them to start.
    let skip = encoder.get_lookahead().map_err(failure)? as usize;

    // The number tells logical streams of one file apart; ours has one.
    let serial = (meta.seed ^ meta.seed >> 32) as u32;
    let mut hashing = Hashing::new(out);
    let mut ogg = PacketWriter::new(&mut hashing);
    ogg.write_packet(head(skip as u16), serial, PacketWriteEndInfo::EndPage, 0)?;
    let vendor = if meta.clean { String::new() } else { format!("{} ({})", meta.encoder(), opus::version()) };
    let comments = [b"OpusTags".to_vec(), tags::opus(meta, &vendor)?].concat();
    ogg.write_packet(comments, serial, PacketWriteEndInfo::EndPage, 0)?;

    let total = audio.frames() + skip;
    let packets = total.div_ceil(FRAME);
    let [left, right] = &audio.channels;
    let mut input = vec![0.0; 2 * FRAME];
    for packet in 0..packets {
        let start = packet * FRAME;
        let frames = start.min(left.len())..(start + FRAME).min(left.len());
        input.fill(0.0);
        for (frame, (l, r)) in
            input.as_chunks_mut::<2>().0.iter_mut().zip(left[frames.clone()].iter().zip(&right[frames]))
        {
            *frame = [*l, *r];
        }
        // RFC 6716 §3.4: no frame is longer than 1275 bytes; one more holds the table of contents.
        let bytes = encoder.encode_vec_float(&input, 1_276).map_err(failure)?;
        let (end, position) = if packet + 1 == packets {
            // RFC 7845 §4.4: the last position cuts the padding off.
            (PacketWriteEndInfo::EndStream, total)
        } else if (packet + 1).is_multiple_of(PAGE) {
            (PacketWriteEndInfo::EndPage, start + FRAME)
        } else {
            (PacketWriteEndInfo::NormalPacket, start + FRAME)
        };
        ogg.write_packet(bytes, serial, end, position as u64)?;
    }
    drop(ogg);
    let (bytes, sha256) = hashing.finish()?;
    Ok(Encoded { bytes, sha256, clamped: 0, dithered: false })
}

/// RFC 7845 §5.1: version 1, two channels, pre-skip, input rate, no gain, mapping family 0.
fn head(skip: u16) -> Vec<u8> {
    let mut bytes = b"OpusHead\x01\x02".to_vec();
    bytes.extend(skip.to_le_bytes());
    bytes.extend(RATE.to_le_bytes());
    bytes.extend([0; 3]);
    bytes
}

fn failure(error: impl std::fmt::Display) -> EncodeError {
    EncodeError::Codec { codec: "Opus", detail: error.to_string() }
}
