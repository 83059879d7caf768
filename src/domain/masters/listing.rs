//! Masters in lists: page by page, as they stand, and what has changed since.

use super::{Master, State};
use crate::db::Db;
use crate::domain::error::Result;
use crate::service::Service;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use utoipa::ToSchema;

/// Masters in a snapshot, besides those that wait or run.
const SHOWN: i64 = 200;
/// After more changes than this a snapshot is shorter.
const MOST_CHANGES: i64 = 500;

// A doc comment would become part of the API's description, where the parameter says what it is.
#[expect(missing_docs, reason = "see above; its variants are documented")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// The latest first.
    #[default]
    Newest,
    /// The latest last.
    Oldest,
    /// By title.
    Title,
    /// The longest first.
    Longest,
}

/// What is asked for.
#[derive(Debug)]
pub struct Listed<'a> {
    /// In this order.
    pub sort: Sort,
    /// Only in this state.
    pub state: Option<State>,
    /// Only of this batch.
    pub batch: Option<&'a str>,
    /// Only of this mix.
    pub upload: Option<&'a str>,
    /// Only with these words in the title or the file name.
    pub words: Option<&'a str>,
    /// After the row with this key and id.
    pub after: Option<(String, String)>,
    /// At most so many.
    pub limit: i64,
}

/// The masters of an owner, each with the key by which it is sorted.
pub async fn list(db: &Db, owner: &str, asked: Listed<'_>) -> Result<Vec<(String, Master)>> {
    // A key is text, so that one statement's shape serves every order; numbers are written with equal lengths.
    let (key, descends) = match asked.sort {
        Sort::Newest => ("m.created_at", true),
        Sort::Oldest => ("m.created_at", false),
        Sort::Title => ("LOWER(m.title)", false),
        Sort::Longest => ("CAST(COALESCE(m.seconds, 0) * 1000 AS BIGINT)", true),
    };
    let (order, beyond) = if descends { ("DESC", "<") } else { ("ASC", ">") };
    let columns = super::COLUMNS;
    let text = db.sql(&format!(
        "SELECT {columns}, {key} AS sort_key FROM masters m JOIN uploads u ON u.id = m.upload_id
         WHERE m.owner = $1 AND m.deleted_at IS NULL AND ($2 = '' OR m.state = $2) AND ($3 = '' OR m.batch_id = $3)
         AND ($4 = '' OR LOWER(m.title) LIKE $4 ESCAPE '!' OR LOWER(u.name) LIKE $4 ESCAPE '!')
         AND ($5 = 0 OR {key} {beyond} $6 OR ({key} = $6 AND m.id {beyond} $7))
         AND ($9 = '' OR m.upload_id = $9)
         ORDER BY {key} {order}, m.id {order} LIMIT $8"
    ));
    let (started, last, id) = asked.after.map_or((0_i64, String::new(), String::new()), |(key, id)| (1, key, id));
    let words = asked.words.map(str::trim).filter(|q| !q.is_empty()).map_or(String::new(), like);
    let state = asked.state.map_or("", State::name);
    let query = sqlx::query(text)
        .bind(owner)
        .bind(state)
        .bind(asked.batch.unwrap_or_default().to_owned())
        .bind(words)
        .bind(started);
    let query = match asked.sort {
        Sort::Title => query.bind(last),
        Sort::Newest | Sort::Oldest | Sort::Longest => query.bind(last.parse::<i64>().unwrap_or_default()),
    };
    let rows =
        query.bind(id).bind(asked.limit).bind(asked.upload.unwrap_or_default().to_owned()).fetch_all(db.read()).await?;
    let mut keyed = Vec::with_capacity(rows.len());
    for row in &rows {
        let key = match asked.sort {
            Sort::Title => row.try_get::<String, _>("sort_key")?,
            Sort::Newest | Sort::Oldest | Sort::Longest => row.try_get::<i64, _>("sort_key")?.to_string(),
        };
        keyed.push((key, super::read(row)?));
    }
    Ok(keyed)
}

/// `50% off` → `%50!% off%`
fn like(words: &str) -> String {
    let mut pattern = String::from("%");
    for c in words.chars().take(100).flat_map(char::to_lowercase) {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// The owner's version.
pub async fn version(db: &Db, owner: &str) -> Result<i64> {
    let text = "SELECT version FROM versions WHERE owner = $1";
    Ok(sqlx::query_scalar(text).bind(owner).fetch_optional(db.read()).await?.unwrap_or(0))
}

/// What has changed since, in the order of the changes; `None`: so much that a snapshot is shorter.
pub async fn changes(db: &Db, owner: &str, since: i64) -> Result<Option<Vec<Master>>> {
    let columns = super::COLUMNS;
    let text = db.sql(&format!(
        "SELECT {columns} FROM masters m JOIN uploads u ON u.id = m.upload_id WHERE m.owner = $1 AND m.version > $2
         ORDER BY m.version, m.id LIMIT $3"
    ));
    let rows = sqlx::query(text).bind(owner).bind(since).bind(MOST_CHANGES + 1).fetch_all(db.read()).await?;
    if rows.len() as i64 > MOST_CHANGES {
        return Ok(None);
    }
    Ok(Some(rows.iter().map(super::read).collect::<Result<_, _>>()?))
}

/// The newest masters and all that wait or run.
pub async fn standing(service: &Service, owner: &str) -> Result<Vec<Master>> {
    let columns = super::COLUMNS;
    let text = service.db.sql(&format!(
        "SELECT {columns} FROM masters m JOIN uploads u ON u.id = m.upload_id WHERE m.owner = $1 AND m.deleted_at IS NULL
         AND (m.state IN ('waiting', 'running')
              OR m.id IN (SELECT n.id FROM masters n WHERE n.owner = $1 AND n.deleted_at IS NULL ORDER BY n.created_at DESC, n.id DESC LIMIT $2))
         ORDER BY m.created_at DESC, m.id DESC"
    ));
    let rows = sqlx::query(text).bind(owner).bind(SHOWN).fetch_all(service.db.read()).await?;
    let mut items = rows.iter().map(super::read).collect::<Result<Vec<_>, _>>()?;
    for master in items.iter_mut().filter(|master| master.state == State::Waiting).take(20) {
        master.queue_position = service.positions.of(&service.db, &master.id).await?;
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_looked_for_as_they_are() {
        assert_eq!(super::like("50%_Off!"), "%50!%!_off!!%");
    }
}
