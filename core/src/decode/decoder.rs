//! One decoder for the packets of a stream, whoever it is: symphonia's, libopus, or the one of this crate for FLAC frames.

use super::{chunks, error::DecodeError, flac, quirks, trimmed::Trimmed};
use crate::units::Seconds;
use symphonia::core::{
    audio::Channels,
    codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions, well_known as id},
    errors::Error,
    packet::Packet,
};

/// Missing lossy audio that is an encoder's careless header rather than a cut file: two of the longest packets (Vorbis, 8192 frames) at
/// 48 kHz, rounded up.
pub(super) const LOSSY_TOLERANCE: Seconds = Seconds(0.4);

/// Why a packet gave nothing.
pub(super) enum Failure {
    /// The packet alone is broken.
    Packet(String),
    /// Nothing after it can be better.
    Fatal(DecodeError),
}

impl From<DecodeError> for Failure {
    fn from(e: DecodeError) -> Self {
        Self::Fatal(e)
    }
}

pub(super) enum Decoder {
    Symphonia(Box<dyn AudioDecoder>),
    Flac(flac::Info),
    Opus { decoder: opus::Decoder, channels: usize, interleaved: Vec<f32> },
}

impl Decoder {
    pub(super) fn new(params: &AudioCodecParameters, codec: &str) -> Result<Self, DecodeError> {
        if params.codec == id::CODEC_ID_OPUS {
            let channels = params.channels.as_ref().map_or(2, Channels::count);
            let layout = match channels {
                1 => opus::Channels::Mono,
                2 => opus::Channels::Stereo,
                _ => return Err(DecodeError::TooManyChannels { channels: channels as u64, limit: 2 }),
            };
            let library = |e: opus::Error| DecodeError::UnsupportedCodec(format!("Opus ({e})"));
            let mut decoder = opus::Decoder::new(48_000, layout).map_err(library)?;
            decoder.set_gain(i32::from(opus_head(params).1)).map_err(library)?;
            // 120 ms is the longest packet (RFC 6716, 3.2.5).
            return Ok(Self::Opus { decoder, channels, interleaved: vec![0.0; 5760 * channels] });
        }
        if params.codec == id::CODEC_ID_FLAC
            && let Some(info) = flac::Info::parse(params.extra_data.as_deref().unwrap_or_default())
            && quirks::is_flac_too_wide(info.bits)
        {
            return Ok(Self::Flac(info));
        }
        match symphonia::default::get_codecs().make_audio_decoder(params, &AudioDecoderOptions::default()) {
            Ok(decoder) => Ok(Self::Symphonia(decoder)),
            Err(Error::DecodeError(what)) => {
                Err(DecodeError::Corrupt { at: Seconds(0.0), what: format!("{codec} header: {what}") })
            }
            Err(Error::Unsupported(what)) => Err(DecodeError::UnsupportedCodec(format!("{codec} ({what})"))),
            Err(_) => Err(DecodeError::UnsupportedCodec(codec.to_owned())),
        }
    }

    /// Forgets what came before.
    pub(super) fn reset(&mut self) {
        match self {
            Self::Symphonia(decoder) => decoder.reset(),
            Self::Flac(_) => {}
            // Fails only for a state that is no state.
            Self::Opus { decoder, .. } => drop(decoder.reset_state()),
        }
    }

    /// Decodes for its length or for what is wrong with it only.
    pub(super) fn look(&mut self, packet: &Packet) -> Result<u64, String> {
        match self {
            Self::Symphonia(decoder) => {
                decoder.decode(packet).map(|buffer| buffer.frames() as u64).map_err(|e| e.to_string())
            }
            Self::Flac(info) => flac::frame(&packet.data, info).map(|f| f.channels[0].len() as u64).map_err(Into::into),
            Self::Opus { decoder, interleaved, .. } => {
                decoder.decode_float(&packet.data, interleaved, false).map(|n| n as u64).map_err(|e| e.to_string())
            }
        }
    }

    pub(super) fn decode(&mut self, packet: &Packet, sink: &mut Trimmed<'_>) -> Result<(), Failure> {
        match self {
            Self::Flac(info) => {
                let frame = flac::frame(&packet.data, info).map_err(|what| Failure::Packet(what.into()))?;
                flac::push(&frame, sink)?;
            }
            Self::Symphonia(decoder) => {
                let buffer = match decoder.decode(packet) {
                    Ok(buffer) => buffer,
                    Err(Error::DecodeError(what)) => return Err(Failure::Packet(what.into())),
                    Err(Error::IoError(_)) => return Err(Failure::Packet("a packet ends too early".into())),
                    Err(Error::Unsupported(what)) => {
                        return Err(Failure::Fatal(DecodeError::UnsupportedCodec(what.into())));
                    }
                    Err(e) => return Err(Failure::Fatal(sink.corrupt(e.to_string()))),
                };
                if buffer.frames() == 0 {
                    return Ok(());
                }
                sink.layout(buffer.spec().rate(), buffer.num_planes())?;
                sink.push(buffer.frames(), |planes| buffer.copy_to_slice_planar::<f32, _>(planes))?;
            }
            Self::Opus { decoder, channels, interleaved } => {
                // An empty packet would mean "conceal a loss" to libopus.
                if packet.data.is_empty() {
                    return Err(Failure::Packet("an empty packet".into()));
                }
                let frames = decoder
                    .decode_float(&packet.data, interleaved, false)
                    .map_err(|e| Failure::Packet(e.to_string()))?;
                sink.layout(48_000, *channels)?;
                sink.push(frames, |planes| {
                    for (c, plane) in planes.iter_mut().enumerate() {
                        for (out, frame) in plane.iter_mut().zip(interleaved.chunks_exact(*channels)) {
                            *out = frame[c];
                        }
                    }
                })?;
                sink.drop_end(packet.trim_end.get().min(frames as u64))?;
            }
        }
        Ok(())
    }
}

/// Pre-skip in frames and gain in 1/256 dB of an Opus header (RFC 7845, 5.1).
pub(super) fn opus_head(params: &AudioCodecParameters) -> (u16, i16) {
    let head = params.extra_data.as_deref().unwrap_or_default();
    let short = |at| chunks::field(head, at).map_or(0, u16::from_le_bytes);
    (short(10), short(16) as i16)
}
