//! The states of an upload:
//!
//! ```text
//! uploading → completing → stored → (no row), or gone while its form can still be sent
//!           ↘ aborted
//! ```
//!
//! `completing` is written before storage is asked to complete, together with the key that is read. Whatever breaks after that, the next
//! call looks at what storage has and goes on from there: parts that are gone but an object that is there mean that storage had
//! completed. What came by a POST is copied to a key for which no client holds a signature, so that what is mastered is what was
//! checked; parts need no copy. With the row's `stored` the master and its job are written in one transaction.

mod complete;
mod create;
pub mod fetched;
pub mod mixes;
pub mod removal;
pub mod room;
mod row;
mod unsized_parts;

pub use complete::{complete, current, settle};
pub use create::{Way, Wish, create};
pub use row::{Row, State, Upload, find, list, owns, title_of};

use crate::db::Tx;
use crate::db::objects;
use crate::domain::audit;
use crate::domain::error::{Error, Result};
use crate::domain::identity::Visitor;
use crate::domain::retention::traces::Removed;
use crate::queue;
use crate::service::Service;
use crate::store::PartTag;
use mixes::{HIDDEN, UNUSED};
use row::{closed, is_sent};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a signed address works. A part that is on its way when it ends still arrives.
pub const SIGNED_FOR: Duration = Duration::from_hours(1);
/// S3 allows no more parts …
const MOST_PARTS: u64 = 10_000;
/// … and no larger ones.
const LARGEST_PART: u64 = 5 << 30;
/// How long something may arrive at an address after it was signed: while it works, and what is on its way when it ends.
pub const OPEN_FOR: i64 = 2 * SIGNED_FOR.as_millis() as i64;

/// The kind of the jobs that fetch a file from its address.
pub const FETCH: &str = "fetch";

fn random_name() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// An address for one part of exactly its size; without a declared size, of what [`unsized_parts`] allows.
pub async fn sign(service: &Service, row: &Row, numbers: &[u64]) -> Result<BTreeMap<u64, String>> {
    let (State::Uploading, Some(upload)) = (row.state, &row.s3_upload) else { return Err(closed(row)) };
    is_sent(row)?;
    let last = if row.bytes == 0 { MOST_PARTS } else { row.parts() };
    if let Some(number) = numbers.iter().find(|number| !(1..=last).contains(*number)) {
        let detail = format!("there is no part {number}; the parts are 1 to {last}");
        return Err(Error::invalid("upload.no_such_part", detail));
    }
    let mut urls = BTreeMap::new();
    if row.bytes == 0 {
        for (number, most) in unsized_parts::allow(service, row, numbers).await? {
            let url = service.store.presign_part_at_most(&row.client_key, upload, number, most, SIGNED_FOR).await?;
            urls.insert(number.into(), url.into());
        }
        return Ok(urls);
    }
    for number in numbers {
        let bytes = row.bytes_of(*number).unwrap_or_default();
        let url = service.store.presign_part(&row.client_key, upload, *number as u16, bytes, SIGNED_FOR).await?;
        urls.insert(*number, url.into());
    }
    Ok(urls)
}

/// The parts storage has.
pub async fn arrived(service: &Service, row: &Row) -> Result<Vec<PartTag>> {
    let (State::Uploading, Some(upload)) = (row.state, &row.s3_upload) else { return Err(closed(row)) };
    match service.store.list_parts(&row.client_key, upload).await {
        Ok(parts) => Ok(parts),
        Err(error) if error.is_not_found() => {
            Err(Error::conflict("upload.aborted", "the parts of this upload have expired; begin a new one"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Gives an upload up, or deletes a stored one that no master needs.
pub async fn abort(service: &Service, visitor: &Visitor, row: &Row) -> Result<()> {
    if matches!(row.state, State::Aborted | State::Gone) {
        return Ok(());
    }
    let _turn = service.settling.of(&row.id).await;
    let now = service.db.now().await?;
    let mut tx = service.db.begin().await?;
    // Whoever makes a master from it holds this row, too.
    let state = sqlx::query_scalar::<_, String>(tx.sql("SELECT state FROM uploads WHERE id = $1 {lock}"))
        .bind(&row.id)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(state) = state.as_deref().map(State::of) else { return Ok(()) };
    let count = |condition: &str| format!("SELECT COUNT(*) FROM uploads u WHERE u.id = $1 AND {condition}");
    sqlx::query("UPDATE uploads SET kept_at = NULL WHERE id = $1").bind(&row.id).execute(&mut *tx).await?;
    let going: i64 = sqlx::query_scalar(tx.sql(&count(HIDDEN))).bind(&row.id).fetch_one(&mut *tx).await?;
    let unused = count(UNUSED).replace("FROM uploads u WHERE u.id", "FROM uploads WHERE id");
    let unused: i64 = sqlx::query_scalar(tx.sql(&unused)).bind(&row.id).fetch_one(&mut *tx).await?;
    if going == 1 {
        // Its masters are deleted and can still be restored: it goes with them, or comes back with them.
    } else if unused == 0 {
        return Err(Error::conflict(
            "upload.in_use",
            "a master was made from this upload, or with it as a reference; delete the master, and the upload goes with it",
        ));
    } else if state == State::Stored {
        let mut removed = Removed::default();
        removal::purge(&mut tx, &row.id, now).await?;
        removed.add(&row.owner, &row.id);
        removed.forget(&mut tx, now).await?;
        // The client's own key, for which an address may still be held, is looked for once more by the sweeper.
        queue::hasten(&mut tx, "sweep", "sweep", now).await?;
    } else {
        // The row stays for a day, so that a client which is still sending is told.
        let text =
            "UPDATE uploads SET state = 'aborted', updated_at = $2, title = NULL, settings = NULL, fingerprint = '',
            reference_upload = NULL, source = CASE WHEN source IS NULL THEN NULL ELSE '' END
            WHERE id = $1 AND state <> 'gone'";
        sqlx::query(text).bind(&row.id).bind(now).execute(&mut *tx).await?;
        queue::cancel(&mut tx, FETCH, &row.id).await?;
        mark_for_deletion(&mut tx, row, now).await?;
    }
    audit::record(&mut tx, visitor, "upload.delete", &row.id, "", now).await?;
    tx.commit().await?;
    drop_parts(service, row).await;
    Ok(())
}

/// The parts of an upload that was given up go. What storage does not hear now the sweeper tells it later.
async fn drop_parts(service: &Service, row: &Row) {
    if let Some(upload) = &row.s3_upload
        && let Err(error) = service.store.abort(&row.client_key, upload).await
        && !error.is_not_found()
    {
        tracing::warn!(%error, upload = %row.id, "the parts are left to the sweeper");
    }
}

/// A mix that a user has mastered stays until it is deleted. Whether it is kept without a master is asked at the next deletion.
pub async fn mastered(tx: &mut Tx, uploads: &[Row], by_user: bool) -> Result<()> {
    for row in uploads.iter().filter(|row| row.kept || (by_user && row.expires_at.is_some())) {
        let text = "UPDATE uploads SET kept_at = NULL, expires_at = CASE WHEN $2 = 1 THEN NULL ELSE expires_at END WHERE id = $1";
        sqlx::query(text).bind(&row.id).bind(i64::from(by_user)).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Gives all uploads of a guest to an account.
pub async fn move_to(tx: &mut Tx, guest: &str, user: &str, now: i64) -> Result<()> {
    // An upload without a master keeps its end: nobody has decided to keep it.
    sqlx::query(
        "UPDATE uploads SET owner = $1, owner_key = $1, updated_at = $2, expires_at = CASE WHEN EXISTS
           (SELECT 1 FROM masters WHERE masters.upload_id = uploads.id OR masters.reference_upload = uploads.id)
           THEN NULL ELSE expires_at END
         WHERE owner = $3",
    )
    .bind(user)
    .bind(now)
    .bind(guest)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whose an upload is.
pub async fn owner_of(tx: &mut Tx, id: &str) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT owner FROM uploads WHERE id = $1").bind(id).fetch_optional(&mut **tx).await?)
}

/// How many uploads an owner has.
pub async fn count_of(tx: &mut Tx, owner: &str) -> Result<i64> {
    let text = "SELECT COUNT(*) FROM uploads WHERE owner = $1 AND state <> 'gone'";
    Ok(sqlx::query_scalar(text).bind(owner).fetch_one(&mut **tx).await?)
}

/// More has arrived than may: the upload ends, and its parts go.
pub(super) async fn give_up(service: &Service, row: &Row) -> Result<()> {
    let now = service.db.now().await?;
    let mut tx = service.db.begin().await?;
    let text = "UPDATE uploads SET state = 'aborted', updated_at = $2 WHERE id = $1 AND state = 'uploading'";
    sqlx::query(text).bind(&row.id).bind(now).execute(&mut *tx).await?;
    mark_for_deletion(&mut tx, row, now).await?;
    tx.commit().await?;
    drop_parts(service, row).await;
    Ok(())
}

/// All objects of an upload are to be swept: that of a form when nothing more arrives there and nothing counts for it any more, others
/// now.
async fn mark_for_deletion(tx: &mut Tx, row: &Row, now: i64) -> Result<()> {
    let form = if row.s3_upload.is_none() { &row.client_key } else { "" };
    Ok(objects::doom_of_upload(tx, &row.id, form, row.created_at + OPEN_FOR, now).await?)
}

#[cfg(test)]
mod tests {
    use super::create::part_size;
    use super::*;
    use proptest::prelude::*;

    pub(super) fn row(bytes: u64, part_bytes: u64) -> Row {
        Row {
            id: String::new(),
            owner: String::new(),
            owner_key: String::new(),
            grant_id: None,
            name: "song.wav".to_owned(),
            media_type: String::new(),
            bytes,
            fingerprint: String::new(),
            state: State::Uploading,
            client_key: String::new(),
            stored_key: None,
            s3_upload: None,
            part_bytes,
            title: None,
            settings: None,
            batch_id: None,
            batch_position: None,
            reference_upload: None,
            created_at: 0,
            expires_at: None,
            master: None,
            kept: false,
            reserved: 0,
            source: None,
            failure: None,
        }
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_file(bytes in 1..=5_u64 << 40, wished in 5_u64 << 20..=64 << 20) {
            let row = row(bytes, part_size(bytes, wished));
            prop_assert!(row.parts() <= MOST_PARTS && row.part_bytes >= 5 << 20 && row.part_bytes <= LARGEST_PART);
            let last = row.bytes_of(row.parts()).unwrap();
            prop_assert!(last >= 1 && last <= row.part_bytes);
            prop_assert_eq!((row.parts() - 1) * row.part_bytes + last, bytes);
            prop_assert_eq!((row.bytes_of(0), row.bytes_of(row.parts() + 1)), (None, None));
        }
    }
}
