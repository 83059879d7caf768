//! An upload ends: `completing` is written before storage is asked, so that whatever breaks after that is gone on with later.

use super::row::{Row, State, closed, find, is_sent, load};
use super::{MOST_PARTS, OPEN_FOR, mark_for_deletion, random_name, room};
use crate::db::bump_version;
use crate::db::objects;
use crate::domain::accounts::grants;
use crate::domain::error::{Error, Result};
use crate::domain::limits;
use crate::domain::masters::enqueue::{Track, enqueue};
use crate::domain::uploads::room::Sender;
use crate::service::Service;
use crate::store::PartTag;
use tracing::Instrument;

/// An upload as far as it has come: what a process that died left in the middle of being completed is brought to its end first, so that
/// no client waits for somebody who is not there. What is being completed here is waited for.
pub async fn current(service: &Service, row: Row) -> Result<Row> {
    if row.state != State::Completing {
        return Ok(row);
    }
    match settle(service, &row.id).await {
        // Parts are missing after all: it is open again, and says so itself.
        Err(error) if error.is_refusal() => find(&service.db, &row.owner, &row.id).await,
        settled => settled,
    }
}

/// The client says that everything is there.
pub async fn complete(service: &Service, row: &Row, parts: Vec<(u64, String)>) -> Result<Row> {
    if matches!(row.state, State::Uploading | State::Completing) {
        is_sent(row)?;
    }
    complete_known(service, row, parts).await
}

/// Everything is there, whoever has brought it.
pub(super) async fn complete_known(service: &Service, row: &Row, parts: Vec<(u64, String)>) -> Result<Row> {
    // Whether it is still so is asked by whatever is written.
    let known = (row.state == State::Uploading).then(|| row.clone());
    run(service, &row.id, known, Some(parts)).await
}

/// Brings an upload as far as what is in storage allows: for the sweeper, and for what came by a POST without a goodbye.
pub async fn settle(service: &Service, id: &str) -> Result<Row> {
    run(service, id, None, None).await
}

/// Runs to its end even if the one who asked has gone.
async fn run(service: &Service, id: &str, known: Option<Row>, parts: Option<Vec<(u64, String)>>) -> Result<Row> {
    let (service, id) = (service.clone(), id.to_owned());
    let task = async move {
        let _turn = service.settling.of(&id).await;
        run_alone(&service, &id, known, parts).await
    };
    tokio::spawn(task.in_current_span()).await.map_err(Error::internal)?
}

async fn run_alone(service: &Service, id: &str, known: Option<Row>, parts: Option<Vec<(u64, String)>>) -> Result<Row> {
    let mut row = match known {
        Some(row) => row,
        None => load(&service.db, id).await?,
    };
    match row.state {
        State::Stored => return Ok(row),
        State::Aborted | State::Gone => return Err(closed(&row)),
        State::Uploading => {
            if let Some(parts) = &parts {
                whole(&row, parts)?;
            }
            if row.s3_upload.is_none() && service.store.head(&row.client_key).await?.is_none() {
                return Err(Error::conflict(
                    "upload.not_complete",
                    format!("“{}” has not arrived yet; send it first", row.name),
                ));
            }
            if !begin_completing(service, &mut row).await? {
                return Box::pin(run_alone(service, id, None, parts)).await;
            }
        }
        State::Completing => {}
    }
    if row.s3_upload.is_some() {
        put_together(service, &row, parts).await?;
    }
    let Some(stored_key) = row.stored_key.clone() else {
        return Err(Error::internal("completing without a key for the copy"));
    };
    // What was signed part by part has its size; what was not is looked at before it is copied.
    if (row.bytes, &row.s3_upload) == (0, &None)
        && let Some(head) = service.store.head(&row.client_key).await?
        && let Err(error) = judge(service, &row, head.bytes)
    {
        refuse(service, &row).await?;
        return Err(error);
    }
    // Parts become an object when we say so, and from then on the addresses of parts take nothing more. A POST can be repeated as long as
    // its signature holds: only its copy stays what it is.
    let there = match row.s3_upload {
        Some(_) => service.store.head(&stored_key).await?,
        None => match service.store.copy(&row.client_key, &stored_key).await {
            Ok(head) => Some(head),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        },
    };
    let Some(head) = there else {
        back_to_uploading(service, &row).await?;
        let name = &row.name;
        let detail = format!("“{name}” has not arrived yet; send all parts, then complete");
        return Err(Error::conflict("upload.not_complete", detail));
    };
    if let Err(error) = judge(service, &row, head.bytes) {
        refuse(service, &row).await?;
        return Err(error);
    }
    match adopt(service, &row, &stored_key, head.bytes, &head.etag).await? {
        Adopted::Stored(row) => Ok(*row),
        Adopted::TooMuch(error) => {
            refuse(service, &row).await?;
            Err(error)
        }
    }
}

/// How taking over what has arrived ended.
enum Adopted {
    /// It is stored.
    Stored(Box<Row>),
    /// More has arrived than its owner, or the capability it came by, had left.
    TooMuch(Error),
}

/// Whether these are all parts, in order, each with what storage answered.
fn whole(row: &Row, parts: &[(u64, String)]) -> Result<()> {
    let count = parts.len() as u64;
    // Without a declared size only the order can be judged here.
    let expected = if row.bytes == 0 { count } else { row.parts() };
    if count == 0 || count != expected || count > MOST_PARTS {
        return Err(Error::invalid(
            "upload.part_missing",
            format!("{count} parts were named, but there are {expected}; name each once"),
        ));
    }
    let mut last = 0;
    for (number, etag) in parts {
        let follows = if row.bytes == 0 { *number > last } else { *number == last + 1 };
        if !follows || *number > MOST_PARTS {
            return Err(Error::invalid(
                "upload.part_order",
                format!("part {number} comes after part {last}; name the parts in ascending order"),
            ));
        }
        if etag.is_empty() || etag.len() > 200 || etag.chars().any(char::is_control) {
            return Err(Error::invalid(
                "upload.part_etag",
                format!("part {number} has no ETag; take it from storage's answer to the PUT"),
            ));
        }
        last = *number;
    }
    Ok(())
}

/// `uploading` → `completing`, with the key it is read from. False: somebody else was faster.
async fn begin_completing(service: &Service, row: &mut Row) -> Result<bool> {
    let stored_key = match row.s3_upload {
        Some(_) => row.client_key.clone(),
        None => format!("stored/{}.{}", row.id, random_name()),
    };
    let now = service.db.now().await?;
    let mut tx = service.db.begin().await?;
    let text = "UPDATE uploads SET state = 'completing', stored_key = $2, updated_at = $3 WHERE id = $1 AND state = 'uploading'";
    let mine = sqlx::query(text).bind(&row.id).bind(&stored_key).bind(now).execute(&mut *tx).await?;
    if mine.rows_affected() == 0 {
        return Ok(false);
    }
    objects::intend_of_upload(&mut tx, &stored_key, &row.id, now).await?;
    tx.commit().await?;
    row.state = State::Completing;
    row.stored_key = Some(stored_key);
    Ok(true)
}

async fn back_to_uploading(service: &Service, row: &Row) -> Result<()> {
    let now = service.db.now().await?;
    let mut tx = service.db.begin().await?;
    sqlx::query("UPDATE uploads SET state = 'uploading', updated_at = $2 WHERE id = $1 AND state = 'completing'")
        .bind(&row.id)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    if let Some(key) = row.stored_key.as_ref().filter(|key| **key != row.client_key) {
        objects::mark_for_deletion(&mut tx, key, now).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Asks storage to make one object of the parts. That it has been done before is as good.
async fn put_together(service: &Service, row: &Row, parts: Option<Vec<(u64, String)>>) -> Result<()> {
    let Some(upload) = &row.s3_upload else { return Ok(()) };
    let parts = match parts {
        Some(parts) => parts,
        // After a crash nobody names the parts: storage knows them.
        None => match service.store.list_parts(&row.client_key, upload).await {
            Ok(parts) => parts.into_iter().map(|part| (u64::from(part.number), part.etag)).collect(),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        },
    };
    if let Err(error) = whole(row, &parts) {
        if service.store.head(&row.client_key).await?.is_some() {
            return Ok(());
        }
        back_to_uploading(service, row).await?;
        return Err(error);
    }
    let tag = |(number, etag): (u64, String)| PartTag {
        number: number as u16,
        etag: etag.trim_matches('"').to_owned(),
        bytes: None,
    };
    let parts: Vec<PartTag> = parts.into_iter().map(tag).collect();
    match service.store.complete(&row.client_key, upload, &parts).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => {
            if service.store.head(&row.client_key).await?.is_some() {
                return Ok(());
            }
            refuse(service, row).await?;
            Err(Error::conflict(
                "upload.aborted",
                "the parts of this upload have expired or were aborted; begin a new one",
            ))
        }
        Err(error) => {
            let error = Error::from(error);
            if error.is_refusal() {
                back_to_uploading(service, row).await?;
            }
            Err(error)
        }
    }
}

/// Whether what has arrived is what was announced.
fn judge(service: &Service, row: &Row, bytes: u64) -> Result<()> {
    let limit = service.config.limits.file_bytes;
    if bytes > limit {
        return Err(Error::invalid(
            "decode.too_large",
            format!("“{}” has {bytes} bytes and the limit is {limit}", row.name),
        ));
    }
    if row.bytes != 0 && bytes != row.bytes {
        return Err(Error::invalid(
            "upload.size_differs",
            format!("“{}” was announced with {} bytes, and {bytes} arrived; begin a new upload", row.name, row.bytes),
        ));
    }
    Ok(())
}

/// What arrived cannot be taken.
async fn refuse(service: &Service, row: &Row) -> Result<()> {
    let now = service.db.now().await?;
    let mut tx = service.db.begin().await?;
    sqlx::query("UPDATE uploads SET state = 'aborted', updated_at = $2 WHERE id = $1 AND state = 'completing'")
        .bind(&row.id)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    mark_for_deletion(&mut tx, row, now).await?;
    tx.commit().await?;
    Ok(())
}

/// `completing` → `stored`, and the master with its job. Gives the row as it is then.
async fn adopt(service: &Service, row: &Row, stored_key: &str, bytes: u64, etag: &str) -> Result<Adopted> {
    let now = service.db.now().await?;
    let mut tx = service.db.begin().await?;
    // What becomes a user's master stays until it is deleted.
    let kept = row.settings.is_some() && !row.owner.starts_with("gst_");
    let unannounced = row.bytes == 0;
    if unannounced {
        limits::lock_bytes(&mut tx, &row.owner_key).await?;
    }
    let text = "UPDATE uploads SET state = 'stored', bytes = $2, etag = $3, stored_at = $4, updated_at = $4,
        expires_at = CASE WHEN $5 = 1 THEN NULL ELSE expires_at END WHERE id = $1 AND state = 'completing'";
    let query = sqlx::query(text).bind(&row.id).bind(bytes as i64).bind(etag).bind(now).bind(i64::from(kept));
    let mine = query.execute(&mut *tx).await?;
    if mine.rows_affected() == 0 {
        // Another process has finished it; its answer is the first.
        tx.rollback().await?;
        return Ok(Adopted::Stored(Box::new(load(&service.db, &row.id).await?)));
    }
    if unannounced {
        // Storage that cannot hold to a limit may have taken more than was reserved.
        if bytes > row.reserved {
            let sender = Sender { owner: &row.owner, owner_key: &row.owner_key, grant: None };
            let room = room::room(&mut tx, &service.config.limits, sender, now).await?;
            if room.is_exceeded() {
                return Ok(Adopted::TooMuch(room.refusal()));
            }
        }
        if let Some(grant) = &row.grant_id {
            match grants::spend(&mut tx, grant, 0, bytes).await {
                Err(error) if error.code() == grants::EXHAUSTED => return Ok(Adopted::TooMuch(error)),
                spent => spent?,
            }
        }
    }
    objects::keep_of_upload(&mut tx, &row.id, stored_key, row.created_at + OPEN_FOR).await?;
    let mut master = None;
    if let Some(settings) = &row.settings {
        let version = bump_version(&mut tx, &row.owner).await?;
        let track = Track {
            owner: &row.owner,
            owner_key: &row.owner_key,
            upload: &row.id,
            media_type: &row.media_type,
            name: &row.name,
            bytes,
            title: row.shown_title(),
            settings,
            reference: row.reference_upload.as_deref(),
            batch: row.batch_id.as_deref(),
            position: row.batch_position,
        };
        master = enqueue(&service.config, &mut tx, &[track], version, now).await?.pop();
    }
    tx.commit().await?;
    crate::measure::upload_stored(bytes);
    let expires_at = row.expires_at.filter(|_| !kept);
    Ok(Adopted::Stored(Box::new(Row { state: State::Stored, bytes, expires_at, master, ..row.clone() })))
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;

    #[test]
    fn parts_have_to_be_named_whole_and_in_order() {
        let row = row(20 << 20, 8 << 20);
        let named = |numbers: &[u64]| {
            let parts: Vec<(u64, String)> = numbers.iter().map(|number| (*number, "\"e\"".to_owned())).collect();
            whole(&row, &parts).map_err(|error| error.code().to_owned())
        };
        assert_eq!(named(&[1, 2, 3]), Ok(()));
        assert_eq!(named(&[1, 2]).unwrap_err(), "upload.part_missing");
        assert_eq!(named(&[2, 1, 3]).unwrap_err(), "upload.part_order");
        assert_eq!(named(&[1, 1, 2]).unwrap_err(), "upload.part_order");
        assert_eq!(named(&[]).unwrap_err(), "upload.part_missing");
        assert_eq!(
            whole(&row, &[(1, String::new()), (2, String::new()), (3, String::new())]).unwrap_err().code(),
            "upload.part_etag"
        );
    }
}
