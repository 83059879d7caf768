//! How long everything is kept: one table, enforced by the sweeper and printed by the privacy page.

use super::{DAY, HOUR};
use loopmaster_core::retention::Retention;
use serde::Serialize;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// In the words of the privacy page.
    pub what: &'static str,
    /// Since when the time runs, in words.
    pub since: &'static str,
    /// How long, milliseconds.
    pub kept: Kept,
    /// Rows that are simply deleted: table and condition, `$1` being now minus the time. Rows with objects have their own way.
    pub rows: Option<(&'static str, &'static str)>,
}

/// How long.
#[derive(Clone, Copy, Debug)]
pub enum Kept {
    /// Fixed.
    Fixed(i64),
    /// As the operator has set, in days.
    Days(fn(&Retention) -> u32),
    /// As the operator has set, in days; with 0 until it is deleted, and the table does not have it.
    DaysIfSet(fn(&Retention) -> u32),
}

/// A row for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Period {
    /// What is kept.
    pub what: &'static str,
    /// Since when the time runs.
    pub since: &'static str,
    /// How long.
    pub hours: i64,
}

impl Rule {
    /// Milliseconds.
    #[must_use]
    pub fn kept(&self, retention: &Retention) -> i64 {
        match self.kept {
            Kept::Fixed(milliseconds) => milliseconds,
            Kept::Days(days) | Kept::DaysIfSet(days) => i64::from(days(retention)) * DAY,
        }
    }

    /// Whether there is such a period here.
    #[must_use]
    pub fn applies(&self, retention: &Retention) -> bool {
        !matches!(self.kept, Kept::DaysIfSet(days) if days(retention) == 0)
    }
}

/// The table as people read it.
#[must_use]
pub fn periods(retention: &Retention) -> Vec<Period> {
    let rules = RULES.iter().filter(|rule| rule.applies(retention));
    rules.map(|rule| Period { what: rule.what, since: rule.since, hours: rule.kept(retention) / HOUR }).collect()
}

const fn rows(
    what: &'static str,
    since: &'static str,
    kept: i64,
    table: &'static str,
    condition: &'static str,
) -> Rule {
    Rule { what, since, kept: Kept::Fixed(kept), rows: Some((table, condition)) }
}

/// Children stand before their parents: what refers to a row goes first.
pub const RULES: &[Rule] = &[
    Rule {
        what: "mixes, masters and previews of visitors without an account",
        since: "upload",
        kept: Kept::Days(|retention| retention.guest_days),
        rows: None,
    },
    Rule {
        what: "songs of accounts, with mix, masters and previews; told by mail 30 days before",
        since: "being made",
        kept: Kept::DaysIfSet(|retention| retention.account_days),
        rows: None,
    },
    Rule {
        what: "a deleted song with its mix, until it cannot be restored any more (30 seconds)",
        since: "deletion",
        kept: Kept::Fixed(0),
        rows: None,
    },
    Rule {
        what: "mixes that were never mastered",
        since: "upload",
        kept: Kept::Days(|retention| retention.unused_days),
        rows: None,
    },
    Rule {
        what: "uploads that were not finished",
        since: "begin",
        kept: Kept::Days(|retention| retention.unfinished_days),
        rows: None,
    },
    Rule {
        what: "an account with everything in it",
        since: "the wish to delete it",
        kept: Kept::Days(|retention| retention.account_grace_days),
        rows: None,
    },
    Rule { what: "an export", since: "being packed", kept: Kept::Fixed(super::EXPORT_KEPT), rows: None },
    rows("keys that network addresses are hashed with", "being made", 48 * HOUR, "ip_keys", "created_at < $1"),
    rows("sessions, with the browser's name", "their end", 30 * DAY, "sessions", "revoked_at < $1 OR expires_at < $1"),
    rows("sign-ins by mail under way", "their end", DAY, "logins", "expires_at < $1"),
    rows("sign-ins through a provider under way", "their end", DAY, "oidc_logins", "expires_at < $1"),
    rows("upload addresses for pages of others", "their end", 30 * DAY, "grants", "expires_at < $1"),
    rows("API tokens", "their end", 90 * DAY, "tokens", "revoked_at < $1 OR expires_at < $1"),
    Rule {
        what: "letters in the mail folder, where no mail server is set",
        since: "being written",
        kept: Kept::Fixed(7 * DAY),
        rows: None,
    },
    Rule { what: "files a worker was at when it died", since: "its last write", kept: Kept::Fixed(DAY), rows: None },
    rows(
        "notices of songs that go by their age",
        "being written",
        90 * DAY,
        "notices",
        "posted_at < $1 AND NOT EXISTS (SELECT 1 FROM masters WHERE notice_id = notices.id)",
    ),
    rows("share links", "being revoked", 30 * DAY, "shares", "revoked_at < $1"),
    rows("lists of files of a ZIP download", "their end", DAY, "zips", "expires_at < $1"),
    rows("the log of webhook deliveries", "delivery", 30 * DAY, "deliveries", "delivered_at < $1 OR given_up_at < $1"),
    rows("answers kept for repeated requests", "the request", DAY, "idempotency", "created_at < $1"),
    rows("numbers of signed requests, against replay", "their end", 0, "nonces", "expires_at < $1"),
    rows("counters of rate limits", "running full again", HOUR, "limits", "tat < $1"),
    rows("the log of jobs", "their end", 30 * DAY, "job_history", "ended_at < $1"),
    Rule {
        what: "closed messages of the contact form",
        since: "being closed",
        kept: Kept::Days(|retention| retention.ticket_days),
        rows: Some(("tickets", "closed_at < $1")),
    },
    Rule {
        what: "the record of sign-ins and security events",
        since: "the event",
        kept: Kept::Days(|retention| retention.audit_days),
        rows: Some(("audit", "at < $1")),
    },
    rows(
        "empty batches",
        "being made",
        7 * DAY,
        "batches",
        "created_at < $1 AND NOT EXISTS (SELECT 1 FROM masters WHERE batch_id = batches.id)
         AND NOT EXISTS (SELECT 1 FROM uploads WHERE batch_id = batches.id)",
    ),
    rows(
        "guests without a mix",
        "their first visit",
        30 * DAY,
        "guests",
        "created_at < $1 AND NOT EXISTS (SELECT 1 FROM masters WHERE owner = guests.id)
         AND NOT EXISTS (SELECT 1 FROM uploads WHERE owner = guests.id)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_the_operator_has_set() {
        let retention = Retention { guest_days: 3, ..Retention::default() };
        let periods = periods(&retention);
        assert_eq!(periods[0].hours, 72);
        assert!(periods.iter().any(|period| period.what.starts_with("keys that network") && period.hours == 48));
        assert!(periods.iter().all(|period| period.hours >= 0 && !period.what.is_empty()));
    }
}
