//! Conditions on reading, and the stretch of an object that is read.

use super::super::record::{Record, timestamp};
use s3s::dto::{ETagCondition, Range, Timestamp};
use s3s::{S3Result, s3_error};
use std::ops::Range as Span;

/// The conditions of RFC 9110 on reading.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) matches: Option<ETagCondition>,
    pub(super) none_match: Option<ETagCondition>,
    pub(super) modified_since: Option<Timestamp>,
    pub(super) unmodified_since: Option<Timestamp>,
}

impl Conditions {
    pub(super) fn check(&self, record: &Record) -> S3Result<()> {
        let is = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == record.etag,
        };
        // HTTP dates have whole seconds.
        let modified = timestamp(record.modified / 1000 * 1000);
        let failed = || s3_error!(PreconditionFailed, "The object has the ETag {}", record.etag);
        match (&self.matches, &self.unmodified_since) {
            (Some(condition), _) if !is(condition) => return Err(failed()),
            (None, Some(since)) if modified > *since => return Err(failed()),
            _ => {}
        }
        let unchanged = match (&self.none_match, &self.modified_since) {
            (Some(condition), _) => is(condition),
            (None, Some(since)) => modified <= *since,
            (None, None) => false,
        };
        if unchanged {
            let mut error = s3_error!(NotModified);
            let mut headers = hyper::HeaderMap::new();
            if let Ok(etag) = format!("\"{}\"", record.etag).parse() {
                headers.insert(hyper::header::ETAG, etag);
            }
            error.set_headers(headers);
            return Err(error);
        }
        Ok(())
    }
}

/// The stretch asked for: by range, by part, or all of it; with the number of parts where one was asked for.
pub(super) fn span(
    record: &Record,
    range: Option<Range>,
    part: Option<i32>,
) -> S3Result<(Span<u64>, Option<String>, Option<i32>)> {
    let (span, parts) = match (range, part) {
        (Some(_), Some(_)) => return Err(s3_error!(InvalidRequest, "Ask for a range or for a part, not for both")),
        (None, None) => return Ok((0..record.bytes, None, None)),
        (Some(range), None) => {
            let span = range.check(record.bytes).map_err(|_| {
                s3_error!(InvalidRange, "The object has {} bytes: the range lies outside", record.bytes)
            })?;
            (span, None)
        }
        (None, Some(number)) => {
            let count = record.pieces.len().max(1) as i32;
            if !(1..=count).contains(&number) {
                return Err(s3_error!(InvalidRange, "The object has {count} parts"));
            }
            let before = record.pieces.iter().take(number as usize - 1).map(|piece| piece.bytes).sum();
            let length = record.pieces.get(number as usize - 1).map_or(0, |piece| piece.bytes);
            (before..before + length, record.upload.is_some().then_some(count))
        }
    };
    let shown = format!("bytes {}-{}/{}", span.start, span.end.saturating_sub(1), record.bytes);
    Ok((span, Some(shown), parts))
}
