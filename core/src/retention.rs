//! How long the service keeps what: the operator's settings, enforced by the service's sweeper and printed on the privacy page.

use serde::{Deserialize, Serialize};

/// Since when the privacy policy holds; a user who agreed to an older one is told.
pub const POLICY: &str = "2026-11-25";

/// Days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retention {
    /// Uploads and masters of visitors without account.
    pub guest_days: u32,
    /// Songs of accounts, counted from when they were made; 0: until they are deleted. A mail tells at least 30 days before.
    pub account_days: u32,
    /// Uploads that were never mastered.
    pub unused_days: u32,
    /// Uploads that were begun and not finished.
    pub unfinished_days: u32,
    /// Between asking for an account's deletion and the deletion.
    pub account_grace_days: u32,
    /// Audit entries.
    pub audit_days: u32,
    /// A session that nobody uses.
    pub session_idle_days: u32,
    /// Any session.
    pub session_days: u32,
    /// Answered messages of the contact form.
    pub ticket_days: u32,
    /// Backups of the database. The service makes none itself: this is what the operator's own do, for the privacy page.
    pub backup_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            guest_days: 7,
            account_days: 0,
            unused_days: 7,
            unfinished_days: 2,
            account_grace_days: 14,
            audit_days: 180,
            session_idle_days: 30,
            session_days: 180,
            ticket_days: 365,
            backup_days: 30,
        }
    }
}
