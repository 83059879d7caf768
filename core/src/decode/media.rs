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
///
/// It also knows whose fault an error is. A header may send a reader anywhere, to before the beginning or behind the end, further than the
/// file system can count; that never gets as far as the system, and what the system itself cannot do is noted.
pub(super) struct Media<'a> {
    inner: Box<dyn Input + 'a>,
    len: u64,
    /// Where the next byte is read.
    at: u64,
    /// Bytes that are read in place of those of the file, and where.
    instead: Option<(u64, Vec<u8>)>,
    /// Stretches that reading passes over, in order.
    hidden: Vec<(u64, u64)>,
    meter: Arc<Meter>,
}

/// Shared with the one who opened the file, because symphonia owns the [`Media`].
pub(super) struct Meter {
    /// Bytes that may still be read; keeps a lying header from being followed for long.
    pub(super) left: AtomicU64,
    /// Somebody wanted bytes behind the end.
    pub(super) ended: AtomicBool,
    /// The system could not read the file. Every other error of reading comes from what the file says.
    pub(super) failed: AtomicBool,
}

impl<'a> Media<'a> {
    pub(super) fn new(input: impl Input + 'a) -> io::Result<Self> {
        let mut inner: Box<dyn Input + 'a> = Box::new(input);
        let len = inner.seek(SeekFrom::End(0))?;
        inner.seek(SeekFrom::Start(0))?;
        let meter =
            Meter { left: AtomicU64::new(u64::MAX), ended: AtomicBool::new(false), failed: AtomicBool::new(false) };
        Ok(Self { inner, len, at: 0, instead: None, hidden: Vec::new(), meter: Arc::new(meter) })
    }

    /// Passes on what the system answers.
    fn note<T>(&self, answer: io::Result<T>) -> io::Result<T> {
        if answer.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
            self.meter.failed.store(true, Relaxed);
        }
        answer
    }

    /// Goes to a place. Behind the end there is nothing to be read, and no need to ask the system, which cannot count that far.
    fn go(&mut self, to: u64) -> io::Result<()> {
        if to > self.len {
            self.meter.ended.store(true, Relaxed);
            self.at = to;
        } else {
            let at = self.inner.seek(SeekFrom::Start(to));
            self.at = self.note(at)?;
        }
        Ok(())
    }

    /// Ends the input at `end`, because what follows is no sound.
    pub(super) fn end_at(&mut self, end: u64) {
        self.len = self.len.min(end);
    }

    /// Puts `bytes` in place of those at `at`.
    pub(super) fn replace(&mut self, at: u64, bytes: Vec<u8>) {
        self.instead = Some((at, bytes));
    }

    /// Lets reading pass over what lies between two places.
    pub(super) fn hide(&mut self, from: u64, to: u64) {
        if from < to {
            self.hidden.push((from, to));
        }
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
        if let Some(&(_, to)) = self.hidden.iter().find(|(from, to)| (*from..*to).contains(&self.at)) {
            self.go(to)?;
        }
        let stop = self.hidden.iter().map(|hidden| hidden.0).find(|&from| from > self.at).unwrap_or(u64::MAX);
        let want = want.min(usize::try_from(stop - self.at).unwrap_or(usize::MAX));
        let inside = want.min(usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(usize::MAX));
        let got = if inside == 0 { Ok(0) } else { self.inner.read(&mut buf[..inside]) };
        let got = self.note(got)?;
        if let Some((from, bytes)) = &self.instead {
            for (place, byte) in (*from..).zip(bytes) {
                if let Some(slot) = place.checked_sub(self.at).and_then(|n| buf[..got].get_mut(n as usize)) {
                    *slot = *byte;
                }
            }
        }
        self.at += got as u64;
        self.meter.left.store(left.saturating_sub(got as u64), Relaxed);
        if got == 0 && want > 0 {
            self.meter.ended.store(true, Relaxed);
        }
        Ok(got)
    }
}

impl Seek for Media<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // The end is not always that of the file.
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let target = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it points out of the file"))?;
        self.go(target)?;
        Ok(self.at)
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
