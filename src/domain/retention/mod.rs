//! What goes, and when. The sweeper is a queue job of kind `sweep`; `loopmaster admin` runs the same by hand.
//!
//! Rows are marked, then their objects go, then the rows of the objects: whatever breaks off in between is done at the next sweep,
//! and at no moment is there an object nobody knows of.

pub mod ageing;
mod clock;
pub mod periods;
pub mod traces;

use crate::config::Config;
use crate::db::objects::{self, Of};
use crate::db::{Db, Purged, forget_version};
use crate::domain::accounts::{email, grants, identities, sessions, tokens, users};
use crate::domain::error::{Error, Kind, Part, Result};
use crate::domain::masters::change;
use crate::domain::notices::{batch_ended, on_ended};
use crate::domain::tickets;
use crate::domain::uploads::mixes::UNUSED;
use crate::domain::uploads::{removal, settle};
use crate::domain::{audit, batches, guests, idempotency, letters, presets, webhooks, zips};
use crate::outside::mail::{self, Letter};
use crate::queue;
use crate::service::Service;
use crate::store::Store;
use crate::work;
use loopmaster_core::retention::PERIODS;
pub use loopmaster_core::retention::UNDO;

use serde::Serialize;
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;
use traces::Removed;

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;
/// Whoever is just sending is not disturbed.
const ARRIVING: i64 = 2 * 60 * 1000;
/// Rows of one transaction: others want to write, too.
const STEP: i64 = 200;
/// Steps of one sweep; the next one goes on.
const STEPS: usize = 500;

/// What a sweep has removed, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Uploads that were found complete in storage, and are not lost.
    pub adopted: u64,
    /// Folders of workers that were killed, with the mixes they were at.
    pub scratch: u64,
    /// Times that lay further in the future than they could, because the clock was set back.
    pub set_right: u64,
    /// Accounts.
    pub accounts: u64,
    /// Masters.
    pub masters: u64,
    /// Uploads.
    pub uploads: u64,
    /// Objects in storage.
    pub objects: u64,
    /// Rows of each table of [`PERIODS`].
    pub rows: Vec<(&'static str, u64)>,
    /// Letters in the mail folder of a service without a mail server.
    pub letters: u64,
}

/// Removes everything whose time has come.
pub async fn sweep(service: &Service) -> Result<Report> {
    let (db, store, config) = (&service.db, &service.store, &service.config);
    let scratch = work::bury(db, Some(&on_ended(service)), &config.work_folder()).await;
    let now = db.now().await?;
    let set_right = clock::set_right(db, &config.retention, now).await?;
    let mut report = Report { adopted: adopt(service).await?, scratch, set_right, ..Report::default() };
    ageing::step(db, config, now).await?;
    for user in ids(db, "SELECT id FROM users WHERE delete_after <= $1 ORDER BY delete_after LIMIT 200", now).await? {
        match purge_user(db, store, config, &user, now).await {
            Ok(()) => report.accounts += 1,
            // A worker is at one of its masters: at the next sweep.
            Err(error) if error.kind() == Kind::Away(Part::Worker) => {
                tracing::info!(%error, "an account waits for a worker");
            }
            Err(error) => return Err(error),
        }
    }
    for _ in 0..STEPS {
        let (gone, with_them) = masters(db, config, now).await?;
        report.masters += gone;
        report.uploads += with_them;
        if gone == 0 {
            break;
        }
    }
    for (condition, kept) in UPLOADS {
        for _ in 0..STEPS {
            let gone = uploads(db, store, condition, now - kept(config), now).await?;
            report.uploads += gone;
            if gone == 0 {
                break;
            }
        }
    }
    for _ in 0..STEPS {
        if removal::end_forms(db, now, STEP).await? == 0 {
            break;
        }
    }
    objects::doom_orphans(db, now).await?;
    for _ in 0..STEPS {
        let gone = sweep_objects(db, store, now).await?;
        report.objects += gone;
        if gone == 0 {
            break;
        }
    }
    for (table, condition, kept) in PERIODS.iter().filter_map(|period| period.sweep(&config.retention)) {
        let mut tx = db.begin().await?;
        let text = format!("DELETE FROM {table} WHERE {condition}");
        let gone = sqlx::query(AssertSqlSafe(text)).bind(now - kept).execute(&mut *tx).await?;
        tx.commit().await?;
        report.rows.push((table, gone.rows_affected()));
    }
    report.letters = mail::sweep_folder(config, None).await;
    // What cannot be cleaned now, because the disk is full or somebody reads, is cleaned at the next sweep.
    let content = report.accounts + report.masters + report.uploads > 0;
    if let Err(error) = db.scrub(if content { Purged::Content } else { Purged::Rows }).await {
        tracing::warn!(%error, "remains of what was deleted are still in the database's file");
    }
    Ok(report)
}

/// How long until the next deletion is final; `None`: nothing is deleted that could be restored.
pub async fn next_deletion(db: &Db) -> Result<Option<i64>> {
    let first: Option<i64> = sqlx::query_scalar("SELECT MIN(deleted_at) FROM masters WHERE deleted_at IS NOT NULL")
        .fetch_one(db.read())
        .await?;
    let now = db.now().await?;
    Ok(first.map(|deleted| deleted + UNDO - now))
}

/// Uploads that have arrived without a goodbye: by a single POST, whose client calls nothing afterwards, or complete in storage when a
/// process died.
async fn adopt(service: &Service) -> Result<u64> {
    let now = service.db.now().await?;
    let text = "SELECT id FROM uploads WHERE (state = 'uploading' AND s3_upload IS NULL AND created_at <= $1)
        OR (state = 'completing' AND updated_at <= $1) ORDER BY updated_at LIMIT 500";
    let mut adopted = 0;
    for upload in ids(&service.db, text, now - ARRIVING).await? {
        match settle(service, &upload).await {
            Ok(_) => adopted += 1,
            // Not there yet, or refused for good: its time runs out by itself.
            Err(error) if error.is_refusal() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(adopted)
}

/// What [`sweep`] would remove now, changing nothing. Uploads that are needed until their masters have gone are not counted.
pub async fn dry_run(db: &Db, config: &Config) -> Result<Report> {
    let now = db.now().await?;
    let mut report = Report {
        accounts: count(db, "SELECT COUNT(*) FROM users WHERE delete_after <= $1", now).await?,
        masters: sqlx::query_scalar::<_, i64>(AssertSqlSafe(format!("SELECT COUNT(*) FROM masters WHERE {OVER}")))
            .bind(now)
            .bind(now - UNDO)
            .bind(now - ageing::NOTICE)
            .fetch_one(db.read())
            .await?
            .unsigned_abs(),
        objects: count(db, "SELECT COUNT(*) FROM objects WHERE sweep_after <= $1", now).await?,
        scratch: work::scratch::dead(&config.work_folder()).map_or(0, |dead| dead.len() as u64),
        ..Report::default()
    };
    let any: Vec<String> = UPLOADS
        .iter()
        .enumerate()
        .map(|(n, (condition, _))| condition.replace("{before}", &format!("${}", n + 1)))
        .collect();
    let text = format!("SELECT COUNT(*) FROM uploads WHERE ({}) AND {UNUSED}", any.join(" OR "));
    let query = UPLOADS
        .iter()
        .fold(sqlx::query_scalar::<_, i64>(AssertSqlSafe(text)), |query, (_, kept)| query.bind(now - kept(config)));
    report.uploads = query.fetch_one(db.read()).await?.unsigned_abs();
    for (table, condition, kept) in PERIODS.iter().filter_map(|period| period.sweep(&config.retention)) {
        let text = format!("SELECT COUNT(*) FROM {table} WHERE {condition}");
        let found: i64 = sqlx::query_scalar(AssertSqlSafe(text)).bind(now - kept).fetch_one(db.read()).await?;
        report.rows.push((table, found.unsigned_abs()));
    }
    Ok(report)
}

async fn ids(db: &Db, text: &'static str, at: i64) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(text).bind(at).fetch_all(db.read()).await?)
}

async fn count(db: &Db, text: &'static str, at: i64) -> Result<u64> {
    let count: i64 = sqlx::query_scalar(text).bind(at).fetch_one(db.read()).await?;
    Ok(count.unsigned_abs())
}

/// Of a row of `masters`: its time is over (`$1`: now), or its deletion is final (`$2`: now less the undo). One of an account has a time
/// only after a notice of it was sent (`$3`: now less the notice), whatever else the row says.
const OVER: &str = "((expires_at <= $1 AND (owner LIKE 'gst!_%' ESCAPE '!' OR EXISTS
      (SELECT 1 FROM notices n WHERE n.id = masters.notice_id AND n.user_id = masters.owner AND n.sent_at <= $3)))
    OR deleted_at <= $2)";

/// A step of masters whose time or undo is over, and how many uploads went with them. One that is being mastered is asked to stop and
/// goes next time.
async fn masters(db: &Db, config: &Config, now: i64) -> Result<(u64, u64)> {
    let text = format!("SELECT id, owner, batch_id FROM masters WHERE {OVER} ORDER BY id LIMIT 200");
    let mut tx = db.begin().await?;
    let found: Vec<(String, String, Option<String>)> = sqlx::query_as(AssertSqlSafe(text))
        .bind(now)
        .bind(now - UNDO)
        .bind(now - ageing::NOTICE)
        .fetch_all(&mut *tx)
        .await?;
    let mut gone = 0;
    let mut removed = Removed::default();
    let mut touched = BTreeMap::new();
    for (master, owner, batch) in found {
        if !change::purge(&mut tx, &master, &mut removed, now).await? {
            continue;
        }
        gone += 1;
        if let Some(batch) = batch {
            batches::expect_one_less(&mut tx, &batch).await?;
            touched.insert(batch, owner);
        }
    }
    for (batch, owner) in touched {
        // One of them may have been the last that its batch waited for.
        batch_ended(&mut tx, config, &owner, &batch, now).await?;
        if batches::delete_if_empty(&mut tx, &batch).await? {
            removed.add(&owner, &batch);
        }
    }
    removed.forget(&mut tx, now).await?;
    tx.commit().await?;
    Ok((gone, removed.count("upl_")))
}

type Kept = fn(&Config) -> i64;

fn days(days: u32) -> i64 {
    i64::from(days) * DAY
}

/// Uploads that go, and after how many milliseconds: expired; never mastered; never finished, sooner by somebody without an account;
/// given up.
const UPLOADS: [(&str, Kept); 5] = [
    ("expires_at <= {before}", |_| 0),
    ("(state = 'stored' AND stored_at <= {before} AND kept_at IS NULL)", |config| days(config.retention.unused_days)),
    ("(state IN ('uploading', 'completing') AND updated_at <= {before})", |config| config.retention.unfinished(false)),
    (
        "(state IN ('uploading', 'completing') AND owner LIKE 'gst!_%' ESCAPE '!' AND updated_at <= {before})",
        |config| config.retention.unfinished(true),
    ),
    ("(state = 'aborted' AND updated_at <= {before})", |_| DAY),
];
async fn uploads(db: &Db, store: &Store, condition: &str, before: i64, now: i64) -> Result<u64> {
    let condition = condition.replace("{before}", "$1");
    let text = format!("SELECT id FROM uploads WHERE {condition} AND {UNUSED} ORDER BY id LIMIT {STEP}");
    let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(text)).bind(before).fetch_all(db.read()).await?;
    for upload in &found {
        removal::abort_parts(db, store, upload).await?;
    }
    let mut tx = db.begin().await?;
    let mut removed = Removed::default();
    let mut gone = 0;
    for upload in &found {
        // A master may have been made from it since.
        let text = tx.sql("SELECT owner FROM uploads WHERE id = $1 {lock}");
        let Some(owner) = sqlx::query_scalar::<_, String>(text).bind(upload).fetch_optional(&mut *tx).await? else {
            continue;
        };
        let text = format!("SELECT COUNT(*) FROM uploads WHERE id = $1 AND {UNUSED}");
        let unused: i64 = sqlx::query_scalar(AssertSqlSafe(text)).bind(upload).fetch_one(&mut *tx).await?;
        if unused == 1 {
            removal::purge(&mut tx, upload, now).await?;
            removed.add(&owner, upload);
            gone += 1;
        }
    }
    removed.forget(&mut tx, now).await?;
    tx.commit().await?;
    Ok(gone)
}

/// A step of objects: taken off the register's living, removed from storage, and looked for again later.
async fn sweep_objects(db: &Db, store: &Store, now: i64) -> Result<u64> {
    let due = objects::due(db, now, STEP).await?;
    for (key, _) in &due {
        store.delete(key).await?;
    }
    objects::swept(db, &due, now).await?;
    Ok(due.len() as u64)
}

/// Removes an account and everything in it, at once. The audit keeps bare ids for its own time.
pub async fn purge_user(db: &Db, store: &Store, config: &Config, user: &str, now: i64) -> Result<()> {
    // From here on nobody signs in and adds to it.
    let mut tx = db.begin().await?;
    users::ban(&mut tx, user, now).await?;
    tx.commit().await?;
    purge_owned(db, store, user, now).await?;
    let mut tx = db.begin().await?;
    objects::doom_all(&mut tx, Of::User(user), now).await?;
    audit::forget(&mut tx, user).await?;
    let addresses: Vec<String> = sqlx::query_scalar(
        "SELECT email FROM users WHERE id = $1 UNION SELECT email FROM identities WHERE user_id = $1",
    )
    .bind(user)
    .fetch_all(&mut *tx)
    .await?;
    for address in &addresses {
        email::forget_address(&mut tx, address).await?;
        // Servers of mail repeat the address when they refuse it; versions before this one wrote that down.
        queue::forget_in_errors(&mut tx, "mail", address).await?;
    }
    webhooks::remove_all(&mut tx, user).await?;
    presets::delete_all(&mut tx, user).await?;
    email::forget(&mut tx, user).await?;
    sessions::delete_all(&mut tx, user).await?;
    tokens::delete_all(&mut tx, user).await?;
    grants::delete_all(&mut tx, user).await?;
    identities::unlink_all(&mut tx, user).await?;
    ageing::forget(&mut tx, user).await?;
    tickets::delete_of(&mut tx, user, &addresses).await?;
    tickets::forget(&mut tx, user).await?;
    queue::forget_owner(&mut tx, user).await?;
    guests::forget_account(&mut tx, user).await?;
    queue::cancel(&mut tx, "export", user).await?;
    let address = users::delete(&mut tx, user).await?;
    letters::withdraw(&mut tx, config, &addresses).await?;
    if let Some(address) = address {
        audit::note(&mut tx, "sweeper", "account.deleted", user, "", "", now).await?;
        mail::post(&mut tx, config, &address, &Letter::Closed).await?;
    }
    tx.commit().await?;
    for address in &addresses {
        mail::sweep_folder(config, Some(address)).await;
    }
    Ok(())
}

/// Removes a guest and everything made in that browser, at once.
pub async fn purge_guest(db: &Db, store: &Store, guest: &str, now: i64) -> Result<()> {
    purge_owned(db, store, guest, now).await?;
    let mut tx = db.begin().await?;
    tickets::forget(&mut tx, guest).await?;
    guests::delete(&mut tx, guest).await?;
    tx.commit().await?;
    Ok(())
}

/// Removes everything an owner has: masters, uploads, batches, ZIPs.
pub async fn purge_owned(db: &Db, store: &Store, owner: &str, now: i64) -> Result<()> {
    for text in [
        "SELECT id FROM masters WHERE owner = $1 ORDER BY id LIMIT 200",
        "SELECT id FROM uploads WHERE owner = $1 ORDER BY id LIMIT 200",
    ] {
        loop {
            let found: Vec<String> = sqlx::query_scalar(text).bind(owner).fetch_all(db.read()).await?;
            if found.is_empty() {
                break;
            }
            for id in found.iter().filter(|id| id.starts_with("upl_")) {
                removal::abort_parts(db, store, id).await?;
            }
            let mut tx = db.begin().await?;
            let mut gone = 0;
            let mut removed = Removed::default();
            for id in &found {
                if id.starts_with("upl_") {
                    // With its owner nobody is left to whom a form could count.
                    removal::erase(&mut tx, id, now).await?;
                    gone += 1;
                } else {
                    gone += u64::from(change::purge(&mut tx, id, &mut removed, now).await?);
                }
            }
            removed.forget(&mut tx, now).await?;
            tx.commit().await?;
            if gone == 0 {
                return Err(Error::away(
                    Part::Worker,
                    format!("a worker is at a master of {owner}; it has been asked to stop"),
                ));
            }
        }
    }
    let mut tx = db.begin().await?;
    batches::delete_all(&mut tx, owner).await?;
    zips::delete_all(&mut tx, owner).await?;
    idempotency::forget(&mut tx, owner).await?;
    forget_version(&mut tx, owner).await?;
    tx.commit().await?;
    Ok(())
}

/// Where register and storage disagree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// In storage, and nobody knows of it.
    pub unknown: Vec<String>,
    /// Stored by the register, and not in storage.
    pub missing: Vec<String>,
}

/// Compares the register with what is in storage. With `apply`, unknown objects are doomed; missing ones are for a person to look at.
pub async fn reconcile(db: &Db, store: &Store, apply: bool) -> Result<Disagreement> {
    let now = db.now().await?;
    // The register is read last: whatever is stored meanwhile was registered before.
    let mut listed = Vec::new();
    for prefix in ["uploads/", "stored/", "jobs/", "pictures/", "exports/"] {
        listed.extend(store.list(prefix).await?.into_iter().map(|found| found.key));
    }
    listed.sort_unstable();
    let registered: Vec<(String, String)> =
        sqlx::query_as("SELECT key, state FROM objects").fetch_all(db.read()).await?;
    let known: std::collections::HashSet<&str> = registered.iter().map(|(key, _)| key.as_str()).collect();
    let mut found = Disagreement::default();
    for (key, _) in registered.iter().filter(|(_, state)| state == "stored") {
        if listed.binary_search(key).is_err() && store.head(key).await?.is_none() {
            found.missing.push(key.clone());
        }
    }
    found.unknown = listed.into_iter().filter(|key| !known.contains(key.as_str())).collect();
    if apply {
        let mut tx = db.begin().await?;
        for key in &found.unknown {
            objects::mark_for_deletion(&mut tx, key, now).await?;
        }
        tx.commit().await?;
    }
    found.missing.sort_unstable();
    Ok(found)
}
