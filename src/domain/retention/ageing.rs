//! Songs of accounts that go by their age, where the operator has set one (`retention.account_days`).
//!
//! None goes without a mail that was sent at least thirty days before. The rule is in three places that do not trust each other:
//! a song gets its `expires_at` only from a notice that has been sent, that time is never earlier than thirty days after the mail
//! left, and the sweeper ([`super::OVER`]) asks for the notice once more. So nothing goes early when the setting is shortened, when
//! mail is away for months, or when a song was old already as the setting came.
//!
//! A time once told stays told: a shorter setting does not bring it forward. A longer one, or none, takes it back.

use super::DAY;
use crate::config::Config;
use crate::db::{Db, Tx, bump_version, new_id};
use crate::domain::error::Result;
use crate::domain::masters::age;
use crate::outside::mail::{self, Letter};

/// How long before a song goes its owner is told.
pub const NOTICE: i64 = 30 * DAY;
/// Mails are not sent for every song by itself: one tells of all that go within this time after [`NOTICE`]. One that has not left
/// after this time is written again.
const GATHERED: i64 = 7 * DAY;
/// Accounts told in one sweep; the next one goes on.
const MOST: i64 = 500;

/// Does what is due: takes times back, writes notices, sets the times of songs whose notice has been sent.
pub async fn step(db: &Db, config: &Config, now: i64) -> Result<()> {
    let kept = i64::from(config.retention.account_days) * DAY;
    take_back(db, kept, now).await?;
    if kept == 0 {
        return Ok(());
    }
    set_times(db, kept).await?;
    let owners: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT owner FROM masters m WHERE owner LIKE 'usr!_%' ESCAPE '!' AND notice_id IS NULL AND deleted_at IS NULL
           AND created_at <= $1 AND state NOT IN ('waiting', 'running')
           AND NOT EXISTS (SELECT 1 FROM notices n WHERE n.user_id = m.owner AND n.posted_at > $2)
         ORDER BY owner LIMIT $3",
    )
    .bind(now + NOTICE + GATHERED - kept)
    .bind(now - GATHERED)
    .bind(MOST)
    .fetch_all(db.read())
    .await?;
    for owner in owners {
        let mut tx = db.begin().await?;
        notify(&mut tx, config, &owner, kept, now).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Songs that are to stay longer than they were told, and notices that never left.
async fn take_back(db: &Db, kept: i64, now: i64) -> Result<()> {
    let mut tx = db.begin().await?;
    let mut changed = if kept == 0 {
        age::take_back_all(&mut tx).await?
    } else {
        age::take_back_longer(&mut tx, kept, now + NOTICE + GATHERED).await?
    };
    changed.extend(age::take_back_unsent(&mut tx, now - GATHERED).await?);
    sqlx::query("DELETE FROM notices WHERE sent_at IS NULL AND posted_at <= $1")
        .bind(now - GATHERED)
        .execute(&mut *tx)
        .await?;
    changed.sort();
    for of_one in changed.chunk_by(|one, next| one.0 == next.0) {
        let Some((owner, _)) = of_one.first() else { continue };
        let version = bump_version(&mut tx, owner).await?;
        for (_, id) in of_one {
            age::set_version(&mut tx, id, version).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Songs whose notice has been sent get their time.
async fn set_times(db: &Db, kept: i64) -> Result<()> {
    let sent: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT id, user_id, sent_at FROM notices n WHERE sent_at IS NOT NULL
           AND EXISTS (SELECT 1 FROM masters m WHERE m.notice_id = n.id AND m.expires_at IS NULL) ORDER BY id LIMIT $1",
    )
    .bind(MOST)
    .fetch_all(db.read())
    .await?;
    for (notice, owner, sent) in sent {
        let mut tx = db.begin().await?;
        let version = bump_version(&mut tx, &owner).await?;
        age::set_time(&mut tx, &owner, &notice, kept, sent + NOTICE, version).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Writes to one account about its songs that come of age.
async fn notify(tx: &mut Tx, config: &Config, owner: &str, kept: i64, now: i64) -> Result<()> {
    let text = "SELECT email FROM users WHERE id = $1 AND delete_after IS NULL";
    let email: Option<String> = sqlx::query_scalar(text).bind(owner).fetch_optional(&mut **tx).await?;
    // An account that goes anyway was told so.
    let Some(email) = email else { return Ok(()) };
    let notice = new_id("ntc");
    let created = age::assign_notice(tx, owner, &notice, now + NOTICE + GATHERED - kept).await?;
    let Some(oldest) = created.iter().min() else { return Ok(()) };
    sqlx::query("INSERT INTO notices (id, user_id, posted_at) VALUES ($1, $2, $3)")
        .bind(&notice)
        .bind(owner)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    let letter = Letter::SongsAge {
        notice,
        songs: created.len() as u64,
        days: config.retention.account_days,
        // The day after: the mail may leave later than it is written, and nothing goes before the day it names.
        first: mail::day((oldest + kept).max(now + NOTICE + DAY)),
        link: config.public_url.with("/library"),
    };
    mail::post(tx, config, &email, &letter).await?;
    Ok(())
}

/// A notice has left.
pub async fn sent(db: &Db, notice: &str) -> Result<()> {
    let mut tx = db.begin().await?;
    let text = tx.sql("UPDATE notices SET sent_at = {now} WHERE id = $1 AND sent_at IS NULL");
    sqlx::query(text).bind(notice).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Removes the notices of an account that goes.
pub async fn forget(tx: &mut Tx, user: &str) -> Result<()> {
    sqlx::query("DELETE FROM notices WHERE user_id = $1").bind(user).execute(&mut **tx).await?;
    Ok(())
}
