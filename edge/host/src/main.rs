//! `loopmaster-edge-host`: serves the edge component on this machine.

use clap::Parser;
use loopmaster_edge_host::manifest::Manifest;
use loopmaster_edge_host::{Host, Options};
use loopmaster_net::Limits;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Serves the edge component of a Spin manifest on this machine. Variables of the manifest are set as for Spin:
/// `SPIN_VARIABLE_EDGE_KEY=…`, or, for a secret, by the file that holds it: `SPIN_VARIABLE_EDGE_KEY_FILE=…`.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The manifest.
    #[arg(long, default_value = "edge/spin.toml", env = "LOOPMASTER_EDGE_HOST_MANIFEST")]
    manifest: PathBuf,
    /// Where to listen. Only this machine, unless told otherwise.
    #[arg(long, default_value = "127.0.0.1:3000", env = "LOOPMASTER_EDGE_HOST_LISTEN")]
    listen: SocketAddr,
    /// Requests one instance serves before it is replaced.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    reuse: u32,
    /// Of them at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    concurrent: u32,
    /// Memory of an instance, MiB.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    memory: u32,
    /// Seconds for an answer.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    deadline: u32,
    /// Connections at once.
    #[arg(long, default_value_t = 8_192, env = "LOOPMASTER_EDGE_HOST_CONNECTIONS", value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    connections: u32,
    /// From one address, of IPv6 a /64. Where `trusted_hops` is set, it does not hold for this machine and private networks.
    #[arg(long, default_value_t = 512, env = "LOOPMASTER_EDGE_HOST_CONNECTIONS_PER_ADDRESS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections_per_address: u32,
    /// A folder where compiled code and the key-value store are kept between runs.
    #[arg(long, env = "LOOPMASTER_EDGE_HOST_DATA")]
    data: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    loopmaster_private::new_files();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let manifest = Manifest::read(&arguments.manifest, |variable| std::env::var(variable).ok())?;
    let folder = match arguments.data {
        None => None,
        Some(folder) => {
            // Compiled code is run as it lies there.
            loopmaster_private::folder(&folder)?;
            let closed = loopmaster_private::tighten(&folder)?;
            if closed > 0 {
                eprintln!("other users could read {}; now only its owner can (0700, files 0600)", folder.display());
            }
            // The cache wants to know where it is for good.
            Some(folder.canonicalize()?)
        }
    };
    let behind_proxies = manifest.variables.get("trusted_hops").is_some_and(|hops| hops.trim() != "0");
    let defaults = Options::default();
    let options = Options {
        listen: arguments.listen,
        reuse: arguments.reuse as usize,
        concurrent: arguments.concurrent as usize,
        memory: (arguments.memory as usize) << 20,
        deadline: Duration::from_secs(arguments.deadline.into()),
        connections: Limits {
            total: arguments.connections as usize,
            per_address: arguments.connections_per_address as usize,
            behind_proxies,
            ..defaults.connections
        },
        cache: folder.as_ref().map(|folder| folder.join("compiled")),
        store: folder.as_ref().map(|folder| folder.join("key-value.json")),
        ..defaults
    };
    let running = Host::new(&manifest, options)?.start().await?;
    println!("edge on http://{}", running.address);
    stop_signal().await?;
    running.stop().await;
    Ok(())
}

/// Waits for Ctrl-C, or for a supervisor to say that it is time.
async fn stop_signal() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            asked = tokio::signal::ctrl_c() => asked,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
