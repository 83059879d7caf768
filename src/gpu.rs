//! `loopmaster gpu`: which cards there are, whether the best one computes rightly, and how fast it is.

use crate::cli::GpuArgs;
use loopmaster_cli::Backends;
use loopmaster_core::render::Backend;
use loopmaster_gpu::gpu::{AdapterFacts, Config, Gpu, list};
use loopmaster_gpu::renderer::{Renderer, measure, measured_seconds};
use serde_json::json;

/// The graphics cards of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Cards;

impl Backends for Cards {
    fn auto(&self, tracks: usize) -> Box<dyn Backend> {
        Box::new(Renderer::auto(Config::default(), tracks))
    }

    fn card(&self) -> Result<Box<dyn Backend>, (&'static str, String)> {
        match Renderer::gpu(Config::default()) {
            Ok(renderer) => Ok(Box::new(renderer)),
            Err(error) => Err((error.code(), error.to_string())),
        }
    }
}

/// Runs the command; `false` where no card can be used.
#[must_use]
pub fn run(args: &GpuArgs) -> bool {
    let adapters = list();
    for adapter in &adapters {
        if args.json {
            println!("{}", json!({ "event": "adapter", "adapter": adapter }));
        } else {
            describe(adapter);
        }
    }
    if args.list {
        if adapters.is_empty() && !args.json {
            println!("No graphics adapter was found.");
        }
        return true;
    }
    let gpu = match Gpu::open(Config::default()) {
        Ok(gpu) => gpu,
        Err(error) => {
            if args.json {
                println!("{}", json!({ "event": "error", "code": error.code(), "message": error.to_string() }));
            } else {
                eprintln!("{error} [{}]", error.code());
            }
            return false;
        }
    };
    let test = gpu.self_test();
    let tracks = usize::from(args.batch);
    let measured = measure(&gpu, tracks);
    let status = gpu.status();
    let times = |seconds: f64| tracks as f64 * measured_seconds() / seconds.max(1e-9);
    if args.json {
        let speed = measured.map(|(card, processor)| json!({ "gpu": times(card), "cpu": times(processor) }));
        println!(
            "{}",
            json!({ "event": "gpu", "status": status, "self_test": test, "batch": tracks, "times_real_time": speed })
        );
    } else {
        println!("Opened {}.", status.adapter);
        println!(
            "Self-test: passed, {:.1} dB from the reference, true peak within {:.4} dB.",
            test.distance, test.true_peak
        );
        match measured {
            Some((card, processor)) => println!(
                "{tracks} short tracks at once: {:.0} × real time on the card, {:.0} × on the processor.",
                times(card),
                times(processor)
            ),
            None => println!("Measuring failed: {}", status.fault.as_deref().unwrap_or("the device is gone")),
        }
    }
    measured.is_some()
}

fn describe(adapter: &AdapterFacts) {
    let mib = |bytes: u64| bytes >> 20;
    println!("{} ({}, {}, {})", adapter.name, adapter.kind, adapter.api, adapter.driver);
    println!(
        "  bindings to {} MiB, buffers to {} MiB, {} KiB of workgroup memory, {} threads per workgroup",
        mib(adapter.binding),
        mib(adapter.buffer),
        adapter.shared >> 10,
        adapter.threads
    );
    match &adapter.refused {
        Some(reason) => println!("  cannot be used: {reason}"),
        None => println!("  can be used"),
    }
}
