//! SQLite's one writer, with group commit: a commit costs an fsync, so transactions that wait for each other share one.
//!
//! The first opens an outer transaction, and those after it are savepoints in it. Whoever is finished while others wait queues up again
//! behind them; when its turn comes and nobody has committed for it, it commits for all. With nobody waiting it commits at once; among
//! twenty it waits for at most nineteen others, and all of them for one fsync.

use super::{DbError, PATIENCE, Result, run};
use sqlx::any::AnyConnectOptions;
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, ConnectOptions, Connection};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// A transaction that holds the writer for longer than this keeps everybody else waiting.
const LONG: Duration = Duration::from_secs(1);

/// How soon after a purge a file is rebuilt, by its size: writers wait meanwhile, on a plain disk for a second per 100 MB.
const REBUILDS: [(u64, Duration); 3] =
    [(8 << 20, Duration::ZERO), (64 << 20, Duration::from_mins(10)), (2 << 30, Duration::from_hours(24))];
/// `user_version` of a file without remains of what was deleted; with less, it is still to be rebuilt.
const CLEAN: i64 = 1;

/// What was deleted, for [`super::Db::scrub`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purged {
    /// Rows that have had their time.
    Rows,
    /// Songs or accounts: nothing of them may be found in the file any more.
    Content,
}

#[derive(Debug)]
pub(super) struct Writer {
    state: Arc<Mutex<State>>,
    waiting: Arc<AtomicUsize>,
    /// When the file was rebuilt last, by this process.
    rebuilt: std::sync::Mutex<Instant>,
}

/// One more waits for its turn, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How the common commit ended.
type Outcome = Arc<OnceLock<std::result::Result<(), Arc<str>>>>;

#[derive(Debug)]
struct State {
    connection: AnyConnection,
    options: AnyConnectOptions,
    /// Transactions that wait for their turn.
    waiting: Arc<AtomicUsize>,
    /// The outer transaction is open.
    open: bool,
    /// The one that runs now is a savepoint in it, not the outer transaction itself.
    nested: bool,
    /// What those who finished in it wait for.
    outcome: Outcome,
    /// Whether somebody waits for it.
    awaited: bool,
}

/// Settings of a connection. Readers cannot write: two writers in one process would wait for each other.
pub(super) async fn prepare(connection: &mut AnyConnection, reader: bool) -> std::result::Result<(), sqlx::Error> {
    patience(connection).await?;
    run(connection, "PRAGMA journal_mode = WAL").await?;
    run(connection, "PRAGMA synchronous = FULL").await?;
    run(connection, "PRAGMA foreign_keys = ON").await?;
    // What is deleted is overwritten, in the tables and on pages that become free.
    run(connection, "PRAGMA secure_delete = ON").await?;
    if reader {
        run(connection, "PRAGMA query_only = ON").await?;
    } else {
        // Whose commit happens to fill the log pays for writing it back, and everybody waits. Eight times the usual length is eight
        // times as seldom, and most pages in it are the same few.
        run(connection, "PRAGMA wal_autocheckpoint = 8000").await?;
    }
    Ok(())
}

/// How long to wait for another process that writes.
async fn patience(connection: &mut AnyConnection) -> std::result::Result<(), sqlx::Error> {
    let text = format!("PRAGMA busy_timeout = {}", PATIENCE.as_millis());
    sqlx::query(sqlx::AssertSqlSafe(text)).execute(&mut *connection).await.map(drop)
}

async fn open(options: &AnyConnectOptions) -> std::result::Result<AnyConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    prepare(&mut connection, false).await?;
    Ok(connection)
}

impl Writer {
    pub(super) async fn open(options: &AnyConnectOptions) -> Result<Self> {
        let connection = open(options).await?;
        let waiting = Arc::new(AtomicUsize::new(0));
        let state = State {
            connection,
            options: options.clone(),
            waiting: Arc::clone(&waiting),
            open: false,
            nested: false,
            outcome: Outcome::default(),
            awaited: false,
        };
        Ok(Self { state: Arc::new(Mutex::new(state)), waiting, rebuilt: std::sync::Mutex::new(Instant::now()) })
    }

    pub(super) async fn begin(&self) -> Result<Held> {
        let waiting = Waiting::new(&self.waiting);
        let guard = Arc::clone(&self.state).lock_owned().await;
        drop(waiting);
        // From here on a caller that goes away takes its transaction along.
        let mut held = Held { writer: Arc::clone(&self.state), guard: Some(guard), since: Instant::now() };
        held.state()?.begin().await?;
        Ok(held)
    }

    pub(super) async fn migrate(&self, migrator: &Migrator) -> Result<()> {
        let mut state = self.state.lock().await;
        state.settle().await?;
        Ok(migrator.run(&mut state.connection).await?)
    }

    /// Rebuilds a file that holds remains of what was deleted: one of a version that did not overwrite, or one whose rebuild has not come
    /// to it before the process ended.
    pub(super) async fn first_rebuild(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        state.settle().await?;
        if !state.is_clean().await? {
            let bytes = state.bytes().await?;
            if REBUILDS.iter().all(|(size, _)| bytes > *size) {
                tracing::warn!(
                    bytes,
                    "the database holds remains of what was deleted; stop the service and run VACUUM on it"
                );
            } else if let Err(error) = state.rebuild().await {
                // The disk or the folder for temporary files may be full: no reason not to start.
                tracing::warn!(%error, bytes, "the database could not be rebuilt; it is tried again");
            }
        }
        state.empty_log().await
    }

    /// [`super::Db::scrub`]
    pub(super) async fn scrub(&self, purged: Purged) -> Result<()> {
        let mut state = self.state.lock().await;
        state.settle().await?;
        if purged == Purged::Content {
            // Overwriting misses copies of rows that were moved to another page when theirs was full: about one in six thousand.
            run(&mut state.connection, "PRAGMA user_version = 0").await?;
        }
        if !state.is_clean().await? {
            let bytes = state.bytes().await?;
            let since = self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
            if REBUILDS.iter().find(|(size, _)| bytes <= *size).is_some_and(|(_, every)| since >= *every) {
                state.rebuild().await?;
                *self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            }
        }
        state.empty_log().await
    }
}

impl State {
    async fn begin(&mut self) -> Result<()> {
        self.nested = self.open;
        if self.open {
            return Ok(run(&mut self.connection, "SAVEPOINT one").await?);
        }
        if let Err(error) = run(&mut self.connection, "BEGIN IMMEDIATE").await {
            if DbError::from(error).is_unavailable() && self.connection.ping().await.is_ok() {
                // Another process is writing: its patience and ours are used up.
                run(&mut self.connection, "BEGIN IMMEDIATE").await?;
            } else {
                self.connection = open(&self.options).await?;
                run(&mut self.connection, "BEGIN IMMEDIATE").await?;
            }
        }
        self.open = true;
        Ok(())
    }

    async fn bytes(&mut self) -> Result<u64> {
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut self.connection).await?;
        let size: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut self.connection).await?;
        Ok(pages.unsigned_abs().saturating_mul(size.unsigned_abs()))
    }

    async fn is_clean(&mut self) -> Result<bool> {
        let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut self.connection).await?;
        Ok(version >= CLEAN)
    }

    /// Writes the file anew. Whatever breaks off in between leaves the old one.
    async fn rebuild(&mut self) -> Result<()> {
        let begun = Instant::now();
        run(&mut self.connection, "VACUUM").await?;
        run(&mut self.connection, "PRAGMA user_version = 1").await?;
        tracing::info!(seconds = begun.elapsed().as_secs_f64(), "the database was rebuilt");
        Ok(())
    }

    /// Moves everything from the log into the file and cuts the log to nothing. While somebody reads an older state that cannot be; the
    /// next sweep does it then. Writers wait no longer for it than for each other.
    async fn empty_log(&mut self) -> Result<()> {
        run(&mut self.connection, "PRAGMA busy_timeout = 500").await?;
        let emptied = run(&mut self.connection, "PRAGMA wal_checkpoint(TRUNCATE)").await;
        patience(&mut self.connection).await?;
        Ok(emptied?)
    }

    /// Ends the outer transaction for everybody in it.
    async fn settle(&mut self) -> Result<()> {
        if !self.open {
            return Ok(());
        }
        let result = run(&mut self.connection, "COMMIT").await.map_err(|error| Arc::from(error.to_string()));
        if result.is_err() {
            // Where the failure has ended the transaction already, this fails too, and that is well.
            let _ = run(&mut self.connection, "ROLLBACK").await;
        }
        self.ended(result.clone());
        result.map_err(DbError::Commit)
    }

    fn ended(&mut self, result: std::result::Result<(), Arc<str>>) {
        self.open = false;
        self.awaited = false;
        let _ = std::mem::take(&mut self.outcome).set(result);
    }

    /// Takes one transaction back and leaves the others of the group.
    async fn undo(&mut self) -> Result<()> {
        if !self.nested {
            // Nobody else is in it yet.
            let undone = run(&mut self.connection, "ROLLBACK").await;
            self.ended(Ok(()));
            return Ok(undone?);
        }
        let mut undone = run(&mut self.connection, "ROLLBACK TO one").await;
        if undone.is_ok() {
            undone = run(&mut self.connection, "RELEASE one").await;
        }
        if let Err(error) = undone {
            // What the disk did not take may have ended the outer transaction: then nobody in it is done.
            let _ = run(&mut self.connection, "ROLLBACK").await;
            self.ended(Err(Arc::from(error.to_string())));
            return Err(error.into());
        }
        // Those who finished before come back to commit; if there are none, nobody would.
        if self.awaited { Ok(()) } else { self.settle().await }
    }
}

/// One transaction's hold of the writer.
#[derive(Debug)]
pub(super) struct Held {
    writer: Arc<Mutex<State>>,
    guard: Option<OwnedMutexGuard<State>>,
    since: Instant,
}

impl Held {
    fn state(&mut self) -> Result<&mut State> {
        self.guard.as_deref_mut().ok_or_else(|| DbError::Commit(Arc::from("the transaction has ended")))
    }

    #[expect(clippy::expect_used, reason = "the guard leaves only with `self`: in commit, rollback and drop")]
    pub(super) fn connection(&self) -> &AnyConnection {
        &self.guard.as_ref().expect("held").connection
    }

    #[expect(clippy::expect_used, reason = "the guard leaves only with `self`: in commit, rollback and drop")]
    pub(super) fn connection_mut(&mut self) -> &mut AnyConnection {
        &mut self.guard.as_mut().expect("held").connection
    }

    fn watch(&self) {
        let held = self.since.elapsed();
        if held > LONG {
            tracing::warn!(seconds = held.as_secs_f64(), "a transaction kept all other writers waiting");
        }
    }

    /// Runs to its end even if the caller goes away: others wait for the same commit.
    pub(super) async fn commit(mut self) -> Result<()> {
        self.watch();
        let Some(mut guard) = self.guard.take() else { return Ok(()) };
        let writer = Arc::clone(&self.writer);
        let work = tokio::spawn(async move {
            if guard.nested
                && let Err(error) = run(&mut guard.connection, "RELEASE one").await
            {
                guard.undo().await?;
                return Err(error.into());
            }
            if guard.waiting.load(Ordering::Relaxed) == 0 {
                return guard.settle().await;
            }
            let outcome = Arc::clone(&guard.outcome);
            guard.awaited = true;
            drop(guard);
            let mut state = writer.lock().await;
            match outcome.get() {
                Some(result) => result.clone().map_err(DbError::Commit),
                None => state.settle().await,
            }
        });
        work.await.map_err(|error| DbError::Commit(Arc::from(error.to_string())))?
    }

    pub(super) async fn rollback(mut self) -> Result<()> {
        self.watch();
        let Some(mut guard) = self.guard.take() else { return Ok(()) };
        let work = tokio::spawn(async move { guard.undo().await });
        work.await.map_err(|error| DbError::Commit(Arc::from(error.to_string())))?
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut guard) = self.guard.take() else { return };
        // Without a runtime the process is ending, and the file ends without this transaction anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if guard.open
                    && let Err(error) = guard.undo().await
                {
                    tracing::warn!(%error, "a transaction could not be taken back");
                }
            });
        }
    }
}
