//! Pictures that attack whoever opens them, sent to the binary as it is run.

use super::{Serving, Visitor, data, loopmaster, signed_in};
use crate::service::Reply;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ImageEncoder, ImageFormat, Rgba, RgbaImage};
use loopmaster::picture::MOST_PIXELS;
use loopmaster_core::signing;
use reqwest::Method;
use serde_json::json;
use std::io::{Cursor, Write};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the api may grow by, whatever is sent: thirty bodies of 1 MiB twice over, and nothing of what they open to, which is two
/// hundred times as much.
const GROWTH: u64 = 64 << 20;

pub(super) async fn put(url: &str, session: &str, picture: Vec<u8>) -> Reply {
    Visitor::with_session(session).send(url, Method::PUT, "/v1/me/picture", picture).await
}

pub(super) async fn contact(url: &str) -> Reply {
    let body = json!({ "topic": "other", "email": "ana@example.com", "message": "hello" }).to_string().into_bytes();
    Visitor::default().send(url, Method::POST, "/v1/contact", body).await
}

fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(super) fn png(width: u32, height: u32) -> Vec<u8> {
    written(&DynamicImage::new_rgba8(width, height), ImageFormat::Png)
}

fn zlib(bytes: usize) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    let piece = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(piece.len());
        zlib.write_all(&piece[..now]).unwrap();
        left -= now;
    }
    zlib.finish().unwrap()
}

fn chunk(png: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    png.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    let body = [name.as_slice(), data].concat();
    png.extend(&body);
    png.extend(crc32fast::hash(&body).to_be_bytes());
}

/// A PNG written by hand: bits a channel, kind of colour, interlaced, chunks before the pixels, bytes of pixels that it unpacks to.
fn raw_png(
    size: (u32, u32),
    bits: u8,
    color: u8,
    interlaced: bool,
    before: &[(&[u8; 4], Vec<u8>)],
    unpacked: usize,
) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let head = [&size.0.to_be_bytes()[..], &size.1.to_be_bytes(), &[bits, color, 0, 0, interlaced.into()]].concat();
    chunk(&mut png, *b"IHDR", &head);
    for (name, data) in before {
        chunk(&mut png, **name, data);
    }
    chunk(&mut png, *b"IDAT", &zlib(unpacked));
    chunk(&mut png, *b"IEND", &[]);
    png
}

/// A progressive JPEG of 3000 × 3000 pixels with as many scans as fit into 1 MiB. Each says in 20 bytes that all 140,625 blocks have
/// nothing to add, and a decoder goes through all of them to find out.
fn scans() -> Vec<u8> {
    let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0];
    jpeg.extend([1; 64]);
    jpeg.extend([0xFF, 0xC2, 0, 11, 8, 0x0B, 0xB8, 0x0B, 0xB8, 1, 1, 0x11, 0]);
    // One code of one bit each: a difference of no bits, and a run of 2^14 and more blocks that are at their end.
    for (table, symbol) in [(0x00, 0x00), (0x10, 0xE0)] {
        jpeg.extend([0xFF, 0xC4, 0, 20, table, 1]);
        jpeg.extend([0; 15]);
        jpeg.push(symbol);
    }
    jpeg.extend([0xFF, 0xDA, 0, 8, 1, 1, 0x00, 0, 0, 0]);
    jpeg.extend(vec![0; 140_625 / 8 + 1]);
    // `0` and 14 bits, five times: 5 × 28,125 blocks.
    let bits = format!("0{:014b}", 28_125 - (1 << 14)).repeat(5);
    let mut run = Vec::new();
    for byte in format!("{bits:1<80}").as_bytes().chunks(8) {
        let byte = byte.iter().fold(0u8, |byte, bit| (byte << 1) | (bit - b'0'));
        run.push(byte);
        if byte == 0xFF {
            run.push(0);
        }
    }
    let scan = [&[0xFF, 0xDA, 0, 8, 1, 1, 0x00, 1, 63, 0], run.as_slice()].concat();
    while jpeg.len() + scan.len() + 2 <= 1 << 20 {
        jpeg.extend(&scan);
    }
    jpeg.extend([0xFF, 0xD9]);
    jpeg
}

/// A lossless WebP that says so many pixels and has none.
fn webp_header(width: u32, height: u32) -> Vec<u8> {
    let size = (width - 1) | ((height - 1) << 14);
    let mut data = vec![0x2F];
    data.extend(size.to_le_bytes());
    data.extend([0; 7]);
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
    [b"RIFF", &length(data.len() + 12)[..], b"WEBPVP8L", &length(data.len()), &data].concat()
}

/// One line of /proc/PID/status, bytes.
fn status(pid: u32, what: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// The largest resident memory since this was last asked for.
pub(super) fn peak(pid: u32) -> u64 {
    let peak = status(pid, "VmHWM");
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    peak
}

async fn users(folder: &tempfile::TempDir, count: usize) -> Vec<String> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        sessions.push(signed_in(&data(folder)).await.1);
    }
    sessions
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_large_pictures_at_once_cost_the_api_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let service = Serving::start(&mut loopmaster(folder.path()));
    let sessions = users(&folder, 30).await;
    assert_eq!(put(&service.url, &sessions[0], png(300, 300)).await.status, 200);
    // 144 MB each when opened, and refused for it; 72 MB each, and taken.
    let refused = raw_png((6_000, 6_000), 8, 6, false, &[], 6_000 * (6_000 * 4 + 1));
    let taken = raw_png((3_000, 3_000), 16, 6, false, &[], 3_000 * (3_000 * 8 + 1));
    assert!(refused.len() < 200_000 && taken.len() < 200_000);
    let before = status(service.pid(), "VmRSS");
    peak(service.pid());
    let sent: Vec<_> = sessions
        .into_iter()
        .enumerate()
        .map(|(at, session)| {
            let (url, picture) = (service.url.clone(), if at % 2 == 0 { refused.clone() } else { taken.clone() });
            tokio::spawn(async move { (at, put(&url, &session, picture).await) })
        })
        .collect();
    // Others are served meanwhile.
    let (url, mut slowest) = (service.url.clone(), Duration::ZERO);
    while !sent.iter().all(tokio::task::JoinHandle::is_finished) {
        let began = Instant::now();
        let answer = reqwest::get(format!("{url}/v1/status")).await.unwrap();
        assert_eq!(answer.status(), 200);
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut good = 0;
    for answer in sent {
        let (at, answer) = answer.await.unwrap();
        if answer.status == 200 {
            assert_eq!(at % 2, 1);
            good += 1;
            continue;
        }
        let (status, code) = answer.problem();
        match (status, code.as_str()) {
            (422, "picture.too_many_pixels") => {
                let body = answer.json();
                assert_eq!((at % 2, &body["width"], &body["most_pixels"]), (0, &json!(6_000), &json!(MOST_PIXELS)));
                let detail = body["detail"].as_str().unwrap();
                assert!(detail.contains("6000 × 6000") && detail.contains("at most 9 million"), "{detail}");
            }
            (503, "picture.busy") => assert_eq!(answer.header("retry-after"), "5"),
            other => panic!("{other:?} {answer:?}"),
        }
    }
    let grown = peak(service.pid()).saturating_sub(before);
    println!(
        "thirty at once: {good} taken, the api grew by {} MiB, the slowest other answer took {slowest:?}",
        grown >> 20
    );
    assert!(good >= 2, "{good}");
    assert!(grown < GROWTH, "the api grew by {} MiB", grown >> 20);
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_does_not_take_all_places() {
    let folder = tempfile::tempdir().unwrap();
    let service = Serving::start(&mut loopmaster(folder.path()));
    let sessions = users(&folder, 2).await;
    let slow = raw_png((3_000, 3_000), 16, 6, true, &[], 3_000 * (3_000 * 8 + 2));
    let many: Vec<_> = (0..20)
        .map(|_| {
            let (url, session, picture) = (service.url.clone(), sessions[0].clone(), slow.clone());
            tokio::spawn(async move { put(&url, &session, picture).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(put(&service.url, &sessions[1], png(40, 30)).await.status, 200, "somebody else");
    let mut told = 0;
    for answer in many {
        let answer = answer.await.unwrap();
        if answer.status == 429 {
            assert_eq!(answer.problem().1, "picture.one_by_one");
            assert!(!answer.header("retry-after").is_empty());
            told += 1;
        }
    }
    assert!(told > 0, "all of one account's at once");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kind_of_picture_is_a_bomb() {
    let folder = tempfile::tempdir().unwrap();
    let service = Serving::start(&mut loopmaster(folder.path()));
    let session = &users(&folder, 1).await[0];
    assert_eq!(put(&service.url, session, png(300, 300)).await.status, 200);
    let bomb = zlib(900 << 20);
    let profile = [b"icc\0\0".as_slice(), &bomb].concat();
    let comment = [b"Comment\0\0".as_slice(), &bomb].concat();
    let words = [b"Comment\0\x01\0\0\0".as_slice(), &bomb].concat();
    let small = 9 * (9 * 4 + 1);
    let rgba = |side: u32| DynamicImage::from(RgbaImage::from_pixel(side, side, Rgba([200, 30, 30, 255])));
    let mut webp = Vec::new();
    let red = rgba(3_000).into_rgba8();
    WebPEncoder::new_lossless(&mut webp).write_image(&red, 3_000, 3_000, image::ExtendedColorType::Rgba8).unwrap();
    let animated: Vec<(&[u8; 4], Vec<u8>)> = vec![
        (b"acTL", [u32::MAX.to_be_bytes(), 0u32.to_be_bytes()].concat()),
        (b"fcTL", [&[0; 4][..], &9u32.to_be_bytes(), &9u32.to_be_bytes(), &[0; 8], &[0, 1, 0, 1, 0, 0]].concat()),
    ];
    let jpeg = written(&rgba(64).into_rgb8().into(), ImageFormat::Jpeg);
    // An orientation that needs all of a large picture turned.
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut turned = vec![0xFF, 0xD8, 0xFF, 0xE1];
    turned.extend(u16::try_from(exif.len() + 2).unwrap().to_be_bytes());
    turned.extend(exif);
    turned.extend(&written(&rgba(3_000).into_rgb8().into(), ImageFormat::Jpeg)[2..]);
    let any = ["", "picture.unreadable", "picture.too_many_pixels"];
    let (taken, large, wrong) = (&any[..1], &any[2..], &any[1..2]);
    for (name, picture, allowed) in [
        ("a profile of 900 MB", raw_png((9, 9), 8, 6, false, &[(b"iCCP", profile)], small), &any[..2]),
        ("a text of 900 MB", raw_png((9, 9), 8, 6, false, &[(b"zTXt", comment)], small), &any[..2]),
        ("an international text of 900 MB", raw_png((9, 9), 8, 6, false, &[(b"iTXt", words)], small), &any[..2]),
        ("16 bits", raw_png((3_000, 3_000), 16, 6, false, &[], 3_000 * (3_000 * 8 + 1)), taken),
        ("interlaced", raw_png((3_000, 3_000), 16, 6, true, &[], 3_000 * (3_000 * 8 + 2)), taken),
        ("more pixels than it says", raw_png((9, 9), 8, 6, false, &[], 900 << 20), &any[..2]),
        ("fewer pixels than it says", raw_png((3_000, 3_000), 8, 6, false, &[], 9), wrong),
        ("long and thin", raw_png((9_000_000, 1), 1, 0, false, &[], 9_000_000 / 8 + 1), taken),
        ("the widest", raw_png((i32::MAX as u32, 1), 1, 0, false, &[], 9), &any[1..]),
        ("the largest", raw_png((i32::MAX as u32, i32::MAX as u32), 16, 6, false, &[], 9), &any[1..]),
        ("four billion frames", raw_png((9, 9), 8, 6, false, &animated, small), &any[..2]),
        ("a WebP", webp, taken),
        ("the largest WebP", webp_header(16_384, 16_384), &any[1..]),
        ("a WebP of nothing", webp_header(3_000, 3_000), wrong),
        ("a JPEG", jpeg, taken),
        ("a JPEG to be turned", turned, taken),
        ("fifty thousand scans", scans(), &any[..2]),
        ("one pixel more", raw_png((3_001, 3_000), 1, 0, false, &[], 3_000 * 377), large),
    ] {
        let (before, bytes) = (status(service.pid(), "VmRSS"), picture.len());
        assert!(bytes <= 1 << 20, "{name} has {bytes} bytes");
        peak(service.pid());
        let began = Instant::now();
        let answer = put(&service.url, session, picture).await;
        let took = began.elapsed();
        let grown = peak(service.pid()).saturating_sub(before);
        let code = if answer.status == 200 { String::new() } else { answer.problem().1 };
        println!("{name}: {bytes} bytes, {took:?}, {} MiB, {code}", grown >> 20);
        assert!(allowed.contains(&code.as_str()), "{name}: {answer:?}");
        assert!(grown < GROWTH, "{name}: the api grew by {} MiB", grown >> 20);
        assert!(took < Duration::from_secs(20), "{name} took {took:?}");
    }
    service.stop();
}

/// Whoever sends slowly waits with the body, and takes no decoder from others.
#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_keep_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = loopmaster(folder.path());
    let service = Serving::start(command.env("LOOPMASTER_LIMITS__BODY_SECONDS", "2"));
    let sessions = users(&folder, 31).await;
    let slow: Vec<_> = sessions[..30]
        .iter()
        .map(|session| {
            let (address, session) = (service.url.trim_start_matches("http://").to_owned(), session.clone());
            tokio::spawn(async move {
                let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
                let head = format!(
                    "PUT /v1/me/picture HTTP/1.1\r\nhost: {address}\r\n{}: {session}\r\ncontent-length: 1000000\r\n\r\n",
                    signing::SESSION
                );
                socket.write_all(head.as_bytes()).await.unwrap();
                let (mut reader, mut writer) = socket.into_split();
                let drip = tokio::spawn(async move {
                    while writer.write_all(&[0x89]).await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                });
                let mut answer = vec![0; 64];
                let read = reader.read(&mut answer).await.unwrap_or(0);
                drip.abort();
                String::from_utf8_lossy(&answer[..read]).into_owned()
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    assert_eq!(put(&service.url, &sessions[30], png(300, 300)).await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for answer in slow {
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    service.stop();
}
