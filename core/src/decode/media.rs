use std::io::{self, Read, Seek, SeekFrom};
use symphonia::core::io::MediaSource;

/// What [`decode`](super::decode) reads from: a `File`, a `Cursor` over bytes, anything that can seek.
pub trait Input: Read + Seek + Send + Sync {}

impl<T: Read + Seek + Send + Sync> Input for T {}

/// An input of known length, with a budget for what is read before the first sample.
pub(super) struct Media<'a> {
    inner: Box<dyn Input + 'a>,
    len: u64,
    /// Bytes that may still be read; keeps a lying header from being followed for long.
    budget: Budget,
}

/// Shared with the one who opened the file, because symphonia owns the [`Media`].
pub(super) type Budget = std::sync::Arc<std::sync::atomic::AtomicU64>;

impl<'a> Media<'a> {
    pub(super) fn new(input: impl Input + 'a) -> io::Result<Self> {
        let mut inner: Box<dyn Input + 'a> = Box::new(input);
        let len = inner.seek(SeekFrom::End(0))?;
        inner.seek(SeekFrom::Start(0))?;
        Ok(Self { inner, len, budget: Budget::new(u64::MAX.into()) })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn budget(&self) -> Budget {
        self.budget.clone()
    }
}

impl Read for Media<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        use std::sync::atomic::Ordering::Relaxed;
        let left = self.budget.load(Relaxed);
        if left == 0 && !buf.is_empty() {
            return Err(io::Error::other("the header never ends"));
        }
        let want = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = self.inner.read(&mut buf[..want])?;
        self.budget.store(left.saturating_sub(got as u64), Relaxed);
        Ok(got)
    }
}

impl Seek for Media<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
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
