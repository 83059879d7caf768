//! What the service decides and keeps: the rules, and the SQL of the tables they are about. Each table has one module that writes it. None
//! of this knows how a question came here; what is refused is an [`error::Error`].

pub mod accounts;
pub mod admission;
pub mod audit;
pub mod batches;
pub mod error;
pub mod export;
pub mod guests;
pub mod idempotency;
pub mod identity;
pub mod ip_keys;
pub mod letters;
pub mod limits;
pub mod masters;
pub mod nonces;
pub mod notices;
pub mod presets;
pub mod quotas;
pub mod retention;
pub mod settings;
pub mod shares;
pub mod tickets;
pub mod uploads;
pub mod webhooks;
pub mod zips;
