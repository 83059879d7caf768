//! All integration tests in one binary: `cargo test --test tests standards::` runs one module.

mod arrows;
