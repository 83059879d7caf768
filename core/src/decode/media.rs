use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};
use symphonia::core::io::MediaSource;

/// What [`decode`](super::decode) reads from: a `File`, a `Cursor` over bytes, anything that can seek.
pub trait Input: Read + Seek + Send + Sync {}

impl<T: Read + Seek + Send + Sync> Input for T {}

/// An input of known length that counts what is read of it.
pub(super) struct Media<'a> {
    inner: Box<dyn Input + 'a>,
    len: u64,
    meter: Arc<Meter>,
}

/// Shared with the one who opened the file, because symphonia owns the [`Media`].
pub(super) struct Meter {
    /// Bytes that may still be read; keeps a lying header from being followed for long.
    pub(super) left: AtomicU64,
    /// Somebody wanted bytes behind the end.
    pub(super) ended: AtomicBool,
}

impl<'a> Media<'a> {
    pub(super) fn new(input: impl Input + 'a) -> io::Result<Self> {
        let mut inner: Box<dyn Input + 'a> = Box::new(input);
        let len = inner.seek(SeekFrom::End(0))?;
        inner.seek(SeekFrom::Start(0))?;
        let meter = Meter { left: AtomicU64::new(u64::MAX), ended: AtomicBool::new(false) };
        Ok(Self { inner, len, meter: Arc::new(meter) })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        self.meter.clone()
    }
}

impl Read for Media<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.meter.left.load(Relaxed);
        if left == 0 && !buf.is_empty() {
            return Err(io::Error::other("the header never ends"));
        }
        let want = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = self.inner.read(&mut buf[..want])?;
        self.meter.left.store(left.saturating_sub(got as u64), Relaxed);
        if got == 0 && want > 0 {
            self.meter.ended.store(true, Relaxed);
        }
        Ok(got)
    }
}

impl Seek for Media<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = self.inner.seek(to)?;
        if at > self.len {
            self.meter.ended.store(true, Relaxed);
        }
        Ok(at)
    }
}

impl MediaSource for Media<'_> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.len)
    }
}
