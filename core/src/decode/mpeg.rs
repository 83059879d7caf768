//! MPEG audio, layers I to III (ISO/IEC 11172-3, 13818-3): finds the frames, counts them, and reads what several files make that were
//! joined end to end.
//!
//! symphonia's reader takes the length of a file without a Xing header from its first 16 frames and stops there, stops at the end of the
//! first of several joined files, and its decoder silences frames without a word. The frames are found here and handed to it.

use super::{
    DecodeError, Sink, Source, Tags,
    chunks::{self, field},
    decoder::{Decoder, Failure, LOSSY_TOLERANCE},
    layer3::Mp3,
    loss::Losses,
    media::Media,
    quirks, tags,
    trimmed::Trimmed,
};
use crate::{settings::Limits, units::Seconds};
use std::io::{self, Read, Seek, SeekFrom};
use symphonia::core::{
    checksum::Crc16AnsiLe,
    codecs::audio::{AudioCodecParameters, well_known as id},
    io::Monitor,
    packet::Packet,
    units::{Duration, Timestamp},
};

/// What stands in place of frames that cannot be decoded.
const BROKEN: &str = "the frames there are broken; silence stands in their place";
/// How far into a file the first frame is searched.
const SEARCH: u64 = 1 << 20;
/// Headers in a row that make a stream out of bytes in which something else came before.
const SURE: usize = 4;
/// Most bytes of a bit reservoir (layer III).
const RESERVOIR: usize = 511;
/// Frames of delay that every decoder of layer III adds to that of the encoder.
const DECODER_DELAY: u64 = 529;
/// Bytes read at a time.
const WINDOW: usize = 1 << 16;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5.
    version: u8,
    layer: u8,
    protected: bool,
    /// Bits per second; 0 for free format.
    bit_rate: u32,
    rate: u32,
    padded: bool,
    channels: u16,
    /// Mid/side or intensity stereo is on.
    joined: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        const KBITS: [[u16; 15]; 5] = [
            [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
            [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
            [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
            [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
            [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
        ];
        let [a, b, c, d] = field(bytes, 0)?;
        let (version, layer) = ((b >> 3) & 3, 4 - ((b >> 1) & 3));
        let (bit_rate, rate) = (usize::from(c >> 4), usize::from((c >> 2) & 3));
        if a != 0xFF || b & 0xE0 != 0xE0 || version == 1 || layer == 4 || bit_rate == 15 || rate == 3 || d & 3 == 2 {
            return None;
        }
        let table = match (version, layer) {
            (3, n) => usize::from(n) - 1,
            (_, 1) => 3,
            _ => 4,
        };
        let halvings = match version {
            3 => 0,
            2 => 1,
            _ => 2,
        };
        let mode = d >> 6;
        Some(Self {
            version,
            layer,
            protected: b & 1 == 0,
            bit_rate: u32::from(KBITS[table][bit_rate]) * 1000,
            rate: [44_100, 48_000, 32_000][rate] >> halvings,
            padded: c & 2 != 0,
            channels: if mode == 3 { 1 } else { 2 },
            joined: mode == 1 && d & 0x30 != 0,
        })
    }

    /// PCM frames of this frame.
    fn frames(&self) -> u64 {
        match (self.layer, self.version) {
            (1, _) => 384,
            (3, 0 | 2) => 576,
            _ => 1152,
        }
    }

    /// Bytes, header included; 0 for free format.
    fn bytes(&self) -> usize {
        let padded = u32::from(self.padded);
        let bytes = match self.layer {
            _ if self.bit_rate == 0 => return 0,
            1 => (12 * self.bit_rate / self.rate + padded) * 4,
            _ => self.frames() as u32 / 8 * self.bit_rate / self.rate + padded,
        };
        bytes as usize
    }

    /// What cannot change from one frame of a stream to the next.
    fn is_like(&self, other: &Self) -> bool {
        let facts = |h: &Self| (h.version, h.layer, h.rate, h.channels, h.bit_rate == 0);
        facts(self) == facts(other)
    }

    /// Bytes of the side information of layer III.
    fn side_info(&self) -> usize {
        match (self.version, self.channels) {
            (3, 1) => 17,
            (3, _) => 32,
            (_, 1) => 9,
            _ => 17,
        }
    }

    /// Bytes before the side information.
    fn before(&self) -> usize {
        if self.protected { 6 } else { 4 }
    }
}

/// What an Info, Xing or VBRI frame says of the file that it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Info {
    /// Frames of MPEG behind this one.
    count: Option<u64>,
    /// PCM frames to drop at the start and at the end of the sound.
    delay: u64,
    padding: u64,
    /// CRC-16 of those frames, as they left the encoder.
    checksum: Option<u16>,
}

impl Info {
    fn parse(frame: &[u8], head: &Head) -> Option<Self> {
        if head.layer != 3 {
            return None;
        }
        let at = 4 + head.side_info();
        let empty = |to: usize| frame.get(head.before()..to).is_some_and(|side| side.iter().all(|&b| b == 0));
        let long = |at: usize| field(frame, at).map(u32::from_be_bytes);
        if matches!(frame.get(at..at + 4), Some(b"Xing" | b"Info")) && empty(at) {
            let flags = long(at + 4)?;
            let count = if flags & 1 != 0 { long(at + 8).map(u64::from) } else { None };
            let lame = at
                + 8
                + [4, 4, 100, 4].iter().enumerate().map(|(n, size)| ((flags >> n) as usize & 1) * size).sum::<usize>();
            let writer = frame.get(lame..lame + 4).unwrap_or_default();
            let (mut delay, mut padding, mut checksum) = (0, 0, None);
            if matches!(writer, b"LAME" | b"Lavf" | b"Lavc")
                && let Some([a, b, c]) = field(frame, lame + 21)
            {
                delay = u64::from(a) << 4 | u64::from(b) >> 4;
                padding = (u64::from(b) & 15) << 8 | u64::from(c);
                delay += DECODER_DELAY;
                padding = padding.saturating_sub(DECODER_DELAY);
                checksum = field(frame, lame + 32).map(u16::from_be_bytes).filter(|&sum| sum != 0);
            }
            return Some(Self { count, delay, padding, checksum });
        }
        if frame.get(36..40) == Some(b"VBRI") && empty(36) {
            return Some(Self { count: long(50).map(u64::from), ..Self::default() });
        }
        None
    }
}

/// Reads a file a stretch at a time.
pub(super) struct Window<'m, 'a> {
    media: &'m mut Media<'a>,
    bytes: Vec<u8>,
    from: u64,
}

impl<'m, 'a> Window<'m, 'a> {
    pub(super) fn new(media: &'m mut Media<'a>) -> Self {
        Self { media, bytes: Vec::new(), from: 0 }
    }

    /// Up to `count` bytes at `at`; fewer at the end of the file.
    pub(super) fn get(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let end = at + count as u64;
        let has = self.from + self.bytes.len() as u64;
        if at < self.from || end > has && has < self.media.len() {
            self.media.seek(SeekFrom::Start(at))?;
            self.bytes.clear();
            self.from = at;
            (&mut *self.media).take(WINDOW.max(count) as u64).read_to_end(&mut self.bytes)?;
        }
        let start = usize::try_from(at - self.from).unwrap_or(usize::MAX).min(self.bytes.len());
        Ok(&self.bytes[start..self.bytes.len().min(start.saturating_add(count))])
    }

    fn head(&mut self, at: u64) -> io::Result<Option<Head>> {
        Ok(Head::parse(self.get(at, 4)?))
    }

    /// Bytes of the tag that begins here, if one does.
    fn tag(&mut self, at: u64) -> io::Result<Option<u64>> {
        let rest = self.media.len().saturating_sub(at);
        let head = self.get(at, 32)?;
        let size = match head {
            [b'I', b'D', b'3', 2..=4, ..] => id3_size(head),
            [b'T', b'A', b'G', b'+', ..] if rest >= 227 => Some(227),
            [b'T', b'A', b'G', ..] if rest >= 128 => Some(128),
            [b'A', b'P', b'E', b'T', b'A', b'G', b'E', b'X', ..] => {
                // A header counts the items and the footer behind them; a footer stands alone here.
                let long = |at| field(head, at).map(u32::from_le_bytes);
                long(12).zip(long(20)).map(|(size, flags)| 32 + if flags >> 29 & 1 == 1 { u64::from(size) } else { 0 })
            }
            _ => None,
        };
        Ok(size.filter(|&size| size <= rest))
    }
}

/// Whole size of the `ID3v2` tag that begins with these bytes.
pub(super) fn id3_size(head: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', 2..=4, _, flags, a, b, c, d, ..] = *head else { return None };
    if (a | b | c | d) & 0x80 != 0 {
        return None;
    }
    let size = [a, b, c, d].iter().fold(0, |size, &b| size << 7 | u64::from(b));
    Some(10 + size + if flags & 0x10 != 0 { 10 } else { 0 })
}

/// Where the tags at the start of a file end.
pub(super) fn behind_id3(media: &mut Media<'_>) -> io::Result<u64> {
    let mut at = 0;
    while let Some(size) = id3_size(&chunks::peek(media, at, 10)?) {
        at += size;
        if at >= media.len() {
            break;
        }
    }
    Ok(at)
}

/// What comes next in the stream.
enum Item {
    /// A frame, or the part of it that the file has.
    Frame { at: u64, head: Head, bytes: usize, cut: bool },
    /// Bytes that are no frame.
    Junk { at: u64, bytes: u64 },
}

/// Walks over the frames of a file.
struct Walk {
    at: u64,
    end: u64,
    last: Option<Head>,
}

impl Walk {
    fn next(&mut self, window: &mut Window<'_, '_>) -> io::Result<Option<Item>> {
        loop {
            if self.at >= self.end {
                return Ok(None);
            }
            if let Some(size) = window.tag(self.at)? {
                self.at += size;
                continue;
            }
            if let Some(head) = window.head(self.at)?
                && head.bytes() > 0
            {
                let next = self.at + head.bytes() as u64;
                let like = self.last.is_none_or(|last| last.is_like(&head));
                // Another layout is believed where a second frame of it follows.
                if like || follows(window, next, self.end, &head, 1)? {
                    let item = Item::Frame {
                        at: self.at,
                        head,
                        bytes: (self.end.min(next) - self.at) as usize,
                        cut: next > self.end,
                    };
                    self.at = next;
                    self.last = Some(head);
                    return Ok(Some(item));
                }
            }
            // Lost: the next place where two frames of this stream follow each other.
            let from = self.at;
            self.at += 1;
            while self.at < self.end {
                if window.get(self.at, 1)?.first() == Some(&0xFF)
                    && let Some(head) = window.head(self.at)?
                    && head.bytes() > 0
                    && self.last.is_none_or(|last| last.is_like(&head))
                    && follows(window, self.at + head.bytes() as u64, self.end, &head, 1)?
                {
                    break;
                }
                if window.tag(self.at)?.is_some() {
                    break;
                }
                self.at += 1;
            }
            return Ok(Some(Item::Junk { at: from, bytes: self.at - from }));
        }
    }
}

/// Whether `count` more frames of the same kind follow, or the end of the file or a tag does.
fn follows(window: &mut Window<'_, '_>, mut at: u64, end: u64, like: &Head, count: usize) -> io::Result<bool> {
    for _ in 0..count {
        if at == end || window.tag(at)?.is_some() {
            return Ok(true);
        }
        match window.head(at)? {
            Some(head) if head.is_like(like) && head.bytes() > 0 => at += head.bytes() as u64,
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The first frame of the file, and whether its stream is in free format.
fn first(window: &mut Window<'_, '_>, from: u64, end: u64) -> io::Result<Option<(u64, bool)>> {
    for at in from..end.min(from + SEARCH) {
        if window.get(at, 1)?.first() != Some(&0xFF) {
            continue;
        }
        let Some(head) = window.head(at)? else { continue };
        if head.bytes() == 0 {
            if at == from && is_free_format(window, at, &head)? {
                return Ok(Some((at, true)));
            }
            continue;
        }
        // Two frames suffice where nothing else came before.
        let sure = if at == from { 1 } else { SURE };
        if follows(window, at + head.bytes() as u64, end, &head, sure)? {
            return Ok(Some((at, false)));
        }
    }
    Ok(None)
}

/// Frames without a bit rate: the distance from one to the next must come again.
fn is_free_format(window: &mut Window<'_, '_>, at: u64, head: &Head) -> io::Result<bool> {
    let like = |window: &mut Window<'_, '_>, at: u64| -> io::Result<bool> {
        Ok(window.head(at)?.is_some_and(|other| other.is_like(head)))
    };
    for size in 96..4608_u64 {
        if like(window, at + size)? {
            for padding in [0, 1] {
                if like(window, at + 2 * size + padding)? || like(window, at + 2 * size - padding)? {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// One of the files that were joined: all but one in a million have one.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    info: Info,
    /// PCM frames of its frames, and of the holes between them.
    frames: u64,
    /// PCM frames of sound that it says it has and has not.
    missing: u64,
}

impl Part {
    /// PCM frames behind the delay that are sound.
    fn keep(&self) -> u64 {
        self.frames.saturating_sub(self.info.delay).saturating_sub(self.info.padding)
    }
}

/// The file at a glance.
struct Plan {
    first: u64,
    end: u64,
    head: Head,
    parts: Vec<Part>,
    /// Where frames are missing, and how many PCM frames those would have had.
    holes: Vec<(u64, u64)>,
    /// A joint stereo frame gives its channels blocks of different kinds.
    unequal: bool,
    /// The sound is not the one that the encoder took the checksum of.
    changed: bool,
    /// The file begins with the header of a frame that is not whole.
    headless: bool,
}

/// Reads the file if it is MPEG audio; `from` is behind `ID3v2` tags.
pub(super) fn read(
    media: &mut Media<'_>,
    from: u64,
    limits: &Limits,
    sink: &mut dyn Sink,
) -> Result<Option<(Source, Tags)>, DecodeError> {
    let end = behind_sound(media)?;
    let Some(plan) = plan(media, from, end)? else { return Ok(None) };
    let found = read_tags(media, from, end, limits)?;
    Ok(Some((decode(media, &plan, limits, sink)?, found)))
}

/// Where the tags at the end of the file begin.
pub(super) fn behind_sound(media: &mut Media<'_>) -> io::Result<u64> {
    let mut end = media.len();
    if end >= 128 && chunks::peek(media, end - 128, 3)? == b"TAG" {
        end -= 128;
        if end >= 227 && chunks::peek(media, end - 227, 4)? == b"TAG+" {
            end -= 227;
        }
    }
    // Lyrics3 v2: six digits of size and an end mark.
    if end >= 15 {
        let mark = chunks::peek(media, end - 15, 15)?;
        let size = std::str::from_utf8(&mark[..6]).ok().and_then(|digits| digits.parse::<u64>().ok());
        if let Some(start) = size.and_then(|size| (end - 15).checked_sub(size))
            && &mark[6..] == b"LYRICS200"
            && chunks::peek(media, start, 11)? == b"LYRICSBEGIN"
        {
            end = start;
        }
    }
    if end >= 32 {
        let footer = chunks::peek(media, end - 32, 32)?;
        let long = |at| field(&footer, at).map(u32::from_le_bytes);
        if footer.starts_with(b"APETAGEX")
            && let (Some(size), Some(flags)) = (long(12), long(20))
        {
            let whole = u64::from(size) + if flags >> 31 == 1 { 32 } else { 0 };
            end = end.saturating_sub(whole.max(32));
        }
    }
    Ok(end)
}

fn plan(media: &mut Media<'_>, from: u64, end: u64) -> Result<Option<Plan>, DecodeError> {
    let mut window = Window::new(media);
    let Some((first, free)) = first(&mut window, from, end)? else { return Ok(None) };
    if free {
        return Err(DecodeError::UnsupportedCodec("MP3 in free format (no bit rate in its frames)".into()));
    }
    let headless = first > from && window.head(from)?.is_some_and(|head| head.bytes() > 0);
    let mut walk = Walk { at: first, end, last: None };
    let (mut parts, mut head, mut unequal) = (Vec::<Part>::new(), None, false);
    let (mut sound_bytes, mut sound_frames) = (0, 0_u64);
    let (mut holes, mut hole) = (Vec::new(), None);
    let (mut sum, mut summed, mut changed) = (Crc16AnsiLe::new(0), 0, false);
    while let Some(item) = walk.next(&mut window)? {
        let (at, this, bytes, cut) = match item {
            Item::Frame { at, head, bytes, cut } => (at, head, bytes, cut),
            Item::Junk { at, bytes } => {
                hole = Some((at, bytes));
                continue;
            }
        };
        head.get_or_insert(this);
        let frame = window.get(at, bytes)?;
        if let Some(info) = Info::parse(frame, &this) {
            parts.push(Part { info, ..Part::default() });
            hole = None;
            (sum, summed) = (Crc16AnsiLe::new(0), 0);
            continue;
        }
        if cut {
            continue;
        }
        // Junk between two frames of a part stands where frames were; at its edges it is something else.
        if let (Some((at, bytes)), Some(part)) = (hole.take(), parts.last_mut())
            && part.frames > 0
        {
            let mean = (sound_bytes / sound_frames.max(1)).max(1);
            let frames = (bytes + mean / 2) / mean * this.frames();
            part.frames += frames;
            holes.push((at, frames));
        }
        match parts.last_mut() {
            None => parts.push(Part::default()),
            // One more than counted is the Info frame itself, or a writer's mistake; two are those of another file.
            Some(part) => {
                let counted =
                    part.info.count.filter(|_| part.info.padding > 0).unwrap_or(u64::MAX / 2048) * this.frames();
                if part.frames > counted + this.frames() {
                    let surplus = part.frames - counted;
                    part.frames = counted;
                    parts.push(Part { frames: surplus, ..Part::default() });
                }
            }
        }
        unequal |= quirks::has_unequal_blocks(frame, this.before(), this.version == 3, this.layer == 3 && this.joined);
        sound_bytes += bytes as u64;
        sound_frames += 1;
        if let Some(part) = parts.last_mut() {
            part.frames += this.frames();
            if let (Some(count), Some(said)) = (part.info.count, part.info.checksum)
                && summed < count
            {
                sum.process_buf_bytes(frame);
                summed += 1;
                changed |= summed == count && sum.crc() != said;
            }
        }
    }
    let Some(head) = head else { return Ok(None) };
    for part in &mut parts {
        // What is missing at the end was padding first.
        part.missing = (part.info.count.unwrap_or(0) * head.frames()).saturating_sub(part.frames);
        let padding = part.info.padding.min(part.missing);
        part.info.padding -= padding;
        part.missing -= padding;
    }
    Ok(Some(Plan { first, end, head, parts, holes, unequal, changed, headless }))
}

fn decode(media: &mut Media<'_>, plan: &Plan, limits: &Limits, sink: &mut dyn Sink) -> Result<Source, DecodeError> {
    let bytes = media.len();
    let Plan { head, .. } = plan;
    let rate = head.rate;
    let seconds = |frames: u64| Seconds(frames as f64 / f64::from(rate));
    let total: u64 = plan.parts.iter().map(Part::keep).sum();
    super::check(rate, u64::from(head.channels), Some(total), limits)?;
    // The length of what was cut off is known where a header counts the frames.
    if let Some(missing) = plan.parts.last().map(|part| part.missing)
        && missing > LOSSY_TOLERANCE.frames(rate) as u64
    {
        return Err(DecodeError::Truncated { have: seconds(total), want: seconds(total + missing) });
    }

    let mut params = AudioCodecParameters::new();
    params.for_codec(match head.layer {
        1 => id::CODEC_ID_MP1,
        2 => id::CODEC_ID_MP2,
        _ => id::CODEC_ID_MP3,
    });
    let codec = ["mp1", "mp2", "mp3"][usize::from(head.layer) - 1];
    let mut decoder = Decoder::new(&params, codec)?;
    let mut second = plan.unequal.then(Mp3::new);
    let mut sink = Trimmed::new(sink, limits, total, 0, None);
    let mut losses = Losses::default();
    if plan.headless {
        losses.add(Seconds(0.0), Seconds(0.0), "its first frame is broken: the beginning may be missing");
    }

    let mut window = Window::new(media);
    let mut walk = Walk { at: plan.first, end: plan.end, last: None };
    let mut parts = plan.parts.iter();
    // Frames of the current part that are still to come.
    let mut left = 0_u64;
    // Bytes that frames may lean on; unknown before the first frame, whose sound may have begun in another file.
    let mut reservoir: Option<usize> = None;
    while let Some(item) = walk.next(&mut window)? {
        let (at, this, size) = match item {
            // A count of frames that is complete knows better.
            Item::Frame { cut: true, .. } if plan.parts.last().is_some_and(|p| p.info.count.is_some()) => continue,
            Item::Frame { cut: true, .. } => {
                losses.add(sink.at(), Seconds(0.0), "the file ends there in the middle of a frame: it may be cut off");
                continue;
            }
            Item::Frame { at, head, bytes, .. } => (at, head, bytes),
            Item::Junk { at, .. } => {
                if let Some(&(_, frames)) = plan.holes.iter().find(|hole| hole.0 == at) {
                    losses.add(sink.at(), seconds(frames), BROKEN);
                    sink.silence(frames)?;
                    left = left.saturating_sub(frames);
                }
                reservoir = Some(0);
                continue;
            }
        };
        let frame = window.get(at, size)?;
        if Info::parse(frame, &this).is_some() {
            left = 0;
            // Its frame is not counted among the frames of the part, which begins with the next one.
            continue;
        }
        if left == 0 {
            let Some(part) = parts.by_ref().find(|part| part.frames > 0) else { break };
            left = part.frames;
            sink.window(part.info.delay, part.keep());
            decoder.reset();
            if let Some(second) = &mut second {
                second.reset();
            }
            reservoir = None;
        }
        left = left.saturating_sub(this.frames());
        let packet = Packet::new(0, Timestamp::ZERO, Duration::new(this.frames()), frame.to_vec());
        let begin = main_data_begin(frame, &this);
        let leans = reservoir.is_some_and(|has| begin > has);
        let place = sink.at();
        let result = if let Some(second) = &mut second {
            second.decode(&packet.data, &mut decoder, &packet, &mut sink, rate, this.channels)
        } else {
            sink.layout(this.rate, usize::from(this.channels))?;
            decoder.decode(&packet, &mut sink)
        };
        let main_data = size.saturating_sub(this.before() + this.side_info());
        match result {
            Ok(()) => {
                reservoir = Some((reservoir.unwrap_or(RESERVOIR) + main_data).min(RESERVOIR));
                if leans {
                    losses.add(place, seconds(this.frames()), BROKEN);
                }
            }
            Err(Failure::Fatal(e)) => return Err(e),
            // The first frames of a stream that was cut out of a longer one lean on what is gone.
            Err(Failure::Packet(_)) if reservoir.is_none() && begin > 0 => sink.silence(this.frames())?,
            Err(Failure::Packet(_)) => {
                sink.silence(this.frames())?;
                losses.add(place, seconds(this.frames()), BROKEN);
                reservoir = Some(0);
            }
        }
    }

    // Some writers count the Info frame itself.
    for part in plan.parts.iter().filter(|part| part.missing > head.frames() * 5 / 4) {
        losses.add(
            sink.at(),
            seconds(part.missing),
            "the file has fewer frames than its header says: it may be cut off",
        );
    }
    if plan.changed && losses.is_empty() {
        // Frames whose headers are whole are decoded, whatever is in them: only the checksum knows.
        let what =
            "the checksum in its header is not that of its sound, which was changed or damaged after it was encoded";
        losses.add(Seconds(0.0), Seconds(0.0), what);
    }
    let losses = losses.bearable(sink.at())?;
    Ok(Source {
        container: "mp3".into(),
        codec: codec.into(),
        lossy: true,
        rate,
        channels: head.channels,
        frames: sink.frames(),
        bytes,
        losses,
        ..Source::default()
    })
}

/// How far back the sound of a frame of layer III begins.
fn main_data_begin(frame: &[u8], head: &Head) -> usize {
    let Some([a, b]) = field(frame, head.before()) else { return 0 };
    match (head.layer, head.version) {
        (3, 3) => usize::from(u16::from_be_bytes([a, b]) >> 7),
        (3, _) => usize::from(a),
        _ => 0,
    }
}

/// `ID3v2` before the sound, then APE, then `ID3v1`: what stands first wins, and only what is missing comes from the later ones.
fn read_tags(media: &mut Media<'_>, from: u64, end: u64, limits: &Limits) -> Result<Tags, DecodeError> {
    let (mut found, mut at, mut charged) = (Tags::default(), 0, 0);
    while at < from {
        let Some(size) = id3_size(&chunks::peek(media, at, 10)?) else { break };
        chunks::charge(&mut charged, size, limits.metadata)?;
        tags::id3(chunks::peek(media, at, size)?, &mut found);
        at += size;
    }
    let size = media.len() - end;
    chunks::charge(&mut charged, size, limits.metadata)?;
    tags::behind(&chunks::peek(media, end, size)?, &mut found);
    Ok(found)
}
