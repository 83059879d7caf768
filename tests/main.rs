//! All integration tests in one binary: `cargo test --test tests standards::` runs one module.
//! `#[cfg(test)]` is always true here; it tells clippy that helpers, too, may unwrap.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod album;
#[cfg(test)]
mod api;
#[cfg(test)]
mod arrows;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod databases;
#[cfg(test)]
mod decode;
#[cfg(test)]
mod delivered;
#[cfg(test)]
mod dice;
#[cfg(test)]
mod early;
#[cfg(test)]
mod encode;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod lab_finish;
#[cfg(test)]
mod lab_masked;
#[cfg(test)]
mod lab_shape;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod push;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod references;
#[cfg(test)]
mod service;
#[cfg(test)]
mod standards;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod work;
