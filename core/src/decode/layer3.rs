//! A second decoder for layer III of MPEG audio, for files with frames that symphonia refuses ([`super::quirks::has_unequal_blocks`]).

use super::decoder::{Decoder, Failure};
use super::quirks::UNEQUAL_BLOCKS;
use super::trimmed::Trimmed;
use nanomp3_core::{Decoder as Minimp3, MAX_SAMPLES_PER_FRAME};
use symphonia::core::packet::Packet;

/// The decoder. symphonia's still looks at every frame, because it finds damage that this one decodes as noise.
pub(super) struct Mp3 {
    decoder: Box<Minimp3>,
    samples: Vec<f32>,
}

impl Mp3 {
    pub(super) fn new() -> Self {
        Self { decoder: Box::new(Minimp3::new()), samples: vec![0.0; MAX_SAMPLES_PER_FRAME] }
    }

    pub(super) fn reset(&mut self) {
        *self.decoder = Minimp3::new();
    }

    pub(super) fn decode(
        &mut self,
        frame: &[u8],
        first: &mut Decoder,
        packet: &Packet,
        sink: &mut Trimmed<'_>,
        rate: u32,
        channels: u16,
    ) -> Result<(), Failure> {
        sink.layout(rate, usize::from(channels))?;
        let seen = first.look(packet);
        let (_, result) = self.decoder.decode(frame, &mut self.samples);
        if let Err(what) = seen
            && !what.contains(UNEQUAL_BLOCKS)
        {
            return Err(Failure::Packet(what));
        }
        let channels = usize::from(channels);
        match result {
            Ok(info) if usize::from(info.channels.num()) == channels => {
                let samples = &self.samples[..info.samples_produced * channels];
                sink.push(info.samples_produced, |planes| {
                    for (c, plane) in planes.iter_mut().enumerate() {
                        for (out, frame) in plane.iter_mut().zip(samples.chunks_exact(channels)) {
                            *out = frame[c];
                        }
                    }
                })?;
                Ok(())
            }
            Ok(_) => Err(Failure::Packet("its channels change".into())),
            Err(e) => Err(Failure::Packet(e.to_string())),
        }
    }
}
