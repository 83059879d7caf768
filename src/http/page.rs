//! Pages of lists. A cursor is the sort key of the last row, so that rows that come and go in between neither repeat nor hide others.

use super::problem::{Answer, Problem};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// The cursor of the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// `rows` were asked for with one more than `limit`: the surplus tells that there is a next page.
    pub(super) fn cut<K: Serialize>(mut rows: Vec<T>, limit: i64, key: impl Fn(&T) -> K) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| Cursor(key(row)).written());
        Self { items: rows, next }
    }

    pub(super) fn map<U>(self, each: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(each).collect(), next: self.next }
    }
}

/// 1 to 200, else 50.
pub(super) fn limit(asked: Option<u32>) -> Answer<i64> {
    match asked {
        None => Ok(50),
        Some(limit @ 1..=200) => Ok(limit.into()),
        Some(limit) => Err(Problem::unprocessable("request.invalid_query", format!("limit is {limit}; use 1 to 200"))),
    }
}

/// Opaque to clients.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Cursor<K>(pub(super) K);

impl<K: Serialize> Cursor<K> {
    fn written(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&self.0).unwrap_or_default())
    }
}

impl<K: DeserializeOwned> Cursor<K> {
    pub(super) fn read(text: Option<&str>) -> Answer<Option<Self>> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
        let key = URL_SAFE_NO_PAD.decode(text).ok().and_then(|json| serde_json::from_slice(&json).ok());
        key.map(|key| Some(Self(key))).ok_or_else(|| {
            Problem::unprocessable(
                "request.invalid_cursor",
                "this cursor is not one of ours for this list; begin without it",
            )
        })
    }
}
