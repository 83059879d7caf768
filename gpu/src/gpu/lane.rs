//! One lane of work on the device: its buffers, the staging memory to and fro, and submissions that are checked.
//!
//! Buffers grow to the largest batch seen and stay. A submission takes a mapped upload slot, into which samples and tables are written
//! where the device will read them; three slots let the host fill one while the card works on another. Every workgroup of every launch
//! signs a ledger; each read-back carries the ledger along and is refused where a signature is missing, because a driver that drops work
//! hands back zeros or yesterday's samples as if nothing had happened.

mod measure;

pub use measure::Bandwidth;

use super::device::Engine;
use super::error::GpuError;
use super::kernels::{Kernel, TABLE};
use super::layout::{Item, Launch, Track};
use measure::Clock;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use wgpu::{Buffer, BufferUsages, BufferViewMut, MapMode, SubmissionIndex, WriteOnly};

/// Slots each way.
const SLOTS: usize = 3;
/// A submission is to take about this long at most …
const LONG: Duration = Duration::from_millis(80);
/// … and may become longer when it takes less than this.
const SHORT: Duration = Duration::from_millis(30);
/// Fewest frames of a submission.
const FEWEST: usize = 1 << 16;
/// Frames that a slot always holds: more than the longest surroundings of a chunk, those at 192 kHz.
const ROOMY: usize = 1 << 19;
/// Bytes of a slot beside the samples: items and tables.
const BESIDE: u64 = 4 << 20;
/// Bytes of a download slot ahead of its data: the ledger.
const LEDGER: u64 = 256;

/// Buffers of a lane; what their elements are is in `layout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    Tracks,
    Items,
    Ledger,
    Settings,
    Raw,
    Input,
    Toned,
    Spectra,
    Bands,
    Sums,
    Points,
    Firs,
    Bank,
    Phases,
    Weights,
    Weighting,
    GainStates,
    KStates,
    Results,
    Gains,
    Near,
    Shaped,
    Out,
}

const STORES: usize = Store::Out as usize + 1;

/// A part of a buffer, to be bound or copied to.
#[derive(Clone, Debug)]
pub(super) struct Part {
    buffer: Buffer,
    offset: u64,
    size: Option<u64>,
}

impl Part {
    /// All of a buffer.
    pub(super) fn of(buffer: &Buffer) -> Self {
        Self { buffer: buffer.clone(), offset: 0, size: None }
    }

    /// From byte `offset` of it on, as the target of a copy.
    pub(super) fn from(&self, offset: u64) -> Self {
        Self { buffer: self.buffer.clone(), offset: self.offset + offset, size: None }
    }
}

/// Bytes moved, as the backend itself counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// Over the bus to the card.
    pub up: u64,
    /// Back.
    pub down: u64,
    /// Read and written by kernels and copies on the card.
    pub device: u64,
    /// The same if no frame were touched more often than the algorithm needs: no margins of chunks, no second looks.
    pub least: u64,
    /// Launches.
    pub launches: u64,
}

/// What the launches of one kernel came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct KernelStats {
    /// Launches.
    pub launches: u64,
    /// Bytes read and written.
    pub bytes: u64,
    /// Seconds on the card, where the configuration asks for a profile.
    pub seconds: f64,
}

#[derive(Debug)]
struct Upload {
    buffer: Buffer,
    /// What the card does with it, the flag of its mapping, and the frames that kernels go through.
    flight: Option<(SubmissionIndex, Arc<AtomicU8>, usize)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) engine: Arc<Engine>,
    stores: [Option<Buffer>; STORES],
    uploads: Vec<Upload>,
    next: usize,
    downloads: VecDeque<Buffer>,
    slot: u64,
    expected: Vec<u32>,
    pace: usize,
    most: usize,
    last_done: Instant,
    pub(super) traffic: Traffic,
    /// `[kernel]`
    pub(super) stats: Vec<KernelStats>,
}

/// A read-back on its way.
struct Flight {
    buffer: Buffer,
    /// Number of the part, byte within it, length.
    piece: (usize, u64, u64),
    index: SubmissionIndex,
    flag: Arc<AtomicU8>,
    expected: Vec<u32>,
}

struct Pending {
    kernel: Kernel,
    parts: Vec<Part>,
    launch: Launch,
}

/// A submission in the making.
pub(super) struct Work<'l> {
    lane: &'l mut Lane,
    view: BufferViewMut,
    used: u64,
    copies: Vec<(u64, Buffer, u64, u64)>,
    items: Vec<Item>,
    launches: Vec<Pending>,
    frames: usize,
}

fn flag() -> (Arc<AtomicU8>, impl FnOnce(Result<(), wgpu::BufferAsyncError>) + Send + 'static) {
    let flag = Arc::new(AtomicU8::new(0));
    let set = Arc::clone(&flag);
    (flag, move |result: Result<(), wgpu::BufferAsyncError>| {
        set.store(if result.is_ok() { 1 } else { 2 }, Ordering::Release);
    })
}

impl Lane {
    /// With staging memory, and a ledger of zeros.
    ///
    /// # Errors
    /// No memory for it.
    pub(super) fn new(engine: Arc<Engine>) -> Result<Self, GpuError> {
        let wanted = if engine.is_software() { engine.config.frames.min(ROOMY) } else { engine.config.frames };
        // Some 75 bytes per frame of a chunk, half as much again for what it brings along, and three slots each way.
        let affordable = (engine.config.memory / 640) as usize;
        let most = wanted.min(affordable).max(FEWEST);
        // A chunk may exceed its share by a quarter and brings its surroundings along.
        let slot = 12 * most.max(ROOMY) as u64 + BESIDE;
        let mut lane = Self {
            stores: std::array::from_fn(|_| None),
            uploads: (0..SLOTS)
                .map(|_| Upload {
                    buffer: engine.buffer("upload", slot, BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC, true),
                    flight: None,
                })
                .collect(),
            next: 0,
            downloads: (0..SLOTS)
                .map(|_| engine.buffer("download", slot, BufferUsages::MAP_READ | BufferUsages::COPY_DST, false))
                .collect(),
            slot,
            expected: vec![0; TABLE.len()],
            // A card is given a tenth of its bound to begin with.
            pace: if engine.is_software() { most } else { (most / 8).max(FEWEST) },
            most,
            last_done: Instant::now(),
            traffic: Traffic::default(),
            stats: vec![KernelStats::default(); TABLE.len()],
            engine,
        };
        // Fresh buffers are zero.
        lane.ensure(Store::Ledger, LEDGER)?;
        lane.engine.health()?;
        Ok(lane)
    }

    /// Frames that the next submission may hold.
    pub(super) fn pace(&self) -> usize {
        self.pace
    }

    /// Most frames of any submission.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Bytes on the card for tracks: what may be used, less staging.
    pub(super) fn room(&self) -> u64 {
        self.engine.config.memory.saturating_sub(2 * SLOTS as u64 * self.slot)
    }

    /// Bytes that all stores take.
    fn taken(&self) -> u64 {
        self.stores.iter().flatten().map(Buffer::size).sum()
    }

    /// Makes a store hold at least `bytes`. What it held is lost when it grows.
    pub(super) fn ensure(&mut self, store: Store, bytes: u64) -> Result<(), GpuError> {
        let bytes = bytes.max(256).next_multiple_of(256);
        let has = self.stores[store as usize].as_ref().map_or(0, Buffer::size);
        if has >= bytes {
            return Ok(());
        }
        self.stores[store as usize] = None;
        let needs = self.taken() + bytes;
        if needs > self.room() || bytes > self.engine.limits.max_buffer_size {
            return Err(GpuError::Memory { needs: needs >> 20, budget: self.engine.config.memory >> 20 });
        }
        // Up to a quarter more, so that batches of slightly different sizes do not make it grow each time.
        let more = (bytes + bytes / 4).next_multiple_of(256).min(self.engine.limits.max_buffer_size / 256 * 256);
        let bytes = if self.taken() + more <= self.room() / 2 { more } else { bytes };
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        self.stores[store as usize] = Some(self.engine.buffer(&format!("{store:?}"), bytes, usage, false));
        self.engine.health()
    }

    /// The whole of a store; a small one where it was never needed, because every binding wants a buffer.
    pub(super) fn whole(&mut self, store: Store) -> Result<Part, GpuError> {
        self.ensure(store, 256)?;
        self.part(store, 0, None)
    }

    /// Bytes `offset..offset + size` of a store.
    pub(super) fn part(&self, store: Store, offset: u64, size: Option<u64>) -> Result<Part, GpuError> {
        match &self.stores[store as usize] {
            Some(buffer) => Ok(Part { buffer: buffer.clone(), offset, size }),
            None => Err(self.engine.fail(format!("{store:?} was never made"))),
        }
    }

    /// Begins a submission: waits for an upload slot.
    pub(super) fn begin(&mut self) -> Result<Work<'_>, GpuError> {
        let slot = self.next;
        self.next = (self.next + 1) % SLOTS;
        if let Some((index, flag, frames)) = self.uploads[slot].flight.take() {
            let before = Instant::now();
            self.engine.wait(index)?;
            if flag.load(Ordering::Acquire) != 1 {
                return Err(self.engine.fail("staging memory could not be mapped".to_owned()));
            }
            let (now, waited) = (Instant::now(), before.elapsed());
            let took = now - self.last_done;
            // A table on its way says nothing about kernels, and a software card has no watchdog to fear.
            let tells = 2 * frames >= self.pace && !self.engine.is_software();
            if tells && took > LONG && waited > took / 2 {
                self.pace = (self.pace / 2).max(FEWEST);
            } else if tells && took < SHORT {
                self.pace = (self.pace * 2).min(self.most);
            }
            self.last_done = now;
        }
        let view =
            self.uploads[slot].buffer.get_mapped_range_mut(..).map_err(|error| self.engine.fail(error.to_string()))?;
        Ok(Work { view, used: 0, copies: Vec::new(), items: Vec::new(), launches: Vec::new(), frames: 0, lane: self })
    }

    /// Copies parts of stores back. `sink` gets the number of the part, the byte within it, and the bytes; ranges are whole floats.
    pub(super) fn read(
        &mut self,
        parts: &[(Store, u64, u64)],
        sink: &mut dyn FnMut(usize, u64, &[u8]),
    ) -> Result<(), GpuError> {
        let mut pieces: VecDeque<(usize, u64, u64)> = VecDeque::new();
        let most = self.slot - LEDGER;
        for (number, (_, _, size)) in parts.iter().enumerate() {
            for from in (0..*size).step_by(most as usize) {
                pieces.push_back((number, from, most.min(size - from)));
            }
        }
        let mut flights: VecDeque<Flight> = VecDeque::new();
        loop {
            while let Some(buffer) = (!pieces.is_empty()).then(|| self.downloads.pop_front()).flatten() {
                let Some(piece) = pieces.pop_front() else { break };
                let (store, offset, _) = parts[piece.0];
                let from = self.part(store, offset + piece.1, None)?;
                let ledger = self.part(Store::Ledger, 0, None)?;
                let mut encoder = self.engine.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                encoder.copy_buffer_to_buffer(&ledger.buffer, 0, &buffer, 0, 4 * TABLE.len() as u64);
                encoder.copy_buffer_to_buffer(&from.buffer, from.offset, &buffer, LEDGER, piece.2);
                let index = self.engine.submit(encoder.finish())?;
                let (flag, set) = flag();
                buffer.map_async(MapMode::Read, ..LEDGER + piece.2, set);
                self.traffic.down += piece.2;
                flights.push_back(Flight { buffer, piece, index, flag, expected: self.expected.clone() });
            }
            let Some(Flight { buffer, piece, index, flag, expected }) = flights.pop_front() else { return Ok(()) };
            self.engine.wait(index)?;
            if flag.load(Ordering::Acquire) != 1 {
                return Err(self.engine.fail("results could not be mapped".to_owned()));
            }
            {
                let view =
                    buffer.get_mapped_range(..LEDGER + piece.2).map_err(|error| self.engine.fail(error.to_string()))?;
                let signed: &[u8] = &view[..4 * TABLE.len()];
                for (row, (signed, expected)) in TABLE.iter().zip(signed.chunks_exact(4).zip(&expected)) {
                    let signed = u32::from_le_bytes([signed[0], signed[1], signed[2], signed[3]]);
                    if signed != *expected {
                        let missing = expected.wrapping_sub(signed);
                        return Err(self.engine.fail(format!("{missing} workgroups of {} never ran", row.name)));
                    }
                }
                sink(piece.0, piece.1, &view[LEDGER as usize..]);
            }
            buffer.unmap();
            self.downloads.push_back(buffer);
        }
    }

    /// Reads one part as floats.
    pub(super) fn floats(&mut self, store: Store, first: usize, count: usize) -> Result<Vec<f32>, GpuError> {
        let mut out = vec![0f32; count];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut out);
        self.read(&[(store, 4 * first as u64, 4 * count as u64)], &mut |_, at, from| {
            bytes[at as usize..][..from.len()].copy_from_slice(from);
        })?;
        Ok(out)
    }

    /// Uploads a table, in as many submissions as it takes.
    pub(super) fn write(&mut self, store: Store, bytes: &[u8]) -> Result<(), GpuError> {
        self.write_at(store, 0, bytes)
    }

    /// The same from byte `offset` of the store on.
    pub(super) fn write_at(&mut self, store: Store, offset: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.ensure(store, offset + bytes.len() as u64)?;
        let piece = (self.slot - BESIDE) as usize;
        for (number, bytes) in bytes.chunks(piece).enumerate() {
            let target = self.part(store, offset + (number * piece) as u64, None)?;
            let mut work = self.begin()?;
            work.put(&target, bytes);
            work.submit(&[])?;
        }
        Ok(())
    }
}

impl Work<'_> {
    /// Room for `size` bytes (a multiple of four) that go to `target`; returns where in the slot they are to be written.
    pub(super) fn reserve(&mut self, target: &Part, size: u64) -> u64 {
        let at = self.used;
        self.used += size.next_multiple_of(16);
        self.copies.push((at, target.buffer.clone(), target.offset, size));
        at
    }

    /// The slot's memory.
    pub(super) fn memory(&mut self) -> WriteOnly<'_, [u8]> {
        self.view.slice(..)
    }

    /// Copies bytes to `target` ahead of all launches.
    pub(super) fn put(&mut self, target: &Part, bytes: &[u8]) {
        let whole = bytes.len() / 4 * 4;
        let at = self.reserve(target, bytes.len().next_multiple_of(4) as u64) as usize;
        self.view.slice(at..at + whole).copy_from_slice(&bytes[..whole]);
        if whole < bytes.len() {
            let mut last = [0u8; 4];
            last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.view.slice(at + whole..at + whole + 4).copy_from_slice(&last);
        }
    }

    /// Adds a launch. `moves` is how many bytes it reads and writes, `least` how many of them the algorithm needs.
    pub(super) fn launch(
        &mut self,
        kernel: Kernel,
        parts: &[Part],
        items: &[Item],
        (window, mode): (usize, u32),
        (moves, least): (u64, u64),
    ) {
        if items.is_empty() {
            return;
        }
        let first = self.items.len() as u32;
        self.items.extend_from_slice(items);
        let launch =
            Launch { first, count: items.len() as u32, ledger: kernel as u32, window: window as i32, mode, spare: 0 };
        self.lane.traffic.device += moves;
        self.lane.traffic.least += least;
        self.lane.traffic.launches += 1;
        let stats = &mut self.lane.stats[kernel as usize];
        stats.launches += 1;
        stats.bytes += moves;
        self.launches.push(Pending { kernel, parts: parts.to_vec(), launch });
    }

    /// Says how many frames the launches go through.
    pub(super) fn goes_through(&mut self, frames: usize) {
        self.frames = frames;
    }

    /// Hands everything to the card.
    pub(super) fn submit(mut self, tracks: &[Track]) -> Result<(), GpuError> {
        let items = std::mem::take(&mut self.items);
        if !items.is_empty() {
            self.lane.ensure(Store::Items, size_of_val(&items[..]) as u64)?;
            self.lane.ensure(Store::Tracks, size_of_val(tracks) as u64)?;
            let target = self.lane.part(Store::Items, 0, None)?;
            self.put(&target, bytemuck::cast_slice(&items));
            let target = self.lane.part(Store::Tracks, 0, None)?;
            self.put(&target, bytemuck::cast_slice(tracks));
        }
        let Work { lane, view, used, copies, launches, frames, .. } = self;
        drop(view);
        let common = if launches.is_empty() {
            Vec::new()
        } else {
            vec![
                lane.part(Store::Tracks, 0, None)?,
                lane.part(Store::Items, 0, None)?,
                lane.part(Store::Ledger, 0, None)?,
            ]
        };
        let slot = (lane.next + SLOTS - 1) % SLOTS;
        let upload = lane.uploads[slot].buffer.clone();
        upload.unmap();
        let engine = Arc::clone(&lane.engine);
        let mut encoder = engine.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (from, target, offset, size) in &copies {
            encoder.copy_buffer_to_buffer(&upload, *from, target, *offset, *size);
        }
        lane.traffic.up += used;
        let clock = (engine.profiles() && !launches.is_empty()).then(|| Clock::new(&engine, launches.len()));
        if !launches.is_empty() {
            let skips = engine.skips();
            let mut pass = (!engine.profiles())
                .then(|| encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()).forget_lifetime());
            for (number, Pending { kernel, parts, launch }) in launches.iter().enumerate() {
                let row = kernel.row();
                let bound = common.iter().chain(parts);
                let numbers = [0, 1, 2].into_iter().chain(row.bindings.iter().map(|(binding, _)| *binding));
                let entries: Vec<_> = numbers
                    .zip(bound)
                    .map(|(binding, part)| wgpu::BindGroupEntry {
                        binding,
                        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer: &part.buffer,
                            offset: part.offset,
                            size: part.size.and_then(std::num::NonZeroU64::new),
                        }),
                    })
                    .collect();
                let compiled = engine.compiled(*kernel);
                let group = engine.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(row.name),
                    layout: &compiled.layout,
                    entries: &entries,
                });
                let groups = launch.count.div_ceil(row.items);
                lane.expected[*kernel as usize] = lane.expected[*kernel as usize].wrapping_add(groups);
                if skips {
                    continue;
                }
                let across = groups.min(32_768);
                let run = |pass: &mut wgpu::ComputePass<'_>| {
                    pass.set_pipeline(&compiled.pipeline);
                    pass.set_bind_group(0, &group, &[]);
                    pass.set_immediates(0, bytemuck::bytes_of(launch));
                    pass.dispatch_workgroups(across, groups.div_ceil(across), 1);
                };
                match (&mut pass, &clock) {
                    (Some(pass), _) => run(pass),
                    (None, Some(clock)) => run(&mut encoder.begin_compute_pass(&clock.pass(number))),
                    (None, None) => run(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default())),
                }
            }
            drop(pass);
            if let Some(clock) = &clock {
                clock.resolve(&mut encoder);
            }
        }
        let index = engine.submit(encoder.finish())?;
        if let Some(clock) = clock {
            for (Pending { kernel, .. }, seconds) in launches.iter().zip(clock.read(&engine, index.clone())?) {
                lane.stats[*kernel as usize].seconds += seconds;
            }
        }
        let (flag, set) = flag();
        upload.map_async(MapMode::Write, .., set);
        lane.uploads[slot].flight = Some((index, flag, frames));
        Ok(())
    }
}
