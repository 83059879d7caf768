//! What a visitor touches first, as a Spin component: pages, cookies, rate limits, upload coordination, and a signed way to the api.
//!
//! Everything is plain Rust over a [`World`](world::World) that is tested on any machine; the `spin` module alone knows Spin.
//!
//! - [`edge`]: one request from beginning to end; [`routes`] says which request is what.
//! - [`cookies`], [`origin`], [`limits`]: who asks, from where, and how often.
//! - [`upstream`]: the signed request to the api; [`events`]: ending its streams in time.
//! - [`assets`], [`security`], [`problem`], [`config`]: files, headers, errors, variables.
//! - [`pages`]: what is shown, from what the api says.
//! - [`admission`]: may this upload begin? [`wishes`] and [`forms`]: what forms ask for.
//!
//! Errors have a text for a person and a stable code for a program.

mod answers;
pub mod assets;
pub mod config;
mod context;
pub mod cookies;
mod documents;
pub mod edge;
pub mod events;
pub mod forms;
mod hash;
pub mod limits;
pub mod origin;
pub mod pages;
pub mod problem;
pub mod routes;
pub mod security;
#[cfg(target_arch = "wasm32")]
mod spin;
pub mod upstream;
pub mod wishes;
pub mod world;

pub use loopmaster_core::admission;
