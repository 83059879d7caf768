//! Everything but PCM in WAV: symphonia's demuxers and decoders, libopus for Opus.

use super::{
    Sink, Source, Tags, chunks,
    decoder::{Decoder, Failure, LOSSY_TOLERANCE, opus_head},
    error::DecodeError,
    flac, flac_file,
    loss::Losses,
    media::Media,
    mkv, mp4, quirks,
    sniff::Kind,
    tags,
    trimmed::Trimmed,
};
use crate::{settings::Limits, units::Seconds};
use std::{collections::HashMap, io, sync::atomic::Ordering::Relaxed};
use symphonia::core::{
    checksum::Crc16Ansi,
    codecs::audio::{AudioCodecId, AudioCodecParameters, well_known as id},
    common::Limit,
    errors::Error,
    formats::{FormatOptions, TrackType, probe::Hint},
    io::{MediaSourceStream, MediaSourceStreamOptions, Monitor},
    meta::MetadataOptions,
};

/// Bytes that headers may take besides tags: tables of packets (MP4), pages looked through (Ogg), a search for the first frame (MP3).
const HEADER_BYTES: u64 = 32 << 20;
/// Frames of an ALAC packet, unless its header says otherwise, which none does.
const ALAC_PACKET: u64 = 4096;
/// Frames per byte of a file for which memory is reserved ahead: 6 kbit/s at 48 kHz. Longer audio grows its memory as it comes.
const FRAMES_PER_BYTE: u64 = 64;

/// Reads any container symphonia knows. `losses` are those that are known already.
pub(super) fn read(
    mut media: Media<'_>,
    kind: &Kind,
    hint: Option<&str>,
    limits: &Limits,
    mut losses: Losses,
    sink: &mut dyn Sink,
) -> Result<(Source, Tags), DecodeError> {
    let bytes = media.len();
    let meter = media.meter();
    let mp4::Scan { edit, seconds, cut, fragmented } = mp4::scan(&mut media)?;
    if cut.is_some() && fragmented {
        return Err(chunks::corrupt("it is cut off in the middle of a fragment"));
    }
    if let Some(share) = cut {
        // symphonia reads nothing of such a file. How much is left is an estimate, good to a second or two.
        return Err(match seconds {
            Some(want) => DecodeError::Truncated { have: Seconds(want.0 * share), want },
            None => chunks::corrupt("it is cut off before its index"),
        });
    }

    let padding = if matches!(kind, Kind::Container("Matroska")) { mkv::padding(&mut media)? } else { HashMap::new() };
    if matches!(kind, Kind::Container("CAF")) {
        quirks::end_open_caf(&mut media)?;
    }
    let native_flac = flac_file::prepare(&mut media)?;
    if let Some(native) = native_flac.filter(|native| native.ours) {
        return flac_file::whole(&mut media, native, limits, sink);
    }

    let allowance = limits.metadata.saturating_add(HEADER_BYTES);
    meter.left.store(allowance, Relaxed);
    let mut extension = Hint::new();
    if let Some(hint) = hint {
        extension.with_extension(hint);
    }
    let limit = Limit::Maximum(usize::try_from(limits.metadata).unwrap_or(usize::MAX));
    let metadata = MetadataOptions::default().limit_tag_bytes(limit).limit_visual_bytes(limit);
    let stream = MediaSourceStream::new(Box::new(media), MediaSourceStreamOptions::default());
    let probed = symphonia::default::get_probe().probe(&extension, stream, FormatOptions::default(), metadata);
    let mut format = match probed {
        Ok(format) => format,
        Err(_) if meter.left.load(Relaxed) == 0 => {
            return Err(DecodeError::MetadataTooLarge { bytes: allowance, limit: limits.metadata });
        }
        Err(Error::IoError(e)) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(e.into()),
        Err(e) => return Err(not_a_container(&e, kind)),
    };
    meter.left.store(u64::MAX, Relaxed);
    meter.ended.store(false, Relaxed);

    let mut found = Tags::default();
    let mut itunes = None;
    {
        let (mut metadata, mut size) = (format.metadata(), 0);
        loop {
            if let Some(revision) = metadata.current() {
                size += tags::size(revision);
                tags::revision(revision, &mut found);
                itunes = itunes.or_else(|| mp4::itunes_gapless(revision));
            }
            if metadata.pop().is_none() {
                break;
            }
        }
        if size > limits.metadata {
            return Err(DecodeError::MetadataTooLarge { bytes: size, limit: limits.metadata });
        }
    }

    let container = container_name(format.format_info().short_name);
    let Some(track) = format.default_track(TrackType::Audio).cloned() else {
        return Err(DecodeError::NotAudio(format!("there is no sound in this {container} file")));
    };
    let mut params = track.codec_params.as_ref().and_then(|p| p.audio()).cloned().unwrap_or_default();
    quirks::turn_opus_head(&mut params, container == "mp4");
    let params = params;
    let codec = codec_name(params.codec);
    let mut decoder = Decoder::new(&params, &codec)?;

    // Trims that symphonia leaves to its caller.
    // The header of a fragmented MP4 is written before the sound and knows no length.
    let declared = track.num_frames.filter(|_| !fragmented);
    let (skip, keep) = match params.codec {
        id::CODEC_ID_OPUS if container != "mp4" || edit.is_none() => (u64::from(opus_head(&params).0), None),
        // MPEG-4 part 12 edit lists, or the older tag of iTunes; only the sample table's length knows the end to the frame.
        id::CODEC_ID_AAC | id::CODEC_ID_ALAC | id::CODEC_ID_OPUS if container == "mp4" => match (itunes, edit) {
            (None, Some(edit)) if fragmented => (edit.trim(None, params.sample_rate.unwrap_or(0)).0, None),
            (Some((skip, keep)), _) => (skip, Some(keep)),
            (None, Some(edit)) => edit.trim(declared, params.sample_rate.unwrap_or(0)),
            _ => (0, None),
        },
        id::CODEC_ID_AAC | id::CODEC_ID_ALAC => (u64::from(track.delay.unwrap_or(0)), declared),
        _ => (0, None),
    };
    // Numbers that were counted when the file was written; without a LAME tag the length of an MP3 is a guess from its size.
    let promised = match params.codec {
        id::CODEC_ID_MP1 | id::CODEC_ID_MP2 | id::CODEC_ID_MP3 if track.delay.is_none() => None,
        id::CODEC_ID_AAC if container == "aac" => None,
        id::CODEC_ID_OPUS | id::CODEC_ID_AAC | id::CODEC_ID_ALAC => keep.or(declared.map(|n| n.saturating_sub(skip))),
        _ => declared,
    };
    let lossy = !is_lossless(params.codec);

    if let Some(rate) = params.sample_rate {
        let channels = params.channels.as_ref().map_or(1, |c| c.count() as u64);
        super::check(rate, channels, promised, limits)?;
    }

    let expected = promised.unwrap_or(0).min(bytes.saturating_mul(FRAMES_PER_BYTE));
    let mut sink = Trimmed::new(sink, limits, expected, skip, keep);
    let native = native_flac.filter(|_| params.codec == id::CODEC_ID_FLAC);
    let facts = Facts { params: &params, container, codec, bytes, rate: 0, losses: Losses::default() };
    let mut timed = 0_u64;
    // Matroska says when each packet is heard, to the millisecond, and symphonia passes over what it cannot read. Packets of Opus give
    // all their frames at once, so that the frames that came are the time that has passed.
    let is_timed = matches!(kind, Kind::Container("Matroska")) && params.codec == id::CODEC_ID_OPUS;
    let mut start = None;
    // The length is that of everything in the file: a film may go on without sound.
    let length = format.media_info().duration.filter(|_| is_timed && format.tracks().len() == 1);
    let seconds =
        |ticks: f64| track.time_base.map(|base| ticks * f64::from(base.numer.get()) / f64::from(base.denom.get()));
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(Error::IoError(e)) if e.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(Error::IoError(e)) => return Err(e.into()),
            Err(Error::ResetRequired) => {
                return Err(DecodeError::UnsupportedCodec("a chain of several streams".into()));
            }
            // A table pointed behind the end: the file is cut, as the length will tell.
            Err(_) if meter.ended.load(Relaxed) && promised.is_some() => break,
            Err(e) => return Err(sink.corrupt(e.to_string())),
        };
        if packet.track_id != track.id {
            continue;
        }
        timed = timed.saturating_add(packet.dur.get());
        if let Some(heard) = seconds(packet.pts.get() as f64).filter(|_| is_timed) {
            let gap = heard - *start.get_or_insert(heard) - sink.passed().0;
            if gap > GAP.0 {
                let at = sink.at();
                sink.silence(Seconds(gap.min(limits.seconds)).frames(sink.rate()) as u64)?;
                losses.add(at, Seconds(gap), "packets are missing there; silence stands in their place");
            }
        }
        // In its own container symphonia has looked; elsewhere a damaged frame would be decoded as noise.
        if params.codec == id::CODEC_ID_FLAC && container != "flac" && !is_whole_flac_frame(&packet.data) {
            return Err(sink.corrupt("a FLAC frame does not have the checksum at its end"));
        }
        match decoder.decode(&packet, &mut sink) {
            Ok(()) => {}
            Err(Failure::Fatal(e)) => return Err(e),
            Err(Failure::Packet(what)) => {
                if !lossy {
                    return Err(sink.corrupt(what));
                }
                let at = sink.at();
                let rate = sink.rate.or(params.sample_rate).unwrap_or(1).max(1);
                // The clock of a container is not always that of the sound; a packet without a length has that of AAC.
                let frames = track.time_base.map_or(packet.dur.get(), |base| {
                    let units = u128::from(packet.dur.get()) * u128::from(base.numer.get()) * u128::from(rate);
                    u64::try_from(units / u128::from(base.denom.get())).unwrap_or(0)
                });
                let frames = if frames == 0 { 1024 } else { frames.min(65_535) };
                sink.silence(frames)?;
                losses.add(at, Seconds(frames as f64 / f64::from(rate)), SILENCED);
            }
        }
    }
    if let (Some(start), Some(length)) = (start, length.and_then(|length| seconds(length.get() as f64))) {
        let short = length - start - sink.passed().0;
        if short > GAP.0 {
            losses.add(
                sink.at(),
                Seconds(short),
                "the file ends there, before the length in its header: it may be cut off",
            );
        }
    }
    let rate = sink.rate.or(params.sample_rate).unwrap_or(0);
    if fragmented && keep.is_none() && params.sample_rate == track.time_base.map(|base| base.denom.get()) {
        // The durations of the samples know the end to the frame; the last packet has more.
        let excess = sink.frames().saturating_sub(timed.saturating_sub(skip));
        if excess <= MOST_PADDING {
            sink.drop_end(excess)?;
        }
    }
    if let Some(nanoseconds) = padding.get(&u64::from(track.id)).filter(|_| lossy) {
        let frames = u128::from(*nanoseconds) * u128::from(rate) + 500_000_000;
        sink.drop_end(u64::try_from(frames / 1_000_000_000).unwrap_or(0).min(MOST_PADDING))?;
    }
    if let (Some(flac_file::Native { info, at, .. }), Some(want)) = (native, promised)
        && sink.frames() < want
    {
        // symphonia loses the last frame where something stands behind it that is no frame. What came is not taken again, and where it
        // is no use, the length says so.
        sink.window(sink.frames(), u64::MAX);
        let _ = flac::read(format.into_inner(), at, &info, &mut sink);
    }
    finish(&sink, promised, found, Facts { rate, losses, ..facts })
}

/// A longer pause between two packets than rounding makes: some are missing.
const GAP: Seconds = Seconds(0.015);

/// What stands in place of a packet that cannot be decoded.
pub(super) const SILENCED: &str = "the packets there are broken; silence stands in their place";
/// Most frames of padding behind the sound: a second packet of Opus (120 ms) is never empty.
const MOST_PADDING: u64 = 5_760;

/// What was learnt of a file on the way to its last packet.
struct Facts<'a> {
    params: &'a AudioCodecParameters,
    container: &'static str,
    codec: String,
    bytes: u64,
    rate: u32,
    losses: Losses,
}

fn finish(
    sink: &Trimmed<'_>,
    promised: Option<u64>,
    found: Tags,
    facts: Facts<'_>,
) -> Result<(Source, Tags), DecodeError> {
    let Facts { params, container, codec, bytes, rate, losses } = facts;
    let lossy = !is_lossless(params.codec);
    let channels = sink.channels.max(1);
    let losses = losses.bearable(sink.at())?;
    let frames = sink.frames();
    if let Some(want) = promised {
        let tolerance = match params.codec {
            _ if lossy => LOSSY_TOLERANCE.frames(rate) as u64,
            // Some writers of CAF count whole packets.
            id::CODEC_ID_ALAC => ALAC_PACKET,
            _ => 0,
        };
        if frames.saturating_add(tolerance) < want {
            let seconds = |n: u64| Seconds(n as f64 / f64::from(rate.max(1)));
            return Err(DecodeError::Truncated { have: seconds(frames), want: seconds(want) });
        }
    }
    let float = matches!(
        params.codec,
        id::CODEC_ID_PCM_F32LE | id::CODEC_ID_PCM_F32BE | id::CODEC_ID_PCM_F64LE | id::CODEC_ID_PCM_F64BE
    );
    let bits = match params.codec {
        _ if lossy => None,
        id::CODEC_ID_ALAC => alac_bits(params.extra_data.as_deref().unwrap_or_default()),
        _ => params.bits_per_sample.or(params.bits_per_coded_sample),
    };
    let source =
        Source { container: container.into(), codec, lossy, bits, float, rate, channels, frames, bytes, losses };
    Ok((source, found))
}

/// What the probe's refusal means to the person who sent the file.
fn not_a_container(error: &Error, kind: &Kind) -> DecodeError {
    match (error, kind) {
        (Error::Unsupported(what), _) if what.contains("codec") => DecodeError::UnsupportedCodec((*what).into()),
        (Error::DecodeError(what), _) => chunks::corrupt(*what),
        (Error::LimitError(what), _) => chunks::corrupt(format!("limit reached: {what}")),
        // The first bytes are right and what must follow is missing.
        (_, Kind::Container(name)) => chunks::corrupt(format!("its {name} header or index is cut off or unreadable")),
        _ => DecodeError::NotAudio("no known kind of audio was found in it".into()),
    }
}

/// Whether a frame has the CRC-16 that its last two bytes say (RFC 9639, 9.3).
pub(super) fn is_whole_flac_frame(frame: &[u8]) -> bool {
    let Some((content, &said)) = frame.split_last_chunk::<2>() else { return false };
    let mut checksum = Crc16Ansi::new(0);
    checksum.process_buf_bytes(content);
    checksum.crc() == u16::from_be_bytes(said)
}

/// The sixth byte of Apple's "magic cookie", which older files wrap into an atom `frma` and the head of an atom `alac`.
fn alac_bits(cookie: &[u8]) -> Option<u32> {
    let cookie = if cookie.get(4..8) == Some(b"frma") { cookie.get(24..)? } else { cookie };
    cookie.get(5).map(|&bits| u32::from(bits))
}

fn container_name(short: &str) -> &'static str {
    match short {
        "wave" => "wav",
        "aiff" => "aiff",
        "caf" => "caf",
        "flac" => "flac",
        "isomp4" => "mp4",
        "mp3" | "mpa" | "mp1" | "mp2" => "mp3",
        "aac" | "adts" => "aac",
        "ogg" => "ogg",
        "matroska" | "mkv" => "mkv",
        _ => "other",
    }
}

fn codec_name(codec: AudioCodecId) -> String {
    if codec == id::CODEC_ID_OPUS {
        return "opus".into();
    }
    symphonia::default::get_codecs()
        .get_audio_decoder(codec)
        .map_or_else(|| format!("codec {codec}"), |known| known.codec.info.short_name.to_owned())
}

fn is_lossless(codec: AudioCodecId) -> bool {
    // PCM of every kind but A-law and µ-law; the identifiers are consecutive.
    (id::CODEC_ID_PCM_S32LE..=id::CODEC_ID_PCM_F64BE_PLANAR).contains(&codec)
        || codec == id::CODEC_ID_FLAC
        || codec == id::CODEC_ID_ALAC
}
