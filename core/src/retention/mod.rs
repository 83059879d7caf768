//! How long everything is kept: the operator's settings ([`Retention`]), the fixed periods, and the one table ([`PERIODS`]) that the
//! service enforces and the privacy page prints.

mod periods;

pub use periods::{BROWSER, Kept, PERIODS, Period, Place, Time, duration};

use serde::{Deserialize, Serialize};

/// Since when the privacy policy holds; a visitor who has seen an older one is told.
pub const POLICY: &str = "2026-12-01";

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// How long a deleted master can be restored, milliseconds like all that follow.
pub const UNDO: i64 = 30 * SECOND;
/// How long the link and the code of a sign-in work, and the cookie that binds them to a browser.
pub const SIGN_IN: i64 = 15 * MINUTE;
/// How long the links of a change of address work.
pub const ADDRESS_CHANGE: i64 = HOUR;
/// How long the link works that confirms who wrote a message.
pub const CONFIRMATION: i64 = DAY;
/// How long an upload address for somebody else's page works.
pub const GRANT: i64 = HOUR;
/// How long an export of an account stays.
pub const EXPORT: i64 = 7 * DAY;
/// How long a ZIP download works.
pub const ZIP: i64 = DAY;
/// How long an answer is kept for a repeat of the same request.
pub const REPEAT: i64 = DAY;
/// How long the daily key for hashing network addresses is kept.
pub const IP_KEY: i64 = 48 * HOUR;
/// A removed file is looked for once more after this time: the longest lease and the longest signed address have ended by then.
pub const FILE_RECHECK: i64 = 2 * HOUR;
/// A worker that has not been heard of for this time counts as gone.
pub const WORKER: i64 = 3 * MINUTE;
/// How long a browser remembers an upload, and the master made last.
pub const BROWSER_MEMORY: i64 = 7 * DAY;
/// How long a browser remembers a download that waits for a sign-in.
pub const BROWSER_PENDING: i64 = HOUR;
/// The longest life a browser gives a cookie, days.
pub const LONGEST_COOKIE_DAYS: u32 = 400;

/// Days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retention {
    /// Uploads and masters of visitors without account, and the cookie they are reached with.
    pub guest_days: u32,
    /// Songs of accounts, counted from when they were made; 0: until they are deleted. A mail tells at least 30 days before.
    pub account_days: u32,
    /// Uploads that were never mastered.
    pub unused_days: u32,
    /// Uploads of accounts that were begun and not finished.
    pub unfinished_days: u32,
    /// Uploads of visitors without account that were begun and not finished, hours.
    pub guest_unfinished_hours: u32,
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
            guest_unfinished_hours: 12,
            account_grace_days: 14,
            audit_days: 180,
            session_idle_days: 30,
            session_days: 180,
            ticket_days: 365,
            backup_days: 30,
        }
    }
}

impl Retention {
    /// How long a guest's tracks live, and how long the cookie lives that was set or renewed with the newest of them, milliseconds.
    #[must_use]
    pub fn guest(&self) -> i64 {
        days(self.guest_days)
    }

    /// How long an upload is kept that was begun and not finished, milliseconds.
    #[must_use]
    pub fn unfinished(&self, guest: bool) -> i64 {
        if guest { i64::from(self.guest_unfinished_hours) * HOUR } else { days(self.unfinished_days) }
    }

    /// The longest life of a session, milliseconds.
    #[must_use]
    pub fn session(&self) -> i64 {
        days(self.session_days)
    }
}

/// Days in milliseconds.
#[must_use]
pub fn days(days: u32) -> i64 {
    i64::from(days) * DAY
}
