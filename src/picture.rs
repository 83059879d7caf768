//! Pictures of people: whatever comes in is decoded and made anew, small. Nothing of the file itself is kept or shown.
//!
//! A decoder meets what strangers send, so it runs as the decoder of music does ([`crate::work::sandbox`]): in a child without any
//! privileges, with bounded memory and processor time, a few at once. The child answers with the pixels and nothing else; so many bytes
//! are a picture, whatever they hold.

use crate::keyed_lock::Permits;
use crate::work::sandbox::{self, CANNOT_CONFINE};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GenericImageView, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

/// Largest file, bytes: what the edge passes on.
pub const LARGEST: usize = 1 << 20;
/// Largest picture, pixels. A 4K screen has 8.3 million.
pub const MOST_PIXELS: u64 = 9_000_000;
/// What is kept, pixels square.
pub const SIZE: u32 = 256;
/// Bytes of the pixels that the child answers with.
const ANSWER: usize = (SIZE * SIZE * 3) as usize;
/// Decoders at once.
const RUNNING: usize = 2;
/// Pictures at once that are decoded or wait for it.
const WAITING: usize = 16;
/// Pictures at once of one account.
const OWN: u64 = 2;
/// A picture waits this long for a decoder.
const PATIENCE: Duration = Duration::from_secs(8);
/// Processor seconds of one decoder.
const SECONDS: u64 = 10;
/// Seconds on the clock of one decoder.
const CLOCK: Duration = Duration::from_secs(15);
/// Memory of one decoder: the largest picture with 16 bits a channel takes 72 MB, a progressive JPEG of it 81 MB, and a lossless WebP is
/// decoded through a second copy. The allocator takes 64 MiB ahead.
const MEMORY: u64 = 320 << 20;
/// What a decoder may take for the picture.
const DECODED: u64 = 192 << 20;

/// Why there is no picture.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The file has so many bytes.
    #[error("the picture has {0} bytes")]
    TooLarge(usize),
    /// It opens to more pixels than are decoded: width, height.
    #[error("the picture has {0} × {1} pixels")]
    TooManyPixels(u32, u32),
    /// It is no picture, or it is damaged, or it takes its decoder too long.
    #[error("the picture cannot be read")]
    Unreadable,
    /// The account has sent others, which are not done.
    #[error("other pictures of the same account are being decoded")]
    OneByOne,
    /// Too many others wait.
    #[error("too many pictures are being decoded")]
    Busy,
    /// The machine does not run a decoder.
    #[error("the decoder of pictures could not be run: {0}")]
    Machine(String),
}

/// Decodes pictures, a few at once.
#[derive(Debug)]
pub struct Pictures {
    unsandboxed: bool,
    running: Semaphore,
    waiting: Semaphore,
    own: Permits,
}

impl Pictures {
    /// `unsandboxed`: without confinement, for systems without seccomp, after the operator has said so.
    #[must_use]
    pub fn new(unsandboxed: bool) -> Self {
        let (running, waiting) = (Semaphore::new(RUNNING), Semaphore::new(WAITING));
        Self { unsandboxed, running, waiting, own: Permits::default() }
    }

    /// A JPEG of [`SIZE`] pixels square, cut from the middle, upright, on white. `owner` is whose picture it is.
    pub async fn remake(&self, owner: &str, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        if bytes.len() > LARGEST {
            return Err(Refusal::TooLarge(bytes.len()));
        }
        let _own = self.own.take(owner, OWN).ok_or(Refusal::OneByOne)?;
        let _place = self.waiting.try_acquire().map_err(|_| Refusal::Busy)?;
        let turn = tokio::time::timeout(PATIENCE, self.running.acquire()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or(Refusal::Busy)?;
        let program = sandbox::program().map_err(|error| Refusal::Machine(error.to_string()))?;
        let pixels = tokio::time::timeout(CLOCK, self.decoded(program, bytes)).await;
        let pixels = pixels.unwrap_or(Err(Refusal::Unreadable))?;
        let square = RgbImage::from_raw(SIZE, SIZE, pixels).ok_or(Refusal::Unreadable)?;
        let mut jpeg = Vec::new();
        let written = JpegEncoder::new_with_quality(&mut jpeg, 88).encode_image(&square);
        written.map_err(|error| Refusal::Machine(error.to_string()))?;
        Ok(jpeg)
    }

    /// The pixels, by a child. Whoever stops waiting stops the child.
    async fn decoded(&self, program: PathBuf, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        let failed = |error: io::Error| Refusal::Machine(error.to_string());
        let mut command = Command::new(program);
        command.arg("picture-confined").args(self.unsandboxed.then_some(OsStr::new("--unsandboxed")));
        command.env_clear().current_dir("/").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Refusal::Machine("the decoder has no pipes".to_owned()));
        };
        let sending = async move {
            // A child that has seen enough, or has ended, reads no further.
            let _ = input.write_all(bytes).await;
            drop(input);
        };
        let mut answer = Vec::new();
        let most = ANSWER as u64 + 2;
        let receiving = async { output.take(most).read_to_end(&mut answer).await };
        let ((), received) = tokio::join!(sending, receiving);
        received.map_err(failed)?;
        let status = child.wait().await.map_err(failed)?;
        if status.code() == Some(CANNOT_CONFINE) {
            let text = "this system cannot confine it (seccomp, rlimits); worker.allow_unsandboxed goes without";
            return Err(Refusal::Machine(text.to_owned()));
        }
        match answer.split_first() {
            Some((&PIXELS, pixels)) if pixels.len() == ANSWER => Ok(pixels.to_vec()),
            Some((&TOO_MANY, &[a, b, c, d, e, f, g, h])) => {
                Err(Refusal::TooManyPixels(u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])))
            }
            // Unreadable is what the child says, or how it ended.
            _ => Err(Refusal::Unreadable),
        }
    }
}

/// The first byte of an answer: pixels follow.
const PIXELS: u8 = 0;
/// The first byte of an answer: width and height follow.
const TOO_MANY: u8 = 1;

/// The child: takes its privileges away, then reads a picture from standard input and writes pixels to standard output. The exit code.
#[must_use]
pub fn confined(unsandboxed: bool) -> u8 {
    let Ok(input) = io::stdin().as_fd().try_clone_to_owned() else {
        return 4;
    };
    if !unsandboxed && let Err(error) = sandbox::confine_to(MEMORY, SECONDS, &input) {
        eprintln!("{error}");
        return u8::try_from(CANNOT_CONFINE).unwrap_or(1);
    }
    let mut bytes = Vec::new();
    if File::from(input).take(LARGEST as u64 + 1).read_to_end(&mut bytes).is_err() || bytes.len() > LARGEST {
        return 1;
    }
    let mut answer = Vec::with_capacity(ANSWER + 1);
    match remade(&bytes) {
        Ok(square) => {
            answer.push(PIXELS);
            answer.extend_from_slice(&square);
        }
        Err(Refusal::TooManyPixels(width, height)) => {
            answer.push(TOO_MANY);
            answer.extend([width, height].into_iter().flat_map(u32::to_le_bytes));
        }
        Err(_) => return 1,
    }
    let mut output = io::stdout().lock();
    u8::from(output.write_all(&answer).and_then(|()| output.flush()).is_err())
}

/// The middle of a picture, [`SIZE`] pixels square.
fn remade(bytes: &[u8]) -> Result<RgbImage, Refusal> {
    let unreadable = |_| Refusal::Unreadable;
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| Refusal::Unreadable)?;
    if !matches!(reader.format(), Some(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)) {
        return Err(Refusal::Unreadable);
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(DECODED);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(Refusal::TooManyPixels(width, height));
    }
    let orientation = decoder.orientation().map_err(unreadable)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    // Cut first: a picture of 9,000,000 × 1 pixels, made 256 high, would be 2 billion wide.
    let side = width.min(height);
    let middle = imageops::crop_imm(&picture, (width - side) / 2, (height - side) / 2, side, side);
    let square = if side > 2 * SIZE { imageops::thumbnail(&*middle, 2 * SIZE, 2 * SIZE) } else { middle.to_image() };
    let mut small = DynamicImage::from(imageops::resize(&square, SIZE, SIZE, FilterType::Lanczos3));
    // The middle stays in the middle.
    small.apply_orientation(orientation);
    Ok(RgbImage::from_fn(SIZE, SIZE, |x, y| {
        let [r, g, b, alpha] = small.get_pixel(x, y).0;
        let over = |c: u8| ((u32::from(c) * u32::from(alpha) + 255 * (255 - u32::from(alpha))) / 255) as u8;
        Rgb([over(r), over(g), over(b)])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(picture: &DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn the_middle_is_made_anew_on_white() {
        let square = remade(&png(&DynamicImage::new_rgba8(300, 40))).unwrap();
        assert_eq!(square.dimensions(), (SIZE, SIZE));
        let white = square.get_pixel(10, 10).0;
        assert!(white.iter().all(|c| *c > 250), "transparent becomes white, not black: {white:?}");
        // Red, green, blue from left to right: only the green middle is left, whatever the size.
        for (width, height) in [(3, 1), (90, 30), (3_000, 1_000), (300, 100)] {
            let striped = RgbImage::from_fn(width, height, |x, _| {
                let mut color = [0; 3];
                color[(x * 3 / width) as usize] = 255;
                Rgb(color)
            });
            let square = remade(&png(&striped.into())).unwrap();
            let [r, g, b] = square.get_pixel(SIZE / 2, SIZE / 2).0;
            assert!(r < 5 && g > 250 && b < 5, "{width} × {height}: {r} {g} {b}");
        }
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let whole = png(&DynamicImage::new_rgba8(9, 9));
        let svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>".as_slice();
        for bytes in [&[][..], b"GIF89a", svg, &whole[..40]] {
            assert_eq!(remade(bytes).unwrap_err(), Refusal::Unreadable);
        }
    }

    #[test]
    fn long_and_thin_is_no_way_around_the_limit() {
        // Cut after it was made 256 high, this one took 1.6 GB.
        let thin = png(&DynamicImage::new_luma8(1_000_000, 1));
        assert_eq!(remade(&thin).unwrap().dimensions(), (SIZE, SIZE));
        let wide = png(&DynamicImage::new_luma8(3_001, 3_000));
        assert_eq!(remade(&wide).unwrap_err(), Refusal::TooManyPixels(3_001, 3_000));
    }

    #[tokio::test]
    async fn too_many_bytes_are_not_decoded() {
        let pictures = Pictures::new(false);
        assert_eq!(pictures.remake("usr_a", &vec![0; LARGEST + 1]).await, Err(Refusal::TooLarge(LARGEST + 1)));
    }
}
