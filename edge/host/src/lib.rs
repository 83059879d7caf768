//! Runs the edge component on wasmtime, as Spin would: for laptops and tests. It reads Spin's own manifest, gives the component what the
//! manifest gives it and nothing else, reuses instances for many requests at once, and keeps connections to the api.

mod guest;
pub mod keyvalue;
pub mod manifest;
mod outbound;
mod serve;

pub use outbound::AllowedHosts;
pub use serve::{Host, HostError, Options, Running};
