//! Whether values that can be read can also be used, alone and together.

use super::complaint::Complaint;
use super::{Address, Config, LEAST};
use crate::outside::address;
use crate::secrets::{redacted, weakness};
use loopmaster_core::retention::LONGEST_COOKIE_DAYS;
use std::ops::RangeInclusive;

/// What is wrong, as far as it was looked at.
struct Complaints<'a>(&'a mut Vec<Complaint>);

impl Complaints<'_> {
    fn add(&mut self, setting: &str, text: String) {
        self.0.push(Complaint { setting: setting.to_owned(), text });
    }

    fn within(&mut self, setting: &str, value: u64, range: RangeInclusive<u64>) {
        if !range.contains(&value) {
            self.add(setting, format!("{value} is out of range; use {} to {}", range.start(), range.end()));
        }
    }
}

impl Config {
    /// Names everything that cannot be used. Secrets may be missing where `may_make_secrets`.
    pub(super) fn judge(&self, complaints: &mut Vec<Complaint>, may_make_secrets: bool) {
        let complaints = &mut Complaints(complaints);
        let database = self.database_url.expose();
        if !(database.is_empty() || ["sqlite:", "postgres://", "postgresql://"].iter().any(|s| database.starts_with(s)))
        {
            complaints.add("database_url", "use sqlite:<path> or postgres://user@host/database".to_owned());
        }
        self.judge_storage(complaints);
        self.judge_keys(complaints);
        if !may_make_secrets {
            self.judge_missing(complaints);
        }
        self.judge_mail(complaints);
        if !(self.webhooks.exempt.is_empty() || self.public_url.is_loopback()) {
            complaints
                .add("webhooks.exempt", "is for tests: leave it out where public_url is not this machine".to_owned());
        }
        let google = &self.oidc.google;
        if google.client_id.is_empty() != google.client_secret.is_empty() {
            complaints.add("oidc.google", "needs both client_id and client_secret, or neither".to_owned());
        }
        self.judge_limits(complaints);
        self.judge_retention(complaints);
        self.judge_worker_and_log(complaints);
        // Cookies named `__Host-` are kept over plain http on this machine only.
        if self.public_url.url().scheme() == "http" && !self.public_url.is_loopback() {
            complaints
                .add("public_url", format!("{} has to be https: browsers drop the cookies otherwise", self.public_url));
        }
    }

    /// The bucket and the keys of the storage.
    fn judge_storage(&self, complaints: &mut Complaints<'_>) {
        if !self.storage.endpoint.is_empty() && Address::try_from(self.storage.endpoint.clone()).is_err() {
            complaints.add(
                "storage.endpoint",
                format!("`{}` is not an http or https address without a path", redacted(&self.storage.endpoint)),
            );
        }
        let bucket = &self.storage.bucket;
        if !(3..=63).contains(&bucket.len())
            || !bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        {
            complaints.add("storage.bucket", format!("`{bucket}` cannot be a bucket: 3 to 63 of a-z, 0-9, - and ."));
        }
        let secret_key = self.storage.secret_key.expose();
        if !self.storage.embedded() && (self.storage.access_key.is_empty() || secret_key.is_empty()) {
            complaints.add("storage.access_key", "a storage of its own needs access_key and secret_key".to_owned());
        } else if self.storage.access_key.is_empty() != secret_key.is_empty() {
            complaints.add("storage.secret_key", "and access_key belong together: set both, or neither".to_owned());
        }
        // What a storage elsewhere gives out has the length its makers chose; on one's own machine it may be a test's.
        let least = match (self.storage.embedded(), self.public_url.is_loopback()) {
            (true, _) => LEAST,
            (false, false) => LEAST / 2,
            (false, true) => 1,
        };
        if !secret_key.is_empty()
            && least > 1
            && let Some(weak) = weakness(secret_key, least)
        {
            complaints.add("storage.secret_key", weak);
        }
    }

    /// The edge's keys and the service's own.
    fn judge_keys(&self, complaints: &mut Complaints<'_>) {
        for (id, key) in &self.edge.keys {
            if id.is_empty() || id.len() > 32 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                // Name and key are easily taken for each other.
                let shown: String = id.chars().take(4).collect();
                complaints.add("edge.keys", format!("`{shown}…` cannot name a key: 1 to 32 letters, digits and -"));
            } else if let Some(weak) = weakness(key.expose(), LEAST) {
                complaints.add(&format!("edge.keys.{id}"), weak);
            }
        }
        if self.edge.keys.len() > 2 {
            complaints.add(
                "edge.keys",
                format!("has {} keys; use one, and a second while the first is replaced", self.edge.keys.len()),
            );
        }
        if let Some(weak) = weakness(self.secret.expose(), LEAST).filter(|_| !self.secret.is_empty()) {
            complaints.add("secret", weak);
        }
    }

    /// Secrets that nobody makes where `public_url` is not this machine.
    fn judge_missing(&self, complaints: &mut Complaints<'_>) {
        if self.secret.is_empty() {
            complaints
                .add("secret", "is missing; it is made by itself only where public_url is this machine".to_owned());
        }
        if self.edge.keys.is_empty() {
            complaints
                .add("edge.keys", "is missing; it is made by itself only where public_url is this machine".to_owned());
        }
        if self.storage.access_key.is_empty() && self.storage.secret_key.is_empty() && self.storage.embedded() {
            complaints.add(
                "storage.access_key",
                "is missing; it is made by itself only where public_url is this machine".to_owned(),
            );
        }
    }

    /// Sender, way and receivers of mail.
    fn judge_mail(&self, complaints: &mut Complaints<'_>) {
        if self.mail.from.parse::<lettre::message::Mailbox>().is_err() {
            complaints.add("mail.from", format!("`{}` is not a sender; use `Name <name@host>`", self.mail.from));
        }
        let smtp = self.mail.smtp.expose();
        if !(smtp.is_empty() || smtp.starts_with("smtp://") || smtp.starts_with("smtps://")) {
            complaints.add("mail.smtp", "use smtp://… or smtps://…".to_owned());
        } else if !smtp.is_empty() && !address::is_smtp(smtp) {
            complaints.add(
                "mail.smtp",
                "cannot be read; use smtps://user:password@host, special characters as %40".to_owned(),
            );
        }
        if smtp.is_empty() && self.mail.folder.is_empty() && !self.public_url.is_loopback() {
            complaints.add(
                "mail.smtp",
                "is missing: nobody would get the mail to sign in with. Use smtps://user:password@host, or set mail.folder where \
                 another program sends the files of a folder"
                    .to_owned(),
            );
        }
        if !(self.mail.operator.is_empty() || self.mail.operator.parse::<lettre::Address>().is_ok()) {
            complaints.add("mail.operator", format!("`{}` is not a mail address", self.mail.operator));
        }
    }

    /// Numbers of requests, bytes and connections.
    fn judge_limits(&self, complaints: &mut Complaints<'_>) {
        complaints.within("trusted_hops", self.trusted_hops.into(), 0..=8);
        complaints.within("limits.file_bytes", self.limits.file_bytes, 1..=64 << 30);
        complaints.within("limits.part_bytes", self.limits.part_bytes, 5 << 20..=5 << 30);
        complaints.within("limits.form_bytes", self.limits.form_bytes, 1..=5 << 30);
        complaints.within("limits.guests_per_address", self.limits.guests_per_address, 1..=1_000_000);
        complaints.within("limits.batch_tracks", self.limits.batch_tracks, 1..=10_000);
        complaints.within("limits.zips", self.limits.zips, 1..=1_000);
        complaints.within("limits.streams", self.limits.streams, 1..=1_000);
        complaints.within("edge.stream_seconds", self.edge.stream_seconds, 1..=3_600);
        complaints.within("limits.body_seconds", self.limits.body_seconds, 1..=25);
        complaints.within("limits.connections", self.limits.connections, 16..=1_000_000);
        complaints.within("limits.connections_per_address", self.limits.connections_per_address, 1..=1_000_000);
        for (who, quota) in [("guest", &self.limits.guest), ("user", &self.limits.user)] {
            complaints.within(&format!("limits.{who}.requests_a_minute"), quota.requests_a_minute, 1..=10_000_000);
            complaints.within(&format!("limits.{who}.creates_an_hour"), quota.creates_an_hour, 1..=3_600_000);
        }
    }

    /// Periods, in days and hours.
    fn judge_retention(&self, complaints: &mut Complaints<'_>) {
        let retention = &self.retention;
        // A guest's tracks are reached with a cookie, and browsers keep none longer.
        complaints.within("retention.guest_days", retention.guest_days.into(), 1..=LONGEST_COOKIE_DAYS.into());
        for (setting, days) in [
            ("unused_days", retention.unused_days),
            ("unfinished_days", retention.unfinished_days),
            ("account_grace_days", retention.account_grace_days),
            ("audit_days", retention.audit_days),
            ("session_idle_days", retention.session_idle_days),
            ("session_days", retention.session_days),
            ("ticket_days", retention.ticket_days),
            ("backup_days", retention.backup_days),
        ] {
            complaints.within(&format!("retention.{setting}"), days.into(), 1..=3_650);
        }
        complaints.within("retention.guest_unfinished_hours", retention.guest_unfinished_hours.into(), 1..=87_600);
        complaints.within("retention.account_days", retention.account_days.into(), 0..=3_650);
    }

    /// The worker and the log.
    fn judge_worker_and_log(&self, complaints: &mut Complaints<'_>) {
        if self.worker.budget_bytes != 0 {
            complaints.within(
                "worker.budget_bytes",
                self.worker.budget_bytes,
                loopmaster_core::machine::LEAST_BUDGET..=1 << 44,
            );
        }
        complaints.within("worker.threads", self.worker.threads.into(), 0..=1_024);
        if !["auto", "gpu", "cpu", "reference"].contains(&self.worker.backend.as_str()) {
            complaints.add(
                "worker.backend",
                format!("`{}` is not known; use auto, gpu, cpu or reference", self.worker.backend),
            );
        }
        if !["text", "json"].contains(&self.log.format.as_str()) {
            complaints.add("log.format", format!("`{}` is not known; use text or json", self.log.format));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            complaints.add("log.filter", format!("{error}; use e.g. info,loopmaster=debug"));
        }
    }
}
