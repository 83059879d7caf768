//! The service's own jobs: mails, webhooks, exports, the sweeper. Who knows how to do one registers a handler.

use crate::queue::{Failure, FailureClass, Lease};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What a handler is given.
#[derive(Clone, Debug)]
pub struct Chore {
    /// What it is about.
    pub subject: String,
    /// What was written down when it was enqueued.
    pub payload: String,
    /// Which run this is, from 1.
    pub attempt: i64,
    /// The last run: a transient failure is final.
    pub last: bool,
}

impl Chore {
    pub(super) fn of(lease: &Lease) -> Self {
        Self {
            subject: lease.subject.clone(),
            payload: lease.payload.clone(),
            attempt: lease.attempt,
            last: lease.attempt >= lease.max_attempts,
        }
    }
}

/// What comes after a chore is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Done,
    /// The same again, after this.
    Again(Duration),
}

/// Why a chore was not done.
#[derive(Clone, Debug)]
pub struct ChoreError {
    /// The same again would fail the same.
    pub permanent: bool,
    /// `what.went_wrong`
    pub code: &'static str,
    /// For people.
    pub text: String,
    /// When to try again, instead of the usual back-off.
    pub after: Option<Duration>,
}

impl ChoreError {
    /// Worth another try.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over the error they have")]
    pub fn transient(code: &'static str, text: impl ToString) -> Self {
        Self { permanent: false, code, text: text.to_string(), after: None }
    }

    /// Not worth another try.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over the error they have")]
    pub fn permanent(code: &'static str, text: impl ToString) -> Self {
        Self { permanent: true, code, text: text.to_string(), after: None }
    }

    pub(super) fn failure(self) -> Failure {
        let class = if self.permanent { FailureClass::Permanent } else { FailureClass::Transient };
        Failure { class, code: self.code.to_owned(), text: self.text, after: self.after }
    }
}

impl From<crate::db::DbError> for ChoreError {
    fn from(error: crate::db::DbError) -> Self {
        Self::transient(error.code(), error)
    }
}

impl From<sqlx::Error> for ChoreError {
    fn from(error: sqlx::Error) -> Self {
        crate::db::DbError::from(error).into()
    }
}

type Doing = Pin<Box<dyn Future<Output = Result<Next, ChoreError>> + Send>>;

type Handler = Arc<dyn Fn(Chore) -> Doing + Send + Sync>;

/// How long a kind of chore takes: those of one pace do not wait for those of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Seconds.
    Short,
    /// Up to an hour.
    Long,
}

/// Who does which chore.
#[derive(Clone, Default)]
pub struct Chores(BTreeMap<&'static str, (Pace, Handler)>);

impl std::fmt::Debug for Chores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Chores {
    /// `handler` does the chores of this kind from now on. It may be run again after a crash, so it has to bear being run twice.
    pub fn register<F, R>(&mut self, kind: &'static str, handler: F)
    where
        F: Fn(Chore) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Next, ChoreError>> + Send + 'static,
    {
        self.0.insert(kind, (Pace::Short, Arc::new(move |chore| Box::pin(handler(chore)))));
    }

    /// As [`Self::register`], for a kind that takes so long that others must not wait for it.
    pub fn register_long<F, R>(&mut self, kind: &'static str, handler: F)
    where
        F: Fn(Chore) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Next, ChoreError>> + Send + 'static,
    {
        self.0.insert(kind, (Pace::Long, Arc::new(move |chore| Box::pin(handler(chore)))));
    }

    pub(super) fn kinds(&self, pace: Pace) -> Vec<&'static str> {
        self.0.iter().filter(|(_, (its, _))| *its == pace).map(|(kind, _)| *kind).collect()
    }

    pub(super) fn start(&self, kind: &str, chore: Chore) -> Option<Doing> {
        self.0.get(kind).map(|(_, handler)| handler(chore))
    }
}
