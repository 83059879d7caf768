//! The table of periods. Whoever adds a table with a time in it, a cookie or a name in the browser's storage adds a row here; tests
//! hold the table against the schema, the cookies and the scripts.

use super::{
    BROWSER_MEMORY, BROWSER_PENDING, DAY, EXPORT, FILE_RECHECK, HOUR, IP_KEY, MINUTE, REPEAT, Retention, SECOND,
    SIGN_IN, UNDO, WORKER,
};

/// Where something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// By the service: in its database and its storage.
    Service,
    /// In the browser, as a cookie.
    Cookie,
    /// In the browser's localStorage.
    LocalStorage,
    /// In the browser's sessionStorage: gone with the tab.
    SessionStorage,
    /// In the browser, as a database of IndexedDB.
    IndexedDb,
}

impl Place {
    /// As the privacy page calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Cookie => "Cookie",
            Self::LocalStorage => "localStorage",
            Self::SessionStorage => "sessionStorage",
            Self::IndexedDb => "IndexedDB",
        }
    }
}

/// How long.
#[derive(Clone, Copy, Debug)]
pub enum Time {
    /// Milliseconds.
    Fixed(i64),
    /// Days, as the operator has set.
    Days(fn(&Retention) -> u32),
    /// Milliseconds that follow from what the operator has set.
    Set(fn(&Retention) -> i64),
}

impl Time {
    /// Milliseconds.
    #[must_use]
    pub fn milliseconds(self, retention: &Retention) -> i64 {
        match self {
            Self::Fixed(milliseconds) => milliseconds,
            Self::Days(days) => super::days(days(retention)),
            Self::Set(milliseconds) => milliseconds(retention),
        }
    }
}

/// Until when.
#[derive(Clone, Copy, Debug)]
pub enum Kept {
    /// So long after an event: "7 days after the upload".
    After(Time, &'static str),
    /// So many days after an event where the operator has set any; with 0 until another event.
    AfterIfSet(fn(&Retention) -> u32, &'static str, &'static str),
    /// Until an event: "until you delete them".
    Until(&'static str),
    /// Until an event, but no longer than so long after another: "until you sign out; at most 180 days after signing in".
    UntilAtMost(&'static str, Time, &'static str),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    /// Where it is kept.
    pub place: Place,
    /// In a browser: the one name it has there. In the service: the tables that hold it.
    pub names: &'static [&'static str],
    /// What it is, for people.
    pub what: &'static str,
    /// How long it is kept.
    pub kept: Kept,
    /// Rows of the first table of `names` that the sweeper simply deletes: the condition, `$1` being now minus the time. What has files
    /// or other rows that depend on it goes its own way.
    pub rows: Option<&'static str>,
}

impl Period {
    /// The time that runs, if one does, in milliseconds.
    #[must_use]
    pub fn milliseconds(&self, retention: &Retention) -> Option<i64> {
        match self.kept {
            Kept::After(time, _) | Kept::UntilAtMost(_, time, _) => Some(time.milliseconds(retention)),
            Kept::AfterIfSet(days, ..) => Some(super::days(days(retention))).filter(|time| *time > 0),
            Kept::Until(_) => None,
        }
    }

    /// Since when the time runs, if one does.
    #[must_use]
    pub fn since(&self) -> &'static str {
        match self.kept {
            Kept::After(_, since) | Kept::UntilAtMost(_, _, since) | Kept::AfterIfSet(_, since, _) => since,
            Kept::Until(_) => "",
        }
    }

    /// How long it is kept, in words.
    #[must_use]
    pub fn text(&self, retention: &Retention) -> String {
        let after = |time: Time, since| match time.milliseconds(retention) {
            0 => format!("until {since}"),
            time => format!("{} after {since}", duration(time)),
        };
        match self.kept {
            Kept::After(time, since) => after(time, since),
            Kept::AfterIfSet(days, _, event) if days(retention) == 0 => format!("until {event}"),
            Kept::AfterIfSet(days, since, _) => after(Time::Days(days), since),
            Kept::Until(event) => format!("until {event}"),
            Kept::UntilAtMost(event, time, since) => format!("until {event}; at most {}", after(time, since)),
        }
    }

    /// The table and the condition of rows that are simply deleted, and how long they stay, in milliseconds.
    #[must_use]
    pub fn sweep(&self, retention: &Retention) -> Option<(&'static str, &'static str, i64)> {
        Some((self.names.first()?, self.rows?, self.milliseconds(retention)?))
    }
}

/// `30 seconds`, `15 minutes`, `1 hour`, `48 hours`, `7 days`.
#[must_use]
pub fn duration(milliseconds: i64) -> String {
    let (unit, name) = match milliseconds {
        ms if ms % DAY == 0 && ms != 2 * DAY => (DAY, "day"),
        ms if ms % HOUR == 0 => (HOUR, "hour"),
        ms if ms % MINUTE == 0 => (MINUTE, "minute"),
        _ => (SECOND, "second"),
    };
    let number = milliseconds / unit;
    format!("{number} {name}{}", if number == 1 { "" } else { "s" })
}

const fn service(what: &'static str, names: &'static [&'static str], kept: Kept) -> Period {
    let names: &[&str] = if cfg!(target_arch = "wasm32") { &[] } else { names };
    Period { place: Place::Service, names, what, kept, rows: None }
}

const fn rows(
    what: &'static str,
    names: &'static [&'static str],
    time: Time,
    since: &'static str,
    rows: &'static str,
) -> Period {
    // The edge prints the table and has no database; every byte of its component counts.
    let (names, rows): (&[&str], _) = if cfg!(target_arch = "wasm32") { (&[], None) } else { (names, Some(rows)) };
    Period { place: Place::Service, names, what, kept: Kept::After(time, since), rows }
}

/// What the service keeps. Where rows refer to others, what refers stands first.
pub const PERIODS: &[Period] = &[
    service(
        "Uploads, masters and previews of guests (without an account)",
        &["uploads", "masters", "results", "artifacts"],
        Kept::After(Time::Days(|retention| retention.guest_days), "the upload, or after the newest master of it"),
    ),
    service(
        "Uploads, masters and previews of accounts",
        &["uploads", "masters", "results", "artifacts"],
        Kept::AfterIfSet(
            |retention| retention.account_days,
            "they were made, and not before a mail has told you 30 days ahead",
            "you delete them; if that should change, a mail tells you 30 days ahead",
        ),
    ),
    service(
        "A deleted master: time to undo, then its files, its record and its mix go (a mix stays if another master uses it)",
        &["masters"],
        Kept::After(Time::Fixed(UNDO), "deletion"),
    ),
    service("A mix you chose to keep", &["uploads"], Kept::Until("you delete it")),
    service(
        "Uploads that were never mastered",
        &["uploads"],
        Kept::After(Time::Days(|retention| retention.unused_days), "the upload"),
    ),
    service(
        "Unfinished uploads of guests",
        &["uploads"],
        Kept::After(Time::Set(|retention| retention.unfinished(true)), "the last part arrived"),
    ),
    service(
        "Unfinished uploads of accounts",
        &["uploads"],
        Kept::After(Time::Set(|retention| retention.unfinished(false)), "the last part arrived"),
    ),
    service(
        "The names of removed files, to look for late copies",
        &["objects"],
        Kept::After(Time::Fixed(FILE_RECHECK), "removal"),
    ),
    service(
        "Your account: name, address, picture, connected sign-ins, webhooks",
        &["users", "identities", "webhooks", "presets"],
        Kept::After(Time::Days(|retention| retention.account_grace_days), "your deletion request"),
    ),
    service("An export of your data", &["objects"], Kept::After(Time::Fixed(EXPORT), "it was made")),
    service(
        "Mails in a folder, where no mail server is set",
        &[],
        Kept::After(Time::Fixed(7 * DAY), "they were written"),
    ),
    service("Files a worker left when it stopped", &[], Kept::After(Time::Fixed(HOUR), "it stopped")),
    rows(
        "Notices that tracks of an account end by their age",
        &["notices"],
        Time::Fixed(90 * DAY),
        "they were written",
        "posted_at < $1 AND NOT EXISTS (SELECT 1 FROM masters WHERE notice_id = notices.id)",
    ),
    service("Backups of the database", &[], Kept::After(Time::Days(|retention| retention.backup_days), "the backup")),
    rows(
        "Security log: sign-ins and changes to an account",
        &["audit"],
        Time::Days(|retention| retention.audit_days),
        "the event",
        "at < $1",
    ),
    rows(
        "Messages you send us",
        &["tickets"],
        Time::Days(|retention| retention.ticket_days),
        "we close them",
        "closed_at < $1",
    ),
    rows(
        "Daily keys for hashing IP addresses; without the key nobody can tell whose a hash was",
        &["ip_keys"],
        Time::Fixed(IP_KEY),
        "each was made",
        "created_at < $1",
    ),
    rows(
        "Sessions nobody uses",
        &["sessions"],
        Time::Days(|retention| retention.session_idle_days),
        "the last visit",
        "seen_at < $1",
    ),
    rows(
        "Ended sessions, with the name of the browser",
        &["sessions"],
        Time::Fixed(30 * DAY),
        "they ended",
        "revoked_at < $1 OR expires_at < $1",
    ),
    rows("Sign-ins and address changes by mail", &["logins"], Time::Fixed(DAY), "the link ends", "expires_at < $1"),
    rows("Sign-ins through Google under way", &["oidc_logins"], Time::Fixed(DAY), "they end", "expires_at < $1"),
    rows("Upload addresses for other sites", &["grants"], Time::Fixed(30 * DAY), "they end", "expires_at < $1"),
    rows(
        "API tokens",
        &["tokens"],
        Time::Fixed(90 * DAY),
        "they end or are revoked",
        "revoked_at < $1 OR expires_at < $1",
    ),
    rows("Revoked share links", &["shares"], Time::Fixed(30 * DAY), "revocation", "revoked_at < $1"),
    rows("File lists of ZIP downloads", &["zips"], Time::Fixed(DAY), "their link ends", "expires_at < $1"),
    rows(
        "Webhook delivery log",
        &["deliveries"],
        Time::Fixed(30 * DAY),
        "delivery",
        "delivered_at < $1 OR given_up_at < $1",
    ),
    rows("Answers kept for repeated requests", &["idempotency"], Time::Fixed(REPEAT), "the request", "created_at < $1"),
    rows("Request nonces (replay protection)", &["nonces"], Time::Fixed(0), "the signature expires", "expires_at < $1"),
    rows("Rate limit counters", &["limits"], Time::Fixed(HOUR), "the limit resets", "tat < $1"),
    service(
        "Workers and what they have room for",
        &["workers"],
        Kept::After(Time::Fixed(WORKER), "they were last heard of"),
    ),
    service("Jobs and mails in the queue", &["jobs"], Kept::Until("they are done")),
    rows("Job log", &["job_history"], Time::Fixed(30 * DAY), "the job ended", "ended_at < $1"),
    rows(
        "Empty batches",
        &["batches"],
        Time::Fixed(7 * DAY),
        "they were made",
        "created_at < $1 AND NOT EXISTS (SELECT 1 FROM masters WHERE batch_id = batches.id)
         AND NOT EXISTS (SELECT 1 FROM uploads WHERE batch_id = batches.id)",
    ),
    rows(
        "Guest numbers without a track",
        &["guests"],
        Time::Fixed(30 * DAY),
        "the first upload",
        "created_at < $1 AND NOT EXISTS (SELECT 1 FROM masters WHERE owner = guests.id)
         AND NOT EXISTS (SELECT 1 FROM uploads WHERE owner = guests.id)",
    ),
];

const fn browser(place: Place, names: &'static [&'static str], what: &'static str, kept: Kept) -> Period {
    Period { place, names, what, kept, rows: None }
}

/// What is kept in a visitor's browser.
pub const BROWSER: &[Period] = &[
    browser(
        Place::Cookie,
        &["__Host-lm_guest"],
        "A random number, signed by us, that ties guest tracks to this browser, and the date of the privacy policy you have seen.",
        Kept::After(Time::Days(|retention| retention.guest_days), "your newest track, or your first visit"),
    ),
    browser(
        Place::Cookie,
        &["__Host-lm_session"],
        "Keeps you signed in.",
        Kept::UntilAtMost("you sign out", Time::Days(|retention| retention.session_days), "signing in"),
    ),
    browser(
        Place::Cookie,
        &["__Host-lm_login"],
        "Ties a sign-in link or a sign-in with Google to the browser that asked for it, so that nobody else can use it.",
        Kept::After(Time::Fixed(SIGN_IN), "you ask to sign in"),
    ),
    browser(
        Place::LocalStorage,
        &["lm.uploads"],
        "Unfinished uploads: name, size and fingerprint of each file, so that a reload sends only the missing parts.",
        Kept::UntilAtMost("the upload is mastered or removed", Time::Fixed(BROWSER_MEMORY), "it began"),
    ),
    browser(
        Place::LocalStorage,
        &["lm.latest"],
        "The address of the master or batch you made last, for the link back to it.",
        Kept::After(Time::Fixed(BROWSER_MEMORY), "it was made"),
    ),
    browser(
        Place::SessionStorage,
        &["lm.pending"],
        "The download you asked for before signing in, so that it starts by itself afterwards.",
        Kept::UntilAtMost("it starts or the tab closes", Time::Fixed(BROWSER_PENDING), "you asked for it"),
    ),
    browser(
        Place::IndexedDb,
        &["lm"],
        "In Chrome and related browsers: a pointer to the file you chose (not the file), so that an interrupted upload can go on.",
        Kept::UntilAtMost("the upload ends", Time::Fixed(BROWSER_MEMORY), "it began"),
    ),
];

#[cfg(test)]
mod tests {
    use super::super::ADDRESS_CHANGE;
    use super::*;

    fn texts(retention: &Retention) -> Vec<String> {
        PERIODS.iter().chain(BROWSER).map(|period| format!("{}: {}", period.what, period.text(retention))).collect()
    }

    #[test]
    fn the_table_says_what_the_operator_has_set() {
        let texts = texts(&Retention { guest_days: 3, session_days: 1, ..Retention::default() });
        for said in [
            "guests (without an account): 3 days after the upload, or after the newest master of it",
            "Keeps you signed in.: until you sign out; at most 1 day after signing in",
            "your newest track, or your first visit",
            "Rate limit counters: 1 hour after the limit resets",
            "Request nonces (replay protection): until the signature expires",
            "(a mix stays if another master uses it): 30 seconds after deletion",
            "Uploads, masters and previews of accounts: until you delete them; if",
            "Daily keys for hashing IP addresses; without the key nobody can tell whose a hash was: 48 hours after each was made",
        ] {
            assert!(texts.iter().any(|text| text.contains(said)), "{said}: {texts:#?}");
        }
    }

    #[test]
    fn times_are_written_in_the_largest_unit_that_fits() {
        for (milliseconds, text) in [
            (UNDO, "30 seconds"),
            (MINUTE, "1 minute"),
            (SIGN_IN, "15 minutes"),
            (HOUR, "1 hour"),
            (DAY, "1 day"),
            (IP_KEY, "48 hours"),
            (ADDRESS_CHANGE, "1 hour"),
            (180 * DAY, "180 days"),
        ] {
            assert_eq!(duration(milliseconds), text);
        }
    }

    #[test]
    fn every_row_can_be_read_and_enforced() {
        let retention = Retention::default();
        for period in PERIODS {
            assert!(period.place == Place::Service && !period.what.ends_with('.'), "{}", period.what);
            // A condition without a table, or without a time, would delete nothing or everything.
            assert!(period.rows.is_none() || period.sweep(&retention).is_some(), "{}", period.what);
            assert!(period.rows.is_none_or(|rows| rows.contains("< $1")), "{}", period.what);
        }
        for period in BROWSER {
            assert!(period.place != Place::Service && period.names.len() == 1, "{}", period.what);
        }
    }
}
