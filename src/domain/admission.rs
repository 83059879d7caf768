//! What may be sent here.

use super::error::Result;
use crate::config::Config;
use crate::db::Db;
use crate::work::{capacity, nodes};
use loopmaster_core::settings::Limits;

/// The bounds that every worker here keeps.
pub async fn limits(db: &Db, config: &Config) -> Result<Limits> {
    let limits = Limits { bytes: config.limits.file_bytes, ..Limits::default() };
    // Where no worker lives nobody knows; the promise stands until one says otherwise.
    let memory = nodes::least(db).await?.unwrap_or(u64::MAX);
    Ok(Limits { memory: memory.min(capacity::promised(&limits)), ..limits })
}
