//! Clocks around launches, and what plain copies reach.

use super::{Engine, Lane, Store, flag};
use crate::gpu::error::GpuError;
use std::sync::atomic::Ordering;
use std::time::Instant;
use wgpu::{Buffer, BufferUsages, MapMode, SubmissionIndex};

/// Times of the launches of one submission.
pub(super) struct Clock {
    queries: wgpu::QuerySet,
    count: u32,
    resolved: Buffer,
    back: Buffer,
}

impl Clock {
    pub(super) fn new(engine: &Engine, launches: usize) -> Self {
        let count = 2 * launches as u32;
        let descriptor = wgpu::QuerySetDescriptor { label: Some("clock"), ty: wgpu::QueryType::Timestamp, count };
        let size = 8 * u64::from(count);
        Self {
            queries: engine.device.create_query_set(&descriptor),
            count,
            resolved: engine.buffer("times", size, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC, false),
            back: engine.buffer("times back", size, BufferUsages::MAP_READ | BufferUsages::COPY_DST, false),
        }
    }

    pub(super) fn pass(&self, number: usize) -> wgpu::ComputePassDescriptor<'_> {
        wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(2 * number as u32),
                end_of_pass_write_index: Some(2 * number as u32 + 1),
            }),
        }
    }

    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..self.count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.back, 0, 8 * u64::from(self.count));
    }

    /// Seconds of each launch.
    pub(super) fn read(&self, engine: &Engine, index: SubmissionIndex) -> Result<Vec<f64>, GpuError> {
        let (flag, set) = flag();
        self.back.map_async(MapMode::Read, .., set);
        engine.wait(index)?;
        if flag.load(Ordering::Acquire) != 1 {
            return Err(engine.fail("times could not be mapped".to_owned()));
        }
        let view = self.back.get_mapped_range(..).map_err(|error| engine.fail(error.to_string()))?;
        let period = f64::from(engine.queue.get_timestamp_period()) * 1e-9;
        let ticks: Vec<u64> =
            view.chunks_exact(8).filter_map(|b| Some(u64::from_le_bytes(b.try_into().ok()?))).collect();
        Ok(ticks.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period).collect())
    }
}

/// Bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Bandwidth {
    /// Copies on the card, read and written bytes together.
    pub device: f64,
    /// Over the bus to the card, from memory of the host.
    pub up: f64,
    /// Back.
    pub down: f64,
}

impl Lane {
    /// Measures what copies reach, with `bytes` each way.
    pub(in super::super) fn bandwidth(&mut self, bytes: u64) -> Result<Bandwidth, GpuError> {
        const ROUNDS: u32 = 5;
        let memory = vec![0x5au8; bytes as usize];
        self.write(Store::Shaped, &memory)?;
        self.ensure(Store::Out, bytes)?;
        let started = Instant::now();
        for _ in 0..ROUNDS {
            self.write(Store::Shaped, &memory)?;
        }
        self.floats(Store::Shaped, 0, 1)?;
        let up = started.elapsed().as_secs_f64();
        let (source, target) = (self.part(Store::Shaped, 0, None)?, self.part(Store::Out, 0, None)?);
        let started = Instant::now();
        let mut encoder = self.engine.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for _ in 0..4 * ROUNDS {
            encoder.copy_buffer_to_buffer(&source.buffer, 0, &target.buffer, 0, bytes);
        }
        let index = self.engine.submit(encoder.finish())?;
        self.engine.wait(index)?;
        let device = started.elapsed().as_secs_f64();
        let mut sum = 0u64;
        let started = Instant::now();
        for _ in 0..ROUNDS {
            self.read(&[(Store::Shaped, 0, bytes)], &mut |_, _, part| sum += u64::from(part[0]))?;
        }
        let down = started.elapsed().as_secs_f64();
        std::hint::black_box(sum);
        let total = bytes as f64 * f64::from(ROUNDS);
        Ok(Bandwidth { device: 8.0 * total / device, up: total / up, down: total / down })
    }
}
