//! The samples of one channel: in memory as long as a budget allows it, and beyond that in an unnamed file that is mapped.
//!
//! A track is worked on as a whole, so its buffers are as long as it is: two hours at 44.1 kHz take 2.5 GB for each copy. A [`Pool`]
//! counts what its buffers take of memory. One that would go over the budget becomes a file in the pool's folder instead: without a
//! name, gone with its last user, mapped shared, so that the system writes it out and takes its pages back as it needs them. The
//! samples are the same in both places, so the sound does not depend on the memory of the machine; only the speed does.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use memmap2::MmapMut;

/// Bytes of a sample.
const SAMPLE: usize = size_of::<f32>();
/// Buffers up to this many bytes always lie in memory, uncounted: a file would cost more than it saves.
const SMALL: u64 = 64 << 10;
/// No buffer takes more than this part of the budget. A track has some ten of them at its worst: one that would fill the budget lies in
/// files as a whole, and leaves the memory to the system's cache.
const PART: u64 = 8;
/// Files grow by whole steps of this many bytes.
const STEP: u64 = 64 << 10;

/// Where buffers go, and how much of memory they may take together. Clones share one budget; the default one has no bounds.
#[derive(Clone, Debug, Default)]
pub struct Pool(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    budget: u64,
    folder: PathBuf,
    memory: Count,
    files: Count,
}

/// Bytes in use, and the most there ever were.
#[derive(Debug, Default)]
struct Count {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Count {
    fn add(&self, bytes: u64) {
        let now = self.now.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(now, Relaxed);
    }

    fn sub(&self, bytes: u64) {
        self.now.fetch_sub(bytes, Relaxed);
    }
}

/// What a pool holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In memory now.
    pub memory: u64,
    /// The most there ever was in memory.
    pub memory_peak: u64,
    /// In files now.
    pub files: u64,
    /// The most there ever was in files.
    pub files_peak: u64,
}

impl Pool {
    /// Buffers take up to `budget` bytes of memory, and no single one more than an eighth of it; the others become files in `folder`, which has to exist by then.
    #[must_use]
    pub fn new(budget: u64, folder: impl Into<PathBuf>) -> Self {
        let (memory, files) = Default::default();
        Self(Some(Arc::new(Shared { budget, folder: folder.into(), memory, files })))
    }

    /// What its buffers take.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.0.as_ref().map_or_else(Usage::default, |shared| Usage {
            memory: shared.memory.now.load(Relaxed),
            memory_peak: shared.memory.peak.load(Relaxed),
            files: shared.files.now.load(Relaxed),
            files_peak: shared.files.peak.load(Relaxed),
        })
    }

    /// Sets `bytes` of memory aside for a buffer that then has `whole` bytes, if it is not too large and as many are left.
    fn reserve(&self, bytes: u64, whole: u64) -> bool {
        let Some(shared) = &self.0 else { return true };
        if whole > SMALL && whole > shared.budget / PART {
            return false;
        }
        let fits = |now: u64| now.checked_add(bytes).filter(|sum| *sum <= shared.budget);
        match shared.memory.now.fetch_update(Relaxed, Relaxed, fits) {
            Ok(before) => {
                shared.memory.peak.fetch_max(before + bytes, Relaxed);
                true
            }
            Err(_) => false,
        }
    }

    fn release(&self, bytes: u64) {
        if let Some(shared) = &self.0 {
            shared.memory.sub(bytes);
        }
    }
}

/// The samples of one channel; a slice of `f32` that owns its place.
pub struct Samples {
    place: Place,
    pool: Pool,
    /// Bytes that are set aside in the pool for a buffer in memory.
    reserved: u64,
}

enum Place {
    Memory(Vec<f32>),
    File(Mapped),
}

/// A mapped file: `range` of it are the samples.
struct Mapped {
    map: MmapMut,
    file: File,
    range: Range<usize>,
    pool: Pool,
}

impl Mapped {
    /// A file with room for `frames` samples, all of it on the disk: a mapped page without a place there would end the process.
    fn new(frames: usize, pool: &Pool) -> io::Result<Self> {
        let folder = pool.0.as_ref().map_or(Path::new("."), |shared| shared.folder.as_path());
        let bytes = file_bytes(frames)?;
        let made = || {
            let file = tempfile::tempfile_in(folder)?;
            allocate(&file, 0, bytes)?;
            Ok((map(&file, bytes)?, file))
        };
        let (map, file) = made().map_err(|error: io::Error| explained(&error, bytes, folder))?;
        if let Some(shared) = &pool.0 {
            shared.files.add(bytes);
        }
        Ok(Self { map, file, range: 0..0, pool: pool.clone() })
    }

    fn samples(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.map)[self.range.clone()]
    }

    fn samples_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.map)[self.range.clone()]
    }

    /// Samples that fit behind `range.start`.
    fn capacity(&self) -> usize {
        self.map.len() / SAMPLE - self.range.start
    }

    /// Changes the size of the file to `frames` samples from its start.
    fn resize(&mut self, frames: usize) -> io::Result<()> {
        let (before, after) = (self.map.len() as u64, file_bytes(frames)?);
        if after > before {
            let folder = self.pool.0.as_ref().map_or(Path::new("."), |shared| shared.folder.as_path());
            allocate(&self.file, before, after).map_err(|error| explained(&error, after - before, folder))?;
        } else if after == before {
            return Ok(());
        }
        self.map = map(&self.file, after)?;
        // Only now that nothing maps it.
        if after < before {
            self.file.set_len(after)?;
        }
        if let Some(shared) = &self.pool.0 {
            shared.files.add(after);
            shared.files.sub(before);
        }
        Ok(())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Some(shared) = &self.pool.0 {
            shared.files.sub(self.map.len() as u64);
        }
    }
}

/// What was wanted, and where.
fn explained(error: &io::Error, bytes: u64, folder: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{bytes} bytes for samples in {}: {error}", folder.display()))
}

fn file_bytes(frames: usize) -> io::Result<u64> {
    let bytes =
        (frames as u64).checked_mul(SAMPLE as u64).and_then(|bytes| bytes.max(1).checked_next_multiple_of(STEP));
    bytes.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))
}

#[expect(unsafe_code, reason = "mapping a file is unsafe, because somebody else might cut it off")]
fn map(file: &File, bytes: u64) -> io::Result<MmapMut> {
    let bytes = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    // SAFETY: the file has no name and its descriptor never leaves this module, so nobody else can change it or cut it off, and nothing
    // here cuts off a part that is mapped.
    unsafe { memmap2::MmapOptions::new().len(bytes).map_mut(file) }
}

/// Gives the file blocks of its own from byte `from` to byte `to`.
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::Errno;
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), from, to - from) {
            Ok(()) => return Ok(()),
            // Not every file system can.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let zeros = vec![0; 1 << 20];
    let mut at = from;
    let mut writer = file;
    io::Seek::seek(&mut writer, io::SeekFrom::Start(from))?;
    while at < to {
        let piece = zeros.len().min(usize::try_from(to - at).unwrap_or(zeros.len()));
        io::Write::write_all(&mut writer, &zeros[..piece])?;
        at += piece as u64;
    }
    Ok(())
}

impl Samples {
    /// No samples yet, room for `frames`.
    pub fn with_capacity(frames: usize, pool: &Pool) -> io::Result<Self> {
        Self::place(frames, pool, || Vec::with_capacity(frames))
    }

    /// `frames` zeros.
    pub fn zeros(frames: usize, pool: &Pool) -> io::Result<Self> {
        let mut samples = Self::place(frames, pool, || vec![0.0; frames])?;
        if let Place::File(mapped) = &mut samples.place {
            // A new file reads as zeros.
            mapped.range = 0..frames;
        }
        Ok(samples)
    }

    fn place(frames: usize, pool: &Pool, memory: impl FnOnce() -> Vec<f32>) -> io::Result<Self> {
        let bytes = (frames as u64).saturating_mul(SAMPLE as u64);
        let wanted = if bytes <= SMALL { 0 } else { bytes };
        let (place, reserved) = if pool.reserve(wanted, wanted) {
            (Place::Memory(memory()), wanted)
        } else {
            (Place::File(Mapped::new(frames, pool)?), 0)
        };
        Ok(Self { place, pool: pool.clone(), reserved })
    }

    /// As many zeros, or any other number of them, in the same pool.
    pub fn like(&self, frames: usize) -> io::Result<Self> {
        Self::zeros(frames, &self.pool)
    }

    /// The same samples once more, in the same pool.
    pub fn try_clone(&self) -> io::Result<Self> {
        let mut copy = Self::with_capacity(self.len(), &self.pool)?;
        copy.extend_from_slice(self)?;
        Ok(copy)
    }

    /// Whether they lie in a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// Their pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Appends.
    pub fn extend_from_slice(&mut self, more: &[f32]) -> io::Result<()> {
        self.grow(more.len())?;
        match &mut self.place {
            Place::Memory(vec) => vec.extend_from_slice(more),
            Place::File(mapped) => {
                let at = mapped.range.end;
                mapped.range.end += more.len();
                let at = at - mapped.range.start;
                mapped.samples_mut()[at..].copy_from_slice(more);
            }
        }
        Ok(())
    }

    /// Appends `frames` samples of any value and gives them to be written.
    pub fn extend_by(&mut self, frames: usize) -> io::Result<&mut [f32]> {
        self.grow(frames)?;
        let before = self.len();
        match &mut self.place {
            Place::Memory(vec) => vec.resize(before + frames, 0.0),
            Place::File(mapped) => mapped.range.end += frames,
        }
        Ok(&mut self[before..])
    }

    /// Makes room for `more` samples.
    fn grow(&mut self, more: usize) -> io::Result<()> {
        let length = self.len();
        let need = length.checked_add(more).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        match &mut self.place {
            Place::Memory(vec) => {
                if need <= vec.capacity() {
                    return Ok(());
                }
                let wanted = need.max(vec.capacity().saturating_mul(2));
                let bytes = (wanted as u64).saturating_mul(SAMPLE as u64);
                let further = if bytes <= SMALL { 0 } else { bytes - self.reserved };
                if self.pool.reserve(further, bytes) {
                    self.reserved += further;
                    vec.reserve_exact(wanted - length);
                    return Ok(());
                }
                // From here on in a file.
                let mut mapped = Mapped::new(wanted, &self.pool)?;
                mapped.range = 0..length;
                mapped.samples_mut().copy_from_slice(vec);
                self.place = Place::File(mapped);
                self.pool.release(std::mem::take(&mut self.reserved));
                Ok(())
            }
            Place::File(mapped) => {
                if need <= mapped.capacity() {
                    return Ok(());
                }
                let start = mapped.range.start;
                // A file's room is taken from the disk at once: not too much of it ahead.
                mapped.resize(start + need.max(mapped.capacity() / 4 * 5))
            }
        }
    }

    /// Drops what lies behind the first `frames` samples.
    pub fn truncate(&mut self, frames: usize) {
        self.keep(0..frames.min(self.len()));
    }

    /// Keeps a range of the samples and drops the others.
    ///
    /// # Panics
    /// If the range does not lie within them.
    pub fn keep(&mut self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {} samples", self.len());
        match &mut self.place {
            Place::Memory(vec) => {
                vec.truncate(range.end);
                vec.drain(..range.start);
            }
            Place::File(mapped) => {
                let start = mapped.range.start;
                mapped.range = start + range.start..start + range.end;
            }
        }
    }

    /// Gives room back that nothing lies in.
    pub fn fit(&mut self) -> io::Result<()> {
        match &mut self.place {
            Place::Memory(vec) => {
                // A little slack costs less than a move.
                if vec.capacity() / 8 > vec.capacity() - vec.len() {
                    return Ok(());
                }
                vec.shrink_to_fit();
                let bytes = (vec.capacity() as u64 * SAMPLE as u64).min(self.reserved);
                self.pool.release(self.reserved - bytes);
                self.reserved = bytes;
                Ok(())
            }
            Place::File(mapped) => mapped.resize(mapped.range.end),
        }
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        self.pool.release(self.reserved);
    }
}

impl Deref for Samples {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.place {
            Place::Memory(vec) => vec,
            Place::File(mapped) => mapped.samples(),
        }
    }
}

impl DerefMut for Samples {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.place {
            Place::Memory(vec) => vec,
            Place::File(mapped) => mapped.samples_mut(),
        }
    }
}

/// In memory, uncounted.
impl From<Vec<f32>> for Samples {
    fn from(vec: Vec<f32>) -> Self {
        Self { place: Place::Memory(vec), pool: Pool::default(), reserved: 0 }
    }
}

/// In memory, uncounted.
impl FromIterator<f32> for Samples {
    fn from_iter<I: IntoIterator<Item = f32>>(samples: I) -> Self {
        Vec::from_iter(samples).into()
    }
}

/// In memory, uncounted: for what is known to be short. A track is copied by [`Samples::try_clone`].
impl Clone for Samples {
    fn clone(&self) -> Self {
        self.to_vec().into()
    }
}

impl Default for Samples {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl std::fmt::Debug for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl PartialEq for Samples {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl PartialEq<Vec<f32>> for Samples {
    fn eq(&self, other: &Vec<f32>) -> bool {
        **self == **other
    }
}

impl PartialEq<Samples> for Vec<f32> {
    fn eq(&self, other: &Samples) -> bool {
        **self == **other
    }
}

impl<'a> IntoIterator for &'a Samples {
    type Item = &'a f32;
    type IntoIter = std::slice::Iter<'a, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Samples {
    type Item = &'a mut f32;
    type IntoIter = std::slice::IterMut<'a, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_budget_they_lie_in_files_and_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let pool = Pool::new(7 << 20, folder.path());
        let wave = |n: usize| (0..n).map(|i| i as f32).collect::<Vec<f32>>();
        let first = {
            let mut samples = Samples::zeros(200_000, &pool).unwrap();
            samples.copy_from_slice(&wave(200_000));
            samples
        };
        assert!(!first.is_file());
        let others: Vec<Samples> = (0..8).map(|_| first.try_clone().unwrap()).collect();
        let second = first.try_clone().unwrap();
        assert!(second.is_file() && !others.iter().any(Samples::is_file));
        assert_eq!(first, second);
        assert_eq!(pool.usage().memory, 9 * 800_000);
        // One that would take too large a part of the budget does not even try.
        assert!(Samples::zeros(250_000, &Pool::new(7 << 20, folder.path())).unwrap().is_file());
        assert!((800_000..900_000).contains(&pool.usage().files));
        // Nothing of it has a name.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        drop((first, others));
        assert!(!second.try_clone().unwrap().is_file());
        drop(second);
        let Usage { memory, files, memory_peak, files_peak } = pool.usage();
        assert_eq!((memory, files), (0, 0));
        assert!(memory_peak == 9 * 800_000 && files_peak >= 800_000);
    }

    #[test]
    fn what_grows_moves_when_the_budget_ends_and_what_is_cut_stays_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let pool = Pool::new(8 << 20, folder.path());
        let mut samples = Samples::with_capacity(0, &pool).unwrap();
        let mut plain = Vec::new();
        for piece in 0..1_000 {
            let piece: Vec<f32> = (0..777).map(|i| (piece * 1_000 + i) as f32).collect();
            samples.extend_from_slice(&piece).unwrap();
            plain.extend(piece);
        }
        samples.extend_by(3).unwrap().copy_from_slice(&[1.0, 2.0, 3.0]);
        plain.extend([1.0, 2.0, 3.0]);
        assert!(samples.is_file());
        assert_eq!(samples, plain);
        assert_eq!(pool.usage().memory, 0);
        samples.keep(1_001..500_000);
        assert_eq!(samples, plain[1_001..500_000].to_vec());
        samples.fit().unwrap();
        samples.extend_from_slice(&[7.0]).unwrap();
        samples[0] = 5.0;
        assert_eq!((samples.len(), samples[0], samples[498_999]), (499_000, 5.0, 7.0));
        samples.truncate(10);
        samples.fit().unwrap();
        assert_eq!(samples[1..], plain[1_002..1_011]);
        assert!(pool.usage().files <= 2 * STEP);
    }

    #[test]
    fn a_disk_without_room_is_an_error_and_no_crash() {
        let folder = tempfile::tempdir().unwrap();
        let pool = Pool::new(0, folder.path());
        // More than any disk has.
        let error = Samples::zeros(1 << 58, &pool).unwrap_err();
        assert!(
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput
            ),
            "{error:?}"
        );
        assert!(Samples::zeros(100_000, &Pool::new(0, folder.path().join("gone"))).is_err());
        assert_eq!(pool.usage(), Usage::default());
    }
}
