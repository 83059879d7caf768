//! Where every byte of a ZIP lies, before one of them is sent. Entries are stored, not compressed (audio does not shrink), with sizes
//! and CRC-32 known from the rows: so the length is exact, and any range can be served by itself.
//!
//! PKWARE APPNOTE 6.3.10; Zip64 records (4.3.14, 4.3.15, 4.5.3) where a size, an offset or a count does not fit into the old fields.

use serde::{Deserialize, Serialize};
use std::ops::Range;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
/// General purpose bit 11: names are UTF-8.
const UTF8: u16 = 1 << 11;
/// Zip64 needs version 4.5 of the format.
const VERSION64: u16 = 45;
const VERSION: u16 = 20;
/// A value that lies in the Zip64 field.
const FULL: u32 = u32::MAX;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path inside the archive.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// CRC-32.
    pub crc32: u32,
    /// When it was made, ms since 1970.
    pub time: i64,
    /// Where its bytes are.
    pub content: Content,
}

/// Where bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// An object of the storage.
    Key(String),
    /// Here.
    Text(String),
}

impl Content {
    /// The master it is a file of.
    #[must_use]
    pub fn master(&self) -> Option<&str> {
        match self {
            Self::Key(key) => master_of(key),
            Self::Text(_) => None,
        }
    }
}

/// `jobs/<master>/<attempt>/…`
#[must_use]
pub fn master_of(key: &str) -> Option<&str> {
    key.strip_prefix("jobs/")?.split('/').next()
}

/// A run of bytes of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Headers, directory, short files.
    Bytes(Vec<u8>),
    /// A part of an object.
    Object {
        /// Its key.
        key: String,
        /// Which part.
        range: Range<u64>,
    },
}

/// An archive laid out.
#[derive(Clone, Debug)]
pub struct Layout {
    entries: Vec<Entry>,
    /// Where each local header begins, and at the end where the directory does.
    offsets: Vec<u64>,
    directory: Vec<u8>,
}

impl Layout {
    /// Lays the entries one behind the other.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Self {
        let mut offsets = Vec::with_capacity(entries.len() + 1);
        let mut at = 0;
        for entry in &entries {
            offsets.push(at);
            at += local(entry).len() as u64 + entry.bytes;
        }
        offsets.push(at);
        let directory = directory(&entries, &offsets);
        Self { entries, offsets, directory }
    }

    /// Length of the whole archive.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.offsets.last().copied().unwrap_or_default() + self.directory.len() as u64
    }

    /// The pieces of a range, in order.
    pub fn pieces(self, range: Range<u64>) -> impl Iterator<Item = Piece> {
        let Self { entries, offsets, directory } = self;
        let end = offsets.last().copied().unwrap_or_default();
        let parts = entries.into_iter().zip(offsets).flat_map(|(entry, at)| {
            let header = local(&entry);
            let body = at + header.len() as u64;
            let content = match entry.content {
                Content::Key(key) => Piece::Object { key, range: 0..entry.bytes },
                Content::Text(text) => Piece::Bytes(text.into_bytes()),
            };
            [(at, Piece::Bytes(header)), (body, content)]
        });
        parts.chain([(end, Piece::Bytes(directory))]).filter_map(move |(at, piece)| cut(piece, at, &range))
    }
}

/// The part of a piece, which begins at `at`, that lies in the range.
fn cut(piece: Piece, at: u64, range: &Range<u64>) -> Option<Piece> {
    let length = match &piece {
        Piece::Bytes(bytes) => bytes.len() as u64,
        Piece::Object { range, .. } => range.end,
    };
    let from = range.start.max(at) - at;
    let to = range.end.min(at + length).checked_sub(at)?;
    if from >= to {
        return None;
    }
    Some(match piece {
        Piece::Bytes(bytes) => Piece::Bytes(bytes[from as usize..to as usize].to_vec()),
        Piece::Object { key, .. } => Piece::Object { key, range: from..to },
    })
}

/// Little-endian fields.
#[derive(Default)]
struct Record(Vec<u8>);

impl Record {
    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(FULL)
}

/// Whether a size or offset needs the Zip64 field; `FULL` itself means "look there".
fn wide(value: u64) -> bool {
    value >= u64::from(FULL)
}

fn local(entry: &Entry) -> Vec<u8> {
    let zip64 = wide(entry.bytes);
    let extra = if zip64 { Record::default().u16(1).u16(16).u64(entry.bytes).u64(entry.bytes).0 } else { Vec::new() };
    let size = if zip64 { FULL } else { entry.bytes as u32 };
    let (date, time) = dos_time(entry.time);
    Record::default()
        .u32(LOCAL)
        .u16(if zip64 { VERSION64 } else { VERSION })
        .u16(UTF8)
        .u16(0)
        .u16(time)
        .u16(date)
        .u32(entry.crc32)
        .u32(size)
        .u32(size)
        .u16(entry.name.len() as u16)
        .u16(extra.len() as u16)
        .bytes(entry.name.as_bytes())
        .bytes(&extra)
        .0
}

fn directory(entries: &[Entry], offsets: &[u64]) -> Vec<u8> {
    let mut all = Record::default();
    for (entry, offset) in entries.iter().zip(offsets) {
        let mut fields = Record::default();
        if wide(entry.bytes) {
            fields = fields.u64(entry.bytes).u64(entry.bytes);
        }
        if wide(*offset) {
            fields = fields.u64(*offset);
        }
        let extra = if fields.0.is_empty() {
            Vec::new()
        } else {
            Record::default().u16(1).u16(fields.0.len() as u16).bytes(&fields.0).0
        };
        let version = if extra.is_empty() { VERSION } else { VERSION64 };
        let (date, time) = dos_time(entry.time);
        all = all
            .u32(CENTRAL)
            // Made on Unix (3): the mode in the upper half of the external attributes counts.
            .u16(3 << 8 | version)
            .u16(version)
            .u16(UTF8)
            .u16(0)
            .u16(time)
            .u16(date)
            .u32(entry.crc32)
            .u32(narrow(entry.bytes))
            .u32(narrow(entry.bytes))
            .u16(entry.name.len() as u16)
            .u16(extra.len() as u16)
            .u16(0)
            .u16(0)
            .u16(0)
            .u32(0o100_644 << 16)
            .u32(narrow(*offset))
            .bytes(entry.name.as_bytes())
            .bytes(&extra);
    }
    let count = entries.len() as u64;
    let size = all.0.len() as u64;
    let offset = offsets.last().copied().unwrap_or_default();
    if count >= u64::from(u16::MAX) || wide(size) || wide(offset) {
        all = all
            .u32(END64)
            // Of the rest of this record.
            .u64(44)
            .u16(3 << 8 | VERSION64)
            .u16(VERSION64)
            .u32(0)
            .u32(0)
            .u64(count)
            .u64(count)
            .u64(size)
            .u64(offset)
            .u32(LOCATOR64)
            .u32(0)
            .u64(offset + size)
            .u32(1);
    }
    let short = u16::try_from(count).unwrap_or(u16::MAX);
    all.u32(END).u16(0).u16(0).u16(short).u16(short).u32(narrow(size)).u32(narrow(offset)).u16(0).0
}

/// Date and time as MS-DOS packs them, in UTC; 1980 is the earliest.
fn dos_time(ms: i64) -> (u16, u16) {
    let time = time::OffsetDateTime::from_unix_timestamp(ms / 1000).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    match time.year() {
        year @ 1980..=2107 => (
            ((year - 1980) as u16) << 9 | u16::from(u8::from(time.month())) << 5 | u16::from(time.day()),
            u16::from(time.hour()) << 11 | u16::from(time.minute()) << 5 | u16::from(time.second() / 2),
        ),
        _ => (1 << 5 | 1, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str, text: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            bytes: text.len() as u64,
            crc32: crc32fast::hash(text.as_bytes()),
            time: 1_764_101_700_000,
            content: Content::Text(text.to_owned()),
        }
    }

    fn all(layout: Layout, range: Range<u64>) -> Vec<u8> {
        layout
            .pieces(range)
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Object { key, range } => vec![key.as_bytes()[0]; (range.end - range.start) as usize],
            })
            .collect()
    }

    #[test]
    fn strangers_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let layout = Layout::new(vec![
            entry("Album/01 Nächte.wav", "RIFF"),
            entry("Album/empty.txt", ""),
            entry("Album/b.json", "{}"),
        ]);
        let bytes = layout.bytes();
        let archive = all(layout, 0..bytes);
        assert_eq!(archive.len() as u64, bytes);
        std::fs::write(&path, &archive).unwrap();
        let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
            assert z.namelist() == ['Album/01 Nächte.wav', 'Album/empty.txt', 'Album/b.json'], z.namelist()\n\
            assert z.read('Album/01 Nächte.wav') == b'RIFF'\nassert z.getinfo('Album/b.json').date_time == (2025, 11, 25, 20, 15, 0)";
        let python = std::process::Command::new("python3").arg("-c").arg(script).arg(&path).output().unwrap();
        assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    }

    #[test]
    fn large_archives_have_wide_fields() {
        let big = |name: &str, bytes| Entry {
            name: name.to_owned(),
            bytes,
            crc32: 1,
            time: 0,
            content: Content::Key(name.to_owned()),
        };
        let layout = Layout::new(vec![big("a", 5 << 30), big("b", 1), big("c", u64::from(FULL))]);
        let bytes = layout.bytes();
        let tail = all(layout.clone(), bytes - 22..bytes);
        assert_eq!(&tail[16..20], &FULL.to_le_bytes(), "the offset lies in the Zip64 record");
        // A range that begins in the middle of the first object and ends in the second's header.
        let pieces: Vec<Piece> = layout.clone().pieces(1 << 30..(5 << 30) + 70).collect();
        assert!(matches!(&pieces[0], Piece::Object { key, range } if key == "a" && range.end == 5 << 30));
        assert!(matches!(&pieces[1], Piece::Bytes(_)) && pieces.len() == 2);
        let offset = u64::from_le_bytes(all(layout.clone(), bytes - 42 + 8..bytes - 42 + 16).try_into().unwrap());
        assert_eq!(all(layout, offset..offset + 4), END64.to_le_bytes(), "the locator points at the Zip64 end");
    }

    proptest! {
        #[test]
        fn any_range_is_the_same_bytes(sizes in prop::collection::vec(0..40_usize, 0..6), a in 0..400_u64, b in 0..400_u64) {
            let entries = sizes.iter().enumerate().map(|(n, size)| entry(&format!("{n}.txt"), &"x".repeat(*size))).collect();
            let layout = Layout::new(entries);
            let bytes = layout.bytes();
            let (from, to) = (a.min(b).min(bytes), a.max(b).min(bytes));
            let whole = all(layout.clone(), 0..bytes);
            prop_assert_eq!(whole.len() as u64, bytes);
            prop_assert_eq!(all(layout, from..to), &whole[from as usize..to as usize]);
        }
    }
}
