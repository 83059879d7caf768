//! Ogg (RFC 3533): pages, their checksums and positions, and the packets of the first sound in the file.
//!
//! symphonia takes every page's position at its word (one of −1, which means "none", makes it drop sound), passes over broken pages
//! without a word, and reads a file that was cut as if it ended there.

use super::{
    DecodeError, Sink, Source, Tags,
    chunks::{corrupt, field},
    container,
    decoder::{Decoder, Failure, LOSSY_TOLERANCE, opus_head},
    flac,
    loss::Losses,
    media::Media,
    tags,
    trimmed::Trimmed,
};
use crate::{settings::Limits, units::Seconds};
use std::io::{self, Read, Seek, SeekFrom};
use symphonia::core::{
    audio::{Channels, layouts},
    codecs::audio::{AudioCodecId, AudioCodecParameters, well_known as id},
    packet::Packet,
    units::{Duration, Timestamp},
};

/// Bytes of a page's head before the table of its segments.
const HEAD: usize = 27;
/// Longest page.
const MOST: usize = HEAD + 255 + 255 * 255;
/// Longest packet of sound; headers are under the limit of tags.
const MOST_PACKET: u64 = 16 << 20;
/// Opus always decodes to this.
const OPUS_RATE: u32 = 48_000;

#[expect(clippy::struct_excessive_bools, reason = "the flags of a page as the format has them")]
struct Page {
    serial: u32,
    sequence: u32,
    /// PCM position behind the last packet that ends here.
    position: Option<u64>,
    continues: bool,
    begins: bool,
    ends: bool,
    /// Bytes of every packet or part of one.
    pieces: Vec<Vec<u8>>,
    /// Whether the last piece goes on in the next page.
    open: bool,
}

/// What was found where a page should be.
enum Found {
    Page(Page),
    /// A page whose checksum is wrong, or bytes that are none.
    Broken,
    /// The file ends within a page.
    Cut,
    End,
}

struct Pages<'m, 'a> {
    media: &'m mut Media<'a>,
    bytes: Vec<u8>,
    start: usize,
    drained: bool,
}

impl<'m, 'a> Pages<'m, 'a> {
    fn new(media: &'m mut Media<'a>) -> io::Result<Self> {
        media.seek(SeekFrom::Start(0))?;
        Ok(Self { media, bytes: Vec::new(), start: 0, drained: false })
    }

    fn next(&mut self) -> io::Result<Found> {
        if self.bytes.len() - self.start < 2 * MOST && !self.drained {
            self.bytes.drain(..self.start);
            self.start = 0;
            let room = (16 * MOST - self.bytes.len()) as u64;
            self.drained = (&mut *self.media).take(room).read_to_end(&mut self.bytes)? == 0;
        }
        let rest = &self.bytes[self.start..];
        if rest.is_empty() || self.drained && rest.iter().all(|&b| b == 0) {
            return Ok(Found::End);
        }
        let (found, taken) = page(rest);
        let taken = if matches!(found, Found::Broken) {
            // The next page that looks like one.
            let next = rest[4.min(rest.len())..].windows(4).position(|w| w == b"OggS").map(|n| n + 4);
            next.unwrap_or(rest.len().saturating_sub(3).max(1))
        } else {
            taken
        };
        self.start += taken;
        Ok(found)
    }
}

fn page(bytes: &[u8]) -> (Found, usize) {
    if !bytes.starts_with(b"OggS") {
        return (Found::Broken, 1);
    }
    let Some(head) = bytes.get(..HEAD) else { return (Found::Cut, bytes.len()) };
    let count = usize::from(head[26]);
    let Some(table) = bytes.get(HEAD..HEAD + count) else { return (Found::Cut, bytes.len()) };
    let size = HEAD + count + table.iter().map(|&n| usize::from(n)).sum::<usize>();
    let Some(whole) = bytes.get(..size) else {
        // A damaged table of lengths may point behind the end; then another page follows within it.
        let more = bytes[4..].windows(4).any(|w| w == b"OggS");
        return (if more { Found::Broken } else { Found::Cut }, bytes.len());
    };
    let long = |at| field(head, at).map_or(0, u32::from_le_bytes);
    if checksum(whole) != long(22) || head[4] != 0 {
        return (Found::Broken, 1);
    }
    let (mut pieces, mut open, mut at) = (Vec::new(), false, HEAD + count);
    for &length in table {
        if !open {
            pieces.push(Vec::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.extend_from_slice(&whole[at..at + usize::from(length)]);
        }
        at += usize::from(length);
        open = length == 255;
    }
    let position = field(head, 6).map_or(u64::MAX, u64::from_le_bytes);
    let page = Page {
        serial: long(14),
        sequence: long(18),
        position: (position != u64::MAX).then_some(position),
        continues: head[5] & 1 != 0,
        begins: head[5] & 2 != 0,
        ends: head[5] & 4 != 0,
        pieces,
        open,
    };
    (Found::Page(page), size)
}

/// The page's checksum, with its own field taken for zero.
fn checksum(page: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let (mut r, mut bit) = ((n as u32) << 24, 0);
            while bit < 8 {
                r = if r >> 31 == 1 { (r << 1) ^ 0x04C1_1DB7 } else { r << 1 };
                bit += 1;
            }
            table[n] = r;
            n += 1;
        }
        table
    };
    page.iter().enumerate().fold(0, |sum, (at, &byte)| {
        let byte = if (22..26).contains(&at) { 0 } else { byte };
        (sum << 8) ^ TABLE[usize::from((sum >> 24) as u8 ^ byte)]
    })
}

/// A codec that was recognised by the first packet of a stream.
enum Codec {
    Vorbis,
    Opus,
    Flac,
}

/// What the packets before the sound say.
struct Stream {
    serial: u32,
    codec: Codec,
    params: AudioCodecParameters,
    /// Packets of the header that are still to come; `None` where the last of them says so itself.
    headers: Option<usize>,
    /// Frames before the first that is sound.
    skip: u64,
    channels: u16,
    rate: u32,
    bits: Option<u32>,
    /// Frames that the header promises; 0 if it does not know.
    frames: u64,
}

impl Stream {
    /// By the first packet. `None` for what is no sound, an error for sound that nobody here decodes.
    fn new(serial: u32, packet: &[u8]) -> Result<Option<Self>, DecodeError> {
        let unsupported = |name: &str| Err(DecodeError::UnsupportedCodec(format!("{name} in Ogg")));
        let mut params = AudioCodecParameters::new();
        let stereo = |count| if count == 1 { layouts::CHANNEL_LAYOUT_MONO } else { layouts::CHANNEL_LAYOUT_STEREO };
        if packet.starts_with(b"\x01vorbis") {
            let (Some(channels), Some(rate)) = (packet.get(11), field(packet, 12).map(u32::from_le_bytes)) else {
                return Ok(None);
            };
            params.for_codec(id::CODEC_ID_VORBIS).with_sample_rate(rate).with_extra_data(packet.into());
            params.with_channels(stereo(*channels));
            let channels = u16::from(*channels);
            return Ok(Some(Self {
                serial,
                codec: Codec::Vorbis,
                params,
                headers: Some(2),
                skip: 0,
                channels,
                rate,
                bits: None,
                frames: 0,
            }));
        }
        if packet.starts_with(b"OpusHead") {
            let Some(&channels) = packet.get(9) else { return Ok(None) };
            params.for_codec(id::CODEC_ID_OPUS).with_sample_rate(OPUS_RATE).with_extra_data(packet.into());
            params.with_channels(if channels > 2 { Channels::Discrete(channels.into()) } else { stereo(channels) });
            let skip = u64::from(opus_head(&params).0);
            let (channels, rate) = (u16::from(channels), OPUS_RATE);
            return Ok(Some(Self {
                serial,
                codec: Codec::Opus,
                params,
                headers: Some(1),
                skip,
                channels,
                rate,
                bits: None,
                frames: 0,
            }));
        }
        if packet.starts_with(b"\x7FFLAC") {
            let Some(info) = packet.get(17..17 + flac::STREAMINFO) else { return Ok(None) };
            let Some(facts) = flac::Info::parse(info) else { return Ok(None) };
            params.for_codec(id::CODEC_ID_FLAC).with_sample_rate(facts.rate).with_extra_data(info.into());
            params.with_channels(stereo(facts.channels as u8)).with_bits_per_sample(facts.bits);
            let (channels, rate) = (facts.channels, facts.rate);
            let (bits, frames) = (Some(facts.bits), facts.frames);
            return Ok(Some(Self {
                serial,
                codec: Codec::Flac,
                params,
                headers: None,
                skip: 0,
                channels,
                rate,
                bits,
                frames,
            }));
        }
        match packet {
            [b'S', b'p', b'e', b'e', b'x', b' ', b' ', b' ', ..] => unsupported("Speex"),
            [b'P', b'C', b'M', b' ', ..] => unsupported("PCM"),
            [b'C', b'E', b'L', b'T', ..] => unsupported("CELT"),
            _ => Ok(None),
        }
    }

    /// Takes one more packet of the header.
    fn header(&mut self, packet: &[u8], found: &mut Tags) {
        match self.codec {
            Codec::Vorbis => match packet.first() {
                Some(3) => tags::vorbis_comment(packet.get(7..).unwrap_or_default(), found),
                Some(5) => {
                    let mut extra = self.params.extra_data.take().unwrap_or_default().into_vec();
                    extra.extend_from_slice(packet);
                    self.params.with_extra_data(extra.into());
                }
                _ => {}
            },
            Codec::Opus => tags::vorbis_comment(packet.get(8..).unwrap_or_default(), found),
            Codec::Flac => match packet.first().map(|kind| kind & 0x7F) {
                Some(4) => tags::vorbis_comment(packet.get(4..).unwrap_or_default(), found),
                Some(6) => tags::flac_picture(packet.get(4..).unwrap_or_default(), found),
                _ => {}
            },
        }
        self.headers = match (self.headers, packet.first()) {
            (None, Some(kind)) if kind & 0x80 != 0 => Some(0),
            (headers, _) => headers.map(|n| n.saturating_sub(1)),
        };
    }

    fn name(&self) -> &'static str {
        match self.codec {
            Codec::Vorbis => "vorbis",
            Codec::Opus => "opus",
            Codec::Flac => "flac",
        }
    }

    fn id(&self) -> AudioCodecId {
        self.params.codec
    }
}

/// The state of one stream while it is read.
struct Reader<'s> {
    sink: Trimmed<'s>,
    losses: Losses,
    decoder: Option<Decoder>,
    /// Where the positions of this link of the chain begin.
    origin: Option<u64>,
    /// Frames that its first page drops at the start.
    early: u64,
    /// Frames that came out of the decoder since then.
    decoded: u64,
    /// A page with sound was there.
    begun: bool,
    /// Something was lost before this page.
    hole: bool,
}

/// Reads the first sound of an Ogg file, and those chained behind it; `None` if there is none.
pub(super) fn read(
    media: &mut Media<'_>,
    limits: &Limits,
    sink: &mut dyn Sink,
) -> Result<Option<(Source, Tags)>, DecodeError> {
    let bytes = media.len();
    let mut found = Tags::default();
    let mut stream: Option<Stream> = None;
    let mut facts = None;
    let mut reader = Reader {
        sink: Trimmed::new(sink, limits, 0, 0, None),
        losses: Losses::default(),
        decoder: None,
        origin: None,
        early: 0,
        decoded: 0,
        begun: false,
        hole: false,
    };
    let mut part: Option<Vec<u8>> = None;
    let mut sequence: Option<u32> = None;
    let mut charged = 0;
    let (mut ended, mut broken) = (false, false);
    let mut pages = Pages::new(media)?;
    loop {
        let page = match pages.next()? {
            Found::End => break,
            Found::Cut if ended => break,
            Found::Cut if facts.is_none() => return Err(corrupt("it is cut off before its sound begins")),
            Found::Cut => {
                let at = reader.sink.at();
                return Err(DecodeError::Corrupt { at, what: "it is cut off there, in the middle of a page".into() });
            }
            Found::Broken => {
                broken = true;
                continue;
            }
            Found::Page(page) => page,
        };
        if page.begins {
            let new = Stream::new(page.serial, page.pieces.first().map_or(&[], Vec::as_slice));
            // Another stream beside the sound is not looked at; one behind it goes on where that ended.
            if stream.is_none() || ended {
                let Some(new) = new? else { continue };
                ended = false;
                reader.begin_link();
                (part, sequence) = (None, Some(page.sequence));
                stream = Some(new);
            }
            continue;
        }
        let Some(stream) = stream.as_mut().filter(|stream| stream.serial == page.serial && !ended) else { continue };
        // Some writers do not count.
        let gap = sequence.is_some_and(|last| page.sequence != last.wrapping_add(1) && page.sequence != last);
        broken = false;
        sequence = Some(page.sequence);
        if gap {
            part = None;
            reader.hole |= stream.headers == Some(0);
        }

        // Whole packets that end in this page.
        let mut packets = Vec::new();
        let count = page.pieces.len();
        for (n, piece) in page.pieces.into_iter().enumerate() {
            let packet = if n == 0 && page.continues {
                // The rest of a packet whose beginning is lost.
                let Some(mut whole) = part.take() else { continue };
                let most =
                    if stream.headers == Some(0) { MOST_PACKET } else { limits.metadata.saturating_add(1 << 20) };
                if (whole.len() + piece.len()) as u64 > most {
                    return Err(corrupt("a packet never ends"));
                }
                whole.extend_from_slice(&piece);
                whole
            } else {
                piece
            };
            if n + 1 == count && page.open {
                part = Some(packet);
            } else {
                packets.push(packet);
            }
        }
        let mut sound = Vec::new();
        for packet in packets {
            if stream.headers == Some(0) {
                // Some writers end with a packet of nothing.
                if !packet.is_empty() {
                    sound.push(packet);
                }
            } else {
                super::chunks::charge(&mut charged, packet.len() as u64, limits.metadata.saturating_add(1 << 20))?;
                // The tags of the first link are those of the file.
                let mut other = Tags::default();
                stream.header(&packet, if facts.is_none() { &mut found } else { &mut other });
            }
        }
        if stream.headers == Some(0) {
            if reader.decoder.is_none() {
                super::check(stream.rate, u64::from(stream.channels), None, limits)?;
                reader.decoder = Some(Decoder::new(&stream.params, stream.name())?);
                facts.get_or_insert((stream.name(), stream.bits, stream.channels, stream.id(), stream.frames));
            }
            reader.page(stream, &sound, page.position, page.ends)?;
        }
        ended = page.ends;
    }

    let Some((codec, bits, channels, codec_id, promised)) = facts else {
        return if stream.is_some() { Err(corrupt("it is cut off before its sound begins")) } else { Ok(None) };
    };
    let Reader { sink, mut losses, .. } = reader;
    let lossy = codec_id != id::CODEC_ID_FLAC;
    if !lossy && sink.frames() < promised {
        let want = Seconds(promised as f64 / f64::from(sink.rate().max(1)));
        return Err(DecodeError::Truncated { have: sink.at(), want });
    }
    if !ended {
        let what = "the last page of the stream is missing: the file may be cut off there";
        if !lossy && broken {
            return Err(sink.corrupt(what));
        }
        losses.add(sink.at(), Seconds(0.0), what);
    }
    let losses = losses.bearable(sink.at())?;
    let rate = sink.rate();
    let source = Source {
        container: "ogg".into(),
        codec: codec.into(),
        lossy,
        bits,
        rate,
        channels,
        frames: sink.frames(),
        bytes,
        losses,
        ..Source::default()
    };
    Ok(Some((source, found)))
}

impl Reader<'_> {
    fn begin_link(&mut self) {
        (self.early, self.begun) = (0, false);
        (self.decoder, self.origin, self.decoded, self.hole) = (None, None, 0, false);
    }

    /// Decodes the packets that end in one page.
    fn page(
        &mut self,
        stream: &Stream,
        packets: &[Vec<u8>],
        position: Option<u64>,
        ends: bool,
    ) -> Result<(), DecodeError> {
        let Some(decoder) = self.decoder.as_mut().filter(|_| !packets.is_empty()) else { return Ok(()) };
        let lossy = !matches!(stream.codec, Codec::Flac);
        let sink = &mut self.sink;
        let packet = |bytes: &Vec<u8>| Packet::new(0, Timestamp::ZERO, Duration::ZERO, bytes.clone());
        let seconds = |frames: u64| Seconds(frames as f64 / f64::from(stream.rate.max(1)));
        let first = !self.begun && !self.hole;
        self.begun = true;
        if self.hole && !lossy {
            return Err(sink.corrupt("a page is lost or broken"));
        }
        if first || self.hole {
            // What is in this page, before any of it is taken: its position then says where the page begins.
            decoder.reset();
            let inside: u64 = packets.iter().map(|bytes| decoder.look(&packet(bytes)).unwrap_or(0)).sum();
            decoder.reset();
            if first {
                // Earlier than zero where the first frames are to be dropped; later in a stream that was cut out of another.
                let early = match position {
                    Some(position) if !ends && matches!(stream.codec, Codec::Vorbis) => inside.saturating_sub(position),
                    _ => 0,
                };
                sink.window(stream.skip + early, u64::MAX);
                self.early = early;
                self.origin = position.map(|position| if ends { 0 } else { position.saturating_sub(inside) });
            } else {
                let lost = match (position, self.origin) {
                    (Some(position), Some(origin)) if !ends => {
                        position.saturating_sub(origin).saturating_sub(self.decoded).saturating_sub(inside)
                    }
                    _ => 0,
                };
                sink.layout(stream.rate, usize::from(stream.channels))?;
                self.losses.add(
                    sink.at(),
                    seconds(lost),
                    "a page there is lost or broken; silence stands in its place",
                );
                sink.silence(lost)?;
                self.decoded += lost;
                self.hole = false;
            }
        }
        let mut failed = None;
        let before = self.decoded;
        for bytes in packets {
            let (pushed, at) = (sink.pushed(), sink.at());
            match decoder.decode(&packet(bytes), sink) {
                Ok(()) => self.decoded += sink.pushed() - pushed,
                Err(Failure::Fatal(e)) => return Err(e),
                Err(Failure::Packet(what)) if !lossy => return Err(sink.corrupt(what)),
                Err(Failure::Packet(_)) => {
                    failed.get_or_insert(at);
                }
            }
        }
        if first {
            self.decoded -= self.early.min(self.decoded);
        }
        let Some(position) = position else {
            if let Some(at) = failed {
                self.losses.add(at, Seconds(0.0), "a packet there is broken and left out");
            }
            return Ok(());
        };
        let origin = *self.origin.get_or_insert(position.saturating_sub(self.decoded));
        let here = position.saturating_sub(origin);
        let excess = self.decoded.saturating_sub(here);
        if ends && excess > 0 {
            // The end of the last packets is padding, unless the positions are wrong.
            if excess <= self.decoded - before.min(self.decoded) {
                sink.drop_end(excess)?;
                self.decoded = here;
            }
        } else if let Some(at) = failed {
            let lost = if ends { 0 } else { here.saturating_sub(self.decoded) };
            self.losses.add(at, seconds(lost), container::SILENCED);
            sink.silence(lost)?;
            self.decoded += lost;
        } else if here > self.decoded && seconds(here - self.decoded).0 > LOSSY_TOLERANCE.0 {
            // A jump of the positions may be a pause of the recording; nothing is put there.
            self.losses.add(
                sink.at(),
                Seconds(0.0),
                "the positions in the stream jump there: something may be missing",
            );
            self.origin = Some(position.saturating_sub(self.decoded));
        }
        Ok(())
    }
}
