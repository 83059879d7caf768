//! What the two processes say to each other: the order, the messages of samples, and the answer at the end.

use super::Refusal;
use loopmaster_core::decode::{DecodeError, Gather, Picture, Sink, Source, Tags, Track};
use loopmaster_core::settings::Limits;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// A header is a few hundred bytes; tags may take megabytes.
const LONGEST_HEADER: u32 = 32 << 20;
/// Most frames of one message.
const MOST_FRAMES: u32 = 1 << 23;
/// Short messages go through the pipe together.
pub(super) const BUFFER: usize = 256 << 10;
/// Messages begin with these.
const BEGIN: u8 = b'b';
const FRAMES: u8 = b'f';
const DROP: u8 = b'd';
const END: u8 = b'e';

/// What the child is told, as its only argument.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) extension: Option<String>,
    pub(super) limits: Limits,
    pub(super) seconds: u64,
    pub(super) threads: usize,
    pub(super) unsandboxed: bool,
}

/// What the child answers, after the samples.
#[derive(Debug, Serialize, Deserialize)]
enum Header {
    Track { source: Box<Source>, tags: Box<Tags>, cover: Option<(String, u64)> },
    Larger(u64),
    Refused { code: String, text: String },
    Machine(String),
}

/// Reads an answer; `Err` outside: what came is no answer.
pub(super) fn receive(pipe: &mut impl Read, limits: &Limits, mut gather: Gather) -> io::Result<Result<Track, Refusal>> {
    let mut begun: Option<(u64, u64)> = None;
    loop {
        let [message] = read(pipe)?;
        match (message, &mut begun) {
            (BEGIN, None) => {
                let rate = u32::from_le_bytes(read(pipe)?);
                let [channels] = read(pipe)?;
                let expected = u64::from_le_bytes(read(pipe)?);
                if !(limits.rate.0..=limits.rate.1).contains(&rate) || !(1..=2).contains(&channels) {
                    return Err(wrong("a layout that is none"));
                }
                // The same arithmetic as the decoder's own: slow files are raised to 44.1 kHz.
                let raised = f64::from(rate.max(44_100)) / f64::from(rate);
                let most = (limits.memory as f64 / (8.0 * raised)).ceil() as u64;
                if let Err(error) = gather.begin(rate, channels.into(), expected.min(most)) {
                    return Ok(Err(Refusal::Machine(error)));
                }
                begun = Some((0, most));
            }
            (FRAMES, Some((total, most))) => {
                let frames = u32::from_le_bytes(read(pipe)?);
                *total += u64::from(frames);
                if frames > MOST_FRAMES || *total > *most {
                    return Err(wrong("more samples than were asked for"));
                }
                let mut come = Ok(());
                let taken = gather.push(frames as usize, &mut |left, right| {
                    come = samples(pipe, left).and_then(|()| samples(pipe, right));
                });
                come?;
                if let Err(error) = taken {
                    return Ok(Err(Refusal::Machine(error)));
                }
            }
            (DROP, Some((total, _))) => {
                let frames = u64::from_le_bytes(read(pipe)?);
                *total = total.checked_sub(frames).ok_or_else(|| wrong("padding that was never sent"))?;
                gather.drop_end(frames)?;
            }
            (END, _) => return end(pipe, limits, gather),
            _ => return Err(wrong("a message that is none")),
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn read<const N: usize>(pipe: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    pipe.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn samples(pipe: &mut impl Read, out: &mut [f32]) -> io::Result<()> {
    pipe.read_exact(bytemuck::cast_slice_mut(out))?;
    if cfg!(target_endian = "big") {
        for sample in out {
            *sample = f32::from_bits(sample.to_bits().swap_bytes());
        }
    }
    Ok(())
}

/// What comes after the samples, and the track.
fn end(pipe: &mut impl Read, limits: &Limits, gather: Gather) -> io::Result<Result<Track, Refusal>> {
    let length = u32::from_le_bytes(read(pipe)?);
    if length > LONGEST_HEADER {
        return Err(wrong("a header that never ends"));
    }
    let mut text = vec![0; length as usize];
    pipe.read_exact(&mut text)?;
    let (source, mut tags, cover) = match serde_json::from_slice(&text).map_err(|_| wrong("a header that is none"))? {
        Header::Track { source, tags, cover } => (source, tags, cover),
        Header::Larger(bytes) => return Ok(Err(Refusal::Larger(bytes))),
        Header::Refused { code, text } => return Ok(Err(Refusal::File { code, text })),
        Header::Machine(text) => return Ok(Err(Refusal::Machine(io::Error::other(text)))),
    };
    if let Some((mime, bytes)) = cover {
        if bytes > limits.metadata {
            return Err(wrong("a cover that is too large"));
        }
        let mut picture = vec![0; usize::try_from(bytes).map_err(|_| wrong("a cover that is too large"))?];
        pipe.read_exact(&mut picture)?;
        tags.cover = Some(Picture { mime, bytes: picture });
    }
    if pipe.read(&mut [0])? != 0 {
        return Err(wrong("more bytes than were announced"));
    }
    Ok(gather.track(*source, *tags).map_err(Refusal::from))
}

/// The way to the parent.
pub(super) struct Pipe<W> {
    pub(super) out: W,
    planes: [Vec<f32>; 2],
    mono: bool,
}

impl<W: Write> Pipe<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, planes: [Vec::new(), Vec::new()], mono: false }
    }
}

impl<W: Write> Sink for Pipe<W> {
    fn begin(&mut self, rate: u32, channels: u16, expected: u64) -> io::Result<()> {
        self.mono = channels < 2;
        self.out.write_all(&[BEGIN])?;
        self.out.write_all(&rate.to_le_bytes())?;
        self.out.write_all(&[if self.mono { 1 } else { 2 }])?;
        self.out.write_all(&expected.to_le_bytes())
    }

    fn push(&mut self, frames: usize, fill: &mut dyn FnMut(&mut [f32], &mut [f32])) -> io::Result<()> {
        let [left, right] = &mut self.planes;
        left.resize(frames, 0.0);
        right.resize(if self.mono { 0 } else { frames }, 0.0);
        fill(left, right);
        // One piece never holds so many frames that this could be reached: it keeps both sides from depending on that.
        let most = MOST_FRAMES as usize;
        for start in (0..frames).step_by(most) {
            let range = start..(start + most).min(frames);
            self.out.write_all(&[FRAMES])?;
            self.out.write_all(&(range.len() as u32).to_le_bytes())?;
            for plane in [left.get(range.clone()), right.get(range)].into_iter().flatten() {
                if cfg!(target_endian = "little") {
                    self.out.write_all(bytemuck::cast_slice(plane))?;
                } else {
                    self.out.write_all(&plane.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>())?;
                }
            }
        }
        Ok(())
    }

    fn drop_end(&mut self, frames: u64) -> io::Result<()> {
        self.out.write_all(&[DROP])?;
        self.out.write_all(&frames.to_le_bytes())
    }
}

/// The last message.
pub(super) fn finish(pipe: &mut impl Write, answer: Result<(Source, Tags), DecodeError>) -> io::Result<()> {
    let mut cover = None;
    let header = match answer {
        Ok((source, mut tags)) => {
            cover = tags.cover.take();
            let picture = cover.as_ref().map(|picture| (picture.mime.clone(), picture.bytes.len() as u64));
            Header::Track { source: Box::new(source), tags: Box::new(tags), cover: picture }
        }
        // The only room that is needed here is the parent's.
        Err(DecodeError::Room(error)) => return Err(error),
        Err(DecodeError::NeedsMemory { bytes, .. }) => Header::Larger(bytes),
        Err(DecodeError::Read(error)) => Header::Machine(error.to_string()),
        Err(error) => Header::Refused { code: error.code().to_owned(), text: error.to_string() },
    };
    let text = serde_json::to_vec(&header)?;
    pipe.write_all(&[END])?;
    pipe.write_all(&u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes())?;
    pipe.write_all(&text)?;
    if let Some(picture) = cover {
        pipe.write_all(&picture.bytes)?;
    }
    pipe.flush()
}
