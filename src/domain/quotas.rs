//! What somebody may use, what of it is used, and when there is more.

use super::error::Result;
use super::identity::Caller;
use super::limits::{Rule, quota};
use super::masters;
use super::uploads::room::stored_bytes;
use crate::service::Service;
use serde::Serialize;
use utoipa::ToSchema;

/// What one may use.
#[derive(Debug, Serialize, ToSchema)]
pub struct Quotas {
    /// Tracks sent to be mastered within 24 hours.
    tracks_a_day: Quota,
    /// Bytes of mixes kept.
    stored_bytes: Quota,
    /// Tracks waiting or being mastered.
    waiting: Quota,
    /// Largest file, bytes.
    file_bytes: u64,
    /// Tracks in one batch.
    batch_tracks: u64,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Quota {
    limit: u64,
    used: u64,
    /// Seconds until there is one more; only of what comes back by itself, while some of it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_after: Option<u64>,
    /// Seconds until all of it is there; as `more_after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    full_after: Option<u64>,
}

impl Quota {
    fn kept(limit: u64, used: u64) -> Self {
        Self { limit, used, more_after: None, full_after: None }
    }
}

impl Quotas {
    /// How the caller stands now.
    pub async fn of(service: &Service, caller: &Caller) -> Result<Self> {
        let (db, limits) = (&service.db, &service.config.limits);
        let owner = caller.owner().unwrap_or_default();
        let allowed = quota(limits, caller);
        let tracks = Rule::daily("tracks", allowed.tracks_a_day).standing(db, caller.owner_key()).await?;
        let mut c = db.read().acquire().await?;
        let waiting = masters::count_open(&mut c, owner).await?;
        drop(c);
        Ok(Self {
            tracks_a_day: Quota {
                limit: allowed.tracks_a_day,
                used: tracks.used,
                more_after: tracks.more,
                full_after: tracks.all,
            },
            stored_bytes: Quota::kept(allowed.stored_bytes, stored_bytes(db, owner).await?),
            waiting: Quota::kept(allowed.waiting, waiting),
            file_bytes: limits.file_bytes,
            batch_tracks: limits.batch_tracks,
        })
    }
}
