//! What goes, and when. The sweeper is a queue job of kind `sweep`; `loopmaster admin` runs the same by hand.
//!
//! Rows are marked, then their objects go, then the rows of the objects: whatever breaks off in between is done at the next sweep,
//! and at no moment is there an object nobody knows of.

pub mod ageing;
mod clock;
pub mod mixes;
pub mod periods;
pub mod traces;

use crate::config::Config;
use crate::db::{Db, Purged, Tx, bump_version};
use crate::domain::error::{Error, Kind, Part, Result};
use crate::domain::notices::{batch_ended, on_ended};
use crate::domain::objects::{self, Of};
use crate::domain::tickets;
use crate::domain::uploads::room::FORM;
use crate::domain::uploads::{OPEN_FOR, settle};
use crate::mail::{self, Letter};
use crate::queue::{self, Cancelled};
use crate::service::Service;
use crate::store::Store;
use crate::work;
use loopmaster_core::retention::PERIODS;
pub use loopmaster_core::retention::UNDO;
use mixes::UNUSED;

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
        if ended_forms(db, now).await? == 0 {
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
    let mut batches = BTreeMap::new();
    for (master, owner, batch) in found {
        if !purge_master(&mut tx, &master, &mut removed, now).await? {
            continue;
        }
        gone += 1;
        if let Some(batch) = batch {
            sqlx::query("UPDATE batches SET announced = announced - 1 WHERE id = $1 AND announced > 0")
                .bind(&batch)
                .execute(&mut *tx)
                .await?;
            batches.insert(batch, owner);
        }
    }
    for (batch, owner) in batches {
        // One of them may have been the last that its batch waited for.
        batch_ended(&mut tx, config, &owner, &batch, now).await?;
        purge_batch(&mut tx, &owner, &batch, &mut removed).await?;
    }
    removed.forget(&mut tx, now).await?;
    tx.commit().await?;
    Ok((gone, removed.count("upl_")))
}

/// Removes a batch, with its name, when nothing of it is left and nothing more was promised. One that still waits for tracks goes after
/// its period.
async fn purge_batch(tx: &mut Tx, owner: &str, batch: &str, removed: &mut Removed) -> Result<()> {
    let text = "DELETE FROM batches WHERE id = $1 AND announced <= 0 AND NOT EXISTS (SELECT 1 FROM masters WHERE batch_id = $1)
        AND NOT EXISTS (SELECT 1 FROM uploads WHERE batch_id = $1)";
    if sqlx::query(text).bind(batch).execute(&mut **tx).await?.rows_affected() > 0 {
        removed.add(owner, batch);
    }
    Ok(())
}

/// Removes a master, its mix and its reference where nothing else needs them ([`mixes`]), and dooms their objects; false while a worker
/// has it. The caller ends with [`Removed::forget`].
pub async fn purge_master(tx: &mut Tx, master: &str, removed: &mut Removed, now: i64) -> Result<bool> {
    if queue::cancel(tx, "master", master).await? == Cancelled::Asked {
        return Ok(false);
    }
    objects::doom_all(tx, Of::Master(master), now).await?;
    for text in [
        "DELETE FROM results WHERE master_id = $1",
        "DELETE FROM artifacts WHERE master_id = $1",
        "DELETE FROM shares WHERE master_id = $1",
    ] {
        sqlx::query(text).bind(master).execute(&mut **tx).await?;
    }
    let row: Option<(String, String, Option<String>)> =
        sqlx::query_as("DELETE FROM masters WHERE id = $1 RETURNING owner, upload_id, reference_upload")
            .bind(master)
            .fetch_optional(&mut **tx)
            .await?;
    if let Some((owner, mix, reference)) = row {
        removed.add(&owner, master);
        for upload in std::iter::once(mix).chain(reference) {
            if mixes::release(tx, &upload, now).await? {
                removed.add(&owner, &upload);
            }
        }
        bump_version(tx, &owner).await?;
    }
    Ok(true)
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
        abort_parts(db, store, upload).await?;
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
            purge_upload(&mut tx, upload, now).await?;
            removed.add(&owner, upload);
            gone += 1;
        }
    }
    removed.forget(&mut tx, now).await?;
    tx.commit().await?;
    Ok(gone)
}

/// Ends the multipart upload of an upload that is not finished, so that its parts take no room.
async fn abort_parts(db: &Db, store: &Store, upload: &str) -> Result<()> {
    let parts: Option<(String, String)> = sqlx::query_as(
        "SELECT client_key, s3_upload FROM uploads WHERE id = $1 AND s3_upload IS NOT NULL AND state <> 'stored'",
    )
    .bind(upload)
    .fetch_optional(db.read())
    .await?;
    if let Some((key, id)) = parts {
        match store.abort(&key, &id).await {
            // Given up by its client, or swept by the storage itself: what is gone must not hold up the sweep of everything else.
            Err(error) if error.is_not_found() => {}
            done => done?,
        }
    }
    Ok(())
}

/// Removes an upload nothing refers to, and dooms its objects. Of a form that can still be sent a row stays which says how much it may
/// bring, and to whom it counts, until `ended_forms` finds that it cannot be sent any more.
pub async fn purge_upload(tx: &mut Tx, upload: &str, now: i64) -> Result<()> {
    let text = tx.sql(&format!(
        "UPDATE uploads SET state = 'gone', name = '', media_type = '', fingerprint = '', etag = NULL, title = NULL,
        settings = NULL, batch_id = NULL, batch_position = NULL, reference_upload = NULL, kept_at = NULL, stored_at = NULL,
        expires_at = NULL, updated_at = $2 WHERE id = $1 AND {FORM} > 0 AND created_at > $3"
    ));
    let query = sqlx::query(text).bind(upload).bind(now).bind(now - OPEN_FOR);
    if query.execute(&mut **tx).await?.rows_affected() == 0 {
        return erase_upload(tx, upload, now).await;
    }
    doom_upload(tx, upload, now).await
}

/// Removes an upload with its row, and dooms its objects.
async fn erase_upload(tx: &mut Tx, upload: &str, now: i64) -> Result<()> {
    doom_upload(tx, upload, now).await?;
    sqlx::query("DELETE FROM uploads WHERE id = $1").bind(upload).execute(&mut **tx).await?;
    Ok(())
}

async fn doom_upload(tx: &mut Tx, upload: &str, now: i64) -> Result<()> {
    objects::doom_all(tx, Of::Upload(upload), now).await?;
    let row: Option<(String, Option<String>)> =
        sqlx::query_as("SELECT client_key, stored_key FROM uploads WHERE id = $1")
            .bind(upload)
            .fetch_optional(&mut **tx)
            .await?;
    if let Some((client, stored)) = row {
        objects::doom(tx, &client, now).await?;
        if let Some(stored) = stored {
            objects::doom(tx, &stored, now).await?;
        }
    }
    Ok(())
}

/// A step of forms that could still be sent after their uploads were deleted and cannot any more: what has arrived goes in this sweep.
async fn ended_forms(db: &Db, now: i64) -> Result<usize> {
    let mut tx = db.begin().await?;
    let text = "SELECT id FROM uploads WHERE state = 'gone' AND created_at <= $1 ORDER BY id LIMIT $2";
    let found: Vec<String> = sqlx::query_scalar(text).bind(now - OPEN_FOR).bind(STEP).fetch_all(&mut *tx).await?;
    for upload in &found {
        erase_upload(&mut tx, upload, now).await?;
    }
    tx.commit().await?;
    Ok(found.len())
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
    sqlx::query("UPDATE users SET banned_at = COALESCE(banned_at, $1) WHERE id = $2")
        .bind(now)
        .bind(user)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    purge_owned(db, store, user, now).await?;
    let mut tx = db.begin().await?;
    objects::doom_all(&mut tx, Of::User(user), now).await?;
    crate::domain::audit::forget(&mut tx, user).await?;
    let addresses: Vec<String> = sqlx::query_scalar(
        "SELECT email FROM users WHERE id = $1 UNION SELECT email FROM identities WHERE user_id = $1",
    )
    .bind(user)
    .fetch_all(&mut *tx)
    .await?;
    for address in &addresses {
        for text in ["DELETE FROM logins WHERE email = $1", "DELETE FROM tickets WHERE email = $1"] {
            sqlx::query(text).bind(address).execute(&mut *tx).await?;
        }
        // Servers of mail repeat the address when they refuse it; versions before this one wrote that down.
        let text = "UPDATE job_history SET error_text = NULL WHERE kind = 'mail' AND error_text LIKE $1";
        sqlx::query(text).bind(format!("%{address}%")).execute(&mut *tx).await?;
    }
    for text in [
        "DELETE FROM deliveries WHERE webhook_id IN (SELECT id FROM webhooks WHERE user_id = $1)",
        "DELETE FROM webhooks WHERE user_id = $1",
        "DELETE FROM logins WHERE user_id = $1 OR consumed_by IN (SELECT id FROM sessions WHERE user_id = $1)",
        "DELETE FROM sessions WHERE user_id = $1",
        "DELETE FROM tokens WHERE user_id = $1",
        "DELETE FROM grants WHERE user_id = $1",
        "DELETE FROM identities WHERE user_id = $1",
        "DELETE FROM notices WHERE user_id = $1",
        "UPDATE guests SET merged_into = 'deleted' WHERE merged_into = $1",
        // A message is part of the account; somebody who still wants an answer writes again, and is known by that address then.
        "DELETE FROM tickets WHERE user_id = $1",
        "DELETE FROM job_history WHERE owner_key = $1 OR subject = $1",
    ] {
        sqlx::query(text).bind(user).execute(&mut *tx).await?;
    }
    tickets::forget(&mut tx, user).await?;
    queue::cancel(&mut tx, "export", user).await?;
    let email: Option<String> = sqlx::query_scalar("DELETE FROM users WHERE id = $1 RETURNING email")
        .bind(user)
        .fetch_optional(&mut *tx)
        .await?;
    mail::withdraw(&mut tx, config, &addresses).await?;
    if let Some(email) = email {
        crate::domain::audit::note(&mut tx, "sweeper", "account.deleted", user, "", "", now).await?;
        mail::post(&mut tx, config, &email, &Letter::Closed).await?;
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
    sqlx::query("DELETE FROM guests WHERE id = $1").bind(guest).execute(&mut *tx).await?;
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
                abort_parts(db, store, id).await?;
            }
            let mut tx = db.begin().await?;
            let mut gone = 0;
            let mut removed = Removed::default();
            for id in &found {
                if id.starts_with("upl_") {
                    // With its owner nobody is left to whom a form could count.
                    erase_upload(&mut tx, id, now).await?;
                    gone += 1;
                } else {
                    gone += u64::from(purge_master(&mut tx, id, &mut removed, now).await?);
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
    for text in [
        "DELETE FROM batches WHERE owner = $1",
        "DELETE FROM zips WHERE owner = $1",
        "DELETE FROM idempotency WHERE owner = $1",
        "DELETE FROM versions WHERE owner = $1",
    ] {
        sqlx::query(text).bind(owner).execute(&mut *tx).await?;
    }
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
            objects::doom(&mut tx, key, now).await?;
        }
        tx.commit().await?;
    }
    found.missing.sort_unstable();
    Ok(found)
}
